//! Retention: old history goes in bounded chunks, and what is left of the journal can still be verified.

use super::db::{Db, on_db};
use super::{Store, StoreError};
use prefixd_api::resource::SafelistEntry;
use prefixd_api::time::Timestamp;
use sqlx::{Connection, Executor};

/// What a pass removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Ended mitigations.
    pub mitigations: u64,
    /// Events.
    pub events: u64,
    /// Closed groups.
    pub groups: u64,
    /// Expired suppressions.
    pub suppressions: u64,
    /// Journal entries.
    pub journal: u64,
}

impl Pruned {
    /// Whether there is nothing left to remove for now.
    #[must_use]
    pub fn is_done(&self) -> bool {
        *self == Self::default()
    }
}

const MITIGATIONS: &str = "DELETE FROM mitigations WHERE id IN (SELECT id FROM mitigations \
     WHERE created_at < $2 AND live = 0 AND ended_at < $2 AND pop = $1 ORDER BY created_at, id LIMIT $3)";
/// The event whose trace explains a mitigation stays for as long as the mitigation.
const EVENTS: &str = "DELETE FROM events WHERE id IN (SELECT id FROM events WHERE received_at < $2 AND pop = $1 \
     AND NOT EXISTS (SELECT 1 FROM mitigations m WHERE m.af = events.af AND m.victim = events.victim \
     AND m.why_event = events.id) ORDER BY received_at, id LIMIT $3)";
const GROUPS: &str = "DELETE FROM signal_groups WHERE id IN (SELECT id FROM signal_groups \
     WHERE pop = $1 AND closed_at < $2 AND last_event_at < $2 LIMIT $3)";
const SUPPRESSIONS: &str = "DELETE FROM suppressions WHERE pop = $1 AND expires_at < $2";
const COUNTS: &str = "DELETE FROM counts WHERE pop = $1 AND metric IN ('events', 'mitigations') AND at < $2";
const COMMANDS: &str = "DELETE FROM commands WHERE pop = $1 AND answered_at < $2";
/// Only a prefix of the chain, and never its last entry.
const OLDEST: &str = "SELECT seq, at, hash FROM journal WHERE pop = $1 \
     AND seq < (SELECT MAX(seq) FROM journal WHERE pop = $1) ORDER BY seq LIMIT $2";
const CHECKPOINT: &str = "INSERT INTO journal_checkpoints (pop, seq, hash) VALUES ($1, $2, $3) \
     ON CONFLICT (pop) DO UPDATE SET seq = excluded.seq, hash = excluded.hash";
const JOURNAL: &str = "DELETE FROM journal WHERE pop = $1 AND seq <= $2";

/// The same steps on a connection of either engine, inside a transaction.
macro_rules! steps {
    ($connection:expr, $pop:expr, $before:expr, $limit:expr) => {{
        let mut counts = [0; 4];
        for (count, sql) in counts.iter_mut().zip([MITIGATIONS, EVENTS, GROUPS]) {
            *count = sqlx::query(sql)
                .bind($pop)
                .bind($before)
                .bind($limit)
                .execute(&mut *$connection)
                .await?
                .rows_affected();
        }
        let suppressions = sqlx::query(SUPPRESSIONS)
            .bind($pop)
            .bind($before)
            .execute(&mut *$connection)
            .await?
            .rows_affected();
        for sql in [COUNTS, COMMANDS] {
            sqlx::query(sql)
                .bind($pop)
                .bind($before)
                .execute(&mut *$connection)
                .await?;
        }
        let oldest: Vec<(i64, i64, Vec<u8>)> = sqlx::query_as(OLDEST)
            .bind($pop)
            .bind($limit)
            .fetch_all(&mut *$connection)
            .await?;
        if let Some((seq, _, hash)) = oldest.iter().take_while(|(_, at, _)| *at < $before).last() {
            sqlx::query(CHECKPOINT)
                .bind($pop)
                .bind(seq)
                .bind(hash)
                .execute(&mut *$connection)
                .await?;
            counts[3] = sqlx::query(JOURNAL)
                .bind($pop)
                .bind(seq)
                .execute(&mut *$connection)
                .await?
                .rows_affected();
        }
        let [mitigations, events, groups, journal] = counts;
        Pruned {
            mitigations,
            events,
            groups,
            suppressions,
            journal,
        }
    }};
}

impl Store {
    /// Removes a POP's history from before a moment, at most `limit` rows of each kind in one transaction. Call it
    /// until [`Pruned::is_done`].
    ///
    /// # Errors
    /// When the store fails; then nothing was removed.
    pub async fn prune(&self, pop: &str, older_than: Timestamp, limit: u32) -> Result<Pruned, StoreError> {
        self.in_time(self.prune_step(pop, older_than.as_micros(), limit.into()))
            .await
    }

    /// Removes the entries of the safelist whose time was over at a moment; the journal tells of their end. One that somebody
    /// adds again meanwhile has another text, and stays.
    ///
    /// # Errors
    /// When the store fails; what was not removed does not count all the same.
    pub async fn forget_safelist(&self, now: Timestamp) -> Result<(), StoreError> {
        // What all POPs share does not go by the clock of one machine, which may be wrong: the server's has a word as well.
        let now = if self.is_shared() {
            let server: i64 = on_db!(self, |db| {
                sqlx::query_scalar("SELECT CAST(EXTRACT(EPOCH FROM now()) * 1000000 AS BIGINT)")
                    .fetch_one(db)
                    .await?
            });
            now.min(Timestamp::from_micros(server))
        } else {
            now
        };
        let bodies: Vec<String> = on_db!(self, |db| {
            sqlx::query_scalar("SELECT body FROM safelist")
                .fetch_all(db)
                .await?
        });
        let is_over =
            |body: &String| serde_json::from_str(body).is_ok_and(|entry: SafelistEntry| entry.is_over(now));
        let over: Vec<String> = bodies.into_iter().filter(is_over).collect();
        self.in_time(self.unprotect(&over)).await
    }

    async fn unprotect(&self, bodies: &[String]) -> Result<(), StoreError> {
        const UNPROTECT: &str = "DELETE FROM safelist WHERE body = $1";
        match &self.db {
            Db::Sqlite(sqlite) => {
                let mut writer = sqlite.take_writer().await?;
                for body in bodies {
                    let delete = sqlx::query(UNPROTECT).bind(body);
                    delete.execute(&mut writer.connection).await?;
                }
                writer.put_back();
            }
            Db::Postgres(postgres) => {
                let mut lease = postgres.lease().await?;
                for body in bodies {
                    let delete = sqlx::query(UNPROTECT).bind(body);
                    delete.execute(lease.connection()?).await?;
                }
                lease.give_back();
            }
        }
        Ok(())
    }

    async fn prune_step(&self, pop: &str, before: i64, limit: i64) -> Result<Pruned, StoreError> {
        match &self.db {
            Db::Sqlite(sqlite) => {
                // Dropped on the way by an error, the connection closes and the transaction rolls back.
                let mut writer = sqlite.take_writer().await?;
                writer.connection.execute("BEGIN IMMEDIATE").await?;
                let connection = &mut writer.connection;
                let pruned = steps!(connection, pop, before, limit);
                writer.connection.execute("COMMIT").await?;
                writer.put_back();
                Ok(pruned)
            }
            Db::Postgres(postgres) => {
                let mut lease = postgres.lease().await?;
                let mut transaction = lease.connection()?.begin().await?;
                let connection = &mut *transaction;
                let pruned = steps!(connection, pop, before, limit);
                transaction.commit().await?;
                lease.give_back();
                Ok(pruned)
            }
        }
    }
}
