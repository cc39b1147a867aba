//! Blackhole routes (RFC 7999): bytes of the unicast families on the wire of a session.

use std::net::IpAddr;

use prefixd_bgp::flowspec::{Action, Family, Rule};
use prefixd_bgp::{Delivery, NeighborConfig, Refusal, Route, Rtbh};

use crate::harness::*;

fn neighbor(router: &Router) -> NeighborConfig {
    NeighborConfig {
        families: Family::ALL.into(),
        rtbh: Some(Rtbh {
            next_hop: Some([192, 0, 2, 254].into()),
            next_hop_v6: Some("100::1".parse().unwrap()),
            ..Rtbh::default()
        }),
        ..router.neighbor()
    }
}

/// Both FlowSpec families and both of unicast.
fn open() -> OpenScript {
    OpenScript {
        unicast: true,
        ..OpenScript::default()
    }
}

fn blackhole(address: &str) -> Route {
    let address: IpAddr = address.parse().unwrap();
    Route {
        rule: Rule::host_route(address).canonical().unwrap().into(),
        action: Action::BLACKHOLE,
        ..route(1)
    }
}

/// The withdrawn and the announced prefixes in the fields of an UPDATE itself.
fn plain(update: &Message) -> (Vec<u8>, Vec<u8>) {
    assert_eq!(update.kind, UPDATE);
    let length = |at: usize| usize::from(u16::from_be_bytes([update.body[at], update.body[at + 1]]));
    let attributes_at = 2 + length(0);
    let withdrawn = update.body[2..attributes_at].to_vec();
    let announced = update.body[attributes_at + 2 + length(attributes_at)..].to_vec();
    (withdrawn, announced)
}

const V4: &[u8] = &[32, 203, 0, 113, 10];

#[tokio::test]
async fn a_host_is_announced_before_the_end_of_its_family_and_withdrawn() {
    let router = Router::bind().await;
    let speaker = start(vec![neighbor(&router)]);
    let routes = [blackhole("203.0.113.10"), blackhole("2001:db8::10"), route(7)];
    speaker.apply(routes.iter().cloned().map(announce)).unwrap();
    let mut peer = router.session(&open()).await;
    let mut first = Vec::new();
    // Three announcements and four ends.
    while first.len() < 7 {
        first.push(peer.expect(UPDATE).await);
    }
    let end_v4 = first.iter().position(|update| update.body == [0, 0, 0, 0]);
    let end_v6 = first
        .iter()
        .position(|update| update.body[4..] == [0x90, 15, 0, 3, 0, 2, 1]);
    let host_v4 = first.iter().position(|update| plain(update).1 == V4);
    let host_v6 = first
        .iter()
        .position(|update| update.body[4..12] == [0x90, 14, 0, 38, 0, 2, 1, 16]);
    assert!(host_v4.unwrap() < end_v4.unwrap(), "{first:?}");
    assert!(host_v6.unwrap() < end_v6.unwrap(), "{first:?}");
    wait_for("all written", || speaker.counts(NAME).unwrap().advertised == 3).await;

    speaker.apply([withdraw(&routes[0])]).unwrap();
    let update = peer.expect(UPDATE).await;
    assert_eq!(update.body, [&[0, 5][..], V4, &[0, 0]].concat());
    speaker.apply([withdraw(&routes[1])]).unwrap();
    let update = peer.expect(UPDATE).await;
    assert_eq!(update.body[4..11], [0x90, 15, 0, 20, 0, 2, 1]);
}

#[tokio::test]
async fn another_next_hop_is_sent_in_place() {
    let router = Router::bind().await;
    let speaker = start(vec![neighbor(&router)]);
    speaker.apply([announce(blackhole("203.0.113.10"))]).unwrap();
    let mut peer = router.session(&open()).await;
    for _ in 0..5 {
        peer.expect(UPDATE).await;
    }
    let mut moved = neighbor(&router);
    moved.rtbh.as_mut().unwrap().next_hop = Some([192, 0, 2, 253].into());
    let report = speaker.reconfigure(vec![moved]).unwrap();
    assert_eq!(report.adjusted, [NAME.into()], "the session goes on");
    let update = peer.expect(UPDATE).await;
    assert_eq!(plain(&update).1, V4);
    assert!(
        update
            .body
            .windows(7)
            .any(|part| part == [0x40, 3, 4, 192, 0, 2, 253]),
        "{update:?}"
    );
}

#[tokio::test]
async fn a_router_without_unicast_gets_no_blackhole() {
    let router = Router::bind().await;
    let speaker = start(vec![neighbor(&router)]);
    let host = blackhole("203.0.113.10");
    speaker
        .apply([announce(host.clone()), announce(route(7))])
        .unwrap();
    let mut peer = router.session(&OpenScript::default()).await;
    assert_eq!(peer.initial_sync().await.len(), 1);
    let at = speaker.route(NAME, host.rule.key()).unwrap().delivery;
    assert_eq!(at, Delivery::Refused(Refusal::FamilyNotNegotiated));
}

#[tokio::test]
async fn a_host_route_is_a_blackhole_and_a_rule_is_none() {
    let router = Router::bind().await;
    let speaker = start(vec![neighbor(&router)]);
    let host = Route {
        action: Action::DISCARD,
        ..blackhole("203.0.113.10")
    };
    let rule = Route {
        action: Action::BLACKHOLE,
        ..route(7)
    };
    for wrong in [host, rule] {
        speaker.apply([announce(wrong.clone())]).unwrap();
        let at = speaker.route(NAME, wrong.rule.key()).unwrap().delivery;
        assert_eq!(at, Delivery::Refused(Refusal::NotABlackhole));
    }
    let flowspec_alone = start(vec![router.neighbor()]);
    let host = blackhole("203.0.113.10");
    flowspec_alone.apply([announce(host.clone())]).unwrap();
    let at = flowspec_alone.route(NAME, host.rule.key()).unwrap().delivery;
    assert_eq!(at, Delivery::Refused(Refusal::FamilyNotConfigured));
}
