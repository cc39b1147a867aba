//! An operator takes a mitigation back. Needs nothing that making one needs.

use super::command::{FreshIds, Which, WithdrawCommand, WithdrawMany};
use super::effect::{Decision, Effect, One, Outcome};
use super::reason::Reason;
use super::trace::Notes;
use super::turn::{Turn, refused};
use super::undo::Unconfirmed;
use prefixd_api::ids::MitigationId;
use prefixd_api::mitigation::{EndReason, Mitigation, Suppression};
use prefixd_api::operation::{LiveFilter, MAX_NAMED};
use prefixd_api::problem::{Code, Problem};
use std::sync::Arc;
use std::time::Duration;

/// A suppression never lasts longer: a person who forgot it is protected again the next day.
const MAX_SUPPRESS: Duration = Duration::from_secs(86_400);

impl Turn<'_> {
    pub(super) fn withdraw(mut self, command: &WithdrawCommand) -> Decision {
        let live = match self.named(command.mitigation, command.expected_revision) {
            Ok(live) => live,
            Err(problem) => return refused(*problem),
        };
        // Of one that nothing was reported of since, nothing else would ever say that routers had it.
        let seen = Mitigation {
            advertised_at: live.advertised_at.or(self.facts.advertised_at),
            ..Mitigation::clone(live)
        };
        let ended = self.take_back(live, seen, &command.ids, &command.into());
        self.done(Outcome::Withdrawn(ended))
    }

    /// All of them, or with another number than expected none.
    pub(super) fn withdraw_many(mut self, command: &WithdrawMany) -> Decision {
        let named = match &command.which {
            Which::Named(ids) => ids.clone(),
            Which::Like(filter, expected) => match self.like(filter, *expected) {
                Ok(meant) => meant,
                Err(problem) => return refused(*problem),
            },
        };
        let mut results: Vec<One> = Vec::with_capacity(named.len());
        for (id, ids) in named.into_iter().zip(&command.ids) {
            let result = match self.named(id, command.revisions.get(&id).copied()) {
                Ok(live) => Ok(self.take_back(live, Mitigation::clone(live), ids, &command.into())),
                Err(problem) => Err(problem),
            };
            results.push((id, result));
        }
        self.done(Outcome::Many(results))
    }

    /// The live ones that are like this, newest first, if there are as many as expected.
    pub(super) fn like(&self, filter: &LiveFilter, expected: u64) -> Result<Vec<MitigationId>, Box<Problem>> {
        let newest_first = self.state.mitigations.values().rev();
        let meant: Vec<MitigationId> = newest_first
            .filter(|live| filter.matches(live))
            .map(|live| live.mitigation_id)
            .collect();
        expect(meant.len(), expected)?;
        Ok(meant)
    }

    fn take_back(
        &mut self,
        live: &Arc<Mitigation>,
        mut ended: Mitigation,
        ids: &FreshIds,
        asked: &Asked<'_>,
    ) -> Arc<Mitigation> {
        self.take_place(&live.scope(), live.mitigation_id, asked.actor);
        ended.end_note = Some(asked.reason.into());
        let mut notes = Notes::default();
        notes.note(Reason::OperatorAsked {
            actor: asked.actor.to_owned(),
            reason: asked.reason.to_owned(),
        });
        let because = format!("{} withdrew it: {}", asked.actor, asked.reason);
        let suppress = asked
            .suppress
            .unwrap_or(self.policy.timers.suppress)
            .min(MAX_SUPPRESS);
        if !suppress.is_zero() {
            let until = self.now.saturating_add(suppress);
            notes.note(Reason::SuppressedUntil { until });
            self.effects.push(Effect::Suppressed(Arc::new(Suppression {
                suppression_id: ids.suppression,
                scope: live.scope(),
                created_by: asked.actor.to_owned(),
                created_at: self.now,
                expires_at: until,
                reason: asked.reason.to_owned(),
            })));
        }
        ended.confirm_by = asked.confirm_within.map(|within| self.now.saturating_add(within));
        let ended = self.end(live, ended, EndReason::Operator, asked.actor, because);
        if let Some(at) = ended.confirm_by {
            notes.note(Reason::PutBackAt { at });
        }
        self.explain_last(notes.conclude(self.now, "withdrawn", ended.why_summary.to_string()));
        if let Some(put_back_at) = ended.confirm_by {
            let waits = Unconfirmed {
                ended: Mitigation::clone(&ended),
                put_back_at,
                successor: ids.mitigation,
                group: ids.group,
                suppression: (!suppress.is_zero()).then_some(ids.suppression),
            };
            // Before the end, which is the last change of a mitigation.
            let at = self.effects.len() - 1;
            self.effects.insert(at, Effect::Unconfirmed(Arc::new(waits)));
        }
        ended
    }
}

/// How a withdrawal was asked for.
struct Asked<'a> {
    reason: &'a str,
    actor: &'a str,
    suppress: Option<Duration>,
    confirm_within: Option<Duration>,
}

impl<'a> From<&'a WithdrawCommand> for Asked<'a> {
    fn from(command: &'a WithdrawCommand) -> Self {
        Self {
            reason: &command.reason,
            actor: &command.actor,
            suppress: command.suppress,
            confirm_within: command.confirm_within,
        }
    }
}

impl<'a> From<&'a WithdrawMany> for Asked<'a> {
    fn from(command: &'a WithdrawMany) -> Self {
        Self {
            reason: &command.reason,
            actor: &command.actor,
            suppress: command.suppress,
            confirm_within: command.confirm_within,
        }
    }
}

fn expect(meant: usize, expected: u64) -> Result<(), Box<Problem>> {
    if meant as u64 != expected {
        return Err(Box::new(Problem::new(
            Code::ConflictExpectCount,
            format!("the filter means {meant} mitigations, not {expected}; nothing was changed"),
        )));
    }
    if meant > MAX_NAMED {
        return Err(Box::new(Problem::new(
            Code::ConflictExpectCount,
            format!(
                "the filter means {meant} mitigations, more than the {MAX_NAMED} of one request; narrow it, or say panic"
            ),
        )));
    }
    Ok(())
}
