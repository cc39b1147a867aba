mod bound;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::flowspec::{Action, BytesPerSecond, Component, Rule};
use crate::route::{Bound, Delivery, Priority, Refusal, RouteStatus};
use crate::status::{Loss, NotificationInfo};
use crate::wire::AttributeSet;

pub(super) const KIND: SessionKind = SessionKind {
    internal: false,
    four_octet_as: true,
};

pub(super) fn config() -> NeighborConfig {
    NeighborConfig::new("router", IpAddr::from([192, 0, 2, 1]), 65001)
}

pub(super) fn attributes() -> AttributeSet {
    AttributeSet::new(65010, None).unwrap()
}

fn both() -> BTreeSet<Family> {
    BTreeSet::from(Family::FLOWSPEC)
}

pub(super) fn route(n: u32, action: Action, not_after: Instant) -> Route {
    let victim = Ipv4Addr::from(0x0A00_0000 + n);
    let rule = Rule {
        family: Family::Ipv4,
        components: vec![Component::DestinationPrefix(
            ipnet::IpNet::new(victim.into(), 32).unwrap(),
        )],
    };
    Route {
        rule: Arc::new(rule.canonical().unwrap()),
        action,
        priority: Priority::default(),
        not_after,
    }
}

pub(super) fn later(now: Instant) -> Instant {
    now + Duration::from_secs(3600)
}

pub(super) fn discard(n: u32, now: Instant) -> Route {
    route(n, Action::DISCARD, later(now))
}

/// Pulls and confirms until there is nothing left, and gives the bytes.
pub(super) fn drain(rib: &mut Rib, generation: Generation, now: Instant) -> Vec<u8> {
    let attributes = attributes();
    let mut bytes = Vec::new();
    loop {
        match rib.pull(generation, &attributes, BATCH_BYTES, now) {
            Pull::Batch(batch) => {
                bytes.extend(&batch.bytes);
                rib.written(batch, now);
            }
            Pull::Later(_) | Pull::Idle => return bytes,
            Pull::Stale => panic!("stale"),
        }
    }
}

pub(super) fn up(rib: &mut Rib, now: Instant) -> Generation {
    rib.session_up(KIND, both(), false, now)
}

#[test]
fn a_writer_of_an_earlier_session_gets_nothing_and_confirms_nothing() {
    let now = Instant::now();
    let mut rib = Rib::new(&config());
    rib.announce(discard(1, now), now);
    let old = up(&mut rib, now);
    let Pull::Batch(batch) = rib.pull(old, &attributes(), BATCH_BYTES, now) else {
        panic!("nothing to send")
    };
    rib.session_down();
    let new = up(&mut rib, now);
    rib.written(batch, now);
    assert_eq!(
        rib.counts().advertised,
        0,
        "the old batch says nothing about the new session"
    );
    assert!(matches!(
        rib.pull(old, &attributes(), BATCH_BYTES, now),
        Pull::Stale
    ));
    drain(&mut rib, new, now);
    assert_eq!(rib.counts().advertised, 1);
}

#[test]
fn a_change_while_the_rule_is_being_written_is_sent_after_it() {
    let now = Instant::now();
    let mut rib = Rib::new(&config());
    let generation = up(&mut rib, now);
    drain(&mut rib, generation, now);
    let route = discard(1, now);
    let key = route.rule.key().clone();
    rib.announce(route.clone(), now);
    let Pull::Batch(batch) = rib.pull(generation, &attributes(), BATCH_BYTES, now) else {
        panic!("nothing to send")
    };
    rib.withdraw(&key);
    assert_eq!(rib.delivery(&key), Some(Delivery::Withdrawing));
    assert!(
        matches!(rib.pull(generation, &attributes(), BATCH_BYTES, now), Pull::Idle),
        "not before the first is written"
    );
    rib.written(batch, now);
    let Pull::Batch(batch) = rib.pull(generation, &attributes(), BATCH_BYTES, now) else {
        panic!("no withdrawal")
    };
    rib.announce(route, now);
    assert_eq!(rib.delivery(&key), Some(Delivery::Queued));
    rib.written(batch, now);
    drain(&mut rib, generation, now);
    assert_eq!(rib.delivery(&key), Some(Delivery::Advertised));
}

#[test]
fn fresh_changes_overtake_the_resynchronisation() {
    let now = Instant::now();
    let mut rib = Rib::new(&NeighborConfig {
        pace: NonZeroU32::new(10),
        ..config()
    });
    for n in 1..=5 {
        rib.announce(discard(n, now), now);
    }
    let generation = up(&mut rib, now);
    let mut sent = Vec::new();
    let mut at = now;
    for step in 0..6 {
        if step == 2 {
            rib.announce(discard(99, at), at);
        }
        sent.push(drain(&mut rib, generation, at));
        at += Duration::from_millis(101);
    }
    let position = |n: u32| {
        let key = discard(n, now).rule.key().clone();
        sent.iter().position(|bytes| {
            bytes
                .windows(key.as_bytes().len())
                .any(|window| window == key.as_bytes())
        })
    };
    assert_eq!(
        (position(1), position(2), position(99), position(3)),
        (Some(0), Some(1), Some(2), Some(3))
    );
    assert_eq!(position(5), Some(5));
}

#[test]
fn end_of_rib_waits_for_the_resynchronisation_of_its_family() {
    let now = Instant::now();
    let mut rib = Rib::new(&NeighborConfig {
        pace: NonZeroU32::new(10),
        ..config()
    });
    rib.announce(discard(1, now), now);
    rib.announce(discard(2, now), now);
    let generation = up(&mut rib, now);
    let first = drain(&mut rib, generation, now);
    let end = |family| crate::wire::end_of_rib(family);
    assert!(first.ends_with(&end(Family::Ipv6)), "nothing to wait for in IPv6");
    let second = drain(&mut rib, generation, now + Duration::from_millis(101));
    assert!(second.ends_with(&end(Family::Ipv4)));
    assert!(rib.totals().time_to_end_of_rib.is_some());
}

#[test]
fn a_withdrawn_rule_does_not_hold_end_of_rib_up() {
    let now = Instant::now();
    let mut rib = Rib::new(&NeighborConfig {
        pace: NonZeroU32::new(10),
        ..config()
    });
    let (one, two) = (discard(1, now), discard(2, now));
    rib.announce(one, now);
    rib.announce(two.clone(), now);
    let generation = up(&mut rib, now);
    drain(&mut rib, generation, now);
    rib.withdraw(two.rule.key());
    assert_eq!(
        drain(&mut rib, generation, now),
        crate::wire::end_of_rib(Family::Ipv4)
    );
}

#[test]
fn an_extension_is_not_sent_again() {
    let now = Instant::now();
    let mut rib = Rib::new(&config());
    let generation = up(&mut rib, now);
    rib.announce(discard(1, now), now);
    drain(&mut rib, generation, now);
    rib.announce(route(1, Action::DISCARD, later(later(now))), now);
    assert!(rib.is_settled());
    assert_eq!(rib.next_expiry(), Some(later(later(now))));
}

#[test]
fn a_route_that_is_over_already_is_a_withdrawal() {
    let now = Instant::now();
    let mut rib = Rib::new(&config());
    rib.announce(discard(1, now), now);
    rib.announce(route(1, Action::DISCARD, now), now);
    assert_eq!(rib.counts(), RibCounts::default());
}

#[test]
fn a_rule_of_a_family_that_is_not_configured_is_refused() {
    let now = Instant::now();
    let mut rib = Rib::new(&NeighborConfig {
        families: BTreeSet::from([Family::Ipv6]),
        ..config()
    });
    let route = discard(1, now);
    rib.announce(route.clone(), now);
    let refused = Some(Delivery::Refused(Refusal::FamilyNotConfigured));
    assert_eq!(rib.delivery(route.rule.key()), refused);
    let generation = rib.session_up(KIND, BTreeSet::from([Family::Ipv6]), false, now);
    assert_eq!(
        drain(&mut rib, generation, now),
        crate::wire::end_of_rib(Family::Ipv6)
    );
    assert_eq!(rib.delivery(route.rule.key()), refused);
}

fn discard_v6(n: u8, now: Instant) -> Route {
    route_v6(n.into(), Action::DISCARD, later(now))
}

/// Every other one is of IPv6.
fn of_either_family(n: u32, action: Action, not_after: Instant) -> Route {
    match u16::try_from(n) {
        Ok(n) if n % 2 == 1 => route_v6(n, action, not_after),
        _ => route(n, action, not_after),
    }
}

fn route_v6(n: u16, action: Action, not_after: Instant) -> Route {
    let victim: std::net::Ipv6Addr = [0x2001, 0xdb8, 0, 0, 0, 0, 0, n].into();
    let rule = Rule {
        family: Family::Ipv6,
        components: vec![Component::DestinationPrefix(
            ipnet::IpNet::new(victim.into(), 128).unwrap(),
        )],
    };
    Route {
        rule: Arc::new(rule.canonical().unwrap()),
        action,
        priority: Priority::default(),
        not_after,
    }
}

/// Twenty IPv4 rules that were all told, then Cease/1 and a new session.
fn after_a_prefix_limit(named: Option<(Family, usize)>, also: &[Route], now: Instant) -> (Rib, Generation) {
    let mut rib = Rib::new(&config());
    for n in 0..20 {
        rib.announce(discard(n, now), now + Duration::from_secs(u64::from(n)));
    }
    for route in also {
        rib.announce(route.clone(), now);
    }
    let generation = up(&mut rib, now);
    drain(&mut rib, generation, now);
    rib.prefix_limit_reached(named, now);
    rib.session_down();
    let generation = up(&mut rib, now);
    drain(&mut rib, generation, now);
    (rib, generation)
}

fn advertised_v4(rib: &Rib, now: Instant) -> Vec<u32> {
    (0..20)
        .filter(|n| rib.delivery(discard(*n, now).rule.key()) == Some(Delivery::Advertised))
        .collect()
}

#[test]
fn after_a_prefix_limit_the_neighbour_is_told_nine_tenths_and_the_oldest_stay() {
    let now = Instant::now();
    let v6 = discard_v6(1, now);
    for (named, kept) in [(Some((Family::Ipv4, 10)), 9), (None, 16)] {
        let (mut rib, generation) = after_a_prefix_limit(named, std::slice::from_ref(&v6), now);
        assert_eq!(advertised_v4(&rib, now), (0..kept).collect::<Vec<_>>());
        assert_eq!(rib.delivery(v6.rule.key()), Some(Delivery::Advertised));
        let bound = usize::try_from(kept).unwrap();
        assert_eq!(
            rib.delivery(discard(kept, now).rule.key()),
            Some(Delivery::OverBudget(Bound::PrefixLimit(bound)))
        );

        rib.withdraw(discard(0, now).rule.key());
        drain(&mut rib, generation, now);
        assert_eq!(
            rib.delivery(discard(kept, now).rule.key()),
            Some(Delivery::Advertised)
        );
        rib.reconfigure(&config());
        assert_eq!(
            rib.counts().over_budget,
            0,
            "a new configuration is a new attempt"
        );
    }
}

#[test]
fn a_bound_without_a_name_leaves_room_for_the_family_that_did_not_reach_it() {
    let now = Instant::now();
    let (mut rib, generation) = after_a_prefix_limit(None, &[], now);
    let v6 = discard_v6(1, now);
    rib.announce(v6.clone(), now);
    drain(&mut rib, generation, now);
    assert_eq!(rib.delivery(v6.rule.key()), Some(Delivery::Advertised));
    assert!(rib.counts().advertised <= 18, "{:?}", rib.counts());
    for n in 2..20 {
        rib.announce(discard_v6(n, now), now);
    }
    drain(&mut rib, generation, now);
    assert_eq!(
        rib.counts().advertised,
        18,
        "the whole stays below what was too much"
    );
    assert_eq!(
        rib.delivery(discard_v6(19, now).rule.key()),
        Some(Delivery::OverBudget(Bound::PrefixLimit(18)))
    );
}

#[test]
fn a_guessed_bound_is_tried_again_later_each_time_and_a_named_one_is_not() {
    let now = Instant::now();
    let hour = Duration::from_secs(3600);
    let (mut rib, generation) = after_a_prefix_limit(None, &[], now);
    let mut at = now;
    for hours in [1, 2, 4, 8, 16, 24, 24] {
        assert_eq!(rib.next_lift(), Some(at + hour * hours));
        assert!(!rib.lift_due(at + hour * hours - Duration::from_secs(1)));
        assert!(rib.counts().over_budget > 0);
        at += hour * hours;
        assert!(rib.lift_due(at));
        assert_eq!((rib.counts().over_budget, rib.next_lift()), (0, None));
        drain(&mut rib, generation, at);
        rib.prefix_limit_reached(None, at);
    }
    let (rib, _) = after_a_prefix_limit(Some((Family::Ipv4, 10)), &[], now);
    assert_eq!(rib.next_lift(), None);
}

#[test]
fn a_prefix_limit_with_nothing_told_says_nothing() {
    let now = Instant::now();
    let mut rib = Rib::new(&config());
    let generation = up(&mut rib, now);
    drain(&mut rib, generation, now);
    rib.prefix_limit_reached(None, now);
    rib.announce(discard(1, now), now);
    assert_eq!(rib.counts().over_budget, 0);
}

#[test]
fn rules_of_a_family_that_was_not_negotiated_are_counted_as_refused() {
    let now = Instant::now();
    let mut rib = Rib::new(&config());
    rib.announce(discard(1, now), now);
    rib.announce(discard_v6(1, now), now);
    assert_eq!(rib.counts().refused, 0, "it may agree to both");
    let generation = rib.session_up(KIND, BTreeSet::from([Family::Ipv6]), false, now);
    drain(&mut rib, generation, now);
    let counts = rib.counts();
    assert_eq!((counts.desired, counts.advertised, counts.refused), (2, 1, 1));
    rib.session_down();
    assert_eq!(rib.counts().refused, 0);
}

#[test]
fn paced_rules_leave_together_and_not_one_by_one() {
    let now = Instant::now();
    let mut rib = Rib::new(&NeighborConfig {
        pace: NonZeroU32::new(1000),
        ..config()
    });
    let generation = up(&mut rib, now);
    for n in 0..150 {
        rib.announce(discard(n, now), now);
    }
    let attributes = attributes();
    let (mut at, mut updates) = (now, Vec::new());
    while !rib.is_settled() {
        match rib.pull(generation, &attributes, BATCH_BYTES, at) {
            Pull::Batch(batch) => {
                updates.push(batch.updates);
                rib.written(batch, at);
            }
            Pull::Later(then) => at = then,
            Pull::Idle | Pull::Stale => panic!("the rules were forgotten"),
        }
    }
    let messages: u64 = updates.iter().sum();
    // A burst of a hundred, the two End-of-RIB, and the rest ten at a time.
    assert!(messages <= 2 + 2 + 6, "{updates:?}");
    assert!(
        at - now <= Duration::from_millis(60),
        "no slower than the pace: {:?}",
        at - now
    );
}

#[test]
fn room_that_came_while_a_rule_was_to_be_withdrawn_is_used_after_the_session() {
    let now = Instant::now();
    let mut rib = Rib::new(&config());
    for n in 0..2 {
        rib.announce(discard(n, now), now + Duration::from_secs(n.into()));
    }
    let generation = up(&mut rib, now);
    drain(&mut rib, generation, now);
    rib.reconfigure(&NeighborConfig {
        max_rules: Some(1),
        ..config()
    });
    rib.withdraw(discard(0, now).rule.key());
    rib.session_down();
    assert_eq!(rib.counts().over_budget, 0);
    assert_eq!(
        rib.delivery(discard(1, now).rule.key()),
        Some(Delivery::SessionDown)
    );
}

#[test]
fn a_suspended_neighbour_is_told_nothing_and_gets_all_again_afterwards() {
    let now = Instant::now();
    let mut rib = Rib::new(&config());
    let generation = up(&mut rib, now);
    let (one, two) = (discard(1, now), discard(2, now));
    rib.announce(one.clone(), now);
    drain(&mut rib, generation, now);
    rib.suspend(true);
    rib.announce(two.clone(), now);
    assert_eq!(rib.delivery(one.rule.key()), Some(Delivery::Withdrawing));
    assert_eq!(rib.delivery(two.rule.key()), Some(Delivery::Disabled));
    drain(&mut rib, generation, now);
    assert!(rib.is_settled());
    assert_eq!((rib.counts().desired, rib.counts().advertised), (2, 0));
    assert_eq!(rib.delivery(one.rule.key()), Some(Delivery::Disabled));
    rib.suspend(false);
    drain(&mut rib, generation, now);
    assert_eq!(rib.counts().advertised, 2);
}

#[test]
fn a_bound_is_lifted_by_order() {
    let now = Instant::now();
    let (mut rib, _) = after_a_prefix_limit(Some((Family::Ipv4, 10)), &[], now);
    assert_eq!(rib.counts().over_budget, 11);
    assert!(rib.lift_bound());
    assert_eq!(rib.counts().over_budget, 0);
    assert!(!rib.lift_bound());
}

#[test]
fn a_turn_without_an_entry_is_passed_over() {
    let now = Instant::now();
    let mut rib = Rib::new(&config());
    let generation = up(&mut rib, now);
    drain(&mut rib, generation, now);
    let (lost, kept) = (discard(1, now), discard(2, now));
    rib.announce(lost.clone(), now);
    rib.announce(kept.clone(), now);
    let id = rib.slots.find(lost.rule.key()).unwrap();
    rib.slots.remove(id);
    drain(&mut rib, generation, now);
    assert_eq!(rib.delivery(kept.rule.key()), Some(Delivery::Advertised));
    assert_eq!(rib.delivery(lost.rule.key()), None);
}

fn important(n: u32, level: u8, now: Instant) -> Route {
    Route {
        priority: Priority::new(level),
        ..discard(n, now)
    }
}

#[test]
fn the_more_important_takes_the_place_of_the_least_and_youngest() {
    let now = Instant::now();
    let mut rib = Rib::new(&NeighborConfig {
        max_rules: Some(3),
        ..config()
    });
    let generation = up(&mut rib, now);
    for n in 0..3 {
        rib.announce(important(n, 1, now), now + Duration::from_secs(n.into()));
    }
    drain(&mut rib, generation, now);
    rib.announce(important(3, 1, now), now);
    let state = |rib: &Rib, n| rib.delivery(discard(n, now).rule.key());
    let full = Bound::MaxRules(3);
    assert_eq!(
        state(&rib, 3),
        Some(Delivery::OverBudget(full)),
        "only for a higher priority"
    );

    rib.announce(important(4, 2, now), now);
    assert_eq!(state(&rib, 2), Some(Delivery::Displaced(full)));
    let sent = drain(&mut rib, generation, now);
    let reach = sent.windows(2).position(|window| window == [0x90, 14]);
    let unreach = sent.windows(2).position(|window| window == [0x90, 15]);
    assert!(unreach < reach && unreach.is_some(), "room is made first");
    assert_eq!(state(&rib, 4), Some(Delivery::Advertised));
    let counts = rib.counts();
    assert_eq!(
        (counts.over_budget, counts.displaced, counts.budget),
        (2, 1, Some(3))
    );

    // One that waits becomes more important; one that has a place becomes less.
    rib.announce(important(3, 3, now), now);
    assert_eq!(state(&rib, 1), Some(Delivery::Displaced(full)));
    rib.announce(important(0, 0, now), now);
    assert_eq!(state(&rib, 0), Some(Delivery::Displaced(full)));
    drain(&mut rib, generation, now);
    assert_eq!(state(&rib, 1), Some(Delivery::Advertised), "the older of the two");
}

#[test]
fn what_was_displaced_comes_back_below_nine_tenths() {
    let now = Instant::now();
    let mut rib = Rib::new(&NeighborConfig {
        max_rules: Some(20),
        ..config()
    });
    let generation = up(&mut rib, now);
    for n in 0..20 {
        rib.announce(important(n, 1, now), now + Duration::from_secs(n.into()));
    }
    rib.announce(important(20, 2, now), now);
    let mut advertised = Vec::new();
    for n in 0..4 {
        rib.withdraw(discard(n, now).rule.key());
        drain(&mut rib, generation, now);
        advertised.push(rib.counts().advertised);
        if n == 0 {
            // Something new that is no more important waits behind what was displaced, the more important does not.
            rib.announce(important(30, 1, now), now + Duration::from_secs(60));
            drain(&mut rib, generation, now);
            assert_eq!(rib.counts().advertised, 19);
        }
    }
    // At 17 the displaced one returns; with it gone there is nothing to be careful about, and the last one follows.
    assert_eq!(advertised, [19, 18, 19, 18], "{:?}", rib.counts());
    assert_eq!(rib.counts().displaced, 0, "it was the first to come back");
    assert_eq!(rib.counts().over_budget, 0);
}

/// One displaced rule makes no others wait beside free places.
#[test]
fn what_was_never_displaced_takes_every_free_place() {
    let now = Instant::now();
    let at = |n: u32| now + Duration::from_secs(n.into());
    let mut rib = Rib::new(&NeighborConfig {
        max_rules: Some(20),
        ..config()
    });
    let generation = up(&mut rib, now);
    for n in 0..22 {
        rib.announce(important(n, 2, now), at(n));
    }
    let state = |rib: &Rib, n| rib.delivery(discard(n, now).rule.key());
    let full = Bound::MaxRules(20);
    rib.announce(important(0, 1, now), at(30));
    drain(&mut rib, generation, now);
    assert_eq!(state(&rib, 0), Some(Delivery::Displaced(full)));
    assert_eq!(
        state(&rib, 20),
        Some(Delivery::Advertised),
        "its place goes to the next at once"
    );
    rib.withdraw(discard(1, now).rule.key());
    drain(&mut rib, generation, now);
    assert_eq!(state(&rib, 21), Some(Delivery::Advertised));
    assert_eq!(rib.counts().advertised, 20);

    // The displaced one waits for more room, unless it outranks one that has a place.
    rib.withdraw(discard(2, now).rule.key());
    assert_eq!(state(&rib, 0), Some(Delivery::Displaced(full)));
    rib.announce(important(0, 1, now), at(31));
    assert_eq!(
        state(&rib, 0),
        Some(Delivery::Displaced(full)),
        "a longer time is no rank"
    );
    rib.announce(important(3, 0, now), at(32));
    drain(&mut rib, generation, now);
    assert_eq!(state(&rib, 0), Some(Delivery::Advertised));
    assert_eq!(state(&rib, 3), Some(Delivery::Advertised));
}

#[test]
fn what_would_be_displaced_is_what_then_is() {
    let now = Instant::now();
    let mut rib = Rib::new(&NeighborConfig {
        max_rules: Some(3),
        ..config()
    });
    let generation = up(&mut rib, now);
    for n in 0..3 {
        rib.announce(important(n, 1, now), now + Duration::from_secs(n.into()));
    }
    drain(&mut rib, generation, now);
    let key = |n| discard(n, now).rule.key().clone();
    let what_if = |announced: &[(u32, u8)], before: &[u32], after: &[u32]| {
        let route = |(n, level): &(u32, u8)| important(*n, *level, now);
        let changes = WhatIf {
            ends_before: before.iter().copied().map(key).collect(),
            announced: announced.iter().map(route).collect(),
            ends_after: after.iter().copied().map(key).collect(),
        };
        rib.clone().foresee(changes, now)
    };
    let full = Bound::MaxRules(3);
    let one = what_if(&[(4, 2)], &[], &[]);
    assert_eq!(
        (one.deliveries, one.displaced),
        (vec![Delivery::Queued], vec![key(2)])
    );
    let equal = what_if(&[(4, 1)], &[], &[]);
    assert_eq!(
        (equal.deliveries, equal.displaced),
        (vec![Delivery::OverBudget(full)], vec![])
    );
    let room = what_if(&[(4, 1)], &[0], &[]);
    assert_eq!(
        (room.deliveries, room.displaced),
        (vec![Delivery::Queued], vec![])
    );
    // What it replaces stays a moment beside it; what gives way for that moment alone is not displaced.
    let revised = what_if(&[(4, 2), (5, 0)], &[], &[0]);
    assert_eq!(revised.deliveries, [Delivery::Queued, Delivery::OverBudget(full)]);
    assert_eq!(revised.displaced, []);
    assert_eq!(what_if(&[(1, 2)], &[], &[]).displaced, []);
    // Nothing was changed.
    assert_eq!(rib.counts().advertised, 3);

    let mut then = rib.clone();
    then.announce(important(4, 2, now), now);
    assert_eq!(then.delivery(&key(2)), Some(Delivery::Displaced(full)));
}

#[test]
fn who_has_room_and_nothing_against_a_rule_would_tell_it() {
    let now = Instant::now();
    let mut rib = Rib::new(&NeighborConfig {
        max_rules: Some(2),
        families: [Family::Ipv4].into(),
        ..config()
    });
    let would_tell = |rib: &Rib, n| rib.would_tell(&discard(n, now).rule, Action::DISCARD, false);
    rib.announce(discard(1, now), now);
    assert!(would_tell(&rib, 2));
    rib.announce(discard(2, now), now);
    assert_eq!((would_tell(&rib, 1), would_tell(&rib, 3)), (true, false));
    rib.suspend(true);
    assert!(would_tell(&rib, 3), "it is told nothing, room or not");
    rib.suspend(false);
    rib.withdraw(discard(1, now).rule.key());
    assert!(would_tell(&rib, 3));
    rib.session_up(KIND, BTreeSet::from([Family::Ipv6]), false, now);
    rib.announce(discard(1, now), now);
    assert!(
        would_tell(&rib, 3),
        "the session did not agree to the family: there is nothing to tell"
    );
}

fn notification(code: u8) -> Loss {
    Loss::NotificationReceived(NotificationInfo {
        code,
        subcode: 0,
        meaning: "",
        prefix_limit: None,
        text: None,
    })
}

#[derive(Debug, Clone)]
enum Step {
    Announce(u32, bool, u8),
    Withdraw(u32),
    Pull,
    Written,
    Up,
    Down,
    Lost(u8),
    Release,
    Refresh,
    Resend,
    Suspend(bool),
    Budget(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..12_u32, any::<bool>(), 0..4_u8).prop_map(|(n, police, level)| Step::Announce(n, police, level)),
        3 => (0..12_u32).prop_map(Step::Withdraw),
        4 => Just(Step::Pull),
        4 => Just(Step::Written),
        1 => Just(Step::Up),
        1 => Just(Step::Down),
        1 => (3..6_u8).prop_map(Step::Lost),
        1 => Just(Step::Release),
        1 => Just(Step::Refresh),
        1 => Just(Step::Resend),
        1 => any::<bool>().prop_map(Step::Suspend),
        1 => (1..12_usize).prop_map(Step::Budget),
    ]
}

/// What the neighbour believes, from the messages alone.
pub(super) fn believe(table: &mut BTreeSet<Vec<u8>>, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let length = usize::from(u16::from_be_bytes([bytes[16], bytes[17]]));
        let (message, rest) = bytes.split_at(length);
        bytes = rest;
        if message[18] != 2 {
            continue;
        }
        let size = usize::from(u16::from_be_bytes([message[25], message[26]]));
        let value = &message[27..27 + size];
        let (mut nlri, reach) = if message[24] == 14 {
            (&value[5..], true)
        } else {
            (&value[3..], false)
        };
        while let Some(length) = nlri.first() {
            let (one, more) = nlri.split_at(1 + usize::from(*length));
            if reach {
                table.insert(one.to_vec());
            } else {
                assert!(table.remove(one), "withdrawn although never announced");
            }
            nlri = more;
        }
    }
}

proptest! {
    /// Whatever happens in whatever order: once everything is written, the neighbour holds exactly what is desired
    /// and admitted, the most important rules are those with a place, and the figures agree with the entries.
    #[test]
    fn the_neighbour_converges(steps in proptest::collection::vec(step(), 0..80)) {
        let mut now = Instant::now();
        let attributes = attributes();
        let mut config = config();
        let mut rib = Rib::new(&config);
        let mut session = None;
        let mut in_flight = None;
        let mut table = BTreeSet::new();
        let mut budget = usize::MAX;
        let mut suspended = false;
        let police = Action::police(BytesPerSecond::new(1000.0).unwrap());
        let end = later(later(now));
        for step in steps {
            match step {
                Step::Announce(n, police_it, level) => {
                    let action = if police_it { police } else { Action::DISCARD };
                    let priority = Priority::new(level);
                    rib.announce(Route { priority, ..of_either_family(n, action, end) }, now);
                }
                Step::Withdraw(n) => rib.withdraw(of_either_family(n, police, end).rule.key()),
                Step::Pull => {
                    if let (Some(generation), None) = (session, &in_flight)
                        && let Pull::Batch(batch) = rib.pull(generation, &attributes, BATCH_BYTES, now)
                    {
                        believe(&mut table, &batch.bytes);
                        in_flight = Some(batch);
                    }
                }
                Step::Written => if let Some(batch) = in_flight.take() {
                    rib.written(batch, now);
                },
                Step::Up => {
                    in_flight = None;
                    table.clear();
                    session = Some(rib.session_up(KIND, both(), true, now));
                }
                Step::Down => {
                    in_flight = None;
                    table.clear();
                    session = None;
                    rib.session_down();
                }
                Step::Lost(code) => {
                    in_flight = None;
                    table.clear();
                    session = None;
                    rib.session_lost(&notification(code), &[], Duration::from_secs(30), now);
                }
                Step::Release => {
                    rib.release(None);
                }
                Step::Refresh => rib.refresh(Family::Ipv4, now),
                Step::Resend => prop_assert_eq!(rib.resend(None, now), session.is_some()),
                Step::Suspend(on) => {
                    suspended = on;
                    rib.suspend(on);
                }
                Step::Budget(rules) => {
                    budget = rules;
                    config.max_rules = Some(rules);
                    rib.reconfigure(&config);
                }
            }
            now += Duration::from_millis(100);
            let fresh = route(12, Action::DISCARD, end);
            if !suspended && rib.would_tell(&fresh.rule, fresh.action, false) {
                let (mut then, key) = (rib.clone(), fresh.rule.key().clone());
                then.announce(fresh, now);
                let stands = then.delivery(&key);
                prop_assert!(matches!(stands, Some(Delivery::Queued | Delivery::SessionDown)), "{stands:?}");
            }
            for level in [0, 2, 5] {
                let fresh = Route { priority: Priority::new(level), ..route(12, Action::DISCARD, end) };
                let foreseen = rib.would_have_place(&fresh.rule, fresh.action, fresh.priority);
                let (mut then, key) = (rib.clone(), fresh.rule.key().clone());
                then.announce(fresh, now);
                let stands = then.delivery(&key);
                let waits = matches!(stands, Some(Delivery::OverBudget(_) | Delivery::Displaced(_) | Delivery::Quarantined(_)));
                prop_assert_eq!(foreseen, suspended || !waits, "{:?}", stands);
            }
        }
        if let Some(batch) = in_flight.take() {
            rib.written(batch, now);
        }
        if let Some(generation) = session {
            believe(&mut table, &drain(&mut rib, generation, now));
            // Trials take their time, each of them at most this.
            for _ in 0..50 {
                now += Duration::from_secs(60);
                believe(&mut table, &drain(&mut rib, generation, now));
            }
        }
        let snapshot = rib.snapshot();
        let counts = rib.counts();
        let count = |wanted: fn(&Delivery) -> bool| snapshot.iter().filter(|entry| wanted(&entry.delivery)).count();
        let desired: Vec<_> = snapshot.iter().filter(|entry| entry.desired.is_some()).collect();
        let waits = |delivery: &Delivery| matches!(delivery, Delivery::OverBudget(_) | Delivery::Displaced(_));
        prop_assert_eq!(counts.desired, desired.len());
        prop_assert_eq!(counts.over_budget, count(waits));
        for family in Family::ALL {
            let of = |entry: &&RouteStatus| entry.key.family() == family && entry.desired.is_some();
            let all = snapshot.iter().filter(of);
            prop_assert_eq!(rib.counts_of(family).desired, all.clone().count());
            let there = all.filter(|entry| entry.delivery == Delivery::Advertised).count();
            prop_assert_eq!(rib.counts_of(family).advertised, there);
            prop_assert_eq!(rib.counts_of(family).dirty, 0);
        }
        prop_assert_eq!(counts.displaced, count(|delivery| matches!(delivery, Delivery::Displaced(_))));
        prop_assert_eq!(counts.quarantined, count(|delivery| matches!(delivery, Delivery::Quarantined(_))));
        let admitted = desired.len() - counts.over_budget - counts.quarantined;
        prop_assert!(admitted <= budget);
        prop_assert!(counts.over_budget == 0 || admitted == budget || counts.displaced > 0 && admitted * 10 >= budget * 9);
        let priorities = |wanted: bool| {
            desired.iter().filter(move |entry| {
                waits(&entry.delivery) == wanted && !matches!(entry.delivery, Delivery::Quarantined(_))
            }).filter_map(|entry| Some(entry.desired.as_ref()?.priority))
        };
        if let (Some(waiting), Some(least)) = (priorities(true).max(), priorities(false).min()) {
            prop_assert!(waiting <= least, "one that is more important waits");
        }
        if session.is_some() {
            prop_assert!(rib.is_settled());
            prop_assert_eq!(counts.advertised, count(|delivery| *delivery == Delivery::Advertised));
            let held: BTreeSet<_> = desired
                .iter()
                .filter(|entry| entry.delivery == Delivery::Advertised)
                .map(|entry| entry.key.as_bytes().to_vec())
                .collect();
            prop_assert_eq!(held, table);
            prop_assert_eq!(counts.advertised, if suspended { 0 } else { admitted });
        } else {
            prop_assert_eq!(counts.advertised, 0);
            prop_assert_eq!(snapshot.len(), desired.len());
        }
        prop_assert_eq!(rib.deadlines.len(), desired.len());
        prop_assert_eq!(rib.waiting.iter().map(BTreeSet::len).sum::<usize>(), counts.over_budget);
        if budget < usize::MAX {
            prop_assert_eq!(rib.ranked.iter().map(BTreeSet::len).sum::<usize>(), admitted);
        }
    }
}
