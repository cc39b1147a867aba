//! What one neighbour takes: a value, so that neighbours which take the same share what is compiled for them.
//!
//! What a kind of router cannot do is one table, [`inabilities`], and every line of it says how we know
//! (docs/vendors.md shows the same lines). What no line speaks of is sent as it is.

use ipnet::IpNet;
use prefixd_api::config::Profile;
use prefixd_api::rule::{Action, ActionType, Alternative, Bits, Match, Ranges, RouteTarget, Rule, TcpFlags};
use prefixd_bgp::Limits;
use prefixd_bgp::flowspec::Family;
use std::collections::BTreeSet;
use std::fmt;

/// NLRIs that one rule may become at one neighbour.
pub(super) const MAX_PARTS: usize = 8;

/// What rules for a neighbour are compiled to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeighborPlan {
    /// Families it is configured for.
    pub families: BTreeSet<Family>,
    /// What it is, and so what it cannot do.
    pub profile: Profile,
    /// What one NLRI may cost.
    pub limits: Limits,
}

impl Default for NeighborPlan {
    /// What every router tried takes, in both families.
    fn default() -> Self {
        Self {
            families: Family::FLOWSPEC.into(),
            profile: Profile::Generic,
            limits: Limits::default(),
        }
    }
}

impl NeighborPlan {
    /// Whether it gets FlowSpec rules of the destination's family.
    pub(super) fn has_flowspec(&self, destination: IpNet) -> bool {
        self.families.contains(&match destination {
            IpNet::V4(_) => Family::Ipv4,
            IpNet::V6(_) => Family::Ipv6,
        })
    }

    /// The FlowSpec family that a neighbour lacks, where all it can be told for the destination is that it is given up.
    /// What is configured counts: a family that one session did not agree on comes back with the next.
    pub(super) fn lacks_flowspec(&self, destination: IpNet) -> Option<Family> {
        let (flowspec, unicast) = match destination {
            IpNet::V4(_) => (Family::Ipv4, Family::Ipv4Unicast),
            IpNet::V6(_) => (Family::Ipv6, Family::Ipv6Unicast),
        };
        let has = |family| self.families.contains(&family);
        (!has(flowspec) && has(unicast)).then_some(flowspec)
    }
}

/// How we know something of a router; the marks of docs/vendors.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// We ran it.
    Run,
    /// The vendor says so.
    Vendor,
    /// The free project says so.
    Project,
    /// Somebody else published it.
    Third,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Run => "run",
            Self::Vendor => "vendor",
            Self::Project => "project",
            Self::Third => "third",
        })
    }
}

/// What becomes of a rule that a router cannot do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is not sent.
    Refused,
    /// It is sent, and people are told.
    Warned,
}

/// One thing that a kind of router cannot do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Inability {
    /// Which rules it is about.
    pub(super) what: What,
    pub(super) verdict: Verdict,
    /// What the router does with them, for people.
    pub(super) says: &'static str,
    pub(super) mark: Mark,
}

/// Kinds of rules that some router cannot do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A rate above 0.
    Rate,
    /// A redirect to the route target of a 4-byte AS.
    RedirectToFourOctetAs,
    /// A redirect, or a copy, to an address.
    RedirectToAddress,
    /// `port` beside `dport` or `sport`.
    PortBesideOthers,
    /// Ports without a protocol that is TCP or UDP alone.
    PortsOfNoProtocol,
    /// Ranges of source and of destination ports.
    RangesOnBothSides,
    /// ICMP types or codes beside ports.
    IcmpBesidePorts,
    /// TCP flags without the protocol TCP.
    FlagsOfNoProtocol,
    /// TCP flags that must not be set.
    FlagsThatAreClear,
    /// The last-fragment bit.
    LastFragment,
    /// Packet lengths above 9,600.
    LongPackets,
}

/// Some Huawei routers take packet lengths to here.
const HUAWEI_MAX_LENGTH: u16 = 9600;
const LAST_FRAGMENT: u16 = 0x08;

impl What {
    pub(super) fn concerns(self, rule: &Rule) -> bool {
        let matches = &rule.matches;
        let has_icmp = !matches.icmp_types.is_empty() || !matches.icmp_codes.is_empty();
        let has_ports = matches.has_ports();
        match self {
            Self::Rate => rule.action.kind() == ActionType::Police,
            Self::RedirectToFourOctetAs => matches!(
                rule.action,
                Action::RedirectVrf {
                    route_target: RouteTarget::As4 { .. }
                }
            ),
            Self::RedirectToAddress => rule.action.kind() == ActionType::RedirectIp,
            Self::PortBesideOthers => {
                let has_others = !matches.dst_ports.is_empty() || !matches.src_ports.is_empty();
                has_others && !matches.ports.is_empty()
            }
            Self::PortsOfNoProtocol => has_ports && matches.protocols.is_empty(),
            Self::RangesOnBothSides => holds_a_range(&matches.src_ports) && holds_a_range(&matches.dst_ports),
            Self::IcmpBesidePorts => has_icmp && has_ports,
            Self::FlagsOfNoProtocol => matches.tcp_flags.is_some() && matches.protocols.is_empty(),
            Self::FlagsThatAreClear => alternatives(matches.tcp_flags.as_ref()).any(|one| one.clear != 0),
            Self::LastFragment => {
                let bits = matches.fragment.iter().flat_map(Bits::alternatives);
                bits.map(|one| one.set | one.clear)
                    .any(|bits| bits & LAST_FRAGMENT != 0)
            }
            Self::LongPackets => is_longer(matches),
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rate => "a rate above 0",
            Self::RedirectToFourOctetAs => "a redirect to the route target of a 4-byte AS",
            Self::RedirectToAddress => "a redirect to an address",
            Self::PortBesideOthers => "port beside dport or sport",
            Self::PortsOfNoProtocol => "ports without TCP or UDP",
            Self::RangesOnBothSides => "ranges of source and of destination ports",
            Self::IcmpBesidePorts => "ICMP types or codes beside ports",
            Self::FlagsOfNoProtocol => "TCP flags without the protocol",
            Self::FlagsThatAreClear => "TCP flags that must not be set",
            Self::LastFragment => "last-fragment",
            Self::LongPackets => "packet lengths above 9600",
        })
    }
}

fn alternatives(flags: Option<&TcpFlags>) -> impl Iterator<Item = &Alternative> {
    flags.into_iter().flat_map(Bits::alternatives)
}

fn holds_a_range(ports: &Ranges) -> bool {
    ports.as_slice().iter().any(|range| range.first != range.last)
}

/// An open end names no number.
fn is_longer(matches: &Match) -> bool {
    matches.packet_lengths.as_slice().iter().any(|range| {
        range.first > HUAWEI_MAX_LENGTH || (range.last > HUAWEI_MAX_LENGTH && range.last != u16::MAX)
    })
}

const fn refused(what: What, mark: Mark, says: &'static str) -> Inability {
    Inability {
        what,
        verdict: Verdict::Refused,
        says,
        mark,
    }
}

const fn warned(what: What, mark: Mark, says: &'static str) -> Inability {
    Inability {
        what,
        verdict: Verdict::Warned,
        says,
        mark,
    }
}

const NOT_INSTALLED: &str = "Huawei NE does not install it";

/// What routers of a kind cannot do, as far as we know.
pub(super) const fn inabilities(profile: Profile) -> &'static [Inability] {
    use Mark::{Project, Run, Third, Vendor};
    const GENERIC: &[Inability] = &[refused(
        What::RedirectToFourOctetAs,
        Run,
        "ExaBGP 4.2 drops the session; name the router's own profile if it is another",
    )];
    const JUNOS: &[Inability] = &[refused(
        What::PortBesideOthers,
        Vendor,
        "Junos does not take both in one term",
    )];
    const EOS: &[Inability] = &[warned(
        What::Rate,
        Third,
        "EOS 4.33.5M on 7280SR2A takes the rate and does not enforce it; look at the counters",
    )];
    const HUAWEI: &[Inability] = &[
        refused(What::PortBesideOthers, Vendor, NOT_INSTALLED),
        refused(What::PortsOfNoProtocol, Vendor, NOT_INSTALLED),
        refused(What::IcmpBesidePorts, Vendor, NOT_INSTALLED),
        refused(What::FlagsOfNoProtocol, Vendor, NOT_INSTALLED),
        refused(What::FlagsThatAreClear, Vendor, NOT_INSTALLED),
        refused(What::LastFragment, Vendor, "Huawei NE does not know it"),
        refused(What::LongPackets, Vendor, "Huawei NE takes lengths to 9600"),
        warned(
            What::RedirectToAddress,
            Vendor,
            "Huawei NE reads the encoding of an older draft unless the neighbour has `redirect ip rfc-compatible`",
        ),
    ];
    const FRR: &[Inability] = &[
        warned(What::Rate, Project, "FRR does not enforce rates"),
        refused(What::RangesOnBothSides, Project, "FRR cannot install it"),
    ];
    const EXABGP: &[Inability] = &[refused(
        What::RedirectToFourOctetAs,
        Run,
        "ExaBGP 4.2 drops the session",
    )];
    match profile {
        Profile::Generic => GENERIC,
        Profile::Junos => JUNOS,
        Profile::Eos => EOS,
        Profile::Huawei => HUAWEI,
        Profile::Frr => FRR,
        Profile::Exabgp => EXABGP,
        Profile::Iosxr | Profile::Sros | Profile::Bird | Profile::Gobgp => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_inability_concerns_the_rules_it_names_and_no_others() {
        let rule = |text: &str| -> Rule { format!("dst 203.0.113.10/32 {text}").parse().unwrap() };
        for (what, those, others) in [
            (
                What::Rate,
                vec![
                    "proto udp then police 5 Mbit/s",
                    "proto udp then police 9 packets/s",
                ],
                vec!["fragment is-fragment then discard", "proto udp then mark 8"],
            ),
            (
                What::RedirectToFourOctetAs,
                vec!["then redirect vrf 4200000000:7"],
                vec!["then redirect vrf 65010:7", "then redirect vrf 192.0.2.1:7"],
            ),
            (
                What::RedirectToAddress,
                vec!["then redirect to 192.0.2.9", "then redirect to 192.0.2.9 copy"],
                vec!["then redirect vrf 65010:7", "then discard"],
            ),
            (
                What::PortBesideOthers,
                vec![
                    "proto udp port 53 dport 80 then discard",
                    "proto udp port 53 sport 80 then discard",
                ],
                vec![
                    "proto udp port 53 then discard",
                    "proto udp dport 53 sport 80 then discard",
                ],
            ),
            (
                What::PortsOfNoProtocol,
                vec!["dport 53 then discard"],
                vec!["proto tcp,udp dport 53 then discard"],
            ),
            (
                What::RangesOnBothSides,
                vec!["proto udp dport 10-20 sport 1-2 then discard"],
                vec![
                    "proto udp dport 10-20 sport 53 then discard",
                    "proto udp dport 10 sport 10-20 then discard",
                ],
            ),
            (
                What::IcmpBesidePorts,
                vec!["proto icmp icmp-type 8 port 1 then discard"],
                vec!["proto icmp icmp-type 8 then discard"],
            ),
            (
                What::FlagsOfNoProtocol,
                vec!["tcp-flags syn then discard"],
                vec!["proto tcp tcp-flags syn then discard"],
            ),
            (
                What::FlagsThatAreClear,
                vec!["proto tcp tcp-flags syn&!ack then discard"],
                vec!["proto tcp tcp-flags syn,rst then discard"],
            ),
            (
                What::LastFragment,
                vec![
                    "fragment last-fragment then discard",
                    "fragment !last-fragment then discard",
                ],
                vec!["fragment is-fragment then discard"],
            ),
            (
                What::LongPackets,
                vec!["length 9601 then discard"],
                vec!["length 100-65535 then discard", "length 9600 then discard"],
            ),
        ] {
            for text in those {
                assert!(what.concerns(&rule(text)), "{what}: {text}");
            }
            for text in others {
                assert!(!what.concerns(&rule(text)), "{what}: {text}");
            }
        }
    }

    /// docs/vendors.md tells operators the same, line by line, and nothing else.
    #[test]
    fn the_documentation_shows_this_table() {
        let documentation = include_str!("../../../docs/vendors.md");
        let mut told = Vec::new();
        for profile in Profile::ALL {
            for one in inabilities(profile) {
                let becomes = match one.verdict {
                    Verdict::Refused => "not sent",
                    Verdict::Warned => "sent with a warning",
                };
                told.push(format!(
                    "| {profile} | {} | {becomes} | {} | {} |",
                    one.what, one.says, one.mark
                ));
            }
        }
        let heading = "| profile | a rule with | is | because | mark |";
        let table = documentation.lines().skip_while(|line| *line != heading).skip(2);
        let shown: Vec<&str> = table.take_while(|line| line.starts_with('|')).collect();
        assert_eq!(shown, told);
    }
}
