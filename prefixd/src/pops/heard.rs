//! What other POPs offer, heard as reports of sources that are named after them (docs/adr/0015).

use super::Watcher;
use crate::engine::Snapshot;
use crate::policy::{Command, EventCommand, FreshIds, Offer, Outcome};
use crate::store::StoreError;
use futures_util::future::join_all;
use prefixd_api::event::{Event, EventAction, EventOutcome, pop_of_source, source_of_pop};
use prefixd_api::ids::MitigationId;
use prefixd_api::mitigation::Scope;
use prefixd_api::time::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;
use tracing::{debug, warn};

/// When what was refused here is reported again: a quota may have room by then, a hold may be over.
const AGAIN: Duration = Duration::from_secs(60);
/// Reports that are handed over together, so that they share a commit.
const AT_ONCE: usize = 100;

/// What this daemon has been told, by POP and by what it is about; absent before the first look.
#[derive(Debug, Default)]
pub(super) struct Heard(Option<BTreeMap<About, Known>>);

type About = (String, Scope);

#[derive(Clone, Debug, PartialEq)]
struct Known {
    /// As it was reported last; nothing of what was reported before this process.
    offer: Option<Offer>,
    /// Whether a claim came of it.
    holds: bool,
    /// Said again then, as a claim dies without.
    again_at: Timestamp,
}

/// What the engine is told.
#[derive(Clone, Debug, PartialEq)]
enum Word {
    Ban(About, Offer),
    Unban(About),
}

impl Watcher {
    /// Reports what is new of what other POPs offer, and clears what is offered no longer.
    pub(super) async fn hear(&self, heard: &mut Heard) -> Result<(), StoreError> {
        let snapshot = self.engine.snapshot();
        let known = heard
            .0
            .get_or_insert_with(|| of_before(&snapshot, self.clock.now()));
        if known.is_empty() && !snapshot.policy.hears_any() {
            return Ok(());
        }
        let mut offers = self.store.offers(&self.pop).await?;
        // A POP that is not among the sources is not heard.
        offers.retain(|(pop, ..)| snapshot.policy.hears(pop).is_some());
        let words = words(known, offers, self.clock.now());
        for words in words.chunks(AT_ONCE) {
            // Handed over in order and together.
            let told = join_all(words.iter().map(|word| self.say(word))).await;
            for (word, told) in words.iter().zip(told) {
                match (word, told) {
                    // Said again at the next look.
                    (_, None) => {}
                    (Word::Ban(about, offer), Some(outcome)) => {
                        known.insert(about.clone(), self.known(about, offer, &outcome));
                    }
                    (Word::Unban(about), Some(_)) => drop(known.remove(about)),
                }
            }
        }
        Ok(())
    }

    async fn say(&self, word: &Word) -> Option<EventOutcome> {
        let (event, pop) = match word {
            Word::Ban((pop, _), offer) => (offer.report(pop, EventAction::Ban), pop),
            Word::Unban((pop, scope)) => (over(pop, scope), pop),
        };
        debug!(pop, victim = %event.victim, vector = event.vector, action = ?event.action, "another POP tells of an attack");
        let command = EventCommand {
            ids: FreshIds::new(),
            event,
            actor: source_of_pop(pop),
            seen_at: None,
        };
        match self.engine.submit(Command::Event(Box::new(command))).await {
            Ok(answer) => match answer.outcome {
                Outcome::Event { answer, .. } => Some(answer.status),
                other => {
                    warn!(?other, "a report of another POP came to nothing that is known");
                    None
                }
            },
            Err(error) => {
                warn!(%error, pop, "what another POP offers is not reported here yet; it is tried again");
                None
            }
        }
    }

    fn known(&self, (pop, scope): &About, offer: &Offer, outcome: &EventOutcome) -> Known {
        let now = self.clock.now();
        let holds = matches!(
            outcome,
            EventOutcome::Accepted
                | EventOutcome::Extended
                | EventOutcome::Escalated
                | EventOutcome::AcceptedPending
        );
        let snapshot = self.engine.snapshot();
        let claim = snapshot.policy.hears(pop).unwrap_or_default();
        // Where reports renew the lease it must not end between two of them.
        let lease = snapshot
            .state
            .mitigation_of(scope)
            .map_or(claim, |live| live.expires_at.since(now));
        Known {
            offer: Some(offer.clone()),
            holds,
            again_at: now.saturating_add(if holds { claim.min(lease) / 2 } else { AGAIN }),
        }
    }
}

/// The claims that a process before this one left: said again, or cleared.
fn of_before(snapshot: &Snapshot, now: Timestamp) -> BTreeMap<About, Known> {
    let mut known = BTreeMap::new();
    // The claims of an aggregate are those of its victims.
    let hosts = snapshot
        .state
        .groups()
        .filter(|group| group.scope.victim.is_host());
    for group in hosts {
        let live = group.claims.iter().filter(|claim| claim.cleared_at.is_none());
        for pop in live.filter_map(|claim| pop_of_source(&claim.source)) {
            let about = (pop.to_owned(), group.scope.clone());
            known.insert(
                about,
                Known {
                    offer: None,
                    holds: true,
                    again_at: now,
                },
            );
        }
    }
    known
}

fn words(
    known: &BTreeMap<About, Known>,
    offers: Vec<(String, Scope, Option<Offer>)>,
    now: Timestamp,
) -> Vec<Word> {
    let offered: BTreeMap<About, Option<Offer>> = offers
        .into_iter()
        .map(|(pop, scope, offer)| ((pop, scope), offer))
        .collect();
    let over = known.keys().filter(|about| !offered.contains_key(about));
    let mut words: Vec<Word> = over.cloned().map(Word::Unban).collect();
    for (about, offer) in offered {
        // What cannot be read is not over; of it nothing is said.
        let Some(offer) = offer else { continue };
        let is_due = known.get(&about).is_none_or(|known| {
            known.again_at <= now || (known.holds && known.offer.as_ref() != Some(&offer))
        });
        if is_due {
            words.push(Word::Ban(about, offer));
        }
    }
    words
}

/// The word that it is over, of what a POP does not offer any more.
fn over(pop: &str, scope: &Scope) -> Event {
    let nothing = Offer {
        mitigation_id: MitigationId(uuid::Uuid::nil()),
        victim: scope.victim,
        vector: scope.vector.to_string(),
        bps: None,
        pps: None,
        confidence: None,
        protocol: None,
        dst_ports: Vec::new(),
        src_ports: Vec::new(),
        sources: Vec::new(),
    };
    Event {
        raw_details: None,
        ..nothing.report(pop, EventAction::Unban)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::pops) fn offer(victim: &str, port: u16) -> Offer {
        Offer {
            mitigation_id: MitigationId(uuid::Uuid::nil()),
            victim: victim.parse().unwrap(),
            vector: "udp_flood".to_owned(),
            bps: None,
            pps: None,
            confidence: None,
            protocol: None,
            dst_ports: vec![port],
            src_ports: Vec::new(),
            sources: vec!["flow".to_owned()],
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn about(pop: &str, victim: &str) -> About {
        (pop.to_owned(), offer(victim, 1).scope())
    }

    fn known(offer: Option<Offer>, holds: bool, again: i64) -> Known {
        Known {
            offer,
            holds,
            again_at: at(again),
        }
    }

    #[test]
    fn what_is_new_or_changed_or_due_is_reported_and_what_is_gone_is_cleared() {
        let (same, gone, changed, due, refused, before, unreadable) = (
            "192.0.2.1",
            "192.0.2.2",
            "192.0.2.3",
            "192.0.2.4",
            "192.0.2.5",
            "192.0.2.6",
            "192.0.2.7",
        );
        let told: BTreeMap<_, _> = [
            (about("iad1", same), known(Some(offer(same, 53)), true, 100)),
            (about("iad1", gone), known(Some(offer(gone, 53)), true, 100)),
            (about("iad1", changed), known(Some(offer(changed, 53)), true, 100)),
            (about("iad1", due), known(Some(offer(due, 53)), true, 50)),
            // Another port does not have it asked before its time.
            (
                about("iad1", refused),
                known(Some(offer(refused, 53)), false, 100),
            ),
            (about("iad1", before), known(None, true, 50)),
            (
                about("iad1", unreadable),
                known(Some(offer(unreadable, 53)), true, 50),
            ),
        ]
        .into();
        let offers = [
            ("iad1", offer(same, 53)),
            ("fra1", offer(same, 53)),
            ("iad1", offer(changed, 80)),
            ("iad1", offer(due, 53)),
            ("iad1", offer(refused, 80)),
        ];
        let mut offers = offers
            .map(|(pop, offer)| (pop.to_owned(), offer.scope(), Some(offer)))
            .to_vec();
        let (unreadable, stranger) = (about("iad1", unreadable), about("iad1", "192.0.2.8"));
        offers.extend([unreadable, stranger].map(|(pop, scope)| (pop, scope, None)));
        assert_eq!(
            words(&told, offers, at(50)),
            [
                Word::Unban(about("iad1", gone)),
                Word::Unban(about("iad1", before)),
                Word::Ban(about("fra1", same), offer(same, 53)),
                Word::Ban(about("iad1", changed), offer(changed, 80)),
                Word::Ban(about("iad1", due), offer(due, 53)),
            ]
        );
    }

    #[test]
    fn who_offers_nothing_and_was_told_nothing_says_nothing() {
        assert_eq!(words(&BTreeMap::new(), Vec::new(), at(0)), []);
    }
}
