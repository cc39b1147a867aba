//! What the handle may order, and the orderly end.

use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tracing::info;

use super::{CLOSE_GRACE, Peer, sleep_until_some};
use crate::speaker::Stop;
use crate::status::{LOG, SessionPhase};
use crate::wire::{Notification, shutdown_text};

pub(super) const CEASE_SHUTDOWN: u8 = 2;
const CEASE_DECONFIGURED: u8 = 3;
const CEASE_CONFIGURATION_CHANGE: u8 = 6;

/// What the handle wants of the task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Order {
    /// Wait; the desired rules are not complete yet.
    Wait,
    /// Make sessions.
    Run,
    /// End, for good.
    Stop(StopReason),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StopReason {
    Speaker(Stop),
    /// The neighbour left the configuration.
    Removed,
    /// The session has to start again with other settings.
    Changed {
        /// The next session takes over what this one has told the router.
        continues: bool,
    },
    /// The speaker was dropped.
    Dropped,
}

/// Waits until the task is ordered to stop.
pub(super) async fn stop_order(orders: &mut watch::Receiver<Order>) -> StopReason {
    match orders
        .wait_for(|order| matches!(order, Order::Stop(_)))
        .await
        .map(|order| order.clone())
    {
        Ok(Order::Stop(reason)) => reason,
        Ok(_) | Err(_) => StopReason::Dropped,
    }
}

/// A Cease with the text of an operator (RFC 9003, cut to 128 bytes).
pub(super) fn with_text(subcode: u8, text: &str) -> Notification {
    Notification {
        data: shutdown_text(text),
        ..Notification::cease(subcode)
    }
}

impl Peer {
    /// Ends the session as asked. The caller bounds the time; being aborted halfway equals a lost connection.
    pub(super) async fn stop(mut self, reason: StopReason) {
        let kept = self.retention().agreed();
        let farewell = match reason {
            StopReason::Dropped => None,
            // Without a NOTIFICATION, and with nothing on the way that is over already: the router keeps the rest.
            StopReason::Speaker(Stop::Restart { .. }) | StopReason::Changed { continues: true }
                if kept.is_some() =>
            {
                // Bounded: what is not said now is said by the next session before its End-of-RIB.
                let _ = timeout(CLOSE_GRACE, self.settle()).await;
                None
            }
            StopReason::Speaker(Stop::Withdraw { text } | Stop::Restart { text }) => {
                self.withdraw_all().await;
                Some(with_text(CEASE_SHUTDOWN, &text))
            }
            StopReason::Removed => {
                self.withdraw_all().await;
                Some(Notification::cease(CEASE_DECONFIGURED))
            }
            StopReason::Changed { .. } => Some(Notification::cease(CEASE_CONFIGURATION_CHANGE)),
        };
        let silent = farewell.is_none();
        if silent {
            self.shared.left_in_silence(Instant::now());
        }
        match farewell {
            Some(notification) => {
                let effects = self.machine.stop(Some(&notification));
                self.end_by_order(effects, &notification);
                while self.closing.join_next().await.is_some() {}
            }
            None => {
                self.machine.stop(None);
                self.connections.clear();
            }
        }
        self.down(None);
        self.shared.observed().phase = SessionPhase::Idle;
        // Also what a session that was lost before has left there.
        match self.shared.may_hold() {
            Some(held) => {
                let seconds = held.until.saturating_duration_since(Instant::now()).as_secs();
                info!(target: LOG, neighbor = %self.name, "stopped; the router agreed to keep our rules, and may do so for {seconds} s");
            }
            None => info!(target: LOG, neighbor = %self.name, "stopped"),
        }
    }

    /// Takes every rule from the router, explicitly, and waits until that is written or the session is lost.
    async fn withdraw_all(&mut self) {
        self.shared.rib().withdraw_all();
        self.shared.changed.send_replace(());
        self.settle().await;
    }

    /// Waits until nothing is left to be written, or the session is lost.
    async fn settle(&mut self) {
        while self.established.is_some() && !self.shared.rib().is_settled() {
            let effects = tokio::select! {
                biased;
                () = self.shared.written.notified() => Vec::new(),
                Some((id, report)) = self.reports_rx.recv() => self.report(id, report),
                () = sleep_until_some(self.machine.deadline()) => self.tick(),
            };
            for effect in effects {
                self.carry_out(effect);
            }
        }
    }
}
