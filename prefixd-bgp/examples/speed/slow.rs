//! A neighbour that reads slowly or not at all: what a withdrawal behind a full table waits for, and whether the others
//! wait.

use std::time::Duration;

use prefixd_bgp::Speaker;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use crate::peer::{Peer, read};
use crate::{
    LIMIT, RULES, announce, config, established, first, is_settled, key, median, milliseconds, routes, row,
    until, withdraw,
};

/// Single rules announced to the neighbour that reads.
const SINGLE: u32 = 1000;
const RUNS: usize = 5;

pub(crate) async fn measure() -> anyhow::Result<()> {
    eprintln!("measuring slow neighbours ...");
    let mut written = Vec::new();
    for _ in 0..RUNS {
        written.push(withdrawal().await?);
    }
    row(
        &format!("withdrawal while {RULES} rules are queued to a slow neighbour"),
        &format!(
            "{} after its socket is writable",
            milliseconds(median(&mut written))
        ),
        ("100 ms", median(&mut written) < Duration::from_millis(100)),
        &format!(
            "until the speaker has written it; {RUNS} runs, at most {}",
            milliseconds(written.last().copied().unwrap_or_default())
        ),
    );
    let mut alone = beside(false).await?;
    let mut stopped = beside(true).await?;
    let p99 = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        times.get(times.len() * 99 / 100).copied().unwrap_or_default()
    };
    row(
        "announcement to a neighbour beside a stopped one",
        &format!("p99 {}", milliseconds(p99(&mut stopped))),
        (
            "within 1 ms of without",
            p99(&mut stopped) < p99(&mut alone) + Duration::from_millis(1),
        ),
        &format!(
            "{SINGLE} rules, one at a time, from the order to the socket; p50 {}; without the other p99 {}, p50 {}",
            milliseconds(median(&mut stopped)),
            milliseconds(p99(&mut alone)),
            milliseconds(median(&mut alone)),
        ),
    );
    Ok(())
}

/// From the moment the neighbour reads again to the moment the withdrawal is written.
async fn withdrawal() -> anyhow::Result<Duration> {
    let peer = Peer::bind("slow")?;
    let speaker = Speaker::start(config(vec![peer.neighbor()?])?)?;
    let routes = routes(RULES)?;
    let told = first(&routes)?;
    speaker.apply([announce(told)])?;
    speaker.open();
    let session = peer.session().await?;
    established(&speaker, "slow").await?;
    until(&speaker, "the first rule", |speaker| is_settled(speaker, "slow")).await?;
    speaker.apply(routes.iter().map(announce))?;
    // Nobody reads: the kernel takes what it takes, and then the writer stands.
    let written = || speaker.counts("slow").map(|counts| counts.advertised);
    let mut last = None;
    while last != written() {
        last = written();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    anyhow::ensure!(last < Some(RULES as usize), "the kernel took everything");
    speaker.apply([withdraw(told)])?;
    let begin = Instant::now();
    let reader = tokio::spawn(read(session, |_| ()));
    until(&speaker, "the withdrawal", |speaker| {
        speaker.route("slow", key(told)).is_none()
    })
    .await?;
    let waited = begin.elapsed();
    reader.abort();
    Ok(waited)
}

/// How long single rules take to a neighbour that reads, with or without one that has stopped under a full table.
async fn beside(stopped: bool) -> anyhow::Result<Vec<Duration>> {
    let good = Peer::bind("good")?;
    let bad = Peer::bind("bad")?;
    let mut neighbors = vec![good.neighbor()?];
    if stopped {
        neighbors.push(bad.neighbor()?);
    }
    let speaker = Speaker::start(config(neighbors)?)?;
    speaker.open();
    let (arrived, mut arrivals) = mpsc::channel(16);
    let (done, is_done) = oneshot::channel::<()>();
    let session = good.session().await?;
    let reader = tokio::spawn(async move {
        let reading = read(session, |body| {
            // End-of-RIB and withdrawals are shorter.
            if body.len() > 40 {
                let _ = arrived.try_send(Instant::now());
            }
        });
        tokio::select! {
            result = reading => result,
            _ = is_done => Ok(()),
        }
    });
    let frozen = if stopped { Some(bad.session().await?) } else { None };
    established(&speaker, "good").await?;
    let all = routes(RULES + SINGLE)?;
    let (table, single) = all.split_at(RULES as usize);
    if stopped {
        established(&speaker, "bad").await?;
    }
    speaker.apply(table.iter().map(announce))?;
    until(&speaker, "a full table", |speaker| is_settled(speaker, "good")).await?;
    while arrivals.try_recv().is_ok() {}
    let mut times = Vec::new();
    for route in single {
        let begin = Instant::now();
        speaker.apply([announce(route)])?;
        let at = timeout(LIMIT, arrivals.recv()).await?;
        times.push(at.unwrap_or_else(Instant::now).saturating_duration_since(begin));
    }
    drop(frozen);
    drop(done);
    reader.await??;
    Ok(times)
}
