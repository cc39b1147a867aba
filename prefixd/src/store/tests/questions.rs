//! Questions of operators, asked of each engine.

use super::fixture::{Attack, host};
use super::*;
use crate::store::{AuditFilter, GroupFilter, Line, MitigationFilter, PageRequest};
use prefixd_api::mitigation::{Group, MitigationStatus};
use prefixd_api::victim::Victim;

both!(the_journal_is_searched_by_everything_it_says the_journal_is_paged_over_windows
      the_chain_is_walked_in_parts groups_page_and_filter a_history_has_both_without_gaps
      an_address_has_what_is_live_over_it);

/// Three attacks a minute apart, and the end of the first by anna.
async fn three_attacks(place: &Place) -> [Attack; 3] {
    let attacks = [
        Attack::new(host(1), "udp_flood", at(60)),
        Attack::new(host(2), "syn_flood", at(120)),
        Attack::new("2001:db8::1".parse().unwrap(), "udp_flood", at(180)),
    ];
    for (attack, minute) in attacks.iter().zip(1..) {
        let now = at(60 * minute);
        place.commit_at(now, &[attack.effects().to_vec()]).await.unwrap();
    }
    let end = attacks[0].withdrawal(at(240));
    place.commit_at(at(240), &[vec![end]]).await.unwrap();
    attacks
}

async fn the_journal_is_searched_by_everything_it_says(place: Place) {
    assert!(
        place
            .store
            .list_journal(POP, &AuditFilter::default(), None, 9)
            .await
            .unwrap()
            .0
            .is_empty()
    );
    let attacks = three_attacks(&place).await;
    let first = attacks[0].mitigation.mitigation_id.to_string();
    let found = async |filter: AuditFilter| -> Vec<(u64, Kind)> {
        let (entries, next) = place.store.list_journal(POP, &filter, None, 100).await.unwrap();
        assert_eq!(next, None);
        entries.into_iter().map(|entry| (entry.seq, entry.kind)).collect()
    };
    use Kind::{Event, MitigationCreated, MitigationWithdrawn};
    let all = [
        (7, MitigationWithdrawn),
        (6, MitigationCreated),
        (5, Event),
        (4, MitigationCreated),
        (3, Event),
        (2, MitigationCreated),
        (1, Event),
    ];
    assert_eq!(found(AuditFilter::default()).await, all);
    let of = |change: fn(&mut AuditFilter)| {
        let mut filter = AuditFilter::default();
        change(&mut filter);
        filter
    };
    assert_eq!(found(of(|f| f.actor = Some("anna".into()))).await, all[..1]);
    assert_eq!(
        found(of(|f| f.kinds = vec![Event])).await,
        [all[2], all[4], all[6]]
    );
    // As text, not as a pattern, and whatever the case.
    assert_eq!(
        found(of(|f| f.text = Some("SYN_FLOOD".into()))).await,
        [all[3], all[4]]
    );
    assert!(found(of(|f| f.text = Some("syn%flood".into()))).await.is_empty());
    assert_eq!(found(of(|f| f.text = Some("anna".into()))).await, all[..1]);
    let one = AuditFilter {
        subject: Some(first.clone()),
        ..AuditFilter::default()
    };
    assert_eq!(found(one.clone()).await, [all[0], all[5]]);
    let indexed = AuditFilter {
        kinds: Kind::ALL
            .iter()
            .copied()
            .filter(|kind| kind.target() == "mitigation")
            .collect(),
        ..one
    };
    assert_eq!(found(indexed).await, [all[0], all[5]]);
    // Half-open, and exact where two entries are of one time.
    for (start, end, expected) in [
        (Some(120), None, &all[..5]),
        (Some(121), None, &all[..3]),
        (None, Some(120), &all[5..]),
        (Some(60), Some(180), &all[3..]),
        (Some(241), None, &[]),
        (None, Some(60), &[]),
    ] {
        let filter = AuditFilter {
            start: start.map(at),
            end: end.map(at),
            ..AuditFilter::default()
        };
        assert_eq!(found(filter).await, expected, "{start:?} {end:?}");
    }
}

async fn the_journal_is_paged_over_windows(place: Place) {
    // More entries than one window of a search: the newest and the oldest are what is looked for.
    let attack = |number: u32, vector: &str| Attack::new(host(number), vector, at(1)).effects().to_vec();
    place.commit(&[attack(0, "gre_flood")]).await.unwrap();
    let batches: Vec<Vec<_>> = (0..3)
        .map(|batch| {
            (0..1000)
                .map(|n| attack(1 + batch * 1000 + n, "udp_flood"))
                .collect()
        })
        .collect();
    for batch in &batches {
        place.commit(batch).await.unwrap();
    }
    place.commit(&[attack(9_000, "gre_flood")]).await.unwrap();
    let filter = AuditFilter {
        text: Some("gre_flood".into()),
        ..AuditFilter::default()
    };
    let (mut seen, mut pages, mut before) = (Vec::new(), 0, None);
    loop {
        let (entries, next) = place.store.list_journal(POP, &filter, before, 3).await.unwrap();
        assert!(
            next.is_none_or(|next| before.is_none_or(|before| next < before)),
            "it goes on"
        );
        seen.extend(entries.into_iter().map(|entry| entry.seq));
        pages += 1;
        before = next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(seen, [6_004, 6_003, 2, 1]);
    assert!(pages > 1, "one page looks at a window");

    // Pages without a filter have no gap and nothing twice.
    let everything = AuditFilter::default();
    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let (entries, next) = place
            .store
            .list_journal(POP, &everything, before, 999)
            .await
            .unwrap();
        seen.extend(entries.into_iter().map(|entry| entry.seq));
        before = next;
        if before.is_none() {
            break;
        }
    }
    assert!(seen.into_iter().eq((1..=6_004).rev()));
}

async fn the_chain_is_walked_in_parts(place: Place) {
    let attack = |number: u32| Attack::new(host(number), "udp_flood", at(1)).effects().to_vec();
    let batch: Vec<_> = (0..1_100).map(attack).collect();
    let head = place.commit(&batch).await.unwrap();
    let walk = async |from| match place.store.verify_chain(POP, from, 1_500).await.unwrap() {
        Verification::Intact { from, to, goes_on } => (from.seq, to, goes_on),
        broken => panic!("{broken:?}"),
    };
    let (from, to, goes_on) = walk(None).await;
    assert_eq!((from, to.seq, goes_on), (0, 2_000, true));
    assert_eq!(walk(Some(2_000)).await, (2_000, head, false));
}

async fn groups_page_and_filter(place: Place) {
    let attacks = three_attacks(&place).await;
    let mut closed = Group::clone(&attacks[1].group);
    closed.closed_at = Some(at(300));
    place
        .commit(&[vec![Effect::Group(closed.clone().into())]])
        .await
        .unwrap();
    let ids = |groups: &[Group]| -> Vec<_> { groups.iter().map(|group| group.group_id).collect() };
    let expected: Vec<_> = attacks.iter().rev().map(|attack| attack.group.group_id).collect();

    let filter = GroupFilter::default();
    let (all, next) = place
        .store
        .list_groups(Some(POP), &filter, None, 9)
        .await
        .unwrap();
    assert_eq!((ids(&all), next), (expected.clone(), None));
    assert!(
        place
            .store
            .list_groups(Some("fra1"), &filter, None, 9)
            .await
            .unwrap()
            .0
            .is_empty()
    );
    let (first, next) = place
        .store
        .list_groups(Some(POP), &filter, None, 2)
        .await
        .unwrap();
    assert_eq!((ids(&first), next), (expected[..2].to_vec(), Some(expected[1])));
    let (rest, next) = place
        .store
        .list_groups(Some(POP), &filter, next, 2)
        .await
        .unwrap();
    assert_eq!((ids(&rest), next), (expected[2..].to_vec(), None));

    let found = async |filter: GroupFilter| {
        ids(&place
            .store
            .list_groups(Some(POP), &filter, None, 9)
            .await
            .unwrap()
            .0)
    };
    let of = |change: fn(&mut GroupFilter)| {
        let mut filter = GroupFilter::default();
        change(&mut filter);
        filter
    };
    assert_eq!(found(of(|f| f.closed = Some(true))).await, [closed.group_id]);
    assert_eq!(
        found(of(|f| f.vector = Some("udp_flood".into()))).await,
        [expected[0], expected[2]]
    );
    assert_eq!(
        found(of(|f| f.victim = Some("10.0.0.0/8".parse().unwrap()))).await,
        expected[1..]
    );
    assert_eq!(
        found(of(|f| f.victim = Some("2001:db8::1/128".parse().unwrap()))).await,
        expected[..1]
    );
    let now = prefixd_api::time::Timestamp::wall_clock();
    let fresh = Attack::new(host(7), "udp_flood", now);
    place.commit(&[fresh.effects().to_vec()]).await.unwrap();
    let later = now.saturating_add(Duration::from_secs(1));
    for (start, end, is_there) in [
        (Some(now), Some(later), true),
        (Some(later), None, false),
        (None, Some(now), false),
    ] {
        let filter = GroupFilter {
            victim: Some(host(7).into()),
            start,
            end,
            ..GroupFilter::default()
        };
        assert_eq!(!found(filter).await.is_empty(), is_there, "{start:?} {end:?}");
    }
    let stored = place.store.get_group(closed.group_id).await.unwrap();
    assert_eq!(stored, Some(closed));
}

async fn a_history_has_both_without_gaps(place: Place) {
    let wanted: Vec<_> = (1..=5)
        .map(|n| Attack::new(host(1), &format!("vector{n}"), at(n)))
        .collect();
    let others = [
        Attack::new(host(2), "udp_flood", at(3)),
        Attack::new("2001:db8::1".parse().unwrap(), "udp_flood", at(3)),
    ];
    for attack in wanted.iter().chain(&others) {
        place.commit(&[attack.effects().to_vec()]).await.unwrap();
    }
    let walk = async |prefix: &str, limit, start, end| -> Vec<uuid::Uuid> {
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let page = PageRequest { cursor, limit };
            let page = place
                .store
                .history(Some(POP), prefix.parse().unwrap(), (start, end), page)
                .await
                .unwrap();
            assert!(page.items.len() <= usize::from(limit));
            seen.extend(page.items.iter().map(|line| match line {
                Line::Event(event) => event.event_id.0,
                Line::Mitigation(mitigation) => mitigation.mitigation_id.0,
            }));
            cursor = page.next;
            if cursor.is_none() {
                return seen;
            }
        }
    };
    // At one moment the later name first; both were made in this order.
    let both = |attack: &Attack| [attack.mitigation.mitigation_id.0, attack.event.event_id.0];
    let expected: Vec<_> = wanted.iter().rev().flat_map(both).collect();
    for limit in [1, 2, 3, 100] {
        assert_eq!(walk("10.0.0.1/32", limit, None, None).await, expected, "{limit}");
        let all = walk("10.0.0.0/30", limit, None, None).await;
        assert_eq!(all.len(), 12, "{limit}: a prefix has its hosts, and no other");
    }
    assert_eq!(
        walk("10.0.0.1/32", 100, Some(at(2)), Some(at(4))).await,
        expected[4..8]
    );
}

/// docs/configuration.md says so of aggregates: a list must not say "withdrawn" of what another rule filters.
async fn an_address_has_what_is_live_over_it(place: Place) {
    let over = |at, vector| {
        let mut attack = Attack::new(host(0), vector, at);
        let prefix = "10.0.0.0/24".parse().unwrap();
        Arc::make_mut(&mut attack.mitigation).victim_ip = Victim::network(prefix).unwrap();
        attack
    };
    let (before, many, after) = (
        Attack::new(host(1), "udp_flood", at(1)),
        over(at(2), "udp_flood"),
        Attack::new(host(1), "syn_flood", at(3)),
    );
    let aside = Attack::new(host(300), "udp_flood", at(4));
    for attack in [&before, &many, &after, &aside] {
        place.commit(&[attack.effects().to_vec()]).await.unwrap();
    }
    let walk = async |prefix: &str, statuses: &[MitigationStatus], limit| -> Vec<uuid::Uuid> {
        let filter = MitigationFilter {
            victim: Some(prefix.parse().unwrap()),
            statuses: statuses.to_vec(),
            ..MitigationFilter::default()
        };
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let page = PageRequest { cursor, limit };
            let page = place.store.list_mitigations(&filter, page).await.unwrap();
            seen.extend(page.items.iter().map(|one| one.mitigation_id.0));
            cursor = page.next;
            if cursor.is_none() {
                return seen;
            }
        }
    };
    use MitigationStatus::{Active, Escalated, Withdrawn};
    let all = [&after, &many, &before].map(|attack| attack.mitigation.mitigation_id.0);
    for limit in [1, 2, 100] {
        // Its first address is that of the aggregate, which the range of the second has by itself.
        for prefix in ["10.0.0.1/32", "10.0.0.0/30"] {
            assert_eq!(walk(prefix, &[], limit).await[..], all, "{prefix} {limit}");
            let some = walk(prefix, &[Active, Withdrawn], limit).await;
            assert_eq!(some.last(), all.last(), "{prefix} {limit}");
            assert!(some.contains(&all[1]), "{prefix} {limit}");
            assert_eq!(walk(prefix, &[Active, Escalated], limit).await[..], all);
        }
        assert!(walk("10.0.0.1/32", &[Withdrawn], limit).await.is_empty());
        assert_eq!(walk("10.0.0.9/32", &[], limit).await, [all[1]]);
        assert!(walk("10.0.2.1/32", &[], limit).await.is_empty());
    }
    let page = PageRequest {
        cursor: None,
        limit: 100,
    };
    let history = place
        .store
        .history(Some(POP), "10.0.0.9/32".parse().unwrap(), (None, None), page);
    let history = history.await.unwrap();
    assert!(
        matches!(&history.items[..], [Line::Mitigation(one)] if one.mitigation_id.0 == all[1]),
        "{:?}",
        history.items
    );
    place.commit(&[vec![many.withdrawal(at(6))]]).await.unwrap();
    assert_eq!(walk("10.0.0.1/32", &[], 100).await, [all[0], all[2]]);
}
