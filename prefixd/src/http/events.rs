//! Events.

use super::error::Told;
use super::extract::{Json, PathText, Query, answer, ok, parse, path};
use super::gate::RequestId;
use super::identity::Principal;
use super::keys::{Key, Reply, mark_replayed, mismatch, too_long};
use super::{App, Failure};
use crate::engine::{self, Answer, Keyed};
use crate::policy::{Command, EventCommand, FreshIds, Outcome};
use crate::store::answers::KEPT_FOR;
use crate::store::{Claim, EventFilter, PageRequest, Recalled};
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use governor::clock::Clock;
use prefixd_api::event::{
    Event, EventAction, EventAnswer, EventBatch, EventBatchAnswer, EventBatchResult, EventList, EventOutcome,
    EventRequest, MAX_BATCH, RefusedEvent, StoredEvent,
};
use prefixd_api::ids::EventId;
use prefixd_api::problem::{Code, Problem};
use prefixd_api::time::Timestamp;
use prefixd_api::why::Why;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;
use tracing::warn;

/// Older events are refused: nothing that a person does now could still depend on them.
const MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// Report an attack or its end.
#[utoipa::path(post, path = "/v1/events", tag = "events", request_body = EventRequest, responses(
    (status = 202, description = "New work, committed", body = EventAnswer),
    (status = 200, description = "Known already: the stored answer", body = EventAnswer),
    (status = 400, description = "Not well formed or out of range", body = Problem),
    (status = 422, description = "Stored, but a guardrail refused a rule", body = RefusedEvent),
    (status = 429, description = "Too many events", body = Problem),
    (status = 503, description = "Nothing was done; send it again", body = Problem),
))]
pub(super) async fn send(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    key: Key,
    Json(request): Json<EventRequest>,
) -> Result<Response, Failure> {
    limit(&app, &principal, 1)?;
    let decided = decide(&app, &principal, &key, request).await?;
    let mut response = answer(decided.status, &decided.answer)?;
    if decided.by_key {
        mark_replayed(&mut response);
    }
    Ok(response)
}

/// Report up to 100 events, each judged by itself.
#[utoipa::path(post, path = "/v1/events/batch", tag = "events", request_body = EventBatch, responses(
    (status = 200, description = "One result an event, in order", body = EventBatchAnswer),
    (status = 400, description = "The batch itself is not well formed", body = Problem),
    (status = 429, description = "Too many events", body = Problem),
))]
pub(super) async fn send_batch(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Extension(id): Extension<RequestId>,
    key: Key,
    Json(batch): Json<EventBatch>,
) -> Result<Response, Failure> {
    let count = batch.events.len();
    if count == 0 || count > MAX_BATCH {
        return Err(Failure::field(
            "events",
            format!("has {count} events; send 1 to {MAX_BATCH}"),
        ));
    }
    limit(&app, &principal, u32::try_from(count).unwrap_or(u32::MAX))?;
    known_batch(&app, &key, count).await?;
    // Handed over in order and together, so that they share a commit.
    let decided = batch.events.iter().enumerate().map(|(number, event)| {
        let (app, principal, key) = (&app, &principal, key.item(number));
        async move {
            let request = parse::<EventRequest>(event.get().as_bytes())?;
            decide(app, principal, &key, request).await
        }
    });
    let decided = futures_util::future::join_all(decided).await;
    let by_key = decided.iter().flatten().any(|decided| decided.by_key);
    let results = decided
        .into_iter()
        .map(|decided| result(decided.map(|decided| (decided.status, decided.answer)), &id))
        .collect();
    let mut response = ok(&EventBatchAnswer { results })?;
    if by_key {
        mark_replayed(&mut response);
    }
    Ok(response)
}

/// Each event of a batch is kept by itself; another batch under the same key must not get as far as its first new event.
async fn known_batch(app: &App, key: &Key, count: usize) -> Result<(), Failure> {
    let Some(claim) = key.claim() else {
        return Ok(());
    };
    let items = (0..count).filter_map(|number| Some(key.item(number).claim()?.name.clone()));
    let since = app.clock.now().saturating_sub(KEPT_FOR);
    let known = app
        .store
        .find_kept(&app.pop, since, &items.collect::<Vec<_>>())
        .await?;
    if known.iter().any(|kept| kept.claim.request != claim.request) {
        return Err(mismatch());
    }
    Ok(())
}

/// What became of an event.
struct Decided {
    status: u16,
    answer: EventAnswer,
    /// It was sent before, under the same key.
    by_key: bool,
}

fn result(decided: Result<(u16, EventAnswer), Failure>, id: &RequestId) -> EventBatchResult {
    match decided {
        Ok((http_status, answer)) => EventBatchResult {
            http_status,
            code: None,
            detail: None,
            errors: Vec::new(),
            answer: Some(answer),
        },
        Err(failure) => {
            let Told {
                problem,
                event,
                cause,
            } = failure.into_told();
            if let Some(cause) = cause {
                // The answer of the batch is 200: nobody else would log this.
                warn!(request_id = %id.0, cause, code = problem.code, "an event of a batch failed");
            }
            EventBatchResult {
                http_status: problem.status,
                code: Some(problem.code),
                detail: Some(problem.detail),
                errors: problem.errors,
                answer: event,
            }
        }
    }
}

fn limit(app: &App, principal: &Principal, events: u32) -> Result<(), Failure> {
    let events = NonZeroU32::new(events).unwrap_or(NonZeroU32::MIN);
    let limiter = Arc::clone(&app.live.load().limiter);
    let wait = match limiter.check_key_n(&principal.actor, events) {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(until)) => until.wait_time_from(limiter.clock().now()),
        // More than the burst at once would be refused for ever; validation keeps the burst above a batch.
        Err(most) => {
            return Err(Failure::field(
                "events",
                format!(
                    "has {events} events; http.rate_limit.burst lets {} through at once",
                    most.0
                ),
            ));
        }
    };
    app.metrics.rate_limited.inc();
    let detail = format!(
        "{} sends more events than http.rate_limit allows; slow down",
        principal.actor
    );
    let seconds = u32::try_from(wait.as_secs())
        .unwrap_or(u32::MAX)
        .saturating_add(1);
    Err(Problem::new(Code::LimitRate, detail)
        .with_retry_after(seconds)
        .into())
}

async fn decide(
    app: &App,
    principal: &Principal,
    key: &Key,
    request: EventRequest,
) -> Result<Decided, Failure> {
    let event = Event::try_from(request).map_err(Failure::fields)?;
    let seen_at = seen_at(app, event.timestamp)?;
    let command = EventCommand {
        ids: FreshIds::new(),
        event,
        actor: principal.actor.clone(),
        seen_at,
    };
    let command = Command::Event(Box::new(command));
    let told = match key.claim() {
        None => app.engine.submit(command).await?,
        Some(claim) => match app.engine.submit_keyed(command, keyed(claim)).await? {
            engine::Told::Decided { answer, .. } => answer,
            engine::Told::Recalled(recalled) => return again(recalled),
        },
    };
    let Answer { outcome, replay, .. } = told;
    match outcome {
        Outcome::Event {
            answer,
            refused: None,
        } => Ok(Decided {
            status: if replay { 200 } else { 202 },
            answer,
            by_key: false,
        }),
        Outcome::Event {
            answer,
            refused: Some((guardrail, why)),
        } => {
            let problem = Problem::new(Code::Guardrail(guardrail), answer.reason.clone());
            Err(Failure::from(problem.with_why(why.explain())).of_event(answer))
        }
        Outcome::Refused(problem) => Err(problem.into()),
        other => Err(Failure::internal(&format_args!("an event came to {other:?}"))),
    }
}

fn keyed(claim: &Claim) -> Keyed {
    Keyed {
        claim: claim.clone(),
        answer: Arc::new(|_, outcome| match outcome {
            Outcome::Event {
                answer,
                refused: None,
            } => Some(Reply::json(202, answer).ok()?.into_kept()),
            _ => None,
        }),
    }
}

/// The answer that was kept.
fn again(recalled: Recalled) -> Result<Decided, Failure> {
    let Recalled::Same(kept) = recalled else {
        return Err(mismatch());
    };
    let body = kept.body.as_deref().ok_or_else(too_long)?;
    Ok(Decided {
        status: kept.status,
        answer: serde_json::from_str(body).map_err(|error| Failure::internal(&error))?,
        by_key: true,
    })
}

/// The event's own time on the engine's clock: its age is judged by the wall clock, which the source's clock
/// follows as ours does.
fn seen_at(app: &App, timestamp: Option<Timestamp>) -> Result<Option<Timestamp>, Failure> {
    let Some(timestamp) = timestamp else {
        return Ok(None);
    };
    let wall = Timestamp::wall_clock();
    if timestamp.since(wall) > app.live.load().max_future_skew {
        let ahead = timestamp.since(wall).as_secs();
        return Err(Failure::field(
            "timestamp",
            format!("is {ahead} s ahead of this daemon's clock; check NTP on both sides"),
        ));
    }
    if wall.since(timestamp) > MAX_AGE {
        return Err(Failure::field("timestamp", "is more than 24 h old"));
    }
    Ok(Some(app.clock.now().saturating_sub(wall.since(timestamp))))
}

/// Columns of the list in CSV.
const COLUMNS: &[&str] = &[
    "event_id",
    "received_at",
    "source",
    "external_event_id",
    "action",
    "victim_ip",
    "vector",
    "bps",
    "pps",
    "confidence",
    "outcome",
    "reason",
    "mitigation_id",
    "group_id",
    "pop",
];

/// Events, newest first.
#[utoipa::path(get, path = "/v1/events", tag = "events", params(
    ("source" = Option<String>, Query, description = "Of this detector"),
    ("vector" = Option<String>, Query, description = "Of this kind of attack"),
    ("victim_ip" = Option<String>, Query, description = "About this address, or any in this prefix"),
    ("outcome" = Option<String>, Query, description = "With this outcome"),
    ("action" = Option<String>, Query, description = "ban or unban"),
    ("pop" = Option<String>, Query, description = "A name, or all; this daemon's own when absent"),
    ("format" = Option<String>, Query, description = "json or csv; json when absent, or as Accept says"),
    ("limit" = Option<u16>, Query), ("cursor" = Option<String>, Query),
    ("start" = Option<String>, Query), ("end" = Option<String>, Query),
), responses((status = 200, content((EventList = "application/json"), (String = "text/csv"))), (status = 400, body = Problem)))]
pub(super) async fn list(State(app): State<App>, mut query: Query) -> Result<Response, Failure> {
    let outcomes: Vec<(&str, EventOutcome)> = EventOutcome::NAMES
        .iter()
        .map(|name| (*name, EventOutcome::from(*name)))
        .collect();
    let actions = [("ban", EventAction::Ban), ("unban", EventAction::Unban)];
    let (form, paging) = (query.form()?, query.paging()?);
    let filter = EventFilter {
        source: query.text("source")?,
        vector: query.text("vector")?,
        victim: super::mitigations::prefix(&mut query)?,
        outcome: query.one_of("outcome", &outcomes)?,
        action: query.one_of("action", &actions)?,
        pop: query.pop(&app.pop)?,
        start: paging.start,
        end: paging.end,
    };
    query.finish()?;
    let cursor = paging.cursor.as_deref().map(str::parse).transpose()?;
    let page = app
        .store
        .list_events(
            &filter,
            PageRequest {
                cursor,
                limit: paging.limit,
            },
        )
        .await?;
    let list = EventList {
        count: page.items.len(),
        events: page.items,
        next_cursor: page.next.map(|cursor| cursor.to_string()),
    };
    form.page(&list, COLUMNS, &list.events, list.next_cursor.as_deref())
}

/// One event.
#[utoipa::path(get, path = "/v1/events/{id}", tag = "events", params(("id" = String, Path)),
    responses((status = 200, body = StoredEvent), (status = 404, body = Problem)))]
pub(super) async fn get(State(app): State<App>, PathText(id): PathText) -> Result<Response, Failure> {
    let id: EventId = path(&id, "event")?;
    ok(&app
        .store
        .get_event(id)
        .await?
        .ok_or_else(|| Failure::not_found("event"))?)
}

/// Why an event had the outcome it had.
#[utoipa::path(get, path = "/v1/events/{id}/why", tag = "events", params(("id" = String, Path)),
    responses((status = 200, body = Why), (status = 404, body = Problem)))]
pub(super) async fn why(State(app): State<App>, PathText(id): PathText) -> Result<Response, Failure> {
    let id: EventId = path(&id, "event")?;
    ok(&app
        .store
        .event_why(id)
        .await?
        .ok_or_else(|| Failure::not_found("event"))?)
}
