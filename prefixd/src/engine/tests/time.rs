//! Deadlines.

use super::*;
use prefixd_api::mitigation::MitigationStatus;
use std::sync::mpsc;
use tokio_util::sync::CancellationToken;

const SHORT: &str = "
playbooks:
  - name: udp
    match: { vector: udp_flood }
    steps: [{ action: police, rate_bps: 5000000, ttl_seconds: 10 }]
";

/// What the timers' grain allows.
const MARGIN: Duration = Duration::from_millis(3);

/// Keeps paused time from going on by itself while everybody waits for the store.
struct Still(#[expect(dead_code, reason = "its end is the signal")] mpsc::Sender<()>);

fn still() -> Still {
    let (sender, receiver) = mpsc::channel::<()>();
    tokio::task::spawn_blocking(move || receiver.recv());
    Still(sender)
}

/// Lets everybody else work, for as long as it takes and no longer than a test may.
async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let begin = std::time::Instant::now();
    while !holds().await {
        assert!(begin.elapsed() < PATIENCE, "waited in vain until {what}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_rule_ends_exactly_when_its_lease_does() {
    let bench = Bench::with(crate::store::tests::sqlite().await, SETTLED, SHORT).await;
    let store = Arc::clone(&bench.engine.parts.store);
    let Bench {
        engine,
        handle,
        announcer,
        clock,
        _directory,
        ..
    } = bench;
    let shutdown = CancellationToken::new();
    let engine = tokio::spawn(engine.run(shutdown.clone()));
    handle.submit(ban(10)).await.unwrap();
    let live = handle
        .snapshot()
        .state
        .mitigations
        .values()
        .next()
        .cloned()
        .unwrap();
    // With its fragment companion.
    let announced = || announcer.speaker().desired("edge").unwrap().len() / 2;
    assert_eq!(announced(), 1);

    let _still = still();
    tokio::time::pause();
    let left = || clock.instant_of(live.expires_at) - tokio::time::Instant::now();
    tokio::time::advance(left() - Duration::from_millis(1)).await;
    // As long as the queue takes to be looked at: the engine is awake and has done what there is to do.
    handle.submit(ban(11)).await.unwrap();
    assert_eq!(announced(), 2, "a millisecond before its end");

    // Timers ring on whole milliseconds, and the clock slews by half a millisecond at most in a tick.
    until("the rule has left", async || {
        if clock.now() < live.expires_at.saturating_add(MARGIN) {
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        announced() == 1
    })
    .await;
    until("its end is recorded", async || {
        handle.snapshot().state.mitigations.len() == 1
    })
    .await;
    shutdown.cancel();
    engine.await.unwrap().unwrap();
    let ended = store.get_mitigation(live.mitigation_id).await.unwrap().unwrap();
    assert_eq!(ended.status, MitigationStatus::Expired);
    let late = ended.ended_at.unwrap().since(live.expires_at);
    assert!(late <= MARGIN, "{late:?} late");
}

/// What is lost behind its back comes back by itself, and no sooner than the interval says.
#[tokio::test]
async fn the_rib_is_compared_as_often_as_configured() {
    let interval = Duration::from_secs(200);
    let settings = Settings {
        reconciliation_interval: interval,
        ..SETTLED
    };
    let bench = Bench::with(crate::store::tests::sqlite().await, settings, PLAYBOOKS).await;
    let Bench {
        engine,
        handle,
        announcer,
        _directory,
        ..
    } = bench;
    let shutdown = CancellationToken::new();
    let engine = tokio::spawn(engine.run(shutdown.clone()));
    handle.submit(ban(10)).await.unwrap();
    let announced = || announcer.speaker().desired("edge").unwrap();
    let all = announced();
    let lost = all.iter().map(|route| prefixd_bgp::Change::Withdraw {
        target: prefixd_bgp::Target::All,
        key: route.rule.key().clone(),
    });
    announcer.speaker().apply(lost).unwrap();

    let _still = still();
    tokio::time::pause();
    let begin = tokio::time::Instant::now();
    tokio::time::advance(interval / 2).await;
    handle.submit(ban(11)).await.unwrap();
    assert_eq!(announced().len(), all.len(), "only what is new is announced");
    until("it is repaired", async || {
        tokio::time::advance(Duration::from_millis(100)).await;
        announced().len() == 2 * all.len()
    })
    .await;
    let took = begin.elapsed();
    assert!(took < interval + Duration::from_secs(5), "{took:?}");
    shutdown.cancel();
    engine.await.unwrap().unwrap();
}

/// By the daemon's own clock, which stands still while the server starts: nothing here waits for a second to pass.
#[tokio::test]
async fn a_server_that_is_back_is_used_within_a_second() {
    if !lab::postgres::available().unwrap() {
        return;
    }
    let mut server = lab::postgres::Postgres::start(lab::postgres::Options::default())
        .await
        .unwrap();
    let connection = server.database().await.unwrap();
    let place = crate::store::tests::on(connection).await;
    let bench = Bench::new(place).await;
    let Bench {
        engine,
        handle,
        clock,
        ..
    } = bench;
    let shutdown = CancellationToken::new();
    let engine = tokio::spawn(engine.run(shutdown.clone()));
    handle.submit(ban(10)).await.unwrap();
    let is_away = async || handle.snapshot().store_failing_since.is_some();

    server.crash().await.unwrap();
    // The connection ends under what was written to it.
    assert!(matches!(handle.submit(ban(11)).await, Err(SubmitError::Unknown)));
    assert!(matches!(handle.submit(ban(11)).await, Err(SubmitError::Store)));
    assert!(is_away().await);
    let _still = still();
    tokio::time::pause();
    // On a clock of its own.
    let _server = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(server.start_again()).unwrap();
        server
    })
    .await
    .unwrap();
    // Nobody asks for anything while the daemon is not ready.
    let back_at = clock.now();
    tokio::time::advance(Duration::from_secs(1)).await;
    until("the store is seen to work", async || !is_away().await).await;
    handle.submit(ban(11)).await.unwrap();
    assert!(clock.now().since(back_at) <= Duration::from_secs(1));
    shutdown.cancel();
    engine.await.unwrap().unwrap();
}
