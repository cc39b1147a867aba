//! Which rules a neighbour may be told at all.

use std::collections::BTreeSet;

use crate::config::NeighborConfig;
use crate::flowspec::Family;
use crate::route::{Refusal, Route};

/// The part of the configuration, and of what the router has said, that decides what is sent.
pub(super) struct Policy {
    families: BTreeSet<Family>,
    operators: usize,
    bytes: usize,
    max_rules: usize,
    /// Per family, after the router said that it holds as many as it takes.
    ceilings: [usize; 2],
}

impl Policy {
    pub(super) fn new(config: &NeighborConfig) -> Self {
        Self {
            families: config.families.clone(),
            operators: config.limits.operators_per_component,
            bytes: config.limits.nlri_bytes,
            max_rules: config.max_rules.unwrap_or(usize::MAX),
            ceilings: [usize::MAX; 2],
        }
    }

    /// The router takes no more than `bound` rules of the family: stay well below, or the next session ends the same way.
    pub(super) fn set_ceiling(&mut self, family: Family, bound: usize) {
        self.ceilings[family.index()] = bound - bound.div_ceil(10);
    }

    /// Whether one more rule of the family may be sent beside those admitted.
    pub(super) fn has_room(&self, admitted: [usize; 2], family: Family) -> bool {
        admitted.iter().sum::<usize>() < self.max_rules
            && admitted[family.index()] < self.ceilings[family.index()]
    }

    pub(super) fn refusal(&self, route: &Route) -> Option<Refusal> {
        if !self.families.contains(&route.rule.family()) {
            return Some(Refusal::FamilyNotConfigured);
        }
        let (component, operators) = route.rule.widest_component();
        if operators > self.operators {
            return Some(Refusal::TooManyOperators {
                component,
                operators,
                limit: self.operators,
            });
        }
        let bytes = route.rule.key().component_bytes();
        (bytes > self.bytes).then_some(Refusal::TooLong {
            bytes,
            limit: self.bytes,
        })
    }
}
