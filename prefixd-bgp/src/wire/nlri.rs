//! Canonical components to NLRI bytes, and back to prove them.

#[cfg(test)]
mod tests;

use ipnet::IpNet;
use rustbgpd_wire::flowspec::{MAX_FLOWSPEC_NLRI_RULE_LEN, decode_flowspec_nlri, try_encode_flowspec_nlri};
use rustbgpd_wire::{
    BitmaskMatch, FlowSpecComponent, FlowSpecPrefix, FlowSpecRule, Ipv4Prefix, Ipv6Prefix, Ipv6PrefixOffset,
    NumericMatch,
};

use super::afi;
use crate::flowspec::{BitmaskTerm, Comparison, Component, Family, NumericTerm, RuleError};

/// Encodes one rule with its length field and reads the bytes back: they must hold exactly this rule.
pub(crate) fn encode_rule(family: Family, components: &[Component]) -> Result<Vec<u8>, RuleError> {
    let rule = FlowSpecRule {
        components: components.iter().map(component).collect(),
    };
    let afi = afi(family);
    let mut bytes = Vec::new();
    if try_encode_flowspec_nlri(std::slice::from_ref(&rule), &mut bytes, afi).is_err() {
        // The only way to fail is the length; the encoder has no other error for a rule.
        return Err(RuleError::TooLong {
            bytes: rule.encoded_len(afi).max(MAX_FLOWSPEC_NLRI_RULE_LEN + 1),
        });
    }
    let parsed = decode_flowspec_nlri(&bytes, afi).map_err(|error| RuleError::ReadBack {
        detail: error.to_string(),
    })?;
    match parsed.as_slice() {
        [one] if *one == rule => Ok(bytes),
        other => Err(RuleError::ReadBack {
            detail: format!("{other:?}"),
        }),
    }
}

fn component(component: &Component) -> FlowSpecComponent {
    match component {
        Component::DestinationPrefix(net) => FlowSpecComponent::DestinationPrefix(prefix(*net)),
        Component::SourcePrefix(net) => FlowSpecComponent::SourcePrefix(prefix(*net)),
        Component::Protocol(terms) => FlowSpecComponent::IpProtocol(numeric(terms)),
        Component::Port(terms) => FlowSpecComponent::Port(numeric(terms)),
        Component::DestinationPort(terms) => FlowSpecComponent::DestinationPort(numeric(terms)),
        Component::SourcePort(terms) => FlowSpecComponent::SourcePort(numeric(terms)),
        Component::IcmpType(terms) => FlowSpecComponent::IcmpType(numeric(terms)),
        Component::IcmpCode(terms) => FlowSpecComponent::IcmpCode(numeric(terms)),
        Component::TcpFlags(terms) => FlowSpecComponent::TcpFlags(bitmask(terms)),
        Component::PacketLength(terms) => FlowSpecComponent::PacketLength(numeric(terms)),
        Component::Dscp(terms) => FlowSpecComponent::Dscp(numeric(terms)),
        Component::Fragment(terms) => FlowSpecComponent::Fragment(bitmask(terms)),
        Component::FlowLabel(terms) => FlowSpecComponent::FlowLabel(numeric(terms)),
    }
}

/// The offset of an IPv6 prefix is always 0: other values are encoded wrongly and reset routers.
fn prefix(net: IpNet) -> FlowSpecPrefix {
    match net {
        IpNet::V4(net) => FlowSpecPrefix::V4(Ipv4Prefix::new(net.network(), net.prefix_len())),
        IpNet::V6(net) => FlowSpecPrefix::V6(Ipv6PrefixOffset {
            prefix: Ipv6Prefix::new(net.network(), net.prefix_len()),
            offset: 0,
        }),
    }
}

fn numeric(terms: &[NumericTerm]) -> Vec<NumericMatch> {
    let last = terms.len().saturating_sub(1);
    terms
        .iter()
        .enumerate()
        .map(|(i, term)| {
            let (lt, gt, eq) = match term.comparison {
                Comparison::Less => (true, false, false),
                Comparison::LessOrEqual => (true, false, true),
                Comparison::Equal => (false, false, true),
                Comparison::GreaterOrEqual => (false, true, true),
                Comparison::Greater => (false, true, false),
                Comparison::NotEqual => (true, true, false),
            };
            NumericMatch {
                end_of_list: i == last,
                and_bit: term.and,
                lt,
                gt,
                eq,
                value: term.value,
            }
        })
        .collect()
}

fn bitmask(terms: &[BitmaskTerm]) -> Vec<BitmaskMatch> {
    let last = terms.len().saturating_sub(1);
    terms
        .iter()
        .enumerate()
        .map(|(i, term)| BitmaskMatch {
            end_of_list: i == last,
            and_bit: term.and,
            not_bit: term.not,
            match_bit: term.all,
            value: term.bits,
        })
        .collect()
}

/// The rules in NLRI bytes as components; `None` if the decoder refuses them, or if they hold what our components cannot
/// say: offsets, and comparisons that are always or never true. Nothing that a router sends is decoded.
pub(crate) fn decode_rules(family: Family, bytes: &[u8]) -> Option<Vec<Vec<Component>>> {
    let rules = decode_flowspec_nlri(bytes, afi(family)).ok()?;
    let components = |rule: FlowSpecRule| rule.components.iter().map(back::component).collect();
    rules.into_iter().map(components).collect()
}

mod back {
    use ipnet::{IpNet, Ipv4Net, Ipv6Net};
    use rustbgpd_wire::{BitmaskMatch, FlowSpecComponent, FlowSpecPrefix, NumericMatch};

    use crate::flowspec::{BitmaskTerm, Comparison, Component, NumericTerm};

    pub(super) fn component(component: &FlowSpecComponent) -> Option<Component> {
        Some(match component {
            FlowSpecComponent::DestinationPrefix(net) => Component::DestinationPrefix(prefix(net)?),
            FlowSpecComponent::SourcePrefix(net) => Component::SourcePrefix(prefix(net)?),
            FlowSpecComponent::IpProtocol(terms) => Component::Protocol(numeric(terms)?),
            FlowSpecComponent::Port(terms) => Component::Port(numeric(terms)?),
            FlowSpecComponent::DestinationPort(terms) => Component::DestinationPort(numeric(terms)?),
            FlowSpecComponent::SourcePort(terms) => Component::SourcePort(numeric(terms)?),
            FlowSpecComponent::IcmpType(terms) => Component::IcmpType(numeric(terms)?),
            FlowSpecComponent::IcmpCode(terms) => Component::IcmpCode(numeric(terms)?),
            FlowSpecComponent::TcpFlags(terms) => Component::TcpFlags(bitmask(terms)),
            FlowSpecComponent::PacketLength(terms) => Component::PacketLength(numeric(terms)?),
            FlowSpecComponent::Dscp(terms) => Component::Dscp(numeric(terms)?),
            FlowSpecComponent::Fragment(terms) => Component::Fragment(bitmask(terms)),
            FlowSpecComponent::FlowLabel(terms) => Component::FlowLabel(numeric(terms)?),
            // One that a later version of the crate knows and we do not.
            _ => return None,
        })
    }

    fn prefix(net: &FlowSpecPrefix) -> Option<IpNet> {
        match net {
            FlowSpecPrefix::V4(net) => Some(Ipv4Net::new(net.addr, net.len).ok()?.into()),
            FlowSpecPrefix::V6(net) if net.offset == 0 => {
                Some(Ipv6Net::new(net.prefix.addr, net.prefix.len).ok()?.into())
            }
            FlowSpecPrefix::V6(_) => None,
        }
    }

    fn numeric(terms: &[NumericMatch]) -> Option<Vec<NumericTerm>> {
        terms
            .iter()
            .map(|term| {
                let comparison = match (term.lt, term.gt, term.eq) {
                    (true, false, false) => Comparison::Less,
                    (true, false, true) => Comparison::LessOrEqual,
                    (false, false, true) => Comparison::Equal,
                    (false, true, true) => Comparison::GreaterOrEqual,
                    (false, true, false) => Comparison::Greater,
                    (true, true, false) => Comparison::NotEqual,
                    (false, false, false) | (true, true, true) => return None,
                };
                Some(NumericTerm {
                    and: term.and_bit,
                    comparison,
                    value: term.value,
                })
            })
            .collect()
    }

    fn bitmask(terms: &[BitmaskMatch]) -> Vec<BitmaskTerm> {
        let term = |term: &BitmaskMatch| BitmaskTerm {
            and: term.and_bit,
            not: term.not_bit,
            all: term.match_bit,
            bits: term.value,
        };
        terms.iter().map(term).collect()
    }
}
