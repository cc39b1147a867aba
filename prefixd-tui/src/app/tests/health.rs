use super::*;
use prefixd_api::peer::PeerDisabled;
use prefixd_api::resource::{HealthDetail, Mode, PeerState};

fn with(width: u16, height: u16, change: impl FnOnce(&mut HealthDetail)) -> Console {
    let mut console = Console::live(width, height);
    let mut health = fixture::health(Role::Operator, fixture::now());
    health.reasons.clear();
    health.status = "healthy".to_owned();
    health.peers_established = health.peers_total;
    change(&mut health);
    console.answers(Answer::Health(Ok(Box::new(health))));
    console
}

#[test]
fn every_screen_says_that_the_daemon_is_degraded_and_why() {
    let reason = "the system clock was set while the daemon ran; check NTP";
    for (width, height) in [(80, 24), (120, 40), (60, 15)] {
        for keys in ["1", "2", "2 Enter"] {
            let mut console = with(width, height, |health| {
                health.status = "degraded".to_owned();
                health.reasons = vec![reason.to_owned()];
            });
            console.keys(keys);
            let screen = console.screen();
            let top = screen.lines().next().unwrap();
            assert!(top.contains("DEGRADED"), "{screen}");
            assert!(screen.contains("the system clock was set"), "{screen}");
            let style = console.buffer()[(0, 0)].style();
            let alarm = console.app.settings.theme.style(crate::theme::Meaning::Alarm);
            assert_eq!(style.fg, alarm.fg, "{keys}");
            let mut console = with(width, height, |_| {});
            console.keys(keys);
            assert!(!console.screen().contains("DEGRADED"));
            assert_ne!(console.buffer()[(0, 0)].style().fg, alarm.fg);
        }
    }
}

#[test]
fn reasons_come_before_neighbours_that_are_up_and_nothing_is_cut_silently() {
    let mut console = with(80, 24, |health| {
        health.status = "degraded".to_owned();
        health.reasons = (1..=9).map(|number| format!("reason {number}")).collect();
    });
    let screen = console.screen();
    assert!(
        screen.contains("edge3      DOWN") && screen.contains("reason 5"),
        "{screen}"
    );
    assert!(screen.contains(" 7 more "), "{screen}");
}

#[test]
fn rehearsed_rules_do_not_look_announced() {
    let mut rows = fixture::wave();
    for row in &mut rows {
        row.enforced = false;
        row.delivery = None;
    }
    let mut console = Console::live_with(80, 24, Role::Operator, rows);
    let mut health = fixture::health(Role::Operator, fixture::now());
    health.mode = Mode::DryRun;
    console.answers(Answer::Health(Ok(Box::new(health))));
    let screen = console.screen();
    assert!(screen.contains("Would be announced, worst first"), "{screen}");
    assert!(
        screen.contains("[DRY-RUN]") && screen.contains("dry-run"),
        "{screen}"
    );
    assert!(!screen.contains(" active"), "{screen}");
    let column = screen.lines().next().unwrap().find("[DRY-RUN]").unwrap();
    let buffer = console.buffer();
    let cell = |x: usize| buffer[(u16::try_from(x).unwrap(), 0)].modifier;
    assert_ne!(cell(column), cell(column - 1), "it stands out of the row");
}

#[test]
fn the_worst_stay_in_sight_when_worse_ones_come() {
    let mut rows = fixture::wave();
    let worse: Vec<_> = rows.drain(..4).collect();
    let mut console = Console::live_with(80, 24, Role::Operator, rows);
    for mitigation in worse {
        console.happens(message(FeedBody::MitigationCreated {
            mitigation: Box::new(mitigation),
        }));
    }
    let mut more = Vec::new();
    for number in 0..20 {
        let mut row = fixture::wave().remove(0);
        row.mitigation_id = format!("019ab000-0000-7000-8000-0000000009{number:02}")
            .parse()
            .unwrap();
        row.observed.bps = Some(prefixd_api::rate::BitsPerSecond(9_000_000_000 + number));
        more.push(row);
    }
    for mitigation in more {
        console.happens(message(FeedBody::MitigationCreated {
            mitigation: Box::new(mitigation),
        }));
    }
    let screen = console.screen();
    assert!(screen.contains("of 29") && screen.contains(" 1-"), "{screen}");
    assert_eq!(console.app.overview.offset(), 0);
}

/// Its rules may be there although its session is down; without contact nobody knows.
#[test]
fn a_neighbour_that_may_hold_rules_is_said() {
    let mut console = Console::live(120, 40);
    assert!(!console.screen().contains("may hold rules"));
    let mut peers = fixture::peers();
    peers[2].may_hold_until = Some(fixture::now().saturating_add(std::time::Duration::from_secs(90)));
    console.answers(Answer::Peers(Ok(peers)));
    let screen = console.screen();
    assert!(screen.contains("may hold rules 1m30s"), "{screen}");
    console.lose_contact();
    assert!(!console.screen().contains("may hold rules"));
}

#[test]
fn a_disabled_neighbour_is_said_and_is_no_alarm() {
    let mut console = with(120, 40, |health| {
        health.peers_established = health.peers_total - 1;
        health.peers_disabled = 1;
        health.notes = vec!["edge3 is disabled".to_owned()];
    });
    let mut peers = fixture::peers();
    peers[2].state = PeerState::Disabled;
    peers[2].disabled = Some(PeerDisabled {
        neighbor: "edge3".to_owned(),
        reason: "line card".to_owned(),
        disabled_by: "token:noc".to_owned(),
        disabled_at: fixture::now(),
    });
    console.answers(Answer::Peers(Ok(peers)));
    let screen = console.screen();
    assert!(screen.contains("BGP 2/3 1 off"), "{screen}");
    assert!(screen.contains("edge3      off 6m12s by token:noc"), "{screen}");
    assert!(!screen.contains("DOWN !!"), "{screen}");
    let alarm = console.app.settings.theme.style(crate::theme::Meaning::Alarm);
    assert_ne!(console.buffer()[(0, 0)].style().fg, alarm.fg);
    // One more that is down is one.
    let mut console = with(120, 40, |health| {
        health.peers_established = health.peers_total - 2;
        health.peers_disabled = 1;
    });
    assert!(console.screen().contains("BGP 1/3!"));
    assert_eq!(console.buffer()[(0, 0)].style().fg, alarm.fg);
}
