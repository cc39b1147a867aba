//! Operator lists and their canonical form.
//!
//! A list is an OR of groups; a term whose AND bit is set belongs to the group of the term before it (RFC 8955
//! section 4.2.1.1). Numeric lists are reduced to the *set of values* they match, then written back in one way, so two
//! spellings of one set give the same bytes. Bitmask lists: the module `bits`.

use super::canonical::RuleError;

/// A comparison with a value. The two combinations that are always or never true cannot be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Comparison {
    /// Smaller than the value.
    Less,
    /// At most the value.
    LessOrEqual,
    /// Exactly the value.
    Equal,
    /// At least the value.
    GreaterOrEqual,
    /// Greater than the value.
    Greater,
    /// Anything but the value.
    NotEqual,
}

/// One term of a numeric component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NumericTerm {
    /// True joins the term before it by AND; ignored on the first term.
    pub and: bool,
    /// How the packet's field is compared.
    pub comparison: Comparison,
    /// The value it is compared with.
    pub value: u64,
}

impl NumericTerm {
    /// A term that starts a new alternative (OR).
    #[must_use]
    pub fn or(comparison: Comparison, value: u64) -> Self {
        Self {
            and: false,
            comparison,
            value,
        }
    }

    /// A term that narrows the one before it (AND).
    #[must_use]
    pub fn and(comparison: Comparison, value: u64) -> Self {
        Self {
            and: true,
            comparison,
            value,
        }
    }

    /// `= value`, as an alternative.
    #[must_use]
    pub fn equal(value: u64) -> Self {
        Self::or(Comparison::Equal, value)
    }

    /// The closed range `first..=last`, as one alternative of two terms.
    #[must_use]
    pub fn range(first: u64, last: u64) -> [Self; 2] {
        [
            Self::or(Comparison::GreaterOrEqual, first),
            Self::and(Comparison::LessOrEqual, last),
        ]
    }
}

/// One term of a bitmask component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BitmaskTerm {
    /// True joins the term before it by AND; ignored on the first term.
    pub and: bool,
    /// Negates the result.
    pub not: bool,
    /// True: all bits of the value must be set (the match bit). False: any of them.
    pub all: bool,
    /// The bits.
    pub bits: u16,
}

impl BitmaskTerm {
    /// Any of the bits is set, as an alternative (OR).
    #[must_use]
    pub fn any(bits: u16) -> Self {
        Self {
            and: false,
            not: false,
            all: false,
            bits,
        }
    }

    /// None of the bits is set, narrowing the term before it (AND).
    #[must_use]
    pub fn and_none(bits: u16) -> Self {
        Self {
            and: true,
            not: true,
            all: false,
            bits,
        }
    }
}

/// An inclusive range of values.
type Interval = (u64, u64);

/// The canonical list for the same set of values, where `max` is the largest value the field can hold.
pub(super) fn canonical_numeric(
    terms: &[NumericTerm],
    max: u64,
    component: &'static str,
) -> Result<Vec<NumericTerm>, RuleError> {
    if terms.is_empty() {
        return Err(RuleError::EmptyComponent { component });
    }
    if let Some(term) = terms.iter().find(|term| term.value > max) {
        return Err(RuleError::ValueOutOfRange {
            component,
            value: term.value,
            max,
        });
    }
    let mut matched = Vec::new();
    for group in groups(terms, |term| term.and) {
        let mut set = vec![(0, max)];
        for term in group {
            set = intersect(&set, &intervals(*term, max));
        }
        matched.extend(set);
    }
    let matched = union(matched);
    match matched.as_slice() {
        [] => Err(RuleError::NeverMatches { component }),
        [(0, last)] if *last == max => Err(RuleError::MatchesEverything { component }),
        _ => Ok(matched
            .into_iter()
            .flat_map(|interval| spell(interval, max))
            .collect()),
    }
}

/// The OR-ed groups of a list. The AND bit of the first term has nothing to join and is ignored.
fn groups<T>(terms: &[T], and: impl Fn(&T) -> bool) -> impl Iterator<Item = &[T]> {
    terms.chunk_by(move |_, next| and(next))
}

fn intervals(term: NumericTerm, max: u64) -> Vec<Interval> {
    let value = term.value;
    let below = value.checked_sub(1).map(|last| (0, last));
    let above = (value < max).then(|| (value + 1, max));
    match term.comparison {
        Comparison::Less => below.into_iter().collect(),
        Comparison::LessOrEqual => vec![(0, value)],
        Comparison::Equal => vec![(value, value)],
        Comparison::GreaterOrEqual => vec![(value, max)],
        Comparison::Greater => above.into_iter().collect(),
        Comparison::NotEqual => below.into_iter().chain(above).collect(),
    }
}

fn intersect(left: &[Interval], right: &[Interval]) -> Vec<Interval> {
    let mut both = Vec::new();
    for &(a, b) in left {
        for &(c, d) in right {
            let (first, last) = (a.max(c), b.min(d));
            if first <= last {
                both.push((first, last));
            }
        }
    }
    both
}

/// Ascending, with overlapping and adjacent intervals merged.
fn union(mut intervals: Vec<Interval>) -> Vec<Interval> {
    intervals.sort_unstable();
    let mut merged: Vec<Interval> = Vec::with_capacity(intervals.len());
    for (first, last) in intervals {
        match merged.last_mut() {
            Some(previous) if first <= previous.1.saturating_add(1) => previous.1 = previous.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged
}

/// The cheapest terms for one interval. Two neighbouring values stay two values: a range would cost the same and read
/// worse on the router.
fn spell((first, last): Interval, max: u64) -> Vec<NumericTerm> {
    match (first, last) {
        _ if first == last => vec![NumericTerm::equal(first)],
        (0, _) => vec![NumericTerm::or(Comparison::LessOrEqual, last)],
        _ if last == max => vec![NumericTerm::or(Comparison::GreaterOrEqual, first)],
        _ if first + 1 == last => vec![NumericTerm::equal(first), NumericTerm::equal(last)],
        _ => NumericTerm::range(first, last).to_vec(),
    }
}
