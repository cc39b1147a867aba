//! What can be seen of a neighbour: plain data, copied out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::time::{Duration, Instant};

use crate::flowspec::Family;
use crate::restart::{MayHold, Retention};
use crate::rib::{Latency, RibCounts, RibTotals};
use crate::wire::Notification;

/// The log target of everything about sessions, so that one can follow them: `PREFIXD_LOG=info,bgp=debug`.
pub(crate) const LOG: &str = "bgp";
/// Text of a neighbour is cut to this many characters before it is kept.
const MAX_TEXT: usize = 200;

/// The states of RFC 4271 section 8.2.2.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SessionPhase {
    /// Not started, stopped, or held down after an error.
    #[default]
    Idle,
    /// A connection is being dialled.
    Connect,
    /// Waiting to dial again or to be dialled.
    Active,
    /// Connected, our OPEN is sent.
    OpenSent,
    /// OPENs exchanged, waiting for KEEPALIVE.
    OpenConfirm,
    /// Routes can be sent.
    Established,
}

impl SessionPhase {
    /// Lower-case name for APIs, metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Connect => "connect",
            Self::Active => "active",
            Self::OpenSent => "open_sent",
            Self::OpenConfirm => "open_confirm",
            Self::Established => "established",
        }
    }
}

impl fmt::Display for SessionPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Everything about one neighbour at one moment.
#[derive(Debug, Clone)]
pub struct PeerStatus {
    /// Configured name.
    pub name: Arc<str>,
    /// Configured address.
    pub address: IpAddr,
    /// Configured AS.
    pub peer_asn: u32,
    /// What the operators want.
    pub admin: Admin,
    /// State of the session.
    pub phase: SessionPhase,
    /// The established session, if there is one.
    pub session: Option<SessionStatus>,
    /// What the router does with our rules when the connection ends without a NOTIFICATION, by the last session there was.
    pub retention: Option<Retention>,
    /// There is no session, and the router may hold what it was told in the last one.
    pub may_hold: Option<MayHold>,
    /// Sessions established since the neighbour was configured.
    pub established_total: u64,
    /// Established sessions lost without our asking.
    pub flaps: u64,
    /// The same by cause.
    pub flaps_by_cause: BTreeMap<Cause, u64>,
    /// The last thing that went wrong, kept while the session is up again.
    pub last_error: Option<SessionError>,
    /// The last NOTIFICATION that ended a session or an attempt, from the router.
    pub last_received: Option<NotificationSeen>,
    /// The last NOTIFICATION that ended a session or an attempt, from us. Connections that are turned away are not
    /// counted.
    pub last_sent: Option<NotificationSeen>,
    /// When the next attempt to dial is due, while there is none.
    pub retry_at: Option<Instant>,
    /// Messages received.
    pub received: MessageCounts,
    /// Messages handed to the socket.
    pub sent: MessageCounts,
    /// Routes the neighbour announces to us; they are counted and ignored.
    pub inbound_routes: usize,
    /// Time the socket has been full while there was something to write, since the neighbour was configured.
    pub writer_blocked: Duration,
    /// Times the task of the neighbour ended by a fault of this program and was started again.
    pub task_restarts: u64,
    /// Rules desired, advertised and waiting.
    pub rules: RibCounts,
    /// The same by family: those that it is configured for, and those that it is meant to have rules of.
    pub families: BTreeMap<Family, RibCounts>,
    /// Rules since the neighbour was configured.
    pub totals: RibTotals,
    /// From the change of a rule to the socket.
    pub latency: Latency,
}

/// Whether the operators want sessions with a neighbour.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Admin {
    /// As configured.
    #[default]
    Enabled,
    /// No session is made, and the router is to hold no rules.
    Disabled {
        /// Since when.
        since: Instant,
        /// The operator's text, cleaned.
        text: Arc<str>,
    },
}

impl Admin {
    /// True when disabled.
    #[must_use]
    pub fn is_disabled(&self) -> bool {
        matches!(self, Self::Disabled { .. })
    }
}

/// A NOTIFICATION with its moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotificationSeen {
    /// When.
    pub at: Instant,
    /// What it said.
    pub info: NotificationInfo,
}

/// What was agreed for an established session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionStatus {
    /// Since when.
    pub since: Instant,
    /// The router's BGP identifier.
    pub router_id: Ipv4Addr,
    /// Hold time agreed on.
    pub hold_time: Duration,
    /// Families both sides agreed on.
    pub families: BTreeSet<Family>,
    /// What the router offered, in words.
    pub capabilities: Vec<String>,
    /// What we offered, in words.
    pub offered: Vec<String>,
    /// AS numbers of four octets were agreed on (RFC 6793).
    pub four_octet_as: bool,
    /// A refresh is framed by its begin and end (RFC 7313), so that the router can drop what is not sent again.
    pub enhanced_refresh: bool,
    /// What the router does with our rules when the connection ends without a NOTIFICATION.
    pub retention: Retention,
    /// We made the connection; otherwise the router did.
    pub dialled: bool,
    /// Segments are signed (TCP-MD5, RFC 2385).
    pub md5: bool,
    /// Only what no router has forwarded is heard (GTSM, RFC 5082).
    pub ttl_security: bool,
    /// Our end of the connection.
    pub local: SocketAddr,
    /// The router's end.
    pub remote: SocketAddr,
}

/// A problem with a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionError {
    /// When it happened.
    pub at: Instant,
    /// What happened.
    pub loss: Loss,
}

/// Why a session or an attempt to make one ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loss {
    /// The router sent a NOTIFICATION.
    NotificationReceived(NotificationInfo),
    /// We sent a NOTIFICATION.
    NotificationSent(NotificationInfo),
    /// The connection was closed or reset.
    ConnectionLost {
        /// What the system said.
        detail: String,
    },
    /// No connection could be made.
    ConnectFailed {
        /// What the system said.
        detail: String,
    },
    /// The router did not answer in time. A wrong TCP-MD5 key looks the same: the router drops our packets in silence.
    ConnectTimeout,
    /// The task of the neighbour ended by a fault of this program.
    TaskFailed,
}

/// A NOTIFICATION in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotificationInfo {
    /// Code (RFC 4271 section 4.5).
    pub code: u8,
    /// Subcode.
    pub subcode: u8,
    /// The registered meaning.
    pub meaning: &'static str,
    /// For Cease/1 (maximum number of prefixes reached): the family and the bound, if they were named.
    pub prefix_limit: Option<(Family, usize)>,
    /// The router operator's text (RFC 9003) or our own detail, cleaned.
    pub text: Option<String>,
}

impl NotificationInfo {
    /// With its registered meaning; of a bound it says nothing.
    #[must_use]
    pub fn new(code: u8, subcode: u8, text: Option<&str>) -> Self {
        crate::session::info(&Notification::new(code, subcode), text.map(clean))
    }
}

impl Loss {
    /// The router said that it holds as many of our rules as it takes.
    #[must_use]
    pub fn is_prefix_limit(&self) -> bool {
        matches!(self, Self::NotificationReceived(info) if (info.code, info.subcode) == (6, 1))
    }

    /// The router called an UPDATE of ours invalid.
    pub(crate) fn is_update_error(&self) -> bool {
        matches!(self, Self::NotificationReceived(info) if info.code == CODE_UPDATE)
    }

    /// Whether an established session may have ended because of a rule that it was told.
    #[must_use]
    pub fn suspicion(&self) -> Suspicion {
        match self {
            Self::NotificationReceived(info) | Self::NotificationSent(info) => {
                match (info.code, info.subcode) {
                    (CODE_HOLD_TIMER | CODE_SEND_HOLD_TIMER, _) => Suspicion::Slow,
                    // An OPEN says nothing about rules, and the others of a Cease are decisions of people or of both sides.
                    (CODE_CEASE, CEASE_OUT_OF_RESOURCES) => Suspicion::Prompt,
                    (CODE_OPEN | CODE_CEASE, _) => Suspicion::None,
                    _ => Suspicion::Prompt,
                }
            }
            Self::ConnectionLost { .. } => Suspicion::Prompt,
            Self::ConnectFailed { .. } | Self::ConnectTimeout | Self::TaskFailed => Suspicion::None,
        }
    }

    /// Whether a router that agreed to graceful restart may keep our rules over this: no NOTIFICATION was seen, or the one of a
    /// timer. Where we heard nothing for so long, ours may have reached nobody; and there are routers that take the end of
    /// their own hold timer for a restart.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        match self {
            Self::ConnectionLost { .. } | Self::TaskFailed => true,
            Self::NotificationSent(info) => matches!(info.code, CODE_HOLD_TIMER | CODE_SEND_HOLD_TIMER),
            Self::NotificationReceived(info) => info.code == CODE_HOLD_TIMER,
            Self::ConnectFailed { .. } | Self::ConnectTimeout => false,
        }
    }

    /// Without its words.
    #[must_use]
    pub fn cause(&self) -> Cause {
        match self {
            Self::NotificationReceived(info) => Cause::Received(info.code, info.subcode),
            Self::NotificationSent(info) => Cause::Sent(info.code, info.subcode),
            Self::ConnectionLost { .. } => Cause::ConnectionLost,
            Self::ConnectFailed { .. } => Cause::ConnectFailed,
            Self::ConnectTimeout => Cause::ConnectTimeout,
            Self::TaskFailed => Cause::TaskFailed,
        }
    }
}

const CODE_OPEN: u8 = 2;
const CODE_UPDATE: u8 = 3;
const CODE_HOLD_TIMER: u8 = 4;
const CODE_CEASE: u8 = 6;
const CODE_SEND_HOLD_TIMER: u8 = 8;
const CEASE_OUT_OF_RESOURCES: u8 = 8;

/// How the end of a session may hang together with the rules that were told in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suspicion {
    /// Not at all.
    None,
    /// A router that cannot take a rule ends the session when it reads it: within moments.
    Prompt,
    /// A rule that stops BGP itself, or the router, shows as silence: within the hold time.
    Slow,
}

/// A [`Loss`] without its words, to count by. Its text is a label for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// The router sent a NOTIFICATION of this code and subcode.
    Received(u8, u8),
    /// We sent a NOTIFICATION of this code and subcode.
    Sent(u8, u8),
    /// See [`Loss::ConnectionLost`].
    ConnectionLost,
    /// See [`Loss::ConnectFailed`].
    ConnectFailed,
    /// See [`Loss::ConnectTimeout`].
    ConnectTimeout,
    /// See [`Loss::TaskFailed`].
    TaskFailed,
    /// A router that invents ever new codes fills no memory: what comes after the first 64 causes.
    Other,
}

/// Different causes counted for one neighbour.
const MAX_CAUSES: usize = 64;

impl Cause {
    /// Adds one to its figure.
    pub(crate) fn count(self, figures: &mut BTreeMap<Self, u64>) {
        let known = figures.contains_key(&self) || figures.len() < MAX_CAUSES;
        *figures.entry(if known { self } else { Self::Other }).or_default() += 1;
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Received(code, subcode) => write!(f, "received_{code}_{subcode}"),
            Self::Sent(code, subcode) => write!(f, "sent_{code}_{subcode}"),
            Self::ConnectionLost => f.write_str("connection_lost"),
            Self::ConnectFailed => f.write_str("connect_failed"),
            Self::ConnectTimeout => f.write_str("connect_timeout"),
            Self::TaskFailed => f.write_str("task_failed"),
            Self::Other => f.write_str("other"),
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotificationReceived(info) => write!(f, "the router ended the session: {info}"),
            Self::NotificationSent(info) => write!(f, "we ended the session: {info}"),
            Self::ConnectionLost { detail } => write!(f, "the connection was lost: {detail}"),
            Self::ConnectFailed { detail } => write!(f, "no connection to the router: {detail}"),
            Self::ConnectTimeout => f.write_str(
                "no answer from the router in time; is it reachable, and is the TCP-MD5 key the same on both sides?",
            ),
            Self::TaskFailed => f.write_str("the task of this neighbour failed and was started again"),
        }
    }
}

impl fmt::Display for NotificationInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} {}", self.code, self.subcode, self.meaning)?;
        match &self.text {
            Some(text) => write!(f, ": {text}"),
            None => Ok(()),
        }
    }
}

/// Messages by type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MessageCounts {
    /// OPEN.
    pub open: u64,
    /// UPDATE, End-of-RIB included.
    pub update: u64,
    /// NOTIFICATION.
    pub notification: u64,
    /// KEEPALIVE.
    pub keepalive: u64,
    /// ROUTE-REFRESH.
    pub route_refresh: u64,
}

/// A session came up or went down. Intermediate states are not reported; a receiver that lagged reads
/// [`crate::Speaker::peers`] again.
#[derive(Debug, Clone)]
pub struct SessionEvent {
    /// The neighbour.
    pub neighbor: Arc<str>,
    /// What happened.
    pub change: SessionChange,
}

/// See [`SessionEvent`].
#[derive(Debug, Clone)]
pub enum SessionChange {
    /// Established.
    Up {
        /// Families both sides agreed on.
        families: BTreeSet<Family>,
    },
    /// No longer established; the router has dropped our rules, unless it agreed to keep them for a while.
    Down {
        /// Why; `None` when we were asked to stop.
        loss: Option<Loss>,
    },
    /// The session is as it was; which rules wait for another neighbour was decided again.
    Readmitted,
}

/// Text from outside, made safe for logs and terminals: control characters and direction overrides become spaces,
/// length is bounded.
pub(crate) fn clean(text: &str) -> String {
    let unsafe_on_a_screen = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    text.chars()
        .take(MAX_TEXT)
        .map(|c| if unsafe_on_a_screen(c) { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Cause, Loss, NotificationInfo, Suspicion, clean};

    #[test]
    fn only_some_ends_of_a_session_throw_suspicion_on_rules() {
        let notification = |code, subcode| NotificationInfo {
            code,
            subcode,
            meaning: "",
            prefix_limit: None,
            text: None,
        };
        for (code, subcode, expected) in [
            (1, 2, Suspicion::Prompt),
            (2, 7, Suspicion::None),
            (3, 9, Suspicion::Prompt),
            (4, 0, Suspicion::Slow),
            (5, 3, Suspicion::Prompt),
            (6, 0, Suspicion::None),
            (6, 1, Suspicion::None),
            (6, 2, Suspicion::None),
            (6, 8, Suspicion::Prompt),
            (6, 9, Suspicion::None),
            (7, 1, Suspicion::Prompt),
            (8, 0, Suspicion::Slow),
        ] {
            let info = notification(code, subcode);
            for loss in [
                Loss::NotificationReceived(info.clone()),
                Loss::NotificationSent(info),
            ] {
                assert_eq!(loss.suspicion(), expected, "{loss}");
            }
        }
        let detail = String::new();
        let lost = Loss::ConnectionLost {
            detail: detail.clone(),
        };
        assert_eq!(lost.suspicion(), Suspicion::Prompt);
        for loss in [
            Loss::ConnectFailed { detail },
            Loss::ConnectTimeout,
            Loss::TaskFailed,
        ] {
            assert_eq!(loss.suspicion(), Suspicion::None, "{loss}");
        }
    }

    #[test]
    fn only_an_end_without_a_word_or_of_a_timer_may_be_taken_for_a_restart() {
        let info = |code, subcode| NotificationInfo::new(code, subcode, None);
        for (code, subcode, sent, received) in [
            (1, 2, false, false),
            (3, 9, false, false),
            (4, 0, true, true),
            (6, 2, false, false),
            (6, 4, false, false),
            (8, 0, true, false),
        ] {
            let ours = Loss::NotificationSent(info(code, subcode));
            let theirs = Loss::NotificationReceived(info(code, subcode));
            assert_eq!(
                (ours.is_silent(), theirs.is_silent()),
                (sent, received),
                "{code}/{subcode}"
            );
        }
        let detail = String::new();
        assert!(
            Loss::ConnectionLost {
                detail: detail.clone()
            }
            .is_silent()
        );
        assert!(Loss::TaskFailed.is_silent());
        // An attempt: no session, and nothing that was told in it.
        assert!(!Loss::ConnectFailed { detail }.is_silent());
        assert!(!Loss::ConnectTimeout.is_silent());
    }

    #[test]
    fn causes_are_counted_and_bounded() {
        let mut figures = BTreeMap::new();
        Cause::ConnectionLost.count(&mut figures);
        for code in 0..=255 {
            Cause::Received(code, 0).count(&mut figures);
        }
        Cause::ConnectionLost.count(&mut figures);
        assert_eq!(figures.len(), 65);
        assert_eq!(figures[&Cause::ConnectionLost], 2);
        assert_eq!(figures[&Cause::Other], 193);
        assert_eq!(Cause::Received(6, 2).to_string(), "received_6_2");
    }

    #[test]
    fn text_from_outside_cannot_steer_a_terminal_or_grow() {
        assert_eq!(clean("up\u{1b}[2Jgrade\nnow"), "up [2Jgrade now");
        assert_eq!(clean("a\u{202e}b\u{200b}c\u{2066}d"), "a b c d");
        assert_eq!(clean("Wartung Röhre 日本"), "Wartung Röhre 日本");
        assert_eq!(clean(&"x".repeat(1000)).len(), 200);
    }
}
