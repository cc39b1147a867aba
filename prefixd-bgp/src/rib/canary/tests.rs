//! Beside a neighbour that is alike and tries two kinds of rules of three.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

use proptest::prelude::*;
use tokio::time::Duration;

use super::*;
use crate::canary::{Canary, CanaryConfig};
use crate::flowspec::{BytesPerSecond, Dscp, Family};
use crate::rib::tests::{KIND, attributes, believe, config, drain, later, route};
use crate::rib::{BATCH_BYTES, Generation, Pull};
use crate::route::{Delivery, Priority};

const WAIT: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

fn police() -> Action {
    Action::police(BytesPerSecond::new(1000.0).unwrap())
}

fn mark() -> Action {
    Action::mark(Dscp::new(46).unwrap())
}

struct World {
    rib: Rib,
    seat: Seat,
    other: Seat,
    generation: Option<Generation>,
    table: BTreeSet<Vec<u8>>,
    now: Instant,
    end: Instant,
}

impl World {
    /// The other one is the first of these.
    fn new(max_rules: Option<usize>, tried: &[Action]) -> Self {
        let now = Instant::now();
        let canary = Canary::new(&CanaryConfig {
            group: "alike".into(),
            wait: WAIT,
        });
        let [seat, other] = ["this", "other"].map(|name| canary.join(&name.into(), Weak::new(), now));
        other.up(now);
        let end = later(later(now));
        for action in tried {
            let one = route(0, *action, end);
            assert_eq!(
                other.waits(one.rule.key(), Shape::of(&one.rule, *action), false),
                None
            );
        }
        let mut rib = Rib::new(&crate::config::NeighborConfig {
            max_rules,
            ..config()
        });
        rib.take_seat(Some(seat.clone()), now);
        Self {
            rib,
            seat,
            other,
            generation: None,
            table: BTreeSet::new(),
            now,
            end,
        }
    }

    fn up(&mut self) {
        self.table.clear();
        let families = BTreeSet::from(Family::FLOWSPEC);
        self.generation = Some(self.rib.session_up(KIND, families, true, self.now));
        self.seat.up(self.now);
        self.rib.follow_canary(self.now);
    }

    fn down(&mut self) {
        self.table.clear();
        self.generation = None;
        self.rib.session_down();
        self.seat.down(false, self.now);
    }

    fn announce(&mut self, n: u32, action: Action, level: u8) {
        let priority = Priority::new(level);
        self.rib.announce(
            Route {
                priority,
                ..route(n, action, self.end)
            },
            self.now,
        );
        self.now += SECOND / 10;
    }

    fn kept(&mut self, action: Action) {
        let rule = route(0, action, self.end).rule;
        let since = self.now - WAIT;
        self.other
            .brings([(Shape::of(&rule, action), since)].into_iter(), self.now);
        self.rib.follow_canary(self.now);
    }

    fn write(&mut self) {
        let sent = drain(&mut self.rib, self.generation.unwrap(), self.now);
        believe(&mut self.table, &sent);
    }

    fn delivery(&self, n: u32) -> Option<Delivery> {
        self.rib.delivery(route(n, mark(), self.end).rule.key())
    }

    fn told(&self) -> BTreeMap<NlriKey, Action> {
        let told = |one: crate::route::RouteStatus| Some((one.key, one.advertised?));
        self.rib.snapshot().into_iter().filter_map(told).collect()
    }

    fn action_told(&self, n: u32) -> Option<Action> {
        self.told().remove(route(n, mark(), self.end).rule.key())
    }
}

#[test]
fn what_stays_while_something_new_waits_has_its_place() {
    let mut world = World::new(Some(2), &[Action::DISCARD]);
    world.up();
    for n in 1..=3 {
        world.announce(n, police(), 1);
    }
    world.write();
    world.announce(1, Action::DISCARD, 1);
    world.write();
    assert!(matches!(world.delivery(1), Some(Delivery::Waiting(_))));
    assert_eq!(world.action_told(1), Some(police()), "as it was");
    assert_eq!(world.delivery(2), Some(Delivery::Advertised));
    assert!(
        matches!(world.delivery(3), Some(Delivery::OverBudget(_))),
        "there is no room"
    );
    // It is sent again as it was.
    let all = std::mem::take(&mut world.table);
    assert!(world.rib.resend(None, world.now));
    world.write();
    assert_eq!(world.table, all);
    assert_eq!(world.action_told(1), Some(police()));

    // The place goes to what is more important: it was changed last, so it is the youngest.
    world.announce(4, police(), 2);
    assert!(matches!(world.delivery(1), Some(Delivery::Waiting(_))));
    world.write();
    assert_eq!(world.action_told(1), None);
    assert_eq!((world.rib.counts().waiting, world.table.len()), (1, 2));
    world.kept(Action::DISCARD);
    assert!(matches!(world.delivery(1), Some(Delivery::OverBudget(_))));
    world.rib.withdraw(route(2, police(), world.end).rule.key());
    world.write();
    assert_eq!(
        world.delivery(3),
        Some(Delivery::Advertised),
        "the older of the two"
    );
    world.rib.withdraw(route(3, police(), world.end).rule.key());
    world.write();
    assert_eq!(world.action_told(1), Some(Action::DISCARD));
}

#[test]
fn what_does_less_waits_for_nobody() {
    let mut world = World::new(None, &[police(), mark()]);
    world.up();
    world.announce(1, Action::DISCARD, 1);
    world.announce(2, police(), 1);
    world.write();
    assert!(
        matches!(world.delivery(2), Some(Delivery::Waiting(_))),
        "it has nothing of it"
    );
    let faster = Action::police(BytesPerSecond::new(2000.0).unwrap());
    for action in [police(), faster, police(), mark()] {
        world.announce(1, action, 1);
        world.write();
        assert_eq!(world.action_told(1), Some(action), "of the same kind, or milder");
        assert_eq!(world.delivery(1), Some(Delivery::Advertised));
    }
    world.announce(1, police(), 1);
    world.write();
    assert_eq!(world.action_told(1), Some(mark()), "that is stricter");
    assert_eq!(world.rib.counts().waiting, 2);
    // With the session goes what it was told.
    world.down();
    world.up();
    world.write();
    assert_eq!(world.told(), BTreeMap::new());
}

/// It may go only in the place of the more: without that it is as new as any other.
#[test]
fn what_does_less_waits_once_the_more_is_taken_back() {
    let takes_back: [fn(&mut World); 2] = [
        |world| {
            world.rib.suspend(true);
            world.write();
            world.rib.suspend(false);
        },
        |world| {
            world.announce(2, Action::DISCARD, 2);
            world.write();
            world.rib.withdraw(route(2, mark(), world.end).rule.key());
        },
    ];
    for take_back in takes_back {
        let mut world = World::new(Some(1), &[Action::DISCARD, police()]);
        world.kept(Action::DISCARD);
        world.up();
        world.announce(1, Action::DISCARD, 1);
        let generation = world.generation.unwrap();
        let Pull::Batch(more) = world.rib.pull(generation, &attributes(), BATCH_BYTES, world.now) else {
            panic!("it is known to all");
        };
        believe(&mut world.table, &more.bytes);
        world.announce(1, police(), 1);
        assert_eq!(world.rib.counts().waiting, 0, "it would stand for the more");
        world.rib.written(more, world.now);
        take_back(&mut world);
        world.write();
        assert_eq!(world.action_told(1), None);
        assert!(matches!(world.delivery(1), Some(Delivery::Waiting(_))));
        world.kept(police());
        world.write();
        assert_eq!(world.action_told(1), Some(police()));
    }
}

#[test]
fn a_seat_in_another_group_proves_what_was_kept_for_long_enough_and_no_more() {
    let mut world = World::new(None, &[]);
    world.up();
    world.announce(1, Action::DISCARD, 1);
    world.write();
    world.now += WAIT / 2;
    world.announce(2, police(), 1);
    world.write();
    let group = Canary::new(&CanaryConfig {
        group: "another".into(),
        wait: WAIT,
    });
    let [seat, other] = ["this", "new"].map(|name| group.join(&name.into(), Weak::new(), world.now));
    let first = |action| {
        let rule = route(9, action, world.end).rule;
        let waiting = other.asking().waits(rule.key(), Shape::of(&rule, action), false);
        waiting.and_then(|waiting| waiting.first)
    };
    world.now += WAIT / 2;
    let version = world.rib.memory_version();
    seat.up(world.now);
    other.up(world.now);
    world.rib.take_seat(Some(seat), world.now);
    assert!(world.rib.memory_version() > version);
    let this: Arc<str> = "this".into();
    assert_eq!((first(Action::DISCARD), first(police())), (None, Some(this)));
    assert_eq!(world.delivery(2), Some(Delivery::Advertised));
    world.rib.follow_canary(world.now + WAIT / 2);
    assert_eq!(first(police()), None);
}

#[derive(Debug, Clone)]
enum Step {
    Announce(u32, usize, u8),
    Withdraw(u32),
    Pull,
    Written,
    Up,
    Down,
    Kept(bool),
    Resend,
    Suspend(bool),
    Budget(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..8_u32, 0..3_usize, 0..4_u8).prop_map(|(n, action, level)| Step::Announce(n, action, level)),
        3 => (0..8_u32).prop_map(Step::Withdraw),
        6 => Just(Step::Pull),
        6 => Just(Step::Written),
        1 => Just(Step::Up),
        1 => Just(Step::Down),
        1 => any::<bool>().prop_map(Step::Kept),
        1 => Just(Step::Resend),
        1 => any::<bool>().prop_map(Step::Suspend),
        1 => (1..8_usize).prop_map(Step::Budget),
    ]
}

proptest! {
    /// At every moment: no more is told than the bound allows; nothing of a kind that the other one tries is told, but in
    /// the place of something that does more; and nothing that does less waits.
    #[test]
    fn what_waits_neither_goes_out_nor_takes_the_room_of_others(steps in proptest::collection::vec(step(), 0..120)) {
        let actions = [Action::DISCARD, police(), mark()];
        let mut world = World::new(None, &actions[..2]);
        let mut config = config();
        let (mut budget, mut kept, mut suspended) = (usize::MAX, BTreeSet::new(), false);
        let mut in_flight = None;
        for step in steps {
            match step {
                Step::Announce(n, action, level) => world.announce(n, actions[action], level),
                Step::Withdraw(n) => world.rib.withdraw(route(n, mark(), world.end).rule.key()),
                Step::Pull => if let (Some(generation), None) = (world.generation, &in_flight) {
                    let before = world.told();
                    if let Pull::Batch(batch) = world.rib.pull(generation, &attributes(), BATCH_BYTES, world.now) {
                        believe(&mut world.table, &batch.bytes);
                        in_flight = Some(batch);
                    }
                    for (key, told) in world.told() {
                        let was = before.get(&key);
                        let stands_for_more = was.is_some_and(|was| *was == told || told.is_milder_than(*was));
                        let may = told == mark() || kept.contains(&(told == police())) || stands_for_more;
                        prop_assert!(may, "{told:?} in the place of {was:?}");
                    }
                    prop_assert!(world.table.len() <= budget, "{} of {budget}", world.table.len());
                },
                Step::Written => if let Some(batch) = in_flight.take() {
                    world.rib.written(batch, world.now);
                },
                Step::Up => {
                    in_flight = None;
                    world.up();
                }
                Step::Down => {
                    in_flight = None;
                    world.down();
                }
                Step::Kept(is_police) => {
                    kept.insert(is_police);
                    world.kept(actions[usize::from(is_police)]);
                }
                Step::Resend => {
                    world.rib.resend(None, world.now);
                }
                Step::Suspend(on) => {
                    suspended = on;
                    world.rib.suspend(on);
                }
                Step::Budget(rules) => {
                    budget = rules;
                    config.max_rules = Some(rules);
                    world.rib.reconfigure(&config);
                }
            }
            world.rib.follow_canary(world.now);
            for one in world.rib.snapshot() {
                let waits = matches!(one.delivery, Delivery::Waiting(_));
                if let (true, Some(told), Some(desired)) = (waits, one.advertised, one.desired) {
                    prop_assert!(!desired.action.is_milder_than(told) && desired.action != told);
                }
            }
        }
        if let Some(batch) = in_flight.take() {
            world.rib.written(batch, world.now);
        }
        if world.generation.is_some() {
            world.write();
            let told = world.told().into_keys().map(|key| key.as_bytes().to_vec());
            prop_assert_eq!(told.collect::<BTreeSet<_>>(), world.table.clone());
            prop_assert!(world.table.len() <= budget && (world.table.is_empty() || !suspended));
        }
        let rib = &world.rib;
        if budget < usize::MAX {
            let placed = rib.slots.iter().filter(|(.., entry)| entry.has_place()).count();
            prop_assert_eq!(rib.ranked.iter().map(BTreeSet::len).sum::<usize>(), placed);
            prop_assert_eq!(rib.admitted.iter().sum::<usize>(), placed);
            prop_assert!(placed <= budget);
        }
    }
}
