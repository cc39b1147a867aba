//! Answers that are kept with what their requests changed.

use super::fixture::{Attack, host};
use super::*;
use crate::store::answers::{Claim, ClaimName, Kept, KeptAnswer, LONGEST_KEPT, Recalled};

both!(an_answer_is_kept_exactly_when_its_change_is answers_are_forgotten_by_age_and_by_number answers_are_forgotten_in_steps);

fn name(principal: &str, key: &str) -> ClaimName {
    ClaimName {
        principal: principal.into(),
        key: key.into(),
    }
}

fn kept(key: &str, request: u8, at: prefixd_api::time::Timestamp) -> Kept {
    Kept {
        claim: Claim {
            name: name("token:noc", key),
            request: [request; 32],
        },
        at,
        answer: Arc::new(KeptAnswer::new(201, format!("{{\"key\":\"{key}\"}}"))),
    }
}

async fn commit(place: &Place, attack: &Attack, kept: Vec<Kept>) -> Result<(), CommitError> {
    let head = place.store.journal_head(POP).await.unwrap();
    let mut batch = Arc::unwrap_or_clone(batch(head, at(1), &[attack.effects().to_vec()]));
    batch.kept = kept;
    place.store.commit(Arc::new(batch)).await
}

/// What each step forgets of what is older than two seconds, or beyond so many.
async fn forget(place: &Place, each: u32, limit: u32) -> Vec<u64> {
    let mut what = place.store.forgettable(POP, at(2), each).await.unwrap();
    let mut steps = Vec::new();
    while !what.is_done() {
        steps.push(place.store.forget_kept(POP, &mut what, limit).await.unwrap());
    }
    steps
}

async fn an_answer_is_kept_exactly_when_its_change_is(place: Place) {
    let attack = Attack::new(host(1), "udp_flood", at(1));
    let (one, other) = (kept("k", 1, at(1)), kept("l", 2, at(1)));
    commit(&place, &attack, vec![one.clone(), other.clone()])
        .await
        .unwrap();
    let names = [
        name("token:noc", "k"),
        name("token:else", "k"),
        name("token:noc", "m"),
    ];
    let found = place.store.find_kept(POP, at(0), &names).await.unwrap();
    assert_eq!(found, std::slice::from_ref(&one), "a key is its principal's own");
    assert_eq!(found[0].recall(&[1; 32]), Recalled::Same(Arc::clone(&one.answer)));
    assert_eq!(found[0].recall(&[2; 32]), Recalled::Other);
    assert!(
        place
            .store
            .find_kept("fra1", at(0), &names)
            .await
            .unwrap()
            .is_empty()
    );
    assert!(
        place
            .store
            .find_kept(POP, at(2), &names)
            .await
            .unwrap()
            .is_empty(),
        "too old"
    );

    // A row that the store refuses takes the answer along.
    let rival = Attack::new(host(1), "udp_flood", at(2));
    let refused = commit(&place, &rival, vec![kept("n", 3, at(2))])
        .await
        .unwrap_err();
    assert!(matches!(refused, CommitError::Constraint(_)), "{refused}");
    let names = [name("token:noc", "n")];
    assert!(
        place
            .store
            .find_kept(POP, at(0), &names)
            .await
            .unwrap()
            .is_empty()
    );

    // One that had its time, and is still there, makes room.
    let next = Attack::new(host(2), "udp_flood", at(2));
    let again = kept("k", 9, at(90_000));
    commit(&place, &next, vec![again.clone()]).await.unwrap();
    let found = place
        .store
        .find_kept(POP, at(0), &[name("token:noc", "k")])
        .await
        .unwrap();
    assert_eq!(found, [again]);

    // Without a body: that it was done is known all the same.
    let long = Kept {
        answer: Arc::new(KeptAnswer::new(200, "x".repeat(LONGEST_KEPT + 1))),
        ..kept("long", 1, at(3))
    };
    assert_eq!(long.answer.body, None);
    let third = Attack::new(host(3), "udp_flood", at(3));
    commit(&place, &third, vec![long.clone()]).await.unwrap();
    let found = place
        .store
        .find_kept(POP, at(0), &[name("token:noc", "long")])
        .await;
    assert_eq!(found.unwrap(), [long]);
}

async fn answers_are_forgotten_by_age_and_by_number(place: Place) {
    let attack = Attack::new(host(1), "udp_flood", at(1));
    let all: Vec<Kept> = (0..9).map(|n| kept(&format!("k{n}"), 1, at(n))).collect();
    let mut others = all.clone();
    for other in &mut others[7..] {
        other.claim.name.principal = "uid:1000(anna)".into();
    }
    commit(&place, &attack, others).await.unwrap();
    // Two are too old; of the five that are left to one principal three stay.
    assert_eq!(forget(&place, 3, 100).await, [4]);
    let names: Vec<_> = all.iter().map(|kept| kept.claim.name.clone()).collect();
    let mut found = place.store.find_kept(POP, at(0), &names).await.unwrap();
    found.sort_by_key(|kept| kept.at);
    assert_eq!(found, all[4..7], "the newest");
    let hers = [name("uid:1000(anna)", "k7"), name("uid:1000(anna)", "k8")];
    assert_eq!(place.store.find_kept(POP, at(0), &hers).await.unwrap().len(), 2);
    assert!(forget(&place, 3, 100).await.is_empty());
}

async fn answers_are_forgotten_in_steps(place: Place) {
    let attack = Attack::new(host(1), "udp_flood", at(1));
    // Two are too old, three more are beyond the newest three; of somebody else one is too old.
    let mut all: Vec<Kept> = (0..9).map(|n| kept(&format!("k{n}"), 1, at(n))).collect();
    all[0].claim.name.principal = "uid:1000(anna)".into();
    commit(&place, &attack, all.clone()).await.unwrap();
    assert_eq!(forget(&place, 3, 2).await, [1, 2, 2, 1]);
    let names: Vec<_> = all.iter().map(|kept| kept.claim.name.clone()).collect();
    let mut found = place.store.find_kept(POP, at(0), &names).await.unwrap();
    found.sort_by_key(|kept| kept.at);
    assert_eq!(found, all[6..], "the newest");
    assert!(
        place
            .store
            .forgettable("fra1", at(100), 3)
            .await
            .unwrap()
            .is_done()
    );
}
