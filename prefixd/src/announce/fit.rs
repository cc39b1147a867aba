//! One rule for one neighbour: as it is, in parts, wider, or not at all.
//!
//! A discard, a redirect and a mark are split when one rule cannot hold them: they match what was decided and nothing
//! else. A police rule is never split, because each part would let the whole rate through; it is widened, on ports and
//! lengths alone. Widening is the one place where prefixd matches more than was decided, so it may never reach a port
//! of the victim's services that the rule did not reach before, and every part passes the guardrails again.
//!
//! A blackhole is for a neighbour that can be told nothing else, where the step allows it. What does not fit a neighbour
//! that has FlowSpec is never exchanged for one: it would drop what nobody decided to drop.

mod lists;
#[cfg(test)]
mod tests;

use super::compile;
use super::few::Few;
use super::plan::{MAX_PARTS, NeighborPlan, Verdict, What, inabilities};
use crate::policy::{join, split};
use lists::List;
use prefixd_api::name::Name;
use prefixd_api::rule::{Action, ActionType, Match, Ranges, Rule};
use prefixd_bgp::flowspec::{CanonicalRule, Family};
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// What fitting a rule depends on besides the rule and the neighbour.
pub(super) struct Context<'a> {
    /// Ports of the services at the victim, for the protocols of the rule.
    pub(super) allowed: Ranges,
    /// Destination ports of rules beside this one that do something else with them: ports are not joined over them,
    /// because of two rules that differ in ports alone a router takes the one that is encoded lower.
    pub(super) others: Ranges,
    /// Whether the mitigation may become a blackhole: its step allows it, and one of its rules discards.
    pub(super) gives_up: bool,
    /// The guardrails.
    pub(super) check: &'a dyn Fn(&Rule) -> Result<(), String>,
}

/// What a rule is at a neighbour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fitted {
    pub(super) form: Form,
    /// What is sent; nothing when it is refused.
    pub(super) parts: Few<Part>,
    /// What people should know of it although it is sent.
    pub(super) warning: Option<Name>,
}

/// A rule as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) rule: SharedRule,
    pub(super) canonical: Arc<CanonicalRule>,
}

/// A rule that was decided, or one made of it. What is sent is what was decided most of the time, of a hundred thousand
/// mitigations: it is not copied.
#[derive(Clone)]
pub(super) struct SharedRule {
    rules: Arc<[Rule]>,
    index: usize,
}

impl SharedRule {
    /// One of the rules of a mitigation.
    pub(super) fn of(rules: &Arc<[Rule]>, index: usize) -> Self {
        assert!(index < rules.len(), "there is no rule {index}");
        Self {
            rules: Arc::clone(rules),
            index,
        }
    }
}

impl From<Rule> for SharedRule {
    fn from(rule: Rule) -> Self {
        Self {
            rules: Arc::new([rule]),
            index: 0,
        }
    }
}

impl Deref for SharedRule {
    type Target = Rule;

    fn deref(&self) -> &Rule {
        &self.rules[self.index]
    }
}

impl PartialEq for SharedRule {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for SharedRule {}

impl fmt::Display for SharedRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&**self, f)
    }
}

impl fmt::Debug for SharedRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

/// How what is sent relates to what was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// It is the same.
    Exact,
    /// The parts together are.
    Split,
    /// It matches more.
    Widened,
    /// The neighbour lacks this family, and drops all traffic to the address instead.
    Rtbh(Family),
    /// Nothing is sent.
    Refused(Box<Unfit>),
}

/// A hundred thousand mitigations have one each for every kind of neighbour.
const _: () = assert!(size_of::<Fitted>() <= 56);

/// One list of a police rule that holds more than was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Widening {
    list: List,
    from: Ranges,
    /// Absent: it is left out, so that any value matches.
    to: Option<Ranges>,
}

/// Why a neighbour gets nothing of a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    #[error("the neighbour is not configured for {0}")]
    Family(Family),
    #[error("a rule with {what} is not sent to a neighbour of this profile: {says}")]
    Unable { what: What, says: &'static str },
    #[error("the rule has no valid FlowSpec form: {0}")]
    NoForm(String),
    #[error("a guardrail refuses it: {0}")]
    Guardrail(String),
    #[error("the {component} component needs {needs} operators, the neighbour takes {limit}{}", because(.remedy))]
    Operators {
        component: &'static str,
        needs: usize,
        limit: usize,
        remedy: Remedy,
    },
    #[error("the rule needs {needs} bytes, the neighbour takes {limit}{}", because(.remedy))]
    Bytes {
        needs: usize,
        limit: usize,
        remedy: Remedy,
    },
}

/// Why neither splitting nor widening helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// No list of the rule can be split or widened.
    None,
    /// It would become too many rules.
    TooManyParts { needs: usize },
    /// It would reach the service's own ports.
    Service,
}

fn because(remedy: &Remedy) -> String {
    match remedy {
        Remedy::None => String::new(),
        Remedy::TooManyParts { needs } => {
            format!("; it would take {needs} rules, and one may become {MAX_PARTS}")
        }
        Remedy::Service => {
            "; wider, it would reach ports of the service, so ask for fewer ports or for ranges".to_owned()
        }
    }
}

/// What a neighbour gets of a rule.
pub(super) fn fit(rule: &SharedRule, context: &Context<'_>, plan: &NeighborPlan) -> Fitted {
    match try_fit(rule, context, plan) {
        Ok((form, parts, wider)) => {
            let warning = warning(&form, &wider, rule, plan);
            Fitted {
                form,
                parts: parts.into_iter().collect(),
                warning,
            }
        }
        Err(unfit) => Fitted {
            form: Form::Refused(Box::new(unfit)),
            parts: Few::default(),
            warning: None,
        },
    }
}

/// A form, what is sent, and the lists of it that hold more than was decided.
type Sent = (Form, Vec<Part>, Vec<Widening>);

fn try_fit(rule: &SharedRule, context: &Context<'_>, plan: &NeighborPlan) -> Result<Sent, Unfit> {
    if context.gives_up
        && rule.action != Action::Rtbh
        && let Some(family) = plan.lacks_flowspec(rule.matches.dst_prefix)
    {
        // A rule that may not be sent anywhere is no reason to give the address up.
        (context.check)(rule).map_err(Unfit::Guardrail)?;
        let blackhole = Rule::new(Match::destination(rule.matches.dst_prefix), Action::Rtbh);
        return Ok((
            Form::Rtbh(family),
            vec![part(blackhole.into(), context.check, plan)?],
            Vec::new(),
        ));
    }
    match part(SharedRule::clone(rule), context.check, plan) {
        Ok(part) => Ok((Form::Exact, vec![part], Vec::new())),
        Err(unfit @ (Unfit::Operators { .. } | Unfit::Bytes { .. })) => {
            if rule.action.kind() == ActionType::Police {
                widened(rule, unfit, context, plan)
            } else {
                let parts = in_parts(rule, unfit, context, plan)?;
                Ok((Form::Split, parts, Vec::new()))
            }
        }
        Err(unfit) => Err(unfit),
    }
}

/// The rule as one NLRI, if that may go to the neighbour.
pub(super) fn part(
    rule: SharedRule,
    check: &dyn Fn(&Rule) -> Result<(), String>,
    plan: &NeighborPlan,
) -> Result<Part, Unfit> {
    check(&rule).map_err(Unfit::Guardrail)?;
    for one in inabilities(plan.profile) {
        if one.verdict == Verdict::Refused && one.what.concerns(&rule) {
            return Err(Unfit::Unable {
                what: one.what,
                says: one.says,
            });
        }
    }
    compile::action(rule.action, rule.sample).map_err(|error| Unfit::NoForm(error.to_string()))?;
    let canonical = compile::of(&rule).map_err(|error| Unfit::NoForm(error.to_string()))?;
    if !plan.families.contains(&canonical.family()) {
        return Err(Unfit::Family(canonical.family()));
    }
    let limits = plan.limits;
    let (component, needs) = canonical.widest_component();
    if needs > limits.operators_per_component {
        return Err(Unfit::Operators {
            component,
            needs,
            limit: limits.operators_per_component,
            remedy: Remedy::None,
        });
    }
    let needs = canonical.key().component_bytes();
    if needs > limits.nlri_bytes {
        return Err(Unfit::Bytes {
            needs,
            limit: limits.nlri_bytes,
            remedy: Remedy::None,
        });
    }
    Ok(Part {
        rule,
        canonical: Arc::new(canonical),
    })
}

impl Unfit {
    fn with(self, remedy: Remedy) -> Self {
        match self {
            Self::Operators {
                component,
                needs,
                limit,
                ..
            } => Self::Operators {
                component,
                needs,
                limit,
                remedy,
            },
            Self::Bytes { needs, limit, .. } => Self::Bytes { needs, limit, remedy },
            other => other,
        }
    }
}

/// The list to make smaller: the one over the bound, or the longest when all of them together are. None when another
/// component is over.
fn longest(rule: &Rule, unfit: &Unfit) -> Option<List> {
    let lists = List::ALL.into_iter().filter(|list| match unfit {
        Unfit::Operators { component, .. } => list.component() == *component,
        _ => true,
    });
    lists
        .max_by_key(|list| list.of(&rule.matches).operators())
        .filter(|list| !list.of(&rule.matches).is_empty())
}

/// The rule as several whose matches are together exactly its own, and disjoint but where a list names either side's
/// ports. One list is split; where two are too
/// long, no single one helps.
fn in_parts(
    rule: &Rule,
    unfit: Unfit,
    context: &Context<'_>,
    plan: &NeighborPlan,
) -> Result<Vec<Part>, Unfit> {
    let Some(list) = longest(rule, &unfit) else {
        return Err(unfit);
    };
    let whole = list.of(&rule.matches);
    let most = plan
        .limits
        .operators_per_component
        .min(whole.operators().saturating_sub(1));
    // Fewer operators in each where the bytes are what is short.
    for operators in (1..=most).rev() {
        let pieces = split(&whole, operators);
        if pieces.len() > MAX_PARTS {
            let needs = pieces.len();
            return Err(unfit.with(Remedy::TooManyParts { needs }));
        }
        if pieces.is_empty() {
            break;
        }
        let parts = pieces.into_iter().map(|piece| {
            let matches = list.replaced(&rule.matches, piece);
            part(
                Rule {
                    matches,
                    ..rule.clone()
                }
                .into(),
                context.check,
                plan,
            )
        });
        match parts.collect() {
            Err(Unfit::Bytes { .. }) => {}
            settled => return settled,
        }
    }
    Err(unfit)
}

/// A police rule on wider lists. Each round takes operators from one list, so it ends.
fn widened(rule: &Rule, unfit: Unfit, context: &Context<'_>, plan: &NeighborPlan) -> Result<Sent, Unfit> {
    let (mut wider, mut why) = (rule.clone(), unfit);
    loop {
        let list = longest(&wider, &why).filter(|list| list.widens());
        let Some(list) = list else {
            return Err(why);
        };
        let from = list.of(&wider.matches);
        let bound = plan
            .limits
            .operators_per_component
            .min(from.operators().saturating_sub(1));
        let to = match wider_list(rule, list, &from, bound, context) {
            Wider::Joined(ranges) => ranges,
            Wider::Any if matches!(why, Unfit::Operators { .. }) => Ranges::default(),
            // The bytes of one or two operators are no reason to match whatever there is.
            Wider::Any => return Err(why),
            Wider::Service => return Err(why.with(Remedy::Service)),
        };
        wider.matches = list.replaced(&wider.matches, to);
        match part(wider.clone().into(), context.check, plan) {
            Ok(part) => {
                let changed = List::ALL.into_iter().filter_map(|list| {
                    let (from, to) = (list.of(&rule.matches), list.of(&part.rule.matches));
                    (from != to).then(|| Widening {
                        list,
                        from,
                        to: Some(to).filter(|to| !to.is_empty()),
                    })
                });
                let changed = changed.collect();
                return Ok((Form::Widened, vec![part], changed));
            }
            Err(next @ (Unfit::Operators { .. } | Unfit::Bytes { .. })) => why = next,
            Err(unfit) => return Err(unfit),
        }
    }
}

/// What becomes of a list that must have fewer operators.
enum Wider {
    /// Gaps are closed.
    Joined(Ranges),
    /// No ranges are few enough: any value.
    Any,
    /// It would reach a port of the service that the rule does not reach.
    Service,
}

fn wider_list(rule: &Rule, list: List, from: &Ranges, operators: usize, context: &Context<'_>) -> Wider {
    let of_service = context.allowed.minus(&rule.matches.dst_ports);
    let keep_out = match list {
        List::DstPorts => of_service.union(&context.others.minus(&rule.matches.dst_ports)),
        _ if reaches(rule, &context.allowed) => return Wider::Service,
        _ => Ranges::default(),
    };
    match join(from, &keep_out, operators) {
        Some(joined) if !joined.is_everything() => Wider::Joined(joined),
        _ if list == List::DstPorts && !of_service.is_empty() => Wider::Service,
        _ => Wider::Any,
    }
}

/// Whether the rule takes packets to one of these ports. Fragments without ports count: what becomes of them once a
/// list is wider is not looked at.
fn reaches(rule: &Rule, ports: &Ranges) -> bool {
    let own = &rule.matches.dst_ports;
    !ports.is_empty() && (own.is_empty() || ports.minus(own) != *ports)
}

/// What people should know although the rule is sent.
fn warning(form: &Form, wider: &[Widening], rule: &Rule, plan: &NeighborPlan) -> Option<Name> {
    if let Form::Rtbh(lacks) = form {
        // What the router does with FlowSpec rules does not matter.
        let what = "and the step has allow_rtbh: all traffic to the address is dropped there";
        return Some(format!("the neighbour is not configured for {lacks} {what}").into());
    }
    let unable = inabilities(plan.profile)
        .iter()
        .filter(|one| one.verdict == Verdict::Warned && one.what.concerns(rule))
        .map(|one| one.says.to_owned());
    let all: Vec<String> = wider.iter().map(ToString::to_string).chain(unable).collect();
    (!all.is_empty()).then(|| all.join("; ").into())
}

impl fmt::Display for Widening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { list, from, to } = self;
        match to {
            Some(to) => write!(f, "{list} {from} widened to {to}"),
            None => write!(f, "{list} {from} left out, so that any matches"),
        }
    }
}
