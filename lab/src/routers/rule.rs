//! One form for the FlowSpec rules that different routers show in their own words, made to be compared.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

/// The address family of a FlowSpec table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// AFI 1, SAFI 133.
    Ipv4Flow,
    /// AFI 2, SAFI 133.
    Ipv6Flow,
}

impl Family {
    /// The address family number of the IANA registry.
    pub const fn afi(self) -> u16 {
        match self {
            Self::Ipv4Flow => 1,
            Self::Ipv6Flow => 2,
        }
    }
}

/// A rule as a router holds it. Terms keep the order in which they were sent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RouterRule {
    /// What the rule matches.
    pub matches: Match,
    /// What happens to matching packets; empty: nothing.
    pub actions: BTreeSet<Action>,
    /// RFC 1997 communities as (high, low); `None` when this router does not show them (FRR).
    pub communities: Option<BTreeSet<(u16, u16)>>,
    /// RFC 8092 large communities; `None` when this router does not show them (FRR).
    pub large_communities: Option<BTreeSet<(u32, u32, u32)>>,
}

/// The well-known community NO_EXPORT (RFC 1997).
pub const NO_EXPORT: (u16, u16) = (0xffff, 0xff01);

/// The components of a rule (RFC 8955 section 4.2.2, RFC 8956 section 3).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Match {
    /// Type 1.
    pub destination: Option<IpNet>,
    /// Type 2.
    pub source: Option<IpNet>,
    /// Types 3 to 13.
    pub components: BTreeMap<Component, Vec<Term>>,
}

/// A component that is a list of terms, with its type number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are those of RFC 8955 section 4.2.2")]
pub enum Component {
    Protocol = 3,
    Port = 4,
    DestinationPort = 5,
    SourcePort = 6,
    IcmpType = 7,
    IcmpCode = 8,
    TcpFlags = 9,
    PacketLength = 10,
    Dscp = 11,
    Fragment = 12,
    FlowLabel = 13,
}

impl Component {
    const ALL: [Self; 11] = [
        Self::Protocol,
        Self::Port,
        Self::DestinationPort,
        Self::SourcePort,
        Self::IcmpType,
        Self::IcmpCode,
        Self::TcpFlags,
        Self::PacketLength,
        Self::Dscp,
        Self::Fragment,
        Self::FlowLabel,
    ];

    /// The component of this type number, when it is one with terms.
    pub fn from_type(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|component| *component as u8 == number)
    }

    /// Whether its terms are bit masks rather than numbers.
    pub const fn is_bitmask(self) -> bool {
        matches!(self, Self::TcpFlags | Self::Fragment)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Protocol => "proto",
            Self::Port => "port",
            Self::DestinationPort => "dport",
            Self::SourcePort => "sport",
            Self::IcmpType => "icmp-type",
            Self::IcmpCode => "icmp-code",
            Self::TcpFlags => "tcp-flags",
            Self::PacketLength => "length",
            Self::Dscp => "dscp",
            Self::Fragment => "fragment",
            Self::FlowLabel => "label",
        }
    }
}

/// One comparison of a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Term {
    /// AND-ed with the term before it; otherwise OR-ed.
    pub and: bool,
    /// The comparison.
    pub op: Op,
    /// The number, or the bits.
    pub value: u64,
}

/// A comparison (RFC 8955 sections 4.2.1.1 and 4.2.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Op {
    /// Never true.
    False,
    /// Less than.
    Lt,
    /// Greater than.
    Gt,
    /// Equal.
    Eq,
    /// Less than or equal.
    Le,
    /// Greater than or equal.
    Ge,
    /// Not equal.
    Ne,
    /// Always true.
    True,
    /// Any of the bits is set.
    AnyOf,
    /// All of the bits are set.
    AllOf,
    /// None of the bits is set.
    NoneOf,
    /// Not all of the bits are set.
    NotAllOf,
}

impl Op {
    /// The comparison in the low bits of an operator byte on the wire.
    pub const fn from_wire(byte: u8, bitmask: bool) -> Self {
        match (bitmask, byte & 0x07) {
            (false, 0b000) => Self::False,
            (false, 0b100) => Self::Lt,
            (false, 0b010) => Self::Gt,
            (false, 0b001) => Self::Eq,
            (false, 0b101) => Self::Le,
            (false, 0b011) => Self::Ge,
            (false, 0b110) => Self::Ne,
            (false, _) => Self::True,
            (true, bits) => match bits & 0b11 {
                0b00 => Self::AnyOf,
                0b01 => Self::AllOf,
                0b10 => Self::NoneOf,
                _ => Self::NotAllOf,
            },
        }
    }

    /// The low bits of the operator byte on the wire.
    pub const fn to_wire(self) -> u8 {
        match self {
            Self::False | Self::AnyOf => 0b000,
            Self::Lt => 0b100,
            Self::Gt | Self::NoneOf => 0b010,
            Self::Eq | Self::AllOf => 0b001,
            Self::Le => 0b101,
            Self::Ge | Self::NotAllOf => 0b011,
            Self::Ne => 0b110,
            Self::True => 0b111,
        }
    }

    const fn symbol(self) -> &'static str {
        match self {
            Self::False => "false",
            Self::Lt => "<",
            Self::Gt => ">",
            Self::Eq => "=",
            Self::Le => "<=",
            Self::Ge => ">=",
            Self::Ne => "!=",
            Self::True => "true",
            Self::AnyOf => "any:",
            Self::AllOf => "all:",
            Self::NoneOf => "none:",
            Self::NotAllOf => "not-all:",
        }
    }
}

/// What a rule does to packets (RFC 8955 section 7).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Traffic-rate of 0.
    Discard,
    /// Traffic-rate in bytes per second.
    Police(BytesPerSecond),
    /// Traffic-action.
    Traffic {
        /// Bit 47: evaluate further rules.
        terminal: bool,
        /// Bit 46: sample and log.
        sample: bool,
    },
    /// Redirect to the VRF of a route target `asn:number`.
    RedirectAs2 {
        /// The administrator, a two-byte AS number.
        asn: u16,
        /// The assigned number.
        number: u32,
    },
    /// Redirect to the VRF of a route target of a four-byte AS.
    RedirectAs4 {
        /// The administrator.
        asn: u32,
        /// The assigned number.
        number: u16,
    },
    /// Redirect to the VRF of a route target of an IPv4 address.
    RedirectIpv4 {
        /// The administrator.
        address: Ipv4Addr,
        /// The assigned number.
        number: u16,
    },
    /// Redirect to a next hop (draft-ietf-idr-flowspec-redirect-ip).
    RedirectTo {
        /// The next hop.
        address: IpAddr,
        /// Whether only a copy goes there.
        copy: bool,
    },
    /// Traffic-rate in packets per second.
    PolicePackets(PacketsPerSecond),
    /// Traffic-marking with a DSCP.
    Mark(u8),
    /// Another extended community: its eight bytes.
    Raw(u64),
}

/// A rate in packets; no router shows a fraction of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PacketsPerSecond(pub u64);

/// A rate as it is on the wire: an IEEE 754 single.
#[derive(Clone, Copy, Debug)]
pub struct BytesPerSecond(pub f32);

impl PartialEq for BytesPerSecond {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for BytesPerSecond {}

impl PartialOrd for BytesPerSecond {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for BytesPerSecond {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl Action {
    /// Reads an extended community (RFC 4360) that stands for an action.
    pub fn from_extended_community(community: u64) -> Self {
        let [kind_high, kind_low, a, b, c, d, e, f] = community.to_be_bytes();
        match [kind_high, kind_low] {
            [0x80, 0x06] => Self::rate(f32::from_be_bytes([c, d, e, f])),
            [0x80, 0x07] => Self::Traffic {
                terminal: f & 1 != 0,
                sample: f & 2 != 0,
            },
            [0x80, 0x08] => Self::RedirectAs2 {
                asn: u16::from_be_bytes([a, b]),
                number: u32::from_be_bytes([c, d, e, f]),
            },
            [0x80, 0x09] => Self::Mark(f),
            [0x80, 0x0c] => {
                Self::PolicePackets(PacketsPerSecond(f32::from_be_bytes([c, d, e, f]).round() as u64))
            }
            [0x81, 0x08] => Self::RedirectIpv4 {
                address: [a, b, c, d].into(),
                number: u16::from_be_bytes([e, f]),
            },
            [0x82, 0x08] => Self::RedirectAs4 {
                asn: u32::from_be_bytes([a, b, c, d]),
                number: u16::from_be_bytes([e, f]),
            },
            [0x01, 0x0c] => Self::RedirectTo {
                address: Ipv4Addr::new(a, b, c, d).into(),
                copy: f & 1 != 0,
            },
            _ => Self::Raw(community),
        }
    }

    /// Reads an IPv6 extended community (RFC 5701) that stands for an action.
    pub fn from_ipv6_extended_community(community: &[u8]) -> anyhow::Result<Self> {
        match community {
            [0x00, 0x0c, address @ .., _, flags] if address.len() == 16 => {
                let address = <[u8; 16]>::try_from(address)?;
                Ok(Self::RedirectTo {
                    address: IpAddr::from(address),
                    copy: flags & 1 != 0,
                })
            }
            other => anyhow::bail!("unknown IPv6 extended community {other:02x?}"),
        }
    }

    /// The action of a traffic-rate in bytes per second.
    pub fn rate(bytes_per_second: f32) -> Self {
        if bytes_per_second == 0.0 {
            Self::Discard
        } else {
            Self::Police(BytesPerSecond(bytes_per_second))
        }
    }
}

impl RouterRule {
    /// The family the rule belongs to, by its destination; `None` for a rule without prefixes.
    pub fn family(&self) -> Option<Family> {
        self.matches
            .destination
            .or(self.matches.source)
            .map(|net| match net {
                IpNet::V4(_) => Family::Ipv4Flow,
                IpNet::V6(_) => Family::Ipv6Flow,
            })
    }

    /// Whether the rule carries this large community. `false` on routers that show none.
    pub fn has_large_community(&self, community: (u32, u32, u32)) -> bool {
        self.large_communities
            .as_ref()
            .is_some_and(|all| all.contains(&community))
    }

    /// Whether the rule carries this community. `false` on routers that show none.
    pub fn has_community(&self, community: (u16, u16)) -> bool {
        self.communities
            .as_ref()
            .is_some_and(|all| all.contains(&community))
    }
}

impl Match {
    /// A match on a destination alone, to which [`Match::with`] adds.
    pub fn to(destination: IpNet) -> Self {
        Self {
            destination: Some(destination),
            ..Self::default()
        }
    }

    /// Adds a component of OR-ed terms `(op, value)`.
    #[must_use]
    pub fn with(mut self, component: Component, terms: &[(Op, u64)]) -> Self {
        let terms = terms.iter().map(|&(op, value)| Term {
            and: false,
            op,
            value,
        });
        self.components.entry(component).or_default().extend(terms);
        self
    }

    /// AND-s one more term to the last of a component.
    #[must_use]
    pub fn and(mut self, component: Component, op: Op, value: u64) -> Self {
        self.components
            .entry(component)
            .or_default()
            .push(Term { and: true, op, value });
        self
    }
}

impl fmt::Display for RouterRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.matches)?;
        for action in &self.actions {
            write!(f, " then {action}")?;
        }
        for (high, low) in self.communities.iter().flatten() {
            write!(f, " community {high}:{low}")?;
        }
        for (a, b, c) in self.large_communities.iter().flatten() {
            write!(f, " large-community {a}:{b}:{c}")?;
        }
        Ok(())
    }
}

/// For example `dst 203.0.113.10/32 proto =17 dport =53,>=1000&<=2000`.
impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut gap = "";
        for (name, net) in [("dst", self.destination), ("src", self.source)] {
            if let Some(net) = net {
                write!(f, "{gap}{name} {net}")?;
                gap = " ";
            }
        }
        for (component, terms) in &self.components {
            write!(f, "{gap}{} ", component.name())?;
            gap = " ";
            for (index, term) in terms.iter().enumerate() {
                let joint = match (index, term.and) {
                    (0, _) => "",
                    (_, true) => "&",
                    (_, false) => ",",
                };
                write!(f, "{joint}{}{}", term.op.symbol(), term.value)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Discard => write!(f, "discard"),
            Self::Police(rate) => write!(f, "police {} bytes/s", rate.0),
            Self::Traffic { terminal, sample } => {
                write!(f, "traffic-action terminal={terminal} sample={sample}")
            }
            Self::RedirectAs2 { asn, number } => write!(f, "redirect {asn}:{number}"),
            Self::RedirectAs4 { asn, number } => write!(f, "redirect {asn}:{number}"),
            Self::RedirectIpv4 { address, number } => write!(f, "redirect {address}:{number}"),
            Self::RedirectTo { address, copy } => {
                write!(f, "{} to {address}", if *copy { "copy" } else { "redirect" })
            }
            Self::PolicePackets(rate) => write!(f, "police {} packets/s", rate.0),
            Self::Mark(dscp) => write!(f, "mark {dscp}"),
            Self::Raw(community) => write!(f, "extended-community {community:#018x}"),
        }
    }
}
