//! The program as a shell runs it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod commands;
mod config;
mod control;
mod import;
mod journey;
mod man;
mod operations;
mod peers;
mod questions;
mod scripted;
mod terminal;
mod wait;
mod watch;
