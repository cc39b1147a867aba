//! The trace of one decision as it grows.

use super::reason::Reason;
use prefixd_api::time::Timestamp;
use prefixd_api::why::Why;
use std::sync::Arc;

/// Reasons in the order they were met.
#[derive(Debug, Default)]
pub(super) struct Trace(Vec<Reason>);

impl Trace {
    pub(super) fn note(&mut self, reason: Reason) {
        self.0.push(reason);
    }

    pub(super) fn into_why(self, decided_at: Timestamp, outcome: &str, summary: String) -> Arc<Why> {
        Arc::new(Why {
            decided_at,
            outcome: outcome.to_owned(),
            summary,
            steps: self.0.iter().map(Reason::to_step).collect(),
        })
    }
}
