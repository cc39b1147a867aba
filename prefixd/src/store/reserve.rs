//! The quota over all POPs (docs/adr/0014): each POP reserves a part of it before it needs it, and a commit costs
//! nothing. What all have reserved is never more than the quota, or than what is live.

use super::db::{Db, on_db};
use super::{Store, StoreError};
use crate::policy::Reserved;
use sqlx::Connection;
use std::sync::atomic::{AtomicU64, Ordering};

/// Readers see what was reserved before; two that reserve follow one another. A POP that loses its network in between must
/// not keep the others waiting: the server ends its transaction, long before it notices that nobody is there.
const LOCK: &str = "SET LOCAL lock_timeout = '500ms'; SET LOCAL idle_in_transaction_session_timeout = '2s'; \
     LOCK TABLE reservations IN SHARE ROW EXCLUSIVE MODE";
const ELSEWHERE: &str = "SELECT COALESCE(SUM(amount), 0)::bigint FROM reservations WHERE pop <> $1";
const OTHERS: &str = "SELECT (SELECT COALESCE(SUM(amount), 0)::bigint FROM reservations WHERE pop <> $1), \
     EXISTS (SELECT FROM pops WHERE pop <> $1)";
/// Not by a daemon that has lost the POP: the one that followed has reserved what it needs.
const TAKE: &str = "INSERT INTO reservations (pop, amount) \
     SELECT $1, $2 WHERE $3::bigint IS NULL OR EXISTS (SELECT FROM pops WHERE pop = $1 AND fence = $3 FOR SHARE) \
     ON CONFLICT (pop) DO UPDATE SET amount = excluded.amount";

impl Store {
    /// Reserves for a POP that has `live` and needs `needed` of at most `max` in all POPs, and gives back what is
    /// beyond that. None where no other POP can be: on SQLite.
    ///
    /// # Errors
    /// When the store fails; then what was reserved before stands, or this was done.
    pub async fn reserve(
        &self,
        pop: &str,
        live: u64,
        needed: u64,
        max: u64,
    ) -> Result<Option<Reserved>, StoreError> {
        let Db::Postgres(server) = &self.db else {
            return Ok(None);
        };
        let reserving = async {
            let mut lease = server.lease().await?;
            let mut transaction = lease.connection()?.begin().await?;
            sqlx::raw_sql(LOCK).execute(&mut *transaction).await?;
            let elsewhere: i64 = sqlx::query_scalar(ELSEWHERE)
                .bind(pop)
                .fetch_one(&mut *transaction)
                .await?;
            let elsewhere = u64::try_from(elsewhere).unwrap_or_default();
            let reserved = Reserved::of(live, needed, elsewhere, max);
            sqlx::query(TAKE)
                .bind(pop)
                .bind(i64::try_from(reserved.own).unwrap_or(i64::MAX))
                .bind(server.fence())
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await?;
            lease.give_back();
            Ok(reserved)
        };
        let reserved = self.in_time(reserving).await?;
        self.elsewhere.store(reserved.elsewhere, Ordering::Relaxed);
        Ok(Some(reserved))
    }

    /// What the other POPs have reserved, as it was last seen.
    #[must_use]
    pub fn reserved_elsewhere(&self) -> u64 {
        self.elsewhere.load(Ordering::Relaxed)
    }

    /// How many mitigations of other POPs are live.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn live_elsewhere(&self, pop: &str) -> Result<u64, StoreError> {
        if !self.is_shared() {
            return Ok(0);
        }
        let live: i64 = on_db!(self, |db| {
            sqlx::query_scalar("SELECT COUNT(*) FROM mitigations WHERE live = 1 AND pop <> $1")
                .bind(pop)
                .fetch_one(db)
                .await?
        });
        Ok(u64::try_from(live).unwrap_or_default())
    }

    /// Looks at what the other POPs have reserved, and answers whether there are any.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn look_elsewhere(&self, pop: &str) -> Result<bool, StoreError> {
        let Db::Postgres(server) = &self.db else {
            return Ok(false);
        };
        let (elsewhere, are_others) = self
            .in_time(async {
                let mut lease = server.lease().await?;
                let row: (i64, bool) = sqlx::query_as(OTHERS)
                    .bind(pop)
                    .fetch_one(lease.connection()?)
                    .await?;
                lease.give_back();
                Ok(row)
            })
            .await?;
        self.elsewhere
            .store(u64::try_from(elsewhere).unwrap_or_default(), Ordering::Relaxed);
        Ok(are_others)
    }
}

/// See [`Store::reserved_elsewhere`].
pub(super) type Elsewhere = AtomicU64;
