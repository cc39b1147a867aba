//! What can be asked of the engine.

use super::quarantine::PeerMemory;
use ipnet::IpNet;
use prefixd_api::control::{ControlScope, ControlState};
use prefixd_api::event::Event;
use prefixd_api::family::AfiSafi;
use prefixd_api::ids::{EventId, GroupId, MitigationId, SuppressionId};
use prefixd_api::mitigation::{Mitigation, MitigationRequest, Scope};
use prefixd_api::operation::{AdjustRequest, LiveFilter, Revisions};
use prefixd_api::peer::PeerOrder;
use prefixd_api::resource::SafelistEntry;
use prefixd_api::time::Timestamp;
use prefixd_api::victim::Victim;
use std::sync::Arc;
use std::time::Duration;

/// One thing to decide.
#[derive(Clone, Debug)]
pub enum Command {
    /// A detector's report.
    Event(Box<EventCommand>),
    /// Mitigate now.
    Create(Box<CreateCommand>),
    /// Take a mitigation back.
    Withdraw(WithdrawCommand),
    /// Have a mitigation last longer.
    Extend(ExtendCommand),
    /// Change what a mitigation does.
    Adjust(Box<AdjustCommand>),
    /// Take several back at once.
    WithdrawMany(WithdrawMany),
    /// Undo a withdrawal.
    Undo(UndoCommand),
    /// Confirm a withdrawal.
    Confirm(ConfirmCommand),
    /// Acknowledge mitigations, write about one, or take one in hand; ended ones too.
    Annotate(AnnotateCommand),
    /// Protect a prefix from every rule.
    SafelistAdd(SafelistAdd),
    /// Stop protecting it.
    SafelistRemove {
        /// The entry.
        prefix: IpNet,
        /// Who asks.
        actor: String,
    },
    /// Protect what a daemon of another POP protects, and no longer what it does not.
    LearnSafelist(LearnSafelist),
    /// Do not act on bans of a scope for a time.
    Suppress(SuppressCommand),
    /// Do not act on bans of a prefix or a source for a time.
    SuppressWide(SuppressWide),
    /// Act on them again.
    Unsuppress(UnsuppressCommand),
    /// The time of suppressions of prefixes and sources, or of entries of the safelist, is over: record it.
    Lapsed,
    /// Store a detector's bans and do not act on them.
    PauseSource(PauseSource),
    /// Act on them again.
    ResumeSource(ResumeSource),
    /// Disable, enable, reset a neighbour or send it everything again.
    Peer(PeerCommand),
    /// The speaker knows something else of what a neighbour ended sessions over.
    Remember {
        /// The neighbour.
        neighbor: Arc<str>,
        /// All that is known.
        memory: Arc<PeerMemory>,
    },
    /// Sessions were lost right after something was announced.
    Trip(Trip),
    /// Announce again.
    ResetBreaker(ResetBreaker),
    /// Stop announcing, withdraw everything, or let it go on.
    Control(SetControl),
    /// A deadline of this scope has come: lease, claim, hold-down or escalation.
    Due(Scope),
    /// Configuration or safelist changed: judge the live mitigation of this scope again.
    Judge(Scope),
}

impl Command {
    /// Whether it is decided before reports that wait: a person's word that takes rules off the routers or keeps them
    /// off, and the word that ends that, so that the last one said counts. A report that waits and would begin again what
    /// was just withdrawn meets the suppression of its scope, the entry of the safelist, the hold or the pause.
    ///
    /// What makes a rule or makes one last never overtakes: it needs what adding needs.
    #[must_use]
    pub(crate) const fn overtakes(&self) -> bool {
        match self {
            Self::Withdraw(_)
            | Self::WithdrawMany(_)
            | Self::Confirm(_)
            | Self::SafelistAdd(_)
            | Self::SafelistRemove { .. }
            | Self::Suppress(_)
            | Self::SuppressWide(_)
            | Self::Unsuppress(_)
            | Self::PauseSource(_)
            | Self::ResumeSource(_)
            | Self::Peer(_)
            | Self::ResetBreaker(_)
            | Self::Control(_) => true,
            Self::Event(_)
            | Self::Create(_)
            | Self::Extend(_)
            | Self::Adjust(_)
            | Self::Undo(_)
            | Self::Annotate(_)
            | Self::LearnSafelist(_)
            | Self::Lapsed
            | Self::Remember { .. }
            | Self::Trip(_)
            | Self::Due(_)
            | Self::Judge(_) => false,
        }
    }
}

/// What tripped the breaker. Said again with more mitigations, they are added.
#[derive(Clone, Debug)]
pub struct Trip {
    /// The neighbours whose sessions were lost.
    pub neighbors: Vec<Arc<str>>,
    /// What was announced since then is withdrawn.
    pub announced_since: Timestamp,
    /// These are that.
    pub mitigations: Vec<MitigationId>,
}

/// An admin's order to announce again, authenticated.
#[derive(Clone, Debug)]
pub struct ResetBreaker {
    /// Who asks.
    pub actor: String,
    /// Why.
    pub reason: String,
}

/// A person's word on what may be announced, authenticated.
#[derive(Clone, Debug)]
pub struct SetControl {
    /// What it is about.
    pub scope: ControlScope,
    /// What is to be done.
    pub state: ControlState,
    /// Who asks.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// Only when what is stopped in the scope has this revision; 0 when nothing is.
    pub expected_revision: Option<u64>,
    /// Its place among everything said since the start; the engine's handle numbers it.
    pub said: u64,
    /// Since when it is in force, where that was before it is recorded: a panic waits for no store.
    pub in_force_since: Option<Timestamp>,
}

/// Identifiers made before the decision, so that deciding stays pure. What is not used is lost.
#[derive(Clone, Copy, Debug)]
pub struct FreshIds {
    /// For the event, when there is one.
    pub event: EventId,
    /// For a mitigation that the decision makes.
    pub mitigation: MitigationId,
    /// For a signal group that the decision opens.
    pub group: GroupId,
    /// For a suppression that the decision makes.
    pub suppression: SuppressionId,
}

impl FreshIds {
    /// New ones.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "fresh each time, so not a default")]
    pub fn new() -> Self {
        Self {
            event: EventId::new(),
            mitigation: MitigationId::new(),
            group: GroupId::new(),
            suppression: SuppressionId::new(),
        }
    }
}

/// A detector's report, authenticated. Replays never get here: the engine answers them from what is stored.
#[derive(Clone, Debug)]
pub struct EventCommand {
    /// Names for what the decision makes.
    pub ids: FreshIds,
    /// The report.
    pub event: Event,
    /// Who sent it.
    pub actor: String,
    /// The event's own time on the engine's clock: its age by the wall clock before `now`. Absent: now.
    pub seen_at: Option<Timestamp>,
}

impl EventCommand {
    /// What the report is about.
    #[must_use]
    pub fn scope(&self) -> Scope {
        Scope {
            victim: self.event.victim,
            vector: self.event.vector.as_str().into(),
        }
    }
}

/// An operator's request to mitigate, authenticated.
#[derive(Clone, Debug)]
pub struct CreateCommand {
    /// Names for what the decision makes.
    pub ids: FreshIds,
    /// The victim, already parsed from the request.
    pub victim: Victim,
    /// The request.
    pub request: MitigationRequest,
    /// Who asks.
    pub actor: String,
}

/// An operator's request to take a mitigation back.
#[derive(Clone, Debug)]
pub struct WithdrawCommand {
    /// Names for what the decision makes.
    pub ids: FreshIds,
    /// Which one.
    pub mitigation: MitigationId,
    /// The operator's words.
    pub reason: String,
    /// How long automatic bans of the scope are not acted on; absent: as configured.
    pub suppress: Option<Duration>,
    /// Undone after so long unless it is confirmed.
    pub confirm_within: Option<Duration>,
    /// Only at this revision.
    pub expected_revision: Option<u64>,
    /// Who asks.
    pub actor: String,
}

/// An operator's request to take several mitigations back.
#[derive(Clone, Debug)]
pub struct WithdrawMany {
    /// Which.
    pub which: Which,
    /// Each of these only at this revision.
    pub revisions: Revisions,
    /// Names for what each decision makes, one a mitigation.
    pub ids: Vec<FreshIds>,
    /// The operator's words.
    pub reason: String,
    /// How long automatic bans of the scopes are not acted on; absent: as configured.
    pub suppress: Option<Duration>,
    /// Undone after so long unless it is confirmed.
    pub confirm_within: Option<Duration>,
    /// Who asks.
    pub actor: String,
}

/// An operator's request not to act on bans, authenticated.
#[derive(Clone, Debug)]
pub struct SuppressCommand {
    /// The name of the suppression.
    pub id: SuppressionId,
    /// Whose bans.
    pub scope: Scope,
    /// For how long.
    pub time: Duration,
    /// The operator's words.
    pub reason: String,
    /// Who asks.
    pub actor: String,
}

/// An operator's request not to act on bans of a prefix or a source, authenticated.
#[derive(Clone, Debug)]
pub struct SuppressWide {
    /// The name of the suppression.
    pub id: SuppressionId,
    /// Whose victims.
    pub prefix: Option<IpNet>,
    /// Against what.
    pub vector: Option<String>,
    /// Whose word.
    pub source: Option<String>,
    /// For how long.
    pub time: Duration,
    /// The operator's words.
    pub reason: String,
    /// Who asks.
    pub actor: String,
}

/// See [`WithdrawMany`].
#[derive(Clone, Debug)]
pub enum Which {
    /// These.
    Named(Vec<MitigationId>),
    /// Those that are like this, if there are so many.
    Like(Box<LiveFilter>, u64),
}

/// An operator's request to undo a withdrawal.
#[derive(Clone, Debug)]
pub struct UndoCommand {
    /// Names for what the decision makes.
    pub ids: FreshIds,
    /// What was withdrawn, as the store has it.
    pub ended: Arc<Mitigation>,
    /// The operator's words.
    pub reason: String,
    /// Only at this revision.
    pub expected_revision: Option<u64>,
    /// Who asks.
    pub actor: String,
}

/// An operator confirms a withdrawal.
#[derive(Clone, Debug)]
pub struct ConfirmCommand {
    /// What was withdrawn.
    pub mitigation: MitigationId,
    /// Only when it has this revision.
    pub expected_revision: Option<u64>,
    /// The operator's words.
    pub reason: String,
    /// Who asks.
    pub actor: String,
}

/// What a person notes down about mitigations. It changes nothing that they do.
#[derive(Clone, Debug)]
pub struct AnnotateCommand {
    /// About which.
    pub about: Vec<About>,
    /// Instead: about the live ones that are like this, if there are so many.
    pub like: Option<(Box<LiveFilter>, u64)>,
    /// What.
    pub what: Annotation,
    /// Each of these only at this revision.
    pub revisions: Revisions,
    /// Who asks.
    pub actor: String,
}

/// A mitigation that something is noted down about.
#[derive(Clone, Debug)]
pub struct About {
    /// Which one.
    pub mitigation: MitigationId,
    /// As the store has it, when it has ended.
    pub ended: Option<Arc<Mitigation>>,
}

impl About {
    /// One that is live.
    pub(super) fn live(mitigation: MitigationId) -> Self {
        Self {
            mitigation,
            ended: None,
        }
    }
}

/// See [`AnnotateCommand`].
#[derive(Clone, Debug)]
pub enum Annotation {
    /// A person has seen it; false takes that back.
    Acknowledge(bool),
    /// A person's words, and the name it has outside.
    Note {
        /// The words.
        text: Option<String>,
        /// The name.
        external_ref: Option<String>,
    },
    /// A person works on it; by force also when another does.
    Claim(bool),
    /// Nobody works on it any more.
    Release(bool),
}

/// An operator's request that a mitigation lasts longer.
#[derive(Clone, Debug)]
pub struct ExtendCommand {
    /// Which one.
    pub mitigation: MitigationId,
    /// How long from now on, at least.
    pub ttl: Duration,
    /// The operator's words.
    pub reason: String,
    /// Only at this revision.
    pub expected_revision: Option<u64>,
    /// Who asks.
    pub actor: String,
}

/// An operator's request that a mitigation does something else.
#[derive(Clone, Debug)]
pub struct AdjustCommand {
    /// Which one.
    pub mitigation: MitigationId,
    /// What it is to do, with the operator's words.
    pub request: AdjustRequest,
    /// Who asks.
    pub actor: String,
}

/// An operator's request to act on bans again, authenticated.
#[derive(Clone, Debug)]
pub struct UnsuppressCommand {
    /// Which suppression ends.
    pub id: SuppressionId,
    /// Who asks.
    pub actor: String,
}

/// An operator's order to pause a detector, authenticated.
#[derive(Clone, Debug)]
pub struct PauseSource {
    /// Its name.
    pub source: Arc<str>,
    /// Whether what it holds alone is withdrawn.
    pub withdraw: bool,
    /// How many the operator expects to be withdrawn.
    pub expect_count: Option<u64>,
    /// The operator's words.
    pub reason: String,
    /// Who asks.
    pub actor: String,
}

/// An operator's order to act on a detector's bans again, authenticated.
#[derive(Clone, Debug)]
pub struct ResumeSource {
    /// Its name.
    pub source: Arc<str>,
    /// The operator's words.
    pub reason: String,
    /// Who asks.
    pub actor: String,
}

/// A request to protect a prefix.
#[derive(Clone, Debug)]
pub struct SafelistAdd {
    /// The prefix, host bits clear.
    pub prefix: IpNet,
    /// Why.
    pub reason: String,
    /// When it stops to count.
    pub expires_at: Option<Timestamp>,
    /// How many mitigations the operator expects to be withdrawn.
    pub expect_count: Option<u64>,
    /// Who asks.
    pub actor: String,
}

/// What differs between the safelist in the store and the one that decisions go by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LearnSafelist {
    /// In the store, and not known or known otherwise.
    pub added: Vec<Arc<SafelistEntry>>,
    /// Known, and not in the store any more.
    pub removed: Vec<Arc<SafelistEntry>>,
}

/// An operator's order to one neighbour, authenticated.
#[derive(Clone, Debug)]
pub struct PeerCommand {
    /// The neighbour's name.
    pub neighbor: String,
    /// What to do.
    pub order: PeerOrder,
    /// The one rule that is released, by its NLRI.
    pub nlri: Option<String>,
    /// The one family that is sent again.
    pub family: Option<AfiSafi>,
    /// The operator's words.
    pub reason: String,
    /// Who asks.
    pub actor: String,
}
