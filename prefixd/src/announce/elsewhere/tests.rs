//! Against rules as another POP decided them.

use super::super::tests::{mitigation, two};
use super::*;
use prefixd_api::rule::Action;
use serde_json::{Value, json};
use std::time::Duration;

fn traffic(proto: Option<u8>, sport: Option<u16>, dport: Option<u16>) -> Traffic {
    Traffic {
        dst: "203.0.113.1".parse().unwrap(),
        src: None,
        proto,
        sport,
        dport,
    }
}

fn police(dst_ports: &[&str]) -> Value {
    json!({"match": {"protocols": [17], "dst_ports": dst_ports, "src_ports": ["123"]}, "action_type": "police",
        "rate_bps": 5_000_000})
}

fn discard(dst_ports: &[&str]) -> Value {
    json!({"match": {"protocols": [17], "dst_ports": dst_ports, "src_ports": ["123"]}, "action_type": "discard"})
}

fn rtbh() -> Value {
    json!({"match": {}, "action_type": "rtbh"})
}

fn pop(name: &str, runs: bool) -> OtherPop {
    OtherPop {
        name: name.to_owned(),
        runs,
    }
}

struct There {
    all: Vec<Mitigation>,
    now: Timestamp,
}

impl There {
    /// Mitigations of one rule each, of fra1.
    fn new(rules: &[Value]) -> Self {
        let announcer = two();
        let of = |rule| Mitigation {
            pop: "fra1".into(),
            ..mitigation(&announcer, 1, rule)
        };
        Self {
            all: rules.iter().map(of).collect(),
            now: announcer.clock.now(),
        }
    }

    fn asked(&self, traffic: &Traffic) -> PopTraffic {
        traffic_elsewhere(&[pop("fra1", true)], &self.all, traffic, self.now).remove(0)
    }
}

#[tokio::test]
async fn the_first_rule_in_the_order_of_routers_decides() {
    let there = There::new(&[police(&["80"]), discard(&["443"]), rtbh()]);
    let at = there.asked(&traffic(Some(17), Some(123), Some(443)));
    let effective = at.effective.as_ref().unwrap();
    assert_eq!(
        (&at.verdict, effective.action, at.before.len()),
        (&TrafficVerdict::Matched, Action::Discard, 0)
    );
    assert_eq!(effective.mitigations, [there.all[1].mitigation_id]);
    let blackhole = at.blackhole.as_ref().unwrap();
    assert_eq!(blackhole.mitigations, [there.all[2].mitigation_id]);
    assert!(
        at.summary.contains("what passes is blackholed")
            && at.summary.contains("no neighbour there was seen"),
        "{}",
        at.summary
    );
    let open = there.asked(&traffic(Some(17), Some(123), None));
    assert_eq!((&open.verdict, open.before.len()), (&TrafficVerdict::Depends, 2));
    assert!(
        open.summary.starts_with("depends on the destination port: "),
        "{}",
        open.summary
    );
}

#[tokio::test]
async fn of_one_match_the_strictest_counts_and_what_is_inside_a_stricter_one_does_not() {
    let there = There::new(&[police(&["80"]), discard(&["80"])]);
    let at = there.asked(&traffic(Some(17), Some(123), Some(80)));
    let effective = at.effective.unwrap();
    assert_eq!(effective.action, Action::Discard);

    // The police rule comes first on a router and is kept from it.
    let there = There::new(&[police(&["80"]), discard(&[])]);
    let at = there.asked(&traffic(Some(17), Some(123), Some(80)));
    assert_eq!(at.effective.unwrap().mitigations, [there.all[1].mitigation_id]);
}

/// A milder rule of one address comes first on a router, inside a stricter one over its prefix, and stays there.
#[tokio::test]
async fn a_host_is_not_compared_with_what_is_over_its_prefix() {
    let host = police(&["80"]);
    let mut there = There::new(&[host, discard(&[])]);
    let over: ipnet::IpNet = "203.0.113.0/24".parse().unwrap();
    let aggregate = &mut there.all[1];
    aggregate.victim_ip = prefixd_api::victim::Victim::network(over).unwrap();
    let widened = aggregate.rules.iter().cloned().map(|mut rule| {
        rule.matches.dst_prefix = over;
        rule
    });
    aggregate.rules = widened.collect();
    let at = there.asked(&traffic(Some(17), Some(123), Some(80)));
    assert_eq!(at.effective.unwrap().mitigations, [there.all[0].mitigation_id]);
}

#[tokio::test]
async fn what_no_router_has_does_not_count() {
    let question = traffic(Some(17), Some(123), Some(80));
    let mut there = There::new(&[discard(&["80"])]);
    assert_eq!(there.asked(&question).verdict, TrafficVerdict::Matched);
    assert_eq!(
        traffic_elsewhere(&[pop("nyc1", true)], &there.all, &question, there.now)[0].verdict,
        TrafficVerdict::Unmatched,
        "it is of another POP"
    );
    let gone = traffic_elsewhere(&[pop("fra1", false)], &there.all, &question, there.now).remove(0);
    assert_eq!(gone.verdict, TrafficVerdict::Unknown, "its daemon is gone");
    assert!(gone.effective.is_some() && gone.summary.contains("decided: dst 203.0.113.1/32"));
    let lease = there.all[0].expires_at;
    there.all[0].expires_at = there.now;
    assert_eq!(
        there.asked(&question).verdict,
        TrafficVerdict::Unmatched,
        "its time is over, recorded or not"
    );
    there.all[0].expires_at = lease.saturating_add(Duration::from_secs(1));
    there.all[0].enforced = false;
    assert_eq!(
        there.asked(&question).verdict,
        TrafficVerdict::Unmatched,
        "a dry run"
    );
}
