//! A router and a speaker that are neighbours.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use lab::routers::{Connect, Family, Kind, Router, RouterConfig, RouterRule};
use prefixd_bgp::flowspec::{self, Action, Component, NumericTerm};
use prefixd_bgp::{
    Change, HoldTime, Md5Key, NeighborConfig, PeerStatus, Priority, Route, SessionPhase, Speaker,
    SpeakerConfig, Target,
};
use tokio::time::Instant;

/// Far above what any step takes.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);
pub(crate) const NAME: &str = "router";
pub(crate) const MARKER: (u32, u32, u32) = (LOCAL_ASN, 8955, 1);
const LOCAL_ASN: u32 = 65010;
const EXTERNAL_ASN: u32 = 65002;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    WeDial,
    RouterDials,
    /// Collisions are likely.
    Both,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peering {
    External,
    Internal,
}

/// How one side protects the session.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Guard {
    pub(crate) password: Option<&'static str>,
    pub(crate) ttl_security: bool,
}

pub(crate) type Rule = Route;

pub(crate) struct Pair {
    pub(crate) router: Router,
    pub(crate) speaker: Speaker,
    pub(crate) config: SpeakerConfig,
}

impl Pair {
    /// Established on both sides; `None` when the router is missing and that is allowed.
    pub(crate) async fn start(kind: Kind, transport: Transport, peering: Peering) -> Option<Self> {
        let plain = (Guard::default(), Guard::default());
        let pair = Self::start_guarded(kind, transport, peering, Ipv4Addr::LOCALHOST.into(), plain).await?;
        pair.wait_established().await;
        Some(pair)
    }

    /// Both started on a loopback address of one family, each with its protection: ours first.
    pub(crate) async fn start_guarded(
        kind: Kind,
        transport: Transport,
        peering: Peering,
        localhost: IpAddr,
        (ours, theirs): (Guard, Guard),
    ) -> Option<Self> {
        let guard = |router: &mut RouterConfig, neighbor: &mut NeighborConfig| {
            router.password = theirs.password.map(str::to_owned);
            router.ttl_security = theirs.ttl_security;
            neighbor.password = ours.password.map(|key| Md5Key::new(key.as_bytes()).unwrap());
            neighbor.ttl_security = ours.ttl_security;
        };
        Self::start_with(kind, transport, peering, localhost, guard).await
    }

    /// Both started on a loopback address of one family, each as `adjust` wants it.
    pub(crate) async fn start_with(
        kind: Kind,
        transport: Transport,
        peering: Peering,
        localhost: IpAddr,
        adjust: impl FnOnce(&mut RouterConfig, &mut NeighborConfig),
    ) -> Option<Self> {
        if !kind.available().unwrap() {
            return None;
        }
        let asn = match peering {
            Peering::External => EXTERNAL_ASN,
            Peering::Internal => LOCAL_ASN,
        };
        let port = lab::net::free_port(localhost).unwrap();
        let connect = match transport {
            Transport::WeDial => Connect::Accept,
            Transport::RouterDials | Transport::Both => Connect::Dial { port },
        };
        let mut router = RouterConfig::new(asn, LOCAL_ASN).connect(connect).peer(localhost);
        let mut neighbor = NeighborConfig {
            local_address: Some(localhost),
            passive: transport == Transport::RouterDials,
            ..NeighborConfig::new(NAME, localhost, asn)
        };
        adjust(&mut router, &mut neighbor);
        let router = Router::start(kind, router).await.unwrap();
        neighbor.address = router.address().ip();
        neighbor.port = router.address().port();
        let config = SpeakerConfig {
            local_asn: LOCAL_ASN,
            router_id: Ipv4Addr::new(10, 255, 0, 1),
            listen: vec![SocketAddr::new(localhost, port)],
            hold_time: HoldTime::from_secs(30).unwrap(),
            marker: Some("65010:8955:1".parse().unwrap()),
            neighbors: vec![neighbor],
        };
        let speaker = Speaker::start(config.clone()).unwrap();
        speaker.open();
        Some(Self {
            router,
            speaker,
            config,
        })
    }

    pub(crate) async fn wait_established(&self) {
        self.wait_phase(|phase| phase == SessionPhase::Established).await;
        self.router.wait_established(LIMIT).await.unwrap();
    }

    /// The speaker is gone as by kill -9: its connections are closed by the system.
    pub(crate) fn kill_speaker(&mut self) {
        let nobody = SpeakerConfig {
            listen: vec![],
            neighbors: vec![],
            ..self.config.clone()
        };
        self.speaker = Speaker::start(nobody).unwrap();
    }

    /// The same speaker again, with these rules before the first session.
    pub(crate) fn restart_speaker(&mut self, changes: &[Change]) {
        self.start_dialling(changes);
        self.speaker.open();
    }

    /// The same, but not all that should be announced could be found out.
    pub(crate) fn restart_speaker_incomplete(&mut self, changes: &[Change]) {
        self.start_dialling(changes);
        self.speaker.open_incomplete();
    }

    fn start_dialling(&mut self, changes: &[Change]) {
        // The old one has closed its sessions but still owns its listening port; here only dialling matters.
        let dialling = SpeakerConfig {
            listen: vec![],
            ..self.config.clone()
        };
        self.speaker = Speaker::start(dialling).unwrap();
        self.speaker.apply(changes.iter().cloned()).unwrap();
    }

    /// The same speaker again on the same addresses, with these rules before the first session.
    pub(crate) async fn restart_speaker_as_it_was(&mut self, changes: &[Change]) {
        let deadline = Instant::now() + LIMIT;
        // The old one has closed its sessions; its listening socket goes a moment later.
        self.speaker = loop {
            match Speaker::start(self.config.clone()) {
                Ok(speaker) => break speaker,
                Err(error) if Instant::now() > deadline => panic!("{error}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        self.speaker.apply(changes.iter().cloned()).unwrap();
        self.speaker.open();
    }

    pub(crate) async fn wait_phase(&self, wanted: impl Fn(SessionPhase) -> bool) {
        self.wait(|status| wanted(status.phase)).await;
    }

    pub(crate) async fn wait(&self, wanted: impl Fn(&PeerStatus) -> bool) {
        let deadline = Instant::now() + LIMIT;
        loop {
            let status = self.speaker.peer(NAME).unwrap();
            if wanted(&status) {
                return;
            }
            if Instant::now() > deadline {
                panic!("{status:#?}\n{}", self.router.log());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) async fn wait_rules(&self, family: Family, count: usize) -> Vec<RouterRule> {
        match self
            .router
            .wait_rules(family, |rules| rules.len() == count, LIMIT)
            .await
        {
            Ok(rules) => rules,
            Err(error) => panic!("{error:#}\n{:#?}", self.speaker.peer(NAME)),
        }
    }
}

pub(crate) fn rule(destination: &str, action: Action, more: Vec<Component>) -> Rule {
    let destination: ipnet::IpNet = destination.parse().unwrap();
    let family = match destination {
        ipnet::IpNet::V4(_) => flowspec::Family::Ipv4,
        ipnet::IpNet::V6(_) => flowspec::Family::Ipv6,
    };
    let mut components = vec![Component::DestinationPrefix(destination)];
    components.extend(more);
    let rule = flowspec::Rule { family, components }.canonical().unwrap();
    Route {
        rule: Arc::new(rule),
        action,
        priority: Priority::default(),
        not_after: Instant::now() + Duration::from_secs(3600),
    }
}

/// A rule for the n-th victim of many.
pub(crate) fn numbered(n: u32) -> Rule {
    let victim = Ipv4Addr::from(0x0A00_0000 + n);
    rule(
        &format!("{victim}/32"),
        Action::DISCARD,
        vec![Component::Protocol(vec![NumericTerm::equal(17)])],
    )
}

pub(crate) fn announce(route: &Rule) -> Change {
    Change::Announce {
        target: Target::All,
        route: route.clone(),
    }
}

pub(crate) fn withdraw(route: &Rule) -> Change {
    Change::Withdraw {
        target: Target::All,
        key: route.rule.key().clone(),
    }
}
