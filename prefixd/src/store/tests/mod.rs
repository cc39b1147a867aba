//! One story on both engines.

/// These tests with each engine.
macro_rules! both {
    ($($name:ident)*) => {
        mod on_sqlite { $(#[tokio::test] async fn $name() { super::$name(super::sqlite().await).await; })* }
        mod on_postgres {
            $(#[tokio::test] async fn $name() {
                if let Some(place) = super::postgres().await { super::$name(place).await; }
            })*
        }
    };
}

mod answers;
mod counts;
mod elsewhere;
mod filters;
pub(crate) mod fixture;
mod load;
mod postgres;
mod questions;
mod safelist;
mod sqlite;
mod story;
mod suppressions;

use super::*;
use crate::journal::{Head, Kind, Writer};
use crate::policy::{Effect, MitigationEvent, PeerChange, PeerWhat, Trace};
use fixture::{POP, batch};
use std::sync::Arc;

/// A moment of the story, in seconds after its start.
pub(crate) fn at(seconds: u64) -> prefixd_api::time::Timestamp {
    fixture::START.saturating_add(Duration::from_secs(seconds))
}

/// A store, and what keeps its database alive.
pub(crate) struct Place {
    pub(crate) store: Store,
    pub(crate) connection: String,
    pub(crate) directory: Option<tempfile::TempDir>,
}

pub(crate) async fn sqlite() -> Place {
    let directory = tempfile::tempdir().unwrap();
    let connection = format!("sqlite:{}", directory.path().join("prefixd.db").display());
    Place {
        store: Store::open(&connection, 4).await.unwrap(),
        connection,
        directory: Some(directory),
    }
}

/// Absent only where the run allows that PostgreSQL is missing; otherwise missing is a failure.
pub(crate) async fn postgres() -> Option<Place> {
    if !lab::postgres::available().unwrap() {
        return None;
    }
    let connection = lab::postgres::Postgres::shared()
        .await
        .unwrap()
        .database()
        .await
        .unwrap();
    Some(on(connection).await)
}

/// This database of a server.
pub(crate) async fn on(connection: String) -> Place {
    Place {
        store: Store::open(&connection, 4).await.unwrap(),
        connection,
        directory: None,
    }
}

/// How many connections there may be for readers at most.
pub(crate) fn most_readers(store: &Store) -> u32 {
    match &store.db {
        db::Db::Sqlite(file) => file.readers.options().get_max_connections(),
        db::Db::Postgres(server) => server.pool.options().get_max_connections(),
    }
}

impl Place {
    pub(crate) async fn commit(&self, decisions: &[Vec<Effect>]) -> Result<Head, CommitError> {
        self.commit_at(fixture::START, decisions).await
    }

    pub(crate) async fn commit_at(
        &self,
        now: prefixd_api::time::Timestamp,
        decisions: &[Vec<Effect>],
    ) -> Result<Head, CommitError> {
        let head = self.store.journal_head(POP).await.unwrap();
        let batch = batch(head, now, decisions);
        self.store.commit(Arc::clone(&batch)).await?;
        let last = batch.entries.last().unwrap();
        Ok(Head {
            seq: last.seq,
            hash: last.hash,
        })
    }
}
