//! Where the entries of a RIB are kept: packed, because there may be a hundred thousand of them for each neighbour.
//!
//! The code thinks in [`Entry`]; memory holds a [`Slot`]. Times are counted from one moment, and whatever puts entries in
//! an order holds the number of the slot instead of the key.

use std::cmp::Reverse;
use std::hash::BuildHasher;
use std::num::NonZeroU64;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};
use tokio::time::{Duration, Instant};

use super::entry::{Admission, Desired, Entry, Turn};
use super::quarantine::{Seen, Trust};
use crate::flowspec::{Action, CanonicalRule, Family, NlriKey};
use crate::route::{Priority, Route};

/// The number of a slot, for as long as its entry lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Id(u32);

/// Nanoseconds since the first moment the RIB was told of; before that they are negative.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tick(i64);

#[derive(Clone, Default)]
pub(super) struct Slots {
    slots: Chunks,
    free: Vec<Id>,
    index: HashTable<Indexed>,
    hasher: DefaultHashBuilder,
    base: Option<Instant>,
}

/// Where a key's entry is. With its hash: a table that grows, or meets another key in the same place, asks no rule.
#[derive(Clone, Copy)]
struct Indexed {
    hash: u32,
    id: Id,
}

#[derive(Clone)]
struct Slot {
    /// None: free.
    rule: Option<Arc<CanonicalRule>>,
    /// The times, the priority and the admission are of the desired route, if there is one.
    desired: Option<Action>,
    told: Option<Action>,
    not_after: Tick,
    since: Tick,
    written_at: Tick,
    turn: Option<NonZeroU64>,
    priority: Priority,
    admission: Admission,
    trust: Trust,
    is_written: bool,
    in_flight: bool,
    resend: bool,
}

/// With the index, the end of the rule and its turn an entry stays below 200 bytes (`examples/rib_memory.rs` measures it).
const _: () = assert!(size_of::<Slot>() <= 104);
/// Slots that never move: a vector that grows copies all it has and holds it twice meanwhile.
#[derive(Clone, Default)]
struct Chunks(Vec<Vec<Slot>>);

/// Slots of one allocation, 26 KB.
const CHUNK: usize = 256;

impl Chunks {
    fn get(&self, id: Id) -> Option<&Slot> {
        self.0.get(id.index() / CHUNK)?.get(id.index() % CHUNK)
    }

    fn get_mut(&mut self, id: Id) -> Option<&mut Slot> {
        self.0.get_mut(id.index() / CHUNK)?.get_mut(id.index() % CHUNK)
    }

    fn push(&mut self, slot: Slot) -> Id {
        let (full, room) = match self.0.last() {
            Some(last) if last.len() < CHUNK => (self.0.len() - 1, last.len()),
            _ => {
                self.0.push(Vec::with_capacity(CHUNK));
                (self.0.len() - 1, 0)
            }
        };
        if let Some(last) = self.0.last_mut() {
            last.push(slot);
        }
        // Four billion slots do not fit into memory.
        Id(u32::try_from(full * CHUNK + room).unwrap_or(u32::MAX))
    }

    fn iter(&self) -> impl Iterator<Item = (Id, &Slot)> {
        (0..).map(Id).zip(self.0.iter().flatten())
    }
}

impl Id {
    fn index(self) -> usize {
        self.0 as usize
    }
}

/// The table tells places by the lowest bits and neighbours in a place by the highest.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << u32::BITS | u64::from(hash)
}

impl Slots {
    pub(super) fn find(&self, key: &NlriKey) -> Option<Id> {
        self.find_hashed(self.hash(key), key)
    }

    #[expect(clippy::cast_possible_truncation, reason = "half of a hash is one")]
    fn hash(&self, key: &NlriKey) -> u32 {
        self.hasher.hash_one(key) as u32
    }

    fn find_hashed(&self, hash: u32, key: &NlriKey) -> Option<Id> {
        let is_it = |one: &Indexed| one.hash == hash && self.key(one.id) == Some(key);
        self.index.find(spread(hash), is_it).map(|found| found.id)
    }

    /// The slot of the rule; a new one if it has none.
    pub(super) fn find_or_insert(&mut self, rule: &Arc<CanonicalRule>) -> Id {
        let hash = self.hash(rule.key());
        if let Some(id) = self.find_hashed(hash, rule.key()) {
            return id;
        }
        let slot = Slot::new(rule.clone());
        let id = match self.free.pop() {
            Some(id) => {
                if let Some(free) = self.slots.get_mut(id) {
                    *free = slot;
                }
                id
            }
            None => self.slots.push(slot),
        };
        self.index
            .insert_unique(spread(hash), Indexed { hash, id }, |one| spread(one.hash));
        id
    }

    pub(super) fn remove(&mut self, id: Id) {
        let Some(rule) = self.slots.get_mut(id).and_then(|slot| slot.rule.take()) else {
            return;
        };
        let hash = spread(self.hash(rule.key()));
        if let Ok(found) = self.index.find_entry(hash, |other| other.id == id) {
            found.remove();
        }
        self.free.push(id);
        if self.index.is_empty() {
            // An attack is over: its memory is given back.
            *self = Self {
                base: self.base,
                ..Self::default()
            };
        }
    }

    pub(super) fn rule(&self, id: Id) -> Option<&Arc<CanonicalRule>> {
        self.slots.get(id)?.rule.as_ref()
    }

    pub(super) fn key(&self, id: Id) -> Option<&NlriKey> {
        Some(self.rule(id)?.key())
    }

    pub(super) fn get(&self, id: Id) -> Option<Entry> {
        self.slots
            .get(id)
            .filter(|slot| slot.rule.is_some())
            .map(|slot| self.unpack(slot))
    }

    pub(super) fn put(&mut self, id: Id, entry: &Entry) {
        let desired = entry.desired.as_ref();
        let not_after = desired.map(|desired| self.tick(desired.not_after));
        let since = desired.map(|desired| self.tick(desired.since));
        let written_at = entry.written_at.map(|at| self.tick(at));
        if let Some(slot) = self.slots.get_mut(id) {
            slot.desired = desired.map(|desired| desired.action);
            slot.not_after = not_after.unwrap_or_default();
            slot.since = since.unwrap_or_default();
            slot.priority = desired.map(|desired| desired.priority).unwrap_or_default();
            slot.admission = desired.map_or(Admission::Admitted, |desired| desired.admission);
            slot.told = entry.told;
            slot.is_written = written_at.is_some();
            slot.written_at = written_at.unwrap_or_default();
            slot.turn = entry.turn.map(Turn::pack);
            slot.trust = entry.trust;
            slot.in_flight = entry.in_flight;
            slot.resend = entry.resend;
        }
    }

    /// Whether and how the rule has a place, and what the neighbour was told of it.
    pub(super) fn standing(&self, id: Id) -> (Option<Admission>, Option<Action>) {
        let slot = self.slots.get(id);
        let admission = slot.and_then(|slot| slot.desired.map(|_| slot.admission));
        (admission, slot.and_then(|slot| slot.told))
    }

    /// What the neighbour should hold.
    pub(super) fn route(&self, id: Id) -> Option<Route> {
        let rule = self.rule(id)?.clone();
        let desired = self.get(id)?.desired?;
        Some(Route {
            rule,
            action: desired.action,
            priority: desired.priority,
            not_after: desired.not_after,
        })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Id, &Arc<CanonicalRule>, Entry)> {
        self.slots.iter().filter_map(|(id, slot)| {
            let rule = slot.rule.as_ref()?;
            Some((id, rule, self.unpack(slot)))
        })
    }

    /// The keys of what is desired in `most` slots from one on, and the next slot if there is one.
    pub(super) fn desired_keys(&self, from: usize, most: usize) -> (Vec<NlriKey>, Option<usize>) {
        let upto = from.saturating_add(most);
        let ids = (from..upto).map_while(|at| u32::try_from(at).ok().map(Id));
        let slots = ids.map_while(|id| self.slots.get(id));
        let desired = slots.filter(|slot| slot.desired.is_some());
        let rules = desired.filter_map(|slot| slot.rule.as_ref());
        let keys = rules.map(|rule| rule.key().clone()).collect();
        let has_more = u32::try_from(upto).is_ok_and(|upto| self.slots.get(Id(upto)).is_some());
        (keys, has_more.then_some(upto))
    }

    /// Every entry: what is only being withdrawn first, then the most important, among equals the oldest wish. Not by way
    /// of [`Entry`], because all of them are looked at while the lock is held.
    pub(super) fn by_rank(&self) -> Vec<Id> {
        let rank = |(id, slot): (Id, &Slot)| {
            slot.rule.as_ref()?;
            let wish = slot.desired.map(|_| (Reverse(slot.priority), slot.since));
            Some((wish, id))
        };
        let mut ranks: Vec<_> = self.slots.iter().filter_map(rank).collect();
        ranks.sort_unstable();
        ranks.into_iter().map(|(_, id)| id).collect()
    }

    /// The entry at the end of a session.
    pub(super) fn seen(&self, id: Id, now: Instant) -> Option<Seen> {
        let slot = self.slots.get(id)?;
        let written = if slot.in_flight {
            Some(now)
        } else {
            self.instant(slot.written_at).filter(|_| slot.is_written)
        };
        Some(Seen {
            key: slot.key()?.clone(),
            trust: slot.trust,
            told: slot.told.and(written).map(|at| now.saturating_duration_since(at)),
            named: false,
        })
    }

    /// The router has forgotten what it was told. An entry that nobody wishes goes; true if the other has a place.
    pub(super) fn forget_session(&mut self, id: Id, trust: Trust) -> bool {
        let Some(slot) = self.slots.get_mut(id) else {
            return false;
        };
        if slot.desired.is_none() {
            self.remove(id);
            return false;
        }
        slot.told = None;
        slot.is_written = false;
        slot.in_flight = false;
        slot.resend = false;
        slot.turn = None;
        slot.trust = trust;
        slot.admission == Admission::Admitted
    }

    /// What decides whether and how a session that begins is told the entry; none for one that has no place.
    pub(super) fn to_tell(&self, id: Id) -> Option<(Family, Trust)> {
        let slot = self.slots.get(id)?;
        let family = slot.key()?.family();
        let has_place = slot.desired.is_some() && slot.admission == Admission::Admitted;
        has_place.then_some((family, slot.trust))
    }

    /// Marks what is in line as told and in flight, where that changes no figure: it has a place, and the neighbour has it
    /// otherwise or not at all. What it does, and since when it is wanted.
    pub(super) fn tell(&mut self, id: Id) -> Option<(Action, Option<Instant>)> {
        let slot = self.slots.get_mut(id)?;
        let action = slot.desired?;
        let is_plain = slot.admission == Admission::Admitted && slot.told != slot.desired && !slot.in_flight;
        if !is_plain {
            return None;
        }
        slot.told = slot.desired;
        slot.in_flight = true;
        slot.resend = false;
        slot.turn = None;
        let since = slot.since;
        Some((action, self.instant(since)))
    }

    /// Marks what was in flight as written, where nothing was changed meanwhile; says how much it is trusted.
    pub(super) fn confirm(&mut self, id: Id, now: Tick) -> Option<Trust> {
        let slot = self.slots.get_mut(id)?;
        let is_plain = slot.in_flight
            && slot.admission == Admission::Admitted
            && slot.desired.is_some()
            && slot.told == slot.desired
            && !slot.resend;
        if !is_plain {
            return None;
        }
        slot.in_flight = false;
        slot.written_at = now;
        slot.is_written = true;
        Some(slot.trust)
    }

    pub(super) fn set_turn(&mut self, id: Id, turn: Turn) {
        if let Some(slot) = self.slots.get_mut(id) {
            slot.turn = Some(turn.pack());
        }
    }

    pub(super) fn tick(&mut self, at: Instant) -> Tick {
        let base = *self.base.get_or_insert(at);
        let nanoseconds = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        Tick(if at >= base {
            nanoseconds(at - base)
        } else {
            -nanoseconds(base - at)
        })
    }

    pub(super) fn instant(&self, tick: Tick) -> Option<Instant> {
        let base = self.base?;
        let distance = Duration::from_nanos(tick.0.unsigned_abs());
        if tick.0 < 0 {
            base.checked_sub(distance)
        } else {
            base.checked_add(distance)
        }
    }

    fn unpack(&self, slot: &Slot) -> Entry {
        let desired = slot.desired.and_then(|action| {
            Some(Desired {
                action,
                priority: slot.priority,
                not_after: self.instant(slot.not_after)?,
                since: self.instant(slot.since)?,
                admission: slot.admission,
            })
        });
        Entry {
            desired,
            told: slot.told,
            written_at: self.instant(slot.written_at).filter(|_| slot.is_written),
            in_flight: slot.in_flight,
            resend: slot.resend,
            trust: slot.trust,
            turn: slot.turn.map(Turn::unpack),
        }
    }
}

impl Slot {
    fn new(rule: Arc<CanonicalRule>) -> Self {
        Self {
            rule: Some(rule),
            desired: None,
            told: None,
            not_after: Tick::default(),
            since: Tick::default(),
            written_at: Tick::default(),
            turn: None,
            priority: Priority::default(),
            admission: Admission::Admitted,
            trust: Trust::New,
            is_written: false,
            in_flight: false,
            resend: false,
        }
    }

    fn key(&self) -> Option<&NlriKey> {
        Some(self.rule.as_ref()?.key())
    }
}
