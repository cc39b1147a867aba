use std::collections::VecDeque;

use proptest::prelude::*;
use rand::SeedableRng;

use super::*;
use crate::session::tests::{config, keepalive, notification, open};

const ONE: ConnectionId = ConnectionId(1);
const TWO: ConnectionId = ConnectionId(2);
const THREE: ConnectionId = ConnectionId(3);
pub(super) const SECOND: Duration = Duration::from_secs(1);

pub(super) fn neighbor(passive: bool, now: Instant) -> Neighbor {
    Neighbor::new(config(), passive, SmallRng::seed_from_u64(1), now)
}

/// What a list of effects does, in short.
fn said(effects: &[Effect]) -> Vec<String> {
    said_as(effects, |id| id.0)
}

/// The same with other numbers of the connections.
pub(super) fn said_as(effects: &[Effect], number: impl Fn(ConnectionId) -> u64) -> Vec<String> {
    effects
        .iter()
        .map(|effect| match effect {
            Effect::Dial => "dial".to_owned(),
            Effect::CancelDial => "cancel".to_owned(),
            Effect::Send(id, Control::Open(_)) => format!("{} open", number(*id)),
            Effect::Send(id, Control::Keepalive(_)) => format!("{} keepalive", number(*id)),
            Effect::Close(id, None) => format!("{} close", number(*id)),
            Effect::Close(id, Some(sent)) => format!("{} close {}/{}", number(*id), sent.code, sent.subcode),
            Effect::Up(id, _) => format!("{} up", number(*id)),
            Effect::Down(..) => "down".to_owned(),
            Effect::Failed(_) => "failed".to_owned(),
            Effect::Refresh(family) => format!("refresh {family}"),
        })
        .collect()
}

fn tick(neighbor: &mut Neighbor, now: Instant) -> Vec<String> {
    said(&neighbor.tick(now, |_| None))
}

fn handle(neighbor: &mut Neighbor, input: Input, now: Instant) -> Vec<String> {
    said(&neighbor.handle(input, now))
}

fn open_from(id: ConnectionId, router_id: [u8; 4]) -> Input {
    Input::Received(id, open(router_id, 30))
}

fn keepalive_on(id: ConnectionId) -> Input {
    Input::Received(id, keepalive())
}

/// Dialled and established on connection one.
fn established(now: Instant) -> Neighbor {
    let mut neighbor = neighbor(false, now);
    assert_eq!(tick(&mut neighbor, now + SECOND), ["dial"]);
    assert_eq!(handle(&mut neighbor, Input::Dialled(ONE), now), ["1 open"]);
    assert_eq!(
        handle(&mut neighbor, open_from(ONE, [10, 0, 0, 2]), now),
        ["1 keepalive"]
    );
    assert_eq!(handle(&mut neighbor, keepalive_on(ONE), now), ["1 up"]);
    assert_eq!(neighbor.phase(now), SessionPhase::Established);
    neighbor
}

#[test]
fn a_passive_neighbour_never_dials() {
    let now = Instant::now();
    let mut neighbor = neighbor(true, now);
    assert_eq!(neighbor.deadline(), None);
    assert!(tick(&mut neighbor, now + 1000 * SECOND).is_empty());
    assert_eq!(handle(&mut neighbor, Input::Accepted(ONE), now), ["1 open"]);
    assert_eq!(
        handle(&mut neighbor, Input::Lost(ONE, "reset".into()), now),
        ["1 close", "failed"]
    );
    assert_eq!(neighbor.deadline(), None);
    assert_eq!(neighbor.phase(now), SessionPhase::Active);
}

#[test]
fn dialling_backs_off_to_half_a_minute() {
    let now = Instant::now();
    let mut neighbor = neighbor(false, now);
    let mut at = neighbor.deadline().unwrap();
    assert!(
        at <= now + Duration::from_millis(100),
        "the first attempt is at once"
    );
    let mut waits = Vec::new();
    for _ in 0..20 {
        assert_eq!(tick(&mut neighbor, at), ["dial"]);
        assert_eq!(
            handle(
                &mut neighbor,
                Input::DialFailed {
                    detail: "refused".into()
                },
                at
            ),
            ["failed"]
        );
        let next = neighbor.deadline().unwrap();
        waits.push(next - at);
        at = next;
    }
    assert!(waits[0] <= Duration::from_millis(250), "{waits:?}");
    assert!(waits[..6].iter().sum::<Duration>() < 6 * SECOND, "{waits:?}");
    assert!(waits[19] >= 22 * SECOND && waits[19] <= 30 * SECOND, "{waits:?}");
}

#[test]
fn an_attempt_without_an_answer_is_given_up() {
    let now = Instant::now();
    let mut neighbor = neighbor(false, now);
    let at = neighbor.deadline().unwrap();
    tick(&mut neighbor, at);
    assert_eq!(neighbor.phase(at), SessionPhase::Connect);
    assert_eq!(neighbor.deadline(), Some(at + CONNECT_TIMEOUT));
    assert_eq!(tick(&mut neighbor, at + CONNECT_TIMEOUT), ["cancel", "failed"]);
    assert_eq!(neighbor.phase(at + CONNECT_TIMEOUT), SessionPhase::Active);
}

#[test]
fn a_good_session_that_is_lost_is_dialled_at_once() {
    let now = Instant::now();
    let mut neighbor = established(now);
    let lost = now + 20 * SECOND;
    assert_eq!(
        handle(&mut neighbor, Input::Lost(ONE, "reset".into()), lost),
        ["1 close", "down"]
    );
    assert!(neighbor.retry_at().unwrap() <= lost + Duration::from_millis(100));
}

#[test]
fn a_session_that_is_lost_again_and_again_backs_off() {
    let mut now = Instant::now();
    let mut neighbor = neighbor(false, now);
    let mut waits = Vec::new();
    for _ in 0..12 {
        let at = neighbor.retry_at().unwrap();
        waits.push(at.saturating_duration_since(now));
        now = at;
        tick(&mut neighbor, now);
        handle(&mut neighbor, Input::Dialled(ONE), now);
        handle(&mut neighbor, open_from(ONE, [10, 0, 0, 2]), now);
        handle(&mut neighbor, keepalive_on(ONE), now);
        handle(&mut neighbor, Input::Lost(ONE, "reset".into()), now);
    }
    assert!(*waits.last().unwrap() > 10 * SECOND, "{waits:?}");
}

#[test]
fn errors_that_come_again_hold_the_neighbour_down_longer_each_time() {
    let mut now = Instant::now();
    let mut neighbor = neighbor(false, now);
    let mut waits = Vec::new();
    for _ in 0..7 {
        now = neighbor.retry_at().unwrap();
        tick(&mut neighbor, now);
        handle(&mut neighbor, Input::Dialled(ONE), now);
        handle(&mut neighbor, Input::Received(ONE, notification(2, 2)), now);
        assert_eq!(neighbor.phase(now), SessionPhase::Idle);
        waits.push(
            neighbor
                .retry_at()
                .unwrap()
                .saturating_duration_since(now)
                .as_secs(),
        );
    }
    assert_eq!(waits, [10, 20, 40, 80, 160, 300, 300]);
    assert_eq!(
        handle(&mut neighbor, Input::Accepted(TWO), now),
        ["2 close 6/5"],
        "turned away while held down"
    );
}

#[test]
fn a_full_router_is_left_alone_for_five_minutes() {
    let now = Instant::now();
    let mut neighbor = established(now);
    let at = now + SECOND;
    assert_eq!(
        handle(&mut neighbor, Input::Received(ONE, notification(6, 1)), at),
        ["1 close", "down"]
    );
    assert_eq!(neighbor.retry_at(), Some(at + 300 * SECOND));
}

/// Both OPENs known; who made which, and whose identifier is higher, decide. We are 10.0.0.1.
#[test]
fn collision_table() {
    let cases = [
        ([10, 0, 0, 2], Direction::Outgoing, Direction::Incoming, "1"),
        ([10, 0, 0, 2], Direction::Incoming, Direction::Outgoing, "2"),
        ([9, 0, 0, 2], Direction::Outgoing, Direction::Incoming, "2"),
        ([9, 0, 0, 2], Direction::Incoming, Direction::Outgoing, "1"),
        // The same identifier: the higher AS wins (RFC 6286), ours is 65010 and theirs 65001.
        ([10, 0, 0, 1], Direction::Outgoing, Direction::Incoming, "2"),
        // Made by the same side: the newer one.
        ([10, 0, 0, 2], Direction::Incoming, Direction::Incoming, "1"),
        ([9, 0, 0, 2], Direction::Incoming, Direction::Incoming, "1"),
    ];
    let now = Instant::now();
    for (router_id, first, second, loser) in cases {
        let mut neighbor = neighbor(false, now);
        let connect = |direction, id| match direction {
            Direction::Outgoing => Input::Dialled(id),
            Direction::Incoming => Input::Accepted(id),
        };
        handle(&mut neighbor, connect(first, ONE), now);
        assert_eq!(
            handle(&mut neighbor, open_from(ONE, router_id), now),
            ["1 keepalive"]
        );
        assert_eq!(handle(&mut neighbor, connect(second, TWO), now), ["2 open"]);
        let effects = handle(&mut neighbor, open_from(TWO, router_id), now);
        let closed = format!("{loser} close 6/7");
        let expected = if loser == "1" {
            vec![closed, "2 keepalive".to_owned()]
        } else {
            vec![closed]
        };
        assert_eq!(effects, expected, "{router_id:?} {first:?} {second:?}");
        let winner = if loser == "1" { TWO } else { ONE };
        assert_eq!(
            handle(&mut neighbor, keepalive_on(winner), now),
            [format!("{} up", winner.0)]
        );
    }
}

#[test]
fn an_established_session_beats_any_newcomer() {
    let now = Instant::now();
    let mut neighbor = established(now);
    assert_eq!(handle(&mut neighbor, Input::Accepted(TWO), now), ["2 open"]);
    assert_eq!(
        handle(&mut neighbor, open_from(TWO, [10, 0, 0, 2]), now),
        ["2 close 6/7"]
    );
    assert_eq!(neighbor.phase(now), SessionPhase::Established);
    assert_eq!(neighbor.retry_at(), None);
}

#[test]
fn the_newcomer_goes_on_when_the_established_session_is_lost() {
    let now = Instant::now();
    let mut neighbor = established(now);
    handle(&mut neighbor, Input::Accepted(TWO), now);
    assert_eq!(
        handle(&mut neighbor, Input::Lost(ONE, "reset".into()), now),
        ["1 close", "down"]
    );
    assert_eq!(neighbor.retry_at(), None, "there is a connection already");
    handle(&mut neighbor, open_from(TWO, [10, 0, 0, 2]), now);
    assert_eq!(handle(&mut neighbor, keepalive_on(TWO), now), ["2 up"]);
}

#[test]
fn a_lost_newcomer_leaves_the_established_session_alone() {
    let now = Instant::now();
    let mut neighbor = established(now);
    handle(&mut neighbor, Input::Accepted(TWO), now);
    assert_eq!(
        handle(&mut neighbor, Input::Lost(TWO, "reset".into()), now),
        ["2 close"]
    );
    assert_eq!(neighbor.phase(now), SessionPhase::Established);
    let lost = now + 20 * SECOND;
    assert_eq!(
        handle(&mut neighbor, Input::Lost(ONE, "reset".into()), lost),
        ["1 close", "down"]
    );
}

#[test]
fn at_most_two_connections_are_kept() {
    let now = Instant::now();
    let mut neighbor = neighbor(true, now);
    handle(&mut neighbor, Input::Accepted(ONE), now);
    handle(&mut neighbor, Input::Accepted(TWO), now);
    assert_eq!(
        handle(&mut neighbor, Input::Accepted(THREE), now),
        ["2 close 6/7", "3 open"],
        "a silent one gives way"
    );
    assert_eq!(
        handle(&mut neighbor, open_from(THREE, [10, 0, 0, 2]), now),
        ["3 keepalive"]
    );
    assert_eq!(handle(&mut neighbor, Input::Accepted(TWO), now), ["2 close 6/7"]);
    assert_eq!(
        handle(&mut neighbor, keepalive_on(THREE), now),
        ["1 close 6/7", "3 up"]
    );
}

#[test]
fn an_accepted_session_ends_the_dialling() {
    let now = Instant::now();
    let mut neighbor = neighbor(false, now);
    let at = neighbor.deadline().unwrap();
    assert_eq!(tick(&mut neighbor, at), ["dial"]);
    handle(&mut neighbor, Input::Accepted(ONE), at);
    handle(&mut neighbor, open_from(ONE, [10, 0, 0, 2]), at);
    assert_eq!(handle(&mut neighbor, keepalive_on(ONE), at), ["cancel", "1 up"]);
}

#[test]
fn a_stop_closes_everything_and_starts_nothing() {
    let now = Instant::now();
    let mut neighbor = established(now);
    handle(&mut neighbor, Input::Accepted(TWO), now);
    assert_eq!(
        said(&neighbor.stop(Some(&Notification::cease(2)))),
        ["cancel", "1 close 6/2", "2 close 6/2"]
    );
    assert_eq!(neighbor.deadline(), None);
}

#[test]
fn a_connection_of_ours_that_comes_while_held_down_is_closed_and_made_again_later() {
    let now = Instant::now();
    let mut neighbor = neighbor(false, now);
    let at = neighbor.deadline().unwrap();
    assert_eq!(tick(&mut neighbor, at), ["dial"]);
    handle(&mut neighbor, Input::Accepted(ONE), at);
    handle(&mut neighbor, Input::Received(ONE, notification(2, 2)), at);
    assert_eq!(handle(&mut neighbor, Input::Dialled(TWO), at), ["2 close 6/5"]);
    assert_eq!(neighbor.deadline(), Some(at + 10 * SECOND));
}

#[test]
fn a_paused_neighbour_neither_dials_nor_takes_a_connection() {
    let now = Instant::now();
    let mut neighbor = established(now);
    assert_eq!(
        said(&neighbor.pause(Some(&Notification::cease(2)))),
        ["cancel", "1 close 6/2"]
    );
    assert_eq!(
        (neighbor.deadline(), neighbor.phase(now)),
        (None, SessionPhase::Idle)
    );
    assert_eq!(handle(&mut neighbor, Input::Accepted(TWO), now), ["2 close 6/5"]);
    assert_eq!(
        handle(&mut neighbor, Input::Dialled(THREE), now),
        ["3 close 6/5"],
        "it was on its way"
    );
    assert_eq!(neighbor.deadline(), None);

    neighbor.resume(now);
    assert!(neighbor.deadline().unwrap() <= now + Duration::from_millis(100));
    assert_eq!(tick(&mut neighbor, now + SECOND), ["dial"]);
}

#[test]
fn a_restart_ends_the_hold_down() {
    let now = Instant::now();
    let mut neighbor = established(now);
    handle(&mut neighbor, Input::Received(ONE, notification(6, 1)), now);
    assert_eq!(neighbor.phase(now), SessionPhase::Idle);
    assert_eq!(said(&neighbor.restart(&Notification::cease(4), now)), ["cancel"]);
    assert_eq!(neighbor.phase(now), SessionPhase::Active);
    assert!(neighbor.retry_at().unwrap() <= now + Duration::from_millis(100));
    assert_eq!(handle(&mut neighbor, Input::Accepted(TWO), now), ["2 open"]);
}

#[test]
fn a_restart_ends_both_connections_and_the_attempt() {
    let now = Instant::now();
    let mut neighbor = established(now);
    handle(&mut neighbor, Input::Accepted(TWO), now);
    assert_eq!(
        said(&neighbor.restart(&Notification::cease(4), now)),
        ["cancel", "1 close 6/4", "2 close 6/4"]
    );
    assert_eq!(tick(&mut neighbor, now + SECOND), ["dial"]);
}

#[derive(Debug, Clone)]
enum Step {
    Pause,
    Resume,
    Restart,
    Wait(u64),
    Dialled,
    DialFailed,
    Accepted,
    Open(usize, u8),
    Keepalive(usize),
    Notification(usize, u8, u8),
    Lost(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..40_000_u64).prop_map(Step::Wait),
        3 => Just(Step::Dialled),
        1 => Just(Step::DialFailed),
        3 => Just(Step::Accepted),
        3 => (0..3_usize, 0..3_u8).prop_map(|(at, id)| Step::Open(at, id)),
        3 => (0..3_usize).prop_map(Step::Keepalive),
        2 => (0..3_usize, 1..8_u8, 0..9_u8).prop_map(|(at, code, subcode)| Step::Notification(at, code, subcode)),
        1 => (0..3_usize).prop_map(Step::Lost),
        1 => Just(Step::Pause),
        1 => Just(Step::Resume),
        1 => Just(Step::Restart),
    ]
}

/// From now on the router behaves: it answers whoever dials, and has forgotten the connections up to `old`. The time until
/// a session is established.
fn time_to_establish(mut neighbor: Neighbor, dialling: bool, old: u64, now: Instant) -> Duration {
    let mut at = now;
    let mut last = old;
    let mut dial = |neighbor: &mut Neighbor, at| {
        last += 1;
        neighbor.handle(Input::Dialled(ConnectionId(last)), at)
    };
    let mut effects = VecDeque::new();
    if dialling {
        effects.extend(dial(&mut neighbor, at));
    }
    for _ in 0..1000 {
        while let Some(effect) = effects.pop_front() {
            effects.extend(match effect {
                Effect::Dial => dial(&mut neighbor, at),
                Effect::Send(id, Control::Open(_)) if id.0 > old => {
                    neighbor.handle(open_from(id, [10, 0, 0, 2]), at)
                }
                Effect::Send(id, Control::Keepalive(_)) if id.0 > old => {
                    neighbor.handle(keepalive_on(id), at)
                }
                Effect::Up(id, _) if id.0 > old => return at - now,
                _ => Vec::new(),
            });
        }
        at = neighbor
            .deadline()
            .expect("nothing will ever happen again")
            .max(at);
        effects.extend(neighbor.tick(at, |_| None));
    }
    panic!("never established, {:?} later", at - now)
}

proptest! {
    /// Whatever happens: a neighbour that we dial has a connection or a moment at which it is tried again, it never has
    /// more than two connections, and a session that came up goes down once. And from there a router that behaves is
    /// established in time: after the hold-down if there is one, the silence of the connections that it has forgotten,
    /// the longest pause between two attempts and the longest attempt.
    #[test]
    fn a_neighbour_is_never_given_up(steps in proptest::collection::vec(step(), 0..60)) {
        let mut now = Instant::now();
        let mut neighbor = neighbor(false, now);
        let mut open: Vec<ConnectionId> = Vec::new();
        let mut dialling = false;
        let mut up = None;
        let mut last = 0;
        let mut paused = false;
        for step in steps {
            let by_order = match step {
                Step::Pause => {
                    paused = true;
                    Some(neighbor.pause(Some(&Notification::cease(2))))
                }
                Step::Resume => {
                    paused = false;
                    neighbor.resume(now);
                    Some(Vec::new())
                }
                Step::Restart => Some(neighbor.restart(&Notification::cease(4), now)),
                _ => None,
            };
            let at = |n: usize| open.get(n).copied().unwrap_or(ConnectionId(0));
            let (input, made) = match step {
                Step::Wait(milliseconds) => {
                    now += Duration::from_millis(milliseconds);
                    (None, None)
                }
                Step::Dialled if dialling => {
                    last += 1;
                    dialling = false;
                    (Some(Input::Dialled(ConnectionId(last))), Some(ConnectionId(last)))
                }
                Step::DialFailed if dialling => {
                    dialling = false;
                    (Some(Input::DialFailed { detail: "refused".into() }), None)
                }
                Step::Dialled | Step::DialFailed => continue,
                Step::Pause | Step::Resume | Step::Restart => (None, None),
                Step::Accepted => {
                    last += 1;
                    (Some(Input::Accepted(ConnectionId(last))), Some(ConnectionId(last)))
                }
                Step::Open(n, id) => (Some(open_from(at(n), [10, 0, 0, id])), None),
                Step::Keepalive(n) => (Some(keepalive_on(at(n))), None),
                Step::Notification(n, code, subcode) => {
                    (Some(Input::Received(at(n), notification(code, subcode))), None)
                }
                Step::Lost(n) => (Some(Input::Lost(at(n), "reset".into())), None),
            };
            open.extend(made);
            let effects = match (by_order, input) {
                (Some(effects), _) => {
                    if !matches!(step, Step::Resume) {
                        up = None;
                    }
                    effects
                }
                (None, Some(input)) => neighbor.handle(input, now),
                (None, None) => neighbor.tick(now, |_| None),
            };
            for effect in effects {
                match effect {
                    Effect::Dial => dialling = true,
                    Effect::CancelDial => dialling = false,
                    Effect::Close(id, _) => {
                        prop_assert!(open.contains(&id), "{id:?} closed twice");
                        open.retain(|other| *other != id);
                    }
                    Effect::Up(id, _) => {
                        prop_assert_eq!(up, None);
                        up = Some(id);
                    }
                    Effect::Down(..) => prop_assert!(up.take().is_some()),
                    Effect::Send(..) | Effect::Failed(_) | Effect::Refresh(_) => {}
                }
            }
            prop_assert!(open.len() <= 2, "{open:?}");
            prop_assert_eq!(
                neighbor.current.is_some() || neighbor.deadline().is_some(),
                !paused,
                "nothing will ever happen again, or something does although it is paused"
            );
            prop_assert!(!paused || open.is_empty(), "{open:?}");
            prop_assert_eq!(up.is_some(), neighbor.phase(now) == SessionPhase::Established);
        }
        if paused {
            neighbor.resume(now);
        }
        let hold_down = if neighbor.retry.held_down(now) { 300 } else { 0 };
        let bound = Duration::from_secs(hold_down + 30 + 30) + CONNECT_TIMEOUT;
        let taken = time_to_establish(neighbor, dialling, last, now);
        prop_assert!(taken <= bound, "{taken:?}, more than {bound:?}");
    }
}

#[test]
fn messages_of_a_closed_connection_are_ignored() {
    let now = Instant::now();
    let mut neighbor = established(now);
    assert!(handle(&mut neighbor, keepalive_on(THREE), now).is_empty());
    assert!(handle(&mut neighbor, Input::Lost(THREE, "late".into()), now).is_empty());
}
