//! What can go wrong between a client and the daemon.

use crate::problem::Problem;
use crate::show::{MAX_TEXT_CHARS, clean, relative};
use std::fmt;
use std::time::Duration;

/// Why there is no answer, or which one the daemon gave. Shown text is safe for a terminal.
#[derive(Clone, Debug)]
pub enum Error {
    /// The client cannot be set up or the request cannot be written; nothing was sent.
    Setup(String),
    /// No connection; nothing was sent.
    Connect {
        /// Where to.
        endpoint: String,
        /// What failed.
        why: String,
    },
    /// No answer in time; a change may have happened.
    Timeout {
        /// Where from.
        endpoint: String,
        /// How long was waited.
        after: Duration,
    },
    /// The daemon refused, in its own words.
    Problem(Box<Problem>),
    /// Bytes that are no answer of prefixd; a change may have happened.
    Protocol(String),
    /// An answer of another form than this program knows, as from another version; a change has happened.
    Form(String),
}

impl Error {
    /// The daemon's code, when it refused.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Problem(problem) => Some(&problem.code),
            Self::Setup(_)
            | Self::Connect { .. }
            | Self::Timeout { .. }
            | Self::Protocol(_)
            | Self::Form(_) => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Setup(what) => what.clone(),
            Self::Connect { endpoint, why } => {
                format!("no connection to {endpoint}: {why}. Is prefixd running there?")
            }
            Self::Timeout { endpoint, after } => {
                format!("no answer from {endpoint} within {}", relative(*after))
            }
            Self::Problem(problem) => problem.to_string(),
            Self::Protocol(what) => what.clone(),
            Self::Form(what) => format!(
                "the answer has another form than expected ({what}): the daemon may be of another version"
            ),
        };
        f.write_str(&clean(&text, MAX_TEXT_CHARS))
    }
}

impl std::error::Error for Error {}

/// An error with its causes on one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

/// What an error comes from: between it and the last cause, libraries only name themselves.
pub(super) fn root(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
