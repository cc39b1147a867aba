//! PostgreSQL: one statement that commits by itself, so a batch costs one round trip and one sync.

use super::rows::{MitigationRow, Rows};
use super::{Batch, CommitError, journal_number};
use crate::store::postgres::Postgres;
use crate::store::prefix::{bytes, family, key};
use prefixd_api::time::Timestamp;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{Arguments, AssertSqlSafe, PgConnection, SqlSafeStr, SqlStr};
use tokio::time::{Instant, timeout_at};

/// Taken by every commit of a POP and by whoever asks for its journal's end: the answer waits for a commit whose
/// connection was given up.
pub(in crate::store) const LOCK_POP: &str = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))";

/// Parameters of a statement at most.
const PARAMETERS: usize = 73;

/// What detectors' events touch.
const PLAIN: &str = include_str!("postgres.sql");
/// What operators touch besides.
const WHOLE: &str = concat!(include_str!("postgres.sql"), include_str!("postgres_whole.sql"));

/// The statement of a commit. The SELECT at the end runs first: the lock is held before anything is written, and
/// whoever has lost the POP divides by zero. The statement's snapshot may be older than that loss; locking the row reads
/// it as it is now, and whoever takes the POP waits for a commit that has it locked. The number is part of the text
/// because it is the same for a lifetime.
fn statement(plain: bool, fence: Option<i64>) -> SqlStr {
    let rows = if plain { PLAIN } else { WHOLE };
    let lock = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))";
    let text = match fence {
        None => format!("{rows}{lock}"),
        Some(fence) => {
            let ours = format!("SELECT FROM pops WHERE pop = $1 AND fence = {fence} FOR SHARE");
            format!("{rows}{lock}, 1 / (SELECT count(*) FROM ({ours}) ours)")
        }
    };
    AssertSqlSafe(text).into_sql_str()
}

/// The statements of a daemon.
#[derive(Debug)]
pub(in crate::store) struct Statements {
    plain: SqlStr,
    whole: SqlStr,
}

impl Statements {
    pub(in crate::store) fn under(fence: Option<i64>) -> Self {
        Self {
            plain: statement(true, fence),
            whole: statement(false, fence),
        }
    }
}

pub(super) async fn commit(
    server: &Postgres,
    batch: &Batch,
    rows: &Rows<'_>,
    deadline: Instant,
) -> Result<(), CommitError> {
    let mut writer = match timeout_at(deadline, server.take_writer()).await {
        Ok(Ok(writer)) => writer,
        Ok(Err(error)) => return Err(CommitError::Failed(error.to_string())),
        Err(_) => return Err(CommitError::Failed("it could not be reached in time".to_owned())),
    };
    writer.begins_to_write();
    let failure = match timeout_at(
        deadline,
        write(&mut writer.connection, server.statements(), batch, rows),
    )
    .await
    {
        Ok(Ok(())) => {
            writer.put_back();
            return Ok(());
        }
        Ok(Err(error)) => classify(&error),
        Err(_) => CommitError::Unknown("it did not answer in time".to_owned()),
    };
    if !matches!(failure, CommitError::Unknown(_)) {
        writer.put_back();
    }
    Err(failure)
}

async fn write(
    connection: &mut PgConnection,
    statements: &Statements,
    batch: &Batch,
    rows: &Rows<'_>,
) -> Result<(), sqlx::Error> {
    let plain = rows.is_plain();
    let text = if plain {
        &statements.plain
    } else {
        &statements.whole
    };
    let mut arguments = PgArguments::default();
    arguments.reserve(PARAMETERS, size(batch, rows));
    let query = bind_plain(sqlx::query_with(text.clone(), arguments), batch, rows);
    let query = if plain { query } else { bind_rest(query, rows) };
    query.execute(connection).await?;
    Ok(())
}

/// About as many bytes as the rows are. A buffer that grows by doubling would copy megabytes several times.
fn size(batch: &Batch, rows: &Rows<'_>) -> usize {
    /// Of a row besides its texts: twenty columns, each with its length.
    const BESIDES: usize = 400;
    let events = rows.events.iter().map(|row| row.body.len() + row.why.len());
    let groups = rows.groups.iter().map(|row| row.body.len());
    let mitigations = rows.mitigations.iter().map(|row| row.body.len());
    let entries = batch.entries.iter().map(|entry| entry.body.len());
    let texts = events.chain(groups).chain(mitigations).chain(entries);
    texts.map(|text| text + BESIDES).sum()
}

type Statement<'q> = Query<'q, sqlx::Postgres, PgArguments>;

/// One array a column.
fn column<'r, R, T>(rows: &'r [R], value: impl FnMut(&'r R) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}

fn bind_plain<'q>(query: Statement<'q>, batch: &'q Batch, rows: &'q Rows<'q>) -> Statement<'q> {
    let Rows {
        events,
        groups,
        mitigations,
        ..
    } = rows;
    let entries = &batch.entries;
    query
        .bind(&*batch.pop)
        .bind(column(events, |row| row.event.event_id.0))
        .bind(column(events, |row| row.event.received_at.as_micros()))
        .bind(column(events, |row| &*row.event.source))
        .bind(column(events, |row| row.event.external_event_id.as_deref()))
        .bind(column(events, |row| row.event.action.as_str()))
        .bind(column(events, |row| {
            row.event.timestamp.map(Timestamp::as_micros)
        }))
        .bind(column(events, |row| family(row.event.victim_ip.address())))
        .bind(column(events, |row| bytes(row.event.victim_ip.address())))
        .bind(column(events, |row| &*row.event.vector))
        .bind(column(events, |row| row.event.outcome.as_str()))
        .bind(column(events, |row| row.body))
        .bind(column(events, |row| row.why))
        .bind(column(groups, |row| row.group.group_id.0))
        .bind(column(groups, |row| row.group.last_event_at.as_micros()))
        .bind(column(groups, |row| {
            row.group.closed_at.map(Timestamp::as_micros)
        }))
        .bind(column(groups, |row| row.body))
        .bind(column(mitigations, |row| row.mitigation.mitigation_id.0))
        .bind(column(mitigations, MitigationRow::is_live))
        .bind(column(mitigations, |row| row.mitigation.status.as_str()))
        .bind(column(mitigations, |row| row.mitigation.customer_id.as_deref()))
        .bind(column(mitigations, |row| row.mitigation.service_id.as_deref()))
        .bind(column(mitigations, |row| {
            family(row.mitigation.victim_ip.address())
        }))
        .bind(column(mitigations, |row| key(row.mitigation.victim_ip)))
        .bind(column(mitigations, |row| &*row.mitigation.vector))
        .bind(column(mitigations, |row| row.mitigation.action_type.as_str()))
        .bind(column(mitigations, |row| {
            i16::from(row.mitigation.acknowledged_at.is_some())
        }))
        .bind(column(mitigations, |row| row.mitigation.created_at.as_micros()))
        .bind(column(mitigations, MitigationRow::ended_at))
        .bind(column(mitigations, |row| row.body))
        .bind(column(mitigations, |row| row.why))
        .bind(column(mitigations, |row| row.why_event.map(|event| event.0)))
        .bind(column(entries, |entry| journal_number(entry.seq)))
        .bind(column(entries, |entry| entry.at.as_micros()))
        .bind(column(entries, |entry| &*entry.actor))
        .bind(column(entries, |entry| entry.kind.as_str()))
        .bind(column(entries, |entry| &*entry.subject))
        .bind(column(entries, |entry| &*entry.body))
        .bind(column(entries, |entry| &entry.previous_hash[..]))
        .bind(column(entries, |entry| &entry.hash[..]))
}

fn bind_rest<'q>(query: Statement<'q>, rows: &'q Rows<'q>) -> Statement<'q> {
    let Rows {
        suppressed,
        unsuppressed,
        safelist_added,
        safelist_removed,
        peers_disabled,
        peers_enabled,
        parked,
        none_parked,
        unconfirmed,
        confirmed,
        held,
        let_go,
        kept,
        ..
    } = rows;
    query
        .bind(column(suppressed, |(row, _)| family(row.scope.victim.address())))
        .bind(column(suppressed, |(row, _)| key(row.scope.victim)))
        .bind(column(suppressed, |(row, _)| row.scope.vector.to_string()))
        .bind(column(suppressed, |(row, _)| row.expires_at.as_micros()))
        .bind(column(suppressed, |(_, body)| *body))
        .bind(column(unsuppressed, |scope| family(scope.victim.address())))
        .bind(column(unsuppressed, |scope| key(scope.victim)))
        .bind(column(unsuppressed, |scope| scope.vector.to_string()))
        .bind(column(safelist_added, |(range, _)| range.af))
        .bind(column(safelist_added, |(range, _)| range.lo.clone()))
        .bind(column(safelist_added, |(range, _)| range.hi.clone()))
        .bind(column(safelist_added, |(_, body)| *body))
        .bind(column(safelist_removed, |range| range.af))
        .bind(column(safelist_removed, |range| range.lo.clone()))
        .bind(column(safelist_removed, |range| range.hi.clone()))
        .bind(column(peers_disabled, |(neighbor, _)| *neighbor))
        .bind(column(peers_disabled, |(_, body)| *body))
        .bind(column(peers_enabled, |neighbor| *neighbor))
        .bind(column(held, |(name, _)| &**name))
        .bind(column(held, |(_, body)| *body))
        .bind(column(let_go, |name| &**name))
        .bind(column(parked, |(neighbor, _)| *neighbor))
        .bind(column(parked, |(_, body)| *body))
        .bind(column(none_parked, |neighbor| *neighbor))
        .bind(column(unconfirmed, |(id, _)| *id))
        .bind(column(unconfirmed, |(_, body)| *body))
        .bind(column(confirmed, |id| *id))
        .bind(column(kept, |kept| &*kept.claim.name.principal))
        .bind(column(kept, |kept| &*kept.claim.name.key))
        .bind(column(kept, |kept| kept.at.as_micros()))
        .bind(column(kept, |kept| &kept.claim.request[..]))
        .bind(column(kept, |kept| {
            i16::try_from(kept.answer.status).unwrap_or_default()
        }))
        .bind(column(kept, |kept| kept.answer.body.as_deref()))
}

/// What an error says about the batch (PostgreSQL, appendix A: error codes).
fn classify(error: &sqlx::Error) -> CommitError {
    let text = error.to_string();
    let sqlx::Error::Database(refusal) = error else {
        // The connection broke with the statement on its way.
        return CommitError::Unknown(text);
    };
    if refusal.table() == Some("journal") && refusal.is_unique_violation() {
        return CommitError::Overtaken(text);
    }
    match refusal.code().as_deref() {
        // The fence: nothing else here divides.
        Some("22012") => CommitError::Overtaken("another prefixd has taken this POP".to_owned()),
        // Integrity constraints, and values no column can hold.
        Some(code) if code.starts_with("23") || code.starts_with("22") => CommitError::Constraint(text),
        // The server is going down with the statement.
        Some("57P01" | "57P02") => CommitError::Unknown(text),
        _ => CommitError::Failed(text),
    }
}
