//! FlowSpec rules: what they match, what they do, and the one canonical form that names them.
//!
//! [`Rule`] is what a caller writes. [`Rule::canonical`] checks it, brings it into the one spelling this crate ever
//! sends, encodes it, re-parses the bytes and gives a [`CanonicalRule`] whose [`NlriKey`] (the bytes on the wire) is
//! its identity everywhere: in the desired set, in the Adj-RIB-Out, in a withdrawal. Announce and withdraw therefore
//! can never differ by a byte.

mod action;
mod bits;
mod canonical;
mod key;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod meaning;
mod order;
mod packet;
mod rule;
mod terms;

use std::fmt;
use std::str::FromStr;

pub use action::{Action, BytesPerSecond, Dscp, Effect, InvalidAction, PacketsPerSecond, Redirect};
pub use canonical::{CanonicalRule, RuleError};
pub use key::NlriKey;
pub use packet::{Fit, Packet};
pub use rule::{Component, Rule};
pub use terms::{BitmaskTerm, Comparison, NumericTerm};

/// The address family of a rule: AFI 1 or 2 with SAFI 133 (RFC 8955, RFC 8956); with SAFI 1 the rule is one address whose
/// traffic is discarded, a blackhole route (RFC 7999).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4 FlowSpec.
    Ipv4,
    /// IPv6 FlowSpec.
    Ipv6,
    /// IPv4 unicast, for blackhole routes alone.
    Ipv4Unicast,
    /// IPv6 unicast, for blackhole routes alone.
    Ipv6Unicast,
}

impl Family {
    /// The families of FlowSpec.
    pub const FLOWSPEC: [Self; 2] = [Self::Ipv4, Self::Ipv6];
    /// Every family.
    pub const ALL: [Self; Self::COUNT] = [Self::Ipv4, Self::Ipv6, Self::Ipv4Unicast, Self::Ipv6Unicast];
    pub(crate) const COUNT: usize = 4;

    /// Whether rules of it are FlowSpec; otherwise they are blackhole routes.
    #[must_use]
    pub fn is_flowspec(self) -> bool {
        matches!(self, Self::Ipv4 | Self::Ipv6)
    }

    /// The name used in configuration, metrics and on screens.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4-flowspec",
            Self::Ipv6 => "ipv6-flowspec",
            Self::Ipv4Unicast => "ipv4-unicast",
            Self::Ipv6Unicast => "ipv6-unicast",
        }
    }

    /// Position in a per-family array.
    pub(crate) fn index(self) -> usize {
        match self {
            Self::Ipv4 => 0,
            Self::Ipv6 => 1,
            Self::Ipv4Unicast => 2,
            Self::Ipv6Unicast => 3,
        }
    }
}

impl FromStr for Family {
    type Err = UnknownFamily;

    fn from_str(name: &str) -> Result<Self, UnknownFamily> {
        let found = Self::ALL.into_iter().find(|family| family.as_str() == name);
        found.ok_or_else(|| UnknownFamily(name.to_owned()))
    }
}

/// A name is none of a [`Family`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no family; known: ipv4-flowspec, ipv6-flowspec, ipv4-unicast, ipv6-unicast")]
pub struct UnknownFamily(pub String);

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests;
