//! A pending mitigation: decided, and announced when others say the same. Each report that leaves it waiting gives it one
//! more window; the one that completes it has it judged as anything new.

use super::ban::outcome_of;
use super::carpet::step_of;
use super::claims;
use super::command::EventCommand;
use super::effect::MitigationEvent;
use super::guard::Subject;
use super::inventory::Owner;
use super::plan::{Target, reported, set_rules, texts};
use super::playbooks::Playbook;
use super::reason::Reason;
use super::trial::Trial;
use super::turn::{Conclusion, Turn};
use crate::journal::DAEMON;
use prefixd_api::event::EventOutcome;
use prefixd_api::mitigation::{EndReason, Group, Mitigation, MitigationStatus};
use prefixd_api::name::Name;
use prefixd_api::rule::Rule;
use prefixd_api::time::Timestamp;
use std::sync::Arc;

impl<'a> Turn<'a> {
    /// A report of what is pending: it waits on, is announced, or is rejected by a guardrail.
    pub(super) fn corroborate(
        &mut self,
        command: &EventCommand,
        live: &Arc<Mitigation>,
        group: &mut Group,
        owner: Option<Owner<'a>>,
        last_ban_at: Option<Timestamp>,
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
            let because = reason.to_string();
            self.end(live, Mitigation::clone(live), end, DAEMON, because);
            return Conclusion::new(EventOutcome::RejectedGuardrail, reason).on(id);
        }
        if let Some(trial) = self.next_on_trial(command, live, group, owner) {
            let reason = Reason::ModeChanged {
                was_enforced: true,
                because: format!("{trial} now").into(),
            };
            let end = EndReason::ModeChanged;
            self.end(live, Mitigation::clone(live), end, DAEMON, reason.to_string());
            self.trace.note(reason);
            return self.begin(command, group, owner, last_ban_at, Some(id));
        }
        match self.try_corroborate(command, live, group, owner, last_ban_at) {
            Ok(end) => end.on(id),
            Err(reason) if reason.guardrail().is_some() => {
                let end = EndReason::from(reason.code());
                let next = self.touched(live, group);
                self.end(live, next, end, &command.actor, reason.to_string());
                Conclusion::new(outcome_of(&reason), reason).on(id)
            }
            // What it is about cannot be said by now, or nobody who may start it reports it any more.
            Err(reason) => {
                let mut next = self.touched(live, group);
                next.last_event_id = Some(command.ids.event);
                self.change(MitigationEvent::Updated, &command.actor, Some(live), next);
                Conclusion::new(EventOutcome::AcceptedPending, reason).on(id)
            }
        }
    }

    fn try_corroborate(
        &mut self,
        command: &EventCommand,
        live: &Arc<Mitigation>,
        group: &mut Group,
        owner: Option<Owner<'_>>,
        last_ban_at: Option<Timestamp>,
    ) -> Result<Conclusion, Reason> {
        let event = &command.event;
        let target = Target {
            victim: event.victim,
            vector: &event.vector,
            owner,
        };
        let mut next = self.touched(live, group);
        next.last_event_id = Some(command.ids.event);
        // The claim that asks comes first: rates of change count against its source.
        next.claims.sort_by_key(|claim| {
            claim.source != event.source || claim.event_id.as_deref() != event.external_id.as_deref()
        });
        self.may_trigger(&event.source, &next.claims)?;
        let playbook = self.playbook_of(live, target, &event.source)?;
        self.note_confidence(&next);
        let waits = self.lacks(&next, &playbook.steps[0]);
        let rules = self.first_rules(&next, target, playbook)?;
        set_rules(&mut next, rules);
        next.playbook = Some(playbook.name.clone());
        next.waits_for = waits.map(Box::new);
        if next.waits_for.is_some() {
            next.expires_at = self.now.saturating_add(self.policy.timers.window);
            next.severity = self.severity(&next, owner);
            let reason = self.waits(&next);
            next.why_summary = reason.to_string().into();
            self.change(MitigationEvent::Updated, &command.actor, Some(live), next);
            return Ok(Conclusion::new(EventOutcome::AcceptedPending, reason));
        }
        self.guard_new(Subject {
            victim: event.victim,
            owner,
            enforced: live.enforced,
            source: claims::asking(&next.claims)
                .map(Name::as_str)
                .or(Some(&event.source)),
            frees: 0,
            replaces: None,
        })?;
        let step = &playbook.steps[0];
        next.status = MitigationStatus::Active;
        next.promoted_at = Some(self.now);
        next.expires_at = self.now;
        next.ttl_seconds = u32::try_from(step.ttl.as_secs()).unwrap_or(u32::MAX);
        let seen = claims::seen_here(&next.claims).then_some(self.now);
        (next.evidence_since, next.evidence_at) = (seen, seen);
        self.start_lease(&mut next, group, last_ban_at, step.ttl)?;
        self.grant_rtbh(&mut next, step);
        self.note_offered(&next, step);
        next.severity = self.severity(&next, owner);
        let reason = Reason::Corroborated {
            pending_since: live.created_at,
            rules: texts(&next.rules),
        };
        self.take_place(&next.scope(), next.mitigation_id, DAEMON);
        next.why_summary = format!("{} confirms {}: {reason}", event.source, event.vector).into();
        self.change(MitigationEvent::Promoted, &command.actor, Some(live), next);
        Ok(Conclusion::new(EventOutcome::Accepted, reason))
    }

    /// Who keeps it from the routers by the playbook that decides now, which may be another than began it.
    fn next_on_trial(
        &self,
        command: &EventCommand,
        live: &Mitigation,
        group: &Group,
        owner: Option<Owner<'a>>,
    ) -> Option<Trial<'a>> {
        let event = &command.event;
        let target = Target {
            victim: event.victim,
            vector: &event.vector,
            owner,
        };
        let playbook = self.playbook_of(live, target, &event.source).ok();
        let trial = self.policy.trial(owner, playbook, group, self.now);
        // Begun by one who may, it waits on, whoever is left to say so.
        let is_held = || {
            claims::holding(self.policy, group, true, self.now)
                .next()
                .is_some()
        };
        trial.filter(|trial| live.enforced && !(matches!(trial, Trial::Sources) && is_held()))
    }

    /// The playbook that a pending mitigation was decided by, as it is configured now; another when it is gone.
    fn playbook_of(
        &self,
        live: &Mitigation,
        target: Target<'_>,
        source: &str,
    ) -> Result<&'a Playbook, Reason> {
        let known = live.playbook.as_deref();
        match known.and_then(|name| self.policy.playbooks.named(name)) {
            Some(playbook) => Ok(playbook),
            None => self.playbook(target, Some(source)),
        }
    }

    /// The rules of a playbook's first step, through the guardrails on rules.
    pub(super) fn first_rules(
        &mut self,
        mitigation: &Mitigation,
        target: Target<'_>,
        playbook: &Playbook,
    ) -> Result<Vec<Rule>, Reason> {
        let owner = target.owner;
        let step = &*step_of(mitigation, &playbook.steps[0]);
        let known = reported(&mitigation.claims, mitigation.observed, owner);
        let rules = self.plan(target, step, &known)?;
        let within = self.guard_rules(&rules, owner)?;
        self.trace.note(within);
        self.guard_allowed(&rules, owner)?;
        self.guard_sources(&rules, &mitigation.claims)?;
        self.guard_ttl(step.ttl, false)?;
        Ok(rules)
    }

    /// Why it is pending, as the answer to a report.
    pub(super) fn waits(&self, next: &Mitigation) -> Reason {
        let waits = next.waits_for.as_deref().copied().unwrap_or_default();
        Reason::Waits {
            sources: waits.has_sources,
            sources_at_least: waits.sources,
            confidence: next.confidence,
            confidence_at_least: waits.confidence,
            until: next.expires_at,
        }
    }

    /// Whether it ended: its window has passed, or nobody reports it any more. Nothing of it was announced, so there is no
    /// hold-down.
    pub(super) fn pending_due(&mut self, live: &Arc<Mitigation>, group: &Group) -> bool {
        let mut next = self.touched(live, group);
        let over = if next.expires_at <= self.now {
            let pending_since = live.created_at;
            Some((
                EndReason::Uncorroborated,
                Reason::Uncorroborated { pending_since },
            ))
        } else if next.claims.is_empty() {
            Some((EndReason::ClaimsEnded, Reason::PendingOver {}))
        } else {
            None
        };
        if let Some((end, reason)) = over {
            self.end(live, next, end, DAEMON, reason.to_string());
            self.trace.note(reason);
            return true;
        }
        if next.claims != live.claims {
            self.count_voices(&mut next);
            self.change(MitigationEvent::Updated, DAEMON, Some(live), next);
        }
        false
    }

    /// What is known of the sources, after claims went.
    pub(super) fn count_voices(&self, next: &mut Mitigation) {
        let has_sources = super::corroboration::domains(self.policy, &next.claims);
        if let Some(waits) = &mut next.waits_for {
            waits.has_sources = has_sources;
        }
    }
}
