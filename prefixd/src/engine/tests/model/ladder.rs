//! Steps up by evidence that lasts, and down when nothing carries them.
//!
//! In its time a step is taken at the instant, and that is foretold here. One that something was against in its time (a hold, a
//! neighbour that was told late, a configuration that asked for more) is late: it may be taken when the daemon looks
//! again, which is heard from the daemon and must be soon.

use super::memory::{Claim, Mitigation, Name, Piece, Pieces};
use super::reference::{At, Reference, SECOND};
use super::setup::{MIN_CONFIDENCE, Rung, SOURCES};
use super::story::{Scope, Vector};
use std::collections::{BTreeMap, BTreeSet};

/// How soon what is late must be looked at again.
const SOON: At = 30 * SECOND;

/// The doubt that all of these leave together, in so many ten-thousandths of as many: each voice says its surest word.
/// Nothing where nobody says how sure it is.
fn doubt<'c>(claims: impl Iterator<Item = (&'c Name, &'c Claim)>) -> Option<(u128, u128)> {
    let mut voices: BTreeMap<_, u128> = BTreeMap::new();
    for ((source, _), claim) in claims {
        let source = SOURCES[*source];
        let Some(confidence) = claim.confidence else {
            continue;
        };
        let best = voices.entry(source.voice()).or_default();
        *best = (*best).max(u128::from(confidence * source.weight));
    }
    let doubt = |(part, all), sure: &u128| (part * (10_000 - sure), all * 10_000);
    (!voices.is_empty()).then(|| voices.values().fold((1, 1), doubt))
}

/// How sure these are together.
pub(super) fn confidence<'c>(claims: impl Iterator<Item = (&'c Name, &'c Claim)>) -> Option<f64> {
    doubt(claims).map(|(part, all)| (all - part) as f64 / all as f64)
}

/// Whether these are enough for a step.
pub(super) fn suffice<'c>(rung: &Rung, claims: impl Iterator<Item = (&'c Name, &'c Claim)> + Clone) -> bool {
    let voices: BTreeSet<_> = claims
        .clone()
        .map(|((source, _), _)| SOURCES[*source].voice())
        .collect();
    let sure = rung.confidence.is_none_or(|percent| {
        doubt(claims).is_some_and(|(part, all)| (all - part) * 100 >= u128::from(percent) * all)
    });
    voices.len() >= rung.voices && sure
}

impl Reference {
    /// A step that is not the first, as it is now.
    fn later_rung(&self, scope: Scope, number: usize) -> Option<Rung> {
        let rung = self.setup.rung(scope.1, number).filter(|_| number > 1)?;
        let rung = Rung {
            confidence: rung.confidence.or(Some(MIN_CONFIDENCE)),
            ..*rung
        };
        Some(self.profile(scope.0).bend(rung))
    }

    /// When the next step is to be taken, as far as is known now.
    pub(super) fn ripe_at(&self, scope: Scope, now: At) -> Option<At> {
        let live = self.live.get(&scope)?;
        if live.is_pending || live.is_pinned() || !self.setup.escalates {
            return None;
        }
        let rung = self.later_rung(scope, live.step + 1)?;
        let memory = self.memory.get(&scope)?;
        // Nobody is told of what is dry-run.
        let told = if live.is_enforced {
            live.told?.0
        } else {
            live.began
        };
        let (since, until) = memory.evidence(live, now)?;
        let counts = since.max(told).max(live.evidence_from);
        let is_recent = now - until <= super::reference::QUIET;
        (is_recent && suffice(&rung, memory.counting(live.is_enforced, now)))
            .then_some(counts + rung.persistence)
    }

    /// When the step is to be given up, unless something carries it until then.
    pub(super) fn back_at(&self, scope: Scope) -> Option<At> {
        let live = self.live.get(&scope)?;
        if live.is_pending || live.is_pinned() || !live.is_held() || live.ends_at.is_some() {
            return None;
        }
        Some(live.carried_at + self.later_rung(scope, live.step)?.gives_way_after?)
    }

    /// There is evidence up to `now`. Of claims that carry the step together only while all of them live.
    pub(super) fn carry(&mut self, scope: Scope, now: At) {
        let Some(live) = self.live.get(&scope) else { return };
        let rung = self.later_rung(scope, live.step);
        let (Some(rung), Some(memory)) = (rung, self.memory.get(&scope)) else {
            return;
        };
        let claims = || {
            memory
                .claims
                .iter()
                .filter(|(name, claim)| claim.cleared_at.is_none() && live.hears(name.0))
        };
        let carried = claims()
            .map(|(_, claim)| claim.lives_until.min(now))
            .filter(|at| {
                let alive = || claims().filter(|(_, claim)| claim.lives_until >= *at);
                alive().any(|((source, _), _)| SOURCES[*source].sees_what_is_filtered)
                    && suffice(&rung, alive())
            });
        if let Some(carried) = carried.max()
            && let Some(live) = self.live.get_mut(&scope)
        {
            live.carried_at = live.carried_at.max(carried);
        }
    }

    /// A report is evidence, too.
    pub(super) fn carry_by_report(&mut self, scope: Scope, live: &mut Mitigation, now: At) {
        let Some(rung) = self.later_rung(scope, live.step) else {
            return;
        };
        if suffice(&rung, self.memory(scope).counting(live.is_enforced, now)) {
            live.carried_at = now;
        }
    }

    /// What is due at `now`, and was not the last time, or what was late when the lease ends: then the daemon looks. Whether a
    /// step up was taken.
    pub(super) fn move_in_time(&mut self, scope: Scope, before: At, now: At) -> bool {
        let live = &self.live[&scope];
        let is_news = |at: &At| *at > before.max(live.stepped_at);
        let looks = live.expires_at <= now;
        let is_known = !live.is_enforced
            || live
                .told
                .is_some_and(|(told, seen)| seen || told == live.began && !live.is_resent);
        let due = self.ripe_at(scope, now).filter(|at| *at <= now);
        due.is_some_and(|at| is_known && is_news(&at) || looks) && self.step_up(scope, now)
    }

    /// Whether something ends until then of which nobody saw that it was told: then that may be forgotten with its rules.
    pub(super) fn forgets_what_was_told(&self, until: At) -> bool {
        let mut announced = self.all_announced();
        announced.any(|(_, live)| live.expires_at <= until && live.told.is_some_and(|(_, seen)| !seen))
    }

    /// The same for a step back.
    pub(super) fn move_back_in_time(&mut self, scope: Scope, before: At, now: At) {
        let stepped_at = self.live[&scope].stepped_at;
        let due = self.back_at(scope).filter(|at| *at <= now);
        if due.is_some_and(|at| at > before.max(stepped_at)) {
            self.step_back(scope, now);
        }
    }

    /// Notes which steps are late, and takes those that should have been taken long ago.
    pub(super) fn mind_what_is_late(&mut self, scope: Scope, now: At) {
        let is_up = self.ripe_at(scope, now).is_some_and(|at| at <= now) && self.may_step_up(scope, now);
        let is_down = self.back_at(scope).is_some_and(|at| at <= now) && self.may_step_back(scope, now);
        let Some(live) = self.live.get_mut(&scope) else {
            return;
        };
        if !is_up && !is_down {
            live.late_since = None;
            return;
        }
        if *live.late_since.get_or_insert(now) + SOON < now {
            let _ = is_up && self.step_up(scope, now) || self.step_back(scope, now);
        }
    }

    /// The daemon took a step that was late.
    pub(super) fn hear_of_step(&mut self, scope: Scope, step: usize, now: At) {
        let Some(live) = self.live.get(&scope) else { return };
        let (own, is_late) = (live.step, live.late_since.is_some());
        if is_late && step == own + 1 && self.ripe_at(scope, now).is_some_and(|at| at <= now) {
            self.step_up(scope, now);
        } else if is_late && step + 1 == own && self.back_at(scope).is_some_and(|at| at <= now) {
            self.step_back(scope, now);
        }
    }

    fn may_step_up(&self, scope: Scope, now: At) -> bool {
        self.climbing(scope).is_some_and(|(live, rung)| {
            let pieces = self.stricter(scope, live, rung.rate, now);
            self.may_become(live, &pieces)
        })
    }

    fn may_step_back(&self, scope: Scope, now: At) -> bool {
        self.descending(scope).is_some_and(|(live, rung)| {
            let pieces = self.milder(scope, live, rung.rate, now);
            self.may_become(live, &pieces)
        })
    }

    /// Whether it may do this from now on: what stays as it is needs nobody but those who ask for it.
    fn may_become(&self, live: &Mitigation, pieces: &Pieces) -> bool {
        (live.pieces == *pieces || self.stop_of(live).is_none()) && self.may_do(live, pieces)
    }

    /// Whether one of those who hold it may ask for this. An operator alone may.
    pub(super) fn may_do(&self, live: &Mitigation, pieces: &Pieces) -> bool {
        live.is_pinned() || self.may_ask(&live.sources, pieces)
    }

    /// Whether one of these sources may ask for this.
    pub(super) fn may_ask(&self, sources: &BTreeSet<usize>, pieces: &Pieces) -> bool {
        let drops = pieces.values().any(|rate| *rate == 0);
        !drops || sources.is_empty() || sources.iter().any(|source| self.setup.may_drop(*source))
    }

    /// Those who hold it may not ask for what it does.
    pub(super) fn is_too_much(&self, scope: Scope) -> bool {
        let live = &self.live[&scope];
        !self.may_do(live, &live.pieces)
    }

    /// The last step that they may ask for takes its place, if there is one.
    pub(super) fn go_back_to_what_is_asked(&mut self, scope: Scope, now: At) -> bool {
        let live = &self.live[&scope];
        let earlier = (1..live.step).rev().find_map(|number| {
            let rung = self.setup.rung(scope.1, number)?;
            let pieces = self.milder(scope, live, rung.rate, now);
            self.may_do(live, &pieces).then_some((number, pieces))
        });
        earlier.is_some_and(|(number, pieces)| self.set_step_back(scope, number, pieces, now))
    }

    fn climbing(&self, scope: Scope) -> Option<(&Mitigation, Rung)> {
        let live = self.live.get(&scope)?;
        Some((live, self.later_rung(scope, live.step + 1)?))
    }

    fn descending(&self, scope: Scope) -> Option<(&Mitigation, &'static Rung)> {
        let live = self.live.get(&scope)?;
        Some((live, self.setup.rung(scope.1, live.step.checked_sub(1)?)?))
    }

    /// Takes the next step, unless nothing stricter may be announced.
    pub(super) fn step_up(&mut self, scope: Scope, now: At) -> bool {
        if !self.may_step_up(scope, now) {
            return false;
        }
        let Some((live, rung)) = self.climbing(scope) else {
            return false;
        };
        let pieces = self.stricter(scope, live, rung.rate, now);
        self.exchange(scope, pieces, now);
        let since = self.memory(scope).filtered_since.unwrap_or(now);
        let Some(live) = self.live.get_mut(&scope) else {
            return false;
        };
        live.step += 1;
        live.ttl = rung.ttl;
        live.extend(since, now, rung.ttl);
        (live.stepped_at, live.carried_at, live.late_since) = (now, now, None);
        true
    }

    fn step_back(&mut self, scope: Scope, now: At) -> bool {
        if !self.may_step_back(scope, now) {
            return false;
        }
        let Some((live, rung)) = self.descending(scope) else {
            return false;
        };
        let (number, pieces) = (live.step - 1, self.milder(scope, live, rung.rate, now));
        self.set_step_back(scope, number, pieces, now)
    }

    /// The lease stays, and evidence counts anew.
    fn set_step_back(&mut self, scope: Scope, number: usize, pieces: Pieces, now: At) -> bool {
        self.exchange(scope, pieces, now);
        let rung = self.setup.rung(scope.1, number);
        let (Some(live), Some(rung)) = (self.live.get_mut(&scope), rung) else {
            return false;
        };
        live.step = number;
        live.ttl = rung.ttl;
        (live.stepped_at, live.carried_at, live.late_since) = (now, now, None);
        live.evidence_from = now;
        true
    }

    /// What is reported gets this rate at most, what was taken before stays taken.
    pub(super) fn stricter(&self, scope: Scope, live: &Mitigation, rate: u64, now: At) -> Pieces {
        let mut pieces = live.pieces.clone();
        for piece in self.reported(scope, live.is_enforced, now) {
            let own = pieces.entry(piece).or_insert(rate);
            *own = (*own).min(rate);
        }
        pieces
    }

    /// Nothing gets less than this, and what is reported no more.
    fn milder(&self, scope: Scope, live: &Mitigation, rate: u64, now: At) -> Pieces {
        let mut pieces = live.pieces.clone();
        for own in pieces.values_mut() {
            *own = (*own).max(rate);
        }
        let reported = self.reported(scope, live.is_enforced, now);
        pieces.extend(reported.into_iter().map(|piece| (piece, rate)));
        pieces
    }

    /// What is claimed to be under attack, by those who hold what is announced, or what is not.
    pub(super) fn reported(&self, scope: Scope, enforced: bool, now: At) -> BTreeSet<Piece> {
        let Some(memory) = self.memory.get(&scope) else {
            return BTreeSet::new();
        };
        match scope.1 {
            Vector::Ntp if memory.counting(enforced, now).next().is_some() => [Piece::Ntp].into(),
            Vector::Ntp => BTreeSet::new(),
            _ => memory.ports(enforced, now).into_iter().map(Piece::Port).collect(),
        }
    }
}
