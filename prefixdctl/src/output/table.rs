//! Fitting a table into a width.

use super::{Cell, Place, Tone};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Between two columns.
const GAP: usize = 2;
/// A column that is cut keeps so much.
const MIN_REST: usize = 8;

/// How a table is laid out.
pub(super) struct Layout {
    /// Columns of the terminal; all fits when absent.
    pub(super) width: Option<usize>,
    pub(super) headers: bool,
    pub(super) colored: bool,
    /// Whether columns may leave; they may not when a person chose them.
    pub(super) may_drop: bool,
}

pub(super) fn render(mut heads: Vec<(&str, Place)>, mut rows: Vec<Vec<Cell>>, layout: Layout) -> String {
    let mut widths = natural_widths(&heads, &rows);
    if let Some(limit) = layout.width {
        while layout.may_drop && least_width(&heads, &widths) > limit {
            let Some(index) = next_to_leave(&heads) else { break };
            heads.remove(index);
            widths.remove(index);
            for row in &mut rows {
                row.remove(index);
            }
        }
        shrink_rest(&heads, &mut widths, limit);
    }
    let mut text = String::new();
    if layout.headers {
        let right_aligned = |index: usize| rows.first().is_some_and(|row: &Vec<Cell>| row[index].right);
        let cells: Vec<_> = heads
            .iter()
            .enumerate()
            .map(|(index, (head, _))| Cell {
                text: (*head).to_owned(),
                right: right_aligned(index),
                tone: Tone::Head,
            })
            .collect();
        push_row(&mut text, &cells, &widths, layout.colored);
    }
    for row in &rows {
        push_row(&mut text, row, &widths, layout.colored);
    }
    text
}

fn natural_widths(heads: &[(&str, Place)], rows: &[Vec<Cell>]) -> Vec<usize> {
    heads
        .iter()
        .enumerate()
        .map(|(index, (head, _))| {
            let cells = rows.iter().map(|row| row[index].text.width());
            cells.chain([head.width()]).max().unwrap_or(0)
        })
        .collect()
}

/// The width when every elastic column is cut as far as it goes.
fn least_width(heads: &[(&str, Place)], widths: &[usize]) -> usize {
    let cells = heads.iter().zip(widths).map(|((_, place), width)| match place {
        Place::Rest => (*width).min(MIN_REST),
        Place::Always | Place::Room(_) | Place::Wide => *width,
    });
    cells.sum::<usize>() + GAP * heads.len().saturating_sub(1)
}

fn next_to_leave(heads: &[(&str, Place)]) -> Option<usize> {
    let order = |place: Place| match place {
        Place::Room(order) => Some(order),
        Place::Always | Place::Rest | Place::Wide => None,
    };
    (0..heads.len())
        .filter(|index| order(heads[*index].1).is_some())
        .max_by_key(|index| order(heads[*index].1))
}

/// Takes what is too much from the elastic columns, the last one first.
fn shrink_rest(heads: &[(&str, Place)], widths: &mut [usize], limit: usize) {
    let total = widths.iter().sum::<usize>() + GAP * heads.len().saturating_sub(1);
    let mut excess = total.saturating_sub(limit);
    for (index, (_, place)) in heads.iter().enumerate().rev() {
        if *place == Place::Rest {
            let taken = excess.min(widths[index].saturating_sub(MIN_REST));
            widths[index] -= taken;
            excess -= taken;
        }
    }
}

fn push_row(text: &mut String, cells: &[Cell], widths: &[usize], colored: bool) {
    let mut line = String::new();
    for (index, (cell, width)) in cells.iter().zip(widths).enumerate() {
        if index > 0 {
            line.push_str(&" ".repeat(GAP));
        }
        let shown = cut(&cell.text, *width);
        let padding = " ".repeat(width.saturating_sub(shown.width()));
        let painted = if colored { cell.tone.paint(&shown) } else { shown };
        if cell.right {
            line.push_str(&padding);
            line.push_str(&painted);
        } else {
            line.push_str(&painted);
            line.push_str(&padding);
        }
    }
    text.push_str(line.trim_end());
    text.push('\n');
}

/// At most `width` columns of the text, with an ellipsis when some is missing.
fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut left = width.saturating_sub(1);
    let mut kept: String = text
        .chars()
        .take_while(|c| {
            let needed = c.width().unwrap_or(0);
            let fits = needed <= left;
            left = left.saturating_sub(needed);
            fits
        })
        .collect();
    kept.push('…');
    kept
}
