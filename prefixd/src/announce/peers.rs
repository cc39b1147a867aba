//! The neighbours and the rules at them, in the words of the API.

use super::on_loss::on_loss;
use super::{Announcer, Neighbor, TOLD_AT_ONCE, is_announced, wanted};
use prefixd_api::feed::FeedBody;
use prefixd_api::ids::MitigationId;
use prefixd_api::mitigation::{Delivery, Mitigation};
use prefixd_api::peer::{
    PeerDetail, PeerDisabled, PeerNotification, PeerOccurrence, PeerParked, PeerSession,
};
use prefixd_api::resource::{Announcement, AnnouncementState, Peer, PeerState, RuleCounts};
use prefixd_api::time::Timestamp;
use prefixd_bgp::flowspec::NlriKey;
use prefixd_bgp::{
    Admin, Delivery as At, MessageCounts, NotificationSeen, PeerStatus, SessionChange, SessionEvent,
    SessionPhase,
};
use std::sync::Arc;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;
use tracing::warn;

impl Announcer {
    /// Every neighbour as it is now, in the order of the configuration.
    #[must_use]
    pub fn peers(&self) -> Vec<Peer> {
        let (neighbors, disabled) = {
            let inner = self.inner();
            (inner.neighbors.clone(), inner.disabled.clone())
        };
        let statuses = self.speaker.peers();
        neighbors
            .iter()
            .filter_map(|neighbor| {
                let status = statuses.iter().find(|status| status.name == neighbor.name)?;
                Some(self.peer(status, neighbor, disabled.get(&neighbor.name)))
            })
            .collect()
    }

    /// One neighbour with everything there is to see.
    #[must_use]
    pub fn peer_detail(&self, name: &str) -> Option<PeerDetail> {
        let (neighbor, disabled) = {
            let inner = self.inner();
            let neighbor = inner.neighbors.iter().find(|neighbor| &*neighbor.name == name)?;
            (neighbor.clone(), inner.disabled.get(name).cloned())
        };
        let status = self.speaker.peer(name)?;
        let history = self.speaker.history(name)?;
        let seen = |seen: &NotificationSeen| PeerNotification {
            at: self.at(seen.at),
            code: seen.info.code,
            subcode: seen.info.subcode,
            meaning: seen.info.meaning.to_owned(),
            text: seen.info.text.clone(),
        };
        Some(PeerDetail {
            peer: self.peer(&status, &neighbor, disabled.as_ref()),
            session: status.session.as_ref().map(|session| PeerSession {
                local: session.local.to_string(),
                remote: session.remote.to_string(),
                dialled: session.dialled,
                offered: session.offered.clone(),
                four_octet_as: session.four_octet_as,
                enhanced_refresh: session.enhanced_refresh,
                md5: session.md5,
                ttl_security: session.ttl_security,
            }),
            last_received: status.last_received.as_ref().map(seen),
            last_sent: status.last_sent.as_ref().map(seen),
            retry_at: status.retry_at.map(|at| self.at(at)),
            history: history
                .iter()
                .map(|entry| PeerOccurrence {
                    at: self.at(entry.at),
                    last_at: self.at(entry.last),
                    times: entry.times,
                    what: entry.what.to_string(),
                })
                .collect(),
            parked: self
                .speaker
                .parked(name)?
                .iter()
                .map(|(key, parked)| PeerParked {
                    nlri: key.to_string(),
                    afi_safi: key.family().to_string(),
                    since: self.at(parked.since),
                    until: self.at(parked.until),
                    times: parked.times,
                    why: parked.why.to_string(),
                })
                .collect(),
        })
    }

    /// Whether any session is established.
    #[must_use]
    pub fn any_established(&self) -> bool {
        self.inner()
            .neighbors
            .iter()
            .any(|neighbor| self.speaker.is_established(&neighbor.name))
    }

    /// How rules stand at the neighbours, for as many mitigations as are asked about.
    #[must_use]
    pub fn deliveries(&self) -> Deliveries<'_> {
        let enforcing: Vec<Neighbor> = self
            .inner()
            .neighbors
            .iter()
            .filter(|neighbor| neighbor.enforce)
            .cloned()
            .collect();
        let established = enforcing
            .iter()
            .filter(|neighbor| self.speaker.is_established(&neighbor.name))
            .cloned()
            .collect();
        Deliveries {
            announcer: self,
            established,
            enforcing,
        }
    }

    /// Tells subscribers how changed mitigations stand, once every established neighbour has been told its rules
    /// or will not be. Called every second.
    pub fn tell_deliveries(&self) {
        let untold = std::mem::take(&mut self.inner().untold);
        if self.ephemeral.receiver_count() == 0 || untold.is_empty() {
            return;
        }
        let deliveries = self.deliveries();
        let (mut waiting, mut told) = (Vec::new(), 0);
        for mitigation_id in untold {
            if told == TOLD_AT_ONCE || !deliveries.is_settled(mitigation_id) {
                waiting.push(mitigation_id);
                continue;
            }
            told += 1;
            // Nobody may be listening any more.
            let _ = self.ephemeral.send(FeedBody::DeliveryChanged {
                mitigation_id,
                delivery: deliveries.of_routes(mitigation_id),
            });
        }
        self.inner().untold.extend(waiting);
    }

    /// Each rule of a mitigation at each neighbour.
    #[must_use]
    pub fn announcements(&self, mitigation: &Mitigation) -> Vec<Announcement> {
        let neighbors = self.inner().neighbors.clone();
        let mut announcements = Vec::new();
        for rule in &mitigation.rules {
            let wanted = wanted(mitigation, rule);
            for neighbor in &neighbors {
                let (state, reason) = match &wanted {
                    Err(why) => (
                        AnnouncementState::Refused,
                        Some(format!("the rule has no valid FlowSpec form: {why}")),
                    ),
                    Ok(_) if !neighbor.enforce => (
                        AnnouncementState::Refused,
                        Some("enforce is false for this neighbour".to_owned()),
                    ),
                    Ok(wanted) => match self.speaker.route(&neighbor.name, wanted.rule.key()) {
                        None => continue,
                        Some(route) => state_of(&route.delivery),
                    },
                };
                announcements.push(Announcement {
                    neighbor: neighbor.name.to_string(),
                    rule: rule.to_string(),
                    nlri: wanted.as_ref().ok().map(|wanted| wanted.rule.key().to_string()),
                    state,
                    reason,
                });
            }
        }
        announcements
    }

    /// When the first neighbour got all rules of a mitigation.
    #[must_use]
    pub fn advertised_at(&self, mitigation: MitigationId) -> Option<Timestamp> {
        let (keys, neighbors) = {
            let inner = self.inner();
            (inner.table.keys_of(mitigation).to_vec(), inner.neighbors.clone())
        };
        let written_everywhere = |name: &str| {
            let written: Option<Vec<Instant>> = keys
                .iter()
                .map(|key| self.speaker.route(name, key)?.written_at)
                .collect();
            written?.into_iter().max()
        };
        let first = neighbors
            .iter()
            .filter_map(|neighbor| written_everywhere(&neighbor.name))
            .min()?;
        Some(self.at(first))
    }

    /// Intended routes with those that no router can be told, and the fewest that an enforcing neighbour is meant to hold.
    #[must_use]
    pub fn rule_counts(&self) -> RuleCounts {
        let (intended, neighbors) = {
            let inner = self.inner();
            let unroutable: u64 = inner.unroutable.values().sum();
            (inner.table.len() as u64 + unroutable, inner.neighbors.clone())
        };
        let statuses = self.speaker.peers();
        let announced = statuses
            .iter()
            .filter(|status| {
                neighbors
                    .iter()
                    .any(|neighbor| neighbor.enforce && neighbor.name == status.name)
            })
            .map(|status| status.rules.desired as u64)
            .min();
        RuleCounts {
            intended,
            announced: announced.unwrap_or(0),
        }
    }

    /// Tells the feed and the log about sessions until the speaker ends.
    pub async fn watch_sessions(&self) {
        let mut events = self.speaker.events();
        loop {
            match events.recv().await {
                Ok(event) => self.tell_session(&event),
                Err(RecvError::Lagged(missed)) => {
                    self.inner().owe_telling_all();
                    warn!(missed, "session changes came faster than they were told");
                }
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn tell_session(&self, event: &SessionEvent) {
        let neighbor = event.neighbor.to_string();
        {
            // What the neighbour carries stands otherwise now.
            let mut inner = self.inner();
            let carries = |known: &Neighbor| known.enforce && known.name == event.neighbor;
            if inner.neighbors.iter().any(carries) {
                inner.owe_telling_all();
            }
        }
        let (state, reason) = match &event.change {
            SessionChange::Up { .. } => (PeerState::Established, None),
            SessionChange::Down { loss } => {
                let now = self.speaker.peer(&neighbor);
                match now.map(|status| status.admin) {
                    Some(Admin::Disabled { text, .. }) => {
                        (PeerState::Disabled, Some(format!("disabled: {text}")))
                    }
                    _ => (PeerState::Idle, loss.as_ref().map(ToString::to_string)),
                }
            }
        };
        // Nobody may be listening.
        let _ = self.ephemeral.send(FeedBody::PeerChanged {
            neighbor,
            state,
            reason,
        });
    }

    /// A moment of the monotonic clock on the engine's.
    pub(super) fn at(&self, moment: Instant) -> Timestamp {
        let (now, here) = (self.clock.now(), Instant::now());
        now.saturating_sub(here.saturating_duration_since(moment))
            .saturating_add(moment.saturating_duration_since(here))
    }

    fn since(&self, status: &PeerStatus, disabled: Option<&Arc<PeerDisabled>>) -> Timestamp {
        match (&status.session, disabled, &status.last_error) {
            (Some(session), ..) => self.at(session.since),
            (None, Some(disabled), _) => disabled.disabled_at,
            (None, None, Some(error)) => self.at(error.at),
            (None, None, None) => self.started_at,
        }
    }

    fn peer(&self, status: &PeerStatus, neighbor: &Neighbor, disabled: Option<&Arc<PeerDisabled>>) -> Peer {
        let session = status.session.as_ref();
        Peer {
            name: status.name.to_string(),
            address: status.address.to_string(),
            peer_asn: status.peer_asn,
            state: state(status),
            since: self.since(status, disabled),
            router_id: session.map(|session| session.router_id.to_string()),
            hold_time_seconds: session.and_then(|session| u16::try_from(session.hold_time.as_secs()).ok()),
            families: session.map_or_else(Vec::new, |session| {
                session.families.iter().map(ToString::to_string).collect()
            }),
            capabilities: session.map_or_else(Vec::new, |session| session.capabilities.clone()),
            on_loss: session.map(|session| on_loss(session.retention, neighbor.measured_restart)),
            enforce: neighbor.enforce,
            disabled: disabled.map(|disabled| PeerDisabled::clone(disabled)),
            rules_desired: status.rules.desired as u64,
            rules_advertised: status.rules.advertised as u64,
            rules_queued: status.rules.dirty as u64,
            rules_unsupported: status.rules.refused as u64,
            rules_over_budget: status.rules.over_budget as u64,
            rules_displaced: status.rules.displaced as u64,
            rules_budget: status.rules.budget.map(|bound| bound as u64),
            rules_quarantined: status.rules.quarantined as u64,
            rules_on_probation: status.rules.probation as u64,
            established_total: status.established_total,
            flaps: status.flaps,
            flaps_by_cause: status
                .flaps_by_cause
                .iter()
                .map(|(cause, times)| (cause.to_string(), *times))
                .collect(),
            counters: [("sent", status.sent), ("received", status.received)]
                .into_iter()
                .flat_map(|(direction, counts)| counters(direction, counts))
                .collect(),
            last_error: status.last_error.as_ref().map(|error| error.loss.to_string()),
            last_error_at: status.last_error.as_ref().map(|error| self.at(error.at)),
        }
    }
}

/// How rules stand at the neighbours that get rules. One with `enforce: false` holds none by configuration and does
/// not count: nothing is missing there.
pub struct Deliveries<'a> {
    announcer: &'a Announcer,
    established: Vec<Neighbor>,
    enforcing: Vec<Neighbor>,
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
            established: count(&self.established),
            ..Delivery::default()
        }
    }

    fn of_routes(&self, id: MitigationId) -> Delivery {
        let mut delivery = self.of_none();
        let (keys, unroutable) = {
            let inner = self.announcer.inner();
            (
                inner.table.keys_of(id).to_vec(),
                inner.unroutable.contains_key(&id),
            )
        };
        if unroutable {
            delivery.unsupported = count(&self.enforcing);
            return delivery;
        }
        for neighbor in &self.enforcing {
            let at = |key| self.at(neighbor, key);
            if keys.iter().any(|key| matches!(at(key), Some(At::Refused(_)))) {
                delivery.unsupported += 1;
            } else if !keys.is_empty() && keys.iter().all(|key| at(key) == Some(At::Advertised)) {
                delivery.advertised += 1;
            }
        }
        delivery
    }

    /// Whether no established neighbour has a rule still to be written.
    fn is_settled(&self, id: MitigationId) -> bool {
        let keys = self.announcer.inner().table.keys_of(id).to_vec();
        self.established.iter().all(|neighbor| {
            keys.iter().all(|key| {
                matches!(
                    self.at(neighbor, key),
                    Some(
                        At::Advertised
                            | At::OverBudget(_)
                            | At::Displaced(_)
                            | At::Probation
                            | At::Quarantined(_)
                            | At::Refused(_)
                    )
                )
            })
        })
    }

    fn at(&self, neighbor: &Neighbor, key: &NlriKey) -> Option<At> {
        let route = self.announcer.speaker.route(&neighbor.name, key)?;
        Some(route.delivery)
    }
}

fn count(neighbors: &[Neighbor]) -> u32 {
    u32::try_from(neighbors.len()).unwrap_or(u32::MAX)
}

fn counters(direction: &str, counts: MessageCounts) -> [(String, u64); 5] {
    let MessageCounts {
        open,
        update,
        notification,
        keepalive,
        route_refresh,
    } = counts;
    [
        (format!("opens_{direction}"), open),
        (format!("updates_{direction}"), update),
        (format!("notifications_{direction}"), notification),
        (format!("keepalives_{direction}"), keepalive),
        (format!("route_refreshes_{direction}"), route_refresh),
    ]
}

/// A disabled neighbour may still have a session: until its rules are taken back.
fn state(status: &PeerStatus) -> PeerState {
    match status.phase {
        _ if status.admin.is_disabled() && status.session.is_none() => PeerState::Disabled,
        SessionPhase::Idle => PeerState::Idle,
        SessionPhase::Connect => PeerState::Connect,
        SessionPhase::Active => PeerState::Active,
        SessionPhase::OpenSent => PeerState::OpenSent,
        SessionPhase::OpenConfirm => PeerState::OpenConfirm,
        SessionPhase::Established => PeerState::Established,
    }
}

pub(super) fn state_of(delivery: &At) -> (AnnouncementState, Option<String>) {
    match delivery {
        At::Queued => (AnnouncementState::Queued, None),
        At::Advertised => (AnnouncementState::Advertised, None),
        At::Withdrawing => (AnnouncementState::Withdrawing, None),
        At::SessionDown => (AnnouncementState::SessionDown, None),
        At::Disabled => (
            AnnouncementState::SessionDown,
            Some("the neighbour is disabled; the rule is sent when it is enabled again".to_owned()),
        ),
        At::OverBudget(bound) => (AnnouncementState::OverBudget, Some(bound.to_string())),
        At::Displaced(bound) => (
            AnnouncementState::OverBudget,
            Some(format!("a more important rule took its place: {bound}")),
        ),
        At::Probation => (
            AnnouncementState::Probation,
            Some(
                "the session was lost soon after the rule was sent; it is tried again when the others are sent".to_owned(),
            ),
        ),
        At::Quarantined(parked) => (AnnouncementState::Quarantined, Some(parked.to_string())),
        At::Refused(refusal) => (AnnouncementState::Refused, Some(refusal.to_string())),
    }
}
