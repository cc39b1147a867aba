use super::*;
use crate::fixture;
use prefixd_api::mitigation::MitigationStatus;

fn changed(old: &Mitigation, change: impl FnOnce(&mut Mitigation)) -> (MitigationChange, Mitigation) {
    let mut new = old.clone();
    new.revision += 1;
    change(&mut new);
    (MitigationChange::between(old, &new).unwrap(), new)
}

#[test]
fn changes_apply_in_order_and_gaps_are_fetched() {
    let mut store = Mitigations::default();
    let first = fixture::wave().remove(0);
    let (to_second, second) = changed(&first, |row| row.status = MitigationStatus::Escalated);
    let (to_third, third) = changed(&second, |row| row.step = 3);
    assert_eq!(store.apply(&to_second), Applied::Fetch, "not held");
    store.insert(first.clone());
    assert_eq!(store.apply(&to_third), Applied::Fetch, "a revision is missing");
    assert_eq!(store.apply(&to_second), Applied::Done);
    assert_eq!(store.apply(&to_second), Applied::Old, "a replay changes nothing");
    assert_eq!(store.apply(&to_third), Applied::Done);
    store.insert(first);
    assert_eq!(
        store.get(third.mitigation_id),
        Some(&third),
        "an older answer does not win"
    );
}

#[test]
fn what_ended_unseen_is_gone_and_what_came_meanwhile_stays() {
    let mut store = Mitigations::default();
    let mut wave = fixture::wave();
    let (kept, ended, new) = (wave.remove(0), wave.remove(0), wave.remove(0));
    let round = store.begin_round();
    assert!(
        store
            .replace_live(round, vec![kept.clone(), ended.clone()])
            .is_empty()
    );
    let round = store.begin_round();
    store.insert(new.clone());
    assert_eq!(
        store.replace_live(round, vec![kept.clone()]),
        [ended.mitigation_id]
    );
    assert!(store.get(kept.mitigation_id).is_some() && store.get(new.mitigation_id).is_some());
    assert!(store.get(ended.mitigation_id).is_none());
}

#[test]
fn a_journal_that_was_restored_counts_from_further_back() {
    let mut store = Mitigations::default();
    let row = fixture::wave().remove(0);
    let round = store.begin_round();
    let (_, newer) = changed(&row, |row| row.revision = 40);
    store.replace_live(round, vec![newer]);
    let round = store.begin_round();
    assert!(store.replace_live(round, vec![row.clone()]).is_empty());
    assert_eq!(
        store.get(row.mitigation_id),
        Some(&row),
        "it is live, and as the daemon says"
    );
    let round = store.begin_round();
    assert!(store.replace_live(round, vec![row.clone()]).is_empty());
    assert!(store.get(row.mitigation_id).is_some());
}

#[test]
fn an_answer_does_not_undo_what_was_heard_after_its_question() {
    let mut store = Mitigations::default();
    let row = fixture::wave().remove(0);
    let round = store.begin_round();
    store.replace_live(round, vec![row.clone()]);
    let asked = store.begin_round();
    let (change, ended) = changed(&row, |row| {
        row.status = MitigationStatus::Withdrawn;
        row.ended_at = Some(fixture::now());
    });
    assert_eq!(store.apply(&change), Applied::Done);
    store.replace_live(asked, vec![row]);
    assert_eq!(store.get(ended.mitigation_id), Some(&ended));
}

#[test]
fn a_change_keeps_how_the_rules_stand() {
    let mut store = Mitigations::default();
    let row = fixture::wave().remove(0);
    let delivery = Delivery {
        established: 2,
        advertised: 1,
        unsupported: 1,
    };
    store.insert(row.clone());
    store.deliver(row.mitigation_id, delivery);
    let (change, _) = changed(&row, |row| row.delivery = None);
    assert_eq!(store.apply(&change), Applied::Done);
    assert_eq!(
        store.get(row.mitigation_id).unwrap().delivery,
        Some(Box::new(delivery))
    );
}

#[test]
fn ended_ones_are_bounded() {
    let mut store = Mitigations::default();
    let row = fixture::wave().remove(0);
    for number in 0..MAX_ENDED + 5 {
        let mut ended = Mitigation {
            status: MitigationStatus::Expired,
            ..row.clone()
        };
        ended.mitigation_id = prefixd_api::ids::MitigationId::new();
        ended.ended_at = Some(prefixd_api::time::Timestamp::from_micros(
            i64::try_from(number).unwrap(),
        ));
        store.insert(ended);
    }
    assert_eq!(store.iter().count(), MAX_ENDED);
}
