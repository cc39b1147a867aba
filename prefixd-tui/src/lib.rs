//! The operator console of prefixd: what is filtered, why, and how to take it back.
//!
//! | module | what it holds |
//! |---|---|
//! | [`cli`] | the command line |
//! | `run` | the loop: terminal, feed and requests around the state |
//! | `terminal` | raw mode, one buffered write a frame, clipboard, suspend |
//! | `daemon` | requests to the daemon and their answers |
//! | `event` | what comes in to the state and what goes out |
//! | `app` | the state and `update(event) -> effects`, pure |
//! | `action`, `keymap` | everything a person can do, and the one table of keys |
//! | `contact`, `store`, `changes` | contact in one word, the mitigations held, withdrawals on their way |
//! | `list`, `filter`, `panel` | order, cursor and marks; the filter language; the confirmation ladder |
//! | `view` | drawing: functions that borrow the state and write cells |
//! | `theme`, `glyphs`, `text` | meanings to styles, characters, words for narrow columns |
//!
//! Tasks: the main one owns the state. One task per request in flight, and one of the feed, are owned by the
//! main one and end with it. Ending a read is safe; a withdrawal that is cut off has an unknown outcome, which
//! is why leaving asks while there is one.

mod action;
mod app;
mod changes;
pub mod cli;
mod contact;
mod daemon;
mod event;
mod filter;
#[cfg(test)]
mod fixture;
mod glyphs;
mod keymap;
mod list;
#[cfg(test)]
mod man;
mod panel;
mod run;
mod store;
mod terminal;
mod text;
mod theme;
mod view;

pub use run::run;
