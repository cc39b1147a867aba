//! Panic, hold and resume.

use crate::scripted::{Daemon, ok, problem};
use serde_json::{Value, json};

fn stopped(scope: &str, state: &str, recorded: bool) -> Value {
    let mut stopped = json!({"scope": scope, "state": state, "reason": "INC-4711", "set_by": "token:noc",
        "set_at": "2026-01-18T10:30:00Z"});
    if !recorded {
        stopped["recorded"] = false.into();
    }
    json!({"breaker": null, "stopped": [stopped]})
}

#[test]
fn each_says_what_it_is_about() {
    let route = ("PUT", "/v1/control".to_owned());
    let daemon = Daemon::new([(route, ok(&stopped("pop", "panic", true)))]);
    for arguments in [
        &["panic", "--reason", "INC-4711", "--yes"][..],
        &["hold", "--customer", "acme", "--reason", "INC-4711", "--yes"],
        &["resume", "--neighbor", "edge1", "--reason", "INC-4711", "--yes"],
    ] {
        assert_eq!(daemon.exit(arguments), 0, "{arguments:?}");
    }
    let said = |scope: &str, state: &str| json!({"scope": scope, "state": state, "reason": "INC-4711"});
    assert_eq!(
        daemon.bodies("PUT /v1/control"),
        [
            said("pop", "panic"),
            said("customer:acme", "hold"),
            said("neighbor:edge1", "running")
        ]
    );
    let refused = &[
        "panic",
        "--customer",
        "a",
        "--neighbor",
        "b",
        "--reason",
        "x",
        "--yes",
    ];
    assert_eq!(daemon.exit(refused), 64);
    assert_eq!(daemon.exit(&["panic", "--reason", " ", "--yes"]), 5);
    assert_eq!(daemon.bodies("PUT /v1/control").len(), 3, "nothing was sent");
}

#[test]
fn a_panic_that_is_not_recorded_is_no_failure_and_no_success() {
    let away = || {
        let refused = problem(503, "store.unavailable", "the database does not take changes");
        (("PUT", "/v1/control".to_owned()), refused)
    };
    let now = |control: &Value| (("GET", "/v1/control".to_owned()), ok(control));
    let panic = &["panic", "--reason", "INC-4711", "--yes"];
    let daemon = Daemon::new([away(), now(&stopped("pop", "panic", false))]);
    let output = daemon.ctl(panic);
    assert_eq!(output.status.code(), Some(10));
    let (told, warned) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    assert!(
        told.contains("PANIC") && told.contains("NOT RECORDED YET"),
        "{told}"
    );
    assert!(warned.contains("in force, but not recorded"), "{warned}");
    // One that is not in force is a failure like any other.
    let daemon = Daemon::new([away(), now(&json!({"breaker": null, "stopped": []}))]);
    assert_eq!(daemon.exit(panic), 1);
}

/// A panic does not reach a router without a session that keeps its rules.
#[test]
fn who_may_hold_rules_in_a_panic_is_named() {
    let mut control = stopped("pop", "panic", true);
    control["may_hold"] = json!([{"neighbor": "edge2", "until": "2026-01-18T10:32:00Z"}]);
    let daemon = Daemon::new([(("PUT", "/v1/control".to_owned()), ok(&control))]);
    let panic = daemon.ctl(&["panic", "--reason", "INC-4711", "--yes"]);
    let told = String::from_utf8(panic.stdout).unwrap();
    let held = "edge2 MAY HOLD what it was told until 2026-01-18T10:32:00.000000Z";
    assert!(
        told.contains(held) && told.contains("docs/break-glass.md"),
        "{told}"
    );
}

#[test]
fn the_state_is_shown() {
    let control = stopped("customer:acme", "hold", true);
    let daemon = Daemon::new([(("GET", "/v1/control".to_owned()), ok(&control))]);
    let told = String::from_utf8(daemon.ctl(&["control"]).stdout).unwrap();
    assert!(told.starts_with("customer acme: HOLD"), "{told}");
    let daemon = Daemon::new([(("GET", "/v1/control".to_owned()), ok(&json!({"breaker": null})))]);
    let told = String::from_utf8(daemon.ctl(&["control"]).stdout).unwrap();
    assert_eq!(told, "running: nothing is stopped\n");
}
