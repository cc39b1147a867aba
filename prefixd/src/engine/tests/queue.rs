//! The queue of commands is bounded: what does not fit is told, and what was taken is answered.

use super::*;
use crate::engine::QUEUE;
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn a_full_queue_refuses_and_everything_that_was_taken_is_answered() {
    let Bench {
        mut engine,
        handle,
        _directory,
        ..
    } = Bench::new(crate::store::tests::sqlite().await).await;
    // Not owned: the cheapest decision.
    let stray = || {
        event(EventRequest {
            victim_ip: "192.0.2.7".into(),
            ..report(10)
        })
    };
    let mut taken = Vec::with_capacity(QUEUE);
    for _ in 0..QUEUE {
        let (reply, told) = oneshot::channel();
        handle.ask(stray(), Reply::Plain(reply)).unwrap();
        taken.push(told);
    }
    assert_eq!(handle.queued(), QUEUE);
    let refused = handle.submit(stray()).await;
    assert!(matches!(refused, Err(SubmitError::QueueFull)), "{refused:?}");

    engine.start().await.unwrap();
    let stop = CancellationToken::new();
    let running = tokio::spawn(engine.run(stop.clone()));
    for told in taken {
        let answer = tokio::time::timeout(PATIENCE, told).await.unwrap().unwrap();
        assert!(answer.is_ok(), "{answer:?}");
    }
    // There is room again.
    handle.submit(stray()).await.unwrap();
    stop.cancel();
    running.await.unwrap().unwrap();
}
