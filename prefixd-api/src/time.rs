//! Wall-clock time in whole microseconds, written as RFC 3339 UTC.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;
use std::time::Duration;

/// A moment, in microseconds since the Unix epoch. The database stores the integer, the wire carries RFC 3339
/// UTC with six decimals.
//
// In memory the microseconds are counted from the beginning of time, which no moment is: a mitigation has a dozen moments that
// may be absent, and none of them takes more room for it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "server", schema(value_type = String, format = DateTime))]
pub struct Timestamp(NonZeroU64);

const _: () = assert!(size_of::<Option<Timestamp>>() == size_of::<i64>());

impl Timestamp {
    /// The moment this many microseconds after the Unix epoch; the beginning of time is the first moment after it.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        match NonZeroU64::new(micros.cast_unsigned() ^ EPOCH) {
            Some(since_the_beginning) => Self(since_the_beginning),
            None => Self(NonZeroU64::MIN),
        }
    }

    /// Microseconds since the Unix epoch.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        (self.0.get() ^ EPOCH).cast_signed()
    }

    /// The system's wall clock. Decisions never call this: time is given to them.
    #[must_use]
    pub fn wall_clock() -> Self {
        Self::from_micros(jiff::Timestamp::now().as_microsecond())
    }

    /// How long after `earlier` this is; zero when it is not after.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.get().saturating_sub(earlier.0.get()))
    }

    /// This moment plus `span`, stopping at the end of time instead of wrapping.
    #[must_use]
    pub fn saturating_add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(micros(span)))
    }

    /// This moment minus `span`, stopping at the beginning of time instead of wrapping.
    #[must_use]
    pub fn saturating_sub(self, span: Duration) -> Self {
        Self(NonZeroU64::new(self.0.get().saturating_sub(micros(span))).unwrap_or(NonZeroU64::MIN))
    }
}

/// The Unix epoch, counted from the beginning of time: half of all there is lies before it.
const EPOCH: u64 = 1 << 63;

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(text) = Text::of(*self) {
            return f.write_str(text.as_str());
        }
        match jiff::Timestamp::from_microsecond(self.as_micros()) {
            Ok(at) => write!(f, "{at:.6}"),
            Err(_) => f.write_str("out of range"),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Timestamp {
    type Err = jiff::Error;

    /// Reads RFC 3339 with any offset; parts below a microsecond are cut off.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(at) = Text::read(text) {
            return Ok(at);
        }
        text.parse::<jiff::Timestamp>()
            .map(|at| Self::from_micros(at.as_microsecond()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match Text::of(*self) {
            Some(text) => serializer.serialize_str(text.as_str()),
            None => serializer.collect_str(self),
        }
    }
}

/// A moment of the years 1970 to 9998 as text, as we write it. A page of a list has a thousand of them, and by way of [`fmt`] they
/// were a seventh of what it cost; a start reads a million.
struct Text([u8; Text::LEN]);

impl Text {
    const LEN: usize = "1970-01-01T00:00:00.000000Z".len();
    /// The first moment of the year 9999, of which jiff does not know the last days.
    const END: u64 = 253_370_764_800_000_000;

    fn of(at: Timestamp) -> Option<Self> {
        const DAY: u64 = 86_400;
        let micros = u64::try_from(at.as_micros())
            .ok()
            .filter(|micros| *micros < Self::END)?;
        let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
        let (day, second) = (seconds / DAY, seconds % DAY);
        let (year, month, date) = civil(day);
        let mut text = *b"1970-01-01T00:00:00.000000Z";
        let fields = [
            (0, 4, year),
            (5, 2, month),
            (8, 2, date),
            (11, 2, second / 3600),
            (14, 2, second / 60 % 60),
            (17, 2, second % 60),
            (20, 6, fraction),
        ];
        for (start, digits, mut value) in fields {
            for place in text.iter_mut().skip(start).take(digits).rev() {
                // Below ten.
                *place = b'0' + u8::try_from(value % 10).unwrap_or_default();
                value /= 10;
            }
        }
        Some(Self(text))
    }

    /// Reads what [`Text::of`] writes, and nothing else: other texts are for jiff.
    fn read(text: &str) -> Option<Timestamp> {
        let text: &[u8; Self::LEN] = text.as_bytes().try_into().ok()?;
        let number = |range: std::ops::Range<usize>| {
            let digits = text.get(range)?.iter();
            digits.into_iter().try_fold(0_u64, |number, digit| {
                let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
                Some(number * 10 + u64::from(digit))
            })
        };
        let day = day(number(0..4)?, number(5..7)?, number(8..10)?)?;
        let second = number(11..13)? * 3600 + number(14..16)? * 60 + number(17..19)?;
        let micros = (day * 86_400 + second) * 1_000_000 + number(20..26)?;
        let at = Timestamp::from_micros(i64::try_from(micros).ok()?);
        // So that a date that is none, a leap second and other signs between the digits are not taken for another moment.
        (Self::of(at)?.0 == *text).then_some(at)
    }

    fn as_str(&self) -> &str {
        // Digits and the signs between them.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// The day since 1970 of a year, month and day of the proleptic Gregorian calendar; `None` for what is before 1970 or no month.
fn day(year: u64, month: u64, date: u64) -> Option<u64> {
    let (year, month) = match month {
        1..=2 => (year.checked_sub(1)?, month + 9),
        3..=12 => (year, month - 3),
        _ => return None,
    };
    let (era, year) = (year / 400, year % 400);
    let day = 365 * year + year / 4 - year / 100 + (153 * month + 2) / 5 + date;
    (era * 146_097 + day).checked_sub(TO_MARCH_OF_0 + 1)
}

/// Days from the first of March of the year 0 to 1970.
const TO_MARCH_OF_0: u64 = 719_468;

/// Year, month and day of a day since 1970 in the proleptic Gregorian calendar. Years begin in March here, so that the leap
/// day is their last; 400 of them have 146,097 days.
fn civil(day: u64) -> (u64, u64, u64) {
    let day = day + TO_MARCH_OF_0;
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (era * 400 + year + next, month, date)
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Timestamp;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an RFC 3339 time such as 2026-01-18T10:29:58Z")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Timestamp, E> {
                text.parse().map_err(|_| {
                    E::custom(format_args!(
                        "{text:?} is not an RFC 3339 time such as 2026-01-18T10:29:58Z"
                    ))
                })
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_in_utc_with_microseconds() {
        let at: Timestamp = "2026-01-18T11:29:58.1234567+01:00".parse().unwrap();
        assert_eq!(at.to_string(), "2026-01-18T10:29:58.123456Z");
        let json = serde_json::to_string(&at).unwrap();
        assert_eq!(serde_json::from_str::<Timestamp>(&json).unwrap(), at);
    }

    /// As jiff writes it, on the edges and everywhere between.
    #[test]
    fn every_moment_is_written_as_the_calendar_says() {
        let by_jiff = |micros: i64| match jiff::Timestamp::from_microsecond(micros) {
            Ok(at) => format!("{at:.6}"),
            Err(_) => "out of range".to_owned(),
        };
        let day = 86_400_000_000;
        let end = i64::try_from(Text::END).unwrap();
        let edges = [i64::MIN, -1, 0, 1, 951_782_400_000_000, end - 1, end, i64::MAX];
        // All of those 8,029 years, 37 days and some hours from each to the next.
        let days = (0..end / day)
            .step_by(37)
            .map(|number| number * day + number * 7_919_000_003 % day);
        for micros in edges.into_iter().chain(days) {
            let at = Timestamp::from_micros(micros);
            assert_eq!(at.to_string(), by_jiff(micros));
            assert_eq!(serde_json::to_value(at).unwrap(), by_jiff(micros));
            let is_usual = (0..end).contains(&micros);
            assert_eq!(Text::read(&by_jiff(micros)), is_usual.then_some(at));
        }
    }

    #[test]
    fn what_is_not_as_we_write_it_is_for_the_general_reader() {
        for text in [
            "2026-02-29T10:29:58.123456Z",
            "2026-13-01T10:29:58.123456Z",
            "2026-00-01T10:29:58.123456Z",
            "2026-01-00T10:29:58.123456Z",
            "2026-01-18T24:00:00.000000Z",
            "2026-01-18T10:29:60.000000Z",
            "1969-12-31T23:59:59.999999Z",
            "0000-01-01T00:00:00.000000Z",
            "9999-01-01T00:00:00.000000Z",
            "2026-01-18 10:29:58.123456Z",
            "2026-01-18T10:29:58.123456z",
            "2026-01-18T10:29:58,123456Z",
            "2026-01-18T10:29:58.12345é",
            "2026-01-18T+1:29:58.123456Z",
            "2026-01-18T10:29:58.123456",
            "2026-01-18T10:29:58.1234560Z",
            "2026-01-18T10:29:58Z",
            "",
        ] {
            assert_eq!(Text::read(text), None, "{text}");
            let by_jiff = text.parse::<jiff::Timestamp>().ok();
            let read = text.parse::<Timestamp>().ok();
            assert_eq!(
                read.map(Timestamp::as_micros),
                by_jiff.map(jiff::Timestamp::as_microsecond),
                "{text}"
            );
        }
    }

    #[test]
    fn spans_do_not_wrap() {
        let at = Timestamp::from_micros(i64::MAX);
        assert_eq!(at.saturating_add(Duration::from_secs(1)), at);
        assert_eq!(
            Timestamp::from_micros(5).since(Timestamp::from_micros(9)),
            Duration::ZERO
        );
        let first = Timestamp::from_micros(i64::MIN);
        assert_eq!(first.saturating_sub(Duration::MAX), first);
        assert_eq!(at.saturating_sub(Duration::MAX), first);
        assert_eq!(first.saturating_add(Duration::MAX), at);
    }

    #[test]
    fn moments_are_ordered_as_their_microseconds() {
        let micros = [i64::MIN + 1, -1, 0, 1, i64::MAX];
        assert!(micros.is_sorted_by_key(|micros| Timestamp::from_micros(*micros)));
        assert_eq!(
            micros.map(|micros| Timestamp::from_micros(micros).as_micros()),
            micros
        );
    }
}
