//! Kinds of rules that are new go to one neighbour first; and what a route reflector is told.

use crate::metrics::Scrape;
use crate::support::{Daemon, Setup, router, wait_for};
use lab::routers::{Family, Kind, RouterConfig};
use prefixd_api::audit::AuditEntry;
use prefixd_api::client::{AuditQuery, RibQuery};
use prefixd_api::resource::AnnouncementState::{Advertised, Queued, Reflected};
use prefixd_api::resource::{Announcement, AnnouncementState};

/// How the rules of the newest live mitigation stand at both.
async fn standing(daemon: &Daemon, victim: &str) -> anyhow::Result<Vec<Announcement>> {
    let live = daemon.live().await?;
    let found = live.iter().find(|live| live.victim_ip.to_string() == victim);
    let Some(found) = found else {
        anyhow::bail!("nothing is live for {victim}");
    };
    Ok(daemon
        .client
        .mitigation(found.mitigation_id)
        .await?
        .value
        .announcements)
}

fn states(announcements: &[Announcement]) -> Vec<(&str, AnnouncementState)> {
    let mut states: Vec<_> = announcements
        .iter()
        .map(|one| (one.neighbor.as_str(), one.state))
        .collect();
    states.sort_by_key(|(neighbor, _)| *neighbor);
    states.dedup();
    states
}

#[tokio::test]
async fn a_new_kind_of_rule_goes_to_one_neighbour_first() -> anyhow::Result<()> {
    let (one, two) = (
        router!(Kind::Bird, RouterConfig::new(65001, 65010)),
        router!(Kind::Bird, RouterConfig::new(65002, 65010)),
    );
    let mut daemon = Daemon::configured(Setup::default(), &[&one, &two])?;
    daemon.edit("prefixd.yaml", "bgp:\n", "bgp:\n  canary_seconds: 5\n")?;
    daemon.boot().await?;
    daemon.wait_established(2).await?;
    daemon.ban("203.0.113.10", 27015).await?;
    let first = wait_for("the first", || async {
        let now = standing(&daemon, "203.0.113.10").await?;
        Ok((states(&now).first() == Some(&("bird0", Advertised))).then_some(now))
    })
    .await?;
    assert_eq!(states(&first)[1..], [("bird1", Queued)], "{first:?}");
    let waits = first.iter().find(|one| one.neighbor == "bird1");
    let why = waits.and_then(|one| one.reason.clone()).unwrap_or_default();
    assert!(why.contains("bird0 is told first"), "{why}");
    assert_eq!(two.count(Family::Ipv4Flow).await?, 0);
    let waiting = first.iter().filter(|one| one.neighbor == "bird1").count();
    let peer = daemon.client.peer("bird1").await?.value.peer;
    assert_eq!(peer.rules_waiting, waiting as u64);
    let scrape = Scrape::of(&daemon).await?;
    assert_eq!(
        scrape.sum("prefixd_peer_rules_waiting", &[r#"neighbor="bird1""#]),
        Some(peer.rules_waiting as f64)
    );

    // What was written during the session is in its lag, as the API and as a scrape have it.
    let lag = daemon.client.peer("bird0").await?.value.peer.writing.lag;
    assert!(lag.count >= 1 && lag.quantile(0.5).is_some(), "{lag:?}");
    let scrape = Scrape::of(&daemon).await?;
    let counted = scrape.value(r#"prefixd_peer_lag_seconds_count{neighbor="bird0"}"#);
    let below = scrape.value(r#"prefixd_peer_lag_seconds_bucket{le="+Inf",neighbor="bird0"}"#);
    assert!(
        counted >= Some(lag.count as f64) && below == counted,
        "{counted:?}, {below:?}"
    );

    wait_for("the other", || async {
        let now = standing(&daemon, "203.0.113.10").await?;
        Ok((states(&now) == [("bird0", Advertised), ("bird1", Advertised)]).then_some(()))
    })
    .await?;
    // The kind is known from now on, also to the next process.
    daemon.ban("203.0.113.11", 27015).await?;
    let peer = daemon.client.peer("bird1").await?.value.peer;
    assert_eq!(peer.rules_waiting, 0);
    daemon.stop().await?;
    daemon.boot().await?;
    daemon.wait_established(2).await?;
    let peer = daemon.client.peer("bird1").await?.value.peer;
    assert_eq!(peer.rules_waiting, 0);
    Ok(())
}

#[tokio::test]
async fn what_one_neighbour_tries_is_told_to_the_other_no_sooner_for_a_restart_or_a_reload()
-> anyhow::Result<()> {
    let (one, two) = (
        router!(Kind::Bird, RouterConfig::new(65001, 65010)),
        router!(Kind::Bird, RouterConfig::new(65002, 65010)),
    );
    let mut daemon = Daemon::configured(Setup::default(), &[&one, &two])?;
    daemon.edit("prefixd.yaml", "bgp:\n", "bgp:\n  canary_seconds: 64\n")?;
    daemon.boot().await?;
    daemon.wait_established(2).await?;
    daemon.ban("203.0.113.10", 27015).await?;
    let waits = async |daemon: &Daemon| {
        wait_for("the first has it, and the other waits", || async {
            let now = standing(daemon, "203.0.113.10").await?;
            Ok((states(&now) == [("bird0", Advertised), ("bird1", Queued)]).then_some(()))
        })
        .await
    };
    waits(&daemon).await?;
    wait_for("the record", || async {
        let query = AuditQuery {
            target_id: Some("bird1".to_owned()),
            ..AuditQuery::default()
        };
        let entries = daemon.client.audit(&query).await?.value.entries;
        let is_tried = |entry: &AuditEntry| !entry.body["kinds_tried"].is_null();
        Ok(entries.iter().any(is_tried).then_some(()))
    })
    .await?;

    daemon.kill().await?;
    daemon.boot().await?;
    daemon.wait_established(2).await?;
    waits(&daemon).await?;
    assert_eq!(two.count(Family::Ipv4Flow).await?, 0, "nothing of it was told");

    // Another time proves nothing; a shorter one counts from when the first was told.
    for (before, after) in [(64, 60), (60, 5)] {
        let key = |seconds| format!("canary_seconds: {seconds}");
        daemon.edit("prefixd.yaml", &key(before), &key(after))?;
        waits(&daemon).await?;
        daemon.client.reload().await?;
    }
    wait_for("the other", || async {
        let now = standing(&daemon, "203.0.113.10").await?;
        Ok((states(&now) == [("bird0", Advertised), ("bird1", Advertised)]).then_some(()))
    })
    .await
}

#[tokio::test]
async fn what_a_route_reflector_was_told_is_reflected() -> anyhow::Result<()> {
    let reflector = router!(Kind::Bird, RouterConfig::new(65010, 65010));
    let mut daemon = Daemon::configured(Setup::default(), &[&reflector])?;
    daemon.edit(
        "prefixd.yaml",
        "peer_asn: 65010,",
        "peer_asn: 65010, role: route_reflector,",
    )?;
    daemon.boot().await?;
    daemon.wait_established(1).await?;
    daemon.ban("203.0.113.10", 27015).await?;
    wait_for("the reflector", || async {
        let now = standing(&daemon, "203.0.113.10").await?;
        Ok((states(&now) == [("bird0", Reflected)]).then_some(()))
    })
    .await?;
    assert!(daemon.client.peer("bird0").await?.value.peer.reflects);
    let rib = daemon.client.peer_rib("bird0", &RibQuery::default()).await?.value;
    assert!(rib.routes.iter().all(|route| route.state == Reflected), "{rib:?}");
    Ok(())
}
