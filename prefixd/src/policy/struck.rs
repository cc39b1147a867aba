//! Which victims were reported lately, by vector and by the widest prefix that they may be aggregated to. Kept only where
//! aggregation is switched on. It follows the open groups, which are stored, so that a restart forgets nothing.

use super::settings::Carpets;
use imbl::{HashMap, OrdSet};
use ipnet::IpNet;
use prefixd_api::mitigation::{Group, Scope};
use prefixd_api::name::Name;
use prefixd_api::time::Timestamp;
use prefixd_api::victim::Victim;
use std::sync::Arc;

/// Addresses that are kept of one prefix: whoever attacks from an IPv6 subnet may name any number of them.
const MAX_KEPT: usize = 1024;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Struck {
    bounds: Carpets,
    prefixes: HashMap<(IpNet, Name), Kept>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Kept {
    /// By their last report.
    hosts: OrdSet<(Timestamp, Victim)>,
    /// Prefixes that have a group of their own.
    aggregates: OrdSet<Victim>,
    /// Owners' prefixes, with until when no aggregate is tried in them, because something refused one. Only as good as the
    /// memory of this process.
    put_off: HashMap<IpNet, Timestamp>,
}

impl Struck {
    pub(super) fn new<'g>(bounds: Carpets, groups: impl Iterator<Item = &'g Arc<Group>>) -> Self {
        let mut struck = Self {
            bounds,
            prefixes: HashMap::new(),
        };
        for group in groups {
            struck.changed(None, group);
        }
        struck
    }

    /// A group is not any more what it was.
    pub(super) fn changed(&mut self, before: Option<&Group>, after: &Group) {
        let (was, is) = (before.and_then(last_report), last_report(after));
        let Some(key) = (was != is).then(|| self.key(&after.scope)).flatten() else {
            return;
        };
        let victim = after.scope.victim;
        let kept = self.prefixes.entry(key.clone()).or_default();
        if !victim.is_host() {
            match is {
                Some(_) => kept.aggregates.insert(victim),
                None => kept.aggregates.remove(&victim),
            };
        } else {
            if let Some(was) = was {
                kept.hosts.remove(&(was, victim));
            }
            if let Some(is) = is.filter(|_| kept.hosts.len() < MAX_KEPT) {
                kept.hosts.insert((is, victim));
            }
        }
        if kept.hosts.is_empty() && kept.aggregates.is_empty() {
            self.prefixes.remove(&key);
        }
    }

    /// An aggregate for this victim, of this prefix of its owner, was refused.
    pub(super) fn put_off(&mut self, scope: &Scope, owner: IpNet, until: Timestamp) {
        let Some(key) = self.key(scope) else { return };
        if let Some(kept) = self.prefixes.get_mut(&key) {
            kept.put_off.insert(owner, until);
        }
    }

    pub(super) fn is_put_off(&self, scope: &Scope, owner: IpNet, now: Timestamp) -> bool {
        let until = self.kept(scope).and_then(|kept| kept.put_off.get(&owner));
        until.is_some_and(|until| *until > now)
    }

    /// The same without what is not in the groups.
    #[cfg(test)]
    pub(super) fn as_in_groups(&self) -> Self {
        let mut all = self.clone();
        all.prefixes = all
            .prefixes
            .iter()
            .map(|(key, kept)| {
                (
                    key.clone(),
                    Kept {
                        put_off: HashMap::new(),
                        ..kept.clone()
                    },
                )
            })
            .collect();
        all
    }

    /// The addresses beside this one, the latest report first.
    pub(super) fn beside(&self, scope: &Scope) -> impl Iterator<Item = (Timestamp, Victim)> {
        let own = scope.victim;
        let hosts = self
            .kept(scope)
            .into_iter()
            .flat_map(|kept| kept.hosts.iter().rev());
        hosts.copied().filter(move |(_, victim)| *victim != own)
    }

    /// The aggregates beside or around it, live or not.
    pub(super) fn aggregates(&self, scope: &Scope) -> impl Iterator<Item = Victim> {
        let kept = self.kept(scope);
        kept.into_iter().flat_map(|kept| kept.aggregates.iter()).copied()
    }

    fn kept(&self, scope: &Scope) -> Option<&Kept> {
        self.prefixes.get(&self.key(scope)?)
    }

    /// None of what is wider than anything that may be aggregated to.
    fn key(&self, scope: &Scope) -> Option<(IpNet, Name)> {
        let victim = scope.victim.prefix();
        let widest = self.bounds.widest(victim);
        if victim.prefix_len() < widest {
            return None;
        }
        let prefix = IpNet::new(victim.network(), widest).ok()?.trunc();
        Some((prefix, scope.vector.clone()))
    }
}

/// When it was last reported, while the group is open.
fn last_report(group: &Group) -> Option<Timestamp> {
    group.last_ban_at.filter(|_| group.closed_at.is_none())
}
