//! The same daemon, as simple as it can be said: no journal, no batches, no routers, and none of the code that decides.
//! It knows nothing that a page of prose about prefixd would not tell.

use super::story::{Ask, PORTS, RATES, Report, SOURCES, Scope, VICTIMS, Word};
use prefixd_api::ids::MitigationId;
use std::collections::{BTreeMap, BTreeSet};

/// Microseconds.
pub(super) type At = i64;

pub(super) const SECOND: At = 1_000_000;
const DAY: At = 24 * 3600 * SECOND;
const HOLD_DOWN: At = 10 * SECOND;
const LONGEST_HOLD_DOWN: At = 3600 * SECOND;
const MAX_LIFETIME: At = 600 * SECOND;
const MAX_LIFETIME_OPERATOR: At = 1200 * SECOND;
const QUIET: At = 100 * SECOND;
const MAX_EVENT_AGE: At = 60 * SECOND;
const RENEW_AHEAD: At = 5 * SECOND;

/// What differs from one configuration to the next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setup {
    pub(super) per_customer: usize,
    pub(super) per_pop: usize,
    pub(super) has_beta: bool,
    pub(super) udp_ttl: At,
}

/// What a rule takes from its victim.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Taken {
    /// UDP to these ports.
    Ports(BTreeSet<u16>),
    /// Long replies of NTP servers.
    Ntp,
}

/// A source, and what it calls the attack.
type Name = (usize, Option<u8>);

#[derive(Clone, Debug)]
struct Claim {
    since: At,
    lives_until: At,
    cleared_at: Option<At>,
    ports: BTreeSet<u16>,
}

impl Claim {
    fn is_live(&self, now: At) -> bool {
        self.cleared_at.is_none() && self.lives_until > now
    }
}

/// What is remembered of a scope.
#[derive(Clone, Debug, Default)]
struct Memory {
    claims: BTreeMap<Name, Claim>,
    starts: Vec<At>,
    filtered_since: Option<At>,
    last_ban: Option<At>,
    suppressed_until: Option<At>,
}

/// An operator's claim.
#[derive(Clone, Copy, Debug)]
struct Operator {
    /// Without an end it says what the mitigation does.
    until: Option<At>,
}

#[derive(Clone, Debug)]
pub(super) struct Mitigation {
    pub(super) id: MitigationId,
    pub(super) customer: &'static str,
    pub(super) taken: Taken,
    /// Zero drops.
    pub(super) rate: u64,
    pub(super) expires_at: At,
    pub(super) ends_at: Option<At>,
    operator: Option<Operator>,
    sources: BTreeSet<usize>,
    ttl: At,
    pub(super) acknowledged: bool,
}

impl Mitigation {
    fn is_pinned(&self) -> bool {
        self.operator.is_some_and(|operator| operator.until.is_none())
    }

    const fn max_lifetime(&self) -> At {
        if self.operator.is_some() {
            MAX_LIFETIME_OPERATOR
        } else {
            MAX_LIFETIME
        }
    }

    /// To `now + ttl`, never shorter, never beyond the lifetime.
    fn extend(&mut self, since: At, now: At, ttl: At) {
        let wanted = self.expires_at.max(now + ttl);
        let bound = (since + self.max_lifetime()).max(self.expires_at);
        self.expires_at = wanted.min(bound);
    }

    pub(super) fn end(&self) -> At {
        self.ends_at.map_or(self.expires_at, |at| at.min(self.expires_at))
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Reference {
    pub(super) setup: Setup,
    memory: BTreeMap<Scope, Memory>,
    pub(super) live: BTreeMap<Scope, Mitigation>,
    /// What ended last in a scope, and whether it was withdrawn.
    pub(super) ended: BTreeMap<Scope, (Mitigation, bool)>,
    /// Until when each prefix is protected.
    pub(super) safelist: BTreeMap<usize, At>,
    pub(super) paused: BTreeSet<usize>,
    /// By whether it is the whole POP or one customer.
    pub(super) stopped: BTreeMap<bool, Word>,
    /// Reports that have a name and a time, with what was answered.
    answered: BTreeMap<(usize, u8, bool, At), String>,
    fresh: MitigationId,
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
            safelist: BTreeMap::new(),
            paused: BTreeSet::new(),
            stopped: BTreeMap::new(),
            answered: BTreeMap::new(),
            fresh: MitigationId::new(),
            leaving: Vec::new(),
            kept_back: BTreeSet::new(),
        }
    }

    /// Answers what the caller should be told. A mitigation that begins is called by the fresh name.
    pub(super) fn ask(&mut self, ask: &Ask, fresh: MitigationId, now: At) -> String {
        self.fresh = fresh;
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
            Ask::Withdraw { scope, suppress } => {
                if !self.live.contains_key(scope) {
                    return "not_found".to_owned();
                }
                if *suppress > 0 {
                    self.memory(*scope).suppressed_until = Some(now + suppress * SECOND);
                }
                self.end(*scope, true);
                "withdrawn".to_owned()
            }
            Ask::Undo(scope) => self.undo(*scope, now),
            Ask::Acknowledge(scope) => {
                let live = self.live.get_mut(scope);
                let ended = self.ended.get_mut(scope).map(|(ended, _)| ended);
                match live.or(ended) {
                    Some(one) => {
                        one.acknowledged = true;
                        "acknowledged".to_owned()
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
        if !report.unban && self.paused.contains(&report.source) {
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
        if self
            .memory(scope)
            .suppressed_until
            .is_some_and(|until| until > now)
        {
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
        let Some((ended, withdrawn)) = self.ended.get(&scope).cloned() else {
            return "not_found".to_owned();
        };
        if self.live.contains_key(&scope) {
            return "conflict.exists".to_owned();
        }
        if !withdrawn {
            return "conflict.ended".to_owned();
        }
        let until = (!ended.is_pinned()).then_some(now + ended.ttl);
        let operator = Some(Operator { until });
        let last_ban = self.memory(scope).last_ban;
        self.memory(scope).forget_dead(now);
        match self.begin(scope, ended.taken, ended.rate, ended.ttl, operator, last_ban, now) {
            Ok(()) => {
                self.memory(scope).suppressed_until = None;
                "created".to_owned()
            }
            Err(code) => code.to_owned(),
        }
    }

    /// Whatever is due by now happens. Asked early or twice, nothing does.
    pub(super) fn pass(&mut self, now: At) {
        self.leaving.retain(|(_, _, until)| *until > now);
        self.safelist.retain(|_, until| *until > now);
        for (scope, memory) in &mut self.memory {
            memory.forget_dead(now);
            memory.suppressed_until = memory.suppressed_until.filter(|until| *until > now);
            // Forgotten once it is quiet; until then a successor counts on.
            let quiet = memory
                .last_ban
                .or(memory.filtered_since)
                .is_none_or(|at| at + QUIET <= now);
            if quiet && memory.holding(now).is_empty() && !self.live.contains_key(scope) {
                memory.filtered_since = None;
            }
        }
        for scope in self.live.keys().copied().collect::<Vec<_>>() {
            self.pass_one(scope, now);
        }
    }

    fn pass_one(&mut self, scope: Scope, now: At) {
        let was_operators = self.live[&scope].operator.is_some();
        let (mut live, since) = self.touched(scope, now);
        if was_operators && live.operator.is_none() {
            live.expires_at = live.expires_at.min(since + MAX_LIFETIME);
        }
        let renews = self.memory(scope).is_held_by_one_that_reports_once(now);
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
        let ahead = RENEW_AHEAD.min(live.ttl / 4);
        if renews && !outlived && live.expires_at - ahead <= now {
            let ttl = live.ttl;
            live.extend(since, now, ttl);
        }
        self.live.insert(scope, live);
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
            let renews = memory.is_some_and(|memory| memory.is_held_by_one_that_reports_once(now));
            let renewal = renews.then(|| live.expires_at - RENEW_AHEAD.min(live.ttl / 4));
            let lets_go = live.operator.and_then(|operator| operator.until);
            [Some(live.end()), renewal, lets_go].into_iter().flatten()
        });
        let memory = self.memory.values().flat_map(|memory| {
            let claims = memory.claims.values().filter(|claim| claim.cleared_at.is_none());
            claims
                .map(|claim| claim.lives_until)
                .chain(memory.suppressed_until)
        });
        let rest = self
            .safelist
            .values()
            .copied()
            .chain(self.leaving.iter().map(|(_, _, until)| *until));
        scopes
            .chain(memory)
            .chain(rest)
            .filter(|at| *at > now && *at < At::MAX)
            .min()
    }

    pub(super) fn suppressed(&self, now: At) -> BTreeMap<Scope, At> {
        let until = |memory: &Memory| memory.suppressed_until.filter(|until| *until > now);
        self.memory
            .iter()
            .filter_map(|(scope, memory)| Some((*scope, until(memory)?)))
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

    fn end(&mut self, scope: Scope, withdrawn: bool) {
        self.leaving.retain(|(of, _, _)| *of != scope);
        if let Some(ended) = self.live.remove(&scope) {
            self.ended.insert(scope, (ended, withdrawn));
        }
    }

    /// The hold-down is doubled for each time the scope was mitigated before within a day.
    fn start_ending(&mut self, scope: Scope, live: &mut Mitigation, since: At, now: At) {
        let starts = self
            .memory(scope)
            .starts
            .iter()
            .filter(|start| **start + DAY > now)
            .count();
        let doublings = u32::try_from(starts.saturating_sub(1)).unwrap().min(20);
        let hold_down = (HOLD_DOWN << doublings).min(LONGEST_HOLD_DOWN);
        live.extend(since, now, hold_down);
        live.ends_at = Some((now + hold_down).min(live.expires_at));
    }

    /// What is live with the claims of now, and since when the scope is filtered.
    fn touched(&mut self, scope: Scope, now: At) -> (Mitigation, At) {
        let mut live = self.live[&scope].clone();
        let memory = self.memory(scope);
        live.operator = live
            .operator
            .filter(|operator| operator.until.is_none_or(|until| until > now));
        live.sources = memory.holding(now);
        (live, memory.filtered_since.unwrap_or(now))
    }

    fn memory(&mut self, scope: Scope) -> &mut Memory {
        self.memory.entry(scope).or_default()
    }

    fn owner(&self, victim: usize) -> Option<&'static str> {
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
    fn stop(&self, customer: &str) -> Option<Word> {
        let meant = self
            .stopped
            .iter()
            .filter(|(whole_pop, _)| **whole_pop || customer == "acme");
        meant
            .map(|(_, word)| *word)
            .max_by_key(|word| *word == Word::Panic)
    }
}

impl Memory {
    fn forget_dead(&mut self, now: At) {
        self.claims.retain(|_, claim| match claim.cleared_at {
            Some(cleared) => cleared + DAY > now,
            None => claim.lives_until > now,
        });
    }

    fn holding(&self, now: At) -> BTreeSet<usize> {
        let live = self.claims.iter().filter(|(_, claim)| claim.is_live(now));
        live.map(|((source, _), _)| *source).collect()
    }

    fn ports(&self, now: At) -> BTreeSet<u16> {
        let live = self.claims.values().filter(|claim| claim.is_live(now));
        live.flat_map(|claim| &claim.ports).copied().collect()
    }

    fn is_held_by_one_that_reports_once(&self, now: At) -> bool {
        self.holding(now).iter().any(|source| SOURCES[*source] == "once")
    }
}

fn is_in(prefix: usize, victim: usize) -> bool {
    let last = VICTIMS[victim][3];
    VICTIMS[victim][0] == 203 && if prefix == 0 { last == 10 } else { last >= 128 }
}

/// The NLRI of what is taken from a victim (RFC 8955 section 4.2.2), in hexadecimal.
pub(super) fn nlri(victim: usize, taken: &Taken) -> String {
    let mut bytes = vec![1, 32];
    bytes.extend(VICTIMS[victim]);
    bytes.extend([3, 0x81, 17]);
    match taken {
        Taken::Ports(ports) => {
            bytes.push(5);
            for (place, port) in ports.iter().enumerate() {
                let last = if place + 1 == ports.len() { 0x80 } else { 0 };
                match u8::try_from(*port) {
                    Ok(short) => bytes.extend([last | 0x01, short]),
                    Err(_) => {
                        bytes.push(last | 0x11);
                        bytes.extend(port.to_be_bytes());
                    }
                }
            }
        }
        Taken::Ntp => bytes.extend([6, 0x81, 123, 10, 0x83, 100]),
    }
    let components: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{:02x}{components}", bytes.len())
}
