//! What every request passes: a request id, an identity, the role its route needs, and a count.

use super::App;
use super::error::{Failure, Told};
use super::identity::{Access, Principal, Remote, Stranger};
use super::keys;
use super::routes::{Need, Needs};
use crate::metrics::RouteLabel;
use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use prefixd_api::problem::Code;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::{info, warn};
use uuid::Uuid;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const HEAD: HeaderName = HeaderName::from_static("x-prefixd-head");
/// Longest request id that is taken from a client.
const MAX_REQUEST_ID: usize = 64;
/// Slower answers are logged.
const SLOW: Duration = Duration::from_secs(1);

/// The name of a request in answers and in the log.
#[derive(Clone, Debug)]
pub(super) struct RequestId(pub(super) String);

/// What the gate asks.
#[derive(Clone)]
pub(super) struct Gate {
    app: App,
    needs: Arc<Needs>,
}

impl Gate {
    pub(super) fn new(app: App, needs: Needs) -> Self {
        Self {
            app,
            needs: Arc::new(needs),
        }
    }
}

/// Lets a request through to its handler, or answers for it.
pub(super) async fn pass(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = request_id(request.headers());
    request.extensions_mut().insert(RequestId(id.clone()));
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map(|path| path.as_str().to_owned());
    let method = request.method().clone();
    let remote = request.extensions().get::<Remote>().copied();
    let head = (method == Method::GET).then(|| gate.app.engine.snapshot().head);
    let mut actor = String::new();
    let response = match gate
        .admit(request.headers(), remote, &method, route.as_deref())
        .await
    {
        Ok(None) => next.run(request).await,
        Ok(Some((principal, access))) => {
            actor.clone_from(&principal.actor);
            match keys::take(request, route.as_deref(), &principal).await {
                Ok(mut request) => {
                    request.extensions_mut().insert(principal);
                    request.extensions_mut().insert(access);
                    next.run(request).await
                }
                Err(failure) => failure.into_response(),
            }
        }
        Err(failure) => failure.into_response(),
    };
    let (mut response, cause) = with_request_id(in_one_shape(response), &id);
    if let Some(head) = head.filter(|_| response.status().is_success()) {
        response.headers_mut().insert(HEAD, head.into());
    }
    let status = response.status().as_u16();
    let label = RouteLabel {
        route: format!("{} {}", known(&method), route.as_deref().unwrap_or("(none)")),
        status,
    };
    gate.app.metrics.requests.get_or_create(&label).inc();
    if status >= 500 {
        warn!(request_id = %id, route = label.route, status, actor, cause, "a request failed");
    } else if started.elapsed() > SLOW {
        info!(request_id = %id, route = label.route, status, actor, millis = started.elapsed().as_millis(), "a slow request");
    }
    response
}

impl Gate {
    async fn admit(
        &self,
        headers: &HeaderMap,
        remote: Option<Remote>,
        method: &Method,
        route: Option<&str>,
    ) -> Result<Option<(Principal, Arc<Access>)>, Failure> {
        // Without a route the answer is 404 or 405, which says nothing that the documentation does not.
        let Some(route) = route else { return Ok(None) };
        let lookup = if method == Method::HEAD {
            Method::GET
        } else {
            method.clone()
        };
        let need = match self.needs.get(&(lookup, route.to_owned())) {
            Some(Need::Public) => return Ok(None),
            Some(Need::Role(role)) => *role,
            // A known route with another method: 405.
            None if self.needs.keys().any(|(_, known)| known == route) => return Ok(None),
            None => {
                return Err(Failure::new(
                    Code::AuthForbidden,
                    "this route has no role; it is closed",
                ));
            }
        };
        let remote = remote.ok_or_else(|| Failure::internal(&"a connection without a remote"))?;
        let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        if matches!(remote, Remote::Tcp(_)) && is_foreign(text(header::ORIGIN), text(header::HOST)) {
            return Err(Failure::new(
                Code::AuthForbidden,
                "the request comes from a page of another site",
            ));
        }
        let access = Arc::clone(&self.app.live.load().access);
        let known = access
            .identify(remote, text(header::AUTHORIZATION), text(header::HOST))
            .await;
        let principal = known.map_err(|stranger| {
            self.app.metrics.auth_failures.inc();
            info!(%remote, reason = ?stranger, "a request was refused: nobody we know");
            match stranger {
                Stranger::Missing => Failure::new(Code::AuthRequired, "send a token: Authorization: Bearer TOKEN"),
                Stranger::Wrong => Failure::new(Code::AuthRequired, "these credentials are not valid here"),
                Stranger::ForeignHost => Failure::new(
                    Code::AuthForbidden,
                    "without credentials prefixd answers only to loopback names: use http://127.0.0.1, or auth mode bearer",
                ),
            }
        })?;
        if principal.role.includes(need) {
            return Ok(Some((principal, access)));
        }
        Err(Failure::new(
            Code::AuthForbidden,
            format!("{} is {}; this needs {need}", principal.actor, principal.role),
        ))
    }
}

/// Methods are free text to a client; a label has a bounded set of values.
fn known(method: &Method) -> &str {
    match *method {
        Method::GET
        | Method::POST
        | Method::DELETE
        | Method::HEAD
        | Method::PUT
        | Method::OPTIONS
        | Method::PATCH => method.as_str(),
        _ => "(other)",
    }
}

/// Browsers say where a page comes from: another site has no business here.
fn is_foreign(origin: Option<&str>, host: Option<&str>) -> bool {
    let Some(origin) = origin else { return false };
    let site = origin.split_once("://").map(|(_, site)| site);
    site.is_none() || site != host
}

/// The client's own id if it is sane, otherwise a new one.
fn request_id(headers: &HeaderMap) -> String {
    let sane = |id: &&str| {
        !id.is_empty()
            && id.len() <= MAX_REQUEST_ID
            && id
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte))
    };
    let given = headers
        .get(REQUEST_ID)
        .and_then(|id| id.to_str().ok())
        .filter(sane);
    given.map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}

/// Answers that are not made by a handler of ours (the viewer's own 404, say) become a problem too.
fn in_one_shape(response: Response) -> Response {
    let status = response.status();
    let refused = status.is_client_error() || status.is_server_error();
    if !refused || response.extensions().get::<Told>().is_some() {
        return response;
    }
    match status {
        StatusCode::NOT_FOUND => Failure::not_found("page"),
        StatusCode::METHOD_NOT_ALLOWED => Failure::new(
            Code::MethodNotAllowed,
            "this route knows other methods; /docs lists them",
        ),
        status if status.is_client_error() => {
            Failure::new(Code::RequestSyntax, format!("the request is refused: {status}"))
        }
        status => Failure::internal(&format_args!("an answer {status} that says nothing")),
    }
    .into_response()
}

/// Puts the request id in; what the log is to be told comes out.
fn with_request_id(mut response: Response, id: &str) -> (Response, String) {
    let mut cause = String::new();
    if let Some(mut told) = response.extensions_mut().remove::<Told>() {
        told.problem.request_id = Some(id.to_owned());
        *response.body_mut() = Body::from(told.body());
        response.headers_mut().remove(header::CONTENT_LENGTH);
        // Where nothing else is known, what the client is told.
        cause = told.cause.unwrap_or(told.problem.detail);
    }
    if let Ok(value) = HeaderValue::from_str(id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    (response, cause)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::SubmitError;

    /// docs/errors.md promises a cause for every answer 5xx.
    #[test]
    fn the_log_has_a_cause_of_what_fails_where_only_the_client_was_told_one() {
        let known = Failure::internal(&"a torn page");
        let (_, cause) = with_request_id(known.into_response(), "r1");
        assert_eq!(cause, "a torn page");
        let (_, cause) = with_request_id(Failure::from(SubmitError::Store).into_response(), "r2");
        assert!(cause.contains("the database does not take changes"), "{cause}");
    }
}
