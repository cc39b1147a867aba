//! What neighbours get: by example, and packet by packet.

use super::*;
use prefixd_api::config::Profile;
use prefixd_api::rate::BitsPerSecond;
use prefixd_api::rule::protocol;
use prefixd_bgp::Limits;
use prefixd_bgp::flowspec::{Component, Family};
use proptest::prelude::*;
use std::cell::RefCell;

fn plan(profile: Profile) -> NeighborPlan {
    NeighborPlan {
        profile,
        limits: Limits {
            operators_per_component: usize::try_from(profile.operators_per_component()).unwrap(),
            nlri_bytes: usize::try_from(profile.nlri_bytes()).unwrap(),
            ..Limits::default()
        },
        ..NeighborPlan::default()
    }
}

fn rule(text: &str) -> Rule {
    format!("dst 203.0.113.10/32 {text}").parse().unwrap()
}

fn ports(text: &str) -> Ranges {
    if text.is_empty() {
        Ranges::default()
    } else {
        text.parse().unwrap()
    }
}

fn fits(text: &str, allowed: &str, plan: &NeighborPlan) -> Fitted {
    let context = Context {
        allowed: ports(allowed),
        others: Ranges::default(),
        gives_up: false,
        check: &|_| Ok(()),
    };
    fit(&rule(text).into(), &context, plan)
}

/// The form with what is sent of the match, or why nothing is.
fn told(fitted: &Fitted) -> String {
    let short = |part: &Part| {
        let text = part.rule.matches.to_string();
        text.trim_start_matches("dst 203.0.113.10/32").trim().to_owned()
    };
    let parts: Vec<String> = fitted.parts.iter().map(short).collect();
    let parts = parts.join(" | ");
    match &fitted.form {
        Form::Exact => format!("exact: {parts}"),
        Form::Split => format!("split: {parts}"),
        Form::Widened => format!("widened: {parts}"),
        Form::Rtbh(lacks) => format!("rtbh, {lacks} is not there: {parts}"),
        Form::Refused(unfit) => format!("refused: {unfit}"),
    }
}

#[test]
fn what_each_kind_of_router_gets() {
    let cases = [
        // Six values: five operators are what every router tried takes.
        (
            Profile::Generic,
            "",
            "proto udp dport 1,3,5,7,9 then discard",
            "exact: proto udp dport 1,3,5,7,9",
        ),
        (
            Profile::Generic,
            "",
            "proto udp dport 1,3,5,7,9,11 then discard",
            "split: proto udp dport 1,3,5,7,9 | proto udp dport 11",
        ),
        (
            Profile::Bird,
            "",
            "proto udp dport 1,3,5,7,9,11 then discard",
            "exact: proto udp dport 1,3,5,7,9,11",
        ),
        (
            Profile::Generic,
            "",
            "proto udp dport 1,3,50,70,90,110 then police 5 Mbit/s",
            "widened: proto udp dport 1,3,50-90,110",
        ),
        (
            Profile::Generic,
            "",
            "proto udp dport 1,3,50,70,90,110 then mark 8",
            "split: proto udp dport 1,3,50,70,90 | proto udp dport 110",
        ),
        (
            Profile::Generic,
            "",
            "proto udp dport 1,3,50,70,90,110 then redirect vrf 65010:1",
            "split: proto udp dport 1,3,50,70,90 | proto udp dport 110",
        ),
        // The service's own port is never between.
        (
            Profile::Generic,
            "2,60",
            "proto udp dport 1,3,50,70,90,110 then police 5 Mbit/s",
            "widened: proto udp dport 1,3,50,70-110",
        ),
        (
            Profile::Generic,
            "2,60,80,100",
            "proto udp dport 1,3,50,70,90,110 then police 5 Mbit/s",
            "refused: the destination port component needs 6 operators, the neighbour takes 5; wider, it would reach ports of the service, so ask for fewer ports or for ranges",
        ),
        // Another list is widened only where the rule reaches no port of the service.
        (
            Profile::Generic,
            "",
            "proto udp sport 1,3,50,70,90,110 then police 5 Mbit/s",
            "widened: proto udp sport 1,3,50-90,110",
        ),
        (
            Profile::Generic,
            "53",
            "proto udp sport 1,3,50,70,90,110 then police 5 Mbit/s",
            "refused: the source port component needs 6 operators, the neighbour takes 5; wider, it would reach ports of the service, so ask for fewer ports or for ranges",
        ),
        (
            Profile::Generic,
            "53",
            "proto udp dport 80 sport 1,3,50,70,90,110 then police 5 Mbit/s",
            "widened: proto udp dport 80 sport 1,3,50-90,110",
        ),
        (
            Profile::Generic,
            "53",
            "proto udp dport 53 sport 1,3,50,70,90,110 then police 5 Mbit/s",
            "refused: the source port component needs 6 operators, the neighbour takes 5; wider, it would reach ports of the service, so ask for fewer ports or for ranges",
        ),
        // Two lists: a police rule is widened on both, no split of one helps a discard.
        (
            Profile::Generic,
            "",
            "proto udp dport 1,3,50,70,90,110 sport 2,4,50,70,90,110 then police 5 Mbit/s",
            "widened: proto udp dport 1,3,50-90,110 sport 2,4,50-90,110",
        ),
        (
            Profile::Generic,
            "",
            "proto udp dport 1,3,50,70,90,110 sport 2,4,50,70,90,110 then discard",
            "refused: the destination port component needs 6 operators, the neighbour takes 5",
        ),
        // Protocols and ICMP types are split, never widened.
        (
            Profile::Generic,
            "",
            "proto 1,3,5,7,9,11 length 0-100 then discard",
            "split: proto icmp,3,5,7,9 length 0-100 | proto 11 length 0-100",
        ),
        (
            Profile::Generic,
            "",
            "proto 1,3,5,7,9,11 then police 5 Mbit/s",
            "refused: the protocol component needs 6 operators, the neighbour takes 5",
        ),
        (
            Profile::Generic,
            "",
            "dscp 1,3,5,7,9,11 length 0-100 then discard",
            "split: length 0-100 dscp 1,3,5,7,9 | length 0-100 dscp 11",
        ),
        // A range is two.
        (
            Profile::Generic,
            "",
            "proto udp dport 10-20,30-40,50-60 then discard",
            "split: proto udp dport 10-20,30-40 | proto udp dport 50-60",
        ),
        (
            Profile::Junos,
            "",
            "proto udp port 53 dport 80 then discard",
            "refused: a rule with port beside dport or sport is not sent to a neighbour of this profile: Junos does not take both in one term",
        ),
        (
            Profile::Huawei,
            "",
            "proto tcp tcp-flags syn&!ack then discard",
            "refused: a rule with TCP flags that must not be set is not sent to a neighbour of this profile: Huawei NE does not install it",
        ),
        (
            Profile::Bird,
            "",
            "proto tcp tcp-flags syn&!ack then discard",
            "exact: proto tcp tcp-flags syn&!ack",
        ),
        // What FRR cannot install it is not brought to by widening either.
        (
            Profile::Frr,
            "",
            "proto udp dport 1,3,50,70,90,110 sport 5-9 then police 5 Mbit/s",
            "refused: a rule with ranges of source and of destination ports is not sent to a neighbour of this profile: FRR cannot install it",
        ),
        (
            Profile::Generic,
            "",
            "then redirect vrf 4200000000:7",
            "refused: a rule with a redirect to the route target of a 4-byte AS is not sent to a neighbour of this profile: ExaBGP 4.2 drops the session; name the router's own profile if it is another",
        ),
        (Profile::Gobgp, "", "then redirect vrf 4200000000:7", "exact: "),
        // Flags are neither split nor widened.
        (
            Profile::Generic,
            "",
            "proto tcp tcp-flags syn&!ack,rst&!ack,fin&!ack then discard",
            "refused: the TCP flags component needs 6 operators, the neighbour takes 5",
        ),
    ];
    for (profile, allowed, text, expected) in cases {
        let fitted = fits(text, allowed, &plan(profile));
        assert_eq!(told(&fitted), expected, "{profile}: {text}, allowed {allowed}");
    }
}

#[test]
fn a_discard_becomes_eight_rules_at_most() {
    let list = |count: u16| {
        let ports: Vec<String> = (0..count).map(|n| (n * 2).to_string()).collect();
        format!("proto udp dport {} then discard", ports.join(","))
    };
    let most = fits(&list(40), "", &plan(Profile::Generic));
    assert_eq!((&most.form, most.parts.len()), (&Form::Split, 8));
    let more = fits(&list(41), "", &plan(Profile::Generic));
    assert_eq!(
        told(&more),
        "refused: the destination port component needs 41 operators, the neighbour takes 5; it would take 9 rules, and one may become 8"
    );
}

#[test]
fn what_is_too_long_is_split_or_widened_until_it_fits() {
    let short = NeighborPlan {
        limits: Limits {
            operators_per_component: 32,
            nlri_bytes: 30,
            ..Limits::default()
        },
        ..plan(Profile::Bird)
    };
    let list = "proto udp dport 1000,2000,3000,4000,5000,6000,7000,8000";
    assert_eq!(
        told(&fits(&format!("{list} then discard"), "", &short)),
        "split: proto udp dport 1000,2000,3000,4000,5000,6000 | proto udp dport 7000,8000"
    );
    assert_eq!(
        told(&fits(&format!("{list} then police 5 Mbit/s"), "", &short)),
        "widened: proto udp dport 1000-4000,5000,6000,7000,8000"
    );
    // The bytes of what is left are no reason to police whatever there is.
    let tiny = NeighborPlan {
        limits: Limits {
            nlri_bytes: 10,
            ..short.limits
        },
        ..short
    };
    let fitted = fits("proto udp dport 53 then police 5 Mbit/s", "", &tiny);
    assert_eq!(
        told(&fitted),
        "refused: the rule needs 12 bytes, the neighbour takes 10"
    );
}

#[test]
fn a_family_that_is_not_configured_gets_nothing() {
    let v6_only = NeighborPlan {
        families: [Family::Ipv6].into(),
        ..plan(Profile::Bird)
    };
    assert_eq!(
        told(&fits("proto udp dport 53 then discard", "", &v6_only)),
        "refused: the neighbour is not configured for ipv4-flowspec"
    );
}

/// Only a neighbour that has no FlowSpec for the victim is ever given a blackhole in its place.
#[test]
fn an_address_is_given_up_where_nothing_else_can_be_told_and_the_step_says_so() {
    let v4_blackhole = "rtbh, ipv4-flowspec is not there: ";
    let not_there = "refused: the neighbour is not configured for ipv4-flowspec";
    let with = |families: &[Family]| NeighborPlan {
        families: families.iter().copied().collect(),
        ..plan(Profile::Generic)
    };
    let (v4, v6, hole4, hole6) = (
        Family::Ipv4,
        Family::Ipv6,
        Family::Ipv4Unicast,
        Family::Ipv6Unicast,
    );
    let seven = "proto udp dport 1,3,5,7,9,11,13,15,17,19,21,23,25,27,29,31,33,35,37,39,41,43,45,47,49,51,53,55,57,59,61,63,65,67,69,71,73,75,77,79,81 then discard";
    let (discard, police) = (
        "proto udp dport 53 then discard",
        "fragment is-fragment then police 5 Mbit/s",
    );
    for (families, gives_up, text, wanted) in [
        (&[hole4, hole6][..], true, discard, v4_blackhole),
        (&[hole4, v6], true, discard, v4_blackhole),
        // What stands beside the discard goes with it.
        (&[hole4], true, police, v4_blackhole),
        (&[hole4], true, seven, v4_blackhole),
        (&[hole4], true, "then rtbh", "exact: "),
        (&[hole4], false, discard, not_there),
        (&[hole6], true, discard, not_there),
        (&[v6], true, discard, not_there),
        (&[hole4, v4], true, discard, "exact: proto udp dport 53"),
        (
            &[hole4, v4],
            true,
            seven,
            "refused: the destination port component needs 41 operators, the neighbour takes 5; it would take 9 rules, and one may become 8",
        ),
        (
            &[hole4, v4],
            true,
            "then redirect vrf 4200000000:7",
            "refused: a rule with a redirect to the route target of a 4-byte AS is not sent to a neighbour of this profile: ExaBGP 4.2 drops the session; name the router's own profile if it is another",
        ),
    ] {
        let context = Context {
            allowed: Ranges::default(),
            others: Ranges::default(),
            gives_up,
            check: &|_| Ok(()),
        };
        let fitted = fit(&rule(text).into(), &context, &with(families));
        assert_eq!(told(&fitted), wanted, "{families:?}: {text}");
        if let Form::Rtbh(_) = fitted.form {
            assert_eq!(*fitted.parts[0].rule, rule("then rtbh"));
            let warning = fitted.warning.unwrap();
            assert!(
                warning.contains("all traffic to the address is dropped"),
                "{warning}"
            );
        }
    }
    // The guardrails have the last word, on the rule and on the blackhole.
    for refused in ["udp", "rtbh"] {
        let check = |rule: &Rule| {
            let text = rule.to_string();
            if text.contains(refused) {
                Err(format!("no {refused}"))
            } else {
                Ok(())
            }
        };
        let context = Context {
            allowed: Ranges::default(),
            others: Ranges::default(),
            gives_up: true,
            check: &check,
        };
        let fitted = fit(&rule(discard).into(), &context, &with(&[hole4]));
        assert_eq!(
            told(&fitted),
            format!("refused: a guardrail refuses it: no {refused}")
        );
    }
}

#[test]
fn people_are_told_what_is_wider_and_what_the_router_does_not_do() {
    let warning = |text, profile| fits(text, "", &plan(profile)).warning;
    let many = "proto udp dport 1,3,50,70,90,110 then police 5 Mbit/s";
    assert_eq!(
        warning(many, Profile::Generic).unwrap(),
        "dport 1,3,50,70,90,110 widened to 1,3,50-90,110"
    );
    assert_eq!(
        warning(many, Profile::Frr).unwrap(),
        "dport 1,3,50,70,90,110 widened to 1,3,50-90,110; FRR does not enforce rates"
    );
    assert_eq!(warning("proto udp dport 53 then discard", Profile::Frr), None);
    let one = NeighborPlan {
        limits: Limits {
            operators_per_component: 1,
            nlri_bytes: 239,
            ..Limits::default()
        },
        ..plan(Profile::Generic)
    };
    let fitted = fits("proto udp dport 53,80 then police 5 Mbit/s", "", &one);
    assert_eq!(
        (told(&fitted), fitted.warning.as_deref()),
        (
            "widened: proto udp".to_owned(),
            Some("dport 53,80 left out, so that any matches")
        )
    );
}

/// Of two rules that differ in ports alone a router takes the one that is encoded lower, whatever it does.
#[test]
fn ports_are_not_joined_over_those_of_another_action() {
    let context = |others: &str| Context {
        allowed: Ranges::default(),
        others: ports(others),
        gives_up: false,
        check: &|_| Ok(()),
    };
    let police = rule("proto udp dport 1,3,50,70,90,110 then police 5 Mbit/s");
    let fitted = fit(&police.into(), &context("2,100"), &plan(Profile::Generic));
    assert_eq!(told(&fitted), "widened: proto udp dport 1,3,50-90,110");
}

#[test]
fn the_guardrails_see_every_part_and_have_the_last_word() {
    let narrow = |rule: &Rule| {
        let wide = rule
            .matches
            .dst_ports
            .as_slice()
            .iter()
            .any(|range| range.last > range.first);
        if wide { Err("too wide".to_owned()) } else { Ok(()) }
    };
    let context = Context {
        allowed: Ranges::default(),
        others: Ranges::default(),
        gives_up: false,
        check: &narrow,
    };
    let police = rule("proto udp dport 1,3,50,70,90,110 then police 5 Mbit/s");
    let fitted = fit(&police.into(), &context, &plan(Profile::Generic));
    assert_eq!(told(&fitted), "refused: a guardrail refuses it: too wide");
}

/// What the components of a packet to the victim are.
#[derive(Clone, Copy, Debug)]
struct Packet {
    protocol: u8,
    src_port: u16,
    dst_port: u16,
    length: u16,
    dscp: u8,
}

/// Whether a router that does what RFC 8955 says applies the rule.
fn hits(matches: &Match, packet: Packet) -> bool {
    let Packet {
        protocol,
        src_port,
        dst_port,
        length,
        dscp,
    } = packet;
    let any_or = |ranges: &Ranges, number: u16| ranges.is_empty() || ranges.contains(number);
    let either = &matches.ports;
    (matches.protocols.is_empty() || matches.protocols.contains(&protocol))
        && (either.is_empty() || either.contains(src_port) || either.contains(dst_port))
        && any_or(&matches.dst_ports, dst_port)
        && any_or(&matches.src_ports, src_port)
        && any_or(&matches.packet_lengths, length)
        && (matches.dscp.is_empty() || matches.dscp.iter().any(|one| one.get() == dscp))
}

fn any_list(max: usize) -> impl Strategy<Value = Ranges> {
    let range = (0_u16..80, 0_u16..6);
    prop::collection::vec(range, 0..max).prop_map(|ranges| {
        let range = |(first, more): (u16, u16)| prefixd_api::rule::Range {
            first,
            last: first + more / 3,
        };
        ranges.into_iter().map(range).collect()
    })
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let action = prop_oneof![
        Just(Action::Discard),
        Just(Action::Mark {
            dscp: 8_u8.try_into().unwrap()
        }),
        Just(Action::RedirectVrf {
            route_target: "65010:1".parse().unwrap()
        }),
        Just(Action::Police {
            rate_bps: BitsPerSecond(5_000_000)
        }),
        Just(Action::PolicePackets { rate_pps: 1000 }),
    ];
    let destinations = prop_oneof![2 => any_list(30), 1 => Just(Ranges::default())];
    let lists = (any_list(4), destinations, any_list(12), any_list(12));
    let small = (
        prop::collection::btree_set(0_u8..12, 0..9),
        prop::collection::btree_set(0_u8..64, 0..9),
    );
    (action, lists, small).prop_map(|(action, (either, dst, src, lengths), (protocols, dscp))| {
        let matches = Match {
            protocols: protocols.into_iter().chain([protocol::UDP]).collect(),
            ports: either,
            dst_ports: dst,
            src_ports: src,
            packet_lengths: lengths,
            dscp: dscp.into_iter().map(|one| one.try_into().unwrap()).collect(),
            ..Match::destination("203.0.113.10/32".parse().unwrap())
        };
        Rule::new(matches, action)
    })
}

fn any_plan() -> impl Strategy<Value = NeighborPlan> {
    let profile = prop::sample::select(Profile::ALL.to_vec());
    let families = prop_oneof![
        4 => Just(Family::FLOWSPEC.to_vec()),
        1 => prop::sample::subsequence(vec![Family::Ipv4, Family::Ipv6, Family::Ipv4Unicast, Family::Ipv6Unicast], 0..=4),
    ];
    (profile, families, 1_usize..40, 20_usize..240).prop_map(
        |(profile, families, operators_per_component, nlri_bytes)| NeighborPlan {
            families: families.into_iter().collect(),
            profile,
            limits: Limits {
                operators_per_component,
                nlri_bytes,
                ..Limits::default()
            },
        },
    )
}

fn any_packet() -> impl Strategy<Value = Packet> {
    let protocol = prop_oneof![0_u8..12, Just(protocol::UDP)];
    (protocol, 0_u16..90, 0_u16..90, 0_u16..90, 0_u8..64).prop_map(
        |(protocol, src_port, dst_port, length, dscp)| Packet {
            protocol,
            src_port,
            dst_port,
            length,
            dscp,
        },
    )
}

/// A packet that a match takes, as far as it names anything: anywhere in a range, not at its ends alone. To one of
/// `ports` where the match leaves that open.
fn towards(matches: &Match, packet: Packet, choice: usize, ports: &Ranges) -> Packet {
    let pick = |ranges: &Ranges, other: u16| {
        let count = ranges.as_slice().len().max(1);
        let inside = |range: &prefixd_api::rule::Range| {
            let span = usize::from(range.last - range.first) + 1;
            range.first + u16::try_from(choice / count % span).unwrap()
        };
        ranges.as_slice().get(choice % count).map_or(other, inside)
    };
    Packet {
        protocol: protocol::UDP,
        src_port: pick(&matches.src_ports, pick(&matches.ports, packet.src_port)),
        dst_port: pick(&matches.dst_ports, pick(ports, packet.dst_port)),
        length: pick(&matches.packet_lengths, packet.length),
        dscp: matches.dscp.iter().next().map_or(packet.dscp, |dscp| dscp.get()),
    }
}

fn judge(rule: &Rule, fitted: &Fitted, context: &Context<'_>, packet: Packet) -> Result<(), TestCaseError> {
    let was = hits(&rule.matches, packet);
    let taken = fitted
        .parts
        .iter()
        .filter(|part| hits(&part.rule.matches, packet))
        .count();
    match &fitted.form {
        Form::Exact => prop_assert_eq!(taken, usize::from(was), "{:?}", packet),
        // A list of either side's ports: a packet with one of them on each side is in two parts.
        Form::Split if !rule.matches.ports.is_empty() => {
            prop_assert_eq!(taken > 0, was, "the same: {:?}", packet);
        }
        Form::Split => prop_assert_eq!(taken, usize::from(was), "disjoint, and the same: {:?}", packet),
        Form::Widened => {
            prop_assert!(taken == 1 || !was, "{:?} is let through", packet);
            let is_new = taken == 1 && !was;
            prop_assert!(
                !(is_new && context.allowed.contains(packet.dst_port)),
                "{packet:?} is to the service"
            );
        }
        Form::Rtbh(_) => prop_assert_eq!(taken, 1, "all of it: {:?}", packet),
        Form::Refused(_) => prop_assert_eq!(taken, 0),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases * 6, ..ProptestConfig::default() })]
    #[test]
    fn what_is_sent_takes_what_it_should_and_no_port_of_the_service(
        rule in any_rule(), plan in any_plan(), gives_up in any::<bool>(), allowed in any_list(4), others in any_list(3),
        packets in prop::collection::vec((any_packet(), any::<prop::sample::Index>()), 40),
    ) {
        let seen = RefCell::new(Vec::new());
        let check = |rule: &Rule| { seen.borrow_mut().push(rule.clone()); Ok(()) };
        let context = Context { allowed, others, gives_up, check: &check };
        let rule = SharedRule::from(rule);
        let fitted = fit(&rule, &context, &plan);
        let sent: Vec<Match> = fitted.parts.iter().map(|part| part.rule.matches.clone()).collect();
        for (packet, choice) in packets {
            judge(&rule, &fitted, &context, packet)?;
            let choice = choice.index(1 << 24);
            for matches in sent.iter().chain([&rule.matches]) {
                judge(&rule, &fitted, &context, towards(matches, packet, choice, &context.allowed))?;
            }
        }
        let is_police = rule.action.kind() == ActionType::Police;
        match &fitted.form {
            Form::Exact => prop_assert_eq!(&fitted.parts[0].rule, &rule),
            Form::Split => prop_assert!(!is_police && (2..=MAX_PARTS).contains(&fitted.parts.len())),
            Form::Widened => {
                prop_assert!(is_police && fitted.parts.len() == 1 && fitted.warning.is_some());
                let (own, ports) = (&rule.matches.dst_ports, &fitted.parts[0].rule.matches.dst_ports);
                let over = context.others.minus(own);
                prop_assert!(over.minus(ports) == over, "over the ports of another action");
            }
            Form::Rtbh(lacks) => {
                prop_assert!(context.gives_up && !plan.families.contains(lacks) && fitted.parts.len() == 1);
                prop_assert!(fitted.warning.is_some());
                prop_assert!(seen.borrow().contains(&rule), "a guardrail did not see what was decided");
            }
            Form::Refused(_) => prop_assert!(fitted.parts.is_empty()),
        }
        let limits = plan.limits;
        for Part { rule: sent, canonical: wire } in fitted.parts.iter() {
            let wanted = match fitted.form {
                Form::Rtbh(_) => (Action::Rtbh, false),
                _ => (rule.action, rule.sample),
            };
            prop_assert_eq!((sent.action, sent.sample), wanted);
            prop_assert_eq!(sent.matches.dst_prefix, rule.matches.dst_prefix);
            prop_assert_eq!(&**wire, &compile::of(sent).unwrap());
            prop_assert!(plan.families.contains(&wire.family()));
            prop_assert!(wire.key().component_bytes() <= limits.nlri_bytes);
            prop_assert!(wire.components().unwrap().iter().map(Component::operators).all(|n| n <= limits.operators_per_component));
            prop_assert!(seen.borrow().contains(sent), "a guardrail did not see {}", **sent);
        }
    }
}
