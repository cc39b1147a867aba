//! A neighbour that holds as many rules as it may.

use crate::metrics::{Scrape, wait_counted};
use crate::support::{Daemon, PATIENCE, Setup, router, wait_for};
use lab::routers::{Family, Kind, RouterConfig};
use prefixd_api::mitigation::{MitigationRequest, WithdrawRequest};
use prefixd_api::resource::AnnouncementState;
use prefixd_api::rule::ActionType;

#[tokio::test]
async fn what_has_no_place_is_said_everywhere_and_comes_when_there_is_one() -> anyhow::Result<()> {
    let bird = router!(Kind::Bird, RouterConfig::new(65001, 65010));
    let daemon = Daemon::start(Setup::default(), &[&bird]).await?;
    daemon.edit("prefixd.yaml", "profile: bird", "profile: bird, max_rules: 4")?;
    daemon.client.reload().await?;
    let mut made = Vec::new();
    // Each is a rule for the ports and one for fragments.
    for host in 10..13 {
        made.extend(
            daemon
                .ban(&format!("203.0.113.{host}"), 27015)
                .await?
                .mitigation_id,
        );
    }
    let rules = |count: usize| bird.wait_rules(Family::Ipv4Flow, move |rules| rules.len() == count, PATIENCE);
    rules(4).await?;

    let health = daemon.client.health_detail().await?;
    assert_eq!(health.status, "degraded");
    let reason = "2 rules wait for a place in the budget of 4 of bird0";
    assert!(
        health.reasons.iter().any(|said| said.starts_with(reason)),
        "{:?}",
        health.reasons
    );
    let scrape = Scrape::of(&daemon).await?;
    let gauge = |name: &str| scrape.sum(name, &[r#"neighbor="bird0""#]);
    assert_eq!(gauge("prefixd_peer_rules_over_budget"), Some(2.0));
    assert_eq!(gauge("prefixd_peer_rules_budget"), Some(4.0));
    assert_eq!(gauge("prefixd_peer_rules_advertised"), Some(4.0));

    let mut there = Vec::new();
    let mut waiting = 0;
    for id in made {
        let detail = daemon.client.mitigation(id).await?.value;
        let states: Vec<_> = detail.announcements.iter().map(|one| one.state).collect();
        match states[..] {
            [AnnouncementState::Advertised, AnnouncementState::Advertised] => there.push(id),
            [AnnouncementState::OverBudget, AnnouncementState::OverBudget] => waiting += 1,
            _ => panic!("{states:?}"),
        }
    }
    assert_eq!((there.len(), waiting), (2, 1));
    let request = WithdrawRequest {
        reason: "test".to_owned(),
        ..WithdrawRequest::default()
    };
    daemon.client.withdraw_mitigation(there[0], &request).await?;
    wait_for("another takes the place", || async {
        let peers = daemon.client.peers().await?.value;
        let bird = &peers.peers[0];
        Ok((bird.rules_over_budget == 0 && bird.rules_advertised == 4).then_some(()))
    })
    .await?;
    rules(4).await?;

    // An operator's rule takes the place of a detector's.
    let urgent = MitigationRequest {
        victim_ip: "203.0.113.20".into(),
        action: Some(ActionType::Discard),
        protocol: Some(17),
        dst_ports: [53].into_iter().collect(),
        ttl_seconds: Some(300),
        reason: "INC-4711".into(),
        ..MitigationRequest::default()
    };
    daemon.client.create_mitigation(&urgent).await?;
    let labels = &[r#"neighbor="bird0""#];
    wait_counted(&daemon, "prefixd_peer_rules_displaced", labels).await?;
    wait_counted(&daemon, "prefixd_peer_rules_over_budget", labels).await?;
    Ok(())
}
