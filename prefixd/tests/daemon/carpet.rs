//! Carpet bombing: many victims of one prefix, and the one rule that takes the place of theirs.

use crate::support::{Backend, Daemon, PATIENCE, Setup, on_both_stores, router, wait_for};
use anyhow::Context;
use ipnet::IpNet;
use lab::routers::{Component, Family, Kind, Match, Op, Router, RouterConfig, RouterRule};
use prefixd_api::client::{Page, ReportQuery};
use prefixd_api::event::{EventAction, EventOutcome, EventRequest};
use prefixd_api::ids::MitigationId;
use prefixd_api::mitigation::{EndReason, Mitigation, WithdrawRequest};

on_both_stores!(one_rule_takes_the_place_of_many_and_outlives_a_restart);

/// Little of a flood: so little that nobody looks for its fragments.
fn ban(victim: &str) -> EventRequest {
    EventRequest {
        bps: Some(100_000_000),
        ..crate::support::ban(victim, 27015)
    }
}

fn policed(prefix: &str) -> anyhow::Result<Match> {
    Ok(Match::to(prefix.parse::<IpNet>()?)
        .with(Component::Protocol, &[(Op::Eq, 17)])
        .with(Component::DestinationPort, &[(Op::Eq, 27015)]))
}

/// Exactly these rules are on the router.
async fn holds(bird: &Router, prefixes: &[&str]) -> anyhow::Result<()> {
    let mut wanted = prefixes
        .iter()
        .map(|prefix| policed(prefix))
        .collect::<Result<Vec<_>, _>>()?;
    wanted.sort();
    let are_there = |rules: &[RouterRule]| {
        let mut matches: Vec<Match> = rules.iter().map(|rule| rule.matches.clone()).collect();
        matches.sort();
        matches == wanted
    };
    bird.wait_rules(Family::Ipv4Flow, are_there, PATIENCE).await?;
    Ok(())
}

/// The router was told the rules, and the daemon knows.
async fn told(daemon: &Daemon, id: MitigationId) -> anyhow::Result<()> {
    let is_told = || async {
        let detail = daemon.client.mitigation(id).await?.value;
        let delivery = detail.mitigation.delivery;
        Ok(delivery.filter(|delivery| delivery.advertised > 0).map(drop))
    };
    wait_for("the router was told", is_told).await
}

async fn only_live(daemon: &Daemon) -> anyhow::Result<Mitigation> {
    let mut live = daemon.live().await?;
    anyhow::ensure!(live.len() == 1, "{live:?}");
    live.pop().context("one is there")
}

async fn one_rule_takes_the_place_of_many_and_outlives_a_restart(store: Backend) -> anyhow::Result<()> {
    let bird = router!(Kind::Bird, RouterConfig::new(65001, 65010));
    let setup = Setup {
        guardrails: "{ min_ttl_seconds: 1, infrastructure_prefixes: [\"198.51.100.0/24\"], \
                     carpet: { enabled: true, min_hosts: 3 } }",
        ..Setup::on(store).await?
    };
    let mut daemon = Daemon::start(setup, &[&bird]).await?;
    daemon.wait_established(1).await?;
    let first = daemon.client.send_event(&ban("203.0.113.16")).await?;
    daemon.client.send_event(&ban("203.0.113.17")).await?;
    holds(&bird, &["203.0.113.16/32", "203.0.113.17/32"]).await?;
    let third = daemon.client.send_event(&ban("203.0.113.18")).await?;
    assert_eq!(third.status, EventOutcome::Accepted);
    let id = third.mitigation_id.context("it has a name")?;
    holds(&bird, &["203.0.113.16/32", "203.0.113.17/32", "203.0.113.16/30"]).await?;
    told(&daemon, id).await?;
    for victim in ["203.0.113.16", "203.0.113.17"] {
        let again = daemon.client.send_event(&ban(victim)).await?;
        assert_eq!(
            (again.status, again.mitigation_id),
            (EventOutcome::Extended, Some(id))
        );
    }
    holds(&bird, &["203.0.113.16/30"]).await?;

    let many = only_live(&daemon).await?;
    assert_eq!(
        (many.mitigation_id, many.victim_ip.to_string()),
        (id, "203.0.113.16/30".into())
    );
    let carpet = many.carpet.context("it says whom it filters besides")?;
    assert_eq!((carpet.victims, carpet.bystanders, carpet.replaced), (3, 1, 2));
    let replaced = daemon
        .client
        .mitigation(first.mitigation_id.context("it has a name")?)
        .await?
        .value
        .mitigation;
    assert_eq!(replaced.end_reason, Some(EndReason::Aggregated));
    let why = daemon.client.mitigation_why(id).await?.value;
    let codes: Vec<&str> = why.steps.iter().map(|step| step.code.as_str()).collect();
    assert!(
        codes.contains(&"carpet") && codes.contains(&"guardrail.safelist"),
        "{codes:?}"
    );

    daemon.stop().await?;
    daemon.boot().await?;
    daemon.wait_established(1).await?;
    let fourth = daemon.client.send_event(&ban("203.0.113.19")).await?;
    assert_eq!(
        (fourth.status, fourth.mitigation_id),
        (EventOutcome::Extended, Some(id))
    );
    holds(&bird, &["203.0.113.16/30"]).await?;

    // Who asks about the address learns of the rule over it.
    let address: IpNet = "203.0.113.19/32".parse()?;
    let history = daemon
        .client
        .history(address, None, &Page::default())
        .await?
        .value;
    assert_eq!(history.context.live, 1);
    let query = ReportQuery {
        ip: Some(address),
        ..ReportQuery::default()
    };
    let report = daemon.client.incident(&query).await?;
    assert!(
        report.actions.iter().any(|action| action.mitigation_id == id),
        "{:?}",
        report.actions
    );
    let over = EventRequest {
        action: EventAction::Unban,
        ..ban("203.0.113.19")
    };
    let cleared = daemon.client.send_event(&over).await?;
    assert_eq!(
        cleared.status,
        EventOutcome::ClaimCleared,
        "others are attacked still"
    );

    // Withdrawn by a person it stays away, also after a restart; single victims are filtered again.
    let request = WithdrawRequest {
        reason: "test".into(),
        suppress_seconds: Some(600),
        ..WithdrawRequest::default()
    };
    daemon.client.withdraw_mitigation(id, &request).await?;
    holds(&bird, &[]).await?;
    daemon.stop().await?;
    daemon.boot().await?;
    daemon.wait_established(1).await?;
    for victim in ["203.0.113.16", "203.0.113.17", "203.0.113.18"] {
        daemon.client.send_event(&ban(victim)).await?;
    }
    holds(&bird, &["203.0.113.16/32", "203.0.113.17/32", "203.0.113.18/32"]).await?;
    let suppressed = daemon.client.suppressions().await?.value.suppressions;
    assert_eq!(suppressed.len(), 1);
    assert_eq!(suppressed[0].scope.victim.to_string(), "203.0.113.16/30");
    Ok(())
}

/// A report names an address; a prefix comes of many reports alone.
#[tokio::test]
async fn nobody_outside_names_a_prefix() -> anyhow::Result<()> {
    let setup = Setup {
        guardrails: "{ min_ttl_seconds: 1, infrastructure_prefixes: [\"198.51.100.0/24\"], \
                     carpet: { enabled: true, min_hosts: 3 } }",
        ..Setup::default()
    };
    let daemon = Daemon::start(setup, &[]).await?;
    let refused = daemon.client.send_event(&ban("203.0.113.0/24")).await;
    let refused = refused.err().context("a prefix is no victim")?;
    assert_eq!(refused.code(), Some("request.field"));
    Ok(())
}

/// The rules of single victims are there; one over all of them would wait for room, and they would give way to it.
#[tokio::test]
async fn where_a_neighbour_has_no_room_for_it_each_is_by_itself() -> anyhow::Result<()> {
    let setup = Setup {
        guardrails: "{ min_ttl_seconds: 1, infrastructure_prefixes: [\"198.51.100.0/24\"], \
                     carpet: { enabled: true, min_hosts: 3 } }",
        ..Setup::default()
    };
    let mut daemon = Daemon::configured(setup, &[])?;
    daemon.edit(
        "prefixd.yaml",
        "neighbors:\n    []\n",
        "neighbors:\n    - { name: full, address: 127.0.0.2, port: 1, peer_asn: 65001, max_rules: 2 }\n",
    )?;
    daemon.boot().await?;
    for victim in ["203.0.113.16", "203.0.113.17"] {
        daemon.client.send_event(&ban(victim)).await?;
    }
    let third = daemon.client.send_event(&ban("203.0.113.18")).await?;
    assert_eq!(third.status, EventOutcome::Accepted);
    let id = third.mitigation_id.context("it has a name")?;
    let why = daemon.client.mitigation_why(id).await?.value;
    let codes: Vec<&str> = why.steps.iter().map(|step| step.code.as_str()).collect();
    assert!(codes.contains(&"carpet_untold"), "{codes:?}");
    let mut victims: Vec<String> = daemon
        .live()
        .await?
        .iter()
        .map(|live| live.victim_ip.to_string())
        .collect();
    victims.sort();
    assert_eq!(victims, ["203.0.113.16", "203.0.113.17", "203.0.113.18"]);
    Ok(())
}

/// The victims that are reported still are filtered by themselves again.
#[tokio::test]
async fn switched_off_it_is_taken_back() -> anyhow::Result<()> {
    let setup = Setup {
        guardrails: "{ min_ttl_seconds: 1, infrastructure_prefixes: [\"198.51.100.0/24\"], \
                     carpet: { enabled: true, min_hosts: 3 } }",
        ..Setup::default()
    };
    let daemon = Daemon::start(setup, &[]).await?;
    let mut made = None;
    for victim in ["203.0.113.16", "203.0.113.17", "203.0.113.18"] {
        made = daemon.client.send_event(&ban(victim)).await?.mitigation_id;
    }
    let made = made.context("the third makes one over all of them")?;
    daemon.edit(
        "prefixd.yaml",
        "carpet: { enabled: true",
        "carpet: { enabled: false",
    )?;
    daemon.client.reload().await?;
    let is_over = || async {
        let many = daemon.client.mitigation(made).await?.value.mitigation;
        Ok(many.end_reason)
    };
    let reason = wait_for("it is taken back", is_over).await?;
    assert_eq!(reason.as_str(), "guardrail.prefix_length");
    let again = daemon.client.send_event(&ban("203.0.113.18")).await?;
    assert_eq!(again.status, EventOutcome::Accepted);
    Ok(())
}
