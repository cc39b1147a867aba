//! A live match only widens: new rules never let through what the old ones took.

use super::ports::join;
use super::templates::MAX_RULES;
use prefixd_api::rule::{Match, Ranges, Rule};
use std::collections::BTreeSet;

/// `new` with what `old` took and `new` does not.
pub(super) fn widen(old: &[Rule], new: Vec<Rule>, max_ports: usize) -> Vec<Rule> {
    let mut rules = new;
    for kept in old {
        if rules.iter().any(|rule| takes_all_of(rule, kept)) {
            continue;
        }
        let alike = rules
            .iter()
            .position(|rule| rule.action == kept.action && is_same_but_ports(&rule.matches, &kept.matches));
        let joined = alike.and_then(|index| {
            let ports = rules[index].matches.dst_ports.union(&kept.matches.dst_ports);
            join(&ports, &Ranges::default(), max_ports).map(|ports| (index, ports))
        });
        match joined {
            Some((index, ports)) => rules[index].matches.dst_ports = ports,
            None if rules.len() < MAX_RULES => rules.push(kept.clone()),
            // There is no room for more rules: those there are stay.
            None => return old.to_vec(),
        }
    }
    rules
}

/// Whether `rule` lets through no more of what `other` takes than `other` does.
fn takes_all_of(rule: &Rule, other: &Rule) -> bool {
    covers(&rule.matches, &other.matches) && !other.action.is_stricter_than(rule.action)
}

/// Whether everything `narrow` matches is matched by `wide`.
pub(super) fn covers(wide: &Match, narrow: &Match) -> bool {
    let set = |wide: &BTreeSet<u8>, narrow: &BTreeSet<u8>| {
        wide.is_empty() || (!narrow.is_empty() && narrow.is_subset(wide))
    };
    let ranges = |wide: &Ranges, narrow: &Ranges| {
        wide.is_empty() || (!narrow.is_empty() && narrow.minus(wide).is_empty())
    };
    let flags = match (wide.tcp_flags, narrow.tcp_flags) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(wide), Some(narrow)) => wide.set & !narrow.set == 0 && wide.clear & !narrow.clear == 0,
    };
    wide.dst_prefix.contains(&narrow.dst_prefix)
        && set(&wide.protocols, &narrow.protocols)
        && ranges(&wide.dst_ports, &narrow.dst_ports)
        && ranges(&wide.src_ports, &narrow.src_ports)
        && set(&wide.icmp_types, &narrow.icmp_types)
        && flags
        && ranges(&wide.packet_lengths, &narrow.packet_lengths)
        && (wide.fragment.is_none() || wide.fragment == narrow.fragment)
}

/// Two matches on destination ports that differ in nothing else.
fn is_same_but_ports(a: &Match, b: &Match) -> bool {
    !a.dst_ports.is_empty()
        && !b.dst_ports.is_empty()
        && a.dst_prefix == b.dst_prefix
        && a.protocols == b.protocols
        && a.src_ports == b.src_ports
        && a.icmp_types == b.icmp_types
        && a.tcp_flags == b.tcp_flags
        && a.packet_lengths == b.packet_lengths
        && a.fragment == b.fragment
}
