//! Each router, started for real, and read back after this crate's own endpoint has told it rules.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

use tokio::net::TcpListener;

use super::*;
use crate::speaker::{Identity, Speaker};

const LIMIT: Duration = Duration::from_secs(20);
const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const MARKER: (u32, u32, u32) = (65010, 8955, 1);

const fn identity(asn: u32) -> Identity {
    Identity {
        asn,
        router_id: Ipv4Addr::new(10, 10, 0, 10),
        hold_time_seconds: 30,
    }
}

fn rule(matches: Match, action: Action) -> RouterRule {
    RouterRule {
        matches,
        actions: BTreeSet::from([action]),
        communities: Some(BTreeSet::from([NO_EXPORT])),
        large_communities: Some(BTreeSet::from([MARKER])),
    }
}

/// Rules that every one of the four shows exactly (FRR: without communities).
fn common(family: Family) -> Vec<RouterRule> {
    let (host, protocol) = match family {
        Family::Ipv4Flow => ("203.0.113.10/32", 17),
        Family::Ipv6Flow => ("2001:db8:acce::10/128", 17),
    };
    let to = || Match::to(host.parse().unwrap()).with(Component::Protocol, &[(Op::Eq, protocol)]);
    let police = |rate: f32| Action::Police(BytesPerSecond(rate));
    vec![
        rule(
            to().with(Component::DestinationPort, &[(Op::Eq, 53), (Op::Eq, 27015)]),
            police(625_000.0),
        ),
        rule(
            to().with(Component::DestinationPort, &[(Op::Lt, 53), (Op::Gt, 54)]),
            police(1_234_567.0),
        ),
        rule(
            to().with(Component::SourcePort, &[(Op::Ge, 100)])
                .and(Component::SourcePort, Op::Le, 1000)
                .with(Component::SourcePort, &[(Op::Eq, 7)]),
            police(0.5),
        ),
        rule(to().with(Component::Fragment, &[(Op::AllOf, 2)]), Action::Discard),
        rule(
            to().with(Component::SourcePort, &[(Op::Eq, 123)])
                .with(Component::PacketLength, &[(Op::Ge, 100)]),
            Action::Discard,
        ),
        rule(to().with(Component::Dscp, &[(Op::Eq, 46)]), Action::Mark(12)),
        rule(
            Match::to(host.parse().unwrap())
                .with(Component::Protocol, &[(Op::Eq, 6)])
                .with(Component::TcpFlags, &[(Op::AllOf, 2)])
                .and(Component::TcpFlags, Op::NotAllOf, 16),
            Action::RedirectAs2 {
                asn: 65010,
                number: 99,
            },
        ),
        rule(
            Match::to(host.parse().unwrap())
                .with(
                    Component::Protocol,
                    &[(Op::Eq, if family == Family::Ipv4Flow { 1 } else { 58 })],
                )
                .with(Component::IcmpType, &[(Op::Eq, 128), (Op::Eq, 129)]),
            Action::Discard,
        ),
    ]
}

/// Rules only the lossless two can tell apart from others.
fn lossless() -> Vec<RouterRule> {
    let to = || Match::to("203.0.113.20/32".parse().unwrap());
    let flags = |op| rule(to().with(Component::TcpFlags, &[(op, 0x12)]), Action::Discard);
    vec![
        flags(Op::AnyOf),
        flags(Op::AllOf),
        flags(Op::NoneOf),
        flags(Op::NotAllOf),
        rule(to().with(Component::Fragment, &[(Op::AnyOf, 2)]), Action::Discard),
        rule(to().with(Component::Fragment, &[(Op::AllOf, 2)]), Action::Discard),
        rule(
            to().with(Component::Fragment, &[(Op::NoneOf, 2)]),
            Action::Discard,
        ),
        rule(
            to().with(Component::Port, &[(Op::Gt, 10)])
                .and(Component::Port, Op::Lt, 20),
            Action::Discard,
        ),
        rule(
            to().with(Component::Port, &[(Op::Gt, 10), (Op::Lt, 20)]),
            Action::Discard,
        ),
        rule(
            to().with(Component::Port, &[(Op::Ne, 10)])
                .and(Component::Port, Op::Ne, 20),
            Action::Discard,
        ),
    ]
}

/// What the router is able to show of a rule.
fn shown(kind: Kind, mut rules: Vec<RouterRule>) -> Vec<RouterRule> {
    if kind == Kind::Frr {
        for rule in &mut rules {
            (rule.communities, rule.large_communities) = (None, None);
        }
    }
    rules.sort();
    rules
}

async fn announce_and_withdraw(
    router: &Router,
    speaker: &mut Speaker,
    family: Family,
    rules: Vec<RouterRule>,
) {
    let expected = shown(router.kind(), rules.clone());
    for rule in &rules {
        speaker.announce(rule).await.unwrap();
    }
    let held = router
        .wait_rules(family, |held| held.len() == rules.len(), LIMIT)
        .await
        .unwrap();
    let text = |rules: &[RouterRule]| rules.iter().map(|rule| format!("{rule}\n")).collect::<String>();
    assert_eq!(text(&held), text(&expected));
    assert_eq!(held, expected);
    assert_eq!(router.count(family).await.unwrap(), rules.len());
    for rule in &rules {
        speaker.withdraw(family, &rule.matches).await.unwrap();
    }
    router.wait_rules(family, <[_]>::is_empty, LIMIT).await.unwrap();
}

async fn story(kind: Kind) {
    if !kind.available().unwrap() {
        return;
    }
    let mut router = Router::start(kind, RouterConfig::new(65001, 65010))
        .await
        .unwrap();
    assert!(!router.is_established().await.unwrap());
    for family in [Family::Ipv4Flow, Family::Ipv6Flow] {
        assert_eq!(router.rules(family).await.unwrap(), []);
    }

    let mut speaker = Speaker::dial(LOCALHOST, router.address(), identity(65010))
        .await
        .unwrap();
    router.wait_established(LIMIT).await.unwrap();
    for family in [Family::Ipv4Flow, Family::Ipv6Flow] {
        announce_and_withdraw(&router, &mut speaker, family, common(family)).await;
    }
    if matches!(kind, Kind::Bird | Kind::GoBgp) {
        announce_and_withdraw(&router, &mut speaker, Family::Ipv4Flow, lossless()).await;
    }

    // A restart loses the session and what came with it.
    speaker.announce(&common(Family::Ipv4Flow)[0]).await.unwrap();
    router
        .wait_rules(Family::Ipv4Flow, |rules| rules.len() == 1, LIMIT)
        .await
        .unwrap();
    router.restart().await.unwrap();
    assert!(!router.is_established().await.unwrap());
    assert_eq!(router.rules(Family::Ipv4Flow).await.unwrap(), []);
    router.kill9().unwrap();
    assert!(router.kill9().is_err());
}

#[tokio::test]
async fn bird_shows_what_it_was_told() {
    story(Kind::Bird).await;
}

#[tokio::test]
async fn frr_shows_what_it_was_told() {
    story(Kind::Frr).await;
}

#[tokio::test]
async fn gobgp_shows_what_it_was_told() {
    story(Kind::GoBgp).await;
}

#[tokio::test]
async fn exabgp_shows_what_it_was_told() {
    story(Kind::ExaBgp).await;
}

/// The router dials, over the transport of `address`; iBGP.
async fn dials(kind: Kind, address: IpAddr) {
    if !kind.available().unwrap() {
        return;
    }
    let listener = TcpListener::bind((address, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = RouterConfig::new(65010, 65010)
        .connect(Connect::Dial { port })
        .peer(address);
    let router = Router::start(kind, config).await.unwrap();
    let (stream, from) = tokio::time::timeout(LIMIT, listener.accept())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(from.ip(), router.address().ip());
    let mut speaker = Speaker::open(stream, identity(65010)).await.unwrap();
    router.wait_established(LIMIT).await.unwrap();
    let rule = &common(Family::Ipv6Flow)[0];
    speaker.announce(rule).await.unwrap();
    let held = router
        .wait_rules(Family::Ipv6Flow, |rules| rules.len() == 1, LIMIT)
        .await
        .unwrap();
    assert_eq!(held, shown(kind, vec![rule.clone()]));
    drop(speaker);
    router.wait_down(LIMIT).await.unwrap();
    router
        .wait_rules(Family::Ipv6Flow, <[_]>::is_empty, LIMIT)
        .await
        .unwrap();
}

#[tokio::test]
async fn bird_dials() {
    dials(Kind::Bird, LOCALHOST).await;
}

#[tokio::test]
async fn frr_dials() {
    dials(Kind::Frr, LOCALHOST).await;
}

#[tokio::test]
async fn gobgp_dials() {
    dials(Kind::GoBgp, LOCALHOST).await;
}

#[tokio::test]
async fn exabgp_dials() {
    dials(Kind::ExaBgp, LOCALHOST).await;
}

const LOCALHOST_V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

#[tokio::test]
async fn bird_dials_over_ipv6() {
    dials(Kind::Bird, LOCALHOST_V6).await;
}

#[tokio::test]
async fn frr_dials_over_ipv6() {
    dials(Kind::Frr, LOCALHOST_V6).await;
}

#[tokio::test]
async fn gobgp_dials_over_ipv6() {
    dials(Kind::GoBgp, LOCALHOST_V6).await;
}

#[tokio::test]
async fn exabgp_dials_over_ipv6() {
    dials(Kind::ExaBgp, LOCALHOST_V6).await;
}

#[test]
fn unknown_text_is_an_error_not_a_rule() {
    assert!(bird::parse("flow4 { dst 203.0.113.1/32; ttl 5; }  [edge]\n").is_err());
    assert!(bird::parse("flow4 { dst 203.0.113.1/32; dport around 5; }  [edge]\n").is_err());
    assert!(frr::parse("BGP flowspec entry: (flags 0x418)\n\tTTL = 5\n").is_err());
    assert!(gobgp::parse(r#"{"x":[{"nlri":{"value":[{"type":77,"value":[]}]},"attrs":[]}]}"#).is_err());
}
