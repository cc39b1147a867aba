//! The store goes away: nothing is lost or half done, rules still end on time.

use crate::metrics::Scrape;
use crate::support::{Backend, Daemon, PATIENCE, Setup, ban, on_both_stores, router, wait_for};
use anyhow::Context;
use lab::proxy::Proxy;
use lab::routers::{Family, Kind, RouterConfig};
use prefixd_api::client::{Error, MitigationQuery};
use prefixd_api::event::{EventOutcome, EventRequest};
use prefixd_api::mitigation::MitigationStatus;
use prefixd_api::time::Timestamp;
use std::collections::BTreeSet;

on_both_stores!(
    rules_end_on_time_and_their_record_follows
    a_report_during_the_failure_can_be_sent_again
    a_reload_meanwhile_is_refused_and_blames_no_file
    nothing_of_a_failed_commit_reaches_a_router
    readiness_returns_by_itself
);

async fn rules_end_on_time_and_their_record_follows(store: Backend) -> anyhow::Result<()> {
    let bird = router!(Kind::Bird, RouterConfig::new(65001, 65010));
    let daemon = Daemon::start(
        Setup {
            playbook_ttl: 3,
            ..Setup::on(store).await?
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

    let lock = daemon.hold_the_lock().await?;
    bird.wait_rules(Family::Ipv4Flow, <[lab::routers::RouterRule]>::is_empty, PATIENCE)
        .await?;
    let detail = wait_for("health says that the store fails", || async {
        let detail = daemon.client.health_detail().await?;
        Ok((!detail.store.ok && detail.store.owed == 1).then_some(detail))
    })
    .await?;
    assert_eq!(detail.status, "degraded");
    let scrape = Scrape::of(&daemon).await?;
    assert_eq!(scrape.value("prefixd_owed_removals"), Some(1.0));
    assert_eq!(scrape.value("prefixd_store_up"), Some(0.0));
    assert!(scrape.value("prefixd_store_errors_total") >= Some(1.0));
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

async fn a_report_during_the_failure_can_be_sent_again(store: Backend) -> anyhow::Result<()> {
    let daemon = Daemon::start(Setup::on(store).await?, &[]).await?;
    let event = EventRequest {
        event_id: Some("fnm-1".into()),
        timestamp: Some(Timestamp::wall_clock()),
        ..ban("203.0.113.10", 27015)
    };
    let lock = daemon.hold_the_lock().await?;
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

async fn a_reload_meanwhile_is_refused_and_blames_no_file(store: Backend) -> anyhow::Result<()> {
    let daemon = Daemon::start(Setup::on(store).await?, &[]).await?;
    daemon.edit("prefixd.yaml", "203.0.113.1/32", "203.0.113.8/29")?;
    let lock = daemon.hold_the_lock().await?;
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

/// What was decided is announced only once it is durable.
async fn nothing_of_a_failed_commit_reaches_a_router(store: Backend) -> anyhow::Result<()> {
    let bird = router!(Kind::Bird, RouterConfig::new(65001, 65010));
    let daemon = Daemon::start(Setup::on(store).await?, &[&bird]).await?;
    daemon.wait_established(1).await?;
    let lock = daemon.hold_the_lock().await?;
    let refused = daemon.ban("203.0.113.10", 27015).await;
    assert_eq!(
        refused.err().context("the store was away")?.code(),
        Some("store.unavailable")
    );
    drop(lock);
    wait_for("the store takes changes again", || async {
        Ok(daemon.ban("203.0.113.11", 27015).await.ok())
    })
    .await?;
    // An UPDATE for .10 would have been sent before this one.
    let rules = bird
        .wait_rules(Family::Ipv4Flow, |rules| !rules.is_empty(), PATIENCE)
        .await?;
    let victims: BTreeSet<_> = rules.iter().filter_map(|rule| rule.matches.destination).collect();
    assert_eq!(victims, ["203.0.113.11/32".parse()?].into());
    let known = daemon.client.mitigations(&MitigationQuery::default()).await?;
    assert_eq!(known.value.mitigations.len(), 1, "nor was it recorded");
    Ok(())
}

/// A balancer that asks for readiness sends nothing while it is told no.
async fn readiness_returns_by_itself(store: Backend) -> anyhow::Result<()> {
    let daemon = Daemon::start(Setup::on(store).await?, &[]).await?;
    let lock = daemon.hold_the_lock().await?;
    assert!(daemon.ban("203.0.113.10", 27015).await.is_err());
    assert!(daemon.client.ready().await.is_err());
    drop(lock);
    wait_for("it is ready again", || async {
        Ok(daemon.client.ready().await.ok())
    })
    .await?;
    assert!(daemon.ban("203.0.113.10", 27015).await.is_ok());
    Ok(())
}

/// PostgreSQL takes connections and bytes, and says nothing: rules stay, callers are told in time, and what was in
/// doubt is there once afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_hangs_holds_nobody() -> anyhow::Result<()> {
    if !Backend::Postgres.available()? {
        return Ok(());
    }
    let options = lab::postgres::Options {
        tcp: true,
        ..lab::postgres::Options::default()
    };
    let server = lab::postgres::Postgres::start(options).await?;
    let address = server.tcp().context("it listens")?;
    let proxy = Proxy::start(address).await?;
    let url = server.database().await?;
    let bird = router!(Kind::Bird, RouterConfig::new(65001, 65010));
    let mut daemon = Daemon::start(
        Setup {
            database: Some(url.replace(&address.to_string(), &proxy.address().to_string())),
            ..Setup::default()
        },
        &[&bird],
    )
    .await?;
    daemon.wait_established(1).await?;
    daemon.ban("203.0.113.10", 27015).await?;
    let is_announced = |rules: &[lab::routers::RouterRule]| {
        let victim = "203.0.113.10/32".parse().ok();
        rules.iter().any(|rule| rule.matches.destination == victim)
    };
    bird.wait_rules(Family::Ipv4Flow, is_announced, PATIENCE).await?;

    proxy.stall();
    // One whose commit is in doubt, one of which only the store could tell whether it is known, one behind them.
    let named = |id: &str, victim: &str| EventRequest {
        event_id: Some(id.into()),
        timestamp: Some(Timestamp::wall_clock()),
        ..ban(victim, 27015)
    };
    let in_doubt = ban("203.0.113.11", 27015);
    let (unknown, later) = (named("fnm-1", "203.0.113.12"), ban("203.0.113.13", 27015));
    for event in [&in_doubt, &unknown, &later] {
        // The client waits ten seconds; the store never answers.
        let refused = daemon.client.send_event(event).await.err().context("it hangs")?;
        assert_eq!(refused.code(), Some("store.unavailable"), "{refused}");
    }
    assert!(daemon.client.ready().await.is_err());
    assert!(!daemon.client.health_detail().await?.store.ok);
    assert_eq!(daemon.live().await?.len(), 1);
    assert!(is_announced(&bird.rules(Family::Ipv4Flow).await?));
    assert!(daemon.lives()?, "{}", daemon.log());

    proxy.pass();
    wait_for("it is ready again", || async {
        Ok(daemon.client.ready().await.ok())
    })
    .await?;
    for event in [&in_doubt, &unknown, &later] {
        daemon.client.send_event(event).await?;
    }
    assert_eq!(daemon.live().await?.len(), 4);
    assert!(daemon.lives()?, "{}", daemon.log());
    Ok(())
}

/// The server is gone, not only slow: each promise in one story.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_crashed_is_used_again_when_it_is_back() -> anyhow::Result<()> {
    if !Backend::Postgres.available()? {
        return Ok(());
    }
    let mut server = lab::postgres::Postgres::start(lab::postgres::Options::default()).await?;
    let bird = router!(Kind::Bird, RouterConfig::new(65001, 65010));
    let mut daemon = Daemon::start(
        Setup {
            database: Some(server.database().await?),
            playbook_ttl: 5,
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

    server.crash().await?;
    let refused = daemon
        .ban("203.0.113.11", 27015)
        .await
        .err()
        .context("it is gone")?;
    let Error::Problem(problem) = &refused else {
        anyhow::bail!("{refused}");
    };
    assert_eq!(
        (problem.status, problem.code.as_str()),
        (503, "store.unavailable")
    );
    assert!(problem.retry_after_seconds.is_some(), "{problem:?}");
    bird.wait_rules(Family::Ipv4Flow, <[lab::routers::RouterRule]>::is_empty, PATIENCE)
        .await?;
    let detail = wait_for("the end is owed", || async {
        let detail = daemon.client.health_detail().await?;
        Ok((detail.store.owed == 1).then_some(detail))
    })
    .await?;
    assert_eq!(detail.status, "degraded");
    assert!(
        detail
            .reasons
            .iter()
            .any(|reason| reason.contains("the store takes no changes"))
    );

    server.start_again().await?;
    wait_for("it is ready again", || async {
        Ok(daemon.client.ready().await.ok())
    })
    .await?;
    wait_for("the end is recorded", || async {
        let status = daemon.client.mitigation(id).await?.value.mitigation.status;
        Ok((status == MitigationStatus::Expired).then_some(()))
    })
    .await?;
    daemon.ban("203.0.113.11", 27015).await?;
    let known = daemon.client.mitigations(&MitigationQuery::default()).await?;
    assert_eq!(known.value.mitigations.len(), 2, "nothing twice, nothing lost");
    assert!(daemon.lives()?, "{}", daemon.log());
    Ok(())
}
