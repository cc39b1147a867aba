//! What becomes of a detector's words.

use super::ladder::suffice;
use super::memory::{Claim, Mitigation, Name, Operator, Pieces};
use super::reference::{At, DAY, MAX_EVENT_AGE, QUIET, Reference, WINDOW};
use super::setup::{Rung, SOURCES};
use super::story::{PORTS, Report, SURE, Scope, Target, Word};
use std::collections::BTreeSet;

/// What is to begin.
pub(super) struct Fresh {
    pub(super) pieces: Pieces,
    pub(super) ttl: At,
    pub(super) step: usize,
    pub(super) operator: Option<Operator>,
    /// When the scope was last reported before.
    pub(super) last_ban: Option<At>,
}

impl Reference {
    /// A report that a detector saw at a time of its own clock, or did not say when.
    pub(super) fn report(&mut self, report: &Report, now: At, seen_at: Option<At>) -> String {
        let key = report.name.zip(seen_at);
        let key = key.map(|(name, seen_at)| (report.source, name, report.unban, seen_at));
        if let Some(answer) = key.and_then(|key| self.answered.get(&key)) {
            return format!("{answer} again");
        }
        let answer = self.hear(report, now, seen_at).to_owned();
        if let Some(key) = key {
            self.answered.insert(key, answer.clone());
        }
        answer
    }

    fn hear(&mut self, report: &Report, now: At, seen_at: Option<At>) -> &'static str {
        let (scope, name) = (report.scope(), (report.source, report.name));
        if seen_at.is_some_and(|at| now - at > MAX_EVENT_AGE) {
            return "accepted_stale";
        }
        let unheard =
            self.paused.contains(&report.source) || self.is_suppressed(Target::Source(report.source), now);
        if !report.unban && unheard {
            return "suppressed";
        }
        if self.owner(report.victim).is_none() {
            return if report.unban {
                "no_active_mitigation"
            } else {
                "accepted_not_owned"
            };
        }
        if report.unban {
            return self.unban(scope, name, now, seen_at.unwrap_or(now));
        }
        let memory = self.memory(scope);
        if let Some(claim) = memory.claims.get(&name)
            && let (Some(cleared), Some(seen)) = (claim.cleared_at, seen_at)
            && seen <= cleared
        {
            return "accepted_stale";
        }
        let last_ban = memory.last_ban.replace(now);
        memory.reports.push(now);
        memory
            .claims
            .retain(|other, claim| *other != name || claim.cleared_at.is_none());
        let source = SOURCES[report.source];
        let claim = memory.claims.entry(name).or_insert(Claim {
            since: now,
            lives_until: now,
            cleared_at: None,
            ports: BTreeSet::new(),
            confidence: source.confidence,
        });
        claim.lives_until = now + source.claim_ttl;
        claim.ports.insert(PORTS[report.port]);
        claim.confidence = report.sure.map(|sure| SURE[sure]).or(claim.confidence);
        if self.announced(scope).is_some() {
            return self.prolong(scope, now);
        }
        if self.is_suppressed(Target::Scope(scope), now) || self.is_prefix_suppressed(scope.0, now) {
            return "suppressed";
        }
        self.begin_by_report(report.source, scope, last_ban, now)
    }

    /// Something is announced, or waits, or waits on, or is rejected.
    fn begin_by_report(
        &mut self,
        source: usize,
        scope: Scope,
        last_ban: Option<At>,
        now: At,
    ) -> &'static str {
        if self.is_protected(scope.0, now) {
            return "rejected_guardrail";
        }
        let holding = self.memory(scope).holding(now);
        if let Some(pending) = self.live.get_mut(&scope) {
            pending.sources.clone_from(&holding);
        }
        if !holding.iter().any(|source| SOURCES[*source].may_trigger) {
            return "accepted_pending";
        }
        let first: &Rung = &self.setup.rungs(scope.1)[0];
        let taken = self.reported(scope, now);
        let fresh = Fresh {
            pieces: taken.into_iter().map(|piece| (piece, first.rate)).collect(),
            ttl: first.ttl,
            step: 1,
            operator: None,
            last_ban,
        };
        if !suffice(first, self.memory(scope).live(now)) {
            return self.wait(source, scope, fresh, now);
        }
        match self.begin(scope, fresh, now) {
            Ok(()) => "accepted",
            Err(_) => {
                // What waited ends by it.
                self.end(scope, false);
                "rejected_guardrail"
            }
        }
    }

    /// Others must say the same, within a window from the last report.
    fn wait(&mut self, source: usize, scope: Scope, fresh: Fresh, now: At) -> &'static str {
        if let Some(pending) = self.live.get_mut(&scope) {
            pending.pieces = fresh.pieces;
            pending.expires_at = now + WINDOW;
            return "accepted_pending";
        }
        let Some(customer) = self.owner(scope.0) else {
            return "rejected_guardrail";
        };
        if self.stop(customer) == Some(Word::Panic) || self.is_full_of_pending(source, customer) {
            return "rejected_guardrail";
        }
        let mut pending = self.made(scope, customer, fresh, now);
        pending.is_pending = true;
        pending.expires_at = now + WINDOW;
        self.live.insert(scope, pending);
        "accepted_pending"
    }

    /// As many may wait as may be announced, and of one voice half of it.
    fn is_full_of_pending(&self, source: usize, customer: &str) -> bool {
        let pending = || self.live.iter().filter(|(_, live)| live.is_pending);
        let theirs = |(_, live): &(&Scope, &Mitigation)| live.customer == customer;
        let of_voice = |(scope, _): &(&Scope, &Mitigation)| {
            let began = self.memory.get(scope).and_then(|memory| {
                let names = memory
                    .claims
                    .iter()
                    .filter(|(_, claim)| claim.cleared_at.is_none());
                names.min_by_key(|((source, _), claim)| (claim.since, SOURCES[*source].name))
            });
            began.is_some_and(|((began, _), _)| SOURCES[*began].voice() == SOURCES[source].voice())
        };
        let (per_customer, per_pop) = (self.setup.per_customer, self.setup.per_pop);
        pending().filter(theirs).count() >= per_customer
            || pending().count() >= per_pop
            || pending().filter(theirs).filter(of_voice).count() >= per_customer.div_ceil(2)
            || pending().filter(of_voice).count() >= per_pop.div_ceil(2)
    }

    /// As it begins; nothing is granted yet.
    fn made(&mut self, scope: Scope, customer: &'static str, fresh: Fresh, now: At) -> Mitigation {
        let waited = self.live.get(&scope);
        Mitigation {
            id: waited.map_or(self.fresh, |waited| waited.id),
            acknowledged: waited.is_some_and(|waited| waited.acknowledged),
            customer,
            pieces: fresh.pieces,
            is_pending: false,
            began: now,
            expires_at: now,
            ends_at: None,
            operator: fresh.operator,
            sources: self.memory(scope).holding(now),
            ttl: fresh.ttl,
            step: fresh.step,
            stepped_at: now,
            evidence_from: now,
            carried_at: now,
            told: None,
            late_since: None,
        }
    }

    /// A mitigation begins, unless a guardrail is against it.
    pub(super) fn begin(&mut self, scope: Scope, fresh: Fresh, now: At) -> Result<(), &'static str> {
        if self.is_protected(scope.0, now) {
            return Err("guardrail.safelist");
        }
        let customer = self.owner(scope.0).ok_or("guardrail.ownership")?;
        if self.stop(customer).is_some() {
            return Err("guardrail.panic");
        }
        if self.of_customer(customer) >= self.setup.per_customer {
            return Err("guardrail.quota_customer");
        }
        if self.all_announced().count() >= self.setup.per_pop {
            return Err("guardrail.quota_pop");
        }
        let (ttl, last_ban) = (fresh.ttl, fresh.last_ban);
        let mut mitigation = self.made(scope, customer, fresh, now);
        let memory = self.memory(scope);
        let held_before = memory
            .claims
            .values()
            .any(|claim| claim.since < now && claim.is_live(now));
        if last_ban.is_none_or(|at| at + QUIET <= now) && !held_before {
            memory.filtered_since = None;
        }
        let since = memory.filtered_since.unwrap_or(now);
        if since + mitigation.max_lifetime() <= now {
            return Err("guardrail.lifetime");
        }
        memory.filtered_since = Some(since);
        memory.starts.retain(|start| start + DAY > now);
        memory.starts.push(now);
        mitigation.extend(since, now, ttl);
        self.live.insert(scope, mitigation);
        // It came later than what would be put back.
        self.unconfirmed.remove(&scope);
        Ok(())
    }

    /// A report on what is live renews the lease, widens unless that is stopped, and may be what a step waited for.
    fn prolong(&mut self, scope: Scope, now: At) -> &'static str {
        let (mut live, since) = self.touched(scope, now);
        if since + live.max_lifetime() <= now {
            return "rejected_guardrail";
        }
        live.ends_at = None;
        live.late_since = None;
        let ttl = live.ttl;
        live.extend(since, now, ttl);
        self.carry_by_report(scope, &mut live, now);
        let is_free = !live.is_pinned() && self.stop(live.customer).is_none();
        let rung = self.setup.rung(scope.1, live.step).filter(|_| is_free);
        let wider = rung.map(|rung| self.stricter(scope, &live, rung.rate, now));
        self.live.insert(scope, live);
        if let Some(wider) = wider {
            self.exchange(scope, wider, now);
        }
        let is_ripe = self.ripe_at(scope, now).is_some_and(|at| at <= now);
        if is_ripe && self.step_up(scope, now) {
            return "escalated";
        }
        "extended"
    }

    fn unban(&mut self, scope: Scope, name: Name, now: At, seen_at: At) -> &'static str {
        self.memory(scope).clear(name, now, seen_at);
        if !self.live.contains_key(&scope) {
            return "no_active_mitigation";
        }
        let (mut next, since) = self.touched(scope, now);
        if next.is_held() {
            self.live.insert(scope, next);
            return "claim_cleared";
        }
        if next.is_pending {
            self.end(scope, false);
            return "withdrawn";
        }
        if next.ends_at.is_none() {
            self.start_ending(scope, &mut next, since, now);
            self.live.insert(scope, next.clone());
        }
        if next.ends_at.is_some_and(|at| at > now) {
            return "ending";
        }
        self.end(scope, true);
        "withdrawn"
    }
}
