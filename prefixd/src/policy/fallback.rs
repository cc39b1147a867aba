//! Whether a neighbour without FlowSpec may get a blackhole route instead of the rules: `allow_rtbh` of a step.
//!
//! It finishes the attack for the attacked, so it needs everything that an rtbh step needs: a discard that the template
//! left standing, a vector that is known to be an attack, and a source (or a person) that may ask for it.

use super::playbooks::Step;
use super::reason::Reason;
use super::turn::Turn;
use prefixd_api::mitigation::Mitigation;
use prefixd_api::rule::{Action, Match, Rule};
use std::borrow::Cow;

impl Turn<'_> {
    /// Says on a mitigation what its step says of neighbours without FlowSpec, after its rules were made.
    pub(super) fn grant_rtbh(&mut self, next: &mut Mitigation, step: &Step) {
        next.allow_rtbh = false;
        if !step.allow_rtbh {
            return;
        }
        let granted = self.may_fall_back(next);
        next.allow_rtbh = granted.is_ok();
        self.trace.note(match granted {
            Ok(()) => Reason::RtbhAllowed {},
            Err(because) => Reason::RtbhNotAllowed { because },
        });
    }

    /// Whether it would be granted with these rules.
    pub(super) fn would_grant_rtbh(&self, mitigation: &Mitigation, rules: &[Rule], step: &Step) -> bool {
        let next = Mitigation {
            rules: rules.into(),
            ..mitigation.clone()
        };
        step.allow_rtbh && self.may_fall_back(&next).is_ok()
    }

    /// Whether a live mitigation has what its step, as it is configured now, does not give any more.
    pub(super) fn has_lost_rtbh(&self, live: &Mitigation) -> bool {
        let playbook = live.playbook.as_deref();
        let found = playbook.and_then(|name| self.policy.playbooks.named(name));
        let says = found
            .and_then(|playbook| playbook.step(live.step))
            .is_some_and(|step| step.allow_rtbh);
        live.allow_rtbh && !(says && self.may_fall_back(live).is_ok())
    }

    fn may_fall_back(&self, next: &Mitigation) -> Result<(), Cow<'static, str>> {
        if !next.rules.iter().any(|rule| rule.action == Action::Discard) {
            return Err("no rule of it discards".into());
        }
        if !self.policy.templates.get(&next.vector).may_blackhole() {
            return Err("this vector is never blackholed".into());
        }
        let blackhole = Rule::new(Match::destination(next.victim_ip.prefix()), Action::Rtbh);
        self.guard_sources(&[blackhole], &next.claims)
            .map_err(|refused| refused.to_string().into())
    }
}
