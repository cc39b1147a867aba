//! What neighbours ended their sessions over: kept, so that a restart does not tell it to them again.
//!
//! The speaker finds it out and holds it back; the engine looks for changes and records them. A release by order changes
//! the record with the order, so that what was answered is durable.

use super::effect::{Decision, Effect, Outcome};
use super::turn::Turn;
use prefixd_api::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What is known of one neighbour.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerMemory {
    /// The hold time of the session that was lost last.
    pub hold_seconds: u64,
    /// Rules that are held back, and those that were and whose next time is for longer.
    pub rules: Vec<ParkedRule>,
    /// Shapes of which no rule is told.
    pub shapes: Vec<ParkedShape>,
}

/// A rule that ended the session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParkedRule {
    /// The NLRI as hex.
    pub nlri: String,
    /// Its family.
    pub afi_safi: String,
    /// The speaker's word for what it has in common with others.
    pub shape: String,
    /// Whether it is held back.
    pub held: bool,
    /// Since when, until when and why.
    #[serde(flatten)]
    pub parking: Parking,
}

/// A shape of which three rules did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParkedShape {
    /// The speaker's word for it.
    pub shape: String,
    /// Since when, until when and why.
    #[serde(flatten)]
    pub parking: Parking,
}

/// See [`ParkedRule`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parking {
    /// Since when.
    pub since: Timestamp,
    /// When it is tried again by itself.
    pub until: Timestamp,
    /// How often it was parked.
    pub times: u32,
    /// How the session ended.
    pub why: SessionEnd,
}

/// How a session ended that a rule is blamed for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum SessionEnd {
    /// The router sent a NOTIFICATION.
    Received {
        /// Code.
        code: u8,
        /// Subcode.
        subcode: u8,
        /// The router's words.
        text: Option<String>,
    },
    /// We sent one.
    Sent {
        /// Code.
        code: u8,
        /// Subcode.
        subcode: u8,
        /// Our words.
        text: Option<String>,
    },
    /// The connection was lost.
    Lost {
        /// What the system said.
        detail: String,
    },
}

/// What the speaker knows of a neighbour changed.
#[derive(Clone, Debug)]
pub struct QuarantineChange {
    /// The neighbour's name.
    pub neighbor: Arc<str>,
    /// What is known now.
    pub after: Arc<PeerMemory>,
    /// NLRIs and shapes that are held back now and were not.
    pub parked: Vec<String>,
    /// Those that were and are not.
    pub released: Vec<String>,
    /// Who did it.
    pub actor: String,
}

impl PeerMemory {
    /// Whether there is nothing to keep.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.shapes.is_empty()
    }

    fn held(&self) -> BTreeSet<&str> {
        let rules = self.rules.iter().filter(|rule| rule.held);
        let shapes = self.shapes.iter().map(|shape| &*shape.shape);
        rules.map(|rule| &*rule.nlri).chain(shapes).collect()
    }

    /// As the speaker will know it once this rule, or everything, is released.
    pub(super) fn released(&self, nlri: Option<&str>) -> Self {
        let mut after = self.clone();
        let is_meant = |rule: &ParkedRule| nlri.is_none_or(|nlri| rule.nlri.eq_ignore_ascii_case(nlri));
        let mut shapes = BTreeSet::new();
        for rule in after.rules.iter_mut().filter(|rule| is_meant(rule)) {
            rule.held = false;
            shapes.insert(rule.shape.clone());
        }
        after
            .shapes
            .retain(|shape| nlri.is_some() && !shapes.contains(&shape.shape));
        after
    }
}

impl Turn<'_> {
    /// Records what the speaker knows of a neighbour.
    pub(super) fn remember(mut self, neighbor: &Arc<str>, seen: &Arc<PeerMemory>) -> Decision {
        self.effects
            .extend(self.quarantine_changed(neighbor, seen, crate::journal::DAEMON));
        Decision {
            outcome: Outcome::Settled,
            effects: self.effects,
        }
    }

    pub(super) fn quarantine_changed(
        &self,
        neighbor: &Arc<str>,
        after: &Arc<PeerMemory>,
        actor: &str,
    ) -> Option<Effect> {
        let before = self.state.quarantined.get(neighbor);
        let nothing = PeerMemory::default();
        let was = before.map_or(&nothing, |before| before);
        if was == &**after || (was.is_empty() && after.is_empty()) {
            return None;
        }
        let owned = |names: Vec<&&str>| names.into_iter().map(|name| (*name).to_owned()).collect();
        Some(Effect::Quarantine(QuarantineChange {
            neighbor: Arc::clone(neighbor),
            parked: owned(after.held().difference(&was.held()).collect()),
            released: owned(was.held().difference(&after.held()).collect()),
            after: Arc::clone(after),
            actor: actor.to_owned(),
        }))
    }
}
