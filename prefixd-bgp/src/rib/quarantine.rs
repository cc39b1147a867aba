//! Which rules may have ended a session, and how they are found out while the others stay on the router. Pure.
//!
//! One rule that a router cannot take ends its session, and with it goes everything else that the router was told. So
//! after a loss that a rule may have caused, the rules that were told last are suspects:
//!
//! ```text
//!   loss --judge--> suspects (told last)     others, resent at once
//!                        |                          |
//!                        +---- trial <--- quiet ----+      a group at a time, nothing else beside it
//!                                |
//!              session lives     |     session ends
//!              tried: it stays <-+-> a smaller group, or one rule: parked, with the router's own words
//! ```
//!
//! Rules that are new, and withdrawals, are never held back by any of this, unless the rule itself or its shape is
//! parked.

mod memory;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use tokio::time::{Duration, Instant};

use crate::flowspec::{Action, CanonicalRule, NlriKey};
use crate::route::Route;
use crate::status::{Loss, Suspicion};
pub use memory::{NotAShape, Remembered, RememberedRule, Shape};

/// A rule that was told so long before a loss, or longer than three hold times, has nothing to do with it.
const WINDOW: Duration = Duration::from_secs(90);
/// A router that ends the session because of a rule does it within this.
const PROMPT: Duration = Duration::from_secs(3);
/// How long a group stays under trial: so many times as long as the router took at most to end the session, within
/// these bounds.
const CAUTION: u32 = 10;
const MIN_GAP: Duration = Duration::from_millis(100);
const MAX_GAP: Duration = Duration::from_secs(1);
/// Groups of one round, at most. More rounds are more lost sessions, more groups more time.
const PROMPT_TRIALS: usize = 20;
const SLOW_TRIALS: usize = 8;
/// Parked rules are tried again after this, doubled each time it was right, up to the maximum.
const PARKED: Duration = Duration::from_secs(4 * 3600);
const MAX_PARKED: Duration = Duration::from_secs(24 * 3600);
/// Parked rules remembered for one neighbour.
const MAX_RECORDS: usize = 1000;
/// So many parked rules of one shape, and none of it that the router has kept, park the shape.
const SHAPE_AFTER: usize = 3;
/// A hold-down after an UPDATE error is pointless while the suspects are still being found, so often in so long.
const EXCUSES: u32 = 10;
const EXCUSED_WITHIN: Duration = Duration::from_secs(600);
/// A trial that found nobody was too short if the session is lost again within this.
const DOUBTFUL: Duration = Duration::from_secs(600);

/// What is known of a rule at this neighbour. In order: those that are known less are suspected first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trust {
    /// Nothing yet.
    #[default]
    New,
    /// A session was lost soon after it was told, and others were suspected.
    Spared,
    /// It was under trial and the session lived.
    Tried,
    /// A session lived long enough with it.
    Good,
    /// Told only when its turn for a trial comes.
    Suspect,
    /// Told, or being told, and watched.
    OnTrial,
}

/// A rule that a neighbour is not told, because its session ended when it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parked {
    /// Since when.
    pub since: Instant,
    /// When it is tried again.
    pub until: Instant,
    /// How often the rule was parked.
    pub times: u32,
    /// How the session ended, in the router's own words if it had any.
    pub why: Loss,
    /// The rule itself was never told: three others of its shape were parked, and the router has kept none of it.
    pub by_shape: bool,
}

impl fmt::Display for Parked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hours = (self.until - self.since).as_secs() / 3600;
        let what = if self.by_shape {
            "three rules of the same shape ended the session, so this one is not tried"
        } else {
            "the session ended when the router was told this rule, so it is held back"
        };
        write!(
            f,
            "{what} ({}); it is tried {hours} h after that, or when it is released by order",
            self.why
        )
    }
}

/// One rule at the moment of a loss.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) key: NlriKey,
    pub(super) trust: Trust,
    /// How long ago it was written; zero while it is being written, nothing if the router does not have it.
    pub(super) told: Option<Duration>,
    /// The router named it when it ended the session.
    pub(super) named: bool,
}

/// What a loss means for the rules; their new [`Trust`] is in the table of [`Seen`].
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// To be parked: indices of the table.
    pub(super) parked: Vec<usize>,
    /// Under suspicion from now on, those of earlier losses included.
    pub(super) suspects: usize,
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub(super) struct Quarantine {
    records: HashMap<NlriKey, Record>,
    shapes: HashMap<Shape, Arc<Parked>>,
    trial: Option<Trial>,
    /// Was alone under trial at a loss that something new may have caused as well.
    struck: Option<NlriKey>,
    /// Sessions in a row that were lost before they had lasted for a window.
    short_sessions: u32,
    /// When a trial last ended without finding a rule.
    acquitted: Option<Instant>,
    excuses: u32,
    excused_since: Option<Instant>,
    /// The hold time of the session that was lost last.
    hold: Duration,
    /// How long those that are released must be watched at least: longer than the hold timer takes to expire, if one of
    /// them was parked for silence.
    patience: Duration,
    version: u64,
}

#[derive(Debug, Clone)]
struct Record {
    parked: Arc<Parked>,
    shape: Shape,
    /// False once it is tried again; then it is only remembered how often it was parked.
    held: bool,
}

/// How the suspects are told.
#[derive(Debug, Clone)]
struct Trial {
    /// Those that an earlier trial has left come first, so many at once: a loss before their turn came adds others, and
    /// what is known of these must not be lost among them.
    first: VecDeque<NlriKey>,
    first_group: usize,
    /// Rules told at once of the others.
    group: usize,
    /// How long a session must live with them.
    gap: Duration,
    /// How long it must live with all others before the first are told.
    quiet: Duration,
    clock: Clock,
    on_trial: Vec<NlriKey>,
    /// The last session ended in silence before the first of these were told. Another rule may have done that once.
    starved: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Clock {
    /// No session, or its first transfer is not through.
    Stopped,
    /// The next group is due at this moment.
    Next(Instant),
    /// A group is being written.
    Writing,
    /// If the session lives up to this moment, the group is acquitted.
    Watching(Instant),
}

/// What is next in a trial.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A group may be told.
    Group,
    /// These were told and the session lives.
    Acquitted(Vec<NlriKey>),
    /// Not before this moment.
    At(Instant),
    /// Not before something is written.
    Idle,
}

impl Quarantine {
    /// A session is lost. Decides who is suspected, who is parked, and how the suspects will be tried.
    pub(super) fn judge(
        &mut self,
        loss: &Loss,
        hold: Duration,
        lasted: Duration,
        seen: &mut [Seen],
        now: Instant,
    ) -> Verdict {
        self.hold = hold;
        let window = WINDOW.max(hold * 3);
        for one in seen.iter_mut().filter(|one| one.trust < Trust::Suspect) {
            if one.told.is_some_and(|told| told >= window) {
                one.trust = Trust::Good;
            }
        }
        let suspicion = loss.suspicion();
        if suspicion == Suspicion::None {
            return self.pause(seen);
        }
        self.short_sessions = if lasted < window {
            self.short_sessions + 1
        } else {
            0
        };
        let charge = self.accuse(suspicion, window, seen);
        let guilty = self.convict(&charge, loss, seen);
        let solved = guilty.is_some() || charge.narrowed;
        let cleared = charge.narrowed && charge.accused.is_empty();
        for (index, one) in seen.iter_mut().enumerate() {
            let accused = charge.accused.binary_search(&index).is_ok();
            one.trust = match one.trust {
                _ if guilty == Some(index) => Trust::New,
                _ if accused && guilty.is_none() => Trust::Suspect,
                // It was parked once, and silence that it had no part in says nothing for it.
                Trust::Suspect | Trust::OnTrial if charge.accused.is_empty() && self.was_parked(&one.key) => {
                    Trust::Suspect
                }
                // The loss is explained without them.
                Trust::Suspect | Trust::OnTrial if solved => Trust::Spared,
                Trust::OnTrial => Trust::Suspect,
                // Whoever was told answers for silence that the suspects had no part in. A trial that was too short for
                // it would otherwise put the guilty one above the innocent for ever.
                Trust::Tried if one.told.is_some() && cleared => Trust::Spared,
                Trust::New if one.told.is_some() => Trust::Spared,
                other => other,
            };
        }
        let suspects = seen.iter().filter(|one| one.trust == Trust::Suspect).count();
        let oldest = charge.accused.iter().filter_map(|index| seen[*index].told).max();
        let accused = charge.accused.iter().map(|index| &seen[*index]);
        let accused = accused.filter(|one| one.trust == Trust::Suspect);
        let accused: VecDeque<_> = accused.map(|one| one.key.clone()).collect();
        self.prepare(suspicion, charge.narrowed, accused, suspects, (oldest, hold), now);
        Verdict {
            parked: guilty.into_iter().collect(),
            suspects,
        }
    }

    /// The session ended without suspicion: who was under trial has proved nothing.
    pub(super) fn pause(&mut self, seen: &mut [Seen]) -> Verdict {
        for one in seen.iter_mut().filter(|one| one.trust == Trust::OnTrial) {
            one.trust = Trust::Suspect;
        }
        if let Some(trial) = self.trial.as_mut() {
            trial.clock = Clock::Stopped;
            trial.on_trial.clear();
        }
        Verdict {
            parked: Vec::new(),
            suspects: seen.iter().filter(|one| one.trust == Trust::Suspect).count(),
        }
    }

    fn was_parked(&self, key: &NlriKey) -> bool {
        self.records.contains_key(key)
    }

    fn accuse(&self, suspicion: Suspicion, window: Duration, seen: &[Seen]) -> Charge {
        let those = |wanted: &dyn Fn(&Seen, Duration) -> bool| -> Vec<usize> {
            let told =
                |(index, one): (usize, &Seen)| one.told.filter(|told| wanted(one, *told)).map(|_| index);
            seen.iter().enumerate().filter_map(told).collect()
        };
        let named = those(&|one, _| one.named);
        if !named.is_empty() {
            return Charge {
                tried: None,
                by_name: true,
                narrowed: true,
                accused: named,
            };
        }
        let tried = those(&|one, _| one.trust == Trust::OnTrial);
        if let Some(since) = tried.iter().filter_map(|index| seen[*index].told).max() {
            // What was new at that moment may be it as well. Not for a slow loss: there always is something new in a
            // hold time, and those under trial were suspected before.
            let beside = self.trial.as_ref().map_or(since, |trial| trial.gap.max(since));
            let accused = match suspicion {
                Suspicion::Slow => tried.clone(),
                _ => those(&|one, told| {
                    one.trust == Trust::OnTrial || one.trust == Trust::New && told <= beside
                }),
            };
            return Charge {
                tried: Some(tried),
                by_name: false,
                narrowed: true,
                accused,
            };
        }
        let span = if suspicion == Suspicion::Slow {
            window
        } else {
            PROMPT
        };
        let known = |trust| match trust {
            // A router may begin to dislike what it kept for long, but a bad line looks the same at first, and silence
            // looks the same for as long as the line is bad.
            Trust::Good => suspicion != Suspicion::Slow && self.short_sessions > 1,
            Trust::New | Trust::Spared | Trust::Tried => true,
            Trust::Suspect | Trust::OnTrial => false,
        };
        let recent = those(&|one, told| told <= span && known(one.trust));
        if suspicion == Suspicion::Slow && self.is_cleared_by_silence(seen, !recent.is_empty()) {
            return Charge {
                tried: None,
                by_name: false,
                narrowed: true,
                accused: Vec::new(),
            };
        }
        let least = recent.iter().map(|index| seen[*index].trust).min();
        Charge {
            tried: None,
            by_name: false,
            narrowed: false,
            accused: recent
                .into_iter()
                .filter(|index| Some(seen[*index].trust) == least)
                .collect(),
        }
    }

    /// Silence without those who were suspected: it is the line, or a flood that they may be there to stop. Once they are
    /// narrowed down it may be `others` as well, but not time and again.
    fn is_cleared_by_silence(&self, seen: &[Seen], others: bool) -> bool {
        let clears = |one: &Seen| one.trust >= Trust::Suspect && !self.was_parked(&one.key);
        let is_over = |trial: &Trial| !others || trial.first.is_empty() || trial.starved;
        self.trial.as_ref().is_some_and(is_over) && seen.iter().any(clears)
    }

    /// One rule is parked if there is no doubt. A connection that is lost for another reason looks like a rule that the
    /// router dislikes, so one loss is not enough, unless the router says that it was an UPDATE.
    fn convict(&mut self, charge: &Charge, loss: &Loss, seen: &[Seen]) -> Option<usize> {
        if let [only] = charge.accused[..] {
            let certain = charge.by_name || charge.tried.is_some() || loss.is_update_error();
            return certain.then_some(only);
        }
        let [only] = charge.tried.as_deref()? else {
            return None;
        };
        let key = &seen[*only].key;
        let again = self.struck.as_ref() == Some(key);
        self.struck = (!again).then(|| key.clone());
        again.then_some(*only)
    }

    /// Sets down how the suspects are tried in the next session.
    fn prepare(
        &mut self,
        suspicion: Suspicion,
        narrowed: bool,
        accused: VecDeque<NlriKey>,
        suspects: usize,
        (oldest, hold): (Option<Duration>, Duration),
        now: Instant,
    ) {
        let before = self.trial.take().filter(|_| !narrowed);
        if suspects == 0 {
            return;
        }
        let doubtful = self
            .acquitted
            .is_some_and(|at| now.saturating_duration_since(at) < DOUBTFUL);
        let (group, gap, quiet) = match suspicion {
            // A line that was cut looks the same and is the usual reason, so all of them together first.
            Suspicion::Slow if !narrowed => (accused.len(), beyond(hold), hold),
            Suspicion::Slow => (accused.len().div_ceil(SLOW_TRIALS), beyond(hold), hold),
            Suspicion::None | Suspicion::Prompt => {
                let gap = match oldest {
                    Some(took) if !doubtful => (took * CAUTION).clamp(MIN_GAP, MAX_GAP),
                    _ => MAX_GAP,
                };
                (accused.len().div_ceil(PROMPT_TRIALS), gap, gap)
            }
        };
        let fresh = Trial {
            group: group.max(1),
            gap,
            quiet,
            ..Trial::one_by_one(Clock::Stopped)
        };
        self.trial = Some(match before {
            None if narrowed => Trial {
                first: accused,
                first_group: group.max(1),
                ..fresh
            },
            None => fresh,
            Some(before) => Trial {
                group: if accused.is_empty() {
                    before.group
                } else {
                    fresh.group
                },
                gap: gap.max(before.gap),
                quiet: quiet.max(before.quiet),
                clock: Clock::Stopped,
                on_trial: Vec::new(),
                starved: suspicion == Suspicion::Slow,
                ..before
            },
        });
    }

    /// Whether the way back to the router need not be held down: what ended the session is found, or will be soon.
    pub(super) fn excuse(&mut self, now: Instant) -> bool {
        let since = *self.excused_since.get_or_insert(now);
        if now.saturating_duration_since(since) >= EXCUSED_WITHIN {
            self.excused_since = Some(now);
            self.excuses = 0;
        }
        self.excuses += 1;
        self.excuses <= EXCUSES
    }

    /// Everything that is not suspected was told.
    pub(super) fn rest_is_told(&mut self, now: Instant) {
        if let Some(trial) = self.trial.as_mut().filter(|trial| trial.clock == Clock::Stopped) {
            trial.clock = Clock::Next(now + trial.quiet);
        }
    }

    /// What is due. Suspects without a trial, which only a release leaves, are tried one by one.
    pub(super) fn next(&mut self, suspects: usize, now: Instant) -> Next {
        if suspects > 0 && self.trial.is_none() {
            // A session that is silent already must have died before they are told, or they would answer for it.
            self.trial = Some(Trial::one_by_one(Clock::Next(now + self.patience)));
        }
        let Some(trial) = self.trial.as_mut() else {
            self.patience = Duration::ZERO;
            return Next::Idle;
        };
        trial.gap = trial.gap.max(self.patience);
        trial.quiet = trial.quiet.max(self.patience);
        match trial.clock {
            Clock::Next(_) if suspects == 0 => {
                self.acquitted = Some(now);
                self.trial = None;
                self.patience = Duration::ZERO;
                Next::Idle
            }
            Clock::Next(at) if at <= now => Next::Group,
            Clock::Watching(until) if until <= now => {
                trial.clock = Clock::Next(now);
                Next::Acquitted(std::mem::take(&mut trial.on_trial))
            }
            Clock::Next(at) | Clock::Watching(at) => Next::At(at),
            Clock::Stopped | Clock::Writing => Next::Idle,
        }
    }

    /// When [`Quarantine::next`] has something to do by itself.
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        match self.trial.as_ref()?.clock {
            Clock::Next(at) | Clock::Watching(at) => Some(at),
            Clock::Stopped | Clock::Writing => None,
        }
    }

    /// Chooses the group that is told now; `suspects` are all, in order, and `is_suspect` says whether one still is.
    pub(super) fn begin<'a>(
        &mut self,
        suspects: impl Iterator<Item = &'a NlriKey>,
        is_suspect: impl Fn(&NlriKey) -> bool,
    ) -> Vec<NlriKey> {
        let Some(trial) = self.trial.as_mut() else {
            return Vec::new();
        };
        let mut group = Vec::new();
        while group.len() < trial.first_group
            && let Some(key) = trial.first.pop_front()
        {
            if is_suspect(&key) {
                group.push(key);
            }
        }
        if group.is_empty() {
            group.extend(suspects.take(trial.group).cloned());
        }
        trial.starved = false;
        trial.clock = Clock::Writing;
        trial.on_trial.clone_from(&group);
        group
    }

    /// Something was written; `waiting` of those under trial were not yet.
    pub(super) fn written(&mut self, waiting: usize, now: Instant) {
        if let Some(trial) = self.trial.as_mut()
            && trial.clock == Clock::Writing
            && waiting == 0
        {
            trial.clock = Clock::Watching(now + trial.gap);
        }
    }

    /// Parks a rule; `kept` says whether the router has kept a rule of the same shape.
    pub(super) fn park(&mut self, route: &Route, why: &Loss, kept: bool, now: Instant) -> Arc<Parked> {
        self.records
            .retain(|_, record| record.parked.until + MAX_PARKED > now);
        let key = route.rule.key();
        let times = self.records.get(key).map_or(0, |record| record.parked.times) + 1;
        let lasts = PARKED.saturating_mul(1 << (times - 1).min(5)).min(MAX_PARKED);
        let parked = Arc::new(Parked {
            since: now,
            until: now + lasts,
            times,
            why: why.clone(),
            by_shape: false,
        });
        if self.records.len() >= MAX_RECORDS
            && let Some(first) = self
                .records
                .iter()
                .min_by_key(|(key, record)| (record.held, record.parked.until, *key))
                .map(|(key, _)| key.clone())
        {
            self.records.remove(&first);
        }
        let shape = Shape::of(&route.rule, route.action);
        let record = Record {
            parked: parked.clone(),
            shape,
            held: true,
        };
        self.records.insert(key.clone(), record);
        self.version += 1;
        let alike = self
            .records
            .values()
            .filter(|record| record.held && record.shape == shape)
            .count();
        if alike >= SHAPE_AFTER && !kept {
            let by_shape = Parked {
                by_shape: true,
                ..Parked::clone(&parked)
            };
            self.shapes.insert(shape, Arc::new(by_shape));
        }
        parked
    }

    /// Why the rule is held back, if it is.
    pub(super) fn holds(&self, rule: &CanonicalRule, action: Action) -> Option<&Arc<Parked>> {
        if self.records.is_empty() && self.shapes.is_empty() {
            return None;
        }
        let record = self.records.get(rule.key()).filter(|record| record.held);
        match record {
            Some(record) => Some(&record.parked),
            None if self.shapes.is_empty() => None,
            None => self.shapes.get(&Shape::of(rule, action)),
        }
    }

    /// These are released and will be tried; false if there are none.
    fn follow(&mut self, released: &[Arc<Parked>]) -> bool {
        if released
            .iter()
            .any(|parked| parked.why.suspicion() == Suspicion::Slow)
        {
            self.patience = self.patience.max(beyond(self.hold));
        }
        self.version += u64::from(!released.is_empty());
        !released.is_empty()
    }

    /// Ends the parking of one rule, or of all; false if there was none.
    pub(super) fn release(&mut self, route: Option<&Route>, key: Option<&NlriKey>) -> bool {
        let mut released = Vec::new();
        for (_, record) in self
            .records
            .iter_mut()
            .filter(|(of, _)| key.is_none_or(|key| key == *of))
        {
            released.extend(record.release());
        }
        if key.is_none() {
            released.extend(self.shapes.drain().map(|(_, parked)| parked));
        } else if let Some(route) = route {
            released.extend(self.shapes.remove(&Shape::of(&route.rule, route.action)));
        }
        self.follow(&released)
    }

    /// Ends what has lasted long enough; false if there was nothing.
    pub(super) fn release_due(&mut self, now: Instant) -> bool {
        let is_due = |parked: &Parked| parked.until <= now;
        let mut released = Vec::new();
        for record in self.records.values_mut().filter(|record| is_due(&record.parked)) {
            released.extend(record.release());
        }
        let shapes = self.shapes.extract_if(|_, parked| is_due(parked));
        released.extend(shapes.map(|(_, parked)| parked));
        self.follow(&released)
    }

    /// Parked rules, not those that only share a shape; the one that is released first comes first.
    pub(super) fn parked(&self) -> Vec<(NlriKey, Arc<Parked>)> {
        let held = self.records.iter().filter(|(_, record)| record.held);
        let mut parked: Vec<_> = held
            .map(|(key, record)| (key.clone(), record.parked.clone()))
            .collect();
        parked.sort_by(|(a, one), (b, other)| (one.until, a).cmp(&(other.until, b)));
        parked
    }

    /// The next moment [`Quarantine::release_due`] has something to do.
    pub(super) fn next_release(&self) -> Option<Instant> {
        let held = self.records.values().filter(|record| record.held);
        held.map(|record| &record.parked)
            .chain(self.shapes.values())
            .map(|parked| parked.until)
            .min()
    }
}

impl Record {
    fn release(&mut self) -> Option<Arc<Parked>> {
        std::mem::take(&mut self.held).then(|| self.parked.clone())
    }
}

/// Longer than the hold timer of either side takes to notice.
fn beyond(hold: Duration) -> Duration {
    hold + hold / 4
}

impl Trial {
    fn one_by_one(clock: Clock) -> Self {
        Self {
            first: VecDeque::new(),
            first_group: 1,
            group: 1,
            gap: MAX_GAP,
            quiet: MAX_GAP,
            clock,
            on_trial: Vec::new(),
            starved: false,
        }
    }
}

/// Who may have ended a session.
struct Charge {
    /// Indices of the table, ascending.
    accused: Vec<usize>,
    /// Those among them that were under trial, if there was a trial.
    tried: Option<Vec<usize>>,
    by_name: bool,
    /// By trial or by name, or there was silence without any of them: all other suspects are innocent of it.
    narrowed: bool,
}

#[cfg(test)]
mod tests;
