//! Columns of the list.

use crate::output::{Cell, Column, Place, Row, Tone, View};
use prefixd_api::mitigation::{EndReason, Mitigation, MitigationDetail, MitigationStatus, Severity};
use prefixd_api::rule::ActionType;
use prefixd_api::show::{absolute, confidence, relative, remaining, short_id, si};

impl Row for Mitigation {
    const SCHEMA: &'static str = "mitigation_list";

    fn columns() -> &'static [Column<Self>] {
        &[
            Column {
                head: "ID",
                field: "mitigation_id",
                place: Place::Always,
                cell: |m, _| Cell::text(short_id(m.mitigation_id)),
            },
            Column {
                head: "STATUS",
                field: "status",
                place: Place::Always,
                cell: |m, _| status(m),
            },
            Column {
                head: "VICTIM",
                field: "victim_ip",
                place: Place::Always,
                cell: |m, _| Cell::text(m.victim_ip.to_string()),
            },
            Column {
                head: "VECTOR",
                field: "vector",
                place: Place::Rest,
                cell: |m, _| Cell::text(m.vector.as_str()),
            },
            Column {
                head: "ACTION",
                field: "action_type",
                place: Place::Always,
                cell: |m, _| Cell::text(action(m)),
            },
            Column {
                head: "LEFT",
                field: "expires_at",
                place: Place::Always,
                cell: left,
            },
            Column {
                head: "BPS",
                field: "observed.bps",
                place: Place::Room(1),
                cell: |m, _| rate(m.observed.bps.map(|bps| bps.0)),
            },
            Column {
                head: "PPS",
                field: "observed.pps",
                place: Place::Room(6),
                cell: |m, _| rate(m.observed.pps),
            },
            Column {
                head: "PEERS",
                field: "delivery.advertised",
                place: Place::Room(2),
                cell: |m, _| peers(m),
            },
            Column {
                head: "SEVERITY",
                field: "severity",
                place: Place::Room(3),
                cell: |m, _| severity(m.severity),
            },
            Column {
                head: "CUSTOMER",
                field: "customer_id",
                place: Place::Room(4),
                cell: |m, _| Cell::optional(m.customer_id.as_deref()),
            },
            Column {
                head: "CONF",
                field: "confidence",
                place: Place::Room(5),
                cell: |m, _| Cell::number(confidence(m.confidence)),
            },
            Column {
                head: "SERVICE",
                field: "service_id",
                place: Place::Wide,
                cell: |m, _| Cell::optional(m.service_id.as_deref()),
            },
            Column {
                head: "POP",
                field: "pop",
                place: Place::Wide,
                cell: |m, _| Cell::text(m.pop.as_str()),
            },
            Column {
                head: "STEP",
                field: "step",
                place: Place::Wide,
                cell: |m, _| Cell::number(m.step.to_string()),
            },
            Column {
                head: "RATE",
                field: "rate_bps",
                place: Place::Wide,
                cell: |m, _| rate(m.rate_bps.map(|bps| bps.0)),
            },
            Column {
                head: "CREATED",
                field: "created_at",
                place: Place::Wide,
                cell: |m, view| Cell::text(absolute(m.created_at, view.now, view.zone)),
            },
            Column {
                head: "ENDED",
                field: "ended_at",
                place: Place::Wide,
                cell: ended,
            },
            Column {
                head: "END REASON",
                field: "end_reason",
                place: Place::Wide,
                cell: |m, _| Cell::optional(m.end_reason.as_ref().map(EndReason::as_str)),
            },
            Column {
                head: "REV",
                field: "revision",
                place: Place::Wide,
                cell: |m, _| Cell::number(m.revision.to_string()),
            },
            Column {
                head: "WHY",
                field: "why_summary",
                place: Place::Wide,
                cell: |m, _| Cell::text(&*m.why_summary),
            },
        ]
    }

    fn id(&self) -> String {
        self.mitigation_id.to_string()
    }
}

impl Row for MitigationDetail {
    const SCHEMA: &'static str = "mitigation";

    fn columns() -> &'static [Column<Self>] {
        &[
            Column {
                head: "ID",
                field: "mitigation_id",
                place: Place::Always,
                cell: |d, _| Cell::text(short_id(d.mitigation.mitigation_id)),
            },
            Column {
                head: "STATUS",
                field: "status",
                place: Place::Always,
                cell: |d, _| status(&d.mitigation),
            },
            Column {
                head: "VICTIM",
                field: "victim_ip",
                place: Place::Always,
                cell: |d, _| Cell::text(d.mitigation.victim_ip.to_string()),
            },
            Column {
                head: "VECTOR",
                field: "vector",
                place: Place::Rest,
                cell: |d, _| Cell::text(d.mitigation.vector.as_str()),
            },
            Column {
                head: "ACTION",
                field: "action_type",
                place: Place::Always,
                cell: |d, _| Cell::text(action(&d.mitigation)),
            },
            Column {
                head: "RATE",
                field: "rate_bps",
                place: Place::Always,
                cell: |d, _| rate(d.mitigation.rate_bps.map(|bps| bps.0)),
            },
            Column {
                head: "LEFT",
                field: "expires_at",
                place: Place::Always,
                cell: |d, view| left(&d.mitigation, view),
            },
            Column {
                head: "REV",
                field: "revision",
                place: Place::Always,
                cell: |d, _| Cell::number(d.mitigation.revision.to_string()),
            },
        ]
    }

    fn id(&self) -> String {
        self.mitigation.mitigation_id.to_string()
    }
}

/// The state, and what a reader must not miss about it.
pub(super) fn status(m: &Mitigation) -> Cell {
    let word = match (m.status.is_announced(), m.enforced, m.ending_since) {
        (true, false, _) => "dry-run".to_owned(),
        (true, true, Some(_)) => "ending".to_owned(),
        _ => m.status.to_string(),
    };
    Cell::text(word).toned(match m.status {
        MitigationStatus::Active => Tone::Good,
        MitigationStatus::Escalated | MitigationStatus::Pending => Tone::Warning,
        MitigationStatus::Rejected => Tone::Bad,
        MitigationStatus::Withdrawn | MitigationStatus::Expired => Tone::Faint,
    })
}

/// `discard`, `police 5.00M`.
pub(super) fn action(m: &Mitigation) -> String {
    match (m.action_type, m.rate_bps) {
        (ActionType::Police, Some(rate)) => format!("police {}", si(rate.0)),
        (kind, _) => kind.to_string(),
    }
}

fn left(m: &Mitigation, view: View) -> Cell {
    if !m.status.is_live() {
        return Cell::number("-");
    }
    Cell::number(remaining(m.leaves_at(), view.now))
}

fn ended(m: &Mitigation, view: View) -> Cell {
    Cell::text(m.ended_at.map_or_else(
        || "-".to_owned(),
        |at| format!("{} ago", relative(view.now.since(at))),
    ))
}

fn rate(value: Option<u64>) -> Cell {
    Cell::number(value.map_or_else(|| "-".to_owned(), si))
}

fn peers(m: &Mitigation) -> Cell {
    let Some(delivery) = m
        .delivery
        .as_ref()
        .filter(|_| m.status.is_announced() && m.enforced)
    else {
        return Cell::number("-");
    };
    let cell = Cell::number(format!("{}/{}", delivery.advertised, delivery.established));
    if delivery.advertised == 0 || delivery.unsupported > 0 {
        cell.toned(Tone::Bad)
    } else if delivery.advertised < delivery.established {
        cell.toned(Tone::Warning)
    } else {
        cell
    }
}

fn severity(severity: Severity) -> Cell {
    Cell::text(severity.to_string()).toned(match severity {
        Severity::Low | Severity::Medium => Tone::Plain,
        Severity::High => Tone::Warning,
        Severity::Critical => Tone::Bad,
    })
}
