//! Changing what a live mitigation does, as routers see it.

use crate::support::{Backend, Daemon, PATIENCE, Setup, ban, on_both_stores, router};
use anyhow::Context;
use lab::routers::{Action, Component, Family, Kind, Match, Op, RouterConfig};
use prefixd_api::client::Error;
use prefixd_api::event::{EventOutcome, EventRequest};
use prefixd_api::ids::MitigationId;
use prefixd_api::mitigation::{MitigationStatus, WithdrawRequest};
use prefixd_api::operation::AdjustRequest;
use prefixd_api::preview::PreviewOutcome;
use prefixd_api::rate::BitsPerSecond;
use prefixd_api::rule::ActionType;

on_both_stores!(
    an_adjustment_lasts_over_a_restart_and_is_explained
    of_two_adjustments_at_once_one_is_told_of_the_other
);

const VICTIM: &str = "203.0.113.10";

fn code<T>(result: Result<T, Error>) -> Option<String> {
    result.err()?.code().map(str::to_owned)
}

fn change() -> AdjustRequest {
    AdjustRequest {
        reason: "INC-4711".to_owned(),
        ..AdjustRequest::default()
    }
}

async fn made(daemon: &Daemon) -> anyhow::Result<MitigationId> {
    daemon.ban(VICTIM, 27015).await?.mitigation_id.context("accepted")
}

fn on_port(port: u64) -> anyhow::Result<Match> {
    Ok(Match::to("203.0.113.10/32".parse()?)
        .with(Component::Protocol, &[(Op::Eq, 17)])
        .with(Component::DestinationPort, &[(Op::Eq, port)]))
}

/// `ExaBGP` writes down each update as it comes: once there, the rule on ports and the one for fragments were never fewer.
#[tokio::test(flavor = "multi_thread")]
async fn no_router_is_without_a_rule_for_a_moment() -> anyhow::Result<()> {
    let (exabgp, bird) = (
        router!(Kind::ExaBgp, RouterConfig::new(65001, 65010)),
        router!(Kind::Bird, RouterConfig::new(65001, 65010)),
    );
    let daemon = Daemon::start(Setup::default(), &[&exabgp, &bird]).await?;
    daemon.wait_established(2).await?;
    let id = made(&daemon).await?;
    let mut port = 27015;
    for (next, adjustment) in [
        (
            27015,
            AdjustRequest {
                rate_bps: Some(BitsPerSecond(2_000_000)),
                ..change()
            },
        ),
        (
            27016,
            AdjustRequest {
                dst_ports: Some([27016].into_iter().collect()),
                ..change()
            },
        ),
        (
            27017,
            AdjustRequest {
                action: Some(ActionType::Discard),
                dst_ports: Some([27017].into_iter().collect()),
                ttl_seconds: Some(600),
                ..change()
            },
        ),
    ] {
        daemon.client.adjust_mitigation(id, &adjustment).await?;
        let (is, was) = (on_port(next)?, on_port(port)?);
        for router in [&exabgp, &bird] {
            // The old rule stays a second beside the new one.
            let turned = |rules: &[lab::routers::RouterRule]| {
                rules.iter().any(|rule| rule.matches == is)
                    && (next == port || rules.iter().all(|rule| rule.matches != was))
            };
            router.wait_rules(Family::Ipv4Flow, turned, PATIENCE).await?;
        }
        port = next;
    }
    let rules = bird.rules(Family::Ipv4Flow).await?;
    let last = on_port(port)?;
    assert!(
        rules
            .iter()
            .any(|rule| rule.matches == last && rule.actions.contains(&Action::Discard)),
        "{rules:?}"
    );
    // The rule on ports and the one for fragments: the same at another rate, and two that came before those they replace went.
    let held = exabgp.held(Family::Ipv4Flow)?;
    let since_both: Vec<usize> = held.into_iter().skip_while(|count| *count < 2).collect();
    assert!(since_both.contains(&3), "{since_both:?}");
    assert!(since_both.iter().all(|count| *count >= 2), "{since_both:?}");
    let withdrawal = WithdrawRequest {
        reason: "over".into(),
        ..WithdrawRequest::default()
    };
    daemon.client.withdraw_mitigation(id, &withdrawal).await?;
    exabgp
        .wait_rules(Family::Ipv4Flow, <[_]>::is_empty, PATIENCE)
        .await?;
    assert_eq!(
        exabgp.held(Family::Ipv4Flow)?.last(),
        Some(&0),
        "the log would show it"
    );
    Ok(())
}

async fn an_adjustment_lasts_over_a_restart_and_is_explained(store: Backend) -> anyhow::Result<()> {
    let mut daemon = Daemon::start(Setup::on(store).await?, &[]).await?;
    let id = made(&daemon).await?;
    let slower = AdjustRequest {
        rate_bps: Some(BitsPerSecond(2_000_000)),
        ..change()
    };
    let foreseen = daemon.client.preview_adjust(id, &slower).await?;
    assert_eq!(foreseen.outcome, PreviewOutcome::Revised);
    assert_eq!(
        foreseen.previews[0].text,
        "dst 203.0.113.10/32 proto udp dport 27015 then police 2 Mbit/s"
    );
    let before = daemon.client.mitigation(id).await?.value.mitigation;
    assert_eq!(before.revision, 1, "a preview changes nothing");

    let adjusted = daemon.client.adjust_mitigation(id, &slower).await?;
    assert_eq!(
        (adjusted.revision, adjusted.rate_bps),
        (2, Some(BitsPerSecond(2_000_000)))
    );
    let detail = daemon.client.mitigation(id).await?.value;
    let told = detail.timeline.last().context("it is in the timeline")?;
    assert_eq!(
        (&*told.kind, &told.body["reason"]),
        ("mitigation.updated", &"INC-4711".into())
    );
    let why = daemon.client.mitigation_why(id).await?.value;
    assert_eq!(why.outcome, "adjusted");
    let texts: Vec<&str> = why.steps.iter().map(|step| step.text.as_str()).collect();
    let was = "until now it was dst 203.0.113.10/32 proto udp dport 27015 then police 5 Mbit/s";
    assert!(texts.iter().any(|text| text.starts_with(was)), "{texts:?}");
    // A guardrail says no to both in the same words; what is not live is no preview.
    let beyond = AdjustRequest {
        ttl_seconds: Some(1_000_000),
        ..change()
    };
    let refused = daemon.client.preview_adjust(id, &beyond).await?;
    assert_eq!(refused.problem.context("refused")?.code, "guardrail.ttl");
    assert_eq!(
        code(daemon.client.adjust_mitigation(id, &beyond).await).as_deref(),
        Some("guardrail.ttl")
    );
    let nothing = daemon.client.adjust_mitigation(id, &change()).await;
    assert_eq!(code(nothing).as_deref(), Some("request.field"));
    let unknown = MitigationId::new();
    assert_eq!(
        code(daemon.client.preview_adjust(unknown, &slower).await).as_deref(),
        Some("not_found")
    );

    daemon.stop().await?;
    daemon.boot().await?;
    let widened = EventRequest {
        event_id: Some("another".into()),
        ..ban(VICTIM, 27020)
    };
    assert_eq!(
        daemon.client.send_event(&widened).await?.status,
        EventOutcome::Extended
    );
    let after = daemon.client.mitigation(id).await?.value.mitigation;
    assert_eq!(
        (after.status, &after.rules),
        (MitigationStatus::Active, &adjusted.rules)
    );

    let withdrawal = WithdrawRequest {
        reason: "over".into(),
        ..WithdrawRequest::default()
    };
    daemon.client.withdraw_mitigation(id, &withdrawal).await?;
    assert_eq!(
        code(daemon.client.adjust_mitigation(id, &slower).await).as_deref(),
        Some("conflict.ended")
    );
    Ok(())
}

async fn of_two_adjustments_at_once_one_is_told_of_the_other(store: Backend) -> anyhow::Result<()> {
    let daemon = Daemon::start(Setup::on(store).await?, &[]).await?;
    let id = made(&daemon).await?;
    for revision in 1..10 {
        let to = |rate| AdjustRequest {
            rate_bps: Some(BitsPerSecond(rate)),
            expected_revision: Some(revision),
            ..change()
        };
        let (slow, fast) = (to(2_000_000 + revision), to(3_000_000 + revision));
        let (one, two) = tokio::join!(
            daemon.client.adjust_mitigation(id, &slow),
            daemon.client.adjust_mitigation(id, &fast)
        );
        let (done, refused) = match (one, two) {
            (Ok(done), Err(refused)) | (Err(refused), Ok(done)) => (done, refused),
            other => anyhow::bail!("{other:?}"),
        };
        assert_eq!(done.revision, revision + 1);
        assert_eq!(refused.code(), Some("conflict.revision"));
    }
    Ok(())
}
