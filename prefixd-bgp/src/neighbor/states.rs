//! Every state of a neighbour against every event.
//!
//! A state is a [`Standing`]: both connections with how far they are and who made them, the attempt to dial, held down or
//! not, disabled or not, passive or not. Of their product [`Standing::impossible`] says what cannot be and why; the rest
//! is reached by letting events happen, and no state is reached that cannot be. In each of those each event is held to
//! `reference`, to the invariants of `world`, and to the tables in `active.txt` and `passive.txt`, which are for reading: a
//! change of the machine shows there as what it does to whom. `PREFIXD_UPDATE=1 cargo test -p prefixd-bgp states` writes
//! them anew.

mod event;
mod reference;
mod world;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;

use super::*;
use crate::status::SessionPhase;
use event::{Event, What, Which, events};
use world::World;

const TABLES: [(bool, &str, &str); 2] = [
    (false, "active.txt", include_str!("states/active.txt")),
    (true, "passive.txt", include_str!("states/passive.txt")),
];

/// What a neighbour is, without times and numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Standing {
    passive: bool,
    disabled: bool,
    held_down: bool,
    dialling: Attempt,
    current: Option<Link>,
    candidate: Option<Link>,
}

/// An attempt to dial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Attempt {
    No,
    Due,
    UnderWay,
}

/// A connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Link {
    phase: SessionPhase,
    by_us: bool,
}

impl Standing {
    fn of(neighbor: &Neighbor, now: Instant) -> Self {
        let link = |connection: &Option<Connection>| {
            connection.as_ref().map(|connection| Link {
                phase: connection.session.phase(),
                by_us: connection.session.direction() == Direction::Outgoing,
            })
        };
        Self {
            passive: neighbor.passive,
            disabled: neighbor.paused,
            held_down: neighbor.retry.held_down(now),
            dialling: match neighbor.dialling {
                Dialling::No => Attempt::No,
                Dialling::At(_) => Attempt::Due,
                Dialling::Connecting { .. } => Attempt::UnderWay,
            },
            current: link(&neighbor.current),
            candidate: link(&neighbor.candidate),
        }
    }

    fn link(&self, on: Which) -> Option<Link> {
        match on {
            Which::One => self.current,
            Which::Two => self.candidate,
        }
    }

    fn phase(&self, on: Which) -> Option<SessionPhase> {
        self.link(on).map(|link| link.phase)
    }

    fn set(&mut self, on: Which, link: Option<Link>) {
        match on {
            Which::One => self.current = link,
            Which::Two => self.candidate = link,
        }
    }

    /// The newer one takes the place of the older.
    fn remove(&mut self, on: Which) {
        match on {
            Which::One => self.current = self.candidate.take(),
            Which::Two => self.candidate = None,
        }
    }

    /// Why no neighbour can be so, if none can.
    fn impossible(&self) -> Option<&'static str> {
        use SessionPhase::{Established, OpenConfirm};
        let links = || [self.current, self.candidate].into_iter().flatten();
        let is_opened = |link: Option<Link>| link.is_some_and(|link| link.phase >= OpenConfirm);
        let is_connected = self.current.is_some();
        let by_us = links().any(|link| link.by_us);
        let established = links().any(|link| link.phase == Established);
        let rules = [
            (
                self.candidate.is_some() && !is_connected,
                "a connection that is alone is the current one",
            ),
            (
                self.phase(Which::Two) == Some(Established),
                "one that is established is the current one, and is alone then (RFC 4271 section 6.8)",
            ),
            (
                is_opened(self.current) && is_opened(self.candidate),
                "of two whose OPENs are known one is closed at once (section 6.8)",
            ),
            (
                links().all(|link| link.by_us) && self.candidate.is_some(),
                "nobody dials beside a connection that was dialled",
            ),
            (
                established && self.candidate.is_some_and(|link| link.by_us),
                "nobody dials beside an established session",
            ),
            (
                self.dialling == Attempt::Due && is_connected,
                "who is connected is not waiting to dial",
            ),
            (
                self.dialling == Attempt::UnderWay && (by_us || established),
                "an attempt ends with its connection, and with an established session",
            ),
            (
                self.passive && (self.dialling != Attempt::No || by_us),
                "who is passive is not dialled",
            ),
            (
                self.disabled && (self.dialling != Attempt::No || is_connected),
                "who is disabled is neither dialled nor connected",
            ),
            (
                self.held_down && is_connected,
                "who is held down is not connected",
            ),
            (
                !self.passive && !self.disabled && !is_connected && self.dialling == Attempt::No,
                "who is to be dialled is connected or dialled, now or later",
            ),
        ];
        rules
            .into_iter()
            .find_map(|(applies, why)| applies.then_some(why))
    }

    /// The product, possible or not.
    fn all() -> Vec<Self> {
        let mut links = vec![None];
        for phase in [
            SessionPhase::OpenSent,
            SessionPhase::OpenConfirm,
            SessionPhase::Established,
        ] {
            links.extend([true, false].map(|by_us| Some(Link { phase, by_us })));
        }
        let mut all = Vec::new();
        for flags in 0..8_u8 {
            for dialling in [Attempt::No, Attempt::Due, Attempt::UnderWay] {
                for current in &links {
                    all.extend(links.iter().map(|candidate| Self {
                        passive: flags & 1 != 0,
                        disabled: flags & 2 != 0,
                        held_down: flags & 4 != 0,
                        dialling,
                        current: *current,
                        candidate: *candidate,
                    }));
                }
            }
        }
        all
    }

    /// For the table.
    fn name(&self) -> String {
        let mut parts = Vec::new();
        for on in Which::BOTH {
            if let Some(link) = self.link(on) {
                let who = if link.by_us { "us" } else { "the router" };
                parts.push(format!("{} {} by {who}", on.number(), link.phase));
            }
        }
        let flags = [
            (self.dialling == Attempt::Due, "to be dialled"),
            (self.dialling == Attempt::UnderWay, "dialling"),
            (self.held_down, "held down"),
            (self.disabled, "disabled"),
        ];
        parts.extend(
            flags
                .iter()
                .filter(|(is, _)| *is)
                .map(|(_, name)| (*name).to_owned()),
        );
        if parts.is_empty() {
            parts.push("not connected".to_owned());
        }
        parts.join(", ")
    }
}

/// Every state that events lead to, each with the fewest of them.
fn reached(events: &[Event]) -> BTreeMap<Standing, (bool, Vec<usize>)> {
    let mut reached = BTreeMap::new();
    let mut next: VecDeque<(bool, Vec<usize>)> = [(false, vec![]), (true, vec![])].into();
    while let Some((passive, path)) = next.pop_front() {
        let standing = replayed(passive, &path, events).standing();
        if reached.contains_key(&standing) {
            continue;
        }
        reached.insert(standing, (passive, path.clone()));
        for (n, event) in events.iter().enumerate() {
            let mut world = replayed(passive, &path, events);
            if world.can(&event.what) && !event.what.is_the_end() {
                world.happens(&event.what);
                if !reached.contains_key(&world.standing()) {
                    next.push_back((passive, [&path[..], &[n]].concat()));
                }
            }
        }
    }
    reached
}

fn replayed(passive: bool, path: &[usize], events: &[Event]) -> World {
    let mut world = World::new(passive);
    for event in path {
        world.happens(&events[*event].what);
    }
    world
}

#[test]
fn every_state_that_can_be_is_reached_and_no_other() {
    let reached: BTreeSet<_> = reached(&events()).into_keys().collect();
    let possible = Standing::all()
        .into_iter()
        .filter(|one| one.impossible().is_none());
    assert_eq!(reached, possible.collect());
    assert_eq!(reached.len(), 39);
}

#[test]
fn every_state_against_every_event() {
    let events = events();
    let states = reached(&events);
    let mut cells = 0;
    for (passive, file, is) in TABLES {
        let mut table = heading(passive, &states);
        for (standing, (_, path)) in states.iter().filter(|(one, _)| one.passive == passive) {
            let world = replayed(passive, path, &events);
            let _ = writeln!(table, "\n{}  [{}]", standing.name(), world.described());
            let before = world.described();
            let mut rows: Vec<(String, Vec<&str>)> = Vec::new();
            for Event { name, what } in &events {
                let mut world = replayed(passive, path, &events);
                if !world.can(what) {
                    continue;
                }
                cells += 1;
                let done = world.happens(what);
                if let Some((said, after)) = reference::expected(*standing, what) {
                    assert_eq!(
                        (&done.said, world.standing()),
                        (&said, after),
                        "{standing:?}, {name}"
                    );
                }
                let outcome = match &done.said[..] {
                    [] if done.after == before => "nothing".to_owned(),
                    [] => format!("-> {}", done.after),
                    said => format!("{} -> {}", said.join(", "), done.after),
                };
                match rows.iter_mut().find(|(known, _)| *known == outcome) {
                    Some((_, names)) => names.push(name),
                    None => rows.push((outcome, vec![name])),
                }
            }
            for (outcome, names) in rows {
                table.push_str(&wrapped(&outcome, &names));
            }
        }
        same(&table, is, file);
    }
    // So that neither list shrinks unseen.
    assert_eq!(cells, 1994);
}

/// What arrives on a connection that is gone changes nothing, in any state.
#[test]
fn nothing_is_heard_of_a_connection_that_is_gone() {
    let events = events();
    for (standing, (passive, path)) in reached(&events) {
        for event in &events {
            let mut world = replayed(passive, &path, &events);
            let gone = ConnectionId(99);
            let input = match &event.what {
                What::Arrives { inbound, .. } => Input::Received(gone, inbound.clone()),
                What::Lost(_) => Input::Lost(gone, "reset".into()),
                _ => continue,
            };
            let now = world.now;
            assert!(world.neighbor.handle(input, now).is_empty(), "{}", event.name);
            assert_eq!(world.standing(), standing, "{}", event.name);
        }
    }
}

fn heading(passive: bool, states: &BTreeMap<Standing, (bool, Vec<usize>)>) -> String {
    let all = Standing::all().into_iter().filter(|one| one.passive == passive);
    let (mut product, mut reasons) = (0, BTreeMap::new());
    for standing in all {
        product += 1;
        if let Some(why) = standing.impossible() {
            *reasons.entry(why).or_insert(0) += 1;
        }
    }
    let kind = if passive { "passive " } else { "" };
    let possible = states.keys().filter(|one| one.passive == passive).count();
    let mut text = format!(
        "What a {kind}neighbour does in every state at every event. Connection 1 is the older, 2 the newer, 3 one that was just\n\
         made. \"close 6/7\" is with that NOTIFICATION. What is done comes before the arrow, what the neighbour is then behind it,\n\
         and behind the bar at which events. Written by the test in states.rs.\n\n\
         {possible} states can be, of a product of {product}. The others cannot, each for the first of these:\n"
    );
    for (why, count) in reasons {
        let _ = writeln!(text, "    {count:4}  {why}");
    }
    text
}

/// The outcome and the events behind it, in lines of a readable length.
fn wrapped(outcome: &str, names: &[&str]) -> String {
    const WIDTH: usize = 118;
    let mut text = String::new();
    let mut line = format!("    {outcome}  |");
    for (index, name) in names.iter().enumerate() {
        let end = if index + 1 == names.len() { "" } else { ";" };
        if line.len() + name.len() + 2 > WIDTH {
            let _ = writeln!(text, "{line}");
            line = " ".repeat(7);
        }
        let _ = write!(line, " {name}{end}");
    }
    text + &line + "\n"
}

fn same(table: &str, is: &str, file: &str) {
    if std::env::var_os("PREFIXD_UPDATE").is_some() {
        let path = format!("{}/src/neighbor/states/{file}", env!("CARGO_MANIFEST_DIR"));
        std::fs::write(path, table).unwrap();
        return;
    }
    for (line, (new, old)) in table.lines().zip(is.lines()).enumerate() {
        assert_eq!(
            new,
            old,
            "line {} of {file}; PREFIXD_UPDATE=1 writes it anew",
            line + 1
        );
    }
    assert_eq!(table.lines().count(), is.lines().count());
}
