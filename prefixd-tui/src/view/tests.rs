use crate::app::App;
use crate::event::{Answer, Event, Failure};
use crate::fixture::{self, Console};
use crate::glyphs::Glyphs;
use crate::theme::{Depth, Meaning, Theme};
use prefixd_api::resource::{AnnouncementState, Overlap};
use prefixd_api::role::Role;
use ratatui::buffer::Buffer;
use ratatui::style::Modifier;
use std::sync::Arc;
use std::time::Duration;

/// A screen by its name, and how to get there.
type Prepared = (&'static str, fn(&mut Console));

const SCREENS: [Prepared; 19] = [
    ("overview", |_| {}),
    ("list", |console| drop(console.keys("2 j j"))),
    ("list_marks_filter", |console| {
        drop(console.keys("2 / ' bps>1G' Enter j Space Space j"));
    }),
    ("filter_line", |console| {
        drop(console.keys("2 / ' cust:acme bps>'"));
    }),
    ("sort_menu", |console| drop(console.keys("2 s j"))),
    ("help_list", |console| drop(console.keys("2 ?"))),
    ("withdraw_one", |console| drop(console.keys("2 j j w"))),
    ("withdraw_held", |console| {
        let mut peers = fixture::peers();
        peers[2].may_hold_until = Some(fixture::now().saturating_add(Duration::from_secs(90)));
        console.answers(Answer::Peers(Ok(peers)));
        console.keys("2 j j w");
    }),
    ("withdraw_marked", |console| {
        drop(console.keys("2 j Space j Space Space w 5 'cust called'"));
    }),
    ("withdraw_all", |console| {
        drop(console.keys("2 Space / ' sev<critical' Enter * w 1"));
    }),
    ("detail", |console| open_detail(console, "")),
    ("detail_why", |console| open_detail(console, "Tab Tab Tab")),
    ("detail_junos", |console| open_detail(console, "V z")),
    ("stale", |console| {
        console.keys("2 j j");
        console.lose_contact();
        console.wait(46_000);
    }),
    ("connecting", |console| {
        *console = Console::new(console.app.area.width, console.app.area.height);
    }),
    ("lag", |console| {
        console.keys("2 j j");
        console.wait(3_000);
        answers_health(console, Duration::from_secs(3));
    }),
    ("poll", |console| {
        console.keys("2 j j");
        console.happens(Event::FeedLost("closed".to_owned()));
        answers_health(console, Duration::ZERO);
    }),
    ("auth", |console| {
        console.keys("2 j j");
        console.answers(Answer::Health(Err(Failure::Unauthorized(
            "sign in first".to_owned(),
        ))));
    }),
    ("empty", |console| {
        *console = Console::live_with(
            console.app.area.width,
            console.app.area.height,
            Role::Viewer,
            Vec::new(),
        );
    }),
];

/// The daemon answers, and its clock is right.
fn answers_health(console: &mut Console, later: Duration) {
    let health = fixture::health(Role::Operator, fixture::now().saturating_add(later));
    console.answers(Answer::Health(Ok(Box::new(health))));
}

fn open_detail(console: &mut Console, keys: &str) {
    console.keys("2 j j Enter");
    let row = fixture::wave().remove(2);
    console.answers(Answer::Detail(
        row.mitigation_id,
        Ok(Box::new(fixture::detail(&row))),
    ));
    console.answers(Answer::Why(row.mitigation_id, Ok(Box::new(fixture::why()))));
    if !keys.is_empty() {
        console.keys(keys);
    }
}

fn at(width: u16, height: u16, prepare: fn(&mut Console)) -> Console {
    let mut console = Console::live(width, height);
    prepare(&mut console);
    console
}

/// The cells of a buffer as runs of one style: the first row that differs is found by its number.
fn styles(app: &App, buffer: &Buffer) -> String {
    let name = |cell: &ratatui::buffer::Cell| {
        Meaning::ALL
            .into_iter()
            .find(|meaning| {
                let style = app.settings.theme.style(*meaning);
                style.fg.unwrap_or_default() == cell.fg && style.add_modifier == cell.modifier
            })
            .map_or_else(|| format!("{:?}", cell.style()), |meaning| format!("{meaning:?}"))
    };
    let mut out = String::new();
    for y in 0..buffer.area.height {
        let mut runs: Vec<(String, u16)> = Vec::new();
        for x in 0..buffer.area.width {
            let name = name(&buffer[(x, y)]);
            match runs.last_mut() {
                Some((last, length)) if *last == name => *length += 1,
                _ => runs.push((name, 1)),
            }
        }
        let runs: Vec<_> = runs
            .into_iter()
            .map(|(name, length)| format!("{name}*{length}"))
            .collect();
        out.push_str(&format!("{y:2} {}\n", runs.join(" ")));
    }
    out
}

/// A frame of a state that is another one shows nothing.
#[test]
fn each_state_of_contact_has_its_frame() {
    for (name, word) in [
        ("connecting", "CONNECTING"),
        ("list", "LIVE"),
        ("lag", "LAG"),
        ("poll", "POLL"),
        ("stale", "STALE"),
        ("auth", "AUTH"),
    ] {
        let (_, prepare) = SCREENS.into_iter().find(|(known, _)| *known == name).unwrap();
        let screen = at(120, 40, prepare).screen();
        assert!(screen.contains(word), "{name}: {screen}");
    }
}

#[test]
fn screens() {
    for (width, height) in [(80, 24), (120, 40)] {
        for (name, prepare) in SCREENS {
            insta::assert_snapshot!(
                format!("{name}_{width}x{height}"),
                at(width, height, prepare).screen()
            );
        }
    }
}

#[test]
fn a_pending_one_says_what_it_waits_for() {
    let mut rows = fixture::wave().into_iter();
    let row = rows.find(|row| row.waits_for.is_some()).unwrap();
    let mut console = Console::live_with(120, 40, Role::Viewer, vec![row.clone()]);
    console.keys("2 / Ctrl-U 'status:pending' Enter j Enter");
    let detail = fixture::detail(&row);
    console.answers(Answer::Detail(row.mitigation_id, Ok(Box::new(detail))));
    let screen = console.screen();
    assert!(
        screen.contains("1 of 2 sources; nothing is announced"),
        "{screen}"
    );
}

#[test]
fn an_aggregate_says_whom_it_filters_besides() {
    let mut row = fixture::wave()
        .into_iter()
        .find(|row| row.status.is_announced())
        .unwrap();
    row.victim_ip = serde_json::from_str("\"203.0.113.0/24\"").unwrap();
    row.carpet = Some(Box::new(prefixd_api::mitigation::Carpet {
        victims: 12,
        bystanders: 244,
        replaced: 9,
        services: Vec::new(),
    }));
    let mut console = Console::live_with(120, 40, Role::Viewer, vec![row.clone()]);
    console.keys("2 j Enter");
    let detail = fixture::detail(&row);
    console.answers(Answer::Detail(row.mitigation_id, Ok(Box::new(detail))));
    let screen = console.screen();
    for part in ["203.0.113.0/24", "12 addresses were reported, 244 others"] {
        assert!(screen.contains(part), "{part} is not in\n{screen}");
    }
}

#[test]
fn the_detail_says_what_stands_beside_a_rule() {
    let mut console = Console::live(120, 60);
    console.keys("2 j j Enter");
    let row = fixture::wave().remove(2);
    let mut detail = fixture::detail(&row);
    let first = Overlap {
        mitigation_id: row.mitigation_id,
        rule: "the first rule".to_owned(),
        comes_first: true,
    };
    let last = Overlap {
        rule: "the last rule".to_owned(),
        comes_first: false,
        ..first.clone()
    };
    detail.announcements[0].overlaps = vec![first.clone(), last];
    detail.announcements[0].shadowed_by = vec![first];
    detail.announcements[2].state = AnnouncementState::Covered;
    console.answers(Answer::Detail(row.mitigation_id, Ok(Box::new(detail))));
    let screen = console.screen();
    for line in [
        // As wide as its pane.
        "asked before it; this one does ",
        "nothing: the first rule ",
        "asked after it: the last rule ",
        "covered by a stricter rule ",
    ] {
        assert!(screen.contains(line), "{line} is not in\n{screen}");
    }
}

#[test]
fn small_screens() {
    for (name, prepare) in SCREENS {
        insta::assert_snapshot!(format!("{name}_60x15"), at(60, 15, prepare).screen());
    }
    insta::assert_snapshot!("tiny_40x10", at(40, 10, |_| {}).screen());
}

#[test]
fn styles_of_the_themes() {
    for (theme_name, theme) in [
        ("dark", Theme::Dark(Depth::True)),
        ("light", Theme::Light(Depth::True)),
        ("sixteen", Theme::Dark(Depth::Sixteen)),
        ("mono", Theme::Mono),
    ] {
        for (name, prepare) in SCREENS
            .into_iter()
            .filter(|(name, _)| ["list", "stale", "withdraw_one"].contains(name))
        {
            let mut console = at(80, 24, prepare);
            console.app.settings.theme = theme;
            let buffer = console.buffer();
            insta::assert_snapshot!(
                format!("styles_{theme_name}_{name}"),
                styles(&console.app, &buffer)
            );
        }
    }
}

/// What a withdrawal does and what has to be pressed is on every screen on which it can be confirmed.
#[test]
fn the_panel_shows_what_it_does_at_every_size() {
    for (width, height) in [(60, 15), (79, 23), (80, 24), (100, 24), (120, 40), (200, 60)] {
        for keys in ["2 w", "2 w 2", "2 * w", "2 * w 2", "2 Space Space w 5 'x' Enter"] {
            let mut console = at(width, height, |_| {});
            console.keys(keys);
            let screen = console.screen();
            for words in [
                "203.0.113.10",
                "frees ",
                "comes back ",
                "takes back ",
                "reason:",
                "suppress:",
                "] y ",
            ] {
                assert!(
                    screen.contains(words),
                    "{width}x{height} {keys}: {words}\n{screen}"
                );
            }
            // Small ones ask for the reason first.
            let asked = keys.contains('*') && (width >= 80 || keys.ends_with('2'));
            assert_eq!(screen.contains("count:"), asked, "{screen}");
        }
    }
}

#[test]
fn the_panel_scrolls_as_far_as_there_are_targets() {
    for (width, height) in [(60, 15), (80, 24), (120, 40)] {
        let mut console = at(width, height, |console| drop(console.keys("2 * w")));
        let first = console.screen();
        console.keys("j j j j j j j j j j j j");
        let last = console.screen();
        assert!(last.contains("198.51.100.9"), "{last}");
        assert_ne!(last, first);
        console.keys("k");
        assert_ne!(console.screen(), last, "no key is dead");
    }
}

#[test]
fn a_press_that_was_too_soon_is_not_held_against_the_next() {
    let mut console = at(80, 24, |console| drop(console.keys("2 w 1")));
    console.drawn();
    assert_eq!(
        console.app.wakes_at(),
        Some(console.app.now.uptime + crate::panel::GUARD)
    );
    console.wait(100);
    console.keys("y");
    assert!(console.screen().contains("too soon"));
    console.wait(250);
    let screen = console.screen();
    assert!(
        !screen.contains("too soon") && !screen.contains("read first"),
        "{screen}"
    );
    assert_eq!(console.app.wakes_at(), None);
}

#[test]
fn help_says_when_there_is_more_and_shows_every_key() {
    for (width, height) in [(60, 15), (80, 24), (120, 40)] {
        let mut console = at(width, height, |console| drop(console.keys("2 ?")));
        let mut shown = console.screen();
        assert_eq!(shown.contains(" more ─"), shown.contains("j k scroll"), "{shown}");
        if (width, height) == (80, 24) {
            for words in ["open", "filter", "sort by"] {
                assert!(shown.contains(words), "{words} at first sight\n{shown}");
            }
        }
        for _ in 0..60 {
            console.keys("j");
            shown.push_str(&console.screen());
        }
        for binding in crate::keymap::bindings_of(crate::keymap::Place::List) {
            let key = binding.keys[0];
            assert!(shown.contains(key), "{key} at {width}x{height}");
        }
    }
}

/// Every size from 1x1 to 200x60 with one screen, the tiny ones with all.
#[test]
fn no_size_panics() {
    for (index, (_, prepare)) in (0_u16..).zip(SCREENS) {
        let mut console = at(80, 24, prepare);
        for width in 1..=200 {
            for height in 1..=60 {
                if (width + 3 * height + index) % 13 == 0 || (width <= 20 && height <= 12) {
                    console.happens(Event::Resize { width, height });
                    assert_eq!(console.buffer().area.as_size(), (width, height).into());
                }
            }
        }
    }
}

#[test]
fn ascii_is_ascii() {
    for (name, prepare) in SCREENS {
        let mut console = at(120, 40, prepare);
        console.app.settings.glyphs = Glyphs::Ascii;
        for cell in console.buffer().content() {
            assert!(
                cell.symbol().bytes().all(|byte| (0x20..0x7F).contains(&byte)),
                "{name}: {:?}",
                cell.symbol()
            );
        }
    }
}

#[test]
fn the_selected_row_is_reversed_from_end_to_end_without_colour() {
    let mut console = at(80, 24, |console| drop(console.keys("2 j")));
    console.app.settings.theme = Theme::Mono;
    let buffer = console.buffer();
    let row = (0..24)
        .find(|y| buffer[(0, *y)].symbol() == ">")
        .expect("a selected row");
    for x in 0..80 {
        assert!(buffer[(x, row)].modifier.contains(Modifier::REVERSED), "cell {x}");
    }
}

/// Counts what a terminal is sent.
#[derive(Clone, Default)]
struct Wire(std::rc::Rc<std::cell::Cell<usize>>);

impl std::io::Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.set(self.0.get() + bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What frames may cost on a slow line, in bytes: a whole frame, one row down, one second of nothing, a page.
const BUDGETS: [(u16, u16, [usize; 4]); 2] = [
    (80, 24, [6_000, 500, 500, 3_000]),
    (120, 40, [12_000, 600, 1_000, 6_000]),
];

#[test]
fn frames_are_small_enough_for_slow_lines() {
    for (width, height, budget) in BUDGETS {
        let rows = (0..100)
            .map(|number| {
                let mut row = fixture::wave().swap_remove(number % 9);
                row.mitigation_id = format!("019ab000-0000-7000-8000-0000000003{number:02}")
                    .parse()
                    .unwrap();
                row.victim_ip = format!("203.0.113.{number}").parse().unwrap();
                row
            })
            .collect();
        let mut console = Console::live_with(width, height, Role::Operator, rows);
        let wire = Wire::default();
        let mut painter = crate::terminal::Painter::new(wire.clone());
        let mut cost = |console: &mut Console| {
            console.buffer();
            let app = &console.app;
            painter
                .frame(app.area, |buffer| crate::view::draw(app, buffer))
                .unwrap();
            wire.0.take()
        };
        console.keys("2");
        let mut spent = [0; 4];
        spent[0] = cost(&mut console);
        assert_eq!(cost(&mut console), 0, "nothing changed, nothing sent");
        console.keys("j");
        spent[1] = cost(&mut console);
        console.wait(1_000);
        console.happens(Event::FeedAlive);
        console.happens(Event::Tick);
        spent[2] = cost(&mut console);
        console.happens(Event::Key(crossterm::event::KeyEvent::new(
            crossterm::event::KeyCode::PageDown,
            crossterm::event::KeyModifiers::NONE,
        )));
        console.app.settle();
        spent[3] = cost(&mut console);
        for (spent, most) in spent.into_iter().zip(budget) {
            assert!(
                (1..=most).contains(&spent),
                "{width}x{height}: {spent} of {most} B"
            );
        }
    }
}

/// Texts that a terminal, or a reader, would obey.
const HOSTILE: [&str; 6] = [
    "\x1b]52;c;ZXZpbA==\x07",
    "\x1b[2J\x1b[H",
    "a\u{9b}31mb\u{85}c",
    "evil\u{202e}txt.exe\u{2066}\u{200b}",
    "\x1b]8;;http://example.net\x1b\\link",
    "one\r\ntwo\x08\x08\x08three\x7f",
];

fn assert_harmless(console: &mut Console, hostile: &str) {
    for letter in console
        .buffer()
        .content()
        .iter()
        .flat_map(|cell| cell.symbol().chars())
    {
        assert!(!prefixd_api::show::is_unsafe(letter), "{letter:?} of {hostile:?}");
    }
}

#[test]
fn outside_text_cannot_reach_the_terminal_as_control() {
    let long = "x".repeat(10_000);
    for hostile in HOSTILE.into_iter().chain([long.as_str()]) {
        let mut rows = fixture::wave();
        for row in &mut rows {
            row.vector = hostile.into();
            row.customer_id = Some(hostile.into());
            row.service_id = Some(hostile.into());
            row.why_summary = hostile.into();
            row.origin.actor = hostile.into();
            row.playbook = Some(hostile.into());
            row.pop = hostile.into();
            for claim in &mut row.claims {
                let claim = Arc::make_mut(claim);
                claim.source = hostile.into();
                claim.event_id = Some(hostile.into());
            }
        }
        for keys in ["1", "2", "2 w 1", "2 Enter"] {
            let mut console = Console::live_with(120, 40, Role::Operator, rows.clone());
            let mut stats = fixture::stats();
            stats.by_customer.insert(
                hostile.to_owned(),
                prefixd_api::resource::Usage { used: 9, max: 9 },
            );
            console.answers(Answer::Stats(Ok(Box::new(stats))));
            console.keys(keys);
            if keys.ends_with("Enter") {
                let mut detail = fixture::detail(&rows[0]);
                detail.previews[0].junos = hostile.to_owned();
                detail.timeline[0].actor = hostile.to_owned();
                detail.announcements[1].reason = Some(hostile.to_owned());
                let mut why = fixture::why();
                why.steps[0].text = hostile.to_owned();
                console.answers(Answer::Detail(rows[0].mitigation_id, Ok(Box::new(detail))));
                console.answers(Answer::Why(rows[0].mitigation_id, Ok(Box::new(why))));
            }
            assert_harmless(&mut console, hostile);
        }
        // What is no row: reasons, neighbours, news, refusals, failures, the filter that is typed.
        for keys in ["1", "2 /"] {
            let mut console = Console::live_with(120, 40, Role::Operator, rows.clone());
            let mut health = fixture::health(Role::Operator, fixture::now());
            health.reasons = vec![hostile.to_owned()];
            health.pop = hostile.to_owned();
            console.answers(Answer::Health(Ok(Box::new(health))));
            let mut peers = fixture::peers();
            peers[0].name = hostile.to_owned();
            console.answers(Answer::Peers(Ok(peers)));
            console.happens(Event::FeedLost(hostile.to_owned()));
            console.answers(Answer::Stats(Err(crate::event::Failure::Refused {
                code: "x".to_owned(),
                detail: hostile.to_owned(),
            })));
            console.keys(keys);
            console.happens(Event::Paste(hostile.to_owned()));
            assert_harmless(&mut console, hostile);
            console.answers(Answer::Health(Err(crate::event::Failure::NotSent(
                hostile.to_owned(),
            ))));
            assert_harmless(&mut console, hostile);
        }
        let mut console = Console::live_with(80, 24, Role::Operator, rows);
        for effect in console.keys("2 y t") {
            if let crate::event::Effect::Copy(text) = effect {
                assert!(
                    !text.contains(|letter: char| letter.is_control() && letter != '\n'),
                    "{text:?}"
                );
            }
        }
    }
}
