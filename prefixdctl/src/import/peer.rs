//! A neighbour or a peer group of GoBGP.

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
    pub(super) families: Option<Vec<&'static str>>,
}

/// Families that prefixd announces, by their names in GoBGP, which are the names in prefixd.
const FAMILIES: [&str; 2] = ["ipv4-flowspec", "ipv6-flowspec"];

const UNICAST: &str = "prefixd announces FlowSpec alone; blackhole routes (RTBH) are not built yet";
const OTHER_FAMILY: &str = "prefixd announces IPv4 and IPv6 FlowSpec of the global table alone";

impl Peer {
    /// Takes what has an equivalent out of the section. `listens`: whether this speaker takes connections at all.
    pub(super) fn read(
        section: &mut Section,
        listens: bool,
        findings: &mut Findings,
    ) -> Result<Self, String> {
        let mut peer = Self::default();
        let mut config = section.table("config")?;
        peer.peer_as = config.take("peer-as")?.filter(|asn| *asn != 0);
        peer.description = config.take("description")?;
        peer.admin_down = config.take("admin-down")?;
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
        if peer.passive == Some(true) && !listens {
            peer.passive = Some(false);
            config.put_back("passive-mode", true);
        }
        peer.local_address = config
            .take::<IpAddr>("local-address")?
            .filter(|address| !address.is_unspecified());
        peer.remote_port = port(&mut config)?;
        config.report(findings);
        transport.report(findings);

        let families = section.tables("afi-safis")?;
        if !families.is_empty() {
            let mut known = Vec::new();
            for family in families {
                known.extend(family_of(family, findings)?);
            }
            known.sort_unstable();
            known.dedup();
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
            families: self.families.or_else(|| group.families.clone()),
        }
    }
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
fn family_of(mut section: Section, findings: &mut Findings) -> Result<Option<&'static str>, String> {
    let outer: Option<String> = section.take("afi-safi-name")?;
    let outer_enabled: Option<bool> = section.take("enabled")?;
    let mut config = section.table("config")?;
    let inner: Option<String> = config.take("afi-safi-name")?;
    let inner_enabled: Option<bool> = config.take("enabled")?;
    let path = config.path().to_owned();
    if inner_enabled.or(outer_enabled) == Some(false) {
        return Ok(None);
    }
    config.report(findings);
    section.report(findings);
    let Some(name) = inner.or(outer) else {
        return Err(format!("{path}.afi-safi-name is missing"));
    };
    if let Some(known) = FAMILIES.iter().find(|known| **known == name) {
        return Ok(Some(known));
    }
    let why = match name.as_str() {
        "ipv4-unicast" | "ipv6-unicast" => UNICAST,
        _ => OTHER_FAMILY,
    };
    findings.missing(&format!("{path}.afi-safi-name"), &name.into(), why);
    Ok(None)
}
