//! The speaker against a neighbour that follows a script.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod administer;
mod canary;
mod collision;
mod control;
mod delivery;
mod dump;
mod graceful;
mod handshake;
mod harness;
mod limits;
mod loss;
mod protection;
mod quarantine;
mod rtbh;
