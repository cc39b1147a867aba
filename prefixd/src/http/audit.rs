//! The journal: who did what, when, and whether anybody changed it afterwards.

use super::extract::{Query, ok};
use super::{App, Failure};
use crate::journal::{Entry, Head, Kind, hex};
use crate::store::{AuditFilter, CursorError, Verification};
use axum::extract::State;
use axum::response::Response;
use prefixd_api::audit::{AuditEntry, AuditList, AuditVerification, ChainBreak, ChainPoint};
use prefixd_api::problem::Problem;
use std::collections::BTreeSet;

/// Longest text that is searched for.
const MAX_TEXT: usize = 128;
/// Entries that one answer of a verification walks at most, about a second's work.
const WALK: u64 = 100_000;

/// Columns of the list in CSV.
const COLUMNS: &[&str] = &[
    "seq",
    "pop",
    "at",
    "actor",
    "action",
    "target_type",
    "target_id",
    "body",
    "hash",
];

/// The journal, newest first.
#[utoipa::path(get, path = "/v1/audit", tag = "audit", params(
    ("actor" = Option<String>, Query, description = "Done by this actor"),
    ("action" = Option<String>, Query, description = "Of this kind, such as mitigation.withdrawn"),
    ("target_type" = Option<String>, Query, description = "About this kind of thing, such as mitigation"),
    ("target_id" = Option<String>, Query, description = "About this one"),
    ("q" = Option<String>, Query, description = "With this text in actor, target or body"),
    ("pop" = Option<String>, Query, description = "Of this POP; the daemon's own when absent"),
    ("format" = Option<String>, Query, description = "json or csv; json when absent, or as Accept says"),
    ("limit" = Option<u16>, Query), ("cursor" = Option<String>, Query),
    ("start" = Option<String>, Query), ("end" = Option<String>, Query),
), responses((status = 200, content((AuditList = "application/json"), (String = "text/csv"))), (status = 400, body = Problem)))]
pub(super) async fn list(State(app): State<App>, mut query: Query) -> Result<Response, Failure> {
    let (form, paging) = (query.form()?, query.paging()?);
    let actions: Vec<(&str, Kind)> = Kind::ALL.iter().map(|kind| (kind.as_str(), *kind)).collect();
    let targets: BTreeSet<&str> = Kind::ALL.iter().map(|kind| kind.target()).collect();
    let targets: Vec<(&str, &str)> = targets.into_iter().map(|name| (name, name)).collect();
    let action = query.one_of("action", &actions)?;
    let target = query.one_of("target_type", &targets)?;
    let filter = AuditFilter {
        actor: query.text("actor")?,
        kinds: kinds(action, target)?,
        subject: query.text("target_id")?,
        text: query.text("q")?,
        start: paging.start,
        end: paging.end,
    };
    if filter.text.as_ref().is_some_and(|text| text.len() > MAX_TEXT) {
        return Err(Failure::field("q", format!("is longer than {MAX_TEXT} bytes")));
    }
    let pop = query.text("pop")?.unwrap_or_else(|| app.pop.clone());
    query.finish()?;
    let cursor = paging.cursor.as_deref().map(str::parse::<u64>).transpose();
    let before = cursor.map_err(|_| CursorError)?;
    let (entries, next) = app
        .store
        .list_journal(&pop, &filter, before, paging.limit)
        .await?;
    let entries = entries
        .into_iter()
        .map(told)
        .collect::<Result<Vec<AuditEntry>, Failure>>()?;
    let list = AuditList {
        count: entries.len(),
        entries,
        next_cursor: next.map(|seq| seq.to_string()),
    };
    form.page(&list, COLUMNS, &list.entries, list.next_cursor.as_deref())
}

/// The kinds that both ask for; empty: all.
fn kinds(action: Option<Kind>, target: Option<&str>) -> Result<Vec<Kind>, Failure> {
    let of_target = |kind: &Kind| target.is_none_or(|target| kind.target() == target);
    match (action, target) {
        (None, None) => Ok(Vec::new()),
        (Some(action), Some(target)) if !of_target(&action) => Err(Failure::field(
            "target_type",
            format!(
                "is {target}, and {} happens to a {}",
                action.as_str(),
                action.target()
            ),
        )),
        (Some(action), _) => Ok(vec![action]),
        (None, Some(_)) => Ok(Kind::ALL.iter().copied().filter(of_target).collect()),
    }
}

fn told(entry: Entry) -> Result<AuditEntry, Failure> {
    Ok(AuditEntry {
        seq: entry.seq,
        pop: entry.pop.to_string(),
        at: entry.at,
        actor: entry.actor,
        action: entry.kind.as_str().to_owned(),
        target_type: entry.kind.target().to_owned(),
        target_id: entry.subject,
        body: serde_json::from_str(&entry.body).map_err(|error| Failure::internal(&error))?,
        hash: hex(&entry.hash),
    })
}

/// Walk the chain of the journal: whether every entry is sealed to the one before. A long chain takes several answers:
/// `next_from` says where to go on.
#[utoipa::path(get, path = "/v1/audit/verify", tag = "audit", params(
    ("from" = Option<u64>, Query, description = "The entry to begin after; where retention stopped when absent"),
    ("pop" = Option<String>, Query, description = "Of this POP; the daemon's own when absent"),
), responses((status = 200, body = AuditVerification), (status = 400, body = Problem)))]
pub(super) async fn verify(State(app): State<App>, mut query: Query) -> Result<Response, Failure> {
    let from = query.number("from", 0..=u64::MAX)?;
    let pop = query.text("pop")?.unwrap_or_else(|| app.pop.clone());
    query.finish()?;
    let point = |head: Head| ChainPoint {
        seq: head.seq,
        hash: hex(&head.hash),
    };
    ok(&match app.store.verify_chain(&pop, from, WALK).await? {
        Verification::Intact { from, to, goes_on } => AuditVerification {
            pop,
            intact: true,
            entries: to.seq - from.seq,
            from: Some(point(from)),
            to: Some(point(to)),
            broken: None,
            next_from: goes_on.then_some(to.seq),
        },
        Verification::Broken { seq, what } => AuditVerification {
            pop,
            intact: false,
            from: None,
            to: None,
            entries: 0,
            broken: Some(ChainBreak {
                seq,
                what: what.to_owned(),
            }),
            next_from: None,
        },
    })
}
