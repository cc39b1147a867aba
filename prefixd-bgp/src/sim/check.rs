//! What must hold at every second, and at the end.

mod budget;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::{Duration, Instant};

use super::router::{End, Router, State};
use super::story::{Left, SILENCE, Side, World};
use super::wishes::{Community, Key, community};
use crate::canary::{Because, Waiting};
use crate::route::Delivery;
use crate::status::{Cause, PeerStatus, SessionPhase};

const SECOND: Duration = Duration::from_secs(1);
/// From a change to the table of a router that can be reached: a round trip, and the next look at the tables.
pub(super) const REACHES: Duration = Duration::from_millis(1500);
/// How long the rules of a neighbour that is disabled or removed may take, if it can be reached.
const ORDERLY: Duration = Duration::from_secs(6);
/// After something happened to a link, its router is held to the strict bounds again after this, beside the hold time.
const SETTLES: Duration = Duration::from_secs(40);

/// How often one rule may end a session until it is found, without other losses: halved each time.
const MOST_DEATHS: u32 = 6;

pub(super) struct Check {
    /// For each router the connections that were there at the last looks.
    held: Vec<[Vec<u64>; 2]>,
}

impl Check {
    pub(super) fn new(routers: usize) -> Self {
        Self {
            held: vec![Default::default(); routers],
        }
    }

    /// `quiet` says for how long nothing has happened any more.
    pub(super) fn every_second(&mut self, world: &World, quiet: Option<Duration>) -> Result<(), String> {
        let now = Instant::now();
        for (r, (router, side)) in world.routers.iter().zip(&world.sides).enumerate() {
            let state = router.state();
            if let Some(broken) = state.broken.first() {
                return Err(broken.clone());
            }
            no_rule_outlives_its_end(world, router, side, &state, now)?;
            holds_all_that_is_wished(world, router, side, &state, now)?;
            keeps_over_a_restart(world, router, side, &state, r, now)?;
            budget::is_kept(world, router, &state, now)?;
            drop(state);
            keeps_the_pace(router, side)?;
            self.few_connections(world, router, r)?;
            if let Some(quiet) = quiet {
                comes_back(router, side, quiet)?;
            }
        }
        if let Some(peer) = world.speaker.peers().iter().find(|peer| peer.task_restarts > 0) {
            return Err(format!("the task of {} failed", peer.name));
        }
        Ok(())
    }

    /// No more than two connections of a neighbour, beside those that are closing, which takes a second.
    fn few_connections(&mut self, world: &World, router: &Router, r: usize) -> Result<(), String> {
        let held = world.net.held(router.plan.address.ip());
        if world.restarted.as_ref().is_some_and(|last| !last.opened) {
            // Some wait until it is ready.
            return Ok(());
        }
        let [before, last] = &mut self.held[r];
        let long = held
            .iter()
            .filter(|id| before.contains(id) && last.contains(id))
            .count();
        *before = std::mem::replace(last, held);
        if long > 2 {
            return Err(format!("{long} connections with {}", router.plan.name));
        }
        Ok(())
    }

    /// Long after the last event, and when no rule has just come to its end: tables, figures and sessions agree.
    pub(super) fn at_rest(&self, world: &World) -> Result<(), String> {
        let now = Instant::now();
        for (router, side) in world.routers.iter().zip(&world.sides) {
            let state = router.state();
            let name = &router.plan.name;
            let unnamed = matches!(router.plan.max_prefix, Some((_, false)));
            let Some(session) = &state.session else {
                // One that does not name its bound is asked again and again, more modestly each time.
                if unnamed {
                    continue;
                }
                return Err(format!("{name} has no session"));
            };
            for family in &router.plan.families {
                if session.end_of_rib.get(family) != Some(&1) {
                    return Err(format!("{name}: End-of-RIB {:?}", session.end_of_rib));
                }
            }
            holds_what_it_may(world, router, side, &state, now)?;
            suspects_the_right_one(world, router, &state, now)?;
            budget::is_used(world, router, side, &state, now)?;
            waits_for_somebody(world, router, now)?;
            let peer = world.speaker.peer(name).ok_or("a neighbour is missing")?;
            // A bound that was named is kept until it is forgotten by order. Each family has its own.
            let full = peer
                .flaps_by_cause
                .get(&Cause::Received(6, 1))
                .copied()
                .unwrap_or_default();
            let families = router.plan.families.len().max(2) as u64;
            let due = families * (1 + u64::from(side.forgot_bound));
            if !unnamed && full > due {
                return Err(format!("{name} was filled {full} times, {due} at most were due"));
            }
            let stays = |key: &&Key| waiting(world, router, key).is_some();
            agrees(&peer, state.table.len(), state.table.keys().filter(stays).count())?;
        }
        Ok(())
    }

    /// After the stop nobody holds anything, and was told why; but those that agreed to keep it were told nothing.
    pub(super) fn stopped(
        &self,
        world: &World,
        unfinished: &[Arc<str>],
        left: &[Left],
        stopped_at: Instant,
    ) -> Result<(), String> {
        if !unfinished.is_empty() {
            return Err(format!("{unfinished:?} did not stop"));
        }
        for ((router, side), left) in world.routers.iter().zip(&world.sides).zip(left) {
            let state = router.state();
            if let Some(broken) = state.broken.first() {
                return Err(broken.clone());
            }
            if state.session.is_some() || (left.keeps.is_none() && !state.table.is_empty()) {
                return Err(format!(
                    "{} holds {} rules after the stop",
                    router.plan.name,
                    state.table.len()
                ));
            }
            let said = state.last_notification;
            let unnamed = matches!(router.plan.max_prefix, Some((_, false)));
            let expected = (!left.silent).then_some((6, 2));
            if said != expected && !unnamed {
                return Err(format!(
                    "{} was told {said:?}, not {expected:?}",
                    router.plan.name
                ));
            }
            let wished = world.wishes.desired(stopped_at).map(|(key, ..)| key);
            let due = |key: &&Key| router.plan.families.contains(&key.0) && !is_held_back(world, router, key);
            // Places may be taken by rules of families that the router does not take.
            let free = router.plan.max_prefix.is_none() && side.config.max_rules.is_none();
            if left.keeps.is_some() && free && state.table.is_empty() && wished.filter(due).count() > 0 {
                return Err(format!("{} kept nothing", router.plan.name));
            }
        }
        Ok(())
    }

    /// The restart time is over.
    pub(super) fn nothing_is_left(&self, world: &World) -> Result<(), String> {
        let left = world
            .routers
            .iter()
            .find(|router| !router.state().table.is_empty());
        left.map_or(Ok(()), |router| {
            Err(format!("{} holds rules after the restart time", router.plan.name))
        })
    }
}

fn hold(state: &State) -> Duration {
    // Between sessions there is nothing in the table.
    state
        .session
        .as_ref()
        .map_or(Duration::ZERO, |session| session.hold)
}

fn no_rule_outlives_its_end(
    world: &World,
    router: &Router,
    side: &Side,
    state: &State,
    now: Instant,
) -> Result<(), String> {
    // A silent connection ends by the hold time; one that is heard again before is no excuse after that.
    let by_timer = |since: Instant| since + hold(state) + 3 * SECOND;
    let excused_until = by_timer(side.disturbed)
        .min(side.thaws + REACHES)
        .max(state.died_at.map_or(now - SECOND, by_timer));
    // Who keeps rules over a restart has them until it has heard all of the next session, or until its time is over.
    let heard_all = state.session.as_ref().map(|session| session.since + SETTLES);
    for key in state.table.keys() {
        if state.kept.contains(key) && heard_all.is_none_or(|at| now <= at) {
            continue;
        }
        let gone = world.wishes.gone_since(key, now)?;
        let (gone, bound) = match gone {
            Some(gone) => (gone, REACHES),
            None if side.enabled && side.configured => continue,
            None => (side.acted_on, ORDERLY),
        };
        if now > gone + bound && now > excused_until {
            let since = now - gone;
            return Err(format!(
                "{} still holds {key:02x?}, {since:?} after its end",
                router.plan.name
            ));
        }
    }
    Ok(())
}

/// A router that has been well for a while holds every rule soon after it was wished, whatever happens to the others.
fn holds_all_that_is_wished(
    world: &World,
    router: &Router,
    side: &Side,
    state: &State,
    now: Instant,
) -> Result<(), String> {
    let calm = is_calm(side, state, now);
    let free =
        side.config.pace.is_none() && side.config.max_rules.is_none() && router.plan.max_prefix.is_none();
    let Some(session) = state
        .session
        .as_ref()
        .filter(|_| calm && free && side.enabled && side.configured)
    else {
        return Ok(());
    };
    // The one before may not have heard yet that its speaker is gone.
    let of_another = world
        .restarted
        .as_ref()
        .is_some_and(|last| session.since <= last.at);
    if session.since + REACHES > now || of_another {
        return Ok(());
    }
    let wished = world
        .wishes
        .desired(now)
        .filter(|(key, ..)| router.plan.families.contains(&key.0));
    for (key, community, since) in wished {
        let held_back = || is_held_back(world, router, key) || was_until_now(world, router, key, now);
        if since + REACHES <= now && state.table.get(key) != Some(&community) && !held_back() {
            let held = state.table.get(key);
            return Err(format!(
                "{} holds {key:02x?} as {held:02x?}, wished is {community:02x?} for {:?}; {:?}",
                router.plan.name,
                now - since,
                delivery(world, router, key)
            ));
        }
    }
    Ok(())
}

/// Nothing has happened to the router, its link or its neighbour for a while.
pub(super) fn is_calm(side: &Side, state: &State, now: Instant) -> bool {
    let settled = |since: Instant| since + hold(state) + SETTLES <= now;
    settled(side.disturbed_until) && settled(side.acted_on) && state.died_at.is_none_or(settled)
}

/// What goes on over a restart of the speaker never leaves a router that agreed to keep it, and nothing stays with one that
/// is told that not all was restored.
fn keeps_over_a_restart(
    world: &World,
    router: &Router,
    side: &Side,
    state: &State,
    r: usize,
    now: Instant,
) -> Result<(), String> {
    let Some(restarted) = &world.restarted else {
        return Ok(());
    };
    let before = |at: Instant| at < restarted.at;
    let undisturbed = before(side.disturbed)
        && before(side.acted_on)
        && state.died_at.is_none_or(before)
        && state.ended_with_a_word.is_none_or(before);
    if !undisturbed {
        return Ok(());
    }
    let name = &router.plan.name;
    let back = state.session.as_ref().map(|session| session.since);
    let back = back.filter(|since| *since > restarted.at);
    if restarted.incomplete && back.is_some() && !state.kept.is_empty() {
        return Err(format!("{name} keeps rules although not all were restored"));
    }
    // Too late it gets them again.
    let in_time = |kept: &&(_, Instant)| back.unwrap_or(now) < kept.1;
    let Some((kept, _)) = restarted.kept[r].as_ref().filter(in_time) else {
        return Ok(());
    };
    let free = side.config.max_rules.is_none() && router.plan.max_prefix.is_none();
    let goes_on = |since: Instant| since <= restarted.at && free;
    let gap = world.wishes.desired(now).find(|(key, _, since)| {
        goes_on(*since) && kept.contains_key(*key) && !state.table.contains_key(*key)
    });
    gap.map_or(Ok(()), |(key, ..)| {
        Err(format!("{name} lost {key:02x?} over the restart of the speaker"))
    })
}

/// The speaker suspects the rule of ending sessions, or another router is told it first.
fn is_held_back(world: &World, router: &Router, key: &Key) -> bool {
    is_suspected(world, router, key) || waiting(world, router, key).is_some()
}

/// The speaker suspects the rule of ending sessions.
fn is_suspected(world: &World, router: &Router, key: &Key) -> bool {
    let delivery = delivery(world, router, key);
    matches!(delivery, Some(Delivery::Quarantined(_) | Delivery::Probation))
}

/// Another router is told such a rule first.
fn waiting(world: &World, router: &Router, key: &Key) -> Option<Waiting> {
    match delivery(world, router, key)? {
        Delivery::Waiting(waiting) => Some(waiting),
        _ => None,
    }
}

/// What the speaker has told the router of a rule.
fn told(world: &World, router: &Router, key: &Key) -> Option<Community> {
    let route = world.speaker.route(&router.plan.name, world.wishes.nlri(key)?)?;
    route.advertised.map(community)
}

/// In the end a rule waits only where the first has parked it. Where budgets are full nobody may be the first; but nobody
/// waits for a rule that another one of them has.
fn waits_for_somebody(world: &World, router: &Router, now: Instant) -> Result<(), String> {
    let bounded = world
        .routers
        .iter()
        .any(|router| router.plan.max_prefix.is_some())
        || world.sides.iter().any(|side| side.config.max_rules.is_some());
    let has = |other: &Arc<Router>, key: &Key| {
        let for_long = |since: Instant| since + SETTLES <= now;
        matches!(delivery(world, other, key), Some(Delivery::Advertised))
            && other
                .state()
                .session
                .as_ref()
                .is_some_and(|session| for_long(session.since))
    };
    for (key, ..) in world.wishes.desired(now) {
        let Some(waiting) = waiting(world, router, key) else {
            continue;
        };
        // What it waits for has gone out and stayed.
        let others = || {
            world
                .routers
                .iter()
                .filter(|other| other.plan.name != router.plan.name)
        };
        let is_there = || others().any(|other| has(other, key) && written_before(world, other, key, now));
        if waiting.because != Because::Parked && (!bounded || is_there()) {
            return Err(format!("{} waits for {key:02x?}: {waiting}", router.plan.name));
        }
    }
    Ok(())
}

/// For longer than any rule is tried.
fn written_before(world: &World, router: &Router, key: &Key, now: Instant) -> bool {
    let nlri = world.wishes.nlri(key);
    let route = nlri.and_then(|nlri| world.speaker.route(&router.plan.name, nlri));
    route
        .and_then(|route| route.written_at)
        .is_some_and(|at| at + SETTLES <= now)
}

/// It was told a moment ago, as suspects are when their time comes.
fn was_until_now(world: &World, router: &Router, key: &Key, now: Instant) -> bool {
    let nlri = world.wishes.nlri(key);
    let route = nlri.and_then(|nlri| world.speaker.route(&router.plan.name, nlri));
    route
        .and_then(|route| route.written_at)
        .is_some_and(|at| at + REACHES > now)
}

fn delivery(world: &World, router: &Router, key: &Key) -> Option<Delivery> {
    let route = world.speaker.route(&router.plan.name, world.wishes.nlri(key)?)?;
    Some(route.delivery)
}

/// Where nothing but the deadly rule ends a session, it alone is suspected in the end, and was told few times.
fn suspects_the_right_one(world: &World, router: &Router, state: &State, now: Instant) -> Result<(), String> {
    let deadly = router.plan.deadly.map(|(n, _)| world.wishes.key(n));
    let name = &router.plan.name;
    if let Some(deadly) = &deadly
        && world
            .wishes
            .gone_since(deadly, now)
            .is_ok_and(|gone| gone.is_none())
        && router.plan.families.contains(&deadly.0)
        && matches!(
            delivery(world, router, deadly),
            Some(Delivery::Queued | Delivery::Advertised)
        )
    {
        return Err(format!(
            "{name} is still to be told {deadly:02x?}, which it dies of"
        ));
    }
    // A rule that is taken back before it was found, and announced again, is a new one.
    let lives = deadly.as_ref().map_or(0, |deadly| world.wishes.lives(deadly));
    // A silent loss comes a hold time after its cause. If that is taken back meanwhile and announced again, as a new rule,
    // another one that is under trial at that moment takes the blame.
    let misleading = matches!(router.plan.deadly, Some((_, End::Silence))) && lives > 1;
    let mut wished = world.wishes.desired(now);
    if world.peaceful
        && !misleading
        && let Some((wrong, ..)) =
            wished.find(|(key, ..)| Some(*key) != deadly.as_ref() && is_suspected(world, router, key))
    {
        return Err(format!(
            "{name} is not told {wrong:02x?}, which never did any harm"
        ));
    }
    if world.peaceful && state.deaths > MOST_DEATHS * lives {
        return Err(format!(
            "{name} died {} times of one rule, announced {lives} times",
            state.deaths
        ));
    }
    Ok(())
}

/// In no second more than a second's worth and the burst.
fn keeps_the_pace(router: &Router, side: &Side) -> Result<(), String> {
    let mut state = router.state();
    let Some(pace) = side.config.pace else {
        state.announced.clear();
        return Ok(());
    };
    let pace = pace.get() as usize;
    let most = pace + (pace / 10).max(1) + 1;
    let times = state.announced.make_contiguous();
    for (n, first) in times.iter().enumerate() {
        let within = times[n..].iter().take_while(|at| **at < *first + SECOND).count();
        if within > most {
            return Err(format!(
                "{} was sent {within} rules in a second at a pace of {pace}",
                router.plan.name
            ));
        }
    }
    let Some(last) = state.announced.back().copied() else {
        return Ok(());
    };
    state.announced.retain(|at| *at + 2 * SECOND > last);
    Ok(())
}

/// Established in time: after the longest silence of a connection that is gone and the longest pause between two attempts;
/// where the router has said something that comes again, after the longest hold-down.
fn comes_back(router: &Router, side: &Side, quiet: Duration) -> Result<(), String> {
    if router.state().session.is_some() || router.plan.max_prefix.is_some() {
        return Ok(());
    }
    let offended = side.offended || router.plan.deadly.is_some();
    let hold_down = if offended { 300 } else { 0 };
    let silence = matches!(router.plan.deadly, Some((_, End::Silence)));
    let found_out = if silence { SILENCE } else { Duration::ZERO };
    let bound = Duration::from_secs(hold_down + 90 + 35) + found_out;
    if quiet > bound {
        return Err(format!(
            "{} has no session after {quiet:?} of quiet",
            router.plan.name
        ));
    }
    Ok(())
}

/// The table against what is wished and the bounds.
fn holds_what_it_may(
    world: &World,
    router: &Router,
    side: &Side,
    state: &State,
    now: Instant,
) -> Result<(), String> {
    let name = &router.plan.name;
    let mut wished: BTreeMap<&Key, Community> = world
        .wishes
        .desired(now)
        .filter(|(key, ..)| router.plan.families.contains(&key.0) && !is_suspected(world, router, key))
        .map(|(key, community, _)| (key, community))
        .collect();
    // What waits is there as it was, or not at all.
    for (key, community) in &mut wished {
        if let Some(held) = state.table.get(*key)
            && waiting(world, router, key).is_some()
            && world.wishes.was_wished(key, held)
        {
            *community = *held;
        }
    }
    wished.retain(|key, _| state.table.contains_key(*key) || waiting(world, router, key).is_none());
    for (key, held) in &state.table {
        let told = told(world, router, key);
        if wished.get(key) != Some(held) || told != Some(*held) {
            return Err(format!(
                "{name} holds {key:02x?} as {held:02x?}; wished: {:02x?}, told: {told:02x?}",
                wished.get(key)
            ));
        }
    }
    let max_rules = side.config.max_rules.unwrap_or(usize::MAX);
    let (mut most, mut least) = (0, 0);
    for family in &router.plan.families {
        let count = |keys: &mut dyn Iterator<Item = u8>| keys.filter(|one| one == family).count();
        let wished = count(&mut wished.keys().map(|key| key.0));
        let held = count(&mut state.table.keys().map(|key| key.0));
        let bound = router.plan.max_prefix.map_or(usize::MAX, |(bound, _)| bound);
        if held > bound {
            return Err(format!(
                "{name} holds {held} rules of family {family}, more than {bound}"
            ));
        }
        most += wished.min(bound);
        least += match router.plan.max_prefix {
            Some((_, false)) => 0,
            Some((bound, true)) => wished.min(modest(modest(bound))),
            None => wished,
        };
    }
    let held = state.table.len();
    let all = world.wishes.desired(now).count();
    let least = match router.plan.families.len() {
        all if all == side.config.families.len() => least.min(modest(max_rules)),
        // Rules of a family that the router does not take have room in the budget all the same.
        _ if all > modest(max_rules) => 0,
        _ => least,
    };
    if held > most.min(max_rules) || held < least {
        return Err(format!(
            "{name} holds {held} rules; {least} to {} were due",
            most.min(max_rules)
        ));
    }
    Ok(())
}

/// What is used of a bound: a tenth less than the router names, and a tenth less again where rules had to give way.
fn modest(bound: usize) -> usize {
    bound - bound.div_ceil(10)
}

/// The speaker says what is; `stays` of what the router holds is there as it was, while what is wished waits.
fn agrees(peer: &PeerStatus, held: usize, stays: usize) -> Result<(), String> {
    let rules = peer.rules;
    if peer.phase != SessionPhase::Established || rules.advertised + stays != held || rules.dirty != 0 {
        return Err(format!(
            "{} is {}, {rules:?}; the router holds {held}, {stays} of them as they were",
            peer.name, peer.phase
        ));
    }
    Ok(())
}
