//! How the rules of a mitigation stand at the neighbours, in numbers.

use super::groups::Group;
use super::{Announcer, Inner, TOLD_AT_ONCE, is_announced};
use prefixd_api::feed::FeedBody;
use prefixd_api::ids::MitigationId;
use prefixd_api::mitigation::{Delivery, Mitigation};
use prefixd_bgp::Delivery as At;
use prefixd_bgp::flowspec::NlriKey;
use std::ops::Bound;
use std::sync::Arc;

/// What a neighbour that gets rules should hold of a mitigation.
pub(super) struct Holding {
    pub(super) neighbor: Arc<str>,
    pub(super) keys: Arc<[NlriKey]>,
    /// Whether it gets something of every rule.
    pub(super) whole: bool,
}

impl Inner {
    pub(super) fn holdings(&self, id: MitigationId) -> Vec<Holding> {
        let of = |group: &Group| {
            let keys: Arc<[NlriKey]> = group.keys_for(id).into();
            let whole = group.compiled(id).is_none_or(|compiled| compiled.is_whole());
            let members = group.members.clone().into_iter();
            members.map(move |neighbor| Holding {
                neighbor,
                keys: Arc::clone(&keys),
                whole,
            })
        };
        self.groups.iter().flat_map(of).collect()
    }
}

impl Inner {
    /// Takes those that are looked at in this second: as many as are told at most, and each time those after the ones before,
    /// so that what takes long to settle neither costs more nor keeps others waiting. Where nobody listens nothing is owed.
    pub(super) fn next_untold(&mut self, is_heard: bool) -> Vec<MitigationId> {
        if !is_heard {
            self.untold.clear();
        }
        let after = self.looked_at_last.map_or(Bound::Unbounded, Bound::Excluded);
        let behind = self.untold.range((after, Bound::Unbounded));
        let next: Vec<_> = behind
            .chain(&self.untold)
            .take(TOLD_AT_ONCE.min(self.untold.len()))
            .copied()
            .collect();
        self.looked_at_last = next.last().copied();
        for id in &next {
            self.untold.remove(id);
        }
        next
    }
}

impl Announcer {
    pub(super) fn delivery_at(&self, neighbor: &str, key: &NlriKey) -> Option<At> {
        let route = self.speaker.route(neighbor, key)?;
        Some(route.delivery)
    }

    /// Whether any neighbour has something of a mitigation, or is told it as soon as it can be. What waits for a place in a budget
    /// counts: mattering more for that, rules would take it from each other in turns.
    #[must_use]
    pub fn is_anywhere(&self, id: MitigationId) -> bool {
        let holdings = self.inner().holdings(id);
        let is_at = |neighbor: &str, key| {
            let at = self.delivery_at(neighbor, key);
            matches!(
                at,
                Some(At::Advertised | At::Queued | At::OverBudget(_) | At::Displaced(_))
            )
        };
        holdings
            .iter()
            .any(|holding| holding.keys.iter().any(|key| is_at(&holding.neighbor, key)))
    }

    /// How rules stand at the neighbours, for as many mitigations as are asked about.
    #[must_use]
    pub fn deliveries(&self) -> Deliveries<'_> {
        let inner = self.inner();
        let members = inner.groups.iter().flat_map(|group| &group.members);
        let established = members.filter(|name| self.speaker.is_established(name));
        Deliveries {
            announcer: self,
            established: established.cloned().collect(),
        }
    }

    /// Tells subscribers how changed mitigations stand, once every established neighbour has been told its rules
    /// or will not be. Called every second.
    pub fn tell_deliveries(&self) {
        let looked_at = self.inner().next_untold(self.ephemeral.receiver_count() > 0);
        if looked_at.is_empty() {
            return;
        }
        let deliveries = self.deliveries();
        let is_settled = |id: &MitigationId| deliveries.is_settled(*id);
        let (told, waiting): (Vec<_>, Vec<_>) = looked_at.into_iter().partition(is_settled);
        for mitigation_id in told {
            // Nobody may be listening any more.
            let _ = self.ephemeral.send(FeedBody::DeliveryChanged {
                mitigation_id,
                delivery: deliveries.of_routes(mitigation_id),
            });
        }
        self.inner().untold.extend(waiting);
    }
}

/// How rules stand at the neighbours that get rules. One with `enforce: false` holds none by configuration and does
/// not count: nothing is missing there.
pub struct Deliveries<'a> {
    announcer: &'a Announcer,
    established: Vec<Arc<str>>,
}

impl Deliveries<'_> {
    /// Counts neighbours for one mitigation.
    #[must_use]
    pub fn of(&self, mitigation: &Mitigation) -> Delivery {
        if is_announced(mitigation) {
            self.of_routes(mitigation.mitigation_id)
        } else {
            self.of_none()
        }
    }

    fn of_none(&self) -> Delivery {
        Delivery {
            established: u32::try_from(self.established.len()).unwrap_or(u32::MAX),
            ..Delivery::default()
        }
    }

    fn of_routes(&self, id: MitigationId) -> Delivery {
        let mut delivery = self.of_none();
        let holdings = self.announcer.inner().holdings(id);
        for holding in &holdings {
            let (mut refused, mut there) = (!holding.whole, !holding.keys.is_empty());
            for key in holding.keys.iter() {
                match self.at(&holding.neighbor, key) {
                    Some(At::Advertised) => {}
                    at => {
                        there = false;
                        refused |= matches!(at, Some(At::Refused(_)));
                    }
                }
            }
            if refused {
                delivery.unsupported += 1;
            } else if there {
                delivery.advertised += 1;
            }
        }
        delivery
    }

    /// Whether no established neighbour has a rule still to be written. What waits for another neighbour, or for room, is
    /// told again when that changes.
    fn is_settled(&self, id: MitigationId) -> bool {
        let holdings = self.announcer.inner().holdings(id);
        let is_done = |neighbor: &str, key| {
            matches!(
                self.at(neighbor, key),
                Some(
                    At::Advertised
                        | At::OverBudget(_)
                        | At::Displaced(_)
                        | At::Probation
                        | At::Quarantined(_)
                        | At::Waiting(_)
                        | At::Refused(_)
                )
            )
        };
        holdings
            .iter()
            .filter(|holding| self.established.contains(&holding.neighbor))
            .all(|holding| holding.keys.iter().all(|key| is_done(&holding.neighbor, key)))
    }

    fn at(&self, neighbor: &str, key: &NlriKey) -> Option<At> {
        self.announcer.delivery_at(neighbor, key)
    }
}
