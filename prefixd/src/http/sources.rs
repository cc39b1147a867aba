//! Detectors, and pausing one.

use super::extract::{Json, PathText, Query, ok};
use super::identity::Principal;
use super::keys::{Done, Key, Reply};
use super::mitigations::reason;
use super::{App, Failure};
use crate::policy::{Command, Outcome, PauseSource, ResumeSource, holds, holds_alone};
use crate::store::SourceCounts;
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use prefixd_api::event::check_name;
use prefixd_api::problem::Problem;
use prefixd_api::source::{PauseRequest, ResumeRequest, SourceAnswer, SourceList, SourcePaused, SourceView};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// A detector that has reported in this time is listed.
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// Every detector that is configured, paused, or has reported in a week. What is configured, paused and held is this
/// daemon's.
#[utoipa::path(get, path = "/v1/sources", tag = "sources", params(
    ("pop" = Option<String>, Query, description = "Whose reports are counted: a name, or all; this daemon's own when absent"),
), responses((status = 200, body = SourceList), (status = 400, body = Problem)))]
pub(super) async fn list(State(app): State<App>, mut query: Query) -> Result<Response, Failure> {
    let pop = query.pop(&app.pop)?;
    query.finish()?;
    let now = app.clock.now();
    let (since, seen_since) = (now.saturating_sub(DAY), now.saturating_sub(WEEK));
    let mut counts: BTreeMap<String, SourceCounts> = BTreeMap::new();
    for pop in super::series::names(&app, pop).await? {
        for (source, of_pop) in app.store.count_by_source(&pop, since, seen_since).await? {
            counts.entry(source).or_default().add(of_pop);
        }
    }
    let snapshot = app.engine.snapshot();
    let (policy, state) = (&snapshot.policy, &snapshot.state);
    let configured: BTreeSet<&str> = policy.source_names().collect();
    let paused = state.paused.keys().map(|name| &**name);
    let names: BTreeSet<&str> = counts
        .keys()
        .map(String::as_str)
        .chain(configured.iter().copied())
        .chain(paused)
        .collect();
    let view = |name: &str| {
        let (weight, domain, enforce) = policy.source(name);
        let counted = counts.get(name).cloned().unwrap_or_default();
        let live = || state.mitigations.values().filter(|live| holds(name, live));
        SourceView {
            name: name.to_owned(),
            configured: configured.contains(name),
            paused: state.paused.get(name).map(|paused| SourcePaused::clone(paused)),
            weight,
            domain: domain.map(str::to_owned),
            enforce,
            last_seen_at: counted.last_at,
            events_24h: counted.outcomes.values().sum(),
            outcomes_24h: counted.outcomes,
            mitigations: live().count() as u64,
            mitigations_alone: live().filter(|live| holds_alone(name, live)).count() as u64,
        }
    };
    let sources: Vec<SourceView> = names.into_iter().map(view).collect();
    ok(&SourceList {
        count: sources.len(),
        sources,
    })
}

/// Store a detector's bans and do not act on them, until it is resumed; restarts included. Its unbans still count. With
/// `withdraw` what it holds alone is withdrawn.
#[utoipa::path(post, path = "/v1/sources/{name}/pause", tag = "sources", params(("name" = String, Path)),
    request_body = PauseRequest, responses(
    (status = 200, description = "Paused, committed", body = SourceAnswer), (status = 400, body = Problem),
    (status = 409, description = "Another number would be withdrawn", body = Problem), (status = 503, body = Problem),
))]
pub(super) async fn pause(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    key: Key,
    PathText(name): PathText,
    Json(request): Json<PauseRequest>,
) -> Result<Response, Failure> {
    check(&name)?;
    reason(&request.reason)?;
    if request.expect_count.is_some() && !request.withdraw {
        return Err(Failure::field(
            "expect_count",
            "counts what is withdrawn: say withdraw, too",
        ));
    }
    let command = PauseSource {
        source: name.as_str().into(),
        withdraw: request.withdraw,
        expect_count: request.expect_count,
        reason: request.reason,
        actor: principal.actor,
    };
    order(&app, &key, name, Command::PauseSource(command)).await
}

/// Act on a detector's bans again. One that is not paused stays as it is.
#[utoipa::path(post, path = "/v1/sources/{name}/resume", tag = "sources", params(("name" = String, Path)),
    request_body = ResumeRequest, responses(
    (status = 200, description = "Resumed, committed", body = SourceAnswer), (status = 400, body = Problem), (status = 503, body = Problem),
))]
pub(super) async fn resume(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    key: Key,
    PathText(name): PathText,
    Json(request): Json<ResumeRequest>,
) -> Result<Response, Failure> {
    check(&name)?;
    reason(&request.reason)?;
    let command = ResumeSource {
        source: name.as_str().into(),
        reason: request.reason,
        actor: principal.actor,
    };
    order(&app, &key, name, Command::ResumeSource(command)).await
}

/// A name that an event may carry: whoever misfires may be one that nobody configured.
fn check(name: &str) -> Result<(), Failure> {
    let mut errors = Vec::new();
    check_name(&mut errors, "name", name);
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Failure::fields(errors))
    }
}

async fn order(app: &App, key: &Key, source: String, command: Command) -> Result<Response, Failure> {
    let done = app.carry_out(key, command, move |_, _, outcome| match outcome {
        Outcome::SourcePaused { paused, withdrawn } => Some(Reply::json(
            200,
            &SourceAnswer {
                source: source.clone(),
                paused: paused.as_deref().cloned(),
                withdrawn: *withdrawn,
            },
        )),
        _ => None,
    });
    match done.await? {
        Done::Answered(response) => Ok(response),
        Done::Otherwise(Outcome::Refused(problem)) => Err(problem.into()),
        Done::Otherwise(other) => Err(Failure::internal(&format_args!(
            "pausing a source came to {other:?}"
        ))),
    }
}
