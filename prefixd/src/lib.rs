//! The daemon: signals in, guarded FlowSpec rules out.
//!
//! | module | what it does |
//! |---|---|
//! | [`announce`] | the rules of live mitigations as routes at the neighbours |
//! | [`arguments`] | the command line, and its manual page |
//! | [`clock`] | wall-clock time that runs on the monotonic clock |
//! | [`configuration`] | what is in force, reloading it, changing its files |
//! | [`daemon`] | starting, reloading and stopping |
//! | [`engine`] | the one task that decides, commits, announces and answers |
//! | [`http`] | REST, the feed, who may do what |
//! | [`journal`] | the append-only, hash-chained record of every change |
//! | [`metrics`] | what is counted |
//! | [`policy`] | `decide()`: pure decisions over the state, and the state itself |
//! | [`store`] | SQLite or PostgreSQL from one SQL text |
//!
//! Arrows point one way: `http -> {configuration ->} engine -> {policy, store, announce}`, and `policy` knows only the vocabulary.

pub mod announce;
pub mod arguments;
pub mod clock;
pub mod configuration;
mod counting;
pub mod daemon;
pub mod engine;
pub mod http;
pub mod journal;
mod json;
pub mod metrics;
pub mod policy;
mod pops;
mod report;
pub mod store;
