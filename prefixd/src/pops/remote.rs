//! Carries out what was asked for at other POPs.

use super::Watcher;
use crate::engine::SubmitError;
use crate::policy::{Command, FreshIds, Outcome, WithdrawCommand};
use crate::store::StoreError;
use prefixd_api::problem::{Code, Problem};
use prefixd_api::remote::{RemoteCommand, RemoteState};
use std::time::Duration;
use tracing::info;

impl Watcher {
    /// A daemon that ends on the way finds it again when it starts.
    pub(super) async fn obey(&self) -> Result<(), StoreError> {
        for command in self.store.commands_waiting(&self.pop).await? {
            let Some(answered) = self.carry_out(command).await? else {
                return Ok(());
            };
            info!(
                command = %answered.command_id,
                mitigation = %answered.mitigation_id,
                by = answered.actor,
                from = answered.asked_at_pop,
                state = answered.state.as_str(),
                "a withdrawal that was asked for at another POP"
            );
            self.store.answer(&answered).await?;
        }
        Ok(())
    }

    /// The command with what became of it; nothing when it can only be tried again.
    async fn carry_out(&self, command: RemoteCommand) -> Result<Option<RemoteCommand>, StoreError> {
        let request = &command.request;
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        let actor = format!("{}@{}", command.actor, command.asked_at_pop);
        let withdraw = WithdrawCommand {
            ids: FreshIds::new(),
            mitigation: command.mitigation_id,
            reason: request.reason.clone(),
            suppress: request.suppress_seconds.map(seconds),
            confirm_within: request.confirm_within_seconds.map(seconds),
            expected_revision: request.expected_revision,
            actor: actor.clone(),
        };
        let problem = match self.engine.submit(Command::Withdraw(withdraw)).await {
            Ok(answer) => match answer.outcome {
                Outcome::Withdrawn(_) => None,
                Outcome::Refused(problem) if problem.code == Code::NotFound.as_str() => {
                    match self.store.get_mitigation(command.mitigation_id).await? {
                        // It was carried out, and the answer was not written.
                        Some(ended)
                            if ended.ended_by.as_deref() == Some(&*actor)
                                && ended.end_note.as_deref() == Some(&*request.reason) =>
                        {
                            None
                        }
                        _ => Some(Problem::new(
                            Code::ConflictEnded,
                            "it has ended already: there is nothing left to withdraw",
                        )),
                    }
                }
                Outcome::Refused(problem) => Some(*problem),
                other => Some(Problem::new(
                    Code::Internal,
                    format!("a withdrawal came to {other:?}"),
                )),
            },
            // The latter is about reloads alone.
            Err(SubmitError::Defect | SubmitError::Unconfirmed(_)) => Some(Problem::new(
                Code::Internal,
                "deciding failed by a defect; the log of that POP says which",
            )),
            Err(
                SubmitError::QueueFull
                | SubmitError::Stopping
                | SubmitError::Lost
                | SubmitError::Store
                | SubmitError::Unknown,
            ) => return Ok(None),
        };
        let (state, detail) = match &problem {
            None => (RemoteState::Done, format!("carried out at {}", self.pop)),
            Some(problem) => (
                RemoteState::Refused,
                format!("refused at {}: {}", self.pop, problem.detail),
            ),
        };
        Ok(Some(RemoteCommand {
            state,
            detail,
            answered_at: Some(self.clock.now()),
            problem: problem.map(Box::new),
            ..command
        }))
    }
}
