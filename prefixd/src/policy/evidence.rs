//! Evidence that the attack goes on, and the next step when there is enough of it.

use super::claims::witnesses;
use super::corroboration::enough_sources;
use super::lease::is_pinned;
use super::playbooks::Step;
use super::profile;
use super::reason::Reason;
use super::settings::Policy;
use super::step_back;
use prefixd_api::mitigation::{Mitigation, MitigationStatus};
use prefixd_api::time::Timestamp;
use std::time::Duration;

/// How soon a step that could not be taken is looked at again.
pub(super) const RECHECK: Duration = Duration::from_secs(30);

/// Where a mitigation stands before its next step.
#[derive(Debug)]
pub(super) enum Next<'p> {
    /// There is none, or it may not be taken.
    None,
    /// Too little confidence, or too few sources.
    Blocked(Reason),
    /// It is taken when evidence has lasted for `needs`.
    Ready {
        step: &'p Step,
        number: u32,
        /// Since when evidence counts; absent while no router has the rules.
        since: Option<Timestamp>,
        needs: Duration,
    },
}

/// Brings the evidence up to `now`: live claims of sources that still see the filtered traffic, and a report.
pub(super) fn witness(policy: &Policy, mitigation: &mut Mitigation, now: Timestamp, reported: bool) {
    let spans: Vec<_> = mitigation
        .claims
        .iter()
        .filter(|claim| witnesses(policy, claim))
        .map(|claim| (claim.since, claim.lives_until.map_or(now, |until| until.min(now))))
        .chain(reported.then_some((now, now)))
        .collect();
    let carried = step_back::carried_until(policy, mitigation, now, reported);
    mitigation.carried_at = mitigation.carried_at.max(carried);
    for (from, until) in spans {
        let joins = mitigation
            .evidence_at
            .is_some_and(|at| from.since(at) <= policy.timers.quiet);
        if !joins {
            mitigation.evidence_since = Some(from);
        }
        mitigation.evidence_at = mitigation.evidence_at.max(Some(until));
    }
}

/// The next step of a mitigation and what it waits for.
pub(super) fn next<'p>(policy: &'p Policy, mitigation: &Mitigation, now: Timestamp) -> Next<'p> {
    let number = mitigation.step + 1;
    let step = mitigation
        .playbook
        .as_deref()
        .and_then(|name| policy.playbooks.named(name))
        .and_then(|playbook| playbook.step(number));
    let Some(step) = step.filter(|_| policy.escalation.enabled && !is_pinned(mitigation)) else {
        return Next::None;
    };
    if mitigation.claims.is_empty() || mitigation.status == MitigationStatus::Pending {
        return Next::None;
    }
    if let Err(reason) = suffices(policy, mitigation, step, number) {
        return Next::Blocked(reason);
    }
    let started = if mitigation.enforced {
        mitigation.advertised_at
    } else {
        Some(mitigation.created_at)
    };
    let recent = mitigation
        .evidence_at
        .is_some_and(|at| now.since(at) <= policy.timers.quiet);
    let since = started.filter(|_| recent).map(|started| {
        mitigation
            .evidence_since
            .map_or(started, |since| since.max(started))
    });
    Next::Ready {
        step,
        number,
        since,
        needs: profile::persistence(
            policy.profile(mitigation.victim_ip),
            step.persistence.unwrap_or(policy.escalation.min_persistence),
        ),
    }
}

/// When the next step is due, as far as is known: evidence must last until then. A step that was due and was not taken, because
/// no router has the rules or a guardrail refused, is looked at again every [`RECHECK`]. Whether a router has them is seen
/// when a step could be due for the first time.
pub(super) fn due_at(policy: &Policy, live: &Mitigation) -> Option<Timestamp> {
    let quiet = |at| live.updated_at.since(at) > policy.timers.quiet;
    if live.evidence_at.is_some_and(quiet)
        && matches!(next(policy, live, live.updated_at), Next::Ready { .. })
    {
        // What changed it last did not look at what is claimed.
        let mut seen = live.clone();
        witness(policy, &mut seen, live.updated_at, false);
        return due_when_seen(policy, &seen);
    }
    due_when_seen(policy, live)
}

fn due_when_seen(policy: &Policy, live: &Mitigation) -> Option<Timestamp> {
    let Next::Ready { since, needs, .. } = next(policy, live, live.updated_at) else {
        return None;
    };
    let Some(since) = since else {
        let unadvertised = live.enforced && live.advertised_at.is_none();
        let began = live.promoted_at.unwrap_or(live.created_at);
        return unadvertised.then(|| next_look(live, began.saturating_add(needs), needs.max(RECHECK)));
    };
    let at = since.saturating_add(needs);
    let witnessed = live
        .claims
        .iter()
        .filter(|claim| witnesses(policy, claim))
        .map(|claim| claim.lives_until);
    let lasts = witnessed
        .chain([live.evidence_at])
        .flatten()
        .max()
        .is_some_and(|last| last.saturating_add(policy.timers.quiet) >= at);
    lasts.then(|| next_look(live, at, RECHECK))
}

/// The next time at which a step is looked at that is due from `first` on. What is touched is not looked at, so the times do not
/// move with it: who writes a note must not put a step off.
pub(super) fn next_look(live: &Mitigation, first: Timestamp, every: Duration) -> Timestamp {
    if first > live.updated_at {
        return first;
    }
    let passed = live.updated_at.since(first).as_micros() / every.as_micros().max(1);
    let times = u32::try_from(passed).unwrap_or(u32::MAX).saturating_add(1);
    first.saturating_add(every.saturating_mul(times))
}

/// Whether the claims suffice for a later step.
pub(super) fn suffices(
    policy: &Policy,
    mitigation: &Mitigation,
    step: &Step,
    number: u32,
) -> Result<(), Reason> {
    let at_least = step
        .confidence_at_least
        .unwrap_or(policy.escalation.min_confidence);
    let at_least = profile::confidence(policy.profile(mitigation.victim_ip), at_least);
    enough(Some(at_least), mitigation, number)?;
    enough_sources(policy, mitigation, step, number)
}

/// Whether the claims suffice for a step.
pub(super) fn enough(
    confidence_at_least: Option<f64>,
    mitigation: &Mitigation,
    number: u32,
) -> Result<(), Reason> {
    if let Some(at_least) = confidence_at_least
        && mitigation
            .confidence
            .is_none_or(|confidence| confidence < at_least)
    {
        return Err(Reason::ConfidenceLow {
            confidence: mitigation.confidence,
            at_least,
            step: number,
        });
    }
    Ok(())
}
