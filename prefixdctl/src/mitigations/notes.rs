//! What people note down: seen, said, in hand.

use super::create::explain;
use super::many::show;
use crate::failure::Failure;
use crate::lookup;
use crate::session::Session;
use clap::Args;
use ipnet::IpNet;
use prefixd_api::ids::MitigationId;
use prefixd_api::operation::{AcknowledgeRequest, ClaimRequest, LiveFilter, NoteRequest, Revisions};

/// Say that a person has seen mitigations
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl mitigations ack 9c01d3e4 7f72a903
  prefixdctl mit ack --source alertmanager --expect-count 12")]
pub(super) struct AckArgs {
    /// Identifiers, or their beginnings or ends; live or ended
    #[arg(required_unless_present = "like", value_name = "ID")]
    ids: Vec<String>,
    #[command(flatten)]
    like: Like,
    /// Only when all that are alike are so many
    #[arg(long, value_name = "N", requires = "like")]
    expect_count: Option<u64>,
}

/// Which live ones, by what they are.
#[derive(Args, Debug)]
#[group(
    id = "like",
    multiple = true,
    conflicts_with = "ids",
    requires = "expect_count"
)]
struct Like {
    /// All live ones that are held by a claim of this detector
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// All live ones of this customer
    #[arg(long, value_name = "ID")]
    customer: Option<String>,
    /// All live ones about this address, or any in this prefix
    #[arg(long, value_parser = super::address_or_prefix, value_name = "IP|PREFIX")]
    victim: Option<IpNet>,
    /// All live ones against this kind of attack
    #[arg(long, value_name = "VECTOR")]
    vector: Option<String>,
}

/// Take an acknowledgement back
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl mitigations unack 9c01d3e4
  prefixdctl mit unack 9c01d3e4 -o json")]
pub(super) struct UnackArgs {
    /// Identifiers, or their beginnings or ends; live or ended
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
}

/// Write about a mitigation, or name its ticket
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl mitigations note 9c01d3e4 \"customer called, is aware\"
  prefixdctl mit note 9c01d3e4 --ticket INC-4711")]
pub(super) struct NoteArgs {
    /// Identifier, or its beginning or end; live or ended
    id: String,
    /// What is to be known of it
    #[arg(required_unless_present = "ticket")]
    text: Option<String>,
    /// Its name outside
    #[arg(long, value_name = "NAME")]
    ticket: Option<String>,
}

/// Take a mitigation in hand: everybody sees who works on it
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl mitigations claim 9c01d3e4
  prefixdctl mit claim 9c01d3e4 --force")]
pub(super) struct ClaimArgs {
    /// Identifier, or its beginning or end; live or ended
    id: String,
    /// Also from somebody else
    #[arg(long)]
    force: bool,
}

/// Let a mitigation go that somebody had in hand
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl mitigations release 9c01d3e4
  prefixdctl mit release 9c01d3e4 --force")]
pub(super) struct ReleaseArgs {
    /// Identifier, or its beginning or end; live or ended
    id: String,
    /// Also what somebody else has in hand
    #[arg(long)]
    force: bool,
}

impl AckArgs {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let Some(expect_count) = self.expect_count else {
            return acknowledge(session, &self.ids, true).await;
        };
        session.may_change()?;
        let filter = LiveFilter {
            source: self.like.source,
            customer_id: self.like.customer,
            victim_prefix: self.like.victim,
            vector: self.like.vector,
            ..LiveFilter::default()
        };
        let request = AcknowledgeRequest {
            ids: None,
            filter: Some(filter),
            expect_count: Some(expect_count),
            acknowledged: true,
            expected_revisions: Revisions::new(),
        };
        let results = session.client.acknowledge(&request).await.map_err(explain)?;
        show(session, results)
    }
}

impl UnackArgs {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        acknowledge(session, &self.ids, false).await
    }
}

async fn acknowledge(session: &Session, typed: &[String], acknowledged: bool) -> Result<(), Failure> {
    session.may_change()?;
    let mut ids: Vec<MitigationId> = Vec::with_capacity(typed.len());
    for typed in typed {
        let id = lookup::mitigation(session, typed).await?;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    let request = AcknowledgeRequest {
        ids: Some(ids),
        filter: None,
        expect_count: None,
        acknowledged,
        expected_revisions: Revisions::new(),
    };
    let results = session.client.acknowledge(&request).await.map_err(explain)?;
    show(session, results)
}

impl NoteArgs {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        session.may_change()?;
        let id = lookup::mitigation(session, &self.id).await?;
        let request = NoteRequest {
            text: self.text,
            external_ref: self.ticket,
            expected_revision: None,
        };
        let mitigation = session.client.note(id, &request).await.map_err(explain)?;
        session
            .out
            .one(&mitigation, |view| super::sheet::summary(&mitigation, view))
    }
}

impl ClaimArgs {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        session.may_change()?;
        let id = lookup::mitigation(session, &self.id).await?;
        let request = ClaimRequest {
            force: self.force,
            expected_revision: None,
        };
        let mitigation = session.client.claim(id, &request).await.map_err(explain)?;
        session
            .out
            .one(&mitigation, |view| super::sheet::summary(&mitigation, view))
    }
}

impl ReleaseArgs {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        session.may_change()?;
        let id = lookup::mitigation(session, &self.id).await?;
        let request = ClaimRequest {
            force: self.force,
            expected_revision: None,
        };
        let mitigation = session.client.release(id, &request).await.map_err(explain)?;
        session
            .out
            .one(&mitigation, |view| super::sheet::summary(&mitigation, view))
    }
}
