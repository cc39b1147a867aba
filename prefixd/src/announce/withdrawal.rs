//! What leaves the neighbours when a mitigation ends.

use super::Announcer;
use prefixd_api::mitigation::Mitigation;
use prefixd_api::preview::NeighborWithdrawal;

impl Announcer {
    /// What each neighbour would have no longer without this mitigation, and what another keeps there.
    #[must_use]
    pub fn withdrawal(&self, mitigation: &Mitigation) -> Vec<NeighborWithdrawal> {
        let id = mitigation.mitigation_id;
        let inner = self.inner();
        let of = |neighbor: &super::Neighbor| {
            let mut told = NeighborWithdrawal {
                neighbor: neighbor.name.to_string(),
                leaves: Vec::new(),
                stays: Vec::new(),
                may_hold_until: self.held_by(neighbor).map(|held| self.until(held)),
            };
            let Some(group) = inner.group_of(&neighbor.name) else {
                return told;
            };
            for key in group.table.keys_of(id) {
                let text = group
                    .compiled(id)
                    .and_then(|compiled| compiled.rule_of(key))
                    .map_or_else(|| key.to_string(), ToString::to_string);
                let (_, owners) = group.table.explain(key);
                if owners.iter().any(|owner| *owner != id) {
                    told.stays.push(text);
                } else {
                    told.leaves.push(text);
                }
            }
            told
        };
        inner.neighbors.iter().map(of).collect()
    }
}
