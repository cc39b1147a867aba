//! Addresses as columns: family and bytes in network order, which sort as the addresses do.

use ipnet::IpNet;
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

/// The address of a column.
pub(super) fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        _ => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
    }
}
