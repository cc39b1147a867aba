//! New kinds of rules that go to one neighbour first: nobody should count on it where it has no effect.

use super::super::settings::Bgp;
use super::Report;
use std::collections::HashSet;

/// Longer than that an attack should not wait for a router to be proven.
const MOST_SECONDS: u16 = 3600;
/// A router that dislikes a rule takes this long to say so.
const LEAST_SECONDS: u16 = 5;

pub(super) fn check(bgp: &Bgp, report: &mut Report) {
    let Some(seconds) = bgp.canary_seconds else {
        return;
    };
    report.require(
        "canary_seconds",
        (LEAST_SECONDS..=MOST_SECONDS).contains(&seconds),
        format!("must be {LEAST_SECONDS} to {MOST_SECONDS}"),
    );
    if seconds < bgp.hold_time_seconds {
        report.warn(
            "canary_seconds",
            "is less than hold_time_seconds: a router that goes silent over a rule is noticed after the others were told it",
        );
    }
    let mut profiles = HashSet::new();
    let enforced = bgp.neighbors.iter().filter(|neighbor| neighbor.enforce);
    let shared = enforced
        .map(|neighbor| neighbor.profile)
        .any(|profile| !profiles.insert(profile));
    if !shared {
        report.warn(
            "canary_seconds",
            "has no effect: no two neighbours that get rules have the same profile",
        );
    }
}
