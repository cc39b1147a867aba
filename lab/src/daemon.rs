//! The daemon under demonstration or measurement, as a child process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::sys::signal::Signal;
use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;
use tokio::time::Instant;

use crate::http::Client;
use crate::process::Process;

/// Time the daemon has to be ready.
const START_LIMIT: Duration = Duration::from_secs(60);

const POLL: Duration = Duration::from_millis(5);

/// The three documents of a configuration.
#[derive(Clone, Copy, Debug)]
pub struct Documents<'a> {
    /// `prefixd.yaml`.
    pub settings: &'a str,
    /// `inventory.yaml`.
    pub inventory: &'a str,
    /// `playbooks.yaml`.
    pub playbooks: &'a str,
}

impl Documents<'_> {
    /// Writes them where `--config` is to point.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, dir: &Path) -> anyhow::Result<()> {
        let files = [
            ("prefixd.yaml", self.settings),
            ("inventory.yaml", self.inventory),
            ("playbooks.yaml", self.playbooks),
        ];
        for (name, text) in files {
            let path = dir.join(name);
            std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        }
        Ok(())
    }
}

/// A running daemon; asked to end (SIGTERM) when dropped, also when this process is killed.
#[derive(Debug)]
pub struct Daemon {
    process: Process,
    http: SocketAddr,
    binary: PathBuf,
    dir: PathBuf,
}

impl Daemon {
    /// Starts `prefixd --config DIR` and waits until it says that it is ready.
    ///
    /// # Errors
    /// When it ends or is not ready in time; with its log.
    pub async fn start(binary: &Path, dir: &Path, http: SocketAddr) -> anyhow::Result<Self> {
        let mut command = Command::new(binary);
        command.arg("--config").arg(dir);
        let process = Process::spawn_ending_by(Signal::SIGTERM, "prefixd", command, dir)?;
        let mut daemon = Self {
            process,
            http,
            binary: binary.to_owned(),
            dir: dir.to_owned(),
        };
        daemon.wait_ready().await?;
        Ok(daemon)
    }

    /// A connection to its REST API.
    ///
    /// # Errors
    /// When it does not listen.
    pub async fn client(&self) -> anyhow::Result<Client> {
        Client::connect(self.http).await
    }

    /// Where its REST API is.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Asks it to end and waits for that.
    ///
    /// # Errors
    /// When it had to be killed, or ended with a failure; with its log.
    pub async fn stop(self) -> anyhow::Result<()> {
        let log = self.process.log_path().to_owned();
        let status = self.process.stop().await?;
        if !status.success() {
            bail!("prefixd ended with {status}; its log:\n{}", tail(&log));
        }
        Ok(())
    }

    /// Kills it (SIGKILL) and starts it again with the same configuration and data.
    ///
    /// # Errors
    /// As for [`Daemon::start`].
    pub async fn kill_and_start(self) -> anyhow::Result<Self> {
        let Self {
            process,
            http,
            binary,
            dir,
        } = self;
        process.signal(Signal::SIGKILL)?;
        drop(process);
        Self::start(&binary, &dir, http).await
    }

    /// Processor time it has used, user and system.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        let pid = i32::try_from(self.process.pid())?;
        let clock = clock_getcpuclockid(Pid::from_raw(pid)).context("find the daemon's processor time")?;
        Ok(clock.now().context("read the daemon's processor time")?.into())
    }

    /// Memory it has in use (VmRSS), in bytes.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn resident(&self) -> anyhow::Result<u64> {
        let path = format!("/proc/{}/status", self.process.pid());
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        let kibibytes = text
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix("kB"))
            .context("no resident memory in a status file")?;
        Ok(kibibytes.trim().parse::<u64>()? * 1024)
    }

    async fn wait_ready(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            if let Some(status) = self.process.ended()? {
                bail!(
                    "prefixd ended at its start ({status}); its log:\n{}",
                    tail(self.process.log_path())
                );
            }
            if is_ready(self.http).await {
                return Ok(());
            }
            if Instant::now() >= deadline {
                bail!(
                    "prefixd is not ready after {START_LIMIT:?}; its log:\n{}",
                    tail(self.process.log_path())
                );
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// Before it listens there is nobody to answer: an error is a no.
async fn is_ready(http: SocketAddr) -> bool {
    let ask = async {
        Client::connect(http)
            .await?
            .json("GET", "/v1/health/ready", None)
            .await
    };
    matches!(
        tokio::time::timeout(Duration::from_secs(1), ask).await,
        Ok(Ok((200, _)))
    )
}

/// The last lines of a log: what a person needs of it.
fn tail(log: &Path) -> String {
    const LINES: usize = 30;
    let text = std::fs::read_to_string(log).unwrap_or_else(|error| format!("(no log: {error})"));
    let lines = text.lines().collect::<Vec<_>>();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
