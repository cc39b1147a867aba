//! What a neighbour may hold.

use std::sync::Arc;
use std::time::Duration;

use prefixd_bgp::flowspec::{Action, Component, Family, NumericTerm, Rule};
use prefixd_bgp::{Bound, Delivery, Limits, NeighborConfig, Priority, Refusal, Route};
use tokio::time::Instant;

use crate::harness::*;

fn ports(count: u64) -> Route {
    let rule = Rule {
        family: Family::Ipv4,
        components: vec![
            Component::DestinationPrefix("192.0.2.1/32".parse().unwrap()),
            Component::DestinationPort((1..=count).map(|n| NumericTerm::equal(n * 10)).collect()),
        ],
    };
    Route {
        rule: Arc::new(rule.canonical().unwrap()),
        action: Action::DISCARD,
        priority: Priority::default(),
        not_after: Instant::now() + Duration::from_secs(3600),
    }
}

#[tokio::test]
async fn a_rule_with_too_many_operators_stays_here() {
    let router = Router::bind().await;
    let speaker = start(vec![router.neighbor()]);
    let mut peer = router.session(&OpenScript::default()).await;
    let (five, six) = (ports(5), ports(6));
    speaker
        .apply([announce(six.clone()), announce(five.clone())])
        .unwrap();
    assert_eq!(peer.update().await.nlri().0, [key(&five).as_bytes()]);
    let refusal = Refusal::TooManyOperators {
        component: "destination port",
        operators: 6,
        limit: 5,
    };
    assert_eq!(
        speaker.delivery(&key(&six)),
        [(NAME.into(), Delivery::Refused(refusal))]
    );
    assert_eq!(speaker.counts(NAME).unwrap().refused, 1);
}

#[tokio::test]
async fn a_rule_that_is_too_long_stays_here() {
    let router = Router::bind().await;
    let limits = Limits {
        operators_per_component: 1000,
        ..Limits::default()
    };
    let speaker = start(vec![NeighborConfig {
        limits,
        ..router.neighbor()
    }]);
    let mut peer = router.session(&OpenScript::default()).await;
    let (short, long) = (ports(70), ports(90));
    assert!(short.rule.key().component_bytes() < 240 && long.rule.key().component_bytes() >= 240);
    speaker
        .apply([announce(long.clone()), announce(short.clone())])
        .unwrap();
    assert_eq!(peer.update().await.nlri().0, [key(&short).as_bytes()]);
    assert!(matches!(
        speaker.delivery(&key(&long))[..],
        [(_, Delivery::Refused(Refusal::TooLong { limit: 239, .. }))]
    ));
}

#[tokio::test]
async fn a_family_the_router_did_not_agree_to_stays_here() {
    let router = Router::bind().await;
    let speaker = start(vec![router.neighbor()]);
    let mut peer = router
        .session(&OpenScript {
            families: vec![2],
            ..OpenScript::default()
        })
        .await;
    let end = peer.expect(UPDATE).await;
    assert_eq!(
        end.body,
        [0, 0, 0, 7, 0x90, 15, 0, 3, 0, 2, 133],
        "End-of-RIB of IPv6 alone"
    );
    let ipv4 = route(1);
    speaker.apply([announce(ipv4.clone())]).unwrap();
    let refused = Delivery::Refused(Refusal::FamilyNotNegotiated);
    assert_eq!(speaker.delivery(&key(&ipv4)), [(NAME.into(), refused)]);
    let counts = speaker.counts(NAME).unwrap();
    assert_eq!((counts.desired, counts.refused), (1, 1));
}

#[tokio::test]
async fn a_full_budget_lets_the_oldest_waiting_rule_in_when_another_ends() {
    let router = Router::bind().await;
    let speaker = start(vec![NeighborConfig {
        max_rules: Some(2),
        ..router.neighbor()
    }]);
    let mut peer = router.session(&OpenScript::default()).await;
    peer.initial_sync().await;
    let routes: Vec<_> = (1..=4).map(route).collect();
    speaker.apply(routes.iter().cloned().map(announce)).unwrap();
    assert_eq!(
        peer.update().await.nlri().0,
        [key(&routes[0]).as_bytes(), key(&routes[1]).as_bytes()]
    );
    assert_eq!(
        speaker.delivery(&key(&routes[2])),
        [(NAME.into(), Delivery::OverBudget(Bound::MaxRules(2)))]
    );
    assert_eq!(speaker.counts(NAME).unwrap().over_budget, 2);

    speaker.apply([withdraw(&routes[0])]).unwrap();
    assert_eq!(peer.update().await.nlri().1, [key(&routes[0]).as_bytes()]);
    assert_eq!(peer.update().await.nlri().0, [key(&routes[2]).as_bytes()]);
    assert_eq!(
        speaker.delivery(&key(&routes[3])),
        [(NAME.into(), Delivery::OverBudget(Bound::MaxRules(2)))]
    );
}
