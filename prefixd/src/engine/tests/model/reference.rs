//! The same daemon, as simple as it can be said: no journal, no batches, no routers, and none of the code that decides.
//! It knows nothing that a page of prose about prefixd would not tell.

use super::memory::{Claim, Memory, Mitigation, Name, Operator, PutBack, Suppression, Taken, is_in, nth_of};
use super::story::{After, Ask, Asked, Order, PORTS, PREFIXES, RATES, Report, Scope, Target, Which, Word};
use crate::policy::FreshIds;
use prefixd_api::ids::{MitigationId, SuppressionId};
use std::collections::{BTreeMap, BTreeSet};

/// Microseconds.
pub(super) type At = i64;

pub(super) const SECOND: At = 1_000_000;
pub(super) const DAY: At = 24 * 3600 * SECOND;
pub(super) const HOLD_DOWN: At = 10 * SECOND;
pub(super) const LONGEST_HOLD_DOWN: At = 3600 * SECOND;
pub(super) const MAX_LIFETIME: At = 600 * SECOND;
pub(super) const MAX_LIFETIME_OPERATOR: At = 1200 * SECOND;
pub(super) const QUIET: At = 100 * SECOND;
pub(super) const MAX_EVENT_AGE: At = 60 * SECOND;
pub(super) const RENEW_AHEAD: At = 5 * SECOND;

/// What differs from one configuration to the next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setup {
    pub(super) per_customer: usize,
    pub(super) per_pop: usize,
    pub(super) has_beta: bool,
    pub(super) udp_ttl: At,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Reference {
    pub(super) setup: Setup,
    pub(super) memory: BTreeMap<Scope, Memory>,
    pub(super) live: BTreeMap<Scope, Mitigation>,
    /// What ended last in a scope, and whether it was withdrawn.
    pub(super) ended: BTreeMap<Scope, (Mitigation, bool)>,
    /// Withdrawals that are undone unless they are confirmed: always of what ended last.
    pub(super) unconfirmed: BTreeMap<Scope, PutBack>,
    /// The newest of each target, over or not.
    pub(super) suppressions: BTreeMap<Target, Suppression>,
    /// Until when each prefix is protected.
    pub(super) safelist: BTreeMap<usize, At>,
    pub(super) paused: BTreeSet<usize>,
    /// By whether it is the whole POP or one customer.
    pub(super) stopped: BTreeMap<bool, Word>,
    /// Reports that have a name and a time, with what was answered.
    answered: BTreeMap<(usize, u8, bool, At), String>,
    /// Requests that were carried out under a key: when, their words and their answers.
    keys: BTreeMap<u8, (At, String, String)>,
    pub(super) is_disabled: bool,
    /// The name of what begins next.
    pub(super) fresh: MitigationId,
    /// What a rule matched before it was widened stays for a second.
    pub(super) leaving: Vec<(Scope, Taken, At)>,
    /// What was kept back when that was last looked at.
    kept_back: BTreeSet<Scope>,
}

impl Reference {
    pub(super) fn new(setup: Setup) -> Self {
        Self {
            setup,
            memory: BTreeMap::new(),
            live: BTreeMap::new(),
            ended: BTreeMap::new(),
            unconfirmed: BTreeMap::new(),
            suppressions: BTreeMap::new(),
            safelist: BTreeMap::new(),
            paused: BTreeSet::new(),
            stopped: BTreeMap::new(),
            answered: BTreeMap::new(),
            keys: BTreeMap::new(),
            is_disabled: false,
            fresh: MitigationId::new(),
            leaving: Vec::new(),
            kept_back: BTreeSet::new(),
        }
    }

    /// Answers what the caller should be told. Under a key, what was carried out once is only told again.
    pub(super) fn asked(&mut self, asked: &Asked, names: &[FreshIds], now: At) -> String {
        let words = format!("{:?}", asked.ask);
        let known = asked.key.and_then(|key| self.keys.get(&key));
        match known.filter(|(at, ..)| at + DAY >= now) {
            Some((_, before, answer)) if *before == words => return format!("{answer} again"),
            Some(_) => return "the key of another".to_owned(),
            None => {}
        }
        let answer = self.ask(&asked.ask, names, now);
        if let Some(key) = asked.key.filter(|_| is_done(&answer)) {
            self.keys.insert(key, (now, words, answer.clone()));
        }
        answer
    }

    /// What begins is called by these names.
    fn ask(&mut self, ask: &Ask, names: &[FreshIds], now: At) -> String {
        self.fresh = names[0].mitigation;
        match ask {
            Ask::Report(report) => self.report(report, now, report.age.map(|age| now - age * SECOND)),
            // The same report at another time of its detector is news.
            Ask::Again { report, seen_at } => self.report(report, now, Some(*seen_at)),
            Ask::Create {
                scope,
                port,
                rate,
                ttl,
            } => self.create(*scope, PORTS[*port], RATES[*rate], ttl * SECOND, now),
            Ask::Extend { scope, ttl } => self.extend(*scope, ttl * SECOND, now),
            Ask::Adjust { scope, port, rate } => self.adjust(*scope, PORTS[*port], RATES[*rate], now),
            Ask::Withdraw { scope, after } if self.live.contains_key(scope) => {
                self.withdraw(*scope, *after, names[0], now);
                "withdrawn".to_owned()
            }
            Ask::WithdrawMany { which, .. } if is_miscounted(*which) => "conflict.expect_count".to_owned(),
            Ask::WithdrawMany { which, after } => {
                let meant = self.meant(*which);
                let before = self.live.len();
                for (scope, names) in meant.iter().zip(names) {
                    if self.live.contains_key(scope) {
                        self.withdraw(*scope, *after, *names, now);
                    }
                }
                format!("{} of {} done", before - self.live.len(), meant.len())
            }
            Ask::Confirm(nth) => match nth_of(&self.unconfirmed, *nth) {
                Some((scope, _)) => {
                    self.unconfirmed.remove(&scope);
                    "changed".to_owned()
                }
                None => "not_found".to_owned(),
            },
            // What is live goes on whatever is suppressed.
            Ask::Suppress {
                target: Target::Scope(scope),
                ..
            } if self.live.contains_key(scope) => "conflict.exists".to_owned(),
            Ask::Suppress { target, time } => {
                self.suppress(*target, names[0].suppression, now + time * SECOND);
                format!("suppressed, {} live", self.live_of(*target))
            }
            Ask::Unsuppress(nth) => match nth_of(&self.suppressions, *nth) {
                Some((target, known)) if known.until > now => {
                    self.lift(target, now);
                    "unsuppressed".to_owned()
                }
                _ => "not_found".to_owned(),
            },
            Ask::Withdraw { .. } => "not_found".to_owned(),
            Ask::Order(Order::Resend) if self.is_disabled => "conflict.disabled".to_owned(),
            Ask::Order(order) => {
                match order {
                    Order::Disable => self.is_disabled = true,
                    Order::Enable => self.is_disabled = false,
                    Order::Resend => {}
                }
                "ordered".to_owned()
            }
            Ask::Undo(scope) => self.undo(*scope, now),
            Ask::Acknowledge(scope) => {
                let live = self.live.get_mut(scope);
                let ended = self.ended.get_mut(scope).map(|(ended, _)| ended);
                match live.or(ended) {
                    Some(one) => {
                        one.acknowledged = true;
                        "1 of 1 done".to_owned()
                    }
                    None => "not_found".to_owned(),
                }
            }
            Ask::Protect { prefix, time } => {
                let until = time.map_or(At::MAX, |time| now + time * SECOND);
                self.safelist.insert(*prefix, until);
                let covered: Vec<Scope> = self
                    .live
                    .keys()
                    .copied()
                    .filter(|scope| is_in(*prefix, scope.0))
                    .collect();
                for scope in &covered {
                    self.end(*scope, true);
                }
                format!("protected, {} withdrawn", covered.len())
            }
            Ask::Unprotect(prefix) => match self.safelist.remove(prefix) {
                Some(until) if until > now => "unprotected".to_owned(),
                _ => "not_found".to_owned(),
            },
            Ask::Pause { source, withdraw } => {
                self.paused.insert(*source);
                let alone = |live: &Mitigation| {
                    *withdraw && live.operator.is_none() && live.sources == [*source].into()
                };
                let alone: Vec<Scope> = self
                    .live
                    .iter()
                    .filter(|(_, live)| alone(live))
                    .map(|(scope, _)| *scope)
                    .collect();
                for scope in &alone {
                    self.end(*scope, true);
                }
                format!("paused, {} withdrawn", alone.len())
            }
            Ask::Resume(source) => {
                self.paused.remove(source);
                "paused, 0 withdrawn".to_owned()
            }
            Ask::Say { whole_pop, word } => {
                match word {
                    Word::Running => self.stopped.remove(whole_pop),
                    word => self.stopped.insert(*whole_pop, *word),
                };
                self.judge(now);
                "said".to_owned()
            }
        }
    }

    /// A report that a detector saw at a time of its own clock, or did not say when.
    fn report(&mut self, report: &Report, now: At, seen_at: Option<At>) -> String {
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
        let ttl = if report.source == 0 { 400 } else { 90 } * SECOND;
        let memory = self.memory(scope);
        memory.forget_dead(now);
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
        let claim = memory.claims.entry(name).or_insert(Claim {
            since: now,
            lives_until: now,
            cleared_at: None,
            ports: BTreeSet::new(),
        });
        claim.lives_until = now + ttl;
        claim.ports.insert(PORTS[report.port]);
        if self.live.contains_key(&scope) {
            return self.prolong(scope, now);
        }
        if self.is_suppressed(Target::Scope(scope), now) || self.is_prefix_suppressed(scope.0, now) {
            return "suppressed";
        }
        let (taken, rate, ttl) = if report.ntp {
            (Taken::Ntp, 0, 30 * SECOND)
        } else {
            let ports = self.memory(scope).ports(now);
            (Taken::Ports(ports), 5_000_000, self.setup.udp_ttl)
        };
        match self.begin(scope, taken, rate, ttl, None, last_ban, now) {
            Ok(()) => "accepted",
            Err(_) => "rejected_guardrail",
        }
    }

    /// A mitigation begins, unless a guardrail is against it.
    #[expect(clippy::too_many_arguments, reason = "what a mitigation is")]
    fn begin(
        &mut self,
        scope: Scope,
        taken: Taken,
        rate: u64,
        ttl: At,
        operator: Option<Operator>,
        last_ban: Option<At>,
        now: At,
    ) -> Result<(), &'static str> {
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
        if self.live.len() >= self.setup.per_pop {
            return Err("guardrail.quota_pop");
        }
        let fresh = self.fresh;
        let memory = self.memory(scope);
        let held_before = memory
            .claims
            .values()
            .any(|claim| claim.since < now && claim.is_live(now));
        if last_ban.is_none_or(|at| at + QUIET <= now) && !held_before {
            memory.filtered_since = None;
        }
        let since = memory.filtered_since.unwrap_or(now);
        let sources = memory.holding(now);
        let mut mitigation = Mitigation {
            id: fresh,
            customer,
            taken,
            rate,
            expires_at: now,
            ends_at: None,
            operator,
            sources,
            ttl,
            acknowledged: false,
        };
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

    /// A report on what is live renews the lease, and widens unless that is stopped.
    fn prolong(&mut self, scope: Scope, now: At) -> &'static str {
        let (mut live, since) = self.touched(scope, now);
        if since + live.max_lifetime() <= now {
            return "rejected_guardrail";
        }
        live.ends_at = None;
        let ttl = live.ttl;
        live.extend(since, now, ttl);
        if !live.is_pinned()
            && self.stop(live.customer).is_none()
            && let Taken::Ports(ports) = &live.taken
        {
            let all: BTreeSet<u16> = ports.union(&self.memory(scope).ports(now)).copied().collect();
            if all != *ports {
                self.leaving.push((scope, live.taken.clone(), now + SECOND));
                live.taken = Taken::Ports(all);
            }
        }
        self.live.insert(scope, live);
        "extended"
    }

    fn unban(&mut self, scope: Scope, name: Name, now: At, seen_at: At) -> &'static str {
        let memory = self.memory(scope);
        memory.forget_dead(now);
        let claim = memory.claims.entry(name).or_insert(Claim {
            since: now,
            lives_until: At::MAX,
            cleared_at: None,
            ports: BTreeSet::new(),
        });
        claim.cleared_at = claim.cleared_at.max(Some(seen_at));
        if !self.live.contains_key(&scope) {
            return "no_active_mitigation";
        }
        let (mut next, since) = self.touched(scope, now);
        if next.operator.is_some() || !next.sources.is_empty() {
            self.live.insert(scope, next);
            return "claim_cleared";
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

    fn create(&mut self, scope: Scope, port: u16, rate: u64, ttl: At, now: At) -> String {
        if self.live.contains_key(&scope) {
            return "conflict.exists".to_owned();
        }
        let last_ban = self.memory(scope).last_ban;
        self.memory(scope).forget_dead(now);
        let operator = Some(Operator { until: None });
        let taken = Taken::Ports([port].into());
        match self.begin(scope, taken, rate, ttl, operator, last_ban, now) {
            Ok(()) => "created".to_owned(),
            Err(code) => code.to_owned(),
        }
    }

    fn extend(&mut self, scope: Scope, ttl: At, now: At) -> String {
        if !self.live.contains_key(&scope) {
            return "not_found".to_owned();
        }
        let (mut live, since) = self.touched(scope, now);
        if !live.is_pinned() {
            live.operator = Some(Operator {
                until: Some(now + ttl),
            });
        }
        if since + MAX_LIFETIME_OPERATOR <= now {
            return "guardrail.lifetime".to_owned();
        }
        live.ends_at = None;
        live.extend(since, now, ttl);
        self.live.insert(scope, live);
        "changed".to_owned()
    }

    /// The operator says what it does, until it ends.
    fn adjust(&mut self, scope: Scope, port: u16, rate: u64, now: At) -> String {
        if !self.live.contains_key(&scope) {
            return "not_found".to_owned();
        }
        let (mut live, _) = self.touched(scope, now);
        let taken = Taken::Ports([port].into());
        if live.taken != taken || live.rate != rate {
            if self.stop(live.customer).is_some() {
                return "guardrail.panic".to_owned();
            }
            self.leaving.push((scope, live.taken, now + SECOND));
        }
        live.taken = taken;
        live.rate = rate;
        live.operator = Some(Operator { until: None });
        live.ends_at = None;
        self.live.insert(scope, live);
        "changed".to_owned()
    }

    fn undo(&mut self, scope: Scope, now: At) -> String {
        let Some((_, withdrawn)) = self.ended.get(&scope) else {
            return "not_found".to_owned();
        };
        if self.live.contains_key(&scope) {
            return "conflict.exists".to_owned();
        }
        if !withdrawn {
            return "conflict.ended".to_owned();
        }
        match self.bring_back(scope, now) {
            Ok(()) => "created".to_owned(),
            Err(code) => code.to_owned(),
        }
    }

    /// What was withdrawn last in a scope begins again, and its suppression is over.
    pub(super) fn bring_back(&mut self, scope: Scope, now: At) -> Result<(), &'static str> {
        let ended = self.ended[&scope].0.clone();
        let until = (!ended.is_pinned()).then_some(now + ended.ttl);
        let operator = Some(Operator { until });
        let last_ban = self.memory(scope).last_ban;
        self.memory(scope).forget_dead(now);
        self.begin(scope, ended.taken, ended.rate, ended.ttl, operator, last_ban, now)?;
        self.lift(Target::Scope(scope), now);
        Ok(())
    }

    fn withdraw(&mut self, scope: Scope, after: After, names: FreshIds, now: At) {
        if after.suppress > 0 {
            let until = now + after.suppress * SECOND;
            self.suppress(Target::Scope(scope), names.suppression, until);
        }
        self.end(scope, true);
        let waits = after.confirm.map(|within| PutBack {
            at: now + within * SECOND,
            successor: names.mitigation,
        });
        self.unconfirmed.extend(waits.map(|waits| (scope, waits)));
    }

    /// The scopes that are meant, newest first where nobody named them.
    pub(super) fn meant(&self, which: Which) -> Vec<Scope> {
        match which {
            Which::Named([one, other]) if one == other => vec![one],
            Which::Named(both) => both.to_vec(),
            Which::Customer { acme, .. } => {
                let customer = if acme { "acme" } else { "beta" };
                let mut all: Vec<_> = self
                    .live
                    .iter()
                    .filter(|(_, live)| live.customer == customer)
                    .collect();
                all.sort_by_key(|(_, live)| std::cmp::Reverse(live.id));
                all.into_iter().map(|(scope, _)| *scope).collect()
            }
        }
    }

    fn suppress(&mut self, target: Target, id: SuppressionId, until: At) {
        self.suppressions.insert(target, Suppression { id, until });
    }

    fn lift(&mut self, target: Target, now: At) {
        if let Some(one) = self.suppressions.get_mut(&target) {
            one.until = one.until.min(now);
        }
    }

    fn is_suppressed(&self, target: Target, now: At) -> bool {
        self.suppressions.get(&target).is_some_and(|one| one.until > now)
    }

    pub(super) fn is_prefix_suppressed(&self, victim: usize, now: At) -> bool {
        let mut around = (0..PREFIXES.len()).filter(|prefix| is_in(*prefix, victim));
        around.any(|prefix| self.is_suppressed(Target::Prefix(prefix), now))
    }

    /// What goes on although its bans are not acted on.
    fn live_of(&self, target: Target) -> usize {
        let mut live = self.live.iter().collect::<Vec<_>>();
        live.retain(|(scope, live)| match target {
            Target::Scope(_) => false,
            Target::Prefix(prefix) => is_in(prefix, scope.0),
            Target::Source(source) => live.sources.contains(&source),
        });
        live.len()
    }

    /// What a guardrail does not allow any more ends, what lasts too long is shortened.
    pub(super) fn judge(&mut self, now: At) {
        for scope in self.live.keys().copied().collect::<Vec<_>>() {
            let live = &self.live[&scope];
            if self.stop(live.customer) == Some(Word::Panic)
                || self.owner(scope.0).is_none()
                || self.is_protected(scope.0, now)
            {
                self.end(scope, true);
            }
        }
    }

    pub(super) fn suppressed(&self, now: At) -> Vec<(Target, SuppressionId, At)> {
        let in_force = self.suppressions.iter().filter(|(_, one)| one.until > now);
        in_force
            .map(|(target, one)| (*target, one.id, one.until))
            .collect()
    }

    pub(super) fn of_customer(&self, customer: &str) -> usize {
        self.live
            .values()
            .filter(|live| live.customer == customer)
            .count()
    }

    /// What the neighbour should be told: of what several ask for, the strictest.
    pub(super) fn rules(&self) -> BTreeMap<(usize, Taken), u64> {
        let mut rules = BTreeMap::new();
        let sent = self.live.iter().filter(|(scope, _)| !self.is_kept_back(**scope));
        for ((victim, _), live) in sent {
            rules
                .entry((*victim, live.taken.clone()))
                .and_modify(|rate: &mut u64| *rate = (*rate).min(live.rate))
                .or_insert(live.rate);
        }
        rules
    }

    /// What a stricter one of the same victim takes as well is not told.
    fn is_kept_back(&self, scope: Scope) -> bool {
        let Some((live, Taken::Ports(ports))) = self.live.get(&scope).map(|live| (live, &live.taken)) else {
            return false;
        };
        self.live.iter().any(|(other, stricter)| {
            let takes_all = matches!(&stricter.taken, Taken::Ports(all) if ports.is_subset(all));
            other.0 == scope.0 && takes_all && stricter.rate < live.rate
        })
    }

    /// What is kept back from now on stays for a second, as what was widened does.
    pub(super) fn look_beside(&mut self, now: At) {
        let kept: BTreeSet<Scope> = self
            .live
            .keys()
            .copied()
            .filter(|scope| self.is_kept_back(*scope))
            .collect();
        for scope in kept.difference(&self.kept_back) {
            let taken = self.live[scope].taken.clone();
            self.leaving.push((*scope, taken, now + SECOND));
        }
        self.kept_back = kept;
    }

    pub(super) fn end(&mut self, scope: Scope, withdrawn: bool) {
        self.leaving.retain(|(of, _, _)| *of != scope);
        if let Some(ended) = self.live.remove(&scope) {
            self.ended.insert(scope, (ended, withdrawn));
        }
    }

    /// What is live with the claims of now, and since when the scope is filtered.
    pub(super) fn touched(&mut self, scope: Scope, now: At) -> (Mitigation, At) {
        let mut live = self.live[&scope].clone();
        let memory = self.memory(scope);
        live.operator = live
            .operator
            .filter(|operator| operator.until.is_none_or(|until| until > now));
        live.sources = memory.holding(now);
        (live, memory.filtered_since.unwrap_or(now))
    }

    pub(super) fn memory(&mut self, scope: Scope) -> &mut Memory {
        self.memory.entry(scope).or_default()
    }

    pub(super) fn owner(&self, victim: usize) -> Option<&'static str> {
        match victim {
            0 | 1 => Some("acme"),
            2 | 3 if self.setup.has_beta => Some("beta"),
            _ => None,
        }
    }

    fn is_protected(&self, victim: usize, now: At) -> bool {
        self.safelist
            .iter()
            .any(|(prefix, until)| *until > now && is_in(*prefix, victim))
    }

    /// Panic goes before hold.
    pub(super) fn stop(&self, customer: &str) -> Option<Word> {
        let meant = self
            .stopped
            .iter()
            .filter(|(whole_pop, _)| **whole_pop || customer == "acme");
        meant
            .map(|(_, word)| *word)
            .max_by_key(|word| *word == Word::Panic)
    }
}

/// Whether an answer says that something was done: then it is kept for whoever asks again under the same key.
fn is_done(answer: &str) -> bool {
    !answer.contains("not_found") && !answer.contains('.') && !answer.starts_with("0 of ")
}

const fn is_miscounted(which: Which) -> bool {
    matches!(which, Which::Customer { miscounted: true, .. })
}
