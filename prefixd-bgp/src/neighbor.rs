//! One neighbour as a pure state machine: when to dial, which of two connections wins, when to try again.
//!
//! ```text
//!            Dialled, Accepted, Received, Lost, tick(now)
//!   task  ------------------------------------------------>  Neighbor { dialling, current, candidate }
//!         <------------------------------------------------
//!            Dial, CancelDial, Send, Close, Up, Down, Failed, Refresh
//! ```
//!
//! `current` is the oldest connection, `candidate` a second one made while the first was not yet lost: the two sides may
//! dial each other at the same moment, or the router came back before we noticed that it was gone. They are compared
//! when an OPEN arrives (RFC 4271 section 6.8, RFC 6286 section 2.3).

mod retry;
#[cfg(test)]
mod states;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use rand::rngs::SmallRng;
use tokio::time::{Duration, Instant};

use crate::flowspec::Family;
use crate::restart::RestartOffer;
use crate::session::{Control, Direction, End, Session, Signal};
use crate::status::{Loss, SessionPhase};
use crate::wire::{FsmConfig, Inbound, Negotiated, Notification};
use retry::Retry;

/// A router that does not answer at all is tried again after this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

const CEASE_CONNECTION_REJECTED: u8 = 5;
const CEASE_COLLISION: u8 = 7;

/// Names one TCP connection of a neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ConnectionId(pub(crate) u64);

#[derive(Debug)]
pub(crate) enum Input {
    Dialled(ConnectionId),
    DialFailed { detail: String },
    Accepted(ConnectionId),
    Received(ConnectionId, Inbound),
    Lost(ConnectionId, String),
}

#[derive(Debug)]
pub(crate) enum Effect {
    Dial,
    CancelDial,
    Send(ConnectionId, Control),
    Close(ConnectionId, Option<Notification>),
    /// The connection carries the established session.
    Up(ConnectionId, Negotiated),
    /// The established session ended; with the data of the router's NOTIFICATION.
    Down(Loss, Bytes),
    /// An attempt ended before it was established.
    Failed(Loss),
    Refresh(Family),
}

pub(crate) struct Neighbor {
    config: FsmConfig,
    passive: bool,
    /// By order: no connection is made or kept.
    paused: bool,
    dialling: Dialling,
    retry: Retry,
    current: Option<Connection>,
    candidate: Option<Connection>,
    up_since: Option<Instant>,
}

struct Connection {
    id: ConnectionId,
    session: Session,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialling {
    /// A connection exists, or the neighbour is passive.
    No,
    At(Instant),
    Connecting {
        until: Instant,
    },
}

impl Neighbor {
    /// Starts to dial at once, with jitter, unless passive.
    pub(crate) fn new(config: FsmConfig, passive: bool, rng: SmallRng, now: Instant) -> Self {
        let mut retry = Retry::new(rng);
        let dialling = if passive {
            Dialling::No
        } else {
            Dialling::At(retry.first(now))
        };
        Self {
            config,
            passive,
            paused: false,
            dialling,
            retry,
            current: None,
            candidate: None,
            up_since: None,
        }
    }

    /// Connections from now on offer this.
    pub(crate) fn set_offer(&mut self, hold_seconds: u16, graceful_restart: Option<RestartOffer>) {
        self.config.hold_seconds = hold_seconds;
        self.config.graceful_restart = graceful_restart;
    }

    pub(crate) fn handle(&mut self, input: Input, now: Instant) -> Vec<Effect> {
        let mut effects = Vec::new();
        match input {
            Input::Dialled(id) => {
                self.dialling = Dialling::No;
                self.connected(id, Direction::Outgoing, now, &mut effects);
            }
            Input::DialFailed { detail } => {
                self.dial_failed(Loss::ConnectFailed { detail }, now, &mut effects);
            }
            Input::Accepted(id) => self.connected(id, Direction::Incoming, now, &mut effects),
            Input::Received(id, inbound) => {
                if let Some(connection) = self.connection(id) {
                    let signals = connection.session.receive(inbound, now);
                    self.carry_out(id, signals, now, &mut effects);
                }
            }
            Input::Lost(id, detail) => self.end(
                id,
                End {
                    notification: None,
                    loss: Loss::ConnectionLost { detail },
                    data: Bytes::new(),
                },
                now,
                &mut effects,
            ),
        }
        effects
    }

    /// Time passed. `blocked` says since when a connection's socket has taken nothing.
    pub(crate) fn tick(
        &mut self,
        now: Instant,
        blocked: impl Fn(ConnectionId) -> Option<Instant>,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        let ids: Vec<_> = [&self.current, &self.candidate]
            .into_iter()
            .flatten()
            .map(|one| one.id)
            .collect();
        for id in ids {
            if let Some(connection) = self.connection(id) {
                let signals = connection.session.tick(now, blocked(id));
                self.carry_out(id, signals, now, &mut effects);
            }
        }
        match self.dialling {
            Dialling::At(at) if at <= now => {
                self.dialling = Dialling::Connecting {
                    until: now + CONNECT_TIMEOUT,
                };
                effects.push(Effect::Dial);
            }
            Dialling::Connecting { until } if until <= now => {
                effects.push(Effect::CancelDial);
                self.dial_failed(Loss::ConnectTimeout, now, &mut effects);
            }
            _ => {}
        }
        effects
    }

    /// When [`Neighbor::tick`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let dialling = match self.dialling {
            Dialling::No => None,
            Dialling::At(at) | Dialling::Connecting { until: at } => Some(at),
        };
        [&self.current, &self.candidate]
            .into_iter()
            .flatten()
            .map(|connection| connection.session.deadline())
            .chain(dialling)
            .min()
    }

    /// Ends every connection and the dialling, for a stop. Nothing is started again.
    pub(crate) fn stop(&mut self, notification: Option<&Notification>) -> Vec<Effect> {
        let mut effects = vec![Effect::CancelDial];
        self.dialling = Dialling::No;
        self.up_since = None;
        for connection in [self.current.take(), self.candidate.take()].into_iter().flatten() {
            effects.push(Effect::Close(connection.id, notification.cloned()));
        }
        effects
    }

    /// Ends every connection, and makes and takes none until [`Neighbor::resume`].
    pub(crate) fn pause(&mut self, notification: Option<&Notification>) -> Vec<Effect> {
        self.paused = true;
        self.stop(notification)
    }

    /// Goes on after a pause as if nothing had ever failed. Without a pause it does nothing.
    pub(crate) fn resume(&mut self, now: Instant) {
        if std::mem::take(&mut self.paused) {
            self.begin_again(now);
        }
    }

    /// Ends every connection and begins again at once, whatever has failed before.
    pub(crate) fn restart(&mut self, notification: &Notification, now: Instant) -> Vec<Effect> {
        let effects = self.stop(Some(notification));
        self.begin_again(now);
        effects
    }

    /// The session that was just lost is not held against the neighbour: what ended it is found, or soon will be.
    pub(crate) fn excuse(&mut self, now: Instant) {
        self.retry.excuse();
        if let Dialling::At(_) = self.dialling {
            self.dialling = Dialling::At(self.retry.next(now));
        }
    }

    fn begin_again(&mut self, now: Instant) {
        self.retry.forget();
        if !self.passive && !self.paused && self.current.is_none() && self.dialling == Dialling::No {
            self.dialling = Dialling::At(self.retry.first(now));
        }
    }

    /// The furthest any connection has come.
    pub(crate) fn phase(&self, now: Instant) -> SessionPhase {
        let connected = [&self.current, &self.candidate]
            .into_iter()
            .flatten()
            .map(|one| one.session.phase())
            .max();
        match (connected, self.dialling) {
            (Some(phase), _) => phase,
            (None, Dialling::Connecting { .. }) => SessionPhase::Connect,
            (None, _) if self.paused || self.retry.held_down(now) => SessionPhase::Idle,
            (None, _) => SessionPhase::Active,
        }
    }

    /// When the next attempt to dial is due.
    pub(crate) fn retry_at(&self) -> Option<Instant> {
        match self.dialling {
            Dialling::At(at) => Some(at),
            _ => None,
        }
    }

    pub(crate) fn inbound_routes(&self) -> usize {
        self.current
            .as_ref()
            .map_or(0, |connection| connection.session.inbound_routes())
    }

    fn connection(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        [&mut self.current, &mut self.candidate]
            .into_iter()
            .flatten()
            .find(|connection| connection.id == id)
    }

    /// A TCP connection exists. Paused or held down, a router that dials us at its own pace is turned away too.
    fn connected(&mut self, id: ConnectionId, direction: Direction, now: Instant, effects: &mut Vec<Effect>) {
        if self.paused || self.retry.held_down(now) {
            effects.push(Effect::Close(
                id,
                Some(Notification::cease(CEASE_CONNECTION_REJECTED)),
            ));
            // Our own attempt may have ended here, and nothing else would start the next one.
            self.dial_again(now);
            return;
        }
        if let Some(old) = self.candidate.take_if(|old| old.session.router_id().is_none()) {
            // Silent so far: the newer connection is the better bet.
            effects.push(Effect::Close(old.id, Some(Notification::cease(CEASE_COLLISION))));
        }
        if self.candidate.is_some() {
            effects.push(Effect::Close(id, Some(Notification::cease(CEASE_COLLISION))));
            return;
        }
        if let Dialling::At(_) = self.dialling {
            self.dialling = Dialling::No;
        }
        let (session, signals) = Session::start(&self.config, direction, now);
        let slot = if self.current.is_none() {
            &mut self.current
        } else {
            &mut self.candidate
        };
        *slot = Some(Connection { id, session });
        self.carry_out(id, signals, now, effects);
    }

    fn carry_out(&mut self, id: ConnectionId, signals: Vec<Signal>, now: Instant, effects: &mut Vec<Effect>) {
        for signal in signals {
            match signal {
                Signal::Send(message) => effects.push(Effect::Send(id, message)),
                Signal::Opened => {
                    if let Some(loser) = self.collision(id) {
                        let end = End::sent(Notification::cease(CEASE_COLLISION), None);
                        self.end(loser, end, now, effects);
                        if loser == id {
                            // Not even the KEEPALIVE that would let the neighbour believe in this connection.
                            return;
                        }
                    }
                }
                Signal::Established(negotiated) => self.established(id, negotiated, now, effects),
                Signal::Refresh(family) => effects.push(Effect::Refresh(family)),
                Signal::Over(end) => {
                    self.end(id, end, now, effects);
                    return;
                }
            }
        }
    }

    /// The connection to close if both are known to lead to the same speaker, now that the OPEN on one has arrived. That one
    /// says what the router's identifier is; the other may be of before it got another.
    fn collision(&self, opened: ConnectionId) -> Option<ConnectionId> {
        let (current, candidate) = (self.current.as_ref()?, self.candidate.as_ref()?);
        let newest = if current.id == opened { current } else { candidate };
        let remote_id = newest.session.router_id()?;
        if current.session.phase() == SessionPhase::Established {
            return candidate.session.router_id().map(|_| candidate.id);
        }
        current.session.router_id().and(candidate.session.router_id())?;
        let we_win = (self.config.router_id, self.config.local_asn) > (remote_id, self.config.peer_asn);
        let winner = if we_win {
            Direction::Outgoing
        } else {
            Direction::Incoming
        };
        // Both made by the same side: the older one is the one whose maker has given it up.
        let current_wins = current.session.direction() == winner && candidate.session.direction() != winner;
        Some(if current_wins { candidate.id } else { current.id })
    }

    fn established(
        &mut self,
        id: ConnectionId,
        negotiated: Negotiated,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        if self
            .candidate
            .as_ref()
            .is_some_and(|candidate| candidate.id == id)
        {
            std::mem::swap(&mut self.current, &mut self.candidate);
        }
        if let Some(other) = self.candidate.take() {
            effects.push(Effect::Close(
                other.id,
                Some(Notification::cease(CEASE_COLLISION)),
            ));
        }
        if let Dialling::Connecting { .. } = self.dialling {
            effects.push(Effect::CancelDial);
        }
        self.dialling = Dialling::No;
        self.up_since = Some(now);
        effects.push(Effect::Up(id, negotiated));
    }

    fn end(&mut self, id: ConnectionId, end: End, now: Instant, effects: &mut Vec<Effect>) {
        let is = |slot: &Option<Connection>| slot.as_ref().is_some_and(|connection| connection.id == id);
        let was_current = is(&self.current);
        if was_current {
            self.current = self.candidate.take();
        } else if is(&self.candidate) {
            self.candidate = None;
        } else {
            return;
        }
        effects.push(Effect::Close(id, end.notification));
        match self.up_since.take_if(|_| was_current) {
            Some(since) => {
                self.retry
                    .lost(&end.loss, now.saturating_duration_since(since), now);
                effects.push(Effect::Down(end.loss, end.data));
                if self.retry.held_down(now) {
                    // A second connection that the router made meanwhile would only get round that.
                    for other in [self.current.take(), self.candidate.take()].into_iter().flatten() {
                        let rejected = Notification::cease(CEASE_CONNECTION_REJECTED);
                        effects.push(Effect::Close(other.id, Some(rejected)));
                    }
                }
            }
            // The other connection goes on; nothing has failed.
            None if self.current.is_some() => {}
            None => {
                self.retry.failed(&end.loss, now);
                effects.push(Effect::Failed(end.loss));
            }
        }
        self.dial_again(now);
    }

    fn dial_failed(&mut self, loss: Loss, now: Instant, effects: &mut Vec<Effect>) {
        self.dialling = Dialling::No;
        self.retry.failed(&loss, now);
        effects.push(Effect::Failed(loss));
        self.dial_again(now);
    }

    fn dial_again(&mut self, now: Instant) {
        if !self.passive && !self.paused && self.current.is_none() && self.dialling == Dialling::No {
            self.dialling = Dialling::At(self.retry.next(now));
        }
    }
}

impl Control {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Open(_) => "OPEN",
            Self::Keepalive(_) => "KEEPALIVE",
        }
    }

    pub(crate) fn bytes(&self) -> &Bytes {
        match self {
            Self::Open(bytes) | Self::Keepalive(bytes) => bytes,
        }
    }
}
