//! A daemon of a few lines: it holds mitigations, withdraws them, and has no feed.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

#[derive(Clone)]
pub(crate) struct Daemon {
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
}

struct State {
    mitigations: Vec<Value>,
    withdrawals: Vec<(String, Value)>,
    connections: Vec<TcpStream>,
    gone: bool,
    /// Takes a withdrawal, and the connection is cut before the answer.
    cut_withdrawals: bool,
}

impl Daemon {
    /// With one mitigation for each victim.
    pub(crate) fn with(victims: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mitigations = victims
            .iter()
            .enumerate()
            .map(|(index, victim)| mitigation(index, victim))
            .collect();
        let state = State {
            mitigations,
            withdrawals: Vec::new(),
            connections: Vec::new(),
            gone: false,
            cut_withdrawals: false,
        };
        let daemon = Self {
            url,
            state: Arc::new(Mutex::new(state)),
        };
        let serving = daemon.clone();
        // Ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, serving) = (stream.unwrap(), serving.clone());
                {
                    let mut state = serving.state.lock().unwrap();
                    if state.gone {
                        continue;
                    }
                    state.connections.push(stream.try_clone().unwrap());
                }
                thread::spawn(move || serving.serve(stream));
            }
        });
        daemon
    }

    /// Bodies of the withdrawals, with their paths.
    pub(crate) fn withdrawals(&self) -> Vec<(String, Value)> {
        self.state.lock().unwrap().withdrawals.clone()
    }

    /// Closes every connection and takes no new one, or takes them again.
    pub(crate) fn set_gone(&self, gone: bool) {
        let mut state = self.state.lock().unwrap();
        state.gone = gone;
        state.hang_up();
    }

    pub(crate) fn cut_withdrawals(&self) {
        self.state.lock().unwrap().cut_withdrawals = true;
    }

    fn serve(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut writer = stream;
        while let Some((method, path, body)) = request(&mut reader) {
            let Some((status, answer)) = self.state.lock().unwrap().answer(&method, &path, &body) else {
                return;
            };
            let answer = answer.to_string();
            let length = answer.len();
            let head = format!(
                "HTTP/1.1 {status} -\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
            );
            if writer.write_all((head + &answer).as_bytes()).is_err() {
                return;
            }
        }
    }
}

impl State {
    fn hang_up(&mut self) {
        for connection in self.connections.drain(..) {
            // The console may have closed it already.
            drop(connection.shutdown(std::net::Shutdown::Both));
        }
    }

    fn answer(&mut self, method: &str, path: &str, body: &[u8]) -> Option<(u16, Value)> {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let live = self
            .mitigations
            .iter()
            .filter(|row| row["status"] == "active")
            .count();
        if self.gone {
            self.hang_up();
            return None;
        }
        if let Some(id) = path
            .strip_prefix("/v1/mitigations/")
            .and_then(|rest| rest.strip_suffix("/withdraw"))
        {
            self.withdrawals
                .push((id.to_owned(), serde_json::from_slice(body).unwrap()));
            let row = self
                .mitigations
                .iter_mut()
                .find(|row| row["mitigation_id"] == id)
                .unwrap();
            row["status"] = json!("withdrawn");
            row["revision"] = json!(2);
            row["ended_at"] = json!("2026-01-18T10:31:00Z");
            let row = row.clone();
            if self.cut_withdrawals {
                self.gone = true;
                self.hang_up();
                return None;
            }
            return Some((200, row));
        }
        Some(match (method, path) {
            ("GET", "/v1/health/detail") => (
                200,
                json!({
                    "status": "healthy", "reasons": [], "version": "0.1.0", "pop": "iad1", "mode": "enforced",
                    "now": jiff::Timestamp::now().to_string(), "started_at": "2026-01-18T10:00:00Z",
                    "store": {"backend": "sqlite", "ok": true, "failing_since": null, "owed": 0},
                    "engine": {"queue": {"used": 0, "max": 4096}, "head": 7}, "peers_established": 1, "peers_total": 1,
                    "active": live, "rules": {"intended": live, "announced": live}, "drift_total": 0, "role": "operator",
                }),
            ),
            ("GET", "/v1/stats") => {
                let none = json!({"used": 0, "max": 100});
                (
                    200,
                    json!({
                        "pop": "iad1", "at": jiff::Timestamp::now().to_string(), "active": live, "escalated": 0,
                        "ending": 0, "pending": 0, "by_vector": {}, "by_action": {}, "by_severity": {},
                        "by_customer": {}, "quota_pop": none, "quota_global": none, "new_per_minute": none,
                        "events_per_minute": 0, "events_by_outcome": {},
                        "rules": {"intended": live, "announced": live},
                    }),
                )
            }
            ("GET", "/v1/peers") => (200, json!({"peers": [], "count": 0})),
            ("GET", "/v1/mitigations") => {
                let rows: Vec<_> = self
                    .mitigations
                    .iter()
                    .filter(|row| query.contains(row["status"].as_str().unwrap()))
                    .collect();
                (
                    200,
                    json!({"mitigations": rows, "count": rows.len(), "next_cursor": null}),
                )
            }
            ("GET", path) if path.starts_with("/v1/mitigations/") => {
                let row = self
                    .mitigations
                    .iter()
                    .find(|row| path.contains(row["mitigation_id"].as_str().unwrap()));
                let mut detail = row.unwrap().clone();
                for (name, value) in [
                    ("previews", json!([])),
                    ("announcements", json!([])),
                    ("timeline", json!([])),
                ] {
                    detail[name] = value;
                }
                detail["customer_name"] = Value::Null;
                detail["service_name"] = Value::Null;
                (200, detail)
            }
            _ => (
                404,
                json!({"type": "about:blank", "title": "Not found", "status": 404, "code": "not_found",
                "detail": "no such route", "request_id": null, "retry_after_seconds": null}),
            ),
        })
    }
}

fn request(reader: &mut BufReader<TcpStream>) -> Option<(String, String, Vec<u8>)> {
    let mut line = String::new();
    if reader.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let mut words = line.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        if header.trim().is_empty() {
            break;
        }
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((method, path, body))
}

fn mitigation(index: usize, victim: &str) -> Value {
    let mut row: Value = serde_json::from_str(include_str!("mitigation.json")).unwrap();
    row["mitigation_id"] = json!(format!("0199a8b2-7c31-7e55-8a4d-0000000000{index:02}"));
    row["victim_ip"] = json!(victim);
    row["rules"][0]["match"]["dst_prefix"] = json!(format!("{victim}/32"));
    row
}
