//! Flows that no rule may catch: a rule is refused when any packet can be of both.

use ipnet::IpNet;
use prefixd_api::rule::{Match, Ranges, Set, protocol};
use std::fmt;

/// Traffic that no rule may catch; an empty part is any.
#[derive(Clone, Debug)]
pub(super) struct ProtectedFlow {
    pub(super) name: String,
    pub(super) dst: Option<IpNet>,
    pub(super) src: Option<IpNet>,
    pub(super) protocols: Set<u8>,
    pub(super) dst_ports: Ranges,
    pub(super) src_ports: Ranges,
}

impl ProtectedFlow {
    /// Whether a rule with this match catches any packet of it. What a flow does not speak of (flags, lengths, fragments)
    /// keeps no rule from it: some of its packets have them.
    pub(super) fn is_caught_by(&self, matches: &Match) -> bool {
        let has_ports = !self.dst_ports.is_empty() || !self.src_ports.is_empty();
        let protocols = if self.protocols.is_empty() && has_ports {
            &Set::from([protocol::TCP, protocol::UDP])
        } else {
            &self.protocols
        };
        let either = &matches.ports;
        touch(self.dst, Some(matches.dst_prefix))
            && touch(self.src, matches.source())
            && (protocols.is_empty()
                || matches.protocols.is_empty()
                || !protocols.is_disjoint(&matches.protocols))
            && meet(&self.dst_ports, &matches.dst_ports)
            && meet(&self.src_ports, &matches.src_ports)
            && (meet(&self.dst_ports, either) || meet(&self.src_ports, either))
    }
}

/// Whether an address can be in both.
fn touch(one: Option<IpNet>, other: Option<IpNet>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.contains(&other) || other.contains(&one),
        _ => true,
    }
}

/// Whether a port can be in both.
fn meet(one: &Ranges, other: &Ranges) -> bool {
    one.is_empty() || other.is_empty() || one.minus(other) != *one
}

impl fmt::Display for ProtectedFlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        let mut sign = " (";
        let mut part = |f: &mut fmt::Formatter<'_>, text: String| {
            let written = write!(f, "{sign}{text}");
            sign = " ";
            written
        };
        if let Some(dst) = self.dst {
            part(f, format!("dst {dst}"))?;
        }
        if let Some(src) = self.src {
            part(f, format!("src {src}"))?;
        }
        if !self.protocols.is_empty() {
            let numbers: Vec<String> = self.protocols.iter().map(u8::to_string).collect();
            part(f, format!("protocol {}", numbers.join(" or ")))?;
        }
        if !self.dst_ports.is_empty() {
            part(f, format!("dport {}", self.dst_ports))?;
        }
        if !self.src_ports.is_empty() {
            part(f, format!("sport {}", self.src_ports))?;
        }
        if sign == " " { f.write_str(")") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(dst: &str, src: &str, protocols: &[u8], dst_ports: &[u16], src_ports: &[u16]) -> ProtectedFlow {
        ProtectedFlow {
            name: "test".to_owned(),
            dst: dst.parse().ok(),
            src: src.parse().ok(),
            protocols: protocols.iter().copied().collect(),
            dst_ports: dst_ports.iter().copied().collect(),
            src_ports: src_ports.iter().copied().collect(),
        }
    }

    #[test]
    fn a_rule_catches_a_flow_when_a_packet_can_be_of_both() {
        let bgp = flow("203.0.113.0/24", "", &[6], &[179], &[]);
        let resolver = flow("", "198.51.100.53/32", &[17], &[], &[53]);
        let any_ntp = flow("", "", &[], &[], &[123]);
        for (flow, rule, caught) in [
            (&bgp, "dst 203.0.113.10/32 proto tcp dport 179", true),
            (&bgp, "dst 203.0.113.10/32 proto tcp", true),
            (&bgp, "dst 203.0.113.10/32 proto tcp tcp-flags syn", true),
            (&bgp, "dst 203.0.113.10/32", true),
            (&bgp, "dst 203.0.113.10/32 proto tcp dport 80,443", false),
            (&bgp, "dst 203.0.113.10/32 proto tcp dport 100-200", true),
            (&bgp, "dst 203.0.113.10/32 proto udp", false),
            (&bgp, "dst 198.51.100.1/32 proto tcp dport 179", false),
            (&bgp, "dst 2001:db8::1/128 proto tcp dport 179", false),
            (&bgp, "dst 203.0.113.10/32 proto tcp port 179", true),
            (&bgp, "dst 203.0.113.10/32 proto tcp port 80", true),
            (&resolver, "dst 203.0.113.10/32 proto udp sport 53", true),
            (&resolver, "dst 203.0.113.10/32 proto udp dport 53", true),
            (
                &resolver,
                "dst 203.0.113.10/32 src 198.51.100.0/24 proto udp",
                true,
            ),
            (&resolver, "dst 203.0.113.10/32 src 192.0.2.0/24 proto udp", false),
            (&resolver, "dst 203.0.113.10/32 proto udp sport 123", false),
            (&any_ntp, "dst 203.0.113.10/32 proto udp sport 123", true),
            (&any_ntp, "dst 203.0.113.10/32 proto 47", false),
            (&any_ntp, "dst 203.0.113.10/32 proto udp sport 53", false),
        ] {
            let text = format!("{rule} then discard");
            let parsed: prefixd_api::rule::Rule = text.parse().unwrap();
            assert_eq!(flow.is_caught_by(&parsed.matches), caught, "{flow}: {rule}");
        }
    }

    #[test]
    fn a_flow_says_what_it_is() {
        let bgp = flow("203.0.113.0/24", "198.51.100.1/32", &[6], &[179], &[]);
        assert_eq!(
            bgp.to_string(),
            "test (dst 203.0.113.0/24 src 198.51.100.1/32 protocol 6 dport 179)"
        );
    }
}
