//! What an engine starts from.

use crate::policy::State;
use crate::store::Loaded;
use prefixd_api::time::Timestamp;
use std::sync::Arc;
use tracing::{error, warn};

/// Puts what was stored back. The wall clock may have been set back: no lease is longer from now than it was when it was
/// last changed, and nothing happened later than now.
pub(super) fn restore(state: &mut State, loaded: &Loaded, now: Timestamp) -> u64 {
    for row in &loaded.unreadable {
        error!(%row, "this row is left alone; what it stands for is not announced");
    }
    for group in &loaded.groups {
        state.restore_group(Arc::new(group.clone()));
    }
    for suppression in &loaded.suppressions {
        state
            .suppressions
            .insert(suppression.scope.clone(), Arc::new(suppression.clone()));
    }
    for entry in &loaded.safelist {
        state.safelist.insert(entry.prefix, Arc::new(entry.clone()));
    }
    for disabled in &loaded.disabled {
        let neighbor = Arc::from(disabled.neighbor.as_str());
        state.disabled.insert(neighbor, Arc::new(disabled.clone()));
    }
    for (neighbor, memory) in &loaded.quarantined {
        state
            .quarantined
            .insert(Arc::clone(neighbor), Arc::new(memory.clone()));
    }
    for paused in &loaded.paused {
        state
            .paused
            .insert(paused.source.as_str().into(), Arc::new(paused.clone()));
    }
    for stopped in &loaded.stopped {
        state
            .stopped
            .insert(stopped.scope.clone(), Arc::new(stopped.clone()));
    }
    state.breaker = loaded.breaker.clone().map(Arc::new);
    for mitigation in &loaded.mitigations {
        // What was left of it when it was last changed.
        let left = mitigation.expires_at.since(mitigation.updated_at);
        let mut mitigation = mitigation.clone();
        mitigation.expires_at = mitigation.expires_at.min(now.saturating_add(left));
        state.restore(Arc::new(mitigation));
    }
    restore_unconfirmed(state, loaded);
    state.unreadable.extend(loaded.taken.iter().cloned());
    state.catch_up(now);
    loaded.unreadable.len() as u64
}

/// What waits to be put back, the newest of each scope: not where another is live or began since, which a person or a
/// detector decided later.
fn restore_unconfirmed(state: &mut State, loaded: &Loaded) {
    for waits in &loaded.unconfirmed {
        let (ended, scope) = (&waits.ended, waits.ended.scope());
        let began_since = state
            .group(&scope)
            .is_some_and(|group| group.starts.iter().any(|start| Some(*start) > ended.ended_at));
        let is_older = state
            .unconfirmed
            .get(&scope)
            .is_some_and(|other| other.ended.ended_at > ended.ended_at);
        if began_since || is_older || state.mitigation_of(&scope).is_some() {
            warn!(mitigation = %ended.mitigation_id, "another one took its place: it is not put back");
        } else {
            state.unconfirmed.insert(scope, Arc::new(waits.clone()));
        }
    }
}
