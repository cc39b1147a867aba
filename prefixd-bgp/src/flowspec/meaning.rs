//! What a list of terms matches, read naively from the RFC: the measure of the canonical forms, for tests and fuzzers.

use super::{BitmaskTerm, Comparison, NumericTerm};

/// RFC 8955 section 4.2.1.1.
pub(crate) fn numeric_holds(terms: &[NumericTerm], value: u64) -> bool {
    let one = |term: &NumericTerm| match term.comparison {
        Comparison::Less => value < term.value,
        Comparison::LessOrEqual => value <= term.value,
        Comparison::Equal => value == term.value,
        Comparison::GreaterOrEqual => value >= term.value,
        Comparison::Greater => value > term.value,
        Comparison::NotEqual => value != term.value,
    };
    terms
        .chunk_by(|_, next| next.and)
        .any(|group| group.iter().all(one))
}

/// RFC 8955 section 4.2.1.2.
pub(crate) fn bitmask_holds(terms: &[BitmaskTerm], flags: u16) -> bool {
    let one = |term: &BitmaskTerm| {
        let found = flags & term.bits;
        let is_met = if term.all { found == term.bits } else { found != 0 };
        is_met != term.not
    };
    terms
        .chunk_by(|_, next| next.and)
        .any(|group| group.iter().all(one))
}
