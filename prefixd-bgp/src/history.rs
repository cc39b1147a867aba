//! What happened to a neighbour, in order: the last things, with repetitions counted.

use std::collections::VecDeque;
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;

use tokio::time::Instant;

use crate::flowspec::{Family, NlriKey};
use crate::rib::Parked;
use crate::status::Loss;

/// Entries kept for one neighbour.
const KEPT: usize = 128;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// When it happened first.
    pub at: Instant,
    /// When it happened last; later than `at` for something that came again without anything else between.
    pub last: Instant,
    /// How often.
    pub times: u64,
    /// What happened; its text is for people.
    pub what: Occurrence,
}

/// See [`HistoryEntry`]. The steps on the way to a session (dialling, OPEN) are no entries: a router that is away for a
/// night would leave nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Occurrence {
    /// The session was established.
    Established {
        /// The router's BGP identifier.
        router_id: Ipv4Addr,
    },
    /// The established session was lost.
    Lost(Loss),
    /// An attempt to make a session failed.
    Failed(Loss),
    /// An operator disabled the neighbour.
    Disabled {
        /// The operator's text.
        text: Arc<str>,
    },
    /// An operator enabled the neighbour.
    Enabled,
    /// An operator reset the session.
    Reset {
        /// The operator's text.
        text: Arc<str>,
    },
    /// The configuration changed in a way that needs a new session.
    Reconfigured,
    /// An operator had the rules sent again; all families if none is named.
    Resent(Option<Family>),
    /// The router asked for its rules again.
    RefreshAsked(Family),
    /// A rule ended the session and is held back.
    Parked {
        /// Which one.
        rule: NlriKey,
        /// How long, and why.
        parked: Arc<Parked>,
    },
    /// Rules that may have ended the session wait to be tried.
    Probation {
        /// How many.
        rules: usize,
    },
    /// Parked rules are tried again, because their time is over.
    ParkingEnded,
    /// An operator has parked rules tried again; all of them if none is named.
    Released(Option<NlriKey>),
    /// A bound that a Cease/1 seemed to set is tried again.
    BoundLifted,
}

impl fmt::Display for Occurrence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let with = |f: &mut fmt::Formatter<'_>, what: &str, text: &str| {
            f.write_str(what)?;
            if text.is_empty() {
                Ok(())
            } else {
                write!(f, ": {text}")
            }
        };
        match self {
            Self::Established { router_id } => write!(f, "session established with {router_id}"),
            Self::Lost(loss) => write!(f, "session lost: {loss}"),
            Self::Failed(loss) => write!(f, "no session: {loss}"),
            Self::Disabled { text } => with(f, "disabled", text),
            Self::Enabled => f.write_str("enabled"),
            Self::Reset { text } => with(f, "reset", text),
            Self::Reconfigured => f.write_str("the configuration of the session changed"),
            Self::Resent(None) => f.write_str("all rules sent again by order"),
            Self::Resent(Some(family)) => write!(f, "the {family} rules sent again by order"),
            Self::RefreshAsked(family) => write!(f, "the router asked for the {family} rules again"),
            Self::Parked { rule, parked } => write!(f, "rule {rule} parked: {parked}"),
            Self::Probation { rules } => write!(
                f,
                "one of {rules} rules may have ended the session; they are tried one after the other"
            ),
            Self::ParkingEnded => f.write_str("parked rules are tried again, their time is over"),
            Self::Released(None) => f.write_str("all parked rules released by order"),
            Self::Released(Some(rule)) => write!(f, "parked rule {rule} released by order"),
            Self::BoundLifted => f.write_str("the router is offered all rules again after its Cease/1"),
        }
    }
}

/// A ring of the last entries.
#[derive(Debug, Default)]
pub(crate) struct History(VecDeque<HistoryEntry>);

impl History {
    pub(crate) fn push(&mut self, what: Occurrence, now: Instant) {
        if let Some(newest) = self.0.back_mut().filter(|newest| newest.what == what) {
            newest.times += 1;
            newest.last = now;
            return;
        }
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(HistoryEntry {
            at: now,
            last: now,
            times: 1,
            what,
        });
    }

    /// The oldest first.
    pub(crate) fn entries(&self) -> Vec<HistoryEntry> {
        self.0.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Duration;

    use super::*;

    #[test]
    fn repetitions_are_counted_and_the_oldest_give_way() {
        let now = Instant::now();
        let mut history = History::default();
        let failed = || Occurrence::Failed(Loss::ConnectTimeout);
        for seconds in 0..1000 {
            history.push(failed(), now + Duration::from_secs(seconds));
        }
        let [entry] = &history.entries()[..] else {
            panic!("{history:?}")
        };
        assert_eq!(
            (entry.times, entry.last - entry.at),
            (1000, Duration::from_secs(999))
        );
        for _ in 0..100 {
            history.push(Occurrence::Enabled, now);
            history.push(failed(), now);
        }
        let entries = history.entries();
        assert_eq!(entries.len(), KEPT);
        assert_eq!(entries.last().map(|entry| entry.what.clone()), Some(failed()));
    }
}
