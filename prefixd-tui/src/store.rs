//! The mitigations the console holds: all live ones, and the newest of those that ended.

use prefixd_api::feed::MitigationChange;
use prefixd_api::ids::MitigationId;
use prefixd_api::mitigation::{Delivery, Mitigation};
use std::collections::{BTreeSet, HashMap};

/// Ended mitigations kept; the ones that ended first are forgotten.
pub(crate) const MAX_ENDED: usize = 2_000;

/// Mitigations by their identity.
#[derive(Debug, Default)]
pub(crate) struct Mitigations {
    rows: HashMap<MitigationId, Held>,
    ended: BTreeSet<(prefixd_api::time::Timestamp, MitigationId)>,
    /// Counts the reads of the whole list; each row knows at which it was last heard of.
    round: u64,
    loaded: bool,
    more_ended: bool,
}

#[derive(Debug)]
struct Held {
    mitigation: Mitigation,
    round: u64,
}

/// What to do after a change of the feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Applied {
    /// The row is as the feed says.
    Done,
    /// It was older than what is held.
    Old,
    /// A revision is missing: read it.
    Fetch,
}

impl Mitigations {
    pub(crate) fn get(&self, id: MitigationId) -> Option<&Mitigation> {
        self.rows.get(&id).map(|held| &held.mitigation)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Mitigation> {
        self.rows.values().map(|held| &held.mitigation)
    }

    /// How many have rules that are announced.
    pub(crate) fn announced(&self) -> usize {
        self.iter()
            .filter(|mitigation| mitigation.status.is_announced())
            .count()
    }

    /// Whether the live ones have been read.
    pub(crate) const fn is_loaded(&self) -> bool {
        self.loaded
    }

    /// Whether the daemon has more ended ones than were read.
    pub(crate) const fn has_more_ended(&self) -> bool {
        self.more_ended
    }

    /// Takes in one whole mitigation unless a newer revision is held.
    pub(crate) fn insert(&mut self, mitigation: Mitigation) {
        if self
            .get(mitigation.mitigation_id)
            .is_none_or(|held| held.revision <= mitigation.revision)
        {
            self.put(mitigation, self.round);
        }
    }

    /// Takes in one mitigation of an answer that was asked for in `round`. What was heard before that gives way to
    /// it whatever its revision: a daemon whose journal was restored counts from further back.
    fn insert_read(&mut self, mitigation: Mitigation, round: u64) {
        match self.rows.get_mut(&mitigation.mitigation_id) {
            Some(held) if held.round >= round && held.mitigation.revision > mitigation.revision => {}
            Some(held) if held.round >= round => {
                let round = held.round;
                self.put(mitigation, round);
            }
            _ => self.put(mitigation, round),
        }
    }

    fn put(&mut self, mitigation: Mitigation, round: u64) {
        let id = mitigation.mitigation_id;
        if let Some(before) = self.get(id).and_then(|held| held.ended_at) {
            self.ended.remove(&(before, id));
        }
        if let Some(at) = mitigation.ended_at {
            self.ended.insert((at, id));
        }
        let delivery = self.get(id).and_then(|held| held.delivery.clone());
        let mitigation = Mitigation {
            delivery: mitigation.delivery.or(delivery),
            ..mitigation
        };
        self.rows.insert(id, Held { mitigation, round });
        while self.ended.len() > MAX_ENDED
            && let Some((_, oldest)) = self.ended.pop_first()
        {
            self.rows.remove(&oldest);
        }
    }

    /// Takes in a change.
    pub(crate) fn apply(&mut self, change: &MitigationChange) -> Applied {
        let Some(held) = self.get(change.mitigation_id) else {
            return Applied::Fetch;
        };
        if change.revision <= held.revision {
            return Applied::Old;
        }
        match change.apply_to(held) {
            Some(next) => {
                self.insert(next);
                Applied::Done
            }
            None => Applied::Fetch,
        }
    }

    /// How the rules stand at the neighbours.
    pub(crate) fn deliver(&mut self, id: MitigationId, delivery: Delivery) {
        if let Some(held) = self.rows.get_mut(&id) {
            held.mitigation.delivery = Some(Box::new(delivery));
        }
    }

    /// The whole list is about to be read. Returns the round to hand back with the answer.
    pub(crate) fn begin_round(&mut self) -> u64 {
        self.round += 1;
        self.round
    }

    /// Takes in all live mitigations as read in `round`, and returns the rows that were live here, are not in
    /// the answer, and were not heard of since: they ended unseen and are gone.
    pub(crate) fn replace_live(&mut self, round: u64, live: Vec<Mitigation>) -> Vec<MitigationId> {
        for mitigation in live {
            self.insert_read(mitigation, round);
        }
        self.loaded = true;
        let gone: Vec<_> = self
            .rows
            .values()
            .filter(|held| held.round < round && held.mitigation.status.is_live())
            .map(|held| held.mitigation.mitigation_id)
            .collect();
        for id in &gone {
            self.rows.remove(id);
        }
        gone
    }

    /// Takes in the newest ended ones.
    pub(crate) fn add_ended(&mut self, ended: Vec<Mitigation>, more: bool) {
        self.more_ended = more;
        for mitigation in ended {
            self.insert(mitigation);
        }
    }
}

#[cfg(test)]
mod tests;
