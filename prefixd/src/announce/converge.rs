//! What neighbours should hold against what the speaker holds for them.

use super::groups::Group;
use super::table::{Desired, Step};
use super::{Announcer, Drift, Inner, Leaving, Neighbor, OVERLAP, SAME_END, compile};
use crate::policy::State;
use prefixd_api::ids::MitigationId;
use prefixd_api::time::Timestamp;
use prefixd_bgp::flowspec::NlriKey;
use prefixd_bgp::{Change, Route, Target};
use std::collections::HashMap;
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

impl Announcer {
    /// Brings the tables in line with the state, and the speaker with the tables.
    pub(super) fn align(&self, inner: &mut Inner, state: &State, unexplained: Unexplained) -> Drift {
        let now = self.clock.now();
        let gone: Vec<MitigationId> = inner
            .live
            .keys()
            .copied()
            .filter(|id| !state.mitigations.get(id).is_some_and(|m| inner.announces(m)))
            .collect();
        // What differs is counted where it matters, at the neighbours.
        for id in gone {
            inner.remove(id);
        }
        for mitigation in state.mitigations.values() {
            if inner.announces(mitigation) {
                inner.set(mitigation, now);
            }
        }
        let (mut drift, mut changes) = (Drift::default(), Vec::new());
        inner.leaving.forget(now);
        let Inner {
            neighbors,
            groups,
            leaving,
            stopped,
            ..
        } = inner;
        for group in groups.iter() {
            drift.desired += (group.table.len() * group.members.len()) as u64;
            for name in &group.members {
                self.compare(name, Some(group), unexplained, leaving, &mut drift, &mut changes);
            }
        }
        let gets_none = |neighbor: &&Neighbor| !neighbor.gets_rules(stopped);
        for neighbor in neighbors.iter().filter(gets_none) {
            let at_once = Unexplained::Withdraw;
            self.compare(&neighbor.name, None, at_once, leaving, &mut drift, &mut changes);
        }
        self.apply(changes);
        drift
    }

    /// What one neighbour should hold against what the speaker holds for it.
    fn compare(
        &self,
        name: &Arc<str>,
        group: Option<&Group>,
        unexplained: Unexplained,
        leaving: &mut Leaving,
        drift: &mut Drift,
        changes: &mut Vec<Change>,
    ) {
        let target = Target::Neighbor(Arc::clone(name));
        // One that the speaker does not know, between two steps of a reload, holds nothing to compare with.
        let Some(held) = self.speaker.desired(name) else {
            return;
        };
        let mut others: HashMap<&NlriKey, &Route> =
            held.iter().map(|route| (route.rule.key(), route)).collect();
        let announce = |route| Change::Announce {
            target: target.clone(),
            route,
        };
        for (key, desired) in group.into_iter().flat_map(|group| group.table.desired()) {
            let Some(route) = self.route(&desired) else {
                continue;
            };
            match others.remove(key) {
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
                    drift.missing += 1;
                    changes.push(announce(route));
                }
            }
        }
        let now = self.clock.now();
        for (key, held) in others {
            if group.is_some() && leaving.has(name, key) {
                continue;
            }
            drift.unexplained += 1;
            match unexplained {
                Unexplained::Withdraw => changes.push(Change::Withdraw {
                    target: target.clone(),
                    key: key.clone(),
                }),
                Unexplained::Overlap => {
                    let until = now.saturating_add(OVERLAP);
                    leaving.add(name, key, until);
                    changes.push(announce(Route {
                        not_after: held.not_after.min(self.clock.instant_of(until)),
                        ..held.clone()
                    }));
                }
            }
        }
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
