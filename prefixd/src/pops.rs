//! What the daemons of other POPs do that share the database.

use crate::store::Store;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::MissedTickBehavior;
use tracing::debug;

/// How often is looked at what the others have.
const EVERY: Duration = Duration::from_secs(1);

/// Goes on until it is dropped.
pub(crate) async fn keep_watching(store: Arc<Store>, pop: String) {
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        // The engine says when the store is away; nothing here is urgent.
        if let Err(error) = store.look_elsewhere(&pop).await {
            debug!(%error, "what other POPs have reserved is not known");
        }
    }
}
