//! Starts of the last minute, counted as they come and go: the rate of change is read, never summed.

use imbl::{HashMap, Vector};
use prefixd_api::name::Name;
use prefixd_api::time::Timestamp;
use std::borrow::Borrow;
use std::hash::Hash;
use std::time::Duration;

/// How long a start counts.
const WINDOW: Duration = Duration::from_secs(60);

/// The beginning of a mitigation.
#[derive(Clone, Debug)]
pub(super) struct Start {
    /// When.
    pub(super) at: Timestamp,
    /// The customer.
    pub(super) customer: Option<Name>,
    /// The source that asked for it; operators have none and do not count against sources.
    pub(super) source: Option<Name>,
}

/// Starts of the last minute.
#[derive(Clone, Debug, Default)]
pub struct Starts {
    queue: Vector<Start>,
    customers: HashMap<Name, u64>,
    sources: HashMap<Name, u64>,
}

impl Starts {
    /// How many in all.
    #[must_use]
    pub fn pop(&self) -> u64 {
        self.queue.len() as u64
    }

    /// How many of this customer.
    #[must_use]
    pub fn customer(&self, id: &str) -> u64 {
        self.customers.get(id).copied().unwrap_or(0)
    }

    /// How many this source asked for.
    #[must_use]
    pub fn source(&self, name: &str) -> u64 {
        self.sources.get(name).copied().unwrap_or(0)
    }

    pub(super) fn push(&mut self, start: Start) {
        if let Some(customer) = &start.customer {
            increment(&mut self.customers, customer);
        }
        if let Some(source) = &start.source {
            increment(&mut self.sources, source);
        }
        self.queue.push_back(start);
    }

    /// None was after now.
    pub(super) fn catch_up(&mut self, now: Timestamp) {
        for start in self.queue.iter_mut() {
            start.at = start.at.min(now);
        }
    }

    pub(super) fn forget_before(&mut self, now: Timestamp) {
        let horizon = now.saturating_sub(WINDOW);
        while self.queue.front().is_some_and(|start| start.at <= horizon) {
            if let Some(start) = self.queue.pop_front() {
                if let Some(customer) = &start.customer {
                    decrement(&mut self.customers, &**customer);
                }
                if let Some(source) = &start.source {
                    decrement(&mut self.sources, &**source);
                }
            }
        }
    }
}

pub(super) fn increment(counts: &mut HashMap<Name, u64>, key: &Name) {
    *counts.entry(key.clone()).or_insert(0) += 1;
}

/// Counts down and forgets what reaches zero, so that names from outside cannot pile up.
pub(super) fn decrement<K, Q>(counts: &mut HashMap<K, u64>, key: &Q)
where
    K: Borrow<Q> + Clone + Hash + Eq,
    Q: Hash + Eq + ?Sized,
{
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}
