//! Rules that stay on the routers over a restart, and those that must not.

use crate::support::{Daemon, PATIENCE, Setup};
use anyhow::Context;
use lab::routers::{Family, Kind, Router, RouterConfig, RouterRule};
use nix::sys::signal::Signal;
use std::time::Duration;
use tokio::time::Instant;

/// A flood's rule and its companion for fragments.
const RULES: usize = 2;

/// A daemon with the rules of one victim on a router that agreed to keep them for so long. There is none where the run
/// allows the router to be missing.
struct Site {
    router: Router,
    daemon: Daemon,
}

impl Site {
    async fn start(restart_time: u16, preserve: bool) -> anyhow::Result<Option<Self>> {
        Self::with(Kind::Bird, 30, restart_time, preserve).await
    }

    async fn with(
        kind: Kind,
        hold_time: u16,
        restart_time: u16,
        preserve: bool,
    ) -> anyhow::Result<Option<Self>> {
        if !kind.available()? {
            return Ok(None);
        }
        let mut config = RouterConfig::new(65001, 65010);
        config.graceful_restart = true;
        let router = Router::start(kind, config).await?;
        let mut daemon = Daemon::configured(Setup::default(), &[&router])?;
        daemon.edit(
            "prefixd.yaml",
            "profile: bird",
            "profile: bird, graceful_restart: true",
        )?;
        daemon.edit(
            "prefixd.yaml",
            "hold_time_seconds: 30",
            &format!("hold_time_seconds: {hold_time}\n  restart_time_seconds: {restart_time}"),
        )?;
        daemon.edit(
            "prefixd.yaml",
            "escalation:",
            &format!("shutdown: {{ preserve_announcements: {preserve} }}\nescalation:"),
        )?;
        daemon.boot().await?;
        daemon.wait_established(1).await?;
        daemon.ban("203.0.113.10", 27015).await?;
        let site = Self { router, daemon };
        site.wait_rules(RULES).await?;
        Ok(Some(site))
    }

    async fn wait_rules(&self, count: usize) -> anyhow::Result<()> {
        let wanted = |rules: &[RouterRule]| rules.len() == count;
        self.router.wait_rules(Family::Ipv4Flow, wanted, PATIENCE).await?;
        Ok(())
    }

    /// The daemon is gone, and its rules are there.
    async fn holds_them_alone(&self) -> anyhow::Result<()> {
        self.router.wait_down(PATIENCE).await?;
        assert_eq!(self.router.count(Family::Ipv4Flow).await?, RULES);
        Ok(())
    }

    /// The next daemon takes the rules over: they are there at every look until all was sent.
    async fn boots_without_a_gap(&mut self) -> anyhow::Result<()> {
        self.daemon.spawn()?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert_eq!(self.router.count(Family::Ipv4Flow).await?, RULES, "a gap");
            let peers = self.daemon.client.peers().await.map(|read| read.value.peers);
            if peers
                .is_ok_and(|peers| peers[0].rules_advertised == RULES as u64 && peers[0].rules_queued == 0)
            {
                break;
            }
            anyhow::ensure!(Instant::now() < deadline, "{}", self.daemon.log());
        }
        assert_eq!(self.router.count(Family::Ipv4Flow).await?, RULES);
        assert_eq!(self.daemon.live().await?.len(), 1);
        Ok(())
    }
}

#[tokio::test]
async fn a_killed_daemon_leaves_its_rules_to_a_router_that_keeps_them() -> anyhow::Result<()> {
    let Some(mut site) = Site::start(60, false).await? else {
        return Ok(());
    };
    let peers = site.daemon.client.peers().await?.value.peers;
    let on_loss = peers[0].on_loss.as_ref().context("it has a session")?;
    assert_eq!(on_loss.keeps_seconds, 60);
    assert!(on_loss.because.contains("measured to keep"), "{on_loss:?}");
    site.daemon.kill().await?;
    site.holds_them_alone().await?;
    site.boots_without_a_gap().await
}

#[tokio::test]
async fn an_upgrade_leaves_no_gap() -> anyhow::Result<()> {
    let Some(mut site) = Site::start(60, true).await? else {
        return Ok(());
    };
    site.daemon.stop().await?;
    site.holds_them_alone().await?;
    site.boots_without_a_gap().await
}

#[tokio::test]
async fn a_stop_takes_the_rules_unless_the_configuration_says_otherwise() -> anyhow::Result<()> {
    let Some(mut site) = Site::start(120, false).await? else {
        return Ok(());
    };
    site.daemon.stop().await?;
    site.wait_rules(0).await
}

#[tokio::test]
async fn sigquit_takes_the_rules_whatever_the_configuration_says() -> anyhow::Result<()> {
    let Some(mut site) = Site::start(120, true).await? else {
        return Ok(());
    };
    site.daemon.stop_by(Signal::SIGQUIT).await?;
    site.wait_rules(0).await
}

#[tokio::test]
async fn a_reload_says_what_the_next_stop_does() -> anyhow::Result<()> {
    let Some(mut site) = Site::start(120, true).await? else {
        return Ok(());
    };
    site.daemon.edit(
        "prefixd.yaml",
        "preserve_announcements: true",
        "preserve_announcements: false",
    )?;
    site.daemon.client.reload().await?;
    site.daemon.stop().await?;
    site.wait_rules(0).await
}

/// A rule that may not be there any more goes with the first transfer, and not at the end of the restart time.
#[tokio::test]
async fn a_rule_that_the_next_start_refuses_is_purged() -> anyhow::Result<()> {
    let Some(mut site) = Site::start(120, false).await? else {
        return Ok(());
    };
    site.daemon.kill().await?;
    site.holds_them_alone().await?;
    site.daemon
        .edit("prefixd.yaml", "203.0.113.1/32", "203.0.113.10/32")?;
    site.daemon.boot().await?;
    site.wait_rules(0).await?;
    assert!(site.daemon.live().await?.is_empty());
    Ok(())
}

/// What cannot be restored is not announced, and nothing is said that would lengthen what is there.
#[tokio::test]
async fn a_daemon_that_cannot_read_its_store_never_connects() -> anyhow::Result<()> {
    let Some(mut site) = Site::start(3, false).await? else {
        return Ok(());
    };
    let killed = Instant::now();
    site.daemon.kill().await?;
    for file in ["prefixd.db", "prefixd.db-wal", "prefixd.db-shm"] {
        let path = site.daemon.dir.path().join(file);
        if path.exists() {
            std::fs::write(path, "no database at all".repeat(1000))?;
        }
    }
    let ended = site.daemon.spawn()?.wait(PATIENCE).await?;
    let status = ended.context("it runs without its store")?;
    assert_eq!(status.code(), Some(1), "{}", site.daemon.log());
    site.holds_them_alone().await?;
    site.wait_rules(0).await?;
    let kept = killed.elapsed();
    assert!(kept > Duration::from_secs(1), "{kept:?}");
    assert!(!site.router.is_established().await?);
    Ok(())
}

/// The daemon hangs: the router hears nothing, and nobody hears the router.
async fn stopped(kind: Kind, restart_time: u16) -> anyhow::Result<Option<Site>> {
    let Some(site) = Site::with(kind, 3, restart_time, false).await? else {
        return Ok(None);
    };
    site.daemon.signal(Signal::SIGSTOP)?;
    site.router.wait_down(PATIENCE).await?;
    Ok(Some(site))
}

/// BIRD ends the session by a NOTIFICATION, over which nothing is kept.
#[tokio::test]
async fn what_bird_holds_of_a_daemon_that_hangs_goes_at_the_hold_time() -> anyhow::Result<()> {
    let Some(site) = stopped(Kind::Bird, 120).await? else {
        return Ok(());
    };
    site.wait_rules(0).await?;
    site.daemon.signal(Signal::SIGKILL)
}

/// GoBGP takes the end of its hold timer for a restart: docs/fail-open.md says so.
#[tokio::test]
async fn what_gobgp_holds_of_a_daemon_that_hangs_goes_at_the_restart_time() -> anyhow::Result<()> {
    let Some(site) = stopped(Kind::GoBgp, 2).await? else {
        return Ok(());
    };
    assert_eq!(site.router.count(Family::Ipv4Flow).await?, RULES);
    site.wait_rules(0).await?;
    site.daemon.signal(Signal::SIGKILL)
}
