//! Many at once: one outcome, no 5xx.

use crate::support::{Backend, Daemon, Setup, ban, on_both_stores};
use anyhow::Context;
use prefixd_api::client::Error;
use prefixd_api::event::{EventAnswer, EventOutcome};
use prefixd_api::ids::MitigationId;
use prefixd_api::mitigation::{MitigationRequest, MitigationStatus, WithdrawRequest};
use prefixd_api::operation::{ExtendRequest, UndoRequest};
use prefixd_api::rule::ActionType;
use std::collections::{BTreeSet, HashSet};

on_both_stores!(
    ten_first_reports_of_one_attack_make_one_mitigation
    forty_reports_do_not_pass_a_quota_of_five
    a_withdrawal_is_not_undone_by_a_report_beside_it
    of_a_withdrawal_and_an_extension_at_once_the_withdrawal_stands
    of_two_operators_at_once_one_is_told_of_the_other
);

async fn at_once(daemon: &Daemon, victims: Vec<String>) -> anyhow::Result<Vec<Result<EventAnswer, Error>>> {
    let sends = victims.into_iter().map(|victim| {
        let client = daemon.client.clone();
        tokio::spawn(async move { client.send_event(&ban(&victim, 27015)).await })
    });
    let mut answers = Vec::new();
    for send in sends.collect::<Vec<_>>() {
        answers.push(send.await?);
    }
    Ok(answers)
}

async fn ten_first_reports_of_one_attack_make_one_mitigation(store: Backend) -> anyhow::Result<()> {
    let daemon = Daemon::start(Setup::on(store).await?, &[]).await?;
    let answers = at_once(&daemon, vec!["203.0.113.10".into(); 10]).await?;
    let mut made = 0;
    let mut ids = HashSet::new();
    for answer in answers {
        let answer = answer?;
        made += usize::from(answer.status == EventOutcome::Accepted);
        ids.insert(answer.mitigation_id);
    }
    assert_eq!((made, ids.len(), daemon.live().await?.len()), (1, 1, 1));
    Ok(())
}

async fn forty_reports_do_not_pass_a_quota_of_five(store: Backend) -> anyhow::Result<()> {
    let quotas = "{ max_active_per_customer: 5, max_active_per_pop: 200, max_active_global: 500, \
                  max_new_per_minute: { pop: 1000, customer: 1000, source: 1000 } }";
    let daemon = Daemon::start(
        Setup {
            quotas,
            ..Setup::on(store).await?
        },
        &[],
    )
    .await?;
    let answers = at_once(
        &daemon,
        (10..50).map(|last| format!("203.0.113.{last}")).collect(),
    )
    .await?;
    let refused = answers
        .iter()
        .filter_map(|answer| answer.as_ref().err().and_then(Error::code));
    assert_eq!(
        refused.filter(|code| *code == "guardrail.quota_customer").count(),
        35
    );
    assert_eq!(daemon.live().await?.len(), 5);
    Ok(())
}

async fn a_withdrawal_is_not_undone_by_a_report_beside_it(store: Backend) -> anyhow::Result<()> {
    let daemon = Daemon::start(Setup::on(store).await?, &[]).await?;
    for last in 10..30 {
        let victim = format!("203.0.113.{last}");
        let id = daemon
            .ban(&victim, 27015)
            .await?
            .mitigation_id
            .context("accepted")?;
        let request = WithdrawRequest {
            reason: "race".into(),
            ..WithdrawRequest::default()
        };
        let (withdrawn, reported) = tokio::join!(
            daemon.client.withdraw_mitigation(id, &request),
            daemon.ban(&victim, 27015)
        );
        withdrawn?;
        reported?;
    }
    assert!(daemon.live().await?.is_empty());
    Ok(())
}

fn withdrawal() -> WithdrawRequest {
    WithdrawRequest {
        reason: "race".into(),
        suppress_seconds: Some(0),
        ..WithdrawRequest::default()
    }
}

fn extension(expected_revision: Option<u64>) -> ExtendRequest {
    ExtendRequest {
        ttl_seconds: 900,
        reason: "race".into(),
        expected_revision,
    }
}

/// Of two answers: how many were good, and what the others were refused with.
fn told<T, U>(one: &Result<T, Error>, two: &Result<U, Error>) -> anyhow::Result<(usize, BTreeSet<String>)> {
    let errors = [one.as_ref().err(), two.as_ref().err()];
    let refused: Vec<&Error> = errors.into_iter().flatten().collect();
    let codes = refused
        .iter()
        .map(|error| Ok(error.code().with_context(|| error.to_string())?.to_owned()));
    Ok((2 - refused.len(), codes.collect::<anyhow::Result<_>>()?))
}

async fn made(daemon: &Daemon, last: u8) -> anyhow::Result<MitigationId> {
    let answer = daemon.ban(&format!("203.0.113.{last}"), 27015).await?;
    answer.mitigation_id.context("accepted")
}

async fn of_a_withdrawal_and_an_extension_at_once_the_withdrawal_stands(
    store: Backend,
) -> anyhow::Result<()> {
    let daemon = Daemon::start(Setup::on(store).await?, &[]).await?;
    for last in 10..40 {
        let id = made(&daemon, last).await?;
        let (withdrawal, extension) = (withdrawal(), extension(None));
        // Either may come first.
        let (withdrawn, extended) = if last % 2 == 0 {
            tokio::join!(
                daemon.client.withdraw_mitigation(id, &withdrawal),
                daemon.client.extend_mitigation(id, &extension)
            )
        } else {
            let (extended, withdrawn) = tokio::join!(
                daemon.client.extend_mitigation(id, &extension),
                daemon.client.withdraw_mitigation(id, &withdrawal)
            );
            (withdrawn, extended)
        };
        let withdrawn = withdrawn?;
        let revision = match extended {
            Ok(extended) => extended.revision + 1,
            Err(error) if error.code() == Some("conflict.ended") => 2,
            Err(error) => return Err(error.into()),
        };
        assert_eq!(withdrawn.mitigation.revision, revision, "no change is lost");
        let stored = daemon.client.mitigation(id).await?.value.mitigation;
        assert_eq!(stored.status, MitigationStatus::Withdrawn);
    }
    assert!(daemon.live().await?.is_empty());
    Ok(())
}

async fn of_two_operators_at_once_one_is_told_of_the_other(store: Backend) -> anyhow::Result<()> {
    let daemon = Daemon::start(Setup::on(store).await?, &[]).await?;
    let client = &daemon.client;
    let only = |code: &str| (1, BTreeSet::from([code.to_owned()]));
    for last in 10..20 {
        let id = made(&daemon, last).await?;
        // Both saw the same, and both would change it.
        let extension = extension(Some(1));
        let (one, two) = tokio::join!(
            client.extend_mitigation(id, &extension),
            client.extend_mitigation(id, &extension)
        );
        assert_eq!(told(&one, &two)?, only("conflict.revision"));

        let withdrawal = withdrawal();
        let (one, two) = tokio::join!(
            client.withdraw_mitigation(id, &withdrawal),
            client.withdraw_mitigation(id, &withdrawal)
        );
        assert_eq!(told(&one, &two)?, only("conflict.ended"));

        let undo = UndoRequest {
            reason: "race".into(),
            expected_revision: None,
        };
        let (one, two) = tokio::join!(client.undo(id, &undo), client.undo(id, &undo));
        assert_eq!(told(&one, &two)?, only("conflict.exists"));

        let create = MitigationRequest {
            victim_ip: format!("203.0.113.{}", 100 + last),
            action: Some(ActionType::Discard),
            ttl_seconds: Some(300),
            protocol: Some(17),
            dst_ports: [27015].into_iter().collect(),
            reason: "race".into(),
            ..MitigationRequest::default()
        };
        let (one, two) = tokio::join!(
            client.create_mitigation(&create),
            client.create_mitigation(&create)
        );
        assert_eq!(told(&one, &two)?, only("conflict.exists"));
    }
    assert_eq!(daemon.live().await?.len(), 20);
    Ok(())
}
