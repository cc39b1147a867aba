//! A database that an earlier version left behind.

use crate::support::{Backend, Daemon, PATIENCE, Setup, ban, on_both_stores, router};
use anyhow::Context;
use lab::routers::{Family, Kind, RouterConfig};
use prefixd_api::client::{EventQuery, GroupQuery, MitigationQuery, Page, ReportQuery};
use prefixd_api::event::EventOutcome;
use prefixd_api::mitigation::{EndReason, MitigationStatus};
use prefixd_api::time::Timestamp;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};
use std::time::Duration;

/// Two live mitigations of detectors, one of an operator, one that ended by an unban and one by an operator, who
/// suppressed its scope; a report on a safelisted address and one on somebody else's; a safelist entry.
const FIRST_SLICE: &str = include_str!("first_slice.sql");
/// The same rows under the same schema on PostgreSQL.
const FIRST_SLICE_POSTGRES: &str = include_str!("first_slice_postgres.sql");
/// Whatever the time is: the leases of the detectors are over, the operator's is not, and it is filtered since the start
/// (no time that is stored is after that).
const LEASES: &str = "
    UPDATE mitigations SET body = json_set(body, '$.expires_at', CASE hex(victim)
        WHEN 'CB007128' THEN '2099-01-01T00:00:00.000000Z' ELSE '2020-01-01T00:00:00.000000Z' END) WHERE live = 1;
    UPDATE signal_groups SET body = replace(body, 'lives_until\":\"2026', 'lives_until\":\"2020')
        WHERE body NOT LIKE '%203.0.113.40%';
    UPDATE signal_groups SET body = replace(body, 'filtered_since\":\"2026', 'filtered_since\":\"2098')
        WHERE body LIKE '%203.0.113.40%';
";
const LEASES_POSTGRES: &str = "
    UPDATE public.mitigations SET body = jsonb_set(body::jsonb, '{expires_at}', CASE victim
        WHEN '\\xcb007128' THEN '\"2099-01-01T00:00:00.000000Z\"'::jsonb
        ELSE '\"2020-01-01T00:00:00.000000Z\"'::jsonb END)::text WHERE live = 1;
    UPDATE public.signal_groups SET body = replace(body, 'lives_until\":\"2026', 'lives_until\":\"2020')
        WHERE body NOT LIKE '%203.0.113.40%';
    UPDATE public.signal_groups SET body = replace(body, 'filtered_since\":\"2026', 'filtered_since\":\"2098')
        WHERE body LIKE '%203.0.113.40%';
";

/// The report that has a key, as if it were a minute old: what is older than a day is refused.
fn reported_lately(store: Backend) -> String {
    let at = Timestamp::wall_clock().saturating_sub(Duration::from_secs(60));
    let (micros, events) = (at.as_micros(), "reported_at IS NOT NULL");
    match store {
        Backend::Sqlite => format!(
            "UPDATE events SET reported_at = {micros}, body = json_set(body, '$.timestamp', '{at}') WHERE {events}"
        ),
        Backend::Postgres => format!(
            "UPDATE public.events SET reported_at = {micros}, \
             body = jsonb_set(body::jsonb, '{{timestamp}}', '\"{at}\"'::jsonb)::text WHERE {events}"
        ),
    }
}

on_both_stores!(a_database_of_the_first_slice_is_taken_over);

async fn left_behind(store: Backend, daemon: &Daemon) -> anyhow::Result<()> {
    match store {
        Backend::Sqlite => {
            let mut database = SqliteConnectOptions::new()
                .filename(daemon.dir.path().join("prefixd.db"))
                .create_if_missing(true)
                .connect()
                .await?;
            sqlx::raw_sql(FIRST_SLICE).execute(&mut database).await?;
            sqlx::raw_sql(LEASES).execute(&mut database).await?;
            let lately = AssertSqlSafe(reported_lately(store));
            sqlx::raw_sql(lately).execute(&mut database).await?;
            Ok(database.close().await?)
        }
        Backend::Postgres => {
            let mut database = PgConnection::connect(&daemon.database()).await?;
            sqlx::raw_sql(FIRST_SLICE_POSTGRES).execute(&mut database).await?;
            sqlx::raw_sql(LEASES_POSTGRES).execute(&mut database).await?;
            let lately = AssertSqlSafe(reported_lately(store));
            sqlx::raw_sql(lately).execute(&mut database).await?;
            Ok(database.close().await?)
        }
    }
}

async fn a_database_of_the_first_slice_is_taken_over(store: Backend) -> anyhow::Result<()> {
    let bird = router!(Kind::Bird, RouterConfig::new(65001, 65010));
    let mut daemon = Daemon::configured(Setup::on(store).await?, &[&bird])?;
    left_behind(store, &daemon).await?;
    // A hundred years: however old the rows are, they are not pruned.
    daemon.edit("prefixd.yaml", "storage: {", "storage: { retention_days: 36500,")?;

    daemon.boot().await?;
    let live = daemon.live().await?;
    let [manual] = &*live else {
        anyhow::bail!("one is live: {live:?}")
    };
    assert_eq!(manual.victim_ip.to_string(), "203.0.113.40");
    bird.wait_rules(Family::Ipv4Flow, |rules| rules.len() == 1, PATIENCE)
        .await?;
    let ended = daemon
        .client
        .mitigations(&MitigationQuery::default())
        .await?
        .value
        .mitigations;
    assert_eq!(ended.len(), 5);
    let of = |victim: &str| {
        let found = ended.iter().find(|one| one.victim_ip.to_string() == victim);
        found.map(|one| (one.status, one.end_reason.clone()))
    };
    for victim in ["203.0.113.10", "2001:db8:acce::7"] {
        assert_eq!(of(victim).context("it is listed")?.0, MitigationStatus::Expired);
    }
    assert_eq!(
        of("203.0.113.30").context("it is listed")?.1,
        Some(EndReason::Operator)
    );
    for mitigation in &ended {
        let why = daemon.client.mitigation_why(mitigation.mitigation_id).await?;
        assert!(!why.value.summary.is_empty(), "{why:?}");
    }
    let events = daemon.client.events(&EventQuery::default()).await?.value.events;
    assert_eq!(events.len(), 8);
    let safelist = daemon.client.safelist().await?.value.entries;
    assert!(
        safelist
            .iter()
            .any(|entry| entry.prefix.to_string() == "203.0.113.99/32")
    );

    // What the old rows are asked besides: all of it is read, the chain included.
    let verified = daemon.client.verify_audit(None).await?;
    assert!(
        verified.intact && verified.entries > 0 && verified.next_from.is_none(),
        "{verified:?}"
    );
    let groups = daemon.client.groups(&GroupQuery::default()).await?.value.groups;
    assert!(groups.len() >= 4, "{groups:?}");
    for group in &groups {
        let query = ReportQuery {
            group_id: Some(group.group.group_id),
            ..ReportQuery::default()
        };
        let report = daemon.client.incident(&query).await?;
        assert!(
            !report.reports.is_empty() || !report.actions.is_empty(),
            "{report:?}"
        );
    }
    let history = daemon
        .client
        .history("203.0.113.30/32".parse()?, None, &Page::default())
        .await?
        .value;
    assert!(!history.items.is_empty(), "{history:?}");

    let known = events
        .iter()
        .find(|event| event.timestamp.is_some())
        .context("one has a key")?;
    let mut replay = ban("203.0.113.10", 27015);
    replay.event_id = known.external_event_id.clone();
    replay.timestamp = known.timestamp;
    let replayed = daemon.client.send_event(&replay).await?;
    assert_eq!(
        (replayed.event_id, replayed.status),
        (known.event_id, EventOutcome::Accepted)
    );
    assert_eq!(
        daemon.ban("203.0.113.50", 27015).await?.status,
        EventOutcome::Accepted
    );
    Ok(())
}
