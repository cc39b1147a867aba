//! Ends of the daemon, in order and not.

use crate::support::{Daemon, PATIENCE, Setup, ban};
use anyhow::Context;
use lab::routers::{Family, Kind, Router, RouterConfig};
use prefixd_api::event::EventRequest;
use prefixd_api::time::Timestamp;

#[tokio::test]
async fn a_stop_withdraws_and_a_start_announces_what_is_left_of_the_lease() -> anyhow::Result<()> {
    let bird = Router::start(Kind::Bird, RouterConfig::new(65001, 65010)).await?;
    let mut daemon = Daemon::start(Setup::default(), &[&bird]).await?;
    daemon.wait_established(1).await?;
    daemon.ban("203.0.113.10", 27015).await?;
    bird.wait_rules(Family::Ipv4Flow, |rules| !rules.is_empty(), PATIENCE)
        .await?;
    let before = daemon.live().await?;

    daemon.stop().await?;
    bird.wait_rules(Family::Ipv4Flow, <[lab::routers::RouterRule]>::is_empty, PATIENCE)
        .await?;
    daemon.boot().await?;
    bird.wait_rules(
        Family::Ipv4Flow,
        |rules| rules.len() == before[0].rules.len(),
        PATIENCE,
    )
    .await?;
    let after = daemon.live().await?;
    assert_eq!(after[0].mitigation_id, before[0].mitigation_id);
    assert_eq!(after[0].expires_at, before[0].expires_at);
    Ok(())
}

#[tokio::test]
async fn a_killed_daemon_leaves_no_rule_and_loses_nothing_it_acknowledged() -> anyhow::Result<()> {
    let bird = Router::start(Kind::Bird, RouterConfig::new(65001, 65010)).await?;
    let mut daemon = Daemon::start(Setup::default(), &[&bird]).await?;
    daemon.wait_established(1).await?;
    for last in 10..30 {
        daemon.ban(&format!("203.0.113.{last}"), 27015).await?;
    }
    daemon.kill().await?;
    bird.wait_rules(Family::Ipv4Flow, <[lab::routers::RouterRule]>::is_empty, PATIENCE)
        .await?;
    daemon.boot().await?;
    assert_eq!(daemon.live().await?.len(), 20);
    let destinations = |rules: &[lab::routers::RouterRule]| {
        rules
            .iter()
            .filter_map(|rule| rule.matches.destination)
            .collect::<std::collections::BTreeSet<_>>()
            .len()
    };
    bird.wait_rules(Family::Ipv4Flow, |rules| destinations(rules) == 20, PATIENCE)
        .await?;
    Ok(())
}

#[tokio::test]
async fn a_replay_is_known_after_a_restart() -> anyhow::Result<()> {
    let mut daemon = Daemon::start(Setup::default(), &[]).await?;
    let event = EventRequest {
        event_id: Some("fnm-81".into()),
        timestamp: Some(Timestamp::wall_clock()),
        ..ban("203.0.113.10", 27015)
    };
    let first = daemon.client.send_event(&event).await?;
    assert_eq!(daemon.client.send_event(&event).await?, first);
    daemon.kill().await?;
    daemon.boot().await?;
    assert_eq!(daemon.client.send_event(&event).await?.event_id, first.event_id);
    assert_eq!(daemon.live().await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_second_daemon_on_the_same_database_refuses_to_start() -> anyhow::Result<()> {
    let daemon = Daemon::start(Setup::default(), &[]).await?;
    let database = format!("sqlite:{}", daemon.dir.path().join("prefixd.db").display());
    let second = Daemon::start(
        Setup {
            database: Some(database),
            ..Setup::default()
        },
        &[],
    )
    .await;
    let error = second.err().context("the second daemon started")?.to_string();
    assert!(error.contains("another"), "{error}");
    assert!(daemon.ban("203.0.113.10", 27015).await.is_ok());
    Ok(())
}

#[tokio::test]
async fn a_neighbour_that_is_down_does_not_stop_the_daemon() -> anyhow::Result<()> {
    let mut bird = Router::start(Kind::Bird, RouterConfig::new(65001, 65010)).await?;
    bird.stop().await?;
    let daemon = Daemon::start(Setup::default(), &[&bird]).await?;
    daemon.ban("203.0.113.10", 27015).await?;
    let detail = daemon.client.health_detail().await?;
    assert_eq!(
        (detail.status.as_str(), detail.peers_established),
        ("degraded", 0)
    );
    bird.restart().await?;
    bird.wait_rules(Family::Ipv4Flow, |rules| !rules.is_empty(), PATIENCE)
        .await?;
    Ok(())
}
