//! Whether what should be announced, what is held and what was told are the same.

use crate::failure::Failure;
use crate::mitigations::explain;
use crate::output::sheet_of;
use crate::session::Session;
use clap::Args;
use prefixd_api::drift::{Drift, NeighborDrift};
use prefixd_api::show::count;

/// Compare what should be announced with what the neighbours were told
#[derive(Args, Debug)]
#[command(after_help = "\
Router tables are not read: \"advertised\" means written to the session.

Examples:
  prefixdctl drift --exit-code || page-someone
  prefixdctl drift --repair -o json")]
pub(crate) struct DriftArgs {
    /// Exit with 11 when anything differs
    #[arg(long)]
    exit_code: bool,
    /// Reconcile now; the daemon does so by itself from time to time
    #[arg(long)]
    repair: bool,
}

impl DriftArgs {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        session.no_rows("drift")?;
        let drift = if self.repair {
            session.may_change()?;
            session.client.reconcile().await.map_err(explain)?
        } else {
            session.client.drift().await?.value
        };
        session.out.sheet(&drift, |_| sheet(&drift))?;
        if self.exit_code && !drift.in_sync {
            let names: Vec<_> = drift
                .neighbors
                .iter()
                .filter(|at| differs(at))
                .map(|at| at.neighbor.as_str())
                .collect();
            return Err(Failure::Differs(format!(
                "not all is as it should be at {}",
                names.join(", ")
            )));
        }
        Ok(())
    }
}

fn differs(at: &NeighborDrift) -> bool {
    at.missing > 0 || at.unexplained > 0 || !at.not_advertised.is_empty() || at.advertised != at.desired
}

fn sheet(drift: &Drift) -> String {
    let state = if drift.in_sync {
        "all is as it should be"
    } else {
        "DIFFERS"
    };
    let mut lines = vec![
        ("State", state.to_owned()),
        ("Mitigations", count(drift.mitigations)),
        (
            "Repaired",
            format!("{} since the start", count(drift.repaired_total)),
        ),
    ];
    if let Some(repaired) = drift.repaired {
        lines.push(("Repaired now", count(repaired)));
    }
    let texts: Vec<(&str, String)> = drift
        .neighbors
        .iter()
        .map(|at| (at.neighbor.as_str(), line(at)))
        .collect();
    let mut text = sheet_of(&lines);
    if !texts.is_empty() {
        text.push('\n');
        text.push_str(&sheet_of(&texts));
    }
    text
}

fn line(at: &NeighborDrift) -> String {
    let mut line = format!(
        "{} desired, {} advertised",
        count(at.desired),
        count(at.advertised)
    );
    for (number, what) in [(at.missing, "missing"), (at.unexplained, "unexplained")] {
        if number > 0 {
            line.push_str(&format!(", {} {what}", count(number)));
        }
    }
    for (state, number) in &at.not_advertised {
        line.push_str(&format!(", {} {state}", count(*number)));
    }
    line
}
