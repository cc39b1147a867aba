//! What POPs tell each other: a row for each victim and vector that one offers, which the POP itself keeps in step with what it
//! does. A row is believed until its time is over, by the clock of the database.

use super::db::Db;
use super::listen::{CHANNEL, OFFERS};
use super::{Store, StoreError};
use crate::policy::Offer;
use prefixd_api::mitigation::Scope;
use sqlx::Connection;
use std::time::Duration;

/// Rows of one statement.
const AT_ONCE: usize = 500;

/// Not by a daemon that has lost the POP.
const OURS: &str =
    "SELECT $2::bigint IS NULL OR EXISTS (SELECT FROM pops WHERE pop = $1 AND fence = $2 FOR SHARE)";
const NOTHING: &str = "DELETE FROM offers WHERE pop = $1";
const TAKE_BACK: &str = "DELETE FROM offers WHERE pop = $1 \
     AND (victim, vector) IN (SELECT * FROM UNNEST($2::text[], $3::text[]))";
const PUT: &str = "INSERT INTO offers (pop, victim, vector, until, body) \
     SELECT $1, victim, vector, (EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::bigint + lasts, body \
     FROM UNNEST($2::text[], $3::text[], $4::bigint[], $5::text[]) AS new (victim, vector, lasts, body) \
     ON CONFLICT (pop, victim, vector) DO UPDATE SET until = excluded.until, body = excluded.body";
/// Of POPs that are no more.
const FORGET: &str = "DELETE FROM offers \
     WHERE until < (EXTRACT(EPOCH FROM clock_timestamp()) - 86400) * 1000000";
const HEAR: &str = "SELECT pop, victim, vector, body FROM offers \
     WHERE pop <> $1 AND until > EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 ORDER BY pop, victim, vector";
const SAY: &str = "SELECT pg_notify($1, $2)";

/// What is to be written.
#[derive(Debug, Default, PartialEq)]
pub struct OfferChanges {
    /// Nothing of what is there counts.
    pub anew: bool,
    /// What is not offered any more.
    pub gone: Vec<Scope>,
    /// What is, and how long it lasts from now on.
    pub put: Vec<(Offer, Duration)>,
    /// The others would not know it already.
    pub news: bool,
}

impl Store {
    /// Writes what a POP offers, and wakes the others when it is news. Answers whether it was written: a daemon that has
    /// lost the POP writes nothing.
    ///
    /// # Errors
    /// When the store fails; then it was done or not.
    pub async fn offer(&self, pop: &str, changes: &OfferChanges) -> Result<bool, StoreError> {
        let Db::Postgres(server) = &self.db else {
            return Ok(false);
        };
        let bodies: Vec<String> = changes
            .put
            .iter()
            .map(|(offer, _)| serde_json::to_string(offer))
            .collect::<Result<_, _>>()
            .map_err(|error| StoreError::Database(sqlx::Error::Encode(error.into())))?;
        let writing = async {
            let mut lease = server.lease().await?;
            let mut transaction = lease.connection()?.begin().await?;
            let ours: bool = sqlx::query_scalar(OURS)
                .bind(pop)
                .bind(server.fence())
                .fetch_one(&mut *transaction)
                .await?;
            if ours {
                if changes.anew {
                    sqlx::query(NOTHING).bind(pop).execute(&mut *transaction).await?;
                    sqlx::query(FORGET).execute(&mut *transaction).await?;
                }
                for gone in changes.gone.chunks(AT_ONCE) {
                    let victims: Vec<String> = gone.iter().map(|scope| scope.victim.to_string()).collect();
                    let vectors: Vec<&str> = gone.iter().map(|scope| &*scope.vector).collect();
                    sqlx::query(TAKE_BACK)
                        .bind(pop)
                        .bind(victims)
                        .bind(vectors)
                        .execute(&mut *transaction)
                        .await?;
                }
                for (put, bodies) in changes.put.chunks(AT_ONCE).zip(bodies.chunks(AT_ONCE)) {
                    let victims: Vec<String> =
                        put.iter().map(|(offer, _)| offer.victim.to_string()).collect();
                    let vectors: Vec<&str> = put.iter().map(|(offer, _)| offer.vector.as_str()).collect();
                    let lasts: Vec<i64> = put
                        .iter()
                        .map(|(_, lasts)| i64::try_from(lasts.as_micros()).unwrap_or(i64::MAX))
                        .collect();
                    sqlx::query(PUT)
                        .bind(pop)
                        .bind(victims)
                        .bind(vectors)
                        .bind(lasts)
                        .bind(bodies)
                        .execute(&mut *transaction)
                        .await?;
                }
                if changes.news {
                    sqlx::query(SAY)
                        .bind(CHANNEL)
                        .bind(format!("{pop}{OFFERS}"))
                        .execute(&mut *transaction)
                        .await?;
                }
            }
            transaction.commit().await?;
            lease.give_back();
            Ok(ours)
        };
        self.in_time(writing).await
    }

    /// What the other POPs offer, by the POP and what it is about: no offer where it cannot be read, no row where not even its victim
    /// can. The log says so.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn offers(&self, own: &str) -> Result<Vec<(String, Scope, Option<Offer>)>, StoreError> {
        let Db::Postgres(server) = &self.db else {
            return Ok(Vec::new());
        };
        let rows: Vec<(String, String, String, String)> = self
            .in_time(async {
                let mut lease = server.lease().await?;
                let rows = sqlx::query_as(HEAR)
                    .bind(own)
                    .fetch_all(lease.connection()?)
                    .await?;
                lease.give_back();
                Ok(rows)
            })
            .await?;
        let one = |(pop, victim, vector, body): (String, String, String, String)| {
            let victim = victim.parse().inspect_err(|error| {
                tracing::warn!(%error, pop, victim, "a victim that another POP offers cannot be read; it is left out");
            });
            let scope = Scope {
                victim: victim.ok()?,
                vector: vector.into(),
            };
            let offer = serde_json::from_str::<Offer>(&body).inspect_err(|error| {
                tracing::warn!(%error, pop, %scope, "what another POP offers cannot be read; what was heard of it before stays");
            });
            let offer = offer.ok().map(Offer::checked).transpose().inspect_err(|errors| {
                tracing::warn!(?errors, pop, %scope, "what another POP offers is no report that anybody may make; what was heard of it before stays");
            });
            // A row is of what it says.
            let offer = offer.ok().flatten().filter(|offer| offer.scope() == scope);
            Some((pop, scope, offer))
        };
        Ok(rows.into_iter().filter_map(one).collect())
    }
}
