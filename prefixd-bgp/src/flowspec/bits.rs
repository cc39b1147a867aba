//! Bitmask lists and their canonical form.
//!
//! A list is a Boolean function of the flags. It is reduced to the function, then written back in one way, so that two
//! spellings of one function give the same bytes: alternatives of "all of these set, none of those", each as one or
//! two terms. Of several such forms the one is taken that the prime implicants alone decide, never the spelling.

use super::BitmaskTerm;
use super::canonical::RuleError;

/// Alternatives a list may come to on the way. A list of that many is no rule that a person or a template meant.
const MAX_ALTERNATIVES: usize = 64;

/// All of `set`, none of `clear`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Alternative {
    set: u16,
    clear: u16,
}

impl Alternative {
    const ANY: Self = Self { set: 0, clear: 0 };

    /// Both at once; none when they exclude each other.
    fn and(self, other: Self) -> Option<Self> {
        let both = Self {
            set: self.set | other.set,
            clear: self.clear | other.clear,
        };
        (both.set & both.clear == 0).then_some(both)
    }

    /// Whether everything that meets `narrow` meets this.
    fn covers(self, narrow: Self) -> bool {
        self.set & !narrow.set == 0 && self.clear & !narrow.clear == 0
    }

    fn holds(self, flags: u16) -> bool {
        flags & self.set == self.set && flags & self.clear == 0
    }

    /// What both together hold beyond each: they differ in one flag, and it does not matter.
    fn consensus(self, other: Self) -> Option<Self> {
        let opposed = (self.set & other.clear) | (self.clear & other.set);
        (opposed.count_ones() == 1).then_some(Self {
            set: (self.set | other.set) & !opposed,
            clear: (self.clear | other.clear) & !opposed,
        })
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
    let too_many = RuleError::TooManyAlternatives { component };
    let mut all = Vec::new();
    // The AND bit of the first term has nothing to join and is ignored.
    for group in terms.chunk_by(|_, next| next.and) {
        for alternative in product(group).ok_or_else(|| too_many.clone())? {
            add(&mut all, alternative);
        }
    }
    let primes = primes(all).ok_or(too_many)?;
    match primes.as_slice() {
        [] => Err(RuleError::NeverMatches { component }),
        [Alternative::ANY] => Err(RuleError::MatchesEverything { component }),
        _ => Ok(fewest(primes).into_iter().flat_map(spell).collect()),
    }
}

/// The alternatives of terms that must all hold.
fn product(group: &[BitmaskTerm]) -> Option<Vec<Alternative>> {
    let mut all = vec![Alternative::ANY];
    for term in group {
        let mut next = Vec::new();
        for option in options(*term) {
            for one in &all {
                if let Some(both) = one.and(option) {
                    add(&mut next, both);
                }
            }
        }
        if next.len() > MAX_ALTERNATIVES {
            return None;
        }
        all = next;
    }
    Some(all)
}

/// One term: "all of" and "none of" are one alternative, "any of" and "not all of" one for each bit.
fn options(term: BitmaskTerm) -> Vec<Alternative> {
    let bits = term.bits;
    let each = (0..u16::BITS)
        .map(|shift| 1 << shift)
        .filter(|bit| bits & bit != 0);
    let set = |set| Alternative { set, clear: 0 };
    let clear = |clear| Alternative { set: 0, clear };
    match (term.not, term.all) {
        (false, true) => vec![set(bits)],
        (true, false) => vec![clear(bits)],
        (false, false) => each.map(set).collect(),
        (true, true) => each.map(clear).collect(),
    }
}

/// Adds one unless another holds it already, and drops those it holds. Whether there was anything to add.
fn add(all: &mut Vec<Alternative>, one: Alternative) -> bool {
    if all.iter().any(|other| other.covers(one)) {
        return false;
    }
    all.retain(|other| !one.covers(*other));
    all.push(one);
    true
}

/// The prime implicants: consensus until nothing new comes of it.
fn primes(mut all: Vec<Alternative>) -> Option<Vec<Alternative>> {
    loop {
        if all.len() > MAX_ALTERNATIVES {
            return None;
        }
        let snapshot = all.clone();
        let mut is_new = false;
        for (index, one) in snapshot.iter().enumerate() {
            for other in &snapshot[index + 1..] {
                if let Some(consensus) = one.consensus(*other) {
                    is_new |= add(&mut all, consensus);
                }
            }
        }
        if !is_new {
            return Some(all);
        }
    }
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
