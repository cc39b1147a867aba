//! A rule as vendors write it, for tickets and for checking by eye. prefixd sends none of this: routers get the NLRI.

use super::{Action, Fragment, Match, Ranges, Rule};
use ipnet::IpNet;
use std::fmt::Write;

/// As Junos `set` commands of a flow route.
#[must_use]
pub fn junos(rule: &Rule) -> String {
    let matches = &rule.matches;
    let table = match matches.dst_prefix {
        IpNet::V4(_) => "",
        IpNet::V6(_) => "rib inet6.0 ",
    };
    let route = format!("set routing-options {table}flow route {}", name(matches));
    let mut lines = vec![format!("{route} match destination {}", matches.dst_prefix)];
    let mut add = |key: &str, values: Vec<String>| {
        if !values.is_empty() {
            let list = if values.len() == 1 {
                values[0].clone()
            } else {
                format!("[ {} ]", values.join(" "))
            };
            lines.push(format!("{route} match {key} {list}"));
        }
    };
    add(
        "protocol",
        matches.protocols.iter().map(|number| protocol(*number)).collect(),
    );
    add("destination-port", ranges(&matches.dst_ports));
    add("source-port", ranges(&matches.src_ports));
    add(
        "icmp-type",
        matches.icmp_types.iter().map(ToString::to_string).collect(),
    );
    add(
        "tcp-flags",
        matches
            .tcp_flags
            .iter()
            .map(|flags| format!("\"{}\"", flags.to_string().replace('&', " & ")))
            .collect(),
    );
    add("packet-length", ranges(&matches.packet_lengths));
    add(
        "fragment",
        fragment(matches).map(str::to_owned).into_iter().collect(),
    );
    lines.push(match rule.action {
        Action::Discard => format!("{route} then discard"),
        Action::Police { rate_bps } => format!("{route} then rate-limit {}", rate_bps.0),
    });
    lines.join("\n")
}

/// As an IOS XR class map and policy map.
#[must_use]
pub fn iosxr(rule: &Rule) -> String {
    let matches = &rule.matches;
    let name = name(matches);
    let (family, mask) = match matches.dst_prefix {
        IpNet::V4(prefix) => ("ipv4", format!("{} {}", prefix.network(), prefix.netmask())),
        IpNet::V6(prefix) => ("ipv6", prefix.to_string()),
    };
    let mut text =
        format!("class-map type traffic match-all {name}\n match destination-address {family} {mask}\n");
    let mut add = |key: &str, values: Vec<String>| {
        if !values.is_empty() {
            // Writing into a String does not fail.
            let _ = writeln!(text, " match {key} {}", values.join(" "));
        }
    };
    add(
        "protocol",
        matches.protocols.iter().map(|number| protocol(*number)).collect(),
    );
    add("destination-port", ranges(&matches.dst_ports));
    add("source-port", ranges(&matches.src_ports));
    add(
        &format!("{family} icmp-type"),
        matches.icmp_types.iter().map(ToString::to_string).collect(),
    );
    add(
        "tcp-flag",
        matches
            .tcp_flags
            .iter()
            .map(|flags| {
                format!(
                    "value {:#04x} bit-mask {:#04x}",
                    flags.set,
                    flags.set | flags.clear
                )
            })
            .collect(),
    );
    add("packet length", ranges(&matches.packet_lengths));
    add(
        "fragment-type",
        fragment(matches).map(str::to_owned).into_iter().collect(),
    );
    let action = match rule.action {
        Action::Discard => "drop".to_owned(),
        Action::Police { rate_bps } => format!("police rate {} bps", rate_bps.0),
    };
    let _ = write!(
        text,
        " end-class-map\n!\npolicy-map type pbr {name}\n class type traffic {name}\n  {action}\n !\n end-policy-map\n!"
    );
    text
}

/// A name that the rule's destination gives.
fn name(matches: &Match) -> String {
    let address = matches.dst_prefix.addr().to_string().replace([':', '.'], "-");
    format!("prefixd-{address}-{}", matches.dst_prefix.prefix_len())
}

fn protocol(number: u8) -> String {
    super::text::protocol_name(number).map_or_else(|| number.to_string(), str::to_owned)
}

fn ranges(ranges: &Ranges) -> Vec<String> {
    ranges.as_slice().iter().map(ToString::to_string).collect()
}

fn fragment(matches: &Match) -> Option<&'static str> {
    matches.fragment.map(|fragment| match fragment {
        Fragment::IsFragment => "is-fragment",
    })
}

#[cfg(test)]
mod tests {
    use super::super::protocol::{ICMPV6, TCP, UDP};
    use super::*;
    use crate::rate::BitsPerSecond;

    fn everything() -> Rule {
        Rule {
            matches: Match {
                protocols: [TCP, UDP].into(),
                dst_ports: [80, 443].into_iter().collect(),
                src_ports: ["1024-65535".parse::<super::super::Range>().unwrap()]
                    .into_iter()
                    .collect(),
                tcp_flags: Some("syn&!ack".parse().unwrap()),
                packet_lengths: ["100-1500".parse::<super::super::Range>().unwrap()]
                    .into_iter()
                    .collect(),
                fragment: Some(Fragment::IsFragment),
                ..Match::destination("203.0.113.10/32".parse().unwrap())
            },
            action: Action::Police {
                rate_bps: BitsPerSecond(5_000_000),
            },
        }
    }

    fn ping6() -> Rule {
        Rule {
            matches: Match {
                protocols: [ICMPV6].into(),
                icmp_types: [128, 129].into(),
                ..Match::destination("2001:db8::1/128".parse().unwrap())
            },
            action: Action::Discard,
        }
    }

    #[test]
    fn as_junos() {
        insta::assert_snapshot!(junos(&everything()), @r#"
        set routing-options flow route prefixd-203-0-113-10-32 match destination 203.0.113.10/32
        set routing-options flow route prefixd-203-0-113-10-32 match protocol [ tcp udp ]
        set routing-options flow route prefixd-203-0-113-10-32 match destination-port [ 80 443 ]
        set routing-options flow route prefixd-203-0-113-10-32 match source-port 1024-65535
        set routing-options flow route prefixd-203-0-113-10-32 match tcp-flags "syn & !ack"
        set routing-options flow route prefixd-203-0-113-10-32 match packet-length 100-1500
        set routing-options flow route prefixd-203-0-113-10-32 match fragment is-fragment
        set routing-options flow route prefixd-203-0-113-10-32 then rate-limit 5000000
        "#);
        insta::assert_snapshot!(junos(&ping6()), @r"
        set routing-options rib inet6.0 flow route prefixd-2001-db8--1-128 match destination 2001:db8::1/128
        set routing-options rib inet6.0 flow route prefixd-2001-db8--1-128 match protocol icmpv6
        set routing-options rib inet6.0 flow route prefixd-2001-db8--1-128 match icmp-type [ 128 129 ]
        set routing-options rib inet6.0 flow route prefixd-2001-db8--1-128 then discard
        ");
    }

    #[test]
    fn as_ios_xr() {
        insta::assert_snapshot!(iosxr(&everything()), @r"
        class-map type traffic match-all prefixd-203-0-113-10-32
         match destination-address ipv4 203.0.113.10 255.255.255.255
         match protocol tcp udp
         match destination-port 80 443
         match source-port 1024-65535
         match tcp-flag value 0x02 bit-mask 0x12
         match packet length 100-1500
         match fragment-type is-fragment
         end-class-map
        !
        policy-map type pbr prefixd-203-0-113-10-32
         class type traffic prefixd-203-0-113-10-32
          police rate 5000000 bps
         !
         end-policy-map
        !
        ");
        assert!(iosxr(&ping6()).contains(" match destination-address ipv6 2001:db8::1/128\n match protocol icmpv6\n match ipv6 icmp-type 128 129\n"));
        assert!(iosxr(&ping6()).contains("\n  drop\n"));
    }
}
