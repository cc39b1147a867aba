//! Everything that is known of an address.

use super::extract::{ALL, PathText, Query};
use super::{App, Failure};
use crate::store::{Line, PageRequest};
use axum::extract::State;
use axum::response::Response;
use ipnet::IpNet;
use prefixd_api::history::{AddressContext, HistoryItem, HistoryKind, IpHistory};
use prefixd_api::prefix;
use prefixd_api::problem::Problem;
use prefixd_api::victim::Victim;

/// Columns of the list in CSV.
const COLUMNS: &[&str] = &["at", "kind", "id", "pop", "victim_ip", "vector", "summary"];

/// Reports and mitigations of an address, or of all in a prefix (its slash as %2F), newest first, with whose it is.
#[utoipa::path(get, path = "/v1/ip/{ip}/history", tag = "questions", params(
    ("ip" = String, Path, description = "An address or a prefix"),
    ("pop" = Option<String>, Query, description = "As a POP knows it, by its name; as all of them do when absent"),
    ("format" = Option<String>, Query, description = "json or csv; json when absent, or as Accept says"),
    ("limit" = Option<u16>, Query), ("cursor" = Option<String>, Query),
    ("start" = Option<String>, Query), ("end" = Option<String>, Query),
), responses((status = 200, content((IpHistory = "application/json"), (String = "text/csv"))), (status = 400, body = Problem)))]
pub(super) async fn get(
    State(app): State<App>,
    PathText(text): PathText,
    mut query: Query,
) -> Result<Response, Failure> {
    let (form, paging) = (query.form()?, query.paging()?);
    let pop = query.pop(ALL)?;
    query.finish()?;
    let ip = super::mitigations::exact_prefix("ip", &text)?;
    let cursor = paging.cursor.as_deref().map(str::parse).transpose()?;
    let page = PageRequest {
        cursor,
        limit: paging.limit,
    };
    let page = app
        .store
        .history(pop.as_deref(), ip, (paging.start, paging.end), page)
        .await?;
    let items: Vec<HistoryItem> = page.items.into_iter().map(item).collect();
    let history = IpHistory {
        ip: prefix::show(ip),
        context: context(&app, ip),
        count: items.len(),
        items,
        next_cursor: page.next.map(|cursor| cursor.to_string()),
    };
    form.page(&history, COLUMNS, &history.items, history.next_cursor.as_deref())
}

fn item(line: Line) -> HistoryItem {
    match line {
        Line::Event(event) => HistoryItem {
            at: event.received_at,
            kind: HistoryKind::Event,
            pop: event.pop.clone(),
            id: event.event_id.to_string(),
            victim_ip: event.victim_ip,
            vector: event.vector.clone(),
            summary: format!(
                "{} by {}: {} ({})",
                event.action.as_str(),
                event.source,
                event.outcome,
                event.reason
            ),
            event: Some(*event),
            mitigation: None,
        },
        Line::Mitigation(mitigation) => {
            let end = mitigation.ended_at.map_or_else(String::new, |at| {
                let by = mitigation.ended_by.as_deref().unwrap_or("prefixd");
                let note = mitigation.end_note.as_deref().map(|note| format!(": {note}"));
                format!(" {at} by {by}{}", note.unwrap_or_default())
            });
            HistoryItem {
                at: mitigation.created_at,
                kind: HistoryKind::Mitigation,
                pop: mitigation.pop.to_string(),
                id: mitigation.mitigation_id.to_string(),
                victim_ip: mitigation.victim_ip,
                vector: mitigation.vector.to_string(),
                summary: format!("{}, {}{end}", mitigation.action_type, mitigation.status),
                event: None,
                mitigation: Some(*mitigation),
            }
        }
    }
}

/// Whose it is, and what keeps rules away. A prefix belongs to whom its first address belongs to.
fn context(app: &App, ip: IpNet) -> AddressContext {
    let (snapshot, now) = (app.engine.snapshot(), app.clock.now());
    let policy = &snapshot.policy;
    let owner = Victim::new(ip.network()).ok();
    let customer = owner.and_then(|victim| policy.customer_of(victim));
    let service = owner.and_then(|victim| policy.service_of(victim));
    let touches = |other: &IpNet| ip.contains(other) || other.contains(&ip);
    let added = snapshot.state.safelist.values().map(|entry| &**entry);
    let safelisted = policy
        .safelist()
        .chain(added)
        .filter(|entry| touches(&entry.prefix) && !entry.is_over(now));
    let suppressions = snapshot.state.suppressions.values();
    let wide = snapshot.state.wide_suppressions.values();
    let live = snapshot.state.mitigations.values();
    AddressContext {
        customer_id: customer.map(str::to_owned),
        customer_name: customer
            .and_then(|id| policy.customer_name(id))
            .map(str::to_owned),
        service_id: service.map(str::to_owned),
        service_name: customer
            .zip(service)
            .and_then(|(customer, service)| policy.service_name(customer, service))
            .map(str::to_owned),
        safelisted: safelisted.cloned().collect(),
        suppressions: suppressions
            .filter(|one| one.expires_at > now && one.scope.victim.touches(&ip))
            .map(|one| prefixd_api::mitigation::Suppression::clone(one))
            .collect(),
        wide_suppressions: wide
            .filter(|one| one.expires_at > now && one.prefix.is_none_or(|prefix| touches(&prefix)))
            .map(|one| prefixd_api::mitigation::WideSuppression::clone(one))
            .collect(),
        live: live.filter(|live| live.victim_ip.touches(&ip)).count() as u64,
    }
}
