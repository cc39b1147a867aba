//! Announcing: the rules of live mitigations as routes at the neighbours.
//!
//! What should exist is a function of the committed mitigations ([`table`]); the speaker converges each neighbour
//! to it. Nothing here waits for a router.

mod compile;
mod on_loss;
mod orders;
mod peers;
mod preview;
mod rib;
mod table;

pub use compile::CompileError;
pub use peers::Deliveries;
pub use preview::preview;

use crate::clock::Clock;
use crate::policy::State;
use prefixd_api::config::settings::MeasuredRestart;
use prefixd_api::feed::FeedBody;
use prefixd_api::ids::MitigationId;
use prefixd_api::mitigation::{Claim, Mitigation, OriginKind, Severity};
use prefixd_api::peer::PeerDisabled;
use prefixd_api::rule::Rule;
use prefixd_api::time::Timestamp;
use prefixd_bgp::flowspec::NlriKey;
use prefixd_bgp::{Change, ConfigError, NeighborConfig, Priority, Route, Speaker, Target};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use table::{Desired, Step, Table, Wanted};
use tokio::sync::broadcast;
use tracing::{error, info};

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
    table: Table,
    neighbors: Vec<Neighbor>,
    /// Mitigations whose delivery subscribers have not been told since it last changed.
    untold: BTreeSet<MitigationId>,
    /// Neighbours that an operator disabled, as committed.
    disabled: BTreeMap<Arc<str>, Arc<PeerDisabled>>,
    /// Mitigations that were taken back before their end was recorded; they are not announced again.
    held_back: HashSet<MitigationId>,
    /// How many rules of a mitigation no router could be told. Decisions refuse such rules, so there are none.
    unroutable: HashMap<MitigationId, u64>,
}

/// What the daemon knows of a neighbour besides the session.
#[derive(Clone, Debug)]
pub struct Neighbor {
    /// Its name.
    pub name: Arc<str>,
    /// Whether rules go to it.
    pub enforce: bool,
    /// What its kind of router was seen to do with graceful restart.
    pub measured_restart: Option<MeasuredRestart>,
}

/// What a reconciliation found and repaired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drift {
    /// Routes that should exist.
    pub desired: u64,
    /// Routes that were missing at a neighbour, or did something else there.
    pub missing: u64,
    /// Routes at a neighbour that no live mitigation explains.
    pub unexplained: u64,
}

impl Announcer {
    /// Announces by this speaker to these neighbours.
    #[must_use]
    pub fn new(speaker: Speaker, clock: Arc<Clock>, neighbors: Vec<Neighbor>) -> Self {
        let (ephemeral, _) = broadcast::channel(EPHEMERAL_BACKLOG);
        let started_at = clock.now();
        Self {
            speaker,
            clock,
            started_at,
            inner: Mutex::new(Inner {
                table: Table::default(),
                neighbors,
                untold: BTreeSet::new(),
                disabled: BTreeMap::new(),
                held_back: HashSet::new(),
                unroutable: HashMap::new(),
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
        let mut changes = Vec::new();
        for id in changed {
            inner.owe_telling(id);
            let live = state.mitigations.get(&id);
            if live.is_none() {
                inner.held_back.remove(&id);
            }
            let steps = match live.filter(|mitigation| inner.announces(mitigation)) {
                Some(mitigation) => inner.set(mitigation, now),
                None => inner.remove(id),
            };
            self.push(&inner.neighbors, steps, &mut changes);
        }
        self.apply(changes);
    }

    /// Takes the routes of a mitigation back, and keeps them back until its end is recorded.
    pub fn hold_back(&self, id: MitigationId) {
        self.inner().held_back.insert(id);
        self.remove(id);
    }

    /// Takes the routes of a mitigation back, whatever the store says.
    pub fn remove(&self, id: MitigationId) {
        let mut inner = self.inner();
        let steps = inner.remove(id);
        let mut changes = Vec::new();
        self.push(&inner.neighbors, steps, &mut changes);
        self.apply(changes);
    }

    /// Forgets what the speaker has ended by itself.
    pub fn forget_ended(&self) {
        let now = self.clock.now();
        let mut inner = self.inner();
        let steps = inner.table.forget_ended(now);
        let mut changes = Vec::new();
        self.push(&inner.neighbors, steps, &mut changes);
        self.apply(changes);
    }

    /// Compares the committed mitigations with the table, and the table with what the speaker holds for each
    /// neighbour, and repairs both. Router tables are not read: this is drift inside the daemon.
    pub fn reconcile(&self, state: &State) -> Drift {
        let drift = self.align(state);
        if drift.missing + drift.unexplained > 0 {
            // Nobody may be listening.
            let _ = self.ephemeral.send(FeedBody::DriftDetected {
                missing: drift.missing,
                unexplained: drift.unexplained,
            });
        }
        drift
    }

    fn align(&self, state: &State) -> Drift {
        let now = self.clock.now();
        let mut inner = self.inner();
        let mut drift = Drift::default();
        let gone: Vec<MitigationId> = inner
            .table
            .mitigations()
            .filter(|id| !state.mitigations.get(id).is_some_and(|m| inner.announces(m)))
            .collect();
        // What differs is counted where it matters, at the neighbours.
        for id in gone {
            inner.remove(id);
        }
        for mitigation in state.mitigations.values() {
            if inner.announces(mitigation) {
                inner.set(mitigation, now);
            }
        }
        let mut changes = Vec::new();
        for neighbor in &inner.neighbors {
            self.compare(neighbor, &inner.table, &mut drift, &mut changes);
        }
        self.apply(changes);
        drift.desired = inner.table.len() as u64;
        drift
    }

    /// Replaces the neighbours. Those that stay the same go on untouched, new ones get every rule.
    ///
    /// # Errors
    /// When the set cannot work; then nothing changes.
    pub fn reconfigure(
        &self,
        configs: Vec<NeighborConfig>,
        neighbors: Vec<Neighbor>,
        state: &State,
    ) -> Result<(), ConfigError> {
        let report = self.speaker.reconfigure(configs)?;
        info!(added = ?report.added, removed = ?report.removed, restarted = ?report.restarted, adjusted = ?report.adjusted, "neighbours");
        // One that is new to the speaker may have been disabled before: it is to get neither session nor rules.
        self.keep_disabled(state);
        self.inner().neighbors = neighbors;
        // What the new neighbours need is no drift.
        self.align(state);
        self.inner().owe_telling_all();
        Ok(())
    }

    /// What one neighbour should hold against what the speaker holds for it.
    fn compare(&self, neighbor: &Neighbor, table: &Table, drift: &mut Drift, changes: &mut Vec<Change>) {
        let target = Target::Neighbor(Arc::clone(&neighbor.name));
        // One that the speaker does not know, between two steps of a reload, holds nothing to compare with.
        let Some(held) = self.speaker.desired(&neighbor.name) else {
            return;
        };
        let mut unexplained: HashMap<&NlriKey, &Route> =
            held.iter().map(|route| (route.rule.key(), route)).collect();
        for (key, desired) in table.desired().filter(|_| neighbor.enforce) {
            let Some(route) = self.route(&desired) else {
                continue;
            };
            let announce = |route| Change::Announce {
                target: target.clone(),
                route,
            };
            match unexplained.remove(key) {
                Some(held) if held.action == route.action => {
                    // Both ends of a lease are read off a clock that follows another; only a real difference is one.
                    // Neither it nor another priority is drift: the router has what it should have.
                    let (early, late) = (
                        held.not_after.min(route.not_after),
                        held.not_after.max(route.not_after),
                    );
                    if late - early > SAME_END || held.priority != route.priority {
                        changes.push(announce(route));
                    }
                }
                Some(_) | None => {
                    drift.missing += 1;
                    changes.push(announce(route));
                }
            }
        }
        for key in unexplained.into_keys() {
            drift.unexplained += 1;
            changes.push(Change::Withdraw {
                target: target.clone(),
                key: key.clone(),
            });
        }
    }

    /// What has to be told to the neighbours that get rules.
    fn push(&self, neighbors: &[Neighbor], steps: Vec<Step>, changes: &mut Vec<Change>) {
        for step in steps {
            let everyone = neighbors.iter().all(|neighbor| neighbor.enforce);
            let targets: Vec<Target> = if everyone {
                vec![Target::All]
            } else {
                let enforcing = neighbors.iter().filter(|neighbor| neighbor.enforce);
                enforcing
                    .map(|neighbor| Target::Neighbor(Arc::clone(&neighbor.name)))
                    .collect()
            };
            for target in targets {
                match &step {
                    Step::Announce(desired) => {
                        changes.extend(
                            self.route(desired)
                                .map(|route| Change::Announce { target, route }),
                        );
                    }
                    Step::Withdraw(key) => changes.push(Change::Withdraw {
                        target,
                        key: key.clone(),
                    }),
                }
            }
        }
    }

    fn route(&self, desired: &Desired) -> Option<Route> {
        // Checked when the rule was compiled.
        let action = compile::action(desired.action, desired.sample).ok()?;
        Some(Route {
            rule: Arc::clone(&desired.rule),
            action,
            priority: desired.priority,
            not_after: self.clock.instant_of(desired.until),
        })
    }

    fn apply(&self, changes: Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        if let Err(error) = self.speaker.apply(changes) {
            error!(%error, "a change names a neighbour that the speaker does not have; reconciliation will repair it");
        }
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

impl Inner {
    fn set(&mut self, mitigation: &Mitigation, now: Timestamp) -> Vec<Step> {
        let id = mitigation.mitigation_id;
        let end = mitigation
            .ends_at
            .map_or(mitigation.expires_at, |at| at.min(mitigation.expires_at));
        if end <= now {
            return self.remove(id);
        }
        let mut refused = Vec::new();
        let routes: Vec<Wanted> = mitigation
            .rules
            .iter()
            .filter_map(|rule| {
                wanted(mitigation, rule)
                    .map_err(|why| refused.push((rule, why)))
                    .ok()
            })
            .collect();
        let count = refused.len() as u64;
        let before = if refused.is_empty() {
            self.unroutable.remove(&id).unwrap_or(0)
        } else {
            self.unroutable.insert(id, count).unwrap_or(0)
        };
        // Said once, not at every reconciliation.
        for (rule, why) in refused.iter().filter(|_| before != count) {
            error!(mitigation = %id, %rule, why, "this rule is not announced");
        }
        self.table.set(id, &routes, end, now.saturating_add(OVERLAP))
    }

    fn announces(&self, mitigation: &Mitigation) -> bool {
        is_announced(mitigation) && !self.held_back.contains(&mitigation.mitigation_id)
    }

    fn remove(&mut self, id: MitigationId) -> Vec<Step> {
        self.unroutable.remove(&id);
        self.table.remove(id)
    }

    /// Subscribers are to be told how this one stands.
    fn owe_telling(&mut self, id: MitigationId) {
        if self.untold.len() < MAX_UNTOLD {
            self.untold.insert(id);
        }
    }

    /// A neighbour carries every route, so a change of it changes them all.
    fn owe_telling_all(&mut self) {
        let ids: Vec<MitigationId> = self.table.mitigations().collect();
        for id in ids {
            self.owe_telling(id);
        }
    }
}

/// Compiles a rule. One that cannot be compiled, or that is not for the mitigation's own victim, is not
/// announced: guardrails fail closed.
fn wanted(mitigation: &Mitigation, rule: &Rule) -> Result<Wanted, String> {
    if rule.matches.dst_prefix != mitigation.victim_ip.prefix() {
        return Err("its destination is not the victim".to_owned());
    }
    compile::action(rule.action, rule.sample).map_err(|error| error.to_string())?;
    let canonical = compile::canonical(&rule.matches).map_err(|error| error.to_string())?;
    Ok(Wanted {
        rule: Arc::new(canonical),
        action: rule.action,
        sample: rule.sample,
        priority: priority(mitigation),
    })
}

/// Where a router has no room for every rule, what an operator asked for goes first, then the more severe.
fn priority(mitigation: &Mitigation) -> Priority {
    const OPERATOR: u8 = 8;
    let severity = match mitigation.severity {
        Severity::Low => 0,
        Severity::Medium => 1,
        Severity::High => 2,
        Severity::Critical => 3,
    };
    let asked_for = |claim: &Claim| claim.kind == OriginKind::Operator;
    let by_operator = mitigation.claims.iter().any(asked_for);
    Priority::new(severity + if by_operator { OPERATOR } else { 0 })
}

#[cfg(test)]
mod tests;
