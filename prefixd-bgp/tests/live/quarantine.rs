//! A router that resets the session over one rule, met for real: FRR 8.4 does it over six terms of ports.

use std::time::Duration;

use lab::routers::{Family, Kind};
use prefixd_bgp::flowspec::{Action, Component, NumericTerm};
use prefixd_bgp::{Delivery, Limits, Loss, NeighborConfig};
use tokio::time::Instant;

use crate::harness::*;

const OTHERS: u32 = 19;

#[tokio::test]
async fn frr_keeps_the_others_when_it_cannot_take_one_rule() {
    let Some(pair) = Pair::start(Kind::Frr, Transport::WeDial, Peering::External).await else {
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
    let bad = rule(
        "198.51.100.1/32",
        Action::DISCARD,
        vec![Component::DestinationPort(six)],
    );
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
    println!("found after {found:?}, all others back after {back:?}: {parked}");
}
