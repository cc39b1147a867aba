//! What the handle, the task and the writer of one neighbour share.
//!
//! The locks are held for the time of a map operation or of encoding one batch, never across an await.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Duration, Instant};

use crate::config::NeighborConfig;
use crate::flowspec::Family;
use crate::rib::Rib;
use crate::status::{FlapCause, Loss, MessageCounts, PeerStatus, SessionError, SessionPhase, SessionStatus};
use crate::wire::AttributeSet;

/// Causes of flaps that are told apart; a router cannot make the figures grow without bound.
const FLAP_CAUSES: usize = 32;
/// Accepted connections waiting for the neighbour's task; one more is closed at once.
const ACCEPT_QUEUE: usize = 4;

/// A connection the listener has matched to the neighbour by its address.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) stream: TcpStream,
    pub(crate) remote: SocketAddr,
}

pub(crate) struct NeighborShared {
    config: Mutex<NeighborConfig>,
    pub(crate) attributes: Arc<AttributeSet>,
    rib: Mutex<Rib>,
    observed: Mutex<Observed>,
    /// Level-triggered: the writer looks at the RIB again.
    pub(crate) changed: watch::Sender<()>,
    /// A rule ends earlier than the task expects.
    pub(crate) deadline_moved: Notify,
    /// A batch was confirmed.
    pub(crate) written: Notify,
    pub(crate) accepted: mpsc::Sender<Accepted>,
    /// Held by the task; outlives it when it has to be started again.
    pub(crate) accepted_rx: tokio::sync::Mutex<mpsc::Receiver<Accepted>>,
}

/// What the task has seen, kept for [`PeerStatus`].
#[derive(Debug, Default)]
pub(crate) struct Observed {
    pub(crate) phase: SessionPhase,
    pub(crate) session: Option<SessionStatus>,
    pub(crate) established_total: u64,
    pub(crate) flaps: BTreeMap<FlapCause, u64>,
    pub(crate) last_error: Option<SessionError>,
    pub(crate) retry_at: Option<Instant>,
    pub(crate) received: MessageCounts,
    pub(crate) sent: MessageCounts,
    pub(crate) inbound_routes: usize,
    pub(crate) writer_blocked: Duration,
    pub(crate) task_restarts: u64,
}

impl Observed {
    /// Counts the loss of an established session.
    pub(crate) fn count_flap(&mut self, loss: &Loss) {
        let cause = FlapCause::from(loss);
        let known = self.flaps.contains_key(&cause) || self.flaps.len() < FLAP_CAUSES;
        *self
            .flaps
            .entry(if known { cause } else { FlapCause::Other })
            .or_default() += 1;
    }
}

impl NeighborShared {
    pub(crate) fn new(config: NeighborConfig, attributes: Arc<AttributeSet>) -> Self {
        let (accepted, accepted_rx) = mpsc::channel(ACCEPT_QUEUE);
        Self {
            rib: Mutex::new(Rib::new(&config)),
            config: Mutex::new(config),
            attributes,
            observed: Mutex::default(),
            changed: watch::Sender::new(()),
            deadline_moved: Notify::new(),
            written: Notify::new(),
            accepted,
            accepted_rx: tokio::sync::Mutex::new(accepted_rx),
        }
    }

    pub(crate) fn rib(&self) -> MutexGuard<'_, Rib> {
        lock(&self.rib)
    }

    pub(crate) fn observed(&self) -> MutexGuard<'_, Observed> {
        lock(&self.observed)
    }

    pub(crate) fn config(&self) -> NeighborConfig {
        lock(&self.config).clone()
    }

    pub(crate) fn address(&self) -> std::net::IpAddr {
        lock(&self.config).address
    }

    pub(crate) fn set_config(&self, config: NeighborConfig) {
        *lock(&self.config) = config;
    }

    pub(crate) fn record(&self, loss: Loss, now: Instant) {
        self.observed().last_error = Some(SessionError { at: now, loss });
    }

    pub(crate) fn status(&self) -> PeerStatus {
        let config = self.config();
        let (rules, rules_by_family, totals, latency) = {
            let rib = self.rib();
            let by_family = Family::ALL.map(|family| (family, rib.counts_of(family)));
            (
                rib.counts(),
                by_family.into(),
                rib.totals(),
                rib.latency().clone(),
            )
        };
        let observed = self.observed();
        PeerStatus {
            name: config.name,
            address: config.address,
            peer_asn: config.peer_asn,
            phase: observed.phase,
            session: observed.session.clone(),
            established_total: observed.established_total,
            flaps: observed.flaps.values().sum(),
            flaps_by_cause: observed.flaps.clone(),
            last_error: observed.last_error.clone(),
            retry_at: observed.retry_at,
            received: observed.received,
            sent: observed.sent,
            inbound_routes: observed.inbound_routes,
            writer_blocked: observed.writer_blocked,
            task_restarts: observed.task_restarts,
            rules,
            rules_by_family,
            totals,
            latency,
        }
    }
}

/// A panic while a lock was held leaves plain data behind; going on with it beats dropping every session.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Notification;

    #[test]
    fn a_router_cannot_make_the_causes_of_flaps_grow() {
        let mut observed = Observed::default();
        for subcode in 0..100 {
            let end = crate::session::End::sent(Notification::new(6, subcode), None);
            observed.count_flap(&end.loss);
        }
        assert_eq!(observed.flaps.len(), FLAP_CAUSES + 1);
        assert_eq!(observed.flaps[&FlapCause::Other], 68);
    }
}
