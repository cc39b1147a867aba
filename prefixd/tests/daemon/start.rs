//! The program itself: what it refuses before it starts, what it tells systemd, and what it waits for.

use crate::support::{Backend, Daemon, PATIENCE, Setup};
use anyhow::Context;
use lab::postgres::{Options, Postgres};
use lab::proxy::Proxy;
use nix::sys::signal::Signal;
use prefixd_api::client::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tokio::net::UnixDatagram;

/// Runs `prefixd` with arguments to its end.
fn prefixd(arguments: &[&str], config: &Path) -> anyhow::Result<Output> {
    Ok(Command::new(env!("CARGO_BIN_EXE_prefixd"))
        .args(arguments)
        .arg("--config")
        .arg(config)
        .env_remove("PREFIXD_LOG")
        .output()?)
}

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../etc")
}

#[test]
fn a_malformed_document_is_refused_with_its_place_and_code_2() -> anyhow::Result<()> {
    for (file, from, to, place) in [
        (
            "prefixd.yaml",
            "mode: enforced",
            "mode: enforcd",
            "prefixd.yaml:2:7: ",
        ),
        (
            "inventory.yaml",
            "link_bps: 10000000000",
            "link_bps: plenty",
            "inventory.yaml:5:15: ",
        ),
        (
            "playbooks.yaml",
            "action: police",
            "action: polise",
            "playbooks.yaml:4:23: ",
        ),
    ] {
        let daemon = Daemon::configured(Setup::default(), &[])?;
        daemon.edit(file, from, to)?;
        for arguments in [&["--check"][..], &[]] {
            let refused = prefixd(arguments, daemon.dir.path())?;
            let told = String::from_utf8_lossy(&refused.stderr);
            assert_eq!(refused.status.code(), Some(2), "{arguments:?}: {told}");
            assert!(told.contains(place), "{arguments:?}: no {place} in {told}");
            assert!(refused.stdout.is_empty());
        }
        let database = daemon.dir.path().join("prefixd.db");
        assert!(!database.exists(), "a refused start leaves nothing behind");
    }
    Ok(())
}

#[test]
fn the_samples_pass_the_check_and_nothing_is_started() -> anyhow::Result<()> {
    let checked = prefixd(&["--check"], &samples())?;
    let told = String::from_utf8_lossy(&checked.stderr);
    assert_eq!(checked.status.code(), Some(0), "{told}");
    assert_eq!((told.as_ref(), checked.stdout.len()), ("", 0));
    Ok(())
}

/// A warning is for a person to read: nothing fails over it.
#[test]
fn the_check_says_what_it_doubts_and_passes() -> anyhow::Result<()> {
    let daemon = Daemon::configured(Setup::default(), &[])?;
    let doubted = || -> anyhow::Result<Vec<String>> {
        let checked = prefixd(&["--check"], daemon.dir.path())?;
        let told = String::from_utf8(checked.stderr)?;
        assert_eq!(checked.status.code(), Some(0), "{told}");
        assert!(checked.stdout.is_empty());
        Ok(told.lines().map(str::to_owned).collect())
    };
    let usual = doubted()?;
    daemon.edit(
        "playbooks.yaml",
        "match: { vector: udp_flood }",
        "match: { vector: udp_flood, customer_id: amce }",
    )?;
    let told = doubted()?;
    let new: Vec<_> = told.iter().filter(|line| !usual.contains(line)).collect();
    let [line] = &*new else {
        anyhow::bail!("one warning more: {told:#?}")
    };
    assert!(
        line.starts_with("warning: playbooks.yaml:3:") && line.contains("\"amce\" is no customer"),
        "{line}"
    );
    Ok(())
}

#[tokio::test]
async fn the_log_is_written_as_configured() -> anyhow::Result<()> {
    for (format, is_json) in [("json", true), ("text", false)] {
        let mut daemon = Daemon::configured(Setup::default(), &[])?;
        daemon.edit(
            "prefixd.yaml",
            "log_format: text",
            &format!("log_format: {format}"),
        )?;
        daemon.boot().await?;
        let log = daemon.log();
        let line = log
            .lines()
            .find(|line| line.contains("HTTP listens"))
            .context("it says so")?;
        let read: Option<serde_json::Value> = serde_json::from_str(line).ok();
        assert_eq!(read.is_some(), is_json, "{line}");
        if let Some(read) = read {
            assert_eq!(
                (&read["level"], &read["message"]),
                (&"INFO".into(), &"HTTP listens".into())
            );
        }
        daemon.stop().await?;
    }
    Ok(())
}

#[test]
fn a_directory_without_a_configuration_is_refused_with_its_name() -> anyhow::Result<()> {
    let empty = tempfile::tempdir()?;
    let refused = prefixd(&[], empty.path())?;
    let told = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{told}");
    assert!(
        told.contains("prefixd.yaml") && told.contains(&empty.path().display().to_string()),
        "{told}"
    );
    Ok(())
}

/// The other end of `NOTIFY_SOCKET`.
struct Systemd(UnixDatagram);

impl Systemd {
    fn watching(daemon: &mut Daemon) -> anyhow::Result<Self> {
        let path = daemon.dir.path().join("notify");
        let socket = UnixDatagram::bind(&path)?;
        daemon.environment.push(("NOTIFY_SOCKET", path.into_os_string()));
        Ok(Self(socket))
    }

    /// The next line that begins so; in `before` what was said until then.
    async fn hears(&self, start: &str, before: &mut Vec<String>) -> anyhow::Result<String> {
        let mut bytes = [0; 4096];
        loop {
            let length = tokio::time::timeout(PATIENCE, self.0.recv(&mut bytes))
                .await
                .with_context(|| format!("no {start} after {before:?}"))??;
            let text = std::str::from_utf8(&bytes[..length])?;
            let mut found = None;
            for line in text.lines() {
                if line.starts_with(start) {
                    found = Some(line.to_owned());
                } else {
                    before.push(line.to_owned());
                }
            }
            if let Some(line) = found {
                return Ok(line);
            }
        }
    }
}

fn began(lines: &[String], start: &str) -> bool {
    lines.iter().any(|line| line.starts_with(start))
}

#[tokio::test]
async fn systemd_hears_of_start_life_reload_and_stop() -> anyhow::Result<()> {
    let mut daemon = Daemon::configured(Setup::default(), &[])?;
    let systemd = Systemd::watching(&mut daemon)?;
    daemon.spawn()?;

    let mut starting = Vec::new();
    systemd.hears("READY=1", &mut starting).await?;
    assert!(began(&starting, "EXTEND_TIMEOUT_USEC="), "{starting:?}");
    assert!(
        began(&starting, "STATUS=POP test1, mode enforced"),
        "{starting:?}"
    );
    daemon.client.health_detail().await?;
    systemd.hears("WATCHDOG=1", &mut Vec::new()).await?;

    daemon.signal(Signal::SIGHUP)?;
    let mut running = Vec::new();
    systemd.hears("RELOADING=1", &mut running).await?;
    assert!(!began(&running, "READY=1"), "{running:?}");
    let mut reloading = Vec::new();
    systemd.hears("READY=1", &mut reloading).await?;

    daemon.signal(Signal::SIGTERM)?;
    let mut living = Vec::new();
    systemd.hears("STOPPING=1", &mut living).await?;
    for lines in [running, reloading, living] {
        assert!(
            lines.iter().all(|line| line == "WATCHDOG=1"),
            "the extension ends with the start: {lines:?}"
        );
    }
    Ok(())
}

/// After a power cut the machine of the database comes later.
#[tokio::test]
async fn a_database_that_comes_late_is_waited_for() -> anyhow::Result<()> {
    if !Backend::Postgres.available()? {
        return Ok(());
    }
    let options = Options {
        tcp: true,
        ..Options::default()
    };
    let server = Postgres::start(options).await?;
    let behind = server.tcp().context("it listens")?;
    let url = server.database().await?;
    let localhost = Ipv4Addr::LOCALHOST.into();
    let closed = SocketAddr::new(localhost, lab::net::free_port(localhost)?);
    let mut daemon = Daemon::configured(
        Setup {
            database: Some(url.replace(&behind.to_string(), &closed.to_string())),
            ..Setup::default()
        },
        &[],
    )?;
    let systemd = Systemd::watching(&mut daemon)?;
    daemon.spawn()?;

    let mut waiting = Vec::new();
    for _ in 0..2 {
        let status = systemd
            .hears("STATUS=waits for the database: ", &mut waiting)
            .await?;
        assert!(status.contains("refused"), "{status}");
    }
    assert!(daemon.lives()?, "{}", daemon.log());
    assert!(began(&waiting, "EXTEND_TIMEOUT_USEC="), "{waiting:?}");
    let log = daemon.log();
    assert_eq!(
        log.matches("waits for the database").count(),
        1,
        "once a minute: {log}"
    );

    // Nobody is kept waiting, and nothing that was said meanwhile is carried out when it is of yesterday.
    let refused = daemon.ban("203.0.113.9", 27015).await;
    assert!(matches!(refused, Err(Error::Connect { .. })), "{refused:?}");

    let proxy = Proxy::start_at(closed, behind).await?;
    systemd.hears("READY=1", &mut waiting).await?;
    assert!(!began(&waiting, "READY=1"));
    assert!(daemon.live().await?.is_empty());
    daemon.ban("203.0.113.10", 27015).await?;
    daemon.stop().await?;
    drop(proxy);
    Ok(())
}

/// No waiting mends this.
#[tokio::test]
async fn a_database_that_does_not_exist_ends_the_start() -> anyhow::Result<()> {
    if !Backend::Postgres.available()? {
        return Ok(());
    }
    let url = Postgres::shared().await?.database().await?;
    let mut daemon = Daemon::configured(Setup::default(), &[])?;
    let (path, options) = url.split_once('?').unwrap_or((&url, ""));
    let (server, _) = path.rsplit_once('/').context("a URL names its database")?;
    let nowhere = format!("{server}/no_such_database?{options}");
    daemon.edit("prefixd.yaml", "sqlite:prefixd.db", &nowhere)?;
    let status = daemon.spawn()?.wait(PATIENCE).await?.context("it runs")?;
    assert_eq!(status.code(), Some(1));
    let log = daemon.log();
    assert!(
        log.contains("the store cannot be opened") && log.contains("no_such_database"),
        "{log}"
    );
    Ok(())
}
