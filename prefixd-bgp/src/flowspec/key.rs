//! The identity of a rule: the bytes of its NLRI.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;

use super::Family;

/// The type of the component that comes first in every rule (RFC 8955 section 4.2.2.1).
const DESTINATION: u8 = 1;

/// The NLRI of a canonical rule exactly as it goes on the wire, with its length field. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NlriKey {
    family: Family,
    bytes: Arc<[u8]>,
}

impl NlriKey {
    pub(crate) fn new(family: Family, bytes: Vec<u8>) -> Self {
        Self {
            family,
            bytes: bytes.into(),
        }
    }

    /// The key with these bytes, as [`NlriKey`] writes them. They are not looked at: a key that no rule has names none.
    #[must_use]
    pub fn from_hex(family: Family, text: &str) -> Option<Self> {
        let digit = |digit: u8| {
            char::from(digit)
                .to_digit(16)
                .and_then(|value| u8::try_from(value).ok())
        };
        let octet = |pair: &[u8]| match *pair {
            [high, low] => Some(digit(high)? << 4 | digit(low)?),
            _ => None,
        };
        let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(octet).collect();
        Some(Self::new(family, bytes?))
    }

    /// Address family.
    #[must_use]
    pub fn family(&self) -> Family {
        self.family
    }

    /// The bytes on the wire: one or two bytes of length (RFC 8955 section 4.1), then the components; of a blackhole route
    /// the length in bits, then the address.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many bytes the components take, without the length field.
    #[must_use]
    pub fn component_bytes(&self) -> usize {
        self.components().len()
    }

    /// The bytes after the length field.
    fn components(&self) -> &[u8] {
        match &*self.bytes {
            [0xF0..=0xFF, _, rest @ ..] | [_, rest @ ..] => rest,
            [] => &[],
        }
    }

    /// The prefix that a rule with this key protects; `None` for a key that no rule has.
    pub(crate) fn destination(&self) -> Option<IpNet> {
        let (length, address) = match (self.family, self.components()) {
            (Family::Ipv4, [DESTINATION, length, address @ ..])
            // The offset is always 0 (RFC 8956 section 3.1).
            | (Family::Ipv6, [DESTINATION, length, 0, address @ ..]) => (*length, address),
            (Family::Ipv4Unicast | Family::Ipv6Unicast, address) => (*self.bytes.first()?, address),
            _ => return None,
        };
        let address = address.get(..usize::from(length).div_ceil(8))?;
        let address: IpAddr = match self.family {
            Family::Ipv4 | Family::Ipv4Unicast => Ipv4Addr::from(octets(address)?).into(),
            Family::Ipv6 | Family::Ipv6Unicast => Ipv6Addr::from(octets(address)?).into(),
        };
        IpNet::new(address, length).ok()
    }
}

/// An address of which the last octets are left out where they are 0.
fn octets<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    let mut octets = [0; N];
    octets.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(octets)
}

/// Lower-case hexadecimal of the bytes on the wire.
impl fmt::Display for NlriKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for NlriKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{self}", self.family)
    }
}
