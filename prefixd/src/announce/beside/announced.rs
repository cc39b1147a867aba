//! A weaker rule inside a stricter one, from its beginning to the end of the other.

use super::super::tests::{
    PATIENCE, POLL, alike, announcer, held, ids, mitigation, named, neighbor, speaker, state, stopped, two,
};
use super::super::{Announcer, State};
use prefixd_api::control::{BreakerTripped, Stop};
use prefixd_api::mitigation::{Mitigation, Severity};
use prefixd_api::resource::{Announcement, AnnouncementState};
use prefixd_bgp::NeighborConfig;
use serde_json::{Value, json};
use std::iter;
use std::slice::from_ref;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{interval, timeout};

fn ntp() -> Value {
    json!({"match": {"protocols": [17], "src_ports": [123]}, "action_type": "discard"})
}

fn ntp_to_http() -> Value {
    json!({"match": {"protocols": [17], "dst_ports": [80], "src_ports": [123]}, "action_type": "police", "rate_bps": 5_000_000})
}

/// A stricter and a weaker mitigation of one victim.
fn both(announcer: &Announcer) -> [Mitigation; 2] {
    let mut weaker = mitigation(announcer, 1, &ntp_to_http());
    weaker.vector = "manual".into();
    [mitigation(announcer, 1, &ntp()), weaker]
}

fn standing_at(announcer: &Announcer, of: &Mitigation, state: &State, at: &str) -> AnnouncementState {
    let told = announcer.announcements(of, state.beside(of.victim_ip, of.mitigation_id));
    told.iter().find(|told| told.neighbor == at).unwrap().state
}

/// How the one rule of a mitigation stands at the neighbour that gets rules.
fn standing(announcer: &Announcer, of: &Mitigation, state: &State) -> (AnnouncementState, usize, usize) {
    let told = announcer.announcements(of, state.beside(of.victim_ip, of.mitigation_id));
    let at = told.iter().find(|told| told.neighbor == "a").unwrap();
    (at.state, at.overlaps.len(), at.shadowed_by.len())
}

#[tokio::test]
async fn a_weaker_rule_waits_for_the_end_of_the_stricter_one() {
    for stricter_first in [true, false] {
        let announcer = two();
        let all = both(&announcer);
        let [stricter, weaker] = &all;
        let state = state(&all);
        let order = if stricter_first { [0, 1] } else { [1, 0] };
        announcer.project(&state, order.into_iter().map(|index| all[index].mitigation_id));
        assert_eq!(
            held(&announcer, "a").len(),
            1,
            "in one batch the weaker one is never there"
        );
        assert_eq!(
            standing(&announcer, weaker, &state),
            (AnnouncementState::Covered, 0, 1)
        );
        let (other, overlaps, shadowed) = standing(&announcer, stricter, &state);
        assert_eq!((overlaps, shadowed), (0, 0));
        assert_ne!(other, AnnouncementState::Covered);
        assert_eq!(announcer.reconcile(&state).desired, 1, "and is not missed");
        let counts = announcer.rule_counts();
        assert_eq!((counts.intended, counts.announced), (2, 2));

        let mut after = super::super::tests::state(from_ref(weaker));
        announcer.project(&after, iter::once(stricter.mitigation_id));
        let left = held(&announcer, "a");
        assert_eq!(left.len(), 1);
        assert_ne!(standing(&announcer, weaker, &after).0, AnnouncementState::Covered);
        assert_eq!(announcer.reconcile(&after).missing, 0);

        // It comes again: the weaker one stays a moment beside it, as after every change.
        after.restore(Arc::new(stricter.clone()));
        announcer.project(&after, iter::once(stricter.mitigation_id));
        assert_eq!(held(&announcer, "a").len(), 2);
        assert_eq!(standing(&announcer, weaker, &after).0, AnnouncementState::Covered);
    }
}

#[tokio::test]
async fn a_stricter_rule_whose_time_is_over_gives_way_without_the_store() {
    let announcer = two();
    let mut all = both(&announcer);
    let soon = announcer.clock.now().saturating_add(Duration::from_millis(1));
    all[0].expires_at = soon;
    let state = state(&all);
    announcer.project(&state, ids(&all));
    while announcer.clock.now() <= soon {
        tokio::task::yield_now().await;
    }
    // The store is away: in the state it is live still.
    announcer.remove(&state, all[0].mitigation_id);
    let left = held(&announcer, "a");
    assert_eq!(left.len(), 1);
    assert_ne!(
        standing(&announcer, &all[1], &state).0,
        AnnouncementState::Covered
    );
}

/// A panic takes one after the other: none may come out in between.
#[tokio::test]
async fn what_is_held_back_brings_nothing_out() {
    let announcer = two();
    let all = both(&announcer);
    announcer.project(&state(&all), ids(&all));
    announcer.hold_back(all[0].mitigation_id);
    assert!(held(&announcer, "a").is_empty());
}

#[tokio::test]
async fn a_preview_says_what_would_be_kept_back() {
    let announcer = two();
    let [stricter, weaker] = both(&announcer);
    let state = state(from_ref(&stricter));
    announcer.project(&state, iter::once(stricter.mitigation_id));
    let beside = state.beside(weaker.victim_ip, weaker.mitigation_id);
    let foreseen = announcer.foresee(&weaker, &[], beside);
    let at = &foreseen[0].announcements[0];
    assert_eq!(at.state, AnnouncementState::Covered);
    assert!(
        at.reason
            .as_deref()
            .unwrap()
            .contains("is stricter and takes all of it")
    );
    assert_eq!(at.shadowed_by[0].mitigation_id, stricter.mitigation_id);
    assert_eq!(foreseen[0].budget.after, 1, "it takes no place");
    // Where the stricter one would end by the same decision it is not there.
    let beside = state.beside(weaker.victim_ip, weaker.mitigation_id);
    let alone = announcer.foresee(&weaker, &[stricter.mitigation_id], beside);
    assert_ne!(alone[0].announcements[0].state, AnnouncementState::Covered);
}

#[tokio::test]
async fn rules_of_another_victim_are_no_matter() {
    let announcer = two();
    let [stricter, _] = both(&announcer);
    let other = mitigation(&announcer, 2, &ntp_to_http());
    let all = [stricter, other];
    announcer.project(&state(&all), ids(&all));
    assert_eq!(held(&announcer, "a").len(), 2);
}

/// Waits for what the routers are told.
async fn until(mut is_so: impl FnMut() -> bool) {
    let mut look = interval(POLL);
    let waiting = async {
        while !is_so() {
            look.tick().await;
        }
    };
    timeout(PATIENCE, waiting).await.expect("it comes about");
}

/// At the second router the stricter rule waits until the first has kept it: until then the weaker one is all that filters there.
#[tokio::test]
async fn the_weaker_rule_leaves_once_the_stricter_one_is_there_and_comes_back_where_it_is_kept_away() {
    let (announcer, routers) = alike(9);
    let all = both(&announcer);
    let [stricter, weaker] = &all;
    // What is there before the first session is known to the routers.
    announcer.project(&state(from_ref(weaker)), iter::once(weaker.mitigation_id));
    announcer.speaker.open();
    let state = state(&all);
    let advertised = |of: &Mitigation, at: &[&str]| {
        at.iter().all(|name| {
            let told = announcer.announcements(of, state.beside(of.victim_ip, of.mitigation_id));
            let is_there = |told: &&Announcement| told.state == AnnouncementState::Advertised;
            told.iter()
                .filter(is_there)
                .any(|told| told.neighbor == **name && told.parts == 1)
        })
    };
    until(|| advertised(weaker, &["a", "b"])).await;
    announcer.project(&state, iter::once(stricter.mitigation_id));
    until(|| advertised(stricter, &["a"]) || advertised(stricter, &["b"])).await;
    let (first, second) = if advertised(stricter, &["a"]) {
        ("a", "b")
    } else {
        ("b", "a")
    };
    announcer.look_at_insides(&state);
    assert!(advertised(weaker, &["a", "b"]), "the second has nothing else");
    let of_weaker = announcer.announcements(weaker, state.beside(weaker.victim_ip, weaker.mitigation_id));
    assert_eq!(of_weaker[0].overlaps[0].mitigation_id, stricter.mitigation_id);

    // The second is told it in the place of the first.
    announcer.speaker.disable(first, "line card").unwrap();
    until(|| advertised(stricter, &[second])).await;
    announcer.look_at_insides(&state);
    assert_eq!(
        standing_at(&announcer, weaker, &state, second),
        AnnouncementState::Covered
    );

    // The first comes back, and has to wait for the second now.
    announcer.speaker.enable(first).unwrap();
    until(|| {
        announcer.look_at_insides(&state);
        advertised(weaker, &["a", "b"])
    })
    .await;
    assert!(!advertised(stricter, &[first]));
    drop(routers);
}

/// While the breaker is tripped nothing new goes to a router, and it has to know of what does afterwards.
#[tokio::test]
async fn what_comes_out_is_news_to_the_breaker() {
    let announcer = two();
    let all = both(&announcer);
    let [stricter, weaker] = &all;
    announcer.project(&state(&all), ids(&all));
    assert!(announcer.take_came_out().is_empty());
    let mut tripped = state(from_ref(weaker));
    let now = announcer.clock.now();
    tripped.breaker = Some(Arc::new(BreakerTripped {
        tripped_at: now,
        neighbors: Vec::new(),
        announced_since: now,
        withdrawn: 0,
    }));
    announcer.project(&tripped, iter::once(stricter.mitigation_id));
    for _ in 0..2 {
        assert!(held(&announcer, "a").is_empty());
        let told = announcer.announcements(weaker, []);
        let at = told.iter().find(|told| told.neighbor == "a").unwrap();
        assert!(
            at.reason.as_deref().unwrap().contains("the breaker is tripped"),
            "{at:?}"
        );
        announcer.look_at_insides(&tripped);
        announcer.reconcile(&tripped);
    }
    assert!(announcer.take_came_out().is_empty());

    tripped.breaker = None;
    announcer.look_at_insides(&tripped);
    assert_eq!(held(&announcer, "a").len(), 1);
    assert_eq!(announcer.take_came_out(), [weaker.mitigation_id]);
    assert!(announcer.take_came_out().is_empty());
}

/// On hold nothing comes out in place of what ends, and nothing goes because of others.
#[tokio::test]
async fn a_neighbour_on_hold_gets_nothing_back() {
    let announcer = two();
    let all = both(&announcer);
    let [stricter, weaker] = &all;
    let before = state(&all);
    announcer.project(&before, ids(&all));
    announcer.stop_neighbors(stopped(&announcer, "a", Stop::Hold), &before);
    assert_eq!(
        standing(&announcer, weaker, &before).0,
        AnnouncementState::Covered
    );
    assert_eq!(held(&announcer, "a").len(), 1);
    let after = state(from_ref(weaker));
    announcer.project(&after, iter::once(stricter.mitigation_id));
    assert!(held(&announcer, "a").is_empty());
    assert_eq!(announcer.reconcile(&after).missing, 0);
    announcer.look_at_insides(&after);
    assert!(held(&announcer, "a").is_empty());
}

/// Two routers share a table, and one is full. Where it has no place for either rule, the weaker one stays away from both: at
/// the other it would let through what the stricter one takes. One that would get a place there is worth it.
#[tokio::test]
async fn a_full_neighbour_alone_brings_nothing_back() {
    for (urgent, is_sent) in [(false, false), (true, true)] {
        let full = NeighborConfig {
            max_rules: Some(1),
            ..neighbor("a", [192, 0, 2, 1].into(), 179)
        };
        let configs = vec![full, neighbor("b", [192, 0, 2, 2].into(), 179)];
        let announcer = announcer(
            speaker(None, 1, configs),
            vec![named("a", true), named("b", true)],
        );
        let mut first = mitigation(&announcer, 2, &ntp());
        first.severity = Severity::High;
        let [mut stricter, mut weaker] = both(&announcer);
        stricter.severity = Severity::Medium;
        weaker.severity = if urgent { Severity::Critical } else { Severity::Low };
        let all = [first, stricter, weaker];
        let state = state(&all);
        for one in &all {
            announcer.project(&state, iter::once(one.mitigation_id));
        }
        assert_eq!(
            standing_at(&announcer, &all[1], &state, "a"),
            AnnouncementState::OverBudget
        );
        assert_eq!(
            held(&announcer, "b").len(),
            2 + usize::from(is_sent),
            "urgent: {urgent}"
        );
        announcer.look_at_insides(&state);
        assert_eq!(
            held(&announcer, "b").len(),
            2 + usize::from(is_sent),
            "urgent: {urgent}"
        );
        assert_eq!(
            standing_at(&announcer, &all[2], &state, "b") == AnnouncementState::Covered,
            !is_sent
        );
    }
}
