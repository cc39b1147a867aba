//! 10,000 active rules: to a fresh session, after a crash of the daemon, and at rest.

use std::time::{Duration, Instant};

use anyhow::bail;
use lab::load::{Mode, Until};
use lab::routers::{Family, Router};

use crate::rig::{Rig, Store};
use crate::target::Target;
use crate::{Arguments, Figure};

const RULES: u64 = 10_000;
const LIMIT: Duration = Duration::from_secs(60);

/// BIRD's control socket answers a count in a fraction of that.
const POLL: Duration = Duration::from_millis(2);

/// How long the daemon is watched at rest, once as configured and once reconciling every second: the kernel counts
/// processor time in ticks of 10 ms.
const REST: Duration = Duration::from_secs(20);

/// Reconciliations in that time, of which every 30 s also brings one without being asked.
const RECONCILES: u32 = 20;

pub(crate) async fn measure(arguments: &Arguments) -> anyhow::Result<Vec<Figure>> {
    eprintln!("measuring {RULES} active rules ...");
    let (mut rig, mut router) = Rig::with_bird(arguments, Store::Sqlite).await?;
    rig.run(Mode::Batch, 4, Until::Requests(RULES / 100), RULES)
        .await?;
    holds_all(&router).await?;

    router.restart().await?;
    let restarted = Instant::now();
    router.wait_established(LIMIT).await?;
    let established = Instant::now();
    holds_all(&router).await?;
    let pushed = established.elapsed();
    let since_restart = restarted.elapsed();

    let resting = cpu_of(&rig, REST).await?;
    rig.reconcile_every(1).await?;
    // The reload judges every rule once; that is not what is measured.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let reconciling = cpu_of(&rig, REST).await?;
    let reconcile = reconciling.saturating_sub(resting) / RECONCILES;

    let killed = Instant::now();
    let rig = rig.kill_and_start().await?;
    let ready = killed.elapsed();
    holds_all(&router).await?;
    let back = killed.elapsed();
    drop(rig);

    let ms = |time: Duration| format!("{:.0} ms", time.as_secs_f64() * 1000.0);
    Ok(vec![
        Figure {
            what: format!("full push of {RULES} rules to a fresh BIRD session"),
            value: ms(pushed),
            targets: vec![Target::under(pushed.as_secs_f64(), 0.2, "200 ms")],
            detail: format!(
                "from established to the last rule in BIRD's table; {} from BIRD's start",
                ms(since_restart)
            ),
        },
        Figure {
            what: format!("daemon killed and started, to all {RULES} rules back"),
            value: ms(back),
            targets: vec![Target::under(back.as_secs_f64(), 2.0, "2 s")],
            detail: format!("SQLite; ready after {}", ms(ready)),
        },
        Figure {
            what: format!("one reconciliation of {RULES} rules"),
            value: format!("{:.1} ms of CPU", reconcile.as_secs_f64() * 1000.0),
            targets: vec![Target::under(reconcile.as_secs_f64(), 0.05, "50 ms")],
            detail: format!("mean of {RECONCILES}, one a second, less the daemon at rest"),
        },
    ])
}

/// Processor time that the daemon uses while nothing is asked of it.
async fn cpu_of(rig: &Rig, span: Duration) -> anyhow::Result<Duration> {
    let before = rig.daemon.cpu()?;
    tokio::time::sleep(span).await;
    Ok(rig.daemon.cpu()?.saturating_sub(before))
}

/// Waits until BIRD holds every rule. A crash of the daemon empties its table first, so the count must be seen to grow.
async fn holds_all(router: &Router) -> anyhow::Result<()> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let count = router.count(Family::Ipv4Flow).await?;
        if count as u64 >= RULES && router.is_established().await? {
            return Ok(());
        }
        if Instant::now() >= deadline {
            bail!("BIRD holds {count} of {RULES} rules after {LIMIT:?}");
        }
        tokio::time::sleep(POLL).await;
    }
}
