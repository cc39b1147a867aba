//! What the engine looks after every second, whatever is asked of it.

use super::run::{Engine, EngineError};
use crate::clock::STEP;
use crate::policy::Command;
use crate::store::answers::KEPT_EACH;
use crate::store::{Store, StoreError};
use prefixd_api::time::Timestamp;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

/// How often a store that fails is asked whether it works again: readiness is to return within a second of the store.
const LOOK: Duration = Duration::from_millis(250);
/// Rows of a kind that one pruning step removes at most: few enough that a commit behind it does not feel it.
const PRUNE_ROWS: u32 = 500;
/// Between two pruning steps, for the commits.
const PRUNE_PAUSE: Duration = Duration::from_millis(50);

impl Engine {
    pub(super) async fn tick(&mut self) -> Result<(), EngineError> {
        (self.parts.alive)();
        self.is_lacking = self.parts.announcer.is_lacking();
        if let Some(by) = self.parts.store.overtaken_by() {
            return Err(EngineError::Overtaken(by.to_owned()));
        }
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
        self.looks_at_quarantine = true;
        self.parts.announcer.forget_ended();
        self.parts.announcer.look_at_insides(&self.state);
        self.watch_what_came_out();
        self.parts.announcer.tell_deliveries();
        let now = Instant::now();
        if now >= self.next_reconcile {
            self.reconcile(None);
        }
        if self.store_failing_since.is_some() {
            self.ask_whether_the_store_works().await?;
        } else {
            self.record_lapsed().await;
            self.give_back().await;
        }
        if self.store_failing_since.is_some() {
            return Ok(());
        }
        let is_idle =
            |task: &Option<AbortOnDropHandle<()>>| task.as_ref().is_none_or(AbortOnDropHandle::is_finished);
        // Beside the history, which may take its time where the retention became shorter.
        if (now >= self.next_forget || self.kept >= u64::from(KEPT_EACH)) && is_idle(&self.forgetting) {
            self.next_forget = now + self.parts.settings.prune_interval;
            self.kept = 0;
            let forgetting = forget(self.store(), self.pop(), self.kept_since());
            self.forgetting = Some(AbortOnDropHandle::new(tokio::spawn(forgetting)));
        }
        if now >= self.next_prune && is_idle(&self.pruning) {
            self.next_prune = now + self.parts.settings.prune_interval;
            let horizon = self
                .parts
                .clock
                .now()
                .saturating_sub(self.parts.settings.retention);
            let pruning = prune(self.store(), self.pop(), horizon);
            self.pruning = Some(AbortOnDropHandle::new(tokio::spawn(pruning)));
        }
        Ok(())
    }

    /// Suppressions of prefixes and sources and entries of the safelist that are over count no more; that is recorded, and
    /// then what is stored of the entries goes.
    async fn record_lapsed(&mut self) {
        let now = self.parts.clock.now();
        let mut wide = self.state.wide_suppressions.values();
        let unprotects = self.state.safelist.values().any(|entry| entry.is_over(now));
        if unprotects || wide.any(|one| one.expires_at <= now) {
            let is_queued = |own: &Command| matches!(own, Command::Lapsed);
            if !self.own.iter().any(is_queued) {
                self.own.push_back(Command::Lapsed);
            }
            self.forgets_safelist |= unprotects;
        } else if std::mem::take(&mut self.forgets_safelist) {
            let store = self.store();
            let forgotten = Box::pin(async move { store.forget_safelist(now).await });
            if let Err(error) = self.meanwhile(forgotten).await {
                warn!(%error, "entries of the safelist that are over could not be removed; it is tried again");
                self.forgets_safelist = true;
            }
        }
    }

    /// Nobody may ask for anything while the daemon says that it is not ready, so the engine asks by itself.
    pub(super) async fn ask_whether_the_store_works(&mut self) -> Result<(), EngineError> {
        if !self.is_looking() || Instant::now() < self.next_look {
            return Ok(());
        }
        let asked = Instant::now();
        let (store, pop) = (self.store(), self.pop());
        let head = self
            .meanwhile(Box::pin(async move { store.journal_head(&pop).await }))
            .await;
        // Where it hangs, whoever waits for an answer has at least as much time as the question.
        self.next_look = Instant::now() + asked.elapsed().max(LOOK);
        match head {
            Ok(head) if head == self.head => {
                self.store_works(self.parts.clock.now());
                self.publish();
                Ok(())
            }
            Ok(head) => Err(EngineError::JournalTaken {
                found: head.seq,
                expected: self.head.seq,
            }),
            Err(_) => Ok(()),
        }
    }
}

/// Removes old history in small steps, beside the commits.
async fn prune(store: Arc<Store>, pop: Arc<str>, horizon: Timestamp) {
    loop {
        match store.prune(&pop, horizon, PRUNE_ROWS).await {
            Ok(pruned) if pruned.is_done() => return,
            Ok(_) => tokio::time::sleep(PRUNE_PAUSE).await,
            Err(error) => {
                warn!(%error, "old history could not be pruned; it is tried again");
                return;
            }
        }
    }
}

/// Forgets answers that had their time or are too many, in the same small steps.
async fn forget(store: Arc<Store>, pop: Arc<str>, since: Timestamp) {
    if let Err(error) = forget_kept(&store, &pop, since).await {
        warn!(%error, "old answers could not be forgotten; it is tried again");
    }
}

async fn forget_kept(store: &Store, pop: &str, since: Timestamp) -> Result<(), StoreError> {
    let mut what = store.forgettable(pop, since, KEPT_EACH).await?;
    while !what.is_done() {
        store.forget_kept(pop, &mut what, PRUNE_ROWS).await?;
        tokio::time::sleep(PRUNE_PAUSE).await;
    }
    Ok(())
}
