//! Which rules have a place at a neighbour that does not take all of them.
//!
//! The more important have one, among equals the older. A rule that is more important than one that has a place takes
//! it. What was displaced comes back only when there is room enough that it will not be displaced again at once; what
//! never was takes every free place.

use std::cmp::Reverse;
use std::sync::Arc;

use super::Rib;
use super::entry::{Admission, Queue, Rank};
use super::policy::Full;
use super::slots::Id;
use crate::flowspec::{Action, CanonicalRule, Family};
use crate::route::Priority;

impl Rib {
    /// What keeps a rule from being told, room or not, where the neighbour has `told` of it.
    pub(super) fn obstacle(
        &self,
        rule: &CanonicalRule,
        action: Action,
        told: Option<Action>,
    ) -> Option<Admission> {
        if self.policy.refusal(rule, action).is_some() {
            return Some(Admission::Refused);
        }
        if self.quarantine.holds(rule, action).is_some() {
            return Some(Admission::Quarantined);
        }
        let waiting = self.waits(rule, action, told);
        waiting.map(|_| told.map_or(Admission::Waiting, |_| Admission::Stays))
    }

    /// The admission of a rule that has none, or that was kept from being told, by what [`Rib::obstacle`] says of it: to be
    /// followed by [`Rib::settle`].
    pub(super) fn first_admission(&self, family: Family, obstacle: Option<Admission>) -> Admission {
        let admission = obstacle.unwrap_or(Admission::Admitted);
        let is_free =
            || self.waiting[family.index()].is_empty() && self.policy.full(self.admitted, family).is_none();
        match admission {
            _ if !admission.has_place() || is_free() => admission,
            Admission::Stays => Admission::Waiting,
            _ => Admission::OverBudget { displaced: false },
        }
    }

    /// The same for one that had another before.
    pub(super) fn next_admission(
        &self,
        family: Family,
        obstacle: Option<Admission>,
        before: Admission,
    ) -> Admission {
        match (obstacle, before) {
            // Whoever has a place keeps it.
            (None, Admission::Stays) => Admission::Admitted,
            (None, Admission::Admitted | Admission::OverBudget { .. }) => before,
            (Some(Admission::Stays), before) if before.has_place() => Admission::Stays,
            _ => self.first_admission(family, obstacle),
        }
    }

    /// Whether the rule would be told as soon as it is desired: nothing keeps it back, and a place is free or its own. Who is
    /// disabled, or has a session without the family, is told nothing in any case. `may_be_tried`: another neighbour may be
    /// told such a rule first.
    pub(crate) fn would_tell(&self, rule: &CanonicalRule, action: Action, may_be_tried: bool) -> bool {
        if self.suspended || !self.may_be_told(rule.family()) {
            return true;
        }
        let is_free = self.policy.refusal(rule, action).is_none()
            && self.quarantine.holds(rule, action).is_none()
            && (may_be_tried || self.is_known_to_all(rule, action));
        let entry = self.slots.find(rule.key()).and_then(|id| self.slots.get(id));
        let has_place = entry.is_some_and(|entry| entry.has_place());
        is_free && (has_place || self.first_admission(rule.family(), None) == Admission::Admitted)
    }

    /// Whether the rule has a place, or would have one as soon as it is desired with this priority: a free one, or that of what is
    /// less important.
    pub(crate) fn would_have_place(&self, rule: &CanonicalRule, action: Action, priority: Priority) -> bool {
        if self.would_tell(rule, action, true) {
            return true;
        }
        if self.policy.refusal(rule, action).is_some() || self.quarantine.holds(rule, action).is_some() {
            return false;
        }
        let (family, rank) = (rule.family(), Reverse(priority));
        match self.policy.full(self.admitted, family) {
            Some(full) => self.least(&full).is_some_and(|(least, ..)| rank < least),
            // Free, and left so for what was displaced.
            None => self.waiting[family.index()]
                .first()
                .is_none_or(|(first, ..)| rank < *first),
        }
    }

    /// Gives every place to the rule that should have it. `fresh` is the rule that has just changed, if one has.
    pub(super) fn settle(&mut self, fresh: Option<Id>) {
        for family in Family::ALL {
            while let Some(best) = self.waiting[family.index()].first().copied() {
                let (_, _, id) = best;
                let full = self.policy.full(self.admitted, family);
                // A place that a rule may lose again at once is not given back to it. Who was never displaced, or is
                // more important than one that has a place, is not in that danger.
                let tight = match &full {
                    None if self.was_displaced(id) => self.policy.nearly_full(self.admitted, family),
                    _ => None,
                };
                if let Some(crowded) = full.as_ref().or(tight.as_ref()) {
                    let Some((.., least)) = self.least(crowded).filter(|least| least.0 > best.0) else {
                        break;
                    };
                    if full.is_some() {
                        self.displace(least);
                    }
                }
                // What moves up waits behind what is new.
                let queue = if fresh == Some(id) {
                    Queue::Fresh
                } else {
                    Queue::Resync
                };
                self.admit(id, Admission::Admitted, queue);
            }
        }
    }

    /// Decides again for every desired rule.
    pub(super) fn readmit(&mut self) {
        let was_bounded = std::mem::replace(&mut self.is_bounded, self.policy.is_bounded());
        let mut admitted = [0; Family::COUNT];
        for id in self.by_rank() {
            let (Some(rule), Some(entry)) = (self.slots.rule(id).map(Arc::clone), self.slots.get(id)) else {
                continue;
            };
            let Some(desired) = entry.desired else { continue };
            let obstacle = self.obstacle(&rule, desired.action, entry.told);
            let admission = match obstacle.unwrap_or(Admission::Admitted) {
                admission if !admission.has_place() => admission,
                admission if self.policy.full(admitted, rule.family()).is_none() => {
                    admitted[rule.family().index()] += 1;
                    admission
                }
                Admission::Stays => Admission::Waiting,
                _ => Admission::OverBudget {
                    displaced: desired.admission == Admission::OverBudget { displaced: true },
                },
            };
            if admission != desired.admission {
                self.admit(id, admission, Queue::Fresh);
            }
        }
        if self.is_bounded && was_bounded {
            return;
        }
        self.ranked = Default::default();
        if self.is_bounded {
            let mut ranks = Vec::new();
            for (id, rule, entry) in self.slots.iter().filter(|(.., entry)| entry.has_place()) {
                ranks.extend(entry.desired.map(|desired| (rule.family(), desired, id)));
            }
            for (family, desired, id) in ranks {
                let since = self.slots.tick(desired.since);
                self.ranked[family.index()].insert((Reverse(desired.priority), since, id));
            }
        }
    }

    /// Takes its place from a rule.
    pub(super) fn displace(&mut self, id: Id) {
        self.update(id, Queue::Fresh, |entry| {
            if let Some(desired) = entry.desired.as_mut() {
                desired.admission = desired.admission.without_place();
            }
        });
    }

    fn admit(&mut self, id: Id, admission: Admission, queue: Queue) {
        self.update(id, queue, |entry| {
            if let Some(desired) = entry.desired.as_mut() {
                desired.admission = admission;
            }
        });
    }

    /// The least important rule that has a place of those that are full, the youngest among equals.
    fn least(&self, full: &Full) -> Option<Rank> {
        let of = |family: &Family| self.ranked[family.index()].last().copied();
        match full.family {
            Some(family) => of(&family),
            None => Family::ALL.iter().filter_map(of).max(),
        }
    }

    fn was_displaced(&self, id: Id) -> bool {
        let desired = self.slots.get(id).and_then(|entry| entry.desired);
        desired.is_some_and(|desired| desired.admission == Admission::OverBudget { displaced: true })
    }
}
