use super::super::protocol::{ICMPV6, TCP, UDP};
use super::super::{Action, Range, Rule};
use super::*;
use crate::rate::BitsPerSecond;

fn everything() -> Rule {
    Rule::new(
        Match {
            protocols: [TCP, UDP].into(),
            dst_ports: [80, 443].into_iter().collect(),
            src_ports: ["1024-65535".parse::<Range>().unwrap()].into_iter().collect(),
            tcp_flags: Some("syn&!ack".parse().unwrap()),
            packet_lengths: ["100-1500".parse::<Range>().unwrap()].into_iter().collect(),
            fragment: Some("is-fragment".parse().unwrap()),
            ..Match::destination("203.0.113.10/32".parse().unwrap())
        },
        Action::Police {
            rate_bps: BitsPerSecond(5_000_000),
        },
    )
}

fn rule(text: &str) -> Rule {
    Rule::new(text.parse().unwrap(), Action::Discard)
}

fn rare() -> Rule {
    rule(
        "dst 203.0.113.10/32 src 198.51.100.0/24 proto icmp,tcp port 53,1000-2000 dport 80 icmp-type 3 icmp-code 0,1 tcp-flags syn&!ack,rst dscp 0,46 fragment first-fragment,!is-fragment",
    )
}

fn ping6() -> Rule {
    Rule::new(
        Match {
            protocols: [ICMPV6].into(),
            icmp_types: [128, 129].into(),
            ..Match::destination("2001:db8::1/128".parse().unwrap())
        },
        Action::Discard,
    )
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
    insta::assert_snapshot!(junos(&rare()), @r#"
    set routing-options flow route prefixd-203-0-113-10-32 match destination 203.0.113.10/32
    set routing-options flow route prefixd-203-0-113-10-32 match source 198.51.100.0/24
    set routing-options flow route prefixd-203-0-113-10-32 match protocol [ icmp tcp ]
    set routing-options flow route prefixd-203-0-113-10-32 match port [ 53 1000-2000 ]
    set routing-options flow route prefixd-203-0-113-10-32 match destination-port 80
    set routing-options flow route prefixd-203-0-113-10-32 match icmp-type 3
    set routing-options flow route prefixd-203-0-113-10-32 match icmp-code [ 0 1 ]
    set routing-options flow route prefixd-203-0-113-10-32 match tcp-flags "(syn & !ack) | (rst)"
    set routing-options flow route prefixd-203-0-113-10-32 match dscp [ 0 46 ]
    # Junos takes no port together with destination-port or source-port
    # fragment !is-fragment,first-fragment: Junos names single kinds of fragments only
    set routing-options flow route prefixd-203-0-113-10-32 then discard
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
    insta::assert_snapshot!(iosxr(&rare()), @r"
    class-map type traffic match-all prefixd-203-0-113-10-32
     match destination-address ipv4 203.0.113.10 255.255.255.255
     match source-address ipv4 198.51.100.0 255.255.255.0
     match protocol icmp tcp
     match destination-port 80
     match ipv4 icmp-type 3
     match ipv4 icmp-code 0 1
     match dscp 0 46
     ! port 53,1000-2000: IOS XR matches one direction at a time
     ! tcp-flags syn&!ack,rst: IOS XR takes one value and mask
     ! fragment !is-fragment,first-fragment: IOS XR names single kinds of fragments only
     end-class-map
    !
    policy-map type pbr prefixd-203-0-113-10-32
     class type traffic prefixd-203-0-113-10-32
      drop
     !
     end-policy-map
    !
    ");
    assert!(iosxr(&ping6()).contains(" match destination-address ipv6 2001:db8::1/128\n match protocol icmpv6\n match ipv6 icmp-type 128 129\n"));
    assert!(iosxr(&ping6()).contains("\n  drop\n"));
}

#[test]
fn as_frr_shows_it() {
    insta::assert_snapshot!(frr(&everything()), @r"
    BGP flowspec entry:
    	Destination Address 203.0.113.10/32
    	IP Protocol = 6, = 17
    	Destination Port = 80, = 443
    	Source Port >= 1024
    	TCP Flags = 2, & ! 16
    	Packet Length >= 100, <= 1500
    	Packet Fragment = 2
    	FS:rate 625000.000000
    ");
    insta::assert_snapshot!(frr(&rare()), @r"
    BGP flowspec entry:
    	Destination Address 203.0.113.10/32
    	Source Address 198.51.100.0/24
    	IP Protocol = 1, = 6
    	Port = 53, >= 1000, <= 2000
    	Destination Port = 80
    	ICMP Type = 3
    	ICMP Code <= 1
    	TCP Flags = 2, & ! 16, = 4
    	DSCP field = 0, = 46
    	Packet Fragment ! 2, = 4
    	FS:rate 0.000000
    ");
    insta::assert_snapshot!(frr(&rule("dst 2001:db8::1/128 flow-label 7,74565-1048575")), @r"
    BGP flowspec entry:
    	Destination Address 2001:db8::1/128/off 0
    	Packet Flow Label = 7, >= 74565
    	FS:rate 0.000000
    ");
}

/// Whatever a vendor cannot write is there as a comment: no rendering leaves a component out.
#[test]
fn nothing_is_left_out() {
    for render in [junos, iosxr] {
        let text = render(&rule("dst 2001:db8::1/128 flow-label 7 fragment !is-fragment"));
        assert!(
            text.contains("flow-label 7") && text.contains("fragment !is-fragment"),
            "{text}"
        );
    }
}

#[test]
fn every_action_is_written_or_named() {
    let all: String = [
        "police 1000 packets/s",
        "redirect vrf 4200000000:7 sample",
        "redirect to 192.0.2.9",
        "redirect to 192.0.2.9 copy",
        "mark 46",
    ]
    .map(|action| {
        let rule: Rule = format!("dst 203.0.113.10/32 then {action}").parse().unwrap();
        [junos, iosxr, frr]
            .map(|render| {
                let text = render(&rule);
                let lines: Vec<&str> = text
                    .lines()
                    .skip_while(|line| !line.contains("203"))
                    .skip(1)
                    .collect();
                lines
                    .into_iter()
                    .filter(|line| {
                        !matches!(line.trim(), "!" | "end-class-map" | "end-policy-map")
                            && !line.contains(" type ")
                    })
                    .map(|line| format!("{}\n", line.trim()))
                    .collect::<String>()
            })
            .concat()
    })
    .concat();
    insta::assert_snapshot!(all, @r"
    # police 1000 packets/s: a static flow route of Junos has no such action
    match destination-address ipv4 203.0.113.10 255.255.255.255
    police rate 1000 pps
    # police 1000 packets/s
    set routing-options flow route prefixd-203-0-113-10-32 then routing-instance target:4200000000L:7
    set routing-options flow route prefixd-203-0-113-10-32 then sample
    match destination-address ipv4 203.0.113.10 255.255.255.255
    redirect nexthop route-target 4200000000:7
    ! sample: IOS XR has no such action
    FS:redirect VRF RT:4200000000:7
    FS:action sample
    # redirect to 192.0.2.9: a static flow route of Junos has no such action
    match destination-address ipv4 203.0.113.10 255.255.255.255
    redirect ipv4 nexthop 192.0.2.9
    # redirect to 192.0.2.9
    # redirect to 192.0.2.9 copy: a static flow route of Junos has no such action
    match destination-address ipv4 203.0.113.10 255.255.255.255
    ! redirect to 192.0.2.9 copy: IOS XR redirects, it does not copy
    # redirect to 192.0.2.9 copy
    set routing-options flow route prefixd-203-0-113-10-32 then mark 46
    match destination-address ipv4 203.0.113.10 255.255.255.255
    set dscp 46
    FS:marking 46
    ");
}

#[test]
fn a_blackhole_is_the_static_route_that_does_the_same() {
    let rule = |text: &str| text.parse::<Rule>().unwrap();
    let v4 = rule("dst 203.0.113.10/32 then rtbh");
    let v6 = rule("dst 2001:db8::10/128 then rtbh");
    assert_eq!(
        junos(&v4),
        "set routing-options static route 203.0.113.10/32 discard"
    );
    assert_eq!(
        junos(&v6),
        "set routing-options rib inet6.0 static route 2001:db8::10/128 discard"
    );
    assert_eq!(frr(&v4), "ip route 203.0.113.10/32 blackhole");
    assert_eq!(frr(&v6), "ipv6 route 2001:db8::10/128 blackhole");
    assert_eq!(
        iosxr(&v6),
        "router static\n address-family ipv6 unicast\n  2001:db8::10/128 Null0\n !\n!"
    );
}
