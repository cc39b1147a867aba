//! Idempotency-Key: a change is carried out once, however often it is sent.
//!
//! The gate takes the key and the fingerprint of the whole request; [`App::carry_out`] has the engine commit the answer with
//! the change. An answer that is not 2xx, or changes nothing, keeps no key: what was refused may be tried again.

use super::extract::{self, MAX_BODY};
use super::identity::Principal;
use super::{App, Failure};
use crate::configuration::Once;
use crate::engine::{Answer, Keyed, Told};
use crate::policy::{Command, Outcome, State};
use crate::store::{Claim, ClaimName, KeptAnswer, Recalled};
use axum::body::Body;
use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use prefixd_api::configuration::MAX_FILE;
use prefixd_api::problem::Code;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::convert::Infallible;
use std::sync::Arc;

/// Names a request, so that it can be sent again.
pub(super) const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says that the answer is the one that was kept.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// Longest key.
const LONGEST_KEY: usize = 128;
/// Joins a key and the number of an item of a batch; no key has it.
const ITEM: char = '#';

/// Changes whose repetition is no other change, and what is no change at all: they take a key and ignore it.
const WITHOUT: &[&str] = &[
    // They answer a question.
    "/v1/mitigations/preview",
    "/v1/mitigations/{id}/withdraw/preview",
    "/v1/mitigations/{id}/adjust/preview",
    // It repairs what is found; there is nothing to repair the second time.
    "/v1/reconcile",
];

/// Whether a route does what it does once for each key.
pub(super) fn is_kept(method: &Method, route: &str) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::DELETE) && !WITHOUT.contains(&route)
}

/// The key of a request, if it has one.
#[derive(Clone, Debug, Default)]
pub(super) struct Key(Option<Claim>);

impl<S: Send + Sync> FromRequestParts<S> for Key {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_default())
    }
}

/// Takes the key of a request that is about to be carried out. Without one the request stays as it is.
pub(super) async fn take(
    request: Request<Body>,
    route: Option<&str>,
    principal: &Principal,
) -> Result<Request<Body>, Failure> {
    if !request.headers().contains_key(KEY) || !route.is_some_and(|route| is_kept(request.method(), route)) {
        return Ok(request);
    }
    let key = named(request.headers())?;
    let (mut parts, body) = request.into_parts();
    let longest = MAX_BODY.max(MAX_FILE);
    let bytes = extract::collect(body, longest, parts.extensions.get().cloned()).await?;
    let claim = Claim {
        name: ClaimName {
            principal: principal.actor.as_str().into(),
            key: key.into(),
        },
        request: fingerprint(&parts, &bytes),
    };
    parts.extensions.insert(Key(Some(claim)));
    Ok(Request::from_parts(parts, Body::from(bytes)))
}

/// The key, with or without the quotes of a structured field.
fn named(headers: &HeaderMap) -> Result<String, Failure> {
    let mut values = headers.get_all(KEY).iter();
    let (first, second) = (values.next(), values.next());
    let text = first.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let key = text
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(text);
    let is_one = |letter: char| letter.is_ascii_graphic() && letter != '"' && letter != ITEM;
    if second.is_some() || key.is_empty() || key.len() > LONGEST_KEY || !key.chars().all(is_one) {
        return Err(Failure::field(
            "Idempotency-Key",
            format!(
                "must be there once, with 1 to {LONGEST_KEY} letters, digits and signs (neither space, quote nor {ITEM}); a new \
                 UUID for each change is a good one"
            ),
        ));
    }
    Ok(key.to_owned())
}

/// All that makes a request what it is.
fn fingerprint(parts: &Parts, body: &[u8]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    let version = parts.headers.get(header::IF_MATCH);
    let target = parts.uri.path_and_query().map(PathAndQuery::as_str);
    for part in [
        parts.method.as_str().as_bytes(),
        target.unwrap_or_default().as_bytes(),
        version.map(HeaderValue::as_bytes).unwrap_or_default(),
        body,
    ] {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

impl Key {
    /// Without it: what must not depend on anything that is kept.
    pub(super) fn none() -> Self {
        Self(None)
    }

    /// The key of one item of a request.
    pub(super) fn item(&self, number: usize) -> Self {
        Self(self.0.as_ref().map(|claim| Claim {
            name: ClaimName {
                key: format!("{}{ITEM}{number}", claim.name.key).into(),
                ..claim.name.clone()
            },
            request: claim.request,
        }))
    }

    pub(super) fn claim(&self) -> Option<&Claim> {
        self.0.as_ref()
    }
}

/// The answer to a change.
pub(super) struct Reply {
    status: u16,
    body: String,
}

impl Reply {
    /// In JSON.
    pub(super) fn json<T: Serialize>(status: u16, value: &T) -> Result<Self, Failure> {
        let body = serde_json::to_string(value).map_err(|error| Failure::internal(&error))?;
        Ok(Self { status, body })
    }

    /// That it is done.
    pub(super) fn empty() -> Self {
        Self {
            status: StatusCode::NO_CONTENT.as_u16(),
            body: String::new(),
        }
    }

    pub(super) fn into_kept(self) -> KeptAnswer {
        KeptAnswer::new(self.status, self.body)
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if self.body.is_empty() {
            return status.into_response();
        }
        (status, [(header::CONTENT_TYPE, "application/json")], self.body).into_response()
    }
}

/// The answer that was kept for a request, once more.
pub(super) fn replayed(recalled: Recalled) -> Result<Response, Failure> {
    let answer = match recalled {
        Recalled::Same(answer) => answer,
        Recalled::Other => return Err(mismatch()),
    };
    let Some(body) = &answer.body else {
        return Err(too_long());
    };
    let reply = Reply {
        status: answer.status,
        body: body.clone(),
    };
    let mut response = reply.into_response();
    mark_replayed(&mut response);
    Ok(response)
}

pub(super) fn mark_replayed(response: &mut Response) {
    response
        .headers_mut()
        .insert(REPLAYED, HeaderValue::from_static("true"));
}

pub(super) fn too_long() -> Failure {
    Failure::new(
        Code::IdempotencyTooLong,
        "it was done, once; its answer was too long to be kept. Look at what is there now, or at the audit",
    )
}

pub(super) fn mismatch() -> Failure {
    Failure::new(
        Code::IdempotencyMismatch,
        "this Idempotency-Key was used for another request in the last 24 hours, which was carried out; of this one nothing was done. \
         Look at what is there now, and use a new key for each change",
    )
}

/// What a key means to a change of the configuration.
pub(super) fn once<T>(key: &Key, reply: fn(&T) -> Result<Reply, Failure>) -> Option<Once<T>>
where
    T: 'static,
{
    let claim = key.claim()?.clone();
    let answer: Arc<dyn Fn(&T) -> KeptAnswer + Send + Sync> = Arc::new(move |told| {
        // Our own types always serialise; if not, that it was done is kept all the same.
        reply(told).map_or(
            KeptAnswer {
                status: 200,
                body: None,
            },
            Reply::into_kept,
        )
    });
    Some(Once { claim, answer })
}

/// What a command came to.
pub(super) enum Done {
    /// It is answered.
    Answered(Response),
    /// It is not what the route expects: refused, most of the time.
    Otherwise(Outcome),
}

impl App {
    /// Has a command carried out, once for each key. `reply` makes the answer of the state after it and the outcome; nothing
    /// for what is no success.
    pub(super) async fn carry_out<F>(&self, key: &Key, command: Command, reply: F) -> Result<Done, Failure>
    where
        F: Fn(&Self, &State, &Outcome) -> Option<Result<Reply, Failure>> + Send + Sync + 'static,
    {
        let Some(claim) = key.claim() else {
            let answer = self.engine.submit(command).await?;
            return self.answered(answer, &reply);
        };
        let (app, reply) = (self.clone(), Arc::new(reply));
        let keyed = Keyed {
            claim: claim.clone(),
            answer: {
                let reply = Arc::clone(&reply);
                Arc::new(move |state, outcome| Some(reply(&app, state, outcome)?.ok()?.into_kept()))
            },
        };
        match self.engine.submit_keyed(command, keyed).await? {
            Told::Recalled(recalled) => replayed(recalled).map(Done::Answered),
            Told::Decided { answer, kept } => match kept.as_deref() {
                // Now what it will be when it comes again.
                Some(KeptAnswer {
                    status,
                    body: Some(body),
                }) => Ok(Done::Answered(
                    Reply {
                        status: *status,
                        body: body.clone(),
                    }
                    .into_response(),
                )),
                _ => self.answered(answer, &*reply),
            },
        }
    }

    fn answered<F>(&self, answer: Answer, reply: &F) -> Result<Done, Failure>
    where
        F: Fn(&Self, &State, &Outcome) -> Option<Result<Reply, Failure>>,
    {
        let snapshot = self.engine.snapshot();
        match reply(self, &snapshot.state, &answer.outcome) {
            Some(reply) => Ok(Done::Answered(reply?.into_response())),
            None => Ok(Done::Otherwise(answer.outcome)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(values: &[&'static str]) -> Result<String, String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(KEY, HeaderValue::from_static(value));
        }
        named(&headers).map_err(|failure| failure.into_problem().code)
    }

    #[test]
    fn a_key_is_short_and_plain() {
        for (text, meant) in [
            ("a", "a"),
            ("\"8e03978e-40d5\"", "8e03978e-40d5"),
            ("A_1.~!", "A_1.~!"),
        ] {
            assert_eq!(key(&[text]), Ok(meant.to_owned()), "{text}");
        }
        let long: &'static str = "k".repeat(LONGEST_KEY + 1).leak();
        assert!(key(&[&long[1..]]).is_ok());
        for bad in [
            &[""][..],
            &["\"\""],
            &["a b"],
            &["a#1"],
            &["a\"b"],
            &[long],
            &["a", "a"],
        ] {
            assert_eq!(key(bad), Err("request.field".to_owned()), "{bad:?}");
        }
    }

    #[test]
    fn a_request_is_known_by_all_that_makes_it() {
        let print = |method: &str, uri: &str, version: Option<&'static str>, body: &str| {
            let mut request = Request::builder().method(method).uri(uri);
            if let Some(version) = version {
                request = request.header(header::IF_MATCH, version);
            }
            let (parts, ()) = request.body(()).unwrap().into_parts();
            fingerprint(&parts, body.as_bytes())
        };
        let this = print("POST", "/v1/a?b=c", None, "{}");
        assert_eq!(this, print("POST", "/v1/a?b=c", None, "{}"));
        for other in [
            print("PUT", "/v1/a?b=c", None, "{}"),
            print("POST", "/v1/a", None, "{}"),
            print("POST", "/v1/a?b=c", Some("\"1\""), "{}"),
            print("POST", "/v1/a?b=c", None, "{ }"),
        ] {
            assert_ne!(this, other);
        }
    }

    #[test]
    fn an_item_s_key_is_nobody_s_own() {
        let claim = Claim {
            name: ClaimName {
                principal: "anna".into(),
                key: "k".into(),
            },
            request: [7; 32],
        };
        let item = Key(Some(claim)).item(3);
        let key = &*item.claim().unwrap().name.key;
        assert_eq!(key, "k#3");
        assert!(super::tests::key(&["k#3"]).is_err());
        assert!(Key::none().item(3).claim().is_none());
    }
}
