//! One mitigation in a few lines.

use super::pane::{Line, line, pair, wrap};
use super::{action_words, severity_meaning, status_meaning, ttl_words, when_both};
use crate::app::App;
use crate::changes::Shown;
use crate::text;
use crate::theme::Meaning;
use prefixd_api::mitigation::{Mitigation, OriginKind};
use prefixd_api::show::si;

/// What it is, whose, how long, and why.
pub(super) fn lines(app: &App, row: &Mitigation, width: u16) -> Vec<Line> {
    let mut lines = Vec::new();
    match app.changes.shown(row.mitigation_id) {
        Some(Shown::Failed(reason)) => {
            lines.extend(wrapped(
                &format!("withdraw FAILED: {reason}"),
                width,
                Meaning::Down,
            ));
        }
        Some(Shown::Unknown) => {
            let words = "withdraw: outcome UNKNOWN, contact broke; it is checked first when contact returns";
            lines.extend(wrapped(words, width, Meaning::Down));
        }
        Some(Shown::Withdrawing) => lines.push(line(Meaning::Info, "withdrawing...")),
        None => {}
    }
    lines.push(vec![
        (format!("{:<11}", "state"), Meaning::Low),
        (text::status(row.status).to_owned(), status_meaning(row.status)),
        (format!("  {}", row.severity), severity_meaning(row.severity)),
        (format!("  step {}", row.step), Meaning::Plain),
        (
            if row.enforced {
                String::new()
            } else {
                "  DRY-RUN: not announced".to_owned()
            },
            Meaning::Warn,
        ),
    ]);
    let owner = match (&row.customer_id, &row.service_id) {
        (Some(customer), Some(service)) => format!("{customer} / {service}"),
        (Some(customer), None) => customer.to_string(),
        (None, _) => "-".to_owned(),
    };
    lines.extend(wrapped_pair("customer", &owner, width, Meaning::Plain));
    let action = format!("{}, against {}", action_words(row), row.vector);
    lines.extend(wrapped_pair("action", &action, width, Meaning::Plain));
    lines.push(pair("rates", rates(row), Meaning::Plain));
    lines.push(pair(
        "confidence",
        row.confidence
            .map_or_else(|| "unknown".to_owned(), |value| format!("{value:.2}")),
        Meaning::Plain,
    ));
    if let Some(carpet) = &row.carpet {
        lines.extend(wrapped_pair(
            "aggregate",
            &carpet.to_string(),
            width,
            Meaning::Warn,
        ));
    }
    if let Some(waits) = &row.waits_for {
        let words = format!("{waits}; nothing is announced");
        lines.extend(wrapped_pair("waits for", &words, width, Meaning::Warn));
    }
    lines.push(pair("created", when_both(app, row.created_at), Meaning::Plain));
    if row.status.is_live() {
        let (left, meaning) = ttl_words(app, row);
        let moment = super::moment(app, row.leaves_at());
        let words = if row.ends_at.is_some() {
            format!("{left} until withdrawn ({moment}): no claim is left")
        } else {
            format!("{left} left of {}s, until {moment}", row.ttl_seconds)
        };
        lines.push(pair("ttl", words, meaning));
    } else {
        lines.extend(wrapped_pair("ended", &ended(app, row), width, Meaning::Plain));
    }
    if row.status.is_announced() && row.enforced {
        let (words, meaning) = match super::list::delivery_words(app, row) {
            (words, meaning) if words.contains('/') => (format!("{words} have the rules"), meaning),
            (_, Meaning::Down) => (
                "no session is up: no router has the rules".to_owned(),
                Meaning::Down,
            ),
            _ => ("not known yet".to_owned(), Meaning::Low),
        };
        lines.push(pair("neighbours", words, meaning));
    }
    let kind = match row.origin.kind {
        OriginKind::Event => "detector",
        OriginKind::Operator => "operator",
    };
    lines.push(pair(
        "origin",
        format!("{kind} {}", row.origin.actor),
        Meaning::Plain,
    ));
    lines.extend(wrapped(&row.why_summary, width, Meaning::Info));
    lines
}

fn rates(row: &Mitigation) -> String {
    match (row.observed.bps, row.observed.pps) {
        (None, None) => "not reported".to_owned(),
        (bps, pps) => {
            let part = |value: Option<u64>, unit| value.map(|value| format!("{} {unit}", si(value)));
            let parts: Vec<_> = [part(bps.map(|bps| bps.0), "bit/s"), part(pps, "pkt/s")]
                .into_iter()
                .flatten()
                .collect();
            format!("{} (highest reported)", parts.join(", "))
        }
    }
}

fn ended(app: &App, row: &Mitigation) -> String {
    let mut words = row.ended_at.map_or_else(String::new, |at| when_both(app, at));
    if let Some(reason) = &row.end_reason {
        words.push_str(&format!(" {reason}"));
    }
    if let Some(by) = &row.ended_by {
        words.push_str(&format!(" by {by}"));
    }
    if let Some(note) = &row.end_note {
        words.push_str(&format!(": {note}"));
    }
    words
}

/// What is announced and who says that the attack goes on.
pub(super) fn rules_and_claims(app: &App, row: &Mitigation, width: u16) -> Vec<Line> {
    let mut lines = Vec::new();
    for rule in &*row.rules {
        lines.extend(wrapped(&rule.to_string(), width, Meaning::Plain));
    }
    lines.push(Vec::new());
    if row.claims.is_empty() {
        lines.push(line(Meaning::Low, "no claims"));
    }
    for claim in &row.claims {
        let state = match (claim.cleared_at, claim.kind) {
            (Some(at), _) => format!("cleared {}", when_both(app, at)),
            (None, OriginKind::Operator) => format!("asked for it {}", when_both(app, claim.since)),
            (None, _) => format!("last report {}", when_both(app, claim.last_report_at)),
        };
        let name = claim
            .event_id
            .as_deref()
            .map_or_else(String::new, |id| format!(" {id}"));
        let meaning = if claim.cleared_at.is_some() {
            Meaning::Low
        } else {
            Meaning::Plain
        };
        lines.extend(wrapped(
            &format!("{}{name}: {state}", claim.source),
            width,
            meaning,
        ));
    }
    lines
}

/// `name      value`, the value over as many lines as it needs.
fn wrapped_pair(name: &str, value: &str, width: u16, meaning: Meaning) -> Vec<Line> {
    wrap(value, usize::from(width).saturating_sub(11))
        .into_iter()
        .enumerate()
        .map(|(index, text)| pair(if index == 0 { name } else { "" }, text, meaning))
        .collect()
}

/// Text over as many lines as it needs.
pub(super) fn wrapped(text: &str, width: u16, meaning: Meaning) -> impl Iterator<Item = Line> {
    wrap(text, usize::from(width))
        .into_iter()
        .map(move |text| line(meaning, text))
}
