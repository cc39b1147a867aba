//! Decisions. [`decide()`] is pure: no I/O, no clock, no logging; state, command and time in, [`Decision`] out.
//!
//! The engine applies a decision's effects to a working copy of the [`State`] (persistent maps, so a copy costs
//! nothing), commits them, and only then makes the copy the state. Tests, preview and `why` call the same code.

mod command;
mod effect;
mod starts;
mod state;

pub use command::{Command, CreateCommand, EventCommand, FreshIds, SafelistAdd, WithdrawCommand};
pub use effect::{Decision, Effect, MitigationEvent, Outcome};
pub use starts::Starts;
pub use state::{Counts, State, Tally};
