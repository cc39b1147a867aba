//! Objects as JSON text that is kept.

use serde::Serialize;
use serde::ser::Error as _;
use std::cell::RefCell;

thread_local! {
    /// Where an object is written before it is known how much room it takes: text of the exact length stays in the
    /// processor's caches until it is stored, text with room for the longest does not.
    static DRAFT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A value as JSON, in a text that has no room to spare.
///
/// # Errors
/// When it cannot be written as JSON, which is a defect.
pub(crate) fn text(value: &impl Serialize) -> Result<String, serde_json::Error> {
    DRAFT.with_borrow_mut(|draft| {
        draft.clear();
        serde_json::to_writer(&mut *draft, value)?;
        str::from_utf8(draft)
            .map(str::to_owned)
            .map_err(serde_json::Error::custom)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_text_is_its_own_and_has_no_room_to_spare() {
        let long = text(&"a".repeat(10_000)).unwrap();
        let short = text(&[1, 2]).unwrap();
        assert_eq!((long.len(), long.capacity()), (10_002, 10_002));
        assert_eq!((&*short, short.capacity()), ("[1,2]", 5));
    }

    #[test]
    fn what_is_no_json_is_an_error_and_the_next_is_none() {
        let keyed_by_list = BTreeMap::from([([1], 2)]);
        text(&keyed_by_list).unwrap_err();
        assert_eq!(text(&true).unwrap(), "true");
    }
}
