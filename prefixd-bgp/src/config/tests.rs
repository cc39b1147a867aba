use super::*;

fn neighbor(name: &str, last: u8) -> NeighborConfig {
    NeighborConfig::new(name, IpAddr::from([192, 0, 2, last]), 65001)
}

fn speaker(neighbors: Vec<NeighborConfig>) -> SpeakerConfig {
    SpeakerConfig {
        local_asn: 65010,
        router_id: Ipv4Addr::new(10, 0, 0, 1),
        listen: vec![],
        hold_time: HoldTime(30),
        marker: None,
        neighbors,
    }
}

fn refused(neighbor: NeighborConfig) -> String {
    speaker(vec![neighbor]).validate().unwrap_err().to_string()
}

#[test]
fn a_usual_configuration_is_accepted() {
    assert_eq!(
        speaker(vec![neighbor("one", 1), neighbor("two", 2)]).validate(),
        Ok(())
    );
    assert_eq!(speaker(vec![]).validate(), Ok(()));
}

#[test]
fn what_cannot_work_is_refused_with_a_reason() {
    let base = || neighbor("one", 1);
    assert_eq!(
        SpeakerConfig {
            local_asn: 0,
            ..speaker(vec![])
        }
        .validate(),
        Err(ConfigError::LocalAsn)
    );
    let no_id = SpeakerConfig {
        router_id: Ipv4Addr::UNSPECIFIED,
        ..speaker(vec![])
    };
    assert_eq!(no_id.validate(), Err(ConfigError::RouterId));
    let twice = speaker(vec![base(), neighbor("one", 2)]).validate().unwrap_err();
    assert_eq!(
        twice.to_string(),
        "two neighbours are called one; names must be unique"
    );
    let mapped = NeighborConfig {
        address: "::ffff:192.0.2.1".parse().unwrap(),
        ..neighbor("two", 9)
    };
    let same = speaker(vec![base(), mapped]).validate().unwrap_err();
    assert!(matches!(same, ConfigError::DuplicateAddress { .. }), "{same}");
    assert_eq!(
        refused(NeighborConfig {
            peer_asn: 0,
            ..base()
        }),
        "neighbour one has AS 0; set the AS of the router"
    );
    assert_eq!(
        refused(NeighborConfig {
            families: BTreeSet::new(),
            ..base()
        }),
        "neighbour one has no address family; add ipv4-flowspec, ipv6-flowspec or both"
    );
    assert!(
        refused(NeighborConfig {
            passive: true,
            ..base()
        })
        .contains("no address of its family to accept its session on")
    );
    for address in ["0.0.0.0", "::", "224.0.0.5", "ff02::1", "fe80::1"] {
        let address = address.parse().unwrap();
        assert!(refused(NeighborConfig { address, ..base() }).contains("no address of one router"));
    }
    assert!(refused(NeighborConfig { port: 0, ..base() }).contains("port 0"));
    let local_address = Some("2001:db8::1".parse().unwrap());
    assert!(
        refused(NeighborConfig {
            local_address,
            ..base()
        })
        .contains("different families")
    );
    assert!(
        refused(NeighborConfig {
            max_rules: Some(0),
            ..base()
        })
        .contains("max_rules must not be 0")
    );
    for (limits, text) in [
        (
            Limits {
                operators_per_component: 0,
                ..Limits::default()
            },
            "operators_per_component must not be 0",
        ),
        (
            Limits {
                nlri_bytes: 0,
                ..Limits::default()
            },
            "nlri_bytes must not be 0",
        ),
        (
            Limits {
                nlri_bytes: 4000,
                ..Limits::default()
            },
            "does not fit in one UPDATE",
        ),
        (
            Limits {
                update_bytes: 4097,
                ..Limits::default()
            },
            "allow 4096 at most",
        ),
        (
            Limits {
                update_bytes: 0,
                ..Limits::default()
            },
            "update_bytes must not be 0",
        ),
    ] {
        assert!(
            refused(NeighborConfig { limits, ..base() }).contains(text),
            "{text}"
        );
    }
}

#[test]
fn a_passive_neighbour_is_fine_when_something_listens() {
    let passive = NeighborConfig {
        passive: true,
        ..neighbor("one", 1)
    };
    let listen = vec!["0.0.0.0:179".parse().unwrap()];
    assert_eq!(
        SpeakerConfig {
            listen,
            ..speaker(vec![passive])
        }
        .validate(),
        Ok(())
    );
}

#[test]
fn a_hold_time_is_at_least_three_seconds() {
    assert_eq!(HoldTime::from_secs(0), Err(ConfigError::HoldTime { seconds: 0 }));
    assert_eq!(HoldTime::from_secs(2), Err(ConfigError::HoldTime { seconds: 2 }));
    assert_eq!(HoldTime::from_secs(3).map(HoldTime::as_secs), Ok(3));
}

#[test]
fn a_large_community_is_three_numbers() {
    let marker: LargeCommunity = "65010:8955:1".parse().unwrap();
    assert_eq!(
        marker,
        LargeCommunity {
            global: 65010,
            local1: 8955,
            local2: 1
        }
    );
    assert_eq!(marker.to_string(), "65010:8955:1");
    for bad in ["", "1:2", "1:2:3:4", "1:2:x", "1:2:4294967296", "1:2:-3"] {
        assert!(bad.parse::<LargeCommunity>().is_err(), "{bad}");
    }
}

#[test]
fn a_passive_neighbour_needs_a_listener_that_it_can_reach() {
    let can_come = |listen: &str, address: &str, local: Option<&str>| {
        let passive = NeighborConfig {
            passive: true,
            local_address: local.map(|local| local.parse().unwrap()),
            ..NeighborConfig::new("one", address.parse().unwrap(), 65001)
        };
        let config = SpeakerConfig {
            listen: vec![listen.parse().unwrap()],
            ..speaker(vec![passive])
        };
        config.validate().is_ok()
    };
    assert!(can_come("0.0.0.0:179", "192.0.2.1", None));
    assert!(can_come("0.0.0.0:179", "192.0.2.1", Some("192.0.2.9")));
    assert!(can_come("192.0.2.9:179", "192.0.2.1", Some("192.0.2.9")));
    assert!(can_come("[::]:179", "2001:db8::1", None));
    assert!(can_come("0.0.0.0:179", "::ffff:192.0.2.1", None));
    assert!(
        !can_come("0.0.0.0:179", "2001:db8::1", None),
        "the default listener is IPv4 only"
    );
    assert!(!can_come("[::]:179", "192.0.2.1", None));
    assert!(!can_come("192.0.2.8:179", "192.0.2.1", Some("192.0.2.9")));
}

#[test]
fn each_unicast_family_has_a_next_hop_to_discard_at() {
    let with = |families: &[Family], v4: Option<&str>, v6: Option<&str>| NeighborConfig {
        families: families.iter().copied().collect(),
        rtbh: Some(Rtbh {
            next_hop: v4.map(|address| address.parse().unwrap()),
            next_hop_v6: v6.map(|address| address.parse().unwrap()),
            ..Rtbh::default()
        }),
        ..NeighborConfig::new("edge", [192, 0, 2, 1].into(), 65001)
    };
    let validate = |neighbor: NeighborConfig| {
        speaker(vec![neighbor])
            .validate()
            .map_err(|error| error.to_string())
    };
    let (v4, v6) = (Family::Ipv4Unicast, Family::Ipv6Unicast);
    for good in [
        with(&[v4], Some("192.0.2.254"), None),
        with(&[Family::Ipv4, v6], None, Some("100::1")),
        with(&[v4, v6], Some("192.0.2.254"), Some("100::1")),
    ] {
        assert_eq!(validate(good), Ok(()));
    }
    for (bad, part) in [
        (with(&[v4], None, None), "ipv4-unicast but no rtbh.next_hop"),
        (with(&[v6], None, None), "ipv6-unicast but no rtbh.next_hop_v6"),
        (
            with(&[v4], Some("192.0.2.254"), Some("100::1")),
            "not the family ipv6-unicast",
        ),
        (
            with(&[Family::Ipv4], Some("192.0.2.254"), None),
            "not the family ipv4-unicast",
        ),
        (with(&[v4], Some("192.0.2.1"), None), "no next hop to discard at"),
        (with(&[v4], Some("0.0.0.0"), None), "no next hop to discard at"),
        (with(&[v4], Some("127.0.0.1"), None), "no next hop to discard at"),
        (with(&[v6], None, Some("ff02::1")), "no next hop to discard at"),
    ] {
        let told = validate(bad).unwrap_err();
        assert!(told.contains(part), "{told}");
    }
    let without = NeighborConfig {
        rtbh: None,
        ..with(&[v4], None, None)
    };
    assert!(validate(without).is_err());
    let mut many = with(&[v4], Some("192.0.2.254"), None);
    many.rtbh.as_mut().unwrap().communities = (0..33).map(|n| Community::new(1, n)).collect();
    assert!(validate(many).unwrap_err().contains("33 communities"));
}

#[test]
fn communities_are_two_numbers_of_16_bits() {
    assert_eq!("65535:666".parse(), Ok(Community::BLACKHOLE));
    assert_eq!(Community::NO_EXPORT.to_string(), "65535:65281");
    for text in ["", "1", "1:", "65536:1", "1:65536", "1:2:3", "-1:2", "blackhole"] {
        assert!(text.parse::<Community>().is_err(), "{text}");
    }
}
