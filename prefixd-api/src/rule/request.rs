//! A match as a person asks for it: the destination is the victim.

use super::{Dscp, FlowLabels, Fragments, Match, Ranges, Set, TcpFlags};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// The components of a [`Match`]. The destination may be left out, and is the victim's otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct MatchRequest {
    /// Destination prefix; when it is there, it must be the victim's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "server", schema(value_type = Option<String>))]
    pub dst_prefix: Option<IpNet>,
    /// Source prefix.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "server", schema(value_type = Option<String>))]
    pub src_prefix: Option<IpNet>,
    /// IP protocol numbers.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[cfg_attr(feature = "server", schema(value_type = std::collections::BTreeSet<u8>))]
    pub protocols: Set<u8>,
    /// Source or destination ports.
    #[serde(skip_serializing_if = "Ranges::is_empty")]
    pub ports: Ranges,
    /// Destination ports.
    #[serde(skip_serializing_if = "Ranges::is_empty")]
    pub dst_ports: Ranges,
    /// Source ports.
    #[serde(skip_serializing_if = "Ranges::is_empty")]
    pub src_ports: Ranges,
    /// ICMP types.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[cfg_attr(feature = "server", schema(value_type = std::collections::BTreeSet<u8>))]
    pub icmp_types: Set<u8>,
    /// ICMP codes, of those types.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[cfg_attr(feature = "server", schema(value_type = std::collections::BTreeSet<u8>))]
    pub icmp_codes: Set<u8>,
    /// TCP flags: `syn&!ack,rst`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_flags: Option<TcpFlags>,
    /// Total length of the IP packet in bytes.
    #[serde(skip_serializing_if = "Ranges::is_empty")]
    pub packet_lengths: Ranges,
    /// DSCP values.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[cfg_attr(feature = "server", schema(value_type = std::collections::BTreeSet<Dscp>))]
    pub dscp: Set<Dscp>,
    /// Fragments: `is_fragment`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fragment: Option<Fragments>,
    /// Flow labels, IPv6 only.
    #[serde(skip_serializing_if = "FlowLabels::is_empty")]
    pub flow_labels: FlowLabels,
}

impl MatchRequest {
    /// The match on this destination.
    #[must_use]
    pub fn on(self, dst_prefix: IpNet) -> Match {
        Match {
            dst_prefix: dst_prefix.trunc(),
            src_prefix: self.src_prefix.map(Box::new),
            protocols: self.protocols,
            ports: self.ports,
            dst_ports: self.dst_ports,
            src_ports: self.src_ports,
            icmp_types: self.icmp_types,
            icmp_codes: self.icmp_codes,
            tcp_flags: self.tcp_flags,
            packet_lengths: self.packet_lengths,
            dscp: self.dscp,
            fragment: self.fragment,
            flow_labels: self.flow_labels,
        }
    }
}

impl From<Match> for MatchRequest {
    fn from(matches: Match) -> Self {
        Self {
            dst_prefix: Some(matches.dst_prefix),
            src_prefix: matches.source(),
            protocols: matches.protocols,
            ports: matches.ports,
            dst_ports: matches.dst_ports,
            src_ports: matches.src_ports,
            icmp_types: matches.icmp_types,
            icmp_codes: matches.icmp_codes,
            tcp_flags: matches.tcp_flags,
            packet_lengths: matches.packet_lengths,
            dscp: matches.dscp,
            fragment: matches.fragment,
            flow_labels: matches.flow_labels,
        }
    }
}
