//! What neighbours should hold against what they were told, without changing anything.

use super::Announcer;
use super::groups::Group;
use super::peers::state_of;
use prefixd_api::drift::NeighborDrift;
use prefixd_api::resource::AnnouncementState;
use prefixd_bgp::RouteStatus;
use prefixd_bgp::flowspec::NlriKey;
use std::collections::HashMap;

impl Announcer {
    /// How many mitigations are announced, and each neighbour that gets rules, in the order of the configuration.
    #[must_use]
    pub fn drift(&self) -> (u64, Vec<NeighborDrift>) {
        let inner = self.inner();
        let neighbors = inner
            .neighbors
            .iter()
            .filter_map(|neighbor| {
                let group = inner.group_of(&neighbor.name)?;
                let held = self.speaker.adj_rib_out(&neighbor.name)?;
                let is_leaving = |key: &NlriKey| inner.leaving.has(&neighbor.name, key);
                Some(self.drift_at(&neighbor.name, group, &held, is_leaving))
            })
            .collect();
        (inner.live.len() as u64, neighbors)
    }

    fn drift_at(
        &self,
        name: &str,
        group: &Group,
        held: &[RouteStatus],
        is_leaving: impl Fn(&NlriKey) -> bool,
    ) -> NeighborDrift {
        let mut others: HashMap<&NlriKey, &RouteStatus> =
            held.iter().map(|route| (&route.key, route)).collect();
        let mut drift = NeighborDrift {
            neighbor: name.to_owned(),
            desired: 0,
            advertised: held.iter().filter(|route| route.advertised.is_some()).count() as u64,
            missing: 0,
            unexplained: 0,
            not_advertised: std::collections::BTreeMap::new(),
        };
        for (key, desired) in group.table.desired() {
            drift.desired += 1;
            let Some(route) = others.remove(key) else {
                drift.missing += 1;
                continue;
            };
            let wanted = self.route(&desired).map(|wanted| wanted.action);
            if route.desired.as_ref().map(|held| held.action) != wanted {
                drift.missing += 1;
            }
            let (standing, _) = state_of(&route.delivery);
            if standing != AnnouncementState::Advertised {
                *drift
                    .not_advertised
                    .entry(standing.as_str().to_owned())
                    .or_insert(0) += 1;
            }
        }
        // What waits to be withdrawn is on its way.
        drift.unexplained = others
            .values()
            .filter(|route| route.desired.is_some() && !is_leaving(&route.key))
            .count() as u64;
        drift
    }
}
