//! The text form of a match, for people and tickets.

use super::{Fragment, Match, TcpFlags, protocol};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;

/// The flags of byte 13 of the TCP header, lowest bit first (RFC 9293 section 3.1).
const TCP_FLAG_NAMES: [(&str, u8); 8] = [
    ("fin", 0x01),
    ("syn", 0x02),
    ("rst", 0x04),
    ("psh", 0x08),
    ("ack", 0x10),
    ("urg", 0x20),
    ("ece", 0x40),
    ("cwr", 0x80),
];

pub(super) fn protocol_name(number: u8) -> Option<&'static str> {
    match number {
        protocol::ICMP => Some("icmp"),
        protocol::TCP => Some("tcp"),
        protocol::UDP => Some("udp"),
        protocol::GRE => Some("gre"),
        protocol::ICMPV6 => Some("icmpv6"),
        _ => None,
    }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dst {}", self.dst_prefix)?;
        for (index, number) in self.protocols.iter().enumerate() {
            f.write_str(if index == 0 { " proto " } else { "," })?;
            match protocol_name(*number) {
                Some(name) => f.write_str(name)?,
                None => write!(f, "{number}")?,
            }
        }
        if !self.dst_ports.is_empty() {
            write!(f, " dport {}", self.dst_ports)?;
        }
        if !self.src_ports.is_empty() {
            write!(f, " sport {}", self.src_ports)?;
        }
        for (index, number) in self.icmp_types.iter().enumerate() {
            write!(f, "{}{number}", if index == 0 { " icmp-type " } else { "," })?;
        }
        if let Some(flags) = self.tcp_flags {
            write!(f, " tcp-flags {flags}")?;
        }
        if !self.packet_lengths.is_empty() {
            write!(f, " length {}", self.packet_lengths)?;
        }
        match self.fragment {
            Some(Fragment::IsFragment) => f.write_str(" fragment is-fragment"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for TcpFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (prefix, bits) in [("", self.set), ("!", self.clear)] {
            for (name, _) in TCP_FLAG_NAMES.iter().filter(|(_, bit)| bits & bit != 0) {
                write!(f, "{separator}{prefix}{name}")?;
                separator = "&";
            }
        }
        Ok(())
    }
}

/// The text names no flag that exists, or one both set and clear.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a list of TCP flags such as syn&!ack (fin, syn, rst, psh, ack, urg, ece, cwr)")]
pub struct TcpFlagsError(String);

impl FromStr for TcpFlags {
    type Err = TcpFlagsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || TcpFlagsError(text.to_owned());
        let mut flags = Self { set: 0, clear: 0 };
        for part in text.split('&') {
            let (bits, name) = match part.strip_prefix('!') {
                Some(name) => (&mut flags.clear, name),
                None => (&mut flags.set, part),
            };
            *bits |= TCP_FLAG_NAMES
                .iter()
                .find(|(known, _)| *known == name)
                .ok_or_else(refused)?
                .1;
        }
        if flags.set & flags.clear != 0 {
            return Err(refused());
        }
        Ok(flags)
    }
}

impl Serialize for TcpFlags {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TcpFlags {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<'de, str>::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Action, Rule};
    use super::*;
    use crate::rate::BitsPerSecond;

    #[test]
    fn a_rule_reads_as_one_line() {
        let rule = Rule {
            matches: Match {
                protocols: [protocol::TCP].into(),
                dst_ports: [80, 443].into_iter().collect(),
                tcp_flags: Some("syn&!ack".parse().unwrap()),
                ..Match::destination("203.0.113.10/32".parse().unwrap())
            },
            action: Action::Police {
                rate_bps: BitsPerSecond(5_000_000),
            },
        };
        assert_eq!(
            rule.to_string(),
            "dst 203.0.113.10/32 proto tcp dport 80,443 tcp-flags syn&!ack then police 5 Mbit/s"
        );
        let json = serde_json::to_value(&rule).unwrap();
        assert_eq!(json["match"]["dst_ports"], serde_json::json!(["80", "443"]));
        assert_eq!(json["action_type"], "police");
        assert_eq!(serde_json::from_value::<Rule>(json).unwrap(), rule);
    }

    #[test]
    fn contradicting_or_unknown_flags_are_refused() {
        for text in ["", "syn&!syn", "sin", "syn&"] {
            assert!(text.parse::<TcpFlags>().is_err(), "{text:?}");
        }
    }
}
