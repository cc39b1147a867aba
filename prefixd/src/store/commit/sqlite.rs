//! SQLite: a thread of its own holds the connection that commits (docs/adr/0010). A batch costs it one wake-up and
//! the engine another; its rows are bound from where they lie to statements that stay prepared.

use super::rows::Rows;
use super::{Batch, CommitError, journal_number, log_file};
use crate::store::db::Sqlite;
use crate::store::prefix::{bytes, family, key};
use prefixd_api::time::Timestamp;
use rusqlite::{Connection, ErrorCode, OpenFlags, Params, params};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

/// SQLITE_CONSTRAINT_TRIGGER: a trigger that refuses.
const CONSTRAINT_TRIGGER: i32 = 1811;

/// How a writing connection is set up: synced when a commit returns, and never the one that moves the log.
#[derive(Clone, Debug)]
pub(in crate::store) struct Setup {
    pub(in crate::store) path: PathBuf,
    pub(in crate::store) pragmas: String,
    pub(in crate::store) busy_timeout: Duration,
}

/// The thread that commits. It ends when this is dropped.
#[derive(Debug)]
pub(in crate::store) struct Committer {
    jobs: Mutex<Option<Sender<Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
enum Job {
    Commit {
        batch: Arc<Batch>,
        claim: Arc<Claim>,
        done: oneshot::Sender<Result<(), CommitError>>,
    },
    MoveLog {
        done: oneshot::Sender<()>,
    },
}

/// Whether a batch was begun or given up: one of both, whichever comes first. Once begun it holds the file's write
/// lock, which everybody needs who asks what became of it.
#[derive(Debug, Default)]
struct Claim(AtomicU8);

impl Claim {
    const BEGUN: u8 = 1;
    const GIVEN_UP: u8 = 2;

    fn begin(&self) -> bool {
        self.settle(Self::BEGUN)
    }

    fn give_up(&self) -> bool {
        self.settle(Self::GIVEN_UP)
    }

    fn settle(&self, as_what: u8) -> bool {
        self.0
            .compare_exchange(0, as_what, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }
}

impl Committer {
    pub(in crate::store) fn start(setup: Setup) -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("prefixd-commit".to_owned())
            .spawn(move || work(&setup, &queue))?;
        Ok(Self {
            jobs: Mutex::new(Some(jobs)),
            thread: Mutex::new(Some(thread)),
        })
    }

    fn submit(&self, job: Job) -> Result<(), CommitError> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = jobs.as_ref().map(|jobs| jobs.send(job));
        match sent {
            Some(Ok(())) => Ok(()),
            _ => Err(CommitError::Failed("the store is closed".to_owned())),
        }
    }

    /// Moves what is in the log into the file while nobody commits, so that the next commit begins it anew.
    pub(in crate::store) async fn move_log(&self) {
        let (done, moved) = oneshot::channel();
        if self.submit(Job::MoveLog { done }).is_ok() {
            // It only fails by a panic: then the log is moved next time.
            let _ = moved.await;
        }
    }

    /// Finishes what it has and closes its connection.
    pub(in crate::store) async fn close(&self) {
        drop(self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // It only fails by a panic, which the thread catches.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

impl Sqlite {
    pub(super) async fn commit(&self, batch: Arc<Batch>, deadline: Instant) -> Result<(), CommitError> {
        let Ok(_turn) = timeout_at(deadline, self.turn()).await else {
            return Err(CommitError::Failed(
                "another writer did not finish in time".to_owned(),
            ));
        };
        let claim = Arc::new(Claim::default());
        let (done, outcome) = oneshot::channel();
        self.committer().submit(Job::Commit {
            batch,
            claim: Arc::clone(&claim),
            done,
        })?;
        match timeout_at(deadline, outcome).await {
            Ok(Ok(result)) => {
                if result.is_ok() {
                    self.written();
                }
                result
            }
            Ok(Err(_)) => Err(CommitError::Unknown(
                "the thread that commits failed by a defect".to_owned(),
            )),
            Err(_) if claim.give_up() => Err(CommitError::Failed("it was not begun in time".to_owned())),
            Err(_) => Err(CommitError::Unknown("it did not finish in time".to_owned())),
        }
    }
}

fn work(setup: &Setup, queue: &Receiver<Job>) {
    let mut slot = None;
    for job in queue {
        let (batch, claim, done) = match job {
            Job::Commit { batch, claim, done } => (batch, claim, done),
            Job::MoveLog { done } => {
                move_log(slot.as_ref());
                let _ = done.send(());
                continue;
            }
        };
        let result = catch_unwind(AssertUnwindSafe(|| commit(setup, &mut slot, &batch, &claim)));
        // Before the answer: the engine takes the batch apart.
        drop(batch);
        match result {
            // Whoever gave the outcome up asks the journal.
            Ok(result) => drop(done.send(result)),
            Err(_) => slot = None,
        }
    }
    if let Some(Err((_, error))) = slot.map(Connection::close) {
        tracing::warn!(%error, "the database file was not closed cleanly; its log is replayed at the next start");
    }
}

/// The log of a connection that does not work is moved by whoever finds it full.
fn move_log(slot: Option<&Connection>) {
    let moved = slot.map(|connection| connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())));
    if let Some(Err(error)) = moved {
        tracing::debug!(%error, "the end of the database's log was not moved");
    }
}

fn commit(
    setup: &Setup,
    slot: &mut Option<Connection>,
    batch: &Batch,
    claim: &Claim,
) -> Result<(), CommitError> {
    let failed = |error: rusqlite::Error| CommitError::Failed(error.to_string());
    let mut connection = match slot.take() {
        Some(connection) => connection,
        None => open(setup).map_err(failed)?,
    };
    let result = begin_and_write(&mut connection, batch, claim);
    // In doubt it is closed, and an open transaction with it.
    if connection.is_autocommit() || connection.execute_batch("ROLLBACK").is_ok() {
        *slot = Some(connection);
    }
    result
}

fn open(setup: &Setup) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    log_file::register()?;
    let connection = Connection::open_with_flags_and_vfs(Path::new(&setup.path), flags, log_file::NAME)?;
    connection.busy_timeout(setup.busy_timeout)?;
    connection.execute_batch(&setup.pragmas)?;
    connection.execute_batch(log_file::PRAGMAS)?;
    Ok(connection)
}

fn begin_and_write(connection: &mut Connection, batch: &Batch, claim: &Claim) -> Result<(), CommitError> {
    run(connection, "BEGIN IMMEDIATE", []).map_err(|error| CommitError::Failed(error.to_string()))?;
    if !claim.begin() {
        return Err(CommitError::Failed("it was given up before it began".to_owned()));
    }
    write(connection, batch).map_err(|error| classify(&error))
}

fn run(connection: &Connection, sql: &'static str, values: impl Params) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute(values).map(drop)
}

fn classify(error: &rusqlite::Error) -> CommitError {
    let text = error.to_string();
    let rusqlite::Error::SqliteFailure(failure, _) = error else {
        // Not from the database: a value it cannot hold.
        return CommitError::Constraint(text);
    };
    match failure.code {
        ErrorCode::ConstraintViolation if failure.extended_code == CONSTRAINT_TRIGGER => {
            CommitError::Failed(text)
        }
        ErrorCode::ConstraintViolation if text.contains("journal.seq") => CommitError::Overtaken(text),
        ErrorCode::ConstraintViolation | ErrorCode::TooBig => CommitError::Constraint(text),
        _ => CommitError::Failed(text),
    }
}

const EVENT: &str = "INSERT INTO events (id, pop, received_at, source, external_id, action, reported_at, af, victim, \
     vector, outcome, body, why) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";
const GROUP: &str = "INSERT INTO signal_groups (id, pop, last_event_at, closed_at, body) VALUES (?1, ?2, ?3, ?4, ?5) \
     ON CONFLICT (id) DO UPDATE SET last_event_at = excluded.last_event_at, closed_at = excluded.closed_at, \
     body = excluded.body";
const MITIGATION: &str = "INSERT INTO mitigations AS stored (id, pop, live, status, customer_id, service_id, af, \
     victim, vector, action_type, acknowledged, created_at, ended_at, body, why, why_event) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16) \
     ON CONFLICT (id) DO UPDATE SET live = excluded.live, status = excluded.status, \
     action_type = excluded.action_type, acknowledged = excluded.acknowledged, ended_at = excluded.ended_at, \
     body = excluded.body, why_event = COALESCE(excluded.why_event, stored.why_event), \
     why = CASE WHEN excluded.why IS NULL AND excluded.why_event IS NULL THEN stored.why ELSE excluded.why END";
/// SQLite deletes and inserts the entries of every index whose columns a statement names, also when they stay the same:
/// a row that keeps its place in the indexes is changed by naming none of theirs.
const CHANGED_MITIGATION: &str = "UPDATE mitigations SET status = ?2, action_type = ?3, acknowledged = ?4, body = ?5, \
     why = CASE WHEN ?6 IS NULL AND ?7 IS NULL THEN why ELSE ?6 END, why_event = COALESCE(?7, why_event) \
     WHERE id = ?1";
const ENTRY: &str = "INSERT INTO journal (pop, seq, at, actor, kind, subject, body, previous_hash, hash) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
const SUPPRESS: &str = "INSERT INTO suppressions (pop, af, victim, vector, expires_at, body) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
     ON CONFLICT (pop, af, victim, vector) DO UPDATE SET expires_at = excluded.expires_at, body = excluded.body";
const UNSUPPRESS: &str =
    "DELETE FROM suppressions WHERE pop = ?1 AND af = ?2 AND victim = ?3 AND vector = ?4";
const PROTECT: &str = "INSERT INTO safelist (af, lo, hi, body) VALUES (?1, ?2, ?3, ?4) \
     ON CONFLICT (af, lo, hi) DO UPDATE SET body = excluded.body";
/// One that is older than a day, and not forgotten yet, makes room.
const KEEP: &str = "INSERT INTO kept_answers (pop, principal, name, at, request, status, body) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (pop, principal, name) DO UPDATE SET \
     at = excluded.at, request = excluded.request, status = excluded.status, body = excluded.body";
const UNPROTECT: &str = "DELETE FROM safelist WHERE af = ?1 AND lo = ?2 AND hi = ?3";
const DISABLE_PEER: &str = "INSERT INTO disabled_peers (pop, neighbor, body) VALUES (?1, ?2, ?3) \
     ON CONFLICT (pop, neighbor) DO UPDATE SET body = excluded.body";
const ENABLE_PEER: &str = "DELETE FROM disabled_peers WHERE pop = ?1 AND neighbor = ?2";
const PARK: &str = "INSERT INTO parked (pop, neighbor, body) VALUES (?1, ?2, ?3) \
     ON CONFLICT (pop, neighbor) DO UPDATE SET body = excluded.body";
const UNPARK: &str = "DELETE FROM parked WHERE pop = ?1 AND neighbor = ?2";
const WAIT: &str = "INSERT INTO unconfirmed (pop, id, body) VALUES (?1, ?2, ?3) \
     ON CONFLICT (pop, id) DO UPDATE SET body = excluded.body";
const CONFIRM: &str = "DELETE FROM unconfirmed WHERE pop = ?1 AND id = ?2";
const HOLD: &str = "INSERT INTO control (pop, name, body) VALUES (?1, ?2, ?3) \
     ON CONFLICT (pop, name) DO UPDATE SET body = excluded.body";
const LET_GO: &str = "DELETE FROM control WHERE pop = ?1 AND name = ?2";

/// All rows and the end of the transaction.
fn write(connection: &Connection, batch: &Batch) -> rusqlite::Result<()> {
    let rows = Rows::of(batch);
    let pop = &*batch.pop;
    for row in &rows.events {
        let (event, victim) = (row.event, row.event.victim_ip.address());
        let values = params![
            event.event_id.0.as_bytes(),
            pop,
            event.received_at.as_micros(),
            event.source,
            event.external_event_id,
            event.action.as_str(),
            event.timestamp.map(Timestamp::as_micros),
            family(victim),
            bytes(victim),
            event.vector,
            event.outcome.as_str(),
            row.body,
            row.why,
        ];
        run(connection, EVENT, values)?;
    }
    for row in &rows.groups {
        let group = row.group;
        let values = params![
            group.group_id.0.as_bytes(),
            pop,
            group.last_event_at.as_micros(),
            group.closed_at.map(Timestamp::as_micros),
            row.body,
        ];
        run(connection, GROUP, values)?;
    }
    for row in &rows.mitigations {
        let (mitigation, victim) = (row.mitigation, row.mitigation.victim_ip);
        let why_event = row.why_event.as_ref().map(|event| event.0.as_bytes());
        if row.keeps_place {
            let values = params![
                mitigation.mitigation_id.0.as_bytes(),
                mitigation.status.as_str(),
                mitigation.action_type.as_str(),
                mitigation.acknowledged_at.is_some(),
                row.body,
                row.why,
                why_event,
            ];
            if connection.prepare_cached(CHANGED_MITIGATION)?.execute(values)? > 0 {
                continue;
            }
            // The row went with old history: it is written whole.
        }
        let values = params![
            mitigation.mitigation_id.0.as_bytes(),
            pop,
            row.is_live(),
            mitigation.status.as_str(),
            mitigation.customer_id.as_deref(),
            mitigation.service_id.as_deref(),
            family(victim.address()),
            key(victim),
            mitigation.vector.as_str(),
            mitigation.action_type.as_str(),
            mitigation.acknowledged_at.is_some(),
            mitigation.created_at.as_micros(),
            row.ended_at(),
            row.body,
            row.why,
            why_event,
        ];
        run(connection, MITIGATION, values)?;
    }
    for entry in &batch.entries {
        let values = params![
            pop,
            journal_number(entry.seq),
            entry.at.as_micros(),
            entry.actor,
            entry.kind.as_str(),
            entry.subject,
            entry.body,
            entry.previous_hash,
            entry.hash,
        ];
        run(connection, ENTRY, values)?;
    }
    if !rows.is_plain() {
        write_rest(connection, pop, &rows)?;
    }
    run(connection, "COMMIT", [])
}

/// What operators touch.
fn write_rest(connection: &Connection, pop: &str, rows: &Rows<'_>) -> rusqlite::Result<()> {
    for (row, body) in &rows.suppressed {
        let victim = row.scope.victim;
        let (until, vector) = (row.expires_at.as_micros(), &*row.scope.vector);
        run(
            connection,
            SUPPRESS,
            params![pop, family(victim.address()), key(victim), vector, until, body],
        )?;
    }
    for scope in &rows.unsuppressed {
        let victim = scope.victim;
        run(
            connection,
            UNSUPPRESS,
            params![pop, family(victim.address()), key(victim), &*scope.vector],
        )?;
    }
    for (range, body) in &rows.safelist_added {
        run(connection, PROTECT, params![range.af, range.lo, range.hi, body])?;
    }
    for range in &rows.safelist_removed {
        run(connection, UNPROTECT, params![range.af, range.lo, range.hi])?;
    }
    for (neighbor, body) in &rows.peers_disabled {
        run(connection, DISABLE_PEER, params![pop, neighbor, body])?;
    }
    for neighbor in &rows.peers_enabled {
        run(connection, ENABLE_PEER, params![pop, neighbor])?;
    }
    for (neighbor, body) in &rows.parked {
        run(connection, PARK, params![pop, neighbor, body])?;
    }
    for neighbor in &rows.none_parked {
        run(connection, UNPARK, params![pop, neighbor])?;
    }
    for (id, body) in &rows.unconfirmed {
        run(connection, WAIT, params![pop, id.as_bytes(), body])?;
    }
    for id in &rows.confirmed {
        run(connection, CONFIRM, params![pop, id.as_bytes()])?;
    }
    for (name, body) in &rows.held {
        run(connection, HOLD, params![pop, name, body])?;
    }
    for name in &rows.let_go {
        run(connection, LET_GO, params![pop, name])?;
    }
    for kept in rows.kept {
        let name = &kept.claim.name;
        let values = params![
            pop,
            &*name.principal,
            &*name.key,
            kept.at.as_micros(),
            kept.claim.request,
            kept.answer.status,
            kept.answer.body,
        ];
        run(connection, KEEP, values)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_begun_or_given_up_and_never_both() {
        let claim = Claim::default();
        assert!(claim.begin());
        assert!(!claim.give_up());
        let claim = Claim::default();
        assert!(claim.give_up());
        assert!(!claim.begin());
    }
}
