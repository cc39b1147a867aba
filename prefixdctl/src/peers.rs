//! Neighbours.

use crate::failure::Failure;
use crate::output::{Cell, Column, Place, Row, Tone, View, sheet_of};
use crate::page::Pages;
use crate::session::Session;
use clap::{Args, Subcommand};
use prefixd_api::resource::{Peer, PeerState};
use prefixd_api::show::{both, count, relative};

/// BGP neighbours and what they were sent
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl peers list
  prefixdctl peers show edge1")]
pub(crate) struct PeersArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(ListArgs),
    Show(ShowArgs),
}

impl PeersArgs {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self.command {
            Command::List(args) => args.run(session).await,
            Command::Show(args) => args.run(session).await,
        }
    }
}

/// List the neighbours
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl peers list
  prefixdctl peers list -o json")]
struct ListArgs {}

impl ListArgs {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        let list = session.client.peers().await?.value;
        session.out.list(&Pages::whole(list.peers))
    }
}

/// Show one neighbour: session, capabilities, counters, last error
#[derive(Args, Debug)]
#[command(
    visible_alias = "get",
    after_help = "\
Examples:
  prefixdctl peers show edge1
  prefixdctl peers show edge1 -o json"
)]
struct ShowArgs {
    /// Its name in the configuration
    name: String,
}

impl ShowArgs {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        let peer = session.client.peer(&self.name).await?.value;
        session.out.one(&peer, |view| sheet(&peer, view))
    }
}

fn sheet(peer: &Peer, view: View) -> String {
    let or_none = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let list = |values: &[String]| match values {
        [] => "-".to_owned(),
        values => values.join(", "),
    };
    let mut pairs = vec![
        ("Neighbour", peer.name.clone()),
        ("Address", format!("{}, AS {}", peer.address, peer.peer_asn)),
        (
            "State",
            format!("{} since {}", peer.state, both(peer.since, view.now, view.zone)),
        ),
        ("Router id", or_none(peer.router_id.clone())),
        (
            "Hold time",
            or_none(peer.hold_time_seconds.map(|seconds| format!("{seconds}s"))),
        ),
        ("Families", list(&peer.families)),
        ("Capabilities", list(&peer.capabilities)),
        (
            "Gets rules",
            if peer.enforce {
                "yes".to_owned()
            } else {
                "no (enforce: false)".to_owned()
            },
        ),
        (
            "Rules",
            format!(
                "{} desired, {} advertised, {} queued, {} unsupported",
                count(peer.rules_desired),
                count(peer.rules_advertised),
                count(peer.rules_queued),
                count(peer.rules_unsupported)
            ),
        ),
        (
            "Sessions",
            format!(
                "{} established, {} lost",
                count(peer.established_total),
                count(peer.flaps)
            ),
        ),
    ];
    if let Some(error) = &peer.last_error {
        let at = peer
            .last_error_at
            .map_or_else(String::new, |at| format!(" at {}", both(at, view.now, view.zone)));
        pairs.push(("Last error", format!("{error}{at}")));
    }
    let mut text = sheet_of(&pairs);
    if !peer.counters.is_empty() {
        text.push_str("\nCounters\n");
        let counters: Vec<_> = peer
            .counters
            .iter()
            .map(|(name, value)| (name.as_str(), count(*value)))
            .collect();
        text.extend(sheet_of(&counters).lines().map(|line| format!("  {line}\n")));
    }
    text
}

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
                head: "FLAPS",
                field: "flaps",
                place: Place::Room(6),
                cell: |p, _| Cell::number(count(p.flaps)),
            },
            Column {
                head: "LAST ERROR",
                field: "last_error",
                place: Place::Rest,
                cell: |p, _| Cell::optional(p.last_error.as_deref()),
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

pub(crate) fn state(state: PeerState) -> Cell {
    Cell::text(state.as_str()).toned(match state {
        PeerState::Established => Tone::Good,
        PeerState::OpenSent | PeerState::OpenConfirm => Tone::Warning,
        PeerState::Idle | PeerState::Connect | PeerState::Active => Tone::Bad,
    })
}

fn unsupported(rules: u64) -> Cell {
    let cell = Cell::number(count(rules));
    if rules > 0 { cell.toned(Tone::Bad) } else { cell }
}
