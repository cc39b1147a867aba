//! Deadlines: what happens by itself, and when.

use super::claims;
use super::effect::{Decision, Effect, MitigationEvent, Outcome};
use super::evidence;
use super::lease;
use super::reason::Reason;
use super::settings::Policy;
use super::state::State;
use super::step_back;
use super::turn::Turn;
use crate::journal::DAEMON;
use prefixd_api::mitigation::{EndReason, Group, Mitigation, MitigationStatus, OriginKind, Scope};
use prefixd_api::time::Timestamp;
use std::sync::Arc;

/// When the next thing happens by itself in a scope: the engine sends [`super::Command::Due`] then. Always there
/// and never after the lease's end while a mitigation is live. A deadline may have passed; `Due` then moves it.
#[must_use]
pub fn next_deadline(state: &State, policy: &Policy, scope: &Scope) -> Option<Timestamp> {
    let suppression = state.suppressions.get(scope).map(|one| one.expires_at);
    let group = state.group(scope);
    let live = state.mitigation_of(scope);
    let of_group = group.and_then(|group| group_deadline(policy, group, live.is_some()));
    let of_mitigation = live.map(|live| match group {
        Some(group) => mitigation_deadline(policy, live, group),
        None => lonely_deadline(live),
    });
    let confirm_by = state.unconfirmed.get(scope).map(|waits| waits.put_back_at);
    [suppression, of_group, of_mitigation, confirm_by]
        .into_iter()
        .flatten()
        .min()
}

fn group_deadline(policy: &Policy, group: &Group, is_mitigated: bool) -> Option<Timestamp> {
    let dies = group
        .claims
        .iter()
        .filter(|claim| claim.cleared_at.is_none())
        .filter_map(|claim| claim.lives_until)
        .min();
    if dies.is_some() || is_mitigated {
        return dies;
    }
    Some(match group.closed_at {
        None => group.last_event_at.saturating_add(policy.timers.window),
        Some(_) => lease::forgotten_at(policy, group),
    })
}

/// Without its group, which could not be read, a mitigation only ends.
fn lonely_deadline(live: &Mitigation) -> Timestamp {
    live.ends_at.map_or(live.expires_at, |at| at.min(live.expires_at))
}

fn mitigation_deadline(policy: &Policy, live: &Mitigation, group: &Group) -> Timestamp {
    if live.status == MitigationStatus::Pending {
        return live.expires_at;
    }
    let since = group.filtered_since.unwrap_or(live.created_at);
    let renews =
        lease::renewing(policy, live, live.updated_at).and_then(|_| lease::renew_at(policy, live, since));
    let escalates = evidence::due_at(policy, live);
    let goes_back = step_back::due_at(policy, live);
    // Those of events are the group's.
    let lets_go = live
        .claims
        .iter()
        .filter(|claim| claim.kind == OriginKind::Operator)
        .filter_map(|claim| claim.lives_until)
        .min();
    [
        Some(live.expires_at),
        live.ends_at,
        renews,
        escalates,
        goes_back,
        lets_go,
    ]
    .into_iter()
    .flatten()
    .min()
    .unwrap_or(live.expires_at)
}

impl Turn<'_> {
    /// Deals with every deadline of a scope that has come. Early or repeated calls change nothing.
    pub(super) fn due(mut self, scope: &Scope) -> Decision {
        if let Some(waits) = self.state.unconfirmed.get(scope)
            && waits.put_back_at <= self.now
        {
            // Alone: what else is due is looked at in the state that this makes.
            return self.put_back(waits);
        }
        if let Some(suppression) = self.state.suppressions.get(scope)
            && suppression.expires_at <= self.now
        {
            self.effects.push(Effect::Unsuppressed {
                scope: scope.clone(),
                actor: DAEMON.to_owned(),
            });
        }
        let before = self.state.group(scope);
        let mut group = before.map(|group| Group::clone(group));
        let died = group
            .as_mut()
            .is_some_and(|group| claims::settle(group, self.now));
        let live = self.state.mitigation_of(scope);
        let ended = match (live, &group) {
            (Some(live), Some(group)) => self.mitigation_due(live, group),
            (Some(live), None) => self.lonely_due(live),
            (None, _) => true,
        };
        if let Some(mut group) = group {
            let moved = ended && self.close_or_forget(&mut group);
            if died || moved {
                let live: Vec<_> = claims::holding(self.policy, &group, false, self.now).collect();
                group.confidence = claims::confidence(self.policy, live);
                self.change_group(group);
            }
        }
        self.settle(Outcome::Settled, "settled")
    }

    /// Whether the group changed: it closes when no claim lives and its window has passed, and is forgotten when
    /// nothing it remembers counts any more.
    fn close_or_forget(&self, group: &mut Group) -> bool {
        if group.claims.iter().any(|claim| claims::is_live(claim, self.now)) {
            return false;
        }
        if group.closed_at.is_some() {
            let forgets = lease::forgotten_at(self.policy, group) <= self.now;
            if forgets {
                group.starts.clear();
                group.claims.clear();
                group.filtered_since = None;
            }
            return forgets;
        }
        let closes = group.last_event_at.saturating_add(self.policy.timers.window) <= self.now;
        if closes {
            group.closed_at = Some(self.now);
        }
        closes
    }

    /// Whether the mitigation ended. Escalation comes before expiry where both are due.
    fn mitigation_due(&mut self, live: &Arc<Mitigation>, group: &Group) -> bool {
        // Whatever a deadline would prolong or make stricter must still be allowed where it is.
        let owner = self.policy.inventory.owner(live.victim_ip);
        if let Err(reason) = self.guard_what_is_live(live, owner) {
            self.end_by_guardrail(live, reason);
            return true;
        }
        if live.status == MitigationStatus::Pending {
            return self.pending_due(live, group);
        }
        let since = group.filtered_since.unwrap_or(live.created_at);
        let mut next = self.touched(live, group);
        if lease::is_operators(live) && !lease::is_operators(&next) {
            // The operator's longer lifetime was granted for as long as the operator claimed it.
            next.expires_at = next
                .expires_at
                .min(lease::lifetime_end(self.policy, since, false));
        }
        if let Some(reason) = self.escalate_when_due(&mut next, owner, since) {
            next.severity = self.severity(&next, owner);
            next.why_summary = reason.to_string().into();
            self.trace.note(reason);
            self.change(MitigationEvent::Escalated, DAEMON, Some(live), next);
            return false;
        }
        if let Some((reason, because)) = self.ended_by(&next, since) {
            self.end(live, next, reason, DAEMON, because.to_string());
            self.trace.note(because);
            return true;
        }
        let mut changed = next.claims != live.claims || next.advertised_at != live.advertised_at;
        if next.claims.is_empty() && next.ending_since.is_none() {
            let reason = self.start_ending(&mut next, group);
            if next.ends_at.is_some_and(|at| at <= self.now) {
                self.end(live, next, EndReason::ClaimsEnded, DAEMON, reason.to_string());
                self.trace.note(reason);
                return true;
            }
            self.trace.note(reason);
            changed = true;
        }
        let back = self.step_back_when_due(&mut next, owner);
        changed |= self.renew(&mut next, since);
        // A step that was due and not taken is looked at again later: this look is noted as a change, or it would be due at once.
        let steps = [
            evidence::due_at(self.policy, live),
            step_back::due_at(self.policy, live),
        ];
        changed |= steps.into_iter().flatten().any(|at| at <= self.now);
        if changed || back.is_some() {
            next.severity = self.severity(&next, owner);
        }
        if let Some(reason) = back {
            next.why_summary = reason.to_string().into();
            self.trace.note(reason);
            self.change(MitigationEvent::Deescalated, DAEMON, Some(live), next);
        } else if changed {
            self.change(MitigationEvent::Updated, DAEMON, Some(live), next);
        }
        false
    }

    /// A mitigation whose group is not known ends with its lease or hold-down and needs nothing else for it.
    fn lonely_due(&mut self, live: &Arc<Mitigation>) -> bool {
        if lonely_deadline(live) > self.now {
            return false;
        }
        let held_down = live.ends_at.filter(|at| *at <= self.now).and(live.ending_since);
        let (reason, because) = match held_down {
            Some(ending_since) => (EndReason::ClaimsEnded, Reason::HoldDownPassed { ending_since }),
            None => (
                EndReason::LeaseExpired,
                Reason::LeaseEnded {
                    expired_at: live.expires_at,
                },
            ),
        };
        self.end(live, Mitigation::clone(live), reason, DAEMON, because.to_string());
        self.trace.note(because);
        true
    }

    /// Why a mitigation ends now, if it does.
    fn ended_by(&self, next: &Mitigation, filtered_since: Timestamp) -> Option<(EndReason, Reason)> {
        if let (Some(ends_at), Some(ending_since)) = (next.ends_at, next.ending_since)
            && ends_at <= self.now
        {
            return Some((EndReason::ClaimsEnded, Reason::HoldDownPassed { ending_since }));
        }
        if next.expires_at > self.now {
            return None;
        }
        let operator = lease::is_operators(next);
        if lease::lifetime_end(self.policy, filtered_since, operator) <= next.expires_at {
            return Some((
                EndReason::LifetimeReached,
                Reason::LifetimeReached {
                    filtered_since,
                    max_lifetime_seconds: lease::max_lifetime(self.policy, operator).as_secs(),
                },
            ));
        }
        if lease::renewing(self.policy, next, self.now).is_some() {
            return None;
        }
        Some((
            EndReason::LeaseExpired,
            Reason::LeaseEnded {
                expired_at: next.expires_at,
            },
        ))
    }

    /// Renews the lease when its end is near and a live claim of a source that reports once holds it.
    fn renew(&mut self, next: &mut Mitigation, filtered_since: Timestamp) -> bool {
        let due = lease::renew_at(self.policy, next, filtered_since).is_some_and(|at| at <= self.now);
        let Some(source) = lease::renewing(self.policy, next, self.now)
            .filter(|_| due)
            .map(|claim| claim.source.clone())
        else {
            return false;
        };
        let ttl = lease::renewal_ttl(self.policy, next);
        lease::extend(self.policy, next, filtered_since, self.now, ttl);
        self.trace.note(Reason::Renewed {
            expires_at: next.expires_at,
            source: source.to_string(),
        });
        true
    }
}
