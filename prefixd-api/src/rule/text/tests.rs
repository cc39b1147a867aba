use super::super::{Action, Rule};
use super::*;
use crate::rate::BitsPerSecond;
use crate::rule::{Range, TcpFlags};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

#[test]
fn a_rule_reads_as_one_line() {
    let rule = Rule::new(
        Match {
            protocols: [protocol::TCP].into(),
            dst_ports: [80, 443].into_iter().collect(),
            tcp_flags: Some(TcpFlags::syn_without_ack()),
            ..Match::destination("203.0.113.10/32".parse().unwrap())
        },
        Action::Police {
            rate_bps: BitsPerSecond(5_000_000),
        },
    );
    assert_eq!(
        rule.to_string(),
        "dst 203.0.113.10/32 proto tcp dport 80,443 tcp-flags syn&!ack then police 5 Mbit/s"
    );
    let json = serde_json::to_value(&rule).unwrap();
    assert_eq!(json["match"]["dst_ports"], serde_json::json!(["80", "443"]));
    assert_eq!(json["action_type"], "police");
    assert_eq!(serde_json::from_value::<Rule>(json).unwrap(), rule);
}

#[test]
fn a_text_that_is_no_match_says_what_is_wrong() {
    for (text, words) in [
        ("", "no destination"),
        ("proto udp", "no destination"),
        ("dst 203.0.113.10/32 dport", "dport has no value"),
        ("dst 203.0.113.10/32 dports 53", "\"dports\" is no component"),
        ("dst 203.0.113.10/24", "did you mean 203.0.113.0/24?"),
        ("dst 203.0.113.10/32 dport 9-3", "ends before it starts"),
        ("dst 203.0.113.10/32 dport 1 dport 2", "twice"),
        ("dst 203.0.113.10/32 proto ip", "is no protocol"),
        ("dst 203.0.113.10/32 dscp 64", "from 0 to 63"),
        ("dst 203.0.113.10/32 tcp-flags sin", "names no TCP flags"),
        ("dst 2001:db8::1/128 flow-label 1048576", "no flow label"),
    ] {
        let error = text.parse::<Match>().unwrap_err().to_string();
        assert!(error.contains(words), "{text:?}: {error}");
    }
}

fn ranges() -> impl Strategy<Value = Ranges> {
    vec((any::<u16>(), 0_u16..3000), 0..4).prop_map(|parts| {
        parts
            .into_iter()
            .map(|(first, length)| Range {
                first,
                last: first.saturating_add(length),
            })
            .collect()
    })
}

fn bits<F: super::super::bits::Field>() -> impl Strategy<Value = Option<super::super::Bits<F>>> {
    let count = F::NAMES.len();
    let flag = (0..count, any::<bool>())
        .prop_map(|(index, not)| format!("{}{}", if not { "!" } else { "" }, F::NAMES[index].0));
    let alternative = vec(flag, 1..4).prop_map(|flags| flags.join("&"));
    // Texts that contradict themselves name nothing, and are no component then.
    vec(alternative, 0..4).prop_map(|alternatives| alternatives.join(",").parse().ok())
}

/// Any match, with any component there or not.
pub(crate) fn any_match() -> impl Strategy<Value = Match> {
    let prefix = |v6: bool| -> BoxedStrategy<IpNet> {
        if v6 {
            (any::<u128>(), 1..=128_u8)
                .prop_map(|(bits, length)| {
                    IpNet::new(std::net::Ipv6Addr::from(bits).into(), length)
                        .unwrap()
                        .trunc()
                })
                .boxed()
        } else {
            (any::<u32>(), 1..=32_u8)
                .prop_map(|(bits, length)| {
                    IpNet::new(std::net::Ipv4Addr::from(bits).into(), length)
                        .unwrap()
                        .trunc()
                })
                .boxed()
        }
    };
    let labels = vec((0..0xF_FFFF_u32, 0..500_u32), 0..3).prop_map(|parts| {
        let texts: Vec<_> = parts
            .iter()
            .map(|(first, length)| format!("{first}-{}", (first + length).min(0xF_FFFF)))
            .collect();
        texts.join(",").parse().unwrap_or_default()
    });
    let octets = || vec(any::<u8>(), 0..4).prop_map(|all| all.into_iter().collect());
    let dscp = btree_set(0..64_u8, 0..4)
        .prop_map(|all| all.into_iter().flat_map(super::super::Dscp::try_from).collect());
    any::<bool>().prop_flat_map(move |v6| {
        (
            (prefix(v6), proptest::option::of(prefix(v6))),
            (octets(), octets(), octets()),
            (ranges(), ranges(), ranges(), ranges()),
            (bits(), bits()),
            (dscp.clone(), labels.clone()),
        )
            .prop_map(
                |(
                    (dst_prefix, src_prefix),
                    (protocols, icmp_types, icmp_codes),
                    (ports, dst_ports, src_ports, packet_lengths),
                    (tcp_flags, fragment),
                    (dscp, flow_labels),
                )| Match {
                    dst_prefix,
                    src_prefix: src_prefix.map(Box::new),
                    protocols,
                    ports,
                    dst_ports,
                    src_ports,
                    icmp_types,
                    icmp_codes,
                    tcp_flags,
                    packet_lengths,
                    dscp,
                    fragment,
                    flow_labels,
                },
            )
    })
}

proptest! {
    #[test]
    fn a_match_comes_back_from_its_text_and_from_json(matches in any_match()) {
        prop_assert_eq!(matches.to_string().parse::<Match>(), Ok(matches.clone()));
        let json = serde_json::to_string(&matches).unwrap();
        prop_assert_eq!(serde_json::from_str::<Match>(&json).unwrap(), matches.clone());
        prop_assert_eq!(MatchRequest::from(matches.clone()).on(matches.dst_prefix), matches);
    }

    #[test]
    fn a_rule_comes_back_from_its_text_and_from_json(matches in any_match(), action in super::super::action::tests::any_action(), sample in any::<bool>()) {
        let rule = Rule { matches, action, sample };
        prop_assert_eq!(rule.to_string().parse::<Rule>(), Ok(rule.clone()));
        let json = serde_json::to_string(&rule).unwrap();
        prop_assert_eq!(serde_json::from_str::<Rule>(&json).unwrap(), rule);
    }
}
