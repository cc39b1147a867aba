//! Following the feed.

use crate::scripted::{Daemon, command, get, ok};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

const LIVE: &str = "/v1/mitigations?status=pending%2Cactive%2Cescalated&limit=1000";
const OLD: &str = "0199a8b2-7c31-7e55-8a4d-2f6b9c01d3e4";
const NEW: &str = "0199a8b2-7c31-7e55-8a4d-2f6b9c01aaaa";

fn mitigation(id: &str) -> Value {
    let mut mitigation: Value = serde_json::from_str(include_str!("../data/mitigation.json")).unwrap();
    mitigation["mitigation_id"] = id.into();
    mitigation
}

fn message(seq: u64, kind: &str, body: Value) -> Value {
    let mut message = json!({"type": kind, "seq": seq, "at": "2026-01-18T10:00:00Z", "pop": "iad1"});
    message
        .as_object_mut()
        .unwrap()
        .extend(body.as_object().unwrap().clone());
    message
}

fn hello() -> Value {
    json!({"type": "hello", "at": "2026-01-18T10:00:00Z", "pop": "iad1", "version": "0.1.0", "head": 41,
        "mode": "enforced", "role": "viewer"})
}

fn change(id: &str, revision: u64, changes: Value) -> Value {
    json!({"mitigation_id": id, "revision": revision, "changes": changes})
}

/// The first lines the program prints; it is ended then.
fn lines(daemon: &Daemon, arguments: &[&str], count: usize) -> Vec<String> {
    let mut child = command(&daemon.url, arguments).spawn().unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let lines: Vec<_> = stdout.lines().take(count).map(Result::unwrap).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    lines
}

#[test]
fn mitigations_are_followed_from_the_list_on() {
    let mut missed = mitigation(NEW);
    missed["revision"] = 9.into();
    for list in ["previews", "announcements", "timeline"] {
        missed[list] = json!([]);
    }
    let daemon = Daemon::with_feed(
        [
            (
                get(LIVE),
                ok(&json!({"mitigations": [mitigation(OLD)], "count": 1, "next_cursor": null})),
            ),
            (get(&format!("/v1/mitigations/{NEW}")), ok(&missed)),
        ],
        vec![
            hello(),
            message(42, "mitigation_updated", change(OLD, 3, json!({"step": 7}))),
            message(43, "mitigation_updated", change(OLD, 4, json!({"step": 2}))),
            message(44, "mitigation_created", json!({"mitigation": mitigation(NEW)})),
            message(45, "mitigation_escalated", change(NEW, 9, json!({"step": 2}))),
            message(
                46,
                "mitigation_withdrawn",
                change(OLD, 5, json!({"status": "withdrawn"})),
            ),
        ],
    );
    let said: Vec<_> = lines(&daemon, &["mit", "watch", "-o", "jsonl"], 4)
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|m| {
            (
                m["change"].clone(),
                m["mitigation_id"].clone(),
                m["revision"].clone(),
                m["step"].clone(),
            )
        })
        .collect();
    assert_eq!(
        said,
        [
            (json!("updated"), json!(OLD), json!(4), json!(2)),
            (json!("created"), json!(NEW), json!(3), json!(1)),
            (json!("updated"), json!(NEW), json!(9), json!(1)),
            (json!("ended"), json!(OLD), json!(5), json!(2)),
        ],
        "known changes are not said again, missed ones are fetched"
    );
    let subscribed = daemon
        .requests()
        .into_iter()
        .find(|(route, _)| route.contains("/ws/feed"))
        .unwrap()
        .0;
    assert!(
        subscribed.starts_with("GET /v1/ws/feed?since=41&types=mitigation_created%2C"),
        "{subscribed}"
    );
}

#[test]
fn the_same_filters_as_in_the_list() {
    let mut other = mitigation(NEW);
    other["customer_id"] = "other".into();
    let daemon = Daemon::with_feed(
        [(
            get(LIVE),
            ok(&json!({"mitigations": [], "count": 0, "next_cursor": null})),
        )],
        vec![
            hello(),
            message(42, "mitigation_created", json!({"mitigation": other})),
            message(43, "mitigation_created", json!({"mitigation": mitigation(OLD)})),
        ],
    );
    assert_eq!(
        lines(&daemon, &["mit", "watch", "--customer", "acme", "-o", "ids"], 1),
        [OLD]
    );
}

#[test]
fn the_feed_for_people() {
    let daemon = Daemon::with_feed(
        [],
        vec![
            hello(),
            message(
                42,
                "peer_changed",
                json!({"neighbor": "edge1", "state": "idle", "reason": "hold\u{1b}[2J timer"}),
            ),
            message(
                43,
                "mitigation_updated",
                change(OLD, 4, json!({"step": 2, "rules": []})),
            ),
            message(44, "something_new", json!({"field": 1})),
            message(
                45,
                "safelist_changed",
                json!({"prefix": "203.0.113.0/24", "added": false}),
            ),
        ],
    );
    assert_eq!(
        lines(&daemon, &["watch", "--since", "7"], 4),
        [
            "2026-01-18 10:00:00Z  peer_changed          edge1  idle  hold\u{fffd}[2J timer",
            "2026-01-18 10:00:00Z  mitigation_updated    9c01d3e4  step=2",
            "2026-01-18 10:00:00Z  unknown",
            "2026-01-18 10:00:00Z  safelist_changed      203.0.113.0/24  removed",
        ]
    );
    assert_eq!(daemon.requests()[0].0, "GET /v1/ws/feed?since=7");
}

/// Ended as the shell ends any program: it says 130 or 143, and a script around it ends as well.
#[test]
fn an_interrupted_watch_ends_by_its_signal() {
    for (name, number) in [("INT", 2), ("TERM", 15)] {
        let message = message(
            42,
            "peer_changed",
            json!({"neighbor": "edge1", "state": "idle", "reason": "x"}),
        );
        let daemon = Daemon::with_feed([], vec![hello(), message]);
        // What runs in the background of a script is started with the signal ignored.
        let mut child = Command::new("env")
            .arg(format!("--default-signal={name}"))
            .arg(env!("CARGO_BIN_EXE_prefixdctl"))
            .args(["--api", &daemon.url, "watch"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // It follows the feed.
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut String::new()).unwrap();
        let kill = Command::new("kill")
            .args([format!("-{name}"), child.id().to_string()])
            .status()
            .unwrap();
        assert!(kill.success());
        assert_eq!(child.wait().unwrap().signal(), Some(number), "SIG{name}");
    }
}

#[test]
fn a_feed_that_is_refused_or_not_there_ends_the_watch() {
    assert_eq!(Daemon::new([]).exit(&["watch"]), 4);
    let unused = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let output = command(&format!("http://{unused}"), &["watch"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}
