//! Only the engine says that the daemon lives.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tracing::error;

/// The engine shows a sign of life every second. Without one for this long the process ends: its sessions drop and
/// routers forget its rules, because nobody would take them back any more.
const SIGN_OF_LIFE: Duration = Duration::from_secs(60);
/// How often that is checked.
const CHECK: Duration = Duration::from_secs(5);

/// Starts the watch and answers what the engine calls every second. The watch is a thread of its own, because a
/// blocked runtime is one of the things it looks for; it ends with `shutdown`.
pub(super) fn start(shutdown: CancellationToken) -> Arc<dyn Fn() + Send + Sync> {
    let started = Instant::now();
    let last = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&last);
    std::thread::spawn(move || {
        while !shutdown.is_cancelled() {
            std::thread::sleep(CHECK);
            let silent = started
                .elapsed()
                .saturating_sub(Duration::from_millis(seen.load(Ordering::Relaxed)));
            if silent > SIGN_OF_LIFE && !shutdown.is_cancelled() {
                error!(
                    seconds = silent.as_secs(),
                    "the engine hangs: the process ends so that routers drop its rules"
                );
                std::process::abort();
            }
        }
    });
    Arc::new(move || {
        let now = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        last.store(now, Ordering::Relaxed);
        // Without systemd there is nobody to tell; a failure shows as a restart by systemd.
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
    })
}
