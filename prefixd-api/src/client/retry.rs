//! When a request is sent again, and after what pause.

use super::Error;
use std::time::Duration;

/// The first pause.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause of our own choice.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The longest pause the daemon may ask for; a longer one is left to the caller.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(30);

/// What sending a request twice would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Nothing more than sending it once.
    WhenSafe,
    /// Nothing more, because it carries a key: the daemon carries it out once.
    ByKey,
    /// Perhaps the change twice: only when nothing was sent.
    WhenUnsent,
    /// The caller wants to know how it is right now.
    Never,
}

/// A request that failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: Error,
    pub(super) unsent: bool,
    pub(super) status: Option<u16>,
    pub(super) retry_after: Option<Duration>,
}

impl Failure {
    pub(super) fn sent(error: Error) -> Self {
        Self {
            error,
            unsent: false,
            status: None,
            retry_after: None,
        }
    }

    pub(super) fn unsent(error: Error) -> Self {
        Self {
            unsent: true,
            ..Self::sent(error)
        }
    }
}

/// The pause before the next attempt; nothing when there should be none. `attempt` counts from 0, `random` is
/// what the pause is spread by.
pub(super) fn pause(repeat: Repeat, failure: &Failure, attempt: u32, random: u32) -> Option<Duration> {
    let may_pass = match failure.status {
        Some(status) => matches!(status, 429 | 502..=504),
        None => !matches!(failure.error, Error::Setup(_)),
    };
    let allowed = match repeat {
        Repeat::WhenSafe | Repeat::ByKey => may_pass,
        Repeat::WhenUnsent => failure.unsent,
        Repeat::Never => false,
    };
    if !allowed {
        return None;
    }
    match failure.retry_after {
        Some(asked) => (asked <= LONGEST_RETRY_AFTER).then_some(asked),
        None => Some(backoff(FIRST_PAUSE, LONGEST_PAUSE, attempt, random)),
    }
}

/// Doubles with each attempt up to `longest`, spread over its upper half so that many clients do not come back
/// at one moment.
pub(super) fn backoff(first: Duration, longest: Duration, attempt: u32, random: u32) -> Duration {
    let pause = first.saturating_mul(2_u32.saturating_pow(attempt)).min(longest);
    let half = pause / 2;
    half + half.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(status: u16, retry_after: Option<u64>) -> Failure {
        Failure {
            status: Some(status),
            retry_after: retry_after.map(Duration::from_secs),
            ..Failure::sent(Error::Protocol(String::new()))
        }
    }

    #[test]
    fn a_change_without_a_key_is_repeated_only_when_nothing_was_sent() {
        let lost = Failure::sent(Error::Protocol(String::new()));
        let unsent = Failure::unsent(Error::Protocol(String::new()));
        let repeated = |repeat, failure: &Failure| pause(repeat, failure, 0, 0).is_some();
        assert!(repeated(Repeat::WhenSafe, &lost) && !repeated(Repeat::WhenUnsent, &lost));
        assert!(repeated(Repeat::WhenSafe, &unsent) && repeated(Repeat::WhenUnsent, &unsent));
        assert!(!repeated(Repeat::WhenUnsent, &status(503, None)));
        assert!(!repeated(Repeat::Never, &unsent));
        assert!(repeated(Repeat::ByKey, &lost) && repeated(Repeat::ByKey, &status(503, None)));
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        for (code, again) in [
            (400, false),
            (401, false),
            (404, false),
            (409, false),
            (500, false),
            (429, true),
            (503, true),
        ] {
            assert_eq!(
                pause(Repeat::WhenSafe, &status(code, None), 0, 0).is_some(),
                again,
                "{code}"
            );
        }
    }

    #[test]
    fn the_daemon_says_when_to_come_back() {
        let asked = |seconds| pause(Repeat::WhenSafe, &status(429, Some(seconds)), 3, 9);
        assert_eq!(asked(7), Some(Duration::from_secs(7)));
        assert_eq!(asked(3_600), None);
    }

    #[test]
    fn pauses_grow_and_stop_growing() {
        let pauses =
            [0, 1, 2, 10, u32::MAX].map(|attempt| backoff(FIRST_PAUSE, LONGEST_PAUSE, attempt, u32::MAX));
        assert_eq!(
            pauses.map(|pause| pause.as_millis()),
            [200, 400, 800, 5_000, 5_000]
        );
        assert_eq!(backoff(FIRST_PAUSE, LONGEST_PAUSE, 0, 0).as_millis(), 100);
    }
}
