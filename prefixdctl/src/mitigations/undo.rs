//! Undoing and confirming withdrawals.

use super::create::explain;
use crate::failure::Failure;
use crate::lookup;
use crate::session::Session;
use clap::Args;
use prefixd_api::operation::UndoRequest;
use prefixd_api::show::short_id;

/// Put a withdrawn mitigation back: a successor with the same rules
#[derive(Args, Debug)]
#[command(after_help = "\
The guardrails judge it like a new one. The suppression of the withdrawal ends with it.

Examples:
  prefixdctl mitigations undo 9c01d3e4 --reason \"it was no false positive\"
  prefixdctl mit undo 9c01d3e4 --reason INC-4711 --yes")]
pub(super) struct UndoArgs {
    /// Identifier of what was withdrawn, or its beginning or end
    id: String,
    /// Why, for the journal
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// Confirm a withdrawal, so that it is not undone
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl mitigations withdraw 9c01d3e4 --reason \"no attack\" --confirm-within 5m
  prefixdctl mitigations confirm 9c01d3e4 --reason \"the link is fine\"")]
pub(super) struct ConfirmArgs {
    /// Identifier of what was withdrawn, or its beginning or end
    id: String,
    /// Why, for the journal
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

impl UndoArgs {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        session.may_change()?;
        super::said(&self.reason)?;
        let id = lookup::mitigation(session, &self.id).await?;
        session.confirm(&format!("Put the rules of {} back?", short_id(id)), 1)?;
        let request = UndoRequest {
            reason: self.reason,
            expected_revision: None,
        };
        let made = session.client.undo(id, &request).await.map_err(explain)?;
        session.out.one(&made, |view| super::sheet::summary(&made, view))
    }
}

impl ConfirmArgs {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        session.may_change()?;
        super::said(&self.reason)?;
        let id = lookup::mitigation(session, &self.id).await?;
        let request = UndoRequest {
            reason: self.reason,
            expected_revision: None,
        };
        let ended = session.client.confirm(id, &request).await.map_err(explain)?;
        session
            .out
            .one(&ended, |view| super::sheet::summary(&ended, view))
    }
}
