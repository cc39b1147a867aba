//! What other POPs are told: the reports behind what a step with `scope: all` does, for as long as detectors of this POP
//! make them. A POP hears of it as of a report, and only from POPs that it names among its sources.

use super::claims;
use super::playbooks::Step;
use super::reason::Reason;
use super::settings::Policy;
use super::state::State;
use super::turn::Turn;
use prefixd_api::event::{Event, EventAction, MAX_EVENT_PORTS, check_name, pop_of_source, source_of_pop};
use prefixd_api::ids::MitigationId;
use prefixd_api::mitigation::{Group, Mitigation, Observed, OriginKind, Scope};
use prefixd_api::problem::FieldError;
use prefixd_api::rate::BitsPerSecond;
use prefixd_api::time::Timestamp;
use prefixd_api::victim::Victim;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Detectors that an offer names at most.
const MOST_SOURCES: usize = 64;
/// A confidence that differs by less is told with the next renewal.
const WOBBLES: f64 = 0.05;

/// What is reported of one victim and vector. A daemon of another version may say more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Offer {
    /// What is done about it where it is reported.
    pub mitigation_id: MitigationId,
    /// The attacked host.
    pub victim: Victim,
    /// The kind of attack.
    pub vector: String,
    /// Most bits per second.
    pub bps: Option<BitsPerSecond>,
    /// Most packets per second.
    pub pps: Option<u64>,
    /// How sure its detectors are together, by their weights there.
    pub confidence: Option<f64>,
    /// IP protocol number.
    pub protocol: Option<u8>,
    /// Attacked ports.
    pub dst_ports: Vec<u16>,
    /// Ports it comes from.
    pub src_ports: Vec<u16>,
    /// Its detectors.
    pub sources: Vec<String>,
}

impl Offer {
    /// What it is about.
    #[must_use]
    pub fn scope(&self) -> Scope {
        Scope {
            victim: self.victim,
            vector: self.vector.as_str().into(),
        }
    }

    /// As it is taken from another daemon: in the bounds of a report. More ports than one may have are left out.
    ///
    /// # Errors
    /// What no report may say, by field.
    pub fn checked(mut self) -> Result<Self, Vec<FieldError>> {
        let mut errors = Vec::new();
        check_name(&mut errors, "vector", &self.vector);
        for source in &self.sources {
            check_name(&mut errors, "sources", source);
        }
        if !self.victim.is_host() {
            errors.push(FieldError::new("victim", "is no host"));
        }
        if self.confidence.is_some_and(|sure| !(0.0..=1.0).contains(&sure)) {
            errors.push(FieldError::new("confidence", "must be between 0 and 1"));
        }
        self.dst_ports.truncate(MAX_EVENT_PORTS);
        self.src_ports.truncate(MAX_EVENT_PORTS);
        self.sources.truncate(MOST_SOURCES);
        if errors.is_empty() { Ok(self) } else { Err(errors) }
    }

    /// Whether it says what another one does not. A confidence that wobbles and a rate that creeps are none, so that a detector that
    /// reports every second is no news every second.
    #[must_use]
    pub fn is_news_to(&self, told: &Self) -> bool {
        let rest = |offer: &Self| Self {
            bps: None,
            pps: None,
            confidence: None,
            ..offer.clone()
        };
        let differs = |new: Option<f64>, old: Option<f64>, least: f64| match (new, old) {
            (Some(new), Some(old)) => (new - old).abs() >= least,
            (new, old) => new.is_some() != old.is_some(),
        };
        let creeps = |new: Option<u64>, old: Option<u64>| match (new, old) {
            (Some(new), Some(old)) => new.abs_diff(old) <= old / 10,
            (new, old) => new.is_some() == old.is_some(),
        };
        rest(self) != rest(told)
            || differs(self.confidence, told.confidence, WOBBLES)
            || !creeps(self.bps.map(|bps| bps.0), told.bps.map(|bps| bps.0))
            || !creeps(self.pps, told.pps)
    }

    /// It as a report of the POP that makes it, or the word that it is over.
    #[must_use]
    pub fn report(&self, pop: &str, action: EventAction) -> Event {
        let told = serde_json::json!({ "mitigation_id": self.mitigation_id, "sources": self.sources });
        Event {
            source: source_of_pop(pop),
            external_id: None,
            action,
            victim: self.victim,
            vector: self.vector.clone(),
            bps: self.bps,
            pps: self.pps,
            confidence: self.confidence,
            protocol: self.protocol,
            dst_ports: self.dst_ports.clone(),
            src_ports: self.src_ports.clone(),
            timestamp: None,
            raw_details: serde_json::value::to_raw_value(&told).ok(),
        }
    }
}

impl Policy {
    /// Whether any step is `scope: all`.
    #[must_use]
    pub fn offers_any(&self) -> bool {
        self.playbooks.any_offered
    }

    /// How long a claim of another POP lives here; none when it is not among the sources, and so not heard.
    #[must_use]
    pub fn hears(&self, pop: &str) -> Option<Duration> {
        let source = self.sources.named.get(&source_of_pop(pop))?;
        Some(source.claim_ttl)
    }

    /// Whether another POP is among the sources.
    #[must_use]
    pub fn hears_any(&self) -> bool {
        self.sources
            .named
            .keys()
            .any(|name| pop_of_source(name).is_some())
    }

    /// What is offered, by what it is about, each with its end: of the claims behind it, or of what is done about it here, whichever is
    /// first. What a person made last longer is not believed of detectors.
    #[must_use]
    pub fn offers(&self, state: &State, now: Timestamp) -> BTreeMap<Scope, (Offer, Timestamp)> {
        let mut offers = BTreeMap::new();
        if !self.offers_any() {
            return offers;
        }
        for live in state.mitigations.values().filter(|live| self.is_offered(live)) {
            let scope = live.scope();
            let mut add = |group: &Group| {
                if let Some((offer, until)) = self.offer(live, group, now) {
                    offers.entry(group.scope.clone()).or_insert((offer, until));
                }
            };
            if live.victim_ip.is_host() {
                state.group(&scope).into_iter().for_each(|group| add(group));
                continue;
            }
            // A report names a host: of an aggregate each of its victims is offered.
            let prefix = live.victim_ip.prefix();
            let of_it = |group: &&std::sync::Arc<Group>| {
                let of = &group.scope;
                of.victim.is_host() && of.vector == scope.vector && prefix.contains(&of.victim.prefix())
            };
            state.groups().filter(of_it).for_each(|group| add(group));
        }
        offers
    }

    fn is_offered(&self, live: &Mitigation) -> bool {
        let step = || {
            let playbook = self.playbooks.named(live.playbook.as_deref()?)?;
            playbook.step(live.step)
        };
        live.enforced && live.status.is_announced() && step().is_some_and(|step| step.offered)
    }

    /// Nothing without a detector of this POP: what two POPs know of each other alone would never end.
    fn offer(&self, live: &Mitigation, group: &Group, now: Timestamp) -> Option<(Offer, Timestamp)> {
        let own: Vec<_> = claims::holding(self, group, true, now)
            .filter(|claim| claim.kind == OriginKind::Event && pop_of_source(&claim.source).is_none())
            .collect();
        let mut observed = Observed::default();
        let (mut dst_ports, mut src_ports) = (Box::default(), Box::default());
        let mut sources: Vec<String> = Vec::new();
        for claim in &own {
            claims::observe(&mut observed, claim);
            claims::unite(&mut dst_ports, &claim.dst_ports);
            claims::unite(&mut src_ports, &claim.src_ports);
            sources.push(claim.source.to_string());
        }
        sources.sort_unstable();
        sources.dedup();
        // A report has no more, and it is heard as one.
        sources.truncate(MOST_SOURCES);
        // A claim without an end lives until it is cleared.
        let leaves = live.leaves_at();
        let ends = own.iter().map(|claim| claim.lives_until.unwrap_or(leaves));
        let until = ends.max()?.min(leaves);
        let offer = Offer {
            mitigation_id: live.mitigation_id,
            victim: group.scope.victim,
            vector: group.scope.vector.to_string(),
            bps: observed.bps,
            pps: observed.pps,
            confidence: claims::confidence(self, own.iter().copied()),
            protocol: claims::reported(own.iter().copied()).protocol,
            dst_ports: dst_ports.into_vec(),
            src_ports: src_ports.into_vec(),
            sources,
        };
        Some((offer, until))
    }
}

impl Turn<'_> {
    /// Says that other POPs are told.
    pub(super) fn note_offered(&mut self, mitigation: &Mitigation, step: &Step) {
        if step.offered && mitigation.enforced && mitigation.waits_for.is_none() {
            self.trace.note(Reason::Offered {});
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn offer() -> Offer {
        Offer {
            mitigation_id: MitigationId(Uuid::nil()),
            victim: "192.0.2.1".parse().unwrap(),
            vector: "udp_flood".to_owned(),
            bps: Some(BitsPerSecond(1_000)),
            pps: Some(1_000),
            confidence: Some(0.9),
            protocol: None,
            dst_ports: vec![53],
            src_ports: Vec::new(),
            sources: vec!["flow".to_owned()],
        }
    }

    #[test]
    fn what_no_report_may_say_is_not_taken_from_another_pop() {
        let refused = |change: fn(&mut Offer)| {
            let mut offer = offer();
            change(&mut offer);
            offer.checked().map_err(|errors| errors[0].field.clone())
        };
        assert_eq!(refused(|_| ()), Ok(offer()));
        for (field, change) in [
            (
                "vector",
                (|offer| offer.vector = "x\u{1b}[2J".to_owned()) as fn(&mut Offer),
            ),
            ("vector", |offer| offer.vector = "x".repeat(300)),
            ("sources", |offer| offer.sources.push(String::new())),
            ("victim", |offer| {
                offer.victim = Victim::network("192.0.2.0/24".parse().unwrap()).unwrap();
            }),
            ("confidence", |offer| offer.confidence = Some(1.5)),
        ] {
            assert_eq!(refused(change), Err(field.to_owned()), "{field}");
        }
        let many = refused(|offer| offer.dst_ports = (1..=100).collect()).unwrap();
        assert_eq!(many.dst_ports.len(), MAX_EVENT_PORTS);
    }

    #[test]
    fn what_wobbles_is_no_news() {
        let is_news = |change: fn(&mut Offer)| {
            let mut new = offer();
            change(&mut new);
            new.is_news_to(&offer())
        };
        for change in [
            (|_| ()) as fn(&mut Offer),
            |offer| offer.confidence = Some(0.93),
            |offer| offer.confidence = Some(0.87),
            |offer| offer.bps = Some(BitsPerSecond(1_100)),
            |offer| offer.pps = Some(900),
        ] {
            assert!(!is_news(change));
        }
        for change in [
            (|offer| offer.confidence = Some(0.96)) as fn(&mut Offer),
            |offer| offer.confidence = None,
            |offer| offer.bps = Some(BitsPerSecond(1_101)),
            |offer| offer.pps = None,
            |offer| offer.dst_ports.push(80),
            |offer| offer.sources.push("sflow".to_owned()),
        ] {
            assert!(is_news(change));
        }
    }
}
