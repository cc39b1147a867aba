//! An operator has bans of a scope stored and not acted on, and acted on again.

use super::command::{SuppressCommand, UnsuppressCommand};
use super::effect::{Decision, Effect, Outcome};
use super::turn::{Turn, refused_with};
use prefixd_api::mitigation::Suppression;
use prefixd_api::problem::Code;
use std::sync::Arc;

impl Turn<'_> {
    /// Said again, the last word counts. What is live goes on whatever is suppressed, so there it would be no use.
    pub(super) fn suppress(mut self, command: &SuppressCommand) -> Decision {
        if let Some(live) = self.state.mitigation_of(&command.scope) {
            let detail = format!(
                "{} is live on {}, and reports go on to it: withdraw it with suppress_seconds, which takes its rules \
                 back, too",
                live.mitigation_id, command.scope
            );
            return refused_with(Code::ConflictExists, detail);
        }
        let suppression = Arc::new(Suppression {
            suppression_id: command.id,
            scope: command.scope.clone(),
            created_by: command.actor.clone(),
            created_at: self.now,
            expires_at: self.now.saturating_add(command.time),
            reason: command.reason.clone(),
        });
        self.effects.push(Effect::Suppressed(Arc::clone(&suppression)));
        Decision {
            outcome: Outcome::Suppressed(suppression),
            effects: self.effects,
        }
    }

    pub(super) fn unsuppress(mut self, command: &UnsuppressCommand) -> Decision {
        let mut suppressions = self.state.suppressions.values();
        let is_it = |one: &&Arc<Suppression>| one.suppression_id == command.id && one.expires_at > self.now;
        let Some(suppression) = suppressions.find(is_it) else {
            return refused_with(
                Code::NotFound,
                format!("no suppression in force is called {}", command.id),
            );
        };
        self.effects.push(Effect::Unsuppressed {
            scope: suppression.scope.clone(),
            actor: command.actor.clone(),
        });
        Decision {
            outcome: Outcome::Unsuppressed,
            effects: self.effects,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{World, ban, policy, seconds};
    use super::super::{Command, Decision};
    use super::*;
    use prefixd_api::event::EventOutcome;
    use prefixd_api::ids::SuppressionId;
    use prefixd_api::mitigation::Scope;

    fn scope(victim: &str) -> Scope {
        Scope {
            victim: victim.parse().unwrap(),
            vector: "ntp_amplification".into(),
        }
    }

    fn suppress(world: &mut World, victim: &str) -> (SuppressionId, Decision) {
        let command = SuppressCommand {
            id: SuppressionId::new(),
            scope: scope(victim),
            time: seconds(600),
            reason: "game night".to_owned(),
            actor: "token:noc".to_owned(),
        };
        (command.id, world.run(&Command::Suppress(command), None))
    }

    fn outcome(decision: &Decision) -> EventOutcome {
        match &decision.outcome {
            Outcome::Event { answer, .. } => answer.status.clone(),
            other => panic!("{other:?}"),
        }
    }

    fn refusal(decision: &Decision) -> &str {
        match &decision.outcome {
            Outcome::Refused(problem) => &problem.code,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn bans_are_stored_and_not_acted_on_until_it_is_ended() {
        let mut world = World::new(policy());
        let (id, decision) = suppress(&mut world, "203.0.113.9");
        assert!(matches!(&decision.outcome, Outcome::Suppressed(one) if one.suppression_id == id));
        let stored = world.event(ban("once", "203.0.113.9", "ntp_amplification"));
        assert_eq!(outcome(&stored), EventOutcome::Suppressed);
        assert!(world.live().is_empty());

        let end = UnsuppressCommand {
            id,
            actor: "token:noc".to_owned(),
        };
        let ended = world.run(&Command::Unsuppress(end.clone()), None);
        assert!(matches!(ended.outcome, Outcome::Unsuppressed));
        assert!(
            matches!(&ended.effects[..], [Effect::Unsuppressed { actor, .. }] if actor == "token:noc"),
            "the journal names who did it"
        );
        let acted_on = world.event(ban("once", "203.0.113.9", "ntp_amplification"));
        assert_eq!(outcome(&acted_on), EventOutcome::Accepted);
        let again = world.run(&Command::Unsuppress(end), None);
        assert_eq!(refusal(&again), "not_found");
    }

    #[test]
    fn what_is_live_is_not_suppressed_by_the_way() {
        let mut world = World::new(policy());
        world.event(ban("once", "203.0.113.9", "ntp_amplification"));
        let (_, refused) = suppress(&mut world, "203.0.113.9");
        assert_eq!(refusal(&refused), "conflict.exists");
        assert!(refused.effects.is_empty());
    }

    #[test]
    fn one_that_is_over_cannot_be_ended() {
        let mut world = World::new(policy());
        let (id, _) = suppress(&mut world, "203.0.113.9");
        world.now = world.now.saturating_add(seconds(600));
        let end = UnsuppressCommand {
            id,
            actor: "token:noc".to_owned(),
        };
        assert_eq!(refusal(&world.run(&Command::Unsuppress(end), None)), "not_found");
    }
}
