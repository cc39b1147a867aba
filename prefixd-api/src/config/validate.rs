//! What a document cannot say by its types alone.

mod canary;
mod carpet;
mod role;
mod rtbh;
mod sources;

use super::inventory::{Asset, Customer, Inventory, PolicyProfile};
use super::playbooks::{OnAllowedPort, PlaybookMatch, Playbooks, Protocol, Step as PlaybookStep, Vector};
use super::settings::{AuthMode, Guardrails, Http, Neighbor, NeighborLimits, ProtectedFlow, Rtbh, Settings};
use crate::event::MAX_BATCH;
use crate::prefix;
use crate::resource::Mode;
use crate::rule::{Action, ActionError, ActionType, Match, Ranges, protocol, shape};
use ipnet::IpNet;
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

/// One part of a key's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

/// A path as people write it: `playbooks[0].steps[1].ttl_seconds`.
pub(super) fn written(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Key(key) if text.is_empty() => text.push_str(key),
            Step::Key(key) => text.push_str(&format!(".{key}")),
            Step::Index(index) => text.push_str(&format!("[{index}]")),
        }
    }
    text
}

/// What was found in one document.
#[derive(Default)]
pub(super) struct Report {
    path: Vec<Step>,
    pub(super) errors: Vec<(Vec<Step>, String)>,
    pub(super) warnings: Vec<(Vec<Step>, String)>,
}

impl Report {
    fn at(&mut self, path: &str, judge: impl FnOnce(&mut Self)) {
        let depth = self.path.len();
        self.path
            .extend(path.split('.').map(|key| Step::Key(key.to_owned())));
        judge(self);
        self.path.truncate(depth);
    }

    fn each<'a, T>(&mut self, path: &str, items: &'a [T], mut judge: impl FnMut(&mut Self, &'a T)) {
        self.at(path, |report| {
            for (index, item) in items.iter().enumerate() {
                report.path.push(Step::Index(index));
                judge(report, item);
                report.path.pop();
            }
        });
    }

    fn error(&mut self, message: impl Into<String>) {
        self.errors.push((self.path.clone(), message.into()));
    }

    fn require(&mut self, path: &str, holds: bool, message: impl Into<String>) {
        if !holds {
            self.at(path, |report| report.error(message));
        }
    }

    fn warn(&mut self, path: &str, message: impl Into<String>) {
        self.at(path, |report| {
            report.warnings.push((report.path.clone(), message.into()));
        });
    }
}

/// Names that are written into routes, metrics and files.
fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 64
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

const NAME: &str = "must be 1 to 64 letters, digits, dots, dashes or underscores";

/// What is sent to a next hop of blackhole routes is thrown away: it must be nobody's.
pub(super) fn next_hops(settings: &Settings, inventory: &Inventory, report: &mut Report) {
    report.each("bgp.neighbors", &settings.bgp.neighbors, |report, neighbor| {
        for next_hop in neighbor.rtbh.iter().flat_map(Rtbh::next_hops) {
            let host = IpNet::from(next_hop);
            let owner = inventory
                .customers
                .iter()
                .find(|customer| customer.prefixes.iter().any(|prefix| prefix.contains(&host)));
            if let Some(owner) = owner {
                report.require(
                    "rtbh",
                    false,
                    format!(
                        "discards at {next_hop}, an address of customer {}: the attack would go there",
                        owner.customer_id
                    ),
                );
            }
        }
    });
}

pub(super) fn settings(settings: &Settings, report: &mut Report) {
    report.require("pop", is_name(&settings.pop), NAME);
    report.at("http", |report| http(&settings.http, report));
    report.at("bgp", |report| bgp(settings, report));
    sources::check(settings, report);
    if settings.shutdown.preserve_announcements
        && !settings
            .bgp
            .neighbors
            .iter()
            .any(|neighbor| neighbor.graceful_restart)
    {
        report.warn(
            "shutdown.preserve_announcements",
            "is true, but no neighbour has graceful_restart: every stop takes all rules",
        );
    }
    report.at("guardrails", |report| guardrails(&settings.guardrails, report));
    report.at("breaker", |report| {
        let breaker = &settings.breaker;
        report.require(
            "neighbors_lost",
            (2..=64).contains(&breaker.neighbors_lost),
            "must be 2 to 64: one neighbour alone is what quarantine is for",
        );
        report.require(
            "window_seconds",
            (1..=3600).contains(&breaker.window_seconds),
            "must be 1 to 3600",
        );
    });
    report.at("timers", |report| {
        let (timers, bounds) = (&settings.timers, &settings.guardrails);
        let ttl = timers.default_ttl_seconds;
        report.require(
            "default_ttl_seconds",
            (bounds.min_ttl_seconds..=bounds.max_ttl_seconds).contains(&ttl),
            format!(
                "is outside of the guardrails' {} to {} s",
                bounds.min_ttl_seconds, bounds.max_ttl_seconds
            ),
        );
        report.require(
            "reconciliation_interval_seconds",
            timers.reconciliation_interval_seconds > 0,
            "must not be 0",
        );
        report.require(
            "suppress_seconds",
            timers.suppress_seconds <= 86_400,
            "must be at most 86400 (a day)",
        );
        report.require(
            "hold_down_seconds",
            timers.hold_down_seconds <= 3600,
            "must be at most 3600 (an hour)",
        );
        report.require(
            "max_event_age_seconds",
            timers.max_event_age_seconds <= 86_400,
            "must be at most 86400: older events are refused anyway",
        );
    });
    report.require(
        "escalation.min_confidence",
        (0.0..=1.0).contains(&settings.escalation.min_confidence),
        "must be between 0 and 1",
    );
    let storage = &settings.storage.connection_string;
    let known = ["sqlite:", "postgres://", "postgresql://"]
        .iter()
        .any(|scheme| storage.starts_with(scheme));
    report.require(
        "storage.connection_string",
        known,
        "must begin with sqlite: or postgres://",
    );
    report.require(
        "storage.connection_string",
        storage.trim_end_matches('/') != "sqlite:",
        "names no file; write it as sqlite:/var/lib/prefixd/prefixd.db",
    );
    report.require(
        "storage.max_connections",
        settings.storage.max_connections >= 2,
        "must be at least 2",
    );
    report.require(
        "storage.retention_days",
        settings.storage.retention_days > 0,
        "must not be 0: nothing could be explained",
    );
    addresses(settings, report);
    report.at("safelist", |report| {
        report.each("prefixes", &settings.safelist.prefixes, protected_prefix);
    });
}

/// Two listeners cannot share an address; the second would refuse the start.
fn addresses(settings: &Settings, report: &mut Report) {
    let mut taken: Vec<(SocketAddr, &str)> = Vec::new();
    let mut listens = |key: &'static str, address: SocketAddr, report: &mut Report| {
        report.require(
            key,
            address.port() != 0,
            format!("{address} has no port: nobody could know where to connect"),
        );
        let shared = taken.iter().find(|(other, _)| {
            let wild = other.ip().is_unspecified() || address.ip().is_unspecified();
            other.port() == address.port()
                && (other.ip() == address.ip() || (wild && other.is_ipv4() == address.is_ipv4()))
        });
        if let Some((other, by)) = shared {
            report.require(key, false, format!("{address} is taken by {by} ({other})"));
        }
        taken.push((address, key));
    };
    for address in &settings.http.listen {
        listens("http.listen", *address, report);
    }
    if let Some(address) = settings.observability.metrics_listen {
        listens("observability.metrics_listen", address, report);
    }
    for address in settings.bgp.listen.iter().flatten() {
        listens("bgp.listen", *address, report);
    }
}

fn http(http: &Http, report: &mut Report) {
    let open = http.listen.iter().any(|address| !address.ip().is_loopback());
    let without = http.auth.mode == AuthMode::None;
    report.require("auth.mode", !(open && without), "none lets everybody be admin, and http.listen has an address that is not loopback: use bearer, or listen on 127.0.0.1");
    if open {
        report.warn(
            "listen",
            "tokens and answers cross the network in clear text: put a TLS proxy in front",
        );
    }
    report.require(
        "listen",
        !http.listen.is_empty() || http.socket.is_some(),
        "is empty and there is no socket: nobody could reach prefixd",
    );
    let tokens = &http.auth.bearer_tokens;
    report.require(
        "auth.bearer_tokens",
        without || !tokens.is_empty(),
        "is empty: nobody could come in over TCP",
    );
    let mut names = HashSet::new();
    report.each("auth.bearer_tokens", tokens, |report, token| {
        report.require("name", is_name(&token.name), NAME);
        report.require(
            "name",
            names.insert(token.name.clone()),
            format!("{:?} is there twice", token.name),
        );
        report.require(
            "name",
            token.env.is_some() != token.file.is_some(),
            "needs env or file (one of them) to say where the token is",
        );
    });
    report.require(
        "rate_limit.events_per_second",
        http.rate_limit.events_per_second > 0,
        "must not be 0",
    );
    report.require("rate_limit.burst", http.rate_limit.burst > 0, "must not be 0");
    if (1..MAX_BATCH).contains(&(http.rate_limit.burst as usize)) {
        report.warn(
            "rate_limit.burst",
            format!("is below {MAX_BATCH}: larger batches of events are refused"),
        );
    }
    if let Some(socket) = &http.socket {
        let others = socket.viewer_group.is_some() || socket.admin_group.is_some();
        if others && socket.mode.0 & 0o002 == 0 {
            report.warn(
                "socket.mode",
                "lets only operator_group connect: who is in viewer_group or admin_group alone cannot. With \"0666\" everybody can connect, and the groups say who may do what",
            );
        }
    }
}

fn bgp(settings: &Settings, report: &mut Report) {
    let bgp = &settings.bgp;
    report.require("local_asn", bgp.local_asn != 0, "must not be 0");
    report.require(
        "router_id",
        !bgp.router_id.is_unspecified(),
        "must not be 0.0.0.0",
    );
    report.require(
        "hold_time_seconds",
        bgp.hold_time_seconds >= 3,
        "must be at least 3: without it a neighbour lost in silence keeps its rules for ever",
    );
    if bgp.hold_time_seconds > 90 {
        report.warn(
            "hold_time_seconds",
            "is more than 90: a neighbour lost in silence keeps its rules for so long, and refuses us for so long after a crash",
        );
    }
    report.require(
        "restart_time_seconds",
        (1..=120).contains(&bgp.restart_time_seconds),
        "must be 1 to 120: rules can outlive their lease by it",
    );
    canary::check(bgp, report);
    role::check(bgp, report);
    match &bgp.marker_large_community {
        Some(marker) => {
            let parts: Vec<&str> = marker.split(':').collect();
            let valid = parts.len() == 3 && parts.iter().all(|part| part.parse::<u32>().is_ok());
            report.require("marker_large_community", valid, format!("{marker:?} is no large community such as 65010:8955:1"));
        }
        None if settings.mode == Mode::Enforced => report.error(
            "marker_large_community is missing; mode enforced needs it, so that routers can accept the routes of prefixd alone",
        ),
        None => {}
    }
    if bgp.neighbors.is_empty() {
        report.warn("neighbors", "is empty: nothing will be announced");
    }
    let listens = bgp.listen.as_ref().is_some_and(|addresses| !addresses.is_empty());
    let mut names = HashSet::new();
    let mut addresses = HashSet::new();
    report.each("neighbors", &bgp.neighbors, |report, neighbor| {
        report.require("name", is_name(&neighbor.name), NAME);
        report.require(
            "name",
            names.insert(neighbor.name.clone()),
            format!("{:?} is there twice", neighbor.name),
        );
        report.require(
            "address",
            addresses.insert(neighbor.address.to_canonical()),
            format!("{} is another neighbour's address too", neighbor.address),
        );
        let ip = neighbor.address;
        let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
        report.require(
            "address",
            !(ip.is_unspecified() || ip.is_multicast() || broadcast),
            format!("{ip} is no address of a router"),
        );
        report.require("port", neighbor.port != 0, "must not be 0");
        report.require("peer_asn", neighbor.peer_asn != 0, "must not be 0");
        report.require(
            "afi_safi",
            !neighbor.afi_safi.is_empty(),
            "is empty; add ipv4-flowspec, ipv6-flowspec or both",
        );
        report.require(
            "max_rules",
            neighbor.max_rules != 0,
            "must not be 0; use enforce: false to send it nothing",
        );
        limits(neighbor, report);
        report.require(
            "passive",
            listens || !neighbor.passive,
            "is true, but bgp.listen is null: no session could ever begin",
        );
        if let Some(measured) = neighbor
            .profile
            .measured_restart()
            .filter(|measured| !measured.kept)
            && neighbor.graceful_restart
        {
            report.warn(
                "graceful_restart",
                format!(
                    "is true, but {} was measured to drop FlowSpec rules all the same",
                    measured.by
                ),
            );
        }
        if let Some(local) = neighbor.local_address {
            report.require(
                "local_address",
                local.is_ipv4() == neighbor.address.is_ipv4(),
                "and address are of different families",
            );
        }
    });
}

/// What is raised above a profile may cost the session, and with it every rule: that is for a person to want.
fn limits(neighbor: &Neighbor, report: &mut Report) {
    let (given, profile) = (&neighbor.limits, neighbor.profile);
    let bounds = [
        (
            "limits.operators_per_component",
            given.operators_per_component,
            NeighborLimits::MAX_OPERATORS,
            "no component needs more",
        ),
        (
            "limits.nlri_bytes",
            given.nlri_bytes,
            NeighborLimits::MAX_NLRI_BYTES,
            "a longer rule does not fit into one UPDATE",
        ),
    ];
    for (key, value, max, because) in bounds {
        let fits = value.is_none_or(|value| (1..=max).contains(&value));
        report.require(key, fits, format!("must be 1 to {max}: {because}"));
    }
    let (least, most) = (NeighborLimits::MIN_UPDATE_BYTES, NeighborLimits::MAX_UPDATE_BYTES);
    report.require(
        "limits.update_bytes",
        given
            .update_bytes
            .is_none_or(|given| (least..=most).contains(&given)),
        format!("must be {least} to {most}: attributes and a rule need room, and no BGP message is longer"),
    );
    report.require(
        "limits.rules_per_second",
        given.rules_per_second != Some(0),
        "must not be 0; use enforce: false to send it nothing",
    );
    let terms = profile.operators_per_component();
    if given.operators_per_component.is_some_and(|given| given > terms) {
        report.warn(
            "limits.operators_per_component",
            format!("is above what is known of profile {profile} ({terms}): FRR 8.4 was measured to reset the session above 5, and then every rule is gone. Try it on this router first"),
        );
    }
    let bytes = profile.nlri_bytes();
    if given.nlri_bytes.is_some_and(|given| given > bytes) {
        report.warn(
            "limits.nlri_bytes",
            format!("is above {bytes}: from 240 bytes on FRR and ExaBGP were measured to reset the session, and GoBGP to ignore the rule in silence. Try it on this router first"),
        );
    }
    if let (Some(given), Some(pace)) = (given.rules_per_second, profile.rules_per_second())
        && given > pace
    {
        report.warn(
            "limits.rules_per_second",
            format!("is above the {pace} of profile {profile}: a router that programs more slowly than it is told falls behind"),
        );
    }
}

fn guardrails(guardrails: &Guardrails, report: &mut Report) {
    report.at("carpet", |report| carpet::carpet(&guardrails.carpet, report));
    let (min, max) = (guardrails.min_ttl_seconds, guardrails.max_ttl_seconds);
    report.require("min_ttl_seconds", min > 0, "must not be 0");
    report.require("max_ttl_seconds", max >= min, "is below min_ttl_seconds");
    report.require(
        "max_ttl_operator_seconds",
        guardrails.max_ttl_operator_seconds >= min,
        "is below min_ttl_seconds",
    );
    report.require(
        "max_lifetime_seconds",
        guardrails.max_lifetime_seconds >= max,
        "is below max_ttl_seconds",
    );
    report.require(
        "max_lifetime_operator_seconds",
        guardrails.max_lifetime_operator_seconds >= guardrails.max_ttl_operator_seconds,
        "is below max_ttl_operator_seconds",
    );
    carpet::prefix_lengths(guardrails, report);
    report.require(
        "max_ports",
        (1..=64).contains(&guardrails.max_ports),
        "must be 1 to 64",
    );
    report.require(
        "max_packet_length",
        guardrails.max_packet_length <= 9216,
        "must be at most 9216: longer matches once crashed edge routers",
    );
    report.require(
        "min_police_bps",
        guardrails.min_police_bps.0 > 0,
        "must not be 0: it would mean discard",
    );
    if guardrails.infrastructure_prefixes.is_empty() {
        report.warn(
            "infrastructure_prefixes",
            "is empty: list your loopbacks and link networks, so that no rule ever touches them",
        );
    }
    report.each(
        "infrastructure_prefixes",
        &guardrails.infrastructure_prefixes,
        protected_prefix,
    );
    report.each("protected_flows", &guardrails.protected_flows, protected_flow);
}

/// One that says nothing would protect everything; ports are those of TCP and UDP.
fn protected_flow(report: &mut Report, flow: &ProtectedFlow) {
    use crate::rule::protocol::{TCP, UDP};
    report.require("name", is_name(&flow.name), NAME);
    for (key, prefix) in [("dst", &flow.dst), ("src", &flow.src)] {
        if let Some(prefix) = prefix {
            report.at(key, |report| host_bits(report, prefix));
        }
    }
    if let (Some(dst), Some(src)) = (flow.dst, flow.src) {
        report.require(
            "src",
            dst.addr().is_ipv4() == src.addr().is_ipv4(),
            "is of the other family than dst: no packet is of both",
        );
    }
    let has_ports = !flow.dst_ports.is_empty() || !flow.src_ports.is_empty();
    let may_have = matches!(flow.protocol, None | Some(Protocol::Number(TCP | UDP)));
    report.require(
        "protocol",
        !has_ports || may_have,
        "has no ports: only tcp and udp do",
    );
    let narrows = |prefix: Option<IpNet>| prefix.is_some_and(|prefix| prefix.prefix_len() > 0);
    if !narrows(flow.dst) && !narrows(flow.src) && flow.protocol.is_none() && !has_ports {
        report.error(
            "says nothing that narrows it, so that nothing could be filtered; use mode: dry-run for that",
        );
    }
}

fn protected_prefix(report: &mut Report, prefix: &IpNet) {
    if prefix.prefix_len() == 0 {
        report.error(
            "0 bits would protect everything, so that nothing could be filtered; use mode: dry-run for that",
        );
    }
    if prefix.prefix_len() > 0 && prefix::covers_mapped(prefix) {
        report.error(format!("{prefix} {}", prefix::COVERS_MAPPED));
    }
    host_bits(report, prefix);
}

fn host_bits(report: &mut Report, prefix: &IpNet) {
    if prefix.trunc() != *prefix {
        report.error(format!(
            "{prefix} has host bits set; did you mean {}?",
            prefix.trunc()
        ));
    }
}

pub(super) fn inventory(inventory: &Inventory, report: &mut Report) {
    let mut ids = HashSet::new();
    let mut owners: HashMap<IpNet, &str> = HashMap::new();
    report.each("customers", &inventory.customers, |report, customer| {
        report.require("customer_id", is_name(&customer.customer_id), NAME);
        report.require(
            "customer_id",
            ids.insert(&customer.customer_id),
            format!("{:?} is there twice", customer.customer_id),
        );
        report.each("prefixes", &customer.prefixes, |report, prefix| {
            host_bits(report, prefix);
            if prefix.prefix_len() == 0 {
                report.error("everything cannot belong to one customer");
            }
            if let Some(owner) = owners.insert(prefix.trunc(), &customer.customer_id) {
                report.error(format!("{prefix} belongs to {owner} already"));
            }
        });
        report.require(
            "link_bps",
            customer.link_bps.is_none_or(|link| link.0 > 0),
            "must not be 0",
        );
        services(customer, report);
    });
}

fn services(customer: &Customer, report: &mut Report) {
    let mut ids = HashSet::new();
    report.each("services", &customer.services, |report, service| {
        report.require("service_id", is_name(&service.service_id), NAME);
        report.require(
            "service_id",
            ids.insert(&service.service_id),
            format!("{:?} is there twice", service.service_id),
        );
        report.each("assets", &service.assets, |report, asset| {
            asset_is_owned(asset, customer, report);
        });
    });
}

fn asset_is_owned(asset: &Asset, customer: &Customer, report: &mut Report) {
    let last = asset.range_end.unwrap_or(asset.ip);
    report.require(
        "range_end",
        asset.ip.is_ipv4() == last.is_ipv4() && asset.ip <= last,
        "must be an address of the same family, not before ip",
    );
    let inside = |address: IpAddr| customer.prefixes.iter().any(|prefix| prefix.contains(&address));
    let one_prefix = customer
        .prefixes
        .iter()
        .any(|prefix| prefix.contains(&asset.ip) && prefix.contains(&last));
    if !inside(asset.ip) {
        report.at("ip", |report| {
            report.error(format!(
                "{} is in no prefix of {}",
                asset.ip, customer.customer_id
            ));
        });
    } else if !one_prefix {
        report.at("range_end", |report| {
            report.error(format!("{last} leaves the prefix that {} is in", asset.ip));
        });
    }
}

/// Vectors of the built-in templates that may never be discarded: they would match established or unknown traffic.
const NEVER_DISCARDED: [&str; 2] = ["unknown", "ack_flood"];

/// Vectors that have a template of their own (docs/configuration.md).
const BUILT_IN: [&str; 14] = [
    "udp_flood",
    "syn_flood",
    "ack_flood",
    "icmp_flood",
    "fragment_flood",
    "gre_flood",
    "dns_amplification",
    "ntp_amplification",
    "memcached_amplification",
    "chargen_amplification",
    "ssdp_amplification",
    "cldap_amplification",
    "snmp_amplification",
    // Its discard is refused in its own words.
    "unknown",
];

pub(super) fn playbooks(playbooks: &Playbooks, settings: &Settings, report: &mut Report) {
    for (name, vector) in &playbooks.vectors {
        report.at("vectors", |report| {
            report.path.push(Step::Key(name.clone()));
            if !is_name(name) {
                report.error(NAME);
            }
            template(vector, settings, report);
            report.path.pop();
        });
    }
    let mut names = HashSet::new();
    report.each("playbooks", &playbooks.playbooks, |report, playbook| {
        report.require("name", is_name(&playbook.name), NAME);
        report.require(
            "name",
            names.insert(&playbook.name),
            format!("{:?} is there twice", playbook.name),
        );
        let vector = playbook.matches.vector.as_deref();
        steps(&playbook.steps, vector, settings, report);
        rtbh::steps(&playbook.steps, &playbook.matches, playbooks, settings, report);
    });
    if let Some(default) = &playbooks.default_playbook {
        report.at("default_playbook", |report| {
            steps(&default.steps, None, settings, report);
            let always = PlaybookMatch::default();
            rtbh::steps(&default.steps, &always, playbooks, settings, report);
        });
    }
}

/// A relaxed customer's later steps need twice the evidence: they must be reachable for them, and not come and go.
pub(super) fn relaxed(
    playbooks: &Playbooks,
    inventory: &Inventory,
    settings: &Settings,
    report: &mut Report,
) {
    let relaxed = |wanted: &PlaybookMatch| {
        let mut customers = inventory.customers.iter();
        let profile = wanted
            .profile
            .is_none_or(|profile| profile == PolicyProfile::Relaxed);
        let found = customers.find(|customer| {
            customer.policy_profile == PolicyProfile::Relaxed
                && wanted
                    .customer_id
                    .as_ref()
                    .is_none_or(|id| *id == customer.customer_id)
        });
        found.filter(|_| profile && settings.escalation.enabled)
    };
    let judge = |steps: &[PlaybookStep], customer: &Customer, report: &mut Report| {
        let mut before: Option<&PlaybookStep> = None;
        report.each("steps", steps, |report, step| {
            let written = step
                .require_persistence_seconds
                .unwrap_or(settings.escalation.min_persistence_seconds);
            let needs = written.saturating_mul(2);
            let id = &customer.customer_id;
            if let Some(before) = before.replace(step) {
                let ttl = before.ttl_seconds.unwrap_or(settings.timers.default_ttl_seconds);
                report.require("require_persistence_seconds", ttl > needs, format!(
                    "{written} s are {needs} s for {id}, whose policy_profile is relaxed, and the step before ends after {ttl} s: it could never be reached there"
                ));
            }
            let after = step.de_escalate_after_seconds.unwrap_or(u32::MAX);
            report.require("de_escalate_after_seconds", after >= needs, format!(
                "{after} s are less than the {needs} s of evidence that {id} needs, whose policy_profile is relaxed: it would come and go"
            ));
        });
    };
    report.each("playbooks", &playbooks.playbooks, |report, playbook| {
        if let Some(customer) = relaxed(&playbook.matches) {
            judge(&playbook.steps, customer, report);
        }
    });
    if let (Some(default), Some(customer)) = (&playbooks.default_playbook, relaxed(&PlaybookMatch::default()))
    {
        report.at("default_playbook", |report| {
            judge(&default.steps, customer, report);
        });
    }
}

/// A playbook for somebody who is not in the inventory never applies.
pub(super) fn matches(playbooks: &Playbooks, inventory: &Inventory, report: &mut Report) {
    report.each("playbooks", &playbooks.playbooks, |report, playbook| {
        let wanted = &playbook.matches;
        let customers = || {
            inventory
                .customers
                .iter()
                .filter(|customer| wanted.customer_id.as_ref().is_none_or(|id| *id == customer.customer_id))
        };
        let service = |id: &String| {
            customers().any(|customer| customer.services.iter().any(|service| service.service_id == *id))
        };
        match (&wanted.customer_id, &wanted.service_id) {
            (Some(id), _) if customers().next().is_none() => report.warn(
                "match.customer_id",
                format!("{id:?} is no customer of inventory.yaml: this playbook never applies"),
            ),
            (_, Some(id)) if !service(id) => report.warn(
                "match.service_id",
                format!("{id:?} is no service of inventory.yaml there: this playbook never applies"),
            ),
            _ => {}
        }
        let known = |vector: &String| BUILT_IN.contains(&vector.as_str()) || playbooks.vectors.contains_key(vector);
        if let Some(vector) = wanted.vector.as_ref().filter(|vector| !known(vector) && *vector != "manual") {
            report.each("steps", &playbook.steps, |report, step| {
                report.require("action", step.action != ActionType::Discard, format!("discard is never allowed for {vector:?}, which is neither built in nor in vectors: such traffic is policed as unknown. Describe it in vectors, or use police"));
            });
        }
    });
}

fn template(vector: &Vector, settings: &Settings, report: &mut Report) {
    let longest = vector
        .packet_lengths
        .as_slice()
        .last()
        .map_or(0, |range| range.last);
    let bound = settings.guardrails.max_packet_length;
    report.require(
        "packet_lengths",
        longest <= bound || longest == u16::MAX,
        format!("reach {longest}, beyond max_packet_length {bound}"),
    );
    let [v4, v6] = samples(vector);
    // Destination ports beyond it are split or widened; the others have nothing to be widened by.
    let terms = usize::try_from(settings.guardrails.max_ports).unwrap_or(usize::MAX);
    let too_many = |operators: usize| {
        format!("costs {operators} terms (a closed range two), and guardrails.max_ports is {terms}")
    };
    for (key, numbers) in [
        ("ports", &vector.ports),
        ("dst_ports", &vector.dst_ports),
        ("src_ports", &vector.src_ports),
        ("packet_lengths", &vector.packet_lengths),
    ] {
        report.require(
            key,
            !numbers.is_everything(),
            "holds every number and so says nothing; leave it out",
        );
        let operators = numbers.operators();
        report.require(key, operators <= terms || key == "dst_ports", too_many(operators));
    }
    let others = Match {
        ports: Ranges::default(),
        dst_ports: Ranges::default(),
        src_ports: Ranges::default(),
        packet_lengths: Ranges::default(),
        ..v4.clone()
    };
    if shape::says_nothing(&others) {
        report.error("a component holds every value and so says nothing; leave it out");
    }
    let operators = others.terms();
    if operators > terms {
        report.error(format!("a component {}", too_many(operators)));
    }
    report.require("max_action", !(shape::is_bare(&v4) && vector.max_action == ActionType::Discard), "discard with only a destination and a protocol drops all of it; add ports, lengths, flags, fragment or a source, or use police");
    report.require(
        "max_action",
        !(vector.max_action == ActionType::Discard
            && (shape::is_vital_icmp(&v4) || shape::is_vital_icmp(&v6))),
        "these ICMP types carry path MTU or neighbour discovery and are never discarded; use police",
    );
    report.require(
        "max_action",
        vector.max_action >= ActionType::Police,
        "must be police or more: what is capped is policed",
    );
    let icmp = vector.protocol == super::playbooks::Protocol::Icmp;
    report.require(
        "protocol",
        !(icmp && v4.has_ports()),
        "icmp has no ports: the rule could never match",
    );
    if let (Some(because), Some(_)) = (shape::never_matches(&v4), shape::never_matches(&v6)) {
        report.at("protocol", |report| report.error(because));
    }
}

/// What the template matches of a victim of each family.
fn samples(vector: &Vector) -> [Match; 2] {
    use super::playbooks::Protocol;
    [
        (IpAddr::from([192, 0, 2, 1]), protocol::ICMP),
        (IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]), protocol::ICMPV6),
    ]
    .map(|(victim, icmp)| Match {
        src_prefix: vector.src_prefix.map(Box::new),
        protocols: [match vector.protocol {
            Protocol::Icmp => icmp,
            Protocol::Number(number) => number,
        }]
        .into(),
        ports: vector.ports.clone(),
        dst_ports: vector.dst_ports.clone(),
        src_ports: vector.src_ports.clone(),
        icmp_types: vector.icmp_types.clone(),
        icmp_codes: vector.icmp_codes.clone(),
        tcp_flags: vector.tcp_flags.clone(),
        packet_lengths: vector.packet_lengths.clone(),
        dscp: vector.dscp.clone(),
        fragment: vector.fragment.clone(),
        flow_labels: vector.flow_labels.clone(),
        ..Match::destination(victim.into())
    })
}

/// A step that is given up sooner than it is taken, or for want of evidence that is late and not gone, would come and go
/// for as long as the attack lasts.
fn de_escalation(
    step: &PlaybookStep,
    before: Option<&PlaybookStep>,
    settings: &Settings,
    report: &mut Report,
) {
    let Some(after) = step.de_escalate_after_seconds else {
        return;
    };
    let Some(before) = before else {
        report.error("there is no step before the first");
        return;
    };
    if before.action > step.action {
        report.error(format!(
            "the step before it does {}, which is stricter than {}",
            before.action, step.action
        ));
    }
    let persistence = step
        .require_persistence_seconds
        .unwrap_or(settings.escalation.min_persistence_seconds);
    if after < persistence {
        report.error(format!(
            "{after} s are less than the {persistence} s of evidence that lead to this step: it would come and go"
        ));
    }
    let quiet = settings.timers.quiet_period_seconds;
    if after < quiet {
        report.error(format!(
            "{after} s are less than timers.quiet_period_seconds ({quiet}): a gap of evidence up to that is none"
        ));
    }
}

fn steps(steps: &[PlaybookStep], vector: Option<&str>, settings: &Settings, report: &mut Report) {
    report.require(
        "steps",
        !steps.is_empty(),
        "is empty; a playbook needs at least one step",
    );
    let limits = &settings.guardrails;
    let ttl_of = |step: &PlaybookStep| step.ttl_seconds.unwrap_or(settings.timers.default_ttl_seconds);
    let mut index = 0;
    report.each("steps", steps, |report, step| {
        match step.full_action() {
            Err(ActionError::Foreign { action, field: field @ "rate_bps" }) => report.require(field, false, format!("belongs to police, not to {action}")),
            Err(error) => report.error(error.to_string()),
            Ok(Action::Police { rate_bps: rate }) => report.require(
                "rate_bps",
                rate >= limits.min_police_bps,
                format!("{rate} is below min_police_bps ({})", limits.min_police_bps),
            ),
            Ok(Action::PolicePackets { rate_pps }) => report.require(
                "rate_pps",
                shape::packets_carry(rate_pps) >= limits.min_police_bps,
                format!("{rate_pps} packets/s of full size carry less than min_police_bps ({})", limits.min_police_bps),
            ),
            Ok(Action::RedirectIp { next_hop, .. }) => if let Some(because) = shape::unusable_next_hop(next_hop) {
                report.require("next_hop", false, because);
            },
            Ok(Action::Discard | Action::RedirectVrf { .. } | Action::Mark { .. }) => {}
            Ok(Action::Rtbh) => {
                report.require("sample", !step.sample, "has no meaning for rtbh: a blackhole route samples nothing");
                let told = settings.bgp.neighbors.iter().any(|neighbor| neighbor.enforce && neighbor.rtbh.is_some());
                if !told {
                    report.warn("action", "is rtbh, but no neighbour has a unicast family and rtbh: nobody would be told");
                }
            }
        }
        if step.action >= ActionType::Discard && vector.is_some_and(|vector| NEVER_DISCARDED.contains(&vector)) {
            report.at("action", |report| report.error(format!("{} is never allowed for {}", step.action, vector.unwrap_or_default())));
        }
        report.require("on_allowed_port", !(step.on_allowed_port == OnAllowedPort::Include && step.action >= ActionType::Discard), format!("include with {} would drop the service itself", step.action));
        report.require("allow_host_wide", !step.allow_host_wide || step.action <= ActionType::Police, "is for police only (or mark): discarding a whole host finishes the attack, and redirecting it does for the network");
        let ttl = ttl_of(step);
        report.require("ttl_seconds", (limits.min_ttl_seconds..=limits.max_ttl_seconds).contains(&ttl), format!("{ttl} is outside of the guardrails' {} to {} s", limits.min_ttl_seconds, limits.max_ttl_seconds));
        let confidence = step.require_confidence_at_least.unwrap_or(0.0);
        report.require("require_confidence_at_least", (0.0..=1.0).contains(&confidence), "must be between 0 and 1");
        let needed = step.require_sources.unwrap_or(1);
        report.require("require_sources", (1..=16).contains(&needed), "must be 1 to 16");
        sources::offered(step, settings, report);
        if let Some(next) = steps.get(index + 1) {
            let persistence = next.require_persistence_seconds.unwrap_or(settings.escalation.min_persistence_seconds);
            let reachable = !settings.escalation.enabled || ttl > persistence;
            report.require("ttl_seconds", reachable, format!("{ttl} s end before the next step may begin after {persistence} s: it could never be reached"));
        }
        report.at("de_escalate_after_seconds", |report| {
            let before = index.checked_sub(1).and_then(|before| steps.get(before));
            de_escalation(step, before, settings, report);
        });
        index += 1;
    });
}
