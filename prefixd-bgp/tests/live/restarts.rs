//! What each router does with our rules over a restart: rows of docs/interop.md. Shared by the tests and by `make interop`
//! (examples/interop.rs).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use lab::routers::{Family, Kind};
use prefixd_bgp::flowspec::{Action, Component, NumericTerm};
use prefixd_bgp::{Change, RestartTime, Retention, Stop};
use tokio::time::Instant;

use crate::harness::*;

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// How long the tables are looked at before what is still there counts as kept.
const KEPT: Duration = Duration::from_secs(1);
/// A restart time that is over before we are back.
const SHORT: u16 = 2;

/// How the router is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Router {
    /// Nothing about graceful restart.
    Default,
    SwitchedOn,
}

/// What happens to the speaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// Its connections end without a word, and it is back at once.
    Killed,
    /// It says nothing on purpose, and is back at once.
    Upgrade,
    /// It is killed, and back after the restart time.
    SlowRestart,
    /// It is killed and back at once, and could not restore all.
    FailedRestore,
}

/// What was seen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Seen {
    /// The rules that go on were in the tables at every look, and the one that had ended was gone so long after the start.
    Kept { purged: Duration },
    /// The tables were empty so long after the end; then they had everything again.
    Dropped { after: Duration },
    /// Nothing of before was left so long after the start, and what was restored is there.
    Purged { after: Duration },
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kept { purged } => write!(
                f,
                "kept, no gap; what had ended is gone after {:.1} s",
                purged.as_secs_f64()
            ),
            Self::Dropped { after } => write!(f, "dropped after {:.1} s", after.as_secs_f64()),
            Self::Purged { after } => write!(
                f,
                "kept, then replaced {:.1} s after the start",
                after.as_secs_f64()
            ),
        }
    }
}

pub(crate) async fn start(kind: Kind, router: Router, seconds: u16) -> Option<Pair> {
    let pair = Pair::start_with(
        kind,
        Transport::WeDial,
        Peering::Internal,
        LOCALHOST,
        |config, neighbor| {
            config.graceful_restart = router == Router::SwitchedOn;
            neighbor.graceful_restart = Some(RestartTime::from_secs(seconds).unwrap());
        },
    )
    .await?;
    pair.wait_established().await;
    Some(pair)
}

/// Two rules that go on and one that ends while we are away.
pub(crate) struct Rules {
    v4: Rule,
    v6: Rule,
    ending: Rule,
}

impl Rules {
    pub(crate) fn new() -> Self {
        let udp = |victim| {
            let protocol = Component::Protocol(vec![NumericTerm::equal(17)]);
            rule(victim, Action::DISCARD, vec![protocol])
        };
        Self {
            v4: udp("203.0.113.10/32"),
            v6: udp("2001:db8::10/128"),
            ending: udp("203.0.113.99/32"),
        }
    }

    pub(crate) fn all(&self) -> [Change; 3] {
        [announce(&self.v4), announce(&self.v6), announce(&self.ending)]
    }

    fn going_on(&self) -> [Change; 2] {
        [announce(&self.v4), announce(&self.v6)]
    }
}

pub(crate) async fn held(pair: &Pair) -> (usize, usize) {
    let v4 = pair.router.count(Family::Ipv4Flow).await.unwrap();
    (v4, pair.router.count(Family::Ipv6Flow).await.unwrap())
}

pub(crate) fn retention(pair: &Pair) -> Retention {
    pair.speaker.peer(NAME).unwrap().session.unwrap().retention
}

pub(crate) async fn wait_held(pair: &Pair, (v4, v6): (usize, usize)) {
    pair.wait_rules(Family::Ipv4Flow, v4).await;
    pair.wait_rules(Family::Ipv6Flow, v6).await;
}

/// Plays one cell; whether the router agreed, and what it did. None if the router is not installed.
pub(crate) async fn play(kind: Kind, router: Router, event: Event) -> Option<(bool, Seen)> {
    let slow = event == Event::SlowRestart;
    let seconds = if slow { SHORT } else { 60 };
    let mut pair = start(kind, router, seconds).await?;
    let rules = Rules::new();
    pair.speaker.apply(rules.all()).unwrap();
    wait_held(&pair, (2, 1)).await;
    let agreed = retention(&pair).agreed().is_some();

    if event == Event::Upgrade {
        let stop = Stop::Restart { text: String::new() };
        assert!(pair.speaker.shutdown(stop, LIMIT).await.is_empty());
    }
    let ended = Instant::now();
    pair.kill_speaker();
    pair.router.wait_down(LIMIT).await.unwrap();
    let down = Instant::now();
    let longest = if slow { LIMIT } else { KEPT };
    while down.elapsed() < longest {
        let now = held(&pair).await;
        if now == (0, 0) {
            let after = ended.elapsed();
            pair.restart_speaker(&rules.going_on());
            wait_held(&pair, (1, 1)).await;
            return Some((agreed, Seen::Dropped { after }));
        }
    }
    assert!(!slow, "{kind:?} kept the rules over the restart time");

    let started = Instant::now();
    if event == Event::FailedRestore {
        pair.restart_speaker_incomplete(&[announce(&rules.v4)]);
        wait_held(&pair, (1, 0)).await;
        return Some((
            agreed,
            Seen::Purged {
                after: started.elapsed(),
            },
        ));
    }
    pair.restart_speaker(&rules.going_on());
    let purged = loop {
        let (v4, v6) = held(&pair).await;
        assert!(v4 >= 1 && v6 == 1, "{kind:?}: a gap");
        if v4 == 1 {
            break started.elapsed();
        }
        let status = pair.speaker.peer(NAME);
        assert!(started.elapsed() < LIMIT, "the ended rule stays: {status:#?}");
    };
    let shown = pair.wait_rules(Family::Ipv4Flow, 1).await;
    assert!(shown[0].matches.to_string().contains("203.0.113.10/32"));
    Some((agreed, Seen::Kept { purged }))
}
