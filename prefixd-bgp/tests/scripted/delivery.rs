//! What is sent, and in which order.

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::time::Duration;

use prefixd_bgp::flowspec::{Action, BytesPerSecond};
use prefixd_bgp::{Delivery, NeighborConfig, Route};
use tokio::time::Instant;

use crate::harness::*;

/// A police rule of 125,000 bytes/s for 10.0.0.1, as it must appear after MP_REACH_NLRI on eBGP.
#[tokio::test]
async fn an_announcement_on_ebgp_byte_for_byte() {
    let router = Router::bind().await;
    let speaker = start(vec![router.neighbor()]);
    let mut peer = router.session(&OpenScript::default()).await;
    let action = Action::police(BytesPerSecond::new(125_000.0).unwrap());
    speaker.apply([announce(Route { action, ..route(1) })]).unwrap();
    #[rustfmt::skip]
    assert_eq!(
        peer.update().await.body,
        [
            0, 0, 0, 65,
            0x90, 14, 0, 15, 0, 1, 133, 0, 0, 9, 1, 32, 10, 0, 0, 1, 3, 0x81, 17,
            0x40, 1, 1, 0,
            0x40, 2, 6, 2, 1, 0, 0, 0xFD, 0xF2,
            0xC0, 8, 4, 0xFF, 0xFF, 0xFF, 0x01,
            0xC0, 16, 8, 0x80, 0x06, 0xFD, 0xF2, 0x47, 0xF4, 0x24, 0x00,
            0xC0, 32, 12, 0, 0, 0xFD, 0xF2, 0, 0, 0x22, 0xFB, 0, 0, 0, 1,
        ]
    );
}

#[tokio::test]
async fn an_announcement_on_ibgp_has_an_empty_path_and_a_local_preference() {
    let router = Router::bind().await;
    let speaker = start(vec![NeighborConfig {
        peer_asn: LOCAL_ASN,
        ..router.neighbor()
    }]);
    let mut peer = router
        .session(&OpenScript {
            asn: LOCAL_ASN,
            ..OpenScript::default()
        })
        .await;
    speaker.apply([announce(route(1))]).unwrap();
    let update = peer.update().await;
    #[rustfmt::skip]
    assert_eq!(
        update.body[23..],
        [
            0x40, 1, 1, 0,
            0x40, 2, 0,
            0x40, 5, 4, 0, 0, 0, 100,
            0xC0, 8, 4, 0xFF, 0xFF, 0xFF, 0x01,
            0xC0, 16, 8, 0x80, 0x06, 0xFD, 0xF2, 0, 0, 0, 0,
            0xC0, 32, 12, 0, 0, 0xFD, 0xF2, 0, 0, 0x22, 0xFB, 0, 0, 0, 1,
        ]
    );
}

#[tokio::test]
async fn a_withdrawal_holds_nothing_else() {
    let router = Router::bind().await;
    let speaker = start(vec![router.neighbor()]);
    let mut peer = router.session(&OpenScript::default()).await;
    let route = route(1);
    speaker.apply([announce(route.clone())]).unwrap();
    peer.update().await;
    speaker.apply([withdraw(&route)]).unwrap();
    let update = peer.update().await;
    assert_eq!(
        update.body,
        [
            0, 0, 0, 17, 0x90, 15, 0, 13, 0, 1, 133, 9, 1, 32, 10, 0, 0, 1, 3, 0x81, 17
        ]
    );
    wait_for("forgotten", || speaker.delivery(&key(&route)).is_empty()).await;
}

#[tokio::test]
async fn a_rule_taken_back_before_the_session_is_never_sent() {
    let router = Router::bind().await;
    let speaker = start(vec![router.neighbor()]);
    let (gone, kept) = (route(1), route(2));
    speaker
        .apply([announce(gone.clone()), announce(kept.clone()), withdraw(&gone)])
        .unwrap();
    let mut peer = router.session(&OpenScript::default()).await;
    assert_eq!(peer.initial_sync().await, [key(&kept).as_bytes()]);
}

#[tokio::test]
async fn withdrawals_go_first_and_ten_thousand_rules_are_packed() {
    let router = Router::bind().await;
    let speaker = start(vec![router.neighbor()]);
    let mut peer = router.session(&OpenScript::default()).await;
    peer.initial_sync().await;
    let old = route(1);
    speaker.apply([announce(old.clone())]).unwrap();
    peer.update().await;

    let changes = (2..10_002).map(route).map(announce).chain([withdraw(&old)]);
    let changes: Vec<_> = changes.collect();
    speaker.apply(changes).unwrap();
    let first = peer.update().await;
    assert_eq!(first.nlri(), (vec![], vec![key(&old).as_bytes().to_vec()]));
    let (mut messages, mut rules) = (0, 0);
    while rules < 10_000 {
        messages += 1;
        rules += peer.update().await.nlri().0.len();
    }
    assert_eq!(rules, 10_000);
    assert!(messages < 40, "{messages} messages of about 400 rules each");
}

#[tokio::test]
async fn the_action_of_a_rule_is_replaced_in_place() {
    let router = Router::bind().await;
    let speaker = start(vec![router.neighbor()]);
    let mut peer = router.session(&OpenScript::default()).await;
    let police = Action::police(BytesPerSecond::from_bits_per_second(8_000).unwrap());
    speaker
        .apply([announce(Route {
            action: police,
            ..route(1)
        })])
        .unwrap();
    let first = peer.update().await;
    speaker.apply([announce(route(1))]).unwrap();
    let second = peer.update().await;
    assert_eq!(first.nlri(), second.nlri());
    assert_ne!(first.body, second.body);
    wait_for("advertised", || {
        speaker.adj_rib_out(NAME).unwrap()[0].advertised == Some(Action::DISCARD)
    })
    .await;
}

#[tokio::test]
async fn the_speaker_ends_a_rule_by_itself() {
    let router = Router::bind().await;
    let speaker = start(vec![router.neighbor()]);
    let mut peer = router.session(&OpenScript::default()).await;
    let end = Instant::now() + Duration::from_secs(1);
    let (long, short) = (route(1), route_until(2, end));
    speaker.apply([announce(long.clone())]).unwrap();
    peer.update().await;
    speaker.apply([announce(short.clone())]).unwrap();
    peer.update().await;
    assert_eq!(peer.update().await.nlri().1, [key(&short).as_bytes()]);
    assert!(Instant::now() >= end);
    assert_eq!(speaker.peer(NAME).unwrap().totals.expired, 1);
    assert_eq!(speaker.counts(NAME).unwrap().desired, 1);
}

#[tokio::test]
async fn an_extended_rule_stays() {
    let router = Router::bind().await;
    let speaker = start(vec![router.neighbor()]);
    let mut peer = router.session(&OpenScript::default()).await;
    let soon = Instant::now() + Duration::from_millis(1500);
    let (extended, control) = (route_until(1, soon), route_until(2, soon));
    speaker
        .apply([announce(extended.clone()), announce(control.clone())])
        .unwrap();
    peer.update().await;
    speaker.apply([announce(route(1))]).unwrap();
    assert_eq!(
        peer.update().await.nlri(),
        (vec![], vec![key(&control).as_bytes().to_vec()])
    );
    assert_eq!(speaker.counts(NAME).unwrap().desired, 1);
}

#[tokio::test]
async fn a_rule_ends_without_a_session_too() {
    let router = Router::bind().await;
    let speaker = start(vec![router.neighbor()]);
    speaker
        .apply([announce(route_until(
            1,
            Instant::now() + Duration::from_millis(50),
        ))])
        .unwrap();
    wait_for("expired", || speaker.counts(NAME).unwrap().desired == 0).await;
    let mut peer = router.session(&OpenScript::default()).await;
    assert!(peer.initial_sync().await.is_empty());
}

#[tokio::test]
async fn a_refresh_is_framed_and_rate_limited() {
    let router = Router::bind().await;
    let speaker = start(vec![router.neighbor()]);
    speaker.apply([announce(route(1))]).unwrap();
    let mut peer = router.session(&OpenScript::default()).await;
    peer.initial_sync().await;
    let request = message(REFRESH, &[0, 1, 0, 133]);
    peer.send(&request).await;
    assert_eq!(peer.expect(REFRESH).await.body, [0, 1, 1, 133]);
    assert_eq!(peer.update().await.nlri().0, [key(&route(1)).as_bytes()]);
    assert_eq!(peer.expect(REFRESH).await.body, [0, 1, 2, 133]);

    peer.send(&request).await;
    peer.send(&request).await;
    wait_for("requests seen", || {
        speaker.peer(NAME).unwrap().received.route_refresh == 3
    })
    .await;
    speaker.apply([announce(route(2))]).unwrap();
    assert_eq!(
        peer.update().await.nlri().0,
        [key(&route(2)).as_bytes()],
        "the second refresh waits"
    );
    assert_eq!(speaker.peer(NAME).unwrap().totals.refreshes, 1);
}

#[tokio::test]
async fn announcements_are_paced_and_withdrawals_are_not() {
    let router = Router::bind().await;
    let paced = NeighborConfig {
        pace: NonZeroU32::new(100),
        ..router.neighbor()
    };
    let speaker = start(vec![paced]);
    let mut peer = router.session(&OpenScript::default()).await;
    peer.initial_sync().await;
    let begin = Instant::now();
    let routes: Vec<_> = (1..=50).map(route).collect();
    speaker.apply(routes.iter().cloned().map(announce)).unwrap();
    let first = peer.update().await.nlri().0.len();
    assert_eq!(first, 10, "a tenth of a second's worth at once");
    let mut rules = first;
    while rules < 50 {
        rules += peer.update().await.nlri().0.len();
    }
    assert!(
        begin.elapsed() >= Duration::from_millis(390),
        "40 more rules at 100 per second"
    );

    speaker.apply(routes.iter().map(withdraw)).unwrap();
    assert_eq!(peer.update().await.nlri().1.len(), 50, "all in one message");
}

#[tokio::test]
async fn a_change_for_one_neighbour_reaches_only_that_one() {
    let (one, two) = (
        Router::bind().await,
        Router::bind_at(Ipv4Addr::new(127, 0, 0, 2)).await,
    );
    let second = NeighborConfig {
        name: "second".into(),
        ..two.neighbor()
    };
    let speaker = start(vec![one.neighbor(), second]);
    let mut first = one.session(&OpenScript::default()).await;
    let mut second = two.session(&OpenScript::default()).await;
    let only = route(1);
    speaker
        .apply([prefixd_bgp::Change::Announce {
            target: prefixd_bgp::Target::Neighbor("second".into()),
            route: only.clone(),
        }])
        .unwrap();
    second.update().await;
    speaker.apply([announce(route(2))]).unwrap();
    assert_eq!(first.update().await.nlri().0, [key(&route(2)).as_bytes()]);
    wait_for("advertised", || {
        speaker.delivery(&key(&only)) == [("second".into(), Delivery::Advertised)]
    })
    .await;

    let unknown = prefixd_bgp::Change::Announce {
        target: prefixd_bgp::Target::Neighbor("third".into()),
        route: route(3),
    };
    let error = speaker.apply([unknown, announce(route(4))]).unwrap_err();
    assert_eq!(error.to_string(), "no neighbour is called third");
    assert_eq!(second.update().await.nlri().0, [key(&route(2)).as_bytes()]);
    assert_eq!(
        second.update().await.nlri().0,
        [key(&route(4)).as_bytes()],
        "the others are applied"
    );
}

#[tokio::test]
async fn latency_and_figures_are_counted() {
    let router = Router::bind().await;
    let speaker = start(vec![router.neighbor()]);
    let mut peer = router.session(&OpenScript::default()).await;
    peer.initial_sync().await;
    speaker.apply((1..=3).map(route).map(announce)).unwrap();
    wait_for("written", || speaker.counts(NAME).unwrap().advertised == 3).await;
    let status = speaker.peer(NAME).unwrap();
    assert_eq!(status.latency.count, 3);
    assert_eq!(status.latency.buckets.iter().sum::<u64>(), 3);
    assert_eq!(status.totals.announced, 3);
    assert!(status.totals.time_to_end_of_rib.is_some());
    assert_eq!((status.rules.desired, status.rules.dirty), (3, 0));
    assert_eq!((status.sent.open, status.received.open), (1, 1));
    assert!(status.sent.update >= 3);
    assert!(
        speaker
            .adj_rib_out(NAME)
            .unwrap()
            .iter()
            .all(|route| route.written_at.is_some())
    );
    assert_eq!(speaker.desired(NAME).unwrap().len(), 3);
    assert!(speaker.desired("nobody").is_none());
    assert_eq!(status.address, IpAddr::from([127, 0, 0, 1]));
}
