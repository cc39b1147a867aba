//! Bitmask lists and their canonical form.
//!
//! A list is a Boolean function of the flags. It is reduced to the function, then written back in one way, so that two
//! spellings of one function give the same bytes: alternatives of "all of these set, none of those", each as one or
//! two terms. Of several such forms the one is taken that the prime implicants alone decide, never the spelling.

use super::BitmaskTerm;
use super::canonical::RuleError;

/// Alternatives of a rule that a person or a template may have meant. The bound is on what the list means, so that it is
/// kept by every spelling or by none.
const MAX_ALTERNATIVES: usize = 64;

/// All of `set`, none of `clear`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Alternative {
    set: u16,
    clear: u16,
}

impl Alternative {
    const ANY: Self = Self { set: 0, clear: 0 };

    /// Whether everything that meets `narrow` meets this.
    fn covers(self, narrow: Self) -> bool {
        self.set & !narrow.set == 0 && self.clear & !narrow.clear == 0
    }

    fn holds(self, flags: u16) -> bool {
        flags & self.set == self.set && flags & self.clear == 0
    }

    fn cost(self) -> (u32, Self) {
        (self.set.count_ones() + self.clear.count_ones(), self)
    }
}

/// The canonical list for the same function; only bits of `mask` may be used.
pub(super) fn canonical_bitmask(
    terms: &[BitmaskTerm],
    mask: u16,
    component: &'static str,
) -> Result<Vec<BitmaskTerm>, RuleError> {
    if terms.is_empty() {
        return Err(RuleError::EmptyComponent { component });
    }
    if let Some(term) = terms.iter().find(|term| term.bits == 0 || term.bits & !mask != 0) {
        return Err(RuleError::InvalidBits {
            component,
            bits: term.bits,
            mask,
        });
    }
    let used = terms.iter().fold(0, |used, term| used | term.bits);
    let bits: Vec<u16> = (0..u16::BITS)
        .map(|shift| 1 << shift)
        .filter(|bit| used & bit != 0)
        .collect();
    let table: Vec<bool> = (0..1_usize << bits.len())
        .map(|row| holds(terms, flags_of(row, &bits)))
        .collect();
    let primes = primes(&table, &bits);
    match primes.as_slice() {
        [] => Err(RuleError::NeverMatches { component }),
        [Alternative::ANY] => Err(RuleError::MatchesEverything { component }),
        all if all.len() > MAX_ALTERNATIVES => Err(RuleError::TooManyAlternatives { component }),
        _ => Ok(fewest(primes).into_iter().flat_map(spell).collect()),
    }
}

/// The AND bit of the first term has nothing to join and is ignored.
fn holds(terms: &[BitmaskTerm], flags: u16) -> bool {
    terms.chunk_by(|_, next| next.and).any(|group| {
        group.iter().all(|term| match (term.not, term.all) {
            (false, true) => flags & term.bits == term.bits,
            (true, false) => flags & term.bits == 0,
            (false, false) => flags & term.bits != 0,
            (true, true) => flags & term.bits != term.bits,
        })
    })
}

/// The flags of one row of the table.
fn flags_of(row: usize, bits: &[u16]) -> u16 {
    bits.iter()
        .enumerate()
        .filter(|(place, _)| row & (1 << place) != 0)
        .fold(0, |flags, (_, bit)| flags | bit)
}

/// The prime implicants of the function: the alternatives of which no part can be left out. By halves of the table: those
/// in which the last bit does not matter hold in both halves, the others are those of one half that do not.
fn primes(table: &[bool], bits: &[u16]) -> Vec<Alternative> {
    if !table.contains(&true) {
        return Vec::new();
    }
    let Some((bit, rest)) = bits.split_last().filter(|_| table.contains(&false)) else {
        return vec![Alternative::ANY];
    };
    let (without, with) = table.split_at(table.len() / 2);
    let both: Vec<bool> = without
        .iter()
        .zip(with)
        .map(|(one, other)| *one && *other)
        .collect();
    let mut all = primes(&both, rest);
    let free = all.len();
    for (half, set, clear) in [(without, 0, *bit), (with, *bit, 0)] {
        for prime in primes(half, rest) {
            if !all.iter().take(free).any(|other| other.covers(prime)) {
                all.push(Alternative {
                    set: prime.set | set,
                    clear: prime.clear | clear,
                });
            }
        }
    }
    all
}

/// Without what the others hold together, dearest first.
fn fewest(mut primes: Vec<Alternative>) -> Vec<Alternative> {
    primes.sort_unstable_by_key(|one| one.cost());
    let used = primes.iter().fold(0, |used, one| used | one.set | one.clear);
    for index in (0..primes.len()).rev() {
        let one = primes.remove(index);
        if !is_covered(one, &primes, used) {
            primes.insert(index, one);
        }
    }
    primes.sort_unstable();
    primes
}

/// Whether every value that meets `one` meets one of the others.
fn is_covered(one: Alternative, others: &[Alternative], used: u16) -> bool {
    let free = used & !(one.set | one.clear);
    let mut rest = free;
    loop {
        if !others.iter().any(|other| other.holds(one.set | rest)) {
            return false;
        }
        if rest == 0 {
            return true;
        }
        rest = (rest - 1) & free;
    }
}

/// "All of" before "none of": the pair that routers show as set and not set.
fn spell(one: Alternative) -> impl Iterator<Item = BitmaskTerm> {
    let set = (one.set != 0).then_some(BitmaskTerm {
        and: false,
        not: false,
        all: true,
        bits: one.set,
    });
    let clear = (one.clear != 0).then_some(BitmaskTerm {
        and: one.set != 0,
        not: true,
        all: false,
        bits: one.clear,
    });
    set.into_iter().chain(clear)
}
