//! The attacked host.

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// An address that can be attacked: not unspecified, loopback, multicast or broadcast. Written as a bare
/// address. IPv4-mapped IPv6 addresses become IPv4.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "server", schema(value_type = String, example = "203.0.113.10"))]
pub struct Victim(IpAddr);

/// Why a text names no victim.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VictimError {
    /// Not an address at all.
    #[error("{0:?} is not an IPv4 or IPv6 address")]
    NotAnAddress(String),
    /// An address nobody can attack from outside.
    #[error("{0} is {1} address, which cannot be a victim")]
    Impossible(IpAddr, &'static str),
}

impl Victim {
    /// The victim at an address.
    ///
    /// # Errors
    /// When the address is unspecified, loopback, multicast or broadcast.
    pub fn new(address: IpAddr) -> Result<Self, VictimError> {
        let address = address.to_canonical();
        let kind = match address {
            _ if address.is_unspecified() => "the unspecified",
            _ if address.is_loopback() => "a loopback",
            _ if address.is_multicast() => "a multicast",
            IpAddr::V4(v4) if v4.is_broadcast() => "the broadcast",
            _ => return Ok(Self(address)),
        };
        Err(VictimError::Impossible(address, kind))
    }

    /// The address.
    #[must_use]
    pub const fn address(self) -> IpAddr {
        self.0
    }

    /// The host prefix, /32 or /128.
    #[must_use]
    pub fn prefix(self) -> IpNet {
        IpNet::from(self.0)
    }

    /// Whether it is an IPv6 address.
    #[must_use]
    pub const fn is_ipv6(self) -> bool {
        self.0.is_ipv6()
    }
}

impl FromStr for Victim {
    type Err = VictimError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(
            text.parse()
                .map_err(|_| VictimError::NotAnAddress(text.to_owned()))?,
        )
    }
}

impl fmt::Display for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Victim {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Victim {
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
    fn addresses_that_cannot_be_victims() {
        let refused = [
            "0.0.0.0",
            "::",
            "127.0.0.1",
            "::1",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
            "203.0.113.0/24",
            "x",
            "",
        ];
        for text in refused {
            assert!(text.parse::<Victim>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn victims_are_hosts_of_their_family() {
        let victim = |text: &str| text.parse::<Victim>().unwrap();
        assert_eq!(victim("2001:db8::1").prefix().to_string(), "2001:db8::1/128");
        assert_eq!(
            victim("::ffff:203.0.113.9").prefix().to_string(),
            "203.0.113.9/32"
        );
    }
}
