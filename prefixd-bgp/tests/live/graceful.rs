//! Graceful restart with real routers: BIRD and GoBGP keep the rules, FRR agrees and drops them, ExaBGP has none.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use lab::routers::{Family, Kind};
use prefixd_bgp::flowspec::{Action, Component, NumericTerm};
use prefixd_bgp::{Change, NeighborConfig, RestartTime, Retention, SessionPhase, Stop};
use tokio::time::Instant;

use crate::harness::*;

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// How the router is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Router {
    /// Nothing about graceful restart.
    Default,
    SwitchedOn,
}

#[derive(Debug, Clone, Copy)]
enum End {
    Killed,
    Upgrade,
}

async fn start(kind: Kind, router: Router, seconds: u16) -> Option<Pair> {
    let pair = Pair::start_with(
        kind,
        Transport::WeDial,
        Peering::Internal,
        LOCALHOST,
        |config, neighbor| {
            config.graceful_restart = router == Router::SwitchedOn;
            neighbor.graceful_restart = Some(RestartTime::from_secs(seconds).unwrap());
        },
    )
    .await?;
    pair.wait_established().await;
    Some(pair)
}

/// Two rules that go on and one that ends while we are away.
struct Rules {
    v4: Rule,
    v6: Rule,
    ending: Rule,
}

impl Rules {
    fn new() -> Self {
        let udp = |victim| {
            let protocol = Component::Protocol(vec![NumericTerm::equal(17)]);
            rule(victim, Action::DISCARD, vec![protocol])
        };
        Self {
            v4: udp("203.0.113.10/32"),
            v6: udp("2001:db8::10/128"),
            ending: udp("203.0.113.99/32"),
        }
    }

    fn all(&self) -> [Change; 3] {
        [announce(&self.v4), announce(&self.v6), announce(&self.ending)]
    }

    fn going_on(&self) -> [Change; 2] {
        [announce(&self.v4), announce(&self.v6)]
    }
}

async fn held(pair: &Pair, family: Family) -> usize {
    pair.router.count(family).await.unwrap()
}

fn retention(pair: &Pair) -> Retention {
    pair.speaker.peer(NAME).unwrap().session.unwrap().retention
}

async fn end(pair: &mut Pair, how: End) {
    if let End::Upgrade = how {
        let stop = Stop::Restart { text: String::new() };
        assert!(pair.speaker.shutdown(stop, LIMIT).await.is_empty());
    }
    pair.kill_speaker();
}

/// The rules are on the router at every look from the end of the session to the end of the new one's first transfer,
/// and what ended meanwhile goes with it.
async fn keeps(kind: Kind, router: Router, how: End) {
    let Some(mut pair) = start(kind, router, 60).await else {
        return;
    };
    let rules = Rules::new();
    pair.speaker.apply(rules.all()).unwrap();
    pair.wait_rules(Family::Ipv4Flow, 2).await;
    pair.wait_rules(Family::Ipv6Flow, 1).await;
    assert_eq!(
        retention(&pair),
        Retention::Agreed(RestartTime::from_secs(60).unwrap())
    );

    end(&mut pair, how).await;
    pair.router.wait_down(LIMIT).await.unwrap();
    assert_eq!(held(&pair, Family::Ipv4Flow).await, 2);
    assert_eq!(held(&pair, Family::Ipv6Flow).await, 1);

    pair.restart_speaker(&rules.going_on());
    let deadline = Instant::now() + LIMIT;
    loop {
        let kept = held(&pair, Family::Ipv4Flow).await;
        assert!(kept >= 1, "a gap");
        assert_eq!(held(&pair, Family::Ipv6Flow).await, 1, "a gap");
        if kept == 1 {
            break;
        }
        let status = pair.speaker.peer(NAME);
        assert!(Instant::now() < deadline, "the ended rule stays: {status:#?}");
    }
    let shown = pair.wait_rules(Family::Ipv4Flow, 1).await;
    assert!(shown[0].matches.to_string().contains("203.0.113.10/32"));
    assert_eq!(pair.speaker.peer(NAME).unwrap().phase, SessionPhase::Established);
}

/// Back too late: the router has dropped the rules by itself, and gets them again.
async fn slow_restart(kind: Kind, router: Router) {
    let Some(mut pair) = start(kind, router, 2).await else {
        return;
    };
    let rules = Rules::new();
    pair.speaker.apply(rules.all()).unwrap();
    pair.wait_rules(Family::Ipv4Flow, 2).await;
    pair.wait_rules(Family::Ipv6Flow, 1).await;

    let killed = Instant::now();
    pair.kill_speaker();
    pair.router.wait_down(LIMIT).await.unwrap();
    assert_eq!(held(&pair, Family::Ipv4Flow).await, 2);
    pair.wait_rules(Family::Ipv4Flow, 0).await;
    pair.wait_rules(Family::Ipv6Flow, 0).await;
    let kept = killed.elapsed();
    assert!(kept > Duration::from_secs(1), "{kept:?}");

    pair.restart_speaker(&rules.going_on());
    pair.wait_rules(Family::Ipv4Flow, 1).await;
    pair.wait_rules(Family::Ipv6Flow, 1).await;
}

/// The router agreed, or it was asked in vain: either way the rules are gone long before the restart time.
async fn drops(kind: Kind, router: Router, how: End, agreed: bool) {
    let Some(mut pair) = start(kind, router, 120).await else {
        return;
    };
    let rules = Rules::new();
    pair.speaker.apply(rules.all()).unwrap();
    pair.wait_rules(Family::Ipv4Flow, 2).await;
    pair.wait_rules(Family::Ipv6Flow, 1).await;
    assert_eq!(retention(&pair).agreed().is_some(), agreed);
    end(&mut pair, how).await;
    pair.wait_rules(Family::Ipv4Flow, 0).await;
    pair.wait_rules(Family::Ipv6Flow, 0).await;
}

/// A stop that withdraws leaves nothing behind.
async fn withdrawing_stop(kind: Kind, router: Router) {
    let Some(pair) = start(kind, router, 120).await else {
        return;
    };
    pair.speaker.apply(Rules::new().all()).unwrap();
    pair.wait_rules(Family::Ipv4Flow, 2).await;
    pair.wait_rules(Family::Ipv6Flow, 1).await;
    let text = "maintenance".to_owned();
    let unfinished = pair.speaker.shutdown(Stop::Withdraw { text }, LIMIT).await;
    assert!(unfinished.is_empty());
    pair.wait_rules(Family::Ipv4Flow, 0).await;
    pair.wait_rules(Family::Ipv6Flow, 0).await;
}

/// A reload that needs another session costs no rule, not even for a moment.
async fn reload(kind: Kind, router: Router) {
    let Some(pair) = start(kind, router, 60).await else {
        return;
    };
    let rules = Rules::new();
    pair.speaker.apply(rules.all()).unwrap();
    pair.wait_rules(Family::Ipv4Flow, 2).await;
    pair.wait_rules(Family::Ipv6Flow, 1).await;
    let changed = NeighborConfig {
        graceful_restart: Some(RestartTime::MAX),
        ..pair.config.neighbors[0].clone()
    };
    pair.speaker.reconfigure(vec![changed]).unwrap();
    let deadline = Instant::now() + LIMIT;
    loop {
        assert_eq!(held(&pair, Family::Ipv4Flow).await, 2, "a gap");
        let status = pair.speaker.peer(NAME).unwrap();
        if status.established_total == 2 && status.totals.time_to_end_of_rib.is_some() {
            break;
        }
        assert!(Instant::now() < deadline, "{status:#?}");
    }
    assert_eq!(held(&pair, Family::Ipv4Flow).await, 2);
    assert_eq!(held(&pair, Family::Ipv6Flow).await, 1);
    assert_eq!(retention(&pair), Retention::Agreed(RestartTime::MAX));
}

macro_rules! keeping {
    ($($name:ident = $kind:expr, $router:expr;)*) => {$(
        mod $name {
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn killed() {
                keeps($kind, $router, End::Killed).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn upgrade() {
                keeps($kind, $router, End::Upgrade).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn slow_restart() {
                super::slow_restart($kind, $router).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn withdrawing_stop() {
                super::withdrawing_stop($kind, $router).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn reload() {
                super::reload($kind, $router).await;
            }
        }
    )*};
}

keeping! {
    bird = Kind::Bird, Router::Default;
    bird_switched_on = Kind::Bird, Router::SwitchedOn;
    gobgp_switched_on = Kind::GoBgp, Router::SwitchedOn;
}

macro_rules! dropping {
    ($($name:ident = $kind:expr, $router:expr, $agreed:expr;)*) => {$(
        mod $name {
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn killed() {
                drops($kind, $router, End::Killed, $agreed).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn upgrade() {
                drops($kind, $router, End::Upgrade, $agreed).await;
            }
        }
    )*};
}

dropping! {
    frr = Kind::Frr, Router::Default, true;
    frr_switched_on = Kind::Frr, Router::SwitchedOn, true;
    gobgp = Kind::GoBgp, Router::Default, false;
}
