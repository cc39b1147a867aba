//! What a start needs.
//!
//! A row that cannot be read never goes unsaid, and never opens a door. A mitigation that cannot be read is
//! reported and not announced; its scope stays taken in the database, so nothing takes its place unseen. A group
//! is reported and begins anew with the next event. Safelist entries, suppressions, disabled neighbours, the breaker and
//! what people stopped hold rules back, so without one of them nothing may be announced: loading fails.

use super::commit::{BREAKER, SOURCE, SUPPRESSION};
use super::db::on_db;
use super::{Store, StoreError, prefix};
use crate::journal::Head;
use crate::policy::{PeerMemory, Unconfirmed};
use futures_util::{Stream, TryFutureExt as _, TryStreamExt as _, stream};
use prefixd_api::control::{BreakerTripped, Stopped};
use prefixd_api::ids::GroupId;
use prefixd_api::mitigation::{Group, Mitigation, Scope, Suppression, WideSuppression};
use prefixd_api::peer::PeerDisabled;
use prefixd_api::resource::SafelistEntry;
use prefixd_api::source::SourcePaused;
use prefixd_api::time::Timestamp;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::spawn_blocking;
use uuid::Uuid;

/// How long a closed group still counts: its starts double the hold-down for a day.
const REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);
/// Rows that are read by another thread at once.
const BUNCH: usize = 100;

/// What was stored.
#[derive(Debug)]
pub struct Loaded {
    /// Live mitigations, oldest first.
    pub mitigations: Vec<Arc<Mitigation>>,
    /// The group of each scope: the open one, else the newest that had an event within a day.
    pub groups: Vec<Arc<Group>>,
    /// Suppressions that have not expired.
    pub suppressions: Vec<Suppression>,
    /// Suppressions of prefixes and sources, expired ones too until that is recorded.
    pub wide_suppressions: Vec<WideSuppression>,
    /// Safelist entries added through the API, expired ones too.
    pub safelist: Vec<SafelistEntry>,
    /// Neighbours that an operator disabled.
    pub disabled: Vec<PeerDisabled>,
    /// What neighbours ended their sessions over.
    pub quarantined: Vec<(Arc<str>, PeerMemory)>,
    /// The breaker, when it is tripped.
    pub breaker: Option<BreakerTripped>,
    /// Withdrawals that wait for a person to confirm them.
    pub unconfirmed: Vec<Unconfirmed>,
    /// What people stopped.
    pub stopped: Vec<Stopped>,
    /// Detectors that people paused.
    pub paused: Vec<SourcePaused>,
    /// The end of the POP's journal.
    pub head: Head,
    /// Rows that could not be read: mitigations among them are not announced.
    pub unreadable: Vec<Unreadable>,
    /// The scopes of live mitigations among them, which stay taken.
    pub taken: Vec<Scope>,
}

/// A row that is in the store and cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// What it is: `mitigation`, `event`, ...
    pub what: &'static str,
    /// Its name.
    pub name: String,
    /// What is wrong with it.
    pub error: String,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the stored {} {} cannot be read: {}",
            self.what, self.name, self.error
        )
    }
}

impl Store {
    /// Reads what a POP's engine starts from.
    ///
    /// # Errors
    /// When the store fails, or a safelist entry, suppression, disabled neighbour, the breaker or what people
    /// stopped cannot be read.
    pub async fn load(&self, pop: &str, now: Timestamp) -> Result<Loaded, StoreError> {
        // Row by row: there may be a hundred thousand, and none of their texts is needed longer than it takes to read.
        let (mut unreadable, mut taken) = (Vec::new(), Vec::new());
        let mut mitigations = Vec::new();
        on_db!(patiently self, |db| {
            let rows = sqlx::query_as::<_, (Uuid, Vec<u8>, String, String)>(
                "SELECT id, victim, vector, body FROM mitigations WHERE live = 1 AND pop = $1",
            )
            .bind(pop)
            .fetch(db);
            let mut read = read_beside(rows, |(id, victim, vector, body)| {
                read::<Mitigation>("mitigation", id, &body)
                    .map(Arc::new)
                    .map_err(|row| (row, scope(&victim, vector)))
            });
            while let Some(mitigation) = read.try_next().await? {
                match mitigation {
                    Ok(mitigation) => mitigations.push(mitigation),
                    Err((row, scope)) => {
                        unreadable.push(row);
                        taken.extend(scope);
                    }
                }
            }
        })?;
        // Here and not there: the order of the statement would be by another index than the one that finds them.
        mitigations.sort_unstable_by_key(|mitigation| (mitigation.created_at, mitigation.mitigation_id));
        let mut newest: HashMap<Scope, Arc<Group>> = HashMap::new();
        on_db!(patiently self, |db| {
            let rows = sqlx::query_as::<_, (Uuid, String)>(
                "SELECT id, body FROM signal_groups WHERE pop = $1 AND (closed_at IS NULL OR last_event_at >= $2)",
            )
            .bind(pop)
            .bind(now.saturating_sub(REMEMBERED).as_micros())
            .fetch(db);
            let mut read = read_beside(rows, |(id, body)| {
                read::<Group>("group", id, &body).map(|mut group| {
                    group.compact();
                    Arc::new(group)
                })
            });
            while let Some(group) = read.try_next().await? {
                match group {
                    Ok(group) => {
                        let before = newest.get(&group.scope);
                        if before.is_none_or(|before| age(before) < age(&group)) {
                            newest.insert(group.scope.clone(), group);
                        }
                    }
                    Err(row) => unreadable.push(row),
                }
            }
        })?;
        let groups = newest.into_values().collect();
        let rows: Vec<(String,)> = on_db!(patiently self, |db| {
            sqlx::query_as(
                "SELECT body FROM suppressions WHERE pop = $1 AND expires_at > $2 ORDER BY expires_at",
            )
            .bind(pop)
            .bind(now.as_micros())
            .fetch_all(db)
            .await?
        })?;
        let suppressions = all_or_nothing("suppression", rows)?;
        let safelist = self.safelist().await?;
        let rows: Vec<(String,)> = on_db!(patiently self, |db| {
            sqlx::query_as("SELECT body FROM disabled_peers WHERE pop = $1 ORDER BY neighbor")
                .bind(pop)
                .fetch_all(db)
                .await?
        })?;
        let disabled = all_or_nothing("disabled neighbour", rows)?;
        let rows: Vec<(String, String)> = on_db!(patiently self, |db| {
            sqlx::query_as("SELECT name, body FROM control WHERE pop = $1 ORDER BY name")
                .bind(pop)
                .fetch_all(db)
                .await?
        })?;
        let (breaker, rows): (Vec<_>, Vec<_>) = rows.into_iter().partition(|(name, _)| name == BREAKER);
        let (paused, stopped): (Vec<_>, Vec<_>) =
            rows.into_iter().partition(|(name, _)| name.starts_with(SOURCE));
        let (wide, stopped): (Vec<_>, Vec<_>) = stopped
            .into_iter()
            .partition(|(name, _): &(String, String)| name.starts_with(SUPPRESSION));
        let bodies = |rows: Vec<(String, String)>| rows.into_iter().map(|(_, body)| (body,)).collect();
        let breaker = all_or_nothing("breaker", bodies(breaker))?.pop();
        let paused = all_or_nothing("paused source", bodies(paused))?;
        let stopped = all_or_nothing("hold or panic", bodies(stopped))?;
        let wide_suppressions = all_or_nothing("suppression", bodies(wide))?;
        let rows: Vec<(String, String)> = on_db!(patiently self, |db| {
            sqlx::query_as("SELECT neighbor, body FROM parked WHERE pop = $1 ORDER BY neighbor")
                .bind(pop)
                .fetch_all(db)
                .await?
        })?;
        let mut quarantined = Vec::with_capacity(rows.len());
        for (neighbor, body) in rows {
            match serde_json::from_str(&body) {
                Ok(memory) => quarantined.push((Arc::from(neighbor), memory)),
                // Its rules are tried once more, which costs a session: less than not to start.
                Err(error) => unreadable.push(Unreadable {
                    what: "quarantine of neighbour",
                    name: neighbor,
                    error: error.to_string(),
                }),
            }
        }
        let rows: Vec<(Uuid, String)> = on_db!(patiently self, |db| {
            sqlx::query_as("SELECT id, body FROM unconfirmed WHERE pop = $1 ORDER BY id")
                .bind(pop)
                .fetch_all(db)
                .await?
        })?;
        let mut unconfirmed = Vec::with_capacity(rows.len());
        for (id, body) in rows {
            match read("unconfirmed withdrawal", id, &body) {
                Ok(waits) => unconfirmed.push(waits),
                Err(row) => unreadable.push(row),
            }
        }
        Ok(Loaded {
            unconfirmed,
            breaker,
            quarantined,
            stopped,
            paused,
            disabled,
            mitigations,
            groups,
            suppressions,
            wide_suppressions,
            safelist,
            head: self.journal_head(pop).await?,
            unreadable,
            taken,
        })
    }
}

/// Reads rows in bunches on another thread while the next are fetched.
fn read_beside<'rows, R: Send + 'static, T: Send + 'static>(
    rows: impl Stream<Item = Result<R, sqlx::Error>> + Send + 'rows,
    read: impl Fn(R) -> T + Copy + Send + 'static,
) -> Pin<Box<dyn Stream<Item = Result<T, StoreError>> + Send + 'rows>> {
    let bunches = rows.try_chunks(BUNCH).map_err(|error| StoreError::from(error.1));
    let read = bunches
        .map_ok(move |bunch| {
            let reading = spawn_blocking(move || bunch.into_iter().map(read).map(Ok).collect::<Vec<_>>());
            reading.map_err(|ended| StoreError::Thread(ended.into()))
        })
        .try_buffered(2);
    Box::pin(read.map_ok(stream::iter).try_flatten())
}

/// What of a scope's groups is greatest in the one that counts. Rows come in any order, and one batch may close a group
/// and open the next.
fn age(group: &Group) -> (bool, Timestamp, GroupId) {
    (group.closed_at.is_none(), group.last_event_at, group.group_id)
}

fn scope(victim: &[u8], vector: String) -> Option<Scope> {
    Some(Scope {
        victim: prefix::victim(victim)?,
        vector: vector.into(),
    })
}

fn read<T: DeserializeOwned>(what: &'static str, id: Uuid, body: &str) -> Result<T, Unreadable> {
    serde_json::from_str(body).map_err(|error| Unreadable {
        what,
        name: id.to_string(),
        error: error.to_string(),
    })
}

pub(super) fn all_or_nothing<T: DeserializeOwned>(
    what: &'static str,
    rows: Vec<(String,)>,
) -> Result<Vec<T>, StoreError> {
    rows.into_iter()
        .map(|(body,)| {
            serde_json::from_str(&body).map_err(|error| {
                StoreError::Unreadable(Unreadable {
                    what,
                    name: body,
                    error: error.to_string(),
                })
            })
        })
        .collect()
}
