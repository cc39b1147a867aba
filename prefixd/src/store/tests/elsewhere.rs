//! What a POP sees of another: iad1 writes, fra1 asks.

use super::fixture::{Attack, host};
use super::*;
use crate::store::elsewhere::{LIVE, OF_SCOPES, OF_VICTIM, around};
use crate::store::prefix::{family, key};
use prefixd_api::ids::GroupId;
use prefixd_api::mitigation::Group;
use prefixd_api::victim::Victim;
use sqlx::{Connection, PgConnection};

fn iad(runs: bool) -> OtherPop {
    OtherPop {
        name: POP.to_owned(),
        runs,
    }
}

#[tokio::test]
async fn there_is_no_other_pop_on_sqlite() {
    let place = sqlite().await;
    place
        .commit(&[Attack::new(host(1), "udp_flood", at(1)).effects().to_vec()])
        .await
        .unwrap();
    assert!(place.store.other_pops("fra1").await.unwrap().is_empty());
    let pops = [iad(true)];
    let live = place.store.live_against(&pops, host(1), 10).await.unwrap();
    assert!(live.is_empty() && place.store.live_counts(&pops).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_is_live_there_is_found_and_counted() {
    let Some(place) = postgres().await else {
        return;
    };
    place.store.take_pop(POP).await.unwrap();
    let all = [
        Attack::new(host(1), "udp_flood", at(1)),
        Attack::new(host(1), "syn_flood", at(2)),
        Attack::new(host(2), "udp_flood", at(3)),
        Attack::new(host(1), "icmp_flood", at(4)),
    ];
    let effects: Vec<_> = all.iter().map(|attack| attack.effects().to_vec()).collect();
    place.commit(&effects).await.unwrap();
    place.commit(&[vec![all[3].withdrawal(at(5))]]).await.unwrap();

    let pops = place.store.other_pops("fra1").await.unwrap();
    assert_eq!(pops, [iad(true)]);
    // What nobody holds.
    let mut connection = PgConnection::connect(&place.connection).await.unwrap();
    sqlx::query("INSERT INTO pops (pop, fence, body) VALUES ('ams1', 1, '')")
        .execute(&mut connection)
        .await
        .unwrap();
    let gone = OtherPop {
        name: "ams1".to_owned(),
        runs: false,
    };
    let both = place.store.other_pops("fra1").await.unwrap();
    assert_eq!(both, [gone.clone(), iad(true)]);
    assert_eq!(
        place.store.other_pops(POP).await.unwrap(),
        std::slice::from_ref(&gone)
    );
    let of_victim = async |pops: &[OtherPop], limit| {
        let live = place.store.live_against(pops, host(1), limit).await.unwrap();
        let mut vectors: Vec<String> = live.into_iter().map(|one| one.vector.to_string()).collect();
        vectors.sort();
        vectors
    };
    assert_eq!(of_victim(&pops, 10).await, ["syn_flood", "udp_flood"]);
    assert_eq!(of_victim(&pops, 1).await.len(), 1);
    assert!(of_victim(&[gone], 10).await.is_empty());
    // Of a page of groups, in one question; an ended one is not there, nor another group of the scope.
    let group = |n: usize| Group::clone(&all[n].group);
    let mut renamed = group(2);
    renamed.group_id = GroupId::new();
    let asked = [group(0), renamed, group(3)];
    let found = place
        .store
        .live_of_groups(&asked.iter().collect::<Vec<_>>())
        .await
        .unwrap();
    assert_eq!(found, [(asked[0].group_id, all[0].mitigation.mitigation_id)]);
    let mut counts = place.store.live_counts(&pops).await.unwrap();
    counts.sort_by(|one, other| one.vector.cmp(&other.vector));
    let count = |vector: &str, number| LiveCount {
        pop: POP.to_owned(),
        status: "active".to_owned(),
        vector: vector.to_owned(),
        action_type: "police".to_owned(),
        number,
    };
    assert_eq!(counts, [count("syn_flood", 1), count("udp_flood", 2)]);
}

#[test]
fn the_prefixes_around_an_address_are_asked_for() {
    let victim = "203.0.113.20".parse().unwrap();
    let keys = around(victim);
    assert_eq!(keys.len(), 17);
    for text in ["203.0.113.20/32", "203.0.113.16/28", "203.0.0.0/16"] {
        let one = key(Victim::network(text.parse().unwrap()).unwrap());
        assert!(keys.contains(&one), "{text}");
    }
    assert_eq!(around("2001:db8::1".parse().unwrap()).len(), 97);
}

/// A year of history must not be walked for them.
#[tokio::test]
async fn questions_about_others_walk_what_is_live_alone() {
    let Some(place) = postgres().await else {
        return;
    };
    let effects: Vec<_> = (0..20)
        .map(|n| Attack::new(host(n), "udp_flood", at(1)).effects().to_vec())
        .collect();
    place.commit(&effects).await.unwrap();
    let mut connection = PgConnection::connect(&place.connection).await.unwrap();
    sqlx::raw_sql(
        "INSERT INTO mitigations (id, pop, live, status, af, victim, vector, action_type, acknowledged, created_at, ended_at, body) \
         SELECT gen_random_uuid(), pop, 0, 'expired', af, victim, vector, action_type, 0, created_at + n, created_at + n, body \
         FROM mitigations, generate_series(1, 500) n; ANALYZE mitigations",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    let pops = vec![POP.to_owned()];
    let of_victim = format!("EXPLAIN {OF_VICTIM}");
    let of_victim = sqlx::query_scalar(sqlx::AssertSqlSafe(of_victim))
        .bind(family(host(1)))
        .bind(around(host(1)))
        .bind(&pops)
        .bind(10_i64);
    let plan: Vec<String> = of_victim.fetch_all(&mut connection).await.unwrap();
    let plan = plan.join("\n");
    assert!(
        plan.contains("mitigations_scope") && plan.contains("(af =") && plan.contains("(victim ="),
        "{plan}"
    );
    let of_scopes = format!("EXPLAIN {OF_SCOPES}");
    let of_scopes = sqlx::query_scalar(sqlx::AssertSqlSafe(of_scopes))
        .bind(vec![family(host(1)); 2])
        .bind(
            [host(1), host(2)]
                .map(|ip| key(ip.to_string().parse().unwrap()))
                .to_vec(),
        )
        .bind(vec!["udp_flood"; 2])
        .bind(vec!["iad1"; 2]);
    let plan: Vec<String> = of_scopes.fetch_all(&mut connection).await.unwrap();
    let plan = plan.join("\n");
    assert!(
        plan.contains("mitigations_scope") && !plan.contains("Seq Scan"),
        "{plan}"
    );
    let live = format!("EXPLAIN {LIVE}");
    let live = sqlx::query_scalar(sqlx::AssertSqlSafe(live)).bind(&pops);
    let plan: Vec<String> = live.fetch_all(&mut connection).await.unwrap();
    let plan = plan.join("\n");
    assert!(
        !plan.contains("Seq Scan")
            && (plan.contains("mitigations_scope") || plan.contains("mitigations_live_page")),
        "{plan}"
    );
}
