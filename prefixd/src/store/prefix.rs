//! Addresses as columns: family and bytes in network order, which sort as the addresses do.

use ipnet::IpNet;
use prefixd_api::victim::Victim;
use std::net::IpAddr;

/// A prefix as the range of its addresses.
pub(super) struct Range {
    pub(super) af: i16,
    pub(super) lo: Vec<u8>,
    pub(super) hi: Vec<u8>,
}

impl Range {
    pub(super) fn of(prefix: IpNet) -> Self {
        Self {
            af: family(prefix.addr()),
            lo: bytes(prefix.network()),
            hi: bytes(prefix.broadcast()),
        }
    }

    pub(super) fn is_host(&self) -> bool {
        self.lo == self.hi
    }
}

pub(super) fn family(address: IpAddr) -> i16 {
    if address.is_ipv4() { 4 } else { 6 }
}

pub(super) fn bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// A victim as a column: its address; of many the first one and the length, so that they sort among their addresses.
pub(super) fn key(victim: Victim) -> Vec<u8> {
    let mut key = bytes(victim.address());
    if !victim.is_host() {
        key.push(victim.prefix().prefix_len());
    }
    key
}

/// The victim of a column.
pub(super) fn victim(key: &[u8]) -> Option<Victim> {
    let (address, length) = match key.len() {
        4 | 16 => (key, None),
        _ => key
            .split_last()
            .map(|(length, address)| (address, Some(*length)))?,
    };
    let address = match address.len() {
        4 => <[u8; 4]>::try_from(address).ok().map(IpAddr::from)?,
        _ => <[u8; 16]>::try_from(address).ok().map(IpAddr::from)?,
    };
    match length {
        None => Victim::new(address).ok(),
        Some(length) => Victim::network(IpNet::new(address, length).ok()?).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_victim_reads_back_from_its_column_and_sorts_among_its_addresses() {
        let host: Victim = "203.0.113.0".parse().unwrap();
        for prefix in [
            "203.0.113.0/32",
            "203.0.113.0/24",
            "2001:db8::/64",
            "2001:db8::1/128",
        ] {
            let one = Victim::network(prefix.parse().unwrap()).unwrap();
            assert_eq!(victim(&key(one)), Some(one), "{prefix}");
        }
        let many = key(Victim::network("203.0.113.0/24".parse().unwrap()).unwrap());
        let range = Range::of("203.0.113.0/24".parse().unwrap());
        assert!(key(host) < many && range.lo < many && many < range.hi);
        assert_eq!(victim(&[203, 0]), None);
    }
}
