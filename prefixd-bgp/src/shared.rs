//! What the handle, the task and the writer of one neighbour share.
//!
//! The locks are held for the time of a map operation or of encoding one batch, never across an await.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Duration, Instant};

use crate::canary::Seat;
use crate::config::NeighborConfig;
use crate::flowspec::Family;
use crate::history::{History, Occurrence};
use crate::mrt::Tap;
use crate::restart::{MayHold, Retention};
use crate::rib::{Rib, RibCounts};
use crate::status::{
    Admin, Cause, Loss, MessageCounts, NotificationInfo, NotificationSeen, PeerStatus, SessionError,
    SessionPhase, SessionStatus,
};
use crate::transport::Stream;
use crate::wire::AttributeSet;

/// Accepted connections waiting for the neighbour's task; one more is closed at once.
const ACCEPT_QUEUE: usize = 4;

/// A connection the listener has matched to the neighbour by its address.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) stream: Stream,
    pub(crate) remote: SocketAddr,
}

pub(crate) struct NeighborShared {
    config: Mutex<NeighborConfig>,
    attributes: Mutex<Arc<AttributeSet>>,
    rib: Mutex<Rib>,
    observed: Mutex<Observed>,
    /// Its place among neighbours that are alike; the RIB has the same.
    seat: Mutex<Option<Seat>>,
    /// Where its messages are taken for a dump.
    pub(crate) tap: Tap,
    /// Level-triggered: the writer looks at the RIB again.
    pub(crate) changed: watch::Sender<()>,
    /// What the operators want, beside the configuration; outlives the task.
    pub(crate) control: watch::Sender<Control>,
    /// A rule ends earlier than the task expects.
    pub(crate) deadline_moved: Notify,
    /// A batch was confirmed.
    pub(crate) written: Notify,
    pub(crate) accepted: mpsc::Sender<Accepted>,
    /// Held by the task; outlives it when it has to be started again.
    pub(crate) accepted_rx: tokio::sync::Mutex<mpsc::Receiver<Accepted>>,
}

/// What the operators want of a neighbour. State, not a queue: the task does what is left to do.
#[derive(Debug, Clone, Default)]
pub(crate) struct Control {
    pub(crate) admin: Admin,
    /// How often a reset was asked for, and the text of the last one.
    pub(crate) resets: u64,
    pub(crate) reset_text: Arc<str>,
}

/// What the task has seen, kept for [`PeerStatus`].
#[derive(Debug, Default)]
pub(crate) struct Observed {
    pub(crate) phase: SessionPhase,
    pub(crate) session: Option<SessionStatus>,
    /// What was agreed on in the last session.
    pub(crate) retention: Option<Retention>,
    /// The last session ended in a way over which the router keeps our rules.
    pub(crate) may_hold: Option<MayHold>,
    /// The process began with this neighbour, and has had no session with it yet.
    pub(crate) restarting: bool,
    pub(crate) established_total: u64,
    pub(crate) flaps: u64,
    pub(crate) flaps_by_cause: BTreeMap<Cause, u64>,
    pub(crate) last_received: Option<NotificationSeen>,
    pub(crate) last_sent: Option<NotificationSeen>,
    pub(crate) history: History,
    pub(crate) last_error: Option<SessionError>,
    pub(crate) retry_at: Option<Instant>,
    pub(crate) received: MessageCounts,
    pub(crate) sent: MessageCounts,
    pub(crate) inbound_routes: usize,
    pub(crate) writer_blocked: Duration,
    pub(crate) task_restarts: u64,
}

impl NeighborShared {
    /// `restarting`: the neighbour may hold rules of the process before.
    pub(crate) fn new(config: NeighborConfig, attributes: &AttributeSet, restarting: bool) -> Self {
        let (accepted, accepted_rx) = mpsc::channel(ACCEPT_QUEUE);
        Self {
            rib: Mutex::new(Rib::new(&config)),
            attributes: Mutex::new(Arc::new(attributes.with_rtbh(config.rtbh.clone()))),
            config: Mutex::new(config),
            observed: Mutex::new(Observed {
                restarting,
                ..Observed::default()
            }),
            seat: Mutex::default(),
            tap: Tap::default(),
            changed: watch::Sender::new(()),
            control: watch::Sender::new(Control::default()),
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

    pub(crate) fn name(&self) -> Arc<str> {
        lock(&self.config).name.clone()
    }

    pub(crate) fn address(&self) -> std::net::IpAddr {
        lock(&self.config).address
    }

    pub(crate) fn set_config(&self, config: NeighborConfig) {
        let before = std::mem::replace(&mut *lock(&self.config), config.clone());
        if before.rtbh != config.rtbh {
            let common = self.attributes();
            self.set_attributes(&common);
        }
    }

    pub(crate) fn seat(&self) -> Option<Seat> {
        lock(&self.seat).clone()
    }

    /// Gives it a place among neighbours that are alike, or none; it leaves the one it had.
    pub(crate) fn take_seat(&self, seat: Option<Seat>, now: Instant) {
        let before = std::mem::replace(&mut *lock(&self.seat), seat.clone());
        if let Some(before) = before {
            before.leave();
        }
        let established = self.observed().phase == SessionPhase::Established;
        if let Some(seat) = seat.as_ref().filter(|_| established) {
            seat.up(now);
        }
        self.rib().take_seat(seat, now);
        self.changed.send_replace(());
    }

    /// How AS numbers are written in the messages of now.
    pub(crate) fn writes_four_octets(&self) -> bool {
        let observed = self.observed();
        observed
            .session
            .as_ref()
            .is_none_or(|session| session.four_octet_as)
    }

    /// The established session ends in silence. What the router may hold from now on, if it agreed to hold anything; to be
    /// called while the session is still known.
    pub(crate) fn left_in_silence(&self, now: Instant) -> Option<MayHold> {
        let mut observed = self.observed();
        let session = observed.session.as_ref()?;
        let may_hold = MayHold::after(now, session.hold_time, session.retention.agreed()?);
        observed.may_hold = Some(may_hold);
        Some(may_hold)
    }

    /// What the router may hold of the last session.
    pub(crate) fn may_hold(&self) -> Option<MayHold> {
        self.observed().may_hold()
    }

    /// An established session was lost.
    pub(crate) fn record_lost(&self, loss: Loss, now: Instant) {
        let mut observed = self.observed();
        observed.flaps += 1;
        loss.cause().count(&mut observed.flaps_by_cause);
        observed.history.push(Occurrence::Lost(loss.clone()), now);
        observed.note(loss, now);
    }

    /// An attempt to make a session failed.
    pub(crate) fn record_failed(&self, loss: Loss, now: Instant) {
        let mut observed = self.observed();
        observed.history.push(Occurrence::Failed(loss.clone()), now);
        observed.note(loss, now);
    }

    /// Something else worth remembering.
    pub(crate) fn remember(&self, what: Occurrence) {
        self.observed().history.push(what, Instant::now());
    }

    pub(crate) fn attributes(&self) -> Arc<AttributeSet> {
        Arc::clone(&lock(&self.attributes))
    }

    /// Every route has other attributes from now on: what was sent is sent again, in place and paced. What is this
    /// neighbour's own in them comes from its configuration.
    pub(crate) fn set_attributes(&self, common: &AttributeSet) {
        let rtbh = lock(&self.config).rtbh.clone();
        *lock(&self.attributes) = Arc::new(common.with_rtbh(rtbh));
        self.rib().readvertise();
        self.changed.send_replace(());
    }

    pub(crate) fn status(&self) -> PeerStatus {
        let config = self.config();
        let (rules, families, totals, latency) = {
            let rib = self.rib();
            let each = Family::ALL.map(|family| (family, rib.counts_of(family)));
            let is_of_it = |(family, counts): &(Family, RibCounts)| {
                config.families.contains(family) || *counts != RibCounts::default()
            };
            let families = each.into_iter().filter(is_of_it).collect();
            (rib.counts(), families, rib.totals(), rib.latency().clone())
        };
        let admin = self.control.borrow().admin.clone();
        let observed = self.observed();
        PeerStatus {
            name: config.name,
            address: config.address,
            peer_asn: config.peer_asn,
            admin,
            phase: observed.phase,
            session: observed.session.clone(),
            retention: observed.retention,
            may_hold: observed.may_hold(),
            established_total: observed.established_total,
            flaps: observed.flaps,
            flaps_by_cause: observed.flaps_by_cause.clone(),
            last_received: observed.last_received.clone(),
            last_sent: observed.last_sent.clone(),
            last_error: observed.last_error.clone(),
            retry_at: observed.retry_at,
            received: observed.received,
            sent: observed.sent,
            inbound_routes: observed.inbound_routes,
            writer_blocked: observed.writer_blocked,
            task_restarts: observed.task_restarts,
            rules,
            families,
            totals,
            latency,
        }
    }
}

impl Observed {
    fn may_hold(&self) -> Option<MayHold> {
        let is_so = |held: &MayHold| self.session.is_none() && held.until > Instant::now();
        self.may_hold.filter(is_so)
    }

    fn note(&mut self, loss: Loss, now: Instant) {
        match &loss {
            Loss::NotificationReceived(info) => {
                self.last_received = Some(NotificationSeen {
                    at: now,
                    info: info.clone(),
                });
            }
            Loss::NotificationSent(info) => self.sent_last(info.clone(), now),
            _ => {}
        }
        self.last_error = Some(SessionError { at: now, loss });
    }

    /// We ended the session with this.
    pub(crate) fn sent_last(&mut self, info: NotificationInfo, now: Instant) {
        self.last_sent = Some(NotificationSeen { at: now, info });
    }
}

/// A panic while a lock was held leaves plain data behind; going on with it beats dropping every session.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::restart::RestartTime;

    /// The router's hold timer and then its restart timer: after both it has dropped everything.
    #[tokio::test(start_paused = true)]
    async fn what_a_router_may_hold_ends_with_its_timers() {
        let (hold_time, restart) = (Duration::from_secs(9), RestartTime::from_secs(90).unwrap());
        let lost = Instant::now();
        let observed = Observed {
            may_hold: Some(MayHold::after(lost, hold_time, restart)),
            ..Observed::default()
        };
        tokio::time::advance(Duration::from_secs(98)).await;
        let held = observed.may_hold().unwrap();
        assert_eq!((held.since, held.until), (lost, lost + Duration::from_secs(99)));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(observed.may_hold(), None);
    }
}
