//! An operator has bans of a scope stored and not acted on, and acted on again.

use super::command::{SuppressCommand, SuppressWide, UnsuppressCommand};
use super::effect::{Decision, Effect, Outcome};
use super::pause::holds;
use super::reason::Reason;
use super::turn::{Turn, refused, refused_with};
use crate::journal::DAEMON;
use prefixd_api::event::Event;
use prefixd_api::mitigation::{Scope, Suppression, WideSuppression};
use prefixd_api::problem::{Code, FieldError, Problem};
use std::sync::Arc;

/// Suppressions of prefixes and sources in force at once: each is looked at for every ban.
const MAX_WIDE: usize = 100;

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
        if let Some(live) = self.state.aggregate_over(&command.scope) {
            let detail = format!(
                "{} is live on {} and takes {} along: withdraw it with suppress_seconds; then each victim is on its own",
                live.mitigation_id, live.victim_ip, command.scope
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
        self.done(Outcome::Suppressed(suppression))
    }

    /// Said again of the same, the last word counts. What is live goes on, and the answer says how much that is.
    pub(super) fn suppress_wide(mut self, command: &SuppressWide) -> Decision {
        let suppression = Arc::new(WideSuppression {
            suppression_id: command.id,
            prefix: command.prefix,
            vector: command.vector.clone(),
            source: command.source.clone(),
            created_by: command.actor.clone(),
            created_at: self.now,
            expires_at: self.now.saturating_add(command.time),
            reason: command.reason.clone(),
        });
        let known = || self.state.wide_suppressions.values();
        let before = known().find(|one| one.is_like(&suppression));
        if before.is_none() && known().filter(|one| one.expires_at > self.now).count() >= MAX_WIDE {
            let message = format!("{MAX_WIDE} prefixes and sources are suppressed already: end one first");
            let error = FieldError::new("prefix", message.clone());
            return refused(Problem::new(Code::RequestField, message).with_errors(vec![error]));
        }
        if let Some(before) = before {
            self.effects.push(Effect::WideUnsuppressed {
                suppression: Arc::clone(before),
                actor: command.actor.clone(),
            });
        }
        self.effects
            .push(Effect::WideSuppressed(Arc::clone(&suppression)));
        let live = self.state.mitigations.values().filter(|live| {
            let mut source = suppression.source.iter();
            live.status.is_announced()
                && suppression.is_about(live.victim_ip, &live.vector)
                && source.all(|source| holds(source, live))
        });
        self.done(Outcome::WideSuppressed {
            live: live.count() as u64,
            suppression,
        })
    }

    /// Why no automatic ban of a scope begins anything, whoever reports it.
    pub(super) fn suppressed(&self, scope: &Scope) -> Option<Reason> {
        if let Some(one) = self.state.suppressions.get(scope)
            && one.expires_at > self.now
        {
            return Some(Reason::Suppressed {
                by: one.created_by.clone(),
                until: one.expires_at,
                reason: one.reason.clone(),
            });
        }
        self.suppressed_by_prefix(scope)
    }

    /// Why nothing begins by itself in a prefix.
    pub(super) fn suppressed_by_prefix(&self, scope: &Scope) -> Option<Reason> {
        let mut wide = self.state.wide_suppressions.values();
        wide.find(|one| {
            one.source.is_none() && one.expires_at > self.now && one.is_about(scope.victim, &scope.vector)
        })
        .map(|one| Reason::from(&**one))
    }

    /// Why a ban of this source is not heard at all: it holds nothing, also not what is live.
    pub(super) fn unheard(&self, event: &Event) -> Option<Reason> {
        if let Some(reason) = self.paused(&event.source) {
            return Some(reason);
        }
        let mut wide = self.state.wide_suppressions.values();
        wide.find(|one| {
            one.source.as_ref() == Some(&event.source)
                && one.expires_at > self.now
                && one.is_about(event.victim, &event.vector)
        })
        .map(|one| Reason::from(&**one))
    }

    /// Records the end of those whose time is over, and of the safelist's entries; they have not counted since.
    pub(super) fn lapsed(mut self) -> Decision {
        let wide = self.state.wide_suppressions.values();
        let over = wide.filter(|one| one.expires_at <= self.now);
        self.effects.extend(over.map(|one| Effect::WideUnsuppressed {
            suppression: Arc::clone(one),
            actor: DAEMON.to_owned(),
        }));
        let entries = self.state.safelist.values();
        let over = entries.filter(|entry| entry.is_over(self.now));
        self.effects
            .extend(over.map(|entry| Effect::SafelistForgotten { prefix: entry.prefix }));
        self.done(Outcome::Settled)
    }

    pub(super) fn unsuppress(mut self, command: &UnsuppressCommand) -> Decision {
        if let Some(wide) = self.state.wide_suppressions.get(&command.id)
            && wide.expires_at > self.now
        {
            self.effects.push(Effect::WideUnsuppressed {
                suppression: Arc::clone(wide),
                actor: command.actor.clone(),
            });
            return self.done(Outcome::Unsuppressed);
        }
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
        self.done(Outcome::Unsuppressed)
    }
}

impl From<&WideSuppression> for Reason {
    fn from(one: &WideSuppression) -> Self {
        Self::SuppressedWide {
            what: one.to_string(),
            by: one.created_by.clone(),
            until: one.expires_at,
            reason: one.reason.clone(),
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
