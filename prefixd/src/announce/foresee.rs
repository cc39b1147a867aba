//! What each neighbour would get of a mitigation that does not exist yet, or not in this form.

use super::announcements::{AtNeighbor, Standing, dry_run, not_enforced, told};
use super::beside::Reach;
use super::fit::Part;
use super::groups::{Group, priority};
use super::peers::{state, state_of};
use super::table::Wanted;
use super::{Announcer, Neighbor, beside, is_announced};
use prefixd_api::ids::MitigationId;
use prefixd_api::mitigation::Mitigation;
use prefixd_api::preview::{Budget, NeighborPreview};
use prefixd_api::resource::AnnouncementState;
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

/// How far a rule would come, by how it would stand.
fn reach_of((state, why): &Standing) -> Reach {
    match state {
        AnnouncementState::Advertised | AnnouncementState::Reflected | AnnouncementState::SessionDown => {
            Reach::There
        }
        // One that waits for another neighbour says so.
        AnnouncementState::Queued if why.is_none() => Reach::Coming,
        _ => Reach::KeptAway,
    }
}

impl Announcer {
    /// See the module; those in `ending` would end by the same decision, and others of the victim go on beside it.
    #[must_use]
    pub fn foresee<'s>(
        &self,
        mitigation: &Mitigation,
        ending: &[MitigationId],
        beside: impl IntoIterator<Item = &'s Arc<Mitigation>>,
    ) -> Vec<NeighborPreview> {
        let id = mitigation.mitigation_id;
        let is_live = is_announced(mitigation);
        let others = beside.into_iter().map(|other| other.mitigation_id);
        let others: Vec<MitigationId> = others.filter(|other| !ending.contains(other)).collect();
        let statuses = self.speaker.peers();
        let stopped = self.stopped_neighbors();
        let has_place =
            |at: &str, part: &Part| beside::has_place(&self.speaker, at, part, priority(mitigation));
        let foresee = |at: AtNeighbor| {
            let all = at.side_by_side(id, &self.speaker, |_| Some(Reach::Coming));
            let (neighbor, compiled) = (&at.neighbor, &at.compiled);
            let status = statuses.iter().find(|status| status.name == neighbor.name)?;
            let stopped = stopped.get(&neighbor.name);
            let goes_out = is_live && neighbor.enforce && stopped.is_none();
            let mut wanted = Vec::new();
            if goes_out {
                wanted = compiled.wanted(priority(mitigation));
                let inside = beside::insides(
                    compiled,
                    &all,
                    |key| at.has(key),
                    priority(mitigation),
                    &has_place,
                );
                let is_kept = |key: &NlriKey| inside.iter().any(|one| !one.is_sent && one.key == *key);
                wanted.retain(|one| !is_kept(one.rule.key()));
            }
            let outlook = self.outlook(neighbor, status, mitigation, wanted, ending);
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
            let rules = mitigation.rules.iter().zip(compiled.fitted.iter());
            let announced = |key: &NlriKey| outlook.announced.get(key).copied();
            let reach = |key: &NlriKey| outlook.standings.get(key).map(reach_of);
            // As it is when the router has been told all of it.
            let all = at.side_by_side(id, &self.speaker, reach);
            let kept = |part: &Part| beside::keeps_back(part, &all, Reach::Coming, &has_place).cloned();
            let look = |part: &Part| {
                beside::view(id, part, kept(part).as_ref(), &all, |_, other| {
                    kept(other).is_none()
                })
            };
            let announcements = rules
                .flat_map(|(rule, fitted)| told(neighbor, rule, fitted, goes_out, look, first, announced));
            Some(NeighborPreview {
                neighbor: neighbor.name.to_string(),
                session: state(status),
                announcements: announcements.collect(),
                budget: outlook.budget,
                displaces: outlook.displaces,
            })
        };
        let neighbors = self.at_neighbors(mitigation, &others);
        neighbors.into_iter().filter_map(foresee).collect()
    }

    fn outlook(
        &self,
        neighbor: &Neighbor,
        status: &PeerStatus,
        mitigation: &Mitigation,
        wanted: Vec<Wanted>,
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
        let keys: HashSet<&NlriKey> = wanted.iter().map(|one| one.rule.key()).collect();
        let budget = Budget {
            max,
            used: group.table.len() as u64,
            after: group.table.len_with(&gone, &keys) as u64,
        };
        let all_want = wanted.iter().cloned().filter_map(|one| {
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
        wanted: Vec<Wanted>,
        ending: &[MitigationId],
    ) -> WhatIf {
        let (table, id) = (&group.table, mitigation.mitigation_id);
        let wanted = wanted.into_iter();
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
