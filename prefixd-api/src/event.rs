//! What a detector reports, and what prefixd answers.

use crate::ids::{EventId, GroupId, MitigationId};
use crate::problem::{FieldError, Problem};
use crate::rate::BitsPerSecond;
use crate::time::Timestamp;
use crate::victim::{Victim, VictimError};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::fmt;
use std::str::FromStr;

/// Events of one batch at most.
pub const MAX_BATCH: usize = 100;
/// Most destination or source ports one event may carry.
pub const MAX_EVENT_PORTS: usize = 64;
/// Longest source, event id and vector, in bytes.
pub const MAX_NAME_BYTES: usize = 128;
/// Longest `raw_details`, in bytes: lists and pages carry them.
pub const MAX_DETAILS_BYTES: usize = 64 * 1024;
/// Deepest `raw_details`, in levels: readers that parse by recursion stop at 128.
pub const MAX_DETAILS_DEPTH: usize = 64;

/// Whether the attack is reported, or its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum EventAction {
    /// The victim is under attack.
    #[default]
    Ban,
    /// The source no longer sees the attack.
    Unban,
}

impl EventAction {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ban => "ban",
            Self::Unban => "unban",
        }
    }
}

/// The body of `POST /v1/events`, as it comes. [`Event::try_from`] makes it valid.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct EventRequest {
    /// The detector's name.
    pub source: String,
    /// The attack's name at its source; with the source it names the claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
    /// `ban` (default) or `unban`.
    #[serde(default)]
    pub action: EventAction,
    /// The attacked address, IPv4 or IPv6.
    pub victim_ip: String,
    /// The kind of attack. Unknown names are kept and treated by the `unknown` template.
    pub vector: String,
    /// Observed bits per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bps: Option<i64>,
    /// Observed packets per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pps: Option<i64>,
    /// How sure the detector is, 0 to 1. Absent is not 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// IP protocol number; used where the vector's template does not name one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<u8>,
    /// Attacked ports, busiest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub top_dst_ports: Vec<u16>,
    /// Ports the attack comes from, busiest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub top_src_ports: Vec<u16>,
    /// When the detector saw it; absent means now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Timestamp>,
    /// Anything else the detector wants kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "server", schema(value_type = Option<Object>))]
    pub raw_details: Option<Box<RawValue>>,
}

/// A report whose every field is in range.
#[derive(Clone, Debug)]
pub struct Event {
    /// The detector's name.
    pub source: String,
    /// The attack's name at its source.
    pub external_id: Option<String>,
    /// Ban or unban.
    pub action: EventAction,
    /// The attacked host.
    pub victim: Victim,
    /// The kind of attack, as the source calls it.
    pub vector: String,
    /// Observed bits per second.
    pub bps: Option<BitsPerSecond>,
    /// Observed packets per second.
    pub pps: Option<u64>,
    /// 0 to 1.
    pub confidence: Option<f64>,
    /// IP protocol number.
    pub protocol: Option<u8>,
    /// Attacked ports.
    pub dst_ports: Vec<u16>,
    /// Ports the attack comes from.
    pub src_ports: Vec<u16>,
    /// When the detector saw it, by its own clock.
    pub timestamp: Option<Timestamp>,
    /// Anything else the detector sent.
    pub raw_details: Option<Box<RawValue>>,
}

impl TryFrom<EventRequest> for Event {
    type Error = Vec<FieldError>;

    /// Checks everything that needs no clock and no configuration.
    ///
    /// # Errors
    /// Every field that is out of range, by name.
    fn try_from(request: EventRequest) -> Result<Self, Self::Error> {
        let mut errors = Vec::new();
        check_name(&mut errors, "source", &request.source);
        if pop_of_source(&request.source).is_some() {
            errors.push(FieldError::new(
                "source",
                "must not begin with pop: such sources are what other POPs offer, and nobody reports as one",
            ));
        }
        check_name(&mut errors, "vector", &request.vector);
        if let Some(id) = &request.event_id {
            check_name(&mut errors, "event_id", id);
        }
        let victim = request
            .victim_ip
            .parse()
            .map_err(|error: VictimError| errors.push(FieldError::new("victim_ip", error.to_string())))
            .ok();
        let bps = not_negative(&mut errors, "bps", request.bps);
        let pps = not_negative(&mut errors, "pps", request.pps);
        if request
            .confidence
            .is_some_and(|confidence| !(0.0..=1.0).contains(&confidence))
        {
            errors.push(FieldError::new("confidence", "must be between 0 and 1"));
        }
        for (field, ports) in [
            ("top_dst_ports", &request.top_dst_ports),
            ("top_src_ports", &request.top_src_ports),
        ] {
            if ports.len() > MAX_EVENT_PORTS {
                errors.push(FieldError::new(
                    field,
                    format!(
                        "has {} ports; at most {MAX_EVENT_PORTS} are accepted",
                        ports.len()
                    ),
                ));
            }
        }
        if let Some(details) = &request.raw_details {
            check_details(&mut errors, details.get());
        }
        match victim {
            Some(victim) if errors.is_empty() => Ok(Self {
                source: request.source,
                external_id: request.event_id,
                action: request.action,
                victim,
                vector: request.vector,
                bps: bps.map(BitsPerSecond),
                pps,
                confidence: request.confidence,
                protocol: request.protocol,
                dst_ports: request.top_dst_ports,
                src_ports: request.top_src_ports,
                timestamp: request.timestamp,
                raw_details: request.raw_details,
            }),
            _ => Err(errors),
        }
    }
}

/// What the source of another POP's offers begins with; its name follows.
const OF_POP: &str = "pop:";

/// The source that what a POP offers is reported as at the others.
#[must_use]
pub fn source_of_pop(pop: &str) -> String {
    format!("{OF_POP}{pop}")
}

/// The POP whose offers a source is; none of a detector.
#[must_use]
pub fn pop_of_source(source: &str) -> Option<&str> {
    source.strip_prefix(OF_POP)
}

/// A name that is kept and shown: `source`, `vector`, `event_id`, `external_ref`.
pub fn check_name(errors: &mut Vec<FieldError>, field: &str, name: &str) {
    if name.is_empty() || name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control) {
        errors.push(FieldError::new(
            field,
            format!("must have 1 to {MAX_NAME_BYTES} bytes and no control characters"),
        ));
    }
}

fn check_details(errors: &mut Vec<FieldError>, json: &str) {
    let mut refuse = |message: String| errors.push(FieldError::new("raw_details", message));
    if json.len() > MAX_DETAILS_BYTES {
        refuse(format!(
            "has {} bytes; at most {MAX_DETAILS_BYTES} are kept",
            json.len()
        ));
    } else if depth(json) > MAX_DETAILS_DEPTH {
        refuse(format!("is nested deeper than {MAX_DETAILS_DEPTH} levels"));
    }
}

/// How deep well-formed JSON is nested.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest, mut in_text, mut escaped) = (0_usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

fn not_negative(errors: &mut Vec<FieldError>, field: &str, value: Option<i64>) -> Option<u64> {
    let value = value?;
    let checked = u64::try_from(value).ok();
    if checked.is_none() {
        errors.push(FieldError::new(
            field,
            format!("is {value}; it cannot be negative"),
        ));
    }
    checked
}

macro_rules! open_names {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$vdoc])* $variant,)*
            /// A value of a newer daemon.
            Other($crate::name::Name),
        }

        crate::schema::text_schema!($name, stringify!($name));

        impl $name {
            /// The names this version knows.
            pub const NAMES: &[&str] = &[$($text),*];

            /// The name on the wire.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self { $(Self::$variant => $text,)* Self::Other(name) => name }
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                match text { $($text => Self::$variant,)* other => Self::Other(other.into()) }
            }
        }

        impl FromStr for $name {
            type Err = std::convert::Infallible;
            fn from_str(text: &str) -> Result<Self, Self::Err> { Ok(text.into()) }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(self.as_str()) }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Ok(Self::from(&*std::borrow::Cow::<'de, str>::deserialize(deserializer)?))
            }
        }
    };
}
pub(crate) use open_names;

open_names! {
    /// What became of an event.
    EventOutcome {
        /// A mitigation was made for it.
        Accepted = "accepted",
        /// It renewed the lease of the live mitigation.
        Extended = "extended",
        /// It took the live mitigation to a later step.
        Escalated = "escalated",
        /// No rule yet: it waits for other sources or for evidence, or the template has nothing it may announce by itself.
        AcceptedPending = "accepted_pending",
        /// No playbook matches it.
        AcceptedNoPlaybook = "accepted_no_playbook",
        /// The victim is in no customer's prefix.
        AcceptedNotOwned = "accepted_not_owned",
        /// Too old to act on, or not newer than the unban of its claim.
        AcceptedStale = "accepted_stale",
        /// An operator withdrew this scope and suppressed it for a time.
        Suppressed = "suppressed",
        /// A guardrail refused it (the answer is 422).
        RejectedGuardrail = "rejected_guardrail",
        /// The last claim ended: the mitigation ends at `ends_at`.
        Ending = "ending",
        /// The last claim ended and the mitigation with it.
        Withdrawn = "withdrawn",
        /// The claim ended; others still hold the mitigation.
        ClaimCleared = "claim_cleared",
        /// There was nothing to end.
        NoActiveMitigation = "no_active_mitigation",
    }
}

/// The answer to an event: 202 for new work, 200 for a replay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct EventAnswer {
    /// prefixd's own name for the event.
    pub event_id: EventId,
    /// The source's name for it.
    pub external_event_id: Option<String>,
    /// What became of it.
    pub status: EventOutcome,
    /// The mitigation it made, extended or ended.
    pub mitigation_id: Option<MitigationId>,
    /// Its signal group.
    pub group_id: Option<GroupId>,
    /// When the mitigation will end, for `ending`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Timestamp>,
    /// One sentence.
    pub reason: String,
}

/// The problem of an event that a guardrail refused (422). The event is stored: `GET /v1/events/{event_id}/why`
/// explains it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct RefusedEvent {
    /// What was refused, and why.
    #[serde(flatten)]
    pub problem: Problem,
    /// prefixd's own name for the event.
    pub event_id: EventId,
    /// The source's name for it.
    pub external_event_id: Option<String>,
    /// The mitigation it was about, when there is one.
    pub mitigation_id: Option<MitigationId>,
    /// Its signal group.
    pub group_id: Option<GroupId>,
}

/// A stored event, as lists and `GET /v1/events/{id}` show it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct StoredEvent {
    /// prefixd's own name for the event.
    pub event_id: EventId,
    /// The source's name for it.
    pub external_event_id: Option<String>,
    /// The detector.
    pub source: String,
    /// Who sent it, authenticated.
    pub actor: String,
    /// The POP that received it.
    pub pop: String,
    /// Ban or unban.
    pub action: EventAction,
    /// The attacked host.
    pub victim_ip: Victim,
    /// The kind of attack.
    pub vector: String,
    /// Observed bits per second.
    pub bps: Option<BitsPerSecond>,
    /// Observed packets per second.
    pub pps: Option<u64>,
    /// As reported.
    pub confidence: Option<f64>,
    /// IP protocol number.
    pub protocol: Option<u8>,
    /// Attacked ports.
    pub top_dst_ports: Vec<u16>,
    /// Ports the attack comes from.
    pub top_src_ports: Vec<u16>,
    /// When the detector saw it, by its own clock.
    pub timestamp: Option<Timestamp>,
    /// When prefixd received it.
    pub received_at: Timestamp,
    /// What became of it.
    pub outcome: EventOutcome,
    /// The deciding reason as one sentence.
    pub reason: String,
    /// The mitigation it made, extended or ended.
    pub mitigation_id: Option<MitigationId>,
    /// Its signal group.
    pub group_id: Option<GroupId>,
    /// Anything else the detector sent.
    #[cfg_attr(feature = "server", schema(value_type = Option<Object>))]
    pub raw_details: Option<Box<RawValue>>,
}

impl StoredEvent {
    /// The answer this event got; a replay gets it again.
    #[must_use]
    pub fn answer(&self, ends_at: Option<Timestamp>) -> EventAnswer {
        EventAnswer {
            event_id: self.event_id,
            external_event_id: self.external_event_id.clone(),
            status: self.outcome.clone(),
            mitigation_id: self.mitigation_id,
            group_id: self.group_id,
            ends_at,
            reason: self.reason.clone(),
        }
    }
}

/// One page of events.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct EventList {
    /// Newest first.
    pub events: Vec<StoredEvent>,
    /// How many are in this page.
    pub count: usize,
    /// Pass it as `cursor` for the next page; absent on the last.
    pub next_cursor: Option<String>,
}

/// The body of `POST /v1/events/batch`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct EventBatch {
    /// 1 to 100 events, each judged by itself.
    #[cfg_attr(feature = "server", schema(value_type = Vec<EventRequest>))]
    pub events: Vec<Box<RawValue>>,
}

/// The answer to a batch: one result an event, in order.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct EventBatchAnswer {
    /// One result an event, in order.
    pub results: Vec<EventBatchResult>,
}

/// What became of one event of a batch.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct EventBatchResult {
    /// The HTTP status that the event would have got by itself.
    pub http_status: u16,
    /// The problem's code, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The problem's detail, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Each bad field of the event.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// The answer, when the event was stored; also when a guardrail refused it.
    #[serde(flatten)]
    #[cfg_attr(feature = "server", schema(schema_with = answer_or_nothing))]
    pub answer: Option<EventAnswer>,
}

/// The fields of an answer beside the others, or none of them.
#[cfg(feature = "server")]
fn answer_or_nothing() -> utoipa::openapi::Schema {
    use utoipa::openapi::schema::{AnyOfBuilder, ObjectBuilder};
    use utoipa::openapi::{Ref, Schema};
    let either = AnyOfBuilder::new()
        .item(Ref::from_schema_name("EventAnswer"))
        .item(ObjectBuilder::new())
        .build();
    Schema::AnyOf(either)
}

#[cfg(test)]
mod tests;
