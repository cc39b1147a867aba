//! Moments and spans of time.

use crate::time::Timestamp;
use jiff::tz::TimeZone;
use jiff::{ToSpan, ZonedDateTime};
use std::time::Duration;

/// The zone that moments are shown and read in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Zone {
    /// Shown as `Z`.
    #[default]
    Utc,
    /// The zone of this session (`TZ`).
    Local,
}

impl Zone {
    fn time_zone(self) -> TimeZone {
        match self {
            Self::Utc => TimeZone::UTC,
            Self::Local => TimeZone::system(),
        }
    }

    fn at(self, moment: Timestamp) -> Option<ZonedDateTime> {
        Some(
            jiff::Timestamp::from_microsecond(moment.as_micros())
                .ok()?
                .to_zoned_datetime(self.time_zone()),
        )
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::Utc => "Z",
            Self::Local => "%:z",
        }
    }
}

/// `14:22:55Z`, with the date when it is not today.
#[must_use]
pub fn absolute(moment: Timestamp, now: Timestamp, zone: Zone) -> String {
    let (Some(at), Some(today)) = (zone.at(moment), zone.at(now)) else {
        return "-".to_owned();
    };
    let date = if at.date() == today.date() {
        ""
    } else {
        "%Y-%m-%d "
    };
    at.strftime(&format!("{date}%H:%M:%S{}", zone.suffix()))
        .to_string()
}

/// RFC 3339 with milliseconds, where order matters.
#[must_use]
pub fn exact(moment: Timestamp, zone: Zone) -> String {
    zone.at(moment).map_or_else(
        || "-".to_owned(),
        |at| {
            at.strftime(&format!("%Y-%m-%dT%H:%M:%S%.3f{}", zone.suffix()))
                .to_string()
        },
    )
}

/// Absolute and relative, for details: `14:22:55Z (9m12s ago)`, `14:40:00Z (in 7m53s)`.
#[must_use]
pub fn both(moment: Timestamp, now: Timestamp, zone: Zone) -> String {
    let shown = absolute(moment, now, zone);
    if moment > now {
        format!("{shown} (in {})", relative(moment.since(now)))
    } else {
        format!("{shown} ({} ago)", relative(now.since(moment)))
    }
}

/// The two largest units: `48s`, `9m12s`, `3h05m`, `2d04h`.
#[must_use]
pub fn relative(span: Duration) -> String {
    let seconds = span.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{minutes}m{:02}s", seconds % 60),
        3_600..86_400 => format!("{hours}h{minutes:02}m"),
        _ => format!("{days}d{hours:02}h"),
    }
}

/// What is left until a deadline; under a minute it says so: `!0m48s`.
#[must_use]
pub fn remaining(deadline: Timestamp, now: Timestamp) -> String {
    let left = deadline.since(now);
    if left < Duration::from_mins(1) {
        format!("!0m{:02}s", left.as_secs())
    } else {
        relative(left)
    }
}

/// The text names no moment or span.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MomentError {
    /// Neither a span nor a moment.
    #[error("{0:?} is not a time such as 1h, 13:40, yesterday or 2026-11-20T22:00Z")]
    Moment(String),
    /// Not a span.
    #[error("{0:?} is not a duration such as 90s, 15m, 1h30m or 2d")]
    Span(String),
}

/// Reads `90s`, `2m`, `1h30m`, `2d`.
///
/// # Errors
/// When it is no list of numbers with a unit from large to small, or does not fit.
pub fn parse_span(text: &str) -> Result<Duration, MomentError> {
    let refused = || MomentError::Span(text.to_owned());
    let mut rest = text.trim();
    let mut total = 0_u64;
    let mut smaller_than = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(refused)?;
        let number: u64 = rest[..digits].parse().map_err(|_| refused())?;
        let unit = rest[digits..].chars().next().ok_or_else(refused)?;
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            _ => return Err(refused()),
        };
        if seconds >= smaller_than {
            return Err(refused());
        }
        smaller_than = seconds;
        total = number
            .checked_mul(seconds)
            .and_then(|part| total.checked_add(part))
            .ok_or_else(refused)?;
        rest = &rest[digits + 1..];
    }
    if smaller_than == u64::MAX {
        return Err(refused());
    }
    Ok(Duration::from_secs(total))
}

/// Reads a span before now (`1h`), a time of today (`13:40`), `now`, `today`, `yesterday`, or a date and time.
/// Without a zone, `zone` is meant. A time of day that is still to come means yesterday's.
///
/// # Errors
/// When it is none of these.
pub fn parse_moment(text: &str, now: Timestamp, zone: Zone) -> Result<Timestamp, MomentError> {
    let refused = || MomentError::Moment(text.to_owned());
    let text = text.trim();
    if let Ok(span) = parse_span(text) {
        return Ok(now.saturating_sub(span));
    }
    if let Ok(at) = text.parse() {
        return Ok(at);
    }
    let today = zone.at(now).ok_or_else(refused)?;
    let midnight = || today.start_of_day().map_err(|_| refused());
    let at = match text {
        "now" => return Ok(now),
        "today" => midnight()?,
        "yesterday" => midnight()?.checked_sub(1.day()).map_err(|_| refused())?,
        // A time alone is also found inside a date and time, so that comes first.
        _ => match text.parse::<jiff::civil::DateTime>() {
            Ok(at) => at.to_zoned_datetime(zone.time_zone()).map_err(|_| refused())?,
            Err(_) => last_time_of_day(text, &today).ok_or_else(refused)?,
        },
    };
    Ok(Timestamp::from_micros(at.timestamp().as_microsecond()))
}

fn last_time_of_day(text: &str, now: &ZonedDateTime) -> Option<ZonedDateTime> {
    let time: jiff::civil::Time = text.parse().ok()?;
    let at = now
        .date()
        .to_datetime(time)
        .to_zoned_datetime(now.time_zone().clone())
        .ok()?;
    if at > *now {
        at.checked_sub(1.day()).ok()
    } else {
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    const NOW: &str = "2026-11-23T14:32:07.5Z";

    #[test]
    fn moments_of_today_have_no_date() {
        let shown = |text| absolute(at(text), at(NOW), Zone::Utc);
        assert_eq!(shown("2026-11-23T14:22:55Z"), "14:22:55Z");
        assert_eq!(shown("2026-11-22T14:22:55Z"), "2026-11-22 14:22:55Z");
        assert_eq!(exact(at(NOW), Zone::Utc), "2026-11-23T14:32:07.500Z");
        assert_eq!(
            both(at("2026-11-23T14:22:55.5Z"), at(NOW), Zone::Utc),
            "14:22:55Z (9m12s ago)"
        );
        assert_eq!(
            both(at("2026-11-23T14:40:00.5Z"), at(NOW), Zone::Utc),
            "14:40:00Z (in 7m53s)"
        );
        assert_eq!(
            absolute(Timestamp::from_micros(i64::MAX), at(NOW), Zone::Utc),
            "-"
        );
    }

    #[test]
    fn the_last_minute_is_marked() {
        assert_eq!(remaining(at("2026-11-23T14:32:55.5Z"), at(NOW)), "!0m48s");
        assert_eq!(remaining(at("2026-11-23T14:00:00Z"), at(NOW)), "!0m00s");
        assert_eq!(remaining(at("2026-11-23T14:41:19.5Z"), at(NOW)), "9m12s");
        let spans = [5, 3_599, 3_600, 11_100, 187_200].map(|s| relative(Duration::from_secs(s)));
        assert_eq!(spans, ["5s", "59m59s", "1h00m", "3h05m", "2d04h"]);
    }

    #[test]
    fn spans_are_read_as_they_are_written() {
        for (text, seconds) in [
            ("90s", 90),
            ("2m", 120),
            ("1h30m", 5_400),
            ("2d", 172_800),
            ("0s", 0),
        ] {
            assert_eq!(parse_span(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "5",
            "m",
            "1m1h",
            "1m1m",
            "-1s",
            "1.5h",
            "1x",
            "1µ",
            "99999999999999999d",
        ] {
            assert!(parse_span(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn moments_are_read_in_the_zone_shown() {
        let read = |text| parse_moment(text, at(NOW), Zone::Utc).map(|at| at.to_string());
        for (text, moment) in [
            ("1h", "2026-11-23T13:32:07.500000Z"),
            ("13:40", "2026-11-23T13:40:00.000000Z"),
            ("15:00", "2026-11-22T15:00:00.000000Z"),
            ("yesterday", "2026-11-22T00:00:00.000000Z"),
            ("2026-11-20T22:00Z", "2026-11-20T22:00:00.000000Z"),
            ("2026-11-20T22:00", "2026-11-20T22:00:00.000000Z"),
            ("now", "2026-11-23T14:32:07.500000Z"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(moment), "{text}");
        }
        for text in ["", "25:00", "soon", "2026-13-01T00:00Z"] {
            assert!(read(text).is_err(), "{text:?}");
        }
    }
}
