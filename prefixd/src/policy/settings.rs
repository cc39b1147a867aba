//! The configuration in the shape decisions ask for: every question of the hot path is one look-up.

use super::flows::ProtectedFlow;
use super::inventory::Inventory;
use super::playbooks::Playbooks;
use super::safelist::FixedSafelist;
use super::sources::Sources;
use super::templates::Templates;
use ipnet::IpNet;
use prefixd_api::name::Name;
use prefixd_api::rate::BitsPerSecond;
use prefixd_api::resource::{Mode, SafelistEntry};
use prefixd_api::victim::Victim;
use std::time::Duration;

/// The configuration, compiled.
#[derive(Debug)]
pub struct Policy {
    pub(super) pop: Name,
    pub(super) mode: Mode,
    pub(super) limits: Limits,
    pub(super) quotas: Quotas,
    pub(super) breaker: BreakerBounds,
    /// Where many victims of one prefix become one mitigation.
    pub(super) carpet: Option<Carpets>,
    pub(super) timers: Timers,
    pub(super) escalation: EscalationDefaults,
    pub(super) sources: Sources,
    pub(super) inventory: Inventory,
    pub(super) safelist: FixedSafelist,
    pub(super) protected: Vec<ProtectedFlow>,
    pub(super) playbooks: Playbooks,
    pub(super) templates: Templates,
    /// The rate of what must be policed where no playbook names one.
    pub(super) fallback_police: BitsPerSecond,
}

/// Bounds of every rule.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    pub(super) min_ttl: Duration,
    pub(super) max_ttl: Duration,
    pub(super) max_ttl_operator: Duration,
    pub(super) max_lifetime: Duration,
    pub(super) max_lifetime_operator: Duration,
    pub(super) min_length_v4: u8,
    pub(super) min_length_v6: u8,
    /// Terms that a rule of any origin may have.
    pub(super) max_ports: usize,
    pub(super) max_packet_length: u16,
    pub(super) min_police_bps: u64,
    pub(super) require_owned: bool,
}

/// How many mitigations may be live, and how many may begin in a minute.
#[derive(Clone, Copy, Debug)]
pub struct Quotas {
    /// Live, per customer.
    pub per_customer: u64,
    /// Live in this POP.
    pub per_pop: u64,
    /// Live in all POPs together.
    pub global: u64,
    /// Beginning in a minute, in this POP.
    pub new_pop: u64,
    /// Beginning in a minute, per customer.
    pub new_customer: u64,
    /// Beginning in a minute, per source.
    pub new_source: u64,
}

/// What trips the breaker.
#[derive(Clone, Copy, Debug)]
pub struct BreakerBounds {
    /// Neighbours lost.
    pub neighbors_lost: usize,
    /// Within this time of an announcement.
    pub window: Duration,
}

/// When many victims of one prefix become one mitigation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Carpets {
    /// So many must be reported for one vector.
    pub(super) min_hosts: usize,
    /// Within this time.
    pub(super) window: Duration,
    /// The length of the widest prefix.
    pub(super) widest_v4: u8,
    pub(super) widest_v6: u8,
}

impl Carpets {
    /// The length of the widest prefix of a family.
    pub(super) fn widest(&self, of: IpNet) -> u8 {
        match of {
            IpNet::V4(_) => self.widest_v4,
            IpNet::V6(_) => self.widest_v6,
        }
    }
}

/// Spans that are not of one playbook step.
#[derive(Clone, Debug)]
pub(super) struct Timers {
    pub(super) window: Duration,
    pub(super) quiet: Duration,
    pub(super) hold_down: Duration,
    pub(super) suppress: Duration,
    pub(super) max_event_age: Duration,
}

/// What an escalation needs where the step says nothing.
#[derive(Clone, Debug)]
pub(super) struct EscalationDefaults {
    pub(super) enabled: bool,
    pub(super) min_persistence: Duration,
    pub(super) min_confidence: f64,
}

impl Policy {
    /// The POP this daemon is.
    #[must_use]
    pub fn pop(&self) -> &str {
        &self.pop
    }

    /// Whether rules go to routers.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The quotas.
    #[must_use]
    pub fn quotas(&self) -> Quotas {
        self.quotas
    }

    /// What trips the breaker.
    #[must_use]
    pub fn breaker(&self) -> BreakerBounds {
        self.breaker
    }

    /// Safelist entries that the configuration brings, implicit ones included, by prefix.
    pub fn safelist(&self) -> impl Iterator<Item = &SafelistEntry> {
        self.safelist.iter()
    }

    /// The name of a customer.
    #[must_use]
    pub fn customer_name(&self, customer_id: &str) -> Option<&str> {
        self.inventory.customer_name(customer_id)
    }

    /// The name of a customer's service.
    #[must_use]
    pub fn service_name(&self, customer_id: &str, service_id: &str) -> Option<&str> {
        self.inventory.service_name(customer_id, service_id)
    }

    /// The customer who owns an address, by longest match.
    #[must_use]
    pub fn customer_of(&self, victim: Victim) -> Option<&str> {
        self.inventory.owner(victim).map(|owner| &*owner.customer.id)
    }

    /// The detectors that the configuration names.
    pub fn source_names(&self) -> impl Iterator<Item = &str> {
        self.sources.named.keys().map(String::as_str)
    }

    /// What the configuration says of a detector: weight, domain, and whether rules on its word go to routers.
    #[must_use]
    pub fn source(&self, name: &str) -> (f64, Option<&str>, bool) {
        let source = self.sources.get(name);
        (source.weight, source.domain.as_deref(), source.enforce)
    }

    /// The service at an address, of its most exact asset.
    #[must_use]
    pub fn service_of(&self, victim: Victim) -> Option<&str> {
        let service = self.inventory.owner(victim)?.service?;
        Some(&service.id)
    }
}

#[cfg(test)]
impl Policy {
    /// One that is broken: deciding a ban by any of its playbooks panics.
    pub(crate) fn broken(mut self) -> Self {
        let playbooks = &mut self.playbooks;
        for playbook in playbooks.ordered.iter_mut().chain(&mut playbooks.default) {
            playbook.steps.clear();
        }
        self
    }
}
