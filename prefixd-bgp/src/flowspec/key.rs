//! The identity of a rule: the bytes of its NLRI.

use std::fmt;
use std::sync::Arc;

use super::Family;

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
        let length_field = if self.bytes.first().is_some_and(|first| *first >= 0xF0) {
            2
        } else {
            1
        };
        self.bytes.len().saturating_sub(length_field)
    }
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
