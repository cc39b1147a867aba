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
    console.keys("1");
    let screen = console.screen();
    assert!(
        screen.contains("last known") && screen.contains("store      ?"),
        "{screen}"
    );
    console.keys("2");
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
            !screen.contains(now) && screen.contains(&format!("{then} when contact was lost at 14:32:07Z")),
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
