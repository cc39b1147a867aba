//! The task of one neighbour: carries out what the pure machine decides.
//!
//! ```text
//!   orders (watch), accepted sockets (bounded), reports of the readers (bounded), dialling, deadlines
//!        --> select --> Neighbor machine --> effects: dial, send (never waits), close, RIB up and down
//! ```
//!
//! Aborting the task at any point is safe: dropping its connections closes the sockets, and the desired rules live in
//! the shared RIB. Rules past their `not_after` are withdrawn here, with or without a session.

mod administer;
mod dial;
mod orders;
mod suspect;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

use rand::rngs::SmallRng;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, sleep_until, timeout};
use tracing::{debug, info, warn};

use crate::connection::{Connection, INBOUND_QUEUE, Report};
use crate::history::Occurrence;
use crate::listener::admit;
use crate::mrt::Ends;
use crate::neighbor::{ConnectionId, Effect, Input, Neighbor};
use crate::restart::{RestartOffer, RestartTime, Retention};
use crate::rib::Generation;
use crate::session::Control;
use crate::shared::{Accepted, NeighborShared};
use crate::status::{LOG, Loss, SessionChange, SessionEvent, SessionPhase, SessionStatus};
use crate::transport::{Network, Stream};
use crate::wire::{FsmConfig, Inbound, Negotiated, Notification, SessionKind};
use administer::Administration;
use dial::{Dial, tune};
use orders::stop_order;
pub(crate) use orders::{Order, StopReason};

/// How long a closing connection may take to get its last message out.
const CLOSE_GRACE: Duration = Duration::from_secs(1);

/// What the task needs from the speaker.
#[derive(Clone)]
pub(crate) struct PeerContext {
    pub(crate) shared: Arc<NeighborShared>,
    pub(crate) fsm: FsmConfig,
    /// What a connection that begins offers; `fsm` has it as it was when the task began.
    pub(crate) hold_seconds: Arc<AtomicU16>,
    /// Whether everything that should be announced is known.
    pub(crate) complete: Arc<AtomicBool>,
    pub(crate) orders: watch::Receiver<Order>,
    pub(crate) events: broadcast::Sender<SessionEvent>,
    pub(crate) network: Network,
    /// For the jitter.
    pub(crate) rng: SmallRng,
}

/// Runs until ordered to stop.
pub(crate) async fn run(mut context: PeerContext) {
    let shared = context.shared.clone();
    let mut accepted = shared.accepted_rx.lock().await;
    // The sender lives in the handle; without it there is nobody left to work for.
    let Ok(order) = context
        .orders
        .wait_for(|order| *order != Order::Wait)
        .await
        .map(|order| order.clone())
    else {
        return;
    };
    let mut orders = context.orders.clone();
    let mut peer = Peer::new(context);
    let reason = match order {
        Order::Stop(reason) => reason,
        Order::Wait | Order::Run => peer.run(&mut accepted, &mut orders).await,
    };
    peer.stop(reason).await;
}

struct Peer {
    name: Arc<str>,
    shared: Arc<NeighborShared>,
    internal: bool,
    events: broadcast::Sender<SessionEvent>,
    machine: Neighbor,
    hold_seconds: Arc<AtomicU16>,
    complete: Arc<AtomicBool>,
    graceful_restart: Option<RestartTime>,
    dial: Dial,
    connections: HashMap<ConnectionId, Live>,
    reports: mpsc::Sender<(ConnectionId, Report)>,
    reports_rx: mpsc::Receiver<(ConnectionId, Report)>,
    closing: JoinSet<()>,
    established: Option<ConnectionId>,
    last_id: u64,
    administration: Administration,
    guarded: Guarded,
}

/// How the sockets are protected, for the status.
struct Guarded {
    md5: bool,
    ttl_security: bool,
}

struct Live {
    connection: Connection,
    dialled: bool,
    local: SocketAddr,
    remote: SocketAddr,
}

impl Live {
    fn ends(&self) -> Ends {
        Ends {
            local: self.local,
            remote: self.remote,
        }
    }
}

impl Peer {
    fn new(context: PeerContext) -> Self {
        let PeerContext {
            shared,
            fsm,
            hold_seconds,
            complete,
            events,
            network,
            rng,
            orders: _,
        } = context;
        let config = shared.config();
        let (reports, reports_rx) = mpsc::channel(INBOUND_QUEUE);
        let internal = fsm.local_asn == fsm.peer_asn;
        Self {
            name: config.name.clone(),
            internal,
            events,
            machine: Neighbor::new(fsm, config.passive, rng, Instant::now()),
            hold_seconds,
            complete,
            graceful_restart: config.graceful_restart,
            dial: Dial::new(&config, network),
            connections: HashMap::new(),
            reports,
            reports_rx,
            closing: JoinSet::new(),
            established: None,
            last_id: 0,
            administration: Administration::new(&shared),
            guarded: Guarded {
                md5: config.password.is_some(),
                ttl_security: config.ttl_security,
            },
            shared,
        }
    }

    async fn run(
        &mut self,
        accepted: &mut mpsc::Receiver<Accepted>,
        orders: &mut watch::Receiver<Order>,
    ) -> StopReason {
        // Without a break for the timers a router that never stops talking would keep rules past their end.
        let mut reports_in_a_row = 0;
        loop {
            self.administer();
            self.observe();
            self.follow_canary();
            let deadline = self.deadline();
            // In order: what has arrived is heard before a timer judges.
            let effects = tokio::select! {
                biased;
                stop = stop_order(orders) => return stop,
                () = self.administration.changed() => Vec::new(),
                Some((id, report)) = self.reports_rx.recv(), if reports_in_a_row < INBOUND_QUEUE => {
                    reports_in_a_row += 1;
                    self.report(id, report)
                }
                () = std::future::ready(()), if reports_in_a_row >= INBOUND_QUEUE => {
                    reports_in_a_row = 0;
                    self.tick()
                }
                Some(Accepted { stream, remote }) = accepted.recv() => self.accept(stream, remote),
                dialled = self.dial.finished() => self.dialled(dialled),
                Some(_) = self.closing.join_next() => Vec::new(),
                () = self.shared.deadline_moved.notified() => Vec::new(),
                () = self.shared.written.notified(), if self.administration.is_pausing() => Vec::new(),
                () = sleep_until_some(deadline) => self.tick(),
            };
            for effect in effects {
                self.carry_out(effect);
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let rib = self.shared.rib();
        let paused_by = self.administration.deadline();
        [
            self.machine.deadline(),
            rib.next_expiry(),
            rib.next_lift(),
            rib.next_release(),
            rib.next_canary(),
            paused_by,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn tick(&mut self) -> Vec<Effect> {
        let now = Instant::now();
        if self.shared.rib().release_due(now) {
            self.shared.remember(Occurrence::ParkingEnded);
            info!(target: LOG, neighbor = %self.name, "parked rules have waited long enough and are tried again, one by one");
            self.shared.changed.send_replace(());
        }
        if self.shared.rib().lift_due(now) {
            self.shared.remember(Occurrence::BoundLifted);
            info!(target: LOG, neighbor = %self.name, "the router is offered all rules again after its Cease/1 without a bound");
            self.shared.changed.send_replace(());
        }
        let expired = self.shared.rib().expire(now);
        if expired > 0 {
            debug!(target: LOG, neighbor = %self.name, rules = expired, "rules reached the end of their time and are withdrawn by the speaker");
            self.shared.changed.send_replace(());
        }
        let connections = &self.connections;
        self.machine.tick(now, |id| {
            connections
                .get(&id)
                .and_then(|live| live.connection.blocked_since())
        })
    }

    fn accept(&mut self, stream: Stream, remote: SocketAddr) -> Vec<Effect> {
        // It may have waited since before the configuration changed.
        if let Err(reason) = admit(&stream, remote, &self.shared.config()) {
            warn!(target: LOG, neighbor = %self.name, %reason, "an accepted connection was closed");
            return Vec::new();
        }
        match self.connect(stream, remote, false) {
            Ok(id) => self.machine.handle(Input::Accepted(id), Instant::now()),
            Err(error) => {
                debug!(target: LOG, neighbor = %self.name, %error, "an accepted connection was gone at once");
                Vec::new()
            }
        }
    }

    fn dialled(&mut self, dialled: Result<(Stream, SocketAddr), String>) -> Vec<Effect> {
        let connected = dialled.and_then(|(stream, remote)| {
            self.connect(stream, remote, true)
                .map_err(|error| error.to_string())
        });
        let input = match connected {
            Ok(id) => Input::Dialled(id),
            Err(detail) => Input::DialFailed { detail },
        };
        self.machine.handle(input, Instant::now())
    }

    fn connect(
        &mut self,
        stream: Stream,
        remote: SocketAddr,
        dialled: bool,
    ) -> std::io::Result<ConnectionId> {
        tune(&stream)?;
        let local = stream.local_addr()?;
        let restarting = self.shared.observed().restarting;
        let restart = self.graceful_restart.map(|time| RestartOffer {
            time,
            restarting,
            // After the first session the router holds what this process told it.
            complete: !restarting || self.complete.load(Ordering::Relaxed),
        });
        self.machine
            .set_offer(self.hold_seconds.load(Ordering::Relaxed), restart);
        self.last_id += 1;
        let id = ConnectionId(self.last_id);
        let ends = Ends { local, remote };
        let connection = Connection::start(id, stream, ends, &self.shared, &self.reports);
        self.connections.insert(
            id,
            Live {
                connection,
                dialled,
                local,
                remote,
            },
        );
        Ok(id)
    }

    fn report(&mut self, id: ConnectionId, report: Report) -> Vec<Effect> {
        // Connections that are closing still report; they have no part in the session any more.
        if !self.connections.contains_key(&id) {
            return Vec::new();
        }
        let input = match report {
            Report::Lost(detail) => Input::Lost(id, detail),
            Report::Message(inbound) => {
                debug!(target: LOG, neighbor = %self.name, connection = id.0, kind = inbound.name(), "received");
                let received = &mut self.shared.observed().received;
                match &inbound {
                    Inbound::Open(_) => received.open += 1,
                    Inbound::Update(_) => received.update += 1,
                    Inbound::Notification(_) => received.notification += 1,
                    Inbound::Keepalive => received.keepalive += 1,
                    Inbound::Refresh(_) => received.route_refresh += 1,
                    Inbound::Malformed(_) => {}
                }
                Input::Received(id, inbound)
            }
        };
        self.machine.handle(input, Instant::now())
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Dial => {
                debug!(target: LOG, neighbor = %self.name, "dialling");
                self.dial.start();
            }
            Effect::CancelDial => self.dial.cancel(),
            Effect::Send(id, message) => self.send(id, &message),
            Effect::Close(id, notification) => self.close(id, notification.as_ref()),
            Effect::Up(id, negotiated) => self.up(id, negotiated),
            Effect::Down(loss, data) => {
                let now = Instant::now();
                let silent = loss.is_silent();
                match silent.then(|| self.shared.left_in_silence(now)).flatten() {
                    Some(held) => {
                        let seconds = (held.until - held.since).as_secs();
                        warn!(target: LOG, neighbor = %self.name, reason = %loss, "session lost; the router agreed to keep our rules, and may do so for {seconds} s");
                    }
                    None => {
                        warn!(target: LOG, neighbor = %self.name, reason = %loss, "session lost; the router has dropped our rules");
                    }
                }
                self.shared.record_lost(loss.clone(), now);
                if let Loss::NotificationReceived(info) = &loss
                    && loss.is_prefix_limit()
                {
                    self.shared.rib().prefix_limit_reached(info.prefix_limit, now);
                }
                self.suspect(&loss, &data, now);
                self.down(Some(loss));
            }
            Effect::Failed(loss) => {
                let known = self
                    .shared
                    .observed()
                    .last_error
                    .as_ref()
                    .is_some_and(|last| last.loss == loss);
                if known {
                    debug!(target: LOG, neighbor = %self.name, reason = %loss, "still no session");
                } else {
                    warn!(target: LOG, neighbor = %self.name, reason = %loss, "no session; it is tried again");
                }
                self.shared.record_failed(loss, Instant::now());
            }
            Effect::Refresh(family) => {
                info!(target: LOG, neighbor = %self.name, %family, "the router asks for its rules again");
                self.shared.remember(Occurrence::RefreshAsked(family));
                self.shared.rib().refresh(family, Instant::now());
                self.shared.changed.send_replace(());
            }
        }
    }

    fn send(&mut self, id: ConnectionId, message: &Control) {
        let Some(live) = self.connections.get(&id) else {
            return;
        };
        if live.connection.send(message.bytes().clone()) {
            debug!(target: LOG, neighbor = %self.name, connection = id.0, kind = message.name(), "sent");
            let sent = &mut self.shared.observed().sent;
            match message {
                Control::Open(_) => sent.open += 1,
                Control::Keepalive(_) => sent.keepalive += 1,
            }
        }
    }

    fn close(&mut self, id: ConnectionId, notification: Option<&Notification>) {
        let Some(live) = self.connections.remove(&id) else {
            return;
        };
        {
            let mut observed = self.shared.observed();
            observed.writer_blocked += live.connection.take_blocked();
            observed.sent.notification += u64::from(notification.is_some());
        }
        if let Some(sent) = notification {
            let (code, subcode) = (sent.code, sent.subcode);
            debug!(target: LOG, neighbor = %self.name, connection = id.0, kind = "NOTIFICATION", code, subcode, "sent");
        }
        debug!(target: LOG, neighbor = %self.name, connection = id.0, "connection closed");
        let last = notification.map(Notification::encode);
        // A connection that is still stuck after the grace is dropped.
        self.closing.spawn(async move {
            let _ = timeout(CLOSE_GRACE, live.connection.close(last)).await;
        });
    }

    fn up(&mut self, id: ConnectionId, negotiated: Negotiated) {
        let Some(live) = self.connections.get(&id) else {
            return;
        };
        let now = Instant::now();
        let kind = SessionKind {
            internal: self.internal,
            four_octet_as: negotiated.four_octet_as,
        };
        let generation = self.shared.rib().session_up(
            kind,
            negotiated.families.clone(),
            negotiated.enhanced_refresh,
            now,
        );
        open_bulk(&self.name, live, generation);
        self.shared.tap.session(true, live.ends());
        self.established = Some(id);
        if let Some(seat) = self.shared.seat() {
            seat.up(now);
        }
        info!(target: LOG, neighbor = %self.name,
            router_id = %negotiated.router_id,
            hold_time = negotiated.hold_time.as_secs(),
            families = ?negotiated.families,
            "session established"
        );
        let families = negotiated.families.clone();
        {
            let mut observed = self.shared.observed();
            observed.established_total += 1;
            observed.restarting = false;
            observed.retention = Some(negotiated.retention);
            observed.may_hold = None;
            let router_id = negotiated.router_id;
            observed.history.push(Occurrence::Established { router_id }, now);
            observed.session = Some(SessionStatus {
                since: now,
                router_id: negotiated.router_id,
                hold_time: negotiated.hold_time,
                families: negotiated.families,
                capabilities: negotiated.capabilities,
                offered: negotiated.offered,
                four_octet_as: negotiated.four_octet_as,
                enhanced_refresh: negotiated.enhanced_refresh,
                retention: negotiated.retention,
                dialled: live.dialled,
                md5: self.guarded.md5,
                ttl_security: self.guarded.ttl_security,
                local: live.local,
                remote: live.remote,
            });
            observed.phase = SessionPhase::Established;
        }
        self.tell(SessionChange::Up { families });
    }

    /// What the router of the established session does with our rules when it loses us.
    fn retention(&self) -> Retention {
        let observed = self.shared.observed();
        let session = observed.session.as_ref();
        session.map_or(Retention::NotOffered, |session| session.retention)
    }

    /// The session is over, by loss or by a stop.
    fn down(&mut self, loss: Option<Loss>) {
        if self.established.take().is_none() {
            return;
        }
        let ends = self.shared.observed().session.as_ref().map(|session| Ends {
            local: session.local,
            remote: session.remote,
        });
        if let Some(ends) = ends {
            self.shared.tap.session(false, ends);
        }
        self.shared.rib().session_down();
        if let Some(seat) = self.shared.seat() {
            seat.down(loss.is_none(), Instant::now());
        }
        self.observe();
        self.tell(SessionChange::Down { loss });
    }

    /// What waited for another neighbour, or was found out for others, is decided again.
    fn follow_canary(&self) {
        if self.shared.rib().follow_canary(Instant::now()) {
            self.shared.changed.send_replace(());
            self.tell(SessionChange::Readmitted);
        }
    }

    fn tell(&self, change: SessionChange) {
        // Nobody listening is fine: the same can be read from the status at any time.
        let _ = self.events.send(SessionEvent {
            neighbor: self.name.clone(),
            change,
        });
    }

    fn observe(&self) {
        let now = Instant::now();
        let blocked: Duration = self
            .connections
            .values()
            .map(|live| live.connection.take_blocked())
            .sum();
        let mut observed = self.shared.observed();
        observed.phase = self.machine.phase(now);
        observed.retry_at = self.machine.retry_at();
        observed.inbound_routes = self.machine.inbound_routes();
        observed.writer_blocked += blocked;
        if self.established.is_none() {
            observed.session = None;
        }
    }
}

/// The lane is empty but for an OPEN and a KEEPALIVE when a session is established, so this always fits.
fn open_bulk(name: &Arc<str>, live: &Live, generation: Generation) {
    if !live.connection.open_bulk(generation) {
        warn!(target: LOG, neighbor = %name, "the connection was lost at the moment it was established");
    }
}

async fn sleep_until_some(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
