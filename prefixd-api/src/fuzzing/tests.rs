//! The fuzz targets as they are, on their corpus and mutations of it, in every run of the tests.

use crate::event::{Event, EventRequest};
use crate::rule::{Action, Match, Ranges, Rule};

#[path = "../../../fuzz/fuzz_targets/event.rs"]
#[expect(unused_attributes, reason = "the file is a program to cargo-fuzz")]
mod event;
#[path = "../../../fuzz/fuzz_targets/text.rs"]
#[expect(unused_attributes, reason = "the file is a program to cargo-fuzz")]
mod text;

#[test]
fn every_event_of_the_corpus_is_valid() {
    for bytes in lab::fuzz::corpus("event").unwrap() {
        let request = serde_json::from_slice::<EventRequest>(&bytes).unwrap();
        assert!(
            Event::try_from(request).is_ok(),
            "{}",
            String::from_utf8_lossy(&bytes)
        );
    }
}

/// A corpus that the parser refuses would test nothing behind it.
#[test]
fn every_text_of_the_corpus_is_something() {
    for bytes in lab::fuzz::corpus("text").unwrap() {
        let text = String::from_utf8(bytes).unwrap();
        let parses = text.parse::<Rule>().is_ok()
            || text.parse::<Match>().is_ok()
            || text.parse::<Action>().is_ok()
            || text.parse::<Ranges>().is_ok();
        assert!(parses, "{text:?}: {:?}", text.parse::<Rule>());
    }
}
