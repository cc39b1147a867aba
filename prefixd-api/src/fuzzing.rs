//! What the fuzzers and the replay of their corpus call: any bytes, and a panic when a promise is broken.

#[cfg(test)]
mod tests;

use std::fmt::{Debug, Display};
use std::str::FromStr;

use crate::event::{Event, EventRequest, MAX_EVENT_PORTS, MAX_NAME_BYTES};
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

/// What a detector sends: what is read is written and read as the same, and what passes holds what it is bounded by.
pub fn event(bytes: &[u8]) {
    let Ok(request) = serde_json::from_slice::<EventRequest>(bytes) else {
        return;
    };
    let written = serde_json::to_string(&request).unwrap_or_default();
    let again =
        serde_json::from_str::<EventRequest>(&written).and_then(|again| serde_json::to_string(&again));
    assert_eq!(again.ok().as_ref(), Some(&written));
    match Event::try_from(request) {
        Ok(event) => {
            for name in [
                Some(&event.source),
                Some(&event.vector),
                event.external_id.as_ref(),
            ] {
                let is_name = |name: &String| {
                    (1..=MAX_NAME_BYTES).contains(&name.len()) && !name.chars().any(char::is_control)
                };
                assert!(name.is_none_or(is_name), "{name:?}");
            }
            assert!(event.dst_ports.len().max(event.src_ports.len()) <= MAX_EVENT_PORTS);
            assert!(
                event
                    .confidence
                    .is_none_or(|confidence| (0.0..=1.0).contains(&confidence))
            );
        }
        Err(errors) => assert!(!errors.is_empty(), "a refusal names a field: {written}"),
    }
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
