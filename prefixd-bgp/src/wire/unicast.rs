//! Blackhole routes (RFC 7999): one address, the next hop that a router discards at, BLACKHOLE and NO_EXPORT.
//!
//! IPv4 goes in the fields of the UPDATE itself with NEXT_HOP, as routers without MP-BGP expect it; IPv6 in MP_REACH_NLRI
//! (RFC 4760). Neither is ever wider than a host: the key of a route is made here, from an address.

use std::net::{IpAddr, Ipv4Addr};

use rustbgpd_wire::DecodeError;
use rustbgpd_wire::nlri::{decode_ipv6_nlri, decode_nlri};

use super::HEADER;
use super::update::length;
use crate::config::{Community, Rtbh};
use crate::flowspec::{NlriKey, RuleError};

const TYPE_UPDATE: u8 = 2;
const WELL_KNOWN: u8 = 0x40;
const OPTIONAL_TRANSITIVE: u8 = 0xC0;
const NEXT_HOP: u8 = 3;
const LOCAL_PREF: u8 = 5;
const COMMUNITIES: u8 = 8;
/// A blackhole wins over the route that carries the customer's traffic.
const BLACKHOLE_LOCAL_PREF: u32 = 200;

/// The NLRI of one address: its length in bits, and all of it. The bytes are read back as a router will read them: they
/// must hold exactly this address.
pub(crate) fn encode_host(address: IpAddr) -> Result<Vec<u8>, RuleError> {
    let bytes = match address {
        IpAddr::V4(v4) => [&[32][..], &v4.octets()].concat(),
        IpAddr::V6(v6) => [&[128][..], &v6.octets()].concat(),
    };
    read_back(address, &bytes)?;
    Ok(bytes)
}

/// Blackholes a network, or somebody else, if it is not what was meant.
fn read_back(address: IpAddr, bytes: &[u8]) -> Result<(), RuleError> {
    let prefixes = prefixes(address.is_ipv6(), bytes).map_err(|error| RuleError::ReadBack {
        detail: error.to_string(),
    })?;
    let host = (address, if address.is_ipv6() { 128 } else { 32 });
    if prefixes == [host] {
        return Ok(());
    }
    let read: Vec<_> = prefixes
        .iter()
        .map(|(address, length)| format!("{address}/{length}"))
        .collect();
    Err(RuleError::ReadBack {
        detail: read.join(" "),
    })
}

/// Addresses with their lengths, by a decoder that is not ours.
fn prefixes(is_ipv6: bool, bytes: &[u8]) -> Result<Vec<(IpAddr, u8)>, DecodeError> {
    Ok(if is_ipv6 {
        let prefixes = decode_ipv6_nlri(bytes)?.into_iter();
        prefixes.map(|one| (one.addr.into(), one.len)).collect()
    } else {
        let prefixes = decode_nlri(bytes)?.into_iter();
        prefixes.map(|one| (one.addr.into(), one.len)).collect()
    })
}

/// NEXT_HOP, LOCAL_PREF by iBGP, COMMUNITIES: what follows ORIGIN and AS_PATH.
pub(super) fn attributes(rtbh: &Rtbh, next_hop: Option<Ipv4Addr>, internal: bool, out: &mut Vec<u8>) {
    if let Some(next_hop) = next_hop {
        out.extend_from_slice(&[WELL_KNOWN, NEXT_HOP, 4]);
        out.extend_from_slice(&next_hop.octets());
    }
    if internal {
        out.extend_from_slice(&[WELL_KNOWN, LOCAL_PREF, 4]);
        out.extend_from_slice(&BLACKHOLE_LOCAL_PREF.to_be_bytes());
    }
    let mut communities = rtbh.communities.clone();
    communities.extend([Community::NO_EXPORT, Community::BLACKHOLE]);
    let value: Vec<u8> = communities
        .iter()
        .flat_map(|community| community.to_be_bytes())
        .collect();
    // The configuration allows far fewer than would not fit in one octet of length.
    if let Ok(length) = u8::try_from(value.len()) {
        out.extend_from_slice(&[OPTIONAL_TRANSITIVE, COMMUNITIES, length]);
        out.extend_from_slice(&value);
    }
}

/// IPv4 routes in the fields of the UPDATE itself; says how many messages that took.
pub(super) fn announce(out: &mut Vec<u8>, attributes: &[u8], keys: &[NlriKey], update_bytes: usize) -> u64 {
    in_messages(keys, attributes.len(), update_bytes, |some| {
        write(out, &[], attributes, some);
    })
}

/// The same for withdrawals.
pub(super) fn withdraw(out: &mut Vec<u8>, keys: &[NlriKey], update_bytes: usize) -> u64 {
    in_messages(keys, 0, update_bytes, |some| write(out, some, &[], &[]))
}

/// End-of-RIB of IPv4 unicast: an UPDATE that says nothing (RFC 4724 section 2).
pub(super) fn end_of_rib(out: &mut Vec<u8>) {
    write(out, &[], &[], &[]);
}

fn in_messages(
    keys: &[NlriKey],
    taken: usize,
    update_bytes: usize,
    mut write: impl FnMut(&[NlriKey]),
) -> u64 {
    /// Length and address.
    const NLRI: usize = 5;
    let room = update_bytes.saturating_sub(HEADER + 4 + taken) / NLRI;
    let mut messages = 0;
    for some in keys.chunks(room.max(1)) {
        write(some);
        messages += 1;
    }
    messages
}

fn write(out: &mut Vec<u8>, withdrawn: &[NlriKey], attributes: &[u8], announced: &[NlriKey]) {
    let bytes = |keys: &[NlriKey]| keys.iter().map(|key| key.as_bytes().len()).sum::<usize>();
    out.extend_from_slice(&[0xFF; 16]);
    out.extend_from_slice(&length(
        HEADER + 4 + bytes(withdrawn) + attributes.len() + bytes(announced),
    ));
    out.push(TYPE_UPDATE);
    out.extend_from_slice(&length(bytes(withdrawn)));
    withdrawn
        .iter()
        .for_each(|key| out.extend_from_slice(key.as_bytes()));
    out.extend_from_slice(&length(attributes.len()));
    out.extend_from_slice(attributes);
    announced
        .iter()
        .for_each(|key| out.extend_from_slice(key.as_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_known_bytes_and_comes_back_from_them() {
        let vectors: [(&str, &[u8]); 3] = [
            ("203.0.113.10", &[32, 203, 0, 113, 10]),
            ("0.0.0.0", &[32, 0, 0, 0, 0]),
            (
                "2001:db8::10",
                &[128, 0x20, 1, 0x0D, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10],
            ),
        ];
        for (address, bytes) in vectors {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(encode_host(address), Ok(bytes.to_vec()));
            assert_eq!(read_back(address, bytes), Ok(()));
        }
    }

    #[test]
    fn bytes_that_say_anything_else_are_not_sent() {
        let meant: IpAddr = "203.0.113.10".parse().unwrap();
        let cases: [(&[u8], &str); 8] = [
            (&[32, 203, 0, 113, 11], "203.0.113.11/32"),
            // A network for a host: the harm of a length that is wrong.
            (&[24, 203, 0, 113], "203.0.113.0/24"),
            (&[31, 203, 0, 113, 10], "203.0.113.10/31"),
            (&[0], "0.0.0.0/0"),
            (&[32, 203, 0, 113, 10, 0], "203.0.113.10/32 0.0.0.0/0"),
            (&[], ""),
            (&[32, 203, 0, 113], "requires 4 bytes"),
            (&[33, 203, 0, 113, 10, 0], "exceeds 32"),
        ];
        for (bytes, said) in cases {
            let refused = read_back(meant, bytes);
            assert!(
                matches!(&refused, Err(RuleError::ReadBack { detail }) if detail.contains(said)),
                "{bytes:?}: {refused:?}"
            );
        }
        let host = encode_host(meant).unwrap();
        let v6: IpAddr = "2001:db8::10".parse().unwrap();
        assert!(read_back(v6, &host).is_err(), "of the other family");
    }
}
