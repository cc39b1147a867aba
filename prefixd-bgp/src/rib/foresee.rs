//! What would become of rules that nobody has asked for yet: played on a copy, by the code that will decide.

use tokio::time::Instant;

use super::Rib;
use super::entry::Admission;
use crate::flowspec::NlriKey;
use crate::route::{Delivery, Route};

/// Changes that are only tried.
#[derive(Debug, Clone, Default)]
pub struct WhatIf {
    /// What would end first.
    pub ends_before: Vec<NlriKey>,
    /// What would then be announced.
    pub announced: Vec<Route>,
    /// What would end after that: the rules of before a change stay a moment beside the new ones.
    pub ends_after: Vec<NlriKey>,
}

/// What they would come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Foreseen {
    /// How each of the announced would stand at first, in order.
    pub deliveries: Vec<Delivery>,
    /// Rules that have a place now and would lose it.
    pub displaced: Vec<NlriKey>,
}

impl Rib {
    /// On a copy: takes as long as there are rules, and needs no lock.
    pub(crate) fn foresee(mut self, changes: WhatIf, now: Instant) -> Foreseen {
        let WhatIf {
            ends_before,
            announced,
            ends_after,
        } = changes;
        self.only_asks();
        // Without a bound nobody loses anything.
        let entries = self
            .slots
            .iter()
            .filter(|(.., entry)| self.is_bounded && entry.has_place());
        let before: Vec<NlriKey> = entries.map(|(_, rule, _)| rule.key().clone()).collect();
        for key in &ends_before {
            self.withdraw(key);
        }
        let keys: Vec<NlriKey> = announced.iter().map(|route| route.rule.key().clone()).collect();
        for route in announced {
            self.announce(route, now);
        }
        for key in &ends_after {
            self.withdraw(key);
        }
        let lost = |key: &NlriKey| match self.slots.find(key).map(|id| self.slots.standing(id)) {
            Some((Some(Admission::Waiting), _)) => !keys.contains(key),
            Some((Some(Admission::OverBudget { displaced }), _)) => displaced,
            _ => false,
        };
        Foreseen {
            deliveries: keys
                .iter()
                .map(|key| self.delivery(key).unwrap_or(Delivery::Queued))
                .collect(),
            displaced: before.into_iter().filter(lost).collect(),
        }
    }
}
