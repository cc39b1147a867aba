//! SQLite: one script in one round trip to the connection's thread. Small columns travel as JSON that
//! `json_each` unfolds; identifiers, hashes and bodies travel beside it in one blob and are cut out by place, so
//! nothing large is parsed or escaped.

use super::rows::Rows;
use super::{Batch, CommitError, journal_number};
use crate::store::db::Sqlite;
use crate::store::prefix::{bytes, family, padded};
use prefixd_api::time::Timestamp;
use serde::Serialize;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Executor, SqliteConnection};
use tokio::time::{Instant, timeout_at};

/// What detectors' events touch.
const PLAIN: &str = concat!("BEGIN IMMEDIATE;", include_str!("sqlite.sql"), "COMMIT");
/// What operators touch besides.
const WHOLE: &str = concat!(
    "BEGIN IMMEDIATE;",
    include_str!("sqlite.sql"),
    include_str!("sqlite_whole.sql"),
    "COMMIT"
);

/// SQLITE_CONSTRAINT, the low byte of every constraint's code, and the code of a trigger that refuses.
const CONSTRAINT: i32 = 19;
const CONSTRAINT_TRIGGER: i32 = 1811;

pub(super) async fn commit(
    sqlite: &Sqlite,
    batch: &Batch<'_>,
    rows: &Rows<'_>,
    deadline: Instant,
) -> Result<(), CommitError> {
    let (script, arguments) =
        script(batch, rows).map_err(|error| CommitError::Constraint(error.to_string()))?;
    let mut writer = match timeout_at(deadline, sqlite.take_writer()).await {
        Ok(Ok(writer)) => writer,
        Ok(Err(error)) => return Err(CommitError::Failed(error.to_string())),
        Err(_) => {
            return Err(CommitError::Failed(
                "another writer did not finish in time".to_owned(),
            ));
        }
    };
    // On every way out but the good ones the writer is dropped: its connection closes, an open transaction with it.
    match timeout_at(deadline, write(&mut writer.connection, script, arguments)).await {
        Ok(Ok(())) => {
            writer.put_back();
            Ok(())
        }
        Ok(Err(error)) => {
            if rolled_back(&mut writer.connection, deadline).await {
                writer.put_back();
            }
            Err(classify(&error))
        }
        Err(_) => Err(CommitError::Unknown("it did not finish in time".to_owned())),
    }
}

async fn write(
    connection: &mut SqliteConnection,
    script: &'static str,
    arguments: SqliteArguments,
) -> Result<(), sqlx::Error> {
    sqlx::query_with(script, arguments).execute(connection).await?;
    Ok(())
}

/// Whether the connection is known to be outside a transaction.
async fn rolled_back(connection: &mut SqliteConnection, deadline: Instant) -> bool {
    matches!(
        timeout_at(deadline, connection.execute("ROLLBACK")).await,
        Ok(Ok(_))
    )
}

fn classify(error: &sqlx::Error) -> CommitError {
    let text = error.to_string();
    let sqlx::Error::Database(refusal) = error else {
        return CommitError::Unknown(text);
    };
    let code = refusal
        .code()
        .and_then(|code| code.parse::<i32>().ok())
        .unwrap_or_default();
    match code {
        _ if code & 0xff != CONSTRAINT || code == CONSTRAINT_TRIGGER => CommitError::Failed(text),
        _ if refusal.message().contains("journal.seq") => CommitError::Overtaken(text),
        _ => CommitError::Constraint(text),
    }
}

/// The blob. Places count from 1, as `substr` does.
#[derive(Default)]
struct Blob(Vec<u8>);

impl Blob {
    fn put(&mut self, parts: &[&[u8]]) -> usize {
        let place = self.0.len() + 1;
        for part in parts {
            self.0.extend_from_slice(part);
        }
        place
    }
}

fn script(
    batch: &Batch<'_>,
    rows: &Rows<'_>,
) -> Result<(&'static str, SqliteArguments), sqlx::error::BoxDynError> {
    let mut blob = Blob::default();
    let lists = [
        events(&mut blob, rows)?,
        groups(&mut blob, rows)?,
        mitigations(&mut blob, rows)?,
        journal(&mut blob, batch)?,
    ];
    let rest = if rows.is_plain() {
        None
    } else {
        Some([
            suppressed(&mut blob, rows)?,
            unsuppressed(&mut blob, rows)?,
            safelist_added(&mut blob, rows)?,
            safelist_removed(&mut blob, rows)?,
        ])
    };
    let script = if rest.is_some() { WHOLE } else { PLAIN };
    let mut arguments = SqliteArguments::default();
    sqlx::Arguments::add(&mut arguments, batch.pop.to_owned())?;
    sqlx::Arguments::add(&mut arguments, blob.0)?;
    for list in lists.into_iter().chain(rest.into_iter().flatten()) {
        sqlx::Arguments::add(&mut arguments, list)?;
    }
    Ok((script, arguments))
}

type Json = Result<String, serde_json::Error>;

fn list<R, T: Serialize>(rows: &[R], row: impl FnMut(&R) -> T) -> Json {
    serde_json::to_string(&rows.iter().map(row).collect::<Vec<_>>())
}

fn events(blob: &mut Blob, rows: &Rows<'_>) -> Json {
    list(&rows.events, |row| {
        let event = row.event;
        let victim = event.victim_ip.address();
        (
            blob.put(&[
                event.event_id.0.as_bytes(),
                &padded(&bytes(victim)),
                row.body.as_bytes(),
                row.why.as_bytes(),
            ]),
            row.body.len(),
            row.why.len(),
            event.received_at.as_micros(),
            event.source.clone(),
            event.external_event_id.clone(),
            event.action.as_str(),
            event.timestamp.map(Timestamp::as_micros),
            family(victim),
            event.vector.clone(),
            event.outcome.as_str().to_owned(),
        )
    })
}

fn groups(blob: &mut Blob, rows: &Rows<'_>) -> Json {
    list(&rows.groups, |row| {
        let group = row.group;
        (
            blob.put(&[group.group_id.0.as_bytes(), row.body.as_bytes()]),
            row.body.len(),
            group.last_event_at.as_micros(),
            group.closed_at.map(Timestamp::as_micros),
        )
    })
}

fn mitigations(blob: &mut Blob, rows: &Rows<'_>) -> Json {
    list(&rows.mitigations, |row| {
        let mitigation = row.mitigation;
        let victim = mitigation.victim_ip.address();
        (
            blob.put(&[
                mitigation.mitigation_id.0.as_bytes(),
                &padded(&bytes(victim)),
                row.body.as_bytes(),
            ]),
            row.body.len(),
            row.why.as_ref().map(|why| blob.put(&[why.as_bytes()])),
            row.why.as_ref().map(String::len),
            row.is_live(),
            mitigation.status.as_str(),
            mitigation.customer_id.clone(),
            mitigation.service_id.clone(),
            family(victim),
            mitigation.vector.clone(),
            mitigation.action_type.as_str(),
            i16::from(mitigation.acknowledged_at.is_some()),
            mitigation.created_at.as_micros(),
            row.ended_at(),
            row.why_event.map(|event| blob.put(&[event.0.as_bytes()])),
        )
    })
}

fn journal(blob: &mut Blob, batch: &Batch<'_>) -> Json {
    list(batch.entries, |entry| {
        (
            blob.put(&[&entry.previous_hash, &entry.hash, entry.body.as_bytes()]),
            entry.body.len(),
            journal_number(entry.seq),
            entry.at.as_micros(),
            entry.actor.clone(),
            entry.kind.as_str(),
            entry.subject.clone(),
        )
    })
}

fn suppressed(blob: &mut Blob, rows: &Rows<'_>) -> Json {
    list(&rows.suppressed, |(suppression, body)| {
        let victim = suppression.scope.victim.address();
        (
            blob.put(&[&padded(&bytes(victim))]),
            family(victim),
            suppression.scope.vector.to_string(),
            suppression.expires_at.as_micros(),
            body.clone(),
        )
    })
}

fn unsuppressed(blob: &mut Blob, rows: &Rows<'_>) -> Json {
    list(&rows.unsuppressed, |scope| {
        let victim = scope.victim.address();
        (
            blob.put(&[&padded(&bytes(victim))]),
            family(victim),
            scope.vector.to_string(),
        )
    })
}

fn safelist_added(blob: &mut Blob, rows: &Rows<'_>) -> Json {
    list(&rows.safelist_added, |(range, body)| {
        (
            blob.put(&[&padded(&range.lo), &padded(&range.hi)]),
            range.af,
            body.clone(),
        )
    })
}

fn safelist_removed(blob: &mut Blob, rows: &Rows<'_>) -> Json {
    list(&rows.safelist_removed, |range| {
        (blob.put(&[&padded(&range.lo), &padded(&range.hi)]), range.af)
    })
}
