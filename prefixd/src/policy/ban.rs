//! A ban: a source says that a victim is under attack.

use super::carpet::OfMany;
use super::claims;
use super::command::EventCommand;
use super::effect::{Decision, MitigationEvent};
use super::evidence::{self, Next};
use super::inventory::Owner;
use super::lease;
use super::plan::{Target, set_rules, texts};
use super::profile;
use super::reason::Reason;
use super::step_back::AskedBySources;
use super::turn::{Conclusion, Reach, Turn};
use prefixd_api::config::inventory::PolicyProfile;
use prefixd_api::event::{EventOutcome, pop_of_source};
use prefixd_api::mitigation::{EndReason, Group, Mitigation, MitigationStatus, Scope};
use prefixd_api::time::Timestamp;
use std::sync::Arc;

impl<'a> Turn<'a> {
    /// Decides a ban that is recent enough.
    pub(super) fn ban(
        mut self,
        command: &EventCommand,
        scope: &Scope,
        seen_at: Option<Timestamp>,
    ) -> Decision {
        let event = &command.event;
        let source = self.policy.sources.get(&event.source);
        let owner = self.policy.inventory.owner(event.victim);
        match owner {
            Some(owner) => {
                self.trace.note(Reason::Owned {
                    customer_id: owner.customer.id.to_string(),
                    prefix: owner.prefix,
                    service_id: owner.service.map(|service| service.id.to_string()),
                });
                if owner.customer.profile != PolicyProfile::Normal {
                    let profile = profile::name(owner.customer.profile).to_owned();
                    self.trace.note(Reason::Profile { profile });
                }
            }
            None if self.policy.limits.require_owned => {
                let reason = Reason::NotOwned { victim: event.victim };
                return self.conclude(
                    command,
                    None,
                    Conclusion::new(EventOutcome::AcceptedNotOwned, reason),
                );
            }
            None => self.trace.note(Reason::NotOwnedAllowed { victim: event.victim }),
        }
        let mut group = self.open_group(scope, command.ids.group);
        let overtaken = claims::find(&group, command)
            .and_then(|claim| claim.cleared_at)
            .zip(seen_at)
            .filter(|(cleared_at, seen_at)| seen_at <= cleared_at);
        if let Some((cleared_at, seen_at)) = overtaken {
            let reason = Reason::ClaimStale { seen_at, cleared_at };
            let end = Conclusion::new(EventOutcome::AcceptedStale, reason);
            let known = self.state.group(scope).map(Arc::clone);
            return self.conclude(command, known.as_deref(), end);
        }
        let last_ban_at = group.last_ban_at;
        let held = claims::hold(&mut group, command, source, self.now, &mut self.trace);
        // Now, because this ban ends the quiet whether or not it begins a mitigation.
        if self.state.mitigation_of(scope).is_none()
            && lease::is_quiet(self.policy, &group, last_ban_at, self.now)
        {
            group.filtered_since = None;
        }
        let live: Vec<_> = claims::holding(self.policy, &group, false, self.now).collect();
        group.confidence = claims::confidence(self.policy, live);
        // What is live in a suppressed scope an operator made after the withdrawal: events attach to it.
        let goes_on = self.state.mitigation_of(scope).is_some_and(|live| {
            // What is pending, or would be exchanged for an enforced one, begins by this report.
            let stays = live.enforced || !self.would_be_enforced(command, owner, &group);
            live.status.is_announced() && stays
        });
        let suppressed = if goes_on { None } else { self.suppressed(scope) };
        let end = if let Some(reason) = suppressed {
            Conclusion::new(EventOutcome::Suppressed, reason)
        } else {
            match self.carpet(command, scope, &group, owner) {
                OfMany::Instead(of_many) => of_many,
                OfMany::Beside(of_many) => {
                    let own = self.alone(command, scope, &mut group, owner, last_ban_at, held.widens);
                    match own.outcome {
                        // It is filtered with the others.
                        EventOutcome::RejectedGuardrail => {
                            self.trace.note(own.reason);
                            of_many
                        }
                        _ => own,
                    }
                }
                OfMany::None => self.alone(command, scope, &mut group, owner, last_ban_at, held.widens),
            }
        };
        self.change_group(group.clone());
        self.conclude(command, Some(&group), end)
    }

    /// What the ban comes to for its victim alone.
    fn alone(
        &mut self,
        command: &EventCommand,
        scope: &Scope,
        group: &mut Group,
        owner: Option<Owner<'a>>,
        last_ban_at: Option<Timestamp>,
        widens: bool,
    ) -> Conclusion {
        match self.state.mitigation_of(scope) {
            Some(live) if !live.enforced && self.would_be_enforced(command, owner, group) => {
                let reason = Reason::ModeChanged {
                    was_enforced: false,
                    because: "the next ban makes an enforced one".into(),
                };
                let ended = Mitigation::clone(live);
                self.end(
                    live,
                    ended,
                    EndReason::ModeChanged,
                    crate::journal::DAEMON,
                    reason.to_string(),
                );
                self.trace.note(reason);
                let previous = Some(live.mitigation_id);
                self.begin(command, group, owner, last_ban_at, previous)
            }
            Some(live) if live.status == MitigationStatus::Pending => {
                self.corroborate(command, live, group, owner, last_ban_at)
            }
            Some(live) => self.prolong(command, live, group, owner, widens),
            None => self.begin(command, group, owner, last_ban_at, None),
        }
    }

    /// Whether a mitigation that this ban makes would go to routers.
    pub(super) fn would_be_enforced(
        &self,
        command: &EventCommand,
        owner: Option<Owner<'_>>,
        group: &Group,
    ) -> bool {
        let target = Target {
            victim: command.event.victim,
            vector: &command.event.vector,
            owner,
        };
        let playbook = self.playbook(target, Some(&command.event.source)).ok();
        self.policy.trial(owner, playbook, group, self.now).is_none()
    }

    /// The scope is mitigated already: the report renews the lease, and may widen or escalate.
    pub(super) fn prolong(
        &mut self,
        command: &EventCommand,
        live: &Arc<Mitigation>,
        group: &mut Group,
        owner: Option<Owner<'_>>,
        widens: bool,
    ) -> Conclusion {
        let id = live.mitigation_id;
        let source = &command.event.source;
        if live.enforced && !self.policy.sources.get(source).enforce {
            let reason = Reason::SourceNotEnforced {
                source: source.clone(),
            };
            return Conclusion::new(EventOutcome::AcceptedPending, reason).on(id);
        }
        if let Some((reason, end)) = self.judged(live) {
            return self.end_prolonged(live, reason, end);
        }
        let mut next = self.touched(live, group);
        let seen = pop_of_source(&command.event.source).is_none();
        evidence::witness(self.policy, &mut next, self.now, seen);
        next.last_event_id = Some(command.ids.event);
        if let Some(ending_since) = next.ending_since.take() {
            next.ends_at = None;
            self.trace.note(Reason::Returned { ending_since });
        }
        let operator = lease::is_operators(&next);
        let since = group.filtered_since.unwrap_or(next.created_at);
        if lease::lifetime_end(self.policy, since, operator) <= self.now {
            let reason = Reason::LifetimeReached {
                filtered_since: since,
                max_lifetime_seconds: lease::max_lifetime(self.policy, operator).as_secs(),
            };
            return Conclusion::new(EventOutcome::RejectedGuardrail, reason).on(id);
        }
        let back = match self.bring_to_what_sources_ask(&mut next, owner) {
            AskedBySources::AsItIs => None,
            // What would end now could not begin again, and hold lets go on what there is.
            AskedBySources::Waits(reason) => {
                self.trace.note(reason);
                None
            }
            AskedBySources::StepBack(reason) => Some(reason),
            AskedBySources::NoStep(reason) => {
                let end = EndReason::from(reason.code());
                return self.end_prolonged(live, reason, end);
            }
        };
        let ttl = lease::renewal_ttl(self.policy, &next);
        let granted = lease::extend(self.policy, &mut next, since, self.now, ttl);
        if lease::is_pinned(&next) {
            self.trace.note(Reason::OperatorHeld { mitigation_id: id });
        } else if (widens || is_behind(&next)) && !self.is_missing_somewhere(&next) {
            self.widen(&mut next, owner);
        }
        let escalated = self.escalate_when_due(&mut next, owner, since);
        self.note_what_carries(&mut next);
        next.severity = self.severity(&next, owner);
        if next.severity > live.severity && self.is_unprotected(&next) {
            self.trace.note(Reason::Severity {
                severity: next.severity,
                established: false,
            });
        }
        let (what, outcome, reason) = match (escalated, back) {
            (Some(reason), back) => {
                self.trace.note(granted);
                if let Some(back) = back {
                    self.trace.note(back);
                }
                next.why_summary = reason.to_string().into();
                (MitigationEvent::Escalated, EventOutcome::Escalated, reason)
            }
            (None, Some(reason)) => {
                next.why_summary = reason.to_string().into();
                self.trace.note(reason);
                (MitigationEvent::Deescalated, EventOutcome::Extended, granted)
            }
            (None, None) => (MitigationEvent::Updated, EventOutcome::Extended, granted),
        };
        self.change(what, &command.actor, Some(live), next);
        Conclusion::new(outcome, reason).on(id)
    }

    /// A report finds that what is live may not go on.
    fn end_prolonged(&mut self, live: &Arc<Mitigation>, reason: Reason, end: EndReason) -> Conclusion {
        let ended = Mitigation::clone(live);
        self.end(live, ended, end, crate::journal::DAEMON, reason.to_string());
        Conclusion::new(EventOutcome::RejectedGuardrail, reason).on(live.mitigation_id)
    }

    /// Widens the rules of a live mitigation to what is reported by now. When that cannot be, they stay.
    fn widen(&mut self, next: &mut Mitigation, owner: Option<Owner<'_>>) {
        let playbook = next.playbook.clone().unwrap_or_default();
        let Some(step) = self
            .policy
            .playbooks
            .named(&playbook)
            .and_then(|found| found.step(next.step))
        else {
            self.trace.note(Reason::PlaybookGone {
                playbook: playbook.to_string(),
                step: next.step,
            });
            return;
        };
        match self.replan(next, owner, step) {
            Ok(rules) if rules[..] != next.rules[..] => {
                let widened = Reason::Widened { rules: texts(&rules) };
                next.why_summary = widened.to_string().into();
                self.trace.note(widened);
                set_rules(next, rules);
                self.grant_rtbh(next, step);
            }
            Ok(_) => {}
            Err(reason) => self.trace.note(reason),
        }
    }

    /// Whether it is for many victims and a neighbour is not told it.
    fn is_missing_somewhere(&self, mitigation: &Mitigation) -> bool {
        mitigation.carpet.is_some() && self.facts.aggregate.reach == Reach::Blocked
    }

    /// Takes the next step when its time has come; the reason when it was taken.
    pub(super) fn escalate_when_due(
        &mut self,
        next: &mut Mitigation,
        owner: Option<Owner<'_>>,
        filtered_since: Timestamp,
    ) -> Option<Reason> {
        if self.is_missing_somewhere(next) {
            // A neighbour would lose the rules that it has, and get none.
            return None;
        }
        let (step, number, since, needs) = match evidence::next(self.policy, next, self.now) {
            Next::None => return None,
            Next::Blocked(reason) => {
                self.trace.note(reason);
                return None;
            }
            Next::Ready {
                step,
                number,
                since,
                needs,
            } => (step, number, since, needs),
        };
        let lasted = since.map_or(std::time::Duration::ZERO, |since| self.now.since(since));
        if since.is_none() || lasted < needs {
            self.trace.note(Reason::EscalationWaits {
                step: number,
                evidence_seconds: lasted.as_secs(),
                needs_seconds: needs.as_secs(),
                at: since.map(|since| since.saturating_add(needs)),
            });
            return None;
        }
        let rules = match self
            .guard_ttl(step.ttl, false)
            .and_then(|()| self.replan(next, owner, step))
        {
            Ok(rules) => rules,
            Err(reason) => {
                self.trace.note(reason);
                return None;
            }
        };
        self.trace.note(Reason::Rules { rules: texts(&rules) });
        let reason = Reason::Escalated {
            from: next.step,
            to: number,
            evidence_seconds: lasted.as_secs(),
            needs_seconds: needs.as_secs(),
        };
        set_rules(next, rules);
        self.grant_rtbh(next, step);
        self.note_offered(next, step);
        next.step = number;
        next.status = MitigationStatus::Escalated;
        next.ttl_seconds = u32::try_from(step.ttl.as_secs()).unwrap_or(u32::MAX);
        next.carried_at = step.de_escalate_after.map(|_| self.now);
        let granted = lease::extend(self.policy, next, filtered_since, self.now, step.ttl);
        self.trace.note(granted);
        Some(reason)
    }
}

/// Whether a port is claimed that no rule takes: what kept it out before, such as a hold, may be over.
fn is_behind(mitigation: &Mitigation) -> bool {
    let is_taken = |port: u16| {
        let mut ports = mitigation.rules.iter().map(|rule| &rule.matches.dst_ports);
        ports.any(|ports| ports.is_empty() || ports.contains(port))
    };
    let mut claimed = mitigation.claims.iter().flat_map(|claim| claim.dst_ports.iter());
    claimed.any(|port| !is_taken(*port))
}

/// What becomes of a ban that makes no mitigation for this reason.
pub(super) fn outcome_of(reason: &Reason) -> EventOutcome {
    match reason {
        Reason::NoPlaybook { .. } => EventOutcome::AcceptedNoPlaybook,
        _ if reason.guardrail().is_some() => EventOutcome::RejectedGuardrail,
        _ => EventOutcome::AcceptedPending,
    }
}
