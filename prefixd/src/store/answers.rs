//! Answers that are kept for requests with an Idempotency-Key: they are written with what the request changed, so that there
//! is the one exactly when there is the other.

use super::db::{Db, on_db};
use super::{Store, StoreError};
use prefixd_api::time::Timestamp;
use sqlx::{Executor, QueryBuilder, Row};
use std::sync::Arc;
use std::time::Duration;

/// How long an answer is kept.
pub const KEPT_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// How many answers of one principal outlive a pruning; the newest ones.
pub const KEPT_EACH: u32 = 10_000;
/// Longest body that is kept, in bytes.
pub const LONGEST_KEPT: usize = 1024 * 1024;

/// SHA-256 of all that makes a request what it is.
pub type Fingerprint = [u8; 32];

/// A request that must not be carried out twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Who asks, and how they call it.
    pub name: ClaimName,
    /// What they ask.
    pub request: Fingerprint,
}

/// Keys are the principal's own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClaimName {
    /// Who asks, authenticated.
    pub principal: Arc<str>,
    /// The key that they chose.
    pub key: Arc<str>,
}

/// What a request was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptAnswer {
    /// The status.
    pub status: u16,
    /// The body; absent when it was longer than [`LONGEST_KEPT`].
    pub body: Option<String>,
}

impl KeptAnswer {
    /// An answer, as far as it is kept.
    #[must_use]
    pub fn new(status: u16, body: String) -> Self {
        Self {
            status,
            body: (body.len() <= LONGEST_KEPT).then_some(body),
        }
    }
}

/// A request and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The request.
    pub claim: Claim,
    /// When it was decided.
    pub at: Timestamp,
    /// Its answer.
    pub answer: Arc<KeptAnswer>,
}

/// What is known of a request before it is carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recalled {
    /// It was carried out, and answered like this.
    Same(Arc<KeptAnswer>),
    /// The key was used for another request.
    Other,
}

impl Kept {
    /// What this says of a request with the same key.
    #[must_use]
    pub fn recall(&self, request: &Fingerprint) -> Recalled {
        if self.claim.request == *request {
            Recalled::Same(Arc::clone(&self.answer))
        } else {
            Recalled::Other
        }
    }
}

const PRUNE_OLD: &str = "DELETE FROM kept_answers WHERE pop = $1 AND at < $2";
const MANY: &str =
    "SELECT principal FROM kept_answers WHERE pop = $1 GROUP BY principal HAVING COUNT(*) > $2";
const PRUNE_MANY: &str = "DELETE FROM kept_answers WHERE pop = $1 AND principal = $2 AND at < (SELECT at FROM kept_answers \
     WHERE pop = $1 AND principal = $2 ORDER BY at DESC LIMIT 1 OFFSET $3)";

/// The same steps on a connection of either engine, inside a transaction.
macro_rules! steps {
    ($connection:expr, $pop:expr, $before:expr, $each:expr) => {{
        let old = sqlx::query(PRUNE_OLD).bind($pop).bind($before);
        let mut pruned = old.execute(&mut *$connection).await?.rows_affected();
        let many: Vec<String> = sqlx::query_scalar(MANY)
            .bind($pop)
            .bind($each)
            .fetch_all(&mut *$connection)
            .await?;
        for principal in many {
            let beyond = sqlx::query(PRUNE_MANY)
                .bind($pop)
                .bind(principal)
                // The oldest that stays is the last of so many.
                .bind($each - 1);
            pruned += beyond.execute(&mut *$connection).await?.rows_affected();
        }
        pruned
    }};
}

impl Store {
    /// The answers that a POP has kept since a moment under these names, in one query.
    ///
    /// # Errors
    /// When the store fails, or a row cannot be read.
    pub async fn find_kept(
        &self,
        pop: &str,
        since: Timestamp,
        names: &[ClaimName],
    ) -> Result<Vec<Kept>, StoreError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let kept = on_db!(self, |db: Engine| {
            let mut query = QueryBuilder::<Engine>::new(
                "SELECT principal, name, at, request, status, body FROM kept_answers WHERE pop = ",
            );
            query.push_bind(pop.to_owned());
            query.push(" AND at >= ").push_bind(since.as_micros());
            query.push(" AND (principal, name) IN (");
            query.push_values(names, |mut row, name| {
                row.push_bind(name.principal.to_string())
                    .push_bind(name.key.to_string());
            });
            query.push(")");
            let rows = query.build().fetch_all(db).await?;
            rows.iter()
                .map(|row| {
                    let request: Vec<u8> = row.try_get(3)?;
                    let status: i16 = row.try_get(4)?;
                    Ok(Kept {
                        claim: Claim {
                            name: ClaimName {
                                principal: row.try_get::<String, _>(0)?.into(),
                                key: row.try_get::<String, _>(1)?.into(),
                            },
                            // A hash of another length is that of no request.
                            request: request.try_into().unwrap_or_default(),
                        },
                        at: Timestamp::from_micros(row.try_get(2)?),
                        answer: Arc::new(KeptAnswer {
                            status: u16::try_from(status).unwrap_or_default(),
                            body: row.try_get(5)?,
                        }),
                    })
                })
                .collect::<Result<Vec<_>, sqlx::Error>>()?
        });
        Ok(kept)
    }

    /// Forgets what a POP kept before a moment, and of every principal all but the newest `each`.
    ///
    /// # Errors
    /// When the store fails; then nothing was removed.
    pub async fn forget_kept(&self, pop: &str, before: Timestamp, each: u32) -> Result<u64, StoreError> {
        self.in_time(self.forget(pop, before.as_micros(), each.into()))
            .await
    }

    async fn forget(&self, pop: &str, before: i64, each: i64) -> Result<u64, StoreError> {
        match &self.db {
            Db::Sqlite(sqlite) => {
                let mut writer = sqlite.take_writer().await?;
                writer.connection.execute("BEGIN IMMEDIATE").await?;
                let connection = &mut writer.connection;
                let pruned = steps!(connection, pop, before, each);
                writer.connection.execute("COMMIT").await?;
                writer.put_back();
                Ok(pruned)
            }
            Db::Postgres(postgres) => {
                let mut lease = postgres.lease().await?;
                let mut transaction = sqlx::Connection::begin(lease.connection()?).await?;
                let connection = &mut *transaction;
                let pruned = steps!(connection, pop, before, each);
                transaction.commit().await?;
                lease.give_back();
                Ok(pruned)
            }
        }
    }
}
