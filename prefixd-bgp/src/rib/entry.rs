//! One entry, its place in the order of sending, and the figures that follow from it.

use std::cmp::Reverse;
use std::num::NonZeroU64;

use tokio::time::Instant;

use super::Rib;
use super::quarantine::Trust;
use super::slots::{Id, Tick};
use crate::flowspec::{Action, Family, NlriKey};
use crate::route::Priority;

#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) desired: Option<Desired>,
    pub(super) told: Option<Action>,
    pub(super) written_at: Option<Instant>,
    /// In a batch that the writer has pulled and not confirmed.
    pub(super) in_flight: bool,
    /// Send although the neighbour was told already (refresh).
    pub(super) resend: bool,
    pub(super) trust: Trust,
    pub(super) turn: Option<Turn>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Desired {
    pub(super) action: Action,
    pub(super) priority: Priority,
    pub(super) not_after: Instant,
    pub(super) since: Instant,
    pub(super) admission: Admission,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    Admitted,
    /// The neighbour has as many as it may have.
    OverBudget {
        /// It was admitted before something more important came.
        displaced: bool,
    },
    /// Parked.
    Quarantined,
    /// Another neighbour is told such a rule first.
    Waiting,
    /// The same, and what the neighbour was told under the key before stays, and has a place.
    Stays,
    /// Beyond the limits.
    Refused,
}

impl Admission {
    /// Whether it counts against the bounds.
    pub(super) fn has_place(self) -> bool {
        matches!(self, Self::Admitted | Self::Stays)
    }

    /// Once something more important has taken its place.
    pub(super) fn without_place(self) -> Self {
        match self {
            Self::Stays => Self::Waiting,
            _ => Self::OverBudget { displaced: true },
        }
    }
}

/// The more important comes first, then the older.
pub(super) type Rank = (Reverse<Priority>, Tick, Id);

/// Place in the order of sending: first the queue, then the age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn(NonZeroU64);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Queue {
    Withdraw,
    Fresh,
    Resync,
    /// Sent when its trial is due.
    Suspect,
}

/// The queue is in the bits above these.
const TURN_BITS: u32 = 62;

impl Turn {
    /// Numbers begin with 1.
    fn new(queue: Queue, number: NonZeroU64) -> Self {
        Self(number | (queue as u64) << TURN_BITS)
    }

    /// The next of all.
    pub(super) fn next(queue: Queue, last: &mut u64) -> Self {
        let number = NonZeroU64::MIN.saturating_add(*last);
        *last = number.get();
        Self::new(queue, number)
    }

    pub(super) fn queue(self) -> Queue {
        match self.0.get() >> TURN_BITS {
            0 => Queue::Withdraw,
            1 => Queue::Fresh,
            2 => Queue::Resync,
            _ => Queue::Suspect,
        }
    }

    pub(super) fn pack(self) -> NonZeroU64 {
        self.0
    }

    pub(super) fn unpack(packed: NonZeroU64) -> Self {
        Self(packed)
    }
}

impl Entry {
    fn admission(&self) -> Option<Admission> {
        self.desired.as_ref().map(|desired| desired.admission)
    }

    pub(super) fn is_admitted(&self) -> bool {
        self.admission() == Some(Admission::Admitted)
    }

    pub(super) fn has_place(&self) -> bool {
        self.admission().is_some_and(Admission::has_place)
    }

    /// Another neighbour is told it first.
    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.admission(), Some(Admission::Waiting | Admission::Stays))
    }

    pub(super) fn action(&self) -> Option<Action> {
        self.desired.as_ref().map(|desired| desired.action)
    }

    /// What the neighbour is to have of it, room and all.
    pub(super) fn action_to_tell(&self) -> Option<Action> {
        match self.admission()? {
            Admission::Admitted => self.action(),
            // What it has of the rule is better than nothing.
            Admission::Stays => self.told,
            _ => None,
        }
    }

    /// The neighbour has what it should have, as far as written.
    pub(super) fn is_as_desired(&self) -> bool {
        self.told.is_some() && self.told == self.action() && !self.in_flight
    }
}

impl Rib {
    /// The one place where an entry changes: keeps orders and figures in step with it.
    pub(super) fn update(&mut self, id: Id, queue: Queue, change: impl FnOnce(&mut Entry)) {
        let (Some(mut entry), Some(family)) = (self.slots.get(id), self.slots.key(id).map(NlriKey::family))
        else {
            return;
        };
        let before = entry.desired;
        self.count(&entry, family, false);
        change(&mut entry);
        self.reorder(id, family, before, entry.desired);
        self.set_turn(id, family, &mut entry, queue);
        self.count(&entry, family, true);
        if entry.desired.is_some() || entry.told.is_some() || entry.in_flight {
            self.slots.put(id, &entry);
        } else {
            self.slots.remove(id);
        }
    }

    fn reorder(&mut self, id: Id, family: Family, before: Option<Desired>, after: Option<Desired>) {
        let mut end = |desired: Desired| (self.slots.tick(desired.not_after), id);
        let (old, new) = (before.map(&mut end), after.map(&mut end));
        if old != new {
            if let Some(old) = old {
                self.deadlines.remove(&old);
            }
            self.deadlines.extend(new);
        }
        let mut rank = |desired: Desired| -> (Admission, Rank) {
            let since = self.slots.tick(desired.since);
            (desired.admission, (Reverse(desired.priority), since, id))
        };
        let (old, new) = (before.map(&mut rank), after.map(&mut rank));
        if old == new {
            return;
        }
        let index = family.index();
        match old {
            Some((admission, rank)) if admission.has_place() => {
                self.admitted[index] = self.admitted[index].saturating_sub(1);
                self.ranked[index].remove(&rank);
            }
            Some((Admission::OverBudget { .. }, rank)) => {
                self.waiting[index].remove(&rank);
            }
            _ => {}
        }
        match new {
            Some((admission, rank)) if admission.has_place() => {
                self.admitted[index] += 1;
                if self.is_bounded {
                    self.ranked[index].insert(rank);
                }
            }
            Some((Admission::OverBudget { .. }, rank)) => {
                self.waiting[index].insert(rank);
            }
            _ => {}
        }
    }

    fn set_turn(&mut self, id: Id, family: Family, entry: &mut Entry, queue: Queue) {
        let wanted = self.wanted_queue(family, entry, queue);
        let kept = entry.turn.filter(|turn| {
            let announces = |queue| matches!(queue, Queue::Fresh | Queue::Resync);
            let is = turn.queue();
            wanted.is_some_and(|wanted| wanted == is || (announces(wanted) && announces(is)))
        });
        if kept.is_some() {
            return;
        }
        if let Some(turn) = entry.turn.take() {
            self.turns.remove(&turn);
            if turn.queue() == Queue::Resync {
                self.resync_left(family, -1);
            }
        }
        if let Some(queue) = wanted {
            let turn = Turn::next(queue, &mut self.last_turn);
            self.turns.insert(turn, id);
            entry.turn = Some(turn);
            if queue == Queue::Resync {
                self.resync_left(family, 1);
            }
        }
    }

    /// Which message the entry needs, if any.
    fn wanted_queue(&self, family: Family, entry: &Entry, queue: Queue) -> Option<Queue> {
        let session = self.session.as_ref()?;
        if entry.in_flight || !session.families.contains(&family) {
            return None;
        }
        let Some(action) = entry.action_to_tell().filter(|_| !self.suspended) else {
            return entry.told.map(|_| Queue::Withdraw);
        };
        let queue = if entry.trust == Trust::Suspect {
            Queue::Suspect
        } else {
            queue
        };
        (entry.resend || entry.told != Some(action)).then_some(queue)
    }

    pub(super) fn resync_left(&mut self, family: Family, by: isize) {
        if let Some(session) = self.session.as_mut() {
            let left = &mut session.marks[family.index()].left;
            *left = left.saturating_add_signed(by);
        }
    }

    fn count(&mut self, entry: &Entry, family: Family, add: bool) {
        let step = |figure: &mut usize, applies: bool| {
            if applies {
                *figure = if add {
                    *figure + 1
                } else {
                    figure.saturating_sub(1)
                };
            }
        };
        let (admission, is_admitted) = (entry.admission(), entry.is_admitted());
        let turn = entry.turn.map(Turn::queue);
        let counts = &mut self.counts[family.index()];
        step(&mut counts.desired, entry.desired.is_some());
        step(&mut counts.advertised, entry.is_as_desired());
        step(
            &mut counts.dirty,
            entry.in_flight || turn.is_some_and(|queue| queue < Queue::Suspect),
        );
        step(&mut counts.refused, admission == Some(Admission::Refused));
        step(&mut counts.quarantined, admission == Some(Admission::Quarantined));
        step(&mut counts.waiting, entry.is_waiting());
        step(
            &mut counts.over_budget,
            matches!(admission, Some(Admission::OverBudget { .. })),
        );
        step(
            &mut counts.displaced,
            admission == Some(Admission::OverBudget { displaced: true }),
        );
        step(
            &mut counts.probation,
            is_admitted && entry.trust == Trust::Suspect,
        );
        step(
            &mut self.on_trial,
            is_admitted && entry.trust == Trust::OnTrial && !entry.is_as_desired(),
        );
    }
}
