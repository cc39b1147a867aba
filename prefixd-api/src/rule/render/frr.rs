use super::super::{Action, Bits, Rule};
use crate::rule::Ranges;
use ipnet::IpNet;
use std::fmt::Write;

/// As FRR shows the route in `show bgp ipv4 flowspec detail`, where `, ` stands for both AND and OR. A blackhole is the
/// static route that does the same by hand.
#[must_use]
pub fn frr(rule: &Rule) -> String {
    let matches = &rule.matches;
    if rule.action == Action::Rtbh {
        let family = if matches.dst_prefix.addr().is_ipv4() {
            "ip"
        } else {
            "ipv6"
        };
        return format!("{family} route {} blackhole", matches.dst_prefix);
    }
    let mut text = "BGP flowspec entry:\n".to_owned();
    let mut add = |key: &str, value: String| {
        if !value.is_empty() {
            // Writing into a String does not fail.
            let _ = writeln!(text, "\t{key} {value}");
        }
    };
    add("Destination Address", prefix(matches.dst_prefix));
    add(
        "Source Address",
        matches.source().map_or_else(String::new, prefix),
    );
    add("IP Protocol", octets(matches.protocols.iter().copied()));
    add("Port", numbers(&matches.ports));
    add("Destination Port", numbers(&matches.dst_ports));
    add("Source Port", numbers(&matches.src_ports));
    add("ICMP Type", octets(matches.icmp_types.iter().copied()));
    add("ICMP Code", octets(matches.icmp_codes.iter().copied()));
    add(
        "TCP Flags",
        matches.tcp_flags.as_ref().map_or_else(String::new, bits),
    );
    add("Packet Length", numbers(&matches.packet_lengths));
    add("DSCP field", octets(matches.dscp.iter().map(|dscp| dscp.get())));
    add(
        "Packet Fragment",
        matches.fragment.as_ref().map_or_else(String::new, bits),
    );
    let labels = matches.flow_labels.as_slice();
    add(
        "Packet Flow Label",
        list(labels.iter().map(|(first, last)| terms(*first, *last, 0xF_FFFF))),
    );
    let action = match rule.action {
        Action::Discard | Action::Rtbh => "FS:rate 0.000000".to_owned(),
        Action::Police { rate_bps } => format!("FS:rate {:.6}", rate_bps.to_wire_bytes_per_second()),
        Action::RedirectVrf { route_target } => format!("FS:redirect VRF RT:{route_target}"),
        Action::Mark { dscp } => format!("FS:marking {dscp}"),
        // FRR has no words of its own for these.
        other @ (Action::PolicePackets { .. } | Action::RedirectIp { .. }) => format!("# {other}"),
    };
    let action = if rule.sample {
        format!("{action}\n\tFS:action sample")
    } else {
        action
    };
    let _ = write!(text, "\t{action}");
    text
}

fn prefix(prefix: IpNet) -> String {
    match prefix {
        IpNet::V4(prefix) => prefix.to_string(),
        IpNet::V6(prefix) => format!("{prefix}/off 0"),
    }
}

fn list(terms: impl Iterator<Item = String>) -> String {
    terms.collect::<Vec<_>>().join(", ")
}

fn octets(numbers: impl Iterator<Item = u8>) -> String {
    let numbers: Ranges = numbers.map(u16::from).collect();
    list(
        numbers
            .as_slice()
            .iter()
            .map(|range| terms(range.first.into(), range.last.into(), 0xFF)),
    )
}

fn numbers(ranges: &Ranges) -> String {
    list(
        ranges
            .as_slice()
            .iter()
            .map(|range| terms(range.first.into(), range.last.into(), 0xFFFF)),
    )
}

/// The terms that are sent for a range.
fn terms(first: u32, last: u32, max: u32) -> String {
    match (first, last) {
        _ if first == last => format!("= {first}"),
        (0, _) => format!("<= {last}"),
        _ if last == max => format!(">= {first}"),
        _ if first + 1 == last => format!("= {first}, = {last}"),
        _ => format!(">= {first}, <= {last}"),
    }
}

fn bits<F>(bits: &Bits<F>) -> String {
    list(bits.alternatives().iter().map(|one| {
        let set = (one.set != 0).then(|| format!("= {}", one.set));
        let clear = (one.clear != 0).then(|| format!("! {}", one.clear));
        match (set, clear) {
            (Some(set), Some(clear)) => format!("{set}, & {clear}"),
            (set, clear) => set.or(clear).unwrap_or_default(),
        }
    }))
}
