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

/// Closes the smallest gaps until the set costs at most `max` terms, and opens those again that were not needed. A gap
/// that holds one of `keep_out` is never closed; when that leaves too many terms there is no answer.
pub(crate) fn join(ports: &Ranges, keep_out: &Ranges, max: usize) -> Option<Ranges> {
    let ranges = ports.as_slice();
    let mut gaps: Vec<usize> = (1..ranges.len())
        .filter(|at| !is_crossed(keep_out, ranges[at - 1], ranges[*at]))
        .collect();
    gaps.sort_by_key(|at| ranges[*at].first - ranges[at - 1].last);
    let mut closed = vec![false; ranges.len()];
    let mut tried = 0;
    while with_gaps_closed(ranges, &closed).operators() > max {
        closed[*gaps.get(tried)?] = true;
        tried += 1;
    }
    // Two single ports cost as much as the range over them: joining those helped only on the way to longer ranges.
    for at in gaps[..tried].iter().rev() {
        closed[*at] = false;
        if with_gaps_closed(ranges, &closed).operators() > max {
            closed[*at] = true;
        }
    }
    Some(with_gaps_closed(ranges, &closed))
}

/// The ranges, where `closed` says of each whether the gap before it is.
fn with_gaps_closed(ranges: &[Range], closed: &[bool]) -> Ranges {
    let mut joined: Vec<Range> = Vec::with_capacity(ranges.len());
    for (range, closed) in ranges.iter().zip(closed) {
        match joined.last_mut() {
            Some(before) if *closed => before.last = range.last,
            _ => joined.push(*range),
        }
    }
    joined.into_iter().collect()
}

fn is_crossed(keep_out: &Ranges, below: Range, above: Range) -> bool {
    keep_out
        .as_slice()
        .iter()
        .any(|out| out.last > below.last && out.first < above.first)
}

/// The set in parts that each cost at most `max` terms; empty when a single range costs more.
pub(crate) fn split(ports: &Ranges, max: usize) -> Vec<Ranges> {
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
        let joined = join(&ports(&[1, 3, 50, 70, 90, 110]), &Ranges::default(), 5).unwrap();
        assert_eq!(
            joined.to_string(),
            "1,3,50-90,110",
            "what joining 1 and 3 does not save stays"
        );
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
