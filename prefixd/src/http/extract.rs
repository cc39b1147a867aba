//! Bodies and queries, refused in the one error shape.

use super::error::Failure;
use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::header;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use prefixd_api::problem::Code;
use prefixd_api::time::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::str::FromStr;
use std::time::Duration;
use tokio::time::timeout;

/// Longest body.
pub(super) const MAX_BODY: usize = 1024 * 1024;
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(15);
/// Items of a page when the query names no number, and at most.
const PAGE: (u16, u16) = (100, 1000);

/// A JSON body.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Failure;

    async fn from_request(request: Request<Body>, _: &S) -> Result<Self, Failure> {
        let kind = request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok())
            .unwrap_or_default();
        let essence = kind.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("application/json") {
            return Err(Failure::new(
                Code::MediaType,
                format!(
                    "the body is {}; send it as application/json",
                    if essence.is_empty() { "of no type" } else { essence }
                ),
            ));
        }
        let body = Limited::new(request.into_body(), MAX_BODY).collect();
        let bytes = match timeout(BODY_TIMEOUT, body).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                return Err(Failure::new(
                    Code::RequestTooLarge,
                    format!("the body is longer than {MAX_BODY} bytes"),
                ));
            }
            Ok(Err(error)) => {
                return Err(Failure::new(
                    Code::RequestSyntax,
                    format!("the body did not arrive: {error}"),
                ));
            }
            Err(_) => {
                return Err(Failure::new(
                    Code::RequestSyntax,
                    format!("the body did not arrive within {} s", BODY_TIMEOUT.as_secs()),
                ));
            }
        };
        parse(&bytes).map(Self)
    }
}

/// Parses JSON; an unknown or mistyped field is named by serde's message.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(bytes).map_err(|error| {
        let code = if error.is_data() {
            Code::RequestField
        } else {
            Code::RequestSyntax
        };
        Failure::new(code, format!("the body is not as expected: {error}"))
    })
}

/// An answer of status 200.
pub(super) fn ok<T: Serialize>(value: &T) -> Result<Response, Failure> {
    answer(200, value)
}

/// An answer in JSON.
pub(super) fn answer<T: Serialize>(status: u16, value: &T) -> Result<Response, Failure> {
    let body = serde_json::to_vec(value).map_err(|error| Failure::internal(&error))?;
    let status = axum::http::StatusCode::from_u16(status).map_err(|error| Failure::internal(&error))?;
    Ok((status, [(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// The query of a list, taken apart key by key: what is left at the end is unknown.
pub(super) struct Query {
    pairs: Vec<(String, String)>,
    taken: Vec<&'static str>,
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let pairs = axum::extract::Query::<Vec<(String, String)>>::from_request_parts(parts, state)
            .await
            .map_err(|error| {
                Failure::new(
                    Code::RequestSyntax,
                    format!("the query is not well formed: {error}"),
                )
            })?;
        Ok(Self {
            pairs: pairs.0,
            taken: Vec::new(),
        })
    }
}

/// What every list takes.
pub(super) struct Paging {
    pub(super) limit: u16,
    pub(super) cursor: Option<String>,
    pub(super) start: Option<Timestamp>,
    pub(super) end: Option<Timestamp>,
}

impl Query {
    /// The value of a key.
    pub(super) fn text(&mut self, key: &'static str) -> Result<Option<String>, Failure> {
        self.taken.push(key);
        let mut values = self
            .pairs
            .iter()
            .filter(|(name, _)| name == key)
            .map(|(_, value)| value);
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) if !value.is_empty() => Ok(Some(value.clone())),
            (Some(_), None) => Err(Failure::field(key, "has no value")),
            (Some(_), Some(_)) => Err(Failure::field(key, "is there twice; keep one")),
        }
    }

    /// The value of a key as a type that says itself what is wrong.
    pub(super) fn value<T: FromStr<Err: std::fmt::Display>>(
        &mut self,
        key: &'static str,
    ) -> Result<Option<T>, Failure> {
        self.text(key)?
            .map(|text| {
                text.parse()
                    .map_err(|error: T::Err| Failure::field(key, error.to_string()))
            })
            .transpose()
    }

    /// The value of a key out of a list of names.
    pub(super) fn one_of<T>(&mut self, key: &'static str, known: &[(&str, T)]) -> Result<Option<T>, Failure>
    where
        T: Clone,
    {
        let Some(text) = self.text(key)? else {
            return Ok(None);
        };
        let found = known
            .iter()
            .find(|(name, _)| *name == text)
            .map(|(_, value)| value.clone());
        found.map(Some).ok_or_else(|| {
            let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
            Failure::field(key, format!("{text:?} is not known; known: {}", names.join(", ")))
        })
    }

    /// Page, cursor and range of time.
    pub(super) fn paging(&mut self) -> Result<Paging, Failure> {
        let limit = self.value::<u16>("limit")?.unwrap_or(PAGE.0);
        if limit == 0 || limit > PAGE.1 {
            return Err(Failure::field("limit", format!("must be 1 to {}", PAGE.1)));
        }
        let paging = Paging {
            limit,
            cursor: self.text("cursor")?,
            start: self.time("start")?,
            end: self.time("end")?,
        };
        if let (Some(start), Some(end)) = (paging.start, paging.end)
            && start >= end
        {
            return Err(Failure::field("end", "must be after start"));
        }
        Ok(paging)
    }

    fn time(&mut self, key: &'static str) -> Result<Option<Timestamp>, Failure> {
        let wrong = |text: &str| {
            Failure::field(
                key,
                format!("{text:?} is no RFC 3339 time such as 2026-01-18T10:29:58Z"),
            )
        };
        self.text(key)?
            .map(|text| text.parse().map_err(|_| wrong(&text)))
            .transpose()
    }

    /// Refuses what nobody took.
    pub(super) fn finish(self) -> Result<(), Failure> {
        match self
            .pairs
            .iter()
            .find(|(name, _)| !self.taken.contains(&name.as_str()))
        {
            None => Ok(()),
            Some((name, _)) if self.taken.is_empty() => {
                Err(Failure::field(name, "is not known; this route has no parameters"))
            }
            Some((name, _)) => Err(Failure::field(
                name,
                format!("is not known; known: {}", self.taken.join(", ")),
            )),
        }
    }
}

/// A part of the path as a type.
pub(super) fn path<T: FromStr>(text: &str, what: &str) -> Result<T, Failure> {
    text.parse().map_err(|_| Failure::not_found(what))
}
