//! A router that cannot take one rule: the others stay on it, and that one does not come back.

use std::time::Duration;

use prefixd_bgp::flowspec::NlriKey;
use prefixd_bgp::{Delivery, HoldTime, Loss, Parked, RibCounts, Speaker, SpeakerConfig};
use tokio::time::Instant;

use crate::harness::*;

const RULES: u32 = 20;

fn key(n: u32) -> NlriKey {
    route(n).rule.key().clone()
}

/// What the speaker and the router say, if the one rule is parked and the router has all others.
fn parked(speaker: &Speaker, router: &Deadly, bad: &NlriKey) -> Option<std::sync::Arc<Parked>> {
    let rules = speaker.counts(NAME)?;
    let settled = RibCounts {
        desired: RULES as usize,
        advertised: RULES as usize - 1,
        quarantined: 1,
        ..RibCounts::default()
    };
    let Delivery::Quarantined(parked) = speaker.route(NAME, bad)?.delivery else {
        return None;
    };
    (rules == settled && router.table().len() == RULES as usize - 1).then_some(parked)
}

/// Announces all rules at once to an established session and waits until the matter is settled; how long that took.
async fn settle(
    speaker: &Speaker,
    router: &Deadly,
    bad: &NlriKey,
    limit: Duration,
) -> (std::sync::Arc<Parked>, Duration) {
    wait_for("session", || router.sessions() == 1).await;
    wait_for_phase(speaker, NAME, prefixd_bgp::SessionPhase::Established).await;
    speaker.apply((1..=RULES).map(route).map(announce)).unwrap();
    let begin = Instant::now();
    loop {
        if let Some(parked) = parked(speaker, router, bad) {
            return (parked, begin.elapsed());
        }
        assert!(
            begin.elapsed() < limit,
            "{:?}\n{:#?}",
            router.table().len(),
            speaker.peer(NAME)
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_router_that_resets_on_one_rule_has_the_others_within_five_seconds() {
    let router = Router::bind().await;
    let speaker = start(vec![router.neighbor()]);
    let bad = key(13);
    let router = Deadly::start(router, OpenScript::default(), vec![bad.clone()], Death::Reset);
    let (parked, took) = settle(&speaker, &router, &bad, PATIENCE).await;
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(matches!(&parked.why, Loss::ConnectionLost { .. }), "{parked}");
    assert_eq!(parked.until - parked.since, Duration::from_secs(4 * 3600));
    assert_eq!(router.deaths(), 2, "one to suspect, one to know");

    // What comes later is not held up, and a reset does not bring the bad one back.
    speaker.apply([announce(route(99))]).unwrap();
    wait_for("a fresh rule", || router.table().contains(key(99).as_bytes())).await;
    let sessions = router.sessions();
    speaker.reset(NAME, "").unwrap();
    wait_for("all others again", || {
        router.sessions() > sessions && router.table().len() == RULES as usize
    })
    .await;
    assert_eq!(router.deaths(), 2);
    assert!(matches!(
        speaker.route(NAME, &bad).unwrap().delivery,
        Delivery::Quarantined(_)
    ));

    // By order it is tried again, alone, and found at once.
    assert_eq!(speaker.release(NAME, Some(&bad)).unwrap(), 1);
    wait_for("the trial", || router.deaths() == 3).await;
    wait_for("all others again", || router.table().len() == RULES as usize).await;
    let Delivery::Quarantined(again) = speaker.route(NAME, &bad).unwrap().delivery else {
        panic!("not parked")
    };
    assert_eq!(again.times, 2);
}

#[tokio::test]
async fn a_rule_that_the_router_names_is_parked_without_another_try() {
    let router = Router::bind().await;
    let speaker = start(vec![router.neighbor()]);
    let bad = key(7);
    // The attribute as it came: MP_REACH_NLRI, IPv4 FlowSpec, no next hop, one rule.
    let mut data = vec![0x90, 14, 0, u8::try_from(5 + bad.as_bytes().len()).unwrap()];
    data.extend([0, 1, 133, 0, 0]);
    data.extend(bad.as_bytes());
    let router = Deadly::start(
        router,
        OpenScript::default(),
        vec![bad.clone()],
        Death::Update(data),
    );
    let (parked, took) = settle(&speaker, &router, &bad, PATIENCE).await;
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(router.deaths(), 1);
    let words = parked.to_string();
    assert!(words.contains("3/9"), "{words}");
}

#[tokio::test]
async fn the_first_update_error_that_is_being_looked_into_does_not_hold_the_others_down() {
    let router = Router::bind().await;
    let speaker = start(vec![router.neighbor()]);
    let bad = key(20);
    let death = Death::Update(Vec::new());
    let router = Deadly::start(router, OpenScript::default(), vec![bad.clone()], death);
    let (parked, took) = settle(&speaker, &router, &bad, PATIENCE).await;
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(
        matches!(&parked.why, Loss::NotificationReceived(info) if (info.code, info.subcode) == (3, 9)),
        "{parked}"
    );
}

#[tokio::test]
async fn a_router_that_falls_silent_after_one_rule_has_the_others_in_the_end() {
    let router = Router::bind().await;
    let hold_time = HoldTime::from_secs(3).unwrap();
    let speaker = Speaker::start(SpeakerConfig {
        hold_time,
        ..config(vec![router.neighbor()])
    })
    .unwrap();
    speaker.open();
    let bad = key(1);
    let router = Deadly::start(router, OpenScript::default(), vec![bad.clone()], Death::Silence);
    let (parked, _) = settle(&speaker, &router, &bad, Duration::from_secs(60)).await;
    assert!(
        matches!(&parked.why, Loss::NotificationSent(info) if info.code == 4),
        "{parked}"
    );
    assert_eq!(
        router.deaths(),
        4,
        "all, all together again, a group, and the one"
    );
}
