//! One decision while it is being made: what it reads, what it has found, what it changes.

use super::claims;
use super::command::EventCommand;
use super::effect::{Decision, Effect, MitigationEvent, Outcome};
use super::reason::Reason;
use super::settings::Policy;
use super::share::Reserved;
use super::state::State;
use super::trace::{Notes, Trace};
use prefixd_api::event::{EventOutcome, StoredEvent};
use prefixd_api::guardrail::Guardrail;
use prefixd_api::ids::{GroupId, MitigationId};
use prefixd_api::mitigation::{EndReason, Group, Mitigation, MitigationStatus, Scope};
use prefixd_api::problem::{Code, Problem};
use prefixd_api::resource::Mode;
use prefixd_api::time::Timestamp;
use std::sync::Arc;

/// What the daemon knows of the routers when it decides; everything else is in the state.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts {
    /// When a neighbour was first seen to have the rules of the scope's live mitigation.
    pub advertised_at: Option<Timestamp>,
    /// Whether any neighbour that gets rules is established.
    pub established: bool,
    /// One that the decision is about, of which no neighbour has anything any more.
    pub lost: Option<MitigationId>,
    /// What of the quota over all POPs is this one's; absent where there is no other POP.
    pub reserved: Option<Reserved>,
    /// What is known of the aggregate over the victim that an event is about.
    pub aggregate: OfAggregate,
}

/// Where the rules of an aggregate are.
#[derive(Clone, Copy, Debug, Default)]
pub struct OfAggregate {
    /// When a neighbour was first seen to have them.
    pub advertised_at: Option<Timestamp>,
    /// How far they have come.
    pub reach: Reach,
}

/// How far the rules of an aggregate have come at the neighbours that have a session. What is for its victims alone ends
/// only where the routers have what takes its place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// One of them does not take all of them, or is not told them now: each victim is on its own.
    Blocked,
    /// Nothing stands in their way.
    #[default]
    Coming,
    /// Each was told all of them.
    Told,
}

/// A decision being made.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    pub(super) state: &'a State,
    pub(super) policy: &'a Policy,
    pub(super) now: Timestamp,
    pub(super) facts: &'a Facts,
    pub(super) trace: Notes,
    pub(super) effects: Vec<Effect>,
    /// Guardrails that ended something.
    ended_by: Vec<Guardrail>,
}

/// What an event's decision came to.
pub(super) struct Conclusion {
    pub(super) outcome: EventOutcome,
    pub(super) reason: Reason,
    pub(super) mitigation_id: Option<MitigationId>,
    pub(super) ends_at: Option<Timestamp>,
}

impl Conclusion {
    pub(super) fn new(outcome: EventOutcome, reason: Reason) -> Self {
        Self {
            outcome,
            reason,
            mitigation_id: None,
            ends_at: None,
        }
    }

    pub(super) fn on(mut self, mitigation_id: MitigationId) -> Self {
        self.mitigation_id = Some(mitigation_id);
        self
    }
}

impl<'a> Turn<'a> {
    pub(super) fn new(state: &'a State, policy: &'a Policy, now: Timestamp, facts: &'a Facts) -> Self {
        Self {
            state,
            policy,
            now,
            facts,
            trace: Notes::default(),
            effects: Vec::new(),
            ended_by: Vec::new(),
        }
    }

    /// The open group of a scope, or a new one that remembers what counts of the one before.
    pub(super) fn open_group(&self, scope: &Scope, fresh: GroupId) -> Group {
        let mut group = match self.state.group(scope) {
            Some(group) if group.closed_at.is_none() => Group::clone(group),
            Some(closed) => Group {
                group_id: fresh,
                opened_at: self.now,
                closed_at: None,
                ..Group::clone(closed)
            },
            None => Group {
                group_id: fresh,
                pop: self.policy.pop.clone(),
                scope: scope.clone(),
                claims: Vec::new(),
                confidence: None,
                opened_at: self.now,
                last_event_at: self.now,
                closed_at: None,
                starts: Vec::new(),
                filtered_since: None,
                filtered_mode: Mode::default(),
                last_ban_at: None,
            },
        };
        if claims::settle(&mut group, self.now) {
            let live: Vec<_> = claims::holding(self.policy, &group, false, self.now).collect();
            group.confidence = claims::confidence(self.policy, live);
        }
        group
    }

    pub(super) fn change_group(&mut self, mut group: Group) {
        group.compact();
        self.effects.push(Effect::Group(Arc::new(group)));
    }

    /// Records a new or changed mitigation; counts the revision.
    pub(super) fn change(
        &mut self,
        what: MitigationEvent,
        actor: &str,
        before: Option<&Arc<Mitigation>>,
        mut after: Mitigation,
    ) -> Arc<Mitigation> {
        after.revision = before.map_or(1, |before| before.revision + 1);
        after.updated_at = self.now;
        let after = Arc::new(after);
        self.effects.push(Effect::Mitigation {
            what,
            actor: actor.to_owned(),
            before: before.map(Arc::clone),
            after: Arc::clone(&after),
            said: None,
            why: None,
        });
        after
    }

    /// What this decision has made of a mitigation; none if it has not touched it.
    pub(super) fn as_changed(&self, id: MitigationId) -> Option<Arc<Mitigation>> {
        self.effects.iter().rev().find_map(|effect| match effect {
            Effect::Mitigation { after, .. } if after.mitigation_id == id => Some(Arc::clone(after)),
            _ => None,
        })
    }

    /// A change that an operator asked for, with the operator's words. What the mitigation is stays explained by the
    /// decision that made it so.
    pub(super) fn change_by_operator(
        &mut self,
        what: MitigationEvent,
        actor: &str,
        words: &str,
        before: &Arc<Mitigation>,
        after: Mitigation,
    ) -> Arc<Mitigation> {
        let after = self.change(what, actor, Some(before), after);
        if let Some(Effect::Mitigation { said, .. }) = self.effects.last_mut() {
            *said = Some(words.to_owned());
        }
        after
    }

    /// Gives the last change of a mitigation a trace of its own.
    pub(super) fn explain_last(&mut self, trace: Arc<Trace>) {
        if let Some(Effect::Mitigation { why, .. }) = self.effects.last_mut() {
            *why = Some(trace);
        }
    }

    /// The live mitigation of this name, at the revision that is expected.
    pub(super) fn named(
        &self,
        mitigation: MitigationId,
        expected_revision: Option<u64>,
    ) -> Result<&'a Arc<Mitigation>, Box<Problem>> {
        let Some(live) = self.state.mitigations.get(&mitigation) else {
            // Whether it ended or never was, the store knows.
            let detail = format!("no live mitigation is called {mitigation}");
            return Err(Box::new(Problem::new(Code::NotFound, detail)));
        };
        at_revision(live, expected_revision)?;
        Ok(live)
    }

    /// Ends a mitigation.
    pub(super) fn end(
        &mut self,
        before: &Arc<Mitigation>,
        mut ended: Mitigation,
        reason: EndReason,
        actor: &str,
        because: String,
    ) -> Arc<Mitigation> {
        let is_pending = before.status == MitigationStatus::Pending;
        let (what, status) = match &reason {
            EndReason::Operator | EndReason::ModeChanged | EndReason::Aggregated | EndReason::Defect => {
                (MitigationEvent::Withdrawn, MitigationStatus::Withdrawn)
            }
            EndReason::LeaseExpired | EndReason::Uncorroborated => {
                (MitigationEvent::Expired, MitigationStatus::Expired)
            }
            EndReason::ClaimsEnded if is_pending => (MitigationEvent::Expired, MitigationStatus::Expired),
            EndReason::ClaimsEnded => (MitigationEvent::Withdrawn, MitigationStatus::Withdrawn),
            // All others are guardrails'.
            _ if is_pending => (MitigationEvent::Rejected, MitigationStatus::Rejected),
            EndReason::LifetimeReached => (MitigationEvent::Expired, MitigationStatus::Expired),
            _ => (MitigationEvent::Withdrawn, MitigationStatus::Withdrawn),
        };
        self.ended_by.extend(Guardrail::from_code(reason.as_str()));
        ended.status = status;
        ended.ended_at = Some(self.now);
        ended.ended_by = Some(actor.into());
        ended.end_reason = Some(reason);
        ended.why_summary = because.into();
        self.change(what, actor, Some(before), ended)
    }

    /// The decision on an event: the event first, then what it changed.
    pub(super) fn conclude(
        mut self,
        command: &EventCommand,
        group: Option<&Group>,
        end: Conclusion,
    ) -> Decision {
        let event = &command.event;
        let reason = end.reason.to_string();
        let guardrail = match end.outcome {
            EventOutcome::RejectedGuardrail => end.reason.guardrail(),
            _ => None,
        };
        self.trace.note(end.reason);
        let why = self
            .trace
            .conclude(self.now, end.outcome.as_str(), reason.clone());
        let stored = StoredEvent {
            event_id: command.ids.event,
            external_event_id: event.external_id.clone(),
            source: event.source.clone(),
            actor: command.actor.clone(),
            pop: self.policy.pop.to_string(),
            action: event.action,
            victim_ip: event.victim,
            vector: event.vector.clone(),
            bps: event.bps,
            pps: event.pps,
            confidence: event.confidence,
            protocol: event.protocol,
            top_dst_ports: event.dst_ports.clone(),
            top_src_ports: event.src_ports.clone(),
            timestamp: event.timestamp,
            received_at: self.now,
            outcome: end.outcome,
            reason,
            mitigation_id: end.mitigation_id,
            group_id: group.map(|group| group.group_id),
            raw_details: event.raw_details.clone(),
        };
        let answer = stored.answer(end.ends_at);
        for effect in &mut self.effects {
            if let Effect::Mitigation {
                before: Some(before),
                after,
                why: slot @ None,
                ..
            } = effect
                && is_reshaped(before, after)
            {
                *slot = Some(Arc::clone(&why));
            }
        }
        let mut effects = Vec::with_capacity(self.effects.len() + 1);
        effects.push(Effect::Event(Arc::new(stored), Arc::clone(&why)));
        effects.append(&mut self.effects);
        let refused = with_those_met(self.ended_by, why.refusals());
        Decision {
            outcome: Outcome::Event {
                answer,
                refused: guardrail.map(|guardrail| (guardrail, why)),
            },
            effects,
            refused,
        }
    }

    /// The decision on a request that a reason refused: nothing changes.
    pub(super) fn refuse(mut self, reason: Reason) -> Decision {
        let problem = reason.to_problem();
        let summary = problem.detail.clone();
        self.trace.note(reason);
        let why = self.trace.conclude(self.now, "refused", summary);
        Decision {
            refused: with_those_met(self.ended_by, why.refusals()),
            ..refused(problem.with_why(why.explain()))
        }
    }

    /// The decision on something nobody waits for, or on an operator's request.
    ///
    /// The trace goes with the last change of a mitigation: an operator's request has no event to keep it. What happens
    /// by itself explains a mitigation only where it made it what it is: a lease that was renewed, or a step that could
    /// not be taken, must not hide the decision that put the rules on the routers.
    pub(super) fn settle(mut self, outcome: Outcome, word: &str) -> Decision {
        let trace = std::mem::take(&mut self.trace);
        let refused = with_those_met(std::mem::take(&mut self.ended_by), trace.refusals());
        let is_asked = !matches!(outcome, Outcome::Settled);
        let last = self.effects.iter_mut().rev().find_map(|effect| match effect {
            Effect::Mitigation {
                before, after, why, ..
            } => Some((before, after, why)),
            _ => None,
        });
        if let Some((before, after, slot)) = last
            && (is_asked || before.as_ref().is_none_or(|before| is_reshaped(before, after)))
        {
            *slot = Some(trace.conclude(self.now, word, after.why_summary.to_string()));
        }
        Decision {
            outcome,
            effects: self.effects,
            refused,
        }
    }

    /// The decision on a request that needs no trace, or whose changes have one each.
    pub(super) fn done(self, outcome: Outcome) -> Decision {
        Decision {
            outcome,
            effects: self.effects,
            refused: with_those_met(self.ended_by, self.trace.refusals()),
        }
    }
}

/// Guardrails that ended something, each time, and those that only refused, once.
fn with_those_met(mut ended_by: Vec<Guardrail>, met: impl Iterator<Item = Guardrail>) -> Vec<Guardrail> {
    for guardrail in met {
        if !ended_by.contains(&guardrail) {
            ended_by.push(guardrail);
        }
    }
    ended_by
}

/// Whether the decision made the mitigation what it is now. A new one names the event it began with; a lease that
/// goes on is explained by the decision before.
fn is_reshaped(before: &Mitigation, after: &Mitigation) -> bool {
    before.rules != after.rules
        || before.step != after.step
        || before.status != after.status
        || before.ending_since != after.ending_since
}

/// Refuses what was meant for another revision.
pub(super) fn at_revision(mitigation: &Mitigation, expected: Option<u64>) -> Result<(), Box<Problem>> {
    match expected.filter(|expected| *expected != mitigation.revision) {
        None => Ok(()),
        Some(expected) => Err(Box::new(Problem::new(
            Code::ConflictRevision,
            format!(
                "{} is at revision {}, not {expected}: read it again before you change it",
                mitigation.mitigation_id, mitigation.revision
            ),
        ))),
    }
}

/// A request that was not understood or came too late: nothing changes.
pub(super) fn refused(problem: Problem) -> Decision {
    Decision {
        outcome: Outcome::Refused(Box::new(problem)),
        effects: Vec::new(),
        refused: Vec::new(),
    }
}

pub(super) fn refused_with(code: Code, detail: impl Into<String>) -> Decision {
    refused(Problem::new(code, detail))
}
