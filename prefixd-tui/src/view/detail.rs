//! One mitigation: its rules, where they are, what happened and why.

use super::pane::{self, Line, boxed, line, wrap};
use super::summary::{self, wrapped};
use super::{Class, frame, when_both};
use crate::app::{App, DetailView, Load, Pane, Rendering, Screen};
use crate::text;
use crate::theme::Meaning;
use prefixd_api::mitigation::{Mitigation, TimelineEntry};
use prefixd_api::resource::{Announcement, AnnouncementForm, AnnouncementState};
use prefixd_api::rule::{Action, Rule};
use prefixd_api::show::short_id;
use prefixd_api::why::{Verdict, Why};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use serde_json::Value;

/// Rows that the pane below the summary keeps, with its border.
const LEAST_BELOW: u16 = 6;

/// Which panes are where.
fn layout(app: &App, view: &DetailView, body: Rect) -> Vec<(Pane, Rect)> {
    let class = Class::of(app.area);
    if view.zoomed || class < Class::Normal {
        return vec![(view.pane, body)];
    }
    if class == Class::Normal {
        // The reason is the last line of the summary: it takes what it needs, and leaves the pane below a few.
        let needed = app.store.get(view.id).map_or(0, |row| {
            summary::lines(app, row, body.width.saturating_sub(4)).len() + 2
        });
        let most = body.height.saturating_sub(LEAST_BELOW);
        let top = Rect {
            height: u16::try_from(needed)
                .unwrap_or(most)
                .clamp(11, most.max(11))
                .min(body.height),
            ..body
        };
        let rest = Rect {
            y: body.y + top.height,
            height: body.height - top.height,
            ..body
        };
        let below = if view.pane == Pane::Summary {
            Pane::Rule
        } else {
            view.pane
        };
        return vec![(Pane::Summary, top), (below, rest)];
    }
    let (left, right) = (body.width / 2, body.width - body.width / 2);
    let (top, middle) = (13, (body.height - 13) / 2);
    let row = |y: u16, height: u16| {
        (
            Rect {
                y: body.y + y,
                height,
                width: left,
                ..body
            },
            Rect {
                x: body.x + left,
                y: body.y + y,
                height,
                width: right,
            },
        )
    };
    let (summary, rule) = row(0, top);
    let (neighbours, why) = row(top, middle);
    let (timeline, _) = row(top + middle, body.height - top - middle);
    let why = Rect {
        height: body.height - top,
        ..why
    };
    vec![
        (Pane::Summary, summary),
        (Pane::Rule, rule),
        (Pane::Neighbours, neighbours),
        (Pane::Timeline, timeline),
        (Pane::Why, why),
    ]
}

pub(super) fn draw(app: &App, view: &DetailView, buffer: &mut Buffer, body: Rect) {
    for (pane, area) in layout(app, view, body) {
        let note = match pane {
            Pane::Rule => format!("V: {}", view.rendering.title()),
            Pane::Timeline => "newest first".to_owned(),
            Pane::Summary => short_id(view.id),
            Pane::Neighbours | Pane::Why => String::new(),
        };
        let title = match (pane, app.store.get(view.id)) {
            (Pane::Summary, Some(row)) => {
                format!("{}  {}", row.victim_ip, text::severity(row.severity).trim())
            }
            _ => pane.title().to_owned(),
        };
        let inside = boxed(app, buffer, area, pane == view.pane, &title, &note);
        let content = content(app, view, pane, inside.width);
        let most = content.len().saturating_sub(usize::from(inside.height));
        let scroll = view.scroll[pane as usize].min(most);
        pane::lines(app, buffer, inside, &content, scroll);
        if most > scroll {
            pane::below(app, buffer, area, most - scroll);
        }
    }
}

/// How far the pane with the keys can scroll.
pub(crate) fn limit(app: &App) -> usize {
    let Screen::Detail(view) = &app.screen else {
        return 0;
    };
    let areas = layout(app, view, frame::areas(app).body);
    let Some((pane, area)) = areas.into_iter().find(|(pane, _)| *pane == view.pane) else {
        return 0;
    };
    let (width, height) = (
        area.width.saturating_sub(4),
        usize::from(area.height.saturating_sub(2)),
    );
    content(app, view, pane, width).len().saturating_sub(height)
}

/// The pane at a cell.
pub(crate) fn pane_at(app: &App, x: u16, y: u16) -> Option<Pane> {
    let Screen::Detail(view) = &app.screen else {
        return None;
    };
    let body = frame::areas(app).body;
    layout(app, view, body)
        .into_iter()
        .find(|(_, area)| area.contains(ratatui::layout::Position { x, y }))
        .map(|(pane, _)| pane)
}

fn content(app: &App, view: &DetailView, pane: Pane, width: u16) -> Vec<Line> {
    let row = app.store.get(view.id);
    match pane {
        Pane::Summary => row.map_or_else(
            || vec![line(Meaning::Low, "reading...")],
            |row| summary::lines(app, row, width),
        ),
        Pane::Rule => rule(view, row, width),
        Pane::Neighbours => of(&view.detail, |detail| neighbours(&detail.announcements, width)),
        Pane::Timeline => of(&view.detail, |detail| timeline(app, row, &detail.timeline, width)),
        Pane::Why => of(&view.why, |decision| why(app, decision, width)),
    }
}

fn of<T>(load: &Load<T>, ready: impl FnOnce(&T) -> Vec<Line>) -> Vec<Line> {
    match load {
        Load::Reading => vec![line(Meaning::Low, "reading...")],
        Load::Failed(words) => vec![line(Meaning::Down, format!("could not be read: {words}"))],
        Load::Ready(value) => ready(value),
    }
}

fn rule(view: &DetailView, row: Option<&Mitigation>, width: u16) -> Vec<Line> {
    let rules: &[Rule] = row.map_or(&[], |row| &row.rules);
    let mut lines = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        if index > 0 {
            lines.push(Vec::new());
        }
        let preview = match &view.detail {
            Load::Ready(detail) => detail.previews.get(index),
            Load::Reading | Load::Failed(_) => None,
        };
        match (view.rendering, preview) {
            (Rendering::Text, _) => {
                lines.extend(wrapped(&rule.matches.to_string(), width, Meaning::Plain));
                let sample = if rule.sample { ", sampled" } else { "" };
                let words = format!("{}{sample}", action(rule.action));
                lines.extend(wrapped(&words, width, Meaning::High));
                if let Some(preview) = preview {
                    lines.extend(wrapped(
                        &format!("NLRI {}", hex(&preview.nlri)),
                        width,
                        Meaning::Low,
                    ));
                }
            }
            (Rendering::Junos, Some(preview)) => lines.extend(wrapped(&preview.junos, width, Meaning::Plain)),
            (Rendering::IosXr, Some(preview)) => lines.extend(wrapped(&preview.iosxr, width, Meaning::Plain)),
            (Rendering::Frr, Some(preview)) => lines.extend(wrapped(&preview.frr, width, Meaning::Plain)),
            (Rendering::Junos | Rendering::IosXr | Rendering::Frr, None) => {
                lines.push(line(Meaning::Low, "reading..."));
            }
        }
    }
    if rules.is_empty() {
        lines.push(line(Meaning::Low, "nothing is announced for it"));
    }
    lines
}

/// A police rate in the unit people use and in the one the wire carries.
fn action(action: Action) -> String {
    match action {
        Action::Discard => "then discard: all of it is dropped (traffic-rate 0)".to_owned(),
        Action::Rtbh => "then rtbh: all traffic to the address is dropped by a blackhole route".to_owned(),
        Action::Police { rate_bps } => {
            format!(
                "then police {rate_bps} ({:.0} bytes/s on the wire)",
                rate_bps.to_wire_bytes_per_second()
            )
        }
        other => format!("then {other}"),
    }
}

/// Hex digits in pairs.
fn hex(digits: &str) -> String {
    let digits: Vec<char> = digits.chars().filter(|digit| !digit.is_whitespace()).collect();
    digits
        .chunks(2)
        .map(String::from_iter)
        .collect::<Vec<_>>()
        .join(" ")
}

fn neighbours(announcements: &[Announcement], width: u16) -> Vec<Line> {
    if announcements.is_empty() {
        return vec![line(Meaning::Low, "no neighbour has a rule of it")];
    }
    let mut lines = Vec::new();
    let mut last = None;
    for announcement in announcements {
        let (words, meaning) = match announcement.state {
            AnnouncementState::Advertised if announcement.form == AnnouncementForm::Widened => {
                ("announced, WIDER than decided", Meaning::Warn)
            }
            AnnouncementState::Advertised if announcement.form == AnnouncementForm::Rtbh => {
                ("announced as a BLACKHOLE", Meaning::Warn)
            }
            AnnouncementState::Advertised => ("announced", Meaning::Ok),
            AnnouncementState::Reflected => ("told to the reflector", Meaning::Ok),
            AnnouncementState::Queued => ("queued", Meaning::Warn),
            AnnouncementState::Withdrawing => ("withdrawing", Meaning::Warn),
            AnnouncementState::SessionDown => ("session DOWN: sent when it is up", Meaning::Down),
            AnnouncementState::Refused => ("REFUSED", Meaning::Down),
            AnnouncementState::Probation => ("on probation: sent after the others", Meaning::Warn),
            AnnouncementState::Quarantined => ("QUARANTINED: it ended the session", Meaning::Down),
            AnnouncementState::OverBudget => ("OVER BUDGET: not sent", Meaning::Down),
            AnnouncementState::Covered => ("covered by a stricter rule", Meaning::Ok),
        };
        let name = if last == Some(&announcement.neighbor) {
            ""
        } else {
            announcement.neighbor.as_str()
        };
        last = Some(&announcement.neighbor);
        lines.push(vec![
            (text::pad(&text::cut(name, 23), 24), Meaning::Title),
            (words.to_owned(), meaning),
        ]);
        let rule = match announcement.form {
            AnnouncementForm::Split => format!(
                "part {} of {}: {}",
                announcement.part, announcement.parts, announcement.rule
            ),
            _ => announcement.rule.clone(),
        };
        let rule = wrap(&rule, usize::from(width.saturating_sub(2)));
        lines.extend(
            rule.into_iter()
                .map(|text| line(Meaning::Low, format!("  {text}"))),
        );
        if let Some(reason) = &announcement.reason {
            let meaning = match announcement.state {
                AnnouncementState::Covered => Meaning::Low,
                _ => Meaning::Down,
            };
            lines.extend(wrapped(&format!("  {reason}"), width, meaning));
        }
        if let Some(warning) = &announcement.warning {
            lines.extend(wrapped(&format!("  {warning}"), width, Meaning::Warn));
        }
        for other in &announcement.overlaps {
            let order = if other.comes_first { "before" } else { "after" };
            let id = short_id(other.mitigation_id);
            let shadows = announcement.shadowed_by.contains(other);
            let shadows = if shadows { "; this one does nothing" } else { "" };
            let beside = format!("  overlaps {id}, asked {order} it{shadows}: {}", other.rule);
            lines.extend(wrapped(&beside, width, Meaning::Low));
        }
    }
    lines
}

fn timeline(app: &App, row: Option<&Mitigation>, entries: &[TimelineEntry], width: u16) -> Vec<Line> {
    let mut lines = Vec::new();
    if let Some(row) = row.filter(|row| row.status.is_live()) {
        lines.extend(wrapped(
            &if row.ends_at.is_some() {
                format!(
                    "{} is withdrawn unless reported again",
                    when_both(app, row.leaves_at())
                )
            } else {
                format!("{} expires unless renewed", when_both(app, row.expires_at))
            },
            width,
            Meaning::Warn,
        ));
    }
    for entry in entries.iter().rev() {
        let what = entry.kind.strip_prefix("mitigation.").unwrap_or(&entry.kind);
        let moment = super::moment(app, entry.at);
        let meaning = match what {
            "escalated" => Meaning::Critical,
            "deescalated" => Meaning::Warn,
            "withdrawn" | "expired" | "rejected" => Meaning::High,
            _ => Meaning::Plain,
        };
        let mut words = format!("{moment} {what:<9} by {}", entry.actor);
        if what != "created" {
            words.push_str(&changed(app, &entry.body));
        }
        lines.extend(wrapped(&words, width, meaning));
    }
    lines
}

/// The fields an entry changed. Left out is what every entry changes, what its kind, time and actor say, and what
/// the decision says.
fn changed(app: &App, body: &Value) -> String {
    let fields = body.get("changes").unwrap_or(body);
    let Value::Object(fields) = fields else {
        return String::new();
    };
    let words: Vec<_> = fields
        .iter()
        .filter(|(name, _)| {
            !matches!(
                name.as_str(),
                "revision"
                    | "updated_at"
                    | "mitigation_id"
                    | "evidence_at"
                    | "advertised_at"
                    | "last_event_id"
                    | "status"
                    | "ended_at"
                    | "ended_by"
                    | "why_summary"
            )
        })
        .map(|(name, value)| (name.replace('_', " "), value))
        .map(|(name, value)| match value {
            Value::Array(_) | Value::Object(_) => name,
            Value::String(text) => {
                let text = text
                    .parse()
                    .map_or_else(|_| text.clone(), |at| super::moment(app, at));
                format!("{name} {text}")
            }
            other => format!("{name} {other}"),
        })
        .collect();
    if words.is_empty() {
        String::new()
    } else {
        format!(": {}", words.join(", "))
    }
}

fn why(app: &App, why: &Why, width: u16) -> Vec<Line> {
    let mut lines: Vec<Line> = wrapped(&why.summary, width, Meaning::Title).collect();
    lines.push(line(
        Meaning::Low,
        format!("{}, decided {}", why.outcome, when_both(app, why.decided_at)),
    ));
    for step in &why.steps {
        let (verdict, meaning) = match step.verdict {
            Verdict::Noted => ("note", Meaning::Low),
            Verdict::Passed => ("pass", Meaning::Ok),
            Verdict::Adjusted => ("adj.", Meaning::Warn),
            Verdict::Refused => ("FAIL", Meaning::Down),
        };
        let stage = text::cut(&step.stage, 10);
        let texts = wrap(&step.text, usize::from(width.saturating_sub(17)).max(10));
        for (index, part) in texts.into_iter().enumerate() {
            let head = if index == 0 {
                (format!("{verdict} "), meaning)
            } else {
                ("     ".to_owned(), meaning)
            };
            let name = if index == 0 {
                format!("{stage:<11} ")
            } else {
                " ".repeat(12)
            };
            lines.push(vec![head, (name, Meaning::Low), (part, Meaning::Plain)]);
        }
    }
    lines
}
