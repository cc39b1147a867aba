//! The same daemon, as simple as it can be said: no journal, no batches, no routers, and none of the code that decides.
//! It knows nothing that a page of prose about prefixd would not tell.

use super::memory::{
    Memory, Mitigation, Operator, Piece, Pieces, PutBack, Suppression, Taken, is_in, nth_of, rules,
};
use super::reports::Fresh;
use super::setup::{Profile, SOURCES, Setup};
use super::story::{After, Ask, Asked, Order, PORTS, PREFIXES, RATES, Scope, Target, Which, Word};
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
pub(super) const QUIET: At = 40 * SECOND;
/// So long what is pending waits for the next report.
pub(super) const WINDOW: At = 60 * SECOND;
pub(super) const MAX_EVENT_AGE: At = 60 * SECOND;
pub(super) const RENEW_AHEAD: At = 5 * SECOND;

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
    pub(super) answered: BTreeMap<(usize, u8, bool, At), String>,
    /// Requests that were carried out under a key: when, their words and their answers.
    keys: BTreeMap<u8, (At, String, String)>,
    pub(super) is_disabled: bool,
    /// The name of what begins next.
    pub(super) fresh: MitigationId,
    /// What a rule matched before it was widened stays for a second.
    pub(super) leaving: Vec<(Scope, Taken, u64, At)>,
    /// What was kept back when that was last looked at.
    kept_back: BTreeSet<(Scope, Taken, u64)>,
    /// When it was last looked at what happens by itself.
    pub(super) passed_at: At,
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
            passed_at: At::MIN,
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
                replace,
            } => {
                let pieces = [(Piece::Port(PORTS[*port]), RATES[*rate])].into();
                self.create(*scope, pieces, ttl * SECOND, *replace, now)
            }
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
                    Order::Resend => self.live.values_mut().for_each(|live| live.is_resent = true),
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
                self.end_by_panic();
                "said".to_owned()
            }
        }
    }

    fn create(&mut self, scope: Scope, pieces: Pieces, ttl: At, replace: bool, now: At) -> String {
        if self.live.contains_key(&scope) && !replace {
            return "conflict.exists".to_owned();
        }
        let operator = Some(Operator { until: None });
        let last_ban = self.memory(scope).last_ban;
        let is_enforced = !self.is_on_trial(scope.0);
        let other = match self.live.get(&scope) {
            Some(live) if live.is_enforced != is_enforced => self.live.remove(&scope),
            _ => None,
        };
        let made = match self.announced(scope).cloned() {
            Some(live) => self.revise(scope, Mitigation { operator, ..live }, pieces, ttl, now),
            None => {
                let fresh = Fresh {
                    pieces,
                    is_enforced,
                    asking: BTreeSet::new(),
                    ttl,
                    step: 1,
                    operator,
                    last_ban,
                };
                self.begin(scope, fresh, now)
            }
        };
        match (other, &made) {
            // One of the other mode ends, where another takes its place.
            (Some(other), Ok(())) => self.has_ended(scope, other, true),
            (Some(other), Err(_)) => drop(self.live.insert(scope, other)),
            (None, _) => {}
        }
        made.map_or_else(str::to_owned, |()| "created".to_owned())
    }

    /// An operator has it do something else, for as long as is asked for now.
    fn revise(
        &mut self,
        scope: Scope,
        mut live: Mitigation,
        pieces: Pieces,
        ttl: At,
        now: At,
    ) -> Result<(), &'static str> {
        if live.pieces != pieces && self.stop_of(&live).is_some() {
            return Err("guardrail.panic");
        }
        let since = self.memory(scope).filtered_since.unwrap_or(now);
        if since + MAX_LIFETIME_OPERATOR <= now {
            return Err("guardrail.lifetime");
        }
        (live.step, live.ttl, live.expires_at, live.ends_at) = (1, ttl, now, None);
        live.extend(since, now, ttl);
        self.live.insert(scope, live);
        self.exchange(scope, pieces, now);
        Ok(())
    }

    fn extend(&mut self, scope: Scope, ttl: At, now: At) -> String {
        if let Err(code) = self.is_to_be_changed(scope) {
            return code.to_owned();
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
        let (before, is_free) = (
            self.live.insert(scope, live),
            self.stop_of(&self.live[&scope]).is_none(),
        );
        if is_free && self.is_too_much(scope) && !self.go_back_to_what_is_asked(scope, now) {
            self.live.extend(before.map(|before| (scope, before)));
            return "guardrail.source_action".to_owned();
        }
        "changed".to_owned()
    }

    /// The operator says what it does, until it ends.
    fn adjust(&mut self, scope: Scope, port: u16, rate: u64, now: At) -> String {
        if let Err(code) = self.is_to_be_changed(scope) {
            return code.to_owned();
        }
        let (mut live, _) = self.touched(scope, now);
        let pieces: Pieces = [(Piece::Port(port), rate)].into();
        // Of what its sources or its playbook alone kept from routers no person makes something else by the way.
        if !live.is_enforced && !self.is_on_trial(scope.0) {
            return "guardrail.impossible".to_owned();
        }
        if live.pieces != pieces && self.stop_of(&live).is_some() {
            return "guardrail.panic".to_owned();
        }
        live.operator = Some(Operator { until: None });
        live.ends_at = None;
        self.live.insert(scope, live);
        self.exchange(scope, pieces, now);
        "changed".to_owned()
    }

    /// Nothing of what is pending is announced that could be changed.
    fn is_to_be_changed(&self, scope: Scope) -> Result<(), &'static str> {
        match self.live.get(&scope) {
            None => Err("not_found"),
            Some(live) if live.is_pending => Err("conflict.pending"),
            Some(_) if self.is_of_wrong_mode(scope) => Err("guardrail.impossible"),
            Some(_) => Ok(()),
        }
    }

    fn undo(&mut self, scope: Scope, now: At) -> String {
        let Some((ended, withdrawn)) = self.ended.get(&scope).cloned() else {
            return "not_found".to_owned();
        };
        if self.announced(scope).is_some() {
            return "conflict.exists".to_owned();
        }
        if !withdrawn || ended.is_pending {
            return "conflict.ended".to_owned();
        }
        match self.bring_back(scope, &ended, BTreeSet::new(), now) {
            Ok(()) => "created".to_owned(),
            Err(code) => code.to_owned(),
        }
    }

    /// What was withdrawn begins again, its suppression is over, and what waits there gives way. It is asked for by those who
    /// claim it now, and these.
    pub(super) fn bring_back(
        &mut self,
        scope: Scope,
        ended: &Mitigation,
        mut asking: BTreeSet<usize>,
        now: At,
    ) -> Result<(), &'static str> {
        let until = (!ended.is_pinned()).then_some(now + ended.ttl);
        let is_enforced = ended.is_enforced && !self.is_trial_of_rules(scope, ended);
        asking.extend(self.memory(scope).holding(is_enforced, now));
        let fresh = Fresh {
            pieces: ended.pieces.clone(),
            is_enforced,
            asking: if ended.is_pinned() {
                BTreeSet::new()
            } else {
                asking
            },
            ttl: ended.ttl,
            step: ended.step,
            operator: Some(Operator { until }),
            last_ban: self.memory(scope).last_ban,
        };
        let pending = self.live.remove(&scope);
        let begun = self.begin(scope, fresh, now);
        match (&begun, pending) {
            (Ok(()), Some(pending)) => {
                self.ended.insert(scope, (pending, false));
            }
            (Err(_), Some(pending)) => {
                self.live.insert(scope, pending);
            }
            (_, None) => {}
        }
        begun?;
        self.lift(Target::Scope(scope), now);
        Ok(())
    }

    fn withdraw(&mut self, scope: Scope, after: After, names: FreshIds, now: At) {
        if after.suppress > 0 {
            let until = now + after.suppress * SECOND;
            self.suppress(Target::Scope(scope), names.suppression, until);
        }
        self.end(scope, true);
        self.unconfirmed.remove(&scope);
        let waits = after.confirm.map(|within| PutBack {
            ended: self.ended[&scope].0.clone(),
            at: now + within * SECOND,
            successor: names.mitigation,
            suppression: names.suppression,
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

    pub(super) fn lift(&mut self, target: Target, now: At) {
        if let Some(one) = self.suppressions.get_mut(&target) {
            one.until = one.until.min(now);
        }
    }

    pub(super) fn is_suppressed(&self, target: Target, now: At) -> bool {
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
        live.retain(|(_, live)| !live.is_pending);
        live.len()
    }

    /// What a guardrail does not allow any more ends, or goes back a step.
    pub(super) fn judge(&mut self, now: At) {
        self.end_by_panic();
        for scope in self.live.keys().copied().collect::<Vec<_>>() {
            let live = &self.live[&scope];
            let stays = !live.is_pending && self.stop_of(live).is_none();
            if self.is_of_wrong_mode(scope)
                || self.owner(scope.0).is_none()
                || self.is_protected(scope.0, now)
                || self.is_too_much(scope) && !(stays && self.go_back_to_what_is_asked(scope, now))
            {
                self.end(scope, true);
            }
        }
    }

    fn end_by_panic(&mut self) {
        for scope in self.live.keys().copied().collect::<Vec<_>>() {
            if self.stop_of(&self.live[&scope]) == Some(Word::Panic) {
                self.end(scope, true);
            }
        }
    }

    /// Whether nothing of this victim goes to routers, whoever asks.
    pub(super) fn is_on_trial(&self, victim: usize) -> bool {
        let owner = self.owner(victim).and_then(|owner| self.setup.customer(owner));
        self.setup.is_dry_run || owner.is_some_and(|owner| owner.is_on_trial)
    }

    /// The same of what there is; what an operator says it does is of no playbook.
    pub(super) fn is_trial_of_rules(&self, scope: Scope, live: &Mitigation) -> bool {
        self.is_on_trial(scope.0) || !live.is_pinned() && self.setup.is_playbook_on_trial(scope.1)
    }

    /// Dry-run by what is configured now, and announced, or the other way round, and somebody asks for it.
    pub(super) fn is_of_wrong_mode(&self, scope: Scope) -> bool {
        let live = &self.live[&scope];
        let asks = live.is_pinned() || !live.sources.is_empty();
        let begins = |source: &usize| SOURCES[*source].may_trigger && !SOURCES[*source].is_on_trial;
        let is_trial = self.is_trial_of_rules(scope, live);
        if live.is_enforced {
            is_trial
        } else {
            asks && !is_trial && (live.is_pinned() || live.sources.iter().any(begins))
        }
    }

    /// How many would lose their rules, were this in force.
    pub(super) fn loses_by(&self, setup: Setup) -> usize {
        let next = Self {
            setup,
            ..self.clone()
        };
        let lose = self
            .all_announced()
            .filter(|(scope, _)| next.is_of_wrong_mode(**scope));
        lose.count()
    }

    pub(super) fn suppressed(&self, now: At) -> Vec<(Target, SuppressionId, At)> {
        let in_force = self.suppressions.iter().filter(|(_, one)| one.until > now);
        in_force
            .map(|(target, one)| (*target, one.id, one.until))
            .collect()
    }

    /// What is announced in a scope.
    pub(super) fn announced(&self, scope: Scope) -> Option<&Mitigation> {
        self.live.get(&scope).filter(|live| !live.is_pending)
    }

    pub(super) fn all_announced(&self) -> impl Iterator<Item = (&Scope, &Mitigation)> {
        self.all_of(true)
    }

    /// What is announced, or would be but for the trial.
    pub(super) fn all_of(&self, enforced: bool) -> impl Iterator<Item = (&Scope, &Mitigation)> {
        self.live
            .iter()
            .filter(move |(_, live)| !live.is_pending && live.is_enforced == enforced)
    }

    pub(super) fn of_customer(&self, customer: &str, enforced: bool) -> usize {
        self.all_of(enforced)
            .filter(|(_, live)| live.customer == customer)
            .count()
    }

    fn wanted(&self) -> impl Iterator<Item = (Scope, Taken, u64)> {
        self.all_announced().flat_map(|(scope, live)| {
            let rules = rules(&live.pieces).into_iter();
            rules.map(|(taken, rate)| (*scope, taken, rate))
        })
    }

    /// What the neighbour should be told: of what several ask for, the strictest.
    pub(super) fn rules(&self) -> BTreeMap<(usize, Taken), u64> {
        let mut rules = BTreeMap::new();
        let kept_back = self.all_kept_back();
        for rule in self.wanted().filter(|rule| !kept_back.contains(rule)) {
            let ((victim, _), taken, rate) = rule;
            let least: &mut u64 = rules.entry((victim, taken)).or_insert(rate);
            *least = (*least).min(rate);
        }
        rules
    }

    /// What a stricter one of the same victim takes as well is not told.
    fn all_kept_back(&self) -> BTreeSet<(Scope, Taken, u64)> {
        let all: Vec<_> = self
            .wanted()
            .filter(|(_, taken, _)| !taken.contains(&Piece::Ntp))
            .collect();
        let is_kept_back = |(scope, taken, rate): &&(Scope, Taken, u64)| {
            all.iter().any(|(other, wider, stricter)| {
                scope.0 == other.0 && taken.is_subset(wider) && stricter < rate
            })
        };
        all.iter().filter(is_kept_back).cloned().collect()
    }

    /// Whether the neighbour is told anything of it.
    pub(super) fn is_told(&self, scope: Scope) -> bool {
        let kept_back = self.all_kept_back();
        let mut own = self.wanted().filter(|(of, ..)| *of == scope);
        !self.is_disabled && own.any(|rule| !kept_back.contains(&rule))
    }

    /// What is kept back from now on stays for a second, as what was widened does.
    pub(super) fn look_beside(&mut self, now: At) {
        let kept = self.all_kept_back();
        for (scope, taken, rate) in kept.difference(&self.kept_back) {
            self.leaving.push((*scope, taken.clone(), *rate, now + SECOND));
        }
        self.kept_back = kept;
    }

    /// It takes something else from now on. What it took stays beside that for a second.
    pub(super) fn exchange(&mut self, scope: Scope, pieces: Pieces, now: At) {
        let Some(live) = self.live.get_mut(&scope) else {
            return;
        };
        let (before, after) = (rules(&live.pieces), rules(&pieces));
        live.pieces = pieces;
        if !live.is_enforced {
            return;
        }
        let gone = before.into_iter().filter(|rule| !after.contains(rule));
        let gone = gone.map(|(taken, rate)| (scope, taken, rate, now + SECOND));
        self.leaving.extend(gone);
    }

    pub(super) fn end(&mut self, scope: Scope, withdrawn: bool) {
        if let Some(ended) = self.live.remove(&scope) {
            self.has_ended(scope, ended, withdrawn);
        }
    }

    fn has_ended(&mut self, scope: Scope, ended: Mitigation, withdrawn: bool) {
        self.leaving.retain(|(of, ..)| *of != scope);
        self.ended.insert(scope, (ended, withdrawn));
    }

    /// What is live with the claims of now, and since when the scope is filtered.
    pub(super) fn touched(&mut self, scope: Scope, now: At) -> (Mitigation, At) {
        let mut live = self.live[&scope].clone();
        let memory = self.memory(scope);
        live.operator = live
            .operator
            .filter(|operator| operator.until.is_none_or(|until| until > now));
        live.sources = memory.holding(live.is_enforced, now);
        (live, memory.filtered_since.unwrap_or(now))
    }

    pub(super) fn memory(&mut self, scope: Scope) -> &mut Memory {
        self.memory.entry(scope).or_default()
    }

    pub(super) fn owner(&self, victim: usize) -> Option<&'static str> {
        match victim {
            0 | 1 => Some("acme"),
            2 | 3 => self.setup.customer("beta").map(|_| "beta"),
            _ => None,
        }
    }

    pub(super) fn profile(&self, victim: usize) -> Profile {
        let owner = self.owner(victim).and_then(|owner| self.setup.customer(owner));
        owner.map_or(Profile::Normal, |owner| owner.profile)
    }

    pub(super) fn is_protected(&self, victim: usize, now: At) -> bool {
        self.safelist
            .iter()
            .any(|(prefix, until)| *until > now && is_in(*prefix, victim))
    }

    /// Nobody stops what is dry-run.
    pub(super) fn stop_of(&self, live: &Mitigation) -> Option<Word> {
        self.stop(live.customer).filter(|_| live.is_enforced)
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
