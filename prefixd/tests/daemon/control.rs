//! Panic, hold and resume, with a real router.

use crate::metrics::Scrape;
use crate::support::{Backend, Daemon, PATIENCE, Setup, TOKENS, ban, on_both_stores, router, wait_for};
use anyhow::Context;
use lab::routers::{Family, Kind, Router, RouterConfig, RouterRule};
use prefixd_api::client::{Client, Error};
use prefixd_api::control::{Control, ControlRequest, ControlState, Stop};
use prefixd_api::mitigation::EndReason;

on_both_stores!(
    a_panic_takes_everything_off_and_survives_a_restart
    a_panic_works_with_the_database_away
);

fn request(scope: &str, state: ControlState) -> anyhow::Result<ControlRequest> {
    Ok(ControlRequest {
        scope: scope.parse().map_err(anyhow::Error::msg)?,
        state,
        reason: "INC-4711".to_owned(),
        expected_revision: None,
    })
}

async fn say(client: &Client, scope: &str, state: ControlState) -> anyhow::Result<Result<Control, Error>> {
    Ok(client.set_control(&request(scope, state)?).await)
}

fn code<T>(result: Result<T, Error>) -> Option<String> {
    result.err()?.code().map(str::to_owned)
}

async fn is_empty(router: &Router) -> anyhow::Result<()> {
    router
        .wait_rules(Family::Ipv4Flow, <[RouterRule]>::is_empty, PATIENCE)
        .await
        .map(drop)
}

async fn has(router: &Router, victim: &str) -> anyhow::Result<()> {
    let destination = Some(format!("{victim}/32").parse()?);
    router
        .wait_rules(
            Family::Ipv4Flow,
            |rules| rules.iter().any(|rule| rule.matches.destination == destination),
            PATIENCE,
        )
        .await
        .map(drop)
}

async fn a_panic_takes_everything_off_and_survives_a_restart(store: Backend) -> anyhow::Result<()> {
    let bird = router!(Kind::Bird, RouterConfig::new(65001, 65010));
    let mut daemon = Daemon::start(Setup::on(store).await?, &[&bird]).await?;
    daemon.wait_established(1).await?;
    let answer = daemon.ban("203.0.113.10", 27015).await?;
    let id = answer.mitigation_id.context("accepted")?;
    has(&bird, "203.0.113.10").await?;

    // Said on the ground of what is over: nothing happens.
    let stale = ControlRequest {
        expected_revision: Some(7),
        ..request("pop", ControlState::Hold)?
    };
    assert_eq!(
        code(daemon.client.set_control(&stale).await).as_deref(),
        Some("conflict.revision")
    );
    let panic = ControlRequest {
        expected_revision: Some(0),
        ..request("pop", ControlState::Panic)?
    };
    assert_eq!(
        code(daemon.client.set_control(&panic).await).as_deref(),
        Some("request.field")
    );
    // Hold: nothing new, what is there stays.
    say(&daemon.client, "pop", ControlState::Hold).await??;
    assert_eq!(
        code(daemon.ban("203.0.113.11", 27015).await).as_deref(),
        Some("guardrail.panic")
    );
    has(&bird, "203.0.113.10").await?;

    let control = say(&daemon.client, "pop", ControlState::Panic).await??;
    assert_eq!(
        (
            control.stopped.len(),
            control.stopped[0].state,
            control.stopped[0].recorded
        ),
        (1, Stop::Panic, true)
    );
    is_empty(&bird).await?;
    let ended = wait_for("its end is recorded", || async {
        let mitigation = daemon.client.mitigation(id).await?.value.mitigation;
        Ok(mitigation.end_reason.is_some().then_some(mitigation))
    })
    .await?;
    assert_eq!(ended.end_reason, Some(EndReason::Panic));
    assert!(ended.why_summary.contains("INC-4711"), "{}", ended.why_summary);
    let health = daemon.client.health_detail().await?;
    assert!(health.reasons[0].contains("PANIC"), "{:?}", health.reasons);
    assert_eq!(
        Scrape::of(&daemon)
            .await?
            .value(r#"prefixd_control_stopped{scope="pop",state="panic"}"#),
        Some(1.0)
    );

    daemon.stop().await?;
    daemon.boot().await?;
    daemon.wait_established(1).await?;
    assert_eq!(daemon.client.control().await?.value, control);
    for refused in [
        code(daemon.ban("203.0.113.10", 27015).await),
        code(daemon.ban("203.0.113.11", 27015).await),
    ] {
        assert_eq!(refused.as_deref(), Some("guardrail.panic"));
    }
    let control = say(&daemon.client, "pop", ControlState::Running).await??;
    assert!(control.stopped.is_empty());
    daemon.ban("203.0.113.11", 27015).await?;
    has(&bird, "203.0.113.11").await
}

async fn a_panic_works_with_the_database_away(store: Backend) -> anyhow::Result<()> {
    let bird = router!(Kind::Bird, RouterConfig::new(65001, 65010));
    let mut daemon = Daemon::start(Setup::on(store).await?, &[&bird]).await?;
    daemon.wait_established(1).await?;
    daemon.ban("203.0.113.10", 27015).await?;
    has(&bird, "203.0.113.10").await?;

    let lock = daemon.hold_the_lock().await?;
    let (said, gone) = tokio::join!(say(&daemon.client, "pop", ControlState::Panic), is_empty(&bird),);
    gone?;
    let refused = said?.err().context("it cannot be recorded")?;
    assert_eq!(refused.code(), Some("store.unavailable"));
    assert!(refused.to_string().contains("the panic is in force"), "{refused}");
    let control = daemon.client.control().await?.value;
    assert!(!control.stopped[0].recorded);
    let health = daemon.client.health_detail().await?;
    assert!(health.reasons[0].contains("not recorded"), "{:?}", health.reasons);
    // To let it go on is to announce, and that needs the database.
    let resumed = say(&daemon.client, "pop", ControlState::Running).await?;
    assert_eq!(code(resumed).as_deref(), Some("store.unavailable"));

    drop(lock);
    wait_for("it is recorded by itself", || async {
        let stopped = daemon.client.control().await?.value.stopped;
        let is_done = stopped.iter().all(|stopped| stopped.recorded) && daemon.live().await?.is_empty();
        Ok(is_done.then_some(()))
    })
    .await?;
    daemon.kill().await?;
    daemon.boot().await?;
    assert_eq!(daemon.client.control().await?.value.stopped[0].state, Stop::Panic);
    assert_eq!(
        code(daemon.ban("203.0.113.10", 27015).await).as_deref(),
        Some("guardrail.panic")
    );
    Ok(())
}

/// One neighbour loses its rules, the other keeps them; each may say what its role may.
#[tokio::test]
async fn a_neighbour_and_a_customer_are_stopped_apart() -> anyhow::Result<()> {
    let one = router!(Kind::Bird, RouterConfig::new(65001, 65010));
    let two = router!(Kind::Bird, RouterConfig::new(65001, 65010));
    let mut daemon = Daemon::configured(
        Setup {
            http: TOKENS,
            ..Setup::default()
        },
        &[&one, &two],
    )?;
    daemon.boot().await?;
    let (operator, admin) = (daemon.client_as("operator")?, daemon.client_as("admin")?);
    wait_for("both sessions", || async {
        let detail = admin.health_detail().await?;
        Ok((detail.peers_established == 2).then_some(()))
    })
    .await?;
    operator.send_event(&ban("203.0.113.10", 27015)).await?;
    for router in [&one, &two] {
        has(router, "203.0.113.10").await?;
    }
    say(&operator, "neighbor:bird1", ControlState::Panic).await??;
    is_empty(&two).await?;
    operator.send_event(&ban("203.0.113.11", 27015)).await?;
    has(&one, "203.0.113.11").await?;
    assert!(two.rules(Family::Ipv4Flow).await?.is_empty());
    for (scope, state, refused) in [
        ("neighbor:bird1", ControlState::Running, "auth.forbidden"),
        ("pop", ControlState::Hold, "auth.forbidden"),
        ("neighbor:bird9", ControlState::Panic, "not_found"),
        ("customer:nobody", ControlState::Panic, "not_found"),
    ] {
        assert_eq!(
            code(say(&operator, scope, state).await?).as_deref(),
            Some(refused),
            "{scope}"
        );
    }
    say(&admin, "neighbor:bird1", ControlState::Running).await??;
    for victim in ["203.0.113.10", "203.0.113.11"] {
        has(&two, victim).await?;
    }
    say(&operator, "customer:acme", ControlState::Panic).await??;
    for router in [&one, &two] {
        is_empty(router).await?;
    }
    Ok(())
}
