//! Rules that stay on the routers over a restart, and those that must not.

use crate::support::{Daemon, PATIENCE, Setup, wait_for};
use anyhow::Context;
use lab::proxy::Proxy;
use lab::routers::{Family, Kind, Router, RouterConfig, RouterRule};
use nix::sys::signal::Signal;
use prefixd_api::client::RibQuery;
use prefixd_api::mitigation::WithdrawRequest;
use prefixd_api::operation::Withdrawn;
use prefixd_api::peer::MayHold;
use prefixd_api::preview::WithdrawPreviewRequest;
use prefixd_api::resource::{AnnouncementState, Peer, PeerState};
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
        let Some(router) = router(kind).await? else {
            return Ok(None);
        };
        let daemon = Daemon::configured(Setup::default(), &[&router])?;
        let site = Self { router, daemon };
        Ok(Some(site.up(hold_time, restart_time, preserve).await?))
    }

    async fn up(mut self, hold_time: u16, restart_time: u16, preserve: bool) -> anyhow::Result<Self> {
        let daemon = &mut self.daemon;
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
        wait_for("the router has the rules", || async {
            let count = self.router.count(Family::Ipv4Flow).await?;
            Ok((count == RULES).then_some(()))
        })
        .await?;
        Ok(self)
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

async fn router(kind: Kind) -> anyhow::Result<Option<Router>> {
    if !kind.available()? {
        return Ok(None);
    }
    let mut config = RouterConfig::new(65001, 65010);
    config.graceful_restart = true;
    Ok(Some(Router::start(kind, config).await?))
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

/// A router behind a line that can be cut while both ends live.
async fn behind_a_line(kind: Kind) -> anyhow::Result<Option<(Site, Proxy)>> {
    let Some(router) = router(kind).await? else {
        return Ok(None);
    };
    let line = Proxy::start(router.address()).await?;
    let daemon = Daemon::configured(Setup::default(), &[&router])?;
    let at = |address: std::net::SocketAddr| format!("address: {}, port: {}", address.ip(), address.port());
    daemon.edit("prefixd.yaml", &at(router.address()), &at(line.address()))?;
    let site = Site { router, daemon };
    Ok(Some((site.up(30, 60, false).await?, line)))
}

impl Site {
    async fn peer(&self) -> anyhow::Result<Peer> {
        let peers = self.daemon.client.peers().await?.value.peers;
        peers.into_iter().next().context("there is one")
    }

    /// The neighbour once its session is lost.
    async fn lost(&self) -> anyhow::Result<Peer> {
        wait_for("the session is lost", || async {
            let peer = self.peer().await?;
            Ok((peer.state != PeerState::Established).then_some(peer))
        })
        .await
    }

    async fn withdraw_all(&self) -> anyhow::Result<Withdrawn> {
        let live = self.daemon.live().await?;
        let [one] = &live[..] else {
            anyhow::bail!("{live:?}")
        };
        let request = WithdrawRequest {
            reason: "false positive".to_owned(),
            ..WithdrawRequest::default()
        };
        let client = &self.daemon.client;
        Ok(client.withdraw_mitigation(one.mitigation_id, &request).await?)
    }
}

/// The router keeps the rules and no withdrawal reaches it: whoever looks, or takes one back, is told until when.
#[tokio::test]
async fn a_lost_router_that_agreed_is_said_to_hold_its_rules() -> anyhow::Result<()> {
    let Some((site, line)) = behind_a_line(Kind::Bird).await? else {
        return Ok(());
    };
    let client = &site.daemon.client;
    assert_eq!(site.peer().await?.may_hold_until, None);
    line.cut();
    let peer = site.lost().await?;
    let until = peer.may_hold_until.context("it agreed")?;
    // The router's hold timer, should it not have noticed, and then the restart time.
    let left = until.since(client.health_detail().await?.now);
    assert!(
        Duration::from_secs(60) < left && left <= Duration::from_secs(30 + 60 + 1),
        "{left:?}"
    );
    assert_eq!(peer.on_loss.context("of the last session")?.keeps_seconds, 60);
    assert_eq!(site.router.count(Family::Ipv4Flow).await?, RULES);

    let says = format!("may hold what it was told until {until}");
    let health = client.health_detail().await?;
    let said = |reason: &String| reason.starts_with("the session with bird0 is ") && reason.contains(&says);
    assert!(health.reasons.iter().any(said), "{health:?}");
    let id = site.daemon.live().await?[0].mitigation_id;
    for at in client.mitigation(id).await?.value.announcements {
        assert_eq!(at.state, AnnouncementState::SessionDown);
        assert!(at.reason.is_some_and(|reason| reason.contains(&says)));
    }
    for route in client.peer_rib("bird0", &RibQuery::default()).await?.value.routes {
        assert!(route.reason.is_some_and(|reason| reason.contains(&says)));
    }
    let preview = client
        .preview_withdrawal(id, &WithdrawPreviewRequest::default())
        .await?;
    assert_eq!(preview.neighbors[0].may_hold_until, Some(until));
    let held = MayHold {
        neighbor: "bird0".to_owned(),
        until,
    };
    assert_eq!(
        client.control().await?.value.may_hold,
        std::slice::from_ref(&held)
    );

    assert_eq!(site.withdraw_all().await?.may_hold, [held]);
    assert_eq!(
        site.router.count(Family::Ipv4Flow).await?,
        RULES,
        "it was not told"
    );
    // What it was never told it does not hold.
    site.daemon.ban("203.0.113.11", 27015).await?;
    assert_eq!(site.withdraw_all().await?.may_hold, []);

    line.pass();
    site.wait_rules(0).await?;
    let peer = site.peer().await?;
    assert_eq!((peer.state, peer.may_hold_until), (PeerState::Established, None));
    assert_eq!(client.control().await?.value.may_hold, []);
    Ok(())
}

/// FRR agrees and drops the rules all the same.
#[tokio::test]
async fn a_lost_router_that_drops_its_rules_is_not_said_to_hold_them() -> anyhow::Result<()> {
    let Some((site, line)) = behind_a_line(Kind::Frr).await? else {
        return Ok(());
    };
    site.daemon
        .edit("prefixd.yaml", "profile: bird", "profile: frr")?;
    site.daemon.client.reload().await?;
    site.daemon.wait_established(1).await?;
    line.cut();
    let peer = site.lost().await?;
    assert_eq!(peer.may_hold_until, None);
    let on_loss = peer.on_loss.context("of the last session")?;
    assert!(
        on_loss.keeps_seconds == 0 && on_loss.because.contains("agreed"),
        "{on_loss:?}"
    );
    assert_eq!(site.withdraw_all().await?.may_hold, []);
    wait_for("FRR has dropped the rules", || async {
        let count = site.router.count(Family::Ipv4Flow).await?;
        Ok((count == 0).then_some(()))
    })
    .await
}
