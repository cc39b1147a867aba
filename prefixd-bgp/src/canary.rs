//! Kinds of rules that no router of a group has kept yet go to one of them first.
//!
//! A router that dislikes a kind of rule drops the session and with it every other rule; quarantine finds out which rule
//! it was, at each router for itself. Who can wait lets one router of a kind find out for all of them:
//!
//! ```text
//!   new kind --the first with a session--> tried there --kept for long enough--> told to all
//!                                            |  lost after it was told: the others wait for its return,
//!                                            |  and for ever for a rule that it parked
//!                                            +- never told (no session, no room): another is first
//! ```
//!
//! What is told already stays as it is where something new waits, and what does less under the same key waits for nobody.
//! What was found out outlives the process (`memory`), and a change of how long is waited. Pure but for the wake-ups; time
//! comes from the callers.

mod memory;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, Weak};

use tokio::time::{Duration, Instant};

use crate::flowspec::NlriKey;
use crate::rib::Shape;
use crate::shared::{NeighborShared, lock};
pub use memory::{RememberedKinds, TriedKind};

/// Which neighbours are alike, and how long one of them tries a new kind of rule for the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CanaryConfig {
    /// The same for neighbours that are alike.
    pub group: Arc<str>,
    /// So long the first must keep a rule before the others are told. The same for all of a group: what was said last counts.
    pub wait: Duration,
}

/// Why a rule waits at a neighbour; its text is for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Who is told first; nobody yet if none has a session.
    pub first: Option<Arc<str>>,
    /// How far that has come.
    pub because: Because,
    /// How long the first must keep it.
    pub wait: Duration,
}

/// How far the first has come with a new kind of rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Because {
    /// It is to be told, or was told and is watched.
    Tried,
    /// Its session was lost after it was told.
    Lost,
    /// It has parked this very rule.
    Parked,
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.wait.as_secs();
        f.write_str("rules of this kind are new to routers like this one: ")?;
        let Some(first) = &self.first else {
            return f.write_str("one of them is told first as soon as it has a session (bgp.canary_seconds)");
        };
        match self.because {
            Because::Tried => write!(
                f,
                "{first} is told first, and this one when {first} has kept them for {seconds} s (bgp.canary_seconds)"
            ),
            Because::Lost => write!(
                f,
                "{first} lost its session after it was told, so this one waits until {first} has kept them for {seconds} s, or is disabled"
            ),
            Because::Parked => write!(
                f,
                "{first} lost its session over this rule and has parked it; it is told here when {first} has kept it for {seconds} s after a release"
            ),
        }
    }
}

/// A first that has a rule in its queue and was not told it for so long has not the time for it; another may be first.
const PATIENCE: Duration = Duration::from_secs(600);

/// The neighbours of one group.
#[derive(Debug)]
pub(crate) struct Canary {
    group: Arc<str>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    wait: Duration,
    members: BTreeMap<Arc<str>, Member>,
    kinds: HashMap<Shape, Kind>,
    /// Rules that a first has parked, until it has kept them.
    parked: HashMap<NlriKey, Parked>,
    /// It is known what a process before this one had found out: what is desired at the start proves nothing.
    restored: bool,
    /// Counts what may let a rule go out, or keep it back.
    version: u64,
    /// Counts what [`Seat::remembered`] tells.
    memory: u64,
}

#[derive(Debug)]
struct Member {
    shared: Weak<NeighborShared>,
    up: bool,
    since: Instant,
}

#[derive(Debug)]
struct Parked {
    first: Arc<str>,
    /// When it will have kept the rule for long enough, if it was told it again.
    due: Option<Instant>,
}

#[derive(Debug)]
enum Kind {
    /// One of them has kept it for long enough.
    Kept,
    Tried {
        first: Arc<str>,
        told: bool,
        /// Its session was lost after it was told.
        lost: bool,
        /// Since when the first has it; while it has not, since when it is the first.
        since: Instant,
        /// Since when this session of the first could have been told it.
        asked: Instant,
    },
    /// This one had no room for it; another may be first for a while.
    PassedBy { name: Arc<str>, since: Instant },
}

/// What the first has of a kind of rule that it tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trial {
    Kept,
    /// It waits for its turn.
    Queued,
    /// It is suspected or parked.
    Pending,
    /// Nothing of it can be told.
    Nothing,
}

/// What the first has of a rule that it had parked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is parked, or waits to be tried again.
    Pending,
    /// It was told at that moment, and is kept so far.
    Kept(Instant),
    /// Nobody wants it any more.
    Gone,
}

/// A neighbour's place in its group.
#[derive(Debug, Clone)]
pub(crate) struct Seat {
    canary: Arc<Canary>,
    name: Arc<str>,
    /// It is only asked what would be.
    asks: bool,
}

impl Canary {
    pub(crate) fn new(config: &CanaryConfig) -> Arc<Self> {
        let state = State {
            wait: config.wait,
            members: BTreeMap::new(),
            kinds: HashMap::new(),
            parked: HashMap::new(),
            restored: false,
            version: 0,
            memory: 0,
        };
        Arc::new(Self {
            group: config.group.clone(),
            state: Mutex::new(state),
        })
    }

    /// The first must keep a rule for so long from now on, also what it tries already.
    pub(crate) fn set_wait(&self, wait: Duration) {
        let mut state = lock(&self.state);
        if state.wait != wait {
            state.wait = wait;
            state.changed();
        }
    }

    /// The neighbour is one of the group from now on.
    pub(crate) fn join(
        self: &Arc<Self>,
        name: &Arc<str>,
        shared: Weak<NeighborShared>,
        now: Instant,
    ) -> Seat {
        let member = Member {
            shared,
            up: false,
            since: now,
        };
        lock(&self.state).members.insert(name.clone(), member);
        Seat {
            canary: self.clone(),
            name: name.clone(),
            asks: false,
        }
    }
}

impl State {
    /// What waits is to be looked at again.
    fn changed(&mut self) {
        self.version += 1;
        self.memory += 1;
        self.wake();
    }

    fn wake(&self) {
        for shared in self.members.values().filter_map(|member| member.shared.upgrade()) {
            shared.deadline_moved.notify_one();
        }
    }

    fn is_up(&self, name: &str) -> bool {
        self.members.get(name).is_some_and(|member| member.up)
    }
}

impl Seat {
    /// The same place for somebody who only asks what would be.
    pub(crate) fn asking(&self) -> Self {
        Self {
            asks: true,
            ..self.clone()
        }
    }

    /// Which group it is in.
    pub(crate) fn group(&self) -> &Arc<str> {
        &self.canary.group
    }

    /// See [`Canary::set_wait`].
    pub(crate) fn set_wait(&self, wait: Duration) {
        self.canary.set_wait(wait);
    }

    /// Why the neighbour is not told such a rule yet. Who asks first and has a session becomes the first; so does one that
    /// is told it whatever the answer, where the first has lost its session over it.
    pub(crate) fn waits(&self, key: &NlriKey, kind: Shape, told_anyway: bool) -> Option<Waiting> {
        let mut state = lock(&self.canary.state);
        let wait = state.wait;
        let waiting = |first: Option<&Arc<str>>, because| {
            let first = first.cloned();
            Some(Waiting { first, because, wait })
        };
        let parked = state.parked.get(key);
        if let Some(parked) = parked.filter(|parked| parked.first != self.name) {
            return waiting(Some(&parked.first), Because::Parked);
        }
        let may_begin = match state.kinds.get(&kind) {
            Some(Kind::Kept) => return None,
            Some(Kind::Tried { first, .. }) if *first == self.name => return None,
            Some(Kind::Tried { lost: true, .. }) if told_anyway => true,
            Some(Kind::Tried { first, lost, .. }) => {
                let because = if *lost { Because::Lost } else { Because::Tried };
                return waiting(Some(first), because);
            }
            Some(Kind::PassedBy { name, .. }) => told_anyway || *name != self.name,
            None => true,
        };
        if !may_begin || !state.is_up(&self.name) {
            return waiting(None, Because::Tried);
        }
        if !self.asks {
            let now = Instant::now();
            let tried = Kind::Tried {
                first: self.name.clone(),
                told: false,
                lost: false,
                since: now,
                asked: now,
            };
            state.kinds.insert(kind, tried);
            state.changed();
        }
        None
    }

    /// Whether such a rule was kept by one of them for long enough, and this one is parked at none.
    pub(crate) fn is_known(&self, key: &NlriKey, kind: Shape) -> bool {
        let state = lock(&self.canary.state);
        matches!(state.kinds.get(&kind), Some(Kind::Kept)) && !state.parked.contains_key(key)
    }

    /// Whether others wait for what this neighbour is told next.
    pub(crate) fn is_awaited(&self) -> bool {
        let state = lock(&self.canary.state);
        let parked = state.parked.values().any(|parked| parked.first == self.name);
        parked
            || state
                .kinds
                .values()
                .any(|kind| matches!(kind, Kind::Tried { first, told: false, .. } if *first == self.name))
    }

    /// The neighbour was told rules of these kinds.
    pub(crate) fn told(&self, kinds: impl Iterator<Item = Shape>, now: Instant) {
        let mut state = lock(&self.canary.state);
        let mut begun = state.parked.values().any(|parked| parked.first == self.name);
        for kind in kinds {
            if let Some(Kind::Tried {
                first, told, since, ..
            }) = state.kinds.get_mut(&kind)
                && *first == self.name
                && !*told
            {
                (*told, *since) = (true, now);
                begun = true;
            }
        }
        if begun {
            // The time runs from now on.
            state.memory += 1;
            state.wake();
        }
    }

    /// The session is there.
    pub(crate) fn up(&self, now: Instant) {
        let mut state = lock(&self.canary.state);
        let Some(member) = state.members.get_mut(&self.name) else {
            return;
        };
        (member.up, member.since) = (true, now);
        for kind in state.kinds.values_mut() {
            if let Kind::Tried {
                first, since, asked, ..
            } = kind
                && *first == self.name
            {
                (*since, *asked) = (now, now);
            }
        }
        state.changed();
    }

    /// The session is gone, by loss or by order; then another may be first.
    pub(crate) fn down(&self, by_order: bool, now: Instant) {
        let mut state = lock(&self.canary.state);
        if let Some(member) = state.members.get_mut(&self.name) {
            (member.up, member.since) = (false, now);
        }
        if by_order {
            self.give_up(&mut state);
            return;
        }
        let mut changed = false;
        for kind in state.kinds.values_mut() {
            if let Kind::Tried {
                first, told, lost, ..
            } = kind
                && *first == self.name
            {
                // What another session tells it has to keep anew.
                *lost |= std::mem::take(told);
                changed = true;
            }
        }
        if changed {
            state.changed();
        }
    }

    /// It tries nothing for the others any more.
    pub(crate) fn step_aside(&self) {
        self.give_up(&mut lock(&self.canary.state));
    }

    /// It leaves the group.
    pub(crate) fn leave(&self) {
        let mut state = lock(&self.canary.state);
        state.members.remove(&self.name);
        let parked = state.parked.len();
        state.parked.retain(|_, parked| parked.first != self.name);
        if parked != state.parked.len() {
            state.changed();
        }
        self.give_up(&mut state);
    }

    fn give_up(&self, state: &mut State) {
        let kinds = state.kinds.len();
        state
            .kinds
            .retain(|_, kind| !matches!(kind, Kind::Tried { first, .. } if *first == self.name));
        if kinds != state.kinds.len() {
            state.changed();
        }
    }

    /// A rule ended the neighbour's session and is parked there.
    pub(crate) fn parked(&self, key: &NlriKey, kind: Shape) {
        let mut state = lock(&self.canary.state);
        if matches!(state.kinds.get(&kind), Some(Kind::Tried { first, .. }) if *first == self.name) {
            let parked = Parked {
                first: self.name.clone(),
                due: None,
            };
            state.parked.insert(key.clone(), parked);
            state.changed();
        }
    }

    /// The router was told rules of these kinds before it came into the group, and has them since those moments. What it
    /// has kept for long enough is proven; what it has not, it goes on trying, for its new group.
    pub(crate) fn brings(&self, told: impl Iterator<Item = (Shape, Instant)>, now: Instant) {
        let mut state = lock(&self.canary.state);
        let mut changed = false;
        for (kind, since) in told {
            let known = state.kinds.get(&kind);
            let new = if since + state.wait <= now {
                Kind::Kept
            } else {
                Kind::Tried {
                    first: self.name.clone(),
                    told: true,
                    lost: false,
                    since,
                    asked: since,
                }
            };
            let is_news = match (known, &new) {
                (Some(Kind::Kept), _) | (Some(Kind::Tried { .. }), Kind::Tried { .. }) => false,
                (None | Some(Kind::Tried { .. } | Kind::PassedBy { .. }), _) => true,
            };
            if is_news {
                state.kinds.insert(kind, new);
                changed = true;
            }
        }
        if changed {
            state.changed();
        }
    }

    /// Rules of these kinds were announced by a process before this one; nothing follows from that where it is known what
    /// it had found out.
    pub(crate) fn known_before(&self, kinds: impl Iterator<Item = Shape>) {
        let mut state = lock(&self.canary.state);
        if state.restored {
            return;
        }
        state.kinds.extend(kinds.map(|kind| (kind, Kind::Kept)));
        state.changed();
    }

    /// Does what is due; `trial` says what this neighbour has of a kind that it tries, `fate` of a rule that it parked.
    pub(crate) fn tick(&self, trial: impl Fn(Shape) -> Trial, fate: impl Fn(&NlriKey) -> Fate, now: Instant) {
        let mut state = lock(&self.canary.state);
        let State {
            wait,
            members,
            kinds,
            parked,
            ..
        } = &mut *state;
        let wait = *wait;
        let is_over = |since: Instant| since + wait <= now;
        let patience = wait.max(PATIENCE);
        let has_session = |name: &Arc<str>| members.get(name).is_some_and(|member| member.up);
        let away = |name: &Arc<str>| {
            members
                .get(name)
                .is_none_or(|member| !member.up && is_over(member.since))
        };
        let others = members
            .iter()
            .any(|(name, member)| member.up && *name != self.name);
        let waited_for = parked.len();
        parked.retain(|key, parked| {
            parked.due = match fate(key) {
                _ if parked.first != self.name => return true,
                Fate::Pending => None,
                Fate::Kept(told) if !is_over(told) => Some(told + wait),
                Fate::Kept(_) | Fate::Gone => return false,
            };
            true
        });
        let mut changed = waited_for != parked.len();
        let mut freed = Vec::new();
        for (shape, kind) in kinds.iter_mut() {
            let (first, told, lost, since, asked) = match kind {
                Kind::Tried {
                    first,
                    told,
                    lost,
                    since,
                    asked,
                } => (first, told, lost, since, asked),
                Kind::PassedBy { since, .. } if is_over(*since) => {
                    freed.push(*shape);
                    continue;
                }
                Kind::PassedBy { .. } | Kind::Kept => continue,
            };
            // One that is gone since it was told must come back first, or the next would go the same way.
            if !*told && !*lost && away(first) {
                freed.push(*shape);
                continue;
            }
            if *first != self.name || !is_over(*since) || !has_session(first) {
                continue;
            }
            match trial(*shape) {
                Trial::Kept if *told => {
                    *kind = Kind::Kept;
                    changed = true;
                }
                Trial::Queued if others && !*told && !*lost && *asked + patience <= now => {
                    *kind = Kind::PassedBy {
                        name: self.name.clone(),
                        since: now,
                    };
                    changed = true;
                }
                Trial::Kept | Trial::Queued | Trial::Pending => *since = now,
                Trial::Nothing if others => {
                    *kind = Kind::PassedBy {
                        name: self.name.clone(),
                        since: now,
                    };
                    changed = true;
                }
                Trial::Nothing => freed.push(*shape),
            }
        }
        for shape in &freed {
            kinds.remove(shape);
        }
        if changed || !freed.is_empty() {
            state.changed();
        }
    }

    /// When [`Seat::tick`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let state = lock(&self.canary.state);
        let wait = state.wait;
        let due = state.kinds.values().filter_map(|kind| match kind {
            Kind::Tried {
                first,
                told,
                lost,
                since,
                ..
            } => {
                let member = state.members.get(first)?;
                match member.up {
                    true if *first == self.name => Some(*since + wait),
                    false if !*told && !*lost => Some(member.since + wait),
                    _ => None,
                }
            }
            Kind::PassedBy { since, .. } => Some(*since + wait),
            Kind::Kept => None,
        });
        let own = state.parked.values().filter(|parked| parked.first == self.name);
        due.chain(own.filter_map(|parked| parked.due)).min()
    }

    /// Counts what may let a rule go out, or keep it back.
    pub(crate) fn version(&self) -> u64 {
        lock(&self.canary.state).version
    }
}

#[cfg(test)]
mod tests;
