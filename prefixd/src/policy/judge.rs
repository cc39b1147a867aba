//! Judging a live mitigation again: after a start, a reload, and on every report that would prolong it.

use super::effect::{Decision, MitigationEvent, Outcome};
use super::inventory::Owner;
use super::lease;
use super::reason::Reason;
use super::step_back::AskedBySources;
use super::trial::asks;
use super::turn::Turn;
use crate::journal::DAEMON;
use prefixd_api::control::Stop;
use prefixd_api::mitigation::{EndReason, Mitigation, Scope};
use prefixd_api::time::Timestamp;
use std::borrow::Cow;
use std::sync::Arc;

impl Turn<'_> {
    /// Judges the live mitigation of a scope: what fails is withdrawn, what lasts too long is shortened. Quotas
    /// and rates of change bound beginnings, so they do not end what is live.
    pub(super) fn judge(mut self, scope: &Scope) -> Decision {
        if let Some(live) = self.state.mitigation_of(scope) {
            let filtered_since = self.state.group(scope).and_then(|group| group.filtered_since);
            if let Some((reason, _)) = self.judged(live) {
                self.end_by_guardrail(live, reason);
            } else if live.status.is_announced() {
                self.narrow(live, filtered_since.unwrap_or(live.created_at));
            } else if let Err(reason) = self.guard_sources(&live.rules, &live.claims) {
                self.end_by_guardrail(live, reason);
            }
        }
        self.settle(Outcome::Settled, "judged")
    }

    /// Why a live mitigation may not go on, whoever asks for what it does.
    pub(super) fn judged(&self, live: &Mitigation) -> Option<(Reason, EndReason)> {
        let owner = self.policy.inventory.owner(live.victim_ip);
        if let Some(because) = self.wrong_mode(live, owner) {
            let reason = Reason::ModeChanged {
                was_enforced: live.enforced,
                because,
            };
            return Some((reason, EndReason::ModeChanged));
        }
        let reason = self.guard_what_is_live(live, owner).err()?;
        let end = EndReason::from(reason.code());
        Some((reason, end))
    }

    /// Enforced ones end when they would be dry-run now. Dry-run ones end when they would be enforced, if anybody still
    /// asks for them: nothing that was decided without consequences goes out by itself.
    fn wrong_mode(&self, live: &Mitigation, owner: Option<Owner<'_>>) -> Option<Cow<'static, str>> {
        match self.policy.trial_of(live, owner) {
            Some(trial) if live.enforced => Some(format!("{trial} now").into()),
            None if !live.enforced && live.claims.iter().any(|claim| asks(claim)) => {
                Some("it would be enforced now; the next ban makes an enforced one".into())
            }
            Some(_) | None => None,
        }
    }

    /// Ends what failed, with the reason.
    pub(super) fn end_by_guardrail(&mut self, live: &Arc<Mitigation>, reason: Reason) {
        // Who said panic ended it.
        let actor = match &reason {
            Reason::Stopped { by, .. } => by.clone(),
            _ => DAEMON.to_owned(),
        };
        let end = EndReason::from(reason.code());
        self.end(live, Mitigation::clone(live), end, &actor, reason.to_string());
        self.trace.note(reason);
    }

    /// What holds for rules that there are, whoever claims them now. Who may ask for what they do is asked when somebody
    /// does: while the claims of a strict step die one after the other, it is the playbook that gives way.
    pub(super) fn guard_what_is_live(
        &self,
        live: &Mitigation,
        owner: Option<Owner<'_>>,
    ) -> Result<(), Reason> {
        self.guard_panic(live)?;
        self.guard_destination(live.victim_ip, owner)?;
        let customer = owner.map(|owner| &*owner.customer.id);
        if customer != live.customer_id.as_deref() {
            return Err(Reason::OwnerChanged {
                victim: live.victim_ip,
                was: live.customer_id.as_deref().map(str::to_owned),
                is: customer.map(str::to_owned),
            });
        }
        self.guard_rules(&live.rules, owner)?;
        if !lease::is_pinned(live) {
            self.guard_allowed(&live.rules, owner)?;
        }
        Ok(())
    }

    /// Whether a person said that nothing of it may be on the routers. Hold lets go on what there is.
    pub(super) fn guard_panic(&self, live: &Mitigation) -> Result<(), Reason> {
        match self.stopped(live.customer_id.as_deref()) {
            Some(stopped) if live.enforced && stopped.state == Stop::Panic => Err(stopped.into()),
            Some(_) | None => Ok(()),
        }
    }

    /// Goes back to what those who claim it may ask for, brings a lease inside bounds that became narrower, and takes back
    /// what the step does not allow any more.
    fn narrow(&mut self, live: &Arc<Mitigation>, filtered_since: Timestamp) {
        let operator = lease::is_operators(live);
        let limits = &self.policy.limits;
        let max_ttl = if operator {
            limits.max_ttl_operator
        } else {
            limits.max_ttl
        };
        // A hold-down may be longer than a lease.
        let longest = self.now.saturating_add(max_ttl);
        let bound = live.ends_at.map_or(longest, |ends_at| ends_at.max(longest));
        let cap = lease::lifetime_end(self.policy, filtered_since, operator);
        let expires_at = live.expires_at.min(bound).min(cap);
        let mut next = Mitigation::clone(live);
        let owner = self.policy.inventory.owner(live.victim_ip);
        let mut what = MitigationEvent::Updated;
        match self.bring_to_what_sources_ask(&mut next, owner) {
            AskedBySources::AsItIs => {}
            AskedBySources::StepBack(reason) => {
                next.severity = self.severity(&next, owner);
                next.why_summary = reason.to_string().into();
                self.trace.note(reason);
                what = MitigationEvent::Deescalated;
            }
            // Who may ask for what may just have been said, and nothing that is announced later is for now.
            AskedBySources::Waits(reason) | AskedBySources::NoStep(reason) => {
                self.end_by_guardrail(live, reason);
                return;
            }
        }
        if next.allow_rtbh && self.has_lost_rtbh(live) {
            next.allow_rtbh = false;
            self.trace.note(Reason::RtbhNotAllowed {
                because: "the configuration does not allow it any more".into(),
            });
        }
        if expires_at == live.expires_at {
            if next.step != live.step || next.allow_rtbh != live.allow_rtbh {
                self.change(what, DAEMON, Some(live), next);
            }
            return;
        }
        next.expires_at = expires_at;
        next.ends_at = next.ends_at.map(|at| at.min(expires_at));
        next.ttl_seconds = next
            .ttl_seconds
            .min(u32::try_from(max_ttl.as_secs()).unwrap_or(u32::MAX));
        if expires_at <= self.now {
            let reason = Reason::LifetimeReached {
                filtered_since,
                max_lifetime_seconds: lease::max_lifetime(self.policy, operator).as_secs(),
            };
            self.end(live, next, EndReason::LifetimeReached, DAEMON, reason.to_string());
            self.trace.note(reason);
            return;
        }
        self.trace.note(Reason::LeaseCapped {
            expires_at,
            filtered_since,
            max_lifetime_seconds: lease::max_lifetime(self.policy, operator).as_secs(),
        });
        self.change(what, DAEMON, Some(live), next);
    }
}
