//! The remaining bodies: safelist, peers, stats, health.

use crate::ids::MitigationId;
use crate::mitigation::{MitigationStatus, Severity};
use crate::peer::{PeerDisabled, PeerWriting};
use crate::rule::ActionType;
use crate::time::Timestamp;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Whether rules go to routers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// They do.
    #[default]
    Enforced,
    /// Decisions are made and recorded, nothing is announced.
    DryRun,
}

impl Mode {
    /// Whether rules go to routers.
    #[must_use]
    pub fn is_enforced(&self) -> bool {
        *self == Self::Enforced
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Enforced => "enforced",
            Self::DryRun => "dry-run",
        })
    }
}

/// Where a safelist entry comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum SafelistOrigin {
    /// Cannot be removed: neighbours, our own addresses, infrastructure.
    Implicit,
    /// From the configuration file.
    Config,
    /// Added through the API.
    Api,
}

/// A prefix that no rule may touch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct SafelistEntry {
    /// The prefix.
    #[cfg_attr(feature = "server", schema(value_type = String))]
    pub prefix: IpNet,
    /// Why it is there.
    pub reason: String,
    /// Where it comes from.
    pub origin: SafelistOrigin,
    /// Who added it.
    pub created_by: Option<String>,
    /// When it was added.
    pub created_at: Option<Timestamp>,
    /// When it stops to count; absent: never.
    pub expires_at: Option<Timestamp>,
}

impl SafelistEntry {
    /// Whether its time is over: then it protects nothing any more.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

/// The body of `POST /v1/config/reload`; it may be left out.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ReloadRequest {
    /// How many mitigations you expect to lose rules because something is switched to dry-run; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect_count: Option<u64>,
}

/// The body of `POST /v1/safelist`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SafelistRequest {
    /// The prefix, host bits clear; a bare address is its host prefix.
    pub prefix: String,
    /// Why.
    pub reason: String,
    /// When it stops to count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// How many mitigations you expect to be withdrawn; required when shorter than /24 or /48.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect_count: Option<u64>,
}

/// The answer to a safelist change.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct SafelistAnswer {
    /// The entry.
    pub entry: SafelistEntry,
    /// How many mitigations it withdrew.
    pub withdrawn: u64,
}

/// The safelist.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct SafelistList {
    /// By prefix.
    pub entries: Vec<SafelistEntry>,
    /// How many.
    pub count: usize,
}

/// State of the session with a neighbour (RFC 4271 section 8.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum PeerState {
    /// Waits before the next attempt.
    Idle,
    /// Dials.
    Connect,
    /// Waits to be dialled.
    Active,
    /// OPEN was sent.
    OpenSent,
    /// OPEN was received and accepted.
    OpenConfirm,
    /// Routes are exchanged.
    Established,
    /// An operator disabled the neighbour and its session has ended.
    Disabled,
}

impl PeerState {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Connect => "connect",
            Self::Active => "active",
            Self::OpenSent => "open_sent",
            Self::OpenConfirm => "open_confirm",
            Self::Established => "established",
            Self::Disabled => "disabled",
        }
    }
}

impl fmt::Display for PeerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A neighbour as it is now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Peer {
    /// Its name in the configuration.
    pub name: String,
    /// Its address.
    pub address: String,
    /// Its AS.
    pub peer_asn: u32,
    /// The session.
    pub state: PeerState,
    /// Since when the session is in this state.
    pub since: Timestamp,
    /// Its router id, while established.
    pub router_id: Option<String>,
    /// Negotiated hold time in seconds, while established.
    pub hold_time_seconds: Option<u16>,
    /// Address families both sides offered, while established.
    pub families: Vec<String>,
    /// Capabilities it offered, while established.
    pub capabilities: Vec<String>,
    /// What it does with the rules when prefixd is gone without a word, by the last session there was; absent: there was none.
    #[serde(default)]
    pub on_loss: Option<OnLoss>,
    /// The session was lost in silence, and until then the router may hold what it was told, as it agreed to (`on_loss`). A
    /// withdrawal does not reach it meanwhile. Absent: it holds nothing, or has a session.
    #[serde(default)]
    pub may_hold_until: Option<Timestamp>,
    /// Whether rules go to this neighbour.
    pub enforce: bool,
    /// Who disabled it, and why; absent: nobody.
    #[serde(default)]
    pub disabled: Option<PeerDisabled>,
    /// Rules it should have.
    pub rules_desired: u64,
    /// Rules sent and not taken back.
    pub rules_advertised: u64,
    /// Changes that wait to be sent.
    pub rules_queued: u64,
    /// Rules it cannot take.
    pub rules_unsupported: u64,
    /// Rules of live mitigations by what they are at this neighbour: `exact`, `split`, `widened`, `refused`.
    #[serde(default)]
    pub rules_by_form: BTreeMap<String, u64>,
    /// Rules that wait because it has as many as it may have.
    #[serde(default)]
    pub rules_over_budget: u64,
    /// Those among them that were sent before a more important rule took their place.
    #[serde(default)]
    pub rules_displaced: u64,
    /// Rules it may have at most: `max_rules`, or less after it ended a session over their number. Absent: no bound.
    #[serde(default)]
    pub rules_budget: Option<u64>,
    /// Rules that are held back because they, or rules like them, ended its session.
    #[serde(default)]
    pub rules_quarantined: u64,
    /// Rules that may have ended its session and wait to be tried.
    #[serde(default)]
    pub rules_on_probation: u64,
    /// Whether it is a route reflector: what it is told its clients get, as far as they take it.
    #[serde(default)]
    pub reflects: bool,
    /// Rules of a kind that another neighbour of its profile is told first (`bgp.canary_seconds`).
    #[serde(default)]
    pub rules_waiting: u64,
    /// The same figures by address family: of those that it is configured for, and those that it is meant to have rules of.
    #[serde(default)]
    pub rules_by_family: BTreeMap<String, FamilyRules>,
    /// How often the session came up.
    pub established_total: u64,
    /// How often an established session was lost.
    pub flaps: u64,
    /// The same by cause: `received_6_2` is a NOTIFICATION of code 6, subcode 2 from the router.
    #[serde(default)]
    pub flaps_by_cause: BTreeMap<String, u64>,
    /// How rules get to it, and how fast.
    #[serde(default)]
    pub writing: PeerWriting,
    /// Messages and their kinds: `updates_sent`, `keepalives_received`, ...
    pub counters: BTreeMap<String, u64>,
    /// Why the session was last lost, in the neighbour's words where it sent some.
    pub last_error: Option<String>,
    /// When that was.
    pub last_error_at: Option<Timestamp>,
}

/// Rules of one address family at a neighbour; each figure is the one of [`Peer`] that is called so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct FamilyRules {
    /// Rules it should have.
    pub desired: u64,
    /// Rules sent and not taken back.
    pub advertised: u64,
    /// Changes that wait to be sent.
    pub queued: u64,
    /// Rules it cannot take.
    pub unsupported: u64,
    /// Rules that wait because it has as many as it may have.
    pub over_budget: u64,
    /// Those among them that were sent before a more important rule took their place.
    pub displaced: u64,
    /// Rules that are held back because they, or rules like them, ended its session.
    pub quarantined: u64,
    /// Rules that may have ended its session and wait to be tried.
    pub on_probation: u64,
    /// Rules of a kind that another neighbour of its profile is told first.
    pub waiting: u64,
}

/// What a router does with the rules when the connection ends without a NOTIFICATION: prefixd or its host died, or the
/// network between.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct OnLoss {
    /// How long it keeps them, or until prefixd is back and has sent everything; 0: it drops them at once.
    pub keeps_seconds: u16,
    /// How that is known.
    pub because: String,
}

/// All neighbours.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct PeerList {
    /// In the order of the configuration.
    pub peers: Vec<Peer>,
    /// How many.
    pub count: usize,
}

/// State of a rule at one neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum AnnouncementState {
    /// Waits to be sent.
    Queued,
    /// Sent; the neighbour does not confirm.
    Advertised,
    /// Its withdrawal waits to be sent.
    Withdrawing,
    /// The session is down.
    SessionDown,
    /// The neighbour has as many rules as it may have.
    OverBudget,
    /// It may have ended the session; it is tried when its turn comes.
    Probation,
    /// It, or rules like it, ended the session; it is held back for hours. The reason has the router's words.
    Quarantined,
    /// The neighbour cannot take it; the reason says why.
    Refused,
    /// Written to a route reflector; which of its clients have it is not known.
    Reflected,
    /// It is not sent, because a stricter rule there takes all that it takes; `shadowed_by` names it.
    Covered,
}

/// A text names no [`AnnouncementState`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no state of a rule; known: {known}")]
pub struct UnknownState {
    text: String,
    known: String,
}

impl FromStr for AnnouncementState {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, UnknownState> {
        let found = Self::ALL.into_iter().find(|state| state.as_str() == text);
        found.ok_or_else(|| UnknownState {
            text: text.to_owned(),
            known: Self::ALL.map(Self::as_str).join(", "),
        })
    }
}

impl AnnouncementState {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Queued,
        Self::Advertised,
        Self::Withdrawing,
        Self::SessionDown,
        Self::OverBudget,
        Self::Probation,
        Self::Quarantined,
        Self::Refused,
        Self::Reflected,
        Self::Covered,
    ];

    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Advertised => "advertised",
            Self::Withdrawing => "withdrawing",
            Self::SessionDown => "session_down",
            Self::OverBudget => "over_budget",
            Self::Probation => "probation",
            Self::Quarantined => "quarantined",
            Self::Refused => "refused",
            Self::Reflected => "reflected",
            Self::Covered => "covered",
        }
    }
}

impl fmt::Display for AnnouncementState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

crate::event::open_names! {
    /// How what a neighbour is sent relates to the rule that was decided.
    AnnouncementForm {
        /// It is the rule.
        Exact = "exact",
        /// It is a part; all parts together are the rule.
        Split = "split",
        /// It matches more, because the neighbour does not take as many values; the warning says what.
        Widened = "widened",
        /// The neighbour has no FlowSpec and the step allows it: the address is given up there; the warning says so.
        Rtbh = "rtbh",
        /// Nothing is sent; the reason says why.
        Refused = "refused",
    }
}

impl AnnouncementForm {
    const fn exact() -> Self {
        Self::Exact
    }

    /// What is sent is what was decided, whole.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        *self == Self::Exact
    }
}

/// A rule at one neighbour.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Announcement {
    /// The neighbour.
    pub neighbor: String,
    /// The rule as it is sent, as one line; as it was decided, when nothing is sent.
    pub rule: String,
    /// The rule as it was decided.
    #[serde(default)]
    pub original: String,
    /// How the two relate.
    #[serde(default = "AnnouncementForm::exact")]
    pub form: AnnouncementForm,
    /// Which part of the rule it is, from 1.
    #[serde(default = "one")]
    pub part: u32,
    /// How many parts the rule has here.
    #[serde(default = "one")]
    pub parts: u32,
    /// The NLRI as hex, as it is sent.
    pub nlri: Option<String>,
    /// Where it stands.
    pub state: AnnouncementState,
    /// Why it stands so.
    pub reason: Option<String>,
    /// What to know of it although it is sent: what was widened, or what the router does not do with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// Other rules of the victim there that match some of the same packets, in the order in which a router asks them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overlaps: Vec<Overlap>,
    /// Those of them that keep this one from doing anything: each is asked first and takes all that this one takes. Of one that
    /// is `covered`: the stricter rule.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shadowed_by: Vec<Overlap>,
}

/// A rule beside another at a neighbour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Overlap {
    /// Whose it is.
    pub mitigation_id: MitigationId,
    /// The rule as it is sent, as one line.
    pub rule: String,
    /// Whether a router asks it before the other (RFC 8955 section 5.1): what both match, it decides.
    pub comes_first: bool,
}

const fn one() -> u32 {
    1
}

/// How much of a bound is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Usage {
    /// Used now.
    pub used: u64,
    /// The bound.
    pub max: u64,
}

/// The answer of `GET /v1/stats`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Stats {
    /// The POP.
    pub pop: String,
    /// When it was counted.
    pub at: Timestamp,
    /// Live mitigations that are announced.
    pub active: u64,
    /// Of these, in a later step than the first.
    pub escalated: u64,
    /// Of these, waiting for their hold-down to pass.
    pub ending: u64,
    /// Live mitigations that wait.
    pub pending: u64,
    /// Active by kind of attack.
    pub by_vector: BTreeMap<String, u64>,
    /// Active by action.
    pub by_action: BTreeMap<ActionType, u64>,
    /// Active by severity.
    pub by_severity: BTreeMap<Severity, u64>,
    /// Active by customer.
    pub by_customer: BTreeMap<String, Usage>,
    /// Against the bound of the POP.
    pub quota_pop: Usage,
    /// Against the bound of all POPs.
    pub quota_global: Usage,
    /// New mitigations in the last minute against the bound of the POP.
    pub new_per_minute: Usage,
    /// Events in the last minute.
    pub events_per_minute: u64,
    /// Events since the start, by outcome.
    pub events_by_outcome: BTreeMap<String, u64>,
    /// Rules at all neighbours together.
    pub rules: RuleCounts,
    /// The POPs that were asked about (`pop`), by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pops: Vec<PopCounts>,
    /// All of them together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<LiveCounts>,
    /// Why other POPs are not in it although they were asked about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elsewhere_unknown: Option<String>,
}

/// What is live at a POP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct PopCounts {
    /// The POP.
    pub pop: String,
    /// Whether it is the one that answers.
    pub own: bool,
    /// Whether a daemon runs it now; the routers of one that nobody runs need not have its rules.
    pub runs: bool,
    /// Its live mitigations.
    pub live: LiveCounts,
}

/// How many live mitigations there are, and of which kinds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct LiveCounts {
    /// Those that are announced.
    pub active: u64,
    /// Of these, in a later step than the first.
    pub escalated: u64,
    /// Those that wait.
    pub pending: u64,
    /// Active by kind of attack.
    pub by_vector: BTreeMap<String, u64>,
    /// Active by action.
    pub by_action: BTreeMap<ActionType, u64>,
}

impl LiveCounts {
    /// Counts so many of one kind.
    pub fn add(&mut self, status: MitigationStatus, vector: &str, action: ActionType, number: u64) {
        if status == MitigationStatus::Pending {
            self.pending += number;
        }
        if !status.is_announced() {
            return;
        }
        self.active += number;
        if status == MitigationStatus::Escalated {
            self.escalated += number;
        }
        *self.by_vector.entry(vector.to_owned()).or_insert(0) += number;
        *self.by_action.entry(action).or_insert(0) += number;
    }

    /// Counts what others have.
    pub fn add_all(&mut self, other: &Self) {
        self.active += other.active;
        self.escalated += other.escalated;
        self.pending += other.pending;
        for (vector, number) in &other.by_vector {
            *self.by_vector.entry(vector.clone()).or_insert(0) += number;
        }
        for (action, number) in &other.by_action {
            *self.by_action.entry(*action).or_insert(0) += number;
        }
    }
}

/// Intended and announced rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct RuleCounts {
    /// What the committed mitigations ask for.
    pub intended: u64,
    /// What the speaker holds.
    pub announced: u64,
}

/// The answer of `GET /v1/health`: touches nothing.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Health {
    /// `ok`.
    pub status: String,
    /// The daemon's version.
    pub version: String,
    /// How to sign in: `none`, `bearer`, ...
    pub auth_mode: String,
}

/// The answer of `GET /v1/health/detail`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct HealthDetail {
    /// `healthy` or `degraded`.
    pub status: String,
    /// Why it is degraded.
    pub reasons: Vec<String>,
    /// What is meant to be as it is, and worth knowing: neighbours that are disabled, rules wider than decided.
    #[serde(default)]
    pub notes: Vec<String>,
    /// The daemon's version.
    pub version: String,
    /// The POP.
    pub pop: String,
    /// Enforced or dry-run.
    pub mode: Mode,
    /// The daemon's clock.
    pub now: Timestamp,
    /// When it started.
    pub started_at: Timestamp,
    /// The store.
    pub store: StoreHealth,
    /// The engine.
    pub engine: EngineHealth,
    /// Sessions up.
    pub peers_established: u64,
    /// Neighbours configured.
    pub peers_total: u64,
    /// Neighbours disabled by an operator.
    #[serde(default)]
    pub peers_disabled: u64,
    /// Active mitigations.
    pub active: u64,
    /// Intended and announced rules.
    pub rules: RuleCounts,
    /// Differences that reconciliation has repaired since the start.
    pub drift_total: u64,
    /// The caller's role.
    pub role: crate::role::Role,
}

/// The store as the engine last saw it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct StoreHealth {
    /// `sqlite` or `postgresql`.
    pub backend: String,
    /// Whether the last commit succeeded.
    pub ok: bool,
    /// Since when it fails.
    pub failing_since: Option<Timestamp>,
    /// Removals that happened and are not recorded yet.
    pub owed: u64,
}

/// The engine.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct EngineHealth {
    /// Commands waiting.
    pub queue: Usage,
    /// Position of the newest journal entry.
    pub head: u64,
}
