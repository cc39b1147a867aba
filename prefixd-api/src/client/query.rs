//! Filters of the lists.

use crate::event::{EventAction, EventOutcome};
use crate::family::AfiSafi;
use crate::mitigation::MitigationStatus;
use crate::prefix;
use crate::resource::AnnouncementState;
use crate::rule::ActionType;
use crate::time::Timestamp;
use ipnet::IpNet;

/// Which part of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Most items of the answer, 1 to 1000; the daemon's 100 when absent.
    pub limit: Option<u16>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// Not before.
    pub start: Option<Timestamp>,
    /// Before.
    pub end: Option<Timestamp>,
}

/// Which events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventQuery {
    /// Of this detector.
    pub source: Option<String>,
    /// Of this kind of attack.
    pub vector: Option<String>,
    /// About this address, or any in this prefix.
    pub victim_ip: Option<IpNet>,
    /// With this outcome.
    pub outcome: Option<EventOutcome>,
    /// Bans or unbans.
    pub action: Option<EventAction>,
    /// Which part of them.
    pub page: Page,
}

/// Which mitigations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MitigationQuery {
    /// In one of these states; any when empty.
    pub status: Vec<MitigationStatus>,
    /// Of this customer.
    pub customer_id: Option<String>,
    /// Of this service.
    pub service_id: Option<String>,
    /// Of this address, or any in this prefix.
    pub victim_ip: Option<IpNet>,
    /// Against this kind of attack.
    pub vector: Option<String>,
    /// Of this POP; `all` for every one, the daemon's own when absent.
    pub pop: Option<String>,
    /// Acknowledged by a person, or not.
    pub acknowledged: Option<bool>,
    /// With this action.
    pub action_type: Option<ActionType>,
    /// Which part of them.
    pub page: Page,
}

/// Which rules of a neighbour.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RibQuery {
    /// In one of these states; any when empty.
    pub state: Vec<AnnouncementState>,
    /// Of this family.
    pub afi_safi: Option<AfiSafi>,
    /// Most rules of the answer, 1 to 1000; the daemon's 100 when absent.
    pub limit: Option<u16>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

impl RibQuery {
    pub(super) fn add_to(&self, path: &mut PathBuilder) {
        let state: Vec<_> = self.state.iter().map(|state| state.as_str()).collect();
        path.add("state", (!state.is_empty()).then(|| state.join(",")));
        path.add("afi_safi", self.afi_safi);
        path.add("limit", self.limit);
        path.add("cursor", self.cursor.as_ref());
    }
}

impl EventQuery {
    pub(super) fn to_path(&self) -> String {
        let mut path = PathBuilder::new("/v1/events");
        path.add("source", self.source.as_ref());
        path.add("vector", self.vector.as_ref());
        path.add("victim_ip", self.victim_ip.map(prefix::show));
        path.add("outcome", self.outcome.as_ref());
        path.add("action", self.action.map(EventAction::as_str));
        path.page(&self.page);
        path.0
    }
}

impl MitigationQuery {
    pub(super) fn to_path(&self) -> String {
        let mut path = PathBuilder::new("/v1/mitigations");
        let status: Vec<_> = self.status.iter().map(|status| status.as_str()).collect();
        path.add("status", (!status.is_empty()).then(|| status.join(",")));
        path.add("customer_id", self.customer_id.as_ref());
        path.add("service_id", self.service_id.as_ref());
        path.add("victim_ip", self.victim_ip.map(prefix::show));
        path.add("vector", self.vector.as_ref());
        path.add("pop", self.pop.as_ref());
        path.add("acknowledged", self.acknowledged);
        path.add("action_type", self.action_type);
        path.page(&self.page);
        path.0
    }
}

/// A path with a query, each value percent-encoded.
pub(super) struct PathBuilder(pub(super) String);

impl PathBuilder {
    pub(super) fn new(path: &str) -> Self {
        Self(path.to_owned())
    }

    pub(super) fn add(&mut self, name: &str, value: Option<impl std::fmt::Display>) {
        let Some(value) = value else { return };
        self.0.push(if self.0.contains('?') { '&' } else { '?' });
        self.0.push_str(name);
        self.0.push('=');
        push_encoded(&mut self.0, &value.to_string());
    }

    pub(super) fn page(&mut self, page: &Page) {
        self.add("limit", page.limit);
        self.add("cursor", page.cursor.as_ref());
        self.add("start", page.start);
        self.add("end", page.end);
    }
}

/// Appends a value with everything but RFC 3986 unreserved characters percent-encoded.
pub(super) fn push_encoded(path: &mut String, value: &str) {
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => path.push(byte.into()),
            _ => path.push_str(&format!("%{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_filter_reaches_the_daemon() {
        let query = MitigationQuery {
            status: vec![MitigationStatus::Active, MitigationStatus::Escalated],
            customer_id: Some("a&b c".to_owned()),
            service_id: Some("dns".to_owned()),
            victim_ip: Some("203.0.113.0/24".parse().unwrap()),
            vector: Some("udp_flood".to_owned()),
            pop: Some("all".to_owned()),
            acknowledged: Some(false),
            action_type: Some(ActionType::Discard),
            page: Page {
                limit: Some(5),
                cursor: Some("x=".to_owned()),
                start: Some(Timestamp::from_micros(0)),
                end: Some(Timestamp::from_micros(1)),
            },
        };
        assert_eq!(
            query.to_path(),
            "/v1/mitigations?status=active%2Cescalated&customer_id=a%26b%20c&service_id=dns\
             &victim_ip=203.0.113.0%2F24&vector=udp_flood&pop=all&acknowledged=false&action_type=discard\
             &limit=5&cursor=x%3D&start=1970-01-01T00%3A00%3A00.000000Z&end=1970-01-01T00%3A00%3A00.000001Z"
        );
        assert_eq!(MitigationQuery::default().to_path(), "/v1/mitigations");
        let query = EventQuery {
            source: Some("fnm".to_owned()),
            victim_ip: Some("2001:db8::1/128".parse().unwrap()),
            outcome: Some(EventOutcome::AcceptedStale),
            action: Some(EventAction::Unban),
            ..EventQuery::default()
        };
        assert_eq!(
            query.to_path(),
            "/v1/events?source=fnm&victim_ip=2001%3Adb8%3A%3A1&outcome=accepted_stale&action=unban"
        );
        let mut path = PathBuilder::new("/v1/peers/edge1/rib");
        let query = RibQuery {
            state: vec![AnnouncementState::Queued, AnnouncementState::Refused],
            afi_safi: Some(AfiSafi::Ipv6Flowspec),
            limit: Some(5),
            cursor: Some("ipv6-flowspec:06".to_owned()),
        };
        query.add_to(&mut path);
        assert_eq!(
            path.0,
            "/v1/peers/edge1/rib?state=queued%2Crefused&afi_safi=ipv6-flowspec&limit=5&cursor=ipv6-flowspec%3A06"
        );
    }
}
