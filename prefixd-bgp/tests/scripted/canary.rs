//! A kind of rule that is new goes to one neighbour first.

use std::net::Ipv4Addr;
use std::time::Duration;

use prefixd_bgp::{
    Because, CanaryConfig, Delivery, NeighborConfig, Refusal, SessionPhase, Speaker, Stop, Waiting,
};

use crate::harness::*;

const WAIT: Duration = Duration::from_secs(1);
const RULES: u32 = 10;
const NAMES: [&str; 3] = ["a", "b", "c"];

/// Three routers, of which the first resets the session over one rule.
async fn three(first: u8, deadly: &[u32]) -> ([Deadly; 3], Vec<NeighborConfig>) {
    three_of(first, deadly, [&[1, 2]; 3]).await
}

/// The same with the address families that each agrees to.
async fn three_of(first: u8, deadly: &[u32], families: [&[u16]; 3]) -> ([Deadly; 3], Vec<NeighborConfig>) {
    let mut neighbors = Vec::new();
    let mut routers = Vec::new();
    for ((name, last), families) in NAMES.into_iter().zip(first..).zip(families) {
        let router = Router::bind_at(Ipv4Addr::new(127, 0, 21, last)).await;
        neighbors.push(NeighborConfig {
            name: name.into(),
            canary: Some(CanaryConfig {
                group: "generic".into(),
                wait: WAIT,
            }),
            ..router.neighbor()
        });
        let cannot = deadly.iter().filter(|_| name == "a").map(|n| key(&route(*n)));
        let open = OpenScript {
            router_id: Ipv4Addr::new(10, 0, 0, last),
            families: families.to_vec(),
            ..OpenScript::default()
        };
        routers.push(Deadly::start(router, open, cannot.collect(), Death::Reset));
    }
    (routers.try_into().ok().unwrap(), neighbors)
}

async fn established(speaker: &Speaker) {
    for name in NAMES {
        wait_for_phase(speaker, name, SessionPhase::Established).await;
    }
}

fn waiting(speaker: &Speaker, name: &str, n: u32) -> Option<Waiting> {
    match speaker.route(name, &key(&route(n)))?.delivery {
        Delivery::Waiting(waiting) => Some(waiting),
        _ => None,
    }
}

#[tokio::test]
async fn the_others_stay_up_when_the_first_resets_on_a_new_kind() {
    let (routers, neighbors) = three(1, &[4]).await;
    let others = neighbors[1..].to_vec();
    let speaker = start(neighbors);
    established(&speaker).await;
    speaker.apply((1..=RULES).map(route).map(announce)).unwrap();
    let why = waiting(&speaker, "b", 1).unwrap();
    assert_eq!((why.first.as_deref(), why.wait), (Some("a"), WAIT));
    assert_eq!(speaker.counts("c").unwrap().waiting, RULES as usize);

    // The first finds out which one it is, and then the others get the rest.
    for router in &routers {
        wait_for("all but one", || router.table().len() == RULES as usize - 1).await;
    }
    assert_eq!(routers.each_ref().map(Deadly::deaths), [2, 0, 0]);
    assert_eq!(
        routers.each_ref().map(Deadly::sessions)[1..],
        [1, 1],
        "they never lost theirs"
    );
    for name in ["b", "c"] {
        let why = waiting(&speaker, name, 4).unwrap();
        assert_eq!(
            (why.first.as_deref(), why.because),
            (Some("a"), Because::Parked),
            "{why}"
        );
    }
    // The kind is known now.
    speaker.apply([announce(route(99))]).unwrap();
    assert_eq!(waiting(&speaker, "b", 99), None);
    wait_for("a fresh rule", || routers[1].table().len() == RULES as usize).await;

    // Nobody waits for one that is gone for good.
    speaker.reconfigure(others).unwrap();
    wait_for("the parked one", || {
        routers[1].table().len() == RULES as usize + 1
    })
    .await;
}

#[tokio::test]
async fn what_was_restored_is_known_and_goes_to_all_at_once() {
    let (routers, neighbors) = three(11, &[]).await;
    let speaker = Speaker::start(config(neighbors)).unwrap();
    speaker.apply((1..=RULES).map(route).map(announce)).unwrap();
    speaker.open();
    for router in &routers {
        wait_for("all", || router.table().len() == RULES as usize).await;
    }
    for name in NAMES {
        assert_eq!(speaker.counts(name).unwrap().waiting, 0);
    }
}

#[tokio::test]
async fn another_is_first_when_the_first_is_disabled() {
    let (routers, neighbors) = three(21, &[]).await;
    let speaker = start(neighbors);
    established(&speaker).await;
    speaker.disable("a", "maintenance").unwrap();
    speaker.apply([announce(route(1))]).unwrap();
    wait_for("b and c", || {
        routers[1..].iter().all(|router| router.table().len() == 1)
    })
    .await;
    assert_eq!(routers[0].table().len(), 0);
    speaker.enable("a").unwrap();
    wait_for("a", || routers[0].table().len() == 1).await;
}

#[tokio::test]
async fn who_did_not_agree_to_the_family_is_not_the_first() {
    let (routers, neighbors) = three_of(31, &[], [&[2], &[1, 2], &[1, 2]]).await;
    let speaker = start(neighbors);
    established(&speaker).await;
    speaker.apply([announce(route(1))]).unwrap();
    let why = waiting(&speaker, "c", 1).unwrap();
    assert_eq!(why.first.as_deref(), Some("b"));
    let refused = Delivery::Refused(Refusal::FamilyNotNegotiated);
    assert_eq!(speaker.route("a", &key(&route(1))).unwrap().delivery, refused);
    wait_for("b and c", || {
        routers[1..].iter().all(|router| router.table().len() == 1)
    })
    .await;
    assert_eq!(routers[0].table().len(), 0);
}

#[tokio::test]
async fn a_restart_tells_nobody_what_one_has_parked() {
    let (routers, neighbors) = three(41, &[4]).await;
    let speaker = start(neighbors.clone());
    established(&speaker).await;
    speaker.apply((1..=RULES).map(route).map(announce)).unwrap();
    let rest = RULES as usize - 1;
    for router in &routers {
        wait_for("all but one", || router.table().len() == rest).await;
    }
    let (_, remembered) = speaker.remembered("a").unwrap();
    let text = "an upgrade".to_owned();
    speaker.shutdown(Stop::Restart { text }, PATIENCE).await;

    let speaker = Speaker::start(config(neighbors)).unwrap();
    speaker.apply((1..=RULES).map(route).map(announce)).unwrap();
    speaker.remember("a", remembered).unwrap();
    speaker.open();
    established(&speaker).await;
    for (name, router) in NAMES.into_iter().zip(&routers) {
        // One of them tries the kind again; the others have it after that.
        wait_for("all but one, and nothing else", || {
            speaker.counts(name).unwrap().advertised == rest && router.table().len() == rest
        })
        .await;
        assert!(!router.table().contains(key(&route(4)).as_bytes()), "{name}");
    }
    for name in ["b", "c"] {
        let why = waiting(&speaker, name, 4).unwrap();
        assert_eq!((why.first.as_deref(), why.because), (Some("a"), Because::Parked));
    }
    assert_eq!(routers.each_ref().map(Deadly::deaths), [2, 0, 0]);
}
