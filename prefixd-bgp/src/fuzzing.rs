//! What the fuzzers and the replay of their corpus call: any bytes, and a panic when a promise is broken.
//!
//! What a router sends: [`framing`], [`open`], [`notification`], [`update`], and [`session`] for all of it in any order.
//! What we send: [`flowspec`].

mod rule;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::Instant;

use crate::flowspec::Family;
use crate::restart::{RestartOffer, RestartTime};
use crate::session::{Control, Direction, MAX_INBOUND_ROUTES, Session, Signal, communication};
use crate::status::SessionPhase;
use crate::wire::{
    Fsm, FsmConfig, FsmOutput, HEADER, Inbound, InboundRoutes, MAX_MESSAGE, Notification, frame, keepalive,
    shutdown_text,
};
pub use rule::flowspec;

const OPEN: u8 = 1;
const NOTIFICATION: u8 = 3;
/// What we offer in the sessions below.
const HOLD_SECONDS: u16 = 30;

/// A stream gives the same messages in whatever pieces it arrives. The first byte says where it is cut.
pub fn framing(bytes: &[u8]) {
    let Some((cut, stream)) = bytes.split_first() else {
        return;
    };
    let (one, two) = stream.split_at(usize::from(*cut).min(stream.len()));
    assert_eq!(messages(&[one, two]), messages(&[stream]));
}

fn messages(pieces: &[&[u8]]) -> Vec<String> {
    let mut buffer = BytesMut::new();
    let mut all = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            let before = buffer.len();
            let Some(inbound) = frame(&mut buffer) else { break };
            all.push(format!("{inbound:?}"));
            if matches!(inbound, Inbound::Malformed(_)) {
                return all;
            }
            let taken = before - buffer.len();
            assert!(
                (HEADER..=MAX_MESSAGE).contains(&taken),
                "a message of {taken} bytes"
            );
        }
    }
    all
}

/// The body of an OPEN: a session comes about only with what both sides have, and with a hold time.
pub fn open(body: &[u8]) {
    let now = Instant::now();
    let (mut session, signals) = Session::start(&config(), Direction::Outgoing, now);
    let ours = signals.iter().find_map(|signal| match signal {
        Signal::Send(Control::Open(bytes)) => Some(bytes),
        _ => None,
    });
    assert!(ours.is_some(), "our OPEN comes first");
    let Some(inbound) = framed(OPEN, body) else { return };
    let signals = session.receive(inbound, now);
    if session.phase() != SessionPhase::OpenConfirm {
        assert!(matches!(signals.last(), Some(Signal::Over(_))), "{signals:?}");
        return;
    }
    assert!(session.router_id().is_some_and(|id| !id.is_unspecified()));
    let signals = session.receive(Inbound::Keepalive, now);
    let Some(Signal::Established(negotiated)) = signals.last() else {
        assert!(signals.is_empty(), "not established: {signals:?}");
        return;
    };
    let hold = negotiated.hold_time.as_secs();
    assert!((3..=u64::from(HOLD_SECONDS)).contains(&hold), "hold time {hold}");
    assert!(!negotiated.families.is_empty());
    assert!(negotiated.families.is_subset(&config().families));
}

/// Our own OPEN for any settings is read back as what was meant.
pub fn own_open(bytes: &[u8]) {
    let Some((head, _)) = bytes.split_first_chunk::<11>() else {
        return;
    };
    let [a, b, c, d, e, f, g, h, hold_high, hold_low, families] = *head;
    let config = FsmConfig {
        local_asn: u32::from_be_bytes([a, b, c, d]).max(1),
        router_id: Ipv4Addr::new(e, f, g, h),
        hold_seconds: u16::from_be_bytes([hold_high, hold_low]).max(3),
        families: Family::ALL
            .into_iter()
            .filter(|family| families & (1 << family.index()) != 0)
            .collect(),
        ..config()
    };
    let (_, outputs) = Fsm::connected(&config);
    let sent = outputs.iter().find_map(|output| match output {
        FsmOutput::SendOpen(bytes) => Some(bytes),
        _ => None,
    });
    let Some(sent) = sent.filter(|_| !config.router_id.is_unspecified()) else {
        return;
    };
    let Some(Inbound::Open(open)) = frame(&mut BytesMut::from(&sent[..])) else {
        assert!(
            config.families.is_empty(),
            "we do not understand our own OPEN {sent:?}"
        );
        return;
    };
    assert_eq!(open.router_id(), config.router_id);
    // Version, AS (AS_TRANS for one that does not fit), hold time: RFC 4271 section 4.2, RFC 6793 section 9.
    let asn = u16::try_from(config.local_asn).unwrap_or(23456);
    let mut head = vec![4];
    head.extend(asn.to_be_bytes());
    head.extend(config.hold_seconds.to_be_bytes());
    assert_eq!(sent.get(HEADER..HEADER + 5), Some(&head[..]));
}

/// The body of a NOTIFICATION: it is read, written and read as the same, and its text is fit for a screen.
pub fn notification(body: &[u8]) {
    let Some(inbound) = framed(NOTIFICATION, body) else {
        return;
    };
    // Never answered (RFC 4271 section 6.4), so never malformed.
    assert!(matches!(inbound, Inbound::Notification(_)), "{inbound:?}");
    let Inbound::Notification(notification) = inbound else {
        return;
    };
    let again = frame(&mut BytesMut::from(&notification.encode()[..]));
    let same = matches!(&again, Some(Inbound::Notification(again)) if *again == notification);
    assert!(same, "{notification:?} reads back as {again:?}");
    if let Some(text) = communication(&notification) {
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }
    let _ = (notification.meaning(), notification.prefix_limit());
    shutdown(body);
}

/// Our own text in a Cease arrives as a beginning of what was meant (RFC 9003).
fn shutdown(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let notification = Notification {
        data: shutdown_text(&text),
        ..Notification::cease(2)
    };
    let arrived = notification.communication().unwrap_or_default();
    assert!(
        arrived.len() <= 128 && text.starts_with(&arrived),
        "{text:?} arrives as {arrived:?}"
    );
    assert!(
        arrived == text || arrived.len() > 124,
        "{text:?} is cut to {arrived:?}"
    );
}

/// The body of an UPDATE: counted up to a bound, whatever it holds.
pub fn update(body: &[u8]) {
    let mut routes = InboundRoutes::default();
    routes.update(body, 10);
    routes.update(body, 10);
    assert!(routes.len() <= 11);
}

/// A session hears messages and silences in any order: it ends at most once, and with its last signal; it goes on only
/// while it has a timer; it holds no more routes than it may. Each step is a type, a length and that many bytes; types
/// above those of BGP are seconds that pass.
pub fn session(mut bytes: &[u8]) {
    let mut now = Instant::now();
    let (mut session, _) = Session::start(&config(), Direction::Incoming, now);
    while let [kind, length, rest @ ..] = bytes {
        let (body, after) = rest.split_at(usize::from(*length).min(rest.len()));
        bytes = after;
        let signals = if *kind > 8 {
            now += Duration::from_secs(u64::from(*kind));
            session.tick(now, (*length > 128).then_some(now))
        } else {
            let Some(inbound) = framed(*kind, body) else {
                continue;
            };
            session.receive(inbound, now)
        };
        let over = signals
            .iter()
            .position(|signal| matches!(signal, Signal::Over(_)));
        if let Some(at) = over {
            assert_eq!(at, signals.len() - 1, "{signals:?}");
            return;
        }
        assert!(session.inbound_routes() <= MAX_INBOUND_ROUTES);
        let waits = session.deadline().saturating_duration_since(now);
        assert!(
            waits <= Duration::from_secs(u64::from(HOLD_SECONDS)),
            "waits {waits:?}"
        );
    }
}

fn config() -> FsmConfig {
    FsmConfig {
        local_asn: 65010,
        router_id: Ipv4Addr::new(10, 0, 0, 1),
        hold_seconds: HOLD_SECONDS,
        peer_asn: 65001,
        families: BTreeSet::from(Family::FLOWSPEC),
        graceful_restart: Some(RestartOffer {
            time: RestartTime::MAX,
            restarting: true,
            complete: true,
        }),
    }
}

/// A message with this body; `None` for one that is too long.
fn framed(kind: u8, body: &[u8]) -> Option<Inbound> {
    let length = u16::try_from(HEADER + body.len()).ok()?;
    let mut bytes = BytesMut::from(&keepalive()[..]);
    bytes[16..18].copy_from_slice(&length.to_be_bytes());
    bytes[18] = kind;
    bytes.extend_from_slice(body);
    let inbound = frame(&mut bytes).filter(|_| usize::from(length) <= MAX_MESSAGE);
    assert!(inbound.is_none() || bytes.is_empty() || matches!(inbound, Some(Inbound::Malformed(_))));
    inbound
}
