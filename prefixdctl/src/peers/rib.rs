//! What a neighbour should hold and was told.

use crate::failure::Failure;
use crate::output::{Cell, Column, Place, Row, Tone, print};
use crate::page::{PageSize, Pages};
use crate::rendered::{Entry, Syntax};
use crate::session::Session;
use clap::Args;
use prefixd_api::client::RibQuery;
use prefixd_api::family::AfiSafi;
use prefixd_api::peer::RibRoute;
use prefixd_api::resource::AnnouncementState;
use prefixd_api::show::{relative, short_id};

/// List the rules that a neighbour should hold, and where each stands
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl peers rib edge1 --state over_budget,quarantined,refused -o json
  prefixdctl peers rib edge1 --all --as iosxr")]
pub(super) struct RibArgs {
    /// Its name in the configuration
    name: String,
    /// In one of these states: queued, advertised, over_budget, quarantined, ...
    #[arg(long, value_delimiter = ',', value_name = "A,B,C")]
    state: Vec<AnnouncementState>,
    /// The one family, as afi_safi has it; all of them when absent
    #[arg(long, value_name = "FAMILY")]
    family: Option<AfiSafi>,
    #[command(flatten)]
    size: PageSize,
    /// Write the rules as a router's configuration
    #[arg(long = "as", value_name = "SYNTAX")]
    syntax: Option<Syntax>,
}

impl RibArgs {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        if self.syntax.is_some() {
            session.no_rendering()?;
        }
        let (client, name) = (&session.client, self.name.as_str());
        let which = &RibQuery {
            state: self.state,
            afi_safi: self.family,
            ..RibQuery::default()
        };
        let pages = self
            .size
            .collect(session, |limit, cursor| async move {
                let query = RibQuery {
                    limit,
                    cursor,
                    ..which.clone()
                };
                let list = client.peer_rib(name, &query).await?.value;
                Ok(Pages {
                    items: list.routes,
                    next_cursor: list.next_cursor,
                })
            })
            .await?;
        if let Some(syntax) = self.syntax {
            let entries: Vec<Entry> = pages.items.iter().map(entry).collect();
            return print(&syntax.write(&entries));
        }
        session.out.list(&pages)
    }
}

/// A route that nobody wants any more has no text: its NLRI is all that is known.
fn entry(route: &RibRoute) -> Entry {
    let reason = route.reason.as_ref().map(|reason| format!(": {reason}"));
    let nlri = route.rule.is_none().then(|| format!("  nlri {}", route.nlri));
    Entry {
        about: vec![format!(
            "{}{}{}",
            route.state,
            reason.unwrap_or_default(),
            nlri.unwrap_or_default()
        )],
        rule: route.rule.clone(),
    }
}

impl Row for RibRoute {
    const SCHEMA: &'static str = "rib";

    fn columns() -> &'static [Column<Self>] {
        &[
            Column {
                head: "STATE",
                field: "state",
                place: Place::Always,
                cell: |r, _| state(r.state),
            },
            Column {
                head: "UNTIL",
                field: "until",
                place: Place::Always,
                cell: |r, view| {
                    Cell::text(r.until.map_or_else(
                        || "-".to_owned(),
                        |at| format!("in {}", relative(at.since(view.now))),
                    ))
                },
            },
            Column {
                head: "MITIGATIONS",
                field: "mitigations",
                place: Place::Room(1),
                cell: |r, _| {
                    let ids: Vec<_> = r.mitigations.iter().map(short_id).collect();
                    Cell::text(if ids.is_empty() {
                        "-".to_owned()
                    } else {
                        ids.join(" ")
                    })
                },
            },
            Column {
                head: "RULE",
                field: "rule",
                place: Place::Rest,
                cell: |r, _| Cell::text(r.rule.as_deref().unwrap_or(&r.nlri)),
            },
            Column {
                head: "WHY",
                field: "reason",
                place: Place::Wide,
                cell: |r, _| Cell::optional(r.reason.as_deref()),
            },
            Column {
                head: "NLRI",
                field: "nlri",
                place: Place::Wide,
                cell: |r, _| Cell::text(&r.nlri),
            },
        ]
    }

    fn id(&self) -> String {
        self.nlri.clone()
    }
}

fn state(state: AnnouncementState) -> Cell {
    Cell::text(state.as_str()).toned(match state {
        AnnouncementState::Advertised | AnnouncementState::Reflected | AnnouncementState::Covered => {
            Tone::Good
        }
        AnnouncementState::Queued | AnnouncementState::Withdrawing | AnnouncementState::Probation => {
            Tone::Warning
        }
        AnnouncementState::SessionDown
        | AnnouncementState::OverBudget
        | AnnouncementState::Quarantined
        | AnnouncementState::Refused => Tone::Bad,
    })
}
