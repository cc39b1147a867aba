//! Every answer that is not 2xx: problem details, made here and nowhere else.

use crate::configuration::{EditError, ReloadError};
use crate::engine::SubmitError;
use crate::store::{CursorError, StoreError};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use prefixd_api::event::{EventAnswer, RefusedEvent};
use prefixd_api::problem::{Code, FieldError, PROBLEM_JSON, Problem};

/// Seconds after which a retry makes sense when the store or the queue is the reason.
const RETRY_AFTER: u32 = 1;

/// A refused or failed request.
#[derive(Debug)]
pub struct Failure(Box<Told>);

/// What is answered, and what only the log is told. The gate logs the cause and puts the request id in.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) problem: Problem,
    /// What the event came to that a guardrail refused: it is stored all the same.
    pub(super) event: Option<EventAnswer>,
    /// Why the daemon, and not the client, is at fault. Never leaves the daemon.
    pub(super) cause: Option<String>,
}

impl Failure {
    /// A problem of this code.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Problem::new(code, detail).into()
    }

    /// One bad field.
    pub fn field(field: &str, message: impl Into<String>) -> Self {
        let message = message.into();
        let problem = Problem::new(Code::RequestField, format!("{field} {message}"));
        problem.with_errors(vec![FieldError::new(field, message)]).into()
    }

    /// Several bad fields.
    #[must_use]
    pub fn fields(errors: Vec<FieldError>) -> Self {
        let names: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
        let detail = format!("not valid: {}", names.join(", "));
        Problem::new(Code::RequestField, detail)
            .with_errors(errors)
            .into()
    }

    /// No such thing.
    #[must_use]
    pub fn not_found(what: &str) -> Self {
        Self::new(Code::NotFound, format!("there is no such {what}"))
    }

    /// A defect: the cause goes to the log, the client gets the request id.
    pub fn internal(cause: &dyn std::fmt::Display) -> Self {
        Self::new(
            Code::Internal,
            "the daemon could not answer this; its log has the cause under the request id",
        )
        .because(cause)
    }

    /// With what the log is told under the request id.
    #[must_use]
    pub(super) fn because(mut self, cause: &dyn std::fmt::Display) -> Self {
        self.0.cause = Some(cause.to_string());
        self
    }

    /// With the answer of the event that was stored all the same.
    #[must_use]
    pub(super) fn of_event(mut self, answer: EventAnswer) -> Self {
        self.0.event = Some(answer);
        self
    }

    /// Whether it is this problem.
    pub(super) fn is(&self, code: Code) -> bool {
        self.0.problem.code == code.as_str()
    }

    /// What is answered.
    pub(super) fn into_problem(self) -> Problem {
        self.0.problem
    }

    /// What is answered and logged.
    pub(super) fn into_told(self) -> Told {
        *self.0
    }
}

impl Told {
    /// The body of the answer.
    pub(super) fn body(&self) -> Vec<u8> {
        // Our own types always serialise; if not, the status alone still tells.
        match &self.event {
            None => serde_json::to_vec(&self.problem),
            Some(answer) => serde_json::to_vec(&RefusedEvent {
                problem: self.problem.clone(),
                event_id: answer.event_id,
                external_event_id: answer.external_event_id.clone(),
                mitigation_id: answer.mitigation_id,
                group_id: answer.group_id,
            }),
        }
        .unwrap_or_default()
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self(Box::new(Told {
            problem,
            event: None,
            cause: None,
        }))
    }
}

impl From<Box<Problem>> for Failure {
    fn from(problem: Box<Problem>) -> Self {
        (*problem).into()
    }
}

impl From<SubmitError> for Failure {
    fn from(error: SubmitError) -> Self {
        let problem = match error {
            SubmitError::QueueFull => {
                Problem::new(Code::LimitQueue, "too much work is waiting; nothing was done, send it again")
                    .with_retry_after(RETRY_AFTER)
            }
            SubmitError::Stopping => {
                Problem::new(Code::Stopping, "the daemon is stopping; nothing was done, send it again")
                    .with_retry_after(RETRY_AFTER)
            }
            SubmitError::Lost => Problem::new(
                Code::Stopping,
                "the daemon ended before it was known whether this was done: send it again. An event with its event_id and \
                 timestamp, or a request with its Idempotency-Key, is not done twice",
            )
            .with_retry_after(RETRY_AFTER),
            SubmitError::Store => Problem::new(
                Code::StoreUnavailable,
                "the database does not take changes; nothing is announced that is not recorded: send it again",
            )
            .with_retry_after(RETRY_AFTER),
            SubmitError::Unknown => Problem::new(
                Code::StoreUnavailable,
                "the database does not say whether it recorded this: send it again. An event with its event_id and timestamp, or \
                 a request with its Idempotency-Key, is not done twice",
            )
            .with_retry_after(RETRY_AFTER),
            SubmitError::Unconfirmed(problem) => *problem,
            SubmitError::Defect => {
                Problem::new(Code::Internal, "deciding this failed; nothing was done. The daemon's log has the cause")
            }
        };
        problem.into()
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        // A row that cannot be read is not read any better by the next try.
        if matches!(
            error,
            StoreError::Unreadable(_)
                | StoreError::Database(sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. })
        ) {
            return Self::internal(&error);
        }
        Self::from(
            Problem::new(Code::StoreUnavailable, "the database does not answer; try again")
                .with_retry_after(RETRY_AFTER),
        )
        .because(&error)
    }
}

impl From<ReloadError> for Failure {
    fn from(error: ReloadError) -> Self {
        let told = match &error {
            // `errors` has them all.
            ReloadError::Config(errors) => match errors.0.as_slice() {
                [first, _, rest @ ..] => format!("{first} (and {} more)", rest.len() + 1),
                _ => error.to_string(),
            },
            error => error.to_string(),
        };
        let mistakes = match error {
            // The files are not to blame: the caller may try again.
            ReloadError::Engine(error) => return error.into(),
            ReloadError::Unconfirmed(problem) => return problem.into(),
            ReloadError::Config(errors) => errors.0,
            ReloadError::NeedsRestart(keys) => keys,
            ReloadError::Speaker(_) | ReloadError::Address(_) => Vec::new(),
        };
        Problem::new(Code::ConfigInvalid, told)
            .with_errors(mistakes.into_iter().map(FieldError::from).collect())
            .into()
    }
}

impl From<EditError> for Failure {
    fn from(error: EditError) -> Self {
        let told = error.to_string();
        match error {
            EditError::Stale { .. } => Self::new(Code::ConflictVersion, told),
            EditError::Pending(_) => Self::new(Code::ConflictUnloaded, told),
            EditError::Unwritable(why) => Self::field("document", why),
            EditError::File(_) => Self::new(Code::ConfigFile, told),
            EditError::Reload(error) => error.into(),
            // Never "nothing was done, send it again": something is left to do on the machine.
            EditError::Left { .. } => Self::new(Code::Internal, told.clone()).because(&told),
        }
    }
}

impl From<CursorError> for Failure {
    fn from(error: CursorError) -> Self {
        Self::field("cursor", error.to_string())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let told = self.into_told();
        let status = StatusCode::from_u16(told.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, told.body()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(seconds) = told.problem.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(told);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::StatusCode;
    use axum::response::IntoResponse;

    /// Full is told, never lost.
    #[test]
    fn what_may_be_sent_again_says_when() {
        for error in [
            SubmitError::QueueFull,
            SubmitError::Stopping,
            SubmitError::Lost,
            SubmitError::Store,
            SubmitError::Unknown,
        ] {
            let told = error.to_string();
            let response = Failure::from(error).into_response();
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{told}");
            assert_eq!(response.headers()[header::RETRY_AFTER], "1", "{told}");
        }
        assert_eq!(
            Failure::from(SubmitError::QueueFull).0.problem.code,
            "limit.queue"
        );
    }
}
