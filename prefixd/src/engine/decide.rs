//! One command: what was answered before, what holds it back, and what a decision has to know besides the state.

use super::SubmitError;
use super::batch::Work;
use super::replays::{Replays, Seen};
use super::run::{Engine, LOOK_AGAIN};
use crate::policy::{Command, Facts, OfAggregate, State};
use prefixd_api::mitigation::{Mitigation, Scope};
use prefixd_api::time::Timestamp;

impl Engine {
    pub(super) fn decide(&mut self, work: Work, from_store: &Replays) {
        let seen = self.seen(&work, from_store);
        self.singly = self.singly.saturating_sub(1);
        let mut batch = self.draft.take().unwrap_or_else(|| self.next_batch());
        batch.advance(self.parts.clock.now());
        match seen {
            Seen::Before(answer) => {
                self.parts.metrics.replays.inc();
                batch.replay(work, answer);
            }
            Seen::Recalled(recalled) => {
                self.parts.metrics.replays.inc();
                batch.recall(work, recalled);
            }
            Seen::Unknown => batch.refuse(work, SubmitError::Store),
            Seen::Never if let Some(refusal) = self.overruled(&work.command) => {
                batch.decide_by(work, |_, _, _| refusal);
            }
            Seen::Never => {
                // Also of a trip that a defect kept from being recorded.
                if matches!(work.command, Command::ResetBreaker(_)) && !self.has_trip_to_record() {
                    self.breaker.is_recorded();
                }
                let panic = match &work.command {
                    Command::Control(set) if set.is_panic() => Some(set.clone()),
                    _ => None,
                };
                let facts = self.facts(batch.state(), &work.command);
                let own = work.own_scope();
                let announcer = &self.parts.announcer;
                let would_tell =
                    |aggregate: &Mitigation, may_be_tried| announcer.would_tell(aggregate, may_be_tried);
                if !batch.decide(work, &self.parts.policy, &facts, would_tell) {
                    self.parts.metrics.defects.inc();
                    self.look_again(own);
                } else if let Some(set) = panic {
                    self.judge_stopped(&set, batch.state());
                }
            }
        }
        self.draft = Some(batch);
    }

    /// The engine's own work on a scope failed by a defect. The speaker ends the rules at their time all the same;
    /// the scope must not be forgotten.
    pub(super) fn look_again(&mut self, scope: Option<Scope>) {
        if let Some(scope) = scope {
            let at = self.parts.clock.now().saturating_add(LOOK_AGAIN);
            self.deadlines.at_latest(scope, at);
        }
    }

    fn facts(&self, state: &State, command: &Command) -> Facts {
        let (scope, over) = match command {
            Command::Event(command) => {
                let scope = command.scope();
                let over = state.aggregate_over(&scope);
                (scope, over)
            }
            Command::Due(scope) | Command::Judge(scope) => (scope.clone(), None),
            Command::Withdraw(command) => {
                let live = state.mitigations.get(&command.mitigation);
                return Facts {
                    advertised_at: live.and_then(|live| self.advertised_at(live)),
                    ..self.facts_of_none()
                };
            }
            _ => return self.facts_of_none(),
        };
        let live = state.mitigation_of(&scope);
        let both = over.into_iter().chain(live);
        Facts {
            advertised_at: live.and_then(|live| self.advertised_at(live)),
            established: self.established,
            lost: both
                .map(|one| &**one)
                .find(|one| self.is_lost(one))
                .map(|one| one.mitigation_id),
            reserved: self.reserved,
            aggregate: over.map_or_else(OfAggregate::default, |live| OfAggregate {
                advertised_at: self.advertised_at(live),
                reach: self.parts.announcer.reach(live),
            }),
        }
    }

    fn facts_of_none(&self) -> Facts {
        Facts {
            advertised_at: None,
            established: self.established,
            lost: None,
            reserved: self.reserved,
            aggregate: OfAggregate::default(),
        }
    }

    /// Asked for as long as it is not recorded.
    fn advertised_at(&self, live: &Mitigation) -> Option<Timestamp> {
        match live.advertised_at {
            None => self.parts.announcer.advertised_at(live.mitigation_id),
            Some(_) => None,
        }
    }

    /// Routers had it and none has it any more. Asked only while a neighbour lacks anything.
    fn is_lost(&self, live: &Mitigation) -> bool {
        self.is_lacking
            && live.enforced
            && live.advertised_at.is_some()
            && !self.parts.announcer.is_anywhere(live.mitigation_id)
    }
}
