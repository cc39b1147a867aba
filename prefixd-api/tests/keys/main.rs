//! Every key of the configuration and every route: shown in the samples, and shown to act by a test.
#![cfg(feature = "config")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper that fails fails its test"
)]

mod acts;
mod places;
mod samples;
