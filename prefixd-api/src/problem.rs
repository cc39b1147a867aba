//! The one error shape: RFC 9457 problem details with stable codes.

use crate::guardrail::Guardrail;
use crate::why::Why;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The media type of a refusal (RFC 9457, section 3).
pub const PROBLEM_JSON: &str = "application/problem+json";

/// An answer that is not 2xx, also for unknown routes, wrong methods and internal errors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Problem {
    /// Always `about:blank`: the code says which problem it is.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// Stable code, documented in docs/errors.md.
    pub code: String,
    /// What happened, why, and what to do next.
    pub detail: String,
    /// Names the request in the daemon's log.
    pub request_id: Option<String>,
    /// When a retry makes sense.
    pub retry_after_seconds: Option<u32>,
    /// Each bad field of the request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// The trace of the decision that refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Box<Why>>,
}

/// One bad field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct FieldError {
    /// Its path in the request, such as `top_dst_ports[9]`.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
    /// Where it is in a file of the configuration.
    #[serde(default, flatten, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "server", schema(value_type = Place))]
    pub place: Option<Place>,
}

/// A place in a file of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Place {
    /// The file.
    #[cfg_attr(feature = "server", schema(required = false))]
    pub file: String,
    /// The line, from 1; absent where the text is not the client's, or the file cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// The column, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<u64>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        for number in [self.line, self.column].into_iter().flatten() {
            write!(f, ":{number}")?;
        }
        Ok(())
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        write!(f, "{}: {}", self.field, self.message)
    }
}

impl FieldError {
    /// One bad field and what is wrong with it.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            message: message.into(),
            place: None,
        }
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal, $status:literal, $title:literal;)*) => {
        /// Stable code of a problem.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[$doc])* $variant,)*
            /// A guardrail said no.
            Guardrail(Guardrail),
        }

        impl Code {
            /// All but the guardrails, with their status and meaning.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The code as answers carry it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* Self::Guardrail(guardrail) => guardrail.code() }
            }

            /// The HTTP status it comes with.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)* Self::Guardrail(_) => 422 }
            }

            /// The problem in a few words.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* Self::Guardrail(_) => "A guardrail refused this" }
            }
        }
    };
}

codes! {
    /// The body or the query is not well formed.
    RequestSyntax = "request.syntax", 400, "The request is not well formed";
    /// A field is out of range.
    RequestField = "request.field", 400, "A field is not valid";
    /// The body is larger than accepted.
    RequestTooLarge = "request.too_large", 413, "The request is too large";
    /// The request does not say which version it changes.
    RequestPrecondition = "request.precondition", 428, "Say which version is to be changed";
    /// No valid credentials came with the request.
    AuthRequired = "auth.required", 401, "Sign in first";
    /// The role is not enough.
    AuthForbidden = "auth.forbidden", 403, "This role may not do this";
    /// No such resource or route.
    NotFound = "not_found", 404, "Not found";
    /// The route knows other methods.
    MethodNotAllowed = "method_not_allowed", 405, "This method is not allowed here";
    /// The body is of another type than the route takes.
    MediaType = "media_type", 415, "The body is of another type than expected";
    /// A live mitigation holds the scope.
    ConflictExists = "conflict.exists", 409, "There is one already";
    /// The mitigation has ended.
    ConflictEnded = "conflict.ended", 409, "It has ended";
    /// It changed since it was read.
    ConflictRevision = "conflict.revision", 409, "It changed meanwhile";
    /// More or fewer are affected than expected.
    ConflictExpectCount = "conflict.expect_count", 409, "Another number is affected";
    /// Another person works on it.
    ConflictClaimed = "conflict.claimed", 409, "Somebody else works on it";
    /// The neighbour is disabled.
    ConflictDisabled = "conflict.disabled", 409, "The neighbour is disabled";
    /// A person said panic, and that stays in force.
    ConflictPanic = "conflict.panic", 409, "A panic is in force";
    /// It waits for others to say the same.
    ConflictPending = "conflict.pending", 409, "It is pending";
    /// A file of the configuration has another version than the request is for.
    ConflictVersion = "conflict.version", 412, "The file changed meanwhile";
    /// Another file was changed on disk and is not in force.
    ConflictUnloaded = "conflict.unloaded", 409, "Another file waits to come into force";
    /// The entry belongs to the configuration.
    ConflictConfigOwned = "conflict.config_owned", 409, "It belongs to the configuration";
    /// The same Idempotency-Key came with another body.
    IdempotencyMismatch = "idempotency.mismatch", 422, "The idempotency key was used for another request";
    /// What was asked under this Idempotency-Key was done; its answer was too long to be kept.
    IdempotencyTooLong = "idempotency.too_long", 409, "It was done, and the answer is not kept";
    /// Too many requests.
    LimitRate = "limit.rate", 429, "Too many requests";
    /// Too much work is waiting.
    LimitQueue = "limit.queue", 503, "Too much work is waiting";
    /// The database does not answer.
    StoreUnavailable = "store.unavailable", 503, "The store does not answer";
    /// The daemon is stopping.
    Stopping = "stopping", 503, "The daemon is stopping";
    /// The new configuration was refused; the old one stays in force.
    ConfigInvalid = "config.invalid", 400, "The configuration is not valid";
    /// The machine does not let the daemon read or replace a file of the configuration.
    ConfigFile = "config.file", 409, "The file cannot be read or replaced";
    /// A defect of the daemon; the log has the cause under the request id.
    Internal = "internal", 500, "Internal error";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Problem {
    /// A problem of this code.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank".to_owned(),
            title: code.title().to_owned(),
            status: code.status(),
            code: code.as_str().to_owned(),
            detail: detail.into(),
            request_id: None,
            retry_after_seconds: None,
            errors: Vec::new(),
            why: None,
        }
    }

    /// With the fields that are bad.
    #[must_use]
    pub fn with_errors(mut self, errors: Vec<FieldError>) -> Self {
        self.errors = errors;
        self
    }

    /// With the time after which a retry makes sense.
    #[must_use]
    pub fn with_retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    /// With the trace of the decision.
    #[must_use]
    pub fn with_why(mut self, why: Why) -> Self {
        self.why = Some(Box::new(why));
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.detail, self.code)
    }
}

impl std::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_documented() {
        let text = include_str!("../../docs/errors.md");
        let codes = Code::ALL
            .iter()
            .copied()
            .chain(Guardrail::ALL.iter().copied().map(Code::Guardrail));
        for code in codes {
            assert!(
                text.contains(&format!("| `{code}` |")),
                "docs/errors.md says nothing of {code}"
            );
        }
    }
}
