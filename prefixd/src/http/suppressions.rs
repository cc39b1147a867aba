//! Suppressions: bans that are stored and not acted on.

use super::extract::{Json, PathText, Query, ok, path};
use super::identity::Principal;
use super::keys::{Done, Key, Reply};
use super::mitigations::{MAX_SUPPRESS, reason};
use super::{App, Failure};
use crate::policy::{Command, Outcome, SuppressCommand, UnsuppressCommand};
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use prefixd_api::event::check_name;
use prefixd_api::group::{SuppressionList, SuppressionRequest};
use prefixd_api::ids::SuppressionId;
use prefixd_api::mitigation::{Scope, Suppression};
use prefixd_api::problem::Problem;
use prefixd_api::victim::VictimError;
use std::time::Duration;

/// The suppressions in force, the one that ends first comes first.
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
    ok(&SuppressionList {
        count: suppressions.len(),
        suppressions,
    })
}

/// Store bans of a victim and vector for a time, and do not act on them. One that is there already is replaced.
#[utoipa::path(post, path = "/v1/suppressions", tag = "suppressions", request_body = SuppressionRequest, responses(
    (status = 201, description = "Made, committed", body = Suppression), (status = 400, body = Problem),
    (status = 409, description = "A mitigation is live there: withdraw it", body = Problem), (status = 503, body = Problem),
))]
pub(super) async fn add(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    key: Key,
    Json(request): Json<SuppressionRequest>,
) -> Result<Response, Failure> {
    reason(&request.reason)?;
    let mut errors = Vec::new();
    check_name(&mut errors, "vector", &request.vector);
    if !errors.is_empty() {
        return Err(Failure::fields(errors));
    }
    if !(1..=MAX_SUPPRESS).contains(&request.seconds) {
        return Err(Failure::field(
            "seconds",
            format!("must be 1 to {MAX_SUPPRESS} (a day)"),
        ));
    }
    let victim = request
        .victim_ip
        .parse()
        .map_err(|error: VictimError| Failure::field("victim_ip", error.to_string()))?;
    let command = SuppressCommand {
        id: SuppressionId::new(),
        scope: Scope {
            victim,
            vector: request.vector.into(),
        },
        time: Duration::from_secs(request.seconds.into()),
        reason: request.reason,
        actor: principal.actor,
    };
    let done = app.carry_out(&key, Command::Suppress(command), |_, _, outcome| match outcome {
        Outcome::Suppressed(suppression) => Some(Reply::json(201, &**suppression)),
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
