//! SQLite: one script in one round trip to the connection's thread. A statement takes its rows as `VALUES`; their
//! number is rounded up to a power of two and filled with rows of nulls, so that the same few scripts come again
//! and stay prepared.

use super::rows::{EventRow, GroupRow, MitigationRow, Rows};
use super::{Batch, CommitError, journal_number};
use crate::journal::Entry;
use crate::store::db::Sqlite;
use crate::store::prefix::{bytes, family};
use prefixd_api::time::Timestamp;
use sqlx::error::BoxDynError;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments, AssertSqlSafe, Encode, Executor, SqliteConnection, Type};
use tokio::time::{Instant, timeout_at};

/// SQLITE_CONSTRAINT, the low byte of every constraint's code, and the code of a trigger that refuses.
const CONSTRAINT: i32 = 19;
const CONSTRAINT_TRIGGER: i32 = 1811;

pub(super) async fn commit(
    sqlite: &Sqlite,
    batch: &Batch<'_>,
    rows: Rows<'_>,
    deadline: Instant,
) -> Result<(), CommitError> {
    let script = Script::of(batch, rows).map_err(|error| CommitError::Constraint(error.to_string()))?;
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
    match timeout_at(deadline, write(&mut writer.connection, script)).await {
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

async fn write(connection: &mut SqliteConnection, script: Script) -> Result<(), sqlx::Error> {
    sqlx::query_with(AssertSqlSafe(script.text), script.arguments)
        .execute(connection)
        .await?;
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

/// A statement around `FROM (VALUES ...)`.
struct Statement {
    before: &'static str,
    after: &'static str,
    /// Columns of a row; the first is never null.
    columns: usize,
}

const EVENTS: Statement = Statement {
    before: "INSERT INTO events (id, pop, received_at, source, external_id, action, reported_at, af, victim, vector, \
             outcome, body, why) SELECT column1, column2, column3, column4, column5, column6, column7, column8, column9, \
             column10, column11, column12, column13",
    after: "",
    columns: 13,
};
const GROUPS: Statement = Statement {
    before: "INSERT INTO signal_groups (id, pop, last_event_at, closed_at, body) \
             SELECT column1, column2, column3, column4, column5",
    after: "ON CONFLICT (id) DO UPDATE SET last_event_at = excluded.last_event_at, closed_at = excluded.closed_at, \
            body = excluded.body",
    columns: 5,
};
const MITIGATIONS: Statement = Statement {
    before: "INSERT INTO mitigations AS stored (id, pop, live, status, customer_id, service_id, af, victim, vector, \
             action_type, acknowledged, created_at, ended_at, body, why, why_event) SELECT column1, column2, column3, \
             column4, column5, column6, column7, column8, column9, column10, column11, column12, column13, column14, \
             column15, column16",
    after: "ON CONFLICT (id) DO UPDATE SET live = excluded.live, status = excluded.status, \
            action_type = excluded.action_type, acknowledged = excluded.acknowledged, ended_at = excluded.ended_at, \
            body = excluded.body, why_event = COALESCE(excluded.why_event, stored.why_event), \
            why = CASE WHEN excluded.why IS NULL AND excluded.why_event IS NULL THEN stored.why ELSE excluded.why END",
    columns: 16,
};
const JOURNAL: Statement = Statement {
    before: "INSERT INTO journal (pop, seq, at, actor, kind, subject, body, previous_hash, hash) SELECT column1, \
             column2, column3, column4, column5, column6, column7, column8, column9",
    after: "",
    columns: 9,
};
const SUPPRESSED: Statement = Statement {
    before: "INSERT INTO suppressions (pop, af, victim, vector, expires_at, body) SELECT column1, column2, column3, \
             column4, column5, column6",
    after: "ON CONFLICT (pop, af, victim, vector) DO UPDATE SET expires_at = excluded.expires_at, body = excluded.body",
    columns: 6,
};
const UNSUPPRESSED: Statement = Statement {
    before: "DELETE FROM suppressions WHERE (pop, af, victim, vector) IN (SELECT column1, column2, column3, column4",
    after: ")",
    columns: 4,
};
const SAFELIST_ADDED: Statement = Statement {
    before: "INSERT INTO safelist (af, lo, hi, body) SELECT column1, column2, column3, column4",
    after: "ON CONFLICT (af, lo, hi) DO UPDATE SET body = excluded.body",
    columns: 4,
};
const SAFELIST_REMOVED: Statement = Statement {
    before: "DELETE FROM safelist WHERE (af, lo, hi) IN (SELECT column1, column2, column3",
    after: ")",
    columns: 3,
};
const PEERS_DISABLED: Statement = Statement {
    before: "INSERT INTO disabled_peers (pop, neighbor, body) SELECT column1, column2, column3",
    after: "ON CONFLICT (pop, neighbor) DO UPDATE SET body = excluded.body",
    columns: 3,
};
const PEERS_ENABLED: Statement = Statement {
    before: "DELETE FROM disabled_peers WHERE (pop, neighbor) IN (SELECT column1, column2",
    after: ")",
    columns: 2,
};

/// Rows one statement takes at most: SQLite binds 32,766 values.
const MAX_ROWS: usize = 1_024;

type Bound = Result<(), BoxDynError>;

/// A transaction and the values it takes.
struct Script {
    text: String,
    arguments: SqliteArguments,
}

impl Script {
    fn of(batch: &Batch<'_>, rows: Rows<'_>) -> Result<Self, BoxDynError> {
        let mut script = Self {
            text: "BEGIN IMMEDIATE;".to_owned(),
            arguments: SqliteArguments::default(),
        };
        let pop = batch.pop;
        script.run(&EVENTS, rows.events, |script, row| script.event(pop, row))?;
        script.run(&GROUPS, rows.groups, |script, row| script.group(pop, row))?;
        script.run(&MITIGATIONS, rows.mitigations, |script, row| {
            script.mitigation(pop, row)
        })?;
        script.run(&JOURNAL, batch.entries.iter().collect(), |script, entry| {
            script.entry(pop, entry)
        })?;
        script.run(&SUPPRESSED, rows.suppressed, |script, (row, body)| {
            script.add(pop)?;
            script.victim(row.scope.victim.address())?;
            script.add(&*row.scope.vector)?;
            script.add(row.expires_at.as_micros())?;
            script.add(body)
        })?;
        script.run(&UNSUPPRESSED, rows.unsuppressed, |script, scope| {
            script.add(pop)?;
            script.victim(scope.victim.address())?;
            script.add(&*scope.vector)
        })?;
        script.run(&SAFELIST_ADDED, rows.safelist_added, |script, (range, body)| {
            script.add(range.af)?;
            script.add(range.lo)?;
            script.add(range.hi)?;
            script.add(body)
        })?;
        script.run(&SAFELIST_REMOVED, rows.safelist_removed, |script, range| {
            script.add(range.af)?;
            script.add(range.lo)?;
            script.add(range.hi)
        })?;
        script.run(
            &PEERS_DISABLED,
            rows.peers_disabled,
            |script, (neighbor, body)| {
                script.add(pop)?;
                script.add(neighbor)?;
                script.add(body)
            },
        )?;
        script.run(&PEERS_ENABLED, rows.peers_enabled, |script, neighbor| {
            script.add(pop)?;
            script.add(neighbor)
        })?;
        script.text.push_str("COMMIT");
        Ok(script)
    }

    /// Adds a statement for all rows, or several, or none. `bind` adds the values of a row in the order of its
    /// columns.
    fn run<R>(
        &mut self,
        statement: &Statement,
        rows: Vec<R>,
        mut bind: impl FnMut(&mut Self, R) -> Bound,
    ) -> Bound {
        let mut left = rows.len();
        let mut rows = rows.into_iter();
        while left > 0 {
            let taken = left.min(MAX_ROWS);
            let size = taken.next_power_of_two();
            self.values(statement, size);
            for row in rows.by_ref().take(taken) {
                bind(self, row)?;
            }
            for _ in 0..(size - taken) * statement.columns {
                self.add(None::<i64>)?;
            }
            left -= taken;
        }
        Ok(())
    }

    fn values(&mut self, statement: &Statement, rows: usize) {
        let text = &mut self.text;
        text.push_str(statement.before);
        text.push_str(" FROM (VALUES ");
        for row in 0..rows {
            text.push_str(if row == 0 { "(" } else { ",(" });
            for column in 0..statement.columns {
                text.push_str(if column == 0 { "?" } else { ",?" });
            }
            text.push(')');
        }
        text.push_str(") WHERE column1 IS NOT NULL ");
        text.push_str(statement.after);
        text.push(';');
    }

    fn add<'t, T: Encode<'t, sqlx::Sqlite> + Type<sqlx::Sqlite> + 't>(&mut self, value: T) -> Bound {
        Arguments::add(&mut self.arguments, value)
    }

    fn victim(&mut self, address: std::net::IpAddr) -> Bound {
        self.add(family(address))?;
        self.add(bytes(address))
    }

    fn event(&mut self, pop: &str, row: EventRow<'_>) -> Bound {
        let event = row.event;
        self.add(event.event_id.0)?;
        self.add(pop)?;
        self.add(event.received_at.as_micros())?;
        self.add(&*event.source)?;
        self.add(event.external_event_id.as_deref())?;
        self.add(event.action.as_str())?;
        self.add(event.timestamp.map(Timestamp::as_micros))?;
        self.victim(event.victim_ip.address())?;
        self.add(&*event.vector)?;
        self.add(event.outcome.as_str())?;
        self.add(row.body)?;
        self.add(row.why)
    }

    fn group(&mut self, pop: &str, row: GroupRow<'_>) -> Bound {
        let group = row.group;
        self.add(group.group_id.0)?;
        self.add(pop)?;
        self.add(group.last_event_at.as_micros())?;
        self.add(group.closed_at.map(Timestamp::as_micros))?;
        self.add(row.body)
    }

    fn mitigation(&mut self, pop: &str, row: MitigationRow<'_>) -> Bound {
        let mitigation = row.mitigation;
        self.add(mitigation.mitigation_id.0)?;
        self.add(pop)?;
        self.add(row.is_live())?;
        self.add(mitigation.status.as_str())?;
        self.add(mitigation.customer_id.as_deref())?;
        self.add(mitigation.service_id.as_deref())?;
        self.victim(mitigation.victim_ip.address())?;
        self.add(&*mitigation.vector)?;
        self.add(mitigation.action_type.as_str())?;
        self.add(i16::from(mitigation.acknowledged_at.is_some()))?;
        self.add(mitigation.created_at.as_micros())?;
        self.add(row.ended_at())?;
        self.add(row.body)?;
        self.add(row.why)?;
        self.add(row.why_event.map(|event| event.0))
    }

    fn entry(&mut self, pop: &str, entry: &Entry) -> Bound {
        self.add(pop)?;
        self.add(journal_number(entry.seq))?;
        self.add(entry.at.as_micros())?;
        self.add(&*entry.actor)?;
        self.add(entry.kind.as_str())?;
        self.add(&*entry.subject)?;
        self.add(&*entry.body)?;
        self.add(&entry.previous_hash[..])?;
        self.add(&entry.hash[..])
    }
}
