//! The rows around every screen: identity and health, tabs, banner, context, hints.

use super::{Class, put, style};
use crate::action::Action;
use crate::app::{App, Modal, Pane, Screen};
use crate::contact::State;
use crate::keymap::{self, Place};
use crate::text;
use crate::theme::Meaning;
use prefixd_api::resource::{HealthDetail, Mode};
use prefixd_api::show::{count, percent, relative, short_id, si};
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::style::Modifier;
use unicode_width::UnicodeWidthStr;

const DRY_RUN: &str = "[DRY-RUN]";

/// The rows of the frame and what is left for the screen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Areas {
    status: Rect,
    tabs: Rect,
    banner: Option<Rect>,
    pub(crate) body: Rect,
    context: Rect,
    hints: Rect,
}

/// Cuts the screen.
pub(crate) fn areas(app: &App) -> Areas {
    let Rect { width, height, .. } = app.area;
    let row = |y: u16| Rect::new(0, y.min(height), width, u16::from(y < height));
    let banner = banner_words(app).map(|_| row(2));
    let top = 2 + u16::from(banner.is_some());
    Areas {
        status: row(0),
        tabs: row(1),
        banner,
        body: Rect::new(0, top.min(height), width, height.saturating_sub(top + 2)),
        context: row(height.saturating_sub(2).max(1)),
        hints: row(height.saturating_sub(1).max(1)),
    }
}

/// Draws the frame; returns the text cursor of the filter line.
pub(super) fn draw(app: &App, buffer: &mut Buffer) -> Option<Position> {
    let areas = areas(app);
    status_row(app, buffer, areas.status);
    for tab in tabs(app) {
        let meaning = if tab.open {
            Meaning::Selection
        } else {
            Meaning::Plain
        };
        put(
            buffer,
            tab.x,
            areas.tabs.y,
            areas.tabs.width.saturating_sub(tab.x),
            &tab.text,
            style(app, meaning),
        );
    }
    if let (Some(area), Some(words)) = (areas.banner, banner_words(app)) {
        buffer.set_style(area, style(app, Meaning::Alarm));
        let words = text::cut(&words, usize::from(area.width));
        put(
            buffer,
            area.x,
            area.y,
            area.width,
            &words,
            style(app, Meaning::Alarm),
        );
    }
    let cursor = context_row(app, buffer, areas.context);
    hint_row(app, buffer, areas.hints);
    cursor
}

/// A field of the status row. Fields with the highest rank go first when there is no room.
struct Field {
    rank: u8,
    text: String,
    right: bool,
    /// Not in the style of the row.
    meaning: Option<Meaning>,
}

/// The row that is always there.
pub(super) fn status_row(app: &App, buffer: &mut Buffer, area: Rect) {
    if area.height == 0 {
        return;
    }
    let mut fields = fields(app, Class::of(app.area) == Class::Wide);
    let width = |fields: &[Field]| fields.iter().map(|field| field.text.width() + 1).sum::<usize>() + 1;
    while width(&fields) > usize::from(area.width) && fields.len() > 1 {
        let worst = fields
            .iter()
            .enumerate()
            .max_by_key(|(_, field)| field.rank)
            .map_or(0, |(index, _)| index);
        fields.remove(worst);
    }
    let meaning = style(
        app,
        if in_alarm(app) {
            Meaning::Alarm
        } else {
            Meaning::Banner
        },
    );
    buffer.set_style(area, meaning);
    let (right, left): (Vec<_>, Vec<_>) = fields.into_iter().partition(|field| field.right);
    let right_width: usize = right.iter().map(|field| field.text.width() + 1).sum();
    let right_at = area
        .right()
        .saturating_sub(u16::try_from(right_width).unwrap_or(0));
    for (mut x, fields) in [(area.x + 1, left), (right_at, right)] {
        for field in fields {
            let style = field.meaning.map_or(meaning, |meaning| {
                style(app, meaning).remove_modifier(Modifier::REVERSED | Modifier::BOLD)
            });
            let room = area.right().saturating_sub(x);
            x = put(buffer, x, area.y, room, &field.text, style) + 1;
        }
    }
}

/// Whether something on the first row is wrong.
fn in_alarm(app: &App) -> bool {
    let healthy = app.health.as_ref().is_none_or(|health| {
        !is_degraded(health)
            && health.store.ok
            && health.peers_established + health.peers_disabled >= health.peers_total
            && health.rules.intended == health.rules.announced
    });
    !healthy || !matches!(app.contact_state(), State::Live(_) | State::Connecting)
}

/// The daemon has a reason to be looked at. A word of a newer one counts as one.
fn is_degraded(health: &HealthDetail) -> bool {
    health.status != "healthy"
}

fn fields(app: &App, long: bool) -> Vec<Field> {
    let mut fields = Vec::new();
    let mut add = |rank, right, text: String| {
        // A console on rehearsed rules must not look like one on real ones.
        let meaning = (text == DRY_RUN).then_some(Meaning::Warn);
        fields.push(Field {
            rank,
            text,
            right,
            meaning,
        });
    };
    let current = app.contact_state().is_current();
    add(10, false, "prefixd".to_owned());
    if let Some(pop) = &app.identity.pop {
        add(0, false, text::cut(pop, 16));
    }
    match app.identity.mode {
        Some(Mode::DryRun) => add(1, false, DRY_RUN.to_owned()),
        Some(Mode::Enforced) => add(1, false, if long { "ENFORCED" } else { "ENF" }.to_owned()),
        None => {}
    }
    if let Some(health) = &app.health {
        if current && is_degraded(health) {
            add(2, false, "DEGRADED".to_owned());
        }
        let (up, all) = (health.peers_established, health.peers_total);
        let off = health.peers_disabled;
        // Whoever is disabled is meant to be down: it is said, and is no alarm.
        let warn = match (up + off < all, off) {
            (true, _) => "!".to_owned(),
            (false, 0) => String::new(),
            (false, off) => format!(" {off} off"),
        };
        add(
            3,
            false,
            if current {
                format!("BGP {up}/{all}{warn}")
            } else {
                "BGP ?".to_owned()
            },
        );
        let store = match (current, health.store.ok) {
            (false, _) => "DB ?",
            (true, true) => "DB ok",
            (true, false) => "DB FAILS!",
        };
        add(6, false, store.to_owned());
        let (want, have) = (health.rules.intended, health.rules.announced);
        let rules = if !current {
            format!("{want}=?")
        } else if want == have {
            format!("{want}={have}")
        } else {
            format!("{want}!={have}")
        };
        add(7, false, if long { format!("rules {rules}") } else { rules });
    }
    if let Some(stats) = &app.stats {
        let quota = stats.quota_pop;
        add(
            8,
            false,
            if current {
                format!("quota {}", percent(quota.used, quota.max))
            } else {
                "quota ?".to_owned()
            },
        );
        if current {
            add(11, false, format!("ev {}/min", si(stats.events_per_minute)));
        }
    }
    if app.settings.readonly {
        add(2, true, "READ-ONLY".to_owned());
    }
    if let Some(role) = app.identity.role {
        add(9, true, role.to_string());
    }
    if let Some(skew) = app.clock_skew() {
        add(5, true, format!("skew {}", relative(skew)));
    }
    add(2, true, contact_words(app.contact_state()));
    add(4, true, super::moment(app, app.server_now()));
    fields
}

fn contact_words(state: State) -> String {
    match state {
        State::Live(age) => format!("LIVE {}.{}s", age.as_secs(), age.subsec_millis() / 100),
        State::Lag(age) | State::Poll(age) | State::Stale(Some(age)) => {
            format!("{} {}", state.word(), relative(age))
        }
        State::Connecting | State::Stale(None) | State::Auth => state.word().to_owned(),
    }
}

/// What everybody must see when there is no contact.
fn banner_words(app: &App) -> Option<String> {
    let (reason, wait, attempts) =
        app.contact
            .trouble(app.now.uptime)
            .unwrap_or(("no answer", std::time::Duration::ZERO, 1));
    let reason = text::cut(reason, 60);
    let retry = format!("retry {attempts} in {}", relative(wait));
    match app.contact_state() {
        // On the socket no token counts: who the process belongs to does.
        State::Auth if app.settings.api.starts_with("unix:") => Some(format!(
            "!! NOT SIGNED IN: use sudo, or ask for its viewer or operator group. {reason}"
        )),
        State::Auth => Some(format!(
            "!! NOT SIGNED IN at {}: start again with --token-file. {reason}",
            app.settings.api
        )),
        State::Stale(Some(age)) => Some(format!(
            "!! NO CONTACT {}, {retry}. Actions locked. {reason}",
            relative(age)
        )),
        State::Stale(None) => Some(format!(
            "!! NO CONTACT with {}, {retry}. {reason}",
            app.settings.api
        )),
        _ => app
            .first_refusal()
            .map(|(what, words)| format!("!! REFUSED {}: {words}", what.words()))
            .or_else(|| degraded_words(app)),
    }
}

/// Why the daemon is degraded, where no pane says so.
fn degraded_words(app: &App) -> Option<String> {
    let has_pane = matches!(app.screen, Screen::Overview) && Class::of(app.area) >= Class::Normal;
    // The panel needs the rows of a small terminal, and row 0 says it too.
    let asks = matches!(app.modal, Modal::Withdraw(_));
    let health = app
        .health
        .as_ref()
        .filter(|health| is_degraded(health) && !has_pane && !asks)?;
    Some(format!("!! DEGRADED: {}", health.reasons.join("; ")))
}

struct Tab {
    x: u16,
    text: String,
    open: bool,
    action: Action,
}

fn tabs(app: &App) -> Vec<Tab> {
    let narrow = Class::of(app.area) < Class::Normal;
    let active = count(app.store.announced() as u64);
    let overview = matches!(app.screen, Screen::Overview);
    let texts = if narrow {
        [" 1 Ovr ".to_owned(), format!(" 2 Mit {active} ")]
    } else {
        [" 1 Overview ".to_owned(), format!(" 2 Mitigations {active} ")]
    };
    let mut x = 1;
    texts
        .into_iter()
        .zip([(overview, Action::GoOverview), (!overview, Action::GoMitigations)])
        .map(|(text, (open, action))| {
            let tab = Tab {
                x,
                open,
                action,
                text,
            };
            x += u16::try_from(tab.text.width()).unwrap_or(0) + 1;
            tab
        })
        .collect()
}

/// The tab at a cell.
pub(crate) fn tab_at(app: &App, x: u16, y: u16) -> Option<Action> {
    if Class::of(app.area) == Class::Tiny || y != areas(app).tabs.y {
        return None;
    }
    tabs(app)
        .into_iter()
        .find(|tab| (tab.x..tab.x + u16::try_from(tab.text.width()).unwrap_or(0)).contains(&x))
        .map(|tab| tab.action)
}

/// A message, the filter line, or where the person is.
pub(super) fn context_row(app: &App, buffer: &mut Buffer, area: Rect) -> Option<Position> {
    if let Modal::Filter(line) = &app.modal {
        let after = put(
            buffer,
            area.x,
            area.y,
            area.width,
            " / ",
            style(app, Meaning::Info),
        );
        let room = area.width.saturating_sub(after + 1);
        let scroll = line.input.visual_scroll(usize::from(room));
        let shown: String = text_from(line.input.value(), scroll);
        let end = put(buffer, after, area.y, room, &shown, style(app, Meaning::Plain));
        if let Some(error) = &line.error {
            put(
                buffer,
                end + 2,
                area.y,
                area.width.saturating_sub(end + 2),
                error,
                style(app, Meaning::Down),
            );
        }
        let cursor = u16::try_from(line.input.visual_cursor().saturating_sub(scroll)).unwrap_or(0);
        return Some(Position {
            x: (after + cursor).min(area.right().saturating_sub(1)),
            y: area.y,
        });
    }
    let (words, meaning) = match &app.flash {
        // What w would be about is said beside every message.
        Some(flash) => (format!("{}{}", marks_words(app), flash.text), flash.meaning),
        None => (context_words(app), Meaning::Low),
    };
    let room = area.width.saturating_sub(1);
    let words = text::cut(&words, usize::from(room));
    put(buffer, area.x + 1, area.y, room, &words, style(app, meaning));
    None
}

/// The text after `columns` cells.
pub(super) fn text_from(text: &str, columns: usize) -> String {
    let mut skipped = 0;
    text.chars()
        .skip_while(|letter| {
            let skip = skipped < columns;
            skipped += unicode_width::UnicodeWidthChar::width(*letter).unwrap_or(0);
            skip
        })
        .collect()
}

fn context_words(app: &App) -> String {
    match app.changes.open() {
        0 => place_words(app),
        open => format!("withdrawing {}...  {}", count(open as u64), place_words(app)),
    }
}

fn place_words(app: &App) -> String {
    let current = app.contact_state().is_current();
    match &app.screen {
        Screen::Overview => {
            let zone = text::zone_name(app.settings.zone);
            match (&app.stats, current) {
                (Some(stats), true) => {
                    // The estimate of the daemon's clock may be a little behind.
                    let at = stats.at.min(app.server_now());
                    format!("counted {}, times in {zone}", super::when_both(app, at))
                }
                (Some(stats), false) => format!("LAST KNOWN {}", super::moment(app, stats.at)),
                (None, _) => "reading...".to_owned(),
            }
        }
        Screen::List => list_words(app, current),
        Screen::Detail(view) => {
            let name = app
                .store
                .get(view.id)
                .map_or_else(String::new, |row| row.victim_ip.to_string());
            let panes: Vec<_> = Pane::ALL
                .into_iter()
                .map(|pane| {
                    if pane == view.pane {
                        format!("[{}]", pane.title())
                    } else {
                        pane.title().to_owned()
                    }
                })
                .collect();
            format!(
                "Mitigations > {name} > {}   {}",
                short_id(view.id),
                panes.join(" ")
            )
        }
    }
}

/// The marks of the list, and how many of them are not seen; never cut off, because `w` is about them.
fn marks_words(app: &App) -> String {
    if !matches!(app.screen, Screen::List) || app.list.marks.is_empty() {
        return String::new();
    }
    let hidden = match app.list.hidden_marks() {
        0 => String::new(),
        hidden => format!(" ({} hidden)", count(hidden as u64)),
    };
    format!("marks {}{hidden}  ", count(app.list.marks.len() as u64))
}

fn list_words(app: &App, current: bool) -> String {
    let selection = &app.list.selection;
    let shown = selection.order().len();
    let first = (selection.offset() + 1).min(shown);
    let last = (selection.offset() + app_page(app)).min(shown);
    let sort = app.list.sort;
    let mut words = format!(
        "{}-{} of {}",
        count(first as u64),
        count(last as u64),
        count(shown as u64)
    );
    if !current {
        words.push_str("  LAST KNOWN");
    }
    words.push_str("  ");
    words.push_str(&marks_words(app));
    words.push_str(&format!(
        "filter: {}  sort: {} {}",
        if app.list.filter.text().is_empty() {
            "none"
        } else {
            app.list.filter.text()
        },
        sort.key.name(),
        if sort.descending { "desc" } else { "asc" },
    ));
    if app.list.filter.wants_ended() && app.store.has_more_ended() {
        words.push_str("  (of the ended ones the newest)");
    }
    if app.awaits_ended() {
        words.push_str("  (the ended ones are not read)");
    }
    if current && app.settings.absolute_times {
        words.push_str(&format!("  {}", text::zone_name(app.settings.zone)));
    }
    words
}

fn app_page(app: &App) -> usize {
    super::list::page(app)
}

/// The word for an action in the hint line.
fn hint(app: &App, action: Action) -> Option<&'static str> {
    match (action, &app.screen) {
        (Action::Back, _) if app.is_tiny() => Some("quit"),
        (Action::Refresh, _) if app.is_tiny() => Some("read again"),
        (Action::Back, Screen::Overview | Screen::List) => Some("quit"),
        _ => action.about().hint,
    }
}

/// Whether there is more of what lies over the screen than is seen.
fn scrolls(app: &App) -> bool {
    match &app.modal {
        Modal::Help { of, .. } => super::help::limit(app, *of) > 0,
        Modal::Withdraw(panel) => super::panel::limit(app, panel) > 0,
        _ => false,
    }
}

/// Keys that do something here, for this role, now.
pub(super) fn hint_row(app: &App, buffer: &mut Buffer, area: Rect) {
    let place = app.place();
    let hints: Vec<(String, &str)> = match &app.prefix {
        Some(prefix) => keymap::continuations(place, prefix)
            .into_iter()
            .map(|(key, action)| (key.to_owned(), action.about().help))
            .collect(),
        None => keymap::bindings_of(place)
            .filter(|binding| app.allowed(binding.action).is_ok() && app.has_use(binding.action))
            .filter_map(|binding| Some(((*binding.keys.first()?).to_owned(), hint(app, binding.action)?)))
            .chain(scrolls(app).then(|| ("j k".to_owned(), "scroll")))
            .collect(),
    };
    let mut x = area.x + 1;
    if let Some(prefix) = &app.prefix {
        x = put(
            buffer,
            x,
            area.y,
            area.width,
            &format!("{prefix} ... "),
            style(app, Meaning::Info),
        );
    }
    let help_room = if place == Place::Help { 0 } else { 8 };
    let last = hints.len().saturating_sub(1);
    for (index, (key, words)) in hints.iter().enumerate() {
        let width = u16::try_from(key.width() + words.width() + 1).unwrap_or(u16::MAX);
        let reserve = if index == last { 0 } else { help_room };
        // `? help` always fits: whatever else does not is in there.
        if *words != "help" && x.saturating_add(width + reserve) > area.right() {
            continue;
        }
        x = put(
            buffer,
            x,
            area.y,
            area.right().saturating_sub(x),
            key,
            style(app, Meaning::Info),
        );
        x = put(
            buffer,
            x + 1,
            area.y,
            area.right().saturating_sub(x + 1),
            words,
            style(app, Meaning::Plain),
        ) + 2;
    }
}
