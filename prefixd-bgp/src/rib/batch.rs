//! Pulling what is to be sent next, and confirming that it was written.

use tokio::time::Instant;

use super::entry::{Queue, Turn};
use super::quarantine::Trust;
use super::slots::Id;
use super::{Generation, Rib};
use crate::flowspec::{Action, Family};
use crate::wire::{AttributeSet, Packer, RefreshSubtype, end_of_rib, route_refresh};

/// NLRI bytes in one batch for a router that takes everything at once.
pub(crate) const BATCH_BYTES: usize = 32 * 1024;
/// The same, about one message, for a router that does not: a withdrawal that comes next waits behind no more than this.
pub(crate) const MESSAGE_BYTES: usize = 3 * 1024;

/// Messages to write, and what they tell the neighbour.
#[derive(Debug)]
pub(crate) struct Batch {
    generation: Generation,
    /// Whole messages, back to back.
    pub(crate) bytes: Vec<u8>,
    /// UPDATE messages among them, End-of-RIB included.
    pub(crate) updates: u64,
    /// ROUTE-REFRESH messages among them.
    pub(crate) refreshes: u64,
    announced: Vec<Announced>,
    /// Their entries stay where they are while they are in flight.
    withdrawn: Vec<Id>,
    completes_sync: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct Announced {
    pub(super) id: Id,
    family: Family,
    /// Since when the neighbour should hold it; only for changes during the session.
    fresh_since: Option<Instant>,
}

impl Batch {
    pub(crate) fn announcements(&self) -> usize {
        self.announced.len()
    }

    pub(crate) fn withdrawals(&self) -> usize {
        self.withdrawn.len()
    }
}

/// What the writer is to do.
#[derive(Debug)]
pub(crate) enum Pull {
    /// Write this, then confirm it.
    Batch(Batch),
    /// Nothing before this moment, unless something changes.
    Later(Instant),
    /// Nothing until something changes.
    Idle,
    /// The session this writer belongs to is over.
    Stale,
}

impl Rib {
    /// Takes the next messages for the session `generation`, with about so many bytes of NLRI. At most one batch is ever
    /// in flight.
    pub(crate) fn pull(
        &mut self,
        generation: Generation,
        attributes: &AttributeSet,
        bytes: usize,
        now: Instant,
    ) -> Pull {
        let Some(session) = self
            .session
            .as_ref()
            .filter(|session| session.generation == generation)
        else {
            return Pull::Stale;
        };
        let kind = session.kind;
        self.start_due_refreshes(now);
        let mut allowed = self.pace.as_mut().map_or(usize::MAX, |pace| pace.available(now));
        let mut packer = Packer::new(attributes, kind, self.policy.update_bytes());
        let mut batch = Batch {
            generation,
            bytes: Vec::new(),
            updates: 0,
            refreshes: 0,
            announced: Vec::new(),
            withdrawn: Vec::new(),
            completes_sync: None,
        };
        let mut paced = false;
        self.acquit(now);
        while packer.nlri_bytes() < bytes {
            let Some((turn, id)) = self.turns.first_key_value().map(|(turn, id)| (*turn, *id)) else {
                break;
            };
            let Some(key) = self.slots.key(id).cloned() else {
                // Only a fault of this program in the middle of a change can leave this behind, and this loop would meet
                // it for ever, under the lock.
                self.turns.remove(&turn);
                continue;
            };
            match turn.queue() {
                Queue::Suspect => {
                    // Alone: nothing else is in the message that it may be lost by.
                    if packer.nlri_bytes() > 0 || !self.begin_trial(now) {
                        break;
                    }
                }
                Queue::Withdraw => {
                    packer.withdraw(&key);
                    let admission = self.admission_without_told(id);
                    self.update(id, Queue::Fresh, |entry| {
                        entry.told = None;
                        entry.in_flight = true;
                        if let Some((desired, admission)) = entry.desired.as_mut().zip(admission) {
                            desired.admission = admission;
                        }
                    });
                    batch.withdrawn.push(id);
                }
                Queue::Fresh | Queue::Resync if allowed == 0 => {
                    paced = true;
                    break;
                }
                Queue::Fresh | Queue::Resync => {
                    allowed -= 1;
                    let Some((action, announced)) = self.take(id, key.family(), turn) else {
                        self.turns.remove(&turn);
                        continue;
                    };
                    packer.announce(&key, action);
                    batch.announced.push(announced);
                }
            }
        }
        if let Some(pace) = self.pace.as_mut() {
            pace.take(batch.announced.len());
        }
        self.frame(&mut batch, packer);
        if !batch.bytes.is_empty() {
            return Pull::Batch(batch);
        }
        let pace = self.pace.as_ref().filter(|_| paced);
        [
            pace.map(|pace| pace.next(now)),
            self.next_refresh(),
            // One that is due already waits for what is said before it.
            self.quarantine.wakes_at().filter(|at| *at > now),
        ]
        .into_iter()
        .flatten()
        .min()
        .map_or(Pull::Idle, Pull::Later)
    }

    /// The batch is in the socket.
    pub(crate) fn written(&mut self, batch: Batch, now: Instant) {
        if !self
            .session
            .as_ref()
            .is_some_and(|session| session.generation == batch.generation)
        {
            return;
        }
        self.totals.announced += batch.announced.len() as u64;
        self.totals.withdrawn += batch.withdrawn.len() as u64;
        if let Some(since) = batch.completes_sync {
            self.totals.time_to_end_of_rib = Some(now.saturating_duration_since(since));
        }
        for id in batch.withdrawn {
            self.update(id, Queue::Fresh, |entry| {
                entry.in_flight = false;
                entry.written_at = None;
            });
        }
        self.tell_canary(&batch.announced, now);
        let tick = self.slots.tick(now);
        for Announced {
            id,
            family,
            fresh_since,
        } in batch.announced
        {
            if let Some(since) = fresh_since {
                self.latency.observe(now.saturating_duration_since(since));
            }
            // Most were not touched meanwhile, and of those little is to be kept in step.
            let plain = if self.suspended {
                None
            } else {
                self.slots.confirm(id, tick)
            };
            match plain {
                Some(trust) => {
                    let counts = &mut self.counts[family.index()];
                    counts.dirty = counts.dirty.saturating_sub(1);
                    counts.advertised += 1;
                    let was_on_trial = usize::from(trust == Trust::OnTrial);
                    self.on_trial = self.on_trial.saturating_sub(was_on_trial);
                }
                None => self.update(id, Queue::Fresh, |entry| {
                    entry.in_flight = false;
                    entry.written_at = Some(now);
                }),
            }
        }
        self.settle(None);
        self.follow_trial(now);
    }

    /// Marks the entry as told and in flight. `None` if it has nothing to tell.
    fn take(&mut self, id: Id, family: Family, turn: Turn) -> Option<(Action, Announced)> {
        let is_fresh = turn.queue() == Queue::Fresh;
        let announced = |fresh_since| Announced {
            id,
            family,
            fresh_since,
        };
        if let Some((action, since)) = self.slots.tell(id) {
            // What is first in line.
            self.turns.pop_first();
            if !is_fresh {
                self.resync_left(family, -1);
            }
            return Some((action, announced(since.filter(|_| is_fresh))));
        }
        let mut tells = None;
        self.update(id, Queue::Fresh, |entry| {
            tells = entry
                .action_to_tell()
                .zip(entry.desired.map(|desired| desired.since));
            entry.told = tells.map(|(action, _)| action);
            entry.resend = false;
            entry.in_flight = tells.is_some();
        });
        let (action, since) = tells?;
        Some((action, announced(is_fresh.then_some(since))))
    }

    /// Writes the messages in order: refresh begins, withdrawals, announcements, refresh and resync ends.
    fn frame(&mut self, batch: &mut Batch, packer: Packer<'_>) {
        let Some(session) = self.session.as_mut() else {
            return;
        };
        for family in Family::ALL {
            let marks = &mut session.marks[family.index()];
            if std::mem::take(&mut marks.begin_refresh) {
                batch.bytes.extend(route_refresh(family, RefreshSubtype::Begin));
                batch.refreshes += 1;
            }
        }
        batch.updates += packer.finish(&mut batch.bytes);
        for family in Family::ALL {
            let marks = &mut session.marks[family.index()];
            if marks.left > 0 {
                continue;
            }
            if std::mem::take(&mut marks.end_refresh) {
                batch.bytes.extend(route_refresh(family, RefreshSubtype::End));
                batch.refreshes += 1;
            }
            if std::mem::take(&mut marks.end_of_rib) {
                batch.bytes.extend(end_of_rib(family));
                batch.updates += 1;
                if session.marks.iter().all(|marks| !marks.end_of_rib) {
                    batch.completes_sync = Some(session.since);
                }
            }
        }
    }

    fn start_due_refreshes(&mut self, now: Instant) {
        for family in Family::ALL {
            let Some(session) = self.session.as_mut() else {
                return;
            };
            let enhanced = session.enhanced_refresh;
            let marks = &mut session.marks[family.index()];
            if marks.refresh_due.is_none_or(|due| due > now) {
                continue;
            }
            marks.refresh_due = None;
            marks.last_refresh = Some(now);
            marks.begin_refresh = enhanced;
            marks.end_refresh = enhanced;
            self.totals.refreshes += 1;
            self.requeue(Some(family));
        }
    }

    fn next_refresh(&self) -> Option<Instant> {
        self.session
            .as_ref()?
            .marks
            .iter()
            .filter_map(|marks| marks.refresh_due)
            .min()
    }
}
