//! FRR's bgpd. Its text is lossy: it shows no communities, and `, ` stands for both AND and OR.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};

use super::rule::{Action, Component, Family, Match, Op, RouterRule, Term};
use super::unicast::{self, UnicastRoute};
use super::{Connect, RouterConfig, Seat, output};

pub(super) fn command(
    binary: &Path,
    config: &RouterConfig,
    seat: &Seat,
    dir: &Path,
) -> anyhow::Result<Command> {
    let file = dir.join("frr.conf");
    std::fs::write(&file, configuration(config, seat))
        .with_context(|| format!("write {}", file.display()))?;
    let (user, group) = super::own_names()?;
    let mut command = Command::new(binary);
    command.args(["-Z", "-S", "-n", "-P", "0", "-u", &user, "-g", &group]);
    command
        .arg("-f")
        .arg(file)
        .arg("-i")
        .arg(dir.join("bgpd.pid"))
        .arg("--vty_socket")
        .arg(dir);
    command
        .arg("-l")
        .arg(seat.bgp.ip().to_string())
        .arg("-p")
        .arg(seat.bgp.port().to_string());
    command.args(["--log", "stdout"]);
    Ok(command)
}

fn configuration(config: &RouterConfig, seat: &Seat) -> String {
    let peer = config.peer_addr;
    let mut text = format!(
        "router bgp {}\n bgp router-id {}\n no bgp ebgp-requires-policy\n no bgp default ipv4-unicast\n \
         neighbor {peer} remote-as {}\n neighbor {peer} timers {} {}\n neighbor {peer} update-source {}\n",
        config.local_asn,
        seat.router_id,
        config.peer_asn,
        config.hold_time_seconds / 3,
        config.hold_time_seconds,
        seat.bgp.ip(),
    );
    if config.ttl_security {
        let _ = writeln!(text, " neighbor {peer} ttl-security hops 1");
    } else if config.local_asn != config.peer_asn {
        let _ = writeln!(text, " neighbor {peer} ebgp-multihop 2");
    }
    match config.connect {
        Connect::Accept => {
            let _ = writeln!(text, " neighbor {peer} passive");
        }
        Connect::Dial { port } => {
            let _ = writeln!(
                text,
                " neighbor {peer} port {port}\n neighbor {peer} timers connect 1"
            );
        }
    }
    if let Some(password) = &config.password {
        let _ = writeln!(text, " neighbor {peer} password {password}");
    }
    if config.graceful_restart {
        let _ = writeln!(text, " neighbor {peer} graceful-restart");
    }
    for family in &config.families {
        let _ = writeln!(
            text,
            " address-family {} flowspec\n  neighbor {peer} activate\n exit-address-family",
            afi(*family)
        );
    }
    if config.unicast {
        for afi in ["ipv4", "ipv6"] {
            let _ = writeln!(
                text,
                " address-family {afi} unicast\n  neighbor {peer} activate\n exit-address-family"
            );
        }
    }
    text
}

pub(super) async fn unicast_routes(dir: &Path) -> anyhow::Result<Vec<UnicastRoute>> {
    let mut routes = Vec::new();
    for afi in ["ipv4", "ipv6"] {
        let table = ask(dir, &format!("show bgp {afi} unicast json")).await?;
        for prefix in unicast::frr_prefixes(&table)? {
            let route = ask(dir, &format!("show bgp {afi} unicast {prefix} json")).await?;
            routes
                .extend(unicast::frr(&prefix, &route).with_context(|| format!("read FRR's route {route}"))?);
        }
    }
    Ok(routes)
}

const fn afi(family: Family) -> &'static str {
    match family {
        Family::Ipv4Flow => "ipv4",
        Family::Ipv6Flow => "ipv6",
    }
}

pub(super) async fn is_established(dir: &Path, config: &RouterConfig) -> anyhow::Result<bool> {
    let family = config
        .families
        .first()
        .copied()
        .context("a neighbour without families")?;
    let text = ask(dir, &format!("show bgp {} flowspec summary json", afi(family))).await?;
    let summary: serde_json::Value = serde_json::from_str(&text).context("read FRR's summary")?;
    Ok(summary["peers"][config.peer_addr.to_string()]["state"] == "Established")
}

/// How many rules the neighbour has announced, without listing them.
pub(super) async fn count(dir: &Path, config: &RouterConfig, family: Family) -> anyhow::Result<usize> {
    let text = ask(dir, &format!("show bgp {} flowspec summary json", afi(family))).await?;
    let summary: serde_json::Value = serde_json::from_str(&text).context("read FRR's summary")?;
    let received = &summary["peers"][config.peer_addr.to_string()]["pfxRcd"];
    // Without a session there is no such figure.
    Ok(received.as_u64().unwrap_or(0).try_into()?)
}

pub(super) async fn session_text(dir: &Path) -> anyhow::Result<String> {
    ask(dir, "show bgp neighbors").await
}

pub(super) async fn table_text(dir: &Path, family: Family) -> anyhow::Result<String> {
    ask(dir, &format!("show bgp {} flowspec detail", afi(family))).await
}

async fn ask(dir: &Path, question: &str) -> anyhow::Result<String> {
    let mut vtysh = tokio::process::Command::new("vtysh");
    vtysh
        .arg("--vty_socket")
        .arg(dir)
        .args(["-d", "bgpd", "-c", question]);
    output("vtysh", vtysh).await
}

/// Reads `show bgp ... flowspec detail`. A `>=` or `>` followed by a `<=` or `<` of a larger number is read as a
/// range: FRR shows AND and OR alike.
pub(super) fn parse(text: &str) -> anyhow::Result<Vec<RouterRule>> {
    let mut rules: Vec<RouterRule> = Vec::new();
    for line in text.lines() {
        if line.starts_with("BGP flowspec entry:") {
            rules.push(RouterRule {
                matches: Match::default(),
                actions: BTreeSet::new(),
                communities: None,
                large_communities: None,
            });
        } else if let Some(line) = line.strip_prefix('\t')
            && let Some(rule) = rules.last_mut()
        {
            detail(rule, line.trim()).with_context(|| format!("read FRR's line {line:?}"))?;
        }
    }
    Ok(rules)
}

const COMPONENTS: [(&str, Component); 11] = [
    ("IP Protocol ", Component::Protocol),
    ("Port ", Component::Port),
    ("Destination Port ", Component::DestinationPort),
    ("Source Port ", Component::SourcePort),
    ("ICMP Type ", Component::IcmpType),
    ("ICMP Code ", Component::IcmpCode),
    ("TCP Flags ", Component::TcpFlags),
    ("Packet Length ", Component::PacketLength),
    ("DSCP field ", Component::Dscp),
    ("Packet Fragment ", Component::Fragment),
    ("Packet Flow Label ", Component::FlowLabel),
];

fn detail(rule: &mut RouterRule, line: &str) -> anyhow::Result<()> {
    if let Some(net) = line.strip_prefix("Destination Address ") {
        rule.matches.destination = Some(prefix(net)?);
    } else if let Some(net) = line.strip_prefix("Source Address ") {
        rule.matches.source = Some(prefix(net)?);
    } else if line.starts_with("FS:") {
        for word in line.split("FS:").map(str::trim).filter(|word| !word.is_empty()) {
            rule.actions.insert(action(word)?);
        }
    } else if let Some((component, value)) = COMPONENTS
        .iter()
        .find_map(|(word, component)| Some((*component, line.strip_prefix(word)?)))
    {
        rule.matches
            .components
            .insert(component, terms(component, value)?);
    } else if !line.starts_with("received for") && !line.contains("installed in PBR") {
        bail!("unknown line");
    }
    Ok(())
}

fn prefix(text: &str) -> anyhow::Result<ipnet::IpNet> {
    let net = text.split_once("/off ").map_or(text, |(net, _)| net);
    net.trim().parse().with_context(|| format!("prefix {text:?}"))
}

fn action(word: &str) -> anyhow::Result<Action> {
    if let Some(rate) = word.strip_prefix("rate ") {
        return Ok(Action::rate(rate.parse().context("rate")?));
    }
    if let Some(dscp) = word.strip_prefix("marking ") {
        return Ok(Action::Mark(dscp.parse().context("marking")?));
    }
    if let Some(target) = word.strip_prefix("redirect VRF RT:") {
        let (asn, number) = target.split_once(':').context("route target")?;
        return Ok(Action::RedirectAs2 {
            asn: asn.parse()?,
            number: number.parse()?,
        });
    }
    if let Some(words) = word.strip_prefix("action ") {
        return Ok(Action::Traffic {
            terminal: !words.contains("eval stops"),
            sample: words.contains("sample"),
        });
    }
    bail!("unknown action {word:?}")
}

fn terms(component: Component, value: &str) -> anyhow::Result<Vec<Term>> {
    let mut found: Vec<Term> = Vec::new();
    for atom in value.split(',').map(str::trim) {
        let (explicit_and, atom) = match atom.strip_prefix('&') {
            Some(rest) => (true, rest.trim()),
            None => (false, atom),
        };
        let digits = atom.trim_start_matches(|c: char| !c.is_ascii_digit());
        let op = op(component, atom.strip_suffix(digits).unwrap_or(atom).trim())?;
        let value = digits.parse().with_context(|| format!("number {atom:?}"))?;
        let closes_range = matches!(op, Op::Le | Op::Lt)
            && found
                .last()
                .is_some_and(|last| matches!(last.op, Op::Ge | Op::Gt) && last.value < value);
        found.push(Term {
            and: explicit_and || closes_range,
            op,
            value,
        });
    }
    Ok(found)
}

fn op(component: Component, symbol: &str) -> anyhow::Result<Op> {
    Ok(match (component.is_bitmask(), symbol) {
        (true, "=") => Op::AllOf,
        (true, "= !") => Op::NotAllOf,
        (true, "") => Op::AnyOf,
        (true, "!") => Op::NoneOf,
        (false, "=") => Op::Eq,
        (false, "<") => Op::Lt,
        (false, "<=") => Op::Le,
        (false, ">") => Op::Gt,
        (false, ">=") => Op::Ge,
        (false, "!=") => Op::Ne,
        _ => bail!("unknown comparison {symbol:?}"),
    })
}
