//! Which rules a neighbour may be told at all.

use std::collections::{BTreeMap, BTreeSet};

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
    /// Counts the changes of what [`Policy::remembered`] tells.
    version: u64,
}

/// What the router is told at most after it said that it holds as many rules as it takes (Cease/1).
#[derive(Clone, Copy, Default)]
struct Ceiling {
    total: Option<usize>,
    families: [Option<usize>; Family::COUNT],
    /// Which of them the router has named to this process: they are not tried again.
    named: [bool; Family::COUNT],
    /// When all others are.
    until: Option<Instant>,
    guesses: u32,
}

impl Ceiling {
    fn is_set(&self) -> bool {
        self.total.is_some() || self.families.iter().any(Option::is_some)
    }
}

/// A bound that a router set by Cease/1, for the process that comes after this one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RememberedBound {
    /// Rules of all families together, at most.
    pub total: Option<usize>,
    /// Rules of one family each, at most.
    pub families: BTreeMap<Family, usize>,
    /// When all rules are offered again; none for a bound that this process heard the router name.
    pub until: Option<Instant>,
    /// How often a bound was guessed: each guess holds longer than the one before.
    pub guesses: u32,
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
            version: 0,
        }
    }

    /// The same neighbour, configured anew: a new attempt.
    pub(super) fn reconfigured(&self, config: &NeighborConfig) -> Self {
        Self {
            version: self.version + u64::from(self.ceiling.is_set()),
            ..Self::new(config)
        }
    }

    /// The bound that the router has set, if there is one.
    pub(super) fn remembered(&self) -> Option<RememberedBound> {
        let of = |family: Family| Some((family, self.ceiling.families[family.index()]?));
        self.ceiling.is_set().then(|| RememberedBound {
            total: self.ceiling.total,
            families: Family::ALL.into_iter().filter_map(of).collect(),
            until: self.ceiling.until,
            guesses: self.ceiling.guesses,
        })
    }

    /// How often what [`Policy::remembered`] tells has changed.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Goes on under the bound that a process before this one knew. What was heard here is newer. Nobody says whether the
    /// router, or what the configuration says of it, was changed between the two: a bound that was named is tried again as
    /// well, after a day. The clock may have been set back since.
    pub(super) fn restore(&mut self, bound: RememberedBound, now: Instant) {
        let latest = now + MAX_GUESS_HOLDS;
        let until = bound.until.map_or(latest, |until| until.min(latest));
        if self.ceiling.is_set() {
            return;
        }
        self.ceiling.guesses = bound.guesses;
        self.version += 1;
        if until <= now {
            return;
        }
        self.ceiling.total = bound.total;
        for (family, rules) in bound.families {
            self.ceiling.families[family.index()] = Some(rules);
        }
        self.ceiling.until = Some(until);
    }

    /// The router takes no more than `bound` rules of the family: stay well below, or the next session ends the same way.
    pub(super) fn bound_named(&mut self, family: Family, bound: usize) {
        self.ceiling.families[family.index()] = Some(nine_tenths(bound));
        self.ceiling.named[family.index()] = true;
        self.version += 1;
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
            self.ceiling.named[family.index()] = false;
        }
        self.ceiling.total = Some(total);
        let holds = GUESS_HOLDS.saturating_mul(1 << self.ceiling.guesses.min(5));
        self.ceiling.guesses += 1;
        self.ceiling.until = Some(now + holds.min(MAX_GUESS_HOLDS));
        self.version += 1;
    }

    /// When [`Policy::lift_due`] has something to do.
    pub(super) fn lift_at(&self) -> Option<Instant> {
        self.ceiling.until
    }

    /// Gives up what is not named if its time is over; true if it did.
    pub(super) fn lift_due(&mut self, now: Instant) -> bool {
        let due = self.ceiling.until.is_some_and(|until| until <= now);
        if due {
            let Ceiling {
                mut families,
                named,
                guesses,
                ..
            } = self.ceiling;
            for (bound, named) in families.iter_mut().zip(named) {
                bound.take_if(|_| !named);
            }
            self.ceiling = Ceiling {
                families,
                named,
                guesses,
                ..Ceiling::default()
            };
            self.version += 1;
        }
        due
    }

    /// Forgets what the router said about its bound; true if there was something to forget.
    pub(super) fn lift(&mut self) -> bool {
        let was_set = std::mem::take(&mut self.ceiling).is_set();
        self.version += u64::from(was_set);
        was_set
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
