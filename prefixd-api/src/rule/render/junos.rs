use super::super::{Action, Fragments, RouteTarget, Rule};
use super::{name, protocols, ranges, texts};
use ipnet::IpNet;

/// As Junos `set` commands of a flow route.
#[must_use]
pub fn junos(rule: &Rule) -> String {
    let matches = &rule.matches;
    let table = match matches.dst_prefix {
        IpNet::V4(_) => "",
        IpNet::V6(_) => "rib inet6.0 ",
    };
    if rule.action == Action::Rtbh {
        return format!(
            "set routing-options {table}static route {} discard",
            matches.dst_prefix
        );
    }
    let route = format!("set routing-options {table}flow route {}", name(matches));
    let mut lines = vec![format!("{route} match destination {}", matches.dst_prefix)];
    let mut add = |key: &str, values: Vec<String>| match values.as_slice() {
        [] => {}
        [one] => lines.push(format!("{route} match {key} {one}")),
        several => lines.push(format!("{route} match {key} [ {} ]", several.join(" "))),
    };
    add("source", texts(matches.source()));
    add("protocol", protocols(matches));
    add("port", ranges(&matches.ports));
    add("destination-port", ranges(&matches.dst_ports));
    add("source-port", ranges(&matches.src_ports));
    add("icmp-type", texts(&matches.icmp_types));
    add("icmp-code", texts(&matches.icmp_codes));
    let flags = matches.tcp_flags.as_ref().map(|flags| {
        let text = flags.to_string().replace('&', " & ");
        match flags.alternatives() {
            [_] => format!("\"{text}\""),
            _ => format!("\"({})\"", text.replace(',', ") | (")),
        }
    });
    add("tcp-flags", texts(flags));
    add("packet-length", ranges(&matches.packet_lengths));
    add("dscp", texts(&matches.dscp));
    let (named, unnamed) = fragment(matches.fragment.as_ref());
    add("fragment", named);
    let has_direction = !matches.dst_ports.is_empty() || !matches.src_ports.is_empty();
    if has_direction && !matches.ports.is_empty() {
        lines.push("# Junos takes no port together with destination-port or source-port".to_owned());
    }
    if let Some(fragment) = unnamed {
        lines.push(format!(
            "# fragment {fragment}: Junos names single kinds of fragments only"
        ));
    }
    if !matches.flow_labels.is_empty() {
        lines.push(format!(
            "# flow-label {}: a flow route of Junos has no such match",
            matches.flow_labels
        ));
    }
    lines.push(match rule.action {
        Action::Discard | Action::Rtbh => format!("{route} then discard"),
        Action::Police { rate_bps } => format!("{route} then rate-limit {}", rate_bps.0),
        Action::RedirectVrf { route_target } => {
            format!("{route} then routing-instance target:{}", target(route_target))
        }
        Action::Mark { dscp } => format!("{route} then mark {dscp}"),
        other @ (Action::PolicePackets { .. } | Action::RedirectIp { .. }) => {
            format!("# {other}: a static flow route of Junos has no such action")
        }
    });
    if rule.sample {
        lines.push(format!("{route} then sample"));
    }
    lines.join("\n")
}

/// The names of the kinds, or the text of what has none.
fn fragment(fragment: Option<&Fragments>) -> (Vec<String>, Option<String>) {
    let Some(fragment) = fragment else {
        return (Vec::new(), None);
    };
    let is_named = fragment
        .alternatives()
        .iter()
        .all(|one| one.clear == 0 && one.set.count_ones() == 1);
    if is_named {
        (fragment.to_string().split(',').map(str::to_owned).collect(), None)
    } else {
        (Vec::new(), Some(fragment.to_string()))
    }
}

/// Junos marks a four-octet AS.
fn target(target: RouteTarget) -> String {
    match target {
        RouteTarget::As4 { asn, value } => format!("{asn}L:{value}"),
        other @ (RouteTarget::As2 { .. } | RouteTarget::Ipv4 { .. }) => other.to_string(),
    }
}
