//! Told to each engine.

use super::fixture::{Attack, START, host};
use super::*;
use crate::policy::{
    BreakerChange, ControlChange, ParkedRule, Parking, PeerBound, PeerKinds, PeerMemory, QuarantineChange,
    SessionEnd, SourceChange, TriedKind, Unconfirmed,
};
use prefixd_api::control::{BreakerTripped, ControlScope, Stop, Stopped};
use prefixd_api::feed::{FeedBody, FeedMessage};
use prefixd_api::mitigation::{Mitigation, Scope, Suppression};
use prefixd_api::peer::PeerDisabled;
use prefixd_api::resource::SafelistEntry;
use prefixd_api::source::SourcePaused;

both!(what_is_committed_is_loaded a_culprit_fails_alone_and_the_head_fences a_moving_list_is_paged_whole
      retention_keeps_the_chain_verifiable a_newer_schema_is_refused what_operators_change_comes_and_goes
      a_disabled_neighbour_stays_disabled_until_it_is_enabled what_is_parked_is_kept_for_each_neighbour a_paused_source_stays_paused a_tripped_breaker_stays_tripped_until_it_is_reset
      what_people_stopped_stays_so_until_they_say_otherwise a_withdrawal_waits_until_it_is_confirmed
      a_changed_entry_breaks_the_chain an_unreadable_row_is_named_and_the_others_load);

async fn what_is_committed_is_loaded(place: Place) {
    let attacks = [
        Attack::new(host(1), "udp_flood", at(1)),
        Attack::new("2001:db8::1".parse().unwrap(), "syn_flood", at(2)),
    ];
    let head = place
        .commit(&attacks.each_ref().map(|attack| attack.effects().to_vec()))
        .await
        .unwrap();
    let loaded = place.store.load(POP, at(3)).await.unwrap();
    assert_eq!(
        loaded.mitigations,
        attacks.each_ref().map(|attack| Arc::clone(&attack.mitigation))
    );
    assert_eq!((loaded.groups.len(), loaded.head), (2, head));
    assert!(loaded.unreadable.is_empty());
    let [first, _] = &attacks;
    assert_eq!(
        place
            .store
            .event_why(first.event.event_id)
            .await
            .unwrap()
            .as_ref(),
        Some(&first.why.explain())
    );
    assert_eq!(
        place
            .store
            .mitigation_why(first.mitigation.mitigation_id)
            .await
            .unwrap()
            .as_ref(),
        Some(&first.why.explain())
    );
    let key = EventKey::of(&first.event).unwrap();
    let mut later = key.clone();
    later.timestamp = at(9);
    let known = place.store.find_replays(POP, &[key, later]).await.unwrap();
    assert_eq!(
        known.iter().map(|event| event.event_id).collect::<Vec<_>>(),
        [first.event.event_id]
    );
    // Ended and begun again in one batch: the scope's one live row changes hands.
    let successor = Attack::new(host(1), "udp_flood", at(4));
    place
        .commit(&[vec![first.withdrawal(at(4))], successor.effects().to_vec()])
        .await
        .unwrap();
    let loaded = place.store.load(POP, at(5)).await.unwrap();
    assert_eq!(loaded.mitigations.last(), Some(&successor.mitigation));
    let kinds: Vec<_> = place
        .store
        .timeline(first.mitigation.mitigation_id)
        .await
        .unwrap()
        .into_iter()
        .map(|entry| entry.kind)
        .collect();
    assert_eq!(kinds, ["mitigation.created", "mitigation.withdrawn"]);
}

async fn a_culprit_fails_alone_and_the_head_fences(place: Place) {
    let attack = Attack::new(host(1), "udp_flood", at(1));
    let head = place.commit(&[attack.effects().to_vec()]).await.unwrap();
    let rival = Attack::new(host(1), "udp_flood", at(2));
    let innocent = Attack::new(host(2), "udp_flood", at(2));
    let refused = place
        .commit(&[innocent.effects().to_vec(), rival.effects().to_vec()])
        .await
        .unwrap_err();
    assert!(matches!(refused, CommitError::Constraint(_)), "{refused}");
    assert_eq!(place.store.journal_head(POP).await.unwrap(), head);
    place.commit(&[innocent.effects().to_vec()]).await.unwrap();
    let other = Attack::new(host(3), "udp_flood", at(3)).effects();
    let other = batch(head, at(3), &[other.to_vec()]);
    let overtaken = place.store.commit(other).await.unwrap_err();
    assert!(matches!(overtaken, CommitError::Overtaken(_)), "{overtaken}");
}

async fn a_moving_list_is_paged_whole(place: Place) {
    let attacks: Vec<_> = (0..7)
        .map(|n| Attack::new(host(n), "udp_flood", at(u64::from(n) / 2)))
        .collect();
    let mut decisions: Vec<_> = attacks.iter().map(|attack| attack.effects().to_vec()).collect();
    decisions.push(vec![attacks[0].withdrawal(at(9))]);
    place.commit(&decisions).await.unwrap();
    let (mut cursor, mut seen) = (None, Vec::new());
    loop {
        let page = place
            .store
            .list_events(&EventFilter::default(), PageRequest { cursor, limit: 3 })
            .await
            .unwrap();
        seen.extend(page.items.iter().map(|event| event.event_id));
        // A newcomer in front of the list shifts no page.
        let newcomer = Attack::new(
            host(100 + u32::try_from(seen.len()).unwrap()),
            "udp_flood",
            at(100),
        );
        place.commit(&[newcomer.effects().to_vec()]).await.unwrap();
        cursor = page.next.map(|next| next.to_string().parse().unwrap());
        if cursor.is_none() {
            break;
        }
    }
    let mut all: Vec<_> = attacks
        .iter()
        .map(|attack| (attack.event.received_at, attack.event.event_id))
        .collect();
    all.sort_unstable();
    assert_eq!(seen, all.into_iter().rev().map(|(_, id)| id).collect::<Vec<_>>());
}

async fn retention_keeps_the_chain_verifiable(place: Place) {
    let attacks: Vec<_> = (0..5)
        .map(|n| Attack::new(host(n), "udp_flood", at(n.into())))
        .collect();
    let mut decisions: Vec<_> = attacks.iter().map(|attack| attack.effects().to_vec()).collect();
    decisions.push(
        attacks[1..]
            .iter()
            .map(|attack| attack.withdrawal(at(9)))
            .collect(),
    );
    let head = place.commit(&decisions).await.unwrap();
    let mut passes = 0;
    while !place.store.prune(POP, at(60), 3).await.unwrap().is_done() {
        passes += 1;
    }
    assert!(passes > 1);
    let live = &attacks[0];
    assert_eq!(
        place.store.load(POP, at(60)).await.unwrap().mitigations,
        [Arc::clone(&live.mitigation)]
    );
    assert!(
        place
            .store
            .mitigation_why(live.mitigation.mitigation_id)
            .await
            .unwrap()
            .is_some()
    );
    assert!(
        place
            .store
            .get_mitigation(attacks[1].mitigation.mitigation_id)
            .await
            .unwrap()
            .is_none()
    );
    let found = place.store.verify_chain(POP, None, u64::MAX).await.unwrap();
    assert!(
        matches!(found, Verification::Intact { from, to, .. } if from.seq + 1 == head.seq && to == head),
        "{found:?}"
    );
    place
        .commit(&[Attack::new(host(9), "udp_flood", at(90)).effects().to_vec()])
        .await
        .unwrap();
    assert!(matches!(
        place.store.verify_chain(POP, None, u64::MAX).await.unwrap(),
        Verification::Intact { .. }
    ));
}

async fn a_newer_schema_is_refused(place: Place) {
    let sql = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
               VALUES (999, 'later', true, $1, 0)";
    match &place.store.db {
        Db::Sqlite(sqlite) => {
            let mut writer = sqlite.take_writer().await.unwrap();
            sqlx::query(sql)
                .bind(vec![0u8])
                .execute(&mut writer.connection)
                .await
                .unwrap();
        }
        Db::Postgres(postgres) => {
            let mut writer = postgres.take_writer().await.unwrap();
            sqlx::query(sql)
                .bind(vec![0u8])
                .execute(&mut writer.connection)
                .await
                .unwrap();
        }
    }
    let Place {
        store,
        connection,
        directory: _directory,
    } = place;
    store.close().await;
    drop(store);
    let refused = Store::open(&connection, 4).await.unwrap_err();
    assert!(
        matches!(refused, StoreError::NewerSchema { found: 999, .. }),
        "{refused}"
    );
}

async fn what_operators_change_comes_and_goes(place: Place) {
    for (victim, prefix, narrower) in [
        ("203.0.113.7", "203.0.113.0/24", "203.0.113.0/25"),
        ("2001:db8::7", "2001:db8::/32", "2001:db8::/33"),
    ] {
        let suppression: Suppression = serde_json::from_value(serde_json::json!({
            "suppression_id": uuid::Uuid::now_v7(), "scope": { "victim": victim, "vector": "udp_flood" },
            "created_by": "kim", "created_at": at(1), "expires_at": at(60), "reason": "customer asked",
        }))
        .unwrap();
        let entry = |prefix: &str, reason: &str| -> SafelistEntry {
            serde_json::from_value(serde_json::json!({
                "prefix": prefix, "reason": reason, "origin": "api", "created_by": "kim", "created_at": at(1),
                "expires_at": null,
            }))
            .unwrap()
        };
        let (wide, narrow) = (entry(prefix, "resolvers"), entry(narrower, "half of them"));
        let added = |entry: &SafelistEntry| Effect::SafelistAdded(entry.clone().into());
        let suppressed = |suppression: &Suppression| Effect::Suppressed(suppression.clone().into());
        place
            .commit(&[vec![suppressed(&suppression)], vec![added(&wide), added(&narrow)]])
            .await
            .unwrap();
        let loaded = place.store.load(POP, at(2)).await.unwrap();
        assert_eq!(loaded.suppressions, vec![suppression.clone()]);
        assert_eq!(loaded.safelist, [narrow.clone(), wide.clone()]);
        // What is said again replaces what was said; one prefix inside another is not the other.
        let mut longer = suppression.clone();
        longer.expires_at = at(600);
        let again = entry(prefix, "resolvers of all customers");
        place
            .commit(&[
                vec![suppressed(&longer), added(&again)],
                vec![Effect::SafelistRemoved {
                    prefix: narrow.prefix,
                    actor: "kim".into(),
                }],
            ])
            .await
            .unwrap();
        let loaded = place.store.load(POP, at(61)).await.unwrap();
        assert_eq!(
            (loaded.suppressions, loaded.safelist),
            (vec![longer], vec![again])
        );
        let scope: Scope = suppression.scope;
        place
            .commit(&[vec![
                Effect::Unsuppressed {
                    scope,
                    actor: "kim".into(),
                },
                Effect::SafelistRemoved {
                    prefix: wide.prefix,
                    actor: "kim".into(),
                },
            ]])
            .await
            .unwrap();
        let loaded = place.store.load(POP, at(62)).await.unwrap();
        assert_eq!((loaded.suppressions, loaded.safelist), (Vec::new(), Vec::new()));
    }
}

async fn a_disabled_neighbour_stays_disabled_until_it_is_enabled(place: Place) {
    let order = |neighbor: &str, what: PeerWhat| {
        vec![Effect::Peer(PeerChange {
            neighbor: neighbor.into(),
            what,
            actor: "token:noc".into(),
            reason: "INC-4711".into(),
        })]
    };
    let disabled = |neighbor: &str, reason: &str| PeerDisabled {
        neighbor: neighbor.into(),
        reason: reason.into(),
        disabled_by: "token:noc".into(),
        disabled_at: at(1),
    };
    let off = |of: &PeerDisabled| order(&of.neighbor, PeerWhat::Disabled(of.clone().into()));
    let (first, second) = (disabled("edge1", "card"), disabled("edge2", "cable"));
    let head = place.commit(&[off(&first), off(&second)]).await.unwrap();
    assert_eq!(head.seq, 2);
    assert_eq!(
        place.store.load(POP, at(2)).await.unwrap().disabled,
        [first, second.clone()]
    );
    assert_eq!(
        place.store.load("elsewhere", at(2)).await.unwrap().disabled,
        Vec::new()
    );

    // What is said again replaces what was said; in one batch the last word counts.
    let again = disabled("edge2", "another cable");
    let decisions = [
        order("edge1", PeerWhat::Enabled),
        off(&again),
        order("edge3", PeerWhat::Enabled),
        off(&disabled("edge4", "x")),
        order("edge4", PeerWhat::Enabled),
        order("edge2", PeerWhat::Reset),
        order("edge2", PeerWhat::Resent { family: None }),
    ];
    place.commit(&decisions).await.unwrap();
    assert_eq!(place.store.load(POP, at(3)).await.unwrap().disabled, [again]);

    let journal = &batch(Head::default(), at(1), &decisions).entries;
    assert_eq!(
        (journal[0].kind, &*journal[0].actor, &*journal[0].subject),
        (Kind::Peer, "token:noc", "edge1")
    );
    let orders: Vec<String> = journal
        .iter()
        .map(|entry| serde_json::from_str::<serde_json::Value>(&entry.body).unwrap())
        .map(|body| format!("{} {} {}", body["order"], body["neighbor"], body["reason"]))
        .collect();
    assert_eq!(orders[0], r#""enable" "edge1" "INC-4711""#);
    assert_eq!(orders[5], r#""reset" "edge2" "INC-4711""#);
}

async fn what_is_parked_is_kept_for_each_neighbour(place: Place) {
    let memory = |nlri: &str, held: bool| PeerMemory {
        hold_seconds: 30,
        rules: vec![ParkedRule {
            nlri: nlri.into(),
            afi_safi: "ipv4-flowspec".into(),
            shape: "ipv4-flowspec 000a 0 0 discard".into(),
            held,
            parking: Parking {
                since: at(1),
                until: at(9),
                times: 1,
                why: SessionEnd::Received {
                    code: 3,
                    subcode: 9,
                    text: None,
                },
            },
        }],
        shapes: Vec::new(),
        kinds: (nlri == "02").then(|| PeerKinds {
            group: "generic".into(),
            kept: ["ipv4-flowspec 000a 0 0 discard".into()].into(),
            tried: vec![TriedKind {
                kind: "ipv4-flowspec 000a 0 0 mark".into(),
                first: "edge1".into(),
                told: true,
            }],
            parked: Vec::new(),
        }),
        bound: (nlri == "02").then(|| PeerBound {
            total: Some(18),
            families: [("ipv4-flowspec".into(), 9)].into(),
            until: Some(at(9)),
            guesses: 2,
        }),
    };
    let change = |neighbor: &str, after: &PeerMemory| {
        vec![Effect::Quarantine(QuarantineChange {
            neighbor: neighbor.into(),
            after: after.clone().into(),
            parked: vec!["01".into()],
            released: Vec::new(),
            tried: Vec::new(),
            kept: ["ipv4-flowspec 000a 0 0 discard".into()].into(),
            bound: false,
            actor: "prefixd".into(),
        })]
    };
    let (one, other) = (memory("01", true), memory("02", true));
    place
        .commit(&[
            change("edge1", &one),
            change("edge2", &one),
            change("edge2", &other),
        ])
        .await
        .unwrap();
    let loaded = place.store.load(POP, at(2)).await.unwrap().quarantined;
    assert_eq!(loaded, [("edge1".into(), one.clone()), ("edge2".into(), other)]);
    assert_eq!(
        place.store.load("elsewhere", at(2)).await.unwrap().quarantined,
        []
    );

    // Who has nothing parked any more has no row.
    let nothing = PeerMemory::default();
    let released = memory("01", false);
    place
        .commit(&[change("edge1", &released), change("edge2", &nothing)])
        .await
        .unwrap();
    let loaded = place.store.load(POP, at(3)).await.unwrap().quarantined;
    assert_eq!(loaded, [("edge1".into(), released)]);
    let journal = &batch(Head::default(), at(1), &[change("edge1", &one)]).entries;
    assert_eq!(
        (journal[0].kind, &*journal[0].subject),
        (Kind::Quarantine, "edge1")
    );
    assert_eq!(
        journal[0].body,
        r#"{"kinds_kept":["ipv4-flowspec 000a 0 0 discard"],"neighbor":"edge1","parked":["01"],"released":[]}"#
    );
}

async fn a_tripped_breaker_stays_tripped_until_it_is_reset(place: Place) {
    let tripped = BreakerTripped {
        tripped_at: at(1),
        neighbors: vec!["edge1".to_owned(), "edge2".to_owned()],
        announced_since: START,
        withdrawn: 3,
    };
    let change = |after: Option<&BreakerTripped>| {
        vec![Effect::Breaker(BreakerChange {
            after: after.map(|tripped| Arc::new(tripped.clone())),
            actor: "prefixd".to_owned(),
            reason: "lost".to_owned(),
        })]
    };
    place.commit(&[change(Some(&tripped))]).await.unwrap();
    let loaded = place.store.load(POP, at(2)).await.unwrap().breaker;
    assert_eq!(loaded, Some(tripped.clone()));
    assert_eq!(place.store.load("elsewhere", at(2)).await.unwrap().breaker, None);
    // The last word of a batch counts.
    let more = BreakerTripped {
        withdrawn: 4,
        ..tripped.clone()
    };
    place.commit(&[change(None), change(Some(&more))]).await.unwrap();
    assert_eq!(place.store.load(POP, at(3)).await.unwrap().breaker, Some(more));
    place
        .commit(&[change(Some(&tripped)), change(None)])
        .await
        .unwrap();
    assert_eq!(place.store.load(POP, at(4)).await.unwrap().breaker, None);

    let journal = &batch(Head::default(), at(1), &[change(Some(&tripped)), change(None)]).entries;
    let told: Vec<FeedBody> = journal
        .iter()
        .map(|entry| entry.feed_json().unwrap().unwrap())
        .map(|text| serde_json::from_str::<FeedMessage>(&text).unwrap().body)
        .collect();
    assert_eq!(told, [of_breaker(Some(tripped)), of_breaker(None)]);
    // What cannot be read holds everything back: nothing is announced without it.
    place.commit(&[change(told_again(&told))]).await.unwrap();
    execute(&place, "UPDATE control SET body = 'x'").await;
    let unreadable = place.store.load(POP, at(5)).await.unwrap_err();
    assert!(unreadable.to_string().contains("breaker"), "{unreadable}");
}

fn of_breaker(breaker: Option<BreakerTripped>) -> FeedBody {
    FeedBody::ControlChanged {
        breaker,
        scope: None,
        stopped: None,
    }
}

fn told_again(told: &[FeedBody]) -> Option<&BreakerTripped> {
    told.iter().find_map(|body| match body {
        FeedBody::ControlChanged { breaker, .. } => breaker.as_ref(),
        _ => None,
    })
}

async fn a_withdrawal_waits_until_it_is_confirmed(place: Place) {
    let attack = Attack::new(host(1), "udp_flood", at(1));
    let mut ended = Mitigation::clone(&attack.mitigation);
    ended.confirm_by = Some(at(60));
    let waits = Unconfirmed {
        ended,
        put_back_at: at(60),
        successor: prefixd_api::ids::MitigationId::new(),
        group: prefixd_api::ids::GroupId::new(),
        suppression: Some(prefixd_api::ids::SuppressionId::new()),
    };
    let begins = [
        attack.effects().to_vec(),
        vec![
            attack.withdrawal(at(2)),
            Effect::Unconfirmed(Arc::new(waits.clone())),
        ],
    ];
    place.commit(&begins).await.unwrap();
    assert_eq!(
        place.store.load(POP, at(3)).await.unwrap().unconfirmed,
        std::slice::from_ref(&waits)
    );
    assert!(
        place
            .store
            .load("elsewhere", at(3))
            .await
            .unwrap()
            .unconfirmed
            .is_empty()
    );
    let confirmed = Effect::Confirmed {
        scope: waits.ended.scope(),
        mitigation: waits.ended.mitigation_id,
    };
    place
        .commit(&[vec![attack.withdrawal(at(4)), confirmed]])
        .await
        .unwrap();
    assert!(place.store.load(POP, at(5)).await.unwrap().unconfirmed.is_empty());
}

async fn what_people_stopped_stays_so_until_they_say_otherwise(place: Place) {
    let scope = |text: &str| text.parse::<ControlScope>().unwrap();
    let stopped = |text: &str, state| Stopped {
        scope: scope(text),
        state,
        reason: "INC-4711".to_owned(),
        set_by: "token:noc".to_owned(),
        set_at: at(1),
        revision: 7,
        recorded: true,
    };
    let change = |text: &str, after: Option<Stopped>| {
        vec![Effect::Control(ControlChange {
            scope: scope(text),
            after: after.map(Arc::new),
            actor: "token:noc".to_owned(),
            reason: "INC-4711".to_owned(),
        })]
    };
    let (pop, acme) = (stopped("pop", Stop::Hold), stopped("customer:acme", Stop::Panic));
    let decisions = [
        change("pop", Some(stopped("pop", Stop::Panic))),
        change("customer:acme", Some(acme.clone())),
        change("pop", Some(pop.clone())),
    ];
    place.commit(&decisions).await.unwrap();
    let loaded = place.store.load(POP, at(2)).await.unwrap();
    assert_eq!(loaded.stopped, [acme.clone(), pop.clone()]);
    assert_eq!(loaded.breaker, None);
    assert!(
        place
            .store
            .load("elsewhere", at(2))
            .await
            .unwrap()
            .stopped
            .is_empty()
    );
    place.commit(&[change("pop", None)]).await.unwrap();
    assert_eq!(place.store.load(POP, at(2)).await.unwrap().stopped, [acme]);

    let entries = &batch(
        Head::default(),
        at(1),
        &[change("pop", Some(pop.clone())), change("pop", None)],
    )
    .entries;
    assert_eq!(
        (entries[0].kind, &*entries[0].actor, &*entries[0].subject),
        (Kind::Control, "token:noc", "pop")
    );
    let told: Vec<FeedBody> = entries
        .iter()
        .map(|entry| entry.feed_json().unwrap().unwrap())
        .map(|text| serde_json::from_str::<FeedMessage>(&text).unwrap().body)
        .collect();
    let changed = |stopped| FeedBody::ControlChanged {
        breaker: None,
        scope: Some(ControlScope::Pop),
        stopped,
    };
    assert_eq!(told, [changed(Some(pop)), changed(None)]);
    // What cannot be read may be a panic: nothing is announced without it.
    execute(&place, "UPDATE control SET body = 'x'").await;
    let unreadable = place.store.load(POP, at(5)).await.unwrap_err();
    assert!(unreadable.to_string().contains("hold or panic"), "{unreadable}");
}

async fn a_changed_entry_breaks_the_chain(place: Place) {
    let attacks = [1, 2, 3].map(|n| Attack::new(host(n), "udp_flood", at(n.into())));
    place
        .commit(&attacks.each_ref().map(|attack| attack.effects().to_vec()))
        .await
        .unwrap();
    execute(&place, "UPDATE journal SET actor = 'nobody' WHERE seq = 3").await;
    let found = place.store.verify_chain(POP, None, u64::MAX).await.unwrap();
    assert!(matches!(found, Verification::Broken { seq: 3, .. }), "{found:?}");
    execute(&place, "DELETE FROM journal WHERE seq = 2").await;
    let found = place.store.verify_chain(POP, None, u64::MAX).await.unwrap();
    assert!(matches!(found, Verification::Broken { seq: 2, .. }), "{found:?}");
}

async fn an_unreadable_row_is_named_and_the_others_load(place: Place) {
    let attacks = [1, 2].map(|n| Attack::new(host(n), "udp_flood", at(n.into())));
    place
        .commit(&attacks.each_ref().map(|attack| attack.effects().to_vec()))
        .await
        .unwrap();
    let [damaged, sound] = &attacks;
    execute(
        &place,
        "UPDATE mitigations SET body = '{\"revision\":' WHERE created_at = (SELECT MIN(created_at) FROM mitigations)",
    )
    .await;
    let loaded = place.store.load(POP, at(9)).await.unwrap();
    assert_eq!(loaded.mitigations, [Arc::clone(&sound.mitigation)]);
    assert_eq!(loaded.taken.len(), 1, "its scope stays taken");
    let [row] = &loaded.unreadable[..] else {
        panic!("{:?}", loaded.unreadable);
    };
    assert_eq!(
        (row.what, row.name.clone()),
        ("mitigation", damaged.mitigation.mitigation_id.to_string())
    );
}

/// Somebody else writes to the database.
pub(super) async fn execute(place: &Place, sql: &'static str) {
    match &place.store.db {
        Db::Sqlite(sqlite) => {
            let mut writer = sqlite.take_writer().await.unwrap();
            sqlx::query(sql).execute(&mut writer.connection).await.unwrap();
            writer.put_back();
        }
        Db::Postgres(postgres) => {
            let mut writer = postgres.take_writer().await.unwrap();
            sqlx::query(sql).execute(&mut writer.connection).await.unwrap();
            writer.put_back();
        }
    }
}

async fn a_paused_source_stays_paused(place: Place) {
    let change = |source: &str, paused: Option<&SourcePaused>| {
        vec![Effect::Source(SourceChange {
            source: source.into(),
            after: paused.cloned().map(Arc::new),
            actor: "token:noc".into(),
            reason: "rule 12 misfires".into(),
        })]
    };
    let paused = |source: &str| SourcePaused {
        source: source.into(),
        reason: "rule 12 misfires".into(),
        paused_by: "token:noc".into(),
        paused_at: at(1),
    };
    // A name may be anything, also that of something else which is held.
    let (one, other) = (paused("alertmanager"), paused("breaker"));
    place
        .commit(&[
            change("alertmanager", Some(&one)),
            change("breaker", Some(&other)),
        ])
        .await
        .unwrap();
    let loaded = place.store.load(POP, at(2)).await.unwrap();
    assert_eq!(loaded.paused, [one, other.clone()]);
    assert!(loaded.breaker.is_none() && loaded.stopped.is_empty());
    assert!(place.store.load("fra1", at(2)).await.unwrap().paused.is_empty());
    place.commit(&[change("alertmanager", None)]).await.unwrap();
    assert_eq!(place.store.load(POP, at(3)).await.unwrap().paused, [other]);
}
