//! What people do with mitigations that exist.

use super::extract::{Json, PathText, path};
use super::identity::Principal;
use super::keys::{Done, Key, Reply};
use super::mitigations::{
    adjust_command, confirm_within, known_refusal, may_hold, names, of_another_pop, reason, refusal,
    suppress, with_delivery,
};
use super::{App, Failure};
use crate::policy::{
    About, AnnotateCommand, Annotation, Command, ConfirmCommand, ExtendCommand, FreshIds, One, Outcome,
    State as Committed, UndoCommand, Which, WithdrawMany,
};
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use prefixd_api::ids::MitigationId;
use prefixd_api::mitigation::Mitigation;
use prefixd_api::operation::{
    AcknowledgeRequest, AdjustRequest, BulkWithdrawRequest, ClaimRequest, ExtendRequest, LiveFilter,
    MAX_NAMED, NoteRequest, OperationResult, OperationResults, Revisions, UndoRequest,
};
use prefixd_api::problem::{Code, Problem};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// Have a mitigation last at least so long from now on, whatever its sources say. A hold-down that runs is over.
#[utoipa::path(post, path = "/v1/mitigations/{id}/extend", tag = "mitigations", params(("id" = String, Path)),
    request_body = ExtendRequest, responses(
    (status = 200, description = "Extended, committed", body = Mitigation), (status = 400, body = Problem),
    (status = 404, body = Problem), (status = 409, description = "It has ended, or changed meanwhile", body = Problem),
    (status = 422, description = "A guardrail refused it", body = Problem), (status = 503, body = Problem),
))]
pub(super) async fn extend(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    key: Key,
    PathText(id): PathText,
    Json(request): Json<ExtendRequest>,
) -> Result<Response, Failure> {
    let mitigation: MitigationId = path(&id, "mitigation")?;
    reason(&request.reason)?;
    let command = ExtendCommand {
        mitigation,
        ttl: Duration::from_secs(request.ttl_seconds.into()),
        reason: request.reason,
        expected_revision: request.expected_revision,
        actor: principal.actor,
    };
    change(&app, &key, mitigation, Command::Extend(command)).await
}

/// Change what a live mitigation does: action, rate, match, lease. What is not named stays. The new rules are announced before
/// the old ones are withdrawn. From then on neither its reports nor its playbook change what it does.
#[utoipa::path(post, path = "/v1/mitigations/{id}/adjust", tag = "mitigations", params(("id" = String, Path)),
    request_body = AdjustRequest, responses(
    (status = 200, description = "Adjusted, committed", body = Mitigation), (status = 400, body = Problem),
    (status = 404, body = Problem), (status = 409, description = "It has ended, is pending, or changed meanwhile", body = Problem),
    (status = 422, description = "A guardrail refused it", body = Problem), (status = 503, body = Problem),
))]
pub(super) async fn adjust(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    key: Key,
    PathText(id): PathText,
    Json(request): Json<AdjustRequest>,
) -> Result<Response, Failure> {
    let mitigation: MitigationId = path(&id, "mitigation")?;
    let command = adjust_command(&app, mitigation, request, principal.actor)?;
    change(&app, &key, mitigation, Command::Adjust(Box::new(command))).await
}

/// A change of one mitigation.
async fn change(
    app: &App,
    key: &Key,
    mitigation: MitigationId,
    command: Command,
) -> Result<Response, Failure> {
    match app.carry_out(key, command, changed).await? {
        Done::Answered(response) => Ok(response),
        Done::Otherwise(Outcome::Refused(problem)) => Err(refusal(app, mitigation, problem).await),
        Done::Otherwise(other) => Err(Failure::internal(&format_args!(
            "the change of a mitigation came to {other:?}"
        ))),
    }
}

fn changed(app: &App, _: &Committed, outcome: &Outcome) -> Option<Result<Reply, Failure>> {
    match outcome {
        Outcome::Changed(mitigation) => Some(Reply::json(200, &with_delivery(app, mitigation))),
        _ => None,
    }
}

/// Acknowledge mitigations, live or ended, or take that back: by name, or all live ones that are like the filter if there are
/// as many as expected. Answers what became of each.
#[utoipa::path(post, path = "/v1/mitigations/acknowledge", tag = "mitigations", request_body = AcknowledgeRequest, responses(
    (status = 200, description = "Committed; each result says whether it was done", body = OperationResults),
    (status = 400, body = Problem), (status = 409, description = "The filter means another number", body = Problem),
    (status = 503, body = Problem),
))]
pub(super) async fn acknowledge(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    key: Key,
    Json(request): Json<AcknowledgeRequest>,
) -> Result<Response, Failure> {
    let what = Annotation::Acknowledge(request.acknowledged);
    known(
        &request.expected_revisions,
        request.ids.as_deref().unwrap_or_default(),
    )?;
    let revisions = request.expected_revisions;
    let (command, elsewhere) = match which(request.ids, request.filter, request.expect_count)? {
        Which::Named(ids) => annotation(&app, &ids, what, revisions, principal.actor).await?,
        Which::Like(filter, expected) => {
            let command = AnnotateCommand {
                about: Vec::new(),
                like: Some((filter, expected)),
                what,
                revisions,
                actor: principal.actor,
            };
            (Command::Annotate(command), Elsewhere::new())
        }
    };
    let done = app.carry_out(&key, command, move |app, _, outcome| match outcome {
        Outcome::Many(results) => {
            let results = results.iter().cloned().map(|one| elsewhere_told(one, &elsewhere));
            Some(Reply::json(200, &told(app, results.collect())))
        }
        _ => None,
    });
    match done.await? {
        Done::Answered(response) => Ok(response),
        Done::Otherwise(Outcome::Refused(problem)) => Err(problem.into()),
        Done::Otherwise(other) => Err(Failure::internal(&format_args!(
            "acknowledging came to {other:?}"
        ))),
    }
}

/// Write about a mitigation, live or ended, or say what it is called outside.
#[utoipa::path(post, path = "/v1/mitigations/{id}/notes", tag = "mitigations", params(("id" = String, Path)),
    request_body = NoteRequest, responses(
    (status = 200, description = "Written, committed", body = Mitigation), (status = 400, body = Problem),
    (status = 404, body = Problem), (status = 409, description = "It changed meanwhile", body = Problem),
    (status = 503, body = Problem),
))]
pub(super) async fn note(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    key: Key,
    PathText(id): PathText,
    Json(request): Json<NoteRequest>,
) -> Result<Response, Failure> {
    match (&request.text, &request.external_ref) {
        (None, None) => {
            return Err(Failure::field(
                "text",
                "is missing, and so is external_ref; send one of both",
            ));
        }
        (Some(text), _) => reason(text).map_err(|_| {
            Failure::field(
                "text",
                "must not be empty, at most 1000 bytes, no control characters",
            )
        })?,
        (None, Some(_)) => {}
    }
    names(&[("external_ref", &request.external_ref)])?;
    let what = Annotation::Note {
        text: request.text,
        external_ref: request.external_ref,
    };
    one(&app, &key, &id, what, request.expected_revision, principal.actor).await
}

/// Take a mitigation in hand: everybody sees who works on it.
#[utoipa::path(post, path = "/v1/mitigations/{id}/claim", tag = "mitigations", params(("id" = String, Path)),
    request_body = ClaimRequest, responses(
    (status = 200, description = "Claimed, committed", body = Mitigation), (status = 404, body = Problem),
    (status = 409, description = "Another has it, or it changed meanwhile", body = Problem), (status = 503, body = Problem),
))]
pub(super) async fn claim(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    key: Key,
    PathText(id): PathText,
    Json(request): Json<ClaimRequest>,
) -> Result<Response, Failure> {
    let what = Annotation::Claim(request.force);
    one(&app, &key, &id, what, request.expected_revision, principal.actor).await
}

/// Let a mitigation go that somebody had in hand.
#[utoipa::path(post, path = "/v1/mitigations/{id}/release", tag = "mitigations", params(("id" = String, Path)),
    request_body = ClaimRequest, responses(
    (status = 200, description = "Released, committed", body = Mitigation), (status = 404, body = Problem),
    (status = 409, description = "Another has it, or it changed meanwhile", body = Problem), (status = 503, body = Problem),
))]
pub(super) async fn release(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    key: Key,
    PathText(id): PathText,
    Json(request): Json<ClaimRequest>,
) -> Result<Response, Failure> {
    let what = Annotation::Release(request.force);
    one(&app, &key, &id, what, request.expected_revision, principal.actor).await
}

/// Take several mitigations back at once: by name, or all that are like the filter if there are as many as expected.
#[utoipa::path(post, path = "/v1/mitigations/withdraw", tag = "mitigations", request_body = BulkWithdrawRequest, responses(
    (status = 200, description = "Committed; each result says whether it was withdrawn", body = OperationResults),
    (status = 400, body = Problem), (status = 409, description = "The filter means another number", body = Problem),
    (status = 503, body = Problem),
))]
pub(super) async fn withdraw(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    key: Key,
    Json(request): Json<BulkWithdrawRequest>,
) -> Result<Response, Failure> {
    reason(&request.reason)?;
    let suppress = suppress(request.suppress_seconds)?;
    known(
        &request.expected_revisions,
        request.ids.as_deref().unwrap_or_default(),
    )?;
    let command = WithdrawMany {
        which: which(request.ids, request.filter, request.expect_count)?,
        revisions: request.expected_revisions,
        ids: std::iter::repeat_with(FreshIds::new).take(MAX_NAMED).collect(),
        confirm_within: confirm_within(request.confirm_within_seconds)?,
        reason: request.reason,
        suppress,
        actor: principal.actor,
    };
    // Asked before: what is answered is committed with what is done.
    let ended = match &command.which {
        Which::Named(ids) => ended(&app, ids).await?,
        Which::Like(..) => HashMap::new(),
    };
    let done = app.carry_out(&key, Command::WithdrawMany(command), move |app, _, outcome| {
        let Outcome::Many(results) = outcome else {
            return None;
        };
        let results = results.iter().map(|(id, result)| {
            let refused = |problem: &Problem| Box::new(known_refusal(app, problem, ended.get(id)));
            (
                *id,
                result
                    .as_ref()
                    .map(Arc::clone)
                    .map_err(|problem| refused(problem)),
            )
        });
        Some(Reply::json(200, &told(app, results.collect())))
    });
    match done.await? {
        Done::Answered(response) => Ok(response),
        Done::Otherwise(Outcome::Refused(problem)) => Err(problem.into()),
        Done::Otherwise(other) => Err(Failure::internal(&format_args!(
            "withdrawing several came to {other:?}"
        ))),
    }
}

/// Which mitigations several are: named, or like a filter and as many as expected.
fn which(
    ids: Option<Vec<MitigationId>>,
    filter: Option<LiveFilter>,
    expect_count: Option<u64>,
) -> Result<Which, Failure> {
    match (ids, filter, expect_count) {
        (Some(ids), None, expected) => {
            named(&ids)?;
            if expected.is_some_and(|expected| expected != ids.len() as u64) {
                return Err(Failure::new(
                    Code::ConflictExpectCount,
                    format!(
                        "{} are named, not {}; nothing was changed",
                        ids.len(),
                        expected.unwrap_or_default()
                    ),
                ));
            }
            Ok(Which::Named(ids))
        }
        (None, Some(filter), Some(expected)) => Ok(Which::Like(Box::new(filter), expected)),
        (None, Some(_), None) => Err(Failure::field(
            "expect_count",
            "is missing: say how many the filter means",
        )),
        (Some(_), Some(_), _) | (None, None, _) => Err(Failure::field("ids", "or filter: send one of both")),
    }
}

/// What the store knows of those that are not live; none of it: there never was such a one.
async fn ended(
    app: &App,
    ids: &[MitigationId],
) -> Result<HashMap<MitigationId, Option<Mitigation>>, Failure> {
    let snapshot = app.engine.snapshot();
    let mut ended = HashMap::new();
    for id in ids {
        if !snapshot.state.mitigations.contains_key(id) {
            ended.insert(*id, app.store.get_mitigation(*id).await?);
        }
    }
    Ok(ended)
}

/// Put a withdrawn mitigation back: a successor with the same rules, through all guardrails. It passes the suppression of the
/// withdrawal, and ends it.
#[utoipa::path(post, path = "/v1/mitigations/{id}/undo", tag = "mitigations", params(("id" = String, Path)),
    request_body = UndoRequest, responses(
    (status = 201, description = "The successor, committed", body = Mitigation), (status = 400, body = Problem),
    (status = 404, body = Problem), (status = 409, description = "It is live, or another is, or it expired", body = Problem),
    (status = 422, description = "A guardrail refused it", body = Problem), (status = 503, body = Problem),
))]
pub(super) async fn undo(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    key: Key,
    PathText(id): PathText,
    Json(request): Json<UndoRequest>,
) -> Result<Response, Failure> {
    let id: MitigationId = path(&id, "mitigation")?;
    reason(&request.reason)?;
    let live = app.engine.snapshot().state.mitigations.get(&id).map(Arc::clone);
    let ended = match live {
        Some(live) => live,
        None => {
            let stored = app.store.get_mitigation(id).await?;
            let stored = stored.ok_or_else(|| Failure::not_found("mitigation"))?;
            if let Some(elsewhere) = of_another_pop(&app, &stored) {
                return Err(elsewhere);
            }
            Arc::new(stored)
        }
    };
    let command = UndoCommand {
        ids: FreshIds::new(),
        ended,
        reason: request.reason,
        expected_revision: request.expected_revision,
        actor: principal.actor,
    };
    let done = app.carry_out(&key, Command::Undo(command), |app, _, outcome| match outcome {
        Outcome::Created(made) => Some(Reply::json(201, &with_delivery(app, made))),
        _ => None,
    });
    match done.await? {
        Done::Answered(response) => Ok(response),
        Done::Otherwise(Outcome::Refused(problem)) => Err(refusal(&app, id, problem).await),
        Done::Otherwise(other) => Err(Failure::internal(&format_args!("an undo came to {other:?}"))),
    }
}

/// Confirm a withdrawal, so that it is not undone.
#[utoipa::path(post, path = "/v1/mitigations/{id}/confirm", tag = "mitigations", params(("id" = String, Path)),
    request_body = UndoRequest, responses(
    (status = 200, description = "Confirmed, committed", body = Mitigation), (status = 400, body = Problem),
    (status = 404, description = "No withdrawal of it waits to be confirmed", body = Problem),
    (status = 409, description = "It changed meanwhile", body = Problem), (status = 503, body = Problem),
))]
pub(super) async fn confirm(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    key: Key,
    PathText(id): PathText,
    Json(request): Json<UndoRequest>,
) -> Result<Response, Failure> {
    let mitigation: MitigationId = path(&id, "mitigation")?;
    reason(&request.reason)?;
    let command = ConfirmCommand {
        mitigation,
        expected_revision: request.expected_revision,
        reason: request.reason,
        actor: principal.actor,
    };
    match app.carry_out(&key, Command::Confirm(command), changed).await? {
        Done::Answered(response) => Ok(response),
        Done::Otherwise(Outcome::Refused(problem)) => {
            // One that was asked for at another POP waits there.
            let known = if problem.code == Code::NotFound.as_str() {
                app.store.get_mitigation(mitigation).await?
            } else {
                None
            };
            let elsewhere = known.and_then(|known| of_another_pop(&app, &known));
            Err(elsewhere.unwrap_or_else(|| problem.into()))
        }
        Done::Otherwise(other) => Err(Failure::internal(&format_args!(
            "a confirmation came to {other:?}"
        ))),
    }
}

/// A condition on what is not named would be passed over in silence.
fn known(revisions: &Revisions, ids: &[MitigationId]) -> Result<(), Failure> {
    match revisions.keys().find(|id| !ids.contains(id)) {
        Some(other) => Err(Failure::field(
            "expected_revisions",
            format!("names {other}, which is not among ids"),
        )),
        None => Ok(()),
    }
}

/// Names, each once, and not too many.
fn named(ids: &[MitigationId]) -> Result<(), Failure> {
    if ids.is_empty() || ids.len() > MAX_NAMED {
        return Err(Failure::field(
            "ids",
            format!("must name 1 to {MAX_NAMED} mitigations"),
        ));
    }
    let mut seen = HashSet::new();
    match ids.iter().find(|id| !seen.insert(**id)) {
        Some(twice) => Err(Failure::field("ids", format!("names {twice} twice"))),
        None => Ok(()),
    }
}

async fn one(
    app: &App,
    key: &Key,
    id: &str,
    what: Annotation,
    expected_revision: Option<u64>,
    actor: String,
) -> Result<Response, Failure> {
    let id: MitigationId = path(id, "mitigation")?;
    let revisions = expected_revision.map(|revision| (id, revision));
    let (command, elsewhere) = annotation(app, &[id], what, revisions.into_iter().collect(), actor).await?;
    let done = app.carry_out(key, command, |app, _, outcome| match outcome {
        Outcome::Many(results) => match results.first() {
            Some((_, Ok(mitigation))) => Some(Reply::json(200, &with_delivery(app, mitigation))),
            _ => None,
        },
        _ => None,
    });
    let results = match done.await? {
        Done::Answered(response) => return Ok(response),
        Done::Otherwise(Outcome::Many(results)) => results,
        Done::Otherwise(other) => return Err(Failure::internal(&format_args!("a note came to {other:?}"))),
    };
    match results
        .into_iter()
        .next()
        .map(|one| elsewhere_told(one, &elsewhere))
    {
        Some((_, Err(problem))) => Err(problem.into()),
        Some((_, Ok(_))) | None => Err(Failure::internal(
            &"one mitigation was named, and nothing became of it",
        )),
    }
}

async fn annotation(
    app: &App,
    ids: &[MitigationId],
    what: Annotation,
    revisions: Revisions,
    actor: String,
) -> Result<(Command, Elsewhere), Failure> {
    let snapshot = app.engine.snapshot();
    let mut about = Vec::with_capacity(ids.len());
    let mut elsewhere = Elsewhere::new();
    for id in ids {
        // The store may be behind, or ahead of what was live a moment ago: it is asked for all that are not live.
        let mut ended = match snapshot.state.mitigations.get(id) {
            Some(_) => None,
            None => app.store.get_mitigation(*id).await?,
        };
        if let Some(told) = ended.as_ref().and_then(|known| of_another_pop(app, known)) {
            elsewhere.insert(*id, told.into_problem());
            ended = None;
        }
        about.push(About {
            mitigation: *id,
            ended: ended.map(Arc::new),
        });
    }
    let command = AnnotateCommand {
        about,
        like: None,
        what,
        revisions,
        actor,
    };
    Ok((Command::Annotate(command), elsewhere))
}

/// What is said of those that another POP has.
type Elsewhere = HashMap<MitigationId, Problem>;

/// The engine knows none of another POP.
fn elsewhere_told((id, result): One, elsewhere: &Elsewhere) -> One {
    let told = |problem| elsewhere.get(&id).map_or(problem, |told| Box::new(told.clone()));
    (id, result.map_err(told))
}

fn told(app: &App, results: Vec<One>) -> OperationResults {
    // Once for all: with a key this is made while other requests wait.
    let deliveries = app.announcer.deliveries();
    let results: Vec<OperationResult> = results
        .into_iter()
        .map(|(mitigation_id, result)| {
            let held = result
                .as_deref()
                .map_or_else(|_| Vec::new(), |ended| may_hold(app, ended));
            let (mitigation, problem) = match result {
                Ok(mitigation) => {
                    let mut mitigation = Mitigation::clone(&mitigation);
                    mitigation.delivery = Some(Box::new(deliveries.of(&mitigation)));
                    (Some(mitigation), None)
                }
                Err(problem) => (None, Some(*problem)),
            };
            OperationResult {
                mitigation_id,
                done: problem.is_none(),
                mitigation,
                may_hold: held,
                problem,
            }
        })
        .collect();
    OperationResults {
        count: results.len(),
        failed: results.iter().filter(|result| !result.done).count(),
        results,
    }
}
