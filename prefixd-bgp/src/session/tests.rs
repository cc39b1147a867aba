use std::collections::BTreeSet;

use bytes::BytesMut;

use super::*;
use crate::wire::frame;

const HOLD: u16 = 30;

pub(crate) fn config() -> FsmConfig {
    FsmConfig {
        local_asn: 65010,
        router_id: Ipv4Addr::new(10, 0, 0, 1),
        hold_seconds: HOLD,
        peer_asn: 65001,
        families: BTreeSet::from(Family::FLOWSPEC),
        graceful_restart: None,
    }
}

pub(crate) fn message(kind: u8, body: &[u8]) -> Inbound {
    let mut bytes = BytesMut::from(&[0xFF; 16][..]);
    bytes.extend_from_slice(&u16::try_from(19 + body.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(&[kind]);
    bytes.extend_from_slice(body);
    let inbound = frame(&mut bytes).unwrap();
    assert!(bytes.is_empty() || matches!(inbound, Inbound::Malformed(_)));
    inbound
}

/// AS 65001 with both FlowSpec families.
pub(crate) fn open(router_id: [u8; 4], hold: u8) -> Inbound {
    let mut body = vec![4, 0xFD, 0xE9, 0, hold];
    body.extend(router_id);
    body.extend([14, 2, 12, 1, 4, 0, 1, 0, 133, 1, 4, 0, 2, 0, 133]);
    message(1, &body)
}

/// Of this AS, with FlowSpec for these AFIs, or IPv4 unicast alone.
pub(crate) fn open_of(asn: u16, hold: u8, afis: &[u8]) -> Inbound {
    let mut capabilities: Vec<u8> = afis.iter().flat_map(|afi| [1, 4, 0, *afi, 0, 133]).collect();
    if afis.is_empty() {
        capabilities.extend([1, 4, 0, 1, 0, 1]);
    }
    let length = u8::try_from(capabilities.len()).unwrap();
    let [high, low] = asn.to_be_bytes();
    let mut body = vec![4, high, low, 0, hold, 10, 0, 0, 2, length + 2, 2, length];
    body.extend(capabilities);
    message(1, &body)
}

/// AS 65001 without parameters, after a change.
fn plain_open(change: impl FnOnce(&mut Vec<u8>)) -> Inbound {
    let mut body = vec![4, 0xFD, 0xE9, 0, 9, 10, 0, 0, 2, 0];
    change(&mut body);
    message(1, &body)
}

pub(crate) fn version_3() -> Inbound {
    plain_open(|body| body[0] = 3)
}

/// Parameter 1, authentication, which RFC 4271 has taken out.
pub(crate) fn unknown_parameter() -> Inbound {
    plain_open(|body| {
        body[9] = 3;
        body.extend([1, 1, 0]);
    })
}

/// A capability that is longer than the parameter.
fn parameters_cut_off() -> Inbound {
    plain_open(|body| {
        body[9] = 5;
        body.extend([2, 3, 1, 4, 0]);
    })
}

pub(crate) fn keepalive() -> Inbound {
    message(4, &[])
}

pub(crate) fn notification(code: u8, subcode: u8) -> Inbound {
    message(3, &[code, subcode])
}

fn in_phase(phase: SessionPhase, now: Instant) -> Session {
    let (mut session, signals) = Session::start(&config(), Direction::Outgoing, now);
    assert!(matches!(signals[..], [Signal::Send(Control::Open(_))]));
    if phase >= SessionPhase::OpenConfirm {
        let signals = session.receive(open([10, 0, 0, 2], 9), now);
        assert!(
            matches!(signals[..], [Signal::Opened, Signal::Send(Control::Keepalive(_))]),
            "{signals:?}"
        );
    }
    if phase == SessionPhase::Established {
        let signals = session.receive(keepalive(), now);
        assert!(matches!(signals[..], [Signal::Established(_)]), "{signals:?}");
    }
    assert_eq!(session.phase(), phase);
    session
}

/// The NOTIFICATION a session ends with, `None` if it goes on.
fn ended(signals: &[Signal]) -> Option<Option<(u8, u8)>> {
    match signals.last() {
        Some(Signal::Over(end)) => Some(end.notification.as_ref().map(|sent| (sent.code, sent.subcode))),
        _ => None,
    }
}

/// Every state against every message: what ends the session, and with which NOTIFICATION.
#[test]
fn state_table() {
    use SessionPhase::{Established, OpenConfirm, OpenSent};
    const GOES_ON: Option<Option<(u8, u8)>> = None;
    const IN_SILENCE: Option<Option<(u8, u8)>> = Some(None);
    const fn sent(code: u8, subcode: u8) -> Option<Option<(u8, u8)>> {
        Some(Some((code, subcode)))
    }
    const FSM: Option<Option<(u8, u8)>> = sent(5, 0);
    const PHASES: [SessionPhase; 3] = [OpenSent, OpenConfirm, Established];
    let open_from = open;
    let open = open([10, 0, 0, 2], 9);
    let update = message(2, &[0, 0, 0, 0]);
    let refresh = message(5, &[0, 1, 0, 133]);
    #[rustfmt::skip]
    let table = [
        // what arrives                                            OpenSent    OpenConfirm Established
        ("OPEN",                           open,                  [GOES_ON,    FSM,        FSM]),
        ("OPEN, IPv4 FlowSpec alone",      open_of(65001, 9, &[1]), [GOES_ON,  FSM,        FSM]),
        ("OPEN, hold time 0",              open_of(65001, 0, &[1]), [sent(2, 6), FSM,      FSM]),
        ("OPEN, hold time 2",              open_of(65001, 2, &[1]), [sent(2, 6), FSM,      FSM]),
        ("OPEN, another AS",               open_of(64999, 9, &[1]), [sent(2, 2), FSM,      FSM]),
        ("OPEN, no FlowSpec",              open_of(65001, 9, &[]), [sent(2, 7), FSM,       FSM]),
        ("OPEN, identifier 0.0.0.0",       open_from([0; 4], 9),  [sent(2, 3), FSM,        FSM]),
        // The bytes are refused before anybody asks for the state.
        ("OPEN, version 3",                version_3(),           [sent(2, 1), sent(2, 1), sent(2, 1)]),
        ("OPEN, authentication",           unknown_parameter(),   [sent(2, 4), sent(2, 4), sent(2, 4)]),
        ("OPEN, cut off",                  message(1, &[4; 9]),   [sent(1, 2), sent(1, 2), sent(1, 2)]),
        ("OPEN, parameters cut off",       parameters_cut_off(),  [sent(2, 0), sent(2, 0), sent(2, 0)]),
        ("KEEPALIVE",                      keepalive(),           [FSM,        GOES_ON,    GOES_ON]),
        ("UPDATE",                         update,                [FSM,        FSM,        GOES_ON]),
        ("UPDATE, cut off",                message(2, &[0]),      [sent(1, 2), sent(1, 2), sent(1, 2)]),
        ("ROUTE-REFRESH",                  refresh,               [FSM,        FSM,        GOES_ON]),
        ("ROUTE-REFRESH, cut off",         message(5, &[0, 1]),   [FSM,        FSM,        sent(7, 1)]),
        ("NOTIFICATION",                   notification(6, 2),    [IN_SILENCE, IN_SILENCE, IN_SILENCE]),
        ("NOTIFICATION, cut off",          message(3, &[]),       [IN_SILENCE, IN_SILENCE, IN_SILENCE]),
        ("an unknown type",                message(9, &[]),       [sent(1, 3), sent(1, 3), sent(1, 3)]),
        ("no BGP",                         message_without_marker(), [sent(1, 1), sent(1, 1), sent(1, 1)]),
    ];
    let now = Instant::now();
    for (name, input, expected) in table {
        for (phase, expected) in PHASES.into_iter().zip(expected) {
            let mut session = in_phase(phase, now);
            let signals = session.receive(input.clone(), now);
            assert_eq!(ended(&signals), expected, "{name} in {phase}: {signals:?}");
        }
    }
    for phase in PHASES {
        let session = in_phase(phase, now);
        assert_eq!(wait(session), Some((4, 0)), "hold timer in {phase}");
        let mut session = in_phase(phase, now);
        let signals = session.tick(session.send_check_at, Some(now));
        assert_eq!(ended(&signals), sent(8, 0), "send hold timer in {phase}");
    }
}

/// RFC 6286 section 2.2: between two AS the same identifier is no error, and decides no collision.
#[test]
fn our_own_identifier_is_refused_only_inside_the_as() {
    let now = Instant::now();
    let own = open(config().router_id.octets(), 9);
    let (mut session, _) = Session::start(&config(), Direction::Outgoing, now);
    assert_eq!(ended(&session.receive(own, now)), None);
    assert_eq!(session.phase(), SessionPhase::OpenConfirm);

    let internal = FsmConfig {
        local_asn: 65001,
        ..config()
    };
    for (id, expected) in [
        (config().router_id.octets(), Some(Some((2, 3)))),
        ([10, 0, 0, 2], None),
    ] {
        let (mut session, _) = Session::start(&internal, Direction::Outgoing, now);
        assert_eq!(ended(&session.receive(open(id, 9), now)), expected, "{id:?}");
    }
}

/// Nothing arrives and every timer is served in time: the NOTIFICATION of the end.
fn wait(mut session: Session) -> Option<(u8, u8)> {
    for _ in 0..100 {
        if let Some(sent) = ended(&session.tick(session.deadline(), None)) {
            return sent;
        }
    }
    panic!("no timer ended the session")
}

#[test]
fn a_process_that_stood_still_reads_before_it_judges() {
    let now = Instant::now();
    let at = |seconds| now + Duration::from_secs(seconds);
    let mut session = in_phase(SessionPhase::Established, now);
    let signals = session.tick(at(60), None);
    assert!(
        matches!(signals[..], [Signal::Send(Control::Keepalive(_))]),
        "{signals:?}"
    );
    session.receive(keepalive(), at(60));
    assert_eq!(
        ended(&session.tick(at(68), None)),
        None,
        "it was there all the time"
    );

    // Again, and this time nothing was waiting.
    assert_eq!(ended(&session.tick(at(90), None)), None);
    assert_eq!(ended(&session.tick(at(91), None)), Some(Some((4, 0))));

    // A process that cannot serve any timer in time still loses a neighbour that is gone.
    let mut session = in_phase(SessionPhase::Established, now);
    assert_eq!(ended(&session.tick(at(60), None)), None);
    assert_eq!(ended(&session.tick(at(120), None)), Some(Some((4, 0))));

    // The same for a socket that may take something again by now.
    let mut session = in_phase(SessionPhase::Established, now);
    assert_eq!(ended(&session.tick(at(60), Some(now))), None);
    session.receive(keepalive(), at(60));
    assert_eq!(ended(&session.tick(at(61), Some(now))), Some(Some((8, 0))));
}

#[test]
fn a_notification_that_is_cut_off_ends_the_session_without_an_answer() {
    let now = Instant::now();
    for (body, code) in [(&[][..], 0), (&[6][..], 6)] {
        for phase in [
            SessionPhase::OpenSent,
            SessionPhase::OpenConfirm,
            SessionPhase::Established,
        ] {
            let mut session = in_phase(phase, now);
            let signals = session.receive(message(3, body), now);
            let [
                Signal::Over(End {
                    notification: None,
                    loss,
                    ..
                }),
            ] = &signals[..]
            else {
                panic!("{signals:?}")
            };
            assert!(
                matches!(loss, Loss::NotificationReceived(info) if (info.code, info.subcode) == (code, 0)),
                "{loss:?}"
            );
        }
    }
}

#[test]
fn a_refresh_of_the_wrong_length_is_answered_as_such() {
    let now = Instant::now();
    for body in [&[][..], &[0, 1, 0], &[0, 1, 1, 133, 0], &[0, 1, 2, 133, 0, 0]] {
        let mut session = in_phase(SessionPhase::Established, now);
        let signals = session.receive(message(5, body), now);
        assert_eq!(ended(&signals), Some(Some((7, 1))), "{body:?}");
    }
    let mut session = in_phase(SessionPhase::Established, now);
    let signals = session.receive(message(5, &[0, 1, 0, 133, 1, 64, 0, 0]), now);
    assert!(
        matches!(signals[..], [Signal::Refresh(Family::Ipv4)]),
        "filters that nobody agreed on are ignored: {signals:?}"
    );
}

pub(crate) fn message_without_marker() -> Inbound {
    frame(&mut BytesMut::from(&[0; 19][..])).unwrap()
}

#[test]
fn the_smaller_hold_time_counts_and_keepalives_come_at_a_third() {
    let now = Instant::now();
    let mut session = in_phase(SessionPhase::Established, now);
    let second = Duration::from_secs(1);
    assert_eq!(session.deadline(), now + 3 * second);
    let signals = session.tick(now + 3 * second, None);
    assert!(
        matches!(signals[..], [Signal::Send(Control::Keepalive(_))]),
        "{signals:?}"
    );
    session.receive(keepalive(), now + 8 * second);
    assert_eq!(session.deadline(), now + 6 * second);
    session.tick(now + 6 * second, None);
    assert!(
        session
            .tick(now + 9 * second, None)
            .iter()
            .all(|signal| !matches!(signal, Signal::Over(_)))
    );
    session.tick(now + 12 * second, None);
    session.tick(now + 15 * second, None);
    assert_eq!(
        ended(&session.tick(now + 17 * second, None)),
        Some(Some((4, 0))),
        "9 s after the last message"
    );
}

#[test]
fn the_send_hold_timer_counts_from_the_last_progress() {
    let now = Instant::now();
    let mut session = in_phase(SessionPhase::Established, now);
    let at = |seconds| now + Duration::from_secs(seconds);
    assert!(!matches!(
        ended(&session.tick(at(9), Some(at(5)))),
        Some(Some((8, 0)))
    ));
    session.receive(keepalive(), at(9));
    assert_eq!(ended(&session.tick(at(14), Some(at(5)))), Some(Some((8, 0))));
}

#[test]
fn a_refresh_of_another_family_only_holds_the_session() {
    let now = Instant::now();
    let mut session = in_phase(SessionPhase::Established, now);
    assert!(session.receive(message(5, &[0, 1, 0, 128]), now).is_empty());
    assert!(
        session.receive(message(5, &[0, 1, 1, 133]), now).is_empty(),
        "BoRR is for receivers of routes"
    );
    let signals = session.receive(message(5, &[0, 2, 0, 133]), now);
    assert!(matches!(signals[..], [Signal::Refresh(Family::Ipv6)]));
}

mod framing {
    use proptest::prelude::*;

    use super::*;

    /// The bytes in pieces of any size give the same messages as at once, and never a panic.
    fn messages(pieces: &[&[u8]]) -> Vec<String> {
        let mut buffer = BytesMut::new();
        let mut all = Vec::new();
        for piece in pieces {
            buffer.extend_from_slice(piece);
            while let Some(inbound) = frame(&mut buffer) {
                let malformed = matches!(inbound, Inbound::Malformed(_));
                all.push(format!("{inbound:?}"));
                if malformed {
                    return all;
                }
            }
        }
        all
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces(
            kinds in proptest::collection::vec((0..8_u8, proptest::collection::vec(any::<u8>(), 0..64)), 1..6),
            noise in proptest::collection::vec(any::<u8>(), 0..40),
            cut in any::<usize>(),
        ) {
            let mut bytes = Vec::new();
            for (kind, body) in kinds {
                bytes.extend([0xFF; 16]);
                bytes.extend(u16::try_from(19 + body.len()).unwrap().to_be_bytes());
                bytes.push(kind);
                bytes.extend(body);
            }
            bytes.extend(noise);
            let (one, two) = bytes.split_at(cut % bytes.len());
            prop_assert_eq!(messages(&[one, two]), messages(&[&bytes]));
        }

        #[test]
        fn any_messages_in_any_state(
            established in any::<bool>(),
            inputs in proptest::collection::vec((1..6_u8, proptest::collection::vec(any::<u8>(), 0..40)), 0..12),
        ) {
            let now = Instant::now();
            let phase = if established { SessionPhase::Established } else { SessionPhase::OpenSent };
            let mut session = in_phase(phase, now);
            for (kind, body) in inputs {
                let signals = session.receive(message(kind, &body), now);
                let over = signals.iter().position(|signal| matches!(signal, Signal::Over(_)));
                if let Some(position) = over {
                    prop_assert_eq!(position, signals.len() - 1, "the end is the last signal");
                    break;
                }
            }
        }
    }
}
