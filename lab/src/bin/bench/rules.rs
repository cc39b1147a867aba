//! 10,000 active rules: to a fresh session, after a crash of the daemon, and at rest.

use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use lab::load::{Mode, Until};
use lab::routers::{Family, Router};

use crate::rig::{Rig, Store};
use crate::{Arguments, Figure};

const RULES: u64 = 10_000;
const LIMIT: Duration = Duration::from_secs(60);

/// BIRD's control socket answers a count in a fraction of that.
const POLL: Duration = Duration::from_millis(2);

/// Reconciliations whose processor time is averaged: the kernel counts in ticks of 10 ms.
const RECONCILES: u32 = 50;

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

    let idle = rig.daemon.cpu()?;
    let mut client = rig.daemon.client().await?;
    for _ in 0..RECONCILES {
        let (status, answer) = client.json("POST", "/v1/reconcile", None).await?;
        ensure!(
            (200..300).contains(&status),
            "prefixd answered {status} to a reconcile: {answer}"
        );
    }
    let reconcile = (rig.daemon.cpu()? - idle) / RECONCILES;
    drop(client);

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
            detail: format!(
                "from established to the last rule in BIRD's table; {} from BIRD's start",
                ms(since_restart)
            ),
        },
        Figure {
            what: format!("daemon killed and started, to all {RULES} rules back"),
            value: ms(back),
            detail: format!("SQLite; ready after {}", ms(ready)),
        },
        Figure {
            what: format!("one reconciliation of {RULES} rules"),
            value: format!("{:.1} ms of CPU", reconcile.as_secs_f64() * 1000.0),
            detail: format!("mean of {RECONCILES}, asked for over REST"),
        },
    ])
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
