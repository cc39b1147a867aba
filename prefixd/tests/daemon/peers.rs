//! Neighbours as the operators want them: protected, disabled, enabled, reset, told again.

use crate::support::{Daemon, PATIENCE, Setup, router, wait_for};
use anyhow::Context;
use lab::routers::{Family, Kind, Router, RouterConfig, RouterRule};
use prefixd_api::client::RibQuery;
use prefixd_api::family::AfiSafi;
use prefixd_api::peer::{PeerDetail, PeerOrder, PeerOrderRequest, RibRoute};
use prefixd_api::resource::{AnnouncementState, PeerState};
use std::collections::BTreeSet;

#[tokio::test]
async fn a_key_from_a_file_and_ttl_security_come_with_a_reload() -> anyhow::Result<()> {
    let bird = router!(
        Kind::Bird,
        RouterConfig {
            password: Some("key0fTheLab".to_owned()),
            ttl_security: true,
            ..RouterConfig::new(65001, 65010)
        },
    );
    let daemon = Daemon::start(Setup::default(), &[&bird]).await?;
    daemon.ban("203.0.113.10", 27015).await?;
    daemon.edit(
        "prefixd.yaml",
        "profile: bird",
        "profile: bird, password_file: bird.md5, ttl_security: true",
    )?;
    let problem = daemon.client.reload().await.expect_err("no key").to_string();
    assert!(problem.contains("bird.md5"), "{problem}");

    std::fs::write(daemon.dir.path().join("bird.md5"), "key0fTheLab\n")?;
    daemon.client.reload().await?;
    bird.wait_rules(Family::Ipv4Flow, |rules| !rules.is_empty(), PATIENCE)
        .await?;
    let session = peer(&daemon, "bird0").await?.session;
    assert_eq!(
        session.map(|session| (session.md5, session.ttl_security)),
        Some((true, true))
    );
    assert!(!daemon.log().contains("key0fTheLab"), "a key is never shown");
    Ok(())
}

fn because(reason: &str) -> PeerOrderRequest {
    PeerOrderRequest {
        reason: reason.to_owned(),
        ..PeerOrderRequest::default()
    }
}

async fn peer(daemon: &Daemon, name: &str) -> anyhow::Result<PeerDetail> {
    Ok(daemon.client.peer(name).await?.value)
}

async fn wait_state(daemon: &Daemon, name: &str, state: PeerState) -> anyhow::Result<PeerDetail> {
    wait_for(&format!("{name} is {state}"), || async {
        let detail = peer(daemon, name).await?;
        Ok((detail.peer.state == state).then_some(detail))
    })
    .await
}

/// Waits until a router has rules for so many victims.
async fn wait_victims(router: &Router, victims: usize) -> anyhow::Result<()> {
    let count = |rules: &[RouterRule]| {
        let found: BTreeSet<_> = rules.iter().map(|rule| rule.matches.destination).collect();
        found.len() == victims
    };
    router.wait_rules(Family::Ipv4Flow, count, PATIENCE).await?;
    Ok(())
}

#[tokio::test]
async fn a_disabled_neighbour_holds_nothing_until_it_is_enabled() -> anyhow::Result<()> {
    let off = router!(Kind::Bird, RouterConfig::new(65001, 65010));
    let on = router!(Kind::Bird, RouterConfig::new(65002, 65010));
    let mut daemon = Daemon::start(Setup::default(), &[&off, &on]).await?;
    daemon.wait_established(2).await?;
    daemon.ban("203.0.113.10", 27015).await?;
    wait_victims(&off, 1).await?;
    wait_victims(&on, 1).await?;

    let client = &daemon.client;
    let refused = async |name: &str, order, reason: &str| {
        let refused = client.order_peer(name, order, &because(reason)).await;
        refused
            .err()
            .and_then(|error| error.code().map(str::to_owned))
            .unwrap_or_default()
    };
    assert_eq!(refused("bird0", PeerOrder::Disable, " ").await, "request.field");
    assert_eq!(refused("bird9", PeerOrder::Disable, "x").await, "not_found");
    let detail = client
        .order_peer("bird0", PeerOrder::Disable, &because("line card"))
        .await?;
    assert_eq!(
        detail.peer.disabled.map(|disabled| disabled.reason),
        Some("line card".into())
    );
    wait_victims(&off, 0).await?;
    let detail = wait_state(&daemon, "bird0", PeerState::Disabled).await?;
    assert!(
        detail
            .history
            .iter()
            .any(|entry| entry.what == "disabled: line card"),
        "{detail:#?}"
    );
    wait_victims(&on, 1).await?;
    for order in [PeerOrder::Reset, PeerOrder::Resend] {
        assert_eq!(refused("bird0", order, "x").await, "conflict.disabled");
    }
    let health = daemon.client.health_detail().await?;
    assert_eq!((health.status.as_str(), health.peers_disabled), ("healthy", 1));
    assert!(health.notes[0].contains("bird0 is disabled") && health.notes[0].contains("line card"));

    let metrics = daemon.metrics().await?;
    for (name, value) in [("bird0", 1), ("bird1", 0)] {
        let line = format!("prefixd_peer_disabled{{neighbor=\"{name}\"}} {value}\n");
        assert!(metrics.contains(&line), "{metrics}");
    }

    // Neither a restart nor a reload that takes it away and brings it back lets it in.
    daemon.kill().await?;
    daemon.boot().await?;
    daemon.wait_established(1).await?;
    daemon.ban("203.0.113.11", 27015).await?;
    wait_victims(&on, 2).await?;
    let with = std::fs::read_to_string(daemon.dir.path().join("prefixd.yaml"))?;
    let lines = with.lines().filter(|line| !line.contains("name: bird0"));
    let without = lines.collect::<Vec<_>>().join("\n");
    for text in [without, with] {
        std::fs::write(daemon.dir.path().join("prefixd.yaml"), text)?;
        daemon.client.reload().await?;
    }
    let detail = wait_state(&daemon, "bird0", PeerState::Disabled).await?;
    let other = peer(&daemon, "bird1").await?.peer;
    assert_eq!(
        detail.peer.rules_desired, other.rules_desired,
        "it is not forgotten"
    );
    assert_eq!(
        (detail.peer.established_total, detail.peer.rules_advertised),
        (0, 0)
    );
    assert_eq!(off.count(Family::Ipv4Flow).await?, 0);
    assert!(!off.is_established().await?);

    daemon
        .client
        .order_peer("bird0", PeerOrder::Enable, &because("replaced"))
        .await?;
    wait_victims(&off, 2).await?;
    let detail = wait_state(&daemon, "bird0", PeerState::Established).await?;
    assert_eq!(detail.peer.disabled, None);
    daemon.kill().await?;
    daemon.boot().await?;
    daemon.wait_established(2).await
}

#[tokio::test]
async fn health_says_when_nobody_is_left_to_be_told() -> anyhow::Result<()> {
    let bird = router!(Kind::Bird, RouterConfig::new(65001, 65010));
    let daemon = Daemon::start(Setup::default(), &[&bird]).await?;
    daemon
        .client
        .order_peer("bird0", PeerOrder::Disable, &because("works"))
        .await?;
    let health = daemon.client.health_detail().await?;
    assert_eq!(health.status, "degraded");
    assert_eq!(
        health.reasons,
        ["every neighbour is disabled: nothing is announced"]
    );
    Ok(())
}

#[tokio::test]
async fn a_reset_makes_the_session_anew_and_a_resend_does_not() -> anyhow::Result<()> {
    let bird = router!(Kind::Bird, RouterConfig::new(65001, 65010));
    let daemon = Daemon::start(Setup::default(), &[&bird]).await?;
    daemon.wait_established(1).await?;
    for victim in ["203.0.113.10", "203.0.113.11"] {
        daemon.ban(victim, 27015).await?;
    }
    wait_victims(&bird, 2).await?;
    let updates = async || {
        let detail = peer(&daemon, "bird0").await?;
        anyhow::Ok(detail.peer.counters["updates_sent"])
    };
    let before = updates().await?;
    daemon
        .client
        .order_peer("bird0", PeerOrder::Resend, &because("to be sure"))
        .await?;
    wait_for("the rules are sent again", || async {
        Ok((updates().await? > before).then_some(()))
    })
    .await?;
    assert_eq!(peer(&daemon, "bird0").await?.peer.established_total, 1);

    daemon
        .client
        .order_peer("bird0", PeerOrder::Reset, &because("INC-4711"))
        .await?;
    let detail = wait_for("the session is another", || async {
        let detail = peer(&daemon, "bird0").await?;
        let is_new = detail.peer.established_total == 2 && detail.session.is_some();
        Ok(is_new.then_some(detail))
    })
    .await?;
    wait_victims(&bird, 2).await?;
    assert_eq!(
        detail.last_sent.map(|sent| (sent.code, sent.subcode, sent.text)),
        Some((6, 4, Some("INC-4711".to_owned())))
    );
    assert!(!detail.peer.capabilities.is_empty() && detail.session.is_some_and(|session| !session.md5));
    let told: Vec<_> = detail
        .history
        .iter()
        .filter(|entry| entry.what.contains("INC-4711"))
        .collect();
    assert!(!told.is_empty(), "{:#?}", detail.history);
    Ok(())
}

/// UPDATEs that a neighbour was sent for an order to send again, once that is over.
async fn updates_of_resend(daemon: &Daemon, name: &str, family: Option<AfiSafi>) -> anyhow::Result<u64> {
    let sent = async || {
        let peer = peer(daemon, name).await?.peer;
        anyhow::Ok((
            peer.counters["updates_sent"],
            peer.counters["route_refreshes_sent"],
            peer.rules_queued,
        ))
    };
    let (before, framed, _) = sent().await?;
    let request = PeerOrderRequest {
        afi_safi: family,
        ..because("to be sure")
    };
    daemon
        .client
        .order_peer(name, PeerOrder::Resend, &request)
        .await?;
    // BIRD agrees to frames, so the end of what is sent again is seen: two for each family.
    let frames = if family.is_some() { 2 } else { 4 };
    wait_for("everything was sent again", || async {
        let (after, refreshes, queued) = sent().await?;
        Ok((refreshes == framed + frames && queued == 0).then_some(after - before))
    })
    .await
}

#[tokio::test]
async fn updates_are_as_short_as_is_configured_and_one_family_is_sent_again() -> anyhow::Result<()> {
    let long = router!(Kind::Bird, RouterConfig::new(65001, 65010));
    let short = router!(Kind::Bird, RouterConfig::new(65002, 65010));
    let mut daemon = Daemon::configured(Setup::default(), &[&long, &short])?;
    daemon.boot().await?;
    daemon.wait_established(2).await?;
    for host in 0..60 {
        daemon.ban(&format!("203.0.113.{}", 10 + host), 27015).await?;
        if host < 3 {
            daemon.ban(&format!("2001:db8:acce::{host}"), 27015).await?;
        }
    }
    for router in [&long, &short] {
        wait_victims(router, 60).await?;
    }
    // Each victim has a rule and its companion, one action for all: what fits shares a message.
    let as_it_is = updates_of_resend(&daemon, "bird1", None).await?;
    daemon.edit(
        "prefixd.yaml",
        "peer_asn: 65002, local_address: 127.0.0.1,",
        "peer_asn: 65002, local_address: 127.0.0.1, limits: { update_bytes: 256 },",
    )?;
    daemon.client.reload().await?;
    let shorter = updates_of_resend(&daemon, "bird1", None).await?;
    assert!(shorter > 4 * as_it_is, "{as_it_is} became {shorter}");
    assert_eq!(updates_of_resend(&daemon, "bird0", None).await?, as_it_is);
    assert_eq!(peer(&daemon, "bird1").await?.peer.established_total, 1);

    let one = updates_of_resend(&daemon, "bird1", Some(AfiSafi::Ipv6Flowspec)).await?;
    assert!(one > 0 && one < shorter / 2, "{one} of {shorter}");
    let history = peer(&daemon, "bird1").await?.history;
    assert!(
        history.iter().any(|entry| entry.what.contains("ipv6-flowspec")),
        "{history:#?}"
    );
    let journal = daemon
        .other()
        .await?
        .texts("SELECT body FROM journal WHERE kind = 'peer'")
        .await?;
    assert!(
        journal
            .iter()
            .any(|body| body.contains(r#""afi_safi":"ipv6-flowspec""#)),
        "{journal:?}"
    );
    for (order, family) in [
        (PeerOrder::Reset, AfiSafi::Ipv6Flowspec),
        (PeerOrder::Resend, AfiSafi::Ipv4Unicast),
    ] {
        let request = PeerOrderRequest {
            afi_safi: Some(family),
            ..because("x")
        };
        let refused = daemon
            .client
            .order_peer("bird1", order, &request)
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Some("request.field"));
    }
    Ok(())
}

#[tokio::test]
async fn a_release_is_recorded_and_names_only_what_is_held_back() -> anyhow::Result<()> {
    let bird = router!(Kind::Bird, RouterConfig::new(65001, 65010));
    let daemon = Daemon::start(Setup::default(), &[&bird]).await?;
    daemon.wait_established(1).await?;
    let one = PeerOrderRequest {
        nlri: Some("060120cb007101".to_owned()),
        ..because("the router was upgraded")
    };
    for (order, expected) in [
        (PeerOrder::Release, "not_found"),
        (PeerOrder::Reset, "request.field"),
    ] {
        let refused = daemon.client.order_peer("bird0", order, &one).await.unwrap_err();
        assert_eq!(refused.code(), Some(expected));
    }
    let detail = daemon
        .client
        .order_peer("bird0", PeerOrder::Release, &because("the router was upgraded"))
        .await?;
    assert_eq!(detail.parked, []);
    assert_eq!(detail.peer.established_total, 1);
    let detail = peer(&daemon, "bird0").await?;
    assert!(
        detail.history.iter().any(|entry| entry.what.contains("released")),
        "{:#?}",
        detail.history
    );
    Ok(())
}

fn rib_page(limit: u16, cursor: Option<&str>) -> RibQuery {
    RibQuery {
        limit: Some(limit),
        cursor: cursor.map(str::to_owned),
        ..RibQuery::default()
    }
}

#[tokio::test]
async fn the_rib_of_a_neighbour_says_where_each_rule_stands() -> anyhow::Result<()> {
    let bird = router!(Kind::Bird, RouterConfig::new(65001, 65010));
    let daemon = Daemon::start(Setup::default(), &[&bird]).await?;
    daemon.wait_established(1).await?;
    let mut wanted = BTreeSet::new();
    for host in 10..15 {
        let answer = daemon.ban(&format!("203.0.113.{host}"), 27015).await?;
        wanted.extend(answer.mitigation_id);
    }
    wait_victims(&bird, 5).await?;
    let all = wait_for("all are advertised", || async {
        let list = daemon.client.peer_rib("bird0", &RibQuery::default()).await?.value;
        let state = |route: &RibRoute| route.state == AnnouncementState::Advertised;
        Ok((list.count >= 5 && list.routes.iter().all(state)).then_some(list))
    })
    .await?;
    assert_eq!(all.next_cursor, None);
    let mut paged = Vec::new();
    let mut cursor = None;
    loop {
        let page = daemon
            .client
            .peer_rib("bird0", &rib_page(2, cursor.as_deref()))
            .await?
            .value;
        assert!(page.count <= 2);
        paged.extend(page.routes);
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(
        paged.iter().map(|route| &route.nlri).collect::<Vec<_>>(),
        all.routes.iter().map(|route| &route.nlri).collect::<Vec<_>>()
    );
    let owners: BTreeSet<_> = paged.iter().flat_map(|route| route.mitigations.clone()).collect();
    assert_eq!(owners, wanted);
    for route in &paged {
        assert!(
            route
                .rule
                .as_deref()
                .is_some_and(|rule| rule.contains("203.0.113.1"))
        );
        assert!(route.until.is_some() && route.written_at.is_some() && route.action.is_some());
    }
    let refused = daemon
        .client
        .peer_rib("bird0", &rib_page(2, Some("x")))
        .await
        .err();
    assert_eq!(
        refused.and_then(|error| error.code().map(str::to_owned)),
        Some("request.field".into())
    );

    daemon
        .client
        .order_peer("bird0", PeerOrder::Disable, &because("works"))
        .await?;
    wait_state(&daemon, "bird0", PeerState::Disabled).await?;
    let in_state = |state| RibQuery {
        state: vec![AnnouncementState::Queued, state],
        ..rib_page(2, None)
    };
    let none = daemon
        .client
        .peer_rib("bird0", &in_state(AnnouncementState::Advertised))
        .await?
        .value;
    assert_eq!((none.count, none.next_cursor), (0, None));
    let two = daemon
        .client
        .peer_rib("bird0", &in_state(AnnouncementState::SessionDown))
        .await?
        .value;
    assert!(two.count == 2 && two.next_cursor.is_some(), "{two:?}");
    let list = daemon.client.peer_rib("bird0", &RibQuery::default()).await?.value;
    assert_eq!(list.count, all.count);
    for route in list.routes {
        assert_eq!(route.state, AnnouncementState::SessionDown);
        assert!(route.reason.is_some_and(|reason| reason.contains("disabled")));
    }
    Ok(())
}

/// A session with a router that does not take the rule stops nothing.
#[tokio::test]
async fn what_no_router_has_any_more_matters_more() -> anyhow::Result<()> {
    let mut bird = router!(Kind::Bird, RouterConfig::new(65001, 65010));
    let other = router!(Kind::Bird, RouterConfig::new(65002, 65010));
    let mut daemon = Daemon::configured(Setup::default(), &[&bird, &other])?;
    daemon.edit(
        "prefixd.yaml",
        "peer_asn: 65002,",
        "peer_asn: 65002, afi_safi: [ipv6-flowspec],",
    )?;
    daemon.boot().await?;
    daemon.wait_established(2).await?;
    let reported = async || {
        let answer = daemon.ban("203.0.113.10", 27015).await?;
        let id = answer.mitigation_id.context("it is mitigated")?;
        anyhow::Ok(daemon.client.mitigation(id).await?.value.mitigation)
    };
    let told = wait_for("a router was seen to have it", || async {
        let mitigation = reported().await?;
        Ok(mitigation.advertised_at.is_some().then_some(mitigation))
    })
    .await?;
    bird.stop().await?;
    let lost = wait_for("it matters more", || async {
        let mitigation = reported().await?;
        Ok((mitigation.severity > told.severity).then_some(mitigation))
    })
    .await?;
    assert_eq!(lost.mitigation_id, told.mitigation_id);
    wait_state(&daemon, "bird1", PeerState::Established).await?;
    Ok(())
}
