//! Flags that must be set or clear: TCP flags and fragments.
//!
//! A set of alternatives, each "all of these set, none of those", says everything that a bitmask component can
//! (RFC 8955 section 4.2.1.2). Written `syn&!ack,rst`.

use super::Set;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;
use std::str::FromStr;

/// Alternatives one component may have. More is no rule that anybody meant, and no router of the default profile takes
/// it.
const MAX_ALTERNATIVES: usize = 6;

/// A field of flags.
pub trait Field: Copy + Ord + Hash + fmt::Debug {
    /// The flags by name and bit.
    const NAMES: &'static [(&'static str, u16)];
    /// What they are called together.
    const WHAT: &'static str;
    /// An example for those who wrote something else.
    const EXAMPLE: &'static str;
    /// The character inside names where they are stored.
    const STORED_JOINT: &'static str = "-";
}

/// Bytes 13 and 14 of the TCP header without the data offset (RFC 9293 section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tcp {}

/// Fragments (RFC 8955 section 4.2.2.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fragment {}

impl Field for Tcp {
    const NAMES: &'static [(&'static str, u16)] = &[
        ("fin", 0x01),
        ("syn", 0x02),
        ("rst", 0x04),
        ("psh", 0x08),
        ("ack", 0x10),
        ("urg", 0x20),
        ("ece", 0x40),
        ("cwr", 0x80),
        ("ae", 0x100),
        ("res9", 0x200),
        ("res10", 0x400),
        ("res11", 0x800),
    ];
    const WHAT: &'static str = "TCP flags";
    const EXAMPLE: &'static str = "syn&!ack";
}

impl Field for Fragment {
    const NAMES: &'static [(&'static str, u16)] = &[
        ("dont-fragment", 0x01),
        ("is-fragment", 0x02),
        ("first-fragment", 0x04),
        ("last-fragment", 0x08),
    ];
    const WHAT: &'static str = "fragments";
    const EXAMPLE: &'static str = "is-fragment";
    const STORED_JOINT: &'static str = "_";
}

/// Which TCP flags must be set and which clear.
pub type TcpFlags = Bits<Tcp>;
/// Which fragments match.
pub type Fragments = Bits<Fragment>;

crate::schema::text_schema!(TcpFlags, "TcpFlags");
crate::schema::text_schema!(Fragments, "Fragments");

/// All of `set`, none of `clear`; never a flag in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Alternative {
    /// Flags that must be set.
    pub set: u16,
    /// Flags that must be clear.
    pub clear: u16,
}

impl Alternative {
    /// Whether these flags are matched.
    #[must_use]
    pub const fn holds(self, flags: u16) -> bool {
        flags & self.set == self.set && flags & self.clear == 0
    }

    /// Whether everything that `narrow` matches is matched.
    const fn covers(self, narrow: Self) -> bool {
        self.set & !narrow.set == 0 && self.clear & !narrow.clear == 0
    }
}

/// One of the alternatives must hold: sorted, none inside another, never empty, never all there is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bits<F> {
    alternatives: Set<Alternative>,
    field: PhantomData<F>,
}

impl<F> Bits<F> {
    fn one(set: u16, clear: u16) -> Self {
        Self {
            alternatives: [Alternative { set, clear }].into(),
            field: PhantomData,
        }
    }

    /// The alternatives.
    #[must_use]
    pub fn alternatives(&self) -> &[Alternative] {
        &self.alternatives
    }

    /// Whether these flags are matched.
    #[must_use]
    pub fn holds(&self, flags: u16) -> bool {
        self.alternatives.iter().any(|one| one.holds(flags))
    }

    /// Whether everything that `narrow` matches is matched, seen alternative by alternative.
    #[must_use]
    pub fn covers(&self, narrow: &Self) -> bool {
        narrow
            .alternatives
            .iter()
            .all(|narrow| self.alternatives.iter().any(|wide| wide.covers(*narrow)))
    }

    /// Terms on the wire.
    #[must_use]
    pub fn operators(&self) -> usize {
        self.alternatives
            .iter()
            .map(|one| usize::from(one.set != 0) + usize::from(one.clear != 0))
            .sum()
    }
}

impl TcpFlags {
    /// The ACK bit.
    pub const ACK: u16 = 0x10;
    /// The PSH bit.
    pub const PSH: u16 = 0x08;

    /// The first segment of a connection: SYN without ACK.
    #[must_use]
    pub fn syn_without_ack() -> Self {
        Self::one(0x02, Self::ACK)
    }

    /// Every segment but the first.
    #[must_use]
    pub fn ack() -> Self {
        Self::one(Self::ACK, 0)
    }

    /// Whether segments of an established connection are matched: those with ACK alone, or with data.
    #[must_use]
    pub fn holds_established(&self) -> bool {
        self.holds(Self::ACK) || self.holds(Self::ACK | Self::PSH)
    }
}

impl Fragments {
    /// Don't fragment: a bit of IPv4 alone.
    pub const DONT: u16 = 0x01;
    /// A fragment other than the first.
    pub const IS: u16 = 0x02;

    /// Fragments other than the first.
    #[must_use]
    pub fn is_fragment() -> Self {
        Self::one(Self::IS, 0)
    }

    /// Whether nothing but fragments is matched. Without it nearly all traffic is.
    #[must_use]
    pub fn are_only_fragments(&self) -> bool {
        self.alternatives.iter().all(|one| one.set & !Self::DONT != 0)
    }

    /// Whether nothing but fragments without ports is matched.
    #[must_use]
    pub fn are_without_ports(&self) -> bool {
        self.alternatives.iter().all(|one| one.set & Self::IS != 0)
    }

    /// Whether a bit is asked for that only IPv4 has.
    #[must_use]
    pub fn need_ipv4(&self) -> bool {
        self.alternatives
            .iter()
            .any(|one| (one.set | one.clear) & Self::DONT != 0)
    }
}

/// Why a text names no flags.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BitsError {
    /// A name that does not exist.
    #[error("{text:?} names no {what} such as {example} (known: {known})")]
    Unknown {
        /// The text.
        text: String,
        /// What it should name.
        what: &'static str,
        /// How one looks.
        example: &'static str,
        /// The names.
        known: String,
    },
    /// A flag is both set and clear.
    #[error("{text:?} wants a flag both set and clear, which no packet has")]
    Contradiction {
        /// The text.
        text: String,
    },
    /// Nothing is left out.
    #[error("{text:?} matches every packet; leave it out")]
    Everything {
        /// The text.
        text: String,
    },
    /// More alternatives than a rule can have.
    #[error("{text:?} has more than {MAX_ALTERNATIVES} alternatives; use several rules")]
    TooMany {
        /// The text.
        text: String,
    },
}

impl<F: Field> FromStr for Bits<F> {
    type Err = BitsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut alternatives: Vec<Alternative> = Vec::new();
        for part in text.split(',') {
            let one = alternative::<F>(part, text)?;
            if !alternatives.iter().any(|other| other.covers(one)) {
                alternatives.retain(|other| !one.covers(*other));
                alternatives.push(one);
            }
        }
        let text = || text.to_owned();
        if alternatives.len() > MAX_ALTERNATIVES {
            return Err(BitsError::TooMany { text: text() });
        }
        let bits = Self {
            alternatives: alternatives.into_iter().collect(),
            field: PhantomData,
        };
        let all = F::NAMES.iter().fold(0, |all, (_, bit)| all | bit);
        if (0..=all).all(|flags| bits.holds(flags)) {
            return Err(BitsError::Everything { text: text() });
        }
        Ok(bits)
    }
}

fn alternative<F: Field>(part: &str, text: &str) -> Result<Alternative, BitsError> {
    let mut one = Alternative { set: 0, clear: 0 };
    for flag in part.split('&') {
        let (bits, name) = match flag.strip_prefix('!') {
            Some(name) => (&mut one.clear, name),
            None => (&mut one.set, flag),
        };
        let name = name.replace('_', "-");
        *bits |= F::NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .ok_or_else(|| BitsError::Unknown {
                text: text.to_owned(),
                what: F::WHAT,
                example: F::EXAMPLE,
                known: F::NAMES
                    .iter()
                    .map(|(name, _)| *name)
                    .collect::<Vec<_>>()
                    .join(", "),
            })?
            .1;
    }
    if one.set & one.clear == 0 {
        Ok(one)
    } else {
        Err(BitsError::Contradiction {
            text: text.to_owned(),
        })
    }
}

impl<F: Field> fmt::Display for Bits<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, one) in self.alternatives.iter().enumerate() {
            let mut separator = if index == 0 { "" } else { "," };
            for (prefix, bits) in [("", one.set), ("!", one.clear)] {
                for (name, _) in F::NAMES.iter().filter(|(_, bit)| bits & bit != 0) {
                    write!(f, "{separator}{prefix}{name}")?;
                    separator = "&";
                }
            }
        }
        Ok(())
    }
}

impl<F: Field> Serialize for Bits<F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_string().replace('-', F::STORED_JOINT))
    }
}

impl<'de, F: Field> Deserialize<'de> for Bits<F> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<'de, str>::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_version_0_1_stored_reads_and_writes_the_same() {
        for stored in [r#""syn&!ack""#, r#""ack""#, r#""fin&psh&!urg&!cwr""#] {
            let flags: TcpFlags = serde_json::from_str(stored).unwrap();
            assert_eq!(serde_json::to_string(&flags).unwrap(), stored);
        }
        let fragment: Fragments = serde_json::from_str(r#""is_fragment""#).unwrap();
        assert_eq!(fragment, Fragments::is_fragment());
        assert_eq!(fragment.to_string(), "is-fragment");
        assert_eq!(serde_json::to_string(&fragment).unwrap(), r#""is_fragment""#);
    }

    #[test]
    fn spellings_of_one_set_are_equal() {
        let flags = |text: &str| text.parse::<TcpFlags>().unwrap();
        assert_eq!(flags("rst,syn&!ack"), flags("!ack&syn,rst"));
        assert_eq!(flags("syn,syn&ack"), flags("syn"));
        assert_eq!(flags("syn&!ack,rst").to_string(), "syn&!ack,rst");
        assert_eq!(TcpFlags::syn_without_ack(), flags("syn&!ack"));
        assert_eq!(flags("syn&!ack,rst").operators(), 3);
    }

    #[test]
    fn what_matches_nothing_or_everything_is_refused() {
        for text in [
            "",
            "sin",
            "syn&",
            "syn&!syn",
            "syn,!syn",
            "syn,!syn&ack,!ack",
            ",",
        ] {
            assert!(text.parse::<TcpFlags>().is_err(), "{text:?}");
        }
        assert!("fin,syn,rst,psh,ack,urg".parse::<TcpFlags>().is_ok());
        assert!("fin,syn,rst,psh,ack,urg,ece".parse::<TcpFlags>().is_err());
    }

    #[test]
    fn what_is_established_and_what_is_a_fragment() {
        for (text, established) in [
            ("ack", true),
            ("ack&psh", true),
            ("!rst", true),
            ("syn,!syn&ack", true),
            ("syn&!ack", false),
            ("syn&ack", false),
            ("rst", false),
        ] {
            assert_eq!(
                text.parse::<TcpFlags>().unwrap().holds_established(),
                established,
                "{text}"
            );
        }
        for (text, only) in [
            ("is-fragment", true),
            ("first-fragment,last-fragment", true),
            ("!is-fragment", false),
            ("dont-fragment", false),
            ("is-fragment,dont-fragment", false),
        ] {
            assert_eq!(
                text.parse::<Fragments>().unwrap().are_only_fragments(),
                only,
                "{text}"
            );
        }
    }
}
