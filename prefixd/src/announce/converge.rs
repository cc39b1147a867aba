//! What neighbours should hold against what the speaker holds for them, in steps: with a hundred thousand rules it takes
//! half a second, and no event waits for that.

use super::groups::Group;
use super::table::{Desired, Step};
use super::{Announcer, Drift, Inner, Leaving, OVERLAP, SAME_END, compile};
use crate::policy::State;
use prefixd_api::ids::MitigationId;
use prefixd_api::mitigation::Mitigation;
use prefixd_api::time::Timestamp;
use prefixd_bgp::flowspec::NlriKey;
use prefixd_bgp::{Change, Route, Speaker, Target};
use std::collections::{HashSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use tracing::error;

/// What becomes of a route that nothing explains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unexplained {
    /// It goes.
    Withdraw,
    /// The neighbour is compiled for otherwise than before: it stays beside the new ones for a moment.
    Overlap,
}

/// Mitigations, or routes of a neighbour, that are looked at in one go: a millisecond or two.
const STEP: usize = 500;

/// How far a comparison has come. Each step looks at what is true then, so that what changes meanwhile is no drift.
#[derive(Debug)]
pub struct Sweep {
    unexplained: Unexplained,
    stage: Stage,
    found: Drift,
}

#[derive(Debug)]
enum Stage {
    /// The tables against the state: the mitigations up to this one are done.
    Mitigations(Option<MitigationId>),
    /// The speaker against the tables.
    Routes {
        /// The neighbour under way, and what is next there.
        at: Option<(Arc<str>, Side)>,
        /// The neighbours after it.
        next: VecDeque<Arc<str>>,
    },
}

/// The two halves of a comparison at one neighbour.
#[derive(Clone, Copy, Debug)]
enum Side {
    /// What the speaker holds, from this place on.
    Held(usize),
    /// What the mitigations after this one want and the speaker does not hold.
    Missing(Option<MitigationId>),
}

impl Default for Sweep {
    fn default() -> Self {
        Self::new(Unexplained::Withdraw)
    }
}

impl Sweep {
    fn new(unexplained: Unexplained) -> Self {
        Self {
            unexplained,
            stage: Stage::Mitigations(None),
            found: Drift::default(),
        }
    }

    /// What was found and repaired so far.
    #[must_use]
    pub fn found(&self) -> Drift {
        self.found
    }
}

impl Announcer {
    /// Brings the tables in line with the state, and the speaker with the tables.
    pub(super) fn align(&self, inner: &mut Inner, state: &State, unexplained: Unexplained) -> Drift {
        let mut sweep = Sweep::new(unexplained);
        while !self.step(inner, state, &mut sweep) {}
        sweep.found
    }

    /// The next step; true when there is none left.
    pub(super) fn step(&self, inner: &mut Inner, state: &State, sweep: &mut Sweep) -> bool {
        let now = self.clock.now();
        match &mut sweep.stage {
            Stage::Mitigations(done) => {
                *done = inner.align_tables(state, &self.speaker, *done, now);
                if done.is_none() {
                    inner.leaving.forget(now);
                    let next = inner.neighbors.iter().map(|known| Arc::clone(&known.name));
                    sweep.stage = Stage::Routes {
                        at: None,
                        next: next.collect(),
                    };
                }
                false
            }
            Stage::Routes { at, next } => {
                let Some((name, side)) = at.take() else {
                    let Some(name) = next.pop_front() else {
                        return true;
                    };
                    let wanted = inner.group_of(&name).map_or(0, |group| group.table.len());
                    sweep.found.desired += wanted as u64;
                    *at = Some((name, Side::Held(0)));
                    return false;
                };
                let (keys, side) = match side {
                    Side::Held(from) => self.held_at(&name, from),
                    Side::Missing(after) => self.missing_at(inner, &name, after),
                };
                self.compare(inner, &name, &keys, sweep.unexplained, &mut sweep.found);
                *at = side.map(|side| (name, side));
                false
            }
        }
    }

    /// What the speaker holds for a neighbour, from a place on, and what is next. One that the speaker does not know,
    /// between two steps of a reload, holds nothing to compare with.
    fn held_at(&self, name: &str, from: usize) -> (Vec<NlriKey>, Option<Side>) {
        let Some((keys, next)) = self.speaker.desired_keys(name, from, STEP) else {
            return Default::default();
        };
        (keys, Some(next.map_or(Side::Missing(None), Side::Held)))
    }

    /// What the mitigations after one want at a neighbour and the speaker does not hold for it, and what is next.
    fn missing_at(
        &self,
        inner: &Inner,
        name: &Arc<str>,
        after: Option<MitigationId>,
    ) -> (Vec<NlriKey>, Option<Side>) {
        let Some(group) = inner.group_of(name) else {
            return Default::default();
        };
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let next: Vec<MitigationId> = inner
            .live
            .range((from, Bound::Unbounded))
            .map(|(id, _)| *id)
            .take(STEP)
            .collect();
        let last = next.last().filter(|_| next.len() == STEP).copied();
        // Several may want the same; what is repaired for one is not missing for the next.
        let wanted: HashSet<&NlriKey> = next.iter().flat_map(|id| group.table.keys_of(*id)).collect();
        let wanted: Vec<NlriKey> = wanted.into_iter().cloned().collect();
        let Some(held) = self.speaker.desired_of(name, &wanted) else {
            return Default::default();
        };
        let missing = wanted.into_iter().zip(held).filter(|(_, held)| held.is_none());
        let missing = missing.map(|(key, _)| key).collect();
        (missing, last.map(|last| Side::Missing(Some(last))))
    }

    /// What a neighbour should hold of these against what the speaker holds for it.
    fn compare(
        &self,
        inner: &mut Inner,
        name: &Arc<str>,
        keys: &[NlriKey],
        unexplained: Unexplained,
        found: &mut Drift,
    ) {
        let Some(held) = self.speaker.desired_of(name, keys) else {
            return;
        };
        let now = self.clock.now();
        let Inner { groups, leaving, .. } = inner;
        let group = groups.iter().find(|group| group.members.contains(name));
        let mut changes = Vec::new();
        let announce = |route| Change::Announce {
            target: Target::Neighbor(Arc::clone(name)),
            route,
        };
        for (key, held) in keys.iter().zip(held) {
            if let Some(desired) = group.and_then(|group| group.table.desired_of(key)) {
                // The speaker has ended it by itself; the table forgets it with the next tick or its record.
                if desired.until <= now {
                    continue;
                }
                let Some(route) = self.route(&desired) else {
                    continue;
                };
                match held {
                    Some(held) if held.action == route.action => {
                        // Both ends of a lease are read off a clock that follows another; only a real difference is one.
                        // Neither it nor another priority is drift: the router has what it should have.
                        let (early, late) = (
                            held.not_after.min(route.not_after),
                            held.not_after.max(route.not_after),
                        );
                        if late - early > SAME_END || held.priority != route.priority {
                            changes.push(announce(route));
                        }
                    }
                    Some(_) | None => {
                        found.missing += 1;
                        changes.push(announce(route));
                    }
                }
                continue;
            }
            // What is leaving is explained, where anything is told at all.
            let Some(held) = held.filter(|_| group.is_none() || !leaving.has(name, key)) else {
                continue;
            };
            found.unexplained += 1;
            match unexplained {
                Unexplained::Overlap if group.is_some() => {
                    let until = now.saturating_add(OVERLAP);
                    leaving.add(name, key, until);
                    changes.push(announce(Route {
                        not_after: held.not_after.min(self.clock.instant_of(until)),
                        ..held
                    }));
                }
                Unexplained::Overlap | Unexplained::Withdraw => changes.push(Change::Withdraw {
                    target: Target::Neighbor(Arc::clone(name)),
                    key: key.clone(),
                }),
            }
        }
        self.apply(changes);
    }

    /// What has to be told to the neighbours of a group.
    pub(super) fn push(&self, everyone: bool, group: &Group, steps: Vec<Step>, changes: &mut Vec<Change>) {
        let targets: Vec<Target> = if everyone {
            vec![Target::All]
        } else {
            let members = group.members.iter();
            members.map(|name| Target::Neighbor(Arc::clone(name))).collect()
        };
        for step in steps {
            for target in targets.iter().cloned() {
                match &step {
                    Step::Announce(desired) => {
                        changes.extend(
                            self.route(desired)
                                .map(|route| Change::Announce { target, route }),
                        );
                    }
                    Step::Withdraw(key) => changes.push(Change::Withdraw {
                        target,
                        key: key.clone(),
                    }),
                }
            }
        }
    }

    pub(super) fn route(&self, desired: &Desired) -> Option<Route> {
        // Checked when the rule was compiled.
        let action = compile::action(desired.action, desired.sample).ok()?;
        Some(Route {
            rule: Arc::clone(&desired.rule),
            action,
            priority: desired.priority,
            not_after: self.clock.instant_of(desired.until),
        })
    }

    pub(super) fn apply(&self, changes: Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        if let Err(error) = self.speaker.apply(changes) {
            error!(%error, "a change names a neighbour that the speaker does not have; reconciliation will repair it");
        }
    }
}

impl Inner {
    /// The next mitigations after one; answers up to which, or none when those were the last. What differs is counted where
    /// it matters, at the neighbours.
    fn align_tables(
        &mut self,
        state: &State,
        speaker: &Speaker,
        after: Option<MitigationId>,
        now: Timestamp,
    ) -> Option<MitigationId> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let next: Vec<&Arc<Mitigation>> = state
            .mitigations
            .range((from, Bound::Unbounded))
            .map(|(_, mitigation)| mitigation)
            .take(STEP)
            .collect();
        let last = next.last().filter(|_| next.len() == STEP);
        let upto = last.map(|mitigation| mitigation.mitigation_id);
        let gone: Vec<MitigationId> = self
            .live
            .range((from, upto.map_or(Bound::Unbounded, Bound::Included)))
            .map(|(id, _)| *id)
            .filter(|id| !state.mitigations.get(id).is_some_and(|m| self.announces(m)))
            .collect();
        for id in gone {
            self.remove(id);
        }
        for mitigation in next {
            if self.announces(mitigation) && !self.stands(state, mitigation, now) {
                self.set(state, speaker, mitigation, now);
            }
        }
        upto
    }
}

impl Leaving {
    pub(super) fn has(&self, neighbor: &Arc<str>, key: &NlriKey) -> bool {
        self.0.contains_key(&(Arc::clone(neighbor), key.clone()))
    }

    fn add(&mut self, neighbor: &Arc<str>, key: &NlriKey, until: Timestamp) {
        self.0.insert((Arc::clone(neighbor), key.clone()), until);
    }

    fn forget(&mut self, now: Timestamp) {
        self.0.retain(|_, until| *until > now);
    }
}
