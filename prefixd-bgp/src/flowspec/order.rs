//! Which of two rules a router asks first (RFC 8955 section 5.1, RFC 8956 section 4).

use std::cmp::Ordering;

use super::{Family, NlriKey};

/// The bit of an operator that ends its list (RFC 8955 section 4.2.1.1).
const END_OF_LIST: u8 = 0x80;

/// One component as it is encoded.
#[derive(Clone, Copy)]
enum Part<'a> {
    /// Destination or source.
    Prefix { kind: u8, bits: u8, octets: &'a [u8] },
    /// Operators and values.
    List { kind: u8, bytes: &'a [u8] },
}

impl NlriKey {
    /// Which of two FlowSpec rules of one family comes first; `Less` is this one. The first that matches a packet
    /// decides what happens to it.
    ///
    /// Component by component: the lower type comes first, and one that is there before one that is not; of equal
    /// types the lower value, and of values that begin alike the longer one. For prefixes that is the more specific.
    #[must_use]
    pub fn precedence(&self, other: &Self) -> Ordering {
        let (mut ours, mut theirs) = (self.parts(), other.parts());
        loop {
            match (ours.next(), theirs.next()) {
                (None, None) => return Ordering::Equal,
                (Some(_), None) => return Ordering::Less,
                (None, Some(_)) => return Ordering::Greater,
                (Some(one), Some(two)) => {
                    let order = one.precedence(two);
                    if order.is_ne() {
                        return order;
                    }
                }
            }
        }
    }

    /// The components in their order. The bytes are our own and were read back when they were made.
    fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        let length_field = self.as_bytes().len() - self.component_bytes();
        let mut rest = self.as_bytes().get(length_field..).unwrap_or_default();
        let family = self.family();
        std::iter::from_fn(move || {
            let (part, behind) = Part::first(rest, family)?;
            rest = behind;
            Some(part)
        })
    }
}

impl<'a> Part<'a> {
    fn first(bytes: &'a [u8], family: Family) -> Option<(Self, &'a [u8])> {
        let (&kind, body) = bytes.split_first()?;
        if kind > 2 {
            let (bytes, behind) = body.split_at_checked(list_length(body))?;
            return Some((Self::List { kind, bytes }, behind));
        }
        let (&bits, mut body) = body.split_first()?;
        if family == Family::Ipv6 {
            // The offset (RFC 8956 section 3.1), which is always 0 here.
            body = body.get(1..)?;
        }
        let (octets, behind) = body.split_at_checked(usize::from(bits).div_ceil(8))?;
        Some((Self::Prefix { kind, bits, octets }, behind))
    }

    fn kind(self) -> u8 {
        match self {
            Self::Prefix { kind, .. } | Self::List { kind, .. } => kind,
        }
    }

    fn precedence(self, other: Self) -> Ordering {
        let values = || match (self, other) {
            (Self::List { bytes: one, .. }, Self::List { bytes: two, .. }) => {
                let common = one.len().min(two.len());
                one[..common]
                    .cmp(&two[..common])
                    .then_with(|| two.len().cmp(&one.len()))
            }
            (
                Self::Prefix { bits, octets, .. },
                Self::Prefix {
                    bits: other_bits,
                    octets: other_octets,
                    ..
                },
            ) => in_common(octets, other_octets, bits.min(other_bits)).then_with(|| other_bits.cmp(&bits)),
            // The type says which of both it is.
            _ => Ordering::Equal,
        };
        self.kind().cmp(&other.kind()).then_with(values)
    }
}

/// The first `bits` of both.
fn in_common(one: &[u8], two: &[u8], bits: u8) -> Ordering {
    let (whole, left) = (usize::from(bits / 8), u32::from(bits % 8));
    let last = |octets: &[u8]| {
        let octet = octets.get(whole).copied().unwrap_or(0);
        u16::from(octet) >> (8 - left)
    };
    one[..whole]
        .cmp(&two[..whole])
        .then_with(|| last(one).cmp(&last(two)))
}

/// Bytes up to the operator that ends the list, its value included.
fn list_length(bytes: &[u8]) -> usize {
    let mut length = 0;
    while let Some(operator) = bytes.get(length) {
        length += 1 + (1 << ((operator >> 4) & 0b11));
        if operator & END_OF_LIST != 0 {
            break;
        }
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flowspec::{BitmaskTerm, Component, NumericTerm, Rule};
    use proptest::prelude::*;

    fn key(family: Family, components: Vec<Component>) -> NlriKey {
        Rule { family, components }.canonical().unwrap().key().clone()
    }

    fn dst(prefix: &str) -> Component {
        Component::DestinationPrefix(prefix.parse().unwrap())
    }

    fn proto(number: u64) -> Component {
        Component::Protocol(vec![NumericTerm::equal(number)])
    }

    fn dport(number: u64) -> Component {
        Component::DestinationPort(vec![NumericTerm::equal(number)])
    }

    fn sport(number: u64) -> Component {
        Component::SourcePort(vec![NumericTerm::equal(number)])
    }

    fn is_fragment() -> Component {
        Component::Fragment(vec![BitmaskTerm {
            and: false,
            not: false,
            all: true,
            bits: 2,
        }])
    }

    /// Each list is in the order in which routers ask.
    #[test]
    fn the_order_of_rfc_8955_section_5_1() {
        let v4 = |components| key(Family::Ipv4, components);
        let v6 = |components| key(Family::Ipv6, components);
        let host = || dst("203.0.113.10/32");
        for ordered in [
            // More specific first, also where the wider prefix begins with the same octets.
            vec![
                v4(vec![host()]),
                v4(vec![dst("203.0.113.8/29")]),
                v4(vec![dst("203.0.113.0/24")]),
                v4(vec![dst("203.0.112.0/23")]),
            ],
            // What does not overlap is in the order of the addresses, whatever the lengths are.
            vec![v4(vec![dst("198.51.100.0/24")]), v4(vec![host()])],
            // 203.0.113.128/25 and 203.0.113.0/26 differ in the first bit of the last octet.
            vec![v4(vec![dst("203.0.113.0/26")]), v4(vec![dst("203.0.113.128/25")])],
            // There before not there; the lower type first; then the lower value.
            vec![
                v4(vec![host(), proto(6), dport(80)]),
                v4(vec![host(), proto(6)]),
                v4(vec![host(), proto(17), dport(53)]),
                v4(vec![host(), proto(17), dport(80)]),
                v4(vec![host(), proto(17), sport(53)]),
                v4(vec![host(), proto(17), is_fragment()]),
                v4(vec![host(), proto(17)]),
                v4(vec![host(), dport(53)]),
                v4(vec![host()]),
            ],
            vec![
                v4(vec![
                    host(),
                    Component::SourcePrefix("198.51.100.0/24".parse().unwrap()),
                ]),
                v4(vec![host(), proto(17)]),
            ],
            vec![
                v6(vec![dst("2001:db8::1/128"), proto(17)]),
                v6(vec![dst("2001:db8::1/128")]),
                v6(vec![dst("2001:db8::/33")]),
                v6(vec![dst("2001:db8::/32")]),
            ],
        ] {
            for (index, one) in ordered.iter().enumerate() {
                for (other_index, other) in ordered.iter().enumerate() {
                    assert_eq!(
                        one.precedence(other),
                        index.cmp(&other_index),
                        "{one:?} {other:?}"
                    );
                }
            }
        }
    }

    /// The operator is part of the value: a list of two ports begins with another operator than one port.
    #[test]
    fn lists_are_compared_as_they_are_encoded() {
        let list = |ports: &[u64]| {
            let terms = ports.iter().map(|port| NumericTerm::equal(*port)).collect();
            key(
                Family::Ipv4,
                vec![dst("203.0.113.10/32"), Component::DestinationPort(terms)],
            )
        };
        // 01 35 81 50 before 81 35, because 0x01 is less than 0x81 (end of list).
        assert_eq!(list(&[53, 80]).precedence(&list(&[53])), Ordering::Less);
        assert_eq!(list(&[80]).precedence(&list(&[27015])), Ordering::Less);
    }

    fn some_rule() -> impl Strategy<Value = NlriKey> {
        let prefix = (0u32..4, 29u8..=32).prop_map(|(host, length)| {
            let net = ipnet::Ipv4Net::new(std::net::Ipv4Addr::from(0xCB00_7100 + host), length).unwrap();
            Component::DestinationPrefix(net.trunc().into())
        });
        let numbers = || prop::option::of(prop::collection::vec(0u64..600, 1..3));
        (prefix, numbers(), numbers(), prop::bool::ANY).prop_map(|(dst, dports, sports, fragment)| {
            let terms = |numbers: Vec<u64>| numbers.into_iter().map(NumericTerm::equal).collect();
            let mut components = vec![dst];
            components.extend(dports.map(|ports| Component::DestinationPort(terms(ports))));
            components.extend(sports.map(|ports| Component::SourcePort(terms(ports))));
            components.extend(fragment.then(is_fragment));
            key(Family::Ipv4, components)
        })
    }

    proptest! {
        #[test]
        fn it_is_a_total_order(a in some_rule(), b in some_rule(), c in some_rule()) {
            prop_assert_eq!(a.precedence(&b), b.precedence(&a).reverse());
            prop_assert_eq!(a.precedence(&b) == Ordering::Equal, a == b);
            if a.precedence(&b).is_lt() && b.precedence(&c).is_lt() {
                prop_assert!(a.precedence(&c).is_lt());
            }
        }
    }
}
