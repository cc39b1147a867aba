//! One daemon runs a POP. A SQLite file has its lock; on PostgreSQL it is a lock of a session of its own, which the
//! server lets go with the connection: a daemon that was killed can be followed at once, and one that hangs or is cut
//! off keeps the POP for as long as the server believes in its connection.
//!
//! Whoever takes the POP counts its fence up. A commit under an older number is refused by the server itself, so a
//! daemon that lost its connection and does not know yet that it was followed writes nothing more.

use super::StoreError;
use super::postgres::{Backend, connect};
use prefixd_api::time::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

/// How long a start waits for the daemon that runs the POP: one that is ending has this long to end.
const PATIENCE: Duration = Duration::from_secs(5);
/// Until a POP that is run by another daemon is tried again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How often the connection is asked for a sign of life.
const TICK: Duration = Duration::from_secs(1);
/// How long the server may take for an answer before the connection counts as lost.
const ANSWER: Duration = Duration::from_secs(2);

const TRY_LOCK: &str = "SELECT pg_try_advisory_lock(hashtextextended($1, 1))";
const TAKE: &str = "INSERT INTO pops AS taken (pop, fence, body) VALUES ($1, 1, $2) \
     ON CONFLICT (pop) DO UPDATE SET fence = taken.fence + 1, body = excluded.body RETURNING fence";
const HOLDER: &str = "SELECT fence, body FROM pops WHERE pop = $1";

/// Who took a POP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Holder {
    /// The machine's name.
    host: String,
    /// The process there.
    pid: u32,
    /// Since when.
    since: Timestamp,
}

impl Holder {
    fn this_process() -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self {
            host: host.trim().to_owned(),
            pid: std::process::id(),
            since: Timestamp::wall_clock(),
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, pid, since } = self;
        write!(f, "process {pid} on {host} since {since}")
    }
}

/// The right to run a POP, for as long as this lives.
#[derive(Debug)]
pub(super) struct Tenure {
    /// What commits are made under.
    pub(super) fence: i64,
    overtaken: Arc<OnceLock<String>>,
    _keeper: AbortOnDropHandle<()>,
}

impl Tenure {
    /// Takes a POP.
    ///
    /// # Errors
    /// [`StoreError::PopTaken`] when another daemon runs it and does not end.
    pub(super) async fn take(options: &PgConnectOptions, pop: &str) -> Result<Self, StoreError> {
        let patience = Instant::now() + PATIENCE;
        let mut connection = connect(options).await?;
        let mut waits = false;
        while !lock(&mut connection, pop).await? {
            if !std::mem::replace(&mut waits, true) {
                let by = holder(&mut connection, pop).await?.map(|(_, by)| by);
                info!(
                    pop,
                    by,
                    seconds = PATIENCE.as_secs(),
                    "another prefixd runs the POP; waiting for it to end"
                );
            }
            if Instant::now() >= patience {
                let by = holder(&mut connection, pop).await?.map(|(_, by)| by);
                return Err(StoreError::PopTaken {
                    pop: pop.to_owned(),
                    by: by.unwrap_or_else(|| "a process that did not say who it is".to_owned()),
                });
            }
            sleep(LOOK_AGAIN).await;
        }
        let body = serde_json::to_string(&Holder::this_process())
            .map_err(|error| StoreError::Database(sqlx::Error::Encode(error.into())))?;
        let fence: i64 = sqlx::query_scalar(TAKE)
            .bind(pop)
            .bind(body)
            .fetch_one(&mut connection)
            .await?;
        info!(pop, fence, "this daemon runs the POP");
        let backend = Backend::of(&mut connection).await?;
        let keeper = Keeper {
            options: options.clone(),
            pop: pop.to_owned(),
            fence,
            backend,
        };
        let overtaken = Arc::new(OnceLock::new());
        let tell = Arc::clone(&overtaken);
        let keeper = tokio::spawn(async move {
            let by = keeper.keep(connection).await;
            tell.get_or_init(|| by);
        });
        Ok(Self {
            fence,
            overtaken,
            _keeper: AbortOnDropHandle::new(keeper),
        })
    }

    /// Who took the POP from this daemon, if somebody did.
    pub(super) fn overtaken_by(&self) -> Option<&str> {
        self.overtaken.get().map(String::as_str)
    }
}

/// Keeps the lock, and takes it again where the connection was lost and nobody followed meanwhile.
struct Keeper {
    options: PgConnectOptions,
    pop: String,
    fence: i64,
    /// The session that holds the lock, as far as the server knows.
    backend: Backend,
}

impl Keeper {
    /// Ends when another daemon took the POP, with who it is.
    async fn keep(mut self, mut connection: PgConnection) -> String {
        loop {
            while matches!(timeout(ANSWER, connection.ping()).await, Ok(Ok(()))) {
                sleep(TICK).await;
            }
            // Without a goodbye, which a lost connection would wait for.
            drop(connection);
            warn!(
                pop = self.pop,
                "the connection that holds the POP was lost; it is taken again"
            );
            connection = loop {
                match timeout(ANSWER, self.again()).await {
                    Ok(Ok(Again::Held(connection))) => break connection,
                    Ok(Ok(Again::Taken(by))) => return by,
                    // The store is away, and with it whoever might want the POP.
                    Ok(Ok(Again::NotYet) | Err(_)) | Err(_) => sleep(TICK).await,
                }
            };
            info!(pop = self.pop, "the POP is held again");
        }
    }

    async fn again(&mut self) -> Result<Again, sqlx::Error> {
        let mut connection = self.options.connect().await?;
        let is_ours = lock(&mut connection, &self.pop).await?;
        match holder(&mut connection, &self.pop).await? {
            Some((fence, _)) if fence == self.fence && is_ours => {
                self.backend = Backend::of(&mut connection).await?;
                Ok(Again::Held(connection))
            }
            // The server still believes in the session that this daemon lost.
            Some((fence, _)) if fence == self.fence => {
                self.backend.terminate(&mut connection).await?;
                Ok(Again::NotYet)
            }
            taken => Ok(Again::Taken(match taken {
                Some((_, by)) => by,
                None => "somebody who removed it from the table pops".to_owned(),
            })),
        }
    }
}

enum Again {
    Held(PgConnection),
    Taken(String),
    NotYet,
}

async fn lock(connection: &mut PgConnection, pop: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(TRY_LOCK).bind(pop).fetch_one(connection).await
}

/// The fence of a POP, and who took it in words.
async fn holder(connection: &mut PgConnection, pop: &str) -> Result<Option<(i64, String)>, sqlx::Error> {
    let row: Option<(i64, String)> = sqlx::query_as(HOLDER)
        .bind(pop)
        .fetch_optional(connection)
        .await?;
    Ok(row.map(|(fence, body)| {
        let by = serde_json::from_str::<Holder>(&body).map_or(body, |holder| holder.to_string());
        (fence, by)
    }))
}
