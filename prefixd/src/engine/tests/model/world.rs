//! The engine as it is, driven by a story beside the reference.

use super::super::{Bench, SETTLED};
use super::asking::{Waits, address, victim_of};
use super::ladder::confidence;
use super::memory::nlri;
use super::reference::{At, Reference};
use super::router;
use super::setup::{SOURCES, Setup};
use super::story::{Ask, Asked, Counted, Files, Killed, PREFIXES, Report, Scope, Step, Target, Vector};
use crate::engine::commit::outcome;
use crate::engine::{Reload, Request, SubmitError};
use crate::policy::{Implicit, Policy, State};
use crate::store::tests::Place;
use crate::store::{Store, StoreError, Verification};
use prefixd_api::control::ControlScope;
use prefixd_api::ids::SuppressionId;
use prefixd_api::mitigation::{self, Mitigation, MitigationStatus};
use prefixd_api::time::Timestamp;
use prefixd_bgp::flowspec::Effect;
use proptest::test_runner::TestCaseError;
use sqlx::{Connection, Executor, PgConnection};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use tokio::sync::{OnceCell, oneshot};

type Verdict = Result<(), TestCaseError>;

/// Plays a story in paused time, and says what was otherwise than the reference has it.
pub(super) fn play(on_postgres: bool, steps: &[Step]) -> Verdict {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        // Keeps paused time from going on by itself while everybody waits for the store.
        let (_still, waits) = mpsc::channel::<()>();
        tokio::task::spawn_blocking(move || waits.recv());
        let mut world = World::new(on_postgres).await;
        tokio::time::pause();
        for (place, step) in steps.iter().enumerate() {
            Box::pin(world.step(step))
                .await
                .map_err(|error| TestCaseError::fail(format!("step {place}, {step:?}: {error}")))?;
        }
        Box::pin(world.holds_from_the_beginning()).await
    })
}

pub(super) struct World {
    bench: Option<Bench>,
    _directory: Option<tempfile::TempDir>,
    connection: String,
    pop: String,
    pub(super) reference: Reference,
    /// Reports that have a name and a time.
    said: Vec<(Report, At)>,
    /// What was asked last under each key.
    keyed: BTreeMap<u8, Ask>,
    /// Up to where the journal was verified.
    verified: u64,
}

impl World {
    async fn new(on_postgres: bool) -> Self {
        static STORIES: AtomicU64 = AtomicU64::new(0);
        let pop = format!("pop{}", STORIES.fetch_add(1, Ordering::Relaxed));
        let mut place = if on_postgres {
            postgres().await
        } else {
            crate::store::tests::sqlite().await
        };
        let (connection, directory) = (place.connection.clone(), place.directory.take());
        let setup = Setup::of(0);
        let config = setup.written(&pop);
        let mut bench = Bench::heard_at(Timestamp::wall_clock(), place, SETTLED, &config).await;
        bench.engine.start().await.unwrap();
        bench.announcer.speaker().open();
        Self {
            bench: Some(bench),
            _directory: directory,
            connection,
            pop,
            reference: Reference::new(setup),
            said: Vec::new(),
            keyed: BTreeMap::new(),
            verified: 0,
        }
    }

    pub(super) fn bench(&mut self) -> &mut Bench {
        self.bench.as_mut().unwrap()
    }

    fn now(&mut self) -> At {
        self.bench().clock.now().as_micros()
    }

    async fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Ask(ask) => self.together(&[*ask]).await?,
            Step::Together(asks) => self.together(asks).await?,
            Step::Repeat(back) => {
                let said = self.said.iter().rev().nth(*back).copied();
                if let Some((report, seen_at)) = said {
                    self.together(&[Ask::Again { report, seen_at }.into()]).await?;
                }
            }
            Step::Retry(key) => {
                let asked = self.keyed.get(key).map(|ask| ask.under(*key));
                self.together(asked.as_slice()).await?;
            }
            Step::Twice(ask, key) => self.together(&[ask.under(*key); 2]).await?,
            Step::Wait(seconds) => {
                let until = self.now() + seconds * super::SECOND;
                while let Some(next) = self.next().filter(|next| *next < until) {
                    self.stand_still_until(next).await?;
                }
                self.stand_still_until(until).await?;
            }
            Step::Stall(seconds) => {
                let until = self.now() + seconds * super::SECOND;
                // It is not said which one is put back first.
                if self.reference.is_crowded() || self.reference.forgets_what_was_told(until) {
                    return Box::pin(self.step(&Step::Wait(*seconds))).await;
                }
                self.stand_still_until(until).await?;
            }
            Step::Deadline { just_before } => {
                if let Some(next) = self.next() {
                    self.stand_still_until(next - At::from(*just_before)).await?;
                }
            }
            Step::Reload {
                configuration,
                counted,
            } => self.reload(*configuration, *counted).await?,
            Step::Crash { asked, down, files } => Box::pin(self.crash(*asked, *down, *files)).await?,
        }
        self.holds().await
    }

    /// When either of both has something to do; a microsecond later at the earliest.
    fn next(&mut self) -> Option<At> {
        let now = self.now();
        let engine = self.bench().engine.deadlines.next().map(Timestamp::as_micros);
        let reference = self.reference.next(now);
        [engine, reference]
            .into_iter()
            .flatten()
            .filter(|at| *at > now)
            .min()
    }

    async fn stand_still_until(&mut self, until: At) -> Result<(), String> {
        let left = |now: At| Duration::from_micros(u64::try_from(until - now).unwrap_or(0));
        while left(self.now()) > router::SPEAKS_EVERY {
            router::keeps_its_session(self.bench()).await;
        }
        tokio::time::advance(left(self.now())).await;
        self.together(&[]).await
    }

    /// Has all of this decided in one batch, and compares what is told.
    async fn together(&mut self, asks: &[Asked]) -> Result<(), String> {
        let now = self.now();
        self.reference.pass(now);
        let mut answers = Vec::new();
        for ask in asks {
            if let Some((told, expected)) = Box::pin(self.ask(ask, now)).await {
                answers.push((ask, told, expected));
            }
        }
        self.rest().await;
        self.hear_of_steps();
        self.hear_of_sessions();
        for (ask, mut told, expected) in answers {
            let told = told
                .heard()
                .map_err(|error| format!("{ask:?} was not answered: {error}"))?;
            if told != expected {
                return Err(format!("{ask:?} was answered {told}, not {expected}"));
            }
        }
        Ok(())
    }

    /// Puts it into the queue, and answers what should be told. Nothing where it makes no sense.
    async fn ask(&mut self, asked: &Asked, now: At) -> Option<(Waits, String)> {
        if let Ask::Report(report) | Ask::Again { report, .. } = &asked.ask
            && self.reference.is_not_said_what_becomes_of(report, now)
        {
            return None;
        }
        let (names, command) = Box::pin(self.command(&asked.ask, now)).await?;
        let waits = Waits::of(self.bench(), asked, command);
        let expected = self.reference.asked(asked, &names, now);
        self.keyed.extend(asked.key.map(|key| (key, asked.ask)));
        if let Ask::Report(report) = &asked.ask
            && let (Some(_), Some(age)) = (report.name, report.age)
        {
            self.said.push((*report, now - age * super::SECOND));
        }
        Some((waits, expected))
    }

    /// Until the engine has nothing left to do now.
    async fn rest(&mut self) {
        let bench = self.bench();
        loop {
            Box::pin(bench.decide()).await;
            if bench.engine.commit.is_some() {
                bench.committed().await;
            }
            let engine = &bench.engine;
            let waits = !engine.own.is_empty() || !engine.waiting.is_empty();
            let is_due = engine.deadlines.next().is_some_and(|at| at <= bench.clock.now());
            if !waits && !is_due && engine.draft.is_none() && engine.commit.is_none() {
                break;
            }
        }
        bench.announcer.forget_ended();
        Box::pin(router::is_told_all(bench)).await;
        bench.announcer.look_at_insides(&bench.engine.state);
    }

    /// What was late is taken when the daemon looks again.
    fn hear_of_steps(&mut self) {
        let now = self.now();
        let live = self.live();
        for (scope, live) in live {
            self.reference.hear_of_step(scope, live.step as usize, now);
        }
    }

    fn live(&mut self) -> BTreeMap<Scope, Arc<Mitigation>> {
        let snapshot = self.bench().handle.snapshot();
        let live = snapshot.state.mitigations.values();
        live.map(|live| (scope_of(live), Arc::clone(live))).collect()
    }

    /// When the neighbour was told what is live, and whether that is recorded. One that is disabled soon has nothing any more.
    fn hear_of_sessions(&mut self) {
        for (scope, live) in self.live() {
            let bench = self.bench.as_ref().filter(|_| !self.reference.is_disabled);
            let written_at = || bench?.announcer.advertised_at(live.mitigation_id);
            let told = live.advertised_at.or_else(written_at);
            if let Some(known) = self.reference.live.get_mut(&scope) {
                known.told = told.map(|at| (at.as_micros(), live.advertised_at.is_some()));
            }
        }
    }

    /// What a new configuration asks of a step is asked of what the daemon noted until then: it notes until when a step was
    /// carried when it looks, which is sooner or later.
    fn hear_of_carrying(&mut self) {
        for (scope, live) in self.live() {
            if let (Some(known), Some(carried)) = (self.reference.live.get_mut(&scope), live.carried_at) {
                known.carried_at = known.carried_at.min(carried.as_micros());
            }
        }
    }

    async fn reload(&mut self, configuration: usize, counted: Counted) -> Result<(), String> {
        let now = self.now();
        let setup = Setup::of(configuration).in_mode(self.reference.setup.is_dry_run);
        let lose = self.reference.loses_by(setup) as u64;
        let expect_count = match counted {
            Counted::Nothing => None,
            Counted::Rightly => Some(lose),
            Counted::OneTooMany => Some(lose + 1),
        };
        let config = setup.written(&self.pop);
        let bench = self.bench();
        let (configs, announce) = bench.neighbors.clone();
        let next = Reload {
            policy: Arc::new(Policy::compile(&config, &Implicit::default())),
            settings: SETTLED,
            neighbors: configs,
            announce,
            subject: "config".to_owned(),
            keyed: None,
            told: "{}".to_owned(),
            expect_count,
        };
        let (reply, mut told) = oneshot::channel();
        bench.engine.waiting.push_back(Request::Reload {
            next: Box::new(next),
            actor: "token:root".to_owned(),
            reply,
        });
        let is_confirmed = expect_count.unwrap_or(0) == lose;
        if is_confirmed {
            self.hear_of_carrying();
            self.reference.setup = setup;
            self.reference.judge(now);
            self.reference.pass(now);
        }
        self.rest().await;
        self.hear_of_steps();
        match told.try_recv() {
            Ok(Ok(_)) if is_confirmed => Ok(()),
            Ok(Err(SubmitError::Unconfirmed(_))) if !is_confirmed => Ok(()),
            other => Err(format!(
                "the reload was answered {other:?}, and {lose} lose their rules"
            )),
        }
    }

    /// The process ends without a word, and another starts with what is stored.
    async fn crash(
        &mut self,
        asked: Option<(Asked, Killed)>,
        down: i64,
        files: Option<Files>,
    ) -> Result<(), String> {
        if let Some((ask, killed)) = asked {
            let now = self.now();
            let before = self.reference.clone();
            self.reference.pass(now);
            let told = Box::pin(self.ask(&ask, now)).await;
            let bench = self.bench();
            bench.engine.decide_waiting().await.unwrap();
            match killed {
                Killed::Undurable => self.reference = before,
                Killed::Untold => {
                    bench.engine.commit_draft();
                    if bench.engine.commit.is_some() {
                        outcome(&mut bench.engine.commit).await.unwrap();
                    }
                }
            }
            drop(told);
        }
        let down = if self.reference.is_crowded() { 0 } else { down };
        let bench = self.bench.take().unwrap();
        let now = bench.clock.now();
        drop(bench);
        let place = Place {
            store: opened_again(&self.connection).await,
            connection: self.connection.clone(),
            directory: None,
        };
        let now = now.saturating_add(Duration::from_secs(down.unsigned_abs()));
        if let Some(files) = files {
            self.reference.setup = Setup::of(files.configuration).in_mode(files.is_dry_run);
        }
        let config = self.reference.setup.written(&self.pop);
        let bench = Bench::heard_at(now, place, SETTLED, &config).await;
        self.bench = Some(bench);
        self.hear_of_carrying();
        // What was told and not recorded, nobody knows any more.
        self.hear_of_sessions();
        let bench = self.bench();
        bench.engine.start().await.unwrap();
        bench.announcer.speaker().open();
        self.rest().await;
        self.reference.restart(now.as_micros());
        self.hear_of_steps();
        Ok(())
    }

    /// What must hold whatever happened.
    async fn holds(&mut self) -> Result<(), String> {
        let now = self.now();
        self.reference.look_beside(now);
        self.hear_of_sessions();
        let (pop, verified) = (self.pop.clone(), self.verified);
        let bench = self.bench();
        let snapshot = bench.handle.snapshot();
        let store = Arc::clone(&bench.engine.parts.store);
        let announced = announced(bench);
        let edge = bench.announcer.speaker().peer("edge").unwrap();
        let is_disabled = edge.admin.is_disabled();
        let live = self.live();
        self.live_is_as_expected(&live, now)?;
        self.announced_is_as_expected(&announced)?;
        let state = &snapshot.state;
        for (enforced, counts) in [(true, &state.counts.enforced), (false, &state.counts.dry_run)] {
            let expected = self.reference.all_of(enforced).count() as u64;
            same(&format!("of enforced {enforced}"), counts.pop, expected)?;
            for customer in ["acme", "beta"] {
                let expected = self.reference.of_customer(customer, enforced) as u64;
                same(customer, counts.customer(customer), expected)?;
            }
        }
        let pending = self
            .reference
            .live
            .values()
            .filter(|live| live.is_pending)
            .count();
        same("what waits", state.counts.pending.pop, pending as u64)?;
        for (scope, memory) in &self.reference.memory {
            let group = state.group(&group_of(*scope));
            let rounded = |confidence: f64| (confidence * 1e9).round();
            let known = group.and_then(|group| group.confidence).map(rounded);
            let expected = confidence(memory.live(now)).map(rounded);
            same(&format!("confidence of {scope:?}"), known, expected)?;
        }
        same(
            "suppressions",
            suppressed(state, now),
            self.reference.suppressed(now),
        )?;
        let unconfirmed = state.unconfirmed.values().map(|waits| {
            let at = waits.put_back_at.as_micros();
            (scope_of(&waits.ended), (at, waits.successor))
        });
        let expected = self.reference.unconfirmed.iter();
        same(
            "what is put back",
            unconfirmed.collect::<BTreeMap<_, _>>(),
            expected
                .map(|(scope, waits)| (*scope, (waits.at, waits.successor)))
                .collect(),
        )?;
        same("disabled", is_disabled, self.reference.is_disabled)?;
        let counts = |at: Option<Timestamp>| at.is_none_or(|at| at.as_micros() > now);
        let protected: BTreeSet<String> = state
            .safelist
            .values()
            .filter(|entry| counts(entry.expires_at))
            .map(|entry| entry.prefix.to_string())
            .collect();
        let expected = self.reference.safelist.iter().filter(|(_, until)| **until > now);
        same(
            "safelist",
            protected,
            expected.map(|(prefix, _)| PREFIXES[*prefix].to_owned()).collect(),
        )?;
        let paused: BTreeSet<String> = state.paused.keys().map(ToString::to_string).collect();
        let expected = self
            .reference
            .paused
            .iter()
            .map(|source| SOURCES[*source].name.to_owned());
        same("paused sources", paused, expected.collect())?;
        let stopped: BTreeSet<bool> = state
            .stopped
            .keys()
            .map(|scope| *scope == ControlScope::Pop)
            .collect();
        same(
            "what is stopped",
            stopped,
            self.reference.stopped.keys().copied().collect(),
        )?;
        let from = (verified > 0).then_some(verified);
        self.verified = verify(&store, &pop, from, snapshot.head).await?;
        Ok(())
    }

    fn live_is_as_expected(&self, live: &BTreeMap<Scope, Arc<Mitigation>>, now: At) -> Result<(), String> {
        let expected = &self.reference.live;
        same("live", live.keys().collect::<Vec<_>>(), expected.keys().collect())?;
        for (scope, live) in live {
            let expected = &expected[scope];
            let what = |field: &str| format!("{field} of {scope:?}");
            same(&what("id"), live.mitigation_id, expected.id)?;
            same(&what("mode"), live.enforced, expected.is_enforced)?;
            same(
                &what("expires_at"),
                live.expires_at.as_micros() - now,
                expected.expires_at - now,
            )?;
            let ends_at = live.ends_at.map(|at| at.as_micros() - now);
            same(&what("ends_at"), ends_at, expected.ends_at.map(|at| at - now))?;
            same(
                &what("customer"),
                live.customer_id.as_deref(),
                Some(expected.customer),
            )?;
            let status = match (expected.is_pending, expected.step) {
                (true, _) => MitigationStatus::Pending,
                (false, 1) => MitigationStatus::Active,
                (false, _) => MitigationStatus::Escalated,
            };
            same(&what("status"), live.status, status)?;
            same(&what("step"), live.step as usize, expected.step)?;
            if self.reference.is_told(*scope) && expected.told.is_none() {
                return Err(format!("the neighbour was not told of {scope:?}"));
            }
            same(
                &what("acknowledged"),
                live.acknowledged_at.is_some(),
                expected.acknowledged,
            )?;
            // An owner, a reason and an end.
            let is_held = !live.claims.is_empty() || live.ends_at.is_some();
            if !is_held || live.why_summary.is_empty() || live.expires_at.as_micros() <= now {
                return Err(format!("without owner, reason or end: {live:?}"));
            }
        }
        Ok(())
    }

    fn announced_is_as_expected(&self, announced: &BTreeMap<String, u64>) -> Result<(), String> {
        let rules = self.reference.rules();
        let expected: BTreeMap<String, u64> = rules
            .iter()
            .map(|((victim, taken), rate)| (nlri(*victim, taken), *rate))
            .collect();
        let leaving: BTreeSet<(String, u64)> = self
            .reference
            .leaving
            .iter()
            .map(|(scope, taken, rate, _)| (nlri(scope.0, taken), *rate))
            .collect();
        let leaves = |rule: &str, rate: u64| leaving.contains(&(rule.to_owned(), rate));
        let mut announced = announced.clone();
        announced.retain(|rule, rate| expected.contains_key(rule) || !leaves(rule, *rate));
        // What leaves may be stricter than what is wanted of the same traffic now.
        let expected: BTreeMap<String, u64> = expected
            .into_iter()
            .map(|(rule, rate)| match announced.get(&rule) {
                Some(actual) if *actual < rate && leaves(&rule, *actual) => (rule, *actual),
                _ => (rule, rate),
            })
            .collect();
        same("announced", announced, expected)
    }

    /// The whole chain, and every mitigation as it was left.
    async fn holds_from_the_beginning(&mut self) -> Verdict {
        Box::pin(self.crash(None, 0, None))
            .await
            .map_err(TestCaseError::fail)?;
        self.verified = 0;
        self.holds()
            .await
            .map_err(|error| TestCaseError::fail(format!("after the last start: {error}")))?;
        let store = Arc::clone(&self.bench().engine.parts.store);
        for (scope, (expected, _)) in &self.reference.ended {
            let stored = store.get_mitigation(expected.id).await.unwrap();
            let put_back = self.reference.unconfirmed.get(scope);
            let put_back = put_back
                .filter(|waits| waits.ended.id == expected.id)
                .map(|waits| waits.at);
            let is_as_expected = stored.as_ref().is_some_and(|stored| {
                !stored.status.is_live()
                    && stored.acknowledged_at.is_some() == expected.acknowledged
                    && stored.confirm_by.map(Timestamp::as_micros) == put_back
            });
            if !is_as_expected {
                return Err(TestCaseError::fail(format!(
                    "{scope:?} ended, and is stored as {stored:?}"
                )));
            }
        }
        Ok(())
    }
}

/// The database of all stories, each of which has a POP of its own there.
async fn postgres() -> Place {
    static DATABASE: OnceCell<String> = OnceCell::const_new();
    let made = DATABASE.get_or_init(|| async { crate::store::tests::postgres().await.unwrap().connection });
    let connection = made.await.clone();
    let mut before = PgConnection::connect(&connection).await.unwrap();
    // What POPs share.
    before
        .execute("DELETE FROM safelist; DELETE FROM reservations")
        .await
        .unwrap();
    Place {
        store: Store::open(&connection, 4).await.unwrap(),
        connection,
        directory: None,
    }
}

fn suppressed(state: &State, now: At) -> Vec<(Target, SuppressionId, At)> {
    let of_scopes = state.suppressions.values().map(|one| {
        let (victim, vector) = (one.scope.victim.address(), Vector::named(&one.scope.vector));
        let target = Target::Scope((victim_of(victim), vector));
        (target, one.suppression_id, one.expires_at)
    });
    let wide = state.wide_suppressions.values().map(|one| {
        let target = match (one.prefix, &one.source) {
            (Some(prefix), None) => Target::Prefix(place(&PREFIXES, &prefix.to_string())),
            (None, Some(source)) => Target::Source(place(&SOURCES.map(|known| known.name), source)),
            other => panic!("{other:?}"),
        };
        (target, one.suppression_id, one.expires_at)
    });
    let all = of_scopes
        .chain(wide)
        .map(|(target, id, until)| (target, id, until.as_micros()));
    let mut in_force: Vec<_> = all.filter(|(.., until)| *until > now).collect();
    in_force.sort();
    in_force
}

fn place(names: &[&str], name: &str) -> usize {
    names.iter().position(|one| *one == name).unwrap()
}

fn scope_of(mitigation: &Mitigation) -> Scope {
    (
        victim_of(mitigation.victim_ip.address()),
        Vector::named(&mitigation.vector),
    )
}

fn group_of(scope: Scope) -> mitigation::Scope {
    mitigation::Scope {
        victim: address(scope.0).to_string().parse().unwrap(),
        vector: scope.1.name().into(),
    }
}

/// A process that dies lets its files go at once; what it had under way in this one may take a moment. Time stands still here,
/// so the others are let on instead.
async fn opened_again(connection: &str) -> Store {
    let give_up = std::time::Instant::now() + Duration::from_secs(30);
    loop {
        match Store::open(connection, 4).await {
            Err(StoreError::InUse { .. }) if std::time::Instant::now() < give_up => {
                tokio::task::yield_now().await;
            }
            opened => return opened.unwrap(),
        }
    }
}

/// What the neighbour is to have, by NLRI: bits per second, of which none are dropping.
fn announced(bench: &Bench) -> BTreeMap<String, u64> {
    let routes = bench.announcer.speaker().desired("edge").unwrap();
    let rate = |route: &prefixd_bgp::Route| match route.action.effect() {
        Effect::Discard => 0,
        // Rates of the story are whole bytes, which a float of the wire holds exactly.
        Effect::RateBytes(rate) => rate.get() as u64 * 8,
        other => panic!("{other:?}"),
    };
    routes
        .iter()
        .map(|route| (route.rule.key().to_string(), rate(route)))
        .collect()
}

async fn verify(store: &Store, pop: &str, from: Option<u64>, head: u64) -> Result<u64, String> {
    match store.verify_chain(pop, from, u64::MAX).await.unwrap() {
        Verification::Intact { to, .. } if to.seq == head => Ok(head),
        other => Err(format!("the journal up to {head}: {other:?}")),
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, actual: T, expected: T) -> Result<(), String> {
    if actual == expected {
        Ok(())
    } else {
        Err(format!("{what}: {actual:?}, the reference says {expected:?}"))
    }
}
