//! Mitigations: what is filtered, why, and taking it back.

mod adjust;
mod create;
mod extend;
mod many;
mod notes;
mod rows;
mod sheet;
mod undo;
mod wait;
mod watch;
mod withdraw;

pub(crate) use create::explain;
pub(crate) use sheet::announcements;

use crate::failure::Failure;
use crate::output::print;
use crate::page::{PageArgs, Pages};
use crate::rendered::Syntax;
use crate::session::Session;
use crate::{events, lookup, rendered};
use clap::{Args, Subcommand};
use ipnet::IpNet;
use prefixd_api::client::{MitigationQuery, Page};
use prefixd_api::mitigation::{Mitigation, MitigationStatus};
use prefixd_api::rule::ActionType;

/// What is filtered, why, and taking it back
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl mitigations list
  prefixdctl mit why 9c01d3e4")]
pub(crate) struct MitigationsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(ListArgs),
    Get(GetArgs),
    Why(WhyArgs),
    Preview(create::PreviewArgs),
    Create(create::CreateArgs),
    Withdraw(withdraw::WithdrawArgs),
    WithdrawAll(many::WithdrawAllArgs),
    Confirm(undo::ConfirmArgs),
    Undo(undo::UndoArgs),
    Extend(extend::ExtendArgs),
    Adjust(adjust::AdjustArgs),
    Ack(notes::AckArgs),
    Unack(notes::UnackArgs),
    Note(notes::NoteArgs),
    Claim(notes::ClaimArgs),
    Release(notes::ReleaseArgs),
    Watch(watch::WatchArgs),
}

impl MitigationsArgs {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self.command {
            Command::List(args) => args.run(session).await,
            Command::Get(args) => args.run(session).await,
            Command::Why(args) => args.run(session).await,
            Command::Preview(args) => args.run(session).await,
            Command::Create(args) => args.run(session).await,
            Command::Withdraw(args) => args.run(session).await,
            Command::WithdrawAll(args) => args.run(session).await,
            Command::Confirm(args) => args.run(session).await,
            Command::Undo(args) => args.run(session).await,
            Command::Extend(args) => args.run(session).await,
            Command::Adjust(args) => args.run(session).await,
            Command::Ack(args) => args.run(session).await,
            Command::Unack(args) => args.run(session).await,
            Command::Note(args) => args.run(session).await,
            Command::Claim(args) => args.run(session).await,
            Command::Release(args) => args.run(session).await,
            Command::Watch(args) => args.run(session).await,
        }
    }
}

/// List mitigations, newest first
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl mitigations list --status active,escalated
  prefixdctl mit list --victim 203.0.113.0/24 --all -o csv")]
struct ListArgs {
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    page: PageArgs,
}

/// Which mitigations.
#[derive(Args, Clone, Debug)]
struct FilterArgs {
    /// In one of these states: pending, active, escalated, withdrawn, expired, rejected
    #[arg(long, value_delimiter = ',', value_name = "STATUS")]
    status: Vec<MitigationStatus>,
    /// Of this customer
    #[arg(long, value_name = "ID")]
    customer: Option<String>,
    /// Of this service
    #[arg(long, value_name = "ID")]
    service: Option<String>,
    /// About this address, or any in this prefix
    #[arg(long, value_parser = address_or_prefix, value_name = "IP|PREFIX")]
    victim: Option<IpNet>,
    /// Against this kind of attack
    #[arg(long, value_name = "VECTOR")]
    vector: Option<String>,
    /// With this action: mark, police, redirect_vrf, redirect_ip or discard
    #[arg(long, value_parser = action_type, value_name = "ACTION")]
    action: Option<ActionType>,
    /// Of this POP, or all; the daemon's own by default
    #[arg(long, value_name = "POP")]
    pop: Option<String>,
    /// Acknowledged by a person: true or false
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    acked: Option<bool>,
}

impl FilterArgs {
    fn to_query(&self, page: Page) -> MitigationQuery {
        MitigationQuery {
            status: self.status.clone(),
            customer_id: self.customer.clone(),
            service_id: self.service.clone(),
            victim_ip: self.victim,
            vector: self.vector.clone(),
            pop: self.pop.clone(),
            acknowledged: self.acked,
            action_type: self.action,
            page,
        }
    }
}

impl FilterArgs {
    /// The same filter on what the feed brings.
    fn accepts(&self, m: &Mitigation) -> bool {
        let is =
            |wanted: &Option<String>, value: Option<&str>| wanted.is_none() || wanted.as_deref() == value;
        (self.status.is_empty() || self.status.contains(&m.status))
            && is(&self.customer, m.customer_id.as_deref())
            && is(&self.service, m.service_id.as_deref())
            && is(&self.vector, Some(&m.vector))
            && (self.pop.as_deref() == Some("all") || is(&self.pop, Some(&m.pop)))
            && self.victim.is_none_or(|prefix| m.victim_ip.touches(&prefix))
            && self.action.is_none_or(|action| action == m.action_type)
            && self
                .acked
                .is_none_or(|acked| acked == m.acknowledged_at.is_some())
    }
}

impl ListArgs {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        let pages = self
            .page
            .collect(session, async |page| {
                let list = session
                    .client
                    .mitigations(&self.filter.to_query(page))
                    .await?
                    .value;
                Ok(Pages {
                    items: list.mitigations,
                    next_cursor: list.next_cursor,
                })
            })
            .await?;
        session.out.list(&pages)
    }
}

/// Show one mitigation: rules, announcements, claims, timeline
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl mitigations get 9c01d3e4 -o json
  prefixdctl mit get 9c01d3e4 --as junos")]
struct GetArgs {
    /// Identifier, or its beginning or end
    id: String,
    /// Write the rules as each neighbour has them, as a router's configuration
    #[arg(long = "as", value_name = "SYNTAX")]
    syntax: Option<Syntax>,
}

impl GetArgs {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        if self.syntax.is_some() {
            session.no_rendering()?;
        }
        let id = lookup::mitigation(session, &self.id).await?;
        let detail = session.client.mitigation(id).await?.value;
        if let Some(syntax) = self.syntax {
            return print(&syntax.write(&rendered::of_mitigation(&detail)));
        }
        session.out.one(&detail, |view| sheet::detail(&detail, view))
    }
}

/// Tell why a mitigation is as it is
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl mitigations why 9c01d3e4
  prefixdctl mit why 9c01d3e4 -o json")]
struct WhyArgs {
    /// Identifier, or its beginning or end
    id: String,
}

impl WhyArgs {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        session.no_rows("a why")?;
        let id = lookup::mitigation(session, &self.id).await?;
        let why = session.client.mitigation_why(id).await?.value;
        session.out.sheet(&why, |view| events::why_sheet(&why, view))
    }
}

/// A person's words, which the journal keeps.
fn said(reason: &str) -> Result<(), Failure> {
    if reason.trim().is_empty() {
        return Err(Failure::Input(
            "the reason is empty: say why, for the journal".to_owned(),
        ));
    }
    Ok(())
}

/// An address as its host prefix, or a prefix.
pub(crate) fn address_or_prefix(text: &str) -> Result<IpNet, String> {
    text.parse::<std::net::IpAddr>()
        .map(IpNet::from)
        .or_else(|_| text.parse::<IpNet>())
        .map_err(|_| format!("{text:?} is not an address or prefix such as 203.0.113.10 or 2001:db8::/48"))
}

fn action_type(text: &str) -> Result<ActionType, String> {
    text.parse()
}
