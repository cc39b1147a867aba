//! What one neighbour should hold and was told, rule by rule.

use super::peers::state_of;
use super::{Announcer, wanted};
use crate::policy::State;
use prefixd_api::ids::MitigationId;
use prefixd_api::peer::{RibList, RibRoute};
use prefixd_bgp::flowspec::NlriKey;
use prefixd_bgp::{Delivery, RouteStatus};

impl Announcer {
    /// A page of a neighbour's Adj-RIB-Out, by NLRI; `after` is the `next_cursor` of the page before. Absent for an
    /// unknown neighbour.
    #[must_use]
    pub fn rib(&self, neighbor: &str, state: &State, after: Option<&str>, limit: usize) -> Option<RibList> {
        let mut places: Vec<(String, RouteStatus)> = self
            .speaker
            .adj_rib_out(neighbor)?
            .into_iter()
            .map(|route| (cursor(&route.key), route))
            .filter(|(place, _)| after.is_none_or(|after| place.as_str() > after))
            .collect();
        places.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let is_last = places.len() <= limit;
        places.truncate(limit);
        let next_cursor = places.last().map(|(place, _)| place.clone());
        let routes: Vec<RibRoute> = places
            .iter()
            .map(|(_, route)| self.rib_route(route, state))
            .collect();
        Some(RibList {
            count: routes.len(),
            routes,
            next_cursor: next_cursor.filter(|_| !is_last),
        })
    }

    fn rib_route(&self, route: &RouteStatus, state: &State) -> RibRoute {
        let (desired, mitigations) = self.inner().table.explain(&route.key);
        let (standing, reason) = state_of(&route.delivery);
        let is_withdrawn = route.desired.is_none() || route.delivery == Delivery::Withdrawing;
        RibRoute {
            nlri: route.key.to_string(),
            afi_safi: route.key.family().to_string(),
            rule: mitigations.iter().find_map(|id| text(state, *id, &route.key)),
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

/// The rule as its mitigation writes it.
fn text(state: &State, mitigation: MitigationId, key: &NlriKey) -> Option<String> {
    let mitigation = state.mitigations.get(&mitigation)?;
    let is_it = |rule: &&prefixd_api::rule::Rule| {
        wanted(mitigation, rule).is_ok_and(|wanted| wanted.rule.key() == key)
    };
    mitigation.rules.iter().find(is_it).map(ToString::to_string)
}
