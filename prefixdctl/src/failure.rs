//! What can go wrong, and the exit codes.

use crate::output::{Format, escaped};
use prefixd_api::client::Error;
use prefixd_api::problem::FieldError;
use prefixd_api::show::{MAX_TEXT_CHARS, clean};
use serde_json::json;
use std::io::{ErrorKind, Write};

/// What the shell is told. Numbers are a contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Done = 0,
    Other = 1,
    NoConnection = 2,
    NotSignedIn = 3,
    NotFound = 4,
    BadInput = 5,
    Guardrail = 6,
    Conflict = 7,
    Forbidden = 8,
    RateLimited = 9,
    Partial = 10,
    Differs = 11,
    TimedOut = 12,
    NotConfirmed = 13,
    Degraded = 20,
    Down = 21,
    Usage = 64,
    Defect = 70,
}

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The daemon refused or was not reached.
    #[error("{0}")]
    Api(#[from] Error),
    /// A change without an answer that tells what became of it.
    #[error("{0}; the change may have happened: look before you repeat it")]
    Unknown(Error),
    /// Options that do not go together.
    #[error("{0}")]
    Usage(String),
    /// A file or value that cannot be used.
    #[error("{0}")]
    Input(String),
    /// A short identifier that stands for nothing.
    #[error("{0}")]
    NotFound(String),
    /// More or fewer are affected than expected.
    #[error("{0}")]
    Conflict(String),
    /// Nobody agreed.
    #[error("{0}")]
    NotConfirmed(String),
    /// Some of several changes were made.
    #[error("{failed} of {total} failed")]
    Partial { failed: usize, total: usize },
    /// Some of a document could not be taken over.
    #[error("not everything was taken over: {missing} without an equivalent in prefixd")]
    Incomplete { missing: usize },
    /// A panic that the database does not have yet.
    #[error(
        "the panic is in force, but not recorded: the database takes no changes. That follows by itself; until then a start \
         of prefixd announces again what is stored"
    )]
    Unrecorded,
    /// What should be the same is not.
    #[error("{0}")]
    Differs(String),
    /// What was done has not come about in the time that was waited for it.
    #[error("{0}")]
    TimedOut(String),
    /// The daemon works, but not with all its parts.
    #[error("prefixd is degraded: {0}")]
    Degraded(String),
    /// The daemon does not work.
    #[error("prefixd is down: {0}")]
    Down(Error),
    /// The answer cannot be written.
    #[error("the output cannot be written: {0}")]
    Output(#[from] std::io::Error),
}

impl Failure {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Api(error) | Self::Unknown(error) => exit_of(error),
            Self::Usage(_) => Exit::Usage,
            Self::Input(_) => Exit::BadInput,
            Self::NotFound(_) => Exit::NotFound,
            Self::Conflict(_) => Exit::Conflict,
            Self::NotConfirmed(_) => Exit::NotConfirmed,
            Self::Partial { .. } | Self::Incomplete { .. } | Self::Unrecorded => Exit::Partial,
            Self::Differs(_) => Exit::Differs,
            Self::TimedOut(_) => Exit::TimedOut,
            Self::Degraded(_) => Exit::Degraded,
            Self::Down(_) => Exit::Down,
            Self::Output(error) if error.kind() == ErrorKind::BrokenPipe => Exit::Done,
            Self::Output(_) => Exit::Other,
        }
    }

    /// Tells the person or script on standard error.
    pub(crate) fn report(&self, format: Format) {
        if self.exit() == Exit::Done {
            return;
        }
        let text = match format {
            Format::Json | Format::Jsonl => format!("{}\n", escaped(&self.to_json().to_string())),
            Format::Table | Format::Wide | Format::Csv | Format::Ids => self.to_text(),
        };
        // Nobody is left to tell when standard error is gone.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }

    fn to_text(&self) -> String {
        let mut text = format!("prefixdctl: {}\n", clean(&self.to_string(), MAX_TEXT_CHARS));
        for detail in self.details() {
            let line = clean(&detail.to_string(), MAX_TEXT_CHARS);
            text.push_str(&format!("  {line}\n"));
        }
        text
    }

    fn to_json(&self) -> serde_json::Value {
        let message = match self {
            Self::Api(Error::Problem(problem)) => problem.detail.clone(),
            other => other.to_string(),
        };
        let request_id = match self {
            Self::Api(Error::Problem(problem)) => problem.request_id.as_deref(),
            _ => None,
        };
        json!({"error": {
            "code": self.code(),
            "message": message,
            "details": self.details(),
            "request_id": request_id,
        }})
    }

    fn details(&self) -> &[FieldError] {
        match self {
            Self::Api(Error::Problem(problem)) => &problem.errors,
            _ => &[],
        }
    }

    /// The daemon's code, or one of our own.
    fn code(&self) -> &str {
        match self {
            Self::Api(error) | Self::Unknown(error) | Self::Down(error) => code_of(error),
            Self::Usage(_) => "client.usage",
            Self::Input(_) => "client.input",
            Self::NotFound(_) => "not_found",
            Self::Conflict(_) => "conflict.expect_count",
            Self::NotConfirmed(_) => "client.not_confirmed",
            Self::Partial { .. } | Self::Incomplete { .. } => "client.partial",
            Self::Unrecorded => "client.unrecorded",
            Self::Differs(_) => "client.differs",
            Self::TimedOut(_) => "client.timed_out",
            Self::Degraded(_) => "client.degraded",
            Self::Output(_) => "client.output",
        }
    }
}

/// The daemon's code, or what kept it from answering.
pub(crate) fn code_of(error: &Error) -> &str {
    match error {
        Error::Problem(problem) => &problem.code,
        Error::Connect { .. } => "client.connect",
        Error::Timeout { .. } => "client.timeout",
        Error::Setup(_) => "client.setup",
        Error::Protocol(_) => "client.protocol",
        Error::Form(_) => "client.form",
    }
}

/// The exit code of an answer, or of none.
pub(crate) fn exit_of(error: &Error) -> Exit {
    match error {
        Error::Connect { .. } => Exit::NoConnection,
        Error::Setup(_) => Exit::BadInput,
        Error::Timeout { .. } | Error::Protocol(_) | Error::Form(_) => Exit::Other,
        Error::Problem(problem) => match (problem.status, problem.code.as_str()) {
            (_, code) if code.starts_with("guardrail.") => Exit::Guardrail,
            (_, code) if code.starts_with("limit.") => Exit::RateLimited,
            (401, _) => Exit::NotSignedIn,
            (403, _) => Exit::Forbidden,
            (404, _) => Exit::NotFound,
            (409 | 412, _) => Exit::Conflict,
            (429, _) => Exit::RateLimited,
            (400 | 413 | 415 | 422 | 428, _) => Exit::BadInput,
            _ => Exit::Other,
        },
    }
}
