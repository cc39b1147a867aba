//! Guardrails. Every path that makes or changes a rule asks here, and a check that cannot be made refuses.

use super::inventory::Owner;
use super::reason::Reason;
use super::safelist;
use super::state::Tally;
use super::templates::has_ports;
use super::turn::Turn;
use prefixd_api::mitigation::{Claim, OriginKind, Scope};
use prefixd_api::rule::shape::{self, is_of_all_ports};
use prefixd_api::rule::{Action, Match, Ranges, Rule, protocol};
use prefixd_api::victim::Victim;
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
}

impl Turn<'_> {
    /// The checks on the destination: safelist and ownership.
    pub(super) fn guard_destination(
        &self,
        victim: Victim,
        owner: Option<Owner<'_>>,
    ) -> Result<Reason, Reason> {
        let destination = victim.prefix();
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
            let destination = rule.matches.dst_prefix;
            let min_length = match destination {
                ipnet::IpNet::V4(_) => limits.min_length_v4,
                ipnet::IpNet::V6(_) => limits.min_length_v6,
            };
            if destination.prefix_len() < min_length {
                return Err(Reason::PrefixTooShort {
                    destination,
                    min_length,
                });
            }
            if let Some(owner) = owner
                && !owner.prefix.contains(&destination)
            {
                return Err(Reason::OutsideOwner {
                    destination,
                    prefix: owner.prefix,
                });
            }
            self.guard_match(&rule.matches)?;
            self.guard_action(rule)?;
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

    fn guard_match(&self, matches: &Match) -> Result<(), Reason> {
        let limits = &self.policy.limits;
        for ports in [&matches.ports, &matches.dst_ports, &matches.src_ports] {
            if ports.operators() > limits.max_ports {
                return Err(Reason::TooManyPorts {
                    terms: ports.operators(),
                    max_ports: limits.max_ports,
                });
            }
        }
        let foreign = match matches.dst_prefix {
            ipnet::IpNet::V4(_) => protocol::ICMPV6,
            ipnet::IpNet::V6(_) => protocol::ICMP,
        };
        if matches.protocols.contains(&foreign) {
            return Err(Reason::Impossible {
                rule: format!("a rule on {matches}"),
                because: "ICMP is protocol 1 for IPv4 and 58 for IPv6, so it could never match".into(),
            });
        }
        if matches.has_ports() && !has_ports(&matches.protocols) {
            return Err(Reason::PortsCannotMatch {
                protocols: matches.protocols.iter().copied().collect(),
            });
        }
        if let Some(because) = shape::never_matches(matches) {
            return Err(Reason::Impossible {
                rule: format!("a rule on {matches}"),
                because: because.into(),
            });
        }
        if matches.tcp_flags.is_some() && matches.protocols.iter().ne([&protocol::TCP]) {
            return Err(Reason::Impossible {
                rule: format!("a rule on {matches}"),
                because: "only TCP has flags, so it could never match".into(),
            });
        }
        if is_too_long(&matches.packet_lengths, limits.max_packet_length) {
            return Err(Reason::PacketTooLong {
                lengths: matches.packet_lengths.clone(),
                max_packet_length: limits.max_packet_length,
            });
        }
        Ok(())
    }

    /// Whether every neighbour takes as many terms. Asked of a request, which says exactly what it wants; what a
    /// template makes is fitted, and what is live stays where it is taken.
    pub(super) fn guard_terms(&self, matches: &Match) -> Result<(), Reason> {
        let limits = &self.policy.limits;
        let terms = matches.terms();
        let ports = [&matches.ports, &matches.dst_ports, &matches.src_ports];
        // Too many ports whatever the neighbours take: the check on those says so.
        let is_refused_anyway = ports.iter().any(|ports| ports.operators() > limits.max_ports);
        if limits.rule_terms < terms && !is_refused_anyway {
            return Err(Reason::TooManyForNeighbors {
                terms,
                rule_terms: limits.rule_terms,
            });
        }
        Ok(())
    }

    fn guard_action(&self, rule: &Rule) -> Result<(), Reason> {
        let impossible = |because: &'static str| {
            Err(Reason::Impossible {
                rule: rule.to_string(),
                because: because.into(),
            })
        };
        if shape::says_nothing(&rule.matches) {
            return impossible("a component that holds every number has no form that routers take");
        }
        match rule.action {
            Action::Police { rate_bps } if rate_bps.0 == 0 => impossible("police to nothing is a discard"),
            Action::Police { rate_bps } if rate_bps.0 < self.policy.limits.min_police_bps => {
                impossible("the rate is below min_police_bps")
            }
            Action::PolicePackets { rate_pps }
                if rate_pps == 0 || shape::packets_carry(rate_pps).0 < self.policy.limits.min_police_bps =>
            {
                impossible("packets of full size at that rate carry less than min_police_bps")
            }
            Action::RedirectIp { next_hop, .. } => {
                if let Some(because) = shape::unusable_next_hop(next_hop) {
                    return impossible(because);
                }
                if next_hop.is_ipv4() != rule.matches.dst_prefix.addr().is_ipv4() {
                    return impossible("the next hop is of the other family than the victim");
                }
                if self.policy.inventory.is_owned(next_hop) {
                    return impossible(
                        "the next hop is a customer's address: the attack would go to another victim, or in circles",
                    );
                }
                Ok(())
            }
            Action::Police { .. }
            | Action::PolicePackets { .. }
            | Action::RedirectVrf { .. }
            | Action::Mark { .. } => Ok(()),
            Action::Discard if shape::is_bare(&rule.matches) => impossible(
                "a discard needs more than a destination and a protocol, and all ports are no ports",
            ),
            Action::Discard if shape::is_established(&rule.matches) => {
                impossible("it would drop every established connection")
            }
            Action::Discard if shape::is_vital_icmp(&rule.matches) => {
                impossible("without these ICMP types the victim loses path MTU or neighbour discovery")
            }
            Action::Discard => Ok(()),
        }
    }

    /// Whether anything new may be announced. What is announced already goes on and ends.
    pub(super) fn guard_breaker(&self, enforced: bool) -> Result<(), Reason> {
        match &self.state.breaker {
            Some(breaker) if enforced => Err(Reason::BreakerTripped {
                tripped_at: breaker.tripped_at,
                neighbors: breaker.neighbors.clone(),
            }),
            Some(_) | None => Ok(()),
        }
    }

    /// Quotas and rates of change: the checks on one more mitigation.
    pub(super) fn guard_new(&mut self, subject: Subject<'_>) -> Result<(), Reason> {
        self.guard_breaker(subject.enforced)?;
        let (quotas, tally) = (&self.policy.quotas, self.tally(subject.enforced));
        if subject.source.is_some() {
            let vectors = tally.victim(subject.victim);
            if vectors >= MAX_VECTORS {
                return Err(Reason::QuotaVictim {
                    victim: subject.victim,
                    vectors,
                    max: MAX_VECTORS,
                });
            }
        }
        let customer_id = subject.owner.map(|owner| &*owner.customer.id);
        let (customer, new_customer) =
            customer_id.map_or((0, 0), |id| (tally.customer(id), tally.starts.customer(id)));
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
        // The global quota is judged by this POP's own count as long as every POP has its own store.
        for (max, of_pop) in [(quotas.per_pop, true), (quotas.global, false)] {
            let active = tally.pop;
            if active >= max {
                return Err(if of_pop {
                    Reason::QuotaPop { active, max }
                } else {
                    Reason::QuotaGlobal { active, max }
                });
            }
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
                pop: tally.pop,
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
        claims: impl IntoIterator<Item = &'c Claim>,
    ) -> Result<(), Reason> {
        let Some(action) = rules.iter().map(|rule| rule.action.kind()).max() else {
            return Ok(());
        };
        let mut max_action = None;
        let mut sources = Vec::new();
        for claim in claims {
            if claim.kind == OriginKind::Operator {
                return Ok(());
            }
            max_action = max_action.max(Some(self.policy.sources.get(&claim.source).max_action));
            sources.push(claim.source.clone());
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

    fn tally(&self, enforced: bool) -> &Tally {
        if enforced {
            &self.state.counts.enforced
        } else {
            &self.state.counts.dry_run
        }
    }
}

/// Numbers beyond what the network carries crash some routers. An open end (`>=100`) names none.
fn is_too_long(lengths: &Ranges, max: u16) -> bool {
    lengths
        .as_slice()
        .iter()
        .any(|range| range.first > max || (range.last > max && range.last != u16::MAX))
}
