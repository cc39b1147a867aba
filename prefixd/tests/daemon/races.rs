//! Many at once: one outcome, no 5xx.

use crate::support::{Backend, Daemon, Setup, ban, on_both_stores};
use anyhow::Context;
use prefixd_api::client::Error;
use prefixd_api::event::{EventAnswer, EventOutcome};
use prefixd_api::mitigation::WithdrawRequest;
use std::collections::HashSet;

on_both_stores!(
    ten_first_reports_of_one_attack_make_one_mitigation
    forty_reports_do_not_pass_a_quota_of_five
    a_withdrawal_is_not_undone_by_a_report_beside_it
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
