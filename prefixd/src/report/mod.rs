//! What happened, told from what is stored: who said what, what was done, who did it, and why.

mod markdown;
#[cfg(test)]
mod tests;

pub(crate) use markdown::markdown;

use crate::journal::DAEMON;
use prefixd_api::event::StoredEvent;
use prefixd_api::mitigation::{Mitigation, TimelineEntry};
use prefixd_api::report::{IncidentReport, ReportLine, ReportScope, ReportedAction, ReportedBy};
use prefixd_api::rule::Rule;
use prefixd_api::time::Timestamp;
use prefixd_api::victim::Victim;
use serde::Deserialize as _;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What a report is made of.
pub(crate) struct Material {
    /// When it is written.
    pub(crate) at: Timestamp,
    /// The POPs.
    pub(crate) pop: String,
    /// What it is about.
    pub(crate) scope: ReportScope,
    /// From when on.
    pub(crate) start: Timestamp,
    /// Up to when.
    pub(crate) end: Timestamp,
    /// The reports in that time, in any order.
    pub(crate) events: Vec<StoredEvent>,
    /// The mitigations that lived in that time, each with its changes, in any order.
    pub(crate) mitigations: Vec<(Mitigation, Vec<TimelineEntry>)>,
    /// What is missing, in words.
    pub(crate) truncated: Vec<String>,
}

/// The report.
#[must_use]
pub(crate) fn incident(material: Material) -> IncidentReport {
    let Material {
        at,
        pop,
        scope,
        start,
        end,
        events,
        mut mitigations,
        truncated,
    } = material;
    mitigations.sort_by_key(|(mitigation, _)| (mitigation.created_at, mitigation.mitigation_id));
    let mut timeline: Vec<(u64, ReportLine)> = Vec::new();
    let mut people: BTreeSet<&str> = BTreeSet::new();
    for (mitigation, entries) in &mitigations {
        let in_time = entries.iter().filter(|entry| entry.at >= start && entry.at < end);
        for entry in in_time {
            if is_by_hand(entry) {
                people.insert(&entry.actor);
            }
            timeline.extend(line(mitigation, entry).map(|line| (entry.seq, line)));
        }
    }
    timeline.sort_by_key(|(seq, line)| (line.at, *seq));
    let timeline: Vec<ReportLine> = timeline.into_iter().map(|(_, line)| line).collect();
    let reports = said(&events);
    let actions: Vec<ReportedAction> = mitigations
        .iter()
        .map(|(mitigation, _)| done(mitigation))
        .collect();
    IncidentReport {
        at,
        pop,
        scope,
        start,
        end,
        peak_bps: reports.iter().filter_map(|by| by.peak_bps).max(),
        peak_pps: reports.iter().filter_map(|by| by.peak_pps).max(),
        people: people.into_iter().map(str::to_owned).collect(),
        reports,
        actions,
        timeline,
        truncated,
    }
}

fn said(events: &[StoredEvent]) -> Vec<ReportedBy> {
    let mut by: BTreeMap<(Victim, &str, &str), ReportedBy> = BTreeMap::new();
    for event in events {
        let key = (event.victim_ip, event.vector.as_str(), event.source.as_str());
        let report = by.entry(key).or_insert_with(|| ReportedBy {
            source: event.source.clone(),
            victim_ip: event.victim_ip,
            vector: event.vector.clone(),
            events: 0,
            first_at: event.received_at,
            last_at: event.received_at,
            peak_bps: None,
            peak_pps: None,
            outcomes: BTreeMap::new(),
        });
        report.events += 1;
        report.first_at = report.first_at.min(event.received_at);
        report.last_at = report.last_at.max(event.received_at);
        report.peak_bps = report.peak_bps.max(event.bps);
        report.peak_pps = report.peak_pps.max(event.pps);
        *report.outcomes.entry(event.outcome.to_string()).or_insert(0) += 1;
    }
    let mut reports: Vec<ReportedBy> = by.into_values().collect();
    reports.sort_by_key(|report| report.first_at);
    reports
}

fn done(mitigation: &Mitigation) -> ReportedAction {
    ReportedAction {
        mitigation_id: mitigation.mitigation_id,
        pop: mitigation.pop.to_string(),
        victim_ip: mitigation.victim_ip,
        vector: mitigation.vector.to_string(),
        customer_id: mitigation.customer_id.as_deref().map(str::to_owned),
        enforced: mitigation.enforced,
        rules: mitigation.rules.iter().map(ToString::to_string).collect(),
        status: mitigation.status.to_string(),
        created_at: mitigation.created_at,
        advertised_at: mitigation.advertised_at,
        ended_at: mitigation.ended_at,
        started_by: mitigation.origin.actor.to_string(),
        ended_by: mitigation.ended_by.as_deref().map(str::to_owned),
        why: mitigation.why_summary.to_string(),
        end_reason: mitigation.end_reason.as_ref().map(ToString::to_string),
        end_note: mitigation.end_note.as_deref().map(str::to_owned),
        peak_bps: mitigation.observed.bps,
        peak_pps: mitigation.observed.pps,
    }
}

/// Whether a person asked for it. An operator who reports an attack is a detector there, and a person elsewhere.
fn is_by_hand(entry: &TimelineEntry) -> bool {
    let (made, changes) = (&entry.body["mitigation"], &entry.body["changes"]);
    let is_asked = match entry.kind.strip_prefix("mitigation.") {
        Some("created") => made["origin"]["kind"] == "operator",
        Some("noted" | "acknowledged") => true,
        Some("promoted") => is_operators(changes),
        Some(_) => {
            entry.body["reason"].is_string()
                || changes["end_reason"] == "operator"
                || changes.get("claimed").is_some()
                || changes["why_summary"].is_string() && is_pinned(changes)
        }
        None => false,
    };
    is_asked && entry.actor != DAEMON
}

/// A change as one sentence; a renewed lease is none worth a line.
fn line(mitigation: &Mitigation, entry: &TimelineEntry) -> Option<ReportLine> {
    let what = match entry.kind.strip_prefix("mitigation.")? {
        "created" => {
            let made = &entry.body["mitigation"];
            format!("began: {}", text(&made["why_summary"]).unwrap_or_default())
        }
        kind => changes(kind, &entry.body)?,
    };
    Some(ReportLine {
        at: entry.at,
        actor: entry.actor.clone(),
        mitigation_id: mitigation.mitigation_id,
        victim_ip: mitigation.victim_ip,
        what,
    })
}

fn changes(kind: &str, body: &Value) -> Option<String> {
    let mut parts = Vec::new();
    let (changes, words) = (&body["changes"], text(&body["reason"]));
    let changed = |field: &str| changes.get(field).filter(|value| !value.is_null());
    let is_gone = |field: &str| changes.get(field).is_some_and(Value::is_null);
    match kind {
        "promoted" if is_operators(changes) => {
            parts.push("announced by an operator, who waited for no other source".to_owned());
        }
        "promoted" => parts.push("confirmed by another source".to_owned()),
        "withdrawn" | "expired" | "rejected" => {
            parts.push(kind.to_owned());
            parts.extend(changed("end_reason").and_then(text));
            parts.extend(changed("end_note").and_then(text));
            if let Some(at) = changed("confirm_by").and_then(text) {
                parts.push(format!("undone at {at} unless somebody confirms it"));
            }
        }
        "escalated" => parts.push(match changed("step") {
            Some(step) => format!("went to step {step}"),
            None => "went to a later step".to_owned(),
        }),
        "deescalated" => parts.push(match changed("step") {
            Some(step) => format!("went back to step {step}"),
            None => "went back to the step before".to_owned(),
        }),
        _ => {}
    }
    if let Some(action) = changed("action_type").and_then(text) {
        parts.push(format!("action {action}"));
    }
    if let Some(rules) = changed("rules").and_then(Value::as_array) {
        parts.push(match Vec::<Rule>::deserialize(&changes["rules"]) {
            Ok(rules) => {
                let rules: Vec<String> = rules.iter().map(ToString::to_string).collect();
                format!("rules: {}", rules.join("; "))
            }
            Err(_) => format!("rules: {}", rules.len()),
        });
    }
    if let Some(until) = changed("expires_at").and_then(text).filter(|_| words.is_some()) {
        parts.push(format!("lasts until {until}"));
    }
    if let Some(who) = changed("acknowledged_by").and_then(text) {
        parts.push(format!("acknowledged by {who}"));
    } else if is_gone("acknowledged_by") {
        parts.push("not acknowledged any more".to_owned());
    }
    if let Some(who) = changed("claimed").and_then(|claimed| text(&claimed["by"])) {
        parts.push(format!("taken in hand by {who}"));
    } else if is_gone("claimed") {
        parts.push("let go".to_owned());
    }
    if is_gone("confirm_by") {
        parts.push("waits no longer to be confirmed".to_owned());
    }
    if let Some(until) = changed("ends_at").and_then(text) {
        parts.push(format!("no source reports it any more: ends at {until}"));
    }
    if let Some(reference) = changed("external_ref").and_then(text) {
        parts.push(format!("ticket {reference}"));
    }
    // All that there are, the newest last.
    let notes = changed("notes").and_then(Value::as_array);
    if let Some(note) = notes.and_then(|notes| text(&notes.last()?["text"])) {
        parts.push(format!("note: {note}"));
    }
    parts.extend(words);
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// Whether a person's claim is among those that the entry tells of.
fn is_operators(changes: &Value) -> bool {
    claims(changes).any(|claim| claim["kind"] == "operator")
}

/// Whether an operator says what it does: that claim has no end. One of an extension has.
fn is_pinned(changes: &Value) -> bool {
    claims(changes).any(|claim| claim["kind"] == "operator" && claim["lives_until"].is_null())
}

fn claims(changes: &Value) -> impl Iterator<Item = &Value> {
    changes["claims"].as_array().into_iter().flatten()
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}
