//! Corroboration: what the claims must say together before a step is taken. Detectors that are fed by the same data share a
//! domain and are one voice, however many of them report.

use super::playbooks::Step;
use super::reason::Reason;
use super::settings::Policy;
use super::turn::Turn;
use super::{claims, evidence, profile};
use prefixd_api::mitigation::{Claim, Mitigation, OriginKind, WaitsFor};
use std::sync::Arc;

/// With how many voices these claims speak.
pub(super) fn domains<'c>(policy: &'c Policy, claims: impl IntoIterator<Item = &'c Arc<Claim>>) -> u32 {
    let mut voices: Vec<_> = claims
        .into_iter()
        .filter(|claim| claim.kind == OriginKind::Event)
        .map(|claim| policy.sources.voice(&claim.source))
        .collect();
    voices.sort_unstable();
    voices.dedup();
    u32::try_from(voices.len()).unwrap_or(u32::MAX)
}

/// Whether enough sources that share no data report it.
pub(super) fn enough_sources(
    policy: &Policy,
    mitigation: &Mitigation,
    step: &Step,
    number: u32,
) -> Result<(), Reason> {
    if step.sources <= 1 {
        return Ok(());
    }
    let has = domains(policy, &mitigation.claims);
    if has >= step.sources {
        return Ok(());
    }
    Err(Reason::SourcesFew {
        sources: has,
        at_least: step.sources,
        step: number,
    })
}

impl Turn<'_> {
    /// What the first step needs of the claims and does not have; the trace says each.
    pub(super) fn lacks(&mut self, mitigation: &Mitigation, step: &Step) -> Option<WaitsFor> {
        let policy = self.policy;
        let of_profile = policy.profile(mitigation.victim_ip);
        let at_least = step
            .confidence_at_least
            .map(|written| profile::confidence(of_profile, written));
        let lacking = [
            enough_sources(policy, mitigation, step, 1),
            evidence::enough(at_least, mitigation, 1),
        ];
        let lacking: Vec<Reason> = lacking.into_iter().filter_map(Result::err).collect();
        if lacking.is_empty() {
            return None;
        }
        for reason in lacking {
            self.trace.note(reason);
        }
        Some(WaitsFor {
            sources: step.sources,
            has_sources: domains(policy, &mitigation.claims),
            confidence: at_least,
        })
    }

    /// Whether one of those who report may start a mitigation at all.
    pub(super) fn may_trigger<'c>(
        &self,
        source: &str,
        claims: impl IntoIterator<Item = &'c Arc<Claim>>,
    ) -> Result<(), Reason> {
        let triggers = |claim: &Arc<Claim>| self.policy.sources.get(&claim.source).may_trigger;
        if claims.into_iter().any(triggers) {
            return Ok(());
        }
        Err(Reason::MayNotTrigger {
            source: source.to_owned(),
        })
    }

    pub(super) fn note_confidence(&mut self, mitigation: &Mitigation) {
        self.trace.note(Reason::Confidence {
            confidence: mitigation.confidence,
            sources: claims::source_count(&mitigation.claims),
        });
    }
}
