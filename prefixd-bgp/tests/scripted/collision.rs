//! Two connections at once (RFC 4271 section 6.8). Our identifier is 10.0.0.1.

use std::net::Ipv4Addr;

use prefixd_bgp::SessionPhase;

use crate::harness::*;

const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;

fn open_from(router_id: [u8; 4]) -> OpenScript {
    OpenScript {
        router_id: router_id.into(),
        ..OpenScript::default()
    }
}

#[tokio::test]
async fn the_higher_identifier_keeps_the_connection_it_made() {
    let router = Router::bind().await;
    let speaker = start(vec![router.neighbor()]);
    let open = open_from([10, 0, 0, 2]);
    let mut ours = router.accept().await;
    ours.expect_open().await;
    ours.send(&open.bytes()).await;
    ours.expect(KEEPALIVE).await;
    let mut theirs = Peer::dial(speaker.local_addrs()[0], LOOPBACK).await;
    theirs.expect_open().await;
    theirs.send(&open.bytes()).await;

    assert_eq!(ours.receive().await.notification(), (6, 7));
    theirs.expect(KEEPALIVE).await;
    theirs.send(&message(KEEPALIVE, &[])).await;
    theirs.initial_sync().await;
    wait_for_phase(&speaker, NAME, SessionPhase::Established).await;
    assert_eq!(speaker.peer(NAME).unwrap().flaps, 0);
}

#[tokio::test]
async fn the_lower_identifier_loses_the_connection_it_made() {
    let router = Router::bind().await;
    let speaker = start(vec![router.neighbor()]);
    let open = open_from([9, 0, 0, 2]);
    let mut ours = router.accept().await;
    ours.expect_open().await;
    ours.send(&open.bytes()).await;
    ours.expect(KEEPALIVE).await;
    let mut theirs = Peer::dial(speaker.local_addrs()[0], LOOPBACK).await;
    theirs.expect_open().await;
    theirs.send(&open.bytes()).await;

    assert_eq!(
        theirs.receive().await.notification(),
        (6, 7),
        "without a KEEPALIVE before it"
    );
    ours.send(&message(KEEPALIVE, &[])).await;
    ours.initial_sync().await;
    wait_for_phase(&speaker, NAME, SessionPhase::Established).await;
}

#[tokio::test]
async fn an_established_session_is_kept() {
    let router = Router::bind().await;
    let speaker = start(vec![router.neighbor()]);
    let open = open_from([10, 0, 0, 2]);
    let mut session = router.session(&open).await;
    session.initial_sync().await;
    wait_for_phase(&speaker, NAME, SessionPhase::Established).await;
    let mut second = Peer::dial(speaker.local_addrs()[0], LOOPBACK).await;
    second.expect_open().await;
    second.send(&open.bytes()).await;
    assert_eq!(second.receive().await.notification(), (6, 7));

    speaker.apply([announce(route(1))]).unwrap();
    session.update().await;
    assert_eq!(speaker.peer(NAME).unwrap().established_total, 1);
}

#[tokio::test]
async fn a_second_connection_takes_over_when_the_first_is_lost() {
    let router = Router::bind().await;
    let speaker = start(vec![router.neighbor()]);
    let first = router.accept().await;
    let mut second = Peer::dial(speaker.local_addrs()[0], LOOPBACK).await;
    second.expect_open().await;
    drop(first);
    second.send(&OpenScript::default().bytes()).await;
    second.send(&message(KEEPALIVE, &[])).await;
    second.expect(KEEPALIVE).await;
    second.initial_sync().await;
}

#[tokio::test]
async fn a_silent_connection_gives_way_to_one_that_talks() {
    let router = Router::bind().await;
    let speaker = start(vec![router.neighbor()]);
    let mut silent = router.accept().await;
    silent.expect_open().await;
    let mut talking = Peer::dial(speaker.local_addrs()[0], LOOPBACK).await;
    talking.establish(&OpenScript::default()).await;
    assert_eq!(silent.receive().await.notification(), (6, 7));
    talking.initial_sync().await;
}
