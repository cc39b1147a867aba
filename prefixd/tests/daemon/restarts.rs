//! The exact rules of the daemon on each router, over restarts of either side.

use crate::support::{Daemon, MARKER, PATIENCE, Setup, ban, router};
use ipnet::IpNet;
use lab::routers::{
    Action, BytesPerSecond, Component, Family, Kind, Match, NO_EXPORT, Op, Router, RouterConfig, RouterRule,
};
use prefixd_api::event::{EventAction, EventOutcome, EventRequest};

const VICTIMS: [(&str, &str, Family); 2] = [
    ("203.0.113.20", "203.0.113.20/32", Family::Ipv4Flow),
    ("2001:db8:acce::20", "2001:db8:acce::20/128", Family::Ipv6Flow),
];

/// What a UDP flood on one port becomes: the port, and the fragments that show none.
fn wanted(victim: IpNet) -> [Match; 2] {
    let udp = Match::to(victim).with(Component::Protocol, &[(Op::Eq, 17)]);
    [
        udp.clone().with(Component::DestinationPort, &[(Op::Eq, 27015)]),
        udp.with(Component::Fragment, &[(Op::AllOf, 2)]),
    ]
}

/// Whether the router shows exactly this. FRR and ExaBGP do not show of a bit mask which test it is, and FRR shows no
/// communities.
fn is_exact(kind: Kind, held: &RouterRule, wanted: &Match) -> bool {
    let is_lossless = matches!(kind, Kind::Bird | Kind::GoBgp);
    let matches = if is_lossless || !wanted.components.contains_key(&Component::Fragment) {
        held.matches == *wanted
    } else {
        held.matches.destination == wanted.destination
            && held.matches.components.keys().eq(wanted.components.keys())
            && held.matches.components.get(&Component::Protocol)
                == wanted.components.get(&Component::Protocol)
    };
    matches
        // 5 Mbit/s in bytes.
        && held.actions == [Action::Police(BytesPerSecond(625_000.0))].into()
        && (kind == Kind::Frr || (held.has_large_community(MARKER) && held.has_community(NO_EXPORT)))
}

async fn holds_exactly(router: &Router) -> anyhow::Result<()> {
    for (_, prefix, family) in VICTIMS {
        let wanted = wanted(prefix.parse()?);
        let kind = router.kind();
        let is_exact = |rules: &[RouterRule]| {
            let has = |wanted: &Match| rules.iter().filter(|rule| is_exact(kind, rule, wanted)).count() == 1;
            rules.len() == wanted.len() && wanted.iter().all(has)
        };
        router.wait_rules(family, is_exact, PATIENCE).await?;
    }
    Ok(())
}

async fn holds_nothing(router: &Router) -> anyhow::Result<()> {
    for (_, _, family) in VICTIMS {
        router
            .wait_rules(family, <[RouterRule]>::is_empty, PATIENCE)
            .await?;
    }
    Ok(())
}

async fn rules_outlive_restarts(kind: Kind) -> anyhow::Result<()> {
    let mut router = router!(kind, RouterConfig::new(65001, 65010));
    let mut daemon = Daemon::start(Setup::default(), &[&router]).await?;
    daemon.wait_established(1).await?;
    for (victim, _, _) in VICTIMS {
        daemon.ban(victim, 27015).await?;
    }
    holds_exactly(&router).await?;

    router.restart().await?;
    holds_exactly(&router).await?;

    daemon.kill().await?;
    holds_nothing(&router).await?;
    daemon.boot().await?;
    holds_exactly(&router).await?;

    daemon.stop().await?;
    holds_nothing(&router).await?;
    daemon.boot().await?;
    holds_exactly(&router).await?;

    for (victim, _, _) in VICTIMS {
        let unban = EventRequest {
            action: EventAction::Unban,
            top_dst_ports: vec![],
            ..ban(victim, 27015)
        };
        let answer = daemon.client.send_event(&unban).await?;
        assert_eq!(answer.status, EventOutcome::Withdrawn);
    }
    holds_nothing(&router).await
}

#[tokio::test]
async fn bird_holds_the_exact_rules_after_each_restart() -> anyhow::Result<()> {
    rules_outlive_restarts(Kind::Bird).await
}

#[tokio::test]
async fn frr_holds_the_exact_rules_after_each_restart() -> anyhow::Result<()> {
    rules_outlive_restarts(Kind::Frr).await
}

#[tokio::test]
async fn gobgp_holds_the_exact_rules_after_each_restart() -> anyhow::Result<()> {
    rules_outlive_restarts(Kind::GoBgp).await
}

#[tokio::test]
async fn exabgp_holds_the_exact_rules_after_each_restart() -> anyhow::Result<()> {
    rules_outlive_restarts(Kind::ExaBgp).await
}
