//! 100,000 active mitigations: what an event costs beside few and beside many, memory, and the start.

use std::time::{Duration, Instant};

use lab::load::{Mode, Until};
use lab::routers::Router;

use crate::rig::{Rig, Store};
use crate::target::Target;
use crate::{Arguments, Figure};

const FEW: u64 = 100;
const MANY: u64 = 100_000;
const CONNECTIONS: usize = 64;
/// Measurements of each daemon, by turns with the other: what the machine can do changes from second to second.
const ROUNDS: u64 = 10;
/// Events of one measurement.
const EVENTS: u64 = 500;
/// Flat is what differs by less than two runs of the same do on a shared machine.
const FLAT: f64 = 1.25;

pub(crate) async fn measure(arguments: &Arguments) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for store in Store::ALL {
        eprintln!("measuring {MANY} active mitigations on {store} ...");
        let (few, _few_router) = beside(arguments, store, FEW).await?;
        let (many, _router) = beside(arguments, store, MANY).await?;
        let (mut new, mut extended) = (Costs::default(), Costs::default());
        for round in 0..ROUNDS {
            let later = round * EVENTS;
            new.few += cost(&few, Mode::New, FEW + later, EVENTS).await?;
            new.many += cost(&many, Mode::New, MANY + later, EVENTS).await?;
            extended.few += cost(&few, Mode::Extend, 0, FEW).await?;
            extended.many += cost(&many, Mode::Extend, round * (MANY / ROUNDS), EVENTS).await?;
        }
        let resident = many.daemon.resident()?;

        let killed = Instant::now();
        let many = many.kill_and_start().await?;
        let ready = killed.elapsed();
        let after = many.daemon.resident()?;
        let there = MANY + ROUNDS * EVENTS;
        figures.extend([
            new.flat(format!("new mitigation beside {MANY} active, {store}")),
            extended.flat(format!("extend beside {MANY} active, {store}")),
            Figure {
                what: format!("memory with {there} active, {store}"),
                value: format!("{} MB resident", resident / 1_000_000),
                targets: vec![Target::under(resident as f64, 300e6, "300 MB")],
                detail: format!("after a restart {} MB", after / 1_000_000),
            },
            Figure {
                what: format!("daemon killed and ready again with {there} active, {store}"),
                value: format!("{:.2} s", ready.as_secs_f64()),
                targets: vec![Target::under(ready.as_secs_f64(), 3.0, "3 s")],
                detail: "from the kill to ready".to_owned(),
            },
        ]);
    }
    Ok(figures)
}

/// A daemon with so many active mitigations.
async fn beside(arguments: &Arguments, store: Store, active: u64) -> anyhow::Result<(Rig, Router)> {
    let (mut rig, router) = Rig::with_bird(arguments, store).await?;
    rig.run(Mode::Batch, 4, Until::Requests(active / 100), active)
        .await?;
    Ok((rig, router))
}

/// What both daemons used for the same events.
#[derive(Default)]
struct Costs {
    few: Duration,
    many: Duration,
}

impl Costs {
    fn flat(&self, what: String) -> Figure {
        let [few, many] = [self.few, self.many].map(|all| all.as_secs_f64() / (ROUNDS * EVENTS) as f64);
        Figure {
            what,
            value: format!("{:.0} µs of CPU", many * 1e6),
            targets: vec![Target::under(many, few * FLAT, "flat")],
            detail: format!(
                "the daemon's, {ROUNDS} times {EVENTS} events by turns, {CONNECTIONS} connections; beside {FEW}: {:.0} µs",
                few * 1e6
            ),
        }
    }
}

/// Processor time of the daemon for events of these victims.
async fn cost(rig: &Rig, mode: Mode, first: u64, victims: u64) -> anyhow::Result<Duration> {
    let before = rig.daemon.cpu()?;
    rig.run_from(first, mode, CONNECTIONS, Until::Requests(EVENTS), victims)
        .await?;
    Ok(rig.daemon.cpu()?.saturating_sub(before))
}
