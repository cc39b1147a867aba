//! What was asked at one POP of another: a row that the daemon there answers.

use super::db::{Db, on_db};
use super::listen::CHANNEL;
use super::load::all_or_nothing;
use super::{Store, StoreError};
use prefixd_api::ids::{CommandId, MitigationId};
use prefixd_api::remote::{RemoteCommand, RemoteState};
use prefixd_api::time::Timestamp;

/// What one look takes at most.
const AT_ONCE: i64 = 100;

const ASK: &str = "INSERT INTO commands (id, pop, subject, body) VALUES ($1, $2, $3, $4) \
     ON CONFLICT (subject) WHERE answered_at IS NULL DO NOTHING";
/// The other POP looks at once.
const SAY: &str = "SELECT pg_notify($1, $2)";
const ASKED: &str = "SELECT body FROM commands WHERE subject = $1 AND answered_at IS NULL";
const WAITING: &str = "SELECT body FROM commands WHERE pop = $1 AND answered_at IS NULL ORDER BY id LIMIT $2";
const ANSWER: &str = "UPDATE commands SET answered_at = $2, body = $3 WHERE id = $1 AND answered_at IS NULL";
const ONE: &str = "SELECT body FROM commands WHERE id = $1";
const ANSWERED: &str = "SELECT body FROM commands WHERE subject = $1 AND answered_at IS NOT NULL";
const NEWEST: &str = "SELECT body FROM commands ORDER BY id DESC LIMIT $1";

impl Store {
    /// Asks another POP, and answers what waits there about that mitigation: this, or what was asked before. Nothing when it
    /// was answered meanwhile.
    ///
    /// # Errors
    /// When the store fails, or what waits cannot be read.
    pub async fn ask(&self, command: &RemoteCommand) -> Result<Option<RemoteCommand>, StoreError> {
        let Db::Postgres(server) = &self.db else {
            return Ok(None);
        };
        let body = written(command)?;
        let asking = async {
            let mut lease = server.lease().await?;
            let connection = lease.connection()?;
            sqlx::query(ASK)
                .bind(command.command_id.0)
                .bind(&command.pop)
                .bind(command.mitigation_id.0)
                .bind(body)
                .execute(&mut *connection)
                .await?;
            sqlx::query(SAY)
                .bind(CHANNEL)
                .bind(format!("{}:asks", command.asked_at_pop))
                .execute(&mut *connection)
                .await?;
            let rows = sqlx::query_as(ASKED)
                .bind(command.mitigation_id.0)
                .fetch_all(&mut *connection)
                .await?;
            lease.give_back();
            Ok(rows)
        };
        let rows = self.in_time(asking).await?;
        Ok(all_or_nothing("command", rows)?.pop())
    }

    /// What a POP was asked and has not answered, oldest first.
    ///
    /// # Errors
    /// When the store fails, or a command cannot be read.
    pub async fn commands_waiting(&self, pop: &str) -> Result<Vec<RemoteCommand>, StoreError> {
        let rows: Vec<(String,)> = on_db!(self, |db| {
            sqlx::query_as(WAITING)
                .bind(pop)
                .bind(AT_ONCE)
                .fetch_all(db)
                .await?
        });
        // One that a newer daemon wrote must not keep the others from being carried out.
        let readable = |(body,): (String,)| {
            serde_json::from_str(&body)
                .inspect_err(|error| {
                    tracing::error!(%error, %body, "what another POP asks for cannot be read; it is left alone");
                })
                .ok()
        };
        Ok(rows.into_iter().filter_map(readable).collect())
    }

    /// Records what became of a command.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn answer(&self, command: &RemoteCommand) -> Result<(), StoreError> {
        let Db::Postgres(server) = &self.db else {
            return Ok(());
        };
        let body = written(command)?;
        let answering = async {
            let mut lease = server.lease().await?;
            let connection = lease.connection()?;
            sqlx::query(ANSWER)
                .bind(command.command_id.0)
                .bind(command.answered_at.map(Timestamp::as_micros))
                .bind(body)
                .execute(&mut *connection)
                .await?;
            sqlx::query(SAY)
                .bind(CHANNEL)
                .bind(format!("{}:answers", command.pop))
                .execute(&mut *connection)
                .await?;
            lease.give_back();
            Ok(())
        };
        self.in_time(answering).await
    }

    /// A command by its name.
    ///
    /// # Errors
    /// When the store fails, or it cannot be read.
    pub async fn command(&self, id: CommandId) -> Result<Option<RemoteCommand>, StoreError> {
        let rows = on_db!(self, |db| { sqlx::query_as(ONE).bind(id.0).fetch_all(db).await? });
        Ok(all_or_nothing("command", rows)?.pop())
    }

    /// What was done about a mitigation because somebody asked for it by a key.
    ///
    /// # Errors
    /// When the store fails, or a command cannot be read.
    pub async fn command_done(
        &self,
        subject: MitigationId,
        actor: &str,
        key: &str,
    ) -> Result<Option<RemoteCommand>, StoreError> {
        let rows = on_db!(self, |db| {
            sqlx::query_as(ANSWERED).bind(subject.0).fetch_all(db).await?
        });
        let answered: Vec<RemoteCommand> = all_or_nothing("command", rows)?;
        Ok(answered.into_iter().find(|command| {
            command.state == RemoteState::Done
                && command.actor == actor
                && command.idempotency_key.as_deref() == Some(key)
        }))
    }

    /// The newest commands of all POPs, newest first.
    ///
    /// # Errors
    /// When the store fails, or one cannot be read.
    pub async fn commands(&self) -> Result<Vec<RemoteCommand>, StoreError> {
        let rows = on_db!(self, |db| {
            sqlx::query_as(NEWEST).bind(AT_ONCE).fetch_all(db).await?
        });
        all_or_nothing("command", rows)
    }
}

fn written(command: &RemoteCommand) -> Result<String, StoreError> {
    serde_json::to_string(command).map_err(|error| StoreError::Database(sqlx::Error::Encode(error.into())))
}
