//! When to try again: at once after a good session, then backing off, longer after an error that will come again.

use rand::RngExt;
use rand::rngs::SmallRng;
use tokio::time::{Duration, Instant};

use crate::status::Loss;

/// The first attempt comes after at most this, so that a reset of many sessions does not return as one burst.
const FIRST: Duration = Duration::from_millis(100);
/// Then this, growing by half each time, up to the maximum. A router that reboots is met within seconds of its return.
const BASE: Duration = Duration::from_millis(250);
const GROWTH: f64 = 1.5;
const MAX: Duration = Duration::from_secs(30);
/// Each delay is multiplied by a random factor of at least this (RFC 4271 section 10).
const JITTER: f64 = 0.75;
/// A session that lasted this long was a good one.
const GOOD_SESSION: Duration = Duration::from_secs(10);
/// A session that lasted this long ends the memory of OPEN and UPDATE errors.
const FORGIVEN_AFTER: Duration = Duration::from_secs(300);
/// An OPEN or UPDATE error comes back until a person or a changed rule helps: doubled each time, up to the maximum.
const HOLD_DOWN: Duration = Duration::from_secs(10);
const MAX_HOLD_DOWN: Duration = Duration::from_secs(300);
/// One side holds as many routes of the other as it takes (Cease/1).
const PREFIX_LIMIT_HOLD_DOWN: Duration = Duration::from_secs(300);

const CODE_OPEN: u8 = 2;
const CODE_UPDATE: u8 = 3;
const CODE_CEASE: u8 = 6;
const CEASE_MAX_PREFIXES: u8 = 1;

pub(super) struct Retry {
    rng: SmallRng,
    failures: u32,
    rejections: u32,
    held_down_until: Option<Instant>,
}

impl Retry {
    pub(super) fn new(rng: SmallRng) -> Self {
        Self {
            rng,
            failures: 0,
            rejections: 0,
            held_down_until: None,
        }
    }

    /// The first attempt ever.
    pub(super) fn first(&mut self, now: Instant) -> Instant {
        now + FIRST.mul_f64(self.rng.random_range(0.0..1.0))
    }

    /// An established session ended after `lasted`.
    pub(super) fn lost(&mut self, loss: &Loss, lasted: Duration, now: Instant) {
        if lasted >= FORGIVEN_AFTER {
            self.rejections = 0;
        }
        self.failures = if lasted >= GOOD_SESSION {
            0
        } else {
            self.failures.saturating_add(1)
        };
        self.judge(loss, now);
    }

    /// An attempt ended without a session.
    pub(super) fn failed(&mut self, loss: &Loss, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        self.judge(loss, now);
    }

    /// A person has looked at it: nothing that failed before counts any more.
    pub(super) fn forget(&mut self) {
        self.failures = 0;
        self.rejections = 0;
        self.held_down_until = None;
    }

    /// The last loss will not come again by itself.
    pub(super) fn excuse(&mut self) {
        self.rejections = self.rejections.saturating_sub(1);
        self.failures = self.failures.min(1);
        self.held_down_until = None;
    }

    /// When to dial next.
    pub(super) fn next(&mut self, now: Instant) -> Instant {
        let back_off = if self.failures == 0 {
            self.first(now)
        } else {
            let exponent = i32::try_from(self.failures - 1).unwrap_or(i32::MAX).min(64);
            let delay = BASE.as_secs_f64() * GROWTH.powi(exponent);
            let delay = delay.min(MAX.as_secs_f64()) * self.rng.random_range(JITTER..=1.0);
            now + Duration::from_secs_f64(delay)
        };
        self.held_down_until.map_or(back_off, |until| until.max(back_off))
    }

    /// True while connections are refused, whoever makes them.
    pub(super) fn held_down(&self, now: Instant) -> bool {
        self.held_down_until.is_some_and(|until| now < until)
    }

    fn judge(&mut self, loss: &Loss, now: Instant) {
        let (Loss::NotificationReceived(info) | Loss::NotificationSent(info)) = loss else {
            return;
        };
        let hold_down = match (info.code, info.subcode) {
            (CODE_OPEN | CODE_UPDATE, _) => {
                let delay = HOLD_DOWN
                    .saturating_mul(1 << self.rejections.min(10))
                    .min(MAX_HOLD_DOWN);
                self.rejections += 1;
                delay
            }
            // Either side announced more than the other takes; the next session would end the same way.
            (CODE_CEASE, CEASE_MAX_PREFIXES) => PREFIX_LIMIT_HOLD_DOWN,
            _ => return,
        };
        self.held_down_until = Some(now + hold_down);
    }
}
