//! What can be seen of the rules of one neighbour.

use std::sync::Arc;

use super::entry::{Admission, Entry};
use super::quarantine::Trust;
use super::{Latency, Rib, RibCounts, RibTotals};
use crate::flowspec::{CanonicalRule, Family, Fit, NlriKey, Packet};
use crate::route::{Delivery, Refusal, Route, RouteStatus};

impl RibCounts {
    fn and(self, other: Self) -> Self {
        let Self {
            desired,
            advertised,
            dirty,
            refused,
            over_budget,
            displaced,
            budget,
            quarantined,
            probation,
            waiting,
        } = other;
        Self {
            desired: self.desired + desired,
            advertised: self.advertised + advertised,
            dirty: self.dirty + dirty,
            refused: self.refused + refused,
            over_budget: self.over_budget + over_budget,
            displaced: self.displaced + displaced,
            budget: self.budget.or(budget),
            quarantined: self.quarantined + quarantined,
            probation: self.probation + probation,
            waiting: self.waiting + waiting,
        }
    }
}

impl Rib {
    /// All families together.
    pub(crate) fn counts(&self) -> RibCounts {
        let each = Family::ALL.map(|family| self.counts_of(family));
        let sum = each.into_iter().fold(RibCounts::default(), RibCounts::and);
        RibCounts {
            budget: self.policy.total(),
            ..sum
        }
    }

    /// One family.
    pub(crate) fn counts_of(&self, family: Family) -> RibCounts {
        let counts = self.counts[family.index()];
        let agrees = self
            .session
            .as_ref()
            .is_none_or(|session| session.families.contains(&family));
        let not_negotiated = if agrees { 0 } else { self.admitted[family.index()] };
        RibCounts {
            refused: counts.refused + not_negotiated,
            ..counts
        }
    }

    /// One figure of all families.
    pub(super) fn figure(&self, of: impl Fn(&RibCounts) -> usize) -> usize {
        self.counts.iter().map(of).sum()
    }

    pub(crate) fn latency(&self) -> &Latency {
        &self.latency
    }

    pub(crate) fn totals(&self) -> RibTotals {
        self.totals
    }

    /// How far the rule has come; `None` if the neighbour neither should hold it nor was told it.
    pub(crate) fn delivery(&self, key: &NlriKey) -> Option<Delivery> {
        let id = self.slots.find(key)?;
        Some(self.delivery_of(self.slots.rule(id)?, &self.slots.get(id)?))
    }

    /// Every entry, in no order.
    pub(crate) fn snapshot(&self) -> Vec<RouteStatus> {
        let status = |(_, rule, entry): (_, &Arc<CanonicalRule>, Entry)| self.status_of(rule, &entry);
        self.slots.iter().map(status).collect()
    }

    /// The keys of what the neighbour should hold in `most` slots from one on, and the next slot if there is one.
    pub(crate) fn desired_keys(&self, from: usize, most: usize) -> (Vec<NlriKey>, Option<usize>) {
        self.slots.desired_keys(from, most)
    }

    /// What the neighbour should hold under this key.
    pub(crate) fn desired(&self, key: &NlriKey) -> Option<Route> {
        self.slots.route(self.slots.find(key)?)
    }

    /// The entries whose rules match such packets or may match them, in no order.
    pub(crate) fn matching(&self, packet: &Packet) -> Vec<(RouteStatus, Fit)> {
        let matching = |(_, rule, entry): (_, &Arc<CanonicalRule>, Entry)| match rule.fit(packet) {
            Fit::No => None,
            fit => Some((self.status_of(rule, &entry), fit)),
        };
        self.slots.iter().filter_map(matching).collect()
    }

    /// One entry.
    pub(crate) fn route(&self, key: &NlriKey) -> Option<RouteStatus> {
        let id = self.slots.find(key)?;
        Some(self.status_of(self.slots.rule(id)?, &self.slots.get(id)?))
    }

    fn status_of(&self, rule: &Arc<CanonicalRule>, entry: &Entry) -> RouteStatus {
        RouteStatus {
            key: rule.key().clone(),
            desired: entry.desired.map(|desired| Route {
                rule: rule.clone(),
                action: desired.action,
                priority: desired.priority,
                not_after: desired.not_after,
            }),
            advertised: entry.told,
            written_at: entry.written_at,
            delivery: self.delivery_of(rule, entry),
        }
    }

    fn delivery_of(&self, rule: &CanonicalRule, entry: &Entry) -> Delivery {
        let Some(desired) = entry.desired else {
            return Delivery::Withdrawing;
        };
        // Every one of these has a reason; the state of what only waits is for a defect.
        let or_waits = |reason: Option<Delivery>| reason.unwrap_or(Delivery::Queued);
        match desired.admission {
            Admission::Refused => {
                return or_waits(self.policy.refusal(rule, desired.action).map(Delivery::Refused));
            }
            Admission::OverBudget { displaced } => {
                let as_what = if displaced {
                    Delivery::Displaced
                } else {
                    Delivery::OverBudget
                };
                let full = self
                    .policy
                    .full(self.admitted, rule.family())
                    .map(|full| full.bound);
                return or_waits(full.or(self.policy.bound_of(rule.family())).map(as_what));
            }
            Admission::Quarantined => {
                let parked = self.quarantine.holds(rule, desired.action);
                return or_waits(parked.cloned().map(Delivery::Quarantined));
            }
            Admission::Waiting | Admission::Stays if !self.suspended => {
                return or_waits(
                    self.asks_why_it_waits(rule, desired.action)
                        .map(Delivery::Waiting),
                );
            }
            Admission::Waiting | Admission::Stays | Admission::Admitted => {}
        }
        if self.suspended {
            return if entry.told.is_some() || entry.in_flight {
                Delivery::Withdrawing
            } else {
                Delivery::Disabled
            };
        }
        match &self.session {
            None => Delivery::SessionDown,
            Some(session) if !session.families.contains(&rule.family()) => {
                Delivery::Refused(Refusal::FamilyNotNegotiated)
            }
            Some(_) if entry.trust == Trust::Suspect => Delivery::Probation,
            Some(_) if entry.is_as_desired() => Delivery::Advertised,
            Some(_) => Delivery::Queued,
        }
    }
}
