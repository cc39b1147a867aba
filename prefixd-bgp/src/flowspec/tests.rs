use ipnet::IpNet;
use proptest::prelude::*;

use super::meaning::{bitmask_holds as holds, numeric_holds as matches};
use super::*;

fn rule(components: Vec<Component>) -> Rule {
    let is_ipv6 = |component: &Component| matches!(component, Component::DestinationPrefix(IpNet::V6(_)));
    let family = if components.iter().any(is_ipv6) {
        Family::Ipv6
    } else {
        Family::Ipv4
    };
    Rule { family, components }
}

fn dst(prefix: &str) -> Component {
    Component::DestinationPrefix(prefix.parse().unwrap())
}

fn hex(components: &[Component]) -> String {
    rule(components.to_vec()).canonical().unwrap().key().to_string()
}

fn error(components: &[Component]) -> RuleError {
    rule(components.to_vec()).canonical().unwrap_err()
}

fn ports(terms: &[NumericTerm]) -> Component {
    Component::DestinationPort(terms.to_vec())
}

fn canonical_ports(terms: &[NumericTerm]) -> Vec<NumericTerm> {
    let canonical = rule(vec![dst("192.0.2.1/32"), ports(terms)]).canonical().unwrap();
    match &canonical.components().unwrap()[..] {
        [_, Component::DestinationPort(terms)] => terms.clone(),
        other => panic!("{other:?}"),
    }
}

/// The packets of RFC 8955 section 4.3 (with a destination added where they have none) and RFC 8956 section 3.8.
#[test]
fn known_bytes() {
    use Comparison::{Equal, GreaterOrEqual, LessOrEqual};
    let ranges = [
        NumericTerm::or(Equal, 137),
        NumericTerm::or(Equal, 139),
        NumericTerm::or(GreaterOrEqual, 8080),
        NumericTerm::and(LessOrEqual, 8088),
    ];
    let vectors: Vec<(&str, Vec<Component>)> = vec![
        (
            "0b 0118c00002 038106 048119",
            vec![
                dst("192.0.2.0/24"),
                Component::Protocol(vec![NumericTerm::equal(6)]),
                Component::Port(vec![NumericTerm::equal(25)]),
            ],
        ),
        (
            "13 0118c00002 02080a 04 0189 018b 131f90 d51f98",
            vec![
                dst("192.0.2.0/24"),
                Component::SourcePrefix("10.0.0.0/8".parse().unwrap()),
                Component::Port(ranges.to_vec()),
            ],
        ),
        // SYN and not ACK, as two terms joined by AND.
        (
            "0e 0120cb00710a 038106 09 0102 c210",
            vec![
                dst("203.0.113.10/32"),
                Component::Protocol(vec![NumericTerm::equal(6)]),
                Component::TcpFlags(vec![BitmaskTerm::any(2), BitmaskTerm::and_none(16)]),
            ],
        ),
        (
            "09 0120cb00710a 0c8102",
            vec![
                dst("203.0.113.10/32"),
                Component::Fragment(vec![BitmaskTerm::any(2)]),
            ],
        ),
        (
            "09 0120cb00710a 0a8364",
            vec![
                dst("203.0.113.10/32"),
                Component::PacketLength(vec![NumericTerm::or(GreaterOrEqual, 100)]),
            ],
        ),
        (
            "09 0120cb00710a 0b812e",
            vec![
                dst("203.0.113.10/32"),
                Component::Dscp(vec![NumericTerm::equal(46)]),
            ],
        ),
        // IPv6 prefixes carry an offset, always 0.
        (
            "0a 01 2000 20010db8 038111",
            vec![
                dst("2001:db8::/32"),
                Component::Protocol(vec![NumericTerm::equal(17)]),
            ],
        ),
        (
            "19 01 8000 20010db8000000000000000000000001 0da1 00012345",
            vec![
                dst("2001:db8::1/128"),
                Component::FlowLabel(vec![NumericTerm::equal(0x12345)]),
            ],
        ),
        (
            "11 0120cb00710a 038101 07 0100 8108 088100",
            vec![
                dst("203.0.113.10/32"),
                Component::Protocol(vec![NumericTerm::equal(1)]),
                Component::IcmpType(vec![NumericTerm::equal(0), NumericTerm::equal(8)]),
                Component::IcmpCode(vec![NumericTerm::equal(0)]),
            ],
        ),
    ];
    for (expected, components) in vectors {
        let digits: String = expected.split_whitespace().collect();
        assert_eq!(hex(&components), digits, "{components:?}");
    }
}

#[test]
fn an_nlri_of_240_bytes_has_a_long_length() {
    let terms: Vec<_> = (0..116).map(|n| NumericTerm::equal(n * 2)).collect();
    let short = rule(vec![dst("192.0.2.1/32"), ports(&terms[..115])])
        .canonical()
        .unwrap();
    assert_eq!(
        (short.key().component_bytes(), short.key().as_bytes()[0]),
        (237, 237)
    );
    let long = rule(vec![dst("192.0.2.0/23"), ports(&terms)]).canonical();
    assert!(matches!(long, Ok(rule) if rule.key().component_bytes() == 238));
    let terms: Vec<_> = (0..117).map(|n| NumericTerm::equal(n * 2)).collect();
    let long = rule(vec![dst("192.0.2.1/32"), ports(&terms)])
        .canonical()
        .unwrap();
    assert_eq!(
        (long.key().component_bytes(), &long.key().as_bytes()[..2]),
        (241, &[0xF0, 0xF1][..])
    );
}

#[test]
fn terms_are_reduced_to_the_set_they_match() {
    use Comparison::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
    let or = NumericTerm::or;
    let and = NumericTerm::and;
    let cases: Vec<(&str, Vec<NumericTerm>, Vec<NumericTerm>)> = vec![
        (
            "sorted, de-duplicated",
            vec![or(Equal, 80), or(Equal, 22), or(Equal, 80)],
            vec![or(Equal, 22), or(Equal, 80)],
        ),
        (
            "AND on the first term is cleared",
            vec![and(Equal, 80)],
            vec![or(Equal, 80)],
        ),
        (
            "neighbours stay values",
            vec![or(Equal, 81), or(Equal, 80)],
            vec![or(Equal, 80), or(Equal, 81)],
        ),
        (
            "three in a row are a range",
            vec![or(Equal, 82), or(Equal, 80), or(Equal, 81)],
            NumericTerm::range(80, 82).to_vec(),
        ),
        (
            "touching ranges merge",
            [NumericTerm::range(10, 20), NumericTerm::range(21, 30)].concat(),
            NumericTerm::range(10, 30).to_vec(),
        ),
        (
            "not equal",
            vec![or(NotEqual, 53)],
            vec![or(LessOrEqual, 52), or(GreaterOrEqual, 54)],
        ),
        (
            "below or above",
            vec![or(Greater, 53), or(Less, 53)],
            vec![or(LessOrEqual, 52), or(GreaterOrEqual, 54)],
        ),
        (
            "a range of one",
            vec![or(LessOrEqual, 53), and(GreaterOrEqual, 53)],
            vec![or(Equal, 53)],
        ),
    ];
    for (what, given, expected) in cases {
        assert_eq!(canonical_ports(&given), expected, "{what}");
    }
}

#[test]
fn bitmask_terms_are_sorted_and_plain() {
    let all = |bits| BitmaskTerm {
        and: false,
        not: false,
        all: true,
        bits,
    };
    let flags = |terms: &[BitmaskTerm]| hex(&[dst("192.0.2.1/32"), Component::TcpFlags(terms.to_vec())]);
    assert_eq!(
        flags(&[all(2)]),
        flags(&[BitmaskTerm::any(2)]),
        "one bit: any and all are the same"
    );
    assert_ne!(flags(&[all(3)]), flags(&[BitmaskTerm::any(3)]));
    assert_eq!(
        flags(&[BitmaskTerm::any(4), BitmaskTerm::any(2), BitmaskTerm::any(4)]),
        flags(&[
            BitmaskTerm {
                and: true,
                ..BitmaskTerm::any(2)
            },
            BitmaskTerm::any(4)
        ]),
    );
}

/// The canonical terms of TCP flags, as operator bytes and bits.
fn canonical_flags(terms: &[BitmaskTerm]) -> Result<Vec<BitmaskTerm>, RuleError> {
    let canonical = rule(vec![dst("192.0.2.1/32"), Component::TcpFlags(terms.to_vec())]).canonical()?;
    match &canonical.components().unwrap()[..] {
        [_, Component::TcpFlags(terms)] => Ok(terms.clone()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn spellings_of_one_bitmask_function_are_one() {
    let any = BitmaskTerm::any;
    let all = |bits| BitmaskTerm {
        all: true,
        ..any(bits)
    };
    let none = |bits| BitmaskTerm {
        not: true,
        ..any(bits)
    };
    let not_all = |bits| BitmaskTerm {
        not: true,
        ..all(bits)
    };
    let and = |term: BitmaskTerm| BitmaskTerm { and: true, ..term };
    let same: Vec<(&str, Vec<BitmaskTerm>, Vec<BitmaskTerm>)> = vec![
        ("any of is one of each", vec![any(6)], vec![all(4), all(2)]),
        ("implied", vec![all(2), all(6)], vec![all(2)]),
        ("all of, in two terms", vec![all(2), and(all(4))], vec![all(6)]),
        (
            "none of, in two terms",
            vec![none(2), and(none(4))],
            vec![none(6)],
        ),
        (
            "not all of is one not of each",
            vec![not_all(6)],
            vec![none(4), none(2)],
        ),
        (
            "the flag does not matter",
            vec![all(2), and(none(16)), all(18)],
            vec![all(2)],
        ),
        (
            "distributed",
            vec![any(6), and(none(16))],
            vec![all(2), and(none(16)), all(4), and(none(16))],
        ),
        (
            "what the others hold together is left out",
            vec![all(3), none(1), and(all(4)), all(6)],
            vec![all(3), none(1), and(all(4))],
        ),
    ];
    for (what, one, other) in same {
        assert_eq!(canonical_flags(&one), canonical_flags(&other), "{what}");
        assert!(canonical_flags(&one).is_ok(), "{what}");
    }
    assert!(matches!(
        canonical_flags(&[all(2), and(none(2))]),
        Err(RuleError::NeverMatches { .. })
    ));
    assert!(matches!(
        canonical_flags(&[all(2), none(2)]),
        Err(RuleError::MatchesEverything { .. })
    ));
    let wide: Vec<_> = (0..4).map(|_| and(any(0x0FFF))).collect();
    assert!(canonical_flags(&wide).is_ok(), "the same four times is once");
    let blown = [any(0x00F), and(any(0x0F0)), and(any(0xF00)), and(not_all(0xFFF))];
    assert!(matches!(
        canonical_flags(&blown),
        Err(RuleError::TooManyAlternatives { .. })
    ));
}

/// Every component in one rule of each family, and back from the bytes.
#[test]
fn every_component_has_known_bytes() {
    let numbers = |value| vec![NumericTerm::equal(value)];
    let common = |destination: &str, source: &str| {
        vec![
            dst(destination),
            Component::SourcePrefix(source.parse().unwrap()),
            Component::Protocol(numbers(6)),
            Component::Port(numbers(80)),
            Component::DestinationPort(numbers(443)),
            Component::SourcePort(NumericTerm::range(1024, 2047).to_vec()),
            Component::IcmpType(numbers(3)),
            Component::IcmpCode(numbers(4)),
            Component::TcpFlags(vec![BitmaskTerm::any(0x102)]),
            Component::PacketLength(vec![NumericTerm::or(Comparison::LessOrEqual, 1500)]),
            Component::Dscp(numbers(46)),
        ]
    };
    let mut v4 = common("203.0.113.10/32", "198.51.100.0/24");
    v4.push(Component::Fragment(vec![
        BitmaskTerm::any(1),
        BitmaskTerm::any(2),
    ]));
    let tail = "038106 048150 059101bb 06130400d507ff 078103 088104 09 0102 910100 0a9505dc 0b812e";
    let digits = |text: String| text.split_whitespace().collect::<String>();
    assert_eq!(
        hex(&v4),
        digits(format!("34 0120cb00710a 0218c63364 {tail} 0c 0101 8102"))
    );
    let mut v6 = common("2001:db8::/32", "2001:db8:bad::/48");
    v6.push(Component::Fragment(vec![BitmaskTerm::and_none(4)]));
    v6.push(Component::FlowLabel(vec![NumericTerm::or(
        Comparison::GreaterOrEqual,
        0x1_0000,
    )]));
    assert_eq!(
        hex(&v6),
        digits(format!(
            "3d 012000 20010db8 023000 20010db80bad {tail} 0c8204 0da300010000"
        ))
    );
}

#[test]
fn what_cannot_be_sent_is_refused_with_a_reason() {
    let victim = || dst("192.0.2.1/32");
    let equal = |value| vec![NumericTerm::equal(value)];
    assert_eq!(
        error(&[]).to_string(),
        "the rule has no destination prefix; add the prefix it protects"
    );
    let empty = error(&[Component::Protocol(vec![])]).to_string();
    assert_eq!(
        empty,
        "the protocol component is empty; leave it out or give it a value"
    );
    let over =
        |component: Component| matches!(error(&[victim(), component]), RuleError::ValueOutOfRange { .. });
    assert!(over(Component::Protocol(equal(256))));
    assert!(over(Component::DestinationPort(equal(65536))));
    assert!(over(Component::IcmpType(equal(256))));
    assert!(over(Component::PacketLength(equal(65536))));
    assert!(over(Component::Dscp(equal(64))));
    assert!(matches!(
        error(&[victim(), Component::FlowLabel(equal(1))]),
        RuleError::FlowLabelInIpv4
    ));
    let v6 = rule(vec![
        dst("2001:db8::1/128"),
        Component::FlowLabel(equal(0x10_0000)),
    ])
    .canonical();
    assert!(matches!(v6, Err(RuleError::ValueOutOfRange { .. })));
    let fragment = |prefix, bits| {
        rule(vec![
            dst(prefix),
            Component::Fragment(vec![BitmaskTerm::any(bits)]),
        ])
        .canonical()
    };
    assert!(fragment("192.0.2.1/32", 1).is_ok());
    assert!(
        matches!(fragment("2001:db8::1/128", 1), Err(RuleError::InvalidBits { .. })),
        "no don't-fragment in IPv6"
    );
    assert!(matches!(
        fragment("192.0.2.1/32", 0),
        Err(RuleError::InvalidBits { .. })
    ));
    assert!(matches!(
        error(&[dst("192.0.2.1/24")]),
        RuleError::HostBits { .. }
    ));
    assert!(matches!(
        error(&[dst("0.0.0.0/0")]),
        RuleError::MatchesEverything { .. }
    ));
    assert!(matches!(
        error(&[victim(), victim()]),
        RuleError::DuplicateComponent {
            component: "destination prefix"
        }
    ));
    let source = Component::SourcePrefix("2001:db8::/32".parse().unwrap());
    assert!(matches!(
        Rule {
            family: Family::Ipv4,
            components: vec![victim(), source]
        }
        .canonical(),
        Err(RuleError::WrongFamily { .. })
    ));
    let never = [NumericTerm::equal(1), NumericTerm::and(Comparison::Equal, 2)];
    assert!(matches!(
        error(&[victim(), ports(&never)]),
        RuleError::NeverMatches { .. }
    ));
    let always = [NumericTerm::or(Comparison::GreaterOrEqual, 0)];
    assert!(matches!(
        error(&[victim(), ports(&always)]),
        RuleError::MatchesEverything { .. }
    ));
    let many: Vec<_> = (0..1500).map(|n| NumericTerm::equal(1000 + n * 2)).collect();
    assert!(matches!(
        error(&[victim(), ports(&many)]),
        RuleError::TooLong { .. }
    ));
}

#[test]
fn actions_hold_only_what_the_wire_can_say() {
    for bad in [0.0, -1.0, f32::INFINITY, f32::NAN] {
        assert!(BytesPerSecond::new(bad).is_err(), "{bad}");
    }
    assert_eq!(
        BytesPerSecond::from_bits_per_second(1_000_000)
            .unwrap()
            .get()
            .to_bits(),
        125_000.0_f32.to_bits()
    );
    assert!(
        BytesPerSecond::from_bits_per_second(1).unwrap().get() > 0.0,
        "a positive rate never becomes discard"
    );
    assert!(BytesPerSecond::from_bits_per_second(0).is_err());
    assert!(BytesPerSecond::from_bits_per_second(u64::MAX).is_ok());
    assert_eq!(
        (Dscp::new(63).map(Dscp::get), Dscp::new(64).is_err()),
        (Ok(63), true)
    );
}

fn term(max: u64) -> impl Strategy<Value = NumericTerm> {
    let comparison = prop_oneof![
        Just(Comparison::Less),
        Just(Comparison::LessOrEqual),
        Just(Comparison::Equal),
        Just(Comparison::GreaterOrEqual),
        Just(Comparison::Greater),
        Just(Comparison::NotEqual),
    ];
    (any::<bool>(), comparison, 0..=max).prop_map(|(and, comparison, value)| NumericTerm {
        and,
        comparison,
        value,
    })
}

fn bits(mask: u16) -> impl Strategy<Value = BitmaskTerm> {
    (any::<bool>(), any::<bool>(), any::<bool>(), 1..=mask).prop_map(|(and, not, all, bits)| BitmaskTerm {
        and,
        not,
        all,
        bits,
    })
}

/// In the order of the wire.
fn ordered(rule: &Rule) -> impl Iterator<Item = &Component> {
    let mut components: Vec<_> = rule.components.iter().collect();
    components.sort_by_key(|component| component.type_code());
    components.into_iter()
}

fn numbers_of(component: &Component) -> Option<&[NumericTerm]> {
    match component {
        Component::Protocol(terms)
        | Component::Port(terms)
        | Component::DestinationPort(terms)
        | Component::SourcePort(terms)
        | Component::IcmpType(terms)
        | Component::IcmpCode(terms)
        | Component::PacketLength(terms)
        | Component::Dscp(terms)
        | Component::FlowLabel(terms) => Some(terms),
        _ => None,
    }
}

/// The largest value of the field.
fn largest_of(component: &Component) -> u64 {
    match component {
        Component::Protocol(_) | Component::IcmpType(_) | Component::IcmpCode(_) => 0xFF,
        Component::Dscp(_) => 63,
        Component::FlowLabel(_) => 0xF_FFFF,
        _ => 0xFFFF,
    }
}

fn flags_of(component: &Component) -> Option<&[BitmaskTerm]> {
    match component {
        Component::TcpFlags(terms) | Component::Fragment(terms) => Some(terms),
        _ => None,
    }
}

/// Every component, in both families; some of what comes out has no canonical form.
fn any_rule() -> impl Strategy<Value = Rule> {
    // Few lists in a rule, because each may be one that never matches.
    let terms = |max| proptest::option::weighted(0.25, proptest::collection::vec(term(max), 1..6));
    let flags = |mask| proptest::option::weighted(0.25, proptest::collection::vec(bits(mask), 1..5));
    let prefix = || (any::<u128>(), 1..=128_u8);
    let prefixes = (any::<bool>(), prefix(), proptest::option::of(prefix()));
    let ports = (terms(65535), terms(65535), terms(65535));
    let numbers = (
        terms(255),
        terms(255),
        terms(255),
        terms(65535),
        terms(63),
        terms(0xF_FFFF),
    );
    (prefixes, ports, numbers, flags(0x0FFF), flags(0x0F)).prop_map(
        |((is_v4, to, from), (port, to_port, from_port), numbers, tcp, fragment)| {
            let net = |(address, length): (u128, u8)| -> IpNet {
                if is_v4 {
                    let address = std::net::Ipv4Addr::from((address >> 96) as u32);
                    ipnet::Ipv4Net::new(address, length.min(32))
                        .unwrap()
                        .trunc()
                        .into()
                } else {
                    ipnet::Ipv6Net::new(address.into(), length)
                        .unwrap()
                        .trunc()
                        .into()
                }
            };
            let (protocol, icmp_type, icmp_code, lengths, dscp, label) = numbers;
            let mut components = vec![Component::DestinationPrefix(net(to))];
            components.extend(from.map(net).map(Component::SourcePrefix));
            components.extend(protocol.map(Component::Protocol));
            components.extend(port.map(Component::Port));
            components.extend(to_port.map(Component::DestinationPort));
            components.extend(from_port.map(Component::SourcePort));
            components.extend(icmp_type.map(Component::IcmpType));
            components.extend(icmp_code.map(Component::IcmpCode));
            components.extend(tcp.map(Component::TcpFlags));
            components.extend(lengths.map(Component::PacketLength));
            components.extend(dscp.map(Component::Dscp));
            components.extend(fragment.map(Component::Fragment));
            components.extend(label.filter(|_| !is_v4).map(Component::FlowLabel));
            let family = if is_v4 { Family::Ipv4 } else { Family::Ipv6 };
            Rule { family, components }
        },
    )
}

proptest! {
    /// The bytes are a function of what is matched: two lists are equal exactly when they match the same flags.
    #[test]
    fn canonical_bits_match_the_same_flags(one in proptest::collection::vec(bits(0x0F), 1..6), other in proptest::collection::vec(bits(0x0F), 1..6)) {
        let table = |terms: &[BitmaskTerm]| (0..16_u16).map(|flags| holds(terms, flags)).collect::<Vec<_>>();
        let (a, b) = (canonical_flags(&one), canonical_flags(&other));
        match &a {
            Ok(canonical) => prop_assert_eq!(table(canonical), table(&one), "{:?}", canonical),
            Err(RuleError::NeverMatches { .. }) => prop_assert!(!table(&one).contains(&true)),
            Err(RuleError::MatchesEverything { .. }) => prop_assert!(!table(&one).contains(&false)),
            Err(error) => prop_assert!(false, "{error}"),
        }
        prop_assert_eq!(table(&one) == table(&other), a == b);
    }

    #[test]
    fn canonical_terms_match_the_same_values(terms in proptest::collection::vec(term(300), 1..8), probe in 0..400_u64) {
        let canonical = rule(vec![dst("192.0.2.1/32"), ports(&terms)]).canonical();
        match canonical {
            Ok(canonical) => match &canonical.components().unwrap()[..] {
                [_, Component::DestinationPort(canonical)] => {
                    for value in [probe, 0, 65535] {
                        prop_assert_eq!(matches(canonical, value), matches(&terms, value), "{} in {:?}", value, canonical);
                    }
                }
                other => prop_assert!(false, "{other:?}"),
            },
            Err(RuleError::NeverMatches { .. }) => prop_assert!(!matches(&terms, probe)),
            Err(RuleError::MatchesEverything { .. }) => prop_assert!(matches(&terms, probe)),
            Err(error) => prop_assert!(false, "{error}"),
        }
    }

    #[test]
    fn canonical_is_idempotent_and_ignores_order(rule in any_rule(), seed in any::<usize>()) {
        let Ok(once) = rule.canonical() else { return Ok(()) };
        let again = Rule { family: once.family(), components: once.components().unwrap() }.canonical();
        prop_assert_eq!(again.as_ref(), Ok(&once));
        let mut shuffled = rule.components.clone();
        let count = shuffled.len();
        shuffled.rotate_left(seed % count);
        shuffled.reverse();
        let other = Rule { family: rule.family, components: shuffled }.canonical();
        prop_assert_eq!(other.as_ref(), Ok(&once));
    }

    /// Component by component: what no term says and what terms say twice, at every value where the answer may change.
    #[test]
    fn a_canonical_rule_takes_the_same_packets(rule in any_rule()) {
        let Ok(canonical) = rule.canonical() else { return Ok(()) };
        let components = canonical.components().unwrap();
        prop_assert_eq!(components.len(), rule.components.len());
        for (before, after) in ordered(&rule).zip(&components) {
            prop_assert_eq!(before.type_code(), after.type_code());
            let most = largest_of(after);
            match (numbers_of(before), numbers_of(after), flags_of(before), flags_of(after)) {
                (Some(before), Some(after), ..) => {
                    let edges = before.iter().flat_map(|term| [term.value.saturating_sub(1), term.value, term.value + 1]);
                    for value in edges.chain([0]).filter(|value| *value <= most) {
                        prop_assert_eq!(matches(before, value), matches(after, value), "{} in {:?}", value, after);
                    }
                }
                (_, _, Some(before), Some(after)) => {
                    let bits: Vec<u16> = before.iter().map(|term| term.bits).collect();
                    let pairs = bits.iter().flat_map(|one| bits.iter().flat_map(move |two| [one | two, one & two, one & !two]));
                    for flags in pairs.chain([0, 0x0FFF]) {
                        prop_assert_eq!(holds(before, flags), holds(after, flags), "{:x} in {:?}", flags, after);
                    }
                }
                _ => prop_assert_eq!(before, after),
            }
        }
    }

    #[test]
    fn a_canonical_rule_is_in_order_and_ends_every_list(rule in any_rule()) {
        let Ok(canonical) = rule.canonical() else { return Ok(()) };
        let components = canonical.components().unwrap();
        let types: Vec<_> = components.iter().map(Component::type_code).collect();
        prop_assert!(types.is_sorted_by(|one, two| one < two));
        prop_assert_eq!(canonical.key().as_bytes().len(), canonical.key().component_bytes() + if canonical.key().component_bytes() < 240 { 1 } else { 2 });
    }

    /// What is kept beside the bytes, and what is read from a part of them, says what all of them say.
    #[test]
    fn what_is_known_of_a_rule_is_what_its_bytes_say(rule in any_rule()) {
        let Ok(canonical) = rule.canonical() else { return Ok(()) };
        let components = canonical.components().unwrap();
        let destination = components.iter().find_map(|component| match component {
            Component::DestinationPrefix(prefix) => Some(*prefix),
            _ => None,
        });
        prop_assert_eq!(canonical.destination(), destination);
        let types = components.iter().map(|component| 1 << component.type_code()).sum::<u16>();
        prop_assert_eq!(canonical.types(), types);
        let widest = components.iter().map(Component::operators).max();
        prop_assert_eq!(Some(canonical.widest_component().1), widest);
    }
}

#[test]
fn the_milder_of_two_actions_lets_more_through() {
    let bytes = |rate| Action::police(BytesPerSecond::new(rate).unwrap());
    let packets = |rate| Action::of(Effect::RatePackets(PacketsPerSecond::new(rate).unwrap()));
    let vrf = Action::of(Effect::Redirect(Redirect::VrfAs2 { asn: 1, value: 1 }));
    // Each is milder than all after it.
    let order = [
        Action::mark(Dscp::new(0).unwrap()),
        bytes(2.0),
        bytes(1.0),
        vrf,
        Action::DISCARD,
        Action::BLACKHOLE,
    ];
    for (n, one) in order.iter().enumerate() {
        for (m, other) in order.iter().enumerate() {
            assert_eq!(one.is_milder_than(*other), n < m, "{one:?}, {other:?}");
        }
        assert!(!one.sampled(true).is_milder_than(*one));
    }
    assert!(!bytes(1.0).is_milder_than(packets(1)) && !packets(1).is_milder_than(bytes(1.0)));
    assert!(packets(2).is_milder_than(packets(1)) && packets(1).is_milder_than(vrf));
}

#[test]
fn a_blackhole_route_is_one_address() {
    let host = |text: &str| Rule::host_route(text.parse().unwrap()).canonical().unwrap();
    assert_eq!(host("203.0.113.10").key().to_string(), "20cb00710a");
    assert_eq!(
        host("2001:db8::10").key().to_string(),
        "8020010db8000000000000000000000010"
    );
    let canonical = |family, components| Rule { family, components }.canonical();
    let to = |text: &str| Component::DestinationPrefix(text.parse().unwrap());
    let udp = || Component::Protocol(vec![NumericTerm::equal(17)]);
    for components in [
        vec![to("203.0.113.0/31")],
        vec![to("0.0.0.0/0")],
        vec![to("203.0.113.10/32"), udp()],
        vec![to("203.0.113.10/32"), to("203.0.113.11/32")],
        vec![udp()],
        vec![],
    ] {
        assert_eq!(
            canonical(Family::Ipv4Unicast, components),
            Err(RuleError::NotAHost)
        );
    }
    for family in [Family::Ipv6, Family::Ipv6Unicast] {
        assert!(matches!(
            canonical(family, vec![to("203.0.113.10/32")]),
            Err(RuleError::WrongFamily { .. })
        ));
    }
}

proptest::proptest! {
    /// Whatever the rule says: its NLRI is a host, or there is none.
    #[test]
    fn no_unicast_nlri_is_wider_than_a_host(address: u128, length in 0..=128_u8, v4: bool, more: bool) {
        let (prefix, family): (IpNet, _) = if v4 {
            let address = std::net::Ipv4Addr::from(address as u32);
            (ipnet::Ipv4Net::new(address, length % 33).unwrap().into(), Family::Ipv4Unicast)
        } else {
            let address = std::net::Ipv6Addr::from(address);
            (ipnet::Ipv6Net::new(address, length).unwrap().into(), Family::Ipv6Unicast)
        };
        let mut components = vec![Component::DestinationPrefix(prefix)];
        if more {
            components.push(Component::Protocol(vec![NumericTerm::equal(17)]));
        }
        let canonical = Rule { family, components }.canonical();
        let is_host = prefix.prefix_len() == prefix.max_prefix_len() && !more;
        proptest::prop_assert_eq!(canonical.is_ok(), is_host);
        if let Ok(rule) = canonical {
            proptest::prop_assert_eq!(rule.key().as_bytes()[0], prefix.max_prefix_len());
            proptest::prop_assert_eq!(rule.destination(), Some(prefix));
        }
    }
}
