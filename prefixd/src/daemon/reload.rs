//! Reloading: all files or none.

use super::log::LogLevel;
use super::wiring;
use crate::announce::Announcer;
use crate::engine::{Handle, Reload, SubmitError};
use crate::http::{Failure, Live};
use crate::policy::Policy;
use arc_swap::ArcSwap;
use prefixd_api::config::{self, Config, ConfigErrors, Settings, Versions};
use prefixd_api::problem::{Code, Problem};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::Mutex;
use tracing::{error, info, warn};

/// Reads the configuration again and puts it into force. Cheap to clone.
#[derive(Clone)]
pub struct Reloader {
    inner: Arc<Inner>,
}

struct Inner {
    dir: PathBuf,
    parts: Reloaded,
    in_force: ArcSwap<Settings>,
    /// Held during a reload: two at once would race for the last word.
    known: Mutex<Known>,
}

/// What was found out besides the settings.
struct Known {
    /// Where the database is, as known last.
    database: Vec<IpAddr>,
    /// The files that are in force.
    versions: Versions,
}

/// The parts that a reload changes.
pub struct Reloaded {
    /// Decisions, and what it is that comes into force.
    pub engine: Handle,
    /// The neighbours.
    pub announcer: Arc<Announcer>,
    /// Who may ask, and how often.
    pub http: Arc<Live>,
    /// The log.
    pub log: Arc<LogLevel>,
}

/// Why a reload changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// A file has mistakes.
    #[error("{0}")]
    Config(ConfigErrors),
    /// Keys changed that only a restart can change.
    #[error("{} cannot change while prefixd runs; change it back, or restart prefixd", .0.join(", "))]
    NeedsRestart(Vec<String>),
    /// The speaker refused the neighbours.
    #[error("{0:#}")]
    Speaker(anyhow::Error),
    /// An address that must be protected is not known.
    #[error("{0:#}; nothing was changed")]
    Address(anyhow::Error),
    /// It would take rules off the routers, and nobody said that it may.
    #[error("{}", .0.detail)]
    Unconfirmed(Box<Problem>),
    /// The journal could not be written.
    #[error("{0}; nothing was changed, try again")]
    Engine(SubmitError),
}

impl From<SubmitError> for ReloadError {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Unconfirmed(problem) => Self::Unconfirmed(problem),
            error => Self::Engine(error),
        }
    }
}

impl Reloader {
    /// Reloads from `dir`; `current` is in force, and the database is at these addresses.
    #[must_use]
    pub fn new(dir: PathBuf, current: &Config, database: Vec<IpAddr>, parts: Reloaded) -> Self {
        Self {
            inner: Arc::new(Inner {
                dir,
                parts,
                in_force: ArcSwap::from_pointee(current.settings.clone()),
                known: Mutex::new(Known {
                    database,
                    versions: current.versions().clone(),
                }),
            }),
        }
    }

    /// What is in force.
    #[must_use]
    pub fn settings(&self) -> Arc<Settings> {
        self.inner.in_force.load_full()
    }

    /// Reads all files and puts them into force, or changes nothing. What switches to dry-run takes rules off the routers,
    /// which must be as many mitigations' as expected.
    ///
    /// # Errors
    /// See [`ReloadError`].
    pub async fn reload(&self, actor: &str, expect_count: Option<u64>) -> Result<u64, ReloadError> {
        // A task of its own: a caller that goes away must not leave it half done.
        let (this, by) = (self.clone(), actor.to_owned());
        let reload = tokio::spawn(async move { this.try_reload(&by, expect_count).await });
        let result = reload
            .await
            .unwrap_or(Err(ReloadError::Engine(SubmitError::Defect)));
        match &result {
            Ok(head) => info!(actor, head, "the configuration was reloaded"),
            Err(error) => {
                warn!(actor, %error, "the configuration was not reloaded; the one before stays in force");
            }
        }
        result
    }

    async fn try_reload(&self, actor: &str, expect_count: Option<u64>) -> Result<u64, ReloadError> {
        let parts = &self.inner.parts;
        let mut known = self.inner.known.lock().await;
        let Known { database, versions } = &mut *known;
        let next = config::load(&self.inner.dir).map_err(ReloadError::Config)?;
        let restart = next.settings.needs_restart(&self.settings());
        if !restart.is_empty() {
            return Err(ReloadError::NeedsRestart(restart));
        }
        match wiring::database(&next.settings.storage.connection_string).await {
            // Connections to where it was may go on.
            Ok(found) => {
                let new: Vec<_> = found
                    .into_iter()
                    .filter(|address| !database.contains(address))
                    .collect();
                database.extend(new);
            }
            Err(error) => {
                warn!(error = format!("{error:#}"), known = ?database, "the addresses known last stay protected");
            }
        }
        let implicit = wiring::implicit(&next, database).map_err(ReloadError::Address)?;
        let policy = Arc::new(Policy::compile(&next, &implicit));
        let speaker = wiring::speaker(&next).map_err(ReloadError::Speaker)?;
        speaker
            .validate()
            .map_err(|error| ReloadError::Speaker(error.into()))?;
        let reload = Reload {
            policy,
            settings: wiring::engine(&next),
            neighbors: speaker.neighbors,
            announce: wiring::neighbors(&next),
            told: told(versions, next.versions()),
            expect_count,
        };
        let head = parts.engine.reload(Box::new(reload), actor.to_owned()).await?;
        // It is in the journal: nothing from here on can refuse it.
        next.versions().clone_into(versions);
        parts.http.adopt(&next.settings);
        parts.log.set(next.settings.observability.log_level);
        let common = parts
            .announcer
            .speaker()
            .set_common(speaker.hold_time, speaker.marker);
        if let Err(error) = common {
            error!(%error, "the speaker refused a hold time or marker that had been checked; they stay as they were");
        }
        self.inner.in_force.store(Arc::new(next.settings));
        Ok(head)
    }
}

impl From<ReloadError> for Failure {
    fn from(error: ReloadError) -> Self {
        match error {
            // The files are not to blame: the caller may try again.
            ReloadError::Engine(error) => error.into(),
            ReloadError::Unconfirmed(problem) => problem.into(),
            error => Self::new(Code::ConfigInvalid, error.to_string()),
        }
    }
}

/// What the journal keeps of a reload: which files came into force, and which of them are others than before. Not what is in
/// them: the journal is shown to more people than the files are.
fn told(before: &Versions, after: &Versions) -> String {
    let changed: Vec<_> = after
        .iter()
        .filter(|(file, version)| before.get(*file) != Some(version))
        .map(|(file, _)| file)
        .collect();
    serde_json::json!({ "files": after, "changed": changed }).to_string()
}
