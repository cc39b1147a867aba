//! Bounds on aggregation over many victims: a rule that is too wide, or made for too few, does more harm than the attack.

use super::super::settings::{Carpet, Guardrails};
use super::Report;

pub(super) fn carpet(carpet: &Carpet, report: &mut Report) {
    report.require(
        "min_hosts",
        (3..=1000).contains(&carpet.min_hosts),
        "must be 3 to 1000: fewer victims are filtered one by one",
    );
    report.require(
        "window_seconds",
        (1..=3600).contains(&carpet.window_seconds),
        "must be 1 to 3600",
    );
    report.require(
        "max_prefix_v4",
        (16..=30).contains(&carpet.max_prefix_v4),
        "must be 16 to 30",
    );
    report.require(
        "max_prefix_v6",
        (32..=126).contains(&carpet.max_prefix_v6),
        "must be 32 to 126",
    );
    let holds = |length: u8, bits: u8| {
        let free = u32::from(bits.saturating_sub(length));
        1u64.checked_shl(free)
            .is_none_or(|addresses| addresses >= carpet.min_hosts.into())
    };
    let never = "holds fewer addresses than min_hosts: nothing would ever be aggregated";
    report.require("max_prefix_v4", holds(carpet.max_prefix_v4, 32), never);
    report.require("max_prefix_v6", holds(carpet.max_prefix_v6, 128), never);
}

/// Only aggregation makes rules of more than a host, with bounds of its own. Who writes a bound for all rules that is neither
/// the host nor as wide as those means something that would not hold.
pub(super) fn prefix_lengths(guardrails: &Guardrails, report: &mut Report) {
    let carpet = &guardrails.carpet;
    for (key, length, host, of_carpet, widest) in [
        (
            "dst_prefix_minlen",
            guardrails.dst_prefix_minlen,
            32,
            "max_prefix_v4",
            carpet.max_prefix_v4,
        ),
        (
            "dst_prefix_minlen_v6",
            guardrails.dst_prefix_minlen_v6,
            128,
            "max_prefix_v6",
            carpet.max_prefix_v6,
        ),
    ] {
        report.require(key, (1..=host).contains(&length), format!("must be 1 to {host}"));
        report.require(
            key,
            !carpet.enabled || length >= host || length <= widest,
            format!(
                "is {length}, and carpet makes rules of prefixes down to /{widest}: set carpet.{of_carpet}, which is what bounds \
                 them, to {length} or more, and this to the same"
            ),
        );
    }
}
