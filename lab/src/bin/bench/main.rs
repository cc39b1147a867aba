//! `bench`: measures the figures of docs/benchmarks.md and prints them as a table.
//!
//! Daemon, router, database and load share this machine; the documentation says which it was.
#![expect(clippy::print_stdout, reason = "the figures are the program's output")]
#![expect(clippy::print_stderr, reason = "progress goes beside the figures")]

mod bare;
mod bgp;
mod history;
mod ingest;
mod list;
mod rig;
mod rules;
mod scale;
mod target;
mod update;

use std::fmt;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use target::Target;

/// Measures a release build of the daemon.
#[derive(Debug, Parser)]
struct Arguments {
    /// The daemon's program, built for release.
    #[arg(long)]
    prefixd: PathBuf,
    /// Where databases go: a directory on a real disk.
    #[arg(long, default_value = "/var/tmp")]
    directory: PathBuf,
    /// The program that measures the speaker, built for release.
    #[arg(long, default_value = "target/release/examples/speed")]
    speed: PathBuf,
    /// The program that is the bare path, built for release.
    #[arg(long, default_value = "target/release/examples/bare")]
    bare: PathBuf,
    /// Only these groups of figures.
    #[arg(long, value_enum)]
    only: Vec<Group>,
}

/// Figures that are measured together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Group {
    /// Events per second, by what they do.
    Ingest,
    /// From an event to the UPDATE at a neighbour.
    Update,
    /// 10,000 active rules.
    Rules,
    /// Lists over many rows.
    List,
    /// 100,000 active mitigations.
    Scale,
    /// Lists over 2,000,000 events; only when asked for.
    History,
    /// The speaker alone.
    Bgp,
}

/// One line of the table.
struct Figure {
    what: String,
    value: String,
    targets: Vec<Target>,
    detail: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    println!("| figure | measured | target | detail |\n|---|---|---|---|");
    let mut missed = 0;
    let mut failed = Vec::new();
    for group in Group::value_variants() {
        let asked = arguments.only.contains(group);
        if !asked && (!arguments.only.is_empty() || *group == Group::History) {
            continue;
        }
        let measured = match group {
            Group::Ingest => ingest::measure(&arguments).await,
            Group::Update => update::measure(&arguments).await,
            Group::Rules => rules::measure(&arguments).await,
            Group::List => list::measure(&arguments).await,
            Group::Scale => scale::measure(&arguments).await,
            Group::History => history::measure(&arguments).await,
            // A program of its own, which prints its own rows.
            Group::Bgp => bgp::measure(&arguments).map(|()| Vec::new()),
        };
        match measured {
            Ok(figures) => {
                for figure in figures {
                    missed += figure.targets.iter().filter(|target| !target.is_met()).count();
                    println!("{figure}");
                }
            }
            // The others have figures all the same.
            Err(error) => failed.push(error.context(format!("{group:?} has no figures"))),
        }
    }
    // The speaker's program counts its own.
    eprintln!("{missed} targets missed");
    for error in &failed {
        eprintln!("{error:#}");
    }
    anyhow::ensure!(failed.is_empty(), "{} groups failed", failed.len());
    Ok(())
}

/// A row of the table.
impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            what,
            value,
            targets,
            detail,
        } = self;
        let targets = targets
            .iter()
            .map(Target::to_string)
            .collect::<Vec<_>>()
            .join("; ");
        write!(f, "| {what} | {value} | {targets} | {detail} |")
    }
}
