//! What was asked of other POPs.

use crate::failure::Failure;
use crate::output::{Cell, Column, Place, Row};
use crate::page::Pages;
use crate::session::Session;
use clap::Args;
use prefixd_api::remote::RemoteCommand;
use prefixd_api::show::{absolute, short_id};

/// List withdrawals that were asked for at another POP than the mitigation's, and what became of them
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl commands
  prefixdctl commands -o json")]
pub(crate) struct CommandsArgs {}

impl CommandsArgs {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let list = session.client.remote_commands().await?.value;
        session.out.list(&Pages::whole(list.commands))
    }
}

impl Row for RemoteCommand {
    const SCHEMA: &'static str = "remote_command_list";

    fn columns() -> &'static [Column<Self>] {
        &[
            Column {
                head: "ASKED",
                field: "asked_at",
                place: Place::Always,
                cell: |command, view| Cell::text(absolute(command.asked_at, view.now, view.zone)),
            },
            Column {
                head: "AT",
                field: "asked_at_pop",
                place: Place::Always,
                cell: |command, _| Cell::text(&command.asked_at_pop),
            },
            Column {
                head: "BY",
                field: "actor",
                place: Place::Always,
                cell: |command, _| Cell::text(&command.actor),
            },
            Column {
                head: "POP",
                field: "pop",
                place: Place::Always,
                cell: |command, _| Cell::text(&command.pop),
            },
            Column {
                head: "MITIGATION",
                field: "mitigation_id",
                place: Place::Always,
                cell: |command, _| Cell::text(short_id(command.mitigation_id)),
            },
            Column {
                head: "STATE",
                field: "state",
                place: Place::Always,
                cell: |command, _| Cell::text(command.state.as_str()),
            },
            Column {
                head: "DETAIL",
                field: "detail",
                place: Place::Wide,
                cell: |command, _| Cell::text(&command.detail),
            },
        ]
    }

    fn id(&self) -> String {
        self.command_id.to_string()
    }
}
