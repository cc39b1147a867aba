//! Every answer that is not 2xx: problem details, made here and nowhere else.

use crate::engine::SubmitError;
use crate::store::{CursorError, StoreError};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use prefixd_api::problem::{Code, FieldError, Problem};
use tracing::error;

/// Seconds after which a retry makes sense when the store or the queue is the reason.
const RETRY_AFTER: u32 = 1;

/// A refused or failed request.
#[derive(Debug)]
pub struct Failure(pub Box<Problem>);

impl Failure {
    /// A problem of this code.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self(Box::new(Problem::new(code, detail)))
    }

    /// One bad field.
    pub fn field(field: &str, message: impl Into<String>) -> Self {
        let message = message.into();
        let problem = Problem::new(Code::RequestField, format!("{field} {message}"));
        Self(Box::new(
            problem.with_errors(vec![FieldError::new(field, message)]),
        ))
    }

    /// Several bad fields.
    #[must_use]
    pub fn fields(errors: Vec<FieldError>) -> Self {
        let names: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
        let detail = format!("not valid: {}", names.join(", "));
        Self(Box::new(
            Problem::new(Code::RequestField, detail).with_errors(errors),
        ))
    }

    /// No such thing.
    #[must_use]
    pub fn not_found(what: &str) -> Self {
        Self::new(Code::NotFound, format!("there is no such {what}"))
    }

    /// A defect: the cause goes to the log, the client gets the request id.
    pub fn internal(cause: &dyn std::fmt::Display) -> Self {
        error!(%cause, "a request failed by a defect");
        Self::new(
            Code::Internal,
            "the daemon could not answer this; its log has the cause under the request id",
        )
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self(Box::new(problem))
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
            SubmitError::Store => Problem::new(
                Code::StoreUnavailable,
                "the database does not take changes; nothing is announced that is not recorded: send it again",
            )
            .with_retry_after(RETRY_AFTER),
            SubmitError::Defect => {
                Problem::new(Code::Internal, "deciding this failed; nothing was done. The daemon's log has the cause")
            }
        };
        problem.into()
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        error!(%error, "the store could not be read");
        Problem::new(Code::StoreUnavailable, "the database does not answer; try again")
            .with_retry_after(RETRY_AFTER)
            .into()
    }
}

impl From<CursorError> for Failure {
    fn from(error: CursorError) -> Self {
        Self::field("cursor", error.to_string())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let problem = self.0;
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        // Our own types always serialise; if not, the status alone still tells.
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(seconds) = problem.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(Told(problem));
        response
    }
}

/// The problem of an answer, for the gate to put the request id in.
#[derive(Clone)]
pub(super) struct Told(pub(super) Box<Problem>);
