//! Changing the neighbours and stopping.

use std::net::Ipv4Addr;
use std::time::Duration;

use prefixd_bgp::{ConfigError, Delivery, HoldTime, Limits, NeighborConfig, SessionPhase, Stop};

use crate::harness::*;

#[tokio::test]
async fn a_withdrawing_stop_takes_the_rules_back_and_says_why() {
    let router = Router::bind().await;
    let speaker = start(vec![router.neighbor()]);
    let routes = [route(1), route(2)];
    speaker.apply(routes.iter().cloned().map(announce)).unwrap();
    let mut peer = router.session(&OpenScript::default()).await;
    peer.initial_sync().await;

    let watching = tokio::spawn(async move {
        let withdrawn = peer.update().await.nlri().1;
        let farewell = peer.expect(NOTIFICATION).await;
        assert_eq!(peer.try_receive().await, None);
        (withdrawn.len(), farewell)
    });
    let unfinished = speaker
        .shutdown(
            Stop::Withdraw {
                text: "maintenance".into(),
            },
            Duration::from_secs(5),
        )
        .await;
    let (withdrawn, farewell) = watching.await.unwrap();
    assert!(unfinished.is_empty(), "{unfinished:?}");
    assert_eq!(withdrawn, 2);
    assert_eq!(farewell.body, [&[6, 2, 11][..], b"maintenance"].concat());

    speaker.apply([announce(route(3))]).unwrap();
    assert_eq!(
        speaker.counts(NAME).unwrap().desired,
        0,
        "nothing is taken on after a stop"
    );
}

#[tokio::test]
async fn dropping_the_speaker_closes_the_sessions() {
    let router = Router::bind().await;
    let speaker = start(vec![router.neighbor()]);
    let mut peer = router.session(&OpenScript::default()).await;
    peer.initial_sync().await;
    drop(speaker);
    assert_eq!(peer.try_receive().await, None);
}

#[tokio::test]
async fn a_stop_is_bounded_by_its_deadline() {
    let stuck = Router::bind_narrow().await;
    let speaker = start(vec![stuck.neighbor()]);
    let peer = stuck.session(&OpenScript::default()).await;
    let changes: Vec<_> = (1..=60_000).map(route).map(announce).collect();
    speaker.apply(changes).unwrap();
    wait_for("stuck", || speaker.counts(NAME).unwrap().advertised > 0).await;
    let unfinished = speaker
        .shutdown(Stop::Withdraw { text: String::new() }, Duration::from_millis(500))
        .await;
    assert_eq!(unfinished, [NAME.into()]);
    drop(peer);
}

#[tokio::test]
async fn neighbours_come_and_go_without_touching_the_others() {
    let (stays, goes) = (
        Router::bind().await,
        Router::bind_at(Ipv4Addr::new(127, 0, 0, 2)).await,
    );
    let comes = Router::bind_at(Ipv4Addr::new(127, 0, 0, 3)).await;
    let second = NeighborConfig {
        name: "second".into(),
        ..goes.neighbor()
    };
    let third = NeighborConfig {
        name: "third".into(),
        ..comes.neighbor()
    };
    let speaker = start(vec![stays.neighbor(), second]);
    speaker.apply([announce(route(1))]).unwrap();
    let mut staying = stays.session(&OpenScript::default()).await;
    let mut going = goes.session(&OpenScript::default()).await;
    staying.initial_sync().await;
    going.initial_sync().await;

    let report = speaker.reconfigure(vec![stays.neighbor(), third]).unwrap();
    assert_eq!(report.added, ["third".into()]);
    assert_eq!(report.removed, ["second".into()]);
    assert_eq!(
        going.update().await.nlri().1.len(),
        1,
        "its rule is withdrawn first"
    );
    assert_eq!(going.expect(NOTIFICATION).await.notification(), (6, 3));

    let mut coming = comes.session(&OpenScript::default()).await;
    assert!(coming.initial_sync().await.is_empty());
    speaker.apply([announce(route(2))]).unwrap();
    assert_eq!(staying.update().await.nlri().0, [key(&route(2)).as_bytes()]);
    assert_eq!(coming.update().await.nlri().0, [key(&route(2)).as_bytes()]);
    assert_eq!(speaker.peer(NAME).unwrap().established_total, 1);
    assert!(speaker.peer("second").is_none());
}

#[tokio::test]
async fn a_changed_session_starts_again_and_keeps_its_rules() {
    let (before, after) = (Router::bind().await, Router::bind().await);
    let speaker = start(vec![before.neighbor()]);
    speaker.apply([announce(route(1))]).unwrap();
    let mut old = before.session(&OpenScript::default()).await;
    old.initial_sync().await;
    let report = speaker.reconfigure(vec![after.neighbor()]).unwrap();
    assert_eq!(report.restarted, [NAME.into()]);
    assert_eq!(old.expect(NOTIFICATION).await.notification(), (6, 6));
    drop(old);
    let mut new = after.session(&OpenScript::default()).await;
    assert_eq!(new.initial_sync().await, [key(&route(1)).as_bytes()]);
}

#[tokio::test]
async fn changed_limits_act_without_a_new_session() {
    let router = Router::bind().await;
    let speaker = start(vec![router.neighbor()]);
    let routes = [route(1), route(2)];
    speaker.apply(routes.iter().cloned().map(announce)).unwrap();
    let mut peer = router.session(&OpenScript::default()).await;
    peer.initial_sync().await;
    let budget = NeighborConfig {
        max_rules: Some(1),
        ..router.neighbor()
    };
    assert_eq!(speaker.reconfigure(vec![budget]).unwrap().adjusted, [NAME.into()]);
    assert_eq!(
        peer.update().await.nlri().1,
        [key(&routes[1]).as_bytes()],
        "the younger one goes"
    );
    let tiny = NeighborConfig {
        limits: Limits {
            operators_per_component: 5,
            nlri_bytes: 3,
            ..Limits::default()
        },
        ..router.neighbor()
    };
    speaker.reconfigure(vec![tiny]).unwrap();
    assert_eq!(peer.update().await.nlri().1, [key(&routes[0]).as_bytes()]);
    assert!(matches!(
        speaker.delivery(&key(&routes[0]))[..],
        [(_, Delivery::Refused(_))]
    ));
    assert_eq!(
        speaker.reconfigure(vec![router.neighbor()]).unwrap().adjusted,
        [NAME.into()]
    );
    assert_eq!(peer.update().await.nlri().0.len(), 2);
    assert_eq!(speaker.peer(NAME).unwrap().established_total, 1);
}

#[tokio::test]
async fn another_marker_is_put_on_every_rule_without_a_new_session() {
    let router = Router::bind().await;
    let speaker = start(vec![router.neighbor()]);
    let routes = [route(1), route(2)];
    speaker.apply(routes.iter().cloned().map(announce)).unwrap();
    let mut peer = router.session(&OpenScript::default()).await;
    peer.initial_sync().await;
    let hold = HoldTime::from_secs(30).unwrap();
    let marker = |local2: u32| [65010_u32, 8955, local2].map(u32::to_be_bytes).concat();
    let carries = |update: &Message, marker: &[u8]| update.body.windows(12).any(|bytes| bytes == marker);

    speaker
        .set_common(hold, Some("65010:8955:7".parse().unwrap()))
        .unwrap();
    let again = peer.update().await;
    let mut keys: Vec<Vec<u8>> = again.nlri().0;
    keys.sort();
    let mut expected: Vec<Vec<u8>> = routes
        .iter()
        .map(|route| key(route).as_bytes().to_vec())
        .collect();
    expected.sort();
    assert_eq!(keys, expected);
    assert!(carries(&again, &marker(7)) && !carries(&again, &marker(1)));
    speaker.apply([announce(route(3))]).unwrap();
    assert!(carries(&peer.update().await, &marker(7)));

    // The same again is nothing to say; what follows comes at once.
    speaker
        .set_common(hold, Some("65010:8955:7".parse().unwrap()))
        .unwrap();
    speaker.apply([announce(route(4))]).unwrap();
    assert_eq!(peer.update().await.nlri().0, [key(&route(4)).as_bytes()]);
    assert_eq!(speaker.peer(NAME).unwrap().established_total, 1);
}

#[tokio::test]
async fn another_hold_time_is_offered_by_the_next_session() {
    let router = Router::bind().await;
    let speaker = start(vec![router.neighbor()]);
    let offered = |open: &Message| u16::from_be_bytes([open.body[3], open.body[4]]);
    let mut peer = router.accept().await;
    assert_eq!(offered(&peer.establish(&OpenScript::default()).await), 30);
    peer.initial_sync().await;
    speaker
        .set_common(
            HoldTime::from_secs(9).unwrap(),
            Some("65010:8955:1".parse().unwrap()),
        )
        .unwrap();
    assert_eq!(
        speaker.peer(NAME).unwrap().established_total,
        1,
        "the session goes on"
    );
    drop(peer);
    let mut next = router.accept().await;
    assert_eq!(offered(&next.establish(&OpenScript::default()).await), 9);
}

#[tokio::test]
async fn a_bad_set_of_neighbours_changes_nothing() {
    let router = Router::bind().await;
    let speaker = start(vec![router.neighbor()]);
    let twin = NeighborConfig {
        name: "twin".into(),
        ..router.neighbor()
    };
    let error = speaker.reconfigure(vec![router.neighbor(), twin]).unwrap_err();
    assert!(matches!(error, ConfigError::DuplicateAddress { .. }), "{error}");
    router.session(&OpenScript::default()).await.initial_sync().await;
    wait_for_phase(&speaker, NAME, SessionPhase::Established).await;
}
