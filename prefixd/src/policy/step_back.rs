//! De-escalation: a step that nothing has carried for as long as the playbook gives it goes back to the step before.
//!
//! A step is carried while there is evidence with the confidence that leads to it. What carries the step before and not
//! this one keeps the mitigation alive and not the step. Each step back takes its own time, and what comes again has to
//! last as long as the first time. A step whose action nobody who is left may ask for goes back at the next report.

use super::claims::{confidence, witnesses};
use super::evidence;
use super::inventory::Owner;
use super::lease::is_pinned;
use super::plan::{set_rules, texts};
use super::playbooks::Step;
use super::reason::Reason;
use super::settings::Policy;
use super::turn::Turn;
use prefixd_api::mitigation::{Claim, Mitigation, MitigationStatus};
use prefixd_api::rule::Rule;
use prefixd_api::time::Timestamp;
use std::sync::Arc;
use std::time::Duration;

/// The step in force and the one that it gives way to.
struct Back<'p> {
    present: &'p Step,
    before: &'p Step,
    number: u32,
    after: Duration,
}

/// What becomes of a mitigation by what those who claim it may ask for.
pub(super) enum AskedBySources {
    /// They may ask for it.
    AsItIs,
    /// They may not, and nothing else may be announced now.
    Waits(Reason),
    /// It does what an earlier step does.
    StepBack(Reason),
    /// There is no step that they may ask for.
    NoStep(Reason),
}

/// What a mitigation may go back to; what an operator said it does stays.
fn back<'p>(policy: &'p Policy, mitigation: &Mitigation) -> Option<Back<'p>> {
    let number = mitigation.step.checked_sub(1).filter(|number| *number > 0)?;
    let playbook = policy.playbooks.named(mitigation.playbook.as_deref()?)?;
    let present = playbook.step(mitigation.step)?;
    let after = present.de_escalate_after.filter(|_| !is_pinned(mitigation))?;
    Some(Back {
        present,
        before: playbook.step(number)?,
        number,
        after,
    })
}

/// What begins again on a step that can be given up is carried until then, whoever claims it.
pub(super) fn carried_from(policy: &Policy, mitigation: &Mitigation, now: Timestamp) -> Option<Timestamp> {
    back(policy, mitigation).map(|_| now)
}

/// Until when what is claimed carries a step that could be given up. Claims carry it together only while all of them live,
/// also where nobody looked when the first of them died because the process stood still or was not there.
pub(super) fn carried_until(
    policy: &Policy,
    mitigation: &Mitigation,
    now: Timestamp,
    reported: bool,
) -> Option<Timestamp> {
    let back = back(policy, mitigation)?;
    let until = |claim: &Arc<Claim>| claim.lives_until.map_or(now, |until| until.min(now));
    let mut ends: Vec<Timestamp> = mitigation.claims.iter().map(until).collect();
    ends.sort_unstable();
    ends.dedup();
    let is_carried_at = |end: &Timestamp| {
        let alive: Box<[Arc<Claim>]> = mitigation
            .claims
            .iter()
            .filter(|claim| until(claim) >= *end)
            .cloned()
            .collect();
        let is_evident = reported && *end == now || alive.iter().any(|claim| witnesses(policy, claim));
        if alive.len() == mitigation.claims.len() {
            return is_evident && back.is_carried(policy, mitigation);
        }
        let left = Mitigation {
            confidence: confidence(policy, &alive),
            claims: alive,
            ..mitigation.clone()
        };
        is_evident && back.is_carried(policy, &left)
    };
    ends.into_iter().rev().find(is_carried_at)
}

impl Back<'_> {
    fn is_carried(&self, policy: &Policy, mitigation: &Mitigation) -> bool {
        evidence::suffices(policy, mitigation, self.present, mitigation.step).is_ok()
    }

    /// Since when nothing carries the step, if nothing is reported any more. One whose playbook did not say so before is
    /// carried until now.
    fn uncarried_since(&self, policy: &Policy, live: &Mitigation) -> Timestamp {
        let known = live.carried_at.unwrap_or(live.updated_at);
        if !self.is_carried(policy, live) {
            return known;
        }
        let goes_on = live
            .claims
            .iter()
            .filter(|claim| witnesses(policy, claim))
            .filter_map(|claim| claim.lives_until);
        goes_on.max().map_or(known, |until| until.max(known))
    }
}

/// When a mitigation goes back, as far as is known. One that was due and did not, because a guardrail refused, is looked at
/// again. While it is ending its hold-down decides.
pub(super) fn due_at(policy: &Policy, live: &Mitigation) -> Option<Timestamp> {
    let back = back(policy, live).filter(|_| !live.claims.is_empty())?;
    let at = back.uncarried_since(policy, live).saturating_add(back.after);
    Some(evidence::next_look(live, at, evidence::RECHECK))
}

impl Turn<'_> {
    /// Says on a report that does not carry the step what becomes of it.
    pub(super) fn note_what_carries(&mut self, next: &mut Mitigation) {
        let policy = self.policy;
        let Some(back) = back(policy, next).filter(|back| !back.is_carried(policy, next)) else {
            return;
        };
        let since = *next.carried_at.get_or_insert(self.now);
        self.trace.note(Reason::StepUncarried {
            step: next.step,
            since,
            gives_way_at: since.saturating_add(back.after),
        });
    }

    /// Goes back one step when the present one was not carried for as long as it may be; the reason when it did. The lease
    /// is neither longer nor shorter for it: what renews it gives the lease of the step before.
    pub(super) fn step_back_when_due(
        &mut self,
        next: &mut Mitigation,
        owner: Option<Owner<'_>>,
    ) -> Option<Reason> {
        let policy = self.policy;
        let back = back(policy, next).filter(|_| !next.claims.is_empty())?;
        let since = *next.carried_at.get_or_insert(self.now);
        let uncarried = self.now.since(since);
        if uncarried < back.after {
            return None;
        }
        let planned = self
            .guard_ttl(back.before.ttl, false)
            .and_then(|()| self.replan_milder(next, owner, back.before));
        let rules = match planned {
            Ok(rules) => rules,
            Err(reason) => {
                self.trace.note(reason);
                return None;
            }
        };
        self.trace.note(Reason::Rules { rules: texts(&rules) });
        let reason = Reason::Deescalated {
            from: next.step,
            to: back.number,
            uncarried_seconds: uncarried.as_secs(),
            after_seconds: back.after.as_secs(),
        };
        self.set_step_back(next, back.before, back.number, rules);
        Some(reason)
    }

    /// Goes back at once where those who claim a mitigation may not ask for what it does: to the last step that they may ask
    /// for.
    pub(super) fn bring_to_what_sources_ask(
        &mut self,
        next: &mut Mitigation,
        owner: Option<Owner<'_>>,
    ) -> AskedBySources {
        let Err(refusal) = self.guard_sources(&next.rules, &next.claims) else {
            return AskedBySources::AsItIs;
        };
        if let Err(held) = self.guard_announcing(next.enforced, next.customer_id.as_deref()) {
            self.trace.note(held);
            return AskedBySources::Waits(refusal);
        }
        let policy = self.policy;
        let playbook = next
            .playbook
            .as_deref()
            .and_then(|name| policy.playbooks.named(name));
        let from = next.step;
        for number in (1..from).rev() {
            let Some(step) = playbook.and_then(|playbook| playbook.step(number)) else {
                continue;
            };
            let planned = self
                .guard_ttl(step.ttl, false)
                .and_then(|()| self.replan_milder(next, owner, step));
            match planned {
                Ok(rules) => {
                    self.trace.note(Reason::Rules { rules: texts(&rules) });
                    self.set_step_back(next, step, number, rules);
                    let (to, because) = (number, refusal.to_string());
                    return AskedBySources::StepBack(Reason::StepNotAsked { from, to, because });
                }
                Err(reason) => self.trace.note(reason),
            }
        }
        AskedBySources::NoStep(refusal)
    }

    fn set_step_back(&mut self, next: &mut Mitigation, step: &Step, number: u32, rules: Vec<Rule>) {
        set_rules(next, rules);
        self.grant_rtbh(next, step);
        self.note_offered(next, step);
        next.step = number;
        next.status = if number > 1 {
            MitigationStatus::Escalated
        } else {
            MitigationStatus::Active
        };
        next.ttl_seconds = u32::try_from(step.ttl.as_secs()).unwrap_or(u32::MAX);
        next.carried_at = step.de_escalate_after.map(|_| self.now);
        // What led to the step counts no more: to come back, evidence must last as long again.
        next.evidence_since = Some(self.now);
    }
}
