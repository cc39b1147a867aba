//! Which rules a neighbour may be told at all.

use std::collections::BTreeSet;

use crate::config::NeighborConfig;
use crate::flowspec::Family;
use crate::route::{Refusal, Route};

/// The part of the configuration that decides what is sent.
pub(super) struct Policy {
    families: BTreeSet<Family>,
    operators: usize,
    bytes: usize,
    pub(super) max_rules: usize,
}

impl Policy {
    pub(super) fn new(config: &NeighborConfig) -> Self {
        Self {
            families: config.families.clone(),
            operators: config.limits.operators_per_component,
            bytes: config.limits.nlri_bytes,
            max_rules: config.max_rules.unwrap_or(usize::MAX),
        }
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
