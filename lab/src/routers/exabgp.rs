//! ExaBGP keeps no table: the rules are what its log of parsed updates adds up to since the session came up.
//!
//! Its JSON is lossy for a bit mask of several bits, which it shows as several terms.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::rule::{Action, Component, Family, Match, Op, RouterRule, Term};
use super::{Connect, RouterConfig, Seat};

const LOG: &str = "updates.json";

pub(super) fn command(
    binary: &Path,
    config: &RouterConfig,
    seat: &Seat,
    dir: &Path,
) -> anyhow::Result<Command> {
    // ExaBGP takes the end of the helper's standard output for its death: the shell must keep it open.
    let helper = dir.join("log.sh");
    std::fs::write(
        &helper,
        format!("#!/bin/sh\ncat >> '{}'\n:\n", dir.join(LOG).display()),
    )
    .with_context(|| format!("write {}", helper.display()))?;
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755))
        .with_context(|| format!("make {} executable", helper.display()))?;
    // A new process starts a new log: what an earlier one held is gone.
    std::fs::write(dir.join(LOG), "").context("start ExaBGP's log of updates")?;
    let file = dir.join("exabgp.conf");
    std::fs::write(&file, configuration(config, seat, &helper))
        .with_context(|| format!("write {}", file.display()))?;
    let (user, _) = super::own_names()?;
    let mut command = Command::new(binary);
    command
        .env("exabgp.daemon.user", user)
        .env("exabgp.api.cli", "false");
    if config.connect == Connect::Accept {
        command.env("exabgp.tcp.bind", seat.bgp.ip().to_string());
        command.env("exabgp.tcp.port", seat.bgp.port().to_string());
    }
    command.arg(file);
    Ok(command)
}

fn configuration(config: &RouterConfig, seat: &Seat, helper: &Path) -> String {
    let mut text = format!(
        "process log {{ run {}; encoder json; }}\nneighbor {} {{\n  router-id {};\n  local-address {};\n  local-as {};\n  \
         peer-as {};\n  hold-time {};\n",
        helper.display(),
        config.peer_addr,
        seat.router_id,
        seat.bgp.ip(),
        config.local_asn,
        config.peer_asn,
        config.hold_time_seconds,
    );
    match config.connect {
        Connect::Accept => text.push_str("  passive true;\n"),
        Connect::Dial { port } => {
            let _ = writeln!(text, "  connect {port};");
        }
    }
    if let Some(password) = &config.password {
        let _ = writeln!(text, "  md5-password \"{password}\";");
    }
    if config.ttl_security {
        text.push_str("  outgoing-ttl 255;\n");
    }
    text.push_str("  family {");
    for family in &config.families {
        let _ = write!(text, " {};", name(*family));
    }
    text.push_str(" }\n  api { processes [ log ]; neighbor-changes; receive { parsed; update; } }\n}\n");
    text
}

const fn name(family: Family) -> &'static str {
    match family {
        Family::Ipv4Flow => "ipv4 flow",
        Family::Ipv6Flow => "ipv6 flow",
    }
}

pub(super) fn is_established(dir: &Path) -> anyhow::Result<bool> {
    Ok(replay(&table_text(dir)?, name(Family::Ipv4Flow))?.up)
}

pub(super) fn table_text(dir: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(dir.join(LOG)).context("read ExaBGP's log of updates")
}

/// Adds up the log.
pub(super) fn parse(text: &str, family: Family) -> anyhow::Result<Vec<RouterRule>> {
    let mut rules = replay(text, name(family))?
        .announced
        .values()
        .map(|(nlri, attributes)| {
            rule(nlri, attributes).with_context(|| format!("read ExaBGP's rule {nlri} with {attributes}"))
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    rules.sort();
    Ok(rules)
}

#[derive(Default)]
struct Session {
    up: bool,
    /// By ExaBGP's own text of the rule: the NLRI and the attributes.
    announced: BTreeMap<String, (Value, Value)>,
    /// How many there were after each update.
    held: Vec<usize>,
}

/// How many rules there were after each update of the session, in order.
pub(super) fn held(text: &str, family: Family) -> anyhow::Result<Vec<usize>> {
    Ok(replay(text, name(family))?.held)
}

fn replay(text: &str, family: &str) -> anyhow::Result<Session> {
    let mut session = Session::default();
    // The last line may still be being written.
    for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
        let message: Value =
            serde_json::from_str(line).with_context(|| format!("read ExaBGP's line {line:?}"))?;
        match message["type"].as_str() {
            Some("state") => match message["neighbor"]["state"].as_str() {
                Some("up") => {
                    session = Session {
                        up: true,
                        ..Session::default()
                    }
                }
                Some("down") => session = Session::default(),
                _ => {}
            },
            Some("update") => {
                let update = &message["neighbor"]["message"]["update"];
                for nlri in nlris(&update["withdraw"][family]) {
                    session.announced.remove(&key(nlri)?);
                }
                for nlri in nlris(&update["announce"][family]) {
                    session
                        .announced
                        .insert(key(nlri)?, (nlri.clone(), update["attribute"].clone()));
                }
                session.held.push(session.announced.len());
            }
            _ => {}
        }
    }
    Ok(session)
}

/// Announcements are lists by next hop, withdrawals are one list.
fn nlris(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(list) => list.iter().collect(),
        Value::Object(by_next_hop) => by_next_hop
            .values()
            .filter_map(Value::as_array)
            .flatten()
            .collect(),
        _ => Vec::new(),
    }
}

fn key(nlri: &Value) -> anyhow::Result<String> {
    Ok(nlri["string"]
        .as_str()
        .with_context(|| format!("no text in {nlri}"))?
        .to_owned())
}

fn rule(nlri: &Value, attributes: &Value) -> anyhow::Result<RouterRule> {
    let mut matches = Match::default();
    for (word, values) in nlri.as_object().context("no object")? {
        if word == "string" {
            continue;
        }
        let values = values
            .as_array()
            .context("no list")?
            .iter()
            .filter_map(Value::as_str)
            .collect::<Vec<_>>();
        match word.as_str() {
            "destination-ipv4" | "destination-ipv6" => matches.destination = Some(prefix(&values)?),
            "source-ipv4" | "source-ipv6" => matches.source = Some(prefix(&values)?),
            _ => {
                let component = component(word).with_context(|| format!("unknown component {word:?}"))?;
                matches.components.insert(component, terms(component, &values)?);
            }
        }
    }
    let list = |name: &str| attributes[name].as_array().into_iter().flatten();
    let actions = list("extended-community")
        .map(|community| {
            Ok(Action::from_extended_community(
                community["value"].as_u64().context("extended community")?,
            ))
        })
        .collect::<anyhow::Result<_>>()?;
    let number = |value: &Value| {
        value
            .as_u64()
            .and_then(|value| u32::try_from(value).ok())
            .context("community")
    };
    let communities = list("community")
        .map(|pair| {
            Ok((
                u16::try_from(number(&pair[0])?)?,
                u16::try_from(number(&pair[1])?)?,
            ))
        })
        .collect::<anyhow::Result<_>>()?;
    let large = list("large-community")
        .map(|triple| Ok((number(&triple[0])?, number(&triple[1])?, number(&triple[2])?)))
        .collect::<anyhow::Result<_>>()?;
    Ok(RouterRule {
        matches,
        actions,
        communities: Some(communities),
        large_communities: Some(large),
    })
}

fn component(word: &str) -> Option<Component> {
    Some(match word {
        "protocol" | "next-header" => Component::Protocol,
        "port" => Component::Port,
        "destination-port" => Component::DestinationPort,
        "source-port" => Component::SourcePort,
        "icmp-type" => Component::IcmpType,
        "icmp-code" => Component::IcmpCode,
        "tcp-flags" => Component::TcpFlags,
        "packet-length" => Component::PacketLength,
        "dscp" | "traffic-class" => Component::Dscp,
        "fragment" => Component::Fragment,
        "flow-label" => Component::FlowLabel,
        _ => return None,
    })
}

/// IPv6 prefixes carry their offset: `2001:db8::1/128/0`.
fn prefix(values: &[&str]) -> anyhow::Result<ipnet::IpNet> {
    let [text] = values else {
        bail!("not one prefix: {values:?}")
    };
    match text.match_indices('/').nth(1) {
        Some((at, offset)) if &text[at..] == "/0" => text[..at]
            .parse()
            .with_context(|| format!("prefix {text:?} {offset}")),
        Some(_) => bail!("a prefix with an offset: {text:?}"),
        None => text.parse().with_context(|| format!("prefix {text:?}")),
    }
}

fn terms(component: Component, values: &[&str]) -> anyhow::Result<Vec<Term>> {
    let mut found = Vec::new();
    for value in values {
        for (index, atom) in value.split('&').enumerate() {
            let name = atom.trim_start_matches(['<', '>', '=', '!']);
            let symbol = atom.strip_suffix(name).unwrap_or("");
            found.push(Term {
                and: index > 0,
                op: op(component, symbol)?,
                value: number(component, name).with_context(|| format!("unknown value {name:?}"))?,
            });
        }
    }
    Ok(found)
}

fn op(component: Component, symbol: &str) -> anyhow::Result<Op> {
    Ok(match (component.is_bitmask(), symbol) {
        (true, "=") => Op::AllOf,
        (true, "") => Op::AnyOf,
        (true, "!") => Op::NoneOf,
        (true, "!=") => Op::NotAllOf,
        (false, "=") => Op::Eq,
        (false, "<") => Op::Lt,
        (false, "<=") => Op::Le,
        (false, ">") => Op::Gt,
        (false, ">=") => Op::Ge,
        (false, "!=") => Op::Ne,
        _ => bail!("unknown comparison {symbol:?}"),
    })
}

/// ExaBGP writes names where it knows one, and `unknown protocol type 58` where it does not.
fn number(component: Component, text: &str) -> Option<u64> {
    if let Ok(number) = text.rsplit(' ').next()?.parse() {
        return Some(number);
    }
    let names: &[(&str, u64)] = match component {
        Component::Protocol => &[
            ("icmp", 1),
            ("tcp", 6),
            ("udp", 17),
            ("gre", 47),
            ("esp", 50),
            ("ah", 51),
            ("sctp", 132),
        ],
        Component::IcmpType => &[
            ("echo-reply", 0),
            ("unreachable", 3),
            ("echo-request", 8),
            ("time-exceeded", 11),
        ],
        Component::TcpFlags => &[
            ("fin", 1),
            ("syn", 2),
            ("rst", 4),
            ("push", 8),
            ("ack", 16),
            ("urg", 32),
            ("ece", 64),
            ("cwr", 128),
        ],
        Component::Fragment => &[
            ("dont-fragment", 1),
            ("is-fragment", 2),
            ("first-fragment", 4),
            ("last-fragment", 8),
        ],
        _ => &[],
    };
    names
        .iter()
        .find(|(name, _)| *name == text)
        .map(|(_, number)| *number)
}
