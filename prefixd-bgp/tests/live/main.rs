//! The speaker against real routers on loopback: BIRD, FRR, GoBGP and ExaBGP.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod every;
mod graceful;
mod harness;
mod interop;
mod protection;
mod quarantine;
mod restarts;
mod rtbh;

use std::net::IpAddr;

use lab::routers::{Component as C, Family, Kind, Match, NO_EXPORT, Op, RouterRule};
use prefixd_bgp::flowspec::{Action, BitmaskTerm, BytesPerSecond, Comparison, Component, NumericTerm};
use prefixd_bgp::{SessionPhase, Stop};

use harness::*;

const VICTIM_V4: &str = "203.0.113.10/32";
const VICTIM_V6: &str = "2001:db8::10/128";

fn police() -> Action {
    Action::police(BytesPerSecond::from_bits_per_second(1_000_000).unwrap())
}

/// One rule per family that every router shows without loss of meaning.
fn plain_rules() -> [(Rule, Match); 2] {
    let udp = |destination, port| {
        rule(
            destination,
            police(),
            vec![
                Component::Protocol(vec![NumericTerm::equal(17)]),
                Component::DestinationPort(vec![NumericTerm::equal(port)]),
            ],
        )
    };
    let shown = |destination: &str, port| {
        Match::to(destination.parse().unwrap())
            .with(C::Protocol, &[(Op::Eq, 17)])
            .with(C::DestinationPort, &[(Op::Eq, port)])
    };
    [
        (udp(VICTIM_V4, 53), shown(VICTIM_V4, 53)),
        (udp(VICTIM_V6, 443), shown(VICTIM_V6, 443)),
    ]
}

/// Ranges, alternatives, AND-ed flags: what only BIRD and GoBGP show without loss.
fn rich_rules() -> [(Rule, Match); 4] {
    let ports = [
        NumericTerm::range(1000, 2000).to_vec(),
        vec![NumericTerm::equal(123), NumericTerm::equal(53)],
    ];
    [
        (
            rule(
                VICTIM_V4,
                police(),
                vec![
                    Component::DestinationPort(ports.concat()),
                    Component::Protocol(vec![NumericTerm::equal(17)]),
                    Component::PacketLength(vec![NumericTerm::or(Comparison::GreaterOrEqual, 100)]),
                ],
            ),
            Match::to(VICTIM_V4.parse().unwrap())
                .with(C::Protocol, &[(Op::Eq, 17)])
                .with(C::DestinationPort, &[(Op::Eq, 53), (Op::Eq, 123), (Op::Ge, 1000)])
                .and(C::DestinationPort, Op::Le, 2000)
                .with(C::PacketLength, &[(Op::Ge, 100)]),
        ),
        (
            rule(
                VICTIM_V4,
                Action::DISCARD,
                vec![
                    Component::TcpFlags(vec![BitmaskTerm::any(2), BitmaskTerm::and_none(16)]),
                    Component::Protocol(vec![NumericTerm::equal(6)]),
                ],
            ),
            Match::to(VICTIM_V4.parse().unwrap())
                .with(C::Protocol, &[(Op::Eq, 6)])
                .with(C::TcpFlags, &[(Op::AllOf, 2)])
                .and(C::TcpFlags, Op::NoneOf, 16),
        ),
        (
            rule(
                VICTIM_V6,
                Action::DISCARD,
                vec![
                    Component::IcmpType(vec![NumericTerm::equal(129), NumericTerm::equal(128)]),
                    Component::Protocol(vec![NumericTerm::equal(58)]),
                ],
            ),
            Match::to(VICTIM_V6.parse().unwrap())
                .with(C::Protocol, &[(Op::Eq, 58)])
                .with(C::IcmpType, &[(Op::Eq, 128), (Op::Eq, 129)]),
        ),
        (
            rule(
                VICTIM_V6,
                Action::DISCARD,
                vec![
                    Component::Fragment(vec![BitmaskTerm::any(2)]),
                    Component::SourcePrefix("2001:db8:bad::/48".parse().unwrap()),
                ],
            ),
            Match {
                source: Some("2001:db8:bad::/48".parse().unwrap()),
                ..Match::to(VICTIM_V6.parse().unwrap()).with(C::Fragment, &[(Op::AllOf, 2)])
            },
        ),
    ]
}

/// Communities where the router shows them: NO_EXPORT and the marker.
fn assert_marked(rule: &RouterRule) {
    if rule.communities.is_some() {
        assert!(rule.has_community(NO_EXPORT), "{rule}");
    }
    if rule.large_communities.is_some() {
        assert!(rule.has_large_community(MARKER), "{rule}");
    }
}

/// Every row of docs/interop.md about blackhole routes.
async fn blackholes(kind: Kind) {
    if !kind.available().unwrap() {
        return;
    }
    for peering in [Peering::External, Peering::Internal] {
        let held = rtbh::row(kind, peering).await;
        let failed = rtbh::COLUMNS.get(held);
        assert_eq!(failed, None, "{peering:?}: it does not hold");
    }
}

/// Both dial, so that collisions are likely: announce, exact readback, withdraw, and rules that only some routers show.
async fn both_dial(kind: Kind) {
    let Some(pair) = Pair::start(kind, Transport::Both, Peering::External).await else {
        return;
    };
    let [(v4, shown_v4), (v6, shown_v6)] = plain_rules();
    pair.speaker.apply([announce(&v4), announce(&v6)]).unwrap();
    for (family, shown) in [(Family::Ipv4Flow, &shown_v4), (Family::Ipv6Flow, &shown_v6)] {
        let rules = pair.wait_rules(family, 1).await;
        assert_eq!(rules[0].matches, *shown);
        assert_eq!(rules[0].actions, [lab::routers::Action::rate(125_000.0)].into());
        assert_marked(&rules[0]);
    }
    pair.speaker.apply([withdraw(&v4), withdraw(&v6)]).unwrap();
    pair.wait_rules(Family::Ipv4Flow, 0).await;
    pair.wait_rules(Family::Ipv6Flow, 0).await;

    if matches!(kind, Kind::Bird | Kind::GoBgp) {
        let rich = rich_rules();
        pair.speaker
            .apply(rich.iter().map(|(rule, _)| announce(rule)))
            .unwrap();
        for family in [Family::Ipv4Flow, Family::Ipv6Flow] {
            let mut held: Vec<_> = pair
                .wait_rules(family, 2)
                .await
                .into_iter()
                .map(|rule| rule.matches)
                .collect();
            let mut expected: Vec<_> = rich
                .iter()
                .map(|(_, shown)| shown.clone())
                .filter(|shown| shown.destination.unwrap().addr().is_ipv4() == (family == Family::Ipv4Flow))
                .collect();
            held.sort();
            expected.sort();
            assert_eq!(held, expected);
        }
    }
}

/// A withdrawing stop: the rules go, and the router sees an orderly end.
async fn withdrawing_stop(kind: Kind) {
    let Some(pair) = Pair::start(kind, Transport::WeDial, Peering::External).await else {
        return;
    };
    let [(v4, _), (v6, _)] = plain_rules();
    pair.speaker.apply([announce(&v4), announce(&v6)]).unwrap();
    pair.wait_rules(Family::Ipv6Flow, 1).await;
    let unfinished = pair
        .speaker
        .shutdown(
            Stop::Withdraw {
                text: "maintenance".into(),
            },
            LIMIT,
        )
        .await;
    assert!(unfinished.is_empty());
    pair.wait_rules(Family::Ipv4Flow, 0).await;
    pair.wait_rules(Family::Ipv6Flow, 0).await;
    pair.router.wait_down(LIMIT).await.unwrap();
}

/// Disabled: the rules go and the session stays down. Enabled: all are back. Reset and sent again: nothing is lost.
async fn administration(kind: Kind) {
    let Some(pair) = Pair::start(kind, Transport::WeDial, Peering::External).await else {
        return;
    };
    let [(v4, _), (v6, shown_v6)] = plain_rules();
    pair.speaker.apply([announce(&v4), announce(&v6)]).unwrap();
    pair.wait_rules(Family::Ipv6Flow, 1).await;
    pair.speaker.disable(NAME, "maintenance by ops").unwrap();
    pair.wait_rules(Family::Ipv4Flow, 0).await;
    pair.wait_rules(Family::Ipv6Flow, 0).await;
    pair.router.wait_down(LIMIT).await.unwrap();
    pair.wait_phase(|phase| phase == SessionPhase::Idle).await;

    pair.speaker.apply([withdraw(&v4)]).unwrap();
    pair.speaker.enable(NAME).unwrap();
    let rules = pair.wait_rules(Family::Ipv6Flow, 1).await;
    assert_eq!(rules[0].matches, shown_v6);
    pair.wait_rules(Family::Ipv4Flow, 0).await;

    pair.speaker.reset(NAME, "new policy").unwrap();
    pair.wait(|status| status.established_total == 3).await;
    pair.router.wait_established(LIMIT).await.unwrap();
    pair.wait_rules(Family::Ipv6Flow, 1).await;

    assert!(pair.speaker.resend(NAME, None).unwrap());
    pair.wait(|status| status.totals.refreshes == 2).await;
    pair.speaker.apply([announce(&v4)]).unwrap();
    pair.wait_rules(Family::Ipv4Flow, 1).await;
    pair.wait_rules(Family::Ipv6Flow, 1).await;
    assert_eq!(pair.speaker.peer(NAME).unwrap().flaps, 0);
}

/// A full table arrives complete.
async fn many_rules(kind: Kind, count: u32) {
    let Some(pair) = Pair::start(kind, Transport::WeDial, Peering::External).await else {
        return;
    };
    pair.speaker
        .apply((0..count).map(|n| announce(&numbered(n))))
        .unwrap();
    pair.wait_rules(Family::Ipv4Flow, count as usize).await;
    pair.speaker
        .apply((0..count).map(|n| withdraw(&numbered(n))))
        .unwrap();
    pair.wait_rules(Family::Ipv4Flow, 0).await;
    assert_eq!(pair.speaker.peer(NAME).unwrap().flaps, 0);
}

macro_rules! live {
    ($($name:ident = $kind:expr;)*) => {$(
        mod $name {
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn interop_over_ipv4() {
                interop($kind, interop::IPV4).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn interop_over_ipv6() {
                interop($kind, interop::IPV6).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn both_dial() {
                super::both_dial($kind).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn withdrawing_stop() {
                super::withdrawing_stop($kind).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn administration() {
                super::administration($kind).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn many_rules() {
                // GoBGP's command line needs seconds to print thousands of rules.
                let count = if $kind == Kind::GoBgp { 300 } else { 2000 };
                super::many_rules($kind, count).await;
            }
        }
    )*};
}

live! {
    bird = Kind::Bird;
    frr = Kind::Frr;
    gobgp = Kind::GoBgp;
    exabgp = Kind::ExaBgp;
}

/// Every row of docs/interop.md.
async fn interop(kind: Kind, over: IpAddr) {
    if !kind.available().unwrap() {
        return;
    }
    let failed: Vec<_> = interop::matrix(interop::cases(kind, &[over]))
        .await
        .into_iter()
        .filter_map(|(case, held)| Some((case, interop::COLUMNS.get(held?)?)))
        .map(|(case, column)| format!("{case:?}: {column} does not hold"))
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

macro_rules! blackholes {
    ($($name:ident = $kind:expr;)*) => {
        mod rtbh_routes {
            use super::*;

            const TESTED: [Kind; 3] = [$($kind),*];

            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                blackholes($kind).await;
            })*

            #[test]
            fn every_row_is_a_test() {
                assert_eq!(TESTED, rtbh::KINDS);
            }
        }
    };
}

blackholes! {
    bird = Kind::Bird;
    frr = Kind::Frr;
    gobgp = Kind::GoBgp;
}
