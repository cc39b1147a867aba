//! One screen that says how it is.

use crate::failure::Failure;
use crate::output::{View, sheet_of};
use crate::session::Session;
use crate::stats::{at_pop, usage};
use clap::Args;
use prefixd_api::client::{Error, Read};
use prefixd_api::resource::{HealthDetail, Peer, PeerState, Stats};
use prefixd_api::show::{MAX_CELL_CHARS, clean, count, relative};
use serde::Serialize;

/// One screen that says how it is
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl status
  prefixdctl status --exit-code --quiet || page-someone")]
pub(crate) struct StatusArgs {
    /// Exit with 20 when degraded and 21 when down
    #[arg(long)]
    exit_code: bool,
}

#[derive(Serialize)]
struct Status {
    health: HealthDetail,
    stats: Stats,
    peers: Vec<Peer>,
}

impl StatusArgs {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        session.no_rows("status")?;
        let status = match fetch(session).await {
            Ok(status) => status,
            Err(error) if self.exit_code && is_down(&error) => return Err(Failure::Down(error)),
            Err(error) => return Err(error.into()),
        };
        session.out.sheet(&status, |view| sheet(&status, view))?;
        if self.exit_code && status.health.status != "healthy" {
            return Err(Failure::Degraded(status.health.reasons.join("; ")));
        }
        Ok(())
    }
}

async fn fetch(session: &Session) -> Result<Status, Error> {
    let (health, stats, peers) = tokio::join!(
        session.client.health_detail(),
        stats(session),
        session.client.peers()
    );
    // Asked at once, judged in this order: what health says does not depend on which answer is first.
    let (health, stats, peers) = (health?, stats?, peers?);
    Ok(Status {
        health,
        stats: stats.value,
        peers: peers.value.peers,
    })
}

/// With other POPs, where the daemon knows that question.
async fn stats(session: &Session) -> Result<Read<Stats>, Error> {
    match session.client.stats_at("all").await {
        Err(Error::Problem(problem)) if problem.status == 400 => session.client.stats().await,
        answer => answer,
    }
}

/// Whether the daemon does not work, as opposed to not letting us look.
fn is_down(error: &Error) -> bool {
    match error {
        Error::Connect { .. } | Error::Timeout { .. } | Error::Protocol(_) => true,
        Error::Problem(problem) => problem.status >= 500,
        Error::Setup(_) | Error::Form(_) => false,
    }
}

fn sheet(status: &Status, view: View) -> String {
    let (health, stats) = (&status.health, &status.stats);
    let mut pairs = vec![
        (
            "prefixd",
            format!("{} at {}, version {}", health.status, health.pop, health.version),
        ),
        ("Mode", format!("{}, your role is {}", health.mode, health.role)),
        ("Up", relative(health.now.since(health.started_at))),
    ];
    for reason in &health.reasons {
        pairs.push(("Degraded", reason.clone()));
    }
    pairs.extend([
        (
            "Mitigations",
            format!("{} active, {} pending", count(stats.active), count(stats.pending)),
        ),
        ("Quota", usage(stats.quota_pop)),
    ]);
    let others = stats.pops.iter().filter(|one| !one.own);
    let others: Vec<String> = others
        .map(|one| format!("{}: {}", one.pop, at_pop(one)))
        .collect();
    if let Some(why) = &stats.elsewhere_unknown {
        pairs.push(("Other POPs", why.clone()));
    } else if !others.is_empty() {
        pairs.push(("Other POPs", others.join("; ")));
    }
    pairs.extend([
        (
            "Events",
            format!("{} in the last minute", count(stats.events_per_minute)),
        ),
        (
            "Rules",
            format!(
                "{} intended, {} announced",
                count(health.rules.intended),
                count(health.rules.announced)
            ),
        ),
        ("Store", store(health)),
        ("Queue", usage(health.engine.queue)),
        ("Neighbours", crate::health::neighbours(health)),
    ]);
    let mut text = sheet_of(&pairs);
    for peer in &status.peers {
        let error = match (&peer.last_error, peer.state) {
            _ if peer.disabled.is_some() => peer.disabled.as_ref().map_or_else(String::new, |disabled| {
                format!(" by {}: {}", disabled.disabled_by, disabled.reason)
            }),
            (Some(error), state) if state != PeerState::Established => format!(": {error}"),
            _ => String::new(),
        };
        let line = format!(
            "{}  {} for {}, {} rules{error}",
            peer.name,
            peer.state,
            relative(view.now.since(peer.since)),
            count(peer.rules_advertised)
        );
        text.push_str(&format!("  {}\n", clean(&line, MAX_CELL_CHARS)));
    }
    text
}

fn store(health: &HealthDetail) -> String {
    match health.store.failing_since {
        Some(since) => format!(
            "{} FAILING for {}, {} removals owed",
            health.store.backend,
            relative(health.now.since(since)),
            count(health.store.owed)
        ),
        None => format!("{} ok", health.store.backend),
    }
}
