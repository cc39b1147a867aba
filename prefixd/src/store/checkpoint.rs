//! SQLite's log moves into its file beside the commits, not inside them.
//!
//! The writing connection would do it after the commit that fills the log, with everybody waiting for the copy and
//! its sync. A passive checkpoint on a connection of its own blocks neither writers nor readers.
//!
//! SQLite syncs the file only by a checkpoint that reaches the log's end, which one beside commits never does: all that
//! was moved since would be written to the disk at once, and every commit waits for a busy disk. So each step is synced
//! here. A log that is never moved to its end grows as well, and writing over what a file has is cheaper than making it
//! longer: once it is long, the little that is left is moved between two commits, and the log begins anew.

use super::commit::Committer;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, Notify};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long commits gather in the log before it is moved: a page that several of them changed is moved once. Moving all
/// there is makes the next commit begin the log anew, with a sync of its own, so it is not done after each of a few.
const GATHER: Duration = Duration::from_millis(100);
/// The same while commits come one after the other: a step that moves less takes a processor from them for less long.
const GATHER_BUSY: Duration = Duration::from_millis(10);
/// Pages a millisecond from which on they do: a few hundred commits a second.
const BUSY: i64 = 5;
/// How often what was moved is synced at most.
const SYNC: Duration = Duration::from_millis(100);
/// From this length on, in pages (80 MB), the log is to begin anew.
const LONG: i64 = 10_000;
/// How often a long log is moved before what came meanwhile is little: each step takes a tenth of the one before.
const STEPS: usize = 3;

/// Moves the log while it lives.
#[derive(Debug)]
pub(super) struct Checkpointer {
    written: Arc<Notify>,
    stop: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Checkpointer {
    pub(super) fn start(options: SqliteConnectOptions, committer: Arc<Committer>) -> io::Result<Self> {
        let (written, stop) = (Arc::new(Notify::new()), CancellationToken::new());
        let file = Arc::new(File::open(options.get_filename())?);
        let mover = Mover {
            options,
            connection: None,
            file,
            committer,
            synced: Instant::now(),
            stepped: Instant::now(),
            moved: 0,
            gather: GATHER,
        };
        let task = tokio::spawn(run(mover, Arc::clone(&written), stop.clone()));
        Ok(Self {
            written,
            stop,
            task: Mutex::new(Some(task)),
        })
    }

    /// There is something in the log.
    pub(super) fn written(&self) {
        self.written.notify_one();
    }

    /// Ends it, and waits until its connection is closed. After all others: see [`Mover::file`].
    pub(super) async fn close(&self) {
        self.stop.cancel();
        if let Some(task) = self.task.lock().await.take()
            && let Err(error) = task.await
        {
            tracing::warn!(%error, "what moves the database's log ended badly");
        }
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn run(mut mover: Mover, written: Arc<Notify>, stop: CancellationToken) {
    let work = async {
        loop {
            written.notified().await;
            tokio::time::sleep(mover.gather).await;
            if let Err(error) = mover.move_log().await {
                mover.connection = None;
                tracing::warn!(%error, "the database's log was not moved into its file; the next commit that finds it full does it");
            }
        }
    };
    stop.run_until_cancelled(work).await;
    if let Some(connection) = mover.connection
        && let Err(error) = connection.close().await
    {
        tracing::debug!(%error, "closing the checkpoint's connection");
    }
}

struct Mover {
    options: SqliteConnectOptions,
    connection: Option<SqliteConnection>,
    /// The database, to sync it. Closing a second descriptor of it drops the locks that SQLite holds (POSIX record
    /// locks belong to the process), so it is open for as long as any connection is.
    file: Arc<File>,
    committer: Arc<Committer>,
    synced: Instant,
    /// When the last step was, and how far the log was moved then, in pages.
    stepped: Instant,
    moved: i64,
    gather: Duration,
}

impl Mover {
    async fn move_log(&mut self) -> Result<(), sqlx::Error> {
        for _ in 0..STEPS {
            let length = self.step().await?;
            // Before a log begins anew always: what is not synced by then is synced between two commits.
            if length >= LONG || self.synced.elapsed() >= SYNC {
                self.sync().await?;
                self.synced = Instant::now();
            }
            if length < LONG {
                return Ok(());
            }
        }
        self.committer.move_log().await;
        Ok(())
    }

    /// Moves what is in the log now, and answers how long the log is.
    async fn step(&mut self) -> Result<i64, sqlx::Error> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            slot @ None => slot.insert(self.options.connect().await?),
        };
        let (_busy, length, moved): (i64, i64, i64) = sqlx::query_as("PRAGMA wal_checkpoint(PASSIVE)")
            .fetch_one(connection)
            .await?;
        self.gather = gather(length, self.moved, self.stepped.elapsed());
        (self.stepped, self.moved) = (Instant::now(), moved);
        Ok(length)
    }

    async fn sync(&self) -> io::Result<()> {
        let file = Arc::clone(&self.file);
        tokio::task::spawn_blocking(move || file.sync_data()).await?
    }
}

/// How long to gather, by how many pages the log has got in a time. One that began anew has all of its own.
fn gather(length: i64, moved: i64, elapsed: Duration) -> Duration {
    let new = if length < moved { length } else { length - moved };
    let millis = i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX);
    if new >= BUSY.saturating_mul(millis.max(1)) {
        GATHER_BUSY
    } else {
        GATHER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_log_that_grows_fast_is_moved_often() {
        let millis = Duration::from_millis;
        // A hundred commits a second, a thousand, and the latter over a log that began anew.
        assert_eq!(gather(1_200, 1_000, millis(100)), GATHER);
        assert_eq!(gather(3_300, 1_000, millis(100)), GATHER_BUSY);
        assert_eq!(gather(330, 9_000, millis(10)), GATHER_BUSY);
        assert_eq!(gather(20, 9_000, millis(10)), GATHER);
        assert_eq!(gather(0, 0, millis(0)), GATHER);
    }
}
