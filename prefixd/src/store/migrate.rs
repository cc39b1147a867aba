//! The schema: one text with tokens, expanded for the engine, embedded in the binary.

use super::StoreError;
use sqlx::migrate::{Migrate, MigrateError, Migration, MigrationType, Migrator};
use sqlx::{Acquire, AssertSqlSafe, SqlSafeStr};
use std::borrow::Cow;
use std::ops::Deref;

/// Version, name and text of each step, oldest first.
const STEPS: &[(i64, &str, &str)] = &[
    (1, "first", include_str!("../../../migrations/0001_first.sql")),
    (
        2,
        "disabled peers",
        include_str!("../../../migrations/0002_disabled_peers.sql"),
    ),
    (3, "control", include_str!("../../../migrations/0003_control.sql")),
    (4, "parked", include_str!("../../../migrations/0004_parked.sql")),
    (
        5,
        "unconfirmed",
        include_str!("../../../migrations/0005_unconfirmed.sql"),
    ),
    (6, "counts", include_str!("../../../migrations/0006_counts.sql")),
    (7, "pops", include_str!("../../../migrations/0007_pops.sql")),
    (
        8,
        "kept answers",
        include_str!("../../../migrations/0008_kept_answers.sql"),
    ),
    (
        10,
        "several pops",
        include_str!("../../../migrations/0010_pops.sql"),
    ),
    (
        14,
        "room to change",
        include_str!("../../../migrations/0014_room.sql"),
    ),
    (15, "offers", include_str!("../../../migrations/0015_offers.sql")),
];

/// Version and name of each step, oldest first.
pub(super) fn steps() -> impl Iterator<Item = (i64, &'static str)> {
    STEPS.iter().map(|(version, name, _)| (*version, *name))
}

/// What the tokens stand for.
pub(super) type Tokens = [(&'static str, &'static str); 6];

/// SQLite. STRICT knows only INTEGER, REAL, TEXT and BLOB.
pub(super) const SQLITE: Tokens = [
    ("{{uuid}}", "BLOB"),
    ("{{bytes}}", "BLOB"),
    ("{{bigint}}", "INTEGER"),
    ("{{smallint}}", "INTEGER"),
    ("{{options}}", "STRICT"),
    ("{{postgres}}", "-- "),
];

/// PostgreSQL. Rows of a few kilobytes stay in the table as they are: compressing each one costs more than the
/// space is worth, and 8160 is the most that fits a page.
pub(super) const POSTGRES: Tokens = [
    ("{{uuid}}", "UUID"),
    ("{{bytes}}", "BYTEA"),
    ("{{bigint}}", "BIGINT"),
    ("{{smallint}}", "SMALLINT"),
    ("{{options}}", "WITH (toast_tuple_target = 8160)"),
    ("{{postgres}}", ""),
];

/// Applies what is missing, in order, under the engine's lock.
///
/// # Errors
/// When the database is newer than this version, or a step fails.
pub(super) async fn run<'a, A>(connection: A, tokens: &Tokens) -> Result<(), StoreError>
where
    A: Acquire<'a>,
    <A::Connection as Deref>::Target: Migrate,
{
    let steps = STEPS
        .iter()
        .map(|(version, name, text)| {
            let sql = tokens.iter().fold((*text).to_owned(), |sql, (token, meaning)| {
                sql.replace(token, meaning)
            });
            Migration::new(
                *version,
                Cow::Borrowed(*name),
                MigrationType::Simple,
                AssertSqlSafe(sql).into_sql_str(),
                false,
            )
        })
        .collect();
    match Migrator::with_migrations(steps).run(connection).await {
        Ok(()) => Ok(()),
        Err(MigrateError::VersionMissing(found)) => Err(StoreError::NewerSchema {
            found,
            known: STEPS.last().map_or(0, |step| step.0),
        }),
        Err(error) => Err(StoreError::Migration(error)),
    }
}
