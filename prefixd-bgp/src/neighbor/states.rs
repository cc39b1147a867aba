//! Every state of a neighbour against every event, compared with the table in `states.txt`.
//!
//! The table is for reading: a change of the machine shows there as what it does to whom.
//! `PREFIXD_UPDATE=1 cargo test -p prefixd-bgp states` writes it anew.

use std::fmt::Write as _;

use super::tests::{ONE, SECOND, THREE, TWO, keepalive_on, neighbor, open_from, said};
use super::*;
use crate::session::tests::{message, message_without_marker, notification, open_of};

const TABLE: &str = include_str!("states.txt");

/// The identifier that wins collisions against ours, 10.0.0.1, and one that loses them.
const HIGHER: [u8; 4] = [10, 0, 0, 2];
const LOWER: [u8; 4] = [9, 0, 0, 2];

type Enter = fn(Instant) -> Neighbor;
type Happen = fn(&mut Neighbor, Instant) -> Vec<Effect>;

fn after(mut neighbor: Neighbor, inputs: impl IntoIterator<Item = Input>, now: Instant) -> Neighbor {
    for input in inputs {
        neighbor.handle(input, now);
    }
    neighbor
}

fn dialling(now: Instant) -> Neighbor {
    let mut neighbor = neighbor(false, now);
    neighbor.dialling = Dialling::At(now);
    neighbor.tick(now, |_| None);
    neighbor
}

fn confirmed(now: Instant) -> Neighbor {
    after(dialling(now), [Input::Dialled(ONE), open_from(ONE, HIGHER)], now)
}

fn established(now: Instant) -> Neighbor {
    after(confirmed(now), [keepalive_on(ONE)], now)
}

fn states() -> [(&'static str, Enter); 14] {
    [
        ("waiting to dial", |now| neighbor(false, now)),
        ("dialling", dialling),
        ("passive, waiting to be dialled", |now| neighbor(true, now)),
        ("held down after an OPEN error", |now| {
            let refused = Input::Received(ONE, notification(2, 2));
            after(dialling(now), [Input::Dialled(ONE), refused], now)
        }),
        ("passive, held down after a Cease/1", |now| {
            let full = Input::Received(ONE, notification(6, 1));
            let steps = [
                Input::Accepted(ONE),
                open_from(ONE, HIGHER),
                keepalive_on(ONE),
                full,
            ];
            after(neighbor(true, now), steps, now)
        }),
        ("disabled", |now| {
            let mut neighbor = established(now);
            neighbor.pause(None);
            neighbor
        }),
        ("OpenSent, we dialled", |now| {
            after(dialling(now), [Input::Dialled(ONE)], now)
        }),
        ("OpenSent, the router dialled while we still do", |now| {
            after(dialling(now), [Input::Accepted(ONE)], now)
        }),
        ("OpenConfirm, we dialled", confirmed),
        ("Established, we dialled", established),
        ("passive, Established", |now| {
            let steps = [Input::Accepted(ONE), open_from(ONE, HIGHER), keepalive_on(ONE)];
            after(neighbor(true, now), steps, now)
        }),
        ("OpenSent on both: 1 by the router, 2 by us", |now| {
            after(dialling(now), [Input::Accepted(ONE), Input::Dialled(TWO)], now)
        }),
        ("OpenConfirm on 1 by us, OpenSent on 2 by the router", |now| {
            after(confirmed(now), [Input::Accepted(TWO)], now)
        }),
        ("Established on 1, OpenSent on 2 by the router", |now| {
            after(established(now), [Input::Accepted(TWO)], now)
        }),
    ]
}

fn events() -> [(&'static str, Happen); 29] {
    fn on(id: ConnectionId, inbound: Inbound) -> Input {
        Input::Received(id, inbound)
    }
    [
        ("our dial succeeds", |one, now| {
            one.handle(Input::Dialled(THREE), now)
        }),
        ("our dial fails", |one, now| {
            one.handle(
                Input::DialFailed {
                    detail: "refused".into(),
                },
                now,
            )
        }),
        ("the router dials", |one, now| {
            one.handle(Input::Accepted(THREE), now)
        }),
        ("OPEN, 10.0.0.2, on 1", |one, now| {
            one.handle(open_from(ONE, HIGHER), now)
        }),
        ("OPEN, 10.0.0.2, on 2", |one, now| {
            one.handle(open_from(TWO, HIGHER), now)
        }),
        ("OPEN, 9.0.0.2, on 1", |one, now| {
            one.handle(open_from(ONE, LOWER), now)
        }),
        ("OPEN, 9.0.0.2, on 2", |one, now| {
            one.handle(open_from(TWO, LOWER), now)
        }),
        ("OPEN of another AS on 1", |one, now| {
            one.handle(on(ONE, open_of(64999, 30, &[1, 2])), now)
        }),
        ("OPEN with hold time 0 on 1", |one, now| {
            one.handle(on(ONE, open_of(65001, 0, &[1, 2])), now)
        }),
        ("OPEN without FlowSpec on 1", |one, now| {
            one.handle(on(ONE, open_of(65001, 30, &[])), now)
        }),
        ("KEEPALIVE on 1", |one, now| one.handle(keepalive_on(ONE), now)),
        ("KEEPALIVE on 2", |one, now| one.handle(keepalive_on(TWO), now)),
        ("UPDATE on 1", |one, now| {
            one.handle(on(ONE, message(2, &[0; 4])), now)
        }),
        ("ROUTE-REFRESH on 1", |one, now| {
            one.handle(on(ONE, message(5, &[0, 1, 0, 133])), now)
        }),
        ("NOTIFICATION 6/2 on 1", |one, now| {
            one.handle(on(ONE, notification(6, 2)), now)
        }),
        ("NOTIFICATION 6/1 on 1", |one, now| {
            one.handle(on(ONE, notification(6, 1)), now)
        }),
        ("NOTIFICATION 3/9 on 1", |one, now| {
            one.handle(on(ONE, notification(3, 9)), now)
        }),
        ("NOTIFICATION 6/2 on 2", |one, now| {
            one.handle(on(TWO, notification(6, 2)), now)
        }),
        ("no BGP on 1", |one, now| {
            one.handle(on(ONE, message_without_marker()), now)
        }),
        ("1 is lost", |one, now| {
            one.handle(Input::Lost(ONE, "reset".into()), now)
        }),
        ("2 is lost", |one, now| {
            one.handle(Input::Lost(TWO, "reset".into()), now)
        }),
        ("the next timer", |one, now| {
            one.tick(one.deadline().unwrap_or(now), |_| None)
        }),
        ("31 s of silence", |one, now| {
            let until = now + 31 * SECOND;
            let mut effects = Vec::new();
            while let Some(at) = one.deadline().filter(|at| *at <= until) {
                effects.extend(one.tick(at, |_| None));
            }
            // Keepalives and attempts to dial repeat; once is enough to read.
            let mut shown = Vec::new();
            effects.retain(|effect| {
                let text = said(std::slice::from_ref(effect));
                let new = !shown.contains(&text);
                shown.push(text);
                new
            });
            effects
        }),
        ("1 takes nothing for 30 s", |one, now| {
            one.tick(now + 30 * SECOND, |id| (id == ONE).then_some(now))
        }),
        ("disable", |one, _| one.pause(Some(&Notification::cease(2)))),
        ("enable", |one, now| {
            one.resume(now);
            Vec::new()
        }),
        ("reset", |one, now| one.restart(&Notification::cease(4), now)),
        ("stop", |one, _| one.stop(Some(&Notification::cease(2)))),
        ("restart without a word", |one, _| one.stop(None)),
    ]
}

/// What the neighbour is now, in short.
fn described(neighbor: &Neighbor, now: Instant) -> String {
    let mut parts: Vec<String> = [&neighbor.current, &neighbor.candidate]
        .into_iter()
        .flatten()
        .map(|one| format!("{} {}", one.id.0, one.session.phase()))
        .collect();
    match neighbor.dialling {
        Dialling::No => {}
        Dialling::Connecting { .. } => parts.push("dialling".to_owned()),
        Dialling::At(at) => parts.push(match at.saturating_duration_since(now).as_secs() {
            0 => "dials soon".to_owned(),
            seconds => format!("dials in {seconds} s"),
        }),
    }
    if neighbor.paused {
        parts.push("disabled".to_owned());
    } else if neighbor.retry.held_down(now) {
        parts.push("held down".to_owned());
    }
    if parts.is_empty() {
        parts.push("waits to be dialled".to_owned());
    }
    parts.join(", ")
}

/// In lines of a readable length.
fn wrapped(head: &str, words: &[&str]) -> String {
    let mut text = head.to_owned();
    let mut column = head.len();
    for (index, word) in words.iter().enumerate() {
        if column + word.len() > 112 {
            text.push_str("\n        ");
            column = 8;
        }
        text.push_str(word);
        text.push_str(if index + 1 == words.len() { "" } else { "; " });
        column += word.len() + 2;
    }
    text.lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect()
}

#[test]
fn every_state_against_every_event() {
    let now = Instant::now();
    let mut table = String::from(
        "What a neighbour does in every state at every event. Connections are numbered; 3 is a new one. \"close 6/7\" is\n\
         with that NOTIFICATION. Written by the test in states.rs.\n",
    );
    for (name, enter) in states() {
        let before = described(&enter(now), now);
        let _ = writeln!(table, "\n{name}  [{before}]");
        let mut ignored = Vec::new();
        for (event, happen) in events() {
            let mut neighbor = enter(now);
            let effects = said(&happen(&mut neighbor, now));
            let after = described(&neighbor, now);
            if effects.is_empty() && after == before {
                ignored.push(event);
            } else {
                let done = if effects.is_empty() {
                    "-".to_owned()
                } else {
                    effects.join(", ")
                };
                let row = format!("    {event:28}  {done:42}  {after}");
                let _ = writeln!(table, "{}", row.trim_end());
            }
        }
        table.push_str(&wrapped("    nothing at: ", &ignored));
    }
    if std::env::var_os("PREFIXD_UPDATE").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/neighbor/states.txt");
        std::fs::write(path, &table).unwrap();
        return;
    }
    for (line, (is, was)) in table.lines().zip(TABLE.lines()).enumerate() {
        assert_eq!(
            is,
            was,
            "line {} of states.txt; PREFIXD_UPDATE=1 writes it anew",
            line + 1
        );
    }
    assert_eq!(table.lines().count(), TABLE.lines().count());
}
