//! One batch: commands decided one after the other on a working copy, each seeing what the ones before changed.

use super::{Answer, Reply, SubmitError};
use crate::journal::{Entry, Head, Writer};
use crate::policy::{Command, Decision, Effect, Facts, Outcome, Policy, State, decide};
use crate::store::EventKey;
use prefixd_api::event::{EventAnswer, StoredEvent};
use prefixd_api::mitigation::Scope;
use prefixd_api::time::Timestamp;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tracing::error;

/// A command and who waits for it. Nobody waits for what the engine asks of itself.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) command: Command,
    pub(super) reply: Option<Reply>,
}

impl Work {
    /// The scope of work that the engine asks of itself.
    pub(super) fn own_scope(&self) -> Option<Scope> {
        match &self.command {
            Command::Due(scope) | Command::Judge(scope) if self.reply.is_none() => Some(scope.clone()),
            _ => None,
        }
    }
}

/// A command whose outcome waits for the commit.
#[derive(Debug)]
pub(super) struct Decided {
    pub(super) work: Work,
    result: Result<(Outcome, bool), SubmitError>,
}

/// Everything that one commit makes durable.
pub(super) struct Batch {
    pub(super) items: Vec<Decided>,
    pub(super) effects: Vec<Effect>,
    pub(super) working: State,
    writer: Writer,
    now: Timestamp,
    /// Answers of this batch, for duplicates inside it.
    answers: HashMap<EventKey, EventAnswer>,
}

impl Batch {
    pub(super) fn new(state: &State, pop: Arc<str>, head: Head, now: Timestamp) -> Self {
        let mut working = state.clone();
        working.advance(now);
        Self {
            items: Vec::new(),
            effects: Vec::new(),
            working,
            writer: Writer::new(pop, head),
            now,
            answers: HashMap::new(),
        }
    }

    /// The answer that an event of this batch got already.
    pub(super) fn answer_to(&self, key: &EventKey) -> Option<EventAnswer> {
        self.answers.get(key).cloned()
    }

    /// A duplicate: it gets the answer that the first one got.
    pub(super) fn replay(&mut self, work: Work, answer: EventAnswer) {
        self.items.push(Decided {
            work,
            result: Ok((
                Outcome::Event {
                    answer,
                    refused: None,
                },
                true,
            )),
        });
    }

    /// A command that cannot be decided now.
    pub(super) fn refuse(&mut self, work: Work, why: SubmitError) {
        self.items.push(Decided {
            work,
            result: Err(why),
        });
    }

    /// Decides a command and answers whether that went well. A panic costs this command alone: it must not take
    /// every rule with it.
    pub(super) fn decide(&mut self, work: Work, policy: &Policy, facts: &Facts) -> bool {
        let (working, now) = (&self.working, self.now);
        let decided = catch_unwind(AssertUnwindSafe(|| {
            decide(working, policy, &work.command, now, facts)
        }));
        let result = match decided {
            Ok(decision) => self.take(decision).map_err(|defect| {
                error!(%defect, command = ?work.command, "a decision cannot be written to the journal");
                SubmitError::Defect
            }),
            Err(_) => {
                error!(command = ?work.command, "deciding this command panicked; it was refused and nothing was done");
                Err(SubmitError::Defect)
            }
        };
        let is_sound = result.is_ok();
        self.items.push(Decided { work, result });
        is_sound
    }

    /// Adds an entry that no decision makes.
    pub(super) fn append(&mut self, actor: &str, kind: crate::journal::Kind, subject: String, body: String) {
        self.writer.append(self.now, actor, kind, subject, body);
    }

    /// Answers nobody yet, changes nothing yet: what a commit needs.
    pub(super) fn seal(self) -> Sealed {
        let head = self.writer.head();
        Sealed {
            items: self.items,
            effects: self.effects,
            working: self.working,
            entries: self.writer.into_entries(),
            head,
            at: self.now,
        }
    }

    fn take(&mut self, decision: Decision) -> Result<(Outcome, bool), serde_json::Error> {
        self.writer.append_effects(self.now, &decision.effects)?;
        self.working.apply(&decision.effects);
        if let Outcome::Event { answer, .. } = &decision.outcome {
            for event in stored(&decision.effects) {
                if let Some(key) = EventKey::of(event) {
                    self.answers.insert(key, answer.clone());
                }
            }
        }
        self.effects.extend(decision.effects);
        Ok((decision.outcome, false))
    }
}

/// A batch that is ready to be committed.
pub(super) struct Sealed {
    pub(super) items: Vec<Decided>,
    pub(super) effects: Vec<Effect>,
    pub(super) working: State,
    pub(super) entries: Vec<Entry>,
    pub(super) head: Head,
    pub(super) at: Timestamp,
}

impl Sealed {
    /// The scopes whose deadline may have moved.
    pub(super) fn touched(&self) -> impl Iterator<Item = Scope> {
        self.effects.iter().filter_map(|effect| match effect {
            Effect::Group(group) => Some(group.scope.clone()),
            Effect::Mitigation { after, .. } => Some(after.scope()),
            Effect::Suppressed(suppression) => Some(suppression.scope.clone()),
            Effect::Unsuppressed(scope) => Some(scope.clone()),
            Effect::Event(..) | Effect::SafelistAdded(_) | Effect::SafelistRemoved { .. } => None,
        })
    }

    /// The events that were stored, with their answers.
    pub(super) fn events(&self) -> impl Iterator<Item = (EventKey, EventAnswer, Timestamp)> {
        self.items
            .iter()
            .filter_map(|item| match (&item.work.command, &item.result) {
                (Command::Event(command), Ok((Outcome::Event { answer, .. }, false))) => {
                    Some((EventKey::of_report(&command.event)?, answer.clone(), self.at))
                }
                _ => None,
            })
    }
}

impl Decided {
    /// Tells the caller, now that the outcome is durable.
    pub(super) fn answer(self, head: u64) {
        let Some(reply) = self.work.reply else { return };
        // A caller that has gone away has lost its answer, not its effect.
        let _ = reply.send(self.result.map(|(outcome, replay)| Answer {
            outcome,
            replay,
            head,
        }));
    }

    /// Tells the caller that nothing was done.
    pub(super) fn fail(self, why: SubmitError) {
        if let Some(reply) = self.work.reply {
            let _ = reply.send(Err(why));
        }
    }
}

fn stored(effects: &[Effect]) -> impl Iterator<Item = &StoredEvent> {
    effects.iter().filter_map(|effect| match effect {
        Effect::Event(event, _) => Some(&**event),
        _ => None,
    })
}
