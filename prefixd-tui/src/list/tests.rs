use super::*;
use crate::filter;
use crate::fixture;
use proptest::prelude::*;

const PAGE: usize = 4;

fn store() -> Mitigations {
    let mut store = Mitigations::default();
    for row in fixture::wave() {
        store.insert(row);
    }
    store
}

fn settled(store: &Mitigations, list: &mut ListView) {
    let order = order(
        store,
        &list.filter,
        list.sort,
        list.selection.cursor(),
        fixture::now(),
    );
    list.selection.settle(order, PAGE);
}

fn list(store: &Mitigations) -> ListView {
    let mut list = ListView::new(Filter::parse(filter::DEFAULT).unwrap());
    settled(store, &mut list);
    list
}

fn victims(store: &Mitigations, list: &ListView) -> Vec<String> {
    list.selection
        .order()
        .iter()
        .map(|id| store.get(*id).unwrap().victim_ip.to_string())
        .collect()
}

#[test]
fn worst_first_then_by_rate() {
    let store = store();
    let shown = victims(&store, &list(&store));
    assert_eq!(shown[..3], ["203.0.113.10", "203.0.113.11", "198.51.100.25"]);
    assert_eq!(shown.len(), 9);
}

#[test]
fn addresses_sort_as_numbers_ipv4_first() {
    let store = store();
    let mut list = list(&store);
    list.sort = list.sort.choose(SortKey::Victim);
    settled(&store, &mut list);
    let shown = victims(&store, &list);
    assert_eq!(shown[..3], ["192.0.2.100", "192.0.2.101", "198.51.100.9"]);
    assert_eq!(shown.last().unwrap(), "2001:db8:ac::53");
    list.sort = list.sort.choose(SortKey::Victim);
    settled(&store, &mut list);
    assert_eq!(
        victims(&store, &list)[0],
        "2001:db8:ac::53",
        "chosen again, it reverses"
    );
}

#[test]
fn what_leaves_the_filter_stays_under_the_cursor_until_it_moves() {
    let mut store = store();
    let mut list = list(&store);
    list.selection.move_by(2, PAGE);
    let id = list.selection.cursor().unwrap();
    let mut ended = store.get(id).unwrap().clone();
    ended.revision += 1;
    ended.status = prefixd_api::mitigation::MitigationStatus::Expired;
    store.insert(ended);
    settled(&store, &mut list);
    assert_eq!(
        (list.selection.cursor(), list.selection.order().len()),
        (Some(id), 9)
    );
    list.selection.move_by(1, PAGE);
    settled(&store, &mut list);
    assert_eq!(list.selection.order().len(), 8);
    assert!(!list.selection.order().contains(&id));
}

#[test]
fn marks_by_one_by_range_and_all() {
    let store = store();
    let mut list = list(&store);
    list.mark(PAGE);
    assert_eq!(
        (list.marks.len(), list.selection.position()),
        (1, Some(1)),
        "marking goes on to the next"
    );
    list.selection.move_by(2, PAGE);
    list.mark_range();
    assert_eq!(list.marks.len(), 4);
    list.mark_all(&store);
    assert_eq!(list.marks.len(), 9);
    list.filter = Filter::parse("cust:acme status:active").unwrap();
    list.selection.move_by(100, PAGE);
    settled(&store, &mut list);
    assert!(list.hidden_marks() > 0);
    let hidden = list.hidden_marks();
    list.mark_all(&store);
    assert_eq!(
        (list.marks.len(), list.hidden_marks()),
        (hidden, hidden),
        "all that is shown was marked; what is hidden is left alone"
    );
}

#[test]
fn marking_all_is_undone_by_marking_all_also_beside_ended_ones() {
    let store = store();
    let mut list = ListView::new(Filter::everything());
    settled(&store, &mut list);
    list.mark_all(&store);
    assert_eq!((list.marks.len(), list.selection.order().len()), (10, 12));
    list.mark_all(&store);
    assert!(list.marks.is_empty());
}

#[test]
fn what_ends_sooner_than_its_lease_is_sorted_by_its_end() {
    let store = store();
    let mut list = list(&store);
    list.sort = list.sort.choose(SortKey::Ttl);
    settled(&store, &mut list);
    // Its lease is 100 s, and without a claim it is withdrawn in 40 s.
    assert_eq!(victims(&store, &list)[..2], ["203.0.113.20", "198.51.100.25"]);
}

#[test]
fn the_top_stays_on_the_screen_until_a_person_moves_away_from_it() {
    let store = store();
    let worst: Vec<_> = list(&store).selection.order().to_vec();
    let mut overview = Selection::at_top();
    overview.settle(worst[5..].to_vec(), PAGE);
    overview.settle(worst.clone(), PAGE);
    assert_eq!((overview.cursor(), overview.offset()), (Some(worst[0]), 0));
    overview.move_by(1, PAGE);
    overview.follow_top();
    overview.settle(worst[1..].to_vec(), PAGE);
    overview.settle(worst.clone(), PAGE);
    assert_eq!(overview.cursor(), Some(worst[1]), "a chosen one is followed");
    overview.move_by(-1, PAGE);
    overview.follow_top();
    overview.settle(worst[2..].to_vec(), PAGE);
    assert_eq!(overview.cursor(), Some(worst[2]));
}

proptest! {
    #[test]
    fn cursor_and_marks_follow_their_mitigations(steps in prop::collection::vec((0usize..6, 0usize..11), 1..60)) {
        let store = store();
        let mut list = list(&store);
        for (step, number) in steps {
            let (cursor, marks) = (list.selection.cursor(), list.marks.clone());
            match step {
                0 => list.sort = list.sort.choose(SortKey::ALL[number]),
                1 => list.sort = list.sort.reversed(),
                2 => list.filter = Filter::parse(["", filter::DEFAULT, "cust:acme", "bps>1G"][number % 4]).unwrap(),
                3 => list.mark(PAGE),
                4 => list.selection.move_by(number as isize - 5, PAGE),
                _ => list.mark_range(),
            }
            let moved = list.selection.cursor();
            settled(&store, &mut list);
            prop_assert_eq!(list.selection.cursor(), moved, "settling does not move the cursor");
            if step < 3 {
                prop_assert_eq!(list.selection.cursor(), cursor);
                prop_assert_eq!(&list.marks, &marks);
            }
            let (offset, row) = (list.selection.offset(), list.selection.position().unwrap());
            prop_assert!(offset <= row && row < offset + PAGE, "the cursor is on the screen");
        }
    }
}
