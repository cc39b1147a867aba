//! The journal as people read it: who did what, when, and whether anybody changed it afterwards.

use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// One entry of the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct AuditEntry {
    /// Its number, without gaps in its POP.
    pub seq: u64,
    /// The POP.
    pub pop: String,
    /// When it was decided.
    pub at: Timestamp,
    /// Who: always the authenticated one; `prefixd` for what nobody asked for.
    pub actor: String,
    /// What happened: `mitigation.withdrawn`, `safelist`, `peer`, ...
    pub action: String,
    /// What it happened to: `mitigation`, `event`, `safelist`, ...
    pub target_type: String,
    /// Which one.
    pub target_id: String,
    /// The change as the journal keeps it.
    #[cfg_attr(feature = "server", schema(value_type = Object))]
    pub body: serde_json::Value,
    /// SHA-256 that seals it to the entry before, as hex.
    pub hash: String,
}

/// One page of the journal.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct AuditList {
    /// Newest first.
    pub entries: Vec<AuditEntry>,
    /// How many are in this page.
    pub count: usize,
    /// Pass it as `cursor` for the next page; absent on the last. A page may be empty and still have one.
    pub next_cursor: Option<String>,
}

/// A place in the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct ChainPoint {
    /// Number of the entry; 0: before the first.
    pub seq: u64,
    /// Its hash as hex.
    pub hash: String,
}

/// The first entry that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct ChainBreak {
    /// Its number.
    pub seq: u64,
    /// What is wrong with it.
    pub what: String,
}

/// The answer of `GET /v1/audit/verify`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct AuditVerification {
    /// The POP whose chain it is.
    pub pop: String,
    /// Whether every entry that was walked is sealed to the one before.
    pub intact: bool,
    /// Where the walk began: an entry, where retention stopped, or the beginning. It is taken as given.
    pub from: Option<ChainPoint>,
    /// The last entry that was walked.
    pub to: Option<ChainPoint>,
    /// How many entries were walked.
    pub entries: u64,
    /// Where it is broken.
    pub broken: Option<ChainBreak>,
    /// The chain goes on: pass it as `from` to walk the rest. Absent: this was the end.
    pub next_from: Option<u64>,
}
