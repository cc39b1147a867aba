//! Whether what should be announced, what is held and what was told are the same.

use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// One neighbour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct NeighborDrift {
    /// The neighbour.
    pub neighbor: String,
    /// Rules that the committed mitigations ask for there.
    pub desired: u64,
    /// Rules that its router was told and that were not taken back.
    pub advertised: u64,
    /// Desired rules that the speaker does not hold, or holds otherwise: a defect, repaired by the next reconciliation.
    pub missing: u64,
    /// Rules that the speaker holds and no live mitigation explains: the same.
    pub unexplained: u64,
    /// Desired rules that are not with the router, by where they stand: `queued`, `session_down`, `refused`, ...
    pub not_advertised: std::collections::BTreeMap<String, u64>,
}

/// The answer of `GET /v1/drift` and `POST /v1/reconcile`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Drift {
    /// When it was compared.
    pub at: Timestamp,
    /// Whether everything is as it should be: nothing missing, nothing unexplained, everything advertised.
    pub in_sync: bool,
    /// Live mitigations that should be announced.
    pub mitigations: u64,
    /// Differences that reconciliation has repaired since the start.
    pub repaired_total: u64,
    /// What this reconciliation repaired; absent where nothing was to be repaired by the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repaired: Option<u64>,
    /// Every neighbour that gets rules, in the order of the configuration.
    pub neighbors: Vec<NeighborDrift>,
}
