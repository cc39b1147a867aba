//! Requests with a key: carried out once, however often they come.
//!
//! The answer is made with the decision and committed with what it changed. A request whose key is known gets the answer
//! that was kept; of two that come together the second waits for the commit of the first.

use super::replays::Replays;
use super::run::Engine;
use super::{Answer, SubmitError};
use crate::policy::{Outcome, State};
use crate::store::answers::KEPT_FOR;
use crate::store::{Claim, ClaimName, KeptAnswer, Recalled};
use prefixd_api::time::Timestamp;
use std::fmt;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Makes the answer that is kept, of the state that the decision leads to and the outcome; none: nothing is kept.
type Answering = dyn Fn(&State, &Outcome) -> Option<KeptAnswer> + Send + Sync;

/// What a key adds to a command.
#[derive(Clone)]
pub struct Keyed {
    /// The key, and what is asked under it.
    pub claim: Claim,
    /// What it is answered.
    pub answer: Arc<Answering>,
}

/// What a key adds to a reload.
#[derive(Clone)]
pub struct KeyedReload {
    /// The key, and what is asked under it.
    pub claim: Claim,
    /// What it is answered, by the number of its journal entry.
    pub answer: Arc<dyn Fn(u64) -> KeptAnswer + Send + Sync>,
}

impl fmt::Debug for Keyed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.claim.fmt(f)
    }
}

impl fmt::Debug for KeyedReload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.claim.fmt(f)
    }
}

/// What a caller with a key gets, once everything is durable.
#[derive(Clone, Debug)]
pub enum Told {
    /// It was decided now.
    Decided {
        /// The outcome.
        answer: Answer,
        /// What is kept of it; absent when nothing changed.
        kept: Option<Arc<KeptAnswer>>,
    },
    /// Its key was known.
    Recalled(Recalled),
}

/// Who waits for a command.
#[derive(Debug)]
pub enum Reply {
    /// Without a key.
    Plain(oneshot::Sender<Result<Answer, SubmitError>>),
    /// With one.
    Keyed {
        /// Where the answer goes.
        to: oneshot::Sender<Result<Told, SubmitError>>,
        /// The key.
        keyed: Box<Keyed>,
    },
}

impl Reply {
    pub(super) fn keyed(&self) -> Option<&Keyed> {
        match self {
            Self::Plain(_) => None,
            Self::Keyed { keyed, .. } => Some(keyed),
        }
    }

    /// A caller that has gone away has lost its answer, not its effect.
    pub(super) fn send(self, told: Result<Told, SubmitError>) {
        match self {
            Self::Keyed { to, .. } => drop(to.send(told)),
            Self::Plain(to) => drop(to.send(told.and_then(|told| match told {
                Told::Decided { answer, .. } => Ok(answer),
                // Without a key there is nothing to recall.
                Told::Recalled(_) => Err(SubmitError::Defect),
            }))),
        }
    }

    pub(super) fn fail(self, why: SubmitError) {
        self.send(Err(why));
    }
}

impl Engine {
    /// What is known of a key: in what is decided and not durable yet, or in the store.
    pub(super) fn recalled(&self, keyed: &Keyed, from_store: &Replays) -> Option<Recalled> {
        let Claim { name, request } = &keyed.claim;
        let kept = self
            .undecided_kept()
            .find(|kept| kept.claim.name == *name)
            .or_else(|| from_store.kept.get(name))?;
        Some(kept.recall(request))
    }

    /// What the next decisions may have been asked before.
    pub(super) fn names_waiting(&self) -> Vec<ClaimName> {
        let keyed = self.waiting.iter().filter_map(|request| match request {
            super::Request::Command { reply, .. } => reply.keyed(),
            super::Request::Reload { .. } | super::Request::Reconcile { .. } => None,
        });
        keyed.map(|keyed| keyed.claim.name.clone()).collect()
    }

    /// What is kept from before this has had its time.
    pub(super) fn kept_since(&self) -> Timestamp {
        self.parts.clock.now().saturating_sub(KEPT_FOR)
    }
}
