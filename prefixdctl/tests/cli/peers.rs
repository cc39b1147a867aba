//! Orders to neighbours, and what they hold.

use crate::scripted::{Answer, Daemon, get, ok, post, problem};
use serde_json::{Value, json};

fn peer(state: &str, disabled: &Value) -> Value {
    json!({
        "name": "edge1", "address": "192.0.2.1", "peer_asn": 65001, "state": state, "since": "2026-01-18T10:00:00Z",
        "router_id": null, "hold_time_seconds": null, "families": [], "capabilities": [], "enforce": true,
        "disabled": disabled, "rules_desired": 9, "rules_advertised": 9, "rules_queued": 0, "rules_unsupported": 0,
        "rules_over_budget": 2, "rules_displaced": 1, "rules_budget": 11, "rules_quarantined": 1, "rules_on_probation": 3, "parked": [{
            "nlri": "060120cb007101", "afi_safi": "ipv4-flowspec", "since": "2026-01-18T09:00:00Z",
            "until": "2026-01-18T13:00:00Z", "times": 1, "why": "the router ended the session: 3/9 x\u{1b}[2J"
        }],
        "rules_by_family": {
            "ipv4-flowspec": {
                "desired": 7, "advertised": 4, "queued": 0, "unsupported": 0, "over_budget": 2, "displaced": 1,
                "quarantined": 1, "on_probation": 0, "waiting": 0
            },
            "ipv6-flowspec": {
                "desired": 2, "advertised": 2, "queued": 0, "unsupported": 0, "over_budget": 0, "displaced": 0,
                "quarantined": 0, "on_probation": 0, "waiting": 0
            }
        },
        "established_total": 4, "flaps": 3, "flaps_by_cause": {"received_6_2": 3},
        "on_loss": {"keeps_seconds": 0, "because": "graceful_restart is false for this neighbour"},
        "counters": {}, "last_error": null, "last_error_at": null,
        "session": {
            "local": "192.0.2.10:4000", "remote": "192.0.2.1:179", "dialled": true, "offered": ["ipv4-flowspec", "4-octet-as"], "four_octet_as": true,
            "enhanced_refresh": true, "md5": true, "ttl_security": false
        },
        "last_received": {
            "at": "2026-01-18T10:00:00Z", "code": 6, "subcode": 2, "meaning": "Administrative Shutdown",
            "text": "INC-1\u{1b}[2J"
        },
        "last_sent": null, "retry_at": null,
        "history": [{"at": "2026-01-18T09:00:00Z", "last_at": "2026-01-18T10:00:00Z", "times": 7, "what": "no session: x"}]
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

const SHOW: &str = "/v1/peers/edge1";

fn path(order: &str) -> String {
    format!("{SHOW}/{order}")
}

#[test]
fn each_order_goes_to_its_route_with_its_reason() {
    for order in ["disable", "enable", "reset", "resend", "release"] {
        let answer = ok(&peer("established", &Value::Null));
        let daemon = Daemon::new([(post(&path(order)), answer)]);
        let output = daemon.ctl(&["peers", order, "edge1", "--reason", "INC-4711", "--yes"]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert_eq!(
            daemon.bodies(&format!("POST {}", path(order))),
            [json!({"reason": "INC-4711"})]
        );
        assert!(text(&output.stderr).starts_with("edge1"), "{output:?}");
    }
}

#[test]
fn one_family_is_sent_again() {
    let resend = |families: Value, family: &str| {
        let mut answer = peer("established", &Value::Null);
        answer["families"] = families;
        let daemon = Daemon::new([(post(&path("resend")), ok(&answer))]);
        let output = daemon.ctl(&["peers", "resend", "edge1", "--family", family, "--reason", "r"]);
        (
            output.status.code(),
            text(&output.stderr),
            daemon.bodies(&format!("POST {}", path("resend"))),
        )
    };
    let (exit, said, bodies) = resend(json!(["ipv6-flowspec"]), "ipv6-flowspec");
    assert_eq!(
        (exit, bodies),
        (Some(0), vec![json!({"reason": "r", "afi_safi": "ipv6-flowspec"})])
    );
    assert!(
        said.contains("every rule of ipv6-flowspec is sent again"),
        "{said}"
    );
    let (_, said, _) = resend(json!(["ipv4-flowspec"]), "ipv6-flowspec");
    assert!(said.contains("did not agree on ipv6-flowspec"), "{said}");
    let (exit, said, bodies) = resend(json!([]), "ipv6");
    assert_eq!((exit, bodies.len()), (Some(64), 0));
    assert!(said.contains("known: ipv4-flowspec"), "{said}");
}

#[test]
fn only_what_takes_rules_away_asks() {
    for (order, asks) in [
        ("disable", true),
        ("reset", true),
        ("enable", false),
        ("resend", false),
        ("release", true),
    ] {
        let answer = || ok(&peer("established", &Value::Null));
        let daemon = Daemon::new([(get(SHOW), answer()), (post(&path(order)), answer())]);
        let exit = daemon.exit(&["peers", order, "edge1", "--reason", "r", "--no-input"]);
        let posted = daemon.bodies(&format!("POST {}", path(order))).len();
        assert_eq!((exit, posted), if asks { (13, 0) } else { (0, 1) }, "{order}");
    }
    let daemon = Daemon::new([]);
    let readonly = ["--readonly", "peers", "enable", "edge1", "--reason", "r"];
    assert_eq!(daemon.exit(&readonly), 13);
    assert_eq!(
        daemon.exit(&["peers", "reset", "edge1", "--reason", " ", "--yes"]),
        5
    );
    assert_eq!(daemon.exit(&["peers", "reset", "edge1", "--yes"]), 64);
    assert!(daemon.requests().is_empty());
}

#[test]
fn refusals_have_their_exit_codes() {
    for (status, code, exit) in [
        (404, "not_found", 4),
        (409, "conflict.disabled", 7),
        (403, "auth.forbidden", 8),
    ] {
        let daemon = Daemon::new([(post(&path("reset")), problem(status, code, "no"))]);
        assert_eq!(
            daemon.exit(&["peers", "reset", "edge1", "--reason", "r", "--yes"]),
            exit
        );
    }
}

#[test]
fn a_neighbour_is_shown_with_what_happened_to_it() {
    let disabled = json!({
        "neighbor": "edge1", "reason": "line card", "disabled_by": "token:noc", "disabled_at": "2026-01-18T10:00:00Z"
    });
    let daemon = Daemon::new([(get(SHOW), ok(&peer("disabled", &disabled)))]);
    let shown = text(&daemon.ctl(&["peers", "show", "edge1"]).stdout);
    for part in [
        "disabled since",
        "by token:noc at",
        "line card",
        "2 over budget, 1 quarantined, 3 on probation",
        "11 rules at most, 1 displaced by more important ones",
        "ipv4-flowspec  7 desired, 4 advertised, 0 queued, 2 over budget, 1 displaced, 1 quarantined\n",
        "ipv6-flowspec  2 desired, 2 advertised, 0 queued\n",
        "060120cb007101",
        "3/9 x",
        "drops the rules at once: graceful_restart is false for this neighbour",
        "received_6_2 3",
        "6/2 Administrative Shutdown: INC-1",
        "192.0.2.10:4000 to 192.0.2.1:179, we dialled",
        "ipv4-flowspec, 4-octet-as",
        "(7 times)",
        "no session: x",
    ] {
        assert!(shown.contains(part), "{part} is missing:\n{shown}");
    }
    assert!(!shown.contains('\u{1b}'), "{shown}");
    let row = text(&daemon.ctl(&["peers", "show", "edge1", "-o", "csv"]).stdout);
    assert!(
        row.starts_with("name,address,peer_asn,state,") && row.contains("\nedge1,192.0.2.1,65001,disabled,"),
        "{row}"
    );
    let list = json!({"peers": [peer("disabled", &disabled)], "count": 1});
    let daemon = Daemon::new([(get("/v1/peers"), ok(&list))]);
    let listed = text(&daemon.ctl(&["peers", "list", "-o", "wide"]).stdout);
    assert!(listed.contains("disabled by token:noc: line card"), "{listed}");
    assert!(listed.contains(" drops "), "{listed}");

    let mut keeping = peer("established", &Value::Null);
    keeping["on_loss"] = json!({"keeps_seconds": 120, "because": "the router agreed"});
    let daemon = Daemon::new([(get(SHOW), ok(&keeping))]);
    let shown = text(&daemon.ctl(&["peers", "show", "edge1"]).stdout);
    assert!(
        shown.contains("keeps the rules for 120s: the router agreed"),
        "{shown}"
    );
    let list = json!({"peers": [keeping], "count": 1});
    let daemon = Daemon::new([(get("/v1/peers"), ok(&list))]);
    let listed = text(&daemon.ctl(&["peers", "list", "-o", "wide"]).stdout);
    assert!(listed.contains(" keeps 120s "), "{listed}");
}

/// A session that was lost in silence: nobody is to think that a withdrawn rule is gone.
#[test]
fn a_neighbour_that_may_hold_rules_says_so() {
    let mut lost = peer("idle", &Value::Null);
    lost["on_loss"] = json!({"keeps_seconds": 120, "because": "the router agreed"});
    lost["may_hold_until"] = json!("2999-01-18T10:02:00Z");
    let daemon = Daemon::new([(get(SHOW), ok(&lost))]);
    let shown = text(&daemon.ctl(&["peers", "show", "edge1"]).stdout);
    for part in [
        "May hold rules",
        "2999-01-18",
        "a withdrawal does not reach the router",
    ] {
        assert!(shown.contains(part), "{part} is missing:\n{shown}");
    }
    let list = json!({"peers": [lost], "count": 1});
    let daemon = Daemon::new([(get("/v1/peers"), ok(&list))]);
    let listed = text(&daemon.ctl(&["peers", "list", "-o", "wide"]).stdout);
    assert!(listed.contains("MAY HOLD "), "{listed}");
}

#[test]
fn the_rib_is_listed_page_by_page() {
    let route = |nlri: &str, state: &str| {
        json!({
            "nlri": nlri, "afi_safi": "ipv4-flowspec", "rule": "dst 203.0.113.10/32 discard", "action": null, "state": state,
            "reason": null, "written_at": null, "until": null, "mitigations": []
        })
    };
    let page =
        |routes: Value, next: Option<&str>| ok(&json!({"routes": routes, "count": 1, "next_cursor": next}));
    let first = format!("{SHOW}/rib?limit=1000");
    let second = format!("{SHOW}/rib?limit=1000&cursor=ipv4-flowspec%3A01");
    let daemon = Daemon::new([
        (
            get(&first),
            page(json!([route("01", "advertised")]), Some("ipv4-flowspec:01")),
        ),
        (get(&second), page(json!([route("02", "session_down")]), None)),
    ]);
    let ids = daemon.ctl(&["peers", "rib", "edge1", "--all", "-o", "ids"]);
    assert_eq!(text(&ids.stdout), "01\n02\n", "{ids:?}");

    let filtered = format!("{SHOW}/rib?state=queued%2Crefused&afi_safi=ipv6-flowspec&limit=100");
    let daemon = Daemon::new([(get(&filtered), page(json!([route("03", "queued")]), None))]);
    let ids = daemon.ctl(&[
        "peers",
        "rib",
        "edge1",
        "--state",
        "queued,refused",
        "--family",
        "ipv6-flowspec",
        "-o",
        "ids",
    ]);
    assert_eq!(text(&ids.stdout), "03\n", "{ids:?}");
}

#[test]
fn messages_go_to_a_file_or_to_standard_output() {
    let route = path("dump?seconds=5&max_bytes=8388608");
    let records = Answer {
        status: 200,
        headers: vec![("content-type", "application/octet-stream".to_owned())],
        body: "records".to_owned(),
    };
    let daemon = Daemon::new([(get(&route), records)]);
    let to = |file: &str| daemon.ctl(&["peers", "dump", "edge1", "--seconds", "5", "--file", file]);
    let piped = to("-");
    assert_eq!(
        (piped.status.code(), text(&piped.stdout)),
        (Some(0), "records".to_owned())
    );

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("edge1.mrt");
    let file = file.to_str().unwrap();
    let written = to(file);
    assert_eq!(written.status.code(), Some(0), "{written:?}");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "records");
    assert_eq!(to(file).status.code(), Some(5), "what is there stays");

    let refused = dir.path().join("other.mrt");
    let busy = Daemon::new([(get(&route), problem(503, "limit.queue", "one dump at a time"))]);
    let refused = refused.to_str().unwrap();
    let code = busy.exit(&["peers", "dump", "edge1", "--seconds", "5", "--file", refused]);
    assert_ne!(code, 0);
    assert!(
        !std::path::Path::new(refused).exists(),
        "a refusal leaves no file"
    );
}
