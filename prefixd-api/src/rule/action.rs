//! What happens to the matched traffic.

use super::Dscp;
use crate::rate::BitsPerSecond;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

/// What happens to the matched traffic. None of it only forwards: such a rule would switch off all later ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "ActionFields", into = "ActionFields")]
pub enum Action {
    /// All of it is dropped (traffic-rate 0).
    Discard,
    /// What exceeds the rate is dropped.
    Police {
        /// The bound, per rule and forwarding engine.
        rate_bps: BitsPerSecond,
    },
    /// The same in packets.
    PolicePackets {
        /// Packets per second, per rule and forwarding engine.
        rate_pps: u64,
    },
    /// It goes to the VRF that imports the route target.
    RedirectVrf {
        /// The route target.
        route_target: RouteTarget,
    },
    /// It goes to a next hop.
    RedirectIp {
        /// The next hop.
        next_hop: IpAddr,
        /// Only a copy goes there.
        copy: bool,
    },
    /// It is forwarded with another DSCP.
    Mark {
        /// The DSCP.
        dscp: Dscp,
    },
    /// All traffic to one address is dropped by a blackhole route (RFC 7999), at every router that follows it.
    Rtbh,
}

impl Action {
    /// Its kind without the rate.
    #[must_use]
    pub const fn kind(self) -> ActionType {
        match self {
            Self::Discard => ActionType::Discard,
            Self::Police { .. } | Self::PolicePackets { .. } => ActionType::Police,
            Self::RedirectVrf { .. } => ActionType::RedirectVrf,
            Self::RedirectIp { .. } => ActionType::RedirectIp,
            Self::Mark { .. } => ActionType::Mark,
            Self::Rtbh => ActionType::Rtbh,
        }
    }

    /// The bound of a police action in bits.
    #[must_use]
    pub const fn rate(self) -> Option<BitsPerSecond> {
        match self {
            Self::Police { rate_bps } => Some(rate_bps),
            _ => None,
        }
    }

    /// Whether it takes all traffic off its way, that of the service's own clients too.
    #[must_use]
    pub fn is_harsh(self) -> bool {
        self.kind() > ActionType::Police
    }

    /// Whether this lets less traffic through than `other`: blackhole, discard, redirect, police by rate, mark. Of two that cannot
    /// be compared, such as rates in bits and in packets, neither is.
    #[must_use]
    pub fn is_stricter_than(self, other: Self) -> bool {
        match (self, other) {
            (Self::Police { rate_bps: own }, Self::Police { rate_bps: theirs }) => own < theirs,
            (Self::PolicePackets { rate_pps: own }, Self::PolicePackets { rate_pps: theirs }) => own < theirs,
            (own, theirs) => own.kind().rank() > theirs.kind().rank(),
        }
    }
}

/// The kind of an action, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ActionType {
    /// Set the DSCP.
    Mark,
    /// Limit to a rate.
    Police,
    /// Send to a VRF.
    RedirectVrf,
    /// Send to a next hop.
    RedirectIp,
    /// Drop everything.
    Discard,
    /// Drop everything to an address, by a blackhole route.
    Rtbh,
}

impl ActionType {
    /// All of them, weakest first.
    pub const ALL: [Self; 6] = [
        Self::Mark,
        Self::Police,
        Self::RedirectVrf,
        Self::RedirectIp,
        Self::Discard,
        Self::Rtbh,
    ];

    /// The name on the wire and in configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mark => "mark",
            Self::Police => "police",
            Self::RedirectVrf => "redirect_vrf",
            Self::RedirectIp => "redirect_ip",
            Self::Discard => "discard",
            Self::Rtbh => "rtbh",
        }
    }

    const fn rank(self) -> u8 {
        match self {
            Self::Mark => 0,
            Self::Police => 1,
            Self::RedirectVrf | Self::RedirectIp => 2,
            Self::Discard => 3,
            Self::Rtbh => 4,
        }
    }
}

impl fmt::Display for ActionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ActionType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| {
                let known = Self::ALL.map(Self::as_str).join(", ");
                format!("{text:?} is no action; known: {known}")
            })
    }
}

/// The route target of a VRF: `65010:100`, `4200000000:7` or `192.0.2.1:7` (RFC 4360, RFC 5668).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RouteTarget {
    /// Of a two-octet AS.
    As2 {
        /// The AS.
        asn: u16,
        /// The assigned number.
        value: u32,
    },
    /// Of a four-octet AS.
    As4 {
        /// The AS, above 65535.
        asn: u32,
        /// The assigned number.
        value: u16,
    },
    /// Of an IPv4 address.
    Ipv4 {
        /// The address.
        address: Ipv4Addr,
        /// The assigned number.
        value: u16,
    },
}

crate::schema::text_schema!(RouteTarget, "RouteTarget");

impl FromStr for RouteTarget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (administrator, value) = text.split_once(':')?;
            if let Ok(address) = administrator.parse() {
                let value = value.parse().ok()?;
                return Some(Self::Ipv4 { address, value });
            }
            let asn: u32 = administrator.parse().ok()?;
            Some(match u16::try_from(asn) {
                Ok(asn) => Self::As2 {
                    asn,
                    value: value.parse().ok()?,
                },
                Err(_) => Self::As4 {
                    asn,
                    value: value.parse().ok()?,
                },
            })
        };
        parse().ok_or_else(|| {
            format!(
                "{text:?} is no route target such as 65010:100, 4200000000:7 or 192.0.2.1:7 (behind an AS above 65535 or an address the number is at most 65535)"
            )
        })
    }
}

impl fmt::Display for RouteTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::As2 { asn, value } => write!(f, "{asn}:{value}"),
            Self::As4 { asn, value } => write!(f, "{asn}:{value}"),
            Self::Ipv4 { address, value } => write!(f, "{address}:{value}"),
        }
    }
}

impl Serialize for RouteTarget {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RouteTarget {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<'de, str>::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

/// An action as its fields: `action_type` and what belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct ActionFields {
    /// The kind.
    pub action_type: ActionType,
    /// Bits per second, for police.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_bps: Option<BitsPerSecond>,
    /// Packets per second, for police.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_pps: Option<u64>,
    /// The VRF's, for `redirect_vrf`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route_target: Option<RouteTarget>,
    /// For `redirect_ip`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "server", schema(value_type = Option<String>))]
    pub next_hop: Option<IpAddr>,
    /// Only a copy goes to the next hop.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub copy: bool,
    /// For mark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dscp: Option<Dscp>,
}

/// Why fields are no action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ActionError {
    /// Something is missing.
    #[error("{action} needs {field}")]
    Missing {
        /// The kind.
        action: ActionType,
        /// What it needs.
        field: &'static str,
    },
    /// Something belongs to another kind.
    #[error("{field} does not belong to {action}")]
    Foreign {
        /// The kind.
        action: ActionType,
        /// What it does not have.
        field: &'static str,
    },
}

impl ActionFields {
    /// A kind without anything.
    #[must_use]
    pub const fn of(action_type: ActionType) -> Self {
        Self {
            action_type,
            rate_bps: None,
            rate_pps: None,
            route_target: None,
            next_hop: None,
            copy: false,
            dscp: None,
        }
    }

    /// What is there and belongs to another kind.
    ///
    /// # Errors
    /// The first such field.
    pub fn only_own(self) -> Result<(), ActionError> {
        let action = self.action_type;
        let fields = [
            ("rate_bps", self.rate_bps.is_some(), ActionType::Police),
            ("rate_pps", self.rate_pps.is_some(), ActionType::Police),
            (
                "route_target",
                self.route_target.is_some(),
                ActionType::RedirectVrf,
            ),
            ("next_hop", self.next_hop.is_some(), ActionType::RedirectIp),
            ("copy", self.copy, ActionType::RedirectIp),
            ("dscp", self.dscp.is_some(), ActionType::Mark),
        ];
        let is_twice = self.rate_bps.is_some() && self.rate_pps.is_some();
        match fields
            .into_iter()
            .find(|(_, is_there, of)| *is_there && *of != action)
        {
            Some((field, _, _)) => Err(ActionError::Foreign { action, field }),
            None if is_twice => Err(ActionError::Foreign {
                action,
                field: "rate_pps beside rate_bps",
            }),
            None => Ok(()),
        }
    }
}

impl TryFrom<ActionFields> for Action {
    type Error = ActionError;

    fn try_from(fields: ActionFields) -> Result<Self, Self::Error> {
        fields.only_own()?;
        let action = fields.action_type;
        let missing = |field| ActionError::Missing { action, field };
        Ok(match action {
            ActionType::Discard => Self::Discard,
            ActionType::Rtbh => Self::Rtbh,
            ActionType::Police => match (fields.rate_bps, fields.rate_pps) {
                (_, Some(rate_pps)) => Self::PolicePackets { rate_pps },
                (Some(rate_bps), None) => Self::Police { rate_bps },
                (None, None) => return Err(missing("rate_bps")),
            },
            ActionType::RedirectVrf => Self::RedirectVrf {
                route_target: fields.route_target.ok_or_else(|| missing("route_target"))?,
            },
            ActionType::RedirectIp => Self::RedirectIp {
                next_hop: fields.next_hop.ok_or_else(|| missing("next_hop"))?,
                copy: fields.copy,
            },
            ActionType::Mark => Self::Mark {
                dscp: fields.dscp.ok_or_else(|| missing("dscp"))?,
            },
        })
    }
}

impl From<Action> for ActionFields {
    fn from(action: Action) -> Self {
        let none = Self::of(action.kind());
        match action {
            Action::Discard | Action::Rtbh => none,
            Action::Police { rate_bps } => Self {
                rate_bps: Some(rate_bps),
                ..none
            },
            Action::PolicePackets { rate_pps } => Self {
                rate_pps: Some(rate_pps),
                ..none
            },
            Action::RedirectVrf { route_target } => Self {
                route_target: Some(route_target),
                ..none
            },
            Action::RedirectIp { next_hop, copy } => Self {
                next_hop: Some(next_hop),
                copy,
                ..none
            },
            Action::Mark { dscp } => Self {
                dscp: Some(dscp),
                ..none
            },
        }
    }
}

const UNITS: [(&str, u64); 5] = [
    ("Tbit/s", 1_000_000_000_000),
    ("Gbit/s", 1_000_000_000),
    ("Mbit/s", 1_000_000),
    ("kbit/s", 1_000),
    ("bit/s", 1),
];

/// In the largest unit that shows the rate with two decimals and without a loss.
struct Exact(u64);

impl fmt::Display for Exact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = u128::from(self.0);
        for (unit, size) in UNITS {
            let size = u128::from(size);
            if rate >= size && (rate * 100).is_multiple_of(size) {
                let (whole, hundredths) = (rate / size, rate % size * 100 / size);
                return match hundredths {
                    0 => write!(f, "{whole} {unit}"),
                    h if h % 10 == 0 => write!(f, "{whole}.{} {unit}", h / 10),
                    h => write!(f, "{whole}.{h:02} {unit}"),
                };
            }
        }
        write!(f, "{rate} bit/s")
    }
}

fn bits(number: &str, unit: &str) -> Option<BitsPerSecond> {
    let size = UNITS.iter().find(|(name, _)| *name == unit)?.1;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if fraction.is_empty() || fraction.len() > 2 || !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let hundredths: u64 = format!("{fraction:0<2}").parse().ok()?;
    let part = size * hundredths;
    if !part.is_multiple_of(100) {
        return None;
    }
    let whole = whole.parse::<u64>().ok()?.checked_mul(size)?;
    whole.checked_add(part / 100).map(BitsPerSecond)
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Discard => f.write_str("discard"),
            Self::Rtbh => f.write_str("rtbh"),
            Self::Police { rate_bps } => write!(f, "police {}", Exact(rate_bps.0)),
            Self::PolicePackets { rate_pps } => write!(f, "police {rate_pps} packets/s"),
            Self::RedirectVrf { route_target } => write!(f, "redirect vrf {route_target}"),
            Self::RedirectIp { next_hop, copy } => {
                write!(f, "redirect to {next_hop}{}", if *copy { " copy" } else { "" })
            }
            Self::Mark { dscp } => write!(f, "mark {dscp}"),
        }
    }
}

impl FromStr for Action {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let parsed = match words.as_slice() {
            ["discard"] => Some(Self::Discard),
            ["rtbh"] => Some(Self::Rtbh),
            ["police", number, "packets/s"] => number
                .parse()
                .ok()
                .map(|rate_pps| Self::PolicePackets { rate_pps }),
            ["police", number, unit] => bits(number, unit).map(|rate_bps| Self::Police { rate_bps }),
            ["redirect", "vrf", target] => {
                return target
                    .parse()
                    .map(|route_target| Self::RedirectVrf { route_target });
            }
            ["redirect", "to", address] => address.parse().ok().map(|next_hop| Self::RedirectIp {
                next_hop,
                copy: false,
            }),
            ["redirect", "to", address, "copy"] => address
                .parse()
                .ok()
                .map(|next_hop| Self::RedirectIp { next_hop, copy: true }),
            ["mark", dscp] => dscp.parse().ok().map(|dscp| Self::Mark { dscp }),
            _ => None,
        };
        parsed.ok_or_else(|| {
            format!("{text:?} is no action such as discard, police 5 Mbit/s, police 1000 packets/s, redirect vrf 65010:100, redirect to 192.0.2.9, redirect to 192.0.2.9 copy, mark 46, rtbh")
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn any_action() -> impl Strategy<Value = Action> {
        let target = prop_oneof![
            (any::<u16>(), any::<u32>()).prop_map(|(asn, value)| RouteTarget::As2 { asn, value }),
            (65_536_u32.., any::<u16>()).prop_map(|(asn, value)| RouteTarget::As4 { asn, value }),
            (any::<u32>(), any::<u16>()).prop_map(|(bits, value)| RouteTarget::Ipv4 {
                address: bits.into(),
                value
            }),
        ];
        prop_oneof![
            Just(Action::Discard),
            Just(Action::Rtbh),
            any::<u64>().prop_map(|bits| Action::Police {
                rate_bps: BitsPerSecond(bits)
            }),
            (0..2000_u64, 0..5_usize).prop_map(|(n, unit)| Action::Police {
                rate_bps: BitsPerSecond(n * UNITS[unit].1 / 100)
            }),
            any::<u64>().prop_map(|rate_pps| Action::PolicePackets { rate_pps }),
            target.prop_map(|route_target| Action::RedirectVrf { route_target }),
            (any::<IpAddr>(), any::<bool>())
                .prop_map(|(next_hop, copy)| Action::RedirectIp { next_hop, copy }),
            (0..64_u8).prop_map(|dscp| Action::Mark {
                dscp: Dscp::try_from(dscp).unwrap()
            }),
        ]
    }

    proptest! {
        #[test]
        fn an_action_comes_back_from_its_text_and_from_json(action in any_action()) {
            prop_assert_eq!(action.to_string().parse::<Action>(), Ok(action));
            let json = serde_json::to_string(&action).unwrap();
            prop_assert_eq!(serde_json::from_str::<Action>(&json).unwrap(), action);
        }

        #[test]
        fn of_two_actions_at_most_one_is_stricter(a in any_action(), b in any_action(), c in any_action()) {
            prop_assert!(!(a.is_stricter_than(b) && b.is_stricter_than(a)));
            prop_assert!(!a.is_stricter_than(a));
            if a.is_stricter_than(b) && b.is_stricter_than(c) {
                prop_assert!(a.is_stricter_than(c));
            }
        }
    }

    #[test]
    fn what_version_0_1_stored_reads_and_writes_the_same() {
        for (stored, action) in [
            (r#"{"action_type":"discard"}"#, Action::Discard),
            (r#"{"action_type":"rtbh"}"#, Action::Rtbh),
            (
                r#"{"action_type":"police","rate_bps":5000000}"#,
                Action::Police {
                    rate_bps: BitsPerSecond(5_000_000),
                },
            ),
        ] {
            assert_eq!(serde_json::from_str::<Action>(stored).unwrap(), action);
            assert_eq!(serde_json::to_string(&action).unwrap(), stored);
        }
    }

    #[test]
    fn fields_must_belong_to_the_kind_and_be_there() {
        for (json, words) in [
            (r#"{"action_type":"police"}"#, "police needs rate_bps"),
            (
                r#"{"action_type":"discard","rate_bps":1}"#,
                "rate_bps does not belong to discard",
            ),
            (
                r#"{"action_type":"police","rate_bps":1,"rate_pps":1}"#,
                "beside rate_bps",
            ),
            (r#"{"action_type":"redirect_vrf"}"#, "needs route_target"),
            (
                r#"{"action_type":"redirect_vrf","route_target":"4200000000:70000"}"#,
                "no route target",
            ),
            (r#"{"action_type":"mark","dscp":64}"#, "no DSCP"),
            (
                r#"{"action_type":"mark","dscp":1,"copy":true}"#,
                "copy does not belong to mark",
            ),
        ] {
            let error = serde_json::from_str::<Action>(json).unwrap_err().to_string();
            assert!(error.contains(words), "{json}: {error}");
        }
        for text in [
            "",
            "accept",
            "police",
            "police 1",
            "police 1.005 kbit/s",
            "police 0.001 bit/s",
            "mark 64",
            "redirect to x",
        ] {
            assert!(text.parse::<Action>().is_err(), "{text:?}");
        }
    }
}
