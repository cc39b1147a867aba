//! What a router does with matching traffic.

use std::net::{IpAddr, Ipv4Addr};

/// The action of a rule (RFC 8955 section 7). Equal actions share one attribute set on the wire.
///
/// A rule does exactly one thing, and may be sampled besides. There is no action that only forwards: such a rule would
/// end the evaluation of every later one and let its traffic through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Action {
    effect: Effect,
    sample: bool,
}

/// The one thing a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Drop: traffic-rate 0.
    Discard,
    /// Police to a rate per rule, per forwarding engine of the router.
    RateBytes(BytesPerSecond),
    /// The same in packets (RFC 8955 section 7.2).
    RatePackets(PacketsPerSecond),
    /// Send it elsewhere.
    Redirect(Redirect),
    /// Set the DSCP and forward.
    Mark(Dscp),
    /// Discard all traffic to one address (RFC 7999): the only effect of a route of a unicast family, and of no other.
    Blackhole,
}

impl Effect {
    fn strictness(self) -> u8 {
        match self {
            Self::Mark(_) => 0,
            Self::RateBytes(_) | Self::RatePackets(_) => 1,
            Self::Redirect(_) => 2,
            Self::Discard => 3,
            Self::Blackhole => 4,
        }
    }
}

/// Where matching traffic goes instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Redirect {
    /// The VRF that imports a route target of a two-octet AS (RFC 8955 section 7.4).
    VrfAs2 {
        /// The AS.
        asn: u16,
        /// The assigned number.
        value: u32,
    },
    /// The VRF that imports a route target of a four-octet AS.
    VrfAs4 {
        /// The AS.
        asn: u32,
        /// The assigned number.
        value: u16,
    },
    /// The VRF that imports a route target of an IPv4 address.
    VrfIpv4 {
        /// The address.
        address: Ipv4Addr,
        /// The assigned number.
        value: u16,
    },
    /// A next hop (draft-ietf-idr-flowspec-redirect-ip).
    NextHop {
        /// The address.
        address: IpAddr,
        /// A copy goes there, and the packet takes its way.
        copy: bool,
    },
}

impl Action {
    /// Drop everything.
    pub const DISCARD: Self = Self::of(Effect::Discard);
    /// What a blackhole route does.
    pub const BLACKHOLE: Self = Self::of(Effect::Blackhole);

    /// Does this, and does not sample.
    #[must_use]
    pub const fn of(effect: Effect) -> Self {
        Self {
            effect,
            sample: false,
        }
    }

    /// Police to a rate in bytes.
    #[must_use]
    pub const fn police(rate: BytesPerSecond) -> Self {
        Self::of(Effect::RateBytes(rate))
    }

    /// Set the DSCP.
    #[must_use]
    pub const fn mark(dscp: Dscp) -> Self {
        Self::of(Effect::Mark(dscp))
    }

    /// The same, with or without the sample bit of traffic-action (RFC 8955 section 7.3). Its other bit, terminal,
    /// is never set.
    #[must_use]
    pub const fn sampled(self, sample: bool) -> Self {
        Self { sample, ..self }
    }

    /// What it does.
    #[must_use]
    pub const fn effect(self) -> Effect {
        self.effect
    }

    /// Whether this lets more of what matches through, or lets through what the other does not: a mark more than a rate, a
    /// rate more than a redirect, that more than a discard. Of two that cannot be compared, such as rates in bytes and in
    /// packets, neither is. Sampling lets nothing through.
    #[must_use]
    pub fn is_milder_than(self, other: Self) -> bool {
        match (self.effect, other.effect) {
            (Effect::RateBytes(own), Effect::RateBytes(theirs)) => own.get() > theirs.get(),
            (Effect::RatePackets(own), Effect::RatePackets(theirs)) => own.get() > theirs.get(),
            (own, theirs) => own.strictness() < theirs.strictness(),
        }
    }

    /// Whether the router samples what matches.
    #[must_use]
    pub const fn sample(self) -> bool {
        self.sample
    }
}

/// A rate in **bytes** per second (not bits): positive, finite and exactly what the 32-bit float of the wire holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BytesPerSecond(f32);

/// A rate in packets per second, with the same bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PacketsPerSecond(f32);

/// A DSCP value, 0 to 63.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Dscp(u8);

/// Why a value cannot be an action.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum InvalidAction {
    /// Zero (which would mean discard), negative, infinite or not a number.
    #[error("{0} is not a rate a router can police to; it must be a positive number per second")]
    Rate(f32),
    /// Above 63.
    #[error("{0} is not a DSCP; it must be 0 to 63")]
    Dscp(u8),
}

fn rate(per_second: f32) -> Result<f32, InvalidAction> {
    if per_second.is_finite() && per_second > 0.0 {
        Ok(per_second)
    } else {
        Err(InvalidAction::Rate(per_second))
    }
}

impl BytesPerSecond {
    /// Checks the rate.
    ///
    /// # Errors
    ///
    /// [`InvalidAction::Rate`] unless it is positive and finite. Zero is refused because on the wire it means
    /// discard, which is [`Action::DISCARD`].
    pub fn new(bytes_per_second: f32) -> Result<Self, InvalidAction> {
        rate(bytes_per_second).map(Self)
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

impl PacketsPerSecond {
    /// Checks the rate.
    ///
    /// # Errors
    ///
    /// [`InvalidAction::Rate`] for zero.
    pub fn new(packets_per_second: u64) -> Result<Self, InvalidAction> {
        #[expect(
            clippy::cast_precision_loss,
            reason = "the wire carries a 32-bit float (RFC 8955 section 7.2)"
        )]
        let packets = packets_per_second as f32;
        rate(packets).map(Self)
    }

    /// Packets per second.
    #[must_use]
    pub fn get(self) -> f32 {
        self.0
    }
}

/// Sound because the value is never NaN.
impl Eq for BytesPerSecond {}

/// Sound because the value is never NaN.
impl Eq for PacketsPerSecond {}

impl std::hash::Hash for BytesPerSecond {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

impl std::hash::Hash for PacketsPerSecond {
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
