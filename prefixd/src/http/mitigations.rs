//! Mitigations.

use super::extract::{Json, PathText, Query, ok, path};
use super::identity::Principal;
use super::keys::{Done, Key, Reply};
use super::{App, Failure, remote};
use crate::policy::{
    AdjustCommand, Command, CreateCommand, FreshIds, Outcome, State as Committed, WithdrawCommand,
};
use crate::store::{CursorError, MitigationFilter, PageRequest};
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use ipnet::IpNet;
use prefixd_api::event::check_name;
use prefixd_api::ids::MitigationId;
use prefixd_api::mitigation::{
    Delivery, Mitigation, MitigationDetail, MitigationList, MitigationRequest, MitigationStatus,
    WithdrawRequest,
};
use prefixd_api::operation::{AdjustRequest, Withdrawn};
use prefixd_api::peer::MayHold;
use prefixd_api::prefix;
use prefixd_api::problem::{Code, Problem};
use prefixd_api::remote::RemoteCommand;
use prefixd_api::rule::{ActionFields, ActionType, MatchRequest};
use prefixd_api::victim::{Victim, VictimError};
use prefixd_api::why::Why;
use serde::Serialize;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

/// Longest text of a person, in bytes.
pub(super) const MAX_REASON: usize = 1000;
/// Seconds in which a withdrawal may be confirmed.
const CONFIRM: std::ops::RangeInclusive<u32> = 10..=86_400;
/// Longest suppression, in seconds.
pub(super) const MAX_SUPPRESS: u32 = 86_400;

/// Columns of the list in CSV.
const COLUMNS: &[&str] = &[
    "mitigation_id",
    "status",
    "customer_id",
    "service_id",
    "pop",
    "victim_ip",
    "vector",
    "action_type",
    "rate_bps",
    "severity",
    "confidence",
    "enforced",
    "playbook",
    "step",
    "created_at",
    "expires_at",
    "ended_at",
    "ended_by",
    "end_reason",
    "end_note",
    "observed.bps",
    "observed.pps",
    "external_ref",
    "acknowledged_by",
    "origin.actor",
    "why_summary",
];

/// Mitigations, newest first.
#[utoipa::path(get, path = "/v1/mitigations", tag = "mitigations", params(
    ("status" = Option<String>, Query, description = "Any of these, separated by commas"),
    ("customer_id" = Option<String>, Query), ("service_id" = Option<String>, Query),
    ("victim_ip" = Option<String>, Query, description = "Of this address, or any in this prefix"),
    ("vector" = Option<String>, Query),
    ("pop" = Option<String>, Query, description = "A name, or all; this daemon's own when absent"),
    ("acknowledged" = Option<bool>, Query), ("action_type" = Option<String>, Query),
    ("format" = Option<String>, Query, description = "json or csv; json when absent, or as Accept says"),
    ("limit" = Option<u16>, Query), ("cursor" = Option<String>, Query),
    ("start" = Option<String>, Query), ("end" = Option<String>, Query),
), responses((status = 200, content((MitigationList = "application/json"), (String = "text/csv"))), (status = 400, body = Problem)))]
pub(super) async fn list(State(app): State<App>, mut query: Query) -> Result<Response, Failure> {
    let (form, paging) = (query.form()?, query.paging()?);
    let statuses = match query.text("status")? {
        None => Vec::new(),
        Some(text) => text
            .split(',')
            .map(|name| {
                name.parse::<MitigationStatus>()
                    .map_err(|error| Failure::field("status", error))
            })
            .collect::<Result<_, _>>()?,
    };
    let filter = MitigationFilter {
        statuses,
        customer_id: query.text("customer_id")?,
        service_id: query.text("service_id")?,
        victim: prefix(&mut query)?,
        vector: query.text("vector")?,
        pop: query.pop(&app.pop)?,
        acknowledged: query.one_of("acknowledged", &[("true", true), ("false", false)])?,
        action_type: query.one_of("action_type", &ActionType::ALL.map(|kind| (kind.as_str(), kind)))?,
        start: paging.start,
        end: paging.end,
    };
    query.finish()?;
    let own_pop = match filter.pop.as_deref() {
        Some(pop) => pop == app.pop,
        None => !app.store.is_shared(),
    };
    let (found, next_cursor) =
        if own_pop && !filter.statuses.is_empty() && filter.statuses.iter().all(|s| s.is_live()) {
            live(
                &app.engine.snapshot().state,
                &filter,
                paging.cursor.as_deref(),
                paging.limit.into(),
            )?
        } else {
            let cursor = paging.cursor.as_deref().map(str::parse).transpose()?;
            let page = app
                .store
                .list_mitigations(
                    &filter,
                    PageRequest {
                        cursor,
                        limit: paging.limit,
                    },
                )
                .await?;
            let items = page.items.into_iter().map(Arc::new).collect();
            (items, page.next.map(|cursor| cursor.to_string()))
        };
    let deliveries = app.announcer.deliveries();
    let mitigations: Vec<Shown> = found
        .into_iter()
        .map(|mitigation| Shown {
            // What routers of another POP were told, the daemon there knows.
            delivery: (mitigation.pop == app.pop).then(|| deliveries.of(&mitigation)),
            mitigation,
        })
        .collect();
    let list = Page {
        count: mitigations.len(),
        mitigations,
        next_cursor,
    };
    form.page(&list, COLUMNS, &list.mitigations, list.next_cursor.as_deref())
}

/// What [`MitigationList`] is read from. A page of a hundred that live is not a copy of them.
#[derive(Serialize)]
struct Page {
    mitigations: Vec<Shown>,
    count: usize,
    next_cursor: Option<String>,
}

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    mitigation: Arc<Mitigation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery: Option<Delivery>,
}

/// Marks a cursor into the live mitigations; the store's cursors are base64 without a colon.
const LIVE_CURSOR: &str = "live:";

/// A page of live mitigations out of memory: names are ordered by time, so they are the position too.
fn live(
    state: &Committed,
    filter: &MitigationFilter,
    cursor: Option<&str>,
    limit: usize,
) -> Result<(Vec<Arc<Mitigation>>, Option<String>), Failure> {
    let after: Option<MitigationId> = match cursor {
        None => None,
        Some(text) => {
            let id = text.strip_prefix(LIVE_CURSOR).and_then(|id| id.parse().ok());
            Some(id.ok_or(CursorError)?)
        }
    };
    let end = after.map_or(Bound::Unbounded, Bound::Excluded);
    let older = state
        .mitigations
        .range::<_, MitigationId>((Bound::Unbounded, end));
    let mut matching = older
        .rev()
        .map(|(_, mitigation)| mitigation)
        .filter(|mitigation| lets_through(filter, mitigation));
    let page: Vec<_> = matching.by_ref().take(limit).map(Arc::clone).collect();
    let next = matching
        .next()
        .and(page.last())
        .map(|last| format!("{LIVE_CURSOR}{}", last.mitigation_id));
    Ok((page, next))
}

fn lets_through(filter: &MitigationFilter, mitigation: &Mitigation) -> bool {
    let is = |wanted: &Option<String>, value: Option<&str>| wanted.is_none() || wanted.as_deref() == value;
    filter.statuses.contains(&mitigation.status)
        && is(&filter.customer_id, mitigation.customer_id.as_deref())
        && is(&filter.service_id, mitigation.service_id.as_deref())
        && is(&filter.vector, Some(&mitigation.vector))
        && filter
            .victim
            .is_none_or(|prefix| mitigation.victim_ip.touches(&prefix))
        && filter
            .action_type
            .is_none_or(|action| action == mitigation.action_type)
        && filter
            .acknowledged
            .is_none_or(|wanted| wanted == mitigation.acknowledged_at.is_some())
        && filter.start.is_none_or(|start| mitigation.created_at >= start)
        && filter.end.is_none_or(|end| mitigation.created_at < end)
}

/// An address or a prefix, of the `victim_ip` parameter.
pub(super) fn prefix(query: &mut Query) -> Result<Option<IpNet>, Failure> {
    let Some(text) = query.text("victim_ip")? else {
        return Ok(None);
    };
    exact_prefix("victim_ip", &text).map(Some)
}

/// An address or a prefix without host bits.
pub(super) fn exact_prefix(field: &str, text: &str) -> Result<IpNet, Failure> {
    let wrong = |message: String| Failure::field(field, message);
    let prefix = prefix::parse(text).map_err(|error| wrong(error.to_string()))?;
    if prefix.trunc() != prefix {
        let meant = prefix.trunc();
        return Err(wrong(format!("{text} has host bits set; did you mean {meant}?")));
    }
    Ok(prefix)
}

/// Mitigate now, inside the guardrails.
#[utoipa::path(post, path = "/v1/mitigations", tag = "mitigations", request_body = MitigationRequest, responses(
    (status = 201, description = "Made, committed", body = Mitigation),
    (status = 400, body = Problem), (status = 409, description = "A live one holds the scope", body = Problem),
    (status = 422, description = "A guardrail refused it", body = Problem), (status = 503, body = Problem),
))]
pub(super) async fn create(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    key: Key,
    Json(request): Json<MitigationRequest>,
) -> Result<Response, Failure> {
    let command = create_command(request, principal.actor)?;
    let command = Command::Create(Box::new(command));
    let done = app.carry_out(&key, command, |app, _, outcome| match outcome {
        Outcome::Created(made) => Some(Reply::json(201, &with_delivery(app, made))),
        _ => None,
    });
    match done.await? {
        Done::Answered(response) => Ok(response),
        Done::Otherwise(Outcome::Refused(problem)) => Err(problem.into()),
        Done::Otherwise(other) => Err(Failure::internal(&format_args!("a creation came to {other:?}"))),
    }
}

/// A request that can be understood.
pub(super) fn create_command(request: MitigationRequest, actor: String) -> Result<CreateCommand, Failure> {
    let victim: Victim = request
        .victim_ip
        .parse()
        .map_err(|error: VictimError| Failure::field("victim_ip", error.to_string()))?;
    reason(&request.reason)?;
    names(&[
        ("vector", &request.vector),
        ("external_ref", &request.external_ref),
    ])?;
    let short = [
        ("protocol", request.protocol.is_some()),
        ("dst_ports", !request.dst_ports.is_empty()),
        ("src_ports", !request.src_ports.is_empty()),
    ];
    one_match(request.matches.as_deref(), &short, victim)?;
    let has_others = request.route_target.is_some()
        || request.next_hop.is_some()
        || request.copy
        || request.dscp.is_some();
    own_fields(crate::policy::requested(&request), has_others)?;
    Ok(CreateCommand {
        ids: FreshIds::new(),
        victim,
        request,
        actor,
    })
}

/// A change that can be understood, of a mitigation that may be live.
pub(super) fn adjust_command(
    app: &App,
    mitigation: MitigationId,
    request: AdjustRequest,
    actor: String,
) -> Result<AdjustCommand, Failure> {
    reason(&request.reason)?;
    let has_others = request.route_target.is_some()
        || request.next_hop.is_some()
        || request.copy
        || request.dscp.is_some();
    own_fields(request.action(), has_others)?;
    if request.is_empty() {
        return Err(Failure::field(
            "action",
            "is missing, and so is everything else that could be adjusted: name an action, a rate, ports, protocol, match, \
             sample or ttl_seconds",
        ));
    }
    let short = [
        ("protocol", request.protocol.is_some()),
        ("dst_ports", request.dst_ports.is_some()),
        ("src_ports", request.src_ports.is_some()),
    ];
    // A victim never changes. Of what is not live the engine says what became of it.
    if let Some(live) = app.engine.snapshot().state.mitigations.get(&mitigation) {
        one_match(request.matches.as_deref(), &short, live.victim_ip)?;
    }
    Ok(AdjustCommand {
        mitigation,
        request,
        actor,
    })
}

/// Nothing is said that the action does not have; others than rates may be there.
fn own_fields(action: Option<ActionFields>, has_others: bool) -> Result<(), Failure> {
    match action.map(ActionFields::only_own) {
        Some(Err(error)) => Err(Failure::field("action", error.to_string())),
        None if has_others => Err(Failure::field(
            "action",
            "is missing: route_target, next_hop, copy and dscp belong to redirect_vrf, redirect_ip and mark",
        )),
        Some(Ok(())) | None => Ok(()),
    }
}

/// The match is said once, and it is the victim's.
fn one_match(
    matches: Option<&MatchRequest>,
    short: &[(&'static str, bool)],
    victim: Victim,
) -> Result<(), Failure> {
    let Some(matches) = matches else {
        return Ok(());
    };
    if let Some((field, _)) = short.iter().find(|(_, is_there)| *is_there) {
        return Err(Failure::field(
            field,
            "is part of match already; send match or the short keys, not both",
        ));
    }
    match matches.dst_prefix {
        Some(prefix) if prefix != victim.prefix() => Err(Failure::field(
            "match.dst_prefix",
            format!("is {prefix}, and the victim is {victim}; leave it out or make them equal"),
        )),
        Some(_) | None => Ok(()),
    }
}

pub(super) fn with_delivery(app: &App, mitigation: &Arc<Mitigation>) -> Mitigation {
    let mut mitigation = Mitigation::clone(mitigation);
    mitigation.delivery = Some(Box::new(app.announcer.deliveries().of(&mitigation)));
    mitigation
}

/// Neighbours that may hold the rules of what has ended: a withdrawal does not reach them.
pub(super) fn may_hold(app: &App, ended: &Mitigation) -> Vec<MayHold> {
    if ended.enforced && !ended.status.is_live() {
        app.announcer.may_hold_since(ended.begun_at())
    } else {
        Vec::new()
    }
}

/// Names are kept, listed and sent to every subscriber: they are bounded as those of events are.
pub(super) fn names(given: &[(&str, &Option<String>)]) -> Result<(), Failure> {
    let mut errors = Vec::new();
    for (field, name) in given {
        if let Some(name) = name {
            check_name(&mut errors, field, name);
        }
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Failure::fields(errors))
    }
}

/// A person's words: needed for the journal, and bounded.
pub(super) fn reason(text: &str) -> Result<(), Failure> {
    if text.trim().is_empty() {
        return Err(Failure::field(
            "reason",
            "is empty; say why, the journal keeps it",
        ));
    }
    if text.len() > MAX_REASON || text.chars().any(|c| c.is_control() && c != '\n') {
        return Err(Failure::field(
            "reason",
            format!("must have at most {MAX_REASON} bytes and no control characters"),
        ));
    }
    Ok(())
}

/// One mitigation with its rules, announcements and timeline.
#[utoipa::path(get, path = "/v1/mitigations/{id}", tag = "mitigations", params(("id" = String, Path)),
    responses((status = 200, body = MitigationDetail), (status = 404, body = Problem)))]
pub(super) async fn get(State(app): State<App>, PathText(id): PathText) -> Result<Response, Failure> {
    let id: MitigationId = path(&id, "mitigation")?;
    let snapshot = app.engine.snapshot();
    let mitigation = match snapshot.state.mitigations.get(&id) {
        Some(live) => Mitigation::clone(live),
        None => app
            .store
            .get_mitigation(id)
            .await?
            .ok_or_else(|| Failure::not_found("mitigation"))?,
    };
    let mitigation = with_delivery(&app, &Arc::new(mitigation));
    let policy = &snapshot.policy;
    let customer = mitigation.customer_id.as_deref();
    let service = customer.zip(mitigation.service_id.as_deref());
    ok(&MitigationDetail {
        previews: mitigation.rules.iter().map(crate::announce::preview).collect(),
        announcements: app.announcer.announcements(
            &mitigation,
            snapshot
                .state
                .beside(mitigation.victim_ip, mitigation.mitigation_id),
        ),
        customer_name: customer
            .and_then(|id| policy.customer_name(id))
            .map(str::to_owned),
        service_name: service
            .and_then(|(customer, id)| policy.service_name(customer, id))
            .map(str::to_owned),
        timeline: app.store.timeline(id).await?,
        mitigation,
    })
}

/// Why a mitigation is as it is, and what became of its rules at each neighbour.
#[utoipa::path(get, path = "/v1/mitigations/{id}/why", tag = "mitigations", params(("id" = String, Path)),
    responses((status = 200, body = Why), (status = 404, body = Problem)))]
pub(super) async fn why(State(app): State<App>, PathText(id): PathText) -> Result<Response, Failure> {
    let id: MitigationId = path(&id, "mitigation")?;
    let mut why = app
        .store
        .mitigation_why(id)
        .await?
        .ok_or_else(|| Failure::not_found("mitigation"))?;
    let snapshot = app.engine.snapshot();
    if let Some(live) = snapshot.state.mitigations.get(&id) {
        let beside = snapshot.state.beside(live.victim_ip, id);
        why.announcements = app.announcer.announcements(live, beside);
    }
    ok(&why)
}

/// Take a mitigation back and suppress its scope for a time.
#[utoipa::path(post, path = "/v1/mitigations/{id}/withdraw", tag = "mitigations", params(("id" = String, Path)),
    request_body = WithdrawRequest, responses(
    (status = 200, description = "Withdrawn, committed", body = Withdrawn),
    (status = 202, description = "It is of another POP, which has not answered yet", body = RemoteCommand),
    (status = 400, body = Problem), (status = 404, body = Problem),
    (status = 409, description = "It has ended, or changed meanwhile", body = Problem), (status = 503, body = Problem),
))]
pub(super) async fn withdraw(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    key: Key,
    PathText(id): PathText,
    Json(request): Json<WithdrawRequest>,
) -> Result<Response, Failure> {
    let mitigation: MitigationId = path(&id, "mitigation")?;
    reason(&request.reason)?;
    let suppress = suppress(request.suppress_seconds)?;
    let confirm_within = confirm_within(request.confirm_within_seconds)?;
    let command = WithdrawCommand {
        ids: FreshIds::new(),
        mitigation,
        reason: request.reason.clone(),
        suppress,
        confirm_within,
        expected_revision: request.expected_revision,
        actor: principal.actor.clone(),
    };
    let done = app.carry_out(
        &key,
        Command::Withdraw(command),
        |app, _, outcome| match outcome {
            Outcome::Withdrawn(ended) => {
                let withdrawn = Withdrawn {
                    mitigation: with_delivery(app, ended),
                    may_hold: may_hold(app, ended),
                };
                Some(Reply::json(200, &withdrawn))
            }
            _ => None,
        },
    );
    match done.await? {
        Done::Answered(response) => Ok(response),
        Done::Otherwise(Outcome::Refused(problem))
            if app.store.is_shared() && problem.code == Code::NotFound.as_str() =>
        {
            let known = app.store.get_mitigation(mitigation).await?;
            match known.filter(|known| known.pop != app.pop) {
                Some(known) => remote::withdraw(&app, &key, &known, request, principal.actor).await,
                None => Err(refusal(&app, mitigation, problem).await),
            }
        }
        Done::Otherwise(Outcome::Refused(problem)) => Err(refusal(&app, mitigation, problem).await),
        Done::Otherwise(other) => Err(Failure::internal(&format_args!("a withdrawal came to {other:?}"))),
    }
}

/// How long bans are suppressed.
pub(super) fn suppress(seconds: Option<u32>) -> Result<Option<Duration>, Failure> {
    if seconds.is_some_and(|seconds| seconds > MAX_SUPPRESS) {
        return Err(Failure::field(
            "suppress_seconds",
            format!("must be at most {MAX_SUPPRESS} (a day)"),
        ));
    }
    Ok(seconds.map(|seconds| Duration::from_secs(seconds.into())))
}

/// How long a withdrawal waits to be confirmed.
pub(super) fn confirm_within(seconds: Option<u32>) -> Result<Option<Duration>, Failure> {
    if seconds.is_some_and(|seconds| !CONFIRM.contains(&seconds)) {
        let (least, most) = (CONFIRM.start(), CONFIRM.end());
        return Err(Failure::field(
            "confirm_within_seconds",
            format!("must be {least} to {most}"),
        ));
    }
    Ok(seconds.map(|seconds| Duration::from_secs(seconds.into())))
}

/// Why a request about a live mitigation was refused. The engine knows the live ones; whether another ended or never was,
/// the store knows.
pub(super) async fn refusal(app: &App, mitigation: MitigationId, problem: Box<Problem>) -> Failure {
    if problem.code != Code::NotFound.as_str() {
        return problem.into();
    }
    match app.store.get_mitigation(mitigation).await {
        Ok(Some(known)) => has_ended(app, &known),
        Ok(None) => Failure::not_found("mitigation"),
        Err(error) => error.into(),
    }
}

/// The same of one about which the store was asked before; `None`: it was live then.
pub(super) fn known_refusal(app: &App, problem: &Problem, stored: Option<&Option<Mitigation>>) -> Problem {
    if problem.code != Code::NotFound.as_str() {
        return problem.clone();
    }
    match stored {
        Some(Some(known)) => has_ended(app, known),
        Some(None) => Failure::not_found("mitigation"),
        None => Failure::new(
            Code::ConflictEnded,
            "it has ended meanwhile: there is nothing left to change",
        ),
    }
    .into_problem()
}

/// Where it is asked for what is not done from here.
pub(super) fn of_another_pop(app: &App, known: &Mitigation) -> Option<Failure> {
    (known.pop != app.pop).then(|| {
        Failure::new(
            Code::NotFound,
            format!(
                "it is of POP {}: ask the prefixd there. Only a withdrawal can be asked for from here",
                known.pop
            ),
        )
    })
}

/// It is not live here, and it is known.
pub(super) fn has_ended(app: &App, known: &Mitigation) -> Failure {
    if known.status.is_live()
        && let Some(elsewhere) = of_another_pop(app, known)
    {
        return elsewhere;
    }
    let why = match &known.end_reason {
        Some(why) => why.to_string(),
        None => known.status.to_string(),
    };
    Failure::new(
        Code::ConflictEnded,
        format!("it has ended already ({why}): there is nothing left to change"),
    )
}
