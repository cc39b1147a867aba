//! Routers that take different things hold what each of them takes, as they themselves show it.

use crate::metrics::Scrape;
use crate::support::{Daemon, PATIENCE, Setup, router};
use ipnet::IpNet;
use lab::routers::{Component, Family, Kind, Match, Op, Router, RouterConfig};
use prefixd_api::mitigation::{Mitigation, MitigationRequest};
use prefixd_api::resource::{Announcement, AnnouncementForm, AnnouncementState};
use prefixd_api::rule::ActionType;
use std::collections::BTreeSet;

const TEN: [u16; 10] = [10, 20, 100, 1000, 2000, 5000, 9000, 20000, 30000, 40000];

/// One term of a list of ports.
enum Ports {
    One(u64),
    From(u64, u64),
}
use Ports::{From, One};

/// UDP to these ports of the victim.
fn udp(victim: IpNet, ports: &[Ports]) -> Match {
    let base = Match::to(victim).with(Component::Protocol, &[(Op::Eq, 17)]);
    ports.iter().fold(base, |matches, ports| match ports {
        One(port) => matches.with(Component::DestinationPort, &[(Op::Eq, *port)]),
        From(first, last) => matches.with(Component::DestinationPort, &[(Op::Ge, *first)]).and(
            Component::DestinationPort,
            Op::Le,
            *last,
        ),
    })
}

fn each(ports: &[u16]) -> Vec<Ports> {
    ports.iter().map(|port| One((*port).into())).collect()
}

async fn holds(router: &Router, wanted: &[Match]) -> anyhow::Result<()> {
    let wanted: BTreeSet<&Match> = wanted.iter().collect();
    let is_it = |rules: &[lab::routers::RouterRule]| {
        let held: BTreeSet<&Match> = rules.iter().map(|rule| &rule.matches).collect();
        held == wanted
    };
    router.wait_rules(Family::Ipv4Flow, is_it, PATIENCE).await?;
    Ok(())
}

async fn mitigate(daemon: &Daemon, victim: &str, action: ActionType) -> anyhow::Result<Mitigation> {
    let request = MitigationRequest {
        victim_ip: victim.into(),
        action: Some(action),
        rate_bps: (action == ActionType::Police).then_some(prefixd_api::rate::BitsPerSecond(5_000_000)),
        ttl_seconds: Some(300),
        protocol: Some(17),
        dst_ports: TEN.into_iter().collect(),
        reason: "test".into(),
        ..MitigationRequest::default()
    };
    Ok(daemon.client.create_mitigation(&request).await?)
}

async fn told(daemon: &Daemon, mitigation: &Mitigation) -> anyhow::Result<Vec<Announcement>> {
    let detail = daemon.client.mitigation(mitigation.mitigation_id).await?.value;
    Ok(detail.announcements)
}

fn forms(told: &[Announcement]) -> Vec<(&str, &str, u32, u32)> {
    told.iter()
        .map(|one| (one.neighbor.as_str(), one.form.as_str(), one.part, one.parts))
        .collect()
}

/// What the metric says of a neighbour: rules that are exact, split, widened, refused.
async fn counted(daemon: &Daemon, neighbor: &str) -> anyhow::Result<[f64; 4]> {
    let scrape = Scrape::of(daemon).await?;
    let neighbor = format!("neighbor=\"{neighbor}\"");
    Ok(["exact", "split", "widened", "refused"].map(|form| {
        let labels = [neighbor.as_str(), &format!("form=\"{form}\"")];
        scrape
            .sum("prefixd_peer_announcements", &labels)
            .unwrap_or(f64::NAN)
    }))
}

/// FRR 8.4 ends the session for a rule of more than five ports; BIRD takes ten, and here one of two is configured as
/// if it did not.
#[tokio::test]
async fn ten_ports_are_one_rule_two_or_a_wider_one() -> anyhow::Result<()> {
    let all = [
        router!(Kind::Bird, RouterConfig::new(65001, 65010)),
        router!(Kind::Bird, RouterConfig::new(65002, 65010)),
        router!(Kind::Frr, RouterConfig::new(65003, 65010)),
    ];
    let [bird, plain, frr] = &all;
    let setup = Setup {
        guardrails: "{ min_ttl_seconds: 1, max_ports: 16, infrastructure_prefixes: [\"198.51.100.0/24\"] }",
        ..Setup::default()
    };
    let mut daemon = Daemon::configured(setup, &[bird, plain, frr])?;
    let profile = |asn: u32, profile: &str| {
        let line = |profile: &str| format!("peer_asn: {asn}, local_address: 127.0.0.1, profile: {profile}");
        daemon.edit("prefixd.yaml", &line("bird"), &line(profile))
    };
    profile(65002, "generic")?;
    profile(65003, "frr")?;
    daemon.boot().await?;
    daemon.wait_established(3).await?;

    let (discarded, policed) = ("203.0.113.10/32".parse()?, "203.0.113.20/32".parse()?);
    let discard = mitigate(&daemon, "203.0.113.10", ActionType::Discard).await?;
    let police = mitigate(&daemon, "203.0.113.20", ActionType::Police).await?;
    let parts = [udp(discarded, &each(&TEN[..5])), udp(discarded, &each(&TEN[5..]))];
    let wider = udp(policed, &[From(10, 9000), One(20000), One(30000), One(40000)]);
    holds(bird, &[udp(discarded, &each(&TEN)), udp(policed, &each(&TEN))]).await?;
    for router in [plain, frr] {
        holds(router, &[parts[0].clone(), parts[1].clone(), wider.clone()]).await?;
    }

    let told_discard = told(&daemon, &discard).await?;
    assert_eq!(
        forms(&told_discard),
        [
            ("bird0", "exact", 1, 1),
            ("bird1", "split", 1, 2),
            ("bird1", "split", 2, 2),
            ("frr2", "split", 1, 2),
            ("frr2", "split", 2, 2),
        ]
    );
    let told_police = told(&daemon, &police).await?;
    assert_eq!(
        forms(&told_police),
        [
            ("bird0", "exact", 1, 1),
            ("bird1", "widened", 1, 1),
            ("frr2", "widened", 1, 1),
        ]
    );
    assert_eq!(
        told_police[2].warning.as_deref(),
        Some(
            "dport 10,20,100,1000,2000,5000,9000,20000,30000,40000 widened to 10-9000,20000,30000,40000; FRR does not enforce rates"
        )
    );
    let all_told = told_discard.iter().chain(&told_police);
    assert!(
        all_told
            .clone()
            .all(|one| one.state == AnnouncementState::Advertised)
    );
    let why = daemon.client.mitigation_why(police.mitigation_id).await?.value;
    assert_eq!(why.announcements, told_police);
    // One mitigation is split there and the other wider: each has one rule.
    assert_eq!(counted(&daemon, "frr2").await?, [0.0, 1.0, 1.0, 0.0]);
    assert_eq!(counted(&daemon, "bird0").await?, [2.0, 0.0, 0.0, 0.0]);

    // A service appears between the ports: the police rules keep out of it, and where they cannot they go.
    daemon.edit(
        "inventory.yaml",
        "services: []",
        "services: [{ service_id: game, name: Game, allowed_ports: { udp: [15, 150] }, assets: [{ ip: 203.0.113.20 }] }]",
    )?;
    daemon.client.reload().await?;
    let around = udp(policed, &[One(10), One(20), One(100), From(1000, 40000)]);
    holds(plain, &[parts[0].clone(), parts[1].clone(), around.clone()]).await?;
    holds(frr, &[parts[0].clone(), parts[1].clone(), around]).await?;
    daemon.edit(
        "inventory.yaml",
        "[15, 150]",
        "[15, 150, 1500, 3000, 7000, 10000, 25000, 35000]",
    )?;
    daemon.client.reload().await?;
    holds(plain, &parts).await?;
    holds(frr, &parts).await?;
    holds(bird, &[udp(discarded, &each(&TEN)), udp(policed, &each(&TEN))]).await?;
    let told_police = told(&daemon, &police).await?;
    assert_eq!(told_police[1].form, AnnouncementForm::Refused);
    assert_eq!(counted(&daemon, "frr2").await?, [0.0, 1.0, 0.0, 1.0]);
    let unsupported = Scrape::of(&daemon).await?;
    let unsupported = unsupported.sum("prefixd_peer_rules_unsupported", &[r#"neighbor="frr2""#]);
    assert_eq!(unsupported, Some(1.0));
    let health = daemon.client.health_detail().await?;
    assert_eq!(health.status, "degraded");
    assert!(
        health
            .reasons
            .iter()
            .any(|reason| reason.contains("1 rules are not sent to frr2")),
        "{:?}",
        health.reasons
    );

    // BIRD as it is: the second one gets what the first has.
    daemon.edit("prefixd.yaml", "profile: generic", "profile: bird")?;
    daemon.client.reload().await?;
    holds(plain, &[udp(discarded, &each(&TEN)), udp(policed, &each(&TEN))]).await?;
    Ok(())
}
