//! The metrics of the daemon as it runs: all that is documented is there, and it moves.

use crate::support::{Daemon, Setup, TOKENS, ban, router, wait_for};
use anyhow::Context;
use lab::routers::{Kind, RouterConfig};
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use prefixd_api::client::FeedOptions;
use prefixd_api::event::EventRequest;
use prefixd_api::mitigation::MitigationRequest;
use prefixd_api::time::Timestamp;
use std::collections::BTreeSet;

/// What Prometheus reads, sample by sample.
pub(crate) struct Scrape(String);

impl Scrape {
    pub(crate) async fn of(daemon: &Daemon) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().tls_certs_only([]).build()?;
        let request = http
            .get(format!("http://{}/metrics", daemon.address))
            .bearer_auth("viewer-secret-of-the-test");
        let response = request.send().await?.error_for_status()?;
        let kind = response.headers()["content-type"].to_str()?;
        assert!(
            kind.starts_with("application/openmetrics-text; version=1.0.0"),
            "{kind}"
        );
        let text = response.text().await?;
        assert!(text.ends_with("# EOF\n"), "OpenMetrics ends so");
        Ok(Self(text))
    }

    /// Each sample's name and labels, and its value.
    fn samples(&self) -> impl Iterator<Item = (&str, f64)> {
        let lines = self.0.lines().filter(|line| !line.starts_with('#'));
        lines.filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            Some((series, value.parse().ok()?))
        })
    }

    pub(crate) fn value(&self, series: &str) -> Option<f64> {
        self.samples()
            .find(|(name, _)| *name == series)
            .map(|(_, value)| value)
    }

    /// All series of a metric that have these labels, added up; they may have others. None: there is no such series.
    pub(crate) fn sum(&self, metric: &str, labels: &[&str]) -> Option<f64> {
        let is_meant = |series: &str| {
            let rest = series.strip_prefix(metric)?.strip_prefix('{')?;
            labels.iter().all(|label| rest.contains(label)).then_some(())
        };
        let meant = self.samples().filter(|(series, _)| is_meant(series).is_some());
        meant.map(|(_, value)| value).reduce(|sum, value| sum + value)
    }
}

/// Waits until a metric of a neighbour is above zero.
pub(crate) async fn wait_counted(daemon: &Daemon, metric: &str, labels: &[&str]) -> anyhow::Result<f64> {
    wait_for(&format!("{metric} {labels:?} is above zero"), || async {
        let sum = Scrape::of(daemon).await?.sum(metric, labels);
        Ok(sum.filter(|sum| *sum > 0.0))
    })
    .await
}

/// A router that falls silent over what it was told last: the rules wait to be tried.
#[tokio::test]
async fn rules_on_probation_are_counted() -> anyhow::Result<()> {
    let bird = router!(Kind::Bird, RouterConfig::new(65001, 65010));
    let mut daemon = Daemon::configured(Setup::default(), &[&bird])?;
    daemon.edit("prefixd.yaml", "hold_time_seconds: 30", "hold_time_seconds: 3")?;
    daemon.boot().await?;
    daemon.wait_established(1).await?;
    daemon.ban("203.0.113.10", 27015).await?;
    let labels = &[r#"neighbor="bird0""#];
    wait_counted(&daemon, "prefixd_peer_rules_advertised", labels).await?;
    let pid = Pid::from_raw(i32::try_from(bird.pid().context("it runs")?)?);
    signal::kill(pid, Signal::SIGSTOP)?;
    wait_counted(&daemon, "prefixd_peer_rules_on_probation", labels).await?;
    wait_counted(
        &daemon,
        "prefixd_peer_flaps_by_cause",
        &[labels[0], r#"cause="sent_4_0""#],
    )
    .await?;
    signal::kill(pid, Signal::SIGCONT)?;
    // They are told again, and none of them was to blame.
    wait_for("nothing is on probation", || async {
        let scrape = Scrape::of(&daemon).await?;
        let up = scrape.sum("prefixd_peer_up", labels) == Some(1.0);
        let left = scrape.sum("prefixd_peer_rules_on_probation", labels);
        let there = scrape.sum("prefixd_peer_rules_advertised", labels);
        Ok((up && left == Some(0.0) && there > Some(0.0)).then_some(()))
    })
    .await
}

/// A store that takes nothing: what waits for the engine meanwhile is counted.
#[tokio::test(flavor = "multi_thread")]
async fn commands_that_wait_are_counted() -> anyhow::Result<()> {
    let daemon = &Daemon::start(Setup::default(), &[]).await?;
    let lock = daemon.hold_the_lock().await?;
    let flood = async {
        loop {
            let victims = (10..70).map(|host| format!("203.0.113.{host}"));
            // Each is refused: nothing can be committed.
            let sends = victims.map(|victim| async move { daemon.ban(&victim, 27015).await.is_ok() });
            futures_util::future::join_all(sends).await;
        }
    };
    tokio::select! {
        () = flood => {}
        counted = wait_value(daemon, "prefixd_queue_commands") => counted?,
    }
    wait_value(daemon, "prefixd_store_errors_total").await?;
    assert_eq!(Scrape::of(daemon).await?.value("prefixd_store_up"), Some(0.0));
    drop(lock);
    Ok(())
}

async fn wait_value(daemon: &Daemon, series: &str) -> anyhow::Result<()> {
    wait_for(&format!("{series} is above zero"), || async {
        let value = Scrape::of(daemon).await?.value(series);
        Ok(value.is_some_and(|value| value > 0.0).then_some(()))
    })
    .await
}

/// Names in docs/metrics.md.
fn documented() -> BTreeSet<&'static str> {
    let rows = include_str!("../../../docs/metrics.md").lines();
    rows.filter_map(|row| row.strip_prefix("| `")?.split('`').next())
        .collect()
}

#[tokio::test]
async fn every_documented_metric_is_there_and_moves() -> anyhow::Result<()> {
    let mut bird = router!(Kind::Bird, RouterConfig::new(65001, 65010));
    let mut daemon = Daemon::configured(
        Setup {
            http: TOKENS,
            ..Setup::default()
        },
        &[&bird],
    )?;
    daemon.edit(
        "prefixd.yaml",
        "  auth:\n",
        "  rate_limit: { events_per_second: 1, burst: 4 }\n  auth:\n",
    )?;
    daemon.boot().await?;
    let (detector, operator) = (daemon.client_as("detector")?, daemon.client_as("operator")?);
    let event = EventRequest {
        event_id: Some("fnm-1".into()),
        timestamp: Some(Timestamp::wall_clock()),
        ..ban("203.0.113.10", 27015)
    };
    detector.send_event(&event).await?;
    detector.send_event(&event).await?;
    detector
        .send_event(&ban("203.0.113.1", 27015))
        .await
        .err()
        .context("safelisted")?;
    while detector.send_event(&ban("203.0.113.11", 27015)).await.is_ok() {}
    let request = MitigationRequest {
        victim_ip: "203.0.113.1".into(),
        reason: "test".into(),
        ..MitigationRequest::default()
    };
    operator
        .create_mitigation(&request)
        .await
        .err()
        .context("safelisted")?;
    daemon
        .client
        .stats()
        .await
        .err()
        .context("no token came with it")?;
    let _feed = daemon.client_as("viewer")?.feed(FeedOptions::default());

    let advertised = r#"prefixd_peer_rules_advertised{neighbor="bird0",family="ipv4-flowspec"}"#;
    wait_for("the router has rules", || async {
        let value = Scrape::of(&daemon).await?.value(advertised);
        Ok(value.is_some_and(|value| value >= 1.0).then_some(()))
    })
    .await?;
    bird.kill9()?;
    bird.restart().await?;
    let scrape = wait_for("rules and subscriber are counted", || async {
        let scrape = Scrape::of(&daemon).await?;
        let there = [
            "prefixd_feed_subscribers",
            advertised,
            r#"prefixd_peer_flaps_by_cause{neighbor="bird0",cause="connection_lost"}"#,
        ];
        let moved = there
            .iter()
            .all(|series| scrape.value(series).is_some_and(|value| value >= 1.0));
        Ok(moved.then_some(scrape))
    })
    .await?;
    for (series, least) in [
        (r#"prefixd_events_total{kind="accepted"}"#, 1.0),
        (r#"prefixd_events_total{kind="rejected_guardrail"}"#, 1.0),
        ("prefixd_event_replays_total", 1.0),
        // One of an event, one of an operator.
        (
            r#"prefixd_guardrail_refusals_total{kind="guardrail.safelist"}"#,
            2.0,
        ),
        (r#"prefixd_mitigation_changes_total{kind="created"}"#, 1.0),
        ("prefixd_commit_seconds_count", 3.0),
        ("prefixd_batch_commands_count", 3.0),
        (
            r#"prefixd_http_requests_total{route="POST /v1/events",status="202"}"#,
            1.0,
        ),
        (
            r#"prefixd_http_requests_total{route="POST /v1/events",status="429"}"#,
            1.0,
        ),
        ("prefixd_auth_failures_total", 1.0),
        ("prefixd_rate_limited_total", 1.0),
        (r#"prefixd_mitigations{kind="active"}"#, 1.0),
        ("prefixd_journal_head", 3.0),
        (r#"prefixd_control_stopped{scope="pop",state="panic"}"#, 0.0),
        ("prefixd_breaker_tripped", 0.0),
        ("prefixd_store_up", 1.0),
        (r#"prefixd_peer_up{neighbor="bird0"}"#, 1.0),
        (
            r#"prefixd_peer_rules_desired{neighbor="bird0",family="ipv4-flowspec"}"#,
            1.0,
        ),
        (r#"prefixd_peer_flaps{neighbor="bird0"}"#, 1.0),
        (r#"prefixd_peer_sessions{neighbor="bird0"}"#, 2.0),
        (
            r#"prefixd_peer_messages{neighbor="bird0",kind="rules_announced"}"#,
            1.0,
        ),
        (
            r#"prefixd_peer_messages{neighbor="bird0",kind="updates_sent"}"#,
            1.0,
        ),
        (r#"prefixd_peer_end_of_rib_seconds{neighbor="bird0"}"#, 0.0),
        (r#"prefixd_peer_disabled{neighbor="bird0"}"#, 0.0),
        (
            r#"prefixd_peer_rules_over_budget{neighbor="bird0",family="ipv6-flowspec"}"#,
            0.0,
        ),
        (
            r#"prefixd_peer_rules_displaced{neighbor="bird0",family="ipv6-flowspec"}"#,
            0.0,
        ),
        (
            r#"prefixd_peer_rules_quarantined{neighbor="bird0",family="ipv6-flowspec"}"#,
            0.0,
        ),
        (
            r#"prefixd_peer_rules_on_probation{neighbor="bird0",family="ipv6-flowspec"}"#,
            0.0,
        ),
        (
            r#"prefixd_peer_rules_waiting{neighbor="bird0",family="ipv6-flowspec"}"#,
            0.0,
        ),
    ] {
        let value = scrape.value(series);
        assert!(
            value.is_some_and(|value| value >= least),
            "{series} is {value:?}\n{}",
            scrape.0
        );
    }
    for name in documented() {
        let of = |series: &str| {
            let rest = series.strip_prefix(name)?;
            matches!(rest, "" | "_bucket" | "_sum" | "_count").then_some(())
        };
        let there = scrape
            .samples()
            .any(|(series, _)| of(series.split('{').next().unwrap_or(series)).is_some());
        assert!(there, "{name} is documented and not exported");
    }
    Ok(())
}
