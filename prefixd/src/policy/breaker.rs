//! The breaker: what was announced right before sessions were lost goes, and nothing new is announced until a
//! person says so.

use super::command::{ResetBreaker, Trip};
use super::effect::{BreakerChange, Decision, Effect, Outcome};
use super::reason::Reason;
use super::turn::Turn;
use crate::journal::DAEMON;
use prefixd_api::control::BreakerTripped;
use prefixd_api::mitigation::{EndReason, Mitigation};
use std::collections::BTreeSet;
use std::sync::Arc;

impl Turn<'_> {
    pub(super) fn trip(mut self, trip: &Trip) -> Decision {
        let suspects: Vec<_> = trip
            .mitigations
            .iter()
            .filter_map(|id| self.state.mitigations.get(id))
            .filter(|live| live.enforced)
            .collect();
        let before = self.state.breaker.as_deref();
        let neighbors: BTreeSet<String> = trip
            .neighbors
            .iter()
            .map(ToString::to_string)
            .chain(before.iter().flat_map(|before| before.neighbors.clone()))
            .collect();
        let tripped = BreakerTripped {
            tripped_at: before.map_or(self.now, |before| before.tripped_at),
            neighbors: neighbors.into_iter().collect(),
            announced_since: before.map_or(trip.announced_since, |before| {
                before.announced_since.min(trip.announced_since)
            }),
            withdrawn: before.map_or(0, |before| before.withdrawn) + suspects.len() as u64,
        };
        let reason = Reason::BreakerTripped {
            tripped_at: tripped.tripped_at,
            neighbors: tripped.neighbors.clone(),
        };
        for live in suspects {
            let because = format!(
                "it was announced right before the sessions with {} were lost",
                tripped.neighbors.join(" and ")
            );
            self.end(live, Mitigation::clone(live), EndReason::Breaker, DAEMON, because);
        }
        let text = reason.to_string();
        self.trace.note(reason);
        let trace = std::mem::take(&mut self.trace).conclude(self.now, "tripped", text.clone());
        for effect in &mut self.effects {
            if let Effect::Mitigation { why, .. } = effect {
                *why = Some(Arc::clone(&trace));
            }
        }
        self.effects.push(Effect::Breaker(BreakerChange {
            after: Some(Arc::new(tripped)),
            actor: DAEMON.to_owned(),
            reason: text,
        }));
        self.done(Outcome::Settled)
    }

    /// Reset twice, the second time there is nothing to do.
    pub(super) fn reset_breaker(mut self, command: &ResetBreaker) -> Decision {
        if self.state.breaker.is_some() {
            self.effects.push(Effect::Breaker(BreakerChange {
                after: None,
                actor: command.actor.clone(),
                reason: command.reason.clone(),
            }));
        }
        self.done(Outcome::ControlChanged)
    }
}
