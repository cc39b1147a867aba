//! What only a SQLite file has: its lock, its mode, triggers that refuse.

use super::fixture::{Attack, host};
use super::*;
use sqlx::{Connection, Executor, SqliteConnection};
use std::os::unix::fs::PermissionsExt;

async fn other(place: &Place) -> SqliteConnection {
    SqliteConnection::connect(&place.connection).await.unwrap()
}

#[tokio::test]
async fn one_daemon_owns_a_file() {
    let place = sqlite().await;
    let second = Store::open(&place.connection, 4).await.unwrap_err();
    assert!(matches!(second, StoreError::InUse { .. }), "{second}");
}

#[tokio::test]
async fn others_cannot_read_the_file() {
    let place = sqlite().await;
    let path = place.connection.strip_prefix("sqlite:").unwrap();
    assert_eq!(
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[tokio::test]
async fn a_failed_commit_leaves_nothing_and_the_store_goes_on() {
    let place = sqlite().await;
    let attack = Attack::new(host(1), "udp_flood", at(1));
    let mut other = other(&place).await;
    let trigger =
        "CREATE TRIGGER refuse BEFORE INSERT ON journal BEGIN SELECT RAISE(ABORT, 'disk full'); END";
    other.execute(trigger).await.unwrap();
    let refused = place.commit(&[attack.effects().to_vec()]).await.unwrap_err();
    assert!(matches!(refused, CommitError::Failed(_)), "{refused}");
    assert!(
        place
            .store
            .get_event(attack.event.event_id)
            .await
            .unwrap()
            .is_none()
    );
    other.execute("DROP TRIGGER refuse").await.unwrap();
    place.commit(&[attack.effects().to_vec()]).await.unwrap();
}

#[tokio::test]
async fn past_the_deadline_the_outcome_is_unknown_until_the_head_tells() {
    let mut place = sqlite().await;
    place.store.deadline = std::time::Duration::from_millis(50);
    let attack = Attack::new(host(1), "udp_flood", at(1));
    let mut other = other(&place).await;
    let entries = entries(Head::default(), at(1), &[attack.effects().to_vec()]);
    let effects = attack.effects();
    let batch = Batch {
        pop: POP,
        effects: &effects,
        objects: &[],
        entries: &entries,
    };
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    let unknown = place.store.commit(&batch).await.unwrap_err();
    assert!(matches!(unknown, CommitError::Unknown(_)), "{unknown}");
    other.execute("ROLLBACK").await.unwrap();
    place.store.deadline = COMMIT_DEADLINE;
    assert_eq!(place.store.journal_head(POP).await.unwrap(), Head::default());
    place.store.commit(&batch).await.unwrap();
}

#[tokio::test]
async fn the_log_moves_into_the_file_without_a_further_commit() {
    let place = sqlite().await;
    let attack = Attack::new(host(1), "udp_flood", at(1));
    place.commit(&[attack.effects().to_vec()]).await.unwrap();
    let name = attack.event.external_event_id.clone().unwrap();
    let path = place.connection.strip_prefix("sqlite:").unwrap();
    let moved = async {
        let mut look = tokio::time::interval(std::time::Duration::from_millis(20));
        loop {
            look.tick().await;
            let file = std::fs::read(path).unwrap();
            if file.windows(name.len()).any(|bytes| bytes == name.as_bytes()) {
                break;
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), moved)
        .await
        .unwrap();
}
