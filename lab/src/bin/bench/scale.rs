//! 100,000 active mitigations: what an event costs beside few and beside many, memory, and the start.

use std::time::{Duration, Instant};

use lab::load::{Mode, Until};

use crate::rig::{CONNECTIONS, Rig, Store};
use crate::target::Target;
use crate::{Arguments, Figure};

const FEW: u64 = 100;
const MANY: u64 = 100_000;
/// Events of one measurement: enough for ticks of 10 ms.
const EVENTS: u64 = 5_000;
/// Flat is what differs by less than two runs of the same do on a shared machine.
const FLAT: f64 = 1.25;

pub(crate) async fn measure(arguments: &Arguments) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for store in Store::ALL {
        eprintln!("measuring {MANY} active mitigations on {store} ...");
        let (mut rig, _router) = Rig::with_bird(arguments, store).await?;
        rig.run(Mode::Batch, 1, Until::Requests(FEW / 100), FEW).await?;
        let new_beside_few = cost(&rig, Mode::New, FEW).await?;
        let extend_beside_few = cost(&rig, Mode::Extend, 0).await?;
        let there = FEW + EVENTS;
        rig.run_from(
            there,
            Mode::Batch,
            4,
            Until::Requests((MANY - there) / 100),
            MANY - there,
        )
        .await?;
        let new_beside_many = cost(&rig, Mode::New, MANY).await?;
        let extend_beside_many = cost(&rig, Mode::Extend, 0).await?;
        let resident = rig.daemon.resident()?;

        let killed = Instant::now();
        let rig = rig.kill_and_start().await?;
        let ready = killed.elapsed();
        let after = rig.daemon.resident()?;
        let flat = |what: &str, few: Duration, many: Duration| Figure {
            what: format!("{what} beside {MANY} active, {store}"),
            value: format!("{:.0} µs of CPU", many.as_secs_f64() * 1e6),
            targets: vec![Target::under(
                many.as_secs_f64(),
                few.as_secs_f64() * FLAT,
                "flat",
            )],
            detail: format!(
                "the daemon's, {EVENTS} events, {CONNECTIONS} connections; beside {FEW}: {:.0} µs",
                few.as_secs_f64() * 1e6
            ),
        };
        figures.extend([
            flat("new mitigation", new_beside_few, new_beside_many),
            flat("extend", extend_beside_few, extend_beside_many),
            Figure {
                what: format!("memory with {} active, {store}", MANY + EVENTS),
                value: format!("{} MB resident", resident / 1_000_000),
                targets: vec![Target::under(resident as f64, 300e6, "300 MB")],
                detail: format!("after a restart {} MB", after / 1_000_000),
            },
            Figure {
                what: format!(
                    "daemon killed and ready again with {} active, {store}",
                    MANY + EVENTS
                ),
                value: format!("{:.2} s", ready.as_secs_f64()),
                targets: vec![Target::under(ready.as_secs_f64(), 3.0, "3 s")],
                detail: "from the kill to ready".to_owned(),
            },
        ]);
    }
    Ok(figures)
}

/// Processor time of the daemon for one event.
async fn cost(rig: &Rig, mode: Mode, first: u64) -> anyhow::Result<Duration> {
    let before = rig.daemon.cpu()?;
    rig.run_from(first, mode, CONNECTIONS, Until::Requests(EVENTS), EVENTS)
        .await?;
    let used = rig.daemon.cpu()?.saturating_sub(before);
    Ok(used / u32::try_from(EVENTS)?)
}
