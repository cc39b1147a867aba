//! What an engine starts from.

use crate::policy::{State, Unconfirmed};
use crate::store::Loaded;
use prefixd_api::mitigation::Mitigation;
use prefixd_api::time::Timestamp;
use std::sync::Arc;
use tracing::{error, warn};

/// Puts what was stored back. The wall clock may have been set back: no lease is longer from now than it was when it was
/// last changed, and nothing happened later than now.
pub(super) fn restore(state: &mut State, loaded: Loaded, now: Timestamp) -> u64 {
    for row in &loaded.unreadable {
        error!(%row, "this row is left alone; what it stands for is not announced");
    }
    for group in loaded.groups {
        state.restore_group(group);
    }
    for suppression in loaded.suppressions {
        state
            .suppressions
            .insert(suppression.scope.clone(), Arc::new(suppression));
    }
    for suppression in loaded.wide_suppressions {
        state
            .wide_suppressions
            .insert(suppression.suppression_id, Arc::new(suppression));
    }
    for entry in loaded.safelist {
        state.safelist.insert(entry.prefix, Arc::new(entry));
    }
    for disabled in loaded.disabled {
        let neighbor = Arc::from(disabled.neighbor.as_str());
        state.disabled.insert(neighbor, Arc::new(disabled));
    }
    for (neighbor, memory) in loaded.quarantined {
        state.quarantined.insert(neighbor, Arc::new(memory));
    }
    for paused in loaded.paused {
        state
            .paused
            .insert(paused.source.as_str().into(), Arc::new(paused));
    }
    for stopped in loaded.stopped {
        state.stopped.insert(stopped.scope.clone(), Arc::new(stopped));
    }
    state.breaker = loaded.breaker.map(Arc::new);
    for mut mitigation in loaded.mitigations {
        // What was left of it when it was last changed.
        let left = mitigation.expires_at.since(mitigation.updated_at);
        let at_most = now.saturating_add(left);
        if mitigation.expires_at > at_most {
            Arc::make_mut(&mut mitigation).expires_at = at_most;
        }
        share_claims(&mut mitigation, state);
        state.restore(mitigation);
    }
    restore_unconfirmed(state, loaded.unconfirmed);
    state.unreadable.extend(loaded.taken);
    state.catch_up(now);
    loaded.unreadable.len() as u64
}

/// A claim of a group holds its mitigation too: they were one in memory, and two in the store.
fn share_claims(mitigation: &mut Arc<Mitigation>, state: &State) {
    let Some(group) = state.group(&mitigation.scope()) else {
        return;
    };
    for claim in &mut Arc::make_mut(mitigation).claims {
        if let Some(of_group) = group.claims.iter().find(|of_group| *of_group == claim) {
            *claim = Arc::clone(of_group);
        }
    }
}

/// What waits to be put back, the newest of each scope: not where another is announced or began since, which a person or a
/// detector decided later. What is only pending has taken the place of nothing.
fn restore_unconfirmed(state: &mut State, unconfirmed: Vec<Unconfirmed>) {
    for waits in unconfirmed {
        let (ended, scope) = (&waits.ended, waits.ended.scope());
        let began_since = state
            .group(&scope)
            .is_some_and(|group| group.starts.iter().any(|start| Some(*start) > ended.ended_at));
        let is_older = state
            .unconfirmed
            .get(&scope)
            .is_some_and(|other| other.ended.ended_at > ended.ended_at);
        let is_taken = state
            .mitigation_of(&scope)
            .is_some_and(|live| live.status.is_announced());
        if began_since || is_older || is_taken {
            warn!(mitigation = %ended.mitigation_id, "another one took its place: it is not put back");
        } else {
            state.unconfirmed.insert(scope, Arc::new(waits));
        }
    }
}
