//! How the confidence of a group comes about, source by source.

use super::claims::is_live;
use super::settings::Policy;
use super::sources::Voice;
use prefixd_api::group::{GroupState, SourceWeight};
use prefixd_api::mitigation::{Claim, Group, OriginKind};
use prefixd_api::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where a group is in its life.
#[must_use]
pub fn group_state(group: &Group, now: Timestamp) -> GroupState {
    if group.closed_at.is_some() {
        GroupState::Closed
    } else if group.claims.iter().any(|claim| is_live(claim, now)) {
        GroupState::Open
    } else {
        GroupState::Quiet
    }
}

impl Policy {
    /// What each source with a live claim adds to a group, strongest first. Over those that count, 1 - product(1 -
    /// weighted) is the group's confidence.
    #[must_use]
    pub fn weigh(&self, group: &Group, now: Timestamp) -> Vec<SourceWeight> {
        let mut by_source: BTreeMap<&str, Vec<&Arc<Claim>>> = BTreeMap::new();
        let live = group
            .claims
            .iter()
            .filter(|claim| claim.kind == OriginKind::Event && is_live(claim, now));
        for claim in live {
            by_source.entry(&claim.source).or_default().push(claim);
        }
        let mut weights: Vec<SourceWeight> = by_source
            .into_iter()
            .map(|(name, claims)| self.weight_of(name, &claims))
            .collect();
        // Strongest first; what says nothing of how sure it is comes last.
        weights.sort_by(|one, other| {
            other
                .weighted
                .unwrap_or(-1.0)
                .total_cmp(&one.weighted.unwrap_or(-1.0))
        });
        for index in 0..weights.len() {
            let (before, rest) = weights.split_at_mut(index);
            let weight = &mut rest[0];
            let is_its_voice = |other: &SourceWeight| voice(other) == voice(weight);
            let stronger = before.iter().any(is_its_voice);
            weight.counts = weight.weighted.is_some() && !stronger;
        }
        weights
    }

    fn weight_of(&self, name: &str, claims: &[&Arc<Claim>]) -> SourceWeight {
        let source = self.sources.get(name);
        let own = |claim: &&Arc<Claim>| claim.confidence.or(source.default_confidence);
        let confidence = claims.iter().filter_map(own).max_by(f64::total_cmp);
        SourceWeight {
            source: name.to_owned(),
            configured: self.sources.is_configured(name),
            domain: source.domain.as_deref().map(str::to_owned),
            weight: source.weight,
            confidence,
            weighted: confidence.map(|confidence| (confidence * source.weight).clamp(0.0, 1.0)),
            counts: false,
            live_claims: claims.len() as u64,
            last_report_at: claims
                .iter()
                .map(|claim| claim.last_report_at)
                .fold(Timestamp::from_micros(0), Timestamp::max),
        }
    }
}

fn voice(weight: &SourceWeight) -> Voice<'_> {
    Voice::new(&weight.source, weight.domain.as_deref(), weight.configured)
}

#[cfg(test)]
mod tests {
    use super::super::claims;
    use super::super::tests::{World, ban, policy};
    use super::*;
    use prefixd_api::event::EventRequest;
    use prefixd_api::mitigation::Scope;

    /// Two probes are fed by the same flows, a third source by others.
    fn world() -> World {
        let mut policy = policy();
        let once = policy.sources.get("once").clone();
        for (name, weight, domain) in [
            ("probe1", 1.0, Some("flows")),
            ("probe2", 0.5, Some("flows")),
            ("bgp", 0.5, None),
        ] {
            let mut source = once.clone();
            source.weight = weight;
            source.domain = domain.map(Into::into);
            policy.sources.named.insert(name.to_owned(), source);
        }
        World::new(policy)
    }

    /// 1 - (1 - 0.45) is less than 0.45 in binary.
    #[test]
    fn what_a_single_source_says_is_the_confidence_and_nothing_less() {
        for percent in 1..=100 {
            let mut world = world();
            let confidence = Some(f64::from(percent) / 100.0);
            world.event(EventRequest {
                confidence,
                ..ban("once", "203.0.113.9", "ntp_amplification")
            });
            assert_eq!(world.live()[0].confidence, confidence);
        }
    }

    #[test]
    fn of_a_domain_the_strongest_counts_and_all_together_are_the_confidence() {
        let mut world = world();
        let victim = "203.0.113.9";
        for (source, confidence) in [("bgp", 0.6), ("probe2", 1.0), ("probe1", 0.7)] {
            world.event(EventRequest {
                confidence: Some(confidence),
                ..ban(source, victim, "ntp_amplification")
            });
        }
        let scope = Scope {
            victim: victim.parse().unwrap(),
            vector: "ntp_amplification".into(),
        };
        let group = world.state.group(&scope).unwrap();
        let weights = world.policy.weigh(group, world.now);
        let told: Vec<_> = weights
            .iter()
            .map(|weight| (weight.source.as_str(), weight.weighted, weight.counts))
            .collect();
        assert_eq!(
            told,
            [
                ("probe1", Some(0.7), true),
                ("probe2", Some(0.5), false),
                ("bgp", Some(0.3), true)
            ]
        );
        let doubt: f64 = weights
            .iter()
            .filter(|weight| weight.counts)
            .filter_map(|weight| weight.weighted)
            .map(|weighted| 1.0 - weighted)
            .product();
        let derived = claims::confidence(&world.policy, &group.claims).unwrap();
        assert!((1.0 - doubt - derived).abs() < 1e-12 && group.confidence == Some(derived));
        assert_eq!(group_state(group, world.now), GroupState::Open);
        let later = world.now.saturating_add(std::time::Duration::from_secs(3_600));
        assert_eq!(group_state(group, later), GroupState::Quiet);
        assert!(
            world.policy.weigh(group, later).is_empty(),
            "a dead claim weighs nothing"
        );
    }
}
