//! Waiting until neighbours have been told.

use crate::scripted::{Answer, Daemon, get, ok, post};
use serde_json::{Value, json};

const ID: &str = "0199a8b2-7c31-7e55-8a4d-2f6b9c01d3e4";
const NLRI: &str = "060120cb00710a";
const RIB: &str = "/v1/peers/edge1/rib?state=withdrawing&limit=1000";

fn mitigation(advertised: u32) -> Value {
    let mut mitigation: Value = serde_json::from_str(include_str!("../data/mitigation.json")).unwrap();
    mitigation["delivery"] = json!({"established": 2, "advertised": advertised, "unsupported": 0});
    mitigation
}

fn detail(advertised: u32, state: &str) -> Answer {
    let mut detail = mitigation(advertised);
    for list in ["previews", "timeline"] {
        detail[list] = json!([]);
    }
    detail["announcements"] = json!([{"neighbor": "edge1", "rule": "dst 203.0.113.10/32 then discard", "nlri": NLRI, "state": state,
        "reason": (state != "advertised").then_some("it reads slowly")}]);
    ok(&detail)
}

fn shown() -> (&'static str, String) {
    get(&format!("/v1/mitigations/{ID}"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn create(answers: impl IntoIterator<Item = Answer>, wait: &str) -> (Option<i32>, String, String, usize) {
    let made = Answer {
        status: 201,
        ..ok(&mitigation(0))
    };
    let routes = answers.into_iter().map(|answer| (shown(), answer));
    let daemon = Daemon::new(routes.chain([(post("/v1/mitigations"), made)]));
    let output = daemon.ctl(&[
        "mit",
        "create",
        "--victim",
        "203.0.113.10",
        "--reason",
        "r",
        "--yes",
        wait,
    ]);
    let looks = daemon.requests().len() - 1;
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
        looks,
    )
}

#[test]
fn a_creation_waits_until_every_neighbour_was_told() {
    let answers = [detail(0, "queued"), detail(1, "queued"), detail(2, "advertised")];
    let (exit, shown, said, looks) = create(answers, "--wait");
    assert_eq!((exit, looks), (Some(0), 3), "{said}");
    assert!(shown.contains("203.0.113.10"), "{shown}");
}

#[test]
fn what_was_not_told_in_time_is_named_and_the_mitigation_shown() {
    let (exit, shown, said, _) = create([detail(1, "queued")], "--wait=1s");
    assert_eq!(exit, Some(12), "{said}");
    assert!(shown.contains("203.0.113.10"), "{shown}");
    assert!(said.contains("edge1 queued: it reads slowly"), "{said}");
}

#[test]
fn nothing_is_waited_for_where_nothing_is_to_be_announced() {
    let mut tried = mitigation(0);
    tried["enforced"] = false.into();
    for list in ["previews", "timeline", "announcements"] {
        tried[list] = json!([]);
    }
    let (exit, _, said, looks) = create([ok(&tried)], "--wait");
    assert_eq!((exit, looks), (Some(0), 1), "{said}");
}

fn rib(state: &str, owners: &Value) -> Answer {
    ok(
        &json!({"routes": [{"nlri": NLRI, "afi_safi": "ipv4-flowspec", "rule": null, "action": null, "state": state, "reason": null,
        "written_at": null, "until": null, "mitigations": owners}], "count": 1, "next_cursor": null}),
    )
}

fn withdraw(ribs: impl IntoIterator<Item = Answer>, wait: &str) -> (Option<i32>, String, usize) {
    withdraw_to(ok(&mitigation(0)), ribs, wait)
}

fn withdraw_to(
    ended: Answer,
    ribs: impl IntoIterator<Item = Answer>,
    wait: &str,
) -> (Option<i32>, String, usize) {
    let ribs = ribs.into_iter().map(|answer| (get(RIB), answer));
    let daemon = Daemon::new(ribs.chain([
        (shown(), detail(2, "advertised")),
        (post(&format!("/v1/mitigations/{ID}/withdraw")), ended),
    ]));
    let output = daemon.ctl(&["mit", "withdraw", ID, "--reason", "r", "--yes", wait]);
    let asked = daemon.requests();
    let looks = asked
        .iter()
        .filter(|(route, _)| *route == format!("GET {RIB}"))
        .count();
    (output.status.code(), text(&output.stderr), looks)
}

#[test]
fn a_withdrawal_waits_until_nothing_waits_to_be_taken_back() {
    let nobody = json!([]);
    let gone = ok(&json!({"routes": [], "count": 0, "next_cursor": null}));
    let (exit, said, looks) = withdraw([rib("withdrawing", &nobody), gone], "--wait");
    assert_eq!((exit, looks), (Some(0), 2), "{said}");

    let (exit, said, _) = withdraw([rib("withdrawing", &nobody)], "--wait=1s");
    assert_eq!(exit, Some(12), "{said}");
    assert!(said.contains("edge1 1"), "{said}");

    // A router without a session is not told at all.
    let mut ended = mitigation(0);
    ended["may_hold"] = json!([{"neighbor": "edge1", "until": "2026-01-18T12:00:00Z"}]);
    let gone = ok(&json!({"routes": [], "count": 0, "next_cursor": null}));
    let (exit, said, _) = withdraw_to(ok(&ended), [gone], "--wait");
    assert_eq!(exit, Some(12), "{said}");
    assert!(said.contains("MAY STILL BE THERE: edge1"), "{said}");

    // Another mitigation wants it: it stays, and is not waited for.
    let (exit, said, looks) = withdraw([rib("advertised", &json!([ID]))], "--wait");
    assert_eq!((exit, looks), (Some(0), 1), "{said}");
}
