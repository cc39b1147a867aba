//! What other POPs are told: the reports behind what a step with `scope: all` does, for as long as detectors of this POP
//! make them. A POP hears of it as of a report, and only from POPs that it names among its sources.

use super::claims;
use super::playbooks::Step;
use super::reason::Reason;
use super::settings::Policy;
use super::state::State;
use super::turn::Turn;
use prefixd_api::event::{Event, EventAction, pop_of_source, source_of_pop};
use prefixd_api::ids::MitigationId;
use prefixd_api::mitigation::{Group, Mitigation, Observed, OriginKind, Scope};
use prefixd_api::rate::BitsPerSecond;
use prefixd_api::time::Timestamp;
use prefixd_api::victim::Victim;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

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
        let (mut dst_ports, mut src_ports) = (Vec::new(), Vec::new());
        let mut sources: Vec<String> = Vec::new();
        for claim in &own {
            claims::observe(&mut observed, claim);
            claims::unite(&mut dst_ports, &claim.dst_ports);
            claims::unite(&mut src_ports, &claim.src_ports);
            sources.push(claim.source.clone());
        }
        sources.sort_unstable();
        sources.dedup();
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
            dst_ports,
            src_ports,
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
