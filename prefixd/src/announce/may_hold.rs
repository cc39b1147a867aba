//! What neighbours without a session may still hold.
//!
//! A router that agreed to graceful restart keeps the rules when the session is lost in silence. What is withdrawn meanwhile does
//! not reach it: people are told so wherever they would think that a rule is gone.

use super::announcements::Standing;
use super::{Announcer, Neighbor};
use prefixd_api::peer::MayHold;
use prefixd_api::resource::AnnouncementState;
use prefixd_api::time::Timestamp;
use prefixd_bgp::{Delivery, MayHold as Held};

impl Announcer {
    /// Neighbours that may hold a rule that was announced from this moment on.
    #[must_use]
    pub fn may_hold_since(&self, begun_at: Timestamp) -> Vec<MayHold> {
        self.may_hold(|held| self.at(held.since) >= begun_at)
    }

    /// Neighbours that may hold anything.
    #[must_use]
    pub fn may_hold_any(&self) -> Vec<MayHold> {
        self.may_hold(|_| true)
    }

    fn may_hold(&self, is_meant: impl Fn(&Held) -> bool) -> Vec<MayHold> {
        let neighbors = self.inner().neighbors.clone();
        let of = |neighbor: &Neighbor| {
            let held = self.held_by(neighbor).filter(&is_meant)?;
            Some(MayHold {
                neighbor: neighbor.name.to_string(),
                until: self.until(held),
            })
        };
        neighbors.iter().filter_map(of).collect()
    }

    /// What one neighbour may hold.
    pub(super) fn held_by(&self, neighbor: &Neighbor) -> Option<Held> {
        neighbor.held(self.speaker.may_hold(&neighbor.name))
    }

    /// In whole seconds, the later ones: nobody knows it more exactly.
    pub(super) fn until(&self, held: Held) -> Timestamp {
        const SECOND: i64 = 1_000_000;
        let micros = self.at(held.until).as_micros();
        let seconds = micros.saturating_add(SECOND - 1).div_euclid(SECOND);
        Timestamp::from_micros(seconds.saturating_mul(SECOND))
    }

    /// How far a rule has come at a neighbour.
    pub(super) fn standing(&self, neighbor: &Neighbor, delivery: &Delivery) -> Standing {
        match neighbor.standing(delivery) {
            (AnnouncementState::SessionDown, reason) => {
                let held = self.held_by(neighbor).map(|held| words(self.until(held)));
                (AnnouncementState::SessionDown, joined(reason, held))
            }
            standing => standing,
        }
    }

    /// The same of a neighbour by its name.
    pub(super) fn held_words(&self, name: &str) -> Option<String> {
        let neighbor = {
            let inner = self.inner();
            inner.neighbors.iter().find(|known| &*known.name == name)?.clone()
        };
        Some(words(self.until(self.held_by(&neighbor)?)))
    }
}

impl Neighbor {
    /// A router that was never told a rule holds none, nor does one of a kind that was measured to drop them all the same.
    pub(super) fn held(&self, by_agreement: Option<Held>) -> Option<Held> {
        let measured = self.plan.profile.measured_restart();
        by_agreement.filter(|_| self.was_told && measured.is_none_or(|measured| measured.kept))
    }
}

fn words(until: Timestamp) -> String {
    format!("the router agreed to graceful restart and may hold what it was told until {until}")
}

/// Two parts of a sentence, where there are two.
pub(super) fn joined(one: Option<String>, other: Option<String>) -> Option<String> {
    match (one, other) {
        (Some(one), Some(other)) => Some(format!("{one}; {other}")),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{configs, named, policy, state, three};
    use super::*;
    use std::time::Duration;
    use tokio::time::Instant;

    #[tokio::test]
    async fn a_neighbour_that_was_never_told_a_rule_holds_none() {
        let now = Instant::now();
        let agreed = Held {
            since: now,
            until: now + Duration::from_secs(90),
        };
        assert!(named("a", true).held(Some(agreed)).is_some());
        assert_eq!(named("a", false).held(Some(agreed)), None);

        // A trial that began by a reload: what it was told before may be there.
        let (announcer, _, mut neighbors) = three();
        for neighbor in &mut neighbors[..2] {
            (neighbor.enforce, neighbor.was_told) = (false, false);
        }
        announcer
            .reconfigure(configs(&neighbors), neighbors.clone(), policy(""), &state(&[]))
            .unwrap();
        let told: Vec<bool> = announcer
            .inner()
            .neighbors
            .iter()
            .map(|known| known.held(Some(agreed)).is_some())
            .collect();
        assert_eq!(told, [true; 3]);
    }
}
