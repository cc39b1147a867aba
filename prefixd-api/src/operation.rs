//! What people do with mitigations that exist: longer, acknowledged, with a note, in somebody's hands.

use crate::ids::MitigationId;
use crate::mitigation::{Mitigation, MitigationStatus};
use crate::peer::MayHold;
use crate::prefix;
use crate::problem::Problem;
use crate::rate::BitsPerSecond;
use crate::rule::{ActionFields, ActionType, Dscp, MatchRequest, Ranges, RouteTarget};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Mitigations that one request may name or mean.
pub const MAX_NAMED: usize = 500;
/// Notes that one mitigation keeps.
pub const MAX_NOTES: usize = 50;

/// The body of `POST /v1/mitigations/{id}/extend`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ExtendRequest {
    /// How long it is to last from now on, at least.
    pub ttl_seconds: u32,
    /// Why, for the journal.
    pub reason: String,
    /// Only when the mitigation still has this revision; otherwise 409.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_revision: Option<u64>,
}

/// The body of `POST /v1/mitigations/{id}/adjust` and of its preview: what is not named stays as it is. One thing at least is
/// named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AdjustRequest {
    /// What its rules do from now on; a rate alone means police.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<ActionType>,
    /// Bits per second, for police.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_bps: Option<BitsPerSecond>,
    /// Packets per second, for police instead of bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_pps: Option<u64>,
    /// The VRF's, for `redirect_vrf`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route_target: Option<RouteTarget>,
    /// For `redirect_ip`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "server", schema(value_type = Option<String>))]
    pub next_hop: Option<IpAddr>,
    /// Only a copy goes to the next hop.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub copy: bool,
    /// For mark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dscp: Option<Dscp>,
    /// Whether routers sample what the rules match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<bool>,
    /// How long it lasts from now on, also when that is shorter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u32>,
    /// Destination ports to match, an empty list is any; `ports` is the same.
    #[serde(default, alias = "ports", skip_serializing_if = "Option::is_none")]
    pub dst_ports: Option<Ranges>,
    /// Source ports to match, an empty list is any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub src_ports: Option<Ranges>,
    /// IP protocol number to match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<u8>,
    /// The whole match, instead of `dst_ports`, `src_ports` and `protocol`.
    #[serde(rename = "match", default, skip_serializing_if = "Option::is_none")]
    pub matches: Option<Box<MatchRequest>>,
    /// Why, for the journal; required.
    pub reason: String,
    /// Only when the mitigation still has this revision; otherwise 409.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_revision: Option<u64>,
}

impl AdjustRequest {
    /// The action that it names; a rate alone is a police action.
    #[must_use]
    pub fn action(&self) -> Option<ActionFields> {
        let has_rate = self.rate_bps.is_some() || self.rate_pps.is_some();
        let action_type = self.action.or(has_rate.then_some(ActionType::Police))?;
        Some(ActionFields {
            action_type,
            rate_bps: self.rate_bps,
            rate_pps: self.rate_pps,
            route_target: self.route_target,
            next_hop: self.next_hop,
            copy: self.copy,
            dscp: self.dscp,
        })
    }

    /// Whether it names a part of the match.
    #[must_use]
    pub fn names_match(&self) -> bool {
        self.matches.is_some()
            || self.protocol.is_some()
            || self.dst_ports.is_some()
            || self.src_ports.is_some()
    }

    /// Whether it says which destination ports it is about; all of them, where a whole match names none.
    #[must_use]
    pub fn names_dst_ports(&self) -> bool {
        self.matches.is_some() || self.dst_ports.is_some()
    }

    /// Whether it names anything at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.action().is_none() && !self.names_match() && self.sample.is_none() && self.ttl_seconds.is_none()
    }
}

/// Revisions that mitigations must still have.
pub type Revisions = BTreeMap<MitigationId, u64>;

/// The body of `POST /v1/mitigations/acknowledge`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AcknowledgeRequest {
    /// Which, by name, live or ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<Vec<MitigationId>>,
    /// Which live ones, by what they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<LiveFilter>,
    /// How many that is; with another number nothing is acknowledged (409). Required with `filter`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect_count: Option<u64>,
    /// Whether they are; false takes it back.
    #[serde(default = "yes")]
    pub acknowledged: bool,
    /// Each of these only when it still has this revision; otherwise its result has 409.
    #[serde(default, skip_serializing_if = "Revisions::is_empty")]
    #[cfg_attr(feature = "server", schema(value_type = HashMap<String, u64>))]
    pub expected_revisions: Revisions,
}

const fn yes() -> bool {
    true
}

/// The body of `POST /v1/mitigations/{id}/notes`: one of both at least.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NoteRequest {
    /// What is to be known of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Its ticket or other name outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_ref: Option<String>,
    /// Only when the mitigation still has this revision; otherwise 409.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_revision: Option<u64>,
}

/// The body of `POST /v1/mitigations/{id}/claim` and `/release`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ClaimRequest {
    /// Also when somebody else has claimed it.
    #[serde(default)]
    pub force: bool,
    /// Only when the mitigation still has this revision; otherwise 409.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_revision: Option<u64>,
}

/// Which live mitigations: those that every given field matches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct LiveFilter {
    /// In one of these states.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub status: Vec<MitigationStatus>,
    /// Of this customer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<String>,
    /// Of this service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_id: Option<String>,
    /// Of an address in this prefix; an address is itself.
    #[serde(
        default,
        deserialize_with = "prefix::deserialize_exact",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "server", schema(value_type = Option<String>))]
    pub victim_prefix: Option<IpNet>,
    /// Against this kind of attack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vector: Option<String>,
    /// Held by a claim of this source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// With this action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action_type: Option<ActionType>,
    /// Acknowledged by a person, or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<bool>,
}

impl LiveFilter {
    /// Whether it means this one.
    #[must_use]
    pub fn matches(&self, mitigation: &Mitigation) -> bool {
        let is =
            |wanted: &Option<String>, value: Option<&str>| wanted.is_none() || wanted.as_deref() == value;
        mitigation.status.is_live()
            && (self.status.is_empty() || self.status.contains(&mitigation.status))
            && is(&self.customer_id, mitigation.customer_id.as_deref())
            && is(&self.service_id, mitigation.service_id.as_deref())
            && is(&self.vector, Some(&mitigation.vector))
            // An aggregate that is wider protects others, too, of whom nobody spoke.
            && self
                .victim_prefix
                .is_none_or(|prefix| prefix.contains(&mitigation.victim_ip.prefix()))
            && self
                .source
                .as_ref()
                .is_none_or(|source| mitigation.claims.iter().any(|claim| claim.source == *source))
            && self
                .action_type
                .is_none_or(|action| action == mitigation.action_type)
            && self
                .acknowledged
                .is_none_or(|wanted| wanted == mitigation.acknowledged_at.is_some())
    }
}

/// The body of `POST /v1/mitigations/withdraw`: `ids`, or `filter` with `expect_count`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct BulkWithdrawRequest {
    /// Which, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<Vec<MitigationId>>,
    /// Which, by what they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<LiveFilter>,
    /// Each of these only when it still has this revision; otherwise its result has 409. With `ids` alone.
    #[serde(default, skip_serializing_if = "Revisions::is_empty")]
    #[cfg_attr(feature = "server", schema(value_type = HashMap<String, u64>))]
    pub expected_revisions: Revisions,
    /// How many that is; with another number nothing is withdrawn (409). Required with `filter`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect_count: Option<u64>,
    /// Why, for the journal.
    pub reason: String,
    /// How long automatic bans of the same are not acted on (0 to 86400); the configured time when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suppress_seconds: Option<u32>,
    /// Undo each withdrawal after so long (10 to 86400) unless it is confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_within_seconds: Option<u32>,
}

/// The body of `POST /v1/mitigations/{id}/undo` and `/confirm`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct UndoRequest {
    /// Why, for the journal.
    pub reason: String,
    /// Only when the mitigation still has this revision; otherwise 409.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_revision: Option<u64>,
}

/// The answer of `POST /v1/mitigations/{id}/withdraw`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Withdrawn {
    /// As it is now.
    #[serde(flatten)]
    pub mitigation: Mitigation,
    /// Neighbours that may hold its rules all the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub may_hold: Vec<MayHold>,
}

/// What became of one of several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct OperationResult {
    /// Which one.
    pub mitigation_id: MitigationId,
    /// Whether it was done.
    pub done: bool,
    /// As it is now, when it was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mitigation: Option<Mitigation>,
    /// Neighbours that may hold its rules although it was withdrawn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub may_hold: Vec<MayHold>,
    /// Why not, otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// What became of each.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct OperationResults {
    /// In the order named; newest first for a filter.
    pub results: Vec<OperationResult>,
    /// How many.
    pub count: usize,
    /// How many of them were not done.
    pub failed: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is to be withdrawn is what was written: nobody guesses.
    #[test]
    fn a_filter_names_its_prefix_exactly() {
        let read = |prefix: &str| {
            serde_json::from_str::<LiveFilter>(&format!(r#"{{"victim_prefix":"{prefix}"}}"#))
                .map(|filter| filter.victim_prefix.unwrap().to_string())
                .map_err(|error| error.to_string())
        };
        assert_eq!(read("203.0.113.0/24").unwrap(), "203.0.113.0/24");
        assert_eq!(read("203.0.113.5").unwrap(), "203.0.113.5/32");
        let refused = read("203.0.113.5/24").unwrap_err();
        assert!(refused.contains("did you mean 203.0.113.0/24?"), "{refused}");
        let none: LiveFilter = serde_json::from_str("{}").unwrap();
        assert_eq!(none.victim_prefix, None);
    }
}
