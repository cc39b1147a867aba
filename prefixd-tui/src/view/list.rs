//! The list of mitigations, and the table other screens show some of it in.

use super::pane::{self, boxed, overlay};
use super::{Class, frame, put, severity_meaning, status_meaning, style, summary, ttl_words};
use crate::app::{App, Reading};
use crate::changes::Shown;
use crate::contact::State;
use crate::list::{Selection, SortKey};
use crate::text;
use crate::theme::Meaning;
use prefixd_api::ids::MitigationId;
use prefixd_api::mitigation::Mitigation;
use prefixd_api::show::short_id;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Modifier;
use std::collections::BTreeSet;
use unicode_width::UnicodeWidthStr;

/// Rows of the preview with its border.
const PREVIEW_ROWS: u16 = 16;
/// Cells for cursor and mark.
const MARGIN: u16 = 2;

/// Columns of this rank and above are for screens as wide as this: before, their room makes the others readable.
const EXTRA: u8 = 10;
const EXTRA_FROM: u16 = 150;

/// A column, and how much it matters.
struct Column {
    title: &'static str,
    /// At least this wide.
    width: u16,
    /// At most this wide, when there is room.
    grows_to: u16,
    right: bool,
    /// The columns with the highest go first when there is no room.
    rank: u8,
    sort: Option<SortKey>,
    cell: fn(&App, &Mitigation) -> (String, Meaning),
}

const COLUMNS: &[Column] = &[
    Column {
        title: "SEV",
        width: 7,
        grows_to: 7,
        right: false,
        rank: 0,
        sort: Some(SortKey::Severity),
        cell: |_, row| {
            (
                text::severity(row.severity).to_owned(),
                severity_meaning(row.severity),
            )
        },
    },
    Column {
        title: "VICTIM",
        width: 15,
        grows_to: 39,
        right: false,
        rank: 0,
        sort: Some(SortKey::Victim),
        cell: |_, row| (row.victim_ip.to_string(), Meaning::Plain),
    },
    Column {
        title: "VECTOR",
        width: 10,
        grows_to: 17,
        right: false,
        rank: 4,
        sort: Some(SortKey::Vector),
        cell: |_, row| (row.vector.to_string(), Meaning::Plain),
    },
    Column {
        title: "ACTION",
        width: 11,
        grows_to: 11,
        right: false,
        rank: 1,
        sort: Some(SortKey::Action),
        cell: |_, row| {
            let meaning = if row.rate_bps.is_none() {
                Meaning::High
            } else {
                Meaning::Medium
            };
            (super::action_words(row), meaning)
        },
    },
    Column {
        title: "CUST",
        width: 6,
        grows_to: 12,
        right: false,
        rank: 5,
        sort: Some(SortKey::Customer),
        cell: |_, row| {
            (
                row.customer_id.as_deref().unwrap_or("-").to_owned(),
                Meaning::Plain,
            )
        },
    },
    Column {
        title: "BPS",
        width: 5,
        grows_to: 5,
        right: true,
        rank: 2,
        sort: Some(SortKey::Bps),
        cell: |app, row| {
            (
                rate_words(app, text::si_or_unknown(row.observed.bps.map(|bps| bps.0))),
                Meaning::Plain,
            )
        },
    },
    Column {
        title: "PPS",
        width: 5,
        grows_to: 5,
        right: true,
        rank: 6,
        sort: Some(SortKey::Pps),
        cell: |app, row| {
            (
                rate_words(app, text::si_or_unknown(row.observed.pps)),
                Meaning::Plain,
            )
        },
    },
    Column {
        title: "CONF",
        width: 4,
        grows_to: 4,
        right: true,
        rank: 9,
        sort: Some(SortKey::Confidence),
        cell: |_, row| (text::confidence(row.confidence), Meaning::Plain),
    },
    Column {
        title: "AGE",
        width: 6,
        grows_to: 12,
        right: true,
        rank: 7,
        sort: Some(SortKey::Age),
        cell: |app, row| (super::when(app, row.created_at), Meaning::Plain),
    },
    Column {
        title: "TTL",
        width: 7,
        grows_to: 7,
        right: true,
        rank: 1,
        sort: Some(SortKey::Ttl),
        cell: ttl_or_outcome,
    },
    Column {
        title: "STATUS",
        width: 9,
        grows_to: 11,
        right: false,
        rank: 3,
        sort: Some(SortKey::Status),
        cell: |app, row| match app.changes.shown(row.mitigation_id) {
            Some(Shown::Withdrawing) => ("withdrawing".to_owned(), Meaning::Info),
            Some(Shown::Unknown) => ("UNKNOWN".to_owned(), Meaning::Down),
            Some(Shown::Failed(_)) => ("FAILED".to_owned(), Meaning::Down),
            None if row.status.is_announced() && !row.enforced => ("dry-run".to_owned(), Meaning::Warn),
            None if row.ending_since.is_some() && row.status.is_live() => ("ending".to_owned(), Meaning::Low),
            None => (text::status(row.status).to_owned(), status_meaning(row.status)),
        },
    },
    Column {
        title: "PEERS",
        width: 5,
        grows_to: 5,
        right: true,
        rank: 8,
        sort: None,
        cell: |app, row| delivery_words(app, row),
    },
    Column {
        title: "SERVICE",
        width: 8,
        grows_to: 12,
        right: false,
        rank: 10,
        sort: None,
        cell: |_, row| {
            (
                row.service_id.as_deref().unwrap_or("-").to_owned(),
                Meaning::Plain,
            )
        },
    },
    Column {
        title: "SOURCES",
        width: 10,
        grows_to: 20,
        right: false,
        rank: 11,
        sort: None,
        cell: |_, row| (sources(row), Meaning::Plain),
    },
    Column {
        title: "ID",
        width: 8,
        grows_to: 8,
        right: false,
        rank: 12,
        sort: None,
        cell: |_, row| (short_id(row.mitigation_id), Meaning::Low),
    },
];

/// What is left; where there is no room for the status, an outcome that a person waits for comes first.
fn ttl_or_outcome(app: &App, row: &Mitigation) -> (String, Meaning) {
    match app.changes.shown(row.mitigation_id) {
        Some(Shown::Unknown) if Class::of(app.area) < Class::Normal => ("UNKNOWN".to_owned(), Meaning::Down),
        Some(Shown::Failed(_)) if Class::of(app.area) < Class::Normal => ("FAILED".to_owned(), Meaning::Down),
        _ => ttl_words(app, row),
    }
}

/// Who says now that the attack goes on.
fn sources(row: &Mitigation) -> String {
    let sources: BTreeSet<_> = row
        .claims
        .iter()
        .filter(|claim| claim.cleared_at.is_none())
        .map(|claim| claim.source.as_str())
        .collect();
    match sources.len() {
        0 => "-".to_owned(),
        _ => sources.into_iter().collect::<Vec<_>>().join(","),
    }
}

/// Rates are of the last report; without contact they are not known.
fn rate_words(app: &App, text: String) -> String {
    if app.contact_state().is_current() {
        text
    } else {
        "?".to_owned()
    }
}

/// Neighbours that have the rules, of those that are up.
pub(super) fn delivery_words(app: &App, row: &Mitigation) -> (String, Meaning) {
    let all_down = app.contact_state().is_current()
        && app
            .health
            .as_ref()
            .is_some_and(|health| health.peers_established == 0);
    match &row.delivery {
        _ if !row.status.is_announced() => ("-".to_owned(), Meaning::Low),
        _ if !row.enforced => ("dry".to_owned(), Meaning::Low),
        _ if all_down => ("down!".to_owned(), Meaning::Down),
        None => ("-".to_owned(), Meaning::Low),
        Some(delivery) if delivery.advertised < delivery.established || delivery.established == 0 => (
            format!("{}/{}!", delivery.advertised, delivery.established),
            Meaning::Down,
        ),
        Some(delivery) => (
            format!("{}/{}", delivery.advertised, delivery.established),
            Meaning::Ok,
        ),
    }
}

/// The columns that fit, with their places.
fn layout(area: Rect, without: &[&str]) -> Vec<(&'static Column, u16, u16)> {
    let mut columns: Vec<_> = COLUMNS
        .iter()
        .filter(|column| !without.contains(&column.title))
        .filter(|column| column.rank < EXTRA || area.width >= EXTRA_FROM)
        .map(|column| (column, column.width))
        .collect();
    let needed =
        |columns: &[(&Column, u16)]| MARGIN + columns.iter().map(|(_, width)| width + 1).sum::<u16>();
    while needed(&columns) > area.width + 1 && columns.len() > 1 {
        let worst = columns
            .iter()
            .enumerate()
            .max_by_key(|(_, (column, _))| column.rank)
            .map_or(0, |(index, _)| index);
        columns.remove(worst);
    }
    let mut spare = (area.width + 1).saturating_sub(needed(&columns));
    // Round by round, so that no column takes all the room.
    while spare > 0 {
        let mut grown = false;
        for (column, width) in &mut columns {
            if *width < column.grows_to && spare > 0 {
                *width += 1;
                spare -= 1;
                grown = true;
            }
        }
        if !grown {
            break;
        }
    }
    let mut x = area.x + MARGIN;
    columns
        .into_iter()
        .map(|(column, width)| {
            let at = x;
            x += width + 1;
            (column, at, width)
        })
        .collect()
}

/// Draws a heading and the rows that are on the screen.
pub(super) fn table(
    app: &App,
    buffer: &mut Buffer,
    area: Rect,
    selection: &Selection,
    marks: Option<&BTreeSet<MitigationId>>,
    without: &[&str],
) {
    if area.height == 0 || area.width < 10 {
        return;
    }
    let columns = layout(area, without);
    let sort = marks.map(|_| app.list.sort);
    for (column, x, width) in &columns {
        let sorted = sort.filter(|sort| Some(sort.key) == column.sort);
        let mark = sorted.map_or("", |sort| if sort.descending { " v" } else { " ^" });
        let title = text::cut(&format!("{}{mark}", column.title), usize::from(*width));
        put_aligned(
            buffer,
            *x,
            area.y,
            *width,
            column.right,
            &title,
            style(app, Meaning::Title),
        );
    }
    let rows = selection
        .order()
        .iter()
        .skip(selection.offset())
        .filter_map(|id| app.store.get(*id));
    for (y, row) in (area.y + 1..area.bottom()).zip(rows) {
        let id = row.mitigation_id;
        let (selected, marked) = (
            selection.cursor() == Some(id),
            marks.is_some_and(|marks| marks.contains(&id)),
        );
        if selected {
            buffer.set_style(Rect { y, height: 1, ..area }, style(app, Meaning::Selection));
        }
        for (column, x, width) in &columns {
            let (cell, meaning) = (column.cell)(app, row);
            let meaning = match row.status.is_live() {
                _ if selected => Meaning::Selection,
                true => meaning,
                false => Meaning::Ended,
            };
            let cell = if column.title == "VICTIM" {
                text::cut_middle(&cell, usize::from(*width))
            } else {
                text::cut(&cell, usize::from(*width))
            };
            let mut shown = style(app, meaning);
            if selected && !row.status.is_live() {
                shown = shown.add_modifier(Modifier::CROSSED_OUT);
            }
            put_aligned(buffer, *x, y, *width, column.right, &cell, shown);
        }
        if selected {
            put(buffer, area.x, y, 1, ">", style(app, Meaning::Selection));
        }
        if marked {
            put(buffer, area.x + 1, y, 1, "*", style(app, Meaning::Mark));
        }
    }
}

fn put_aligned(
    buffer: &mut Buffer,
    x: u16,
    y: u16,
    width: u16,
    right: bool,
    text: &str,
    style: ratatui::style::Style,
) {
    let shift = if right {
        width.saturating_sub(u16::try_from(text.width()).unwrap_or(0))
    } else {
        0
    };
    put(buffer, x + shift, y, width - shift, text, style);
}

/// The parts of the screen: the table, and the preview where there is room.
fn parts(app: &App, body: Rect) -> (Rect, Option<Rect>) {
    if Class::of(app.area) < Class::Wide || !app.list.preview {
        return (body, None);
    }
    let rows = body.height.saturating_sub(PREVIEW_ROWS);
    let preview = Rect {
        y: body.y + rows,
        height: PREVIEW_ROWS,
        ..body
    };
    (Rect { height: rows, ..body }, Some(preview))
}

/// Rows of mitigations on the screen.
pub(crate) fn page(app: &App) -> usize {
    let (table, _) = parts(app, frame::areas(app).body);
    usize::from(table.height.saturating_sub(1))
}

pub(super) fn draw(app: &App, buffer: &mut Buffer, body: Rect) {
    let (area, preview) = parts(app, body);
    table(app, buffer, area, &app.list.selection, Some(&app.list.marks), &[]);
    if app.list.selection.order().is_empty() {
        let words = empty_words(app);
        put(
            buffer,
            area.x + 2,
            area.y + 2,
            area.width.saturating_sub(2),
            &words,
            style(app, Meaning::Low),
        );
    }
    if let Some(preview) = preview {
        draw_preview(app, buffer, preview);
    }
    draw_unknown(app, buffer, area);
}

fn empty_words(app: &App) -> String {
    if !app.store.is_loaded() {
        return unread_words(app);
    }
    if let Some(words) = app.refusal(Reading::Ended)
        && app.list.filter.wants_ended()
    {
        return format!("The ended ones could not be read: {words}");
    }
    if app.awaits_ended() {
        return if app.contact_state().is_current() {
            "reading the ended ones..."
        } else {
            "the ended ones were not read yet"
        }
        .to_owned();
    }
    if app.list.filter.text() == crate::filter::DEFAULT {
        match last_known(app) {
            Some(when) => format!("No rule was announced {when}."),
            None => "No rule is announced. Events that come in show in the overview (1).".to_owned(),
        }
    } else {
        format!(
            "Nothing passes the filter {}. Esc goes back to {}.",
            app.list.filter.text(),
            crate::filter::DEFAULT
        )
    }
}

/// Of which moment it is what is shown, when that is not now.
pub(super) fn last_known(app: &App) -> Option<String> {
    match app.contact_state() {
        State::Stale(Some(age)) => {
            let at = app.server_now().saturating_sub(age);
            Some(format!("when contact was lost at {}", super::moment(app, at)))
        }
        state if state.is_current() => None,
        _ => Some("when it was last read".to_owned()),
    }
}

/// Why there is no list.
pub(super) fn unread_words(app: &App) -> String {
    match app.refusal(Reading::Live) {
        Some(words) => format!("could not be read: {words}"),
        None if app.contact_state().is_current() => "reading...".to_owned(),
        None => "nothing was read yet".to_owned(),
    }
}

fn draw_preview(app: &App, buffer: &mut Buffer, area: Rect) {
    let Some(row) = app.current() else {
        boxed(app, buffer, area, false, "Preview", "");
        return;
    };
    let left = Rect {
        width: area.width / 2,
        ..area
    };
    let right = Rect {
        x: area.x + left.width,
        width: area.width - left.width,
        ..area
    };
    let title = format!(
        "{}  {}  {}",
        row.victim_ip,
        text::severity(row.severity).trim(),
        row.vector
    );
    let inside = boxed(app, buffer, left, false, &title, "Enter opens");
    pane::lines(app, buffer, inside, &summary::lines(app, row, inside.width), 0);
    let inside = boxed(app, buffer, right, false, "Rules and claims", "");
    pane::lines(
        app,
        buffer,
        inside,
        &summary::rules_and_claims(app, row, inside.width),
        0,
    );
}

/// Without contact: what nobody knows the outcome of, at the foot of the table.
fn draw_unknown(app: &App, buffer: &mut Buffer, area: Rect) {
    if app.contact_state().is_current() {
        return;
    }
    let mut words = vec![
        "TTL counts on by the clock (~). The daemon does the expiring: while it is".to_owned(),
        "away, a rule can outlive its TTL. Rates are unknown (?).".to_owned(),
    ];
    words.extend(app.changes.unknown().take(5).map(|target| {
        format!(
            "withdrawing {}: UNKNOWN, checked first when contact returns",
            target.shown.victim_ip
        )
    }));
    let free = usize::from(area.height).saturating_sub(app.list.selection.order().len() + 2);
    if free < words.len() {
        // The rows matter more than the explanation; the unknown ones say so in their own row.
        return;
    }
    let height = u16::try_from(words.len()).unwrap_or(0);
    for (y, words) in (area.bottom() - height..).zip(&words) {
        put(
            buffer,
            area.x + 2,
            y,
            area.width.saturating_sub(2),
            words,
            style(app, Meaning::Warn),
        );
    }
}

/// The menu of columns to sort by.
pub(super) fn draw_sort_menu(app: &App, chosen: usize, buffer: &mut Buffer, body: Rect) {
    let height = u16::try_from(SortKey::ALL.len()).unwrap_or(0) + 2;
    let inside = overlay(app, buffer, pane::centred(body, 30, height), "Sort by", "");
    let first = (chosen + 1).saturating_sub(usize::from(inside.height));
    for (y, (index, key)) in (inside.y..inside.bottom()).zip(SortKey::ALL.iter().enumerate().skip(first)) {
        let current = if app.list.sort.key == *key {
            if app.list.sort.descending {
                "  desc now"
            } else {
                "  asc now"
            }
        } else {
            ""
        };
        let (mark, meaning) = if index == chosen {
            (">", Meaning::Selection)
        } else {
            (" ", Meaning::Plain)
        };
        put(
            buffer,
            inside.x,
            y,
            inside.width,
            &format!("{mark} {}{current}", key.name()),
            style(app, meaning),
        );
    }
}

/// The row of the list at a line of the screen.
pub(crate) fn row_at(app: &App, y: u16) -> Option<usize> {
    let (area, _) = parts(app, frame::areas(app).body);
    let first = area.y + 1;
    (first..area.bottom())
        .contains(&y)
        .then(|| app.list.selection.offset() + usize::from(y - first))
}

/// The column whose heading is at a cell.
pub(crate) fn header_at(app: &App, x: u16, y: u16) -> Option<SortKey> {
    let (area, _) = parts(app, frame::areas(app).body);
    if y != area.y || Class::of(app.area) == Class::Tiny {
        return None;
    }
    layout(area, &[])
        .into_iter()
        .find(|(_, at, width)| (*at..at + width).contains(&x))?
        .0
        .sort
}

/// All rows that pass the filter as text, for tickets.
pub(crate) fn as_text(app: &App) -> String {
    let mut out = COLUMNS
        .iter()
        .map(|column| column.title)
        .collect::<Vec<_>>()
        .join("  ");
    for row in app
        .list
        .selection
        .order()
        .iter()
        .filter_map(|id| app.store.get(*id))
    {
        out.push('\n');
        let cells: Vec<_> = COLUMNS
            .iter()
            .map(|column| (column.cell)(app, row).0.trim().to_owned())
            .collect();
        out.push_str(&cells.join("  "));
    }
    out
}
