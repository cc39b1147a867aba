//! Counts, POPs and the schema, asked of each engine.

use super::fixture::{Attack, host};
use super::*;
use prefixd_api::series::Metric;
use prefixd_api::time::Timestamp;
use std::collections::BTreeMap;

both!(what_is_counted_is_counted_once many_of_one_time_are_counted_once counts_go_with_their_history sources_are_told_apart
      pops_and_steps_are_named);

/// Minute of the story, from its start.
fn minute(minute: u64) -> Timestamp {
    at(minute * 60)
}

async fn attack(place: &Place, number: u32, at: Timestamp) {
    let attack = Attack::new(host(number), "udp_flood", at);
    place.commit_at(at, &[attack.effects().to_vec()]).await.unwrap();
}

/// Counts until nothing is left to count.
async fn count_up(place: &Place, now: Timestamp) {
    for metric in Metric::ALL {
        while !place.store.count_up(POP, metric, minute(0), now).await.unwrap() {}
    }
}

async fn many_of_one_time_are_counted_once(place: Place) {
    for number in 1..=8 {
        attack(&place, number, minute(7)).await;
    }
    attack(&place, 9, minute(8)).await;
    let all: BTreeMap<_, _> = [(minute(5), 9)].into();
    let counted = async || {
        let counted = place.store.count_by_time(POP, Metric::Events, minute(0), 300);
        counted.await.unwrap()
    };
    assert_eq!(counted().await, all, "nothing is counted yet");
    count_up(&place, minute(20)).await;
    assert_eq!(counted().await, all);
}

async fn what_is_counted_is_counted_once(place: Place) {
    let per_half_hour = async || -> Vec<(Metric, BTreeMap<Timestamp, u64>)> {
        let mut counts = Vec::new();
        for metric in Metric::ALL {
            counts.push((
                metric,
                place
                    .store
                    .count_by_time(POP, metric, minute(0), 1_800)
                    .await
                    .unwrap(),
            ));
        }
        counts
    };
    let both = |buckets: &[(u64, u64)]| -> Vec<(Metric, BTreeMap<Timestamp, u64>)> {
        let buckets: BTreeMap<_, _> = buckets
            .iter()
            .map(|(at, number)| (minute(*at), *number))
            .collect();
        Metric::ALL
            .into_iter()
            .map(|metric| (metric, buckets.clone()))
            .collect()
    };
    assert_eq!(per_half_hour().await, both(&[]));
    count_up(&place, minute(1)).await;
    for (number, at) in [(1, 2), (2, 29), (3, 30), (4, 95)] {
        attack(&place, number, minute(at)).await;
    }
    let expected = both(&[(0, 2), (30, 1), (90, 1)]);
    assert_eq!(per_half_hour().await, expected, "nothing is counted yet");
    // In steps, with two who count, and what may still be incomplete left out.
    for now in [31, 95, 200] {
        tokio::join!(count_up(&place, minute(now)), count_up(&place, minute(now)));
        assert_eq!(per_half_hour().await, expected, "at {now}");
    }
    attack(&place, 5, minute(201)).await;
    assert_eq!(per_half_hour().await, both(&[(0, 2), (30, 1), (90, 1), (180, 1)]));
    // Another POP has nothing, and a range begins where it begins.
    let other = place
        .store
        .count_by_time("fra1", Metric::Events, minute(0), 300)
        .await
        .unwrap();
    assert!(other.is_empty());
    let later = place
        .store
        .count_by_time(POP, Metric::Events, minute(30), 300)
        .await
        .unwrap();
    assert_eq!(
        later,
        [(30, 1), (95, 1), (200, 1)]
            .map(|(at, number)| (minute(at), number))
            .into()
    );
}

async fn counts_go_with_their_history(place: Place) {
    for (number, at) in [(1, 1), (2, 6)] {
        attack(&place, number, minute(at)).await;
    }
    count_up(&place, minute(10)).await;
    // Behind the mark: it is never counted, and the mark never goes back.
    let late = Attack::new(host(3), "udp_flood", minute(7));
    place
        .commit_at(minute(7), &[late.effects().to_vec()])
        .await
        .unwrap();
    count_up(&place, minute(20)).await;
    let events = async || {
        place
            .store
            .count_by_time(POP, Metric::Events, minute(0), 300)
            .await
            .unwrap()
    };
    assert_eq!(events().await, [(minute(0), 1), (minute(5), 1)].into());
    place.store.prune("fra1", minute(30), 100).await.unwrap();
    assert_eq!(events().await.len(), 2, "another POP's history is its own");
    place.store.prune(POP, minute(4), 100).await.unwrap();
    assert_eq!(events().await, [(minute(5), 1)].into());
}

async fn sources_are_told_apart(place: Place) {
    attack(&place, 1, minute(1)).await;
    attack(&place, 2, minute(90)).await;
    count_up(&place, minute(100)).await;
    attack(&place, 3, minute(101)).await;
    let sources = async |since| {
        place
            .store
            .count_by_source(POP, minute(since), minute(0))
            .await
            .unwrap()
    };
    for (since, number, last) in [(0, 3, 101), (60, 2, 101), (105, 0, 90)] {
        let counts = sources(since).await;
        assert_eq!(counts.keys().collect::<Vec<_>>(), ["fastnetmon"]);
        let counts = &counts["fastnetmon"];
        assert_eq!(counts.last_at, Some(minute(last)), "{since}");
        assert_eq!(
            counts.outcomes.get("accepted").copied().unwrap_or(0),
            number,
            "{since}"
        );
    }
}

async fn pops_and_steps_are_named(place: Place) {
    let names = async || -> Vec<(String, bool, u64, u64)> {
        let pops = place.store.pops("fra1").await.unwrap();
        pops.into_iter()
            .map(|pop| (pop.name, pop.own, pop.head, pop.live))
            .collect()
    };
    assert_eq!(names().await, [("fra1".to_owned(), true, 0, 0)]);
    attack(&place, 1, minute(1)).await;
    let written = ("iad1".to_owned(), false, 2, 1);
    assert_eq!(names().await, [("fra1".to_owned(), true, 0, 0), written]);
    let schema = place.store.migrations().await.unwrap();
    assert_eq!(
        (schema.version, schema.count),
        (schema.known, schema.migrations.len())
    );
    let now = Timestamp::wall_clock();
    for step in &schema.migrations {
        let installed = step.installed_at.expect("this database has every step");
        assert!(now.since(installed) < Duration::from_secs(3_600), "{step:?}");
    }
}
