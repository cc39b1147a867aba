//! Graceful restart (RFC 4724): what we offer, and what a router makes of it.
//!
//! A router that agreed keeps our rules when the connection ends without a NOTIFICATION, until we are back and have said
//! everything (End-of-RIB), or until the restart time is over. The N bit of RFC 8538 is never offered: with it a router
//! would keep them over a NOTIFICATION too, and a neighbour that is disabled could not be rid of its rules by closing.

use std::fmt;

use tokio::time::{Duration, Instant};

use crate::config::ConfigError;

/// How long a router that agreed keeps our rules without us, in seconds, 1 to 120. It is also how much longer than its
/// lease a rule can live, so there is an upper bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RestartTime(u16);

impl RestartTime {
    /// The longest, and the usual one.
    pub const MAX: Self = Self(120);

    /// Checks the value.
    ///
    /// # Errors
    ///
    /// [`ConfigError::RestartTime`] when it is 0 or more than 120.
    pub fn from_secs(seconds: u16) -> Result<Self, ConfigError> {
        if (1..=Self::MAX.0).contains(&seconds) {
            Ok(Self(seconds))
        } else {
            Err(ConfigError::RestartTime { seconds })
        }
    }

    /// Seconds.
    #[must_use]
    pub fn as_secs(self) -> u16 {
        self.0
    }
}

impl fmt::Display for RestartTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.0)
    }
}

/// What the capability of one OPEN says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RestartOffer {
    pub(crate) time: RestartTime,
    /// R: this process has not had a session with the neighbour before.
    pub(crate) restarting: bool,
    /// F, of every family: what the router still holds is replaced by a complete set, so it may keep it until then.
    pub(crate) complete: bool,
}

/// What a router does with our rules when the connection ends without a NOTIFICATION, by what both OPENs said. Some
/// agree and drop them all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    /// It drops them: graceful restart was not offered to it.
    NotOffered,
    /// It drops them: it did not answer the offer.
    NotAgreed,
    /// It keeps them for so long, or until we are back and have sent everything.
    Agreed(RestartTime),
}

impl Retention {
    /// How long the rules are kept, if they are.
    #[must_use]
    pub fn agreed(self) -> Option<RestartTime> {
        match self {
            Self::NotOffered | Self::NotAgreed => None,
            Self::Agreed(time) => Some(time),
        }
    }
}

/// A session ended in silence, and the router agreed to keep our rules over that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MayHold {
    /// When the session ended here.
    pub since: Instant,
    /// When the router has dropped the rules at the latest, unless a session comes before.
    pub until: Instant,
}

impl MayHold {
    /// The router counts the restart time from when it notices that we are gone. Where the link was cut that is at the end of its
    /// hold timer.
    pub(crate) fn after(since: Instant, hold_time: Duration, restart: RestartTime) -> Self {
        Self {
            since,
            until: since + hold_time + Duration::from_secs(restart.as_secs().into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::RestartTime;

    #[test]
    fn a_restart_time_is_bounded() {
        for seconds in [1, 2, 119, 120] {
            assert_eq!(RestartTime::from_secs(seconds).unwrap().as_secs(), seconds);
        }
        for seconds in [0, 121, 4095, u16::MAX] {
            let refused = RestartTime::from_secs(seconds).unwrap_err().to_string();
            assert!(refused.contains(&format!("{seconds} s")), "{refused}");
        }
    }
}
