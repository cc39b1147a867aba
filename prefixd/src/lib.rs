//! The daemon: signals in, guarded FlowSpec rules out.
//!
//! | module | what it does |
//! |---|---|
//! | [`engine`] | the one task that decides, commits, announces and answers |
//! | [`journal`] | the append-only, hash-chained record of every change |
//! | [`policy`] | `decide()`: pure decisions over the state, and the state itself |
//!
//! Arrows point one way: `http -> engine -> {policy, store, announce}`, and `policy` knows only the vocabulary.

pub mod engine;
pub mod journal;
pub mod policy;
