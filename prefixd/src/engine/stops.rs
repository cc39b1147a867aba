//! Panic waits for nothing: what it is about leaves the routers when it is said, whatever the store does. Its record is
//! owed until the store takes it, like that of a rule that ended meanwhile.

use super::Request;
use super::run::Engine;
use crate::policy::{Command, Decision, SetControl, State, revision_at};
use prefixd_api::control::{ControlScope, ControlState, Stop, Stopped};
use prefixd_api::ids::MitigationId;
use prefixd_api::mitigation::Mitigation;
use prefixd_api::time::Timestamp;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tracing::error;

/// A panic that is in force and not recorded yet.
#[derive(Debug)]
pub(super) struct Unrecorded {
    set: SetControl,
    stopped: Arc<Stopped>,
    /// What it took off the routers.
    held_back: Vec<MitigationId>,
}

/// What overtakes everything else; pending for ever once nobody can ask any more.
pub(super) async fn next_urgent(urgent: &mut mpsc::Receiver<Request>) -> Request {
    match urgent.recv().await {
        Some(request) => request,
        None => std::future::pending().await,
    }
}

impl Engine {
    /// Carries out what overtakes everything else, and has it recorded next.
    pub(super) fn at_once(&mut self, mut request: Request) {
        if let Request::Command {
            command: Command::Control(set),
            ..
        } = &mut request
            && set.is_panic()
        {
            // Two of one scope are never of one instant: their records are told apart by it.
            let stops = self.stops.iter().filter(|stop| stop.set.scope == set.scope);
            let before = stops.filter_map(|stop| stop.set.in_force_since).max();
            let after = before.map(|at| at.saturating_add(Duration::from_micros(1)));
            let now = self.parts.clock.now();
            let now = after.map_or(now, |after| after.max(now));
            set.in_force_since = Some(now);
            self.panic(set.clone(), now);
        }
        self.waiting.push_front(request);
    }

    /// Puts what takes rules off before the reports that wait, and behind what was said before it.
    pub(super) fn before_reports(&mut self, request: Request) {
        let last = self.waiting.iter().rposition(Request::overtakes);
        self.waiting.insert(last.map_or(0, |last| last + 1), request);
    }

    /// All that was said.
    pub(super) fn take_removals(&mut self) {
        while let Ok(request) = self.removals.try_recv() {
            self.before_reports(request);
        }
    }

    fn panic(&mut self, set: SetControl, now: Timestamp) {
        let live: Vec<_> = ended_by(&set, &self.state)
            .map(|live| live.mitigation_id)
            .collect();
        error!(
            scope = %set.scope,
            by = set.actor,
            reason = set.reason,
            withdrawn = live.len(),
            ends_with = set.scope.resume(),
            "panic: its rules are taken off the routers, and nothing is announced until somebody ends it"
        );
        for id in &live {
            self.parts.announcer.hold_back(*id);
            self.owed.insert(*id);
        }
        let unrecorded = self.stops.iter().map(|stop| &stop.stopped);
        let before = unrecorded
            .chain(self.state.stopped.get(&set.scope))
            .find(|known| known.scope == set.scope && known.state == Stop::Panic);
        let stopped = Arc::new(Stopped {
            scope: set.scope.clone(),
            state: Stop::Panic,
            reason: set.reason.clone(),
            set_by: set.actor.clone(),
            set_at: before.map_or(now, |before| before.set_at),
            revision: revision_at(now),
            recorded: false,
        });
        self.panics.insert(set.scope.clone(), set.said);
        self.stops.retain(|known| known.set.scope != set.scope);
        self.stops.push(Unrecorded {
            set,
            stopped,
            held_back: live,
        });
        self.tell_neighbors();
        self.publish();
    }

    /// Every panic that is in force and not recorded.
    pub(super) fn unrecorded_stops(&self) -> Vec<Arc<Stopped>> {
        self.stops.iter().map(|stop| Arc::clone(&stop.stopped)).collect()
    }

    /// Whether a mitigation must not be announced, although what says so is not recorded yet.
    fn is_stopped(&self, mitigation: &Mitigation) -> bool {
        self.stops.iter().any(|stop| stop.set.ends(mitigation))
    }

    /// The same of one that was decided before, and would be announced now.
    pub(super) fn stops_late(&mut self, mitigation: &Mitigation) -> bool {
        for stop in self.stops.iter_mut().filter(|stop| stop.set.ends(mitigation)) {
            stop.held_back.push(mitigation.mitigation_id);
        }
        self.is_stopped(mitigation)
    }

    /// What a panic that is in force does not let anybody say. A panic itself is never refused.
    pub(super) fn overruled(&self, command: &Command) -> Option<Decision> {
        let Command::Control(set) = command else {
            return None;
        };
        let newest = self.panics.get(&set.scope)?;
        if set.is_panic() {
            None
        } else if *newest > set.said {
            Some(set.came_too_late())
        } else {
            let unrecorded = self.stops.iter().any(|stop| stop.set.scope == set.scope);
            (unrecorded && set.holds_neighbor()).then(|| set.keeps_panic())
        }
    }

    /// A panic was decided: what it ends is judged by it before anything else is decided.
    pub(super) fn judge_stopped(&mut self, set: &SetControl, state: &State) {
        let judges: Vec<Command> = ended_by(set, state)
            .map(|live| Command::Judge(live.scope()))
            .collect();
        self.own.extend(judges);
    }

    /// What people said is recorded, or there was nothing to record: from here on decisions go by it.
    pub(super) fn carried_out(&mut self, said: &[SetControl]) {
        for set in said {
            self.stops.retain(|stop| stop.set.said != set.said);
            if set.state == ControlState::Running {
                self.lift(set);
            }
            if let ControlScope::Neighbor(_) = set.scope {
                self.tell_neighbors();
            }
        }
    }

    /// A panic that a defect kept from being recorded is over. Nothing ended by it: what lives is announced again, as
    /// readers see it.
    fn lift(&mut self, set: &SetControl) {
        let is_lifted = |stop: &mut Unrecorded| stop.set.scope == set.scope && stop.set.said < set.said;
        let lifted: Vec<Unrecorded> = self.stops.extract_if(.., is_lifted).collect();
        if lifted.is_empty() {
            return;
        }
        let by_breaker = self.breaker.unrecorded().is_some();
        let held_back = lifted.into_iter().flat_map(|stop| stop.held_back);
        let free: Vec<MitigationId> = held_back
            .filter(|id| {
                let live = self.state.mitigations.get(id);
                !by_breaker && live.is_none_or(|live| !self.is_stopped(live))
            })
            .collect();
        for id in &free {
            self.owed.remove(id);
        }
        self.parts.announcer.let_go(&self.state, &free);
        self.publish();
    }

    /// Tells the announcer what neighbours are stopped now.
    pub(super) fn tell_neighbors(&self) {
        let unrecorded = self.stops.iter().map(|stop| &stop.stopped);
        let stopped = self.state.stopped.values().chain(unrecorded);
        let of_neighbors = stopped.filter_map(|stopped| match &stopped.scope {
            ControlScope::Neighbor(name) => Some((Arc::from(name.as_str()), Arc::clone(stopped))),
            ControlScope::Pop | ControlScope::Customer(_) => None,
        });
        self.parts
            .announcer
            .stop_neighbors(of_neighbors.collect(), &self.state);
    }
}

/// The live mitigations that a panic ends.
fn ended_by<'a>(set: &'a SetControl, state: &'a State) -> impl Iterator<Item = &'a Arc<Mitigation>> {
    state.mitigations.values().filter(|live| set.ends(live))
}

/// Whether a command takes something off routers that is already off: its record is owed and never given up.
pub(super) fn is_owed(command: &Command) -> bool {
    match command {
        Command::Trip(_) => true,
        Command::Control(set) => set.is_panic(),
        _ => false,
    }
}
