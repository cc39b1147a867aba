//! From a rule as written to the one spelling that is sent, checked by re-parsing its own bytes.

use ipnet::IpNet;

use super::bits::canonical_bitmask;
use super::rule::name_of;
use super::terms::canonical_numeric;
use super::{Component, Family, NlriKey, Rule};
use crate::wire;

/// The largest values the fields can hold.
const MAX_OCTET: u64 = 0xFF;
const MAX_PORT: u64 = 0xFFFF;
const MAX_LENGTH: u64 = 0xFFFF;
const MAX_DSCP: u64 = 63;
const MAX_FLOW_LABEL: u64 = 0xF_FFFF;
/// Bytes 13 and 14 of the TCP header without the data offset (RFC 8955 section 4.2.2.9).
const TCP_FLAGS_MASK: u16 = 0x0FFF;
/// LF, FF, IsF, DF (RFC 8955 section 4.2.2.12); IPv6 has no DF (RFC 8956 section 3.6).
const FRAGMENT_MASK_V4: u16 = 0x0F;
const FRAGMENT_MASK_V6: u16 = 0x0E;

/// Why a rule cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// The rule has no destination prefix; a rule must say whom it protects.
    #[error("the rule has no destination prefix; add the prefix it protects")]
    NoDestination,
    /// A component type occurs twice.
    #[error("the rule has more than one {component} component; join them into one list")]
    DuplicateComponent {
        /// Which one.
        component: &'static str,
    },
    /// A component without terms.
    #[error("the {component} component is empty; leave it out or give it a value")]
    EmptyComponent {
        /// Which one.
        component: &'static str,
    },
    /// A prefix of the other family.
    #[error("{prefix} does not belong to the family {family} of the rule")]
    WrongFamily {
        /// The prefix.
        prefix: IpNet,
        /// The family of the rule.
        family: Family,
    },
    /// A prefix with bits set behind its length. It is refused because cutting them off would widen the match.
    #[error("{prefix} has host bits set; did you mean {meant}?")]
    HostBits {
        /// The prefix as given.
        prefix: IpNet,
        /// The prefix without the host bits.
        meant: IpNet,
    },
    /// A flow label in an IPv4 rule.
    #[error("a flow label exists only in IPv6 rules")]
    FlowLabelInIpv4,
    /// A value the field cannot hold.
    #[error("{component} {value} is larger than {max}, the largest value the field can hold")]
    ValueOutOfRange {
        /// The component.
        component: &'static str,
        /// The value.
        value: u64,
        /// The largest possible value.
        max: u64,
    },
    /// A bitmask term with no bits, or with bits that do not exist in this family.
    #[error("{component} bits {bits:#x} are not valid; use one or more of {mask:#x}")]
    InvalidBits {
        /// The component.
        component: &'static str,
        /// The bits as given.
        bits: u16,
        /// The bits that exist.
        mask: u16,
    },
    /// The terms exclude each other.
    #[error("the {component} terms exclude each other, so the rule can never match")]
    NeverMatches {
        /// The component.
        component: &'static str,
    },
    /// The terms cover every value (or the destination is /0).
    #[error("the {component} component matches everything; leave it out or narrow it")]
    MatchesEverything {
        /// The component.
        component: &'static str,
    },
    /// A bitmask list of more alternatives than a rule can sensibly have.
    #[error("the {component} terms come to too many alternatives; split the rule")]
    TooManyAlternatives {
        /// The component.
        component: &'static str,
    },
    /// A blackhole route for anything but one address.
    #[error(
        "a blackhole route is for one address and matches nothing else of a packet; this rule says more or less"
    )]
    NotAHost,
    /// The rule does not fit in one NLRI.
    #[error("the rule needs {bytes} bytes, more than the 4095 of one FlowSpec NLRI; split it")]
    TooLong {
        /// Bytes of the encoded components.
        bytes: usize,
    },
    /// The encoded bytes do not say what the rule says. A fault of this program: the rule must not be sent.
    #[error("the encoded rule does not read back as the rule ({detail}); it is not sent, please report this")]
    ReadBack {
        /// What the decoder found.
        detail: String,
    },
}

/// A checked rule in canonical form: its bytes, which say all of it, and what limits are about. There may be a hundred
/// thousand of them, so what is in the bytes is not kept beside them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CanonicalRule {
    key: NlriKey,
    /// A bit for each type of component.
    types: u16,
    widest: Widest,
}

/// The component that costs the most operators. One NLRI has no room for more than 4,095.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Widest {
    type_code: u8,
    operators: u16,
}

impl CanonicalRule {
    fn new(family: Family, bytes: Vec<u8>, components: &[Component]) -> Self {
        let widest = components.iter().max_by_key(|component| component.operators());
        Self {
            key: NlriKey::new(family, bytes),
            types: components
                .iter()
                .fold(0, |types, component| types | 1 << component.type_code()),
            widest: Widest {
                type_code: widest.map_or(0, Component::type_code),
                operators: widest.map_or(0, |widest| u16::try_from(widest.operators()).unwrap_or(u16::MAX)),
            },
        }
    }

    /// The NLRI as sent, which is the identity of the rule.
    #[must_use]
    pub fn key(&self) -> &NlriKey {
        &self.key
    }

    /// Address family.
    #[must_use]
    pub fn family(&self) -> Family {
        self.key.family()
    }

    /// Components in wire order, terms in canonical form, read from the bytes. They were read when the rule was made; `None`
    /// would mean that they cannot be read any more.
    #[must_use]
    pub fn components(&self) -> Option<Vec<Component>> {
        if self.family().is_flowspec() {
            wire::decode_rules(self.family(), self.key.as_bytes())?.pop()
        } else {
            Some(vec![Component::DestinationPrefix(self.destination()?)])
        }
    }

    /// The types of its components: the bit of each is one.
    pub(crate) fn types(&self) -> u16 {
        self.types
    }

    /// The prefix the rule protects.
    #[must_use]
    pub fn destination(&self) -> Option<IpNet> {
        self.key.destination()
    }

    /// The component that costs the most operators, and how many.
    #[must_use]
    pub fn widest_component(&self) -> (&'static str, usize) {
        (name_of(self.widest.type_code), self.widest.operators.into())
    }
}

impl Rule {
    /// Brings the rule into canonical form, encodes it and reads the bytes back before they are accepted.
    ///
    /// # Errors
    ///
    /// [`RuleError`] when the rule has no destination, could match everything or nothing, holds a value its field
    /// cannot hold, or does not read back from its own bytes.
    pub fn canonical(&self) -> Result<CanonicalRule, RuleError> {
        if !self.family.is_flowspec() {
            return self.canonical_host();
        }
        let mut components = self
            .components
            .iter()
            .map(|component| canonical_component(component, self.family))
            .collect::<Result<Vec<_>, _>>()?;
        components.sort_by_key(Component::type_code);
        if let Some([_, twice]) = components
            .array_windows()
            .find(|[one, two]| one.type_code() == two.type_code())
        {
            return Err(RuleError::DuplicateComponent {
                component: twice.name(),
            });
        }
        if !matches!(components.first(), Some(Component::DestinationPrefix(_))) {
            return Err(RuleError::NoDestination);
        }
        let bytes = wire::encode_rule(self.family, &components)?;
        Ok(CanonicalRule::new(self.family, bytes, &components))
    }

    fn canonical_host(&self) -> Result<CanonicalRule, RuleError> {
        let [Component::DestinationPrefix(prefix)] = self.components.as_slice() else {
            return Err(RuleError::NotAHost);
        };
        let prefix = canonical_prefix(*prefix, self.family)?;
        if prefix.prefix_len() != prefix.max_prefix_len() {
            return Err(RuleError::NotAHost);
        }
        let bytes = wire::encode_host(prefix.addr())?;
        Ok(CanonicalRule::new(self.family, bytes, &self.components))
    }
}

fn canonical_component(component: &Component, family: Family) -> Result<Component, RuleError> {
    let name = component.name();
    let numeric = |terms: &[_], max| canonical_numeric(terms, max, name);
    Ok(match component {
        Component::DestinationPrefix(prefix) => {
            let prefix = canonical_prefix(*prefix, family)?;
            if prefix.prefix_len() == 0 {
                return Err(RuleError::MatchesEverything { component: name });
            }
            Component::DestinationPrefix(prefix)
        }
        Component::SourcePrefix(prefix) => Component::SourcePrefix(canonical_prefix(*prefix, family)?),
        Component::Protocol(terms) => Component::Protocol(numeric(terms, MAX_OCTET)?),
        Component::Port(terms) => Component::Port(numeric(terms, MAX_PORT)?),
        Component::DestinationPort(terms) => Component::DestinationPort(numeric(terms, MAX_PORT)?),
        Component::SourcePort(terms) => Component::SourcePort(numeric(terms, MAX_PORT)?),
        Component::IcmpType(terms) => Component::IcmpType(numeric(terms, MAX_OCTET)?),
        Component::IcmpCode(terms) => Component::IcmpCode(numeric(terms, MAX_OCTET)?),
        Component::TcpFlags(terms) => Component::TcpFlags(canonical_bitmask(terms, TCP_FLAGS_MASK, name)?),
        Component::PacketLength(terms) => Component::PacketLength(numeric(terms, MAX_LENGTH)?),
        Component::Dscp(terms) => Component::Dscp(numeric(terms, MAX_DSCP)?),
        Component::Fragment(terms) => {
            let mask = match family {
                Family::Ipv4 | Family::Ipv4Unicast => FRAGMENT_MASK_V4,
                Family::Ipv6 | Family::Ipv6Unicast => FRAGMENT_MASK_V6,
            };
            Component::Fragment(canonical_bitmask(terms, mask, name)?)
        }
        Component::FlowLabel(_) if family == Family::Ipv4 => return Err(RuleError::FlowLabelInIpv4),
        Component::FlowLabel(terms) => Component::FlowLabel(numeric(terms, MAX_FLOW_LABEL)?),
    })
}

fn canonical_prefix(prefix: IpNet, family: Family) -> Result<IpNet, RuleError> {
    match (prefix, family) {
        (IpNet::V4(_), Family::Ipv4 | Family::Ipv4Unicast)
        | (IpNet::V6(_), Family::Ipv6 | Family::Ipv6Unicast) => {}
        _ => return Err(RuleError::WrongFamily { prefix, family }),
    }
    let meant = prefix.trunc();
    if meant != prefix {
        return Err(RuleError::HostBits { prefix, meant });
    }
    Ok(prefix)
}
