use super::super::{Action, Bits, Rule};
use super::{name, protocols, ranges, texts};
use ipnet::IpNet;
use std::fmt::Write;

/// As an IOS XR class map and policy map.
#[must_use]
pub fn iosxr(rule: &Rule) -> String {
    let matches = &rule.matches;
    let name = name(matches);
    let family = match matches.dst_prefix {
        IpNet::V4(_) => "ipv4",
        IpNet::V6(_) => "ipv6",
    };
    if rule.action == Action::Rtbh {
        let destination = matches.dst_prefix;
        return format!("router static\n address-family {family} unicast\n  {destination} Null0\n !\n!");
    }
    let mut text = format!(
        "class-map type traffic match-all {name}\n match destination-address {family} {}\n",
        mask(matches.dst_prefix)
    );
    let mut add = |key: &str, values: Vec<String>| {
        if !values.is_empty() {
            // Writing into a String does not fail.
            let _ = writeln!(text, " match {key} {}", values.join(" "));
        }
    };
    add(
        &format!("source-address {family}"),
        texts(matches.source().map(mask)),
    );
    add("protocol", protocols(matches));
    add("destination-port", ranges(&matches.dst_ports));
    add("source-port", ranges(&matches.src_ports));
    add(&format!("{family} icmp-type"), texts(&matches.icmp_types));
    add(&format!("{family} icmp-code"), texts(&matches.icmp_codes));
    let flags = matches.tcp_flags.as_ref().map(Bits::alternatives);
    if let Some([one]) = flags {
        add(
            "tcp-flag",
            vec![format!(
                "value {:#04x} bit-mask {:#04x}",
                one.set,
                one.set | one.clear
            )],
        );
    }
    add("packet length", ranges(&matches.packet_lengths));
    add("dscp", texts(&matches.dscp));
    let named = matches.fragment.as_ref().filter(|fragment| {
        let alternatives = fragment.alternatives();
        alternatives
            .iter()
            .all(|one| one.clear == 0 && one.set.count_ones() == 1)
    });
    add(
        "fragment-type",
        named.map_or_else(Vec::new, |fragment| {
            fragment.to_string().split(',').map(str::to_owned).collect()
        }),
    );
    let mut cannot = |what: String, why: &str| {
        let _ = writeln!(text, " ! {what}: {why}");
    };
    if !matches.ports.is_empty() {
        cannot(
            format!("port {}", matches.ports),
            "IOS XR matches one direction at a time",
        );
    }
    if let (Some(text), Some([_, _, ..])) = (&matches.tcp_flags, flags) {
        cannot(format!("tcp-flags {text}"), "IOS XR takes one value and mask");
    }
    if let (Some(fragment), None) = (&matches.fragment, named) {
        cannot(
            format!("fragment {fragment}"),
            "IOS XR names single kinds of fragments only",
        );
    }
    if !matches.flow_labels.is_empty() {
        cannot(
            format!("flow-label {}", matches.flow_labels),
            "a traffic class of IOS XR has no such match",
        );
    }
    let action = match rule.action {
        Action::Discard | Action::Rtbh => "drop".to_owned(),
        Action::Police { rate_bps } => format!("police rate {} bps", rate_bps.0),
        Action::PolicePackets { rate_pps } => format!("police rate {rate_pps} pps"),
        Action::RedirectVrf { route_target } => format!("redirect nexthop route-target {route_target}"),
        Action::RedirectIp {
            next_hop,
            copy: false,
        } => format!("redirect {family} nexthop {next_hop}"),
        copy @ Action::RedirectIp { copy: true, .. } => {
            format!("! {copy}: IOS XR redirects, it does not copy")
        }
        Action::Mark { dscp } => format!("set dscp {dscp}"),
    };
    let action = if rule.sample {
        format!("{action}\n  ! sample: IOS XR has no such action")
    } else {
        action
    };
    let _ = write!(
        text,
        " end-class-map\n!\npolicy-map type pbr {name}\n class type traffic {name}\n  {action}\n !\n end-policy-map\n!"
    );
    text
}

fn mask(prefix: IpNet) -> String {
    match prefix {
        IpNet::V4(prefix) => format!("{} {}", prefix.network(), prefix.netmask()),
        IpNet::V6(prefix) => prefix.to_string(),
    }
}
