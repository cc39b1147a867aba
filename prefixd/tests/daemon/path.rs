//! The whole path: a detector's JSON in, a rule on a real router, and away again.

use crate::support::{Backend, Daemon, MARKER, PATIENCE, Setup, ban, on_both_stores, router, wait_for};
use anyhow::Context;
use ipnet::IpNet;
use lab::routers::{
    Action, BytesPerSecond, Component, Family, Kind, Match, NO_EXPORT, Op, Router, RouterConfig,
};
use prefixd_api::event::{EventOutcome, EventRequest};
use prefixd_api::mitigation::WithdrawRequest;
use prefixd_api::resource::{AnnouncementState, SafelistRequest};

on_both_stores!(
    a_report_becomes_the_exact_rule_and_a_withdrawal_takes_it_back
    a_lease_that_nobody_renews_ends_on_the_router
    what_must_not_be_filtered_never_reaches_the_router
    why_tells_of_the_decision_that_made_it_what_it_is
    why_stays_the_decision_while_the_lease_is_renewed
);

/// What BIRD and GoBGP must show of a policed port.
fn policed(victim: IpNet, port: u64) -> Match {
    Match::to(victim)
        .with(Component::Protocol, &[(Op::Eq, 17)])
        .with(Component::DestinationPort, &[(Op::Eq, port)])
}

async fn holds(router: &Router, family: Family, wanted: &Match) -> anyhow::Result<()> {
    router
        .wait_rules(
            family,
            |rules| rules.iter().any(|rule| rule.matches == *wanted),
            PATIENCE,
        )
        .await?;
    Ok(())
}

async fn is_empty(router: &Router, family: Family) -> anyhow::Result<()> {
    router
        .wait_rules(family, <[lab::routers::RouterRule]>::is_empty, PATIENCE)
        .await?;
    Ok(())
}

async fn a_report_becomes_the_exact_rule_and_a_withdrawal_takes_it_back(
    store: Backend,
) -> anyhow::Result<()> {
    let bird = router!(Kind::Bird, RouterConfig::new(65001, 65010));
    let daemon = Daemon::start(Setup::on(store).await?, &[&bird]).await?;
    daemon.wait_established(1).await?;

    for (victim, prefix, family) in [
        ("203.0.113.10", "203.0.113.10/32", Family::Ipv4Flow),
        ("2001:db8:acce::10", "2001:db8:acce::10/128", Family::Ipv6Flow),
    ] {
        let answer = daemon.ban(victim, 27015).await?;
        assert_eq!(answer.status, EventOutcome::Accepted);
        let id = answer
            .mitigation_id
            .context("an accepted event names its mitigation")?;
        let wanted = policed(prefix.parse()?, 27015);
        holds(&bird, family, &wanted).await?;

        let rules = bird.rules(family).await?;
        let rule = rules
            .iter()
            .find(|rule| rule.matches == wanted)
            .context("the rule is gone again")?;
        assert!(
            rule.actions.contains(&Action::Police(BytesPerSecond(625_000.0))),
            "5 Mbit/s in bytes: {rule}"
        );
        assert!(
            rule.has_large_community(MARKER) && rule.has_community(NO_EXPORT),
            "{rule}"
        );

        let shown = daemon.client.mitigation(id).await?.value;
        assert!(
            shown
                .announcements
                .iter()
                .all(|at| at.state == AnnouncementState::Advertised),
            "{:?}",
            shown.announcements
        );
        assert_eq!(shown.timeline[0].kind, "mitigation.created");
        assert!(!daemon.client.mitigation_why(id).await?.value.steps.is_empty());

        let request = WithdrawRequest {
            reason: "false positive".into(),
            ..WithdrawRequest::default()
        };
        let withdrawn = daemon.client.withdraw_mitigation(id, &request).await?;
        assert!(withdrawn.mitigation.advertised_at.is_some(), "a router had it");
        is_empty(&bird, family).await?;
        let again = daemon.ban(victim, 27015).await?;
        assert_eq!(again.status, EventOutcome::Suppressed, "a withdrawal sticks");
    }
    Ok(())
}

async fn a_lease_that_nobody_renews_ends_on_the_router(store: Backend) -> anyhow::Result<()> {
    let bird = router!(Kind::Bird, RouterConfig::new(65001, 65010));
    let daemon = Daemon::start(
        Setup {
            playbook_ttl: 2,
            ..Setup::on(store).await?
        },
        &[&bird],
    )
    .await?;
    daemon.wait_established(1).await?;
    let id = daemon
        .ban("203.0.113.30", 27015)
        .await?
        .mitigation_id
        .context("accepted")?;
    holds(
        &bird,
        Family::Ipv4Flow,
        &policed("203.0.113.30/32".parse()?, 27015),
    )
    .await?;
    is_empty(&bird, Family::Ipv4Flow).await?;
    let ended = wait_for("the mitigation is recorded as ended", || async {
        let shown = daemon.client.mitigation(id).await?.value.mitigation;
        Ok(shown.ended_at.map(|at| (at, shown.expires_at)))
    })
    .await?;
    assert!(
        ended.0 >= ended.1,
        "ended {} before its lease {}",
        ended.0,
        ended.1
    );
    Ok(())
}

async fn what_must_not_be_filtered_never_reaches_the_router(store: Backend) -> anyhow::Result<()> {
    let bird = router!(Kind::Bird, RouterConfig::new(65001, 65010));
    let daemon = Daemon::start(Setup::on(store).await?, &[&bird]).await?;
    daemon.wait_established(1).await?;
    let refused = daemon
        .ban("203.0.113.1", 27015)
        .await
        .err()
        .context("safelisted")?;
    assert_eq!(refused.code(), Some("guardrail.safelist"));
    assert_eq!(
        daemon.ban("192.0.2.77", 27015).await?.status,
        EventOutcome::AcceptedNotOwned
    );
    // A rule that is allowed arrives after them: nothing that came before it is on its way.
    daemon.ban("203.0.113.40", 27015).await?;
    holds(
        &bird,
        Family::Ipv4Flow,
        &policed("203.0.113.40/32".parse()?, 27015),
    )
    .await?;
    let rules = bird.rules(Family::Ipv4Flow).await?;
    let allowed = "203.0.113.40/32".parse()?;
    assert!(rules.iter().all(|rule| rule.matches.destination == Some(allowed)));
    Ok(())
}

/// FRR resets the session for a rule of more than five ports, so six and more become ranges for it.
#[tokio::test]
async fn more_ports_than_a_router_takes_are_widened_for_it() -> anyhow::Result<()> {
    let frr = router!(Kind::Frr, RouterConfig::new(65001, 65010));
    let daemon = Daemon::start(Setup::default(), &[&frr]).await?;
    daemon.edit("prefixd.yaml", "profile: bird", "profile: frr")?;
    daemon.client.reload().await?;
    daemon.wait_established(1).await?;

    let report = EventRequest {
        top_dst_ports: vec![10, 100, 1000, 2000, 5000, 9000, 20000],
        ..ban("203.0.113.10", 0)
    };
    let answer = daemon.client.send_event(&report).await?;
    let id = answer
        .mitigation_id
        .context("an accepted event names its mitigation")?;
    let wanted = Match::to("203.0.113.10/32".parse()?)
        .with(Component::Protocol, &[(Op::Eq, 17)])
        .with(Component::DestinationPort, &[(Op::Ge, 10)])
        .and(Component::DestinationPort, Op::Le, 2000)
        .with(
            Component::DestinationPort,
            &[(Op::Eq, 5000), (Op::Eq, 9000), (Op::Eq, 20000)],
        );
    holds(&frr, Family::Ipv4Flow, &wanted).await?;
    let detail = daemon.client.mitigation(id).await?.value;
    let states: Vec<_> = detail.announcements.iter().map(|one| one.state).collect();
    anyhow::ensure!(
        states.iter().all(|state| *state == AnnouncementState::Advertised),
        "{:?}",
        detail.announcements
    );
    Ok(())
}

/// Not why its lease goes on.
async fn why_stays_the_decision_while_the_lease_is_renewed(store: Backend) -> anyhow::Result<()> {
    let setup = Setup {
        sources: "{ default: { reporting: once } }",
        playbook_ttl: 2,
        ..Setup::on(store).await?
    };
    let daemon = Daemon::start(setup, &[]).await?;
    let id = daemon
        .ban("203.0.113.30", 1000)
        .await?
        .mitigation_id
        .context("an accepted event names its mitigation")?;
    let made = daemon.client.mitigation_why(id).await?.value;
    assert!(made.steps.iter().any(|step| step.code == "playbook"), "{made:?}");
    let lease = async || anyhow::Ok(daemon.client.mitigation(id).await?.value.mitigation.expires_at);
    let first = lease().await?;
    wait_for("the lease is renewed", || async {
        Ok((lease().await? > first).then_some(()))
    })
    .await?;
    let later = daemon.client.mitigation_why(id).await?.value;
    assert_eq!((later.outcome, later.steps), (made.outcome, made.steps));
    Ok(())
}

async fn why_tells_of_the_decision_that_made_it_what_it_is(store: Backend) -> anyhow::Result<()> {
    let daemon = Daemon::start(Setup::on(store).await?, &[]).await?;
    let id = daemon
        .ban("203.0.113.30", 1000)
        .await?
        .mitigation_id
        .context("an accepted event names its mitigation")?;
    let why = || async { anyhow::Ok(daemon.client.mitigation_why(id).await?.value) };
    assert_eq!(why().await?.outcome, "accepted");
    daemon.ban("203.0.113.30", 2000).await?;
    let widened = why().await?;
    assert_eq!(widened.outcome, "extended");
    let codes: Vec<_> = widened.steps.iter().map(|step| step.code.as_str()).collect();
    assert!(codes.contains(&"widened"), "{codes:?}");
    let protect = SafelistRequest {
        prefix: "203.0.113.30/32".into(),
        reason: "our resolver".into(),
        ..SafelistRequest::default()
    };
    daemon.client.add_to_safelist(&protect).await?;
    let ended = why().await?;
    assert!(ended.summary.contains("our resolver"), "{}", ended.summary);
    Ok(())
}
