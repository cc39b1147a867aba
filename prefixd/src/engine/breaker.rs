//! When the breaker trips: sessions with two neighbours, or with all of them, are lost within a window of an
//! announcement. Pure; the engine tells what was announced and what was lost.
//!
//! One neighbour alone does not trip it: what its router cannot take is quarantined for it (docs/adr/0008).

use crate::policy::{BreakerBounds, Trip};
use prefixd_api::ids::MitigationId;
use prefixd_api::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// What the breaker watches.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    /// What was announced in the window, oldest first.
    announced: VecDeque<(Timestamp, MitigationId)>,
    established: BTreeSet<Arc<str>>,
    /// Sessions lost in the window for a reason that rules may have given.
    lost: BTreeMap<Arc<str>, Timestamp>,
    /// From the moment it trips until that is decided.
    tripped: Option<Trip>,
}

impl Breaker {
    /// New rules of a mitigation go to the routers. Answers what tripped it, when it is tripped: then they must not.
    pub(super) fn announces(
        &mut self,
        mitigation: MitigationId,
        now: Timestamp,
        bounds: BreakerBounds,
    ) -> Option<Trip> {
        if let Some(trip) = &self.tripped {
            return Some(Trip {
                mitigations: vec![mitigation],
                ..trip.clone()
            });
        }
        self.forget(now, bounds);
        self.announced.push_back((now, mitigation));
        None
    }

    /// Some changes were missed: these are established now.
    pub(super) fn established(&mut self, neighbors: BTreeSet<Arc<str>>) {
        self.established = neighbors;
    }

    /// A session came up.
    pub(super) fn up(&mut self, neighbor: Arc<str>) {
        self.established.insert(neighbor);
    }

    /// A session ended; `suspected` when rules may have been the reason. Answers what to do when that trips it.
    pub(super) fn down(
        &mut self,
        neighbor: &Arc<str>,
        suspected: bool,
        now: Timestamp,
        bounds: BreakerBounds,
    ) -> Option<Trip> {
        let was_established = self.established.remove(neighbor);
        self.forget(now, bounds);
        if !was_established || !suspected || self.announced.is_empty() || self.tripped.is_some() {
            return None;
        }
        self.lost.insert(Arc::clone(neighbor), now);
        let all = self.lost.len() >= 2 && self.established.is_empty();
        if self.lost.len() < bounds.neighbors_lost && !all {
            return None;
        }
        let first_lost = self.lost.values().copied().min().unwrap_or(now);
        let mitigations: BTreeSet<MitigationId> = self.announced.drain(..).map(|(_, id)| id).collect();
        let trip = Trip {
            neighbors: std::mem::take(&mut self.lost).into_keys().collect(),
            announced_since: first_lost.saturating_sub(bounds.window),
            mitigations: mitigations.into_iter().collect(),
        };
        self.tripped = Some(trip.clone());
        Some(trip)
    }

    /// Whether it is tripped and that is not recorded yet.
    pub(super) fn unrecorded(&self) -> Option<&Trip> {
        self.tripped.as_ref()
    }

    /// The trip is recorded: from here on decisions refuse what is new.
    pub(super) fn is_recorded(&mut self) {
        self.tripped = None;
    }

    fn forget(&mut self, now: Timestamp, bounds: BreakerBounds) {
        // What was announced in the window before the first of the losses that count.
        self.lost.retain(|_, at| now.since(*at) <= bounds.window);
        let first_lost = self.lost.values().copied().min().unwrap_or(now);
        let horizon = first_lost.saturating_sub(bounds.window);
        while self.announced.front().is_some_and(|(at, _)| *at < horizon) {
            self.announced.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const BOUNDS: BreakerBounds = BreakerBounds {
        neighbors_lost: 2,
        window: Duration::from_secs(60),
    };

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000).saturating_add(Duration::from_secs(seconds))
    }

    fn watching(neighbors: &[&str]) -> Breaker {
        let mut breaker = Breaker::default();
        for neighbor in neighbors {
            breaker.up(Arc::from(*neighbor));
        }
        breaker
    }

    fn announce(breaker: &mut Breaker, seconds: u64) -> MitigationId {
        let id = MitigationId::new();
        assert!(breaker.announces(id, at(seconds), BOUNDS).is_none());
        id
    }

    fn lose(breaker: &mut Breaker, neighbor: &str, seconds: u64) -> Option<Trip> {
        breaker.down(&Arc::from(neighbor), true, at(seconds), BOUNDS)
    }

    #[test]
    fn two_neighbours_lost_in_the_window_trip_it() {
        let mut breaker = watching(&["a", "b", "c"]);
        announce(&mut breaker, 0);
        let (one, two) = (announce(&mut breaker, 61), announce(&mut breaker, 100));
        assert!(lose(&mut breaker, "a", 110).is_none());
        // Announced after the first loss: told to the second neighbour, so it is a suspect as well.
        let three = announce(&mut breaker, 120);
        let trip = lose(&mut breaker, "b", 150).unwrap();
        assert_eq!(trip.neighbors, [Arc::from("a"), Arc::from("b")]);
        assert_eq!(trip.announced_since, at(50));
        assert_eq!(trip.mitigations, [one, two, three]);
    }

    #[test]
    fn what_is_announced_while_the_trip_is_not_recorded_goes_too() {
        let mut breaker = watching(&["a", "b"]);
        announce(&mut breaker, 0);
        lose(&mut breaker, "a", 1);
        let trip = lose(&mut breaker, "b", 1).unwrap();
        let late = MitigationId::new();
        let more = breaker.announces(late, at(2), BOUNDS).unwrap();
        assert_eq!((more.mitigations, more.neighbors), (vec![late], trip.neighbors));
        breaker.is_recorded();
        assert!(breaker.announces(late, at(3), BOUNDS).is_none());
    }

    #[test]
    fn one_neighbour_does_not_trip_it() {
        // The only one there is, and one that flaps.
        let mut breaker = watching(&["a"]);
        announce(&mut breaker, 0);
        for second in 1..5 {
            assert!(lose(&mut breaker, "a", second).is_none());
            breaker.up(Arc::from("a"));
        }
    }

    #[test]
    fn as_many_as_the_bound_says_within_its_window_trip_it() {
        let bounds = BreakerBounds {
            neighbors_lost: 3,
            window: Duration::from_secs(10),
        };
        let lost_at = |seconds: [u64; 3]| {
            let mut breaker = watching(&["a", "b", "c", "d"]);
            assert!(breaker.announces(MitigationId::new(), at(0), bounds).is_none());
            let lost = ["a", "b", "c"].into_iter().zip(seconds);
            lost.map(|(name, seconds)| breaker.down(&Arc::from(name), true, at(seconds), bounds))
                .map(|trip| trip.is_some())
                .collect::<Vec<_>>()
        };
        assert_eq!(lost_at([1, 2, 3]), [false, false, true]);
        assert_eq!(lost_at([9, 10, 10]), [false, false, true]);
        assert_eq!(lost_at([11, 11, 11]), [false; 3], "the announcement is too old");
        assert_eq!(lost_at([1, 2, 12]), [false; 3], "the first loss is too old");
    }

    #[test]
    fn all_of_them_trip_it_where_the_bound_is_higher() {
        let bounds = BreakerBounds {
            neighbors_lost: 3,
            ..BOUNDS
        };
        let mut breaker = watching(&["a", "b"]);
        assert!(breaker.announces(MitigationId::new(), at(0), bounds).is_none());
        assert!(breaker.down(&Arc::from("a"), true, at(1), bounds).is_none());
        assert!(breaker.down(&Arc::from("b"), true, at(2), bounds).is_some());
    }

    #[test]
    fn losses_that_no_rule_can_have_made_do_not_count() {
        // Nothing announced in the window; a planned end; too far apart; never established.
        let mut breaker = watching(&["a", "b"]);
        announce(&mut breaker, 0);
        assert!(lose(&mut breaker, "a", 61).is_none());
        assert!(lose(&mut breaker, "b", 61).is_none());
        let mut breaker = watching(&["a", "b"]);
        announce(&mut breaker, 0);
        assert!(breaker.down(&Arc::from("a"), false, at(1), BOUNDS).is_none());
        assert!(lose(&mut breaker, "b", 1).is_none());
        let mut breaker = watching(&["a", "b", "c"]);
        announce(&mut breaker, 0);
        assert!(lose(&mut breaker, "a", 1).is_none());
        announce(&mut breaker, 61);
        assert!(lose(&mut breaker, "b", 62).is_none());
        assert!(lose(&mut breaker, "d", 62).is_none());
    }
}
