//! Detectors as people look at them, and pausing one.

use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A person paused a detector: its bans are stored and not acted on until a person says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct SourcePaused {
    /// Its name.
    pub source: String,
    /// The person's words.
    pub reason: String,
    /// Who.
    pub paused_by: String,
    /// When.
    pub paused_at: Timestamp,
}

/// A detector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct SourceView {
    /// Its name.
    pub name: String,
    /// Whether the configuration names it; otherwise the default applies.
    pub configured: bool,
    /// While it is paused.
    pub paused: Option<SourcePaused>,
    /// How much it is believed.
    pub weight: f64,
    /// Sources fed by the same data share a domain.
    pub domain: Option<String>,
    /// Whether rules on its word go to routers.
    pub enforce: bool,
    /// When its last report came; absent: none in a week.
    pub last_seen_at: Option<Timestamp>,
    /// Its reports of the last 24 hours.
    pub events_24h: u64,
    /// The same by what became of them.
    pub outcomes_24h: BTreeMap<String, u64>,
    /// Live mitigations that a claim of its holds.
    pub mitigations: u64,
    /// Those among them that nobody else holds: a pause with `withdraw` takes them back.
    pub mitigations_alone: u64,
}

/// Every detector that is configured, paused, or has reported in a week.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct SourceList {
    /// By name.
    pub sources: Vec<SourceView>,
    /// How many.
    pub count: usize,
}

/// The body of `POST /v1/sources/{name}/pause`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PauseRequest {
    /// Why, for the journal.
    pub reason: String,
    /// Whether what it holds alone is withdrawn.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub withdraw: bool,
    /// Only when so many would be withdrawn; otherwise 409.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect_count: Option<u64>,
}

/// The body of `POST /v1/sources/{name}/resume`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ResumeRequest {
    /// Why, for the journal.
    pub reason: String,
}

/// The answer of both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct SourceAnswer {
    /// The detector.
    pub source: String,
    /// While it is paused.
    pub paused: Option<SourcePaused>,
    /// How many mitigations were withdrawn.
    pub withdrawn: u64,
}
