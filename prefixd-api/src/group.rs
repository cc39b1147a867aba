//! Signal groups as people look at them, and suppressions.

use crate::event::StoredEvent;
use crate::ids::MitigationId;
use crate::mitigation::{Group, Mitigation, Suppression, WideSuppression};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Where a signal group is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum GroupState {
    /// A source says that the attack goes on.
    Open,
    /// None does any more, and the window has not passed.
    Quiet,
    /// The window has passed; the next report opens another group.
    Closed,
}

impl GroupState {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Open, Self::Quiet, Self::Closed];

    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Quiet => "quiet",
            Self::Closed => "closed",
        }
    }
}

impl fmt::Display for GroupState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What one source adds to the confidence of a group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct SourceWeight {
    /// The source.
    pub source: String,
    /// Whether the configuration names it; otherwise the default applies.
    pub configured: bool,
    /// Sources fed by the same data share a domain; of a domain only the strongest counts.
    pub domain: Option<String>,
    /// How much it is believed.
    pub weight: f64,
    /// How sure it is: the best of its live claims, or its default.
    pub confidence: Option<f64>,
    /// Weight times confidence: what it would come to alone.
    pub weighted: Option<f64>,
    /// Whether it is the one of its domain that counts.
    pub counts: bool,
    /// Its claims that live.
    pub live_claims: u64,
    /// When it last reported.
    pub last_report_at: Timestamp,
}

/// A signal group with where it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct GroupView {
    /// The group.
    #[serde(flatten)]
    pub group: Group,
    /// Where it is in its life.
    pub state: GroupState,
    /// Its live mitigation.
    pub mitigation_id: Option<MitigationId>,
    /// Who holds it, strongest first. Combined: 1 - product(1 - weighted) over those that count.
    pub sources: Vec<SourceWeight>,
}

/// One page of groups.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct GroupList {
    /// The one that opened last first.
    pub groups: Vec<GroupView>,
    /// How many are in this page.
    pub count: usize,
    /// Pass it as `cursor` for the next page; absent on the last.
    pub next_cursor: Option<String>,
}

/// The answer of `GET /v1/groups/{id}`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct GroupDetail {
    /// The group.
    #[serde(flatten)]
    pub view: GroupView,
    /// The customer who owns the victim now.
    pub customer_id: Option<String>,
    /// The mitigations that came of it, newest first, at most 100.
    pub mitigations: Vec<Mitigation>,
    /// The reports it is made of, newest first, at most 100; /v1/events?victim_ip= has all.
    pub events: Vec<StoredEvent>,
}

/// The suppressions in force.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct SuppressionList {
    /// Those of one victim and vector; the one that ends first comes first.
    pub suppressions: Vec<Suppression>,
    /// Those of prefixes and sources, in the same order.
    #[serde(default)]
    pub wide: Vec<WideSuppression>,
    /// How many of both.
    pub count: usize,
}

/// What was suppressed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum SuppressionAnswer {
    /// A victim and vector.
    One(Suppression),
    /// A prefix, a source, or both.
    Wide {
        /// The suppression.
        #[serde(flatten)]
        suppression: WideSuppression,
        /// Mitigations that it is about and that are live: they go on, and reports attach to them. Withdraw them if they are not to.
        live: u64,
    },
}

/// The body of `POST /v1/suppressions`: store bans and do not act on them. Of a victim, a prefix or a source, or of a source
/// for one of the others.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SuppressionRequest {
    /// The address that is reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub victim_ip: Option<String>,
    /// A prefix of such addresses, instead of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// The kind of attack, as the source calls it; any when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vector: Option<String>,
    /// The source whose bans are meant; everybody's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// How long, 1 to 86400.
    pub seconds: u32,
    /// Why, for the journal.
    pub reason: String,
}
