//! When the next scope has to be looked at.

use prefixd_api::mitigation::Scope;
use prefixd_api::time::Timestamp;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// One deadline a scope, the earliest first.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    by_time: BTreeSet<(Timestamp, Arc<Scope>)>,
    by_scope: HashMap<Arc<Scope>, Timestamp>,
}

impl Deadlines {
    /// The next deadline.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Has a scope looked at by then, or earlier where it would be anyway.
    pub(super) fn at_latest(&mut self, scope: Scope, at: Timestamp) {
        if self.by_scope.get(&scope).is_none_or(|before| *before > at) {
            self.set(scope, Some(at));
        }
    }

    /// Replaces the deadline of a scope.
    pub(super) fn set(&mut self, scope: Scope, at: Option<Timestamp>) {
        let known = self.by_scope.get_key_value(&scope);
        let before = known.map(|(scope, old)| (*old, Arc::clone(scope)));
        if let Some(before) = &before {
            if Some(before.0) == at {
                return;
            }
            self.by_time.remove(before);
        }
        let scope = before.map_or_else(|| Arc::new(scope), |(_, scope)| scope);
        match at {
            Some(at) => {
                self.by_time.insert((at, Arc::clone(&scope)));
                self.by_scope.insert(scope, at);
            }
            None => {
                self.by_scope.remove(&scope);
            }
        }
    }

    /// Takes the scopes whose deadline has come, at most `limit`. They have no deadline until one is set.
    pub(super) fn take_due(&mut self, now: Timestamp, limit: usize) -> Vec<Scope> {
        let mut due = Vec::new();
        while due.len() < limit && self.next().is_some_and(|at| at <= now) {
            if let Some((_, scope)) = self.by_time.pop_first() {
                self.by_scope.remove(&scope);
                due.push(Arc::unwrap_or_clone(scope));
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(last: u8) -> Scope {
        Scope {
            victim: format!("203.0.113.{last}").parse().unwrap(),
            vector: "udp_flood".into(),
        }
    }

    #[test]
    fn the_last_deadline_of_a_scope_counts() {
        let mut deadlines = Deadlines::default();
        deadlines.set(scope(1), Some(Timestamp::from_micros(10)));
        deadlines.set(scope(2), Some(Timestamp::from_micros(20)));
        deadlines.set(scope(1), Some(Timestamp::from_micros(30)));
        assert_eq!(deadlines.next(), Some(Timestamp::from_micros(20)));
        assert_eq!(deadlines.take_due(Timestamp::from_micros(25), 9), [scope(2)]);
        deadlines.set(scope(1), None);
        assert_eq!(deadlines.next(), None);
    }
}
