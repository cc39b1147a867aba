//! The configuration: shown, checked, replaced, edited.

use crate::scripted::{Answer, Daemon, Route, command, get, ok, problem};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Output;

const RAW: &str = "/v1/config/inventory/raw";
const OLD: &str = "# ours\ncustomers: []\n";

fn put(path: &str) -> Route {
    ("PUT", path.to_owned())
}

fn text(text: &str, version: &str) -> Answer {
    Answer {
        status: 200,
        headers: vec![("etag", format!("\"{version}\""))],
        body: text.to_owned(),
    }
}

fn changed(validated_only: bool) -> Value {
    json!({"file": "inventory", "validated_only": validated_only, "changed": true, "previous": "v1", "version": "v2",
        "loses": [], "warnings": ["prefixd.yaml:7:3: bgp.neighbors: is empty"], "backup": "inventory.yaml.bak", "head": 7})
}

fn said(output: &Output) -> (String, String) {
    (
        String::from_utf8(output.stdout.clone()).unwrap(),
        String::from_utf8(output.stderr.clone()).unwrap(),
    )
}

#[test]
fn what_is_in_force_is_shown_as_yaml_or_json() {
    let document = json!({"file": "inventory", "version": "v1", "differs_on_disk": true, "loses": ["comments"],
        "document": {"customers": [{"customer_id": "acme", "name": "A\u{1b}[31m"}]}});
    let daemon = Daemon::new([(get("/v1/config/inventory"), ok(&document))]);
    let (told, warned) = said(&daemon.ctl(&["config", "show", "inventory"]));
    assert!(
        told.contains("customer_id: acme") && !told.contains('\u{1b}'),
        "{told}"
    );
    assert!(warned.contains("not in force"), "{warned}");
    let (told, _) = said(&daemon.ctl(&["config", "show", "inventory.yaml", "-o", "json"]));
    assert_eq!(serde_json::from_str::<Value>(&told).unwrap(), document);
    assert_eq!(daemon.exit(&["config", "show", "alerting"]), 64);
}

#[test]
fn a_file_is_printed_byte_for_byte_and_its_version_beside_it() {
    let daemon = Daemon::new([(get(RAW), text(OLD, "v1"))]);
    let (told, version) = said(&daemon.ctl(&["config", "get", "inventory"]));
    assert_eq!((told.as_str(), version.as_str()), (OLD, "version v1\n"));
}

#[test]
fn a_file_is_checked_and_replaced_as_the_version_that_was_changed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("new.yaml");
    std::fs::write(&file, "customers: []\n").unwrap();
    let file = file.to_str().unwrap();
    let check = format!("{RAW}?validate=true");
    let daemon = Daemon::new([(put(RAW), ok(&changed(false))), (put(&check), ok(&changed(true)))]);
    let (told, _) = said(&daemon.ctl(&["config", "validate", "inventory", file]));
    assert!(
        told.contains("is valid") && told.contains("neighbors: is empty"),
        "{told}"
    );
    assert_eq!(daemon.header(&format!("PUT {check}"), "if-match"), [None]);

    let arguments = ["config", "put", "inventory", file, "--if-match", "v1"];
    assert_eq!(daemon.exit(&arguments), 13, "nobody agreed");
    let (told, _) = said(&daemon.ctl(&[&arguments[..], &["--yes"]].concat()));
    assert!(
        told.contains("is in force") && told.contains("inventory.yaml.bak"),
        "{told}"
    );
    let route = format!("PUT {RAW}");
    assert_eq!(daemon.header(&route, "if-match"), [Some("\"v1\"".to_owned())]);
    assert_eq!(
        daemon.header(&route, "content-type"),
        [Some("application/yaml".to_owned())]
    );
    assert_eq!(
        daemon.exit(&["config", "put", "inventory", file, "--yes"]),
        64,
        "without a version"
    );
    assert_eq!(daemon.exit(&[&arguments[..], &["--readonly"]].concat()), 13);
}

#[test]
fn every_mistake_is_said_with_its_place() {
    let mut refusal = problem(400, "config.invalid", "playbooks.yaml:3:5: x (and 1 more)");
    let mut body: Value = serde_json::from_str(&refusal.body).unwrap();
    body["errors"] = json!([
        {"field": "customers[0].name", "message": "is empty", "file": "inventory.yaml", "line": 3, "column": 5},
        {"field": "playbooks.yaml", "message": "cannot be read", "file": "playbooks.yaml"}
    ]);
    refusal.body = body.to_string();
    let daemon = Daemon::new([(put(&format!("{RAW}?validate=true")), refusal)]);
    let output = daemon.ctl(&["config", "validate", "inventory", "/dev/stdin"]);
    let (_, told) = said(&output);
    assert_eq!(output.status.code(), Some(5));
    assert!(
        told.contains("  inventory.yaml:3:5: customers[0].name: is empty\n")
            && told.contains("  playbooks.yaml: playbooks.yaml: cannot be read\n"),
        "{told}"
    );
}

/// Edits with a command that is no editor of people; drafts go to a directory of the test.
fn edit(daemon: &Daemon, drafts: &Path, editor: &str) -> Output {
    command(&daemon.url, &["config", "edit", "inventory"])
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("TMPDIR", drafts)
        .env("EDITOR", editor)
        .output()
        .unwrap()
}

fn drafts_in(dir: &Path) -> Vec<String> {
    std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect()
}

#[test]
fn what_is_edited_comes_into_force_and_no_draft_stays() {
    let drafts = tempfile::tempdir().unwrap();
    let daemon = Daemon::new([(get(RAW), text(OLD, "v1")), (put(RAW), ok(&changed(false)))]);
    let output = edit(&daemon, drafts.path(), "sed -i s/ours/theirs/");
    assert!(output.status.success(), "{output:?}");
    let route = format!("PUT {RAW}");
    let sent: Vec<_> = daemon
        .requests()
        .into_iter()
        .filter(|(sent, _)| *sent == route)
        .collect();
    assert_eq!(sent, [(route.clone(), "# theirs\ncustomers: []\n".to_owned())]);
    assert_eq!(daemon.header(&route, "if-match"), [Some("\"v1\"".to_owned())]);
    assert!(drafts_in(drafts.path()).is_empty());
    // Not changed: nothing is sent.
    let output = edit(&daemon, drafts.path(), "true");
    assert!(
        output.status.success() && said(&output).1.contains("nothing was changed"),
        "{output:?}"
    );
    assert_eq!(daemon.header(&route, "if-match").len(), 1);
    assert!(drafts_in(drafts.path()).is_empty());
}

#[test]
fn an_edited_text_that_is_not_in_force_is_kept_and_found() {
    for (answer, exit, part) in [
        (
            problem(412, "conflict.version", "another version"),
            7,
            "somebody else changed inventory.yaml",
        ),
        (
            problem(400, "config.invalid", "inventory.yaml:1:1: no"),
            5,
            "--if-match v1",
        ),
        (problem(503, "store.unavailable", "away"), 1, "--if-match v1"),
    ] {
        let drafts = tempfile::tempdir().unwrap();
        let daemon = Daemon::new([(get(RAW), text(OLD, "v1")), (put(RAW), answer)]);
        let output = edit(&daemon, drafts.path(), "sed -i s/ours/theirs/");
        assert_eq!(output.status.code(), Some(exit), "{output:?}");
        let (_, told) = said(&output);
        assert!(
            told.contains(part) && told.contains(drafts.path().to_str().unwrap()),
            "{told}"
        );
        assert_eq!(drafts_in(drafts.path()), ["# theirs\ncustomers: []\n"]);
    }
    // An editor that fails.
    let drafts = tempfile::tempdir().unwrap();
    let daemon = Daemon::new([(get(RAW), text(OLD, "v1"))]);
    let output = edit(&daemon, drafts.path(), "false");
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    assert_eq!(drafts_in(drafts.path()), [OLD]);
}
