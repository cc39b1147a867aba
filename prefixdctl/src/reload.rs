//! Reading the configuration again.

use crate::failure::Failure;
use crate::mitigations::explain;
use crate::session::Session;
use clap::Args;
use prefixd_api::resource::ReloadRequest;

/// Read the configuration files again, all or none
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl reload
  prefixdctl reload --expect-count 12")]
pub(crate) struct ReloadArgs {
    /// How many mitigations may lose rules because something is switched to dry-run; without it none may
    #[arg(long, value_name = "N")]
    expect_count: Option<u64>,
}

impl ReloadArgs {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        session.may_change()?;
        session.no_rows("a reload")?;
        let request = ReloadRequest {
            expect_count: self.expect_count,
        };
        let answer = session.client.reload_with(&request).await.map_err(explain)?;
        session
            .out
            .sheet(&answer, |_| "the new configuration is in force\n".to_owned())
    }
}
