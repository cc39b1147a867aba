//! Numbers, spans and names in the few cells a list has for them.

use prefixd_api::mitigation::{MitigationStatus, Severity};
use prefixd_api::show::{Zone, absolute, si};
use prefixd_api::time::Timestamp;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The short form of a rate; unknown is `-`, which is not zero.
pub(crate) fn si_or_unknown(number: Option<u64>) -> String {
    number.map_or_else(|| "-".to_owned(), si)
}

/// A moment in a column: the time of day, or the date of another day. The context line names the zone.
pub(crate) fn short_moment(at: Timestamp, now: Timestamp, zone: Zone) -> String {
    let text = absolute(at, now, zone);
    let kept = match text.split_once(' ') {
        Some((date, _)) => date,
        None => text.get(..8).unwrap_or(&text),
    };
    kept.to_owned()
}

/// What the context line calls a zone.
pub(crate) const fn zone_name(zone: Zone) -> &'static str {
    match zone {
        Zone::Utc => "UTC",
        Zone::Local => "local time",
    }
}

/// A confidence in three cells: `.94`, `1.0`; unknown is `-`.
pub(crate) fn confidence(confidence: Option<f64>) -> String {
    match confidence {
        None => "-".to_owned(),
        Some(value) => {
            let text = format!("{value:.2}");
            text.strip_prefix('0')
                .map_or_else(|| "1.0".to_owned(), ToOwned::to_owned)
        }
    }
}

/// The word and mark of a severity, five cells wide and seven at most.
pub(crate) const fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "!! CRIT",
        Severity::High => "!  HIGH",
        Severity::Medium => "-  MED",
        Severity::Low => "   low",
    }
}

/// A severity beside others on one line.
pub(crate) const fn severity_word(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "crit",
        Severity::High => "high",
        Severity::Medium => "med",
        Severity::Low => "low",
    }
}

/// A status in a narrow column.
pub(crate) const fn status(status: MitigationStatus) -> &'static str {
    match status {
        MitigationStatus::Pending => "pending",
        MitigationStatus::Active => "active",
        MitigationStatus::Escalated => "ESCALATED",
        MitigationStatus::Withdrawn => "withdrawn",
        MitigationStatus::Expired => "expired",
        MitigationStatus::Rejected => "rejected",
    }
}

/// Cuts at the end, with a mark when something is missing.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut out = head(text, width.saturating_sub(1));
    if width > 0 {
        out.push('~');
    }
    out
}

/// Fills up with spaces to a width in cells.
pub(crate) fn pad(text: &str, width: usize) -> String {
    let missing = width.saturating_sub(text.width());
    format!("{text}{}", " ".repeat(missing))
}

/// Cuts in the middle, so that both ends of an address stay: `2001:db8:..:53`.
pub(crate) fn cut_middle(text: &str, width: usize) -> String {
    let all = text.width();
    if all <= width {
        return text.to_owned();
    }
    if width < 6 {
        return head(text, width);
    }
    let tail = (width - 2) / 2;
    let mut kept: Vec<char> = Vec::new();
    let mut used = 0;
    for letter in text.chars().rev() {
        used += letter.width().unwrap_or(0);
        if used > tail {
            break;
        }
        kept.push(letter);
    }
    kept.reverse();
    head(text, width - 2 - tail) + ".." + &String::from_iter(kept)
}

fn head(text: &str, width: usize) -> String {
    let mut used = 0;
    text.chars()
        .take_while(|letter| {
            used += letter.width().unwrap_or(0);
            used <= width
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn confidence_is_narrow_and_zero_is_not_unknown() {
        assert_eq!(
            [None, Some(0.0), Some(0.94), Some(1.0)].map(confidence),
            ["-", ".00", ".94", "1.0"]
        );
    }

    #[test]
    fn moments_in_columns_are_the_time_or_another_day() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let now = at("2026-11-23T14:32:07Z");
        assert_eq!(
            short_moment(at("2026-11-23T14:22:55Z"), now, Zone::Utc),
            "14:22:55"
        );
        assert_eq!(
            short_moment(at("2026-11-20T14:22:55Z"), now, Zone::Utc),
            "2026-11-20"
        );
    }

    #[test]
    fn long_text_is_cut_inside_its_width() {
        assert_eq!(cut_middle("2001:db8:1234:5678::53", 14), "2001:d..78::53");
        assert_eq!(cut("memcached_amplification", 10), "memcached~");
        for width in 0..30 {
            assert!(cut("日本語 text wide", width).width() <= width);
            assert!(cut_middle("日本語 text wide 日本語", width).width() <= width);
        }
    }
}
