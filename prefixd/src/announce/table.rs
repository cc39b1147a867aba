//! Which routes should exist, and who owns each: a function of the mitigations that are announced.
//!
//! One NLRI can have several owners (two vectors of one victim may share the fragment rule). Then the strictest
//! action is announced, and the route goes when its last owner has ended.

use super::few::Few;
use prefixd_api::ids::MitigationId;
use prefixd_api::rule::Action;
use prefixd_api::time::Timestamp;
use prefixd_bgp::Priority;
use prefixd_bgp::flowspec::{CanonicalRule, NlriKey};
use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A rule that a mitigation wants, compiled.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) rule: Arc<CanonicalRule>,
    pub(super) action: Action,
    pub(super) sample: bool,
    pub(super) priority: Priority,
}

/// A route that should exist.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Desired {
    pub(super) rule: Arc<CanonicalRule>,
    pub(super) action: Action,
    pub(super) sample: bool,
    pub(super) priority: Priority,
    pub(super) until: Timestamp,
}

/// What has to be told to the speaker.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    Announce(Desired),
    Withdraw(NlriKey),
}

/// A route, found by the key of its rule.
#[derive(Clone, Debug)]
struct Slot {
    rule: Arc<CanonicalRule>,
    owners: Few<Owner>,
}

impl Borrow<NlriKey> for Slot {
    fn borrow(&self) -> &NlriKey {
        self.rule.key()
    }
}

impl Hash for Slot {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.rule.key().hash(state);
    }
}

impl PartialEq for Slot {
    fn eq(&self, other: &Self) -> bool {
        self.rule.key() == other.rule.key()
    }
}

impl Eq for Slot {}

#[derive(Clone, Copy, Debug)]
struct Owner {
    mitigation: MitigationId,
    action: Action,
    sample: bool,
    priority: Priority,
    until: Timestamp,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    slots: HashSet<Slot>,
    keys: HashMap<MitigationId, Few<NlriKey>>,
    /// What mitigations own for a moment beside what they want now: it ends with them at the latest.
    leaving: HashMap<MitigationId, Vec<NlriKey>>,
    /// No owner ends before; nobody walks all of them each second to find that out.
    ends_from: Option<Timestamp>,
}

impl Table {
    /// The mitigation wants exactly these rules until then. Rules it wants no longer stay until `overlap_until`,
    /// so that a changed match leaves no gap: the speaker ends them by their `not_after`.
    pub(super) fn set(
        &mut self,
        mitigation: MitigationId,
        wanted: &[Wanted],
        until: Timestamp,
        overlap_until: Timestamp,
    ) -> Vec<Step> {
        let mut steps = Vec::with_capacity(wanted.len());
        for Wanted {
            rule,
            action,
            sample,
            priority,
        } in wanted
        {
            let owner = Owner {
                mitigation,
                action: *action,
                sample: *sample,
                priority: *priority,
                until,
            };
            self.put(rule, owner, &mut steps);
        }
        let keys = wanted.iter().map(|wanted| wanted.rule.key().clone());
        let before = self.keys.insert(mitigation, keys.collect()).unwrap_or_default();
        let is_wanted = |key: &NlriKey| wanted.iter().any(|wanted| wanted.rule.key() == key);
        for old in before.iter().filter(|old| !is_wanted(old)) {
            if let Some(slot) = self.slots.get(old)
                && let Some(owner) = slot.owners.iter().find(|owner| owner.mitigation == mitigation)
            {
                let (rule, leaving) = (
                    Arc::clone(&slot.rule),
                    Owner {
                        until: owner.until.min(overlap_until),
                        ..*owner
                    },
                );
                self.put(&rule, leaving, &mut steps);
                let leaving = self.leaving.entry(mitigation).or_default();
                if !leaving.contains(old) {
                    leaving.push(old.clone());
                }
            }
        }
        steps
    }

    /// The mitigation has ended.
    pub(super) fn remove(&mut self, mitigation: MitigationId) -> Vec<Step> {
        let mut steps = Vec::new();
        let wanted = self.keys.remove(&mitigation).unwrap_or_default();
        let leaving = self.leaving.remove(&mitigation).unwrap_or_default();
        for key in wanted.iter().chain(&leaving) {
            self.disown(key, mitigation, &mut steps);
        }
        steps
    }

    /// Forgets owners whose time is over: the speaker has withdrawn what only they owned.
    pub(super) fn forget_ended(&mut self, now: Timestamp) -> Vec<Step> {
        if self.ends_from.is_none_or(|earliest| now < earliest) {
            return Vec::new();
        }
        let (mut ended, mut earliest) = (Vec::new(), None);
        for slot in &self.slots {
            for owner in slot.owners.iter() {
                if owner.until <= now {
                    ended.push((slot.rule.key().clone(), owner.mitigation));
                } else {
                    earliest = Some(earliest.map_or(owner.until, |at: Timestamp| at.min(owner.until)));
                }
            }
        }
        self.ends_from = earliest;
        let mut steps = Vec::new();
        for (key, mitigation) in ended {
            self.disown(&key, mitigation, &mut steps);
            if let Some(leaving) = self.leaving.get_mut(&mitigation) {
                leaving.retain(|other| *other != key);
                if leaving.is_empty() {
                    self.leaving.remove(&mitigation);
                }
            }
        }
        steps
    }

    /// Every route that should exist.
    pub(super) fn desired(&self) -> impl Iterator<Item = (&NlriKey, Desired)> {
        self.slots
            .iter()
            .filter_map(|slot| Some((slot.rule.key(), slot.desired()?)))
    }

    /// What a route should be.
    pub(super) fn desired_of(&self, key: &NlriKey) -> Option<Desired> {
        self.slots.get(key)?.desired()
    }

    /// What a route should be, and which mitigations want it.
    pub(super) fn explain(&self, key: &NlriKey) -> (Option<Desired>, Vec<MitigationId>) {
        self.slots.get(key).map_or_else(Default::default, |slot| {
            let owners = slot.owners.iter().map(|owner| owner.mitigation);
            (slot.desired(), owners.collect())
        })
    }

    /// What a route would be if a mitigation wanted it until then, and some others nothing any more.
    pub(super) fn foresee(
        &self,
        wanted: Wanted,
        mitigation: MitigationId,
        until: Timestamp,
        gone: &[MitigationId],
    ) -> Option<Desired> {
        let Wanted {
            rule,
            action,
            sample,
            priority,
        } = wanted;
        let owners = self.slots.get(rule.key()).map_or(&[][..], |slot| &slot.owners);
        let stays = |owner: &&Owner| owner.mitigation != mitigation && !gone.contains(&owner.mitigation);
        let owner = Owner {
            mitigation,
            action,
            sample,
            priority,
            until,
        };
        let owners = owners.iter().filter(stays).copied().chain([owner]).collect();
        Slot { rule, owners }.desired()
    }

    /// The routes that would end with these mitigations.
    pub(super) fn keys_of_alone(&self, gone: &[MitigationId]) -> Vec<NlriKey> {
        let keys: HashSet<&NlriKey> = gone.iter().flat_map(|id| self.keys_of(*id)).collect();
        let ends = |key: &&&NlriKey| {
            let owners = self.slots.get(**key).map_or(&[][..], |slot| &slot.owners);
            owners.iter().all(|owner| gone.contains(&owner.mitigation))
        };
        keys.iter().filter(ends).map(|key| (*key).clone()).collect()
    }

    /// Whether a mitigation owns a route, and goes on to want it.
    pub(super) fn has(&self, mitigation: MitigationId, key: &NlriKey) -> bool {
        let slot = self.slots.get(key);
        slot.is_some_and(|slot| slot.owners.iter().any(|owner| owner.mitigation == mitigation))
            && self.keys_of(mitigation).contains(key)
    }

    /// The routes of a mitigation; none of one that is not here.
    pub(super) fn wanted_by(&self, mitigation: MitigationId) -> Option<&[NlriKey]> {
        self.keys.get(&mitigation).map(|keys| &**keys)
    }

    /// The routes of a mitigation.
    pub(super) fn keys_of(&self, mitigation: MitigationId) -> &[NlriKey] {
        self.wanted_by(mitigation).unwrap_or_default()
    }

    /// How many routes should exist.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// How many there would be if these mitigations wanted nothing any more, and another these.
    pub(super) fn len_with(&self, gone: &[MitigationId], wanted: &HashSet<&NlriKey>) -> usize {
        let added = wanted.iter().filter(|key| !self.slots.contains(**key)).count();
        let ends = self.keys_of_alone(gone);
        let left = ends.iter().filter(|key| !wanted.contains(key)).count();
        (self.slots.len() + added).saturating_sub(left)
    }

    fn put(&mut self, rule: &Arc<CanonicalRule>, owner: Owner, steps: &mut Vec<Step>) {
        self.ends_from = Some(self.ends_from.map_or(owner.until, |at| at.min(owner.until)));
        let slot = self.slots.take(rule.key());
        let before = slot.as_ref().and_then(Slot::desired);
        let rule = slot.as_ref().map_or(rule, |slot| &slot.rule);
        let others = slot.iter().flat_map(|slot| slot.owners.iter());
        let others = others.filter(|other| other.mitigation != owner.mitigation);
        let slot = Slot {
            rule: Arc::clone(rule),
            owners: others.copied().chain([owner]).collect(),
        };
        steps.extend(
            slot.desired()
                .filter(|after| before.as_ref() != Some(after))
                .map(Step::Announce),
        );
        self.slots.insert(slot);
    }

    fn disown(&mut self, key: &NlriKey, mitigation: MitigationId, steps: &mut Vec<Step>) {
        let Some(slot) = self.slots.take(key) else {
            return;
        };
        let before = slot.desired();
        let others = slot.owners.iter().filter(|owner| owner.mitigation != mitigation);
        let slot = Slot {
            owners: others.copied().collect(),
            ..slot
        };
        match slot.desired() {
            None => {
                steps.push(Step::Withdraw(key.clone()));
                return;
            }
            after if after == before => {}
            Some(after) => steps.push(Step::Announce(after)),
        }
        self.slots.insert(slot);
    }
}

impl Slot {
    /// The strictest action of the owners, sampled if one of them asks for it, as important as the most important of
    /// them, until the last of them ends.
    fn desired(&self) -> Option<Desired> {
        let first = self.owners.first()?;
        let mut desired = Desired {
            rule: Arc::clone(&self.rule),
            action: first.action,
            sample: false,
            priority: first.priority,
            until: first.until,
        };
        for owner in self.owners.iter() {
            if owner.action.is_stricter_than(desired.action) {
                desired.action = owner.action;
            }
            desired.sample |= owner.sample;
            desired.priority = desired.priority.max(owner.priority);
            desired.until = desired.until.max(owner.until);
        }
        Some(desired)
    }
}

#[cfg(test)]
mod tests {
    use super::super::compile;
    use super::*;
    use prefixd_api::rate::BitsPerSecond;
    use prefixd_api::rule::Match;

    const POLICE: Action = Action::Police {
        rate_bps: BitsPerSecond(5_000_000),
    };

    fn wanted(port: u16, action: Action) -> Wanted {
        let matches = Match {
            dst_ports: [port].into_iter().collect(),
            ..Match::destination("203.0.113.1/32".parse().unwrap())
        };
        Wanted {
            rule: Arc::new(compile::canonical(&matches).unwrap()),
            action,
            sample: false,
            priority: Priority::default(),
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn announced(steps: &[Step]) -> Vec<(Action, Timestamp)> {
        steps
            .iter()
            .map(|step| match step {
                Step::Announce(desired) => (desired.action, desired.until),
                Step::Withdraw(key) => panic!("withdraws {key}"),
            })
            .collect()
    }

    #[test]
    fn the_strictest_owner_wins_and_the_last_one_ends_it() {
        let (mut table, one, two) = (Table::default(), MitigationId::new(), MitigationId::new());
        assert_eq!(
            announced(&table.set(one, &[wanted(53, POLICE)], at(10), at(1))),
            [(POLICE, at(10))]
        );
        assert_eq!(
            announced(&table.set(two, &[wanted(53, Action::Discard)], at(5), at(1))),
            [(Action::Discard, at(10))]
        );
        assert_eq!(announced(&table.remove(two)), [(POLICE, at(10))]);
        assert_eq!(
            table.remove(one),
            [Step::Withdraw(wanted(53, POLICE).rule.key().clone())]
        );
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn a_shared_rule_matters_as_much_as_its_most_important_owner() {
        let (mut table, one, two) = (Table::default(), MitigationId::new(), MitigationId::new());
        let of = |level| Wanted {
            priority: Priority::new(level),
            ..wanted(53, POLICE)
        };
        let told = |steps: Vec<Step>| match &steps[..] {
            [Step::Announce(desired)] => Some(desired.priority),
            _ => None,
        };
        assert_eq!(
            told(table.set(one, &[of(1)], at(10), at(1))),
            Some(Priority::new(1))
        );
        assert_eq!(
            told(table.set(two, &[of(3)], at(10), at(1))),
            Some(Priority::new(3))
        );
        assert_eq!(told(table.remove(two)), Some(Priority::new(1)));
    }

    #[test]
    fn what_there_would_be_counts_shared_rules_once() {
        let (mut table, one, two) = (Table::default(), MitigationId::new(), MitigationId::new());
        table.set(one, &[wanted(53, POLICE), wanted(54, POLICE)], at(10), at(1));
        table.set(two, &[wanted(54, POLICE)], at(10), at(1));
        let key = |port| wanted(port, POLICE).rule.key().clone();
        let (known, new) = (key(54), key(55));
        let after =
            |gone: &[MitigationId], keys: &[&NlriKey]| table.len_with(gone, &keys.iter().copied().collect());
        assert_eq!(after(&[], &[]), 2);
        assert_eq!(after(&[], &[&known, &new]), 3);
        assert_eq!(
            after(&[one], &[&new]),
            2,
            "53 goes, 54 has another owner, 55 comes"
        );
        assert_eq!(after(&[one, two], &[]), 0);
        assert_eq!(after(&[one, two], &[&known]), 1);
    }

    #[test]
    fn nothing_is_told_twice() {
        let (mut table, one) = (Table::default(), MitigationId::new());
        table.set(one, &[wanted(53, POLICE)], at(10), at(1));
        assert!(table.set(one, &[wanted(53, POLICE)], at(10), at(1)).is_empty());
        assert!(table.remove(MitigationId::new()).is_empty());
    }

    #[test]
    fn a_changed_match_overlaps_with_the_old_one() {
        let (mut table, one) = (Table::default(), MitigationId::new());
        table.set(one, &[wanted(53, POLICE)], at(10), at(1));
        let steps = table.set(one, &[wanted(54, POLICE)], at(10), at(2));
        assert_eq!(announced(&steps), [(POLICE, at(10)), (POLICE, at(2))]);
        assert_eq!(table.len(), 2);
        assert_eq!(
            table.forget_ended(at(2)),
            [Step::Withdraw(wanted(53, POLICE).rule.key().clone())]
        );
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn each_is_forgotten_when_its_own_time_is_over() {
        let mut table = Table::default();
        let [one, two, three] = [(); 3].map(|()| MitigationId::new());
        let withdrawn = |port: u16| Step::Withdraw(wanted(port, POLICE).rule.key().clone());
        table.set(one, &[wanted(53, POLICE)], at(10), at(1));
        table.set(two, &[wanted(54, POLICE)], at(15), at(1));
        assert!(table.forget_ended(at(9)).is_empty());
        table.set(one, &[wanted(53, POLICE)], at(20), at(9));
        assert!(table.forget_ended(at(10)).is_empty(), "it was extended");
        table.set(three, &[wanted(55, POLICE)], at(12), at(1));
        assert_eq!(table.forget_ended(at(12)), [withdrawn(55)]);
        assert!(table.forget_ended(at(14)).is_empty());
        assert_eq!(table.forget_ended(at(15)), [withdrawn(54)]);
        assert_eq!(table.forget_ended(at(30)), [withdrawn(53)]);
        assert_eq!(table.ends_from, None);
        table.set(two, &[wanted(54, POLICE)], at(35), at(1));
        assert_eq!(table.forget_ended(at(35)), [withdrawn(54)]);
    }

    /// A withdrawal that leaves the rule of a moment ago on the router is none.
    #[test]
    fn what_leaves_goes_with_its_mitigation() {
        let (mut table, one, two) = (Table::default(), MitigationId::new(), MitigationId::new());
        table.set(one, &[wanted(53, POLICE)], at(10), at(1));
        table.set(two, &[wanted(53, POLICE)], at(10), at(1));
        table.set(one, &[wanted(54, POLICE)], at(10), at(2));
        let withdrawn = |port: u16| Step::Withdraw(wanted(port, POLICE).rule.key().clone());
        assert_eq!(table.remove(one), [withdrawn(54)], "another wants it still");
        table.set(two, &[wanted(55, POLICE)], at(10), at(2));
        assert_eq!(table.remove(two), [withdrawn(55), withdrawn(53)]);
        assert_eq!((table.len(), table.leaving.len()), (0, 0));
    }
}
