//! What becomes of a report of a victim that an aggregate is over, and of what is live for this victim alone.

use super::super::claims;
use super::super::command::EventCommand;
use super::super::reason::Reason;
use super::super::settings::Carpets;
use super::super::turn::{Conclusion, Reach, Turn};
use super::{OfMany, gives_way, group_id, of, relayed};
use crate::journal::DAEMON;
use prefixd_api::event::EventOutcome;
use prefixd_api::mitigation::{EndReason, Mitigation, Scope};
use prefixd_api::victim::Victim;
use std::sync::Arc;

impl Turn<'_> {
    /// The report of one victim is evidence for all of them, as long as enough are reported: also where what is for all of
    /// them is not at every neighbour, because it goes on at the others.
    pub(super) fn attach(
        &mut self,
        command: &EventCommand,
        scope: &Scope,
        live: &Arc<Mitigation>,
        carpets: Carpets,
    ) -> OfMany {
        let prefix = live.victim_ip.prefix();
        let reach = self.facts.aggregate.reach;
        let is_told = reach == Reach::Told;
        let own = self.state.mitigation_of(scope);
        let stays = own.is_some_and(|own| !is_told || !self.takes_place_of(live, own));
        if !stays && reach == Reach::Blocked {
            self.trace.note(Reason::CarpetUntold {});
        }
        let source = self.policy.sources.get(&command.event.source);
        let since = self.now.saturating_sub(carpets.window.max(source.claim_ttl));
        let at_least = carpets.min_hosts.div_ceil(2);
        let beside = self.state.struck.iter().flat_map(|struck| struck.beside(scope));
        let others = beside
            .take_while(|(at, _)| *at >= since)
            .filter(|(_, victim)| prefix.contains(&victim.prefix()) && self.is_claimed(scope, *victim));
        let victims = 1 + others.take(at_least).count();
        if victims < at_least {
            self.trace.note(Reason::CarpetThin {
                mitigation_id: live.mitigation_id,
                prefix,
                victims,
                at_least,
            });
            return OfMany::None;
        }
        self.trace.note(Reason::CarpetOver {
            mitigation_id: live.mitigation_id,
            prefix,
        });
        let report = relayed(command, live.victim_ip);
        let mut group = self.open_group(&live.scope(), group_id(command));
        let held = claims::hold(&mut group, &report, source, self.now, &mut self.trace);
        let holding = claims::holding(self.policy, &group, false, self.now);
        group.confidence = claims::confidence(self.policy, holding);
        let owner = self.policy.inventory.owner(live.victim_ip);
        let end = self.prolong(&report, live, &mut group, owner, held.widens);
        self.change_group(group);
        if stays || reach == Reach::Blocked {
            return OfMany::Beside(end);
        }
        let goes_on = matches!(end.outcome, EventOutcome::Extended | EventOutcome::Escalated);
        // What a neighbour was told is what it does no more, if this report made it another: the next one finds out.
        let now = self
            .as_changed(live.mitigation_id)
            .filter(|now| now.rules == live.rules);
        if let Some(now) = now.filter(|_| is_told && goes_on) {
            self.give_way(scope, &now);
        }
        OfMany::Instead(end)
    }

    /// What is live for fewer ends: every neighbour has been told what takes its place.
    fn give_way(&mut self, scope: &Scope, to: &Arc<Mitigation>) {
        let host = scope.victim.prefix();
        let narrower = |victim: &Victim| *victim != to.victim_ip && victim.prefix().contains(&host);
        let parts = self
            .state
            .struck
            .iter()
            .flat_map(|struck| struck.aggregates(scope));
        let given: Vec<Arc<Mitigation>> = std::iter::once(scope.victim)
            .chain(parts.filter(narrower))
            .filter_map(|victim| self.state.mitigation_of(&of(scope, victim)))
            .filter(|live| self.takes_place_of(to, live))
            .map(Arc::clone)
            .collect();
        for live in given {
            let because = format!(
                "{} takes its place, for all of {}",
                to.mitigation_id, to.victim_ip
            );
            self.end(
                &live,
                Mitigation::clone(&live),
                EndReason::Aggregated,
                DAEMON,
                because,
            );
        }
    }

    /// Whether an aggregate that every neighbour has been told takes the place of what is for fewer, and may go on doing so.
    fn takes_place_of(&self, aggregate: &Mitigation, live: &Mitigation) -> bool {
        self.may_give_way(live)
            && gives_way(live, &aggregate.rules, aggregate.enforced)
            && self.judged(aggregate).is_none()
            && self.guard_sources(&aggregate.rules, &aggregate.claims).is_ok()
    }

    /// Whether anybody who repeats it claims that this victim is attacked.
    fn is_claimed(&self, scope: &Scope, victim: Victim) -> bool {
        let group = self.state.group(&of(scope, victim));
        let claims = group.map_or(&[][..], |group| &group.claims);
        claims
            .iter()
            .any(|claim| claims::is_live(claim, self.now) && self.repeats(&claim.source))
    }

    /// An unban of a victim that an aggregate is over: the source's word for all of them ends with its last one.
    pub(in super::super) fn detach(
        &mut self,
        command: &EventCommand,
        live: &Arc<Mitigation>,
        scope: &Scope,
    ) -> Conclusion {
        let prefix = live.victim_ip.prefix();
        let source = &command.event.source;
        let claims = |victim: Victim| {
            let group = self.state.group(&Scope {
                victim,
                vector: scope.vector.clone(),
            });
            let claims = group.map_or(&[][..], |group| &group.claims);
            claims
                .iter()
                .any(|claim| claim.source == *source && claims::is_live(claim, self.now))
        };
        let beside = self.state.struck.iter().flat_map(|struck| struck.beside(scope));
        let mut inside = beside.filter(|(_, victim)| prefix.contains(&victim.prefix()));
        self.trace.note(Reason::CarpetOver {
            mitigation_id: live.mitigation_id,
            prefix,
        });
        if inside.any(|(_, victim)| claims(victim)) {
            let reason = Reason::CarpetClaimed {
                source: source.clone(),
                prefix,
            };
            return Conclusion::new(EventOutcome::ClaimCleared, reason).on(live.mitigation_id);
        }
        let report = relayed(command, live.victim_ip);
        let mut group = self.open_group(&live.scope(), group_id(command));
        let seen_at = command.seen_at.unwrap_or(self.now);
        let was_live = claims::clear(&mut group, &report, seen_at, self.now, &mut self.trace);
        let holding = claims::holding(self.policy, &group, false, self.now);
        group.confidence = claims::confidence(self.policy, holding);
        let end = self.release(&report, live, &group, was_live);
        self.change_group(group);
        end
    }
}
