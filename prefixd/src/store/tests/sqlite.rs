//! What only a SQLite file has: its lock, its mode, triggers that refuse.

use super::fixture::{Attack, host};
use super::*;
use crate::store::answers::{AMONG, FIND};
use crate::store::db::Db;
use sqlx::{AssertSqlSafe, Connection, Executor, SqliteConnection};
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

async fn page_size(path: &str) -> i64 {
    let mut connection = SqliteConnection::connect(&format!("sqlite:{path}"))
        .await
        .unwrap();
    let (size,) = sqlx::query_as("PRAGMA page_size")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    size
}

/// docs/upgrading.md says how a file gets the pages of a new one.
#[tokio::test]
async fn a_file_keeps_its_pages_until_somebody_rebuilds_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("old.db").display().to_string();
    let file = format!("sqlite:{path}?mode=rwc");
    let mut before = SqliteConnection::connect(&file).await.unwrap();
    before
        .execute("PRAGMA page_size = 4096; CREATE TABLE made_before (a)")
        .await
        .unwrap();
    before.close().await.unwrap();
    let opened = async || Store::open(&format!("sqlite:{path}"), 1).await.unwrap();

    opened().await.close().await;
    assert_eq!(page_size(&path).await, 4_096);

    let mut rebuilding = SqliteConnection::connect(&file).await.unwrap();
    rebuilding
        .execute("PRAGMA journal_mode = DELETE; PRAGMA page_size = 8192; VACUUM")
        .await
        .unwrap();
    rebuilding.close().await.unwrap();
    opened().await.close().await;
    assert_eq!(page_size(&path).await, 8_192);

    assert_eq!(page_size(path_of(&sqlite().await)).await, 8_192);
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

/// Each batch with a key waits for it, and a principal may have twenty thousand.
#[tokio::test]
async fn a_kept_answer_is_found_by_its_key() {
    let place = sqlite().await;
    let text =
        format!("EXPLAIN QUERY PLAN {FIND}'fra1'{AMONG}VALUES ('token:noc', 'a'), ('token:noc', 'b'))");
    let plan: Vec<(i64, i64, i64, String)> = sqlx::query_as(AssertSqlSafe(text))
        .fetch_all(&mut other(&place).await)
        .await
        .unwrap();
    let whole = "(pop=? AND principal=? AND name=?)";
    assert!(
        plan.iter().any(|(.., step)| step.contains(whole)),
        "the whole key is not used: {plan:?}"
    );
}

/// It waits for somebody's lock: given up before it began, it must not arrive late.
#[tokio::test]
async fn what_was_not_begun_in_time_certainly_does_not_happen() {
    let mut place = sqlite().await;
    place.store.deadline = std::time::Duration::from_millis(50);
    let attack = Attack::new(host(1), "udp_flood", at(1));
    let mut other = other(&place).await;
    let batch = batch(Head::default(), at(1), &[attack.effects().to_vec()]);
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    let failed = place.store.commit(Arc::clone(&batch)).await.unwrap_err();
    assert!(matches!(failed, CommitError::Failed(_)), "{failed}");
    other.execute("ROLLBACK").await.unwrap();
    place.store.deadline = COMMIT_DEADLINE;
    assert_eq!(place.store.journal_head(POP).await.unwrap(), Head::default());
    place.store.commit(batch).await.unwrap();
}

/// A commit that hangs is in doubt, and nobody is told what became of it before it has ended.
#[tokio::test]
async fn past_the_deadline_the_outcome_is_unknown_until_the_head_tells() {
    let mut place = sqlite().await;
    let attack = Attack::new(host(1), "udp_flood", at(1));
    let first = place.commit(&[attack.effects().to_vec()]).await.unwrap();
    // Millions of steps in the middle of the transaction.
    other(&place)
        .await
        .execute(
            "CREATE TRIGGER hang BEFORE INSERT ON journal BEGIN SELECT count(*) FROM (WITH RECURSIVE n(i) AS \
             (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000000) SELECT i FROM n); END",
        )
        .await
        .unwrap();
    let late = Attack::new(host(2), "udp_flood", at(2));
    let batch = batch(first, at(2), &[late.effects().to_vec()]);
    place.store.deadline = std::time::Duration::from_millis(50);
    let unknown = place.store.commit(Arc::clone(&batch)).await.unwrap_err();
    assert!(matches!(unknown, CommitError::Unknown(_)), "{unknown}");
    place.store.deadline = std::time::Duration::from_secs(30);
    let head = loop {
        match place.store.journal_head(POP).await {
            Ok(head) => break head,
            // The lock is waited for for a second.
            Err(error) => assert!(error.to_string().contains("locked"), "{error}"),
        }
    };
    assert_eq!(head.seq, batch.entries.last().unwrap().seq, "the answer is final");
}

#[tokio::test]
async fn the_log_moves_into_the_file_without_a_further_commit() {
    let place = sqlite().await;
    let attack = Attack::new(host(1), "udp_flood", at(1));
    place.commit(&[attack.effects().to_vec()]).await.unwrap();
    let moved = async {
        let mut look = tokio::time::interval(std::time::Duration::from_millis(20));
        while !is_in_the_file(&place, &attack) {
            look.tick().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), moved)
        .await
        .unwrap();
}

#[tokio::test]
async fn what_is_left_of_the_log_moves_between_two_commits_and_the_next_begins_it_anew() {
    let place = sqlite().await;
    let Db::Sqlite(sqlite) = &place.store.db else {
        unreachable!("the fixture is a SQLite file")
    };
    sqlite.move_log_between_commits().await;
    let [first, second] = [1, 2].map(|number| Attack::new(host(number), "udp_flood", at(1)));
    place.commit(&[first.effects().to_vec()]).await.unwrap();
    assert!(!is_in_the_file(&place, &first));
    let log = format!("{}-wal", path_of(&place));
    let length = std::fs::metadata(&log).unwrap().len();
    sqlite.move_log_between_commits().await;
    assert!(is_in_the_file(&place, &first));
    place.commit(&[second.effects().to_vec()]).await.unwrap();
    assert!(!is_in_the_file(&place, &second));
    assert_eq!(std::fs::metadata(&log).unwrap().len(), length);
}

fn path_of(place: &Place) -> &str {
    place.connection.strip_prefix("sqlite:").unwrap()
}

fn is_in_the_file(place: &Place, attack: &Attack) -> bool {
    let name = attack.event.external_event_id.as_deref().unwrap().as_bytes();
    let file = std::fs::read(path_of(place)).unwrap();
    file.windows(name.len()).any(|bytes| bytes == name)
}
