//! Keeps a neighbour's task alive: a fault in it must not cost the neighbour its rules for long, nor touch the others.

use tokio::time::{Duration, Instant, sleep};
use tokio_util::task::AbortOnDropHandle;
use tracing::error;

use crate::peer::{self, PeerContext};
use crate::status::{LOG, Loss, SessionChange, SessionEvent, SessionPhase};

/// Pause before a failed task is started again: doubled each time, up to the maximum.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
const MAX_RESTART_PAUSE: Duration = Duration::from_secs(30);

/// Runs the task until it ends by an order.
pub(super) async fn supervise(context: PeerContext) {
    keep_alive(|| peer::run(context.clone()), || note_failure(&context)).await;
}

/// Starts a task again each time it panics.
async fn keep_alive<F>(mut start: impl FnMut() -> F, mut failed: impl FnMut())
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut pause = RESTART_PAUSE;
    while AbortOnDropHandle::new(tokio::spawn(start()))
        .await
        .is_err_and(|error| error.is_panic())
    {
        failed();
        sleep(pause).await;
        pause = (pause * 2).min(MAX_RESTART_PAUSE);
    }
}

/// The sockets are closed already, by the drop of what the task owned; the desired rules stay.
fn note_failure(context: &PeerContext) {
    let shared = &context.shared;
    let neighbor = shared.config().name;
    error!(target: LOG, %neighbor, "the task of the neighbour failed; its session is lost and made again");
    shared.left_in_silence(Instant::now());
    shared.rib().session_down();
    if let Some(seat) = shared.seat() {
        seat.down(false, Instant::now());
    }
    let was_established = {
        let mut observed = shared.observed();
        observed.task_restarts += 1;
        observed.session = None;
        std::mem::take(&mut observed.phase) == SessionPhase::Established
    };
    if was_established {
        shared.record_lost(Loss::TaskFailed, Instant::now());
    } else {
        shared.record_failed(Loss::TaskFailed, Instant::now());
    }
    if was_established {
        let change = SessionChange::Down {
            loss: Some(Loss::TaskFailed),
        };
        // Nobody listening is fine: the same can be read from the status at any time.
        let _ = context.events.send(SessionEvent { neighbor, change });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_is_started_again_after_a_growing_pause() {
        let runs = Arc::new(AtomicU32::new(0));
        let begin = Instant::now();
        let mut failures = Vec::new();
        let start = || {
            let runs = runs.clone();
            async move {
                assert!(runs.fetch_add(1, Ordering::SeqCst) == 7, "a fault");
            }
        };
        keep_alive(start, || failures.push(begin.elapsed().as_secs())).await;
        assert_eq!(failures, [0, 1, 3, 7, 15, 31, 61]);
        assert_eq!(runs.load(Ordering::SeqCst), 8);
    }
}
