//! What a request would do, without doing it.

use super::extract::{Json, ok};
use super::identity::Principal;
use super::{App, Failure, mitigations};
use crate::policy::{Command, Decision, Effect, Facts, Outcome, decide};
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use prefixd_api::mitigation::MitigationRequest;
use prefixd_api::preview::{MitigationPreview, PreviewOutcome};
use prefixd_api::problem::Problem;

/// What mitigating now would do: the decision, and what each neighbour would get. Changes nothing.
#[utoipa::path(post, path = "/v1/mitigations/preview", tag = "mitigations", request_body = MitigationRequest, responses(
    (status = 200, description = "What would happen, also when it would be refused", body = MitigationPreview),
    (status = 400, body = Problem),
))]
pub(super) async fn preview(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Json(request): Json<MitigationRequest>,
) -> Result<Response, Failure> {
    let command = mitigations::create_command(request, principal.actor)?;
    let snapshot = app.engine.snapshot();
    let now = app.clock.now();
    let mut state = snapshot.state.clone();
    state.advance(now);
    let facts = Facts {
        advertised_at: None,
        established: app.announcer.any_established(),
    };
    let command = Command::Create(Box::new(command));
    let decision = decide(&state, &snapshot.policy, &command, now, &facts);
    ok(&told(&app, decision)?)
}

fn told(app: &App, decision: Decision) -> Result<MitigationPreview, Failure> {
    let Decision { outcome, effects } = decision;
    let mitigation = match outcome {
        Outcome::Created(mitigation) => mitigation,
        Outcome::Refused(mut problem) => {
            return Ok(MitigationPreview {
                outcome: PreviewOutcome::Refused,
                why: problem.why.take().map(|why| *why),
                problem: Some(*problem),
                mitigation: None,
                previews: Vec::new(),
                neighbors: Vec::new(),
            });
        }
        other => return Err(Failure::internal(&format_args!("a preview came to {other:?}"))),
    };
    // One of the other mode is replaced: it ends in the same decision.
    let (mut is_revision, mut ending, mut why) = (false, Vec::new(), None);
    for effect in &effects {
        if let Effect::Mitigation {
            before,
            after,
            why: trace,
            ..
        } = effect
        {
            if after.mitigation_id == mitigation.mitigation_id {
                is_revision = before.is_some();
            } else {
                ending.push(after.mitigation_id);
            }
            why = trace.as_ref().map(|trace| trace.explain()).or(why);
        }
    }
    Ok(MitigationPreview {
        outcome: if is_revision {
            PreviewOutcome::Revised
        } else {
            PreviewOutcome::Created
        },
        problem: None,
        previews: mitigation.rules.iter().map(crate::announce::preview).collect(),
        why,
        neighbors: app.announcer.foresee(&mitigation, &ending),
        mitigation: Some(mitigation.as_ref().clone()),
    })
}
