//! The client against a daemon that says what a test wants.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod feed;
mod requests;
