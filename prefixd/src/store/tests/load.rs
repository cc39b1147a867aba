//! What a start finds, wherever its rows lie.

use super::fixture::{Attack, host};
use super::*;
use prefixd_api::mitigation::Group;

both!(of_a_scopes_groups_the_open_one_is_loaded_else_the_newest);

async fn of_a_scopes_groups_the_open_one_is_loaded_else_the_newest(place: Place) {
    let groups = |number: u32| {
        // The same moment: one batch may close a group and open the next.
        let group = || Group::clone(&Attack::new(host(number), "udp_flood", at(1)).group);
        let (mut closed, open) = (group(), group());
        closed.closed_at = Some(at(1));
        (Arc::new(closed), Arc::new(open))
    };
    let (first, second, mut over) = (groups(1), groups(2), groups(3));
    Arc::make_mut(&mut over.0).last_event_at = at(2);
    Arc::make_mut(&mut over.1).closed_at = Some(at(1));
    let rows = [(&first.0, &first.1), (&second.1, &second.0), (&over.0, &over.1)];
    for (before, after) in rows {
        let groups = [before, after].map(|group| Effect::Group(Arc::clone(group)));
        place.commit(&[groups.to_vec()]).await.unwrap();
    }
    let loaded = place.store.load(POP, at(3)).await.unwrap();
    let mut ids: Vec<_> = loaded.groups.iter().map(|group| group.group_id).collect();
    let mut expected = vec![first.1.group_id, second.1.group_id, over.0.group_id];
    ids.sort();
    expected.sort();
    assert_eq!(ids, expected);
}
