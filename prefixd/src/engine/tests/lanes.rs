//! What people take off the routers does not wait behind detectors.

use super::*;
use crate::engine::QUEUE;
use crate::policy::{FreshIds, Outcome, SetControl, WithdrawCommand};
use prefixd_api::control::ControlState;
use prefixd_api::ids::MitigationId;
use tokio_util::sync::CancellationToken;

fn withdraw(mitigation: MitigationId) -> Command {
    Command::Withdraw(WithdrawCommand {
        ids: FreshIds::new(),
        mitigation,
        reason: "it hurts".to_owned(),
        suppress: None,
        confirm_within: None,
        expected_revision: None,
        actor: "anna".to_owned(),
    })
}

on_both_stores!(
    a_withdrawal_is_taken_while_the_queue_is_full
    what_people_said_keeps_its_order_before_reports
);

async fn a_withdrawal_is_taken_while_the_queue_is_full(place: Place) {
    let mut bench = Bench::new(place).await;
    let _first = bench.ban(10);
    bench.decide().await;
    bench.committed().await;
    let id = bench
        .handle
        .snapshot()
        .state
        .mitigations
        .keys()
        .next()
        .copied()
        .unwrap();
    // The engine does not run yet, so that everything waits: more reports of what is live, up to the brim.
    let mut reports = Vec::new();
    for _ in 0..QUEUE {
        let handle = bench.handle.clone();
        reports.push(Box::pin(async move { handle.submit(ban(10)).await }));
    }
    for report in &mut reports {
        assert!(futures_util::poll!(report.as_mut()).is_pending());
    }
    let full = bench.handle.submit(ban(10)).await;
    assert!(matches!(full, Err(SubmitError::QueueFull)), "{full:?}");
    let handle = bench.handle.clone();
    let mut said = Box::pin(async move { handle.submit(withdraw(id)).await });
    assert!(futures_util::poll!(said.as_mut()).is_pending(), "it is taken");
    let Bench {
        engine, announcer, ..
    } = bench;
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(engine.run(shutdown.clone()));
    let answer = said.await.unwrap();
    assert!(matches!(answer.outcome, Outcome::Withdrawn(_)), "{answer:?}");
    assert!(announcer.speaker().desired("edge").unwrap().is_empty());
    for report in reports {
        let Outcome::Event { answer, .. } = report.await.unwrap().outcome else {
            panic!("an event")
        };
        assert_eq!(answer.status, EventOutcome::Suppressed, "none was before it");
    }
    shutdown.cancel();
    running.await.unwrap().unwrap();
}

async fn what_people_said_keeps_its_order_before_reports(place: Place) {
    let mut bench = Bench::new(place).await;
    let mut report = bench.ban(10);
    let mut told = Vec::new();
    for state in [ControlState::Hold, ControlState::Running, ControlState::Hold] {
        let (reply, answer) = oneshot::channel();
        let command = bench.handle.numbered(Command::Control(SetControl {
            scope: "pop".parse().unwrap(),
            state,
            actor: "token:noc".to_owned(),
            reason: "INC-4711".to_owned(),
            expected_revision: None,
            said: 0,
            in_force_since: None,
        }));
        bench.engine.before_reports(Request::Command {
            command,
            reply: Reply::Plain(reply),
        });
        told.push(answer);
    }
    bench.finish().await;
    for answer in &mut told {
        assert!(answer.try_recv().unwrap().is_ok());
    }
    assert!(bench.engine.state.mitigations.is_empty(), "held by the last word");
    let Ok(Ok(answer)) = report.try_recv() else {
        panic!("answered")
    };
    assert!(matches!(answer.outcome, Outcome::Event { refused: Some(_), .. }));
}
