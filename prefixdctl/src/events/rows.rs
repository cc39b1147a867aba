//! How events are shown.

use crate::mitigations::announcements;
use crate::output::{Cell, Column, Place, Row, Tone, View, sheet_of};
use prefixd_api::event::{EventAnswer, EventOutcome, StoredEvent};
use prefixd_api::show::{MAX_TEXT_CHARS, absolute, both, clean, confidence, exact, short_id, si, si_unit};
use prefixd_api::why::{Verdict, Why};

impl Row for StoredEvent {
    const SCHEMA: &'static str = "event_list";

    fn columns() -> &'static [Column<Self>] {
        &[
            Column {
                head: "ID",
                field: "event_id",
                place: Place::Always,
                cell: |e, _| Cell::text(short_id(e.event_id)),
            },
            Column {
                head: "RECEIVED",
                field: "received_at",
                place: Place::Always,
                cell: |e, view| Cell::text(absolute(e.received_at, view.now, view.zone)),
            },
            Column {
                head: "SOURCE",
                field: "source",
                place: Place::Rest,
                cell: |e, _| Cell::text(&e.source),
            },
            Column {
                head: "ACTION",
                field: "action",
                place: Place::Room(4),
                cell: |e, _| Cell::text(e.action.as_str()),
            },
            Column {
                head: "VICTIM",
                field: "victim_ip",
                place: Place::Always,
                cell: |e, _| Cell::text(e.victim_ip.to_string()),
            },
            Column {
                head: "VECTOR",
                field: "vector",
                place: Place::Rest,
                cell: |e, _| Cell::text(&e.vector),
            },
            Column {
                head: "BPS",
                field: "bps",
                place: Place::Room(2),
                cell: |e, _| rate(e.bps.map(|bps| bps.0)),
            },
            Column {
                head: "PPS",
                field: "pps",
                place: Place::Room(5),
                cell: |e, _| rate(e.pps),
            },
            Column {
                head: "CONF",
                field: "confidence",
                place: Place::Room(6),
                cell: |e, _| Cell::number(confidence(e.confidence)),
            },
            Column {
                head: "OUTCOME",
                field: "outcome",
                place: Place::Always,
                cell: |e, _| outcome(&e.outcome),
            },
            Column {
                head: "MITIGATION",
                field: "mitigation_id",
                place: Place::Room(3),
                cell: |e, _| Cell::text(e.mitigation_id.map_or_else(|| "-".to_owned(), short_id)),
            },
            Column {
                head: "EXTERNAL ID",
                field: "external_event_id",
                place: Place::Wide,
                cell: |e, _| Cell::optional(e.external_event_id.as_deref()),
            },
            Column {
                head: "ACTOR",
                field: "actor",
                place: Place::Wide,
                cell: |e, _| Cell::text(&e.actor),
            },
            Column {
                head: "REASON",
                field: "reason",
                place: Place::Wide,
                cell: |e, _| Cell::text(&e.reason),
            },
        ]
    }

    fn id(&self) -> String {
        self.event_id.to_string()
    }
}

impl Row for EventAnswer {
    const SCHEMA: &'static str = "event_answer";

    fn columns() -> &'static [Column<Self>] {
        &[
            Column {
                head: "ID",
                field: "event_id",
                place: Place::Always,
                cell: |a, _| Cell::text(short_id(a.event_id)),
            },
            Column {
                head: "OUTCOME",
                field: "status",
                place: Place::Always,
                cell: |a, _| outcome(&a.status),
            },
            Column {
                head: "MITIGATION",
                field: "mitigation_id",
                place: Place::Always,
                cell: |a, _| Cell::text(a.mitigation_id.map_or_else(|| "-".to_owned(), short_id)),
            },
            Column {
                head: "REASON",
                field: "reason",
                place: Place::Rest,
                cell: |a, _| Cell::text(&a.reason),
            },
        ]
    }

    fn id(&self) -> String {
        self.event_id.to_string()
    }
}

pub(super) fn outcome(outcome: &EventOutcome) -> Cell {
    Cell::text(outcome.as_str()).toned(match outcome {
        EventOutcome::Accepted | EventOutcome::Extended | EventOutcome::Escalated => Tone::Good,
        EventOutcome::RejectedGuardrail => Tone::Bad,
        EventOutcome::Suppressed | EventOutcome::AcceptedPending | EventOutcome::AcceptedNoPlaybook => {
            Tone::Warning
        }
        _ => Tone::Plain,
    })
}

fn rate(value: Option<u64>) -> Cell {
    Cell::number(value.map_or_else(|| "-".to_owned(), si))
}

pub(super) fn answer_sheet(answer: &EventAnswer, view: View) -> String {
    let or_none = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let mut pairs = vec![
        ("Event", answer.event_id.to_string()),
        ("Outcome", answer.status.to_string()),
        (
            "Mitigation",
            or_none(answer.mitigation_id.map(|id| id.to_string())),
        ),
        ("Reason", answer.reason.clone()),
    ];
    if let Some(ends_at) = answer.ends_at {
        pairs.push(("Ends", both(ends_at, view.now, view.zone)));
    }
    sheet_of(&pairs)
}

pub(super) fn event_sheet(event: &StoredEvent, view: View) -> String {
    let or_none = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let ports = |ports: &[u16]| match ports {
        [] => "-".to_owned(),
        ports => ports
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", "),
    };
    sheet_of(&[
        ("Event", event.event_id.to_string()),
        ("External id", or_none(event.external_event_id.clone())),
        ("Source", format!("{}, sent by {}", event.source, event.actor)),
        ("Action", event.action.as_str().to_owned()),
        ("Victim", event.victim_ip.to_string()),
        ("Vector", event.vector.clone()),
        ("Rate", or_none(event.bps.map(|bps| si_unit(bps.0, "bps")))),
        ("Packets", or_none(event.pps.map(|pps| si_unit(pps, "pps")))),
        ("Confidence", confidence(event.confidence)),
        (
            "Protocol",
            or_none(event.protocol.map(|number| number.to_string())),
        ),
        ("Destination ports", ports(&event.top_dst_ports)),
        ("Source ports", ports(&event.top_src_ports)),
        (
            "Timestamp",
            event
                .timestamp
                .map_or_else(|| "-".to_owned(), |at| exact(at, view.zone)),
        ),
        ("Received", both(event.received_at, view.now, view.zone)),
        ("POP", event.pop.clone()),
        ("Outcome", event.outcome.to_string()),
        ("Reason", event.reason.clone()),
        (
            "Mitigation",
            or_none(event.mitigation_id.map(|id| id.to_string())),
        ),
        ("Group", or_none(event.group_id.map(|id| id.to_string()))),
    ])
}

/// A decision for people.
pub(crate) fn why_sheet(why: &Why, view: View) -> String {
    let mut text = sheet_of(&[
        ("Outcome", why.outcome.clone()),
        ("Decided", both(why.decided_at, view.now, view.zone)),
        ("Because", why.summary.clone()),
    ]);
    text.push('\n');
    let width = why
        .steps
        .iter()
        .map(|step| step.stage.chars().count())
        .max()
        .unwrap_or(0);
    for step in &why.steps {
        let verdict = match step.verdict {
            Verdict::Noted => "noted",
            Verdict::Passed => "passed",
            Verdict::Adjusted => "adjusted",
            Verdict::Refused => "REFUSED",
        };
        let line = format!(
            "{:width$}  {verdict:8}  {}  [{}]",
            step.stage, step.text, step.code
        );
        text.push_str(&format!("  {}\n", clean(&line, MAX_TEXT_CHARS)));
    }
    let lines: Vec<String> = announcements(&why.announcements).collect();
    if !lines.is_empty() {
        text.push_str("\nAt the neighbours\n");
    }
    for line in lines {
        text.push_str(&format!("  {}\n", clean(&line, MAX_TEXT_CHARS)));
    }
    text
}
