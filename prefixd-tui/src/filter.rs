//! The filter language: terms that must all hold.
//!
//! `field:value` (with `*`, and lists by comma), `field>n` and its kin with units, `!term`, `"free text"`.

mod fields;

use fields::{Field, Quantity};
use prefixd_api::mitigation::Mitigation;
use prefixd_api::time::Timestamp;

/// A filter and the text it came from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Filter {
    text: String,
    terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq)]
struct Term {
    inverted: bool,
    test: Test,
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    /// Any of the patterns fits the field.
    Is(Field, Vec<fields::Pattern>),
    Compare(Quantity, Comparison, f64),
    Flag(Flag),
    /// Somewhere in what the row shows.
    Text(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Words that stand alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flag {
    Acknowledged,
    Ending,
    DryRun,
    IPv6,
}

const FLAGS: [(&str, Flag); 4] = [
    ("acked", Flag::Acknowledged),
    ("ending", Flag::Ending),
    ("dryrun", Flag::DryRun),
    ("ipv6", Flag::IPv6),
];

/// What the list shows when nobody asked for anything.
pub(crate) const DEFAULT: &str = "status:active,escalated";

impl Filter {
    /// Reads the language.
    ///
    /// # Errors
    /// One sentence that names the term and what is known.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let terms = words(text)?
            .into_iter()
            .map(Term::parse)
            .collect::<Result<_, _>>()?;
        Ok(Self {
            text: text.trim().to_owned(),
            terms,
        })
    }

    /// The filter that everything passes.
    pub(crate) const fn everything() -> Self {
        Self {
            text: String::new(),
            terms: Vec::new(),
        }
    }

    /// As it was written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether the row passes. `now` is the daemon's clock, for ages and leases.
    pub(crate) fn passes(&self, row: &Mitigation, now: Timestamp) -> bool {
        self.terms
            .iter()
            .all(|term| term.holds(row, now) != term.inverted)
    }

    /// Whether a mitigation that has ended could pass, so that the list needs the ended ones too.
    pub(crate) fn wants_ended(&self) -> bool {
        use prefixd_api::mitigation::MitigationStatus;
        self.terms.iter().all(|term| match &term.test {
            Test::Is(Field::Status, patterns) => MitigationStatus::ALL.iter().any(|status| {
                !status.is_live()
                    && patterns.iter().any(|pattern| pattern.fits(status.as_str())) != term.inverted
            }),
            _ => true,
        })
    }
}

impl Term {
    fn parse(word: Word) -> Result<Self, String> {
        let (inverted, body) = match word.text.strip_prefix('!') {
            Some(rest) if !word.quoted => (true, rest),
            _ => (false, word.text.as_str()),
        };
        let inverted = inverted || word.inverted;
        let test = if word.quoted {
            Test::Text(body.to_lowercase())
        } else {
            test(body)?
        };
        Ok(Self { inverted, test })
    }

    fn holds(&self, row: &Mitigation, now: Timestamp) -> bool {
        match &self.test {
            Test::Is(field, patterns) => {
                field.any(row, |value| patterns.iter().any(|pattern| pattern.fits(value)))
            }
            Test::Compare(quantity, comparison, than) => {
                quantity.of(row, now).is_some_and(|value| match comparison {
                    Comparison::Less => value < *than,
                    Comparison::LessOrEqual => value <= *than,
                    Comparison::Greater => value > *than,
                    Comparison::GreaterOrEqual => value >= *than,
                })
            }
            Test::Flag(Flag::Acknowledged) => row.acknowledged_at.is_some(),
            Test::Flag(Flag::Ending) => row.ending_since.is_some() && row.status.is_live(),
            Test::Flag(Flag::DryRun) => !row.enforced,
            Test::Flag(Flag::IPv6) => row.victim_ip.is_ipv6(),
            Test::Text(text) => Field::ALL
                .iter()
                .any(|(_, field)| field.any(row, |value| value.to_lowercase().contains(text))),
        }
    }
}

fn test(body: &str) -> Result<Test, String> {
    let split = body.find([':', '<', '>', '=']);
    let Some(at) = split.filter(|at| *at > 0) else {
        return Ok(match FLAGS.iter().find(|(name, _)| *name == body) {
            Some((_, flag)) => Test::Flag(*flag),
            None => Test::Text(body.to_lowercase()),
        });
    };
    let (name, rest) = body.split_at(at);
    // An IPv6 address is written with colons and is no field.
    if rest.starts_with(':') && name.chars().all(|letter| letter.is_ascii_hexdigit()) && looks_like_ipv6(body)
    {
        return Ok(Test::Text(body.to_lowercase()));
    }
    let comparison = [
        ("<=", Comparison::LessOrEqual),
        (">=", Comparison::GreaterOrEqual),
        ("<", Comparison::Less),
        (">", Comparison::Greater),
    ]
    .into_iter()
    .find_map(|(sign, comparison)| Some((comparison, rest.strip_prefix(sign)?)));
    if let Some((comparison, value)) = comparison {
        let quantity = Quantity::named(name)
            .ok_or_else(|| format!("{name} cannot be compared; these can: {}", Quantity::names()))?;
        return Ok(Test::Compare(quantity, comparison, quantity.read(value)?));
    }
    let value = rest.strip_prefix([':', '=']).unwrap_or(rest);
    if value.is_empty() {
        return Err(format!(
            "{name}: needs a value, for example {}",
            fields::example(name)
        ));
    }
    let field = Field::named(name).ok_or_else(|| match Quantity::named(name) {
        Some(_) => format!("{name} is compared: {name}>{value} or {name}<{value}"),
        None => format!(
            "no field {name}; known: {}, {}",
            Field::names(),
            Quantity::names()
        ),
    })?;
    Ok(Test::Is(
        field,
        value
            .split(',')
            .map(|part| field.pattern(part))
            .collect::<Result<_, _>>()?,
    ))
}

fn looks_like_ipv6(text: &str) -> bool {
    text.matches(':').count() >= 2 || text.ends_with(':')
}

struct Word {
    text: String,
    quoted: bool,
    inverted: bool,
}

/// Splits at spaces outside quotes.
fn words(text: &str) -> Result<Vec<Word>, String> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (inverted, body) = match rest.strip_prefix("!\"") {
            Some(body) => (true, Some(body)),
            None => (false, rest.strip_prefix('"')),
        };
        let (word, after, quoted) = if let Some(body) = body {
            let (word, after) = body
                .split_once('"')
                .ok_or("a \" is missing at the end of the text")?;
            (word, after, true)
        } else {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            (&rest[..end], &rest[end..], false)
        };
        if !word.is_empty() && word != "!" {
            words.push(Word {
                text: word.to_owned(),
                quoted,
                inverted,
            });
        }
        rest = after.trim_start();
    }
    Ok(words)
}

#[cfg(test)]
mod tests;
