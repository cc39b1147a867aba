//! HTTP and WebSocket client.
//!
//! | module | what it holds |
//! |---|---|
//! | [`Endpoint`] | where the daemon listens: TCP, TLS or a Unix socket |
//! | [`Client`] | one typed method a route |
//! | [`EventQuery`], [`MitigationQuery`] | filters of the lists |
//! | [`Feed`] | the WebSocket feed, with resume |
//! | [`read_token`] | the bearer token from its file |
//! | [`Error`] | what can go wrong, the daemon's own words among it |
//!
//! Reads are repeated after failures that may pass, with growing pauses and as `Retry-After` asks. So are changes: each
//! carries an `Idempotency-Key`, under which the daemon carries it out once, also when an answer was lost.

mod configuration;
mod endpoint;
mod error;
mod feed;
mod query;
mod questions;
mod retry;
mod routes;
mod token;

pub use configuration::Change;
pub use endpoint::{Endpoint, EndpointError};
pub use error::Error;
pub use feed::{Feed, FeedItem, FeedOptions};
pub use query::{EventQuery, MitigationQuery, Page, RibQuery};
pub use questions::{AuditQuery, GroupQuery, ReportQuery};
pub use token::{TokenError, read_token};

use crate::problem::Problem;
use bytes::{Bytes, BytesMut};
use reqwest::header::{self, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode};
use retry::{Failure, Repeat};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use uuid::Uuid;

/// Longest answer that is read, in bytes; a longer one is a [`Error::Protocol`].
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;
/// Header of changes: names one, so that it is carried out once however often it is sent.
const KEY: &str = "idempotency-key";
/// Header of reads: position of the newest journal entry the answer includes.
const HEAD: &str = "x-prefixd-head";

/// How to reach the daemon.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens.
    pub endpoint: Endpoint,
    /// Sent as a bearer token.
    pub token: Option<SecretString>,
    /// Longest wait for one answer.
    pub request_timeout: Duration,
    /// How often a request that may be repeated is repeated.
    pub retries: u32,
    /// Names the program in the daemon's log.
    pub user_agent: &'static str,
    /// What the keys of changes begin with; each has its number after it. The same again, and the same changes in the same
    /// order, are carried out once. New for every client when absent.
    pub idempotency_key: Option<String>,
}

impl Options {
    /// Without a token, ten seconds an answer, three repetitions.
    #[must_use]
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            token: None,
            request_timeout: Duration::from_secs(10),
            retries: 3,
            user_agent: concat!("prefixd-api/", env!("CARGO_PKG_VERSION")),
            idempotency_key: None,
        }
    }
}

/// An answer and the position in the journal that it includes.
#[derive(Clone, Debug)]
pub struct Read<T> {
    /// The answer.
    pub value: T,
    /// A feed that begins after this position continues the answer without a gap.
    pub head: Option<u64>,
}

/// Talks to one daemon. Clones share connections.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    feed_http: reqwest::Client,
    options: Arc<Options>,
    keys: Arc<Keys>,
}

/// A start for the keys of changes that nobody else has.
#[must_use]
pub fn new_key() -> String {
    Uuid::now_v7().to_string()
}

/// Names for changes.
#[derive(Debug)]
struct Keys {
    start: String,
    given: AtomicU64,
}

impl Keys {
    fn next(&self) -> String {
        let number = self.given.fetch_add(1, Ordering::Relaxed) + 1;
        format!("{}.{number}", self.start)
    }
}

impl Client {
    /// A client; connects with the first request.
    ///
    /// # Errors
    /// [`Error::Setup`] when the token has characters no header carries, or the system's certificate
    /// authorities cannot be read for an `https` endpoint.
    pub fn new(options: Options) -> Result<Self, Error> {
        // Fails only when a provider is there already, which is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
        let mut headers = HeaderMap::new();
        if let Some(token) = &options.token {
            headers.insert(header::AUTHORIZATION, bearer(token)?);
        }
        let builder = || {
            let builder = reqwest::Client::builder()
                .user_agent(options.user_agent)
                .default_headers(headers.clone())
                .redirect(reqwest::redirect::Policy::none())
                .no_proxy();
            match &options.endpoint {
                Endpoint::Unix(path) => builder.unix_socket(path.as_path()).tls_certs_only([]),
                Endpoint::Tcp { tls: false, .. } => builder.tls_certs_only([]),
                Endpoint::Tcp { tls: true, .. } => builder,
            }
        };
        let setup = |error: reqwest::Error| Error::Setup(error::chain(&error));
        Ok(Self {
            http: builder().build().map_err(setup)?,
            // The upgrade to a WebSocket exists in HTTP/1.1 alone (RFC 6455 section 4.1).
            feed_http: builder().http1_only().build().map_err(setup)?,
            keys: Arc::new(Keys {
                start: options.idempotency_key.clone().unwrap_or_else(new_key),
                given: AtomicU64::new(0),
            }),
            options: Arc::new(options),
        })
    }

    /// How this client reaches the daemon.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<Read<T>, Error> {
        let answer = self.send(Ask::get(path), Repeat::WhenSafe).await?;
        Ok(Read {
            value: decode(&answer.body)?,
            head: answer.head,
        })
    }

    async fn change<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &(impl Serialize + Sync),
        repeat: Repeat,
    ) -> Result<T, Error> {
        self.change_by(Method::POST, path, body, repeat).await
    }

    async fn change_by<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &(impl Serialize + Sync),
        repeat: Repeat,
    ) -> Result<T, Error> {
        let answer = self.send(Ask::new(method, path).json(body)?, repeat).await?;
        decode(&answer.body)
    }

    /// Why there is no answer.
    fn unanswered(&self, error: &reqwest::Error) -> Error {
        if error.is_connect() {
            Error::Connect {
                endpoint: self.options.endpoint.to_string(),
                why: error::root(error),
            }
        } else {
            Error::Protocol(error::chain(error))
        }
    }

    async fn send(&self, mut ask: Ask<'_>, repeat: Repeat) -> Result<Answer, Error> {
        let repeat = match repeat {
            Repeat::ByKey => {
                ask.key = Some(self.keys.next());
                Repeat::WhenSafe
            }
            other => other,
        };
        let mut attempt = 0;
        loop {
            let failure = match self.send_once(&ask).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let pause = (attempt < self.options.retries)
                .then(|| retry::pause(repeat, &failure, attempt, rand::random()))
                .flatten();
            let Some(pause) = pause else {
                return Err(failure.error);
            };
            attempt += 1;
            tokio::time::sleep(pause).await;
        }
    }

    async fn send_once(&self, ask: &Ask<'_>) -> Result<Answer, Failure> {
        let limit = self.options.request_timeout;
        tokio::time::timeout(limit, self.exchange(ask))
            .await
            .unwrap_or_else(|_| {
                Err(Failure::sent(Error::Timeout {
                    endpoint: self.options.endpoint.to_string(),
                    after: limit,
                }))
            })
    }

    async fn exchange(&self, ask: &Ask<'_>) -> Result<Answer, Failure> {
        let url = format!("{}{}", self.options.endpoint.http_base(), ask.path);
        let mut request = self.http.request(ask.method.clone(), url);
        if let Some((media_type, body)) = &ask.body {
            request = request
                .header(header::CONTENT_TYPE, *media_type)
                .body(body.clone());
        }
        if let Some(key) = &ask.key {
            request = request.header(KEY, key);
        }
        if let Some(version) = ask.version {
            request = request.header(header::IF_MATCH, format!("\"{version}\""));
        }
        let mut response = request.send().await.map_err(|error| {
            let unsent = error.is_connect();
            let error = self.unanswered(&error);
            if unsent {
                Failure::unsent(error)
            } else {
                Failure::sent(error)
            }
        })?;
        let body = read_body(&mut response).await.map_err(Failure::sent)?;
        let status = response.status();
        if status.is_success() {
            return Ok(Answer {
                status,
                body,
                head: response.headers().get(HEAD).and_then(position),
                version: response.headers().get(header::ETAG).and_then(tag),
            });
        }
        Err(Failure {
            retry_after: response
                .headers()
                .get(header::RETRY_AFTER)
                .and_then(|value| value.to_str().ok()?.parse().ok())
                .map(Duration::from_secs),
            status: Some(status.as_u16()),
            unsent: false,
            error: refusal(status, &body),
        })
    }
}

impl Client {
    /// Reads an answer that comes as it is made; only its beginning has to come in time.
    async fn stream(&self, path: &str, mut take: impl FnMut(&[u8]) -> ControlFlow<()>) -> Result<(), Error> {
        let url = format!("{}{}", self.options.endpoint.http_base(), path);
        let limit = self.options.request_timeout;
        let begun = tokio::time::timeout(limit, self.http.get(url).send()).await;
        let begun = begun.map_err(|_| Error::Timeout {
            endpoint: self.options.endpoint.to_string(),
            after: limit,
        })?;
        let mut response = begun.map_err(|error| self.unanswered(&error))?;
        let status = response.status();
        if !status.is_success() {
            return Err(refusal(status, &read_body(&mut response).await?));
        }
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| Error::Protocol(error::chain(&error)))?
        {
            if take(&chunk).is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// All of the body.
async fn read_body(response: &mut reqwest::Response) -> Result<Bytes, Error> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| Error::Protocol(error::chain(&error)))?
    {
        if body.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Err(Error::Protocol(format!(
                "the answer is longer than {MAX_ANSWER_BYTES} bytes"
            )));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// A request.
struct Ask<'a> {
    method: Method,
    path: &'a str,
    /// With its media type.
    body: Option<(&'static str, Bytes)>,
    /// Only if this is the version of what it changes.
    version: Option<&'a str>,
    /// Its name, when it must be carried out once.
    key: Option<String>,
}

impl<'a> Ask<'a> {
    fn new(method: Method, path: &'a str) -> Self {
        Self {
            method,
            path,
            body: None,
            version: None,
            key: None,
        }
    }

    fn get(path: &'a str) -> Self {
        Self::new(Method::GET, path)
    }

    fn json(self, body: &impl Serialize) -> Result<Self, Error> {
        let body = serde_json::to_vec(body)
            .map_err(|error| Error::Setup(format!("the request cannot be written as JSON: {error}")))?;
        Ok(self.with("application/json", body))
    }

    fn with(self, media_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self {
            body: Some((media_type, body.into())),
            ..self
        }
    }

    fn of_version(self, version: Option<&'a str>) -> Self {
        Self { version, ..self }
    }
}

/// A 2xx answer.
struct Answer {
    status: StatusCode,
    body: Bytes,
    head: Option<u64>,
    /// Of what was answered or changed.
    version: Option<String>,
}

/// The bearer header of a token.
fn bearer(token: &SecretString) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose_secret()))
        .map_err(|_| Error::Setup("the token has characters that no header carries".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// The error of an answer that is not 2xx.
fn refusal(status: StatusCode, body: &[u8]) -> Error {
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => Error::Problem(Box::new(problem)),
        Err(_) => Error::Protocol(format!(
            "the answer is {status} without a prefixd problem; is this prefixd's address?"
        )),
    }
}

fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|error| {
        if error.is_data() {
            Error::Form(error.to_string())
        } else {
            Error::Protocol(format!(
                "the answer is no JSON: {error}; is this prefixd's address?"
            ))
        }
    })
}

/// The version in a strong entity tag.
fn tag(value: &HeaderValue) -> Option<String> {
    let tag = value.to_str().ok()?.strip_prefix('"')?.strip_suffix('"')?;
    Some(tag.to_owned())
}

/// A position, alone (`812`) or with its POP (`iad1:812`).
fn position(value: &HeaderValue) -> Option<u64> {
    value.to_str().ok()?.rsplit(':').next()?.parse().ok()
}
