//! What operators ask, of the daemon as it runs.

use crate::support::{Backend, Daemon, Setup, ban, on_both_stores, router, wait_for};
use anyhow::Context;
use lab::routers::{Kind, RouterConfig};
use prefixd_api::client::{AuditQuery, GroupQuery, Page, ReportQuery};
use prefixd_api::event::{EventOutcome, EventRequest};
use prefixd_api::group::{GroupState, SuppressionAnswer, SuppressionRequest};
use prefixd_api::history::HistoryKind;
use prefixd_api::mitigation::WithdrawRequest;
use prefixd_api::resource::AnnouncementState;
use prefixd_api::series::{Metric, Span};
use prefixd_api::source::{PauseRequest, ResumeRequest};
use prefixd_api::traffic::{Traffic, TrafficVerdict};

on_both_stores!(
    groups_suppressions_journal_and_history_tell_one_story
    a_paused_source_is_not_acted_on_over_a_restart_too
);

fn udp(dst: &str, dport: Option<u16>) -> anyhow::Result<Traffic> {
    Ok(Traffic {
        dst: dst.parse()?,
        src: None,
        proto: Some(17),
        sport: None,
        dport,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn match_tells_what_the_router_was_told() -> anyhow::Result<()> {
    let bird = router!(Kind::Bird, RouterConfig::new(65001, 65010));
    let daemon = Daemon::start(Setup::default(), &[&bird]).await?;
    daemon.wait_established(1).await?;
    let id = daemon.ban("203.0.113.10", 27015).await?.mitigation_id;
    let id = id.context("an accepted event names its mitigation")?;
    let ask = async |traffic: Traffic| -> anyhow::Result<_> {
        let mut answer = daemon.client.match_traffic(&traffic).await?.value;
        assert_eq!(answer.neighbors.len(), 1);
        answer.neighbors.pop().context("one neighbour")
    };
    let attacked = udp("203.0.113.10", Some(27015))?;
    let at = wait_for("the router has the rule", || async {
        let at = ask(attacked.clone()).await?;
        Ok((at.verdict == TrafficVerdict::Matched).then_some(at))
    })
    .await?;
    let rule = at.effective.context("matched by a rule")?;
    assert_eq!(
        (rule.mitigations, rule.state),
        (vec![id], AnnouncementState::Advertised)
    );
    assert_eq!(
        rule.rule.as_deref(),
        Some("dst 203.0.113.10/32 proto udp dport 27015 then police 5 Mbit/s")
    );
    // What is not known of the traffic is named; what is on another port may still be a fragment.
    let at = ask(udp("203.0.113.10", None)?).await?;
    assert_eq!(at.verdict, TrafficVerdict::Depends, "{at:?}");
    assert!(
        at.before
            .iter()
            .any(|rule| rule.depends_on == ["destination port"]),
        "{at:?}"
    );
    for other in [udp("203.0.113.11", Some(27015))?, udp("2001:db8:acce::1", None)?] {
        assert_eq!(ask(other).await?.verdict, TrafficVerdict::Unmatched);
    }
    let tcp = Traffic {
        proto: Some(6),
        ..attacked.clone()
    };
    assert_eq!(ask(tcp).await?.verdict, TrafficVerdict::Unmatched);

    drop(bird);
    let at = wait_for("the session is lost", || async {
        let at = ask(attacked.clone()).await?;
        Ok((at.verdict == TrafficVerdict::Unknown).then_some(at))
    })
    .await?;
    let depends: Vec<_> = at.missing.iter().map(|rule| rule.depends_on.join(" ")).collect();
    assert!(at.effective.is_none() && depends == ["", "fragment"], "{at:?}");
    Ok(())
}

async fn groups_suppressions_journal_and_history_tell_one_story(store: Backend) -> anyhow::Result<()> {
    let setup = Setup {
        sources: "{ fastnetmon: { reporting: repeats }, netflow: { reporting: repeats } }",
        ..Setup::on(store).await?
    };
    let mut daemon = Daemon::configured(setup, &[])?;
    let games = "services: [{ service_id: games, name: Games, assets: [{ ip: 203.0.113.10 }] }]";
    daemon.edit("inventory.yaml", "services: []", games)?;
    daemon.boot().await?;
    let client = &daemon.client;
    let first = daemon.ban("203.0.113.10", 27015).await?;
    let (id, group) = (
        first.mitigation_id.context("accepted")?,
        first.group_id.context("in a group")?,
    );
    let second = EventRequest {
        source: "netflow".into(),
        confidence: Some(0.5),
        ..ban("203.0.113.10", 27015)
    };
    client.send_event(&second).await?;

    // The group: two sources, the stronger first, and what they come to.
    let open = GroupQuery {
        state: Some(GroupState::Open),
        victim_ip: Some("203.0.113.0/24".parse()?),
        ..GroupQuery::default()
    };
    let groups = client.groups(&open).await?.value.groups;
    assert_eq!(groups.len(), 1);
    assert_eq!(
        (groups[0].group.group_id, groups[0].mitigation_id),
        (group, Some(id))
    );
    let detail = client.group(group).await?.value;
    let weights: Vec<_> = detail
        .view
        .sources
        .iter()
        .map(|source| (source.source.as_str(), source.weighted))
        .collect();
    assert_eq!(weights, [("fastnetmon", Some(0.95)), ("netflow", Some(0.5))]);
    let confidence = detail
        .view
        .group
        .confidence
        .context("they say how sure they are")?;
    assert!((confidence - 0.975).abs() < 1e-9, "{confidence}");
    assert_eq!((detail.events.len(), detail.mitigations.len()), (2, 1));
    assert_eq!(detail.customer_id.as_deref(), Some("acme"));

    // A suppression: not of what is live; then bans are stored only, over a restart too, until it is ended.
    let request = SuppressionRequest {
        victim_ip: Some("203.0.113.10".into()),
        vector: Some("udp_flood".into()),
        seconds: 600,
        reason: "game night".into(),
        ..SuppressionRequest::default()
    };
    let refused = client.suppress(&request).await.err().context("it is live")?;
    assert_eq!(refused.code(), Some("conflict.exists"));
    let withdraw = WithdrawRequest {
        reason: "false positive".into(),
        suppress_seconds: Some(0),
        ..WithdrawRequest::default()
    };
    client.withdraw_mitigation(id, &withdraw).await?;
    let SuppressionAnswer::One(made) = client.suppress(&request).await? else {
        anyhow::bail!("it is of one victim and vector");
    };
    let listed = client.suppressions().await?.value.suppressions;
    assert_eq!(listed, std::slice::from_ref(&made));
    let stored = daemon.ban("203.0.113.10", 27015).await?;
    assert_eq!(stored.status, EventOutcome::Suppressed);
    client.end_suppression(made.suppression_id).await?;
    let again = client
        .end_suppression(made.suppression_id)
        .await
        .err()
        .context("it has ended")?;
    assert_eq!(again.code(), Some("not_found"));
    assert_eq!(
        daemon.ban("203.0.113.10", 27015).await?.status,
        EventOutcome::Accepted
    );

    // The journal: who did it, and that nobody changed it.
    let suppressions = AuditQuery {
        target_type: Some("suppression".into()),
        ..AuditQuery::default()
    };
    let entries = client.audit(&suppressions).await?.value.entries;
    assert_eq!(entries.len(), 2);
    assert!(
        entries
            .iter()
            .all(|entry| entry.target_id == "203.0.113.10 udp_flood" && entry.actor != "prefixd")
    );
    let one = AuditQuery {
        action: Some("mitigation.withdrawn".into()),
        target_type: Some("mitigation".into()),
        target_id: Some(id.to_string()),
        q: Some("False Positive".into()),
        ..AuditQuery::default()
    };
    let entries = client.audit(&one).await?.value.entries;
    assert_eq!(entries.len(), 1, "{entries:?}");
    assert_eq!(entries[0].body["changes"]["end_note"], "false positive");
    let walked = client.verify_audit(None).await?;
    assert!(walked.intact && walked.next_from.is_none());
    let head = client.stats().await?.head;
    assert_eq!(Some(walked.entries), head);

    // What happened is in the graph at once, in the bucket that goes on.
    for (metric, number) in [(Metric::Events, 4), (Metric::Mitigations, 2)] {
        for span in Span::ALL {
            let series = client.timeseries(metric, span, None).await?.value;
            assert_eq!(series.points.len(), span.buckets() as usize);
            // A bucket may end while the test runs.
            let newest: u64 = series.points.iter().rev().take(2).map(|point| point.count).sum();
            assert_eq!(newest, number, "{metric} {span}");
        }
    }
    let pops = client.pops().await?.value.pops;
    assert_eq!(
        pops.iter()
            .map(|pop| (pop.name.as_str(), pop.own, pop.live))
            .collect::<Vec<_>>(),
        [("test1", true, 1)]
    );
    let schema = client.migrations().await?.value;
    assert!(schema.version == schema.known && schema.count > 0);

    // The report: who said what, what was done, by whom, and why.
    let asked = ReportQuery {
        group_id: Some(group),
        ..ReportQuery::default()
    };
    let report = client.incident(&asked).await?;
    assert!(report.truncated.is_empty());
    let said: Vec<_> = report
        .reports
        .iter()
        .map(|by| (by.source.as_str(), by.events))
        .collect();
    assert_eq!(said, [("fastnetmon", 3), ("netflow", 1)]);
    assert_eq!((report.actions.len(), report.actions[0].mitigation_id), (2, id));
    assert!(
        report
            .timeline
            .iter()
            .any(|line| line.what == "withdrawn, operator, false positive"),
        "{report:?}"
    );
    let of_customer = ReportQuery {
        customer_id: Some("acme".into()),
        ..ReportQuery::default()
    };
    assert_eq!(client.incident(&of_customer).await?.reports, report.reports);
    let text = client.incident_markdown(&asked).await?;
    assert!(
        text.starts_with(&format!("# Incident report: group {group}\n")) && text.contains("false positive"),
        "{text}"
    );

    // The history: both kinds, page by page.
    let mut page = Page {
        limit: Some(3),
        ..Page::default()
    };
    let mut kinds = Vec::new();
    loop {
        let history = client
            .history("203.0.113.10/32".parse()?, None, &page)
            .await?
            .value;
        assert_eq!(history.context.customer_name.as_deref(), Some("ACME Corp"));
        assert_eq!(history.context.service_name.as_deref(), Some("Games"));
        assert_eq!((history.ip.as_str(), history.context.live), ("203.0.113.10", 1));
        kinds.extend(history.items.iter().map(|item| item.kind));
        match history.next_cursor {
            Some(cursor) => page.cursor = Some(cursor),
            None => break,
        }
    }
    let events = kinds.iter().filter(|kind| **kind == HistoryKind::Event).count();
    assert_eq!((events, kinds.len() - events), (4, 2));
    let prefix = client
        .history("203.0.113.0/24".parse()?, None, &Page::default())
        .await?
        .value;
    assert_eq!((prefix.count, prefix.next_cursor), (6, None));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_is_what_the_router_does_not_have() -> anyhow::Result<()> {
    let bird = router!(Kind::Bird, RouterConfig::new(65001, 65010));
    let daemon = Daemon::start(Setup::default(), &[&bird]).await?;
    daemon.wait_established(1).await?;
    daemon.ban("203.0.113.10", 27015).await?;
    let drift = wait_for("the router has both rules", || async {
        let drift = daemon.client.drift().await?.value;
        Ok(drift
            .in_sync
            .then_some(drift)
            .filter(|drift| drift.mitigations == 1))
    })
    .await?;
    let at = &drift.neighbors[0];
    assert_eq!(
        (at.desired, at.advertised, at.missing, at.unexplained),
        (2, 2, 0, 0)
    );
    let repaired = daemon.client.reconcile().await?;
    assert_eq!((repaired.repaired, repaired.in_sync), (Some(0), true));
    drop(bird);
    let drift = wait_for("the session is lost", || async {
        let drift = daemon.client.drift().await?.value;
        Ok((!drift.in_sync).then_some(drift))
    })
    .await?;
    // What the speaker holds is right; what the router has is not.
    let at = &drift.neighbors[0];
    assert_eq!(
        (at.missing, at.unexplained, at.not_advertised["session_down"]),
        (0, 0, 2)
    );
    Ok(())
}

#[tokio::test]
async fn a_bad_filter_is_refused_with_the_good_ones() -> anyhow::Result<()> {
    let daemon = Daemon::start(Setup::default(), &[]).await?;
    let http = reqwest::Client::builder().tls_certs_only([]).build()?;
    for (path, field, hint) in [
        ("match", "dst", "missing"),
        ("match?dst=203.0.113.0/24", "dst", "203.0.113.10"),
        ("match?dst=203.0.113.10&src=2001:db8::1", "src", "family"),
        (
            "match?dst=203.0.113.10&proto=upd",
            "proto",
            "known: icmp, tcp, udp",
        ),
        ("match?dst=203.0.113.10&proto=icmp&dport=53", "dport", "no ports"),
        (
            "match?dst=203.0.113.10&port=53",
            "port",
            "known: dst, src, proto, sport, dport",
        ),
        ("groups?state=pending", "state", "known: open, quiet, closed"),
        ("groups?victim_ip=203.0.113.1/24", "victim_ip", "203.0.113.0/24"),
        ("groups?cursor=x", "cursor", "next_cursor"),
        (
            "peers/edge1/rib?state=queued,sent",
            "state",
            "known: queued, advertised",
        ),
        (
            "peers/edge1/rib?afi_safi=ipv4",
            "afi_safi",
            "known: ipv4-flowspec",
        ),
        ("audit?action=withdrawn", "action", "mitigation.withdrawn"),
        ("audit?target_type=mitigations", "target_type", "mitigation"),
        ("audit?action=config&target_type=peer", "target_type", "config"),
        ("audit?start=yesterday", "start", "RFC 3339"),
        ("audit/verify?from=-1", "from", "whole number"),
        ("events?limit=ten", "limit", "whole number from 1 to 1000"),
        (
            "stats/timeseries?metric=packets",
            "metric",
            "known: mitigations, events",
        ),
        ("stats/timeseries?range=2h", "range", "known: 1h, 6h, 24h, 7d"),
        ("ip/203.0.113.1%2F24/history", "ip", "203.0.113.0/24"),
        ("ip/acme/history", "ip", "prefix"),
        ("ip/203.0.113.1/history?limit=0", "limit", "1000"),
        ("sources?pop=fra%001", "pop", "NUL"),
    ] {
        let response = http
            .get(format!("http://{}/v1/{path}", daemon.address))
            .send()
            .await?;
        assert_eq!(response.status(), 400, "{path}");
        let problem: serde_json::Value = serde_json::from_str(&response.text().await?)?;
        assert_eq!(problem["errors"][0]["field"], field, "{path}: {problem}");
        let message = problem["errors"][0]["message"].as_str().unwrap_or_default();
        assert!(message.contains(hint), "{path}: {message}");
    }
    Ok(())
}

#[tokio::test]
async fn lists_are_exported_without_anything_a_sheet_would_compute() -> anyhow::Result<()> {
    let daemon = Daemon::start(Setup::default(), &[]).await?;
    for (source, victim) in [
        ("=cmd|' /C calc'!A0", "203.0.113.10"),
        ("netflow", "203.0.113.11"),
    ] {
        let event = EventRequest {
            source: source.into(),
            ..ban(victim, 27015)
        };
        daemon.client.send_event(&event).await?;
    }
    let http = reqwest::Client::builder().tls_certs_only([]).build()?;
    let get = async |path: &str, accept: &str| -> anyhow::Result<(String, Option<String>, String)> {
        let url = format!("http://{}/v1/{path}", daemon.address);
        let response = http.get(url).header("accept", accept).send().await?;
        assert_eq!(response.status(), 200, "{path}");
        let header = |name: &str| {
            let value = response.headers().get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        let (kind, next) = (
            header("content-type").unwrap_or_default(),
            header("x-prefixd-next-cursor"),
        );
        Ok((kind, next, response.text().await?))
    };
    let (kind, next, text) = get("events?format=csv&limit=1", "*/*").await?;
    assert_eq!(kind, "text/csv; charset=utf-8");
    assert!(
        text.starts_with("event_id,received_at,source,") && text.lines().count() == 2,
        "{text}"
    );
    let cursor = next.context("there is another page")?;
    let (_, next, text) = get(&format!("events?limit=1&cursor={cursor}"), "text/csv").await?;
    assert!(next.is_none() && text.contains(",'=cmd|' /C calc'!A0,"), "{text}");
    let (kind, ..) = get("events", "application/json, text/csv;q=0.5").await?;
    assert_eq!(kind, "application/json");
    for path in ["mitigations", "groups", "audit", "ip/203.0.113.10/history"] {
        let (kind, _, text) = get(&format!("{path}?format=csv"), "*/*").await?;
        assert!(
            kind.starts_with("text/csv") && text.lines().count() > 1,
            "{path}: {text}"
        );
    }
    Ok(())
}

async fn a_paused_source_is_not_acted_on_over_a_restart_too(store: Backend) -> anyhow::Result<()> {
    let mut daemon = Daemon::start(Setup::on(store).await?, &[]).await?;
    daemon.ban("203.0.113.10", 27015).await?;
    daemon.ban("203.0.113.11", 27015).await?;
    let netflow = EventRequest {
        source: "netflow".into(),
        ..ban("203.0.113.11", 27015)
    };
    daemon.client.send_event(&netflow).await?;
    let pause = |expect_count| PauseRequest {
        reason: "rule 12 misfires".into(),
        withdraw: true,
        expect_count: Some(expect_count),
    };
    let refused = daemon.client.pause_source("fastnetmon", &pause(2)).await.err();
    assert_eq!(
        refused.context("one is held by another, too")?.code(),
        Some("conflict.expect_count")
    );
    let done = daemon.client.pause_source("fastnetmon", &pause(1)).await?;
    assert_eq!((done.withdrawn, daemon.live().await?.len()), (1, 1));

    daemon.stop().await?;
    daemon.boot().await?;
    let stored = daemon.ban("203.0.113.12", 27015).await?;
    assert_eq!(
        (stored.status, stored.mitigation_id),
        (EventOutcome::Suppressed, None)
    );
    let why = daemon.client.event_why(stored.event_id).await?.value;
    assert!(
        why.steps.iter().any(|step| step.code == "source_paused"),
        "{why:?}"
    );
    let notes = daemon.client.health_detail().await?.notes;
    assert!(
        notes.iter().any(|note| note.contains("fastnetmon is paused by")),
        "{notes:?}"
    );
    let sources = daemon.client.sources(None).await?.value.sources;
    let told: Vec<_> = sources
        .iter()
        .map(|source| {
            (
                source.name.as_str(),
                source.paused.is_some(),
                source.events_24h,
                source.mitigations_alone,
            )
        })
        .collect();
    // The claim of netflow alone holds what is left, or both do: fastnetmon's goes on until it ends by itself.
    assert_eq!(told, [("fastnetmon", true, 3, 0), ("netflow", false, 1, 0)]);
    assert_eq!(sources[0].outcomes_24h["suppressed"], 1);
    let resume = ResumeRequest {
        reason: "fixed".into(),
    };
    assert!(
        daemon
            .client
            .resume_source("fastnetmon", &resume)
            .await?
            .paused
            .is_none()
    );
    assert_eq!(
        daemon.ban("203.0.113.12", 27015).await?.status,
        EventOutcome::Accepted
    );
    Ok(())
}
