//! What becomes of a detector's words.

use super::ladder::suffice;
use super::memory::{Claim, Mitigation, Name, Operator, Pieces};
use super::reference::{At, DAY, MAX_EVENT_AGE, QUIET, Reference, WINDOW};
use super::setup::SOURCES;
use super::story::{PORTS, Report, SURE, Scope, Target, Word};
use std::collections::BTreeSet;

/// What is to begin.
pub(super) struct Fresh {
    pub(super) pieces: Pieces,
    pub(super) is_enforced: bool,
    /// Who asks for what it does; nobody but an operator where there are none.
    pub(super) asking: BTreeSet<usize>,
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
        let is_trial_over = self.is_trial_over(scope, now);
        if self.announced(scope).is_some() && !is_trial_over {
            return self.prolong(report.source, scope, now);
        }
        if self.is_suppressed(Target::Scope(scope), now) || self.is_prefix_suppressed(scope.0, now) {
            return "suppressed";
        }
        if is_trial_over {
            self.end(scope, true);
        }
        self.begin_by_report(report.source, scope, last_ban, now)
    }

    /// What is live is dry-run, and by what is claimed now it would not be.
    pub(super) fn is_trial_over(&self, scope: Scope, now: At) -> bool {
        let live = self.live.get(&scope);
        live.is_some_and(|live| !live.is_enforced) && !self.would_be_trial(scope, now)
    }

    /// Whether what begins by these claims is dry-run.
    fn would_be_trial(&self, scope: Scope, now: At) -> bool {
        let holding = self.memory.get(&scope).map(|memory| memory.holding(true, now));
        let mut holding = holding.unwrap_or_default().into_iter();
        self.is_on_trial(scope.0)
            || self.setup.is_playbook_on_trial(scope.1)
            || !holding.any(|source| SOURCES[source].may_trigger)
    }

    /// A trial that would be over by this report, were it not for a suppressed prefix: it is only said that nothing begins.
    pub(super) fn is_not_said_what_becomes_of(&self, report: &Report, now: At) -> bool {
        let (scope, source) = (report.scope(), SOURCES[report.source]);
        let live = self.announced(scope).filter(|live| !live.is_enforced);
        live.is_some_and(|live| !self.is_trial_of_rules(scope, live))
            && self.is_prefix_suppressed(scope.0, now)
            && (source.may_trigger && !source.is_on_trial && !report.unban)
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
        let is_enforced = match self.live.get(&scope) {
            Some(pending) => pending.is_enforced,
            None => !self.would_be_trial(scope, now),
        };
        let holding = self.memory(scope).holding(is_enforced, now);
        if let Some(pending) = self.live.get_mut(&scope) {
            if !pending.hears(source) {
                return "accepted_pending";
            }
            pending.sources.clone_from(&holding);
        }
        if !holding.iter().any(|source| SOURCES[*source].may_trigger) {
            return "accepted_pending";
        }
        let first = self.profile(scope.0).bend(self.setup.rungs(scope.1)[0]);
        let taken = self.reported(scope, is_enforced, now);
        let fresh = Fresh {
            pieces: taken.into_iter().map(|piece| (piece, first.rate)).collect(),
            is_enforced,
            asking: holding,
            ttl: first.ttl,
            step: 1,
            operator: None,
            last_ban,
        };
        let is_asked = self.may_ask(&fresh.asking, &fresh.pieces);
        if is_asked && !suffice(&first, self.memory(scope).counting(is_enforced, now)) {
            return self.wait(source, scope, fresh, now);
        }
        self.memory(scope).reports.push((source, now));
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
        let is_stopped = fresh.is_enforced && self.stop(customer) == Some(Word::Panic);
        if is_stopped || self.is_full_of_pending(source, customer) {
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
        let of_voice = |(scope, live): &(&Scope, &Mitigation)| {
            let began = self.memory.get(scope).and_then(|memory| {
                let names = memory
                    .claims
                    .iter()
                    .filter(|(name, claim)| claim.cleared_at.is_none() && live.hears(name.0));
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
            is_enforced: fresh.is_enforced,
            is_pending: false,
            began: now,
            expires_at: now,
            ends_at: None,
            operator: fresh.operator,
            sources: self.memory(scope).holding(fresh.is_enforced, now),
            ttl: fresh.ttl,
            step: fresh.step,
            stepped_at: now,
            evidence_from: now,
            carried_at: now,
            told: None,
            is_resent: false,
            late_since: None,
        }
    }

    /// A mitigation begins, unless a guardrail is against it.
    pub(super) fn begin(&mut self, scope: Scope, fresh: Fresh, now: At) -> Result<(), &'static str> {
        if self.is_protected(scope.0, now) {
            return Err("guardrail.safelist");
        }
        let customer = self.owner(scope.0).ok_or("guardrail.ownership")?;
        if !self.may_ask(&fresh.asking, &fresh.pieces) {
            return Err("guardrail.source_action");
        }
        let is_enforced = fresh.is_enforced;
        if is_enforced && self.stop(customer).is_some() {
            return Err("guardrail.panic");
        }
        // What is dry-run takes no place of what is not.
        if self.of_customer(customer, is_enforced) >= self.setup.per_customer {
            return Err("guardrail.quota_customer");
        }
        if self.all_of(is_enforced).count() >= self.setup.per_pop {
            return Err("guardrail.quota_pop");
        }
        let (ttl, last_ban) = (fresh.ttl, fresh.last_ban);
        let mut mitigation = self.made(scope, customer, fresh, now);
        let memory = self.memory(scope);
        let held_before = memory
            .claims
            .values()
            .any(|claim| claim.since < now && claim.is_live(now));
        let is_quiet = last_ban.is_none_or(|at| at + QUIET <= now) && !held_before;
        // Dry-run uses up no time of what is not.
        if is_quiet || is_enforced && memory.was_trial {
            memory.filtered_since = None;
        }
        let since = memory.filtered_since.unwrap_or(now);
        if since + mitigation.max_lifetime() <= now {
            return Err("guardrail.lifetime");
        }
        if memory.filtered_since.is_none() {
            memory.was_trial = !is_enforced;
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
    fn prolong(&mut self, source: usize, scope: Scope, now: At) -> &'static str {
        if !self.live[&scope].hears(source) {
            return "accepted_pending";
        }
        if self.is_of_wrong_mode(scope) {
            self.end(scope, true);
            return "rejected_guardrail";
        }
        let (mut live, since) = self.touched(scope, now);
        if since + live.max_lifetime() <= now {
            return "rejected_guardrail";
        }
        self.memory(scope).reports.push((source, now));
        live.ends_at = None;
        live.late_since = None;
        self.carry_by_report(scope, &mut live, now);
        let is_free = self.stop_of(&live).is_none();
        self.live.insert(scope, live);
        // On hold it stays: what ends then could not begin again.
        if is_free && self.is_too_much(scope) && !self.go_back_to_what_is_asked(scope, now) {
            self.end(scope, true);
            return "rejected_guardrail";
        }
        let mut live = self.live[&scope].clone();
        let ttl = live.ttl;
        live.extend(since, now, ttl);
        let rung = self
            .setup
            .rung(scope.1, live.step)
            .filter(|_| is_free && !live.is_pinned());
        let wider = rung.map(|rung| self.stricter(scope, &live, rung.rate, now));
        let wider = wider.filter(|wider| self.may_do(&live, wider));
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
