//! Who owns an address, and what runs there.

use ipnet::IpNet;
use prefix_trie::joint::JointPrefixMap;
use prefixd_api::config::inventory::PolicyProfile;
use prefixd_api::name::Name;
use prefixd_api::rate::BitsPerSecond;
use prefixd_api::rule::{Ranges, Set, protocol};
use prefixd_api::victim::Victim;

/// Customers, their prefixes, services and assets.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    pub(super) customers: Vec<Customer>,
    /// Index into `customers`.
    pub(super) owners: JointPrefixMap<IpNet, usize>,
    assets: JointPrefixMap<IpNet, Vec<Asset>>,
    /// The same one after the other: what is inside of a prefix lies together.
    sorted: Vec<(IpNet, Asset)>,
    /// Whether any customer is other than normal.
    pub(super) has_profiles: bool,
}

#[derive(Debug)]
pub(super) struct Customer {
    pub(super) id: Name,
    pub(super) name: String,
    pub(super) profile: PolicyProfile,
    pub(super) link: Option<BitsPerSecond>,
    pub(super) services: Vec<Service>,
    /// Whether rules for them go to routers.
    pub(super) enforce: bool,
}

#[derive(Debug)]
pub(super) struct Service {
    pub(super) id: Name,
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
    /// The service of the asset that names the address most exactly.
    pub(super) service: Option<&'a Service>,
    /// Whether any of its assets sends UDP queries of its own.
    pub(super) client_udp: bool,
    /// All assets that the address belongs to, those of other customers included.
    assets: &'a [Asset],
    /// Those of which each is a part of the addresses, where there are many.
    inside: &'a [(IpNet, Asset)],
    /// Which customer it is, in the inventory.
    index: usize,
}

impl Inventory {
    /// Adds hosts. One address may have several services.
    pub(super) fn add_asset(&mut self, prefix: IpNet, asset: Asset) {
        match self.assets.get_mut(&prefix) {
            Some(known) => known.push(asset),
            None => {
                self.assets.insert(prefix, vec![asset]);
            }
        }
    }

    /// Called when all assets are there: the longest match then knows every asset of an address, the most exact
    /// first.
    pub(super) fn spread_assets(&mut self) {
        let each = |(prefix, assets): (IpNet, &Vec<Asset>)| {
            let assets = assets.clone().into_iter();
            assets.map(move |asset| (prefix, asset))
        };
        self.sorted = self.assets.iter().flat_map(each).collect();
        self.sorted.sort_by_key(|(prefix, _)| *prefix);
        let prefixes: Vec<IpNet> = self.assets.iter().map(|(prefix, _)| prefix).collect();
        let mut spread = JointPrefixMap::default();
        for prefix in prefixes {
            let mut covering: Vec<&Vec<Asset>> = self.assets.cover_values(&prefix).collect();
            covering.reverse();
            let all: Vec<Asset> = covering.into_iter().flatten().copied().collect();
            spread.insert(prefix, all);
        }
        self.assets = spread;
    }

    /// Whether the address is of a customer.
    pub(super) fn is_owned(&self, address: std::net::IpAddr) -> bool {
        self.owners.get_lpm(&IpNet::from(address)).is_some()
    }

    /// Of many victims the one who owns them all, with every service among them. None where a part is another's.
    pub(super) fn owner(&self, victim: Victim) -> Option<Owner<'_>> {
        let host = victim.prefix();
        if !victim.is_host() {
            return self.owner_of_all(host);
        }
        let (prefix, &index) = self.owners.get_lpm(&host)?;
        let customer = self.customers.get(index)?;
        let assets = self
            .assets
            .get_lpm(&host)
            .map_or(&[][..], |(_, assets)| assets.as_slice());
        let mut own = assets.iter().filter(|asset| asset.customer == index).peekable();
        let first = own.peek().map(|asset| asset.service);
        Some(Owner {
            customer,
            prefix,
            service: first.and_then(|service| customer.services.get(service)),
            client_udp: first.is_none() || own.any(|asset| asset.client_udp),
            assets,
            inside: &[],
            index,
        })
    }

    fn owner_of_all(&self, of: IpNet) -> Option<Owner<'_>> {
        let (prefix, &index) = self.owners.get_lpm(&of)?;
        if self.owners.children(&of).any(|(_, other)| *other != index) {
            return None;
        }
        let around = self.assets.get_lpm(&of).map(|(_, assets)| assets);
        // In the order of addresses, and the wider first.
        let from = self.sorted.partition_point(|(prefix, _)| *prefix <= of);
        let rest = self.sorted.get(from..).unwrap_or_default();
        let until = rest.partition_point(|(prefix, _)| of.contains(prefix));
        Some(Owner {
            customer: self.customers.get(index)?,
            prefix,
            // Whoever of them is of no service, or of another, is filtered as well.
            service: None,
            client_udp: true,
            assets: around.map_or(&[][..], Vec::as_slice),
            inside: rest.get(..until).unwrap_or_default(),
            index,
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

impl<'a> Owner<'a> {
    /// Every service that runs at the address, the one of the most exact asset first.
    pub(super) fn services(&self) -> impl Iterator<Item = &'a Service> + use<'a> {
        let (customer, index) = (self.customer, self.index);
        let inside = self.inside.iter().map(|(_, asset)| asset);
        self.assets
            .iter()
            .chain(inside)
            .filter(move |asset| asset.customer == index)
            .filter_map(|asset| customer.services.get(asset.service))
    }

    /// Ports of the services that run there, for any of these protocols.
    pub(super) fn allowed(&self, protocols: &Set<u8>) -> Ranges {
        self.services()
            .flat_map(|service| protocols.iter().map(|number| service.allowed(*number)))
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
