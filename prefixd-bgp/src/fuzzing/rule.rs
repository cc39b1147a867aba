//! Rules from any bytes: as NLRI that a decoder reads, and as components in any order and spelling.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::flowspec::meaning::{bitmask_holds, numeric_holds};
use crate::flowspec::{BitmaskTerm, Comparison, Component, Family, NumericTerm, Rule};
use crate::wire::decode_rules;

/// Terms of one component; more would only make inputs longer.
const MOST_TERMS: u8 = 8;

/// The FlowSpec codec. The first byte says which family. A rule that has a canonical form matches the same as before,
/// has no other canonical form, and reads back from its bytes.
pub fn flowspec(bytes: &[u8]) {
    let Some((family, bytes)) = bytes.split_first() else {
        return;
    };
    let family = Family::FLOWSPEC[usize::from(*family) % Family::FLOWSPEC.len()];
    for components in decode_rules(family, bytes).into_iter().flatten() {
        check(&Rule { family, components });
    }
    check(&Rule {
        family,
        components: components(family, &mut Bytes(bytes)),
    });
}

fn check(rule: &Rule) {
    let Ok(canonical) = rule.canonical() else { return };
    let read = canonical.components();
    assert!(read.is_some(), "{rule:?} does not read back");
    let components = read.unwrap_or_default();
    let again = Rule {
        family: rule.family,
        components: components.clone(),
    };
    assert_eq!(again.canonical().as_ref(), Ok(&canonical), "{rule:?}");
    for component in &rule.components {
        let twin = components
            .iter()
            .find(|other| other.type_code() == component.type_code());
        let same = twin.is_some_and(|twin| matches_the_same(component, twin));
        assert!(same, "{component:?} became {twin:?}");
    }
}

/// Around every value that occurs, and for all flags that exist.
fn matches_the_same(one: &Component, other: &Component) -> bool {
    match (one, other) {
        (Component::DestinationPrefix(one), Component::DestinationPrefix(other))
        | (Component::SourcePrefix(one), Component::SourcePrefix(other)) => one == other,
        (Component::TcpFlags(one), Component::TcpFlags(other)) => {
            (0..=0x0FFF).all(|flags| bitmask_holds(one, flags) == bitmask_holds(other, flags))
        }
        (Component::Fragment(one), Component::Fragment(other)) => {
            (0..=0x0F).all(|flags| bitmask_holds(one, flags) == bitmask_holds(other, flags))
        }
        _ => match (terms(one), terms(other)) {
            (Some((one, max)), Some((other, _))) => {
                let near = |value: u64| [value.saturating_sub(1), value, value.saturating_add(1)];
                one.iter()
                    .chain(other)
                    .flat_map(|term| near(term.value))
                    .filter(|value| *value <= max)
                    .all(|value| numeric_holds(one, value) == numeric_holds(other, value))
            }
            _ => false,
        },
    }
}

/// The terms of a numeric component and the largest value of its field.
fn terms(component: &Component) -> Option<(&[NumericTerm], u64)> {
    Some(match component {
        Component::Protocol(terms) | Component::IcmpType(terms) | Component::IcmpCode(terms) => (terms, 0xFF),
        Component::Port(terms)
        | Component::DestinationPort(terms)
        | Component::SourcePort(terms)
        | Component::PacketLength(terms) => (terms, 0xFFFF),
        Component::Dscp(terms) => (terms, 63),
        Component::FlowLabel(terms) => (terms, 0xF_FFFF),
        Component::DestinationPrefix(_)
        | Component::SourcePrefix(_)
        | Component::TcpFlags(_)
        | Component::Fragment(_) => return None,
    })
}

/// Takes bytes off the front; past the end there are zeros.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn take(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        [(); N].map(|()| self.take())
    }
}

fn components(family: Family, bytes: &mut Bytes<'_>) -> Vec<Component> {
    let mut all = vec![Component::DestinationPrefix(prefix(family, bytes))];
    while !bytes.0.is_empty() {
        all.push(match bytes.take() % 12 {
            0 => Component::SourcePrefix(prefix(family, bytes)),
            1 => Component::Protocol(numeric(bytes)),
            2 => Component::Port(numeric(bytes)),
            3 => Component::DestinationPort(numeric(bytes)),
            4 => Component::SourcePort(numeric(bytes)),
            5 => Component::IcmpType(numeric(bytes)),
            6 => Component::IcmpCode(numeric(bytes)),
            7 => Component::TcpFlags(bitmask(bytes)),
            8 => Component::PacketLength(numeric(bytes)),
            9 => Component::Dscp(numeric(bytes)),
            10 => Component::Fragment(bitmask(bytes)),
            _ => Component::FlowLabel(numeric(bytes)),
        });
    }
    all
}

/// Host bits are cut off: with them there is no canonical form to look at.
fn prefix(family: Family, bytes: &mut Bytes<'_>) -> IpNet {
    let length = bytes.take();
    match family {
        Family::Ipv4 | Family::Ipv4Unicast => {
            let address = u32::from_be_bytes(bytes.array());
            Ipv4Net::new_assert(address.into(), length % 33).trunc().into()
        }
        Family::Ipv6 | Family::Ipv6Unicast => {
            let address = u128::from_be_bytes(bytes.array());
            Ipv6Net::new_assert(address.into(), length % 129).trunc().into()
        }
    }
}

/// A count, then for each term an operator and its value, of one byte mostly.
fn numeric(bytes: &mut Bytes<'_>) -> Vec<NumericTerm> {
    (0..=bytes.take() % MOST_TERMS)
        .map(|_| {
            let operator = bytes.take();
            let value = match operator >> 6 {
                0 | 1 => u64::from(bytes.take()),
                2 => u64::from(u16::from_be_bytes(bytes.array())),
                _ => u64::from(u32::from_be_bytes(bytes.array()) & 0xF_FFFF),
            };
            NumericTerm {
                and: operator & 8 != 0,
                comparison: match operator & 7 {
                    0 => Comparison::Less,
                    1 => Comparison::LessOrEqual,
                    2 => Comparison::GreaterOrEqual,
                    3 => Comparison::Greater,
                    4 => Comparison::NotEqual,
                    _ => Comparison::Equal,
                },
                value,
            }
        })
        .collect()
}

fn bitmask(bytes: &mut Bytes<'_>) -> Vec<BitmaskTerm> {
    (0..=bytes.take() % MOST_TERMS)
        .map(|_| {
            let operator = bytes.take();
            let low = u16::from(bytes.take());
            BitmaskTerm {
                and: operator & 1 != 0,
                not: operator & 2 != 0,
                all: operator & 4 != 0,
                bits: if operator & 8 != 0 { low << 4 } else { low & 0x0F },
            }
        })
        .collect()
}
