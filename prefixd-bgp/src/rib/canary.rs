//! Kinds of rules that are new to neighbours like this one: what it has of them, and what waits.

use tokio::time::Instant;

use super::Rib;
use super::batch::Announced;
use super::entry::{Admission, Entry};
use super::quarantine::{Shape, Trust};
use super::slots::Id;
use crate::canary::{Fate, Seat, Trial, Waiting};
use crate::flowspec::{Action, CanonicalRule, Family, NlriKey};
use crate::route::Route;

impl Rib {
    /// Its place in a group from now on. What the router keeps already is no news to the group.
    pub(crate) fn take_seat(&mut self, seat: Option<Seat>) {
        if let Some(seat) = &seat {
            let kept =
                |(id, _, entry): (Id, _, Entry)| entry.is_as_desired().then(|| self.kind(id)).flatten();
            seat.known(self.slots.iter().filter_map(kept));
        }
        self.seat = seat;
        self.readmit();
    }

    /// What is desired before the first session was announced by the process before this one, unless it waited.
    pub(crate) fn knows_what_is_desired(&self) {
        if let Some(seat) = &self.seat {
            seat.known_before(self.slots.iter().filter_map(|(id, ..)| self.kind(id)));
        }
    }

    /// Why the rule is not told yet; asking makes this neighbour the first, if nobody is.
    pub(super) fn waits(&self, rule: &CanonicalRule, action: Action) -> Option<Waiting> {
        if !self.may_be_told(rule.family()) {
            return None;
        }
        let seat = self.seat.as_ref()?;
        seat.waits(rule.key(), Shape::of(rule, action))
    }

    /// False if its session did not agree to the family: then it cannot try anything for the others.
    fn may_be_told(&self, family: Family) -> bool {
        self.session
            .as_ref()
            .is_none_or(|session| session.families.contains(&family))
    }

    pub(super) fn asks_why_it_waits(&self, rule: &CanonicalRule, action: Action) -> Option<Waiting> {
        let seat = self.seat.as_ref()?.asking();
        seat.waits(rule.key(), Shape::of(rule, action))
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

    /// What a process before this one had parked here is not told to the others either.
    pub(super) fn tell_restored(&self) {
        let Some(seat) = &self.seat else { return };
        let remembered = self.quarantine.remembered();
        let rules = remembered.rules.iter().filter(|rule| rule.held);
        let kinds = rules.clone().map(|rule| rule.shape);
        seat.parked_before(
            rules.map(|rule| rule.key.clone()),
            kinds.chain(remembered.shapes.iter().map(|(shape, _)| *shape)),
        );
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
                Admission::OverBudget { .. } | Admission::Waiting | Admission::Refused => {}
            }
        }
        found
    }
}
