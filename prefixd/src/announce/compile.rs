//! From the vocabulary's rules to the speaker's.

use prefixd_api::family::AfiSafi;
use prefixd_api::rate::BitsPerSecond;
use prefixd_api::rule::{self, Bits, FlowLabels, Match, Ranges, RouteTarget, Set};
use prefixd_bgp::flowspec::{
    Action, BitmaskTerm, BytesPerSecond, CanonicalRule, Comparison, Component, Dscp, Effect, Family,
    InvalidAction, NumericTerm, PacketsPerSecond, Redirect, Rule, RuleError,
};

/// Why a rule of a mitigation cannot be announced anywhere.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The match has no canonical form.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// The action has none.
    #[error(transparent)]
    Action(#[from] InvalidAction),
}

/// A family in the speaker's words.
pub(crate) fn family(family: AfiSafi) -> Family {
    match family {
        AfiSafi::Ipv4Flowspec => Family::Ipv4,
        AfiSafi::Ipv6Flowspec => Family::Ipv6,
        AfiSafi::Ipv4Unicast => Family::Ipv4Unicast,
        AfiSafi::Ipv6Unicast => Family::Ipv6Unicast,
    }
}

/// The match as the speaker sends it. The speaker re-parses its bytes before it accepts them.
pub(super) fn canonical(matches: &Match) -> Result<CanonicalRule, CompileError> {
    let family = if matches.dst_prefix.addr().is_ipv6() {
        Family::Ipv6
    } else {
        Family::Ipv4
    };
    let mut components = vec![Component::DestinationPrefix(matches.dst_prefix)];
    components.extend(matches.source().map(Component::SourcePrefix));
    if !matches.protocols.is_empty() {
        components.push(Component::Protocol(values(&matches.protocols)));
    }
    if !matches.ports.is_empty() {
        components.push(Component::Port(ranges(&matches.ports)));
    }
    if !matches.dst_ports.is_empty() {
        components.push(Component::DestinationPort(ranges(&matches.dst_ports)));
    }
    if !matches.src_ports.is_empty() {
        components.push(Component::SourcePort(ranges(&matches.src_ports)));
    }
    if !matches.icmp_types.is_empty() {
        components.push(Component::IcmpType(values(&matches.icmp_types)));
    }
    if !matches.icmp_codes.is_empty() {
        components.push(Component::IcmpCode(values(&matches.icmp_codes)));
    }
    if let Some(flags) = &matches.tcp_flags {
        components.push(Component::TcpFlags(bits(flags)));
    }
    if !matches.packet_lengths.is_empty() {
        components.push(Component::PacketLength(ranges(&matches.packet_lengths)));
    }
    if !matches.dscp.is_empty() {
        components.push(Component::Dscp(
            matches
                .dscp
                .iter()
                .map(|dscp| NumericTerm::equal(dscp.get().into()))
                .collect(),
        ));
    }
    if let Some(fragment) = &matches.fragment {
        components.push(Component::Fragment(bits(fragment)));
    }
    if !matches.flow_labels.is_empty() {
        components.push(Component::FlowLabel(labels(&matches.flow_labels)));
    }
    Ok(Rule { family, components }.canonical()?)
}

/// A rule as the speaker sends it: FlowSpec, or a blackhole route.
pub(super) fn of(rule: &rule::Rule) -> Result<CanonicalRule, CompileError> {
    if rule.action != rule::Action::Rtbh {
        return canonical(&rule.matches);
    }
    let destination = rule.matches.dst_prefix;
    let is_host = destination.prefix_len() == destination.max_prefix_len();
    if !is_host || rule.matches != Match::destination(destination) {
        return Err(RuleError::NotAHost.into());
    }
    Ok(Rule::host_route(destination.addr()).canonical()?)
}

/// The action as the speaker sends it: bits per second become bytes here and nowhere else.
pub(super) fn action(action: rule::Action, sample: bool) -> Result<Action, CompileError> {
    Ok(match action {
        rule::Action::Discard => Action::DISCARD,
        rule::Action::Rtbh => return Ok(Action::BLACKHOLE),
        rule::Action::Police {
            rate_bps: BitsPerSecond(bits),
        } => Action::police(BytesPerSecond::from_bits_per_second(bits)?),
        rule::Action::PolicePackets { rate_pps } => {
            Action::of(Effect::RatePackets(PacketsPerSecond::new(rate_pps)?))
        }
        rule::Action::RedirectVrf { route_target } => Action::of(Effect::Redirect(match route_target {
            RouteTarget::As2 { asn, value } => Redirect::VrfAs2 { asn, value },
            RouteTarget::As4 { asn, value } => Redirect::VrfAs4 { asn, value },
            RouteTarget::Ipv4 { address, value } => Redirect::VrfIpv4 { address, value },
        })),
        rule::Action::RedirectIp { next_hop, copy } => Action::of(Effect::Redirect(Redirect::NextHop {
            address: next_hop,
            copy,
        })),
        rule::Action::Mark { dscp } => Action::mark(Dscp::new(dscp.get())?),
    }
    .sampled(sample))
}

/// What a router was told, in the vocabulary's words, and whether it samples. A rate is the one of the wire.
pub(super) fn told(action: Action) -> (rule::Action, bool) {
    let told = match action.effect() {
        Effect::Discard => rule::Action::Discard,
        Effect::Blackhole => rule::Action::Rtbh,
        Effect::RateBytes(rate) => rule::Action::Police {
            rate_bps: BitsPerSecond(whole(rate.get() * 8.0)),
        },
        Effect::RatePackets(rate) => rule::Action::PolicePackets {
            rate_pps: whole(rate.get()),
        },
        Effect::Redirect(Redirect::NextHop { address, copy }) => rule::Action::RedirectIp {
            next_hop: address,
            copy,
        },
        Effect::Redirect(Redirect::VrfAs2 { asn, value }) => vrf(RouteTarget::As2 { asn, value }),
        Effect::Redirect(Redirect::VrfAs4 { asn, value }) => vrf(RouteTarget::As4 { asn, value }),
        Effect::Redirect(Redirect::VrfIpv4 { address, value }) => vrf(RouteTarget::Ipv4 { address, value }),
        Effect::Mark(dscp) => rule::Action::Mark {
            dscp: rule::Dscp::of(dscp.get()),
        },
    };
    (told, action.sample())
}

fn vrf(route_target: RouteTarget) -> rule::Action {
    rule::Action::RedirectVrf { route_target }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "positive by type, and more than fits is not written on the wire"
)]
fn whole(rate: f32) -> u64 {
    rate.round() as u64
}

fn values(numbers: &Set<u8>) -> Vec<NumericTerm> {
    numbers
        .iter()
        .map(|number| NumericTerm::equal(u64::from(*number)))
        .collect()
}

fn ranges(ranges: &Ranges) -> Vec<NumericTerm> {
    ranges
        .as_slice()
        .iter()
        .flat_map(|range| {
            [
                NumericTerm::or(Comparison::GreaterOrEqual, u64::from(range.first)),
                NumericTerm::and(Comparison::LessOrEqual, u64::from(range.last)),
            ]
        })
        .collect()
}

fn labels(labels: &FlowLabels) -> Vec<NumericTerm> {
    labels
        .as_slice()
        .iter()
        .flat_map(|(first, last)| NumericTerm::range((*first).into(), (*last).into()))
        .collect()
}

/// Each alternative is all bits of `set`, and none of `clear`: one or two AND-ed terms.
fn bits<F>(bits: &Bits<F>) -> Vec<BitmaskTerm> {
    let alternative = |one: &rule::Alternative| {
        let set = (one.set != 0).then_some(BitmaskTerm {
            and: false,
            not: false,
            all: true,
            bits: one.set,
        });
        let clear = (one.clear != 0).then_some(BitmaskTerm {
            and: one.set != 0,
            ..BitmaskTerm::and_none(one.clear)
        });
        set.into_iter().chain(clear)
    };
    bits.alternatives().iter().flat_map(alternative).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use prefixd_api::rule::protocol;

    fn nlri(matches: &Match) -> String {
        canonical(matches).unwrap().key().to_string()
    }

    fn on(prefix: &str) -> Match {
        Match::destination(prefix.parse().unwrap())
    }

    #[test]
    fn a_port_rule() {
        let matches = Match {
            protocols: [protocol::UDP].into(),
            dst_ports: [27015].into_iter().collect(),
            ..on("203.0.113.10/32")
        };
        // length 13; type 1 /32; type 3 = 17; type 5 = 27015 in two bytes, end of list (RFC 8955 section 4.2)
        assert_eq!(nlri(&matches), "0d0120cb00710a03811105916987");
    }

    #[test]
    fn all_ports_but_one_take_two_terms() {
        let others: Ranges = [53].into_iter().collect::<Ranges>().complement();
        let rule = canonical(&Match {
            dst_ports: others,
            ..on("203.0.113.10/32")
        })
        .unwrap();
        let components = rule.components().unwrap();
        let operators: Vec<_> = components.iter().map(Component::operators).collect();
        assert_eq!(operators, [0, 2]);
    }

    #[test]
    fn syn_and_not_ack_are_two_terms() {
        let matches = Match {
            protocols: [protocol::TCP].into(),
            tcp_flags: Some("syn&!ack".parse().unwrap()),
            ..on("203.0.113.10/32")
        };
        assert!(nlri(&matches).ends_with("090102c210"), "{}", nlri(&matches));
    }

    /// `100-65535` has no upper bound on the wire: routers crash on lengths that their network does not carry.
    #[test]
    fn an_open_end_of_lengths_names_no_bound() {
        let from = |first: u16| Match {
            protocols: [protocol::UDP].into(),
            packet_lengths: [rule::Range {
                first,
                last: u16::MAX,
            }]
            .into_iter()
            .collect(),
            ..on("203.0.113.10/32")
        };
        // Type 10, ">= 100" in one byte and ">= 1000" in two, each the end of the list.
        assert!(nlri(&from(100)).ends_with("0a8364"), "{}", nlri(&from(100)));
        assert!(nlri(&from(1000)).ends_with("0a9303e8"), "{}", nlri(&from(1000)));
    }

    /// Every component, from the text to the bytes that the speaker's own vectors fix.
    #[test]
    fn every_component_reaches_the_wire() {
        let digits = |text: &str| text.split_whitespace().collect::<String>();
        let v4: Match = "dst 203.0.113.10/32 src 198.51.100.0/24 proto tcp port 80 dport 443 sport 1024-2047 icmp-type 3 icmp-code 4 tcp-flags syn&ae,rst length 0-1500 dscp 46 fragment dont-fragment,is-fragment".parse().unwrap();
        assert_eq!(
            nlri(&v4),
            digits(
                "34 0120cb00710a 0218c63364 038106 048150 059101bb 06130400d507ff 078103 088104 09 0104 910102 0a9505dc 0b812e 0c 0101 8102"
            )
        );
        let v6: Match = "dst 2001:db8::/32 fragment !first-fragment flow-label 65536-1048575"
            .parse()
            .unwrap();
        assert_eq!(nlri(&v6), digits("10 012000 20010db8 0c8204 0da300010000"));
    }

    #[test]
    fn a_host_of_ipv6_is_a_128() {
        let matches = Match {
            protocols: [protocol::ICMPV6].into(),
            icmp_types: [128, 129].into(),
            ..on("2001:db8::1/128")
        };
        let rule = canonical(&matches).unwrap();
        assert_eq!(rule.family(), Family::Ipv6);
        assert!(nlri(&matches).starts_with("1b018000"), "{}", nlri(&matches));
    }

    #[test]
    fn what_a_router_was_told_reads_as_what_was_wanted() {
        let target = |text: &str| rule::Action::RedirectVrf {
            route_target: text.parse().unwrap(),
        };
        let hop = |address: &str, copy| rule::Action::RedirectIp {
            next_hop: address.parse().unwrap(),
            copy,
        };
        let police = |bits| rule::Action::Police {
            rate_bps: BitsPerSecond(bits),
        };
        let actions = [
            rule::Action::Discard,
            police(1),
            police(5_000_000),
            police(40_000_000_000),
            rule::Action::PolicePackets { rate_pps: 10_000 },
            target("65010:666"),
            target("4200000000:666"),
            target("192.0.2.1:666"),
            hop("192.0.2.1", false),
            hop("2001:db8::1", true),
            rule::Action::Mark {
                dscp: rule::Dscp::of(46),
            },
        ];
        for wanted in actions {
            for sample in [false, true] {
                let sent = action(wanted, sample).unwrap();
                assert_eq!(told(sent), (wanted, sample), "{wanted:?}");
            }
        }
        assert_eq!(told(Action::BLACKHOLE), (rule::Action::Rtbh, false));
    }
}
