//! Actions as extended communities (RFC 8955 section 7, RFC 5701), in order of their bytes.

use std::net::IpAddr;

use rustbgpd_wire::{ExtendedCommunity, FlowSpecAction, Ipv6ExtendedCommunity};

use crate::flowspec::{Action, Effect, Redirect};

const OPTIONAL_TRANSITIVE: u8 = 0xC0;
const EXTENDED_COMMUNITIES: u8 = 16;
const IPV6_EXTENDED_COMMUNITIES: u8 = 25;

/// Appends attribute 16 and, for what only IPv6 can say, attribute 25.
pub(super) fn encode(action: Action, local_asn: u32, out: &mut Vec<u8>) {
    let (effect, ipv6) = effect(action.effect(), local_asn);
    let sample = action.sample().then_some(FlowSpecAction::TrafficAction {
        sample: true,
        // The terminal bit would let later rules, an accept among them, decide on what this one took.
        terminal: false,
    });
    let mut communities: Vec<[u8; 8]> = effect
        .iter()
        .chain(&sample)
        .map(|action| {
            ExtendedCommunity::from_flowspec_action(action)
                .as_u64()
                .to_be_bytes()
        })
        .collect();
    communities.sort_unstable();
    attribute(EXTENDED_COMMUNITIES, &communities.concat(), out);
    if let Some(community) = ipv6 {
        attribute(IPV6_EXTENDED_COMMUNITIES, community.as_bytes(), out);
    }
}

/// At most two communities of eight octets, or one of twenty: the length is one octet.
fn attribute(kind: u8, value: &[u8], out: &mut Vec<u8>) {
    let Ok(length @ 1..) = u8::try_from(value.len()) else {
        return;
    };
    out.extend_from_slice(&[OPTIONAL_TRANSITIVE, kind, length]);
    out.extend_from_slice(value);
}

fn effect(effect: Effect, local_asn: u32) -> (Option<FlowSpecAction>, Option<Ipv6ExtendedCommunity>) {
    // The field holds two octets and is informative only: a four-octet AS gives its low half.
    let [_, _, high, low] = local_asn.to_be_bytes();
    let asn = u16::from_be_bytes([high, low]);
    let of = |action| (Some(action), None);
    match effect {
        // No FlowSpec rule does this: such a route is refused before it comes here.
        Effect::Blackhole => (None, None),
        Effect::Discard => of(FlowSpecAction::TrafficRateBytes { asn, rate: 0.0 }),
        Effect::RateBytes(rate) => of(FlowSpecAction::TrafficRateBytes {
            asn,
            rate: rate.get(),
        }),
        Effect::RatePackets(rate) => of(FlowSpecAction::TrafficRatePackets {
            asn,
            rate: rate.get(),
        }),
        Effect::Mark(dscp) => of(FlowSpecAction::TrafficMarking { dscp: dscp.get() }),
        Effect::Redirect(Redirect::VrfAs2 { asn, value }) => {
            of(FlowSpecAction::Redirect2Octet { asn, value })
        }
        Effect::Redirect(Redirect::VrfAs4 { asn, value }) => {
            of(FlowSpecAction::Redirect4Octet { asn, value })
        }
        Effect::Redirect(Redirect::VrfIpv4 { address, value }) => {
            of(FlowSpecAction::RedirectIpv4 { addr: address, value })
        }
        Effect::Redirect(Redirect::NextHop { address, copy }) => match address {
            IpAddr::V4(addr) => of(FlowSpecAction::RedirectToIp { addr, copy }),
            IpAddr::V6(addr) => (
                None,
                Some(Ipv6ExtendedCommunity::from_flowspec_redirect_to_ip(addr, copy)),
            ),
        },
    }
}

#[cfg(test)]
mod tests {
    use rustbgpd_wire::attribute::decode_path_attributes;

    use super::*;
    use crate::flowspec::{BytesPerSecond, Dscp, PacketsPerSecond};

    fn vrf_as2() -> Action {
        Action::of(Effect::Redirect(Redirect::VrfAs2 {
            asn: 65010,
            value: 100,
        }))
    }

    fn next_hop(address: &str, copy: bool) -> Action {
        Action::of(Effect::Redirect(Redirect::NextHop {
            address: address.parse().unwrap(),
            copy,
        }))
    }

    /// Type codes of RFC 8955 table 2, of the IANA registries of transitive extended communities, and of
    /// draft-ietf-idr-flowspec-redirect-ip; values by hand.
    fn vectors() -> Vec<(&'static str, Action)> {
        vec![
            ("c01008 8006fdf200000000", Action::DISCARD),
            (
                "c01008 8006fdf247f42400",
                Action::police(BytesPerSecond::new(125_000.0).unwrap()),
            ),
            (
                "c01008 800cfdf2447a0000",
                Action::of(Effect::RatePackets(PacketsPerSecond::new(1000).unwrap())),
            ),
            ("c01008 800900000000002e", Action::mark(Dscp::new(46).unwrap())),
            ("c01008 8008fdf200000064", vrf_as2()),
            (
                "c01008 8208fa56ea000007",
                Action::of(Effect::Redirect(Redirect::VrfAs4 {
                    asn: 4_200_000_000,
                    value: 7,
                })),
            ),
            (
                "c01008 8108c00002010007",
                Action::of(Effect::Redirect(Redirect::VrfIpv4 {
                    address: [192, 0, 2, 1].into(),
                    value: 7,
                })),
            ),
            ("c01008 010cc00002090000", next_hop("192.0.2.9", false)),
            ("c01008 010cc00002090001", next_hop("192.0.2.9", true)),
            (
                "c01914 000c 20010db8000000000000000000000009 0000",
                next_hop("2001:db8::9", false),
            ),
            (
                "c01914 000c 20010db8000000000000000000000009 0001",
                next_hop("2001:db8::9", true),
            ),
            // Sampled: traffic-action with the sample bit alone, in order of the bytes.
            (
                "c01010 8006fdf200000000 8007000000000002",
                Action::DISCARD.sampled(true),
            ),
            (
                "c01010 8007000000000002 8008fdf200000064",
                vrf_as2().sampled(true),
            ),
            (
                "c01008 8007000000000002 c01914 000c 20010db8000000000000000000000009 0000",
                next_hop("2001:db8::9", false).sampled(true),
            ),
        ]
    }

    #[test]
    fn known_bytes() {
        for (expected, action) in vectors() {
            let mut bytes = Vec::new();
            encode(action, 65010, &mut bytes);
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let digits: String = expected.split_whitespace().collect();
            assert_eq!(hex, digits, "{action:?}");
        }
    }

    /// Read by the decoder, every vector says what was meant and nothing else.
    #[test]
    fn the_bytes_read_back() {
        use rustbgpd_wire::PathAttribute as A;
        for (hex, action) in vectors() {
            let digits: String = hex.split_whitespace().collect();
            let bytes: Vec<u8> = (0..digits.len() / 2)
                .map(|i| u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).unwrap())
                .collect();
            let decoded = decode_path_attributes(&bytes, true, &[]).unwrap();
            let mut found = Vec::new();
            let mut sampled = false;
            for attribute in decoded {
                match attribute {
                    A::ExtendedCommunities(all) => {
                        for community in all {
                            match community.as_flowspec_action().unwrap() {
                                FlowSpecAction::TrafficAction { sample, terminal } => {
                                    assert!(!terminal, "{action:?}");
                                    sampled = sample;
                                }
                                other => found.push(format!("{other:?}")),
                            }
                        }
                    }
                    A::Ipv6ExtendedCommunities(all) => {
                        for community in all {
                            found.push(format!("{:?}", community.as_flowspec_redirect_to_ip().unwrap()));
                        }
                    }
                    other => panic!("{other:?}"),
                }
            }
            let (meant, meant_v6) = effect(action.effect(), 65010);
            let meant: Vec<String> = meant
                .iter()
                .map(|action| format!("{action:?}"))
                .chain(
                    meant_v6
                        .iter()
                        .map(|v6| format!("{:?}", v6.as_flowspec_redirect_to_ip().unwrap())),
                )
                .collect();
            assert_eq!(found, meant, "{action:?}");
            assert_eq!(sampled, action.sample(), "{action:?}");
        }
    }
}
