//! Reloading: all or nothing.

use crate::support::{Daemon, PATIENCE, Setup, wait_for};
use lab::routers::{Family, Kind, Router, RouterConfig};
use nix::sys::signal::Signal;
use prefixd_api::event::EventOutcome;
use prefixd_api::mitigation::EndReason;

#[tokio::test]
async fn a_bad_file_changes_nothing_and_says_where_it_is_bad() -> anyhow::Result<()> {
    let daemon = Daemon::start(Setup::default(), &[]).await?;
    daemon.edit("playbooks.yaml", "ttl_seconds: 300", "ttl_secnods: 300")?;
    let problem = daemon.client.reload().await.expect_err("a bad file").to_string();
    assert!(
        problem.contains("playbooks.yaml") && problem.contains("ttl_seconds"),
        "{problem}"
    );
    assert_eq!(
        daemon.ban("203.0.113.10", 27015).await?.status,
        EventOutcome::Accepted
    );
    Ok(())
}

#[tokio::test]
async fn a_rule_that_the_new_safelist_covers_is_withdrawn() -> anyhow::Result<()> {
    let bird = Router::start(Kind::Bird, RouterConfig::new(65001, 65010)).await?;
    let daemon = Daemon::start(Setup::default(), &[&bird]).await?;
    daemon.wait_established(1).await?;
    let id = daemon
        .ban("203.0.113.10", 27015)
        .await?
        .mitigation_id
        .expect("accepted");
    bird.wait_rules(Family::Ipv4Flow, |rules| !rules.is_empty(), PATIENCE)
        .await?;
    daemon.edit("prefixd.yaml", "203.0.113.1/32", "203.0.113.8/29")?;
    daemon.signal(Signal::SIGHUP)?;
    bird.wait_rules(Family::Ipv4Flow, <[lab::routers::RouterRule]>::is_empty, PATIENCE)
        .await?;
    let reason = wait_for("the end is recorded", || async {
        Ok(daemon.client.mitigation(id).await?.value.mitigation.end_reason)
    })
    .await?;
    assert_eq!(reason, EndReason::Safelisted);
    Ok(())
}

#[tokio::test]
async fn a_neighbour_that_a_reload_adds_gets_the_rules() -> anyhow::Result<()> {
    let bird = Router::start(Kind::Bird, RouterConfig::new(65001, 65010)).await?;
    let gobgp = Router::start(Kind::GoBgp, RouterConfig::new(65003, 65010)).await?;
    let daemon = Daemon::start(Setup::default(), &[&bird]).await?;
    daemon.wait_established(1).await?;
    daemon.ban("203.0.113.10", 27015).await?;
    let flaps = daemon.client.peers().await?.value.peers[0].established_total;
    let added = format!(
        "  neighbors:\n    - {{ name: added, address: {}, port: {}, peer_asn: 65003, local_address: 127.0.0.1, profile: gobgp }}\n",
        gobgp.address().ip(),
        gobgp.address().port()
    );
    daemon.edit("prefixd.yaml", "  neighbors:\n", &added)?;
    daemon.client.reload().await?;
    gobgp
        .wait_rules(Family::Ipv4Flow, |rules| !rules.is_empty(), PATIENCE)
        .await?;
    let peers = daemon.client.peers().await?.value.peers;
    let bird_peer = peers
        .iter()
        .find(|peer| peer.name == "bird0")
        .expect("still there");
    assert_eq!(
        bird_peer.established_total, flaps,
        "the other session was not touched"
    );
    Ok(())
}

#[tokio::test]
async fn a_key_that_needs_a_restart_is_refused() -> anyhow::Result<()> {
    let daemon = Daemon::start(Setup::default(), &[]).await?;
    daemon.edit("prefixd.yaml", "pop: test1", "pop: test2")?;
    let problem = daemon
        .client
        .reload()
        .await
        .expect_err("pop needs a restart")
        .to_string();
    assert!(
        problem.contains("pop") && problem.contains("restart"),
        "{problem}"
    );
    Ok(())
}
