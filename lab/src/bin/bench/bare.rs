//! What this machine can do at all, now: the bare path of prefixd/examples/bare.rs under the same load. The machine's
//! speed changes by the hour; how many times as long the daemon takes does not.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use lab::load::{self, Load, Mode, Until};
use lab::net;
use lab::process::Process;

use crate::rig::{Place, Store};
use crate::{Arguments, Figure};

const RUN: Until = Until::Elapsed(Duration::from_secs(4));
const START_LIMIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(10);

/// Events per second of the bare path, and its row.
pub(crate) async fn measure(
    arguments: &Arguments,
    store: Store,
    connections: usize,
) -> anyhow::Result<(f64, Figure)> {
    let place = Place::make(arguments, store).await?;
    let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let target = SocketAddr::new(localhost, net::free_port(localhost)?);
    let mut command = Command::new(std::path::absolute(&arguments.bare)?);
    command
        .arg(target.to_string())
        .arg(&place.storage)
        .current_dir(place.dir.path());
    let mut process = Process::spawn("bare", command, place.dir.path())?;
    let started = Instant::now();
    while !net::is_listening(target)? {
        ensure!(
            process.ended()?.is_none() && started.elapsed() < START_LIMIT,
            "the bare path did not start: {}",
            process.log()
        );
        tokio::time::sleep(POLL).await;
    }
    let report = load::run(Load {
        target,
        mode: Mode::New,
        connections,
        until: RUN,
        first: 0,
        victims: crate::rig::VICTIMS,
        run: 0,
    })
    .await?;
    let unexpected = &report.unexpected;
    ensure!(unexpected.is_none(), "the bare path answered {unexpected:?}");
    process.stop().await.context("stop the bare path")?;
    let figure = Figure {
        what: format!("bare path, {connections} connections, {store}"),
        value: format!("{:.0} events/s", report.per_second),
        targets: Vec::new(),
        detail: format!(
            "p50 {:.2}, p99 {:.2}, max {:.1} ms",
            report.p50_ms, report.p99_ms, report.max_ms
        ),
    };
    Ok((report.per_second, figure))
}
