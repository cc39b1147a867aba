//! What only PostgreSQL has: daemons that start at once, a server that goes away.

use super::fixture::{Attack, host};
use super::*;
use lab::postgres::{Options, Postgres};

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
async fn a_server_that_crashed_took_all_of_a_batch_or_nothing() {
    if !lab::postgres::available().unwrap() {
        return;
    }
    let mut server = Postgres::start(Options::default()).await.unwrap();
    let connection = server.database().await.unwrap();
    let place = Place {
        store: Store::open(&connection, 2).await.unwrap(),
        connection,
        _directory: None,
    };
    let first = Attack::new(host(1), "udp_flood", at(1));
    let before = place.commit(&[first.effects().to_vec()]).await.unwrap();
    let decisions: Vec<_> = (2..100)
        .map(|n| Attack::new(host(n), "udp_flood", at(2)).effects().to_vec())
        .collect();
    let entries = entries(before, at(2), &decisions);
    let effects = decisions.concat();
    let batch = Batch {
        pop: POP,
        effects: &effects,
        objects: &[],
        entries: &entries,
    };
    let (outcome, crashed) = tokio::join!(place.store.commit(&batch), server.crash());
    crashed.unwrap();
    // While it is away a commit fails clearly.
    let away = place.store.commit(&batch).await.unwrap_err();
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
    let last = entries.last().unwrap();
    let took = Head {
        seq: last.seq,
        hash: last.hash,
    };
    let live = place.store.load(POP, at(3)).await.unwrap().mitigations.len();
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
