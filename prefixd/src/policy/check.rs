//! The guardrails on one rule: destination, ports, lengths, rates, impossible combinations. Nothing but configuration
//! decides here, so what a neighbour is told is checked by the same words as what was decided.

use super::inventory::Owner;
use super::reason::Reason;
use super::settings::Policy;
use super::templates::has_ports;
use prefixd_api::rule::{Action, Match, Ranges, Rule, Set, protocol, shape};
use prefixd_api::victim::Victim;

impl Policy {
    /// Whether a rule may be announced for a victim at all. Says why not, with the numbers.
    ///
    /// # Errors
    /// What a guardrail has against it.
    pub fn check_rule(&self, victim: Victim, rule: &Rule) -> Result<(), String> {
        if rule.matches.dst_prefix != victim.prefix() {
            return Err(format!(
                "its destination {} is not the victim {victim}",
                rule.matches.dst_prefix
            ));
        }
        check(self, rule, self.inventory.owner(victim)).map_err(|reason| reason.to_string())
    }

    /// Ports of the services that run at a victim, for any of these protocols; for TCP and UDP where there are none.
    #[must_use]
    pub fn allowed_ports(&self, victim: Victim, protocols: &Set<u8>) -> Ranges {
        let Some(owner) = self.inventory.owner(victim) else {
            return Ranges::default();
        };
        if protocols.is_empty() {
            return owner.allowed(&[protocol::TCP, protocol::UDP].into());
        }
        owner.allowed(protocols)
    }
}

/// What a guardrail has against a rule for an address of this owner.
pub(super) fn check(policy: &Policy, rule: &Rule, owner: Option<Owner<'_>>) -> Result<(), Reason> {
    let limits = &policy.limits;
    let destination = rule.matches.dst_prefix;
    let min_length = match destination {
        ipnet::IpNet::V4(_) => limits.min_length_v4,
        ipnet::IpNet::V6(_) => limits.min_length_v6,
    };
    // The destination of a rule is its victim's prefix, and only an aggregate's is not a host.
    let min_length = policy
        .carpet
        .map_or(min_length, |carpets| carpets.widest(destination).min(min_length));
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
    check_match(policy, &rule.matches)?;
    check_action(policy, rule)?;
    let mut flows = policy.protected.iter();
    match flows.find(|flow| flow.is_caught_by(&rule.matches)) {
        Some(flow) => Err(Reason::ProtectedFlow {
            rule: rule.to_string(),
            flow: flow.to_string(),
        }),
        None => Ok(()),
    }
}

fn check_match(policy: &Policy, matches: &Match) -> Result<(), Reason> {
    let limits = &policy.limits;
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

fn check_action(policy: &Policy, rule: &Rule) -> Result<(), Reason> {
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
        Action::Rtbh if rule.matches != Match::destination(destination_host(rule)) => {
            impossible("a blackhole is for one address, and matches nothing else of a packet")
        }
        Action::Rtbh if rule.sample => impossible("a blackhole route samples nothing"),
        Action::Rtbh => Ok(()),
        Action::Police { rate_bps } if rate_bps.0 == 0 => impossible("police to nothing is a discard"),
        Action::Police { rate_bps } if rate_bps.0 < policy.limits.min_police_bps => {
            impossible("the rate is below min_police_bps")
        }
        Action::PolicePackets { rate_pps }
            if rate_pps == 0 || shape::packets_carry(rate_pps).0 < policy.limits.min_police_bps =>
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
            if policy.inventory.is_owned(next_hop) {
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
        Action::Discard if shape::is_bare(&rule.matches) => {
            impossible("a discard needs more than a destination and a protocol, and all ports are no ports")
        }
        Action::Discard if shape::is_established(&rule.matches) => {
            impossible("it would drop every established connection")
        }
        Action::Discard if shape::is_vital_icmp(&rule.matches) => {
            impossible("without these ICMP types the victim loses path MTU or neighbour discovery")
        }
        Action::Discard => Ok(()),
    }
}

/// The first address of the destination as a prefix of its own.
fn destination_host(rule: &Rule) -> ipnet::IpNet {
    rule.matches.dst_prefix.addr().into()
}

/// Numbers beyond what the network carries crash some routers. An open end (`>=100`) names none.
fn is_too_long(lengths: &Ranges, max: u16) -> bool {
    lengths
        .as_slice()
        .iter()
        .any(|range| range.first > max || (range.last > max && range.last != u16::MAX))
}
