//! A router that resets the session over one rule, met for real: FRR 8.4 does it over six terms of ports.

use std::time::Duration;

use lab::routers::{Family, Kind, RouterRule};
use prefixd_bgp::flowspec::{Action, Component, NumericTerm};
use prefixd_bgp::{Delivery, Limits, Loss, NeighborConfig};
use tokio::time::Instant;

use crate::harness::*;

const OTHERS: u32 = 19;
const BAD: &str = "198.51.100.1/32";

#[tokio::test]
async fn frr_keeps_the_others_when_it_cannot_take_one_rule() {
    let Some(mut pair) = Pair::start(Kind::Frr, Transport::WeDial, Peering::External).await else {
        return;
    };
    // As an operator would who believes that the router takes more than the default.
    let lifted = NeighborConfig {
        limits: Limits {
            operators_per_component: 32,
            ..Limits::default()
        },
        ..pair.config.neighbors[0].clone()
    };
    pair.speaker.reconfigure(vec![lifted]).unwrap();
    let six = (1..=6).map(|n| NumericTerm::equal(n * 10)).collect();
    let bad = rule(BAD, Action::DISCARD, vec![Component::DestinationPort(six)]);
    let key = bad.rule.key().clone();
    let mut rules: Vec<_> = (0..OTHERS).map(numbered).collect();
    rules.insert(10, bad);
    pair.speaker.apply(rules.iter().map(announce)).unwrap();
    let begin = Instant::now();
    pair.wait(|status| status.rules.quarantined == 1 && status.rules.probation == 0)
        .await;
    let found = begin.elapsed();
    pair.wait_rules(Family::Ipv4Flow, OTHERS as usize).await;
    let back = begin.elapsed();
    assert!(
        back < Duration::from_secs(15),
        "found after {found:?}, all others back after {back:?}"
    );
    let Some(Delivery::Quarantined(parked)) = pair.speaker.route(NAME, &key).map(|route| route.delivery)
    else {
        panic!("not parked")
    };
    assert!(
        matches!(&parked.why, Loss::NotificationReceived(info) if info.code == 3),
        "{parked}"
    );

    // The table stays whole and the bad one stays away: while other rules come and go, over a router that asks for everything
    // again, and over a restart of the router.
    let is_whole = |held: &[RouterRule], count: usize| {
        let bad: ipnet::IpNet = BAD.parse().unwrap();
        held.len() == count && held.iter().all(|rule| rule.matches.destination != Some(bad))
    };
    let others = OTHERS as usize;
    for n in OTHERS..OTHERS + 5 {
        pair.speaker.apply([announce(&numbered(n))]).unwrap();
        let held = pair.wait_rules(Family::Ipv4Flow, others + 1).await;
        assert!(is_whole(&held, others + 1), "{held:#?}");
        pair.speaker.apply([withdraw(&numbered(n))]).unwrap();
        let held = pair.wait_rules(Family::Ipv4Flow, others).await;
        assert!(is_whole(&held, others), "{held:#?}");
    }
    let refreshes = pair.speaker.peer(NAME).unwrap().totals.refreshes;
    assert!(pair.speaker.resend(NAME, None).unwrap());
    pair.wait(|status| status.totals.refreshes > refreshes && status.rules.dirty == 0)
        .await;
    let held = pair.wait_rules(Family::Ipv4Flow, others).await;
    assert!(is_whole(&held, others), "{held:#?}");
    let before = pair.speaker.peer(NAME).unwrap();
    pair.router.kill9().unwrap();
    pair.wait(|status| status.session.is_none()).await;
    pair.router.restart().await.unwrap();
    let held = pair.wait_rules(Family::Ipv4Flow, others).await;
    assert!(is_whole(&held, others), "{held:#?}");
    // What the router lost it lost by our order: nothing was ended over a rule again.
    let after = pair.speaker.peer(NAME).unwrap();
    assert_eq!((after.flaps, after.rules.quarantined), (before.flaps + 1, 1));
    assert_eq!(after.rules.advertised, others);
    println!("found after {found:?}, all others back after {back:?}: {parked}");
}
