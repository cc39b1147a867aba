//! The bare path that the figures of ingest are compared with: HTTP, one task that decides nothing, three rows and a hash
//! for each event, durable before the answer. `bare ADDRESS CONNECTION`, on an empty database; it serves until it is killed.
//!
//! What a machine can do at all changes by the hour; how far the daemon is from that does not.
#![expect(clippy::unwrap_used, reason = "a benchmark stops at the first failure")]

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use bytes::Bytes;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Events of one commit at most.
const BATCH: usize = 512;

/// What is read of a report.
#[derive(Deserialize)]
struct Report {
    source: String,
    victim_ip: String,
}

struct Event {
    id: Uuid,
    report: Report,
    body: Bytes,
    done: oneshot::Sender<()>,
}

/// The rows of one event, and where the chain of hashes stands.
struct Rows {
    hash: [u8; 32],
    number: i64,
}

type Engine = mpsc::Sender<Event>;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let (address, store) = (arguments.next().unwrap(), arguments.next().unwrap());
    let (engine, events) = mpsc::channel(8192);
    match store.strip_prefix("sqlite:") {
        Some(path) => {
            let path = path.to_owned();
            std::thread::spawn(move || sqlite(&path, events));
        }
        None => drop(tokio::spawn(postgres(store, events))),
    }
    let app = Router::new().route("/v1/events", post(report)).with_state(engine);
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    axum::serve(listener, app).await.unwrap();
}

async fn report(State(engine): State<Engine>, body: Bytes) -> (StatusCode, String) {
    let Ok(report) = serde_json::from_slice(&body) else {
        return (StatusCode::BAD_REQUEST, String::new());
    };
    let id = Uuid::now_v7();
    let (done, committed) = oneshot::channel();
    let event = Event {
        id,
        report,
        body,
        done,
    };
    if engine.send(event).await.is_err() || committed.await.is_err() {
        return (StatusCode::SERVICE_UNAVAILABLE, String::new());
    }
    (StatusCode::ACCEPTED, format!(r#"{{"event_id":"{id}"}}"#))
}

impl Rows {
    const START: Self = Self {
        hash: [0; 32],
        number: 0,
    };

    fn next(&mut self, event: &Event) -> (i64, [u8; 32]) {
        let mut hash = Sha256::new();
        hash.update(self.hash);
        hash.update(&event.body);
        self.hash = hash.finalize().into();
        self.number += 1;
        (self.number, self.hash)
    }
}

/// One table of each kind, with the index that a list needs.
const TABLES: &str = "
    CREATE TABLE events (id UUID PRIMARY KEY, source TEXT NOT NULL, victim TEXT NOT NULL, body TEXT NOT NULL) OPTIONS;
    CREATE INDEX events_victim ON events (victim, id);
    CREATE TABLE mitigations (id UUID PRIMARY KEY, victim TEXT NOT NULL, body TEXT NOT NULL) OPTIONS;
    CREATE UNIQUE INDEX mitigations_victim ON mitigations (victim, id);
    CREATE TABLE journal (seq BIGINT PRIMARY KEY, body TEXT NOT NULL, hash BYTES NOT NULL) OPTIONS;
";

fn text(event: &Event) -> &str {
    std::str::from_utf8(&event.body).unwrap()
}

fn sqlite(path: &str, mut events: mpsc::Receiver<Event>) {
    let mut database = rusqlite::Connection::open(path).unwrap();
    let pragmas = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;";
    database.execute_batch(pragmas).unwrap();
    let tables = TABLES
        .replace("UUID", "BLOB")
        .replace("BIGINT", "INTEGER")
        .replace("BYTES", "BLOB")
        .replace("OPTIONS", "STRICT");
    database.execute_batch(&tables).unwrap();
    let (mut rows, mut batch) = (Rows::START, Vec::new());
    while events.blocking_recv_many(&mut batch, BATCH) > 0 {
        let commit = database.transaction().unwrap();
        {
            let prepare = |sql: &str| commit.prepare_cached(sql).unwrap();
            let mut event_row = prepare("INSERT INTO events VALUES (?, ?, ?, ?)");
            let mut mitigation_row = prepare("INSERT INTO mitigations VALUES (?, ?, ?)");
            let mut journal_row = prepare("INSERT INTO journal VALUES (?, ?, ?)");
            for event in &batch {
                let (id, victim) = (event.id.as_bytes(), &event.report.victim_ip);
                let (number, hash) = rows.next(event);
                event_row
                    .execute((id, &event.report.source, victim, text(event)))
                    .unwrap();
                mitigation_row.execute((id, victim, text(event))).unwrap();
                journal_row.execute((number, text(event), hash)).unwrap();
            }
        }
        commit.commit().unwrap();
        for event in batch.drain(..) {
            // Whoever asked may have gone.
            let _ = event.done.send(());
        }
    }
}

async fn postgres(store: String, mut events: mpsc::Receiver<Event>) {
    const COMMIT: &str = "
        WITH e AS (INSERT INTO events SELECT unnest($1::uuid[]), unnest($2::text[]), unnest($3::text[]), unnest($4::text[])),
             m AS (INSERT INTO mitigations SELECT unnest($1::uuid[]), unnest($3::text[]), unnest($4::text[]))
        INSERT INTO journal SELECT unnest($5::bigint[]), unnest($4::text[]), unnest($6::bytea[])";
    let mut database = PgConnection::connect(&store).await.unwrap();
    let tables = TABLES.replace("BYTES", "BYTEA").replace("OPTIONS", "");
    database
        .execute(sqlx::raw_sql(sqlx::AssertSqlSafe(tables)))
        .await
        .unwrap();
    let (mut rows, mut batch) = (Rows::START, Vec::new());
    while events.recv_many(&mut batch, BATCH).await > 0 {
        let (numbers, hashes): (Vec<_>, Vec<_>) = batch.iter().map(|event| rows.next(event)).unzip();
        let column = |of: fn(&Event) -> &str| batch.iter().map(of).collect::<Vec<_>>();
        sqlx::query(COMMIT)
            .bind(batch.iter().map(|event| event.id).collect::<Vec<_>>())
            .bind(column(|event| &event.report.source))
            .bind(column(|event| &event.report.victim_ip))
            .bind(column(text))
            .bind(numbers)
            .bind(hashes.iter().map(|hash| &hash[..]).collect::<Vec<_>>())
            .execute(&mut database)
            .await
            .unwrap();
        for event in batch.drain(..) {
            // Whoever asked may have gone.
            let _ = event.done.send(());
        }
    }
}
