//! Every component and every action, each in a rule of its own, read back from the routers that show them exactly.

use std::collections::{BTreeMap, BTreeSet};

use lab::routers::{Family, Kind};
use prefixd_bgp::flowspec::{
    Action, BitmaskTerm, Comparison, Component, Dscp, Effect, NumericTerm, PacketsPerSecond, Redirect,
};

use crate::harness::*;
use crate::police;

fn equal(values: &[u64]) -> Vec<NumericTerm> {
    values.iter().map(|value| NumericTerm::equal(*value)).collect()
}

/// A component and how the lab writes it.
fn components(family: Family) -> Vec<(Component, &'static str)> {
    let or = NumericTerm::or;
    let all = |bits| BitmaskTerm {
        all: true,
        ..BitmaskTerm::any(bits)
    };
    let none = |bits| BitmaskTerm {
        and: false,
        ..BitmaskTerm::and_none(bits)
    };
    let mut every = vec![
        (Component::Protocol(equal(&[47, 50])), "proto =47,=50"),
        (
            Component::Port(vec![or(Comparison::LessOrEqual, 1023), NumericTerm::equal(8080)]),
            "port <=1023,=8080",
        ),
        (
            Component::DestinationPort(NumericTerm::range(1000, 2000).to_vec()),
            "dport >=1000&<=2000",
        ),
        (
            Component::SourcePort(vec![or(Comparison::NotEqual, 53)]),
            "sport <=52,>=54",
        ),
        (Component::IcmpType(equal(&[3, 11])), "icmp-type =3,=11"),
        (Component::IcmpCode(equal(&[0, 4])), "icmp-code =0,=4"),
        (
            Component::TcpFlags(vec![all(0x02), BitmaskTerm::and_none(0x10), all(0x05)]),
            "tcp-flags all:2&none:16,all:5",
        ),
        (
            Component::TcpFlags(vec![all(0x100), BitmaskTerm::and_none(0x12)]),
            "tcp-flags all:256&none:18",
        ),
        (
            Component::PacketLength(NumericTerm::range(100, 1400).to_vec()),
            "length >=100&<=1400",
        ),
        (Component::Dscp(equal(&[0, 46])), "dscp =0,=46"),
        (Component::Fragment(vec![all(2)]), "fragment all:2"),
        (
            Component::Fragment(vec![all(4), BitmaskTerm::and_none(8), all(2)]),
            "fragment all:2,all:4&none:8",
        ),
    ];
    match family {
        Family::Ipv4Flow => {
            every.push((
                Component::SourcePrefix("198.51.100.0/24".parse().unwrap()),
                "src 198.51.100.0/24",
            ));
            every.push((Component::Fragment(vec![none(3)]), "fragment none:3"));
        }
        Family::Ipv6Flow => {
            every.push((
                Component::SourcePrefix("2001:db8:bad::/48".parse().unwrap()),
                "src 2001:db8:bad::/48",
            ));
            every.push((
                Component::FlowLabel(vec![
                    NumericTerm::equal(7),
                    or(Comparison::GreaterOrEqual, 0x1_2345),
                ]),
                "label =7,>=74565",
            ));
        }
    }
    every
}

/// An action and how the lab writes it.
fn actions() -> Vec<(Action, &'static str)> {
    let redirect = |redirect| Action::of(Effect::Redirect(redirect));
    let next_hop = |address: &str, copy| {
        redirect(Redirect::NextHop {
            address: address.parse().unwrap(),
            copy,
        })
    };
    let packets = Action::of(Effect::RatePackets(PacketsPerSecond::new(1000).unwrap()));
    vec![
        (Action::DISCARD, "discard"),
        (police(), "police 125000 bytes/s"),
        (packets, "police 1000 packets/s"),
        (Action::mark(Dscp::new(46).unwrap()), "mark 46"),
        (
            redirect(Redirect::VrfAs2 {
                asn: 65010,
                value: 100,
            }),
            "redirect 65010:100",
        ),
        (
            redirect(Redirect::VrfAs4 {
                asn: 4_200_000_000,
                value: 7,
            }),
            "redirect 4200000000:7",
        ),
        (
            redirect(Redirect::VrfIpv4 {
                address: [192, 0, 2, 1].into(),
                value: 7,
            }),
            "redirect 192.0.2.1:7",
        ),
        (next_hop("192.0.2.9", false), "redirect to 192.0.2.9"),
        (next_hop("192.0.2.9", true), "copy to 192.0.2.9"),
        (next_hop("2001:db8::9", false), "redirect to 2001:db8::9"),
        (next_hop("2001:db8::9", true), "copy to 2001:db8::9"),
        (
            Action::DISCARD.sampled(true),
            "discard + traffic-action terminal=false sample=true",
        ),
    ]
}

/// The n-th victim.
fn victim(family: Family, n: usize) -> String {
    match family {
        Family::Ipv4Flow => format!("203.0.113.{n}/32"),
        Family::Ipv6Flow => format!("2001:db8::{n:x}/128"),
    }
}

async fn every_component_and_action(kind: Kind) {
    let Some(pair) = Pair::start(kind, Transport::WeDial, Peering::Internal).await else {
        return;
    };
    for family in [Family::Ipv4Flow, Family::Ipv6Flow] {
        let mut sent = Vec::new();
        let mut expected = BTreeSet::new();
        for (component, shown) in components(family) {
            let to = victim(family, sent.len() + 1);
            sent.push(rule(&to, Action::DISCARD, vec![component]));
            expected.insert((format!("dst {to} {shown}"), "discard".to_owned()));
        }
        for (action, shown) in actions() {
            let to = victim(family, sent.len() + 1);
            sent.push(rule(&to, action, vec![]));
            expected.insert((format!("dst {to}"), shown.to_owned()));
        }
        pair.speaker.apply(sent.iter().map(announce)).unwrap();
        let held: BTreeSet<_> = pair
            .wait_rules(family, sent.len())
            .await
            .into_iter()
            .map(|rule| {
                let actions: Vec<_> = rule.actions.iter().map(ToString::to_string).collect();
                (rule.matches.to_string(), actions.join(" + "))
            })
            .collect();
        let by_match = |rules: &BTreeSet<(String, String)>| -> BTreeMap<String, String> {
            rules.iter().cloned().collect()
        };
        assert_eq!(by_match(&held), by_match(&expected));
        assert_eq!(held, expected);
    }
    assert_eq!(pair.speaker.peer(NAME).unwrap().flaps, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bird() {
    every_component_and_action(Kind::Bird).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gobgp() {
    every_component_and_action(Kind::GoBgp).await;
}
