//! Events: what detectors report.

mod rows;
mod send;

pub(crate) use rows::why_sheet;

use crate::failure::Failure;
use crate::lookup;
use crate::mitigations::address_or_prefix;
use crate::page::{PageArgs, Pages};
use crate::session::Session;
use clap::{Args, Subcommand};
use ipnet::IpNet;
use prefixd_api::client::EventQuery;
use prefixd_api::event::{EventAction, EventOutcome};

/// What detectors report
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl events list --since 1h
  prefixdctl ev send --source test --victim 203.0.113.10 --vector udp_flood --bps 1.2G --ports 27015")]
pub(crate) struct EventsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Send(send::SendArgs),
    Batch(send::BatchArgs),
    List(ListArgs),
    Get(GetArgs),
    Why(WhyArgs),
}

impl EventsArgs {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self.command {
            Command::Send(args) => args.run(session).await,
            Command::Batch(args) => args.run(session).await,
            Command::List(args) => args.run(session).await,
            Command::Get(args) => args.run(session).await,
            Command::Why(args) => args.run(session).await,
        }
    }
}

/// List events, newest first
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl events list --source fastnetmon --since 1h
  prefixdctl ev list --outcome rejected_guardrail -o json")]
struct ListArgs {
    /// Of this detector
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Of this kind of attack
    #[arg(long, value_name = "VECTOR")]
    vector: Option<String>,
    /// About this address, or any in this prefix
    #[arg(long, value_parser = address_or_prefix, value_name = "IP|PREFIX")]
    victim: Option<IpNet>,
    /// With this outcome, such as accepted or suppressed
    #[arg(long, value_name = "OUTCOME")]
    outcome: Option<EventOutcome>,
    /// ban or unban
    #[arg(long, value_parser = event_action, value_name = "ACTION")]
    action: Option<EventAction>,
    #[command(flatten)]
    page: PageArgs,
}

impl ListArgs {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        let pages = self
            .page
            .collect(session, async |page| {
                let query = EventQuery {
                    source: self.source.clone(),
                    vector: self.vector.clone(),
                    victim_ip: self.victim,
                    outcome: self.outcome.clone(),
                    action: self.action,
                    page,
                };
                let list = session.client.events(&query).await?.value;
                Ok(Pages {
                    items: list.events,
                    next_cursor: list.next_cursor,
                })
            })
            .await?;
        session.out.list(&pages)
    }
}

/// Show one event
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl events get 9c01d3e4
  prefixdctl ev get 9c01d3e4 -o json")]
struct GetArgs {
    /// Identifier, or its beginning or end
    id: String,
}

impl GetArgs {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        let id = lookup::event(session, &self.id).await?;
        let event = session.client.event(id).await?.value;
        session.out.one(&event, |view| rows::event_sheet(&event, view))
    }
}

/// Tell why an event had the outcome it had
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl events why 9c01d3e4
  prefixdctl ev why 9c01d3e4 -o json")]
struct WhyArgs {
    /// Identifier, or its beginning or end
    id: String,
}

impl WhyArgs {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        session.no_rows("a why")?;
        let id = lookup::event(session, &self.id).await?;
        let why = session.client.event_why(id).await?.value;
        session.out.sheet(&why, |view| why_sheet(&why, view))
    }
}

fn event_action(text: &str) -> Result<EventAction, String> {
    [EventAction::Ban, EventAction::Unban]
        .into_iter()
        .find(|action| action.as_str() == text)
        .ok_or_else(|| format!("{text:?} is no action; known: ban, unban"))
}
