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
//! What is told already stays as it is where something new waits. Pure but for the wake-ups; time comes from the callers.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, Weak};

use tokio::time::{Duration, Instant};

use crate::flowspec::NlriKey;
use crate::rib::Shape;
use crate::shared::{NeighborShared, lock};

/// Which neighbours are alike, and how long one of them tries a new kind of rule for the others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CanaryConfig {
    /// The same for neighbours that are alike.
    pub group: Arc<str>,
    /// So long the first must keep a rule before the others are told.
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
    wait: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    members: BTreeMap<Arc<str>, Member>,
    kinds: HashMap<Shape, Kind>,
    /// Rules that a first has parked, until it has kept them.
    parked: HashMap<NlriKey, Parked>,
    /// Kinds of which a process before this one had parked a rule: that it announced others proves nothing.
    doubted: HashSet<Shape>,
    /// Counts what may let a rule go out, or keep it back.
    version: u64,
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
    pub(crate) fn new(wait: Duration) -> Arc<Self> {
        Arc::new(Self {
            wait,
            state: Mutex::default(),
        })
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

    /// Why the neighbour is not told such a rule yet. Who asks first and has a session becomes the first.
    pub(crate) fn waits(&self, key: &NlriKey, kind: Shape) -> Option<Waiting> {
        let mut state = lock(&self.canary.state);
        let waiting = |first: Option<&Arc<str>>, because| {
            Some(Waiting {
                first: first.cloned(),
                because,
                wait: self.canary.wait,
            })
        };
        let parked = state.parked.get(key);
        if let Some(parked) = parked.filter(|parked| parked.first != self.name) {
            return waiting(Some(&parked.first), Because::Parked);
        }
        match state.kinds.get(&kind) {
            Some(Kind::Kept) => None,
            Some(Kind::Tried { first, .. }) if *first == self.name => None,
            Some(Kind::Tried { first, lost, .. }) => {
                let because = if *lost { Because::Lost } else { Because::Tried };
                waiting(Some(first), because)
            }
            Some(Kind::PassedBy { name, .. }) if *name == self.name => waiting(None, Because::Tried),
            Some(Kind::PassedBy { .. }) | None if state.is_up(&self.name) => {
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
            Some(Kind::PassedBy { .. }) | None => waiting(None, Because::Tried),
        }
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

    /// A process before this one had parked these rules here, and rules of these kinds.
    pub(crate) fn parked_before(
        &self,
        keys: impl Iterator<Item = NlriKey>,
        kinds: impl Iterator<Item = Shape>,
    ) {
        let mut state = lock(&self.canary.state);
        for key in keys {
            state.parked.entry(key).or_insert_with(|| Parked {
                first: self.name.clone(),
                due: None,
            });
        }
        state.doubted.extend(kinds);
        state.changed();
    }

    /// Rules of these kinds are kept here.
    pub(crate) fn known(&self, kinds: impl Iterator<Item = Shape>) {
        let mut state = lock(&self.canary.state);
        let mut changed = false;
        for kind in kinds {
            changed |= !matches!(state.kinds.insert(kind, Kind::Kept), Some(Kind::Kept));
        }
        if changed {
            state.changed();
        }
    }

    /// Rules of these kinds were announced before this process began.
    pub(crate) fn known_before(&self, kinds: impl Iterator<Item = Shape>) {
        let doubted = lock(&self.canary.state).doubted.clone();
        self.known(kinds.filter(|kind| !doubted.contains(kind)));
    }

    /// Does what is due; `trial` says what this neighbour has of a kind that it tries, `fate` of a rule that it parked.
    pub(crate) fn tick(&self, trial: impl Fn(Shape) -> Trial, fate: impl Fn(&NlriKey) -> Fate, now: Instant) {
        let mut state = lock(&self.canary.state);
        let State {
            members,
            kinds,
            parked,
            ..
        } = &mut *state;
        let is_over = |since: Instant| since + self.canary.wait <= now;
        let patience = self.canary.wait.max(PATIENCE);
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
                Fate::Kept(told) if !is_over(told) => Some(told + self.canary.wait),
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
                    true if *first == self.name => Some(*since + self.canary.wait),
                    false if !*told && !*lost => Some(member.since + self.canary.wait),
                    _ => None,
                }
            }
            Kind::PassedBy { since, .. } => Some(*since + self.canary.wait),
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
mod tests {
    use super::*;
    use crate::flowspec::Family;

    const WAIT: Duration = Duration::from_secs(60);
    const SECOND: Duration = Duration::from_secs(1);

    fn kind(n: u8) -> Shape {
        format!("ipv4-flowspec 002a {n} 0 discard").parse().unwrap()
    }

    fn key(n: u8) -> NlriKey {
        NlriKey::new(Family::Ipv4, vec![6, 1, 32, 10, 0, 0, n])
    }

    /// Three that are alike, with sessions.
    fn three(now: Instant) -> [Seat; 3] {
        let canary = Canary::new(WAIT);
        ["a", "b", "c"].map(|name| {
            let seat = canary.join(&name.into(), Weak::new(), now);
            seat.up(now);
            seat
        })
    }

    fn first(seat: &Seat, n: u8) -> Option<(Option<String>, Because)> {
        let waiting = seat.asking().waits(&key(n), kind(n))?;
        Some((waiting.first.map(|name| name.to_string()), waiting.because))
    }

    fn tick(seat: &Seat, trial: Trial, now: Instant) {
        seat.tick(|_| trial, |_| Fate::Pending, now);
    }

    #[test]
    fn one_keeps_it_for_a_while_before_the_others_are_told() {
        let now = Instant::now();
        let [a, b, c] = three(now);
        assert_eq!(first(&b, 1), None, "whoever asks first");
        assert_eq!(a.waits(&key(1), kind(1)), None);
        let version = b.version();
        assert_eq!(first(&b, 1), Some((Some("a".into()), Because::Tried)));
        // Not before it was told, and then it counts from there.
        let later = now + 2 * WAIT;
        tick(&a, Trial::Pending, later);
        a.told([kind(1)].into_iter(), later + SECOND);
        assert_eq!(a.deadline(), Some(later + SECOND + WAIT));
        assert_eq!(b.deadline(), None, "it is for the first to say");
        tick(&b, Trial::Nothing, later + 2 * WAIT);
        assert!(first(&b, 1).is_some());
        tick(&a, Trial::Kept, later + WAIT);
        assert!(first(&b, 1).is_some());
        tick(&a, Trial::Kept, later + SECOND + WAIT);
        assert_eq!((first(&b, 1), first(&c, 1)), (None, None));
        assert!(b.version() > version);
        assert_eq!(first(&c, 2), None, "another kind is new again");
    }

    #[test]
    fn who_is_lost_after_it_was_told_is_waited_for() {
        let now = Instant::now();
        let [a, b, _] = three(now);
        assert_eq!(a.waits(&key(1), kind(1)), None);
        a.told([kind(1)].into_iter(), now);
        a.down(false, now + SECOND);
        for late in [WAIT, 100 * WAIT] {
            tick(&b, Trial::Nothing, now + late);
            assert_eq!(first(&b, 1), Some((Some("a".into()), Because::Lost)));
        }
        // Back, it has to keep it from the moment it is told again.
        let back = now + 101 * WAIT;
        a.up(back);
        tick(&a, Trial::Kept, back + WAIT);
        assert!(first(&b, 1).is_some(), "not told by this session");
        a.told([kind(1)].into_iter(), back + WAIT);
        tick(&a, Trial::Kept, back + 2 * WAIT);
        assert_eq!(first(&b, 1), None);
    }

    #[test]
    fn who_never_got_it_is_not_waited_for() {
        let now = Instant::now();
        // (what happens to the first, what others may do at once, and after a while)
        let [a, b, c] = three(now);
        assert_eq!(a.waits(&key(1), kind(1)), None);
        a.down(false, now);
        tick(&b, Trial::Nothing, now + SECOND);
        assert!(first(&b, 1).is_some(), "it may be back in a moment");
        assert_eq!(b.deadline(), Some(now + WAIT));
        tick(&b, Trial::Nothing, now + WAIT);
        assert_eq!(b.waits(&key(1), kind(1)), None);
        assert_eq!(first(&c, 1), Some((Some("b".into()), Because::Tried)));
        // Its budget is full: the next one, and it is not asked again for a while.
        tick(&b, Trial::Nothing, now + 3 * WAIT);
        assert!(first(&b, 1).is_some());
        assert_eq!(c.waits(&key(1), kind(1)), None);
        // By order there is nothing to wait for.
        c.told([kind(1)].into_iter(), now + 3 * WAIT);
        c.down(true, now + 3 * WAIT);
        assert_eq!(b.waits(&key(1), kind(1)), None);
        b.leave();
        assert_eq!(first(&a, 1), Some((None, Because::Tried)), "nobody has a session");
    }

    #[test]
    fn what_was_parked_before_a_restart_waits_and_its_kind_is_new() {
        let now = Instant::now();
        let [a, b, _] = three(now);
        a.parked_before([key(1)].into_iter(), [kind(1)].into_iter());
        b.known_before([kind(1), kind(2)].into_iter());
        assert_eq!(first(&b, 1), Some((Some("a".into()), Because::Parked)));
        assert_eq!(
            a.asking().waits(&key(1), kind(1)),
            None,
            "its own quarantine holds it"
        );
        assert_eq!(b.waits(&key(3), kind(1)), None, "it tries the kind");
        let waiting = a.asking().waits(&key(4), kind(1)).map(|waiting| waiting.first);
        assert_eq!(waiting, Some(Some("b".into())));
        assert_eq!(first(&a, 2), None, "another kind is known");
    }

    #[test]
    fn what_is_proven_in_the_middle_of_a_trial_is_decided_again() {
        let now = Instant::now();
        let [a, b, c] = three(now);
        assert_eq!(a.waits(&key(1), kind(1)), None);
        let version = b.version();
        c.known([kind(1)].into_iter());
        assert!(b.version() > version);
        assert_eq!(first(&b, 1), None);
        let version = b.version();
        c.known([kind(1)].into_iter());
        assert_eq!(b.version(), version, "that is no news");
    }

    #[test]
    fn who_has_it_in_its_queue_is_not_waited_for_for_ever() {
        let now = Instant::now();
        // (what the first has of it, whether it lost a session over it, whether another may be first at last)
        let cases = [
            (Trial::Queued, false, true),
            (Trial::Pending, false, false),
            (Trial::Queued, true, false),
        ];
        for (trial, lost, another) in cases {
            let [a, b, _] = three(now);
            assert_eq!(a.waits(&key(1), kind(1)), None);
            let mut begin = now + SECOND;
            if lost {
                a.told([kind(1)].into_iter(), begin);
                a.down(false, begin);
                begin += SECOND;
            }
            a.up(begin);
            for late in [WAIT, PATIENCE - SECOND] {
                tick(&a, trial, begin + late);
                assert!(first(&b, 1).is_some(), "{trial:?}");
            }
            tick(&a, trial, begin + PATIENCE + WAIT);
            assert_eq!(first(&b, 1).is_none(), another, "{trial:?}, lost: {lost}");
        }
    }

    #[test]
    fn what_the_first_has_parked_waits_until_it_has_kept_it() {
        let now = Instant::now();
        let [a, b, _] = three(now);
        assert_eq!(a.waits(&key(1), kind(1)), None);
        a.parked(&key(1), kind(1));
        a.told([kind(1)].into_iter(), now);
        let fated = |fate: Fate, at: Instant| a.tick(|_| Trial::Kept, |_| fate, at);
        fated(Fate::Pending, now + WAIT);
        let parked = Some((Some("a".into()), Because::Parked));
        assert_eq!(first(&b, 1), parked);
        let other = b.asking().waits(&key(2), kind(1));
        assert_eq!(other, None, "others of its kind were kept");
        fated(Fate::Kept(now + 9 * WAIT), now + 9 * WAIT);
        assert_eq!(a.deadline(), Some(now + 10 * WAIT));
        assert_eq!(first(&b, 1), parked);
        fated(Fate::Kept(now + 9 * WAIT), now + 10 * WAIT);
        assert_eq!(first(&b, 1), None);
        b.parked(&key(2), kind(1));
        assert_eq!(
            a.asking().waits(&key(2), kind(1)),
            None,
            "it tried nothing for others"
        );
    }
}
