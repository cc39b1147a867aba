//! Only the engine says that the daemon lives.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tracing::error;

/// How long is waited for the engine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The engine shows a sign of life every second. Without one for this long the process ends: its sessions drop and
    /// routers forget its rules, because nobody would take them back any more.
    sign_of_life: Duration,
    /// How often that is checked.
    check: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sign_of_life: Duration::from_secs(60),
            check: Duration::from_secs(5),
        }
    }
}

/// Starts the watch and answers what the engine calls every second. The watch is a thread of its own, because a
/// blocked runtime is one of the things it looks for; it ends with `shutdown`.
pub(super) fn start(shutdown: CancellationToken, limits: Limits) -> Arc<dyn Fn() + Send + Sync> {
    let started = Instant::now();
    let last = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&last);
    std::thread::spawn(move || {
        while !shutdown.is_cancelled() {
            std::thread::sleep(limits.check);
            let silent = started
                .elapsed()
                .saturating_sub(Duration::from_millis(seen.load(Ordering::Relaxed)));
            if silent > limits.sign_of_life && !shutdown.is_cancelled() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::Signal;
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Stdio};

    /// Set in the process that is to die.
    const HANGS: &str = "PREFIXD_TEST_ENGINE_HANGS";
    const SHORT: Limits = Limits {
        sign_of_life: Duration::from_millis(300),
        check: Duration::from_millis(20),
    };

    /// Plays itself again in a process of its own, whose engine shows two signs of life and then hangs.
    #[test]
    fn an_engine_that_hangs_ends_the_process() {
        if std::env::var_os(HANGS).is_some() {
            let alive = start(CancellationToken::new(), SHORT);
            alive();
            alive();
            loop {
                std::thread::park();
            }
        }
        let began = Instant::now();
        let ended = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "daemon::watchdog::tests::an_engine_that_hangs_ends_the_process",
            ])
            .env(HANGS, "yes")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert_eq!(ended.signal(), Some(Signal::SIGABRT as i32), "{ended}");
        assert!(began.elapsed() >= SHORT.sign_of_life);
    }
}
