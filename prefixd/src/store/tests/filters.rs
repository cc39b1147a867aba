//! Each filter lets through what it names, and nothing else.

use super::fixture::{Attack, POP, host};
use super::*;
use prefixd_api::event::{EventAction, EventOutcome, StoredEvent};
use prefixd_api::ids::{EventId, MitigationId};
use prefixd_api::mitigation::{Mitigation, MitigationStatus};
use prefixd_api::rule::ActionType;

both!(filters_of_events filters_of_mitigations);

const OTHER_POP: &str = "fra1";

/// Ordinary ones of one POP, one there that is different in everything, and one of another POP.
struct Rows {
    ordinary: [Attack; 2],
    odd: Attack,
    elsewhere: Attack,
}

async fn rows(place: &Place) -> Rows {
    let ordinary = [1, 2].map(|n| Attack::new(host(n), "udp_flood", at(n.into())));
    let mut odd = Attack::new("10.9.0.1".parse().unwrap(), "syn_flood", at(20));
    odd.event = Arc::new(StoredEvent {
        source: "akvorado".to_owned(),
        action: EventAction::Unban,
        outcome: EventOutcome::Withdrawn,
        ..StoredEvent::clone(&odd.event)
    });
    odd.mitigation = Arc::new(Mitigation {
        status: MitigationStatus::Escalated,
        customer_id: Some("globex".into()),
        service_id: Some("web".into()),
        action_type: ActionType::Discard,
        acknowledged_at: Some(at(21)),
        ..Mitigation::clone(&odd.mitigation)
    });
    let elsewhere = Attack::new(host(1), "udp_flood", at(3));
    let ours = [&ordinary[0], &ordinary[1], &odd].map(|attack| attack.effects().to_vec());
    place.commit(&ours).await.unwrap();
    let theirs = batch(Head::default(), at(3), &[elsewhere.effects().to_vec()]);
    let theirs = Batch {
        pop: OTHER_POP.into(),
        ..Batch::clone(&theirs)
    };
    place.store.commit(Arc::new(theirs)).await.unwrap();
    Rows {
        ordinary,
        odd,
        elsewhere,
    }
}

const ALL: PageRequest = PageRequest {
    cursor: None,
    limit: 100,
};

async fn filters_of_events(place: Place) {
    let Rows {
        ordinary,
        odd,
        elsewhere,
    } = rows(&place).await;
    let all = EventFilter::default;
    // As it is asked for the ordinary ones, and for the odd one.
    let cases: [(&str, EventFilter, EventFilter); 7] = [
        (
            "source",
            EventFilter {
                source: Some("fastnetmon".into()),
                ..all()
            },
            EventFilter {
                source: Some("akvorado".into()),
                ..all()
            },
        ),
        (
            "vector",
            EventFilter {
                vector: Some("udp_flood".into()),
                ..all()
            },
            EventFilter {
                vector: Some("syn_flood".into()),
                ..all()
            },
        ),
        (
            "victim",
            EventFilter {
                victim: Some("10.0.0.0/24".parse().unwrap()),
                ..all()
            },
            EventFilter {
                victim: Some("10.9.0.1/32".parse().unwrap()),
                ..all()
            },
        ),
        (
            "outcome",
            EventFilter {
                outcome: Some(EventOutcome::Accepted),
                ..all()
            },
            EventFilter {
                outcome: Some(EventOutcome::Withdrawn),
                ..all()
            },
        ),
        (
            "action",
            EventFilter {
                action: Some(EventAction::Ban),
                ..all()
            },
            EventFilter {
                action: Some(EventAction::Unban),
                ..all()
            },
        ),
        (
            "start and end",
            EventFilter {
                end: Some(at(20)),
                ..all()
            },
            EventFilter {
                start: Some(at(20)),
                end: Some(at(21)),
                ..all()
            },
        ),
        (
            "pop",
            EventFilter {
                pop: Some(POP.into()),
                end: Some(at(20)),
                ..all()
            },
            EventFilter {
                pop: Some(POP.into()),
                start: Some(at(20)),
                ..all()
            },
        ),
    ];
    let ask = async |mut filter: EventFilter| -> Vec<EventId> {
        filter.pop.get_or_insert_with(|| POP.into());
        let page = place.store.list_events(&filter, ALL).await.unwrap();
        assert_eq!(page.next, None);
        page.items.iter().map(|event| event.event_id).collect()
    };
    let ids = ordinary.each_ref().map(|attack| attack.event.event_id);
    for (name, those, other) in cases {
        assert_eq!(ask(those).await, [ids[1], ids[0]], "{name} of the ordinary ones");
        assert_eq!(ask(other).await, [odd.event.event_id], "{name} of the odd one");
    }
    let nothing = EventFilter {
        source: Some("akvorado".into()),
        vector: Some("udp_flood".into()),
        ..all()
    };
    assert_eq!(ask(nothing).await, [], "all of them count");
    let there = EventFilter {
        pop: Some(OTHER_POP.into()),
        ..all()
    };
    assert_eq!(ask(there).await, [elsewhere.event.event_id]);
    let everywhere = place.store.list_events(&all(), ALL).await.unwrap();
    assert_eq!(everywhere.items.len(), 4);
}

async fn filters_of_mitigations(place: Place) {
    let Rows {
        ordinary,
        odd,
        elsewhere,
    } = rows(&place).await;
    let all = MitigationFilter::default;
    let cases: [(&str, MitigationFilter, MitigationFilter); 8] = [
        (
            "statuses",
            MitigationFilter {
                statuses: vec![MitigationStatus::Active, MitigationStatus::Withdrawn],
                ..all()
            },
            MitigationFilter {
                statuses: vec![MitigationStatus::Escalated],
                ..all()
            },
        ),
        (
            "customer_id",
            MitigationFilter {
                customer_id: Some("acme".into()),
                ..all()
            },
            MitigationFilter {
                customer_id: Some("globex".into()),
                ..all()
            },
        ),
        (
            "service_id",
            MitigationFilter {
                service_id: Some("game".into()),
                ..all()
            },
            MitigationFilter {
                service_id: Some("web".into()),
                ..all()
            },
        ),
        (
            "vector",
            MitigationFilter {
                vector: Some("udp_flood".into()),
                ..all()
            },
            MitigationFilter {
                vector: Some("syn_flood".into()),
                ..all()
            },
        ),
        (
            "victim",
            MitigationFilter {
                victim: Some("10.0.0.0/24".parse().unwrap()),
                ..all()
            },
            MitigationFilter {
                victim: Some("10.9.0.1/32".parse().unwrap()),
                ..all()
            },
        ),
        (
            "action_type",
            MitigationFilter {
                action_type: Some(ActionType::Police),
                ..all()
            },
            MitigationFilter {
                action_type: Some(ActionType::Discard),
                ..all()
            },
        ),
        (
            "acknowledged",
            MitigationFilter {
                acknowledged: Some(false),
                ..all()
            },
            MitigationFilter {
                acknowledged: Some(true),
                ..all()
            },
        ),
        (
            "start and end",
            MitigationFilter {
                end: Some(at(20)),
                ..all()
            },
            MitigationFilter {
                start: Some(at(20)),
                end: Some(at(21)),
                ..all()
            },
        ),
    ];
    let ask = async |mut filter: MitigationFilter| -> Vec<MitigationId> {
        filter.pop.get_or_insert_with(|| POP.into());
        let page = place.store.list_mitigations(&filter, ALL).await.unwrap();
        assert_eq!(page.next, None);
        page.items.iter().map(|one| one.mitigation_id).collect()
    };
    let ids = ordinary.each_ref().map(|attack| attack.mitigation.mitigation_id);
    for (name, those, other) in cases {
        assert_eq!(ask(those).await, [ids[1], ids[0]], "{name} of the ordinary ones");
        assert_eq!(
            ask(other).await,
            [odd.mitigation.mitigation_id],
            "{name} of the odd one"
        );
    }
    let nothing = MitigationFilter {
        customer_id: Some("acme".into()),
        action_type: Some(ActionType::Discard),
        ..all()
    };
    assert_eq!(ask(nothing).await, [], "all of them count");
    let there = MitigationFilter {
        pop: Some(OTHER_POP.into()),
        ..all()
    };
    assert_eq!(ask(there).await, [elsewhere.mitigation.mitigation_id]);
    let everywhere = place.store.list_mitigations(&all(), ALL).await.unwrap();
    assert_eq!(everywhere.items.len(), 4);
}
