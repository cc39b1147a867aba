//! The mouse: it selects, opens, scrolls and sorts. It never changes traffic.

use super::{App, Modal, Screen};
use crate::action::Action;
use crate::event::Effect;
use crate::view;
use crossterm::event::{MouseButton, MouseEvent, MouseEventKind};
use std::time::Duration;

/// Two clicks on one row within this open it.
const DOUBLE_CLICK: Duration = Duration::from_millis(500);
/// Rows one turn of the wheel moves.
const WHEEL: isize = 3;

impl App {
    pub(super) fn mouse(&mut self, mouse: MouseEvent) -> Vec<Effect> {
        if self.is_tiny() && !matches!(self.modal, Modal::Help { .. }) {
            return Vec::new();
        }
        match mouse.kind {
            MouseEventKind::ScrollDown => self.step(WHEEL),
            MouseEventKind::ScrollUp => self.step(-WHEEL),
            MouseEventKind::Down(MouseButton::Left) if matches!(self.modal, Modal::None) => {
                return self.click(mouse.column, mouse.row);
            }
            _ => {}
        }
        Vec::new()
    }

    fn click(&mut self, x: u16, y: u16) -> Vec<Effect> {
        self.settle();
        if let Some(action) = view::frame::tab_at(self, x, y) {
            return self.act(action);
        }
        match self.screen {
            Screen::List => {
                if let Some(key) = view::list::header_at(self, x, y) {
                    self.sort_by(Some(key));
                    return Vec::new();
                }
                let row = view::list::row_at(self, y);
                let in_mark_column = x <= 1;
                self.click_row(row, in_mark_column)
            }
            Screen::Overview => {
                let row = view::overview::row_at(self, x, y);
                self.click_row(row, false)
            }
            Screen::Detail(_) => {
                if let Some(pane) = view::detail::pane_at(self, x, y)
                    && let Screen::Detail(detail) = &mut self.screen
                {
                    detail.pane = pane;
                }
                Vec::new()
            }
        }
    }

    fn click_row(&mut self, row: Option<usize>, mark: bool) -> Vec<Effect> {
        let Some(row) = row else { return Vec::new() };
        let page = self.page();
        let selection = if matches!(self.screen, Screen::Overview) {
            &mut self.overview
        } else {
            &mut self.list.selection
        };
        let Some(id) = selection.order().get(row).copied() else {
            return Vec::new();
        };
        selection.move_to(row, page);
        if mark {
            if !self.list.marks.remove(&id) {
                self.list.marks.insert(id);
            }
            self.unsettled = true;
            return Vec::new();
        }
        let now = self.now.uptime;
        let again = self
            .last_click
            .replace((now, id))
            .is_some_and(|(before, same)| same == id && now.saturating_sub(before) <= DOUBLE_CLICK);
        if again { self.act(Action::Open) } else { Vec::new() }
    }
}
