//! A BGP speaker that announces FlowSpec rules and blackhole routes, and takes them back in time.
//!
//! | module | what it holds |
//! |---|---|
//! | [`flowspec`] | rules, actions, the canonical form and its key |
//! | `route` | [`Route`], [`Change`], [`Delivery`]: what the owner hands over and can ask back |
//! | `config` | [`SpeakerConfig`], [`NeighborConfig`] and their checks |
//! | `speaker` | [`Speaker`]: start, apply, look, reconfigure, administer, shut down |
//! | `status`, `history` | [`PeerStatus`], [`SessionEvent`], [`Loss`], [`HistoryEntry`]: what can be seen |
//! | `restart` | graceful restart: [`RestartTime`], [`Retention`] |
//! | `rib` | the Adj-RIB-Out of one neighbour, pure |
//! | `session` | one TCP connection as a pure state machine |
//! | `neighbor` | one neighbour as a pure state machine: dialling, collisions, retries |
//! | `peer` | the task that carries out what `neighbor` decides |
//! | `connection` | the reader and writer tasks of one socket |
//! | `listener` | accepting |
//! | `transport` | the kernel's connections, or simulated ones in tests |
//! | `socket` | TCP-MD5 and GTSM; the only module with `unsafe` |
//! | `shared` | what handle, task and writer of a neighbour share |
//! | `wire` | the only module that names the BGP crates: messages, attributes, packing |
//! | `fuzzing` (feature) | entry points of the fuzzers |
//!
//! ```text
//!  owner --apply--> Speaker --> [RIB per neighbour] <--pull-- writer --> socket
//!                                   ^                           ^ control lane
//!                                   +------- neighbour task ----+<-- reader <-- socket
//! ```
//!
//! Promises: [`Speaker::apply`] never waits; a router that stops reading delays nobody, itself included; what a
//! neighbour was told and should hold is state that converges, not a queue; every route has an end that the speaker
//! enforces by itself; what a router sends can end its own session and nothing else.
//!
//! ```no_run
//! use std::net::{IpAddr, Ipv4Addr};
//! use std::time::Duration;
//!
//! use prefixd_bgp::flowspec::{Action, Component, Family, NumericTerm, Rule};
//! use prefixd_bgp::{Change, HoldTime, NeighborConfig, Priority, Route, Speaker, SpeakerConfig, Stop, Target};
//! use tokio::time::Instant;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let speaker = Speaker::start(SpeakerConfig {
//!     local_asn: 65010,
//!     router_id: Ipv4Addr::new(10, 10, 0, 10),
//!     listen: vec![],
//!     hold_time: HoldTime::from_secs(30)?,
//!     marker: Some("65010:8955:1".parse()?),
//!     neighbors: vec![NeighborConfig::new("edge1", IpAddr::from([192, 0, 2, 1]), 65010)],
//! })?;
//! let rule = Rule {
//!     family: Family::Ipv4,
//!     components: vec![
//!         Component::DestinationPrefix("203.0.113.10/32".parse()?),
//!         Component::Protocol(vec![NumericTerm::equal(17)]),
//!     ],
//! };
//! let route = Route {
//!     rule: rule.canonical()?.into(),
//!     action: Action::DISCARD,
//!     priority: Priority::default(),
//!     not_after: Instant::now() + Duration::from_secs(300),
//! };
//! speaker.apply([Change::Announce { target: Target::All, route }])?;
//! speaker.open();
//! speaker.shutdown(Stop::Withdraw { text: "maintenance".into() }, Duration::from_secs(5)).await;
//! # Ok(())
//! # }
//! ```

// The names by which fuzz/fuzz_targets knows this crate and the fuzzer.
#[cfg(test)]
extern crate lab as libfuzzer_sys;
#[cfg(test)]
extern crate self as prefixd_bgp;

mod canary;
mod config;
mod connection;
pub mod flowspec;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod history;
mod listener;
mod mrt;
mod neighbor;
mod peer;
mod restart;
mod rib;
mod route;
mod session;
mod shared;
#[cfg(test)]
mod sim;
mod socket;
mod speaker;
mod status;
mod transport;
mod wire;

pub use canary::{Because, CanaryConfig, RememberedKinds, TriedKind, Waiting};
pub use config::{
    Community, ConfigError, HoldTime, LargeCommunity, Limits, NeighborConfig, Rtbh, SpeakerConfig,
};
pub use history::{HistoryEntry, Occurrence};
pub use mrt::{Busy, Capture, Captured};
pub use restart::{MayHold, RestartTime, Retention};
pub use rib::{
    Foreseen, LATENCY_BUCKETS_SECONDS, Latency, NotAShape, Parked, Remembered, RememberedBound,
    RememberedRule, RibCounts, RibTotals, Shape, WhatIf,
};
pub use route::{Bound, Change, Delivery, Priority, Refusal, Route, RouteStatus, Target};
pub use socket::Md5Key;
pub use speaker::{Reconfigured, Speaker, StartError, Stop, UnknownNeighbor};
pub use status::{
    Admin, Cause, Loss, MessageCounts, NotificationInfo, NotificationSeen, PeerStatus, SessionChange,
    SessionError, SessionEvent, SessionPhase, SessionStatus, Suspicion,
};
