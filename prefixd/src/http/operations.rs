//! What people do with mitigations that exist.

use super::extract::{Json, PathText, answer, ok, path};
use super::identity::Principal;
use super::mitigations::{confirm_within, names, reason, refusal, suppress, with_delivery};
use super::{App, Failure};
use crate::policy::{
    About, AnnotateCommand, Annotation, Command, ConfirmCommand, ExtendCommand, FreshIds, One, Outcome,
    UndoCommand, Which, WithdrawMany,
};
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use prefixd_api::ids::MitigationId;
use prefixd_api::mitigation::Mitigation;
use prefixd_api::operation::{
    AcknowledgeRequest, BulkWithdrawRequest, ClaimRequest, ExtendRequest, MAX_NAMED, NoteRequest,
    OperationResult, OperationResults, UndoRequest,
};
use prefixd_api::problem::{Code, Problem};
use std::collections::HashSet;
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
    change(&app, mitigation, Command::Extend(command)).await
}

/// A change of one mitigation.
async fn change(app: &App, mitigation: MitigationId, command: Command) -> Result<Response, Failure> {
    match app.engine.submit(command).await?.outcome {
        Outcome::Changed(mitigation) => ok(&with_delivery(app, &mitigation)),
        Outcome::Refused(problem) => Err(refusal(app, mitigation, problem).await),
        other => Err(Failure::internal(&format_args!(
            "the change of a mitigation came to {other:?}"
        ))),
    }
}

/// Acknowledge mitigations, live or ended, or take that back. Answers what became of each.
#[utoipa::path(post, path = "/v1/mitigations/acknowledge", tag = "mitigations", request_body = AcknowledgeRequest, responses(
    (status = 200, description = "Committed; each result says whether it was done", body = OperationResults),
    (status = 400, body = Problem), (status = 503, body = Problem),
))]
pub(super) async fn acknowledge(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Json(request): Json<AcknowledgeRequest>,
) -> Result<Response, Failure> {
    named(&request.ids)?;
    let results = annotate(
        &app,
        &request.ids,
        Annotation::Acknowledge(request.acknowledged),
        None,
        principal.actor,
    )
    .await?;
    ok(&told(&app, results))
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
    one(&app, &id, what, request.expected_revision, principal.actor).await
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
    PathText(id): PathText,
    Json(request): Json<ClaimRequest>,
) -> Result<Response, Failure> {
    let what = Annotation::Claim(request.force);
    one(&app, &id, what, request.expected_revision, principal.actor).await
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
    PathText(id): PathText,
    Json(request): Json<ClaimRequest>,
) -> Result<Response, Failure> {
    let what = Annotation::Release(request.force);
    one(&app, &id, what, request.expected_revision, principal.actor).await
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
    Json(request): Json<BulkWithdrawRequest>,
) -> Result<Response, Failure> {
    reason(&request.reason)?;
    let suppress = suppress(request.suppress_seconds)?;
    let which = match (request.ids, request.filter, request.expect_count) {
        (Some(ids), None, expected) => {
            named(&ids)?;
            if expected.is_some_and(|expected| expected != ids.len() as u64) {
                return Err(Failure::new(
                    Code::ConflictExpectCount,
                    format!("{} are named; nothing was withdrawn", ids.len()),
                ));
            }
            Which::Named(ids)
        }
        (None, Some(filter), Some(expected)) => Which::Like(Box::new(filter), expected),
        (None, Some(_), None) => {
            return Err(Failure::field(
                "expect_count",
                "is missing: say how many the filter means",
            ));
        }
        (Some(_), Some(_), _) | (None, None, _) => {
            return Err(Failure::field("ids", "or filter: send one of both"));
        }
    };
    let command = WithdrawMany {
        which,
        ids: std::iter::repeat_with(FreshIds::new).take(MAX_NAMED).collect(),
        confirm_within: confirm_within(request.confirm_within_seconds)?,
        reason: request.reason,
        suppress,
        actor: principal.actor,
    };
    match app.engine.submit(Command::WithdrawMany(command)).await?.outcome {
        Outcome::Many(results) => {
            let mut known = Vec::with_capacity(results.len());
            for (id, result) in results {
                known.push((
                    id,
                    match result {
                        Ok(ended) => Ok(ended),
                        Err(problem) => Err(Box::new(refusal(&app, id, problem).await.into_problem())),
                    },
                ));
            }
            ok(&told(&app, known))
        }
        Outcome::Refused(problem) => Err(problem.into()),
        other => Err(Failure::internal(&format_args!(
            "withdrawing several came to {other:?}"
        ))),
    }
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
    PathText(id): PathText,
    Json(request): Json<UndoRequest>,
) -> Result<Response, Failure> {
    let id: MitigationId = path(&id, "mitigation")?;
    reason(&request.reason)?;
    let live = app.engine.snapshot().state.mitigations.get(&id).map(Arc::clone);
    let ended = match live {
        Some(live) => live,
        None => {
            let stored = app
                .store
                .get_mitigation(id)
                .await?
                .filter(|known| known.pop == app.pop);
            Arc::new(stored.ok_or_else(|| Failure::not_found("mitigation"))?)
        }
    };
    let command = UndoCommand {
        ids: FreshIds::new(),
        ended,
        reason: request.reason,
        expected_revision: request.expected_revision,
        actor: principal.actor,
    };
    match app.engine.submit(Command::Undo(command)).await?.outcome {
        Outcome::Created(made) => answer(201, &with_delivery(&app, &made)),
        Outcome::Refused(problem) => Err(refusal(&app, id, problem).await),
        other => Err(Failure::internal(&format_args!("an undo came to {other:?}"))),
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
    match app.engine.submit(Command::Confirm(command)).await?.outcome {
        Outcome::Changed(ended) => ok(&with_delivery(&app, &ended)),
        Outcome::Refused(problem) => Err(problem.into()),
        other => Err(Failure::internal(&format_args!(
            "a confirmation came to {other:?}"
        ))),
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
    id: &str,
    what: Annotation,
    expected_revision: Option<u64>,
    actor: String,
) -> Result<Response, Failure> {
    let id: MitigationId = path(id, "mitigation")?;
    let results = annotate(app, &[id], what, expected_revision, actor).await?;
    match results.into_iter().next() {
        Some((_, Ok(mitigation))) => ok(&with_delivery(app, &mitigation)),
        Some((_, Err(problem))) => Err(problem.into()),
        None => Err(Failure::internal(
            &"one mitigation was named, and nothing became of it",
        )),
    }
}

async fn annotate(
    app: &App,
    ids: &[MitigationId],
    what: Annotation,
    expected_revision: Option<u64>,
    actor: String,
) -> Result<Vec<One>, Failure> {
    let snapshot = app.engine.snapshot();
    let mut about = Vec::with_capacity(ids.len());
    for id in ids {
        // The store may be behind, or ahead of what was live a moment ago: it is asked for all that are not live.
        let ended = match snapshot.state.mitigations.get(id) {
            Some(_) => None,
            None => app
                .store
                .get_mitigation(*id)
                .await?
                .filter(|known| known.pop == app.pop),
        };
        about.push(About {
            mitigation: *id,
            ended: ended.map(Arc::new),
        });
    }
    let command = AnnotateCommand {
        about,
        what,
        expected_revision,
        actor,
    };
    match app.engine.submit(Command::Annotate(command)).await?.outcome {
        Outcome::Many(results) => Ok(results),
        other => Err(Failure::internal(&format_args!("a note came to {other:?}"))),
    }
}

fn told(app: &App, results: Vec<One>) -> OperationResults {
    let results: Vec<OperationResult> = results
        .into_iter()
        .map(|(mitigation_id, result)| {
            let (mitigation, problem) = match result {
                Ok(mitigation) => (Some(with_delivery(app, &mitigation)), None),
                Err(problem) => (None, Some(*problem)),
            };
            OperationResult {
                mitigation_id,
                done: problem.is_none(),
                mitigation,
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
