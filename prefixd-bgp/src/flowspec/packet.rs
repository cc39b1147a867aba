//! Whether a rule matches a packet of which some is known.

use std::net::IpAddr;

use super::{CanonicalRule, Comparison, Component, NumericTerm};

/// Protocols whose packets begin with ports: TCP, UDP, DCCP, SCTP, UDP-Lite.
const WITH_PORTS: [u8; 5] = [6, 17, 33, 132, 136];
const TCP: u8 = 6;
const ICMP: [u8; 2] = [1, 58];

/// What is known of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Where it goes.
    pub dst: IpAddr,
    /// Where it comes from.
    pub src: Option<IpAddr>,
    /// The protocol in its header.
    pub protocol: Option<u8>,
    /// The port it comes from.
    pub src_port: Option<u16>,
    /// The port it goes to.
    pub dst_port: Option<u16>,
}

/// Whether a rule matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fit {
    /// It matches every such packet.
    Yes,
    /// It matches none.
    No,
    /// These components decide, and what they ask of the packet is not known.
    Depends(Vec<&'static str>),
}

impl Packet {
    /// Whether packets of this protocol have ports; not known without a protocol.
    #[must_use]
    pub fn has_ports(protocol: u8) -> bool {
        WITH_PORTS.contains(&protocol)
    }

    fn may_be(&self, protocols: &[u8]) -> bool {
        self.protocol.is_none_or(|protocol| protocols.contains(&protocol))
    }

    /// What a component says; not known where it asks of what is not known.
    fn meets(&self, component: &Component) -> Option<bool> {
        let holds =
            |terms: &[NumericTerm], value: Option<u16>| value.map(|value| numeric(terms, value.into()));
        match component {
            Component::DestinationPrefix(prefix) => Some(prefix.contains(&self.dst)),
            Component::SourcePrefix(prefix) => self.src.map(|src| prefix.contains(&src)),
            Component::Protocol(terms) => self.protocol.map(|protocol| numeric(terms, protocol.into())),
            Component::Port(_) | Component::DestinationPort(_) | Component::SourcePort(_)
                if !self.may_be(&WITH_PORTS) =>
            {
                Some(false)
            }
            Component::Port(terms) => match (holds(terms, self.src_port), holds(terms, self.dst_port)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
            Component::DestinationPort(terms) => holds(terms, self.dst_port),
            Component::SourcePort(terms) => holds(terms, self.src_port),
            Component::IcmpType(_) | Component::IcmpCode(_) => (!self.may_be(&ICMP)).then_some(false),
            Component::TcpFlags(_) => (!self.may_be(&[TCP])).then_some(false),
            Component::PacketLength(_)
            | Component::Dscp(_)
            | Component::Fragment(_)
            | Component::FlowLabel(_) => None,
        }
    }
}

impl CanonicalRule {
    /// Whether the rule matches these packets.
    #[must_use]
    pub fn fit(&self, packet: &Packet) -> Fit {
        // Nearly all rules are about others: of those nothing else is read.
        if self
            .destination()
            .is_some_and(|destination| !destination.contains(&packet.dst))
        {
            return Fit::No;
        }
        let Some(components) = self.components() else {
            return Fit::Depends(vec!["rule"]);
        };
        let mut open = Vec::new();
        for component in &components {
            match packet.meets(component) {
                Some(true) => {}
                Some(false) => return Fit::No,
                None => open.push(component.name()),
            }
        }
        if open.is_empty() {
            Fit::Yes
        } else {
            Fit::Depends(open)
        }
    }
}

/// An OR of groups that are joined by AND (RFC 8955 section 4.2.1.1).
fn numeric(terms: &[NumericTerm], value: u64) -> bool {
    let met = |term: &NumericTerm| {
        let order = value.cmp(&term.value);
        match term.comparison {
            Comparison::Less => order.is_lt(),
            Comparison::LessOrEqual => order.is_le(),
            Comparison::Equal => order.is_eq(),
            Comparison::GreaterOrEqual => order.is_ge(),
            Comparison::Greater => order.is_gt(),
            Comparison::NotEqual => order.is_ne(),
        }
    };
    terms
        .chunk_by(|_, next| next.and)
        .any(|group| group.iter().all(met))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flowspec::meaning::numeric_holds;
    use crate::flowspec::{BitmaskTerm, Family, Rule};
    use proptest::prelude::*;

    fn rule(components: Vec<Component>) -> CanonicalRule {
        let dst = Component::DestinationPrefix("203.0.113.8/29".parse().unwrap());
        Rule {
            family: Family::Ipv4,
            components: std::iter::once(dst).chain(components).collect(),
        }
        .canonical()
        .unwrap()
    }

    fn equal(number: u64) -> Vec<NumericTerm> {
        vec![NumericTerm::equal(number)]
    }

    fn to(dst: &str) -> Packet {
        Packet {
            dst: dst.parse().unwrap(),
            src: None,
            protocol: None,
            src_port: None,
            dst_port: None,
        }
    }

    #[test]
    fn what_is_known_decides_and_what_is_not_is_named() {
        let inside = to("203.0.113.10");
        let udp = Packet {
            protocol: Some(17),
            ..inside
        };
        let dns = Packet {
            src_port: Some(53),
            dst_port: Some(40_000),
            ..udp
        };
        let depends = |names: &[&'static str]| Fit::Depends(names.to_vec());
        let flags = || {
            Component::TcpFlags(vec![BitmaskTerm {
                and: false,
                not: false,
                all: true,
                bits: 2,
            }])
        };
        let from = Component::SourcePrefix("198.51.100.0/24".parse().unwrap());
        for (components, packet, fit) in [
            (vec![], inside, Fit::Yes),
            (vec![], to("203.0.113.16"), Fit::No),
            (vec![], to("2001:db8::1"), Fit::No),
            (vec![from.clone()], inside, depends(&["source prefix"])),
            (
                vec![from.clone()],
                Packet {
                    src: Some("198.51.100.7".parse().unwrap()),
                    ..inside
                },
                Fit::Yes,
            ),
            (
                vec![from],
                Packet {
                    src: Some("198.51.101.7".parse().unwrap()),
                    ..inside
                },
                Fit::No,
            ),
            (
                vec![
                    Component::Protocol(equal(17)),
                    Component::DestinationPort(equal(53)),
                ],
                inside,
                depends(&["protocol", "destination port"]),
            ),
            (
                vec![
                    Component::Protocol(equal(17)),
                    Component::DestinationPort(equal(53)),
                ],
                udp,
                depends(&["destination port"]),
            ),
            (vec![Component::DestinationPort(equal(53))], dns, Fit::No),
            (vec![Component::SourcePort(equal(53))], dns, Fit::Yes),
            // Of either direction: one that holds is enough, one that does not is not.
            (vec![Component::Port(equal(53))], dns, Fit::Yes),
            (vec![Component::Port(equal(54))], dns, Fit::No),
            (
                vec![Component::Port(equal(54))],
                Packet {
                    src_port: None,
                    ..dns
                },
                depends(&["port"]),
            ),
            // ICMP has no ports, UDP no flags.
            (
                vec![Component::Port(equal(54))],
                Packet {
                    protocol: Some(1),
                    ..inside
                },
                Fit::No,
            ),
            (vec![flags()], udp, Fit::No),
            (vec![flags()], inside, depends(&["TCP flags"])),
            (
                vec![Component::IcmpType(equal(8))],
                Packet {
                    protocol: Some(1),
                    ..inside
                },
                depends(&["ICMP type"]),
            ),
            (
                vec![Component::PacketLength(equal(100))],
                dns,
                depends(&["packet length"]),
            ),
            // What is not known does not matter where something known says no.
            (
                vec![Component::Protocol(equal(6)), Component::PacketLength(equal(100))],
                dns,
                Fit::No,
            ),
        ] {
            assert_eq!(
                rule(components.clone()).fit(&packet),
                fit,
                "{components:?} {packet:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_list_means_what_the_rfc_says(
            parts in prop::collection::vec((any::<bool>(), 0u64..6, 0u64..20), 1..5), value in 0u64..22,
        ) {
            let kinds = [
                Comparison::Less, Comparison::LessOrEqual, Comparison::Equal,
                Comparison::GreaterOrEqual, Comparison::Greater, Comparison::NotEqual,
            ];
            let terms: Vec<NumericTerm> = parts
                .into_iter()
                .map(|(and, kind, value)| NumericTerm { and, comparison: kinds[kind as usize], value })
                .collect();
            prop_assert_eq!(numeric(&terms, value), numeric_holds(&terms, value));
        }
    }
}
