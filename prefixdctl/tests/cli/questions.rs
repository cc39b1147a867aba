//! Questions: what is asked, and how the answers are shown.

use crate::scripted::{Daemon, delete, get, ok, post};
use serde_json::{Value, json};

const GROUP: &str = "0199a8b2-7c31-7e55-8a4d-2f6b9c01d3e4";
const AT: &str = "2026-01-18T10:29:58.000000Z";

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn shown(daemon: &Daemon, arguments: &[&str]) -> String {
    let output = daemon.ctl(arguments);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    text(&output.stdout)
}

#[test]
fn match_says_what_decides() {
    let rule = |text: &str, depends_on: &[&str]| {
        json!({"rule": text, "nlri": "0d01", "afi_safi": "ipv4-flowspec", "action": null, "state": "advertised",
            "reason": null, "until": null, "mitigations": [GROUP], "depends_on": depends_on})
    };
    let neighbor = |name: &str, verdict: &str, effective: Value, before: &[Value]| {
        json!({"neighbor": name, "session": "established", "verdict": verdict, "summary": format!("{name} in words"),
            "effective": effective, "before": before, "blackhole": null, "missing": []})
    };
    let answer = json!({
        "traffic": {"dst": "203.0.113.10", "src": null, "proto": 17, "sport": null, "dport": null}, "at": AT,
        "neighbors": [
            neighbor("edge1", "depends", json!(null), &[rule("the port rule", &["destination port", "fragment"])]),
            neighbor("edge2", "matched", rule("the wide rule", &[]), &[]),
            neighbor("edge3", "mirrored", json!(null), &[]),
        ],
    });
    let daemon = Daemon::new([(get("/v1/match?dst=203.0.113.10&proto=17&pop=all"), ok(&answer))]);
    let arguments = ["match", "--dst", "203.0.113.10", "--proto", "udp"];
    let table = shown(&daemon, &arguments);
    for line in [
        "edge1  depends: edge1 in words\n",
        "edge3  mirrored: edge3 in words\n",
        "  asked before         the port rule  [advertised]  depends on the destination port and fragment  9c01d3e4\n",
        "  effective            the wide rule  [advertised]  9c01d3e4\n",
    ] {
        assert!(table.contains(line), "{line} is not in\n{table}");
    }
    let json: Value =
        serde_json::from_str(&shown(&daemon, &[&arguments[..], &["-o", "json"]].concat())).unwrap();
    assert_eq!(json, answer);
    assert_eq!(daemon.exit(&["match", "--dst", "203.0.113.0/24"]), 64);
    assert_eq!(
        daemon.exit(&["match", "--dst", "203.0.113.10", "--proto", "upd"]),
        64
    );
}

#[test]
fn match_says_what_is_decided_elsewhere() {
    let rule = json!({"rule": "the rule there", "action": {"action_type": "discard"}, "until": AT, "advertised_at": null,
        "mitigations": [GROUP], "depends_on": []});
    let there = |pop: &str, verdict: &str, effective: Value| {
        json!({"pop": pop, "verdict": verdict, "summary": format!("{pop} in words"), "effective": effective, "before": [],
            "blackhole": null})
    };
    let mut answer = json!({
        "traffic": {"dst": "203.0.113.10", "src": null, "proto": null, "sport": null, "dport": null}, "at": AT,
        "neighbors": [], "elsewhere": [there("fra1", "matched", rule), there("nyc1", "unmatched", json!(null))],
    });
    let daemon = Daemon::new([(get("/v1/match?dst=203.0.113.10&pop=all"), ok(&answer))]);
    assert_eq!(
        shown(&daemon, &["match", "--dst", "203.0.113.10"]),
        "no neighbour is configured: nothing is announced here\n\nAs decided at other POPs\n  fra1  matched: fra1 in words\n  \
         nyc1  unmatched: nyc1 in words\n\nfra1\n  effective            the rule there  [not seen at a neighbour]  9c01d3e4\n"
    );
    answer["elsewhere"] = json!([]);
    answer["elsewhere_unknown"] = json!("the database is away");
    let daemon = Daemon::new([(get("/v1/match?dst=203.0.113.10&pop=fra1"), ok(&answer))]);
    let table = shown(&daemon, &["match", "--dst", "203.0.113.10", "--pop", "fra1"]);
    assert!(table.ends_with("\nOther POPs: the database is away\n"), "{table}");
}

#[test]
fn stats_and_status_show_other_pops() {
    let live = |active: u64| {
        json!({"active": active, "escalated": 1, "pending": 0, "by_vector": {"udp_flood": active},
            "by_action": {"discard": active}})
    };
    let mut stats = crate::commands::stats();
    stats["pops"] = json!([{"pop": "fra1", "own": false, "runs": false, "live": live(4)},
        {"pop": "iad1", "own": true, "runs": true, "live": live(3)}]);
    stats["total"] = live(7);
    let daemon = Daemon::new([
        (get("/v1/stats?pop=all"), ok(&stats)),
        (get("/v1/health/detail"), ok(&crate::commands::health("healthy"))),
        (get("/v1/peers"), ok(&json!({"peers": [], "count": 0}))),
    ]);
    let table = shown(&daemon, &["stats", "--pop", "all"]);
    for line in [
        "  fra1  4 active (1 escalated), 0 pending; NO DAEMON runs it now\n",
        "Live at these POPs\n  all  7 active (1 escalated), 0 pending\n",
        "By vector, these POPs\n  udp_flood  7\n",
    ] {
        assert!(table.contains(line), "{line} is not in\n{table}");
    }
    let screen = shown(&daemon, &["status"]);
    assert!(
        screen.contains("fra1: 4 active (1 escalated), 0 pending; NO DAEMON runs it now\n"),
        "{screen}"
    );
}

fn group() -> Value {
    json!({
        "group_id": GROUP, "pop": "iad1", "scope": {"victim": "203.0.113.10", "vector": "udp_flood"},
        "claims": [{"source": "=fnm\u{1b}[2J", "event_id": null, "kind": "event", "since": AT, "last_report_at": AT,
            "lives_until": AT, "confidence": 0.9, "bps": null, "pps": null}],
        "confidence": 0.9, "opened_at": AT, "last_event_at": AT, "closed_at": null, "starts": [], "filtered_since": null,
        "last_ban_at": null, "state": "open", "mitigation_id": null,
        "sources": [{"source": "=fnm\u{1b}[2J", "configured": true, "domain": null, "weight": 0.5, "confidence": 0.9,
            "weighted": 0.45, "counts": true, "live_claims": 1, "last_report_at": AT}],
    })
}

#[test]
fn groups_show_who_says_so_and_nothing_a_terminal_obeys() {
    let list = json!({"groups": [group()], "count": 1, "next_cursor": null});
    let mut detail = group();
    detail["customer_id"] = "acme".into();
    detail["mitigations"] = json!([]);
    detail["events"] = json!([]);
    let daemon = Daemon::new([
        (
            get("/v1/groups?state=open&victim_ip=203.0.113.0%2F24&limit=100"),
            ok(&list),
        ),
        (get("/v1/groups?limit=1000"), ok(&list)),
        (get(&format!("/v1/groups/{GROUP}")), ok(&detail)),
    ]);
    let listed = ["groups", "list", "--state", "open", "--victim", "203.0.113.0/24"];
    let table = shown(&daemon, &listed);
    assert!(
        table.contains("9c01d3e4  open   203.0.113.10  udp_flood"),
        "{table}"
    );
    let csv = shown(
        &daemon,
        &[
            &listed[..],
            &["-o", "csv", "--columns", "group_id,scope.victim,sources"],
        ]
        .concat(),
    );
    assert!(csv.starts_with("group_id,scope.victim,sources\r\n"), "{csv}");
    // Short identifiers are looked up.
    let sheet = shown(&daemon, &["grp", "get", "9c01d3e4"]);
    assert!(sheet.contains("0.90 x 0.50  adds 0.450  1 claims"), "{sheet}");
    for text in [&table, &csv, &sheet] {
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }
    assert_eq!(daemon.exit(&["groups", "list", "--state", "pending"]), 64);
}

#[test]
fn suppressions_are_changed_with_consent() {
    let suppression = json!({"suppression_id": GROUP, "scope": {"victim": "203.0.113.10", "vector": "udp_flood"},
        "created_by": "token:noc", "created_at": AT, "expires_at": AT, "reason": "=game night"});
    let daemon = Daemon::new([
        (
            get("/v1/suppressions"),
            ok(&json!({"suppressions": [suppression], "count": 1})),
        ),
        (post("/v1/suppressions"), ok(&suppression)),
        (delete(&format!("/v1/suppressions/{GROUP}")), ok(&Value::Null)),
    ]);
    let add = [
        "suppressions",
        "add",
        "--victim",
        "203.0.113.10",
        "--vector",
        "udp_flood",
        "--for",
        "2h",
        "--reason",
        "r",
    ];
    let end = ["suppressions", "rm", "9c01d3e4"];
    for arguments in [&add[..], &end[..]] {
        assert_eq!(daemon.exit(arguments), 13, "nobody was asked");
        assert_eq!(daemon.exit(&[&["--readonly", "--yes"], arguments].concat()), 13);
    }
    assert!(
        daemon
            .requests()
            .iter()
            .all(|(route, _)| route.starts_with("GET"))
    );
    shown(&daemon, &[&["--yes"], &add[..]].concat());
    shown(&daemon, &[&["--yes"], &end[..]].concat());
    let sent = json!({"victim_ip": "203.0.113.10", "vector": "udp_flood", "seconds": 7200, "reason": "r"});
    assert_eq!(daemon.bodies("POST /v1/suppressions"), [sent]);
    let of_source = [
        "--yes",
        "suppressions",
        "add",
        "--prefix",
        "203.0.113.0/26",
        "--source",
        "netscout",
        "--for",
        "2h",
        "--reason",
        "r",
    ];
    shown(&daemon, &of_source);
    let sent = json!({"prefix": "203.0.113.0/26", "source": "netscout", "seconds": 7200, "reason": "r"});
    assert_eq!(daemon.bodies("POST /v1/suppressions").last(), Some(&sent));
    assert_eq!(
        daemon.exit(&[
            "--yes",
            "suppressions",
            "add",
            "--vector",
            "udp_flood",
            "--for",
            "2h",
            "--reason",
            "r"
        ]),
        64,
        "everybody's"
    );
    let csv = shown(
        &daemon,
        &["suppressions", "list", "-o", "csv", "--columns", "reason"],
    );
    assert_eq!(csv, "reason\r\n'=game night\r\n", "no sheet computes it");
}

#[test]
fn audit_pages_and_verifies_in_parts() {
    let entry = |seq: u64| {
        json!({"seq": seq, "pop": "iad1", "at": AT, "actor": "token:noc", "action": "mitigation.withdrawn",
            "target_type": "mitigation", "target_id": GROUP, "body": {"note": "x"}, "hash": "ab"})
    };
    // An empty page that goes on is no end.
    let page = |entries: &[Value], next: Value| {
        ok(&json!({"entries": entries, "count": entries.len(), "next_cursor": next}))
    };
    let point = |seq: u64| json!({"seq": seq, "hash": "00"});
    let walked = |from: u64, to: u64, next: Value| {
        ok(
            &json!({"pop": "iad1", "intact": true, "from": point(from), "to": point(to), "entries": to - from,
            "broken": null, "next_from": next}),
        )
    };
    let broken = ok(
        &json!({"pop": "iad1", "intact": false, "from": null, "to": null, "entries": 0,
        "broken": {"seq": 7, "what": "was changed after it was written"}, "next_from": null}),
    );
    let daemon = Daemon::new([
        (
            get("/v1/audit?actor=token%3Anoc&q=night&limit=100"),
            page(&[], json!("9000")),
        ),
        (
            get("/v1/audit?actor=token%3Anoc&q=night&limit=100&cursor=9000"),
            page(&[entry(8), entry(7)], Value::Null),
        ),
        (get("/v1/audit/verify"), walked(3, 1003, json!(1003))),
        (get("/v1/audit/verify?from=1003"), walked(1003, 1010, Value::Null)),
        (get("/v1/audit/verify?from=5"), broken),
    ]);
    let list = ["audit", "list", "--actor", "token:noc", "-s", "night"];
    let ids = shown(&daemon, &[&list[..], &["-o", "ids"]].concat());
    assert_eq!(ids, "8\n7\n");
    let table = shown(&daemon, &list);
    assert!(table.contains("token:noc  mitigation.withdrawn"), "{table}");
    let whole: Value = serde_json::from_str(&shown(&daemon, &["audit", "verify", "-o", "json"])).unwrap();
    assert_eq!(
        (&whole["entries"], &whole["from"]["seq"], &whole["to"]["seq"]),
        (&json!(1007), &json!(3), &json!(1010))
    );
    let output = daemon.ctl(&["audit", "verify", "--from", "5"]);
    assert_eq!(output.status.code(), Some(11));
    assert!(text(&output.stderr).contains("entry 7 was changed"), "{output:?}");
}

#[test]
fn history_says_whose_address_it_is() {
    let item = |kind: &str| json!({"at": AT, "kind": kind, "id": GROUP, "pop": "iad1", "victim_ip": "203.0.113.10", "vector": "udp_flood", "summary": "in words"});
    let history = json!({
        "ip": "203.0.113.10",
        "context": {"customer_id": "acme", "customer_name": "ACME Corp", "service_id": null, "service_name": null,
            "safelisted": [], "suppressions": [], "live": 1},
        "items": [item("event"), item("mitigation")], "count": 2, "next_cursor": null,
    });
    let daemon = Daemon::new([(get("/v1/ip/203.0.113.10/history?limit=100"), ok(&history))]);
    let table = shown(&daemon, &["history", "203.0.113.10"]);
    assert!(
        table.starts_with("Customer          acme (ACME Corp)\n"),
        "{table}"
    );
    assert!(
        table.contains("mitigation  9c01d3e4  iad1  203.0.113.10  udp_flood  in words\n"),
        "{table}"
    );
    let csv = shown(
        &daemon,
        &[
            "history",
            "203.0.113.10",
            "-o",
            "csv",
            "--columns",
            "kind,summary",
        ],
    );
    assert_eq!(csv, "kind,summary\r\nevent,in words\r\nmitigation,in words\r\n");
}

#[test]
fn drift_has_an_exit_code_and_repairs_on_request() {
    let drift = |in_sync: bool, repaired: Value| {
        json!({"at": AT, "in_sync": in_sync, "mitigations": 3, "repaired_total": 2, "repaired": repaired, "neighbors": [
            {"neighbor": "edge1", "desired": 6, "advertised": 6, "missing": 0, "unexplained": 0, "not_advertised": {}},
            {"neighbor": "edge2", "desired": 6, "advertised": if in_sync { 6 } else { 2 }, "missing": 0, "unexplained": 0,
             "not_advertised": if in_sync { json!({}) } else { json!({"session_down": 4}) }},
        ]})
    };
    let daemon = Daemon::new([
        (get("/v1/drift"), ok(&drift(false, Value::Null))),
        (post("/v1/reconcile"), ok(&drift(true, json!(1)))),
    ]);
    let sheet = shown(&daemon, &["drift"]);
    assert!(
        sheet.contains("edge2  6 desired, 2 advertised, 4 session_down\n"),
        "{sheet}"
    );
    let output = daemon.ctl(&["drift", "--exit-code"]);
    assert_eq!(output.status.code(), Some(11));
    assert!(text(&output.stderr).contains("at edge2"), "{output:?}");
    assert_eq!(daemon.exit(&["--readonly", "drift", "--repair"]), 13);
    let sheet = shown(&daemon, &["drift", "--repair", "--exit-code"]);
    assert!(sheet.contains("Repaired now  1\n"), "{sheet}");
}

#[test]
fn counts_pops_and_steps_are_lists() {
    let point = |at: &str, count: u64| json!({"at": at, "count": count});
    let series = json!({"metric": "events", "range": "1h", "bucket_seconds": 300,
        "points": [point(AT, 0), point("2026-01-18T10:34:58.000000Z", 8), point("2026-01-18T10:39:58.000000Z", 2)]});
    let pop = json!({"name": "iad1", "own": true, "head": 812, "last_change_at": AT, "live": 3});
    let step =
        |version: u64, at: Value| json!({"version": version, "description": "first", "installed_at": at});
    let daemon = Daemon::new([
        (get("/v1/stats/timeseries?metric=events&range=1h"), ok(&series)),
        (get("/v1/pops"), ok(&json!({"pops": [pop], "count": 1}))),
        (
            get("/v1/migrations"),
            ok(&json!({"backend": "sqlite", "version": 1, "known": 2, "count": 2,
                "migrations": [step(1, json!(AT)), step(2, Value::Null)]})),
        ),
    ]);
    let asked = ["timeseries", "events", "--range", "1h"];
    let table = shown(&daemon, &asked);
    assert!(table.contains(&format!("8  {}\n", "#".repeat(40))), "{table}");
    assert!(table.contains(&format!("2  {}\n", "#".repeat(10))), "{table}");
    let csv = shown(&daemon, &[&asked[..], &["-o", "csv"]].concat());
    assert!(csv.starts_with(&format!("at,count\r\n{AT},0\r\n")), "{csv}");
    let json: Value = serde_json::from_str(&shown(&daemon, &[&asked[..], &["-o", "json"]].concat())).unwrap();
    assert_eq!(json, series);
    assert_eq!(daemon.exit(&["timeseries", "packets"]), 64);
    assert_eq!(daemon.exit(&["timeseries", "events", "--range", "2h"]), 64);
    assert_eq!(shown(&daemon, &["pops", "-o", "ids"]), "iad1\n");
    let table = shown(&daemon, &["migrations"]);
    assert!(
        table.contains("Version   1 (this prefixd knows 2)\n") && table.contains("not yet"),
        "{table}"
    );
}

#[test]
fn a_report_is_a_text_for_people_and_an_object_for_programs() {
    let report = json!({"at": AT, "pop": "iad1", "scope": {"ip": "203.0.113.10", "customer_id": null, "group_id": null},
        "start": AT, "end": AT, "peak_bps": null, "peak_pps": null, "reports": [], "actions": [], "timeline": [],
        "people": [], "truncated": []});
    let mut text_answer = ok(&Value::Null);
    text_answer.body = "# Incident\n\n- a\u{1b}[2J\n".to_owned();
    let daemon = Daemon::new([
        (
            get("/v1/reports/incident?ip=203.0.113.10&format=markdown"),
            text_answer,
        ),
        (
            get("/v1/reports/incident?ip=203.0.113.10&format=json"),
            ok(&report),
        ),
    ]);
    let asked = ["report", "incident", "--ip", "203.0.113.10"];
    assert_eq!(shown(&daemon, &asked), "# Incident\n\n- a\u{fffd}[2J\n");
    let json: Value = serde_json::from_str(&shown(&daemon, &[&asked[..], &["-o", "json"]].concat())).unwrap();
    assert_eq!(json, report);
    assert_eq!(daemon.exit(&[&asked[..], &["-o", "csv"]].concat()), 64);
}

#[test]
fn a_source_is_paused_with_consent_and_the_number_that_was_agreed_to() {
    let source = json!({"name": "=net flow", "configured": false, "paused": null, "weight": 1.0, "domain": null, "enforce": true,
        "last_seen_at": AT, "events_24h": 12, "outcomes_24h": {"accepted": 12}, "mitigations": 3, "mitigations_alone": 2});
    let answer = json!({"source": "=net flow", "paused": null, "withdrawn": 0});
    let daemon = Daemon::new([
        (get("/v1/sources"), ok(&json!({"sources": [source], "count": 1}))),
        (post("/v1/sources/%3Dnet%20flow/pause"), ok(&answer)),
        (post("/v1/sources/%3Dnet%20flow/resume"), ok(&answer)),
    ]);
    let pause = ["sources", "pause", "=net flow", "--withdraw", "--reason", "r"];
    let resume = ["sources", "resume", "=net flow", "--reason", "r"];
    for arguments in [&pause[..], &resume[..]] {
        assert_eq!(daemon.exit(arguments), 13, "nobody was asked");
        shown(&daemon, &[&["--yes"], arguments].concat());
    }
    assert_eq!(
        daemon.exit(&["sources", "pause", "a", "--expect-count", "1", "--reason", "r"]),
        64
    );
    let sent = daemon.bodies("POST /v1/sources/%3Dnet%20flow/pause");
    assert_eq!(sent, [json!({"reason": "r", "withdraw": true})]);
    let csv = shown(
        &daemon,
        &["sources", "list", "-o", "csv", "--columns", "name,events_24h"],
    );
    assert_eq!(csv, "name,events_24h\r\n'=net flow,12\r\n");
}
