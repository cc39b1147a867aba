//! The journal: every change in order, each entry sealed to the one before by SHA-256.
//!
//! The audit log, a mitigation's timeline and the feed are readings of it. An entry's body is the body of its
//! feed message, hashed as the text that is stored: nothing is serialised twice.

use crate::json;
use crate::policy::{Effect, MitigationEvent, PeerChange, PeerWhat};
use crate::store::Written;
use ipnet::IpNet;
use prefixd_api::event::StoredEvent;
use prefixd_api::ids::MitigationId;
use prefixd_api::mitigation::{Changes, Mitigation};
use prefixd_api::time::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// The actor of what nobody asked for: deadlines, and what a reload changes.
pub const DAEMON: &str = "prefixd";

/// SHA-256 of an entry.
pub type Hash = [u8; 32];

/// The end of a chain: what the next entry is sealed to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Number of the last entry; 0 before the first.
    pub seq: u64,
    /// Its hash; zeroes before the first.
    pub hash: Hash,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number, gapless within a POP, from 1.
    pub seq: u64,
    /// When it was decided.
    pub at: Timestamp,
    /// The POP.
    pub pop: Arc<str>,
    /// Who did it.
    pub actor: String,
    /// What happened.
    pub kind: Kind,
    /// What it happened to: a mitigation, an event, a prefix.
    pub subject: String,
    /// A JSON object.
    pub body: String,
    /// Hash of the entry before.
    pub previous_hash: Hash,
    /// Hash of this one.
    pub hash: Hash,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $text:literal, $feed:expr;)*) => {
        /// What an entry is about.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Kind { $($(#[$doc])* $variant,)* }

        impl Kind {
            /// As it is stored.
            #[must_use]
            pub const fn as_str(self) -> &'static str { match self { $(Self::$variant => $text,)* } }

            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// What it happened to: the name up to the dot.
            #[must_use]
            pub fn target(self) -> &'static str {
                self.as_str().split('.').next().unwrap_or_default()
            }

            /// The kind with this name.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> { match text { $($text => Some(Self::$variant),)* _ => None } }

            /// Type of its feed message, when it has one.
            #[must_use]
            pub const fn feed_type(self) -> Option<&'static str> { match self { $(Self::$variant => $feed,)* } }
        }
    };
}

kinds! {
    /// An event was stored.
    Event = "event", Some("event_ingested");
    /// A signal group changed without an event.
    Group = "group", Some("group_updated");
    /// A mitigation was made.
    MitigationCreated = "mitigation.created", Some("mitigation_created");
    /// It was pending and is announced.
    MitigationPromoted = "mitigation.promoted", Some("mitigation_updated");
    /// It was pending and a guardrail refused it.
    MitigationRejected = "mitigation.rejected", Some("mitigation_rejected");
    /// It changed.
    MitigationUpdated = "mitigation.updated", Some("mitigation_updated");
    /// It went to a later step.
    MitigationEscalated = "mitigation.escalated", Some("mitigation_escalated");
    /// It went back to the step before.
    MitigationDeescalated = "mitigation.deescalated", Some("mitigation_updated");
    /// It ended before its lease.
    MitigationWithdrawn = "mitigation.withdrawn", Some("mitigation_withdrawn");
    /// It ended with its lease.
    MitigationExpired = "mitigation.expired", Some("mitigation_expired");
    /// A person acknowledged it, or took that back.
    MitigationAcknowledged = "mitigation.acknowledged", Some("mitigation_acknowledged");
    /// A person wrote something about it.
    MitigationNoted = "mitigation.noted", Some("mitigation_updated");
    /// The safelist changed.
    Safelist = "safelist", Some("safelist_changed");
    /// A suppression came or went.
    Suppression = "suppression", Some("suppression_changed");
    /// An operator gave an order to a neighbour; the feed tells what comes of it.
    Peer = "peer", None;
    /// Rules of a neighbour were parked or released; the feed tells how they stand.
    Quarantine = "peer.quarantine", None;
    /// A detector was paused, or no longer is.
    Source = "source", Some("source_changed");
    /// The breaker tripped or was reset.
    Breaker = "breaker", Some("control_changed");
    /// A person stopped announcing, or let it go on.
    Control = "control", Some("control_changed");
    /// A configuration came into force.
    Config = "config", Some("config_reloaded");
}

impl From<MitigationEvent> for Kind {
    fn from(event: MitigationEvent) -> Self {
        match event {
            MitigationEvent::Created => Self::MitigationCreated,
            MitigationEvent::Promoted => Self::MitigationPromoted,
            MitigationEvent::Rejected => Self::MitigationRejected,
            MitigationEvent::Updated => Self::MitigationUpdated,
            MitigationEvent::Escalated => Self::MitigationEscalated,
            MitigationEvent::Deescalated => Self::MitigationDeescalated,
            MitigationEvent::Withdrawn => Self::MitigationWithdrawn,
            MitigationEvent::Expired => Self::MitigationExpired,
            MitigationEvent::Acknowledged => Self::MitigationAcknowledged,
            MitigationEvent::Noted => Self::MitigationNoted,
        }
    }
}

/// Builds the entries of a batch on a chain.
pub struct Writer {
    pop: Arc<str>,
    head: Head,
    entries: Vec<Entry>,
}

impl Writer {
    /// Goes on from the end of a chain.
    #[must_use]
    pub fn new(pop: Arc<str>, head: Head) -> Self {
        Self {
            pop,
            head,
            entries: Vec::new(),
        }
    }

    /// The POP whose chain it is.
    #[must_use]
    pub fn pop(&self) -> Arc<str> {
        Arc::clone(&self.pop)
    }

    /// The end of the chain with what was added.
    #[must_use]
    pub fn head(&self) -> Head {
        self.head
    }

    /// Whether nothing was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The added entries.
    #[must_use]
    pub fn into_entries(self) -> Vec<Entry> {
        self.entries
    }

    /// Adds one entry.
    pub fn append(&mut self, at: Timestamp, actor: &str, kind: Kind, subject: String, body: String) {
        let mut entry = Entry {
            seq: self.head.seq + 1,
            at,
            pop: Arc::clone(&self.pop),
            actor: actor.to_owned(),
            kind,
            subject,
            body,
            previous_hash: self.head.hash,
            hash: [0; 32],
        };
        entry.hash = entry.seal();
        self.head = Head {
            seq: entry.seq,
            hash: entry.hash,
        };
        self.entries.push(entry);
    }

    /// Adds what a decision changed; `written` has the effects as JSON. A group that changes with an event is told by
    /// the event's entry.
    ///
    /// # Errors
    /// When a body cannot be written as JSON, which is a defect; then nothing was added.
    pub fn append_effects(
        &mut self,
        at: Timestamp,
        effects: &[Effect],
        written: &[Written],
    ) -> Result<(), serde_json::Error> {
        let (head, length) = (self.head, self.entries.len());
        let appended = self.try_append_effects(at, effects, written);
        if appended.is_err() {
            self.entries.truncate(length);
            self.head = head;
        }
        appended
    }

    fn try_append_effects(
        &mut self,
        at: Timestamp,
        effects: &[Effect],
        written: &[Written],
    ) -> Result<(), serde_json::Error> {
        let by_event = effects.iter().any(|effect| matches!(effect, Effect::Event(..)));
        for (effect, json) in effects.iter().zip(written.iter().map(Written::body)) {
            match effect {
                Effect::Event(event, _) => {
                    let body = event_body(event, json)?;
                    self.append(at, &event.actor, Kind::Event, event.event_id.to_string(), body);
                }
                Effect::Group(_) if by_event => {}
                Effect::Group(group) => {
                    let body = format!(r#"{{"group":{json}}}"#);
                    self.append(at, DAEMON, Kind::Group, group.group_id.to_string(), body);
                }
                Effect::Mitigation {
                    what,
                    actor,
                    before,
                    after,
                    said,
                    ..
                } => {
                    let body = match before {
                        None => format!(r#"{{"mitigation":{json}}}"#),
                        Some(before) => change_body(before, after, said.as_deref())?,
                    };
                    self.append(at, actor, (*what).into(), after.mitigation_id.to_string(), body);
                }
                Effect::Suppressed(suppression) => {
                    let body = suppression_body(&suppression.scope.to_string(), json)?;
                    self.append(
                        at,
                        &suppression.created_by,
                        Kind::Suppression,
                        suppression.scope.to_string(),
                        body,
                    );
                }
                Effect::Unsuppressed { scope, actor } => {
                    let body = suppression_body(&scope.to_string(), "null")?;
                    self.append(at, actor, Kind::Suppression, scope.to_string(), body);
                }
                Effect::WideSuppressed(suppression) => {
                    let body = suppression_body(&suppression.to_string(), json)?;
                    self.append(
                        at,
                        &suppression.created_by,
                        Kind::Suppression,
                        suppression.to_string(),
                        body,
                    );
                }
                Effect::WideUnsuppressed { suppression, actor } => {
                    let body = suppression_body(&suppression.to_string(), "null")?;
                    self.append(at, actor, Kind::Suppression, suppression.to_string(), body);
                }
                // The entry of the mitigation tells of them.
                Effect::Unconfirmed(_) | Effect::Confirmed { .. } => {}
                Effect::SafelistAdded(entry) | Effect::SafelistLearned(entry) => {
                    let actor = entry.created_by.as_deref().unwrap_or(DAEMON);
                    let body = json::text(&serde_json::json!({
                        "prefix": entry.prefix, "added": true, "reason": entry.reason, "expires_at": entry.expires_at,
                    }))?;
                    self.append(at, actor, Kind::Safelist, entry.prefix.to_string(), body);
                }
                Effect::SafelistRemoved { prefix, actor } => {
                    self.append(
                        at,
                        actor,
                        Kind::Safelist,
                        prefix.to_string(),
                        no_longer_protected(prefix)?,
                    );
                }
                Effect::SafelistForgotten { prefix } => {
                    self.append(
                        at,
                        DAEMON,
                        Kind::Safelist,
                        prefix.to_string(),
                        no_longer_protected(prefix)?,
                    );
                }
                Effect::Peer(change) => {
                    let body = peer_body(change)?;
                    self.append(at, &change.actor, Kind::Peer, change.neighbor.to_string(), body);
                }
                Effect::Quarantine(change) => {
                    let mut body = serde_json::json!({
                        "neighbor": change.neighbor, "parked": change.parked, "released": change.released,
                    });
                    for (what, kinds) in [("kinds_tried", &change.tried), ("kinds_kept", &change.kept)] {
                        if !kinds.is_empty() {
                            body[what] = serde_json::json!(kinds);
                        }
                    }
                    if change.bound {
                        body["bound"] = serde_json::json!(change.after.bound);
                    }
                    let body = json::text(&body)?;
                    self.append(
                        at,
                        &change.actor,
                        Kind::Quarantine,
                        change.neighbor.to_string(),
                        body,
                    );
                }
                Effect::Source(change) => {
                    let body = json::text(&serde_json::json!({
                        "source": change.source, "paused": change.after, "reason": change.reason,
                    }))?;
                    self.append(at, &change.actor, Kind::Source, change.source.to_string(), body);
                }
                Effect::Control(change) => {
                    let body = json::text(&serde_json::json!({
                        "scope": change.scope, "stopped": change.after, "reason": change.reason,
                    }))?;
                    self.append(at, &change.actor, Kind::Control, change.scope.to_string(), body);
                }
                Effect::Breaker(change) => {
                    let body = json::text(&serde_json::json!({
                        "breaker": change.after, "reason": change.reason,
                    }))?;
                    self.append(at, &change.actor, Kind::Breaker, "breaker".to_owned(), body);
                }
            }
        }
        Ok(())
    }
}

fn suppression_body(about: &str, json: &str) -> Result<String, serde_json::Error> {
    let about = json::text(&about)?;
    Ok(format!(r#"{{"about":{about},"suppression":{json}}}"#))
}

fn no_longer_protected(prefix: &IpNet) -> Result<String, serde_json::Error> {
    json::text(&serde_json::json!({ "prefix": prefix, "added": false }))
}

/// A [`prefixd_api::feed::MitigationChange`].
fn change_body(
    before: &Mitigation,
    after: &Mitigation,
    said: Option<&str>,
) -> Result<String, serde_json::Error> {
    #[derive(Serialize)]
    struct Body<'a> {
        mitigation_id: MitigationId,
        revision: u64,
        changes: Changes<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'a str>,
    }
    json::text(&Body {
        mitigation_id: after.mitigation_id,
        revision: after.revision,
        changes: after.changes_since(before),
        reason: said,
    })
}

/// An order with what it is about, where that is not the whole neighbour.
fn peer_body(change: &PeerChange) -> Result<String, serde_json::Error> {
    let mut body = serde_json::json!({
        "neighbor": change.neighbor, "order": change.what.order().as_str(), "reason": change.reason,
    });
    match &change.what {
        PeerWhat::Released { nlri: Some(nlri) } => body["nlri"] = nlri.as_str().into(),
        PeerWhat::Resent { family: Some(family) } => body["afi_safi"] = family.as_str().into(),
        _ => {}
    }
    json::text(&body)
}

fn event_body(event: &StoredEvent, json: &str) -> Result<String, serde_json::Error> {
    #[derive(Serialize)]
    struct Body<'a> {
        event_id: prefixd_api::ids::EventId,
        source: &'a str,
        victim_ip: prefixd_api::victim::Victim,
        vector: &'a str,
        action: prefixd_api::event::EventAction,
        outcome: &'a prefixd_api::event::EventOutcome,
        mitigation_id: Option<prefixd_api::ids::MitigationId>,
        payload_sha256: String,
    }
    json::text(&Body {
        event_id: event.event_id,
        source: &event.source,
        victim_ip: event.victim_ip,
        vector: &event.vector,
        action: event.action,
        outcome: &event.outcome,
        mitigation_id: event.mitigation_id,
        payload_sha256: hex(&Sha256::digest(json)),
    })
}

impl Entry {
    /// The hash that seals this entry: over every field but the hash itself, each with its length, so that no
    /// two entries have the same bytes.
    #[must_use]
    pub fn seal(&self) -> Hash {
        let mut hasher = Sha256::new();
        hasher.update(self.previous_hash);
        hasher.update(self.seq.to_be_bytes());
        hasher.update(self.at.as_micros().to_be_bytes());
        for text in [
            &*self.pop,
            &self.actor,
            self.kind.as_str(),
            &self.subject,
            &self.body,
        ] {
            hasher.update((text.len() as u64).to_be_bytes());
            hasher.update(text);
        }
        hasher.finalize().into()
    }

    /// The feed message of this entry as JSON, when its kind has one.
    ///
    /// # Errors
    /// When the entry cannot be written as JSON, which is a defect.
    pub fn feed_json(&self) -> Result<Option<String>, serde_json::Error> {
        #[derive(Serialize)]
        struct Frame<'a> {
            #[serde(rename = "type")]
            kind: &'a str,
            seq: u64,
            at: Timestamp,
            pop: &'a str,
            actor: &'a str,
        }
        let Some(kind) = self.kind.feed_type() else {
            return Ok(None);
        };
        let frame = Frame {
            kind,
            seq: self.seq,
            at: self.at,
            pop: &self.pop,
            actor: &self.actor,
        };
        let mut json = serde_json::to_string(&frame)?;
        // The body is a JSON object: its fields follow the frame's.
        let fields = self.body.trim_start().strip_prefix('{').unwrap_or("}");
        json.pop();
        if !fields.trim_start().starts_with('}') {
            json.push(',');
        }
        json.push_str(fields);
        Ok(Some(json))
    }

    /// The body for a timeline.
    #[must_use]
    pub fn body_value(&self) -> Option<Box<RawValue>> {
        RawValue::from_string(self.body.clone()).ok()
    }
}

/// Lower-case hex of bytes.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from(b"0123456789abcdef"[usize::from(value & 0xf)]);
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(*byte)])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::fixture::{Attack, host};
    use prefixd_api::feed::{FeedBody, FeedMessage, MitigationChange};

    fn chain() -> Vec<Entry> {
        let mut writer = Writer::new("iad1".into(), Head::default());
        let at = Timestamp::from_micros(1_700_000_000_000_000);
        writer.append(
            at,
            "anna",
            Kind::Safelist,
            "192.0.2.0/24".into(),
            r#"{"prefix":"192.0.2.0/24","added":true}"#.into(),
        );
        writer.append(at, DAEMON, Kind::Config, "config".into(), "{}".into());
        writer.into_entries()
    }

    #[test]
    fn each_entry_is_sealed_to_the_one_before() {
        let entries = chain();
        assert_eq!((entries[0].seq, entries[1].seq), (1, 2));
        assert_eq!(entries[1].previous_hash, entries[0].hash);
        let mut forged = entries[0].clone();
        forged.actor = "eve".into();
        assert_ne!(forged.seal(), forged.hash);
    }

    #[test]
    fn a_change_tells_what_the_feed_tells_of_it() {
        let at = Timestamp::from_micros(1_700_000_000_000_000);
        let before = Attack::new(host(1), "udp_flood", at).mitigation;
        let mut after = Mitigation::clone(&before);
        after.revision += 1;
        after.expires_at = at;
        after.external_ref = Some("INC-\"4711\"".into());
        after.claims = Box::default();
        let body = change_body(&before, &after, None).unwrap();
        let change: MitigationChange = serde_json::from_str(&body).unwrap();
        let [old, new] = [&*before, &after].map(|revision| serde_json::to_value(revision).unwrap());
        let mut expected = new.as_object().unwrap().clone();
        expected.retain(|field, value| field != "revision" && old[field.as_str()] != *value);
        assert_eq!(expected.len(), 3);
        assert_eq!(change.changes, expected);
        assert_eq!(change.apply_to(&before), Some(after));
    }

    #[test]
    fn an_entry_is_its_feed_message() {
        let entries = chain();
        let message: FeedMessage = serde_json::from_str(&entries[0].feed_json().unwrap().unwrap()).unwrap();
        assert_eq!(message.seq, Some(1));
        assert_eq!(message.actor.as_deref(), Some("anna"));
        assert_eq!(
            message.body,
            FeedBody::SafelistChanged {
                prefix: "192.0.2.0/24".into(),
                added: true
            }
        );
        let message: FeedMessage = serde_json::from_str(&entries[1].feed_json().unwrap().unwrap()).unwrap();
        assert_eq!(
            message.body,
            FeedBody::ConfigReloaded {
                files: std::collections::BTreeMap::default(),
                changed: Vec::new(),
            }
        );
    }

    /// What people do to whole scopes and detectors, and what groups do by themselves.
    #[test]
    fn groups_suppressions_and_pauses_are_told() {
        let at = Timestamp::from_micros(1_700_000_000_000_000);
        let attack = Attack::new(host(1), "udp_flood", at);
        let suppression = Arc::new(prefixd_api::mitigation::Suppression {
            suppression_id: prefixd_api::ids::SuppressionId::new(),
            scope: attack.group.scope.clone(),
            created_by: "anna".to_owned(),
            created_at: at,
            expires_at: at,
            reason: "game night".to_owned(),
        });
        let change = |after| {
            Effect::Source(crate::policy::SourceChange {
                source: "fnm".into(),
                after,
                actor: "anna".to_owned(),
                reason: "fixed".to_owned(),
            })
        };
        let effects = [
            Effect::Group(Arc::clone(&attack.group)),
            Effect::Suppressed(Arc::clone(&suppression)),
            Effect::Unsuppressed {
                scope: suppression.scope.clone(),
                actor: "anna".to_owned(),
            },
            change(None),
        ];
        let written = Written::all(&effects).unwrap();
        let mut writer = Writer::new("iad1".into(), Head::default());
        writer.append_effects(at, &effects, &written).unwrap();
        let entries = writer.into_entries();
        let bodies: Vec<FeedBody> = entries
            .iter()
            .map(|entry| {
                let message: FeedMessage =
                    serde_json::from_str(&entry.feed_json().unwrap().unwrap()).unwrap();
                message.body
            })
            .collect();
        let [
            FeedBody::GroupUpdated { group },
            FeedBody::SuppressionChanged {
                about,
                suppression: Some(said),
            },
            FeedBody::SuppressionChanged {
                about: over,
                suppression: None,
            },
            FeedBody::SourceChanged { source, paused: None },
        ] = &bodies[..]
        else {
            panic!("{bodies:?}")
        };
        assert_eq!(**group, *attack.group);
        assert_eq!((about, over), (&suppression.scope.to_string(), about));
        assert_eq!(said["reason"], "game night");
        assert_eq!(source, "fnm");
    }
}
