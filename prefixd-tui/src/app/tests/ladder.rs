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

#[test]
fn text_in_the_wrong_window_does_nothing() {
    let mut console = on_list();
    console.keys("x x x x x x x x x w 1");
    assert!(matches!(console.app.modal, Modal::None));
    says(&console, "wrong window");
    console.wait(200);
    console.keys("2 1 w");
    assert!(matches!(
        (&console.app.screen, &console.app.modal),
        (Screen::List, Modal::None)
    ));
    console.wait(300);
    console.keys("w");
    assert!(
        matches!(console.app.modal, Modal::Withdraw(_)),
        "a person is heard again"
    );
    let mut console = on_list();
    for _ in 0..20 {
        console.keys("x");
        console.wait(30);
    }
    console.keys("1");
    assert!(
        matches!(console.app.screen, Screen::Overview),
        "slow fingers are no burst"
    );
}

#[test]
fn messages_leave_the_marks_in_sight() {
    let mut console = on_list();
    console.keys("Space Space x");
    let screen = console.screen();
    assert!(screen.contains("marks 2  no such key"), "{screen}");
}
