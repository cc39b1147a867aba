//! What a request would do, without doing it.

use super::extract::{Json, PathText, ok, path};
use super::identity::Principal;
use super::{App, Failure, mitigations};
use crate::engine::Snapshot;
use crate::policy::{
    Command, Decision, Effect, Facts, FreshIds, OfAggregate, Outcome, Reserved, WithdrawCommand, decide,
    foresee_withdrawal,
};
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use prefixd_api::ids::MitigationId;
use prefixd_api::mitigation::MitigationRequest;
use prefixd_api::operation::AdjustRequest;
use prefixd_api::preview::{MitigationPreview, PreviewOutcome, WithdrawPreview, WithdrawPreviewRequest};
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
    let decision = decided(&app, &Command::Create(Box::new(command)));
    ok(&told(&app, decision)?)
}

/// What adjusting would do: the decision, and what each neighbour would get. Changes nothing.
#[utoipa::path(post, path = "/v1/mitigations/{id}/adjust/preview", tag = "mitigations", params(("id" = String, Path)),
    request_body = AdjustRequest, responses(
    (status = 200, description = "What would happen, also when a guardrail would refuse it", body = MitigationPreview),
    (status = 400, body = Problem), (status = 404, body = Problem),
    (status = 409, description = "It has ended, is pending, or changed meanwhile", body = Problem),
))]
pub(super) async fn adjust(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    PathText(id): PathText,
    Json(request): Json<AdjustRequest>,
) -> Result<Response, Failure> {
    let mitigation: MitigationId = path(&id, "mitigation")?;
    let command = mitigations::adjust_command(&app, mitigation, request, principal.actor)?;
    let decision = decided(&app, &Command::Adjust(Box::new(command)));
    match decision.outcome {
        // Nothing is there to adjust; a guardrail says why.
        Outcome::Refused(problem) if problem.why.is_none() => {
            Err(mitigations::refusal(&app, mitigation, problem).await)
        }
        _ => ok(&told(&app, decision)?),
    }
}

/// What the daemon knows of the routers and of the other POPs. What is free of the quota over all POPs is asked for when
/// something begins; until then it may not be this one's yet.
fn facts(app: &App, snapshot: &Snapshot) -> Facts {
    let max = snapshot.policy.quotas().global;
    let known = Reserved {
        own: snapshot
            .reserved
            .map_or(snapshot.state.counts.enforced.pop, |reserved| reserved.own),
        elsewhere: app.store.reserved_elsewhere(),
    };
    Facts {
        advertised_at: None,
        established: app.announcer.any_established(),
        lost: None,
        reserved: app.store.is_shared().then(|| known.at_most(max)),
        aggregate: OfAggregate::default(),
    }
}

/// A decision on a copy of the committed state.
fn decided(app: &App, command: &Command) -> Decision {
    let snapshot = app.engine.snapshot();
    let now = app.clock.now();
    let mut state = snapshot.state.clone();
    state.advance(now);
    let facts = facts(app, &snapshot);
    decide(&state, &snapshot.policy, command, now, &facts)
}

/// What withdrawing would do: what leaves the neighbours, what cover is left, and whether the next report brings it back.
/// Changes nothing.
#[utoipa::path(post, path = "/v1/mitigations/{id}/withdraw/preview", tag = "mitigations", params(("id" = String, Path)),
    request_body = WithdrawPreviewRequest, responses(
    (status = 200, body = WithdrawPreview), (status = 400, body = Problem), (status = 404, body = Problem),
    (status = 409, description = "It has ended", body = Problem),
))]
pub(super) async fn withdraw(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    PathText(id): PathText,
    Json(request): Json<WithdrawPreviewRequest>,
) -> Result<Response, Failure> {
    let mitigation: MitigationId = path(&id, "mitigation")?;
    let command = WithdrawCommand {
        ids: FreshIds::new(),
        mitigation,
        reason: "preview".to_owned(),
        suppress: mitigations::suppress(request.suppress_seconds)?,
        confirm_within: None,
        expected_revision: None,
        actor: principal.actor,
    };
    let snapshot = app.engine.snapshot();
    let now = app.clock.now();
    let mut state = snapshot.state.clone();
    state.advance(now);
    let facts = facts(&app, &snapshot);
    match foresee_withdrawal(&state, &snapshot.policy, &command, now, &facts) {
        Ok(foreseen) => ok(&WithdrawPreview {
            neighbors: app.announcer.withdrawal(&foreseen.live),
            mitigation: mitigations::with_delivery(&app, &foreseen.live),
            cover: foreseen.cover,
            suppressed_until: foreseen.suppressed_until,
            next_reports: foreseen.next,
            later_reports: foreseen.later,
        }),
        Err(problem) => Err(mitigations::refusal(&app, mitigation, problem).await),
    }
}

fn told(app: &App, decision: Decision) -> Result<MitigationPreview, Failure> {
    let Decision { outcome, effects, .. } = decision;
    let mitigation = match outcome {
        Outcome::Created(mitigation) | Outcome::Changed(mitigation) => mitigation,
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
        neighbors: app.announcer.foresee(
            &mitigation,
            &ending,
            app.engine
                .snapshot()
                .state
                .beside(mitigation.victim_ip, mitigation.mitigation_id),
        ),
        mitigation: Some(mitigation.as_ref().clone()),
    })
}
