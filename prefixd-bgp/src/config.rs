//! What the speaker is told at start, checked before anything is bound.

mod rtbh;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;

use crate::canary::CanaryConfig;
use crate::flowspec::Family;
use crate::restart::RestartTime;
use crate::socket::Md5Key;
pub use rtbh::{Community, Rtbh};

/// One NLRI of this size fits in an UPDATE of 4096 bytes beside all attributes.
const MAX_NLRI_BYTES: usize = 3800;
/// RFC 4271 section 4.1.
const MAX_UPDATE_BYTES: usize = 4096;

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
    /// The address sessions are dialled from, and the only one they are accepted on; when absent the system chooses, and
    /// any will do.
    pub local_address: Option<IpAddr>,
    /// Never dial, only accept.
    pub passive: bool,
    /// The key of TCP-MD5 (RFC 2385). With it the kernel takes no segment of this neighbour that is not signed.
    pub password: Option<Md5Key>,
    /// GTSM (RFC 5082): for a neighbour that is directly connected. We send with a TTL of 255 and hear nothing that a
    /// router has forwarded, once the connection is made.
    pub ttl_security: bool,
    /// Offer graceful restart (RFC 4724): a router that agrees keeps our rules for this long when it loses us without a
    /// NOTIFICATION. Without it rules never outlive the session.
    pub graceful_restart: Option<RestartTime>,
    /// Families offered to the router.
    pub families: BTreeSet<Family>,
    /// What blackhole routes carry; needed for the unicast families, which hold nothing else.
    pub rtbh: Option<Rtbh>,
    /// What one rule may cost.
    pub limits: Limits,
    /// How many rules the neighbour may hold; unbounded when absent.
    pub max_rules: Option<usize>,
    /// Announcements per second; unpaced when absent. Withdrawals are never paced.
    pub pace: Option<NonZeroU32>,
    /// Kinds of rules that are new to a group go to one of its neighbours first; told to all at once when absent.
    pub canary: Option<CanaryConfig>,
}

/// What one rule may cost a neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Operators in one component; a closed range costs two. FRR 8.4 resets the session above 5.
    pub operators_per_component: usize,
    /// Bytes of one NLRI without its length field. From 240 on FRR, GoBGP and ExaBGP fail in different ways.
    pub nlri_bytes: usize,
    /// Bytes of one UPDATE. Extended messages (RFC 8654) are never used, so 4096 is the most; a rule that does not fit
    /// into less is sent in a message of its own all the same.
    pub update_bytes: usize,
}

impl Default for Limits {
    /// What every router tested takes.
    fn default() -> Self {
        Self {
            operators_per_component: 5,
            nlri_bytes: 239,
            update_bytes: MAX_UPDATE_BYTES,
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
    /// Not 1 to 120 s.
    #[error(
        "a restart time of {seconds} s is not allowed; use 1 to 120 s, because rules can outlive their lease by it"
    )]
    RestartTime {
        /// The value.
        seconds: u16,
    },
    /// Not two numbers of 16 bits.
    #[error("{text:?} is not a community; write two numbers of at most 65535 such as 65010:666")]
    Community {
        /// The text.
        text: String,
    },
    /// A unicast family, but nowhere to discard at.
    #[error("neighbour {name} has {family} but no rtbh.{key}; set the address that the router discards at")]
    NoNextHop {
        /// The neighbour.
        name: Arc<str>,
        /// The family.
        family: Family,
        /// The key that is missing.
        key: &'static str,
    },
    /// The reverse.
    #[error("neighbour {name} has rtbh.{key} but not the family {family}; add it, or take the next hop out")]
    NextHopWithoutFamily {
        /// The neighbour.
        name: Arc<str>,
        /// The family.
        family: Family,
        /// The key that is useless.
        key: &'static str,
    },
    /// Traffic would not be discarded there.
    #[error(
        "neighbour {name}: {next_hop} is no next hop to discard at; use an address that the router has a discard route for"
    )]
    NextHop {
        /// The neighbour.
        name: Arc<str>,
        /// The address.
        next_hop: IpAddr,
    },
    /// More communities than a route should carry.
    #[error("neighbour {name} has {communities} communities for blackhole routes; use {max} at most")]
    TooManyCommunities {
        /// The neighbour.
        name: Arc<str>,
        /// How many.
        communities: usize,
        /// How many are allowed.
        max: usize,
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
    /// Passive, but nothing listens where the router could reach us.
    #[error(
        "neighbour {name} is passive, but there is no address of its family to accept its session on; add one to \
         listen or let it dial"
    )]
    PassiveWithoutListener {
        /// The neighbour.
        name: Arc<str>,
    },
    /// Nobody can be reached there.
    #[error("neighbour {name}: {address} is no address of one router; set the address it talks BGP from")]
    Address {
        /// The neighbour.
        name: Arc<str>,
        /// The address.
        address: IpAddr,
    },
    /// Nobody can be dialled there.
    #[error("neighbour {name}: port 0 cannot be dialled; set the port of the router (179 is usual)")]
    Port {
        /// The neighbour.
        name: Arc<str>,
    },
    /// Not 1 to 80 bytes.
    #[error("a TCP-MD5 key of {bytes} bytes is not possible; use 1 to 80 bytes")]
    Md5KeyLength {
        /// How many it has.
        bytes: usize,
    },
    /// The system does not do what was asked for; without it no session is made.
    #[error(
        "neighbour {name}: the system refused {option} on {address} ({detail}); no session is made without it"
    )]
    Protection {
        /// The neighbour.
        name: Arc<str>,
        /// TCP-MD5 or GTSM.
        option: &'static str,
        /// The listener.
        address: SocketAddr,
        /// What the system said.
        detail: String,
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
    /// More than a message can have.
    #[error(
        "neighbour {name}: an UPDATE of {bytes} bytes is not possible; allow {MAX_UPDATE_BYTES} at most (extended \
         messages are not used)"
    )]
    UpdateLimit {
        /// The neighbour.
        name: Arc<str>,
        /// The limit as given.
        bytes: usize,
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
            neighbor.validate(&self.listen)?;
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
            password: None,
            ttl_security: false,
            graceful_restart: None,
            families: BTreeSet::from(Family::FLOWSPEC),
            rtbh: None,
            limits: Limits::default(),
            max_rules: None,
            pace: None,
            canary: None,
        }
    }

    fn validate(&self, listen: &[SocketAddr]) -> Result<(), ConfigError> {
        let name = || self.name.clone();
        if !is_of_one_router(self.address) {
            return Err(ConfigError::Address {
                name: name(),
                address: self.address,
            });
        }
        if self.port == 0 && !self.passive {
            return Err(ConfigError::Port { name: name() });
        }
        if self.peer_asn == 0 {
            return Err(ConfigError::PeerAsn { name: name() });
        }
        if self.families.is_empty() {
            return Err(ConfigError::NoFamily { name: name() });
        }
        if self.passive && !listen.iter().any(|listen| self.can_reach(listen.ip())) {
            return Err(ConfigError::PassiveWithoutListener { name: name() });
        }
        if let Some(local) = self
            .local_address
            .filter(|local| local.is_ipv4() != self.address.to_canonical().is_ipv4())
        {
            return Err(ConfigError::LocalAddress {
                name: name(),
                local,
                address: self.address,
            });
        }
        self.validate_rtbh()?;
        if self.limits.nlri_bytes > MAX_NLRI_BYTES {
            return Err(ConfigError::NlriLimit {
                name: name(),
                bytes: self.limits.nlri_bytes,
            });
        }
        if self.limits.update_bytes > MAX_UPDATE_BYTES {
            return Err(ConfigError::UpdateLimit {
                name: name(),
                bytes: self.limits.update_bytes,
            });
        }
        for (limit, value) in [
            ("operators_per_component", self.limits.operators_per_component),
            ("nlri_bytes", self.limits.nlri_bytes),
            ("update_bytes", self.limits.update_bytes),
            ("max_rules", self.max_rules.unwrap_or(1)),
        ] {
            if value == 0 {
                return Err(ConfigError::ZeroLimit { name: name(), limit });
            }
        }
        Ok(())
    }

    /// Whether the router can dial a listener on `listen` and be accepted.
    fn can_reach(&self, listen: IpAddr) -> bool {
        let same_family = listen.is_ipv4() == self.address.to_canonical().is_ipv4();
        let ours = |local: IpAddr| listen.is_unspecified() || listen == local;
        same_family && self.local_address.is_none_or(ours)
    }

    /// True if a session under `self` can go on under `other`: only what is sent changes, not the session.
    pub(crate) fn same_session(&self, other: &Self) -> bool {
        let Self {
            name: _,
            rtbh: _,
            limits: _,
            max_rules: _,
            pace: _,
            canary: _,
            address,
            port,
            peer_asn,
            local_address,
            passive,
            password,
            ttl_security,
            graceful_restart,
            families,
        } = self;
        *address == other.address
            && *port == other.port
            && *peer_asn == other.peer_asn
            && *local_address == other.local_address
            && *passive == other.passive
            && *password == other.password
            && *ttl_security == other.ttl_security
            && *graceful_restart == other.graceful_restart
            && *families == other.families
    }

    /// True if a session under `other` takes over every rule that a session under `self` has told: the router may keep
    /// them over the change.
    pub(crate) fn continues_in(&self, other: &Self) -> bool {
        self.address == other.address
            && self.peer_asn == other.peer_asn
            && self.local_address == other.local_address
            && other.graceful_restart.is_some()
            && self.families.is_subset(&other.families)
    }
}

/// A link-local address would need an interface to be dialled, and there is none to configure.
fn is_of_one_router(address: IpAddr) -> bool {
    let address = address.to_canonical();
    let link_local = matches!(address, IpAddr::V6(address) if address.is_unicast_link_local());
    !address.is_unspecified() && !address.is_multicast() && !link_local
}

#[cfg(test)]
mod tests;
