//! What each action does.

use super::{App, Modal, Screen};
use crate::action::{Action, CopyWhat};
use crate::event::Effect;
use crate::filter::{self, Filter};
use crate::list::SortKey;
use crate::theme::Meaning;
use crate::view;
use prefixd_api::show::{Zone, clean};
use std::time::Duration;

/// The second Ctrl-C must come within this.
const INTERRUPT_WITHIN: Duration = Duration::from_secs(2);
/// Most bytes that go to a clipboard: larger sequences are dropped by common terminals.
const MAX_COPY: usize = 74_994 / 4 * 3;

impl App {
    pub(super) fn act(&mut self, action: Action) -> Vec<Effect> {
        match action {
            Action::Down => self.step(1),
            Action::Up => self.step(-1),
            Action::PageDown => self.step(self.page_step(1)),
            Action::PageUp => self.step(self.page_step(-1)),
            Action::HalfDown => self.step(self.page_step(1) / 2),
            Action::HalfUp => self.step(self.page_step(-1) / 2),
            Action::First => self.step(-MANY),
            Action::Last => self.step(MANY),
            Action::NextPane => self.in_detail(|view| view.next_pane(1)),
            Action::PreviousPane => self.in_detail(|view| view.next_pane(super::Pane::ALL.len() - 1)),
            Action::Zoom => self.in_detail(|view| view.zoomed = !view.zoomed),
            Action::Rendering => self.in_detail(super::DetailView::next_rendering),
            Action::Next => return self.step_detail(1),
            Action::Previous => return self.step_detail(-1),
            Action::Open => {
                if let Some(id) = self.current().map(|row| row.mitigation_id) {
                    return self.open_detail(id);
                }
            }
            Action::GoOverview => self.go(Screen::Overview),
            Action::GoMitigations => self.go(Screen::List),
            Action::Filter => self.open_filter_line(),
            Action::ApplyFilter => return self.close_filter_line(true),
            Action::DropFilter => return self.close_filter_line(false),
            Action::SortMenu => {
                let row = SortKey::ALL
                    .iter()
                    .position(|key| *key == self.list.sort.key)
                    .unwrap_or(0);
                self.modal = Modal::Sort { row };
            }
            Action::SortChoose => {
                if let Modal::Sort { row } = self.modal {
                    self.sort_by(SortKey::ALL.get(row).copied());
                    self.modal = Modal::None;
                }
            }
            Action::SortReverse => self.sort_by(Some(self.list.sort.key)),
            Action::Preview => {
                if view::Class::of(self.area) < view::Class::Wide {
                    self.say(Meaning::Low, "the preview needs 120x40 or more");
                }
                self.list.preview = !self.list.preview;
                self.unsettled = true;
            }
            Action::Mark => {
                if self.current().is_some_and(|row| !row.status.is_live()) {
                    self.say(Meaning::Low, "it has ended: there is nothing to mark it for");
                }
                let page = self.page();
                self.list.mark(page);
                self.unsettled = true;
            }
            Action::MarkRange => {
                self.list.mark_range();
                self.unsettled = true;
            }
            Action::MarkAll => {
                self.list.mark_all(&self.store);
                self.unsettled = true;
            }
            Action::Withdraw => return self.open_withdraw(),
            Action::Confirm => return self.confirm(),
            Action::Cancel => {
                self.modal = Modal::None;
                self.say(Meaning::Plain, "cancelled: nothing was sent");
            }
            Action::Give(reason) => self.in_panel(|panel| panel.give(reason)),
            Action::Suppression => self.in_panel(crate::panel::WithdrawPanel::next_suppression),
            Action::NextField => self.in_panel(crate::panel::WithdrawPanel::next_field),
            Action::Copy(what) => return self.copy(what),
            Action::TimeFormat => self.settings.absolute_times = !self.settings.absolute_times,
            Action::Zone => {
                self.settings.zone = match self.settings.zone {
                    Zone::Utc => Zone::Local,
                    Zone::Local => Zone::Utc,
                };
            }
            Action::Refresh => {
                self.contact.try_now(self.now.uptime);
                let mut effects = self.read_all_now();
                effects.push(Effect::RetryFeed);
                return effects;
            }
            Action::Help => {
                self.modal = Modal::Help {
                    of: self.place(),
                    scroll: 0,
                }
            }
            Action::CloseOverlay => self.modal = Modal::None,
            Action::Escape => return self.escape(),
            Action::Back => return self.back(),
            Action::Interrupt => return self.interrupt(),
            Action::Mouse => {
                self.settings.mouse = !self.settings.mouse;
                let words = if self.settings.mouse {
                    "mouse on; Shift selects text in most terminals"
                } else {
                    "mouse off: the terminal selects text"
                };
                self.say(Meaning::Plain, words);
                return vec![Effect::Mouse(self.settings.mouse)];
            }
            Action::Dump => {
                self.modal = Modal::Dump;
                return vec![Effect::Dump];
            }
            Action::Redraw => return vec![Effect::Repaint],
            Action::Suspend => return vec![Effect::Suspend],
        }
        Vec::new()
    }

    /// Moves whatever has the focus.
    pub(super) fn step(&mut self, by: isize) {
        let page = self.page();
        let most = match &self.modal {
            Modal::Help { of, .. } => view::help::limit(self, *of),
            Modal::Withdraw(panel) => view::panel::limit(self, panel),
            _ => 0,
        };
        match (&mut self.modal, &mut self.screen) {
            (Modal::Sort { row }, _) => *row = row.saturating_add_signed(by).min(SortKey::ALL.len() - 1),
            (Modal::Help { scroll, .. }, _) => *scroll = scroll.saturating_add_signed(by).min(most),
            (Modal::Withdraw(panel), _) => {
                panel.scroll = panel.scroll.saturating_add_signed(by).min(most);
            }
            (_, Screen::Overview) => {
                self.overview.move_by(by, page);
                self.overview.follow_top();
            }
            (_, Screen::List) => {
                self.list.selection.move_by(by, page);
                // A row that left the filter stayed for the cursor only.
                self.unsettled = true;
            }
            (_, Screen::Detail(_)) => self.scroll_detail(by),
        }
    }

    fn scroll_detail(&mut self, by: isize) {
        let most = view::detail::limit(self);
        if let Screen::Detail(view) = &mut self.screen {
            let scroll = &mut view.scroll[view.pane as usize];
            *scroll = scroll.saturating_add_signed(by).min(most);
        }
    }

    fn page_step(&self, sign: isize) -> isize {
        isize::try_from(self.page().max(1)).unwrap_or(1) * sign
    }

    /// Rows of the list that are on the screen.
    pub(super) fn page(&self) -> usize {
        match self.screen {
            Screen::Overview => view::overview::page(self),
            Screen::List | Screen::Detail(_) => view::list::page(self),
        }
    }

    fn in_detail(&mut self, change: impl FnOnce(&mut super::DetailView)) {
        if let Screen::Detail(view) = &mut self.screen {
            change(view);
        }
    }

    fn in_panel(&mut self, change: impl FnOnce(&mut crate::panel::WithdrawPanel)) {
        if let Modal::Withdraw(panel) = &mut self.modal {
            change(panel);
        }
    }

    pub(super) fn go(&mut self, screen: Screen) {
        self.screen = screen;
        self.unsettled = true;
    }

    pub(super) fn sort_by(&mut self, key: Option<SortKey>) {
        if let Some(key) = key {
            self.list.sort = self.list.sort.choose(key);
            self.unsettled = true;
        }
    }

    /// Clears one thing at a time: refusals and marks, then the filter, then goes back.
    fn escape(&mut self) -> Vec<Effect> {
        match &self.screen {
            Screen::List if !self.list.marks.is_empty() => {
                self.list.marks.clear();
                self.changes.forget_failed();
            }
            Screen::List if self.list.filter.text() != filter::DEFAULT => {
                if let Ok(filter) = Filter::parse(filter::DEFAULT) {
                    self.list.filter = filter;
                }
                self.unsettled = true;
            }
            Screen::List | Screen::Overview => {
                self.changes.forget_failed();
                self.flash = None;
            }
            Screen::Detail(_) => return self.back(),
        }
        Vec::new()
    }

    fn back(&mut self) -> Vec<Effect> {
        if let Screen::Detail(view) = &self.screen
            && !self.is_tiny()
        {
            let screen = if view.from_overview {
                Screen::Overview
            } else {
                Screen::List
            };
            self.go(screen);
            return Vec::new();
        }
        self.quit(self.changes.open() > 0)
    }

    fn interrupt(&mut self) -> Vec<Effect> {
        self.quit(true)
    }

    /// Quits, or asks for the key a second time.
    fn quit(&mut self, ask: bool) -> Vec<Effect> {
        let again = self
            .interrupted
            .is_some_and(|before| self.now.uptime.saturating_sub(before) <= INTERRUPT_WITHIN);
        if again || !ask {
            return vec![Effect::Quit];
        }
        self.interrupted = Some(self.now.uptime);
        let words = match self.changes.open() {
            0 => "again within 2 s quits".to_owned(),
            open => format!("{open} withdrawals have no outcome yet; again within 2 s quits"),
        };
        self.say(Meaning::Warn, words);
        Vec::new()
    }

    fn copy(&mut self, what: CopyWhat) -> Vec<Effect> {
        let Some(row) = self.current() else {
            self.say(Meaning::Warn, "nothing to copy");
            return Vec::new();
        };
        let text = match what {
            CopyWhat::Id => row.mitigation_id.to_string(),
            CopyWhat::Address => row.victim_ip.to_string(),
            CopyWhat::Rules => row
                .rules
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("\n"),
            CopyWhat::Command => format!(
                "prefixdctl --api {} mitigations get {}",
                self.settings.api, row.mitigation_id
            ),
            CopyWhat::Table => view::list::as_text(self),
            CopyWhat::Json => match serde_json::to_string_pretty(row) {
                Ok(json) => json,
                Err(error) => {
                    self.say(Meaning::Down, format!("cannot write it as JSON: {error}"));
                    return Vec::new();
                }
            },
        };
        // Whoever pastes it must not paste what a terminal obeys; JSON has escaped it.
        let text = text
            .split('\n')
            .map(|line| clean(line, MAX_COPY))
            .collect::<Vec<_>>()
            .join("\n");
        if text.len() > MAX_COPY {
            self.say(
                Meaning::Warn,
                format!(
                    "{} bytes are more than terminals take; use prefixdctl",
                    text.len()
                ),
            );
            return Vec::new();
        }
        self.say(
            Meaning::Plain,
            format!("copied {} B (terminal permitting)", text.len()),
        );
        vec![Effect::Copy(text)]
    }
}

/// More rows than any list has.
const MANY: isize = isize::MAX / 2;
