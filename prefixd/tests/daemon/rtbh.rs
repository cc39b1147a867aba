//! Addresses that are given up, as routers hold them.

use crate::support::{Daemon, PATIENCE, Setup};
use lab::routers::{Kind, NO_EXPORT, Router, RouterConfig};
use prefixd_api::mitigation::{MitigationRequest, WithdrawRequest};
use prefixd_api::resource::AnnouncementState;
use prefixd_api::rule::ActionType;

#[tokio::test]
async fn an_operator_gives_an_address_up_where_routers_take_blackholes() -> anyhow::Result<()> {
    let mut config = RouterConfig::new(65001, 65010);
    config.unicast = true;
    let with = Router::start(Kind::Bird, config).await?;
    let without = Router::start(Kind::Bird, RouterConfig::new(65002, 65010)).await?;
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
