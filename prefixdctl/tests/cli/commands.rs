//! What commands send, print and exit with, against a scripted daemon.

use crate::scripted::{Answer, Daemon, Route, command, cut, get, ok, post, problem};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::process::Stdio;

const FIRST: &str = "0199a8b2-7c31-7e55-8a4d-2f6b9c01d3e4";
const SECOND: &str = "0199a8b2-7c31-7e55-8a4d-2f6b9c01aaaa";
const LIVE: &str = "/v1/mitigations?status=pending%2Cactive%2Cescalated&limit=1000";

fn mitigation(id: &str) -> Value {
    let mut mitigation: Value = serde_json::from_str(include_str!("../data/mitigation.json")).unwrap();
    mitigation["mitigation_id"] = id.into();
    mitigation
}

fn list(mitigations: &[Value], next_cursor: Option<&str>) -> Answer {
    ok(&json!({"mitigations": mitigations, "count": mitigations.len(), "next_cursor": next_cursor}))
}

fn withdraw(id: &str) -> Route {
    post(&format!("/v1/mitigations/{id}/withdraw"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn refusals_have_their_exit_codes() {
    for (status, code, exit) in [
        (500, "internal", 1),
        (503, "store.unavailable", 1),
        (401, "auth.required", 3),
        (404, "not_found", 4),
        (400, "request.field", 5),
        (422, "idempotency.mismatch", 5),
        (422, "guardrail.safelist", 6),
        (409, "conflict.ended", 7),
        (403, "auth.forbidden", 8),
        (429, "limit.rate", 9),
        (503, "limit.queue", 9),
    ] {
        let daemon = Daemon::new([(withdraw(FIRST), problem(status, code, "no"))]);
        assert_eq!(
            daemon.exit(&["mit", "withdraw", FIRST, "--reason", "r", "--yes"]),
            exit,
            "{status} {code}"
        );
        // What may pass is sent again under its key, so that it happens once.
        let tries = if matches!(status, 429 | 503) { 4 } else { 1 };
        let route = format!("POST /v1/mitigations/{FIRST}/withdraw");
        let mut keys = daemon.header(&route, "idempotency-key");
        assert_eq!(keys.len(), tries, "{status} {code}");
        keys.dedup();
        assert!(matches!(&keys[..], [Some(_)]), "{keys:?}");
    }
}

#[test]
fn no_daemon_is_exit_2() {
    let unused = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let output = command(&format!("http://{unused}"), &["--retries", "0", "stats"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let dir = tempfile::tempdir().unwrap();
    let socket = format!("unix:{}", dir.path().join("none.sock").display());
    let output = command(&socket, &["--retries", "0", "stats"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(text(&output.stderr).contains(&socket), "{output:?}");
}

#[test]
fn wrong_usage_is_exit_64() {
    let daemon = Daemon::new([]);
    for arguments in [
        &["nonsense"][..],
        &["mit", "list", "--status", "nonsense"],
        &["mit", "withdraw", FIRST],
        &["mit", "list", "--limit", "5", "--all"],
        &[
            "mit",
            "withdraw",
            FIRST,
            SECOND,
            "--reason",
            "r",
            "--if-revision",
            "3",
            "--yes",
        ],
        &[
            "--token-file",
            "-",
            "mit",
            "withdraw",
            "--from",
            "-",
            "--reason",
            "r",
            "--yes",
        ],
        &["stats", "-o", "csv"],
        &["mit", "create", "--victim", "127.0.0.1", "--reason", "r"],
    ] {
        let mut program = command(&daemon.url, arguments)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        // It may refuse before it reads.
        drop(program.stdin.take().unwrap().write_all(b"token\n"));
        assert_eq!(program.wait().unwrap().code(), Some(64), "{arguments:?}");
    }
    assert!(daemon.requests().is_empty());
    assert_eq!(daemon.exit(&["--help"]), 0);
}

#[test]
fn clear_text_over_the_network_is_refused() {
    let output = command("http://192.0.2.1:8080", &["stats"]).output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert!(text(&output.stderr).contains("--insecure"));
}

#[test]
fn changes_need_consent() {
    let daemon = Daemon::new([(get(&format!("/v1/mitigations/{FIRST}")), ok(&detail()))]);
    for arguments in [
        &["mit", "withdraw", FIRST, "--reason", "r"][..],
        &["mit", "withdraw", FIRST, "--reason", "r", "--no-input"],
        &["mit", "create", "--victim", "203.0.113.9", "--reason", "r"],
        &["sl", "add", "203.0.113.9", "--reason", "r"],
        &["sl", "remove", "203.0.113.9"],
        &["--readonly", "mit", "withdraw", FIRST, "--reason", "r", "--yes"],
        &["--readonly", "reload"],
        &[
            "--readonly",
            "ev",
            "send",
            "--source",
            "s",
            "--victim",
            "203.0.113.9",
            "--vector",
            "v",
        ],
    ] {
        assert_eq!(daemon.exit(arguments), 13, "{arguments:?}");
    }
    let output = command(&daemon.url, &["reload"])
        .env("PREFIXD_READONLY", "1")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(13));
    assert!(
        daemon
            .requests()
            .iter()
            .all(|(route, _)| route.starts_with("GET")),
        "{:?}",
        daemon.requests()
    );
}

/// A daemon of before says nothing of forms.
fn announcements() -> Value {
    json!([
        {"neighbor": "edge1", "rule": "dst 203.0.113.10/32", "nlri": "01", "state": "advertised", "reason": null},
        {"neighbor": "edge2", "rule": "the first half", "original": "the rule", "form": "split", "part": 1, "parts": 2,
         "nlri": "02", "state": "queued", "reason": null},
        {"neighbor": "edge3", "rule": "the wide rule", "original": "the rule", "form": "widened", "part": 1, "parts": 1,
         "nlri": "03", "state": "advertised", "reason": null, "warning": "dport 1,3 widened to 1-3"},
        {"neighbor": "edge4", "rule": "the rule", "original": "the rule", "form": "refused", "part": 1, "parts": 1,
         "nlri": null, "state": "refused", "reason": "it cannot"},
        {"neighbor": "edge5", "rule": "the rule", "original": "the rule", "form": "mirrored", "part": 1, "parts": 1,
         "nlri": "04", "state": "advertised", "reason": null},
        {"neighbor": "edge6", "rule": "the rule", "nlri": "04", "state": "covered", "reason": "another takes all of it",
         "shadowed_by": [{"mitigation_id": SECOND, "rule": "the stricter rule", "comes_first": false}]},
        {"neighbor": "edge7", "rule": "the rule", "nlri": "04", "state": "advertised", "reason": null,
         "overlaps": [{"mitigation_id": SECOND, "rule": "the first rule", "comes_first": true},
                      {"mitigation_id": SECOND, "rule": "the last rule", "comes_first": false}],
         "shadowed_by": [{"mitigation_id": SECOND, "rule": "the first rule", "comes_first": true}]},
    ])
}

#[test]
fn what_each_neighbour_has_of_a_rule_is_shown() {
    let mut why =
        json!({"decided_at": "2026-01-18T10:30:00Z", "outcome": "accepted", "summary": "s", "steps": []});
    why["announcements"] = announcements();
    let daemon = Daemon::new([
        (get(&format!("/v1/mitigations/{FIRST}")), ok(&detail())),
        (get(&format!("/v1/mitigations/{FIRST}/why")), ok(&why)),
    ]);
    for command in ["get", "why"] {
        let shown = text(&daemon.ctl(&["mit", command, FIRST]).stdout);
        for line in [
            "  edge1  advertised  dst 203.0.113.10/32\n",
            "  edge2  queued, part 1 of 2  the first half\n      decided: the rule\n",
            "  edge3  advertised, widened  the wide rule\n      decided: the rule\n      warning: dport 1,3 widened to 1-3\n",
            "  edge4  refused: it cannot  the rule\n",
            "  edge5  advertised, mirrored  the rule\n",
            "  edge6  covered: another takes all of it  the rule\n  edge7",
            &format!(
                "  edge7  advertised  the rule\n      overlaps: the first rule of {SECOND}, asked before it\n      overlaps: the last rule \
                 of {SECOND}, asked after it\n      does nothing beside: the first rule of {SECOND}\n"
            ),
        ] {
            assert!(shown.contains(line), "{line} is not in\n{shown}");
        }
    }
}

#[test]
fn rules_are_written_for_tickets_as_each_neighbour_has_them() {
    let rule = "dst 203.0.113.10/32 proto udp dport 27015 then discard";
    let wider = "dst 203.0.113.10/32 proto udp dport 27000-27100 then discard";
    let at = |neighbor: &str, rule: &str, form: &str| {
        json!({"neighbor": neighbor, "rule": rule, "original": rule, "form": form, "part": 1, "parts": 1, "nlri": "01",
               "state": "advertised", "reason": null})
    };
    let mut refused = at("edge4", rule, "refused");
    refused["state"] = json!("refused");
    refused["reason"] = json!("it cannot");
    let mut shown = detail();
    shown["announcements"] = json!([
        at("edge1", rule, "exact"),
        at("edge2", wider, "widened"),
        at("edge3", rule, "exact"),
        refused
    ]);
    let mut ended = detail();
    ended["announcements"] = json!([]);
    let rib = json!({"count": 1, "next_cursor": null, "routes": [
        {"nlri": "01", "afi_safi": "ipv4-flowspec", "rule": rule, "action": null, "state": "queued", "reason": null,
         "written_at": null, "until": null, "mitigations": []}]});
    let daemon = Daemon::new([
        (get(&format!("/v1/mitigations/{FIRST}")), ok(&shown)),
        (get(&format!("/v1/mitigations/{SECOND}")), ok(&ended)),
        (get("/v1/peers/edge1/rib?limit=100"), ok(&rib)),
    ]);
    let wrote = |arguments: &[&str]| text(&daemon.ctl(arguments).stdout).to_owned();
    let junos = wrote(&["mit", "get", FIRST, "--as", "junos"]);
    let entry = |heads: &str, rule: &str, ports: &str| {
        let route = "set routing-options flow route prefixd-203-0-113-10-32";
        format!(
            "{heads}# {rule}\n{route} match destination 203.0.113.10/32\n{route} match protocol udp\n\
             {route} match destination-port {ports}\n{route} then discard\n"
        )
    };
    let expected = [
        entry("# edge1  advertised\n# edge3  advertised\n", rule, "27015"),
        entry("# edge2  advertised\n", wider, "27000-27100"),
        format!("# edge4  refused: it cannot  {rule}\n"),
    ];
    assert_eq!(junos, expected.join("\n"));
    let decided = wrote(&["mit", "get", SECOND, "--as", "frr"]);
    assert!(
        decided.starts_with("! decided; at no neighbour\n! dst "),
        "{decided}"
    );
    let rib = wrote(&["peers", "rib", "edge1", "--as", "iosxr"]);
    assert!(
        rib.starts_with(&format!("! queued\n! {rule}\nclass-map type traffic match-all ")),
        "{rib}"
    );
    let both = daemon.ctl(&["mit", "get", FIRST, "--as", "junos", "-o", "json"]);
    assert_eq!(both.status.code(), Some(5), "{both:?}");
}

#[test]
fn a_preview_asks_nobody_and_says_what_create_would() {
    let policed = json!({"neighbor": "edge1", "rule": "dst 203.0.113.10/32 proto udp then police 5 Mbit/s", "nlri": "05",
                         "state": "queued", "reason": null});
    let made = json!({
        "outcome": "created", "mitigation": mitigation(FIRST),
        "previews": [{"text": "the rule", "nlri": "01", "junos": "", "iosxr": ""}],
        "why": {"decided_at": "2026-01-18T10:30:00Z", "outcome": "accepted", "summary": "s",
                "steps": [{"stage": "guardrail", "code": "quotas", "verdict": "passed", "text": "2 of 20"}]},
        "neighbors": [
            {"neighbor": "edge1", "session": "established", "announcements": [announcements()[2], policed],
             "budget": {"max": 10, "used": 9, "after": 10}},
            {"neighbor": "edge2", "session": "idle", "announcements": [announcements()[1]],
             "budget": {"max": 10, "used": 9, "after": 11}, "displaces": ["0194f2c0-0000-7000-8000-000000000001"]},
        ],
    });
    let route = || post("/v1/mitigations/preview");
    let daemon = Daemon::new([(route(), ok(&made))]);
    for command in [
        &["--readonly", "mit", "preview", "--victim", "203.0.113.9"][..],
        &[
            "--readonly",
            "mit",
            "create",
            "--victim",
            "203.0.113.9",
            "--dry-run",
        ],
    ] {
        let output = daemon.ctl(command);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let shown = text(&output.stdout);
        for line in [
            "would be made; nothing was changed",
            "at most 5.00 Mbit/s (rules 1, neighbours 1); more where a router polices on each forwarding engine",
            "  edge1  established, 9 of 10 rules now, 10 then\n    edge3  advertised, widened  the wide rule\n",
            "        warning: dport 1,3 widened to 1-3\n",
            "    takes the place of 0194f2c0-0000-7000-8000-000000000001, which is less important\n",
            "  edge2  idle, 9 of 10 rules now, 11 then: OVER its budget, the least important wait\n",
            "  2 of 20  [quotas]\n",
        ] {
            assert!(shown.contains(line), "{line} is not in\n{shown}");
        }
    }
    let refused = json!({
        "outcome": "refused",
        "problem": {"type": "about:blank", "title": "Unprocessable", "status": 422, "code": "guardrail.safelist",
                    "detail": "it is a router", "request_id": null, "retry_after_seconds": null},
    });
    let daemon = Daemon::new([(route(), ok(&refused))]);
    let output = daemon.ctl(&["mit", "preview", "--victim", "203.0.113.9"]);
    assert_eq!(output.status.code(), Some(6), "as create: {output:?}");
    assert!(text(&output.stdout).contains("it is a router [guardrail.safelist]"));
}

fn detail() -> Value {
    let mut detail = mitigation(FIRST);
    for (field, value) in json!({
        "previews": [{"text": "dst 203.0.113.10/32 proto udp dport 27015 then police 5 Mbit/s", "nlri": "01", "junos": "", "iosxr": ""}],
        "announcements": announcements(),
        "customer_name": "Acme", "service_name": null,
        "timeline": [{"seq": 7, "at": "2026-01-18T10:30:00Z", "actor": "token:fnm", "kind": "mitigation.created", "body": {}}]
    })
    .as_object()
    .unwrap()
    {
        detail[field] = value.clone();
    }
    detail
}

/// What is withdrawn need not be gone.
#[test]
fn who_may_hold_withdrawn_rules_is_named() {
    let mut done = mitigation(FIRST);
    done["may_hold"] = json!([{"neighbor": "edge2", "until": "2026-01-18T10:32:00Z"}]);
    let held = "MAY STILL BE THERE: edge2 until 2026-01-18T10:32:00.000000Z";
    let daemon = Daemon::new([
        (withdraw(FIRST), ok(&done)),
        (withdraw(SECOND), ok(&mitigation(SECOND))),
    ]);
    let run = |ids: &[&str], format: &str| {
        let fixed = ["--reason", "r", "--yes", "-o", format];
        let output = daemon.ctl(&[&["mit", "withdraw"], ids, &fixed].concat());
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        text(&output.stdout)
    };
    let sheet = run(&[FIRST], "table");
    assert!(sheet.starts_with(held), "{sheet}");
    assert!(!run(&[SECOND], "table").contains("MAY STILL BE THERE"));
    let several = run(&[FIRST, SECOND], "wide");
    assert_eq!(several.matches(held).count(), 1, "{several}");
    let json: Value = serde_json::from_str(&run(&[FIRST], "json")).unwrap();
    assert_eq!(json["may_hold"][0]["neighbor"], "edge2", "{json}");
    assert_eq!(json["mitigation_id"], FIRST, "{json}");
}

const THIRD: &str = "0199a8b2-7c31-7e55-8a4d-2f6b9c01bbbb";

#[test]
fn a_change_without_an_answer_is_unknown_and_not_failed() {
    let daemon = Daemon::new([
        (withdraw(FIRST), ok(&mitigation(FIRST))),
        (withdraw(SECOND), cut()),
        (withdraw(THIRD), ok(&mitigation(THIRD))),
    ]);
    let all = [
        "mit",
        "withdraw",
        FIRST,
        SECOND,
        THIRD,
        "--reason",
        "r",
        "--yes",
        "--retries",
        "1",
    ];
    let output = daemon.ctl(&[&all[..], &["-o", "json"]].concat());
    assert_eq!(output.status.code(), Some(10), "{output:?}");
    let outcomes: Value = serde_json::from_slice(&output.stdout).unwrap();
    let withdrawn: Vec<_> = (0..3).map(|index| outcomes[index]["withdrawn"].clone()).collect();
    assert_eq!(withdrawn, [json!(true), Value::Null, json!(true)], "{outcomes}");
    let table = text(&daemon.ctl(&all).stdout);
    assert!(
        table.contains("UNKNOWN") && table.contains("look before you repeat"),
        "{table}"
    );
    // Of one alone the same is said.
    let one = [
        "mit",
        "withdraw",
        SECOND,
        "--reason",
        "r",
        "--yes",
        "--retries",
        "1",
    ];
    let output = daemon.ctl(&[&one[..], &["--idempotency-key", "INC-4711"]].concat());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told = text(&output.stderr);
    assert!(
        told.contains("may have happened") && told.contains("--idempotency-key INC-4711"),
        "{output:?}"
    );
    // Sent again under its key, so that it happens once; another run has keys of its own.
    let keys = daemon.header(
        &format!("POST /v1/mitigations/{SECOND}/withdraw"),
        "idempotency-key",
    );
    let [a, b, c, d, e, f] = &keys.into_iter().map(Option::unwrap).collect::<Vec<_>>()[..] else {
        panic!("each run sends it twice")
    };
    assert!(a == b && c == d && e == f && a != c, "{a} {c}");
    assert_eq!(e, "inc-4711.1", "headers are remembered in lower case");
    assert_eq!(
        daemon.exit(&[&one[..], &["--idempotency-key", "a b"]].concat()),
        64
    );
}

#[test]
fn what_would_fail_for_all_is_not_tried_with_all() {
    for (code, exit) in [(401, 10), (403, 10)] {
        let daemon = Daemon::new([
            (withdraw(FIRST), ok(&mitigation(FIRST))),
            (withdraw(SECOND), problem(code, "auth.forbidden", "no")),
        ]);
        let all = ["mit", "withdraw", FIRST, SECOND, THIRD, "--reason", "r", "--yes"];
        let output = daemon.ctl(&all);
        assert_eq!(output.status.code(), Some(exit), "{output:?}");
        let table = text(&output.stdout);
        assert!(table.contains("failed") && table.contains("not sent"), "{table}");
        assert_eq!(daemon.requests().len(), 2, "{:?}", daemon.requests());
    }
    // A daemon that does not answer is waited for once, not once for each.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", mute.local_addr().unwrap());
    let arguments = [
        "--request-timeout",
        "1s",
        "mit",
        "withdraw",
        FIRST,
        SECOND,
        THIRD,
        "--reason",
        "r",
        "--yes",
        "-o",
        "json",
    ];
    let output = command(&url, &arguments).output().unwrap();
    let outcomes: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(outcomes[0]["withdrawn"], Value::Null, "{outcomes}");
    assert_eq!(outcomes[0]["code"], "client.timeout");
    for index in [1, 2] {
        assert_eq!(outcomes[index]["code"], "client.not_sent", "{outcomes}");
    }
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

#[test]
fn a_withdrawal_carries_what_was_asked() {
    let daemon = Daemon::new([
        (get(LIVE), list(&[mitigation(FIRST), mitigation(SECOND)], None)),
        (withdraw(FIRST), ok(&mitigation(FIRST))),
    ]);
    let arguments = [
        "mit",
        "withdraw",
        "d3e4",
        "--reason",
        "fp",
        "--suppress",
        "15m",
        "--if-revision",
        "3",
        "--yes",
    ];
    let output = daemon.ctl(&arguments);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        daemon.bodies(&format!("POST /v1/mitigations/{FIRST}/withdraw")),
        [json!({"reason": "fp", "suppress_seconds": 900, "expected_revision": 3})]
    );
}

#[test]
fn an_identifier_must_stand_for_one() {
    let daemon = Daemon::new([
        (get(LIVE), list(&[mitigation(FIRST), mitigation(SECOND)], None)),
        (get("/v1/mitigations?limit=1000"), list(&[], None)),
    ]);
    assert_eq!(daemon.exit(&["mit", "get", "0199a8b2"]), 5);
    assert_eq!(daemon.exit(&["mit", "get", "ffff"]), 4);
    assert_eq!(daemon.exit(&["mit", "get", "e4"]), 5);
}

#[test]
fn several_withdrawals_are_judged_one_by_one() {
    let daemon = Daemon::new([
        (withdraw(FIRST), ok(&mitigation(FIRST))),
        (withdraw(SECOND), problem(409, "conflict.ended", "it has ended")),
    ]);
    let output = daemon.ctl(&[
        "mit", "withdraw", FIRST, SECOND, "--reason", "r", "--yes", "-o", "json",
    ]);
    assert_eq!(output.status.code(), Some(10), "{output:?}");
    let results: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(results[0]["withdrawn"], true);
    assert_eq!(
        (&results[1]["withdrawn"], &results[1]["code"]),
        (&json!(false), &json!("conflict.ended"))
    );
    let gone = daemon.ctl(&["mit", "withdraw", SECOND, SECOND, "--reason", "r", "--yes"]);
    assert_eq!(
        gone.status.code(),
        Some(7),
        "one, named twice, that fails is no part of success"
    );
}

#[test]
fn identifiers_come_from_a_file_and_are_counted() {
    let daemon = Daemon::new([
        (withdraw(FIRST), ok(&mitigation(FIRST))),
        (withdraw(SECOND), ok(&mitigation(SECOND))),
    ]);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ids");
    std::fs::write(&file, format!("# wave\n{FIRST}\n\n{SECOND} # second\n")).unwrap();
    let base = [
        "mit",
        "withdraw",
        "--from",
        file.to_str().unwrap(),
        "--reason",
        "r",
        "--yes",
        "--expect-count",
    ];
    assert_eq!(daemon.exit(&[&base[..], &["3"]].concat()), 7);
    assert!(daemon.requests().is_empty());
    assert_eq!(daemon.exit(&[&base[..], &["2"]].concat()), 0);
    assert_eq!(daemon.requests().len(), 2);
}

#[test]
fn identifiers_come_from_standard_input() {
    let daemon = Daemon::new([(withdraw(FIRST), ok(&mitigation(FIRST)))]);
    let mut child = command(
        &daemon.url,
        &["mit", "withdraw", "--from", "-", "--reason", "r", "--yes"],
    )
    .stdin(Stdio::piped())
    .spawn()
    .unwrap();
    child.stdin.take().unwrap().write_all(FIRST.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn lists_follow_pages_and_say_when_they_are_cut() {
    let daemon = Daemon::new([
        (
            get("/v1/mitigations?limit=100"),
            list(&[mitigation(FIRST)], Some("c2")),
        ),
        (
            get("/v1/mitigations?limit=99&cursor=c2"),
            list(&[mitigation(SECOND)], None),
        ),
        (
            get("/v1/mitigations?limit=1"),
            list(&[mitigation(FIRST)], Some("c2")),
        ),
    ]);
    let ids = daemon.ctl(&["mit", "list", "-o", "ids"]);
    assert_eq!(text(&ids.stdout), format!("{FIRST}\n{SECOND}\n"));
    let cut = daemon.ctl(&["mit", "list", "--limit", "1", "-o", "json", "--envelope"]);
    let envelope: Value = serde_json::from_slice(&cut.stdout).unwrap();
    assert_eq!(
        (&envelope["schema"], &envelope["truncated"]),
        (&json!("prefixd.v1/mitigation_list"), &json!(true))
    );
    assert!(text(&cut.stderr).contains("--all"));
    assert!(
        daemon
            .ctl(&["mit", "list", "--limit", "1", "-o", "ids", "-q"])
            .stderr
            .is_empty()
    );
}

#[test]
fn an_empty_list_is_an_empty_array() {
    let daemon = Daemon::new([(get("/v1/mitigations?status=active&limit=100"), list(&[], None))]);
    assert_eq!(
        text(
            &daemon
                .ctl(&["mit", "list", "--status", "active", "-o", "json"])
                .stdout
        ),
        "[]\n"
    );
}

#[test]
fn errors_are_json_where_the_output_is() {
    let daemon = Daemon::new([(
        post("/v1/config/reload"),
        problem(400, "config.invalid", "prefixd.yaml:3:1: \u{1b}[2J"),
    )]);
    let output = daemon.ctl(&["reload", "-o", "json"]);
    let error: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(
        error,
        json!({"error": {"code": "config.invalid", "message": "prefixd.yaml:3:1: \u{1b}[2J", "details": [], "request_id": "r1"}})
    );
    let people = daemon.ctl(&["reload"]);
    assert_eq!(
        (people.status.code(), text(&people.stderr).contains('\u{1b}')),
        (Some(5), false)
    );
}

#[test]
fn reads_are_repeated_as_the_daemon_asks() {
    let mut busy = problem(503, "limit.queue", "busy");
    busy.headers.push(("retry-after", "0".to_owned()));
    let daemon = Daemon::new([(get("/v1/safelist"), busy)]);
    assert_eq!(daemon.exit(&["--retries", "2", "sl", "list"]), 9);
    assert_eq!(daemon.requests().len(), 3);
}

#[test]
fn one_mitigation_for_people() {
    let daemon = Daemon::new([(get(&format!("/v1/mitigations/{FIRST}")), ok(&detail()))]);
    let shown = text(&daemon.ctl(&["mit", "get", FIRST]).stdout);
    for part in [
        "Customer",
        "acme (Acme)",
        "police 5.00M",
        "edge1  advertised",
        "mitigation.created  token:fnm",
    ] {
        assert!(shown.contains(part), "{part} is not in\n{shown}");
    }
}

#[test]
fn a_pending_mitigation_says_what_it_waits_for() {
    let mut pending = detail();
    pending["status"] = json!("pending");
    pending["waits_for"] = json!({"sources": 2, "has_sources": 1, "confidence": 0.7});
    let daemon = Daemon::new([(get(&format!("/v1/mitigations/{FIRST}")), ok(&pending))]);
    let shown = text(&daemon.ctl(&["mit", "get", FIRST]).stdout);
    assert!(
        shown.contains("Waits for") && shown.contains("1 of 2 sources, confidence 0.70"),
        "{shown}"
    );
}

#[test]
fn an_aggregate_says_whom_it_filters_besides() {
    let mut many = detail();
    many["victim_ip"] = json!("203.0.113.0/28");
    many["carpet"] = json!({"victims": 9, "bystanders": 7, "replaced": 8, "services": ["dns"]});
    let daemon = Daemon::new([(get(&format!("/v1/mitigations/{FIRST}")), ok(&many))]);
    let shown = text(&daemon.ctl(&["mit", "get", FIRST]).stdout);
    for part in [
        "203.0.113.0/28",
        "9 addresses were reported, 7 others are filtered with them; in place of 8 mitigations; the ports of dns are kept out",
    ] {
        assert!(shown.contains(part), "{part} is not in\n{shown}");
    }
}

pub(crate) fn health(status: &str) -> Value {
    json!({"status": status, "reasons": if status == "healthy" { json!([]) } else { json!(["edge1 is down"]) },
        "version": "0.1.0", "pop": "iad1", "mode": "enforced", "now": "2026-01-18T10:30:00Z",
        "started_at": "2026-01-18T09:30:00Z", "store": {"backend": "sqlite", "ok": true, "failing_since": null, "owed": 0},
        "engine": {"queue": {"used": 0, "max": 1024}, "head": 7}, "peers_established": 1, "peers_total": 1,
        "active": 3, "rules": {"intended": 4, "announced": 4}, "drift_total": 0, "role": "viewer"})
}

pub(crate) fn stats() -> Value {
    json!({"pop": "iad1", "at": "2026-01-18T10:30:00Z", "active": 3, "escalated": 1, "ending": 0, "pending": 0,
        "by_vector": {"udp_flood": 3}, "by_action": {"police": 3}, "by_severity": {"high": 3},
        "by_customer": {"acme": {"used": 3, "max": 20}}, "quota_pop": {"used": 3, "max": 200},
        "quota_global": {"used": 3, "max": 500}, "new_per_minute": {"used": 1, "max": 60}, "events_per_minute": 12,
        "events_by_outcome": {"accepted": 3}, "rules": {"intended": 4, "announced": 4}})
}

fn daemon_that_is(status: &str) -> Daemon {
    Daemon::new([
        (get("/v1/health/detail"), ok(&health(status))),
        // A daemon that does not know the question.
        (get("/v1/stats?pop=all"), problem(400, "request.field", "unknown")),
        (get("/v1/stats"), ok(&stats())),
        (get("/v1/peers"), ok(&json!({"peers": [], "count": 0}))),
    ])
}

#[test]
fn status_tells_monitoring_how_it_is() {
    assert_eq!(daemon_that_is("healthy").exit(&["status", "--exit-code"]), 0);
    assert_eq!(daemon_that_is("degraded").exit(&["status", "--exit-code"]), 20);
    assert_eq!(daemon_that_is("degraded").exit(&["status"]), 0);
    assert_eq!(
        Daemon::new([(get("/v1/health/detail"), problem(503, "store.unavailable", "no"))]).exit(&[
            "--retries",
            "0",
            "status",
            "--exit-code"
        ]),
        21
    );
    let unused = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let down = command(
        &format!("http://{unused}"),
        &["--retries", "0", "status", "--exit-code"],
    )
    .output()
    .unwrap();
    assert_eq!(down.status.code(), Some(21));
    let shown = text(&daemon_that_is("degraded").ctl(&["status"]).stdout);
    assert!(
        shown.contains("edge1 is down") && shown.contains("3 of 200 (1%)"),
        "{shown}"
    );
}

#[test]
fn an_event_is_sent_as_it_was_typed() {
    let answer = json!({"event_id": FIRST, "external_event_id": null, "status": "accepted", "mitigation_id": SECOND,
        "group_id": null, "reason": "a playbook matches"});
    let daemon = Daemon::new([(
        post("/v1/events"),
        Answer {
            status: 202,
            ..ok(&answer)
        },
    )]);
    let output = daemon.ctl(&[
        "ev",
        "send",
        "--source",
        "t",
        "--victim",
        "2001:db8::1",
        "--vector",
        "udp_flood",
        "--bps",
        "1.2G",
        "--ports",
        "53,80",
        "-o",
        "ids",
    ]);
    assert_eq!(text(&output.stdout), format!("{FIRST}\n"), "{output:?}");
    assert_eq!(
        daemon.bodies("POST /v1/events"),
        [
            json!({"source": "t", "action": "ban", "victim_ip": "2001:db8::1", "vector": "udp_flood", "bps": 1_200_000_000, "top_dst_ports": [53, 80]})
        ]
    );
}

#[test]
fn a_batch_says_what_became_of_each_line() {
    let results = json!({"results": [
        {"http_status": 202, "event_id": FIRST, "external_event_id": null, "status": "accepted", "mitigation_id": null, "group_id": null, "reason": "ok"},
        {"http_status": 400, "code": "request.field", "detail": "bps: is -1"}]});
    let daemon = Daemon::new([(post("/v1/events/batch"), ok(&results))]);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("events.jsonl");
    std::fs::write(&file, "{\"source\":\"a\"}\n\n{\"source\":\"b\"}\n").unwrap();
    let output = daemon.ctl(&["ev", "batch", "--from", file.to_str().unwrap(), "-o", "csv"]);
    assert_eq!(output.status.code(), Some(10), "{output:?}");
    let rows = text(&output.stdout);
    assert!(
        rows.contains("1,202,accepted") && rows.contains("3,400,"),
        "{rows}"
    );
    let refused =
        json!({"results": [{"http_status": 422, "code": "guardrail.safelist", "detail": "covered"}]});
    let strict = Daemon::new([(post("/v1/events/batch"), ok(&refused))]);
    let one = dir.path().join("one.jsonl");
    std::fs::write(&one, "{}").unwrap();
    assert_eq!(strict.exit(&["ev", "batch", "--from", one.to_str().unwrap()]), 6);
    std::fs::write(&file, "{\"source\":\"a\"}\nnonsense\n").unwrap();
    assert_eq!(daemon.exit(&["ev", "batch", "--from", file.to_str().unwrap()]), 5);
    assert_eq!(daemon.requests().len(), 1, "nothing is sent when a line is bad");
}

#[test]
fn the_safelist_is_checked_by_overlap() {
    let entry = json!({"prefix": "203.0.113.0/28", "reason": "loopbacks", "origin": "config", "created_by": null, "created_at": null, "expires_at": null});
    let daemon = Daemon::new([(get("/v1/safelist"), ok(&json!({"entries": [entry], "count": 1})))]);
    let output = daemon.ctl(&[
        "sl",
        "check",
        "203.0.113.5",
        "203.0.113.0/24",
        "198.51.100.1",
        "-o",
        "json",
    ]);
    let checks: Value = serde_json::from_slice(&output.stdout).unwrap();
    let said: Vec<_> = checks
        .as_array()
        .unwrap()
        .iter()
        .map(|check| check["safelisted"].as_bool().unwrap())
        .collect();
    assert_eq!(said, [true, true, false]);
}

#[test]
fn the_token_comes_from_a_file() {
    let daemon = Daemon::new([(get("/v1/safelist"), ok(&json!({"entries": [], "count": 0})))]);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    assert_eq!(
        daemon.exit(&["--token-file", file.to_str().unwrap(), "sl", "list"]),
        5
    );
    std::fs::write(&file, "secret\n").unwrap();
    assert_eq!(
        daemon.exit(&["--token-file", file.to_str().unwrap(), "sl", "list"]),
        0
    );
    std::fs::write(&file, "\n").unwrap();
    assert_eq!(
        daemon.exit(&["--token-file", file.to_str().unwrap(), "sl", "list"]),
        5
    );
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let many: Vec<_> = (0..1000).map(|_| mitigation(FIRST)).collect();
    let daemon = Daemon::new([(get("/v1/mitigations?limit=1000"), list(&many, None))]);
    let mut child = command(&daemon.url, &["mit", "list", "--limit", "1000", "-o", "json"])
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 10]).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}
