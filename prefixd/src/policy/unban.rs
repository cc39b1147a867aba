//! An unban: a source no longer sees the attack. That is a word about its own claim, not proof of the end.

use super::claims;
use super::command::EventCommand;
use super::effect::{Decision, MitigationEvent};
use super::evidence;
use super::lease;
use super::reason::Reason;
use super::turn::{Conclusion, Turn};
use prefixd_api::event::EventOutcome;
use prefixd_api::mitigation::{EndReason, Group, Mitigation, MitigationStatus, Scope};
use prefixd_api::time::Timestamp;
use std::sync::Arc;

impl Turn<'_> {
    /// Decides an unban that is recent enough.
    pub(super) fn unban(
        mut self,
        command: &EventCommand,
        scope: &Scope,
        seen_at: Option<Timestamp>,
    ) -> Decision {
        let event = &command.event;
        // Bans for such a victim do nothing, so there is nothing to remember of their ends.
        if self.policy.limits.require_owned
            && self.policy.inventory.owner(event.victim).is_none()
            && self.state.mitigation_of(scope).is_none()
        {
            let end = Conclusion::new(EventOutcome::NoActiveMitigation, Reason::NothingLive {});
            return self.conclude(command, None, end);
        }
        let before = self.state.group(scope);
        let mut group = self.open_group(scope, command.ids.group);
        let was_live = claims::clear(
            &mut group,
            command,
            seen_at.unwrap_or(self.now),
            self.now,
            &mut self.trace,
        );
        let live: Vec<_> = claims::holding(self.policy, &group, false, self.now).collect();
        let (confidence, live_claims) = (claims::confidence(self.policy, live.iter().copied()), live.len());
        group.confidence = confidence;
        let (source, event_id) = (event.source.clone(), event.external_id.clone());
        self.trace.note(if was_live {
            Reason::ClaimCleared {
                source,
                event_id,
                live_claims,
            }
        } else {
            Reason::ClaimUnknown { source, event_id }
        });
        // A group that an unban opened, and that nothing else holds open, is closed memory from the start.
        if before.is_none_or(|group| group.closed_at.is_some()) {
            group.closed_at = Some(self.now);
        }
        let end = match self.state.mitigation_of(scope) {
            Some(mitigation) => self.release(command, mitigation, &group, was_live),
            // Of a source that does not hold it there is nothing to take from it.
            None => match self
                .state
                .aggregate_over(scope)
                .filter(|live| live.claims.iter().any(|claim| claim.source == event.source))
            {
                Some(live) => self.detach(command, &Arc::clone(live), scope),
                None => Conclusion::new(EventOutcome::NoActiveMitigation, Reason::NothingLive {}),
            },
        };
        self.change_group(group.clone());
        self.conclude(command, Some(&group), end)
    }

    /// What a live mitigation becomes with the claims that are left.
    pub(super) fn release(
        &mut self,
        command: &EventCommand,
        live: &Arc<Mitigation>,
        group: &Group,
        was_live: bool,
    ) -> Conclusion {
        let id = live.mitigation_id;
        let mut next = self.touched(live, group);
        next.last_event_id = Some(command.ids.event);
        self.count_voices(&mut next);
        if !next.claims.is_empty() {
            let (source, event_id) = (command.event.source.clone(), command.event.external_id.clone());
            let reason = if was_live {
                Reason::ClaimCleared {
                    source,
                    event_id,
                    live_claims: next.claims.len(),
                }
            } else {
                Reason::ClaimUnknown { source, event_id }
            };
            if next.claims != live.claims {
                self.change(MitigationEvent::Updated, &command.actor, Some(live), next);
            }
            return Conclusion::new(EventOutcome::ClaimCleared, reason).on(id);
        }
        if live.status == MitigationStatus::Pending {
            let reason = Reason::PendingOver {};
            self.end(
                live,
                next,
                EndReason::ClaimsEnded,
                &command.actor,
                reason.to_string(),
            );
            return Conclusion::new(EventOutcome::Withdrawn, reason).on(id);
        }
        let reason = self.start_ending(&mut next, group);
        if next.ends_at.is_some_and(|at| at > self.now) {
            let ends_at = next.ends_at;
            if live.ending_since.is_none() {
                self.change(MitigationEvent::Updated, &command.actor, Some(live), next);
            }
            let mut end = Conclusion::new(EventOutcome::Ending, reason).on(id);
            end.ends_at = ends_at;
            return end;
        }
        self.end(
            live,
            next,
            EndReason::ClaimsEnded,
            &command.actor,
            reason.to_string(),
        );
        Conclusion::new(EventOutcome::Withdrawn, reason).on(id)
    }
}

impl Turn<'_> {
    /// The mitigation with what is known by now: evidence, where its rules are, and the claims that hold it.
    pub(super) fn touched(&self, live: &Mitigation, group: &Group) -> Mitigation {
        let mut next = Mitigation::clone(live);
        let of_aggregate = self
            .facts
            .aggregate
            .advertised_at
            .filter(|_| live.carpet.is_some());
        next.advertised_at = next.advertised_at.or(of_aggregate).or(self.facts.advertised_at);
        evidence::witness(self.policy, &mut next, self.now, false);
        next.claims = claims::of_operators(live, self.now)
            .chain(claims::holding(self.policy, group, live.enforced, self.now))
            .cloned()
            .collect();
        let mut observed = next.observed;
        for claim in &next.claims {
            claims::observe(&mut observed, claim);
        }
        next.observed = observed;
        // What was known of the attack while it was claimed stands during the hold-down.
        if !next.claims.is_empty() {
            next.confidence = claims::confidence(self.policy, &next.claims);
        }
        next
    }

    /// Starts the hold-down, unless it runs. The lease is lengthened to its end where it would not last.
    pub(super) fn start_ending(&self, next: &mut Mitigation, group: &Group) -> Reason {
        let (hold_down, recurrences) = lease::hold_down(self.policy, group, self.now);
        if next.ending_since.is_none() {
            let since = group.filtered_since.unwrap_or(next.created_at);
            lease::extend(self.policy, next, since, self.now, hold_down);
            next.ending_since = Some(self.now);
            next.ends_at = Some(self.now.saturating_add(hold_down).min(next.expires_at));
        }
        Reason::HoldDown {
            ends_at: next.ends_at.unwrap_or(self.now),
            hold_down_seconds: hold_down.as_secs(),
            recurrences,
        }
    }
}
