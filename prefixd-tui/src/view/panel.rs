//! The withdraw panel: which, how many, what it lets through, and what is still missing.

use super::pane::{self, Line, line, overlay};
use super::{Class, action_words, put, severity_meaning, style};
use crate::app::App;
use crate::panel::{Focus, Hold, Reason, WithdrawPanel};
use crate::text;
use crate::theme::Meaning;
use prefixd_api::mitigation::{Claim, Mitigation, OriginKind};
use prefixd_api::show::{relative, si_unit};
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use std::collections::BTreeSet;
use std::sync::Arc;
use unicode_width::UnicodeWidthStr;

/// Targets shown at once.
const SHOWN: usize = 8;
/// Text of fields starts here.
const FIELD_AT: u16 = 12;

/// Draws it; returns the text cursor of the field that has the focus.
pub(super) fn draw(app: &App, panel: &WithdrawPanel, buffer: &mut Buffer, body: Rect) -> Option<Position> {
    let count = panel.targets.len();
    let small = is_small(app);
    let whose = match app.list.hidden_marks() {
        0 if small => "not the cursor row".to_owned(),
        0 => "not only the cursor row".to_owned(),
        hidden if small => format!("{hidden} hidden"),
        hidden => format!("{hidden} hidden by the filter"),
    };
    let what = match (panel.marked, count) {
        (true, _) if small => format!("WITHDRAW {count} MARKED ({whose})"),
        (true, 1) => format!("WITHDRAW 1 MARKED MITIGATION ({whose})"),
        (true, _) => format!("WITHDRAW {count} MARKED MITIGATIONS ({whose})"),
        (false, _) => "WITHDRAW 1 MITIGATION".to_owned(),
    };
    let room = width_inside(body);
    let fields = field_lines(app, panel, room, small);
    let shown = shown(app, panel, body);
    let head = head_lines(app, panel, shown, room, small);
    let height = u16::try_from(head.len() + fields.lines.len() + 2).unwrap_or(u16::MAX);
    let area = if small {
        body
    } else {
        pane::centred(body, 96, height)
    };
    let note = if small && count > shown {
        format!("{} of {count}, j k", panel.scroll.min(count - shown) + 1)
    } else {
        "Esc cancels".to_owned()
    };
    let inside = overlay(app, buffer, area, &what, &note);
    // What has to be typed and pressed never scrolls away; what it is about gives way.
    let kept = usize::from(inside.height)
        .saturating_sub(fields.lines.len())
        .min(head.len());
    pane::lines(app, buffer, inside, &head[..kept], 0);
    let fields_at = inside.y + u16::try_from(kept).unwrap_or(0);
    let below = Rect {
        y: fields_at,
        height: inside.bottom().saturating_sub(fields_at),
        ..inside
    };
    pane::lines(app, buffer, below, &fields.lines, 0);
    draw_fields(app, panel, &fields, buffer, below)
}

fn is_small(app: &App) -> bool {
    Class::of(app.area) < Class::Normal
}

fn width_inside(body: Rect) -> usize {
    usize::from(body.width.min(96).saturating_sub(4))
}

/// How many targets can be shown so that what withdrawing does, and what has to be pressed, is seen as well.
fn shown(app: &App, panel: &WithdrawPanel, body: Rect) -> usize {
    let (count, small) = (panel.targets.len(), is_small(app));
    let width = width_inside(body);
    let fields = field_lines(app, panel, width, small).lines.len();
    let fits = |shown: usize| {
        let lines = head_lines(app, panel, shown, width, small).len() + fields;
        lines + 2 <= usize::from(body.height)
    };
    let most = count.min(if small { 1 } else { SHOWN });
    (1..=most).rev().find(|shown| fits(*shown)).unwrap_or(most.min(1))
}

/// How far the targets can be scrolled.
pub(crate) fn limit(app: &App, panel: &WithdrawPanel) -> usize {
    let body = super::frame::areas(app).body;
    panel.targets.len().saturating_sub(shown(app, panel, body))
}

/// The targets and what withdrawing them does.
fn head_lines(app: &App, panel: &WithdrawPanel, shown: usize, width: usize, small: bool) -> Vec<Line> {
    let count = panel.targets.len();
    let mut head = Vec::new();
    let first = panel.scroll.min(count.saturating_sub(shown));
    for target in panel.targets.iter().skip(first).take(shown) {
        let row = app.store.get(target.id).unwrap_or(&target.shown);
        let vector = if small { 0 } else { 12 };
        head.push(vec![
            (
                text::pad(&text::cut_middle(&row.victim_ip.to_string(), 16), 17),
                Meaning::Title,
            ),
            (
                text::pad(&text::cut(&row.vector, vector), if small { 0 } else { 13 }),
                Meaning::Plain,
            ),
            (
                text::pad(&text::cut(&action_words(row), 12), 13),
                severity_meaning(row.severity),
            ),
            (
                text::cut(
                    &attack_words(app, row),
                    width.saturating_sub(if small { 30 } else { 43 }),
                ),
                Meaning::Plain,
            ),
        ]);
    }
    // A small panel says it in its border.
    if count > shown && !small {
        head.push(line(
            Meaning::Low,
            format!("{} to {} of {count}; j k scroll", first + 1, first + shown),
        ));
    }
    if panel.ended > 0 || panel.changed {
        let mut words = Vec::new();
        if panel.ended > 0 {
            words.push(format!("{} ended meanwhile", panel.ended));
        }
        if panel.changed {
            words.push("a rule changed meanwhile: look again".to_owned());
        }
        head.push(line(Meaning::Warn, words.join("; ")));
    }
    let gap = (!small).then(Vec::new);
    head.extend(gap.clone());
    head.extend(effect_lines(app, panel, width));
    head.extend(gap);
    head
}

/// The fields, and in which of their lines text is typed.
struct Fields {
    lines: Vec<Line>,
    words_row: u16,
    count_row: Option<u16>,
}

fn field_lines(app: &App, panel: &WithdrawPanel, width: usize, small: bool) -> Fields {
    let count = panel.targets.len();
    let choices: Vec<_> = Reason::ALL
        .iter()
        .enumerate()
        .map(|(index, reason)| format!("{} {}", index + 1, reason.words()))
        .collect();
    // Where rows are few, a choice that is made gives way to what it does.
    let choices = if small && panel.reason.is_some() {
        Vec::new()
    } else {
        rows_of(&choices, width)
    };
    let mut lines: Vec<Line> = choices
        .into_iter()
        .map(|text| line(Meaning::Plain, text))
        .collect();
    let words_row = u16::try_from(lines.len()).unwrap_or(0);
    lines.push(match panel.reason {
        None => vec![
            ("reason:     ".to_owned(), Meaning::Low),
            ("required: 1 to 5".to_owned(), Meaning::Warn),
        ],
        Some(Reason::Other) => line(Meaning::Low, "reason:     "),
        Some(reason) => vec![
            ("reason:     ".to_owned(), Meaning::Low),
            (reason.words().to_owned(), Meaning::Title),
        ],
    });
    // One question after the other, where rows are few.
    let count_row = (panel.needs_count() && !(small && panel.reason.is_none())).then_some(words_row + 1);
    if count_row.is_some() {
        lines.push(line(
            Meaning::Warn,
            format!("count:      [      ] type {count} to go on"),
        ));
    }
    let suppress = match panel.suppression.seconds() {
        0 => ": reports are acted on at once",
        _ => ": reports are not acted on",
    };
    lines.push(vec![
        ("suppress:   ".to_owned(), Meaning::Low),
        (panel.suppression.words().to_owned(), Meaning::Plain),
        (" (s changes)".to_owned(), Meaning::Info),
        (suppress.to_owned(), Meaning::Low),
    ]);
    if !small {
        lines.push(Vec::new());
    }
    let act = match panel.held {
        // It was said; now the key works.
        Some(Hold::TooSoon) if panel.is_live(app.now.uptime) => (String::new(), Meaning::Plain),
        Some(hold) => (hold.words().to_owned(), Meaning::Down),
        None if panel.is_live(app.now.uptime) => (String::new(), Meaning::Plain),
        None => ("read first: 0.25 s".to_owned(), Meaning::Low),
    };
    lines.push(vec![
        ("[ Cancel ] Enter".to_owned(), Meaning::Focus),
        (format!("   [ Withdraw {count} ] y   "), Meaning::High),
        act,
    ]);
    Fields {
        lines,
        words_row,
        count_row,
    }
}

/// Words beside each other, as many rows as they need; none is torn apart.
fn rows_of(words: &[String], width: usize) -> Vec<String> {
    let mut rows: Vec<String> = Vec::new();
    for words in words {
        match rows.last_mut() {
            Some(row) if row.width() + 2 + words.width() <= width => {
                row.push_str("  ");
                row.push_str(words);
            }
            _ => rows.push(words.clone()),
        }
    }
    rows
}

/// Whether the attack seems to go on: what the panel can say without asking a router.
fn attack_words(app: &App, row: &Mitigation) -> String {
    let rate = row
        .observed
        .bps
        .map_or_else(|| "rate unknown".to_owned(), |bps| si_unit(bps.0, "bps"));
    match reported_by(row).max_by_key(|claim| claim.last_report_at) {
        Some(claim) => {
            let ago = relative(app.server_now().since(claim.last_report_at));
            format!("{rate}  STILL REPORTED {ago} ago, {}", claim.source)
        }
        None if row.origin.kind == OriginKind::Operator => {
            format!("{rate}  made by {}", row.origin.actor)
        }
        None => format!("{rate}  no detector reports it"),
    }
}

/// The detectors' claims that live. What an operator asked for ends with the withdrawal.
fn reported_by(row: &Mitigation) -> impl Iterator<Item = &Arc<Claim>> {
    row.claims
        .iter()
        .filter(|claim| claim.cleared_at.is_none() && claim.kind == OriginKind::Event)
}

/// What it lets through, where to, and whether it will come back.
fn effect_lines(app: &App, panel: &WithdrawPanel, width: usize) -> Vec<Line> {
    let rows = || panel.targets.iter().map(|target| &target.shown);
    let rates: u64 = rows()
        .filter_map(|row| row.observed.bps)
        .fold(0, |sum, bps| sum.saturating_add(bps.0));
    let known = rows().filter(|row| row.observed.bps.is_some()).count();
    let owners: BTreeSet<_> = rows()
        .filter_map(|row| {
            let customer = row.customer_id.as_deref()?;
            Some(
                row.service_id
                    .as_deref()
                    .map_or_else(|| customer.to_owned(), |service| format!("{customer}/{service}")),
            )
        })
        .collect();
    let toward = owners.into_iter().collect::<Vec<_>>().join(", ");
    let rules: usize = rows().map(|row| row.rules.len()).sum();
    let freed = if known == 0 {
        "an unknown rate".to_owned()
    } else {
        format!("up to {} (highest reported)", si_unit(rates, "bps"))
    };
    let reported = rows().filter(|row| reported_by(row).next().is_some()).count();
    let back = match (reported, panel.suppression.seconds()) {
        (0, _) => "no detector reports them now".to_owned(),
        (some, 0) => format!(
            "{some} of {} still reported: AGAIN with the next report",
            panel.targets.len()
        ),
        (some, _) => {
            format!(
                "{some} of {} still reported: again after {}",
                panel.targets.len(),
                panel.suppression.words()
            )
        }
    };
    let effect = |name: &str, words: String, meaning| {
        vec![
            (format!("{name:<12}"), Meaning::Low),
            (text::cut(&words, width.saturating_sub(12)), meaning),
        ]
    };
    vec![
        effect("frees", format!("{freed} toward {toward}"), Meaning::High),
        effect(
            "comes back",
            back,
            if reported > 0 {
                Meaning::Warn
            } else {
                Meaning::Plain
            },
        ),
        effect(
            "takes back",
            match held_words(app) {
                Some(held) => format!("{}, but {held}", rules_words(rules)),
                None => format!("{} from every neighbour", rules_words(rules)),
            },
            if held_words(app).is_some() {
                Meaning::High
            } else {
                Meaning::Plain
            },
        ),
    ]
}

fn rules_words(rules: usize) -> String {
    format!("{rules} {}", if rules == 1 { "rule" } else { "rules" })
}

/// Who may hold rules that are taken back now: without a session, the router is not told.
fn held_words(app: &App) -> Option<String> {
    let now = app.server_now();
    let held: Vec<String> = app
        .peers
        .iter()
        .filter_map(|peer| {
            let left = peer.may_hold_until.filter(|until| *until > now)?.since(now);
            Some(format!("{} {}", peer.name, relative(left)))
        })
        .collect();
    (!held.is_empty()).then(|| format!("may still be there: {}", held.join(", ")))
}

/// The texts of the fields over the lines made for them.
fn draw_fields(
    app: &App,
    panel: &WithdrawPanel,
    fields: &Fields,
    buffer: &mut Buffer,
    area: Rect,
) -> Option<Position> {
    let mut cursor = None;
    if panel.reason == Some(Reason::Other) {
        let room = area.width.saturating_sub(FIELD_AT + 1);
        let scroll = panel.words.visual_scroll(usize::from(room));
        let words = super::frame::text_from(panel.words.value(), scroll);
        let shown = if words.is_empty() && panel.focus != Focus::Words {
            "(no words yet: 5)".to_owned()
        } else {
            words
        };
        put(
            buffer,
            area.x + FIELD_AT,
            area.y + fields.words_row,
            room,
            &shown,
            style(app, Meaning::Title),
        );
        if panel.focus == Focus::Words {
            let at = u16::try_from(panel.words.visual_cursor().saturating_sub(scroll)).unwrap_or(0);
            cursor = Some(Position {
                x: (area.x + FIELD_AT + at).min(area.right()),
                y: area.y + fields.words_row,
            });
        }
    }
    if let Some(count_row) = fields.count_row {
        put(
            buffer,
            area.x + FIELD_AT + 1,
            area.y + count_row,
            6,
            panel.count.value(),
            style(app, Meaning::Title),
        );
        if panel.focus == Focus::Count {
            let at = u16::try_from(panel.count.visual_cursor()).unwrap_or(0);
            cursor = Some(Position {
                x: area.x + FIELD_AT + 1 + at,
                y: area.y + count_row,
            });
        }
    }
    cursor.filter(|at| at.y < area.bottom())
}
