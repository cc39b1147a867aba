//! `demo`: a daemon, a real router, a short attack wave; with the console on top, or told line by line (`--plain`).
//!
//! Everything runs on loopback in a temporary directory, and ends with this program, however it ends.
#![expect(clippy::print_stdout, reason = "the story is the program's output")]

mod console;
mod signals;
mod site;
mod wave;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use signals::Signals;
use site::Site;

/// Shows prefixd at work: detectors report attacks, a real router gets FlowSpec rules and loses them again.
#[derive(Debug, Parser)]
struct Arguments {
    /// The daemon's program.
    #[arg(long)]
    prefixd: PathBuf,
    /// The console's program.
    #[arg(long)]
    console: PathBuf,
    /// Tell the story line by line, check the router's table at every step, and open no console.
    #[arg(long)]
    plain: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match story(&arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("\nThe demo failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn story(arguments: &Arguments) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    if arguments.plain {
        let plain = async { wave::plain(Site::start(&arguments.prefixd).await?).await };
        return signals.unless(plain).await;
    }
    console::needs_a_terminal()?;
    let site = signals.unless(Site::start(&arguments.prefixd)).await?;
    let shown = console::shown(&site, &arguments.console, &mut signals).await;
    // Also after a failure: the daemon withdraws its rules before the router ends.
    let stopped = signals.unless(site.stop()).await;
    shown.and(stopped)
}
