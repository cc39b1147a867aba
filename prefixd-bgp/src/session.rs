//! One TCP connection as a pure state machine: messages and time in, messages and signals out.
//!
//! On top of the RFC 4271 machine it keeps the timers (hold, keepalive, send hold of RFC 9687) and bounds what the
//! neighbour may announce. It knows no socket; the owner carries its signals out.

#[cfg(test)]
pub(crate) mod tests;

use std::net::Ipv4Addr;

use bytes::Bytes;
use tokio::time::{Duration, Instant};

use crate::flowspec::Family;
use crate::status::{Loss, NotificationInfo, SessionPhase, clean};
use crate::wire::{Fsm, FsmConfig, FsmEvent, FsmOutput, Inbound, InboundRoutes, Negotiated, Notification};

/// Routes a neighbour may announce to us before it is told to stop. We use none of them.
pub(crate) const MAX_INBOUND_ROUTES: usize = 1000;
/// How long a connected neighbour may take for its OPEN. RFC 4271 suggests four minutes; here a silent connection must
/// not keep a live one waiting.
const OPEN_WAIT: Duration = Duration::from_secs(30);
/// A timer that is served later than this means that the whole process stood still: what arrived meanwhile waits to be
/// read, so the neighbour is given this much more before it is judged.
const STALL: Duration = Duration::from_secs(1);

/// Who opened the connection; decides collisions (RFC 4271 section 6.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Outgoing,
    Incoming,
}

/// What the owner is to do, in order.
#[derive(Debug)]
pub(crate) enum Signal {
    Send(Control),
    /// The neighbour's OPEN was accepted; its identifier is known now.
    Opened,
    Established(Negotiated),
    Refresh(Family),
    /// The connection is to be closed; the last signal of a session.
    Over(End),
}

/// A message for the control lane.
#[derive(Debug, Clone)]
pub(crate) enum Control {
    Open(Bytes),
    Keepalive(Bytes),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct End {
    /// Sent before closing.
    pub(crate) notification: Option<Notification>,
    pub(crate) loss: Loss,
    /// What came with a NOTIFICATION of the router.
    pub(crate) data: Bytes,
}

pub(crate) struct Session {
    fsm: Fsm,
    direction: Direction,
    router_id: Option<Ipv4Addr>,
    hold_at: Option<Instant>,
    keepalive_at: Option<Instant>,
    send_hold: Duration,
    send_check_at: Instant,
    /// The hold timer, or the send hold timer, was put off once already because the process stood still.
    hold_excused: bool,
    send_hold_excused: bool,
    inbound: InboundRoutes,
}

impl Session {
    /// A connection was made or accepted.
    pub(crate) fn start(config: &FsmConfig, direction: Direction, now: Instant) -> (Self, Vec<Signal>) {
        let (fsm, outputs) = Fsm::connected(config);
        let send_hold = Duration::from_secs(u64::from(config.hold_seconds));
        let mut session = Self {
            fsm,
            direction,
            router_id: None,
            hold_at: None,
            keepalive_at: None,
            send_hold,
            send_check_at: now + send_hold,
            hold_excused: false,
            send_hold_excused: false,
            inbound: InboundRoutes::default(),
        };
        let signals = session.carry_out(outputs, None, now);
        session.hold_at = Some(now + OPEN_WAIT);
        (session, signals)
    }

    /// A message arrived.
    pub(crate) fn receive(&mut self, inbound: Inbound, now: Instant) -> Vec<Signal> {
        self.hold_excused = false;
        let mut signals = Vec::new();
        let (event, detail) = match inbound {
            Inbound::Open(open) => {
                let router_id = open.router_id();
                let outputs = self.fsm.event(FsmEvent::Open(open));
                if self.fsm.phase() == SessionPhase::OpenConfirm {
                    self.router_id = Some(router_id);
                    signals.push(Signal::Opened);
                }
                signals.extend(self.carry_out(outputs, None, now));
                return signals;
            }
            Inbound::Keepalive => (FsmEvent::Keepalive, None),
            Inbound::Notification(notification) => {
                let detail = Cause::Received(notification.clone());
                (FsmEvent::Notification(notification), Some(detail))
            }
            Inbound::Update(body) => {
                if self.fsm.phase() == SessionPhase::Established {
                    self.inbound.update(&body, MAX_INBOUND_ROUTES);
                    if self.inbound.len() > MAX_INBOUND_ROUTES {
                        let text =
                            format!("the router announces more than {MAX_INBOUND_ROUTES} routes to us");
                        return vec![Signal::Over(End::sent(Notification::cease(1), Some(text)))];
                    }
                }
                (FsmEvent::Update, None)
            }
            Inbound::Refresh(family) => {
                if self.fsm.phase() == SessionPhase::Established {
                    signals.extend(family.map(Signal::Refresh));
                }
                (FsmEvent::Refresh, None)
            }
            Inbound::Malformed(malformed) => {
                let detail = Cause::Detail(malformed.detail());
                (FsmEvent::Malformed(malformed), Some(detail))
            }
        };
        let outputs = self.fsm.event(event);
        signals.extend(self.carry_out(outputs, detail, now));
        signals
    }

    /// Time passed. `blocked_since` says since when the socket has taken nothing although there was something to write.
    pub(crate) fn tick(&mut self, now: Instant, blocked_since: Option<Instant>) -> Vec<Signal> {
        if self.send_check_at <= now {
            match blocked_since.map(|since| since + self.send_hold) {
                Some(at) if at <= now && stalled(self.send_check_at, now, &mut self.send_hold_excused) => {
                    self.send_check_at = now + STALL;
                }
                Some(at) if at <= now => {
                    return vec![Signal::Over(End::sent(Notification::new(8, 0), None))];
                }
                Some(at) => self.send_check_at = at,
                None => {
                    self.send_hold_excused = false;
                    self.send_check_at = now + self.send_hold;
                }
            }
        }
        if let Some(at) = self.hold_at
            && stalled(at, now, &mut self.hold_excused)
        {
            self.hold_at = Some(now + STALL);
        }
        if take_due(&mut self.hold_at, now) {
            let outputs = self.fsm.event(FsmEvent::HoldExpired);
            return self.carry_out(outputs, None, now);
        }
        if take_due(&mut self.keepalive_at, now) {
            let outputs = self.fsm.event(FsmEvent::KeepaliveDue);
            return self.carry_out(outputs, None, now);
        }
        Vec::new()
    }

    /// When [`Session::tick`] has something to do.
    pub(crate) fn deadline(&self) -> Instant {
        [self.hold_at, self.keepalive_at]
            .into_iter()
            .flatten()
            .fold(self.send_check_at, Instant::min)
    }

    pub(crate) fn phase(&self) -> SessionPhase {
        self.fsm.phase()
    }

    pub(crate) fn direction(&self) -> Direction {
        self.direction
    }

    /// The neighbour's identifier, once its OPEN was accepted.
    pub(crate) fn router_id(&self) -> Option<Ipv4Addr> {
        self.router_id
    }

    pub(crate) fn inbound_routes(&self) -> usize {
        self.inbound.len()
    }

    fn carry_out(&mut self, outputs: Vec<FsmOutput>, cause: Option<Cause>, now: Instant) -> Vec<Signal> {
        let mut signals = Vec::with_capacity(outputs.len());
        let mut cause = cause;
        for output in outputs {
            match output {
                FsmOutput::SendOpen(bytes) => signals.push(Signal::Send(Control::Open(bytes))),
                FsmOutput::SendKeepalive(bytes) => signals.push(Signal::Send(Control::Keepalive(bytes))),
                FsmOutput::Hold(after) => self.hold_at = Some(now + after),
                FsmOutput::Keepalive(after) => self.keepalive_at = Some(now + after),
                FsmOutput::Established(negotiated) => {
                    self.send_hold = negotiated.hold_time;
                    self.send_check_at = now + self.send_hold;
                    signals.push(Signal::Established(negotiated));
                }
                FsmOutput::Close(notification) => {
                    signals.push(Signal::Over(End::of(notification, cause.take())));
                    break;
                }
            }
        }
        signals
    }
}

/// What made the machine close.
enum Cause {
    Received(Notification),
    Detail(String),
}

impl End {
    /// We close with a NOTIFICATION.
    pub(crate) fn sent(notification: Notification, text: Option<String>) -> Self {
        let loss = Loss::NotificationSent(info(&notification, text));
        Self {
            notification: Some(notification),
            loss,
            data: Bytes::new(),
        }
    }

    fn of(notification: Option<Notification>, cause: Option<Cause>) -> Self {
        match (notification, cause) {
            (Some(notification), Some(Cause::Detail(text))) => Self::sent(notification, Some(clean(&text))),
            (Some(notification), _) => Self::sent(notification, None),
            (None, Some(Cause::Received(received))) => {
                let text = communication(&received);
                Self {
                    notification: None,
                    loss: Loss::NotificationReceived(info(&received, text)),
                    data: received.data,
                }
            }
            (None, _) => Self {
                notification: None,
                loss: Loss::ConnectionLost {
                    detail: "closed".to_owned(),
                },
                data: Bytes::new(),
            },
        }
    }
}

/// The operator's text in a NOTIFICATION (RFC 9003), cleaned.
pub(crate) fn communication(notification: &Notification) -> Option<String> {
    notification
        .communication()
        .map(|text| clean(&text))
        .filter(|text| !text.is_empty())
}

pub(crate) fn info(notification: &Notification, text: Option<String>) -> NotificationInfo {
    NotificationInfo {
        code: notification.code,
        subcode: notification.subcode,
        meaning: notification.meaning(),
        prefix_limit: notification
            .prefix_limit()
            .filter(|_| notification.is_prefix_limit()),
        text,
    }
}

/// Whether the process must have stood still when this timer was due; true once.
fn stalled(due: Instant, now: Instant, excused: &mut bool) -> bool {
    due + STALL < now && !std::mem::replace(excused, true)
}

fn take_due(at: &mut Option<Instant>, now: Instant) -> bool {
    let due = at.is_some_and(|at| at <= now);
    if due {
        *at = None;
    }
    due
}
