//! A server that is away, as opposed to one that will never do.

use super::StoreError;
use sqlx::migrate::MigrateError;

/// SQLSTATE classes of a server that will be of use later: the connection, resources (too many connections, a full
/// disk), the operator (starting, stopping, ended by an administrator).
const LATER: [&str; 3] = ["08", "53", "57P"];
/// A standby, until it is promoted.
const READ_ONLY: &str = "25006";

impl StoreError {
    /// Whether waiting may help: the server is not reached, starts, stops, is full or a standby. A wrong password or
    /// a database that does not exist stays wrong until a person comes.
    #[must_use]
    pub fn is_away(&self) -> bool {
        match self {
            Self::TimedOut => true,
            Self::Database(error)
            | Self::Migration(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) => {
                is_away(error)
            }
            _ => false,
        }
    }
}

fn is_away(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut => true,
        sqlx::Error::Database(refused) => refused.code().is_some_and(|code| {
            // SQLite has numbers of at most four digits.
            code.len() == 5 && (code == READ_ONLY || LATER.iter().any(|class| code.starts_with(class)))
        }),
        _ => false,
    }
}
