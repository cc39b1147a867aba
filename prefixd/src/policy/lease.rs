//! How long a mitigation lives: a lease that reports or live claims renew, a hold-down after the last claim, and
//! a lifetime that caps them all.

use super::claims::is_live;
use super::profile;
use super::reason::Reason;
use super::settings::Policy;
use super::sources::Reporting;
use prefixd_api::mitigation::{Claim, Group, Mitigation, OriginKind};
use prefixd_api::time::Timestamp;
use std::time::Duration;

/// How long before the end of a lease the live claim of a source that reports once renews it. Every rule is held
/// by the speaker with the lease's end as its `not_after`; a renewal at the end itself would come too late for
/// it, and leave a gap in which the attack passes. Longer than the store's deadline for a commit. Of a short
/// lease it is a quarter.
pub(super) const RENEW_AHEAD: Duration = Duration::from_secs(5);
/// Recurrences within this time count.
const RECURRENCE: Duration = Duration::from_secs(24 * 3600);
/// A hold-down never grows beyond this.
const MAX_HOLD_DOWN: Duration = Duration::from_secs(3600);
/// Beginnings a group remembers: as many as it takes a hold-down of a second to grow to the longest.
const MAX_STARTS: usize = 13;

/// When the scope has been filtered for as long as it may be.
pub(super) fn lifetime_end(policy: &Policy, filtered_since: Timestamp, operator: bool) -> Timestamp {
    filtered_since.saturating_add(max_lifetime(policy, operator))
}

pub(super) fn max_lifetime(policy: &Policy, operator: bool) -> Duration {
    if operator {
        policy.limits.max_lifetime_operator
    } else {
        policy.limits.max_lifetime
    }
}

/// Whether the scope was quiet for so long that its lifetime begins anew. Asked when nothing is live.
pub(super) fn is_quiet(
    policy: &Policy,
    group: &Group,
    last_ban_at: Option<Timestamp>,
    now: Timestamp,
) -> bool {
    let spoke = last_ban_at.is_some_and(|at| at.saturating_add(policy.timers.quiet) > now);
    !spoke
        && !group
            .claims
            .iter()
            .any(|claim| claim.since < now && is_live(claim, now))
}

/// Beginnings that still count.
pub(super) fn forget_starts(group: &mut Group, now: Timestamp) {
    group
        .starts
        .retain(|start| start.saturating_add(RECURRENCE) > now);
    let surplus = group.starts.len().saturating_sub(MAX_STARTS);
    group.starts.drain(..surplus);
}

/// When the last thing a closed group remembers stops to count.
pub(super) fn forgotten_at(policy: &Policy, group: &Group) -> Timestamp {
    let starts = group.starts.last().map(|start| start.saturating_add(RECURRENCE));
    let cleared = group.claims.iter().filter_map(|claim| {
        claim
            .cleared_at
            .map(|at| at.saturating_add(super::claims::CLEARED_KEPT))
    });
    let lifetime = group.filtered_since.map(|since| {
        group
            .last_ban_at
            .unwrap_or(since)
            .saturating_add(policy.timers.quiet)
    });
    starts
        .into_iter()
        .chain(cleared)
        .chain(lifetime)
        .max()
        .unwrap_or(group.last_event_at)
}

/// The hold-down, doubled for each time the scope was mitigated before in the last 24 hours.
pub(super) fn hold_down(policy: &Policy, group: &Group, now: Timestamp) -> (Duration, usize) {
    let recurrences = group
        .starts
        .iter()
        .filter(|start| start.saturating_add(RECURRENCE) > now)
        .count()
        .saturating_sub(1);
    let first = profile::hold_down(policy.profile(group.scope.victim), policy.timers.hold_down);
    let doubled = u32::try_from(recurrences)
        .ok()
        .and_then(|n| 2u32.checked_pow(n))
        .and_then(|factor| first.checked_mul(factor))
        .unwrap_or(MAX_HOLD_DOWN);
    // A configured hold-down beyond the longest stands as it is.
    let longest = MAX_HOLD_DOWN.max(policy.timers.hold_down);
    (doubled.min(longest), recurrences)
}

/// Whether an operator holds it, by making or by extending it: then the operator's bounds count.
pub(super) fn is_operators(mitigation: &Mitigation) -> bool {
    mitigation
        .claims
        .iter()
        .any(|claim| claim.kind == OriginKind::Operator)
}

/// Whether an operator said what it does: then nothing else changes its action or step.
pub(crate) fn is_pinned(mitigation: &Mitigation) -> bool {
    mitigation.claims.iter().any(|claim| pins(claim))
}

/// An operator's claim on what it does has no end of its own; one that extends the lease has.
pub(super) fn pins(claim: &Claim) -> bool {
    claim.kind == OriginKind::Operator && claim.lives_until.is_none()
}

/// Extends the lease to `now + ttl`, never shortens it, and never beyond the lifetime.
pub(super) fn extend(
    policy: &Policy,
    mitigation: &mut Mitigation,
    filtered_since: Timestamp,
    now: Timestamp,
    ttl: Duration,
) -> Reason {
    let operator = is_operators(mitigation);
    let wanted = mitigation.expires_at.max(now.saturating_add(ttl));
    let cap = lifetime_end(policy, filtered_since, operator).max(mitigation.expires_at);
    mitigation.expires_at = wanted.min(cap);
    if wanted > cap {
        Reason::LeaseCapped {
            expires_at: cap,
            filtered_since,
            max_lifetime_seconds: max_lifetime(policy, operator).as_secs(),
        }
    } else {
        Reason::Lease {
            expires_at: mitigation.expires_at,
            ttl_seconds: ttl.as_secs(),
        }
    }
}

/// The claim that renews the lease at its end, if there is one.
pub(super) fn renewing<'m>(policy: &Policy, mitigation: &'m Mitigation, now: Timestamp) -> Option<&'m Claim> {
    mitigation.claims.iter().map(AsRef::as_ref).find(|claim| {
        claim.kind == OriginKind::Event
            && is_live(claim, now)
            && policy.sources.get(&claim.source).reporting == Reporting::Once
    })
}

/// When that happens; not at all once the lifetime leaves nothing to renew.
pub(super) fn renew_at(
    policy: &Policy,
    mitigation: &Mitigation,
    filtered_since: Timestamp,
) -> Option<Timestamp> {
    let cap = lifetime_end(policy, filtered_since, is_operators(mitigation));
    let ahead = RENEW_AHEAD.min(renewal_ttl(policy, mitigation) / 4);
    (cap > mitigation.expires_at).then(|| mitigation.expires_at.saturating_sub(ahead))
}

/// The lease that reports and claims give: an operator's longer one is not theirs to repeat.
pub(super) fn renewal_ttl(policy: &Policy, mitigation: &Mitigation) -> Duration {
    Duration::from_secs(mitigation.ttl_seconds.into()).min(policy.limits.max_ttl)
}
