//! Versions of both sides.

use crate::failure::Failure;
use crate::output::sheet_of;
use crate::session::Session;
use clap::Args;
use serde::Serialize;

/// Print the versions of this program and of the daemon
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl version
  prefixdctl version -o json")]
pub(crate) struct VersionArgs {}

#[derive(Serialize)]
struct Versions {
    prefixdctl: &'static str,
    prefixd: Option<String>,
}

impl VersionArgs {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        session.no_rows("a version")?;
        let prefixd = match session.client.health().await {
            Ok(health) => Some(health.version),
            Err(error) => {
                session.note(&format!("the daemon's version is unknown: {error}"));
                None
            }
        };
        let versions = Versions {
            prefixdctl: env!("CARGO_PKG_VERSION"),
            prefixd,
        };
        session.out.sheet(&versions, |_| {
            sheet_of(&[
                ("prefixdctl", versions.prefixdctl.to_owned()),
                (
                    "prefixd",
                    versions.prefixd.clone().unwrap_or_else(|| "-".to_owned()),
                ),
            ])
        })
    }
}
