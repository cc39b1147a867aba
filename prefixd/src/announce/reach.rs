//! Whether neighbours have what an aggregate wants, or would be told it: what is for its victims alone ends only then.
//!
//! A neighbour that gets no rules of a family has none of single victims either, and does not count.

use super::groups::{self, Compiled, Group};
use super::{Announcer, Inner, compile, is_announced};
use crate::policy::Reach;
use prefixd_api::mitigation::Mitigation;
use prefixd_bgp::flowspec::NlriKey;
use prefixd_bgp::{Delivery, Refusal};

impl Announcer {
    /// Whether every neighbour that gets rules would be told all rules of this one now, in whatever form; if `may_be_tried`, also
    /// where another neighbour is told rules of their kind first.
    #[must_use]
    pub fn would_tell(&self, mitigation: &Mitigation, may_be_tried: bool) -> bool {
        let inner = self.inner();
        let would_be_told = |group: &Group| {
            let compiled = groups::compile(mitigation, &inner.policy, &group.plan);
            let mut members = group.members.iter();
            compiled.is_whole() && members.all(|name| self.has_room_at(name, &compiled, may_be_tried))
        };
        inner.groups_of(mitigation).all(would_be_told)
    }

    fn has_room_at(&self, neighbor: &str, compiled: &Compiled, may_be_tried: bool) -> bool {
        compiled.parts().all(|part| {
            let action = compile::action(part.rule.action, part.rule.sample);
            action.is_ok_and(|action| {
                self.speaker
                    .would_tell(neighbor, &part.canonical, action, may_be_tried)
            })
        })
    }

    /// How far the rules of this one have come.
    #[must_use]
    pub fn reach(&self, mitigation: &Mitigation) -> Reach {
        if !is_announced(mitigation) {
            // Nowhere else is anything of it, nor of what it takes the place of.
            return Reach::Told;
        }
        let id = mitigation.mitigation_id;
        let inner = self.inner();
        let mut reach = Reach::Told;
        for group in inner.groups_of(mitigation) {
            let compiled = group.compiled(id).filter(|compiled| compiled.is_of(mitigation));
            let Some(compiled) = compiled else {
                // Decided and not committed yet, or a neighbour is held and has what it had.
                reach = Reach::Coming;
                continue;
            };
            // What is kept back for a stricter rule is told as that one.
            let keys = group.keys_for(id);
            if !compiled.is_whole() || keys.is_empty() {
                return Reach::Blocked;
            }
            for name in &group.members {
                match self.reach_at(name, &keys) {
                    Reach::Blocked => return Reach::Blocked,
                    Reach::Coming => reach = Reach::Coming,
                    Reach::Told => {}
                }
            }
        }
        reach
    }

    fn reach_at(&self, neighbor: &str, keys: &[NlriKey]) -> Reach {
        let mut reach = Reach::Told;
        for key in keys {
            match self.delivery_at(neighbor, key) {
                // Without a session, or the family in it, there is nothing that could end.
                Some(
                    Delivery::Advertised
                    | Delivery::SessionDown
                    | Delivery::Disabled
                    | Delivery::Refused(Refusal::FamilyNotNegotiated),
                ) => {}
                Some(Delivery::Queued | Delivery::Withdrawing) | None => reach = Reach::Coming,
                Some(
                    Delivery::OverBudget(_)
                    | Delivery::Displaced(_)
                    | Delivery::Probation
                    | Delivery::Quarantined(_)
                    | Delivery::Waiting(_)
                    | Delivery::Refused(_),
                ) => return Reach::Blocked,
            }
        }
        reach
    }
}

impl Inner {
    fn groups_of<'i>(&'i self, mitigation: &Mitigation) -> impl Iterator<Item = &'i Group> + use<'i> {
        let destination = mitigation.victim_ip.prefix();
        self.groups
            .iter()
            .filter(move |group| group.plan.has_flowspec(destination))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{
        announcer, ids, mitigation, named, neighbor, police, policy, seven_ports, speaker, state, three,
    };
    use super::super::{Neighbor, NeighborPlan};
    use super::*;
    use prefixd_api::mitigation::Severity;
    use prefixd_bgp::NeighborConfig;
    use prefixd_bgp::flowspec::Family;
    use std::net::Ipv4Addr;
    use std::slice::from_ref;

    #[tokio::test]
    async fn what_one_neighbour_does_not_take_is_blocked() {
        let (announcer, ..) = three();
        let one = mitigation(&announcer, 1, &seven_ports("police"));
        assert!(announcer.would_tell(&one, true), "two get it wider");
        assert_eq!(announcer.reach(&one), Reach::Coming, "it is not told yet");
        announcer.inner().policy = policy("20, 40, 60, 80, 100");
        assert!(
            !announcer.would_tell(&one, true),
            "wider it would reach the service, so two get nothing"
        );
        announcer.project(&state(from_ref(&one)), ids(from_ref(&one)));
        assert_eq!(announcer.reach(&one), Reach::Blocked);
    }

    #[tokio::test]
    async fn what_has_no_room_is_blocked_and_what_waits_for_a_session_is_not() {
        let config = NeighborConfig {
            max_rules: Some(1),
            ..neighbor("a", Ipv4Addr::new(192, 0, 2, 1), 179)
        };
        let announcer = announcer(speaker(None, 1, vec![config]), vec![named("a", true)]);
        let one = mitigation(&announcer, 1, &police());
        assert!(announcer.would_tell(&one, true));
        announcer.project(&state(from_ref(&one)), ids(from_ref(&one)));
        assert_eq!(announcer.reach(&one), Reach::Told);

        let mut changed = one.clone();
        changed.rules = mitigation(&announcer, 1, &seven_ports("police")).rules;
        assert_eq!(
            announcer.reach(&changed),
            Reach::Coming,
            "with these rules it is not told"
        );

        let more = mitigation(&announcer, 2, &police());
        assert!(!announcer.would_tell(&more, true));
        announcer.project(&state(&[one.clone(), more.clone()]), ids(from_ref(&more)));
        assert_eq!(announcer.reach(&more), Reach::Blocked);
        let urgent = prefixd_api::mitigation::Mitigation {
            severity: Severity::Critical,
            ..mitigation(&announcer, 3, &police())
        };
        let all = [one.clone(), more, urgent.clone()];
        announcer.project(&state(&all), ids(&[urgent]));
        assert_eq!(announcer.reach(&one), Reach::Blocked, "another took its place");
    }

    #[tokio::test]
    async fn who_gets_no_rules_of_a_family_does_not_count() {
        let six = Neighbor {
            plan: NeighborPlan {
                families: [Family::Ipv6].into(),
                ..NeighborPlan::default()
            },
            ..named("six", true)
        };
        let configs = vec![
            neighbor("a", Ipv4Addr::new(192, 0, 2, 1), 179),
            NeighborConfig {
                families: [Family::Ipv6].into(),
                ..neighbor("six", Ipv4Addr::new(192, 0, 2, 2), 179)
            },
        ];
        let announcer = announcer(speaker(None, 1, configs), vec![named("a", true), six]);
        let one = mitigation(&announcer, 1, &police());
        assert!(announcer.would_tell(&one, false));
        announcer.project(&state(from_ref(&one)), ids(from_ref(&one)));
        assert_eq!(announcer.reach(&one), Reach::Told);
    }
}
