//! `--check`: everything a start would refuse, without starting.

use super::wiring;
use anyhow::Context;
use prefixd_api::config::Config;

/// Checks what the documents alone cannot tell.
///
/// # Errors
/// What a start would refuse.
pub fn check(config: &Config) -> anyhow::Result<()> {
    wiring::speaker(config)?.validate().context("bgp")
}
