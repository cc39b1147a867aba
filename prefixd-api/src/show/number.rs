//! Numbers: decimal multiples, three significant digits, unknown is `-` and zero is `0`.

/// The multiples, smallest first.
const MULTIPLES: [(char, u64); 5] = [
    ('k', 1_000),
    ('M', 1_000_000),
    ('G', 1_000_000_000),
    ('T', 1_000_000_000_000),
    ('P', 1_000_000_000_000_000),
];

/// Three significant digits: `940`, `8.41G`, `16.4G`, `120M`.
#[must_use]
pub fn si(value: u64) -> String {
    let (digits, multiple) = significant(value);
    match multiple {
        Some(letter) => format!("{digits}{letter}"),
        None => digits,
    }
}

/// With its unit, for details: `8.41 Gbps`, `940 pps`.
#[must_use]
pub fn si_unit(value: u64, unit: &str) -> String {
    let (digits, multiple) = significant(value);
    match multiple {
        Some(letter) => format!("{digits} {letter}{unit}"),
        None => format!("{digits} {unit}"),
    }
}

fn significant(value: u64) -> (String, Option<char>) {
    for (letter, factor) in MULTIPLES {
        // Rounded in the last shown digit; what rounds up to 1000 belongs to the next multiple.
        for decimals in [2_u32, 1, 0] {
            let scale = 10_u128.pow(decimals);
            let scaled = (u128::from(value) * scale + u128::from(factor) / 2) / u128::from(factor);
            if value >= 1_000 && scaled < 1_000 {
                let (whole, part) = (scaled / scale, scaled % scale);
                let width = decimals as usize;
                let digits = match decimals {
                    0 => whole.to_string(),
                    _ => format!("{whole}.{part:0width$}"),
                };
                return (digits, Some(letter));
            }
        }
        if value < 1_000 {
            break;
        }
    }
    if value < 1_000 {
        (value.to_string(), None)
    } else {
        (count(value / MULTIPLES[4].1), Some('P'))
    }
}

/// With separators, for prose: `12,847`.
#[must_use]
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut shown = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// For tight columns: `940`, `12.8k`.
#[must_use]
pub fn short_count(value: u64) -> String {
    si(value)
}

/// Without decimals; a part that is not none is never `0%`, and one that is not all never `100%`.
#[must_use]
pub fn percent(part: u64, whole: u64) -> String {
    let (part, whole) = (u128::from(part), u128::from(whole));
    if whole == 0 {
        return "-".to_owned();
    }
    match part * 100 / whole {
        0 if part > 0 => "<1%".to_owned(),
        99 if part < whole => ">99%".to_owned(),
        percent => format!("{percent}%"),
    }
}

/// Two decimals: `0.94`; unknown is `-`.
#[must_use]
pub fn confidence(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"))
}

/// The text is no number that people write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a number such as 800k, 1.2G or 5_000_000")]
pub struct NumberError(String);

/// Reads `1.2G`, `800k`, `5M`, `5_000_000`, `5,000,000`.
///
/// # Errors
/// When it is none of these, has parts smaller than one, or does not fit.
pub fn parse_si(text: &str) -> Result<u64, NumberError> {
    let refused = || NumberError(text.to_owned());
    let plain = text.trim();
    let last = plain.chars().last().ok_or_else(refused)?;
    let letter = if last == 'K' { 'k' } else { last };
    let (number, factor) = match MULTIPLES.iter().find(|(known, _)| *known == letter) {
        Some((_, factor)) => (&plain[..plain.len() - 1], *factor),
        None => (plain, 1),
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| {
        let digits: String = text.chars().filter(|c| !matches!(c, '_' | ',')).collect();
        digits.chars().all(|c| c.is_ascii_digit()).then_some(digits)
    };
    let whole = digits(whole)
        .filter(|whole| !whole.is_empty())
        .ok_or_else(refused)?;
    let part = digits(part).ok_or_else(refused)?;
    if number.ends_with('.') || part.len() > 15 {
        return Err(refused());
    }
    let unit = 10_u128.pow(u32::try_from(part.len()).map_err(|_| refused())?);
    let mantissa: u128 = format!("{whole}{part}").parse().map_err(|_| refused())?;
    let scaled = mantissa.checked_mul(u128::from(factor)).ok_or_else(refused)?;
    if !scaled.is_multiple_of(unit) {
        return Err(refused());
    }
    u64::try_from(scaled / unit).map_err(|_| refused())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_significant_digits() {
        let shown = [
            0,
            940,
            999,
            1_000,
            8_414_000_000,
            16_400_000_000,
            120_000_000,
            999_499,
            999_500,
            12_847,
        ]
        .map(si);
        assert_eq!(
            shown,
            [
                "0", "940", "999", "1.00k", "8.41G", "16.4G", "120M", "999k", "1.00M", "12.8k"
            ]
        );
        assert_eq!(si(u64::MAX), "18,446P");
        assert_eq!(si_unit(8_414_000_000, "bps"), "8.41 Gbps");
        assert_eq!(si_unit(12, "pps"), "12 pps");
    }

    #[test]
    fn counts_and_parts() {
        assert_eq!(
            [0, 999, 1_000, 12_847, 1_234_567].map(count),
            ["0", "999", "1,000", "12,847", "1,234,567"]
        );
        assert_eq!(
            [(0, 10), (1, 1_000), (1, 2), (999, 1_000), (10, 10), (1, 0)]
                .map(|(part, whole)| percent(part, whole)),
            ["0%", "<1%", "50%", ">99%", "100%", "-"]
        );
        assert_eq!(
            [None, Some(0.0), Some(0.944)].map(confidence),
            ["-", "0.00", "0.94"]
        );
    }

    #[test]
    fn numbers_are_read_as_they_are_written() {
        for (text, value) in [
            ("1.2G", 1_200_000_000),
            ("800k", 800_000),
            ("800K", 800_000),
            ("5M", 5_000_000),
            ("5_000_000", 5_000_000),
            ("5,000,000", 5_000_000),
            ("0", 0),
        ] {
            assert_eq!(parse_si(text), Ok(value), "{text}");
        }
        for text in [
            "",
            "G",
            "1.",
            ".5G",
            "-1",
            "1.5",
            "1.0001k",
            "1g",
            "1 2",
            "99999999999999P",
            "1e9",
        ] {
            assert!(parse_si(text).is_err(), "{text:?}");
        }
    }
}
