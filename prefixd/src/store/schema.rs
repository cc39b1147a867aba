//! What the database is: its schema, and the POPs that write to it.

use super::db::{Db, on_db};
use super::{Store, StoreError, migrate};
use prefixd_api::series::{MigrationList, MigrationStep, Pop};
use prefixd_api::time::Timestamp;
use std::collections::HashMap;

/// Every POP of the journal by two look-ups of its index, however long it is.
const POPS: &str = "WITH RECURSIVE pops (pop) AS (\
     SELECT MIN(pop) FROM journal UNION ALL \
     SELECT (SELECT MIN(journal.pop) FROM journal WHERE journal.pop > pops.pop) FROM pops WHERE pops.pop IS NOT NULL) \
     SELECT pops.pop, \
     (SELECT MAX(seq) FROM journal WHERE journal.pop = pops.pop), \
     (SELECT at FROM journal WHERE journal.pop = pops.pop ORDER BY seq DESC LIMIT 1), \
     (SELECT COUNT(*) FROM mitigations WHERE live = 1 AND mitigations.pop = pops.pop) \
     FROM pops WHERE pops.pop IS NOT NULL";
/// The engines keep times in types of their own.
const INSTALLED_SQLITE: &str =
    "SELECT version, CAST(strftime('%s', installed_on) AS INTEGER) FROM _sqlx_migrations";
const INSTALLED_POSTGRES: &str =
    "SELECT version, CAST(EXTRACT(EPOCH FROM installed_on) AS BIGINT) FROM _sqlx_migrations";

impl Store {
    /// Every POP that has written to this database, by name.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn pops(&self, own: &str) -> Result<Vec<Pop>, StoreError> {
        let rows: Vec<(String, i64, i64, i64)> =
            on_db!(self, |db| sqlx::query_as(POPS).fetch_all(db).await?);
        let number = |number: i64| u64::try_from(number).unwrap_or(0);
        let mut pops: Vec<Pop> = rows
            .into_iter()
            .map(|(name, head, at, live)| Pop {
                own: name == own,
                name,
                head: number(head),
                last_change_at: Some(Timestamp::from_micros(at)),
                live: number(live),
            })
            .collect();
        // One that has written nothing yet is there all the same.
        if !pops.iter().any(|pop| pop.own) {
            pops.push(Pop {
                name: own.to_owned(),
                own: true,
                head: 0,
                last_change_at: None,
                live: 0,
            });
        }
        pops.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(pops)
    }

    /// Every step of the schema, and when this database got it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn migrations(&self) -> Result<MigrationList, StoreError> {
        let sql = match &self.db {
            Db::Sqlite(_) => INSTALLED_SQLITE,
            Db::Postgres(_) => INSTALLED_POSTGRES,
        };
        let installed: HashMap<i64, i64> = on_db!(self, |db| sqlx::query_as(sql).fetch_all(db).await?)
            .into_iter()
            .collect();
        let at = |seconds: &i64| Timestamp::from_micros(seconds.saturating_mul(1_000_000));
        let migrations: Vec<MigrationStep> = migrate::steps()
            .map(|(version, description)| MigrationStep {
                version,
                description: description.to_owned(),
                installed_at: installed.get(&version).map(at),
            })
            .collect();
        Ok(MigrationList {
            backend: self.backend().to_owned(),
            version: installed.keys().copied().max().unwrap_or(0),
            known: migrations.last().map_or(0, |step| step.version),
            count: migrations.len(),
            migrations,
        })
    }
}
