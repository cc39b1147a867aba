//! The components of a match that are sets of numbers: what can be split and widened.

use prefixd_api::rule::{Dscp, Match, Ranges, Set};
use std::fmt;

/// A component that is a set of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::announce) enum List {
    Protocols,
    Ports,
    DstPorts,
    SrcPorts,
    IcmpTypes,
    IcmpCodes,
    PacketLengths,
    Dscp,
}

impl List {
    pub(super) const ALL: [Self; 8] = [
        Self::Protocols,
        Self::Ports,
        Self::DstPorts,
        Self::SrcPorts,
        Self::IcmpTypes,
        Self::IcmpCodes,
        Self::PacketLengths,
        Self::Dscp,
    ];

    /// The numbers of a match.
    pub(super) fn of(self, matches: &Match) -> Ranges {
        let octets = |numbers: &Set<u8>| numbers.iter().map(|number| u16::from(*number)).collect();
        match self {
            Self::Protocols => octets(&matches.protocols),
            Self::Ports => matches.ports.clone(),
            Self::DstPorts => matches.dst_ports.clone(),
            Self::SrcPorts => matches.src_ports.clone(),
            Self::IcmpTypes => octets(&matches.icmp_types),
            Self::IcmpCodes => octets(&matches.icmp_codes),
            Self::PacketLengths => matches.packet_lengths.clone(),
            Self::Dscp => {
                let values = matches.dscp.iter();
                values.map(|dscp| u16::from(dscp.get())).collect()
            }
        }
    }

    /// The match with other numbers; none: the component is left out.
    pub(super) fn replaced(self, matches: &Match, numbers: Ranges) -> Match {
        let mut matches = matches.clone();
        match self {
            Self::Protocols => matches.protocols = octets(&numbers),
            Self::Ports => matches.ports = numbers,
            Self::DstPorts => matches.dst_ports = numbers,
            Self::SrcPorts => matches.src_ports = numbers,
            Self::IcmpTypes => matches.icmp_types = octets(&numbers),
            Self::IcmpCodes => matches.icmp_codes = octets(&numbers),
            Self::PacketLengths => matches.packet_lengths = numbers,
            Self::Dscp => {
                let values = octets(&numbers);
                let values = values.iter().filter_map(|number| Dscp::try_from(*number).ok());
                matches.dscp = values.collect();
            }
        }
        matches
    }

    /// Whether a police rule may hold more of it than was decided. Other protocols, ICMP types and classes
    /// are other traffic altogether.
    pub(super) const fn widens(self) -> bool {
        match self {
            Self::Ports | Self::DstPorts | Self::SrcPorts | Self::PacketLengths => true,
            Self::Protocols | Self::IcmpTypes | Self::IcmpCodes | Self::Dscp => false,
        }
    }

    /// The name that the speaker gives the component.
    pub(super) const fn component(self) -> &'static str {
        match self {
            Self::Protocols => "protocol",
            Self::Ports => "port",
            Self::DstPorts => "destination port",
            Self::SrcPorts => "source port",
            Self::IcmpTypes => "ICMP type",
            Self::IcmpCodes => "ICMP code",
            Self::PacketLengths => "packet length",
            Self::Dscp => "DSCP",
        }
    }
}

impl fmt::Display for List {
    /// As rules are written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Protocols => "proto",
            Self::Ports => "port",
            Self::DstPorts => "dport",
            Self::SrcPorts => "sport",
            Self::IcmpTypes => "icmp-type",
            Self::IcmpCodes => "icmp-code",
            Self::PacketLengths => "length",
            Self::Dscp => "dscp",
        })
    }
}

fn octets(numbers: &Ranges) -> Set<u8> {
    let ranges = numbers.as_slice().iter();
    ranges
        .flat_map(|range| range.first..=range.last)
        .filter_map(|number| u8::try_from(number).ok())
        .collect()
}
