//! The engine's clock: wall-clock time that runs on the monotonic clock.
//!
//! Deadlines must neither all pass nor all stall when somebody sets the system clock. So time is the wall clock
//! at start plus what the monotonic clock has measured since, and it follows later corrections of the wall clock
//! only slowly (as NTP slews). After a restart the wall clock counts again.

use prefixd_api::time::Timestamp;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Most that one [`Clock::follow`] a second corrects: 500 ppm, what NTP slews at.
const SLEW_MICROS: i64 = 500;
/// A difference to the wall clock beyond this is a step somebody should look at.
pub const STEP: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug)]
pub struct Clock {
    base: Instant,
    base_micros: i64,
    correction_micros: AtomicI64,
}

impl Clock {
    /// A clock that shows `wall` now and runs on tokio's monotonic time, which tests can pause.
    #[must_use]
    pub fn starting_at(wall: Timestamp) -> Self {
        Self {
            base: Instant::now(),
            base_micros: wall.as_micros(),
            correction_micros: AtomicI64::new(0),
        }
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let elapsed = i64::try_from(self.base.elapsed().as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_micros(
            self.base_micros
                .saturating_add(elapsed)
                .saturating_add(self.correction_micros.load(Ordering::Relaxed)),
        )
    }

    /// The monotonic moment of a time; what is past is now.
    #[must_use]
    pub fn instant_of(&self, at: Timestamp) -> Instant {
        Instant::now() + at.since(self.now())
    }

    /// Called once a second: goes a little towards the wall clock and answers how far away it is.
    pub fn follow(&self, wall: Timestamp) -> Duration {
        let error = wall.as_micros().saturating_sub(self.now().as_micros());
        self.correction_micros
            .fetch_add(error.clamp(-SLEW_MICROS, SLEW_MICROS), Ordering::Relaxed);
        Duration::from_micros(error.unsigned_abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

    #[tokio::test(start_paused = true)]
    async fn runs_on_monotonic_time() {
        let clock = Clock::starting_at(NOON);
        tokio::time::advance(Duration::from_secs(90)).await;
        assert_eq!(clock.now(), NOON.saturating_add(Duration::from_secs(90)));
        let deadline = clock.now().saturating_add(Duration::from_secs(10));
        assert_eq!(
            clock.instant_of(deadline),
            Instant::now() + Duration::from_secs(10)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_jump_of_the_wall_clock_passes_no_deadline() {
        let clock = Clock::starting_at(NOON);
        let away = clock.follow(NOON.saturating_add(Duration::from_secs(3600)));
        assert!(away > STEP);
        assert_eq!(clock.now(), NOON.saturating_add(Duration::from_micros(500)));
    }
}
