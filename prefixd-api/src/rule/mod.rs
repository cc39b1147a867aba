//! A rule: the canonical match of a FlowSpec route and the action on what it matches.
//!
//! Every field is canonical by construction, so two spellings of one match are equal and hash alike. A match
//! always has a destination: prefixd has no match-everything rules.

mod action;
mod bits;
mod overlap;
mod ranges;
pub mod render;
mod request;
mod set;
pub mod shape;
mod text;
mod values;

pub use action::{Action, ActionError, ActionFields, ActionType, RouteTarget};
pub use bits::{Alternative, Bits, BitsError, Fragments, TcpFlags};
pub use ranges::{Range, Ranges, RangesError};
pub use request::MatchRequest;
pub use set::Set;
pub use text::TextError;
pub use values::{Dscp, FlowLabels, ValueError};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::fmt;

/// IP protocol numbers that the built-in templates use (IANA, Assigned Internet Protocol Numbers).
pub mod protocol {
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// GRE.
    pub const GRE: u8 = 47;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;

    /// The number of a protocol by name (`udp`) or number; what else it could be, when it is none.
    ///
    /// # Errors
    /// A sentence that names what is known.
    pub fn parse(text: &str) -> Result<u8, String> {
        super::text::protocol(text)
    }

    /// The name of a protocol, or its number.
    #[must_use]
    pub fn name(number: u8) -> String {
        super::text::protocol_name(number).map_or_else(|| number.to_string(), str::to_owned)
    }
}

/// What a rule matches (RFC 8955 section 4, RFC 8956 section 3). Components that are empty match anything; the
/// present ones must all match.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// Destination prefix, host bits cleared.
    #[cfg_attr(feature = "server", schema(value_type = String, example = "203.0.113.10/32"))]
    pub dst_prefix: IpNet,
    /// Source prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "server", schema(value_type = Option<String>, example = "198.51.100.0/24"))]
    pub src_prefix: Option<Box<IpNet>>,
    /// IP protocol numbers.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    #[cfg_attr(feature = "server", schema(value_type = std::collections::BTreeSet<u8>))]
    pub protocols: Set<u8>,
    /// Ports, of either direction.
    #[serde(default, skip_serializing_if = "Ranges::is_empty")]
    pub ports: Ranges,
    /// Destination ports.
    #[serde(default, skip_serializing_if = "Ranges::is_empty")]
    pub dst_ports: Ranges,
    /// Source ports.
    #[serde(default, skip_serializing_if = "Ranges::is_empty")]
    pub src_ports: Ranges,
    /// ICMP types (ICMPv6 types when the destination is IPv6).
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    #[cfg_attr(feature = "server", schema(value_type = std::collections::BTreeSet<u8>))]
    pub icmp_types: Set<u8>,
    /// ICMP codes, of those types.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    #[cfg_attr(feature = "server", schema(value_type = std::collections::BTreeSet<u8>))]
    pub icmp_codes: Set<u8>,
    /// TCP flags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_flags: Option<TcpFlags>,
    /// Total length of the IP packet in bytes.
    #[serde(default, skip_serializing_if = "Ranges::is_empty")]
    pub packet_lengths: Ranges,
    /// DSCP values.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    #[cfg_attr(feature = "server", schema(value_type = std::collections::BTreeSet<Dscp>))]
    pub dscp: Set<Dscp>,
    /// Fragments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fragment: Option<Fragments>,
    /// Flow labels, IPv6 only.
    #[serde(default, skip_serializing_if = "FlowLabels::is_empty")]
    pub flow_labels: FlowLabels,
}

/// Most of the components are absent, and a hundred thousand rules may be live.
const _: () = assert!(size_of::<Rule>() <= 168);

impl Match {
    /// A match on nothing but the destination.
    #[must_use]
    pub fn destination(prefix: IpNet) -> Self {
        Self {
            dst_prefix: prefix.trunc(),
            src_prefix: None,
            protocols: Set::new(),
            ports: Ranges::default(),
            dst_ports: Ranges::default(),
            src_ports: Ranges::default(),
            icmp_types: Set::new(),
            icmp_codes: Set::new(),
            tcp_flags: None,
            packet_lengths: Ranges::default(),
            dscp: Set::new(),
            fragment: None,
            flow_labels: FlowLabels::default(),
        }
    }

    /// The source prefix, which few rules have.
    #[must_use]
    pub fn source(&self) -> Option<IpNet> {
        self.src_prefix.as_deref().copied()
    }

    /// Whether the match has ports, of either direction.
    #[must_use]
    pub fn has_ports(&self) -> bool {
        !self.ports.is_empty() || !self.dst_ports.is_empty() || !self.src_ports.is_empty()
    }

    /// Terms of the component that has the most, which is what routers bound.
    #[must_use]
    pub fn terms(&self) -> usize {
        let octets = |numbers: &Set<u8>| {
            let numbers: Ranges = numbers.iter().map(|number| u16::from(*number)).collect();
            numbers.operators()
        };
        let dscp: Set<u8> = self.dscp.iter().map(|dscp| dscp.get()).collect();
        [
            octets(&self.protocols),
            self.ports.operators(),
            self.dst_ports.operators(),
            self.src_ports.operators(),
            octets(&self.icmp_types),
            octets(&self.icmp_codes),
            self.tcp_flags.as_ref().map_or(0, Bits::operators),
            self.packet_lengths.operators(),
            octets(&dscp),
            self.fragment.as_ref().map_or(0, Bits::operators),
            self.flow_labels.operators(),
        ]
        .into_iter()
        .max()
        .unwrap_or(0)
    }
}

/// A match and its action.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Rule {
    /// What is matched.
    #[serde(rename = "match")]
    pub matches: Match,
    /// What happens to it.
    #[serde(flatten)]
    #[cfg_attr(feature = "server", schema(value_type = ActionFields))]
    pub action: Action,
    /// Whether the router samples it besides (traffic-action).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sample: bool,
}

impl Rule {
    /// Not sampled.
    #[must_use]
    pub const fn new(matches: Match, action: Action) -> Self {
        Self {
            matches,
            action,
            sample: false,
        }
    }
}

impl fmt::Display for Rule {
    /// One line for people: `dst 203.0.113.10/32 proto udp dport 27015 then police 5 Mbit/s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sample = if self.sample { " sample" } else { "" };
        write!(f, "{} then {}{sample}", self.matches, self.action)
    }
}
