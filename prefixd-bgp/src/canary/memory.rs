//! What neighbours that are alike have found out of new kinds of rules, for the process that comes after this one.
//!
//! Without it a start could only guess: what is desired then was announced by the process before, or waited there because
//! one of them was still trying it, or had lost its session over it.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Kind, Parked, Seat};
use crate::flowspec::NlriKey;
use crate::rib::Shape;
use crate::shared::lock;

/// What a group of neighbours has found out. Each of them remembers it, because any of them may leave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RememberedKinds {
    /// The group, as in [`crate::CanaryConfig`]. Of another group only what was kept counts.
    pub group: Arc<str>,
    /// Kinds that one of them has kept for long enough.
    pub kept: Vec<Shape>,
    /// Kinds that one of them tries for the others.
    pub tried: Vec<TriedKind>,
    /// Rules that the named neighbour has parked, and that the others are not told until it has kept them.
    pub parked: Vec<(NlriKey, Arc<str>)>,
}

/// One of [`RememberedKinds`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TriedKind {
    /// What the rules have in common.
    pub kind: Shape,
    /// Who tries it.
    pub first: Arc<str>,
    /// It was told one. Then nobody else is before it has kept it: a session that ends for whatever reason may have ended
    /// for this.
    pub told: bool,
}

impl Seat {
    /// Sessions may begin from now on: who is the first of something has its time to come from here.
    pub(crate) fn begins(&self, now: Instant) {
        let mut state = lock(&self.canary.state);
        if let Some(member) = state.members.get_mut(&self.name) {
            member.since = now;
            state.wake();
        }
    }

    /// Counts the changes of what [`Seat::remembered`] tells.
    pub(crate) fn memory_version(&self) -> u64 {
        lock(&self.canary.state).memory
    }

    /// In a lasting order.
    pub(crate) fn remembered(&self) -> RememberedKinds {
        let state = lock(&self.canary.state);
        let mut remembered = RememberedKinds {
            group: self.canary.group.clone(),
            parked: state
                .parked
                .iter()
                .map(|(key, parked)| (key.clone(), parked.first.clone()))
                .collect(),
            ..RememberedKinds::default()
        };
        for (kind, how) in &state.kinds {
            match how {
                Kind::Kept => remembered.kept.push(*kind),
                Kind::Tried {
                    first, told, lost, ..
                } => remembered.tried.push(TriedKind {
                    kind: *kind,
                    first: first.clone(),
                    told: *told || *lost,
                }),
                // Another may try it, in the process after this one as well.
                Kind::PassedBy { .. } => {}
            }
        }
        remembered.kept.sort_unstable();
        remembered.tried.sort_unstable();
        remembered.parked.sort_unstable();
        remembered
    }

    /// Goes on from what a process before this one had found out, before the first session. What one of them remembers as
    /// kept is kept, also where its profile was another then, and nobody tries for the group who is not in it.
    pub(crate) fn restore(&self, remembered: RememberedKinds, now: Instant) {
        let mut state = lock(&self.canary.state);
        // Of another group as well: what this neighbour was told is known, and nothing else of what is desired.
        state.restored = true;
        let kept = remembered.kept.into_iter().map(|kind| (kind, Kind::Kept));
        state.kinds.extend(kept);
        if remembered.group != self.canary.group {
            // What was being tried there is tried anew here.
            state.changed();
            return;
        }
        for TriedKind { kind, first, told } in remembered.tried {
            if state.members.contains_key(&first) {
                state.kinds.entry(kind).or_insert(Kind::Tried {
                    first,
                    told: false,
                    lost: told,
                    since: now,
                    asked: now,
                });
            }
        }
        for (key, first) in remembered.parked {
            if state.members.contains_key(&first) {
                state.parked.entry(key).or_insert(Parked { first, due: None });
            }
        }
        state.changed();
    }
}
