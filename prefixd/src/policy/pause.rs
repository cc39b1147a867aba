//! A person pauses a detector: its bans are stored and not acted on. What ends something is done all the same.

use super::command::{PauseSource, ResumeSource};
use super::effect::{Decision, Effect, Outcome, SourceChange};
use super::reason::Reason;
use super::trace::Notes;
use super::turn::{Turn, refused_with};
use prefixd_api::mitigation::{EndReason, Mitigation, OriginKind};
use prefixd_api::problem::Code;
use prefixd_api::source::SourcePaused;
use std::sync::Arc;

/// Whether this detector holds a mitigation, and nobody else does.
#[must_use]
pub fn holds_alone(source: &str, mitigation: &Mitigation) -> bool {
    !mitigation.claims.is_empty()
        && mitigation
            .claims
            .iter()
            .all(|claim| is_by(source, claim.kind, &claim.source))
}

/// Whether this detector holds a mitigation, alone or with others.
#[must_use]
pub fn holds(source: &str, mitigation: &Mitigation) -> bool {
    let mut claims = mitigation.claims.iter();
    claims.any(|claim| is_by(source, claim.kind, &claim.source))
}

/// No detector borrows the name of operators.
fn is_by(source: &str, kind: OriginKind, claimed_by: &str) -> bool {
    kind == OriginKind::Event && claimed_by == source
}

impl Turn<'_> {
    /// Said again, the words are new, and what it holds alone by now is withdrawn when that is asked for.
    pub(super) fn pause_source(mut self, command: &PauseSource) -> Decision {
        let alone: Vec<_> = self
            .state
            .mitigations
            .values()
            .filter(|live| command.withdraw && holds_alone(&command.source, live))
            .map(Arc::clone)
            .collect();
        let count = alone.len() as u64;
        if let Some(expected) = command.expect_count
            && expected != count
        {
            let detail = format!(
                "pausing {} would withdraw {count} mitigations, not {expected}",
                command.source
            );
            return refused_with(Code::ConflictExpectCount, detail);
        }
        let before = self.state.paused.get(&*command.source);
        let paused = Arc::new(SourcePaused {
            source: command.source.to_string(),
            reason: command.reason.clone(),
            paused_by: command.actor.clone(),
            paused_at: before.map_or(self.now, |before| before.paused_at),
        });
        self.effects.push(Effect::Source(SourceChange {
            source: Arc::clone(&command.source),
            after: Some(Arc::clone(&paused)),
            actor: command.actor.clone(),
            reason: command.reason.clone(),
        }));
        for live in alone {
            let mut ended = Mitigation::clone(&live);
            ended.end_note = Some(command.reason.as_str().into());
            let because = format!(
                "{} paused {}, which alone held it: {}",
                command.actor, command.source, command.reason
            );
            let mut notes = Notes::default();
            notes.note(Reason::OperatorAsked {
                actor: command.actor.clone(),
                reason: command.reason.clone(),
            });
            notes.note(Reason::HeldAlone {
                source: command.source.to_string(),
            });
            let trace = notes.conclude(self.now, "withdrawn", because.clone());
            self.end(&live, ended, EndReason::Operator, &command.actor, because);
            self.explain_last(trace);
        }
        self.done(Outcome::SourcePaused {
            paused: Some(paused),
            withdrawn: count,
        })
    }

    /// What is not paused has nothing to record.
    pub(super) fn resume_source(mut self, command: &ResumeSource) -> Decision {
        if self.state.paused.contains_key(&*command.source) {
            self.effects.push(Effect::Source(SourceChange {
                source: Arc::clone(&command.source),
                after: None,
                actor: command.actor.clone(),
                reason: command.reason.clone(),
            }));
        }
        self.done(Outcome::SourcePaused {
            paused: None,
            withdrawn: 0,
        })
    }

    /// Why a report is not acted on.
    pub(super) fn paused(&self, source: &str) -> Option<Reason> {
        let paused = self.state.paused.get(source)?;
        Some(Reason::SourcePaused {
            source: source.to_owned(),
            by: paused.paused_by.clone(),
            since: paused.paused_at,
            reason: paused.reason.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Command;
    use super::super::tests::{World, ban, policy, unban};
    use super::*;
    use prefixd_api::event::EventOutcome;

    const VICTIM: &str = "203.0.113.9";

    fn pause(world: &mut World, withdraw: bool, expect_count: Option<u64>) -> Decision {
        let command = PauseSource {
            source: "once".into(),
            withdraw,
            expect_count,
            reason: "rule 12 misfires".to_owned(),
            actor: "token:noc".to_owned(),
        };
        world.run(&Command::PauseSource(command), None)
    }

    fn told(decision: &Decision) -> EventOutcome {
        match &decision.outcome {
            Outcome::Event { answer, .. } => answer.status.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn its_bans_are_stored_only_and_others_are_acted_on() {
        let mut world = World::new(policy());
        pause(&mut world, false, None);
        let stored = world.event(ban("once", VICTIM, "ntp_amplification"));
        assert_eq!(told(&stored), EventOutcome::Suppressed);
        assert!(
            matches!(&stored.effects[..], [Effect::Event(..)]),
            "and holds no claim"
        );
        let other = world.event(ban("other", VICTIM, "ntp_amplification"));
        assert_eq!(told(&other), EventOutcome::Accepted);
        let resume = ResumeSource {
            source: "once".into(),
            reason: "fixed".to_owned(),
            actor: "token:noc".to_owned(),
        };
        world.run(&Command::ResumeSource(resume.clone()), None);
        let again = world.run(&Command::ResumeSource(resume), None);
        assert!(again.effects.is_empty(), "what runs has nothing to record");
        let acted_on = world.event(ban("once", "203.0.113.10", "ntp_amplification"));
        assert_eq!(told(&acted_on), EventOutcome::Accepted);
    }

    #[test]
    fn what_it_holds_goes_on_and_its_unban_still_ends_it() {
        let mut world = World::new(policy());
        world.event(ban("once", VICTIM, "ntp_amplification"));
        pause(&mut world, false, None);
        assert_eq!(world.live().len(), 1);
        let end = world.event(unban("once", VICTIM, "ntp_amplification"));
        assert!(
            matches!(told(&end), EventOutcome::Ending | EventOutcome::Withdrawn),
            "{end:?}"
        );
    }

    #[test]
    fn what_it_holds_alone_is_withdrawn_when_that_is_said() {
        let mut world = World::new(policy());
        world.event(ban("once", VICTIM, "ntp_amplification"));
        world.event(ban("once", "203.0.113.10", "ntp_amplification"));
        world.event(ban("other", "203.0.113.10", "ntp_amplification"));
        let refused = pause(&mut world, true, Some(2));
        assert!(
            matches!(&refused.outcome, Outcome::Refused(problem) if problem.code == "conflict.expect_count")
        );
        assert!(
            world.state.paused.is_empty() && world.live().len() == 2,
            "nothing happened"
        );
        let done = pause(&mut world, true, Some(1));
        assert!(
            matches!(done.outcome, Outcome::SourcePaused { withdrawn: 1, .. }),
            "{:?}",
            done.outcome
        );
        let left: Vec<String> = world
            .live()
            .iter()
            .map(|live| live.victim_ip.to_string())
            .collect();
        assert_eq!(left, ["203.0.113.10"], "what another holds as well goes on");
        let ended = done.effects.iter().find_map(|effect| match effect {
            Effect::Mitigation { after, .. } => Some(after),
            _ => None,
        });
        assert_eq!(
            ended.and_then(|after| after.end_note.as_deref()),
            Some("rule 12 misfires")
        );
    }

    #[test]
    fn each_that_it_withdraws_says_why() {
        let mut world = World::new(policy());
        for victim in [VICTIM, "203.0.113.10", "203.0.113.11"] {
            world.event(ban("once", victim, "ntp_amplification"));
        }
        let done = pause(&mut world, true, None);
        let mut explained = 0;
        for effect in &done.effects {
            if let Effect::Mitigation { why, .. } = effect {
                let why = why.as_ref().expect("each has a trace").explain();
                let codes: Vec<_> = why.steps.iter().map(|step| step.code.as_str()).collect();
                assert_eq!(
                    (why.outcome.as_str(), codes),
                    ("withdrawn", vec!["operator", "held_alone"])
                );
                explained += 1;
            }
        }
        assert_eq!(explained, 3);
    }
}
