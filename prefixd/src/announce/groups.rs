//! Neighbours that take the same, and what is compiled for them.
//!
//! A mitigation is compiled once for each group, not once for each neighbour, and again only when its rules or the
//! configuration change.

use super::beside::{Come, Inside};
use super::few::Few;
use super::fit::{self, Context, Fitted, Form, Part, SharedRule, fit};
use super::plan::NeighborPlan;
use super::table::{Step, Table, Wanted};
use super::{Neighbor, OVERLAP, beside, compile as wire};
use crate::policy::{Policy, covers, is_pinned, is_same_but_ports};
use prefixd_api::control::{Stop, Stopped};
use prefixd_api::ids::MitigationId;
use prefixd_api::mitigation::{Mitigation, Severity};
use prefixd_api::rule::{Action, ActionType, Ranges, Rule};
use prefixd_api::time::Timestamp;
use prefixd_bgp::flowspec::NlriKey;
use prefixd_bgp::{Priority, Speaker};
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use tracing::warn;

/// Mitigations inside stricter rules that are looked at in a second: a look asks the speaker for each neighbour.
const LOOKED_AT_ONCE: usize = 500;

/// What becomes of one part of a mitigation that has changed, at a neighbour that is told nothing new.
enum Kept {
    /// The mitigation takes all of it as it is.
    Same,
    /// This rule of the mitigation does something milder with all that it takes, which goes under the same NLRI.
    Milder { of: usize, part: Part },
    /// The mitigation does not take it any more, or a guardrail refuses it.
    Nothing,
}

impl Kept {
    fn of(
        part: &Part,
        fresh: &Compiled,
        plan: &NeighborPlan,
        check: &dyn Fn(&Rule) -> Result<(), String>,
    ) -> Self {
        let covering = |rule: &&Rule| covers(&rule.matches, &part.rule.matches);
        let is_free = check(&part.rule).is_ok();
        let mut milder: Option<(usize, &Rule)> = None;
        for (of, (rule, fitted)) in fresh.rules.iter().zip(fresh.fitted.iter()).enumerate() {
            let decided = Some(rule).filter(|rule| check(rule).is_ok());
            let sent = fitted.parts.iter().map(|part| &*part.rule);
            for rule in decided.into_iter().chain(sent).filter(covering) {
                if is_free && takes_all_of(rule, &part.rule) {
                    return Self::Same;
                }
                let is_milder = !rule.action.is_stricter_than(part.rule.action);
                if is_milder && milder.is_none_or(|(_, other)| rule.action.is_stricter_than(other.action)) {
                    milder = Some((of, rule));
                }
            }
        }
        // A blackhole and a rule are in different tables: neither goes under the other's key.
        let is_rtbh = |rule: &Rule| rule.action == Action::Rtbh;
        let milder = milder.filter(|(_, rule)| is_rtbh(rule) == is_rtbh(&part.rule));
        let as_sent = milder.and_then(|(of, rule)| {
            let rule = Rule {
                matches: part.rule.matches.clone(),
                ..rule.clone()
            };
            fit::part(rule.into(), check, plan)
                .ok()
                .map(|part| Self::Milder { of, part })
        });
        as_sent.unwrap_or(Self::Nothing)
    }
}

/// What a mitigation is compiled and told by.
#[derive(Clone, Copy)]
pub(super) struct By<'a> {
    pub(super) policy: &'a Policy,
    pub(super) speaker: &'a Speaker,
    /// Whether what was kept back may come out: not while the breaker is tripped.
    pub(super) lets_out: bool,
}

/// Neighbours with one plan.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    pub(super) plan: NeighborPlan,
    pub(super) members: Vec<Arc<str>>,
    /// What they should hold.
    pub(super) table: Table,
    compiled: HashMap<MitigationId, Arc<Compiled>>,
    /// What stricter rules take as well, of the few mitigations that have such parts.
    inside: BTreeMap<MitigationId, Arc<[Inside]>>,
    /// Up to which of them was looked at last.
    looked_at: Option<MitigationId>,
    /// Of what is sent by now though it was kept back, until somebody asks: it is new to the routers.
    came_out: Vec<MitigationId>,
    /// Since when its one neighbour is told nothing new.
    held_since: Option<Timestamp>,
}

/// A mitigation for neighbours of one plan.
#[derive(Debug)]
pub(super) struct Compiled {
    rules: Arc<[Rule]>,
    allow_rtbh: bool,
    /// What they get of each of its rules.
    pub(super) fitted: Few<Fitted>,
}

/// The rules of a mitigation for neighbours of a plan.
pub(super) fn compile(mitigation: &Mitigation, policy: &Policy, plan: &NeighborPlan) -> Compiled {
    let (victim, rules) = (mitigation.victim_ip, &mitigation.rules);
    let check = |rule: &Rule| policy.check_rule(victim, rule);
    let discards = |rule: &Rule| rule.action == Action::Discard && check(rule).is_ok();
    let gives_up = mitigation.allow_rtbh && rules.iter().any(discards);
    let one = |index: usize| {
        let rule = SharedRule::of(rules, index);
        let others = rules
            .iter()
            .filter(|other| other.action != rule.action && is_same_but_ports(&other.matches, &rule.matches))
            .fold(Ranges::default(), |all, other| {
                all.union(&other.matches.dst_ports)
            });
        let context = Context {
            allowed: policy.allowed_ports(victim, &rule.matches.protocols),
            others,
            gives_up,
            check: &check,
        };
        fit(&rule, &context, plan)
    };
    Compiled {
        fitted: (0..rules.len()).map(one).collect(),
        rules: Arc::clone(rules),
        allow_rtbh: mitigation.allow_rtbh,
    }
}

/// Whether `rule` lets through no more of what `other` takes than `other` does.
fn takes_all_of(rule: &Rule, other: &Rule) -> bool {
    let at_least = rule.action == other.action || rule.action.is_stricter_than(other.action);
    at_least && covers(&rule.matches, &other.matches)
}

/// Where a router has no room for every rule, what an operator asked for goes first, then the more severe. Who has it last
/// longer asks for nothing new, and displaces nothing.
pub(super) fn priority(mitigation: &Mitigation) -> Priority {
    const OPERATOR: u8 = 8;
    let severity = match mitigation.severity {
        Severity::Low => 0,
        Severity::Medium => 1,
        Severity::High => 2,
        Severity::Critical => 3,
    };
    Priority::new(severity + if is_pinned(mitigation) { OPERATOR } else { 0 })
}

#[cfg(test)]
impl Compiled {
    /// One rule that is not sent.
    pub(super) fn refused(rule: Rule) -> Self {
        Self {
            rules: Arc::new([rule]),
            allow_rtbh: false,
            fitted: Few::One(Fitted {
                form: Form::Refused(Box::new(super::fit::Unfit::NoForm(String::new()))),
                parts: Few::default(),
                warning: None,
            }),
        }
    }
}

impl Compiled {
    /// Each rule as it was decided, for nobody's limits.
    pub(super) fn as_decided(rules: &Arc<[Rule]>) -> Self {
        let one = |index: usize| {
            let rule = SharedRule::of(rules, index);
            // What has no form was refused before it was stored.
            let canonical = wire::of(&rule).ok();
            let part = canonical.map(|canonical| Part {
                canonical: Arc::new(canonical),
                rule,
            });
            Fitted {
                form: Form::Exact,
                parts: part.into_iter().collect(),
                warning: None,
            }
        };
        Self {
            fitted: (0..rules.len()).map(one).collect(),
            rules: Arc::clone(rules),
            allow_rtbh: false,
        }
    }

    /// Whether this is what the mitigation wants now.
    pub(super) fn is_of(&self, mitigation: &Mitigation) -> bool {
        (Arc::ptr_eq(&self.rules, &mitigation.rules) || self.rules == mitigation.rules)
            && self.allow_rtbh == mitigation.allow_rtbh
    }

    /// What is left of it where nothing new may go, when that is another: of what the mitigation as it is now takes as well,
    /// and the guardrails still allow, nothing wider and nothing stricter than it was.
    fn left(
        &self,
        fresh: &Self,
        plan: &NeighborPlan,
        check: &dyn Fn(&Rule) -> Result<(), String>,
    ) -> Option<Self> {
        let kept: Vec<Kept> = self
            .parts()
            .map(|part| Kept::of(part, fresh, plan, check))
            .collect();
        // Split, each part would let the whole rate through; what was there before the hold takes no more than that.
        let rates = |index: usize| {
            let of_it = |kept: &&Kept| matches!(kept, Kept::Milder { of, part } if *of == index && part.rule.action.kind() == ActionType::Police);
            kept.iter().filter(of_it).count()
        };
        let what_is_left = |(part, kept): (&Part, &Kept)| match kept {
            Kept::Same => Some(part.clone()),
            Kept::Milder { of, .. } if rates(*of) > 1 => check(&part.rule).is_ok().then(|| part.clone()),
            Kept::Milder { part, .. } => Some(part.clone()),
            Kept::Nothing => None,
        };
        let mut left = self.parts().zip(&kept).map(what_is_left);
        let fitted: Few<Fitted> = self
            .fitted
            .iter()
            .map(|fitted| Fitted {
                parts: left.by_ref().take(fitted.parts.len()).flatten().collect(),
                ..fitted.clone()
            })
            .collect();
        (fitted != self.fitted).then(|| Self {
            // It is what no mitigation wants: whoever asks gets it compiled anew.
            rules: Arc::default(),
            allow_rtbh: self.allow_rtbh,
            fitted,
        })
    }

    /// Each of its rules, and what is sent of it.
    pub(super) fn each(&self) -> impl Iterator<Item = (&Rule, &Fitted)> {
        self.rules.iter().zip(self.fitted.iter())
    }

    /// Everything that is sent.
    pub(super) fn parts(&self) -> impl Iterator<Item = &Part> {
        self.fitted.iter().flat_map(|fitted| fitted.parts.iter())
    }

    /// The rule as it is sent under a key.
    pub(super) fn rule_of(&self, key: &NlriKey) -> Option<&Rule> {
        let part = self.parts().find(|part| part.canonical.key() == key)?;
        Some(&part.rule)
    }

    /// Whether every rule goes out.
    pub(super) fn is_whole(&self) -> bool {
        !self
            .fitted
            .iter()
            .any(|fitted| matches!(fitted.form, Form::Refused(_)))
    }

    /// One blackhole may stand for several rules.
    pub(super) fn wanted(&self, priority: Priority) -> Vec<Wanted> {
        let mut wanted: Vec<Wanted> = Vec::with_capacity(self.fitted.len());
        for part in self.parts() {
            // There are a handful.
            if wanted
                .iter()
                .all(|other| other.rule.key() != part.canonical.key())
            {
                wanted.push(Wanted {
                    rule: Arc::clone(&part.canonical),
                    action: part.rule.action,
                    sample: part.rule.sample,
                    priority,
                });
            }
        }
        wanted
    }
}

impl Group {
    /// The groups of these neighbours. What a group's neighbours should hold goes on where its plan does. One that a
    /// person holds is alone in its group, with what it had; one in panic is in none.
    pub(super) fn of(
        neighbors: &[Neighbor],
        stopped: &BTreeMap<Arc<str>, Arc<Stopped>>,
        mut before: Vec<Self>,
    ) -> Vec<Self> {
        let mut groups: Vec<Self> = Vec::new();
        // Before the tables that they share go on without them.
        for neighbor in neighbors.iter().filter(|neighbor| neighbor.enforce) {
            if let Some(held) = stopped
                .get(&neighbor.name)
                .filter(|held| held.state == Stop::Hold)
            {
                let old = before.iter().find(|group| group.members.contains(&neighbor.name));
                groups.push(Self {
                    plan: neighbor.plan.clone(),
                    members: vec![Arc::clone(&neighbor.name)],
                    held_since: Some(held.set_at),
                    ..old.cloned().unwrap_or_default()
                });
            }
        }
        before.retain(|group| group.held_since.is_none());
        let free = |neighbor: &&Neighbor| neighbor.enforce && !stopped.contains_key(&neighbor.name);
        for neighbor in neighbors.iter().filter(free) {
            let shares = |group: &Self| group.held_since.is_none() && group.plan == neighbor.plan;
            let index = groups.iter().position(shares).unwrap_or_else(|| {
                let old = before.iter().position(shares);
                groups.push(Self {
                    plan: neighbor.plan.clone(),
                    members: Vec::new(),
                    ..old.map(|old| before.swap_remove(old)).unwrap_or_default()
                });
                groups.len() - 1
            });
            groups[index].members.push(Arc::clone(&neighbor.name));
        }
        groups
    }

    /// The mitigation wants its rules here until `end`, beside others of its victim.
    pub(super) fn set(
        &mut self,
        mitigation: &Mitigation,
        beside: &[&Arc<Mitigation>],
        by: By<'_>,
        end: Timestamp,
        now: Timestamp,
    ) -> Vec<Step> {
        let policy = by.policy;
        let id = mitigation.mitigation_id;
        let is_kept = |compiled: &&Arc<Compiled>| self.held_since.is_some() || compiled.is_of(mitigation);
        let compiled = match self.compiled.get(&id).filter(is_kept) {
            // What is taken back goes also there. Looked at each time, as the guardrails may have changed.
            Some(kept) if self.held_since.is_some() => {
                let fresh = compile(mitigation, policy, &self.plan);
                let check = |rule: &Rule| policy.check_rule(mitigation.victim_ip, rule);
                let left = kept
                    .left(&fresh, &self.plan, &check)
                    .map_or_else(|| Arc::clone(kept), Arc::new);
                self.compiled.insert(id, Arc::clone(&left));
                left
            }
            Some(compiled) => Arc::clone(compiled),
            // After a restart it gets what was there before it was held.
            None if self.held_since.is_some_and(|since| mitigation.begun_at() > since) => return Vec::new(),
            None => {
                let compiled = Arc::new(compile(mitigation, policy, &self.plan));
                self.say_what_differs(id, &compiled);
                self.compiled.insert(id, Arc::clone(&compiled));
                compiled
            }
        };
        let overlap_until = now.saturating_add(OVERLAP);
        let mut wanted = compiled.wanted(priority(mitigation));
        self.keep_back(id, &compiled, beside, by, priority(mitigation), &mut wanted);
        self.table.set(id, &wanted, end, overlap_until)
    }

    /// Takes out of what is wanted what a stricter rule takes as well.
    fn keep_back(
        &mut self,
        id: MitigationId,
        compiled: &Arc<Compiled>,
        beside: &[&Arc<Mitigation>],
        by: By<'_>,
        priority: Priority,
        wanted: &mut Vec<Wanted>,
    ) {
        let before = self.inside.remove(&id);
        if self.held_since.is_some()
            && let Some(has) = self.table.wanted_by(id)
        {
            // Nothing comes out in place of what ends, and nothing goes for what others do there.
            wanted.retain(|one| has.contains(one.rule.key()));
            let goes_on = |one: &&Inside| beside.iter().any(|other| other.mitigation_id == one.by);
            let before = before.iter().flat_map(|all| all.iter());
            let inside: Vec<Inside> = before.filter(goes_on).cloned().collect();
            if !inside.is_empty() {
                self.inside.insert(id, inside.into());
            }
            return;
        }
        let unsent = || {
            before
                .iter()
                .flat_map(|all| all.iter())
                .filter(|one| !one.is_sent)
        };
        if beside.is_empty() && unsent().next().is_none() {
            return;
        }
        for other in beside {
            if self.held_since.is_none() && !self.is_compiled(other) {
                let compiled = Arc::new(compile(other, by.policy, &self.plan));
                self.say_what_differs(other.mitigation_id, &compiled);
                self.compiled.insert(other.mitigation_id, compiled);
            }
        }
        let others = beside.iter().map(|other| other.mitigation_id);
        let others = others.filter_map(|other| Some((other, self.compiled.get(&other)?)));
        let come = |_, key: &NlriKey| Come::of(by.speaker, &self.members, key);
        let all = beside::all(std::iter::once((id, compiled)).chain(others), come);
        let has_place = |at: &str, part: &Part| beside::has_place(by.speaker, at, part, priority);
        let has = self.table.keys_of(id);
        let mut inside = beside::insides(compiled, &all, |key| has.contains(key), priority, &has_place);
        let is_kept =
            |inside: &[Inside], key: &NlriKey| inside.iter().any(|one| !one.is_sent && one.key == *key);
        wanted.retain(|one| !is_kept(&inside, one.rule.key()));
        // What comes out now has not been on the routers, or not lately.
        let comes_out = |one: &&Inside| {
            !has.contains(&one.key) && wanted.iter().any(|wanted| *wanted.rule.key() == one.key)
        };
        let out: Vec<Inside> = unsent().filter(comes_out).cloned().collect();
        if !out.is_empty() && by.lets_out {
            self.came_out.push(id);
        } else if !out.is_empty() {
            wanted.retain(|one| !is_kept(&out, one.rule.key()));
            inside.retain(|one| !is_kept(&out, &one.key));
            inside.extend(out.into_iter().map(Inside::after));
        }
        if !inside.is_empty() {
            self.inside.insert(id, inside.into());
        }
    }

    /// The next of those inside a stricter rule, where that rule is there by now, or is kept from a router by now.
    pub(super) fn next_due(&mut self, speaker: &Speaker) -> Vec<MitigationId> {
        if self.inside.is_empty() || self.held_since.is_some() {
            return Vec::new();
        }
        let from = self.looked_at.map_or(Bound::Unbounded, Bound::Excluded);
        let come = |key: &NlriKey| Come::of(speaker, &self.members, key);
        let (mut seen, mut last, mut due) = (0, None, Vec::new());
        for (id, inside) in self.inside.range((from, Bound::Unbounded)).take(LOOKED_AT_ONCE) {
            (seen, last) = (seen + 1, Some(*id));
            let is_due = |one: &Inside| {
                let compiled = self.compiled.get(id);
                let part = compiled
                    .and_then(|compiled| compiled.parts().find(|part| *part.canonical.key() == one.key));
                one.is_due(come, |at| {
                    part.is_some_and(|part| beside::has_place(speaker, at, part, one.priority))
                })
            };
            if inside.iter().any(is_due) {
                due.push(*id);
            }
        }
        self.looked_at = last.filter(|_| seen == LOOKED_AT_ONCE);
        due
    }

    /// What came out since this was asked last.
    pub(super) fn take_came_out(&mut self) -> Vec<MitigationId> {
        std::mem::take(&mut self.came_out)
    }

    /// What of a mitigation a stricter rule takes as well.
    pub(super) fn inside(&self, id: MitigationId) -> Option<&Arc<[Inside]>> {
        self.inside.get(&id)
    }

    /// Whether it is known here as it is now, so that nothing beside it may stand otherwise than before.
    pub(super) fn is_known(&self, mitigation: &Mitigation) -> bool {
        // A neighbour that is held has what it had.
        self.held_since.is_some() || self.is_compiled(mitigation)
    }

    /// Whether all that it wants here is in the table, by itself.
    pub(super) fn stands(&self, mitigation: &Mitigation) -> bool {
        let id = mitigation.mitigation_id;
        let compiled = self.compiled.get(&id).filter(|_| self.held_since.is_none());
        compiled.is_some_and(|compiled| {
            let mut keys = compiled.parts().map(|part| part.canonical.key());
            compiled.is_of(mitigation)
                && !self.inside.contains_key(&id)
                && keys.all(|key| self.table.has(id, key))
        })
    }

    /// Whether what is compiled of it here is what it wants now.
    fn is_compiled(&self, mitigation: &Mitigation) -> bool {
        let compiled = self.compiled.get(&mitigation.mitigation_id);
        compiled.is_some_and(|compiled| compiled.is_of(mitigation))
    }

    /// The keys that a neighbour should hold for a mitigation: its own, and those of stricter rules that take what is kept back.
    pub(super) fn keys_for(&self, id: MitigationId) -> Vec<NlriKey> {
        let own = self.table.keys_of(id).iter();
        let inside = self.inside.get(&id).into_iter().flat_map(|all| all.iter());
        let kept = inside.filter(|one| !one.is_sent);
        let instead = kept.flat_map(|one| one.instead.iter());
        own.chain(instead).cloned().collect()
    }

    pub(super) fn remove(&mut self, id: MitigationId) -> Vec<Step> {
        self.compiled.remove(&id);
        self.inside.remove(&id);
        self.table.remove(id)
    }

    /// The configuration changed, and with it perhaps the guardrails: everything is compiled again. Not where nothing new
    /// may go: what is there is looked at again with its mitigation.
    pub(super) fn forget_compiled(&mut self) {
        if self.held_since.is_none() {
            self.compiled.clear();
        }
    }

    pub(super) fn compiled(&self, id: MitigationId) -> Option<&Arc<Compiled>> {
        self.compiled.get(&id)
    }

    /// What the rules of all mitigations are here.
    pub(super) fn fitted(&self) -> impl Iterator<Item = &Fitted> {
        self.compiled.values().flat_map(|compiled| compiled.fitted.iter())
    }

    /// The same, and of which mitigation each is.
    pub(super) fn fitted_of(&self) -> impl Iterator<Item = (MitigationId, &Fitted)> {
        self.compiled
            .iter()
            .flat_map(|(id, compiled)| compiled.fitted.iter().map(move |fitted| (*id, fitted)))
    }

    fn say_what_differs(&self, id: MitigationId, compiled: &Compiled) {
        for (rule, fitted) in compiled.rules.iter().zip(compiled.fitted.iter()) {
            match &fitted.form {
                Form::Refused(unfit) => {
                    warn!(mitigation = %id, %rule, neighbors = ?self.members, why = %unfit, "this rule is not sent to these neighbours");
                }
                Form::Rtbh(lacks) => {
                    warn!(mitigation = %id, %rule, neighbors = ?self.members, %lacks, "these neighbours get a blackhole route instead of this rule");
                }
                Form::Exact | Form::Split | Form::Widened => {}
            }
        }
    }
}
