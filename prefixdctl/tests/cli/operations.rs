//! What people do with mitigations that exist.

use crate::scripted::{Daemon, ok, problem};
use serde_json::{Value, json};

const FIRST: &str = "01890a5d-ac96-774b-bcce-b302099a8057";
const SECOND: &str = "01890a5d-ac96-774b-bcce-b302099a8058";

fn mitigation(id: &str) -> Value {
    let mut mitigation: Value = serde_json::from_str(include_str!("../data/mitigation.json")).unwrap();
    mitigation["mitigation_id"] = id.into();
    mitigation
}

fn post(path: &str) -> (&'static str, String) {
    ("POST", format!("/v1/mitigations/{path}"))
}

fn results(second: &Value) -> Value {
    json!({"results": [{"mitigation_id": FIRST, "done": true, "mitigation": mitigation(FIRST)}, second],
        "count": 2, "failed": usize::from(second["done"] == false)})
}

fn failed(id: &str) -> Value {
    json!({"mitigation_id": id, "done": false, "problem": {"type": "about:blank", "title": "t", "status": 409,
        "code": "conflict.ended", "detail": "it has ended", "request_id": null, "retry_after_seconds": null}})
}

#[test]
fn requests_carry_what_was_asked() {
    let one = |what: &str| (post(&format!("{FIRST}/{what}")), ok(&mitigation(FIRST)));
    let done = json!({"mitigation_id": SECOND, "done": true, "mitigation": mitigation(SECOND)});
    let daemon = Daemon::new([
        one("extend"),
        one("adjust"),
        one("notes"),
        one("claim"),
        one("release"),
        (post("acknowledge"), ok(&results(&done))),
    ]);
    for (arguments, route, body) in [
        (
            &[
                "extend",
                FIRST,
                "--ttl",
                "1h",
                "--reason",
                "INC-4711",
                "--if-revision",
                "3",
                "--yes",
            ][..],
            "extend",
            json!({"ttl_seconds": 3600, "reason": "INC-4711", "expected_revision": 3}),
        ),
        (
            &[
                "adjust",
                FIRST,
                "--rate",
                "20M",
                "--ports",
                "any",
                "--src-ports",
                "53,1000-2000",
                "--sample=false",
                "--ttl",
                "10m",
                "--reason",
                "INC-4711",
                "--yes",
            ],
            "adjust",
            json!({"rate_bps": 20_000_000, "dst_ports": [], "src_ports": ["53", "1000-2000"], "sample": false,
                "ttl_seconds": 600, "reason": "INC-4711"}),
        ),
        (
            &["note", FIRST, "called them"],
            "notes",
            json!({"text": "called them"}),
        ),
        (
            &["note", FIRST, "--ticket", "INC-4711"],
            "notes",
            json!({"external_ref": "INC-4711"}),
        ),
        (&["claim", FIRST], "claim", json!({"force": false})),
        (&["release", FIRST, "--force"], "release", json!({"force": true})),
    ] {
        let all: Vec<&str> = [&["mit"], arguments].concat();
        assert_eq!(daemon.exit(&all), 0, "{arguments:?}");
        let sent = daemon.bodies(&format!("POST /v1/mitigations/{FIRST}/{route}"));
        assert_eq!(sent.last(), Some(&body), "{arguments:?}");
    }
    assert_eq!(daemon.exit(&["mit", "ack", FIRST, SECOND, FIRST]), 0);
    assert_eq!(daemon.exit(&["mit", "unack", FIRST]), 0);
    assert_eq!(
        daemon.bodies("POST /v1/mitigations/acknowledge"),
        [
            json!({"ids": [FIRST, SECOND], "acknowledged": true}),
            json!({"ids": [FIRST], "acknowledged": false})
        ]
    );
    assert_eq!(daemon.exit(&["mit", "note", FIRST]), 64);
    assert_eq!(
        daemon.exit(&["mit", "adjust", FIRST, "--reason", "INC-4711", "--yes"]),
        5,
        "nothing is to change"
    );
    assert_eq!(
        daemon.exit(&[
            "--readonly",
            "mit",
            "extend",
            FIRST,
            "--ttl",
            "1h",
            "--reason",
            "x",
            "--yes"
        ]),
        13
    );
}

#[test]
fn what_was_not_done_shows_in_the_exit_code() {
    let daemon = Daemon::new([(post("acknowledge"), ok(&results(&failed(SECOND))))]);
    let output = daemon.ctl(&["mit", "ack", FIRST, SECOND]);
    assert_eq!(output.status.code(), Some(10));
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.contains("done") && told.contains("conflict.ended"), "{told}");
    let all = json!({"results": [failed(FIRST)], "count": 1, "failed": 1});
    let daemon = Daemon::new([(post("acknowledge"), ok(&all))]);
    assert_eq!(daemon.exit(&["mit", "ack", FIRST]), 7);
}

#[test]
fn all_that_are_alike_are_counted_before_they_are_withdrawn() {
    let refused = problem(
        409,
        "conflict.expect_count",
        "the filter means 3 mitigations, not 2",
    );
    let daemon = Daemon::new([(post("withdraw"), refused)]);
    let sure = [
        "mit",
        "withdraw-all",
        "--source",
        "fastnetmon",
        "--reason",
        "misfire",
        "--expect-count",
        "2",
        "--yes",
    ];
    assert_eq!(daemon.exit(&sure), 7);
    assert_eq!(
        daemon.bodies("POST /v1/mitigations/withdraw"),
        [json!({"filter": {"source": "fastnetmon"}, "expect_count": 2, "reason": "misfire"})]
    );
    // Nobody is there to be asked, and nobody said how many.
    assert_eq!(
        daemon.exit(&["mit", "withdraw-all", "--source", "x", "--reason", "r", "--yes"]),
        64
    );
    assert_eq!(
        daemon.exit(&[
            "mit",
            "withdraw-all",
            "--reason",
            "r",
            "--expect-count",
            "1",
            "--yes"
        ]),
        64
    );
    assert_eq!(daemon.bodies("POST /v1/mitigations/withdraw").len(), 1);
}
