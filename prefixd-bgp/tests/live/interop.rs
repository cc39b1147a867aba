//! The matrix of docs/interop.md: every router over IPv4 and IPv6, as eBGP and iBGP, dialled, dialling and both at once, and
//! protected where it can be. Shared by the tests and by `make interop` (examples/interop.rs).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lab::routers::{Action as Shown, Component as C, Family, Kind, Match, NO_EXPORT, Op, RouterRule};
use prefixd_bgp::flowspec::{Action, BytesPerSecond, Component, NumericTerm};
use tokio::sync::Semaphore;

use crate::harness::*;

const VICTIM_V4: &str = "203.0.113.10/32";
const VICTIM_V6: &str = "2001:db8::10/128";

/// Each is one step of [`play`]; a row ends at the first that fails.
pub(crate) const COLUMNS: [&str; 5] = [
    "session, announce",
    "exact readback",
    "withdraw",
    "router restart",
    "speaker restart",
];

/// Sessions at a time: they mostly wait for the timers of the routers.
const AT_A_TIME: usize = 4;

/// One row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) kind: Kind,
    pub(crate) over: IpAddr,
    pub(crate) peering: Peering,
    pub(crate) transport: Transport,
    pub(crate) guard: Guard,
}

/// With TCP-MD5, with GTSM, with both, and with neither.
const GUARDS: [Guard; 4] = [
    Guard {
        password: None,
        ttl_security: false,
    },
    Guard {
        password: Some("s3cret"),
        ttl_security: false,
    },
    Guard {
        password: None,
        ttl_security: true,
    },
    Guard {
        password: Some("s3cret"),
        ttl_security: true,
    },
];

impl Case {
    /// Why there is no such session, as measured.
    pub(crate) fn cannot_be(&self) -> Option<&'static str> {
        match (self.kind, self.transport, self.guard.ttl_security) {
            (Kind::ExaBgp, Transport::WeDial, true) => Some(
                "not possible: ExaBGP 4.2 answers a connection with an ordinary TTL, which the speaker does not take",
            ),
            _ => None,
        }
    }
}

pub(crate) const IPV4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
pub(crate) const IPV6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// The rows of a router over some transports.
pub(crate) fn cases(kind: Kind, transports: &[IpAddr]) -> Vec<Case> {
    let mut all = Vec::new();
    for over in transports.iter().copied() {
        for transport in [Transport::WeDial, Transport::RouterDials] {
            for peering in [Peering::External, Peering::Internal] {
                all.extend(GUARDS.map(|guard| Case {
                    kind,
                    over,
                    peering,
                    transport,
                    guard,
                }));
            }
        }
        // Whoever wins, the protection of each direction has its rows above.
        all.extend([Peering::External, Peering::Internal].map(|peering| Case {
            kind,
            over,
            peering,
            transport: Transport::Both,
            guard: Guard::default(),
        }));
    }
    all
}

/// How many columns of each row hold, none of one that cannot be; the panics of the others are on standard error.
pub(crate) async fn matrix(cases: Vec<Case>) -> Vec<(Case, Option<usize>)> {
    let permits = Arc::new(Semaphore::new(AT_A_TIME));
    let mut rows = Vec::new();
    for case in cases {
        let permits = permits.clone();
        let held = Arc::new(AtomicUsize::new(0));
        let counter = held.clone();
        let task = case.cannot_be().is_none().then(|| {
            tokio::spawn(async move {
                let _permit = permits.acquire().await;
                play(case, &counter).await;
            })
        });
        rows.push((case, held, task));
    }
    let mut results = Vec::new();
    for (case, held, task) in rows {
        let Some(task) = task else {
            results.push((case, None));
            continue;
        };
        // A row that panics has held up to there.
        let _ = task.await;
        results.push((case, Some(held.load(Ordering::SeqCst))));
    }
    results
}

fn rules() -> [(Rule, Match); 2] {
    let rate = BytesPerSecond::from_bits_per_second(1_000_000).unwrap();
    [(VICTIM_V4, 53), (VICTIM_V6, 443)].map(|(victim, port)| {
        let more = vec![
            Component::Protocol(vec![NumericTerm::equal(17)]),
            Component::DestinationPort(vec![NumericTerm::equal(port)]),
        ];
        let shown = Match::to(victim.parse().unwrap())
            .with(C::Protocol, &[(Op::Eq, 17)])
            .with(C::DestinationPort, &[(Op::Eq, port)]);
        (rule(victim, Action::police(rate), more), shown)
    })
}

/// Match and action where it shows them without loss; communities where it shows them at all.
fn is_exact(held: &RouterRule, shown: &Match) -> bool {
    let communities = held.communities.is_none() || held.has_community(NO_EXPORT);
    let marker = held.large_communities.is_none() || held.has_large_community(MARKER);
    held.matches == *shown && held.actions == [Shown::rate(125_000.0)].into() && communities && marker
}

async fn play(case: Case, held: &AtomicUsize) {
    let guards = (case.guard, case.guard);
    let pair = Pair::start_guarded(case.kind, case.transport, case.peering, case.over, guards).await;
    // Whether it is there was found out before.
    let mut pair = pair.unwrap();
    let column_holds = || held.fetch_add(1, Ordering::SeqCst);
    let [(v4, shown_v4), (v6, shown_v6)] = rules();
    let both = [announce(&v4), announce(&v6)];

    pair.wait_established().await;
    pair.speaker.apply(both.clone()).unwrap();
    let held_v4 = pair.wait_rules(Family::Ipv4Flow, 1).await;
    let held_v6 = pair.wait_rules(Family::Ipv6Flow, 1).await;
    // Also where both have dialled: a connection that loses ends before it is a session.
    let status = pair.speaker.peer(NAME).unwrap();
    assert_eq!(
        (status.established_total, status.flaps),
        (1, 0),
        "{case:?}: {status:#?}"
    );
    column_holds();

    assert!(is_exact(&held_v4[0], &shown_v4), "{case:?}: {}", held_v4[0]);
    assert!(is_exact(&held_v6[0], &shown_v6), "{case:?}: {}", held_v6[0]);
    column_holds();

    pair.speaker.apply([withdraw(&v4), withdraw(&v6)]).unwrap();
    pair.wait_rules(Family::Ipv4Flow, 0).await;
    pair.wait_rules(Family::Ipv6Flow, 0).await;
    column_holds();

    // It comes back empty, and must get everything again.
    pair.speaker.apply(both).unwrap();
    pair.wait_rules(Family::Ipv6Flow, 1).await;
    pair.router.kill9().unwrap();
    pair.wait(|status| status.session.is_none()).await;
    pair.router.restart().await.unwrap();
    pair.wait_rules(Family::Ipv4Flow, 1).await;
    pair.wait_rules(Family::Ipv6Flow, 1).await;
    column_holds();

    // We go without a word and come back with other rules: nothing of the old ones stays.
    pair.kill_speaker();
    pair.wait_rules(Family::Ipv4Flow, 0).await;
    pair.restart_speaker_as_it_was(&[announce(&v4)]).await;
    let again = pair.wait_rules(Family::Ipv4Flow, 1).await;
    assert!(is_exact(&again[0], &shown_v4), "{case:?}: {}", again[0]);
    pair.wait_rules(Family::Ipv6Flow, 0).await;
    column_holds();
}
