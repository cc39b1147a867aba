//! What the routers were told to do with some traffic: "are we dropping this?"

use crate::ids::MitigationId;
use crate::resource::{AnnouncementState, PeerState};
use crate::rule::Action;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// What is known of a packet; the more is said, the more certain is the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Traffic {
    /// Where it goes.
    #[cfg_attr(feature = "server", schema(value_type = String))]
    pub dst: IpAddr,
    /// Where it comes from.
    #[cfg_attr(feature = "server", schema(value_type = Option<String>))]
    pub src: Option<IpAddr>,
    /// IP protocol number.
    pub proto: Option<u8>,
    /// The port it comes from.
    pub sport: Option<u16>,
    /// The port it goes to.
    pub dport: Option<u16>,
}

crate::event::open_names! {
    /// What a neighbour was told to do with the traffic.
    TrafficVerdict {
        /// A rule matches all of it.
        Matched = "matched",
        /// A rule matches some of it: more has to be known of the packets.
        Depends = "depends",
        /// No rule matches it.
        Unmatched = "unmatched",
        /// There is no session: what the router does is not known.
        Unknown = "unknown",
    }
}

/// A rule that matches the traffic, or some of it, at one neighbour.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct TrafficRule {
    /// The rule as it is sent; absent when no live mitigation wants it any more.
    pub rule: Option<String>,
    /// The NLRI as hex, as it is sent.
    pub nlri: String,
    /// `ipv4-flowspec`, `ipv6-flowspec`, `ipv4-unicast` or `ipv6-unicast`.
    pub afi_safi: String,
    /// What it does; absent while it is taken back.
    #[cfg_attr(feature = "server", schema(value_type = Option<crate::rule::ActionFields>))]
    pub action: Option<Action>,
    /// Where it stands.
    pub state: AnnouncementState,
    /// Why, when it is not with the router.
    pub reason: Option<String>,
    /// When the speaker takes it back by itself.
    pub until: Option<Timestamp>,
    /// The mitigations that want it.
    pub mitigations: Vec<MitigationId>,
    /// What has to be known of a packet to say whether it matches; empty: it matches all of the traffic.
    #[serde(default)]
    pub depends_on: Vec<String>,
}

/// The traffic at one neighbour.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct NeighborTraffic {
    /// The neighbour.
    pub neighbor: String,
    /// Its session.
    pub session: PeerState,
    /// What it was told to do.
    pub verdict: TrafficVerdict,
    /// The same as one sentence.
    pub summary: String,
    /// The first rule that the router has and that matches all of the traffic (RFC 8955 section 5.1).
    pub effective: Option<TrafficRule>,
    /// Rules that the router has, that it asks before the effective one, and that match some of the traffic.
    pub before: Vec<TrafficRule>,
    /// The blackhole route of the destination, when the router has it: it acts on what no rule has dropped.
    pub blackhole: Option<TrafficRule>,
    /// Rules that match and that the router does not have.
    pub missing: Vec<TrafficRule>,
}

/// A rule of another POP that matches the traffic, or some of it, as it was decided there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct PopRule {
    /// The rule; the neighbours there may take it in another form.
    pub rule: String,
    /// What it does.
    #[cfg_attr(feature = "server", schema(value_type = crate::rule::ActionFields))]
    pub action: Action,
    /// When it ends unless it is renewed.
    pub until: Option<Timestamp>,
    /// When a neighbour there was first seen to have it.
    pub advertised_at: Option<Timestamp>,
    /// The mitigations that want it.
    pub mitigations: Vec<MitigationId>,
    /// What has to be known of a packet to say whether it matches; empty: it matches all of the traffic.
    #[serde(default)]
    pub depends_on: Vec<String>,
}

/// The traffic at another POP. What each neighbour there was told, only the daemon there knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct PopTraffic {
    /// The POP.
    pub pop: String,
    /// What its mitigations do with the traffic; `unknown` when no daemon runs the POP.
    pub verdict: TrafficVerdict,
    /// The same as one sentence.
    pub summary: String,
    /// The first rule that matches all of the traffic (RFC 8955 section 5.1).
    pub effective: Option<PopRule>,
    /// Rules that are asked before the effective one and that match some of the traffic.
    pub before: Vec<PopRule>,
    /// The blackhole route of the destination: it acts on what no rule has dropped.
    pub blackhole: Option<PopRule>,
}

/// The answer of `GET /v1/match`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct TrafficAnswer {
    /// The question.
    pub traffic: Traffic,
    /// When it was answered.
    pub at: Timestamp,
    /// Every neighbour, in the order of the configuration.
    pub neighbors: Vec<NeighborTraffic>,
    /// The other POPs that were asked about (`pop`), by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub elsewhere: Vec<PopTraffic>,
    /// Why other POPs are not in it, or not with everything, although they were asked about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elsewhere_unknown: Option<String>,
}
