//! Guardrails. Every path that makes or changes a rule asks here, and a check that cannot be made refuses.

use super::check::check;
use super::inventory::Owner;
use super::lease;
use super::reason::Reason;
use super::safelist;
use super::state::Tally;
use super::turn::Turn;
use prefixd_api::control::Stop;
use prefixd_api::mitigation::{Claim, Mitigation, OriginKind, Scope};
use prefixd_api::rule::shape::is_of_all_ports;
use prefixd_api::rule::{Action, Ranges, Rule};
use prefixd_api::victim::Victim;
use std::sync::Arc;
use std::time::Duration;

/// Vectors of one victim that may be mitigated without an operator.
pub(super) const MAX_VECTORS: u64 = 4;

/// What a mitigation is judged as.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject<'a> {
    pub(super) victim: Victim,
    pub(super) owner: Option<Owner<'a>>,
    pub(super) enforced: bool,
    /// The source that asks; none for an operator, to whom the quota of a victim does not apply.
    pub(super) source: Option<&'a str>,
    /// How many of the same customer it is to take the place of: they end once neighbours have it.
    pub(super) frees: u64,
    /// What waits until now in its scope, and ends by the same decision.
    pub(super) replaces: Option<&'a Mitigation>,
}

impl Turn<'_> {
    /// The checks on the destination: safelist and ownership.
    pub(super) fn guard_destination(
        &self,
        victim: Victim,
        owner: Option<Owner<'_>>,
    ) -> Result<Reason, Reason> {
        let destination = victim.prefix();
        if !victim.is_host() {
            let min_length = self
                .policy
                .carpet
                .map_or(destination.max_prefix_len(), |carpets| {
                    carpets.widest(destination)
                });
            if destination.prefix_len() < min_length {
                return Err(Reason::PrefixTooShort {
                    destination,
                    min_length,
                });
            }
        }
        if let Some(entry) = safelist::find(&self.policy.safelist, self.state, destination, self.now) {
            return Err(Reason::Safelisted {
                victim: destination,
                prefix: entry.prefix,
                reason: entry.reason.clone(),
                origin: entry.origin,
            });
        }
        if owner.is_none() && self.policy.limits.require_owned {
            return Err(Reason::NotOwned { victim });
        }
        Ok(Reason::SafelistClear {})
    }

    /// Whether a mitigation may begin in the scope at all: the store keeps one live one in each.
    pub(super) fn guard_scope(&self, victim: Victim, vector: &str) -> Result<(), Reason> {
        let scope = Scope {
            victim,
            vector: vector.into(),
        };
        if self.state.unreadable.contains(&scope) {
            return Err(Reason::StoredUnreadable {
                victim,
                vector: vector.to_owned(),
            });
        }
        Ok(())
    }

    /// The checks on rules: destination, ports, lengths, rates, impossible combinations.
    pub(super) fn guard_rules(&self, rules: &[Rule], owner: Option<Owner<'_>>) -> Result<Reason, Reason> {
        let limits = &self.policy.limits;
        if rules.is_empty() {
            return Err(Reason::Impossible {
                rule: "nothing".to_owned(),
                because: "a mitigation without rules filters nothing".into(),
            });
        }
        for rule in rules {
            check(self.policy, rule, owner)?;
        }
        Ok(Reason::RulesWithinBounds {
            rules: rules.len(),
            max_ports: limits.max_ports,
            max_packet_length: limits.max_packet_length,
            min_police_bps: limits.min_police_bps,
        })
    }

    /// Whether the service's own ports are left alone: nothing automatic ever discards them. An operator may ask
    /// for exactly that.
    pub(super) fn guard_allowed(&self, rules: &[Rule], owner: Option<Owner<'_>>) -> Result<(), Reason> {
        let Some(owner) = owner else { return Ok(()) };
        for rule in rules.iter().filter(|rule| rule.action == Action::Discard) {
            let matches = &rule.matches;
            let allowed = owner.allowed(&matches.protocols);
            let own = |ports: &Ranges| allowed.minus(&allowed.minus(ports));
            let taken = if !matches.dst_ports.is_empty() {
                own(&matches.dst_ports)
            } else if !matches.ports.is_empty() {
                own(&matches.ports)
            } else if is_of_all_ports(matches) {
                allowed
            } else {
                continue;
            };
            if !taken.is_empty() {
                return Err(Reason::Impossible {
                    rule: rule.to_string(),
                    because: format!("it would drop the service's own ports {taken}").into(),
                });
            }
        }
        Ok(())
    }

    /// Whether an operator may drop what is only policed under this name, because nobody knows whether it is an attack:
    /// whoever knows says so by another name.
    pub(super) fn guard_vector(&self, vector: &str, rules: &[Rule]) -> Result<(), Reason> {
        let discards = |rule: &&Rule| rule.action == Action::Discard;
        match rules.iter().find(discards) {
            Some(rule) if self.policy.templates.is_only_policed(vector) => Err(Reason::Impossible {
                rule: rule.to_string(),
                because: format!(
                    "{vector} is never discarded, as it may be no attack; create it without a vector if this is to be dropped"
                )
                .into(),
            }),
            Some(_) | None => Ok(()),
        }
    }

    /// Whether anything new may be announced for this customer. What is announced already goes on and ends.
    pub(super) fn guard_announcing(&self, enforced: bool, customer: Option<&str>) -> Result<(), Reason> {
        self.guard_stopped(enforced, customer)?;
        match &self.state.breaker {
            Some(breaker) if enforced => Err(Reason::BreakerTripped {
                tripped_at: breaker.tripped_at,
                neighbors: breaker.neighbors.clone(),
            }),
            Some(_) | None => Ok(()),
        }
    }

    /// The check on one more that waits: counters of their own against the bounds of those that are announced, because a
    /// detector that is wrong must not fill the store, nor take the places of the others: it gets half of them. Nothing is
    /// announced, so neither rates of change nor hold count; in a panic the next report would end it again.
    pub(super) fn guard_pending(&self, subject: Subject<'_>) -> Result<(), Reason> {
        let owner = subject.owner.map(|owner| &*owner.customer.id);
        match self.stopped(owner) {
            Some(stopped) if subject.enforced && stopped.state == Stop::Panic => return Err(stopped.into()),
            Some(_) | None => {}
        }
        let (quotas, tally) = (&self.policy.quotas, &self.state.counts.pending);
        let victim = subject.victim;
        // What is announced already is of the four, too: one more could only be refused when it is confirmed.
        let is_one = |live: &Mitigation| !live.status.is_announced() || live.enforced == subject.enforced;
        let frees = u64::from(subject.replaces.is_some());
        let vectors = self.vectors(victim, is_one).saturating_sub(frees);
        if vectors >= MAX_VECTORS {
            let max = MAX_VECTORS;
            return Err(Reason::QuotaVictim { victim, vectors, max });
        }
        let customer = subject.owner.map(|owner| &*owner.customer.id);
        if let Some(id) = customer {
            let (pending, max) = (tally.customer(id).saturating_sub(frees), quotas.per_customer);
            if pending >= max {
                let customer_id = id.to_owned();
                return Err(Reason::QuotaPendingCustomer {
                    customer_id,
                    pending,
                    max,
                });
            }
        }
        let (pending, max) = (tally.pop.saturating_sub(frees), quotas.per_pop);
        if pending >= max {
            return Err(Reason::QuotaPendingPop { pending, max });
        }
        let Some(source) = subject.source else {
            return Ok(());
        };
        let mut waiting = self.state.counts.waiting.clone();
        if let Some(replaced) = subject.replaces {
            waiting.remove(replaced);
        }
        let (own, all) = waiting.of_voice(self.policy, source, customer);
        let (customer_id, source) = (customer.map(str::to_owned), source.to_owned());
        let (max_own, max_all) = (quotas.per_customer.div_ceil(2), quotas.per_pop.div_ceil(2));
        match customer_id {
            Some(customer_id) if own >= max_own => Err(Reason::QuotaPendingSource {
                source,
                customer_id,
                pending: own,
                max: max_own,
            }),
            _ if all >= max_all => Err(Reason::QuotaPendingSourcePop {
                source,
                pending: all,
                max: max_all,
            }),
            _ => Ok(()),
        }
    }

    /// Quotas and rates of change: the checks on one more mitigation.
    pub(super) fn guard_new(&mut self, subject: Subject<'_>) -> Result<(), Reason> {
        let customer_id = subject.owner.map(|owner| &*owner.customer.id);
        self.guard_announcing(subject.enforced, customer_id)?;
        let (quotas, tally) = (&self.policy.quotas, self.tally(subject.enforced));
        if subject.source.is_some() {
            let is_one = |live: &Mitigation| live.status.is_announced() && live.enforced == subject.enforced;
            let vectors = self.vectors(subject.victim, is_one);
            if vectors >= MAX_VECTORS {
                return Err(Reason::QuotaVictim {
                    victim: subject.victim,
                    vectors,
                    max: MAX_VECTORS,
                });
            }
        }
        let (customer, new_customer) =
            customer_id.map_or((0, 0), |id| (tally.customer(id), tally.starts.customer(id)));
        let (customer, pop) = (
            customer.saturating_sub(subject.frees),
            tally.pop.saturating_sub(subject.frees),
        );
        let new_source = subject.source.map_or(0, |name| tally.starts.source(name));
        if let Some(id) = customer_id
            && customer >= quotas.per_customer
        {
            return Err(Reason::QuotaCustomer {
                customer_id: id.to_owned(),
                active: customer,
                max: quotas.per_customer,
            });
        }
        if pop >= quotas.per_pop {
            return Err(Reason::QuotaPop {
                active: pop,
                max: quotas.per_pop,
            });
        }
        // Trials of other POPs do not count, as they take no place on a router.
        let reserved = self.facts.reserved.filter(|_| subject.enforced);
        let elsewhere = reserved.map_or(0, |reserved| reserved.elsewhere);
        let may_be_live = reserved.map_or(quotas.global, |reserved| reserved.own.min(quotas.global));
        if pop >= may_be_live {
            return Err(Reason::QuotaGlobal {
                active: pop + elsewhere,
                max: quotas.global,
            });
        }
        let rates = [
            ("the POP", self.policy.pop(), tally.starts.pop(), quotas.new_pop),
            (
                "customer",
                customer_id.unwrap_or_default(),
                new_customer,
                quotas.new_customer,
            ),
            (
                "source",
                subject.source.unwrap_or_default(),
                new_source,
                quotas.new_source,
            ),
        ];
        for (of, name, started, max) in rates {
            if !name.is_empty() && started >= max {
                return Err(Reason::RateOfChange {
                    of: of.into(),
                    name: name.to_owned(),
                    started,
                    max,
                });
            }
        }
        let (quotas_left, rates_left) = (
            Reason::QuotasLeft {
                customer,
                max_customer: quotas.per_customer,
                pop,
                max_pop: quotas.per_pop,
                max_global: quotas.global,
            },
            Reason::RatesLeft {
                pop: tally.starts.pop(),
                max_pop: quotas.new_pop,
                customer: new_customer,
                max_customer: quotas.new_customer,
                source: new_source,
                max_source: quotas.new_source,
            },
        );
        self.trace.note(quotas_left);
        self.trace.note(rates_left);
        Ok(())
    }

    /// Whether one of the sources may ask for what these rules do. An operator may ask for all.
    pub(super) fn guard_sources<'c>(
        &self,
        rules: &[Rule],
        claims: impl IntoIterator<Item = &'c Arc<Claim>>,
    ) -> Result<(), Reason> {
        let Some(action) = rules.iter().map(|rule| rule.action.kind()).max() else {
            return Ok(());
        };
        let mut max_action = None;
        let mut sources = Vec::new();
        for claim in claims {
            if lease::pins(claim) {
                return Ok(());
            }
            if claim.kind == OriginKind::Operator {
                continue;
            }
            max_action = max_action.max(Some(self.policy.sources.get(&claim.source).max_action));
            let source = claim.source.to_string();
            if !sources.contains(&source) {
                sources.push(source);
            }
        }
        match max_action {
            Some(max_action) if action > max_action => Err(Reason::SourceAction {
                sources,
                action,
                max_action,
            }),
            // Without claims it is ending: nobody asks for anything.
            Some(_) | None => Ok(()),
        }
    }

    /// Whether a lease is within bounds.
    pub(super) fn guard_ttl(&self, ttl: Duration, operator: bool) -> Result<(), Reason> {
        let limits = &self.policy.limits;
        let max = if operator {
            limits.max_ttl_operator
        } else {
            limits.max_ttl
        };
        if ttl < limits.min_ttl || ttl > max {
            return Err(Reason::TtlOutOfBounds {
                ttl_seconds: ttl.as_secs(),
                min_seconds: limits.min_ttl.as_secs(),
                max_seconds: max.as_secs(),
            });
        }
        Ok(())
    }

    fn vectors(&self, victim: Victim, is_one: impl Fn(&Mitigation) -> bool) -> u64 {
        self.state.of_victim(victim).filter(|live| is_one(live)).count() as u64
    }

    fn tally(&self, enforced: bool) -> &Tally {
        if enforced {
            &self.state.counts.enforced
        } else {
            &self.state.counts.dry_run
        }
    }
}
