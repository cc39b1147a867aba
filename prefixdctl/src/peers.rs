//! Neighbours.

mod dump;
mod order;
mod rib;
mod rows;
mod sheet;

use crate::failure::Failure;
use crate::output::Format;
use crate::page::Pages;
use crate::session::Session;
use clap::{Args, Subcommand};
use prefixd_api::peer::PeerDetail;

/// BGP neighbours and what they were sent
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl peers list
  prefixdctl peers disable edge1 --reason \"line card is replaced\"")]
pub(crate) struct PeersArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(ListArgs),
    Show(ShowArgs),
    Rib(rib::RibArgs),
    Dump(dump::DumpArgs),
    Disable(order::DisableArgs),
    Enable(order::EnableArgs),
    Reset(order::ResetArgs),
    Resend(order::ResendArgs),
    Release(order::ReleaseArgs),
}

impl PeersArgs {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self.command {
            Command::List(args) => args.run(session).await,
            Command::Show(args) => args.run(session).await,
            Command::Rib(args) => args.run(session).await,
            Command::Dump(args) => args.run(session).await,
            Command::Disable(args) => args.run(session).await,
            Command::Enable(args) => args.run(session).await,
            Command::Reset(args) => args.run(session).await,
            Command::Resend(args) => args.run(session).await,
            Command::Release(args) => args.run(session).await,
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

/// Show one neighbour: session, capabilities, counters, last NOTIFICATIONs, history
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
        show(session, &peer)
    }
}

/// In rows it is what it is in the list.
fn show(session: &Session, detail: &PeerDetail) -> Result<(), Failure> {
    match session.out.format {
        Format::Csv | Format::Ids => session.out.one(&detail.peer, |_| String::new()),
        Format::Table | Format::Wide | Format::Json | Format::Jsonl => {
            session.out.sheet(detail, |view| sheet::sheet(detail, view))
        }
    }
}
