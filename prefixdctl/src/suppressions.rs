//! Suppressions: bans that are stored and not acted on.

use crate::failure::Failure;
use crate::lookup;
use crate::mitigations::explain;
use crate::output::{Cell, Column, Place, Row, sheet_of};
use crate::page::Pages;
use crate::session::Session;
use clap::{Args, Subcommand};
use prefixd_api::group::SuppressionRequest;
use prefixd_api::mitigation::Suppression;
use prefixd_api::show::{both, parse_span, relative, short_id};
use prefixd_api::victim::Victim;
use std::time::Duration;

/// Bans that are stored and not acted on
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl suppressions list
  prefixdctl suppressions add --victim 203.0.113.10 --vector udp_flood --for 2h --reason \"game night\"")]
pub(crate) struct SuppressionsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(ListArgs),
    Add(AddArgs),
    Remove(RemoveArgs),
}

impl SuppressionsArgs {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self.command {
            Command::List(args) => args.run(session).await,
            Command::Add(args) => args.run(session).await,
            Command::Remove(args) => args.run(session).await,
        }
    }
}

/// List the suppressions in force
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl suppressions list
  prefixdctl suppressions list -o csv")]
struct ListArgs {}

impl ListArgs {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        let list = session.client.suppressions().await?.value;
        session.out.list(&Pages::whole(list.suppressions))
    }
}

/// Do not act on bans of a victim and vector for a time
#[derive(Args, Debug)]
#[command(after_help = "\
Withdrawing a mitigation suppresses its victim and vector by itself; this is for what has not begun.

Examples:
  prefixdctl suppressions add --victim 203.0.113.10 --vector udp_flood --for 2h --reason \"game night\"
  prefixdctl suppressions add --victim 2001:db8::1 --vector syn_flood --for 15m --reason INC-4711 --yes")]
struct AddArgs {
    /// The address that is reported
    #[arg(long, value_name = "IP")]
    victim: Victim,
    /// The kind of attack, as the source calls it
    #[arg(long, value_name = "VECTOR")]
    vector: String,
    /// How long, at most 24h
    #[arg(long = "for", value_parser = parse_span, value_name = "TIME")]
    time: Duration,
    /// Why, for the journal
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

impl AddArgs {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        session.may_change()?;
        session.no_rows("a new suppression")?;
        let seconds = u32::try_from(self.time.as_secs())
            .map_err(|_| Failure::Input("--for must be at most 24h".to_owned()))?;
        session.confirm(
            &format!(
                "Store bans of {} {} for {} and do not act on them?",
                self.victim,
                self.vector,
                relative(self.time)
            ),
            1,
        )?;
        let request = SuppressionRequest {
            victim_ip: self.victim.to_string(),
            vector: self.vector,
            seconds,
            reason: self.reason,
        };
        let made = session.client.suppress(&request).await.map_err(explain)?;
        session.out.sheet(&made, |view| {
            sheet_of(&[
                ("Suppressed", made.scope.to_string()),
                ("Until", both(made.expires_at, view.now, view.zone)),
                ("Reason", made.reason.clone()),
                ("Name", made.suppression_id.to_string()),
            ])
        })
    }
}

/// Act on bans again
#[derive(Args, Debug)]
#[command(
    visible_alias = "rm",
    after_help = "\
Examples:
  prefixdctl suppressions remove 9c01d3e4
  prefixdctl suppressions rm 9c01d3e4 --yes"
)]
struct RemoveArgs {
    /// Identifier, or its beginning or end
    id: String,
}

impl RemoveArgs {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        session.may_change()?;
        let id = lookup::suppression(session, &self.id).await?;
        session.confirm(&format!("End the suppression {id} and act on bans again?"), 1)?;
        session.client.end_suppression(id).await.map_err(explain)?;
        session.note(&format!("the suppression {id} has ended"));
        Ok(())
    }
}

impl Row for Suppression {
    const SCHEMA: &'static str = "suppression_list";

    fn columns() -> &'static [Column<Self>] {
        &[
            Column {
                head: "ID",
                field: "suppression_id",
                place: Place::Always,
                cell: |s, _| Cell::text(short_id(s.suppression_id)),
            },
            Column {
                head: "VICTIM",
                field: "scope.victim",
                place: Place::Always,
                cell: |s, _| Cell::text(s.scope.victim.to_string()),
            },
            Column {
                head: "VECTOR",
                field: "scope.vector",
                place: Place::Rest,
                cell: |s, _| Cell::text(&*s.scope.vector),
            },
            Column {
                head: "ENDS",
                field: "expires_at",
                place: Place::Always,
                cell: |s, view| Cell::text(format!("in {}", relative(s.expires_at.since(view.now)))),
            },
            Column {
                head: "BY",
                field: "created_by",
                place: Place::Room(1),
                cell: |s, _| Cell::text(&s.created_by),
            },
            Column {
                head: "REASON",
                field: "reason",
                place: Place::Rest,
                cell: |s, _| Cell::text(&s.reason),
            },
        ]
    }

    fn id(&self) -> String {
        self.suppression_id.to_string()
    }
}
