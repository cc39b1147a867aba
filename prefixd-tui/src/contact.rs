//! Contact with the daemon, in one word.

use std::time::Duration;

/// Older than this, what is shown lags.
const LAG_AFTER: Duration = Duration::from_secs(2);
/// Older than this, nothing may be changed, and a feed is taken for dead.
pub(crate) const STALE_AFTER: Duration = Duration::from_secs(10);
/// The longest wait between two attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// What is known about the way to the daemon. Times are the console's uptime.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contact {
    feed: Feed,
    answered: Option<Duration>,
    /// When anything last came.
    heard: Option<Duration>,
    failure: Option<Failure>,
    resync: bool,
}

#[derive(Clone, Debug, Default)]
enum Feed {
    #[default]
    Down,
    Up {
        last: Duration,
    },
}

#[derive(Clone, Debug)]
struct Failure {
    reason: Reason,
    attempts: u32,
    again: Duration,
}

#[derive(Clone, Debug)]
enum Reason {
    Unreachable(String),
    Refused(String),
}

/// The state of contact. The span is the age of what is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Nothing was heard yet.
    Connecting,
    /// The feed is up: the age is the age of its last word.
    Live(Duration),
    /// It is up but late, or lists are being read again.
    Lag(Duration),
    /// The feed is down, requests work.
    Poll(Duration),
    /// Nothing works; absent when nothing was ever heard.
    Stale(Option<Duration>),
    /// The daemon does not take our credentials.
    Auth,
}

impl State {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Connecting => "CONNECTING",
            Self::Live(_) => "LIVE",
            Self::Lag(_) => "LAG",
            Self::Poll(_) => "POLL",
            Self::Stale(_) => "STALE",
            Self::Auth => "AUTH",
        }
    }

    /// Whether what is shown may be taken for what is.
    pub(crate) const fn is_current(self) -> bool {
        matches!(self, Self::Live(_) | Self::Lag(_) | Self::Poll(_))
    }
}

impl Contact {
    /// The state at an uptime.
    pub(crate) fn state(&self, now: Duration) -> State {
        if let Some(Failure {
            reason: Reason::Refused(_),
            ..
        }) = self.failure
        {
            return State::Auth;
        }
        let age = |since| now.saturating_sub(since);
        // What is shown comes from the feed: answers to requests do not make it any younger.
        if let Feed::Up { last } = self.feed
            && age(last) < STALE_AFTER
        {
            return if self.resync || age(last) >= LAG_AFTER {
                State::Lag(age(last))
            } else {
                State::Live(age(last))
            };
        }
        match (self.answered, self.heard) {
            (Some(at), _) if self.failure.is_none() && age(at) < STALE_AFTER => State::Poll(age(at)),
            (_, Some(heard)) => State::Stale(Some(age(heard))),
            (_, None) if self.failure.is_some() => State::Stale(None),
            (_, None) => State::Connecting,
        }
    }

    /// The feed said something, if only that it lives.
    pub(crate) fn feed_heard(&mut self, now: Duration) {
        self.feed = Feed::Up { last: now };
        self.heard = Some(now);
    }

    /// The feed is gone.
    pub(crate) fn feed_lost(&mut self) {
        self.feed = Feed::Down;
    }

    /// A request was answered.
    pub(crate) fn answered(&mut self, now: Duration) {
        self.answered = Some(now);
        self.heard = Some(now);
        self.failure = None;
    }

    /// A request was not answered.
    pub(crate) fn unreachable(&mut self, now: Duration, reason: String) {
        self.failed(now, Reason::Unreachable(reason));
    }

    /// The daemon does not take our credentials.
    pub(crate) fn refused(&mut self, now: Duration, reason: String) {
        self.failed(now, Reason::Refused(reason));
    }

    /// Requests that fail together count once.
    fn failed(&mut self, now: Duration, reason: Reason) {
        if let Some(failure) = &mut self.failure
            && now < failure.again
        {
            failure.reason = reason;
            return;
        }
        let attempts = self.failure.as_ref().map_or(0, |failure| failure.attempts) + 1;
        let wait = Duration::from_secs(1 << (attempts - 1).min(5)).min(LONGEST_WAIT);
        self.failure = Some(Failure {
            reason,
            attempts,
            again: now + wait,
        });
    }

    /// Lists are being read again, or that is done.
    pub(crate) fn set_resync(&mut self, resync: bool) {
        self.resync = resync;
    }

    pub(crate) const fn is_resyncing(&self) -> bool {
        self.resync
    }

    /// Whether the next attempt is due.
    pub(crate) fn may_try(&self, now: Duration) -> bool {
        self.failure.as_ref().is_none_or(|failure| now >= failure.again)
    }

    /// The next attempt is due at once.
    pub(crate) fn try_now(&mut self, now: Duration) {
        if let Some(failure) = &mut self.failure {
            failure.again = now;
        }
    }

    /// Why there is no contact, and when the next attempt is.
    pub(crate) fn trouble(&self, now: Duration) -> Option<(&str, Duration, u32)> {
        self.failure.as_ref().map(|failure| {
            let (Reason::Unreachable(reason) | Reason::Refused(reason)) = &failure.reason;
            (
                reason.as_str(),
                failure.again.saturating_sub(now),
                failure.attempts,
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_word_follows_what_was_heard() {
        let mut contact = Contact::default();
        assert_eq!(contact.state(at(1)), State::Connecting);
        contact.answered(at(1));
        assert_eq!(contact.state(at(1)), State::Poll(at(0)));
        contact.feed_heard(at(2));
        assert_eq!(contact.state(at(3)), State::Live(at(1)));
        assert_eq!(contact.state(at(4)), State::Lag(at(2)));
        assert_eq!(contact.state(at(12)), State::Stale(Some(at(10))));
        contact.feed_heard(at(13));
        assert_eq!(contact.state(at(13)), State::Live(at(0)));
        contact.set_resync(true);
        assert_eq!(contact.state(at(13)), State::Lag(at(0)));
    }

    /// A connection that a firewall has forgotten stays open and says nothing, while requests, on connections of
    /// their own, are answered.
    #[test]
    fn answers_do_not_make_a_mute_feed_live() {
        let mut contact = Contact::default();
        contact.feed_heard(at(1));
        for (second, state) in [
            (2, State::Live(at(1))),
            (3, State::Lag(at(2))),
            (10, State::Lag(at(9))),
            (11, State::Poll(at(0))),
            (60, State::Poll(at(0))),
        ] {
            contact.answered(at(second));
            assert_eq!(contact.state(at(second)), state, "{second}");
        }
        assert_eq!(contact.state(at(70)), State::Stale(Some(at(10))));
        contact.feed_heard(at(71));
        assert_eq!(contact.state(at(71)), State::Live(at(0)));
    }

    #[test]
    fn a_refused_connection_is_stale_at_once_and_tried_less_and_less() {
        let mut contact = Contact::default();
        contact.answered(at(0));
        contact.feed_lost();
        contact.unreachable(at(1), "connection refused".to_owned());
        assert_eq!(contact.state(at(1)), State::Stale(Some(at(1))));
        let mut now = at(1);
        let mut waits = Vec::new();
        for _ in 0..7 {
            let (_, wait, _) = contact.trouble(now).unwrap();
            assert!(!contact.may_try(now) && contact.may_try(now + wait));
            waits.push(wait.as_secs());
            now += wait;
            contact.unreachable(now, "connection refused".to_owned());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        contact.try_now(now);
        assert!(contact.may_try(now));
        contact.answered(now);
        assert_eq!(contact.state(now), State::Poll(at(0)));
    }

    #[test]
    fn credentials_that_are_not_taken_have_their_own_word() {
        let mut contact = Contact::default();
        contact.feed_heard(at(1));
        contact.refused(at(1), "sign in first".to_owned());
        assert_eq!(contact.state(at(1)), State::Auth);
        assert!(!State::Auth.is_current());
        contact.answered(at(2));
        assert_eq!(contact.state(at(2)), State::Live(at(1)));
    }
}
