//! Corroboration: what one detector reports waits until another says the same, and is on no router before.

use crate::support::{Backend, Daemon, PATIENCE, Setup, ban, on_both_stores, router, wait_for};
use anyhow::Context;
use lab::routers::{Family, Kind, RouterConfig};
use prefixd_api::event::{EventAction, EventOutcome, EventRequest};
use prefixd_api::mitigation::{EndReason, MitigationStatus};
use prefixd_api::operation::ExtendRequest;

on_both_stores!(what_waits_is_on_no_router_and_outlives_a_restart);

const SOURCES: &str =
    "{ default: { reporting: repeats }, probe1: { domain: flows }, probe2: { domain: flows } }";

fn setup(store: Setup, window: &'static str) -> Setup {
    Setup {
        sources: SOURCES,
        timers: window,
        ..store
    }
}

fn from(source: &str, victim: &str) -> EventRequest {
    EventRequest {
        source: source.into(),
        ..ban(victim, 27015)
    }
}

fn two_sources(daemon: &Daemon) -> anyhow::Result<()> {
    daemon.edit(
        "playbooks.yaml",
        "ttl_seconds: 300 }",
        "ttl_seconds: 300, require_sources: 2 }",
    )
}

async fn what_waits_is_on_no_router_and_outlives_a_restart(store: Backend) -> anyhow::Result<()> {
    let bird = router!(Kind::Bird, RouterConfig::new(65001, 65010));
    let setup = setup(Setup::on(store).await?, "{ hold_down_seconds: 0 }");
    let mut daemon = Daemon::configured(setup, &[&bird])?;
    two_sources(&daemon)?;
    daemon.boot().await?;
    daemon.wait_established(1).await?;
    let victim = "203.0.113.10";
    let first = daemon.client.send_event(&from("probe1", victim)).await?;
    assert_eq!(first.status, EventOutcome::AcceptedPending);
    let id = first.mitigation_id.context("it is there, pending")?;
    let same_data = daemon.client.send_event(&from("probe2", victim)).await?;
    assert_eq!(
        (same_data.status, same_data.mitigation_id),
        (EventOutcome::AcceptedPending, Some(id))
    );

    daemon.stop().await?;
    daemon.boot().await?;
    daemon.wait_established(1).await?;
    let waiting = daemon.client.mitigation(id).await?.value.mitigation;
    assert_eq!(waiting.status, MitigationStatus::Pending);
    let waits = waiting.waits_for.context("it says what for")?;
    assert_eq!((waits.has_sources, waits.sources), (1, 2));
    let stats = daemon.client.stats().await?.value;
    assert_eq!((stats.pending, stats.active, stats.rules.intended), (1, 0, 0));
    assert!(bird.rules(Family::Ipv4Flow).await?.is_empty());
    let extend = ExtendRequest {
        ttl_seconds: 600,
        reason: "test".into(),
        ..ExtendRequest::default()
    };
    let refused = daemon
        .client
        .extend_mitigation(id, &extend)
        .await
        .err()
        .context("nothing to extend")?;
    assert_eq!(refused.code(), Some("conflict.pending"));

    let other = daemon.client.send_event(&from("tap", victim)).await?;
    assert_eq!(
        (other.status, other.mitigation_id),
        (EventOutcome::Accepted, Some(id))
    );
    bird.wait_rules(Family::Ipv4Flow, |rules| !rules.is_empty(), PATIENCE)
        .await?;
    let detail = daemon.client.mitigation(id).await?.value;
    assert_eq!(detail.mitigation.status, MitigationStatus::Active);
    assert!(
        detail
            .timeline
            .iter()
            .any(|entry| entry.kind == "mitigation.promoted")
    );
    Ok(())
}

#[tokio::test]
async fn what_nobody_confirms_ends_and_what_a_guardrail_refuses_is_rejected() -> anyhow::Result<()> {
    let setup = Setup {
        quotas: "{ max_active_per_customer: 100, max_active_per_pop: 1, max_active_global: 500, \
                 max_new_per_minute: { pop: 1000, customer: 1000, source: 1000 } }",
        ..setup(
            Setup::default(),
            "{ hold_down_seconds: 0, correlation_window_seconds: 2 }",
        )
    };
    let mut daemon = Daemon::configured(setup, &[])?;
    two_sources(&daemon)?;
    daemon.boot().await?;
    let first = daemon.client.send_event(&from("probe1", "203.0.113.10")).await?;
    let id = first.mitigation_id.context("pending")?;
    let ended = |id| {
        let client = daemon.client.clone();
        async move {
            let known = client.mitigation(id).await?.value.mitigation;
            Ok((!known.status.is_live()).then_some(known))
        }
    };
    let over = wait_for("its window passes", || ended(id)).await?;
    assert_eq!(over.status, MitigationStatus::Expired);
    assert_eq!(over.end_reason, Some(EndReason::Uncorroborated));

    for source in ["probe1", "tap"] {
        daemon.client.send_event(&from(source, "203.0.113.11")).await?;
    }
    let waits = daemon.client.send_event(&from("probe1", "203.0.113.12")).await?;
    let refused = daemon.client.send_event(&from("tap", "203.0.113.12")).await;
    let refused = refused.err().context("the POP is full")?;
    assert_eq!(refused.code(), Some("guardrail.quota_pop"));
    let rejected = ended(waits.mitigation_id.context("pending")?)
        .await?
        .context("over")?;
    assert_eq!(rejected.status, MitigationStatus::Rejected);
    assert_eq!(
        rejected.end_reason.map(|reason| reason.to_string()),
        Some("guardrail.quota_pop".into())
    );
    let metrics = daemon.metrics().await?;
    assert!(
        metrics.contains("prefixd_mitigation_changes_total{kind=\"rejected\"} 1"),
        "{metrics}"
    );

    let unban = EventRequest {
        action: EventAction::Unban,
        ..from("tap", "203.0.113.13")
    };
    daemon.client.send_event(&from("tap", "203.0.113.13")).await?;
    let over = daemon.client.send_event(&unban).await?;
    assert_eq!(over.status, EventOutcome::Withdrawn);
    Ok(())
}
