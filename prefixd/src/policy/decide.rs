//! One command, one decision.

use super::command::{Command, EventCommand};
use super::effect::Decision;
use super::reason::Reason;
use super::settings::Policy;
use super::state::State;
use super::turn::{Conclusion, Facts, Turn};
use prefixd_api::event::{EventAction, EventOutcome};
use prefixd_api::mitigation::Scope;
use prefixd_api::time::Timestamp;

/// Decides one command at `now`: no I/O, no clock, no logging. [`State::advance`] was called with `now` before.
#[must_use]
pub fn decide(state: &State, policy: &Policy, command: &Command, now: Timestamp, facts: &Facts) -> Decision {
    let turn = Turn::new(state, policy, now, facts);
    match command {
        Command::Event(command) => turn.event(command),
        Command::Create(command) => turn.create(command),
        Command::Withdraw(command) => turn.withdraw(command),
        Command::Extend(command) => turn.extend(command),
        Command::Adjust(command) => turn.adjust(command),
        Command::WithdrawMany(command) => turn.withdraw_many(command),
        Command::Undo(command) => turn.undo(command),
        Command::Confirm(command) => turn.confirm(command),
        Command::Annotate(command) => turn.annotate(command),
        Command::SafelistAdd(command) => turn.safelist_add(command),
        Command::SafelistRemove { prefix, actor } => turn.safelist_remove(*prefix, actor),
        Command::LearnSafelist(learned) => turn.safelist_learn(learned),
        Command::Suppress(command) => turn.suppress(command),
        Command::SuppressWide(command) => turn.suppress_wide(command),
        Command::Unsuppress(command) => turn.unsuppress(command),
        Command::Lapsed => turn.lapsed(),
        Command::PauseSource(command) => turn.pause_source(command),
        Command::ResumeSource(command) => turn.resume_source(command),
        Command::Peer(command) => turn.peer(command),
        Command::Remember { neighbor, memory } => turn.remember(neighbor, memory),
        Command::Trip(trip) => turn.trip(trip),
        Command::ResetBreaker(command) => turn.reset_breaker(command),
        Command::Control(command) => turn.set_control(command),
        Command::Due(scope) => turn.due(scope),
        Command::Judge(scope) => turn.judge(scope),
    }
}

impl Turn<'_> {
    fn event(mut self, command: &EventCommand) -> Decision {
        let event = &command.event;
        let source = self.policy.sources.get(&event.source);
        self.trace.note(Reason::Source {
            source: event.source.clone(),
            configured: self.policy.sources.is_configured(&event.source),
            reporting: source.reporting,
            visibility: source.visibility,
            claim_ttl_seconds: source.claim_ttl.as_secs(),
        });
        // A source whose clock is ahead is believed up to now.
        let seen_at = command.seen_at.map(|at| at.min(self.now));
        let max_age = self.policy.timers.max_event_age;
        if let Some(seen_at) = seen_at
            && self.now.since(seen_at) > max_age
        {
            let reason = Reason::Stale {
                age_seconds: self.now.since(seen_at).as_secs(),
                max_event_age_seconds: max_age.as_secs(),
            };
            return self.conclude(
                command,
                None,
                Conclusion::new(EventOutcome::AcceptedStale, reason),
            );
        }
        let scope = Scope {
            victim: event.victim,
            vector: event.vector.as_str().into(),
        };
        if event.action == EventAction::Ban
            && let Some(reason) = self.unheard(event)
        {
            let end = Conclusion::new(EventOutcome::Suppressed, reason);
            return self.conclude(command, None, end);
        }
        match event.action {
            EventAction::Ban => self.ban(command, &scope, seen_at),
            EventAction::Unban => self.unban(command, &scope, seen_at),
        }
    }
}
