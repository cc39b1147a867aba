//! Whether two matches have a packet in common.
//!
//! What a packet does not have no component finds: ports are of TCP and UDP, flags of TCP, types of ICMP, and none of them
//! is in a fragment but the first (RFC 8955 section 4.2.2).

use super::{Bits, Match, Ranges, Set, protocol};
use ipnet::IpNet;

/// What can be said of a packet by its place in a fragmented datagram: whole, the first, one between, the last; each with
/// and without "don't fragment".
const PLACES: [u16; 8] = [0x00, 0x01, 0x04, 0x05, 0x02, 0x03, 0x0a, 0x0b];
/// A fragment but the first.
const IS_FRAGMENT: u16 = 0x02;

impl Match {
    /// Whether some packet is matched by both.
    #[must_use]
    pub fn meets(&self, other: &Self) -> bool {
        let both = [self, other];
        touch(Some(self.dst_prefix), Some(other.dst_prefix))
            && touch(self.source(), other.source())
            && ranges(&self.packet_lengths, &other.packet_lengths)
            && sets(&self.dscp, &other.dscp)
            && labels(self, other)
            && has_protocol(both)
            && sets(&self.icmp_types, &other.icmp_types)
            && sets(&self.icmp_codes, &other.icmp_codes)
            && bits(self.tcp_flags.as_ref(), other.tcp_flags.as_ref())
            && has_ports(both)
            && has_place(both)
    }

    /// Whether it asks for what only the beginning of a datagram has.
    fn asks_first(&self) -> bool {
        self.has_ports()
            || !self.icmp_types.is_empty()
            || !self.icmp_codes.is_empty()
            || self.tcp_flags.is_some()
    }
}

fn touch(one: Option<IpNet>, other: Option<IpNet>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.contains(&other) || other.contains(&one),
        (None, _) | (_, None) => true,
    }
}

fn sets<T: Ord>(one: &Set<T>, other: &Set<T>) -> bool {
    one.is_empty() || other.is_empty() || !one.is_disjoint(other)
}

/// What is in both; nothing said is any.
fn common(one: &Ranges, other: &Ranges) -> Option<Ranges> {
    if one.is_empty() {
        return Some(other.clone());
    }
    if other.is_empty() {
        return Some(one.clone());
    }
    let common = one.minus(&one.minus(other));
    (!common.is_empty()).then_some(common)
}

fn ranges(one: &Ranges, other: &Ranges) -> bool {
    common(one, other).is_some()
}

fn labels(one: &Match, other: &Match) -> bool {
    let (one, other) = (&one.flow_labels, &other.flow_labels);
    let meet = |(a, b): &(u32, u32)| {
        other
            .as_slice()
            .iter()
            .any(|(first, last)| a <= last && first <= b)
    };
    one.is_empty() || other.is_empty() || one.as_slice().iter().any(meet)
}

fn bits<F>(one: Option<&Bits<F>>, other: Option<&Bits<F>>) -> bool {
    let (Some(one), Some(other)) = (one, other) else {
        return true;
    };
    one.alternatives().iter().any(|one| {
        let mut others = other.alternatives().iter();
        others.any(|other| one.set & other.clear == 0 && other.set & one.clear == 0)
    })
}

/// Whether a protocol is left that has all that is asked for.
fn has_protocol(both: [&Match; 2]) -> bool {
    let is_ipv6 = both[0].dst_prefix.addr().is_ipv6();
    let icmp = if is_ipv6 { protocol::ICMPV6 } else { protocol::ICMP };
    let any = |asks: fn(&Match) -> bool| both.iter().any(|one| asks(one));
    let (ports, flags) = (any(Match::has_ports), any(|one| one.tcp_flags.is_some()));
    let types = any(|one| !one.icmp_types.is_empty() || !one.icmp_codes.is_empty());
    let suits = |number: u8| {
        both.iter()
            .all(|one| one.protocols.is_empty() || one.protocols.contains(&number))
            && (!ports || matches!(number, protocol::TCP | protocol::UDP))
            && (!flags || number == protocol::TCP)
            && (!types || number == icmp)
    };
    (0..=u8::MAX).any(suits)
}

/// Whether a source and a destination port are left: `ports` asks for one of both.
fn has_ports([one, other]: [&Match; 2]) -> bool {
    let (Some(dst), Some(src)) = (
        common(&one.dst_ports, &other.dst_ports),
        common(&one.src_ports, &other.src_ports),
    ) else {
        return false;
    };
    let (first, second) = (&one.ports, &other.ports);
    let any = Ranges::default();
    // Each of both is met by the source or by the destination.
    let fits = |at_src: [&Ranges; 2], at_dst: [&Ranges; 2]| {
        let all = |start: &Ranges, lists: [&Ranges; 2]| {
            common(lists[0], lists[1]).is_some_and(|ports| common(start, &ports).is_some())
        };
        all(&src, at_src) && all(&dst, at_dst)
    };
    fits([first, second], [&any, &any])
        || fits([&any, &any], [first, second])
        || fits([first, &any], [&any, second])
        || fits([&any, second], [first, &any])
}

/// Whether a packet of a datagram is left.
fn has_place([one, other]: [&Match; 2]) -> bool {
    let first_only = one.asks_first() || other.asks_first();
    PLACES.iter().any(|place| {
        [one, other].iter().all(|one| {
            one.fragment
                .as_ref()
                .is_none_or(|fragment| fragment.holds(*place))
        }) && !(first_only && place & IS_FRAGMENT != 0)
    })
}
