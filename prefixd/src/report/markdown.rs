//! A report as Markdown, for a ticket.

use prefixd_api::rate::BitsPerSecond;
use prefixd_api::report::{IncidentReport, ReportScope, ReportedAction};
use prefixd_api::show::{MAX_TEXT_CHARS, clean, count, si_unit};
use prefixd_api::time::Timestamp;
use std::fmt::Write;

/// What Markdown would obey. Text of detectors and people says what it says, and nothing else.
const SPECIAL: [char; 12] = ['\\', '`', '*', '_', '[', ']', '<', '>', '#', '|', '~', '!'];

/// The report.
#[must_use]
pub(crate) fn markdown(report: &IncidentReport) -> String {
    let mut text = format!("# Incident report: {}\n\n", escaped(&about(&report.scope)));
    line(
        &mut text,
        format_args!(
            "From {} to {} (UTC), POP {}. Written at {}.\n",
            shown(report.start),
            shown(report.end),
            escaped(&report.pop),
            shown(report.at)
        ),
    );
    let events: u64 = report.reports.iter().map(|by| by.events).sum();
    line(
        &mut text,
        format_args!("- Peak: {}", peak(report.peak_bps, report.peak_pps)),
    );
    line(&mut text, format_args!("- Reports: {}", count(events)));
    line(
        &mut text,
        format_args!("- Mitigations: {}", count(report.actions.len() as u64)),
    );
    let people: Vec<String> = report.people.iter().map(|name| escaped(name)).collect();
    let people = if people.is_empty() {
        "nobody".to_owned()
    } else {
        people.join(", ")
    };
    line(
        &mut text,
        format_args!("- People who changed something: {people}"),
    );
    for missing in &report.truncated {
        line(
            &mut text,
            format_args!("- **Not complete**: {}", escaped(missing)),
        );
    }
    reports(&mut text, report);
    if !report.actions.is_empty() {
        text.push_str("\n## What was done\n");
    }
    for action in &report.actions {
        done(&mut text, action);
    }
    timeline(&mut text, report);
    text
}

fn reports(text: &mut String, report: &IncidentReport) {
    if report.reports.is_empty() {
        return;
    }
    text.push_str("\n## What detectors said\n\n");
    text.push_str("| source | victim | vector | reports | first | last | peak | outcomes |\n|---|---|---|---|---|---|---|---|\n");
    for by in &report.reports {
        let outcomes: Vec<String> = by
            .outcomes
            .iter()
            .map(|(outcome, number)| format!("{} {}", count(*number), escaped(outcome)))
            .collect();
        line(
            text,
            format_args!(
                "| {} | {} | {} | {} | {} | {} | {} | {} |",
                escaped(&by.source),
                by.victim_ip,
                escaped(&by.vector),
                count(by.events),
                shown(by.first_at),
                shown(by.last_at),
                peak(by.peak_bps, by.peak_pps),
                outcomes.join(", ")
            ),
        );
    }
}

fn done(text: &mut String, action: &ReportedAction) {
    line(
        text,
        format_args!(
            "\n### {} {}: {}\n",
            action.victim_ip,
            escaped(&action.vector),
            escaped(&action.status)
        ),
    );
    let customer = action
        .customer_id
        .as_deref()
        .map_or_else(|| "-".to_owned(), escaped);
    line(text, format_args!("- Customer: {customer}"));
    line(text, format_args!("- POP: {}", escaped(&action.pop)));
    for rule in &action.rules {
        line(text, format_args!("- Rule: {}", escaped(rule)));
    }
    let reach = match (action.enforced, action.advertised_at) {
        (false, _) => "a dry run: no router had it".to_owned(),
        (true, None) => "not recorded whether one had it".to_owned(),
        (true, Some(at)) => format!("at the first router since {}", shown(at)),
    };
    line(text, format_args!("- Routers: {reach}"));
    line(
        text,
        format_args!(
            "- Began: {} by {}: {}",
            shown(action.created_at),
            escaped(&action.started_by),
            escaped(&action.why)
        ),
    );
    if let Some(at) = action.ended_at {
        let by = action
            .ended_by
            .as_deref()
            .map_or_else(|| "prefixd".to_owned(), escaped);
        let reason = action
            .end_reason
            .as_deref()
            .map_or_else(|| "-".to_owned(), escaped);
        let note = action
            .end_note
            .as_deref()
            .map(|note| format!(" ({})", escaped(note)));
        line(
            text,
            format_args!(
                "- Ended: {} by {by}: {reason}{}",
                shown(at),
                note.unwrap_or_default()
            ),
        );
    }
    line(
        text,
        format_args!("- Peak: {}", peak(action.peak_bps, action.peak_pps)),
    );
    line(text, format_args!("- Name: {}", action.mitigation_id));
}

fn timeline(text: &mut String, report: &IncidentReport) {
    if report.timeline.is_empty() {
        return;
    }
    text.push_str("\n## Timeline\n\n| time (UTC) | victim | who | what |\n|---|---|---|---|\n");
    for entry in &report.timeline {
        line(
            text,
            format_args!(
                "| {} | {} | {} | {} |",
                shown(entry.at),
                entry.victim_ip,
                escaped(&entry.actor),
                escaped(&entry.what)
            ),
        );
    }
}

fn about(scope: &ReportScope) -> String {
    let parts: Vec<String> = [
        scope.ip.clone(),
        scope.customer_id.as_ref().map(|id| format!("customer {id}")),
        scope.group_id.as_ref().map(|id| format!("group {id}")),
    ]
    .into_iter()
    .flatten()
    .collect();
    if parts.is_empty() {
        "everything".to_owned()
    } else {
        parts.join(", ")
    }
}

fn peak(bps: Option<BitsPerSecond>, pps: Option<u64>) -> String {
    let parts: Vec<String> = [
        bps.map(|bps| si_unit(bps.0, "bps")),
        pps.map(|pps| si_unit(pps, "pps")),
    ]
    .into_iter()
    .flatten()
    .collect();
    if parts.is_empty() {
        "not reported".to_owned()
    } else {
        parts.join(", ")
    }
}

/// To the second: a ticket is read by people.
fn shown(at: Timestamp) -> String {
    let text = at.to_string();
    text.split('.')
        .next()
        .map_or_else(|| text.clone(), |start| start.replace('T', " "))
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in clean(text, MAX_TEXT_CHARS).chars() {
        if SPECIAL.contains(&letter) {
            out.push('\\');
        }
        out.push(letter);
    }
    out
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "{line}");
}
