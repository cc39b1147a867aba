//! Against a naive router: it asks every rule in its order, for every packet there is.

use super::*;
use prefixd_api::rate::BitsPerSecond;
use prefixd_api::rule::{Fragments, Match, Ranges, TcpFlags};
use proptest::prelude::*;
use std::net::IpAddr;

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const SYN: u16 = 0x02;
const ACK: u16 = 0x10;
const IS_FRAGMENT: u16 = 0x02;

/// A packet to the victim. Ports, flags and types are there where the protocol and its place in the datagram let them be.
#[derive(Clone, Copy, Debug)]
struct Packet {
    src: IpAddr,
    protocol: u8,
    ports: Option<(u16, u16)>,
    flags: Option<u16>,
    icmp_type: Option<u8>,
    length: u16,
    place: u16,
}

/// One of each kind that the rules of these tests tell apart.
fn packets() -> Vec<Packet> {
    let mut all = Vec::new();
    for src in ["198.51.100.1", "198.51.100.200", "192.0.2.1"] {
        for protocol in [ICMP, TCP, UDP, 47] {
            for place in [0x00, 0x01, 0x04, 0x05, 0x02, 0x03, 0x0a, 0x0b] {
                for length in [50, 1000] {
                    let bare = Packet {
                        src: src.parse().unwrap(),
                        protocol,
                        ports: None,
                        flags: None,
                        icmp_type: None,
                        length,
                        place,
                    };
                    if place & IS_FRAGMENT != 0 || protocol == 47 {
                        all.push(bare);
                        continue;
                    }
                    if protocol == ICMP {
                        all.extend([0, 3, 8].map(|kind| Packet {
                            icmp_type: Some(kind),
                            ..bare
                        }));
                        continue;
                    }
                    let flags: &[Option<u16>] = if protocol == TCP {
                        &[Some(0), Some(SYN), Some(ACK), Some(SYN | ACK)]
                    } else {
                        &[None]
                    };
                    for flags in flags {
                        for ports in (0..16).map(|number| Some((number / 4, number % 4))) {
                            all.push(Packet {
                                ports,
                                flags: *flags,
                                ..bare
                            });
                        }
                    }
                }
            }
        }
    }
    all
}

/// RFC 8955 section 4.2.2, component by component.
fn matched(by: &Match, packet: &Packet) -> bool {
    let in_ranges = |ranges: &Ranges, value: Option<u16>| {
        ranges.is_empty() || value.is_some_and(|value| ranges.contains(value))
    };
    let (src, dst) = packet.ports.unzip();
    let either = by.ports.is_empty()
        || [src, dst]
            .into_iter()
            .flatten()
            .any(|port| by.ports.contains(port));
    by.source().is_none_or(|prefix| prefix.contains(&packet.src))
        && (by.protocols.is_empty() || by.protocols.contains(&packet.protocol))
        && either
        && in_ranges(&by.dst_ports, dst)
        && in_ranges(&by.src_ports, src)
        && (by.icmp_types.is_empty() || packet.icmp_type.is_some_and(|kind| by.icmp_types.contains(&kind)))
        && by
            .tcp_flags
            .as_ref()
            .is_none_or(|flags| packet.flags.is_some_and(|found| flags.holds(found)))
        && in_ranges(&by.packet_lengths, Some(packet.length))
        && by
            .fragment
            .as_ref()
            .is_none_or(|fragment| fragment.holds(packet.place))
}

fn ports() -> impl Strategy<Value = Ranges> {
    let some = prop::collection::vec(0u16..4, 1..3).prop_map(|ports| ports.into_iter().collect());
    prop_oneof![3 => Just(Ranges::default()), 2 => some]
}

fn lengths() -> impl Strategy<Value = Ranges> {
    let of = |text: &'static str| {
        let ranges: Ranges = serde_json::from_value(serde_json::json!([text])).unwrap();
        Just(ranges)
    };
    prop_oneof![4 => Just(Ranges::default()), 1 => of("0-99"), 1 => of("100-65535")]
}

fn fragments() -> impl Strategy<Value = Option<Fragments>> {
    prop_oneof![
        4 => Just(None),
        3 => prop::sample::select(vec!["is-fragment", "!is-fragment", "first-fragment", "dont-fragment&!is-fragment", "last-fragment"])
            .prop_map(|text| Some(text.parse().unwrap())),
    ]
}

fn flags() -> impl Strategy<Value = Option<TcpFlags>> {
    prop_oneof![
        5 => Just(None),
        2 => prop::sample::select(vec!["syn", "ack", "syn&!ack", "!syn", "syn,ack"])
            .prop_map(|text| Some(text.parse().unwrap())),
    ]
}

fn matches() -> impl Strategy<Value = Match> {
    let source = prop::sample::select(vec![
        "",
        "",
        "",
        "198.51.100.0/24",
        "198.51.100.0/25",
        "192.0.2.0/24",
    ]);
    let protocols = prop::collection::btree_set(prop::sample::select(vec![ICMP, TCP, UDP]), 0..3);
    let types = prop_oneof![
        6 => Just(Vec::new()),
        1 => prop::collection::vec(prop::sample::select(vec![0u8, 8]), 1..3),
    ];
    let all = (
        source,
        protocols,
        (ports(), ports(), ports()),
        types,
        flags(),
        lengths(),
        fragments(),
    );
    all.prop_map(
        |(source, protocols, (either, dst, src), types, flags, lengths, fragment)| Match {
            src_prefix: source.parse().ok().map(Box::new),
            protocols: protocols.into_iter().collect(),
            ports: either,
            dst_ports: dst,
            src_ports: src,
            icmp_types: types.into_iter().collect(),
            tcp_flags: flags,
            packet_lengths: lengths,
            fragment,
            ..Match::destination("203.0.113.10/32".parse().unwrap())
        },
    )
}

fn actions() -> impl Strategy<Value = Action> {
    prop::sample::select(vec![
        Action::Discard,
        police(2_000_000),
        police(5_000_000),
        Action::PolicePackets { rate_pps: 1000 },
        Action::Mark {
            dscp: serde_json::from_value(8.into()).unwrap(),
        },
    ])
}

fn police(bits: u64) -> Action {
    Action::Police {
        rate_bps: BitsPerSecond(bits),
    }
}

/// Mitigations of one rule each.
fn sent(rules: &[Rule]) -> Vec<(MitigationId, Arc<Compiled>)> {
    let one = |rule: &Rule| {
        let rules: Arc<[Rule]> = Arc::new([rule.clone()]);
        let compiled = Compiled::as_decided(&rules);
        (MitigationId::new(), Arc::new(compiled))
    };
    let sent: Vec<_> = rules.iter().map(one).collect();
    assert!(
        sent.iter().all(|(_, compiled)| compiled.parts().count() == 1),
        "each has a form"
    );
    sent
}

/// No neighbour is full, so nobody asks.
const NOWHERE: HasPlace<'static> = &|_, _| false;

/// All of them, where the router has each.
fn there(compiled: &[(MitigationId, Arc<Compiled>)]) -> Vec<Beside<'_>> {
    all(compiled.iter().map(|(id, compiled)| (*id, compiled)), |_, _| {
        Reach::There
    })
}

/// Whether it is sent.
fn is_left(part: &Part, all: &[Beside<'_>]) -> bool {
    keeps_back(part, all, Reach::Coming, NOWHERE).is_none()
}

fn looked_at(one: &Beside<'_>, all: &[Beside<'_>]) -> View {
    let part = &one.parts()[0];
    let kept = keeps_back(part, all, Reach::Coming, NOWHERE);
    view(one.mitigation, part, kept, all, |_, other| is_left(other, all))
}

/// In the order in which a router asks them.
fn ordered<'p>(parts: impl Iterator<Item = &'p Part>) -> Vec<&'p Part> {
    let mut ordered: Vec<&Part> = parts.collect();
    ordered.sort_by(|one, other| one.canonical.key().precedence(other.canonical.key()));
    ordered
}

/// What a router does with a packet: the first rule that matches.
fn taken<'p>(ordered: &[&'p Part], packet: &Packet) -> Option<&'p Part> {
    let mut matching = ordered.iter().filter(|part| matched(&part.rule.matches, packet));
    matching.next().copied()
}

/// As many owners may want one key: then the strictest counts, so of these there is one.
fn of_distinct_matches(rules: Vec<Rule>) -> Vec<Rule> {
    let mut distinct: Vec<Rule> = Vec::new();
    for rule in rules {
        if distinct.iter().all(|known| known.matches != rule.matches) {
            distinct.push(rule);
        }
    }
    distinct
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases * 3 / 8, ..ProptestConfig::default() })]

    #[test]
    fn two_matches_meet_where_a_packet_is_of_both(one in matches(), other in matches()) {
        let both = packets().into_iter().find(|packet| matched(&one, packet) && matched(&other, packet));
        prop_assert_eq!(one.meets(&other), both.is_some(), "{} and {}: {:?}", one, other, both);
        prop_assert_eq!(one.meets(&other), other.meets(&one));
    }

    #[test]
    fn what_is_covered_has_no_packet_outside(one in matches(), other in matches()) {
        if covers(&one, &other) {
            for packet in packets() {
                prop_assert!(!matched(&other, &packet) || matched(&one, &packet), "{} covers {}: {:?}", one, other, packet);
            }
        }
    }

    /// Keeping rules back lets no packet through that a rule took, and none fare better than before.
    #[test]
    fn what_is_kept_back_is_missed_by_no_packet(
        rules in prop::collection::vec((matches(), actions()), 2..7),
    ) {
        let rules = of_distinct_matches(rules.into_iter().map(|(matches, action)| Rule::new(matches, action)).collect());
        let compiled = sent(&rules);
        let all = there(&compiled);
        let every = ordered(all.iter().flat_map(Beside::parts));
        let left = ordered(every.iter().copied().filter(|part| is_left(part, &all)));
        for packet in packets() {
            match (taken(&every, &packet), taken(&left, &packet)) {
                (None, None) => {}
                (Some(before), Some(after)) => prop_assert!(
                    !before.rule.action.is_stricter_than(after.rule.action),
                    "{} was taken by {}, and is by {}", before.rule, after.rule, after.rule
                ),
                (before, after) => prop_assert!(false, "{:?}: {:?} before, {:?} after", packet, before.map(|part| part.rule.to_string()), after.map(|part| part.rule.to_string())),
            }
        }
    }

    /// What is said to be shadowed takes nothing, and what overlaps meets.
    #[test]
    fn what_is_shadowed_takes_no_packet(rules in prop::collection::vec((matches(), actions()), 2..6)) {
        let rules = of_distinct_matches(rules.into_iter().map(|(matches, action)| Rule::new(matches, action)).collect());
        let compiled = sent(&rules);
        let all = there(&compiled);
        let left = ordered(all.iter().flat_map(Beside::parts).filter(|part| is_left(part, &all)));
        for one in &all {
            let part = &one.parts()[0];
            let view = looked_at(one, &all);
            prop_assert_eq!(view.kept.is_some(), !left.iter().any(|sent| std::ptr::eq(*sent, part)));
            if view.kept.is_some() {
                continue;
            }
            let takes = |packet: &Packet| taken(&left, packet).is_some_and(|taken| std::ptr::eq(taken, part));
            if !view.shadowed_by.is_empty() {
                prop_assert!(!packets().iter().any(takes), "{}", part.rule);
            }
            let meeting = left.iter().filter(|other| !std::ptr::eq(**other, part) && other.rule.matches.meets(&part.rule.matches));
            prop_assert_eq!(view.overlaps.len(), meeting.count());
            prop_assert!(view.shadowed_by.iter().all(|other| other.comes_first && view.overlaps.contains(other)));
        }
    }
}

fn rule(text: &str) -> Rule {
    format!("dst 203.0.113.10/32 {text}").parse().unwrap()
}

/// For each rule: sent, or kept back.
fn kept(rules: &[&str]) -> Vec<bool> {
    let rules: Vec<Rule> = rules.iter().map(|text| rule(text)).collect();
    let compiled = sent(&rules);
    let all = there(&compiled);
    let one = |one: &Beside<'_>| !is_left(&one.parts()[0], &all);
    all.iter().map(one).collect()
}

#[test]
fn a_weaker_rule_inside_a_stricter_one_is_kept_back() {
    let ntp = "proto udp sport 123 then discard";
    for (inside, is_kept) in [
        ("proto udp dport 80 sport 123 then police 5 Mbit/s", true),
        ("proto udp sport 123 length 1000-1500 then mark 8", true),
        ("proto udp dport 80 sport 123 then discard", false),
        ("proto udp sport 123-124 then police 5 Mbit/s", false),
        ("proto udp then police 5 Mbit/s", false),
        ("then rtbh", false),
    ] {
        assert_eq!(kept(&[ntp, inside]), [false, is_kept], "{inside}");
    }
    assert_eq!(
        kept(&[
            "proto udp then police 2 Mbit/s",
            "proto udp dport 80 then police 5 Mbit/s"
        ]),
        [false, true],
        "the lower rate is the stricter one"
    );
    assert_eq!(
        kept(&[
            "proto udp sport 123 then discard",
            "proto udp dport 80 sport 123 then police 5 Mbit/s",
            "proto udp dport 80 then mark 8",
        ]),
        [false, false, false],
        "without the second the third would take its packets, before the first"
    );
    assert_eq!(
        kept(&["proto udp sport 123 then discard", "then rtbh"]),
        [false, false],
        "a blackhole is not on every router"
    );
}

/// Of two lists of ports the one that is encoded lower comes first, whatever its rule does.
#[test]
fn a_weaker_rule_that_comes_first_and_takes_all_is_a_warning() {
    let rules = [
        rule("proto udp sport 80-82 then police 5 Mbit/s"),
        rule("proto udp sport 81 then discard"),
        rule("proto udp dport 53 then discard"),
    ];
    let compiled = sent(&rules);
    let all = there(&compiled);
    let of = |index: usize| looked_at(&all[index], &all);
    let shadowed = of(1);
    assert!(shadowed.kept.is_none());
    assert_eq!(shadowed.shadowed_by.len(), 1);
    assert_eq!(shadowed.shadowed_by[0].mitigation_id, all[0].mitigation);
    assert!(shadowed.warning.unwrap().contains("does nothing"));
    let others: Vec<(&str, bool)> = shadowed
        .overlaps
        .iter()
        .map(|other| (other.rule.as_str(), other.comes_first))
        .collect();
    assert_eq!(
        others,
        [
            ("dst 203.0.113.10/32 proto udp dport 53 then discard", true),
            (
                "dst 203.0.113.10/32 proto udp sport 80-82 then police 5 Mbit/s",
                true
            ),
        ]
    );
    let free = of(2);
    assert!(free.shadowed_by.is_empty() && free.warning.is_none());
    assert_eq!(free.overlaps.len(), 2, "a packet may have both ports");
}

/// What a neighbour is not sent keeps nothing back there.
#[test]
fn only_what_is_sent_keeps_back() {
    let (stricter, weaker) = (
        rule("proto udp sport 123 then discard"),
        rule("proto udp dport 80 sport 123 then police 5 Mbit/s"),
    );
    let mut compiled = sent(&[stricter.clone(), weaker]);
    compiled[0].1 = Arc::new(Compiled::refused(stricter));
    let all = there(&compiled);
    assert!(keeps_back(&all[1].parts()[0], &all, Reach::KeptAway, NOWHERE).is_none());
}

/// What the router has stays until the stricter rule is there; what it does not have is not begun beside one that comes.
#[test]
fn how_far_the_stricter_one_has_come_decides() {
    use Reach::{Coming, KeptAway, There};
    let compiled = sent(&[
        rule("proto udp sport 123 then discard"),
        rule("proto udp dport 80 sport 123 then police 5 Mbit/s"),
    ]);
    let (stricter, weaker) = (compiled[0].0, &compiled[1].1);
    for (reach, has, is_sent) in [
        (KeptAway, true, true),
        (KeptAway, false, true),
        (Coming, true, true),
        (Coming, false, false),
        (There, true, false),
        (There, false, false),
    ] {
        let at = |reach: Reach| {
            let compiled = compiled.iter().map(|(id, compiled)| (*id, compiled));
            all(compiled, move |of, _| if of == stricter { reach } else { There })
        };
        let inside = insides(weaker, &at(reach), |_| has, Priority::default(), NOWHERE);
        let found: Vec<_> = inside.iter().map(|one| (one.by, one.is_sent)).collect();
        assert_eq!(found, [(stricter, is_sent)], "{reach:?}, on the router: {has}");
        assert!(
            !inside[0].is_due(|_| reach, |_| false),
            "decided is decided: {reach:?}, {has}"
        );
        // What the table has from now on is what was sent.
        for next in [KeptAway, Coming, There] {
            let anew = insides(weaker, &at(next), |_| is_sent, Priority::default(), NOWHERE);
            assert_eq!(
                inside[0].is_due(|_| next, |_| false),
                anew[0].is_sent != is_sent,
                "{reach:?} then {next:?}"
            );
        }
    }
}

/// A full neighbour that has no place for the weaker rule either is no reason to send it to the others.
#[test]
fn who_has_a_place_for_neither_does_not_decide_for_the_others() {
    let compiled = sent(&[
        rule("proto udp sport 123 then discard"),
        rule("proto udp dport 80 sport 123 then police 5 Mbit/s"),
    ]);
    let (stricter, weaker) = (compiled[0].0, &compiled[1].1);
    let full = |elsewhere: Reach| Come {
        least: Reach::KeptAway,
        elsewhere,
        full_at: vec!["full".into()],
    };
    for (elsewhere, has_place, is_sent) in [
        (Reach::There, false, false),
        (Reach::There, true, true),
        (Reach::Coming, false, false),
        // Also kept away for another reason, or full everywhere.
        (Reach::KeptAway, false, true),
    ] {
        let come = |of, _: &NlriKey| {
            if of == stricter {
                full(elsewhere)
            } else {
                Reach::There.into()
            }
        };
        let all = all(compiled.iter().map(|(id, compiled)| (*id, compiled)), come);
        let inside = insides(
            weaker,
            &all,
            |_| false,
            Priority::default(),
            &|at: &str, _: &Part| {
                assert_eq!(at, "full");
                has_place
            },
        );
        assert_eq!(inside[0].is_sent, is_sent, "{elsewhere:?}, a place: {has_place}");
        let due = |place| inside[0].is_due(|_| full(elsewhere), |_| place);
        assert!(!due(has_place), "decided is decided");
        // It loses its place there, or gets one.
        let matters = elsewhere == Reach::There;
        assert_eq!(
            due(!has_place),
            matters || (elsewhere == Reach::Coming && !has_place),
            "{elsewhere:?}"
        );
    }
}
