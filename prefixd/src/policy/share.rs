//! The part of a POP of what all POPs may have together.

/// What of the quota over all POPs this one may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reserved {
    /// So many may be live here.
    pub own: u64,
    /// The others have reserved so many.
    pub elsewhere: u64,
}

impl Reserved {
    /// What a POP gets that has `live` and needs `needed`: that, as far as it is free, and an eighth of what is free
    /// then, so that it rarely asks. What is live is reserved in any case: a quota ends nothing.
    #[must_use]
    pub fn of(live: u64, needed: u64, elsewhere: u64, max: u64) -> Self {
        let free = max.saturating_sub(elsewhere);
        let granted = needed.min(free);
        let ahead = (free - granted) / 8;
        Self {
            own: (granted + ahead).max(live),
            elsewhere,
        }
    }

    /// What this one would have once it had asked for all that is free: a preview asks for nothing.
    #[must_use]
    pub const fn at_most(self, max: u64) -> Self {
        let free = max.saturating_sub(self.elsewhere);
        let own = if free > self.own { free } else { self.own };
        Self { own, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn who_needs_more_gets_it_and_some_ahead_as_long_as_there_is_some() {
        let own = |live, needed, elsewhere, max| Reserved::of(live, needed, elsewhere, max).own;
        assert_eq!(own(0, 1, 0, 500), 1 + 62);
        assert_eq!(own(0, 5, 0, 5), 5, "nothing ahead of a small quota");
        assert_eq!(own(3, 9, 4, 10), 6, "what is free");
        assert_eq!(own(7, 9, 8, 10), 7, "more is live than there may be");
        assert_eq!(own(3, 3, 0, 3), 3);
    }

    #[test]
    fn a_preview_counts_with_all_that_is_free() {
        let preview = |own, elsewhere, max| Reserved { own, elsewhere }.at_most(max).own;
        assert_eq!(preview(0, 0, 5), 5, "nothing was asked for yet");
        assert_eq!(preview(62, 100, 500), 400);
        assert_eq!(
            preview(7, 8, 10),
            7,
            "what is live counts whatever the others have"
        );
    }

    proptest! {
        /// POPs come and go, reserve and give back in any order.
        #[test]
        fn all_together_never_have_more_than_there_is(
            max in 0u64..100,
            steps in prop::collection::vec((0usize..4, 0u64..60), 1..60),
        ) {
            let (mut reserved, mut live) = ([0u64; 4], [0u64; 4]);
            for (pop, wanted) in steps {
                let elsewhere = reserved.iter().sum::<u64>() - reserved[pop];
                // What goes needs nothing; what comes needs room.
                live[pop] = live[pop].min(wanted);
                reserved[pop] = Reserved::of(live[pop], wanted, elsewhere, max).own;
                live[pop] = wanted.min(reserved[pop]);
                prop_assert!(live.iter().sum::<u64>() <= max);
                prop_assert!(reserved.iter().sum::<u64>() <= max);
            }
        }
    }
}
