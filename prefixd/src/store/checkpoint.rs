//! SQLite's log moves into its file beside the commits, not inside them.
//!
//! The writing connection would do it after the commit that fills the log, with everybody waiting for the copy and
//! its sync. A passive checkpoint on a connection of its own blocks neither writers nor readers.

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, Executor, SqliteConnection};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, Notify};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long commits gather in the log before it is moved: a page that several of them changed is moved once.
const GATHER: Duration = Duration::from_millis(250);

/// Moves the log while it lives.
#[derive(Debug)]
pub(super) struct Checkpointer {
    written: Arc<Notify>,
    stop: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Checkpointer {
    pub(super) fn start(options: SqliteConnectOptions) -> Self {
        let (written, stop) = (Arc::new(Notify::new()), CancellationToken::new());
        let task = tokio::spawn(run(options, Arc::clone(&written), stop.clone()));
        Self {
            written,
            stop,
            task: Mutex::new(Some(task)),
        }
    }

    /// There is something in the log.
    pub(super) fn written(&self) {
        self.written.notify_one();
    }

    /// Ends it, and waits until its connection is closed.
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

async fn run(options: SqliteConnectOptions, written: Arc<Notify>, stop: CancellationToken) {
    let mut connection = None;
    let work = async {
        loop {
            written.notified().await;
            tokio::time::sleep(GATHER).await;
            if let Err(error) = checkpoint(&options, &mut connection).await {
                connection = None;
                tracing::warn!(%error, "the database's log was not moved into its file; the next commit that finds it full does it");
            }
        }
    };
    stop.run_until_cancelled(work).await;
    if let Some(connection) = connection
        && let Err(error) = connection.close().await
    {
        tracing::debug!(%error, "closing the checkpoint's connection");
    }
}

async fn checkpoint(
    options: &SqliteConnectOptions,
    slot: &mut Option<SqliteConnection>,
) -> Result<(), sqlx::Error> {
    let connection = match slot {
        Some(connection) => connection,
        None => slot.insert(options.connect().await?),
    };
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").await?;
    Ok(())
}
