//! Encoded here, decoded by the crate: both ways over the same bytes.

use std::net::Ipv4Addr;

use bytes::Bytes;
use rustbgpd_wire::{ExtendedCommunity, Message, MpReachNlri, UpdateMessage, decode_message};

use super::*;
use crate::flowspec::{BytesPerSecond, Component, NumericTerm, Rule};

const EXTERNAL: SessionKind = SessionKind {
    internal: false,
    four_octet_as: true,
};

fn key(n: u32) -> NlriKey {
    let victim = Ipv4Addr::from(0x0A00_0000 + n);
    let components = vec![
        Component::DestinationPrefix(ipnet::IpNet::new(victim.into(), 32).unwrap()),
        Component::Protocol(vec![NumericTerm::equal(17)]),
    ];
    Rule {
        family: Family::Ipv4,
        components,
    }
    .canonical()
    .unwrap()
    .key()
    .clone()
}

fn key_v6() -> NlriKey {
    let components = vec![Component::DestinationPrefix("2001:db8::1/128".parse().unwrap())];
    Rule {
        family: Family::Ipv6,
        components,
    }
    .canonical()
    .unwrap()
    .key()
    .clone()
}

fn police() -> Action {
    Action::police(BytesPerSecond::new(1000.0).unwrap())
}

fn attributes(local_asn: u32) -> AttributeSet {
    AttributeSet::new(
        local_asn,
        Some(LargeCommunity {
            global: 1,
            local1: 2,
            local2: 3,
        }),
    )
    .unwrap()
}

fn updates(mut bytes: &[u8]) -> Vec<UpdateMessage> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let length = usize::from(u16::from_be_bytes([bytes[16], bytes[17]]));
        assert!(length <= MAX_MESSAGE);
        let (message, rest) = bytes.split_at(length);
        bytes = rest;
        match decode_message(&mut Bytes::copy_from_slice(message), 4096).unwrap() {
            Message::Update(update) => all.push(update),
            other => panic!("{other:?}"),
        }
    }
    all
}

fn decoded(update: &UpdateMessage, four_octet_as: bool) -> Vec<PathAttribute> {
    let parsed = update.parse_revised(four_octet_as, false, false, &[]).unwrap();
    assert!(parsed.malformed.is_empty(), "{:?}", parsed.malformed);
    parsed.update.attributes
}

fn reach(attributes: &[PathAttribute]) -> &MpReachNlri {
    match &attributes[0] {
        PathAttribute::MpReachNlri(reach) => reach,
        other => panic!("{other:?} comes first"),
    }
}

fn encoded(reach: &MpReachNlri) -> Vec<Vec<u8>> {
    reach
        .flowspec_announced
        .iter()
        .map(|rule| {
            let mut bytes = Vec::new();
            let rule = std::slice::from_ref(rule);
            rustbgpd_wire::flowspec::try_encode_flowspec_nlri(rule, &mut bytes, reach.afi).unwrap();
            bytes
        })
        .collect()
}

#[test]
fn withdrawals_first_then_one_message_per_family_and_action() {
    let attributes = attributes(65010);
    let mut packer = Packer::new(&attributes, EXTERNAL, MAX_MESSAGE);
    packer.announce(&key(1), Action::DISCARD);
    packer.announce(&key(2), police());
    packer.announce(&key_v6(), Action::DISCARD);
    packer.announce(&key(3), Action::DISCARD);
    packer.withdraw(&key(4));
    let mut bytes = Vec::new();
    assert_eq!(packer.finish(&mut bytes), 4);
    let updates = updates(&bytes);
    match &decoded(&updates[0], true)[..] {
        [PathAttribute::MpUnreachNlri(unreach)] => assert_eq!(unreach.flowspec_withdrawn.len(), 1),
        other => panic!("{other:?}"),
    }
    let announced: Vec<_> = updates[1..]
        .iter()
        .map(|update| encoded(reach(&decoded(update, true))))
        .collect();
    let bytes = |key: NlriKey| key.as_bytes().to_vec();
    assert_eq!(
        announced,
        [
            vec![bytes(key(1)), bytes(key(3))],
            vec![bytes(key(2))],
            vec![bytes(key_v6())]
        ]
    );
}

#[test]
fn messages_are_filled_to_the_last_rule_that_fits() {
    let attributes = attributes(65010);
    let mut packer = Packer::new(&attributes, EXTERNAL, MAX_MESSAGE);
    for n in 0..2000 {
        packer.announce(&key(n), Action::DISCARD);
        packer.withdraw(&key(5000 + n));
    }
    let mut bytes = Vec::new();
    let messages = packer.finish(&mut bytes);
    let updates = updates(&bytes);
    assert_eq!(messages, updates.len() as u64);
    let size = key(0).as_bytes().len();
    let lengths: Vec<_> = updates
        .iter()
        .map(|update| HEADER + 4 + update.path_attributes.len())
        .collect();
    assert!(
        lengths
            .iter()
            .filter(|length| **length + size <= MAX_MESSAGE)
            .count()
            == 2,
        "{lengths:?}"
    );
}

#[test]
fn a_neighbour_that_takes_less_gets_shorter_messages_and_every_rule() {
    let attributes = attributes(65010);
    for limit in [1000, 300, 1] {
        let mut packer = Packer::new(&attributes, EXTERNAL, limit);
        for n in 0..500 {
            packer.announce(&key(n), Action::DISCARD);
            packer.withdraw(&key(5000 + n));
        }
        let mut bytes = Vec::new();
        packer.finish(&mut bytes);
        let mut rules = 0;
        for update in updates(&bytes) {
            let length = HEADER + 4 + update.path_attributes.len();
            let held: usize = decoded(&update, true)
                .iter()
                .map(|attribute| match attribute {
                    PathAttribute::MpReachNlri(reach) => encoded(reach).len(),
                    PathAttribute::MpUnreachNlri(unreach) => unreach.flowspec_withdrawn.len(),
                    _ => 0,
                })
                .sum();
            assert!(length <= limit || held == 1, "{length} bytes with {held} rules");
            rules += held;
        }
        assert_eq!(rules, 1000);
    }
}

#[test]
fn a_four_octet_as_reaches_an_old_neighbour() {
    let attributes = attributes(4_200_000_001);
    let pack = |kind| {
        let mut packer = Packer::new(&attributes, kind, MAX_MESSAGE);
        packer.announce(&key(1), police());
        let mut bytes = Vec::new();
        packer.finish(&mut bytes);
        updates(&bytes).remove(0)
    };
    let new = decoded(&pack(EXTERNAL), true);
    let path = AsPath {
        segments: vec![AsPathSegment::AsSequence(vec![4_200_000_001])],
    };
    assert!(new.contains(&PathAttribute::AsPath(path.clone())), "{new:?}");
    let low_half = ExtendedCommunity::new(0x8006_ea01_447a_0000);
    assert!(
        new.contains(&PathAttribute::ExtendedCommunities(vec![low_half])),
        "{new:?}"
    );

    let old = pack(SessionKind {
        four_octet_as: false,
        ..EXTERNAL
    });
    let types: Vec<_> = attribute_types(&old.path_attributes);
    assert_eq!(types, [14, 1, 2, 17, 8, 16, 32], "AS4_PATH beside AS_TRANS");
    assert!(
        decoded(&old, false).contains(&PathAttribute::AsPath(path)),
        "the decoder puts both together"
    );
}

fn attribute_types(mut bytes: &[u8]) -> Vec<u8> {
    let mut types = Vec::new();
    while let [flags, kind, rest @ ..] = bytes {
        types.push(*kind);
        let (length, header) = if flags & 0x10 != 0 {
            (usize::from(u16::from_be_bytes([rest[0], rest[1]])), 2)
        } else {
            (usize::from(rest[0]), 1)
        };
        bytes = &rest[header + length..];
    }
    types
}

#[test]
fn end_of_rib_is_an_empty_withdrawal() {
    for family in Family::FLOWSPEC {
        match &decoded(&updates(&end_of_rib(family))[0], true)[..] {
            [PathAttribute::MpUnreachNlri(unreach)] => {
                assert_eq!(super::super::family((unreach.afi, unreach.safi)), Some(family));
                assert!(unreach.flowspec_withdrawn.is_empty());
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn marking_is_a_traffic_marking_community() {
    let attributes = attributes(65010);
    let mut packer = Packer::new(&attributes, EXTERNAL, MAX_MESSAGE);
    packer.announce(&key(1), Action::mark(crate::flowspec::Dscp::new(46).unwrap()));
    let mut bytes = Vec::new();
    packer.finish(&mut bytes);
    let found = decoded(&updates(&bytes)[0], true);
    let expected = ExtendedCommunity::new(0x8009_0000_0000_002e);
    assert!(
        found.contains(&PathAttribute::ExtendedCommunities(vec![expected])),
        "{found:?}"
    );
}
