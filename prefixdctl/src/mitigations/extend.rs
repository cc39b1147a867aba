//! Having a mitigation last longer.

use super::create::{explain, seconds};
use crate::failure::Failure;
use crate::lookup;
use crate::session::Session;
use clap::Args;
use prefixd_api::operation::ExtendRequest;
use prefixd_api::show::{parse_span, relative, short_id};
use std::time::Duration;

/// Have a mitigation last longer, whatever its detectors say
#[derive(Args, Debug)]
#[command(after_help = "\
It lasts at least so long from now on: an unban or a detector that falls silent does not end it
before, and a hold-down that runs is over. What it does goes on as its playbook says. Its lease
never becomes shorter by this.

Examples:
  prefixdctl mitigations extend 9c01d3e4 --ttl 1h --reason \"customer asked for the night\"
  prefixdctl mit extend 9c01d3e4 --ttl 30m --reason INC-4711 --yes")]
pub(super) struct ExtendArgs {
    /// Identifier, or its beginning or end
    id: String,
    /// How long from now on
    #[arg(long, value_parser = parse_span, value_name = "TIME")]
    ttl: Duration,
    /// Why, for the journal
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Only while it has this revision
    #[arg(long, value_name = "N")]
    if_revision: Option<u64>,
}

impl ExtendArgs {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        session.may_change()?;
        super::said(&self.reason)?;
        let id = lookup::mitigation(session, &self.id).await?;
        session.confirm(
            &format!("Have {} last {} from now on?", short_id(id), relative(self.ttl)),
            1,
        )?;
        let request = ExtendRequest {
            ttl_seconds: seconds(self.ttl)?,
            reason: self.reason,
            expected_revision: self.if_revision,
        };
        let mitigation = session
            .client
            .extend_mitigation(id, &request)
            .await
            .map_err(explain)?;
        session
            .out
            .one(&mitigation, |view| super::sheet::summary(&mitigation, view))
    }
}
