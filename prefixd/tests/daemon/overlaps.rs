//! Rules of one victim side by side, as a router sees them.

use crate::support::{Daemon, PATIENCE, Setup, router};
use anyhow::Context;
use lab::routers::{Component, Family, Kind, Match, Op, Router, RouterConfig, RouterRule};
use prefixd_api::mitigation::{Mitigation, MitigationRequest, WithdrawRequest};
use prefixd_api::rate::BitsPerSecond;
use prefixd_api::resource::AnnouncementState;
use prefixd_api::rule::ActionType;

fn ntp(vector: &str) -> MitigationRequest {
    MitigationRequest {
        victim_ip: "203.0.113.10".to_owned(),
        vector: Some(vector.to_owned()),
        ttl_seconds: Some(600),
        protocol: Some(17),
        src_ports: [123].into_iter().collect(),
        reason: "test".to_owned(),
        ..MitigationRequest::default()
    }
}

/// What of it goes to a port is policed.
fn policed() -> MitigationRequest {
    MitigationRequest {
        action: Some(ActionType::Police),
        rate_bps: Some(BitsPerSecond(2_000_000)),
        dst_ports: [80].into_iter().collect(),
        ..ntp("to_port_80")
    }
}

fn discarded() -> MitigationRequest {
    MitigationRequest {
        action: Some(ActionType::Discard),
        ..ntp("all_of_ntp")
    }
}

async fn only(bird: &Router, wanted: &Match) -> anyhow::Result<()> {
    let is_it = |rules: &[RouterRule]| matches!(rules, [rule] if rule.matches == *wanted);
    bird.wait_rules(Family::Ipv4Flow, is_it, PATIENCE).await?;
    Ok(())
}

async fn standing(daemon: &Daemon, of: &Mitigation) -> anyhow::Result<AnnouncementState> {
    let detail = daemon.client.mitigation(of.mitigation_id).await?.value;
    Ok(detail.announcements.first().context("it is told")?.state)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_weaker_rule_inside_a_stricter_one_reaches_no_router_until_that_ends() -> anyhow::Result<()> {
    let bird = router!(Kind::Bird, RouterConfig::new(65001, 65010));
    let mut daemon = Daemon::start(Setup::default(), &[&bird]).await?;
    daemon.wait_established(1).await?;
    let destination = Match::to("203.0.113.10/32".parse()?).with(Component::Protocol, &[(Op::Eq, 17)]);
    let wide = destination.clone().with(Component::SourcePort, &[(Op::Eq, 123)]);
    let narrow = wide.clone().with(Component::DestinationPort, &[(Op::Eq, 80)]);

    let weaker = daemon.client.create_mitigation(&policed()).await?;
    only(&bird, &narrow).await?;
    let foreseen = daemon.client.preview_mitigation(&discarded()).await?;
    let told = &foreseen.neighbors[0].announcements[0];
    assert_eq!(
        told.overlaps.len(),
        0,
        "what it takes over is no overlap: {told:?}"
    );
    let stricter = daemon.client.create_mitigation(&discarded()).await?;
    // The weaker one would be asked first.
    only(&bird, &wide).await?;
    assert_eq!(standing(&daemon, &weaker).await?, AnnouncementState::Covered);
    let why = daemon.client.mitigation_why(weaker.mitigation_id).await?.value;
    let told = why.announcements.first().context("it is told")?;
    assert_eq!(told.shadowed_by[0].mitigation_id, stricter.mitigation_id);

    // A preview of more of the kind says so before.
    let more = MitigationRequest {
        dst_ports: [8080].into_iter().collect(),
        vector: Some("to_port_8080".to_owned()),
        ..policed()
    };
    let foreseen = daemon.client.preview_mitigation(&more).await?;
    assert_eq!(
        foreseen.neighbors[0].announcements[0].state,
        AnnouncementState::Covered
    );

    // What stands beside it is named on both sides.
    let beside = MitigationRequest {
        src_ports: [123, 53].into_iter().collect(),
        dst_ports: [443].into_iter().collect(),
        vector: Some("to_port_443".to_owned()),
        ..policed()
    };
    let beside = daemon.client.create_mitigation(&beside).await?;
    let detail = daemon.client.mitigation(stricter.mitigation_id).await?.value;
    let overlap = detail.announcements[0].overlaps.first().context("it overlaps")?;
    assert_eq!(
        (overlap.mitigation_id, overlap.comes_first),
        (beside.mitigation_id, true)
    );
    let withdrawal = |reason: &str| WithdrawRequest {
        reason: reason.to_owned(),
        ..WithdrawRequest::default()
    };
    daemon
        .client
        .withdraw_mitigation(beside.mitigation_id, &withdrawal("no more"))
        .await?;

    // The same after a restart, from what is stored.
    daemon.stop().await?;
    daemon.boot().await?;
    daemon.wait_established(1).await?;
    only(&bird, &wide).await?;

    daemon
        .client
        .withdraw_mitigation(stricter.mitigation_id, &withdrawal("over"))
        .await?;
    only(&bird, &narrow).await?;
    assert_eq!(standing(&daemon, &weaker).await?, AnnouncementState::Advertised);
    let delivery = daemon
        .client
        .mitigation(weaker.mitigation_id)
        .await?
        .value
        .mitigation
        .delivery;
    assert_eq!(delivery.context("it is told")?.advertised, 1);
    Ok(())
}
