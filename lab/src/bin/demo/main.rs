//! `demo`: a daemon, a real router, a short attack wave; with the console on top, or told line by line (`--plain`).
//!
//! Everything runs on loopback in a temporary directory, and ends with this program, however it ends.
#![expect(clippy::print_stdout, reason = "the story is the program's output")]

mod site;
mod wave;

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use site::Site;

/// Time between the steps of the wave when somebody watches the console.
const CONSOLE_PACE: Duration = Duration::from_secs(4);

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
    let outcome = tokio::select! {
        outcome = story(&arguments) => outcome,
        outcome = interrupted(arguments.plain) => outcome,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("\nThe demo failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn story(arguments: &Arguments) -> anyhow::Result<()> {
    if arguments.plain {
        let site = Site::start(&arguments.prefixd).await?;
        wave::plain(site).await
    } else {
        if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
            bail!("the console needs a terminal; `make demo DEMO=plain` does without");
        }
        let site = Site::start(&arguments.prefixd).await?;
        with_console(site, &arguments.console).await
    }
}

/// The wave goes on while the console is open, and what it left stays for the person to try things on.
async fn with_console(site: Site, console: &Path) -> anyhow::Result<()> {
    println!("Opening the console; q leaves it, and everything stops then.");
    let mut console = tokio::process::Command::new(console)
        .args(["--api", &site.url()])
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("start the console {}", console.display()))?;
    let mut failed = None;
    let wave = wave::for_console(&site, CONSOLE_PACE);
    let mut wave = Box::pin(wave);
    let mut playing = true;
    let status = loop {
        tokio::select! {
            status = console.wait() => break status.context("wait for the console")?,
            outcome = &mut wave, if playing => {
                playing = false;
                failed = outcome.err();
            }
        }
    };
    drop(wave);
    site.stop().await?;
    if let Some(error) = failed {
        return Err(error.context("play the attack wave"));
    }
    if !status.success() {
        bail!("the console ended with {status}");
    }
    Ok(())
}

/// Ends the demo on a signal. With the console open Ctrl-C is the console's, not ours.
async fn interrupted(plain: bool) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut hangup = signal(SignalKind::hangup()).context("listen for SIGHUP")?;
    loop {
        tokio::select! {
            _ = interrupt.recv() => if plain { bail!("interrupted; everything it started is stopped") },
            _ = terminate.recv() => bail!("terminated; everything it started is stopped"),
            _ = hangup.recv() => bail!("the terminal is gone; everything it started is stopped"),
        }
    }
}
