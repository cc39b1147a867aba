//! Retention.

use super::*;
use crate::store::answers::KEPT_EACH;
use crate::store::tests::at;
use crate::store::tests::fixture::{Attack, host};

on_both_stores!(history_goes_when_it_is_old_however_much_there_is many_answers_are_forgotten_before_their_hour);

/// More than two pruning steps take: they follow one another, and do not wait for the next look.
async fn history_goes_when_it_is_old_however_much_there_is(place: Place) {
    let attacks: Vec<_> = (1..=1_100)
        .map(|n| Attack::new(host(n), "udp_flood", at(1)))
        .collect();
    for attacks in attacks.chunks(500) {
        let decisions: Vec<_> = attacks
            .iter()
            .map(|attack| {
                let mut effects = attack.effects().to_vec();
                effects.push(attack.withdrawal(at(2)));
                effects
            })
            .collect();
        place.commit(&decisions).await.unwrap();
    }
    let settings = Settings {
        prune_interval: Duration::ZERO,
        ..SETTLED
    };
    let mut bench = Bench::with(place, settings, PLAYBOOKS).await;
    let mut recent = bench.ban(10);
    bench.finish().await;
    let Ok(Ok(Answer { outcome, .. })) = recent.try_recv() else {
        panic!("it was accepted")
    };
    let crate::policy::Outcome::Event { answer, .. } = outcome else {
        panic!("{outcome:?}")
    };

    bench.engine.tick().await.unwrap();
    let pruning = bench.engine.pruning.take().expect("it has begun");
    tokio::time::timeout(PATIENCE, pruning).await.unwrap().unwrap();
    let store = &bench.engine.parts.store;
    for attack in &attacks {
        let event = store.get_event(attack.event.event_id).await.unwrap();
        let mitigation = store
            .get_mitigation(attack.mitigation.mitigation_id)
            .await
            .unwrap();
        assert!(event.is_none() && mitigation.is_none());
    }
    assert!(store.get_event(answer.event_id).await.unwrap().is_some());
    bench.assert_durable().await;
}

async fn many_answers_are_forgotten_before_their_hour(place: Place) {
    let mut bench = Bench::with(place, SETTLED, PLAYBOOKS).await;
    bench.engine.kept = u64::from(KEPT_EACH) - 1;
    bench.engine.tick().await.unwrap();
    assert!(bench.engine.forgetting.is_none(), "the next one is an hour away");
    bench.engine.kept += 1;
    bench.engine.tick().await.unwrap();
    let forgetting = bench.engine.forgetting.take().expect("it has begun");
    assert!(bench.engine.pruning.is_none(), "history waits its hour");
    tokio::time::timeout(PATIENCE, forgetting).await.unwrap().unwrap();
    bench.engine.tick().await.unwrap();
    assert!(bench.engine.forgetting.is_none(), "counted anew");
}
