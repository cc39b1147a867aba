//! The state of the console and its one entry: [`App::update`] takes what happened and says what to do. Nothing
//! in here reads a clock, a terminal or a socket.

mod act;
mod data;
mod detail;
mod keys;
mod mouse;
mod withdraw;

pub(crate) use data::{News, Reading};
pub(crate) use detail::{DetailView, Load, Pane, Rendering};

use crate::action::Action;
use crate::changes::Changes;
use crate::contact::{self, Contact};
use crate::event::{Effect, Event, Now, Request};
use crate::filter::{self, Filter};
use crate::glyphs::Glyphs;
use crate::keymap::Place;
use crate::list::{self, ListView, Selection, Sort, SortKey};
use crate::panel::WithdrawPanel;
use crate::store::Mitigations;
use crate::theme::{Meaning, Theme};
use crate::view::Class;
use prefixd_api::ids::MitigationId;
use prefixd_api::mitigation::Mitigation;
use prefixd_api::resource::{HealthDetail, Mode, Peer, Stats};
use prefixd_api::role::Role;
use prefixd_api::show::Zone;
use prefixd_api::time::Timestamp;
use ratatui::layout::Rect;
use std::collections::VecDeque;
use std::time::Duration;
use tui_input::Input;

/// How long a message stays in the context line.
const FLASH_FOR: Duration = Duration::from_secs(8);

/// What does not change while the console runs, and what a person switches.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) theme: Theme,
    pub(crate) glyphs: Glyphs,
    pub(crate) readonly: bool,
    /// Where the daemon is, as shown to the person.
    pub(crate) api: String,
    pub(crate) mouse: bool,
    pub(crate) absolute_times: bool,
    pub(crate) zone: Zone,
}

/// Whom the console talks to, and as whom.
#[derive(Clone, Debug, Default)]
pub(crate) struct Identity {
    pub(crate) pop: Option<String>,
    pub(crate) mode: Option<Mode>,
    pub(crate) role: Option<Role>,
}

/// The screen below everything else.
#[derive(Clone, Debug)]
pub(crate) enum Screen {
    Overview,
    List,
    Detail(Box<DetailView>),
}

/// What lies over the screen and has the keys.
#[derive(Clone, Debug)]
pub(crate) enum Modal {
    None,
    Filter(FilterLine),
    Sort {
        row: usize,
    },
    Help {
        of: Place,
        scroll: usize,
    },
    Withdraw(Box<WithdrawPanel>),
    /// The screen is printed as plain text; any key ends it.
    Dump,
}

/// The filter being typed. The list follows while it can be read.
#[derive(Clone, Debug)]
pub(crate) struct FilterLine {
    pub(crate) input: Input,
    pub(crate) error: Option<String>,
    before: Filter,
}

/// A message for a few seconds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Flash {
    pub(crate) text: String,
    pub(crate) meaning: Meaning,
    until: Duration,
}

/// The console.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) now: Now,
    pub(crate) area: Rect,
    pub(crate) settings: Settings,
    pub(crate) contact: Contact,
    pub(crate) identity: Identity,
    pub(crate) health: Option<HealthDetail>,
    pub(crate) stats: Option<Stats>,
    pub(crate) peers: Vec<Peer>,
    pub(crate) store: Mitigations,
    /// What the overview shows.
    worst: Filter,
    pub(crate) overview: Selection,
    pub(crate) list: ListView,
    pub(crate) screen: Screen,
    pub(crate) modal: Modal,
    pub(crate) changes: Changes,
    pub(crate) news: VecDeque<News>,
    pub(crate) flash: Option<Flash>,
    /// The beginning of longer keys.
    pub(crate) prefix: Option<String>,
    /// Server clock minus ours, in microseconds.
    skew: i64,
    polls: data::Polls,
    interrupted: Option<Duration>,
    strays: keys::Strays,
    last_click: Option<(Duration, MitigationId)>,
    /// Rows changed since the lists were last put in order.
    unsettled: bool,
}

impl App {
    pub(crate) fn new(settings: Settings, now: Now, area: Rect) -> Self {
        let filter = Filter::parse(filter::DEFAULT).unwrap_or_else(|_| Filter::everything());
        Self {
            now,
            area,
            settings,
            contact: Contact::default(),
            identity: Identity::default(),
            health: None,
            stats: None,
            peers: Vec::new(),
            store: Mitigations::default(),
            overview: Selection::at_top(),
            list: ListView::new(filter.clone()),
            worst: filter,
            screen: Screen::Overview,
            modal: Modal::None,
            changes: Changes::default(),
            news: VecDeque::new(),
            flash: None,
            prefix: None,
            skew: 0,
            polls: data::Polls::default(),
            interrupted: None,
            strays: keys::Strays::default(),
            last_click: None,
            unsettled: true,
        }
    }

    /// The first requests.
    pub(crate) fn start(&mut self) -> Vec<Effect> {
        self.read_all()
    }

    /// Takes in what happened; says what to do outside.
    pub(crate) fn update(&mut self, event: Event, now: Now) -> Vec<Effect> {
        self.now = now;
        let effects = match event {
            Event::Key(key) => self.key(key),
            Event::Paste(text) => self.paste(&text),
            Event::Mouse(mouse) => self.mouse(mouse),
            Event::Resize { width, height } => {
                self.resized(Rect::new(0, 0, width, height));
                Vec::new()
            }
            Event::Drawn => {
                if let Modal::Withdraw(panel) = &mut self.modal {
                    panel.drawn(now.uptime);
                }
                Vec::new()
            }
            Event::Tick => self.tick(),
            Event::FeedUp {
                resumed,
                server_time,
                pop,
                mode,
                role,
            } => self.feed_up(resumed, server_time, pop, mode, role),
            Event::FeedAlive => {
                self.contact.feed_heard(now.uptime);
                Vec::new()
            }
            Event::FeedResync => self.read_all(),
            Event::Feed(message) => self.feed(*message),
            Event::FeedLost(reason) => self.feed_lost(&reason),
            Event::Answer(answer) => self.answer(answer),
        };
        if let Modal::Withdraw(panel) = &mut self.modal {
            panel.follow(&self.store);
        }
        effects
    }

    fn resized(&mut self, area: Rect) {
        if area == self.area {
            return;
        }
        self.area = area;
        self.unsettled = true;
        let tiny = self.is_tiny();
        match &mut self.modal {
            // Nobody confirms what the terminal cannot show.
            Modal::Withdraw(_) if tiny => {
                self.modal = Modal::None;
                self.say(
                    Meaning::Warn,
                    "too small: the withdraw panel is closed, nothing was sent",
                );
            }
            Modal::Withdraw(panel) => panel.look_again(),
            Modal::Sort { .. } if tiny => self.modal = Modal::None,
            _ => {}
        }
    }

    /// Whether the terminal is too small for any screen.
    pub(crate) fn is_tiny(&self) -> bool {
        Class::of(self.area) == Class::Tiny
    }

    /// When the screen changes although nothing happens.
    pub(crate) fn wakes_at(&self) -> Option<Duration> {
        match &self.modal {
            Modal::Withdraw(panel) => panel.lives_at().filter(|at| *at > self.now.uptime),
            _ => None,
        }
    }

    /// Puts the lists in order. Done before a frame is drawn and before a key is looked at, not for every change.
    pub(crate) fn settle(&mut self) {
        if !std::mem::take(&mut self.unsettled) {
            return;
        }
        let now = self.server_now();
        let (page, overview_page) = (crate::view::list::page(self), crate::view::overview::page(self));
        let list = &mut self.list;
        let order = list::order(&self.store, &list.filter, list.sort, list.selection.cursor(), now);
        list.selection.settle(order, page);
        list.marks
            .retain(|id| self.store.get(*id).is_some_and(|row| row.status.is_live()));
        let sort = Sort::by(SortKey::Severity);
        let kept = self.overview.cursor().filter(|_| self.overview.is_chosen());
        let order = list::order(&self.store, &self.worst, sort, kept, now);
        self.overview.settle(order, overview_page);
    }

    /// The daemon's clock, as well as it is known. All countdowns use it.
    pub(crate) fn server_now(&self) -> Timestamp {
        Timestamp::from_micros(self.now.wall.as_micros().saturating_add(self.skew))
    }

    /// How far the daemon's clock is from this host's, when that is worth a word.
    pub(crate) fn clock_skew(&self) -> Option<Duration> {
        let skew = Duration::from_micros(self.skew.unsigned_abs());
        (skew > Duration::from_secs(2)).then_some(skew)
    }

    pub(crate) fn contact_state(&self) -> contact::State {
        self.contact.state(self.now.uptime)
    }

    /// Whether the terminal shows plain text instead of the screen.
    pub(crate) const fn is_dumped(&self) -> bool {
        matches!(self.modal, Modal::Dump)
    }

    /// Where keys go.
    pub(crate) fn place(&self) -> Place {
        match (&self.modal, &self.screen) {
            (Modal::Filter(_), _) => Place::FilterLine,
            (Modal::Sort { .. }, _) => Place::SortMenu,
            (Modal::Help { .. }, _) => Place::Help,
            (Modal::Withdraw(_), _) => Place::WithdrawPanel,
            (Modal::None | Modal::Dump, screen) => screen.place(),
        }
    }

    /// Whether an action is to be had now; if not, why.
    ///
    /// # Errors
    /// A few words for the person.
    pub(crate) fn allowed(&self, action: Action) -> Result<(), String> {
        let in_help = matches!(self.modal, Modal::Help { .. });
        if self.is_tiny() && (action.changes_traffic() || !(in_help || action.works_unseen())) {
            return Err("the terminal is smaller than 60x15: q, r and ? work".to_owned());
        }
        if !action.changes_traffic() {
            return Ok(());
        }
        if self.settings.readonly {
            return Err("read-only: started with --readonly".to_owned());
        }
        match self.contact_state() {
            contact::State::Auth => return Err("locked: not signed in".to_owned()),
            state if !state.is_current() => return Err("locked: no contact with the daemon".to_owned()),
            _ => {}
        }
        match self.identity.role {
            Some(role) if role.includes(action.needs()) => Ok(()),
            Some(role) => Err(format!(
                "read-only: your role is {role}, this needs {}",
                action.needs()
            )),
            None => Err("locked: your role is not known yet".to_owned()),
        }
    }

    /// Whether there is something here that an action could be done to.
    pub(crate) fn has_use(&self, action: Action) -> bool {
        match action {
            Action::Withdraw => self.withdrawable().next().is_some(),
            Action::Open | Action::Mark | Action::MarkAll => self.current().is_some(),
            _ => true,
        }
    }

    /// What withdrawing would be about: the marked ones, or the one under the cursor, as far as they are live.
    pub(crate) fn withdrawable(&self) -> impl Iterator<Item = &Mitigation> {
        let marks =
            (matches!(self.screen, Screen::List) && !self.list.marks.is_empty()).then_some(&self.list.marks);
        let marked = marks.into_iter().flatten().filter_map(|id| self.store.get(*id));
        let current = self.current().filter(|_| marks.is_none());
        marked
            .chain(current)
            .filter(|row| row.status.is_live() && !self.changes.is_open(row.mitigation_id))
    }

    /// The mitigation that single actions are about.
    pub(crate) fn current(&self) -> Option<&Mitigation> {
        let id = match &self.screen {
            Screen::Overview => self.overview.cursor(),
            Screen::List => self.list.selection.cursor(),
            Screen::Detail(view) => Some(view.id),
        };
        self.store.get(id?)
    }

    pub(crate) fn say(&mut self, meaning: Meaning, text: impl Into<String>) {
        self.flash = Some(Flash {
            text: text.into(),
            meaning,
            until: self.now.uptime + FLASH_FOR,
        });
    }
}

impl Screen {
    pub(crate) const fn place(&self) -> Place {
        match self {
            Self::Overview => Place::Overview,
            Self::List => Place::List,
            Self::Detail(_) => Place::Detail,
        }
    }
}

/// Wraps requests.
fn requests(requests: impl IntoIterator<Item = Request>) -> Vec<Effect> {
    requests.into_iter().map(Effect::Request).collect()
}

#[cfg(test)]
mod tests;
