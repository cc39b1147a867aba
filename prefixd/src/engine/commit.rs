//! Batches on their way into the store.
//!
//! One commit is under way at a time. Meanwhile the next batch is decided on the state that this commit leads to;
//! it goes to the store the moment this one is there, and nothing of it is announced or answered before it is
//! durable itself. A commit that fails takes what was decided on top of it along.
//!
//! ```text
//!   store      | commit N            | commit N+1          |
//!   engine     decide N+1            adopt N, decide N+2   adopt N+1
//! ```

use super::batch::{Answers, Batch, Sealed, Work, releases};
use super::run::{Engine, EngineError, LOOK_AGAIN, RETRY, TICK};
use super::stops::{is_owed, next_urgent};
use super::{Request, SubmitError};
use crate::policy::{Command, Effect, State, Trip, is_changed, next_deadline};
use crate::store::{CommitError, Kept};
use futures_util::future::{BoxFuture, FutureExt, MaybeDone, maybe_done};
use prefixd_api::ids::MitigationId;
use prefixd_api::mitigation::{Mitigation, Scope};
use prefixd_api::time::Timestamp;
use std::collections::HashSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tracing::{error, info, warn};

/// Commands whose rows a server's socket takes at once. More of them go on their way beside the engine: they would have to
/// wait for it to be done with the next batch.
const AT_ONCE: usize = 32;

/// A batch that the store is writing.
pub(super) struct Committing {
    sealed: Sealed,
    started: Instant,
    work: MaybeDone<BoxFuture<'static, Result<(), CommitError>>>,
}

/// The outcome of the commit that is under way; for ever pending without one.
pub(super) async fn outcome(commit: &mut Option<Committing>) -> Result<(), CommitError> {
    let Some(commit) = commit else {
        return std::future::pending().await;
    };
    (&mut commit.work).await;
    Pin::new(&mut commit.work)
        .take_output()
        .unwrap_or_else(|| Err(CommitError::Unknown("its outcome was lost".to_owned())))
}

/// Goes on with the commit that is under way; for ever pending without one, or once it has ended.
async fn go_on(commit: &mut Option<Committing>) {
    match commit {
        Some(commit) if matches!(commit.work, MaybeDone::Future(_)) => (&mut commit.work).await,
        _ => std::future::pending().await,
    }
}

impl Engine {
    /// The state that everything decided so far leads to, once it is durable.
    pub(super) fn tip(&self) -> &State {
        match (&self.draft, &self.commit) {
            (Some(draft), _) => draft.state(),
            (None, Some(commit)) => &commit.sealed.working,
            (None, None) => &self.state,
        }
    }

    /// Whether parked rules are being released by an order that is decided and not carried out yet.
    pub(super) fn is_releasing(&self) -> bool {
        let committing = self.commit.as_ref();
        committing.is_some_and(|commit| releases(&commit.sealed.content.effects))
            || self.draft.as_ref().is_some_and(Batch::releases)
    }

    /// An empty batch on top of what is committed or being committed.
    pub(super) fn next_batch(&mut self) -> Batch {
        let (now, pop) = (self.parts.clock.now(), self.pop());
        let (state, head) = match &mut self.commit {
            Some(commit) => (&mut commit.sealed.working, commit.sealed.head),
            None => (&mut self.state, self.head),
        };
        // Here, not on the copy: one that comes to nothing is dropped, and all is forgotten again by the next.
        state.advance(now);
        Batch::new(state, pop, head, now)
    }

    /// Answers that are decided and not durable yet.
    pub(super) fn undecided_answers(&self) -> impl Iterator<Item = &Answers> {
        let committing = self.commit.as_ref().map(|commit| &commit.sealed.answers);
        self.draft
            .as_ref()
            .map(Batch::answers)
            .into_iter()
            .chain(committing)
    }

    /// What is kept for requests with a key, decided and not durable yet.
    pub(super) fn undecided_kept(&self) -> impl Iterator<Item = &Kept> {
        let committing = self.commit.iter().flat_map(|commit| &commit.sealed.content.kept);
        let drafted = self.draft.iter().flat_map(Batch::kept);
        drafted.chain(committing)
    }

    /// Gives the next batch to the store, unless it is still busy with one.
    pub(super) fn commit_draft(&mut self) {
        if self.commit.is_some() {
            return;
        }
        if let Some(batch) = self.draft.take() {
            self.commit_sealed(batch.seal());
        }
    }

    fn commit_sealed(&mut self, sealed: Sealed) {
        if sealed.content.entries.is_empty() {
            for scope in sealed.looked_at() {
                self.rearm(scope, sealed.at);
            }
            // Of a panic that was never recorded, too.
            self.carried_out(&sealed.said());
            self.parts.metrics.count_refusals(&sealed.refused);
            for item in sealed.items {
                item.answer(self.head.seq);
            }
            return;
        }
        let (store, content) = (self.store(), Arc::clone(&sealed.content));
        let commit = async move { store.commit(content).await };
        let commit = if sealed.items.len() > AT_ONCE {
            let task = AbortOnDropHandle::new(tokio::spawn(commit));
            task.map(|ended| ended.unwrap_or_else(|error| Err(CommitError::Unknown(error.to_string()))))
                .boxed()
        } else {
            commit.boxed()
        };
        let mut work = maybe_done(commit);
        // The first step gives the rows of a small one to the store, before anything else is done here.
        let _ = (&mut work).now_or_never();
        self.commit = Some(Committing {
            sealed,
            started: Instant::now(),
            work,
        });
    }

    /// The commit under way has ended. When it succeeded, the next one begins before anybody is told.
    pub(super) async fn committed(&mut self, result: Result<(), CommitError>) -> Result<(), EngineError> {
        let Some(Committing { sealed, started, .. }) = self.commit.take() else {
            return Ok(());
        };
        self.parts
            .metrics
            .commit_seconds
            .observe(started.elapsed().as_secs_f64());
        #[expect(clippy::cast_precision_loss, reason = "a batch is small")]
        self.parts
            .metrics
            .batch_commands
            .observe(sealed.items.len() as f64);
        match result {
            Ok(()) => {
                // Only what has something to write: an answer alone must not overtake the state it speaks of.
                if self.draft.as_ref().is_some_and(Batch::writes) {
                    self.commit_draft();
                }
                self.adopt(sealed);
                Ok(())
            }
            Err(CommitError::Overtaken(error)) => Err(EngineError::Overtaken(error)),
            Err(CommitError::Constraint(error)) => {
                self.refused(sealed, &error);
                Ok(())
            }
            Err(CommitError::Failed(error)) => {
                self.store_failed(&error);
                self.put_off(sealed, &SubmitError::Store);
                Ok(())
            }
            Err(CommitError::Unknown(error)) => {
                self.store_failed(&error);
                self.resolve(sealed).await
            }
        }
    }

    /// Waits until everything decided is durable or refused.
    pub(super) async fn settle(&mut self) -> Result<(), EngineError> {
        loop {
            self.commit_draft();
            if self.commit.is_none() {
                return Ok(());
            }
            let result = loop {
                let wake = self.next_removal();
                tokio::select! {
                    result = outcome(&mut self.commit) => break result,
                    request = next_urgent(&mut self.urgent) => self.at_once(request),
                    () = tokio::time::sleep_until(wake) => self.keep_alive(),
                }
            };
            self.committed(result).await?;
        }
    }

    /// Waits for the store, and keeps deadlines and the watchdog meanwhile. A commit that is under way goes on: it
    /// may hold the connection that the question waits for.
    pub(super) async fn meanwhile<T>(&mut self, question: impl Future<Output = T>) -> T {
        tokio::pin!(question);
        loop {
            let wake = self.next_removal();
            tokio::select! {
                answer = &mut question => return answer,
                () = go_on(&mut self.commit) => {}
                request = next_urgent(&mut self.urgent) => self.at_once(request),
                () = tokio::time::sleep_until(wake) => self.keep_alive(),
            }
        }
    }

    fn keep_alive(&mut self) {
        (self.parts.alive)();
        self.watch_sessions();
        self.keep_deadlines();
    }

    /// A row was refused. Alone, its command is the culprit; otherwise all are decided again and committed one at
    /// a time. What was decided on top of them is decided again as well.
    fn refused(&mut self, sealed: Sealed, error: &str) {
        let later: Vec<_> = self
            .draft
            .take()
            .into_iter()
            .flat_map(Batch::into_works)
            .collect();
        self.decide_again(later);
        if sealed.items.len() <= 1 {
            error!(%error, "the store refuses what was decided for this command; nothing was done");
            self.parts.metrics.store_errors.inc();
            self.put_off(sealed, &SubmitError::Defect);
        } else {
            warn!(%error, commands = sealed.items.len(), "a batch was refused by the store; deciding one by one");
            self.singly = sealed.items.len();
            self.decide_again(sealed.items.into_iter().map(|item| item.work).collect());
        }
    }

    /// Commands whose decision was dropped, before everything that came after them.
    fn decide_again(&mut self, works: Vec<Work>) {
        for work in works.into_iter().rev() {
            match work.reply {
                Some(reply) => self.waiting.push_front(Request::Command {
                    command: work.command,
                    reply,
                }),
                None => self.own.push_front(work.command),
            }
        }
    }

    /// The commit may or may not have happened: the journal's head in the store tells. Until it does, nothing is
    /// decided; callers are told to retry, deadlines are kept.
    async fn resolve(&mut self, mut sealed: Sealed) -> Result<(), EngineError> {
        let mut was_told = false;
        loop {
            let (store, pop) = (self.store(), self.pop());
            match self
                .meanwhile(Box::pin(async move { store.journal_head(&pop).await }))
                .await
            {
                Ok(head) if head == sealed.head => {
                    self.adopt(sealed);
                    return Ok(());
                }
                Ok(head) if head == self.head => {
                    self.put_off(sealed, &SubmitError::Store);
                    return Ok(());
                }
                Ok(head) => {
                    return Err(EngineError::JournalTaken {
                        found: head.seq,
                        expected: self.head.seq,
                    });
                }
                Err(error) => {
                    if !std::mem::replace(&mut was_told, true) {
                        warn!(%error, "the store does not say whether it took a batch; it is asked until it does");
                    }
                    sealed.fail_callers(&SubmitError::Unknown);
                    if let Some(reply) = self.reloading.take() {
                        let _ = reply.send(Err(SubmitError::Store));
                    }
                    self.refuse_waiting();
                    self.publish();
                    self.meanwhile(tokio::time::sleep(RETRY)).await;
                }
            }
        }
    }

    /// Everybody who waits is told to retry; what the engine asked of itself waits for the store.
    pub(super) fn refuse_waiting(&mut self) {
        let drafted: Vec<_> = self
            .draft
            .take()
            .into_iter()
            .flat_map(Batch::into_works)
            .collect();
        for work in drafted {
            self.refuse(work);
        }
        self.take_removals();
        while let Ok(request) = self.requests.try_recv() {
            self.waiting.push_back(request);
        }
        for request in self.waiting.drain(..) {
            match request {
                Request::Command { command, reply } => {
                    reply.fail(SubmitError::Store);
                    if is_owed(&command) {
                        self.own.push_front(command);
                    }
                }
                Request::Reload { reply, .. } => drop(reply.send(Err(SubmitError::Store))),
                Request::Reconcile { reply } => drop(reply.send(Err(SubmitError::Store))),
            }
        }
    }

    fn refuse(&mut self, work: Work) {
        match work.reply {
            Some(reply) => {
                reply.fail(SubmitError::Store);
                if is_owed(&work.command) {
                    self.own.push_front(work.command);
                }
            }
            None => self.own.push_back(work.command),
        }
    }

    pub(super) fn next_removal(&self) -> Instant {
        let bound = Instant::now() + TICK;
        self.deadlines
            .next()
            .map_or(bound, |at| self.parts.clock.instant_of(at).min(bound))
    }

    /// Removing never needs what adding needs: what is over leaves the RIB now, its record follows. What a batch
    /// on its way prolongs stays; the speaker ends it by itself should that batch not become durable.
    pub(super) fn keep_deadlines(&mut self) {
        let now = self.parts.clock.now();
        for scope in self.deadlines.take_due(now, usize::MAX) {
            let end = self.tip().mitigation_of(&scope).map(|live| over_at(live));
            match end {
                Some(end) if end > now => self.deadlines.set(scope.clone(), Some(end)),
                _ => self.take_off(&scope, now),
            }
            self.own.push_back(Command::Due(scope));
        }
    }

    /// Takes what is over from the RIB before its end is recorded.
    fn take_off(&mut self, scope: &Scope, now: Timestamp) {
        if let Some(mitigation) = self.state.mitigation_of(scope)
            && over_at(mitigation) <= now
        {
            let over = mitigation.mitigation_id;
            self.parts.announcer.remove(&self.state, over);
            self.owed.insert(over);
            self.watch_what_came_out();
        }
    }

    pub(super) fn store_failed(&mut self, error: &dyn std::fmt::Display) {
        self.parts.metrics.store_errors.inc();
        if self.store_failing_since.is_none() {
            self.store_failing_since = Some(self.parts.clock.now());
            error!(%error, "the store does not take changes: callers are told to retry, rules still end on time");
        }
    }

    pub(super) fn store_works(&mut self, now: Timestamp) {
        if let Some(since) = self.store_failing_since.take() {
            info!(
                for_seconds = now.since(since).as_secs(),
                "the store takes changes again"
            );
        }
    }

    /// A batch that did not happen: callers are told, what the engine asked of itself is tried again later. When
    /// the store is away, that is so for everything that waits behind it as well.
    fn put_off(&mut self, sealed: Sealed, why: &SubmitError) {
        let is_away = matches!(why, SubmitError::Store);
        for item in sealed.items {
            let is_own = item.work.reply.is_none();
            match &item.work.command {
                Command::Due(_) | Command::Judge(_) | Command::Remember { .. } if is_own && is_away => {
                    self.own.push_back(item.work.command.clone());
                }
                command if is_owed(command) && is_away => {
                    self.own.push_back(command.clone());
                    item.fail(why.clone());
                }
                _ => {
                    self.look_again(item.work.own_scope());
                    item.fail(why.clone());
                }
            }
        }
        if is_away {
            self.refuse_waiting();
            self.retry_at = Some(Instant::now() + RETRY);
        }
        let now = self.parts.clock.now();
        let due: Vec<Scope> = self
            .own
            .iter()
            .filter_map(|command| match command {
                Command::Due(scope) => Some(scope.clone()),
                _ => None,
            })
            .collect();
        for scope in due {
            self.take_off(&scope, now);
        }
        self.publish();
    }

    fn adopt(&mut self, mut batch: Sealed) {
        self.store_works(batch.at);
        self.kept += batch.content.kept.len() as u64;
        let changed: HashSet<Scope> = batch.changed().collect();
        let looked_at: Vec<Scope> = batch.looked_at().collect();
        self.state = batch.working.clone();
        self.head = batch.head;
        let late = self.watch_announcements(&batch.content.effects);
        self.parts
            .announcer
            .project(&self.state, mitigations(&batch.content.effects));
        self.watch_what_came_out();
        for effect in &batch.content.effects {
            self.parts.metrics.count(effect);
            if let Effect::Peer(change) = effect {
                self.parts.announcer.obey(change);
            }
            if let Effect::Mitigation { after, .. } = effect {
                self.owed.remove(&after.mitigation_id);
            }
        }
        self.carried_out(&batch.said());
        self.parts.metrics.count_refusals(&batch.refused);
        for trip in late {
            self.trip(trip);
        }
        self.publish();
        // Callers are told as soon as what they may ask next shows it; the rest nobody waits for.
        for item in std::mem::take(&mut batch.items) {
            item.answer(batch.head.seq);
        }
        for scope in changed {
            let at = next_deadline(&self.state, &self.parts.policy, &scope);
            self.deadlines.set(scope, at);
        }
        for scope in looked_at {
            self.rearm(scope, batch.at);
        }
        for entry in Arc::unwrap_or_clone(batch.content).entries {
            // Nobody may be listening.
            let _ = self.feed.send(Arc::new(entry));
        }
        for (key, answer) in batch.answers {
            self.known.insert(key, answer);
        }
    }

    /// The breaker knows what goes to the routers before it goes. What was decided before it tripped must not: it is
    /// answered, and held back.
    fn watch_announcements(&mut self, effects: &[Effect]) -> Vec<Trip> {
        let (now, bounds) = (self.parts.clock.now(), self.parts.policy.breaker());
        let mut late = Vec::new();
        for effect in effects {
            match effect {
                // Said while this was on its way: it is held back, and judged by what was said.
                Effect::Mitigation { after, .. } if after.status.is_live() && self.stops_late(after) => {
                    self.parts.announcer.hold_back(after.mitigation_id);
                }
                Effect::Mitigation { before, after, .. } if is_news(before.as_deref(), after) => {
                    if let Some(trip) = self.breaker.announces(after.mitigation_id, now, bounds) {
                        self.parts.announcer.hold_back(after.mitigation_id);
                        late.push(trip);
                    }
                }
                Effect::Breaker(change) if change.after.is_some() => self.breaker.is_recorded(),
                _ => {}
            }
        }
        late
    }

    /// What was kept back for a stricter rule and is sent now that this one is gone is as new to the routers as what was
    /// just decided.
    pub(super) fn watch_what_came_out(&mut self) {
        let came_out = self.parts.announcer.take_came_out();
        let (now, bounds) = (self.parts.clock.now(), self.parts.policy.breaker());
        for mitigation in came_out {
            if let Some(trip) = self.breaker.announces(mitigation, now, bounds) {
                self.parts.announcer.hold_back(mitigation);
                self.trip(trip);
            }
        }
    }

    /// A scope that was looked at and did not change has its deadline still before it. One that has passed all the
    /// same would be looked at for ever: it waits.
    fn rearm(&mut self, scope: Scope, looked_at: Timestamp) {
        if let Some(at) = next_deadline(&self.state, &self.parts.policy, &scope) {
            let at = if at <= looked_at {
                looked_at.saturating_add(LOOK_AGAIN)
            } else {
                at
            };
            self.deadlines.at_latest(scope, at);
        }
    }
}

/// Whether routers are to be told something new.
pub(super) fn is_news(before: Option<&Mitigation>, after: &Mitigation) -> bool {
    let announced = |mitigation: &&Mitigation| mitigation.enforced && mitigation.status.is_announced();
    announced(&after)
        && before
            .filter(announced)
            .is_none_or(|before| is_changed(before, after))
}

/// When nothing holds a mitigation any more, if nothing is decided until then.
fn over_at(mitigation: &Mitigation) -> Timestamp {
    mitigation
        .ends_at
        .map_or(mitigation.expires_at, |at| at.min(mitigation.expires_at))
}

/// The mitigations that a batch changed, each once.
fn mitigations(effects: &[Effect]) -> impl Iterator<Item = MitigationId> {
    let mut seen = HashSet::new();
    effects.iter().filter_map(move |effect| match effect {
        Effect::Mitigation { after, .. } => seen.insert(after.mitigation_id).then_some(after.mitigation_id),
        _ => None,
    })
}
