//! Bodies and queries, refused in the one error shape.

use super::error::Failure;
use crate::engine::SubmitError;
use axum::body::{Body, HttpBody};
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts, OptionalFromRequest, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use prefixd_api::configuration::YAML;
use prefixd_api::problem::{Code, FieldError, Problem};
use prefixd_api::show::csv;
use prefixd_api::time::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Longest body.
pub(super) const MAX_BODY: usize = 1024 * 1024;
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a body may still arrive once the daemon stops.
const STOP_GRACE: Duration = Duration::from_secs(1);
/// Items of a page when the query names no number, and at most.
const PAGE: (u16, u16) = (100, 1000);

/// A JSON body.
pub(super) struct Json<T, const LONGEST: usize = MAX_BODY>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync, const LONGEST: usize> FromRequest<S> for Json<T, LONGEST> {
    type Rejection = Failure;

    async fn from_request(request: Request<Body>, _: &S) -> Result<Self, Failure> {
        let bytes = body(request, "application/json", LONGEST).await?;
        parse(&bytes).map(Self)
    }
}

/// A JSON body that may be left out.
impl<T: DeserializeOwned, S: Send + Sync> OptionalFromRequest<S> for Json<T> {
    type Rejection = Failure;

    async fn from_request(request: Request<Body>, state: &S) -> Result<Option<Self>, Failure> {
        if request.body().is_end_stream() {
            return Ok(None);
        }
        <Self as FromRequest<S>>::from_request(request, state)
            .await
            .map(Some)
    }
}

/// A body of YAML, as text.
pub(super) struct Text<const LONGEST: usize>(pub(super) String);

impl<S: Send + Sync, const LONGEST: usize> FromRequest<S> for Text<LONGEST> {
    type Rejection = Failure;

    async fn from_request(request: Request<Body>, _: &S) -> Result<Self, Failure> {
        let bytes = body(request, YAML, LONGEST).await?;
        let text = String::from_utf8(bytes.into());
        text.map(Self)
            .map_err(|error| Failure::new(Code::RequestSyntax, format!("the text is not UTF-8: {error}")))
    }
}

/// The whole body, of this media type.
async fn body(request: Request<Body>, media_type: &str, longest: usize) -> Result<Bytes, Failure> {
    let kind = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case(media_type) {
        return Err(Failure::new(
            Code::MediaType,
            format!(
                "the body is {}; send it as {media_type}",
                if essence.is_empty() { "of no type" } else { essence }
            ),
        ));
    }
    let stopping = request.extensions().get::<Stopping>().cloned();
    collect(request.into_body(), longest, stopping).await
}

/// All of a body, in time.
pub(super) async fn collect(
    body: Body,
    longest: usize,
    stopping: Option<Stopping>,
) -> Result<Bytes, Failure> {
    let body = Limited::new(body, longest).collect();
    tokio::select! {
        body = timeout(BODY_TIMEOUT, body) => match body {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Failure::new(
                Code::RequestTooLarge,
                format!("the body is longer than {longest} bytes"),
            )),
            Ok(Err(error)) => Err(Failure::new(
                Code::RequestSyntax,
                format!("the body did not arrive: {error}"),
            )),
            Err(_) => Err(Failure::new(
                Code::RequestSyntax,
                format!("the body did not arrive within {} s", BODY_TIMEOUT.as_secs()),
            )),
        },
        () = too_late(stopping) => Err(SubmitError::Stopping.into()),
    }
}

/// The daemon stops when this is cancelled.
#[derive(Clone)]
pub(super) struct Stopping(pub(super) CancellationToken);

/// The daemon stops, and a body that was under way then had its time.
async fn too_late(stopping: Option<Stopping>) {
    match stopping {
        Some(Stopping(stopping)) => {
            stopping.cancelled().await;
            tokio::time::sleep(STOP_GRACE).await;
        }
        None => std::future::pending().await,
    }
}

/// Parses a JSON object; an unknown, missing or mistyped field is named by its path.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    // serde would take a list for an object, its items for the fields in the order of our source.
    let is_object = bytes.trim_ascii_start().first() == Some(&b'{');
    let parsed = serde_json::from_slice(bytes);
    match parsed {
        Ok(parsed) if is_object => Ok(parsed),
        Err(error) if !error.is_data() => Err(Failure::new(
            Code::RequestSyntax,
            format!("the body is no well-formed JSON: {error}"),
        )),
        Err(error) if is_object => Err(bad_field::<T>(bytes, &error)),
        Ok(_) | Err(_) => Err(Failure::new(
            Code::RequestField,
            "the body must be a JSON object with the documented fields",
        )),
    }
}

/// Parses again, keeping track of where it is: only what is refused pays for that.
fn bad_field<T: DeserializeOwned>(bytes: &[u8], error: &serde_json::Error) -> Failure {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let found = serde_path_to_error::deserialize::<_, T>(&mut json).err();
    let path = found.map(|found| found.path().to_string()).unwrap_or_default();
    let message = error.to_string();
    let message = in_words(message.split(" at line ").next().unwrap_or_default());
    // A key that is missing or repeated is an error of the object around it; the message names the key.
    let key = ["missing field `", "duplicate field `"]
        .iter()
        .find_map(|start| message.strip_prefix(start)?.split('`').next());
    let field = match (path.as_str(), key) {
        ("." | "", None) => {
            return Failure::new(
                Code::RequestField,
                format!("the body is not as expected: {error}"),
            );
        }
        ("." | "", Some(key)) => key.to_owned(),
        (path, Some(key)) => format!("{path}.{key}"),
        (path, None) => path.to_owned(),
    };
    Problem::new(Code::RequestField, format!("{field}: {message}"))
        .with_errors(vec![FieldError::new(field, message)])
        .into()
}

/// What is expected of a number as a range: whoever sends it need not know our types.
fn in_words(message: &str) -> String {
    let whole = |most: u64| format!("a whole number from 0 to {most}");
    let named = message.rsplit_once(", expected ").and_then(|(found, kind)| {
        let expected = match kind {
            "u8" => whole(u8::MAX.into()),
            "u16" => whole(u16::MAX.into()),
            "u32" => whole(u32::MAX.into()),
            "u64" | "usize" => whole(u64::MAX),
            // Rates, whose sign is looked at later so that the message can name it.
            "i64" => whole(i64::MAX.unsigned_abs()),
            _ => return None,
        };
        Some(format!("{found}, expected {expected}"))
    });
    named.unwrap_or_else(|| message.to_owned())
}

/// An answer of status 200.
pub(super) fn ok<T: Serialize>(value: &T) -> Result<Response, Failure> {
    answer(200, value)
}

/// An answer in JSON.
pub(super) fn answer<T: Serialize>(status: u16, value: &T) -> Result<Response, Failure> {
    json(status, value, 0)
}

/// Of an item of a list, in bytes: an answer that grows step by step is copied again and again.
const ROOM: usize = 2_048;

fn json<T: Serialize>(status: u16, value: &T, room: usize) -> Result<Response, Failure> {
    let mut body = Vec::with_capacity(room);
    serde_json::to_writer(&mut body, value).map_err(|error| Failure::internal(&error))?;
    let status = axum::http::StatusCode::from_u16(status).map_err(|error| Failure::internal(&error))?;
    Ok((status, [(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// Where the next page of a list in CSV begins.
const NEXT_CURSOR: HeaderName = HeaderName::from_static("x-prefixd-next-cursor");

/// How a list is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The page as an object.
    Json,
    /// A header line and a line for each item.
    Csv,
}

impl Form {
    /// A page of a list: `columns` are fields of an item, as paths with dots.
    pub(super) fn page<T: Serialize>(
        self,
        page: &impl Serialize,
        columns: &[&str],
        items: &[T],
        next_cursor: Option<&str>,
    ) -> Result<Response, Failure> {
        if self == Self::Json {
            return json(200, page, items.len() * ROOM);
        }
        let items: Result<Vec<serde_json::Value>, _> = items.iter().map(serde_json::to_value).collect();
        let items = items.map_err(|error| Failure::internal(&error))?;
        let text = csv(columns, &items, true);
        let mut response = ([(header::CONTENT_TYPE, "text/csv; charset=utf-8")], text).into_response();
        if let Some(cursor) = next_cursor {
            let cursor = HeaderValue::from_str(cursor).map_err(|error| Failure::internal(&error))?;
            response.headers_mut().insert(NEXT_CURSOR, cursor);
        }
        Ok(response)
    }
}

/// The query of a list, taken apart key by key: what is left at the end is unknown.
pub(super) struct Query {
    pairs: Vec<(String, String)>,
    taken: Vec<&'static str>,
    /// The client would rather have CSV.
    accepts_csv: bool,
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
            accepts_csv: first_choice(&parts.headers) == Some("text/csv"),
        })
    }
}

/// What the client names first in Accept; clients that know about weights name it first as well.
fn first_choice(headers: &HeaderMap) -> Option<&str> {
    let accept = headers.get(header::ACCEPT)?.to_str().ok()?;
    accept.split([',', ';']).next().map(str::trim)
}

/// What every list takes.
pub(super) struct Paging {
    pub(super) limit: u16,
    pub(super) cursor: Option<String>,
    pub(super) start: Option<Timestamp>,
    pub(super) end: Option<Timestamp>,
}

/// Instead of a POP's name: all of them.
pub(super) const ALL: &str = "all";

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
            // PostgreSQL holds no such text, and takes a question with one for a failure of its own.
            (Some(value), None) if value.contains('\0') => Err(Failure::field(key, "has the character NUL")),
            (Some(value), None) if !value.is_empty() => Ok(Some(value.clone())),
            (Some(_), None) => Err(Failure::field(key, "has no value")),
            (Some(_), Some(_)) => Err(Failure::field(key, "is there twice; keep one")),
        }
    }

    /// Whose rows are meant: those of a POP, by default this daemon's, or with `all` of every one.
    pub(super) fn pop(&mut self, own: &str) -> Result<Option<String>, Failure> {
        let pop = self.text("pop")?.unwrap_or_else(|| own.to_owned());
        Ok((pop != ALL).then_some(pop))
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

    /// The value of a key as a number out of this range.
    pub(super) fn number<T>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<T>,
    ) -> Result<Option<T>, Failure>
    where
        T: FromStr + PartialOrd + Display,
    {
        let Some(text) = self.text(key)? else {
            return Ok(None);
        };
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.map(Some).ok_or_else(|| {
            let (least, most) = (range.start(), range.end());
            Failure::field(key, format!("{text:?} is no whole number from {least} to {most}"))
        })
    }

    /// How many items a page has at most.
    pub(super) fn limit(&mut self) -> Result<u16, Failure> {
        Ok(self.number("limit", 1..=PAGE.1)?.unwrap_or(PAGE.0))
    }

    /// How the list is answered: as `format` says, or as the client would rather have it.
    pub(super) fn form(&mut self) -> Result<Form, Failure> {
        let named = self.one_of("format", &[("json", Form::Json), ("csv", Form::Csv)])?;
        Ok(named.unwrap_or(if self.accepts_csv { Form::Csv } else { Form::Json }))
    }

    /// Page, cursor and range of time.
    pub(super) fn paging(&mut self) -> Result<Paging, Failure> {
        let (limit, cursor) = (self.limit()?, self.text("cursor")?);
        let (start, end) = self.range()?;
        Ok(Paging {
            limit,
            cursor,
            start,
            end,
        })
    }

    /// A range of time.
    pub(super) fn range(&mut self) -> Result<(Option<Timestamp>, Option<Timestamp>), Failure> {
        let (start, end) = (self.time("start")?, self.time("end")?);
        if let (Some(start), Some(end)) = (start, end)
            && start >= end
        {
            return Err(Failure::field("end", "must be after start"));
        }
        Ok((start, end))
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

/// The parameter of the path as text.
pub(super) struct PathText(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for PathText {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match axum::extract::Path::<String>::from_request_parts(parts, state).await {
            Ok(text) if text.contains('\0') => Err(Failure::new(
                Code::RequestSyntax,
                "the path has the character NUL",
            )),
            Ok(text) => Ok(Self(text.0)),
            Err(PathRejection::FailedToDeserializePathParams(error)) => Err(Failure::new(
                Code::RequestSyntax,
                format!("the path is not well formed: {}", error.body_text()),
            )),
            Err(error) => Err(Failure::internal(&error)),
        }
    }
}

/// A part of the path as a type.
pub(super) fn path<T: FromStr>(text: &str, what: &str) -> Result<T, Failure> {
    text.parse().map_err(|_| Failure::not_found(what))
}

#[cfg(test)]
mod tests {
    use super::*;
    use prefixd_api::event::{EventBatch, EventRequest};
    use prefixd_api::mitigation::MitigationRequest;

    fn refused<T: DeserializeOwned>(json: &str) -> Problem {
        let failure = parse::<T>(json.as_bytes()).err().expect("refused");
        failure.into_told().problem
    }

    #[test]
    fn a_bad_field_is_named_by_its_path() {
        let event = |field: &str| {
            format!(
                r#"{{"source":"a","victim_ip":"192.0.2.1","vector":"x","raw_details":{{"k":[1]}},{field}}}"#
            )
        };
        assert!(parse::<EventRequest>(event(r#""bps":1"#).as_bytes()).is_ok());
        for (json, field, part) in [
            (event(r#""top_dst_ports":[1,70000]"#), "top_dst_ports[1]", "70000"),
            (event(r#""pps":"many""#), "pps", "string"),
            (
                event(r#""pps":1.5"#),
                "pps",
                "a whole number from 0 to 9223372036854775807",
            ),
            (
                event(r#""top_dst_ports":[-1]"#),
                "top_dst_ports[0]",
                "a whole number from 0 to 65535",
            ),
            (event(r#""operator":"root""#), "operator", "unknown field"),
            (event(r#""timestamp":"yesterday""#), "timestamp", "RFC 3339"),
            (event(r#""source":"b""#), "source", "duplicate field"),
            (r#"{"source":"a"}"#.to_owned(), "victim_ip", "missing field"),
        ] {
            let problem = refused::<EventRequest>(&json);
            let [error] = problem.errors.as_slice() else {
                panic!("{json}: {problem:?}");
            };
            assert_eq!(
                (problem.code.as_str(), error.field.as_str()),
                ("request.field", field),
                "{json}"
            );
            assert!(
                error.message.contains(part) && !error.message.contains(" line "),
                "{problem:?}"
            );
        }
        let problem =
            refused::<MitigationRequest>(r#"{"victim_ip":"192.0.2.1","reason":"x","dst_ports":["9-1"]}"#);
        assert!(problem.errors[0].field.starts_with("dst_ports"), "{problem:?}");
        assert_eq!(refused::<EventBatch>(r#"{"events":7}"#).errors[0].field, "events");
    }

    #[test]
    fn a_list_is_no_object() {
        let positional = r#"["a",null,"ban","192.0.2.1","x"]"#;
        assert!(
            serde_json::from_str::<EventRequest>(positional).is_ok(),
            "serde takes it"
        );
        for json in [
            positional, "[]", "7", "null", " 
[{}]",
        ] {
            assert_eq!(refused::<EventRequest>(json).code, "request.field", "{json}");
        }
        assert_eq!(refused::<EventRequest>("{").code, "request.syntax");
        assert_eq!(refused::<EventRequest>("").code, "request.syntax");
    }
}
