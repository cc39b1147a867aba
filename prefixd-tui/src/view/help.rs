//! Help for a place, made from the key table.

use super::pane::{self, Line, line, overlay};
use super::{frame, put, style};
use crate::action::{Action, Group};
use crate::app::App;
use crate::keymap::{self, Place};
use crate::theme::Meaning;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

/// Cells of one column, and of the keys in it.
const COLUMN: u16 = 38;
const KEYS: usize = 14;

/// Draws it over the screen.
pub(super) fn draw(app: &App, of: Place, scroll: usize, buffer: &mut Buffer, body: Rect) {
    let (columns, rows) = layout(app, of, body);
    let height = u16::try_from(rows.len() + 2).unwrap_or(u16::MAX);
    let area = pane::centred(body, COLUMN * columns + 4, height);
    let inside = overlay(app, buffer, area, &format!("Help: {}", of.title()), "Esc closes");
    for (y, row) in (inside.y..inside.bottom()).zip(rows.iter().skip(scroll)) {
        let mut at = inside.x;
        // A note has the row to itself.
        let width = if row.len() == 1 { inside.width } else { COLUMN };
        for cell in row {
            let mut x = at;
            for (text, meaning) in cell {
                x = put(
                    buffer,
                    x,
                    y,
                    (at + width).min(inside.right()).saturating_sub(x),
                    text,
                    style(app, *meaning),
                );
            }
            at += width;
        }
    }
    let below = rows.len().saturating_sub(scroll + usize::from(inside.height));
    if below > 0 {
        pane::below(app, buffer, area, below);
    }
}

/// How far it can scroll.
pub(crate) fn limit(app: &App, of: Place) -> usize {
    let body = frame::areas(app).body;
    let (_, rows) = layout(app, of, body);
    rows.len()
        .saturating_sub(usize::from(body.height.saturating_sub(2)))
}

/// The entries in as many columns as fit, group by group.
fn layout(app: &App, of: Place, body: Rect) -> (u16, Vec<Vec<Line>>) {
    let columns = (body.width.saturating_sub(4) / COLUMN).clamp(1, 3);
    let groups = groups(app, of);
    let total: usize = groups.iter().map(Vec::len).sum();
    let share = total.div_ceil(usize::from(columns));
    let mut stacks: Vec<Vec<Line>> = vec![Vec::new()];
    for group in groups {
        let full = stacks
            .last()
            .is_some_and(|stack| stack.len() + group.len() / 2 > share);
        if full && stacks.len() < usize::from(columns) {
            stacks.push(Vec::new());
        }
        if let Some(stack) = stacks.last_mut() {
            stack.extend(group);
        }
    }
    let longest = stacks.iter().map(Vec::len).max().unwrap_or(0);
    let mut rows: Vec<Vec<Line>> = (0..longest)
        .map(|index| {
            stacks
                .iter()
                .map(|stack| stack.get(index).cloned().unwrap_or_default())
                .collect()
        })
        .collect();
    rows.extend(notes(app, of).into_iter().flat_map(|(words, meaning)| {
        pane::wrap(&words, usize::from(COLUMN * columns))
            .into_iter()
            .map(move |text| vec![line(meaning, text)])
    }));
    (columns, rows)
}

fn groups(app: &App, of: Place) -> Vec<Vec<Line>> {
    let allowed: Vec<_> = keymap::bindings_of(of)
        .filter(|binding| app.allowed(binding.action).is_ok())
        .collect();
    let keys_of = |action: Action| {
        let binding = allowed.iter().find(|binding| binding.action == action)?;
        Some(binding.keys)
    };
    // The second of a pair that is here stands in the line of the first.
    let is_second = |action: Action| {
        allowed
            .iter()
            .any(|first| first.action.pair().is_some_and(|(second, _)| second == action))
    };
    Group::ALL
        .into_iter()
        .filter_map(|group| {
            let mut lines: Vec<Line> = Vec::new();
            for binding in &allowed {
                let about = binding.action.about();
                if about.group != group || is_second(binding.action) {
                    continue;
                }
                let pair = binding
                    .action
                    .pair()
                    .and_then(|(second, words)| Some((keys_of(second)?, words)));
                let (keys, words) = match pair {
                    Some((second, words)) => (in_turn(binding.keys, second), words),
                    None => (binding.keys.join(", "), about.help),
                };
                lines.push(vec![
                    (format!("{keys:<KEYS$} "), Meaning::Info),
                    (words.to_owned(), Meaning::Plain),
                ]);
            }
            if lines.is_empty() {
                return None;
            }
            lines.insert(0, line(Meaning::Title, group.title()));
            Some(lines)
        })
        .collect()
}

/// `j k, Down Up` or `g g, G`: the keys of two actions, like beside like.
fn in_turn(first: &[&str], second: &[&str]) -> String {
    let pairs: Vec<_> = first
        .iter()
        .zip(second)
        .map(|(first, second)| {
            let longer = first.contains(' ') || second.contains(' ');
            format!("{first}{} {second}", if longer { "," } else { "" })
        })
        .collect();
    match (pairs.join(", "), pairs.first()) {
        (all, _) if all.len() <= KEYS => all,
        (_, Some(pair)) => pair.clone(),
        (all, None) => all,
    }
}

/// What the keys do not say.
fn notes(app: &App, of: Place) -> Vec<(String, Meaning)> {
    let mut notes = Vec::new();
    if of == Place::List {
        notes.push((
            "FILTER  status:active vector:udp* cust:acme victim:203.0.113.0/24 bps>1G ttl<1m age>2h conf>=.8 sev>=high \
             source:fnm acked ending !term \"free text\""
                .to_owned(),
            Meaning::Low,
        ));
        notes.push((
            "MARKS  > cursor  * marked  !0m48s under a minute  !! critical  2/3! a neighbour lacks a rule"
                .to_owned(),
            Meaning::Low,
        ));
    }
    let hidden: Vec<_> = keymap::bindings_of(of)
        .filter_map(|binding| app.allowed(binding.action).err())
        .collect();
    if let Some(why) = hidden.first() {
        notes.push((
            format!("Not shown: {} keys that change traffic ({why}).", hidden.len()),
            Meaning::Warn,
        ));
    }
    if of != Place::WithdrawPanel {
        notes.push((
            "Nothing is sent without the y in its own panel.".to_owned(),
            Meaning::Low,
        ));
    }
    notes
}
