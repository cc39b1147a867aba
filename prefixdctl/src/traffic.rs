//! Are we dropping this?

use crate::failure::Failure;
use crate::output::sheet_of;
use crate::session::Session;
use clap::Args;
use prefixd_api::ids::MitigationId;
use prefixd_api::rule::protocol;
use prefixd_api::show::{MAX_TEXT_CHARS, clean, short_id};
use prefixd_api::traffic::{NeighborTraffic, PopTraffic, Traffic, TrafficAnswer, TrafficRule};
use std::net::IpAddr;

/// Tell what neighbours and other POPs do with some traffic: are we dropping this?
#[derive(Args, Debug)]
#[command(after_help = "\
The more is said of the traffic, the more certain is the answer. Rules are asked in the order of RFC 8955;
what the router makes of them is not read. Of other POPs on the same database it tells what is decided there.

Examples:
  prefixdctl match --dst 203.0.113.10 --proto udp --dport 27015
  prefixdctl match --dst 203.0.113.10 --src 198.51.100.7 --proto udp --sport 53 --pop fra1 -o json")]
pub(crate) struct MatchArgs {
    /// The address it goes to
    #[arg(long, value_name = "IP")]
    dst: IpAddr,
    /// The address it comes from
    #[arg(long, value_name = "IP")]
    src: Option<IpAddr>,
    /// icmp, tcp, udp, gre, icmpv6 or a number
    #[arg(long, value_parser = protocol::parse, value_name = "PROTOCOL")]
    proto: Option<u8>,
    /// The port it comes from
    #[arg(long, value_name = "PORT")]
    sport: Option<u16>,
    /// The port it goes to
    #[arg(long, value_name = "PORT")]
    dport: Option<u16>,
    /// Ask about this POP besides the daemon's own, or about `all`
    #[arg(long, value_name = "NAME", default_value = "all")]
    pop: String,
}

impl MatchArgs {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        session.no_rows("a match")?;
        let traffic = Traffic {
            dst: self.dst,
            src: self.src,
            proto: self.proto,
            sport: self.sport,
            dport: self.dport,
        };
        let answer = session.client.match_traffic_at(&traffic, &self.pop).await?.value;
        session.out.sheet(&answer, |_| sheet(&answer))
    }
}

fn sheet(answer: &TrafficAnswer) -> String {
    let mut text = if answer.neighbors.is_empty() {
        "no neighbour is configured: nothing is announced here\n".to_owned()
    } else {
        let lines = answer
            .neighbors
            .iter()
            .map(|at| (at.neighbor.as_str(), format!("{}: {}", at.verdict, at.summary)));
        sheet_of(&lines.collect::<Vec<_>>())
    };
    for at in &answer.neighbors {
        text.push_str(&details(at));
    }
    if !answer.elsewhere.is_empty() {
        let lines = answer
            .elsewhere
            .iter()
            .map(|at| (at.pop.as_str(), format!("{}: {}", at.verdict, at.summary)));
        text.push_str("\nAs decided at other POPs\n");
        let lines = sheet_of(&lines.collect::<Vec<_>>());
        text.extend(lines.lines().map(|line| format!("  {line}\n")));
    }
    for at in &answer.elsewhere {
        text.push_str(&details_there(at));
    }
    if let Some(why) = &answer.elsewhere_unknown {
        text.push_str(&format!("\nOther POPs: {}\n", clean(why, MAX_TEXT_CHARS)));
    }
    text
}

fn details_there(at: &PopTraffic) -> String {
    let groups = [
        ("asked before", &at.before[..]),
        ("effective", at.effective.as_slice()),
        ("blackhole", at.blackhole.as_slice()),
    ];
    let mut text = String::new();
    for (label, rules) in groups {
        for rule in rules {
            if text.is_empty() {
                text = format!("\n{}\n", clean(&at.pop, MAX_TEXT_CHARS));
            }
            let mut line = rule.rule.clone();
            if rule.advertised_at.is_none() {
                line.push_str("  [not seen at a neighbour]");
            }
            push_names(&mut line, &rule.depends_on, &rule.mitigations);
            text.push_str(&format!("  {label:19}  {}\n", clean(&line, MAX_TEXT_CHARS)));
        }
    }
    text
}

/// What it depends on, and whose it is.
fn push_names(line: &mut String, depends_on: &[String], mitigations: &[MitigationId]) {
    if !depends_on.is_empty() {
        line.push_str(&format!("  depends on the {}", depends_on.join(" and ")));
    }
    for id in mitigations {
        line.push_str(&format!("  {}", short_id(id)));
    }
}

fn details(at: &NeighborTraffic) -> String {
    let groups = [
        ("asked before", &at.before[..]),
        ("effective", at.effective.as_slice()),
        ("blackhole", at.blackhole.as_slice()),
        ("not with the router", &at.missing[..]),
    ];
    let mut text = String::new();
    for (label, rules) in groups {
        for rule in rules {
            if text.is_empty() {
                text = format!("\n{}\n", clean(&at.neighbor, MAX_TEXT_CHARS));
            }
            text.push_str(&format!("  {label:19}  {}\n", clean(&line(rule), MAX_TEXT_CHARS)));
        }
    }
    text
}

fn line(rule: &TrafficRule) -> String {
    let mut line = rule.rule.clone().unwrap_or_else(|| rule.nlri.clone());
    line.push_str(&format!("  [{}", rule.state));
    if let Some(reason) = &rule.reason {
        line.push_str(&format!(": {reason}"));
    }
    line.push(']');
    push_names(&mut line, &rule.depends_on, &rule.mitigations);
    line
}
