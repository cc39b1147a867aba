//! PostgreSQL: one connection that writes, a pool for everybody else, so that readers never keep a commit waiting.

use super::commit::Statements;
use super::db::ACQUIRE;
use super::tenure::Tenure;
use super::{StoreError, migrate};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgConnection};
use std::sync::OnceLock;
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard};

/// How long PostgreSQL works on a statement before it gives up for certain; shorter than the commit's deadline, so
/// that a held lock is a clear failure and not an unknown outcome.
const STATEMENT_TIMEOUT: &str = "1500";

/// What a server's process takes out of its buffers it hands on to the disk in such pieces. Left to the system it gathers,
/// and is written at once while commits wait (docs/benchmarks.md).
const FLUSH_AFTER: &str = "2MB";

/// How long a server may take to greet a start. One that says nothing is away (a start waits, and says what for).
const GREETING: Duration = Duration::from_secs(10);

/// Until a process that was told to end is looked for again.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// What the server calls the process behind a connection. Its number alone may have gone to another since.
const IDENTITY: &str = "SELECT pid, (extract(epoch FROM backend_start) * 1000000)::bigint FROM pg_stat_activity \
     WHERE pid = pg_backend_pid()";
const TERMINATE: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
     WHERE pid = $1 AND (extract(epoch FROM backend_start) * 1000000)::bigint = $2";
const IS_THERE: &str = "SELECT EXISTS (SELECT FROM pg_stat_activity \
     WHERE pid = $1 AND (extract(epoch FROM backend_start) * 1000000)::bigint = $2)";

/// A PostgreSQL database.
#[derive(Debug)]
pub(super) struct Postgres {
    pub(super) pool: PgPool,
    options: PgConnectOptions,
    writer: Mutex<Slot>,
    tenure: OnceLock<Tenure>,
    statements: OnceLock<Statements>,
}

#[derive(Debug, Default)]
struct Slot {
    idle: Option<(PgConnection, Backend)>,
    /// Connections that were given up with a commit on its way. What the network still holds of it may arrive
    /// after everything that is asked on another connection.
    in_doubt: Vec<Backend>,
}

/// A process of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
pub(super) struct Backend(i32, i64);

impl Backend {
    /// The one behind a connection.
    pub(super) async fn of(connection: &mut PgConnection) -> Result<Self, sqlx::Error> {
        sqlx::query_as(IDENTITY).fetch_one(connection).await
    }

    /// Has the server end it, if it is there.
    pub(super) async fn terminate(self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let Self(pid, started) = self;
        sqlx::query(TERMINATE)
            .bind(pid)
            .bind(started)
            .execute(connection)
            .await
            .map(drop)
    }
}

impl Postgres {
    pub(super) async fn open(options: PgConnectOptions, max_connections: u32) -> Result<Self, StoreError> {
        // A connection of its own: migrating may take longer than a statement may, and its lock goes with it.
        let mut migrator = connect(&options).await?;
        migrate::run(&mut migrator, &migrate::POSTGRES).await?;
        migrator.close().await?;
        let options = options.options([
            ("statement_timeout", STATEMENT_TIMEOUT),
            ("synchronous_commit", "on"),
            ("jit", "off"),
            ("backend_flush_after", FLUSH_AFTER),
        ]);
        let pool = PgPoolOptions::new()
            // The writer is one of them.
            .max_connections(max_connections.saturating_sub(1).max(1))
            .acquire_timeout(ACQUIRE)
            .test_before_acquire(false)
            .connect_with(options.clone())
            .await?;
        Ok(Self {
            pool,
            options,
            writer: Mutex::default(),
            tenure: OnceLock::new(),
            statements: OnceLock::new(),
        })
    }

    /// Makes this daemon the one that runs a POP, once.
    pub(super) async fn take_pop(&self, pop: &str) -> Result<(), StoreError> {
        let tenure = Tenure::take(&self.options, pop).await?;
        self.tenure.set(tenure).map_err(|_| StoreError::PopTaken {
            pop: pop.to_owned(),
            by: "this process".to_owned(),
        })
    }

    /// What commits say; a POP is taken before the first.
    pub(super) fn statements(&self) -> &Statements {
        self.statements.get_or_init(|| Statements::under(self.fence()))
    }

    /// How a connection is made.
    pub(super) fn options(&self) -> PgConnectOptions {
        self.options.clone()
    }

    /// What this daemon took the POP with, if it took one.
    pub(super) fn fence(&self) -> Option<i64> {
        self.tenure.get().map(|tenure| tenure.fence)
    }

    /// Who took the POP from this daemon, if somebody did.
    pub(super) fn overtaken_by(&self) -> Option<&str> {
        self.tenure.get()?.overtaken_by()
    }

    /// A connection for a reader.
    pub(super) async fn lease(&self) -> Result<Lease, sqlx::Error> {
        self.pool
            .acquire()
            .await
            .map(|connection| Lease(Some(connection)))
    }

    /// A connection of its own, on which a statement takes as long as it takes.
    pub(super) async fn patient(&self) -> Result<PgConnection, StoreError> {
        connect(&self.options.clone().options([("statement_timeout", "0")])).await
    }

    /// The writing connection. Whoever is sure that nothing is under way on it puts it back; dropped instead, it is
    /// closed, and the next writer opens a new one.
    pub(super) async fn take_writer(&self) -> Result<Writer<'_>, sqlx::Error> {
        let mut slot = self.writer.lock().await;
        let (connection, backend) = match slot.idle.take() {
            Some(idle) => idle,
            None => {
                let mut connection = self.options.connect().await?;
                let backend = Backend::of(&mut connection).await?;
                (connection, backend)
            }
        };
        Ok(Writer {
            slot,
            connection,
            backend,
        })
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
        if let Some((connection, _)) = self.writer.lock().await.idle.take()
            && let Err(error) = connection.close().await
        {
            tracing::debug!(%error, "closing the writing connection");
        }
    }
}

/// A connection for a start.
pub(super) async fn connect(options: &PgConnectOptions) -> Result<PgConnection, StoreError> {
    let greeted = tokio::time::timeout(GREETING, options.connect()).await;
    Ok(greeted.map_err(|_| StoreError::TimedOut)??)
}

/// The writing connection while somebody uses it.
pub(super) struct Writer<'a> {
    slot: MutexGuard<'a, Slot>,
    pub(super) connection: PgConnection,
    backend: Backend,
}

impl Writer<'_> {
    /// From here on a commit may be on its way: unless the writer is put back, its outcome is in doubt.
    pub(super) fn begins_to_write(&mut self) {
        self.slot.in_doubt.push(self.backend);
    }

    /// Nothing is under way on the connection.
    pub(super) fn put_back(mut self) {
        let backend = self.backend;
        self.slot.in_doubt.retain(|doubt| *doubt != backend);
        self.slot.idle = Some((self.connection, backend));
    }

    /// Has the server end what was given up, so that no late commit can change what is read after this.
    pub(super) async fn end_what_is_in_doubt(&mut self) -> Result<(), StoreError> {
        while let Some(backend) = self.slot.in_doubt.last().copied() {
            backend.terminate(&mut self.connection).await?;
            let Backend(pid, started) = backend;
            let is_there: bool = sqlx::query_scalar(IS_THERE)
                .bind(pid)
                .bind(started)
                .fetch_one(&mut self.connection)
                .await?;
            if is_there {
                tokio::time::sleep(LOOK_AGAIN).await;
            } else {
                self.slot.in_doubt.pop();
            }
        }
        Ok(())
    }
}

/// A connection of the pool while somebody uses it. Given up on the way (a query that did not end in time, or
/// failed) it is closed: the pool would wait for the answer before it gives the place to somebody else.
pub(super) struct Lease(Option<PoolConnection<sqlx::Postgres>>);

impl Lease {
    pub(super) fn connection(&mut self) -> Result<&mut PgConnection, sqlx::Error> {
        self.0.as_deref_mut().ok_or(sqlx::Error::PoolClosed)
    }

    /// Nothing is under way on it. The pool asks the server for a sign of life first, and would wait for it without
    /// end, so it gets as long as somebody who waits for the place.
    pub(super) fn give_back(mut self) {
        if let Some(mut connection) = self.0.take() {
            tokio::spawn(tokio::time::timeout(ACQUIRE, connection.return_to_pool()));
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            drop(connection.detach());
        }
    }
}
