//! A rule as a caller writes it: any order, any spelling.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{BitmaskTerm, Family, NumericTerm};

/// The traffic a rule matches. All components must match (AND); it becomes usable through [`Rule::canonical`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Address family; every prefix must be of it.
    pub family: Family,
    /// Components in any order, at most one of each type, a destination prefix among them.
    pub components: Vec<Component>,
}

impl Rule {
    /// A blackhole route: all traffic to one address.
    #[must_use]
    pub fn host_route(address: IpAddr) -> Self {
        let family = match address {
            IpAddr::V4(_) => Family::Ipv4Unicast,
            IpAddr::V6(_) => Family::Ipv6Unicast,
        };
        Self {
            family,
            components: vec![Component::DestinationPrefix(address.into())],
        }
    }
}

/// One match component (RFC 8955 section 4.2.2, RFC 8956 section 3).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Component {
    /// Type 1.
    DestinationPrefix(IpNet),
    /// Type 2.
    SourcePrefix(IpNet),
    /// Type 3: IP protocol, or the upper-layer protocol of IPv6.
    Protocol(Vec<NumericTerm>),
    /// Type 4: source or destination port.
    Port(Vec<NumericTerm>),
    /// Type 5.
    DestinationPort(Vec<NumericTerm>),
    /// Type 6.
    SourcePort(Vec<NumericTerm>),
    /// Type 7.
    IcmpType(Vec<NumericTerm>),
    /// Type 8.
    IcmpCode(Vec<NumericTerm>),
    /// Type 9: the flags of bytes 13 and 14 of the TCP header.
    TcpFlags(Vec<BitmaskTerm>),
    /// Type 10: total length of the IP packet in bytes, without layer 2.
    PacketLength(Vec<NumericTerm>),
    /// Type 11: DSCP, 0 to 63.
    Dscp(Vec<NumericTerm>),
    /// Type 12: don't-fragment 1 (IPv4 only), is-fragment 2, first 4, last 8.
    Fragment(Vec<BitmaskTerm>),
    /// Type 13: flow label, IPv6 only (RFC 8956 section 3.7).
    FlowLabel(Vec<NumericTerm>),
}

impl Component {
    /// The type number on the wire, which is also the order of components.
    #[must_use]
    pub fn type_code(&self) -> u8 {
        match self {
            Self::DestinationPrefix(_) => 1,
            Self::SourcePrefix(_) => 2,
            Self::Protocol(_) => 3,
            Self::Port(_) => 4,
            Self::DestinationPort(_) => 5,
            Self::SourcePort(_) => 6,
            Self::IcmpType(_) => 7,
            Self::IcmpCode(_) => 8,
            Self::TcpFlags(_) => 9,
            Self::PacketLength(_) => 10,
            Self::Dscp(_) => 11,
            Self::Fragment(_) => 12,
            Self::FlowLabel(_) => 13,
        }
    }

    /// The name used in errors.
    #[must_use]
    pub fn name(&self) -> &'static str {
        name_of(self.type_code())
    }

    /// How many operators the component costs on the wire; a prefix costs none. A closed range costs two.
    #[must_use]
    pub fn operators(&self) -> usize {
        match self {
            Self::DestinationPrefix(_) | Self::SourcePrefix(_) => 0,
            Self::TcpFlags(terms) | Self::Fragment(terms) => terms.len(),
            Self::Protocol(terms)
            | Self::Port(terms)
            | Self::DestinationPort(terms)
            | Self::SourcePort(terms)
            | Self::IcmpType(terms)
            | Self::IcmpCode(terms)
            | Self::PacketLength(terms)
            | Self::Dscp(terms)
            | Self::FlowLabel(terms) => terms.len(),
        }
    }
}

/// The name of the component of a type.
pub(super) fn name_of(type_code: u8) -> &'static str {
    match type_code {
        1 => "destination prefix",
        2 => "source prefix",
        3 => "protocol",
        4 => "port",
        5 => "destination port",
        6 => "source port",
        7 => "ICMP type",
        8 => "ICMP code",
        9 => "TCP flags",
        10 => "packet length",
        11 => "DSCP",
        12 => "fragment",
        13 => "flow label",
        _ => "rule",
    }
}
