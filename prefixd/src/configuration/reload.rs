//! Reloading: all files or none.

use super::{check, wiring};
use crate::announce::Announcer;
use crate::clock::Clock;
use crate::engine::{Handle, KeyedReload, Reload, SubmitError, unconfirmed_dry_run};
use crate::policy::Policy;
use crate::store::answers::KEPT_FOR;
use crate::store::{Claim, KeptAnswer, Recalled, Store};
use arc_swap::ArcSwap;
use prefixd_api::config::{self, Config, ConfigErrors, Mistake, Settings, Versions};
use prefixd_api::configuration::ConfigFile;
use prefixd_api::problem::Problem;
use prefixd_bgp::SpeakerConfig;
use serde_json::json;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::Mutex;
use tracing::{error, info, warn};

/// Reads the configuration again and puts it into force; changes its files. Cheap to clone.
#[derive(Clone)]
pub struct Reloader {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) dir: PathBuf,
    parts: Reloaded,
    in_force: ArcSwap<Config>,
    /// Where the database is, as known last. Held during a reload or a change: two at once would race for the last word.
    pub(super) database: Mutex<Vec<IpAddr>>,
}

/// The parts that a reload changes.
pub struct Reloaded {
    /// Decisions, and what it is that comes into force.
    pub engine: Handle,
    /// The neighbours.
    pub announcer: Arc<Announcer>,
    /// Where answers are kept.
    pub store: Arc<Store>,
    /// The engine's clock.
    pub clock: Arc<Clock>,
    /// Everything that only has to be told: who may ask, the log.
    pub adopt: Box<dyn Fn(&Settings) + Send + Sync>,
}

/// A request that must not be carried out twice, and what it is answered.
pub struct Once<T> {
    /// Its key.
    pub claim: Claim,
    /// Its answer, as it is kept.
    pub answer: Arc<dyn Fn(&T) -> KeptAnswer + Send + Sync>,
}

/// What became of a request.
#[derive(Debug)]
pub enum Settled<T> {
    /// It was carried out.
    Done(T),
    /// Its key was known.
    Recalled(Recalled),
}

/// Why a reload changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// A file has mistakes.
    #[error("{0}")]
    Config(ConfigErrors),
    /// Keys changed that only a restart can change.
    #[error("{} cannot change while prefixd runs; change it back, or restart prefixd", keys(.0))]
    NeedsRestart(Vec<Mistake>),
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

fn keys(mistakes: &[Mistake]) -> String {
    let keys = mistakes.iter().filter_map(|mistake| mistake.field.as_deref());
    keys.collect::<Vec<_>>().join(", ")
}

/// What can come into force: nothing but the journal can refuse it any more.
pub(super) struct Prepared {
    next: Config,
    policy: Arc<Policy>,
    speaker: SpeakerConfig,
}

/// Who puts a configuration into force, and what they know of it.
pub(super) struct By<'a> {
    pub(super) actor: &'a str,
    /// How many mitigations may lose rules by a switch to dry-run; none: none may.
    pub(super) expect_count: Option<u64>,
    /// The one file that they changed.
    pub(super) edited: Option<Edited>,
    /// The key of their request.
    pub(super) keyed: Option<KeyedReload>,
}

/// For the journal: that one file was changed, by whom the entry says.
pub(super) struct Edited {
    pub(super) file: ConfigFile,
    /// As a document, or as text.
    pub(super) by: &'static str,
    pub(super) before: String,
    pub(super) after: String,
}

impl Reloader {
    /// Reloads from `dir`; `current` is in force, and the database is at these addresses.
    #[must_use]
    pub fn new(dir: PathBuf, current: Config, database: Vec<IpAddr>, parts: Reloaded) -> Self {
        Self {
            inner: Arc::new(Inner {
                dir,
                parts,
                in_force: ArcSwap::from_pointee(current),
                database: Mutex::new(database),
            }),
        }
    }

    /// What is in force.
    #[must_use]
    pub fn in_force(&self) -> Arc<Config> {
        self.inner.in_force.load_full()
    }

    /// Reads all files and puts them into force, or changes nothing. What switches to dry-run takes rules off the routers,
    /// which must be as many mitigations' as expected.
    ///
    /// # Errors
    /// See [`ReloadError`].
    pub async fn reload(
        &self,
        actor: &str,
        expect_count: Option<u64>,
        once: Option<Once<u64>>,
    ) -> Result<Settled<u64>, ReloadError> {
        // A task of its own: a caller that goes away must not leave it half done.
        let (this, by) = (self.clone(), actor.to_owned());
        let reload = tokio::spawn(async move { this.try_reload(&by, expect_count, once).await });
        let result = reload
            .await
            .unwrap_or(Err(ReloadError::Engine(SubmitError::Defect)));
        match &result {
            Ok(Settled::Done(head)) => info!(actor, head, "the configuration was reloaded"),
            Ok(Settled::Recalled(_)) => {}
            Err(error) => {
                warn!(actor, %error, "the configuration was not reloaded; the one before stays in force");
            }
        }
        result
    }

    async fn try_reload(
        &self,
        actor: &str,
        expect_count: Option<u64>,
        once: Option<Once<u64>>,
    ) -> Result<Settled<u64>, ReloadError> {
        let mut database = self.inner.database.lock().await;
        if let Some(recalled) = self.recalled(once.as_ref().map(|once| &once.claim)).await? {
            return Ok(Settled::Recalled(recalled));
        }
        let next = config::load(&self.inner.dir).map_err(ReloadError::Config)?;
        let prepared = self.prepare(next, &mut database).await?;
        let keyed = once.map(|Once { claim, answer }| KeyedReload {
            claim,
            answer: Arc::new(move |head| answer(&head)),
        });
        let by = By {
            actor,
            expect_count,
            edited: None,
            keyed,
        };
        self.put_into_force(prepared, by).await.map(Settled::Done)
    }

    /// What is known of a key. Nobody else reloads or changes anything meanwhile, so that it stays so.
    pub(super) async fn recalled(&self, claim: Option<&Claim>) -> Result<Option<Recalled>, ReloadError> {
        let Some(claim) = claim else {
            return Ok(None);
        };
        let parts = &self.inner.parts;
        let since = parts.clock.now().saturating_sub(KEPT_FOR);
        let pop = self.in_force().settings.pop.clone();
        let known = parts
            .store
            .find_kept(&pop, since, std::slice::from_ref(&claim.name))
            .await;
        let known = known.map_err(|error| {
            warn!(%error, "the store did not say whether a request is a duplicate; its sender is told to retry");
            ReloadError::Engine(SubmitError::Store)
        })?;
        Ok(known.first().map(|kept| kept.recall(&claim.request)))
    }

    /// Everything that can refuse a configuration but the journal.
    pub(super) async fn prepare(
        &self,
        next: Config,
        database: &mut Vec<IpAddr>,
    ) -> Result<Prepared, ReloadError> {
        check(&next).map_err(ReloadError::Config)?;
        let restart = next.settings.needs_restart(&self.in_force().settings);
        if !restart.is_empty() {
            let needs = |key: &String| next.mistake(key, "cannot change while prefixd runs");
            return Err(ReloadError::NeedsRestart(restart.iter().map(needs).collect()));
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
        Ok(Prepared {
            next,
            policy,
            speaker,
        })
    }

    /// Whether the engine would take it now. It asks again when it comes to it.
    pub(super) fn may_come_into_force(
        &self,
        prepared: &Prepared,
        expect_count: Option<u64>,
    ) -> Result<(), ReloadError> {
        let parts = &self.inner.parts;
        let snapshot = parts.engine.snapshot();
        if snapshot.store_failing_since.is_some() {
            return Err(SubmitError::Store.into());
        }
        let neighbors = wiring::neighbors(&prepared.next);
        match unconfirmed_dry_run(
            &snapshot.state,
            &parts.announcer,
            &prepared.policy,
            &neighbors,
            expect_count,
        ) {
            Some(problem) => Err(SubmitError::Unconfirmed(problem).into()),
            None => Ok(()),
        }
    }

    pub(super) async fn put_into_force(&self, prepared: Prepared, by: By<'_>) -> Result<u64, ReloadError> {
        let (parts, edited) = (&self.inner.parts, by.edited.as_ref());
        let Prepared {
            next,
            policy,
            speaker,
        } = prepared;
        let reload = Reload {
            policy,
            settings: wiring::engine(&next),
            neighbors: speaker.neighbors,
            announce: wiring::neighbors(&next),
            subject: edited
                .map_or("config", |edited| edited.file.file_name())
                .to_owned(),
            told: told(self.in_force().versions(), next.versions(), edited),
            expect_count: by.expect_count,
            keyed: by.keyed,
        };
        let head = parts.engine.reload(Box::new(reload), by.actor.to_owned()).await?;
        // It is in the journal: nothing from here on can refuse it.
        (parts.adopt)(&next.settings);
        let common = parts
            .announcer
            .speaker()
            .set_common(speaker.hold_time, speaker.marker);
        if let Err(error) = common {
            error!(%error, "the speaker refused a hold time or marker that had been checked; they stay as they were");
        }
        self.inner.in_force.store(Arc::new(next));
        Ok(head)
    }
}

/// What the journal keeps of a reload: which files came into force, and which of them are others than before; of a change,
/// which one it was. Not what is in them: the journal is shown to more people than the files are.
fn told(before: &Versions, after: &Versions, edited: Option<&Edited>) -> String {
    let changed: Vec<_> = after
        .iter()
        .filter(|(file, version)| before.get(*file) != Some(version))
        .map(|(file, _)| file)
        .collect();
    let mut told = json!({ "files": after, "changed": changed });
    if let Some(edited) = edited {
        told["edited"] = json!({
            "file": edited.file.file_name(), "by": edited.by, "before": edited.before, "after": edited.after,
        });
    }
    told.to_string()
}
