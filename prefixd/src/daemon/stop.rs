//! The two kinds of stop, and what becomes of the rules.

use prefixd_api::config::settings;
use prefixd_bgp::{Speaker, Stop};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// What routers are told when their rules are taken back (RFC 9003).
const SHUTDOWN_TEXT: &str = "prefixd stops and withdraws its rules";
/// How long neighbours may take to be told that everything is withdrawn.
const STOP_SESSIONS: Duration = Duration::from_secs(5);

/// The wish that the daemon ends. Cheap to clone; all clones are one wish.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    asked: CancellationToken,
    withdraw: Arc<AtomicBool>,
}

impl Shutdown {
    /// Asks for the end; the configuration says what becomes of the rules.
    pub fn ask(&self) {
        self.asked.cancel();
    }

    /// Asks for an end that takes every rule from the routers, whatever the configuration says. Also when another kind
    /// was asked for before, as long as the sessions are there.
    pub fn ask_to_withdraw(&self) {
        self.withdraw.store(true, Ordering::Relaxed);
        self.asked.cancel();
    }

    /// Cancelled when the end was asked for.
    pub(super) fn token(&self) -> &CancellationToken {
        &self.asked
    }

    /// Ends the sessions. After a fault (`in_order` is false) the rules are always taken back: whether somebody comes
    /// who takes them over is not known.
    pub(super) async fn end_sessions(&self, speaker: &Speaker, settings: settings::Shutdown, in_order: bool) {
        let by_order = self.withdraw.load(Ordering::Relaxed);
        let text = SHUTDOWN_TEXT.to_owned();
        let stop = if settings.preserve_announcements && in_order && !by_order {
            info!("rules stay on the routers that agreed to graceful restart, and are taken from the others");
            Stop::Restart { text }
        } else {
            Stop::Withdraw { text }
        };
        let unfinished = speaker.shutdown(stop, STOP_SESSIONS).await;
        if !unfinished.is_empty() {
            warn!(
                neighbors = ?unfinished,
                "these neighbours did not take the withdrawals in time and their sessions were cut: their rules go at \
                 once, or after the restart time where the router agreed to graceful restart"
            );
        }
    }
}
