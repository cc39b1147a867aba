//! The breaker.

use crate::failure::Failure;
use crate::mitigations::explain;
use crate::session::Session;
use clap::{Args, Subcommand};
use prefixd_api::control::{BreakerResetRequest, BreakerTripped, Control};
use prefixd_api::show::count;

/// What stops all announcing when sessions are lost right after an announcement
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl breaker show
  prefixdctl breaker reset --reason \"both routers run the fixed release\"")]
pub(crate) struct BreakerArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Show(ShowArgs),
    Reset(ResetArgs),
}

impl BreakerArgs {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self.command {
            Command::Show(args) => args.run(session).await,
            Command::Reset(args) => args.run(session).await,
        }
    }
}

/// Show whether the breaker is tripped, and by what
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl breaker show
  prefixdctl breaker show -o json")]
struct ShowArgs {}

impl ShowArgs {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        session.no_rows("the breaker")?;
        let control = session.client.control().await?.value;
        session.out.sheet(&control, |_| text(&control))
    }
}

/// Announce new rules again
#[derive(Args, Debug)]
#[command(after_help = "\
What the breaker withdrew begins anew with the next report of its attack. What a detector reports only once, or an
operator made, does not: `prefixdctl mitigations list --status withdrawn` has it. Find out first what the routers could
not take: `prefixdctl peers show NAME` has their words.

Examples:
  prefixdctl breaker reset --reason \"both routers run the fixed release\"
  prefixdctl breaker reset --reason INC-4711 --yes")]
struct ResetArgs {
    /// Why, for the journal
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

impl ResetArgs {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        session.may_change()?;
        if self.reason.trim().is_empty() {
            return Err(Failure::Input(
                "the reason is empty: say why, for the journal".to_owned(),
            ));
        }
        if session.will_ask()
            && let Some(tripped) = session.client.control().await?.value.breaker
        {
            session.confirm(&format!("{} Announce again?", sentence(&tripped)), 1)?;
        }
        let request = BreakerResetRequest { reason: self.reason };
        let control = session.client.reset_breaker(&request).await.map_err(explain)?;
        session.note("the breaker is reset: new rules are announced again");
        session.out.sheet(&control, |_| text(&control))
    }
}

fn text(control: &Control) -> String {
    match &control.breaker {
        None => "not tripped: new rules are announced\n".to_owned(),
        Some(tripped) => format!(
            "{}\nNothing new is announced until `prefixdctl breaker reset`. What is announced goes on and ends on time.\n",
            sentence(tripped)
        ),
    }
}

fn sentence(tripped: &BreakerTripped) -> String {
    format!(
        "Tripped at {}: the sessions with {} were lost right after an announcement; {} mitigations, announced since {}, \
         were withdrawn.",
        tripped.tripped_at,
        tripped.neighbors.join(" and "),
        count(tripped.withdrawn),
        tripped.announced_since,
    )
}
