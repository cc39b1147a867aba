//! The engine: one task that owns the state and is the only writer of the store.
//!
//! ```text
//!   http ──Command──▶ queue ──▶ decide each on a working copy ──▶ one commit ──▶ state, RIB, feed, answers
//! ```

mod batch;
mod breaker;
mod commit;
mod deadlines;
mod decide;
mod dry_run;
mod keys;
mod known;
mod quarantine;
mod reconcile;
mod replays;
mod reserve;
mod restore;
mod run;
mod stops;
#[cfg(test)]
mod tests;
mod tick;

pub use dry_run::unconfirmed_dry_run;
pub use keys::{Keyed, KeyedReload, Reply, Told};
pub use run::{Engine, EngineError, Parts, Reload, Settings};

use crate::announce::Drift;
use crate::journal::Entry;
use crate::policy::{Command, Outcome, Policy, Reserved, SetControl, State};
use arc_swap::ArcSwap;
use prefixd_api::control::Stopped;
use prefixd_api::problem::Problem;
use prefixd_api::time::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{broadcast, mpsc, oneshot};

/// Commands that may wait: batches of 100 from 64 detectors at once. When it is full, callers are told to come back ([`SubmitError::QueueFull`]).
pub const QUEUE: usize = 8_192;
/// The same of what overtakes everything else.
const URGENT: usize = 64;
/// The same of what people take off the routers, which detectors that fill the queue must not keep from being said.
const REMOVALS: usize = 512;
/// Journal entries that a feed subscriber may be behind before it has to resync.
pub const FEED_BACKLOG: usize = 4096;

/// What readers see: the state as of the last commit. Published before callers are answered, so that a caller
/// reads its own writes.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The committed state.
    pub state: State,
    /// The policy in force.
    pub policy: Arc<Policy>,
    /// Position of the newest journal entry.
    pub head: u64,
    /// Time of the last commit.
    pub at: Timestamp,
    /// Since when the store fails; absent while it works.
    pub store_failing_since: Option<Timestamp>,
    /// Removals that happened and are not recorded yet.
    pub owed: u64,
    /// The system clock was set while the daemon ran.
    pub clock_stepped: bool,
    /// Stored mitigations that could not be read at start, and so are not announced.
    pub unreadable: u64,
    /// The breaker has tripped, and the store has not recorded it yet.
    pub trip_unrecorded: bool,
    /// Panics that are in force, and that the store has not recorded yet.
    pub stops_unrecorded: Vec<Arc<Stopped>>,
    /// What of the quota over all POPs is this one's; absent where there is no other POP.
    pub reserved: Option<Reserved>,
}

/// What a caller gets once its command is durable.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The outcome.
    pub outcome: Outcome,
    /// For an event that was known already: nothing was done, the stored answer is given again.
    pub replay: bool,
    /// Position of the newest journal entry of the batch.
    pub head: u64,
}

/// Why a command has no outcome. Callers may retry: nothing was done, or (when the store went away or the engine ended
/// during the commit) what was done is found by the retry.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SubmitError {
    /// The queue is full.
    #[error("too much work is waiting")]
    QueueFull,
    /// The daemon is stopping.
    #[error("the daemon is stopping")]
    Stopping,
    /// The engine ended before it was known: it may have been done, and is found by the retry.
    #[error("the daemon ended before the outcome was known")]
    Lost,
    /// The store did not take the batch.
    #[error("the store does not answer")]
    Store,
    /// The store does not say whether it took the batch: it may have been done, and is found by the retry.
    #[error("the store does not say whether it took this")]
    Unknown,
    /// Deciding this command failed by a defect; the log says which.
    #[error("deciding failed")]
    Defect,
    /// A reload would take rules off the routers, and nobody said that it may.
    #[error("{0}")]
    Unconfirmed(Box<Problem>),
}

/// How the rest of the daemon reaches the engine.
#[derive(Clone, Debug)]
pub struct Handle {
    requests: mpsc::Sender<Request>,
    /// For what overtakes everything else.
    urgent: mpsc::Sender<Request>,
    /// For what overtakes reports.
    removals: mpsc::Sender<Request>,
    /// How often people said what may be announced.
    said: Arc<AtomicU64>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    feed: broadcast::Sender<Arc<Entry>>,
}

/// Who waits for a configuration to come into force.
pub(crate) type ReloadReply = oneshot::Sender<Result<u64, SubmitError>>;

/// Who waits for what a reconciliation found.
pub(crate) type ReconcileReply = oneshot::Sender<Result<Drift, SubmitError>>;

/// What waits in the queue.
#[derive(Debug)]
pub(crate) enum Request {
    /// Decide.
    Command { command: Command, reply: Reply },
    /// Decide by this policy from now on.
    Reload {
        next: Box<Reload>,
        actor: String,
        reply: ReloadReply,
    },
    /// Compare what is committed with what the speaker holds, and repair it.
    Reconcile { reply: ReconcileReply },
}

impl Request {
    fn overtakes(&self) -> bool {
        matches!(self, Self::Command { command, .. } if command.overtakes())
    }
}

impl Handle {
    /// Has a command decided and waits until the outcome is durable.
    ///
    /// # Errors
    /// See [`SubmitError`].
    pub async fn submit(&self, command: Command) -> Result<Answer, SubmitError> {
        let (reply, answer) = oneshot::channel();
        self.ask(command, Reply::Plain(reply))?;
        answer.await.unwrap_or(Err(SubmitError::Lost))
    }

    /// The same of a request that must not be carried out twice.
    ///
    /// # Errors
    /// See [`SubmitError`].
    pub async fn submit_keyed(&self, command: Command, keyed: Keyed) -> Result<Told, SubmitError> {
        let (to, told) = oneshot::channel();
        let keyed = Box::new(keyed);
        self.ask(command, Reply::Keyed { to, keyed })?;
        told.await.unwrap_or(Err(SubmitError::Lost))
    }

    fn ask(&self, command: Command, reply: Reply) -> Result<(), SubmitError> {
        let command = self.numbered(command);
        let lane = match &command {
            Command::Control(set) if set.is_panic() => &self.urgent,
            command if command.overtakes() => &self.removals,
            _ => &self.requests,
        };
        send(lane, Request::Command { command, reply })
    }

    /// What people say on what may be announced has an order, also where a panic overtakes the rest.
    fn numbered(&self, command: Command) -> Command {
        match command {
            Command::Control(set) => Command::Control(SetControl {
                said: self.said.fetch_add(1, Ordering::Relaxed) + 1,
                ..set
            }),
            other => other,
        }
    }

    /// Puts a configuration into force and answers the position of its journal entry. Live rules are judged by it
    /// after that, in batches.
    ///
    /// # Errors
    /// See [`SubmitError`].
    pub async fn reload(&self, next: Box<Reload>, actor: String) -> Result<u64, SubmitError> {
        let (reply, answer) = oneshot::channel();
        send(&self.requests, Request::Reload { next, actor, reply })?;
        answer.await.unwrap_or(Err(SubmitError::Lost))
    }

    /// Compares what is committed with what the speaker holds for each neighbour, repairs it and answers what differed.
    ///
    /// # Errors
    /// See [`SubmitError`].
    pub async fn reconcile(&self) -> Result<Drift, SubmitError> {
        let (reply, answer) = oneshot::channel();
        send(&self.requests, Request::Reconcile { reply })?;
        answer.await.unwrap_or(Err(SubmitError::Lost))
    }

    /// The state as of the last commit.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Journal entries from now on. A reader that falls behind [`FEED_BACKLOG`] entries gets `Lagged`.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Entry>> {
        self.feed.subscribe()
    }

    /// How many commands wait.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.requests.max_capacity() - self.requests.capacity()
    }
}

fn send(lane: &mpsc::Sender<Request>, request: Request) -> Result<(), SubmitError> {
    lane.try_send(request).map_err(|refused| match refused {
        mpsc::error::TrySendError::Full(_) => SubmitError::QueueFull,
        mpsc::error::TrySendError::Closed(_) => SubmitError::Stopping,
    })
}
