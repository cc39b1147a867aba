//! The server's files, command line and life.

use std::fs::{File, TryLockError};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::unistd::{User, chown, getppid, getuid};
use tokio::time::Instant;

use super::tool;
use crate::process::{log_of, spawn_unwatched};

/// Time the server has to start, and a test to wait for another that starts it.
const START_LIMIT: Duration = Duration::from_secs(60);

const POLL: Duration = Duration::from_millis(20);

/// The server's name in messages and in its log's.
pub(super) const NAME: &str = "postgres";

/// The superuser of every cluster, and the user the server runs as when we are root.
const USER: &str = "postgres";

/// A cluster's place and shape.
#[derive(Clone, Debug)]
pub(super) struct Server {
    /// Holds the data, the Unix socket and the log.
    pub(super) directory: PathBuf,
    pub(super) tcp: Option<SocketAddr>,
    pub(super) durable: bool,
}

impl Server {
    /// Creates the cluster's files.
    pub(super) async fn create(&self) -> anyhow::Result<()> {
        if let Some(user) = other_user()? {
            chown(&self.directory, Some(user.uid), Some(user.gid))
                .context("give the cluster's directory away")?;
        }
        let mut initdb = as_server(&tool("initdb").find()?)?;
        initdb
            .args([
                "--no-sync",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--locale=C",
                "-U",
                USER,
                "-D",
            ])
            .arg(self.data());
        run(initdb).await.context("create a PostgreSQL cluster")?;
        Ok(())
    }

    /// The server in the foreground.
    pub(super) fn command(&self) -> anyhow::Result<Command> {
        let mut command = as_server(&tool("postgres").find()?)?;
        command.arg("-D").arg(self.data()).arg("-k").arg(&self.directory);
        let (host, port) = match self.tcp {
            Some(tcp) => (tcp.ip().to_string(), tcp.port()),
            None => (String::new(), DEFAULT_PORT),
        };
        command
            .arg("-c")
            .arg(format!("listen_addresses={host}"))
            .arg("-p")
            .arg(port.to_string());
        let settings: &[&str] = if self.durable {
            &[
                "fsync=on",
                "synchronous_commit=on",
                "full_page_writes=on",
                "max_wal_size=4GB",
                "min_wal_size=3GB",
                "shared_buffers=128MB",
            ]
        } else {
            &[
                "fsync=off",
                "synchronous_commit=off",
                "full_page_writes=off",
                "max_connections=300",
                "max_wal_size=256MB",
                "shared_buffers=64MB",
            ]
        };
        for setting in settings.iter().chain(&["jit=off"]) {
            command.arg("-c").arg(setting);
        }
        Ok(command)
    }

    /// Waits until the server answers; `ended` looks whether it is gone instead.
    pub(super) async fn wait_ready(
        &self,
        mut ended: impl FnMut() -> anyhow::Result<Option<ExitStatus>>,
    ) -> anyhow::Result<()> {
        let log = || std::fs::read_to_string(log_of(NAME, &self.directory)).unwrap_or_default();
        let deadline = Instant::now() + START_LIMIT;
        loop {
            if let Some(status) = ended()? {
                bail!("PostgreSQL ended at its start ({status}); its log:\n{}", log());
            }
            match self.sql("SELECT 1").await {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() >= deadline => {
                    return Err(error.context(format!("PostgreSQL does not answer; its log:\n{}", log())));
                }
                Err(_) => tokio::time::sleep(POLL).await,
            }
        }
    }

    pub(super) async fn sql(&self, sql: &str) -> anyhow::Result<String> {
        let mut psql = Command::new(tool("psql").find()?);
        psql.args([
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-U",
            USER,
            "-d",
            USER,
            "-h",
        ])
        .arg(&self.directory);
        psql.arg("-p").arg(self.port().to_string()).arg("-c").arg(sql);
        psql.env("PGCONNECT_TIMEOUT", "10");
        run(psql).await.with_context(|| format!("run {sql:?}"))
    }

    pub(super) fn url(&self, database: &str) -> String {
        match self.tcp {
            Some(tcp) => format!("postgres://{USER}@{tcp}/{database}"),
            None => format!(
                "postgres://{USER}@localhost/{database}?host={}",
                self.directory.display()
            ),
        }
    }

    fn port(&self) -> u16 {
        self.tcp.map_or(DEFAULT_PORT, |tcp| tcp.port())
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }
}

/// The port's number is part of the Unix socket's name.
const DEFAULT_PORT: u16 = 5432;

/// The run's cluster: the one that runs, or a new one with a watcher that ends it with the run.
pub(super) async fn shared() -> anyhow::Result<Server> {
    let (owner, run) = match std::env::var("NEXTEST_RUN_ID") {
        Ok(run) => (getppid().as_raw().cast_unsigned(), run),
        Err(_) => (std::process::id(), std::process::id().to_string()),
    };
    let directory = memory().join(format!("lab-pg-{}-{run}", getuid()));
    std::fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
    let _lock = lock(&directory.join("start.lock")).await?;
    let server = Server {
        directory,
        tcp: None,
        durable: false,
    };
    let ready = server.directory.join("ready");
    if !ready.exists() {
        // A start that failed left its files behind.
        if server.data().exists() {
            std::fs::remove_dir_all(server.data()).context("remove a cluster that did not start")?;
        }
        server.create().await?;
        let mut child = spawn_unwatched(NAME, server.command()?, &server.directory)?;
        watch(owner, child.id(), &server.directory)?;
        server
            .wait_ready(|| child.try_wait().context("look at PostgreSQL"))
            .await?;
        File::create(&ready).context("note that the cluster runs")?;
    }
    Ok(server)
}

/// Starts a shell that waits for the owner's end and then ends the server at once.
fn watch(owner: u32, server: u32, directory: &Path) -> anyhow::Result<()> {
    let script = r#"trap '' INT TERM HUP; tail --pid="$1" -s 0.5 -f /dev/null; kill -QUIT "$2"
        tail --pid="$2" -s 0.1 -f /dev/null; rm -rf -- "$3""#;
    Command::new("/bin/sh")
        .args(["-c", script, "watcher", &owner.to_string(), &server.to_string()])
        .arg(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .context("start the watcher of PostgreSQL")?;
    Ok(())
}

/// Takes a lock between processes; it is given back when the file is dropped.
pub(super) async fn lock(path: &Path) -> anyhow::Result<File> {
    let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
    let deadline = Instant::now() + START_LIMIT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => tokio::time::sleep(POLL).await,
            Err(error) => return Err(error).with_context(|| format!("lock {}", path.display())),
        }
    }
}

/// A directory in memory, or the one for temporary files.
pub(super) fn memory() -> PathBuf {
    let shm = Path::new("/dev/shm");
    if shm.is_dir() {
        shm.to_owned()
    } else {
        std::env::temp_dir()
    }
}

/// The user the server runs as when it cannot be ours.
fn other_user() -> anyhow::Result<Option<User>> {
    if !getuid().is_root() {
        return Ok(None);
    }
    let user = User::from_name(USER).context("look up the user postgres")?;
    user.map(Some)
        .context("there is no user postgres: apt-get install postgresql (or: make setup)")
}

fn as_server(program: &Path) -> anyhow::Result<Command> {
    if other_user()?.is_none() {
        return Ok(Command::new(program));
    }
    let mut command = Command::new("setpriv");
    command
        .args([
            format!("--reuid={USER}"),
            format!("--regid={USER}"),
            "--init-groups".to_owned(),
        ])
        .arg(program);
    // The own directory may be closed to that user.
    command.current_dir("/");
    Ok(command)
}

async fn run(command: Command) -> anyhow::Result<String> {
    let name = command.get_program().display().to_string();
    let mut command = tokio::process::Command::from(command);
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(START_LIMIT, output).await;
    let output = output
        .with_context(|| format!("{name} does not end"))?
        .with_context(|| format!("run {name}"))?;
    if !output.status.success() {
        bail!(
            "{name} failed ({}): {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
