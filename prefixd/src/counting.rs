//! Counts what is complete, beside the commits.

use crate::clock::Clock;
use crate::store::Store;
use prefixd_api::series::Metric;
use std::sync::Arc;
use std::time::Duration;
use tracing::warn;

/// How often is looked for something to count: what is not counted yet has to be walked by every question.
const EVERY: Duration = Duration::from_secs(10);
/// What is older is not counted any more when it never was: no graph goes back so far.
const OLDEST: Duration = Duration::from_secs(8 * 24 * 3600);

/// Goes on until it is dropped.
pub(crate) async fn keep_counting(store: Arc<Store>, pop: String, clock: Arc<Clock>) {
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        for metric in Metric::ALL {
            if let Err(error) = count_up(&store, &pop, metric, &clock).await {
                warn!(%error, %metric, "what is new could not be counted; it is tried again");
            }
        }
    }
}

async fn count_up(
    store: &Store,
    pop: &str,
    metric: Metric,
    clock: &Clock,
) -> Result<(), crate::store::StoreError> {
    loop {
        let now = clock.now();
        if store
            .count_up(pop, metric, now.saturating_sub(OLDEST), now)
            .await?
        {
            return Ok(());
        }
    }
}
