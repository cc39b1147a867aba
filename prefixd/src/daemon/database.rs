//! Opening the store at a start, and waiting for a server that is not there yet.

use super::systemd;
use crate::clock::Clock;
use crate::store::{Loaded, Store, StoreError};
use anyhow::Context;
use prefixd_api::config::Settings;
use prefixd_api::time::Timestamp;
use sd_notify::NotifyState;
use std::time::Duration;
use tokio::time::Instant;
use tracing::{info, warn};

/// Until a server that is away is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// How often the log says what the start waits for.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// The store, the POP, its live state, and the clock that counts from now on. After a power cut the machine of the database may come later than this one:
/// then the start waits, because ending would leave the network without mitigation until a person comes.
pub(super) async fn open(settings: &Settings) -> anyhow::Result<Opened> {
    let began = Instant::now();
    let mut said: Option<Instant> = None;
    loop {
        let error = match try_open(settings).await {
            Ok(opened) => {
                if said.is_some() {
                    let seconds = began.elapsed().as_secs();
                    info!(seconds, "the database is there; the start goes on");
                }
                return Ok(opened);
            }
            Err(error) if is_away(&error) => format!("{error:#}"),
            Err(error) => return Err(error),
        };
        if said.is_none_or(|at| at.elapsed() >= SAY_AGAIN) {
            said = Some(Instant::now());
            warn!(
                error,
                waited_seconds = began.elapsed().as_secs(),
                "prefixd waits for the database and tries it every second; until then it takes no events and announces \
                 nothing. Start the database, or see to storage.connection_string"
            );
        }
        systemd::tell(&[NotifyState::Status(&format!("waits for the database: {error}"))]);
        tokio::time::sleep(TRY_AGAIN).await;
    }
}

/// What a start goes on with.
pub(super) struct Opened {
    pub(super) store: Store,
    pub(super) clock: Clock,
    pub(super) loaded: Loaded,
}

async fn try_open(settings: &Settings) -> anyhow::Result<Opened> {
    let storage = &settings.storage;
    let store = Store::open(&storage.connection_string, storage.max_connections)
        .await
        .context("the store cannot be opened")?;
    store
        .take_pop(&settings.pop)
        .await
        .context("the POP cannot be run by this daemon")?;
    // Not before: while the start waited, a machine that booted with a wrong clock may have had it set.
    let clock = Clock::starting_at(Timestamp::wall_clock());
    let loaded = store
        .load(&settings.pop, clock.now())
        .await
        .context("the stored state cannot be loaded")?;
    Ok(Opened { store, clock, loaded })
}

fn is_away(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<StoreError>()
        .is_some_and(StoreError::is_away)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::most_readers;
    use prefixd_api::config::Config;

    async fn readers_of_five(connection: &str) -> u32 {
        let text = format!(
            "pop: a\nmode: dry-run\nbgp: {{ local_asn: 1, router_id: 10.0.0.1 }}\n\
             storage: {{ connection_string: \"{connection}\", max_connections: 5 }}\n"
        );
        let settings = Config::from_texts(&text, "{}", "{}").unwrap().settings;
        most_readers(&open(&settings).await.unwrap().store)
    }

    /// With PostgreSQL the one that writes is among them.
    #[tokio::test]
    async fn no_more_connections_are_made_than_are_configured() {
        let dir = tempfile::tempdir().unwrap();
        let file = format!("sqlite:{}", dir.path().join("prefixd.db").display());
        assert_eq!(readers_of_five(&file).await, 5);
        if lab::postgres::available().unwrap() {
            let server = lab::postgres::Postgres::shared().await.unwrap();
            let database = server.database().await.unwrap();
            assert_eq!(readers_of_five(&database).await, 4);
        }
    }
}
