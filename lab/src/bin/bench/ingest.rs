//! Events per second: first bans, repeated bans, refused bans, replays. One BIRD neighbour holds the rules.

use std::time::Duration;

use lab::load::{Mode, Report, Until};

use crate::rig::{CONNECTIONS, Rig, Store, VICTIMS};
use crate::{Arguments, Figure};

const RUN: Until = Until::Elapsed(Duration::from_secs(10));

pub(crate) async fn measure(arguments: &Arguments, store: Store) -> anyhow::Result<Vec<Figure>> {
    let (mut rig, _router) = Rig::with_bird(arguments, store).await?;
    let new = rig
        .run(Mode::New, CONNECTIONS, Until::Requests(VICTIMS), VICTIMS)
        .await?;
    let extend = rig.run_again(Mode::Extend, CONNECTIONS, RUN, VICTIMS).await?;
    let reject = rig.run(Mode::Reject, CONNECTIONS, RUN, VICTIMS).await?;
    let unowned = rig.run(Mode::Unowned, CONNECTIONS, RUN, VICTIMS).await?;
    let replay = rig.run(Mode::Replay, CONNECTIONS, RUN, VICTIMS).await?;
    Ok([
        ("new mitigation", new),
        ("extend", extend),
        ("reject (safelisted)", reject),
        ("not owned", unowned),
        ("replay", replay),
    ]
    .into_iter()
    .map(|(what, report)| Figure {
        what: format!("{what}, {store}"),
        value: format!("{:.0} events/s", report.per_second),
        detail: detail(&report),
    })
    .collect())
}

fn detail(report: &Report) -> String {
    format!(
        "{} events, {CONNECTIONS} connections; p50 {:.2}, p99 {:.2}, max {:.1} ms",
        report.requests, report.p50_ms, report.p99_ms, report.max_ms
    )
}
