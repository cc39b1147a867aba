//! Answers that are kept for requests with an Idempotency-Key: they are written with what the request changed, so that there
//! is the one exactly when there is the other.

use super::db::{Db, on_db};
use super::{Store, StoreError};
use prefixd_api::time::Timestamp;
use sqlx::{QueryBuilder, Row};
use std::sync::Arc;
use std::time::Duration;

/// How long an answer is kept.
pub const KEPT_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// How many answers of one principal outlive a pruning; the newest ones.
pub const KEPT_EACH: u32 = 10_000;
/// Longest body that is kept, in bytes: with [`KEPT_EACH`] it bounds what a principal can fill.
pub const LONGEST_KEPT: usize = 64 * 1024;

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

/// Of each principal the last of the newest so many, and the oldest. Principals are found one after the other in the index:
/// grouping would read every row.
const FORGETTABLE: &str = "WITH RECURSIVE who (principal) AS (\
     SELECT MIN(principal) FROM kept_answers WHERE pop = $1 UNION ALL SELECT (SELECT MIN(k.principal) FROM kept_answers k \
     WHERE k.pop = $1 AND k.principal > who.principal) FROM who WHERE who.principal IS NOT NULL) SELECT who.principal, \
     (SELECT k.at FROM kept_answers k WHERE k.pop = $1 AND k.principal = who.principal ORDER BY k.at DESC LIMIT 1 OFFSET $2), \
     (SELECT MIN(k.at) FROM kept_answers k WHERE k.pop = $1 AND k.principal = who.principal) \
     FROM who WHERE who.principal IS NOT NULL";
const FORGET: &str = "DELETE FROM kept_answers WHERE pop = $1 AND principal = $2 AND at < $3 AND name IN (\
     SELECT name FROM kept_answers WHERE pop = $1 AND principal = $2 AND at < $3 ORDER BY at LIMIT $4)";

/// What is to be forgotten: of each principal in it, what was kept before a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forgettable(Vec<(String, Timestamp)>);

impl Forgettable {
    /// Whether nothing of it is left.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.0.is_empty()
    }
}

/// Without a bound on `at`: with one, SQLite would take the index that leads to everything of a principal.
pub(super) const FIND: &str =
    "SELECT principal, name, at, request, status, body FROM kept_answers WHERE pop = ";
pub(super) const AMONG: &str = " AND (principal, name) IN (";

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
            let mut query = QueryBuilder::<Engine>::new(FIND);
            query.push_bind(pop.to_owned());
            query.push(AMONG);
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
        Ok(kept.into_iter().filter(|kept| kept.at >= since).collect())
    }

    /// What a POP may forget: what it kept before a moment, and of every principal all but the newest `each`.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn forgettable(
        &self,
        pop: &str,
        before: Timestamp,
        each: u32,
    ) -> Result<Forgettable, StoreError> {
        // The oldest that stays is the last of so many.
        let last = i64::from(each.saturating_sub(1));
        let found: Vec<(String, Option<i64>, i64)> = on_db!(self, |db: Engine| {
            sqlx::query_as::<Engine, _>(FORGETTABLE)
                .bind(pop)
                .bind(last)
                .fetch_all(db)
                .await?
        });
        let beyond = found.into_iter().filter_map(|(principal, last, oldest)| {
            let until = last
                .map(Timestamp::from_micros)
                .map_or(before, |last| last.max(before));
            (Timestamp::from_micros(oldest) < until).then_some((principal, until))
        });
        Ok(Forgettable(beyond.collect()))
    }

    /// Forgets at most `limit` answers, and says how many. Call it until [`Forgettable::is_done`].
    ///
    /// # Errors
    /// When the store fails; then nothing was removed.
    pub async fn forget_kept(
        &self,
        pop: &str,
        what: &mut Forgettable,
        limit: u32,
    ) -> Result<u64, StoreError> {
        let Some((principal, until)) = what.0.last() else {
            return Ok(0);
        };
        let forgotten = self
            .in_time(self.forget(pop, principal, until.as_micros(), limit.into()))
            .await?;
        if forgotten < u64::from(limit) {
            what.0.pop();
        }
        Ok(forgotten)
    }

    /// One statement, and so one transaction.
    async fn forget(&self, pop: &str, principal: &str, until: i64, limit: i64) -> Result<u64, StoreError> {
        macro_rules! run {
            ($connection:expr) => {
                sqlx::query(FORGET)
                    .bind(pop)
                    .bind(principal)
                    .bind(until)
                    .bind(limit)
                    .execute($connection)
                    .await?
                    .rows_affected()
            };
        }
        match &self.db {
            Db::Sqlite(sqlite) => {
                let mut writer = sqlite.take_writer().await?;
                let forgotten = run!(&mut writer.connection);
                writer.put_back();
                Ok(forgotten)
            }
            Db::Postgres(postgres) => {
                let mut lease = postgres.lease().await?;
                let forgotten = run!(lease.connection()?);
                lease.give_back();
                Ok(forgotten)
            }
        }
    }
}
