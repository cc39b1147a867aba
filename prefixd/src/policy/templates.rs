//! Vector templates: from a kind of attack to rules that stop it and leave the rest alone.

use super::inventory::Owner;
use super::playbooks::OnAllowedPort;
use super::ports::{Fit, fit};
use super::reason::Reason;
use super::trace::Notes;
use ipnet::IpNet;
use prefixd_api::config::playbooks::Protocol;
use prefixd_api::rate::BitsPerSecond;
use prefixd_api::rule::shape::is_of_all_ports;
use prefixd_api::rule::{
    Action, ActionType, Dscp, FlowLabels, Fragments, Match, Range, Ranges, Rule, Set, TcpFlags, protocol,
};
use prefixd_api::victim::Victim;
use std::collections::HashMap;

/// ICMP echo reply and request (RFC 792); never unreachable or time exceeded, which carry path MTU discovery.
const ICMP_ECHO: [u8; 2] = [0, 8];
/// ICMPv6 echo request and reply (RFC 4443); never errors or neighbour discovery.
const ICMPV6_ECHO: [u8; 2] = [128, 129];
/// NTP monlist replies have 440 bytes and more; ordinary NTP packets have 76.
const NTP_MIN_LENGTH: u16 = 100;
/// Rules one mitigation may have. A discard that would need more is widened to a police rule instead.
pub(super) const MAX_RULES: usize = 8;
/// Rules a discard is split into at most: two are left, for fragments or the service's own ports, and for what the
/// step before policed.
const MAX_SPLIT: usize = MAX_RULES - 2;

/// Built-in and configured templates.
#[derive(Debug, Default)]
pub(super) struct Templates {
    pub(super) configured: HashMap<String, Configured>,
}

/// A template of the configuration.
#[derive(Clone, Debug)]
pub(super) struct Configured {
    pub(super) protocol: Protocol,
    pub(super) dst_ports: Ranges,
    pub(super) src_ports: Ranges,
    pub(super) tcp_flags: Option<TcpFlags>,
    pub(super) packet_lengths: Ranges,
    pub(super) fragment: Option<Fragments>,
    pub(super) src_prefix: Option<IpNet>,
    pub(super) ports: Ranges,
    pub(super) icmp_types: Set<u8>,
    pub(super) icmp_codes: Set<u8>,
    pub(super) dscp: Set<Dscp>,
    pub(super) flow_labels: FlowLabels,
    /// The strictest action it may take automatically.
    pub(super) max_action: ActionType,
}

/// How a vector is matched.
#[derive(Clone, Copy, Debug)]
pub(super) enum Template<'a> {
    UdpFlood,
    SynFlood,
    AckFlood,
    IcmpFlood,
    FragmentFlood,
    GreFlood,
    Reflection(Reflection),
    Configured(&'a Configured),
    Unknown,
}

/// An amplification attack: it comes from the port of the abused service.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reflection {
    src_port: u16,
    min_length: Option<u16>,
    companion: bool,
    /// The victim's own queries get replies from this port.
    is_own_queries: bool,
}

const fn reflection(src_port: u16) -> Template<'static> {
    Template::Reflection(Reflection {
        src_port,
        min_length: None,
        companion: true,
        is_own_queries: false,
    })
}

/// The vector of an attack that its source cannot name.
const NOBODY_KNOWS: &str = "unknown";

impl Templates {
    /// Whether a rule of this vector is never a discard. Of names that nobody configured only the one that says that nobody
    /// knows: any other is an operator's own word.
    pub(super) fn is_only_policed(&self, vector: &str) -> bool {
        let template = self.get(vector);
        matches!(template, Template::AckFlood)
            || (matches!(template, Template::Unknown) && vector == NOBODY_KNOWS)
    }

    /// The template of a vector; a configured one comes before the built-in one of the same name.
    pub(super) fn get(&self, vector: &str) -> Template<'_> {
        if let Some(configured) = self.configured.get(vector) {
            return Template::Configured(configured);
        }
        match vector {
            "udp_flood" => Template::UdpFlood,
            "syn_flood" => Template::SynFlood,
            "ack_flood" => Template::AckFlood,
            "icmp_flood" => Template::IcmpFlood,
            "fragment_flood" => Template::FragmentFlood,
            "gre_flood" => Template::GreFlood,
            "dns_amplification" => Template::Reflection(Reflection {
                src_port: 53,
                min_length: None,
                companion: true,
                is_own_queries: true,
            }),
            // Its replies fit one packet: no fragments to take.
            "ntp_amplification" => Template::Reflection(Reflection {
                src_port: 123,
                min_length: Some(NTP_MIN_LENGTH),
                companion: false,
                is_own_queries: false,
            }),
            "memcached_amplification" => reflection(11211),
            "chargen_amplification" => reflection(19),
            "ssdp_amplification" => reflection(1900),
            "cldap_amplification" => reflection(389),
            "snmp_amplification" => reflection(161),
            _ => Template::Unknown,
        }
    }
}

/// What the claims report of the attack.
#[derive(Clone, Debug, Default)]
pub(super) struct Reported {
    pub(super) dst_ports: Ranges,
    pub(super) src_ports: Ranges,
    pub(super) protocol: Option<u8>,
    /// Large enough for fragments to matter.
    pub(super) large: bool,
}

/// What a template works on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Input<'a> {
    pub(super) victim: Victim,
    pub(super) owner: Option<Owner<'a>>,
    pub(super) vector: &'a str,
    pub(super) reported: &'a Reported,
    pub(super) asked: Action,
    /// The rate of what is policed although the step asks for a discard.
    pub(super) police_rate: BitsPerSecond,
    pub(super) on_allowed_port: OnAllowedPort,
    pub(super) allow_host_wide: bool,
    pub(super) max_ports: usize,
}

impl Template<'_> {
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::UdpFlood => "udp_flood",
            Self::SynFlood => "syn_flood",
            Self::AckFlood => "ack_flood",
            Self::IcmpFlood => "icmp_flood",
            Self::FragmentFlood => "fragment_flood",
            Self::GreFlood => "gre_flood",
            Self::Reflection(_) => "amplification",
            Self::Configured(_) => "configured",
            Self::Unknown => "unknown",
        }
    }

    /// The rules against the attack, mildest interpretation first: what the template caps is policed.
    ///
    /// # Errors
    /// The reason why no rule may be made automatically, or at all.
    pub(super) fn rules(self, input: &Input<'_>, trace: &mut Notes) -> Result<Vec<Rule>, Reason> {
        if input.asked == Action::Rtbh && self.may_blackhole() {
            return Ok(vec![Rule::new(input.destination(), Action::Rtbh)]);
        }
        match self {
            Self::UdpFlood => udp_flood(input, trace),
            Self::SynFlood => syn_flood(input, trace),
            Self::AckFlood => {
                let action = input.police_only(trace, "an ACK rule matches every established connection");
                let matches = Match {
                    tcp_flags: Some(TcpFlags::ack()),
                    ..input.protocol(protocol::TCP)
                };
                Ok(vec![Rule::new(matches, action)])
            }
            Self::IcmpFlood => {
                let matches = Match {
                    icmp_types: icmp_echo(input.victim),
                    ..input.protocol(icmp(input.victim))
                };
                Ok(vec![Rule::new(matches, input.asked)])
            }
            Self::FragmentFlood => {
                let matches = Match {
                    fragment: Some(Fragments::is_fragment()),
                    ..input.destination()
                };
                Ok(vec![Rule::new(matches, input.asked)])
            }
            Self::GreFlood => {
                let action = input.police_only(trace, "tunnels of the victim are GRE, too");
                Ok(vec![Rule::new(input.protocol(protocol::GRE), action)])
            }
            Self::Reflection(reflection) => Ok(reflection.rules(input, trace)),
            Self::Configured(configured) => configured.rules(input, trace),
            Self::Unknown => unknown(input, trace),
        }
    }
}

impl Template<'_> {
    /// Whether a step may give the address up: where the attack is known to be one, and not only suspected.
    pub(super) const fn may_blackhole(&self) -> bool {
        match self {
            Self::AckFlood | Self::GreFlood | Self::Unknown => false,
            Self::Configured(configured) => matches!(configured.max_action, ActionType::Rtbh),
            Self::UdpFlood | Self::SynFlood | Self::IcmpFlood | Self::FragmentFlood | Self::Reflection(_) => {
                true
            }
        }
    }
}

fn udp_flood(input: &Input<'_>, trace: &mut Notes) -> Result<Vec<Rule>, Reason> {
    let reported = &input.reported.dst_ports;
    if reported.is_empty() {
        return all_udp(input, trace);
    }
    let base = input.protocol(protocol::UDP);
    let (ports, action) = input.off_allowed_ports(&base, reported, trace)?;
    let mut rules = input.with_ports(&base, &ports, action, trace)?;
    // Flow exporters write port 0 for a fragment that carries none: the flood has fragments.
    let is_fragmented = input.reported.large || reported.contains(0);
    if is_fragmented && rules.iter().any(|rule| rule.matches.has_ports()) {
        rules.push(input.companion(trace));
    }
    Ok(rules)
}

/// A UDP flood whose ports nobody reported: all but the service's own.
fn all_udp(input: &Input<'_>, trace: &mut Notes) -> Result<Vec<Rule>, Reason> {
    let base = input.protocol(protocol::UDP);
    let allowed = input.allowed(&base);
    let client = input.owner.is_none_or(|owner| owner.client_udp);
    let action = if client {
        input.police_only(
            trace,
            "replies to the victim's own queries come to any port (client_udp)",
        )
    } else if allowed.is_empty() {
        input.police_only(trace, "without ports it would drop all UDP")
    } else {
        input.asked
    };
    if allowed.is_empty() {
        return Ok(vec![Rule::new(base, action)]);
    }
    trace.note(Reason::AllowedKeptOut {
        ports: allowed.clone(),
    });
    let mut rules = input.with_ports(&base, &allowed.complement(), action, trace)?;
    if input.reported.large && rules.iter().all(|rule| rule.matches.has_ports()) {
        rules.push(input.companion(trace));
    }
    Ok(rules)
}

fn syn_flood(input: &Input<'_>, trace: &mut Notes) -> Result<Vec<Rule>, Reason> {
    let base = Match {
        tcp_flags: Some(TcpFlags::syn_without_ack()),
        ..input.protocol(protocol::TCP)
    };
    let reported = &input.reported.dst_ports;
    let known = input.owner.is_some_and(|owner| owner.service.is_some());
    let wanted = if known {
        input.asked
    } else {
        input.police_only(trace, "no service is known there, so every port may be one")
    };
    if !wanted.is_harsh() {
        let ports = if input.on_allowed_port == OnAllowedPort::Skip && !reported.is_empty() {
            input.off_allowed_ports(&base, reported, trace)?.0
        } else {
            reported.clone()
        };
        return input.with_ports(&base, &ports, wanted, trace);
    }
    let allowed = input.allowed(&base);
    let (inside, outside) = if reported.is_empty() {
        (allowed.clone(), allowed.complement())
    } else {
        let outside = reported.minus(&allowed);
        (reported.minus(&outside), outside)
    };
    let mut rules = Vec::new();
    if !outside.is_empty() {
        rules = input.with_ports(&base, &outside, wanted, trace)?;
    }
    if rules.iter().any(|rule| rule.action != wanted) {
        // Too many to discard: one police rule takes all that is reported, because two would let the rate through
        // twice.
        return match input.on_allowed_port {
            OnAllowedPort::Skip => Ok(rules),
            OnAllowedPort::Police | OnAllowedPort::Include => {
                input.with_ports(&base, &outside.union(&inside), input.police(), trace)
            }
        };
    }
    if !inside.is_empty() && input.on_allowed_port != OnAllowedPort::Skip {
        if input.on_allowed_port == OnAllowedPort::Include {
            return if wanted == Action::Discard {
                Err(input.include_with_discard(&base))
            } else {
                input.with_ports(&base, &outside.union(&inside), wanted, trace)
            };
        }
        trace.note(Reason::OnAllowedPort {
            ports: inside.clone(),
            on_allowed_port: input.on_allowed_port,
        });
        rules.extend(input.with_ports(&base, &inside, input.police(), trace)?);
    }
    if rules.is_empty() {
        return Err(Reason::OnlyAllowedPorts { ports: inside });
    }
    Ok(rules)
}

fn unknown(input: &Input<'_>, trace: &mut Notes) -> Result<Vec<Rule>, Reason> {
    let reported = input.reported;
    let carries_ports = !reported.dst_ports.is_empty() || !reported.src_ports.is_empty();
    if reported.protocol.is_none() && !carries_ports {
        if !input.allow_host_wide {
            return Err(Reason::HostWide {
                vector: input.vector.to_owned(),
            });
        }
        let action = input.police_only(trace, "it matches all traffic of the victim");
        return Ok(vec![Rule::new(input.destination(), action)]);
    }
    let police = input.police_only(trace, "the vector has no template");
    let mut base = input.destination();
    base.protocols = match reported.protocol {
        // Detectors that name ICMP by its number of IPv4 mean the victim's own.
        Some(protocol::ICMP | protocol::ICMPV6) => [icmp(input.victim)].into(),
        Some(number) => [number].into(),
        None => [protocol::TCP, protocol::UDP].into(),
    };
    if base.protocols.contains(&icmp(input.victim)) {
        base.icmp_types = icmp_echo(input.victim);
    }
    // ICMP and the like have no ports: a rule with both could never match.
    if !has_ports(&base.protocols) {
        return Ok(vec![Rule::new(base, police)]);
    }
    if reported.dst_ports.is_empty() {
        let ports = &reported.src_ports;
        base.src_ports = match fit(police, ports, &Ranges::default(), input.max_ports, 1) {
            Some(Fit::Whole) => ports.clone(),
            Some(Fit::Joined(joined)) => joined,
            Some(Fit::Split(_) | Fit::Protocol) | None => Ranges::default(),
        };
        return Ok(vec![Rule::new(base, police)]);
    }
    let (ports, _) = input.off_allowed_ports(&base, &reported.dst_ports, trace)?;
    input.with_ports(&base, &ports, police, trace)
}

impl Reflection {
    fn rules(self, input: &Input<'_>, trace: &mut Notes) -> Vec<Rule> {
        let client = input.owner.is_none_or(|owner| owner.client_udp);
        let action = if self.is_own_queries && client {
            input.police_only(
                trace,
                "replies to the victim's own queries come from this port (client_udp)",
            )
        } else {
            input.asked
        };
        let lengths = self.min_length.map(|first| Range {
            first,
            last: u16::MAX,
        });
        let matches = Match {
            src_ports: [self.src_port].into_iter().collect(),
            packet_lengths: lengths.into_iter().collect(),
            ..input.protocol(protocol::UDP)
        };
        let mut rules = vec![Rule::new(matches, action)];
        if self.companion {
            rules.push(input.companion(trace));
        }
        rules
    }
}

impl Configured {
    fn rules(&self, input: &Input<'_>, trace: &mut Notes) -> Result<Vec<Rule>, Reason> {
        let number = match self.protocol {
            Protocol::Number(number) => number,
            Protocol::Icmp => icmp(input.victim),
        };
        let icmp_types = match self.protocol {
            Protocol::Icmp if self.icmp_types.is_empty() => icmp_echo(input.victim),
            Protocol::Icmp | Protocol::Number(_) => self.icmp_types.clone(),
        };
        let base = Match {
            protocols: [number].into(),
            src_prefix: self.src_prefix.map(Box::new),
            icmp_types,
            icmp_codes: self.icmp_codes.clone(),
            ports: self.ports.clone(),
            src_ports: self.src_ports.clone(),
            tcp_flags: self.tcp_flags.clone(),
            packet_lengths: self.packet_lengths.clone(),
            dscp: self.dscp.clone(),
            fragment: self.fragment.clone(),
            flow_labels: self.flow_labels.clone(),
            ..input.destination()
        };
        let wanted = if input.asked.kind() <= self.max_action {
            input.asked
        } else {
            input.police_only(trace, "max_action of the configured vector")
        };
        let capped = Input {
            asked: wanted,
            ..*input
        };
        if self.dst_ports.is_empty() {
            // Flags alone say nothing of ports: a discard leaves the service's own out.
            let allowed = input.allowed(&base);
            if wanted.is_harsh() && is_of_all_ports(&base) && !allowed.is_empty() {
                trace.note(Reason::AllowedKeptOut {
                    ports: allowed.clone(),
                });
                return capped.with_ports(&base, &allowed.complement(), wanted, trace);
            }
            return Ok(vec![Rule::new(base, wanted)]);
        }
        let (ports, action) = capped.off_allowed_ports(&base, &self.dst_ports, trace)?;
        capped.with_ports(&base, &ports, action, trace)
    }
}

impl Input<'_> {
    fn destination(&self) -> Match {
        Match::destination(self.victim.prefix())
    }

    fn protocol(&self, number: u8) -> Match {
        Match {
            protocols: [number].into(),
            ..self.destination()
        }
    }

    fn police(&self) -> Action {
        Action::Police {
            rate_bps: self.police_rate,
        }
    }

    /// The asked action when it is no stricter than a police action, else a police action and a note why.
    fn police_only(&self, trace: &mut Notes, because: &'static str) -> Action {
        if !self.asked.is_harsh() {
            return self.asked;
        }
        trace.note(Reason::Capped {
            asked: self.asked.kind(),
            allowed: ActionType::Police,
            rate_bps: self.police_rate,
            because: because.into(),
        });
        self.police()
    }

    /// Ports of the service at the victim, for the protocols of a match.
    fn allowed(&self, base: &Match) -> Ranges {
        self.owner
            .map_or_else(Ranges::default, |owner| owner.allowed(&base.protocols))
    }

    /// `ports` without the service's own, and the action on them. When the attack is on nothing else, the
    /// playbook says what becomes of them; they are never discarded.
    fn off_allowed_ports(
        &self,
        base: &Match,
        ports: &Ranges,
        trace: &mut Notes,
    ) -> Result<(Ranges, Action), Reason> {
        let allowed = self.allowed(base);
        let left = ports.minus(&allowed);
        let own = ports.minus(&left);
        if own.is_empty() {
            return Ok((left, self.asked));
        }
        match self.on_allowed_port {
            OnAllowedPort::Include if self.asked == Action::Discard => Err(self.include_with_discard(base)),
            OnAllowedPort::Include => {
                trace.note(Reason::OnAllowedPort {
                    ports: own,
                    on_allowed_port: self.on_allowed_port,
                });
                Ok((ports.clone(), self.asked))
            }
            OnAllowedPort::Police | OnAllowedPort::Skip if !left.is_empty() => {
                trace.note(Reason::AllowedKeptOut { ports: own });
                Ok((left, self.asked))
            }
            OnAllowedPort::Skip => Err(Reason::OnlyAllowedPorts { ports: own }),
            OnAllowedPort::Police => {
                trace.note(Reason::OnAllowedPort {
                    ports: own,
                    on_allowed_port: self.on_allowed_port,
                });
                Ok((
                    ports.clone(),
                    self.police_only(trace, "the port belongs to the service"),
                ))
            }
        }
    }

    fn include_with_discard(&self, base: &Match) -> Reason {
        Reason::Impossible {
            rule: format!("discard on {base}"),
            because: "on_allowed_port: include would drop the service's own port".into(),
        }
    }

    /// `base` on these ports as one rule, or as several where a discard must be split. What would take too many
    /// is policed.
    ///
    /// # Errors
    /// When that would take the service's own ports, and the playbook says to leave them alone.
    fn with_ports(
        &self,
        base: &Match,
        ports: &Ranges,
        action: Action,
        trace: &mut Notes,
    ) -> Result<Vec<Rule>, Reason> {
        let keep_out = self.allowed(base).minus(ports);
        let max_ports = self.max_ports;
        let (fitted, action) = match fit(action, ports, &keep_out, max_ports, MAX_SPLIT) {
            Some(fitted) => (fitted, action),
            None => {
                let police = self.police_only(
                    trace,
                    "there are too many ports to discard one by one, and a range over them holds ports that nobody reported",
                );
                let fitted = fit(police, ports, &keep_out, max_ports, 1);
                (fitted.unwrap_or(Fit::Protocol), police)
            }
        };
        let rule = |ports: Ranges| {
            Rule::new(
                Match {
                    dst_ports: ports,
                    ..base.clone()
                },
                action,
            )
        };
        Ok(match fitted {
            Fit::Whole => vec![rule(ports.clone().or_any())],
            Fit::Split(parts) => {
                trace.note(Reason::PortsSplit {
                    rules: parts.len(),
                    max_ports,
                });
                parts.into_iter().map(rule).collect()
            }
            Fit::Joined(joined) => {
                trace.note(Reason::PortsJoined {
                    reported: ports.operators(),
                    ports: joined.clone(),
                    max_ports,
                });
                vec![rule(joined)]
            }
            Fit::Protocol if self.on_allowed_port == OnAllowedPort::Skip && !keep_out.is_empty() => {
                return Err(Reason::AllowedBetween { ports: keep_out });
            }
            Fit::Protocol => {
                trace.note(Reason::PortsDropped { max_ports });
                vec![rule(Ranges::default())]
            }
        })
    }

    /// Fragments but the first carry no ports, so a rule on ports lets them through (RFC 8955 section 4.2.2.4).
    fn companion(&self, trace: &mut Notes) -> Rule {
        let action = self.police();
        trace.note(Reason::Companion { action });
        Rule::new(
            Match {
                fragment: Some(Fragments::is_fragment()),
                ..self.protocol(protocol::UDP)
            },
            action,
        )
    }
}

/// ICMP of the victim's family.
pub(super) fn icmp(victim: Victim) -> u8 {
    if victim.is_ipv6() {
        protocol::ICMPV6
    } else {
        protocol::ICMP
    }
}

/// The types that a rule on ICMP takes, whoever reports: all others carry path MTU or neighbour discovery.
fn icmp_echo(victim: Victim) -> Set<u8> {
    if victim.is_ipv6() {
        ICMPV6_ECHO.into()
    } else {
        ICMP_ECHO.into()
    }
}

/// Whether every one of these protocols has ports.
pub(super) fn has_ports(protocols: &Set<u8>) -> bool {
    !protocols.is_empty()
        && protocols
            .iter()
            .all(|number| matches!(*number, protocol::TCP | protocol::UDP))
}
