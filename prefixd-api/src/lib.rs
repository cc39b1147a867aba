//! The vocabulary of prefixd, shared by the daemon, the command line and the console.
//!
//! | module | what it holds |
//! |---|---|
//! | [`ids`], [`time`], [`rate`], [`victim`] | identifiers, wall-clock time, rates with their units, the attacked host |
//! | [`prefix`] | prefixes as people write them |
//! | [`event`] | what a detector reports, and what prefixd answers |
//! | [`rule`] | the canonical FlowSpec match and its action |
//! | [`mitigation`], [`preview`] | mitigations, claims, signal groups; what a request would make of them |
//! | [`guardrail`], [`why`] | the checks no rule passes by, and the trace of a decision |
//! | [`problem`] | the one error shape (RFC 9457) and its codes |
//! | [`feed`] | messages of the WebSocket feed |
//! | [`resource`] | the remaining bodies: safelist, stats, peers, health |
//! | [`group`], [`history`], [`audit`], [`traffic`], [`series`], [`drift`], [`report`] | answers to questions: who says so, what was, who did what, what is dropped, how many, is all as it should be, what happened |
//! | [`source`] | detectors, and pausing one |
//! | [`peer`], [`family`] | a neighbour in detail, and what an operator can do to it |
//! | [`role`] | who may do what |
//! | [`configuration`] | reading and changing the configuration through the API |
//! | [`show`] | numbers, times, identifiers and outside text as people see them |
//! | `config` (feature) | configuration documents and their validation |
//! | `client` (feature) | HTTP and WebSocket client |
//! | `fuzzing` (feature) | entry points of the fuzzers |
//!
//! Domain types serve as wire types. Clients keep what they do not know: statuses and codes of a newer
//! daemon are carried as text, so that adding one is a compatible change.

// The names by which fuzz/fuzz_targets knows this crate and the fuzzer.
#[cfg(test)]
extern crate lab as libfuzzer_sys;
#[cfg(test)]
extern crate self as prefixd_api;

pub mod audit;
#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "config")]
pub mod config;
pub mod configuration;
pub mod control;
pub mod drift;
pub mod event;
pub mod family;
pub mod feed;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod group;
pub mod guardrail;
pub mod history;
pub mod ids;
pub mod mitigation;
pub mod name;
pub mod operation;
pub mod peer;
pub mod prefix;
pub mod preview;
pub mod problem;
pub mod rate;
pub mod remote;
pub mod report;
pub mod resource;
pub mod role;
pub mod rule;
mod schema;
pub mod series;
pub mod show;
pub mod source;
pub mod time;
pub mod traffic;
pub mod victim;
pub mod why;
