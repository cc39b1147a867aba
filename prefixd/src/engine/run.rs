//! The engine's loop.
//!
//! While a batch is being committed, deadlines are kept (a rule leaves the RIB at its time also when the store is
//! away), the watchdog is fed, and the next batch is decided.

use super::batch::{Batch, Work};
use super::breaker::Breaker;
use super::commit::{Committing, outcome};
use super::deadlines::Deadlines;
use super::known::Known;
use super::reconcile::Reconciling;
use super::restore::restore;
use super::stops::{Unrecorded, is_owed, next_urgent};
use super::{
    FEED_BACKLOG, Handle, KeyedReload, QUEUE, REMOVALS, ReloadReply, Request, Snapshot, SubmitError, URGENT,
};
use crate::announce::{Announcer, Neighbor};
use crate::clock::Clock;
use crate::journal::{Head, Kind};
use crate::metrics::Metrics;
use crate::policy::{Command, Policy, Reserved, State, Trip, next_deadline};
use crate::store::{Loaded, Store};
use arc_swap::ArcSwap;
use prefixd_api::control::ControlScope;
use prefixd_api::ids::MitigationId;
use prefixd_api::time::Timestamp;
use prefixd_bgp::{SessionChange, SessionEvent, Suspicion};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{broadcast, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{error, info, warn};

/// Commands that are taken from the queue before they can be decided.
const MAX_WAITING: usize = 512;
/// How long a failing store is left alone before owed work is tried again.
pub(super) const RETRY: Duration = Duration::from_millis(500);
/// When a scope is looked at again after its own work failed by a defect.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// How often the engine looks after itself.
pub(super) const TICK: Duration = Duration::from_secs(1);

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
    /// How often what is older is looked for.
    pub prune_interval: Duration,
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
    /// For the record: what it is about.
    pub subject: String,
    /// For the record: the fields of its feed message, as a JSON object.
    pub told: String,
    /// The key of the request that asked for it.
    pub keyed: Option<KeyedReload>,
    /// How many mitigations may lose rules because something is switched to dry-run; absent: none.
    pub expect_count: Option<u64>,
}

/// See [`super`].
pub struct Engine {
    pub(super) parts: Parts,
    pub(super) requests: mpsc::Receiver<Request>,
    /// What overtakes everything else.
    pub(super) urgent: mpsc::Receiver<Request>,
    /// What overtakes reports.
    pub(super) removals: mpsc::Receiver<Request>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    pub(super) feed: broadcast::Sender<Arc<crate::journal::Entry>>,
    pop: Arc<str>,
    /// What is committed.
    pub(super) state: State,
    pub(super) head: Head,
    /// The batch that is being committed.
    pub(super) commit: Option<Committing>,
    /// The batch after it, decided on top of it.
    pub(super) draft: Option<Batch>,
    /// What waits to be decided.
    pub(super) waiting: VecDeque<Request>,
    /// Work that the engine asks of itself, before anything else: deadlines and new judgements.
    pub(super) own: VecDeque<Command>,
    /// Who waits for a configuration, while what was decided before it is committed.
    pub(super) reloading: Option<ReloadReply>,
    /// How many of the next commands are committed one at a time, to find the one that the store refuses.
    pub(super) singly: usize,
    pub(super) deadlines: Deadlines,
    pub(super) known: Known,
    /// Mitigations that left the RIB at their deadline and are not recorded as ended.
    pub(super) owed: HashSet<MitigationId>,
    pub(super) breaker: Breaker,
    /// The speaker may know something else of what neighbours ended sessions over.
    pub(super) looks_at_quarantine: bool,
    /// Panics that are in force and not recorded.
    pub(super) stops: Vec<Unrecorded>,
    /// The newest panic of each scope: what was said before it does not end it.
    pub(super) panics: HashMap<ControlScope, u64>,
    /// Sessions that come up and go down.
    sessions: broadcast::Receiver<SessionEvent>,
    /// Whether any neighbour is established, as of the last look.
    pub(super) established: bool,
    /// Whether a neighbour lacks rules, as of the last tick.
    pub(super) is_lacking: bool,
    /// What of the quota over all POPs is this one's; absent where there is no other POP.
    pub(super) reserved: Option<Reserved>,
    /// Until when no more of it is asked for, because there was none.
    pub(super) reserve_at: Option<Instant>,
    pub(super) store_failing_since: Option<Timestamp>,
    pub(super) retry_at: Option<Instant>,
    /// When a store that fails is asked next.
    pub(super) next_look: Instant,
    pub(super) clock_stepped: bool,
    unreadable: u64,
    pub(super) next_reconcile: Instant,
    pub(super) reconciling: Option<Reconciling>,
    pub(super) next_prune: Instant,
    /// Answers that were kept since old ones were last forgotten: many bring the next time forward.
    pub(super) kept: u64,
    pub(super) pruning: Option<AbortOnDropHandle<()>>,
    /// Entries of the safelist are over, and still stored.
    pub(super) forgets_safelist: bool,
    pub(super) next_forget: Instant,
    pub(super) forgetting: Option<AbortOnDropHandle<()>>,
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
        let head = loaded.head;
        let unreadable = restore(&mut state, loaded, now);
        state.count_victims(&parts.policy);
        let (sender, requests) = mpsc::channel(QUEUE);
        let (urgently, urgent) = mpsc::channel(URGENT);
        let (remove, removals) = mpsc::channel(REMOVALS);
        let (feed, _) = broadcast::channel(FEED_BACKLOG);
        let snapshot = Arc::new(ArcSwap::from_pointee(Snapshot {
            state: state.clone(),
            policy: Arc::clone(&parts.policy),
            head: head.seq,
            at: now,
            store_failing_since: None,
            owed: 0,
            clock_stepped: false,
            unreadable,
            trip_unrecorded: false,
            stops_unrecorded: Vec::new(),
            reserved: None,
        }));
        let handle = Handle {
            requests: sender,
            urgent: urgently,
            removals: remove,
            said: Arc::default(),
            snapshot: Arc::clone(&snapshot),
            feed: feed.clone(),
        };
        let engine = Self {
            pop: Arc::from(parts.policy.pop()),
            requests,
            urgent,
            removals,
            snapshot,
            feed,
            state,
            head,
            commit: None,
            draft: None,
            waiting: VecDeque::with_capacity(MAX_WAITING),
            reloading: None,
            singly: 0,
            deadlines: Deadlines::default(),
            known: Known::new(now, parts.settings.max_future_skew),
            own: VecDeque::new(),
            owed: HashSet::new(),
            breaker: Breaker::default(),
            looks_at_quarantine: false,
            stops: Vec::new(),
            panics: HashMap::new(),
            sessions: parts.announcer.speaker().events(),
            established: false,
            is_lacking: false,
            reserved: None,
            reserve_at: None,
            store_failing_since: None,
            retry_at: None,
            next_look: Instant::now(),
            clock_stepped: false,
            unreadable,
            next_reconcile: Instant::now() + parts.settings.reconciliation_interval,
            reconciling: None,
            next_prune: Instant::now() + parts.settings.prune_interval,
            kept: 0,
            pruning: None,
            forgets_safelist: false,
            next_forget: Instant::now() + parts.settings.prune_interval,
            forgetting: None,
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
        self.reserve_what_lives().await;
        self.watch_all_scopes();
        self.judge_all();
        while !self.own.is_empty() {
            self.decide_waiting().await?;
            self.settle().await?;
            if self.store_failing_since.is_some() {
                tokio::time::sleep(RETRY).await;
            }
        }
        self.parts.announcer.keep_disabled(&self.state);
        self.parts.announcer.remember(&self.state, None);
        self.tell_neighbors();
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
        let mut inbox = Vec::with_capacity(MAX_WAITING);
        loop {
            let wake = self.next_wake();
            let room = MAX_WAITING.saturating_sub(self.waiting.len());
            tokio::select! {
                biased;
                () = shutdown.cancelled(), if !self.requests.is_closed() => self.stop_listening(),
                request = next_urgent(&mut self.urgent) => self.at_once(request),
                _ = tick.tick() => {
                    self.tick().await?;
                    // A store that hangs makes a tick longer than its interval: whoever waits has their turn before the next.
                    tick.reset();
                }
                result = outcome(&mut self.commit) => self.committed(result).await?,
                event = next_event(&mut self.sessions) => self.session_changed(event),
                () = tokio::time::sleep_until(wake) => {}
                request = next_urgent(&mut self.removals) => self.before_reports(request),
                received = self.requests.recv_many(&mut inbox, room), if room > 0 => if received == 0 { break },
            }
            self.look_at_quarantine();
            self.go_on_reconciling();
            self.waiting.extend(inbox.drain(..));
            self.take_removals();
            self.decide_waiting().await?;
            self.commit_draft();
            self.ask_whether_the_store_works().await?;
        }
        // What was said before the lanes were closed.
        self.take_removals();
        while let Ok(request) = self.urgent.try_recv() {
            self.at_once(request);
        }
        // A trip and a panic are recorded as well: the next start must not announce what they took off. While the store is away that
        // is tried until the time to drain is over.
        while !self.waiting.is_empty()
            || self.draft.is_some()
            || self.commit.is_some()
            || self.owes_a_decision()
        {
            self.decide_waiting().await?;
            self.settle().await?;
            if let Some(retry_at) = self.retry_at.filter(|_| self.owes_a_decision()) {
                self.meanwhile(tokio::time::sleep_until(retry_at)).await;
            }
        }
        info!(
            head = self.head.seq,
            "the engine has committed everything that was queued"
        );
        Ok(())
    }

    /// What happened to sessions since the last look.
    pub(super) fn watch_sessions(&mut self) {
        loop {
            match self.sessions.try_recv() {
                Ok(event) => self.session_changed(Some(event)),
                Err(TryRecvError::Lagged(_)) => self.session_changed(None),
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }

    /// `None`: some changes were missed.
    pub(super) fn session_changed(&mut self, event: Option<SessionEvent>) {
        self.looks_at_quarantine = true;
        let Some(SessionEvent { neighbor, change }) = event else {
            warn!(
                "sessions changed faster than the breaker could watch; losses among the changes do not count"
            );
            let peers = self.parts.announcer.speaker().peers();
            let up = peers.into_iter().filter(|peer| peer.session.is_some());
            self.breaker.established(up.map(|peer| peer.name).collect());
            return;
        };
        match change {
            SessionChange::Readmitted => {}
            SessionChange::Up { .. } => self.breaker.up(neighbor),
            SessionChange::Down { loss } => {
                // One that gets no rules cannot have been lost by them.
                let suspected = loss.is_some_and(|loss| loss.suspicion() != Suspicion::None)
                    && self.parts.announcer.enforces(&neighbor);
                let now = self.parts.clock.now();
                let bounds = self.parts.policy.breaker();
                if let Some(trip) = self.breaker.down(&neighbor, suspected, now, bounds) {
                    self.trip(trip);
                }
            }
        }
    }

    fn stop_listening(&mut self) {
        self.requests.close();
        self.urgent.close();
        self.removals.close();
    }

    fn owes_a_decision(&self) -> bool {
        self.own.iter().any(is_owed)
    }

    pub(super) fn has_trip_to_record(&self) -> bool {
        self.own.iter().any(|command| matches!(command, Command::Trip(_)))
    }

    /// What was announced in the window leaves the routers at once; the record follows.
    pub(super) fn trip(&mut self, mut trip: Trip) {
        // What has ended since it was announced is off the routers already.
        trip.mitigations
            .retain(|id| self.state.mitigations.contains_key(id));
        error!(
            neighbors = ?trip.neighbors,
            withdrawn = trip.mitigations.len(),
            "sessions were lost right after something was announced: it is withdrawn, and nothing new is announced until \
             somebody resets the breaker (prefixdctl breaker reset)"
        );
        for mitigation in &trip.mitigations {
            self.parts.announcer.hold_back(*mitigation);
            self.owed.insert(*mitigation);
        }
        self.own.push_front(Command::Trip(trip));
        self.publish();
    }

    /// When there is something to do without being asked.
    fn next_wake(&self) -> Instant {
        let bound = if self.is_looking() {
            self.next_look.min(self.next_wake_of_rules())
        } else {
            self.next_wake_of_rules()
        };
        if self.own.is_empty() || !self.has_room() {
            return bound;
        }
        self.retry_at.map_or_else(Instant::now, |at| at.min(bound))
    }

    fn next_wake_of_rules(&self) -> Instant {
        match &self.reconciling {
            Some(reconciling) => reconciling.next_step.min(self.next_removal()),
            None => self.next_removal(),
        }
    }

    /// Whether the engine itself has to find out that the store works again: nothing it has to write tells.
    pub(super) fn is_looking(&self) -> bool {
        self.store_failing_since.is_some() && self.commit.is_none() && self.own.is_empty()
    }

    /// Whether the next batch takes a further command.
    fn has_room(&self) -> bool {
        match &self.draft {
            None => true,
            Some(_) if self.singly > 0 => false,
            Some(draft) => !draft.is_full(),
        }
    }

    /// Decides what is due, and what waits as far as the next batch takes it.
    pub(super) async fn decide_waiting(&mut self) -> Result<(), EngineError> {
        if self.commit.is_some() || self.store_failing_since.is_some() {
            self.keep_deadlines();
        } else {
            let due = self
                .deadlines
                .take_due(self.parts.clock.now(), usize::MAX)
                .into_iter();
            self.own.extend(due.map(Command::Due));
        }
        if self.retry_at.is_some_and(|at| at > Instant::now()) && self.waiting.is_empty() {
            return Ok(());
        }
        self.retry_at = None;
        if !self.has_room() || (self.own.is_empty() && self.waiting.is_empty()) {
            return Ok(());
        }
        let from_store = self.ask_store().await;
        self.reserve_ahead().await;
        self.established = self.parts.announcer.any_established();
        while self.has_room() {
            if let Some(command) = self.own.pop_front() {
                self.decide(Work { command, reply: None }, &from_store);
                continue;
            }
            match self.waiting.pop_front() {
                Some(Request::Command { command, reply }) => {
                    let reply = Some(reply);
                    self.decide(Work { command, reply }, &from_store);
                }
                Some(Request::Reload { next, actor, reply }) => {
                    self.reloading = Some(reply);
                    self.settle().await?;
                    // Told to retry when what was decided before it is in doubt: then nothing changes. From here on
                    // it waits until the store says, because "refused" must mean that it is not in force.
                    if let Some(reply) = self.reloading.take() {
                        let _ = reply.send(self.adopt_reload(*next, &actor).await?);
                    }
                    // What was asked before may have to be decided again; the store is asked about it again.
                    break;
                }
                // The one who asked may have gone; the repair is made all the same.
                Some(Request::Reconcile { reply }) => self.reconcile(Some(reply)),
                None => break,
            }
        }
        if self.own.is_empty() {
            // A start and a reload ask for a judgement of everything that is live.
            self.own.shrink_to(MAX_WAITING);
        }
        Ok(())
    }

    pub(super) fn store(&self) -> Arc<Store> {
        Arc::clone(&self.parts.store)
    }

    pub(super) fn pop(&self) -> Arc<str> {
        Arc::clone(&self.pop)
    }

    pub(super) fn publish(&self) {
        self.snapshot.store(Arc::new(Snapshot {
            state: self.state.clone(),
            policy: Arc::clone(&self.parts.policy),
            head: self.head.seq,
            at: self.parts.clock.now(),
            store_failing_since: self.store_failing_since,
            owed: self.owed.len() as u64,
            clock_stepped: self.clock_stepped,
            unreadable: self.unreadable,
            trip_unrecorded: self.breaker.unrecorded().is_some(),
            stops_unrecorded: self.unrecorded_stops(),
            reserved: self.reserved,
        }));
    }

    /// A new configuration comes into force with its journal entry; live rules are then judged by it.
    async fn adopt_reload(
        &mut self,
        next: Reload,
        actor: &str,
    ) -> Result<Result<u64, SubmitError>, EngineError> {
        if let Some(problem) = self.unconfirmed_dry_run(&next) {
            return Ok(Err(SubmitError::Unconfirmed(problem)));
        }
        let before = self.head;
        let mut batch = self.next_batch();
        batch.append(actor, Kind::Config, next.subject, next.told);
        if let Some(keyed) = next.keyed {
            batch.keep(keyed);
        }
        self.draft = Some(batch);
        self.settle().await?;
        if self.store_failing_since.is_some() {
            return Ok(Err(SubmitError::Store));
        }
        if self.head == before {
            return Ok(Err(SubmitError::Defect));
        }
        self.parts.policy = Arc::clone(&next.policy);
        self.state.count_victims(&next.policy);
        self.parts.settings = next.settings;
        self.known.allow_skew(self.parts.settings.max_future_skew);
        self.next_reconcile = Instant::now() + self.parts.settings.reconciliation_interval;
        if let Err(error) =
            self.parts
                .announcer
                .reconfigure(next.neighbors, next.announce, next.policy, &self.state)
        {
            error!(%error, "the speaker refused neighbours that had been checked; the neighbours stay as they were");
        }
        self.watch_all_scopes();
        self.judge_all();
        self.publish();
        Ok(Ok(self.head.seq))
    }

    fn watch_all_scopes(&mut self) {
        // In their order, in which neighbours are near each other in memory.
        let scopes = self
            .state
            .scopes()
            .chain(self.state.suppressions.keys())
            .chain(self.state.unconfirmed.keys());
        for scope in scopes {
            let at = next_deadline(&self.state, &self.parts.policy, scope);
            self.deadlines.set(scope.clone(), at);
        }
    }

    fn judge_all(&mut self) {
        self.own
            .extend(self.state.live_scopes().cloned().map(Command::Judge));
    }
}

/// The next change of a session; `None` when some were missed. Pending for ever once there can be none.
async fn next_event(sessions: &mut broadcast::Receiver<SessionEvent>) -> Option<SessionEvent> {
    match sessions.recv().await {
        Ok(event) => Some(event),
        Err(RecvError::Lagged(_)) => None,
        Err(RecvError::Closed) => std::future::pending().await,
    }
}
