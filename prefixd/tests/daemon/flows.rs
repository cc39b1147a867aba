//! Flows that no rule may catch, with a real router.

use crate::support::{Backend, Daemon, PATIENCE, Setup, on_both_stores, router};
use anyhow::Context;
use lab::routers::{Family, Kind, RouterConfig, RouterRule};
use prefixd_api::client::Error;
use prefixd_api::mitigation::MitigationRequest;

on_both_stores!(no_rule_that_catches_a_protected_flow_reaches_a_router);

fn code<T>(result: Result<T, Error>) -> Option<String> {
    result.err()?.code().map(str::to_owned)
}

async fn no_rule_that_catches_a_protected_flow_reaches_a_router(store: Backend) -> anyhow::Result<()> {
    let bird = router!(Kind::Bird, RouterConfig::new(65001, 65010));
    let mut daemon = Daemon::configured(Setup::on(store).await?, &[&bird])?;
    let none = "guardrails: { min_ttl_seconds: 1,";
    let voice = "guardrails: { min_ttl_seconds: 1, protected_flows: [{ name: voice, dst: 203.0.113.0/25, protocol: udp, \
                 dst_ports: [5060] }],";
    daemon.edit("prefixd.yaml", none, voice)?;
    daemon.boot().await?;
    daemon.wait_established(1).await?;
    let refused = daemon
        .ban("203.0.113.10", 5060)
        .await
        .err()
        .context("it is protected")?;
    assert_eq!(refused.code(), Some("guardrail.protected_flow"));
    assert!(refused.to_string().contains("voice"), "{refused}");
    let request = MitigationRequest {
        victim_ip: "203.0.113.10".into(),
        action: Some(prefixd_api::rule::ActionType::Police),
        rate_bps: Some(prefixd_api::rate::BitsPerSecond(5_000_000)),
        protocol: Some(17),
        ttl_seconds: Some(600),
        reason: "test".into(),
        ..MitigationRequest::default()
    };
    assert_eq!(
        code(daemon.client.create_mitigation(&request).await).as_deref(),
        Some("guardrail.protected_flow")
    );
    let preview = daemon.client.preview_mitigation(&request).await?;
    assert_eq!(
        preview.problem.context("it would be refused")?.code,
        "guardrail.protected_flow"
    );
    // Outside of the flow, the same is fine; it is the first rule that the router gets.
    daemon.ban("203.0.113.200", 5060).await?;
    daemon.ban("203.0.113.20", 27015).await?;
    let rules = bird
        .wait_rules(
            Family::Ipv4Flow,
            |rules: &[RouterRule]| rules.len() >= 2,
            PATIENCE,
        )
        .await?;
    assert!(rules.iter().all(|rule| rule.matches.destination.is_some()));
    // Protected later: what catches it goes.
    daemon.edit("prefixd.yaml", "203.0.113.0/25", "203.0.113.0/24")?;
    daemon.client.reload().await?;
    let other = "203.0.113.20/32".parse().ok();
    bird.wait_rules(
        Family::Ipv4Flow,
        |rules| !rules.is_empty() && rules.iter().all(|rule| rule.matches.destination == other),
        PATIENCE,
    )
    .await?;
    Ok(())
}
