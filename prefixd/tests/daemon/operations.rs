//! What people do with mitigations that exist.

use crate::support::{Backend, Daemon, PATIENCE, Setup, ban, on_both_stores, router, wait_for};
use anyhow::Context;
use lab::routers::{Family, Kind, RouterConfig, RouterRule};
use prefixd_api::client::{Error, MitigationQuery};
use prefixd_api::event::{EventAction, EventRequest};
use prefixd_api::ids::MitigationId;
use prefixd_api::mitigation::{MitigationStatus, WithdrawRequest};
use prefixd_api::operation::{
    AcknowledgeRequest, BulkWithdrawRequest, ClaimRequest, ExtendRequest, LiveFilter, NoteRequest, Revisions,
    UndoRequest,
};
use prefixd_api::time::Timestamp;
use std::time::Duration;

on_both_stores!(
    an_extended_one_outlives_its_lease_and_a_restart
    what_is_noted_down_stays
    many_are_taken_back_at_once
    a_withdrawal_is_undone_unless_it_is_confirmed
);

fn code<T>(result: Result<T, Error>) -> Option<String> {
    result.err()?.code().map(str::to_owned)
}

async fn made(daemon: &Daemon, victim: &str) -> anyhow::Result<MitigationId> {
    daemon.ban(victim, 27015).await?.mitigation_id.context("accepted")
}

async fn an_extended_one_outlives_its_lease_and_a_restart(store: Backend) -> anyhow::Result<()> {
    let bird = router!(Kind::Bird, RouterConfig::new(65001, 65010));
    let setup = Setup {
        playbook_ttl: 300,
        ..Setup::on(store).await?
    };
    let mut daemon = Daemon::start(setup, &[&bird]).await?;
    daemon.wait_established(1).await?;
    let id = made(&daemon, "203.0.113.10").await?;
    let extend = |ttl_seconds, expected_revision| ExtendRequest {
        ttl_seconds,
        reason: "INC-4711".to_owned(),
        expected_revision,
    };
    let before = daemon.client.mitigation(id).await?.value.mitigation;
    assert_eq!(
        code(
            daemon
                .client
                .extend_mitigation(id, &extend(600, Some(before.revision + 1)))
                .await
        )
        .as_deref(),
        Some("conflict.revision")
    );
    for (ttl, refused) in [(0, "guardrail.ttl"), (1_000_000, "guardrail.ttl")] {
        assert_eq!(
            code(daemon.client.extend_mitigation(id, &extend(ttl, None)).await).as_deref(),
            Some(refused)
        );
    }
    let extended = daemon
        .client
        .extend_mitigation(id, &extend(3600, Some(before.revision)))
        .await?;
    let in_an_hour = Timestamp::wall_clock().saturating_add(Duration::from_secs(3500));
    assert!(extended.expires_at > in_an_hour, "{}", extended.expires_at);
    assert_eq!(extended.why_summary, before.why_summary, "what it is for stays");
    let detail = daemon.client.mitigation(id).await?.value;
    let told = detail.timeline.last().context("it is in the timeline")?;
    assert_eq!(told.body["reason"], "INC-4711");
    // Its detector says that it is over; the operator said otherwise.
    let unban = EventRequest {
        action: EventAction::Unban,
        ..ban("203.0.113.10", 27015)
    };
    daemon.client.send_event(&unban).await?;
    daemon.stop().await?;
    daemon.boot().await?;
    daemon.wait_established(1).await?;
    let after = daemon.client.mitigation(id).await?.value.mitigation;
    assert!(after.status == MitigationStatus::Active && after.expires_at > in_an_hour);
    bird.wait_rules(Family::Ipv4Flow, |rules| !rules.is_empty(), PATIENCE)
        .await?;
    let id = MitigationId::new();
    assert_eq!(
        code(daemon.client.extend_mitigation(id, &extend(600, None)).await).as_deref(),
        Some("not_found")
    );
    Ok(())
}

async fn what_is_noted_down_stays(store: Backend) -> anyhow::Result<()> {
    let mut daemon = Daemon::start(Setup::on(store).await?, &[]).await?;
    let (live, ended) = (
        made(&daemon, "203.0.113.10").await?,
        made(&daemon, "203.0.113.11").await?,
    );
    let withdraw = BulkWithdrawRequest {
        ids: Some(vec![ended]),
        reason: "over".to_owned(),
        ..BulkWithdrawRequest::default()
    };
    assert_eq!(daemon.client.withdraw_many(&withdraw).await?.failed, 0);
    let unknown = MitigationId::new();
    let request = AcknowledgeRequest {
        ids: Some(vec![live, ended, unknown]),
        ..acknowledging(None)
    };
    let told = daemon.client.acknowledge(&request).await?;
    assert_eq!((told.count, told.failed), (3, 1));
    let codes: Vec<_> = told
        .results
        .iter()
        .map(|result| result.problem.as_ref().map(|problem| problem.code.as_str()))
        .collect();
    assert_eq!(codes, [None, None, Some("not_found")]);
    let acknowledged = MitigationQuery {
        acknowledged: Some(true),
        ..MitigationQuery::default()
    };
    assert_eq!(daemon.client.mitigations(&acknowledged).await?.value.count, 2);
    // Conditions are each one's own, and never about what is not named.
    let conditional = |ids: Vec<MitigationId>| AcknowledgeRequest {
        ids: Some(ids),
        acknowledged: false,
        expected_revisions: Revisions::from([(live, 1)]),
        ..acknowledging(None)
    };
    let told = daemon.client.acknowledge(&conditional(vec![live])).await?;
    let problem = told.results[0]
        .problem
        .as_ref()
        .context("it was acknowledged meanwhile")?;
    assert_eq!(problem.code, "conflict.revision");
    let refused = daemon.client.acknowledge(&conditional(vec![ended])).await;
    assert_eq!(code(refused).as_deref(), Some("request.field"));
    let stale = BulkWithdrawRequest {
        ids: Some(vec![live]),
        expected_revisions: Revisions::from([(live, 1)]),
        reason: "over".to_owned(),
        ..BulkWithdrawRequest::default()
    };
    assert_eq!(daemon.client.withdraw_many(&stale).await?.failed, 1);
    let note = NoteRequest {
        text: Some("the customer knows".to_owned()),
        external_ref: Some("INC-4711".to_owned()),
        expected_revision: None,
    };
    for id in [live, ended] {
        daemon.client.note(id, &note).await?;
        daemon.client.claim(id, &ClaimRequest::default()).await?;
    }
    let nothing = NoteRequest::default();
    assert_eq!(
        code(daemon.client.note(live, &nothing).await).as_deref(),
        Some("request.field")
    );
    daemon.stop().await?;
    daemon.boot().await?;
    for (id, status) in [
        (live, MitigationStatus::Active),
        (ended, MitigationStatus::Withdrawn),
    ] {
        let detail = daemon.client.mitigation(id).await?.value;
        let known = &detail.mitigation;
        assert_eq!(known.status, status, "a note changes nothing else");
        assert_eq!(known.acknowledged_by.as_deref(), Some("anonymous"));
        assert_eq!(known.external_ref.as_deref(), Some("INC-4711"));
        assert_eq!(known.notes[0].text, "the customer knows");
        assert_eq!(known.claimed.as_ref().context("claimed")?.by, "anonymous");
        let kinds: Vec<&str> = detail.timeline.iter().map(|entry| entry.kind.as_str()).collect();
        assert!(
            kinds.ends_with(&[
                "mitigation.acknowledged",
                "mitigation.noted",
                "mitigation.updated"
            ]),
            "{kinds:?}"
        );
        assert!(
            daemon
                .client
                .release(id, &ClaimRequest::default())
                .await?
                .claimed
                .is_none()
        );
    }
    Ok(())
}

/// All live ones of a detector, if there are so many.
fn acknowledging(expect_count: Option<u64>) -> AcknowledgeRequest {
    AcknowledgeRequest {
        ids: None,
        filter: expect_count.map(|_| LiveFilter {
            source: Some("fastnetmon".to_owned()),
            ..LiveFilter::default()
        }),
        expect_count,
        acknowledged: true,
        expected_revisions: Revisions::new(),
    }
}

async fn many_are_taken_back_at_once(store: Backend) -> anyhow::Result<()> {
    let bird = router!(Kind::Bird, RouterConfig::new(65001, 65010));
    let daemon = Daemon::start(Setup::on(store).await?, &[&bird]).await?;
    daemon.wait_established(1).await?;
    for last in 10..30 {
        made(&daemon, &format!("203.0.113.{last}")).await?;
    }
    bird.wait_rules(Family::Ipv4Flow, |rules| rules.len() >= 20, PATIENCE)
        .await?;
    let like = |expect_count| BulkWithdrawRequest {
        filter: Some(LiveFilter {
            source: Some("fastnetmon".to_owned()),
            victim_prefix: "203.0.113.16/28".parse().ok(),
            ..LiveFilter::default()
        }),
        expect_count,
        reason: "misfire".to_owned(),
        ..BulkWithdrawRequest::default()
    };
    for (expect_count, refused) in [(None, "request.field"), (Some(13), "conflict.expect_count")] {
        let refusal = daemon.client.withdraw_many(&like(expect_count)).await;
        assert_eq!(code(refusal).as_deref(), Some(refused));
    }
    assert_eq!(daemon.live().await?.len(), 20, "nothing is half done");
    let refused = daemon.client.acknowledge(&acknowledging(Some(19))).await;
    assert_eq!(code(refused).as_deref(), Some("conflict.expect_count"));
    let all = daemon.client.acknowledge(&acknowledging(Some(20))).await?;
    assert_eq!((all.count, all.failed), (20, 0));
    let seen = daemon.live().await?;
    assert!(seen.iter().all(|one| one.acknowledged_at.is_some()));
    let done = daemon.client.withdraw_many(&like(Some(14))).await?;
    assert_eq!((done.count, done.failed), (14, 0));
    let why = daemon
        .client
        .mitigation_why(done.results[0].mitigation_id)
        .await?
        .value;
    let said: Vec<_> = why.steps.iter().map(|step| step.code.as_str()).collect();
    assert_eq!(said, ["operator", "suppressed_until"], "who, why, and until when");
    bird.wait_rules(
        Family::Ipv4Flow,
        |rules: &[RouterRule]| is_for(rules, 10..16),
        PATIENCE,
    )
    .await?;
    // Their next report is not acted on; by name, what has ended says so.
    let suppressed = daemon.ban("203.0.113.20", 27015).await?;
    assert_eq!(suppressed.status, prefixd_api::event::EventOutcome::Suppressed);
    let mut ids: Vec<_> = daemon
        .live()
        .await?
        .iter()
        .map(|live| live.mitigation_id)
        .collect();
    ids.push(done.results[0].mitigation_id);
    let named = BulkWithdrawRequest {
        ids: Some(ids),
        reason: "over".to_owned(),
        ..BulkWithdrawRequest::default()
    };
    let done = daemon.client.withdraw_many(&named).await?;
    assert_eq!((done.count, done.failed), (7, 1));
    let problem = done.results[6].problem.as_ref().context("it had ended")?;
    assert_eq!(problem.code, "conflict.ended");
    wait_for("nothing is live", || async {
        Ok(daemon.live().await?.is_empty().then_some(()))
    })
    .await
}

async fn a_withdrawal_is_undone_unless_it_is_confirmed(store: Backend) -> anyhow::Result<()> {
    let bird = router!(Kind::Bird, RouterConfig::new(65001, 65010));
    let mut daemon = Daemon::start(Setup::on(store).await?, &[&bird]).await?;
    daemon.wait_established(1).await?;
    let ids = [
        made(&daemon, "203.0.113.10").await?,
        made(&daemon, "203.0.113.11").await?,
        made(&daemon, "203.0.113.12").await?,
    ];
    let words = UndoRequest {
        reason: "INC-4711".to_owned(),
        expected_revision: None,
    };
    assert_eq!(
        code(daemon.client.undo(ids[0], &words).await).as_deref(),
        Some("conflict.exists")
    );
    for id in ids {
        let withdraw = WithdrawRequest {
            reason: "no attack".to_owned(),
            confirm_within_seconds: Some(if id == ids[2] { 86_400 } else { 10 }),
            ..WithdrawRequest::default()
        };
        assert!(
            daemon
                .client
                .withdraw_mitigation(id, &withdraw)
                .await?
                .mitigation
                .confirm_by
                .is_some()
        );
    }
    assert!(daemon.client.confirm(ids[1], &words).await?.confirm_by.is_none());
    // Nobody is there when its time comes.
    daemon.kill().await?;
    bird.wait_rules(Family::Ipv4Flow, <[RouterRule]>::is_empty, PATIENCE)
        .await?;
    daemon.boot().await?;
    daemon.wait_established(1).await?;
    bird.wait_rules(
        Family::Ipv4Flow,
        |rules: &[RouterRule]| is_for(rules, 10..11),
        PATIENCE,
    )
    .await?;
    let live = daemon.live().await?;
    assert_eq!((live.len(), live[0].previous_id), (1, Some(ids[0])));
    assert_eq!(
        code(daemon.client.confirm(ids[0], &words).await).as_deref(),
        Some("not_found")
    );
    // By hand, before its time.
    let back = daemon.client.undo(ids[2], &words).await?;
    assert_eq!(back.previous_id, Some(ids[2]));
    assert!(
        daemon
            .client
            .mitigation(ids[2])
            .await?
            .value
            .mitigation
            .confirm_by
            .is_none()
    );
    bird.wait_rules(
        Family::Ipv4Flow,
        |rules| {
            rules
                .iter()
                .any(|rule| rule.matches.destination == "203.0.113.12/32".parse().ok())
        },
        PATIENCE,
    )
    .await?;
    assert_eq!(
        code(daemon.client.undo(ids[2], &words).await).as_deref(),
        Some("conflict.exists")
    );
    // Its next report is not suppressed: it attaches.
    assert_eq!(
        daemon.ban("203.0.113.12", 27015).await?.mitigation_id,
        Some(back.mitigation_id)
    );
    Ok(())
}

fn is_for(rules: &[RouterRule], lasts: std::ops::Range<u8>) -> bool {
    let victims: std::collections::BTreeSet<_> =
        rules.iter().filter_map(|rule| rule.matches.destination).collect();
    let expected = lasts
        .filter_map(|last| format!("203.0.113.{last}/32").parse().ok())
        .collect();
    victims == expected
}
