//! Prefixes that no rule may touch. A rule is refused when its destination *overlaps* an entry, covering it or
//! covered by it.

use super::state::State;
use imbl::OrdMap;
use ipnet::IpNet;
use prefix_trie::joint::JointPrefixMap;
use prefixd_api::resource::SafelistEntry;
use prefixd_api::time::Timestamp;
use std::net::IpAddr;
use std::sync::Arc;

/// Entries of the configuration, implicit ones included.
#[derive(Debug, Default)]
pub(super) struct FixedSafelist(JointPrefixMap<IpNet, SafelistEntry>);

impl FixedSafelist {
    /// Keeps the first entry of a prefix: implicit ones are added first, and cannot be hidden by others.
    pub(super) fn add(&mut self, entry: SafelistEntry) {
        if self.0.get(&entry.prefix).is_none() {
            self.0.insert(entry.prefix, entry);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &SafelistEntry> {
        self.0.iter().map(|(_, entry)| entry)
    }

    pub(super) fn get(&self, prefix: &IpNet) -> Option<&SafelistEntry> {
        self.0.get(prefix)
    }

    fn overlapping(&self, prefix: &IpNet) -> Option<&SafelistEntry> {
        self.0
            .get_lpm(prefix)
            .or_else(|| self.0.children(prefix).next())
            .map(|(_, entry)| entry)
    }
}

/// An entry that overlaps `prefix`, if there is one that counts at `now`.
pub(super) fn find<'a>(
    fixed: &'a FixedSafelist,
    state: &'a State,
    prefix: IpNet,
    now: Timestamp,
) -> Option<&'a SafelistEntry> {
    fixed
        .overlapping(&prefix)
        .or_else(|| added(&state.safelist, prefix, now))
}

/// Entries are sorted by address, then length. So the nearest entry at or before a prefix either covers it, or
/// shows how far up the next one that could cover it must be: where the two part.
fn added(
    entries: &OrdMap<IpNet, Arc<SafelistEntry>>,
    prefix: IpNet,
    now: Timestamp,
) -> Option<&SafelistEntry> {
    let counts = |entry: &&Arc<SafelistEntry>| !entry.is_over(now);
    let last = IpNet::new(prefix.broadcast(), prefix.max_prefix_len()).ok()?;
    let inside = entries.range(prefix..=last).map(|(_, entry)| entry).find(counts);
    if let Some(entry) = inside {
        return Some(entry);
    }
    let mut above = prefix.supernet();
    while let Some(upper) = above {
        let (found, entry) = entries.get_prev(&upper)?;
        above = if !found.contains(&prefix) {
            common_ancestor(*found, prefix)
        } else if counts(&entry) {
            return Some(entry);
        } else {
            found.supernet()
        };
    }
    None
}

/// The longest prefix that holds both; none when they are of two families.
fn common_ancestor(a: IpNet, b: IpNet) -> Option<IpNet> {
    let shared = match (a.network(), b.network()) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        _ => return None,
    };
    let length = u8::try_from(shared).ok()?.min(a.prefix_len()).min(b.prefix_len());
    IpNet::new(b.network(), length).ok().map(|net| net.trunc())
}

#[cfg(test)]
mod tests {
    use super::*;
    use prefixd_api::resource::SafelistOrigin;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    fn net(address: u32, length: u8) -> IpNet {
        IpNet::new(Ipv4Addr::from(address).into(), length)
            .unwrap()
            .trunc()
    }

    fn entry(prefix: IpNet, expires_at: Option<Timestamp>) -> SafelistEntry {
        SafelistEntry {
            prefix,
            reason: String::new(),
            origin: SafelistOrigin::Api,
            created_by: None,
            created_at: None,
            expires_at,
        }
    }

    proptest! {
        /// Few address bits, so that entries nest and touch.
        #[test]
        fn the_search_agrees_with_comparing_every_entry(
            entries in prop::collection::vec((0u32..64, 24u8..=32, prop::option::of(0i64..10)), 0..12),
            (address, length) in (0u32..64, 24u8..=32),
        ) {
            let now = Timestamp::from_micros(5);
            let prefix = net(address, length);
            let mut map = OrdMap::new();
            let mut fixed = FixedSafelist::default();
            for (address, length, expires) in entries {
                let prefix = net(address, length);
                map.insert(prefix, Arc::new(entry(prefix, expires.map(Timestamp::from_micros))));
                fixed.add(entry(prefix, None));
            }
            let overlaps = |other: &IpNet| other.contains(&prefix) || prefix.contains(other);
            let expected = map.iter().any(|(other, entry)| {
                overlaps(other) && entry.expires_at.is_none_or(|at| at > now)
            });
            prop_assert_eq!(added(&map, prefix, now).is_some(), expected);
            prop_assert_eq!(fixed.overlapping(&prefix).is_some(), map.keys().any(overlaps));
        }
    }
}
