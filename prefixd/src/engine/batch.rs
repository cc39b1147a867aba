//! One batch: commands decided one after the other on a working copy, each seeing what the ones before changed.

use super::{Answer, KeyedReload, Reply, SubmitError, Told};
use crate::journal::{DAEMON, Head, Kind, Writer};
use crate::policy::{
    Command, Decision, Effect, Facts, MitigationEvent, OfAggregate, Outcome, PeerChange, PeerWhat, Policy,
    Reach, SetControl, State, decide,
};
use crate::store::{self, EventKey, Kept, KeptAnswer, Recalled, Written};
use prefixd_api::event::{EventAnswer, StoredEvent};
use prefixd_api::guardrail::Guardrail;
use prefixd_api::mitigation::{EndReason, Mitigation, MitigationStatus, Scope};
use prefixd_api::time::Timestamp;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tracing::error;

/// Commands one batch holds at most.
const MAX_COMMANDS: usize = 512;
/// Effects after which a batch takes no further command.
const MAX_EFFECTS: usize = 1_600;

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
    result: Result<Settled, SubmitError>,
}

/// What a command came to.
#[derive(Debug)]
enum Settled {
    Decided {
        outcome: Outcome,
        replay: bool,
        kept: Option<Arc<KeptAnswer>>,
    },
    Recalled(Recalled),
}

/// What is decided for one commit.
pub(super) struct Batch {
    items: Vec<Decided>,
    effects: Vec<Effect>,
    written: Vec<Written>,
    working: State,
    writer: Writer,
    now: Timestamp,
    /// Answers of this batch, for duplicates inside it.
    answers: Answers,
    /// Answers that are kept for requests with a key.
    kept: Vec<Kept>,
    /// Guardrails that refused something, each time they did.
    refused: Vec<Guardrail>,
}

/// The answers that events with a key of their own got.
pub(super) type Answers = HashMap<EventKey, EventAnswer>;

impl Batch {
    /// An empty batch on top of a state, as it is at `now`, and the end of the journal that belongs to it.
    pub(super) fn new(state: &State, pop: Arc<str>, head: Head, now: Timestamp) -> Self {
        Self {
            items: Vec::new(),
            effects: Vec::new(),
            written: Vec::new(),
            working: state.clone(),
            writer: Writer::new(pop, head),
            now,
            answers: Answers::new(),
            kept: Vec::new(),
            refused: Vec::new(),
        }
    }

    /// The state with what was decided so far.
    pub(super) fn state(&self) -> &State {
        &self.working
    }

    /// The answers decided so far.
    pub(super) fn answers(&self) -> &Answers {
        &self.answers
    }

    /// What is kept of them.
    pub(super) fn kept(&self) -> &[Kept] {
        &self.kept
    }

    /// Whether there is anything to make durable.
    pub(super) fn writes(&self) -> bool {
        !self.writer.is_empty()
    }

    /// Whether it releases parked rules of a neighbour.
    pub(super) fn releases(&self) -> bool {
        releases(&self.effects)
    }

    /// Whether it takes no further command.
    pub(super) fn is_full(&self) -> bool {
        self.items.len() >= MAX_COMMANDS || self.effects.len() >= MAX_EFFECTS
    }

    /// A batch may wait for the one before: what is decided later is decided at a later time.
    pub(super) fn advance(&mut self, now: Timestamp) {
        if now > self.now {
            self.now = now;
            self.working.advance(now);
        }
    }

    /// The commands again, undecided, in order.
    pub(super) fn into_works(self) -> impl Iterator<Item = Work> {
        self.items.into_iter().map(|item| item.work)
    }

    /// A duplicate: it gets the answer that the first one got.
    pub(super) fn replay(&mut self, work: Work, answer: EventAnswer) {
        self.items.push(Decided {
            work,
            result: Ok(Settled::Decided {
                outcome: Outcome::Event {
                    answer,
                    refused: None,
                },
                replay: true,
                kept: None,
            }),
        });
    }

    /// A request whose key is known.
    pub(super) fn recall(&mut self, work: Work, recalled: Recalled) {
        self.items.push(Decided {
            work,
            result: Ok(Settled::Recalled(recalled)),
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
    ///
    /// An aggregate is in the place of rules of many victims: where one neighbour would not be told its rules, it is neither
    /// made nor given these rules, and each victim is on its own.
    pub(super) fn decide(
        &mut self,
        work: Work,
        policy: &Policy,
        facts: &Facts,
        would_tell: impl Fn(&Mitigation, bool) -> bool,
    ) -> bool {
        self.decide_by(work, |state, command, now| {
            let decision = decide(state, policy, command, now, facts);
            let is_told = |effect: &Effect| match effect {
                Effect::Mitigation { before, after, .. } if after.carpet.is_some() && after.enforced => {
                    match before {
                        Some(before) if before.rules == after.rules => true,
                        Some(_) => would_tell(after, false),
                        // It is made beside what its victims have, so it may wait until one neighbour has kept such a rule.
                        None => would_tell(after, is_filtered(state, command)),
                    }
                }
                _ => true,
            };
            if decision.effects.iter().all(is_told) {
                return decision;
            }
            let blocked = OfAggregate {
                reach: Reach::Blocked,
                ..facts.aggregate
            };
            let alone = Facts {
                aggregate: blocked,
                ..*facts
            };
            decide(state, policy, command, now, &alone)
        })
    }

    pub(super) fn decide_by(
        &mut self,
        work: Work,
        decide: impl FnOnce(&State, &Command, Timestamp) -> Decision,
    ) -> bool {
        let (working, now) = (&self.working, self.now);
        let decided = catch_unwind(AssertUnwindSafe(|| decide(working, &work.command, now)));
        let result = match decided {
            Ok(decision) => {
                let changes = !decision.effects.is_empty();
                match self.take(decision) {
                    Ok((outcome, replay)) => {
                        // A request that changed nothing may be made again.
                        let kept = changes.then(|| self.keep_answer(&work, &outcome)).flatten();
                        Ok(Settled::Decided {
                            outcome,
                            replay,
                            kept,
                        })
                    }
                    Err(defect) => {
                        error!(%defect, command = ?work.command, "a decision cannot be written to the journal");
                        Err(SubmitError::Defect)
                    }
                }
            }
            Err(_) => {
                error!(command = ?work.command, "deciding this command panicked; it was refused");
                self.fail_closed(&work.command);
                Err(SubmitError::Defect)
            }
        };
        let is_sound = result.is_ok();
        self.items.push(Decided { work, result });
        is_sound
    }

    /// Keeps what a command with a key is answered, made on the state that it led to. What was decided stands also
    /// when that panics; then the key is not known again.
    fn keep_answer(&mut self, work: &Work, outcome: &Outcome) -> Option<Arc<KeptAnswer>> {
        let keyed = work.reply.as_ref()?.keyed()?;
        let made = catch_unwind(AssertUnwindSafe(|| (keyed.answer)(&self.working, outcome)));
        let answer = Arc::new(made.unwrap_or_else(|_| {
            error!(command = ?work.command, "making the answer to this command panicked; it was carried out");
            None
        })?);
        self.kept.push(Kept {
            claim: keyed.claim.clone(),
            at: self.now,
            answer: Arc::clone(&answer),
        });
        Some(answer)
    }

    /// A rule that cannot be judged by the guardrails may not stay.
    fn fail_closed(&mut self, command: &Command) {
        let Command::Judge(scope) = command else { return };
        let Some(live) = self.working.mitigation_of(scope).map(Arc::clone) else {
            return;
        };
        let mut ended = Mitigation::clone(&live);
        ended.revision += 1;
        ended.status = MitigationStatus::Withdrawn;
        ended.updated_at = self.now;
        ended.ended_at = Some(self.now);
        ended.ended_by = Some(DAEMON.into());
        ended.end_reason = Some(EndReason::Defect);
        ended.why_summary = "a defect kept it from being judged by the guardrails".into();
        let withdrawn = Effect::Mitigation {
            what: MitigationEvent::Withdrawn,
            actor: DAEMON.to_owned(),
            before: Some(live),
            after: Arc::new(ended),
            said: None,
            why: None,
        };
        let taken = self.take(Decision {
            outcome: Outcome::Settled,
            effects: vec![withdrawn],
            refused: Vec::new(),
        });
        if let Err(defect) = taken {
            error!(%defect, %scope, "the end of a mitigation that could not be judged cannot be written to the journal");
        }
    }

    /// Adds an entry that no decision makes.
    pub(super) fn append(&mut self, actor: &str, kind: Kind, subject: String, body: String) {
        self.writer.append(self.now, actor, kind, subject, body);
    }

    /// Keeps what a reload is answered, whose entry was the last one.
    pub(super) fn keep(&mut self, keyed: KeyedReload) {
        self.kept.push(Kept {
            answer: Arc::new((keyed.answer)(self.writer.head().seq)),
            claim: keyed.claim,
            at: self.now,
        });
    }

    /// Answers nobody yet, changes nothing yet: what a commit needs.
    pub(super) fn seal(self) -> Sealed {
        let head = self.writer.head();
        Sealed {
            items: self.items,
            working: self.working,
            content: Arc::new(store::Batch {
                pop: self.writer.pop(),
                effects: self.effects,
                written: self.written,
                kept: self.kept,
                entries: self.writer.into_entries(),
            }),
            answers: self.answers,
            refused: self.refused,
            head,
            at: self.now,
        }
    }

    fn take(&mut self, decision: Decision) -> Result<(Outcome, bool), serde_json::Error> {
        // While the batch before is committed: the store only binds what is written here.
        let written = Written::all(&decision.effects)?;
        self.writer
            .append_effects(self.now, &decision.effects, &written)?;
        self.written.extend(written);
        self.working.apply(&decision.effects);
        if let Outcome::Event { answer, .. } = &decision.outcome {
            for event in stored(&decision.effects) {
                if let Some(key) = EventKey::of(event) {
                    self.answers.insert(key, answer.clone());
                }
            }
        }
        self.effects.extend(decision.effects);
        self.refused.extend(decision.refused);
        Ok((decision.outcome, false))
    }
}

/// A batch that is ready to be committed.
pub(super) struct Sealed {
    pub(super) items: Vec<Decided>,
    /// The state once it is committed.
    pub(super) working: State,
    /// What the store writes.
    pub(super) content: Arc<store::Batch>,
    pub(super) answers: Answers,
    /// Guardrails that refused something, each time they did.
    pub(super) refused: Vec<Guardrail>,
    pub(super) head: Head,
    pub(super) at: Timestamp,
}

impl Sealed {
    /// The scopes whose deadline may have moved.
    pub(super) fn changed(&self) -> impl Iterator<Item = Scope> {
        self.content.effects.iter().filter_map(|effect| match effect {
            Effect::Group(group) => Some(group.scope.clone()),
            Effect::Mitigation { after, .. } => Some(after.scope()),
            Effect::Suppressed(suppression) => Some(suppression.scope.clone()),
            Effect::Unsuppressed { scope, .. } | Effect::Confirmed { scope, .. } => Some(scope.clone()),
            Effect::Unconfirmed(waits) => Some(waits.ended.scope()),
            Effect::Event(..)
            | Effect::WideSuppressed(_)
            | Effect::WideUnsuppressed { .. }
            | Effect::SafelistAdded(_)
            | Effect::SafelistRemoved { .. }
            | Effect::SafelistLearned(_)
            | Effect::SafelistForgotten { .. }
            | Effect::Peer(_)
            | Effect::Quarantine(_)
            | Effect::Breaker(_)
            | Effect::Source(_)
            | Effect::Control(_) => None,
        })
    }

    /// The scopes that the engine looked at by itself, soundly.
    pub(super) fn looked_at(&self) -> impl Iterator<Item = Scope> {
        self.items
            .iter()
            .filter(|item| item.result.is_ok())
            .filter_map(|item| item.work.own_scope())
    }

    /// What people said on what may be announced, as far as it was carried out.
    pub(super) fn said(&self) -> Vec<SetControl> {
        self.items
            .iter()
            .filter_map(|item| match (&item.work.command, &item.result) {
                (
                    Command::Control(set),
                    Ok(Settled::Decided {
                        outcome: Outcome::ControlChanged,
                        ..
                    }),
                ) => Some(set.clone()),
                _ => None,
            })
            .collect()
    }

    /// Tells everybody who waits that nothing is known to be done. What becomes of the batch itself is still open.
    pub(super) fn fail_callers(&mut self, why: &SubmitError) {
        for item in &mut self.items {
            if let Some(reply) = item.work.reply.take() {
                reply.fail(why.clone());
            }
        }
    }
}

impl Decided {
    /// Tells the caller, now that the outcome is durable.
    pub(super) fn answer(self, head: u64) {
        let Some(reply) = self.work.reply else { return };
        reply.send(self.result.map(|settled| match settled {
            Settled::Decided {
                outcome,
                replay,
                kept,
            } => Told::Decided {
                answer: Answer {
                    outcome,
                    replay,
                    head,
                },
                kept,
            },
            Settled::Recalled(recalled) => Told::Recalled(recalled),
        }));
    }

    /// Tells the caller that nothing was done.
    pub(super) fn fail(self, why: SubmitError) {
        if let Some(reply) = self.work.reply {
            reply.fail(why);
        }
    }
}

/// Whether parked rules of a neighbour are released by order.
pub(super) fn releases(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| {
        matches!(
            effect,
            Effect::Peer(PeerChange {
                what: PeerWhat::Released { .. },
                ..
            })
        )
    })
}

fn stored(effects: &[Effect]) -> impl Iterator<Item = &StoredEvent> {
    effects.iter().filter_map(|effect| match effect {
        Effect::Event(event, _) => Some(&**event),
        _ => None,
    })
}

/// Whether the victim of a report has a mitigation of its own.
fn is_filtered(state: &State, command: &Command) -> bool {
    match command {
        Command::Event(event) => {
            let own = state.mitigation_of(&event.scope());
            own.is_some_and(|own| own.enforced && own.status.is_announced())
        }
        _ => false,
    }
}
