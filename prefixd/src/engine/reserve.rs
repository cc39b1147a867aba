//! The quota over all POPs: this one reserves its part of it before it needs it (docs/adr/0014).

use super::Request;
use super::run::Engine;
use crate::policy::{Command, Reserved};
use prefixd_api::mitigation::MitigationStatus;
use std::time::Duration;
use tokio::time::Instant;
use tracing::warn;

/// How long it is not asked again after there was no more to be had.
const ASK_AGAIN: Duration = Duration::from_millis(200);

impl Engine {
    /// At the start: what is live counts whatever the others have.
    pub(super) async fn reserve_what_lives(&mut self) {
        if self.parts.store.is_shared() {
            self.reserve(self.live()).await;
        }
    }

    /// Before what waits is decided: as much as may begin by it, where that is more than there is.
    pub(super) async fn reserve_ahead(&mut self) {
        let Some(reserved) = self.reserved else { return };
        let (live, waits) = (self.live(), self.waiting.len() + self.own.len());
        if live + waits as u64 <= reserved.own {
            return;
        }
        let needed = live + self.beginnings();
        let max = self.parts.policy.quotas().global;
        let was_in_vain = self.reserve_at.is_some_and(|at| at > Instant::now());
        if needed <= reserved.own || reserved.own >= max || was_in_vain {
            return;
        }
        let had = reserved.own;
        self.reserve(needed).await;
        if self.reserved.is_some_and(|reserved| reserved.own <= had) {
            self.reserve_at = Some(Instant::now() + ASK_AGAIN);
        }
    }

    /// What others may need: what this one would not get ahead now.
    pub(super) async fn give_back(&mut self) {
        let Some(reserved) = self.reserved else { return };
        let live = self.live();
        let max = self.parts.policy.quotas().global;
        let due = Reserved::of(live, live, self.parts.store.reserved_elsewhere(), max).own;
        // Not for a little more or less: each time costs a commit.
        if reserved.own > live && reserved.own - live > 2 * (due - live) {
            self.reserve(live).await;
        }
    }

    /// Nothing is decided until the store has said what is this POP's now.
    async fn reserve(&mut self, needed: u64) {
        let (store, pop, live) = (self.store(), self.pop(), self.live());
        let max = self.parts.policy.quotas().global;
        let reserved = self
            .meanwhile(Box::pin(
                async move { store.reserve(&pop, live, needed, max).await },
            ))
            .await;
        match reserved {
            Ok(reserved) => self.reserved = reserved,
            Err(error) => {
                warn!(%error, "the quota over all POPs could not be asked for: nothing begins until it can");
                // It may have been done or not. What was reserved stands when more was asked for; of what was to be
                // given back what is live stays.
                let before = self.reserved;
                self.reserved = Some(Reserved {
                    own: before.map_or(live, |before| before.own.min(needed).max(live)),
                    elsewhere: before.map_or(0, |before| before.elsewhere),
                });
            }
        }
    }

    /// How many count, when everything decided is durable.
    fn live(&self) -> u64 {
        self.tip().counts.enforced.pop
    }

    /// How many may begin by what waits.
    fn beginnings(&self) -> u64 {
        let by_itself = self.own.len().min(self.tip().unconfirmed.len());
        let asked = self.waiting.iter().filter(|request| match request {
            Request::Command { command, .. } => self.may_begin(command),
            Request::Reload { .. } | Request::Reconcile { .. } => false,
        });
        (by_itself + asked.count()) as u64
    }

    fn may_begin(&self, command: &Command) -> bool {
        match command {
            // What is pending counts when it is announced, a trial when it becomes more than one.
            Command::Event(command) => self
                .tip()
                .mitigation_of(&command.scope())
                .is_none_or(|live| live.status == MitigationStatus::Pending || !live.enforced),
            Command::Create(_) | Command::Undo(_) => true,
            _ => false,
        }
    }
}
