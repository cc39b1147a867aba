//! How many events and mitigations there were, by five minutes.
//!
//! What is old enough to be complete is counted once, by [`Store::count_up`], and kept in a table; a question adds what
//! is newer. Commits pay nothing for it.

use super::db::{Db, on_db};
use super::{Store, StoreError};
use prefixd_api::series::Metric;
use prefixd_api::time::Timestamp;
use sqlx::{Connection, Executor, QueryBuilder};
use std::collections::BTreeMap;
use std::time::Duration;

/// Width of what is counted together, in microseconds. Buckets of graphs are multiples of it.
const WIDTH: i64 = 300 * 1_000_000;
/// Rows are complete when they are so old: a commit is given up after a fraction of it.
const COMPLETE_AFTER: Duration = Duration::from_secs(30);
/// Rows of one statement.
const ROWS: usize = 500;

/// Rows that SQLite groups by one statement: it keeps them all in memory for that.
const AT_ONCE: i64 = if cfg!(test) { 3 } else { 10_000 };

/// A count: bucket, source, outcome, number, time of the last one.
type Counted = (i64, String, String, i64, i64);

/// What a detector reported, by what became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceCounts {
    /// Events since the beginning of the range, by outcome.
    pub outcomes: BTreeMap<String, u64>,
    /// When the last one was received.
    pub last_at: Option<Timestamp>,
}

impl SourceCounts {
    /// The same detector at another POP.
    pub fn add(&mut self, other: Self) {
        self.last_at = self.last_at.max(other.last_at);
        for (outcome, number) in other.outcomes {
            *self.outcomes.entry(outcome).or_insert(0) += number;
        }
    }
}

/// Where a metric's rows are: table, time, what names the source and the outcome.
const fn place(metric: Metric) -> (&'static str, &'static str, &'static str, &'static str) {
    match metric {
        Metric::Events => ("events", "received_at", "source", "outcome"),
        Metric::Mitigations => ("mitigations", "created_at", "''", "''"),
    }
}

/// The same statements on a connection of either engine, inside a transaction: the mark moves from where it was, or
/// somebody else has counted the same rows.
macro_rules! keep {
    ($engine:ty, $connection:expr, $pop:expr, $metric:expr, $mark:expr, $upto:expr, $rows:expr) => {{
        let metric = $metric.as_str();
        let moved = match $mark {
            Some(mark) => {
                sqlx::query("UPDATE counted SET upto = $3 WHERE pop = $1 AND metric = $2 AND upto = $4")
                    .bind($pop)
                    .bind(metric)
                    .bind($upto)
                    .bind(mark)
            }
            None => sqlx::query(
                "INSERT INTO counted (pop, metric, upto) VALUES ($1, $2, $3) ON CONFLICT (pop, metric) DO NOTHING",
            )
            .bind($pop)
            .bind(metric)
            .bind($upto),
        };
        let moved = moved.execute(&mut *$connection).await?.rows_affected() == 1;
        for rows in $rows.chunks(ROWS).filter(|_| moved) {
            let mut query = QueryBuilder::<$engine>::new(
                "INSERT INTO counts (pop, metric, at, source, outcome, number, last_at) ",
            );
            query.push_values(rows, |mut row, (at, source, outcome, number, last_at)| {
                row.push_bind($pop.to_owned())
                    .push_bind(metric)
                    .push_bind(*at)
                    .push_bind(source.clone())
                    .push_bind(outcome.clone())
                    .push_bind(*number)
                    .push_bind(*last_at);
            });
            query.push(
                " ON CONFLICT (pop, metric, at, source, outcome) DO UPDATE SET \
                 number = counts.number + excluded.number, last_at = excluded.last_at",
            );
            query.build().execute(&mut *$connection).await?;
        }
    }};
}

impl Store {
    /// Counts the next rows that are complete, of at most one bucket; whether there is nothing left to count for now.
    /// What is older than `oldest` is not counted any more.
    ///
    /// # Errors
    /// When the store fails; then nothing was counted.
    pub async fn count_up(
        &self,
        pop: &str,
        metric: Metric,
        oldest: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let complete = now.saturating_sub(COMPLETE_AFTER).as_micros();
        let mark = self.counted_to(pop, metric).await?;
        let from = match mark {
            Some(mark) => mark.max(oldest.as_micros()),
            None => match self.first_row(metric, oldest).await? {
                Some(first) => first,
                None => complete,
            },
        };
        if from >= complete && mark.is_some() {
            return Ok(true);
        }
        let upto = (from.div_euclid(WIDTH) + 1).saturating_mul(WIDTH).min(complete);
        let rows = self.count_rows(pop, metric, from, upto).await?;
        self.in_time(self.keep_counts(pop, metric, mark, upto, &rows))
            .await?;
        Ok(upto >= complete)
    }

    /// How many there were from `start` on, by bucket of `width` seconds; buckets without any are left out. `start` is a
    /// multiple of the width.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn count_by_time(
        &self,
        pop: &str,
        metric: Metric,
        start: Timestamp,
        width: u32,
    ) -> Result<BTreeMap<Timestamp, u64>, StoreError> {
        let start = start.as_micros();
        let kept: Vec<(i64, i64)> = on_db!(self, |db| {
            sqlx::query_as(
                "SELECT at, CAST(SUM(number) AS BIGINT) FROM counts WHERE pop = $1 AND metric = $2 AND at >= $3 \
                 GROUP BY at",
            )
            .bind(pop)
            .bind(metric.as_str())
            .bind(start)
            .fetch_all(db)
            .await?
        });
        let mut buckets = BTreeMap::new();
        let width = i64::from(width) * 1_000_000;
        let mut add = |at: i64, number: i64| {
            let bucket = Timestamp::from_micros(at.div_euclid(width) * width);
            *buckets.entry(bucket).or_insert(0) += u64::try_from(number).unwrap_or(0);
        };
        for (at, number) in kept {
            add(at, number);
        }
        for (at, _, _, number, _) in self.not_counted_yet(pop, metric, start).await? {
            add(at, number);
        }
        Ok(buckets)
    }

    /// What each detector reported since `since`, and when it last did since `seen_since`.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn count_by_source(
        &self,
        pop: &str,
        since: Timestamp,
        seen_since: Timestamp,
    ) -> Result<BTreeMap<String, SourceCounts>, StoreError> {
        let (since, seen_since) = (since.as_micros(), seen_since.as_micros());
        let mut rows: Vec<Counted> = on_db!(self, |db| {
            sqlx::query_as(
                "SELECT $3, source, outcome, CAST(SUM(CASE WHEN at >= $3 THEN number ELSE 0 END) AS BIGINT), \
                 MAX(last_at) FROM counts WHERE pop = $1 AND metric = $2 AND at >= $4 GROUP BY source, outcome",
            )
            .bind(pop)
            .bind(Metric::Events.as_str())
            .bind(since)
            .bind(seen_since)
            .fetch_all(db)
            .await?
        });
        rows.extend(self.not_counted_yet(pop, Metric::Events, since).await?);
        let mut sources: BTreeMap<String, SourceCounts> = BTreeMap::new();
        for (_, source, outcome, number, last_at) in rows {
            let counts = sources.entry(source).or_default();
            counts.last_at = counts.last_at.max(Some(Timestamp::from_micros(last_at)));
            let number = u64::try_from(number).unwrap_or(0);
            if number > 0 {
                *counts.outcomes.entry(outcome).or_insert(0) += number;
            }
        }
        Ok(sources)
    }

    async fn not_counted_yet(
        &self,
        pop: &str,
        metric: Metric,
        start: i64,
    ) -> Result<Vec<Counted>, StoreError> {
        let mark = self.counted_to(pop, metric).await?;
        let from = mark.unwrap_or(i64::MIN).max(start);
        self.count_rows(pop, metric, from, i64::MAX).await
    }

    async fn counted_to(&self, pop: &str, metric: Metric) -> Result<Option<i64>, StoreError> {
        Ok(on_db!(self, |db| {
            sqlx::query_scalar("SELECT upto FROM counted WHERE pop = $1 AND metric = $2")
                .bind(pop)
                .bind(metric.as_str())
                .fetch_optional(db)
                .await?
        }))
    }

    async fn first_row(&self, metric: Metric, oldest: Timestamp) -> Result<Option<i64>, StoreError> {
        let (table, at, ..) = place(metric);
        let first: Option<i64> = on_db!(self, |db: Engine| {
            let mut query = QueryBuilder::<Engine>::new("");
            query.push(format_args!("SELECT MIN({at}) FROM {table} WHERE {at} >= "));
            query.push_bind(oldest.as_micros());
            query.build_query_scalar().fetch_one(db).await?
        });
        Ok(first)
    }

    async fn count_rows(
        &self,
        pop: &str,
        metric: Metric,
        mut from: i64,
        upto: i64,
    ) -> Result<Vec<Counted>, StoreError> {
        let mut counted: BTreeMap<(i64, String, String), (i64, i64)> = BTreeMap::new();
        while from < upto {
            let end = self.end_of_some(metric, from, upto).await?;
            for (at, source, outcome, number, last_at) in self.count_some(pop, metric, from, end).await? {
                let (all, last) = counted.entry((at, source, outcome)).or_insert((0, last_at));
                *all += number;
                *last = (*last).max(last_at);
            }
            from = end;
        }
        let flat = |((at, source, outcome), (number, last_at))| (at, source, outcome, number, last_at);
        Ok(counted.into_iter().map(flat).collect())
    }

    /// Up to when there are about [`AT_ONCE`] rows from then on.
    async fn end_of_some(&self, metric: Metric, from: i64, upto: i64) -> Result<i64, StoreError> {
        let Db::Sqlite(sqlite) = &self.db else {
            return Ok(upto);
        };
        let (table, at, ..) = place(metric);
        let mut query = QueryBuilder::<sqlx::Sqlite>::new("");
        query.push(format_args!("SELECT {at} FROM {table} WHERE {at} >= "));
        query.push_bind(from);
        query.push(format_args!(" AND {at} < ")).push_bind(upto);
        query.push(format_args!(" ORDER BY {at} LIMIT 1 OFFSET "));
        query.push_bind(AT_ONCE);
        let next: Option<i64> = query.build_query_scalar().fetch_optional(&sqlite.readers).await?;
        // Of one time there may be more than that.
        Ok(next.map_or(upto, |next| next.max(from.saturating_add(1))))
    }

    async fn count_some(
        &self,
        pop: &str,
        metric: Metric,
        from: i64,
        upto: i64,
    ) -> Result<Vec<Counted>, StoreError> {
        let (table, at, source, outcome) = place(metric);
        Ok(on_db!(self, |db: Engine| {
            let mut query = QueryBuilder::<Engine>::new("");
            query.push(format_args!(
                "SELECT ({at} / {WIDTH}) * {WIDTH} AS bucket, {source} AS source, {outcome} AS outcome, COUNT(*), \
                 MAX({at}) FROM {table} WHERE {at} >= "
            ));
            query.push_bind(from);
            query.push(format_args!(" AND {at} < ")).push_bind(upto);
            query.push(" AND pop = ").push_bind(pop.to_owned());
            query.push(" GROUP BY 1, 2, 3");
            query.build_query_as().fetch_all(db).await?
        }))
    }

    async fn keep_counts(
        &self,
        pop: &str,
        metric: Metric,
        mark: Option<i64>,
        upto: i64,
        rows: &[Counted],
    ) -> Result<(), StoreError> {
        match &self.db {
            Db::Sqlite(sqlite) => {
                // Dropped on the way by an error, the connection closes and the transaction rolls back.
                let mut writer = sqlite.take_writer().await?;
                writer.connection.execute("BEGIN IMMEDIATE").await?;
                let connection = &mut writer.connection;
                keep!(sqlx::Sqlite, connection, pop, metric, mark, upto, rows);
                writer.connection.execute("COMMIT").await?;
                writer.put_back();
            }
            Db::Postgres(postgres) => {
                let mut lease = postgres.lease().await?;
                let mut transaction = lease.connection()?.begin().await?;
                let connection = &mut *transaction;
                keep!(sqlx::Postgres, connection, pop, metric, mark, upto, rows);
                transaction.commit().await?;
                lease.give_back();
            }
        }
        Ok(())
    }
}
