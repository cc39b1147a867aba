//! What the daemons of other POPs do that share the database (docs/several-pops.md).
//!
//! ```text
//!   LISTEN ──wakes──▶ watch ──▶ safelist and commands into the engine, subscribers of the feed woken
//!   the engine's head ──▶ tell ──NOTIFY──▶ the other daemons
//!   the engine's state ──▶ offer ──rows──▶ hear, of the other daemons ──reports──▶ their engines
//! ```
//!
//! A word only says when to look; what is new is read from the store, from where the reader was. So a word that is lost
//! is made up for by the next look, a second later at most.

mod heard;
mod offered;
mod remote;

use crate::clock::Clock;
use crate::engine::Handle;
use crate::policy::{Command, LearnSafelist, State};
use crate::store::{Store, StoreError, Word};
use heard::Heard;
use prefixd_api::resource::SafelistEntry;
use prefixd_api::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, sleep};
use tracing::{debug, warn};

/// How often is looked without a word.
const EVERY: Duration = Duration::from_secs(1);
/// How often the others are told at most.
const TELL_EVERY: Duration = Duration::from_millis(20);

/// What is needed to watch the others.
#[derive(Clone)]
pub(crate) struct Watcher {
    pub(crate) store: Arc<Store>,
    pub(crate) engine: Handle,
    pub(crate) clock: Arc<Clock>,
    pub(crate) pop: String,
}

/// Counts up when there may be something new of another POP.
pub(crate) type News = watch::Receiver<u64>;

impl Watcher {
    /// Goes on until it is dropped; `news` is told of every look.
    pub(crate) async fn run(self, news: watch::Sender<u64>) {
        let (heard, hears) = watch::channel(0);
        let (offered, hears_offers) = watch::channel(0);
        let (are_others, others) = watch::channel(false);
        tokio::join!(
            self.listen(heard, offered),
            self.tell(others.clone()),
            self.offer(others.clone()),
            self.hear_offers(hears_offers, others),
            self.watch(hears, &are_others, &news)
        );
    }

    async fn listen(&self, heard: watch::Sender<u64>, offered: watch::Sender<u64>) {
        loop {
            match self.store.listen().await {
                Ok(Some(mut listener)) => {
                    // What was said before is not heard any more.
                    heard.send_modify(|count| *count += 1);
                    offered.send_modify(|count| *count += 1);
                    while let Ok(word) = listener.heard(&self.pop).await {
                        if word != Word::Offers {
                            heard.send_modify(|count| *count += 1);
                        }
                        if word != Word::Journal {
                            offered.send_modify(|count| *count += 1);
                        }
                    }
                }
                Ok(None) => return,
                Err(error) => debug!(%error, "other POPs cannot be heard; they are looked at every second"),
            }
            sleep(EVERY).await;
        }
    }

    /// A daemon without others tells nobody.
    async fn tell(&self, others: watch::Receiver<bool>) {
        let mut told = 0;
        loop {
            let head = self.engine.snapshot().head;
            let are_others = *others.borrow();
            if are_others && head != told {
                match self.store.tell(&self.pop, head).await {
                    Ok(()) => told = head,
                    Err(error) => debug!(%error, "other POPs were not told; they look every second"),
                }
            }
            sleep(if are_others { TELL_EVERY } else { EVERY }).await;
        }
    }

    async fn watch(
        &self,
        mut hears: watch::Receiver<u64>,
        are_others: &watch::Sender<bool>,
        news: &watch::Sender<u64>,
    ) {
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => match self.store.look_elsewhere(&self.pop).await {
                    Ok(found) => drop(are_others.send_replace(found)),
                    // The engine says when the store is away.
                    Err(error) => debug!(%error, "other POPs cannot be looked at"),
                },
                Ok(()) = hears.changed() => {}
            }
            if *are_others.borrow() {
                if let Err(error) = self.learn().await {
                    warn!(%error, "the safelist of other POPs could not be read; the one in force stays, and it is tried again");
                }
                if let Err(error) = self.obey().await {
                    warn!(%error, "what other POPs ask for could not be carried out; it is tried again");
                }
                news.send_modify(|count| *count += 1);
                // Many words in a row are one look.
                sleep(TELL_EVERY).await;
            }
        }
    }

    /// Beside the rest: a wave of reports must keep nobody from hearing of the safelist and of withdrawals. The offers are read when they
    /// change, and not with each word of a journal.
    async fn hear_offers(&self, mut hears: watch::Receiver<u64>, others: watch::Receiver<bool>) {
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut attacks = Heard::default();
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                Ok(()) = hears.changed() => {}
            }
            let are_others = *others.borrow();
            if !are_others {
                continue;
            }
            if let Err(error) = self.hear(&mut attacks).await {
                warn!(%error, "what other POPs offer could not be read; what was heard of them stays, and it is tried again");
            }
            sleep(TELL_EVERY).await;
        }
    }

    /// Brings the safelist into force that the store has.
    async fn learn(&self) -> Result<(), StoreError> {
        // Before the store is read: what this daemon added until now is there, and what it removes from now on is
        // known to be gone when this is decided.
        let known = self.engine.snapshot();
        let stored = self.store.safelist().await?;
        let learned = difference(&known.state, stored, self.clock.now());
        if learned == LearnSafelist::default() {
            return Ok(());
        }
        debug!(
            added = learned.added.len(),
            removed = learned.removed.len(),
            "another POP changed the safelist"
        );
        if let Err(error) = self.engine.submit(Command::LearnSafelist(learned)).await {
            warn!(%error, "what another POP changed in the safelist is not in force yet; it is tried again");
        }
        Ok(())
    }
}

fn difference(known: &State, stored: Vec<SafelistEntry>, now: Timestamp) -> LearnSafelist {
    let counts = |entry: &SafelistEntry| !entry.is_over(now);
    let stored: BTreeMap<_, _> = stored
        .into_iter()
        .filter(|entry| counts(entry))
        .map(|entry| (entry.prefix, entry))
        .collect();
    let known = &known.safelist;
    LearnSafelist {
        removed: known
            .values()
            .filter(|entry| counts(entry) && !stored.contains_key(&entry.prefix))
            .map(Arc::clone)
            .collect(),
        added: stored
            .into_values()
            .filter(|entry| known.get(&entry.prefix).is_none_or(|known| **known != *entry))
            .map(Arc::new)
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Effect;
    use prefixd_api::resource::SafelistOrigin;

    fn entry(prefix: &str, reason: &str, expires: Option<i64>) -> SafelistEntry {
        SafelistEntry {
            prefix: prefix.parse().unwrap(),
            reason: reason.to_owned(),
            origin: SafelistOrigin::Api,
            created_by: Some("anna".to_owned()),
            created_at: None,
            expires_at: expires.map(Timestamp::from_micros),
        }
    }

    #[test]
    fn what_counts_and_differs_is_learned() {
        let mut state = State::default();
        for known in [
            entry("192.0.2.0/24", "stays", None),
            entry("192.0.3.0/24", "goes", None),
            entry("192.0.4.0/24", "was so", None),
            entry("192.0.5.0/24", "is over", Some(5)),
        ] {
            state.apply(&[Effect::SafelistAdded(Arc::new(known))]);
        }
        let stored = vec![
            entry("192.0.2.0/24", "stays", None),
            entry("192.0.4.0/24", "is so", None),
            entry("192.0.6.0/24", "new", Some(50)),
            entry("192.0.7.0/24", "is over", Some(5)),
        ];
        let learned = difference(&state, stored, Timestamp::from_micros(10));
        let prefixes = |entries: &[Arc<SafelistEntry>]| -> Vec<String> {
            entries.iter().map(|entry| entry.prefix.to_string()).collect()
        };
        assert_eq!(prefixes(&learned.added), ["192.0.4.0/24", "192.0.6.0/24"]);
        assert_eq!(prefixes(&learned.removed), ["192.0.3.0/24"]);
    }
}
