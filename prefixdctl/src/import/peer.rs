//! A neighbour or a peer group of GoBGP.

use super::bgp::Rtbh;
use super::document::{Findings, Section};
use std::net::IpAddr;

/// What a neighbour says, and what its group says for it. Absent is not false: a group may say more.
#[derive(Clone, Debug, Default)]
pub(super) struct Peer {
    pub(super) peer_as: Option<u32>,
    pub(super) description: Option<String>,
    pub(super) admin_down: Option<bool>,
    pub(super) passive: Option<bool>,
    pub(super) local_address: Option<IpAddr>,
    pub(super) remote_port: Option<u16>,
    pub(super) hold_time: Option<u16>,
    /// There is a key. The key itself goes nowhere.
    pub(super) has_key: bool,
    pub(super) ttl_security: Option<bool>,
    pub(super) restart: Option<Restart>,
    pub(super) families: Option<Vec<Family>>,
}

/// What it says about graceful restart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Restart {
    pub(super) enabled: bool,
    /// It keeps the routes of others, and asks nobody to keep its own.
    helper_only: bool,
    pub(super) time: Option<u16>,
}

/// A family that prefixd announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Family {
    pub(super) name: &'static str,
    /// Graceful restart is asked for.
    restart: bool,
}

/// Families that prefixd announces, by their names in GoBGP, which are the names in prefixd.
const FAMILIES: [&str; 2] = ["ipv4-flowspec", "ipv6-flowspec"];

const UNICAST: &str = "prefixd announces nothing but blackhole routes in it. If that is what it was for, say where the routers discard with --rtbh-next-hop and --rtbh-next-hop-v6, or add it to afi_safi with rtbh of the neighbour (docs/configuration.md)";
const OTHER_FAMILY: &str = "prefixd announces IPv4 and IPv6 FlowSpec of the global table alone";

/// What this speaker can do for neighbours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Takes {
    /// Whether it takes connections at all.
    pub(super) listens: bool,
    /// Where its routers discard.
    pub(super) rtbh: Rtbh,
}

impl Peer {
    /// Takes what has an equivalent out of the section.
    pub(super) fn read(section: &mut Section, takes: Takes, findings: &mut Findings) -> Result<Self, String> {
        let mut peer = Self::default();
        let mut config = section.table("config")?;
        peer.peer_as = config.take("peer-as")?.filter(|asn| *asn != 0);
        peer.description = config.take("description")?;
        peer.admin_down = config.take("admin-down")?;
        if let Some(key) = config
            .take::<String>("auth-password")?
            .filter(|key| !key.is_empty())
        {
            peer.has_key = true;
            config.put_back("auth-password", key);
        }
        if peer.admin_down == Some(true) {
            config.put_back("admin-down", true);
        }
        config.report(findings);

        let mut timers = section.table("timers")?;
        let mut config = timers.table("config")?;
        if let Some(seconds) = config.take::<f64>("hold-time")? {
            // GoBGP takes fractions, the protocol does not: the whole seconds are what it sends.
            if (3.0..=f64::from(u16::MAX)).contains(&seconds) {
                peer.hold_time = Some(seconds as u16);
            } else {
                config.put_back("hold-time", seconds);
            }
        }
        config.report(findings);
        timers.report(findings);

        let mut transport = section.table("transport")?;
        let mut config = transport.table("config")?;
        peer.passive = config.take("passive-mode")?;
        if peer.passive == Some(true) && !takes.listens {
            peer.passive = Some(false);
            config.put_back("passive-mode", true);
        }
        peer.local_address = config
            .take::<IpAddr>("local-address")?
            .filter(|address| !address.is_unspecified());
        peer.remote_port = port(&mut config)?;
        config.report(findings);
        transport.report(findings);

        peer.ttl_security = ttl_security(section, findings)?;
        peer.restart = restart(section, findings)?;
        let families = section.tables("afi-safis")?;
        if !families.is_empty() {
            let mut known = Vec::new();
            for family in families {
                known.extend(family_of(family, takes.rtbh, findings)?);
            }
            known.sort_unstable_by_key(|family: &Family| (family.name, !family.restart));
            known.dedup_by_key(|family| family.name);
            peer.families = Some(known);
        }
        Ok(peer)
    }

    /// What the group says where the neighbour says nothing. GoBGP lets the group's AS win.
    pub(super) fn in_group(self, group: &Self) -> Self {
        Self {
            peer_as: group.peer_as.or(self.peer_as),
            description: self.description,
            admin_down: self.admin_down.or(group.admin_down),
            passive: self.passive.or(group.passive),
            local_address: self.local_address.or(group.local_address),
            remote_port: self.remote_port.or(group.remote_port),
            hold_time: self.hold_time.or(group.hold_time),
            has_key: self.has_key || group.has_key,
            ttl_security: self.ttl_security.or(group.ttl_security),
            restart: self.restart.or(group.restart),
            families: self.families.or_else(|| group.families.clone()),
        }
    }

    /// Whether it asks routers to keep the rules while it is away: for itself and for a family.
    pub(super) fn asks_to_keep(&self) -> bool {
        let asks = |restart: Restart| restart.enabled && !restart.helper_only;
        let families = self.families.iter().flatten();
        self.restart.is_some_and(asks) && families.into_iter().any(|family| family.restart)
    }

    /// Some families are to be kept and others not.
    pub(super) fn keeps_some(&self) -> bool {
        self.asks_to_keep() && !self.families.iter().flatten().all(|family| family.restart)
    }
}

/// Only what is directly connected has an equivalent.
fn ttl_security(section: &mut Section, findings: &mut Findings) -> Result<Option<bool>, String> {
    const DIRECTLY_CONNECTED: i64 = 255;
    let mut whole = section.table("ttl-security")?;
    let mut config = whole.table("config")?;
    let enabled = config.take::<bool>("enabled")?;
    let least = config.take::<i64>("ttl-min")?;
    let same = enabled == Some(true) && least == Some(DIRECTLY_CONNECTED);
    if enabled == Some(true) && !same {
        config.put_back("enabled", true);
        if let Some(least) = least {
            config.put_back("ttl-min", least);
        }
    }
    config.report(findings);
    whole.report(findings);
    Ok(enabled.map(|_| same))
}

fn restart(section: &mut Section, findings: &mut Findings) -> Result<Option<Restart>, String> {
    let mut whole = section.table("graceful-restart")?;
    let mut config = whole.table("config")?;
    let enabled = config.take::<bool>("enabled")?;
    if enabled != Some(true) {
        return Ok(enabled.map(|enabled| Restart {
            enabled,
            helper_only: false,
            time: None,
        }));
    }
    let helper_only = config.take::<bool>("helper-only")? == Some(true);
    if helper_only {
        config.put_back("helper-only", true);
    }
    let time = match config.take::<i64>("restart-time")? {
        None | Some(0) => None,
        Some(seconds) => Some(u16::try_from(seconds).map_err(|_| {
            format!(
                "{}.restart-time is {seconds}, which is no number of seconds",
                config.path()
            )
        })?),
    };
    config.report(findings);
    whole.report(findings);
    Ok(Some(Restart {
        enabled: true,
        helper_only,
        time,
    }))
}

fn port(config: &mut Section) -> Result<Option<u16>, String> {
    match config.take::<i64>("remote-port")? {
        None | Some(0) => Ok(None),
        Some(port) => u16::try_from(port)
            .map(Some)
            .map_err(|_| format!("{}.remote-port is {port}, which is no port", config.path())),
    }
}

/// The family, if prefixd announces it. The name stands in `config`, in older files beside it.
fn family_of(mut section: Section, rtbh: Rtbh, findings: &mut Findings) -> Result<Option<Family>, String> {
    let outer: Option<String> = section.take("afi-safi-name")?;
    let outer_enabled: Option<bool> = section.take("enabled")?;
    let mut config = section.table("config")?;
    let inner: Option<String> = config.take("afi-safi-name")?;
    let inner_enabled: Option<bool> = config.take("enabled")?;
    let path = config.path().to_owned();
    if inner_enabled.or(outer_enabled) == Some(false) {
        return Ok(None);
    }
    let mut whole = section.table("mp-graceful-restart")?;
    let mut restart = whole.table("config")?;
    let keeps = restart.take::<bool>("enabled")? == Some(true);
    restart.report(findings);
    whole.report(findings);
    config.report(findings);
    section.report(findings);
    let Some(name) = inner.or(outer) else {
        return Err(format!("{path}.afi-safi-name is missing"));
    };
    let flowspec = FAMILIES.iter().copied().find(|known| *known == name);
    if let Some(known) = flowspec.or(rtbh.family(&name)) {
        return Ok(Some(Family {
            name: known,
            restart: keeps,
        }));
    }
    let why = match name.as_str() {
        "ipv4-unicast" | "ipv6-unicast" => UNICAST,
        _ => OTHER_FAMILY,
    };
    findings.missing(&format!("{path}.afi-safi-name"), &name.into(), why);
    Ok(None)
}
