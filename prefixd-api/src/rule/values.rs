//! Values of fields that are no whole octets.

use super::Set;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;

/// A DSCP: 0 to 63 (RFC 2474).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "server", schema(value_type = u8, minimum = 0, maximum = 63))]
#[serde(try_from = "u8", into = "u8")]
pub struct Dscp(u8);

/// Not a value of the field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Above 63, or no number.
    #[error("{0} is no DSCP; it is a number from 0 to 63")]
    Dscp(String),
    /// Above 20 bits, or no number.
    #[error("{0:?} is no flow label or range of them; labels are 0 to 1048575")]
    FlowLabel(String),
}

impl Dscp {
    /// The six bits of it that are one.
    #[must_use]
    pub const fn of(value: u8) -> Self {
        Self(value & 63)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl TryFrom<u8> for Dscp {
    type Error = ValueError;

    fn try_from(value: u8) -> Result<Self, Self::Error> {
        if value <= 63 {
            Ok(Self(value))
        } else {
            Err(ValueError::Dscp(value.to_string()))
        }
    }
}

impl From<Dscp> for u8 {
    fn from(dscp: Dscp) -> Self {
        dscp.0
    }
}

impl FromStr for Dscp {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<u8>()
            .ok()
            .and_then(|value| Self::try_from(value).ok())
            .ok_or_else(|| ValueError::Dscp(text.to_owned()))
    }
}

impl fmt::Display for Dscp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Largest flow label: 20 bits (RFC 8200 section 6).
const MAX_LABEL: u32 = 0xF_FFFF;

/// A set of flow labels as sorted, disjoint, not adjacent ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "server", schema(value_type = Vec<String>, example = json!(["7", "1024-65535"])))]
pub struct FlowLabels(Set<(u32, u32)>);

impl FlowLabels {
    /// The ranges, ascending, first and last.
    #[must_use]
    pub fn as_slice(&self) -> &[(u32, u32)] {
        &self.0
    }

    /// Whether there is none in it. As a component that means "any".
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether every label is in it.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        *self.0 == [(0, MAX_LABEL)]
    }

    /// Whether the label is in it.
    #[must_use]
    pub fn contains(&self, label: u32) -> bool {
        self.0
            .iter()
            .any(|(first, last)| (*first..=*last).contains(&label))
    }

    /// Whether every label of the other is in it.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other
            .0
            .iter()
            .all(|(a, b)| self.0.iter().any(|(first, last)| first <= a && b <= last))
    }

    /// Terms on the wire.
    #[must_use]
    pub fn operators(&self) -> usize {
        let one = |(first, last): &(u32, u32)| first == last || *first == 0 || *last == MAX_LABEL;
        self.0.iter().map(|range| if one(range) { 1 } else { 2 }).sum()
    }

    fn new(mut ranges: Vec<(u32, u32)>) -> Self {
        ranges.sort_unstable();
        let mut merged: Vec<(u32, u32)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some(before) if first <= before.1 + 1 => before.1 = before.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        Self(Set::of_sorted(merged))
    }
}

fn labels(text: &str) -> Result<(u32, u32), ValueError> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| text.parse::<u32>().ok().filter(|label| *label <= MAX_LABEL);
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => Ok((first, last)),
        _ => Err(ValueError::FlowLabel(text.to_owned())),
    }
}

impl FromStr for FlowLabels {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::new(text.split(',').map(labels).collect::<Result<_, _>>()?))
    }
}

impl fmt::Display for FlowLabels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (first, last)) in self.0.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { "," })?;
            if first == last {
                write!(f, "{first}")?;
            } else {
                write!(f, "{first}-{last}")?;
            }
        }
        Ok(())
    }
}

impl Serialize for FlowLabels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let one = |range: &(u32, u32)| Self([*range].into()).to_string();
        serializer.collect_seq(self.0.iter().map(one))
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(u32),
    Text(String),
}

impl<'de> Deserialize<'de> for FlowLabels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let ranges = Vec::<Written>::deserialize(deserializer)?
            .into_iter()
            .map(|written| match written {
                Written::Number(number) => labels(&number.to_string()),
                Written::Text(text) => labels(&text),
            });
        Ok(Self::new(
            ranges.collect::<Result<_, _>>().map_err(de::Error::custom)?,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_one_set_however_spelled() {
        let all: FlowLabels = serde_json::from_str(r#"[7,"8-9","5","1048575"]"#).unwrap();
        assert_eq!(all.to_string(), "5,7-9,1048575");
        assert_eq!(all.operators(), 4);
        assert_eq!(all.to_string().parse(), Ok(all.clone()));
        assert_eq!(serde_json::to_string(&all).unwrap(), r#"["5","7-9","1048575"]"#);
        assert!("0-1048575".parse::<FlowLabels>().unwrap().is_everything());
    }

    #[test]
    fn values_outside_of_the_field_are_refused() {
        for text in ["", "1048576", "9-3", "-1", "x"] {
            assert!(text.parse::<FlowLabels>().is_err(), "{text:?}");
        }
        assert!(serde_json::from_str::<Dscp>("64").is_err());
        assert_eq!("63".parse::<Dscp>().map(Dscp::get), Ok(63));
        assert!("64".parse::<Dscp>().is_err());
    }
}
