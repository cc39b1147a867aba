//! The store: SQLite in a file, or PostgreSQL, from one SQL text (docs/adr/0003).
//!
//! | module | what it does |
//! |---|---|
//! | `db`, `postgres` | the two engines: pools, the writing connection, the lock of a SQLite file |
//! | [`migrate`] | the schema and its versions |
//! | [`commit`] | a batch of effects as one transaction with a constant number of statements |
//! | [`load`] | what a start needs |
//! | [`list`], [`read`], [`groups`], `history` | pages, single objects, replays |
//! | [`chain`], [`audit`] | the journal: reading, its end, verification; looking for something in it |
//! | [`counts`] | how many there were, by five minutes |
//! | [`answers`] | answers to requests with a key |
//! | [`prune`] | retention |
//! | `away` | which errors a server that is away makes |
//! | `listen` | what daemons of several POPs tell each other, on PostgreSQL |
//! | `offers` | what daemons of several POPs are told of attacks, on PostgreSQL |
//! | `remote` | what one POP asks of another |
//! | `reserve` | the quota over all POPs, on PostgreSQL |
//! | `tenure` | which daemon runs a POP, on PostgreSQL |
//! | `schema` | what the database is, for people |
//!
//! Only the engine commits. Everybody may read.

pub mod answers;
pub mod audit;
mod away;
pub mod chain;
mod checkpoint;
pub mod commit;
pub mod counts;
mod db;
mod elsewhere;
pub mod groups;
mod history;
pub mod list;
mod listen;
pub mod load;
mod migrate;
mod offers;
mod postgres;
mod prefix;
pub mod prune;
pub mod read;
mod remote;
mod reserve;
mod schema;
mod tenure;

pub use answers::{Claim, ClaimName, Kept, KeptAnswer, Recalled};
pub use audit::AuditFilter;
pub use chain::Verification;
pub use commit::{Batch, COMMIT_DEADLINE, CommitError, Written};
pub use counts::SourceCounts;
pub use elsewhere::{LiveCount, OtherPop};
pub use groups::GroupFilter;
pub use history::Line;
pub use list::{Cursor, CursorError, EventFilter, MitigationFilter, Page, PageRequest};
pub use listen::{Listener, Word};
pub use load::{Loaded, Unreadable};
pub use offers::OfferChanges;
pub use prune::Pruned;
pub use read::EventKey;

use db::{Db, on_db};
use std::time::Duration;

/// The store. Cheap to share behind an `Arc`.
#[derive(Debug)]
pub struct Store {
    db: Db,
    deadline: Duration,
    /// What other POPs have reserved, as of the last look.
    elsewhere: reserve::Elsewhere,
}

/// Why the store could not be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The connection string names no engine.
    #[error("{0:?} is no connection string: use sqlite:PATH or postgres://USER@HOST/DATABASE")]
    ConnectionString(String),
    /// The SQLite file cannot be made or opened.
    #[error("cannot use the database file {path}: {source}")]
    File {
        /// Which file.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// Another process holds the SQLite file.
    #[error("{path} is in use by another prefixd: one daemon owns one database file")]
    InUse {
        /// Which file.
        path: String,
    },
    /// Another daemon runs the POP.
    #[error(
        "POP {pop} is run by another prefixd ({by}): one daemon runs one POP; stop that one first, or give this one a \
         `pop` of its own"
    )]
    PopTaken {
        /// Which POP.
        pop: String,
        /// Who runs it.
        by: String,
    },
    /// The schema was written by a newer version.
    #[error(
        "the database has migration step {found}, which this prefixd does not have (its last one is {known}): run the newer \
         prefixd, or restore a backup taken before the upgrade"
    )]
    NewerSchema {
        /// The first step of the database that is not known.
        found: i64,
        /// The last one that is.
        known: i64,
    },
    /// The schema could not be brought up to date.
    #[error("cannot bring the database schema up to date: {0}")]
    Migration(#[source] sqlx::migrate::MigrateError),
    /// The thread that commits could not be started.
    #[error("cannot start the thread that writes the database: {0}")]
    Thread(#[source] std::io::Error),
    /// A row that a guardrail depends on cannot be read.
    #[error("{0}; it guards what may be announced, so prefixd does not start without it")]
    Unreadable(Unreadable),
    /// It did not answer within the deadline.
    #[error("the database did not answer in time")]
    TimedOut,
    /// The engine refused or could not be reached.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
}

impl Store {
    /// Opens the database, makes it when it is a SQLite file that does not exist, and brings the schema up to
    /// date. `max_connections` bounds the readers of SQLite and all connections of PostgreSQL.
    ///
    /// # Errors
    /// When the database cannot be opened, is held by another daemon, or is newer than this version.
    pub async fn open(connection_string: &str, max_connections: u32) -> Result<Self, StoreError> {
        let db = Db::open(connection_string, max_connections).await?;
        Ok(Self {
            db,
            deadline: COMMIT_DEADLINE,
            elsewhere: reserve::Elsewhere::default(),
        })
    }

    /// Makes this daemon the one that runs a POP: nobody else may decide or announce for it. A SQLite file belongs to
    /// the daemon that opened it anyway.
    ///
    /// # Errors
    /// [`StoreError::PopTaken`] when another daemon runs it and does not end within 5 s.
    pub async fn take_pop(&self, pop: &str) -> Result<(), StoreError> {
        match &self.db {
            Db::Sqlite(_) => Ok(()),
            Db::Postgres(server) => server.take_pop(pop).await,
        }
    }

    /// Who took the POP from this daemon, if somebody did: then it may neither decide nor announce.
    #[must_use]
    pub fn overtaken_by(&self) -> Option<&str> {
        match &self.db {
            Db::Sqlite(_) => None,
            Db::Postgres(server) => server.overtaken_by(),
        }
    }

    /// Whether daemons of other POPs can work on the same database.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self.db, Db::Postgres(_))
    }

    /// The engine's name: `sqlite` or `postgresql`.
    #[must_use]
    pub fn backend(&self) -> &'static str {
        match &self.db {
            Db::Sqlite(_) => "sqlite",
            Db::Postgres(_) => "postgresql",
        }
    }

    /// Asks the store for a sign of life.
    ///
    /// # Errors
    /// When it does not answer within the commit deadline.
    pub async fn ping(&self) -> Result<(), StoreError> {
        on_db!(self, |db| sqlx::query("SELECT 1").execute(db).await.map(drop)?);
        Ok(())
    }

    /// Everything asked of the database ends within the deadline: a server that does not answer must not hold
    /// whoever waits for it.
    async fn in_time<T>(
        &self,
        question: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        tokio::time::timeout(self.deadline, question)
            .await
            .unwrap_or(Err(StoreError::TimedOut))
    }

    /// Ends all connections; a SQLite file is checkpointed.
    pub async fn close(&self) {
        self.db.close().await;
    }
}

#[cfg(test)]
pub(crate) mod tests;
