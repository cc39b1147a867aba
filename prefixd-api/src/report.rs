//! What happened: a report of an incident, for the ticket and for the customer.

use crate::ids::MitigationId;
use crate::rate::BitsPerSecond;
use crate::time::Timestamp;
use crate::victim::Victim;
use serde::{Deserialize, Serialize};

/// What a report is about; what is absent is not narrowed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct ReportScope {
    /// An address or a prefix.
    pub ip: Option<String>,
    /// A customer.
    pub customer_id: Option<String>,
    /// A signal group.
    pub group_id: Option<String>,
}

/// What one detector said of one victim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct ReportedBy {
    /// The detector.
    pub source: String,
    /// The victim.
    pub victim_ip: Victim,
    /// The kind of attack, as it calls it.
    pub vector: String,
    /// How many reports there were.
    pub events: u64,
    /// The first.
    pub first_at: Timestamp,
    /// The last.
    pub last_at: Timestamp,
    /// The highest rate among them.
    pub peak_bps: Option<BitsPerSecond>,
    /// The highest rate among them.
    pub peak_pps: Option<u64>,
    /// What became of them, with how many.
    pub outcomes: std::collections::BTreeMap<String, u64>,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct ReportedAction {
    /// The mitigation.
    pub mitigation_id: MitigationId,
    /// The POP at whose routers.
    #[serde(default)]
    pub pop: String,
    /// The victim.
    pub victim_ip: Victim,
    /// The kind of attack.
    pub vector: String,
    /// The customer.
    pub customer_id: Option<String>,
    /// Whether its rules went to routers.
    pub enforced: bool,
    /// What its rules said last, one line each.
    pub rules: Vec<String>,
    /// The state it is in, or ended in.
    pub status: String,
    /// When it began.
    pub created_at: Timestamp,
    /// When a router first had its rules.
    pub advertised_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Who started it.
    pub started_by: String,
    /// Who ended it.
    pub ended_by: Option<String>,
    /// Why it was made as it is.
    pub why: String,
    /// Why it ended.
    pub end_reason: Option<String>,
    /// The words of the person who ended it.
    pub end_note: Option<String>,
    /// The highest rate that any report carried.
    pub peak_bps: Option<BitsPerSecond>,
    /// The highest rate that any report carried.
    pub peak_pps: Option<u64>,
}

/// One change, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct ReportLine {
    /// When.
    pub at: Timestamp,
    /// Who: the authenticated one, or `prefixd`.
    pub actor: String,
    /// The mitigation.
    pub mitigation_id: MitigationId,
    /// The victim.
    pub victim_ip: Victim,
    /// What happened, as one sentence.
    pub what: String,
}

/// The answer of `GET /v1/reports/incident`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct IncidentReport {
    /// When it was written.
    pub at: Timestamp,
    /// The POPs whose detectors reported or whose routers were told something; the one that was asked when none was.
    pub pop: String,
    /// What it is about.
    pub scope: ReportScope,
    /// From when on.
    pub start: Timestamp,
    /// Up to when.
    pub end: Timestamp,
    /// The highest rate of all reports.
    pub peak_bps: Option<BitsPerSecond>,
    /// The highest rate of all reports.
    pub peak_pps: Option<u64>,
    /// What detectors said, by victim, vector and source.
    pub reports: Vec<ReportedBy>,
    /// What was done, oldest first.
    pub actions: Vec<ReportedAction>,
    /// Every change of what was done, oldest first.
    pub timeline: Vec<ReportLine>,
    /// The people who changed something, by name.
    pub people: Vec<String>,
    /// There is more than a report holds: what is missing, in words.
    pub truncated: Vec<String>,
}
