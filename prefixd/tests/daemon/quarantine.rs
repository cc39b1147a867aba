//! A router that cannot take one rule, seen by an operator.

use crate::metrics::wait_counted;
use crate::support::{Daemon, PATIENCE, Setup, router, wait_for};
use anyhow::Context as _;
use lab::routers::{Family, Kind, RouterConfig};
use prefixd_api::client::RibQuery;
use prefixd_api::mitigation::MitigationRequest;
use prefixd_api::peer::{PeerOrder, PeerOrderRequest, PeerParked};
use prefixd_api::resource::AnnouncementState;
use prefixd_api::rule::ActionType;

/// What is parked at the neighbour, once it was parked so often.
async fn parked(daemon: &Daemon, times: u32) -> anyhow::Result<PeerParked> {
    wait_for("a rule is parked", || async {
        let parked = daemon.client.peer("frr0").await?.value.parked;
        Ok(parked.into_iter().find(|parked| parked.times == times))
    })
    .await
}

fn deadly() -> MitigationRequest {
    MitigationRequest {
        victim_ip: "203.0.113.11".into(),
        action: Some(ActionType::Discard),
        protocol: Some(17),
        dst_ports: [1001, 1003, 1005, 1007, 1009, 1011].into_iter().collect(),
        ttl_seconds: Some(600),
        reason: "INC-4711".into(),
        ..MitigationRequest::default()
    }
}

/// FRR 8.4 ends the session over more than five terms of ports; here it is configured as a router that takes 32.
#[tokio::test]
async fn a_rule_that_ends_the_session_is_held_back_and_the_operator_sees_why() -> anyhow::Result<()> {
    let frr = router!(Kind::Frr, RouterConfig::new(65001, 65010));
    let daemon = Daemon::start(Setup::default(), &[&frr]).await?;
    daemon.wait_established(1).await?;
    daemon.ban("203.0.113.10", 27015).await?;
    frr.wait_rules(Family::Ipv4Flow, |rules| !rules.is_empty(), PATIENCE)
        .await?;
    let healthy = frr.rules(Family::Ipv4Flow).await?.len();

    let id = daemon.client.create_mitigation(&deadly()).await?.mitigation_id;
    let found = parked(&daemon, 1).await?;
    assert!(found.why.contains("3/9"), "{}", found.why);
    frr.wait_rules(Family::Ipv4Flow, |rules| rules.len() == healthy, PATIENCE)
        .await?;

    let list = daemon.client.peer_rib("frr0", &RibQuery::default()).await?.value;
    let route = list.routes.iter().find(|route| route.nlri == found.nlri);
    let route = route.context("the rule is not in the listing")?;
    assert_eq!(route.state, AnnouncementState::Quarantined);
    assert!(
        route
            .reason
            .as_deref()
            .is_some_and(|reason| reason.contains("3/9"))
    );
    let detail = daemon.client.mitigation(id).await?.value;
    let states: Vec<_> = detail.announcements.iter().map(|at| at.state).collect();
    assert_eq!(states, [AnnouncementState::Quarantined]);
    let health = daemon.client.health_detail().await?;
    assert!(
        health
            .reasons
            .iter()
            .any(|reason| reason.contains("ended its session")),
        "{:?}",
        health.reasons
    );

    let quarantined = "prefixd_peer_rules_quarantined";
    wait_counted(&daemon, quarantined, &[r#"neighbor="frr0""#]).await?;

    let release = PeerOrderRequest {
        reason: "to see whether it still does".to_owned(),
        nlri: Some(found.nlri.clone()),
        ..PeerOrderRequest::default()
    };
    daemon
        .client
        .order_peer("frr0", PeerOrder::Release, &release)
        .await?;
    let again = parked(&daemon, 2).await?;
    assert_eq!(again.nlri, found.nlri);
    frr.wait_rules(Family::Ipv4Flow, |rules| rules.len() == healthy, PATIENCE)
        .await?;
    Ok(())
}

/// Until the store says that a rule was parked so often.
async fn recorded(daemon: &Daemon, times: u32) -> anyhow::Result<()> {
    let wanted = format!("\"times\":{times},");
    wait_for("what is parked is recorded", || async {
        let bodies = daemon.other().await?.texts("SELECT body FROM parked").await?;
        Ok(bodies.iter().any(|body| body.contains(&wanted)).then_some(()))
    })
    .await
}

#[tokio::test]
async fn what_a_router_ended_the_session_over_outlives_the_process() -> anyhow::Result<()> {
    let frr = router!(Kind::Frr, RouterConfig::new(65001, 65010));
    let mut daemon = Daemon::start(Setup::default(), &[&frr]).await?;
    daemon.wait_established(1).await?;
    daemon.ban("203.0.113.10", 27015).await?;
    daemon.client.create_mitigation(&deadly()).await?;
    let found = parked(&daemon, 1).await?;
    recorded(&daemon, 1).await?;
    daemon.kill().await?;
    daemon.boot().await?;
    daemon.wait_established(1).await?;
    // It is known before anything is told: the others come, and the session lives.
    frr.wait_rules(Family::Ipv4Flow, |rules| !rules.is_empty(), PATIENCE)
        .await?;
    let detail = daemon.client.peer("frr0").await?.value;
    let again = &detail.parked[0];
    assert_eq!(
        (&again.nlri, &again.why, again.times),
        (&found.nlri, &found.why, 1)
    );
    assert_eq!((detail.peer.established_total, detail.peer.flaps), (1, 0));
    assert_eq!(detail.peer.rules_quarantined, 1);

    // Its time ends while the daemon is away: it is tried again, and is parked for the second time.
    daemon.stop().await?;
    let an_hour_ago = "UPDATE parked SET body = json_set(body, '$.rules[0].until', \
                       strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '-1 hour'))";
    assert_eq!(daemon.other().await?.execute(an_hour_ago).await?, 1);
    daemon.boot().await?;
    parked(&daemon, 2).await?;
    recorded(&daemon, 2).await?;

    // Released by order while the router is away, it is released for the next process as well.
    drop(frr);
    let release = PeerOrderRequest {
        reason: "another router comes".to_owned(),
        ..PeerOrderRequest::default()
    };
    daemon
        .client
        .order_peer("frr0", PeerOrder::Release, &release)
        .await?;
    daemon.kill().await?;
    daemon.boot().await?;
    let detail = daemon.client.peer("frr0").await?.value;
    assert_eq!(detail.parked, []);
    assert_eq!(detail.peer.rules_quarantined, 0);
    Ok(())
}
