//! Prefixes and sources whose bans are stored and not acted on.

use crate::support::{Backend, Daemon, Setup, ban, on_both_stores, wait_for};
use anyhow::Context;
use prefixd_api::client::{AuditQuery, Error, Page};
use prefixd_api::event::{EventOutcome, EventRequest};
use prefixd_api::group::{SuppressionAnswer, SuppressionRequest};
use prefixd_api::ids::SuppressionId;

on_both_stores!(
    a_suppressed_prefix_stays_so_over_a_restart_until_somebody_ends_it
    a_suppression_ends_on_time_and_the_journal_says_so
);

fn request(prefix: Option<&str>, source: Option<&str>, seconds: u32) -> SuppressionRequest {
    SuppressionRequest {
        prefix: prefix.map(str::to_owned),
        source: source.map(str::to_owned),
        seconds,
        reason: "game night".to_owned(),
        ..SuppressionRequest::default()
    }
}

async fn made(daemon: &Daemon, request: &SuppressionRequest) -> anyhow::Result<(SuppressionId, u64)> {
    match daemon.client.suppress(request).await? {
        SuppressionAnswer::Wide { suppression, live } => Ok((suppression.suppression_id, live)),
        SuppressionAnswer::One(one) => anyhow::bail!("{one:?}"),
    }
}

async fn reported(daemon: &Daemon, victim: &str, source: &str) -> anyhow::Result<EventOutcome> {
    let event = EventRequest {
        source: source.to_owned(),
        ..ban(victim, 27015)
    };
    Ok(daemon.client.send_event(&event).await?.status)
}

async fn a_suppressed_prefix_stays_so_over_a_restart_until_somebody_ends_it(
    store: Backend,
) -> anyhow::Result<()> {
    let mut daemon = Daemon::start(Setup::on(store).await?, &[]).await?;
    daemon.ban("203.0.113.20", 27015).await?;
    let (net, live) = made(&daemon, &request(Some("203.0.113.0/26"), None, 600)).await?;
    assert_eq!(live, 1, "what goes on is told");
    let (by_source, _) = made(&daemon, &request(None, Some("netscout"), 600)).await?;
    for boots in 0..2 {
        if boots > 0 {
            daemon.stop().await?;
            daemon.boot().await?;
        }
        let list = daemon.client.suppressions().await?.value;
        assert_eq!((list.count, list.suppressions.len(), list.wide.len()), (2, 0, 2));
        assert_eq!(
            reported(&daemon, "203.0.113.21", "fastnetmon").await?,
            EventOutcome::Suppressed
        );
        assert_eq!(
            reported(&daemon, "203.0.113.20", "fastnetmon").await?,
            EventOutcome::Extended
        );
        assert_eq!(
            reported(&daemon, "203.0.113.20", "netscout").await?,
            EventOutcome::Suppressed
        );
        assert_eq!(
            reported(&daemon, "203.0.113.90", "netscout").await?,
            EventOutcome::Suppressed
        );
    }
    assert_eq!(daemon.live().await?.len(), 1);
    let history = daemon
        .client
        .history("203.0.113.21/32".parse()?, None, &Page::default())
        .await?;
    assert_eq!(history.value.context.wide_suppressions.len(), 2);
    daemon.client.end_suppression(net).await?;
    assert_eq!(
        reported(&daemon, "203.0.113.21", "fastnetmon").await?,
        EventOutcome::Accepted
    );
    daemon.client.end_suppression(by_source).await?;
    assert_eq!(
        reported(&daemon, "203.0.113.90", "netscout").await?,
        EventOutcome::Accepted
    );
    let again = daemon.client.end_suppression(net).await;
    assert_eq!(
        again
            .err()
            .and_then(|error| error.code().map(str::to_owned))
            .as_deref(),
        Some("not_found")
    );
    Ok(())
}

async fn a_suppression_ends_on_time_and_the_journal_says_so(store: Backend) -> anyhow::Result<()> {
    let mut daemon = Daemon::start(Setup::on(store).await?, &[]).await?;
    made(&daemon, &request(Some("203.0.113.0/26"), None, 2)).await?;
    assert_eq!(
        reported(&daemon, "203.0.113.21", "fastnetmon").await?,
        EventOutcome::Suppressed
    );
    wait_for("its end", || async {
        let outcome = reported(&daemon, "203.0.113.21", "fastnetmon").await?;
        Ok((outcome != EventOutcome::Suppressed).then_some(()))
    })
    .await?;
    let query = AuditQuery {
        target_id: Some("203.0.113.0/26".to_owned()),
        ..AuditQuery::default()
    };
    wait_for("the record of its end", || async {
        let told = daemon.client.audit(&query).await?.value.entries;
        let actors: Vec<&str> = told.iter().map(|entry| entry.actor.as_str()).collect();
        Ok((actors == ["prefixd", "anonymous"]).then_some(()))
    })
    .await?;
    daemon.stop().await?;
    daemon.boot().await?;
    assert_eq!(
        daemon.client.suppressions().await?.value.count,
        0,
        "nothing of it is left in the store"
    );
    Ok(())
}

#[tokio::test]
async fn what_means_nothing_or_everything_is_refused() -> anyhow::Result<()> {
    let daemon = Daemon::start(Setup::default(), &[]).await?;
    let whose = |victim: &str, prefix: &str| SuppressionRequest {
        victim_ip: Some(victim.to_owned()),
        ..request(Some(prefix), None, 60)
    };
    for (request, field) in [
        (request(None, None, 60), "victim_ip"),
        (request(Some("0.0.0.0/0"), None, 60), "prefix"),
        (request(Some("203.0.113.1/24"), None, 60), "prefix"),
        (request(Some("everything"), None, 60), "prefix"),
        (request(None, Some(""), 60), "source"),
        (request(None, Some("netscout"), 0), "seconds"),
        (request(None, Some("netscout"), 86_401), "seconds"),
        (whose("203.0.113.1", "203.0.113.0/24"), "prefix"),
    ] {
        match daemon.client.suppress(&request).await {
            Err(Error::Problem(problem)) => {
                let named = problem.errors.first().context("a field is named")?;
                assert_eq!(
                    (&*problem.code, &*named.field),
                    ("request.field", field),
                    "{request:?}"
                );
            }
            other => anyhow::bail!("{request:?}: {other:?}"),
        }
    }
    // One victim of one vector is what a withdrawal suppresses, too; a source makes it another.
    let one = SuppressionRequest {
        victim_ip: Some("203.0.113.10".to_owned()),
        vector: Some("udp_flood".to_owned()),
        ..request(None, None, 60)
    };
    assert!(matches!(
        daemon.client.suppress(&one).await?,
        SuppressionAnswer::One(_)
    ));
    let of_source = SuppressionRequest {
        source: Some("netscout".to_owned()),
        ..one
    };
    assert!(matches!(
        daemon.client.suppress(&of_source).await?,
        SuppressionAnswer::Wide { .. }
    ));
    Ok(())
}
