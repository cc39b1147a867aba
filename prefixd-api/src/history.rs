//! Everything that is known of an address.

use crate::event::StoredEvent;
use crate::mitigation::{Mitigation, Suppression, WideSuppression};
use crate::resource::SafelistEntry;
use crate::time::Timestamp;
use crate::victim::Victim;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a line of a history is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum HistoryKind {
    /// A report, when it was received.
    Event,
    /// A mitigation, when it was made.
    Mitigation,
}

impl fmt::Display for HistoryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Event => "event",
            Self::Mitigation => "mitigation",
        })
    }
}

/// One line of a history.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct HistoryItem {
    /// When.
    pub at: Timestamp,
    /// What it is about.
    pub kind: HistoryKind,
    /// The event or mitigation.
    pub id: String,
    /// The POP that it is of.
    #[serde(default)]
    pub pop: String,
    /// The address.
    pub victim_ip: Victim,
    /// The kind of attack.
    pub vector: String,
    /// What became of it, as one sentence.
    pub summary: String,
    /// The report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<StoredEvent>,
    /// The mitigation as it is now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mitigation: Option<Mitigation>,
}

/// Whose address it is, and what keeps rules away from it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct AddressContext {
    /// The customer who owns it.
    pub customer_id: Option<String>,
    /// Its name.
    pub customer_name: Option<String>,
    /// The customer's service there.
    pub service_id: Option<String>,
    /// Its name.
    pub service_name: Option<String>,
    /// The entries that keep rules away from it.
    pub safelisted: Vec<SafelistEntry>,
    /// The suppressions in force for it.
    pub suppressions: Vec<Suppression>,
    /// Those of prefixes and sources that count for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wide_suppressions: Vec<WideSuppression>,
    /// Its live mitigations.
    pub live: u64,
}

/// The answer of `GET /v1/ip/{ip}/history`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct IpHistory {
    /// The address or prefix.
    pub ip: String,
    /// As of now.
    pub context: AddressContext,
    /// Events and mitigations, newest first.
    pub items: Vec<HistoryItem>,
    /// How many are in this page.
    pub count: usize,
    /// Pass it as `cursor` for the next page; absent on the last. A page may be empty and still have one.
    pub next_cursor: Option<String>,
}
