//! Prefixes as people write them.
//!
//! `::ffff:192.0.2.0/120` means 192.0.2.0/24: compared as IPv6 it would match no packet and no victim, and what
//! it should protect would not be protected.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{IpAddr, Ipv6Addr};

/// The IPv4-mapped addresses, ::ffff:0:0/96 (RFC 4291 section 2.5.5.2).
const MAPPED: (Ipv6Addr, u8) = (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96);

/// Why a text is no prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither a prefix such as 192.0.2.0/24 nor an address")]
pub struct PrefixError(pub String);

/// A prefix, or an address as its host prefix. IPv4-mapped IPv6 becomes IPv4. Host bits stay for the caller to
/// judge.
///
/// # Errors
/// When it is neither.
pub fn parse(text: &str) -> Result<IpNet, PrefixError> {
    let address = text.parse::<IpAddr>().map(IpNet::from);
    address
        .or_else(|_| text.parse::<IpNet>())
        .map(canonical)
        .map_err(|_| PrefixError(text.to_owned()))
}

/// As people write it: a host prefix is an address.
#[must_use]
pub fn show(prefix: IpNet) -> String {
    if prefix.prefix_len() == prefix.max_prefix_len() {
        prefix.addr().to_string()
    } else {
        prefix.to_string()
    }
}

fn canonical(prefix: IpNet) -> IpNet {
    let IpNet::V6(v6) = prefix else { return prefix };
    let length = v6.prefix_len().checked_sub(MAPPED.1);
    let mapped = length.zip(v6.addr().to_ipv4_mapped());
    let v4 = mapped.and_then(|(length, address)| Ipv4Net::new(address, length).ok());
    v4.map_or(prefix, IpNet::V4)
}

/// What is said of a prefix that [`covers_mapped`] where it should protect.
pub const COVERS_MAPPED: &str = "holds all IPv4-mapped addresses, but IPv4 would not be protected by it: write the IPv4 prefixes themselves";

/// Whether a prefix holds all IPv4-mapped addresses: whoever writes that may mean IPv4, which it would not match.
#[must_use]
pub fn covers_mapped(prefix: &IpNet) -> bool {
    let mapped = Ipv6Net::new(MAPPED.0, MAPPED.1).ok();
    match (prefix, mapped) {
        (IpNet::V6(v6), Some(mapped)) => v6.contains(&mapped),
        _ => false,
    }
}

/// For requests: what [`parse`] takes, without host bits, which could mean an address as well as the whole prefix.
pub(crate) fn deserialize_exact<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<IpNet>, D::Error> {
    let text: Option<std::borrow::Cow<'de, str>> = serde::Deserialize::deserialize(deserializer)?;
    let Some(text) = text else { return Ok(None) };
    let prefix = parse(&text).map_err(serde::de::Error::custom)?;
    let meant = prefix.trunc();
    if prefix == meant {
        Ok(Some(prefix))
    } else {
        Err(serde::de::Error::custom(format_args!(
            "{text} has host bits set; did you mean {meant}?"
        )))
    }
}

/// For documents: a list of what [`parse`] takes.
#[cfg(feature = "config")]
pub(crate) fn deserialize_list<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<IpNet>, D::Error> {
    struct Written(IpNet);

    impl<'de> serde::Deserialize<'de> for Written {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
            parse(&text).map(Self).map_err(serde::de::Error::custom)
        }
    }

    let written = <Vec<Written> as serde::Deserialize>::deserialize(deserializer)?;
    Ok(written.into_iter().map(|Written(prefix)| prefix).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_prefixes_are_ipv4() {
        for (written, meant) in [
            ("::ffff:203.0.113.0/120", "203.0.113.0/24"),
            ("::ffff:203.0.113.9", "203.0.113.9/32"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("203.0.113.0/24", "203.0.113.0/24"),
            ("203.0.113.9", "203.0.113.9/32"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("2001:db8::1", "2001:db8::1/128"),
            ("::1:ffff:203.0.113.0/120", "::1:ffff:cb00:7100/120"),
        ] {
            assert_eq!(
                parse(written).unwrap(),
                meant.parse::<IpNet>().unwrap(),
                "{written}"
            );
        }
        for text in ["", "a", "203.0.113.0/33", "203.0.113.0/-1"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_holds_the_mapped_addresses_is_known() {
        for (text, covers) in [
            ("::ffff:0:0/95", true),
            ("::/8", true),
            ("::/0", true),
            ("2000::/3", false),
            ("0.0.0.0/0", false),
        ] {
            assert_eq!(covers_mapped(&parse(text).unwrap()), covers, "{text}");
        }
    }
}
