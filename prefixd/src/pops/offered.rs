//! Keeps what this POP offers to the others in step with what it does (docs/adr/0015).

use super::{EVERY, Watcher};
use crate::policy::Offer;
use crate::store::OfferChanges;
use prefixd_api::mitigation::Scope;
use prefixd_api::time::Timestamp;
use std::collections::BTreeMap;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::warn;

/// What is offered, by what it is about, each with its end.
type Offers = BTreeMap<Scope, (Offer, Timestamp)>;

impl Watcher {
    /// A POP without a step that is offered writes once, at its start: that it offers nothing.
    pub(super) async fn offer(&self, others: watch::Receiver<bool>) {
        // What a daemon before this one wrote is not known.
        let mut written: Option<Offers> = None;
        loop {
            let snapshot = self.engine.snapshot();
            let hears = *others.borrow();
            let is_at_rest = written.as_ref().is_some_and(BTreeMap::is_empty);
            if (snapshot.policy.offers_any() && hears) || !is_at_rest {
                let now = self.clock.now();
                let offers = snapshot.policy.offers(&snapshot.state, now);
                let changes = changes(written.as_ref(), &offers, now);
                if changes != OfferChanges::default() {
                    match self.store.offer(&self.pop, &changes).await {
                        Ok(true) => written = Some(as_written(written, &changes, offers)),
                        // Another daemon has the POP; this one ends.
                        Ok(false) => {}
                        Err(error) => {
                            warn!(%error, "other POPs could not be told what is reported here; it is tried again");
                            written = None;
                        }
                    }
                }
            }
            sleep(EVERY).await;
        }
    }
}

/// What differs between what is there and what should be. An end that moves on is written when half of the time is over, so
/// that a detector that reports every second costs no write for it.
fn changes(written: Option<&Offers>, offers: &Offers, now: Timestamp) -> OfferChanges {
    let Some(written) = written else {
        return OfferChanges {
            anew: true,
            gone: Vec::new(),
            put: offers.values().map(|offer| lasting(offer, now)).collect(),
            news: true,
        };
    };
    let mut changes = OfferChanges {
        gone: written
            .keys()
            .filter(|scope| !offers.contains_key(scope))
            .cloned()
            .collect(),
        ..OfferChanges::default()
    };
    changes.news = !changes.gone.is_empty();
    for (scope, wanted) in offers {
        let (is_news, is_due) = match written.get(scope) {
            None => (true, true),
            Some((offer, until)) => (wanted.0.is_news_to(offer), is_due(*until, wanted.1, now)),
        };
        changes.news |= is_news;
        if is_news || is_due {
            changes.put.push(lasting(wanted, now));
        }
    }
    changes
}

fn is_due(written: Timestamp, wanted: Timestamp, now: Timestamp) -> bool {
    wanted < written || (wanted > written && written.since(now) < wanted.since(now) / 2)
}

fn lasting((offer, until): &(Offer, Timestamp), now: Timestamp) -> (Offer, std::time::Duration) {
    (offer.clone(), until.since(now))
}

/// What is there after the changes: of what was not written anew it is what was there before.
fn as_written(before: Option<Offers>, changes: &OfferChanges, mut offers: Offers) -> Offers {
    let put: std::collections::BTreeSet<Scope> = changes.put.iter().map(|(offer, _)| offer.scope()).collect();
    for (scope, written) in before.into_iter().flatten() {
        if let Some(offered) = offers.get_mut(&scope)
            && !put.contains(&scope)
        {
            *offered = written;
        }
    }
    offers
}

#[cfg(test)]
mod tests {
    use super::super::heard::tests::offer;
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn offers(all: &[(&str, u16, i64)]) -> Offers {
        let one = |(victim, port, until): &(&str, u16, i64)| {
            let offer = offer(victim, *port);
            (offer.scope(), (offer, at(*until)))
        };
        all.iter().map(one).collect()
    }

    fn put(changes: &OfferChanges) -> Vec<(String, u64)> {
        let one = |(offer, lasts): &(Offer, std::time::Duration)| (offer.victim.to_string(), lasts.as_secs());
        changes.put.iter().map(one).collect()
    }

    #[test]
    fn at_the_start_all_is_written_and_what_was_there_goes() {
        let first = changes(None, &offers(&[("192.0.2.1", 53, 300)]), at(0));
        assert!(first.anew && first.news, "{first:?}");
        assert_eq!(put(&first), [("192.0.2.1".to_owned(), 300)]);
    }

    #[test]
    fn what_differs_is_written_and_an_end_that_moves_on_only_at_half_time() {
        let before = offers(&[
            ("192.0.2.1", 53, 300),
            ("192.0.2.2", 53, 300),
            ("192.0.2.3", 53, 300),
        ]);
        for (now, wanted, expected, gone, news) in [
            // Nothing happened.
            (
                100,
                [
                    ("192.0.2.1", 53, 300),
                    ("192.0.2.2", 53, 300),
                    ("192.0.2.3", 53, 300),
                ]
                .as_slice(),
                [].as_slice(),
                0,
                false,
            ),
            // Renewed, with more than half of the time left, and with less.
            (
                100,
                &[
                    ("192.0.2.1", 53, 400),
                    ("192.0.2.2", 53, 300),
                    ("192.0.2.3", 53, 300),
                ],
                &[],
                0,
                false,
            ),
            (
                160,
                &[
                    ("192.0.2.1", 53, 460),
                    ("192.0.2.2", 53, 300),
                    ("192.0.2.3", 53, 300),
                ],
                &[("192.0.2.1", 300)],
                0,
                false,
            ),
            // Shortened.
            (
                100,
                &[
                    ("192.0.2.1", 53, 200),
                    ("192.0.2.2", 53, 300),
                    ("192.0.2.3", 53, 300),
                ],
                &[("192.0.2.1", 100)],
                0,
                false,
            ),
            // Another port, one that ended, a new one.
            (
                100,
                &[
                    ("192.0.2.1", 80, 300),
                    ("192.0.2.2", 53, 300),
                    ("192.0.2.4", 53, 300),
                ],
                &[("192.0.2.1", 200), ("192.0.2.4", 200)],
                1,
                true,
            ),
        ] {
            let found = changes(Some(&before), &offers(wanted), at(now));
            let expected: Vec<_> = expected
                .iter()
                .map(|(victim, lasts)| ((*victim).to_owned(), *lasts))
                .collect();
            assert_eq!(
                (put(&found), found.gone.len(), found.news, found.anew),
                (expected, gone, news, false),
                "{wanted:?}"
            );
        }
    }

    #[test]
    fn what_was_not_written_keeps_its_end() {
        let mut before = offers(&[("192.0.2.1", 53, 300), ("192.0.2.2", 53, 300)]);
        let mut wanted = offers(&[("192.0.2.1", 53, 310), ("192.0.2.2", 80, 310)]);
        // What creeps is compared with what was told, or it would never be told.
        let sure = |offers: &mut Offers, confidence| {
            let (offer, _) = offers.values_mut().next().unwrap();
            offer.confidence = Some(confidence);
        };
        sure(&mut before, 0.9);
        sure(&mut wanted, 0.94);
        let found = changes(Some(&before), &wanted, at(0));
        let known = as_written(Some(before), &found, wanted);
        let ends: Vec<_> = known
            .values()
            .map(|(_, until)| until.as_micros() / 1_000_000)
            .collect();
        assert_eq!(ends, [300, 310]);
        assert_eq!(known.values().next().unwrap().0.confidence, Some(0.9));
    }
}
