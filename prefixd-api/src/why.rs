//! The trace of a decision: every input, threshold and check with its numbers.

use crate::resource::Announcement;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Why an event or an operator's request had the outcome it had, also when the outcome was "did nothing".
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Why {
    /// When it was decided.
    pub decided_at: Timestamp,
    /// The outcome in one word, as in the answer (`accepted`, `rejected_guardrail`, ...).
    pub outcome: String,
    /// The deciding reason as one sentence.
    pub summary: String,
    /// Every step, in the order it was taken.
    pub steps: Vec<WhyStep>,
    /// What became of it at each neighbour, as it stands when it is asked; of what is announced now alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub announcements: Vec<Announcement>,
}

/// One step of a decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct WhyStep {
    /// Which part of the decision took the step: `claim`, `owner`, `playbook`, `template`, `guardrail`, ...
    pub stage: String,
    /// Stable code of the reason; a guardrail's code where a guardrail spoke.
    pub code: String,
    /// What the step meant for the outcome.
    pub verdict: Verdict,
    /// The reason as one sentence with its numbers.
    pub text: String,
    /// The numbers behind the sentence, by name.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[cfg_attr(feature = "server", schema(value_type = Object))]
    pub data: Map<String, Value>,
}

/// What a step meant for the outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// A fact the decision used.
    Noted,
    /// A check that was met.
    Passed,
    /// A value that was changed, for example an action capped by a template.
    Adjusted,
    /// A check that was not met: it decided the outcome.
    Refused,
}
