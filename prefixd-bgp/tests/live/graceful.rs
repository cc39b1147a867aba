//! Graceful restart with real routers: BIRD and GoBGP keep the rules, FRR agrees and drops them, ExaBGP has none.

use std::time::Duration;

use lab::routers::Kind;
use prefixd_bgp::{NeighborConfig, RestartTime, Retention, Stop};
use tokio::time::Instant;

use crate::harness::*;
use crate::restarts::{Event, Router, Rules, Seen, held, play, retention, start, wait_held};

/// The rules are on the router at every look from the end of the session to the end of the new one's first transfer,
/// and what ended meanwhile goes with it.
async fn keeps(kind: Kind, router: Router, event: Event) {
    if let Some((agreed, seen)) = play(kind, router, event).await {
        assert!(agreed && matches!(seen, Seen::Kept { .. }), "{agreed}, {seen}");
    }
}

/// Back too late: the router has dropped the rules by itself, and gets them again.
async fn slow_restart(kind: Kind, router: Router) {
    if let Some((agreed, Seen::Dropped { after })) = play(kind, router, Event::SlowRestart).await {
        assert!(agreed && after > Duration::from_secs(1), "{after:?}");
    }
}

/// A set that is not complete takes nothing over.
async fn failed_restore(kind: Kind, router: Router) {
    if let Some((_, seen)) = play(kind, router, Event::FailedRestore).await {
        assert!(matches!(seen, Seen::Purged { .. }), "{seen}");
    }
}

/// The router agreed, or it was asked in vain: either way the rules are gone long before the restart time.
async fn drops(kind: Kind, router: Router, event: Event, expected: bool) {
    if let Some((agreed, seen)) = play(kind, router, event).await {
        assert_eq!(agreed, expected);
        assert!(matches!(seen, Seen::Dropped { .. }), "{seen}");
    }
}

/// A stop that withdraws leaves nothing behind.
async fn withdrawing_stop(kind: Kind, router: Router) {
    let Some(pair) = start(kind, router, 120).await else {
        return;
    };
    pair.speaker.apply(Rules::new().all()).unwrap();
    wait_held(&pair, (2, 1)).await;
    let text = "maintenance".to_owned();
    let unfinished = pair.speaker.shutdown(Stop::Withdraw { text }, LIMIT).await;
    assert!(unfinished.is_empty());
    wait_held(&pair, (0, 0)).await;
}

/// A reload that needs another session costs no rule, not even for a moment.
async fn reload(kind: Kind, router: Router) {
    let Some(pair) = start(kind, router, 60).await else {
        return;
    };
    let rules = Rules::new();
    pair.speaker.apply(rules.all()).unwrap();
    wait_held(&pair, (2, 1)).await;
    let changed = NeighborConfig {
        graceful_restart: Some(RestartTime::MAX),
        ..pair.config.neighbors[0].clone()
    };
    pair.speaker.reconfigure(vec![changed]).unwrap();
    let deadline = Instant::now() + LIMIT;
    loop {
        assert_eq!(held(&pair).await, (2, 1), "a gap");
        let status = pair.speaker.peer(NAME).unwrap();
        if status.established_total == 2 && status.totals.time_to_end_of_rib.is_some() {
            break;
        }
        assert!(Instant::now() < deadline, "{status:#?}");
    }
    assert_eq!(held(&pair).await, (2, 1));
    assert_eq!(retention(&pair), Retention::Agreed(RestartTime::MAX));
}

macro_rules! keeping {
    ($($name:ident = $kind:expr, $router:expr;)*) => {$(
        mod $name {
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn killed() {
                keeps($kind, $router, Event::Killed).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn upgrade() {
                keeps($kind, $router, Event::Upgrade).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn slow_restart() {
                super::slow_restart($kind, $router).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn failed_restore() {
                super::failed_restore($kind, $router).await;
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
                drops($kind, $router, Event::Killed, $agreed).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn upgrade() {
                drops($kind, $router, Event::Upgrade, $agreed).await;
            }
        }
    )*};
}

dropping! {
    frr = Kind::Frr, Router::Default, true;
    frr_switched_on = Kind::Frr, Router::SwitchedOn, true;
    gobgp = Kind::GoBgp, Router::Default, false;
}
