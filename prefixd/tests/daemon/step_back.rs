//! De-escalation: a step that nothing carries any more gives way to the one before, on the router without a gap.

use crate::support::{Daemon, PATIENCE, Setup, ban, router, wait_for};
use anyhow::Context;
use lab::routers::{Action, BytesPerSecond, Family, Kind, RouterConfig, RouterRule};
use prefixd_api::event::EventRequest;
use prefixd_api::mitigation::MitigationStatus;

const VICTIM: &str = "203.0.113.10";
const STEPS: &str =
    "{ action: discard, ttl_seconds: 300, require_persistence_seconds: 1, de_escalate_after_seconds: 2 }";

fn does(rules: &[RouterRule], action: &Action) -> bool {
    matches!(rules, [rule] if rule.actions.contains(action))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_goes_up_and_back_down_without_a_gap() -> anyhow::Result<()> {
    let bird = router!(Kind::Bird, RouterConfig::new(65001, 65010));
    let setup = Setup {
        timers: "{ hold_down_seconds: 0, quiet_period_seconds: 2 }",
        ..Setup::default()
    };
    let mut daemon = Daemon::configured(setup, &[&bird])?;
    daemon.edit("prefixd.yaml", "enabled: false", "enabled: true")?;
    daemon.edit(
        "playbooks.yaml",
        "ttl_seconds: 300 }",
        &format!("ttl_seconds: 300 }}, {STEPS}"),
    )?;
    daemon.boot().await?;
    daemon.wait_established(1).await?;
    // Small: no companion for fragments.
    let sure = EventRequest {
        bps: None,
        ..ban(VICTIM, 27015)
    };
    let id = daemon
        .client
        .send_event(&sure)
        .await?
        .mitigation_id
        .context("accepted")?;
    let step = |wanted: u32| {
        let client = daemon.client.clone();
        async move {
            let live = client.mitigation(id).await?.value.mitigation;
            Ok((live.step == wanted).then_some(live))
        }
    };
    let escalated = wait_for("it escalates", || async {
        // Reports that come again say when a router has the rules.
        daemon.client.send_event(&sure).await?;
        step(2).await
    })
    .await?;
    assert_eq!(escalated.status, MitigationStatus::Escalated);
    bird.wait_rules(Family::Ipv4Flow, |rules| does(rules, &Action::Discard), PATIENCE)
        .await?;

    let unsure = EventRequest {
        confidence: Some(0.1),
        ..sure
    };
    daemon.client.send_event(&unsure).await?;
    let back = wait_for("it goes back", || async {
        let rules = bird.rules(Family::Ipv4Flow).await?;
        anyhow::ensure!(!rules.is_empty(), "a gap on the router");
        step(1).await
    })
    .await?;
    assert_eq!(back.status, MitigationStatus::Active);
    assert_eq!(back.rate_bps.map(|rate| rate.0), Some(5_000_000));
    assert!(
        back.why_summary.contains("step 2 goes back to step 1"),
        "{}",
        back.why_summary
    );

    bird.wait_rules(
        Family::Ipv4Flow,
        |rules| does(rules, &Action::Police(BytesPerSecond(625_000.0))),
        PATIENCE,
    )
    .await?;
    let detail = daemon.client.mitigation(id).await?.value;
    let told: Vec<_> = detail.timeline.iter().map(|entry| entry.kind.as_str()).collect();
    assert!(told.contains(&"mitigation.deescalated"), "{told:?}");
    let why = daemon.client.mitigation_why(id).await?.value;
    assert!(why.steps.iter().any(|step| step.code == "deescalated"), "{why:?}");
    let metrics = daemon.metrics().await?;
    assert!(
        metrics.contains("prefixd_mitigation_changes_total{kind=\"deescalated\"} 1"),
        "{metrics}"
    );
    Ok(())
}
