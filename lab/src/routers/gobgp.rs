//! GoBGP: configuration, and its lossless JSON with the operator bytes of the wire.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::rule::{Action, Component, Family, Match, Op, RouterRule, Term};
use super::unicast::{self, UnicastRoute};
use super::{Connect, RouterConfig, Seat, output};

pub(super) fn command(
    binary: &Path,
    config: &RouterConfig,
    seat: &Seat,
    dir: &Path,
) -> anyhow::Result<Command> {
    let file = dir.join("gobgpd.toml");
    std::fs::write(&file, configuration(config, seat))
        .with_context(|| format!("write {}", file.display()))?;
    let mut command = Command::new(binary);
    command
        .arg("-f")
        .arg(file)
        .arg("--api-hosts")
        .arg(seat.api.to_string())
        .arg("--pprof-disable");
    Ok(command)
}

fn configuration(config: &RouterConfig, seat: &Seat) -> String {
    let mut text = format!(
        "[global.config]\nas = {}\nrouter-id = \"{}\"\nport = {}\nlocal-address-list = [\"{}\"]\n\
         [[neighbors]]\n[neighbors.config]\nneighbor-address = \"{}\"\npeer-as = {}\n",
        config.local_asn,
        seat.router_id,
        seat.bgp.port(),
        seat.bgp.ip(),
        config.peer_addr,
        config.peer_asn,
    );
    if let Some(password) = &config.password {
        let _ = writeln!(text, "auth-password = \"{password}\"");
    }
    // Its least idle time after a lost session is 5 s by default of its own; the retry has a floor of its own too.
    let _ = write!(
        text,
        "[neighbors.timers.config]\nhold-time = {}\nkeepalive-interval = {}\nconnect-retry = 1\n\
         idle-hold-time-after-reset = 1\n[neighbors.transport.config]\nlocal-address = \"{}\"\n",
        config.hold_time_seconds,
        (config.hold_time_seconds / 3).max(1),
        seat.bgp.ip(),
    );
    match config.connect {
        Connect::Accept => text.push_str("passive-mode = true\n"),
        Connect::Dial { port } => {
            let _ = writeln!(text, "remote-port = {port}");
        }
    }
    if config.ttl_security {
        text.push_str("[neighbors.ttl-security.config]\nenabled = true\nttl-min = 255\n");
    } else if config.local_asn != config.peer_asn {
        text.push_str("[neighbors.ebgp-multihop.config]\nenabled = true\nmultihop-ttl = 2\n");
    }
    if config.graceful_restart {
        text.push_str("[neighbors.graceful-restart.config]\nenabled = true\nrestart-time = 120\n");
    }
    for family in &config.families {
        let _ = writeln!(
            text,
            "[[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"{}\"",
            name(*family)
        );
        if config.graceful_restart {
            text.push_str("[neighbors.afi-safis.mp-graceful-restart.config]\nenabled = true\n");
        }
    }
    if config.unicast {
        for name in ["ipv4-unicast", "ipv6-unicast"] {
            let _ = writeln!(
                text,
                "[[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"{name}\""
            );
        }
    }
    text
}

pub(super) async fn unicast_routes(api: SocketAddr) -> anyhow::Result<Vec<UnicastRoute>> {
    let mut routes = unicast::gobgp(&ask(api, &["global", "rib", "-a", "ipv4", "-j"]).await?)?;
    routes.extend(unicast::gobgp(
        &ask(api, &["global", "rib", "-a", "ipv6", "-j"]).await?,
    )?);
    Ok(routes)
}

const fn name(family: Family) -> &'static str {
    match family {
        Family::Ipv4Flow => "ipv4-flowspec",
        Family::Ipv6Flow => "ipv6-flowspec",
    }
}

pub(super) async fn is_established(api: SocketAddr) -> anyhow::Result<bool> {
    const ESTABLISHED: u64 = 6;
    let neighbours: Value =
        serde_json::from_str(&ask(api, &["neighbor", "-j"]).await?).context("read GoBGP's neighbours")?;
    Ok(neighbours[0]["state"]["session_state"].as_u64() == Some(ESTABLISHED))
}

pub(super) async fn session_text(api: SocketAddr) -> anyhow::Result<String> {
    ask(api, &["neighbor", "-j"]).await
}

pub(super) async fn table_text(api: SocketAddr, family: Family) -> anyhow::Result<String> {
    ask(api, &["global", "rib", "-a", name(family)]).await
}

pub(super) async fn rules(api: SocketAddr, family: Family) -> anyhow::Result<Vec<RouterRule>> {
    parse(&ask(api, &["global", "rib", "-a", name(family), "-j"]).await?)
}

async fn ask(api: SocketAddr, words: &[&str]) -> anyhow::Result<String> {
    let mut gobgp = tokio::process::Command::new("gobgp");
    gobgp
        .arg("-u")
        .arg(api.ip().to_string())
        .arg("-p")
        .arg(api.port().to_string())
        .args(words);
    output("gobgp", gobgp).await
}

/// Reads `gobgp global rib -j`.
pub(super) fn parse(text: &str) -> anyhow::Result<Vec<RouterRule>> {
    let table: Value = serde_json::from_str(text).context("read GoBGP's table")?;
    let mut rules = Vec::new();
    for paths in table.as_object().context("GoBGP's table is no object")?.values() {
        for path in paths.as_array().context("GoBGP's paths are no list")? {
            rules.push(rule(path).with_context(|| format!("read GoBGP's path {path}"))?);
        }
    }
    rules.sort();
    Ok(rules)
}

fn rule(path: &Value) -> anyhow::Result<RouterRule> {
    let mut rule = RouterRule {
        matches: Match::default(),
        actions: BTreeSet::new(),
        communities: Some(BTreeSet::new()),
        large_communities: Some(BTreeSet::new()),
    };
    for component in list(&path["nlri"]["value"])? {
        let number = component["type"].as_u64().context("component type")?;
        match number {
            1 => rule.matches.destination = Some(prefix(component)?),
            2 => rule.matches.source = Some(prefix(component)?),
            _ => {
                let kind = u8::try_from(number).ok().and_then(Component::from_type);
                let kind = kind.with_context(|| format!("component type {number}"))?;
                rule.matches
                    .components
                    .insert(kind, terms(kind, list(&component["value"])?)?);
            }
        }
    }
    for attribute in list(&path["attrs"])? {
        match attribute["type"].as_u64() {
            Some(8) => {
                for community in list(&attribute["communities"])? {
                    let bits = u32::try_from(community.as_u64().context("community")?)?;
                    let pair = ((bits >> 16) as u16, (bits & 0xffff) as u16);
                    rule.communities.get_or_insert_default().insert(pair);
                }
            }
            Some(16 | 25) => {
                for community in list(&attribute["value"])? {
                    rule.actions.insert(action(community)?);
                }
            }
            Some(32) => {
                for community in list(&attribute["value"])? {
                    let part = |name: &str| -> anyhow::Result<u32> {
                        Ok(u32::try_from(
                            community[name].as_u64().context("large community")?,
                        )?)
                    };
                    let triple = (part("ASN")?, part("LocalData1")?, part("LocalData2")?);
                    rule.large_communities.get_or_insert_default().insert(triple);
                }
            }
            _ => {}
        }
    }
    Ok(rule)
}

fn list(value: &Value) -> anyhow::Result<&Vec<Value>> {
    value.as_array().with_context(|| format!("no list: {value}"))
}

fn prefix(component: &Value) -> anyhow::Result<ipnet::IpNet> {
    if component["offset"].as_u64().unwrap_or(0) != 0 {
        bail!("a prefix with an offset: {component}");
    }
    component["value"]["prefix"]
        .as_str()
        .context("no prefix")?
        .parse()
        .context("prefix")
}

fn terms(component: Component, values: &[Value]) -> anyhow::Result<Vec<Term>> {
    const AND: u8 = 0x40;
    values
        .iter()
        .map(|term| {
            let byte = u8::try_from(term["op"].as_u64().context("operator")?)?;
            Ok(Term {
                and: byte & AND != 0,
                op: Op::from_wire(byte, component.is_bitmask()),
                value: term["value"].as_u64().context("value")?,
            })
        })
        .collect()
}

fn action(community: &Value) -> anyhow::Result<Action> {
    let kind = (community["type"].as_u64(), community["subtype"].as_u64());
    Ok(match kind {
        (Some(0x80), Some(6)) => Action::rate(community["rate"].as_f64().context("rate")? as f32),
        (Some(0x80), Some(7)) => Action::Traffic {
            terminal: community["terminal"].as_bool().unwrap_or(false),
            sample: community["sample"].as_bool().unwrap_or(false),
        },
        (Some(0x80), Some(8)) => {
            let (asn, number) = target(community)?;
            Action::RedirectAs2 {
                asn: asn.parse()?,
                number: number.parse()?,
            }
        }
        // The number follows the last colon, also of an IPv6 address.
        (Some(0x00 | 0x01), Some(12)) => {
            let (address, number) = target(community)?;
            Action::RedirectTo {
                address: address.parse()?,
                copy: number.parse::<u16>()? & 1 != 0,
            }
        }
        (Some(0x81), Some(8)) => {
            let (address, number) = target(community)?;
            Action::RedirectIpv4 {
                address: address.parse()?,
                number: number.parse()?,
            }
        }
        (Some(0x82), Some(8)) => {
            let (asn, number) = target(community)?;
            // In two halves with a dot.
            let (high, low) = asn.split_once('.').context("four-byte AS")?;
            Action::RedirectAs4 {
                asn: (u32::from(high.parse::<u16>()?) << 16) | u32::from(low.parse::<u16>()?),
                number: number.parse()?,
            }
        }
        (Some(0x80), Some(12)) => opaque(0x80, &community["value"])?,
        (Some(0x80), Some(9)) => {
            Action::Mark(u8::try_from(community["value"].as_u64().context("marking")?).context("marking")?)
        }
        _ => bail!("unknown extended community {community}"),
    })
}

/// `administrator:number`.
fn target(community: &Value) -> anyhow::Result<(&str, &str)> {
    community["value"]
        .as_str()
        .and_then(|text| text.rsplit_once(':'))
        .context("route target")
}

/// A community GoBGP has no name for: the bytes behind the first, in base64.
fn opaque(kind: u8, value: &Value) -> anyhow::Result<Action> {
    let text = value.as_str().with_context(|| format!("no bytes: {value}"))?;
    let bytes = base64(text).with_context(|| format!("no base64: {text:?}"))?;
    let rest = <[u8; 7]>::try_from(bytes).map_err(|bytes| anyhow::anyhow!("{} bytes", bytes.len()))?;
    let community = rest
        .iter()
        .fold(u64::from(kind), |all, byte| (all << 8) | u64::from(*byte));
    Ok(Action::from_extended_community(community))
}

fn base64(text: &str) -> Option<Vec<u8>> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut count, mut bytes) = (0_u32, 0, Vec::new());
    for digit in text.trim_end_matches('=').bytes() {
        let value = DIGITS.iter().position(|known| *known == digit)?;
        bits = (bits << 6) | u32::try_from(value).ok()?;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    Some(bytes)
}
