//! What is shown and told of rules, beside how they are sent.

use super::*;
use prefixd_api::family::AfiSafi;
use prefixd_api::resource::AnnouncementState;

#[tokio::test]
async fn what_takes_long_to_settle_is_looked_at_in_turns() {
    let announcer = two();
    let all: BTreeSet<MitigationId> = (0..1_200).map(|_| MitigationId::new()).collect();
    let mut inner = announcer.inner();
    inner.untold = all.clone();
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        let looked_at = inner.next_untold(true);
        assert_eq!(looked_at.len(), TOLD_AT_ONCE);
        seen.extend(looked_at.iter().copied());
        inner.untold.extend(looked_at);
    }
    assert_eq!(seen, all);
    assert!(inner.next_untold(false).is_empty() && inner.untold.is_empty());
}

/// Two vectors of one victim may have the same rule: whoever looks sees what is announced, not what one of them wanted.
#[tokio::test]
async fn what_two_mitigations_share_is_shown_as_it_is_announced() {
    let announcer = two();
    let discard = json!({"match": {"protocols": [17], "dst_ports": ["27015"]}, "action_type": "discard"});
    let milder = mitigation(&announcer, 1, &police());
    let stricter = Mitigation {
        vector: serde_json::from_value(json!("dns_amplification")).unwrap(),
        ..mitigation(&announcer, 1, &discard)
    };
    let both = [milder.clone(), stricter.clone()];
    announcer.project(&state(&both[..1]), ids(&both[..1]));
    let warnings = |of: &Mitigation| -> Vec<_> {
        let lines = announcer.announcements(of, []).into_iter();
        lines.map(|line| (line.neighbor, line.warning)).collect()
    };
    assert_eq!(warnings(&milder)[0], ("a".to_owned(), None));
    announcer.project(&state(&both), ids(&both));
    let rib = announcer.rib("a", &RibFilter::default(), None, 10).unwrap();
    let [route] = &rib.routes[..] else {
        panic!("{rib:?}")
    };
    let text = "dst 203.0.113.1/32 proto udp dport 27015 then discard";
    assert_eq!(route.rule.as_deref(), Some(text));
    assert_eq!(
        (route.action, route.mitigations.len()),
        (Some(Action::Discard), 2)
    );
    let count = |which: RibFilter| announcer.rib("a", &which, None, 10).unwrap().count;
    for (family, expected) in [(AfiSafi::Ipv4Flowspec, 1), (AfiSafi::Ipv4Unicast, 0)] {
        let of_family = RibFilter {
            family: Some(family),
            ..RibFilter::default()
        };
        assert_eq!(count(of_family), expected, "{family}");
    }
    for (state, expected) in [
        (AnnouncementState::SessionDown, 1),
        (AnnouncementState::Advertised, 0),
    ] {
        let in_state = RibFilter {
            states: vec![state],
            ..RibFilter::default()
        };
        assert_eq!(count(in_state), expected, "{state}");
    }
    assert_eq!(warnings(&stricter)[0].1, None);
    let warning = warnings(&milder)[0].1.clone().unwrap();
    assert!(warning.contains(text), "{warning}");
    assert_eq!(warnings(&milder)[1], ("b".to_owned(), None), "it gets no rules");
}

#[tokio::test]
async fn what_waits_for_another_neighbour_is_told_and_told_again() {
    let (announcer, routers) = alike(8);
    let mut feed = announcer.ephemeral().subscribe();
    let watching = Arc::clone(&announcer);
    let watch = tokio::spawn(async move { watching.watch_sessions().await });
    announcer.speaker.open();
    for _ in &routers {
        assert_eq!(session(&mut feed).await.1, PeerState::Established);
    }
    let one = [mitigation(&announcer, 1, &police())];
    announcer.project(&state(&one), ids(&one));
    let delivery = |established| Delivery {
        established,
        advertised: 1,
        unsupported: 0,
    };
    assert_eq!(told(&announcer, &mut feed, 1).await, [delivery(2)]);
    assert!(announcer.is_anywhere(one[0].mitigation_id) && !announcer.is_lacking());
    // The other is told it in the place of the first.
    announcer.speaker.disable("a", "line card").unwrap();
    while told(&announcer, &mut feed, 1).await != [delivery(1)] {}
    assert!(announcer.is_anywhere(one[0].mitigation_id) && announcer.is_lacking());
    announcer.speaker.disable("b", "line card").unwrap();
    while session(&mut feed).await != ("b".to_owned(), PeerState::Disabled) {}
    assert!(!announcer.is_anywhere(one[0].mitigation_id) && announcer.is_lacking());
    watch.abort();
}
