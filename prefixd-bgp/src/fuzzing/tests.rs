//! The corpus and its mutations, in every run of the tests.

use super::*;

/// Of each target. More belongs to the long runs (CONTRIBUTING.md).
const MUTATED: usize = 20_000;

fn replay(target: &str, run: impl FnMut(&[u8])) {
    lab::fuzz::replay(target, MUTATED, run).unwrap();
}

#[test]
fn framing() {
    replay("framing", super::framing);
}

#[test]
fn open() {
    replay("open", super::open);
}

#[test]
fn own_open() {
    replay("own_open", super::own_open);
}

#[test]
fn notification() {
    replay("notification", super::notification);
}

#[test]
fn update() {
    replay("update", super::update);
}

#[test]
fn session() {
    replay("session", super::session);
}

#[test]
fn flowspec() {
    replay("flowspec", super::flowspec);
}

/// Inputs that are refused at the door would test nothing behind it.
#[test]
fn the_corpus_reaches_what_it_is_for() {
    for body in lab::fuzz::corpus("open").unwrap() {
        assert!(
            matches!(framed(OPEN, &body), Some(Inbound::Open(_))),
            "{body:02x?}"
        );
    }
    for stream in lab::fuzz::corpus("framing").unwrap() {
        assert!(messages(&[&stream[1..]]).len() > 1, "{stream:02x?}");
    }
    let decoded = lab::fuzz::corpus("flowspec")
        .unwrap()
        .iter()
        .filter(|bytes| {
            crate::wire::decode_rules(Family::FLOWSPEC[usize::from(bytes[0])], &bytes[1..]).is_some()
        })
        .count();
    assert!(decoded >= 6, "{decoded} inputs are NLRI");
}
