use super::*;
use crate::store::tests::at;
use crate::store::tests::fixture::{Attack, host};
use prefixd_api::event::{EventAction, EventOutcome};
use prefixd_api::rate::BitsPerSecond;
use serde_json::json;
use std::sync::Arc;

fn entry(seq: u64, second: u64, actor: &str, kind: &str, body: Value) -> TimelineEntry {
    TimelineEntry {
        seq,
        at: at(second),
        actor: actor.to_owned(),
        kind: format!("mitigation.{kind}"),
        body,
    }
}

/// One attack, reported three times by two detectors, renewed, escalated, and withdrawn by anna.
fn material() -> Material {
    let attack = Attack::new(host(1), "udp_flood", at(10));
    let mut events = vec![StoredEvent::clone(&attack.event); 3];
    events[0].received_at = at(30);
    events[0].bps = Some(BitsPerSecond(2_000_000_000));
    events[1].received_at = at(20);
    events[1].outcome = EventOutcome::Extended;
    events[2].received_at = at(25);
    events[2].source = "net|flow <b>".to_owned();
    events[2].action = EventAction::Ban;
    events[2].bps = None;
    let mut mitigation = Arc::unwrap_or_clone(Arc::clone(&attack.mitigation));
    mitigation.ended_at = Some(at(50));
    mitigation.ended_by = Some("uid:1000(anna)".into());
    mitigation.end_note = Some("false positive [#7](http://x)".into());
    let whole = json!({ "mitigation": attack.mitigation.as_ref() });
    let changed = |changes: Value| json!({"mitigation_id": mitigation.mitigation_id, "revision": 2, "changes": changes});
    let entries = vec![
        entry(2, 10, "token:fastnetmon", "created", whole),
        entry(
            4,
            20,
            "token:fastnetmon",
            "updated",
            changed(json!({"expires_at": at(400), "claims": []})),
        ),
        entry(
            6,
            30,
            "prefixd",
            "escalated",
            changed(json!({"step": 2, "action_type": "discard"})),
        ),
        entry(
            9,
            50,
            "uid:1000(anna)",
            "withdrawn",
            changed(json!({"end_reason": "operator", "end_note": "false positive"})),
        ),
        entry(
            12,
            90,
            "prefixd",
            "updated",
            changed(json!({"external_ref": "later"})),
        ),
    ];
    Material {
        at: at(100),
        pop: "iad1".to_owned(),
        scope: ReportScope {
            ip: Some("10.0.0.1".to_owned()),
            ..ReportScope::default()
        },
        start: at(0),
        end: at(60),
        events,
        mitigations: vec![(mitigation, entries)],
        truncated: vec!["5,000 reports of more".to_owned()],
    }
}

#[test]
fn who_said_what_who_did_what_and_when() {
    let report = incident(material());
    let said: Vec<_> = report
        .reports
        .iter()
        .map(|by| {
            (
                by.source.as_str(),
                by.events,
                by.first_at,
                by.last_at,
                by.peak_bps.map(|bps| bps.0),
            )
        })
        .collect();
    assert_eq!(
        said,
        [
            ("fastnetmon", 2, at(20), at(30), Some(2_000_000_000)),
            ("net|flow <b>", 1, at(25), at(25), None)
        ]
    );
    assert_eq!(
        report.reports[0].outcomes,
        [("accepted".to_owned(), 1), ("extended".to_owned(), 1)].into()
    );
    assert_eq!(report.peak_bps, Some(BitsPerSecond(2_000_000_000)));
    let lines: Vec<_> = report
        .timeline
        .iter()
        .map(|line| (line.at, line.actor.as_str(), line.what.as_str()))
        .collect();
    assert_eq!(
        lines,
        [
            (
                at(10),
                "token:fastnetmon",
                "began: policed at 5 Mbit/s by udp_flood_police_first"
            ),
            (at(30), "prefixd", "went to step 2, action discard"),
            (at(50), "uid:1000(anna)", "withdrawn, operator, false positive"),
        ],
        "a renewal is no line, and what came later is not of this time"
    );
    assert_eq!(
        report.people,
        ["uid:1000(anna)"],
        "neither prefixd nor a detector is a person"
    );
    assert_eq!(report.actions.len(), 1);
}

/// docs/api.md promises the people who changed something, and every change.
#[test]
fn all_that_people_did_is_told_with_their_words() {
    let mut material = material();
    let rule = json!({
        "match": {"dst_prefix": "10.0.0.1/32", "protocols": [17]}, "action_type": "police", "rate_bps": 9_000_000,
    });
    let changed = |changes: Value| json!({"revision": 2, "changes": changes});
    let said = |changes: Value| json!({"revision": 2, "changes": changes, "reason": "INC-7"});
    let one = json!({"at": at(1), "by": "x", "text": "first"});
    let two = json!({"at": at(2), "by": "x", "text": "second"});
    let bodies = [
        ("updated", said(json!({"claims": [], "expires_at": "T"}))),
        ("updated", said(json!({"rules": [rule], "claims": []}))),
        (
            "noted",
            changed(json!({"notes": [one, two], "external_ref": "T-1"})),
        ),
        ("noted", changed(json!({"notes": [one, two]}))),
        ("updated", changed(json!({"claimed": {"at": at(1), "by": "ann"}}))),
        ("updated", changed(json!({"claimed": null}))),
        (
            "acknowledged",
            changed(json!({"acknowledged_at": null, "acknowledged_by": null})),
        ),
        (
            "withdrawn",
            changed(json!({"end_reason": "operator", "end_note": "over", "confirm_by": "T"})),
        ),
        ("updated", said(json!({"confirm_by": null}))),
    ];
    let expected = [
        "lasts until T, INC-7",
        "rules: dst 10.0.0.1/32 proto udp then police 9 Mbit/s, INC-7",
        "ticket T-1, note: second",
        "note: second",
        "taken in hand by ann",
        "let go",
        "not acknowledged any more",
        "withdrawn, operator, over, undone at T unless somebody confirms it",
        "waits no longer to be confirmed, INC-7",
    ];
    // Each by somebody else, who reported something, too.
    let entries = (0u64..).zip(bodies);
    material.mitigations[0].1 = entries
        .map(|(place, (kind, body))| entry(place, 10 + place, &format!("p{place}"), kind, body))
        .collect();
    material.events[0].actor = "p1".to_owned();
    let report = incident(material);
    let lines: Vec<_> = report.timeline.iter().map(|line| line.what.as_str()).collect();
    assert_eq!(lines, expected);
    assert_eq!(
        report.people,
        ["p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7", "p8"]
    );
}

/// The operator's extension is still among the claims when a detector's report takes the next step.
#[test]
fn who_reports_is_nobody_who_changed_something() {
    let people = |lives_until: Value| {
        let mut material = material();
        let claims = json!([{"kind": "operator", "lives_until": lives_until}, {"kind": "event"}]);
        let changed = json!({"step": 2, "claims": claims, "why_summary": "step 2"});
        let body = json!({"revision": 3, "changes": changed});
        material.mitigations[0].1 = vec![entry(3, 15, "token:fnm", "escalated", body)];
        incident(material).people
    };
    assert!(people(json!(at(900))).is_empty());
    assert_eq!(people(Value::Null), ["token:fnm"], "an adjustment");
}

#[test]
fn who_ended_the_waiting_is_told_apart() {
    let promoted_by = |kind: &str| {
        let mut material = material();
        let changed = json!({"status": "active", "claims": [{"kind": kind}, {"kind": "event"}]});
        let body = json!({"revision": 2, "changes": changed});
        material.mitigations[0].1 = vec![entry(3, 15, "uid:1000(anna)", "promoted", body)];
        incident(material).timeline.remove(0).what
    };
    assert_eq!(promoted_by("event"), "confirmed by another source");
    assert_eq!(
        promoted_by("operator"),
        "announced by an operator, who waited for no other source"
    );
}

#[test]
fn markdown_says_it_and_obeys_nothing() {
    let text = markdown(&incident(material()));
    for part in [
        "# Incident report: 10.0.0.1\n",
        "From 2026-01-01 00:00:00 to 2026-01-01 00:01:00 (UTC), POP iad1.",
        "- Peak: 2.00 Gbps, 800 kpps\n",
        "- People who changed something: uid:1000(anna)\n",
        "- **Not complete**: 5,000 reports of more\n",
        "| net\\|flow \\<b\\> | 10.0.0.1 | udp\\_flood | 1 |",
        "by uid:1000(anna): - (false positive \\[\\#7\\](http://x))",
        "- Routers: not recorded whether one had it\n",
        "| 2026-01-01 00:00:30 | 10.0.0.1 | prefixd | went to step 2, action discard |",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert!(!text.contains('\u{1b}'));
}
