//! What only PostgreSQL has: daemons that start at once, a server that goes away, a network in between.

use super::fixture::{Attack, host};
use super::*;
use crate::store::commit::LOCK_POP;
use lab::postgres::{Options, Postgres};
use lab::proxy::Proxy;
use sqlx::{Connection, Executor, PgConnection};

#[tokio::test]
async fn two_daemons_may_start_at_once_on_an_empty_database() {
    if !lab::postgres::available().unwrap() {
        return;
    }
    let connection = Postgres::shared().await.unwrap().database().await.unwrap();
    let (one, two) = tokio::join!(Store::open(&connection, 2), Store::open(&connection, 2));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one.journal_head("a").await.unwrap(), Head::default());
    assert_eq!(two.journal_head("b").await.unwrap(), Head::default());
}

#[tokio::test]
async fn every_connection_says_what_commits_need() {
    let Some((_server, _proxy, place)) = behind_a_proxy(2).await else {
        return;
    };
    let crate::store::db::Db::Postgres(postgres) = &place.store.db else {
        unreachable!("the fixture is a PostgreSQL")
    };
    let asked = "SELECT current_setting(name) FROM unnest(ARRAY['synchronous_commit', 'statement_timeout', 'jit', \
         'backend_flush_after']) AS name";
    let said = ["on", "1500ms", "off", "2MB"];
    let reads: Vec<String> = sqlx::query_scalar(asked).fetch_all(&postgres.pool).await.unwrap();
    assert_eq!(reads, said);
    let mut lease = postgres.lease().await.unwrap();
    let writes: Vec<String> = sqlx::query_scalar(asked)
        .fetch_all(lease.connection().unwrap())
        .await
        .unwrap();
    assert_eq!(writes, said);
    lease.give_back();
}

#[tokio::test]
async fn a_server_that_crashed_took_all_of_a_batch_or_nothing() {
    if !lab::postgres::available().unwrap() {
        return;
    }
    let mut server = Postgres::start(Options::default()).await.unwrap();
    let connection = server.database().await.unwrap();
    let place = Place {
        store: Store::open(&connection, 2).await.unwrap(),
        connection,
        directory: None,
    };
    let first = Attack::new(host(1), "udp_flood", at(1));
    let before = place.commit(&[first.effects().to_vec()]).await.unwrap();
    let decisions: Vec<_> = (2..100)
        .map(|n| Attack::new(host(n), "udp_flood", at(2)).effects().to_vec())
        .collect();
    let batch = batch(before, at(2), &decisions);
    let (outcome, crashed) = tokio::join!(place.store.commit(Arc::clone(&batch)), server.crash());
    crashed.unwrap();
    // While it is away a commit fails clearly.
    let away = place.store.commit(Arc::clone(&batch)).await.unwrap_err();
    assert!(
        matches!(away, CommitError::Failed(_) | CommitError::Unknown(_)),
        "{away}"
    );
    server.start_again().await.unwrap();
    let after = loop {
        // Connections of the server that crashed fail once each.
        if let Ok(head) = place.store.journal_head(POP).await {
            break head;
        }
    };
    let last = batch.entries.last().unwrap();
    let took = Head {
        seq: last.seq,
        hash: last.hash,
    };
    let live = loop {
        if let Ok(loaded) = place.store.load(POP, at(3)).await {
            break loaded.mitigations.len();
        }
    };
    assert_eq!(
        (after, live),
        if after == took { (took, 99) } else { (before, 1) }
    );
    match outcome {
        Ok(()) => assert_eq!(after, took),
        Err(CommitError::Failed(_)) => assert_eq!(after, before),
        Err(CommitError::Unknown(_)) => {}
        Err(error) => panic!("{error}"),
    }
    place
        .commit(&[Attack::new(host(200), "udp_flood", at(4)).effects().to_vec()])
        .await
        .unwrap();
}

/// A store whose connections pass through a proxy, and what it needs.
async fn behind_a_proxy(max_connections: u32) -> Option<(Postgres, Proxy, Place)> {
    if !lab::postgres::available().unwrap() {
        return None;
    }
    let options = Options {
        tcp: true,
        ..Options::default()
    };
    let server = Postgres::start(options).await.unwrap();
    let address = server.tcp().unwrap();
    let proxy = Proxy::start(address).await.unwrap();
    let connection = server.database().await.unwrap();
    let connection = connection.replace(&address.to_string(), &proxy.address().to_string());
    assert!(connection.contains(&proxy.address().to_string()), "{connection}");
    let place = Place {
        store: Store::open(&connection, max_connections).await.unwrap(),
        connection,
        directory: None,
    };
    Some((server, proxy, place))
}

/// What the network held back of a commit reaches the server after the journal's end was read.
#[tokio::test]
async fn a_commit_that_was_given_up_cannot_arrive_late() {
    let Some((server, proxy, mut place)) = behind_a_proxy(2).await else {
        return;
    };
    let [first, late, next] = [1, 2, 3].map(|n| Attack::new(host(n), "udp_flood", at(n.into())));
    let before = place.commit(&[first.effects().to_vec()]).await.unwrap();
    let writer = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'WITH written_events%'";
    let writer = server.sql(writer).await.unwrap();
    let writer: u32 = writer.trim().parse().unwrap();

    proxy.stall_old();
    place.store.deadline = Duration::from_millis(200);
    let batch = batch(before, at(2), &[late.effects().to_vec()]);
    let unknown = place.store.commit(Arc::clone(&batch)).await.unwrap_err();
    assert!(matches!(unknown, CommitError::Unknown(_)), "{unknown}");
    place.store.deadline = COMMIT_DEADLINE;
    assert_eq!(place.store.journal_head(POP).await.unwrap(), before);

    proxy.pass();
    let is_there = format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {writer}");
    let gone = async { while server.sql(&is_there).await.unwrap().trim() != "0" {} };
    tokio::time::timeout(Duration::from_secs(20), gone).await.unwrap();
    assert_eq!(
        place.store.journal_head(POP).await.unwrap(),
        before,
        "the answer was final"
    );
    place.commit(&[next.effects().to_vec()]).await.unwrap();
    assert!(
        place
            .store
            .get_event(late.event.event_id)
            .await
            .unwrap()
            .is_none()
    );
}

/// Connections that hang are given up one by one, and cost no place in the pool.
#[tokio::test]
async fn connections_that_hang_are_replaced() {
    let Some((_server, proxy, mut place)) = behind_a_proxy(2).await else {
        return;
    };
    let mut tries = 0;
    place
        .commit(&[Attack::new(host(1), "udp_flood", at(1)).effects().to_vec()])
        .await
        .unwrap();
    place.store.ping().await.unwrap();
    // The reader's connection may be on its way back to the pool, or be there.
    proxy.stall_old();
    place.store.deadline = Duration::from_millis(200);
    let hangs = place.store.ping().await.unwrap_err();
    assert!(matches!(hangs, StoreError::TimedOut), "{hangs}");
    let hangs = place.store.journal_head(POP).await.unwrap_err();
    assert!(matches!(hangs, StoreError::TimedOut), "{hangs}");
    place.store.deadline = Duration::from_secs(20);
    // The pool has one place, and waits for it for as long as it may be on its way back.
    while let Err(error) = place.store.ping().await {
        assert!(
            matches!(error, StoreError::Database(sqlx::Error::PoolTimedOut)),
            "{error}"
        );
        tries += 1;
        assert!(tries < 3, "the place is lost");
    }
    place.store.journal_head(POP).await.unwrap();
    place
        .commit(&[Attack::new(host(2), "udp_flood", at(2)).effects().to_vec()])
        .await
        .unwrap();
}

/// Readers that take all connections of the pool leave the writer its own.
#[tokio::test]
async fn readers_keep_no_commit_waiting() {
    let Some(place) = postgres().await else { return };
    let db::Db::Postgres(server) = &place.store.db else {
        panic!("not PostgreSQL")
    };
    let mut readers = Vec::new();
    for _ in 0..3 {
        readers.push(server.lease().await.unwrap());
    }
    place
        .commit(&[Attack::new(host(1), "udp_flood", at(1)).effects().to_vec()])
        .await
        .unwrap();
    readers
        .into_iter()
        .for_each(super::super::postgres::Lease::give_back);
}

#[tokio::test]
async fn one_daemon_runs_a_pop() {
    if !lab::postgres::available().unwrap() {
        return;
    }
    let connection = Postgres::shared().await.unwrap().database().await.unwrap();
    let open = async || Store::open(&connection, 2).await.unwrap();
    let (one, two) = (open().await, open().await);
    one.take_pop("a").await.unwrap();
    let taken = two.take_pop("a").await.unwrap_err();
    assert!(matches!(taken, StoreError::PopTaken { .. }), "{taken}");
    let pid = std::process::id().to_string();
    assert!(taken.to_string().contains(&pid), "{taken}");
    two.take_pop("b").await.unwrap();
    // The server learns of the end by the connection; nobody has to give anything back.
    drop(one);
    open().await.take_pop("a").await.unwrap();
}

const PASSED: &str = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted";

#[tokio::test]
async fn a_daemon_that_was_followed_writes_nothing_more_and_learns_of_it() {
    let Some((server, proxy, cut_off)) = behind_a_proxy(2).await else {
        return;
    };
    cut_off.store.take_pop(POP).await.unwrap();
    let [first, late] = [1, 2].map(|n| Attack::new(host(n), "udp_flood", at(n.into())));
    let before = cut_off.commit(&[first.effects().to_vec()]).await.unwrap();
    proxy.stall();
    server.sql(PASSED).await.unwrap();
    let address = server.tcp().unwrap().to_string();
    let direct = cut_off.connection.replace(&proxy.address().to_string(), &address);
    let follower = Store::open(&direct, 2).await.unwrap();
    follower.take_pop(POP).await.unwrap();
    proxy.pass();
    let refused = loop {
        match cut_off
            .store
            .commit(batch(before, at(2), &[late.effects().to_vec()]))
            .await
        {
            // Connections that were closed meanwhile.
            Err(CommitError::Failed(_) | CommitError::Unknown(_)) => {}
            result => break result.unwrap_err(),
        }
    };
    assert!(matches!(refused, CommitError::Overtaken(_)), "{refused}");
    assert_eq!(follower.journal_head(POP).await.unwrap(), before);
    let told = async {
        let mut look = tokio::time::interval(Duration::from_millis(20));
        loop {
            look.tick().await;
            if let Some(by) = cut_off.store.overtaken_by() {
                break by.to_owned();
            }
        }
    };
    let by = tokio::time::timeout(Duration::from_secs(20), told).await.unwrap();
    assert!(by.contains("process"), "{by}");
    assert_eq!(follower.overtaken_by(), None);
}

#[tokio::test]
async fn a_daemon_keeps_its_pop_when_its_connection_is_lost_or_the_server_restarts() {
    if !lab::postgres::available().unwrap() {
        return;
    }
    let mut server = Postgres::start(Options::default()).await.unwrap();
    let connection = server.database().await.unwrap();
    let store = Store::open(&connection, 2).await.unwrap();
    store.take_pop(POP).await.unwrap();
    let held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted";
    let is_held_again = async |server: &Postgres| {
        let again = async { while server.sql(held).await.unwrap().trim() != "1" {} };
        tokio::time::timeout(Duration::from_secs(20), again)
            .await
            .unwrap();
    };
    server.sql(PASSED).await.unwrap();
    is_held_again(&server).await;
    server.crash().await.unwrap();
    server.start_again().await.unwrap();
    is_held_again(&server).await;
    assert_eq!(store.overtaken_by(), None);
    let other = Store::open(&connection, 2).await.unwrap();
    assert!(other.take_pop(POP).await.is_err());
}

/// The commit began before the POP was taken, and sees the fence as it was then.
#[tokio::test]
async fn a_commit_under_way_when_the_pop_is_taken_does_not_happen() {
    if !lab::postgres::available().unwrap() {
        return;
    }
    let server = Postgres::start(Options::default()).await.unwrap();
    let connection = server.database().await.unwrap();
    let overtaken = Store::open(&connection, 2).await.unwrap();
    overtaken.take_pop(POP).await.unwrap();
    server.sql(PASSED).await.unwrap();
    let mut gate = PgConnection::connect(&connection).await.unwrap();
    gate.execute("BEGIN").await.unwrap();
    sqlx::query(LOCK_POP).bind(POP).execute(&mut gate).await.unwrap();

    let late = batch(
        Head::default(),
        at(1),
        &[Attack::new(host(1), "udp_flood", at(1)).effects().to_vec()],
    );
    let take = async {
        let waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
        while server.sql(waits).await.unwrap().trim() != "1" {}
        sqlx::query("UPDATE pops SET fence = fence + 1")
            .execute(&mut gate)
            .await
            .unwrap();
        gate.execute("COMMIT").await.unwrap();
    };
    let (outcome, ()) = tokio::join!(overtaken.commit(late), take);
    let refused = outcome.unwrap_err();
    assert!(matches!(refused, CommitError::Overtaken(_)), "{refused}");
    assert_eq!(overtaken.journal_head(POP).await.unwrap(), Head::default());
}
