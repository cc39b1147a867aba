//! A neighbour that holds as many rules as it may.

use crate::metrics::{Scrape, wait_counted};
use crate::support::{Daemon, PATIENCE, Setup, router, wait_for};
use anyhow::Context as _;
use lab::routers::{Family, Kind, RouterConfig};
use lab::speaker::{Identity, Message, Speaker};
use prefixd_api::mitigation::{MitigationRequest, WithdrawRequest};
use prefixd_api::peer::{PeerOrder, PeerOrderRequest};
use prefixd_api::resource::AnnouncementState;
use prefixd_api::rule::ActionType;
use std::net::Ipv4Addr;
use tokio::net::TcpListener;

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

/// A router that says how many rules it takes.
struct Full {
    listener: TcpListener,
}

impl Full {
    async fn session(&self) -> anyhow::Result<Speaker> {
        let (stream, _) = tokio::time::timeout(PATIENCE, self.listener.accept())
            .await
            .context("nobody dials")??;
        let identity = Identity {
            asn: 65001,
            router_id: Ipv4Addr::new(192, 0, 2, 1),
            hold_time_seconds: 90,
        };
        Speaker::open(stream, identity).await
    }

    /// How many rules come before the End-of-RIB of IPv4; each is for a victim in 203.0.113.0/24.
    async fn rules(session: &mut Speaker) -> anyhow::Result<usize> {
        const DESTINATION: [u8; 5] = [1, 32, 203, 0, 113];
        const END_OF_RIB: [u8; 3] = [0, 1, 133];
        let mut rules = 0;
        loop {
            let next = tokio::time::timeout(PATIENCE, session.next()).await;
            match next.context("no End-of-RIB comes")?? {
                Message::Update(body) if body.len() == 11 && body.ends_with(&END_OF_RIB) => return Ok(rules),
                Message::Update(body) => {
                    rules += body.windows(5).filter(|at| *at == DESTINATION).count();
                }
                Message::Notification(body) => anyhow::bail!("a NOTIFICATION {body:?}"),
                _ => {}
            }
        }
    }
}

/// Until the neighbour has so many rules, and so many wait for a place.
async fn counts(daemon: &Daemon, advertised: u64, over: u64) -> anyhow::Result<()> {
    wait_for("the rules of the neighbour", || async {
        let peers = daemon.client.peers().await?.value;
        let is = (peers.peers[0].rules_advertised, peers.peers[0].rules_over_budget);
        Ok((is == (advertised, over)).then_some(()))
    })
    .await
}

/// Until the store knows a bound of the neighbour, or none.
async fn recorded(daemon: &Daemon, wanted: bool) -> anyhow::Result<()> {
    wait_for("the record of a bound", || async {
        let bodies = daemon.other().await?.texts("SELECT body FROM parked").await?;
        let is = bodies.iter().any(|body| body.contains("\"bound\""));
        Ok((is == wanted).then_some(()))
    })
    .await
}

#[tokio::test]
async fn what_a_router_took_at_most_outlives_the_process() -> anyhow::Result<()> {
    let full = Full {
        listener: TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?,
    };
    let mut daemon = Daemon::configured(Setup::default(), &[])?;
    let port = full.listener.local_addr()?.port();
    daemon.edit(
        "prefixd.yaml",
        "neighbors:\n    []\n",
        &format!("neighbors:\n    - {{ name: full, address: 127.0.0.1, port: {port}, peer_asn: 65001 }}\n"),
    )?;
    daemon.boot().await?;
    let mut session = full.session().await?;
    Full::rules(&mut session).await?;
    // Each is a rule for the ports and one for fragments.
    for host in 10..13 {
        daemon.ban(&format!("203.0.113.{host}"), 27015).await?;
    }
    counts(&daemon, 6, 0).await?;
    // Cease/1: four rules of IPv4 FlowSpec. It is told nine tenths of them.
    let mut cease = vec![0xff; 16];
    cease.extend([0, 28, 3, 6, 1, 0, 1, 133, 0, 0, 0, 4]);
    session.raw(&cease).await?;
    counts(&daemon, 0, 3).await?;
    recorded(&daemon, true).await?;
    daemon.kill().await?;
    daemon.boot().await?;
    let mut session = full.session().await?;
    assert_eq!(
        Full::rules(&mut session).await?,
        3,
        "the bound is known before anything is told"
    );
    counts(&daemon, 3, 3).await?;
    let health = daemon.client.health_detail().await?;
    assert!(
        health.reasons.iter().any(|said| said.contains("full")),
        "{:?}",
        health.reasons
    );

    // A person's word that it takes more now.
    let reset = PeerOrderRequest {
        reason: "its limit was raised".to_owned(),
        ..PeerOrderRequest::default()
    };
    daemon.client.order_peer("full", PeerOrder::Reset, &reset).await?;
    let mut session = full.session().await?;
    assert_eq!(Full::rules(&mut session).await?, 6);
    recorded(&daemon, false).await?;
    Ok(())
}
