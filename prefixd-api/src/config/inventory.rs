//! `inventory.yaml`: whose prefixes may be filtered.

use super::is_default;
use crate::rate::BitsPerSecond;
use crate::rule::Ranges;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inventory {
    /// The customers.
    #[serde(default, skip_serializing_if = "is_default")]
    pub customers: Vec<Customer>,
}

/// Who owns prefixes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Customer {
    /// Unique.
    pub customer_id: String,
    /// For people.
    pub name: String,
    /// What they own.
    #[serde(deserialize_with = "crate::prefix::deserialize_list")]
    pub prefixes: Vec<IpNet>,
    /// How soon and how long something is done for them.
    #[serde(default, skip_serializing_if = "is_default")]
    pub policy_profile: PolicyProfile,
    /// Their link, for severity.
    #[serde(default, skip_serializing_if = "is_default")]
    pub link_bps: Option<BitsPerSecond>,
    /// What they run.
    #[serde(default, skip_serializing_if = "is_default")]
    pub services: Vec<Service>,
    /// Whether rules for them go to routers; false: what is decided is recorded and not announced.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub enforce: bool,
}

/// How soon and how long something is done for a customer; docs/configuration.md has the numbers. Playbooks can match on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PolicyProfile {
    /// Sooner and longer.
    Strict,
    /// As the playbooks say.
    #[default]
    Normal,
    /// Later, and only when it is surer.
    Relaxed,
}

/// What a customer runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Unique within the customer.
    pub service_id: String,
    /// For people.
    pub name: String,
    /// Where it runs.
    pub assets: Vec<Asset>,
    /// Ports that stay open.
    #[serde(default, skip_serializing_if = "is_default")]
    pub allowed_ports: AllowedPorts,
}

/// An address, or a range of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asset {
    /// The address, or the first of the range.
    pub ip: IpAddr,
    /// The last of the range.
    #[serde(default, skip_serializing_if = "is_default")]
    pub range_end: Option<IpAddr>,
    /// For people.
    #[serde(default, skip_serializing_if = "is_default")]
    pub role: Option<String>,
    /// Whether it sends UDP queries of its own, whose replies come to ephemeral ports. False lets templates
    /// discard UDP that a service does not offer.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub client_udp: bool,
}

const fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_yes(yes: &bool) -> bool {
    *yes
}

/// Ports that stay open.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllowedPorts {
    /// UDP.
    #[serde(default, skip_serializing_if = "is_default")]
    pub udp: Ranges,
    /// TCP.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tcp: Ranges,
}
