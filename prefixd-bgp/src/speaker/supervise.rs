//! Keeps a neighbour's task alive: a fault in it must not cost the neighbour its rules for long, nor touch the others.

use tokio::time::{Duration, Instant, sleep};
use tokio_util::task::AbortOnDropHandle;
use tracing::error;

use crate::peer::{self, PeerContext};
use crate::status::{Loss, SessionChange, SessionEvent, SessionPhase};

/// Pause before a failed task is started again: doubled each time, up to the maximum.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
const MAX_RESTART_PAUSE: Duration = Duration::from_secs(30);

/// Runs the task until it ends by an order.
pub(super) async fn supervise(context: PeerContext) {
    let mut pause = RESTART_PAUSE;
    while AbortOnDropHandle::new(tokio::spawn(peer::run(context.clone())))
        .await
        .is_err_and(|error| error.is_panic())
    {
        note_failure(&context);
        sleep(pause).await;
        pause = (pause * 2).min(MAX_RESTART_PAUSE);
    }
}

/// The sockets are closed already, by the drop of what the task owned; the desired rules stay.
fn note_failure(context: &PeerContext) {
    let shared = &context.shared;
    let neighbor = shared.config().name;
    error!(%neighbor, "the task of the neighbour failed; its session is lost and made again");
    shared.rib().session_down();
    let was_established = {
        let mut observed = shared.observed();
        observed.task_restarts += 1;
        observed.session = None;
        std::mem::take(&mut observed.phase) == SessionPhase::Established
    };
    shared.record(Loss::TaskFailed, Instant::now());
    if was_established {
        let change = SessionChange::Down {
            loss: Some(Loss::TaskFailed),
        };
        // Nobody listening is fine: the same can be read from the status at any time.
        let _ = context.events.send(SessionEvent { neighbor, change });
    }
}
