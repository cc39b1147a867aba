//! The configuration through the API: files, documents, and what became of a change.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;
use std::str::FromStr;

/// The media type of a file (RFC 9512).
pub const YAML: &str = "application/yaml";
/// Longest file that can be changed through the API, in bytes.
pub const MAX_FILE: usize = 4 * 1024 * 1024;

/// A file of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum ConfigFile {
    /// `prefixd.yaml`.
    Settings,
    /// `inventory.yaml`.
    Inventory,
    /// `playbooks.yaml`.
    Playbooks,
}

impl ConfigFile {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Settings, Self::Inventory, Self::Playbooks];

    /// Its name in routes and commands.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Settings => "settings",
            Self::Inventory => "inventory",
            Self::Playbooks => "playbooks",
        }
    }

    /// Its name in the directory.
    #[must_use]
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::Settings => "prefixd.yaml",
            Self::Inventory => "inventory.yaml",
            Self::Playbooks => "playbooks.yaml",
        }
    }
}

impl fmt::Display for ConfigFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ConfigFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|file| [file.as_str(), file.file_name()].contains(&text))
            .ok_or_else(|| {
                format!("{text:?} is no file of the configuration; known: settings, inventory, playbooks")
            })
    }
}

/// What is in force of a file. Its version is the entity tag as well.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct ConfigDocument {
    /// Which file.
    pub file: ConfigFile,
    /// SHA-256 of the file that is in force, in hex.
    pub version: String,
    /// The file on disk is another one, which is not in force.
    pub differs_on_disk: bool,
    /// What a change of the document would lose, because it writes the file anew. A change of the text loses nothing.
    pub loses: Vec<Loss>,
    /// The document; keys that have their default may be absent. Of the settings what is shown of them: no secrets, and no names of where they are.
    #[cfg_attr(feature = "server", schema(value_type = Object))]
    pub document: Value,
}

/// What a file has and a document has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Loss {
    /// Comments, or what may be comments.
    Comments,
    /// Names of environment variables: the document has their values.
    Variables,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Comments => "comments",
            Self::Variables => "names of environment variables",
        })
    }
}

/// What became of a change, or would become of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct ConfigChanged {
    /// Which file.
    pub file: ConfigFile,
    /// Whether it was only checked.
    pub validated_only: bool,
    /// Whether the file was, or would be, written. What says the same already is left alone.
    pub changed: bool,
    /// The version before.
    pub previous: String,
    /// The version now, or as it would be.
    pub version: String,
    /// What was lost of the file before, because the change wrote it anew.
    pub loses: Vec<Loss>,
    /// What is allowed and probably not meant.
    pub warnings: Vec<String>,
    /// The file that has the version before; absent when nothing was written.
    pub backup: Option<String>,
    /// Position of the journal entry with which it came into force; absent when nothing did.
    pub head: Option<u64>,
}

/// The text of a file and its version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConfigText {
    /// Which file.
    pub file: ConfigFile,
    /// SHA-256 of the text, in hex.
    pub version: String,
    /// Byte for byte.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_by_both_of_its_names() {
        for file in ConfigFile::ALL {
            assert_eq!(file.as_str().parse(), Ok(file));
            assert_eq!(file.file_name().parse(), Ok(file));
        }
        for other in ["", "alerting", "../prefixd.yaml", "prefixd.yaml.bak"] {
            assert!(other.parse::<ConfigFile>().is_err(), "{other}");
        }
    }
}
