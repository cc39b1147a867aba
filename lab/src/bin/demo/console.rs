//! The console on top of the wave.

use std::io::IsTerminal as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use crate::signals::Signals;
use crate::site::Site;
use crate::wave;

/// Time between the steps of the wave when somebody watches.
const PACE: Duration = Duration::from_secs(4);

/// Time the console has to give the terminal back.
const GRACE: Duration = Duration::from_secs(5);

pub(crate) fn needs_a_terminal() -> anyhow::Result<()> {
    if std::io::stdout().is_terminal() && std::io::stdin().is_terminal() {
        Ok(())
    } else {
        bail!("the console needs a terminal; `make demo DEMO=plain` does without")
    }
}

/// The wave goes on while the console is open, and what it left stays for the person to try things on.
pub(crate) async fn shown(site: &Site, program: &Path, signals: &mut Signals) -> anyhow::Result<()> {
    println!("Opening the console; q leaves it, and everything stops then.");
    let mut console = Command::new(program)
        .args(["--api", &site.url()])
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("start the console {}", program.display()))?;
    let mut failed = None;
    let wave = wave::for_console(site, PACE);
    let mut wave = Box::pin(wave);
    let mut playing = true;
    let status = loop {
        tokio::select! {
            status = console.wait() => break status.context("wait for the console")?,
            outcome = &mut wave, if playing => {
                playing = false;
                failed = outcome.err();
            }
            why = signals.beside_the_console() => {
                close(&mut console).await?;
                bail!("{why}; everything it started is stopped");
            }
        }
    };
    if let Some(error) = failed {
        return Err(error.context("play the attack wave"));
    }
    if !status.success() {
        bail!("the console ended with {status}");
    }
    Ok(())
}

/// Killed, it would leave the terminal in raw mode; asked to end, it puts it in order first.
async fn close(console: &mut Child) -> anyhow::Result<()> {
    if let Some(pid) = console.id() {
        kill(Pid::from_raw(pid.cast_signed()), Signal::SIGTERM).context("ask the console to end")?;
        let ended = tokio::time::timeout(GRACE, console.wait()).await;
        ended
            .context("the console does not end")?
            .context("wait for the console")?;
    }
    Ok(())
}
