//! Everything that can happen to a neighbour, and what each message does to the connection that it comes on.

use crate::session::tests::{
    message, message_without_marker, notification, open, open_of, unknown_parameter, version_3,
};
use crate::wire::Inbound;

/// The identifier that wins collisions against ours, 10.0.0.1, and one that loses them.
const HIGHER: [u8; 4] = [10, 0, 0, 2];
const LOWER: [u8; 4] = [9, 0, 0, 2];
/// The same one: AS numbers decide (RFC 6286 section 2.3), and ours, 65010, is the higher.
const OURS: [u8; 4] = [10, 0, 0, 1];

const UPDATE: u8 = 2;
const REFRESH: u8 = 5;

pub(super) struct Event {
    pub(super) name: String,
    pub(super) what: What,
}

#[derive(Clone)]
pub(super) enum What {
    Arrives {
        on: Which,
        inbound: Inbound,
        /// In OpenSent, OpenConfirm and Established.
        answers: [Answer; 3],
    },
    Lost(Which),
    /// Its socket takes nothing for 30 s.
    Blocked(Which),
    DialSucceeds,
    DialFails,
    RouterDials,
    NextTimer,
    /// 31 s in which every timer is served in time and nothing arrives.
    Silence,
    /// The process stands still for a minute, so many times: each time the timers are served once, too late.
    StandsStill(u32),
    Disable,
    Enable,
    Reset,
    /// What ended the last session is found.
    Excused,
    Stop,
    StopWithoutAWord,
}

/// The older of two connections, or the newer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    One,
    Two,
}

/// What a message does to its connection (RFC 4271 sections 6 and 8.2.2).
#[derive(Debug, Clone, Copy)]
pub(super) enum Answer {
    Ignored,
    Refresh,
    /// An OPEN that is accepted, of a router against which we win collisions or lose them.
    Opens {
        we_win: bool,
    },
    Establishes,
    /// We end it with this NOTIFICATION.
    Refused(u8, u8),
    /// The router has ended it with this one, which is never answered.
    Ended(u8, u8),
}

impl Which {
    pub(super) const BOTH: [Self; 2] = [Self::One, Self::Two];

    pub(super) fn other(self) -> Self {
        match self {
            Self::One => Self::Two,
            Self::Two => Self::One,
        }
    }

    pub(super) fn number(self) -> u64 {
        match self {
            Self::One => 1,
            Self::Two => 2,
        }
    }
}

impl What {
    /// The connection that it happens to, if it does to one.
    pub(super) fn on(&self) -> Option<Which> {
        match self {
            Self::Arrives { on, .. } | Self::Lost(on) | Self::Blocked(on) => Some(*on),
            _ => None,
        }
    }

    /// Nothing comes after it.
    pub(super) fn is_the_end(&self) -> bool {
        matches!(self, Self::Stop | Self::StopWithoutAWord)
    }
}

/// An error in an OPEN that came as such is answered as that in every state: RFC 4271 section 8.2.2 would have 5/0 in
/// Established, but the bytes are refused before anybody asks for the state.
fn messages() -> Vec<(&'static str, Inbound, [Answer; 3])> {
    use Answer::{Ended, Establishes, Ignored, Opens, Refresh, Refused};
    const FSM: Answer = Refused(5, 0);
    let opens = |we_win| [Opens { we_win }, FSM, FSM];
    let refused = |subcode| [Refused(2, subcode), FSM, FSM];
    let always = |code, subcode| [Refused(code, subcode); 3];
    let mut all = vec![
        ("OPEN of 10.0.0.2", open(HIGHER, 30), opens(false)),
        ("OPEN of 9.0.0.2", open(LOWER, 30), opens(true)),
        ("OPEN of 10.0.0.1", open(OURS, 30), opens(true)),
        ("OPEN, version 3", version_3(), always(2, 1)),
        ("OPEN, another AS", open_of(64999, 30, &[1, 2]), refused(2)),
        ("OPEN of 0.0.0.0", open([0; 4], 30), refused(3)),
        ("OPEN, bad parameter", unknown_parameter(), always(2, 4)),
        ("OPEN, hold time 0", open_of(65001, 0, &[1, 2]), refused(6)),
        ("OPEN, hold time 2", open_of(65001, 2, &[1, 2]), refused(6)),
        ("OPEN, no FlowSpec", open_of(65001, 30, &[]), refused(7)),
        ("KEEPALIVE", message(4, &[]), [FSM, Establishes, Ignored]),
        ("UPDATE", message(UPDATE, &[0; 4]), [FSM, FSM, Ignored]),
        (
            "UPDATE, too many routes",
            too_many_routes(),
            [FSM, FSM, Refused(6, 1)],
        ),
        ("UPDATE, cut off", message(UPDATE, &[0]), always(1, 2)),
        ("REFRESH", message(REFRESH, &[0, 1, 0, 133]), [FSM, FSM, Refresh]),
        (
            "REFRESH, another family",
            message(REFRESH, &[0, 1, 0, 128]),
            [FSM, FSM, Ignored],
        ),
        (
            "REFRESH, cut off",
            message(REFRESH, &[0, 1]),
            [FSM, FSM, Refused(7, 1)],
        ),
        ("unknown type", message(9, &[]), always(1, 3)),
        ("no BGP", message_without_marker(), always(1, 1)),
        ("NOTIFICATION, cut off", message(3, &[]), [Ended(0, 0); 3]),
    ];
    let told = [
        ("NOTIFICATION 1/2", 1, 2),
        ("NOTIFICATION 2/2", 2, 2),
        ("NOTIFICATION 2/7", 2, 7),
        ("NOTIFICATION 3/9", 3, 9),
        ("NOTIFICATION 4/0", 4, 0),
        ("NOTIFICATION 5/0", 5, 0),
        ("NOTIFICATION 6/1", 6, 1),
        ("NOTIFICATION 6/2", 6, 2),
        ("NOTIFICATION 6/7", 6, 7),
        ("NOTIFICATION 6/8", 6, 8),
        ("NOTIFICATION 6/9", 6, 9),
    ];
    all.extend(
        told.map(|(name, code, subcode)| (name, notification(code, subcode), [Ended(code, subcode); 3])),
    );
    all
}

/// One more route than a neighbour may announce.
fn too_many_routes() -> Inbound {
    let mut body = vec![0; 4];
    for n in 0..=1000_u16 {
        body.push(16);
        body.extend(n.to_be_bytes());
    }
    message(UPDATE, &body)
}

pub(super) fn events() -> Vec<Event> {
    let mut all: Vec<(String, What)> = [
        ("our dial succeeds", What::DialSucceeds),
        ("our dial fails", What::DialFails),
        ("the router dials", What::RouterDials),
        ("disable", What::Disable),
        ("enable", What::Enable),
        ("reset", What::Reset),
        ("the loss is excused", What::Excused),
    ]
    .map(|(name, what)| (name.to_owned(), what))
    .into();
    for on in Which::BOTH {
        let number = on.number();
        for (name, inbound, answers) in messages() {
            let what = What::Arrives { on, inbound, answers };
            all.push((format!("{name}, on {number}"), what));
        }
        all.push((format!("{number} is lost"), What::Lost(on)));
        all.push((format!("{number} takes nothing for 30 s"), What::Blocked(on)));
    }
    let rest = [
        ("the next timer", What::NextTimer),
        ("31 s of silence", What::Silence),
        ("a minute's standstill", What::StandsStill(1)),
        ("another after that", What::StandsStill(2)),
        ("stop", What::Stop),
        ("stop without a word", What::StopWithoutAWord),
    ];
    all.extend(rest.map(|(name, what)| (name.to_owned(), what)));
    all.into_iter().map(|(name, what)| Event { name, what }).collect()
}
