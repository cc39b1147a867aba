//! What an operator can do to one neighbour, and what can be seen of it afterwards.

use std::net::Ipv4Addr;
use std::time::Duration;

use prefixd_bgp::flowspec::Family;
use prefixd_bgp::{Admin, Cause, Delivery, NeighborConfig, Occurrence, SessionChange, SessionPhase, Speaker};
use tokio::time::Instant;

use crate::harness::*;

const UNKNOWN: &str = "no neighbour is called nobody";

fn history(speaker: &Speaker) -> Vec<String> {
    let entries = speaker.history(NAME).unwrap();
    entries.iter().map(|entry| entry.what.to_string()).collect()
}

/// The family and the subtype of a ROUTE-REFRESH.
fn refresh(message: &Message) -> (u8, u8) {
    assert_eq!(message.kind, REFRESH, "{message:?}");
    (message.body[1], message.body[2])
}

#[tokio::test]
async fn disabling_withdraws_says_why_and_stays() {
    let router = Router::bind().await;
    let speaker = start(vec![router.neighbor()]);
    let (one, two) = (route(1), route(2));
    speaker.apply([announce(one.clone())]).unwrap();
    let mut events = speaker.events();
    let mut peer = router.session(&OpenScript::default()).await;
    peer.initial_sync().await;

    speaker.disable(NAME, "maintenance\n by ops").unwrap();
    assert_eq!(peer.update().await.nlri().1, [key(&one).as_bytes()]);
    let farewell = peer.expect(NOTIFICATION).await;
    assert_eq!(farewell.body, [&[6, 2, 19][..], b"maintenance  by ops"].concat());
    assert_eq!(peer.try_receive().await, None);
    wait_for_phase(&speaker, NAME, SessionPhase::Idle).await;

    speaker.apply([announce(two.clone())]).unwrap();
    for route in [&one, &two] {
        assert_eq!(speaker.delivery(&key(route)), [(NAME.into(), Delivery::Disabled)]);
    }
    let status = speaker.peer(NAME).unwrap();
    assert!(matches!(&status.admin, Admin::Disabled { text, .. } if &**text == "maintenance  by ops"));
    assert_eq!((status.flaps, status.retry_at, status.session), (0, None, None));
    let sent = status.last_sent.unwrap().info;
    assert_eq!(
        (sent.code, sent.subcode, sent.text.as_deref()),
        (6, 2, Some("maintenance  by ops"))
    );
    let mut eager = Peer::dial(speaker.local_addrs()[0], Ipv4Addr::LOCALHOST).await;
    assert_eq!(
        eager.receive().await.notification(),
        (6, 5),
        "turned away although it dials"
    );
    assert!(matches!(
        events.recv().await.unwrap().change,
        SessionChange::Up { .. }
    ));
    assert!(matches!(
        events.recv().await.unwrap().change,
        SessionChange::Down { loss: None }
    ));

    speaker.enable(NAME).unwrap();
    let mut peer = router.session(&OpenScript::default()).await;
    assert_eq!(peer.initial_sync().await.len(), 2);
    assert_eq!(speaker.peer(NAME).unwrap().admin, Admin::Enabled);
    speaker.enable(NAME).unwrap();
    assert_eq!(
        history(&speaker),
        [
            "session established with 10.0.0.2",
            "disabled: maintenance  by ops",
            "enabled",
            "session established with 10.0.0.2",
        ]
    );
}

#[tokio::test]
async fn a_neighbour_that_is_disabled_before_the_start_is_not_dialled() {
    let (off, on) = (
        Router::bind().await,
        Router::bind_at(Ipv4Addr::new(127, 0, 0, 2)).await,
    );
    let second = NeighborConfig {
        name: "second".into(),
        ..on.neighbor()
    };
    let speaker = Speaker::start(config(vec![off.neighbor(), second])).unwrap();
    speaker.disable(NAME, "").unwrap();
    speaker.apply([announce(route(1))]).unwrap();
    speaker.open();
    on.session(&OpenScript::default()).await.initial_sync().await;
    assert!(
        tokio::time::timeout(Duration::from_millis(300), off.listener.accept())
            .await
            .is_err(),
        "dialled although disabled"
    );
    speaker.enable(NAME).unwrap();
    assert_eq!(
        off.session(&OpenScript::default())
            .await
            .initial_sync()
            .await
            .len(),
        1
    );
}

#[tokio::test]
async fn a_changed_session_stays_disabled() {
    let (before, after) = (Router::bind().await, Router::bind().await);
    let speaker = start(vec![before.neighbor()]);
    before.session(&OpenScript::default()).await.initial_sync().await;
    speaker.disable(NAME, "").unwrap();
    wait_for_phase(&speaker, NAME, SessionPhase::Idle).await;
    speaker.reconfigure(vec![after.neighbor()]).unwrap();
    assert!(
        tokio::time::timeout(Duration::from_millis(300), after.listener.accept())
            .await
            .is_err(),
        "dialled although disabled"
    );
    assert!(speaker.peer(NAME).unwrap().admin.is_disabled());
    speaker.enable(NAME).unwrap();
    after.session(&OpenScript::default()).await.initial_sync().await;
}

#[tokio::test]
async fn disabling_a_router_that_does_not_read_is_bounded() {
    let stuck = Router::bind_narrow().await;
    let speaker = start(vec![stuck.neighbor()]);
    let peer = stuck.session(&OpenScript::default()).await;
    let changes: Vec<_> = (1..=40_000).map(route).map(announce).collect();
    speaker.apply(changes).unwrap();
    wait_for("stuck", || speaker.counts(NAME).unwrap().advertised > 0).await;
    speaker.disable(NAME, "").unwrap();
    wait_for_phase(&speaker, NAME, SessionPhase::Idle).await;
    assert!(
        speaker.peer(NAME).unwrap().last_error.is_none(),
        "closed by order, not by the hold timer"
    );
    drop(peer);
}

#[tokio::test]
async fn enabling_at_once_gives_back_what_was_being_withdrawn() {
    let router = Router::bind().await;
    let speaker = start(vec![router.neighbor()]);
    let route = route(1);
    speaker.apply([announce(route.clone())]).unwrap();
    router.session(&OpenScript::default()).await.initial_sync().await;
    speaker.disable(NAME, "").unwrap();
    speaker.enable(NAME).unwrap();
    // On the old session or on a new one, depending on who was first.
    let other = tokio::spawn(async move {
        loop {
            let mut peer = router.session(&OpenScript::default()).await;
            while peer.try_receive().await.is_some() {}
        }
    });
    wait_for("advertised", || {
        speaker.delivery(&key(&route)) == [(NAME.into(), Delivery::Advertised)]
    })
    .await;
    other.abort();
}

#[tokio::test]
async fn a_reset_is_back_within_a_second() {
    let router = Router::bind().await;
    let speaker = start(vec![router.neighbor()]);
    speaker.apply([announce(route(1))]).unwrap();
    let mut peer = router.session(&OpenScript::default()).await;
    peer.initial_sync().await;
    let begin = Instant::now();
    speaker.reset(NAME, "new policy").unwrap();
    let farewell = peer.expect(NOTIFICATION).await;
    assert_eq!(farewell.body, [&[6, 4, 10][..], b"new policy"].concat());
    let mut peer = router.session(&OpenScript::default()).await;
    assert_eq!(peer.initial_sync().await.len(), 1);
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    assert_eq!(speaker.peer(NAME).unwrap().flaps, 0, "it was asked for");
    assert_eq!(history(&speaker)[1], "reset: new policy");
}

#[tokio::test]
async fn a_reset_ends_the_hold_down_and_the_bound_of_a_full_router() {
    let router = Router::bind().await;
    let speaker = start(vec![router.neighbor()]);
    speaker.apply((1..=20).map(route).map(announce)).unwrap();
    let mut peer = router.session(&OpenScript::default()).await;
    peer.initial_sync().await;
    peer.send(&message(NOTIFICATION, &[6, 1, 0, 1, 133, 0, 0, 0, 10]))
        .await;
    wait_for_phase(&speaker, NAME, SessionPhase::Idle).await;
    wait_for("the bound", || speaker.counts(NAME).unwrap().over_budget == 11).await;
    speaker.reset(NAME, "raised its limit").unwrap();
    let mut peer = router.session(&OpenScript::default()).await;
    assert_eq!(peer.initial_sync().await.len(), 20);
    let status = speaker.peer(NAME).unwrap();
    assert_eq!(status.flaps_by_cause, [(Cause::Received(6, 1), 1)].into());
    let received = status.last_received.unwrap().info;
    assert_eq!((received.code, received.subcode), (6, 1));
}

#[tokio::test]
async fn a_resend_is_framed_as_a_refresh_and_waits_for_nothing() {
    let router = Router::bind().await;
    let speaker = start(vec![router.neighbor()]);
    speaker.apply([announce(route(1))]).unwrap();
    assert!(!speaker.resend(NAME, None).unwrap(), "there is no session");
    let mut peer = router.session(&OpenScript::default()).await;
    peer.initial_sync().await;
    for _ in 0..2 {
        assert!(speaker.resend(NAME, Some(Family::Ipv4)).unwrap());
        assert_eq!(refresh(&peer.expect(REFRESH).await), (1, 1));
        assert_eq!(peer.update().await.nlri().0, [key(&route(1)).as_bytes()]);
        assert_eq!(refresh(&peer.expect(REFRESH).await), (1, 2));
    }
    let entries = speaker.history(NAME).unwrap();
    let last = entries.last().unwrap();
    assert_eq!(
        (&last.what, last.times),
        (&Occurrence::Resent(Some(Family::Ipv4)), 2)
    );
    assert_eq!(speaker.peer(NAME).unwrap().established_total, 1);
}

#[tokio::test]
async fn nobody_cannot_be_administered() {
    let speaker = start(vec![]);
    assert_eq!(speaker.disable("nobody", "").unwrap_err().to_string(), UNKNOWN);
    assert_eq!(speaker.enable("nobody").unwrap_err().to_string(), UNKNOWN);
    assert_eq!(speaker.reset("nobody", "").unwrap_err().to_string(), UNKNOWN);
    assert_eq!(speaker.resend("nobody", None).unwrap_err().to_string(), UNKNOWN);
    assert!(speaker.history("nobody").is_none());
}

#[tokio::test]
async fn what_was_agreed_and_why_it_ended_can_be_seen() {
    let router = Router::bind().await;
    let speaker = start(vec![router.neighbor()]);
    let mut peer = router.session(&OpenScript::default()).await;
    peer.initial_sync().await;
    wait_for_phase(&speaker, NAME, SessionPhase::Established).await;
    let session = speaker.peer(NAME).unwrap().session.unwrap();
    assert!(session.dialled && session.four_octet_as && session.enhanced_refresh);
    assert!(!session.md5 && !session.ttl_security);
    assert_eq!(
        session.offered,
        [
            "ipv4-flowspec",
            "ipv6-flowspec",
            "route-refresh",
            "enhanced-route-refresh",
            "four-octet-as 65010"
        ]
    );
    peer.reset();
    let mut peer = router.session(&OpenScript::default()).await;
    peer.initial_sync().await;
    peer.send(&message(5, &[0, 2, 0, 133])).await;
    peer.expect(REFRESH).await;
    assert_eq!(
        history(&speaker),
        [
            "session established with 10.0.0.2",
            "session lost: the connection was lost: reset by the router",
            "session established with 10.0.0.2",
            "the router asked for the ipv6-flowspec rules again",
        ]
    );
    let causes = speaker.peer(NAME).unwrap().flaps_by_cause;
    assert_eq!(causes, [(Cause::ConnectionLost, 1)].into());
}
