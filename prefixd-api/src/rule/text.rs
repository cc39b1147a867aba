//! The text form of a match, for people and tickets; and back.

use super::{Match, MatchRequest, Ranges, Rule, Set, protocol};
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

const PROTOCOLS: [(&str, u8); 5] = [
    ("icmp", protocol::ICMP),
    ("tcp", protocol::TCP),
    ("udp", protocol::UDP),
    ("gre", protocol::GRE),
    ("icmpv6", protocol::ICMPV6),
];

/// The words that begin a component.
const WORDS: [&str; 13] = [
    "dst",
    "src",
    "proto",
    "port",
    "dport",
    "sport",
    "icmp-type",
    "icmp-code",
    "tcp-flags",
    "length",
    "dscp",
    "fragment",
    "flow-label",
];

pub(super) fn protocol_name(number: u8) -> Option<&'static str> {
    PROTOCOLS
        .iter()
        .find_map(|(name, known)| (*known == number).then_some(*name))
}

struct List<T>(T);

impl<T: IntoIterator<Item: fmt::Display> + Clone> fmt::Display for List<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, item) in self.0.clone().into_iter().enumerate() {
            write!(f, "{}{item}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dst {}", self.dst_prefix)?;
        if let Some(prefix) = self.source() {
            write!(f, " src {prefix}")?;
        }
        for (index, number) in self.protocols.iter().enumerate() {
            f.write_str(if index == 0 { " proto " } else { "," })?;
            match protocol_name(*number) {
                Some(name) => f.write_str(name)?,
                None => write!(f, "{number}")?,
            }
        }
        for (word, ports) in [
            ("port", &self.ports),
            ("dport", &self.dst_ports),
            ("sport", &self.src_ports),
        ] {
            if !ports.is_empty() {
                write!(f, " {word} {ports}")?;
            }
        }
        for (word, numbers) in [("icmp-type", &self.icmp_types), ("icmp-code", &self.icmp_codes)] {
            if !numbers.is_empty() {
                write!(f, " {word} {}", List(numbers))?;
            }
        }
        if let Some(flags) = &self.tcp_flags {
            write!(f, " tcp-flags {flags}")?;
        }
        if !self.packet_lengths.is_empty() {
            write!(f, " length {}", self.packet_lengths)?;
        }
        if !self.dscp.is_empty() {
            write!(f, " dscp {}", List(&self.dscp))?;
        }
        if let Some(fragment) = &self.fragment {
            write!(f, " fragment {fragment}")?;
        }
        if !self.flow_labels.is_empty() {
            write!(f, " flow-label {}", self.flow_labels)?;
        }
        Ok(())
    }
}

/// Why a text is no match or rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// A word that begins no component.
    #[error("{0:?} is no component; known: {known}", known = WORDS.join(", "))]
    Word(String),
    /// Nothing follows a component.
    #[error("{0} has no value")]
    NoValue(String),
    /// A component is there twice.
    #[error("{0} is there twice; put its values into one list, with commas")]
    Twice(String),
    /// A value the component cannot have.
    #[error("{word} {value}: {why}")]
    Value {
        /// The component.
        word: String,
        /// Its value.
        value: String,
        /// What is wrong.
        why: String,
    },
    /// Nobody is protected.
    #[error("it has no destination; begin with dst and a prefix")]
    NoDestination,
    /// Nothing is done.
    #[error("it has no action; end with then and an action")]
    NoAction,
    /// No action.
    #[error("{0}")]
    Action(String),
}

impl FromStr for Rule {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (matches, action) = text.split_once(" then ").ok_or(TextError::NoAction)?;
        let action = action.trim();
        let (action, sample) = match action.strip_suffix(" sample") {
            Some(action) => (action, true),
            None => (action, false),
        };
        Ok(Self {
            matches: matches.parse()?,
            action: action.parse().map_err(TextError::Action)?,
            sample,
        })
    }
}

fn list<T: FromStr<Err: fmt::Display> + Ord>(text: &str) -> Result<Set<T>, String> {
    text.split(',')
        .map(|item| item.parse::<T>().map_err(|error| format!("{item:?}: {error}")))
        .collect()
}

fn value<T: FromStr<Err: fmt::Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| error.to_string())
}

fn prefix(text: &str) -> Result<IpNet, String> {
    let prefix: IpNet = value(text)?;
    let meant = prefix.trunc();
    if prefix == meant {
        Ok(prefix)
    } else {
        Err(format!("has host bits set; did you mean {meant}?"))
    }
}

fn protocols(text: &str) -> Result<Set<u8>, String> {
    text.split(',').map(protocol).collect()
}

pub(super) fn protocol(text: &str) -> Result<u8, String> {
    let named = PROTOCOLS.iter().find(|(name, _)| *name == text);
    named
        .map(|(_, number)| *number)
        .or_else(|| text.parse().ok())
        .ok_or_else(|| format!("{text:?} is no protocol; known: icmp, tcp, udp, gre, icmpv6, 0 to 255"))
}

impl FromStr for MatchRequest {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut matches = Self::default();
        let mut seen = BTreeSet::new();
        let mut words = text.split_whitespace();
        while let Some(word) = words.next() {
            if !WORDS.contains(&word) {
                return Err(TextError::Word(word.to_owned()));
            }
            let text = words.next().ok_or_else(|| TextError::NoValue(word.to_owned()))?;
            if !seen.insert(word) {
                return Err(TextError::Twice(word.to_owned()));
            }
            matches.read(word, text).map_err(|why| TextError::Value {
                word: word.to_owned(),
                value: text.to_owned(),
                why,
            })?;
        }
        Ok(matches)
    }
}

impl MatchRequest {
    fn read(&mut self, word: &str, text: &str) -> Result<(), String> {
        match word {
            "dst" => self.dst_prefix = Some(prefix(text)?),
            "src" => self.src_prefix = Some(prefix(text)?),
            "proto" => self.protocols = protocols(text)?,
            "port" => self.ports = value(text)?,
            "dport" => self.dst_ports = value(text)?,
            "sport" => self.src_ports = value(text)?,
            "icmp-type" => self.icmp_types = list(text)?,
            "icmp-code" => self.icmp_codes = list(text)?,
            "tcp-flags" => self.tcp_flags = Some(value(text)?),
            "length" => self.packet_lengths = value(text)?,
            "dscp" => self.dscp = list(text)?,
            "fragment" => self.fragment = Some(value(text)?),
            _ => self.flow_labels = value(text)?,
        }
        Ok(())
    }
}

impl FromStr for Match {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let request: MatchRequest = text.parse()?;
        let prefix = request.dst_prefix.ok_or(TextError::NoDestination)?;
        Ok(request.on(prefix))
    }
}

impl FromStr for Ranges {
    type Err = super::RangesError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.split(',').map(str::parse::<super::Range>).collect()
    }
}

#[cfg(test)]
pub(super) mod tests;
