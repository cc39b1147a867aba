//! Carrying out what an operator wants: disabled, enabled, reset.
//!
//! The wish is state in `shared.control`; here is how far it was carried out. Disabling takes the rules from the router
//! first, as long as that takes little time, and closes the session then. The loop of the task goes on meanwhile.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{Duration, Instant};
use tracing::info;

use super::Peer;
use super::orders::{CEASE_SHUTDOWN, with_text};
use crate::neighbor::Effect;
use crate::session::{communication, info as info_of};
use crate::shared::{Control, NeighborShared};
use crate::status::{Admin, LOG};
use crate::wire::Notification;

/// How long the withdrawals of a neighbour that is disabled may take; after that the closed session takes the rules.
const WITHDRAW_LIMIT: Duration = Duration::from_secs(5);
const CEASE_RESET: u8 = 4;

pub(super) struct Administration {
    control: watch::Receiver<Control>,
    resets: u64,
    state: State,
}

enum State {
    Running,
    /// The rules are being withdrawn.
    Pausing {
        until: Instant,
        text: Arc<str>,
    },
    Paused,
}

impl Administration {
    /// A reset that was asked for before there was a task has nothing to reset.
    pub(super) fn new(shared: &NeighborShared) -> Self {
        let control = shared.control.subscribe();
        let resets = control.borrow().resets;
        Self {
            control,
            resets,
            state: State::Running,
        }
    }

    /// Waits for another wish.
    pub(super) async fn changed(&mut self) {
        // The sender is in `shared`, which the task itself holds.
        if self.control.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    pub(super) fn is_pausing(&self) -> bool {
        matches!(self.state, State::Pausing { .. })
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Pausing { until, .. } => Some(until),
            State::Running | State::Paused => None,
        }
    }
}

impl Peer {
    /// Takes the next step towards what the operator wants.
    pub(super) fn administer(&mut self) {
        let wish = self.administration.control.borrow_and_update().clone();
        let now = Instant::now();
        match (&wish.admin, &self.administration.state) {
            (Admin::Disabled { text, .. }, State::Running) => {
                self.administration.state = State::Pausing {
                    until: now + WITHDRAW_LIMIT,
                    text: text.clone(),
                };
            }
            (Admin::Enabled, State::Pausing { .. }) => self.administration.state = State::Running,
            (Admin::Enabled, State::Paused) => {
                self.administration.state = State::Running;
                self.machine.resume(now);
            }
            _ => {}
        }
        if std::mem::replace(&mut self.administration.resets, wish.resets) != wish.resets
            && matches!(self.administration.state, State::Running)
        {
            info!(target: LOG, neighbor = %self.name, "the session is reset by order");
            let notification = with_text(CEASE_RESET, &wish.reset_text);
            let effects = self.machine.restart(&notification, now);
            self.end_by_order(effects, &notification);
        }
        if let State::Pausing { until, text } = &self.administration.state {
            let settled = self.established.is_none() || self.shared.rib().is_settled();
            if settled || *until <= now {
                let notification = with_text(CEASE_SHUTDOWN, text);
                self.administration.state = State::Paused;
                let effects = self.machine.pause(Some(&notification));
                self.end_by_order(effects, &notification);
                info!(target: LOG, neighbor = %self.name, withdrawn = settled, "disabled by order");
            }
        }
    }

    /// Carries out what ends the connections, and says that the session is over.
    pub(super) fn end_by_order(&mut self, effects: Vec<Effect>, notification: &Notification) {
        if self.established.is_some() {
            let info = info_of(notification, communication(notification));
            self.shared.observed().sent_last(info, Instant::now());
        }
        for effect in effects {
            self.carry_out(effect);
        }
        self.down(None);
    }
}
