//! Reloading: all or nothing.

use crate::support::{Backend, Daemon, PATIENCE, Setup, ban, on_both_stores, router, wait_for};
use anyhow::Context;
use lab::routers::{Family, Kind, RouterConfig};
use nix::sys::signal::Signal;
use prefixd_api::event::{EventOutcome, EventRequest};
use prefixd_api::mitigation::EndReason;
use prefixd_api::time::Timestamp;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

on_both_stores!(
    a_rule_that_the_new_safelist_covers_is_withdrawn
    a_neighbour_that_a_reload_adds_gets_the_rules
    the_journal_says_which_files_a_reload_changed
);

/// Two of three files change for the better: nothing of them is in force while the third is bad, whoever asks.
#[tokio::test]
async fn a_bad_file_changes_nothing_and_says_where_it_is_bad() -> anyhow::Result<()> {
    let bird = router!(Kind::Bird, RouterConfig::new(65001, 65010));
    let daemon = Daemon::start(Setup::default(), &[&bird]).await?;
    daemon.wait_established(1).await?;
    daemon.edit(
        "prefixd.yaml",
        "\"203.0.113.1/32\"",
        "\"203.0.113.1/32\", \"203.0.113.9/32\"",
    )?;
    daemon.edit(
        "inventory.yaml",
        "\"203.0.113.0/24\"",
        "\"203.0.113.0/24\", \"192.0.2.0/24\"",
    )?;
    daemon.edit("playbooks.yaml", "ttl_seconds: 300", "ttl_secnods: 300")?;
    let place = "playbooks.yaml:4:50";

    let problem = daemon.client.reload().await.expect_err("a bad file").to_string();
    assert!(
        problem.contains(place) && problem.contains("ttl_seconds"),
        "{problem}"
    );
    let refusals = || daemon.log().matches(place).count();
    let before = refusals();
    daemon.signal(Signal::SIGHUP)?;
    wait_for("the signal is answered in the log", || async {
        Ok((refusals() > before).then_some(()))
    })
    .await?;

    let told = async |victim: &str| anyhow::Ok(daemon.ban(victim, 27015).await?.status);
    assert_eq!(told("203.0.113.9").await?, EventOutcome::Accepted);
    assert_eq!(told("192.0.2.7").await?, EventOutcome::AcceptedNotOwned);
    let recorded = "SELECT body FROM journal WHERE kind = 'config'";
    assert!(daemon.other().await?.texts(recorded).await?.is_empty());
    let peer = &daemon.client.peers().await?.value.peers[0];
    assert_eq!(peer.established_total, 1, "the session was not touched");

    daemon.edit("playbooks.yaml", "ttl_secnods: 300", "ttl_seconds: 300")?;
    daemon.client.reload().await?;
    assert_eq!(told("192.0.2.7").await?, EventOutcome::Accepted);
    let refused = daemon
        .ban("203.0.113.9", 27015)
        .await
        .err()
        .context("safelisted")?;
    assert_eq!(refused.code(), Some("guardrail.safelist"));
    assert_eq!(daemon.other().await?.texts(recorded).await?.len(), 1);
    Ok(())
}

/// Half a request is given a second by itself; the configuration that came with a reload has none left.
#[tokio::test]
async fn a_stop_takes_no_longer_than_the_configuration_in_force_says() -> anyhow::Result<()> {
    let mut daemon = Daemon::start(Setup::default(), &[]).await?;
    daemon.edit(
        "prefixd.yaml",
        "safelist: {",
        "shutdown: { drain_timeout_seconds: 0 }\nsafelist: {",
    )?;
    daemon.client.reload().await?;
    let mut half = TcpStream::connect(daemon.address).await?;
    half.write_all(b"GET /v1/stats HTTP/1.1\r\nhost: local").await?;
    // It was taken in: the kernel hands connections over in their order.
    daemon.client.health_detail().await?;
    daemon.stop().await?;
    let log = std::fs::read_to_string(daemon.dir.path().join("prefixd.log"))?;
    assert!(log.contains("at the end of drain_timeout_seconds"), "{log}");
    Ok(())
}

async fn a_rule_that_the_new_safelist_covers_is_withdrawn(store: Backend) -> anyhow::Result<()> {
    let bird = router!(Kind::Bird, RouterConfig::new(65001, 65010));
    let daemon = Daemon::start(Setup::on(store).await?, &[&bird]).await?;
    daemon.wait_established(1).await?;
    let id = daemon
        .ban("203.0.113.10", 27015)
        .await?
        .mitigation_id
        .context("accepted")?;
    bird.wait_rules(Family::Ipv4Flow, |rules| !rules.is_empty(), PATIENCE)
        .await?;
    daemon.edit("prefixd.yaml", "203.0.113.1/32", "203.0.113.8/29")?;
    daemon.signal(Signal::SIGHUP)?;
    bird.wait_rules(Family::Ipv4Flow, <[lab::routers::RouterRule]>::is_empty, PATIENCE)
        .await?;
    let reason = wait_for("the end is recorded", || async {
        Ok(daemon.client.mitigation(id).await?.value.mitigation.end_reason)
    })
    .await?;
    assert_eq!(reason, EndReason::Safelisted);
    Ok(())
}

async fn a_neighbour_that_a_reload_adds_gets_the_rules(store: Backend) -> anyhow::Result<()> {
    let bird = router!(Kind::Bird, RouterConfig::new(65001, 65010));
    let gobgp = router!(Kind::GoBgp, RouterConfig::new(65003, 65010));
    let daemon = Daemon::start(Setup::on(store).await?, &[&bird]).await?;
    daemon.wait_established(1).await?;
    daemon.ban("203.0.113.10", 27015).await?;
    let flaps = daemon.client.peers().await?.value.peers[0].established_total;
    let added = format!(
        "  neighbors:\n    - {{ name: added, address: {}, port: {}, peer_asn: 65003, local_address: 127.0.0.1, profile: gobgp }}\n",
        gobgp.address().ip(),
        gobgp.address().port()
    );
    daemon.edit("prefixd.yaml", "  neighbors:\n", &added)?;
    daemon.client.reload().await?;
    gobgp
        .wait_rules(Family::Ipv4Flow, |rules| !rules.is_empty(), PATIENCE)
        .await?;
    let peers = daemon.client.peers().await?.value.peers;
    let bird_peer = peers
        .iter()
        .find(|peer| peer.name == "bird0")
        .context("still there")?;
    assert_eq!(
        bird_peer.established_total, flaps,
        "the other session was not touched"
    );
    Ok(())
}

/// A neighbour is changed, then removed: the session of the other one goes on, and its rules are there at every look.
#[tokio::test]
async fn a_reload_touches_the_neighbour_alone_that_it_changes_or_removes() -> anyhow::Result<()> {
    let stays = router!(Kind::Bird, RouterConfig::new(65001, 65010));
    let goes = router!(Kind::Bird, RouterConfig::new(65002, 65010));
    let daemon = Daemon::start(Setup::default(), &[&stays, &goes]).await?;
    daemon.wait_established(2).await?;
    let id = daemon
        .ban("203.0.113.10", 27015)
        .await?
        .mitigation_id
        .context("accepted")?;
    for router in [&stays, &goes] {
        router
            .wait_rules(Family::Ipv4Flow, |rules| !rules.is_empty(), PATIENCE)
            .await?;
    }
    let rules = stays.count(Family::Ipv4Flow).await?;
    let before = daemon.client.peer("bird0").await?.value;
    let untouched = async || {
        assert_eq!(stays.count(Family::Ipv4Flow).await?, rules, "a gap");
        let now = daemon.client.peer("bird0").await?.value;
        assert_eq!((now.peer.established_total, now.peer.flaps), (1, 0));
        assert_eq!(now.session, before.session, "the same connection");
        assert_eq!(
            now.peer.writing.announced, before.peer.writing.announced,
            "told again"
        );
        anyhow::Ok(())
    };

    let of = |asn: u32, keys: &str| format!("peer_asn: {asn}, local_address: 127.0.0.1, {keys}");
    let changed = of(65002, "afi_safi: [ipv4-flowspec], profile: bird");
    daemon.edit("prefixd.yaml", &of(65002, "profile: bird"), &changed)?;
    daemon.client.reload().await?;
    wait_for("the other settings are in force", || async {
        untouched().await?;
        let peer = daemon.client.peer("bird1").await?.value.peer;
        let is_new = peer.established_total == 2 && peer.families == ["ipv4-flowspec"];
        Ok((is_new && peer.rules_advertised == rules as u64).then_some(()))
    })
    .await?;
    goes.wait_rules(Family::Ipv4Flow, |held| held.len() == rules, PATIENCE)
        .await?;

    let all = std::fs::read_to_string(daemon.dir.path().join("prefixd.yaml"))?;
    let line = all.lines().find(|line| line.contains("name: bird1"));
    daemon.edit("prefixd.yaml", &format!("{}\n", line.context("it is there")?), "")?;
    daemon.client.reload().await?;
    wait_for("its rules are gone", || async {
        untouched().await?;
        Ok((goes.count(Family::Ipv4Flow).await? == 0).then_some(()))
    })
    .await?;
    goes.wait_down(PATIENCE).await?;
    untouched().await?;
    let names: Vec<_> = daemon
        .client
        .peers()
        .await?
        .value
        .peers
        .into_iter()
        .map(|peer| peer.name)
        .collect();
    assert_eq!(names, ["bird0"]);
    let gone = daemon.client.peer("bird1").await.err().context("it is removed")?;
    assert_eq!(gone.code(), Some("not_found"));
    // The mitigation goes on where there is a router, and nothing is left to be counted of the other.
    let detail = daemon.client.mitigation(id).await?.value;
    assert!(detail.mitigation.status.is_live());
    assert!(
        detail.announcements.iter().all(|at| at.neighbor == "bird0"),
        "{detail:?}"
    );
    let metrics = daemon.metrics().await?;
    assert!(
        metrics.contains("neighbor=\"bird0\"") && !metrics.contains("bird1"),
        "{metrics}"
    );
    let health = daemon.client.health_detail().await?;
    assert_eq!(
        (health.peers_total, health.status.as_str()),
        (1, "healthy"),
        "{health:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_key_that_needs_a_restart_is_refused() -> anyhow::Result<()> {
    let daemon = Daemon::start(Setup::default(), &[]).await?;
    daemon.edit("prefixd.yaml", "pop: test1", "pop: test2")?;
    let problem = daemon
        .client
        .reload()
        .await
        .expect_err("pop needs a restart")
        .to_string();
    assert!(
        problem.contains("pop") && problem.contains("restart"),
        "{problem}"
    );
    Ok(())
}

#[tokio::test]
async fn every_key_that_should_reload_acts() -> anyhow::Result<()> {
    let bird = router!(Kind::Bird, RouterConfig::new(65001, 65010));
    let daemon = Daemon::start(Setup::default(), &[&bird]).await?;
    daemon.wait_established(1).await?;
    daemon.ban("203.0.113.10", 27015).await?;
    bird.wait_rules(Family::Ipv4Flow, |rules| !rules.is_empty(), PATIENCE)
        .await?;
    let ahead = || EventRequest {
        timestamp: Some(Timestamp::wall_clock().saturating_add(Duration::from_secs(90))),
        ..ban("203.0.113.11", 27015)
    };
    let code = |error: prefixd_api::client::Error| error.code().map(str::to_owned).unwrap_or_default();
    assert_eq!(
        daemon.client.send_event(&ahead()).await.map(drop).map_err(code),
        Err("request.field".into())
    );
    assert!(!daemon.log().contains("DEBUG"));

    daemon.edit(
        "prefixd.yaml",
        "hold_down_seconds: 0",
        "hold_down_seconds: 0, max_future_skew_seconds: 3600",
    )?;
    daemon.edit("prefixd.yaml", "hold_time_seconds: 30", "hold_time_seconds: 33")?;
    daemon.edit("prefixd.yaml", "65010:8955:1", "65010:8955:2")?;
    daemon.edit("prefixd.yaml", "log_level: info", "log_level: debug")?;
    daemon.edit(
        "prefixd.yaml",
        "  auth: { mode: none }\n",
        "  auth: { mode: none }\n  rate_limit: { events_per_second: 1, burst: 2 }\n",
    )?;
    daemon.client.reload().await?;

    assert_eq!(
        daemon
            .client
            .send_event(&ahead())
            .await
            .map(|answer| answer.status)
            .map_err(code),
        Ok(EventOutcome::Accepted)
    );
    daemon.ban("203.0.113.12", 27015).await?;
    assert_eq!(
        daemon.ban("203.0.113.13", 27015).await.map(drop).map_err(code),
        Err("limit.rate".into())
    );
    bird.wait_rules(
        Family::Ipv4Flow,
        |rules| {
            !rules.is_empty()
                && rules
                    .iter()
                    .all(|rule| rule.has_large_community((65010, 8955, 2)))
        },
        PATIENCE,
    )
    .await?;
    wait_for("the log is more detailed", || async {
        Ok(daemon.log().contains("DEBUG").then_some(()))
    })
    .await?;
    let peer = &daemon.client.peers().await?.value.peers[0];
    assert_eq!(peer.established_total, 1, "the session was not touched");
    Ok(())
}

#[tokio::test]
async fn behind_a_wildcard_listener_every_address_of_the_machine_is_safe() -> anyhow::Result<()> {
    let daemon = Daemon::start(Setup::default(), &[]).await?;
    let protected = async || {
        let entries = daemon.client.safelist().await?.value.entries;
        let ours = entries
            .into_iter()
            .filter(|entry| entry.reason == "an address of this machine");
        anyhow::Ok(ours.map(|entry| entry.prefix.addr()).collect::<BTreeSet<_>>())
    };
    assert!(
        protected().await?.is_empty(),
        "127.0.0.1 is all that it listens on"
    );
    // Without an address to dial from it is any of them.
    daemon.edit(
        "prefixd.yaml",
        "  neighbors:\n    []\n",
        "  neighbors:\n    - { name: far, address: 127.0.0.77, port: 1, peer_asn: 65001 }\n",
    )?;
    daemon.client.reload().await?;
    let interfaces = nix::ifaddrs::getifaddrs()?.filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::from(v6.ip())))
    });
    let wanted: BTreeSet<IpAddr> = interfaces.filter(|address| !address.is_loopback()).collect();
    assert_eq!(protected().await?, wanted);
    Ok(())
}

async fn the_journal_says_which_files_a_reload_changed(store: Backend) -> anyhow::Result<()> {
    let daemon = Daemon::start(Setup::on(store).await?, &[]).await?;
    daemon.client.reload().await?;
    daemon.edit("playbooks.yaml", "rate_bps: 5000000", "rate_bps: 6000000")?;
    daemon.client.reload().await?;
    daemon.client.reload().await?;

    let entries = "SELECT body FROM journal WHERE kind = 'config' ORDER BY seq";
    let mut told = Vec::new();
    for body in daemon.other().await?.texts(entries).await? {
        told.push(serde_json::from_str::<serde_json::Value>(&body)?);
    }
    let [first, second, third] = &*told else {
        anyhow::bail!("three reloads: {told:?}")
    };
    let changed = [first, second, third].map(|body| body["changed"].clone());
    let none = serde_json::json!([]);
    assert_eq!(
        changed,
        [none.clone(), serde_json::json!(["playbooks.yaml"]), none]
    );
    for file in ["prefixd.yaml", "inventory.yaml"] {
        assert_eq!(first["files"][file], second["files"][file]);
    }
    assert_ne!(
        first["files"]["playbooks.yaml"],
        second["files"]["playbooks.yaml"]
    );
    assert_eq!(second["files"], third["files"]);
    Ok(())
}
