//! What holds all announcing back.

use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Sessions were lost right after something was announced: until a person resets it, nothing new is announced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct BreakerTripped {
    /// When it tripped.
    pub tripped_at: Timestamp,
    /// The neighbours whose sessions were lost, in order of their names.
    pub neighbors: Vec<String>,
    /// What was announced since then was withdrawn.
    pub announced_since: Timestamp,
    /// How many mitigations that were.
    pub withdrawn: u64,
}

/// What holds all announcing back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Control {
    /// The breaker, while it is tripped.
    pub breaker: Option<BreakerTripped>,
}

/// The body of `POST /v1/breaker/reset`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct BreakerResetRequest {
    /// Why, for the journal.
    pub reason: String,
}
