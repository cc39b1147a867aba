//! Every list over years of history: 2,000,000 events and 1,000,000 ended mitigations.
//!
//! Takes a quarter of an hour and 25 GB of the directory, so it is measured only when asked for.

use std::time::{Duration, Instant};

use anyhow::ensure;
use lab::http::request;
use lab::load::{Mode, Until, quantile};
use serde_json::Value;

use crate::rig::{Rig, Store, VICTIMS};
use crate::target::Target;
use crate::{Arguments, Figure};

const ENDED: u64 = 1_000_000;
const ACTIVE: u64 = 10_000;
/// Pages of each list, one after the other, each where the one before ended.
const PAGES: usize = 300;

/// After this time all of it is in the counts that graphs read, as all history is but that of the last moments.
const COUNTED: Duration = Duration::from_secs(45);

/// What is asked: each walks an index of its own, or filters on the way of one.
const LISTS: [&str; 17] = [
    "/v1/mitigations?limit=100",
    "/v1/mitigations?limit=100&status=active",
    "/v1/mitigations?limit=100&status=withdrawn&customer_id=bench",
    "/v1/mitigations?limit=100&victim_ip=11.0.1.5",
    "/v1/mitigations?limit=100&victim_ip=11.0.1.0/24",
    "/v1/mitigations?limit=100&vector=none_has_it",
    "/v1/events?limit=100",
    "/v1/events?limit=100&outcome=accepted&source=bench",
    "/v1/events?limit=100&victim_ip=11.0.1.5",
    "/v1/events?limit=100&source=none_has_it",
    "/v1/groups?limit=100",
    "/v1/ip/11.0.1.5/history?limit=100",
    "/v1/ip/11.0.1.0/history?limit=100",
    "/v1/audit?limit=100",
    "/v1/audit?limit=100&actor=nobody",
    "/v1/stats/timeseries?metric=events&range=7d",
    "/v1/match?dst=11.0.1.5",
];

pub(crate) async fn measure(arguments: &Arguments) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for store in Store::ALL {
        eprintln!("measuring lists over history on {store} ...");
        let (mut rig, _router) = Rig::with_bird(arguments, store).await?;
        for round in 0..ENDED / VICTIMS {
            eprintln!("{} of {ENDED} mitigations ended ...", round * VICTIMS);
            fill(&mut rig, Mode::Batch).await?;
            fill(&mut rig, Mode::BatchUnban).await?;
        }
        rig.run(Mode::Batch, 4, Until::Requests(ACTIVE / 100), ACTIVE)
            .await?;
        tokio::time::sleep(COUNTED).await;
        for path in LISTS {
            let times = pages(&rig, path).await?;
            let figure = Figure {
                what: format!("{path}, {store}"),
                value: format!("p99 {:.2} ms", quantile(&times, 0.99)),
                targets: vec![Target::under(quantile(&times, 0.99), 10.0, "p99 10 ms")],
                detail: format!(
                    "{} pages one by one; p50 {:.2}, max {:.1} ms",
                    times.len(),
                    quantile(&times, 0.5),
                    quantile(&times, 1.0)
                ),
            };
            // Also of a run that does not come to its end.
            eprintln!("{}: {}, {}", figure.what, figure.value, figure.detail);
            figures.push(figure);
        }
    }
    Ok(figures)
}

/// All victims once. A database that is busy with its own checkpoints may refuse some; they are sent again, and what was
/// taken is known by then.
async fn fill(rig: &mut Rig, mode: Mode) -> anyhow::Result<()> {
    const ATTEMPTS: usize = 5;
    let until = || Until::Requests(VICTIMS / 100);
    for _ in 1..ATTEMPTS {
        let filled = match mode {
            Mode::BatchUnban => rig.run_again(mode, 4, until(), VICTIMS).await,
            _ => rig.run(mode, 4, until(), VICTIMS).await,
        };
        match filled {
            Ok(_) => return Ok(()),
            Err(error) => eprintln!("some were refused, and are sent again: {}", brief(&error)),
        }
    }
    anyhow::bail!("the daemon does not take the history")
}

/// The beginning of an error that may hold a whole answer.
fn brief(error: &anyhow::Error) -> String {
    error.to_string().chars().take(200).collect()
}

/// The sorted times of pages, each from the one before; from the first again after the last.
async fn pages(rig: &Rig, path: &str) -> anyhow::Result<Vec<Duration>> {
    let mut client = rig.daemon.client().await?;
    let mut times = Vec::with_capacity(PAGES);
    let mut cursor = String::new();
    for _ in 0..PAGES {
        let page = request(rig.daemon.http(), "GET", &format!("{path}{cursor}"), b"");
        let sent = Instant::now();
        let response = client.exchange(&page).await?;
        times.push(sent.elapsed());
        ensure!(
            response.status == 200,
            "prefixd answered {} to {path}{cursor}: {}",
            response.status,
            String::from_utf8_lossy(response.body)
        );
        let answer: Value = serde_json::from_slice(response.body)?;
        cursor = answer["next_cursor"]
            .as_str()
            .map(|next| format!("&cursor={next}"))
            .unwrap_or_default();
    }
    times.sort_unstable();
    Ok(times)
}
