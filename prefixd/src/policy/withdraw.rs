//! An operator takes a mitigation back. Needs nothing that making one needs.

use super::command::WithdrawCommand;
use super::effect::{Decision, Effect, Outcome};
use super::turn::{Turn, refused_with};
use prefixd_api::mitigation::{EndReason, Mitigation, Suppression};
use prefixd_api::problem::Code;
use std::sync::Arc;
use std::time::Duration;

/// A suppression never lasts longer: a person who forgot it is protected again the next day.
const MAX_SUPPRESS: Duration = Duration::from_secs(86_400);

impl Turn<'_> {
    pub(super) fn withdraw(mut self, command: &WithdrawCommand) -> Decision {
        let Some(live) = self.state.mitigations.get(&command.mitigation) else {
            // Whether it ended or never was, the store knows.
            let detail = format!("no live mitigation is called {}", command.mitigation);
            return refused_with(Code::NotFound, detail);
        };
        if let Some(expected) = command.expected_revision
            && expected != live.revision
        {
            let detail = format!(
                "{} is at revision {}, not {expected}: read it again before you withdraw it",
                live.mitigation_id, live.revision
            );
            return refused_with(Code::ConflictRevision, detail);
        }
        let mut ended = Mitigation::clone(live);
        ended.end_note = Some(command.reason.clone());
        let because = format!("{} withdrew it: {}", command.actor, command.reason);
        let ended = self.end(live, ended, EndReason::Operator, &command.actor, because);
        let suppress = command
            .suppress
            .unwrap_or(self.policy.timers.suppress)
            .min(MAX_SUPPRESS);
        if !suppress.is_zero() {
            self.effects.push(Effect::Suppressed(Arc::new(Suppression {
                suppression_id: command.ids.suppression,
                scope: live.scope(),
                created_by: command.actor.clone(),
                created_at: self.now,
                expires_at: self.now.saturating_add(suppress),
                reason: command.reason.clone(),
            })));
        }
        self.settle(Outcome::Withdrawn(ended), "withdrawn")
    }
}
