//! What holds all announcing back.

use super::extract::{Json, Query, ok};
use super::identity::Principal;
use super::keys::{Done, Key, Reply};
use super::mitigations::reason;
use super::{App, Failure};
use crate::engine::Snapshot;
use crate::policy::{Command, Outcome, ResetBreaker, SetControl, State as Committed};
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use prefixd_api::control::{BreakerResetRequest, Control, ControlRequest, ControlScope, Stop, Stopped};
use prefixd_api::problem::{Code, Problem};
use prefixd_api::role::Role;
use std::sync::Arc;

/// What holds announcing back: the breaker while it is tripped, and what people stopped.
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
    key: Key,
    Json(request): Json<BreakerResetRequest>,
) -> Result<Response, Failure> {
    reason(&request.reason)?;
    let command = Command::ResetBreaker(ResetBreaker {
        actor: principal.actor,
        reason: request.reason,
    });
    let changed = |app: &App, state: &Committed, outcome: &Outcome| changed(app, state, outcome, None);
    match app.carry_out(&key, command, changed).await? {
        Done::Answered(response) => Ok(response),
        Done::Otherwise(other) => Err(Failure::internal(&format_args!(
            "resetting the breaker came to {other:?}"
        ))),
    }
}

/// Stop announcing (hold), withdraw everything (panic), or let it go on (running), for the POP, a customer or a neighbour.
/// An operator may say panic; hold and running need an admin. Panic is in force at once, also while the database is away.
#[utoipa::path(put, path = "/v1/control", tag = "control", request_body = ControlRequest, responses(
    (status = 200, description = "In force, committed; or it was so already", body = Control),
    (status = 400, body = Problem), (status = 403, body = Problem),
    (status = 404, description = "No such customer or neighbour", body = Problem),
    (status = 409, description = "Something else was said meanwhile; or a panic stays in force: this was said before it, or would hold a neighbour in panic",
        body = Problem),
    (status = 503, description = "Not committed; a panic is in force all the same, and recorded when the database is back",
        body = Problem),
))]
pub(super) async fn set(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    key: Key,
    Json(request): Json<ControlRequest>,
) -> Result<Response, Failure> {
    reason(&request.reason)?;
    let command = SetControl {
        scope: request.scope,
        state: request.state,
        actor: principal.actor,
        reason: request.reason,
        expected_revision: request.expected_revision,
        said: 0,
        in_force_since: None,
    };
    if command.is_panic() && command.expected_revision.is_some() {
        return Err(Failure::field(
            "expected_revision",
            "does not go with panic, which waits for nothing; leave it out",
        ));
    }
    if !command.is_panic() && !principal.role.includes(Role::Admin) {
        return Err(Failure::new(
            Code::AuthForbidden,
            format!(
                "{} is {}; hold and running need admin, panic alone does not",
                command.actor, principal.role
            ),
        ));
    }
    exists(&app, &command.scope)?;
    let (is_panic, scope) = (command.is_panic(), command.scope.clone());
    // A panic waits for nothing, and so not for what a key means either: it is carried out whenever it is said.
    let key = if is_panic { Key::none() } else { key };
    let about = scope.clone();
    let changed =
        move |app: &App, state: &Committed, outcome: &Outcome| changed(app, state, outcome, Some(&about));
    match app.carry_out(&key, Command::Control(command), changed).await {
        Ok(Done::Answered(response)) => Ok(response),
        Ok(Done::Otherwise(Outcome::Refused(problem))) => Err(problem.into()),
        Ok(Done::Otherwise(other)) => Err(Failure::internal(&format_args!("a word on control came to {other:?}"))),
        Err(error) if error.is(Code::StoreUnavailable) && is_panic && is_in_force(&app, &scope) => Err(Problem::new(
            Code::StoreUnavailable,
            "the panic is in force: its rules are withdrawn and nothing is announced. The database does not take changes, so \
             it is not recorded yet; that follows by itself. A start of prefixd before that announces again what is stored",
        )
        .with_retry_after(1)
        .into()),
        Err(error) => Err(error),
    }
}

/// What is stopped once a word about a scope is in force. With a key this is made before the engine shows the world as it is
/// then: what was not recorded of this scope until now is what the word overrules.
fn changed(
    app: &App,
    state: &Committed,
    outcome: &Outcome,
    about: Option<&ControlScope>,
) -> Option<Result<Reply, Failure>> {
    match outcome {
        Outcome::ControlChanged => {
            let mut unrecorded = app.engine.snapshot().stops_unrecorded.clone();
            unrecorded.retain(|stop| Some(&stop.scope) != about || state.stopped.contains_key(&stop.scope));
            let control = Control {
                breaker: state.breaker.as_deref().cloned(),
                stopped: stopped(state, &unrecorded),
                may_hold: app.announcer.may_hold_any(),
            };
            Some(Reply::json(200, &control))
        }
        _ => None,
    }
}

/// What is stopped can be named also when the configuration does not know it any more.
fn exists(app: &App, scope: &ControlScope) -> Result<(), Failure> {
    let snapshot = app.engine.snapshot();
    if snapshot.state.stopped.contains_key(scope) {
        return Ok(());
    }
    let (known, what) = match scope {
        ControlScope::Pop => (true, "POP"),
        ControlScope::Customer(id) => {
            let live = || snapshot.state.mitigations.values();
            let is_filtered = || live().any(|live| live.customer_id.as_deref() == Some(id));
            (
                snapshot.policy.customer_name(id).is_some() || is_filtered(),
                "customer",
            )
        }
        ControlScope::Neighbor(name) => (app.announcer.peer_detail(name).is_some(), "neighbour"),
    };
    if known {
        Ok(())
    } else {
        Err(Failure::not_found(what))
    }
}

fn is_in_force(app: &App, scope: &ControlScope) -> bool {
    let snapshot = app.engine.snapshot();
    snapshot
        .stops_unrecorded
        .iter()
        .any(|stopped| stopped.scope == *scope)
}

fn control(app: &App) -> Control {
    let snapshot = app.engine.snapshot();
    Control {
        breaker: snapshot.state.breaker.as_deref().cloned(),
        stopped: in_force(&snapshot),
        may_hold: app.announcer.may_hold_any(),
    }
}

/// What people stopped, recorded or not, the whole POP first.
pub(super) fn in_force(snapshot: &Snapshot) -> Vec<Stopped> {
    stopped(&snapshot.state, &snapshot.stops_unrecorded)
}

fn stopped(state: &Committed, unrecorded: &[Arc<Stopped>]) -> Vec<Stopped> {
    let recorded = state.stopped.values();
    let is_newer = |stopped: &&Arc<Stopped>| unrecorded.iter().all(|other| other.scope != stopped.scope);
    let mut stopped: Vec<Stopped> = recorded
        .filter(is_newer)
        .chain(unrecorded)
        .map(|stopped| Stopped::clone(stopped))
        .collect();
    stopped.sort_by(|a, b| a.scope.cmp(&b.scope));
    stopped
}

/// What health says of it.
pub(super) fn sentence(stopped: &Stopped) -> String {
    let (word, how) = match stopped.state {
        Stop::Hold => ("on hold", "nothing new is announced"),
        Stop::Panic => ("in PANIC", "nothing is announced"),
    };
    let what = match &stopped.scope {
        ControlScope::Pop => "this POP".to_owned(),
        ControlScope::Customer(id) => format!("customer {id}"),
        ControlScope::Neighbor(name) => format!("neighbour {name}"),
    };
    let recorded = if stopped.recorded {
        ""
    } else {
        "; the store has not recorded it yet, and a restart would not know it"
    };
    format!(
        "{what} is {word} since {} by {} ({}): {how} until {}{recorded}",
        stopped.set_at,
        stopped.set_by,
        stopped.reason,
        stopped.scope.resume()
    )
}
