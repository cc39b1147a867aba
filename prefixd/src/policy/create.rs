//! An operator says: mitigate now. Guardrails apply; what the request leaves out comes from the playbook.

use super::claims;
use super::command::CreateCommand;
use super::effect::{Decision, MitigationEvent, Outcome};
use super::guard::Subject;
use super::inventory::Owner;
use super::lease;
use super::plan::{Target, is_changed, reported, set_rules, texts};
use super::playbooks::{OnAllowedPort, Step};
use super::reason::Reason;
use super::turn::{Turn, refused_with};
use prefixd_api::mitigation::{
    EndReason, Group, Mitigation, MitigationRequest, MitigationStatus, Observed, Origin, OriginKind, Scope,
    Severity,
};
use prefixd_api::problem::Code;
use prefixd_api::rule::{Action, ActionError, ActionFields, ActionType, Match, MatchRequest, Rule};
use prefixd_api::victim::Victim;
use std::sync::Arc;
use std::time::Duration;

/// The vector of a request that names none.
const MANUAL: &str = "manual";

impl Turn<'_> {
    pub(super) fn create(mut self, command: &CreateCommand) -> Decision {
        let request = &command.request;
        let vector = request.vector.as_deref().unwrap_or(MANUAL);
        let scope = Scope {
            victim: command.victim,
            vector: vector.into(),
        };
        let live = self.state.mitigation_of(&scope);
        if let Some(live) = live
            && !request.replace
        {
            let detail = format!(
                "{} holds {scope} already; send replace: true to revise it, or withdraw it first",
                live.mitigation_id
            );
            return refused_with(Code::ConflictExists, detail);
        }
        self.trace.note(Reason::OperatorAsked {
            actor: command.actor.clone(),
            reason: request.reason.clone(),
        });
        let mut group = self.open_group(&scope, command.ids.group);
        let owner = self.policy.inventory.owner(command.victim);
        let target = Target {
            victim: command.victim,
            vector,
            owner,
        };
        match self.try_create(command, target, live, &mut group) {
            Ok(made) => {
                self.change_group(group);
                self.settle(Outcome::Created(made), "accepted")
            }
            Err(reason) => self.refuse(reason),
        }
    }

    fn try_create(
        &mut self,
        command: &CreateCommand,
        target: Target<'_>,
        live: Option<&Arc<Mitigation>>,
        group: &mut Group,
    ) -> Result<Arc<Mitigation>, Reason> {
        let trial = self.policy.trial_of_owner(target.owner);
        self.note_trial(trial);
        let enforced = trial.is_none();
        self.guard_scope(command.victim, target.vector)?;
        let clear = self.guard_destination(command.victim, target.owner)?;
        self.trace.note(clear);
        let playbook = self.playbook(target, None);
        let step = match &playbook {
            Ok(playbook) => {
                let step = operator_step(command, &playbook.steps[0])?;
                self.trace.note(Reason::Playbook {
                    playbook: playbook.name.to_string(),
                    step: 1,
                    steps: playbook.steps.len(),
                    asks: step.asked,
                    ttl_seconds: step.ttl.as_secs(),
                });
                step
            }
            Err(_) => self.step_of_request(command)?,
        };
        let rules = self.operator_rules(command, target, &step, live)?;
        self.guard_vector(target.vector, &rules)?;
        let within = self.guard_rules(&rules, target.owner)?;
        self.trace.note(within);
        self.guard_ttl(step.ttl, true)?;
        // One of the other mode is not revised: it ends, and a successor takes its place.
        let revised = live.filter(|live| live.enforced == enforced);
        // What is pending is not on any router: for them it begins now.
        let goes_on = revised.is_some_and(|live| live.status.is_announced());
        if !goes_on {
            self.guard_new(Subject {
                victim: command.victim,
                owner: target.owner,
                enforced,
                source: None,
                frees: 0,
                replaces: None,
            })?;
        }
        let mut next = match revised {
            Some(live) => Mitigation::clone(live),
            None => self.operators_own(command, target, group, enforced, live),
        };
        next.claims = claims::with_operators(&next.claims, self.now, None);
        next.ending_since = None;
        next.ends_at = None;
        next.playbook = playbook.ok().map(|playbook| playbook.name.clone());
        next.step = 1;
        next.carried_at = None;
        next.waits_for = None;
        if revised.is_some() && !goes_on {
            next.promoted_at = Some(self.now);
        }
        next.status = MitigationStatus::Active;
        next.external_ref = command
            .request
            .external_ref
            .as_deref()
            .map(Into::into)
            .or(next.external_ref);
        next.ttl_seconds = u32::try_from(step.ttl.as_secs()).unwrap_or(u32::MAX);
        set_rules(&mut next, rules);
        self.grant_rtbh(&mut next, &step);
        if goes_on {
            self.guard_panic(&next)?;
        }
        if goes_on && revised.is_some_and(|live| is_changed(live, &next)) {
            let customer = target.owner.map(|owner| &*owner.customer.id);
            self.guard_announcing(enforced, customer)?;
        }
        self.operator_lease(&mut next, group, goes_on, step.ttl)?;
        next.severity = self.severity(&next, target.owner);
        next.why_summary = format!(
            "{} asked for it ({}): {}",
            command.actor,
            command.request.reason,
            texts(&next.rules).join("; ")
        )
        .into();
        self.trace.note(Reason::Rules {
            rules: texts(&next.rules),
        });
        if let (Some(live), None) = (live, revised) {
            let because = Reason::ModeChanged {
                was_enforced: live.enforced,
                because: "an operator made one of the other mode".into(),
            };
            let ended = Mitigation::clone(live);
            self.end(
                live,
                ended,
                EndReason::ModeChanged,
                &command.actor,
                because.to_string(),
            );
        }
        self.take_place(&next.scope(), next.mitigation_id, &command.actor);
        let what = match revised {
            None => MitigationEvent::Created,
            Some(_) if goes_on => MitigationEvent::Updated,
            Some(_) => MitigationEvent::Promoted,
        };
        Ok(self.change(what, &command.actor, revised, next))
    }

    /// The step of a request that no playbook completes: it must say everything itself.
    fn step_of_request(&self, command: &CreateCommand) -> Result<Step, Reason> {
        let request = &command.request;
        let asked = requested(request).map(Action::try_from);
        let missing: Vec<String> = [
            match asked {
                None => Some("action"),
                Some(Err(ActionError::Missing { field, .. })) => Some(field),
                Some(_) => None,
            },
            asked.is_none().then_some("rate_bps"),
            request.ttl_seconds.is_none().then_some("ttl_seconds"),
        ]
        .into_iter()
        .flatten()
        .map(str::to_owned)
        .collect();
        let (Some(Ok(asked)), Some(ttl)) = (asked, request.ttl_seconds) else {
            return Err(Reason::RequestIncomplete { missing });
        };
        Ok(Step {
            asked,
            sample: request.sample,
            police_rate: request.rate_bps.unwrap_or(self.policy.fallback_police),
            ttl: Duration::from_secs(ttl.into()),
            confidence_at_least: None,
            persistence: None,
            sources: 1,
            de_escalate_after: None,
            on_allowed_port: OnAllowedPort::Police,
            allow_host_wide: true,
            allow_rtbh: false,
            offered: false,
        })
    }

    /// The rules as requested, or as the template makes them when the request has no match.
    fn operator_rules(
        &mut self,
        command: &CreateCommand,
        target: Target<'_>,
        step: &Step,
        live: Option<&Arc<Mitigation>>,
    ) -> Result<Vec<Rule>, Reason> {
        let request = &command.request;
        let action = step.asked;
        if let Some(matches) = &request.matches {
            let matches = MatchRequest::clone(matches).on(command.victim.prefix());
            return Ok(vec![Rule {
                matches,
                action,
                sample: step.sample,
            }]);
        }
        if has_match(request) {
            let matches = Match {
                protocols: request.protocol.into_iter().collect(),
                dst_ports: request.dst_ports.clone().or_any(),
                src_ports: request.src_ports.clone().or_any(),
                ..Match::destination(command.victim.prefix())
            };
            return Ok(vec![Rule {
                matches,
                action,
                sample: step.sample,
            }]);
        }
        if action == Action::Rtbh {
            return self.blackhole(command.victim, target.vector);
        }
        let known = live.map_or_else(Default::default, |live| {
            reported(&live.claims, live.observed, target.owner)
        });
        let rules = self.plan(target, step, &known)?;
        // What the template would cap, an operator may ask for: the guardrail against impossible combinations
        // has the last word. Companions of a discard stay policed.
        let asked_more =
            request.action.is_some() && action.is_harsh() && rules.iter().all(|rule| !rule.action.is_harsh());
        let rules = if asked_more {
            rules
                .into_iter()
                .map(|rule| {
                    if rule.matches.fragment.is_some() {
                        rule
                    } else {
                        Rule { action, ..rule }
                    }
                })
                .collect()
        } else {
            rules
        };
        // Nobody named the ports, so nobody asked for the service's own.
        self.guard_allowed(&rules, target.owner)?;
        Ok(rules)
    }

    /// An operator gives an address up. Not under the name of a vector that is policed because nobody knows whether it is
    /// an attack.
    pub(super) fn blackhole(&self, victim: Victim, vector: &str) -> Result<Vec<Rule>, Reason> {
        let template = self.policy.templates.get(vector);
        if vector != MANUAL && !template.may_blackhole() {
            return Err(Reason::Impossible {
                rule: format!("rtbh of {victim} for {vector}"),
                because: "this vector is never blackholed; make it without a vector if the address is to be given up"
                    .into(),
            });
        }
        Ok(vec![Rule::new(Match::destination(victim.prefix()), Action::Rtbh)])
    }

    fn operator_lease(
        &mut self,
        next: &mut Mitigation,
        group: &mut Group,
        is_revision: bool,
        ttl: Duration,
    ) -> Result<(), Reason> {
        if !is_revision {
            next.expires_at = self.now;
            let last_ban_at = group.last_ban_at;
            return self.start_lease(next, group, last_ban_at, ttl);
        }
        let since = group.filtered_since.unwrap_or(next.created_at);
        if lease::lifetime_end(self.policy, since, true) <= self.now {
            return Err(Reason::LifetimeReached {
                filtered_since: since,
                max_lifetime_seconds: lease::max_lifetime(self.policy, true).as_secs(),
            });
        }
        // An operator's lease is what was asked for, also when that is shorter.
        next.expires_at = self.now;
        let granted = lease::extend(self.policy, next, since, self.now, ttl);
        self.trace.note(granted);
        Ok(())
    }

    fn operators_own(
        &self,
        command: &CreateCommand,
        target: Target<'_>,
        group: &Group,
        enforced: bool,
        previous: Option<&Arc<Mitigation>>,
    ) -> Mitigation {
        let owner: Option<Owner<'_>> = target.owner;
        Mitigation {
            mitigation_id: command.ids.mitigation,
            revision: 1,
            status: MitigationStatus::Active,
            customer_id: owner.map(|owner| owner.customer.id.clone()),
            service_id: owner
                .and_then(|owner| owner.service)
                .map(|service| service.id.clone()),
            pop: self.policy.pop.clone(),
            victim_ip: command.victim,
            carpet: None,
            vector: target.vector.into(),
            action_type: ActionType::Police,
            rate_bps: None,
            rules: Arc::default(),
            allow_rtbh: false,
            claims: claims::holding(self.policy, group, enforced, self.now)
                .cloned()
                .collect(),
            ending_since: None,
            ends_at: None,
            enforced,
            external_ref: None,
            observed: Observed::default(),
            previous_id: previous.map(|previous| previous.mitigation_id),
            playbook: None,
            step: 1,
            confidence: None,
            severity: Severity::Low,
            created_at: self.now,
            promoted_at: None,
            updated_at: self.now,
            expires_at: self.now,
            ttl_seconds: 0,
            advertised_at: None,
            evidence_since: None,
            evidence_at: None,
            carried_at: None,
            waits_for: None,
            ended_at: None,
            ended_by: None,
            end_reason: None,
            end_note: None,
            origin: Origin {
                kind: OriginKind::Operator,
                actor: command.actor.as_str().into(),
            },
            group_id: group.group_id,
            triggering_event_id: None,
            last_event_id: None,
            acknowledged_at: None,
            acknowledged_by: None,
            claimed: None,
            notes: Box::default(),
            confirm_by: None,
            delivery: None,
            why_summary: Box::default(),
        }
    }
}

/// The playbook's first step with what the request asks for instead. An operator sees that a rule is wide, so
/// a match on nothing but the destination is theirs to make.
fn operator_step(command: &CreateCommand, step: &Step) -> Result<Step, Reason> {
    let request = &command.request;
    let police_rate = request.rate_bps.unwrap_or(step.police_rate);
    let asked = match requested(request).map(|fields| (fields.action_type, Action::try_from(fields))) {
        None => step.asked,
        Some((_, Ok(asked))) => asked,
        // What is left out of the step's own kind is the step's.
        Some((kind, Err(_))) if kind == step.asked.kind() => step.asked,
        Some((ActionType::Police, Err(_))) => Action::Police {
            rate_bps: police_rate,
        },
        Some((_, Err(ActionError::Missing { field, .. } | ActionError::Foreign { field, .. }))) => {
            return Err(Reason::RequestIncomplete {
                missing: vec![field.to_owned()],
            });
        }
    };
    Ok(Step {
        asked,
        sample: request.sample || step.sample,
        police_rate,
        ttl: request
            .ttl_seconds
            .map_or(step.ttl, |seconds| Duration::from_secs(seconds.into())),
        allow_host_wide: true,
        // Who writes a match says what is to be dropped; it is never exchanged for the whole address.
        allow_rtbh: step.allow_rtbh && asked == step.asked && !has_match(request),
        ..step.clone()
    })
}

/// Whether the request says itself what is matched.
fn has_match(request: &MitigationRequest) -> bool {
    request.matches.is_some()
        || request.protocol.is_some()
        || !request.dst_ports.is_empty()
        || !request.src_ports.is_empty()
}

/// The action that a request names; a rate alone is a police action.
pub(crate) fn requested(request: &MitigationRequest) -> Option<ActionFields> {
    let has_rate = request.rate_bps.is_some() || request.rate_pps.is_some();
    let kind = request.action.or(has_rate.then_some(ActionType::Police))?;
    Some(ActionFields {
        action_type: kind,
        rate_bps: request.rate_bps,
        rate_pps: request.rate_pps,
        route_target: request.route_target,
        next_hop: request.next_hop,
        copy: request.copy,
        dscp: request.dscp,
    })
}
