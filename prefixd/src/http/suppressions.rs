//! Suppressions: bans that are stored and not acted on.

use super::extract::{Json, PathText, Query, ok, path};
use super::identity::Principal;
use super::keys::{Done, Key, Reply};
use super::mitigations::{MAX_SUPPRESS, reason};
use super::{App, Failure};
use crate::policy::{Command, Outcome, SuppressCommand, SuppressWide, UnsuppressCommand};
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use ipnet::IpNet;
use prefixd_api::event::check_name;
use prefixd_api::group::{SuppressionAnswer, SuppressionList, SuppressionRequest};
use prefixd_api::ids::SuppressionId;
use prefixd_api::mitigation::{Scope, Suppression, WideSuppression};
use prefixd_api::prefix;
use prefixd_api::problem::Problem;
use prefixd_api::victim::{Victim, VictimError};
use std::time::Duration;

/// The suppressions in force, of each kind the one that ends first comes first.
#[utoipa::path(get, path = "/v1/suppressions", tag = "suppressions", responses((status = 200, body = SuppressionList)))]
pub(super) async fn list(State(app): State<App>, query: Query) -> Result<Response, Failure> {
    query.finish()?;
    let (snapshot, now) = (app.engine.snapshot(), app.clock.now());
    let mut suppressions: Vec<Suppression> = snapshot
        .state
        .suppressions
        .values()
        .filter(|suppression| suppression.expires_at > now)
        .map(|suppression| Suppression::clone(suppression))
        .collect();
    suppressions.sort_by_key(|suppression| (suppression.expires_at, suppression.suppression_id));
    let wide = snapshot.state.wide_suppressions.values();
    let mut wide: Vec<WideSuppression> = wide
        .filter(|suppression| suppression.expires_at > now)
        .map(|suppression| WideSuppression::clone(suppression))
        .collect();
    wide.sort_by_key(|suppression| (suppression.expires_at, suppression.suppression_id));
    ok(&SuppressionList {
        count: suppressions.len() + wide.len(),
        suppressions,
        wide,
    })
}

/// Store bans for a time, and do not act on them: of a victim, of a prefix, of a source, or of a source for one of the others.
/// One of the same that is there already is replaced.
#[utoipa::path(post, path = "/v1/suppressions", tag = "suppressions", request_body = SuppressionRequest, responses(
    (status = 201, description = "Made, committed", body = SuppressionAnswer), (status = 400, body = Problem),
    (status = 409, description = "A mitigation of that victim and vector is live: withdraw it", body = Problem),
    (status = 503, body = Problem),
))]
pub(super) async fn add(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    key: Key,
    Json(request): Json<SuppressionRequest>,
) -> Result<Response, Failure> {
    let command = command(request, principal.actor)?;
    let done = app.carry_out(&key, command, |_, _, outcome| match outcome {
        Outcome::Suppressed(suppression) => Some(Reply::json(201, &**suppression)),
        Outcome::WideSuppressed { suppression, live } => Some(Reply::json(
            201,
            &SuppressionAnswer::Wide {
                suppression: WideSuppression::clone(suppression),
                live: *live,
            },
        )),
        _ => None,
    });
    match done.await? {
        Done::Answered(response) => Ok(response),
        Done::Otherwise(Outcome::Refused(problem)) => Err(problem.into()),
        Done::Otherwise(other) => Err(Failure::internal(&format_args!(
            "a suppression came to {other:?}"
        ))),
    }
}

/// A request that can be understood.
fn command(request: SuppressionRequest, actor: String) -> Result<Command, Failure> {
    reason(&request.reason)?;
    let mut errors = Vec::new();
    for (field, name) in [("vector", &request.vector), ("source", &request.source)] {
        if let Some(name) = name {
            check_name(&mut errors, field, name);
        }
    }
    if !errors.is_empty() {
        return Err(Failure::fields(errors));
    }
    if !(1..=MAX_SUPPRESS).contains(&request.seconds) {
        return Err(Failure::field(
            "seconds",
            format!("must be 1 to {MAX_SUPPRESS} (a day)"),
        ));
    }
    let (id, time) = (SuppressionId::new(), Duration::from_secs(request.seconds.into()));
    let victim = victim(&request)?;
    if let (Some(victim), Some(vector), None) = (victim, &request.vector, &request.source) {
        return Ok(Command::Suppress(SuppressCommand {
            id,
            scope: Scope {
                victim,
                vector: vector.as_str().into(),
            },
            time,
            reason: request.reason,
            actor,
        }));
    }
    let prefix = match &request.prefix {
        None => victim.map(Victim::prefix),
        Some(text) => Some(prefix(text)?),
    };
    if prefix.is_none() && request.source.is_none() {
        return Err(Failure::field(
            "victim_ip",
            "is missing, and so are prefix and source: say whose bans are meant. To stop everything, use hold",
        ));
    }
    Ok(Command::SuppressWide(SuppressWide {
        id,
        prefix,
        vector: request.vector,
        source: request.source,
        time,
        reason: request.reason,
        actor,
    }))
}

fn victim(request: &SuppressionRequest) -> Result<Option<Victim>, Failure> {
    match (&request.victim_ip, &request.prefix) {
        (Some(_), Some(_)) => Err(Failure::field(
            "prefix",
            "is said beside victim_ip; send one of both",
        )),
        (Some(text), None) => {
            let parsed = text.parse();
            parsed
                .map(Some)
                .map_err(|error: VictimError| Failure::field("victim_ip", error.to_string()))
        }
        (None, _) => Ok(None),
    }
}

/// A prefix without host bits, and not everything: that would be hold.
fn prefix(text: &str) -> Result<IpNet, Failure> {
    let prefix = prefix::parse(text).map_err(|error| Failure::field("prefix", error.to_string()))?;
    if prefix.prefix_len() == 0 {
        return Err(Failure::field(
            "prefix",
            "is everything; to stop everything, use hold (prefixdctl hold)",
        ));
    }
    if prefix != prefix.trunc() {
        return Err(Failure::field(
            "prefix",
            format!("{prefix} has host bits; the prefix is {}", prefix.trunc()),
        ));
    }
    Ok(prefix)
}

/// Act on bans again.
#[utoipa::path(delete, path = "/v1/suppressions/{id}", tag = "suppressions", params(("id" = String, Path)), responses(
    (status = 204, description = "Ended, committed"), (status = 404, body = Problem), (status = 503, body = Problem),
))]
pub(super) async fn end(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    key: Key,
    PathText(id): PathText,
) -> Result<Response, Failure> {
    let id: SuppressionId = path(&id, "suppression")?;
    let command = UnsuppressCommand {
        id,
        actor: principal.actor,
    };
    let done = app.carry_out(
        &key,
        Command::Unsuppress(command),
        |_, _, outcome| match outcome {
            Outcome::Unsuppressed => Some(Ok(Reply::empty())),
            _ => None,
        },
    );
    match done.await? {
        Done::Answered(response) => Ok(response),
        Done::Otherwise(Outcome::Refused(problem)) => Err(problem.into()),
        Done::Otherwise(other) => Err(Failure::internal(&format_args!(
            "ending a suppression came to {other:?}"
        ))),
    }
}
