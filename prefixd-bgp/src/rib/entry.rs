//! One entry, its place in the order of sending, and the figures that follow from it.

use tokio::time::Instant;

use super::Rib;
use super::quarantine::Trust;
use crate::flowspec::{Action, NlriKey};
use crate::route::{Bound, Refusal, Route};

#[derive(Default)]
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

pub(super) struct Desired {
    pub(super) route: Route,
    pub(super) since: Instant,
    pub(super) admission: Admission,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    Admitted,
    OverBudget(Bound),
    /// Parked.
    Quarantined,
    Refused(Refusal),
}

/// Place in the order of sending: first the queue, then the age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn {
    pub(super) queue: Queue,
    pub(super) number: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Queue {
    Withdraw,
    Fresh,
    Resync,
    /// Sent when its trial is due.
    Suspect,
    /// Not sent; kept here in order of age to move up.
    OverBudget,
}

impl Rib {
    /// The one place where an entry changes: keeps turns, deadlines and figures in step with it.
    pub(super) fn update(&mut self, key: &NlriKey, queue: Queue, change: impl FnOnce(&mut Entry)) {
        let mut entry = self.entries.remove(key).unwrap_or_default();
        let before = entry
            .desired
            .as_ref()
            .map(|desired| (desired.route.not_after, desired.admission));
        self.count(&entry, false);
        change(&mut entry);
        let after = entry
            .desired
            .as_ref()
            .map(|desired| (desired.route.not_after, desired.admission));

        if before.map(|(at, _)| at) != after.map(|(at, _)| at) {
            if let Some((at, _)) = before {
                self.deadlines.remove(&(at, key.clone()));
            }
            if let Some((at, _)) = after {
                self.deadlines.insert((at, key.clone()));
            }
        }
        let admitted =
            |side: Option<(Instant, Admission)>| usize::from(matches!(side, Some((_, Admission::Admitted))));
        let figure = &mut self.admitted[key.family().index()];
        *figure = (*figure + admitted(after)).saturating_sub(admitted(before));

        self.set_turn(key, &mut entry, queue);
        self.count(&entry, true);
        if entry.desired.is_some() || entry.told.is_some() || entry.in_flight {
            self.entries.insert(key.clone(), entry);
        }
    }

    fn set_turn(&mut self, key: &NlriKey, entry: &mut Entry, queue: Queue) {
        let wanted = self.wanted_queue(key, entry, queue);
        let kept = entry.turn.filter(|turn| {
            let announces = |queue| matches!(queue, Queue::Fresh | Queue::Resync);
            wanted.is_some_and(|wanted| wanted == turn.queue || (announces(wanted) && announces(turn.queue)))
        });
        if kept.is_some() {
            return;
        }
        if let Some(turn) = entry.turn.take() {
            self.turns.remove(&turn);
            if turn.queue == Queue::Resync {
                self.resync_left(key, -1);
            }
        }
        if let Some(queue) = wanted {
            self.last_turn += 1;
            let turn = Turn {
                queue,
                number: self.last_turn,
            };
            self.turns.insert(turn, key.clone());
            entry.turn = Some(turn);
            if queue == Queue::Resync {
                self.resync_left(key, 1);
            }
        }
    }

    /// Which message the entry needs, if any.
    fn wanted_queue(&self, key: &NlriKey, entry: &Entry, queue: Queue) -> Option<Queue> {
        let admission = entry.desired.as_ref().map(|desired| desired.admission);
        let waiting = matches!(admission, Some(Admission::OverBudget(_))).then_some(Queue::OverBudget);
        let Some(session) = &self.session else {
            return waiting;
        };
        if entry.in_flight || !session.families.contains(&key.family()) {
            return waiting;
        }
        match (&entry.desired, admission) {
            (Some(desired), Some(Admission::Admitted)) if !self.suspended => {
                let queue = if entry.trust == Trust::Suspect {
                    Queue::Suspect
                } else {
                    queue
                };
                (entry.resend || entry.told != Some(desired.route.action)).then_some(queue)
            }
            _ if entry.told.is_some() => Some(Queue::Withdraw),
            _ => waiting,
        }
    }

    fn resync_left(&mut self, key: &NlriKey, by: isize) {
        if let Some(session) = self.session.as_mut() {
            let left = &mut session.marks[key.family().index()].left;
            *left = left.saturating_add_signed(by);
        }
    }

    fn count(&mut self, entry: &Entry, add: bool) {
        let admission = entry.desired.as_ref().map(|desired| desired.admission);
        let step = |figure: &mut usize, applies: bool| {
            if applies {
                *figure = if add {
                    *figure + 1
                } else {
                    figure.saturating_sub(1)
                };
            }
        };
        let as_desired = entry.told.is_some()
            && entry.told == entry.desired.as_ref().map(|desired| desired.route.action)
            && !entry.in_flight;
        step(&mut self.counts.desired, entry.desired.is_some());
        step(&mut self.counts.advertised, as_desired);
        step(
            &mut self.counts.dirty,
            entry.in_flight || entry.turn.is_some_and(|turn| turn.queue < Queue::Suspect),
        );
        step(
            &mut self.counts.refused,
            matches!(admission, Some(Admission::Refused(_))),
        );
        let is_sent = matches!(admission, Some(Admission::Admitted));
        step(
            &mut self.counts.probation,
            is_sent && entry.trust == Trust::Suspect,
        );
        step(
            &mut self.on_trial,
            is_sent && entry.trust == Trust::OnTrial && !as_desired,
        );
        step(
            &mut self.counts.quarantined,
            matches!(admission, Some(Admission::Quarantined)),
        );
        step(
            &mut self.counts.over_budget,
            matches!(admission, Some(Admission::OverBudget(_))),
        );
    }
}
