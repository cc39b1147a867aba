//! The daemon as it is run: the real binary, a real configuration, real routers, faults.
//!
//! Each test has its own directory, database, addresses and ports.

mod access;
mod actions;
mod adjust;
mod bad_input;
mod bgp_log;
mod breaker;
mod budget;
mod canary;
mod carpet;
mod config;
mod control;
mod crash;
mod dry_run;
mod dump;
mod feed;
mod flows;
mod forms;
mod frames;
mod graceful;
mod guardrails;
mod idempotency;
mod lists;
mod metrics;
mod offers;
mod operations;
mod overlaps;
mod path;
mod peers;
mod pending;
mod pops;
mod preview;
mod quarantine;
mod questions;
mod races;
mod reload;
mod restarts;
mod rtbh;
mod start;
mod step_back;
mod store_away;
mod support;
mod suppressions;
mod transport;
mod upgrade;
