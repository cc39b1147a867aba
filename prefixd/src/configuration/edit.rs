//! Changing one file through the API: checked as a whole configuration, written, put into force; or nothing at all.

use super::file::{self, ReplaceError, Replaced};
use super::reload::{By, Edited, Once, ReloadError, Reloader, Settled};
use crate::engine::{KeyedReload, SubmitError};
use prefixd_api::config::{self, Config, ConfigErrors, Inventory, Mistake, Playbooks, Texts};
use prefixd_api::configuration::{ConfigChanged, ConfigFile, Loss};
use std::path::PathBuf;
use std::sync::Arc;
use tracing::{error, info, warn};

/// What a file is to be.
#[derive(Clone, Debug)]
pub enum Content {
    /// This text, byte for byte.
    Text(String),
    /// This inventory; the file is written anew.
    Inventory(Inventory),
    /// These playbooks; the file is written anew.
    Playbooks(Playbooks),
}

/// A change of one file.
#[derive(Clone, Debug)]
pub struct Edit {
    /// Which file.
    pub file: ConfigFile,
    /// What it is to be.
    pub content: Content,
    /// The versions of which it may have one; absent: any, to check alone.
    pub expected: Option<Vec<String>>,
    /// How many mitigations may lose rules by a switch to dry-run; absent: none may.
    pub expect_count: Option<u64>,
    /// Only check it.
    pub validate_only: bool,
    /// Who asks, authenticated.
    pub actor: String,
}

/// A file as it is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnDisk {
    /// Its bytes.
    pub text: Vec<u8>,
    /// Their version.
    pub version: String,
}

/// Why a change changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The file has another version.
    #[error("{told}")]
    Stale {
        /// What is the matter.
        told: String,
        /// The version that it has.
        found: String,
    },
    /// Other files were changed on disk, and would come into force with it.
    #[error(
        "{} changed on disk and is not in force: this change would put it into force as well. See that it is right, reload, and \
         send this again",
        .0.join(" and ")
    )]
    Pending(Vec<&'static str>),
    /// The document cannot be written to its file.
    #[error("the document {0}")]
    Unwritable(String),
    /// The machine does not let us.
    #[error("{0}. docs/configuration.md says how prefixd may change its files")]
    File(String),
    /// The configuration would not come into force.
    #[error(transparent)]
    Reload(#[from] ReloadError),
    /// It did not come into force, and the file could not be put back.
    #[error("{error} The change is not in force, but {left}")]
    Left {
        /// Why it did not come into force.
        error: ReloadError,
        /// What is where.
        left: String,
    },
}

impl Reloader {
    /// A file as it is on disk.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn on_disk(&self, file: ConfigFile) -> Result<OnDisk, EditError> {
        let path = self.path(file);
        let text = on_a_thread(move || file::read(&path))
            .await?
            .map_err(|error| EditError::File(format!("{} cannot be read: {error}", file.file_name())))?;
        Ok(OnDisk {
            version: config::version(&text),
            text,
        })
    }

    /// Changes a file and puts it into force, or changes nothing.
    ///
    /// # Errors
    /// See [`EditError`].
    pub async fn edit(
        &self,
        edit: Edit,
        once: Option<Once<ConfigChanged>>,
    ) -> Result<Settled<ConfigChanged>, EditError> {
        let (file, actor) = (edit.file.file_name(), edit.actor.clone());
        // A task of its own: a caller that goes away must not leave it half done.
        let this = self.clone();
        let edited = tokio::spawn(async move { this.try_edit(edit, once).await });
        let result = edited
            .await
            .unwrap_or_else(|_| Err(ReloadError::Engine(SubmitError::Defect).into()));
        match &result {
            Ok(Settled::Done(told)) if told.head.is_some() => {
                info!(
                    actor,
                    file,
                    version = told.version,
                    "the configuration was changed"
                );
            }
            Ok(_) => {}
            Err(error @ EditError::Left { .. }) => {
                error!(actor, file, %error, "a change of the configuration was refused");
            }
            Err(error) => warn!(actor, file, %error, "a change of the configuration was refused"),
        }
        result
    }

    fn path(&self, file: ConfigFile) -> PathBuf {
        self.inner.dir.join(file.file_name())
    }

    async fn try_edit(
        &self,
        edit: Edit,
        once: Option<Once<ConfigChanged>>,
    ) -> Result<Settled<ConfigChanged>, EditError> {
        let mut database = self.inner.database.lock().await;
        if let Some(recalled) = self.recalled(once.as_ref().map(|once| &once.claim)).await? {
            return Ok(Settled::Recalled(recalled));
        }
        let Edit { file, content, .. } = edit;
        let (in_force, found) = (self.in_force(), self.on_disk(file).await?);
        if let Some(expected) = &edit.expected
            && !expected.contains(&found.version)
        {
            return Err(stale(file, found.version, &in_force));
        }
        let is_pending = found.version != in_force.version(file);
        let (text, by) = match &content {
            Content::Text(text) => (text.clone(), "text"),
            // What is asked for is there: no comment has to go.
            content if !is_pending && is_in_force(content, &in_force) => {
                (String::from_utf8_lossy(&found.text).into_owned(), "document")
            }
            Content::Inventory(inventory) => (
                config::to_text(file, inventory).map_err(EditError::Unwritable)?,
                "document",
            ),
            Content::Playbooks(playbooks) => (
                config::to_text(file, playbooks).map_err(EditError::Unwritable)?,
                "document",
            ),
        };
        let is_written = text.as_bytes() != found.text;
        let mut told = ConfigChanged {
            file,
            validated_only: edit.validate_only,
            changed: is_written,
            previous: found.version.clone(),
            version: config::version(&text),
            loses: lost(&content, is_written, &found),
            warnings: Vec::new(),
            backup: None,
            head: None,
        };
        let next = self.candidate(file, &text, &content, &in_force).await?;
        told.warnings = next.warnings().iter().map(ToString::to_string).collect();
        let prepared = self.prepare(next, &mut database).await?;
        if !(is_written || is_pending) {
            return Ok(Settled::Done(told));
        }
        // Before anything is on disk: whoever restarts prefixd meanwhile must not start with what nobody confirmed.
        self.may_come_into_force(&prepared, edit.expect_count)?;
        if edit.validate_only {
            return Ok(Settled::Done(told));
        }
        let edited = Edited {
            file,
            by,
            before: found.version.clone(),
            after: told.version.clone(),
        };
        let replaced = match is_written {
            true => Some(self.replace(file, &found.version, text, &in_force).await?),
            false => None,
        };
        told.backup = replaced.as_ref().map(Replaced::backup);
        let keyed = once.map(|Once { claim, answer }| {
            let told = told.clone();
            KeyedReload {
                claim,
                answer: Arc::new(move |head| {
                    answer(&ConfigChanged {
                        head: Some(head),
                        ..told.clone()
                    })
                }),
            }
        });
        let by = By {
            actor: &edit.actor,
            expect_count: edit.expect_count,
            edited: Some(edited),
            keyed,
        };
        match self.put_into_force(prepared, by).await {
            Ok(head) => told.head = Some(head),
            Err(error) => return Err(back(replaced, error).await),
        }
        if let Some(replaced) = replaced {
            // It is in force: that the one before has another name is no reason to say otherwise.
            let unkept = match on_a_thread(move || replaced.keep()).await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(error) => Some(error.to_string()),
            };
            if let Some(error) = unkept {
                told.backup = None;
                warn!(
                    error,
                    file = file.file_name(),
                    "the version before could not be given its name"
                );
            }
        }
        Ok(Settled::Done(told))
    }

    /// The configuration with one file as it is to be. The other files are those in force.
    async fn candidate(
        &self,
        file: ConfigFile,
        text: &str,
        content: &Content,
        in_force: &Config,
    ) -> Result<Config, EditError> {
        let (dir, given) = (self.inner.dir.clone(), (file, text.to_owned()));
        let read = on_a_thread(move || {
            let texts = Texts::read(&dir, Some(given));
            texts.map(|texts| (texts.load(&dir), texts))
        });
        let invalid =
            |errors: ConfigErrors| EditError::from(ReloadError::Config(placed(errors, file, content)));
        let (loaded, texts) = read.await?.map_err(invalid)?;
        let pending: Vec<_> = ConfigFile::ALL
            .into_iter()
            .filter(|other| *other != file && texts.version(*other) != in_force.version(*other))
            .map(ConfigFile::file_name)
            .collect();
        if pending.is_empty() {
            loaded.map_err(invalid)
        } else {
            Err(EditError::Pending(pending))
        }
    }

    async fn replace(
        &self,
        file: ConfigFile,
        expected: &str,
        text: String,
        in_force: &Config,
    ) -> Result<Replaced, EditError> {
        let (path, version) = (self.path(file), expected.to_owned());
        let unwatched: file::Watch = Box::new(|_| Ok(()));
        let replaced =
            on_a_thread(move || file::replace(&path, &version, text.as_bytes(), unwatched)).await?;
        replaced.map_err(|error| match error {
            ReplaceError::Changed { found } => stale(file, found, in_force),
            other => EditError::File(other.to_string()),
        })
    }
}

/// The file is put back, or it is said what is where.
async fn back(replaced: Option<Replaced>, error: ReloadError) -> EditError {
    let Some(replaced) = replaced else {
        return error.into();
    };
    match on_a_thread(move || replaced.put_back()).await {
        Ok(Ok(())) => error.into(),
        Ok(Err(left)) => EditError::Left { error, left },
        Err(defect) => defect,
    }
}

/// Another version is there than the one that the change is made to.
fn stale(file: ConfigFile, found: String, in_force: &Config) -> EditError {
    let name = file.file_name();
    let told = if found == in_force.version(file) {
        format!("{name} has another version now ({found}): read it again and make the change to that")
    } else {
        format!(
            "{name} was changed on disk ({found}) and that is not in force: read its text, which is what is there, and make the \
             change to that; or reload first"
        )
    };
    EditError::Stale { told, found }
}

fn is_in_force(content: &Content, in_force: &Config) -> bool {
    match content {
        Content::Text(_) => false,
        Content::Inventory(inventory) => *inventory == in_force.inventory,
        Content::Playbooks(playbooks) => *playbooks == in_force.playbooks,
    }
}

fn lost(content: &Content, is_written: bool, before: &OnDisk) -> Vec<Loss> {
    match content {
        Content::Text(_) => Vec::new(),
        _ if !is_written => Vec::new(),
        _ => config::losses(&String::from_utf8_lossy(&before.text)),
    }
}

/// Lines of a text that the caller never saw say nothing.
fn placed(errors: ConfigErrors, file: ConfigFile, content: &Content) -> ConfigErrors {
    if matches!(content, Content::Text(_)) {
        return errors;
    }
    let unplaced = |mistake: Mistake| Mistake {
        at: mistake.at.filter(|_| mistake.file != file.file_name()),
        ..mistake
    };
    ConfigErrors(errors.0.into_iter().map(unplaced).collect())
}

/// Disks may be slow, and syncing is.
async fn on_a_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, EditError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| ReloadError::Engine(SubmitError::Defect).into())
}
