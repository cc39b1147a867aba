//! A neighbour in detail, and what an operator can do to it.

use crate::family::AfiSafi;
use crate::ids::MitigationId;
use crate::resource::{AnnouncementState, Peer};
use crate::rule::Action;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// An operator disabled a neighbour: it has no session and is to hold no rules until it is enabled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct PeerDisabled {
    /// Its name in the configuration.
    pub neighbor: String,
    /// Why; the router was told the same.
    pub reason: String,
    /// Who did it.
    pub disabled_by: String,
    /// When.
    pub disabled_at: Timestamp,
}

/// What an operator can do to one neighbour while the others go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PeerOrder {
    /// Take every rule from it, end its session and make no other.
    Disable,
    /// Let it have sessions again.
    Enable,
    /// End its session and make it anew.
    Reset,
    /// Send every rule again over the session there is.
    Resend,
    /// Try rules again that are held back because they ended the session.
    Release,
}

impl PeerOrder {
    /// The name in routes, in the journal and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Enable => "enable",
            Self::Reset => "reset",
            Self::Resend => "resend",
            Self::Release => "release",
        }
    }
}

/// The body of `POST /v1/peers/{name}/disable`, `/enable`, `/reset`, `/resend` and `/release`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PeerOrderRequest {
    /// Why, for the journal. Disable and reset tell it to the router too (RFC 9003: its first 128 bytes).
    pub reason: String,
    /// The one rule to release, by its NLRI as hex; absent: all of them. Only release has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nlri: Option<String>,
    /// The one family to send again; absent: all of them. Only resend has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub afi_safi: Option<AfiSafi>,
}

/// The answer of `GET /v1/peers/{name}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct PeerDetail {
    /// The neighbour.
    #[serde(flatten)]
    pub peer: Peer,
    /// What was agreed on, while established.
    pub session: Option<PeerSession>,
    /// The last NOTIFICATION that ended a session or an attempt, from the router.
    pub last_received: Option<PeerNotification>,
    /// The same from us.
    pub last_sent: Option<PeerNotification>,
    /// When the next attempt to dial is due, while there is none.
    pub retry_at: Option<Timestamp>,
    /// The last things that happened, oldest first; what happens again is counted.
    pub history: Vec<PeerOccurrence>,
    /// Rules that ended the session and are held back, wanted at the moment or not; the one that ends first comes first.
    #[serde(default)]
    pub parked: Vec<PeerParked>,
}

/// A neighbour that may hold rules which were taken back: its session was lost in silence, it agreed to graceful restart, and a
/// withdrawal does not reach it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct MayHold {
    /// The neighbour.
    pub neighbor: String,
    /// When it has dropped them at the latest. A session before that takes back what is not wanted any more.
    pub until: Timestamp,
}

/// How rules get to a neighbour, since it was configured or prefixd was started.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct PeerWriting {
    /// How long rules that changed while the session was up took to be written.
    pub lag: PeerLag,
    /// From the session to the End-of-RIB of its last family, the last time: how long it took to tell everything.
    pub end_of_rib_seconds: Option<f64>,
    /// How long its socket took nothing while there was something to write.
    pub blocked_seconds: f64,
    /// Rules written; one that is told again counts again.
    pub announced: u64,
    /// Withdrawals written.
    pub withdrawn: u64,
    /// Rules that the speaker took back by itself at the end of their lease.
    pub expired: u64,
    /// Requests of the router for everything again that were served.
    pub refreshes: u64,
    /// Routes that it announces to prefixd, which ignores them.
    pub inbound_routes: u64,
}

/// From a rule being wanted to its UPDATE being written to the socket.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct PeerLag {
    /// Rules that were written.
    pub count: u64,
    /// All their times together.
    pub sum_seconds: f64,
    /// How many took how long; those that took longer than the last bound are in none.
    pub buckets: Vec<LagBucket>,
}

/// One of [`PeerLag`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct LagBucket {
    /// Its upper bound.
    pub seconds: f64,
    /// Rules that took so long at most, and longer than the bound before.
    pub count: u64,
}

impl PeerLag {
    /// A time that this part of the rules did not exceed, as exactly as the buckets are; none if nothing was written, and
    /// infinite for what was slower than the last bound.
    #[must_use]
    pub fn quantile(&self, part: f64) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "a part of a count")]
        let (wanted, mut seen) = (part * self.count as f64, 0.0);
        let slowest = (self.count > 0).then_some(f64::INFINITY);
        let reached = |bucket: &&LagBucket| {
            #[expect(clippy::cast_precision_loss, reason = "a part of a count")]
            let count = bucket.count as f64;
            seen += count;
            seen >= wanted && seen > 0.0
        };
        let found = self.buckets.iter().find(reached);
        found.map(|bucket| bucket.seconds).or(slowest)
    }
}

/// A rule that is held back from a neighbour because it ended its session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct PeerParked {
    /// The NLRI as hex.
    pub nlri: String,
    /// `ipv4-flowspec` or `ipv6-flowspec`.
    pub afi_safi: String,
    /// Since when.
    pub since: Timestamp,
    /// When it is tried again by itself.
    pub until: Timestamp,
    /// How often it was parked; each time it is for longer.
    pub times: u32,
    /// How the session ended, in the router's words where it sent some.
    pub why: String,
}

/// What was agreed on for an established session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct PeerSession {
    /// Our end.
    pub local: String,
    /// The router's end.
    pub remote: String,
    /// Whether we dialled.
    pub dialled: bool,
    /// Capabilities that we offered; those of the router are `capabilities`.
    pub offered: Vec<String>,
    /// Whether AS numbers have four octets (RFC 6793).
    pub four_octet_as: bool,
    /// Whether a refresh is framed, so that the router drops what is not sent again (RFC 7313).
    pub enhanced_refresh: bool,
    /// Whether segments are signed (TCP-MD5, RFC 2385).
    pub md5: bool,
    /// Whether only what no router has forwarded is heard (GTSM, RFC 5082).
    pub ttl_security: bool,
}

/// A NOTIFICATION (RFC 4271 section 4.5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct PeerNotification {
    /// When.
    pub at: Timestamp,
    /// Code.
    pub code: u8,
    /// Subcode.
    pub subcode: u8,
    /// The registered meaning.
    pub meaning: String,
    /// The words that came with it (RFC 9003), or our own.
    pub text: Option<String>,
}

/// Something that happened to a neighbour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct PeerOccurrence {
    /// When it happened first.
    pub at: Timestamp,
    /// When it happened last, with nothing else between.
    pub last_at: Timestamp,
    /// How often.
    pub times: u64,
    /// What, in words.
    pub what: String,
}

/// A rule that a neighbour should hold, or was told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct RibRoute {
    /// The NLRI as hex, as it is sent: the identity of the rule.
    pub nlri: String,
    /// `ipv4-flowspec` or `ipv6-flowspec`.
    pub afi_safi: String,
    /// The rule as one line; absent when no live mitigation wants it any more.
    pub rule: Option<String>,
    /// What the router should do; absent while it is taken back.
    #[cfg_attr(feature = "server", schema(value_type = Option<crate::rule::ActionFields>))]
    pub action: Option<Action>,
    /// Where it stands.
    pub state: AnnouncementState,
    /// Why, when it is not with the router.
    pub reason: Option<String>,
    /// When it was last written to the session.
    pub written_at: Option<Timestamp>,
    /// When the speaker takes it back by itself.
    pub until: Option<Timestamp>,
    /// The mitigations that want it.
    pub mitigations: Vec<MitigationId>,
}

/// The answer of `GET /v1/peers/{name}/rib`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct RibList {
    /// By NLRI.
    pub routes: Vec<RibRoute>,
    /// How many there are here.
    pub count: usize,
    /// Where the next page begins; absent: this is the last.
    pub next_cursor: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_the_bound_that_it_stays_below() {
        let lag = |counts: [u64; 3], count| PeerLag {
            count,
            sum_seconds: 0.0,
            buckets: [0.001, 0.01, 0.1]
                .into_iter()
                .zip(counts)
                .map(|(seconds, count)| LagBucket { seconds, count })
                .collect(),
        };
        let cases = [
            (lag([0, 0, 0], 0), None, None),
            (lag([1, 0, 0], 1), Some(0.001), Some(0.001)),
            (lag([50, 49, 1], 100), Some(0.001), Some(0.01)),
            (lag([0, 0, 4], 4), Some(0.1), Some(0.1)),
            // One of two was slower than any bound.
            (lag([1, 0, 0], 2), Some(0.001), Some(f64::INFINITY)),
        ];
        for (lag, half, most) in cases {
            assert_eq!((lag.quantile(0.5), lag.quantile(0.99)), (half, most), "{lag:?}");
        }
    }
}
