//! What happens by itself.

use super::memory::Mitigation;
use super::reference::{At, DAY, HOLD_DOWN, LONGEST_HOLD_DOWN, MAX_LIFETIME, QUIET, RENEW_AHEAD, Reference};
use super::story::{Scope, Target, Word};
use std::collections::BTreeSet;

/// When what is put off is tried again.
const AGAIN: At = 60 * super::SECOND;

impl Reference {
    /// Whatever is due by now happens. Asked early or twice, nothing does.
    pub(super) fn pass(&mut self, now: At) {
        let before = std::mem::replace(&mut self.passed_at, now);
        self.leaving.retain(|(.., until)| *until > now);
        self.safelist.retain(|_, until| *until > now);
        for scope in self.live.keys().copied().collect::<Vec<_>>() {
            self.carry(scope, now);
        }
        let mut died = BTreeSet::new();
        for (scope, memory) in &mut self.memory {
            if memory.forget_dead(now) {
                died.insert(*scope);
            }
            // Forgotten once it is quiet; until then a successor counts on.
            let quiet = memory
                .last_ban
                .or(memory.filtered_since)
                .is_none_or(|at| at + QUIET <= now);
            if quiet
                && memory.holding(false, now).is_empty()
                && self.live.get(scope).is_none_or(|live| live.is_pending)
            {
                memory.filtered_since = None;
            }
        }
        let scopes: BTreeSet<Scope> = self.live.keys().chain(self.unconfirmed.keys()).copied().collect();
        for scope in scopes {
            self.put_back(scope, now);
            match self.live.get(&scope) {
                Some(live) if live.is_pending => self.pass_pending(scope, died.contains(&scope), now),
                Some(_) => self.pass_one(scope, before, now),
                None => {}
            }
            self.mind_what_is_late(scope, now);
        }
    }

    /// Nobody confirmed a withdrawal in time. What is against it for a while only puts it off; where it does not come back,
    /// at least its victim is heard again.
    fn put_back(&mut self, scope: Scope, now: At) {
        let Some(mut due) = self.unconfirmed.get(&scope).cloned().filter(|due| due.at <= now) else {
            return;
        };
        let stop = self.owner(scope.0).and_then(|owner| self.stop(owner));
        self.unconfirmed.remove(&scope);
        let suppression = self.suppressions.get(&Target::Scope(scope)).copied();
        let suppression = suppression.filter(|one| one.until > now);
        let is_own = suppression.is_some_and(|one| one.id == due.suppression);
        if due.ended.is_pending {
            if is_own {
                self.lift(Target::Scope(scope), now);
            }
            return;
        }
        self.fresh = due.successor;
        let is_suppressed_since = suppression.is_some() && !is_own;
        let refused = if is_suppressed_since || self.is_prefix_suppressed(scope.0, now) {
            Err("suppressed")
        } else {
            self.bring_back(scope, &due.ended, due.ended.sources.clone(), now)
        };
        let is_put_off = match refused {
            Err("suppressed") => true,
            Err("guardrail.panic") => stop == Some(Word::Hold),
            _ => false,
        };
        if is_put_off {
            due.at = now + AGAIN;
            self.unconfirmed.insert(scope, due);
        } else if refused.is_err() && is_own {
            self.lift(Target::Scope(scope), now);
        }
    }

    /// It waited long enough, or nobody says so any more.
    fn pass_pending(&mut self, scope: Scope, died: bool, now: At) {
        let (pending, _) = self.touched(scope, now);
        if pending.expires_at <= now || pending.sources.is_empty() {
            return self.end(scope, false);
        }
        if died {
            self.live.insert(scope, pending);
        }
    }

    fn pass_one(&mut self, scope: Scope, before: At, now: At) {
        let was_operators = self.live[&scope].operator.is_some();
        let (mut live, since) = self.touched(scope, now);
        if was_operators && live.operator.is_none() {
            live.expires_at = live.expires_at.min(since + MAX_LIFETIME);
        }
        self.live.insert(scope, live.clone());
        if self.move_in_time(scope, before, now) {
            live = self.live[&scope].clone();
        }
        let renews = self
            .memory(scope)
            .is_held_by_one_that_reports_once(live.is_enforced, now);
        let outlived = since + live.max_lifetime() <= live.expires_at;
        if live.ends_at.is_some_and(|at| at <= now) {
            self.live.insert(scope, live);
            return self.end(scope, true);
        }
        if live.expires_at <= now && (outlived || !renews) {
            self.live.insert(scope, live);
            return self.end(scope, false);
        }
        if live.operator.is_none() && live.sources.is_empty() && live.ends_at.is_none() {
            self.start_ending(scope, &mut live, since, now);
        }
        self.live.insert(scope, live);
        self.move_back_in_time(scope, before, now);
        let mut live = self.live[&scope].clone();
        let ahead = RENEW_AHEAD.min(live.ttl / 4);
        if renews && !outlived && live.expires_at - ahead <= now {
            let ttl = live.ttl;
            live.extend(since, now, ttl);
        }
        // Where the lifetime leaves nothing to renew.
        let is_over = live.expires_at <= now;
        self.live.insert(scope, live);
        if is_over {
            self.end(scope, false);
        }
    }

    /// The daemon starts anew, and has forgotten nothing.
    pub(super) fn restart(&mut self, now: At) {
        self.leaving.clear();
        self.judge(now);
        self.pass(now);
    }

    /// When something happens by itself next.
    pub(super) fn next(&self, now: At) -> Option<At> {
        let scopes = self.live.iter().flat_map(|(scope, live)| {
            let memory = self.memory.get(scope);
            let renews =
                memory.is_some_and(|memory| memory.is_held_by_one_that_reports_once(live.is_enforced, now));
            let renewal = renews.then(|| live.expires_at - RENEW_AHEAD.min(live.ttl / 4));
            let lets_go = live.operator.and_then(|operator| operator.until);
            let steps = [self.ripe_at(*scope, now), self.back_at(*scope)];
            [Some(live.end()), renewal, lets_go]
                .into_iter()
                .chain(steps)
                .flatten()
        });
        let memory = self.memory.values().flat_map(|memory| {
            let claims = memory.claims.values().filter(|claim| claim.cleared_at.is_none());
            claims.map(|claim| claim.lives_until)
        });
        let rest = self
            .safelist
            .values()
            .copied()
            .chain(self.leaving.iter().map(|(.., until)| *until))
            .chain(self.suppressions.values().map(|one| one.until))
            .chain(self.unconfirmed.values().map(|due| due.at));
        scopes
            .chain(memory)
            .chain(rest)
            .filter(|at| *at > now && *at < At::MAX)
            .min()
    }

    /// Whether what is put back by itself may find no place: it is not said which one does where several come at once.
    pub(super) fn is_crowded(&self) -> bool {
        let all = || {
            let announced = self.live.iter().filter(|(_, live)| !live.is_pending);
            announced.map(|(scope, _)| scope).chain(self.unconfirmed.keys())
        };
        let of = |customer| {
            all()
                .filter(|scope| self.owner(scope.0) == Some(customer))
                .count()
        };
        all().count() > self.setup.per_pop
            || ["acme", "beta"]
                .into_iter()
                .any(|one| of(one) > self.setup.per_customer)
    }

    /// The hold-down is doubled for each time the scope was mitigated before within a day.
    pub(super) fn start_ending(&mut self, scope: Scope, live: &mut Mitigation, since: At, now: At) {
        let starts = self
            .memory(scope)
            .starts
            .iter()
            .filter(|start| **start + DAY > now)
            .count();
        let doublings = u32::try_from(starts.saturating_sub(1)).unwrap().min(20);
        let first = self.profile(scope.0).hold_down(HOLD_DOWN);
        let hold_down = (first << doublings).min(LONGEST_HOLD_DOWN);
        live.extend(since, now, hold_down);
        live.ends_at = Some((now + hold_down).min(live.expires_at));
    }
}
