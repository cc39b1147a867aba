//! A token bucket for announcements.

use std::num::NonZeroU32;

use tokio::time::{Duration, Instant};

/// How much of a second may go out at once after a pause.
const BURST: f64 = 0.1;
/// After waiting for its turn, this much of a second goes out together.
const COALESCE: f64 = 0.01;

#[derive(Clone)]
pub(super) struct Pace {
    per_second: f64,
    tokens: f64,
    filled: Option<Instant>,
}

impl Pace {
    pub(super) fn new(per_second: NonZeroU32) -> Self {
        let per_second = f64::from(per_second.get());
        Self {
            per_second,
            tokens: Self::burst(per_second),
            filled: None,
        }
    }

    /// How many announcements may go out now.
    pub(super) fn available(&mut self, now: Instant) -> usize {
        let since = self
            .filled
            .map_or(Duration::ZERO, |filled| now.saturating_duration_since(filled));
        self.filled = Some(now);
        self.tokens = (self.tokens + since.as_secs_f64() * self.per_second).min(Self::burst(self.per_second));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "never negative, whole tokens only"
        )]
        let whole = self.tokens as usize;
        whole
    }

    /// Takes what was sent.
    pub(super) fn take(&mut self, announcements: usize) {
        #[expect(clippy::cast_precision_loss, reason = "at most one batch")]
        let taken = announcements as f64;
        self.tokens = (self.tokens - taken).max(0.0);
    }

    /// When the next announcements may go out: not one by one, a router that is paced because it is slow takes ten
    /// rules in one UPDATE more easily than in ten.
    pub(super) fn next(&self, now: Instant) -> Instant {
        let together = (self.per_second * COALESCE).clamp(1.0, Self::burst(self.per_second));
        now + Duration::from_secs_f64(((together - self.tokens) / self.per_second).max(0.001))
    }

    fn burst(per_second: f64) -> f64 {
        (per_second * BURST).max(1.0)
    }
}
