//! An operator has a mitigation last longer. It adds no rule, so neither hold nor breaker keeps it from that. Nor does it ask
//! for what the mitigation does: where those who are left to hold it may not either, it goes back a step, as by a report.

use super::claims;
use super::command::ExtendCommand;
use super::effect::{Decision, MitigationEvent, Outcome};
use super::lease;
use super::reason::Reason;
use super::step_back::AskedBySources;
use super::turn::{Turn, refused, refused_with};
use prefixd_api::mitigation::{Mitigation, MitigationStatus};
use prefixd_api::problem::Code;
use std::sync::Arc;

impl Turn<'_> {
    pub(super) fn extend(mut self, command: &ExtendCommand) -> Decision {
        let live = match self.named(command.mitigation, command.expected_revision) {
            Ok(live) => live,
            Err(problem) => return refused(*problem),
        };
        if live.status == MitigationStatus::Pending {
            let detail = format!(
                "{} is pending: nothing is announced that could last longer. To mitigate now, create it with replace: true",
                live.mitigation_id
            );
            return refused_with(Code::ConflictPending, detail);
        }
        self.trace.note(Reason::OperatorAsked {
            actor: command.actor.clone(),
            reason: command.reason.clone(),
        });
        let next = match self.try_extend(command, live) {
            Ok(next) => next,
            Err(reason) => return self.refuse(reason),
        };
        let goes_back = next.step != live.step;
        let what = if goes_back {
            MitigationEvent::Deescalated
        } else {
            MitigationEvent::Updated
        };
        let after = self.change_by_operator(what, &command.actor, &command.reason, live, next);
        if goes_back {
            self.settle(Outcome::Changed(after), "extended")
        } else {
            self.done(Outcome::Changed(after))
        }
    }

    /// The operator claims it until then: a hold-down that runs is over, and no unban ends it. What it does stays as its
    /// claims and its playbook say.
    fn try_extend(&mut self, command: &ExtendCommand, live: &Arc<Mitigation>) -> Result<Mitigation, Reason> {
        if let Some((reason, _)) = self.judged(live) {
            return Err(reason);
        }
        self.guard_ttl(command.ttl, true)?;
        let group = self.state.group(&live.scope());
        let since = group
            .and_then(|group| group.filtered_since)
            .unwrap_or(live.created_at);
        let mut next = match group {
            Some(group) => self.touched(live, group),
            None => Mitigation::clone(live),
        };
        if !lease::is_pinned(&next) {
            let until = self.now.saturating_add(command.ttl);
            next.claims = claims::with_operators(&next.claims, self.now, Some(until));
        }
        if lease::lifetime_end(self.policy, since, true) <= self.now {
            return Err(Reason::LifetimeReached {
                filtered_since: since,
                max_lifetime_seconds: lease::max_lifetime(self.policy, true).as_secs(),
            });
        }
        next.ending_since = None;
        next.ends_at = None;
        let owner = self.policy.inventory.owner(live.victim_ip);
        match self.bring_to_what_sources_ask(&mut next, owner) {
            AskedBySources::AsItIs => {}
            AskedBySources::Waits(reason) => self.trace.note(reason),
            AskedBySources::StepBack(reason) => {
                next.severity = self.severity(&next, owner);
                next.why_summary = reason.to_string().into();
                self.trace.note(reason);
            }
            AskedBySources::NoStep(reason) => return Err(reason),
        }
        let granted = lease::extend(self.policy, &mut next, since, self.now, command.ttl);
        self.trace.note(granted);
        Ok(next)
    }
}
