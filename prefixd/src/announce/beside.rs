//! Rules of one victim side by side at a neighbour: which of two a router asks first, and which are kept back.
//!
//! A router takes the first rule that matches and asks no other (RFC 8955 section 5.1). A weaker rule inside a stricter one
//! is the more exact of both and mostly comes first: it would let through what the stricter one takes. So it is not sent, once
//! the stricter one is there.

use super::announcements::Standing;
use super::compile;
use super::fit::{Fitted, Form, Part};
use super::groups::Compiled;
use crate::policy::covers;
use prefixd_api::ids::MitigationId;
use prefixd_api::resource::{AnnouncementState, Overlap};
use prefixd_api::rule::{Action, Rule};
use prefixd_bgp::flowspec::NlriKey;
use prefixd_bgp::{Delivery, Priority, Refusal, Speaker};
use std::sync::Arc;

/// How far a route has come at the neighbours that share a table: at the one where it has come least far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reach {
    /// Something keeps it from one: a full budget, quarantine, a canary. Nothing says when that ends.
    KeptAway,
    /// It is about to be written.
    Coming,
    /// Each has it that takes such rules and has a session.
    There,
}

/// How far a route has come, as another rule of the victim sees it.
#[derive(Clone, Debug)]
pub(super) struct Come {
    least: Reach,
    /// The same without the neighbours that have no place for it.
    elsewhere: Reach,
    full_at: Vec<Arc<str>>,
}

impl From<Reach> for Come {
    fn from(reach: Reach) -> Self {
        Self {
            least: reach,
            elsewhere: reach,
            full_at: Vec::new(),
        }
    }
}

impl Come {
    pub(super) fn of(speaker: &Speaker, neighbors: &[Arc<str>], key: &NlriKey) -> Self {
        let mut come = Self::from(Reach::There);
        for neighbor in neighbors {
            let delivery = speaker.route(neighbor, key).map(|route| route.delivery);
            let reach = match &delivery {
                Some(delivery) => Reach::from(delivery),
                // It is about to be told, where there is a session.
                None if speaker.is_established(neighbor) => Reach::Coming,
                None => Reach::There,
            };
            come.least = come.least.min(reach);
            if matches!(delivery, Some(Delivery::OverBudget(_) | Delivery::Displaced(_))) {
                come.full_at.push(Arc::clone(neighbor));
            } else {
                come.elsewhere = come.elsewhere.min(reach);
            }
        }
        if come.full_at.len() == neighbors.len() {
            come.elsewhere = come.least;
        }
        come
    }

    /// Of two parts of one rule.
    fn and(mut self, other: Self) -> Self {
        self.full_at.extend(other.full_at);
        Self {
            least: self.least.min(other.least),
            elsewhere: self.elsewhere.min(other.elsewhere),
            full_at: self.full_at,
        }
    }

    /// Where a full neighbour has no place for the other rule either, sending that gains nothing there, and costs where
    /// this one is.
    fn before(&self, has_place: impl Fn(&str) -> bool) -> Reach {
        if self.full_at.iter().any(|neighbor| has_place(neighbor)) {
            self.least
        } else {
            self.elsewhere
        }
    }
}

/// Whether a neighbour has a place for this part, or would have one.
pub(super) type HasPlace<'p> = &'p dyn Fn(&str, &Part) -> bool;

/// What the speaker says of that.
pub(super) fn has_place(speaker: &Speaker, neighbor: &str, part: &Part, priority: Priority) -> bool {
    let action = compile::action(part.rule.action, part.rule.sample);
    action.is_ok_and(|action| speaker.would_have_place(neighbor, &part.canonical, action, priority))
}

impl From<&Delivery> for Reach {
    fn from(delivery: &Delivery) -> Self {
        match delivery {
            // Where no such rule goes, the weaker one does not either.
            Delivery::Advertised
            | Delivery::SessionDown
            | Delivery::Disabled
            | Delivery::Refused(Refusal::FamilyNotNegotiated) => Self::There,
            Delivery::Queued => Self::Coming,
            Delivery::Withdrawing
            | Delivery::OverBudget(_)
            | Delivery::Displaced(_)
            | Delivery::Probation
            | Delivery::Quarantined(_)
            | Delivery::Waiting(_)
            | Delivery::Refused(_) => Self::KeptAway,
        }
    }
}

/// A part of a mitigation that a stricter rule takes as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Inside {
    pub(super) key: NlriKey,
    /// Whose the stricter rule is.
    pub(super) by: MitigationId,
    /// As what the stricter rule is sent.
    pub(super) instead: Arc<[NlriKey]>,
    /// It is sent all the same: the stricter rule is not there yet.
    pub(super) is_sent: bool,
    /// How important it is where there is little room.
    pub(super) priority: Priority,
}

impl Inside {
    /// The stricter rule does not keep it back any more, and the breaker does.
    pub(super) fn after(self) -> Self {
        Self {
            instead: Arc::default(),
            ..self
        }
    }

    /// Whether the stricter rule has come so far, or was kept away so, that this one is to be decided again.
    pub(super) fn is_due<C: Into<Come>>(
        &self,
        come: impl Fn(&NlriKey) -> C,
        has_place: impl Fn(&str) -> bool,
    ) -> bool {
        let all = self.instead.iter().map(|key| come(key).into()).reduce(Come::and);
        match all.map_or(Reach::KeptAway, |come| come.before(has_place)) {
            Reach::KeptAway => !self.is_sent,
            Reach::Coming => false,
            Reach::There => self.is_sent,
        }
    }
}

/// A rule of a mitigation at neighbours of one plan.
#[derive(Clone)]
pub(super) struct Beside<'a> {
    pub(super) mitigation: MitigationId,
    /// As it was decided.
    rule: &'a Rule,
    fitted: &'a Fitted,
    come: Come,
}

/// The rules of these mitigations; `come` says of each how far what is sent under a key has come.
pub(super) fn all<'a, C: Into<Come>>(
    compiled: impl IntoIterator<Item = (MitigationId, &'a Arc<Compiled>)>,
    come: impl Fn(MitigationId, &NlriKey) -> C,
) -> Vec<Beside<'a>> {
    let of = |(mitigation, compiled): (MitigationId, &'a Arc<Compiled>)| {
        compiled
            .each()
            .map(move |(rule, fitted)| (mitigation, rule, fitted))
    };
    let rules = compiled.into_iter().flat_map(of);
    rules
        .map(|(mitigation, rule, fitted)| {
            let parts = fitted.parts.iter();
            let all = parts.map(|part| come(mitigation, part.canonical.key()).into());
            Beside {
                mitigation,
                rule,
                fitted,
                come: all.reduce(Come::and).unwrap_or(Reach::KeptAway.into()),
            }
        })
        .collect()
}

/// Which parts of a mitigation a stricter rule takes as well. What the neighbours have already stays until that rule is there;
/// what they do not have is not begun beside one that is about to come.
pub(super) fn insides(
    compiled: &Compiled,
    all: &[Beside<'_>],
    has: impl Fn(&NlriKey) -> bool,
    priority: Priority,
    has_place: HasPlace<'_>,
) -> Vec<Inside> {
    let of = |part: &Part| {
        let key = part.canonical.key();
        let least = if has(key) { Reach::There } else { Reach::Coming };
        let kept = keeps_back(part, all, least, has_place);
        let by = kept.or_else(|| keeps_back(part, all, Reach::KeptAway, has_place))?;
        Some(Inside {
            key: key.clone(),
            by: by.mitigation,
            instead: by
                .parts()
                .iter()
                .map(|part| part.canonical.key().clone())
                .collect(),
            is_sent: kept.is_none(),
            priority,
        })
    };
    compiled.parts().filter_map(of).collect()
}

impl<'a> Beside<'a> {
    pub(super) fn parts(&self) -> &'a [Part] {
        &self.fitted.parts
    }

    /// Whether this much of the decided rule goes out: all of it, in whatever form, and so far at least as that part sees it.
    fn is_whole(&self, least: Reach, part: &Part, has_place: HasPlace<'_>) -> bool {
        match self.fitted.form {
            Form::Exact | Form::Split | Form::Widened => {
                self.come.before(|neighbor| has_place(neighbor, part)) >= least
            }
            Form::Rtbh(_) | Form::Refused(_) => false,
        }
    }

    /// Whether it is the rule for which that is kept back.
    pub(super) fn is_for(&self, inside: &Inside) -> bool {
        let is_it = |part: &Part| inside.instead.contains(part.canonical.key());
        self.mitigation == inside.by && self.parts().iter().any(is_it)
    }

    /// For people.
    fn text(&self) -> String {
        format!("{} of {}", self.rule, self.mitigation)
    }
}

/// Blackholes are in another table, which not every router has: no rule is compared with them.
fn is_filter(action: Action) -> bool {
    action != Action::Rtbh
}

fn comes_first(one: &Part, other: &Part) -> bool {
    let (one, other) = (one.canonical.key(), other.canonical.key());
    one.precedence(other).is_lt()
}

/// The strictest rule that has come so far at least and for which this part is not sent, if there is one.
pub(super) fn keeps_back<'b, 'a>(
    part: &Part,
    all: &'b [Beside<'a>],
    least: Reach,
    has_place: HasPlace<'_>,
) -> Option<&'b Beside<'a>> {
    let action = part.rule.action;
    if !is_filter(action) {
        return None;
    }
    let keeps = |one: &&Beside<'_>| {
        is_filter(one.rule.action)
            && one.rule.action.is_stricter_than(action)
            && one.is_whole(least, part, has_place)
            && covers(&one.rule.matches, &part.rule.matches)
            && !exposes(part, one, all)
    };
    all.iter().filter(keeps).reduce(|strictest, one| {
        if one.rule.action.is_stricter_than(strictest.rule.action) {
            one
        } else {
            strictest
        }
    })
}

/// Whether without this part a rule that is weaker still would take some of its packets, because it comes before the stricter
/// one.
fn exposes(part: &Part, stricter: &Beside<'_>, all: &[Beside<'_>]) -> bool {
    let others = all.iter().flat_map(Beside::parts);
    let mut weaker = others
        .filter(|other| is_filter(other.rule.action) && part.rule.action.is_stricter_than(other.rule.action));
    weaker.any(|weaker| {
        comes_first(part, weaker)
            && stricter.parts().iter().any(|late| comes_first(weaker, late))
            && weaker.rule.matches.meets(&part.rule.matches)
    })
}

/// What is to be known of a part among the others.
#[derive(Default)]
pub(super) struct View {
    /// How it stands where it is kept back.
    pub(super) kept: Option<Standing>,
    pub(super) overlaps: Vec<Overlap>,
    pub(super) shadowed_by: Vec<Overlap>,
    /// A rule that lets more through keeps it from doing anything.
    pub(super) warning: Option<String>,
}

/// Looks at a part of a mitigation among all of the victim, itself included: which of them are sent, and for which this one is
/// not.
pub(super) fn view(
    mitigation: MitigationId,
    part: &Part,
    kept_by: Option<&Beside<'_>>,
    all: &[Beside<'_>],
    is_sent: impl Fn(&Beside<'_>, &Part) -> bool,
) -> View {
    let mut view = View::default();
    if !is_filter(part.rule.action) {
        return view;
    }
    let overlap = |owner: MitigationId, rule: &Rule, comes_first| Overlap {
        mitigation_id: owner,
        rule: rule.to_string(),
        comes_first,
    };
    if let Some(stricter) = kept_by {
        let why = format!(
            "{} is stricter and takes all of it: it is sent when that one ends",
            stricter.text()
        );
        view.kept = Some((AnnouncementState::Covered, Some(why)));
        let first = stricter.parts().iter().any(|other| comes_first(other, part));
        view.shadowed_by = vec![overlap(stricter.mitigation, stricter.rule, first)];
        return view;
    }
    let key = part.canonical.key();
    let mut met: Vec<(MitigationId, &Part)> = all
        .iter()
        .flat_map(|one| one.parts().iter().map(move |other| (one, other)))
        .filter(|(one, other)| {
            // What another wants under the same key is one route.
            (other.canonical.key() != key || one.mitigation != mitigation)
                && is_filter(other.rule.action)
                && other.rule.matches.meets(&part.rule.matches)
                && is_sent(one, other)
        })
        .map(|(one, other)| (one.mitigation, other))
        .collect();
    met.sort_by(|(_, one), (_, other)| one.canonical.key().precedence(other.canonical.key()));
    for (owner, other) in met {
        let first = comes_first(other, part);
        let shadows = first && covers(&other.rule.matches, &part.rule.matches);
        if shadows && part.rule.action.is_stricter_than(other.rule.action) {
            view.warning.get_or_insert_with(|| {
                format!(
                    "a router asks {} of {owner} first, which lets more through and takes all that this one takes: this one does \
                     nothing",
                    other.rule
                )
            });
        }
        if shadows {
            view.shadowed_by.push(overlap(owner, &other.rule, first));
        }
        view.overlaps.push(overlap(owner, &other.rule, first));
    }
    view
}

#[cfg(test)]
mod announced;
#[cfg(test)]
mod tests;
