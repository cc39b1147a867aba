//! Throw-away PostgreSQL clusters from Debian's packages.
//!
//! [`Postgres::shared`] is one cluster per test run, for ordinary tests: each takes a database of its own. The first
//! test that asks starts it under a file lock, and a watcher stops and removes it when the run ends: with the nextest
//! process when nextest runs the tests (it starts one process per test), else with the own process.
//! [`Postgres::start`] is a cluster for one test alone, which may stop, freeze or kill it.
//!
//! The server refuses to run as root; as root it runs as the user `postgres` of Debian's package.

mod server;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, bail};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::debian::Tool;
use crate::net;
use crate::process::Process;
use server::Server;

const SERVER: Tool = tool("postgres");

const fn tool(program: &'static str) -> Tool {
    Tool {
        name: "postgresql",
        program,
        package: "postgresql",
    }
}

/// What to start.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Full durability on a real disk, as in production; otherwise the fastest, in memory.
    pub durable: bool,
    /// Listens on a loopback address as well; otherwise only on a Unix socket.
    pub tcp: bool,
    /// Where the cluster's files go; by default memory, or `/var/tmp` when `durable`.
    pub directory: Option<PathBuf>,
}

/// Whether tests that need PostgreSQL can run: see [`Tool::available`].
///
/// # Errors
/// When it is missing and that is not allowed; the error names the Debian package.
pub fn available() -> anyhow::Result<bool> {
    SERVER.available()
}

/// A running cluster.
#[derive(Debug)]
pub struct Postgres {
    server: Server,
    // Before the directory: the process must be gone when its directory is removed.
    own: Option<Own>,
}

/// What a cluster that is not shared has to itself.
#[derive(Debug)]
struct Own {
    process: Option<Process>,
    _directory: TempDir,
}

impl Postgres {
    /// The cluster of this test run; started when it is not running yet.
    ///
    /// # Errors
    /// When PostgreSQL is not installed (the error names the package) or does not start; with its log.
    pub async fn shared() -> anyhow::Result<Self> {
        Ok(Self {
            server: server::shared().await?,
            own: None,
        })
    }

    /// A cluster of its own, stopped and removed when dropped, also when this process is killed.
    ///
    /// # Errors
    /// As for [`Postgres::shared`].
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        let base = match &options.directory {
            Some(directory) => directory.clone(),
            None if options.durable => disk(),
            None => server::memory(),
        };
        let directory = tempfile::Builder::new()
            .prefix("lab-pg-")
            .tempdir_in(base)
            .context("create a cluster's directory")?;
        let tcp = match options.tcp {
            true => {
                let address = net::own_loopback().into();
                Some(SocketAddr::new(address, net::free_port(address)?))
            }
            false => None,
        };
        let server = Server {
            directory: directory.path().to_owned(),
            tcp,
            durable: options.durable,
        };
        server.create().await?;
        let process = launch(&server).await?;
        Ok(Self {
            server,
            own: Some(Own {
                process: Some(process),
                _directory: directory,
            }),
        })
    }

    /// Creates an empty database of its own and answers its connection URL (over TCP when the cluster listens there).
    ///
    /// # Errors
    /// When the server does not.
    pub async fn database(&self) -> anyhow::Result<String> {
        self.clone_of("template0").await
    }

    /// Creates a database that is a copy of the template `name`, and answers its connection URL. The first who asks
    /// for a template fills it: `prepare` gets the URL of the empty template. Nothing may stay connected to it.
    ///
    /// # Errors
    /// When the server does not, or `prepare` fails; then the next who asks tries again.
    pub async fn database_like<F>(
        &self,
        name: &str,
        prepare: impl FnOnce(String) -> F,
    ) -> anyhow::Result<String>
    where
        F: Future<Output = anyhow::Result<()>>,
    {
        if !name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        {
            bail!("the name of a template is lower-case letters, digits and underscores: {name:?}");
        }
        let lock = server::lock(&self.server.directory.join("templates.lock")).await?;
        let known = self
            .server
            .sql(&format!("SELECT 1 FROM pg_database WHERE datname = '{name}'"))
            .await?;
        if known.trim().is_empty() {
            let fresh = format!("{name}_{}", unique());
            self.server
                .sql(&format!(
                    "CREATE DATABASE {fresh} TEMPLATE template0 STRATEGY file_copy"
                ))
                .await?;
            prepare(self.server.url(&fresh))
                .await
                .with_context(|| format!("prepare the template {name}"))?;
            self.server
                .sql(&format!("ALTER DATABASE {fresh} RENAME TO {name}"))
                .await?;
        }
        drop(lock);
        self.clone_of(name).await
    }

    /// Where it listens for TCP, when it was started so. A [`crate::proxy::Proxy`] may stand in front.
    pub fn tcp(&self) -> Option<SocketAddr> {
        self.server.tcp
    }

    /// Runs SQL in the database `postgres` and answers its rows, columns separated by `|`.
    ///
    /// # Errors
    /// When the server refuses it.
    pub async fn sql(&self, sql: &str) -> anyhow::Result<String> {
        self.server.sql(sql).await
    }

    /// Ends the server as a crash would (SIGQUIT: no checkpoint, clients are cut). It can be started again.
    ///
    /// # Errors
    /// When it is shared or not running.
    pub async fn crash(&mut self) -> anyhow::Result<()> {
        self.take_process()?.stop_by(Signal::SIGQUIT).await?;
        Ok(())
    }

    /// Ends the server the ordinary way (SIGINT: clients are cut, a checkpoint is made).
    ///
    /// # Errors
    /// When it is shared or not running.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.take_process()?.stop_by(Signal::SIGINT).await?;
        Ok(())
    }

    /// Starts the server again after [`Postgres::crash`] or [`Postgres::stop`], with its data and its addresses.
    ///
    /// # Errors
    /// When it is shared or does not start.
    pub async fn start_again(&mut self) -> anyhow::Result<()> {
        let own = self
            .own
            .as_mut()
            .context("a shared cluster is not one test's to start")?;
        own.process = Some(launch(&self.server).await?);
        Ok(())
    }

    /// Sends a signal to the postmaster; SIGSTOP makes new connections hang.
    ///
    /// # Errors
    /// When it is shared or not running.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let own = self
            .own
            .as_ref()
            .context("a shared cluster is not one test's to signal")?;
        own.process
            .as_ref()
            .context("PostgreSQL is not running")?
            .signal(signal)
    }

    fn take_process(&mut self) -> anyhow::Result<Process> {
        let own = self
            .own
            .as_mut()
            .context("a shared cluster is not one test's to stop")?;
        own.process.take().context("PostgreSQL is not running")
    }

    async fn clone_of(&self, template: &str) -> anyhow::Result<String> {
        let name = format!("test_{}", unique());
        // Copying files beats WAL-logging every page of the template, and needs no checkpoint of a quiet template.
        self.server
            .sql(&format!(
                "CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy"
            ))
            .await?;
        Ok(self.server.url(&name))
    }
}

/// `/tmp` is in memory on some machines; `/var/tmp` is meant to last.
fn disk() -> PathBuf {
    let lasting = Path::new("/var/tmp");
    if lasting.is_dir() {
        lasting.to_owned()
    } else {
        std::env::temp_dir()
    }
}

async fn launch(server: &Server) -> anyhow::Result<Process> {
    let mut process = Process::spawn_ending_by(
        Signal::SIGQUIT,
        server::NAME,
        server.command()?,
        &server.directory,
    )?;
    server.wait_ready(|| process.ended()).await?;
    Ok(process)
}

/// Unique on the machine: several processes share a cluster.
fn unique() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}
