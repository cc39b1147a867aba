//! Addresses that are given up, as routers hold them.

use crate::support::{Daemon, PATIENCE, Setup, router};
use lab::routers::{Family, Kind, NO_EXPORT, RouterConfig};
use prefixd_api::client::RibQuery;
use prefixd_api::mitigation::{MitigationRequest, WithdrawRequest};
use prefixd_api::resource::{AnnouncementForm, AnnouncementState};
use prefixd_api::rule::ActionType;

#[tokio::test]
async fn an_operator_gives_an_address_up_where_routers_take_blackholes() -> anyhow::Result<()> {
    let mut config = RouterConfig::new(65001, 65010);
    config.unicast = true;
    let with = router!(Kind::Bird, config);
    let without = router!(Kind::Bird, RouterConfig::new(65002, 65010));
    let mut daemon = Daemon::configured(Setup::default(), &[&with, &without])?;
    daemon.edit(
        "prefixd.yaml",
        "peer_asn: 65001, local_address: 127.0.0.1,",
        "peer_asn: 65001, local_address: 127.0.0.1, afi_safi: [ipv4-flowspec, ipv6-flowspec, ipv4-unicast, ipv6-unicast], \
         rtbh: { next_hop: 192.0.2.254, next_hop_v6: \"100::1\", communities: [\"65010:666\"] },",
    )?;
    daemon.boot().await?;
    daemon.wait_established(2).await?;

    let request = MitigationRequest {
        victim_ip: "203.0.113.10".into(),
        action: Some(ActionType::Rtbh),
        ttl_seconds: Some(300),
        reason: "customer asked".into(),
        ..MitigationRequest::default()
    };
    let made = daemon.client.create_mitigation(&request).await?;
    assert_eq!(made.rules[0].to_string(), "dst 203.0.113.10/32 then rtbh");
    let held = with.wait_unicast_routes(1, PATIENCE).await?;
    assert_eq!(held[0].prefix.to_string(), "203.0.113.10/32");
    assert_eq!(held[0].next_hop.to_string(), "192.0.2.254");
    assert_eq!(
        held[0].communities,
        [NO_EXPORT, (65535, 666), (65010, 666)].into()
    );
    assert_eq!(held[0].large_communities, [crate::support::MARKER].into());

    let detail = daemon.client.mitigation(made.mitigation_id).await?.value;
    let mut at = detail
        .announcements
        .iter()
        .map(|line| (line.neighbor.as_str(), line.state, line.reason.as_deref()));
    assert_eq!(at.next(), Some(("bird0", AnnouncementState::Advertised, None)));
    let not_configured = "the neighbour is not configured for ipv4-unicast";
    let second = Some(("bird1", AnnouncementState::Refused, Some(not_configured)));
    assert_eq!(at.next(), second);

    // Routes of every family are listed page by page.
    let rib = async |cursor: Option<&str>| {
        let query = RibQuery {
            limit: Some(1),
            cursor: cursor.map(str::to_owned),
            ..RibQuery::default()
        };
        daemon.client.peer_rib("bird0", &query).await
    };
    let first = rib(None).await?.value;
    assert_eq!(
        (first.routes[0].afi_safi.as_str(), &first.next_cursor),
        ("ipv4-unicast", &None)
    );
    let after = format!("ipv4-unicast:{}", first.routes[0].nlri);
    assert_eq!(rib(Some(&after)).await?.value.count, 0);

    let wide = MitigationRequest {
        protocol: Some(17),
        victim_ip: "203.0.113.11".into(),
        ..request.clone()
    };
    let refused = daemon.client.create_mitigation(&wide).await;
    let code = refused.err().and_then(|error| error.code().map(str::to_owned));
    assert_eq!(code.as_deref(), Some("guardrail.impossible"));

    daemon.stop().await?;
    with.wait_unicast_routes(0, PATIENCE).await?;
    daemon.boot().await?;
    with.wait_unicast_routes(1, PATIENCE).await?;
    let withdrawal = WithdrawRequest {
        reason: "over".into(),
        ..WithdrawRequest::default()
    };
    daemon
        .client
        .withdraw_mitigation(made.mitigation_id, &withdrawal)
        .await?;
    with.wait_unicast_routes(0, PATIENCE).await?;
    Ok(())
}

/// The step discards and allows it: who has FlowSpec gets the rules, who has nothing but blackholes gets one.
#[tokio::test]
async fn a_discard_is_a_blackhole_where_a_router_has_no_flowspec() -> anyhow::Result<()> {
    let mut config = RouterConfig::new(65002, 65010);
    config.unicast = true;
    let flowspec = router!(Kind::Bird, RouterConfig::new(65001, 65010));
    let plain = router!(Kind::Bird, config);
    let setup = Setup {
        sources: "{ default: { reporting: repeats, max_action: rtbh } }",
        ..Setup::default()
    };
    let mut daemon = Daemon::configured(setup, &[&flowspec, &plain])?;
    daemon.edit(
        "prefixd.yaml",
        "peer_asn: 65002, local_address: 127.0.0.1,",
        "peer_asn: 65002, local_address: 127.0.0.1, afi_safi: [ipv4-unicast], rtbh: { next_hop: 192.0.2.254 },",
    )?;
    let police = "action: police, rate_bps: 5000000,";
    daemon.edit("playbooks.yaml", police, "action: discard, allow_rtbh: true,")?;
    daemon.boot().await?;
    daemon.wait_established(2).await?;

    // Port 0 stands for fragments: the companion rule polices them, and the blackhole stands for both.
    let mut event = crate::support::ban("203.0.113.10", 27015);
    event.top_dst_ports = vec![0, 27015];
    let id = daemon.client.send_event(&event).await?.mitigation_id;
    let id = id.ok_or_else(|| anyhow::anyhow!("nothing was made"))?;
    let held = plain.wait_unicast_routes(1, PATIENCE).await?;
    assert_eq!(held[0].prefix.to_string(), "203.0.113.10/32");
    assert_eq!(held[0].next_hop.to_string(), "192.0.2.254");
    assert_eq!(held[0].communities, [NO_EXPORT, (65535, 666)].into());
    flowspec
        .wait_rules(Family::Ipv4Flow, |rules| rules.len() == 2, PATIENCE)
        .await?;

    let detail = daemon.client.mitigation(id).await?.value;
    assert!(detail.mitigation.allow_rtbh);
    let told: Vec<_> = detail
        .announcements
        .iter()
        .map(|one| {
            (
                one.neighbor.as_str(),
                one.form.as_str(),
                one.state.as_str(),
                one.rule.as_str(),
            )
        })
        .collect();
    let blackhole = ("bird1", "rtbh", "advertised", "dst 203.0.113.10/32 then rtbh");
    assert_eq!(
        told,
        [
            (
                "bird0",
                "exact",
                "advertised",
                "dst 203.0.113.10/32 proto udp dport 0,27015 then discard"
            ),
            blackhole,
            (
                "bird0",
                "exact",
                "advertised",
                "dst 203.0.113.10/32 proto udp fragment is-fragment then police 10 Mbit/s"
            ),
            blackhole,
        ]
    );
    let warning = "the neighbour is not configured for ipv4-flowspec and the step has allow_rtbh: all traffic to the address is dropped there";
    assert_eq!(detail.announcements[1].warning.as_deref(), Some(warning));
    let why = daemon.client.mitigation_why(id).await?.value;
    assert_eq!(why.announcements, detail.announcements);
    let step = why.steps.iter().find(|step| step.code == "rtbh_allowed");
    assert!(step.is_some(), "{why:?}");

    // The same before it is made, in numbers, and where people look at night.
    let request = MitigationRequest {
        victim_ip: "203.0.113.11".into(),
        vector: Some("udp_flood".into()),
        reason: "test".into(),
        ..MitigationRequest::default()
    };
    let preview = daemon.client.preview_mitigation(&request).await?;
    // Without reported ports all UDP would be dropped, so it is policed, and nothing is given up.
    assert_eq!(
        preview.neighbors[1].announcements[0].form,
        AnnouncementForm::Refused
    );
    let seen = MitigationRequest {
        vector: Some("ntp_amplification".into()),
        action: Some(ActionType::Discard),
        ttl_seconds: Some(300),
        ..request
    };
    daemon.edit("playbooks.yaml", "vector: udp_flood", "profile: normal")?;
    daemon.client.reload().await?;
    let preview = daemon.client.preview_mitigation(&seen).await?;
    let foreseen = &preview.neighbors[1];
    assert_eq!(foreseen.announcements[0].form, AnnouncementForm::Rtbh);
    assert_eq!((foreseen.budget.used, foreseen.budget.after), (1, 2));
    let metrics = daemon.metrics().await?;
    let line = "prefixd_peer_announcements{neighbor=\"bird1\",form=\"rtbh\"} 2";
    assert!(metrics.contains(line), "{metrics}");
    let health = daemon.client.health_detail().await?;
    assert!(
        health
            .notes
            .iter()
            .any(|note| note.contains("2 rules are blackhole routes at bird1")),
        "{:?}",
        health.notes
    );

    // The step allows it no more.
    daemon.edit("playbooks.yaml", " allow_rtbh: true,", "")?;
    daemon.client.reload().await?;
    plain.wait_unicast_routes(0, PATIENCE).await?;
    flowspec
        .wait_rules(Family::Ipv4Flow, |rules| rules.len() == 2, PATIENCE)
        .await?;
    let detail = daemon.client.mitigation(id).await?.value;
    assert_eq!(detail.announcements[1].form, AnnouncementForm::Refused);
    Ok(())
}
