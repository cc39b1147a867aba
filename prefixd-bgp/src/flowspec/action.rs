//! What a router does with matching traffic.

/// The action of a rule (RFC 8955 section 7). Equal actions share one attribute set on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Drop: traffic-rate 0.
    Discard,
    /// Police to a rate per rule, per forwarding engine of the router.
    TrafficRateBytes(BytesPerSecond),
    /// Set the DSCP and forward.
    TrafficMarking(Dscp),
}

/// A rate in **bytes** per second (not bits): positive, finite and exactly what the 32-bit float of the wire holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BytesPerSecond(f32);

/// A DSCP value, 0 to 63.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Dscp(u8);

/// Why a value cannot be an action.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum InvalidAction {
    /// Zero (which would mean discard), negative, infinite or not a number.
    #[error("{0} is not a rate a router can police to; it must be a positive number of bytes per second")]
    Rate(f32),
    /// Above 63.
    #[error("{0} is not a DSCP; it must be 0 to 63")]
    Dscp(u8),
}

impl BytesPerSecond {
    /// Checks the rate.
    ///
    /// # Errors
    ///
    /// [`InvalidAction::Rate`] unless it is positive and finite. Zero is refused because on the wire it means
    /// discard, which is [`Action::Discard`].
    pub fn new(bytes_per_second: f32) -> Result<Self, InvalidAction> {
        if bytes_per_second.is_finite() && bytes_per_second > 0.0 {
            Ok(Self(bytes_per_second))
        } else {
            Err(InvalidAction::Rate(bytes_per_second))
        }
    }

    /// The rate for a limit in **bits** per second; a positive one never becomes zero.
    ///
    /// # Errors
    ///
    /// [`InvalidAction::Rate`] for zero.
    pub fn from_bits_per_second(bits_per_second: u64) -> Result<Self, InvalidAction> {
        #[expect(
            clippy::cast_precision_loss,
            reason = "the wire carries a 32-bit float (RFC 8955 section 7.1)"
        )]
        let bytes = bits_per_second as f32 / 8.0;
        Self::new(bytes)
    }

    /// Bytes per second.
    #[must_use]
    pub fn get(self) -> f32 {
        self.0
    }
}

/// Sound because the value is never NaN.
impl Eq for BytesPerSecond {}

impl std::hash::Hash for BytesPerSecond {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

impl Dscp {
    /// Checks the value.
    ///
    /// # Errors
    ///
    /// [`InvalidAction::Dscp`] above 63.
    pub fn new(value: u8) -> Result<Self, InvalidAction> {
        if value <= 63 {
            Ok(Self(value))
        } else {
            Err(InvalidAction::Dscp(value))
        }
    }

    /// The value.
    #[must_use]
    pub fn get(self) -> u8 {
        self.0
    }
}
