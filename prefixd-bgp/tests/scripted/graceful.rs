//! Graceful restart (RFC 4724): what is offered, and which ends say nothing.

use std::time::Duration;

use prefixd_bgp::flowspec::Family;
use prefixd_bgp::{NeighborConfig, PeerStatus, RestartTime, Retention, SessionPhase, Speaker, Stop};

use crate::harness::*;

const TIME: u16 = 90;
const RESTARTING: u8 = 0x80;

fn offering(router: &Router) -> NeighborConfig {
    NeighborConfig {
        graceful_restart: Some(RestartTime::from_secs(TIME).unwrap()),
        ..router.neighbor()
    }
}

/// A router that helps others over their restart and keeps nothing itself: no time, no family.
fn helper() -> OpenScript {
    OpenScript {
        restart: Some(vec![0, 0]),
        ..OpenScript::default()
    }
}

/// The value of the graceful restart capability in an OPEN of ours.
fn capability(open: &Message) -> Option<&[u8]> {
    let mut rest = &open.body[10..];
    while let [2, length, parameter @ ..] = rest {
        let (mut capabilities, later) = parameter.split_at(usize::from(*length));
        while let [code, length, value @ ..] = capabilities {
            let (value, others) = value.split_at(usize::from(*length));
            if *code == 64 {
                return Some(value);
            }
            capabilities = others;
        }
        rest = later;
    }
    None
}

/// Flags of the capability with the time, then AFI, SAFI and flags of both families.
fn offer(restarting: bool, complete: bool) -> Vec<u8> {
    let forwarding = if complete { 0x80 } else { 0 };
    let flags = if restarting { RESTARTING } else { 0 };
    let [high, low] = TIME.to_be_bytes();
    vec![flags | high, low, 0, 1, 133, forwarding, 0, 2, 133, forwarding]
}

async fn next_open(router: &Router) -> (Peer, Vec<u8>) {
    let mut peer = router.accept().await;
    let open = peer.establish(&helper()).await;
    let offered = capability(&open).unwrap().to_vec();
    (peer, offered)
}

fn retention(speaker: &Speaker) -> Retention {
    speaker.peer(NAME).unwrap().session.unwrap().retention
}

#[tokio::test]
async fn the_first_session_of_a_process_says_that_it_restarted() {
    let router = Router::bind().await;
    let speaker = start(vec![offering(&router)]);
    let (mut peer, offered) = next_open(&router).await;
    assert_eq!(offered, offer(true, true));
    peer.initial_sync().await;
    assert_eq!(
        retention(&speaker),
        Retention::Agreed(RestartTime::from_secs(TIME).unwrap())
    );
    drop(peer);

    // The link was lost, not the process: what the router still has stays until End-of-RIB.
    let (mut peer, offered) = next_open(&router).await;
    assert_eq!(offered, offer(false, true));
    peer.initial_sync().await;
}

#[tokio::test]
async fn a_set_that_is_not_complete_is_no_reason_to_keep_the_old_one() {
    let router = Router::bind().await;
    let speaker = Speaker::start(config(vec![offering(&router)])).unwrap();
    speaker.open_incomplete();
    let (mut peer, offered) = next_open(&router).await;
    assert_eq!(offered, offer(true, false));
    peer.initial_sync().await;
    drop(peer);

    // From then on the router holds what this process has told it.
    let (_peer, offered) = next_open(&router).await;
    assert_eq!(offered, offer(false, true));
}

#[tokio::test]
async fn an_attempt_that_fails_does_not_use_up_the_restart() {
    let router = Router::bind().await;
    let _speaker = start(vec![offering(&router)]);
    let mut peer = router.accept().await;
    let open = peer.receive().await;
    assert_eq!(capability(&open), Some(&offer(true, true)[..]));
    drop(peer);
    let (_peer, offered) = next_open(&router).await;
    assert_eq!(offered, offer(true, true));
}

#[tokio::test]
async fn a_neighbour_that_joins_later_is_met_without_a_restart() {
    let router = Router::bind().await;
    let speaker = start(vec![]);
    speaker.reconfigure(vec![offering(&router)]).unwrap();
    let (_peer, offered) = next_open(&router).await;
    assert_eq!(offered, offer(false, true));
}

#[tokio::test]
async fn what_the_router_will_do_is_read_from_both_opens() {
    let router = Router::bind().await;
    let speaker = start(vec![router.neighbor()]);
    let mut peer = router.accept().await;
    let open = peer.establish(&helper()).await;
    assert_eq!(capability(&open), None, "nobody asked for it");
    peer.initial_sync().await;
    assert_eq!(retention(&speaker), Retention::NotOffered);
    drop(speaker);

    let speaker = start(vec![offering(&router)]);
    let mut peer = router.session(&OpenScript::default()).await;
    peer.initial_sync().await;
    assert_eq!(retention(&speaker), Retention::NotAgreed);
}

/// The neighbour once it has no session.
async fn lost(speaker: &Speaker) -> PeerStatus {
    wait_for("the session is lost", || {
        speaker.peer(NAME).unwrap().session.is_none()
    })
    .await;
    speaker.peer(NAME).unwrap()
}

#[tokio::test]
async fn a_router_that_agreed_may_hold_our_rules_until_the_session_is_back() {
    let router = Router::bind().await;
    let speaker = start(vec![offering(&router)]);
    let mut peer = router.session(&helper()).await;
    peer.initial_sync().await;
    let up = speaker.peer(NAME).unwrap();
    assert_eq!(up.may_hold, None, "there is a session");
    let hold_time = up.session.unwrap().hold_time;
    drop(peer);

    let status = lost(&speaker).await;
    let held = status.may_hold.unwrap();
    assert_eq!(
        held.until - held.since,
        hold_time + Duration::from_secs(TIME.into())
    );
    assert_eq!(held.since, status.last_error.unwrap().at);
    assert_eq!(speaker.may_hold(NAME), Some(held));
    let agreed = Retention::Agreed(RestartTime::from_secs(TIME).unwrap());
    assert_eq!(
        status.retention,
        Some(agreed),
        "what was agreed on last is still known"
    );

    router.session(&helper()).await.initial_sync().await;
    wait_for_phase(&speaker, NAME, SessionPhase::Established).await;
    assert_eq!(speaker.peer(NAME).unwrap().may_hold, None);
}

/// The link may be cut: then our NOTIFICATION reaches nobody, and the router goes by its own timers.
#[tokio::test]
async fn a_router_that_was_not_heard_for_the_hold_time_may_hold_our_rules() {
    let router = Router::bind().await;
    let speaker = Speaker::start(prefixd_bgp::SpeakerConfig {
        hold_time: prefixd_bgp::HoldTime::from_secs(3).unwrap(),
        ..config(vec![offering(&router)])
    })
    .unwrap();
    speaker.open();
    let mut peer = router.session(&helper()).await;
    peer.initial_sync().await;
    assert_eq!(peer.expect(NOTIFICATION).await.notification(), (4, 0));
    let held = lost(&speaker).await.may_hold.unwrap();
    assert_eq!(held.until - held.since, Duration::from_secs(3 + u64::from(TIME)));
}

#[tokio::test]
async fn a_router_that_drops_our_rules_holds_none() {
    let router = Router::bind().await;
    let speaker = start(vec![offering(&router)]);
    // It did not agree.
    let mut peer = router.session(&OpenScript::default()).await;
    peer.initial_sync().await;
    drop(peer);
    let status = lost(&speaker).await;
    assert_eq!(
        (status.may_hold, status.retention),
        (None, Some(Retention::NotAgreed))
    );

    // It agreed, and says that the session is over.
    let mut peer = router.session(&helper()).await;
    peer.initial_sync().await;
    peer.send(&message(NOTIFICATION, &[6, 4])).await;
    assert_eq!(lost(&speaker).await.may_hold, None);
    drop(speaker);

    // It was not asked.
    let speaker = start(vec![router.neighbor()]);
    let mut peer = router.session(&helper()).await;
    peer.initial_sync().await;
    drop(peer);
    let status = lost(&speaker).await;
    assert_eq!(
        (status.may_hold, status.retention),
        (None, Some(Retention::NotOffered))
    );
}

/// Stops a speaker with one rule and gives what the router hears: the withdrawn, and the NOTIFICATION.
async fn heard_at_stop(neighbor: NeighborConfig, router: &Router, open: &OpenScript, stop: Stop) -> Heard {
    let speaker = start(vec![neighbor]);
    speaker.apply([announce(route(1))]).unwrap();
    let mut peer = router.session(open).await;
    assert_eq!(peer.initial_sync().await.len(), 1);
    let hearing = tokio::spawn(async move { hear(&mut peer).await });
    let unfinished = speaker.shutdown(stop, Duration::from_secs(5)).await;
    assert!(unfinished.is_empty(), "{unfinished:?}");
    hearing.await.unwrap()
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    withdrawn: usize,
    notification: Option<Vec<u8>>,
}

async fn hear(peer: &mut Peer) -> Heard {
    let mut heard = Heard::default();
    while let Some(message) = peer.try_receive().await {
        match message.kind {
            UPDATE => heard.withdrawn += message.nlri().1.len(),
            NOTIFICATION => heard.notification = Some(message.body),
            _ => {}
        }
    }
    heard
}

fn restart() -> Stop {
    Stop::Restart {
        text: "back soon".into(),
    }
}

#[tokio::test]
async fn a_restarting_stop_says_nothing_to_a_router_that_keeps_the_rules() {
    let router = Router::bind().await;
    let heard = heard_at_stop(offering(&router), &router, &helper(), restart()).await;
    assert_eq!(heard, Heard::default());
}

#[tokio::test]
async fn a_restarting_stop_withdraws_from_all_other_routers() {
    let taken = Heard {
        withdrawn: 1,
        notification: Some([&[6, 2, 9][..], b"back soon"].concat()),
    };
    let router = Router::bind().await;
    let heard = heard_at_stop(offering(&router), &router, &OpenScript::default(), restart()).await;
    assert_eq!(heard, taken, "it did not agree");
    let heard = heard_at_stop(router.neighbor(), &router, &helper(), restart()).await;
    assert_eq!(heard, taken, "it was not asked");
}

#[tokio::test]
async fn a_withdrawing_stop_withdraws_from_a_router_that_would_keep_the_rules() {
    let router = Router::bind().await;
    let stop = Stop::Withdraw { text: String::new() };
    let heard = heard_at_stop(offering(&router), &router, &helper(), stop).await;
    assert_eq!(heard.withdrawn, 1);
    assert_eq!(heard.notification.unwrap()[..2], [6, 2]);
}

#[tokio::test]
async fn what_ended_before_a_restarting_stop_is_withdrawn_all_the_same() {
    let router = Router::bind().await;
    let speaker = start(vec![offering(&router)]);
    speaker.apply([announce(route(1)), announce(route(2))]).unwrap();
    let mut peer = router.session(&helper()).await;
    peer.initial_sync().await;
    speaker.apply([withdraw(&route(2))]).unwrap();
    let (unfinished, heard) = tokio::join!(
        speaker.shutdown(restart(), Duration::from_secs(5)),
        hear(&mut peer)
    );
    assert!(unfinished.is_empty());
    assert_eq!(
        heard,
        Heard {
            withdrawn: 1,
            notification: None
        }
    );
}

#[tokio::test]
async fn disabling_takes_the_rules_from_a_router_that_would_keep_them() {
    let router = Router::bind().await;
    let speaker = start(vec![offering(&router)]);
    speaker.apply([announce(route(1))]).unwrap();
    let mut peer = router.session(&helper()).await;
    peer.initial_sync().await;
    speaker.disable(NAME, "maintenance").unwrap();
    let heard = hear(&mut peer).await;
    assert_eq!(heard.withdrawn, 1);
    assert_eq!(heard.notification.unwrap()[..2], [6, 2]);
}

/// Changes the neighbour under an established session and gives what the router hears of it.
async fn heard_at_change(open: &OpenScript, change: impl Fn(&mut NeighborConfig)) -> Heard {
    let router = Router::bind().await;
    let speaker = start(vec![offering(&router)]);
    speaker.apply([announce(route(1))]).unwrap();
    let mut peer = router.session(open).await;
    peer.initial_sync().await;
    let mut next = offering(&router);
    change(&mut next);
    let report = speaker.reconfigure(vec![next]).unwrap();
    assert_eq!(report.restarted, [NAME.into()]);
    hear(&mut peer).await
}

#[tokio::test]
async fn a_change_of_the_session_costs_no_rule_where_the_router_keeps_them() {
    let longer = |neighbor: &mut NeighborConfig| neighbor.graceful_restart = Some(RestartTime::MAX);
    assert_eq!(heard_at_change(&helper(), longer).await, Heard::default());

    // Wherever the next session would not take them over, the router is told to drop them.
    let changed = Heard {
        withdrawn: 0,
        notification: Some(vec![6, 6]),
    };
    assert_eq!(heard_at_change(&OpenScript::default(), longer).await, changed);
    let off = |neighbor: &mut NeighborConfig| neighbor.graceful_restart = None;
    assert_eq!(heard_at_change(&helper(), off).await, changed);
    let fewer = |neighbor: &mut NeighborConfig| neighbor.families = [Family::Ipv4].into();
    assert_eq!(heard_at_change(&helper(), fewer).await, changed);
    let elsewhere = |neighbor: &mut NeighborConfig| neighbor.address = [127, 0, 0, 9].into();
    assert_eq!(heard_at_change(&helper(), elsewhere).await, changed);
}

#[tokio::test]
async fn after_a_change_of_the_session_the_rules_are_told_again() {
    let router = Router::bind().await;
    let speaker = start(vec![offering(&router)]);
    speaker.apply([announce(route(1))]).unwrap();
    let mut peer = router.session(&helper()).await;
    peer.initial_sync().await;
    let next = NeighborConfig {
        graceful_restart: Some(RestartTime::MAX),
        ..router.neighbor()
    };
    speaker.reconfigure(vec![next]).unwrap();
    assert_eq!(hear(&mut peer).await, Heard::default());
    let (mut peer, offered) = next_open(&router).await;
    assert_eq!(offered[..2], [0, 120], "not restarting, and the new time");
    assert_eq!(peer.initial_sync().await.len(), 1);
    wait_for_phase(&speaker, NAME, SessionPhase::Established).await;
}
