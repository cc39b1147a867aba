//! What the handle may order, and the orderly end.

use tokio::sync::watch;
use tracing::info;

use super::{Peer, sleep_until_some};
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
    Changed,
}

/// Waits until the task is ordered to stop.
pub(super) async fn stop_order(orders: &mut watch::Receiver<Order>) -> StopReason {
    // A handle that is gone without an order means a restart: close, leave the rules to the router.
    match orders
        .wait_for(|order| matches!(order, Order::Stop(_)))
        .await
        .map(|order| order.clone())
    {
        Ok(Order::Stop(reason)) => reason,
        Ok(_) | Err(_) => StopReason::Speaker(Stop::Restart),
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
        let notification = match &reason {
            StopReason::Speaker(Stop::Restart) => None,
            StopReason::Speaker(Stop::Withdraw { text }) => Some(with_text(CEASE_SHUTDOWN, text)),
            StopReason::Removed => Some(Notification::cease(CEASE_DECONFIGURED)),
            StopReason::Changed => Some(Notification::cease(CEASE_CONFIGURATION_CHANGE)),
        };
        if matches!(
            reason,
            StopReason::Speaker(Stop::Withdraw { .. }) | StopReason::Removed
        ) {
            self.withdraw_all().await;
        }
        match notification {
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
        info!(target: LOG, neighbor = %self.name, "stopped");
    }

    /// Takes every rule from the router, explicitly, and waits until that is written or the session is lost.
    async fn withdraw_all(&mut self) {
        self.shared.rib().withdraw_all();
        self.shared.changed.send_replace(());
        while self.established.is_some() && !self.shared.rib().is_settled() {
            let effects = tokio::select! {
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
