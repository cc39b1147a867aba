//! Each rule of a mitigation at each neighbour, in the words of the API.

use super::fit::{Fitted, Form};
use super::groups::{Compiled, compile};
use super::peers::{state, state_of};
use super::{Announcer, Neighbor, compile as wire, is_announced};
use prefixd_api::ids::MitigationId;
use prefixd_api::mitigation::Mitigation;
use prefixd_api::preview::{Budget, NeighborPreview};
use prefixd_api::resource::{Announcement, AnnouncementForm, AnnouncementState};
use prefixd_api::rule::Rule;
use prefixd_bgp::flowspec::NlriKey;
use prefixd_bgp::{Delivery as At, PeerStatus, Refusal};
use std::collections::HashSet;
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
                        Some(route) => Some(state_of(&route.delivery)),
                        None => why(),
                    }
                };
                if is_live || !matches!(fitted.form, Form::Refused(_)) {
                    announcements.extend(told(neighbor, rule, fitted, standing));
                }
            }
        }
        announcements
    }

    /// What each neighbour gets of a mitigation, in the order of the configuration.
    fn compiled(&self, mitigation: &Mitigation) -> Vec<(Neighbor, Arc<Compiled>)> {
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

impl Announcer {
    /// What each neighbour would get of a mitigation that does not exist yet, or not in this form; those in `ending`
    /// would end by the same decision.
    #[must_use]
    pub fn foresee(&self, mitigation: &Mitigation, ending: &[MitigationId]) -> Vec<NeighborPreview> {
        let is_live = is_announced(mitigation);
        let compiled = self.compiled(mitigation);
        let statuses = self.speaker.peers();
        let stopped = self.stopped_neighbors();
        let mut replaced = vec![mitigation.mitigation_id];
        replaced.extend_from_slice(ending);
        let foresee = |(neighbor, compiled): (Neighbor, Arc<Compiled>)| {
            let status = statuses.iter().find(|status| status.name == neighbor.name)?;
            let first = |key: &NlriKey| {
                Some(match self.speaker.route(&neighbor.name, key) {
                    _ if !is_live => dry_run(),
                    _ if !neighbor.enforce => not_enforced(),
                    // Another mitigation has put it there.
                    Some(route) => state_of(&route.delivery),
                    None if stopped.contains_key(&neighbor.name) => stopped.get(&neighbor.name).cloned()?,
                    None => first_standing(status, key),
                })
            };
            let rules = mitigation.rules.iter().zip(&compiled.fitted);
            let announcements = rules.flat_map(|(rule, fitted)| told(&neighbor, rule, fitted, first));
            Some(NeighborPreview {
                neighbor: neighbor.name.to_string(),
                session: state(status),
                announcements: announcements.collect(),
                budget: Budget {
                    max: status
                        .rules
                        .budget
                        .map_or(neighbor.max_rules, |bound| bound as u64),
                    ..self.budget(&neighbor, is_live.then_some(&*compiled), &replaced)
                },
            })
        };
        compiled.into_iter().filter_map(foresee).collect()
    }

    fn budget(&self, neighbor: &Neighbor, compiled: Option<&Compiled>, replaced: &[MitigationId]) -> Budget {
        let inner = self.inner();
        let mut budget = Budget {
            max: neighbor.max_rules,
            ..Budget::default()
        };
        if let Some(group) = inner.group_of(&neighbor.name) {
            let parts = compiled.into_iter().flat_map(Compiled::parts);
            let keys: HashSet<&NlriKey> = parts.map(|part| part.canonical.key()).collect();
            budget.used = group.table.len() as u64;
            budget.after = group.table.len_with(replaced, &keys) as u64;
        }
        budget
    }
}

/// How a route that nobody has asked for yet would stand at first.
fn first_standing(status: &PeerStatus, key: &NlriKey) -> Standing {
    let family = key.family();
    match &status.session {
        _ if status.admin.is_disabled() => state_of(&At::Disabled),
        Some(session) if !session.families.contains(&family) => {
            state_of(&At::Refused(Refusal::FamilyNotNegotiated))
        }
        Some(_) => state_of(&At::Queued),
        None => state_of(&At::SessionDown),
    }
}

fn dry_run() -> Standing {
    (
        AnnouncementState::Refused,
        Some("it is a dry run: nothing is sent".to_owned()),
    )
}

fn not_enforced() -> Standing {
    (
        AnnouncementState::Refused,
        Some("enforce is false for this neighbour".to_owned()),
    )
}

/// One rule at one neighbour: a line for each part that stands somewhere, or one that says why there is none.
fn told(
    neighbor: &Neighbor,
    rule: &Rule,
    fitted: &Fitted,
    standing: impl Fn(&NlriKey) -> Option<Standing>,
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
                ..whole.clone()
            });
        }
    }
    lines
}
