//! Everything that ends a session, and the way back.

use std::net::Ipv4Addr;
use std::time::Duration;

use prefixd_bgp::{Delivery, HoldTime, Loss, NeighborConfig, SessionChange, SessionPhase, Speaker};
use tokio::time::Instant;

use crate::harness::*;

fn start_with_hold(seconds: u16, neighbors: Vec<NeighborConfig>) -> Speaker {
    let hold_time = HoldTime::from_secs(seconds).unwrap();
    let speaker = Speaker::start(prefixd_bgp::SpeakerConfig {
        hold_time,
        ..config(neighbors)
    })
    .unwrap();
    speaker.open();
    speaker
}

fn last_notification(speaker: &Speaker) -> Option<(u8, u8)> {
    match speaker.peer(NAME)?.last_error?.loss {
        Loss::NotificationSent(info) | Loss::NotificationReceived(info) => Some((info.code, info.subcode)),
        _ => None,
    }
}

#[tokio::test]
async fn a_silent_neighbour_is_lost_at_the_hold_time() {
    let router = Router::bind().await;
    let speaker = start_with_hold(3, vec![router.neighbor()]);
    let mut peer = router.session(&OpenScript::default()).await;
    let begin = Instant::now();
    peer.initial_sync().await;
    assert_eq!(peer.expect(NOTIFICATION).await.notification(), (4, 0));
    assert!(
        begin.elapsed() > Duration::from_millis(2900),
        "{:?}",
        begin.elapsed()
    );
    router.session(&OpenScript::default()).await.initial_sync().await;
    assert_eq!(speaker.peer(NAME).unwrap().flaps, 1);
}

#[tokio::test]
async fn keepalives_hold_the_session() {
    let router = Router::bind().await;
    let speaker = start_with_hold(3, vec![router.neighbor()]);
    let mut peer = router.session(&OpenScript::default()).await;
    peer.initial_sync().await;
    for _ in 0..5 {
        assert_eq!(peer.receive().await.kind, KEEPALIVE, "one per second");
        peer.send(&message(KEEPALIVE, &[])).await;
    }
    assert_eq!(speaker.peer(NAME).unwrap().phase, SessionPhase::Established);
}

/// The regression this guards: a loop that awaits its writer misses its own hold timer while megabytes sit in the
/// kernel, and delays whoever shares it.
#[tokio::test]
async fn a_neighbour_that_stops_reading_delays_nobody_and_is_lost_at_the_hold_time() {
    let changes: Vec<_> = (1..=40_000).map(route).map(announce).collect();
    let stuck = Router::bind_narrow().await;
    let other = Router::bind_at(Ipv4Addr::new(127, 0, 0, 2)).await;
    let second = NeighborConfig {
        name: "second".into(),
        ..other.neighbor()
    };
    let speaker = start_with_hold(4, vec![stuck.neighbor(), second]);
    let frozen = stuck.session(&OpenScript::default()).await;
    let mut peer = other.session(&OpenScript::default()).await;
    peer.initial_sync().await;

    speaker.apply(changes).unwrap();
    let mut rules = 0;
    while rules < 40_000 {
        rules += peer.update().await.nlri().0.len();
        peer.send(&message(KEEPALIVE, &[])).await;
    }
    wait_for("hold timer", || last_notification(&speaker) == Some((4, 0))).await;
    let status = speaker.peer(NAME).unwrap();
    assert!(
        status.totals.announced < 40_000,
        "it took everything, so the test proves nothing"
    );
    assert!(
        status.writer_blocked > Duration::from_secs(1),
        "{:?}",
        status.writer_blocked
    );
    drop(frozen);
}

#[tokio::test]
async fn a_neighbour_that_talks_but_does_not_read_is_lost_at_the_send_hold_time() {
    let stuck = Router::bind_narrow().await;
    let speaker = start_with_hold(3, vec![stuck.neighbor()]);
    let mut peer = stuck.session(&OpenScript::default()).await;
    let changes: Vec<_> = (1..=60_000).map(route).map(announce).collect();
    speaker.apply(changes).unwrap();
    let begin = Instant::now();
    while last_notification(&speaker) != Some((8, 0)) {
        assert!(begin.elapsed() < PATIENCE, "{:?}", speaker.peer(NAME));
        peer.send(&message(KEEPALIVE, &[])).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn a_reset_connection_is_back_at_once_and_then_its_last_rules() {
    let router = Router::bind().await;
    let speaker = start(vec![router.neighbor()]);
    let routes = [route(1), route(2)];
    speaker.apply(routes.iter().cloned().map(announce)).unwrap();
    let mut events = speaker.events();
    let mut peer = router.session(&OpenScript::default()).await;
    peer.initial_sync().await;
    wait_for_phase(&speaker, NAME, SessionPhase::Established).await;

    peer.reset();
    let mut peer = router.session(&OpenScript::default()).await;
    // They were sent a moment before the loss, so they may have caused it: they are sent alone, after everything else.
    let mut back = peer.initial_sync().await;
    assert!(back.is_empty(), "{back:?}");
    while back.len() < 2 {
        back.extend(peer.update().await.nlri().0);
    }
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(matches!(
            events.recv().await.unwrap().change,
            SessionChange::Up { .. }
        ));
    }
    assert_eq!(seen, [true, false, true]);
    assert!(matches!(
        speaker.peer(NAME).unwrap().last_error.unwrap().loss,
        Loss::ConnectionLost { .. }
    ));
}

#[tokio::test]
async fn a_lost_session_shows_at_once_in_the_delivery() {
    let router = Router::bind().await;
    let speaker = start(vec![router.neighbor()]);
    let route = route(1);
    speaker.apply([announce(route.clone())]).unwrap();
    let mut peer = router.session(&OpenScript::default()).await;
    peer.initial_sync().await;
    drop(router);
    peer.reset();
    wait_for("session_down", || {
        speaker.delivery(&key(&route)) == [(NAME.into(), Delivery::SessionDown)]
    })
    .await;
    wait_for("refused", || {
        matches!(
            speaker.peer(NAME).unwrap().last_error.unwrap().loss,
            Loss::ConnectFailed { .. }
        )
    })
    .await;
    assert!(speaker.peer(NAME).unwrap().session.is_none());
}

#[tokio::test]
async fn garbage_ends_the_session_and_nothing_else() {
    let router = Router::bind().await;
    let speaker = start(vec![router.neighbor()]);
    let mut bad_type = message(9, &[]);
    bad_type[18] = 9;
    let mut too_long = message(KEEPALIVE, &[]);
    too_long[16..18].copy_from_slice(&5000_u16.to_be_bytes());
    let cases: [(Vec<u8>, (u8, u8)); 5] = [
        (b"GET / HTTP/1.1\r\nHost: router\r\n\r\n".to_vec(), (1, 1)),
        (bad_type, (1, 3)),
        (too_long, (1, 2)),
        (message(KEEPALIVE, &[0]), (1, 2)),
        (message(UPDATE, &[0]), (1, 2)),
    ];
    for (bytes, expected) in cases {
        let mut peer = router.session(&OpenScript::default()).await;
        peer.initial_sync().await;
        peer.send(&bytes).await;
        assert_eq!(
            peer.expect(NOTIFICATION).await.notification(),
            expected,
            "{bytes:?}"
        );
    }
    router.session(&OpenScript::default()).await.initial_sync().await;
    assert_eq!(speaker.peer(NAME).unwrap().task_restarts, 0);
}

#[tokio::test]
async fn garbage_before_the_open_is_refused() {
    let router = Router::bind().await;
    let speaker = start(vec![router.neighbor()]);
    let mut peer = router.accept().await;
    peer.send(&[0; 64]).await;
    peer.expect_open().await;
    assert_eq!(peer.receive().await.notification(), (1, 1));
    wait_for("error", || last_notification(&speaker) == Some((1, 1))).await;
}

#[tokio::test]
async fn the_text_of_a_shutdown_is_shown_clean() {
    let router = Router::bind().await;
    let speaker = start(vec![router.neighbor()]);
    let mut peer = router.session(&OpenScript::default()).await;
    peer.initial_sync().await;
    let text = b"upgrade\x1b[31m till 4";
    let mut body = vec![6, 2, u8::try_from(text.len()).unwrap()];
    body.extend(text);
    peer.send(&message(NOTIFICATION, &body)).await;
    assert_eq!(
        peer.try_receive()
            .await
            .filter(|message| message.kind != KEEPALIVE),
        None,
        "no answer to a NOTIFICATION"
    );
    wait_for("the reason", || last_notification(&speaker) == Some((6, 2))).await;
    let shown = speaker.peer(NAME).unwrap().last_error.unwrap().loss.to_string();
    assert_eq!(
        shown,
        "the router ended the session: 6/2 Administrative Shutdown: upgrade [31m till 4"
    );
}

#[tokio::test]
async fn a_neighbour_that_announces_too_much_is_told_to_stop() {
    let router = Router::bind().await;
    let speaker = start(vec![router.neighbor()]);
    let mut peer = router.session(&OpenScript::default()).await;
    peer.initial_sync().await;
    let update = |n: u16| {
        let [high, low] = n.to_be_bytes();
        message(
            UPDATE,
            &[
                0, 0, 0, 15, 0x80, 14, 12, 0, 1, 133, 0, 0, 6, 1, 32, 10, 0, high, low,
            ],
        )
    };
    for n in 0..1000 {
        peer.send(&update(n)).await;
    }
    peer.send(&update(0)).await;
    wait_for("counted", || speaker.peer(NAME).unwrap().inbound_routes == 1000).await;
    peer.send(&update(1000)).await;
    assert_eq!(peer.expect(NOTIFICATION).await.notification(), (6, 1));
}

#[tokio::test]
async fn an_update_error_holds_the_neighbour_down() {
    let router = Router::bind().await;
    let speaker = start(vec![router.neighbor()]);
    let mut peer = router.session(&OpenScript::default()).await;
    peer.initial_sync().await;
    peer.send(&message(NOTIFICATION, &[3, 9])).await;
    wait_for_phase(&speaker, NAME, SessionPhase::Idle).await;
    let status = speaker.peer(NAME).unwrap();
    let wait = status.retry_at.unwrap().saturating_duration_since(Instant::now());
    assert!(wait > Duration::from_secs(5), "{wait:?}");

    let mut eager = Peer::dial(speaker.local_addrs()[0], Ipv4Addr::new(127, 0, 0, 1)).await;
    assert_eq!(
        eager.receive().await.notification(),
        (6, 5),
        "turned away although it dials"
    );
}

#[tokio::test]
async fn a_router_that_is_full_is_told_less_the_next_time() {
    let router = Router::bind().await;
    let speaker = start(vec![router.neighbor()]);
    speaker.apply((1..=20).map(route).map(announce)).unwrap();
    let mut peer = router.session(&OpenScript::default()).await;
    peer.initial_sync().await;
    peer.send(&message(NOTIFICATION, &[6, 1, 0, 1, 133, 0, 0, 0, 10]))
        .await;
    wait_for("the bound", || speaker.counts(NAME).unwrap().over_budget == 11).await;
    let loss = speaker.peer(NAME).unwrap().last_error.unwrap().loss;
    assert!(loss.is_prefix_limit(), "{loss}");
}

/// What a router is still sent before a withdrawal, after it has stopped reading: what the kernel holds, and one message.
#[tokio::test]
async fn a_withdrawal_overtakes_what_waits_for_a_slow_reader() {
    const RULES: u32 = 100_000;
    let slow = Router::bind_narrow().await;
    let speaker = start(vec![slow.neighbor()]);
    let mut peer = slow.session(&OpenScript::default()).await;
    peer.initial_sync().await;
    let taken_back = route(0);
    speaker.apply([announce(taken_back.clone())]).unwrap();
    peer.update().await;
    speaker.apply((1..=RULES).map(route).map(announce)).unwrap();
    wait_for("a window that is shut", || peer.has_shut_its_window()).await;
    assert!(speaker.peer(NAME).unwrap().totals.announced < u64::from(RULES));
    speaker.apply([withdraw(&taken_back)]).unwrap();
    let (mut rules, mut withdrawn) = (0, Vec::new());
    while withdrawn.is_empty() {
        let announced;
        (announced, withdrawn) = peer.update().await.nlri();
        rules += announced.len();
    }
    assert_eq!(withdrawn, [key(&taken_back).as_bytes().to_vec()]);
    assert!(rules < RULES as usize / 20, "{rules} rules came first");
}
