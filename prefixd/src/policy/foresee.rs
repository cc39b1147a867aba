//! What withdrawing a mitigation would come to: the same decisions on a copy of the state, in the same order.

use super::claims::is_live;
use super::command::{Command, EventCommand, FreshIds, WithdrawCommand};
use super::decide::decide;
use super::effect::{Decision, Effect, Outcome};
use super::settings::Policy;
use super::state::State;
use super::turn::Facts;
use super::widen::covers;
use prefixd_api::event::{Event, EventAction};
use prefixd_api::mitigation::{Claim, Mitigation, OriginKind};
use prefixd_api::preview::{Cover, NextReport};
use prefixd_api::problem::Problem;
use prefixd_api::time::Timestamp;
use std::sync::Arc;
use std::time::Duration;

/// See the module.
#[derive(Debug)]
pub struct Foreseen {
    /// As it is now.
    pub live: Arc<Mitigation>,
    /// Until when reports would not be acted on.
    pub suppressed_until: Option<Timestamp>,
    /// What a further report of each live claim would come to right after it.
    pub next: Vec<NextReport>,
    /// The same when the suppression is over.
    pub later: Vec<NextReport>,
    /// Other live mitigations of the victim.
    pub cover: Vec<Cover>,
}

/// Foresees a withdrawal. [`State::advance`] was called with `now` before.
///
/// # Errors
/// What the withdrawal would be refused with.
pub fn foresee_withdrawal(
    state: &State,
    policy: &Policy,
    command: &WithdrawCommand,
    now: Timestamp,
    facts: &Facts,
) -> Result<Foreseen, Box<Problem>> {
    let live = state.mitigations.get(&command.mitigation).map(Arc::clone);
    let decision = decide(state, policy, &Command::Withdraw(command.clone()), now, facts);
    let live = match (decision.outcome, live) {
        (Outcome::Withdrawn(_), Some(live)) => live,
        (Outcome::Refused(problem), _) => return Err(problem),
        (_, None) | (_, Some(_)) => {
            let detail = "no live mitigation has this name";
            return Err(Box::new(Problem::new(
                prefixd_api::problem::Code::NotFound,
                detail,
            )));
        }
    };
    let mut after = state.clone();
    after.apply(&decision.effects);
    let suppressed_until = after.suppressions.get(&live.scope()).map(|one| one.expires_at);
    let report =
        |state: &State, claim: &Claim, at: Timestamp| next_report(state, policy, &live, claim, at, facts);
    let claims = || live.claims.iter().filter(|claim| claim.kind == OriginKind::Event);
    let next = claims().map(|claim| report(&after, claim, now)).collect();
    let later = match suppressed_until {
        None => Vec::new(),
        Some(until) => {
            let then = until.saturating_add(Duration::from_micros(1));
            let mut later = after.clone();
            later.advance(then);
            let due = decide(&later, policy, &Command::Due(live.scope()), then, facts);
            later.apply(&due.effects);
            claims()
                .filter(|claim| is_live(claim, then))
                .map(|claim| report(&later, claim, then))
                .collect()
        }
    };
    Ok(Foreseen {
        cover: cover(&after, &live),
        live,
        suppressed_until,
        next,
        later,
    })
}

/// A report like those that hold the claim now.
fn next_report(
    state: &State,
    policy: &Policy,
    live: &Mitigation,
    claim: &Claim,
    at: Timestamp,
    facts: &Facts,
) -> NextReport {
    let event = Event {
        source: claim.source.to_string(),
        external_id: claim.event_id.as_deref().map(str::to_owned),
        action: EventAction::Ban,
        victim: live.victim_ip,
        vector: live.vector.to_string(),
        bps: claim.bps,
        pps: claim.pps,
        confidence: claim.confidence,
        protocol: claim.protocol,
        dst_ports: claim.dst_ports.to_vec(),
        src_ports: claim.src_ports.to_vec(),
        timestamp: None,
        raw_details: None,
    };
    let command = EventCommand {
        ids: FreshIds::new(),
        event,
        actor: String::new(),
        seen_at: None,
    };
    let Decision { outcome, effects, .. } =
        decide(state, policy, &Command::Event(Box::new(command)), at, facts);
    let comes_back = effects.iter().any(|effect| match effect {
        Effect::Mitigation { after, .. } => after.status.is_announced() && after.enforced == live.enforced,
        _ => false,
    });
    match outcome {
        Outcome::Event { answer, .. } => NextReport {
            source: claim.source.to_string(),
            outcome: answer.status,
            reason: answer.reason,
            comes_back,
        },
        // An event has no other outcome.
        _ => NextReport {
            source: claim.source.to_string(),
            outcome: prefixd_api::event::EventOutcome::AcceptedPending,
            reason: String::new(),
            comes_back,
        },
    }
}

fn cover(after: &State, withdrawn: &Mitigation) -> Vec<Cover> {
    let takes_all = |other: &Mitigation| {
        withdrawn.rules.iter().all(|rule| {
            other
                .rules
                .iter()
                .any(|wide| covers(&wide.matches, &rule.matches))
        })
    };
    after
        .mitigations
        .values()
        .filter(|other| other.victim_ip.touches(&withdrawn.victim_ip.prefix()))
        .filter(|other| other.enforced == withdrawn.enforced)
        .filter(|other| other.status.is_announced())
        .map(|other| Cover {
            mitigation_id: other.mitigation_id,
            vector: other.vector.to_string(),
            rules: super::plan::texts(&other.rules),
            takes_all: takes_all(other),
        })
        .collect()
}
