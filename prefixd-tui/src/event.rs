//! What comes in to [`update`](crate::app::App::update) and what goes out.

use crossterm::event::{KeyEvent, MouseEvent};
use prefixd_api::feed::FeedMessage;
use prefixd_api::ids::MitigationId;
use prefixd_api::mitigation::{Mitigation, MitigationDetail, WithdrawRequest};
use prefixd_api::resource::{HealthDetail, Mode, Peer, Stats};
use prefixd_api::role::Role;
use prefixd_api::time::Timestamp;
use prefixd_api::why::Why;
use std::time::Duration;

/// A moment as the console sees it: how long it runs, for ages and guards, and what its host's clock says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Now {
    pub(crate) uptime: Duration,
    pub(crate) wall: Timestamp,
}

/// Something happened.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Key(KeyEvent),
    Paste(String),
    Mouse(MouseEvent),
    Resize {
        width: u16,
        height: u16,
    },
    /// Once a second.
    Tick,
    /// A frame reached the terminal.
    Drawn,
    /// The feed has a connection, and says whom it talks to.
    FeedUp {
        /// It goes on where an earlier one was; otherwise what came before it is not in it.
        resumed: bool,
        server_time: Timestamp,
        pop: String,
        mode: Mode,
        role: Role,
    },
    /// The feed has nothing to say and lives.
    FeedAlive,
    /// The feed has missed something.
    FeedResync,
    Feed(Box<FeedMessage>),
    /// The feed has lost its connection, and why.
    FeedLost(String),
    Answer(Answer),
}

/// The answer to a [`Request`].
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Health(Result<Box<HealthDetail>, Failure>),
    Stats(Result<Box<Stats>, Failure>),
    Peers(Result<Vec<Peer>, Failure>),
    Live {
        round: u64,
        result: Result<Page, Failure>,
    },
    Ended(Result<Page, Failure>),
    One(MitigationId, Result<Box<Mitigation>, Failure>),
    Detail(MitigationId, Result<Box<MitigationDetail>, Failure>),
    Why(MitigationId, Result<Box<Why>, Failure>),
    Withdraw(MitigationId, Result<Box<Mitigation>, Failure>),
}

/// Mitigations, and whether there are more.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub(crate) mitigations: Vec<Mitigation>,
    pub(crate) more: bool,
}

/// Why there is no answer, or not the one asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No connection: nothing was sent.
    NotSent(String),
    /// No answer came; whether the request arrived is not known.
    Unreachable(String),
    /// The daemon does not take our credentials (401).
    Unauthorized(String),
    /// The daemon refused, and says why.
    Refused { code: String, detail: String },
}

impl Failure {
    /// One sentence.
    pub(crate) fn words(&self) -> &str {
        match self {
            Self::NotSent(words)
            | Self::Unreachable(words)
            | Self::Unauthorized(words)
            | Self::Refused { detail: words, .. } => words,
        }
    }
}

/// Something to do outside.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Effect {
    Request(Request),
    /// To the clipboard of the person's own terminal (OSC 52).
    Copy(String),
    /// Take or leave the mouse.
    Mouse(bool),
    /// Leave the full screen and print the screen as plain text until a key comes.
    Dump,
    /// Back to the full screen.
    EndDump,
    /// Draw every cell again.
    Repaint,
    Suspend,
    /// Try the feed now, not when its wait is over.
    RetryFeed,
    Quit,
}

/// A request to the daemon. Each is answered once.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Request {
    Health,
    Stats,
    Peers,
    /// All live mitigations.
    Live {
        round: u64,
    },
    /// The newest that ended.
    Ended,
    One(MitigationId),
    Detail(MitigationId),
    Why(MitigationId),
    Withdraw(MitigationId, WithdrawRequest),
}
