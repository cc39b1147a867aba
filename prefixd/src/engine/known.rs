//! Events that were seen before: an exact duplicate gets the stored answer and changes nothing.
//!
//! Recent ones are kept here, so that the common case costs no query. What is not here may still be in the
//! store, but only if it was received before [`Known::complete_since`]; an event that claims a later time than
//! that cannot have been.

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
    order: VecDeque<(Arc<EventKey>, Timestamp)>,
    complete_since: Timestamp,
    max_skew: Duration,
}

impl Known {
    /// Nothing is known of before `now`. Sources' clocks may be ahead by `max_skew`.
    pub(super) fn new(now: Timestamp, max_skew: Duration) -> Self {
        Self {
            // At full size from the start: a growing map stalls everybody while it moves.
            answers: HashMap::with_capacity(CAPACITY + 1),
            order: VecDeque::with_capacity(CAPACITY + 1),
            complete_since: now,
            max_skew,
        }
    }

    /// Sources' clocks may be ahead by this much from now on. What was taken under a longer bound may still come
    /// again, so it never becomes shorter.
    pub(super) fn allow_skew(&mut self, max_skew: Duration) {
        self.max_skew = self.max_skew.max(max_skew);
    }

    /// The answer that this event got before.
    pub(super) fn get(&self, key: &EventKey) -> Option<&EventAnswer> {
        self.answers.get(key)
    }

    /// Whether only the store can tell.
    pub(super) fn needs_store(&self, key: &EventKey) -> bool {
        !self.answers.contains_key(key) && key.timestamp <= self.complete_since.saturating_add(self.max_skew)
    }

    /// Remembers an answer, once it is durable.
    pub(super) fn insert(&mut self, key: EventKey, answer: EventAnswer, received_at: Timestamp) {
        let key = Arc::new(key);
        if self.answers.insert(Arc::clone(&key), answer).is_some() {
            return;
        }
        self.order.push_back((key, received_at));
        if self.order.len() > CAPACITY
            && let Some((oldest, received_at)) = self.order.pop_front()
        {
            self.answers.remove(&oldest);
            self.complete_since = self.complete_since.max(received_at);
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
        known.insert(key(1, 5), answer(), start);
        assert!(!known.needs_store(&key(1, 5)));
    }

    #[test]
    fn what_is_forgotten_is_asked_of_the_store() {
        let mut known = Known::new(Timestamp::from_micros(0), Duration::ZERO);
        for n in 0..=CAPACITY {
            let at = i64::try_from(n).unwrap() + 1;
            known.insert(key(n, at), answer(), Timestamp::from_micros(at));
        }
        assert!(known.get(&key(0, 1)).is_none());
        assert!(known.needs_store(&key(0, 1)));
        assert!(known.get(&key(1, 2)).is_some());
    }

    #[test]
    fn a_reload_that_allows_less_forgets_nothing_that_came_before() {
        let start = Timestamp::from_micros(0);
        let mut known = Known::new(start, Duration::from_secs(60));
        let ahead = key(1, 60_000_000);
        known.allow_skew(Duration::from_secs(5));
        assert!(known.needs_store(&ahead), "it may be from before the start");
        known.allow_skew(Duration::from_secs(90));
        assert!(known.needs_store(&key(1, 90_000_000)));
    }
}
