//! The daemon as it is run: the real binary, a real configuration, real routers, faults.
//!
//! Each test has its own directory, database, addresses and ports.

mod crash;
mod path;
mod races;
mod reload;
mod store_away;
mod support;
