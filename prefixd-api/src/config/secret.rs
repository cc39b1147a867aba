//! Secrets have their own type and never print.

use secrecy::{ExposeSecret, SecretString};
use std::path::Path;

/// A secret of the configuration; empty until it is loaded.
#[derive(Clone, Debug, Default)]
pub struct Secret(SecretString);

/// Shortest token that is accepted, in bytes.
const MIN_BYTES: usize = 16;

impl Secret {
    /// The secret itself, for comparing it.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Reads it from an environment variable or a file.
    ///
    /// # Errors
    /// Why it cannot be read or used.
    pub(super) fn load(env: Option<&str>, file: Option<&Path>) -> Result<Self, String> {
        let text = match (env, file) {
            (Some(name), None) => std::env::var(name)
                .map_err(|_| format!("is not to be had: the environment variable {name} is not set"))?,
            (None, Some(path)) => std::fs::read_to_string(path)
                .map_err(|error| format!("cannot be read from {}: {error}", path.display()))?,
            (None, None) => {
                return Err("says neither env nor file; one of them names where the token is".to_owned());
            }
            (Some(_), Some(_)) => return Err("says both env and file; keep one".to_owned()),
        };
        let text = text.trim_end_matches(['\n', '\r']);
        if text.len() < MIN_BYTES {
            return Err(format!(
                "is shorter than {MIN_BYTES} bytes; make one with: openssl rand -hex 32"
            ));
        }
        Ok(Self(text.to_owned().into()))
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}
