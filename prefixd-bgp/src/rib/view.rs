//! What can be seen of the rules of one neighbour.

use super::entry::{Admission, Entry};
use super::quarantine::Trust;
use super::{Latency, Rib, RibCounts, RibTotals};
use crate::flowspec::{Family, NlriKey};
use crate::route::{Delivery, Refusal, RouteStatus};

impl Rib {
    pub(crate) fn counts(&self) -> RibCounts {
        let not_negotiated: usize = Family::ALL
            .into_iter()
            .filter(|family| {
                self.session
                    .as_ref()
                    .is_some_and(|session| !session.families.contains(family))
            })
            .map(|family| self.admitted[family.index()])
            .sum();
        RibCounts {
            refused: self.counts.refused + not_negotiated,
            ..self.counts
        }
    }

    pub(crate) fn latency(&self) -> &Latency {
        &self.latency
    }

    pub(crate) fn totals(&self) -> RibTotals {
        self.totals
    }

    /// How far the rule has come; `None` if the neighbour neither should hold it nor was told it.
    pub(crate) fn delivery(&self, key: &NlriKey) -> Option<Delivery> {
        self.entries.get(key).map(|entry| self.delivery_of(entry))
    }

    /// Every entry, in no order.
    pub(crate) fn snapshot(&self) -> Vec<RouteStatus> {
        self.entries
            .iter()
            .map(|(key, entry)| self.status_of(key, entry))
            .collect()
    }

    /// One entry.
    pub(crate) fn route(&self, key: &NlriKey) -> Option<RouteStatus> {
        self.entries.get(key).map(|entry| self.status_of(key, entry))
    }

    fn status_of(&self, key: &NlriKey, entry: &Entry) -> RouteStatus {
        RouteStatus {
            key: key.clone(),
            desired: entry.desired.as_ref().map(|desired| desired.route.clone()),
            advertised: entry.told,
            written_at: entry.written_at,
            delivery: self.delivery_of(entry),
        }
    }

    fn delivery_of(&self, entry: &Entry) -> Delivery {
        let Some(desired) = &entry.desired else {
            return Delivery::Withdrawing;
        };
        match desired.admission {
            Admission::Refused(refusal) => return Delivery::Refused(refusal),
            Admission::OverBudget(bound) => return Delivery::OverBudget(bound),
            Admission::Quarantined => {
                let parked = self.quarantine.holds(&desired.route);
                return parked.map_or(Delivery::Queued, |parked| Delivery::Quarantined(parked.clone()));
            }
            Admission::Admitted => {}
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
            Some(session) if !session.families.contains(&desired.route.rule.family()) => {
                Delivery::Refused(Refusal::FamilyNotNegotiated)
            }
            Some(_) if entry.trust == Trust::Suspect => Delivery::Probation,
            Some(_) if entry.told == Some(desired.route.action) && !entry.in_flight => Delivery::Advertised,
            Some(_) => Delivery::Queued,
        }
    }
}
