//! An operator changes what a live mitigation does: action, rate, match, lease. What is not named stays as it is.
//!
//! It stays one mitigation with one lease, so the new rules are announced before the old ones are withdrawn, as with every
//! changed match: there is no moment without a rule.

use super::claims;
use super::command::AdjustCommand;
use super::effect::{Decision, MitigationEvent, Outcome};
use super::inventory::Owner;
use super::lease;
use super::plan::{is_changed, set_rules, texts};
use super::reason::Reason;
use super::turn::{Turn, refused, refused_with};
use super::widen::is_same_but_ports;
use prefixd_api::mitigation::{Mitigation, MitigationStatus};
use prefixd_api::operation::AdjustRequest;
use prefixd_api::problem::Code;
use prefixd_api::rate::BitsPerSecond;
use prefixd_api::rule::{Action, ActionError, ActionType, Match, MatchRequest, Ranges, Rule, protocol};
use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;

impl Turn<'_> {
    pub(super) fn adjust(mut self, command: &AdjustCommand) -> Decision {
        let request = &command.request;
        let live = match self.named(command.mitigation, request.expected_revision) {
            Ok(live) => live,
            Err(problem) => return refused(*problem),
        };
        if live.status == MitigationStatus::Pending {
            let detail = format!(
                "{} is pending: nothing is announced that could be adjusted. To mitigate now, create it with replace: true",
                live.mitigation_id
            );
            return refused_with(Code::ConflictPending, detail);
        }
        self.trace.note(Reason::OperatorAsked {
            actor: command.actor.clone(),
            reason: request.reason.clone(),
        });
        match self.try_adjust(command, live) {
            Ok(next) => {
                let (what, actor) = (MitigationEvent::Updated, &command.actor);
                let after = self.change_by_operator(what, actor, &request.reason, live, next);
                self.settle(Outcome::Changed(after), "adjusted")
            }
            Err(reason) => self.refuse(reason),
        }
    }

    fn try_adjust(&mut self, command: &AdjustCommand, live: &Arc<Mitigation>) -> Result<Mitigation, Reason> {
        let request = &command.request;
        if let Some((reason, _)) = self.judged(live) {
            return Err(reason);
        }
        let owner = self.policy.inventory.owner(live.victim_ip);
        let group = self.state.group(&live.scope());
        let mut next = group.map_or_else(|| Mitigation::clone(live), |group| self.touched(live, group));
        // The operator says what it does: from now on neither its reports nor its playbook do.
        next.claims = claims::with_operators(&next.claims, self.now, None);
        next.ending_since = None;
        next.ends_at = None;
        self.stays_on_trial(&next, owner)?;
        let rules = self.adjusted(live, request)?;
        if live.carpet.is_some()
            && let Some(harsh) = rules.iter().find(|rule| rule.action.is_harsh())
        {
            return Err(Reason::Impossible {
                rule: harsh.to_string(),
                because: "it is about addresses that nobody reported, too; create it for each address that is to lose its traffic"
                    .into(),
            });
        }
        self.guard_vector(&live.vector, &rules)?;
        let within = self.guard_rules(&rules, owner)?;
        self.trace.note(within);
        if !request.names_dst_ports() {
            // Nobody named the ports, so nobody asked for the service's own.
            let is_new = |rule: &&Rule| !live.rules.contains(rule);
            let new: Vec<Rule> = rules.iter().filter(is_new).cloned().collect();
            self.guard_allowed(&new, owner)?;
        }
        if rules[..] != live.rules[..] {
            self.trace.note(Reason::Adjusted {
                was: texts(&live.rules),
            });
            self.trace.note(Reason::Rules { rules: texts(&rules) });
            // Who says what is to be dropped does not mean the whole address.
            next.allow_rtbh = false;
            set_rules(&mut next, rules);
        }
        if is_changed(live, &next) {
            self.guard_announcing(live.enforced, live.customer_id.as_deref())?;
        }
        if let Some(ttl) = request.ttl_seconds {
            let since = group.and_then(|group| group.filtered_since);
            let granted = self.lease_again(&mut next, since.unwrap_or(live.created_at), ttl)?;
            self.trace.note(granted);
        }
        next.severity = self.severity(&next, owner);
        next.why_summary = format!(
            "{} adjusted it ({}): {}",
            command.actor,
            request.reason,
            texts(&next.rules).join("; ")
        )
        .into();
        Ok(next)
    }

    /// The mode is fixed at birth: what only a source on trial asked for does not reach routers because a person looked at
    /// it.
    fn stays_on_trial(&self, next: &Mitigation, owner: Option<Owner<'_>>) -> Result<(), Reason> {
        if next.enforced || self.policy.trial_of(next, owner).is_some() {
            return Ok(());
        }
        Err(Reason::Impossible {
            rule: format!(
                "an enforced rule of the dry-run mitigation {}",
                next.mitigation_id
            ),
            because:
                "the mode is fixed when it is made; create it with replace: true, which makes an enforced one"
                    .into(),
        })
    }

    /// The operator's lease counts from now, also when that is shorter.
    fn lease_again(
        &self,
        next: &mut Mitigation,
        filtered_since: prefixd_api::time::Timestamp,
        ttl_seconds: u32,
    ) -> Result<Reason, Reason> {
        let ttl = Duration::from_secs(ttl_seconds.into());
        self.guard_ttl(ttl, true)?;
        if lease::lifetime_end(self.policy, filtered_since, true) <= self.now {
            return Err(Reason::LifetimeReached {
                filtered_since,
                max_lifetime_seconds: lease::max_lifetime(self.policy, true).as_secs(),
            });
        }
        next.ttl_seconds = ttl_seconds;
        next.expires_at = self.now;
        Ok(lease::extend(self.policy, next, filtered_since, self.now, ttl))
    }

    /// The rules of the mitigation with what the request changes of them.
    fn adjusted(&self, live: &Mitigation, request: &AdjustRequest) -> Result<Vec<Rule>, Reason> {
        let mut rules = live.rules.to_vec();
        if request.names_match() {
            rules = rematched(&rules, live, request)?;
        }
        if let Some(action) = self.asked_action(live, request)? {
            rules = if action == Action::Rtbh {
                self.blackhole(live.victim_ip, &live.vector)?
            } else {
                with_action(rules, action)
            };
        }
        if let Some(sample) = request.sample {
            for rule in &mut rules {
                rule.sample = sample;
            }
        }
        Ok(rules)
    }

    /// The action that is asked for. A police action without a rate has the one that it has already, or its playbook's.
    fn asked_action(&self, live: &Mitigation, request: &AdjustRequest) -> Result<Option<Action>, Reason> {
        let Some(fields) = request.action() else {
            return Ok(None);
        };
        match Action::try_from(fields) {
            Ok(action) => Ok(Some(action)),
            Err(ActionError::Missing { .. }) if fields.action_type == ActionType::Police => {
                let own = live
                    .rules
                    .iter()
                    .find(|rule| rule.action.kind() == ActionType::Police);
                let action = own.map(|rule| rule.action).or_else(|| {
                    let rate_bps = self.playbook_rate(live)?;
                    Some(Action::Police { rate_bps })
                });
                action.map(Some).ok_or_else(|| Reason::RequestIncomplete {
                    missing: vec!["rate_bps".to_owned()],
                })
            }
            Err(ActionError::Missing { field, .. } | ActionError::Foreign { field, .. }) => {
                Err(Reason::RequestIncomplete {
                    missing: vec![field.to_owned()],
                })
            }
        }
    }

    fn playbook_rate(&self, live: &Mitigation) -> Option<BitsPerSecond> {
        let playbook = self.policy.playbooks.named(live.playbook.as_deref()?)?;
        Some(playbook.step(live.step)?.police_rate)
    }
}

/// A companion takes the fragments of what the others take by ports.
fn is_companion(rule: &Rule, rules: &[Rule]) -> bool {
    rule.matches.fragment.is_some() && rules.iter().any(|other| other.matches.fragment.is_none())
}

/// One rule on what the request matches, which does what the strictest did, in place of all but the companions.
fn rematched(rules: &[Rule], live: &Mitigation, request: &AdjustRequest) -> Result<Vec<Rule>, Reason> {
    let stricter = |a: &&Rule, b: &&Rule| match (
        a.action.is_stricter_than(b.action),
        b.action.is_stricter_than(a.action),
    ) {
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        _ => Ordering::Equal,
    };
    let main = rules
        .iter()
        .filter(|rule| !is_companion(rule, rules))
        .min_by(stricter);
    let Some(main) = main else {
        return Err(Reason::Impossible {
            rule: format!("another match of {}", live.mitigation_id),
            because: "it has no rule that could match something else".into(),
        });
    };
    if let Some(matches) = &request.matches {
        let matches = MatchRequest::clone(matches).on(live.victim_ip.prefix());
        return Ok(vec![Rule {
            matches,
            ..main.clone()
        }]);
    }
    let mut matches = Match::clone(&main.matches);
    if let Some(protocol) = request.protocol {
        matches.protocols = [protocol].into();
    }
    if let Some(ports) = &request.dst_ports {
        matches.dst_ports = ports.clone().or_any();
    }
    if let Some(ports) = &request.src_ports {
        matches.src_ports = ports.clone().or_any();
    }
    // Fragments of another protocol are none of its traffic.
    let keeps_companions = matches.protocols.contains(&protocol::UDP) || matches.protocols.is_empty();
    let companions = rules
        .iter()
        .filter(|rule| keeps_companions && is_companion(rule, rules));
    let first = Rule {
        matches,
        ..main.clone()
    };
    Ok(std::iter::once(first).chain(companions.cloned()).collect())
}

/// The same rules doing this. A companion of a harsh rule stays as it is, because fragments are of everything. Ports of several
/// rules come into one, or each would let the whole rate through.
fn with_action(rules: Vec<Rule>, action: Action) -> Vec<Rule> {
    let is_blackhole = |rule: &Rule| rule.action == Action::Rtbh;
    let has_others = !rules.iter().all(is_blackhole);
    let mut changed: Vec<Rule> = Vec::with_capacity(rules.len());
    for rule in rules.iter().filter(|rule| !(has_others && is_blackhole(rule))) {
        let stays = is_companion(rule, &rules) && action.is_harsh() && !rule.action.is_stricter_than(action);
        let rule = if stays {
            rule.clone()
        } else {
            Rule {
                action,
                ..rule.clone()
            }
        };
        let is_alike = |known: &Rule| {
            known.action == rule.action
                && known.action.kind() == ActionType::Police
                && is_same_but_ports(&known.matches, &rule.matches)
        };
        if let Some(known) = changed.iter_mut().find(|known| is_alike(known)) {
            let all: Ranges = known.matches.dst_ports.union(&rule.matches.dst_ports);
            known.matches.dst_ports = all.or_any();
        } else if !changed.contains(&rule) {
            changed.push(rule);
        }
    }
    changed
}
