//! Drawing. Views only borrow the state and write cells; what is not on the screen is not built.

pub(crate) mod detail;
pub(crate) mod frame;
pub(crate) mod help;
pub(crate) mod list;
pub(crate) mod overview;
mod pane;
pub(crate) mod panel;
mod summary;
mod tiny;

use crate::app::{App, Modal, Screen};
use crate::text;
use crate::theme::Meaning;
use prefixd_api::mitigation::{Mitigation, MitigationStatus, Severity};
use prefixd_api::rule::ActionType;
use prefixd_api::show::{MAX_TEXT_CHARS, absolute, both, clean, relative, remaining, si};
use prefixd_api::time::Timestamp;
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::style::Style;

/// How much a screen of a size can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// Health and the worst rows.
    Tiny,
    /// No boxes.
    Small,
    /// One pane, short columns.
    Normal,
    /// List and preview.
    Wide,
}

impl Class {
    pub(crate) const fn of(area: Rect) -> Self {
        match (area.width, area.height) {
            (..60, _) | (_, ..15) => Self::Tiny,
            (..80, _) | (_, ..24) => Self::Small,
            (120.., 40..) => Self::Wide,
            _ => Self::Normal,
        }
    }
}

/// Draws everything. Returns where the text cursor is, if a field has it.
pub(crate) fn draw(app: &App, buffer: &mut Buffer) -> Option<Position> {
    let cursor = if Class::of(app.area) == Class::Tiny
        && !matches!(app.modal, Modal::Withdraw(_) | Modal::Help { .. })
    {
        tiny::draw(app, buffer)
    } else {
        draw_screens(app, buffer)
    };
    app.settings.glyphs.restrict(buffer);
    cursor
}

fn draw_screens(app: &App, buffer: &mut Buffer) -> Option<Position> {
    let areas = frame::areas(app);
    match &app.screen {
        Screen::Overview => overview::draw(app, buffer, areas.body),
        Screen::List => list::draw(app, buffer, areas.body),
        Screen::Detail(view) => detail::draw(app, view, buffer, areas.body),
    }
    let cursor = frame::draw(app, buffer);
    match &app.modal {
        Modal::None | Modal::Filter(_) | Modal::Dump => cursor,
        Modal::Sort { row } => {
            list::draw_sort_menu(app, *row, buffer, areas.body);
            None
        }
        Modal::Help { of, scroll } => {
            help::draw(app, *of, *scroll, buffer, areas.body);
            None
        }
        Modal::Withdraw(panel) => panel::draw(app, panel, buffer, areas.body),
    }
}

/// Writes text into at most `width` cells and returns the first cell after it. All text passes here, so here it
/// is cleaned: nothing that a terminal would obey reaches the screen.
fn put(buffer: &mut Buffer, x: u16, y: u16, width: u16, text: &str, style: Style) -> u16 {
    if width == 0 || !buffer.area.contains(Position { x, y }) {
        return x;
    }
    buffer
        .set_stringn(x, y, clean(text, MAX_TEXT_CHARS), usize::from(width), style)
        .0
}

/// The style of a meaning in the theme in use.
fn style(app: &App, meaning: Meaning) -> Style {
    app.settings.theme.style(meaning)
}

pub(crate) const fn severity_meaning(severity: Severity) -> Meaning {
    match severity {
        Severity::Critical => Meaning::Critical,
        Severity::High => Meaning::High,
        Severity::Medium => Meaning::Medium,
        Severity::Low => Meaning::Low,
    }
}

const fn status_meaning(status: MitigationStatus) -> Meaning {
    match status {
        MitigationStatus::Escalated => Meaning::Critical,
        MitigationStatus::Active => Meaning::Plain,
        MitigationStatus::Pending => Meaning::Low,
        MitigationStatus::Withdrawn | MitigationStatus::Expired | MitigationStatus::Rejected => {
            Meaning::Ended
        }
    }
}

/// `discard`, `police 10M`.
pub(crate) fn action_words(row: &Mitigation) -> String {
    match (row.action_type, row.rate_bps) {
        (ActionType::Police, Some(rate)) => format!("police {}", without_zeros(&si(rate.0))),
        (kind, _) => kind.as_str().to_owned(),
    }
}

/// `10M` for `10.0M`: a configured rate is exact, and the cells are few.
fn without_zeros(number: &str) -> String {
    let digits = number.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = number.get(digits.len()..).unwrap_or_default();
    match digits.split_once('.') {
        Some(_) => format!("{}{unit}", digits.trim_end_matches('0').trim_end_matches('.')),
        None => number.to_owned(),
    }
}

/// What is left of the lease. Without contact it counts on by the clock, marked, and never ends by itself.
fn ttl_words(app: &App, row: &Mitigation) -> (String, Meaning) {
    if !row.status.is_live() {
        return ("-".to_owned(), Meaning::Low);
    }
    let deadline = row.leaves_at();
    let now = app.server_now();
    let left = deadline.since(now);
    if app.contact_state().is_current() {
        let meaning = if left.as_secs() < 60 {
            Meaning::Warn
        } else {
            Meaning::Plain
        };
        (remaining(deadline, now), meaning)
    } else {
        // Under a minute `~0m48s`: a column whose width jumps cannot be read.
        let words = remaining(deadline, now);
        (format!("~{}", words.trim_start_matches('!')), Meaning::Warn)
    }
}

/// A moment or its distance, as the person has chosen.
fn when(app: &App, at: Timestamp) -> String {
    if app.settings.absolute_times {
        text::short_moment(at, app.server_now(), app.settings.zone)
    } else {
        relative(app.server_now().since(at))
    }
}

/// A moment and its distance, for details.
fn when_both(app: &App, at: Timestamp) -> String {
    both(at, app.server_now(), app.settings.zone)
}

/// A moment, with the zone.
fn moment(app: &App, at: Timestamp) -> String {
    absolute(at, app.server_now(), app.settings.zone)
}

#[cfg(test)]
mod tests;
