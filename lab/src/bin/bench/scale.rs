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
/// Until what events set off is done: the log of a SQLite file has moved into it.
const FOLLOWS: Duration = Duration::from_millis(300);
/// Until nothing is left of a fill: its deliveries are told in 20 s, and its events are counted after 40. All is compared every 30 s.
const SETTLES: Duration = Duration::from_secs(45);
/// Seconds between reconciliations of which none falls into a run.
const NEVER: u32 = 3_600;
/// Until a reload has judged all that is live.
const JUDGED: Duration = Duration::from_secs(10);
/// How long a daemon is looked at that nobody asks anything.
const REST: Duration = Duration::from_secs(3);
/// Flat is what differs by less than two runs of the same do on a shared machine.
const FLAT: f64 = 1.25;

pub(crate) async fn measure(arguments: &Arguments) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for store in Store::ALL {
        eprintln!("measuring {MANY} active mitigations on {store} ...");
        let (few, many) = tokio::try_join!(
            Beside::of(arguments, store, FEW),
            Beside::of(arguments, store, MANY)
        )?;
        let (mut new, mut extended) = (Costs::default(), Costs::default());
        for round in 0..ROUNDS {
            let later = round * EVENTS;
            new.few += few.cost(Mode::New, FEW + later).await?;
            new.many += many.cost(Mode::New, MANY + later).await?;
            extended.few += few.cost(Mode::Extend, 0).await?;
            extended.many += many.cost(Mode::Extend, round * (MANY / ROUNDS)).await?;
        }

        let killed = Instant::now();
        let rig = many.rig.kill_and_start().await?;
        let ready = killed.elapsed();
        let after = rig.daemon.resident()?;
        let there = MANY + ROUNDS * EVENTS;
        figures.extend([
            new.flat(format!("new mitigation beside {MANY} active, {store}")),
            extended.flat(format!("extend beside {MANY} active, {store}")),
            Figure {
                what: format!("memory with {MANY} active, {store}"),
                value: format!("{} MB resident", many.resident / 1_000_000),
                targets: vec![Target::under(many.resident as f64, 300e6, "300 MB")],
                detail: format!("after a restart with {there} active {} MB", after / 1_000_000),
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
struct Beside {
    rig: Rig,
    _router: Router,
    /// Memory after a while: what is new has been counted, and all has been compared with the neighbour's table.
    resident: u64,
    /// The share of a processor that it uses when nobody asks anything of it.
    at_rest: f64,
}

impl Beside {
    async fn of(arguments: &Arguments, store: Store, active: u64) -> anyhow::Result<Self> {
        let (mut rig, router) = Rig::with_bird(arguments, store).await?;
        rig.run(Mode::Batch, 4, Until::Requests(active / 100), active)
            .await?;
        tokio::time::sleep(SETTLES).await;
        let resident = rig.daemon.resident()?;
        // A comparison of all would be taken for what an event costs, wherever it falls.
        rig.reconcile_every(NEVER).await?;
        tokio::time::sleep(JUDGED).await;
        let (before, began) = (rig.daemon.cpu()?, Instant::now());
        tokio::time::sleep(REST).await;
        let used = rig.daemon.cpu()?.saturating_sub(before);
        Ok(Self {
            rig,
            _router: router,
            resident,
            at_rest: used.as_secs_f64() / began.elapsed().as_secs_f64(),
        })
    }

    /// Processor time for events of these victims, in seconds: what follows from them a moment later as well, and not what
    /// passes anyway.
    async fn cost(&self, mode: Mode, first: u64) -> anyhow::Result<f64> {
        let (before, began) = (self.rig.daemon.cpu()?, Instant::now());
        self.rig
            .run_from(first, mode, CONNECTIONS, Until::Requests(EVENTS), EVENTS)
            .await?;
        tokio::time::sleep(FOLLOWS).await;
        let used = self.rig.daemon.cpu()?.saturating_sub(before);
        Ok(used.as_secs_f64() - self.at_rest * began.elapsed().as_secs_f64())
    }
}

/// What both daemons used for as many events, in seconds.
#[derive(Default)]
struct Costs {
    few: f64,
    many: f64,
}

impl Costs {
    fn flat(&self, what: String) -> Figure {
        let [few, many] = [self.few, self.many].map(|all| all / (ROUNDS * EVENTS) as f64);
        Figure {
            what,
            value: format!("{:.0} µs of CPU", many * 1e6),
            targets: vec![Target::under(many, few * FLAT, "flat")],
            detail: format!(
                "the daemon's, {ROUNDS} times {EVENTS} events by turns, {CONNECTIONS} connections; beside {FEW} to {}: {:.0} µs",
                FEW + ROUNDS * EVENTS,
                few * 1e6
            ),
        }
    }
}
