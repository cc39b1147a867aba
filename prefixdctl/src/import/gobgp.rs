//! What the settings of gobgpd mean for prefixd.

use super::bgp::{Bgp, Neighbor, Rtbh};
use super::document::{Finding, Findings, Section};
use super::peer::{Peer, Takes};
use serde::Serialize;
use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// BGP's port.
const PORT: u16 = 179;
/// What gobgpd offers where nothing is configured.
const GOBGP_HOLD_TIME: u16 = 90;
/// What prefixd offers.
const HOLD_TIME: u16 = 30;
/// The longest that prefixd asks routers to keep rules without it.
const RESTART_TIME: u16 = 120;
/// Longest name of a neighbour.
const MAX_NAME: usize = 64;

/// What became of a configuration.
#[derive(Debug, Serialize)]
pub(super) struct Imported {
    pub(super) bgp: Bgp,
    pub(super) no_equivalent: Vec<Finding>,
    pub(super) not_needed: Vec<Finding>,
    pub(super) notes: Vec<String>,
}

/// A peer group.
struct Group {
    path: String,
    peer: Peer,
    /// What it says that has no equivalent; of no interest while nobody is in it.
    findings: Findings,
}

/// A neighbour that is being taken over.
struct Member {
    path: String,
    address: IpAddr,
    peer: Peer,
}

/// Takes a configuration over.
///
/// # Errors
/// What gobgpd would not start with either, or takes from its API alone.
pub(super) fn import(mut document: Section, rtbh: Rtbh) -> Result<Imported, String> {
    let mut findings = Findings::default();
    let mut notes = Vec::new();
    let global = Global::read(document.table("global")?, &mut findings)?;
    let takes = Takes {
        listens: global.port.is_some(),
        rtbh,
    };

    let mut groups = BTreeMap::new();
    for section in document.tables("peer-groups")? {
        let (name, group) = group(section, takes)?;
        groups.insert(name, group);
    }
    let mut members = Vec::new();
    let mut used = HashSet::new();
    let mut addresses = HashSet::new();
    for section in document.tables("neighbors")? {
        let Some(member) = member(section, takes, &groups, &mut used, &mut findings)? else {
            continue;
        };
        if addresses.insert(member.address.to_canonical()) {
            members.push(member);
        } else {
            let why = "the address is there twice; the first entry was taken over";
            findings.missing(&member.path, &member.address.to_string().into(), why);
        }
    }
    for (name, group) in groups {
        if used.contains(&name) {
            findings.append(group.findings);
        } else {
            findings.missing(
                &group.path,
                &name.into(),
                "no neighbour in the file is in this peer group",
            );
        }
    }
    document.report(&mut findings);

    let hold_time_seconds = hold_time(&members, &mut notes);
    let restart_time_seconds = restart_time(&members, &mut notes);
    let listen = global.listen(&members);
    let neighbors = neighbors(members, rtbh, &mut notes);
    if neighbors.is_empty() {
        notes.push("no neighbour was taken over: prefixd would announce nothing".to_owned());
    }
    notes.push(format!(
        "marker_large_community is new: GoBGP marks nothing. Accept only routes with {}:8955:1 on the routers",
        global.asn
    ));
    Ok(Imported {
        bgp: Bgp {
            local_asn: global.asn,
            router_id: global.router_id,
            listen,
            hold_time_seconds,
            restart_time_seconds,
            marker_large_community: format!("{}:8955:1", global.asn),
            neighbors,
        },
        no_equivalent: findings.no_equivalent,
        not_needed: findings.not_needed,
        notes,
    })
}

struct Global {
    asn: u32,
    router_id: Ipv4Addr,
    /// None: gobgpd does not listen.
    port: Option<u16>,
    addresses: Option<Vec<IpAddr>>,
}

impl Global {
    fn read(mut section: Section, findings: &mut Findings) -> Result<Self, String> {
        let absent = |what: &str| {
            format!(
                "global.config.{what} is missing: prefixd needs it. Add it to the file if gobgpd gets it by its API"
            )
        };
        let mut config = section.table("config")?;
        // Older files have a table of their own for this.
        let mut older = section.table("listen-config")?;
        let asn = config
            .take::<u32>("as")?
            .filter(|asn| *asn != 0)
            .ok_or_else(|| absent("as"))?;
        let router_id = config.take::<Ipv4Addr>("router-id")?;
        let router_id = router_id
            .filter(|id| !id.is_unspecified())
            .ok_or_else(|| absent("router-id"))?;
        let port = match config.take::<i64>("port")?.or(older.take("port")?) {
            None | Some(0) => Some(PORT),
            Some(-1) => None,
            Some(port) => Some(
                u16::try_from(port).map_err(|_| format!("global.config.port is {port}, which is no port"))?,
            ),
        };
        let addresses: Option<Vec<IpAddr>> = match config.take("local-address-list")? {
            Some(list) => Some(list),
            None => older.take("local-address-list")?,
        };
        config.report(findings);
        older.report(findings);
        section.report(findings);
        Ok(Self {
            asn,
            router_id,
            port,
            addresses: addresses.filter(|list| !list.is_empty()),
        })
    }

    /// gobgpd listens on all addresses of both families where it is told nothing; here only the families of the
    /// neighbours are, so that a host without IPv6 can start.
    fn listen(&self, members: &[Member]) -> Option<Vec<SocketAddr>> {
        let port = self.port?;
        let every = || {
            let v6 = members.iter().any(|member| member.address.is_ipv6());
            let v4 = !v6 || members.iter().any(|member| member.address.is_ipv4());
            let v4 = v4.then_some(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
            v4.into_iter()
                .chain(v6.then_some(IpAddr::V6(Ipv6Addr::UNSPECIFIED)))
                .collect()
        };
        let addresses = self.addresses.clone().unwrap_or_else(every);
        Some(
            addresses
                .into_iter()
                .map(|address| SocketAddr::new(address, port))
                .collect(),
        )
    }
}

fn group(mut section: Section, takes: Takes) -> Result<(String, Group), String> {
    let path = section.path().to_owned();
    let mut findings = Findings::default();
    let mut config = section.table("config")?;
    let name: Option<String> = config.take("peer-group-name")?;
    let name = name.ok_or_else(|| format!("{path}.config.peer-group-name is missing"))?;
    section.put_back("config", config.into_value());
    let mut peer = Peer::read(&mut section, takes, &mut findings)?;
    if let Some(description) = peer.description.take() {
        findings.add(&format!("{path}.config.description"), &description.into());
    }
    section.report(&mut findings);
    Ok((name, Group { path, peer, findings }))
}

/// None: prefixd cannot talk to it, and that was reported.
fn member(
    mut section: Section,
    takes: Takes,
    groups: &BTreeMap<String, Group>,
    used: &mut HashSet<String>,
    findings: &mut Findings,
) -> Result<Option<Member>, String> {
    let path = section.path().to_owned();
    let mut config = section.table("config")?;
    let text: Option<String> = config.take("neighbor-address")?;
    let Some(text) = text else {
        let why = "it has no neighbor-address: prefixd talks to addresses, not to interfaces";
        findings.missing(&path, &"a neighbour".into(), why);
        return Ok(None);
    };
    let Ok(address) = text.parse::<IpAddr>() else {
        let why = "its address is none that prefixd can dial: link-local addresses with an interface are not among them";
        findings.missing(&path, &text.into(), why);
        return Ok(None);
    };
    let group: Option<String> = config.take("peer-group")?;
    let group = group.filter(|name| !name.is_empty());
    let known = group.as_ref().and_then(|name| groups.get(name));
    if let (Some(name), None) = (&group, known) {
        config.put_back("peer-group", name.as_str());
    }
    section.put_back("config", config.into_value());
    // What a neighbour says that is not taken over is said once, by the neighbour as a whole.
    let mut own = Findings::default();
    let peer = Peer::read(&mut section, takes, &mut own)?;
    section.report(&mut own);
    let peer = match known {
        Some(known) => peer.in_group(&known.peer),
        None => peer,
    };
    used.extend(group);
    let missing = if peer.peer_as.is_none() {
        Some("it has no peer-as, and prefixd talks to an AS that it was told")
    } else if peer.families.as_ref().is_none_or(Vec::is_empty) {
        Some(
            "it has no family among its afi-safis that prefixd announces: IPv4 and IPv6 FlowSpec, and unicast with --rtbh-next-hop",
        )
    } else {
        None
    };
    if let Some(why) = missing {
        findings.missing(&path, &text.into(), why);
        return Ok(None);
    }
    findings.append(own);
    Ok(Some(Member { path, address, peer }))
}

/// prefixd offers one hold time: the shortest that was configured.
fn hold_time(members: &[Member], notes: &mut Vec<String>) -> u16 {
    let configured = || members.iter().filter_map(|member| member.peer.hold_time);
    let Some(shortest) = configured().min() else {
        if !members.is_empty() {
            notes.push(format!(
                "no hold time is configured: GoBGP offers {GOBGP_HOLD_TIME} s then, prefixd {HOLD_TIME} s; it is how long a router keeps rules after a silent loss"
            ));
        }
        return HOLD_TIME;
    };
    let others: Vec<String> = members
        .iter()
        .map(|member| (&member.path, member.peer.hold_time.unwrap_or(GOBGP_HOLD_TIME)))
        .filter(|(_, seconds)| *seconds != shortest)
        .map(|(path, seconds)| format!("{path} {seconds} s"))
        .collect();
    if !others.is_empty() {
        notes.push(format!(
            "prefixd offers one hold time to all neighbours: {shortest} s, the shortest that is configured. Others had: {}",
            others.join(", ")
        ));
    }
    shortest
}

/// prefixd asks all routers for one restart time: the shortest that was configured, within its bound. None where nobody
/// is asked to keep rules.
fn restart_time(members: &[Member], notes: &mut Vec<String>) -> Option<u16> {
    let asking = members.iter().filter(|member| member.peer.asks_to_keep());
    let times: Vec<(&str, u16)> = asking
        .map(|Member { path, peer, .. }| {
            let configured = peer.restart.and_then(|restart| restart.time);
            // gobgpd takes the hold time where nothing is configured.
            let time = configured.or(peer.hold_time).unwrap_or(GOBGP_HOLD_TIME);
            (path.as_str(), time)
        })
        .collect();
    let shortest = times.iter().map(|(_, time)| *time).min()?.clamp(1, RESTART_TIME);
    let others: Vec<String> = times
        .iter()
        .filter(|(_, time)| *time != shortest)
        .map(|(path, time)| format!("{path} {time} s"))
        .collect();
    if !others.is_empty() {
        notes.push(format!(
            "prefixd asks all routers to keep rules for one restart time, at most {RESTART_TIME} s: {shortest} s. Others had: {}",
            others.join(", ")
        ));
    }
    for Member { path, peer, .. } in members {
        if peer.keeps_some() {
            notes.push(format!(
                "{path}: mp-graceful-restart is set for some of its families; prefixd asks the router to keep all of them"
            ));
        }
    }
    notes.push(
        "routers keep rules over a crash of prefixd now; to leave them over a stop too, set shutdown.preserve_announcements: true (docs/fail-open.md)".to_owned(),
    );
    Some(shortest)
}

fn neighbors(members: Vec<Member>, rtbh: Rtbh, notes: &mut Vec<String>) -> Vec<Neighbor> {
    let mut names = HashSet::new();
    members
        .into_iter()
        .filter_map(|Member { path, address, peer }| {
            let local_address = peer.local_address.filter(|local| {
                let same = local.is_ipv4() == address.is_ipv4();
                if !same {
                    notes.push(format!("{path}: local-address {local} is of another family than the neighbour and was left out"));
                }
                same
            });
            let graceful_restart = peer.asks_to_keep();
            let afi_safi: Vec<&str> = peer.families.iter().flatten().map(|family| family.name).collect();
            let rtbh = rtbh.of(&afi_safi);
            if rtbh.is_some() {
                notes.push(format!("{path}: of unicast prefixd announces blackhole routes alone; let the router discard at the next hop of rtbh, accept 65535:666, and export nothing to prefixd in the family"));
            }
            let name = name(peer.description.as_deref(), address, &mut names);
            if let Some(description) = peer.description.filter(|text| !text.is_empty() && *text != name) {
                notes.push(format!("{path}: {description:?} cannot be its name, or is taken: it is called {name}"));
            }
            Some(Neighbor {
                password_file: peer.has_key.then(|| format!("{name}.md5")),
                ttl_security: peer.ttl_security.unwrap_or(false),
                graceful_restart,
                name,
                address,
                port: peer.remote_port.unwrap_or(PORT),
                peer_asn: peer.peer_as?,
                local_address,
                passive: peer.passive.unwrap_or(false),
                afi_safi,
                rtbh,
                profile: "generic",
                enforce: peer.admin_down != Some(true),
            })
        })
        .collect()
}

/// The description as far as a name can hold it; the address where there is none, or two neighbours say the same.
fn name(description: Option<&str>, address: IpAddr, names: &mut HashSet<String>) -> String {
    let mut name = String::new();
    for c in description.unwrap_or_default().chars() {
        if c.is_ascii_alphanumeric() || "-_.".contains(c) {
            name.push(c);
        } else if !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
    }
    name.truncate(MAX_NAME);
    let name = name.trim_end_matches('-');
    if !name.is_empty() && names.insert(name.to_owned()) {
        return name.to_owned();
    }
    // Addresses are unique, but a description may look like one.
    let plain = address.to_string().replace(':', "-");
    let mut unique = format!("peer-{plain}");
    while !names.insert(unique.clone()) {
        unique.push('_');
    }
    unique
}
