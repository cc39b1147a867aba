//! The store goes away: nothing is lost or half done, rules still end on time.

use crate::support::{Daemon, PATIENCE, Setup, ban, wait_for};
use anyhow::Context;
use lab::routers::{Family, Kind, Router, RouterConfig};
use prefixd_api::event::{EventOutcome, EventRequest};
use prefixd_api::mitigation::MitigationStatus;
use prefixd_api::time::Timestamp;
use sqlx::{Connection, SqliteConnection};

/// A writer that holds the lock of the database: commits wait and fail.
async fn hold_the_lock(daemon: &Daemon) -> anyhow::Result<SqliteConnection> {
    let path = daemon.dir.path().join("prefixd.db");
    let mut connection = SqliteConnection::connect(&format!("sqlite:{}", path.display())).await?;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut connection).await?;
    Ok(connection)
}

#[tokio::test]
async fn rules_end_on_time_and_their_record_follows() -> anyhow::Result<()> {
    let bird = Router::start(Kind::Bird, RouterConfig::new(65001, 65010)).await?;
    let daemon = Daemon::start(
        Setup {
            playbook_ttl: 3,
            ..Setup::default()
        },
        &[&bird],
    )
    .await?;
    daemon.wait_established(1).await?;
    let id = daemon
        .ban("203.0.113.10", 27015)
        .await?
        .mitigation_id
        .context("accepted")?;
    bird.wait_rules(Family::Ipv4Flow, |rules| !rules.is_empty(), PATIENCE)
        .await?;

    let lock = hold_the_lock(&daemon).await?;
    bird.wait_rules(Family::Ipv4Flow, <[lab::routers::RouterRule]>::is_empty, PATIENCE)
        .await?;
    let detail = wait_for("health says that the store fails", || async {
        let detail = daemon.client.health_detail().await?;
        Ok((!detail.store.ok && detail.store.owed == 1).then_some(detail))
    })
    .await?;
    assert_eq!(detail.status, "degraded");
    assert_eq!(
        daemon.client.mitigation(id).await?.value.mitigation.status,
        MitigationStatus::Active
    );

    drop(lock);
    wait_for("the end is recorded", || async {
        let status = daemon.client.mitigation(id).await?.value.mitigation.status;
        Ok((status == MitigationStatus::Expired).then_some(()))
    })
    .await
}

#[tokio::test]
async fn a_report_during_the_failure_can_be_sent_again() -> anyhow::Result<()> {
    let daemon = Daemon::start(Setup::default(), &[]).await?;
    let event = EventRequest {
        event_id: Some("fnm-1".into()),
        timestamp: Some(Timestamp::wall_clock()),
        ..ban("203.0.113.10", 27015)
    };
    let lock = hold_the_lock(&daemon).await?;
    let refused = daemon
        .client
        .send_event(&event)
        .await
        .err()
        .context("the store was away")?;
    assert_eq!(refused.code(), Some("store.unavailable"));
    assert!(daemon.live().await?.is_empty(), "nothing is half done");
    drop(lock);
    let answer = wait_for("the store takes changes again", || async {
        Ok(daemon.client.send_event(&event).await.ok())
    })
    .await?;
    assert_eq!(
        answer.status,
        EventOutcome::Accepted,
        "a failed attempt burns no key"
    );
    Ok(())
}

#[tokio::test]
async fn a_reload_meanwhile_is_refused_and_blames_no_file() -> anyhow::Result<()> {
    let daemon = Daemon::start(Setup::default(), &[]).await?;
    daemon.edit("prefixd.yaml", "203.0.113.1/32", "203.0.113.8/29")?;
    let lock = hold_the_lock(&daemon).await?;
    let refused = daemon.client.reload().await.err().context("the store was away")?;
    assert_eq!(refused.code(), Some("store.unavailable"));
    let prefixes = async || {
        let entries = daemon.client.safelist().await?.value.entries;
        anyhow::Ok(
            entries
                .iter()
                .map(|entry| entry.prefix.to_string())
                .collect::<Vec<_>>(),
        )
    };
    assert!(
        prefixes().await?.contains(&"203.0.113.1/32".to_owned()),
        "nothing changed"
    );
    drop(lock);
    wait_for("the reload is taken", || async {
        Ok(daemon.client.reload().await.ok())
    })
    .await?;
    assert!(prefixes().await?.contains(&"203.0.113.8/29".to_owned()));
    Ok(())
}
