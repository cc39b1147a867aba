//! Keys and pastes: to a text field when one has the focus, to the key table otherwise.

use super::{App, Modal, Screen};
use crate::event::Effect;
use crate::filter::Filter;
use crate::keymap::{self, Lookup};
use crate::panel::Focus;
use crate::theme::Meaning;
use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use std::collections::VecDeque;
use std::time::Duration;
use tui_input::InputRequest;

/// Longest filter in characters.
const MAX_FILTER: usize = 500;

/// More unexpected keys than this within [`BURST`] were typed, or pasted without its marks, into the wrong window.
const MANY_STRAYS: usize = 8;
const BURST: Duration = Duration::from_millis(50);
/// Keys are ignored until there was none for so long.
const QUIET: Duration = Duration::from_millis(250);

/// Keys without a meaning, of late.
#[derive(Clone, Debug, Default)]
pub(super) struct Strays {
    latest: VecDeque<Duration>,
    deaf_until: Option<Duration>,
}

impl Strays {
    /// Whether a key belongs to a burst that is ignored.
    fn is_deaf(&mut self, now: Duration) -> bool {
        let deaf = self.deaf_until.is_some_and(|until| now < until);
        self.deaf_until = deaf.then_some(now + QUIET);
        deaf
    }

    /// Notes one; whether it was one too many.
    fn note(&mut self, now: Duration) -> bool {
        self.latest.push_back(now);
        self.latest.retain(|at| now.saturating_sub(*at) <= BURST);
        let many = self.latest.len() > MANY_STRAYS;
        if many {
            self.latest.clear();
            self.deaf_until = Some(now + QUIET);
        }
        many
    }
}

impl App {
    pub(super) fn key(&mut self, key: KeyEvent) -> Vec<Effect> {
        if key.kind == KeyEventKind::Release {
            return Vec::new();
        }
        if matches!(self.modal, Modal::Dump) {
            self.modal = Modal::None;
            return vec![Effect::EndDump];
        }
        // A held key must never act inside the panel; terminals that do not tell are met by the guard.
        if key.kind == KeyEventKind::Repeat && matches!(self.modal, Modal::Withdraw(_)) {
            return Vec::new();
        }
        self.settle();
        if let Some(effects) = self.key_to_field(key) {
            return effects;
        }
        if self.strays.is_deaf(self.now.uptime) {
            return Vec::new();
        }
        let Some(written) = keymap::written(key) else {
            self.no_such_key();
            return Vec::new();
        };
        let keys = match self.prefix.take() {
            Some(prefix) if written == "Esc" => {
                drop(prefix);
                return Vec::new();
            }
            Some(prefix) => format!("{prefix} {written}"),
            None => written,
        };
        match keymap::lookup(self.place(), &keys) {
            Lookup::Action(action) => match self.allowed(action) {
                Ok(()) => self.act(action),
                Err(words) => {
                    self.say(Meaning::Warn, words);
                    Vec::new()
                }
            },
            Lookup::Prefix => {
                self.prefix = Some(keys);
                Vec::new()
            }
            Lookup::Nothing => {
                self.no_such_key();
                Vec::new()
            }
        }
    }

    fn no_such_key(&mut self) {
        if self.strays.note(self.now.uptime) {
            self.say(
                Meaning::Warn,
                "typed into the wrong window? keys are ignored until they stop",
            );
            return;
        }
        self.say(Meaning::Low, "no such key here; ? shows the keys");
    }

    /// Text in a field; nothing when no field has the focus, or the key is not for it.
    fn key_to_field(&mut self, key: KeyEvent) -> Option<Vec<Effect>> {
        match &mut self.modal {
            Modal::Filter(line) => {
                let request = editing(key)?;
                if matches!(request, InputRequest::InsertChar(_))
                    && line.input.value().chars().count() >= MAX_FILTER
                {
                    return Some(Vec::new());
                }
                line.input.handle(request);
                self.follow_filter_line();
                Some(Vec::new())
            }
            Modal::Withdraw(panel) if panel.focus != Focus::Keys => {
                match (key.code, editing(key)) {
                    (KeyCode::Enter | KeyCode::Tab, _) => panel.end_field(),
                    // Letters are no part of a count: they are keys again.
                    (_, Some(InputRequest::InsertChar(letter)))
                        if panel.focus == Focus::Count && !letter.is_ascii_digit() =>
                    {
                        return None;
                    }
                    (_, Some(InputRequest::InsertChar(letter))) => {
                        panel.type_text(letter.encode_utf8(&mut [0; 4]));
                    }
                    (_, Some(request)) => panel.edit(request),
                    (_, None) => return None,
                }
                Some(Vec::new())
            }
            _ => None,
        }
    }

    /// A paste is text for a field, and never keys.
    pub(super) fn paste(&mut self, text: &str) -> Vec<Effect> {
        match &mut self.modal {
            Modal::Filter(line) => {
                let room = MAX_FILTER.saturating_sub(line.input.value().chars().count());
                for letter in text.chars().take(room) {
                    let letter = if letter.is_control() { ' ' } else { letter };
                    line.input.handle(InputRequest::InsertChar(letter));
                }
                self.follow_filter_line();
            }
            Modal::Withdraw(panel) if panel.focus == Focus::Words => panel.type_text(text),
            _ => self.say(
                Meaning::Warn,
                "pasted text was ignored: it is never taken as keys",
            ),
        }
        Vec::new()
    }

    /// The list follows the filter line while it can be read.
    fn follow_filter_line(&mut self) {
        let Modal::Filter(line) = &mut self.modal else {
            return;
        };
        match Filter::parse(line.input.value()) {
            Ok(filter) => {
                line.error = None;
                self.list.filter = filter;
                self.unsettled = true;
            }
            Err(words) => line.error = Some(words),
        }
    }

    pub(super) fn open_filter_line(&mut self) {
        if matches!(self.screen, Screen::Overview) {
            self.screen = Screen::List;
        }
        let before = self.list.filter.clone();
        let text = before.text();
        let input = if text.is_empty() {
            String::new()
        } else {
            format!("{text} ")
        };
        self.modal = Modal::Filter(super::FilterLine {
            input: input.into(),
            error: None,
            before,
        });
    }

    pub(super) fn close_filter_line(&mut self, keep: bool) -> Vec<Effect> {
        let Modal::Filter(line) = &self.modal else {
            return Vec::new();
        };
        if keep {
            if line.error.is_some() {
                return Vec::new();
            }
        } else {
            self.list.filter = line.before.clone();
        }
        self.modal = Modal::None;
        self.unsettled = true;
        super::requests(self.ask_ended_if_wanted())
    }
}

/// A key as editing of one line.
fn editing(key: KeyEvent) -> Option<InputRequest> {
    let ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
    if key.modifiers.contains(KeyModifiers::ALT) {
        return None;
    }
    Some(match key.code {
        KeyCode::Char('u') if ctrl => InputRequest::DeleteLine,
        KeyCode::Char('w') if ctrl => InputRequest::DeletePrevWord,
        KeyCode::Char('k') if ctrl => InputRequest::DeleteTillEnd,
        KeyCode::Char('e') if ctrl => InputRequest::GoToEnd,
        KeyCode::Char(_) if ctrl => return None,
        KeyCode::Char(letter) => InputRequest::InsertChar(letter),
        KeyCode::Backspace => InputRequest::DeletePrevChar,
        KeyCode::Delete => InputRequest::DeleteNextChar,
        KeyCode::Left => InputRequest::GoToPrevChar,
        KeyCode::Right => InputRequest::GoToNextChar,
        KeyCode::Home => InputRequest::GoToStart,
        KeyCode::End => InputRequest::GoToEnd,
        _ => return None,
    })
}
