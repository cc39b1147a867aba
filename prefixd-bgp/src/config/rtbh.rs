//! Blackhole routes: what a neighbour is told with them.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::{ConfigError, NeighborConfig};
use crate::flowspec::Family;

/// Beside BLACKHOLE and NO_EXPORT.
const MAX_COMMUNITIES: usize = 32;

/// What blackhole routes (RFC 7999) carry at one neighbour. NO_EXPORT and BLACKHOLE are always there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rtbh {
    /// Where the router discards; needed for IPv4 unicast.
    pub next_hop: Option<Ipv4Addr>,
    /// The same for IPv6 unicast.
    pub next_hop_v6: Option<Ipv6Addr>,
    /// Besides; at most 32.
    pub communities: BTreeSet<Community>,
}

/// A community (RFC 1997), written `65535:666`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Community(u32);

impl Community {
    /// The route stays in the router's AS (RFC 1997).
    pub const NO_EXPORT: Self = Self(0xFFFF_FF01);
    /// Traffic to the address is to be discarded (RFC 7999).
    pub const BLACKHOLE: Self = Self(0xFFFF_029A);

    /// Both halves.
    #[must_use]
    pub const fn new(asn: u16, value: u16) -> Self {
        Self((asn as u32) << 16 | value as u32)
    }

    pub(crate) fn to_be_bytes(self) -> [u8; 4] {
        self.0.to_be_bytes()
    }
}

impl FromStr for Community {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let halves = text.split_once(':');
        halves
            .and_then(|(asn, value)| Some(Self::new(asn.parse().ok()?, value.parse().ok()?)))
            .ok_or_else(|| ConfigError::Community {
                text: text.to_owned(),
            })
    }
}

impl fmt::Display for Community {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0 >> 16, self.0 & 0xFFFF)
    }
}

impl fmt::Debug for Community {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl NeighborConfig {
    /// Each unicast family has a next hop, and each next hop a family.
    pub(super) fn validate_rtbh(&self) -> Result<(), ConfigError> {
        let rtbh = self.rtbh.as_ref();
        let next_hops = [
            (
                Family::Ipv4Unicast,
                "next_hop",
                rtbh.and_then(|rtbh| rtbh.next_hop.map(IpAddr::V4)),
            ),
            (
                Family::Ipv6Unicast,
                "next_hop_v6",
                rtbh.and_then(|rtbh| rtbh.next_hop_v6.map(IpAddr::V6)),
            ),
        ];
        let name = || self.name.clone();
        for (family, key, next_hop) in next_hops {
            match (self.families.contains(&family), next_hop) {
                (true, None) => {
                    return Err(ConfigError::NoNextHop {
                        name: name(),
                        family,
                        key,
                    });
                }
                (false, Some(_)) => {
                    return Err(ConfigError::NextHopWithoutFamily {
                        name: name(),
                        family,
                        key,
                    });
                }
                (true, Some(next_hop)) if !self.can_discard_at(next_hop) => {
                    return Err(ConfigError::NextHop {
                        name: name(),
                        next_hop,
                    });
                }
                _ => {}
            }
        }
        let communities = rtbh.map_or(0, |rtbh| rtbh.communities.len());
        if communities > MAX_COMMUNITIES {
            return Err(ConfigError::TooManyCommunities {
                name: name(),
                communities,
                max: MAX_COMMUNITIES,
            });
        }
        Ok(())
    }

    /// A router would not discard at its own address, or at ours: it would send the attack there.
    fn can_discard_at(&self, next_hop: IpAddr) -> bool {
        let own = Some(next_hop) == self.local_address || next_hop == self.address.to_canonical();
        !(own || next_hop.is_unspecified() || next_hop.is_multicast() || next_hop.is_loopback())
    }
}
