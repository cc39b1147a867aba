//! Fitting a set of ports into what one rule may hold.

use prefixd_api::rule::{Action, Range, Ranges};

/// How a set of ports becomes rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// One rule holds it as it is.
    Whole,
    /// Several rules, which a discard may be: it drops what was reported and nothing between.
    Split(Vec<Ranges>),
    /// One rule on ranges that close gaps, which a police rule may have: split, it would let each part have the
    /// whole rate.
    Joined(Ranges),
    /// No ranges keep out what must be kept out: whatever the port. For police only.
    Protocol,
}

/// Fits `ports` into rules that hold `max` terms each. None when a discard would take more than `room` rules.
pub(super) fn fit(action: Action, ports: &Ranges, keep_out: &Ranges, max: usize, room: usize) -> Option<Fit> {
    if ports.operators() <= max {
        return Some(Fit::Whole);
    }
    // What takes a port off its way takes no port between; what limits a rate must not be multiplied.
    if action.is_harsh() {
        let parts = split(ports, max);
        return (!parts.is_empty() && parts.len() <= room).then_some(Fit::Split(parts));
    }
    Some(match join(ports, keep_out, max) {
        Some(joined) if !joined.is_everything() => Fit::Joined(joined),
        Some(_) | None => Fit::Protocol,
    })
}

/// Joins the ranges with the smallest gaps until the set costs at most `max` terms. A gap that holds one of
/// `keep_out` is never closed; when that leaves too many terms there is no answer.
fn join(ports: &Ranges, keep_out: &Ranges, max: usize) -> Option<Ranges> {
    let mut ranges = ports.as_slice().to_vec();
    let cost = |ranges: &[Range]| ranges.iter().map(|range| range.operators()).sum::<usize>();
    while cost(&ranges) > max {
        let index = ranges
            .windows(2)
            .enumerate()
            .filter(|(_, pair)| !is_crossed(keep_out, pair[0], pair[1]))
            .min_by_key(|(_, pair)| pair[1].first - pair[0].last)?
            .0;
        ranges[index].last = ranges[index + 1].last;
        ranges.remove(index + 1);
    }
    Some(ranges.into_iter().collect())
}

fn is_crossed(keep_out: &Ranges, below: Range, above: Range) -> bool {
    keep_out
        .as_slice()
        .iter()
        .any(|out| out.last > below.last && out.first < above.first)
}

/// The set in parts that each cost at most `max` terms; empty when a single range costs more.
fn split(ports: &Ranges, max: usize) -> Vec<Ranges> {
    let mut parts: Vec<Vec<Range>> = Vec::new();
    let mut left = 0;
    for range in ports.as_slice() {
        let cost = range.operators();
        if cost > max {
            return Vec::new();
        }
        if cost > left {
            parts.push(Vec::new());
            left = max;
        }
        if let Some(part) = parts.last_mut() {
            part.push(*range);
            left -= cost;
        }
    }
    parts.into_iter().map(|part| part.into_iter().collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ports(numbers: &[u16]) -> Ranges {
        numbers.iter().copied().collect()
    }

    #[test]
    fn the_smallest_gap_is_closed_first() {
        let joined = join(&ports(&[10, 12, 100, 200, 300]), &Ranges::default(), 5).unwrap();
        assert_eq!(joined.to_string(), "10,12,100,200,300");
        let joined = join(&ports(&[10, 12, 14, 100, 200]), &Ranges::default(), 4).unwrap();
        assert_eq!(joined.to_string(), "10-14,100,200");
    }

    #[test]
    fn a_kept_out_port_stays_out() {
        assert_eq!(join(&ports(&[52, 54]), &ports(&[53]), 1), None);
        assert_eq!(split(&ports(&[52, 54]), 1).len(), 2);
    }

    proptest! {
        #[test]
        fn joining_only_widens_and_keeps_out(numbers in prop::collection::vec(any::<u16>(), 1..64),
                                             out in prop::collection::vec(any::<u16>(), 0..4), max in 2usize..9) {
            let keep_out = ports(&out);
            let given = ports(&numbers).minus(&keep_out);
            if let Some(joined) = join(&given, &keep_out, max) {
                prop_assert!(joined.operators() <= max);
                prop_assert!(given.minus(&joined).is_empty());
                prop_assert!(keep_out.minus(&joined) == keep_out);
            }
            let parts = split(&given, max);
            let whole = parts.iter().fold(Ranges::default(), |all, part| all.union(part));
            prop_assert_eq!(whole, given);
            prop_assert!(parts.iter().all(|part| part.operators() <= max));
        }
    }
}
