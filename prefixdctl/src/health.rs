//! Health, for monitoring.

use crate::failure::Failure;
use crate::output::sheet_of;
use crate::session::Session;
use clap::Args;
use prefixd_api::resource::HealthDetail;
use serde_json::json;

/// Health, for monitoring
///
/// Asks once, without repetition. Exits with 0 when the daemon answers, with --ready only when it is ready to work.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl health
  prefixdctl health --ready")]
pub(crate) struct HealthArgs {
    /// Whether it is ready: state loaded, store answering
    #[arg(long, conflicts_with = "detail")]
    ready: bool,
    /// How its parts are
    #[arg(long)]
    detail: bool,
}

impl HealthArgs {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        session.no_rows("health")?;
        if self.ready {
            session.client.ready().await?;
            return session
                .out
                .sheet(&json!({"status": "ready"}), |_| "ready\n".to_owned());
        }
        if self.detail {
            let health = session.client.health_detail().await?;
            return session.out.sheet(&health, |_| {
                let mut pairs = vec![
                    ("Status", health.status.clone()),
                    ("Version", health.version.clone()),
                    ("POP", health.pop.clone()),
                    ("Mode", health.mode.to_string()),
                    (
                        "Store",
                        format!(
                            "{} {}",
                            health.store.backend,
                            if health.store.ok { "ok" } else { "failing" }
                        ),
                    ),
                    ("Neighbours", neighbours(&health)),
                    ("Active", health.active.to_string()),
                    ("Drift repaired", health.drift_total.to_string()),
                    ("Journal head", health.engine.head.to_string()),
                ];
                pairs.extend(health.reasons.iter().map(|reason| ("Degraded", reason.clone())));
                pairs.extend(health.notes.iter().map(|note| ("Note", note.clone())));
                sheet_of(&pairs)
            });
        }
        let health = session.client.health().await?;
        session.out.sheet(&health, |_| {
            sheet_of(&[
                ("Status", health.status.clone()),
                ("Version", health.version.clone()),
                ("Sign-in", health.auth_mode.clone()),
            ])
        })
    }
}

/// How many sessions there are, and how many there should not be.
pub(crate) fn neighbours(health: &HealthDetail) -> String {
    let disabled = match health.peers_disabled {
        0 => String::new(),
        disabled => format!(", {disabled} disabled"),
    };
    format!(
        "{} of {} established{disabled}",
        health.peers_established, health.peers_total
    )
}
