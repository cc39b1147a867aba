//! Each rule of a mitigation at each neighbour, in the words of the API.

use super::fit::{Fitted, Form, Part};
use super::groups::{Compiled, compile};
use super::peers::state_of;
use super::{Announcer, Neighbor, compile as wire, is_announced};
use prefixd_api::mitigation::Mitigation;
use prefixd_api::resource::{Announcement, AnnouncementForm, AnnouncementState};
use prefixd_api::rule::{Action, Rule};
use prefixd_bgp::Delivery;
use prefixd_bgp::flowspec::NlriKey;
use std::sync::Arc;

/// A state and why.
pub(super) type Standing = (AnnouncementState, Option<String>);

impl From<&Form> for AnnouncementForm {
    fn from(form: &Form) -> Self {
        match form {
            Form::Exact => Self::Exact,
            Form::Split => Self::Split,
            Form::Widened(_) => Self::Widened,
            Form::Rtbh(_) => Self::Rtbh,
            Form::Refused(_) => Self::Refused,
        }
    }
}

impl Announcer {
    /// Each rule of a mitigation at each neighbour.
    #[must_use]
    pub fn announcements(&self, mitigation: &Mitigation) -> Vec<Announcement> {
        let neighbors = self.compiled(mitigation);
        let is_live = is_announced(mitigation);
        let stopped = self.stopped_neighbors();
        let mut announcements = Vec::new();
        for (index, rule) in mitigation.rules.iter().enumerate() {
            for (neighbor, compiled) in &neighbors {
                let Some(fitted) = compiled.fitted.get(index) else {
                    continue;
                };
                let standing = |key: &NlriKey| {
                    if !neighbor.enforce {
                        return is_live.then(not_enforced);
                    }
                    let why = || stopped.get(&neighbor.name).filter(|_| is_live).cloned();
                    match self.speaker.route(&neighbor.name, key) {
                        Some(route) => Some(neighbor.standing(&route.delivery)),
                        None => why(),
                    }
                };
                if is_live || !matches!(fitted.form, Form::Refused(_)) {
                    let announced = |key: &NlriKey| {
                        let (desired, ..) = self.explain(&neighbor.name, key);
                        let desired = desired.filter(|_| is_live && neighbor.enforce)?;
                        Some((desired.action, desired.sample))
                    };
                    announcements.extend(told(neighbor, rule, fitted, standing, announced));
                }
            }
        }
        announcements
    }

    /// What each neighbour gets of a mitigation, in the order of the configuration.
    pub(super) fn compiled(&self, mitigation: &Mitigation) -> Vec<(Neighbor, Arc<Compiled>)> {
        let (neighbors, policy) = {
            let inner = self.inner();
            let known = |neighbor: &Neighbor| {
                let group = inner.group_of(&neighbor.name)?;
                let compiled = group.compiled(mitigation.mitigation_id)?;
                compiled.is_of(mitigation).then(|| Arc::clone(compiled))
            };
            let neighbors: Vec<_> = inner
                .neighbors
                .iter()
                .map(|neighbor| (neighbor.clone(), known(neighbor)))
                .collect();
            (neighbors, Arc::clone(&inner.policy))
        };
        neighbors
            .into_iter()
            .map(|(neighbor, known)| {
                let compiled =
                    known.unwrap_or_else(|| Arc::new(compile(mitigation, &policy, &neighbor.plan)));
                (neighbor, compiled)
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
        warning: fitted.warning.clone(),
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
    for (number, part) in (1..).zip(&fitted.parts) {
        let key = part.canonical.key();
        if let Some((state, reason)) = standing(key) {
            lines.push(Announcement {
                rule: part.rule.to_string(),
                part: number,
                parts,
                nlri: Some(key.to_string()),
                state,
                reason,
                warning: warning(part, fitted, announced(key)),
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
        format!("what is announced is `{announced}`, the strictest of the mitigations that have this rule")
    });
    let warnings = fitted.warning.clone().into_iter().chain(shared);
    warnings.reduce(|all, one| format!("{all}; {one}"))
}
