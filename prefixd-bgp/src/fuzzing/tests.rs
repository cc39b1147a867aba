//! The fuzz targets as they are, on their corpus and mutations of it, in every run of the tests.

use super::*;

#[path = "../../../fuzz/fuzz_targets/flowspec.rs"]
#[expect(unused_attributes, reason = "the file is a program to cargo-fuzz")]
mod flowspec;
#[path = "../../../fuzz/fuzz_targets/framing.rs"]
#[expect(unused_attributes, reason = "the file is a program to cargo-fuzz")]
mod framing;
#[path = "../../../fuzz/fuzz_targets/notification.rs"]
#[expect(unused_attributes, reason = "the file is a program to cargo-fuzz")]
mod notification;
#[path = "../../../fuzz/fuzz_targets/open.rs"]
#[expect(unused_attributes, reason = "the file is a program to cargo-fuzz")]
mod open;
#[path = "../../../fuzz/fuzz_targets/own_open.rs"]
#[expect(unused_attributes, reason = "the file is a program to cargo-fuzz")]
mod own_open;
#[path = "../../../fuzz/fuzz_targets/session.rs"]
#[expect(unused_attributes, reason = "the file is a program to cargo-fuzz")]
mod session;
#[path = "../../../fuzz/fuzz_targets/update.rs"]
#[expect(unused_attributes, reason = "the file is a program to cargo-fuzz")]
mod update;

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
