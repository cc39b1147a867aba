//! What the fuzzers and the replay of their corpus call: any bytes, and a panic when a promise is broken.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use crate::rule::{Action, Match, MatchRequest, Ranges, Rule};

/// The text of rules and of their parts: what parses is written as text that means the same, and written once more it
/// is the same text.
pub fn text(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    returns::<Rule>(&text);
    returns::<Match>(&text);
    returns::<Action>(&text);
    returns::<Ranges>(&text);
    // Has no text of its own; it must only not panic.
    let _ = text.parse::<MatchRequest>();
}

fn returns<T: FromStr<Err: Debug> + Display + PartialEq + Debug>(text: &str) {
    let Ok(value) = text.parse::<T>() else { return };
    let written = value.to_string();
    let again = written.parse::<T>();
    assert_eq!(
        again.as_ref().ok(),
        Some(&value),
        "{text:?} is written {written:?}"
    );
    assert_eq!(again.map(|again| again.to_string()).ok(), Some(written));
}

#[cfg(test)]
mod tests {
    use crate::rule::{Action, Match, Ranges, Rule};

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

    #[test]
    fn text() {
        lab::fuzz::replay("text", 20_000, super::text).unwrap();
    }
}
