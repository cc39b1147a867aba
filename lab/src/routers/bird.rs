//! BIRD 2: configuration, control socket, and its lossless text.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use super::rule::{Action, Component, Family, Match, Op, RouterRule, Term};
use super::unicast::{self, UnicastRoute};
use super::{Connect, RouterConfig, Seat};

const SOCKET: &str = "bird.ctl";

pub(super) fn command(
    binary: &Path,
    config: &RouterConfig,
    seat: &Seat,
    dir: &Path,
) -> anyhow::Result<Command> {
    let file = dir.join("bird.conf");
    std::fs::write(&file, configuration(config, seat))
        .with_context(|| format!("write {}", file.display()))?;
    let mut command = Command::new(binary);
    command.arg("-f").arg("-c").arg(file);
    command
        .arg("-s")
        .arg(dir.join(SOCKET))
        .arg("-P")
        .arg(dir.join("bird.pid"));
    Ok(command)
}

fn configuration(config: &RouterConfig, seat: &Seat) -> String {
    let mut text = format!(
        "router id {};\nflow4 table flow4tab;\nflow6 table flow6tab;\n",
        seat.router_id
    );
    // BIRD calls a hop to its own loopback multihop; without it, it waits for an interface of the neighbour.
    let _ = write!(
        text,
        "protocol device {{ }}\nprotocol bgp edge {{\n  local {} port {} as {};\n  strict bind on;\n  multihop{};\n  \
         neighbor {} {}as {};\n  hold time {};\n  error wait time 1,3;\n  connect retry time 1;\n  connect delay time 1;\n",
        seat.bgp.ip(),
        seat.bgp.port(),
        config.local_asn,
        // The hops allowed are counted into the TTL that is demanded.
        if config.ttl_security { " 1" } else { "" },
        config.peer_addr,
        match config.connect {
            Connect::Accept => String::new(),
            Connect::Dial { port } => format!("port {port} "),
        },
        config.peer_asn,
        config.hold_time_seconds,
    );
    if config.connect == Connect::Accept {
        text.push_str("  passive;\n");
    }
    if let Some(password) = &config.password {
        let _ = writeln!(text, "  password \"{password}\";");
    }
    if config.ttl_security {
        text.push_str("  ttl security on;\n");
    }
    if config.graceful_restart {
        text.push_str("  graceful restart on;\n");
    }
    for family in &config.families {
        let name = channel(*family);
        let _ = writeln!(text, "  {name} {{ table {name}tab; import all; export none; }};");
    }
    if config.unicast {
        text.push_str("  ipv4 { import all; export none; };\n  ipv6 { import all; export none; };\n");
    }
    text.push_str("}\n");
    text
}

pub(super) async fn unicast_routes(dir: &Path) -> anyhow::Result<Vec<UnicastRoute>> {
    let mut routes = unicast::bird(&ask(dir, "show route table master4 all").await?)?;
    routes.extend(unicast::bird(&ask(dir, "show route table master6 all").await?)?);
    Ok(routes)
}

const fn channel(family: Family) -> &'static str {
    match family {
        Family::Ipv4Flow => "flow4",
        Family::Ipv6Flow => "flow6",
    }
}

pub(super) async fn is_established(dir: &Path) -> anyhow::Result<bool> {
    let text = ask(dir, "show protocols edge").await?;
    Ok(text
        .lines()
        .any(|line| line.starts_with("edge") && line.contains("Established")))
}

pub(super) async fn session_text(dir: &Path) -> anyhow::Result<String> {
    ask(dir, "show protocols all edge").await
}

pub(super) async fn table_text(dir: &Path, family: Family) -> anyhow::Result<String> {
    ask(dir, &format!("show route table {}tab all", channel(family))).await
}

/// How many routes a table holds, without listing them.
pub(super) async fn count(dir: &Path, family: Family) -> anyhow::Result<usize> {
    let text = ask(dir, &format!("show route table {}tab count", channel(family))).await?;
    let first = text
        .split_ascii_whitespace()
        .next()
        .context("BIRD answered nothing")?;
    first.parse().with_context(|| format!("BIRD answered {text:?}"))
}

/// One command over the control socket. Lines of an answer start with a four-digit code and `-` (more follows) or
/// a space (the last one); continuation lines start with a space. Codes 8 and 9 are errors.
async fn ask(dir: &Path, question: &str) -> anyhow::Result<String> {
    let path = dir.join(SOCKET);
    let stream = UnixStream::connect(&path)
        .await
        .with_context(|| format!("connect to {}", path.display()))?;
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream
        .read_line(&mut line)
        .await
        .context("read BIRD's greeting")?;
    stream
        .write_all(format!("{question}\n").as_bytes())
        .await
        .context("ask BIRD")?;
    let mut text = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).await.context("read BIRD's answer")? == 0 {
            bail!("BIRD closed its control socket in the middle of an answer");
        }
        if let Some(rest) = line.strip_prefix(' ') {
            text.push_str(rest);
            continue;
        }
        let (code, rest) = line
            .split_at_checked(5)
            .with_context(|| format!("BIRD answered {line:?}"))?;
        if code.starts_with(['8', '9']) {
            bail!("BIRD refused {question:?}: {}", rest.trim());
        }
        text.push_str(rest);
        if code.ends_with(' ') {
            return Ok(text);
        }
    }
}

/// Reads the rules of `show route ... all`. Terms a newer BIRD writes in an unknown way are errors, never skipped.
pub(super) fn parse(text: &str) -> anyhow::Result<Vec<RouterRule>> {
    let mut rules: Vec<RouterRule> = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line
            .strip_prefix("flow4 {")
            .or_else(|| line.strip_prefix("flow6 {"))
        {
            let (body, _) = rest
                .split_once('}')
                .with_context(|| format!("no end of the rule in {line:?}"))?;
            rules.push(RouterRule {
                matches: matches(body).with_context(|| format!("read BIRD's rule {line:?}"))?,
                actions: BTreeSet::new(),
                communities: Some(BTreeSet::new()),
                large_communities: Some(BTreeSet::new()),
            });
        } else if let Some((name, value)) = line.trim().split_once(": ")
            && let Some(rule) = rules.last_mut()
        {
            attribute(rule, name, value).with_context(|| format!("read BIRD's attribute {line:?}"))?;
        }
    }
    Ok(rules)
}

fn attribute(rule: &mut RouterRule, name: &str, value: &str) -> anyhow::Result<()> {
    match name {
        "BGP.community" => {
            for [high, low] in tuples(value)? {
                rule.communities
                    .get_or_insert_default()
                    .insert((high.parse()?, low.parse()?));
            }
        }
        "BGP.large_community" => {
            for [a, b, c] in tuples(value)? {
                rule.large_communities
                    .get_or_insert_default()
                    .insert((a.parse()?, b.parse()?, c.parse()?));
            }
        }
        "BGP.ext_community" => {
            for [kind, high, low] in tuples(value)? {
                let community = if let Some(kind) = kind.strip_prefix("unknown ") {
                    address_specific(hex(kind)?, high, low)?
                } else if kind == "generic" {
                    (u64::from(hex(high)?) << 32) | u64::from(hex(low)?)
                } else {
                    bail!("extended community of kind {kind}");
                };
                rule.actions.insert(Action::from_extended_community(community));
            }
        }
        // Attribute 25, IPv6 extended communities, which BIRD has no name for: its number and the bytes.
        "BGP.19 [t]" => {
            let bytes = value
                .split_whitespace()
                .map(|byte| u8::from_str_radix(byte, 16))
                .collect::<Result<Vec<_>, _>>()?;
            for community in bytes.chunks(20) {
                rule.actions
                    .insert(Action::from_ipv6_extended_community(community)?);
            }
        }
        _ => {}
    }
    Ok(())
}

/// `(unknown 0x10c, 192.0.2.9, 1)`: a type BIRD has no name for, with an address and a number.
fn address_specific(kind: u32, address: &str, number: &str) -> anyhow::Result<u64> {
    let kind = u16::try_from(kind).context("type of an extended community")?;
    let address: std::net::Ipv4Addr = address.parse().with_context(|| format!("address {address:?}"))?;
    let number: u16 = number.parse().with_context(|| format!("number {number:?}"))?;
    Ok((u64::from(kind) << 48) | (u64::from(u32::from(address)) << 16) | u64::from(number))
}

/// Splits `(a, b) (c, d)`.
fn tuples<const N: usize>(value: &str) -> anyhow::Result<Vec<[&str; N]>> {
    value
        .split_terminator(')')
        .map(|tuple| {
            let inner = tuple
                .trim()
                .strip_prefix('(')
                .with_context(|| format!("no tuple: {tuple:?}"))?;
            let parts = inner.split(',').map(str::trim).collect::<Vec<_>>();
            <[&str; N]>::try_from(parts)
                .map_err(|parts| anyhow::anyhow!("{} parts in {tuple:?}", parts.len()))
        })
        .collect()
}

fn hex(text: &str) -> anyhow::Result<u32> {
    let digits = text
        .strip_prefix("0x")
        .with_context(|| format!("not hexadecimal: {text:?}"))?;
    u32::from_str_radix(digits, 16).with_context(|| format!("not hexadecimal: {text:?}"))
}

/// The words with which BIRD begins a component; a list, because some have blanks.
const COMPONENTS: [(&str, Component); 12] = [
    ("next header ", Component::Protocol),
    ("proto ", Component::Protocol),
    ("dport ", Component::DestinationPort),
    ("sport ", Component::SourcePort),
    ("port ", Component::Port),
    ("icmp type ", Component::IcmpType),
    ("icmp code ", Component::IcmpCode),
    ("tcp flags ", Component::TcpFlags),
    ("length ", Component::PacketLength),
    ("dscp ", Component::Dscp),
    ("fragment ", Component::Fragment),
    ("label ", Component::FlowLabel),
];

fn matches(body: &str) -> anyhow::Result<Match> {
    let mut found = Match::default();
    for part in body.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        if let Some(net) = part.strip_prefix("dst ") {
            found.destination = Some(net.parse().with_context(|| format!("prefix {net:?}"))?);
        } else if let Some(net) = part.strip_prefix("src ") {
            found.source = Some(net.parse().with_context(|| format!("prefix {net:?}"))?);
        } else {
            let (component, value) = COMPONENTS
                .iter()
                .find_map(|(word, component)| Some((*component, part.strip_prefix(word)?)))
                .with_context(|| format!("unknown component {part:?}"))?;
            found.components.insert(component, terms(component, value)?);
        }
    }
    Ok(found)
}

fn terms(component: Component, value: &str) -> anyhow::Result<Vec<Term>> {
    let mut found = Vec::new();
    for alternative in value.replace("||", ",").split(',') {
        for (index, atom) in alternative.split("&&").map(str::trim).enumerate() {
            let and = index > 0;
            if component.is_bitmask() {
                let (op, value) = bitmask(atom)?;
                found.push(Term { and, op, value });
            } else if let Some((low, high)) = atom.split_once("..") {
                found.push(Term {
                    and,
                    op: Op::Ge,
                    value: low.parse()?,
                });
                found.push(Term {
                    and: true,
                    op: Op::Le,
                    value: high.parse()?,
                });
            } else {
                let digits = atom.trim_start_matches(['<', '>', '=', '!', ' ']);
                let op = match atom.strip_suffix(digits).map(str::trim) {
                    Some("" | "=") => Op::Eq,
                    Some("<") => Op::Lt,
                    Some("<=") => Op::Le,
                    Some(">") => Op::Gt,
                    Some(">=") => Op::Ge,
                    Some("!=") => Op::Ne,
                    _ => bail!("unknown comparison {atom:?}"),
                };
                found.push(Term {
                    and,
                    op,
                    value: digits.parse().with_context(|| format!("number {atom:?}"))?,
                });
            }
        }
    }
    Ok(found)
}

const FRAGMENT_BITS: [(&str, u64); 4] = [
    ("dont_fragment", 1),
    ("is_fragment", 2),
    ("first_fragment", 4),
    ("last_fragment", 8),
];

/// `[!]value/mask`, or the name of a fragment bit. `!!name` is any-of; `!name` stands for both none-of and
/// not-all-of, which are the same for one bit.
fn bitmask(atom: &str) -> anyhow::Result<(Op, u64)> {
    if let Some(name) = atom.strip_prefix("!!") {
        let (_, bit) = bitmask(name)?;
        return Ok((Op::AnyOf, bit));
    }
    let (negated, rest) = match atom.strip_prefix('!') {
        Some(rest) => (true, rest),
        None => (false, atom),
    };
    if let Some((_, bit)) = FRAGMENT_BITS.iter().find(|(name, _)| *name == rest) {
        let op = if negated { Op::NoneOf } else { Op::AllOf };
        return Ok((op, *bit));
    }
    let (value, mask) = rest.split_once('/').with_context(|| format!("bits {atom:?}"))?;
    let (value, mask) = (hex(value)?, hex(mask)?);
    let op = match (negated, value) {
        (false, value) if value == mask => Op::AllOf,
        (true, value) if value == mask => Op::NotAllOf,
        (false, 0) => Op::NoneOf,
        (true, 0) => Op::AnyOf,
        _ => bail!("unknown bit match {atom:?}"),
    };
    Ok((op, mask.into()))
}
