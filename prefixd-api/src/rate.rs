//! Rates with their unit in the type: one bit/byte mix-up is a factor of eight on a router.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Bits per second, as configuration and API carry it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct BitsPerSecond(pub u64);

impl BitsPerSecond {
    /// The rate as FlowSpec carries it: float32 bytes per second (RFC 8955 section 7.1). A positive rate never
    /// becomes 0, because 0 on the wire means discard.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "the wire format is float32")]
    pub fn to_wire_bytes_per_second(self) -> f32 {
        let bytes = self.0 as f32 / 8.0;
        if self.0 > 0 { bytes.max(1.0) } else { 0.0 }
    }
}

impl fmt::Display for BitsPerSecond {
    /// Decimal multiples with at most two decimals: `5 Mbit/s`, `1.25 Gbit/s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (divisor, unit) = match self.0 {
            0..1_000 => return write!(f, "{} bit/s", self.0),
            1_000..1_000_000 => (1_000, "kbit/s"),
            1_000_000..1_000_000_000 => (1_000_000, "Mbit/s"),
            1_000_000_000..1_000_000_000_000 => (1_000_000_000, "Gbit/s"),
            _ => (1_000_000_000_000, "Tbit/s"),
        };
        let whole = self.0 / divisor;
        let hundredths = self.0 % divisor * 100 / divisor;
        match hundredths {
            0 => write!(f, "{whole} {unit}"),
            h if h % 10 == 0 => write!(f, "{whole}.{} {unit}", h / 10),
            h => write!(f, "{whole}.{h:02} {unit}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_become_bytes_once() {
        assert_eq!(BitsPerSecond(1_000_000).to_wire_bytes_per_second(), 125_000.0);
        assert_eq!(BitsPerSecond(1).to_wire_bytes_per_second(), 1.0);
    }

    #[test]
    fn shown_with_a_unit() {
        let shown =
            [999, 5_000_000, 1_250_000_000, 1_200_000_000, 2_000].map(|n| BitsPerSecond(n).to_string());
        assert_eq!(
            shown,
            ["999 bit/s", "5 Mbit/s", "1.25 Gbit/s", "1.2 Gbit/s", "2 kbit/s"]
        );
    }
}
