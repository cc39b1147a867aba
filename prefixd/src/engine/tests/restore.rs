//! Leases over a restart.

use super::super::restore::restore;
use super::*;
use crate::policy::{ExtendCommand, State};

/// The state that a start so many seconds from now begins with.
async fn state_after(bench: &Bench, away: i64) -> (State, Timestamp) {
    let now = Timestamp::from_micros(bench.clock.now().as_micros() + away * 1_000_000);
    let loaded = bench.engine.parts.store.load(POP, now).await.unwrap();
    let mut state = State::default();
    restore(&mut state, loaded, now);
    (state, now)
}

/// The remaining lease, in seconds, after a start so many seconds from now.
async fn left_after(bench: &Bench, away: i64) -> i64 {
    let (state, now) = state_after(bench, away).await;
    let live = state.mitigations.values().next().unwrap();
    (live.expires_at.as_micros() - now.as_micros() + 500_000).div_euclid(1_000_000)
}

on_both_stores!(
    an_extension_outlives_a_restart_and_a_clock_that_was_set_back_lengthens_none
    what_is_loaded_is_in_the_order_it_was_made_and_one_in_memory_with_its_group
);

async fn an_extension_outlives_a_restart_and_a_clock_that_was_set_back_lengthens_none(place: Place) {
    let mut bench = Bench::new(place).await;
    let _made = bench.create(60);
    bench.finish().await;
    let mitigation = *bench.engine.state.mitigations.keys().next().unwrap();
    let _extended = bench.ask(Command::Extend(ExtendCommand {
        mitigation,
        ttl: Duration::from_secs(600),
        reason: "INC-4711".to_owned(),
        expected_revision: None,
        actor: "token:noc".to_owned(),
    }));
    bench.finish().await;
    assert_eq!(left_after(&bench, 0).await, 600);
    assert_eq!(left_after(&bench, 100).await, 500);
    assert_eq!(left_after(&bench, -3600).await, 600, "the clock was set back");
}

async fn what_is_loaded_is_in_the_order_it_was_made_and_one_in_memory_with_its_group(place: Place) {
    let mut bench = Bench::new(place).await;
    // More than one bunch of rows, in an order that is not that of their addresses.
    for last in (1..=250).rev() {
        let _told = bench.ban(last);
    }
    bench.finish().await;
    let loaded = bench
        .engine
        .parts
        .store
        .load(POP, bench.clock.now())
        .await
        .unwrap();
    assert_eq!(loaded.mitigations.len(), 250);
    assert!(
        loaded
            .mitigations
            .is_sorted_by_key(|mitigation| mitigation.created_at)
    );
    let (state, _) = state_after(&bench, 59).await;
    assert_eq!(state.counts.enforced.starts.pop(), 250);
    for mitigation in state.mitigations.values() {
        let group = state.group(&mitigation.scope()).unwrap();
        assert!(Arc::ptr_eq(&mitigation.claims[0], &group.claims[0]));
    }
    let (state, _) = state_after(&bench, 61).await;
    assert_eq!(state.counts.enforced.starts.pop(), 0, "a minute ago");
}
