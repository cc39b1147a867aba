//! Events per second: first bans, repeated bans, refused bans, replays. One BIRD neighbour holds the rules.

use std::time::Duration;

use lab::load::{Mode, Report, Until};

use crate::rig::{CONNECTIONS, Rig, Store, VICTIMS};
use crate::target::Target;
use crate::{Arguments, Figure, bare};

const RUN: Until = Until::Elapsed(Duration::from_secs(10));

/// Connections of a network in trouble.
const MANY: usize = 64;
/// Victims that are filtered before mixed batches begin.
const KNOWN: u64 = 10_000;

pub(crate) async fn measure(arguments: &Arguments) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for store in Store::ALL {
        eprintln!("measuring ingest on {store} ...");
        figures.extend(by(arguments, store, CONNECTIONS).await?);
        figures.extend(by(arguments, store, MANY).await?);
        figures.push(batches(arguments, store).await?);
    }
    Ok(figures)
}

/// One report a request.
async fn by(arguments: &Arguments, store: Store, connections: usize) -> anyhow::Result<Vec<Figure>> {
    let (bound, bare) = bare::measure(arguments, store, connections).await?;
    let (mut rig, _router) = Rig::with_bird(arguments, store).await?;
    let new = rig
        .run(Mode::New, connections, Until::Requests(VICTIMS), VICTIMS)
        .await?;
    let extend = rig.run_again(Mode::Extend, connections, RUN, VICTIMS).await?;
    let reject = rig.run(Mode::Reject, connections, RUN, VICTIMS).await?;
    let unowned = rig.run(Mode::Unowned, connections, RUN, VICTIMS).await?;
    let replay = rig.run(Mode::Replay, connections, RUN, VICTIMS).await?;
    let mut figures = vec![bare];
    figures.extend(
        [
            ("new mitigation", new),
            ("extend", extend),
            ("reject (safelisted)", reject),
            ("not owned", unowned),
            ("replay", replay),
        ]
        .into_iter()
        .map(|(what, report)| Figure {
            what: format!("{what}, {connections} connections, {store}"),
            value: format!("{:.0} events/s", report.per_second),
            targets: targets(what, connections, store, &report),
            detail: match what {
                "new mitigation" | "extend" => format!(
                    "{}; {:.1} times the bare path's time",
                    detail(&report),
                    bound / report.per_second
                ),
                _ => detail(&report),
            },
        }),
    );
    Ok(figures)
}

/// A hundred reports a request, nine tenths of them for victims that are filtered already.
async fn batches(arguments: &Arguments, store: Store) -> anyhow::Result<Figure> {
    let (mut rig, _router) = Rig::with_bird(arguments, store).await?;
    rig.run(Mode::Batch, 4, Until::Requests(KNOWN / 100), KNOWN)
        .await?;
    let requests = Until::Requests((VICTIMS - KNOWN) / 10);
    let report = rig
        .run_from(KNOWN, Mode::BatchKnown, MANY, requests, VICTIMS - KNOWN)
        .await?;
    Ok(Figure {
        what: format!("batches of 100, nine tenths known, {MANY} connections, {store}"),
        value: format!("{:.0} events/s", report.per_second),
        targets: vec![match store {
            Store::Sqlite => Target::at_least(report.per_second, 30_000.0, "30,000 events/s"),
            Store::Postgres => Target::at_least(report.per_second, 22_000.0, "22,000 events/s"),
        }],
        detail: detail(&report),
    })
}

fn targets(what: &str, connections: usize, store: Store, report: &Report) -> Vec<Target> {
    let at_least = |bound, words| Target::at_least(report.per_second, bound, words);
    match (what, connections, store) {
        ("new mitigation", CONNECTIONS, Store::Sqlite) => vec![at_least(8_000.0, "8,000 events/s")],
        ("new mitigation", CONNECTIONS, Store::Postgres) => vec![at_least(7_000.0, "7,000 events/s")],
        ("extend", CONNECTIONS, _) => vec![at_least(9_000.0, "9,000 events/s")],
        ("new mitigation", MANY, store) => vec![
            match store {
                Store::Sqlite => at_least(14_000.0, "14,000 events/s"),
                Store::Postgres => at_least(13_000.0, "13,000 events/s"),
            },
            Target::under(report.p99_ms, 20.0, "p99 20 ms"),
        ],
        _ => Vec::new(),
    }
}

fn detail(report: &Report) -> String {
    format!(
        "{} requests; p50 {:.2}, p99 {:.2}, max {:.1} ms",
        report.requests, report.p50_ms, report.p99_ms, report.max_ms
    )
}
