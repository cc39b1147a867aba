//! What a match amounts to: whether it can match at all, and whether it takes more than an attack.

use super::{Fragments, Match, Range, Ranges, Set, TcpFlags, protocol};
use crate::rate::BitsPerSecond;
use ipnet::IpNet;
use std::net::IpAddr;

/// Lengths that ordinary packets have: a range over all of them singles nothing out.
const ORDINARY_LENGTHS: Range = Range {
    first: 40,
    last: 1500,
};
/// Unreachable (path MTU) and time exceeded (RFC 792).
const VITAL_ICMP: [u8; 2] = [3, 11];
/// Errors with path MTU (RFC 4443), and neighbour discovery (RFC 4861).
const VITAL_ICMPV6: [u8; 9] = [1, 2, 3, 4, 133, 134, 135, 136, 137];

/// Why no packet matches, or no router takes it.
#[must_use]
pub fn never_matches(matches: &Match) -> Option<&'static str> {
    let is_ipv6 = matches.dst_prefix.addr().is_ipv6();
    let own_icmp = if is_ipv6 { protocol::ICMPV6 } else { protocol::ICMP };
    let asks_icmp = !matches.icmp_types.is_empty() || !matches.icmp_codes.is_empty();
    let fragment = matches.fragment.as_ref();
    let source = matches.source();
    let checks = [
        (
            source.is_some_and(|source| source.addr().is_ipv6() != is_ipv6),
            "source and destination are of two families, so it could never match",
        ),
        (
            source.is_some_and(|source| source.trunc() != source),
            "the source prefix has host bits set, and without them it would match more",
        ),
        (
            source.is_some_and(|source| source.prefix_len() == 0),
            "a source prefix of length 0 says nothing; leave it out",
        ),
        (
            asks_icmp && matches.protocols.iter().ne([&own_icmp]),
            "ICMP types and codes need the protocol to be ICMP (1 for IPv4, 58 for IPv6) alone",
        ),
        (
            !matches.icmp_codes.is_empty() && matches.icmp_types.is_empty(),
            "an ICMP code means nothing without a type",
        ),
        (
            is_ipv6 && fragment.is_some_and(Fragments::need_ipv4),
            "dont-fragment is a bit of IPv4 alone",
        ),
        (
            !is_ipv6 && !matches.flow_labels.is_empty(),
            "only IPv6 packets have a flow label",
        ),
        (
            fragment.is_some_and(Fragments::are_without_ports)
                && (matches.has_ports() || asks_icmp || matches.tcp_flags.is_some()),
            "fragments but the first carry no ports, flags or ICMP types, so it could never match",
        ),
    ];
    checks
        .into_iter()
        .find_map(|(is_so, because)| is_so.then_some(because))
}

/// A component holds every value: it has no form on the wire.
#[must_use]
pub fn says_nothing(matches: &Match) -> bool {
    const OCTETS: usize = 256;
    [
        &matches.ports,
        &matches.dst_ports,
        &matches.src_ports,
        &matches.packet_lengths,
    ]
    .iter()
    .any(|numbers| numbers.is_everything())
        || [&matches.protocols, &matches.icmp_types, &matches.icmp_codes]
            .iter()
            .any(|numbers| numbers.len() == OCTETS)
        || matches.dscp.len() == 64
        || matches.flow_labels.is_everything()
}

/// It singles nothing out of the victim's traffic of a protocol: what narrows it is what nearly every packet has.
#[must_use]
pub fn is_bare(matches: &Match) -> bool {
    let ordinary: Ranges = [ORDINARY_LENGTHS].into_iter().collect();
    let narrow_lengths =
        !matches.packet_lengths.is_empty() && !ordinary.minus(&matches.packet_lengths).is_empty();
    let narrow_dscp = !matches.dscp.is_empty() && matches.dscp.iter().all(|dscp| dscp.get() != 0);
    let narrow_labels = !matches.flow_labels.is_empty() && !matches.flow_labels.contains(0);
    !has_narrow_ports(matches)
        && !is_from_few(matches.source())
        && matches.icmp_types.is_empty()
        && matches.tcp_flags.is_none()
        && !narrow_lengths
        && !narrow_dscp
        && !narrow_labels
        && !matches
            .fragment
            .as_ref()
            .is_some_and(Fragments::are_only_fragments)
}

/// A source that is a network, and no half of the Internet.
fn is_from_few(source: Option<IpNet>) -> bool {
    source.is_some_and(|source| {
        source.prefix_len()
            >= match source {
                IpNet::V4(_) => 8,
                IpNet::V6(_) => 16,
            }
    })
}

fn has_narrow_ports(matches: &Match) -> bool {
    matches.ports.are_narrow_ports()
        || matches.dst_ports.are_narrow_ports()
        || matches.src_ports.are_narrow_ports()
}

/// Established TCP of a host: segments with nothing but ACK set match, or those with data.
#[must_use]
pub fn is_established(matches: &Match) -> bool {
    !has_narrow_ports(matches)
        && !is_from_few(matches.source())
        && matches
            .tcp_flags
            .as_ref()
            .is_some_and(TcpFlags::holds_established)
}

/// ICMP that a host cannot do without.
#[must_use]
pub fn is_vital_icmp(matches: &Match) -> bool {
    let vital: &[u8] = match matches.dst_prefix {
        IpNet::V4(_) => &VITAL_ICMP,
        IpNet::V6(_) => &VITAL_ICMPV6,
    };
    let taken: &Set<u8> = &matches.icmp_types;
    !is_from_few(matches.source()) && vital.iter().any(|kind| taken.contains(kind))
}

/// What so many packets of ordinary size carry.
#[must_use]
pub fn packets_carry(packets_per_second: u64) -> BitsPerSecond {
    BitsPerSecond(packets_per_second.saturating_mul(u64::from(ORDINARY_LENGTHS.last) * 8))
}

/// Why no traffic can go to a next hop.
#[must_use]
pub fn unusable_next_hop(next_hop: IpAddr) -> Option<&'static str> {
    let is_broadcast = matches!(next_hop, IpAddr::V4(address) if address.is_broadcast());
    (next_hop.is_unspecified() || next_hop.is_loopback() || next_hop.is_multicast() || is_broadcast)
        .then_some("is no address of a host that traffic could be sent to")
}

/// It takes the traffic of a port whatever the port is: nothing but flags narrows it.
#[must_use]
pub fn is_of_all_ports(matches: &Match) -> bool {
    matches.src_ports.is_empty()
        && matches.ports.is_empty()
        && matches.src_prefix.is_none()
        && matches.packet_lengths.is_empty()
        && !matches
            .fragment
            .as_ref()
            .is_some_and(Fragments::are_only_fragments)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(text: &str) -> Match {
        format!("dst 203.0.113.10/32 {text}").parse().unwrap()
    }

    #[test]
    fn what_nearly_every_packet_has_narrows_nothing() {
        for (text, bare) in [
            ("proto udp", true),
            ("proto udp dscp 0,46", true),
            ("proto udp dscp 46", false),
            ("proto udp length 20-9000", true),
            ("proto udp length 0-100", false),
            ("proto udp fragment !is-fragment", true),
            ("proto udp fragment dont-fragment", true),
            ("proto udp fragment is-fragment", false),
            ("src 0.0.0.0/1", true),
            ("src 198.51.100.0/24", false),
            ("proto udp port 1-65535", true),
            ("proto udp port 53", false),
        ] {
            assert_eq!(is_bare(&on(text)), bare, "{text}");
        }
        let labels =
            |text: &str| -> Match { format!("dst 2001:db8::1/128 flow-label {text}").parse().unwrap() };
        assert!(is_bare(&labels("0")) && !is_bare(&labels("7")));
    }

    #[test]
    fn what_no_packet_has_is_named() {
        for text in [
            "src 2001:db8::/32",
            "proto udp icmp-type 8",
            "icmp-type 8",
            "proto icmp icmp-code 0",
            "flow-label 7",
            "proto udp dport 53 fragment is-fragment",
            "proto tcp tcp-flags syn fragment is-fragment,is-fragment&last-fragment",
        ] {
            assert!(never_matches(&on(text)).is_some(), "{text}");
        }
        for text in [
            "proto icmp icmp-type 3 icmp-code 0",
            "proto udp dport 53 fragment first-fragment",
            "fragment dont-fragment",
        ] {
            assert_eq!(never_matches(&on(text)), None, "{text}");
        }
        let v6: Match = "dst 2001:db8::1/128 fragment dont-fragment".parse().unwrap();
        assert!(never_matches(&v6).is_some());
    }

    #[test]
    fn path_mtu_and_neighbour_discovery_stay() {
        assert!(is_vital_icmp(&on("proto icmp icmp-type 3,8")));
        assert!(!is_vital_icmp(&on("proto icmp icmp-type 0,8")));
        let v6 = |kind: u8| -> Match {
            format!("dst 2001:db8::1/128 proto icmpv6 icmp-type {kind}")
                .parse()
                .unwrap()
        };
        assert!(is_vital_icmp(&v6(135)) && is_vital_icmp(&v6(2)) && !is_vital_icmp(&v6(128)));
    }
}
