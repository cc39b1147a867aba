use super::*;
use prefixd_api::role::Role;
use std::collections::HashSet;

#[test]
fn no_key_means_two_things_in_one_place() {
    for place in Place::ALL {
        let mut seen = HashSet::new();
        for keys in bindings_of(place).flat_map(|binding| binding.keys) {
            assert!(seen.insert(*keys), "{keys} twice in {place:?}");
        }
        for keys in &seen {
            let prefix = keys.split_once(' ').map(|(prefix, _)| prefix);
            assert!(
                prefix.is_none_or(|prefix| !seen.contains(prefix)),
                "{keys} hides behind its prefix in {place:?}"
            );
        }
    }
}

#[test]
fn every_binding_is_found_by_its_own_text_and_has_help() {
    for place in Place::ALL {
        for binding in bindings_of(place) {
            let help = binding.action.about().help;
            assert!(
                !help.is_empty() && help.len() <= 22,
                "{help:?} does not fit its column"
            );
            assert!(
                binding.keys.join(", ").len() <= 14,
                "{:?} do not fit their column",
                binding.keys
            );
            for keys in binding.keys {
                assert_eq!(
                    lookup(place, keys),
                    Lookup::Action(binding.action),
                    "{keys} in {place:?}"
                );
                if let Some((prefix, last)) = keys.split_once(' ') {
                    assert_eq!(lookup(place, prefix), Lookup::Prefix);
                    assert!(continuations(place, prefix).contains(&(last, binding.action)));
                }
            }
        }
    }
    assert_eq!(lookup(Place::List, "Z"), Lookup::Nothing);
}

#[test]
fn keys_that_terminals_take_are_not_used() {
    // Escape of ssh, prefixes of screen and tmux, flow control, twins of Backspace, Tab, Enter and Esc, menus.
    let forbidden = [
        "~",
        "Ctrl-A",
        "Ctrl-B",
        "Ctrl-S",
        "Ctrl-Q",
        "Ctrl-H",
        "Ctrl-I",
        "Ctrl-M",
        "Ctrl-[",
        "Del",
        "Backspace",
        "F10",
    ];
    for keys in BINDINGS.iter().flat_map(|binding| binding.keys) {
        assert!(!keys.split(' ').any(|key| forbidden.contains(&key)), "{keys}");
        assert!(!keys.contains("Alt"), "{keys}");
    }
}

#[test]
fn the_key_that_confirms_is_neither_the_one_that_opens_nor_enter() {
    let keys_of = |action| {
        BINDINGS
            .iter()
            .filter(move |b| b.action == action)
            .flat_map(|b| b.keys)
    };
    for confirming in keys_of(Action::Confirm) {
        assert_ne!(*confirming, "Enter");
        assert!(!keys_of(Action::Withdraw).any(|opening| opening == confirming));
        for place in Place::ALL
            .into_iter()
            .filter(|place| *place != Place::WithdrawPanel)
        {
            assert_ne!(
                lookup(place, confirming),
                Lookup::Action(Action::Confirm),
                "{place:?}"
            );
        }
    }
    assert_eq!(
        lookup(Place::WithdrawPanel, "Enter"),
        Lookup::Action(Action::Cancel)
    );
    assert_eq!(lookup(Place::WithdrawPanel, "w"), Lookup::Nothing);
}

#[test]
fn what_changes_traffic_needs_an_operator() {
    for binding in BINDINGS {
        assert_eq!(
            binding.action.changes_traffic(),
            binding.action.needs() == Role::Operator
        );
    }
}

#[test]
fn keys_from_the_terminal_are_written_like_the_table() {
    let key = |code, modifiers| written(KeyEvent::new(code, modifiers));
    assert_eq!(
        key(KeyCode::Char('d'), KeyModifiers::CONTROL).as_deref(),
        Some("Ctrl-D")
    );
    assert_eq!(key(KeyCode::Char('G'), KeyModifiers::SHIFT).as_deref(), Some("G"));
    assert_eq!(
        key(KeyCode::Char(' '), KeyModifiers::NONE).as_deref(),
        Some("Space")
    );
    assert_eq!(
        key(KeyCode::BackTab, KeyModifiers::SHIFT).as_deref(),
        Some("S-Tab")
    );
    assert_eq!(key(KeyCode::Char('y'), KeyModifiers::ALT), None);
}
