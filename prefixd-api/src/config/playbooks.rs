//! `playbooks.yaml`: what to do for which attack.

use super::inventory::PolicyProfile;
use super::is_default;
use crate::rate::BitsPerSecond;
use crate::rule::{
    Action, ActionError, ActionFields, ActionType, Dscp, FlowLabels, Fragments, Ranges, RouteTarget, Set,
    TcpFlags,
};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Playbooks {
    /// Additions to the built-in vector templates.
    #[serde(default, skip_serializing_if = "is_default")]
    pub vectors: BTreeMap<String, Vector>,
    /// The most specific one that matches decides; among equals the first.
    #[serde(default, skip_serializing_if = "is_default")]
    pub playbooks: Vec<Playbook>,
    /// For what none of them matches; absent: nothing is done.
    #[serde(default, skip_serializing_if = "is_default")]
    pub default_playbook: Option<DefaultPlaybook>,
}

/// A template of what a kind of attack looks like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vector {
    /// `tcp`, `udp`, `icmp`, `gre`, or a number.
    pub protocol: Protocol,
    /// Destination ports.
    #[serde(default, skip_serializing_if = "is_default")]
    pub dst_ports: Ranges,
    /// Source ports.
    #[serde(default, skip_serializing_if = "is_default")]
    pub src_ports: Ranges,
    /// Packet lengths.
    #[serde(default, skip_serializing_if = "is_default")]
    pub packet_lengths: Ranges,
    /// TCP flags.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tcp_flags: Option<TcpFlags>,
    /// Fragments.
    #[serde(default, skip_serializing_if = "is_default")]
    pub fragment: Option<Fragments>,
    /// Source prefix.
    #[serde(default, skip_serializing_if = "is_default")]
    pub src_prefix: Option<IpNet>,
    /// Source or destination ports.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ports: Ranges,
    /// ICMP types; echo alone when there are none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub icmp_types: Set<u8>,
    /// ICMP codes, of those types.
    #[serde(default, skip_serializing_if = "is_default")]
    pub icmp_codes: Set<u8>,
    /// DSCP values.
    #[serde(default, skip_serializing_if = "is_default")]
    pub dscp: Set<Dscp>,
    /// Flow labels: only victims of IPv6 have them.
    #[serde(default, skip_serializing_if = "is_default")]
    pub flow_labels: FlowLabels,
    /// The strictest action allowed automatically.
    #[serde(default = "police", skip_serializing_if = "is_police")]
    pub max_action: ActionType,
}

const fn police() -> ActionType {
    ActionType::Police
}

fn is_police(action: &ActionType) -> bool {
    *action == police()
}

/// An IP protocol, by name or number. `icmp` is ICMP or ICMPv6 as the victim is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "ProtocolText", into = "ProtocolText")]
pub enum Protocol {
    /// ICMP for IPv4, ICMPv6 for IPv6.
    Icmp,
    /// Another one.
    Number(u8),
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum ProtocolText {
    Number(u8),
    Name(String),
}

impl From<Protocol> for ProtocolText {
    fn from(protocol: Protocol) -> Self {
        use crate::rule::protocol::{GRE, TCP, UDP};
        let name = match protocol {
            Protocol::Icmp => "icmp",
            Protocol::Number(TCP) => "tcp",
            Protocol::Number(UDP) => "udp",
            Protocol::Number(GRE) => "gre",
            Protocol::Number(number) => return Self::Number(number),
        };
        Self::Name(name.to_owned())
    }
}

impl TryFrom<ProtocolText> for Protocol {
    type Error = String;

    fn try_from(text: ProtocolText) -> Result<Self, Self::Error> {
        use crate::rule::protocol::{GRE, ICMP, ICMPV6, TCP, UDP};
        Ok(match text {
            ProtocolText::Number(ICMP | ICMPV6) => Self::Icmp,
            ProtocolText::Number(number) => Self::Number(number),
            ProtocolText::Name(name) => match name.as_str() {
                "icmp" => Self::Icmp,
                "tcp" => Self::Number(TCP),
                "udp" => Self::Number(UDP),
                "gre" => Self::Number(GRE),
                _ => {
                    return Err(format!(
                        "{name:?} is no protocol; known: tcp, udp, icmp, gre, or a number"
                    ));
                }
            },
        })
    }
}

/// Policy for a kind of attack.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Playbook {
    /// Unique.
    pub name: String,
    /// When it applies.
    #[serde(rename = "match")]
    pub matches: PlaybookMatch,
    /// What it does, first step first.
    pub steps: Vec<Step>,
    /// Whether what it makes goes to routers; false: it is decided, recorded and not announced.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub enforce: bool,
}

const fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_yes(yes: &bool) -> bool {
    *yes
}

/// When a playbook applies: every key that is there must be met.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlaybookMatch {
    /// Kind of attack.
    #[serde(default, skip_serializing_if = "is_default")]
    pub vector: Option<String>,
    /// Detector.
    #[serde(default, skip_serializing_if = "is_default")]
    pub source: Option<String>,
    /// Customer.
    #[serde(default, skip_serializing_if = "is_default")]
    pub customer_id: Option<String>,
    /// Service.
    #[serde(default, skip_serializing_if = "is_default")]
    pub service_id: Option<String>,
    /// Profile of the customer.
    #[serde(default, skip_serializing_if = "is_default")]
    pub profile: Option<PolicyProfile>,
}

/// The playbook for everything else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DefaultPlaybook {
    /// What it does, first step first.
    pub steps: Vec<Step>,
    /// As of a playbook.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub enforce: bool,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// What happens to the traffic.
    pub action: ActionType,
    /// Rate, for police.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rate_bps: Option<BitsPerSecond>,
    /// Rate in packets per second instead, for police.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rate_pps: Option<u64>,
    /// The VRF's, for `redirect_vrf`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub route_target: Option<RouteTarget>,
    /// For `redirect_ip`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub next_hop: Option<IpAddr>,
    /// Only a copy goes to the next hop.
    #[serde(default, skip_serializing_if = "is_default")]
    pub copy: bool,
    /// For mark.
    #[serde(default, skip_serializing_if = "is_default")]
    pub dscp: Option<Dscp>,
    /// Whether routers sample what the rules match.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sample: bool,
    /// Lease; `timers.default_ttl_seconds` when absent.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ttl_seconds: Option<u32>,
    /// Derived confidence that a later step needs.
    #[serde(default, skip_serializing_if = "is_default")]
    pub require_confidence_at_least: Option<f64>,
    /// How long there must have been evidence before a later step.
    #[serde(default, skip_serializing_if = "is_default")]
    pub require_persistence_seconds: Option<u32>,
    /// How many sources must report it, those of one domain counted once; 1 when absent.
    #[serde(default, skip_serializing_if = "is_default")]
    pub require_sources: Option<u32>,
    /// How long nothing may have carried this step before the one before it takes its place; absent: it is never given
    /// up while the mitigation lives.
    #[serde(default, alias = "de_escalate_after", skip_serializing_if = "is_default")]
    pub de_escalate_after_seconds: Option<u32>,
    /// When the attack is on a port that must stay open.
    #[serde(default, skip_serializing_if = "is_default")]
    pub on_allowed_port: OnAllowedPort,
    /// Whether an attack without any detail may be policed as a whole.
    #[serde(default, skip_serializing_if = "is_default")]
    pub allow_host_wide: bool,
    /// Whether neighbours without FlowSpec may get a blackhole route instead of a discard.
    #[serde(default, skip_serializing_if = "is_default")]
    pub allow_rtbh: bool,
    /// Whether other POPs are told what detectors report of it while the step is in force.
    #[serde(default, skip_serializing_if = "is_default")]
    pub scope: StepScope,
}

/// Who hears of what a step is taken for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepScope {
    /// This POP alone.
    #[default]
    Own,
    /// All POPs on the database; each decides for itself what it does about it.
    All,
}

impl Step {
    /// The action with what belongs to it.
    ///
    /// # Errors
    /// What is missing or does not belong to it, which validation refuses.
    pub fn full_action(&self) -> Result<Action, ActionError> {
        Action::try_from(ActionFields {
            action_type: self.action,
            rate_bps: self.rate_bps,
            rate_pps: self.rate_pps,
            route_target: self.route_target,
            next_hop: self.next_hop,
            copy: self.copy,
            dscp: self.dscp,
        })
    }
}

/// What to do when the attack is on a port that must stay open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnAllowedPort {
    /// Limit the port.
    #[default]
    Police,
    /// Leave it alone.
    Skip,
    /// Match it like any other; never with discard.
    Include,
}
