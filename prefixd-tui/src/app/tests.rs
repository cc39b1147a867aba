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

mod ladder {
    use super::*;

    #[test]
    fn key_panel_reason_key() {
        let mut console = ready_panel();
        assert!(console.keys("2").is_empty());
        let sent = withdrawals(&console.keys("y"));
        let worst = &fixture::wave()[0];
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0].0, worst.mitigation_id);
        assert_eq!(sent[0].1.reason, "attack over");
        assert_eq!(sent[0].1.suppress_seconds, Some(900));
        assert_eq!(sent[0].1.expected_revision, Some(worst.revision));
        assert!(matches!(console.app.modal, Modal::None));
        assert!(console.screen().contains("withdraw"));
    }

    #[test]
    fn all_in_one_write_changes_nothing() {
        let mut console = on_list();
        assert!(withdrawals(&console.keys("w 2 y y y y y y")).is_empty());
        console.drawn();
        assert!(withdrawals(&console.keys("y")).is_empty());
    }

    #[test]
    fn before_the_guard_nothing_after_it_once() {
        let mut console = on_list();
        console.keys("w 2");
        console.drawn();
        console.wait(100);
        assert!(withdrawals(&console.keys("y")).is_empty());
        console.wait(200);
        assert!(
            withdrawals(&console.keys("y")).is_empty(),
            "a press while it is dead starts the time again"
        );
        console.wait(260);
        assert_eq!(withdrawals(&console.keys("y")).len(), 1);
    }

    #[test]
    fn a_held_key_never_confirms() {
        let mut console = on_list();
        console.keys("w 2");
        console.drawn();
        for _ in 0..100 {
            console.wait(30);
            assert!(withdrawals(&console.keys("y")).is_empty());
        }
        let repeat = KeyEvent::new_with_kind(KeyCode::Char('y'), KeyModifiers::NONE, KeyEventKind::Repeat);
        console.wait(300);
        assert!(withdrawals(&console.happens(Event::Key(repeat))).is_empty());
    }

    #[test]
    fn enter_and_escape_cancel_and_pastes_are_no_keys() {
        for key in ["Enter", "Esc"] {
            let mut console = ready_panel();
            console.keys("2");
            assert!(withdrawals(&console.keys(key)).is_empty());
            assert!(matches!(console.app.modal, Modal::None));
        }
        let mut console = on_list();
        assert!(console.happens(Event::Paste("wy".to_owned())).is_empty());
        assert!(matches!(console.app.modal, Modal::None));
        let mut console = ready_panel();
        console.keys("2");
        assert!(console.happens(Event::Paste("y".to_owned())).is_empty());
        assert!(matches!(console.app.modal, Modal::Withdraw(_)));
    }

    #[test]
    fn the_opening_key_does_nothing_inside() {
        let mut console = ready_panel();
        console.keys("2");
        assert!(withdrawals(&console.keys("w w w")).is_empty());
        assert!(matches!(console.app.modal, Modal::Withdraw(_)));
    }

    #[test]
    fn a_reason_is_required_and_typed_text_is_not_consent() {
        let mut console = ready_panel();
        assert!(withdrawals(&console.keys("y")).is_empty());
        assert!(console.screen().contains("choose a reason"));
        console.keys("5 'my y words'");
        assert!(matches!(&console.app.modal, Modal::Withdraw(panel) if panel.focus == Focus::Words));
        console.happens(Event::Paste(" and\npasted".to_owned()));
        console.keys("Enter");
        let sent = withdrawals(&console.keys("s y"));
        assert_eq!(sent[0].1.reason, "my y words and pasted");
        assert_eq!(sent[0].1.suppress_seconds, Some(3_600));
        let mut console = ready_panel();
        assert!(withdrawals(&console.keys("5 ' ' Enter y")).is_empty());
        assert!(matches!(&console.app.modal, Modal::Withdraw(panel) if panel.held == Some(Hold::NoWords)));
    }

    #[test]
    fn many_need_their_count_typed() {
        let mut console = on_list();
        console.keys("* w");
        console.drawn();
        console.wait(300);
        assert!(console.screen().contains("WITHDRAW 9 MARKED"));
        assert!(
            withdrawals(&console.keys("1 y")).is_empty(),
            "y is no part of a count and the count is missing"
        );
        assert!(console.screen().contains("type the count"));
        console.keys("8");
        assert!(withdrawals(&console.keys("y")).is_empty());
        console.happens(Event::Key(KeyEvent::new(KeyCode::Backspace, KeyModifiers::NONE)));
        assert_eq!(withdrawals(&console.keys("9 y")).len(), 9);
        assert!(console.app.list.marks.is_empty());
    }

    #[test]
    fn marks_are_the_targets_not_the_cursor() {
        let mut console = on_list();
        console.keys("j Space j j w");
        console.drawn();
        console.wait(300);
        let sent = withdrawals(&console.keys("1 y"));
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0].0, fixture::wave()[1].mitigation_id);
    }

    #[test]
    fn marks_go_when_their_mitigation_ends() {
        let mut console = on_list();
        console.keys("Space Space");
        let marked: Vec<_> = console.app.list.marks.iter().copied().collect();
        assert_eq!(marked.len(), 2);
        let row = console.app.store.get(marked[0]).unwrap().clone();
        let body = FeedBody::MitigationWithdrawn(change(&row, &ended(&row)));
        console.happens(message(body));
        console.drawn();
        assert_eq!(
            Vec::from_iter(console.app.list.marks.iter().copied()),
            [marked[1]],
            "w is about what can be withdrawn"
        );
    }

    #[test]
    fn ended_ones_offer_no_withdrawal() {
        let mut console = on_list();
        assert!(console.screen().contains("w withdraw"));
        let row = console.app.current().unwrap().clone();
        let body = FeedBody::MitigationWithdrawn(change(&row, &ended(&row)));
        console.happens(message(body));
        assert!(!console.screen().contains("w withdraw"));
        assert!(withdrawals(&console.keys("w")).is_empty());
        says(&console, "it has ended");
    }

    #[test]
    fn what_changes_while_the_panel_is_open_is_shown_before_it_can_be_confirmed() {
        let wave = fixture::wave();
        let mut console = on_list();
        console.keys("Space Space w");
        console.drawn();
        console.wait(300);
        console.keys("1");
        let gone = ended(&wave[0]);
        console.happens(message(FeedBody::MitigationWithdrawn(change(&wave[0], &gone))));
        assert!(withdrawals(&console.keys("y")).is_empty());
        console.drawn();
        assert!(console.screen().contains("1 ended meanwhile"));
        console.wait(300);
        let sent = withdrawals(&console.keys("y"));
        assert_eq!(
            sent.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
            [wave[1].mitigation_id]
        );
    }

    #[test]
    fn a_renewed_lease_does_not_disturb_and_its_revision_is_used() {
        let wave = fixture::wave();
        let mut console = ready_panel();
        console.keys("1");
        let renewed = Mitigation {
            revision: wave[0].revision + 1,
            ttl_seconds: 600,
            ..wave[0].clone()
        };
        console.happens(message(FeedBody::MitigationUpdated(change(&wave[0], &renewed))));
        assert_eq!(
            withdrawals(&console.keys("y"))[0].1.expected_revision,
            Some(renewed.revision)
        );
    }

    #[test]
    fn viewers_and_read_only_consoles_change_nothing() {
        for (role, readonly) in [(Role::Viewer, false), (Role::Operator, true)] {
            let mut console = Console::live_with(80, 24, role, fixture::wave());
            console.app.settings.readonly = readonly;
            assert!(console.keys("2 w").is_empty());
            assert!(matches!(console.app.modal, Modal::None));
            says(&console, "read-only");
            console.app.flash = None;
            let hints = console.screen().lines().last().unwrap().to_owned();
            assert!(!hints.contains("withdraw"), "{hints}");
            console.keys("?");
            assert!(!console.screen().contains("withdraw..."));
        }
    }

    proptest! {
        #[test]
        fn nothing_is_sent_but_through_the_panel_after_its_guard(keys in prop::collection::vec((0usize..20, 0u64..400), 1..60)) {
            let all = ["w", "y", "1", "5", "Enter", "Esc", "Space", "j", "*", "2", "g", "m", "/", "Tab", "s", "v", "n", "9", "Ctrl-L", "r"];
            let mut console = on_list();
            let mut alive_since: Option<u64> = None;
            let mut clock = 0;
            for (index, wait) in keys {
                if all[index] == "r" {
                    console.drawn();
                    continue;
                }
                let open_before = matches!(console.app.modal, Modal::Withdraw(_));
                console.wait(wait);
                clock += wait;
                let sent = withdrawals(&console.keys(all[index]));
                if !sent.is_empty() {
                    prop_assert!(open_before && all[index] == "y");
                    prop_assert!(alive_since.is_some_and(|since| clock - since >= 250));
                }
                let open = matches!(console.app.modal, Modal::Withdraw(_));
                console.drawn();
                match (open_before, open) {
                    (false, true) => alive_since = Some(clock),
                    (_, false) => alive_since = None,
                    (true, true) => {}
                }
            }
        }
    }
}

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
        assert!(console.screen().contains("FAILED"));
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
            rules: Vec::new(),
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

mod contact {
    use super::*;

    #[test]
    fn loss_locks_changes_and_shows_what_was_known() {
        let mut console = on_list();
        console.lose_contact();
        console.wait(46_000);
        let screen = console.screen();
        assert!(screen.contains("NO CONTACT 46s"), "{screen}");
        assert!(
            screen.contains("STALE 46s") && screen.contains("~3m19s") && screen.contains("203.0.113.10"),
            "{screen}"
        );
        assert!(screen.contains("   ? "), "rates are unknown");
        assert!(console.keys("w").is_empty());
        says(&console, "no contact");
    }

    #[test]
    fn an_empty_list_reassures_nobody_without_contact() {
        for (keys, now, then) in [
            ("1", "Nothing is announced", "Nothing was announced"),
            ("2", "No rule is announced", "No rule was announced"),
        ] {
            let mut console = Console::live_with(80, 24, Role::Operator, Vec::new());
            console.keys(keys);
            assert!(console.screen().contains(now));
            console.lose_contact();
            console.wait(46_000);
            let screen = console.screen();
            assert!(
                !screen.contains(now)
                    && screen.contains(&format!("{then} when contact was lost at 14:32:07Z")),
                "{screen}"
            );
        }
    }

    #[test]
    fn an_open_panel_closes_with_the_contact() {
        let mut console = ready_panel();
        console.keys("2");
        console.lose_contact();
        assert!(matches!(console.app.modal, Modal::None));
        assert!(withdrawals(&console.keys("y")).is_empty());
    }

    #[test]
    fn it_tries_again_and_reads_everything_when_contact_returns() {
        let mut console = on_list();
        console.lose_contact();
        assert_eq!(console.happens(Event::Tick), [], "waits before it asks again");
        console.wait(1_000);
        assert_eq!(console.happens(Event::Tick), [Effect::Request(Request::Health)]);
        console.wait(500);
        let effects = console.answers(Answer::Health(Ok(Box::new(fixture::health(
            Role::Operator,
            fixture::now(),
        )))));
        assert!(
            effects
                .iter()
                .any(|effect| matches!(effect, Effect::Request(Request::Live { .. })))
        );
        assert!(effects.contains(&Effect::RetryFeed));
        assert!(matches!(console.app.contact_state(), State::Poll(_)));
    }

    fn asks_for_list(effects: &[Effect]) -> bool {
        effects
            .iter()
            .any(|effect| matches!(effect, Effect::Request(Request::Live { .. })))
    }

    fn feed_up(resumed: bool) -> Event {
        Event::FeedUp {
            resumed,
            server_time: fixture::now(),
            pop: "iad1".to_owned(),
            mode: prefixd_api::resource::Mode::Enforced,
            role: Role::Operator,
        }
    }

    fn list(round: u64) -> Answer {
        Answer::Live {
            round,
            result: Ok(Page {
                mitigations: fixture::wave(),
                more: false,
            }),
        }
    }

    #[test]
    fn what_happened_before_the_first_hello_is_read() {
        let mut console = Console::new(80, 24);
        console.answers(list(1));
        assert!(asks_for_list(&console.happens(feed_up(false))));
        assert!(matches!(console.app.contact_state(), State::Lag(_)));
        console.answers(list(2));
        assert!(matches!(console.app.contact_state(), State::Live(_)));
        assert!(
            !asks_for_list(&console.happens(feed_up(true))),
            "a feed that goes on where it was has missed nothing"
        );
        // The answer to the first question may be older than the hello: it is asked once more, and then enough.
        let mut console = Console::new(80, 24);
        assert!(!asks_for_list(&console.happens(feed_up(false))));
        assert!(asks_for_list(&console.answers(list(1))));
        assert!(!asks_for_list(&console.answers(list(2))));
    }

    fn refused(words: &str) -> Failure {
        Failure::Refused {
            code: "auth.forbidden".to_owned(),
            detail: words.to_owned(),
        }
    }

    #[test]
    fn reads_that_are_refused_are_shown_and_asked_again() {
        let mut console = Console::new(120, 40);
        console.answers(Answer::Health(Err(refused("this needs the role viewer"))));
        console.answers(Answer::Live {
            round: 1,
            result: Err(refused("this needs the role viewer")),
        });
        for keys in ["1", "2"] {
            console.keys(keys);
            let screen = console.screen();
            assert!(
                screen.contains("!! REFUSED the mitigations: this needs the role viewer"),
                "{screen}"
            );
            assert!(screen.contains("could not be read"), "{screen}");
        }
        console.wait(5_000);
        let effects = console.happens(Event::Tick);
        assert!(asks_for_list(&effects), "{effects:?}");
        console.answers(list(2));
        console.answers(Answer::Health(Ok(Box::new(fixture::health(
            Role::Viewer,
            fixture::now(),
        )))));
        let screen = console.screen();
        assert!(
            !screen.contains("REFUSED") && screen.contains("203.0.113.10"),
            "{screen}"
        );
    }

    #[test]
    fn a_list_that_was_not_given_after_a_resync_is_asked_for_again() {
        let mut console = on_list();
        assert!(asks_for_list(&console.happens(Event::FeedResync)));
        console.answers(Answer::Live {
            round: 1,
            result: Err(refused("too many requests")),
        });
        assert!(matches!(console.app.contact_state(), State::Lag(_)));
        let mut asked = Vec::new();
        for second in 1..=10 {
            console.wait(1_000);
            console.happens(Event::FeedAlive);
            if asks_for_list(&console.happens(Event::Tick)) {
                asked.push(second);
                console.answers(Answer::Live {
                    round: 1,
                    result: Err(refused("too many requests")),
                });
            }
        }
        assert_eq!(asked, [5, 10], "neither never nor without a pause");
        console.wait(5_000);
        console.happens(Event::FeedAlive);
        console.happens(Event::Tick);
        console.answers(list(9));
        assert!(matches!(console.app.contact_state(), State::Live(_)));
    }

    #[test]
    fn ended_ones_that_were_not_read_are_not_said_to_be_none() {
        let mut console = on_list();
        console.keys("/ Ctrl-U 'status:rejected' Enter");
        console.keys("G");
        console.app.list.selection = Default::default();
        console.keys("F2");
        let screen = console.screen();
        assert!(screen.contains("reading the ended ones"), "{screen}");
        console.answers(Answer::Ended(Err(refused("not now"))));
        let screen = console.screen();
        assert!(
            screen.contains("The ended ones could not be read: not now"),
            "{screen}"
        );
        console.wait(5_000);
        console.happens(Event::FeedAlive);
        assert!(
            console
                .happens(Event::Tick)
                .contains(&Effect::Request(Request::Ended))
        );
        console.answers(Answer::Ended(Ok(Page {
            mitigations: Vec::new(),
            more: false,
        })));
        let screen = console.screen();
        assert!(
            screen.contains("Nothing passes the filter status:rejected"),
            "{screen}"
        );
    }

    #[test]
    fn a_mute_feed_is_not_live_however_fast_requests_are_answered() {
        let mut console = on_list();
        for second in 1..=12_u64 {
            console.wait(1_000);
            console.answers(Answer::Health(Ok(Box::new(fixture::health(
                Role::Operator,
                fixture::now(),
            )))));
            let state = console.app.contact_state();
            assert_eq!(matches!(state, State::Live(_)), second < 2, "{second}: {state:?}");
            assert_eq!(
                matches!(state, State::Poll(_)),
                second >= 10,
                "{second}: {state:?}"
            );
        }
        console.happens(Event::FeedAlive);
        assert!(matches!(console.app.contact_state(), State::Live(_)));
    }

    #[test]
    fn on_the_socket_a_token_is_no_next_step() {
        let mut console = on_list();
        console.answers(Answer::Health(Err(Failure::Unauthorized("not known".to_owned()))));
        let screen = console.screen();
        assert!(
            screen.contains("operator group") && !screen.contains("--token-file"),
            "{screen}"
        );
        console.app.settings.api = "http://127.0.0.1:8080".to_owned();
        assert!(console.screen().contains("--token-file"));
    }

    #[test]
    fn nothing_heard_for_ten_seconds_is_stale_also_with_a_connection() {
        let mut console = on_list();
        console.wait(10_000);
        console.happens(Event::Tick);
        assert!(matches!(console.app.contact_state(), State::Stale(_)));
    }

    #[test]
    fn without_the_feed_lists_are_polled() {
        let mut console = on_list();
        console.happens(Event::FeedLost("closed".to_owned()));
        console.answers(Answer::Health(Ok(Box::new(fixture::health(
            Role::Operator,
            fixture::now(),
        )))));
        console.answers(Answer::Live {
            round: 0,
            result: Ok(Page {
                mitigations: fixture::wave(),
                more: false,
            }),
        });
        let mut reads = 0;
        for _ in 0..10 {
            console.wait(1_000);
            for effect in console.happens(Event::Tick) {
                match effect {
                    Effect::Request(Request::Live { round }) => {
                        reads += 1;
                        console.answers(Answer::Live {
                            round,
                            result: Ok(Page {
                                mitigations: fixture::wave(),
                                more: false,
                            }),
                        });
                    }
                    Effect::Request(Request::Health) => {
                        console.answers(Answer::Health(Ok(Box::new(fixture::health(
                            Role::Operator,
                            fixture::now(),
                        )))));
                    }
                    _ => {}
                }
            }
        }
        assert_eq!(reads, 2);
        assert!(console.screen().contains("POLL"));
    }

    #[test]
    fn a_feed_that_is_refused_while_requests_work_is_not_asked_for_again_and_again() {
        let mut console = on_list();
        let effects = console.happens(Event::FeedLost("no such route".to_owned()));
        assert_eq!(effects, [Effect::Request(Request::Health)]);
        let health = fixture::health(Role::Operator, fixture::now());
        let effects = console.answers(Answer::Health(Ok(Box::new(health))));
        assert!(!effects.contains(&Effect::RetryFeed), "{effects:?}");
        assert!(console.keys("r").contains(&Effect::RetryFeed));
    }

    #[test]
    fn refused_credentials_have_their_word() {
        let mut console = on_list();
        console.answers(Answer::Health(Err(Failure::Unauthorized(
            "sign in first".to_owned(),
        ))));
        let screen = console.screen();
        assert!(
            screen.contains("AUTH") && screen.contains("NOT SIGNED IN"),
            "{screen}"
        );
        console.keys("w");
        says(&console, "not signed in");
    }

    #[test]
    fn a_missed_revision_is_read_and_a_resync_reads_all() {
        let wave = fixture::wave();
        let mut console = on_list();
        let far = Mitigation {
            revision: wave[0].revision + 2,
            step: 4,
            ..wave[0].clone()
        };
        let effects = console.happens(message(FeedBody::MitigationUpdated(change(&wave[0], &far))));
        assert_eq!(effects, [Effect::Request(Request::One(wave[0].mitigation_id))]);
        let effects = console.happens(Event::FeedResync);
        assert!(
            effects
                .iter()
                .any(|effect| matches!(effect, Effect::Request(Request::Live { .. })))
        );
        assert!(matches!(console.app.contact_state(), State::Lag(_)));
    }

    #[test]
    fn countdowns_use_the_daemons_clock() {
        let mut console = on_list();
        let ahead = fixture::now().saturating_add(std::time::Duration::from_secs(30));
        console.answers(Answer::Health(Ok(Box::new(fixture::health(
            Role::Operator,
            ahead,
        )))));
        let screen = console.screen();
        assert!(screen.contains("3m35s"), "{screen}");
        assert!(screen.contains("14:32:37Z"), "{screen}");
        let mut console = Console::live(120, 40);
        console.answers(Answer::Health(Ok(Box::new(fixture::health(
            Role::Operator,
            ahead,
        )))));
        assert!(console.screen().contains("skew 30s"));
    }
}

mod moving {
    use super::*;
    use crate::action::CopyWhat;

    #[test]
    fn keys_lead_where_the_table_says() {
        let mut console = Console::live(120, 40);
        console.keys("g m");
        assert!(matches!(console.app.screen, Screen::List));
        console.keys("G g g j");
        assert_eq!(
            console.app.current().unwrap().mitigation_id,
            fixture::wave()[1].mitigation_id
        );
        let effects = console.keys("Enter");
        let id = fixture::wave()[1].mitigation_id;
        assert_eq!(
            effects,
            [
                Effect::Request(Request::Detail(id)),
                Effect::Request(Request::Why(id))
            ]
        );
        console.keys("]");
        assert!(
            matches!(&console.app.screen, Screen::Detail(view) if view.id == fixture::wave()[2].mitigation_id)
        );
        console.keys("q");
        assert!(matches!(console.app.screen, Screen::List));
        assert_eq!(console.keys("q"), [Effect::Quit]);
    }

    #[test]
    fn escape_clears_one_thing_at_a_time() {
        let mut console = on_list();
        console.keys("/ ' cust:acme' Enter Space");
        assert_eq!(
            (
                console.app.list.selection.order().len(),
                console.app.list.marks.len()
            ),
            (5, 1)
        );
        console.keys("Esc");
        assert!(console.app.list.marks.is_empty());
        console.keys("Esc");
        assert_eq!(console.app.list.selection.order().len(), 9);
    }

    #[test]
    fn the_filter_line_follows_and_can_be_dropped() {
        let mut console = on_list();
        console.keys("/ ' bps>'");
        assert!(console.screen().contains("5M or 1.2G") || console.screen().contains("is not a number"));
        assert!(console.keys("Enter").is_empty());
        assert!(matches!(console.app.modal, Modal::Filter(_)));
        console.keys("'2G'");
        assert_eq!(console.app.list.selection.order().len(), 3);
        console.keys("Esc");
        assert_eq!(console.app.list.selection.order().len(), 9);
        let effects = console.keys("/ Ctrl-U 'status:withdrawn' Enter");
        assert_eq!(effects, [Effect::Request(Request::Ended)]);
    }

    #[test]
    fn copies_what_was_asked_for() {
        let mut console = on_list();
        let row = fixture::wave().remove(0);
        assert_eq!(console.keys("y i"), [Effect::Copy("203.0.113.10".to_owned())]);
        assert_eq!(console.keys("y y"), [Effect::Copy(row.mitigation_id.to_string())]);
        assert_eq!(console.keys("y f"), [Effect::Copy(row.rules[0].to_string())]);
        let [Effect::Copy(json)] = &console.keys("y j")[..] else {
            panic!("{:?}", CopyWhat::Json)
        };
        assert_eq!(
            serde_json::from_str::<Mitigation>(json).unwrap().mitigation_id,
            row.mitigation_id
        );
        let [Effect::Copy(table)] = &console.keys("y t")[..] else {
            panic!("{:?}", CopyWhat::Table)
        };
        assert_eq!(table.lines().count(), 10);
    }

    #[test]
    fn leaving_by_ctrl_c_takes_two() {
        let mut console = on_list();
        assert!(console.keys("Ctrl-C").is_empty());
        console.wait(3_000);
        assert!(console.keys("Ctrl-C").is_empty());
        console.wait(1_000);
        assert_eq!(console.keys("Ctrl-C"), [Effect::Quit]);
    }

    #[test]
    fn switches() {
        let mut console = on_list();
        assert_eq!(console.keys("F2"), [Effect::Mouse(false)]);
        assert_eq!(console.keys("F4"), [Effect::Dump]);
        assert_eq!(
            console.keys("w"),
            [Effect::EndDump],
            "any key returns and does nothing else"
        );
        assert!(matches!(console.app.modal, Modal::None));
        assert_eq!(console.keys("Ctrl-Z Ctrl-L"), [Effect::Suspend, Effect::Repaint]);
        console.keys("s j Enter S");
        assert_eq!(console.app.list.sort.key, crate::list::SortKey::Status);
        assert!(console.app.list.sort.descending);
        console.keys("x");
        says(&console, "no such key");
    }

    proptest! {
        #[test]
        fn no_sequence_of_keys_panics(keys in prop::collection::vec(0usize..40, 1..80), width in 1u16..140, height in 1u16..50) {
            let all = ["w", "y", "1", "2", "5", "Enter", "Esc", "Space", "j", "k", "*", "g", "m", "o", "/", "Tab", "s", "S", "v",
                "G", "]", "[", "z", "V", "p", "t", "T", "r", "?", "F2", "F4", "Ctrl-C", "Ctrl-D", "Ctrl-U", "Ctrl-L", "q", "Down", "a", "!", "Ctrl-W"];
            let mut console = Console::live(width, height);
            for key in keys {
                console.keys(all[key]);
                console.screen();
            }
        }
    }
}
