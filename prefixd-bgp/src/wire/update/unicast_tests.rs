//! Blackhole routes, byte for byte.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::*;
use crate::config::Community;
use crate::flowspec::Rule;

fn attributes() -> AttributeSet {
    let marker = LargeCommunity {
        global: 65010,
        local1: 8955,
        local2: 1,
    };
    AttributeSet::new(65010, Some(marker))
        .unwrap()
        .with_rtbh(Some(Rtbh {
            next_hop: Some(Ipv4Addr::new(192, 0, 2, 254)),
            next_hop_v6: Some(Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 1)),
            communities: [Community::new(65010, 666), Community::BLACKHOLE].into(),
        }))
}

fn key(address: &str) -> NlriKey {
    let rule = Rule::host_route(address.parse().unwrap());
    rule.canonical().unwrap().key().clone()
}

fn packed(internal: bool, announce: &[NlriKey], withdraw: &[NlriKey]) -> (u64, Vec<u8>) {
    let attributes = attributes();
    let kind = SessionKind {
        internal,
        four_octet_as: true,
    };
    let mut packer = Packer::new(&attributes, kind, MAX_MESSAGE);
    withdraw.iter().for_each(|key| packer.withdraw(key));
    announce
        .iter()
        .for_each(|key| packer.announce(key, Action::BLACKHOLE));
    let mut bytes = Vec::new();
    let messages = packer.finish(&mut bytes);
    (messages, bytes)
}

fn message(body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(19 + body.len()).unwrap().to_be_bytes();
    [&[0xFF; 16][..], &length, &[2], body].concat()
}

const ORIGIN: &[u8] = &[0x40, 1, 1, 0];
const OUR_AS: &[u8] = &[0x40, 2, 6, 2, 1, 0, 0, 0xFD, 0xF2];
const NO_AS: &[u8] = &[0x40, 2, 0];
const NEXT_HOP: &[u8] = &[0x40, 3, 4, 192, 0, 2, 254];
const LOCAL_PREF_200: &[u8] = &[0x40, 5, 4, 0, 0, 0, 200];
/// 65010:666, NO_EXPORT, BLACKHOLE.
const COMMUNITIES: &[u8] = &[
    0xC0, 8, 12, 0xFD, 0xF2, 0x02, 0x9A, 0xFF, 0xFF, 0x02, 0x9A, 0xFF, 0xFF, 0xFF, 0x01,
];
const MARKER: &[u8] = &[0xC0, 32, 12, 0, 0, 0xFD, 0xF2, 0, 0, 0x22, 0xFB, 0, 0, 0, 1];

/// AFI 2, SAFI 1, one next hop of 16 bytes, one address.
fn reach_v6() -> Vec<u8> {
    let next_hop = [&[1, 0][..], &[0; 13], &[1]].concat();
    let address = [&[128, 0x20, 0x01, 0x0D, 0xB8][..], &[0; 11], &[0x10]].concat();
    [&[0x90, 14, 0, 38, 0, 2, 1, 16][..], &next_hop, &[0], &address].concat()
}

fn update(attributes: &[&[u8]], nlri: &[u8]) -> Vec<u8> {
    let attributes = attributes.concat();
    let length = u16::try_from(attributes.len()).unwrap().to_be_bytes();
    message(&[&[0, 0][..], &length, &attributes, nlri].concat())
}

#[test]
fn an_ipv4_host_by_ebgp_and_ibgp() {
    let host = &[32, 203, 0, 113, 10];
    let external = update(&[ORIGIN, OUR_AS, NEXT_HOP, COMMUNITIES, MARKER], host);
    assert_eq!(packed(false, &[key("203.0.113.10")], &[]), (1, external));
    let internal = update(
        &[ORIGIN, NO_AS, NEXT_HOP, LOCAL_PREF_200, COMMUNITIES, MARKER],
        host,
    );
    assert_eq!(packed(true, &[key("203.0.113.10")], &[]), (1, internal));
}

#[test]
fn an_ipv6_host_by_ebgp_and_ibgp() {
    let external = update(&[&reach_v6(), ORIGIN, OUR_AS, COMMUNITIES, MARKER], &[]);
    assert_eq!(packed(false, &[key("2001:db8::10")], &[]), (1, external));
    let internal = update(
        &[&reach_v6(), ORIGIN, NO_AS, LOCAL_PREF_200, COMMUNITIES, MARKER],
        &[],
    );
    assert_eq!(packed(true, &[key("2001:db8::10")], &[]), (1, internal));
}

#[test]
fn withdrawals_say_the_host_and_nothing_else() {
    let v4 = message(&[0, 5, 32, 203, 0, 113, 10, 0, 0]);
    assert_eq!(packed(false, &[], &[key("203.0.113.10")]), (1, v4));
    let host = [&[128, 0x20, 0x01, 0x0D, 0xB8][..], &[0; 11], &[0x10]].concat();
    let unreach = [&[0x90, 15, 0, 20, 0, 2, 1][..], &host].concat();
    assert_eq!(
        packed(false, &[], &[key("2001:db8::10")]),
        (1, update(&[&unreach], &[]))
    );
}

#[test]
fn the_end_of_rib_of_each_family() {
    assert_eq!(end_of_rib(Family::Ipv4Unicast), message(&[0, 0, 0, 0]));
    let v6 = update(&[&[0x90, 15, 0, 3, 0, 2, 1]], &[]);
    assert_eq!(end_of_rib(Family::Ipv6Unicast), v6);
}

#[test]
fn many_hosts_fill_messages() {
    let hosts: Vec<_> = (0..2000_u32)
        .map(|n| key(&Ipv4Addr::from(0x0A00_0000 + n).to_string()))
        .collect();
    for (announce, withdraw) in [(&hosts[..], &[][..]), (&[][..], &hosts[..])] {
        let (messages, bytes) = packed(true, announce, withdraw);
        assert_eq!(messages, 3);
        let mut rest = &bytes[..];
        let mut hosts = 0;
        while !rest.is_empty() {
            let length = usize::from(u16::from_be_bytes([rest[16], rest[17]]));
            assert!(length <= MAX_MESSAGE);
            let (one, later) = rest.split_at(length);
            hosts += one.windows(2).filter(|two| *two == [32, 10]).count();
            rest = later;
        }
        assert_eq!(hosts, 2000);
    }
}
