//! What a preview says is what then happens, and the preview itself leaves nothing behind.

use crate::support::{Daemon, Setup, router};
use anyhow::Context;
use lab::routers::{Kind, RouterConfig};
use prefixd_api::client::Error;
use prefixd_api::mitigation::MitigationRequest;
use prefixd_api::preview::{MitigationPreview, PreviewOutcome};
use prefixd_api::resource::{Announcement, AnnouncementForm};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Routers that are never there: what is compiled for them does not depend on a session.
const NEIGHBORS: &str = "
    - { name: plain, address: 127.0.0.2, port: 1, peer_asn: 65001, max_rules: 5 }
    - { name: bird, address: 127.0.0.3, port: 1, peer_asn: 65001, profile: bird }
    - { name: frr6, address: 127.0.0.4, port: 1, peer_asn: 65001, profile: frr, afi_safi: [ipv6-flowspec] }
    - { name: short, address: 127.0.0.5, port: 1, peer_asn: 65001, limits: { operators_per_component: 2, nlri_bytes: 40 } }
    - { name: trial, address: 127.0.0.6, port: 1, peer_asn: 65001, profile: huawei, enforce: false }
    - { name: hole, address: 127.0.0.7, port: 1, peer_asn: 65001, afi_safi: [ipv4-unicast], rtbh: { next_hop: 192.0.2.254 } }
";

async fn daemon() -> anyhow::Result<Daemon> {
    let setup = Setup {
        guardrails: "{ min_ttl_seconds: 1, max_ports: 16, infrastructure_prefixes: [\"198.51.100.0/24\"] }",
        ..Setup::default()
    };
    let mut daemon = Daemon::configured(setup, &[])?;
    daemon.edit(
        "prefixd.yaml",
        "neighbors:\n    []\n",
        &format!("neighbors:{NEIGHBORS}"),
    )?;
    daemon.edit(
        "inventory.yaml",
        "services: []",
        "services: [{ service_id: dns, name: DNS, allowed_ports: { udp: [53], tcp: [53, 443] }, assets: [{ ip: 203.0.113.10 }] }]",
    )?;
    daemon.edit(
        "playbooks.yaml",
        "playbooks:\n",
        "playbooks:\n  - { name: ntp, match: { vector: ntp_amplification }, steps: [{ action: discard, allow_rtbh: true, ttl_seconds: 300 }] }\n",
    )?;
    daemon.boot().await?;
    Ok(daemon)
}

/// Requests that are granted, split, widened and refused: every match with every action, on victims of all kinds, and
/// each once on what is there already.
fn requests() -> Vec<MitigationRequest> {
    const VICTIMS: [&str; 6] = [
        "203.0.113.10",
        "203.0.113.20",
        "2001:db8:acce::10",
        "203.0.113.30",
        "203.0.113.1",
        "192.0.2.7",
    ];
    const MATCHES: [&str; 9] = [
        "proto udp dport 1,3,5,7,9,11,13",
        "proto udp dport 50,52,54,60,62,64",
        "proto udp sport 19,53,123,161,389,1900",
        "proto tcp tcp-flags syn&!ack",
        "proto udp",
        "proto udp dport 1000-2000,3000-4000,5000-6000",
        "fragment is-fragment",
        "proto gre dport 53",
        "length 100-65535 proto udp sport 123",
    ];
    let actions = [
        json!({"action": "discard"}),
        json!({"action": "police", "rate_bps": 5_000_000}),
        json!({"action": "mark", "dscp": 8}),
        json!({"action": "redirect_vrf", "route_target": "4200000000:7"}),
    ];
    let by_playbook = MitigationRequest {
        victim_ip: VICTIMS[1].into(),
        vector: Some("ntp_amplification".into()),
        reason: "test".into(),
        ..MitigationRequest::default()
    };
    let mut requests = vec![by_playbook];
    for replace in [false, true] {
        for matches in MATCHES {
            for action in &actions {
                let mut request = action.clone();
                request["victim_ip"] = VICTIMS[requests.len() % VICTIMS.len()].into();
                request["vector"] = ["udp_flood", "manual"][requests.len() % 2].into();
                request["reason"] = "test".into();
                request["ttl_seconds"] = 300.into();
                request["replace"] = replace.into();
                let mut request: MitigationRequest = serde_json::from_value(request).unwrap_or_default();
                request.matches = matches.parse().ok().map(Box::new);
                requests.push(request);
            }
        }
    }
    requests
}

/// A mitigation without what is of one moment or of one name.
fn lasting(mitigation: &impl serde::Serialize) -> anyhow::Result<Value> {
    let mut value = serde_json::to_value(mitigation)?;
    for key in [
        "mitigation_id",
        "group_id",
        "created_at",
        "updated_at",
        "expires_at",
        "delivery",
        "claims",
        "previous_id",
    ] {
        value[key] = Value::Null;
    }
    Ok(value)
}

async fn traces(daemon: &Daemon) -> anyhow::Result<(u64, u64, usize)> {
    let health = daemon.client.health_detail().await?;
    let live = daemon.live().await?;
    Ok((health.engine.head, health.rules.intended, live.len()))
}

#[tokio::test]
async fn what_is_previewed_is_what_then_happens() -> anyhow::Result<()> {
    let daemon = daemon().await?;
    let (mut outcomes, mut forms) = (BTreeSet::new(), BTreeSet::new());
    for (number, request) in requests().into_iter().enumerate() {
        let before = traces(&daemon).await?;
        let preview: MitigationPreview = daemon.client.preview_mitigation(&request).await?;
        assert_eq!(traces(&daemon).await?, before, "{number}: a preview left a trace");
        outcomes.insert(preview.outcome.to_string());
        match daemon.client.create_mitigation(&request).await {
            Ok(made) => {
                assert_ne!(preview.outcome, PreviewOutcome::Refused, "{number}: {request:?}");
                let foreseen = preview.mitigation.as_ref().map(lasting).transpose()?;
                assert_eq!(foreseen, Some(lasting(&made)?), "{number}: {request:?}");
                let detail = daemon.client.mitigation(made.mitigation_id).await?.value;
                assert_eq!(preview.previews, detail.previews);
                let mut foreseen: Vec<_> = preview
                    .neighbors
                    .iter()
                    .flat_map(|one| one.announcements.clone())
                    .collect();
                let mut told = detail.announcements;
                forms.extend(told.iter().map(|one| one.form.to_string()));
                for list in [&mut foreseen, &mut told] {
                    list.sort_by_key(|one| (one.neighbor.clone(), one.original.clone(), one.part));
                }
                assert_eq!(foreseen, told, "{number}: {request:?}");
            }
            Err(Error::Problem(problem)) => {
                let foreseen = preview.problem.as_ref();
                assert_eq!(
                    foreseen.map(|foreseen| (&foreseen.code, &foreseen.detail, foreseen.status)),
                    Some((&problem.code, &problem.detail, problem.status)),
                    "{number}: {request:?}"
                );
            }
            Err(other) => return Err(other.into()),
        }
    }
    let names = |of: &[&str]| of.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(outcomes, names(PreviewOutcome::NAMES), "every outcome was tried");
    assert_eq!(forms, names(AnnouncementForm::NAMES), "and every form");
    Ok(())
}

#[tokio::test]
async fn a_budget_is_shown_before_and_after() -> anyhow::Result<()> {
    let daemon = daemon().await?;
    let request = |victim: &str, ports: &[u16]| MitigationRequest {
        victim_ip: victim.into(),
        action: Some(prefixd_api::rule::ActionType::Discard),
        ttl_seconds: Some(300),
        protocol: Some(17),
        dst_ports: ports.iter().copied().collect(),
        reason: "test".into(),
        replace: true,
        ..MitigationRequest::default()
    };
    let budgets = async |victim: &str, ports: &[u16]| -> anyhow::Result<Vec<(u64, u64, u64)>> {
        let preview = daemon.client.preview_mitigation(&request(victim, ports)).await?;
        let budgets = preview
            .neighbors
            .iter()
            .map(|one| (one.budget.max, one.budget.used, one.budget.after));
        Ok(budgets.collect())
    };
    let six = [1, 3, 5, 7, 9, 11];
    // Two parts at plain, one at bird, none at frr6, three at short, nothing at trial.
    let first = budgets("203.0.113.20", &six).await?;
    assert_eq!(
        first,
        [
            (5, 0, 2),
            (1000, 0, 1),
            (1000, 0, 0),
            (1000, 0, 3),
            (1000, 0, 0),
            (1000, 0, 0)
        ]
    );
    daemon
        .client
        .create_mitigation(&request("203.0.113.20", &six))
        .await?;
    daemon
        .client
        .create_mitigation(&request("203.0.113.30", &six))
        .await?;
    assert_eq!(budgets("203.0.113.40", &six).await?[0], (5, 4, 6), "over it");
    // An operator's rules are worth the same whoever asks for them: none is displaced, and one part waits.
    let preview = daemon
        .client
        .preview_mitigation(&request("203.0.113.40", &six))
        .await?;
    let plain = &preview.neighbors[0];
    let states: Vec<_> = plain.announcements.iter().map(|one| one.state.as_str()).collect();
    assert_eq!(
        (states, &plain.displaces),
        (vec!["session_down", "over_budget"], &vec![])
    );
    assert_eq!(
        budgets("203.0.113.20", &[80]).await?[0],
        (5, 4, 3),
        "a revision replaces"
    );

    // Detectors' are worth less: the youngest of the least important gives its place away.
    let mut detectors = self::daemon().await?;
    let mut made = Vec::new();
    for host in 50..53 {
        let answer = detectors.ban(&format!("203.0.113.{host}"), 27015).await?;
        made.extend(answer.mitigation_id);
    }
    let preview = detectors
        .client
        .preview_mitigation(&request("203.0.113.40", &six))
        .await?;
    let displaced: Vec<_> = preview
        .neighbors
        .iter()
        .map(|one| one.displaces.clone())
        .collect();
    detectors
        .client
        .create_mitigation(&request("203.0.113.40", &six))
        .await?;
    let mut lost = Vec::new();
    for id in made {
        let detail = detectors.client.mitigation(id).await?.value;
        let gave_way = |one: &Announcement| {
            one.neighbor == "plain"
                && one
                    .reason
                    .as_deref()
                    .is_some_and(|why| why.contains("more important"))
        };
        if detail.announcements.iter().any(gave_way) {
            lost.push(id);
        }
    }
    assert!(!lost.is_empty(), "the test can fail");
    assert_eq!(displaced[0], lost);
    assert!(displaced[1..].iter().all(Vec::is_empty), "{displaced:?}");
    detectors.stop().await
}

/// What withdrawing would do, and then does.
#[tokio::test]
async fn a_withdrawal_is_foreseen() -> anyhow::Result<()> {
    let bird = router!(Kind::Bird, RouterConfig::new(65001, 65010));
    let daemon = Daemon::start(Setup::default(), &[&bird]).await?;
    daemon.wait_established(1).await?;
    let id = daemon
        .ban("203.0.113.10", 27015)
        .await?
        .mitigation_id
        .context("accepted")?;
    let request = prefixd_api::preview::WithdrawPreviewRequest::default();
    let foreseen = daemon.client.preview_withdrawal(id, &request).await?;
    assert_eq!(foreseen.mitigation.mitigation_id, id);
    assert_eq!(foreseen.neighbors.len(), 1);
    assert!(
        foreseen.neighbors[0].leaves[0].contains("203.0.113.10/32"),
        "{foreseen:?}"
    );
    assert!(foreseen.cover.is_empty() && foreseen.suppressed_until.is_some());
    assert!(!foreseen.next_reports[0].comes_back, "{foreseen:?}");
    assert_eq!(daemon.live().await?.len(), 1, "nothing was done");
    let at_once = prefixd_api::preview::WithdrawPreviewRequest {
        suppress_seconds: Some(0),
    };
    assert!(daemon.client.preview_withdrawal(id, &at_once).await?.next_reports[0].comes_back);
    let withdraw = prefixd_api::mitigation::WithdrawRequest {
        reason: "test".into(),
        suppress_seconds: Some(0),
        ..Default::default()
    };
    daemon.client.withdraw_mitigation(id, &withdraw).await?;
    let ended = daemon
        .client
        .preview_withdrawal(id, &request)
        .await
        .err()
        .context("ended")?;
    assert_eq!(ended.code(), Some("conflict.ended"));
    assert_eq!(
        daemon.ban("203.0.113.10", 27015).await?.status,
        prefixd_api::event::EventOutcome::Accepted
    );
    Ok(())
}
