//! Exact duplicates: they get the answer that the first one got.

use super::batch::{Answers, Work};
use super::run::Engine;
use super::{Reply, Request};
use crate::policy::Command;
use crate::store::{ClaimName, EventKey, Kept, Recalled, StoreError};
use prefixd_api::event::EventAnswer;
use std::collections::HashMap;
use tracing::warn;

/// Keys one question to the store holds at most.
const MAX_KEYS: usize = 512;

/// What the store says about possible duplicates.
#[derive(Default)]
pub(super) struct Replays {
    answers: HashMap<EventKey, EventAnswer>,
    /// Answers to requests with a key.
    pub(super) kept: HashMap<ClaimName, Kept>,
    /// It did not say: who may be a duplicate is told to retry.
    failed: bool,
}

/// What is known of an event before it is decided.
pub(super) enum Seen {
    /// It is new.
    Never,
    /// It was answered like this.
    Before(EventAnswer),
    /// Its key is known.
    Recalled(Recalled),
    /// Only the store could tell, and it did not.
    Unknown,
}

impl Engine {
    pub(super) fn seen(&self, work: &Work, from_store: &Replays) -> Seen {
        if let Some(keyed) = work.reply.as_ref().and_then(Reply::keyed) {
            match self.recalled(keyed, from_store) {
                Some(recalled) => return Seen::Recalled(recalled),
                None if from_store.failed => return Seen::Unknown,
                None => {}
            }
        }
        let Some(key) = key_of(&work.command) else {
            return Seen::Never;
        };
        let answer = self
            .undecided_answers()
            .find_map(|answers: &Answers| answers.get(&key))
            .or_else(|| self.known.get(&key))
            .or_else(|| from_store.answers.get(&key));
        match answer {
            Some(answer) => Seen::Before(answer.clone()),
            None if from_store.failed && self.known.needs_store(&key) => Seen::Unknown,
            None => Seen::Never,
        }
    }

    /// Asks the store, once for all that wait, about events that may be duplicates of what is no longer in memory.
    pub(super) async fn ask_store(&mut self) -> Replays {
        let keys: Vec<EventKey> = self
            .waiting
            .iter()
            .filter_map(|request| match request {
                Request::Command { command, .. } => key_of(command),
                Request::Reload { .. } | Request::Reconcile { .. } => None,
            })
            .filter(|key| self.known.needs_store(key))
            .take(MAX_KEYS)
            .collect();
        let names = self.names_waiting();
        if keys.is_empty() && names.is_empty() {
            return Replays::default();
        }
        let (store, pop, since) = (self.store(), self.pop(), self.kept_since());
        let question = async move {
            let events = store.find_replays(&pop, &keys).await?;
            let kept = store.find_kept(&pop, since, &names).await?;
            Ok::<_, StoreError>((events, kept))
        };
        match self.meanwhile(Box::pin(question)).await {
            Ok((events, kept)) => Replays {
                answers: events
                    .iter()
                    .filter_map(|event| Some((EventKey::of(event)?, event.answer(None))))
                    .collect(),
                kept: kept
                    .into_iter()
                    .map(|kept| (kept.claim.name.clone(), kept))
                    .collect(),
                failed: false,
            },
            Err(error) => {
                warn!(%error, "the store did not say whether requests are duplicates; their senders are told to retry");
                // Perhaps nothing is left whose commit would show it.
                self.store_failed(&error);
                self.publish();
                Replays {
                    failed: true,
                    ..Replays::default()
                }
            }
        }
    }
}

fn key_of(command: &Command) -> Option<EventKey> {
    match command {
        Command::Event(command) => EventKey::of_report(&command.event),
        _ => None,
    }
}
