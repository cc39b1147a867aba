//! Identifiers short enough for a table.

/// Fewest characters that may stand for an identifier.
pub const MIN_ID_CHARS: usize = 4;
/// How much of an identifier is shown.
const SHOWN_CHARS: usize = 8;

/// The last eight digits. A UUID v7 begins with the time, so the identifiers of one attack wave begin alike and
/// only their ends tell them apart.
#[must_use]
pub fn short_id(id: impl std::fmt::Display) -> String {
    let text = id.to_string();
    text.get(text.len().saturating_sub(SHOWN_CHARS)..)
        .unwrap_or_default()
        .to_owned()
}

/// Whether `typed` stands for this identifier: its beginning or its end, at least [`MIN_ID_CHARS`] long.
#[must_use]
pub fn id_matches(id: impl std::fmt::Display, typed: &str) -> bool {
    let typed = typed.to_ascii_lowercase();
    let id = id.to_string();
    typed.len() >= MIN_ID_CHARS && (id.starts_with(&typed) || id.ends_with(&typed))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0199a8b2-7c31-7e55-8a4d-2f6b9c01d3e4";

    #[test]
    fn the_end_tells_ids_of_one_wave_apart() {
        assert_eq!(short_id(ID), "9c01d3e4");
        assert!(id_matches(ID, "9C01D3E4") && id_matches(ID, "0199a8b2-7c31") && id_matches(ID, ID));
        assert!(!id_matches(ID, "3e4") && !id_matches(ID, "7c31"));
    }
}
