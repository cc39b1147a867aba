//! Who is let in: TCP-MD5, GTSM, and the address a session is made to. Where a script cannot sign its segments, the
//! neighbour is a second speaker.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use prefixd_bgp::{Loss, Md5Key, NeighborConfig, SessionPhase, Speaker, SpeakerConfig};
use socket2::SockRef;

use crate::harness::*;

/// Long enough on loopback; only the failing side of a test waits for it.
const SILENCE: Duration = Duration::from_millis(300);

fn key(text: &str) -> Option<Md5Key> {
    Some(Md5Key::new(text.as_bytes()).unwrap())
}

/// A speaker in the router's place on an address of its own, that waits for ours on 127.0.0.1.
fn router_with(key: Option<Md5Key>, address: &str, ours: IpAddr) -> Speaker {
    let us = NeighborConfig {
        passive: true,
        password: key,
        ..NeighborConfig::new("us", ours, LOCAL_ASN)
    };
    let speaker = Speaker::start(SpeakerConfig {
        local_asn: PEER_ASN,
        router_id: Ipv4Addr::new(10, 0, 0, 2),
        listen: vec![SocketAddr::new(address.parse().unwrap(), 0)],
        ..config(vec![us])
    })
    .unwrap();
    speaker.open();
    speaker
}

fn towards(router: &Speaker, name: &str, password: Option<Md5Key>) -> NeighborConfig {
    let address = router.local_addrs()[0];
    NeighborConfig {
        port: address.port(),
        password,
        ..NeighborConfig::new(name, address.ip(), PEER_ASN)
    }
}

fn is_up(speaker: &Speaker, name: &str) -> bool {
    speaker.peer(name).unwrap().phase == SessionPhase::Established
}

#[tokio::test]
async fn the_same_key_makes_a_session_and_another_makes_none() {
    for (router_address, ours) in [
        ("127.0.0.2", IpAddr::from([127, 0, 0, 1])),
        ("::1", "::1".parse().unwrap()),
    ] {
        let router = router_with(key("secret"), router_address, ours);
        let speaker = start(vec![towards(&router, NAME, key("secret"))]);
        speaker.apply([announce(route(1))]).unwrap();
        wait_for_phase(&speaker, NAME, SessionPhase::Established).await;
        wait_for("the rule", || router.peer("us").unwrap().inbound_routes == 1).await;
    }

    let router = router_with(key("secret"), "127.0.0.2", [127, 0, 0, 1].into());
    let speaker = start(vec![towards(&router, NAME, key("Secret"))]);
    let stranger = start(vec![towards(&router, NAME, None)]);
    let met_silence = |speaker: &Speaker| {
        let error = speaker.peer(NAME).unwrap().last_error;
        error.is_some_and(|error| error.loss == Loss::ConnectTimeout)
    };
    wait_for("silence", || met_silence(&speaker) && met_silence(&stranger)).await;
    assert!(!is_up(&router, "us"));
}

#[tokio::test]
async fn a_changed_key_starts_one_session_again_and_leaves_the_other() {
    let first = router_with(key("one"), "127.0.0.2", [127, 0, 0, 1].into());
    let second = router_with(key("two"), "127.0.0.3", [127, 0, 0, 1].into());
    let neighbors = |password| {
        vec![
            towards(&first, "first", password),
            towards(&second, "second", key("two")),
        ]
    };
    let speaker = start(neighbors(key("one")));
    wait_for("both", || is_up(&speaker, "first") && is_up(&speaker, "second")).await;

    let us = |password| NeighborConfig {
        passive: true,
        password,
        ..NeighborConfig::new("us", [127, 0, 0, 1].into(), LOCAL_ASN)
    };
    first.reconfigure(vec![us(key("new"))]).unwrap();
    assert_eq!(
        speaker.reconfigure(neighbors(key("new"))).unwrap().restarted,
        ["first".into()]
    );
    wait_for("the first again", || {
        is_up(&speaker, "first") && speaker.peer("first").unwrap().established_total == 2
    })
    .await;
    assert_eq!(speaker.peer("second").unwrap().established_total, 1);
    assert!(!format!("{:?}", towards(&first, "first", key("new"))).contains("new"));

    // A key that is gone is no longer demanded.
    first.reconfigure(vec![us(None)]).unwrap();
    speaker.reconfigure(neighbors(None)).unwrap();
    wait_for("without a key", || {
        speaker.peer("first").unwrap().established_total == 3
    })
    .await;
}

#[tokio::test]
async fn a_connection_from_before_the_key_makes_no_session() {
    let neighbor = |password| NeighborConfig {
        passive: true,
        password,
        ..NeighborConfig::new(NAME, [127, 0, 0, 2].into(), PEER_ASN)
    };
    let speaker = Speaker::start(config(vec![neighbor(None)])).unwrap();
    let mut early = Peer::dial(speaker.local_addrs()[0], Ipv4Addr::new(127, 0, 0, 2)).await;
    speaker.reconfigure(vec![neighbor(key("secret"))]).unwrap();
    speaker.open();
    early.send(&OpenScript::default().bytes()).await;
    let answer = tokio::time::timeout(SILENCE, early.stream.peek(&mut [0])).await;
    assert!(answer.is_err(), "an unsigned connection was answered");
    assert!(!is_up(&speaker, NAME));
}

#[tokio::test]
async fn a_router_that_is_not_next_door_is_not_heard() {
    let router = Router::bind().await;
    let near = NeighborConfig {
        ttl_security: true,
        ..router.neighbor()
    };
    let speaker = start(vec![near]);
    wait_for("no answer is heard", || {
        let error = speaker.peer(NAME).unwrap().last_error;
        error.is_some_and(|error| error.loss == Loss::ConnectTimeout)
    })
    .await;
    SockRef::from(&router.listener).set_ttl_v4(255).unwrap();
    router.session(&OpenScript::default()).await.initial_sync().await;
    wait_for_phase(&speaker, NAME, SessionPhase::Established).await;
}

#[tokio::test]
async fn a_router_that_dials_from_afar_is_not_heard() {
    let speaker = start(vec![NeighborConfig {
        passive: true,
        ttl_security: true,
        ..NeighborConfig::new(NAME, [127, 0, 0, 2].into(), PEER_ASN)
    }]);
    let mut peer = Peer::dial(speaker.local_addrs()[0], Ipv4Addr::new(127, 0, 0, 2)).await;
    peer.expect_open().await;
    peer.send(&OpenScript::default().bytes()).await;
    let answer = tokio::time::timeout(SILENCE, peer.stream.peek(&mut [0])).await;
    assert!(answer.is_err(), "our OPEN came from afar and was heard");
    SockRef::from(&peer.stream).set_ttl_v4(255).unwrap();
    peer.send(&message(KEEPALIVE, &[])).await;
    peer.expect(KEEPALIVE).await;
    wait_for_phase(&speaker, NAME, SessionPhase::Established).await;
}

#[tokio::test]
async fn a_session_is_made_to_the_address_it_is_configured_for() {
    let neighbor = NeighborConfig {
        passive: true,
        local_address: Some([127, 0, 0, 5].into()),
        ..NeighborConfig::new(NAME, [127, 0, 0, 2].into(), PEER_ASN)
    };
    let speaker = Speaker::start(SpeakerConfig {
        listen: vec!["127.0.0.4:0".parse().unwrap(), "127.0.0.5:0".parse().unwrap()],
        ..config(vec![neighbor])
    })
    .unwrap();
    speaker.open();
    let [other, ours] = speaker.local_addrs() else {
        panic!("two listeners")
    };
    let mut lost = Peer::dial(*other, Ipv4Addr::new(127, 0, 0, 2)).await;
    assert_eq!(lost.try_receive().await, None);
    let mut peer = Peer::dial(*ours, Ipv4Addr::new(127, 0, 0, 2)).await;
    peer.establish(&OpenScript::default()).await;
    peer.initial_sync().await;
}

#[tokio::test]
async fn sessions_are_dialled_from_the_address_of_the_neighbour() {
    let (one, two) = (
        Router::bind().await,
        Router::bind_at(Ipv4Addr::new(127, 0, 0, 2)).await,
    );
    let from = |last| Some(IpAddr::from([127, 0, 0, last]));
    let _speaker = start(vec![
        NeighborConfig {
            local_address: from(6),
            ..one.neighbor()
        },
        NeighborConfig {
            name: "second".into(),
            local_address: from(7),
            ..two.neighbor()
        },
    ]);
    for (router, last) in [(&one, 6), (&two, 7)] {
        let peer = router.accept().await;
        assert_eq!(Some(peer.stream.peer_addr().unwrap().ip()), from(last));
    }
}
