//! Kinds of rules that are new to neighbours like this one: what it has of them, and what waits.

use std::collections::HashMap;

use tokio::time::Instant;

use super::Rib;
use super::batch::Announced;
use super::entry::{Admission, Entry};
use super::quarantine::{Shape, Trust};
use super::slots::Id;
use crate::canary::{Fate, RememberedKinds, Seat, Trial, Waiting};
use crate::flowspec::{Action, CanonicalRule, Family, NlriKey};
use crate::route::Route;

impl Rib {
    /// Its place in a group from now on. What the router has kept for long enough is no news to the group.
    pub(crate) fn take_seat(&mut self, seat: Option<Seat>, now: Instant) {
        if let Some(seat) = &seat {
            let mut told: HashMap<Shape, Instant> = HashMap::new();
            let is_trusted = |entry: &Entry| entry.is_as_desired() && entry.trust < Trust::Suspect;
            for (id, _, entry) in self.slots.iter().filter(|(.., entry)| is_trusted(entry)) {
                if let Some((kind, at)) = self.kind(id).zip(entry.written_at) {
                    let first = told.entry(kind).or_insert(at);
                    *first = at.min(*first);
                }
            }
            seat.brings(told.into_iter(), now);
        }
        if self.seat.is_some() || seat.is_some() {
            self.remembered = self.kinds_version() + 1;
        }
        self.seat = seat;
        self.readmit();
    }

    pub(super) fn remembered_kinds(&self) -> Option<RememberedKinds> {
        Some(self.seat.as_ref()?.remembered())
    }

    /// How often what [`Rib::remembered_kinds`] tells has changed.
    pub(super) fn kinds_version(&self) -> u64 {
        self.remembered + self.seat.as_ref().map_or(0, Seat::memory_version)
    }

    /// What is desired before the first session was announced by the process before this one, if nothing is known of it.
    pub(crate) fn knows_what_is_desired(&self) {
        if let Some(seat) = &self.seat {
            seat.known_before(self.slots.iter().filter_map(|(id, ..)| self.kind(id)));
        }
    }

    /// Why the rule is not told yet, where the neighbour has `told` of it; asking makes this neighbour the first, if nobody
    /// is. What is of the same kind there is no news to it, and what does less waits for nobody: the more would go on.
    pub(super) fn waits(
        &self,
        rule: &CanonicalRule,
        action: Action,
        told: Option<Action>,
    ) -> Option<Waiting> {
        let seat = self.seat.as_ref()?;
        let kind = Shape::of(rule, action);
        let is_known = told.is_some_and(|told| Shape::of(rule, told) == kind);
        if is_known || !self.may_be_told(rule.family()) {
            return None;
        }
        let does_less = told.is_some_and(|told| action.is_milder_than(told));
        let waiting = seat.waits(rule.key(), kind, does_less);
        waiting.filter(|_| !does_less)
    }

    /// False if its session did not agree to the family: then it cannot try anything for the others.
    pub(super) fn may_be_told(&self, family: Family) -> bool {
        self.session
            .as_ref()
            .is_none_or(|session| session.families.contains(&family))
    }

    /// What becomes of a rule that is desired and was told otherwise, once that is taken back: it may have been free to go
    /// only in the place of what the neighbour had. None if nothing changes.
    pub(super) fn admission_without_told(&self, id: Id) -> Option<Admission> {
        self.seat.as_ref()?;
        let (rule, desired) = (self.slots.rule(id)?, self.slots.get(id)?.desired?);
        let obstacle = self.obstacle(rule, desired.action, None);
        obstacle.filter(|obstacle| *obstacle == Admission::Waiting)
    }

    /// The router has nothing any more, or is to have nothing: what waits has no place.
    pub(super) fn nothing_stays(&mut self) {
        if self.figure(|counts| counts.waiting) == 0 {
            return;
        }
        for id in self.by_rank() {
            if self.slots.standing(id).0 == Some(Admission::Stays) {
                self.displace(id);
            }
        }
    }

    /// Whether no neighbour of its group would be kept from being told such a rule.
    pub(super) fn is_known_to_all(&self, rule: &CanonicalRule, action: Action) -> bool {
        let is_known = |seat: &Seat| seat.is_known(rule.key(), Shape::of(rule, action));
        self.seat.as_ref().is_none_or(is_known)
    }

    pub(super) fn asks_why_it_waits(&self, rule: &CanonicalRule, action: Action) -> Option<Waiting> {
        let seat = self.seat.as_ref()?.asking();
        seat.waits(rule.key(), Shape::of(rule, action), false)
    }

    /// This is a copy: what it finds out happens to nobody.
    pub(super) fn only_asks(&mut self) {
        self.seat = self.seat.as_ref().map(Seat::asking);
    }

    /// Does what is due in the group, and decides again what waits if something was found out; true if it was.
    pub(crate) fn follow_canary(&mut self, now: Instant) -> bool {
        let Some(seat) = self.seat.clone() else {
            return false;
        };
        seat.tick(|kind| self.trial(kind), |key| self.fate(key), now);
        let version = seat.version();
        let is_new = std::mem::replace(&mut self.seen, version) != version;
        if is_new {
            self.readmit();
        }
        is_new
    }

    /// When [`Rib::follow_canary`] has something to do by itself.
    pub(crate) fn next_canary(&self) -> Option<Instant> {
        self.seat.as_ref()?.deadline()
    }

    pub(super) fn tell_canary(&self, announced: &[Announced], now: Instant) {
        if let Some(seat) = self.seat.as_ref().filter(|seat| seat.is_awaited()) {
            seat.told(announced.iter().filter_map(|one| self.kind(one.id)), now);
        }
    }

    pub(super) fn tell_parked(&self, route: &Route) {
        if let Some(seat) = &self.seat {
            seat.parked(route.rule.key(), Shape::of(&route.rule, route.action));
        }
    }

    fn kind(&self, id: Id) -> Option<Shape> {
        let desired = self.slots.get(id)?.desired?;
        Some(Shape::of(self.slots.rule(id)?, desired.action))
    }

    /// What the neighbour has of a rule that it had parked.
    fn fate(&self, key: &NlriKey) -> Fate {
        let entry = self.slots.find(key).and_then(|id| self.slots.get(id));
        let Some(entry) = entry.filter(|entry| entry.desired.is_some()) else {
            return Fate::Gone;
        };
        match entry.written_at {
            Some(told) if entry.is_as_desired() && entry.trust < Trust::Suspect => Fate::Kept(told),
            _ => Fate::Pending,
        }
    }

    /// What the neighbour has of a kind of rule.
    fn trial(&self, kind: Shape) -> Trial {
        let mut found = Trial::Nothing;
        for (id, rule, entry) in self.slots.iter() {
            let Some(desired) = entry.desired.filter(|_| self.kind(id) == Some(kind)) else {
                continue;
            };
            if !self.may_be_told(rule.family()) {
                return Trial::Nothing;
            }
            let is_trusted = entry.trust < Trust::Suspect;
            match desired.admission {
                Admission::Admitted if is_trusted && entry.is_as_desired() => return Trial::Kept,
                Admission::Admitted if is_trusted && found == Trial::Nothing => found = Trial::Queued,
                Admission::Admitted if is_trusted => {}
                Admission::Admitted | Admission::Quarantined => found = Trial::Pending,
                Admission::OverBudget { .. } | Admission::Waiting | Admission::Stays | Admission::Refused => {
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests;
