//! Address families of a neighbour.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum AfiSafi {
    /// AFI 1, SAFI 133.
    Ipv4Flowspec,
    /// AFI 2, SAFI 133.
    Ipv6Flowspec,
    /// AFI 1, SAFI 1: blackhole routes alone.
    Ipv4Unicast,
    /// AFI 2, SAFI 1: blackhole routes alone.
    Ipv6Unicast,
}

/// A text names no [`AfiSafi`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no family; known: ipv4-flowspec, ipv6-flowspec, ipv4-unicast, ipv6-unicast")]
pub struct UnknownFamily(pub String);

impl AfiSafi {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Ipv4Flowspec,
        Self::Ipv6Flowspec,
        Self::Ipv4Unicast,
        Self::Ipv6Unicast,
    ];

    /// The name in the configuration and everywhere else.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ipv4Flowspec => "ipv4-flowspec",
            Self::Ipv6Flowspec => "ipv6-flowspec",
            Self::Ipv4Unicast => "ipv4-unicast",
            Self::Ipv6Unicast => "ipv6-unicast",
        }
    }
}

impl FromStr for AfiSafi {
    type Err = UnknownFamily;

    fn from_str(text: &str) -> Result<Self, UnknownFamily> {
        let found = Self::ALL.into_iter().find(|family| family.as_str() == text);
        found.ok_or_else(|| UnknownFamily(text.to_owned()))
    }
}

impl fmt::Display for AfiSafi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_one_name() {
        for family in AfiSafi::ALL {
            let name = family.to_string();
            assert_eq!(name.parse(), Ok(family));
            assert_eq!(serde_json::to_value(family).unwrap(), serde_json::json!(name));
        }
        assert!("ipv4".parse::<AfiSafi>().is_err());
    }
}
