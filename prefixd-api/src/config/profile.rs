//! What routers of a kind take, and how fast; and what one of them takes otherwise.

use super::settings::Neighbor;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a kind of router takes, and how fast (docs/configuration.md has the table).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Safe for every router that was tried: 1,000 announcements a second.
    #[default]
    Generic,
    /// Junos.
    Junos,
    /// IOS XR: 200 announcements a second.
    Iosxr,
    /// Arista EOS.
    Eos,
    /// Nokia SR OS.
    Sros,
    /// Huawei NetEngine.
    Huawei,
    /// FRR; not paced.
    Frr,
    /// BIRD; not paced.
    Bird,
    /// GoBGP; not paced.
    Gobgp,
    /// ExaBGP; not paced.
    Exabgp,
}

/// What one release of a router did with FlowSpec rules when it had agreed to graceful restart and lost us without a
/// NOTIFICATION.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeasuredRestart {
    /// Whether it kept them.
    pub kept: bool,
    /// Which release.
    pub by: &'static str,
}

impl Profile {
    /// All of them, as the documentation lists them.
    pub const ALL: [Self; 10] = [
        Self::Generic,
        Self::Junos,
        Self::Iosxr,
        Self::Eos,
        Self::Sros,
        Self::Huawei,
        Self::Frr,
        Self::Bird,
        Self::Gobgp,
        Self::Exabgp,
    ];

    /// The name in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Generic => "generic",
            Self::Junos => "junos",
            Self::Iosxr => "iosxr",
            Self::Eos => "eos",
            Self::Sros => "sros",
            Self::Huawei => "huawei",
            Self::Frr => "frr",
            Self::Bird => "bird",
            Self::Gobgp => "gobgp",
            Self::Exabgp => "exabgp",
        }
    }

    /// What our tests saw it do; none: it was not measured.
    #[must_use]
    pub const fn measured_restart(self) -> Option<MeasuredRestart> {
        let (kept, by) = match self {
            Self::Bird => (true, "BIRD 2.0.12"),
            Self::Gobgp => (true, "GoBGP 3.10.0"),
            Self::Frr => (false, "FRR 8.4.4"),
            Self::Generic
            | Self::Junos
            | Self::Iosxr
            | Self::Eos
            | Self::Sros
            | Self::Huawei
            | Self::Exabgp => return None,
        };
        Some(MeasuredRestart { kept, by })
    }

    /// Announcements a second; none: not paced. Withdrawals are never paced.
    #[must_use]
    pub const fn rules_per_second(self) -> Option<u32> {
        match self {
            Self::Generic | Self::Junos | Self::Eos | Self::Sros | Self::Huawei => Some(1000),
            Self::Iosxr => Some(200),
            Self::Frr | Self::Bird | Self::Gobgp | Self::Exabgp => None,
        }
    }

    /// Operators that one component of a rule may have. FRR 8.4 resets the session above 5; BIRD, GoBGP and ExaBGP
    /// were tried with 32.
    #[must_use]
    pub const fn operators_per_component(self) -> u32 {
        match self {
            Self::Bird | Self::Gobgp | Self::Exabgp => 32,
            Self::Generic | Self::Junos | Self::Iosxr | Self::Eos | Self::Sros | Self::Huawei | Self::Frr => {
                5
            }
        }
    }

    /// Longest NLRI: from 240 bytes on FRR, GoBGP and ExaBGP fail, each in its own way.
    #[must_use]
    pub const fn nlri_bytes(self) -> u32 {
        239
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What one neighbour takes otherwise than its profile says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NeighborLimits {
    /// Operators that one component of a rule may have; a closed range costs two.
    pub operators_per_component: Option<u32>,
    /// Longest NLRI in bytes, without its length field.
    pub nlri_bytes: Option<u32>,
    /// Longest UPDATE in bytes, but for one that holds a single rule.
    pub update_bytes: Option<u32>,
    /// Announcements a second.
    pub rules_per_second: Option<u32>,
}

impl NeighborLimits {
    /// Longest NLRI that fits into one UPDATE beside all attributes.
    pub const MAX_NLRI_BYTES: u32 = 3800;
    /// No UPDATE is longer (RFC 4271 section 4); extended messages (RFC 8654) are not offered.
    pub const MAX_UPDATE_BYTES: u32 = 4096;
    /// Below that hardly more than one rule fits beside the attributes.
    pub const MIN_UPDATE_BYTES: u32 = 256;
    /// More operators no component needs.
    pub const MAX_OPERATORS: u32 = 64;
}

impl Neighbor {
    /// Operators that one component of a rule may have.
    #[must_use]
    pub fn operators_per_component(&self) -> u32 {
        let of_profile = self.profile.operators_per_component();
        self.limits.operators_per_component.unwrap_or(of_profile)
    }

    /// Longest NLRI in bytes.
    #[must_use]
    pub fn nlri_bytes(&self) -> u32 {
        self.limits.nlri_bytes.unwrap_or(self.profile.nlri_bytes())
    }

    /// Longest UPDATE in bytes.
    #[must_use]
    pub fn update_bytes(&self) -> u32 {
        self.limits
            .update_bytes
            .unwrap_or(NeighborLimits::MAX_UPDATE_BYTES)
    }

    /// Announcements a second; none: not paced.
    #[must_use]
    pub fn rules_per_second(&self) -> Option<u32> {
        self.limits.rules_per_second.or(self.profile.rules_per_second())
    }
}
