//! Which rules a neighbour may be told at all.

use std::collections::BTreeSet;

use tokio::time::{Duration, Instant};

use crate::config::NeighborConfig;
use crate::flowspec::{Action, CanonicalRule, Effect, Family};
use crate::route::{Bound, Refusal};

/// A bound that was guessed is given up after this, doubled each time the guess was right, up to the maximum.
const GUESS_HOLDS: Duration = Duration::from_secs(3600);
const MAX_GUESS_HOLDS: Duration = Duration::from_secs(24 * 3600);
/// A family that was told fewer rules than this is not the one that filled the router.
const FEW: usize = 10;

/// The part of the configuration, and of what the router has said, that decides what is sent.
#[derive(Clone)]
pub(super) struct Policy {
    families: BTreeSet<Family>,
    operators: usize,
    bytes: usize,
    update_bytes: usize,
    max_rules: Option<usize>,
    ceiling: Ceiling,
}

/// What the router is told at most after it said that it holds as many rules as it takes (Cease/1).
#[derive(Clone, Default)]
struct Ceiling {
    total: Option<usize>,
    families: [Option<usize>; Family::COUNT],
    /// When the bound is tried again; never for one that the router has named.
    until: Option<Instant>,
    guesses: u32,
}

/// No more rules are told.
pub(super) struct Full {
    pub(super) bound: Bound,
    /// Of this family; none of any if it is absent.
    pub(super) family: Option<Family>,
}

impl Policy {
    pub(super) fn new(config: &NeighborConfig) -> Self {
        Self {
            families: config.families.clone(),
            operators: config.limits.operators_per_component,
            bytes: config.limits.nlri_bytes,
            update_bytes: config.limits.update_bytes,
            max_rules: config.max_rules,
            ceiling: Ceiling::default(),
        }
    }

    /// The router takes no more than `bound` rules of the family: stay well below, or the next session ends the same way.
    pub(super) fn bound_named(&mut self, family: Family, bound: usize) {
        self.ceiling.families[family.index()] = Some(nine_tenths(bound));
    }

    /// The router takes no more than some of what it was told, and did not say of what. Each family stays below what it
    /// was told. One that was told little is not cut down to nothing for the sake of another: it keeps a part of the
    /// whole for itself.
    pub(super) fn bound_guessed(&mut self, told: &[(Family, usize)], now: Instant) {
        let total = nine_tenths(told.iter().map(|(_, told)| told).sum());
        if told.iter().all(|(_, told)| *told == 0) {
            return;
        }
        let few = |told: usize| told < FEW;
        let kept = if told.iter().any(|(_, told)| few(*told)) {
            total.div_ceil(10).min(FEW)
        } else {
            0
        };
        for (family, told) in told.iter().filter(|(_, told)| !few(*told)) {
            self.ceiling.families[family.index()] = Some(nine_tenths(*told).saturating_sub(kept));
        }
        self.ceiling.total = Some(total);
        let holds = GUESS_HOLDS.saturating_mul(1 << self.ceiling.guesses.min(5));
        self.ceiling.guesses += 1;
        self.ceiling.until = Some(now + holds.min(MAX_GUESS_HOLDS));
    }

    /// When [`Policy::lift_due`] has something to do.
    pub(super) fn lift_at(&self) -> Option<Instant> {
        self.ceiling.until
    }

    /// Gives a guessed bound up if its time is over; true if it did.
    pub(super) fn lift_due(&mut self, now: Instant) -> bool {
        let due = self.ceiling.until.is_some_and(|until| until <= now);
        if due {
            self.ceiling = Ceiling {
                guesses: self.ceiling.guesses,
                ..Ceiling::default()
            };
        }
        due
    }

    /// Forgets what the router said about its bound; true if there was something to forget.
    pub(super) fn lift(&mut self) -> bool {
        let before = std::mem::take(&mut self.ceiling);
        before.total.is_some() || before.families.iter().any(Option::is_some)
    }

    /// The longest message.
    pub(super) fn update_bytes(&self) -> usize {
        self.update_bytes
    }

    /// What keeps one more rule of the family from being sent beside those admitted, if anything does.
    pub(super) fn full(&self, admitted: [usize; Family::COUNT], family: Family) -> Option<Full> {
        self.reached(family, admitted, |held, bound| held >= bound)
    }

    /// The same for nine tenths of every bound.
    pub(super) fn nearly_full(&self, admitted: [usize; Family::COUNT], family: Family) -> Option<Full> {
        self.reached(family, admitted, |held, bound| held * 10 >= bound * 9)
    }

    /// The bound that concerns the family first, reached or not.
    pub(super) fn bound_of(&self, family: Family) -> Option<Bound> {
        self.reached(family, [0; Family::COUNT], |_, _| true)
            .map(|full| full.bound)
    }

    /// Whether there is any bound.
    pub(super) fn is_bounded(&self) -> bool {
        Family::ALL
            .into_iter()
            .any(|family| self.bound_of(family).is_some())
    }

    /// Rules of all families together, at most.
    pub(super) fn total(&self) -> Option<usize> {
        self.max_rules.into_iter().chain(self.ceiling.total).min()
    }

    fn reached(
        &self,
        family: Family,
        admitted: [usize; Family::COUNT],
        is_reached: impl Fn(usize, usize) -> bool,
    ) -> Option<Full> {
        let sum: usize = admitted.iter().sum();
        let check = |bound: Option<usize>, held: usize| bound.filter(|bound| is_reached(held, *bound));
        let whole = |bound| Full { bound, family: None };
        let of_family = |bound| Full {
            bound: Bound::PrefixLimit(bound),
            family: Some(family),
        };
        // The narrowest first: who makes room for the family makes room in the whole.
        check(self.ceiling.families[family.index()], admitted[family.index()])
            .map(of_family)
            .or_else(|| check(self.max_rules, sum).map(Bound::MaxRules).map(whole))
            .or_else(|| check(self.ceiling.total, sum).map(Bound::PrefixLimit).map(whole))
    }

    pub(super) fn refusal(&self, rule: &CanonicalRule, action: Action) -> Option<Refusal> {
        if !self.families.contains(&rule.family()) {
            return Some(Refusal::FamilyNotConfigured);
        }
        let is_blackhole = action.effect() == Effect::Blackhole;
        if is_blackhole == rule.family().is_flowspec() {
            return Some(Refusal::NotABlackhole);
        }
        let (component, operators) = rule.widest_component();
        if operators > self.operators {
            return Some(Refusal::TooManyOperators {
                component,
                operators,
                limit: self.operators,
            });
        }
        let bytes = rule.key().component_bytes();
        (bytes > self.bytes).then_some(Refusal::TooLong {
            bytes,
            limit: self.bytes,
        })
    }
}

fn nine_tenths(bound: usize) -> usize {
    bound - bound.div_ceil(10)
}
