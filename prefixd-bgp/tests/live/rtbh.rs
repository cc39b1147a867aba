//! Blackhole routes (RFC 7999) in the unicast tables of real routers: rows of docs/interop.md. Shared by the tests and by
//! `make interop` (examples/interop.rs).

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lab::routers::{Family, Kind, NO_EXPORT, UnicastRoute};
use prefixd_bgp::flowspec::{self, Action};
use prefixd_bgp::{NeighborConfig, Rtbh};

use crate::harness::*;

const BLACKHOLE: (u16, u16) = (65535, 666);
const OWN: (u16, u16) = (65010, 666);
const NEXT_HOP: &str = "192.0.2.254";
const NEXT_HOP_V6: &str = "100::1";

/// Each is one step of [`play`]; a row ends at the first that fails.
pub(crate) const COLUMNS: [&str; 4] = ["announce", "exact readback", "next hop moved", "withdraw"];

/// Those with unicast tables; ExaBGP is no router.
pub(crate) const KINDS: [Kind; 3] = [Kind::Bird, Kind::Frr, Kind::GoBgp];

/// How many columns of the row hold; the panic is on standard error.
pub(crate) async fn row(kind: Kind, peering: Peering) -> usize {
    let held = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&held);
    // A row that panics has held up to there.
    let _ = tokio::spawn(async move { play(kind, peering, &counter).await }).await;
    held.load(Ordering::SeqCst)
}

fn rtbh() -> Rtbh {
    Rtbh {
        next_hop: Some(NEXT_HOP.parse().unwrap()),
        next_hop_v6: Some(NEXT_HOP_V6.parse().unwrap()),
        communities: ["65010:666".parse().unwrap()].into(),
    }
}

async fn start(kind: Kind, peering: Peering) -> Pair {
    let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let pair = Pair::start_with(kind, Transport::WeDial, peering, localhost, |router, neighbor| {
        router.unicast = true;
        neighbor.families = flowspec::Family::ALL.into();
        neighbor.rtbh = Some(rtbh());
    })
    .await;
    // Whether it is there was found out before.
    let pair = pair.unwrap();
    pair.wait_established().await;
    pair
}

fn blackhole(address: &str) -> Rule {
    let address: IpAddr = address.parse().unwrap();
    Rule {
        rule: flowspec::Rule::host_route(address).canonical().unwrap().into(),
        action: Action::BLACKHOLE,
        ..rule("203.0.113.99/32", Action::DISCARD, vec![])
    }
}

/// What a router should show, but for LOCAL_PREF.
fn shown(prefix: &str, next_hop: &str) -> UnicastRoute {
    UnicastRoute {
        prefix: prefix.parse().unwrap(),
        next_hop: next_hop.parse().unwrap(),
        local_pref: None,
        communities: BTreeSet::from([NO_EXPORT, BLACKHOLE, OWN]),
        large_communities: BTreeSet::from([MARKER]),
    }
}

async fn play(kind: Kind, peering: Peering, held: &AtomicUsize) {
    let pair = start(kind, peering).await;
    let column_holds = || held.fetch_add(1, Ordering::SeqCst);
    let routes = [
        blackhole("203.0.113.10"),
        blackhole("203.0.113.11"),
        blackhole("2001:db8::10"),
    ];
    let beside = rule("203.0.113.12/32", Action::DISCARD, vec![]);
    pair.speaker
        .apply(routes.iter().chain([&beside]).map(announce))
        .unwrap();
    let routes_held = pair.router.wait_unicast_routes(3, LIMIT).await.unwrap();
    pair.wait_rules(Family::Ipv4Flow, 1).await;
    column_holds();

    let expected = [
        shown("203.0.113.10/32", NEXT_HOP),
        shown("203.0.113.11/32", NEXT_HOP),
        shown("2001:db8::10/128", NEXT_HOP_V6),
    ];
    for (held, expected) in routes_held.iter().zip(&expected) {
        let without = UnicastRoute {
            local_pref: None,
            ..held.clone()
        };
        assert_eq!(without, *expected);
        match peering {
            Peering::Internal => assert_eq!(held.local_pref, Some(200), "{held}"),
            Peering::External => assert_ne!(held.local_pref, Some(200), "{held}"),
        }
    }
    column_holds();

    // Another next hop replaces the routes in place.
    let moved = NeighborConfig {
        rtbh: Some(Rtbh {
            next_hop: Some("192.0.2.253".parse().unwrap()),
            ..rtbh()
        }),
        ..pair.config.neighbors[0].clone()
    };
    let report = pair.speaker.reconfigure(vec![moved]).unwrap();
    assert_eq!(report.adjusted, [NAME.into()]);
    let deadline = tokio::time::Instant::now() + LIMIT;
    loop {
        let held = pair.router.wait_unicast_routes(3, LIMIT).await.unwrap();
        if held[0].next_hop.to_string() == "192.0.2.253" {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{held:?}");
    }
    column_holds();

    pair.speaker.apply([withdraw(&routes[0])]).unwrap();
    let held = pair.router.wait_unicast_routes(2, LIMIT).await.unwrap();
    assert_eq!(held[0].prefix.to_string(), "203.0.113.11/32");
    pair.speaker
        .apply([withdraw(&routes[1]), withdraw(&routes[2])])
        .unwrap();
    pair.router.wait_unicast_routes(0, LIMIT).await.unwrap();
    pair.wait_rules(Family::Ipv4Flow, 1).await;
    assert_eq!(pair.speaker.peer(NAME).unwrap().flaps, 0);
    column_holds();
}
