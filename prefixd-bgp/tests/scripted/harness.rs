//! A neighbour that follows a script: raw bytes on a loopback socket, nothing of the speaker's own code.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prefixd_bgp::flowspec::{Action, Component, Family, NlriKey, NumericTerm, Rule};
use prefixd_bgp::{
    Change, HoldTime, NeighborConfig, Priority, Route, SessionPhase, Speaker, SpeakerConfig, Target,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};

/// Far above what any step takes; a test that hits it has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);
pub(crate) const LOCAL_ASN: u32 = 65010;
pub(crate) const PEER_ASN: u32 = 65001;
pub(crate) const NAME: &str = "router";

pub(crate) const OPEN: u8 = 1;
pub(crate) const UPDATE: u8 = 2;
pub(crate) const NOTIFICATION: u8 = 3;
pub(crate) const KEEPALIVE: u8 = 4;
pub(crate) const REFRESH: u8 = 5;

/// One message as received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) kind: u8,
    pub(crate) body: Vec<u8>,
}

impl Message {
    pub(crate) fn is_end_of_rib(&self) -> bool {
        self.kind == UPDATE && self.body.len() == 4 + 4 + 3
    }

    /// Code and subcode of a NOTIFICATION.
    pub(crate) fn notification(&self) -> (u8, u8) {
        assert_eq!(self.kind, NOTIFICATION, "{self:?}");
        (self.body[0], self.body[1])
    }

    /// (announced, withdrawn) NLRI of an UPDATE whose MP attribute comes first.
    pub(crate) fn nlri(&self) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        assert_eq!(self.kind, UPDATE, "{self:?}");
        assert_eq!(self.body[4], 0x90, "optional, extended length");
        let length = usize::from(u16::from_be_bytes([self.body[6], self.body[7]]));
        let value = &self.body[8..8 + length];
        match self.body[5] {
            14 => (split_nlri(&value[5..]), vec![]),
            15 => (vec![], split_nlri(&value[3..])),
            other => panic!("attribute {other} comes first"),
        }
    }
}

fn split_nlri(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let length = if bytes[0] < 0xF0 {
            1 + usize::from(bytes[0])
        } else {
            2 + (usize::from(bytes[0] & 0xF) << 8 | usize::from(bytes[1]))
        };
        all.push(bytes[..length].to_vec());
        bytes = &bytes[length..];
    }
    all
}

pub(crate) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![0xFF; 16];
    out.extend(u16::try_from(19 + body.len()).unwrap().to_be_bytes());
    out.push(kind);
    out.extend(body);
    out
}

/// An OPEN with both FlowSpec families, route refresh, enhanced refresh and a four-octet AS.
#[derive(Debug, Clone)]
pub(crate) struct OpenScript {
    pub(crate) asn: u32,
    pub(crate) hold: u16,
    pub(crate) router_id: Ipv4Addr,
    pub(crate) families: Vec<u16>,
    /// IPv4 and IPv6 unicast, too.
    pub(crate) unicast: bool,
    pub(crate) enhanced_refresh: bool,
    /// The value of a graceful restart capability.
    pub(crate) restart: Option<Vec<u8>>,
}

impl Default for OpenScript {
    fn default() -> Self {
        Self {
            asn: PEER_ASN,
            hold: 90,
            router_id: Ipv4Addr::new(10, 0, 0, 2),
            families: vec![1, 2],
            unicast: false,
            enhanced_refresh: true,
            restart: None,
        }
    }
}

impl OpenScript {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut capabilities = Vec::new();
        for afi in &self.families {
            capabilities.extend([1, 4, 0, u8::try_from(*afi).unwrap(), 0, 133]);
        }
        if self.unicast {
            capabilities.extend([1, 4, 0, 1, 0, 1, 1, 4, 0, 2, 0, 1]);
        }
        capabilities.extend([2, 0]);
        if self.enhanced_refresh {
            capabilities.extend([70, 0]);
        }
        if let Some(restart) = &self.restart {
            capabilities.extend([64, u8::try_from(restart.len()).unwrap()]);
            capabilities.extend(restart);
        }
        capabilities.extend([65, 4]);
        capabilities.extend(self.asn.to_be_bytes());
        let mut body = vec![4];
        body.extend(u16::try_from(self.asn).unwrap_or(23456).to_be_bytes());
        body.extend(self.hold.to_be_bytes());
        body.extend(self.router_id.octets());
        body.push(u8::try_from(capabilities.len() + 2).unwrap());
        body.extend([2, u8::try_from(capabilities.len()).unwrap()]);
        body.extend(capabilities);
        message(OPEN, &body)
    }
}

/// One connection, from the neighbour's side.
pub(crate) struct Peer {
    pub(crate) stream: TcpStream,
}

impl Peer {
    pub(crate) async fn dial(to: SocketAddr, from: Ipv4Addr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(IpAddr::V4(from), 0)).unwrap();
        Self {
            stream: timeout(PATIENCE, socket.connect(to)).await.unwrap().unwrap(),
        }
    }

    /// Whether the speaker's system asks again and again for room in a window that this side has shut: then its socket takes
    /// nothing more. The kernel says so of each of its sockets, in proc_net_tcp's column `tr`.
    pub(crate) fn has_shut_its_window(&self) -> bool {
        const ZERO_WINDOW_PROBE: &str = "04";
        let hex = |address: SocketAddr| match address.ip() {
            IpAddr::V4(ip) => format!("{:08X}:{:04X}", u32::from_ne_bytes(ip.octets()), address.port()),
            IpAddr::V6(_) => panic!("the scripts are played over IPv4"),
        };
        let ours = hex(self.stream.local_addr().unwrap());
        let theirs = hex(self.stream.peer_addr().unwrap());
        let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
        sockets.lines().any(|line| {
            let mut columns = line.split_whitespace().skip(1);
            let ends = (columns.next(), columns.next());
            let timer = columns.nth(2).and_then(|timer| timer.split(':').next());
            ends == (Some(&*theirs), Some(&*ours)) && timer == Some(ZERO_WINDOW_PROBE)
        })
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        timeout(PATIENCE, self.stream.write_all(bytes))
            .await
            .unwrap()
            .unwrap();
    }

    pub(crate) async fn receive(&mut self) -> Message {
        self.try_receive()
            .await
            .expect("the speaker closed the connection")
    }

    /// `None` when the connection ends.
    pub(crate) async fn try_receive(&mut self) -> Option<Message> {
        let mut header = [0; 19];
        if timeout(PATIENCE, self.stream.read_exact(&mut header))
            .await
            .expect("no message in time")
            .is_err()
        {
            return None;
        }
        assert_eq!(header[..16], [0xFF; 16]);
        let length = usize::from(u16::from_be_bytes([header[16], header[17]]));
        assert!((19..=4096).contains(&length), "message of {length} bytes");
        let mut body = vec![0; length - 19];
        timeout(PATIENCE, self.stream.read_exact(&mut body))
            .await
            .unwrap()
            .ok()?;
        Some(Message {
            kind: header[18],
            body,
        })
    }

    pub(crate) async fn expect_open(&mut self) {
        assert_eq!(self.receive().await.kind, OPEN);
    }

    /// The next message of a kind; KEEPALIVEs before it are skipped.
    pub(crate) async fn expect(&mut self, kind: u8) -> Message {
        loop {
            let message = self.receive().await;
            if message.kind == kind {
                return message;
            }
            assert_eq!(message.kind, KEEPALIVE, "expected type {kind}, got {message:?}");
        }
    }

    /// The next UPDATE that is no End-of-RIB.
    pub(crate) async fn update(&mut self) -> Message {
        loop {
            let update = self.expect(UPDATE).await;
            if !update.is_end_of_rib() {
                return update;
            }
        }
    }

    /// Ends the connection with a RST.
    pub(crate) fn reset(self) {
        self.stream.set_zero_linger().unwrap();
    }

    /// OPEN and KEEPALIVE both ways.
    pub(crate) async fn establish(&mut self, open: &OpenScript) -> Message {
        self.send(&open.bytes()).await;
        self.send(&message(KEEPALIVE, &[])).await;
        let theirs = self.receive().await;
        assert_eq!(theirs.kind, OPEN);
        self.expect(KEEPALIVE).await;
        theirs
    }

    /// Both End-of-RIB markers, with everything announced before them.
    pub(crate) async fn initial_sync(&mut self) -> Vec<Vec<u8>> {
        let mut announced = Vec::new();
        let mut ends = 0;
        while ends < 2 {
            let update = self.expect(UPDATE).await;
            if update.is_end_of_rib() {
                ends += 1;
            } else {
                announced.extend(update.nlri().0);
            }
        }
        announced
    }
}

/// The neighbour's listening side.
pub(crate) struct Router {
    pub(crate) listener: TcpListener,
}

impl Router {
    pub(crate) async fn bind() -> Self {
        Self {
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        }
    }

    pub(crate) async fn bind_at(address: Ipv4Addr) -> Self {
        Self::bind_to(&format!("{address}:0")).await
    }

    pub(crate) async fn bind_to(address: &str) -> Self {
        Self {
            listener: TcpListener::bind(address).await.unwrap(),
        }
    }

    /// With the smallest receive buffer, for a neighbour that will stop reading.
    pub(crate) async fn bind_narrow() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Self {
            listener: socket.listen(4).unwrap(),
        }
    }

    pub(crate) fn neighbor(&self) -> NeighborConfig {
        let address = self.listener.local_addr().unwrap();
        NeighborConfig {
            port: address.port(),
            ..NeighborConfig::new(NAME, address.ip(), PEER_ASN)
        }
    }

    pub(crate) async fn accept(&self) -> Peer {
        let (stream, _) = timeout(PATIENCE, self.listener.accept())
            .await
            .expect("nobody dialled")
            .unwrap();
        Peer { stream }
    }

    /// Accepts, opens the session and takes the initial transfer.
    pub(crate) async fn session(&self, open: &OpenScript) -> Peer {
        let mut peer = self.accept().await;
        peer.establish(open).await;
        peer
    }
}

pub(crate) fn config(neighbors: Vec<NeighborConfig>) -> SpeakerConfig {
    SpeakerConfig {
        local_asn: LOCAL_ASN,
        router_id: Ipv4Addr::new(10, 0, 0, 1),
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        hold_time: HoldTime::from_secs(30).unwrap(),
        marker: Some("65010:8955:1".parse().unwrap()),
        neighbors,
    }
}

pub(crate) fn start(neighbors: Vec<NeighborConfig>) -> Speaker {
    let speaker = Speaker::start(config(neighbors)).unwrap();
    speaker.open();
    speaker
}

/// A rule for the n-th victim.
pub(crate) fn route(n: u32) -> Route {
    route_until(n, Instant::now() + Duration::from_secs(3600))
}

pub(crate) fn route_until(n: u32, not_after: Instant) -> Route {
    let victim = Ipv4Addr::from(0x0A00_0000 + n);
    let rule = Rule {
        family: Family::Ipv4,
        components: vec![
            Component::DestinationPrefix(ipnet::IpNet::new(victim.into(), 32).unwrap()),
            Component::Protocol(vec![NumericTerm::equal(17)]),
        ],
    };
    Route {
        rule: Arc::new(rule.canonical().unwrap()),
        action: Action::DISCARD,
        priority: Priority::default(),
        not_after,
    }
}

pub(crate) fn announce(route: Route) -> Change {
    Change::Announce {
        target: Target::All,
        route,
    }
}

pub(crate) fn withdraw(route: &Route) -> Change {
    Change::Withdraw {
        target: Target::All,
        key: route.rule.key().clone(),
    }
}

pub(crate) fn key(route: &Route) -> NlriKey {
    route.rule.key().clone()
}

/// Waits until the speaker sees the condition; looks again after every millisecond.
pub(crate) async fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

pub(crate) async fn wait_for_phase(speaker: &Speaker, name: &str, phase: SessionPhase) {
    wait_for(phase.as_str(), || speaker.peer(name).unwrap().phase == phase).await;
}

/// What a router does when it is told the rule it cannot take.
#[derive(Debug, Clone)]
pub(crate) enum Death {
    /// RST.
    Reset,
    /// A NOTIFICATION 3/9 with this data.
    Update(Vec<u8>),
    /// Nothing is said or read any more, until the other side gives up.
    Silence,
}

/// A router that serves one session after the other and cannot take some rules.
pub(crate) struct Deadly {
    state: Arc<Mutex<DeadlyState>>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct DeadlyState {
    table: BTreeSet<Vec<u8>>,
    sessions: usize,
    deaths: usize,
}

impl Deadly {
    pub(crate) fn start(router: Router, open: OpenScript, cannot_take: Vec<NlriKey>, death: Death) -> Self {
        let state = Arc::new(Mutex::new(DeadlyState::default()));
        let shared = state.clone();
        let task = tokio::spawn(async move {
            loop {
                let peer = router.session_of(&open).await;
                {
                    let mut state = shared.lock().unwrap();
                    state.table.clear();
                    state.sessions += 1;
                }
                live(peer, &cannot_take, &death, &shared).await;
            }
        });
        Self { state, task }
    }

    /// Rules it has now.
    pub(crate) fn table(&self) -> BTreeSet<Vec<u8>> {
        self.state.lock().unwrap().table.clone()
    }

    /// Sessions so far.
    pub(crate) fn sessions(&self) -> usize {
        self.state.lock().unwrap().sessions
    }

    /// Sessions it ended because of a rule.
    pub(crate) fn deaths(&self) -> usize {
        self.state.lock().unwrap().deaths
    }
}

impl Drop for Deadly {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Router {
    /// The next session, however long it takes.
    async fn session_of(&self, open: &OpenScript) -> Peer {
        let (stream, _) = self.listener.accept().await.unwrap();
        let mut peer = Peer { stream };
        peer.establish(open).await;
        peer
    }
}

async fn live(mut peer: Peer, cannot_take: &[NlriKey], death: &Death, state: &Mutex<DeadlyState>) {
    loop {
        let Some(message) = peer.try_receive().await else {
            return;
        };
        if message.kind == KEEPALIVE {
            peer.send(&self::message(KEEPALIVE, &[])).await;
        }
        if message.kind != UPDATE {
            continue;
        }
        let (announced, withdrawn) = message.nlri();
        let dies = announced
            .iter()
            .any(|nlri| cannot_take.iter().any(|key| key.as_bytes() == nlri));
        {
            let mut state = state.lock().unwrap();
            state.table.extend(announced);
            for nlri in withdrawn {
                state.table.remove(&nlri);
            }
            if dies {
                state.table.clear();
                state.deaths += 1;
            }
        }
        if !dies {
            continue;
        }
        match death {
            Death::Reset => return peer.reset(),
            Death::Update(data) => {
                peer.send(&self::message(NOTIFICATION, &[&[3, 9], data.as_slice()].concat()))
                    .await;
                return;
            }
            Death::Silence => {
                while peer.try_receive().await.is_some() {}
                return;
            }
        }
    }
}
