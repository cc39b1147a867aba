//! Panic waits for nothing: not for the store, not for what waits before it.

use super::*;
use crate::policy::{Outcome, SetControl};
use prefixd_api::control::{ControlScope, ControlState, Stop};
use prefixd_api::mitigation::EndReason;

fn say(state: ControlState, scope: &str) -> Command {
    Command::Control(SetControl {
        scope: scope.parse().unwrap(),
        state,
        actor: "token:noc".to_owned(),
        reason: "INC-4711".to_owned(),
        expected_revision: None,
        said: 0,
        in_force_since: None,
    })
}

impl Bench {
    async fn settle(&mut self) {
        while !self.engine.own.is_empty()
            || !self.engine.waiting.is_empty()
            || self.engine.draft.is_some()
            || self.engine.commit.is_some()
        {
            self.decide().await;
            if self.engine.commit.is_some() {
                self.committed().await;
            }
        }
    }
}

on_both_stores!(
    a_panic_is_in_force_before_it_is_recorded
    what_a_panic_ends_does_not_come_back_when_it_is_over_at_once
    what_was_said_before_a_panic_does_not_end_it
);

async fn a_panic_is_in_force_before_it_is_recorded(place: Place) {
    let mut bench = Bench::new(place).await;
    let _first = bench.ban(10);
    bench.decide().await;
    bench.committed().await;
    assert_eq!(bench.announced(), [10].into());
    // One is on its way into the store, one waits.
    let _late = bench.ban(11);
    bench.decide().await;
    let mut behind = bench.ban(12);
    let mut said = bench.urgently(say(ControlState::Panic, "pop"));
    assert!(bench.announced().is_empty(), "gone before anything is recorded");
    let snapshot = bench.handle.snapshot();
    assert_eq!(snapshot.stops_unrecorded[0].state, Stop::Panic);
    assert!(!snapshot.stops_unrecorded[0].recorded);
    let in_force = Arc::clone(&snapshot.stops_unrecorded[0]);
    bench.committed().await;
    assert!(bench.announced().is_empty(), "the late one never goes out");
    bench.announcer.reconcile(&bench.engine.state);
    assert!(
        bench.announced().is_empty(),
        "nor does reconciliation bring it back"
    );

    bench.break_store().await;
    bench.decide().await;
    bench.committed().await;
    assert!(matches!(said.try_recv().unwrap(), Err(SubmitError::Store)));
    assert_eq!(told(&mut behind), failed(&SubmitError::Store));
    assert!(bench.engine.state.stopped.is_empty() && bench.announced().is_empty());
    bench.mend_store().await;
    bench.engine.retry_at = None;
    bench.settle().await;
    let recorded = bench.engine.state.stopped.values().collect::<Vec<_>>();
    let [recorded] = recorded[..] else {
        panic!("its record followed by itself: {recorded:?}");
    };
    assert_eq!(
        (recorded.set_at, recorded.revision),
        (in_force.set_at, in_force.revision),
        "what was read meanwhile holds"
    );
    assert!(bench.engine.state.mitigations.is_empty() && bench.engine.owed.is_empty());
    assert!(bench.handle.snapshot().stops_unrecorded.is_empty());
    bench.assert_durable().await;
    let mut refused = bench.ban(13);
    bench.settle().await;
    assert_eq!(told(&mut refused), Ok((EventOutcome::RejectedGuardrail, false)));
}

async fn what_a_panic_ends_does_not_come_back_when_it_is_over_at_once(place: Place) {
    let mut bench = Bench::new(place).await;
    for last in [10, 11] {
        let _told = bench.ban(last);
    }
    bench.settle().await;
    let _said = bench.urgently(say(ControlState::Panic, "customer:acme"));
    let _resumed = bench.ask(say(ControlState::Running, "customer:acme"));
    bench.settle().await;
    assert!(bench.engine.state.stopped.is_empty(), "both were said");
    assert!(bench.live().is_empty() && bench.announced().is_empty());
    let store = &bench.engine.parts.store;
    for mitigation in store
        .list_mitigations(&crate::store::MitigationFilter::default(), page())
        .await
        .unwrap()
        .items
    {
        assert_eq!(mitigation.end_reason, Some(EndReason::Panic));
    }
    let mut again = bench.ban(10);
    bench.settle().await;
    assert_eq!(told(&mut again), accepted());
    assert_eq!(bench.announced(), [10].into(), "and nothing holds it back");
}

/// What is on its way into the store is recorded before the panic, what waits is refused.
async fn what_was_said_before_a_panic_does_not_end_it(place: Place) {
    let mut bench = Bench::new(place).await;
    let _first = bench.ban(10);
    bench.settle().await;
    let _held = bench.ask(say(ControlState::Hold, "pop"));
    bench.decide().await;
    let mut resumed = bench.ask(say(ControlState::Running, "pop"));
    let _said = bench.urgently(say(ControlState::Panic, "pop"));
    bench.committed().await;
    assert_eq!(bench.engine.state.stopped[&ControlScope::Pop].state, Stop::Hold);
    let unrecorded = &bench.handle.snapshot().stops_unrecorded;
    assert_eq!(unrecorded.len(), 1, "the hold is recorded, the panic is not");
    bench.settle().await;
    let told = resumed.try_recv().unwrap().unwrap().outcome;
    assert!(
        matches!(&told, Outcome::Refused(problem) if problem.code == "conflict.panic"),
        "{told:?}"
    );
    assert_eq!(bench.engine.state.stopped[&ControlScope::Pop].state, Stop::Panic);
    assert!(bench.live().is_empty() && bench.announced().is_empty());
    assert!(bench.handle.snapshot().stops_unrecorded.is_empty());
    let _resumed = bench.ask(say(ControlState::Running, "pop"));
    bench.settle().await;
    assert!(bench.engine.state.stopped.is_empty(), "said after it");
}

/// Nothing is recorded then that a word could change.
#[tokio::test]
async fn a_panic_that_a_defect_kept_from_being_recorded_can_be_lifted() {
    let mut bench = Bench::new(crate::store::tests::sqlite().await).await;
    let _first = bench.ban(10);
    bench.settle().await;
    for scope in ["pop", "neighbor:edge"] {
        let _said = bench.urgently(say(ControlState::Panic, scope));
        // Its decision fails.
        bench.engine.waiting.pop_front();
        assert!(bench.announced().is_empty());
        let mut held = bench.ask(say(ControlState::Hold, scope));
        bench.settle().await;
        assert!(bench.announced().is_empty(), "{scope}: hold announces nothing");
        let refused = matches!(held.try_recv().unwrap().unwrap().outcome, Outcome::Refused(_));
        assert_eq!(refused, scope != "pop");
        let _resumed = bench.ask(say(ControlState::Running, scope));
        bench.settle().await;
        assert!(bench.handle.snapshot().stops_unrecorded.is_empty());
        assert_eq!(bench.announced(), [10].into(), "{scope}: what lives is announced");
        assert!(bench.engine.owed.is_empty());
    }
}

fn page() -> crate::store::PageRequest {
    crate::store::PageRequest {
        cursor: None,
        limit: 10,
    }
}

/// The next start must not announce what a panic took off: a stop waits for the store, as long as it may.
#[tokio::test]
async fn a_stop_records_a_panic_first() {
    let mut bench = Bench::new(crate::store::tests::sqlite().await).await;
    let _first = bench.ban(10);
    bench.settle().await;
    bench.break_store().await;
    let store = Arc::clone(&bench.engine.parts.store);
    let now = bench.clock.now();
    let Bench {
        engine,
        handle,
        connection,
        _directory,
        ..
    } = bench;
    let shutdown = tokio_util::sync::CancellationToken::new();
    let running = tokio::spawn(engine.run(shutdown.clone()));
    let said = handle.submit(say(ControlState::Panic, "pop")).await;
    assert!(matches!(said, Err(SubmitError::Store)), "{said:?}");
    shutdown.cancel();
    let mut other = SqliteConnection::connect(&connection).await.unwrap();
    other.execute("DROP TRIGGER broken").await.unwrap();
    tokio::time::timeout(PATIENCE, running)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    let loaded = store.load(POP, now).await.unwrap();
    assert_eq!(loaded.stopped.len(), 1);
}

/// Whichever of them is recorded first.
#[tokio::test]
async fn the_panic_that_was_said_last_is_recorded_as_it_was_read() {
    let said_by = |who: &str| match say(ControlState::Panic, "pop") {
        Command::Control(set) => Command::Control(SetControl {
            actor: who.to_owned(),
            ..set
        }),
        other => other,
    };
    let records_as_read = async |bench: &mut Bench| {
        let [read] = &bench.handle.snapshot().stops_unrecorded[..] else {
            panic!("one is in force");
        };
        let read = Arc::clone(read);
        bench.settle().await;
        let recorded: Vec<_> = bench.engine.state.stopped.values().collect();
        let [recorded] = recorded[..] else {
            panic!("one is recorded: {recorded:?}");
        };
        let what = |one: &prefixd_api::control::Stopped| (one.set_by.clone(), one.set_at, one.revision);
        assert_eq!(what(recorded), what(&read));
        assert_eq!(read.set_by, "bob");
    };
    let mut bench = Bench::new(crate::store::tests::sqlite().await).await;
    let _first = bench.urgently(said_by("anna"));
    let _second = bench.urgently(said_by("bob"));
    Box::pin(records_as_read(&mut bench)).await;

    // The first is on its way into the store when the second is said, and is lost.
    let mut bench = Bench::new(crate::store::tests::sqlite().await).await;
    bench.break_store().await;
    let _first = bench.urgently(said_by("anna"));
    bench.decide().await;
    let _second = bench.urgently(said_by("bob"));
    bench.decide().await;
    bench.committed().await;
    bench.mend_store().await;
    bench.engine.retry_at = None;
    Box::pin(records_as_read(&mut bench)).await;
}
