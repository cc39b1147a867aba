//! Sets of 16-bit numbers as sorted, disjoint ranges: the canonical form of a FlowSpec numeric component.
//!
//! Any list of OR-ed numeric terms is such a set, so `80 | 81`, `81 | 80` and `>=80 & <=81` are one value.

use super::Set;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;

/// An inclusive range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Range {
    /// Lowest number in it.
    pub first: u16,
    /// Highest number in it, never below `first`.
    pub last: u16,
}

impl Range {
    /// How many FlowSpec operators the range costs: a closed range needs two terms (`>=a & <=b`), a single
    /// number or an open end one (RFC 8955 section 4.2.1.1).
    #[must_use]
    pub const fn operators(self) -> usize {
        if self.first == self.last || self.first == 0 || self.last == u16::MAX {
            1
        } else {
            2
        }
    }
}

/// A set of numbers as sorted, disjoint, not adjacent ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "server", schema(value_type = Vec<String>, example = json!(["53", "1024-65535"])))]
pub struct Ranges(Set<Range>);

impl Ranges {
    /// The ranges, ascending.
    #[must_use]
    pub fn as_slice(&self) -> &[Range] {
        &self.0
    }

    /// Whether there is no number in it. As a component that means "any".
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the number is in the set.
    #[must_use]
    pub fn contains(&self, number: u16) -> bool {
        self.0
            .iter()
            .any(|range| range.first <= number && number <= range.last)
    }

    /// Whether every number is in it: then it says no more than an absent component, and has no form on the wire.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        matches!(
            self.as_slice(),
            [Range {
                first: 0,
                last: u16::MAX
            }]
        )
    }

    /// The set as a component: everything is the same as nothing said.
    #[must_use]
    pub fn or_any(self) -> Self {
        if self.is_everything() {
            Self::default()
        } else {
            self
        }
    }

    /// Whether these ports single anything out. Port 0 is none that traffic uses, so all others do not.
    #[must_use]
    pub fn are_narrow_ports(&self) -> bool {
        let others = Range {
            first: 1,
            last: u16::MAX,
        };
        !self.is_empty() && !Self([others].into()).minus(self).is_empty()
    }

    /// How many FlowSpec operators the set costs.
    #[must_use]
    pub fn operators(&self) -> usize {
        self.0.iter().map(|range| range.operators()).sum()
    }

    /// The numbers of both.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        self.0.iter().chain(&other.0).copied().collect()
    }

    /// The numbers of `self` that are not in `other`.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        let mut left = Vec::new();
        for range in self.as_slice() {
            let mut from = u32::from(range.first);
            for hole in other
                .as_slice()
                .iter()
                .filter(|hole| hole.last >= range.first && hole.first <= range.last)
            {
                push_if_any(&mut left, from, u32::from(hole.first));
                from = u32::from(hole.last) + 1;
            }
            push_if_any(&mut left, from, u32::from(range.last) + 1);
        }
        Self(Set::of_sorted(left))
    }

    /// Every number from 0 to 65535 that is not in the set.
    #[must_use]
    pub fn complement(&self) -> Self {
        Self(
            [Range {
                first: 0,
                last: u16::MAX,
            }]
            .into(),
        )
        .minus(self)
    }
}

/// Adds `from..until` when it holds a number.
fn push_if_any(ranges: &mut Vec<Range>, from: u32, until: u32) {
    if from < until
        && let (Ok(first), Ok(last)) = (u16::try_from(from), u16::try_from(until - 1))
    {
        ranges.push(Range { first, last });
    }
}

impl FromIterator<Range> for Ranges {
    fn from_iter<I: IntoIterator<Item = Range>>(ranges: I) -> Self {
        let mut sorted: Vec<Range> = ranges.into_iter().collect();
        sorted.sort_unstable();
        let mut merged: Vec<Range> = Vec::with_capacity(sorted.len());
        for range in sorted {
            match merged.last_mut() {
                Some(before) if u32::from(range.first) <= u32::from(before.last) + 1 => {
                    before.last = before.last.max(range.last);
                }
                _ => merged.push(range),
            }
        }
        Self(Set::of_sorted(merged))
    }
}

impl FromIterator<u16> for Ranges {
    fn from_iter<I: IntoIterator<Item = u16>>(numbers: I) -> Self {
        numbers
            .into_iter()
            .map(|number| Range {
                first: number,
                last: number,
            })
            .collect()
    }
}

/// Why a text is not a range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RangesError {
    /// Neither a number nor two of them.
    #[error("{0:?} is not a number from 0 to 65535 or a range such as 1024-65535")]
    NotARange(String),
    /// The end comes before the start.
    #[error("{0:?} ends before it starts")]
    Backwards(String),
}

impl FromStr for Range {
    type Err = RangesError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |part: &str| part.parse().map_err(|_| RangesError::NotARange(text.to_owned()));
        let (first, last) = match text.split_once('-') {
            Some((first, last)) => (number(first)?, number(last)?),
            None => (number(text)?, number(text)?),
        };
        if first > last {
            return Err(RangesError::Backwards(text.to_owned()));
        }
        Ok(Self { first, last })
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            range.fmt(f)?;
        }
        Ok(())
    }
}

impl Serialize for Ranges {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(ToString::to_string))
    }
}

/// A range is written as text, a single number also as a number.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(u16),
    Text(String),
}

impl<'de> Deserialize<'de> for Ranges {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::<Written>::deserialize(deserializer)?
            .into_iter()
            .map(|written| match written {
                Written::Number(number) => Ok(Range {
                    first: number,
                    last: number,
                }),
                Written::Text(text) => text.parse().map_err(de::Error::custom),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ranges(texts: &[&str]) -> Ranges {
        texts.iter().map(|text| text.parse::<Range>().unwrap()).collect()
    }

    #[test]
    fn spellings_of_one_set_are_equal() {
        assert_eq!(ranges(&["81", "80", "80"]), ranges(&["80-81"]));
        assert_eq!(ranges(&["1-10", "5-20", "21"]).to_string(), "1-21");
        assert_eq!(
            serde_json::from_str::<Ranges>(r#"[53,"53-60"]"#).unwrap(),
            ranges(&["53-60"])
        );
    }

    #[test]
    fn all_but_one_port_costs_two_operators() {
        let others = ranges(&["53"]).complement();
        assert_eq!(others.to_string(), "0-52,54-65535");
        assert_eq!(others.operators(), 2);
        assert_eq!(ranges(&["10-20"]).operators(), 2);
    }

    #[test]
    fn all_ports_are_no_ports() {
        assert!(ranges(&["0-40", "41-65535"]).is_everything());
        assert!(ranges(&["0-65535"]).or_any().is_empty());
        assert_eq!(ranges(&["1-65535"]).or_any(), ranges(&["1-65535"]));
        for (texts, narrow) in [
            (&["0-65535"][..], false),
            (&["1-65535"], false),
            (&[], false),
            (&["0-52", "54-65535"], true),
            (&["0"], true),
        ] {
            assert_eq!(ranges(texts).are_narrow_ports(), narrow, "{texts:?}");
        }
    }

    #[test]
    fn malformed_text_is_refused() {
        for text in ["", "x", "70000", "5-", "-5", "9-3", "1-2-3"] {
            assert!(text.parse::<Range>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn set_operations_agree_with_membership(a in prop::collection::vec((0u16..300, 0u16..40), 0..6),
                                                b in prop::collection::vec((0u16..300, 0u16..40), 0..6)) {
            let set = |parts: &[(u16, u16)]| parts.iter().map(|(f, n)| Range { first: *f, last: f + n }).collect::<Ranges>();
            let (a, b) = (set(&a), set(&b));
            let (union, minus, complement) = (a.union(&b), a.minus(&b), a.complement());
            for n in (0..400).chain([u16::MAX]) {
                prop_assert_eq!(union.contains(n), a.contains(n) || b.contains(n));
                prop_assert_eq!(minus.contains(n), a.contains(n) && !b.contains(n));
                prop_assert_eq!(complement.contains(n), !a.contains(n));
            }
        }
    }
}
