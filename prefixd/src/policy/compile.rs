//! From configuration documents to the policy.

use super::flows::ProtectedFlow;
use super::inventory::{Asset, Customer, Inventory, Service};
use super::playbooks::{Condition, OnAllowedPort, Playbook, Playbooks, Step};
use super::safelist::FixedSafelist;
use super::settings::{BreakerBounds, Carpets, EscalationDefaults, Limits, Policy, Quotas, Timers};
use super::sources::{Reporting, Source, Sources, Visibility};
use super::templates::{Configured, Templates};
use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};
use prefixd_api::config::settings::Rtbh;
use prefixd_api::config::{self, Config, Settings, inventory, playbooks, settings};
use prefixd_api::event::pop_of_source;
use prefixd_api::rate::BitsPerSecond;
use prefixd_api::resource::{SafelistEntry, SafelistOrigin};
use prefixd_api::rule::{Action, Set, protocol};
use std::net::IpAddr;
use std::time::Duration;

/// The rate of what must be policed where no playbook names a rate: no service is stopped by it, and no link is
/// filled.
const FALLBACK_POLICE: BitsPerSecond = BitsPerSecond(10_000_000);
/// The name of the default playbook in traces; no playbook of the file can have it.
const DEFAULT_PLAYBOOK: &str = "(default)";
/// The entry of `sources` for those that have none.
const DEFAULT_SOURCE: &str = "default";

/// What no rule may touch and the documents do not say: addresses that only the running daemon knows, such as
/// the database's, each with what it is.
#[derive(Clone, Debug, Default)]
pub struct Implicit {
    /// Addresses and what is there.
    pub addresses: Vec<(IpAddr, String)>,
}

impl Policy {
    /// Compiles a configuration that was checked.
    #[must_use]
    pub fn compile(config: &Config, implicit: &Implicit) -> Self {
        let settings = &config.settings;
        Self {
            pop: settings.pop.as_str().into(),
            mode: settings.mode,
            limits: limits(settings),
            quotas: quotas(&settings.quotas),
            breaker: BreakerBounds {
                neighbors_lost: settings.breaker.neighbors_lost.into(),
                window: seconds(settings.breaker.window_seconds),
            },
            carpet: carpets(&settings.guardrails.carpet),
            timers: timers(&settings.timers),
            escalation: EscalationDefaults {
                enabled: settings.escalation.enabled,
                min_persistence: seconds(settings.escalation.min_persistence_seconds),
                min_confidence: settings.escalation.min_confidence,
            },
            sources: sources(settings),
            inventory: inventory(&config.inventory),
            safelist: safelist(settings, &config.playbooks, implicit),
            protected: settings
                .guardrails
                .protected_flows
                .iter()
                .map(protected_flow)
                .collect(),
            playbooks: playbooks(&config.playbooks, settings),
            templates: templates(&config.playbooks),
            fallback_police: fallback_police(settings),
        }
    }
}

fn fallback_police(settings: &Settings) -> BitsPerSecond {
    FALLBACK_POLICE.max(settings.guardrails.min_police_bps)
}

fn seconds(count: u32) -> Duration {
    Duration::from_secs(count.into())
}

fn limits(settings: &Settings) -> Limits {
    let of = &settings.guardrails;
    Limits {
        min_ttl: seconds(of.min_ttl_seconds),
        max_ttl: seconds(of.max_ttl_seconds),
        max_ttl_operator: seconds(of.max_ttl_operator_seconds),
        max_lifetime: seconds(of.max_lifetime_seconds),
        max_lifetime_operator: seconds(of.max_lifetime_operator_seconds),
        min_length_v4: of.dst_prefix_minlen,
        min_length_v6: of.dst_prefix_minlen_v6,
        max_ports: usize::try_from(of.max_ports).unwrap_or(usize::MAX),
        max_packet_length: of.max_packet_length,
        min_police_bps: of.min_police_bps.0,
        require_owned: of.require_owned,
    }
}

fn carpets(of: &settings::Carpet) -> Option<Carpets> {
    of.enabled.then(|| Carpets {
        min_hosts: usize::try_from(of.min_hosts).unwrap_or(usize::MAX),
        window: seconds(of.window_seconds),
        widest_v4: of.max_prefix_v4,
        widest_v6: of.max_prefix_v6,
    })
}

fn quotas(of: &settings::Quotas) -> Quotas {
    Quotas {
        per_customer: of.max_active_per_customer.into(),
        per_pop: of.max_active_per_pop.into(),
        global: of.max_active_global.into(),
        new_pop: of.max_new_per_minute.pop.into(),
        new_customer: of.max_new_per_minute.customer.into(),
        new_source: of.max_new_per_minute.source.into(),
    }
}

fn timers(of: &settings::Timers) -> Timers {
    Timers {
        window: seconds(of.correlation_window_seconds),
        quiet: seconds(of.quiet_period_seconds),
        hold_down: seconds(of.hold_down_seconds),
        suppress: seconds(of.suppress_seconds),
        max_event_age: seconds(of.max_event_age_seconds),
    }
}

fn sources(settings: &Settings) -> Sources {
    let default = settings.sources.get(DEFAULT_SOURCE).cloned().unwrap_or_default();
    Sources {
        default: source(&default),
        named: settings
            .sources
            .iter()
            .filter(|(name, _)| *name != DEFAULT_SOURCE)
            .map(|(name, of)| {
                let mut source = source(of);
                // What comes in at another POP says nothing of what is filtered here.
                if pop_of_source(name).is_some() {
                    source.visibility = Visibility::PostFilter;
                }
                (name.clone(), source)
            })
            .collect(),
    }
}

fn source(of: &settings::Source) -> Source {
    Source {
        reporting: match of.reporting {
            settings::Reporting::Once => Reporting::Once,
            settings::Reporting::Repeats => Reporting::Repeats,
        },
        visibility: match of.visibility {
            settings::Visibility::PreFilter => Visibility::PreFilter,
            settings::Visibility::PostFilter => Visibility::PostFilter,
        },
        claim_ttl: seconds(of.claim_ttl_seconds),
        default_confidence: of.default_confidence,
        weight: of.weight,
        domain: of.domain.as_deref().map(Into::into),
        may_trigger: of.may_trigger,
        max_action: of.max_action,
        enforce: of.enforce,
    }
}

fn inventory(of: &config::Inventory) -> Inventory {
    let mut compiled = Inventory::default();
    for (index, customer) in of.customers.iter().enumerate() {
        for prefix in &customer.prefixes {
            compiled.owners.insert(prefix.trunc(), index);
        }
        for (number, service) in customer.services.iter().enumerate() {
            for asset in &service.assets {
                let hosts = Asset {
                    customer: index,
                    service: number,
                    client_udp: asset.client_udp,
                };
                for prefix in prefixes_of(asset) {
                    compiled.add_asset(prefix, hosts);
                }
            }
        }
        compiled.has_profiles |= customer.policy_profile != inventory::PolicyProfile::Normal;
        compiled.customers.push(Customer {
            id: customer.customer_id.as_str().into(),
            name: customer.name.clone(),
            profile: customer.policy_profile,
            link: customer.link_bps,
            services: customer.services.iter().map(service).collect(),
            enforce: customer.enforce,
        });
    }
    compiled.spread_assets();
    compiled
}

fn service(of: &inventory::Service) -> Service {
    Service {
        id: of.service_id.as_str().into(),
        name: of.name.clone(),
        allowed_tcp: of.allowed_ports.tcp.clone(),
        allowed_udp: of.allowed_ports.udp.clone(),
    }
}

/// The fewest prefixes that hold the addresses of an asset and no other.
fn prefixes_of(asset: &inventory::Asset) -> Vec<IpNet> {
    match (asset.ip, asset.range_end.unwrap_or(asset.ip)) {
        (IpAddr::V4(first), IpAddr::V4(last)) => Ipv4Subnets::new(first, last, 0).map(IpNet::V4).collect(),
        (IpAddr::V6(first), IpAddr::V6(last)) => Ipv6Subnets::new(first, last, 0).map(IpNet::V6).collect(),
        // Validation refuses a range over two families; its first address is meant for sure.
        (first, _) => vec![IpNet::from(first)],
    }
}

fn safelist(settings: &Settings, of: &config::Playbooks, implicit: &Implicit) -> FixedSafelist {
    let mut safelist = FixedSafelist::default();
    let mut add = |prefix: IpNet, origin, reason: String| {
        safelist.add(SafelistEntry {
            prefix: prefix.trunc(),
            reason,
            origin,
            created_by: None,
            created_at: None,
            expires_at: None,
        });
    };
    let mut host = |address: IpAddr, reason: String| {
        if !address.is_unspecified() {
            add(
                IpNet::from(address.to_canonical()),
                SafelistOrigin::Implicit,
                reason,
            );
        }
    };
    for neighbor in &settings.bgp.neighbors {
        host(neighbor.address, format!("BGP neighbour {}", neighbor.name));
        if let Some(local) = neighbor.local_address {
            host(local, format!("our address towards {}", neighbor.name));
        }
        for next_hop in neighbor.rtbh.iter().flat_map(Rtbh::next_hops) {
            host(next_hop, format!("where {} discards", neighbor.name));
        }
    }
    host(settings.bgp.router_id.into(), "our router id".to_owned());
    let listeners = settings.bgp.listen.iter().flatten().chain(&settings.http.listen);
    for listener in listeners.chain(&settings.observability.metrics_listen) {
        host(listener.ip(), "our listener".to_owned());
    }
    // What is redirected there is attack traffic: a rule on that address would cut it off where it is cleaned.
    let ordered = of
        .playbooks
        .iter()
        .map(|playbook| (&*playbook.name, &playbook.steps));
    let default = of.default_playbook.iter().map(|of| (DEFAULT_PLAYBOOK, &of.steps));
    for (name, steps) in ordered.chain(default) {
        for step in steps {
            if let Ok(Action::RedirectIp { next_hop, .. }) = step.full_action() {
                host(next_hop, format!("where playbook {name} redirects to"));
            }
        }
    }
    for (address, what) in &implicit.addresses {
        host(*address, what.clone());
    }
    for prefix in &settings.guardrails.infrastructure_prefixes {
        add(
            *prefix,
            SafelistOrigin::Implicit,
            "infrastructure_prefixes".to_owned(),
        );
    }
    for prefix in &settings.safelist.prefixes {
        add(*prefix, SafelistOrigin::Config, "safelist.prefixes".to_owned());
    }
    safelist
}

fn protected_flow(of: &settings::ProtectedFlow) -> ProtectedFlow {
    ProtectedFlow {
        name: of.name.clone(),
        dst: of.dst,
        src: of.src,
        protocols: match of.protocol {
            None => Set::new(),
            Some(config::playbooks::Protocol::Icmp) => [protocol::ICMP, protocol::ICMPV6].into(),
            Some(config::playbooks::Protocol::Number(number)) => [number].into(),
        },
        dst_ports: of.dst_ports.clone(),
        src_ports: of.src_ports.clone(),
    }
}

fn playbooks(of: &config::Playbooks, settings: &Settings) -> Playbooks {
    let default = of
        .default_playbook
        .as_ref()
        .map(|default| default.steps.as_slice());
    let ordered = of.playbooks.iter().map(|playbook| {
        let matches = &playbook.matches;
        let when = Condition {
            vector: matches.vector.clone(),
            source: matches.source.clone(),
            customer: matches.customer_id.clone(),
            service: matches.service_id.clone(),
            profile: matches.profile,
        };
        self::playbook(&playbook.name, when, &playbook.steps, default, settings).map(|compiled| Playbook {
            enforce: playbook.enforce,
            ..compiled
        })
    });
    let mut compiled = Playbooks {
        ordered: ordered.flatten().collect(),
        default: of.default_playbook.as_ref().and_then(|of| {
            let name = DEFAULT_PLAYBOOK;
            let compiled = playbook(name, Condition::default(), &of.steps, None, settings)?;
            Some(Playbook {
                enforce: of.enforce,
                ..compiled
            })
        }),
        any_offered: false,
    };
    compiled.any_offered = compiled
        .ordered
        .iter()
        .chain(&compiled.default)
        .any(|playbook| playbook.steps.iter().any(|step| step.offered));
    compiled.sort();
    compiled
}

/// A playbook; none when it has no step, which validation refuses.
fn playbook(
    name: &str,
    when: Condition,
    steps: &[playbooks::Step],
    default: Option<&[playbooks::Step]>,
    settings: &Settings,
) -> Option<Playbook> {
    let compiled: Vec<_> = (0..steps.len())
        .map(|index| step(steps, index, default, settings))
        .collect();
    (!compiled.is_empty()).then(|| Playbook {
        name: name.into(),
        when,
        steps: compiled,
        enforce: true,
    })
}

fn step(
    steps: &[playbooks::Step],
    index: usize,
    default: Option<&[playbooks::Step]>,
    settings: &Settings,
) -> Step {
    let of = &steps[index];
    // The step's own rate, else that of the nearest step before, after, and of the default playbook.
    let rates = steps[..=index]
        .iter()
        .rev()
        .chain(&steps[index..])
        .chain(default.into_iter().flatten());
    let police_rate = rates
        .filter_map(|step| step.rate_bps)
        .next()
        .unwrap_or_else(|| fallback_police(settings));
    Step {
        // Validation refuses what is no action.
        asked: of.full_action().unwrap_or(Action::Police {
            rate_bps: police_rate,
        }),
        sample: of.sample,
        police_rate,
        ttl: seconds(of.ttl_seconds.unwrap_or(settings.timers.default_ttl_seconds)),
        confidence_at_least: of.require_confidence_at_least,
        persistence: of.require_persistence_seconds.map(seconds),
        sources: of.require_sources.unwrap_or(1),
        de_escalate_after: of.de_escalate_after_seconds.map(seconds),
        on_allowed_port: match of.on_allowed_port {
            playbooks::OnAllowedPort::Police => OnAllowedPort::Police,
            playbooks::OnAllowedPort::Skip => OnAllowedPort::Skip,
            playbooks::OnAllowedPort::Include => OnAllowedPort::Include,
        },
        allow_host_wide: of.allow_host_wide,
        allow_rtbh: of.allow_rtbh,
        offered: of.scope == playbooks::StepScope::All,
    }
}

fn templates(of: &config::Playbooks) -> Templates {
    let configured = of.vectors.iter().map(|(name, vector)| {
        let template = Configured {
            protocol: vector.protocol,
            dst_ports: vector.dst_ports.clone(),
            src_ports: vector.src_ports.clone(),
            tcp_flags: vector.tcp_flags.clone(),
            packet_lengths: vector.packet_lengths.clone(),
            fragment: vector.fragment.clone(),
            src_prefix: vector.src_prefix,
            ports: vector.ports.clone(),
            icmp_types: vector.icmp_types.clone(),
            icmp_codes: vector.icmp_codes.clone(),
            dscp: vector.dscp.clone(),
            flow_labels: vector.flow_labels.clone(),
            max_action: vector.max_action,
        };
        (name.clone(), template)
    });
    Templates {
        configured: configured.collect(),
    }
}
