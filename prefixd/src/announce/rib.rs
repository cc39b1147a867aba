//! What one neighbour should hold and was told, rule by rule.

use super::compile::family;
use super::peers::state_of;
use super::table::Desired;
use super::{Announcer, Neighbor};
use prefixd_api::family::AfiSafi;
use prefixd_api::ids::MitigationId;
use prefixd_api::peer::{RibList, RibRoute};
use prefixd_api::resource::AnnouncementState;
use prefixd_api::rule::Rule;
use prefixd_bgp::flowspec::NlriKey;
use prefixd_bgp::{Delivery, RouteStatus};

/// Which rules of a neighbour are asked for.
#[derive(Clone, Debug, Default)]
pub struct RibFilter {
    /// In one of these states; any when empty.
    pub states: Vec<AnnouncementState>,
    /// Of this family.
    pub family: Option<AfiSafi>,
}

impl Announcer {
    /// A page of a neighbour's Adj-RIB-Out, by NLRI; `after` is the `next_cursor` of the page before. Absent for an
    /// unknown neighbour.
    #[must_use]
    pub fn rib(
        &self,
        neighbor: &str,
        which: &RibFilter,
        after: Option<&str>,
        limit: usize,
    ) -> Option<RibList> {
        let routes = self.speaker.adj_rib_out(neighbor)?;
        let known = {
            let inner = self.inner();
            inner
                .neighbors
                .iter()
                .find(|known| &*known.name == neighbor)
                .cloned()
        };
        let state = |route: &RouteStatus| match &known {
            Some(known) => known.standing(&route.delivery).0,
            None => state_of(&route.delivery).0,
        };
        let mut places: Vec<(String, RouteStatus)> = routes
            .into_iter()
            .filter(|route| {
                which
                    .family
                    .is_none_or(|family| route.key.family() == self::family(family))
            })
            .filter(|route| which.states.is_empty() || which.states.contains(&state(route)))
            .map(|route| (cursor(&route.key), route))
            .filter(|(place, _)| after.is_none_or(|after| place.as_str() > after))
            .collect();
        places.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let is_last = places.len() <= limit;
        places.truncate(limit);
        let next_cursor = places.last().map(|(place, _)| place.clone());
        let routes: Vec<RibRoute> = places
            .iter()
            .map(|(_, route)| self.rib_route(neighbor, route))
            .collect();
        Some(RibList {
            count: routes.len(),
            routes,
            next_cursor: next_cursor.filter(|_| !is_last),
        })
    }

    /// What a route at a neighbour should be, who wants it, and the rule as it is sent; empty when nobody wants it any more.
    /// Its action is the one of all who want it, which need not be what the first of them wants.
    pub(super) fn explain(
        &self,
        neighbor: &str,
        key: &NlriKey,
    ) -> (Option<Desired>, Vec<MitigationId>, Option<Rule>) {
        let inner = self.inner();
        let Some(group) = inner.group_of(neighbor) else {
            return Default::default();
        };
        let (desired, mitigations) = group.table.explain(key);
        let compiled = mitigations.iter().filter_map(|id| group.compiled(*id));
        let rule = compiled.filter_map(|compiled| compiled.rule_of(key)).next();
        let rule = rule.zip(desired.as_ref()).map(|(rule, desired)| Rule {
            matches: rule.matches.clone(),
            action: desired.action,
            sample: desired.sample,
        });
        (desired, mitigations, rule)
    }

    fn rib_route(&self, neighbor: &str, route: &RouteStatus) -> RibRoute {
        let (desired, mitigations, rule) = self.explain(neighbor, &route.key);
        let inner = self.inner();
        let known = inner.neighbors.iter().find(|known| &*known.name == neighbor);
        let standing = |known: &Neighbor| self.standing(known, &route.delivery);
        let (standing, reason) = known.map_or_else(|| state_of(&route.delivery), standing);
        drop(inner);
        let is_withdrawn = route.desired.is_none() || route.delivery == Delivery::Withdrawing;
        RibRoute {
            nlri: route.key.to_string(),
            afi_safi: route.key.family().to_string(),
            rule: rule.map(|rule| rule.to_string()),
            action: desired.filter(|_| !is_withdrawn).map(|desired| desired.action),
            state: standing,
            reason,
            written_at: route.written_at.map(|at| self.at(at)),
            until: route.desired.as_ref().map(|route| self.at(route.not_after)),
            mitigations,
        }
    }
}

/// Sorts as the keys do: hexadecimal keeps the order of bytes.
fn cursor(key: &NlriKey) -> String {
    format!("{}:{key}", key.family())
}
