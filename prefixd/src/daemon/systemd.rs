//! What systemd is told (sd_notify(3)). Without systemd nobody listens, and nothing is said.

use sd_notify::NotifyState;
use std::convert::Infallible;
use std::time::Duration;
use tracing::warn;

/// How much longer a start may take than systemd has heard so far, and how often it hears that. The watchdog counts
/// from READY on; before that TimeoutStartSec would end a start that waits for its database.
const MORE_TIME: Duration = Duration::from_secs(60);
const ASK_AGAIN: Duration = Duration::from_secs(10);

pub(super) fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "systemd could not be told");
    }
}

/// Asks for more time for as long as it is polled.
pub(super) async fn ask_for_time() -> Infallible {
    let more = u32::try_from(MORE_TIME.as_micros()).unwrap_or(u32::MAX);
    let mut again = tokio::time::interval(ASK_AGAIN);
    loop {
        again.tick().await;
        tell(&[NotifyState::ExtendTimeoutUsec(more)]);
    }
}
