//! Each rule of a mitigation at each neighbour, in the words of the API.

use super::beside::{Beside, Come, Inside, Reach, View};
use super::fit::{Fitted, Form, Part};
use super::groups::{Compiled, Group, compile};
use super::peers::state_of;
use super::{Announcer, Neighbor, beside, compile as wire, is_announced};
use prefixd_api::ids::MitigationId;
use prefixd_api::mitigation::Mitigation;
use prefixd_api::resource::{Announcement, AnnouncementForm, AnnouncementState};
use prefixd_api::rule::{Action, Rule};
use prefixd_bgp::flowspec::NlriKey;
use prefixd_bgp::{Delivery, Speaker};
use std::sync::Arc;

/// A state and why.
pub(super) type Standing = (AnnouncementState, Option<String>);

impl From<&Form> for AnnouncementForm {
    fn from(form: &Form) -> Self {
        match form {
            Form::Exact => Self::Exact,
            Form::Split => Self::Split,
            Form::Widened => Self::Widened,
            Form::Rtbh(_) => Self::Rtbh,
            Form::Refused(_) => Self::Refused,
        }
    }
}

/// What a neighbour gets of a mitigation.
pub(super) struct AtNeighbor {
    pub(super) neighbor: Neighbor,
    pub(super) compiled: Arc<Compiled>,
    around: Around,
}

/// What is there now.
#[derive(Default)]
struct Around {
    /// What is sent of others of the victim.
    others: Vec<(MitigationId, Arc<Compiled>)>,
    /// What of each of them, and of the mitigation, is inside a stricter rule.
    insides: Vec<(MitigationId, Arc<[Inside]>)>,
    /// As what the mitigation is sent.
    has: Vec<NlriKey>,
    /// The neighbours that share the table.
    members: Vec<Arc<str>>,
}

impl Around {
    fn of(group: &Group, id: MitigationId, beside: &[MitigationId]) -> Self {
        let others = beside.iter().filter_map(|other| {
            let compiled = group.compiled(*other)?;
            Some((*other, Arc::clone(compiled)))
        });
        let all = std::iter::once(&id).chain(beside);
        let insides = all.filter_map(|of| Some((*of, Arc::clone(group.inside(*of)?))));
        Self {
            others: others.collect(),
            insides: insides.collect(),
            has: group.table.keys_of(id).to_vec(),
            members: group.members.clone(),
        }
    }
}

impl AtNeighbor {
    /// All rules of the victim there; `own` says how far those of the mitigation would have come, where that is foreseen.
    pub(super) fn side_by_side(
        &self,
        mitigation: MitigationId,
        speaker: &Speaker,
        own: impl Fn(&NlriKey) -> Option<Reach>,
    ) -> Vec<Beside<'_>> {
        let all = std::iter::once((mitigation, &self.compiled));
        let others = self.around.others.iter().map(|(id, compiled)| (*id, compiled));
        let reach = |of: MitigationId, key: &NlriKey| {
            let foreseen = (of == mitigation).then(|| own(key)).flatten();
            foreseen.map_or_else(|| Come::of(speaker, &self.around.members, key), Come::from)
        };
        beside::all(all.chain(others), reach)
    }

    /// Whether it is sent this of the mitigation now.
    pub(super) fn has(&self, key: &NlriKey) -> bool {
        self.around.has.contains(key)
    }

    /// A part that is kept back here, and for what.
    fn kept(&self, mitigation: MitigationId, part: &Part) -> Option<&Inside> {
        let (_, inside) = self.around.insides.iter().find(|(of, _)| *of == mitigation)?;
        let key = part.canonical.key();
        inside.iter().find(|one| !one.is_sent && one.key == *key)
    }

    /// How a part of the mitigation stands among all of the victim.
    fn look(&self, mitigation: MitigationId, part: &Part, all: &[Beside<'_>]) -> View {
        let kept = self.kept(mitigation, part);
        let kept_by = kept.and_then(|kept| all.iter().find(|one| one.is_for(kept)));
        let is_sent = |one: &Beside<'_>, part: &Part| self.kept(one.mitigation, part).is_none();
        let mut view = beside::view(mitigation, part, kept_by, all, is_sent);
        if kept.is_some() && kept_by.is_none() {
            view.kept = Some(waits_for_breaker());
        }
        view
    }
}

impl Announcer {
    /// Each rule of a mitigation at each neighbour, among those of others of its victim.
    #[must_use]
    pub fn announcements<'s>(
        &self,
        mitigation: &Mitigation,
        beside: impl IntoIterator<Item = &'s Arc<Mitigation>>,
    ) -> Vec<Announcement> {
        let beside: Vec<MitigationId> = beside.into_iter().map(|other| other.mitigation_id).collect();
        let neighbors = self.at_neighbors(mitigation, &beside);
        let is_live = is_announced(mitigation);
        let stopped = self.stopped_neighbors();
        let mut announcements = Vec::new();
        for (index, rule) in mitigation.rules.iter().enumerate() {
            for at in &neighbors {
                let neighbor = &at.neighbor;
                let Some(fitted) = at.compiled.fitted.get(index) else {
                    continue;
                };
                let all = at.side_by_side(mitigation.mitigation_id, &self.speaker, |_| None);
                let standing = |key: &NlriKey| {
                    if !neighbor.enforce {
                        return is_live.then(not_enforced);
                    }
                    let why = || stopped.get(&neighbor.name).filter(|_| is_live).cloned();
                    match self.speaker.route(&neighbor.name, key) {
                        Some(route) => Some(self.standing(neighbor, &route.delivery)),
                        None => why(),
                    }
                };
                let look = |part: &Part| at.look(mitigation.mitigation_id, part, &all);
                if is_live || !matches!(fitted.form, Form::Refused(_)) {
                    let announced = |key: &NlriKey| {
                        let (desired, ..) = self.explain(&neighbor.name, key);
                        let desired = desired.filter(|_| is_live && neighbor.enforce)?;
                        Some((desired.action, desired.sample))
                    };
                    let lines = told(neighbor, rule, fitted, is_live, look, standing, announced);
                    announcements.extend(lines);
                }
            }
        }
        announcements
    }

    /// What each neighbour gets of a mitigation and of these others, in the order of the configuration.
    pub(super) fn at_neighbors(&self, mitigation: &Mitigation, beside: &[MitigationId]) -> Vec<AtNeighbor> {
        let inner = self.inner();
        let policy = Arc::clone(&inner.policy);
        let id = mitigation.mitigation_id;
        let known = |neighbor: &Neighbor| {
            let group = inner.group_of(&neighbor.name);
            let compiled = group.and_then(|group| group.compiled(id));
            let compiled = compiled
                .filter(|compiled| compiled.is_of(mitigation))
                .map(Arc::clone);
            let around = group.map(|group| Around::of(group, id, beside));
            (neighbor.clone(), compiled, around.unwrap_or_default())
        };
        let neighbors: Vec<_> = inner.neighbors.iter().map(known).collect();
        drop(inner);
        neighbors
            .into_iter()
            .map(|(neighbor, known, around)| AtNeighbor {
                compiled: known.unwrap_or_else(|| Arc::new(compile(mitigation, &policy, &neighbor.plan))),
                neighbor,
                around,
            })
            .collect()
    }
}

impl Neighbor {
    /// How far a rule has come there.
    pub(super) fn standing(&self, delivery: &Delivery) -> Standing {
        match state_of(delivery) {
            (AnnouncementState::Advertised, _) if self.reflects => (
                AnnouncementState::Reflected,
                Some("written to a route reflector; which of its clients have it is not known".to_owned()),
            ),
            standing => standing,
        }
    }
}

pub(super) fn dry_run() -> Standing {
    (
        AnnouncementState::Refused,
        Some("it is a dry run: nothing is sent".to_owned()),
    )
}

fn waits_for_breaker() -> Standing {
    (
        AnnouncementState::Refused,
        Some(
            "the stricter rule for which it was not sent is gone, and the breaker is tripped: it is sent after prefixdctl \
             breaker reset"
                .to_owned(),
        ),
    )
}

pub(super) fn not_enforced() -> Standing {
    (
        AnnouncementState::Refused,
        Some("enforce is false for this neighbour".to_owned()),
    )
}

/// One rule at one neighbour: a line for each part that stands somewhere, or one that says why there is none. `announced`
/// says what is announced, which another mitigation may want stricter.
pub(super) fn told(
    neighbor: &Neighbor,
    rule: &Rule,
    fitted: &Fitted,
    goes_out: bool,
    look: impl Fn(&Part) -> View,
    standing: impl Fn(&NlriKey) -> Option<Standing>,
    announced: impl Fn(&NlriKey) -> Option<(Action, bool)>,
) -> Vec<Announcement> {
    let whole = Announcement {
        neighbor: neighbor.name.to_string(),
        rule: rule.to_string(),
        original: rule.to_string(),
        form: AnnouncementForm::from(&fitted.form),
        part: 1,
        parts: 1,
        nlri: None,
        state: AnnouncementState::Refused,
        reason: None,
        warning: fitted.warning.as_deref().map(str::to_owned),
        overlaps: Vec::new(),
        shadowed_by: Vec::new(),
    };
    if let Form::Refused(unfit) = &fitted.form {
        let canonical = wire::of(rule).ok();
        return vec![Announcement {
            nlri: canonical.map(|canonical| canonical.key().to_string()),
            reason: Some(unfit.to_string()),
            ..whole
        }];
    }
    let parts = u32::try_from(fitted.parts.len()).unwrap_or(u32::MAX);
    let mut lines = Vec::new();
    for (number, part) in (1..).zip(fitted.parts.iter()) {
        let key = part.canonical.key();
        let view = look(part);
        let kept = view.kept.filter(|_| goes_out);
        if let Some((state, reason)) = kept.or_else(|| standing(key)) {
            lines.push(Announcement {
                overlaps: view.overlaps,
                shadowed_by: view.shadowed_by,
                rule: part.rule.to_string(),
                part: number,
                parts,
                nlri: Some(key.to_string()),
                state,
                reason,
                warning: warning(part, fitted, announced(key)).or(view.warning),
                ..whole.clone()
            });
        }
    }
    lines
}

/// What a person should know of a part: that it is wider than what was decided, that something else is announced.
fn warning(part: &Part, fitted: &Fitted, announced: Option<(Action, bool)>) -> Option<String> {
    let other = announced.filter(|(action, _)| *action != part.rule.action);
    let shared = other.map(|(action, sample)| {
        let matches = part.rule.matches.clone();
        let announced = Rule {
            matches,
            action,
            sample,
        };
        format!(
            "what is announced is `{announced}`: another mitigation that has this rule is stricter, or the neighbour is on \
             hold and keeps what it had"
        )
    });
    let warnings = fitted
        .warning
        .as_deref()
        .map(str::to_owned)
        .into_iter()
        .chain(shared);
    warnings.reduce(|all, one| format!("{all}; {one}"))
}
