//! Who began what is pending: one source that is wrong, or lies, must leave room for the others.

use super::settings::Policy;
use super::starts::decrement;
use imbl::HashMap;
use prefixd_api::mitigation::{Mitigation, OriginKind};
use prefixd_api::name::Name;

/// Pending mitigations by customer and by the source whose claim is the oldest. Few: they are bounded by the quotas.
#[derive(Clone, Debug, Default)]
pub(super) struct Waiting {
    began: HashMap<(Option<Name>, Name), u64>,
}

impl Waiting {
    pub(super) fn add(&mut self, mitigation: &Mitigation) {
        if let Some(key) = key(mitigation) {
            *self.began.entry(key).or_insert(0) += 1;
        }
    }

    pub(super) fn remove(&mut self, mitigation: &Mitigation) {
        if let Some(key) = key(mitigation) {
            decrement(&mut self.began, &key);
        }
    }

    /// How many the voice of this source began: about this customer, and in all. An event names its source itself, so the
    /// names that nobody configured count together.
    pub(super) fn of_voice(&self, policy: &Policy, source: &str, customer: Option<&str>) -> (u64, u64) {
        let voice = policy.sources.voice(source);
        let of_voice = self
            .began
            .iter()
            .filter(|((_, name), _)| policy.sources.voice(name) == voice);
        of_voice.fold((0, 0), |(own, all), ((about, _), count)| {
            let own_too = if about.as_deref() == customer { *count } else { 0 };
            (own + own_too, all + count)
        })
    }

    #[cfg(test)]
    pub(super) fn all(&self) -> u64 {
        self.began.values().sum()
    }
}

fn key(mitigation: &Mitigation) -> Option<(Option<Name>, Name)> {
    let events = mitigation
        .claims
        .iter()
        .filter(|claim| claim.kind == OriginKind::Event);
    // Not the one that comes first in the list: that is who asked last.
    let first = events.min_by(|one, other| (one.since, &one.source).cmp(&(other.since, &other.source)))?;
    Some((mitigation.customer_id.clone(), first.source.clone()))
}
