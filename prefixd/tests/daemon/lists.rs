//! Lists: stable pages, true filters.

use crate::support::{Daemon, Setup, ban};
use anyhow::Context;
use prefixd_api::client::{EventQuery, MitigationQuery, Page};
use prefixd_api::event::{EventAction, EventAnswer, EventOutcome, EventRequest};
use prefixd_api::ids::MitigationId;
use prefixd_api::mitigation::{MitigationStatus, WithdrawRequest};
use prefixd_api::resource::SafelistRequest;
use sqlx::{Connection, SqliteConnection};
use std::collections::BTreeSet;

#[tokio::test]
async fn pages_of_a_moving_list_have_no_gap_and_nothing_twice() -> anyhow::Result<()> {
    pages(Vec::new()).await?;
    pages(vec![MitigationStatus::Active, MitigationStatus::Escalated]).await
}

async fn pages(status: Vec<MitigationStatus>) -> anyhow::Result<()> {
    let daemon = Daemon::start(Setup::default(), &[]).await?;
    for last in 10..40 {
        daemon.ban(&format!("203.0.113.{last}"), 27015).await?;
    }
    let mut query = MitigationQuery {
        status,
        page: Page {
            limit: Some(7),
            ..Page::default()
        },
        ..MitigationQuery::default()
    };
    let mut seen = Vec::new();
    let mut more = 50;
    loop {
        let page = daemon.client.mitigations(&query).await?.value;
        assert_eq!(page.count, page.mitigations.len());
        seen.extend(
            page.mitigations
                .iter()
                .map(|mitigation| mitigation.victim_ip.to_string()),
        );
        daemon.ban(&format!("203.0.113.{more}"), 27015).await?;
        more += 1;
        match page.next_cursor {
            Some(cursor) => query.page.cursor = Some(cursor),
            None => break,
        }
    }
    let expected: Vec<String> = (10..40).rev().map(|last| format!("203.0.113.{last}")).collect();
    assert_eq!(
        seen, expected,
        "newest first, as it was when the first page was read"
    );
    Ok(())
}

#[tokio::test]
async fn filters_and_the_why_of_what_had_no_effect() -> anyhow::Result<()> {
    let daemon = Daemon::start(Setup::default(), &[]).await?;
    let id = daemon
        .ban("203.0.113.10", 27015)
        .await?
        .mitigation_id
        .context("accepted")?;
    daemon.ban("2001:db8:acce::7", 27015).await?;
    let stray = daemon.ban("192.0.2.77", 27015).await?;
    let request = WithdrawRequest {
        reason: "test".into(),
        suppress_seconds: Some(0),
        ..WithdrawRequest::default()
    };
    daemon.client.withdraw_mitigation(id, &request).await?;

    let victims = async |query: MitigationQuery| -> anyhow::Result<BTreeSet<String>> {
        let list = daemon.client.mitigations(&query).await?.value.mitigations;
        Ok(list
            .iter()
            .map(|mitigation| mitigation.victim_ip.to_string())
            .collect())
    };
    let active = MitigationQuery {
        status: vec![MitigationStatus::Active],
        ..MitigationQuery::default()
    };
    assert_eq!(victims(active).await?, ["2001:db8:acce::7".to_owned()].into());
    let wide = MitigationQuery {
        victim_ip: Some("203.0.113.0/24".parse()?),
        ..MitigationQuery::default()
    };
    assert_eq!(victims(wide).await?, ["203.0.113.10".to_owned()].into());
    let nobody = MitigationQuery {
        customer_id: Some("nobody".into()),
        ..MitigationQuery::default()
    };
    assert!(victims(nobody).await?.is_empty());

    let stats = daemon.client.stats().await?.value;
    assert_eq!(
        (stats.events_per_minute, stats.events_by_outcome["accepted"]),
        (3, 2)
    );
    assert_eq!(
        (stats.active, stats.quota_pop.used, stats.new_per_minute.used),
        (1, 1, 2)
    );

    let query = EventQuery {
        outcome: Some(EventOutcome::AcceptedNotOwned),
        ..EventQuery::default()
    };
    let events = daemon.client.events(&query).await?.value.events;
    assert_eq!(
        events.iter().map(|event| event.event_id).collect::<Vec<_>>(),
        [stray.event_id]
    );
    let why = daemon.client.event_why(stray.event_id).await?.value;
    assert_eq!(why.outcome, "accepted_not_owned");
    assert!(
        why.steps.iter().any(|step| step.code == "guardrail.ownership"),
        "{why:?}"
    );

    let again = daemon
        .client
        .withdraw_mitigation(id, &request)
        .await
        .err()
        .context("it ended")?;
    assert_eq!(again.code(), Some("conflict.ended"));
    Ok(())
}

#[tokio::test]
async fn a_safelist_entry_withdraws_and_protects() -> anyhow::Result<()> {
    let daemon = Daemon::start(Setup::default(), &[]).await?;
    for last in 10..13 {
        daemon.ban(&format!("203.0.113.{last}"), 27015).await?;
    }
    let entry = |prefix: &str, expect_count| SafelistRequest {
        prefix: prefix.into(),
        reason: "test".into(),
        expect_count,
        ..SafelistRequest::default()
    };
    let unexpected = daemon
        .client
        .add_to_safelist(&entry("203.0.112.0/23", None))
        .await
        .err()
        .context("too wide")?;
    assert_eq!(unexpected.code(), Some("conflict.expect_count"));
    assert_eq!(daemon.live().await?.len(), 3, "nothing happened");
    assert_eq!(
        daemon
            .client
            .add_to_safelist(&entry("203.0.113.8/29", None))
            .await?
            .withdrawn,
        3
    );
    assert!(daemon.live().await?.is_empty());
    let refused = daemon
        .ban("203.0.113.10", 27015)
        .await
        .err()
        .context("protected")?;
    assert_eq!(refused.code(), Some("guardrail.safelist"));
    daemon
        .client
        .remove_from_safelist("203.0.113.8/29".parse()?)
        .await?;
    assert!(daemon.ban("203.0.113.10", 27015).await.is_ok());
    Ok(())
}

#[tokio::test]
async fn what_ended_and_what_never_was_are_told_apart() -> anyhow::Result<()> {
    let daemon = Daemon::start(Setup::default(), &[]).await?;
    let request = WithdrawRequest {
        reason: "test".into(),
        ..WithdrawRequest::default()
    };
    let refused = async |id| {
        let error = daemon.client.withdraw_mitigation(id, &request).await.err();
        error.map(|error| {
            (
                error.code().map(str::to_owned).unwrap_or_default(),
                error.to_string(),
            )
        })
    };
    let (code, _) = refused(MitigationId::new()).await.context("it never was")?;
    assert_eq!(code, "not_found");
    let id = daemon
        .ban("203.0.113.10", 27015)
        .await?
        .mitigation_id
        .context("accepted")?;
    daemon.client.withdraw_mitigation(id, &request).await?;
    let (code, detail) = refused(id).await.context("it has ended")?;
    assert_eq!(code, "conflict.ended");
    assert!(detail.contains("operator"), "{detail}");
    Ok(())
}

#[tokio::test]
async fn the_log_has_the_cause_under_the_request_id() -> anyhow::Result<()> {
    let daemon = Daemon::start(Setup::default(), &[]).await?;
    let id = daemon
        .ban("203.0.113.10", 27015)
        .await?
        .mitigation_id
        .context("accepted")?;
    let request = WithdrawRequest {
        reason: "test".into(),
        ..WithdrawRequest::default()
    };
    daemon.client.withdraw_mitigation(id, &request).await?;
    let path = daemon.dir.path().join("prefixd.db");
    let mut database = SqliteConnection::connect(&format!("sqlite:{}", path.display())).await?;
    sqlx::query("UPDATE mitigations SET body = '{}'")
        .execute(&mut database)
        .await?;

    let http = reqwest::Client::builder().tls_certs_only([]).build()?;
    let url = format!("http://{}/v1/mitigations/{id}", daemon.address);
    let response = http.get(url).header("x-request-id", "night-7").send().await?;
    assert_eq!(response.status(), 500);
    let text = response.text().await?;
    assert!(
        text.contains("night-7") && !text.contains("missing field"),
        "{text}"
    );
    let log = daemon.log();
    let line = log
        .lines()
        .find(|line| line.contains("night-7"))
        .context("no line has the id")?;
    assert!(line.contains("missing field"), "{line}");
    Ok(())
}

/// Why a rule went away is asked more often than why it came.
#[tokio::test]
async fn the_end_of_an_attack_is_an_event_with_its_outcome_and_reason() -> anyhow::Result<()> {
    let daemon = Daemon::start(Setup::default(), &[]).await?;
    let id = daemon.ban("203.0.113.10", 27015).await?.mitigation_id;
    let unban = EventRequest {
        action: EventAction::Unban,
        top_dst_ports: vec![],
        ..ban("203.0.113.10", 27015)
    };
    let ended = daemon.client.send_event(&unban).await?;
    let unknown = daemon
        .client
        .send_event(&EventRequest {
            victim_ip: "203.0.113.99".into(),
            ..unban
        })
        .await?;

    let query = EventQuery {
        action: Some(EventAction::Unban),
        ..EventQuery::default()
    };
    let events = daemon.client.events(&query).await?.value.events;
    let told: Vec<_> = events
        .iter()
        .map(|event| {
            (
                event.event_id,
                event.action,
                event.outcome.clone(),
                event.mitigation_id,
            )
        })
        .collect();
    let unban =
        |event: &EventAnswer, outcome, mitigation| (event.event_id, EventAction::Unban, outcome, mitigation);
    assert_eq!(
        told,
        [
            unban(&unknown, EventOutcome::NoActiveMitigation, None),
            unban(&ended, EventOutcome::Withdrawn, id)
        ],
        "the newest first"
    );
    for (event, outcome) in [(&ended, "withdrawn"), (&unknown, unknown.status.as_str())] {
        let why = daemon.client.event_why(event.event_id).await?.value;
        assert_eq!(why.outcome, outcome);
        assert!(!why.summary.is_empty() && !why.steps.is_empty(), "{why:?}");
    }
    Ok(())
}
