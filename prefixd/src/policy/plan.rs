//! From a playbook's step and what is reported to rules.

use super::carpet::step_of;
use super::claims;
use super::inventory::Owner;
use super::playbooks::{Playbook, Situation, Step};
use super::reason::Reason;
use super::severity;
use super::templates::{Input, Reported};
use super::turn::Turn;
use super::widen::{Bounds, police_as_one, widen};
use prefixd_api::mitigation::{Claim, Mitigation, Observed, OriginKind, Severity};
use prefixd_api::rule::{Action, ActionType, Ranges, Rule, Set};
use prefixd_api::victim::Victim;
use std::sync::Arc;

/// What rules are made for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'a> {
    pub(super) victim: Victim,
    pub(super) vector: &'a str,
    pub(super) owner: Option<Owner<'a>>,
}

impl<'a> Turn<'a> {
    /// The playbook of a situation.
    pub(super) fn playbook(&self, target: Target<'_>, source: Option<&str>) -> Result<&'a Playbook, Reason> {
        // A service of some of many victims says nothing of the others.
        let services: Vec<&str> = target
            .owner
            .iter()
            .filter(|_| target.victim.is_host())
            .flat_map(Owner::services)
            .map(|service| service.id.as_str())
            .collect();
        let situation = Situation {
            vector: target.vector,
            source,
            customer: target.owner.map(|owner| &*owner.customer.id),
            services: &services,
            profile: target.owner.map(|owner| owner.customer.profile),
        };
        self.policy
            .playbooks
            .find(situation)
            .ok_or_else(|| Reason::NoPlaybook {
                vector: target.vector.to_owned(),
            })
    }

    /// The rules of a step.
    pub(super) fn plan(
        &mut self,
        target: Target<'_>,
        step: &Step,
        reported: &Reported,
    ) -> Result<Vec<Rule>, Reason> {
        let template = self.policy.templates.get(target.vector);
        self.trace.note(Reason::Template {
            vector: target.vector.to_owned(),
            template: template.name().into(),
        });
        let input = Input {
            victim: target.victim,
            owner: target.owner,
            vector: target.vector,
            reported,
            asked: step.asked,
            police_rate: step.police_rate,
            on_allowed_port: step.on_allowed_port,
            allow_host_wide: step.allow_host_wide,
            max_ports: self.policy.limits.max_ports,
        };
        let mut rules = template.rules(&input, &mut self.trace)?;
        self.spare_protected(&mut rules);
        for rule in &mut rules {
            rule.sample = step.sample;
        }
        Ok(rules)
    }

    /// A companion takes the fragments of all ports, so a flow that is protected by its ports would keep every rule from the
    /// victim. The companion is left out instead: what the others take is still filtered.
    fn spare_protected(&mut self, rules: &mut Vec<Rule>) {
        let protected = &self.policy.protected;
        let caught = |rule: &Rule| {
            let is_companion = rule.matches.fragment.is_some();
            let mut flows = protected.iter().filter(|_| is_companion);
            flows.find(|flow| flow.is_caught_by(&rule.matches))
        };
        if rules.iter().all(|rule| rule.matches.fragment.is_some()) {
            return;
        }
        if let Some(flow) = rules.iter().find_map(caught) {
            self.trace.note(Reason::CompanionLeftOut {
                flow: flow.to_string(),
            });
            rules.retain(|rule| caught(rule).is_none());
        }
    }

    /// The rules of a live mitigation for a step of its playbook and what is reported by now.
    pub(super) fn replan(
        &mut self,
        mitigation: &Mitigation,
        owner: Option<Owner<'_>>,
        step: &Step,
    ) -> Result<Vec<Rule>, Reason> {
        self.replan_over(&mitigation.rules, mitigation, owner, &step_of(mitigation, step))
    }

    /// The same for a step that is milder: what is matched stays matched, and gets what this step does.
    pub(super) fn replan_milder(
        &mut self,
        mitigation: &Mitigation,
        owner: Option<Owner<'_>>,
        step: &Step,
    ) -> Result<Vec<Rule>, Reason> {
        let step = &*step_of(mitigation, step);
        let milder = |rule: &Rule| match rule.action {
            // It stood beside the others; the step says whether there is one.
            Action::Rtbh => None,
            action if action.is_stricter_than(step.asked) => Some(Rule {
                action: step.asked,
                ..rule.clone()
            }),
            _ => Some(rule.clone()),
        };
        let kept: Vec<Rule> = mitigation.rules.iter().filter_map(milder).collect();
        let bounds = self.bounds(mitigation, owner, step);
        let kept = police_as_one(&kept, &bounds).map_err(|ports| Reason::AllowedBetween { ports })?;
        self.replan_over(&kept, mitigation, owner, step)
    }

    /// What the rules of a live mitigation must fit into.
    fn bounds(&self, mitigation: &Mitigation, owner: Option<Owner<'_>>, step: &Step) -> Bounds {
        let protocols = mitigation.rules.iter().flat_map(|rule| &rule.matches.protocols);
        let protocols: Set<u8> = protocols.copied().collect();
        Bounds {
            max_ports: self.policy.limits.max_ports,
            allowed: owner.map_or_else(Ranges::default, |owner| owner.allowed(&protocols)),
            on_allowed_port: step.on_allowed_port,
            police: Action::Police {
                rate_bps: step.police_rate,
            },
        }
    }

    /// The rules of a step, and what of `kept` they do not match.
    fn replan_over(
        &mut self,
        kept: &[Rule],
        mitigation: &Mitigation,
        owner: Option<Owner<'_>>,
        step: &Step,
    ) -> Result<Vec<Rule>, Reason> {
        let target = Target {
            victim: mitigation.victim_ip,
            vector: &mitigation.vector,
            owner,
        };
        let mut reported = reported(&mitigation.claims, mitigation.observed, owner);
        // Once it matches whatever the port, ports that are reported later do not narrow it.
        if is_portless(mitigation, reported.dst_ports.is_empty()) {
            reported.dst_ports = Ranges::default();
        }
        // Held by an operator alone: what nobody reports any more must not become all that the template takes.
        let is_reported = mitigation
            .claims
            .iter()
            .any(|claim| claim.kind == OriginKind::Event);
        let new = if is_reported {
            self.plan(target, step, &reported)?
        } else {
            Vec::new()
        };
        let bounds = self.bounds(mitigation, owner, step);
        let mut rules = widen(kept, new, &bounds);
        for rule in &mut rules {
            rule.sample = step.sample;
        }
        let gains_rtbh = !mitigation.allow_rtbh && self.would_grant_rtbh(mitigation, &rules, step);
        if rules[..] != mitigation.rules[..] || gains_rtbh {
            self.guard_announcing(mitigation.enforced, mitigation.customer_id.as_deref())?;
        }
        self.guard_rules(&rules, owner)?;
        self.guard_allowed(&rules, owner)?;
        self.guard_sources(&rules, &mitigation.claims)?;
        Ok(rules)
    }

    /// How much it matters.
    pub(super) fn severity(&self, mitigation: &Mitigation, owner: Option<Owner<'_>>) -> Severity {
        let link = owner.and_then(|owner| owner.customer.link);
        let unprotected = self.is_unprotected(mitigation);
        severity::of(&mitigation.rules, mitigation.observed, link, unprotected)
    }

    /// Whether nothing is between the attack and the victim although something should.
    pub(super) fn is_unprotected(&self, mitigation: &Mitigation) -> bool {
        // Refused, quarantined or without a place at every neighbour: a session alone filters nothing.
        let since = mitigation.promoted_at.unwrap_or(mitigation.created_at);
        let is_nowhere = mitigation.advertised_at.is_none() && self.now.since(since) >= ARRIVES;
        let is_lost = self.facts.lost == Some(mitigation.mitigation_id);
        mitigation.enforced && (!self.facts.established || is_nowhere || is_lost)
    }
}

/// In this time a router that takes a rule has been told it.
const ARRIVES: std::time::Duration = std::time::Duration::from_secs(10);

/// What the claims report, and whether it is large.
pub(super) fn reported<'c>(
    claims: impl IntoIterator<Item = &'c Arc<Claim>>,
    observed: Observed,
    owner: Option<Owner<'_>>,
) -> Reported {
    let mut reported = claims::reported(claims);
    let link = owner.and_then(|owner| owner.customer.link);
    reported.large = severity::of_rate(observed, link) >= Severity::Medium;
    reported
}

/// Whether the mitigation began without reported ports, or outgrew them.
fn is_portless(mitigation: &Mitigation, nothing_reported: bool) -> bool {
    nothing_reported
        || mitigation.rules.first().is_some_and(|rule| {
            let ports = &rule.matches.dst_ports;
            ports.is_empty() || (ports.contains(0) && ports.contains(u16::MAX))
        })
}

/// The action of a mitigation: the strictest of its rules, with the rate of the first that polices.
pub(super) fn set_rules(mitigation: &mut Mitigation, rules: Vec<Rule>) {
    mitigation.action_type = rules
        .iter()
        .map(|rule| rule.action.kind())
        .max()
        .unwrap_or(ActionType::Police);
    mitigation.rate_bps = match mitigation.action_type {
        ActionType::Police => rules.iter().find_map(|rule| rule.action.rate()),
        ActionType::Mark
        | ActionType::RedirectVrf
        | ActionType::RedirectIp
        | ActionType::Discard
        | ActionType::Rtbh => None,
    };
    mitigation.rules = rules.into();
}

/// Whether routers are to be told something new: other rules, or a blackhole where there was none.
pub(crate) fn is_changed(before: &Mitigation, after: &Mitigation) -> bool {
    before.rules != after.rules || (after.allow_rtbh && !before.allow_rtbh)
}

/// Rules as text, for a trace.
pub(super) fn texts(rules: &[Rule]) -> Vec<String> {
    rules.iter().map(ToString::to_string).collect()
}
