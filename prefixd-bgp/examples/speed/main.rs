//! `make bench`, group `bgp`: what the speaker costs, beside a socket that writes the same bytes, and what a slow or stopped
//! neighbour costs the others. Prints rows of docs/benchmarks.md.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the figures are the program's output"
)]

mod memory;
mod peer;
mod slow;
mod table;

use std::alloc::System;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use prefixd_bgp::flowspec::{Action, Component, Family, NumericTerm, Rule};
use prefixd_bgp::{Change, HoldTime, NeighborConfig, Priority, Route, Speaker, SpeakerConfig, Target};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tokio::time::Instant;

/// Counts what is allocated.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const ASN: u32 = 65010;
/// Rules of a full table.
const RULES: u32 = 100_000;
/// Far above what any step takes.
const LIMIT: Duration = Duration::from_secs(120);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    memory::measure().await?;
    slow::measure().await?;
    table::measure().await
}

/// Bytes in use.
fn allocated() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated.saturating_sub(stats.bytes_deallocated)
}

/// A line of the table of `bench`: with the target, and whether it was missed.
fn row(what: &str, value: &str, (target, is_met): (&str, bool), detail: &str) {
    let missed = if is_met { "" } else { ": **missed**" };
    println!("| {what} | {value} | {target}{missed} | {detail} |");
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

/// The middle of some times.
fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn config(neighbors: Vec<NeighborConfig>) -> anyhow::Result<SpeakerConfig> {
    Ok(SpeakerConfig {
        local_asn: ASN,
        router_id: Ipv4Addr::new(10, 255, 0, 1),
        listen: vec![],
        hold_time: HoldTime::from_secs(90)?,
        marker: Some("65010:8955:1".parse()?),
        neighbors,
    })
}

/// Rules with a destination, a protocol and a port, 12 bytes of NLRI each, all with one action.
fn routes(count: u32) -> anyhow::Result<Vec<Route>> {
    let not_after = Instant::now() + Duration::from_secs(3600);
    (0..count)
        .map(|n| {
            let victim = Ipv4Addr::from(0x0A00_0000 + n);
            let rule = Rule {
                family: Family::Ipv4,
                components: vec![
                    Component::DestinationPrefix(ipnet::IpNet::new(victim.into(), 32)?),
                    Component::Protocol(vec![NumericTerm::equal(17)]),
                    Component::DestinationPort(vec![NumericTerm::equal(53)]),
                ],
            };
            Ok(Route {
                rule: Arc::new(rule.canonical()?),
                action: Action::DISCARD,
                priority: Priority::default(),
                not_after,
            })
        })
        .collect()
}

fn announce(route: &Route) -> Change {
    Change::Announce {
        target: Target::All,
        route: route.clone(),
    }
}

fn withdraw(route: &Route) -> Change {
    Change::Withdraw {
        target: Target::All,
        key: route.rule.key().clone(),
    }
}

/// Waits until the speaker sees it, and says how long that took.
async fn until(speaker: &Speaker, what: &str, seen: impl Fn(&Speaker) -> bool) -> anyhow::Result<Duration> {
    let begin = Instant::now();
    while !seen(speaker) {
        anyhow::ensure!(begin.elapsed() < LIMIT, "never happened: {what}");
        tokio::time::sleep(Duration::from_micros(100)).await;
    }
    Ok(begin.elapsed())
}

async fn established(speaker: &Speaker, name: &str) -> anyhow::Result<()> {
    until(speaker, "a session", |speaker| speaker.is_established(name)).await?;
    Ok(())
}

/// Everything a neighbour should hold is written.
fn is_settled(speaker: &Speaker, name: &str) -> bool {
    speaker.counts(name).is_some_and(|counts| counts.dirty == 0)
}

fn key(route: &Route) -> &prefixd_bgp::flowspec::NlriKey {
    route.rule.key()
}

fn first(routes: &[Route]) -> anyhow::Result<&Route> {
    routes.first().context("no rules")
}
