//! Everything a decision can depend on besides the configuration: what is live, and what is remembered of what
//! was. Persistent maps: a clone is a cheap snapshot, so a batch works on a copy and readers keep theirs.

use super::claims;
use super::effect::{Effect, PeerWhat};
use super::quarantine::PeerMemory;
use super::settings::Policy;
use super::starts::{Start, Starts, decrement, increment};
use super::struck::Struck;
use super::undo::Unconfirmed;
use super::waiting::Waiting;
use imbl::{HashMap, HashSet, OrdMap};
use ipnet::IpNet;
use prefixd_api::control::{BreakerTripped, ControlScope, Stopped};
use prefixd_api::ids::{MitigationId, SuppressionId};
use prefixd_api::mitigation::{
    Group, Mitigation, MitigationStatus, OriginKind, Scope, Suppression, WideSuppression,
};
use prefixd_api::name::Name;
use prefixd_api::peer::PeerDisabled;
use prefixd_api::resource::SafelistEntry;
use prefixd_api::source::SourcePaused;
use prefixd_api::time::Timestamp;
use prefixd_api::victim::Victim;
use std::sync::Arc;

/// Many more than people write about between two reads of the store.
const MAX_ANNOTATED: usize = 4_096;

/// The committed state, or a working copy of it.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Live mitigations by name; names are ordered by time.
    pub mitigations: OrdMap<MitigationId, Arc<Mitigation>>,
    /// Groups and live mitigations by scope, so that those of one victim are side by side.
    scopes: OrdMap<Scope, Known>,
    /// The victims of each prefix, where many become one mitigation.
    pub(super) struck: Option<Struck>,
    /// Scopes whose automatic bans are not acted on.
    pub suppressions: HashMap<Scope, Arc<Suppression>>,
    /// Prefixes and sources whose automatic bans are not acted on: few.
    pub wide_suppressions: OrdMap<SuppressionId, Arc<WideSuppression>>,
    /// Safelist entries added through the API; configured and implicit ones belong to the policy.
    pub safelist: OrdMap<IpNet, Arc<SafelistEntry>>,
    /// Neighbours that an operator disabled, by name.
    pub disabled: OrdMap<Arc<str>, Arc<PeerDisabled>>,
    /// What neighbours ended their sessions over, by name; those of whom nothing is known are not there.
    pub quarantined: OrdMap<Arc<str>, Arc<PeerMemory>>,
    /// Detectors that a person paused, by name.
    pub paused: OrdMap<Arc<str>, Arc<SourcePaused>>,
    /// The breaker, while it is tripped: nothing new is announced.
    pub breaker: Option<Arc<BreakerTripped>>,
    /// What people stopped, the whole POP first.
    pub stopped: OrdMap<ControlScope, Arc<Stopped>>,
    /// Withdrawals that wait for a person to confirm them.
    pub unconfirmed: HashMap<Scope, Arc<Unconfirmed>>,
    /// Ended mitigations that something was noted down about lately: the store may not have the last of it yet.
    annotated: OrdMap<MitigationId, Arc<Mitigation>>,
    /// Scopes that a mitigation holds in the store which could not be read at start: nothing new can begin there.
    pub unreadable: HashSet<Scope>,
    /// How many mitigations are live, in the ways quotas ask.
    pub counts: Counts,
}

/// What is known of a scope; one of both at least.
#[derive(Clone, Debug, Default)]
struct Known {
    /// Its group, open or remembered because its past still counts.
    group: Option<Arc<Group>>,
    /// Its one live mitigation.
    live: Option<Arc<Mitigation>>,
}

/// Counts of live mitigations and of recent starts, kept in step with the maps. Enforced and dry-run
/// mitigations have counters of their own.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Enforced ones.
    pub enforced: Tally,
    /// Dry-run ones.
    pub dry_run: Tally,
    /// Those that wait for others to say the same, of either kind. Their beginnings are no rate of change.
    pub pending: Tally,
    /// The same by who began them.
    pub(super) waiting: Waiting,
}

impl Counts {
    fn of(&mut self, mitigation: &Mitigation) -> &mut Tally {
        match (mitigation.status, mitigation.enforced) {
            (MitigationStatus::Pending, _) => &mut self.pending,
            (_, true) => &mut self.enforced,
            (_, false) => &mut self.dry_run,
        }
    }

    fn add(&mut self, mitigation: &Mitigation) {
        self.of(mitigation).add(mitigation, mitigation.begun_at());
        if mitigation.status == MitigationStatus::Pending {
            self.waiting.add(mitigation);
        }
    }

    fn remove(&mut self, mitigation: &Mitigation) {
        self.of(mitigation).remove(mitigation);
        if mitigation.status == MitigationStatus::Pending {
            self.waiting.remove(mitigation);
        }
    }
}

/// One set of counters.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Live in this POP.
    pub pop: u64,
    /// Live by customer.
    pub customers: HashMap<Name, u64>,
    /// Starts of the last minute.
    pub starts: Starts,
}

impl State {
    /// The live mitigation of a scope.
    #[must_use]
    pub fn mitigation_of(&self, scope: &Scope) -> Option<&Arc<Mitigation>> {
        self.scopes.get(scope)?.live.as_ref()
    }

    /// The live mitigations of a victim: one per vector, nearly always one.
    pub fn of_victim(&self, victim: Victim) -> impl Iterator<Item = &Arc<Mitigation>> {
        let first = Scope {
            victim,
            vector: Name::default(),
        };
        self.scopes
            .range(first..)
            .take_while(move |(scope, _)| scope.victim == victim)
            .filter_map(|(_, known)| known.live.as_ref())
    }

    /// Other mitigations of a victim whose rules are meant for the routers.
    pub fn beside(&self, victim: Victim, id: MitigationId) -> impl Iterator<Item = &Arc<Mitigation>> {
        self.of_victim(victim)
            .filter(move |one| one.enforced && one.status.is_announced() && one.mitigation_id != id)
    }

    /// The group of a scope: open, or remembered because its past still counts.
    #[must_use]
    pub fn group(&self, scope: &Scope) -> Option<&Arc<Group>> {
        self.scopes.get(scope)?.group.as_ref()
    }

    /// The live aggregate that a victim is of.
    #[must_use]
    pub fn aggregate_over(&self, scope: &Scope) -> Option<&Arc<Mitigation>> {
        let host = scope.victim.prefix();
        let around = |victim: &Victim| victim.prefix().contains(&host);
        let mut around = self.struck.as_ref()?.aggregates(scope).filter(around);
        around.find_map(|victim| {
            self.mitigation_of(&Scope {
                victim,
                vector: scope.vector.clone(),
            })
        })
    }

    /// Counts the victims of each prefix from now on, or no longer, as the policy says.
    pub fn count_victims(&mut self, policy: &Policy) {
        self.struck = policy.carpet.map(|bounds| Struck::new(bounds, self.groups()));
    }

    /// All groups, open and remembered.
    pub fn groups(&self) -> impl Iterator<Item = &Arc<Group>> {
        self.scopes.values().filter_map(|known| known.group.as_ref())
    }

    /// All scopes of which something is known, suppressions apart.
    pub fn scopes(&self) -> impl Iterator<Item = &Scope> {
        self.scopes.keys()
    }

    /// The scopes with a live mitigation.
    pub fn live_scopes(&self) -> impl Iterator<Item = &Scope> {
        self.scopes
            .iter()
            .filter_map(|(scope, known)| known.live.as_ref().map(|_| scope))
    }

    /// Puts a group that was stored back, at start.
    pub fn restore_group(&mut self, group: Arc<Group>) {
        let scope = group.scope.clone();
        self.known(scope).group = Some(group);
    }

    /// As if no group could be read at start.
    #[cfg(test)]
    pub(super) fn lose_groups(&mut self) {
        for scope in self.scopes.keys().cloned().collect::<Vec<_>>() {
            self.forget(&scope, |known| known.group = None);
        }
    }

    fn known(&mut self, scope: Scope) -> &mut Known {
        self.scopes.entry(scope).or_default()
    }

    /// Changes what is known of a scope, and forgets a scope of which nothing is known any more.
    fn forget(&mut self, scope: &Scope, change: impl FnOnce(&mut Known)) {
        if let Some(known) = self.scopes.get_mut(scope) {
            change(known);
            if known.group.is_none() && known.live.is_none() {
                self.scopes.remove(scope);
            }
        }
    }

    /// Forgets what no longer counts at `now`. The engine calls it before each batch, so that a decision reads
    /// counters instead of counting.
    pub fn advance(&mut self, now: Timestamp) {
        self.counts.enforced.starts.forget_before(now);
        self.counts.dry_run.starts.forget_before(now);
    }

    /// Makes a decision's changes.
    pub fn apply(&mut self, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::Event(event, why) => {
                    if let Some(struck) = &mut self.struck
                        && let Some((owner, until)) = why.put_off()
                    {
                        let victim = event.victim_ip;
                        let vector = event.vector.as_str().into();
                        struck.put_off(&Scope { victim, vector }, owner, until);
                    }
                }
                Effect::Group(group) if is_forgotten(group) => {
                    self.count_struck(group);
                    self.forget(&group.scope, |known| known.group = None);
                }
                Effect::Group(group) => {
                    self.count_struck(group);
                    self.known(group.scope.clone()).group = Some(Arc::clone(group));
                }
                Effect::Mitigation { before, after, .. } => self.apply_mitigation(before.as_deref(), after),
                Effect::Suppressed(suppression) => {
                    self.suppressions
                        .insert(suppression.scope.clone(), Arc::clone(suppression));
                }
                Effect::Unsuppressed { scope, .. } => {
                    self.suppressions.remove(scope);
                }
                Effect::WideSuppressed(suppression) => {
                    self.wide_suppressions
                        .insert(suppression.suppression_id, Arc::clone(suppression));
                }
                Effect::WideUnsuppressed { suppression, .. } => {
                    self.wide_suppressions.remove(&suppression.suppression_id);
                }
                Effect::Unconfirmed(waits) => {
                    self.unconfirmed.insert(waits.ended.scope(), Arc::clone(waits));
                }
                Effect::Confirmed { scope, mitigation } => {
                    let waits = self.unconfirmed.get(scope);
                    // Another may wait in the scope by now.
                    if waits.is_some_and(|waits| waits.ended.mitigation_id == *mitigation) {
                        self.unconfirmed.remove(scope);
                    }
                }
                Effect::SafelistAdded(entry) | Effect::SafelistLearned(entry) => {
                    self.safelist.insert(entry.prefix, Arc::clone(entry));
                }
                Effect::SafelistRemoved { prefix, .. } | Effect::SafelistForgotten { prefix } => {
                    self.safelist.remove(prefix);
                }
                Effect::Quarantine(change) if change.after.is_empty() => {
                    self.quarantined.remove(&change.neighbor);
                }
                Effect::Quarantine(change) => {
                    self.quarantined
                        .insert(Arc::clone(&change.neighbor), Arc::clone(&change.after));
                }
                Effect::Breaker(change) => self.breaker.clone_from(&change.after),
                Effect::Source(change) => match &change.after {
                    Some(paused) => {
                        self.paused.insert(Arc::clone(&change.source), Arc::clone(paused));
                    }
                    None => {
                        self.paused.remove(&change.source);
                    }
                },
                Effect::Control(change) => match &change.after {
                    Some(stopped) => {
                        self.stopped.insert(change.scope.clone(), Arc::clone(stopped));
                    }
                    None => {
                        self.stopped.remove(&change.scope);
                    }
                },
                Effect::Peer(change) => match &change.what {
                    PeerWhat::Disabled(disabled) => {
                        self.disabled
                            .insert(Arc::clone(&change.neighbor), Arc::clone(disabled));
                    }
                    PeerWhat::Enabled => {
                        self.disabled.remove(&change.neighbor);
                    }
                    PeerWhat::Reset | PeerWhat::Resent { .. } | PeerWhat::Released { .. } => {}
                },
            }
        }
    }

    fn count_struck(&mut self, after: &Group) {
        if let Some(struck) = &mut self.struck {
            let known = self.scopes.get(&after.scope);
            struck.changed(known.and_then(|known| known.group.as_deref()), after);
        }
    }

    /// Puts a mitigation that is live in the store back, at start.
    pub fn restore(&mut self, mitigation: Arc<Mitigation>) {
        self.apply_mitigation(None, &mitigation);
    }

    /// Called at start, when all is back: nothing was after now. A clock that was set back since would make rates of
    /// change and unbans count until it has caught up.
    pub fn catch_up(&mut self, now: Timestamp) {
        self.counts.enforced.starts.catch_up(now);
        self.counts.dry_run.starts.catch_up(now);
        self.advance(now);
        let ahead = |group: &Group| {
            let cleared = group.claims.iter().filter_map(|claim| claim.cleared_at);
            let starts = group.starts.iter().copied();
            let others = [Some(group.last_event_at), group.last_ban_at, group.filtered_since];
            cleared
                .chain(starts)
                .chain(others.into_iter().flatten())
                .any(|at| at > now)
        };
        let scopes: Vec<Scope> = self
            .scopes
            .iter()
            .filter(|(_, known)| known.group.as_ref().is_some_and(|group| ahead(group)))
            .map(|(scope, _)| scope.clone())
            .collect();
        for scope in scopes {
            if let Some(group) = self.scopes.get_mut(&scope).and_then(|known| known.group.as_mut()) {
                let group = Arc::make_mut(group);
                for claim in group.claims.iter_mut().filter(|claim| claim.cleared_at.is_some()) {
                    let claim = Arc::make_mut(claim);
                    claim.cleared_at = claim.cleared_at.map(|at| at.min(now));
                }
                for start in &mut group.starts {
                    *start = (*start).min(now);
                }
                group.last_event_at = group.last_event_at.min(now);
                group.last_ban_at = group.last_ban_at.map(|at| at.min(now));
                group.filtered_since = group.filtered_since.map(|at| at.min(now));
            }
        }
    }

    fn apply_mitigation(&mut self, before: Option<&Mitigation>, after: &Arc<Mitigation>) {
        let was_live = before.filter(|before| before.status.is_live());
        match (was_live, after.status.is_live()) {
            (None, true) => {
                self.counts.add(after);
                self.set_live(after);
            }
            (Some(before), true) => {
                if before.status == MitigationStatus::Pending {
                    if after.status == MitigationStatus::Pending {
                        self.counts.waiting.remove(before);
                        self.counts.waiting.add(after);
                    } else {
                        // What was pending begins now, for quotas and rates of change.
                        self.counts.remove(before);
                        self.counts.add(after);
                    }
                }
                self.set_live(after);
            }
            (Some(before), false) => {
                self.counts.remove(before);
                self.forget(&after.scope(), |known| known.live = None);
                self.mitigations.remove(&after.mitigation_id);
            }
            (None, false) => {
                self.annotated.insert(after.mitigation_id, Arc::clone(after));
                if self.annotated.len() > MAX_ANNOTATED
                    && let Some(oldest) = self.annotated.get_min().map(|(id, _)| *id)
                {
                    self.annotated.remove(&oldest);
                }
            }
        }
    }

    fn set_live(&mut self, live: &Arc<Mitigation>) {
        self.known(live.scope()).live = Some(Arc::clone(live));
        self.mitigations.insert(live.mitigation_id, Arc::clone(live));
    }

    /// A mitigation as it is by the last decision: live, or ended as the store has it unless that is older.
    #[must_use]
    pub fn newest(&self, id: MitigationId, stored: Option<&Arc<Mitigation>>) -> Option<Arc<Mitigation>> {
        if let Some(live) = self.mitigations.get(&id) {
            return Some(Arc::clone(live));
        }
        let stored = stored.filter(|stored| !stored.status.is_live());
        let annotated = self.annotated.get(&id);
        [annotated, stored]
            .into_iter()
            .flatten()
            .max_by_key(|known| known.revision)
            .map(Arc::clone)
    }
}

/// Whether nothing of a group can count any more.
fn is_forgotten(group: &Group) -> bool {
    group.closed_at.is_some()
        && group.claims.is_empty()
        && group.starts.is_empty()
        && group.filtered_since.is_none()
}

impl Tally {
    /// How many of this customer are live.
    #[must_use]
    pub fn customer(&self, id: &str) -> u64 {
        self.customers.get(id).copied().unwrap_or(0)
    }

    fn add(&mut self, mitigation: &Mitigation, at: Timestamp) {
        self.pop += 1;
        let customer = mitigation.customer_id.clone();
        if let Some(customer) = &customer {
            increment(&mut self.customers, customer);
        }
        if mitigation.status == MitigationStatus::Pending {
            return;
        }
        let source = match mitigation.origin.kind {
            OriginKind::Event => claims::asking(&mitigation.claims).cloned(),
            OriginKind::Operator => None,
        };
        self.starts.push(Start { at, customer, source });
    }

    fn remove(&mut self, mitigation: &Mitigation) {
        self.pop = self.pop.saturating_sub(1);
        if let Some(customer) = mitigation.customer_id.as_deref() {
            decrement(&mut self.customers, customer);
        }
    }
}
