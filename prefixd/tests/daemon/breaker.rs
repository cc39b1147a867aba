//! Sessions that are lost right after an announcement, with real routers.

use crate::metrics::Scrape;
use crate::support::{Daemon, PATIENCE, Setup, ban, router, wait_for};
use lab::routers::{Family, Kind, RouterConfig};
use prefixd_api::control::BreakerResetRequest;
use prefixd_api::mitigation::{EndReason, MitigationStatus};

/// Two routers die right after they were told a rule. It comes back to neither of them, nothing new is announced,
/// also after a restart, until a person resets the breaker.
#[tokio::test]
async fn two_neighbours_lost_at_once_stop_all_announcing_until_a_person_says_otherwise() -> anyhow::Result<()>
{
    let (mut one, mut two) = (
        router!(Kind::Bird, RouterConfig::new(65001, 65010)),
        router!(Kind::Bird, RouterConfig::new(65001, 65010)),
    );
    let mut daemon = Daemon::start(Setup::default(), &[&one, &two]).await?;
    daemon.wait_established(2).await?;
    daemon.ban("203.0.113.10", 27015).await?;
    for router in [&one, &two] {
        router
            .wait_rules(Family::Ipv4Flow, |rules| !rules.is_empty(), PATIENCE)
            .await?;
    }
    let suspect = daemon.live().await?[0].mitigation_id;
    one.kill9()?;
    two.kill9()?;

    let tripped = wait_for("the breaker to trip", || async {
        Ok(daemon.client.control().await?.value.breaker)
    })
    .await?;
    assert_eq!(
        (&*tripped.neighbors, tripped.withdrawn),
        (&["bird0".to_owned(), "bird1".to_owned()][..], 1)
    );
    let ended = daemon.client.mitigation(suspect).await?.value.mitigation;
    assert_eq!(
        (ended.status, ended.end_reason),
        (MitigationStatus::Withdrawn, Some(EndReason::Breaker))
    );
    let health = daemon.client.health_detail().await?;
    assert!(
        health.reasons[0].contains("the breaker is tripped"),
        "{:?}",
        health.reasons
    );
    assert_eq!(
        Scrape::of(&daemon).await?.value("prefixd_breaker_tripped"),
        Some(1.0)
    );
    let refused = |error: prefixd_api::client::Error| error.code().map(str::to_owned);
    let new = daemon.client.send_event(&ban("203.0.113.11", 27015)).await;
    assert_eq!(new.err().and_then(refused).as_deref(), Some("guardrail.breaker"));

    // The routers come back, and so does the daemon.
    one.restart().await?;
    two.restart().await?;
    daemon.stop().await?;
    daemon.boot().await?;
    daemon.wait_established(2).await?;
    assert_eq!(daemon.client.control().await?.value.breaker, Some(tripped));
    let new = daemon.client.send_event(&ban("203.0.113.11", 27015)).await;
    assert_eq!(new.err().and_then(refused).as_deref(), Some("guardrail.breaker"));

    let empty = BreakerResetRequest {
        reason: " ".to_owned(),
    };
    let unsaid = daemon.client.reset_breaker(&empty).await;
    assert_eq!(unsaid.err().and_then(refused).as_deref(), Some("request.field"));
    let because = BreakerResetRequest {
        reason: "both routers run the fixed release".to_owned(),
    };
    assert_eq!(daemon.client.reset_breaker(&because).await?.breaker, None);
    daemon.ban("203.0.113.11", 27015).await?;
    for router in [&one, &two] {
        // The first rule that they get is the new one: the old one never came back.
        let rules = router
            .wait_rules(Family::Ipv4Flow, |rules| !rules.is_empty(), PATIENCE)
            .await?;
        assert!(
            rules
                .iter()
                .all(|rule| rule.matches.destination == "203.0.113.11/32".parse().ok()),
            "{rules:?}"
        );
    }
    Ok(())
}

/// A window that is over, or one neighbour alone, trips nothing.
#[tokio::test]
async fn one_neighbour_lost_leaves_the_others_their_rules() -> anyhow::Result<()> {
    let (mut one, two) = (
        router!(Kind::Bird, RouterConfig::new(65001, 65010)),
        router!(Kind::Bird, RouterConfig::new(65001, 65010)),
    );
    let daemon = Daemon::start(Setup::default(), &[&one, &two]).await?;
    daemon.wait_established(2).await?;
    daemon.ban("203.0.113.10", 27015).await?;
    two.wait_rules(Family::Ipv4Flow, |rules| !rules.is_empty(), PATIENCE)
        .await?;
    one.kill9()?;
    daemon.wait_established(1).await?;
    assert_eq!(daemon.client.control().await?.value.breaker, None);
    daemon.ban("203.0.113.11", 27015).await?;
    two.wait_rules(
        Family::Ipv4Flow,
        |rules| {
            rules
                .iter()
                .any(|rule| rule.matches.destination == "203.0.113.11/32".parse().ok())
        },
        PATIENCE,
    )
    .await?;
    Ok(())
}
