//! What the speaker is told at start, checked before anything is bound.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;

use crate::flowspec::Family;

/// One NLRI of this size fits in an UPDATE of 4096 bytes beside all attributes.
const MAX_NLRI_BYTES: usize = 3800;

/// The speaker and its neighbours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpeakerConfig {
    /// Our AS.
    pub local_asn: u32,
    /// Our BGP identifier.
    pub router_id: Ipv4Addr,
    /// Addresses to accept sessions on; empty means that we only dial out.
    pub listen: Vec<SocketAddr>,
    /// Offered to every neighbour. 30 s or less is advised: some routers refuse a restarted speaker until the old
    /// session's hold time has passed.
    pub hold_time: HoldTime,
    /// Put on every route beside NO_EXPORT, so that routers can accept our routes alone.
    pub marker: Option<LargeCommunity>,
    /// The neighbours.
    pub neighbors: Vec<NeighborConfig>,
}

/// One neighbour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeighborConfig {
    /// Unique name, used everywhere a person meets the neighbour.
    pub name: Arc<str>,
    /// The router's address; unique among the neighbours, because accepted sessions are told apart by it.
    pub address: IpAddr,
    /// The port that is dialled.
    pub port: u16,
    /// The router's AS; ours makes the session iBGP.
    pub peer_asn: u32,
    /// The address sessions are dialled from; the system chooses when absent.
    pub local_address: Option<IpAddr>,
    /// Never dial, only accept.
    pub passive: bool,
    /// Families offered to the router.
    pub families: BTreeSet<Family>,
    /// What one rule may cost.
    pub limits: Limits,
    /// How many rules the neighbour may hold; unbounded when absent.
    pub max_rules: Option<usize>,
    /// Announcements per second; unpaced when absent. Withdrawals are never paced.
    pub pace: Option<NonZeroU32>,
}

/// What one rule may cost a neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Operators in one component; a closed range costs two. FRR 8.4 resets the session above 5.
    pub operators_per_component: usize,
    /// Bytes of one NLRI without its length field. From 240 on FRR, GoBGP and ExaBGP fail in different ways.
    pub nlri_bytes: usize,
}

impl Default for Limits {
    /// What every router tested takes.
    fn default() -> Self {
        Self {
            operators_per_component: 5,
            nlri_bytes: 239,
        }
    }
}

/// A hold time in seconds, 3 to 65535 (RFC 4271 section 4.2). Zero (never) is refused: a neighbour lost in silence
/// would keep its rules for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HoldTime(u16);

impl HoldTime {
    /// Checks the value.
    ///
    /// # Errors
    ///
    /// [`ConfigError::HoldTime`] below 3.
    pub fn from_secs(seconds: u16) -> Result<Self, ConfigError> {
        if seconds >= 3 {
            Ok(Self(seconds))
        } else {
            Err(ConfigError::HoldTime { seconds })
        }
    }

    /// Seconds.
    #[must_use]
    pub fn as_secs(self) -> u16 {
        self.0
    }
}

/// A large community (RFC 8092), written `global:local1:local2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LargeCommunity {
    /// Global administrator, an AS.
    pub global: u32,
    /// First local value.
    pub local1: u32,
    /// Second local value.
    pub local2: u32,
}

impl std::str::FromStr for LargeCommunity {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || ConfigError::LargeCommunity {
            text: text.to_owned(),
        };
        let mut parts = text
            .split(':')
            .map(|part| part.parse::<u32>().map_err(|_| invalid()));
        let mut next = || parts.next().unwrap_or_else(|| Err(invalid()));
        let community = Self {
            global: next()?,
            local1: next()?,
            local2: next()?,
        };
        if parts.next().is_some() {
            Err(invalid())
        } else {
            Ok(community)
        }
    }
}

impl std::fmt::Display for LargeCommunity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.global, self.local1, self.local2)
    }
}

/// Why a configuration cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Our AS is 0.
    #[error("the local AS is 0; set the AS of this speaker")]
    LocalAsn,
    /// The router id is 0.0.0.0.
    #[error("the router id is 0.0.0.0; set an address that is unique in the network")]
    RouterId,
    /// Below 3 s.
    #[error("a hold time of {seconds} s is not allowed; use 3 s or more (30 s is a good choice)")]
    HoldTime {
        /// The value.
        seconds: u16,
    },
    /// Not three numbers.
    #[error("{text:?} is not a large community; write three numbers such as 65010:8955:1")]
    LargeCommunity {
        /// The text.
        text: String,
    },
    /// Two neighbours of one name.
    #[error("two neighbours are called {name}; names must be unique")]
    DuplicateName {
        /// The name.
        name: Arc<str>,
    },
    /// Two neighbours of one address.
    #[error("neighbours {first} and {second} have the same address {address}")]
    DuplicateAddress {
        /// The address.
        address: IpAddr,
        /// One neighbour.
        first: Arc<str>,
        /// The other.
        second: Arc<str>,
    },
    /// AS 0.
    #[error("neighbour {name} has AS 0; set the AS of the router")]
    PeerAsn {
        /// The neighbour.
        name: Arc<str>,
    },
    /// No family.
    #[error("neighbour {name} has no address family; add ipv4-flowspec, ipv6-flowspec or both")]
    NoFamily {
        /// The neighbour.
        name: Arc<str>,
    },
    /// Passive, but nothing listens.
    #[error(
        "neighbour {name} is passive, but there is no address to accept sessions on; set listen or let it dial"
    )]
    PassiveWithoutListener {
        /// The neighbour.
        name: Arc<str>,
    },
    /// IPv4 against IPv6.
    #[error(
        "neighbour {name}: the local address {local} and the address {address} are of different families"
    )]
    LocalAddress {
        /// The neighbour.
        name: Arc<str>,
        /// Our end.
        local: IpAddr,
        /// The router's end.
        address: IpAddr,
    },
    /// A limit nothing passes.
    #[error("neighbour {name}: {limit} must not be 0, no rule would ever be sent")]
    ZeroLimit {
        /// The neighbour.
        name: Arc<str>,
        /// Which limit.
        limit: &'static str,
    },
    /// A rule of this size would not fit in one message.
    #[error(
        "neighbour {name}: a rule of {bytes} bytes does not fit in one UPDATE; allow {MAX_NLRI_BYTES} at most"
    )]
    NlriLimit {
        /// The neighbour.
        name: Arc<str>,
        /// The limit as given.
        bytes: usize,
    },
}

impl SpeakerConfig {
    /// Checks everything that can be checked without the network.
    ///
    /// # Errors
    ///
    /// The first [`ConfigError`] found.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.local_asn == 0 {
            return Err(ConfigError::LocalAsn);
        }
        if self.router_id.is_unspecified() {
            return Err(ConfigError::RouterId);
        }
        self.validate_neighbors(&self.neighbors)
    }

    /// Checks a set of neighbours against this speaker.
    pub(crate) fn validate_neighbors(&self, neighbors: &[NeighborConfig]) -> Result<(), ConfigError> {
        for (i, neighbor) in neighbors.iter().enumerate() {
            neighbor.validate(!self.listen.is_empty())?;
            for other in neighbors.iter().take(i) {
                if other.name == neighbor.name {
                    return Err(ConfigError::DuplicateName {
                        name: neighbor.name.clone(),
                    });
                }
                if other.address.to_canonical() == neighbor.address.to_canonical() {
                    return Err(ConfigError::DuplicateAddress {
                        address: neighbor.address,
                        first: other.name.clone(),
                        second: neighbor.name.clone(),
                    });
                }
            }
        }
        Ok(())
    }
}

impl NeighborConfig {
    /// A neighbour with the usual settings: port 179, both families, default limits, dialling, unpaced.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, address: IpAddr, peer_asn: u32) -> Self {
        Self {
            name: name.into(),
            address,
            port: 179,
            peer_asn,
            local_address: None,
            passive: false,
            families: BTreeSet::from(Family::ALL),
            limits: Limits::default(),
            max_rules: None,
            pace: None,
        }
    }

    fn validate(&self, listening: bool) -> Result<(), ConfigError> {
        let name = || self.name.clone();
        if self.peer_asn == 0 {
            return Err(ConfigError::PeerAsn { name: name() });
        }
        if self.families.is_empty() {
            return Err(ConfigError::NoFamily { name: name() });
        }
        if self.passive && !listening {
            return Err(ConfigError::PassiveWithoutListener { name: name() });
        }
        if let Some(local) = self
            .local_address
            .filter(|local| local.is_ipv4() != self.address.is_ipv4())
        {
            return Err(ConfigError::LocalAddress {
                name: name(),
                local,
                address: self.address,
            });
        }
        if self.limits.nlri_bytes > MAX_NLRI_BYTES {
            return Err(ConfigError::NlriLimit {
                name: name(),
                bytes: self.limits.nlri_bytes,
            });
        }
        for (limit, value) in [
            ("operators_per_component", self.limits.operators_per_component),
            ("nlri_bytes", self.limits.nlri_bytes),
            ("max_rules", self.max_rules.unwrap_or(1)),
        ] {
            if value == 0 {
                return Err(ConfigError::ZeroLimit { name: name(), limit });
            }
        }
        Ok(())
    }

    /// True if a session under `self` can go on under `other`: only what is sent changes, not the session.
    pub(crate) fn same_session(&self, other: &Self) -> bool {
        let Self {
            name: _,
            limits: _,
            max_rules: _,
            pace: _,
            address,
            port,
            peer_asn,
            local_address,
            passive,
            families,
        } = self;
        *address == other.address
            && *port == other.port
            && *peer_asn == other.peer_asn
            && *local_address == other.local_address
            && *passive == other.passive
            && *families == other.families
    }
}

#[cfg(test)]
mod tests;
