//! Reading the configuration again.

use crate::failure::Failure;
use crate::mitigations::explain;
use crate::session::Session;
use clap::Args;

/// Read the configuration files again, all or none
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl reload
  prefixdctl reload -o json")]
pub(crate) struct ReloadArgs {}

impl ReloadArgs {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        session.may_change()?;
        session.no_rows("a reload")?;
        let answer = session.client.reload().await.map_err(explain)?;
        session
            .out
            .sheet(&answer, |_| "the new configuration is in force\n".to_owned())
    }
}
