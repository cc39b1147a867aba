//! The journal as it is stored: its end, its entries, and whether the chain holds.

use super::db::{Db, on_db};
use super::{Store, StoreError};
use crate::journal::{Entry, Hash, Head, Kind};
use prefixd_api::time::Timestamp;
use sqlx::{Connection, Executor};
use std::sync::Arc;

/// Entries that verification reads at once.
const CHUNK: i64 = 1_000;

/// The newest entry, or where pruning stopped when none is left.
const HEAD: &str = "SELECT seq, hash FROM (\
     SELECT seq, hash FROM (SELECT seq, hash FROM journal WHERE pop = $1 ORDER BY seq DESC LIMIT 1) newest \
     UNION ALL SELECT seq, hash FROM journal_checkpoints WHERE pop = $1) ends ORDER BY seq DESC LIMIT 1";

/// What walking the chain found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verification {
    /// Every entry is sealed to the one before.
    Intact {
        /// What the walk began at: an entry, a checkpoint, or the beginning.
        from: Head,
        /// Where it ended.
        to: Head,
        /// The chain may go on from there: the walk went as far as it was allowed to.
        goes_on: bool,
    },
    /// The chain does not hold at this number.
    Broken {
        /// Number of the first entry that is missing or was changed.
        seq: u64,
        /// What is wrong with it.
        what: &'static str,
    },
}

pub(super) type Row = (i64, i64, String, String, String, String, Vec<u8>, Vec<u8>);

impl Store {
    /// The end of a POP's journal. It waits for a commit in progress and ends one that was given up, so that after an
    /// unknown outcome the answer is final: equal to the batch's last entry means committed, anything else means not.
    ///
    /// # Errors
    /// When the store fails, or a commit in progress does not end in time.
    pub async fn journal_head(&self, pop: &str) -> Result<Head, StoreError> {
        let row = self.in_time(self.read_head(pop)).await?;
        row.map_or(Ok(Head::default()), |(seq, hash)| {
            Ok(Head {
                seq: number(seq)?,
                hash: digest(&hash)?,
            })
        })
    }

    async fn read_head(&self, pop: &str) -> Result<Option<(i64, Vec<u8>)>, StoreError> {
        match &self.db {
            Db::Sqlite(sqlite) => {
                // Dropped on the way, the connection closes and its transaction ends.
                let mut writer = sqlite.take_writer().await?;
                writer.connection.execute("BEGIN IMMEDIATE").await?;
                let row = sqlx::query_as(HEAD)
                    .bind(pop)
                    .fetch_optional(&mut writer.connection)
                    .await?;
                writer.connection.execute("ROLLBACK").await?;
                writer.put_back();
                Ok(row)
            }
            Db::Postgres(postgres) => {
                let mut writer = postgres.take_writer().await?;
                writer.end_what_is_in_doubt().await?;
                let mut transaction = writer.connection.begin().await?;
                sqlx::query(super::commit::LOCK_POP)
                    .bind(pop)
                    .execute(&mut *transaction)
                    .await?;
                let row = sqlx::query_as(HEAD)
                    .bind(pop)
                    .fetch_optional(&mut *transaction)
                    .await?;
                transaction.rollback().await?;
                writer.put_back();
                Ok(row)
            }
        }
    }

    /// Entries of a POP after a number, oldest first.
    ///
    /// # Errors
    /// When the store fails or an entry's kind is unknown.
    pub async fn journal_after(&self, pop: &str, seq: u64, limit: u16) -> Result<Vec<Entry>, StoreError> {
        self.entries(pop, seq, i64::from(limit)).await
    }

    async fn entries(&self, pop: &str, after: u64, limit: i64) -> Result<Vec<Entry>, StoreError> {
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let rows: Vec<Row> = on_db!(self, |db| {
            sqlx::query_as(
                "SELECT seq, at, actor, kind, subject, body, previous_hash, hash FROM journal \
                 WHERE pop = $1 AND seq > $2 ORDER BY seq LIMIT $3",
            )
            .bind(pop)
            .bind(after)
            .bind(limit)
            .fetch_all(db)
            .await?
        });
        let pop: Arc<str> = pop.into();
        rows.into_iter().map(|row| entry(&pop, row)).collect()
    }

    /// Walks the chain of a POP from the entry after `from` (or from where pruning stopped) to its end, or over as many
    /// chunks of a thousand entries as make `most`.
    ///
    /// # Errors
    /// When the store fails, or an entry cannot be read at all.
    pub async fn verify_chain(
        &self,
        pop: &str,
        from: Option<u64>,
        most: u64,
    ) -> Result<Verification, StoreError> {
        let checkpoint: Option<(i64, Vec<u8>)> = on_db!(self, |db| {
            sqlx::query_as("SELECT seq, hash FROM journal_checkpoints WHERE pop = $1")
                .bind(pop)
                .fetch_optional(db)
                .await?
        });
        let mut start = match checkpoint {
            Some((seq, hash)) => Head {
                seq: number(seq)?,
                hash: digest(&hash)?,
            },
            None => Head::default(),
        };
        if let Some(from) = from.filter(|from| *from > start.seq) {
            match self.entries(pop, from - 1, 1).await?.first() {
                Some(entry) if entry.seq == from => {
                    start = Head {
                        seq: entry.seq,
                        hash: entry.hash,
                    };
                }
                _ => {
                    return Ok(Verification::Broken {
                        seq: from,
                        what: "is missing",
                    });
                }
            }
        }
        let mut end = start;
        loop {
            let entries = self.entries(pop, end.seq, CHUNK).await?;
            if entries.is_empty() || end.seq - start.seq >= most {
                return Ok(Verification::Intact {
                    from: start,
                    to: end,
                    goes_on: !entries.is_empty(),
                });
            }
            for entry in entries {
                let what = if entry.seq != end.seq + 1 {
                    Some("is missing")
                } else if entry.previous_hash != end.hash {
                    Some("is not sealed to the entry before it")
                } else if entry.seal() != entry.hash {
                    Some("was changed after it was written")
                } else {
                    None
                };
                if let Some(what) = what {
                    return Ok(Verification::Broken {
                        seq: end.seq + 1,
                        what,
                    });
                }
                end = Head {
                    seq: entry.seq,
                    hash: entry.hash,
                };
            }
        }
    }
}

pub(super) fn entry(pop: &Arc<str>, row: Row) -> Result<Entry, StoreError> {
    let (seq, at, actor, kind, subject, body, previous_hash, hash) = row;
    Ok(Entry {
        seq: number(seq)?,
        at: Timestamp::from_micros(at),
        pop: Arc::clone(pop),
        actor,
        kind: Kind::parse(&kind)
            .ok_or_else(|| damaged(format!("journal entry {seq} is of unknown kind {kind:?}")))?,
        subject,
        body,
        previous_hash: digest(&previous_hash)?,
        hash: digest(&hash)?,
    })
}

fn number(seq: i64) -> Result<u64, StoreError> {
    u64::try_from(seq).map_err(|_| damaged(format!("{seq} is no journal number")))
}

fn digest(bytes: &[u8]) -> Result<Hash, StoreError> {
    bytes
        .try_into()
        .map_err(|_| damaged(format!("a hash in the journal has {} bytes", bytes.len())))
}

fn damaged(what: String) -> StoreError {
    StoreError::Database(sqlx::Error::Decode(what.into()))
}
