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
use prefixd_api::mitigation::{Group, Mitigation};
use prefixd_api::prefix;
use prefixd_api::problem::Problem;
use prefixd_api::report::{IncidentReport, ReportScope};
use prefixd_api::show::count;
use prefixd_api::time::Timestamp;
use std::collections::BTreeSet;
use std::time::Duration;

/// How far back a report goes when nobody says.
const DAY: Duration = Duration::from_secs(24 * 3600);
const MICROSECOND: Duration = Duration::from_micros(1);
/// The longest time of a report.
const LONGEST: Duration = Duration::from_secs(31 * 24 * 3600);
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
    let mut life = None;
    if let Some(id) = asked.group {
        let group = app.store.get_group(id).await?;
        let group = group.ok_or_else(|| Failure::not_found("group"))?;
        narrowed = Some(group.scope.victim.prefix());
        vector = Some(group.scope.vector.to_string());
        life = Some(Life::of(&group, now));
    } else if asked.ip.is_none() && asked.customer_id.is_none() && start.is_none() {
        return Err(Failure::field(
            "ip",
            "is missing: say ip, customer_id, group_id, or at least start",
        ));
    }
    let mut truncated = Vec::new();
    let (from, to) = time_of(start, end, life, now, &mut truncated)?;
    // What began earlier is over by then, or is of another group.
    let longest = from.saturating_sub(app.live.load().longest_life);
    let began = life.map_or(longest, |life: Life| life.opened_at.min(longest));
    let filter = MitigationFilter {
        victim: narrowed,
        vector: vector.clone(),
        customer_id: asked.customer_id.clone(),
        pop: asked.pop.clone(),
        start: Some(began),
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
    for mut mitigation in mitigations {
        // It is recorded with the next change; what is live is asked for.
        if mitigation.advertised_at.is_none() && mitigation.status.is_live() {
            mitigation.advertised_at = app.announcer.advertised_at(mitigation.mitigation_id);
        }
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

/// When a group was what it is.
#[derive(Clone, Copy)]
struct Life {
    opened_at: Timestamp,
    last_event_at: Timestamp,
    /// What closed it is of its time; now, while it is open.
    until: Timestamp,
}

impl Life {
    fn of(group: &Group, now: Timestamp) -> Self {
        let closed = group.closed_at.map(|at| at.saturating_add(MICROSECOND));
        Self {
            opened_at: group.opened_at,
            last_event_at: group.last_event_at,
            until: closed.unwrap_or(now),
        }
    }
}

/// The time that a report is of, its end not included: as asked, else that of the group, else the last day.
fn time_of(
    start: Option<Timestamp>,
    end: Option<Timestamp>,
    group: Option<Life>,
    now: Timestamp,
    truncated: &mut Vec<String>,
) -> Result<(Timestamp, Timestamp), Failure> {
    let until = end.or(group.map(|life| life.until)).unwrap_or(now);
    let (from, to) = match (start, group) {
        (Some(start), _) => (start, until),
        (None, None) => (until.saturating_sub(DAY), until),
        (None, Some(life)) => {
            let is_long = until.since(life.opened_at) > LONGEST;
            // What was reported says more than the silence after it.
            let told = life.last_event_at.saturating_add(DAY);
            let to = if is_long && end.is_none() {
                told.min(until)
            } else {
                until
            };
            if is_long {
                truncated.push(format!(
                    "the group was opened at {}, and a report is of 31 days at most: start and end name others",
                    life.opened_at
                ));
            }
            (life.opened_at.max(to.saturating_sub(LONGEST)), to)
        }
    };
    if from >= to {
        return Err(match start {
            Some(_) => Failure::field("start", format!("must be before {to}, where the report ends")),
            None => Failure::field("end", format!("must be after {from}, when the group was opened")),
        });
    }
    if to.since(from) > LONGEST {
        let message =
            format!("must be at most 31 days before {to}, where the report ends: ask for its parts");
        return Err(Failure::field("start", message));
    }
    Ok((from, to))
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

#[cfg(test)]
mod tests {
    use super::*;

    const fn days(days: u64) -> Timestamp {
        Timestamp::from_micros((days * 86_400_000_000) as i64)
    }

    #[test]
    fn a_report_is_of_what_is_asked_or_of_the_group_or_of_a_day() {
        let now = days(100);
        let group = |opened, last, until| {
            Some(Life {
                opened_at: days(opened),
                last_event_at: days(last),
                until: days(until),
            })
        };
        let day = |at| Some(days(at));
        for (start, end, group, of, is_cut) in [
            (None, None, None, (99, 100), false),
            (None, day(90), None, (89, 90), false),
            (day(90), None, None, (90, 100), false),
            (day(69), None, None, (69, 100), false),
            (None, None, group(98, 99, 100), (98, 100), false),
            (None, None, group(80, 80, 90), (80, 90), false),
            (day(70), day(99), group(98, 98, 100), (70, 99), false),
            (day(85), None, group(80, 80, 90), (85, 90), false),
            (None, day(99), group(98, 98, 100), (98, 99), false),
            (None, day(60), group(20, 100, 100), (29, 60), true),
            (None, None, group(20, 90, 100), (60, 91), true),
            (None, None, group(20, 20, 100), (20, 21), true),
            (None, None, group(20, 100, 100), (69, 100), true),
        ] {
            let mut truncated = Vec::new();
            let told = time_of(start, end, group, now, &mut truncated);
            let (from, to) = of;
            assert_eq!(told.ok(), Some((days(from), days(to))), "{start:?} {end:?}");
            assert_eq!(!truncated.is_empty(), is_cut, "{truncated:?}");
        }
    }

    #[test]
    fn a_time_that_is_none_is_refused_by_what_was_said() {
        let now = days(100);
        let day = |at| Some(days(at));
        let life = Some(Life {
            opened_at: days(80),
            last_event_at: days(80),
            until: days(81),
        });
        for (start, end, group, field, says) in [
            (day(68), None, None, "start", "at most 31 days"),
            (day(101), None, None, "start", "must be before"),
            (day(90), None, life, "start", "must be before"),
            (None, day(70), life, "end", "the group was opened"),
        ] {
            let refused = time_of(start, end, group, now, &mut Vec::new()).unwrap_err();
            let problem = refused.into_problem();
            assert!(problem.detail.contains(says), "{problem:?}");
            assert_eq!(problem.errors[0].field, field);
        }
    }
}
