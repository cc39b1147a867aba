//! What a rule costs in memory for each neighbour beyond the rule itself, which all of them share: the allocations of
//! speakers with one and with more neighbours, compared.
//!
//! `cargo run --release -p prefixd-bgp --example rib_memory [RULES]`; ends with an error above 200 bytes.

#![expect(clippy::print_stdout, reason = "it prints what it measures")]

use std::alloc::System;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use lab::speaker::Identity;
use prefixd_bgp::flowspec::{Action, CanonicalRule, Component, Family, NumericTerm, Rule};
use prefixd_bgp::{Change, HoldTime, NeighborConfig, Priority, Route, Speaker, SpeakerConfig, Stop, Target};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const OUR_ASN: u32 = 65010;
const BOUND: f64 = 200.0;
const NEIGHBORS: u8 = 4;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let rules: u32 = match std::env::args().nth(1) {
        Some(rules) => rules.parse().context("RULES is a number")?,
        None => 100_000,
    };
    let before = allocated();
    let shared: Vec<_> = (0..rules).map(rule).collect::<anyhow::Result<_>>()?;
    let per_rule = (allocated() - before) / f64::from(rules);
    println!("{rules} rules, {per_rule:.0} bytes each, shared by all neighbours");
    let one = measure(1, &shared).await?;
    let more = measure(NEIGHBORS, &shared).await?;
    for (state, one, more) in [
        ("waiting to be sent", one.waiting, more.waiting),
        ("on the router", one.advertised, more.advertised),
        ("to be withdrawn", one.withdrawing, more.withdrawing),
    ] {
        let bytes = (more - one) / f64::from(NEIGHBORS - 1) / f64::from(rules);
        println!("{state}: {bytes:.0} bytes for each rule and neighbour");
        ensure!(bytes <= BOUND, "more than {BOUND} bytes");
    }
    Ok(())
}

/// Allocated at three moments of the life of all rules.
struct Figures {
    waiting: f64,
    advertised: f64,
    withdrawing: f64,
}

async fn measure(neighbors: u8, rules: &[Arc<CanonicalRule>]) -> anyhow::Result<Figures> {
    let before = allocated();
    let mut configs = Vec::new();
    let mut routers = Vec::new();
    for n in 1..=neighbors {
        let address = IpAddr::V4(Ipv4Addr::new(127, 0, 0, n));
        let listener = TcpListener::bind((address, 0)).await?;
        configs.push(NeighborConfig {
            port: listener.local_addr()?.port(),
            // With a bound more is kept: who gives way to whom.
            max_rules: Some(rules.len()),
            ..NeighborConfig::new(format!("router{n}"), address, OUR_ASN)
        });
        routers.push(tokio::spawn(read_all(listener, n)));
    }
    let speaker = Speaker::start(SpeakerConfig {
        local_asn: OUR_ASN,
        router_id: Ipv4Addr::new(10, 0, 0, 1),
        listen: vec![],
        hold_time: HoldTime::from_secs(90)?,
        marker: None,
        neighbors: configs,
    })?;
    speaker.open();
    while speaker.peers().iter().any(|peer| peer.session.is_none()) {
        sleep(Duration::from_millis(10)).await;
    }
    let not_after = Instant::now() + Duration::from_secs(3600);
    for (rule, n) in rules.iter().zip(0..) {
        let route = Route {
            rule: rule.clone(),
            action: Action::DISCARD,
            priority: Priority::default(),
            // Ends come in no order.
            not_after: not_after + Duration::from_millis(scattered(n) % 3_600_000),
        };
        speaker.apply([Change::Announce {
            target: Target::All,
            route,
        }])?;
    }
    // No other task has run since: everything waits to be sent.
    let waiting = allocated() - before;
    while speaker
        .peers()
        .iter()
        .any(|peer| peer.rules.advertised < rules.len())
    {
        sleep(Duration::from_millis(10)).await;
    }
    let advertised = allocated() - before;
    for rule in rules {
        let key = rule.key().clone();
        speaker.apply([Change::Withdraw {
            target: Target::All,
            key,
        }])?;
    }
    let withdrawing = allocated() - before;
    speaker
        .shutdown(Stop::Restart { text: String::new() }, Duration::from_secs(5))
        .await;
    for router in routers {
        router.abort();
    }
    Ok(Figures {
        waiting,
        advertised,
        withdrawing,
    })
}

async fn read_all(listener: TcpListener, n: u8) -> anyhow::Result<()> {
    let (stream, _) = listener.accept().await?;
    let identity = Identity {
        asn: OUR_ASN,
        router_id: Ipv4Addr::new(10, 0, 1, n),
        hold_time_seconds: 90,
    };
    let mut session = lab::speaker::Speaker::open(stream, identity).await?;
    loop {
        session.next().await?;
    }
}

fn rule(n: u32) -> anyhow::Result<Arc<CanonicalRule>> {
    let victim = IpAddr::V4(Ipv4Addr::from(0x0A00_0000 + n));
    let rule = Rule {
        family: Family::Ipv4,
        components: vec![
            Component::DestinationPrefix(victim.into()),
            Component::Protocol(vec![NumericTerm::equal(17)]),
            Component::DestinationPort(vec![NumericTerm::equal(53)]),
        ],
    };
    Ok(Arc::new(rule.canonical()?))
}

/// A fixed permutation of sorts.
fn scattered(n: u64) -> u64 {
    n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20
}

fn allocated() -> f64 {
    let stats = ALLOCATOR.stats();
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let bytes = stats.bytes_allocated.saturating_sub(stats.bytes_deallocated) as f64;
    bytes
}
