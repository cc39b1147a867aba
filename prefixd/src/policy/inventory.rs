//! Who owns an address, and what runs there.

use ipnet::IpNet;
use prefix_trie::joint::JointPrefixMap;
use prefixd_api::config::inventory::PolicyProfile;
use prefixd_api::rate::BitsPerSecond;
use prefixd_api::rule::{Ranges, protocol};
use prefixd_api::victim::Victim;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Customers, their prefixes, services and assets.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    pub(super) customers: Vec<Customer>,
    /// Index into `customers`.
    pub(super) owners: JointPrefixMap<IpNet, usize>,
    pub(super) assets: JointPrefixMap<IpNet, Asset>,
}

#[derive(Debug)]
pub(super) struct Customer {
    pub(super) id: Arc<str>,
    pub(super) name: String,
    pub(super) profile: PolicyProfile,
    pub(super) link: Option<BitsPerSecond>,
    pub(super) services: Vec<Service>,
}

#[derive(Debug)]
pub(super) struct Service {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) allowed_tcp: Ranges,
    pub(super) allowed_udp: Ranges,
}

/// Hosts of a service.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asset {
    pub(super) customer: usize,
    pub(super) service: usize,
    /// Whether the host sends UDP queries of its own, whose replies come to ephemeral ports.
    pub(super) client_udp: bool,
}

/// What the inventory knows about one address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner<'a> {
    pub(super) customer: &'a Customer,
    /// The customer's prefix that holds the address.
    pub(super) prefix: IpNet,
    pub(super) service: Option<&'a Service>,
    pub(super) client_udp: bool,
}

impl Inventory {
    pub(super) fn owner(&self, victim: Victim) -> Option<Owner<'_>> {
        let host = victim.prefix();
        let (prefix, &index) = self.owners.get_lpm(&host)?;
        let customer = self.customers.get(index)?;
        let asset = self
            .assets
            .get_lpm(&host)
            .map(|(_, asset)| asset)
            .filter(|asset| asset.customer == index);
        Some(Owner {
            customer,
            prefix,
            service: asset.and_then(|asset| customer.services.get(asset.service)),
            client_udp: asset.is_none_or(|asset| asset.client_udp),
        })
    }

    pub(super) fn customer_name(&self, id: &str) -> Option<&str> {
        self.customer(id).map(|customer| customer.name.as_str())
    }

    pub(super) fn service_name(&self, customer: &str, service: &str) -> Option<&str> {
        let services = &self.customer(customer)?.services;
        let service = services.iter().find(|known| known.id == service)?;
        Some(&service.name)
    }

    fn customer(&self, id: &str) -> Option<&Customer> {
        self.customers.iter().find(|customer| &*customer.id == id)
    }
}

impl Owner<'_> {
    /// Ports of the service that runs there, for any of these protocols.
    pub(super) fn allowed(&self, protocols: &BTreeSet<u8>) -> Ranges {
        let Some(service) = self.service else {
            return Ranges::default();
        };
        protocols
            .iter()
            .map(|number| service.allowed(*number))
            .fold(Ranges::default(), |all, some| all.union(&some))
    }
}

impl Service {
    /// Ports that belong to the service and are kept out of rules.
    pub(super) fn allowed(&self, protocol: u8) -> Ranges {
        match protocol {
            protocol::TCP => self.allowed_tcp.clone(),
            protocol::UDP => self.allowed_udp.clone(),
            _ => Ranges::default(),
        }
    }
}
