//! The journal: who did what, when, and whether anybody changed it afterwards.

use crate::failure::Failure;
use crate::output::{Cell, Column, Place, Row, View, sheet_of};
use crate::page::{PageArgs, Pages};
use crate::session::Session;
use clap::{Args, Subcommand};
use prefixd_api::audit::{AuditEntry, AuditVerification, ChainBreak};
use prefixd_api::client::AuditQuery;
use prefixd_api::show::{absolute, count};

/// The journal: who did what, and when
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl audit list --since 24h --target-type mitigation
  prefixdctl audit verify")]
pub(crate) struct AuditArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(Box<ListArgs>),
    Verify(VerifyArgs),
}

impl AuditArgs {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self.command {
            Command::List(args) => args.run(session).await,
            Command::Verify(args) => args.run(session).await,
        }
    }
}

/// List the journal, newest first
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl audit list --actor token:noc --since 24h
  prefixdctl audit list --action mitigation.withdrawn --all -o csv")]
struct ListArgs {
    /// Done by this actor, as it is listed
    #[arg(long, value_name = "ACTOR")]
    actor: Option<String>,
    /// Of this kind, such as mitigation.withdrawn, safelist or config
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    /// About this kind of thing, such as mitigation or peer
    #[arg(long, value_name = "TYPE")]
    target_type: Option<String>,
    /// About this one: the whole identifier, prefix or name
    #[arg(long, value_name = "ID")]
    target: Option<String>,
    /// With this text in actor, target or body
    #[arg(short = 's', long = "search", value_name = "TEXT")]
    text: Option<String>,
    /// Of this POP; the daemon's own by default
    #[arg(long, value_name = "POP")]
    pop: Option<String>,
    #[command(flatten)]
    page: PageArgs,
}

impl ListArgs {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        let pages = self
            .page
            .collect(session, async |page| {
                let query = AuditQuery {
                    actor: self.actor.clone(),
                    action: self.action.clone(),
                    target_type: self.target_type.clone(),
                    target_id: self.target.clone(),
                    q: self.text.clone(),
                    pop: self.pop.clone(),
                    page,
                };
                let list = session.client.audit(&query).await?.value;
                Ok(Pages {
                    items: list.entries,
                    next_cursor: list.next_cursor,
                })
            })
            .await?;
        session.out.list(&pages)
    }
}

/// Walk the chain of the journal: was anything changed or removed?
#[derive(Args, Debug)]
#[command(after_help = "\
Exits with 11 when the chain does not hold. Entries that retention has taken are not walked.

Examples:
  prefixdctl audit verify
  prefixdctl audit verify --from 1200000 -o json")]
struct VerifyArgs {
    /// Begin after this entry, which is taken as given
    #[arg(long, value_name = "N")]
    from: Option<u64>,
}

impl VerifyArgs {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        session.no_rows("a verification")?;
        let mut whole = session.client.verify_audit(self.from).await?;
        while let Some(from) = whole.next_from {
            let part = session.client.verify_audit(Some(from)).await?;
            whole = AuditVerification {
                from: whole.from,
                to: part.to.or(whole.to),
                entries: whole.entries + part.entries,
                ..part
            };
        }
        session.out.sheet(&whole, |_| sheet(&whole))?;
        match &whole.broken {
            None => Ok(()),
            Some(ChainBreak { seq, what }) => Err(Failure::Differs(format!(
                "the journal of {} does not hold: entry {seq} {what}; compare it with a backup",
                whole.pop
            ))),
        }
    }
}

fn sheet(of: &AuditVerification) -> String {
    let point = |point: &Option<prefixd_api::audit::ChainPoint>| {
        point.as_ref().map_or_else(
            || "-".to_owned(),
            |point| format!("{}  {}", point.seq, point.hash),
        )
    };
    sheet_of(&[
        ("POP", of.pop.clone()),
        (
            "Chain",
            match &of.broken {
                None => "intact".to_owned(),
                Some(ChainBreak { seq, what }) => format!("BROKEN: entry {seq} {what}"),
            },
        ),
        ("Entries", count(of.entries)),
        ("After", point(&of.from)),
        ("To", point(&of.to)),
    ])
}

impl Row for AuditEntry {
    const SCHEMA: &'static str = "audit_list";

    fn columns() -> &'static [Column<Self>] {
        &[
            Column {
                head: "SEQ",
                field: "seq",
                place: Place::Always,
                cell: |e, _| Cell::number(e.seq.to_string()),
            },
            Column {
                head: "AT",
                field: "at",
                place: Place::Always,
                cell: |e, view: View| Cell::text(absolute(e.at, view.now, view.zone)),
            },
            Column {
                head: "ACTOR",
                field: "actor",
                place: Place::Rest,
                cell: |e, _| Cell::text(&e.actor),
            },
            Column {
                head: "ACTION",
                field: "action",
                place: Place::Always,
                cell: |e, _| Cell::text(&e.action),
            },
            Column {
                head: "TARGET",
                field: "target_id",
                place: Place::Rest,
                cell: |e, _| Cell::text(&e.target_id),
            },
            Column {
                head: "TYPE",
                field: "target_type",
                place: Place::Wide,
                cell: |e, _| Cell::text(&e.target_type),
            },
            Column {
                head: "POP",
                field: "pop",
                place: Place::Wide,
                cell: |e, _| Cell::text(&e.pop),
            },
            Column {
                head: "CHANGE",
                field: "body",
                place: Place::Wide,
                cell: |e, _| Cell::text(e.body.to_string()),
            },
            Column {
                head: "HASH",
                field: "hash",
                place: Place::Wide,
                cell: |e, _| Cell::text(&e.hash),
            },
        ]
    }

    fn id(&self) -> String {
        self.seq.to_string()
    }
}
