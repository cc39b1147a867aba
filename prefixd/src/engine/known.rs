//! Events that were seen before: an exact duplicate gets the stored answer and changes nothing.
//!
//! Recent ones are kept here, so that the common case costs no query. What is not here may still be in the
//! store, but only if it came before the start, or was here and had to go; an event that claims a later time than
//! any of these cannot be among them.

use crate::store::EventKey;
use prefixd_api::event::EventAnswer;
use prefixd_api::time::Timestamp;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// How many answers are kept. The oldest go first; then the store is asked.
const CAPACITY: usize = 65_536;

/// See the module.
#[derive(Debug)]
pub(super) struct Known {
    answers: HashMap<Arc<EventKey>, EventAnswer>,
    order: VecDeque<Arc<EventKey>>,
    start: Timestamp,
    /// The latest time that an event claims which is in the store and not here.
    stored_until: Timestamp,
}

impl Known {
    /// Nothing is known of before `start`. Sources' clocks may be ahead by `max_skew`.
    pub(super) fn new(start: Timestamp, max_skew: Duration) -> Self {
        Self {
            // At full size from the start: a growing map stalls everybody while it moves.
            answers: HashMap::with_capacity(CAPACITY + 1),
            order: VecDeque::with_capacity(CAPACITY + 1),
            start,
            stored_until: start.saturating_add(max_skew),
        }
    }

    /// Sources' clocks may be ahead by this much from now on. What was taken under a longer bound may still come
    /// again, so it never becomes shorter.
    pub(super) fn allow_skew(&mut self, max_skew: Duration) {
        self.stored_until = self.stored_until.max(self.start.saturating_add(max_skew));
    }

    /// The answer that this event got before.
    pub(super) fn get(&self, key: &EventKey) -> Option<&EventAnswer> {
        self.answers.get(key)
    }

    /// Whether only the store can tell.
    pub(super) fn needs_store(&self, key: &EventKey) -> bool {
        !self.answers.contains_key(key) && key.timestamp <= self.stored_until
    }

    /// Remembers an answer, once it is durable.
    pub(super) fn insert(&mut self, key: EventKey, answer: EventAnswer) {
        let key = Arc::new(key);
        if self.answers.insert(Arc::clone(&key), answer).is_some() {
            return;
        }
        self.order.push_back(key);
        if self.order.len() > CAPACITY
            && let Some(oldest) = self.order.pop_front()
        {
            self.answers.remove(&oldest);
            // The time that it claims, and not when it came: our clock may have been behind the source's.
            self.stored_until = self.stored_until.max(oldest.timestamp);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prefixd_api::event::{EventAction, EventOutcome};
    use prefixd_api::ids::EventId;

    fn key(n: usize, micros: i64) -> EventKey {
        EventKey {
            source: "fnm".into(),
            external_id: n.to_string(),
            action: EventAction::Ban,
            timestamp: Timestamp::from_micros(micros),
        }
    }

    fn answer() -> EventAnswer {
        EventAnswer {
            event_id: EventId::new(),
            external_event_id: None,
            status: EventOutcome::Accepted,
            mitigation_id: None,
            group_id: None,
            ends_at: None,
            reason: String::new(),
        }
    }

    #[test]
    fn the_store_is_asked_only_about_what_may_be_older() {
        let start = Timestamp::from_micros(1_000_000_000);
        let mut known = Known::new(start, Duration::from_secs(60));
        assert!(
            known.needs_store(&key(1, 1_000_000_000 + 60_000_000)),
            "received before the start, clock ahead"
        );
        assert!(!known.needs_store(&key(1, 1_000_000_001 + 60_000_000)));
        known.allow_skew(Duration::from_secs(90));
        known.allow_skew(Duration::from_secs(10));
        assert!(
            known.needs_store(&key(1, 1_000_000_000 + 90_000_000)),
            "taken while clocks might be further ahead"
        );
        known.insert(key(1, 5), answer());
        assert!(!known.needs_store(&key(1, 5)));
    }

    #[test]
    fn what_is_forgotten_is_asked_of_the_store() {
        let mut known = Known::new(Timestamp::from_micros(0), Duration::ZERO);
        for n in 0..=CAPACITY {
            let at = i64::try_from(n).unwrap() + 1;
            known.insert(key(n, at), answer());
        }
        assert!(known.get(&key(0, 1)).is_none());
        assert!(known.needs_store(&key(0, 1)));
        assert!(known.get(&key(1, 2)).is_some());
    }

    /// After a pause of the machine our clock is behind: what it takes then is ahead by more than any bound.
    #[test]
    fn what_was_far_ahead_when_it_came_is_asked_of_the_store_too() {
        let mut known = Known::new(Timestamp::from_micros(0), Duration::ZERO);
        let ahead = key(0, 3_600_000_000);
        known.insert(ahead.clone(), answer());
        for n in 1..=CAPACITY {
            known.insert(key(n, i64::try_from(n).unwrap()), answer());
        }
        assert!(known.get(&ahead).is_none() && known.needs_store(&ahead));
    }
}
