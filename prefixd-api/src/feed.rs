//! Messages of the WebSocket feed.
//!
//! Numbered messages are journal entries: a client that reconnects with the last position it has seen misses
//! none, or is told `resync_required`. Messages without a number are ephemeral.

use crate::control::{BreakerTripped, ControlScope, Stopped};
use crate::event::EventOutcome;
use crate::ids::{EventId, MitigationId};
use crate::mitigation::{Delivery, Group, Mitigation};
use crate::resource::{Mode, PeerState};
use crate::role::Role;
use crate::source::SourcePaused;
use crate::time::Timestamp;
use crate::victim::Victim;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// One message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct FeedMessage {
    /// Position in the journal of its POP; absent on ephemeral messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// When it happened.
    pub at: Timestamp,
    /// Where it happened.
    pub pop: String,
    /// Who did it; absent where nobody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// What happened.
    #[serde(flatten)]
    pub body: FeedBody,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FeedBody {
    /// The first message of a connection.
    Hello {
        /// The daemon's version.
        version: String,
        /// Position of the newest journal entry.
        head: u64,
        /// Enforced or dry-run.
        mode: Mode,
        /// What the subscriber may do.
        role: Role,
    },
    /// A mitigation was made.
    MitigationCreated {
        /// The whole of it.
        mitigation: Box<Mitigation>,
    },
    /// It changed: lease, claims, rules.
    MitigationUpdated(MitigationChange),
    /// It went to a later step.
    MitigationEscalated(MitigationChange),
    /// It ended before its lease did.
    MitigationWithdrawn(MitigationChange),
    /// It ended with its lease.
    MitigationExpired(MitigationChange),
    /// A guardrail refused it at promotion.
    MitigationRejected(MitigationChange),
    /// A person acknowledged it, or took that back.
    MitigationAcknowledged(MitigationChange),
    /// An event was stored.
    EventIngested {
        /// The event.
        event_id: EventId,
        /// The detector.
        source: String,
        /// The attacked host.
        victim_ip: Victim,
        /// The kind of attack.
        vector: String,
        /// What became of it.
        outcome: EventOutcome,
        /// The mitigation it touched.
        mitigation_id: Option<MitigationId>,
    },
    /// A signal group changed without an event: a claim died, it closed. What an event changes in its group, its own message
    /// tells.
    GroupUpdated {
        /// The whole of it.
        group: Box<Group>,
    },
    /// Bans of a victim and vector, a prefix or a source are not acted on for a time, or are again.
    SuppressionChanged {
        /// What it is about, in words.
        #[serde(default)]
        about: String,
        /// The suppression; absent when it is over.
        #[serde(default)]
        #[cfg_attr(feature = "server", schema(value_type = Option<Object>))]
        suppression: Option<Box<Map<String, Value>>>,
    },
    /// A detector was paused, or no longer is.
    SourceChanged {
        /// The detector.
        #[serde(default)]
        source: String,
        /// While it is paused.
        #[serde(default)]
        paused: Option<SourcePaused>,
    },
    /// The safelist changed.
    SafelistChanged {
        /// The prefix that came or went.
        prefix: String,
        /// Whether it came.
        added: bool,
    },
    /// The breaker tripped or was reset, or a person stopped announcing or let it go on.
    ControlChanged {
        /// The breaker, when it tripped.
        #[serde(default)]
        breaker: Option<BreakerTripped>,
        /// What a person stopped or let go on; absent when it was the breaker.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scope: Option<ControlScope>,
        /// How it is stopped now; absent: it goes on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stopped: Option<Stopped>,
    },
    /// A new configuration is in force.
    ConfigReloaded {
        /// The files it was read from: SHA-256 in hex, by name.
        #[serde(default)]
        files: BTreeMap<String, String>,
        /// Which of them are not as they were before.
        #[serde(default)]
        changed: Vec<String>,
    },
    /// A session came up or went down.
    PeerChanged {
        /// The neighbour.
        neighbor: String,
        /// Its state now.
        state: PeerState,
        /// Why, when it went down.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// The rules of a mitigation stand otherwise at the neighbours.
    DeliveryChanged {
        /// The mitigation.
        mitigation_id: MitigationId,
        /// How they stand.
        delivery: Delivery,
    },
    /// Reconciliation found and repaired differences.
    DriftDetected {
        /// Rules that were missing in the RIB.
        missing: u64,
        /// Rules in the RIB that no live mitigation explains.
        unexplained: u64,
    },
    /// What the subscriber has seen is no longer enough: read the lists again, then go on from `head`.
    ResyncRequired {
        /// Position of the newest journal entry.
        head: u64,
    },
    /// The connection lives.
    Ping {},
    /// A message of a newer daemon.
    #[serde(other)]
    Unknown,
}

impl FeedBody {
    /// The types that `?types=` may name. The first three come whatever it names.
    pub const TYPES: &[&str] = &[
        "hello",
        "resync_required",
        "ping",
        "mitigation_created",
        "mitigation_updated",
        "mitigation_escalated",
        "mitigation_withdrawn",
        "mitigation_expired",
        "mitigation_rejected",
        "mitigation_acknowledged",
        "event_ingested",
        "group_updated",
        "suppression_changed",
        "source_changed",
        "safelist_changed",
        "control_changed",
        "config_reloaded",
        "peer_changed",
        "delivery_changed",
        "drift_detected",
    ];
}

/// The fields of a mitigation that changed. A reader whose copy is not at `revision - 1` fetches it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct MitigationChange {
    /// Which one.
    pub mitigation_id: MitigationId,
    /// Its revision after the change.
    pub revision: u64,
    /// The changed fields with their new values.
    #[cfg_attr(feature = "server", schema(value_type = Object))]
    pub changes: Map<String, Value>,
    /// A person's words, where the mitigation does not keep them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl MitigationChange {
    /// The fields in which `new` differs from `old`.
    ///
    /// # Errors
    /// When a mitigation cannot be written as JSON, which is a defect.
    pub fn between(old: &Mitigation, new: &Mitigation) -> Result<Self, serde_json::Error> {
        let Value::Object(changes) = serde_json::to_value(new.changes_since(old))? else {
            return Err(serde::ser::Error::custom("changes are an object"));
        };
        Ok(Self {
            mitigation_id: new.mitigation_id,
            revision: new.revision,
            changes,
            reason: None,
        })
    }

    /// The mitigation after this change, when `old` is the revision right before it.
    #[must_use]
    pub fn apply_to(&self, old: &Mitigation) -> Option<Mitigation> {
        if old.mitigation_id != self.mitigation_id || old.revision + 1 != self.revision {
            return None;
        }
        let Ok(Value::Object(mut fields)) = serde_json::to_value(old) else {
            return None;
        };
        fields.extend(self.changes.clone());
        fields.insert("revision".to_owned(), self.revision.into());
        serde_json::from_value(Value::Object(fields)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// serde lists the variants it knows when it meets one it does not; `Unknown` takes that away, so each is tried.
    #[test]
    fn every_type_that_may_be_named_is_one() {
        for kind in FeedBody::TYPES {
            let bare = serde_json::json!({ "type": kind });
            let parsed = serde_json::from_value::<FeedBody>(bare);
            assert!(
                !matches!(parsed, Ok(FeedBody::Unknown)),
                "{kind} is no type of a message"
            );
        }
        assert!(matches!(
            serde_json::from_value(serde_json::json!({ "type": "foo" })),
            Ok(FeedBody::Unknown)
        ));
    }
}
