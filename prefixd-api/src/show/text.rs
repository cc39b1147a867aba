//! Text from outside: detectors, routers, other people. A terminal obeys what it is sent, so nothing that moves
//! the cursor, reorders or hides text may pass.

/// Longest text of a table cell, in characters.
pub const MAX_CELL_CHARS: usize = 256;
/// Longest text of a sentence or a note, in characters.
pub const MAX_TEXT_CHARS: usize = 4096;

/// The text with every control, direction and invisible character replaced by U+FFFD, tabs and line breaks by
/// a space, cut to `max_chars` with an ellipsis.
#[must_use]
pub fn clean(text: &str, max_chars: usize) -> String {
    let mut cleaned: String = text
        .chars()
        .take(max_chars)
        .map(|c| match c {
            '\t' | '\n' | '\r' => ' ',
            c if is_unsafe(c) => char::REPLACEMENT_CHARACTER,
            c => c,
        })
        .collect();
    if text.chars().nth(max_chars).is_some() {
        cleaned.pop();
        cleaned.push('…');
    }
    cleaned
}

/// Whether a terminal would obey the character, or a reader not see it: controls, directions, invisible ones.
#[must_use]
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00ad}' | '\u{034f}' | '\u{061c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_acts_on_a_terminal_passes() {
        let hostile = "a\u{1b}]52;c;eA==\u{7}b\u{9b}2Jc\u{202e}d\u{200b}e\u{feff}f\u{7f}g\rh\ni\tj\u{2066}k";
        let shown = clean(hostile, MAX_TEXT_CHARS);
        assert_eq!(
            shown,
            "a\u{fffd}]52;c;eA==\u{fffd}b\u{fffd}2Jc\u{fffd}d\u{fffd}e\u{fffd}f\u{fffd}g h i j\u{fffd}k"
        );
    }

    #[test]
    fn ordinary_text_is_kept_and_long_text_cut() {
        assert_eq!(clean("Größe 東京 ok", 20), "Größe 東京 ok");
        assert_eq!(clean("abcdef", 6), "abcdef");
        assert_eq!(clean("abcdefg", 6), "abcde…");
        assert_eq!(clean("abc", 0), "…");
    }
}
