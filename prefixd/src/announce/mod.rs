//! Announcing: the rules of live mitigations as routes at the neighbours.
//!
//! What should exist is a function of the committed mitigations ([`table`]); the speaker converges each neighbour
//! to it. Nothing here waits for a router.

mod announcements;
mod beside;
pub(crate) mod compile;
mod converge;
mod deliveries;
mod drift;
mod elsewhere;
mod few;
mod fit;
mod foresee;
mod groups;
mod may_hold;
mod memory;
mod on_loss;
mod orders;
mod peers;
mod plan;
mod preview;
mod reach;
mod rib;
mod stops;
mod table;
mod traffic;
mod withdrawal;

pub use compile::CompileError;
pub use deliveries::Deliveries;
pub use elsewhere::traffic_elsewhere;
pub use plan::NeighborPlan;
pub use preview::preview;
pub use rib::RibFilter;

use crate::clock::Clock;
use crate::policy::{Policy, State};
pub use converge::Sweep;
use converge::Unexplained;
use groups::{By, Group};
use prefixd_api::control::Stopped;
use prefixd_api::feed::FeedBody;
use prefixd_api::ids::MitigationId;
use prefixd_api::mitigation::Mitigation;
use prefixd_api::peer::PeerDisabled;
use prefixd_api::time::Timestamp;
use prefixd_api::victim::Victim;
use prefixd_bgp::flowspec::NlriKey;
use prefixd_bgp::{ConfigError, NeighborConfig, Speaker};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use table::Step;
use tokio::sync::broadcast;
use tracing::info;

/// How long the rules of a changed match stay beside the new ones.
const OVERLAP: Duration = Duration::from_secs(1);
/// Ends of a route that are no farther apart are the same.
const SAME_END: Duration = Duration::from_secs(1);
/// Deliveries that are kept for telling; of more, subscribers learn by reading.
const MAX_UNTOLD: usize = 10_000;
/// Deliveries told in a second: after a session changed there may be thousands, and subscribers must keep up.
const TOLD_AT_ONCE: usize = EPHEMERAL_BACKLOG / 2;
/// Ephemeral feed messages a subscriber may be behind; it loses the oldest, they are not numbered.
const EPHEMERAL_BACKLOG: usize = 1024;

/// See the module.
pub struct Announcer {
    speaker: Speaker,
    clock: Arc<Clock>,
    started_at: Timestamp,
    inner: Mutex<Inner>,
    ephemeral: broadcast::Sender<FeedBody>,
}

#[derive(Debug)]
struct Inner {
    /// What rules may do, as of the last reload.
    policy: Arc<Policy>,
    neighbors: Vec<Neighbor>,
    /// The neighbours that get rules, by what they take.
    groups: Vec<Group>,
    /// Mitigations that are announced, each as the tables have it.
    live: BTreeMap<MitigationId, Arc<Mitigation>>,
    leaving: Leaving,
    /// Mitigations whose delivery subscribers have not been told since it last changed.
    untold: BTreeSet<MitigationId>,
    looked_at_last: Option<MitigationId>,
    /// Neighbours that an operator disabled, as committed.
    disabled: BTreeMap<Arc<str>, Arc<PeerDisabled>>,
    /// How much of what the speaker knows of each neighbour's quarantine was asked for.
    memories: HashMap<Arc<str>, u64>,
    /// Mitigations that were taken back before their end was recorded, with their victims where they had been announced; they are
    /// not announced again.
    held_back: HashMap<MitigationId, Option<Victim>>,
    /// Neighbours at which a person stopped announcing.
    stopped: BTreeMap<Arc<str>, Arc<Stopped>>,
}

/// Routes of neighbours that are compiled for otherwise since a reload, until the speaker ends them.
#[derive(Debug, Default)]
struct Leaving(HashMap<(Arc<str>, NlriKey), Timestamp>);

/// What the daemon knows of a neighbour besides the session.
#[derive(Clone, Debug)]
pub struct Neighbor {
    /// Its name.
    pub name: Arc<str>,
    /// Whether rules go to it.
    pub enforce: bool,
    /// Whether rules went to it since the daemon began, now or before a reload.
    pub was_told: bool,
    /// What it takes.
    pub plan: NeighborPlan,
    /// Most rules it may hold.
    pub max_rules: u64,
    /// It hands the rules on to others.
    pub reflects: bool,
}

/// What a reconciliation found and repaired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drift {
    /// Routes that should exist, at all neighbours together.
    pub desired: u64,
    /// Routes that were missing at a neighbour, or did something else there.
    pub missing: u64,
    /// Routes at a neighbour that no live mitigation explains.
    pub unexplained: u64,
}

impl Announcer {
    /// Announces by this speaker to these neighbours what this policy allows.
    #[must_use]
    pub fn new(speaker: Speaker, clock: Arc<Clock>, neighbors: Vec<Neighbor>, policy: Arc<Policy>) -> Self {
        let (ephemeral, _) = broadcast::channel(EPHEMERAL_BACKLOG);
        let started_at = clock.now();
        Self {
            speaker,
            clock,
            started_at,
            inner: Mutex::new(Inner {
                policy,
                groups: Group::of(&neighbors, &BTreeMap::new(), Vec::new()),
                neighbors,
                live: BTreeMap::new(),
                leaving: Leaving::default(),
                untold: BTreeSet::new(),
                looked_at_last: None,
                disabled: BTreeMap::new(),
                memories: HashMap::new(),
                held_back: HashMap::new(),
                stopped: BTreeMap::new(),
            }),
            ephemeral,
        }
    }

    /// The speaker.
    #[must_use]
    pub fn speaker(&self) -> &Speaker {
        &self.speaker
    }

    /// Messages without a number: sessions, delivery, drift.
    #[must_use]
    pub fn ephemeral(&self) -> &broadcast::Sender<FeedBody> {
        &self.ephemeral
    }

    /// Brings the routes of these mitigations in line with the state.
    pub fn project(&self, state: &State, changed: impl Iterator<Item = MitigationId>) {
        let now = self.clock.now();
        let mut inner = self.inner();
        let changed: Vec<MitigationId> = changed.collect();
        // Before anything is compiled anew: then nothing would look as if it had changed.
        let looked_at: Vec<(MitigationId, Victim)> = changed
            .iter()
            .filter_map(|id| Some((*id, inner.look_beside(state, *id)?)))
            .collect();
        let mut steps = Vec::with_capacity(changed.len());
        for id in changed {
            inner.owe_telling(id);
            let live = state.mitigations.get(&id);
            if live.is_none() {
                inner.held_back.remove(&id);
            }
            steps.push(match live.filter(|mitigation| inner.announces(mitigation)) {
                Some(mitigation) => inner.set(state, &self.speaker, mitigation, now),
                None => inner.remove(id),
            });
        }
        for (id, victim) in looked_at {
            inner.bring_beside(state, &self.speaker, (victim, id), now, &mut steps);
        }
        self.tell(&inner, steps);
    }

    /// Takes the routes of a mitigation back, and keeps them back until its end is recorded. Nothing comes out instead: what it
    /// kept back may be about to be taken back as well, and waits for the next look at all.
    pub fn hold_back(&self, id: MitigationId) {
        let mut inner = self.inner();
        let victim = inner.live.get(&id).map(|live| live.victim_ip);
        inner.held_back.insert(id, victim);
        let steps = inner.remove(id);
        self.tell(&inner, vec![steps]);
    }

    /// What was held back and goes on living is announced again.
    pub fn let_go(&self, state: &State, ids: &[MitigationId]) {
        self.inner().held_back.retain(|id, _| !ids.contains(id));
        self.project(state, ids.iter().copied());
    }

    /// Takes the routes of a mitigation that is over back, whatever the store says.
    pub fn remove(&self, state: &State, id: MitigationId) {
        let now = self.clock.now();
        let mut inner = self.inner();
        let mut steps = vec![inner.remove(id)];
        if let Some(over) = state.mitigations.get(&id) {
            inner.bring_beside(state, &self.speaker, (over.victim_ip, id), now, &mut steps);
        }
        self.tell(&inner, steps);
    }

    /// Takes off what is inside a stricter rule that is there by now, and sends what is kept back for one that a full budget,
    /// quarantine or a canary keeps from a router by now. Called every second.
    pub fn look_at_insides(&self, state: &State) {
        let now = self.clock.now();
        let mut inner = self.inner();
        let groups = inner.groups.iter_mut();
        let due: BTreeSet<MitigationId> = groups.flat_map(|group| group.next_due(&self.speaker)).collect();
        let mut steps = Vec::with_capacity(due.len());
        for id in due {
            let live = state.mitigations.get(&id);
            if let Some(live) = live.filter(|live| inner.announces(live)) {
                let step = inner.set(state, &self.speaker, live, now);
                if step.iter().any(|steps| !steps.is_empty()) {
                    inner.owe_telling(id);
                }
                steps.push(step);
            }
        }
        self.tell(&inner, steps);
    }

    /// Mitigations of which rules are sent by now that were kept back for stricter ones, since this was asked last: to the
    /// routers they are new.
    pub fn take_came_out(&self) -> Vec<MitigationId> {
        let mut inner = self.inner();
        inner.groups.iter_mut().flat_map(Group::take_came_out).collect()
    }

    /// Forgets what the speaker has ended by itself.
    pub fn forget_ended(&self) {
        let now = self.clock.now();
        let mut inner = self.inner();
        let steps = inner.each(|group| group.table.forget_ended(now));
        self.tell(&inner, vec![steps]);
    }

    /// Compares the committed mitigations with the tables, and those with what the speaker holds for each neighbour,
    /// and repairs both. Router tables are not read: this is drift inside the daemon.
    pub fn reconcile(&self, state: &State) -> Drift {
        let drift = self.align(&mut self.inner(), state, Unexplained::Withdraw);
        self.tell_drift(&drift);
        drift
    }

    /// The same in steps, of which each looks at the state as it is then; true when there is none left.
    pub fn reconcile_step(&self, state: &State, sweep: &mut Sweep) -> bool {
        let is_done = self.step(&mut self.inner(), state, sweep);
        if is_done {
            self.tell_drift(&sweep.found());
        }
        is_done
    }

    fn tell_drift(&self, drift: &Drift) {
        if drift.missing + drift.unexplained > 0 {
            // Nobody may be listening.
            let _ = self.ephemeral.send(FeedBody::DriftDetected {
                missing: drift.missing,
                unexplained: drift.unexplained,
            });
        }
    }

    /// Replaces the neighbours and the policy. Neighbours that stay the same go on untouched, new ones get every rule;
    /// one that takes otherwise than before gets its rules anew, and keeps the old ones for a moment beside them.
    ///
    /// # Errors
    /// When the set cannot work; then only the policy changes.
    pub fn reconfigure(
        &self,
        configs: Vec<NeighborConfig>,
        mut neighbors: Vec<Neighbor>,
        policy: Arc<Policy>,
        state: &State,
    ) -> Result<(), ConfigError> {
        let report = self.speaker.reconfigure(configs);
        if let Ok(report) = &report {
            info!(added = ?report.added, removed = ?report.removed, restarted = ?report.restarted, adjusted = ?report.adjusted, "neighbours");
            // One that is new to the speaker may have been disabled before: it is to get neither session nor rules.
            self.keep_disabled(state);
            // What was parked at one that is changed is forgotten: that may be the remedy. One that is added has no past here.
            self.remember(state, Some(&report.added));
        }
        let mut inner = self.inner();
        inner.policy = policy;
        if report.is_ok() {
            for neighbor in &mut neighbors {
                let mut before = inner.neighbors.iter();
                neighbor.was_told |= before.any(|known| known.name == neighbor.name && known.was_told);
            }
            inner.neighbors = neighbors;
        }
        inner.forget_compiled();
        inner.regroup();
        // What the neighbours need anew is no drift.
        self.align(&mut inner, state, Unexplained::Overlap);
        inner.owe_telling_all();
        report.map(drop)
    }

    fn tell(&self, inner: &Inner, steps: Vec<PerGroup>) {
        let everyone = inner.groups.len() == 1 && inner.neighbors.iter().all(|known| inner.gets_rules(known));
        let mut changes = Vec::new();
        for steps in steps {
            for (group, steps) in inner.groups.iter().zip(steps) {
                self.push(everyone, group, steps, &mut changes);
            }
        }
        self.apply(changes);
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // The table is consistent between its methods, so a panic elsewhere does not make it wrong.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a mitigation's rules belong on routers.
fn is_announced(mitigation: &Mitigation) -> bool {
    mitigation.enforced && mitigation.status.is_announced()
}

/// What has to be told to the neighbours of each group.
type PerGroup = Vec<Vec<Step>>;

impl Inner {
    fn each(&mut self, steps: impl FnMut(&mut Group) -> Vec<Step>) -> PerGroup {
        self.groups.iter_mut().map(steps).collect()
    }

    /// The victim of a mitigation whose rules came, changed or went: what stands beside it may stand otherwise.
    fn look_beside(&self, state: &State, id: MitigationId) -> Option<Victim> {
        match state.mitigations.get(&id).filter(|live| self.announces(live)) {
            Some(live) => {
                let is_known = self.groups.iter().all(|group| group.is_known(live));
                (!is_known).then_some(live.victim_ip)
            }
            None => {
                let announced = self.live.get(&id).map(|live| live.victim_ip);
                announced.or_else(|| self.held_back.get(&id).copied().flatten())
            }
        }
    }

    /// Looks again at the others of a victim: a stricter rule came, changed or went.
    fn bring_beside(
        &mut self,
        state: &State,
        speaker: &Speaker,
        (victim, id): (Victim, MitigationId),
        now: Timestamp,
        steps: &mut Vec<PerGroup>,
    ) {
        for other in state.beside(victim, id) {
            if self.live.contains_key(&other.mitigation_id) && self.announces(other) {
                let step = self.set(state, speaker, other, now);
                steps.push(step);
            }
        }
    }

    fn set(
        &mut self,
        state: &State,
        speaker: &Speaker,
        mitigation: &Arc<Mitigation>,
        now: Timestamp,
    ) -> PerGroup {
        let id = mitigation.mitigation_id;
        let end = mitigation.leaves_at();
        if end <= now {
            return self.remove(id);
        }
        self.live.insert(id, Arc::clone(mitigation));
        let others = state.beside(mitigation.victim_ip, id);
        let others = others.filter(|other| self.announces(other) && other.leaves_at() > now);
        let beside: Vec<&Arc<Mitigation>> = others.collect();
        let policy = Arc::clone(&self.policy);
        let by = By {
            policy: &policy,
            speaker,
            lets_out: state.breaker.is_none(),
        };
        self.each(|group| group.set(mitigation, &beside, by, end, now))
    }

    /// Whether the tables have all of it as it is: then to set it again would change nothing. Of what stands beside others that
    /// is not known, because it depends on them and on how they stand at the routers.
    fn stands(&self, state: &State, mitigation: &Arc<Mitigation>, now: Timestamp) -> bool {
        let (victim, id) = (mitigation.victim_ip, mitigation.mitigation_id);
        let set = self.live.get(&id);
        set.is_some_and(|set| Arc::ptr_eq(set, mitigation))
            && mitigation.leaves_at() > now
            && self.groups.iter().all(|group| group.stands(mitigation))
            && state.beside(victim, id).next().is_none()
    }

    fn announces(&self, mitigation: &Mitigation) -> bool {
        is_announced(mitigation) && !self.held_back.contains_key(&mitigation.mitigation_id)
    }

    fn remove(&mut self, id: MitigationId) -> PerGroup {
        self.live.remove(&id);
        self.each(|group| group.remove(id))
    }

    /// The group of a neighbour; none when it gets no rules.
    fn group_of(&self, neighbor: &str) -> Option<&Group> {
        let is_in = |group: &&Group| group.members.iter().any(|member| &**member == neighbor);
        self.groups.iter().find(is_in)
    }

    /// Subscribers are to be told how this one stands.
    fn owe_telling(&mut self, id: MitigationId) {
        if self.untold.len() < MAX_UNTOLD {
            self.untold.insert(id);
        }
    }

    /// A neighbour carries every mitigation, so a change of it changes them all.
    fn owe_telling_all(&mut self) {
        let ids: Vec<MitigationId> = self.live.keys().copied().collect();
        for id in ids {
            self.owe_telling(id);
        }
    }
}

#[cfg(test)]
mod tests;
