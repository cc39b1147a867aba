//! Configuration documents: their types, their defaults and their validation.
//!
//! | module | what it holds |
//! |---|---|
//! | [`settings`] | `prefixd.yaml` |
//! | [`inventory`] | `inventory.yaml`: whose prefixes may be filtered |
//! | [`playbooks`] | `playbooks.yaml`: what to do for which attack |
//! | `shown` | what of the settings leaves the daemon |
//! | `locate` | from a key's path to its line and column |
//! | `validate` | what a document cannot say by its types alone |
//!
//! [`load`] reads a directory and answers a configuration that can be used, or every mistake it found.

pub mod inventory;
mod locate;
pub mod playbooks;
mod profile;
mod secret;
pub mod settings;
mod shown;
mod validate;

pub use inventory::Inventory;
pub use playbooks::Playbooks;
pub use profile::{NeighborLimits, Profile};
pub use settings::Settings;

use crate::configuration::{ConfigFile, Loss};
use crate::problem::{FieldError, Place};
use locate::Node;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use validate::Report;

/// The file of [`Settings`].
pub const SETTINGS: &str = ConfigFile::Settings.file_name();
/// The file of [`Inventory`].
pub const INVENTORY: &str = ConfigFile::Inventory.file_name();
/// The file of [`Playbooks`].
pub const PLAYBOOKS: &str = ConfigFile::Playbooks.file_name();

/// A configuration whose every value can be used.
#[derive(Clone, Debug)]
pub struct Config {
    /// `prefixd.yaml`.
    pub settings: Settings,
    /// `inventory.yaml`.
    pub inventory: Inventory,
    /// `playbooks.yaml`.
    pub playbooks: Playbooks,
    versions: Versions,
    places: Node,
    warnings: Vec<Mistake>,
}

/// The files as they were read: SHA-256 in hex, by name.
pub type Versions = BTreeMap<String, String>;

/// Something wrong in a document, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The file.
    pub file: String,
    /// Line and column, from 1; absent when the file cannot be read.
    pub at: Option<(u64, u64)>,
    /// The key, as a path; absent when it is the file as a whole.
    pub field: Option<String>,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// Every mistake that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<Mistake>);

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some((line, column)) = self.at {
            write!(f, ":{line}:{column}")?;
        }
        if let Some(field) = &self.field {
            write!(f, ": {field}")?;
        }
        write!(f, ": {}", self.message)
    }
}

impl From<Mistake> for FieldError {
    fn from(mistake: Mistake) -> Self {
        let (line, column) = mistake.at.unzip();
        Self {
            field: mistake.field.unwrap_or_else(|| mistake.file.clone()),
            message: mistake.message,
            place: Some(Place {
                file: mistake.file,
                line,
                column,
            }),
        }
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            mistake.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Reads and checks the documents of a directory. Relative paths in them are relative to it.
///
/// # Errors
/// Every mistake found: a document that is not well formed counts as one, the others are checked all the same.
pub fn load(dir: &Path) -> Result<Config, ConfigErrors> {
    Texts::read(dir, None)?.load(dir)
}

/// The files of a configuration, not looked into yet.
#[derive(Clone, Debug)]
pub struct Texts(BTreeMap<ConfigFile, String>);

impl Texts {
    /// Reads a directory, with one file as it is given instead of as it is there.
    ///
    /// # Errors
    /// Every file that cannot be read.
    pub fn read(dir: &Path, given: Option<(ConfigFile, String)>) -> Result<Self, ConfigErrors> {
        let mut texts: BTreeMap<_, _> = given.into_iter().collect();
        let mut mistakes = Vec::new();
        for file in ConfigFile::ALL {
            if texts.contains_key(&file) {
                continue;
            }
            match std::fs::read_to_string(dir.join(file.file_name())) {
                Ok(text) => drop(texts.insert(file, text)),
                Err(error) => mistakes.push(Mistake {
                    file: file.file_name().to_owned(),
                    at: None,
                    field: None,
                    message: format!("cannot be read: {error}"),
                }),
            }
        }
        if mistakes.is_empty() {
            Ok(Self(texts))
        } else {
            Err(ConfigErrors(mistakes))
        }
    }

    /// The version of a file.
    #[must_use]
    pub fn version(&self, file: ConfigFile) -> String {
        version(self.text(file))
    }

    fn text(&self, file: ConfigFile) -> &str {
        self.0.get(&file).map_or("", String::as_str)
    }

    /// Checks the documents and reads the secrets that they name.
    ///
    /// # Errors
    /// Every mistake found.
    pub fn load(&self, dir: &Path) -> Result<Config, ConfigErrors> {
        let [settings, inventory, playbooks] = ConfigFile::ALL.map(|file| self.text(file));
        let mut config = Config::from_texts(settings, inventory, playbooks)?;
        config.settings.resolve_paths(dir);
        let refused = config.settings.load_secrets(dir);
        let refused: Vec<Mistake> = refused
            .into_iter()
            .map(|(list, index, why)| config.mistake_in(list, Some(index), why))
            .collect();
        if refused.is_empty() {
            Ok(config)
        } else {
            Err(ConfigErrors(refused))
        }
    }
}

/// The version of a file: SHA-256 in hex.
#[must_use]
pub fn version(text: impl AsRef<[u8]>) -> String {
    Sha256::digest(text)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// A document as the text of its file. It is read again at once: a text that would be read as anything else is no text of it.
///
/// # Errors
/// What no file can say.
pub fn to_text<T>(file: ConfigFile, document: &T) -> Result<String, String>
where
    T: Serialize + DeserializeOwned + PartialEq,
{
    let text = serde_saphyr::to_string(document).map_err(|error| error.to_string())?;
    match Document::parse::<T>(file.file_name(), &text) {
        Ok(again) if again.value == *document => Ok(text),
        Ok(_) => Err(
            "would be read as something else from its file: ${NAME} in a text stands for a variable"
                .to_owned(),
        ),
        Err(mistake) => Err(format!("cannot be written to its file: {}", mistake.message)),
    }
}

/// What a text has that is lost when its document is written anew. A `#` that may begin a comment counts as one.
#[must_use]
pub fn losses(text: &str) -> Vec<Loss> {
    let may_begin_comment = |line: &str| {
        let before = |at: usize| line[..at].chars().next_back();
        line.match_indices('#')
            .any(|(at, _)| before(at).is_none_or(char::is_whitespace))
    };
    let comments = text.lines().any(may_begin_comment).then_some(Loss::Comments);
    let variables = text.contains("${").then_some(Loss::Variables);
    comments.into_iter().chain(variables).collect()
}

impl Config {
    /// Checks the documents. Secrets are not read yet.
    ///
    /// # Errors
    /// Every mistake found.
    pub fn from_texts(settings: &str, inventory: &str, playbooks: &str) -> Result<Self, ConfigErrors> {
        let texts = [
            (SETTINGS, settings),
            (INVENTORY, inventory),
            (PLAYBOOKS, playbooks),
        ];
        let versions = texts.map(|(file, text)| (file.to_owned(), version(text))).into();
        let settings = Document::parse::<Settings>(SETTINGS, settings);
        let inventory = Document::parse::<Inventory>(INVENTORY, inventory);
        let playbooks = Document::parse::<Playbooks>(PLAYBOOKS, playbooks);
        let (settings, inventory, playbooks) = match (settings, inventory, playbooks) {
            (Ok(settings), Ok(inventory), Ok(playbooks)) => (settings, inventory, playbooks),
            (settings, inventory, playbooks) => {
                let mistakes = [settings.err(), inventory.err(), playbooks.err()];
                return Err(ConfigErrors(mistakes.into_iter().flatten().collect()));
            }
        };
        let mut errors = Vec::new();
        let mut warnings = Vec::new();
        settings.check(&mut errors, &mut warnings, |report| {
            validate::settings(&settings.value, report);
            validate::next_hops(&settings.value, &inventory.value, report);
        });
        inventory.check(&mut errors, &mut warnings, |report| {
            validate::inventory(&inventory.value, report);
        });
        playbooks.check(&mut errors, &mut warnings, |report| {
            validate::playbooks(&playbooks.value, &settings.value, report);
            validate::matches(&playbooks.value, &inventory.value, report);
            validate::relaxed(&playbooks.value, &inventory.value, &settings.value, report);
        });
        if !errors.is_empty() {
            return Err(ConfigErrors(errors));
        }
        Ok(Self {
            settings: settings.value,
            inventory: inventory.value,
            playbooks: playbooks.value,
            versions,
            places: settings.places,
            warnings,
        })
    }

    /// Which files it was read from.
    #[must_use]
    pub fn versions(&self) -> &Versions {
        &self.versions
    }

    /// A mistake in `prefixd.yaml` that only its user can see, at the place of its key.
    pub fn mistake(&self, key: &str, message: impl fmt::Display) -> Mistake {
        self.mistake_in(key, None, message)
    }

    fn mistake_in(&self, key: &str, item: Option<usize>, message: impl fmt::Display) -> Mistake {
        let keys = key.split('.').map(|key| validate::Step::Key(key.to_owned()));
        let path: Vec<_> = keys.chain(item.map(validate::Step::Index)).collect();
        Mistake {
            file: SETTINGS.to_owned(),
            at: Some(self.places.place_of(&path)),
            field: Some(validate::written(&path)),
            message: message.to_string(),
        }
    }

    /// The version of a file.
    #[must_use]
    pub fn version(&self, file: ConfigFile) -> &str {
        self.versions.get(file.file_name()).map_or("", String::as_str)
    }

    /// What of the settings leaves the daemon: what is listed as harmless.
    ///
    /// # Errors
    /// When they cannot be written as JSON, which is a defect.
    pub fn shown_settings(&self) -> serde_json::Result<serde_json::Value> {
        shown::of(&self.settings)
    }

    /// What is allowed but probably not meant.
    #[must_use]
    pub fn warnings(&self) -> &[Mistake] {
        &self.warnings
    }
}

/// Keys that have their default are not written.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A parsed document with the places of its keys.
struct Document<T> {
    file: &'static str,
    value: T,
    places: Node,
}

impl Document<()> {
    fn parse<T: DeserializeOwned>(file: &'static str, text: &str) -> Result<Document<T>, Mistake> {
        let mistake = |at, message| Mistake {
            file: file.to_owned(),
            at,
            field: None,
            message,
        };
        let text = locate::expand_environment(text, |name| std::env::var(name).ok())
            .map_err(|(line, column, message)| mistake(Some((line, column)), message))?;
        let refused = |error: serde_saphyr::Error| {
            let at = error.location().map(|at| (at.line(), at.column()));
            mistake(at, locate::plain_message(&error))
        };
        let value = serde_saphyr::from_str(&text).map_err(refused)?;
        let places = serde_saphyr::from_str(&text).map_err(refused)?;
        Ok(Document { file, value, places })
    }
}

impl<T> Document<T> {
    fn check(&self, errors: &mut Vec<Mistake>, warnings: &mut Vec<Mistake>, judge: impl FnOnce(&mut Report)) {
        let mut report = Report::default();
        judge(&mut report);
        let place = |(path, message): (Vec<validate::Step>, String)| Mistake {
            file: self.file.to_owned(),
            at: Some(self.places.place_of(&path)),
            field: Some(validate::written(&path)),
            message,
        };
        errors.extend(report.errors.into_iter().map(place));
        warnings.extend(report.warnings.into_iter().map(place));
    }
}

#[cfg(test)]
mod tests;
