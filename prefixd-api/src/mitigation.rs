//! Mitigations, the claims that hold them, and the signal groups they come from.

use crate::event::open_names;
use crate::ids::{EventId, GroupId, MitigationId, SuppressionId};
use crate::name::Name;
use crate::rate::BitsPerSecond;
use crate::resource::{Announcement, Mode};
use crate::rule::{ActionType, Rule};
use crate::time::Timestamp;
use crate::victim::Victim;
use ipnet::IpNet;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// What a signal group and its one live mitigation are about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Scope {
    /// The attacked host; of an aggregate the prefix.
    pub victim: Victim,
    /// The kind of attack, as the source calls it.
    #[cfg_attr(feature = "server", schema(value_type = String))]
    pub vector: Name,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.victim, self.vector)
    }
}

/// The life of a mitigation. Ended is final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum MitigationStatus {
    /// Waits for corroboration; nothing is announced.
    Pending,
    /// Announced, first step.
    Active,
    /// Announced, a later step.
    Escalated,
    /// Ended before its lease did.
    Withdrawn,
    /// Ended with its lease.
    Expired,
    /// A guardrail refused it at promotion.
    Rejected,
}

impl MitigationStatus {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Pending,
        Self::Active,
        Self::Escalated,
        Self::Withdrawn,
        Self::Expired,
        Self::Rejected,
    ];

    /// Whether its rules should be on routers.
    #[must_use]
    pub const fn is_announced(self) -> bool {
        matches!(self, Self::Active | Self::Escalated)
    }

    /// Whether it still holds its scope.
    #[must_use]
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Pending | Self::Active | Self::Escalated)
    }

    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Escalated => "escalated",
            Self::Withdrawn => "withdrawn",
            Self::Expired => "expired",
            Self::Rejected => "rejected",
        }
    }
}

impl fmt::Display for MitigationStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for MitigationStatus {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or_else(|| {
                let known: Vec<_> = Self::ALL.iter().map(|status| status.as_str()).collect();
                format!("{text:?} is no status; known: {}", known.join(", "))
            })
    }
}

/// How much a mitigation matters to a person who looks at a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Policed, small.
    Low,
    /// Discards by port, or a tenth of the link.
    Medium,
    /// Discards without ports, or half of the link.
    High,
    /// The link is full.
    Critical,
}

impl Severity {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What started a mitigation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Origin {
    /// An event or an operator.
    pub kind: OriginKind,
    /// Who, authenticated: `token:fastnetmon`, `uid:1000(anna)`.
    #[cfg_attr(feature = "server", schema(value_type = String))]
    pub actor: Name,
}

/// What started a mitigation, or holds a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum OriginKind {
    /// A detector's event.
    Event,
    /// An operator's request.
    Operator,
}

/// A source's word that the attack goes on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Claim {
    /// The detector, or `operator`.
    #[cfg_attr(feature = "server", schema(value_type = String))]
    pub source: Name,
    /// The attack's name at its source. Absent: one claim of this source for the scope.
    #[cfg_attr(feature = "server", schema(value_type = Option<String>))]
    pub event_id: Option<Box<str>>,
    /// Event or operator.
    pub kind: OriginKind,
    /// When the first report came.
    pub since: Timestamp,
    /// When the last report came.
    pub last_report_at: Timestamp,
    /// When the claim dies by itself. Operator claims end with the mitigation's lease.
    pub lives_until: Option<Timestamp>,
    /// When an unban ended it. A ban that is not newer has no effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cleared_at: Option<Timestamp>,
    /// As reported, or the source's default.
    pub confidence: Option<f64>,
    /// Highest reported.
    pub bps: Option<BitsPerSecond>,
    /// Highest reported.
    pub pps: Option<u64>,
    /// Union of the reported destination ports.
    #[serde(default, skip_serializing_if = "<[u16]>::is_empty")]
    #[cfg_attr(feature = "server", schema(value_type = Vec<u16>))]
    pub dst_ports: Box<[u16]>,
    /// Union of the reported source ports.
    #[serde(default, skip_serializing_if = "<[u16]>::is_empty")]
    #[cfg_attr(feature = "server", schema(value_type = Vec<u16>))]
    pub src_ports: Box<[u16]>,
    /// IP protocol number, where one was reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<u8>,
}

open_names! {
    /// Why a mitigation ended. `guardrail.*` codes say which guardrail took it back.
    EndReason {
        /// An operator withdrew it.
        Operator = "operator",
        /// The last claim ended and the hold-down passed.
        ClaimsEnded = "claims_ended",
        /// Its lease ended without renewal.
        LeaseExpired = "lease_expired",
        /// It was pending, and what it waited for did not come.
        Uncorroborated = "uncorroborated",
        /// The scope was filtered for max_lifetime.
        LifetimeReached = "guardrail.lifetime",
        /// A safelist entry covers it.
        Safelisted = "guardrail.safelist",
        /// Many victims of its prefix were attacked, and one mitigation takes the place of theirs.
        Aggregated = "aggregated",
        /// It was announced right before sessions were lost, and the breaker tripped.
        Breaker = "guardrail.breaker",
        /// A person said panic.
        Panic = "guardrail.panic",
        /// The daemon's mode changed.
        ModeChanged = "mode_changed",
        /// A defect kept it from being judged by the guardrails; what cannot be judged may not stay.
        Defect = "internal",
    }
}

/// How the rules stand at the neighbours that get rules, right now. One with `enforce: false` does not count. Not
/// stored: it is asked of the speaker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Delivery {
    /// Neighbours with an established session.
    pub established: u32,
    /// Neighbours to which every rule was sent.
    pub advertised: u32,
    /// Neighbours that cannot take one of the rules.
    pub unsupported: u32,
}

/// The person who works on a mitigation. It keeps nobody from anything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Claimed {
    /// Who.
    #[cfg_attr(feature = "server", schema(value_type = String))]
    pub by: Name,
    /// Since when.
    pub at: Timestamp,
}

/// What a person wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Note {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: String,
    /// The words.
    pub text: String,
}

/// Highest rates that any report carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Observed {
    /// Bits per second.
    pub bps: Option<BitsPerSecond>,
    /// Packets per second.
    pub pps: Option<u64>,
}

/// What a pending mitigation waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct WaitsFor {
    /// How many sources must report it; those of one domain count once.
    pub sources: u32,
    /// How many do.
    pub has_sources: u32,
    /// The confidence that is needed, where one is.
    pub confidence: Option<f64>,
}

impl fmt::Display for WaitsFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} sources", self.has_sources, self.sources)?;
        match self.confidence {
            Some(confidence) => write!(f, ", confidence {confidence:.2}"),
            None => Ok(()),
        }
    }
}

/// What an aggregate over many attacked addresses of one prefix stands for, as of when it was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Carpet {
    /// How many addresses were reported.
    pub victims: u32,
    /// How many others are in the prefix: what they get is filtered as well.
    pub bystanders: u64,
    /// Mitigations whose place it takes. Each ends at the next report of its victim, once every neighbour was told this one.
    pub replaced: u32,
    /// Services in the prefix. Their ports are kept out as those of a single victim's are.
    pub services: Vec<String>,
}

/// IPv6 prefixes have more addresses than anybody counts.
const COUNTED: u64 = 1 << 32;

impl fmt::Display for Carpet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} addresses were reported, ", self.victims)?;
        if self.bystanders > COUNTED {
            f.write_str("all others of the prefix")?;
        } else {
            write!(f, "{} others", self.bystanders)?;
        }
        write!(
            f,
            " are filtered with them; in place of {} mitigations",
            self.replaced
        )?;
        if !self.services.is_empty() {
            write!(f, "; the ports of {} are kept out", self.services.join(", "))?;
        }
        Ok(())
    }
}

/// The intent to filter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Mitigation {
    /// Its name.
    pub mitigation_id: MitigationId,
    /// Counts the changes, from 1.
    pub revision: u64,
    /// Where it is in its life.
    pub status: MitigationStatus,
    /// The customer who owns the victim.
    #[cfg_attr(feature = "server", schema(value_type = Option<String>))]
    pub customer_id: Option<Name>,
    /// The customer's service at the victim.
    #[cfg_attr(feature = "server", schema(value_type = Option<String>))]
    pub service_id: Option<Name>,
    /// The POP that owns it.
    #[cfg_attr(feature = "server", schema(value_type = String))]
    pub pop: Name,
    /// The attacked host; of an aggregate the prefix.
    pub victim_ip: Victim,
    /// What an aggregate stands for; absent: it is about one address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carpet: Option<Box<Carpet>>,
    /// The kind of attack.
    #[cfg_attr(feature = "server", schema(value_type = String))]
    pub vector: Name,
    /// Action of the current step.
    pub action_type: ActionType,
    /// Rate of the current step, for police.
    pub rate_bps: Option<BitsPerSecond>,
    /// What is announced.
    #[cfg_attr(feature = "server", schema(value_type = Vec<Rule>))]
    pub rules: Arc<[Rule]>,
    /// Whether a neighbour without FlowSpec gets a blackhole route instead, because the step says so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_rtbh: bool,
    /// The claims that hold it.
    #[cfg_attr(feature = "server", schema(value_type = Vec<Claim>))]
    pub claims: Box<[Arc<Claim>]>,
    /// Since when no claim is left.
    pub ending_since: Option<Timestamp>,
    /// When it will be withdrawn unless a claim comes back.
    pub ends_at: Option<Timestamp>,
    /// Whether its rules go to routers (false in dry-run). Fixed at birth.
    pub enforced: bool,
    /// A ticket or other name outside.
    #[cfg_attr(feature = "server", schema(value_type = Option<String>))]
    pub external_ref: Option<Name>,
    /// Highest rates reported.
    pub observed: Observed,
    /// The mitigation this one follows.
    pub previous_id: Option<MitigationId>,
    /// The playbook that decided.
    #[cfg_attr(feature = "server", schema(value_type = Option<String>))]
    pub playbook: Option<Name>,
    /// The step of the playbook, from 1.
    pub step: u32,
    /// Derived from the claims.
    pub confidence: Option<f64>,
    /// How much it matters.
    pub severity: Severity,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was decided to announce it, where it was pending until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promoted_at: Option<Timestamp>,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When its lease ends.
    pub expires_at: Timestamp,
    /// The lease that a renewal gives, in seconds.
    pub ttl_seconds: u32,
    /// When a neighbour was first seen to have the rules.
    pub advertised_at: Option<Timestamp>,
    /// Since when there is evidence without a longer gap than the quiet period.
    pub evidence_since: Option<Timestamp>,
    /// When there last was evidence.
    pub evidence_at: Option<Timestamp>,
    /// When there last was evidence enough for its step; only where the step is given up after a time without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carried_at: Option<Timestamp>,
    /// What it waits for while it is pending, and waited for when it ended so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "server", schema(value_type = Option<WaitsFor>))]
    pub waits_for: Option<Box<WaitsFor>>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Who ended it.
    #[cfg_attr(feature = "server", schema(value_type = Option<String>))]
    pub ended_by: Option<Name>,
    /// Why it ended.
    pub end_reason: Option<EndReason>,
    /// The words of the person who ended it.
    #[cfg_attr(feature = "server", schema(value_type = Option<String>))]
    pub end_note: Option<Name>,
    /// What started it.
    pub origin: Origin,
    /// Its signal group.
    pub group_id: GroupId,
    /// The event that started it.
    pub triggering_event_id: Option<EventId>,
    /// The last event that touched it.
    pub last_event_id: Option<EventId>,
    /// When a person acknowledged it.
    pub acknowledged_at: Option<Timestamp>,
    /// Who acknowledged it.
    #[cfg_attr(feature = "server", schema(value_type = Option<String>))]
    pub acknowledged_by: Option<Name>,
    /// Who works on it.
    #[serde(default)]
    #[cfg_attr(feature = "server", schema(value_type = Option<Claimed>))]
    pub claimed: Option<Box<Claimed>>,
    /// What people wrote about it, oldest first.
    #[serde(default, skip_serializing_if = "<[Note]>::is_empty")]
    #[cfg_attr(feature = "server", schema(value_type = Vec<Note>))]
    pub notes: Box<[Note]>,
    /// When its withdrawal is undone unless a person confirms it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_by: Option<Timestamp>,
    /// How the rules stand at the neighbours; only in answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "server", schema(value_type = Option<Delivery>))]
    pub delivery: Option<Box<Delivery>>,
    /// The deciding reason as one sentence.
    #[cfg_attr(feature = "server", schema(value_type = String))]
    pub why_summary: Box<str>,
}

/// A hundred thousand may be live. With the counters of its `Arc` it fills a class of the allocator; the next one is 128 bytes larger.
const _: () = assert!(size_of::<Mitigation>() <= 496 && size_of::<Claim>() <= 144);

impl Mitigation {
    /// What it is about.
    #[must_use]
    pub fn scope(&self) -> Scope {
        Scope {
            victim: self.victim_ip,
            vector: self.vector.clone(),
        }
    }

    /// Since when it is meant for the routers: since it was made, or was pending no longer.
    #[must_use]
    pub fn begun_at(&self) -> Timestamp {
        self.promoted_at.unwrap_or(self.created_at)
    }

    /// When its rules leave the routers unless a report or a person changes that: the end of the lease, or of the
    /// time without a claim.
    #[must_use]
    pub fn leaves_at(&self) -> Timestamp {
        self.ends_at
            .map_or(self.expires_at, |ends_at| ends_at.min(self.expires_at))
    }
}

/// The fields in which a revision of a mitigation differs from an earlier one, as the JSON object of a
/// [`crate::feed::MitigationChange`].
#[derive(Clone, Copy, Debug)]
pub struct Changes<'a> {
    before: &'a Mitigation,
    after: &'a Mitigation,
}

impl Mitigation {
    /// What changed since `before`; neither the revision nor how the rules stand at the neighbours counts.
    #[must_use]
    pub fn changes_since<'a>(&'a self, before: &'a Self) -> Changes<'a> {
        Changes { before, after: self }
    }
}

impl Serialize for Changes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        // Taken apart by name, so that a field that is added does not compile until it is told here.
        macro_rules! tell {
            ($($field:ident),* $(,)?) => {
                let Mitigation { mitigation_id: _, revision: _, delivery: _, $($field),* } = self.after;
                $(if self.before.$field != *$field {
                    object.serialize_entry(stringify!($field), $field)?;
                })*
            };
        }
        tell!(
            status,
            customer_id,
            service_id,
            pop,
            victim_ip,
            carpet,
            vector,
            action_type,
            rate_bps,
            rules,
            allow_rtbh,
            claims,
            ending_since,
            ends_at,
            enforced,
            external_ref,
            observed,
            previous_id,
            playbook,
            step,
            confidence,
            severity,
            created_at,
            promoted_at,
            updated_at,
            expires_at,
            ttl_seconds,
            advertised_at,
            evidence_since,
            evidence_at,
            carried_at,
            waits_for,
            ended_at,
            ended_by,
            end_reason,
            end_note,
            origin,
            group_id,
            triggering_event_id,
            last_event_id,
            acknowledged_at,
            acknowledged_by,
            claimed,
            notes,
            confirm_by,
            why_summary,
        );
        object.end()
    }
}

/// What several events say about one scope inside a time window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Group {
    /// Its name.
    pub group_id: GroupId,
    /// The POP.
    #[cfg_attr(feature = "server", schema(value_type = String))]
    pub pop: Name,
    /// What it is about.
    pub scope: Scope,
    /// Live claims, and ended ones for as long as an old ban could still arrive.
    #[cfg_attr(feature = "server", schema(value_type = Vec<Claim>))]
    pub claims: Vec<Arc<Claim>>,
    /// Derived confidence.
    pub confidence: Option<f64>,
    /// When its first event came.
    pub opened_at: Timestamp,
    /// When its last event came.
    pub last_event_at: Timestamp,
    /// When it closed: no claim lives and the window has passed.
    pub closed_at: Option<Timestamp>,
    /// When mitigations of this scope began, the last 24 hours: each recurrence doubles the hold-down.
    pub starts: Vec<Timestamp>,
    /// Since when the scope is filtered across successors; cleared when it has been quiet.
    pub filtered_since: Option<Timestamp>,
    /// In which mode: time on trial, in which nothing was announced, does not count for what is enforced.
    #[serde(default, skip_serializing_if = "Mode::is_enforced")]
    pub filtered_mode: Mode,
    /// The last report of an attack.
    pub last_ban_at: Option<Timestamp>,
}

impl Group {
    /// Gives back what its lists have taken beyond what they hold: they grow by fours, and a hundred thousand may be open.
    pub fn compact(&mut self) {
        self.claims.shrink_to_fit();
        self.starts.shrink_to_fit();
    }
}

/// Automatic bans of a scope are stored but not acted on, because an operator withdrew it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Suppression {
    /// Its name.
    pub suppression_id: SuppressionId,
    /// What is suppressed.
    pub scope: Scope,
    /// Who did it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// Until when.
    pub expires_at: Timestamp,
    /// The operator's words.
    pub reason: String,
}

/// Automatic bans of a prefix, of a source, or of both are stored and not acted on, because an operator said so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct WideSuppression {
    /// Its name.
    pub suppression_id: SuppressionId,
    /// Whose victims; absent: everywhere.
    #[cfg_attr(feature = "server", schema(value_type = Option<String>, example = "203.0.113.0/24"))]
    pub prefix: Option<IpNet>,
    /// Against what; absent: everything.
    pub vector: Option<String>,
    /// Whose word; absent: anybody's.
    pub source: Option<String>,
    /// Who did it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// Until when.
    pub expires_at: Timestamp,
    /// The operator's words.
    pub reason: String,
}

impl WideSuppression {
    /// Whether it is about a victim and a vector, whoever reports them.
    #[must_use]
    pub fn is_about(&self, victim: Victim, vector: &str) -> bool {
        self.prefix.is_none_or(|prefix| victim.touches(&prefix))
            && self.vector.as_deref().is_none_or(|only| only == vector)
    }

    /// Whether another is about the same.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        self.prefix == other.prefix && self.vector == other.vector && self.source == other.source
    }
}

impl fmt::Display for WideSuppression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.prefix {
            Some(prefix) => write!(f, "{prefix}")?,
            None => f.write_str("everything")?,
        }
        if let Some(vector) = &self.vector {
            write!(f, " {vector}")?;
        }
        match &self.source {
            Some(source) => write!(f, " from {source}"),
            None => Ok(()),
        }
    }
}

/// One page of mitigations.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct MitigationList {
    /// Newest first.
    pub mitigations: Vec<Mitigation>,
    /// How many are in this page.
    pub count: usize,
    /// Pass it as `cursor` for the next page; absent on the last.
    pub next_cursor: Option<String>,
}

/// The answer of `GET /v1/mitigations/{id}`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct MitigationDetail {
    /// The mitigation.
    #[serde(flatten)]
    pub mitigation: Mitigation,
    /// Each rule in the ways people write it.
    pub previews: Vec<RulePreview>,
    /// Each rule at each neighbour.
    pub announcements: Vec<Announcement>,
    /// Name of the customer.
    pub customer_name: Option<String>,
    /// Name of the service.
    pub service_name: Option<String>,
    /// Every change, oldest first.
    pub timeline: Vec<TimelineEntry>,
}

/// A rule in the ways people write it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct RulePreview {
    /// One line.
    pub text: String,
    /// The NLRI as hex, before any neighbour's limits.
    pub nlri: String,
    /// As a Junos flow route.
    pub junos: String,
    /// As an IOS-XR class map.
    pub iosxr: String,
    /// As FRR shows it.
    #[serde(default)]
    pub frr: String,
}

/// One change of a mitigation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct TimelineEntry {
    /// Position in the journal of its POP.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// What happened: `mitigation.created`, `mitigation.updated`, ...
    pub kind: String,
    /// The change as the journal keeps it.
    #[cfg_attr(feature = "server", schema(value_type = Object))]
    pub body: serde_json::Value,
}

/// The body of `POST /v1/mitigations`: mitigate now.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct MitigationRequest {
    /// The attacked address.
    pub victim_ip: String,
    /// The kind of attack; `manual` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vector: Option<String>,
    /// The action; the playbook's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<ActionType>,
    /// Bits per second, for police.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_bps: Option<BitsPerSecond>,
    /// Packets per second, for police instead of bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_pps: Option<u64>,
    /// The VRF's, for `redirect_vrf`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route_target: Option<crate::rule::RouteTarget>,
    /// For `redirect_ip`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "server", schema(value_type = Option<String>))]
    pub next_hop: Option<std::net::IpAddr>,
    /// Only a copy goes to the next hop.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub copy: bool,
    /// For mark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dscp: Option<crate::rule::Dscp>,
    /// Whether routers sample what the rules match.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sample: bool,
    /// Lease in seconds; the playbook's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u32>,
    /// Destination ports to match; `ports` is the same.
    #[serde(
        default,
        alias = "ports",
        skip_serializing_if = "crate::rule::Ranges::is_empty"
    )]
    pub dst_ports: crate::rule::Ranges,
    /// Source ports to match.
    #[serde(default, skip_serializing_if = "crate::rule::Ranges::is_empty")]
    pub src_ports: crate::rule::Ranges,
    /// IP protocol number to match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<u8>,
    /// The whole match, instead of `dst_ports`, `src_ports` and `protocol`.
    #[serde(rename = "match", default, skip_serializing_if = "Option::is_none")]
    pub matches: Option<Box<crate::rule::MatchRequest>>,
    /// Why, for the journal.
    pub reason: String,
    /// A ticket or other name outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_ref: Option<String>,
    /// Revise the live mitigation of this scope instead of answering 409.
    #[serde(default)]
    pub replace: bool,
}

/// The body of `POST /v1/mitigations/{id}/withdraw`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct WithdrawRequest {
    /// Why, for the journal; required.
    pub reason: String,
    /// How long automatic bans of this scope are not acted on (0 to 86400); the configured time when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suppress_seconds: Option<u32>,
    /// Undo the withdrawal after so long (10 to 86400) unless it is confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_within_seconds: Option<u32>,
    /// Only when the mitigation still has this revision; otherwise 409.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_revision: Option<u64>,
}
