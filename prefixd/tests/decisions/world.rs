//! A state under a policy, and a clock that stops at every deadline.

use crate::step::Step;
use crate::{at, compile, merged};
use prefixd::policy::{
    Command, Decision, Effect, Facts, OfAggregate, Outcome, Policy, Reach, State, decide, next_deadline,
};
use prefixd_api::mitigation::{Mitigation, Scope};
use prefixd_api::time::Timestamp;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(crate) struct World {
    pub(crate) case: String,
    config: Value,
    pub(crate) policy: Policy,
    pub(crate) state: State,
    pub(crate) now: Timestamp,
    established: bool,
    reach: Reach,
    /// What ended since the step before, by scope.
    pub(crate) ended: BTreeMap<String, String>,
    /// The last that ended of each scope.
    pub(crate) last: BTreeMap<String, Arc<Mitigation>>,
}

impl World {
    pub(crate) fn new(case: String, config: Value) -> Self {
        let policy = compile(&case, &config);
        let mut state = State::default();
        state.count_victims(&policy);
        Self {
            policy,
            case,
            config,
            state,
            now: at(0.0),
            established: true,
            reach: Reach::Told,
            ended: BTreeMap::new(),
            last: BTreeMap::new(),
        }
    }

    pub(crate) fn step(&mut self, step: &Step) {
        self.ended.clear();
        self.pass(at(step.at));
        if let Some(established) = step.established {
            self.established = established;
        }
        if let Some(reach) = &step.reach {
            self.reach = match reach.as_str() {
                "blocked" => Reach::Blocked,
                "coming" => Reach::Coming,
                "told" => Reach::Told,
                other => panic!("{}: nothing is {other}", self.case),
            };
        }
        let mut decision = None;
        for _ in 0..step.repeat.unwrap_or(1) {
            decision = self.act(step);
        }
        self.compare(step, decision.as_ref());
    }

    fn act(&mut self, step: &Step) -> Option<Decision> {
        if let Some(change) = &step.reload {
            self.decide_by(change);
            self.state.count_victims(&self.policy);
            self.judge_all();
            return None;
        }
        if let Some(change) = &step.reload_unjudged {
            self.decide_by(change);
            return None;
        }
        let (command, scope) = step.command(self)?;
        let decision = self.run(&command, scope.as_ref());
        // As the engine does: a panic ends by a new judgement of each.
        if matches!(decision.outcome, Outcome::ControlChanged) {
            self.judge_all();
        }
        Some(decision)
    }

    fn decide_by(&mut self, change: &Value) {
        self.config = merged(&self.config, change);
        self.policy = compile(&self.case, &self.config);
    }

    fn judge_all(&mut self) {
        for scope in self.state.live_scopes().cloned().collect::<Vec<_>>() {
            self.run(&Command::Judge(scope.clone()), Some(&scope));
        }
    }

    fn run(&mut self, command: &Command, scope: Option<&Scope>) -> Decision {
        self.state.advance(self.now);
        let advertised_at = |live: Option<&Arc<Mitigation>>| {
            live.filter(|live| self.established && live.enforced)
                .map(|live| live.created_at)
        };
        let facts = Facts {
            advertised_at: advertised_at(scope.and_then(|scope| self.state.mitigation_of(scope))),
            established: self.established,
            lost: None,
            reserved: None,
            aggregate: OfAggregate {
                advertised_at: advertised_at(scope.and_then(|scope| self.state.aggregate_over(scope))),
                reach: self.reach,
            },
        };
        let decision = decide(&self.state, &self.policy, command, self.now, &facts);
        self.state.apply(&decision.effects);
        for effect in &decision.effects {
            if let Effect::Mitigation { after, .. } = effect
                && let Some(reason) = &after.end_reason
            {
                let scope = after.scope().to_string();
                self.ended.insert(scope.clone(), reason.to_string());
                self.last.insert(scope, Arc::clone(after));
            }
        }
        decision
    }

    pub(crate) fn next(&self) -> Option<(Timestamp, Scope)> {
        let state = &self.state;
        let scopes: BTreeSet<&Scope> = state
            .scopes()
            .chain(state.suppressions.keys())
            .chain(state.unconfirmed.keys())
            .collect();
        let due = |scope: &Scope| next_deadline(state, &self.policy, scope).map(|at| (at, scope.clone()));
        scopes.into_iter().filter_map(due).min()
    }

    fn pass(&mut self, until: Timestamp) {
        let mut turns = 0;
        while let Some((at, scope)) = self.next().filter(|(at, _)| *at <= until) {
            self.now = self.now.max(at);
            self.run(&Command::Due(scope.clone()), Some(&scope));
            turns += 1;
            assert!(turns < 10_000, "{}: deadlines do not move on at {at}", self.case);
        }
        self.now = until;
        self.state.advance(self.now);
        self.run(&Command::Lapsed, None);
    }

    pub(crate) fn live(&self, scope: &str) -> Option<&Arc<Mitigation>> {
        let mut live = self.state.mitigations.values();
        live.find(|live| live.scope().to_string() == scope)
    }
}
