//! What holds all announcing back.

use super::extract::{Json, Query, ok};
use super::identity::Principal;
use super::mitigations::reason;
use super::{App, Failure};
use crate::policy::{Command, Outcome, ResetBreaker};
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use prefixd_api::control::{BreakerResetRequest, Control};
use prefixd_api::problem::Problem;

/// What holds all announcing back: the breaker, while it is tripped.
#[utoipa::path(get, path = "/v1/control", tag = "control", responses((status = 200, body = Control)))]
pub(super) async fn get(State(app): State<App>, query: Query) -> Result<Response, Failure> {
    query.finish()?;
    ok(&control(&app))
}

/// Reset the breaker: new rules are announced again. What it withdrew begins anew with the next report of its attack; what
/// was reported once, or made by an operator, does not.
#[utoipa::path(post, path = "/v1/breaker/reset", tag = "control", request_body = BreakerResetRequest, responses(
    (status = 200, description = "Reset, committed; or it was not tripped", body = Control),
    (status = 400, body = Problem), (status = 503, body = Problem),
))]
pub(super) async fn reset_breaker(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Json(request): Json<BreakerResetRequest>,
) -> Result<Response, Failure> {
    reason(&request.reason)?;
    let command = Command::ResetBreaker(ResetBreaker {
        actor: principal.actor,
        reason: request.reason,
    });
    match app.engine.submit(command).await?.outcome {
        Outcome::ControlChanged => ok(&control(&app)),
        other => Err(Failure::internal(&format_args!(
            "resetting the breaker came to {other:?}"
        ))),
    }
}

fn control(app: &App) -> Control {
    let snapshot = app.engine.snapshot();
    Control {
        breaker: snapshot.state.breaker.as_deref().cloned(),
    }
}
