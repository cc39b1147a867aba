//! Boxes with titles and lines of text inside.

use super::{put, style};
use crate::app::App;
use crate::text;
use crate::theme::Meaning;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};
use ratatui::widgets::{Block, Clear, Widget};
use unicode_width::UnicodeWidthStr;

/// A line of text in parts.
pub(super) type Line = Vec<(String, Meaning)>;

/// A line of one part.
pub(super) fn line(meaning: Meaning, text: impl Into<String>) -> Line {
    vec![(text.into(), meaning)]
}

/// `name      value`
pub(super) fn pair(name: &str, value: impl Into<String>, meaning: Meaning) -> Line {
    vec![(format!("{name:<11}"), Meaning::Low), (value.into(), meaning)]
}

/// Draws a border with a title at the left and a note at the right; returns the inside.
pub(super) fn boxed(
    app: &App,
    buffer: &mut Buffer,
    area: Rect,
    focus: bool,
    title: &str,
    note: &str,
) -> Rect {
    let area = area.intersection(buffer.area);
    if area.width < 4 || area.height < 2 {
        return Rect::default();
    }
    let border = style(app, if focus { Meaning::Focus } else { Meaning::Border });
    Block::bordered()
        .border_set(app.settings.glyphs.border())
        .border_style(border)
        .render(area, buffer);
    let room = area.width - 4;
    let title = format!(" {title} ");
    let end = put(
        buffer,
        area.x + 2,
        area.y,
        room,
        &title,
        Style::new()
            .fg(Color::Reset)
            .patch(style(app, if focus { Meaning::Focus } else { Meaning::Title })),
    );
    if !note.is_empty() {
        let note = format!(" {note} ");
        let width = u16::try_from(note.width()).unwrap_or(u16::MAX);
        if end.saturating_add(width) < area.right() - 1 {
            put(
                buffer,
                area.right() - 2 - width,
                area.y,
                width,
                &note,
                style(app, Meaning::Low),
            );
        }
    }
    Rect {
        x: area.x + 2,
        y: area.y + 1,
        width: area.width - 4,
        height: area.height - 2,
    }
}

/// Says in the lower border of a box that lines are below what it shows.
pub(super) fn below(app: &App, buffer: &mut Buffer, area: Rect, lines: usize) {
    let words = format!(" {lines} more ");
    let width = u16::try_from(words.width()).unwrap_or(u16::MAX);
    if area.height > 1 && width + 4 <= area.width {
        let (x, y) = (area.right() - 2 - width, area.bottom() - 1);
        put(buffer, x, y, width, &words, style(app, Meaning::Low));
    }
}

/// Empties an area and puts a box on it.
pub(super) fn overlay(app: &App, buffer: &mut Buffer, area: Rect, title: &str, note: &str) -> Rect {
    let area = area.intersection(buffer.area);
    Clear.render(area, buffer);
    boxed(app, buffer, area, true, title, note)
}

/// Writes lines from `scroll` on.
pub(super) fn lines(app: &App, buffer: &mut Buffer, area: Rect, lines: &[Line], scroll: usize) {
    for (row, line) in (area.y..area.bottom()).zip(lines.iter().skip(scroll)) {
        let mut x = area.x;
        for (text, meaning) in line {
            let room = area.right().saturating_sub(x);
            let text = text::cut(text, usize::from(room));
            x = put(buffer, x, row, room, &text, style(app, *meaning));
        }
    }
}

/// A box in the middle of an area, as large as wanted where there is room.
pub(super) fn centred(area: Rect, width: u16, height: u16) -> Rect {
    let (width, height) = (width.min(area.width), height.min(area.height));
    Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 2,
        width,
        height,
    }
}

/// Breaks text at spaces so that no line is wider than `width`; words that are wider are broken inside.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut out = Vec::new();
    for paragraph in text.lines() {
        let indent: String = paragraph
            .chars()
            .take_while(|letter| *letter == ' ')
            .take(width / 2)
            .collect();
        let mut line = indent.clone();
        for word in paragraph.split_whitespace() {
            let gap = usize::from(line.len() > indent.len());
            if line.len() > indent.len() && line.width() + gap + word.width() > width {
                out.push(std::mem::replace(&mut line, indent.clone()));
            } else if gap == 1 {
                line.push(' ');
            }
            for letter in word.chars() {
                if line.width() + unicode_width::UnicodeWidthChar::width(letter).unwrap_or(0) > width {
                    out.push(std::mem::replace(&mut line, indent.clone()));
                }
                line.push(letter);
            }
        }
        out.push(line);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapped_text_keeps_every_word_inside_the_width() {
        assert_eq!(wrap("drop TCP to here", 9), ["drop TCP", "to here"]);
        assert_eq!(wrap("  term one two", 8), ["  term", "  one", "  two"]);
        assert_eq!(wrap("abcdefghij", 4), ["abcd", "efgh", "ij"]);
        for width in 1..12 {
            assert!(
                wrap("日本 some text-that-is-long 日本語", width.max(2))
                    .iter()
                    .all(|l| l.width() <= width.max(2))
            );
        }
    }
}
