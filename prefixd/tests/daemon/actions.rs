//! Every action, from the API to the tables of two routers that show them without loss.

use crate::support::{Daemon, Setup, router, wait_for};
use lab::routers::{Family, Kind, Router, RouterConfig};
use prefixd_api::mitigation::MitigationRequest;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What is asked for, and how the lab writes what a router holds.
fn actions() -> Vec<(Value, &'static str)> {
    let vrf = |target: &str| json!({"action": "redirect_vrf", "route_target": target});
    let hop = |address: &str, copy: bool| json!({"action": "redirect_ip", "next_hop": address, "copy": copy});
    vec![
        (json!({"action": "discard"}), "discard"),
        (
            json!({"action": "police", "rate_bps": 1_000_000}),
            "police 125000 bytes/s",
        ),
        (
            json!({"action": "police", "rate_pps": 1000}),
            "police 1000 packets/s",
        ),
        (json!({"action": "mark", "dscp": 46}), "mark 46"),
        (vrf("65010:100"), "redirect 65010:100"),
        (vrf("4200000000:7"), "redirect 4200000000:7"),
        (vrf("192.0.2.1:7"), "redirect 192.0.2.1:7"),
        (hop("192.0.2.9", false), "redirect to 192.0.2.9"),
        (hop("192.0.2.9", true), "copy to 192.0.2.9"),
        (hop("2001:db8::9", false), "redirect to 2001:db8::9"),
        (hop("2001:db8::9", true), "copy to 2001:db8::9"),
        (
            json!({"action": "discard", "sample": true}),
            "discard + traffic-action terminal=false sample=true",
        ),
    ]
}

async fn held(router: &Router) -> anyhow::Result<BTreeMap<String, String>> {
    let mut rules = router.rules(Family::Ipv4Flow).await?;
    rules.extend(router.rules(Family::Ipv6Flow).await?);
    let one = |rule: lab::routers::RouterRule| {
        let actions: Vec<_> = rule.actions.iter().map(ToString::to_string).collect();
        (rule.matches.to_string(), actions.join(" + "))
    };
    Ok(rules.into_iter().map(one).collect())
}

#[tokio::test]
async fn every_action_is_in_the_tables_of_routers_as_it_was_asked_for() -> anyhow::Result<()> {
    let all = [
        router!(Kind::Bird, RouterConfig::new(65010, 65010)),
        router!(Kind::GoBgp, RouterConfig::new(65010, 65010)),
    ];
    let routers: Vec<_> = all.iter().collect();
    let daemon = Daemon::start(Setup::default(), &routers).await?;
    daemon.wait_established(2).await?;
    let mut expected = BTreeMap::new();
    for (last, (action, shown)) in (10..).zip(actions()) {
        let mut request = action;
        // A next hop is of the victim's family.
        let is_ipv6 = request["next_hop"].as_str().is_some_and(|hop| hop.contains(':'));
        let (victim, length) = if is_ipv6 {
            (format!("2001:db8:acce::{last}"), 128)
        } else {
            (format!("203.0.113.{last}"), 32)
        };
        request["victim_ip"] = victim.as_str().into();
        request["protocol"] = 17.into();
        request["dst_ports"] = json!(["27015"]);
        request["ttl_seconds"] = 300.into();
        request["reason"] = "test".into();
        let request: MitigationRequest = serde_json::from_value(request)?;
        daemon.client.create_mitigation(&request).await?;
        expected.insert(
            format!("dst {victim}/{length} proto =17 dport =27015"),
            shown.to_owned(),
        );
    }
    for router in &all {
        wait_for("every rule", || async {
            Ok((held(router).await?.len() == expected.len()).then_some(()))
        })
        .await?;
        assert_eq!(held(router).await?, expected, "{:?}", router.kind());
    }
    Ok(())
}
