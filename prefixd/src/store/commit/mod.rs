//! A batch as one transaction, with a number of statements that does not depend on its size.

mod log_file;
mod postgres;
mod rows;
mod sqlite;
mod written;

pub(super) use postgres::{LOCK_POP, Statements};
pub(super) use rows::{BREAKER, SOURCE, SUPPRESSION};
pub(super) use sqlite::{Committer, Setup};
pub use written::Written;

use super::Store;
use super::answers::Kept;
use super::db::Db;
use crate::journal::Entry;
use crate::policy::Effect;
use rows::Rows;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long a commit may take. After that its outcome is unknown until [`Store::journal_head`] tells.
pub const COMMIT_DEADLINE: Duration = Duration::from_secs(2);

/// What the engine decided in one go.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The POP whose journal goes on.
    pub pop: Arc<str>,
    /// The effects of all decisions, in order. Of several on one row the last counts.
    pub effects: Vec<Effect>,
    /// The effects as JSON, in the same order.
    pub written: Vec<Written>,
    /// Answers that are kept with what their requests changed.
    pub kept: Vec<Kept>,
    /// Their journal entries, which begin right after the POP's journal head.
    pub entries: Vec<Entry>,
}

/// Why a batch was not committed, or may not have been.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Certainly not applied; it may be tried again.
    #[error("the database did not take the batch: {0}")]
    Failed(String),
    /// Certainly not applied: a row of the batch breaks a constraint. Alone, only its culprit fails.
    #[error("the database refused a row of the batch: {0}")]
    Constraint(String),
    /// Certainly not applied: the POP's journal went on without this daemon, so another one runs the POP.
    #[error("another prefixd writes the journal of this POP: {0}")]
    Overtaken(String),
    /// Applied or not: [`Store::journal_head`] tells.
    #[error("the database did not say whether it took the batch: {0}")]
    Unknown(String),
}

impl Store {
    /// Makes a batch durable: all of it or nothing. Synced to disk when it returns.
    ///
    /// # Errors
    /// See [`CommitError`]. After [`CommitError::Unknown`] nothing may be decided before
    /// [`Store::journal_head`] has told the outcome.
    pub async fn commit(&self, batch: Arc<Batch>) -> Result<(), CommitError> {
        let deadline = Instant::now() + self.deadline;
        match &self.db {
            Db::Sqlite(sqlite) => sqlite.commit(batch, deadline).await,
            Db::Postgres(server) => postgres::commit(server, &batch, &Rows::of(&batch), deadline).await,
        }
    }
}

fn journal_number(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}
