//! Against a router, in virtual time, that cannot take some rules.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::rib::tests::{KIND, attributes, believe, config, discard, up};
use crate::rib::{BATCH_BYTES, Batch, Generation, Pull, RibCounts};
use crate::route::Delivery;
use crate::status::NotificationInfo;

const HOLD: Duration = Duration::from_secs(30);
/// The router notices at once, but not in the same instant.
const REACTION: Duration = Duration::from_millis(3);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Death {
    Reset,
    UpdateError,
    Silence,
}

struct World {
    rib: Rib,
    now: Instant,
    generation: Generation,
    table: BTreeSet<Vec<u8>>,
    cannot_take: BTreeSet<u32>,
    death: Death,
    dies_at: Option<Instant>,
    sessions: usize,
}

impl World {
    fn new(cannot_take: impl IntoIterator<Item = u32>, death: Death) -> Self {
        let now = Instant::now();
        let mut rib = Rib::new(&config());
        Self {
            generation: up(&mut rib, now),
            rib,
            now,
            table: BTreeSet::new(),
            cannot_take: cannot_take.into_iter().collect(),
            death,
            dies_at: None,
            sessions: 1,
        }
    }

    fn announce(&mut self, rules: impl IntoIterator<Item = u32>) {
        let far = self.now + Duration::from_secs(1_000_000);
        for n in rules {
            let mut route = discard(n, self.now);
            route.not_after = far;
            self.rib.announce(route, self.now);
        }
    }

    /// What the writer would do next, done.
    fn write(&mut self) -> Option<Batch> {
        let Pull::Batch(batch) = self
            .rib
            .pull(self.generation, &attributes(), BATCH_BYTES, self.now)
        else {
            return None;
        };
        let before = self.table.clone();
        believe(&mut self.table, &batch.bytes);
        let is_deadly = |n: &u32| {
            let key = key(*n);
            self.table.contains(key.as_bytes()) && !before.contains(key.as_bytes())
        };
        if self.cannot_take.iter().any(is_deadly) && self.dies_at.is_none() {
            let after = if self.death == Death::Silence {
                HOLD
            } else {
                REACTION
            };
            self.dies_at = Some(self.now + after);
        }
        Some(batch)
    }

    fn die(&mut self) {
        let loss = match self.death {
            Death::Reset => Loss::ConnectionLost {
                detail: "reset".to_owned(),
            },
            Death::UpdateError => notification(3, 9),
            Death::Silence => notification(4, 0),
        };
        self.rib.session_lost(&loss, &[], HOLD, self.now);
        self.connect();
    }

    fn connect(&mut self) {
        self.table.clear();
        self.dies_at = None;
        self.now += Duration::from_millis(200);
        self.sessions += 1;
        self.generation = self
            .rib
            .session_up(KIND, BTreeSet::from(Family::FLOWSPEC), false, self.now);
    }

    /// Everything that can happen happens, until nothing is left or this moment is reached.
    fn run_until(&mut self, end: Instant) {
        while self.now < end {
            if let Some(batch) = self.write() {
                self.rib.written(batch, self.now);
                continue;
            }
            let later = match self
                .rib
                .pull(self.generation, &attributes(), BATCH_BYTES, self.now)
            {
                Pull::Later(at) => Some(at),
                Pull::Idle => None,
                Pull::Batch(_) | Pull::Stale => panic!("there was nothing a moment ago"),
            };
            let next = [later, self.dies_at, self.rib.next_release()]
                .into_iter()
                .flatten()
                .min()
                .map_or(end, |next| next.min(end));
            assert!(
                next > self.now || self.dies_at == Some(next),
                "it turns on the spot"
            );
            self.now = next;
            self.rib.release_due(self.now);
            if self.dies_at.is_some_and(|at| at <= self.now) {
                self.die();
            }
        }
    }

    fn run_for(&mut self, time: Duration) {
        self.run_until(self.now + time);
    }

    fn held(&self) -> BTreeSet<Vec<u8>> {
        self.table.clone()
    }
}

fn key(n: u32) -> NlriKey {
    discard(n, Instant::now()).rule.key().clone()
}

fn keys(rules: impl IntoIterator<Item = u32>) -> BTreeSet<Vec<u8>> {
    rules.into_iter().map(|n| key(n).as_bytes().to_vec()).collect()
}

fn notification(code: u8, subcode: u8) -> Loss {
    Loss::NotificationReceived(NotificationInfo {
        code,
        subcode,
        meaning: "",
        prefix_limit: None,
        text: None,
    })
}

fn death() -> impl Strategy<Value = Death> {
    prop_oneof![Just(Death::Reset), Just(Death::UpdateError), Just(Death::Silence)]
}

proptest! {
    /// However many rules there are and whichever the router cannot take: in the end it has all the others, and has
    /// lost few sessions over it.
    #[test]
    fn the_others_are_on_the_router_in_the_end(
        old in 0..30_u32,
        new in 1..300_u32,
        picks in proptest::collection::vec(any::<prop::sample::Index>(), 0..3),
        death in death(),
    ) {
        let bad: BTreeSet<u32> = picks.iter().map(|pick| old + pick.index(new as usize) as u32).collect();
        let mut world = World::new(bad.iter().copied(), death);
        world.announce(0..old);
        world.run_for(Duration::from_secs(600));
        prop_assert_eq!(world.sessions, 1);
        world.announce(old..old + new);
        world.run_for(Duration::from_secs(3600));
        let all = old + new;
        prop_assert_eq!(world.held(), keys((0..all).filter(|n| !bad.contains(n))));
        for n in &bad {
            prop_assert!(matches!(world.rib.delivery(&key(*n)), Some(Delivery::Quarantined(_))));
        }
        // One to suspect, one for all together after silence, one for each step of narrowing down, one to know; and
        // while that goes on, a second bad rule among the others may end a session for each step.
        prop_assert!(world.sessions <= 1 + 9 * bad.len(), "{} sessions", world.sessions);
        let before = world.sessions;
        world.run_for(Duration::from_secs(2 * 3600));
        prop_assert_eq!(world.sessions, before, "it came back");
    }

    /// The first promise: a rule that is new goes out in the next batch, and so does a withdrawal, whatever is suspected
    /// and tried at that moment.
    #[test]
    fn what_is_new_and_what_is_withdrawn_never_waits(
        rules in 2..60_u32,
        bad in any::<prop::sample::Index>(),
        death in death(),
        moments in proptest::collection::vec(1..20_000_u64, 1..12),
    ) {
        let mut world = World::new([bad.index(rules as usize) as u32], death);
        world.announce(0..rules);
        for (moment, n) in moments.into_iter().zip(1000..) {
            world.run_for(Duration::from_millis(moment));
            world.announce([n]);
            let batch = world.write().expect("nothing is sent");
            prop_assert!(world.table.contains(key(n).as_bytes()), "the rule waits");
            world.rib.written(batch, world.now);
            if n % 2 == 0 {
                world.rib.withdraw(&key(n));
                let batch = world.write().expect("nothing is sent");
                prop_assert!(!world.table.contains(key(n).as_bytes()), "the withdrawal waits");
                world.rib.written(batch, world.now);
            }
        }
    }
}

#[test]
fn a_bad_rule_among_twenty_costs_two_sessions_and_two_seconds() {
    let mut world = World::new([19], Death::Reset);
    let begin = world.now;
    world.announce(0..20);
    while world.rib.counts().quarantined == 0 {
        world.run_for(Duration::from_millis(10));
    }
    world.run_for(Duration::from_millis(10));
    assert_eq!(world.held(), keys(0..19));
    assert_eq!(world.sessions, 3);
    let took = world.now - begin;
    assert!(took < Duration::from_millis(2500), "{took:?}");
}

#[test]
fn thousands_of_rules_at_the_first_start_are_narrowed_down() {
    let mut world = World::new([2345], Death::UpdateError);
    let begin = world.now;
    world.announce(0..5000);
    while world.rib.counts().quarantined == 0 {
        world.run_for(Duration::from_millis(100));
        assert!(
            world.now - begin < Duration::from_secs(60),
            "{:?}",
            world.rib.counts()
        );
    }
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.held().len(), 4999);
    assert!(world.sessions <= 5, "{}", world.sessions);
}

#[test]
fn a_line_that_is_cut_costs_the_last_rules_one_hold_time() {
    let mut world = World::new([], Death::Silence);
    world.announce(0..20);
    world.run_for(Duration::from_secs(20));
    world.rib.session_lost(&notification(4, 0), &[], HOLD, world.now);
    world.connect();
    let back = world.now;
    world.announce([100]);
    world.run_for(Duration::from_millis(10));
    assert_eq!(world.held(), keys([100]));
    assert_eq!(world.rib.delivery(&key(1)), Some(Delivery::Probation));
    world.run_until(back + HOLD + Duration::from_millis(10));
    assert_eq!(world.held().len(), 21, "all of them together");
    world.run_for(2 * HOLD);
    assert_eq!(world.rib.counts().probation, 0);
    assert_eq!(world.sessions, 2);
}

/// A flood that starves BGP ends each session before the suspects are told, and they may be what would stop it.
#[test]
fn silence_that_comes_again_without_the_suspects_brings_them_back_at_once() {
    let mut world = World::new([], Death::Silence);
    world.announce(0..10);
    world.run_for(Duration::from_secs(600));
    world.announce(10..30);
    let starve = |world: &mut World| {
        world.run_for(HOLD - Duration::from_secs(1));
        world.die();
        world.run_for(Duration::from_millis(10));
    };
    starve(&mut world);
    assert_eq!(world.held(), keys(0..10));
    for n in 0..3 {
        let new = 100 + n;
        world.announce([new]);
        starve(&mut world);
        let all = keys((0..30).chain(100..=new));
        assert_eq!(world.held(), all, "everything with the next session");
        starve(&mut world);
        assert!(world.held().is_superset(&keys(0..10)), "what was good stays");
    }
}

/// The same after the narrowing has begun: one session more, because a second bad rule looks the same at first.
#[test]
fn silence_without_a_narrowed_group_brings_it_back_after_the_second_time() {
    let mut world = World::new([], Death::Silence);
    world.announce(0..20);
    world.run_for(Duration::from_secs(20));
    world.die();
    world.run_for(HOLD + Duration::from_secs(1));
    assert_eq!(world.held(), keys(0..20), "all on trial");
    world.die();
    for held in [false, true] {
        world.announce([100]);
        world.run_for(HOLD - Duration::from_secs(1));
        assert!(world.rib.counts().probation > 0);
        world.die();
        world.run_for(Duration::from_millis(10));
        assert_eq!(world.held() == keys((0..20).chain([100])), held);
    }
}

#[test]
fn parked_is_parked_for_four_hours_then_eight_and_then_a_day_at_most() {
    let mut world = World::new([0], Death::UpdateError);
    world.announce(0..2);
    let mut deaths = Vec::new();
    for _ in 0..6 {
        let before = world.sessions;
        let begin = world.now;
        while world.sessions == before {
            world.run_for(Duration::from_secs(60));
        }
        world.run_for(Duration::from_secs(60));
        deaths.push((world.now - begin).as_secs() / 3600);
    }
    // The first two in the same minute: one to suspect, one to know.
    assert_eq!(deaths, [0, 4, 8, 16, 24, 24]);
}

/// A rule that ends sessions by silence is told alone for longer than the hold timer takes.
#[test]
fn what_was_parked_for_silence_is_watched_for_longer_than_a_hold_time() {
    let mut world = World::new([0], Death::Silence);
    world.announce(0..10);
    world.run_for(Duration::from_secs(3600));
    assert_eq!(world.rib.counts().quarantined, 1);
    let mut times = 1;
    let mut retry = |world: &mut World| {
        let before = world.sessions;
        world.run_for(Duration::from_secs(2));
        assert_eq!(
            world.rib.delivery(&key(0)),
            Some(Delivery::Probation),
            "quiet first"
        );
        world.run_for(3 * HOLD);
        assert_eq!(world.sessions - before, 1, "alone, so one session tells");
        assert_eq!(world.held(), keys(1..10));
        times += 1;
        let Some(Delivery::Quarantined(parked)) = world.rib.delivery(&key(0)) else {
            panic!("not parked again")
        };
        assert_eq!(parked.times, times);
    };
    assert_eq!(world.rib.release(Some(&key(0))), 1);
    retry(&mut world);
    let due = world.rib.next_release().unwrap();
    world.run_until(due);
    retry(&mut world);

    // The line is cut in the quiet time before: the others come back at once, this one stays a suspect.
    world.rib.release(None);
    world.run_for(Duration::from_secs(1));
    world.die();
    world.run_for(Duration::from_millis(10));
    assert_eq!(world.held(), keys(1..10));
    assert_eq!(world.rib.delivery(&key(0)), Some(Delivery::Probation));

    // A router that takes it by now keeps it.
    world.cannot_take.clear();
    world.run_for(10 * HOLD);
    assert_eq!(world.held(), keys(0..10));
    assert_eq!(world.rib.counts().probation, 0);
}

/// One that is tried again and never gets its turn does not excuse another that ends every session.
#[test]
fn a_second_silent_rule_is_found_beside_one_that_is_tried_again() {
    let mut world = World::new([0, 15], Death::Silence);
    world.announce(0..10);
    world.run_for(Duration::from_secs(3600));
    assert_eq!(world.rib.release(Some(&key(0))), 1);
    world.announce(10..20);
    world.run_for(Duration::from_secs(3600));
    assert_eq!(world.held(), keys((1..15).chain(16..20)));
    assert_eq!(world.rib.counts().quarantined, 2);
}

#[test]
fn a_parked_rule_stays_parked_when_it_is_withdrawn_and_wanted_again() {
    let mut world = World::new([0], Death::UpdateError);
    world.announce(0..2);
    world.run_for(Duration::from_secs(60));
    world.rib.withdraw(&key(0));
    assert_eq!(world.rib.counts().quarantined, 0);
    world.announce([0]);
    assert_eq!(world.rib.counts().quarantined, 1);
    world.cannot_take.clear();
    assert_eq!(world.rib.release(Some(&key(1))), 0);
    assert_eq!(world.rib.release(Some(&key(0))), 1);
    world.run_for(Duration::from_secs(60));
    assert_eq!(world.held(), keys(0..2));
    assert_eq!(world.rib.counts().advertised, 2);
}

#[test]
fn what_is_parked_takes_no_room_in_the_budget() {
    let mut world = World::new([0], Death::UpdateError);
    world.rib.reconfigure(&crate::config::NeighborConfig {
        max_rules: Some(2),
        ..config()
    });
    world.announce(0..3);
    world.run_for(Duration::from_secs(60));
    assert_eq!(world.held(), keys(1..3));
}

#[test]
fn a_shape_is_parked_when_three_of_it_are_and_none_was_kept() {
    let mut world = World::new(0..100, Death::UpdateError);
    world.announce(0..10);
    world.run_for(Duration::from_secs(600));
    let deaths = world.sessions;
    assert!(deaths < 10, "{deaths}");
    assert_eq!(world.rib.counts().quarantined, 10);
    world.announce(10..20);
    world.run_for(Duration::from_secs(600));
    assert_eq!(world.sessions, deaths, "they are not even tried");
    let Some(Delivery::Quarantined(parked)) = world.rib.delivery(&key(15)) else {
        panic!("not parked")
    };
    assert!(parked.by_shape);
    world.cannot_take.clear();
    assert_eq!(world.rib.release(None), 20);
    world.run_for(Duration::from_secs(600));
    assert_eq!(world.held(), keys(0..20));
}

#[test]
fn a_shape_that_the_router_keeps_is_not_parked() {
    let mut world = World::new([5, 6, 7], Death::UpdateError);
    world.announce(0..5);
    world.run_for(Duration::from_secs(600));
    world.announce(5..8);
    world.run_for(Duration::from_secs(600));
    world.announce(8..10);
    world.run_for(Duration::from_secs(10));
    assert_eq!(world.held(), keys((0..5).chain(8..10)));
}

#[test]
fn another_configuration_is_another_attempt() {
    let mut world = World::new([0], Death::UpdateError);
    world.announce(0..2);
    world.run_for(Duration::from_secs(60));
    world.cannot_take.clear();
    world.rib.reconfigure(&config());
    world.run_for(Duration::from_secs(1));
    assert_eq!(
        world.rib.counts(),
        RibCounts {
            desired: 2,
            advertised: 2,
            ..RibCounts::default()
        }
    );
}

#[test]
fn a_stop_in_the_middle_of_a_trial_proves_nothing() {
    let mut world = World::new([0], Death::Reset);
    world.announce(0..20);
    while world.sessions == 1 {
        world.run_for(Duration::from_millis(1));
    }
    world.run_for(Duration::from_millis(50));
    let suspects = world.rib.counts().probation;
    assert_eq!(suspects, 20);
    world.rib.session_down();
    world.connect();
    assert_eq!(world.rib.counts().probation, suspects);
    world.run_for(Duration::from_secs(60));
    assert_eq!(world.held(), keys(1..20));
}

/// A router that takes no more rules (Cease/1) is held down for minutes, whatever is being looked into.
#[test]
fn a_loss_without_suspicion_is_not_excused_by_suspects_that_are_left() {
    let mut world = World::new([0], Death::Reset);
    world.announce(0..20);
    while world.sessions == 1 {
        world.run_for(Duration::from_millis(1));
    }
    assert_eq!(world.rib.counts().probation, 20);
    let lost = world.rib.session_lost(&notification(6, 1), &[], HOLD, world.now);
    assert!(!lost.excused && lost.suspects == 0, "{lost:?}");
    assert_eq!(world.rib.counts().probation, 20);
}

#[test]
fn the_rules_in_the_data_of_a_notification_are_found() {
    let mut world = World::new([], Death::Reset);
    world.announce(0..20);
    let host = crate::flowspec::Rule::host_route("203.0.113.10".parse().unwrap());
    let host = Arc::new(host.canonical().unwrap());
    world.rib.announce(
        Route {
            rule: host.clone(),
            action: crate::flowspec::Action::BLACKHOLE,
            ..discard(0, world.now)
        },
        world.now,
    );
    let of = |key: &NlriKey| [&[0x90, 14, 0, 12, 0, 1, 133, 0, 0], key.as_bytes(), &[0, 0]].concat();
    let names = |data: &[u8]| world.rib.named_in(data).into_iter().collect::<Vec<_>>();
    assert_eq!(names(&of(&key(7))), [key(7)]);
    assert_eq!(names(&of(host.key())), [host.key().clone()]);
    assert_eq!(names(&of(&key(99))), [], "never told");
    assert_eq!(names(&[]), []);
}

/// The process is another one: it remembers what is parked, and nothing else.
fn restart(world: &mut World) {
    let (_, remembered) = world.rib.remembered();
    let mut rib = Rib::new(&config());
    rib.remember(remembered, world.now);
    world.rib = rib;
    world.table.clear();
    world.dies_at = None;
}

#[test]
fn what_is_parked_outlives_the_process_and_ends_when_it_would_have() {
    let mut world = World::new([0], Death::UpdateError);
    world.announce(0..3);
    world.run_for(Duration::from_secs(60));
    let parked = world.rib.parked();
    let until = parked[0].1.until;
    restart(&mut world);
    assert_eq!(world.rib.parked(), parked);
    world.announce(0..3);
    world.connect();
    let sessions = world.sessions;
    world.run_until(until - Duration::from_secs(1));
    assert_eq!(world.sessions, sessions, "it was told again");
    assert_eq!(world.held(), keys(1..3));
    assert!(matches!(
        world.rib.delivery(&key(0)),
        Some(Delivery::Quarantined(_))
    ));
    // Tried again, alone, it ends the session and is parked for twice as long.
    world.run_for(Duration::from_secs(60));
    assert_eq!(world.sessions, sessions + 1);
    assert_eq!(world.held(), keys(1..3));
    assert_eq!(world.rib.parked()[0].1.times, 2);

    // By order as well, with the shape that it was parked for.
    restart(&mut world);
    world.announce(0..3);
    world.cannot_take.clear();
    world.connect();
    assert_eq!(world.rib.release(None), 1);
    world.run_for(Duration::from_secs(60));
    assert_eq!(world.held(), keys(0..3));
    assert!(world.rib.parked().is_empty());
}

#[test]
fn a_parked_shape_outlives_the_process() {
    let mut world = World::new(0..9, Death::UpdateError);
    world.announce(0..3);
    world.run_for(Duration::from_secs(3600));
    assert_eq!(world.rib.parked().len(), 3);
    restart(&mut world);
    world.announce(0..9);
    world.connect();
    let sessions = world.sessions;
    world.run_for(Duration::from_secs(3600));
    assert_eq!((world.sessions, world.held()), (sessions, keys([])));
    let Some(Delivery::Quarantined(parked)) = world.rib.delivery(&key(8)) else {
        panic!("it is tried");
    };
    assert!(parked.by_shape);
    assert_eq!(world.rib.release(None), 9);
}

/// Silence takes a hold time to show, also in the process that did not see the silence it was parked for.
#[test]
fn what_was_parked_for_silence_is_watched_as_long_after_a_restart() {
    let mut world = World::new([0], Death::Silence);
    world.announce(0..2);
    while world.rib.counts().quarantined == 0 {
        world.run_for(Duration::from_secs(10));
    }
    restart(&mut world);
    world.announce(0..2);
    world.connect();
    world.run_for(Duration::from_secs(10));
    let before = world.sessions;
    assert_eq!(world.rib.release(None), 1);
    world.announce(10..12);
    world.run_for(Duration::from_secs(120));
    assert_eq!((world.sessions, world.held()), (before + 1, keys([1, 10, 11])));
    assert_eq!(world.rib.parked()[0].1.times, 2);
}
