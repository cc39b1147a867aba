//! What people stop: hold (nothing new) and panic (nothing at all), for the POP, a customer or a neighbour.
//!
//! The decision is recorded here; what it takes off the routers is taken before that, and each mitigation ends by a new
//! judgement, in batches, so that a panic costs one small commit however much is live.

use super::command::SetControl;
use super::effect::{ControlChange, Decision, Effect, Outcome};
use super::reason::Reason;
use super::turn::{Turn, refused};
use prefixd_api::control::{ControlScope, Stop, Stopped};
use prefixd_api::mitigation::Mitigation;
use prefixd_api::problem::{Code, Problem};
use prefixd_api::time::Timestamp;
use std::sync::Arc;

impl SetControl {
    /// Whether it takes something off routers: then it waits for nothing.
    #[must_use]
    pub fn is_panic(&self) -> bool {
        self.state.stop() == Some(Stop::Panic)
    }

    /// A neighbour in panic has no rules: on hold it would have none either, or get those that are older than the hold.
    /// Neither is what the word says.
    #[must_use]
    pub fn holds_neighbor(&self) -> bool {
        self.state.stop() == Some(Stop::Hold) && matches!(self.scope, ControlScope::Neighbor(_))
    }

    /// A panic that was said later is in force.
    #[must_use]
    pub fn came_too_late(&self) -> Decision {
        refused(Problem::new(
            Code::ConflictPanic,
            format!(
                "a panic was said for {} after this, and stays in force. Look at prefixdctl control, and say it again if you \
                 still mean it",
                self.scope
            ),
        ))
    }

    /// See [`Self::holds_neighbor`].
    #[must_use]
    pub fn keeps_panic(&self) -> Decision {
        refused(Problem::new(
            Code::ConflictPanic,
            format!(
                "{} is in panic and has no rules that a hold could keep: leave it in panic, or say {}, which announces its \
                 rules again, and hold after that",
                self.scope,
                self.scope.resume()
            ),
        ))
    }

    /// Whether a panic takes the rules of this mitigation off every router.
    #[must_use]
    pub fn ends(&self, mitigation: &Mitigation) -> bool {
        self.is_panic() && mitigation.enforced && covers(&self.scope, mitigation.customer_id.as_deref())
    }
}

/// What was said now has a revision that nothing before it had, also when it was lifted in between.
#[must_use]
pub fn revision_at(now: Timestamp) -> u64 {
    u64::try_from(now.as_micros()).unwrap_or(0)
}

/// Whether mitigations of this customer are in the scope. A neighbour's is about where rules go, not which there are.
fn covers(scope: &ControlScope, customer: Option<&str>) -> bool {
    match scope {
        ControlScope::Pop => true,
        ControlScope::Customer(id) => customer == Some(id),
        ControlScope::Neighbor(_) => false,
    }
}

impl Turn<'_> {
    /// What is said twice is recorded twice, with its new reason; it is in force since the first time. What runs already
    /// has nothing to record.
    pub(super) fn set_control(mut self, command: &SetControl) -> Decision {
        let before = self.state.stopped.get(&command.scope);
        if command.holds_neighbor() && before.is_some_and(|before| before.state == Stop::Panic) {
            return command.keeps_panic();
        }
        let revision = before.map_or(0, |before| before.revision);
        if let Some(expected) = command.expected_revision.filter(|expected| *expected != revision) {
            return refused(Problem::new(
                Code::ConflictRevision,
                format!(
                    "{} is at revision {revision}, not {expected}: somebody said something else meanwhile. Look at prefixdctl \
                     control before you say this",
                    command.scope
                ),
            ));
        }
        let now = command.in_force_since.unwrap_or(self.now);
        // Of panics that waited for their record the one that was said last stays, whichever is recorded first.
        let newer = before.filter(|before| {
            command.in_force_since.is_some()
                && before.state == Stop::Panic
                && before.revision > revision_at(now)
        });
        let after = command.state.stop().map(|state| match newer {
            Some(newer) => Arc::new(Stopped {
                set_at: newer.set_at.min(now),
                ..Stopped::clone(newer)
            }),
            None => Arc::new(Stopped {
                scope: command.scope.clone(),
                state,
                reason: command.reason.clone(),
                set_by: command.actor.clone(),
                set_at: before
                    .filter(|before| before.state == state)
                    .map_or(now, |before| before.set_at),
                revision: revision_at(now).max(revision + 1),
                recorded: true,
            }),
        });
        if before.is_some() || after.is_some() {
            self.effects.push(Effect::Control(ControlChange {
                scope: command.scope.clone(),
                after,
                actor: command.actor.clone(),
                reason: command.reason.clone(),
            }));
        }
        self.done(Outcome::ControlChanged)
    }

    /// What a person stopped that a mitigation of this customer is part of; panic before hold.
    pub(super) fn stopped(&self, customer: Option<&str>) -> Option<&Stopped> {
        self.state
            .stopped
            .values()
            .filter(|stopped| covers(&stopped.scope, customer))
            .max_by_key(|stopped| stopped.state)
            .map(|stopped| &**stopped)
    }

    /// Whether a person lets anything new be announced.
    pub(super) fn guard_stopped(&self, enforced: bool, customer: Option<&str>) -> Result<(), Reason> {
        match self.stopped(customer) {
            Some(stopped) if enforced => Err(Reason::from(stopped)),
            Some(_) | None => Ok(()),
        }
    }
}

impl From<&Stopped> for Reason {
    fn from(stopped: &Stopped) -> Self {
        Self::Stopped {
            scope: stopped.scope.clone(),
            state: stopped.state,
            by: stopped.set_by.clone(),
            since: stopped.set_at,
            reason: stopped.reason.clone(),
        }
    }
}
