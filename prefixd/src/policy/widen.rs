//! A live match only widens: new rules never let through what the old ones took.

use super::playbooks::OnAllowedPort;
use super::ports::{Fit, fit};
use super::templates::MAX_RULES;
use prefixd_api::rule::{Action, ActionType, Bits, Match, Ranges, Rule, Set};

/// What widened rules must fit into.
#[derive(Clone, Debug)]
pub(super) struct Bounds {
    /// Terms a rule may have.
    pub(super) max_ports: usize,
    /// Ports of the service: no range is closed over them.
    pub(super) allowed: Ranges,
    /// Whether a rule on the whole protocol may take them.
    pub(super) on_allowed_port: OnAllowedPort,
    /// What becomes of a port that there is no rule left to discard.
    pub(super) police: Action,
}

/// `new` with what `old` took and `new` does not.
///
/// A router takes the first rule that matches, and of two rules that differ in nothing but ports that is the one
/// whose list is encoded lower (RFC 8955 section 5.1), whatever its action. So such rules never overlap with
/// different actions: the stricter one keeps the port.
pub(super) fn widen(old: &[Rule], new: Vec<Rule>, bounds: &Bounds) -> Vec<Rule> {
    keep_all(old, &new, bounds).unwrap_or_else(|| add_what_fits(old, new, bounds))
}

/// `new` and what it lacks of `old`. None when that would take too many rules.
fn keep_all(old: &[Rule], new: &[Rule], bounds: &Bounds) -> Option<Vec<Rule>> {
    let mut rules = new.to_vec();
    for kept in old {
        if rules.iter().any(|rule| takes_all_of(rule, kept)) {
            continue;
        }
        rules.retain(|rule| !takes_all_of(kept, rule));
        if kept.matches.dst_ports.is_empty() {
            if rules.len() >= MAX_RULES {
                return None;
            }
            rules.push(kept.clone());
        } else {
            let left = part(kept, &mut rules, bounds);
            place(&left, &kept.matches, kept.action, &mut rules, bounds)?;
        }
    }
    Some(rules)
}

/// `old`, with the ports that are new policed: one rule holds them all, as ranges.
fn add_what_fits(old: &[Rule], new: Vec<Rule>, bounds: &Bounds) -> Vec<Rule> {
    let mut rules = old.to_vec();
    for rule in new {
        if rules.iter().any(|kept| takes_all_of(kept, &rule)) {
            continue;
        }
        let taken = rules
            .iter()
            .filter(|kept| is_same_but_ports(&kept.matches, &rule.matches))
            .fold(Ranges::default(), |all, kept| all.union(&kept.matches.dst_ports));
        let left = rule.matches.dst_ports.minus(&taken);
        // Where not even that finds room, those there are stay.
        let _ = place(&left, &rule.matches, bounds.police, &mut rules, bounds);
    }
    rules
}

/// Police rules that differ in ports alone as one, because each would let the whole rate through. The ports that no rule
/// keeps out, when it takes one that reaches them and none may.
pub(super) fn police_as_one(kept: &[Rule], bounds: &Bounds) -> Result<Vec<Rule>, Ranges> {
    let mut rules: Vec<Rule> = Vec::with_capacity(kept.len());
    for rule in kept {
        let is_one_of_them = rule.action.kind() == ActionType::Police;
        if is_one_of_them && rules.iter().any(|other| takes_all_of(other, rule)) {
            continue;
        }
        let (alike, others): (Vec<&Rule>, Vec<&Rule>) = kept
            .iter()
            .filter(|other| is_same_but_ports(&other.matches, &rule.matches))
            .partition(|other| other.action == rule.action);
        if !is_one_of_them || alike.len() < 2 {
            rules.push(rule.clone());
            continue;
        }
        let ports = |of: &[&Rule]| {
            of.iter()
                .fold(Ranges::default(), |all, rule| all.union(&rule.matches.dst_ports))
        };
        let keep_out = Bounds {
            allowed: bounds.allowed.union(&ports(&others)),
            ..bounds.clone()
        };
        place(&ports(&alike), &rule.matches, rule.action, &mut rules, &keep_out)
            .ok_or_else(|| bounds.allowed.clone())?;
    }
    Ok(rules)
}

/// Takes apart `kept` and the rules that differ from it in ports and action: each port goes to the strictest. What
/// is left of `kept`.
fn part(kept: &Rule, rules: &mut Vec<Rule>, bounds: &Bounds) -> Ranges {
    let own = &kept.matches.dst_ports;
    let mut left = own.clone();
    let mut milder = Vec::new();
    rules.retain(|rule| {
        if !is_same_but_ports(&rule.matches, &kept.matches) || rule.action == kept.action {
            return true;
        }
        if rule.action.is_stricter_than(kept.action) {
            left = left.minus(&rule.matches.dst_ports);
            return true;
        }
        let is_apart = rule.matches.dst_ports.minus(own) == rule.matches.dst_ports;
        if !is_apart {
            milder.push(rule.clone());
        }
        is_apart
    });
    for rule in milder {
        let ports = rule.matches.dst_ports.minus(own);
        let mut keep = bounds.clone();
        keep.allowed = keep.allowed.union(own);
        // Milder than another is not a discard. Without room the ports are left to whoever has them.
        let _ = place(&ports, &rule.matches, rule.action, rules, &keep);
    }
    left
}

/// Adds `ports` to the rules of this shape and action. None when there is no room.
fn place(
    ports: &Ranges,
    shape: &Match,
    action: Action,
    rules: &mut Vec<Rule>,
    bounds: &Bounds,
) -> Option<()> {
    if ports.is_empty() {
        return Some(());
    }
    let mut wanted = ports.clone();
    let mut keep_out = bounds.allowed.clone();
    let (mut index, mut others) = (None, Vec::with_capacity(rules.len() + 1));
    for rule in rules.iter() {
        let is_alike = is_same_but_ports(&rule.matches, shape);
        if is_alike && rule.action == action {
            index = index.or(Some(others.len()));
            wanted = wanted.union(&rule.matches.dst_ports);
            continue;
        }
        if is_alike {
            keep_out = keep_out.union(&rule.matches.dst_ports);
        }
        others.push(rule.clone());
    }
    let room = MAX_RULES.checked_sub(others.len()).filter(|room| *room > 0)?;
    let parts = match fit(action, &wanted, &keep_out.minus(&wanted), bounds.max_ports, room)? {
        Fit::Whole => vec![wanted.or_any()],
        Fit::Split(parts) => parts,
        Fit::Joined(joined) => vec![joined],
        Fit::Protocol if bounds.on_allowed_port == OnAllowedPort::Skip && !bounds.allowed.is_empty() => {
            return None;
        }
        Fit::Protocol => vec![Ranges::default()],
    };
    let at = index.unwrap_or(others.len());
    let placed = parts.into_iter().map(|dst_ports| {
        Rule::new(
            Match {
                dst_ports,
                ..shape.clone()
            },
            action,
        )
    });
    let placed: Vec<Rule> = placed.filter(|rule| !others.contains(rule)).collect();
    others.splice(at..at, placed);
    *rules = others;
    Some(())
}

/// Whether `rule` lets through no more of what `other` takes than `other` does.
fn takes_all_of(rule: &Rule, other: &Rule) -> bool {
    let at_least = rule.action == other.action || rule.action.is_stricter_than(other.action);
    // A blackhole is in another table, which not every router has: no rule goes because of it.
    let same_table = (rule.action == Action::Rtbh) == (other.action == Action::Rtbh);
    same_table && covers(&rule.matches, &other.matches) && at_least
}

/// Whether everything `narrow` matches is matched by `wide`.
pub(crate) fn covers(wide: &Match, narrow: &Match) -> bool {
    let ranges = |wide: &Ranges, narrow: &Ranges| {
        wide.is_empty() || (!narrow.is_empty() && narrow.minus(wide).is_empty())
    };
    wide.dst_prefix.contains(&narrow.dst_prefix)
        && wide
            .source()
            .is_none_or(|wide| narrow.source().is_some_and(|narrow| wide.contains(&narrow)))
        && set(&wide.protocols, &narrow.protocols)
        && ranges(&wide.ports, &narrow.ports)
        && ranges(&wide.dst_ports, &narrow.dst_ports)
        && ranges(&wide.src_ports, &narrow.src_ports)
        && set(&wide.icmp_types, &narrow.icmp_types)
        && set(&wide.icmp_codes, &narrow.icmp_codes)
        && bits(wide.tcp_flags.as_ref(), narrow.tcp_flags.as_ref())
        && set(&wide.dscp, &narrow.dscp)
        && ranges(&wide.packet_lengths, &narrow.packet_lengths)
        && bits(wide.fragment.as_ref(), narrow.fragment.as_ref())
        && (wide.flow_labels.is_empty()
            || (!narrow.flow_labels.is_empty() && wide.flow_labels.covers(&narrow.flow_labels)))
}

fn set<T: Ord>(wide: &Set<T>, narrow: &Set<T>) -> bool {
    wide.is_empty() || (!narrow.is_empty() && narrow.is_subset(wide))
}

fn bits<F>(wide: Option<&Bits<F>>, narrow: Option<&Bits<F>>) -> bool {
    wide.is_none_or(|wide| narrow.is_some_and(|narrow| wide.covers(narrow)))
}

/// Two matches on destination ports that differ in nothing else.
pub(crate) fn is_same_but_ports(a: &Match, b: &Match) -> bool {
    !a.dst_ports.is_empty()
        && !b.dst_ports.is_empty()
        && a.dst_prefix == b.dst_prefix
        && a.src_prefix == b.src_prefix
        && a.protocols == b.protocols
        && a.ports == b.ports
        && a.src_ports == b.src_ports
        && a.icmp_types == b.icmp_types
        && a.icmp_codes == b.icmp_codes
        && a.tcp_flags == b.tcp_flags
        && a.packet_lengths == b.packet_lengths
        && a.dscp == b.dscp
        && a.fragment == b.fragment
        && a.flow_labels == b.flow_labels
}

#[cfg(test)]
mod tests {
    use super::*;
    use prefixd_api::rate::BitsPerSecond;
    use prefixd_api::rule::protocol;
    use proptest::prelude::*;

    const POLICE: Action = Action::Police {
        rate_bps: BitsPerSecond(5_000_000),
    };

    fn rule(ports: &[u16], action: Action) -> Rule {
        let matches = Match {
            protocols: [protocol::UDP].into(),
            dst_ports: ports.iter().copied().collect(),
            ..Match::destination("203.0.113.1/32".parse().unwrap())
        };
        Rule::new(matches, action)
    }

    proptest! {
        /// Whatever was split, no port leaves, none of the service comes, and the rate is let through once.
        #[test]
        fn a_rate_is_let_through_once(of in prop::collection::vec(prop::collection::btree_set(1u16..80, 1..6), 1..6),
                                      allowed in prop::collection::btree_set(1u16..80, 0..4),
                                      discarded in prop::collection::btree_set(80u16..90, 0..3),
                                      max_ports in 1usize..6, skip in any::<bool>()) {
            let allowed: Ranges = allowed.into_iter().collect();
            let parts: Vec<Vec<u16>> = of.into_iter()
                .map(|part| part.into_iter().filter(|port| !allowed.contains(*port)).collect())
                .filter(|part: &Vec<u16>| !part.is_empty()).collect();
            let mut kept: Vec<Rule> = parts.iter().map(|part| rule(part, POLICE)).collect();
            if !discarded.is_empty() {
                kept.push(rule(&discarded.into_iter().collect::<Vec<_>>(), Action::Discard));
            }
            let on_allowed_port = if skip { OnAllowedPort::Skip } else { OnAllowedPort::Police };
            let bounds = Bounds { max_ports, allowed: allowed.clone(), on_allowed_port, police: POLICE };
            let Ok(one) = police_as_one(&kept, &bounds) else {
                prop_assert!(skip);
                return Ok(());
            };
            let polices: Vec<&Rule> = one.iter().filter(|rule| rule.action == POLICE).collect();
            prop_assert_eq!(polices.len(), usize::from(!parts.is_empty()));
            for rule in &kept {
                prop_assert!(one.iter().any(|other| takes_all_of(other, rule)), "{rule} is lost in {one:?}");
            }
            if skip {
                prop_assert!(polices.iter().all(|rule| allowed.minus(&rule.matches.dst_ports) == allowed));
            }
        }
    }
}
