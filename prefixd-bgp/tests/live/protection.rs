//! TCP-MD5, GTSM and IPv6 transport with routers that have them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lab::routers::{Family, Kind};
use prefixd_bgp::Loss;
use prefixd_bgp::flowspec::Action;

use crate::harness::*;

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
const KEY: Guard = Guard {
    password: Some("s3cret"),
    ttl_security: false,
};
const NEAR: Guard = Guard {
    password: None,
    ttl_security: true,
};
const BOTH: Guard = Guard {
    ttl_security: true,
    ..KEY
};

/// A rule goes over a session that both sides protect, or that runs over IPv6.
async fn carries_rules(kind: Kind, transport: Transport, address: IpAddr, guard: Guard) {
    let Some(pair) = Pair::start_guarded(kind, transport, Peering::External, address, (guard, guard)).await
    else {
        return;
    };
    pair.wait_established().await;
    let rules = [
        rule("203.0.113.10/32", Action::DISCARD, vec![]),
        rule("2001:db8::10/128", Action::DISCARD, vec![]),
    ];
    pair.speaker.apply(rules.iter().map(announce)).unwrap();
    pair.wait_rules(Family::Ipv4Flow, 1).await;
    pair.wait_rules(Family::Ipv6Flow, 1).await;
    pair.speaker.apply(rules.iter().map(withdraw)).unwrap();
    pair.wait_rules(Family::Ipv4Flow, 0).await;
    pair.wait_rules(Family::Ipv6Flow, 0).await;
    let status = pair.speaker.peer(NAME).unwrap();
    assert_eq!(status.session.unwrap().remote.is_ipv6(), address.is_ipv6());
}

/// We dial a router that demands what we do not give, or the reverse: nothing answers.
async fn stays_silent(kind: Kind, guards: (Guard, Guard)) {
    let Some(pair) = Pair::start_guarded(kind, Transport::WeDial, Peering::External, V4, guards).await else {
        return;
    };
    pair.wait(|status| matches!(&status.last_error, Some(error) if error.loss == Loss::ConnectTimeout))
        .await;
    assert!(!pair.router.is_established().await.unwrap());
}

macro_rules! protected {
    ($($name:ident = $kind:expr;)*) => {$(
        mod $name {
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn md5_we_dial() {
                carries_rules($kind, Transport::WeDial, V4, KEY).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn md5_router_dials() {
                carries_rules($kind, Transport::RouterDials, V4, KEY).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn md5_with_another_key() {
                let other = Guard { password: Some("S3cret"), ..KEY };
                stays_silent($kind, (KEY, other)).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn md5_demanded_by_the_router_alone() {
                stays_silent($kind, (Guard::default(), KEY)).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn gtsm_we_dial() {
                carries_rules($kind, Transport::WeDial, V4, NEAR).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn gtsm_router_dials() {
                carries_rules($kind, Transport::RouterDials, V4, NEAR).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn md5_and_gtsm_over_ipv6() {
                carries_rules($kind, Transport::WeDial, V6, BOTH).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn md5_and_gtsm_over_ipv6_router_dials() {
                carries_rules($kind, Transport::RouterDials, V6, BOTH).await;
            }
        }
    )*};
}

protected! {
    bird = Kind::Bird;
    frr = Kind::Frr;
}

macro_rules! over_ipv6 {
    ($($name:ident = $kind:expr;)*) => {$(
        mod $name {
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn ipv6_we_dial() {
                carries_rules($kind, Transport::WeDial, V6, Guard::default()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn ipv6_router_dials() {
                carries_rules($kind, Transport::RouterDials, V6, Guard::default()).await;
            }
        }
    )*};
}

over_ipv6! {
    gobgp = Kind::GoBgp;
    exabgp = Kind::ExaBgp;
}
