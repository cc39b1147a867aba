//! Reconciliation beside the engine's work: a step now and then, so that no event waits for the whole.

use super::SubmitError;
use super::run::Engine;
use crate::announce::{Drift, Sweep};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::warn;

/// Between two steps, of which each takes a millisecond or two.
const PAUSE: Duration = Duration::from_millis(5);

type DriftReply = oneshot::Sender<Result<Drift, SubmitError>>;

/// A comparison of the RIB with the committed mitigations that is under way.
pub(super) struct Reconciling {
    sweep: Sweep,
    pub(super) next_step: Instant,
    /// Who asked for it.
    replies: Vec<DriftReply>,
    /// Who asked while it was under way, and gets the next.
    again: Vec<DriftReply>,
}

impl Engine {
    /// Begins a reconciliation. Who asks while one is under way gets the one after it, which began after that.
    pub(super) fn reconcile(&mut self, asked_by: Option<DriftReply>) {
        match &mut self.reconciling {
            Some(under_way) => under_way.again.extend(asked_by),
            None => self.begin_reconciling(asked_by.into_iter().collect()),
        }
    }

    fn begin_reconciling(&mut self, replies: Vec<DriftReply>) {
        let now = Instant::now();
        self.next_reconcile = now + self.parts.settings.reconciliation_interval;
        self.reconciling = Some(Reconciling {
            sweep: Sweep::default(),
            next_step: now,
            replies,
            again: Vec::new(),
        });
    }

    /// The next step, when it is time for it.
    pub(super) fn go_on_reconciling(&mut self) {
        let Some(reconciling) = &mut self.reconciling else {
            return;
        };
        if reconciling.next_step > Instant::now() {
            return;
        }
        let is_done = self
            .parts
            .announcer
            .reconcile_step(&self.state, &mut reconciling.sweep);
        reconciling.next_step = Instant::now() + PAUSE;
        if is_done && let Some(done) = self.reconciling.take() {
            self.reconciled(done);
        }
    }

    fn reconciled(&mut self, done: Reconciling) {
        let found = done.sweep.found();
        self.parts.metrics.count_drift(&found);
        if found.missing + found.unexplained > 0 {
            warn!(
                missing = found.missing,
                unexplained = found.unexplained,
                "reconciliation repaired the RIB"
            );
        }
        for reply in done.replies {
            // The one who asked may have gone; the repair is made all the same.
            let _ = reply.send(Ok(found));
        }
        if !done.again.is_empty() {
            self.begin_reconciling(done.again);
        }
    }
}
