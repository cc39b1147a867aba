//! The Adj-RIB-Out of one neighbour: what it should hold, what it was told, and what is still to be said.
//!
//! This is state, not a queue. Each key has one entry; whether it needs a message follows from comparing `desired` with
//! `told`, so an announcement that is taken back in time leaves nothing to send and memory is bounded by the number of
//! rules. Pure: no clock, no socket. The connection's writer pulls a batch when its socket has room, and confirms it
//! when the last byte is written:
//!
//! ```text
//! engine -- apply --> [ desired | told | turn ] <-- pull(now) -- writer -- written(batch) --> [ told ]
//!                             ^
//!             neighbour task: session_up, session_down, refresh, expire
//! ```
//!
//! Turns: withdrawals first, then rules that changed while the session was up, then the resynchronisation after a
//! session start or a refresh, each in order of arrival. Only announcements are paced.

mod batch;
mod budget;
mod canary;
mod entry;
mod foresee;
mod latency;
mod pace;
mod policy;
mod quarantine;
mod slots;
mod suspects;
#[cfg(test)]
mod tests;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::time::{Duration, Instant};

pub(crate) use batch::{BATCH_BYTES, Batch, MESSAGE_BYTES, Pull};
use entry::{Desired, Entry, Queue, Rank, Turn};
pub use foresee::{Foreseen, WhatIf};
pub use latency::{LATENCY_BUCKETS_SECONDS, Latency};
use pace::Pace;
use policy::Policy;
pub use policy::RememberedBound;
pub use quarantine::{NotAShape, Parked, Remembered, RememberedRule, Shape};
use quarantine::{Quarantine, Trust};
use slots::{Id, Slots, Tick};

use crate::canary::Seat;
use crate::config::NeighborConfig;
use crate::flowspec::{CanonicalRule, Family, NlriKey};
use crate::route::Route;
use crate::wire::SessionKind;

/// A neighbour that asks for a refresh more often than this waits; the request is kept, not dropped.
const REFRESH_INTERVAL: Duration = Duration::from_secs(10);

/// Names one established session, so that a writer of an earlier one can neither pull nor confirm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Generation(u64);

/// Cheap figures, kept as entries change, for each family and so for all of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RibCounts {
    /// Rules the neighbour should hold, refused ones included.
    pub desired: usize,
    /// Rules the neighbour holds as desired, as far as written.
    pub advertised: usize,
    /// Rules with something still to be sent or being sent.
    pub dirty: usize,
    /// Rules that are not sent to this neighbour: beyond its limits, or of a family it is not configured for or, in this
    /// session, did not agree to.
    pub refused: usize,
    /// Rules waiting for room in the neighbour's budget.
    pub over_budget: usize,
    /// Those among them that were sent before something more important took their place.
    pub displaced: usize,
    /// Rules the neighbour is told at most, by configuration or because it ended a session over their number. It is one of all
    /// families together, and absent in the figures of one.
    pub budget: Option<usize>,
    /// Rules that are held back because they, or rules like them, ended the session.
    pub quarantined: usize,
    /// Rules that may have ended the session, and wait to be tried.
    pub probation: usize,
    /// Rules of kinds that another neighbour is told first.
    pub waiting: usize,
}

#[derive(Clone)]
pub(crate) struct Rib {
    policy: Policy,
    quarantine: Quarantine,
    pace: Option<Pace>,
    slots: Slots,
    turns: BTreeMap<Turn, Id>,
    deadlines: BTreeSet<(Tick, Id)>,
    /// Rules without a place, by family.
    waiting: [BTreeSet<Rank>; Family::COUNT],
    /// Rules with one; kept only while there is a bound.
    ranked: [BTreeSet<Rank>; Family::COUNT],
    is_bounded: bool,
    session: Option<Session>,
    /// The neighbour is disabled: it is to hold nothing, whatever is desired.
    suspended: bool,
    last_turn: u64,
    generation: u64,
    /// Desired rules inside the budget, by family.
    admitted: [usize; Family::COUNT],
    counts: [RibCounts; Family::COUNT],
    /// Rules under trial that the neighbour does not have yet.
    on_trial: usize,
    latency: Latency,
    totals: RibTotals,
    /// Its place among neighbours that are alike, and how much of what they found out was looked at.
    seat: Option<Seat>,
    seen: u64,
    /// Counts the changes of what was remembered in places that it had before.
    remembered: u64,
}

/// Figures since the neighbour was configured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RibTotals {
    /// Rules written in UPDATE messages.
    pub announced: u64,
    /// Withdrawals written.
    pub withdrawn: u64,
    /// Rules the speaker ended by itself at their `not_after`.
    pub expired: u64,
    /// Refresh requests served.
    pub refreshes: u64,
    /// Time from the last session start to its last End-of-RIB.
    pub time_to_end_of_rib: Option<Duration>,
}

#[derive(Clone)]
struct Session {
    generation: Generation,
    kind: SessionKind,
    families: BTreeSet<Family>,
    enhanced_refresh: bool,
    since: Instant,
    marks: [Marks; Family::COUNT],
}

/// What frames the resynchronisation of one family.
#[derive(Clone, Default)]
struct Marks {
    /// Entries of the family still in the resynchronisation queue.
    left: usize,
    end_of_rib: bool,
    begin_refresh: bool,
    end_refresh: bool,
    last_refresh: Option<Instant>,
    refresh_due: Option<Instant>,
}

impl Rib {
    pub(crate) fn new(config: &NeighborConfig) -> Self {
        Self {
            policy: Policy::new(config),
            quarantine: Quarantine::default(),
            pace: config.pace.map(Pace::new),
            slots: Slots::default(),
            turns: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            waiting: Default::default(),
            ranked: Default::default(),
            is_bounded: config.max_rules.is_some(),
            session: None,
            suspended: false,
            last_turn: 0,
            generation: 0,
            admitted: [0; Family::COUNT],
            counts: Default::default(),
            on_trial: 0,
            latency: Latency::default(),
            totals: RibTotals::default(),
            seat: None,
            seen: 0,
            remembered: 0,
        }
    }

    /// The neighbour should hold `route`. A route whose time is already over is a withdrawal.
    pub(crate) fn announce(&mut self, route: Route, now: Instant) {
        let Route {
            rule,
            action,
            priority,
            not_after,
        } = route;
        if not_after <= now {
            return self.withdraw(rule.key());
        }
        let family = rule.family();
        let id = self.slots.find_or_insert(&rule);
        let (before, told) = self.slots.standing(id);
        let obstacle = self.obstacle(&rule, action, told);
        let admission = match before {
            Some(before) => self.next_admission(family, obstacle, before),
            None => self.first_admission(family, obstacle),
        };
        self.update(id, Queue::Fresh, |entry| {
            let old = entry.desired;
            let is_same = old.is_some_and(|old| old.action == action);
            if !is_same && entry.trust < Trust::Suspect {
                // What is known is known of the action as well.
                entry.trust = Trust::New;
            }
            entry.desired = Some(Desired {
                action,
                priority,
                not_after,
                since: old.filter(|_| is_same).map_or(now, |old| old.since),
                admission,
            });
        });
        self.settle(Some(id));
    }

    /// The neighbour should not hold the rule.
    pub(crate) fn withdraw(&mut self, key: &NlriKey) {
        if let Some(id) = self.slots.find(key) {
            self.update(id, Queue::Fresh, |entry| entry.desired = None);
            self.settle(None);
        }
    }

    /// Withdraws everything, for a stop that takes the rules from the router.
    pub(crate) fn withdraw_all(&mut self) {
        for id in self.by_rank() {
            self.update(id, Queue::Fresh, |entry| entry.desired = None);
        }
    }

    /// Withdraws what is past its `not_after` and says how many.
    pub(crate) fn expire(&mut self, now: Instant) -> usize {
        let mut expired = 0;
        let now = self.slots.tick(now);
        while let Some((_, id)) = self.deadlines.first().filter(|(at, _)| *at <= now).copied() {
            self.update(id, Queue::Fresh, |entry| entry.desired = None);
            expired += 1;
        }
        if expired > 0 {
            self.settle(None);
        }
        self.totals.expired += expired as u64;
        expired
    }

    /// The next moment [`Rib::expire`] has something to do.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.slots.instant(self.deadlines.first()?.0)
    }

    /// The next moment [`Rib::lift_due`] has something to do.
    pub(crate) fn next_lift(&self) -> Option<Instant> {
        self.policy.lift_at()
    }

    /// Tries again what a router without a word seemed not to take, after a while; true if there was such a bound.
    pub(crate) fn lift_due(&mut self, now: Instant) -> bool {
        let lifted = self.policy.lift_due(now);
        if lifted {
            self.readmit();
        }
        lifted
    }

    /// A session is established: everything desired is to be sent, then End-of-RIB per family, also when there is
    /// nothing (without it a router that kept stale rules over a restart keeps them too long).
    pub(crate) fn session_up(
        &mut self,
        kind: SessionKind,
        families: BTreeSet<Family>,
        enhanced_refresh: bool,
        now: Instant,
    ) -> Generation {
        self.session_down();
        if self.seat.is_some() {
            // The session before may not have agreed to a family that this one does.
            self.readmit();
        }
        self.generation += 1;
        let generation = Generation(self.generation);
        let mut marks = <[Marks; Family::COUNT]>::default();
        for family in &families {
            marks[family.index()].end_of_rib = true;
        }
        self.session = Some(Session {
            generation,
            kind,
            families,
            enhanced_refresh,
            since: now,
            marks,
        });
        self.queue_all();
        generation
    }

    /// Everything is to be told by a session that has told nothing yet. Like [`Rib::requeue`], at a tenth of the price:
    /// nobody may change a rule meanwhile.
    fn queue_all(&mut self) {
        let Some(session) = self.session.as_mut().filter(|_| !self.suspended) else {
            return;
        };
        let (mut rest, mut suspects) = (Vec::new(), Vec::new());
        for id in self.slots.by_rank() {
            let told = self.slots.to_tell(id);
            let Some((family, trust)) = told.filter(|(family, _)| session.families.contains(family)) else {
                continue;
            };
            let (queue, turns) = match trust {
                Trust::Suspect => (Queue::Suspect, &mut suspects),
                _ => (Queue::Resync, &mut rest),
            };
            let turn = Turn::next(queue, &mut self.last_turn);
            self.slots.set_turn(id, turn);
            turns.push((turn, id));
            let is_resync = usize::from(queue == Queue::Resync);
            session.marks[family.index()].left += is_resync;
            self.counts[family.index()].dirty += is_resync;
        }
        // In order already, which is how a tree is built fast.
        self.turns = rest.into_iter().chain(suspects).collect();
    }

    /// The neighbour asked for a family again (RFC 2918).
    pub(crate) fn refresh(&mut self, family: Family, now: Instant) {
        let Some(session) = self
            .session
            .as_mut()
            .filter(|session| session.families.contains(&family))
        else {
            return;
        };
        let marks = &mut session.marks[family.index()];
        let due = marks
            .last_refresh
            .map_or(now, |last| (last + REFRESH_INTERVAL).max(now));
        marks.refresh_due.get_or_insert(due);
    }

    /// The router is to get a family, or all of them, again: now, and not after the pause its own requests have. False
    /// if there is no session, and so nothing to do.
    pub(crate) fn resend(&mut self, family: Option<Family>, now: Instant) -> bool {
        let Some(session) = self.session.as_mut() else {
            return false;
        };
        for one in &session.families {
            if family.is_none_or(|family| family == *one) {
                session.marks[one.index()].refresh_due = Some(now);
            }
        }
        true
    }

    /// Disabled: everything the neighbour was told is withdrawn and nothing is announced. What is desired stays, and is
    /// announced again when this is taken back.
    pub(crate) fn suspend(&mut self, on: bool) {
        if self.suspended == on {
            return;
        }
        self.suspended = on;
        for id in self.by_rank() {
            self.update(id, Queue::Resync, |_| {});
        }
        self.nothing_stays();
        self.settle(None);
    }

    /// Forgets the bound a Cease/1 has set; true if there was one.
    pub(crate) fn lift_bound(&mut self) -> bool {
        let lifted = self.policy.lift();
        if lifted {
            self.readmit();
        }
        lifted
    }

    /// What the neighbour was told is to be said again. A batch that is under way is said again after it.
    pub(crate) fn readvertise(&mut self) {
        self.requeue(None);
    }

    /// The configuration changed in a way that does not touch the session.
    pub(crate) fn reconfigure(&mut self, config: &NeighborConfig) {
        self.policy = self.policy.reconfigured(config);
        self.forget_suspicions();
        self.pace = config.pace.map(Pace::new);
        self.readmit();
    }

    /// The router ended the session because it holds as many routes as it takes (Cease/1). It may have named the family
    /// and its bound (RFC 4486 section 4), which then holds until the neighbour is reset or configured anew; otherwise
    /// what it was told is the bound, for a while. It is told at most nine tenths of that, the most important and oldest first. To be
    /// called before [`Rib::session_down`].
    pub(crate) fn prefix_limit_reached(&mut self, named: Option<(Family, usize)>, now: Instant) {
        match named {
            Some((family, bound)) => self.policy.bound_named(family, bound),
            None => {
                let told = |family| {
                    let told = |(_, rule, entry): &(_, &Arc<CanonicalRule>, Entry)| {
                        rule.family() == family && entry.told.is_some()
                    };
                    self.slots.iter().filter(told).count()
                };
                let families = self.session.as_ref().map(|session| &session.families);
                let told: Vec<_> = families
                    .into_iter()
                    .flatten()
                    .map(|family| (*family, told(*family)))
                    .collect();
                self.policy.bound_guessed(&told, now);
            }
        }
        self.readmit();
    }

    /// True if nothing is left to be sent or confirmed.
    pub(crate) fn is_settled(&self) -> bool {
        self.figure(|counts| counts.dirty) == 0
    }

    /// Marks every entry of a family, or all of them, for (re)sending behind fresh changes.
    fn requeue(&mut self, family: Option<Family>) {
        for id in self.by_rank() {
            let of = self.slots.key(id).map(NlriKey::family);
            if family.is_none() || of == family {
                self.update(id, Queue::Resync, |entry| entry.resend = entry.told.is_some());
            }
        }
    }

    /// See [`Slots::by_rank`].
    fn by_rank(&self) -> Vec<Id> {
        self.slots.by_rank()
    }
}
