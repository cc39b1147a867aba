//! The state machine of one TCP connection, from `rustbgpd-fsm`, reduced to what this speaker uses.
//!
//! What the crate lacks or does differently is done here or by the owner: it offers extended messages (stripped from
//! the OPEN), it would accept a hold time of 0 (refused with 2/6), it needs IPv4 unicast switched off for a session
//! that is not to have it, and it knows graceful restart with fixed flags alone (the capability is ours). Collisions, reconnects and the send hold timer belong to the owner.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::Bytes;
use rustbgpd_fsm::{Action, Event, NegotiatedSession, PeerConfig, Session, SessionState, TimerType};
use rustbgpd_wire::{
    Capability, DecodeError, GracefulRestartFamily, Message, OpenMessage, Safi, encode_message,
};

use super::message::{Notification, keepalive};
use super::{afi, family, safi};
use crate::flowspec::Family;
use crate::restart::{RestartOffer, Retention};
use crate::status::SessionPhase;

/// A hold time of 0 offered by a neighbour is below this and answered with 2/6.
const MIN_HOLD_SECONDS: u16 = 3;
/// Subcode of a ROUTE-REFRESH Message Error (RFC 7313 section 5).
const INVALID_MESSAGE_LENGTH: u8 = 1;

/// What an OPEN is built from and checked against.
#[derive(Debug, Clone)]
pub(crate) struct FsmConfig {
    pub(crate) local_asn: u32,
    pub(crate) router_id: Ipv4Addr,
    pub(crate) hold_seconds: u16,
    pub(crate) peer_asn: u32,
    pub(crate) families: BTreeSet<Family>,
    /// None: no graceful restart is offered.
    pub(crate) graceful_restart: Option<RestartOffer>,
}

/// An OPEN of the neighbour.
#[derive(Debug, Clone)]
pub(crate) struct Open(pub(super) OpenMessage);

/// Why bytes are not a message.
#[derive(Debug, Clone)]
pub(crate) enum Malformed {
    /// As the decoder says; it knows the NOTIFICATION that answers it.
    Decode(DecodeError),
    /// This ROUTE-REFRESH has not the length its subtype demands (RFC 7313 section 5).
    Refresh(Bytes),
}

impl From<DecodeError> for Malformed {
    fn from(error: DecodeError) -> Self {
        Self::Decode(error)
    }
}

#[derive(Debug)]
pub(crate) enum FsmEvent {
    Open(Open),
    Keepalive,
    Update,
    Refresh,
    Notification(Notification),
    Malformed(Malformed),
    HoldExpired,
    KeepaliveDue,
}

#[derive(Debug)]
pub(crate) enum FsmOutput {
    SendOpen(Bytes),
    SendKeepalive(Bytes),
    /// Start or restart.
    Hold(Duration),
    /// Start or restart.
    Keepalive(Duration),
    Established(Negotiated),
    /// Send this if there is something to send, then close.
    Close(Option<Notification>),
}

/// What both sides agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Negotiated {
    pub(crate) router_id: Ipv4Addr,
    pub(crate) hold_time: Duration,
    pub(crate) families: BTreeSet<Family>,
    pub(crate) four_octet_as: bool,
    pub(crate) enhanced_refresh: bool,
    pub(crate) retention: Retention,
    /// What the neighbour offered, in words.
    pub(crate) capabilities: Vec<String>,
    /// What we offered, in words.
    pub(crate) offered: Vec<String>,
}

pub(crate) struct Fsm {
    session: Session,
    restart: Option<Capability>,
    retention: Retention,
    offered: Vec<String>,
}

impl Fsm {
    /// For a connection that is open: gives the OPEN to send.
    pub(crate) fn connected(config: &FsmConfig) -> (Self, Vec<FsmOutput>) {
        let mut peer = PeerConfig::new(config.local_asn, config.peer_asn, config.router_id);
        peer.hold_time = config.hold_seconds;
        peer.min_hold_time = Some(MIN_HOLD_SECONDS);
        peer.families = config
            .families
            .iter()
            .map(|family| (afi(*family), safi(*family)))
            .collect();
        peer.disable_ipv4_unicast = !config.families.contains(&Family::Ipv4Unicast);
        let mut fsm = Self {
            session: Session::new(peer),
            restart: config
                .graceful_restart
                .map(|offer| restart_capability(offer, &config.families)),
            retention: config
                .graceful_restart
                .map_or(Retention::NotOffered, |offer| Retention::Agreed(offer.time)),
            offered: Vec::new(),
        };
        // The crate thinks of dialling; here the connection exists already, so the first transition is skipped over.
        let _ = fsm.session.handle_event(Event::ManualStart);
        let outputs = fsm.handle(Event::TcpConnectionConfirmed);
        (fsm, outputs)
    }

    pub(crate) fn event(&mut self, event: FsmEvent) -> Vec<FsmOutput> {
        self.handle(match event {
            FsmEvent::Open(Open(open)) => Event::OpenReceived(open),
            FsmEvent::Keepalive => Event::KeepaliveReceived,
            FsmEvent::Update => Event::UpdateReceived,
            FsmEvent::Refresh => {
                // The family is of no interest to the machine, which only restarts its hold timer.
                Event::RouteRefreshReceived {
                    afi: rustbgpd_wire::Afi::Ipv4,
                    safi: Safi::FlowSpec,
                }
            }
            FsmEvent::Notification(Notification { code, subcode, data }) => {
                Event::NotificationReceived(rustbgpd_wire::NotificationMessage::new(
                    rustbgpd_wire::NotificationCode::from_u8(code),
                    subcode,
                    data,
                ))
            }
            FsmEvent::Malformed(Malformed::Decode(error)) => Event::DecodeError(error),
            // Closes an established session with just this, any other with an FSM error.
            FsmEvent::Malformed(Malformed::Refresh(message)) => {
                Event::UpdateValidationError(rustbgpd_wire::NotificationMessage::new(
                    rustbgpd_wire::NotificationCode::RouteRefreshMessage,
                    INVALID_MESSAGE_LENGTH,
                    message,
                ))
            }
            FsmEvent::HoldExpired => Event::HoldTimerExpires,
            FsmEvent::KeepaliveDue => Event::KeepaliveTimerExpires,
        })
    }

    pub(crate) fn phase(&self) -> SessionPhase {
        match self.session.state() {
            SessionState::Idle => SessionPhase::Idle,
            SessionState::Connect => SessionPhase::Connect,
            SessionState::Active => SessionPhase::Active,
            SessionState::OpenSent => SessionPhase::OpenSent,
            SessionState::OpenConfirm => SessionPhase::OpenConfirm,
            SessionState::Established => SessionPhase::Established,
        }
    }

    fn handle(&mut self, event: Event) -> Vec<FsmOutput> {
        let mut outputs = Vec::new();
        let mut farewell = None;
        for action in self.session.handle_event(event) {
            match action {
                Action::SendOpen(open) => {
                    let mut open = without_extended_messages(open);
                    open.capabilities.extend(self.restart.clone());
                    self.offered = open.capabilities.iter().map(describe).collect();
                    match encode_message(&Message::Open(open)) {
                        Ok(bytes) => outputs.push(FsmOutput::SendOpen(bytes.freeze())),
                        // Cannot happen with the few capabilities we offer; without an OPEN there is no session.
                        Err(_) => outputs.push(FsmOutput::Close(None)),
                    }
                }
                Action::SendKeepalive => outputs.push(FsmOutput::SendKeepalive(keepalive())),
                Action::SendNotification(notification) => farewell = Some(notification.into()),
                Action::CloseTcpConnection => outputs.push(FsmOutput::Close(farewell.take())),
                Action::StartTimer(TimerType::Hold, seconds) => {
                    outputs.push(FsmOutput::Hold(Duration::from_secs(u64::from(seconds))));
                }
                Action::StartTimer(TimerType::Keepalive, seconds) => {
                    outputs.push(FsmOutput::Keepalive(Duration::from_secs(u64::from(seconds))));
                }
                Action::SessionEstablished(negotiated) => {
                    outputs.push(FsmOutput::Established(self.negotiated(*negotiated)));
                }
                // Connect retry and dialling are the owner's, state changes are read from `phase`, and a timer stops
                // with its connection.
                _ => {}
            }
        }
        outputs
    }

    fn negotiated(&self, session: NegotiatedSession) -> Negotiated {
        // A router that only helps others over their restart lists no family of its own, and keeps ours all the same
        // (RFC 4724 section 3); the crate's own figure knows but those that list one.
        let has_restart = |capability: &Capability| matches!(capability, Capability::GracefulRestart { .. });
        let agrees = session.peer_capabilities.iter().any(has_restart);
        Negotiated {
            retention: match self.retention {
                Retention::Agreed(_) if !agrees => Retention::NotAgreed,
                retention => retention,
            },
            router_id: session.peer_router_id,
            hold_time: Duration::from_secs(u64::from(session.hold_time)),
            families: session
                .negotiated_families
                .into_iter()
                .filter_map(family)
                .collect(),
            four_octet_as: session.four_octet_as,
            enhanced_refresh: session.peer_enhanced_route_refresh,
            capabilities: session.peer_capabilities.iter().map(describe).collect(),
            offered: self.offered.clone(),
        }
    }
}

impl Open {
    pub(crate) fn router_id(&self) -> Ipv4Addr {
        self.0.bgp_identifier
    }
}

impl Malformed {
    pub(crate) fn detail(&self) -> String {
        match self {
            Self::Decode(error) => error.to_string(),
            Self::Refresh(message) => format!("a ROUTE-REFRESH of {} bytes", message.len()),
        }
    }
}

/// One UPDATE over 4096 bytes resets some routers that negotiated them.
fn without_extended_messages(mut open: OpenMessage) -> OpenMessage {
    open.capabilities
        .retain(|capability| !matches!(capability, Capability::ExtendedMessage));
    open
}

/// The N bit (RFC 8538) is not set: a NOTIFICATION is to cost the rules.
fn restart_capability(offer: RestartOffer, families: &BTreeSet<Family>) -> Capability {
    Capability::GracefulRestart {
        restart_state: offer.restarting,
        notification: false,
        restart_time: offer.time.as_secs(),
        families: families
            .iter()
            .map(|family| GracefulRestartFamily {
                afi: afi(*family),
                safi: safi(*family),
                forwarding_preserved: offer.complete,
            })
            .collect(),
    }
}

fn describe(capability: &Capability) -> String {
    match capability {
        Capability::MultiProtocol { afi, safi } => family((*afi, *safi)).map_or_else(
            || format!("afi {} safi {}", *afi as u16, *safi as u8),
            |family| family.to_string(),
        ),
        Capability::GracefulRestart { restart_time, .. } => format!("graceful-restart {restart_time}s"),
        Capability::LongLivedGracefulRestart(_) => "long-lived-graceful-restart".to_owned(),
        Capability::RouteRefresh => "route-refresh".to_owned(),
        Capability::EnhancedRouteRefresh => "enhanced-route-refresh".to_owned(),
        Capability::ExtendedMessage => "extended-message".to_owned(),
        Capability::AddPath(_) => "add-path".to_owned(),
        Capability::ExtendedNextHop(_) => "extended-next-hop".to_owned(),
        Capability::FourOctetAs { asn } => format!("four-octet-as {asn}"),
        Capability::Unknown { code, .. } => format!("capability {code}"),
        _ => "other".to_owned(),
    }
}
