//! What each neighbour would get of a mitigation that does not exist yet, or not in this form.

use super::announcements::{Standing, dry_run, not_enforced, told};
use super::groups::{Compiled, Group, priority};
use super::peers::{state, state_of};
use super::{Announcer, Neighbor, is_announced};
use prefixd_api::ids::MitigationId;
use prefixd_api::mitigation::Mitigation;
use prefixd_api::preview::{Budget, NeighborPreview};
use prefixd_api::rule::Action;
use prefixd_bgp::flowspec::NlriKey;
use prefixd_bgp::{PeerStatus, WhatIf};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// What would become of the routes of a mitigation at one neighbour.
#[derive(Default)]
struct Outlook {
    standings: HashMap<NlriKey, Standing>,
    /// What would be announced, all who want it together.
    announced: HashMap<NlriKey, (Action, bool)>,
    budget: Budget,
    displaces: Vec<MitigationId>,
}

impl Announcer {
    /// See the module; those in `ending` would end by the same decision.
    #[must_use]
    pub fn foresee(&self, mitigation: &Mitigation, ending: &[MitigationId]) -> Vec<NeighborPreview> {
        let is_live = is_announced(mitigation);
        let compiled = self.compiled(mitigation);
        let statuses = self.speaker.peers();
        let stopped = self.stopped_neighbors();
        let foresee = |(neighbor, compiled): (Neighbor, Arc<Compiled>)| {
            let status = statuses.iter().find(|status| status.name == neighbor.name)?;
            let stopped = stopped.get(&neighbor.name);
            let goes_out = is_live && neighbor.enforce && stopped.is_none();
            let outlook = self.outlook(
                &neighbor,
                status,
                mitigation,
                goes_out.then_some(&*compiled),
                ending,
            );
            let first = |key: &NlriKey| {
                Some(match (outlook.standings.get(key), stopped) {
                    (Some(standing), _) => standing.clone(),
                    _ if !is_live => dry_run(),
                    (None, Some(why)) if neighbor.enforce => {
                        // What another mitigation has put there stays.
                        let there = self.speaker.route(&neighbor.name, key);
                        there.map_or_else(|| why.clone(), |route| state_of(&route.delivery))
                    }
                    (None, _) => not_enforced(),
                })
            };
            let rules = mitigation.rules.iter().zip(&compiled.fitted);
            let announced = |key: &NlriKey| outlook.announced.get(key).copied();
            let announcements =
                rules.flat_map(|(rule, fitted)| told(&neighbor, rule, fitted, first, announced));
            Some(NeighborPreview {
                neighbor: neighbor.name.to_string(),
                session: state(status),
                announcements: announcements.collect(),
                budget: outlook.budget,
                displaces: outlook.displaces,
            })
        };
        compiled.into_iter().filter_map(foresee).collect()
    }

    fn outlook(
        &self,
        neighbor: &Neighbor,
        status: &PeerStatus,
        mitigation: &Mitigation,
        wanted: Option<&Compiled>,
        ending: &[MitigationId],
    ) -> Outlook {
        let max = status
            .rules
            .budget
            .map_or(neighbor.max_rules, |bound| bound as u64);
        let inner = self.inner();
        let Some(group) = inner.group_of(&neighbor.name) else {
            return Outlook {
                budget: Budget {
                    max,
                    ..Budget::default()
                },
                ..Outlook::default()
            };
        };
        let id = mitigation.mitigation_id;
        let mut gone = vec![id];
        gone.extend_from_slice(ending);
        let parts = wanted.into_iter().flat_map(Compiled::parts);
        let keys: HashSet<&NlriKey> = parts.map(|part| part.canonical.key()).collect();
        let budget = Budget {
            max,
            used: group.table.len() as u64,
            after: group.table.len_with(&gone, &keys) as u64,
        };
        let all_want = wanted.map(|compiled| compiled.wanted(priority(mitigation)));
        let all_want = all_want.unwrap_or_default().into_iter().filter_map(|one| {
            let key = one.rule.key().clone();
            let desired = group.table.foresee(one, id, mitigation.expires_at, ending)?;
            Some((key, (desired.action, desired.sample)))
        });
        let all_want = all_want.collect();
        let changes = self.changes(group, mitigation, wanted, ending);
        let announced: Vec<NlriKey> = changes
            .announced
            .iter()
            .map(|route| route.rule.key().clone())
            .collect();
        let foreseen = self.speaker.foresee(&neighbor.name, changes).unwrap_or_default();
        let displaces: BTreeSet<MitigationId> = foreseen
            .displaced
            .iter()
            .flat_map(|key| group.table.explain(key).1)
            .filter(|other| !gone.contains(other))
            .collect();
        let standings = foreseen.deliveries.iter().map(state_of);
        Outlook {
            standings: announced.into_iter().zip(standings).collect(),
            announced: all_want,
            budget,
            displaces: displaces.into_iter().collect(),
        }
    }

    /// The changes in the order in which the neighbour would be told them.
    fn changes(
        &self,
        group: &Group,
        mitigation: &Mitigation,
        wanted: Option<&Compiled>,
        ending: &[MitigationId],
    ) -> WhatIf {
        let (table, id) = (&group.table, mitigation.mitigation_id);
        let wanted = wanted.map(|compiled| compiled.wanted(priority(mitigation)));
        let wanted = wanted.unwrap_or_default().into_iter();
        let desired = wanted.filter_map(|one| table.foresee(one, id, mitigation.expires_at, ending));
        let announced: Vec<_> = desired.filter_map(|desired| self.route(&desired)).collect();
        let stays = |key: &NlriKey| announced.iter().any(|route| route.rule.key() == key);
        let mut ends_before = table.keys_of_alone(ending);
        let mut ends_after = table.keys_of_alone(&[id]);
        ends_before.retain(|key| !stays(key));
        ends_after.retain(|key| !stays(key));
        WhatIf {
            ends_before,
            announced,
            ends_after,
        }
    }
}
