//! The engine's loop.
//!
//! Three things happen while a batch is being committed: deadlines are kept (a rule leaves the RIB at its time
//! also when the store is away), the watchdog is fed, and commands queue up for the next batch.

use super::batch::{Batch, Sealed, Work};
use super::deadlines::Deadlines;
use super::known::Known;
use super::{FEED_BACKLOG, Handle, QUEUE, Request, Snapshot, SubmitError};
use crate::announce::{Announcer, Neighbor};
use crate::clock::{Clock, STEP};
use crate::journal::{Head, Kind};
use crate::metrics::Metrics;
use crate::policy::{Command, Effect, Facts, Policy, State, next_deadline};
use crate::store::{self, COMMIT_DEADLINE, CommitError, EventKey, Loaded, Store};
use arc_swap::ArcSwap;
use prefixd_api::event::EventAnswer;
use prefixd_api::ids::MitigationId;
use prefixd_api::mitigation::Scope;
use prefixd_api::time::Timestamp;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{broadcast, mpsc};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

/// Commands one batch holds at most.
const MAX_BATCH: usize = 512;
/// Effects after which a batch takes no further command.
const MAX_EFFECTS: usize = 1_000;
/// How often the queue is looked at again before a batch is closed.
const GATHER: usize = 8;
/// How long a failing store is left alone before owed work is tried again.
const RETRY: Duration = Duration::from_millis(500);
/// When a scope is looked at again after its own work failed by a defect.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// How often the engine looks after itself.
const TICK: Duration = Duration::from_secs(1);
/// How often old history is pruned, one bounded step at a time.
const PRUNE_EVERY: Duration = Duration::from_secs(60);
/// Rows that one pruning step removes at most.
const PRUNE_ROWS: u32 = 5_000;

/// What the engine works with.
pub struct Parts {
    /// The store; the engine is its only writer.
    pub store: Arc<Store>,
    /// Where rules go.
    pub announcer: Arc<Announcer>,
    /// The time.
    pub clock: Arc<Clock>,
    /// The policy in force.
    pub policy: Arc<Policy>,
    /// Its own settings.
    pub settings: Settings,
    /// Where it counts.
    pub metrics: Arc<Metrics>,
    /// Called every second while the engine lives: the watchdog.
    pub alive: Box<dyn Fn() + Send + Sync>,
}

/// What the engine itself is configured with.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How far the clocks of sources may be ahead.
    pub max_future_skew: Duration,
    /// How often the RIB is compared with the committed mitigations.
    pub reconciliation_interval: Duration,
    /// How long history is kept.
    pub retention: Duration,
}

/// A configuration, checked and ready to come into force.
#[derive(Debug)]
pub struct Reload {
    /// For decisions.
    pub policy: Arc<Policy>,
    /// For the engine.
    pub settings: Settings,
    /// For the speaker.
    pub neighbors: Vec<prefixd_bgp::NeighborConfig>,
    /// For announcing.
    pub announce: Vec<Neighbor>,
}

/// See [`super`].
pub struct Engine {
    parts: Parts,
    requests: mpsc::Receiver<Request>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    feed: broadcast::Sender<Arc<crate::journal::Entry>>,
    pop: Arc<str>,
    state: State,
    head: Head,
    deadlines: Deadlines,
    known: Known,
    /// Work that the engine asks of itself, before anything else: deadlines and new judgements.
    own: VecDeque<Command>,
    /// Mitigations that left the RIB at their deadline and are not recorded as ended.
    owed: HashSet<MitigationId>,
    /// Whether any neighbour was established when the batch began.
    established: bool,
    store_failing_since: Option<Timestamp>,
    retry_at: Option<Instant>,
    clock_stepped: bool,
    unreadable: u64,
    next_reconcile: Instant,
    next_prune: Instant,
}

/// Why the engine ends. Both end the process: systemd starts it again.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The journal in the store is not where this engine left it: somebody else writes to it.
    #[error(
        "the journal is at {found}, expected {expected}: another daemon writes for this POP; this one stops"
    )]
    JournalTaken {
        /// In the store.
        found: u64,
        /// What this engine wrote last.
        expected: u64,
    },
    /// The store says so.
    #[error("another daemon writes for this POP; this one stops: {0}")]
    Overtaken(String),
}

impl Engine {
    /// An engine that goes on from what the store holds. Nothing is announced before [`Engine::start`].
    #[must_use]
    pub fn new(parts: Parts, loaded: Loaded) -> (Self, Handle) {
        let now = parts.clock.now();
        let mut state = State::default();
        let unreadable = restore(&mut state, &loaded, now);
        let (sender, requests) = mpsc::channel(QUEUE);
        let (feed, _) = broadcast::channel(FEED_BACKLOG);
        let snapshot = Arc::new(ArcSwap::from_pointee(Snapshot {
            state: state.clone(),
            policy: Arc::clone(&parts.policy),
            head: loaded.head.seq,
            at: now,
            store_failing_since: None,
            owed: 0,
            clock_stepped: false,
            unreadable,
        }));
        let handle = Handle {
            requests: sender,
            snapshot: Arc::clone(&snapshot),
            feed: feed.clone(),
        };
        let engine = Self {
            pop: Arc::from(parts.policy.pop()),
            requests,
            snapshot,
            feed,
            state,
            head: loaded.head,
            deadlines: Deadlines::default(),
            known: Known::new(now, parts.settings.max_future_skew),
            own: VecDeque::new(),
            owed: HashSet::new(),
            established: false,
            store_failing_since: None,
            retry_at: None,
            clock_stepped: false,
            unreadable,
            next_reconcile: Instant::now() + parts.settings.reconciliation_interval,
            next_prune: Instant::now() + PRUNE_EVERY,
            parts,
        };
        (engine, handle)
    }

    /// Repairs what a crash or a change of configuration left: leases that are over end, rules that a guardrail
    /// no longer allows are withdrawn. Only then are the others given to the speaker.
    ///
    /// # Errors
    /// See [`EngineError`].
    pub async fn start(&mut self) -> Result<(), EngineError> {
        self.watch_all_scopes();
        self.judge_all();
        while !self.own.is_empty() {
            self.run_batches(&mut VecDeque::new()).await?;
            if self.store_failing_since.is_some() {
                tokio::time::sleep(RETRY).await;
            }
        }
        let announced = self.parts.announcer.reconcile(&self.state);
        info!(
            live = self.state.mitigations.len(),
            routes = announced.desired,
            "restored"
        );
        Ok(())
    }

    /// Works until `shutdown`, then decides and commits what is queued, and ends.
    ///
    /// # Errors
    /// See [`EngineError`].
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), EngineError> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut inbox = Vec::with_capacity(MAX_BATCH);
        let mut work = VecDeque::with_capacity(MAX_BATCH);
        loop {
            let wake = self.next_wake();
            tokio::select! {
                biased;
                () = shutdown.cancelled(), if !self.requests.is_closed() => self.requests.close(),
                _ = tick.tick() => self.tick().await,
                () = tokio::time::sleep_until(wake) => {}
                received = self.requests.recv_many(&mut inbox, MAX_BATCH) => if received == 0 { break },
            }
            self.gather(&mut inbox).await;
            self.retry_at = None;
            let now = self.parts.clock.now();
            self.own.extend(
                self.deadlines
                    .take_due(now, MAX_BATCH)
                    .into_iter()
                    .map(Command::Due),
            );
            for request in inbox.drain(..) {
                match request {
                    Request::Command { command, reply } => work.push_back(Work {
                        command,
                        reply: Some(reply),
                    }),
                    Request::Reload { next, actor, reply } => {
                        self.run_batches(&mut work).await?;
                        let _ = reply.send(self.adopt_reload(*next, &actor).await?);
                    }
                }
            }
            self.run_batches(&mut work).await?;
        }
        info!(
            head = self.head.seq,
            "the engine has committed everything that was queued"
        );
        Ok(())
    }

    /// Lets those who are about to ask do so, as long as more come: their commands share the commit. Alone, a
    /// command waits for nothing but a look at the queue.
    async fn gather(&mut self, inbox: &mut Vec<Request>) {
        for _ in 0..GATHER {
            if inbox.is_empty() || inbox.len() >= MAX_BATCH {
                return;
            }
            tokio::task::yield_now().await;
            while inbox.len() < MAX_BATCH
                && let Ok(request) = self.requests.try_recv()
            {
                inbox.push(request);
            }
        }
    }

    fn next_wake(&self) -> Instant {
        let now = Instant::now();
        if !self.own.is_empty() {
            return self.retry_at.unwrap_or(now);
        }
        let deadline = self.deadlines.next().map(|at| self.parts.clock.instant_of(at));
        deadline.unwrap_or(now + TICK).min(now + TICK)
    }

    /// Decides and commits the engine's own work and then `work`, in batches.
    async fn run_batches(&mut self, work: &mut VecDeque<Work>) -> Result<(), EngineError> {
        while !(self.own.is_empty() && work.is_empty()) {
            let from_store = self.ask_store_about(work).await;
            self.established = self.parts.announcer.any_established();
            let mut batch = Batch::new(
                &self.state,
                Arc::clone(&self.pop),
                self.head,
                self.parts.clock.now(),
            );
            while batch.items.len() < MAX_BATCH && batch.effects.len() < MAX_EFFECTS {
                if let Some(command) = self.own.pop_front() {
                    self.decide(&mut batch, Work { command, reply: None }, &from_store);
                } else if let Some(next) = work.pop_front() {
                    self.decide(&mut batch, next, &from_store);
                } else {
                    break;
                }
            }
            self.finish(batch.seal()).await?;
            if self.store_failing_since.is_some() {
                // The callers that still wait are told at once; deadlines are kept by the loop.
                for waiting in work.drain(..) {
                    if let Some(reply) = waiting.reply {
                        let _ = reply.send(Err(SubmitError::Store));
                    }
                }
                break;
            }
        }
        Ok(())
    }

    fn decide(&mut self, batch: &mut Batch, work: Work, from_store: &Replays) {
        if let Command::Event(command) = &work.command
            && let Some(key) = EventKey::of_report(&command.event)
        {
            let known = batch.answer_to(&key).or_else(|| self.known.get(&key).cloned());
            if let Some(answer) = known.or_else(|| from_store.answers.get(&key).cloned()) {
                self.parts.metrics.replays.inc();
                return batch.replay(work, answer);
            }
            if from_store.failed && self.known.needs_store(&key) {
                return batch.refuse(work, SubmitError::Store);
            }
        }
        let facts = self.facts(&batch.working, &work.command);
        let own = work.own_scope();
        if !batch.decide(work, &self.parts.policy, &facts) {
            self.parts.metrics.defects.inc();
            self.look_again(own);
        }
    }

    /// The engine's own work on a scope failed by a defect. The speaker ends the rules at their time all the same;
    /// the scope must not be forgotten.
    fn look_again(&mut self, scope: Option<Scope>) {
        if let Some(scope) = scope {
            let at = self.parts.clock.now().saturating_add(LOOK_AGAIN);
            self.deadlines.set(scope, Some(at));
        }
    }

    fn facts(&self, state: &State, command: &Command) -> Facts {
        let scope = match command {
            Command::Event(command) => command.scope(),
            Command::Due(scope) | Command::Judge(scope) => scope.clone(),
            _ => {
                return Facts {
                    advertised_at: None,
                    established: self.established,
                };
            }
        };
        let advertised_at = state
            .mitigation_of(&scope)
            .filter(|mitigation| mitigation.advertised_at.is_none())
            .and_then(|mitigation| self.parts.announcer.advertised_at(mitigation.mitigation_id));
        Facts {
            advertised_at,
            established: self.established,
        }
    }

    /// Asks the store, once for all, about events that may be duplicates of what is no longer in memory.
    async fn ask_store_about(&self, work: &VecDeque<Work>) -> Replays {
        let keys: Vec<EventKey> = work
            .iter()
            .filter_map(|work| match &work.command {
                Command::Event(command) => EventKey::of_report(&command.event),
                _ => None,
            })
            .filter(|key| self.known.needs_store(key))
            .take(MAX_BATCH)
            .collect();
        if keys.is_empty() {
            return Replays::default();
        }
        match self.parts.store.find_replays(&self.pop, &keys).await {
            Ok(events) => Replays {
                answers: events
                    .iter()
                    .filter_map(|event| Some((EventKey::of(event)?, event.answer(None))))
                    .collect(),
                failed: false,
            },
            Err(error) => {
                warn!(%error, "the store did not say whether events are duplicates; their senders are told to retry");
                Replays {
                    answers: HashMap::new(),
                    failed: true,
                }
            }
        }
    }

    /// Commits a batch and then, and only then, makes it the state.
    async fn finish(&mut self, batch: Sealed) -> Result<(), EngineError> {
        if batch.entries.is_empty() {
            for item in batch.items {
                item.answer(self.head.seq);
            }
            return Ok(());
        }
        match self.commit(&batch).await {
            Ok(()) => self.adopt(batch),
            Err(CommitError::Constraint(error)) if batch.items.len() > 1 => {
                warn!(%error, commands = batch.items.len(), "a batch was refused by the store; deciding one by one");
                for item in batch.items {
                    let mut single = Batch::new(
                        &self.state,
                        Arc::clone(&self.pop),
                        self.head,
                        self.parts.clock.now(),
                    );
                    self.decide(&mut single, item.work, &Replays::default());
                    Box::pin(self.finish(single.seal())).await?;
                }
            }
            Err(CommitError::Overtaken(error)) => return Err(EngineError::Overtaken(error)),
            Err(CommitError::Constraint(error)) => {
                error!(%error, "the store refuses what was decided for this command; nothing was done");
                self.parts.metrics.store_errors.inc();
                self.put_off(batch, SubmitError::Defect);
            }
            Err(CommitError::Failed(error)) => {
                self.store_failed(&error);
                self.put_off(batch, SubmitError::Store);
            }
            Err(CommitError::Unknown(error)) => {
                self.store_failed(&error);
                self.resolve(batch).await?;
            }
        }
        Ok(())
    }

    /// One commit, with deadlines kept meanwhile.
    async fn commit(&mut self, batch: &Sealed) -> Result<(), CommitError> {
        let store = Arc::clone(&self.parts.store);
        let started = Instant::now();
        let pop = Arc::clone(&self.pop);
        let rows = store::Batch {
            pop: &pop,
            effects: &batch.effects,
            entries: &batch.entries,
        };
        let commit = store.commit(&rows);
        tokio::pin!(commit);
        let result = loop {
            let wake = self.next_removal();
            tokio::select! {
                result = &mut commit => break result,
                () = tokio::time::sleep_until(wake) => self.keep_deadlines(),
            }
        };
        self.parts
            .metrics
            .commit_seconds
            .observe(started.elapsed().as_secs_f64());
        #[expect(clippy::cast_precision_loss, reason = "a batch is small")]
        self.parts
            .metrics
            .batch_commands
            .observe(batch.items.len() as f64);
        result
    }

    /// The commit may or may not have happened: the journal's head in the store tells. Until it does, nothing is
    /// decided; callers are told to retry, deadlines are kept.
    async fn resolve(&mut self, batch: Sealed) -> Result<(), EngineError> {
        loop {
            match tokio::time::timeout(COMMIT_DEADLINE, self.parts.store.journal_head(&self.pop)).await {
                Ok(Ok(head)) if head == batch.head => {
                    self.adopt(batch);
                    return Ok(());
                }
                Ok(Ok(head)) if head == self.head => {
                    self.put_off(batch, SubmitError::Store);
                    return Ok(());
                }
                Ok(Ok(head)) => {
                    return Err(EngineError::JournalTaken {
                        found: head.seq,
                        expected: self.head.seq,
                    });
                }
                Ok(Err(_)) | Err(_) => {
                    self.refuse_waiting();
                    self.publish();
                    let until = Instant::now() + RETRY;
                    while Instant::now() < until {
                        tokio::time::sleep_until(self.next_removal().min(until)).await;
                        self.keep_deadlines();
                    }
                }
            }
        }
    }

    fn refuse_waiting(&mut self) {
        while let Ok(request) = self.requests.try_recv() {
            match request {
                Request::Command { reply, .. } => drop(reply.send(Err(SubmitError::Store))),
                Request::Reload { reply, .. } => drop(reply.send(Err(SubmitError::Store))),
            }
        }
    }

    fn next_removal(&self) -> Instant {
        let bound = Instant::now() + TICK;
        self.deadlines
            .next()
            .map_or(bound, |at| self.parts.clock.instant_of(at).min(bound))
    }

    /// Removing never needs what adding needs: what is over leaves the RIB now, its record follows.
    fn keep_deadlines(&mut self) {
        (self.parts.alive)();
        let now = self.parts.clock.now();
        for scope in self.deadlines.take_due(now, usize::MAX) {
            if let Some(mitigation) = self.state.mitigation_of(&scope) {
                let end = mitigation
                    .ends_at
                    .map_or(mitigation.expires_at, |at| at.min(mitigation.expires_at));
                if end <= now {
                    self.parts.announcer.remove(mitigation.mitigation_id);
                    self.owed.insert(mitigation.mitigation_id);
                } else {
                    self.deadlines.set(scope.clone(), Some(end));
                }
            }
            self.own.push_back(Command::Due(scope));
        }
    }

    fn store_failed(&mut self, error: &dyn std::fmt::Display) {
        self.parts.metrics.store_errors.inc();
        if self.store_failing_since.is_none() {
            self.store_failing_since = Some(self.parts.clock.now());
            error!(%error, "the store does not take changes: callers are told to retry, rules still end on time");
        }
    }

    /// A batch that did not happen: callers are told, what the engine asked of itself is tried again later.
    fn put_off(&mut self, batch: Sealed, why: SubmitError) {
        for item in batch.items {
            match (&item.work.command, &item.work.reply) {
                (Command::Due(_) | Command::Judge(_), None) if matches!(why, SubmitError::Store) => {
                    self.own.push_back(item.work.command.clone());
                }
                _ => {
                    self.look_again(item.work.own_scope());
                    item.fail(why.clone());
                }
            }
        }
        let over: Vec<(Scope, MitigationId)> = self
            .own
            .iter()
            .filter_map(|command| match command {
                Command::Due(scope) => self
                    .state
                    .mitigation_of(scope)
                    .map(|m| (scope.clone(), Arc::clone(m))),
                _ => None,
            })
            .filter(|(_, m)| {
                m.ends_at.map_or(m.expires_at, |at| at.min(m.expires_at)) <= self.parts.clock.now()
            })
            .map(|(scope, m)| (scope, m.mitigation_id))
            .collect();
        for (_, mitigation) in over {
            self.parts.announcer.remove(mitigation);
            self.owed.insert(mitigation);
        }
        self.retry_at = Some(Instant::now() + RETRY);
        self.publish();
    }

    fn adopt(&mut self, batch: Sealed) {
        if let Some(since) = self.store_failing_since.take() {
            info!(
                for_seconds = batch.at.since(since).as_secs(),
                "the store takes changes again"
            );
        }
        for (key, answer, at) in batch.events() {
            self.known.insert(key, answer, at);
        }
        let touched: HashSet<Scope> = batch.touched().collect();
        self.state = batch.working;
        self.head = batch.head;
        self.parts.announcer.project(&self.state, changed(&batch.effects));
        for effect in &batch.effects {
            self.parts.metrics.count(effect);
            if let Effect::Mitigation { after, .. } = effect {
                self.owed.remove(&after.mitigation_id);
            }
        }
        for scope in touched {
            let at = next_deadline(&self.state, &self.parts.policy, &scope);
            self.deadlines.set(scope, at);
        }
        self.publish();
        for entry in batch.entries {
            // Nobody may be listening.
            let _ = self.feed.send(Arc::new(entry));
        }
        for item in batch.items {
            item.answer(batch.head.seq);
        }
    }

    fn publish(&self) {
        self.snapshot.store(Arc::new(Snapshot {
            state: self.state.clone(),
            policy: Arc::clone(&self.parts.policy),
            head: self.head.seq,
            at: self.parts.clock.now(),
            store_failing_since: self.store_failing_since,
            owed: self.owed.len() as u64,
            clock_stepped: self.clock_stepped,
            unreadable: self.unreadable,
        }));
    }

    /// A new configuration comes into force with its journal entry; live rules are then judged by it.
    async fn adopt_reload(
        &mut self,
        next: Reload,
        actor: &str,
    ) -> Result<Result<u64, SubmitError>, EngineError> {
        let mut batch = Batch::new(
            &self.state,
            Arc::clone(&self.pop),
            self.head,
            self.parts.clock.now(),
        );
        batch.append(actor, Kind::Config, "config".to_owned(), "{}".to_owned());
        self.finish(batch.seal()).await?;
        if self.store_failing_since.is_some() {
            return Ok(Err(SubmitError::Store));
        }
        self.parts.policy = next.policy;
        self.parts.settings = next.settings;
        self.next_reconcile = Instant::now() + self.parts.settings.reconciliation_interval;
        if let Err(error) = self
            .parts
            .announcer
            .reconfigure(next.neighbors, next.announce, &self.state)
        {
            error!(%error, "the speaker refused neighbours that had been checked; the neighbours stay as they were");
        }
        self.watch_all_scopes();
        self.judge_all();
        self.publish();
        Ok(Ok(self.head.seq))
    }

    fn watch_all_scopes(&mut self) {
        let scopes: HashSet<Scope> = self
            .state
            .groups
            .keys()
            .chain(self.state.by_scope.keys())
            .chain(self.state.suppressions.keys())
            .cloned()
            .collect();
        for scope in scopes {
            let at = next_deadline(&self.state, &self.parts.policy, &scope);
            self.deadlines.set(scope, at);
        }
    }

    fn judge_all(&mut self) {
        self.own
            .extend(self.state.by_scope.keys().cloned().map(Command::Judge));
    }

    async fn tick(&mut self) {
        (self.parts.alive)();
        let away = self.parts.clock.follow(Timestamp::wall_clock());
        if (away > STEP) != self.clock_stepped {
            self.clock_stepped = away > STEP;
            if self.clock_stepped {
                warn!(
                    seconds = away.as_secs(),
                    "the system clock was set: deadlines go on by the time measured since the start; check NTP"
                );
            }
            self.publish();
        }
        self.parts.announcer.forget_ended();
        self.parts.announcer.tell_deliveries();
        let now = Instant::now();
        if now >= self.next_reconcile {
            self.next_reconcile = now + self.parts.settings.reconciliation_interval;
            let found = self.parts.announcer.reconcile(&self.state);
            self.parts.metrics.count_drift(&found);
            if found.missing + found.unexplained > 0 {
                warn!(
                    missing = found.missing,
                    unexplained = found.unexplained,
                    "reconciliation repaired the RIB"
                );
            }
        }
        if now >= self.next_prune && self.store_failing_since.is_none() {
            self.next_prune = now + PRUNE_EVERY;
            let horizon = self
                .parts
                .clock
                .now()
                .saturating_sub(self.parts.settings.retention);
            if let Err(error) = self.parts.store.prune(&self.pop, horizon, PRUNE_ROWS).await {
                warn!(%error, "old history could not be pruned; it is tried again");
            }
        }
    }
}

/// Puts what was stored back. No lease is longer than its TTL from now: the wall clock may have been set back.
fn restore(state: &mut State, loaded: &Loaded, now: Timestamp) -> u64 {
    for row in &loaded.unreadable {
        error!(%row, "this row is left alone; what it stands for is not announced");
    }
    for group in &loaded.groups {
        state.groups.insert(group.scope.clone(), Arc::new(group.clone()));
    }
    for suppression in &loaded.suppressions {
        state
            .suppressions
            .insert(suppression.scope.clone(), Arc::new(suppression.clone()));
    }
    for entry in &loaded.safelist {
        state.safelist.insert(entry.prefix, Arc::new(entry.clone()));
    }
    for mitigation in &loaded.mitigations {
        let longest = now.saturating_add(Duration::from_secs(mitigation.ttl_seconds.into()));
        let mut mitigation = mitigation.clone();
        mitigation.expires_at = mitigation.expires_at.min(longest);
        state.restore(Arc::new(mitigation));
    }
    loaded.unreadable.len() as u64
}

/// What the store says about possible duplicates.
#[derive(Default)]
struct Replays {
    answers: HashMap<EventKey, EventAnswer>,
    failed: bool,
}

/// The mitigations that a batch changed, each once.
fn changed(effects: &[Effect]) -> impl Iterator<Item = MitigationId> {
    let mut seen = HashSet::new();
    effects.iter().filter_map(move |effect| match effect {
        Effect::Mitigation { after, .. } => seen.insert(after.mitigation_id).then_some(after.mitigation_id),
        _ => None,
    })
}
