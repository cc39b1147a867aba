//! The attacked host, or a prefix of which many hosts are attacked at once.

use crate::prefix;
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// An address that can be attacked: not unspecified, loopback, multicast or broadcast. Written as a bare
/// address. IPv4-mapped IPv6 addresses become IPv4.
///
/// Of an aggregate over many victims it is their prefix, written with its length. Nobody outside can name one as a victim:
/// only what the daemon itself wrote reads as a prefix.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "server", schema(value_type = String, example = "203.0.113.10"))]
pub struct Victim(IpNet);

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
            _ => return Ok(Self(IpNet::from(address))),
        };
        Err(VictimError::Impossible(address, kind))
    }

    /// The victims of a prefix, all together.
    ///
    /// # Errors
    /// When its first address cannot be a victim.
    pub fn network(prefix: IpNet) -> Result<Self, VictimError> {
        Self::new(prefix.network())?;
        Ok(Self(prefix.trunc()))
    }

    /// Whether it is one address.
    #[must_use]
    pub fn is_host(self) -> bool {
        self.0.prefix_len() == self.0.max_prefix_len()
    }

    /// Whether it has an address of this prefix: it lies inside, or around it.
    #[must_use]
    pub fn touches(self, prefix: &IpNet) -> bool {
        prefix.contains(&self.0) || self.0.contains(prefix)
    }

    /// The address; of a prefix the first.
    #[must_use]
    pub fn address(self) -> IpAddr {
        self.0.addr()
    }

    /// The prefix: of a host its /32 or /128.
    #[must_use]
    pub const fn prefix(self) -> IpNet {
        self.0
    }

    /// Whether it is an IPv6 address.
    #[must_use]
    pub const fn is_ipv6(self) -> bool {
        matches!(self.0, IpNet::V6(_))
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
        if self.is_host() {
            self.address().fmt(f)
        } else {
            self.0.fmt(f)
        }
    }
}

impl fmt::Debug for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Victim {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Victim {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        if text.contains('/') {
            let prefix = prefix::parse(&text).map_err(de::Error::custom)?;
            return Self::network(prefix).map_err(de::Error::custom);
        }
        text.parse().map_err(de::Error::custom)
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
    fn a_prefix_is_written_with_its_length_and_read_from_what_was_written() {
        let many = Victim::network("203.0.113.64/26".parse().unwrap()).unwrap();
        assert!(!many.is_host() && many.to_string() == "203.0.113.64/26");
        let written = serde_json::to_string(&many).unwrap();
        assert_eq!(serde_json::from_str::<Victim>(&written).unwrap(), many);
        let touches = |text: &str| many.touches(&text.parse().unwrap());
        assert!(touches("203.0.113.70/32") && touches("203.0.113.0/24") && !touches("203.0.113.128/32"));
        let one = Victim::network("203.0.113.64/32".parse().unwrap()).unwrap();
        assert_eq!(one, "203.0.113.64".parse().unwrap());
        assert_ne!(one, many, "the first address is another victim than all of them");
        assert!(Victim::network("224.0.0.0/24".parse().unwrap()).is_err());
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
