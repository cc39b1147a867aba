//! `scope: all` of a step: what one POP tells the others, and what becomes of it there (docs/adr/0015).

use crate::support::{Backend, Daemon, Setup, ban, wait_for};
use anyhow::Context;
use prefixd_api::client::EventQuery;
use prefixd_api::event::{EventAction, EventOutcome, EventRequest, StoredEvent};
use prefixd_api::ids::MitigationId;
use prefixd_api::mitigation::{EndReason, Mitigation, WithdrawRequest};

const VICTIM: &str = "203.0.113.10";
/// The receiver's sources.
const HEARS: &str = "{ default: { reporting: repeats }, \"pop:iad1\": { domain: flows } }";
const DEAF: &str = "{ default: { reporting: repeats } }";

/// iad1 offers, and fra1 hears it or not; both run. Nothing where PostgreSQL may be missing.
async fn started(hears: &'static str, lease: u32) -> anyhow::Result<Option<[Daemon; 2]>> {
    if !Backend::Postgres.available()? {
        return Ok(None);
    }
    let database = lab::postgres::Postgres::shared().await?.database().await?;
    let setup = |pop, sources, playbook_ttl| Setup {
        pop,
        sources,
        playbook_ttl,
        database: Some(database.clone()),
        ..Setup::default()
    };
    let mut iad = Daemon::configured(setup("iad1", DEAF, lease), &[])?;
    iad.edit("playbooks.yaml", "ttl_seconds:", "scope: all, ttl_seconds:")?;
    let mut fra = Daemon::configured(setup("fra1", hears, 300), &[])?;
    iad.boot().await?;
    fra.boot().await?;
    Ok(Some([iad, fra]))
}

fn unban(victim: &str) -> EventRequest {
    EventRequest {
        action: EventAction::Unban,
        ..ban(victim, 27015)
    }
}

async fn live_at(daemon: &Daemon) -> anyhow::Result<Mitigation> {
    wait_for("what the other POP tells is mitigated", || async {
        Ok(daemon.live().await?.into_iter().next())
    })
    .await
}

async fn ended_at(daemon: &Daemon, id: MitigationId) -> anyhow::Result<Mitigation> {
    wait_for("it ends with what the other POP tells", || async {
        let one = daemon.client.mitigation(id).await?.value.mitigation;
        Ok(one.ended_at.is_some().then_some(one))
    })
    .await
}

/// What fra1 was told, newest first.
async fn told(daemon: &Daemon) -> anyhow::Result<Vec<StoredEvent>> {
    let query = EventQuery {
        source: Some("pop:iad1".to_owned()),
        ..EventQuery::default()
    };
    Ok(daemon.client.events(&query).await?.value.events)
}

#[tokio::test(flavor = "multi_thread")]
async fn another_pop_mitigates_what_is_offered_and_ends_with_it() -> anyhow::Result<()> {
    let Some([iad, fra]) = started(HEARS, 300).await? else {
        return Ok(());
    };
    let answer = iad.ban(VICTIM, 27015).await?;
    let why = iad.client.event_why(answer.event_id).await?.value;
    assert!(why.steps.iter().any(|step| step.code == "offered"), "{why:#?}");
    let live = live_at(&fra).await?;
    let [claim] = &live.claims[..] else {
        panic!("{live:#?}")
    };
    assert_eq!(
        (claim.source.as_str(), &claim.dst_ports[..]),
        ("pop:iad1", &[27015][..])
    );
    assert_eq!(live.origin.actor, "pop:iad1");
    let [event] = &told(&fra).await?[..] else {
        panic!("one event")
    };
    assert_eq!(event.outcome, EventOutcome::Accepted);
    let details = event.raw_details.as_ref().context("whose word it is")?.get();
    let by = answer.mitigation_id.context("accepted")?.to_string();
    assert!(
        details.contains(&by) && details.contains("fastnetmon"),
        "{details}"
    );
    // Another port is told as well, and widens the rule there.
    iad.ban(VICTIM, 27016).await?;
    wait_for("the rule widens", || async {
        let ports = fra.live().await?[0].rules[0].matches.dst_ports.to_string();
        Ok((ports == "27015-27016" || ports == "27015,27016").then_some(()))
    })
    .await?;
    iad.client.send_event(&unban(VICTIM)).await?;
    let ended = ended_at(&fra, live.mitigation_id).await?;
    assert_eq!(ended.end_reason, Some(EndReason::ClaimsEnded));
    assert_eq!(told(&fra).await?[0].action, EventAction::Unban);
    // It was the detector of iad1 alone: nothing is offered back.
    assert!(iad.live().await?.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_withdraws_at_the_other_pop_stays_withdrawn() -> anyhow::Result<()> {
    let Some([iad, fra]) = started(HEARS, 300).await? else {
        return Ok(());
    };
    iad.ban(VICTIM, 27015).await?;
    let live = live_at(&fra).await?;
    let request = WithdrawRequest {
        reason: "no attack on us".to_owned(),
        ..WithdrawRequest::default()
    };
    fra.client
        .withdraw_mitigation(live.mitigation_id, &request)
        .await?;
    // The offer changes, and is told again.
    iad.ban(VICTIM, 27016).await?;
    wait_for("what is told is suppressed", || async {
        let told = told(&fra).await?;
        Ok((told[0].outcome == EventOutcome::Suppressed).then_some(()))
    })
    .await?;
    assert!(fra.live().await?.is_empty());
    assert_eq!(iad.live().await?.len(), 1, "where it is reported it goes on");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_pop_offered_ends_with_its_lease() -> anyhow::Result<()> {
    let Some([mut iad, fra]) = started(HEARS, 4).await? else {
        return Ok(());
    };
    iad.ban(VICTIM, 27015).await?;
    let live = live_at(&fra).await?;
    iad.kill().await?;
    let ended = ended_at(&fra, live.mitigation_id).await?;
    assert_eq!(ended.end_reason, Some(EndReason::ClaimsEnded));
    assert!(
        ended.expires_at > ended.ended_at.context("it ended")?,
        "its own lease was longer"
    );
    let rows = "SELECT pop || ' ' || victim FROM offers";
    let offers = || async { fra.other().await?.texts(rows).await };
    assert_eq!(offers().await?, [format!("iad1 {VICTIM}")], "nobody took it back");
    // Back again, it takes back what it does not offer any more.
    iad.boot().await?;
    wait_for("the row is gone", || async {
        Ok(offers().await?.is_empty().then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_that_ends_while_the_other_daemon_is_away_ends_there_when_it_is_back() -> anyhow::Result<()>
{
    let Some([iad, mut fra]) = started(HEARS, 300).await? else {
        return Ok(());
    };
    iad.ban(VICTIM, 27015).await?;
    let live = live_at(&fra).await?;
    fra.kill().await?;
    iad.client.send_event(&unban(VICTIM)).await?;
    fra.boot().await?;
    let ended = ended_at(&fra, live.mitigation_id).await?;
    assert_eq!(ended.end_reason, Some(EndReason::ClaimsEnded));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_pop_that_is_among_the_sources_is_heard() -> anyhow::Result<()> {
    let Some([iad, fra]) = started(DEAF, 300).await? else {
        return Ok(());
    };
    iad.ban(VICTIM, 27015).await?;
    wait_for("it is offered", || async {
        let rows = iad.other().await?.texts("SELECT victim FROM offers").await?;
        Ok((rows == [VICTIM]).then_some(()))
    })
    .await?;
    assert!(fra.live().await?.is_empty());
    fra.edit("prefixd.yaml", DEAF, HEARS)?;
    fra.client.reload().await?;
    let live = live_at(&fra).await?;
    // Taken out again, what was heard ends.
    fra.edit("prefixd.yaml", HEARS, DEAF)?;
    fra.client.reload().await?;
    let ended = ended_at(&fra, live.mitigation_id).await?;
    assert_eq!(ended.end_reason, Some(EndReason::ClaimsEnded));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_reports_as_a_pop() -> anyhow::Result<()> {
    let daemon = Daemon::start(Setup::default(), &[]).await?;
    let request = EventRequest {
        source: "pop:iad1".to_owned(),
        ..ban(VICTIM, 27015)
    };
    let refused = daemon.client.send_event(&request).await.expect_err("reserved");
    assert_eq!(refused.code(), Some("request.field"), "{refused}");
    assert!(refused.to_string().contains("source"), "{refused}");
    Ok(())
}
