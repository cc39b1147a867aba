//! Panic waits for nothing: what it is about leaves the routers when it is said, whatever the store does. Its record is
//! owed until the store takes it, like that of a rule that ended meanwhile.

use super::Request;
use super::run::Engine;
use crate::policy::{Command, SetControl, State};
use prefixd_api::control::{ControlScope, Stop, Stopped};
use prefixd_api::mitigation::Mitigation;
use std::sync::Arc;
use tokio::sync::mpsc;
use tracing::error;

/// A panic that is in force and not recorded yet.
#[derive(Debug)]
pub(super) struct Unrecorded {
    set: SetControl,
    stopped: Arc<Stopped>,
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
    pub(super) fn at_once(&mut self, request: Request) {
        if let Request::Command {
            command: Command::Control(set),
            ..
        } = &request
            && set.is_panic()
        {
            self.panic(set.clone());
        }
        self.waiting.push_front(request);
    }

    fn panic(&mut self, set: SetControl) {
        let live: Vec<_> = ended_by(&set, &self.state)
            .map(|live| live.mitigation_id)
            .collect();
        error!(
            scope = %set.scope,
            by = set.actor,
            reason = set.reason,
            withdrawn = live.len(),
            "panic: its rules are taken off the routers, and nothing is announced until somebody says prefixdctl resume"
        );
        for id in live {
            self.parts.announcer.hold_back(id);
            self.owed.insert(id);
        }
        let stopped = Arc::new(Stopped {
            scope: set.scope.clone(),
            state: Stop::Panic,
            reason: set.reason.clone(),
            set_by: set.actor.clone(),
            set_at: self.parts.clock.now(),
            recorded: false,
        });
        self.stops.retain(|known| known.set.scope != set.scope);
        self.stops.push(Unrecorded { set, stopped });
        self.tell_neighbors();
        self.publish();
    }

    /// Every panic that is in force and not recorded.
    pub(super) fn unrecorded_stops(&self) -> Vec<Arc<Stopped>> {
        self.stops.iter().map(|stop| Arc::clone(&stop.stopped)).collect()
    }

    /// Whether a mitigation must not be announced, although what says so is not recorded yet.
    pub(super) fn is_stopped(&self, mitigation: &Mitigation) -> bool {
        self.stops.iter().any(|stop| stop.set.ends(mitigation))
    }

    /// A panic was decided: what it ends is judged by it before anything else is decided.
    pub(super) fn judge_stopped(&mut self, set: &SetControl, state: &State) {
        let judges: Vec<Command> = ended_by(set, state)
            .map(|live| Command::Judge(live.scope()))
            .collect();
        self.own.extend(judges);
    }

    /// What a person said is recorded: from here on decisions go by it.
    pub(super) fn stop_is_recorded(&mut self, scope: &ControlScope) {
        self.stops.retain(|stop| stop.set.scope != *scope);
        if let ControlScope::Neighbor(_) = scope {
            self.tell_neighbors();
        }
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
