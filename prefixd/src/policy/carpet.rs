//! Carpet bombing: many addresses of one prefix are attacked at once, each with little. Filtered one by one they use up
//! quotas and router memory and are always behind; so one mitigation of the prefix takes the place of theirs.
//!
//! It filters addresses that nobody attacks. Therefore it is off unless configured, the prefix is the narrowest that holds
//! the victims, it is never stricter than police, and it is renewed only while enough of them are still reported. It is a
//! mitigation like any other: whatever a new one has to pass it passes, and of each victim all that its own would need.
//!
//! It is made beside theirs. Each of those gives way at its victim's next report, and only once every neighbour has been told
//! what takes its place ([`under`]): nothing is let through in between, nor where a neighbour does not take it.

mod merged;
mod under;

use super::claims;
use super::command::EventCommand;
use super::inventory::Owner;
use super::plan::Target;
use super::playbooks::Step;
use super::profile;
use super::reason::Reason;
use super::settings::Carpets;
use super::sources::Reporting;
use super::turn::{Conclusion, Reach, Turn};
use super::widen::covers;
use super::{corroboration, lease};
use ipnet::IpNet;
use merged::merge;
use prefixd_api::control::{ControlScope, Stop, Stopped};
use prefixd_api::event::Event;
use prefixd_api::ids::GroupId;
use prefixd_api::mitigation::{Carpet, Claim, Group, Mitigation, Scope};
use prefixd_api::rate::BitsPerSecond;
use prefixd_api::rule::{Action, ActionType, Rule};
use prefixd_api::victim::Victim;
use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// An aggregate that something refused is tried again after this. It is looked at beside each report of the very attack that
/// it is for, and costs a look at every victim.
const TRIED_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// What an aggregate is over, while it is made.
#[derive(Debug)]
pub(super) struct Over {
    pub(super) carpet: Carpet,
    /// What is live for its victims, or for a part of them.
    inside: Vec<Arc<Mitigation>>,
}

impl Over {
    /// With these rules it is to take the place of so many.
    pub(super) fn counted(mut self, rules: &[Rule], enforced: bool) -> Carpet {
        let replaced = self.inside.iter().filter(|live| gives_way(live, rules, enforced));
        self.carpet.replaced = u32::try_from(replaced.count()).unwrap_or(u32::MAX);
        self.carpet
    }
}

/// Whether these rules take the place of a mitigation. What does more than they do or matches more, or is announced where
/// they are not, stays beside them: nothing is let through that is filtered now.
fn gives_way(live: &Mitigation, rules: &[Rule], enforced: bool) -> bool {
    let is_taken = |rule: &Rule| {
        let as_strict = |wide: &&Rule| wide.action.kind() >= rule.action.kind();
        let mut rules = rules.iter().filter(as_strict);
        rules.any(|wide| covers(&wide.matches, &rule.matches))
    };
    live.enforced == enforced && live.rules.iter().all(is_taken)
}

pub(super) fn reason(of: Victim, carpet: &Carpet) -> Reason {
    Reason::Carpet {
        prefix: of.prefix(),
        victims: carpet.victims,
        bystanders: carpet.bystanders,
    }
}

/// A step as it is for a mitigation. One of many victims lets through what theirs would let through together, discards
/// nothing, and takes nothing but what the template matches.
pub(super) fn step_of<'s>(mitigation: &Mitigation, step: &'s Step) -> Cow<'s, Step> {
    let Some(carpet) = &mitigation.carpet else {
        return Cow::Borrowed(step);
    };
    let times = u64::from(carpet.victims.max(1));
    let police_rate = BitsPerSecond(step.police_rate.0.saturating_mul(times));
    Cow::Owned(Step {
        asked: match step.asked {
            Action::Police { rate_bps } => Action::Police {
                rate_bps: BitsPerSecond(rate_bps.0.saturating_mul(times)),
            },
            Action::PolicePackets { rate_pps } => Action::PolicePackets {
                rate_pps: rate_pps.saturating_mul(times),
            },
            Action::Discard | Action::Rtbh => Action::Police {
                rate_bps: police_rate,
            },
            Action::RedirectVrf { .. } | Action::RedirectIp { .. } | Action::Mark { .. } => step.asked,
        },
        police_rate,
        allow_host_wide: false,
        allow_rtbh: false,
        ..step.clone()
    })
}

/// What a ban of one victim comes to for many.
pub(super) enum OfMany {
    /// Nothing: it is a matter of the victim alone.
    None,
    /// What is for all of them goes on, and what is for the victim alone goes on or begins beside it.
    Beside(Conclusion),
    /// All that is to be said of it.
    Instead(Conclusion),
}

/// What is claimed of each.
type Victims = Vec<(Victim, Vec<Arc<Claim>>)>;

impl<'a> Turn<'a> {
    /// A ban of a victim that an aggregate is over, or that makes one.
    pub(super) fn carpet(
        &mut self,
        command: &EventCommand,
        scope: &Scope,
        group: &Group,
        owner: Option<Owner<'a>>,
    ) -> OfMany {
        let Some(carpets) = self.policy.carpet else {
            return OfMany::None;
        };
        let owner = owner.filter(|_| scope.victim.is_host() && self.repeats(&command.event.source));
        let Some(owner) = owner else {
            return OfMany::None;
        };
        if let Some(live) = self.state.aggregate_over(scope) {
            // What is on trial protects nobody.
            let on_trial = !live.enforced && self.would_be_enforced(command, Some(owner), group);
            return if on_trial {
                OfMany::None
            } else {
                self.attach(command, scope, live, carpets)
            };
        }
        let struck = self.state.struck.as_ref();
        if struck.is_none_or(|struck| struck.is_put_off(scope, owner.prefix, self.now)) {
            return OfMany::None;
        }
        let enforced = self.policy.trial_of_owner(Some(owner)).is_none();
        let Some(victims) = self.victims_beside(command, scope, group, owner, carpets, enforced) else {
            return OfMany::None;
        };
        match victims.and_then(|victims| self.aggregate(command, scope, owner, victims, enforced)) {
            Ok(made) => return OfMany::Instead(made),
            Err(refused) => self.trace.note(refused),
        }
        self.trace.note(Reason::CarpetPutOff {
            within: owner.prefix,
            until: self.now.saturating_add(TRIED_AGAIN_AFTER),
        });
        OfMany::None
    }

    /// The victims of the same owner that were reported within the window and are under no aggregate, with what is claimed
    /// of each; none when they are too few. Each counts only if what it needs for a mitigation of its own is there.
    fn victims_beside(
        &self,
        command: &EventCommand,
        scope: &Scope,
        group: &Group,
        owner: Owner<'a>,
        carpets: Carpets,
        enforced: bool,
    ) -> Option<Result<Victims, Reason>> {
        let since = self.now.saturating_sub(carpets.window);
        let struck = self.state.struck.as_ref()?;
        let aggregates: Vec<IpNet> = struck
            .aggregates(scope)
            .filter(|victim| self.state.mitigation_of(&of(scope, *victim)).is_some())
            .map(Victim::prefix)
            .collect();
        let is_free = |victim: &Victim| {
            let host = victim.prefix();
            owner.prefix.contains(&host) && !aggregates.iter().any(|prefix| prefix.contains(&host))
        };
        let reported: Vec<Victim> = struck
            .beside(scope)
            .take_while(|(at, _)| *at >= since)
            .map(|(_, victim)| victim)
            .filter(is_free)
            .collect();
        if reported.len() + 1 < carpets.min_hosts {
            return None;
        }
        let own = claims::holding(self.policy, group, enforced, self.now);
        let own = self.enough_of(scope.victim, &command.event.vector, own.cloned().collect())?;
        let reports = reported.len() + 1;
        let beside = reported.into_iter().filter_map(|victim| {
            let group = self.state.group(&of(scope, victim))?;
            let claims = claims::holding(self.policy, group, enforced, self.now);
            self.enough_of(victim, &command.event.vector, claims.cloned().collect())
        });
        let victims: Vec<_> = std::iter::once(own).chain(beside).collect();
        if victims.len() < carpets.min_hosts {
            return Some(Err(Reason::CarpetWaits {
                prefix: owner.prefix,
                victims: reports,
                sufficient: victims.len(),
            }));
        }
        Some(Ok(victims))
    }

    /// Whether a victim would be mitigated by itself on these claims: somebody may start it, and it waits for nobody.
    fn enough_of(
        &self,
        victim: Victim,
        vector: &str,
        claims: Vec<Arc<Claim>>,
    ) -> Option<(Victim, Vec<Arc<Claim>>)> {
        let claims: Vec<_> = claims
            .into_iter()
            .filter(|claim| self.repeats(&claim.source))
            .collect();
        let source = &claims.first()?.source;
        self.may_trigger(source, &claims).ok()?;
        let owner = self.policy.inventory.owner(victim);
        let target = Target {
            victim,
            vector,
            owner,
        };
        let playbook = self.playbook(target, Some(source)).ok()?;
        (self.suffices_for(victim, &playbook.steps[0], &claims)).then_some((victim, claims))
    }

    fn suffices_for(&self, victim: Victim, step: &Step, claims: &[Arc<Claim>]) -> bool {
        let of_profile = self.policy.profile(victim);
        let confidence = claims::confidence(self.policy, claims);
        let sure = step.confidence_at_least.is_none_or(|written| {
            confidence.is_some_and(|confidence| confidence >= profile::confidence(of_profile, written))
        });
        sure && corroboration::domains(self.policy, claims) >= step.sources
    }

    fn aggregate(
        &mut self,
        command: &EventCommand,
        scope: &Scope,
        owner: Owner<'a>,
        victims: Victims,
        enforced: bool,
    ) -> Result<Conclusion, Reason> {
        if self.facts.aggregate.reach == Reach::Blocked {
            return Err(Reason::CarpetUntold {});
        }
        let hosts = victims.iter().map(|(victim, _)| victim.prefix());
        let prefix = narrowest(hosts).unwrap_or(scope.victim.prefix());
        let not_owned = Reason::CarpetNotOwned { prefix };
        let victim = Victim::network(prefix).map_err(|_| not_owned.clone())?;
        let whole = self.policy.inventory.owner(victim);
        let whole = whole
            .filter(|whole| whole.customer.id == owner.customer.id)
            .ok_or(not_owned)?;
        self.guard_suppressed(scope, victim, &victims)?;
        self.guard_held_neighbors()?;
        let target = Target {
            victim,
            vector: &scope.vector,
            owner: Some(whole),
        };
        let playbook = self.playbook(target, Some(&command.event.source))?;
        // Where its victims' own would go to the routers, one on trial would only be in their way.
        if enforced && !playbook.enforce {
            return Err(Reason::DryRun {
                mode: self.policy.mode,
                because: format!("enforce is false for playbook {}", playbook.name).into(),
            });
        }
        let count = victims.len();
        let sufficient: Vec<Vec<Arc<Claim>>> = victims
            .into_iter()
            .filter(|(victim, claims)| self.suffices_for(*victim, &playbook.steps[0], claims))
            .map(|(_, claims)| claims)
            .collect();
        if sufficient.len() < count {
            return Err(Reason::CarpetWaits {
                prefix,
                victims: count,
                sufficient: sufficient.len(),
            });
        }
        if playbook.steps[0].asked.is_harsh() {
            self.trace.note(Reason::Capped {
                asked: playbook.steps[0].asked.kind(),
                allowed: ActionType::Police,
                rate_bps: playbook.steps[0].police_rate,
                because: "it is about addresses that nobody reported, too; the rate is that of each victim"
                    .into(),
            });
        }
        let victims = u32::try_from(count).unwrap_or(u32::MAX);
        let mut services: Vec<String> = whole.services().map(|service| service.id.to_string()).collect();
        services.sort_unstable();
        services.dedup();
        let over = Over {
            carpet: Carpet {
                victims,
                bystanders: addresses(prefix).saturating_sub(victims.into()),
                replaced: 0,
                services,
            },
            inside: self.lives_inside(scope, prefix),
        };
        let mut group = self.open_group(&of(scope, victim), group_id(command));
        for claim in sufficient.iter().flatten() {
            merge(&mut group.claims, claim);
        }
        group.claims.truncate(claims::MAX_CLAIMS);
        group.confidence = claims::confidence(self.policy, &group.claims);
        group.last_event_at = self.now;
        group.last_ban_at = Some(self.now);
        // However they are filtered, by themselves or together, it is for no longer than the lifetime.
        let since = over.inside.iter().filter_map(|live| {
            let group = self.state.group(&live.scope())?;
            group.filtered_since.filter(|_| live.enforced)
        });
        group.filtered_since = since.chain(group.filtered_since).min();
        self.trace.note(reason(victim, &over.carpet));
        let report = relayed(command, victim);
        let last_ban_at = Some(self.now);
        let made = self.try_begin(&report, &mut group, Some(whole), last_ban_at, None, Some(over))?;
        self.change_group(group);
        Ok(made)
    }

    /// What an operator withdrew or suppressed stays as the operator left it, so nothing that is over it begins.
    fn guard_suppressed(&self, scope: &Scope, of: Victim, victims: &Victims) -> Result<(), Reason> {
        let prefix = of.prefix();
        let mut suppressions = self.state.suppressions.values();
        let stands = suppressions.find(|one| {
            one.expires_at > self.now && one.scope.vector == scope.vector && one.scope.victim.touches(&prefix)
        });
        if let Some(one) = stands {
            return Err(Reason::CarpetSuppressed {
                prefix,
                what: one.scope.to_string(),
                by: one.created_by.clone(),
                until: one.expires_at,
            });
        }
        // One of a source is about what that source says, and it says this, too.
        let is_said_by = |source: &String| {
            let mut claims = victims.iter().flat_map(|(_, claims)| claims);
            claims.any(|claim| claim.source == *source)
        };
        let mut wide = self.state.wide_suppressions.values();
        let stands = wide.find(|one| {
            one.expires_at > self.now
                && one.is_about(of, &scope.vector)
                && one.source.as_ref().is_none_or(is_said_by)
        });
        stands.map_or(Ok(()), |one| {
            Err(Reason::CarpetSuppressed {
                prefix,
                what: one.to_string(),
                by: one.created_by.clone(),
                until: one.expires_at,
            })
        })
    }

    /// A neighbour that is told nothing new would lose what is filtered now, and get nothing in its place.
    fn guard_held_neighbors(&self) -> Result<(), Reason> {
        let is_held = |stopped: &&Arc<Stopped>| {
            matches!(stopped.scope, ControlScope::Neighbor(_)) && stopped.state == Stop::Hold
        };
        match self.state.stopped.values().find(is_held) {
            Some(stopped) => Err(Reason::from(&**stopped)),
            None => Ok(()),
        }
    }

    /// Whether a source reports for as long as it lasts. One that reports once says nothing when the aggregate ends, and its
    /// victim would be left with nothing: it stays on its own.
    fn repeats(&self, source: &str) -> bool {
        self.policy.sources.get(source).reporting == Reporting::Repeats
    }

    /// Whether it may give way to an aggregate: it is announced, and held by sources alone who will report their victims
    /// again.
    fn may_give_way(&self, live: &Mitigation) -> bool {
        live.status.is_announced()
            && !lease::is_operators(live)
            && live.claims.iter().all(|claim| self.repeats(&claim.source))
    }

    /// What may give way for victims inside, aggregates of a part too.
    fn lives_inside(&self, scope: &Scope, prefix: IpNet) -> Vec<Arc<Mitigation>> {
        let Some(struck) = &self.state.struck else {
            return Vec::new();
        };
        let hosts = struck.beside(scope).map(|(_, victim)| victim);
        std::iter::once(scope.victim)
            .chain(hosts)
            .chain(struck.aggregates(scope))
            .filter(|victim| prefix.contains(&victim.prefix()))
            .filter_map(|victim| self.state.mitigation_of(&of(scope, victim)))
            .filter(|live| self.may_give_way(live))
            .map(Arc::clone)
            .collect()
    }
}

fn of(scope: &Scope, victim: Victim) -> Scope {
    Scope {
        victim,
        vector: scope.vector.clone(),
    }
}

/// No report makes a suppression, so that the name made for one is free for the aggregate's group.
fn group_id(command: &EventCommand) -> GroupId {
    GroupId(command.ids.suppression.0)
}

/// The report as one of the whole prefix: the source claims it as one, whatever it calls its attacks.
fn relayed(command: &EventCommand, victim: Victim) -> EventCommand {
    let event = &command.event;
    EventCommand {
        ids: command.ids,
        event: Event {
            source: event.source.clone(),
            external_id: None,
            action: event.action,
            victim,
            vector: event.vector.clone(),
            bps: event.bps,
            pps: event.pps,
            confidence: event.confidence,
            protocol: event.protocol,
            dst_ports: event.dst_ports.clone(),
            src_ports: event.src_ports.clone(),
            timestamp: event.timestamp,
            raw_details: None,
        },
        actor: command.actor.clone(),
        seen_at: command.seen_at,
    }
}

/// The narrowest prefix that holds them all.
fn narrowest(mut hosts: impl Iterator<Item = IpNet>) -> Option<IpNet> {
    let first = hosts.next()?;
    hosts.try_fold(first, |held, host| {
        let mut held = held;
        while !held.contains(&host) {
            held = held.supernet()?;
        }
        Some(held)
    })
}

/// How many addresses a prefix has; of a wide IPv6 one as many as can be said.
fn addresses(prefix: IpNet) -> u64 {
    let bits = match prefix.network() {
        IpAddr::V4(_) => 32 - prefix.prefix_len(),
        IpAddr::V6(_) => 128 - prefix.prefix_len(),
    };
    1u64.checked_shl(bits.into()).unwrap_or(u64::MAX)
}
