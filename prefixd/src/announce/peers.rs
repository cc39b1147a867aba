//! The neighbours and the rules at them, in the words of the API.

use super::deliveries::Holding;
use super::groups::Group;
use super::may_hold::joined;
use super::on_loss::on_loss;
use super::{Announcer, Inner, Neighbor};
use prefixd_api::config::Profile;
use prefixd_api::feed::FeedBody;
use prefixd_api::ids::MitigationId;
use prefixd_api::peer::{
    LagBucket, PeerDetail, PeerDisabled, PeerLag, PeerNotification, PeerOccurrence, PeerParked, PeerSession,
    PeerWriting,
};
use prefixd_api::resource::{AnnouncementForm, AnnouncementState, FamilyRules, Peer, PeerState, RuleCounts};
use prefixd_api::time::Timestamp;
use prefixd_api::victim::Victim;
use prefixd_bgp::flowspec::Family;
use prefixd_bgp::{
    Admin, Delivery as At, LATENCY_BUCKETS_SECONDS, MayHold, MessageCounts, NotificationSeen, PeerStatus,
    SessionChange, SessionEvent, SessionPhase,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;
use tracing::warn;

impl Announcer {
    /// Every neighbour as it is now, in the order of the configuration.
    #[must_use]
    pub fn peers(&self) -> Vec<Peer> {
        let statuses = self.speaker.peers();
        let inner = self.inner();
        inner
            .neighbors
            .iter()
            .filter_map(|neighbor| {
                let status = statuses.iter().find(|status| status.name == neighbor.name)?;
                Some(self.peer(status, &inner.about(neighbor, status.may_hold)))
            })
            .collect()
    }

    /// One neighbour with everything there is to see.
    #[must_use]
    pub fn peer_detail(&self, name: &str) -> Option<PeerDetail> {
        let status = self.speaker.peer(name)?;
        let about = {
            let inner = self.inner();
            let neighbor = inner.neighbors.iter().find(|neighbor| &*neighbor.name == name)?;
            inner.about(neighbor, status.may_hold)
        };
        let history = self.speaker.history(name)?;
        let seen = |seen: &NotificationSeen| PeerNotification {
            at: self.at(seen.at),
            code: seen.info.code,
            subcode: seen.info.subcode,
            meaning: seen.info.meaning.to_owned(),
            text: seen.info.text.clone(),
        };
        Some(PeerDetail {
            peer: self.peer(&status, &about),
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

    /// Whether rules go to this neighbour.
    #[must_use]
    pub fn enforces(&self, neighbor: &str) -> bool {
        let inner = self.inner();
        let mut neighbors = inner.neighbors.iter();
        neighbors.any(|known| &*known.name == neighbor && inner.gets_rules(known))
    }

    /// Whether a neighbour that gets rules is established.
    #[must_use]
    pub fn any_established(&self) -> bool {
        let inner = self.inner();
        let mut neighbors = inner.neighbors.iter();
        neighbors.any(|known| inner.gets_rules(known) && self.speaker.is_established(&known.name))
    }

    /// Whether a neighbour that gets rules lacks any, for longer than it takes to write them: its session is down, or it is not
    /// told them, or does not take them.
    #[must_use]
    pub fn is_lacking(&self) -> bool {
        let inner = self.inner();
        self.speaker.peers().iter().any(|status| {
            let rules = &status.rules;
            let lacks = status.session.is_none() || rules.quarantined + rules.probation + rules.refused > 0;
            let mut neighbors = inner.neighbors.iter();
            lacks && neighbors.any(|known| known.name == status.name && inner.gets_rules(known))
        })
    }

    /// When the first neighbour got everything of a mitigation that it can get.
    #[must_use]
    pub fn advertised_at(&self, mitigation: MitigationId) -> Option<Timestamp> {
        let holdings = self.inner().holdings(mitigation);
        let written = |holding: &Holding| {
            let written: Option<Vec<Instant>> = holding
                .keys
                .iter()
                .map(|key| self.speaker.route(&holding.neighbor, key)?.written_at)
                .collect();
            written?.into_iter().max()
        };
        let first = holdings.iter().filter_map(written).min()?;
        Some(self.at(first))
    }

    /// Rules that are intended, and those of them that the neighbour with the fewest is meant to hold.
    #[must_use]
    pub fn rule_counts(&self) -> RuleCounts {
        let statuses = self.speaker.peers();
        let inner = self.inner();
        let intended: u64 = inner.live.values().map(|live| live.rules.len() as u64).sum();
        let held = |name: &str, group: &Group| {
            let takes = group.fitted().filter(|fitted| !fitted.parts.is_empty()).count();
            let desired = statuses
                .iter()
                .find(|status| &*status.name == name)?
                .rules
                .desired;
            // Routes that the speaker lost are rules that are not there.
            Some(takes.saturating_sub(group.table.len().saturating_sub(desired)))
        };
        let announced = inner
            .groups
            .iter()
            .flat_map(|group| group.members.iter().filter_map(move |name| held(name, group)))
            .min();
        RuleCounts {
            intended,
            announced: announced.unwrap_or(0) as u64,
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
            SessionChange::Readmitted => return,
            SessionChange::Up { .. } => (PeerState::Established, None),
            SessionChange::Down { loss } => {
                let now = self.speaker.peer(&neighbor);
                match now.map(|status| status.admin) {
                    Some(Admin::Disabled { text, .. }) => {
                        (PeerState::Disabled, Some(format!("disabled: {text}")))
                    }
                    _ => {
                        let loss = loss.as_ref().map(ToString::to_string);
                        (PeerState::Idle, joined(loss, self.held_words(&neighbor)))
                    }
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
    pub(crate) fn at(&self, moment: Instant) -> Timestamp {
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

    fn peer(&self, status: &PeerStatus, about: &About) -> Peer {
        let session = status.session.as_ref();
        let disabled = about.disabled.as_ref();
        let refused = about.by_form.get(AnnouncementForm::Refused.as_str());
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
            on_loss: status
                .retention
                .map(|retention| on_loss(retention, about.profile.measured_restart())),
            may_hold_until: about.may_hold.map(|held| self.until(held)),
            enforce: about.enforce,
            disabled: disabled.map(|disabled| PeerDisabled::clone(disabled)),
            rules_desired: status.rules.desired as u64,
            rules_advertised: status.rules.advertised as u64,
            rules_queued: status.rules.dirty as u64,
            rules_unsupported: status.rules.refused as u64 + refused.copied().unwrap_or(0),
            rules_by_form: about.by_form.clone(),
            rules_over_budget: status.rules.over_budget as u64,
            rules_displaced: status.rules.displaced as u64,
            rules_budget: status.rules.budget.map(|bound| bound as u64),
            rules_quarantined: status.rules.quarantined as u64,
            rules_on_probation: status.rules.probation as u64,
            reflects: about.reflects,
            rules_waiting: status.rules.waiting as u64,
            rules_by_family: by_family(status, &about.refused),
            established_total: status.established_total,
            flaps: status.flaps,
            flaps_by_cause: status
                .flaps_by_cause
                .iter()
                .map(|(cause, times)| (cause.to_string(), *times))
                .collect(),
            writing: writing(status),
            counters: [("sent", status.sent), ("received", status.received)]
                .into_iter()
                .flat_map(|(direction, counts)| counters(direction, counts))
                .collect(),
            last_error: status.last_error.as_ref().map(|error| error.loss.to_string()),
            last_error_at: status.last_error.as_ref().map(|error| self.at(error.at)),
        }
    }
}

/// What is known of a neighbour besides its session.
struct About {
    enforce: bool,
    /// What it may hold without a session.
    may_hold: Option<MayHold>,
    reflects: bool,
    profile: Profile,
    disabled: Option<Arc<PeerDisabled>>,
    by_form: BTreeMap<String, u64>,
    /// Rules that have no form there.
    refused: BTreeMap<Family, u64>,
}

impl Inner {
    fn about(&self, neighbor: &Neighbor, may_hold: Option<MayHold>) -> About {
        let mut by_form = BTreeMap::new();
        let mut refused = BTreeMap::new();
        if let Some(group) = self.group_of(&neighbor.name) {
            for name in AnnouncementForm::NAMES {
                by_form.insert((*name).to_owned(), 0);
            }
            for (id, fitted) in group.fitted_of() {
                let form = AnnouncementForm::from(&fitted.form);
                if form == AnnouncementForm::Refused
                    && let Some(live) = self.live.get(&id)
                {
                    *refused.entry(flowspec_of(live.victim_ip)).or_insert(0) += 1;
                }
                *by_form.entry(form.as_str().to_owned()).or_insert(0) += 1;
            }
        }
        About {
            enforce: neighbor.enforce,
            may_hold: neighbor.held(may_hold),
            reflects: neighbor.reflects,
            profile: neighbor.plan.profile,
            disabled: self.disabled.get(&neighbor.name).cloned(),
            by_form,
            refused,
        }
    }
}

fn flowspec_of(victim: Victim) -> Family {
    match victim.address() {
        IpAddr::V4(_) => Family::Ipv4,
        IpAddr::V6(_) => Family::Ipv6,
    }
}

/// The figures of each family; those that have no form there the speaker was never told.
fn by_family(status: &PeerStatus, refused: &BTreeMap<Family, u64>) -> BTreeMap<String, FamilyRules> {
    let all: BTreeSet<Family> = status.families.keys().chain(refused.keys()).copied().collect();
    let of = |family: Family| {
        let counts = status.families.get(&family).copied().unwrap_or_default();
        FamilyRules {
            desired: counts.desired as u64,
            advertised: counts.advertised as u64,
            queued: counts.dirty as u64,
            unsupported: counts.refused as u64 + refused.get(&family).copied().unwrap_or(0),
            over_budget: counts.over_budget as u64,
            displaced: counts.displaced as u64,
            quarantined: counts.quarantined as u64,
            on_probation: counts.probation as u64,
            waiting: counts.waiting as u64,
        }
    };
    all.into_iter()
        .map(|family| (family.to_string(), of(family)))
        .collect()
}

fn writing(status: &PeerStatus) -> PeerWriting {
    let buckets = LATENCY_BUCKETS_SECONDS.iter().zip(status.latency.buckets);
    let totals = &status.totals;
    PeerWriting {
        lag: PeerLag {
            count: status.latency.count,
            sum_seconds: status.latency.sum.as_secs_f64(),
            buckets: buckets
                .map(|(seconds, count)| LagBucket {
                    seconds: *seconds,
                    count,
                })
                .collect(),
        },
        end_of_rib_seconds: totals.time_to_end_of_rib.map(|time| time.as_secs_f64()),
        blocked_seconds: status.writer_blocked.as_secs_f64(),
        announced: totals.announced,
        withdrawn: totals.withdrawn,
        expired: totals.expired,
        refreshes: totals.refreshes,
        inbound_routes: status.inbound_routes as u64,
    }
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
pub(super) fn state(status: &PeerStatus) -> PeerState {
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
        At::Waiting(waiting) => (AnnouncementState::Queued, Some(waiting.to_string())),
        At::Quarantined(parked) => (AnnouncementState::Quarantined, Some(parked.to_string())),
        At::Refused(refusal) => (AnnouncementState::Refused, Some(refusal.to_string())),
    }
}
