//! A page of 100 of 10,000 active mitigations, over 200,000 ended ones.

use std::time::Duration;

use lab::load::{Mode, Until};

use crate::rig::{CONNECTIONS, Rig, Store, VICTIMS};
use crate::target::Target;
use crate::{Arguments, Figure};

const ACTIVE: u64 = 10_000;
const ENDED: u64 = 200_000;

pub(crate) async fn measure(arguments: &Arguments) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for store in Store::ALL {
        eprintln!("measuring lists on {store} ...");
        let (mut rig, _router) = Rig::with_bird(arguments, store).await?;
        for _ in 0..ENDED / VICTIMS {
            rig.run(Mode::Batch, 4, Until::Requests(VICTIMS / 100), VICTIMS)
                .await?;
            rig.run_again(Mode::BatchUnban, 4, Until::Requests(VICTIMS / 100), VICTIMS)
                .await?;
        }
        rig.run(Mode::Batch, 4, Until::Requests(ACTIVE / 100), ACTIVE)
            .await?;
        let report = rig
            .run(
                Mode::List,
                CONNECTIONS,
                Until::Elapsed(Duration::from_secs(10)),
                ACTIVE,
            )
            .await?;
        figures.push(Figure {
            what: format!("list 100 of {ACTIVE} active with {ENDED} ended, {store}"),
            value: format!("p99 {:.2} ms", report.p99_ms),
            targets: vec![Target::under(report.p99_ms, 10.0, "p99 10 ms")],
            detail: format!(
                "{CONNECTIONS} connections; {:.0} pages/s, p50 {:.2}, max {:.1} ms",
                report.per_second, report.p50_ms, report.max_ms
            ),
        });
    }
    Ok(figures)
}
