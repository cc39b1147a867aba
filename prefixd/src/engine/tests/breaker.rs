//! Removing never waits for the store: what trips the breaker is taken back at once, the record follows.

use super::super::commit::is_news;
use super::*;
use crate::store::tests::fixture::{Attack, START, host};
use prefixd_api::mitigation::Mitigation;
use prefixd_bgp::{Loss, SessionChange, SessionEvent};

#[test]
fn the_bounds_are_those_of_the_configuration() {
    let settings = SETTINGS.to_owned() + "breaker: { neighbors_lost: 3, window_seconds: 90 }\n";
    for (settings, neighbors, seconds) in [(settings.as_str(), 3, 90), (SETTINGS, 2, 60)] {
        let config = Config::from_texts(settings, INVENTORY, PLAYBOOKS).unwrap();
        let bounds = Policy::compile(&config, &Implicit::default()).breaker();
        assert_eq!(
            (bounds.neighbors_lost, bounds.window),
            (neighbors, Duration::from_secs(seconds))
        );
    }
    for bad in [
        "neighbors_lost: 1",
        "window_seconds: 0",
        "window_seconds: 3601",
        "rate: 1",
    ] {
        let settings = SETTINGS.to_owned() + &format!("breaker: {{ {bad} }}\n");
        let refused = Config::from_texts(&settings, INVENTORY, PLAYBOOKS).unwrap_err();
        assert!(
            refused.to_string().contains("breaker") || bad == "rate: 1",
            "{refused}"
        );
    }
}

on_both_stores!(what_tripped_the_breaker_is_taken_back_before_it_is_recorded);

async fn what_tripped_the_breaker_is_taken_back_before_it_is_recorded(place: Place) {
    let mut bench = Bench::new(place).await;
    for neighbor in ["one", "two"] {
        bench.engine.breaker.up(neighbor.into());
    }
    let _first = bench.ban(10);
    bench.decide().await;
    bench.committed().await;
    assert_eq!(bench.announced(), [10].into());
    // Another is on its way into the store while the sessions are lost.
    let _late = bench.ban(11);
    bench.decide().await;
    let bounds = bench.engine.parts.policy.breaker();
    for neighbor in ["one", "two"] {
        let now = bench.clock.now();
        if let Some(trip) = bench.engine.breaker.down(&neighbor.into(), true, now, bounds) {
            bench.engine.trip(trip);
        }
    }
    assert!(bench.handle.snapshot().trip_unrecorded, "health tells of it");
    assert!(bench.announced().is_empty(), "gone before the store knows");
    bench.committed().await;
    assert!(bench.announced().is_empty(), "the late one never goes out");
    assert_eq!(bench.engine.state.mitigations.len(), 2);
    bench.announcer.reconcile(&bench.engine.state);
    assert!(
        bench.announced().is_empty(),
        "nor does reconciliation bring them back"
    );
    assert_eq!(bench.engine.owed.len(), 2);

    // The store is away at first.
    bench.break_store().await;
    bench.decide().await;
    bench.committed().await;
    assert!(bench.engine.state.breaker.is_none());
    bench.mend_store().await;
    bench.engine.retry_at = None;
    while bench.engine.state.breaker.is_none() || !bench.engine.own.is_empty() {
        bench.decide().await;
        bench.committed().await;
    }
    assert!(bench.engine.state.mitigations.is_empty());
    assert_eq!(bench.engine.owed.len(), 0);
    bench.assert_durable().await;
    let tripped = bench.engine.state.breaker.clone().unwrap();
    assert_eq!((tripped.neighbors.len(), tripped.withdrawn), (2, 2));
}

/// Neighbours that get no rules were not lost by them.
#[tokio::test]
async fn only_neighbours_that_get_rules_count() {
    let mut bench = Bench::new(crate::store::tests::sqlite().await).await;
    let session = |neighbor: &str, change| {
        let neighbor = neighbor.into();
        Some(SessionEvent { neighbor, change })
    };
    let up = || SessionChange::Up {
        families: BTreeSet::new(),
    };
    let down = || SessionChange::Down {
        loss: Some(Loss::ConnectionLost {
            detail: "reset by peer".to_owned(),
        }),
    };
    for neighbor in ["trial1", "trial2", "edge"] {
        bench.engine.session_changed(session(neighbor, up()));
    }
    let _first = bench.ban(10);
    bench.decide().await;
    bench.committed().await;
    for neighbor in ["trial1", "trial2"] {
        bench.engine.session_changed(session(neighbor, down()));
    }
    assert!(bench.engine.breaker.unrecorded().is_none());
    assert_eq!(bench.announced(), [10].into());
}

/// The next start must not announce what tripped it: a stop waits for the store, as long as it may.
#[tokio::test]
async fn a_stop_records_a_trip_first() {
    let mut bench = Bench::new(crate::store::tests::sqlite().await).await;
    let _first = bench.ban(10);
    bench.decide().await;
    bench.committed().await;
    bench.break_store().await;
    let (now, bounds) = (bench.clock.now(), bench.engine.parts.policy.breaker());
    for neighbor in ["one", "two"] {
        bench.engine.breaker.up(neighbor.into());
    }
    for neighbor in ["one", "two"] {
        if let Some(trip) = bench.engine.breaker.down(&neighbor.into(), true, now, bounds) {
            bench.engine.trip(trip);
        }
    }
    let store = Arc::clone(&bench.engine.parts.store);
    let Bench {
        engine,
        handle,
        connection,
        _directory,
        ..
    } = bench;
    let shutdown = tokio_util::sync::CancellationToken::new();
    shutdown.cancel();
    let stopping = tokio::spawn(engine.run(shutdown));
    let failing = async {
        while handle.snapshot().store_failing_since.is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, failing).await.unwrap();
    let mut other = SqliteConnection::connect(&connection).await.unwrap();
    other.execute("DROP TRIGGER broken").await.unwrap();
    tokio::time::timeout(PATIENCE, stopping)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    let loaded = store.load(POP, now).await.unwrap();
    assert!(loaded.breaker.is_some() && loaded.mitigations.is_empty());
}

#[test]
fn a_blackhole_in_place_of_the_same_rules_is_news() {
    let attack = Attack::new(host(1), "udp_flood", START);
    let before = Mitigation {
        enforced: true,
        ..Mitigation::clone(&attack.mitigation)
    };
    let granted = Mitigation {
        allow_rtbh: true,
        ..before.clone()
    };
    assert!(!is_news(Some(&before), &before));
    assert!(is_news(Some(&before), &granted));
    assert!(!is_news(Some(&granted), &before), "what is taken away is none");
}
