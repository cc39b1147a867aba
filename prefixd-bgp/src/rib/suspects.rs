//! The rules of one neighbour when its session is lost, and the trial of those that may have ended it.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::time::{Duration, Instant};

use super::Rib;
use super::entry::{Admission, Entry, Queue};
use super::quarantine::{Next, Parked, Remembered, Seen, Shape, Trust};
use super::slots::Id;
use crate::flowspec::{Family, NlriKey};
use crate::route::Route;
use crate::status::{Loss, Suspicion};

/// What a loss came to.
#[derive(Debug, Default)]
pub(crate) struct Lost {
    /// Rules that are not told again for a time.
    pub(crate) parked: Vec<(NlriKey, Arc<Parked>)>,
    /// Rules that are told again one group after the other.
    pub(crate) suspects: usize,
    /// The neighbour may be dialled at once: the next session will not end for the same reason, or will tell more.
    pub(crate) excused: bool,
}

impl Rib {
    /// The session is gone by order, or by a fault of this program, and the neighbour has dropped what it was told.
    pub(crate) fn session_down(&mut self) {
        let Some(session) = self.session.take() else {
            return;
        };
        let (ids, mut seen) = self.seen(&HashSet::new(), session.since);
        self.quarantine.pause(&mut seen);
        self.forget_session(&ids, &seen);
    }

    /// The session is lost. `data` came with the router's NOTIFICATION; `hold` is the hold time of the session.
    pub(crate) fn session_lost(&mut self, loss: &Loss, data: &[u8], hold: Duration, now: Instant) -> Lost {
        let Some(session) = self.session.take() else {
            return Lost::default();
        };
        let lasted = now.saturating_duration_since(session.since);
        let named = if loss.is_update_error() {
            self.named_in(data)
        } else {
            HashSet::new()
        };
        let (ids, mut seen) = self.seen(&named, now);
        let verdict = self.quarantine.judge(loss, hold, lasted, &mut seen, now);
        let mut parked = Vec::new();
        for index in verdict.parked {
            let one = &seen[index];
            // One that was being withdrawn at that moment is not wanted any more.
            if let Some(route) = self.slots.route(ids[index]) {
                let shape = Shape::of(&route.rule, route.action);
                let mut others = ids.iter().zip(&seen);
                let kept = others.any(|(id, other)| self.is_kept(*id, other, shape));
                let record = self.quarantine.park(&route, loss, kept, now);
                self.tell_parked(&route);
                parked.push((one.key.clone(), record));
            }
        }
        self.forget_session(&ids, &seen);
        if !parked.is_empty() {
            self.readmit();
        }
        if loss.suspicion() == Suspicion::None {
            // Suspects of an earlier loss may be left; this one has nothing to do with them.
            return Lost::default();
        }
        Lost {
            excused: (verdict.suspects > 0 || !parked.is_empty()) && self.quarantine.excuse(now),
            parked,
            suspects: verdict.suspects,
        }
    }

    /// All at once, and not by [`Rib::update`], because nobody may change a rule meanwhile.
    fn forget_session(&mut self, ids: &[Id], seen: &[Seen]) {
        self.turns.clear();
        for counts in &mut self.counts {
            (counts.advertised, counts.dirty, counts.probation) = (0, 0, 0);
        }
        self.on_trial = 0;
        for (id, one) in ids.iter().zip(seen) {
            if self.slots.forget_session(*id, one.trust) {
                self.counts[one.key.family().index()].probation += usize::from(one.trust == Trust::Suspect);
                self.on_trial += usize::from(one.trust == Trust::OnTrial);
            }
        }
        self.nothing_stays();
        // What waited to be withdrawn for want of room may have room by now.
        self.settle(None);
    }

    /// Every rule, the most important first.
    fn seen(&self, named: &HashSet<NlriKey>, now: Instant) -> (Vec<Id>, Vec<Seen>) {
        let see = |id| {
            let seen = self.slots.seen(id, now)?;
            let named = !named.is_empty() && named.contains(&seen.key);
            Some((id, Seen { named, ..seen }))
        };
        self.by_rank().into_iter().filter_map(see).unzip()
    }

    /// The rules that stand in the data of a NOTIFICATION. An UPDATE error carries the attribute that was wrong (RFC
    /// 4271 section 6.3), which for a rule is the one that holds its NLRI.
    fn named_in(&self, data: &[u8]) -> HashSet<NlriKey> {
        let mut named = HashSet::new();
        for (start, first) in data.iter().enumerate() {
            let rest = &data[start..];
            let rule = match (first, rest.get(1)) {
                (0xF0.., Some(second)) => 2 + (usize::from(first & 0x0F) << 8 | usize::from(*second)),
                _ => 1 + usize::from(*first),
            };
            let host = 1 + usize::from(*first).div_ceil(8);
            for family in Family::ALL {
                let length = if family.is_flowspec() { rule } else { host };
                let key = rest
                    .get(..length)
                    .map(|bytes| NlriKey::new(family, bytes.to_vec()));
                named.extend(key.filter(|key| self.slots.find(key).is_some()));
            }
        }
        named
    }

    fn is_kept(&self, id: Id, other: &Seen, shape: Shape) -> bool {
        let of = |route: Route| Shape::of(&route.rule, route.action);
        matches!(other.trust, Trust::Tried | Trust::Good)
            && other.told.is_some()
            && self.slots.route(id).map(of) == Some(shape)
    }

    /// Those under trial with whom the session has lived long enough.
    pub(super) fn acquit(&mut self, now: Instant) {
        while let Next::Acquitted(group) = self.quarantine.next(self.figure(|counts| counts.probation), now) {
            for key in group {
                self.change(&key, |entry| {
                    if entry.trust == Trust::OnTrial {
                        entry.trust = Trust::Tried;
                    }
                });
            }
        }
    }

    /// Lets the next group of suspects take its turn; false if that is not due.
    pub(super) fn begin_trial(&mut self, now: Instant) -> bool {
        if self.quarantine.next(self.figure(|counts| counts.probation), now) != Next::Group {
            return false;
        }
        let suspects = self
            .turns
            .iter()
            .filter(|(turn, _)| turn.queue() == Queue::Suspect);
        let suspects = suspects.filter_map(|(_, id)| self.slots.key(*id));
        let waits = |key: &NlriKey| {
            let entry = self.slots.find(key).and_then(|id| self.slots.get(id));
            let turn = entry.and_then(|entry| entry.turn);
            turn.is_some_and(|turn| turn.queue() == Queue::Suspect)
        };
        let group = self.quarantine.begin(suspects, waits);
        for key in &group {
            self.change(key, |entry| entry.trust = Trust::OnTrial);
        }
        true
    }

    /// A batch was written.
    pub(super) fn follow_trial(&mut self, now: Instant) {
        let through = |session: &super::Session| session.marks.iter().all(|marks| !marks.end_of_rib);
        if self.session.as_ref().is_some_and(through) {
            self.quarantine.rest_is_told(now);
        }
        self.quarantine.written(self.on_trial, now);
    }

    /// Tries a parked rule again, or all of them, as suspects; says how many were held back that are wanted.
    pub(crate) fn release(&mut self, key: Option<&NlriKey>) -> usize {
        let route = key
            .and_then(|key| self.slots.find(key))
            .and_then(|id| self.slots.route(id));
        let held = |rib: &Self| rib.figure(|counts| counts.quarantined);
        let before = held(self);
        if self.quarantine.release(route.as_ref(), key) {
            self.readmit_released();
        }
        before.saturating_sub(held(self))
    }

    /// The same for what was parked long enough; true if there was something.
    pub(crate) fn release_due(&mut self, now: Instant) -> bool {
        let released = self.quarantine.release_due(now);
        if released {
            self.readmit_released();
        }
        released
    }

    /// The next moment [`Rib::release_due`] has something to do.
    pub(crate) fn next_release(&self) -> Option<Instant> {
        self.quarantine.next_release()
    }

    /// What is parked, wanted or not; the one that is released first comes first.
    pub(crate) fn parked(&self) -> Vec<(NlriKey, Arc<Parked>)> {
        self.quarantine.parked()
    }

    /// What a process after this one should know, and how often that has changed.
    pub(crate) fn remembered(&self) -> (u64, Remembered) {
        let remembered = Remembered {
            kinds: self.remembered_kinds(),
            bound: self.policy.remembered(),
            ..self.quarantine.remembered()
        };
        (self.memory_version(), remembered)
    }

    /// How often what [`Rib::remembered`] tells has changed.
    pub(crate) fn memory_version(&self) -> u64 {
        self.quarantine.version() + self.kinds_version() + self.policy.version()
    }

    /// Goes on from what a process before this one knew of the router alone.
    pub(crate) fn remember(&mut self, mut remembered: Remembered, now: Instant) {
        if let Some(bound) = remembered.bound.take() {
            self.policy.restore(bound, now);
        }
        self.quarantine.restore(remembered, now);
        self.readmit();
    }

    fn readmit_released(&mut self) {
        for id in self.by_rank() {
            self.update(id, Queue::Resync, |entry| {
                if entry
                    .desired
                    .is_some_and(|desired| desired.admission == Admission::Quarantined)
                {
                    entry.trust = Trust::Suspect;
                }
            });
        }
        self.readmit();
    }

    /// Nothing is suspected or parked any more.
    pub(super) fn forget_suspicions(&mut self) {
        self.quarantine.forget();
        for id in self.by_rank() {
            self.update(id, Queue::Resync, |entry| {
                if entry.trust >= Trust::Suspect {
                    entry.trust = Trust::New;
                }
            });
        }
    }

    /// Changes what is known of a rule.
    fn change(&mut self, key: &NlriKey, change: impl FnOnce(&mut Entry)) {
        if let Some(id) = self.slots.find(key) {
            self.update(id, Queue::Resync, change);
        }
    }
}

#[cfg(test)]
mod tests;
