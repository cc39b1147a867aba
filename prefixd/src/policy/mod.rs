//! Decisions. [`decide()`] is pure: no I/O, no clock, no logging; state, command and time in, [`Decision`] out.
//!
//! The engine applies a decision's effects to a working copy of the [`State`] (persistent maps, so a copy costs
//! nothing), commits them, and only then makes the copy the state. Tests, preview and `why` call the same code.

//!
//! | module | what it holds |
//! |---|---|
//! | `settings`, `compile` | the configuration in the shape decisions ask for |
//! | `inventory`, `safelist`, `flows`, `sources`, `playbooks`, `templates` | its parts, each with its look-up |
//! | `state`, `starts` | what is live and what is remembered |
//! | `decide`, `turn` | one command; a decision while it is made |
//! | `ban`, `unban`, `create`, `extend`, `adjust`, `annotate`, `withdraw`, `undo`, `suppress`, `pause`, `protect`, `control`, `breaker`, `neighbor`, `due`, `judge`, `quarantine` | one command each |
//! | `begin`, `pending` | what a first ban makes: announced, or waiting until others say the same |
//! | `corroboration` | what claims must say together |
//! | `step_back` | a step that nothing carries any more is given up |
//! | `claims`, `evidence`, `lease`, `guard`, `check`, `plan`, `fallback`, `widen`, `ports`, `severity` | the rules they share |
//! | `trial` | dry-run: what keeps a mitigation from the routers |
//! | `profile` | what a customer's profile makes of the numbers |
//! | `offers` | what other POPs are told (`scope: all`), and whom this one hears |
//! | `share` | the part of a POP of what all may have |
//! | `waiting` | who began what is pending |
//! | `struck`, `carpet` | many victims of one prefix, and the one mitigation that takes the place of theirs |
//! | `weights` | what each source adds to the confidence of a group |
//! | `reason`, `trace`, `passed` | why: every reason is a value |

mod adjust;
mod annotate;
mod ban;
mod begin;
mod breaker;
mod carpet;
mod check;
mod claims;
mod command;
mod compile;
mod control;
mod corroboration;
mod create;
mod decide;
mod due;
mod effect;
mod evidence;
mod extend;
mod fallback;
mod flows;
mod foresee;
mod guard;
mod inventory;
mod judge;
mod lease;
mod neighbor;
mod offers;
mod passed;
mod pause;
mod pending;
mod plan;
mod playbooks;
mod ports;
mod profile;
mod protect;
mod quarantine;
mod reason;
mod safelist;
mod settings;
mod severity;
mod share;
mod sources;
mod starts;
mod state;
mod step_back;
mod struck;
mod suppress;
mod templates;
mod trace;
mod trial;
mod turn;
mod unban;
mod undo;
mod waiting;
mod weights;
mod widen;
mod withdraw;

#[cfg(test)]
mod tests;

pub use command::{
    About, AdjustCommand, AnnotateCommand, Annotation, Command, ConfirmCommand, CreateCommand, EventCommand,
    ExtendCommand, FreshIds, LearnSafelist, PauseSource, PeerCommand, ResetBreaker, ResumeSource,
    SafelistAdd, SetControl, SuppressCommand, SuppressWide, Trip, UndoCommand, UnsuppressCommand, Which,
    WithdrawCommand, WithdrawMany,
};
pub use compile::Implicit;
pub use control::revision_at;
pub(crate) use create::requested;
pub use decide::decide;
pub use due::next_deadline;
pub use effect::{
    BreakerChange, ControlChange, Decision, Effect, MitigationEvent, One, Outcome, PeerChange, PeerWhat,
    SourceChange,
};
pub use foresee::{Foreseen, foresee_withdrawal};
pub(crate) use lease::is_pinned;
pub use offers::Offer;
pub use pause::{holds, holds_alone};
pub(crate) use plan::is_changed;
pub(crate) use ports::{join, split};
pub use quarantine::{
    ParkedFor, ParkedRule, ParkedShape, Parking, PeerBound, PeerKinds, PeerMemory, QuarantineChange,
    SessionEnd, TriedKind,
};
pub use settings::{BreakerBounds, Policy, Quotas};
pub use share::Reserved;
pub use starts::Starts;
pub use state::{Counts, State, Tally};
pub use trace::Trace;
pub use trial::switched_to_dry_run;
pub use turn::{Facts, OfAggregate, Reach};
pub use undo::Unconfirmed;
pub use weights::group_state;
pub(crate) use widen::{covers, is_same_but_ports};
