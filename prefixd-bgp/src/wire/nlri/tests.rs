//! From bytes to components, by a table of its own: the other direction is in `flowspec::tests`.

use super::*;
use crate::flowspec::{BitmaskTerm, NumericTerm};

fn bytes(hex: &str) -> Vec<u8> {
    let digits: String = hex.split_whitespace().collect();
    let byte = |n: usize| u8::from_str_radix(&digits[n..n + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(byte).collect()
}

fn read(family: Family, hex: &str) -> Option<Vec<Vec<Component>>> {
    decode_rules(family, &bytes(hex))
}

fn to(prefix: &str) -> Component {
    Component::DestinationPrefix(prefix.parse().unwrap())
}

fn from(prefix: &str) -> Component {
    Component::SourcePrefix(prefix.parse().unwrap())
}

fn is(value: u64) -> Vec<NumericTerm> {
    vec![NumericTerm::equal(value)]
}

fn flags(and: bool, not: bool, all: bool, bits: u16) -> BitmaskTerm {
    BitmaskTerm { and, not, all, bits }
}

/// Each component type by itself: the numbers of RFC 8955 section 4.2.2 and RFC 8956 section 3.
#[test]
fn each_type_is_read_as_what_it_is() {
    let both: [(&str, Component); 10] = [
        ("03 8111", Component::Protocol(is(17))),
        ("04 910050", Component::Port(is(80))),
        ("05 9101bb", Component::DestinationPort(is(443))),
        ("06 8135", Component::SourcePort(is(53))),
        ("07 8108", Component::IcmpType(is(8))),
        ("08 8100", Component::IcmpCode(is(0))),
        ("09 8102", Component::TcpFlags(vec![flags(false, false, true, 2)])),
        ("0a 9105dc", Component::PacketLength(is(1500))),
        ("0b 812e", Component::Dscp(is(46))),
        (
            "0c 8002",
            Component::Fragment(vec![flags(false, false, false, 2)]),
        ),
    ];
    for (hex, component) in both {
        for (family, victim, head) in [
            (Family::Ipv4, "203.0.113.10/32", "01 20 cb00710a"),
            (Family::Ipv6, "2001:db8::/32", "01 20 00 20010db8"),
        ] {
            let rule = bytes(&format!("{head} {hex}"));
            let hex = format!("{:02x} {head} {hex}", rule.len());
            assert_eq!(
                read(family, &hex),
                Some(vec![vec![to(victim), component.clone()]]),
                "{hex}"
            );
        }
    }
    let rest = [
        (
            Family::Ipv4,
            "0b 01 18 c00002 02 18 c63364 ",
            vec![to("192.0.2.0/24"), from("198.51.100.0/24")],
        ),
        (
            Family::Ipv4,
            // A prefix has as many bytes as its length needs.
            "0a 01 19 c0000280 02 08 0a",
            vec![to("192.0.2.128/25"), from("10.0.0.0/8")],
        ),
        (
            Family::Ipv6,
            "10 01 20 00 20010db8 02 30 00 20010db80bad",
            vec![to("2001:db8::/32"), from("2001:db8:bad::/48")],
        ),
        (
            Family::Ipv6,
            "0d 01 20 00 20010db8 0d a100012345",
            vec![to("2001:db8::/32"), Component::FlowLabel(is(0x1_2345))],
        ),
    ];
    for (family, hex, rule) in rest {
        assert_eq!(with_length(family, hex), Some(vec![rule]), "{hex}");
    }
}

/// Reads what follows the first byte of the text, with its true length in place of that.
fn with_length(family: Family, hex: &str) -> Option<Vec<Vec<Component>>> {
    let all = bytes(hex);
    let mut nlri = all;
    nlri[0] = u8::try_from(nlri.len() - 1).unwrap();
    decode_rules(family, &nlri)
}

/// Every operator, joined by OR and by AND, with values of one, two, four and eight bytes.
#[test]
fn each_operator_is_read_as_what_it_says() {
    let terms = [
        ("04 05", "<", Comparison::Less),
        ("05 05", "<=", Comparison::LessOrEqual),
        ("01 05", "=", Comparison::Equal),
        ("03 05", ">=", Comparison::GreaterOrEqual),
        ("02 05", ">", Comparison::Greater),
        ("06 05", "!=", Comparison::NotEqual),
    ];
    for (hex, name, comparison) in terms {
        let [operator, value] = bytes(hex)[..] else {
            panic!()
        };
        for and in [false, true] {
            for (width, code) in [(1, 0x00), (2, 0x10), (4, 0x20), (8, 0x30)] {
                let mut rule = bytes("01 20 cb00710a 05 01 50");
                rule.push(operator | 0x80 | code | if and { 0x40 } else { 0 });
                rule.extend(std::iter::repeat_n(0, width - 1).chain([value]));
                rule.insert(0, u8::try_from(rule.len()).unwrap());
                let second = NumericTerm {
                    and,
                    comparison,
                    value: 5,
                };
                let ports = Component::DestinationPort(vec![NumericTerm::equal(80), second]);
                assert_eq!(
                    decode_rules(Family::Ipv4, &rule),
                    Some(vec![vec![to("203.0.113.10/32"), ports]]),
                    "{name}, {and}, {width} bytes"
                );
            }
        }
    }
    for code in 0..8_u8 {
        let (and, not, all) = (code & 4 != 0, code & 2 != 0, code & 1 != 0);
        let operator = 0x80 | if and { 0x40 } else { 0 } | code & 3;
        let mut rule = bytes("0b 01 20 cb00710a 09 0010");
        rule.extend([operator, 2]);
        rule[0] = u8::try_from(rule.len() - 1).unwrap();
        let syn = Component::TcpFlags(vec![flags(false, false, false, 16), flags(and, not, all, 2)]);
        assert_eq!(
            decode_rules(Family::Ipv4, &rule),
            Some(vec![vec![to("203.0.113.10/32"), syn]]),
            "{code:03b}"
        );
    }
}

#[test]
fn several_rules_and_long_ones_are_told_apart() {
    let two = "06 01 20 cb00710a 09 01 20 cb00710b 03 8111";
    assert_eq!(
        read(Family::Ipv4, two),
        Some(vec![
            vec![to("203.0.113.10/32")],
            vec![to("203.0.113.11/32"), Component::Protocol(is(17))],
        ])
    );
    // 240 bytes: the length takes two.
    let ports: Vec<_> = (0..78).map(|n| NumericTerm::equal(1000 + n)).collect();
    let mut long = bytes("f0f1 01 20 cb00710a 05");
    for (n, term) in ports.iter().enumerate() {
        let last = if n == 77 { 0x80 } else { 0 };
        long.push(last | 0x11);
        long.extend(u16::try_from(term.value).unwrap().to_be_bytes());
    }
    assert_eq!(long.len(), 2 + 0xF1);
    assert_eq!(
        decode_rules(Family::Ipv4, &long),
        Some(vec![vec![
            to("203.0.113.10/32"),
            Component::DestinationPort(ports)
        ]])
    );
    assert_eq!(read(Family::Ipv4, ""), Some(vec![]));
}

/// What no rule of ours can say, or what is no rule at all.
#[test]
fn other_bytes_are_no_rule() {
    let cases = [
        (Family::Ipv4, "07 01 20 cb00710a", "cut off"),
        (Family::Ipv4, "06 01 21 cb00710a", "a prefix of 33 bits"),
        (Family::Ipv6, "07 01 20 08 20010db8", "an offset"),
        (Family::Ipv4, "09 01 20 cb00710a 05 80 50", "never true"),
        (Family::Ipv4, "09 01 20 cb00710a 05 87 50", "always true"),
        (
            Family::Ipv4,
            "09 01 20 cb00710a 05 01 50",
            "a list without an end",
        ),
        (Family::Ipv4, "09 01 20 cb00710a 0e 81 50", "an unknown type"),
        (Family::Ipv4, "09 03 81 11 01 20 cb00710a", "out of order"),
    ];
    for (family, hex, why) in cases {
        assert_eq!(read(family, hex), None, "{why}");
    }
}
