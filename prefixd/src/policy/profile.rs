//! What a customer's profile makes of the numbers of playbooks and timers. It bends how soon and how long something is done,
//! never what may be done: guardrails, quotas, actions and rates are the same for all.
//!
//! | | strict | normal | relaxed |
//! |---|---|---|---|
//! | evidence before a later step | half | as written | twice |
//! | confidence that a step needs | 0.1 less, not below 0 | as written | 0.1 more, at most half of the doubt less |
//! | hold-down | twice | as written | as written |

use super::settings::Policy;
use prefixd_api::config::inventory::PolicyProfile;
use prefixd_api::victim::Victim;
use std::time::Duration;

/// How much more or less confidence.
const CONFIDENCE: f64 = 0.1;

impl Policy {
    /// The profile of the customer who owns a victim. It costs a look-up only where anybody is other than normal.
    pub(super) fn profile(&self, victim: Victim) -> PolicyProfile {
        if !self.inventory.has_profiles {
            return PolicyProfile::Normal;
        }
        let owner = self.inventory.owner(victim);
        owner.map_or(PolicyProfile::Normal, |owner| owner.customer.profile)
    }
}

/// How long evidence must last before a later step.
pub(super) fn persistence(profile: PolicyProfile, written: Duration) -> Duration {
    match profile {
        PolicyProfile::Strict => written / 2,
        PolicyProfile::Normal => written,
        PolicyProfile::Relaxed => written.saturating_mul(2),
    }
}

/// The confidence that a step needs.
pub(super) fn confidence(profile: PolicyProfile, written: f64) -> f64 {
    match profile {
        PolicyProfile::Strict => rounded(written - CONFIDENCE).max(0.0),
        PolicyProfile::Normal => written,
        // Several sources together reach 1 never: what is written below it stays below it.
        PolicyProfile::Relaxed => rounded((written + CONFIDENCE).min(f64::midpoint(written, 1.0))),
    }
}

/// 0.7 + 0.1 is more than 0.8 in binary, and 0.8 is what a detector says.
fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

/// How long rules stay after the last claim. Nobody wants that shorter: it keeps pulses from flapping rules.
pub(super) fn hold_down(profile: PolicyProfile, written: Duration) -> Duration {
    match profile {
        PolicyProfile::Strict => written.saturating_mul(2),
        PolicyProfile::Normal | PolicyProfile::Relaxed => written,
    }
}

/// The name in the configuration.
pub(super) const fn name(profile: PolicyProfile) -> &'static str {
    match profile {
        PolicyProfile::Strict => "strict",
        PolicyProfile::Normal => "normal",
        PolicyProfile::Relaxed => "relaxed",
    }
}
