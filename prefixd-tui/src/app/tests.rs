use crate::app::{Modal, Screen};
use crate::contact::State;
use crate::event::{Answer, Effect, Event, Failure, Page, Request};
use crate::fixture::{self, Console};
use crate::panel::{Focus, Hold};
use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use prefixd_api::feed::{FeedBody, FeedMessage, MitigationChange};
use prefixd_api::mitigation::{Mitigation, MitigationStatus, WithdrawRequest};
use prefixd_api::role::Role;
use proptest::prelude::*;
use std::sync::Arc;

fn on_list() -> Console {
    let mut console = Console::live(80, 24);
    console.keys("2");
    console
}

/// The panel is open, drawn, and alive.
fn ready_panel() -> Console {
    let mut console = on_list();
    console.keys("w");
    console.drawn();
    console.wait(300);
    console
}

fn withdrawals(effects: &[Effect]) -> Vec<(prefixd_api::ids::MitigationId, WithdrawRequest)> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Request(Request::Withdraw(id, request)) => Some((*id, request.clone())),
            _ => None,
        })
        .collect()
}

fn says(console: &Console, words: &str) {
    let flash = console.app.flash.as_ref().map_or("", |flash| flash.text.as_str());
    assert!(flash.contains(words), "{flash:?} does not contain {words:?}");
}

fn ended(row: &Mitigation) -> Mitigation {
    Mitigation {
        revision: row.revision + 1,
        status: MitigationStatus::Withdrawn,
        ended_at: Some(fixture::now()),
        ..row.clone()
    }
}

fn message(body: FeedBody) -> Event {
    Event::Feed(Box::new(FeedMessage {
        seq: Some(813),
        at: fixture::now(),
        pop: "iad1".to_owned(),
        actor: None,
        body,
    }))
}

fn change(old: &Mitigation, new: &Mitigation) -> MitigationChange {
    MitigationChange::between(old, new).unwrap()
}

mod ladder;

mod small {
    use super::*;

    fn resize(console: &mut Console, width: u16, height: u16) {
        console.happens(Event::Resize { width, height });
    }

    #[test]
    fn a_panel_that_cannot_be_seen_is_closed_and_confirms_nothing() {
        for (width, height) in [(59, 24), (80, 14), (40, 8)] {
            let mut console = ready_panel();
            console.keys("2");
            resize(&mut console, width, height);
            assert!(matches!(console.app.modal, Modal::None));
            says(&console, "nothing was sent");
            console.drawn();
            console.wait(300);
            assert!(withdrawals(&console.keys("y")).is_empty());
            assert!(console.keys("w 2").is_empty());
            assert!(matches!(console.app.modal, Modal::None));
            says(&console, "60x15");
        }
    }

    #[test]
    fn another_size_is_another_look() {
        let mut console = ready_panel();
        console.keys("2");
        resize(&mut console, 120, 40);
        assert!(withdrawals(&console.keys("y")).is_empty());
        console.drawn();
        console.wait(300);
        assert_eq!(withdrawals(&console.keys("y")).len(), 1);
    }

    #[test]
    fn keys_do_nothing_that_is_not_shown() {
        let mut console = Console::live(40, 10);
        let before = console.app.overview.cursor();
        console.keys("j Enter 2 Space s");
        assert!(matches!(
            (&console.app.screen, &console.app.modal),
            (Screen::Overview, Modal::None)
        ));
        assert_eq!(console.app.overview.cursor(), before);
        assert!(console.keys("r").contains(&Effect::RetryFeed));
        console.app.flash = None;
        let hints = console.screen().lines().last().unwrap().to_owned();
        assert_eq!(hints.trim(), "r read again  q quit  ? help");
        assert_eq!(console.keys("q"), [Effect::Quit]);
        let mut console = on_list();
        console.keys("Enter");
        resize(&mut console, 40, 10);
        assert_eq!(console.keys("q"), [Effect::Quit]);
    }
}

mod outcomes {
    use super::*;

    fn sent() -> (Console, Mitigation) {
        let mut console = ready_panel();
        assert_eq!(withdrawals(&console.keys("2 y")).len(), 1);
        (console, fixture::wave().remove(0))
    }

    #[test]
    fn done() {
        let (mut console, row) = sent();
        console.answers(Answer::Withdraw(row.mitigation_id, Ok(Box::new(ended(&row)))));
        says(&console, "ok: 1 withdrawn");
        assert_eq!(console.app.changes.open(), 0);
    }

    #[test]
    fn refused_says_why_and_is_marked_to_be_tried_again() {
        let (mut console, row) = sent();
        let failure = Failure::Refused {
            code: "auth.forbidden".to_owned(),
            detail: "needs operator".to_owned(),
        };
        console.answers(Answer::Withdraw(row.mitigation_id, Err(failure)));
        says(&console, "1 FAILED");
        assert!(console.app.list.marks.contains(&row.mitigation_id));
        console.app.flash = None;
        assert!(console.screen().contains("FAILED"));
        console.happens(Event::Resize {
            width: 60,
            height: 15,
        });
        assert!(
            console.screen().contains("FAILED"),
            "also where there is no status"
        );
    }

    #[test]
    fn a_revision_that_changed_nothing_that_matters_is_followed() {
        let (mut console, row) = sent();
        let conflict = Failure::Refused {
            code: "conflict.revision".to_owned(),
            detail: "changed".to_owned(),
        };
        let effects = console.answers(Answer::Withdraw(row.mitigation_id, Err(conflict.clone())));
        assert_eq!(effects, [Effect::Request(Request::One(row.mitigation_id))]);
        let renewed = Mitigation {
            revision: 9,
            ttl_seconds: 600,
            ..row.clone()
        };
        let effects = console.answers(Answer::One(row.mitigation_id, Ok(Box::new(renewed))));
        assert_eq!(withdrawals(&effects)[0].1.expected_revision, Some(9));
        console.answers(Answer::Withdraw(row.mitigation_id, Err(conflict)));
        let other = Mitigation {
            revision: 10,
            rules: Arc::default(),
            ..row.clone()
        };
        let effects = console.answers(Answer::One(row.mitigation_id, Ok(Box::new(other))));
        assert!(
            withdrawals(&effects).is_empty(),
            "it does something else now: a person has to look"
        );
        says(&console, "FAILED");
    }

    #[test]
    fn in_flight_when_contact_breaks_is_unknown_and_checked_first() {
        let (mut console, row) = sent();
        let id = row.mitigation_id;
        console.answers(Answer::Withdraw(
            id,
            Err(Failure::Unreachable("connection reset".to_owned())),
        ));
        console.lose_contact();
        console.wait(46_000);
        let screen = console.screen();
        assert!(
            screen.contains("NO CONTACT 46s") && screen.contains("UNKNOWN"),
            "{screen}"
        );
        assert!(console.keys("q").is_empty(), "leaving asks first");
        let effects = console.answers(Answer::Health(Ok(Box::new(fixture::health(
            Role::Operator,
            fixture::now(),
        )))));
        assert_eq!(
            effects.first(),
            Some(&Effect::Request(Request::One(id))),
            "{effects:?}"
        );
        console.answers(Answer::One(id, Ok(Box::new(ended(&row)))));
        says(&console, "ok: 1 withdrawn");
    }

    #[test]
    fn lost_before_the_daemon_took_it_is_said() {
        let (mut console, row) = sent();
        let id = row.mitigation_id;
        console.answers(Answer::Withdraw(
            id,
            Err(Failure::Unreachable("timeout".to_owned())),
        ));
        console.answers(Answer::Health(Ok(Box::new(fixture::health(
            Role::Operator,
            fixture::now(),
        )))));
        console.answers(Answer::One(id, Ok(Box::new(row))));
        says(&console, "1 FAILED");
        let (mut console, row) = sent();
        console.answers(Answer::Withdraw(
            row.mitigation_id,
            Err(Failure::NotSent("refused".to_owned())),
        ));
        says(&console, "1 FAILED");
    }
}

mod contact;

mod health;

mod moving;
