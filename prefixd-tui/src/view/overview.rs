//! The first screen: are we under attack, are we filtering, does anything need a person.

use super::list::{last_known, table, unread_words};
use super::pane::{self, Line, boxed, line, pair};
use super::summary::wrapped;
use super::{Class, frame, put, style};
use crate::app::App;
use crate::text;
use crate::theme::Meaning;
use prefixd_api::resource::{HealthDetail, Mode, Peer, PeerState, Usage};
use prefixd_api::show::{count, relative};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

/// Title of the pane of what happened.
const FEED: &str = "Feed";

/// Where everything is. Panes without room are empty.
struct Parts {
    system: Rect,
    counts: Rect,
    quotas: Rect,
    vectors: Rect,
    customers: Rect,
    outcomes: Rect,
    worst: Rect,
    feed: Rect,
}

fn parts(app: &App) -> Parts {
    let body = frame::areas(app).body;
    let none = Rect::new(body.x, body.y, 0, 0);
    let third = |index: u16, y: u16, height: u16| {
        let width = body.width / 3;
        let x = body.x + index * width;
        let width = if index == 2 { body.right() - x } else { width };
        Rect { x, y, width, height }
    };
    let below = |rows: u16| Rect {
        y: body.y + rows.min(body.height),
        height: body.height.saturating_sub(rows),
        ..body
    };
    let mut parts = Parts {
        system: none,
        counts: none,
        quotas: none,
        vectors: none,
        customers: none,
        outcomes: none,
        worst: body,
        feed: none,
    };
    match Class::of(app.area) {
        Class::Tiny | Class::Small => {}
        Class::Normal => {
            let half = body.width / 2;
            parts.system = Rect {
                height: 8,
                width: half,
                ..body
            };
            parts.counts = Rect {
                x: body.x + half,
                height: 8,
                width: body.width - half,
                ..body
            };
            parts.worst = below(8);
        }
        Class::Wide => {
            (parts.system, parts.counts, parts.quotas) =
                (third(0, body.y, 9), third(1, body.y, 9), third(2, body.y, 9));
            let y = body.y + 9;
            (parts.vectors, parts.customers, parts.outcomes) =
                (third(0, y, 10), third(1, y, 10), third(2, y, 10));
            let rest = below(19);
            let feed = third(2, rest.y, rest.height);
            parts.worst = Rect {
                width: body.width - feed.width,
                ..rest
            };
            parts.feed = feed;
        }
    }
    parts
}

/// The inside of the table of the worst ones: boxed where there is room.
fn worst_inside(app: &App) -> Rect {
    let area = parts(app).worst;
    if Class::of(app.area) < Class::Normal || area.width < 4 || area.height < 2 {
        return area;
    }
    Rect {
        x: area.x + 1,
        y: area.y + 1,
        width: area.width - 2,
        height: area.height - 2,
    }
}

/// Rows of mitigations on the screen.
pub(crate) fn page(app: &App) -> usize {
    usize::from(worst_inside(app).height.saturating_sub(1))
}

/// The row of the table at a cell.
pub(crate) fn row_at(app: &App, x: u16, y: u16) -> Option<usize> {
    let area = worst_inside(app);
    let inside = (area.x..area.right()).contains(&x) && (area.y + 1..area.bottom()).contains(&y);
    inside.then(|| app.overview.offset() + usize::from(y - area.y - 1))
}

pub(super) fn draw(app: &App, buffer: &mut Buffer, _body: Rect) {
    let parts = parts(app);
    for (area, title, content) in [
        (parts.system, "System", system as fn(&App, Rect) -> Vec<Line>),
        (parts.counts, "Counts", counts),
        (parts.quotas, "Quotas", quotas),
        (parts.vectors, "By vector", vectors),
        (parts.customers, "By customer", customers),
        (parts.outcomes, "Events since start, by outcome", outcomes),
        (parts.feed, FEED, feed),
    ] {
        if area.width > 0 {
            // News stay true; the rest is of the moment of the last contact.
            let is_old = !app.contact_state().is_current() && title != FEED;
            let note = if is_old { "last known" } else { "" };
            let inside = boxed(app, buffer, area, false, title, note);
            let mut content = content(app, inside);
            if is_old {
                for (_, meaning) in content.iter_mut().flatten() {
                    *meaning = Meaning::Low;
                }
            }
            pane::lines(app, buffer, inside, &content, 0);
            let hidden = content.len().saturating_sub(usize::from(inside.height));
            if hidden > 0 {
                pane::below(app, buffer, area, hidden);
            }
        }
    }
    if Class::of(app.area) >= Class::Normal {
        let title = if is_dry_run(app) {
            "Would be announced, worst first"
        } else {
            "Announced, worst first"
        };
        boxed(app, buffer, parts.worst, true, title, &worst_words(app));
    }
    let area = worst_inside(app);
    let without: &[&str] = if Class::of(app.area) == Class::Wide {
        &["CONF", "PPS", "AGE", "PEERS"]
    } else {
        &["PPS", "AGE", "CONF"]
    };
    table(app, buffer, area, &app.overview, None, without);
    if app.overview.order().is_empty() {
        let (words, meaning) = empty_words(app);
        put(
            buffer,
            area.x + 2,
            area.y + 2,
            area.width.saturating_sub(2),
            &words,
            style(app, meaning),
        );
    }
}

/// Which of how many are on the screen.
fn worst_words(app: &App) -> String {
    let (all, page) = (app.overview.order().len(), page(app));
    if all <= page {
        return if all == 0 {
            String::new()
        } else {
            format!("all {all}")
        };
    }
    let first = app.overview.offset();
    format!(
        "{}-{} of {}",
        count(first as u64 + 1),
        count((first + page).min(all) as u64),
        count(all as u64)
    )
}

fn is_dry_run(app: &App) -> bool {
    app.identity.mode == Some(Mode::DryRun)
}

fn empty_words(app: &App) -> (String, Meaning) {
    if !app.store.is_loaded() {
        return (unread_words(app), Meaning::Low);
    }
    match last_known(app) {
        Some(when) => (format!("Nothing was announced {when}."), Meaning::Warn),
        None => (
            "Nothing is announced: no attack is being filtered.".to_owned(),
            Meaning::Ok,
        ),
    }
}

/// What a person must see first: sessions that are down, and why the daemon is degraded.
fn system(app: &App, inside: Rect) -> Vec<Line> {
    let (up, down): (Vec<_>, Vec<_>) = app
        .peers
        .iter()
        .partition(|peer| peer.state == PeerState::Established);
    let (off, down): (Vec<_>, Vec<_>) = down.into_iter().partition(|peer| peer.disabled.is_some());
    let up: Vec<_> = off.into_iter().chain(up).collect();
    let of_down = |peer: &&Peer| [Some(peer_line(app, peer)), held_line(app, peer)];
    let mut lines: Vec<Line> = down.iter().flat_map(of_down).flatten().collect();
    let parts = app.health.as_ref().map_or_else(
        || vec![line(Meaning::Low, "reading...")],
        |health| {
            for reason in reasons(app, health, &down) {
                lines.extend(wrapped(reason, inside.width, Meaning::Down));
            }
            parts_of_daemon(app, health)
        },
    );
    let room = usize::from(inside.height).saturating_sub(lines.len() + parts.len());
    if up.len() <= room {
        lines.extend(up.iter().map(|peer| peer_line(app, peer)));
    } else if room > 0 {
        lines.extend(up.iter().take(room - 1).map(|peer| peer_line(app, peer)));
        let more = up.len() - (room - 1);
        let words = if app.contact_state().is_current() {
            format!("{more} more, none down")
        } else {
            format!("{more} more: ?")
        };
        lines.push(line(Meaning::Low, words));
    }
    if app.peers.is_empty() {
        lines.push(line(Meaning::Low, "no neighbours known"));
    }
    lines.extend(parts);
    lines
}

/// The reasons that the lines of the neighbours do not say already.
fn reasons<'a>(app: &App, health: &'a HealthDetail, down: &[&Peer]) -> Vec<&'a str> {
    let is_said = |reason: &str| {
        down.iter().any(|peer| {
            reason
                .strip_prefix("the session with ")
                .and_then(|rest| rest.strip_prefix(peer.name.as_str()))
                .is_some_and(|rest| rest.starts_with(" is "))
        })
    };
    health
        .reasons
        .iter()
        .map(String::as_str)
        .filter(|reason| app.contact_state().is_current() && !is_said(reason))
        .collect()
}

fn peer_line(app: &App, peer: &Peer) -> Line {
    let since = relative(app.server_now().since(peer.since));
    let (state, meaning) = match peer.state {
        _ if !app.contact_state().is_current() => ("?".to_owned(), Meaning::Warn),
        PeerState::Established => {
            // Only what is not the ordinary case: by default the rules go when prefixd goes.
            let keeps = peer
                .on_loss
                .as_ref()
                .is_some_and(|on_loss| on_loss.keeps_seconds > 0);
            let kept = if keeps { "  keeps" } else { "" };
            let missing = peer.rules_over_budget + peer.rules_quarantined + peer.rules_unsupported;
            let (missing, meaning) = match missing {
                0 => (String::new(), Meaning::Ok),
                some => (format!("  {} not there", count(some)), Meaning::Warn),
            };
            (
                format!(
                    "up {since}  {} rules{missing}{kept}",
                    count(peer.rules_advertised)
                ),
                meaning,
            )
        }
        PeerState::Disabled => {
            let by = peer
                .disabled
                .as_ref()
                .map_or_else(String::new, |disabled| format!(" by {}", disabled.disabled_by));
            (format!("off {since}{by}"), Meaning::Warn)
        }
        state => (format!("DOWN !! {since} ({state})"), Meaning::Down),
    };
    vec![
        (format!("{:<11}", text::cut(&peer.name, 10)), Meaning::Plain),
        (state, meaning),
    ]
}

/// A session that was lost in silence, while the router may hold what it was told.
fn held_line(app: &App, peer: &Peer) -> Option<Line> {
    let left = relative(peer.may_hold_until?.since(app.server_now()));
    let is_known = app.contact_state().is_current();
    is_known.then(|| line(Meaning::Warn, format!("  may hold rules {left}")))
}

/// Store, queue and drift. Without contact nobody knows them.
fn parts_of_daemon(app: &App, health: &HealthDetail) -> Vec<Line> {
    if !app.contact_state().is_current() {
        return ["store", "events", "drift"]
            .map(|name| pair(name, "?", Meaning::Warn))
            .into();
    }
    let store = if health.store.ok {
        (format!("{} ok", health.store.backend), Meaning::Ok)
    } else {
        let since = health
            .store
            .failing_since
            .map(|at| relative(app.server_now().since(at)))
            .unwrap_or_default();
        (format!("{} FAILS {since}", health.store.backend), Meaning::Down)
    };
    let queue = health.engine.queue;
    let rate = app
        .stats
        .as_ref()
        .map_or_else(|| "?".to_owned(), |stats| count(stats.events_per_minute));
    let drift = if health.drift_total == 0 {
        Meaning::Ok
    } else {
        Meaning::Warn
    };
    vec![
        pair("store", store.0, store.1),
        pair(
            "events",
            format!("{rate}/min, queue {}/{}", count(queue.used), count(queue.max)),
            Meaning::Plain,
        ),
        pair(
            "drift",
            format!("{} repaired since start", count(health.drift_total)),
            drift,
        ),
    ]
}

fn counts(app: &App, _inside: Rect) -> Vec<Line> {
    let Some(stats) = &app.stats else {
        return vec![line(Meaning::Low, "reading...")];
    };
    let listed = |parts: Vec<String>| {
        if parts.is_empty() {
            "none".to_owned()
        } else {
            parts.join(", ")
        }
    };
    let actions = stats
        .by_action
        .iter()
        .rev()
        .map(|(action, used)| format!("{action} {}", count(*used)))
        .collect();
    let severities = stats
        .by_severity
        .iter()
        .rev()
        .map(|(severity, used)| format!("{} {}", text::severity_word(*severity), count(*used)))
        .collect::<Vec<_>>();
    let waiting = if stats.pending > 0 {
        Meaning::Warn
    } else {
        Meaning::Plain
    };
    let mut lines = vec![
        vec![
            (
                format!("{:<11}", if is_dry_run(app) { "dry-run" } else { "announced" }),
                Meaning::Low,
            ),
            (count(stats.active), Meaning::Title),
            (format!(", escalated {}", count(stats.escalated)), Meaning::Plain),
        ],
        pair("actions", listed(actions), Meaning::Plain),
        pair("severity", severities.join(" "), Meaning::Plain),
        pair(
            "waiting",
            format!("pending {}, ending {}", count(stats.pending), count(stats.ending)),
            waiting,
        ),
    ];
    // Where there is room for them, quotas have a pane of their own.
    if Class::of(app.area) < Class::Wide {
        lines.push(usage_line(app, "new/min", stats.new_per_minute, 9));
        lines.push(usage_line(app, "quota", stats.quota_pop, 9));
    }
    lines
}

/// `name  [####......]  102/500`; a bound that is reached says so.
fn usage_line(app: &App, name: &str, usage: Usage, width: usize) -> Line {
    let full = usage.max > 0 && usage.used >= usage.max;
    let meaning = match usage {
        _ if full => Meaning::Down,
        Usage { used, max } if used.saturating_mul(5) >= max.saturating_mul(4) && max > 0 => Meaning::Warn,
        _ => Meaning::Ok,
    };
    let bar = app.settings.glyphs.bar(usage.used, usage.max, width);
    let word = if full { " FULL" } else { "" };
    vec![
        (format!("{:<10} ", text::cut(name, 10)), Meaning::Low),
        (bar, meaning),
        (
            format!(" {}/{}{word}", count(usage.used), count(usage.max)),
            if full { Meaning::Down } else { Meaning::Plain },
        ),
    ]
}

fn quotas(app: &App, _inside: Rect) -> Vec<Line> {
    let Some(stats) = &app.stats else {
        return vec![line(Meaning::Low, "reading...")];
    };
    let mut lines = vec![
        usage_line(app, "global", stats.quota_global, 10),
        usage_line(app, &stats.pop, stats.quota_pop, 10),
        usage_line(app, "new/min", stats.new_per_minute, 10),
    ];
    lines.extend(
        fullest(stats)
            .into_iter()
            .map(|(name, usage)| usage_line(app, name, usage, 10)),
    );
    lines
}

/// Customers by how much of their quota is used.
fn fullest(stats: &prefixd_api::resource::Stats) -> Vec<(&str, Usage)> {
    let mut customers: Vec<_> = stats
        .by_customer
        .iter()
        .map(|(name, usage)| (name.as_str(), *usage))
        .collect();
    customers
        .sort_by_key(|(_, usage)| std::cmp::Reverse(usage.used.saturating_mul(1_000) / usage.max.max(1)));
    customers
}

fn bars<'a>(app: &App, inside: Rect, rows: impl Iterator<Item = (&'a str, u64)>) -> Vec<Line> {
    let mut rows: Vec<_> = rows.collect();
    rows.sort_by_key(|(_, used)| std::cmp::Reverse(*used));
    let most = rows.first().map_or(1, |(_, used)| *used);
    let width = usize::from(inside.width).saturating_sub(29).clamp(4, 30);
    rows.into_iter()
        .map(|(name, used)| {
            vec![
                (format!("{:<20} ", text::cut(name, 20)), Meaning::Plain),
                (format!("{:>6} ", count(used)), Meaning::Title),
                (app.settings.glyphs.bar(used, most, width), Meaning::Medium),
            ]
        })
        .collect()
}

fn vectors(app: &App, inside: Rect) -> Vec<Line> {
    app.stats.as_ref().map_or_else(Vec::new, |stats| {
        bars(
            app,
            inside,
            stats.by_vector.iter().map(|(name, used)| (name.as_str(), *used)),
        )
    })
}

fn customers(app: &App, inside: Rect) -> Vec<Line> {
    app.stats.as_ref().map_or_else(Vec::new, |stats| {
        bars(
            app,
            inside,
            stats
                .by_customer
                .iter()
                .map(|(name, usage)| (name.as_str(), usage.used)),
        )
    })
}

fn outcomes(app: &App, inside: Rect) -> Vec<Line> {
    app.stats.as_ref().map_or_else(Vec::new, |stats| {
        bars(
            app,
            inside,
            stats
                .events_by_outcome
                .iter()
                .filter(|(_, used)| **used > 0)
                .map(|(name, used)| (name.as_str(), *used)),
        )
    })
}

fn feed(app: &App, inside: Rect) -> Vec<Line> {
    if app.news.is_empty() {
        let words = "nothing happened since the console started";
        return wrapped(words, inside.width, Meaning::Low).collect();
    }
    app.news
        .iter()
        .take(usize::from(inside.height))
        .map(|news| {
            let at = text::short_moment(news.at, app.server_now(), app.settings.zone);
            vec![
                (format!("{at} "), Meaning::Low),
                (news.text.clone(), news.meaning),
            ]
        })
        .collect()
}
