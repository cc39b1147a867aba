//! Reloading: all files or none.

use super::wiring;
use crate::engine::{Handle, Reload};
use crate::policy::Policy;
use prefixd_api::config::{self, Config, ConfigErrors};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::Mutex;
use tracing::{info, warn};

/// Reads the configuration again and puts it into force. Cheap to clone.
#[derive(Clone)]
pub struct Reloader {
    inner: Arc<Inner>,
}

struct Inner {
    dir: PathBuf,
    engine: Handle,
    /// Held during a reload: two at once would race for the last word.
    current: Mutex<Config>,
}

/// Why a reload changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// A file has mistakes.
    #[error("{0}")]
    Config(ConfigErrors),
    /// Keys changed that only a restart can change.
    #[error("{} needs a restart; change it back or restart prefixd", .0.join(", "))]
    NeedsRestart(Vec<String>),
    /// The speaker refused the neighbours.
    #[error("{0:#}")]
    Speaker(anyhow::Error),
    /// The journal could not be written.
    #[error("{0}; nothing was changed, try again")]
    Engine(#[from] crate::engine::SubmitError),
}

impl Reloader {
    /// Reloads from `dir`; `current` is in force.
    #[must_use]
    pub fn new(dir: PathBuf, current: Config, engine: Handle) -> Self {
        Self {
            inner: Arc::new(Inner {
                dir,
                engine,
                current: Mutex::new(current),
            }),
        }
    }

    /// Reads all files and puts them into force, or changes nothing.
    ///
    /// # Errors
    /// See [`ReloadError`].
    pub async fn reload(&self, actor: &str) -> Result<u64, ReloadError> {
        let result = self.try_reload(actor).await;
        match &result {
            Ok(head) => info!(actor, head, "the configuration was reloaded"),
            Err(error) => {
                warn!(actor, %error, "the configuration was not reloaded; the one before stays in force");
            }
        }
        result
    }

    async fn try_reload(&self, actor: &str) -> Result<u64, ReloadError> {
        let mut current = self.inner.current.lock().await;
        let next = config::load(&self.inner.dir).map_err(ReloadError::Config)?;
        let restart = next.settings.needs_restart(&current.settings);
        if !restart.is_empty() {
            return Err(ReloadError::NeedsRestart(restart));
        }
        let policy = Arc::new(Policy::compile(&next, &wiring::implicit(&next)));
        let speaker = wiring::speaker(&next).map_err(ReloadError::Speaker)?;
        speaker
            .validate()
            .map_err(|error| ReloadError::Speaker(error.into()))?;
        let reload = Reload {
            policy,
            settings: wiring::engine(&next),
            neighbors: speaker.neighbors,
            announce: wiring::neighbors(&next),
        };
        let head = self
            .inner
            .engine
            .reload(Box::new(reload), actor.to_owned())
            .await?;
        *current = next;
        Ok(head)
    }
}
