//! Neighbours as rows.

use crate::output::{Cell, Column, Place, Row, Tone};
use prefixd_api::resource::{OnLoss, Peer, PeerState};
use prefixd_api::show::{count, relative};

impl Row for Peer {
    const SCHEMA: &'static str = "peer_list";

    fn columns() -> &'static [Column<Self>] {
        &[
            Column {
                head: "NAME",
                field: "name",
                place: Place::Always,
                cell: |p, _| Cell::text(&p.name),
            },
            Column {
                head: "ADDRESS",
                field: "address",
                place: Place::Room(3),
                cell: |p, _| Cell::text(&p.address),
            },
            Column {
                head: "AS",
                field: "peer_asn",
                place: Place::Room(4),
                cell: |p, _| Cell::number(p.peer_asn.to_string()),
            },
            Column {
                head: "STATE",
                field: "state",
                place: Place::Always,
                cell: |p, _| state(p.state),
            },
            Column {
                head: "FOR",
                field: "since",
                place: Place::Always,
                cell: |p, view| Cell::number(relative(view.now.since(p.since))),
            },
            Column {
                head: "DESIRED",
                field: "rules_desired",
                place: Place::Room(2),
                cell: |p, _| Cell::number(count(p.rules_desired)),
            },
            Column {
                head: "SENT",
                field: "rules_advertised",
                place: Place::Always,
                cell: |p, _| Cell::number(count(p.rules_advertised)),
            },
            Column {
                head: "QUEUED",
                field: "rules_queued",
                place: Place::Room(1),
                cell: |p, _| Cell::number(count(p.rules_queued)),
            },
            Column {
                head: "UNSUPPORTED",
                field: "rules_unsupported",
                place: Place::Room(5),
                cell: |p, _| unsupported(p.rules_unsupported),
            },
            Column {
                head: "OVER BUDGET",
                field: "rules_over_budget",
                place: Place::Wide,
                cell: |p, _| Cell::number(count(p.rules_over_budget)),
            },
            Column {
                head: "QUARANTINED",
                field: "rules_quarantined",
                place: Place::Wide,
                cell: |p, _| unsupported(p.rules_quarantined),
            },
            Column {
                head: "WITHOUT US",
                field: "on_loss",
                place: Place::Room(7),
                cell: |p, view| match (&p.may_hold_until, &p.on_loss) {
                    (Some(until), _) => {
                        let left = relative(until.since(view.now));
                        Cell::text(format!("MAY HOLD {left}")).toned(Tone::Warning)
                    }
                    (None, None) => Cell::optional(None),
                    (None, Some(OnLoss { keeps_seconds: 0, .. })) => Cell::text("drops"),
                    (None, Some(OnLoss { keeps_seconds, .. })) => {
                        Cell::text(format!("keeps {keeps_seconds}s"))
                    }
                },
            },
            Column {
                head: "FLAPS",
                field: "flaps",
                place: Place::Room(6),
                cell: |p, _| Cell::number(count(p.flaps)),
            },
            Column {
                head: "LAST ERROR",
                field: "last_error",
                place: Place::Rest,
                cell: |p, _| match &p.disabled {
                    Some(disabled) => Cell::text(format!(
                        "disabled by {}: {}",
                        disabled.disabled_by, disabled.reason
                    )),
                    None => Cell::optional(p.last_error.as_deref()),
                },
            },
            Column {
                head: "ENFORCE",
                field: "enforce",
                place: Place::Wide,
                cell: |p, _| Cell::text(if p.enforce { "yes" } else { "no" }),
            },
        ]
    }

    fn id(&self) -> String {
        self.name.clone()
    }
}

fn state(state: PeerState) -> Cell {
    Cell::text(state.as_str()).toned(match state {
        PeerState::Established => Tone::Good,
        PeerState::OpenSent | PeerState::OpenConfirm | PeerState::Disabled => Tone::Warning,
        PeerState::Idle | PeerState::Connect | PeerState::Active => Tone::Bad,
    })
}

fn unsupported(rules: u64) -> Cell {
    let cell = Cell::number(count(rules));
    if rules > 0 { cell.toned(Tone::Bad) } else { cell }
}
