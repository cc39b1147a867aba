//! Secrets have their own type and never print.

use secrecy::{ExposeSecret, SecretString};
use std::path::Path;

/// A secret of the configuration; empty until it is loaded.
#[derive(Clone, Debug, Default)]
pub struct Secret(SecretString);

/// Shortest token that is accepted, in bytes.
const MIN_TOKEN: usize = 16;
/// Longest key of TCP-MD5 that a kernel takes, in bytes.
const MAX_MD5_KEY: usize = 80;

impl Secret {
    /// The secret itself, for comparing it.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Reads a token from an environment variable or a file.
    ///
    /// # Errors
    /// Why it cannot be read or used.
    pub(super) fn token(env: Option<&str>, file: Option<&Path>) -> Result<Self, String> {
        let text = match (env, file) {
            (None, None) => {
                return Err("says neither env nor file; one of them names where the token is".to_owned());
            }
            (Some(_), Some(_)) => return Err("says both env and file; keep one".to_owned()),
            (Some(name), None) => from_environment(name)?,
            (None, Some(path)) => from_file(path)?,
        };
        let secret = Self::of_line(&text);
        if secret.expose().len() < MIN_TOKEN {
            return Err(format!(
                "is shorter than {MIN_TOKEN} bytes; make one with: openssl rand -hex 32"
            ));
        }
        Ok(secret)
    }

    /// Reads the TCP-MD5 key of a neighbour, if it has one.
    ///
    /// # Errors
    /// Why it cannot be read or used.
    pub(super) fn md5_key(env: Option<&str>, file: Option<&Path>) -> Result<Option<Self>, String> {
        let text = match (env, file) {
            (None, None) => return Ok(None),
            (Some(_), Some(_)) => {
                return Err("says both password_env and password_file; keep one".to_owned());
            }
            (Some(name), None) => from_environment(name)?,
            (None, Some(path)) => from_file(path)?,
        };
        let secret = Self::of_line(&text);
        match secret.expose().len() {
            1..=MAX_MD5_KEY => Ok(Some(secret)),
            bytes => Err(format!(
                "has {bytes} bytes; a TCP-MD5 key has 1 to {MAX_MD5_KEY}, the same on the router"
            )),
        }
    }

    /// An end of line is not part of a secret.
    fn of_line(text: &SecretString) -> Self {
        Self(text.expose_secret().trim_end_matches(['\n', '\r']).into())
    }
}

fn from_environment(name: &str) -> Result<SecretString, String> {
    std::env::var(name)
        .map(SecretString::from)
        .map_err(|_| format!("is not to be had: the environment variable {name} is not set"))
}

fn from_file(path: &Path) -> Result<SecretString, String> {
    std::fs::read_to_string(path)
        .map(SecretString::from)
        .map_err(|error| format!("cannot be read from {}: {error}", path.display()))
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}
