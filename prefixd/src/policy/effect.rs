//! What a decision changes.

use super::quarantine::QuarantineChange;
use super::trace::Trace;
use super::undo::Unconfirmed;
use ipnet::IpNet;
use prefixd_api::control::{BreakerTripped, ControlScope, Stopped};
use prefixd_api::event::{EventAnswer, StoredEvent};
use prefixd_api::family::AfiSafi;
use prefixd_api::guardrail::Guardrail;
use prefixd_api::ids::MitigationId;
use prefixd_api::mitigation::{Group, Mitigation, Scope, Suppression, WideSuppression};
use prefixd_api::peer::{PeerDisabled, PeerOrder};
use prefixd_api::problem::Problem;
use prefixd_api::resource::{SafelistAnswer, SafelistEntry};
use prefixd_api::source::SourcePaused;
use std::sync::Arc;

/// The outcome of one command with everything it changes.
#[derive(Clone, Debug)]
pub struct Decision {
    /// What the caller is told.
    pub outcome: Outcome,
    /// The changes, in order. Empty when a request was refused.
    pub effects: Vec<Effect>,
    /// The guardrails that refused something: the request, a step, or what was live and ended by it.
    pub refused: Vec<Guardrail>,
}

/// What the caller is told, once the effects are durable.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// An event was stored.
    Event {
        /// The answer.
        answer: EventAnswer,
        /// The guardrail that refused a rule: the answer is 422, the event is stored all the same.
        refused: Option<(Guardrail, Arc<Trace>)>,
    },
    /// A mitigation was made or revised by an operator.
    Created(Arc<Mitigation>),
    /// A mitigation was changed by an operator.
    Changed(Arc<Mitigation>),
    /// A mitigation was withdrawn.
    Withdrawn(Arc<Mitigation>),
    /// What became of each of several.
    Many(Vec<One>),
    /// A safelist entry was added; the mitigations it withdrew are among the effects.
    SafelistAdded(SafelistAnswer),
    /// A safelist entry was removed.
    SafelistRemoved,
    /// A suppression was made.
    Suppressed(Arc<Suppression>),
    /// One of a prefix or a source was made.
    WideSuppressed {
        /// The suppression.
        suppression: Arc<WideSuppression>,
        /// Live mitigations that it is about, which go on.
        live: u64,
    },
    /// A suppression was ended.
    Unsuppressed,
    /// A detector is paused, or no longer.
    SourcePaused {
        /// While it is.
        paused: Option<Arc<SourcePaused>>,
        /// How many mitigations were withdrawn; they are among the effects.
        withdrawn: u64,
    },
    /// An order to a neighbour was given, or there was nothing to do.
    PeerOrdered,
    /// What holds announcing back is as ordered.
    ControlChanged,
    /// A deadline or a new judgement was dealt with.
    Settled,
    /// Nothing changed; this is why.
    Refused(Box<Problem>),
}

/// One of several mitigations, and what became of it.
pub type One = (MitigationId, Result<Arc<Mitigation>, Box<Problem>>);

/// One change. Each carries the whole new value, so that the store and the state need no other source.
#[derive(Clone, Debug)]
pub enum Effect {
    /// An event with its trace.
    Event(Arc<StoredEvent>, Arc<Trace>),
    /// A group was opened, changed or closed.
    Group(Arc<Group>),
    /// A mitigation was made or changed.
    Mitigation {
        /// What happened to it.
        what: MitigationEvent,
        /// Who did it: an actor, or `prefixd` for deadlines.
        actor: String,
        /// As it was; absent when it is new.
        before: Option<Arc<Mitigation>>,
        /// As it is now; no longer live when it ended.
        after: Arc<Mitigation>,
        /// A person's words, where the mitigation does not keep them.
        said: Option<String>,
        /// The trace, where this change was a decision of its own.
        why: Option<Arc<Trace>>,
    },
    /// Automatic bans of a scope are no longer acted on.
    Suppressed(Arc<Suppression>),
    /// They are again.
    Unsuppressed {
        /// Whose.
        scope: Scope,
        /// Who ended the suppression; `prefixd` when its time was over.
        actor: String,
    },
    /// Automatic bans of a prefix or a source are no longer acted on.
    WideSuppressed(Arc<WideSuppression>),
    /// They are again.
    WideUnsuppressed {
        /// Which.
        suppression: Arc<WideSuppression>,
        /// Who ended it; `prefixd` when its time was over.
        actor: String,
    },
    /// A withdrawal waits for a person to confirm it. The entry of the mitigation tells of it.
    Unconfirmed(Arc<Unconfirmed>),
    /// It waits no longer.
    Confirmed {
        /// What it is about.
        scope: Scope,
        /// The mitigation that was withdrawn.
        mitigation: MitigationId,
    },
    /// A prefix is protected.
    SafelistAdded(Arc<SafelistEntry>),
    /// It no longer is.
    SafelistRemoved {
        /// The prefix.
        prefix: IpNet,
        /// Who removed it.
        actor: String,
    },
    /// A prefix is protected since a daemon of another POP made it so.
    SafelistLearned(Arc<SafelistEntry>),
    /// It no longer is.
    SafelistForgotten {
        /// The prefix.
        prefix: IpNet,
    },
    /// An order to a neighbour.
    Peer(PeerChange),
    /// What is known of a neighbour that ended sessions over rules.
    Quarantine(QuarantineChange),
    /// The breaker tripped, or was reset.
    Breaker(BreakerChange),
    /// A person stopped announcing, or let it go on.
    Control(ControlChange),
    /// A detector was paused, or no longer is.
    Source(SourceChange),
}

/// See [`Effect::Breaker`].
#[derive(Clone, Debug)]
pub struct BreakerChange {
    /// While it is tripped.
    pub after: Option<Arc<BreakerTripped>>,
    /// Who did it.
    pub actor: String,
    /// Why.
    pub reason: String,
}

/// See [`Effect::Control`].
#[derive(Clone, Debug)]
pub struct ControlChange {
    /// What it is about.
    pub scope: ControlScope,
    /// How it is stopped now; absent: it goes on.
    pub after: Option<Arc<Stopped>>,
    /// Who did it.
    pub actor: String,
    /// Why.
    pub reason: String,
}

/// See [`Effect::Source`].
#[derive(Clone, Debug)]
pub struct SourceChange {
    /// The detector.
    pub source: Arc<str>,
    /// While it is paused.
    pub after: Option<Arc<SourcePaused>>,
    /// Who did it.
    pub actor: String,
    /// Why.
    pub reason: String,
}

/// An operator's order to a neighbour. What lasts is in the state; the speaker is told once it is durable.
#[derive(Clone, Debug)]
pub struct PeerChange {
    /// The neighbour's name.
    pub neighbor: Arc<str>,
    /// What happens to it.
    pub what: PeerWhat,
    /// Who ordered it.
    pub actor: String,
    /// Why.
    pub reason: String,
}

/// See [`PeerChange`].
#[derive(Clone, Debug)]
pub enum PeerWhat {
    /// It is disabled, until it is enabled.
    Disabled(Arc<PeerDisabled>),
    /// It is enabled.
    Enabled,
    /// Its session is made anew.
    Reset,
    /// It is sent everything again.
    Resent {
        /// The one family; absent: all of them.
        family: Option<AfiSafi>,
    },
    /// Rules that ended its session are tried again.
    Released {
        /// The NLRI of the one; absent: all of them.
        nlri: Option<String>,
    },
}

impl PeerWhat {
    /// The order that it comes from.
    #[must_use]
    pub fn order(&self) -> PeerOrder {
        match self {
            Self::Disabled(_) => PeerOrder::Disable,
            Self::Enabled => PeerOrder::Enable,
            Self::Reset => PeerOrder::Reset,
            Self::Resent { .. } => PeerOrder::Resend,
            Self::Released { .. } => PeerOrder::Release,
        }
    }
}

/// What happened to a mitigation: the kind of its journal entry and feed message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MitigationEvent {
    /// It was made.
    Created,
    /// It waited for others to say the same, and is announced.
    Promoted,
    /// It waited, and a guardrail refused it.
    Rejected,
    /// Its lease, claims or rules changed.
    Updated,
    /// It went to a later step.
    Escalated,
    /// It went back to the step before.
    Deescalated,
    /// It ended before its lease.
    Withdrawn,
    /// It ended with its lease.
    Expired,
    /// A person acknowledged it, or took that back.
    Acknowledged,
    /// A person wrote something about it.
    Noted,
}
