//! Daemons of several POPs on one PostgreSQL.

use crate::support::{Backend, Daemon, PATIENCE, Setup, router, wait_for};
use anyhow::Context;
use lab::routers::{Family, Kind, Router, RouterConfig, RouterRule};
use prefixd_api::client::{
    Error, Feed, FeedItem, FeedOptions, GroupQuery, MitigationQuery, Page, ReportQuery,
};
use prefixd_api::event::EventAnswer;
use prefixd_api::feed::FeedMessage;
use prefixd_api::group::GroupState;
use prefixd_api::mitigation::{Mitigation, MitigationStatus, WithdrawRequest};
use prefixd_api::preview::PreviewOutcome;
use prefixd_api::remote::{RemoteCommand, RemoteState};
use prefixd_api::resource::SafelistRequest;
use prefixd_api::series::{Metric, Span};
use prefixd_api::traffic::{Traffic, TrafficVerdict};
use std::collections::BTreeSet;

/// Room for five in all POPs together.
const SMALL: &str = "{ max_active_per_customer: 100, max_active_per_pop: 100, max_active_global: 5, \
                     max_new_per_minute: { pop: 1000, customer: 1000, source: 1000 } }";

/// Two POPs that are configured and not started, and the one database; nothing where PostgreSQL may be missing.
async fn configured(
    quotas: Option<&'static str>,
    routers: [&[&Router]; 2],
) -> anyhow::Result<Option<[Daemon; 2]>> {
    if !Backend::Postgres.available()? {
        return Ok(None);
    }
    let database = lab::postgres::Postgres::shared().await?.database().await?;
    let setup = |pop| Setup {
        pop,
        quotas: quotas.unwrap_or(Setup::default().quotas),
        database: Some(database.clone()),
        ..Setup::default()
    };
    Ok(Some([
        Daemon::configured(setup("iad1"), routers[0])?,
        Daemon::configured(setup("fra1"), routers[1])?,
    ]))
}

async fn started(
    quotas: Option<&'static str>,
    routers: [&[&Router]; 2],
) -> anyhow::Result<Option<[Daemon; 2]>> {
    let Some([mut iad, mut fra]) = configured(quotas, routers).await? else {
        return Ok(None);
    };
    // At once: either may be the one that makes the schema.
    let (one, two) = tokio::join!(iad.boot(), fra.boot());
    one?;
    two?;
    Ok(Some([iad, fra]))
}

async fn all(daemon: &Daemon, pop: &str) -> anyhow::Result<Vec<Mitigation>> {
    let query = MitigationQuery {
        pop: Some(pop.to_owned()),
        status: vec![MitigationStatus::Active],
        ..MitigationQuery::default()
    };
    Ok(daemon.client.mitigations(&query).await?.value.mitigations)
}

fn victims(mitigations: &[Mitigation]) -> BTreeSet<String> {
    mitigations.iter().map(|one| one.victim_ip.to_string()).collect()
}

fn named(victims: &[&str]) -> BTreeSet<String> {
    victims.iter().map(|victim| (*victim).to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_announces_its_own_and_shows_the_others() -> anyhow::Result<()> {
    let here = router!(Kind::Bird, RouterConfig::new(65001, 65010));
    let there = router!(Kind::Bird, RouterConfig::new(65001, 65010));
    let Some([iad, fra]) = started(None, [&[&here], &[&there]]).await? else {
        return Ok(());
    };
    iad.wait_established(1).await?;
    fra.wait_established(1).await?;
    iad.ban("203.0.113.10", 27015).await?;
    let of_fra = fra
        .ban("203.0.113.20", 27015)
        .await?
        .mitigation_id
        .context("accepted")?;
    for (router, victim) in [(&here, "203.0.113.10/32"), (&there, "203.0.113.20/32")] {
        let rules = router
            .wait_rules(
                Family::Ipv4Flow,
                |rules: &[RouterRule]| !rules.is_empty(),
                PATIENCE,
            )
            .await?;
        let destinations: BTreeSet<_> = rules.iter().filter_map(|rule| rule.matches.destination).collect();
        assert_eq!(destinations, [victim.parse()?].into());
    }
    for daemon in [&iad, &fra] {
        assert_eq!(
            victims(&all(daemon, "all").await?),
            named(&["203.0.113.10", "203.0.113.20"])
        );
        assert_eq!(victims(&all(daemon, "iad1").await?), named(&["203.0.113.10"]));
        let stats = daemon.client.stats().await?.value;
        assert_eq!((stats.quota_pop.used, stats.quota_global.used), (1, 2));
        let pops = daemon.client.pops().await?.value.pops;
        let shown: Vec<_> = pops.iter().map(|pop| (pop.name.as_str(), pop.live)).collect();
        assert_eq!(shown, [("fra1", 1), ("iad1", 1)]);
    }
    assert_eq!(
        victims(&iad.live().await?),
        named(&["203.0.113.10"]),
        "its own alone"
    );
    assert_eq!(iad.client.mitigation(of_fra).await?.value.mitigation.pop, "fra1");

    // Are we dropping this anywhere?
    let traffic = Traffic {
        dst: "203.0.113.20".parse()?,
        src: None,
        proto: Some(17),
        sport: None,
        dport: Some(27015),
    };
    let own = iad.client.match_traffic(&traffic).await?.value;
    assert_eq!(own.neighbors[0].verdict, TrafficVerdict::Unmatched);
    assert_eq!((own.elsewhere.len(), own.elsewhere_unknown), (0, None));
    for pop in ["all", "fra1"] {
        let answer = iad.client.match_traffic_at(&traffic, pop).await?.value;
        let [there] = &answer.elsewhere[..] else {
            anyhow::bail!("one other POP: {answer:?}");
        };
        assert_eq!(
            (there.pop.as_str(), &there.verdict),
            ("fra1", &TrafficVerdict::Matched)
        );
        let rule = there.effective.as_ref().context("a rule")?;
        assert_eq!(rule.mitigations, [of_fra]);
    }
    let elsewhere = |traffic: &Traffic| {
        let (client, traffic) = (iad.client.clone(), traffic.clone());
        async move {
            let answer = client.match_traffic_at(&traffic, "all").await?.value;
            anyhow::Ok(answer.elsewhere[0].verdict.clone())
        }
    };
    let other = Traffic {
        proto: Some(6),
        ..traffic.clone()
    };
    assert_eq!(elsewhere(&other).await?, TrafficVerdict::Unmatched);
    let open = Traffic {
        dport: None,
        ..traffic.clone()
    };
    assert_eq!(elsewhere(&open).await?, TrafficVerdict::Depends);

    let stats = iad.client.stats_at("all").await?.value;
    let shown: Vec<_> = stats
        .pops
        .iter()
        .map(|one| (one.pop.as_str(), one.own, one.live.active))
        .collect();
    assert_eq!(shown, [("fra1", false, 1), ("iad1", true, 1)]);
    assert_eq!(stats.total.context("both")?.by_vector["udp_flood"], 2);
    let one = iad.client.stats_at("iad1").await?.value;
    assert_eq!(one.pops.len(), 1);
    let wrong = iad.client.stats_at("fra9").await.map(|_| ()).unwrap_err();
    assert!(
        matches!(&wrong, Error::Problem(problem) if problem.status == 400 && problem.detail.contains("iad1, fra1")),
        "{wrong:?}"
    );
    Ok(())
}

/// What became of each report, all sent at once.
async fn at_once(reports: Vec<(&Daemon, String)>) -> anyhow::Result<Vec<Result<EventAnswer, Error>>> {
    let sends = reports.into_iter().map(|(daemon, victim)| {
        let client = daemon.client.clone();
        tokio::spawn(async move { client.send_event(&crate::support::ban(&victim, 27015)).await })
    });
    let mut answers = Vec::new();
    for send in sends.collect::<Vec<_>>() {
        answers.push(send.await?);
    }
    Ok(answers)
}

#[tokio::test(flavor = "multi_thread")]
async fn forty_reports_at_two_pops_do_not_pass_a_quota_of_five() -> anyhow::Result<()> {
    let Some([mut iad, fra]) = started(Some(SMALL), [&[], &[]]).await? else {
        return Ok(());
    };
    let reports = (10..50).map(|last| {
        let daemon = if last % 2 == 0 { &iad } else { &fra };
        (daemon, format!("203.0.113.{last}"))
    });
    let answers = at_once(reports.collect()).await?;
    let mut refused = 0;
    for answer in &answers {
        if let Err(error) = answer {
            assert_eq!(error.code(), Some("guardrail.quota_global"), "{error}");
            refused += 1;
        }
    }
    assert_eq!(refused, 35);
    assert_eq!(all(&iad, "all").await?.len(), 5);

    // What one gives back, the other may use; a restart changes nothing of that.
    let (owner, other) = if iad.live().await?.is_empty() {
        (&fra, &iad)
    } else {
        (&iad, &fra)
    };
    assert!(other.ban("203.0.113.60", 27015).await.is_err());
    let id = owner.live().await?[0].mitigation_id;
    let request = WithdrawRequest {
        reason: "over".into(),
        ..WithdrawRequest::default()
    };
    owner.client.withdraw_mitigation(id, &request).await?;
    wait_for("the place is given back", || async {
        Ok(other.ban("203.0.113.60", 27015).await.ok())
    })
    .await?;
    assert_eq!(all(&fra, "all").await?.len(), 5);
    iad.kill().await?;
    iad.boot().await?;
    for daemon in [&iad, &fra] {
        let refused = daemon
            .ban("203.0.113.61", 27015)
            .await
            .err()
            .context("it is full")?;
        assert_eq!(refused.code(), Some("guardrail.quota_global"));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_pop_protects_every_pop_does() -> anyhow::Result<()> {
    let Some([iad, mut fra]) = started(None, [&[], &[]]).await? else {
        return Ok(());
    };
    fra.ban("203.0.113.20", 27015).await?;
    fra.ban("203.0.113.200", 27015).await?;
    let protect = SafelistRequest {
        prefix: "203.0.113.128/25".into(),
        reason: "the exchange".into(),
        expires_at: None,
        expect_count: None,
    };
    let added = iad.client.add_to_safelist(&protect).await?;
    assert_eq!(added.withdrawn, 0, "its own");
    wait_for("the other POP withdraws what is protected now", || async {
        Ok((victims(&fra.live().await?) == named(&["203.0.113.20"])).then_some(()))
    })
    .await?;
    let refused = fra
        .ban("203.0.113.201", 27015)
        .await
        .err()
        .context("it is protected")?;
    assert_eq!(refused.code(), Some("guardrail.safelist"));
    fra.kill().await?;
    fra.boot().await?;
    let refused = fra
        .ban("203.0.113.201", 27015)
        .await
        .err()
        .context("also after a start")?;
    assert_eq!(refused.code(), Some("guardrail.safelist"));
    fra.client
        .remove_from_safelist("203.0.113.128/25".parse()?)
        .await?;
    wait_for("the POP that protected it does not any more", || async {
        Ok(iad.ban("203.0.113.202", 27015).await.ok())
    })
    .await?;
    let entries = fra.client.safelist().await?.value.entries;
    assert!(
        entries
            .iter()
            .all(|entry| entry.prefix.to_string() != protect.prefix)
    );
    Ok(())
}

/// The next numbered message of another POP.
async fn of_fra(feed: &mut Feed) -> anyhow::Result<FeedMessage> {
    loop {
        match tokio::time::timeout(PATIENCE, feed.next())
            .await?
            .context("the feed ended")?
        {
            FeedItem::Message(message) if message.seq.is_some() && message.pop == "fra1" => {
                return Ok(*message);
            }
            FeedItem::Message(_) | FeedItem::Connected { .. } | FeedItem::Alive => {}
            other => anyhow::bail!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_feed_follows_other_pops_and_loses_nothing_when_the_listening_connection_does()
-> anyhow::Result<()> {
    let Some([iad, fra]) = started(None, [&[], &[]]).await? else {
        return Ok(());
    };
    fra.ban("203.0.113.20", 27015).await?;
    iad.ban("203.0.113.10", 27015).await?;
    let mut feed = iad.client.feed(FeedOptions {
        follow: [("fra1".to_owned(), 0)].into(),
        ..FeedOptions::default()
    });
    let mut seen = vec![of_fra(&mut feed).await?.seq, of_fra(&mut feed).await?.seq];
    let mut other = iad.other().await?;
    for last in 21..24 {
        let ended = other
            .texts(
                "SELECT pg_terminate_backend(pid)::text FROM pg_stat_activity \
                 WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE 'LISTEN%'",
            )
            .await?;
        assert!(last > 21 || ended.len() == 2, "both listen: {ended:?}");
        fra.ban(&format!("203.0.113.{last}"), 27015).await?;
        seen.push(of_fra(&mut feed).await?.seq);
        seen.push(of_fra(&mut feed).await?.seq);
    }
    assert_eq!(
        seen,
        (1..=8).map(Some).collect::<Vec<_>>(),
        "no gap, nothing twice"
    );
    // A subscriber that is too far away is told so, of which POP.
    let mut feed = iad.client.feed(FeedOptions {
        follow: [("fra1".to_owned(), 1_000_000)].into(),
        ..FeedOptions::default()
    });
    loop {
        match tokio::time::timeout(PATIENCE, feed.next())
            .await?
            .context("the feed ended")?
        {
            FeedItem::Resync { pop, head } => {
                assert_eq!((pop.as_str(), head), ("fra1", 8));
                return Ok(());
            }
            FeedItem::Message(_) | FeedItem::Connected { .. } | FeedItem::Alive => {}
            other => anyhow::bail!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawal_at_another_pop_is_carried_out_by_the_owner() -> anyhow::Result<()> {
    let there = router!(Kind::Bird, RouterConfig::new(65001, 65010));
    let Some([iad, mut fra]) = started(None, [&[], &[&there]]).await? else {
        return Ok(());
    };
    fra.wait_established(1).await?;
    let id = fra
        .ban("203.0.113.20", 27015)
        .await?
        .mitigation_id
        .context("accepted")?;
    there
        .wait_rules(
            Family::Ipv4Flow,
            |rules: &[RouterRule]| !rules.is_empty(),
            PATIENCE,
        )
        .await?;
    let request = WithdrawRequest {
        reason: "false positive".into(),
        ..WithdrawRequest::default()
    };
    let withdrawn = iad.client.withdraw_mitigation(id, &request).await?;
    assert_eq!(
        (
            withdrawn.mitigation.status,
            withdrawn.mitigation.pop.as_str(),
            withdrawn.mitigation.ended_by.as_deref()
        ),
        (MitigationStatus::Withdrawn, "fra1", Some("anonymous@iad1"))
    );
    there
        .wait_rules(Family::Ipv4Flow, <[RouterRule]>::is_empty, PATIENCE)
        .await?;
    let again = iad
        .client
        .withdraw_mitigation(id, &request)
        .await
        .err()
        .context("it has ended")?;
    assert_eq!(again.code(), Some("conflict.ended"));

    // An answer that was lost on the way is there for who asks again by the same key, and only for them.
    let id = fra
        .ban("203.0.113.23", 27015)
        .await?
        .mitigation_id
        .context("accepted")?;
    let http = reqwest::Client::builder()
        .tls_certs_only([])
        .timeout(PATIENCE)
        .build()?;
    let withdraw = async |key: &str, reason: &str| {
        let url = format!("http://{}/v1/mitigations/{id}/withdraw", iad.address);
        let body = serde_json::json!({"reason": reason});
        let asked = http.post(url).header("idempotency-key", key).json(&body);
        let answer = asked.send().await?;
        let replayed = answer.headers().contains_key("idempotency-replayed");
        anyhow::Ok((answer.status().as_u16(), replayed, answer.text().await?))
    };
    let (status, replayed, first) = withdraw("k1", "over").await?;
    assert_eq!((status, replayed), (200, false), "{first}");
    let (status, replayed, second) = withdraw("k1", "over").await?;
    assert_eq!((status, replayed, second), (200, true, first));
    for (key, reason, status, code) in [
        ("k1", "not over", 422, "idempotency.mismatch"),
        ("k2", "over", 409, "conflict.ended"),
    ] {
        let (is, _, problem) = withdraw(key, reason).await?;
        assert_eq!(is, status, "{problem}");
        assert!(problem.contains(code), "{problem}");
    }

    // The owner is away: it waits, is shown, is asked for once, and is carried out when the owner is back.
    let id = fra
        .ban("203.0.113.21", 27015)
        .await?
        .mitigation_id
        .context("accepted")?;
    let ended = fra
        .ban("203.0.113.22", 27015)
        .await?
        .mitigation_id
        .context("accepted")?;
    fra.kill().await?;
    for _ in 0..2 {
        let waits = iad
            .client
            .withdraw_mitigation(id, &request)
            .await
            .err()
            .context("nobody answers")?;
        assert_eq!(waits.code(), Some(RemoteCommand::PENDING), "{waits}");
        assert!(waits.to_string().contains("fra1"), "{waits}");
    }
    let stale = WithdrawRequest {
        expected_revision: Some(7),
        ..request.clone()
    };
    let waits = iad
        .client
        .withdraw_mitigation(ended, &stale)
        .await
        .err()
        .context("nobody answers")?;
    assert_eq!(waits.code(), Some(RemoteCommand::PENDING));
    let states = async || {
        let commands = iad.client.remote_commands().await?.value.commands;
        anyhow::Ok(commands.iter().map(|command| command.state).collect::<Vec<_>>())
    };
    use RemoteState::{Done, Refused, Waiting};
    assert_eq!(states().await?, [Waiting, Waiting, Done, Done]);
    fra.boot().await?;
    wait_for("what waited is carried out", || async {
        Ok((states().await? == [Refused, Done, Done, Done]).then_some(()))
    })
    .await?;
    let commands = iad.client.remote_commands().await?.value.commands;
    let refused = iad.client.remote_command(commands[0].command_id).await?.value;
    assert_eq!(
        refused.problem.map(|problem| problem.code).as_deref(),
        Some("conflict.revision")
    );
    assert_eq!(victims(&fra.live().await?), named(&["203.0.113.22"]));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_done_from_here_names_the_pop_to_ask() -> anyhow::Result<()> {
    let Some([iad, fra]) = started(None, [&[], &[]]).await? else {
        return Ok(());
    };
    let id = fra.ban("203.0.113.20", 27015).await?;
    let id = id.mitigation_id.context("accepted")?;
    let http = reqwest::Client::builder()
        .tls_certs_only([])
        .timeout(PATIENCE)
        .build()?;
    let ask = async |route: &str, body: serde_json::Value| {
        let url = format!("http://{}/v1/mitigations/{route}", iad.address);
        let answer = http.post(url).json(&body).send().await?;
        anyhow::Ok((answer.status().as_u16(), answer.text().await?))
    };
    let reason = || serde_json::json!({"reason": "INC-1"});
    for (route, body) in [
        (
            "extend",
            serde_json::json!({"ttl_seconds": 600, "reason": "INC-1"}),
        ),
        (
            "adjust",
            serde_json::json!({"rate_bps": 9_000_000, "reason": "INC-1"}),
        ),
        ("notes", serde_json::json!({"text": "seen"})),
        ("claim", serde_json::json!({})),
        ("release", serde_json::json!({})),
        ("undo", reason()),
        ("confirm", reason()),
    ] {
        let (status, told) = ask(&format!("{id}/{route}"), body).await?;
        assert_eq!(status, 404, "{route}: {told}");
        assert!(told.contains("it is of POP fra1"), "{route}: {told}");
    }
    let several = serde_json::json!({"ids": [id], "acknowledged": true});
    let (status, told) = ask("acknowledge", several).await?;
    assert_eq!(status, 200, "{told}");
    assert!(told.contains("it is of POP fra1"), "{told}");

    // What was asked for from here waits there for the word that confirms it.
    let request = WithdrawRequest {
        reason: "false positive".into(),
        confirm_within_seconds: Some(600),
        ..WithdrawRequest::default()
    };
    iad.client.withdraw_mitigation(id, &request).await?;
    for route in ["confirm", "undo"] {
        let (status, told) = ask(&format!("{id}/{route}"), reason()).await?;
        assert_eq!(status, 404, "{route}: {told}");
        assert!(told.contains("it is of POP fra1"), "{route}: {told}");
    }
    Ok(())
}

/// A POP asks for its part of the quota when something begins; until then all that is free could be had.
#[tokio::test(flavor = "multi_thread")]
async fn a_preview_counts_with_what_is_free_in_all_pops() -> anyhow::Result<()> {
    let Some([iad, fra]) = started(Some(SMALL), [&[], &[]]).await? else {
        return Ok(());
    };
    let request = prefixd_api::mitigation::MitigationRequest {
        victim_ip: "203.0.113.99".into(),
        action: Some(prefixd_api::rule::ActionType::Police),
        rate_bps: Some(prefixd_api::rate::BitsPerSecond(5_000_000)),
        protocol: Some(17),
        ttl_seconds: Some(600),
        reason: "test".into(),
        ..prefixd_api::mitigation::MitigationRequest::default()
    };
    for last in 10..15 {
        let preview = iad.client.preview_mitigation(&request).await?;
        assert_eq!(preview.outcome, PreviewOutcome::Created, "{:?}", preview.problem);
        fra.ban(&format!("203.0.113.{last}"), 27015).await?;
    }
    wait_for("the preview knows that the others have it all", || async {
        let preview = iad.client.preview_mitigation(&request).await?;
        let code = preview.problem.map(|problem| problem.code);
        Ok((code.as_deref() == Some("guardrail.quota_global")).then_some(()))
    })
    .await?;
    let refused = iad
        .client
        .create_mitigation(&request)
        .await
        .err()
        .context("as foreseen")?;
    assert_eq!(refused.code(), Some("guardrail.quota_global"));
    Ok(())
}

/// "What was here before?" has one answer, whichever POP is asked.
#[tokio::test(flavor = "multi_thread")]
async fn what_one_pop_knows_the_others_tell() -> anyhow::Result<()> {
    let Some([iad, fra]) = started(None, [&[], &[]]).await? else {
        return Ok(());
    };
    let victim = "203.0.113.20/32".parse()?;
    let made = fra.ban("203.0.113.20", 27015).await?.mitigation_id;
    let groups = async |pop: Option<&str>, state| {
        let query = GroupQuery {
            state,
            pop: pop.map(str::to_owned),
            ..GroupQuery::default()
        };
        anyhow::Ok(iad.client.groups(&query).await?.value.groups)
    };
    assert!(groups(None, None).await?.is_empty(), "its own");
    for (pop, state) in [("all", None), ("fra1", None), ("fra1", Some(GroupState::Open))] {
        let found = groups(Some(pop), state).await?;
        let [one] = &found[..] else {
            anyhow::bail!("{pop}: {found:?}")
        };
        assert_eq!((one.group.pop.as_str(), one.mitigation_id), ("fra1", made));
    }
    assert!(groups(Some("all"), Some(GroupState::Closed)).await?.is_empty());
    let group = groups(Some("fra1"), None).await?[0].group.group_id;
    assert_eq!(iad.client.group(group).await?.value.view.mitigation_id, made);

    let of = async |pop: Option<&str>| {
        let history = iad.client.history(victim, pop, &Page::default()).await?.value;
        let pops: BTreeSet<String> = history.items.into_iter().map(|item| item.pop).collect();
        anyhow::Ok((history.count, pops))
    };
    assert_eq!(of(None).await?, (2, ["fra1".to_owned()].into()));
    assert_eq!(of(Some("iad1")).await?, (0, BTreeSet::new()));

    for (query, pop, actions) in [
        (
            ReportQuery {
                group_id: Some(group),
                ..ReportQuery::default()
            },
            "fra1",
            1,
        ),
        (
            ReportQuery {
                ip: Some(victim),
                ..ReportQuery::default()
            },
            "fra1",
            1,
        ),
        (
            ReportQuery {
                ip: Some(victim),
                pop: Some("iad1".into()),
                ..ReportQuery::default()
            },
            "iad1",
            0,
        ),
    ] {
        let report = iad.client.incident(&query).await?;
        assert_eq!(
            (report.pop.as_str(), report.actions.len()),
            (pop, actions),
            "{query:?}"
        );
        assert!(report.actions.iter().all(|action| action.pop == "fra1"));
        assert_eq!(report.reports.len(), actions, "and what was reported");
    }
    for (pop, events) in [(None, 0), (Some("iad1"), 0), (Some("fra1"), 1), (Some("all"), 1)] {
        let series = iad
            .client
            .timeseries(Metric::Events, Span::Hour, pop)
            .await?
            .value;
        assert_eq!(series.points.iter().map(|point| point.count).sum::<u64>(), events);
        let sources = iad.client.sources(pop).await?.value.sources;
        assert_eq!(
            sources.iter().map(|source| source.events_24h).sum::<u64>(),
            events
        );
    }
    Ok(())
}
