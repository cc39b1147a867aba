//! The first mitigation of a scope, or a successor: announced, or pending until others say the same.

use super::ban::outcome_of;
use super::carpet::{self, Over};
use super::claims;
use super::command::EventCommand;
use super::effect::MitigationEvent;
use super::guard::Subject;
use super::inventory::Owner;
use super::lease;
use super::plan::{Target, set_rules, texts};
use super::reason::Reason;
use super::turn::{Conclusion, Turn};
use crate::journal::DAEMON;
use prefixd_api::event::EventOutcome;
use prefixd_api::ids::MitigationId;
use prefixd_api::mitigation::{Group, Mitigation, MitigationStatus, Observed, Origin, OriginKind};
use prefixd_api::name::Name;
use prefixd_api::resource::Mode;
use prefixd_api::time::Timestamp;
use std::sync::Arc;

impl Turn<'_> {
    /// A first mitigation of the scope, or a successor.
    pub(super) fn begin(
        &mut self,
        command: &EventCommand,
        group: &mut Group,
        owner: Option<Owner<'_>>,
        last_ban_at: Option<Timestamp>,
        previous_id: Option<MitigationId>,
    ) -> Conclusion {
        if !command.event.victim.is_host() {
            let reason = Reason::CarpetOfItself {
                prefix: command.event.victim.prefix(),
            };
            return Conclusion::new(outcome_of(&reason), reason);
        }
        match self.try_begin(command, group, owner, last_ban_at, previous_id, None) {
            Ok(made) => made,
            Err(reason) => Conclusion::new(outcome_of(&reason), reason),
        }
    }

    /// `over`: it is an aggregate of these.
    pub(super) fn try_begin(
        &mut self,
        command: &EventCommand,
        group: &mut Group,
        owner: Option<Owner<'_>>,
        last_ban_at: Option<Timestamp>,
        previous_id: Option<MitigationId>,
        over: Option<Over>,
    ) -> Result<Conclusion, Reason> {
        let event = &command.event;
        let target = Target {
            victim: event.victim,
            vector: &event.vector,
            owner,
        };
        self.guard_scope(event.victim, &event.vector)?;
        let clear = self.guard_destination(event.victim, owner)?;
        self.trace.note(clear);
        let playbook = self.playbook(target, Some(&event.source));
        let trial = self
            .policy
            .trial(owner, playbook.as_ref().ok().copied(), group, self.now);
        self.note_trial(trial);
        let enforced = trial.is_none();
        // The claim that asks comes first: rates of change count against its source.
        let mut holding: Vec<_> = claims::holding(self.policy, group, enforced, self.now)
            .cloned()
            .collect();
        holding.sort_by_key(|claim| {
            claim.source != event.source || claim.event_id.as_deref() != event.external_id.as_deref()
        });
        self.may_trigger(&event.source, &holding)?;
        let playbook = playbook?;
        let step = &playbook.steps[0];
        self.trace.note(Reason::Playbook {
            playbook: playbook.name.to_string(),
            step: 1,
            steps: playbook.steps.len(),
            asks: step.asked,
            ttl_seconds: step.ttl.as_secs(),
        });
        let mut observed = Observed::default();
        for claim in &holding {
            claims::observe(&mut observed, claim);
        }
        let seen = claims::seen_here(&holding).then_some(self.now);
        let mut mitigation = Mitigation {
            mitigation_id: command.ids.mitigation,
            revision: 1,
            status: MitigationStatus::Active,
            customer_id: owner.map(|owner| owner.customer.id.clone()),
            service_id: owner
                .and_then(|owner| owner.service)
                .map(|service| service.id.clone()),
            pop: self.policy.pop.clone(),
            victim_ip: event.victim,
            carpet: over.as_ref().map(|over| Box::new(over.carpet.clone())),
            vector: event.vector.as_str().into(),
            action_type: step.asked.kind(),
            rate_bps: None,
            rules: Arc::default(),
            allow_rtbh: false,
            confidence: claims::confidence(self.policy, &holding),
            claims: holding.into(),
            ending_since: None,
            ends_at: None,
            enforced,
            external_ref: None,
            observed,
            previous_id,
            playbook: Some(playbook.name.clone()),
            step: 1,
            severity: prefixd_api::mitigation::Severity::Low,
            created_at: self.now,
            promoted_at: None,
            updated_at: self.now,
            expires_at: self.now,
            ttl_seconds: u32::try_from(step.ttl.as_secs()).unwrap_or(u32::MAX),
            advertised_at: None,
            evidence_since: seen,
            evidence_at: seen,
            carried_at: None,
            waits_for: None,
            ended_at: None,
            ended_by: None,
            end_reason: None,
            end_note: None,
            origin: Origin {
                kind: OriginKind::Event,
                actor: command.actor.as_str().into(),
            },
            group_id: group.group_id,
            triggering_event_id: Some(command.ids.event),
            last_event_id: Some(command.ids.event),
            acknowledged_at: None,
            acknowledged_by: None,
            claimed: None,
            notes: Box::default(),
            confirm_by: None,
            delivery: None,
            why_summary: Box::default(),
        };
        self.note_confidence(&mitigation);
        mitigation.waits_for = self.lacks(&mitigation, step).map(Box::new);
        let rules = self.first_rules(&mitigation, target, playbook)?;
        if let Some(over) = over {
            if mitigation.waits_for.is_some() {
                return Err(self.waits(&mitigation));
            }
            mitigation.carpet = Some(Box::new(over.counted(&rules, enforced)));
        }
        let replaced = previous_id.and_then(|id| self.state.mitigations.get(&id));
        let subject = Subject {
            victim: event.victim,
            owner,
            enforced,
            source: claims::asking(&mitigation.claims)
                .map(Name::as_str)
                .or(Some(&event.source)),
            frees: mitigation
                .carpet
                .as_ref()
                .map_or(0, |carpet| carpet.replaced.into()),
            replaces: replaced
                .map(|live| &**live)
                .filter(|live| !live.status.is_announced()),
        };
        if mitigation.waits_for.is_some() {
            self.guard_pending(subject)?;
            mitigation.status = MitigationStatus::Pending;
            mitigation.expires_at = self.now.saturating_add(self.policy.timers.window);
        } else {
            self.guard_new(subject)?;
            self.start_lease(&mut mitigation, group, last_ban_at, step.ttl)?;
        }
        set_rules(&mut mitigation, rules);
        self.grant_rtbh(&mut mitigation, step);
        self.note_offered(&mitigation, step);
        mitigation.severity = self.severity(&mitigation, owner);
        self.trace.note(Reason::Severity {
            severity: mitigation.severity,
            established: self.facts.established || !enforced,
        });
        let (outcome, reason) = if mitigation.waits_for.is_some() {
            (EventOutcome::AcceptedPending, self.waits(&mitigation))
        } else {
            let rules = texts(&mitigation.rules);
            (EventOutcome::Accepted, Reason::Rules { rules })
        };
        mitigation.why_summary = format!(
            "{} reports {}: {} step 1, {}",
            event.source, event.vector, playbook.name, reason
        )
        .into();
        // What is pending filters nothing: what was to come back still may.
        if mitigation.waits_for.is_none() {
            self.take_place(&mitigation.scope(), mitigation.mitigation_id, DAEMON);
        }
        if let Some(of_many) = &mitigation.carpet {
            let summary = &mitigation.why_summary;
            mitigation.why_summary = format!("{}: {summary}", carpet::reason(event.victim, of_many)).into();
        }
        let made = self.change(MitigationEvent::Created, &command.actor, None, mitigation);
        Ok(Conclusion::new(outcome, reason).on(made.mitigation_id))
    }

    /// The first lease of a mitigation, inside the lifetime of its scope.
    pub(super) fn start_lease(
        &mut self,
        mitigation: &mut Mitigation,
        group: &mut Group,
        last_ban_at: Option<Timestamp>,
        ttl: std::time::Duration,
    ) -> Result<(), Reason> {
        let was_trial = group.filtered_mode == Mode::DryRun && mitigation.enforced;
        if was_trial || lease::is_quiet(self.policy, group, last_ban_at, self.now) {
            group.filtered_since = None;
        }
        let since = group.filtered_since.unwrap_or(self.now);
        let operator = lease::is_operators(mitigation);
        if lease::lifetime_end(self.policy, since, operator) <= self.now {
            return Err(Reason::LifetimeReached {
                filtered_since: since,
                max_lifetime_seconds: lease::max_lifetime(self.policy, operator).as_secs(),
            });
        }
        let granted = lease::extend(self.policy, mitigation, since, self.now, ttl);
        self.trace.note(granted);
        if group.filtered_since.is_none() {
            group.filtered_mode = if mitigation.enforced {
                Mode::Enforced
            } else {
                Mode::DryRun
            };
        }
        group.filtered_since = Some(since);
        lease::forget_starts(group, self.now);
        group.starts.push(self.now);
        Ok(())
    }
}
