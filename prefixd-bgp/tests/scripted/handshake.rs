//! Making sessions with a scripted neighbour: dialling, accepting, refusing.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::harness::*;
use prefixd_bgp::{Delivery, Loss, NeighborConfig, SessionChange, SessionPhase};

#[tokio::test]
async fn dials_announces_and_ends_the_transfer() {
    let router = Router::bind().await;
    let speaker = start(vec![router.neighbor()]);
    let route = route(1);
    speaker.apply([announce(route.clone())]).unwrap();
    assert_eq!(
        speaker.delivery(&key(&route)),
        [(NAME.into(), Delivery::SessionDown)]
    );
    let mut events = speaker.events();

    let mut peer = router.session(&OpenScript::default()).await;
    assert_eq!(peer.initial_sync().await, [key(&route).as_bytes()]);

    wait_for("advertised", || {
        speaker.delivery(&key(&route)) == [(NAME.into(), Delivery::Advertised)]
    })
    .await;
    assert!(matches!(
        events.recv().await.unwrap().change,
        SessionChange::Up { .. }
    ));
    let status = speaker.peer(NAME).unwrap();
    assert_eq!(status.phase, SessionPhase::Established);
    assert_eq!(status.established_total, 1);
    let session = status.session.unwrap();
    assert_eq!(session.router_id, Ipv4Addr::new(10, 0, 0, 2));
    assert_eq!(session.hold_time, Duration::from_secs(30));
    assert!(session.capabilities.contains(&"route-refresh".to_owned()));
}

#[tokio::test]
async fn accepts_a_passive_neighbour_and_sends_end_of_rib_without_rules() {
    let neighbor = NeighborConfig {
        passive: true,
        ..NeighborConfig::new(NAME, IpAddr::from([127, 0, 0, 2]), PEER_ASN)
    };
    let speaker = start(vec![neighbor]);
    let mut peer = Peer::dial(speaker.local_addrs()[0], Ipv4Addr::new(127, 0, 0, 2)).await;
    peer.establish(&OpenScript::default()).await;
    assert!(peer.initial_sync().await.is_empty());
    wait_for_phase(&speaker, NAME, SessionPhase::Established).await;
}

#[tokio::test]
async fn offers_exactly_what_it_can_do() {
    let router = Router::bind().await;
    let _speaker = start(vec![router.neighbor()]);
    let open = router.accept().await.receive().await;
    #[rustfmt::skip]
    assert_eq!(
        open.body,
        [
            4, 0xFD, 0xF2, 0, 30, 10, 0, 0, 1, 24, 2, 22,
            1, 4, 0, 1, 0, 133,
            1, 4, 0, 2, 0, 133,
            2, 0,
            70, 0,
            65, 4, 0, 0, 0xFD, 0xF2,
        ],
        "both FlowSpec families, refresh, enhanced refresh, four-octet AS; no extended messages, no IPv4 unicast"
    );
}

#[tokio::test]
async fn an_address_that_is_no_neighbour_gets_nothing() {
    let speaker = start(vec![]);
    let mut stranger = Peer::dial(speaker.local_addrs()[0], Ipv4Addr::new(127, 0, 0, 9)).await;
    assert_eq!(stranger.try_receive().await, None);
}

#[tokio::test]
async fn a_hold_time_of_zero_is_refused() {
    let router = Router::bind().await;
    let speaker = start(vec![router.neighbor()]);
    let mut peer = router.accept().await;
    peer.send(
        &OpenScript {
            hold: 0,
            ..OpenScript::default()
        }
        .bytes(),
    )
    .await;
    peer.expect_open().await;
    assert_eq!(peer.receive().await.notification(), (2, 6));
    wait_for("the error", || {
        matches!(speaker.peer(NAME).unwrap().last_error.map(|error| error.loss),
            Some(Loss::NotificationSent(info)) if (info.code, info.subcode) == (2, 6))
    })
    .await;
    assert_eq!(
        speaker.peer(NAME).unwrap().phase,
        SessionPhase::Idle,
        "held down after an OPEN error"
    );
}

#[tokio::test]
async fn a_wrong_as_is_refused() {
    let router = Router::bind().await;
    let _speaker = start(vec![router.neighbor()]);
    let mut peer = router.accept().await;
    peer.send(
        &OpenScript {
            asn: 65099,
            ..OpenScript::default()
        }
        .bytes(),
    )
    .await;
    peer.expect_open().await;
    assert_eq!(peer.receive().await.notification(), (2, 2));
}

#[tokio::test]
async fn no_common_family_is_refused() {
    let router = Router::bind().await;
    let _speaker = start(vec![router.neighbor()]);
    let mut peer = router.accept().await;
    peer.send(
        &OpenScript {
            families: vec![],
            ..OpenScript::default()
        }
        .bytes(),
    )
    .await;
    peer.expect_open().await;
    assert_eq!(peer.receive().await.notification(), (2, 7));
}

#[tokio::test]
async fn nothing_is_dialled_before_open() {
    let router = Router::bind().await;
    let speaker = prefixd_bgp::Speaker::start(config(vec![router.neighbor()])).unwrap();
    assert!(
        tokio::time::timeout(Duration::from_millis(300), router.listener.accept())
            .await
            .is_err()
    );
    assert_eq!(speaker.peer(NAME).unwrap().phase, SessionPhase::Idle);
    speaker.open();
    router.session(&OpenScript::default()).await.initial_sync().await;
}

#[tokio::test]
async fn sessions_run_over_ipv6() {
    let router = Router::bind_to("[::1]:0").await;
    let speaker = start(vec![router.neighbor()]);
    speaker.apply([announce(route(1))]).unwrap();
    let mut peer = router.session(&OpenScript::default()).await;
    assert_eq!(peer.initial_sync().await.len(), 1);
    wait_for_phase(&speaker, NAME, SessionPhase::Established).await;
    assert!(speaker.peer(NAME).unwrap().session.unwrap().remote.is_ipv6());
}

#[tokio::test]
async fn a_stopped_speaker_leaves_its_port_to_the_next() {
    let neighbor = NeighborConfig {
        passive: true,
        ..NeighborConfig::new(NAME, [127, 0, 0, 2].into(), PEER_ASN)
    };
    let first = start(vec![neighbor.clone()]);
    let listen = first.local_addrs().to_vec();
    let again = || prefixd_bgp::SpeakerConfig {
        listen: listen.clone(),
        ..config(vec![neighbor.clone()])
    };
    let taken = prefixd_bgp::Speaker::start(again())
        .map(drop)
        .unwrap_err()
        .to_string();
    assert!(
        taken.starts_with(&format!("cannot accept BGP sessions on {}", listen[0])),
        "{taken}"
    );
    let stop = prefixd_bgp::Stop::Restart { text: String::new() };
    first.shutdown(stop, PATIENCE).await;
    wait_for("the port to be free", || {
        prefixd_bgp::Speaker::start(again()).is_ok()
    })
    .await;
}
