//! What neighbours ended their sessions over: kept, so that a restart does not tell it to them again.
//!
//! The speaker finds it out and holds it back; the engine looks for changes and records them. A release by order changes
//! the record with the order, so that what was answered is durable.

use super::effect::{Decision, Effect, Outcome};
use super::turn::Turn;
use prefixd_api::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
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
    /// What it and the neighbours of its profile have found out of new kinds of rules; none if it tries nothing for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kinds: Option<PeerKinds>,
    /// How many rules it takes, if it has ended a session over their number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound: Option<PeerBound>,
}

/// How many rules a neighbour is told at most since it ended a session by Cease/1.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerBound {
    /// Of all families together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<usize>,
    /// Of one family each.
    pub families: BTreeMap<String, usize>,
    /// When all rules are offered again by itself; none while the process lives that heard the router name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// How often it was guessed, because the router named none.
    pub guesses: u32,
}

/// What the neighbours of a profile have found out of new kinds of rules (`bgp.canary_seconds`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerKinds {
    /// The profile.
    pub group: String,
    /// The speaker's words for kinds that one of them has kept for long enough.
    pub kept: BTreeSet<String>,
    /// Kinds that one of them tries for the others.
    pub tried: Vec<TriedKind>,
    /// Rules that the others are not told before one of them has kept them.
    pub parked: Vec<ParkedFor>,
}

/// One of [`PeerKinds`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TriedKind {
    /// The speaker's word for it.
    pub kind: String,
    /// Who tries it.
    pub first: String,
    /// It was told a rule of the kind.
    pub told: bool,
}

/// One of [`PeerKinds`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParkedFor {
    /// The NLRI as hex.
    pub nlri: String,
    /// Its family.
    pub afi_safi: String,
    /// Who has parked it.
    pub first: String,
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
    /// Kinds of rules that one of the profile tries now and did not.
    pub tried: Vec<String>,
    /// Kinds that the neighbours of the profile are known to keep now and were not.
    pub kept: Vec<String>,
    /// How many rules the neighbour takes is known otherwise now.
    pub bound: bool,
    /// Who did it.
    pub actor: String,
}

impl PeerMemory {
    /// Whether there is nothing to keep.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.shapes.is_empty() && self.kinds.is_none() && self.bound.is_none()
    }

    /// Whether the other says the same. A moment is read off two clocks each time, and is never the same to the microsecond;
    /// what is parked anew is so for another time.
    fn says(&self, other: &Self) -> bool {
        let rule = |one: &ParkedRule| ParkedRule {
            parking: one.parking.without_moments(),
            ..one.clone()
        };
        let shape = |one: &ParkedShape| ParkedShape {
            parking: one.parking.without_moments(),
            ..one.clone()
        };
        let said = |memory: &Self| Self {
            rules: memory.rules.iter().map(rule).collect(),
            shapes: memory.shapes.iter().map(shape).collect(),
            bound: memory.bound.as_ref().map(PeerBound::without_moments),
            ..memory.clone()
        };
        said(self) == said(other)
    }

    fn kept(&self) -> BTreeSet<&str> {
        let kept = self.kinds.iter().flat_map(|kinds| &kinds.kept);
        kept.map(|kind| &**kind).collect()
    }

    fn tried(&self) -> BTreeSet<&str> {
        let tried = self.kinds.iter().flat_map(|kinds| &kinds.tried);
        tried.map(|tried| &*tried.kind).collect()
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

impl PeerBound {
    fn without_moments(&self) -> Self {
        Self {
            until: self.until.map(|_| Timestamp::from_micros(0)),
            ..self.clone()
        }
    }
}

impl Parking {
    fn without_moments(&self) -> Self {
        Self {
            since: Timestamp::from_micros(0),
            until: Timestamp::from_micros(0),
            ..self.clone()
        }
    }
}

impl Turn<'_> {
    /// Records what the speaker knows of a neighbour.
    pub(super) fn remember(mut self, neighbor: &Arc<str>, seen: &Arc<PeerMemory>) -> Decision {
        self.effects
            .extend(self.quarantine_changed(neighbor, seen, crate::journal::DAEMON));
        self.done(Outcome::Settled)
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
        if was.says(after) || (was.is_empty() && after.is_empty()) {
            return None;
        }
        let gone = |from: BTreeSet<&str>, to: BTreeSet<&str>| {
            from.difference(&to)
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        Some(Effect::Quarantine(QuarantineChange {
            neighbor: Arc::clone(neighbor),
            parked: gone(after.held(), was.held()),
            released: gone(was.held(), after.held()),
            tried: gone(after.tried(), was.tried()),
            kept: gone(after.kept(), was.kept()),
            bound: was.bound.as_ref().map(PeerBound::without_moments)
                != after.bound.as_ref().map(PeerBound::without_moments),
            after: Arc::clone(after),
            actor: actor.to_owned(),
        }))
    }
}
