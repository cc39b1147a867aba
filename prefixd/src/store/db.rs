//! The two engines behind one enum. A query is written once and compiled for each by [`on_db!`].

use super::checkpoint::Checkpointer;
use super::commit::{Committer, Setup};
use super::postgres::Postgres;
use super::{StoreError, migrate};
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions};
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// How long SQLite waits for somebody else's write lock before a commit fails for certain. Shorter than the
/// commit's deadline, so that a held lock is a clear failure and not an unknown outcome.
const SQLITE_BUSY: Duration = Duration::from_secs(1);
/// How long a reader waits for a free connection.
pub(super) const ACQUIRE: Duration = Duration::from_secs(2);

/// Either engine.
#[derive(Debug)]
pub(super) enum Db {
    Sqlite(Box<Sqlite>),
    Postgres(Box<Postgres>),
}

/// A SQLite file: a thread that commits, one connection for everything else that writes, a pool that reads.
#[derive(Debug)]
pub(super) struct Sqlite {
    pub(super) readers: SqlitePool,
    committer: Arc<Committer>,
    /// Absent after a failure that left the connection in doubt; the next writer opens a new one. Who commits holds
    /// it as well: waiting here costs less than waiting for the file's lock.
    writer: Mutex<Option<SqliteConnection>>,
    options: SqliteConnectOptions,
    checkpointer: Checkpointer,
    /// Held for as long as this process owns the file.
    _lock: File,
}

/// Runs a query on either engine, within the store's deadline: `on_db!(store, |db| ...)`, or
/// `on_db!(store, |db: Engine| ...)` where the body has to name the engine's type. With `patiently` there is no
/// deadline, here or at the server: at start a query may be as long as the state is large.
macro_rules! on_db {
    ($store:expr, |$db:ident $(: $engine:ident)?| $body:expr) => {
        $store
            .in_time(async {
                $crate::store::db::on_db!($store, |$db $(: $engine)?| $body, |postgres| {
                    let mut lease = postgres.lease().await?;
                    let $db = lease.connection()?;
                    let value = $body;
                    lease.give_back();
                    Ok(value)
                })
            })
            .await?
    };
    (patiently $store:expr, |$db:ident| $body:expr) => {
        $crate::store::db::on_db!($store, |$db| $body, |postgres| {
            let mut connection = postgres.patient().await?;
            let $db = &mut connection;
            let value = $body;
            sqlx::Connection::close(connection).await?;
            Ok(value)
        })
    };
    ($store:expr, |$db:ident $(: $engine:ident)?| $body:expr, |$postgres:ident| $on_postgres:block) => {
        match &$store.db {
            $crate::store::db::Db::Sqlite(sqlite) => {
                $(type $engine = sqlx::Sqlite;)?
                let $db = &sqlite.readers;
                Ok::<_, $crate::store::StoreError>($body)
            }
            $crate::store::db::Db::Postgres($postgres) => {
                $(type $engine = sqlx::Postgres;)?
                $on_postgres
            }
        }
    };
}
pub(super) use on_db;

impl Db {
    pub(super) async fn open(connection_string: &str, max_connections: u32) -> Result<Self, StoreError> {
        if let Some(path) = sqlite_path(connection_string) {
            return Ok(Self::Sqlite(Box::new(Sqlite::open(path, max_connections).await?)));
        }
        if connection_string.starts_with("postgres://") || connection_string.starts_with("postgresql://") {
            let options = PgConnectOptions::from_str(connection_string)?
                .application_name("prefixd")
                .disable_statement_logging();
            return Ok(Self::Postgres(Box::new(
                Postgres::open(options, max_connections).await?,
            )));
        }
        Err(StoreError::ConnectionString(without_password(connection_string)))
    }

    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite(sqlite) => {
                sqlite.committer.close().await;
                sqlite.readers.close().await;
                if let Some(writer) = sqlite.writer.lock().await.take()
                    && let Err(error) = writer.close().await
                {
                    tracing::warn!(%error, "the database file was not closed cleanly; its log is replayed at the next start");
                }
                sqlite.checkpointer.close().await;
            }
            Self::Postgres(postgres) => postgres.close().await,
        }
    }
}

/// How every connection is set up: synced when a commit returns.
const PRAGMAS: [(&str, &str); 6] = [
    ("journal_mode", "WAL"),
    ("synchronous", "FULL"),
    ("foreign_keys", "ON"),
    ("wal_autocheckpoint", WAL_PAGES),
    // 2 MB: what a connection does not hold, the system does, and once for all of them.
    ("cache_size", "-2048"),
    ("temp_store", "MEMORY"),
];

/// Pages that the connection that commits holds: 8 MB, for it comes back to the same ones.
const COMMITTING: &str = "PRAGMA cache_size = -8192;";

/// Pages of a new file, in bytes. A mitigation and its kin are a kilobyte or two: a smaller page has room to spare after
/// the second, and is written for it (docs/benchmarks.md). A file that was made with others keeps them.
const PAGE: u32 = 8_192;

/// The bound of the log, 128 MB (half of it in a file with pages of 4 kB): a commit that finds it longer moves what the
/// [`Checkpointer`] has left.
const WAL_PAGES: &str = "16000";

fn sqlite_path(connection_string: &str) -> Option<&Path> {
    let path = connection_string.strip_prefix("sqlite:")?;
    let path = path.strip_prefix("//").unwrap_or(path);
    (!path.is_empty() && !path.starts_with(':')).then(|| Path::new(path))
}

/// The string up to where a password could begin.
fn without_password(connection_string: &str) -> String {
    connection_string
        .split("//")
        .next()
        .unwrap_or_default()
        .to_owned()
}

impl Sqlite {
    async fn open(path: &Path, max_connections: u32) -> Result<Self, StoreError> {
        let file = |source| StoreError::File {
            path: path.display().to_string(),
            source,
        };
        // Made by hand, because SQLite would make it with the process's umask.
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(file)?;
        let path = path.canonicalize().map_err(file)?;
        let lock = lock(&path)?;
        let options = PRAGMAS
            .iter()
            .fold(SqliteConnectOptions::new(), |options, (name, value)| {
                options.pragma(*name, *value)
            })
            .filename(&path)
            .busy_timeout(SQLITE_BUSY)
            .disable_statement_logging();
        let mut writer = options.clone().page_size(PAGE).connect().await?;
        migrate::run(&mut writer, &migrate::SQLITE).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(max_connections.max(1))
            .acquire_timeout(ACQUIRE)
            .test_before_acquire(false)
            .connect_with(options.clone().read_only(true))
            .await?;
        let committer = Arc::new(
            Committer::start(Setup {
                path,
                pragmas: PRAGMAS
                    .iter()
                    .map(|(name, value)| format!("PRAGMA {name} = {value};"))
                    .chain([COMMITTING.to_owned()])
                    .collect(),
                busy_timeout: SQLITE_BUSY,
            })
            .map_err(StoreError::Thread)?,
        );
        Ok(Self {
            readers,
            checkpointer: Checkpointer::start(options.clone(), Arc::clone(&committer)).map_err(file)?,
            committer,
            writer: Mutex::new(Some(writer)),
            options,
            _lock: lock,
        })
    }

    /// The thread that commits.
    pub(super) fn committer(&self) -> &Committer {
        &self.committer
    }

    /// Nobody else writes for as long as this is held.
    pub(super) async fn turn(&self) -> impl Drop + '_ {
        self.writer.lock().await
    }

    /// There is something in the log.
    pub(super) fn written(&self) {
        self.checkpointer.written();
    }

    /// Ends what moves the log beside the commits, and moves it between two of them.
    #[cfg(test)]
    pub(super) async fn move_log_between_commits(&self) {
        self.checkpointer.close().await;
        self.committer.move_log().await;
    }

    /// The writing connection, taken out: whoever is sure of its state puts it back with [`Writer::put_back`].
    /// Dropped instead, it is closed and its transaction with it.
    pub(super) async fn take_writer(&self) -> Result<Writer<'_>, sqlx::Error> {
        let mut slot = self.writer.lock().await;
        let connection = match slot.take() {
            Some(connection) => connection,
            None => self.options.connect().await?,
        };
        Ok(Writer {
            slot,
            connection,
            checkpointer: &self.checkpointer,
        })
    }
}

/// The writing connection while somebody uses it.
pub(super) struct Writer<'a> {
    slot: tokio::sync::MutexGuard<'a, Option<SqliteConnection>>,
    pub(super) connection: SqliteConnection,
    checkpointer: &'a Checkpointer,
}

impl Writer<'_> {
    /// The connection is outside any transaction and may be used again.
    pub(super) fn put_back(mut self) {
        *self.slot = Some(self.connection);
        self.checkpointer.written();
    }
}

/// Takes the lock beside a SQLite file. Not on the file itself: closing a second descriptor of it would drop
/// the locks that SQLite holds (POSIX record locks belong to the process).
fn lock(path: &Path) -> Result<File, StoreError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    let failed = |source| StoreError::File {
        path: name.display().to_string(),
        source,
    };
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&name)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse {
            path: path.display().to_string(),
        }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}
