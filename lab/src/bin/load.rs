//! `load`: one load on a daemon's REST API, and what came of it.
#![expect(clippy::print_stdout, reason = "the report is the program's output")]

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use clap::Parser;
use lab::load::{Load, Mode, Until, run};

/// Sends events to a daemon and reports rate and latency. Exits 1 when an answer had an unexpected status.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where the daemon listens.
    #[arg(long)]
    target: SocketAddr,
    /// What to send.
    #[arg(long, value_enum)]
    mode: Mode,
    /// Connections, each with one request under way.
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Requests to send.
    #[arg(long, conflicts_with = "seconds", default_value_t = 50_000)]
    count: u64,
    /// Seconds to send for, instead of a count.
    #[arg(long)]
    seconds: Option<u64>,
    /// The number of the first victim.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Distinct victims.
    #[arg(long, default_value_t = 50_000)]
    victims: u64,
    /// Makes event ids differ from those of another run; the time by default.
    #[arg(long)]
    run: Option<u64>,
    /// Report as JSON.
    #[arg(long)]
    json: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .context("a clock before 1970")?;
    let report = run(Load {
        target: arguments.target,
        mode: arguments.mode,
        connections: arguments.connections,
        until: match arguments.seconds {
            Some(seconds) => Until::Elapsed(Duration::from_secs(seconds)),
            None => Until::Requests(arguments.count),
        },
        first: arguments.first,
        victims: arguments.victims,
        run: arguments.run.unwrap_or(now.as_secs()),
    })
    .await?;
    if arguments.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!(
            "{} requests, {:.0} per second",
            report.requests, report.per_second
        );
        println!(
            "p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms",
            report.p50_ms, report.p99_ms, report.max_ms
        );
        for (status, count) in &report.statuses {
            println!("status {status}: {count}");
        }
        if let Some(unexpected) = &report.unexpected {
            println!("unexpected answer: {unexpected}");
        }
    }
    Ok(if report.unexpected.is_some() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}
