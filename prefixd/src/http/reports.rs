//! Reports for tickets and customers.

use super::extract::{ALL, Query, ok, path};
use super::{App, Failure};
use crate::report::{Material, incident, markdown};
use crate::store::{EventFilter, MitigationFilter, PageRequest};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use ipnet::IpNet;
use prefixd_api::event::StoredEvent;
use prefixd_api::ids::GroupId;
use prefixd_api::mitigation::Mitigation;
use prefixd_api::prefix;
use prefixd_api::problem::Problem;
use prefixd_api::report::{IncidentReport, ReportScope};
use prefixd_api::show::count;
use prefixd_api::time::Timestamp;
use std::collections::BTreeSet;
use std::time::Duration;

/// How far back a report goes when nobody says.
const DAY: Duration = Duration::from_secs(24 * 3600);
/// The longest time of a report.
const LONGEST: Duration = Duration::from_secs(31 * 24 * 3600);
/// What began earlier is over: no lease of a detector's mitigation is renewed for so long.
const BEFORE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Mitigations that a report tells of.
const MITIGATIONS: usize = 200;
/// Reports that it counts.
const EVENTS: usize = 5_000;
/// Victims of a customer whose reports it counts.
const VICTIMS: usize = 50;
/// Aggregates over an address that it tells of.
const AGGREGATES: usize = 20;
const PAGE: u16 = 1_000;

#[derive(Clone, Copy)]
enum Form {
    Json,
    Markdown,
}

/// What happened: who reported what, what was done, by whom and why, in the order of time.
#[utoipa::path(get, path = "/v1/reports/incident", tag = "questions", params(
    ("ip" = Option<String>, Query, description = "Of this address, or any in this prefix"),
    ("customer_id" = Option<String>, Query, description = "Of this customer"),
    ("group_id" = Option<String>, Query, description = "Of this signal group"),
    ("pop" = Option<String>, Query, description = "Of this POP; of all when absent"),
    ("start" = Option<String>, Query, description = "From when on; a day before the end when absent"),
    ("end" = Option<String>, Query, description = "Up to when; now when absent"),
    ("format" = Option<String>, Query, description = "json or markdown; json when absent"),
), responses(
    (status = 200, content((IncidentReport = "application/json"), (String = "text/markdown"))), (status = 400, body = Problem), (status = 404, body = Problem),
))]
pub(super) async fn report(State(app): State<App>, mut query: Query) -> Result<Response, Failure> {
    let form = query.one_of("format", &[("json", Form::Json), ("markdown", Form::Markdown)])?;
    let (start, end) = query.range()?;
    let ip = query.text("ip")?;
    let ip = ip
        .map(|text| super::mitigations::exact_prefix("ip", &text))
        .transpose()?;
    let customer_id = query.text("customer_id")?;
    let group_id = query.text("group_id")?;
    let pop = query.pop(ALL)?;
    query.finish()?;
    let asked = Asked {
        ip,
        customer_id,
        pop,
        group: group_id.map(|id| path(&id, "group")).transpose()?,
    };
    let report = incident(gather(&app, asked, start, end).await?);
    match form.unwrap_or(Form::Json) {
        Form::Json => ok(&report),
        Form::Markdown => {
            let kind = [(header::CONTENT_TYPE, "text/markdown; charset=utf-8")];
            Ok((kind, markdown(&report)).into_response())
        }
    }
}

struct Asked {
    ip: Option<IpNet>,
    customer_id: Option<String>,
    /// None: all.
    pop: Option<String>,
    group: Option<GroupId>,
}

async fn gather(
    app: &App,
    asked: Asked,
    start: Option<Timestamp>,
    end: Option<Timestamp>,
) -> Result<Material, Failure> {
    let now = app.clock.now();
    let mut narrowed = asked.ip;
    let mut vector = None;
    let (mut from, mut to) = (start, end);
    if let Some(id) = asked.group {
        let group = app.store.get_group(id).await?;
        let group = group.ok_or_else(|| Failure::not_found("group"))?;
        narrowed = Some(group.scope.victim.prefix());
        vector = Some(group.scope.vector.to_string());
        from = from.or(Some(group.opened_at));
        to = to.or(Some(group.closed_at.unwrap_or(now)));
    } else if asked.ip.is_none() && asked.customer_id.is_none() && start.is_none() {
        return Err(Failure::field(
            "ip",
            "is missing: say ip, customer_id, group_id, or at least start",
        ));
    }
    let to = to.unwrap_or(now);
    let from = from.unwrap_or_else(|| to.saturating_sub(DAY));
    if to.since(from) > LONGEST || from >= to {
        return Err(Failure::field("start", "must be before end, and at most 31 days"));
    }
    let mut truncated = Vec::new();
    let filter = MitigationFilter {
        victim: narrowed,
        vector: vector.clone(),
        customer_id: asked.customer_id.clone(),
        pop: asked.pop.clone(),
        start: Some(from.saturating_sub(BEFORE)),
        end: Some(to),
        ..MitigationFilter::default()
    };
    let lived = |one: &Mitigation| {
        one.ended_at.is_none_or(|at| at >= from) && asked.group.is_none_or(|id| one.group_id == id)
    };
    let mut mitigations = mitigations(app, &filter, lived, &mut truncated).await?;
    let mut filters = vec![EventFilter {
        victim: narrowed,
        vector,
        pop: asked.pop.clone(),
        start: Some(from),
        end: Some(to),
        ..EventFilter::default()
    }];
    if narrowed.is_none() && asked.customer_id.is_some() {
        // Events name no customer: those of the victims that something was done for.
        let victims: BTreeSet<_> = mitigations.iter().map(|one| one.victim_ip).collect();
        if victims.len() > VICTIMS {
            truncated.push(format!(
                "the reports of {VICTIMS} of {} victims are counted",
                count(victims.len() as u64)
            ));
        }
        let of = |victim: &prefixd_api::victim::Victim| EventFilter {
            victim: Some(victim.prefix()),
            ..filters[0].clone()
        };
        filters = victims.iter().take(VICTIMS).map(of).collect();
    }
    let mut events = events(app, &filters, &mut truncated).await?;
    let made: BTreeSet<_> = mitigations.iter().map(|one| one.mitigation_id).collect();
    events.retain(|event| {
        let led_to = event.mitigation_id.is_some_and(|id| made.contains(&id));
        asked.group.is_none_or(|id| event.group_id == Some(id) || led_to)
    });
    // What was done for all of a prefix was done for the address, too.
    let others: BTreeSet<_> = events.iter().filter_map(|event| event.mitigation_id).collect();
    for id in others.difference(&made).take(AGGREGATES) {
        let found = app.store.get_mitigation(*id).await?;
        mitigations.extend(found.filter(|one| one.carpet.is_some() && lived(one)));
    }
    let mut with_changes = Vec::with_capacity(mitigations.len());
    for mitigation in mitigations {
        let changes = app.store.timeline(mitigation.mitigation_id).await?;
        with_changes.push((mitigation, changes));
    }
    let events_of = events.iter().map(|event| event.pop.as_str());
    let done_at = with_changes.iter().map(|(mitigation, _)| mitigation.pop.as_str());
    let pops: BTreeSet<&str> = events_of.chain(done_at).collect();
    let pop = if pops.is_empty() {
        asked.pop.unwrap_or_else(|| app.pop.clone())
    } else {
        pops.into_iter().collect::<Vec<_>>().join(", ")
    };
    Ok(Material {
        at: now,
        pop,
        scope: ReportScope {
            ip: asked.ip.map(prefix::show),
            customer_id: asked.customer_id,
            group_id: asked.group.map(|id| id.to_string()),
        },
        start: from,
        end: to,
        events,
        mitigations: with_changes,
        truncated,
    })
}

async fn mitigations(
    app: &App,
    filter: &MitigationFilter,
    lived: impl Fn(&Mitigation) -> bool,
    truncated: &mut Vec<String>,
) -> Result<Vec<Mitigation>, Failure> {
    let (mut found, mut cursor) = (Vec::new(), None);
    loop {
        let page = PageRequest { cursor, limit: PAGE };
        let page = app.store.list_mitigations(filter, page).await?;
        found.extend(page.items.into_iter().filter(&lived));
        cursor = page.next;
        if found.len() > MITIGATIONS {
            found.truncate(MITIGATIONS);
            truncated.push(format!("only the newest {MITIGATIONS} mitigations are told of"));
            return Ok(found);
        }
        if cursor.is_none() {
            return Ok(found);
        }
    }
}

async fn events(
    app: &App,
    filters: &[EventFilter],
    truncated: &mut Vec<String>,
) -> Result<Vec<StoredEvent>, Failure> {
    let mut found = Vec::new();
    for filter in filters {
        let mut cursor = None;
        loop {
            let page = PageRequest { cursor, limit: PAGE };
            let page = app.store.list_events(filter, page).await?;
            found.extend(page.items);
            cursor = page.next;
            if found.len() >= EVENTS && cursor.is_some() {
                truncated.push(format!(
                    "only the newest {} reports are counted",
                    count(found.len() as u64)
                ));
                return Ok(found);
            }
            if cursor.is_none() {
                break;
            }
        }
    }
    Ok(found)
}
