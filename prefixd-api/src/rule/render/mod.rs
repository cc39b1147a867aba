//! A rule as vendors write it, for tickets and for checking by eye. prefixd sends none of this: routers get the NLRI.
//!
//! What a vendor cannot write is a comment in its place, never left out: a rule that reads wider than it is would
//! mislead whoever compares it.

mod frr;
mod iosxr;
mod junos;

pub use frr::frr;
pub use iosxr::iosxr;
pub use junos::junos;

use super::{Match, Ranges};
use std::fmt::Display;

/// A name that the rule's destination gives.
fn name(matches: &Match) -> String {
    let address = matches.dst_prefix.addr().to_string().replace([':', '.'], "-");
    format!("prefixd-{address}-{}", matches.dst_prefix.prefix_len())
}

fn protocols(matches: &Match) -> Vec<String> {
    let protocol =
        |number: &u8| super::text::protocol_name(*number).map_or_else(|| number.to_string(), str::to_owned);
    matches.protocols.iter().map(protocol).collect()
}

fn ranges(ranges: &Ranges) -> Vec<String> {
    texts(ranges.as_slice())
}

fn texts<T: Display>(values: impl IntoIterator<Item = T>) -> Vec<String> {
    values.into_iter().map(|value| value.to_string()).collect()
}

#[cfg(test)]
mod tests;
