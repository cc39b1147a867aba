//! What fits where nothing fits: health, the worst rows, and the keys that still work.

use super::{frame, put, severity_meaning, style, ttl_words};
use crate::app::App;
use crate::text;
use crate::theme::Meaning;
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

/// Draws them.
pub(super) fn draw(app: &App, buffer: &mut Buffer) -> Option<Position> {
    let Rect { width, height, .. } = app.area;
    frame::status_row(app, buffer, Rect::new(0, 0, width, height.min(1)));
    if height < 2 {
        return None;
    }
    let rows = usize::from(height.saturating_sub(3)).min(3);
    let worst = app
        .overview
        .order()
        .iter()
        .filter_map(|id| app.store.get(*id))
        .filter(|row| row.status.is_announced())
        .take(rows);
    for (y, row) in (1..).zip(worst) {
        let (ttl, _) = ttl_words(app, row);
        let words = format!(
            "{} {} {} {ttl}",
            text::severity(row.severity),
            row.victim_ip,
            super::action_words(row)
        );
        put(
            buffer,
            0,
            y,
            width,
            &words,
            style(app, severity_meaning(row.severity)),
        );
    }
    if height > 4 {
        put(
            buffer,
            0,
            height - 3,
            width,
            " the console needs 60x15 or more",
            style(app, Meaning::Low),
        );
    }
    let cursor = frame::context_row(app, buffer, Rect::new(0, height.saturating_sub(2), width, 1));
    frame::hint_row(app, buffer, Rect::new(0, height - 1, width, 1));
    cursor
}
