//! A model router in raw bytes: opens sessions, keeps a table for each family, limits it, and forgets it with the session.
//! What the speaker sends is taken apart strictly; what a router may not be sent breaks a promise.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Duration, Instant, sleep_until};

use super::net::{Net, Weather};
use super::story::Log;
use super::stream::{Stream, Wire};
use super::wishes::{BLACKHOLED, Community, Key};
use crate::shared::lock;

/// The speaker's identifier, for collisions.
pub(super) const SPEAKER_ID: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub(super) const MARKER: [u8; 12] = [0, 0, 0xFD, 0xF2, 0, 0, 0x22, 0xFB, 0, 0, 0, 1];
const NO_EXPORT: [u8; 4] = [0xFF, 0xFF, 0xFF, 0x01];
/// 65535:666 (RFC 7999).
const BLACKHOLE: [u8; 4] = [0xFF, 0xFF, 0x02, 0x9A];
/// Where the routers of this module discard.
pub(super) const NEXT_HOP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 254);
pub(super) const NEXT_HOP_V6: Ipv6Addr = Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 1);
/// Families by number, as they stand in keys: FlowSpec of IPv4 and IPv6, then unicast of both.
const WIRE: [[u8; 2]; 4] = [[1, 133], [2, 133], [1, 1], [2, 1]];
pub(super) const V4_UNICAST: u8 = 3;
pub(super) const V6_UNICAST: u8 = 4;
const OPEN: u8 = 1;
const UPDATE: u8 = 2;
const NOTIFICATION: u8 = 3;
const KEEPALIVE: u8 = 4;
const REFRESH: u8 = 5;
const CEASE: u8 = 6;
/// How long a connection may take to its OPEN, and the pause between two attempts to dial.
const OPEN_WAIT: Duration = Duration::from_secs(60);
/// No session has a longer hold time.
const LONGEST_HOLD: Duration = Duration::from_secs(90);
const DIAL_PAUSE: Duration = Duration::from_secs(4);

/// What a router is like.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) name: Arc<str>,
    pub(super) address: SocketAddr,
    pub(super) asn: u16,
    pub(super) id: Ipv4Addr,
    pub(super) hold: u16,
    /// By their numbers.
    pub(super) families: Vec<u8>,
    pub(super) enhanced_refresh: bool,
    /// Whether it agrees to graceful restart, and if so whether it does what it agreed to.
    pub(super) restart: Option<Helper>,
    /// The bound of each family, and whether the Cease/1 names it.
    pub(super) max_prefix: Option<(usize, bool)>,
    pub(super) dials: bool,
    pub(super) delay: Duration,
    /// A rule that ends the session, and how.
    pub(super) deadly: Option<(usize, End)>,
}

/// What a router that agreed to graceful restart does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Helper {
    /// It keeps the rules over a connection that ends without a word (RFC 4724 section 4.2).
    Keeps,
    /// It drops them all the same, as some do.
    Drops,
}

/// How a session ends because of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// 3/9, with or without the NLRI in its data.
    Notification { named: bool },
    /// The connection is reset.
    Reset,
    /// Nothing more is heard; the rule has cut the router off.
    Silence,
}

pub(super) struct Router {
    pub(super) plan: Plan,
    deadly: Option<(Key, End)>,
    net: Arc<Net>,
    log: Arc<Log>,
    state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    running: bool,
    connections: BTreeMap<u64, Connection>,
    pub(super) table: BTreeMap<Key, Community>,
    stale: BTreeSet<Key>,
    /// What it keeps of the session before, and until when if there is no other.
    pub(super) kept: BTreeSet<Key>,
    kept_until: Option<Instant>,
    pub(super) session: Option<Established>,
    /// When each rule of the last seconds was written by the speaker.
    pub(super) announced: VecDeque<Instant>,
    /// How many rules the speaker may tell it, since when; the last comes last, and the first was there before any rule.
    budgets: Vec<(Instant, usize)>,
    /// How many rules of each family the speaker that was started last tells it at most, because one before that heard so.
    pub(super) promised: BTreeMap<u8, usize>,
    /// What the speaker said last.
    pub(super) last_notification: Option<(u8, u8)>,
    /// When a session last ended with a word of either side.
    pub(super) ended_with_a_word: Option<Instant>,
    pub(super) broken: Vec<String>,
    /// How often the deadly rule came, and when last.
    pub(super) deaths: u32,
    pub(super) died_at: Option<Instant>,
}

/// The established session.
pub(super) struct Established {
    connection: u64,
    pub(super) since: Instant,
    pub(super) hold: Duration,
    pub(super) end_of_rib: BTreeMap<u8, u32>,
    /// Graceful restart was agreed on.
    pub(super) agreed: bool,
    /// How long it keeps the rules when the connection ends without a word.
    pub(super) keeps: Option<Duration>,
}

/// The graceful restart capability of an OPEN.
#[derive(Debug, Clone)]
struct Offer {
    time: Duration,
    /// The families with the F bit.
    complete: Vec<u8>,
}

struct Connection {
    by_router: bool,
    opened: bool,
    offer: Option<Offer>,
    hold: Duration,
    orders: mpsc::UnboundedSender<Order>,
    abort: AbortHandle,
}

/// What the story wants of the connections.
#[derive(Debug, Clone)]
pub(super) enum Order {
    Send(Vec<u8>),
    /// Send this, and close.
    End(Vec<u8>),
}

/// How a router goes away.
#[derive(Debug, Clone, Copy)]
pub(super) enum Death {
    /// The system closes its connections and refuses others.
    Process,
    /// Nothing answers any more.
    Host,
}

enum Reply {
    Nothing,
    Send(Vec<u8>),
    End(Option<Vec<u8>>),
}

pub(super) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xFF; 16];
    bytes.extend(
        u16::try_from(19 + body.len())
            .expect("a short message")
            .to_be_bytes(),
    );
    bytes.push(kind);
    bytes.extend(body);
    bytes
}

pub(super) fn notification(code: u8, subcode: u8) -> Vec<u8> {
    message(NOTIFICATION, &[code, subcode])
}

/// AFI and SAFI of a family.
pub(super) fn wire(family: u8) -> [u8; 2] {
    WIRE[usize::from(family) - 1]
}

fn family(afi: u8, safi: u8) -> Option<u8> {
    (1..)
        .zip(WIRE)
        .find(|(_, wire)| *wire == [afi, safi])
        .map(|(family, _)| family)
}

/// The next `n` bytes, with their length before them.
fn cut(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

impl Router {
    pub(super) fn new(plan: Plan, deadly: Option<(Key, End)>, net: Arc<Net>, log: Arc<Log>) -> Arc<Self> {
        let state = State {
            running: true,
            ..State::default()
        };
        Arc::new(Self {
            plan,
            deadly,
            net,
            log,
            state: Mutex::new(state),
        })
    }

    /// Its state; what it kept for long enough is gone.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        let mut state = lock(&self.state);
        if state.kept_until.is_some_and(|until| until <= Instant::now()) {
            state.kept_until = None;
            state.drop_kept(|_| true);
        }
        state
    }

    /// Takes connections and makes them, until the story ends.
    pub(super) async fn run(self: Arc<Self>, mut accepted: mpsc::UnboundedReceiver<Stream>) {
        let mut tasks = JoinSet::new();
        let mut dial_at = Instant::now() + DIAL_PAUSE / 8;
        loop {
            tokio::select! {
                biased;
                Some(stream) = accepted.recv() => self.clone().begin(stream, false, &mut tasks),
                () = sleep_until(dial_at), if self.plan.dials => {
                    dial_at = Instant::now() + DIAL_PAUSE;
                    let idle = { let state = self.state(); state.running && state.connections.is_empty() };
                    if idle {
                        // A link without an answer is given up, as the router's system would.
                        let dialled = tokio::time::timeout(DIAL_PAUSE, self.net.dial(self.plan.address)).await;
                        if let Ok(Ok(stream)) = dialled {
                            self.clone().begin(stream, true, &mut tasks);
                        }
                    }
                }
                Some(_) = tasks.join_next() => {}
            }
        }
    }

    /// Dials although there may be a connection.
    pub(super) async fn dial_again(self: Arc<Self>) {
        let mut tasks = JoinSet::new();
        let dialled = tokio::time::timeout(DIAL_PAUSE, self.net.dial(self.plan.address)).await;
        if let Ok(Ok(stream)) = dialled {
            self.begin(stream, true, &mut tasks);
        }
        while tasks.join_next().await.is_some() {}
    }

    fn begin(self: Arc<Self>, stream: Stream, by_router: bool, tasks: &mut JoinSet<()>) {
        if !self.state().running {
            return;
        }
        let id = stream.wire.id;
        let (orders, orders_rx) = mpsc::unbounded_channel();
        let router = self.clone();
        // Its first step comes after it was entered below.
        let abort = tasks.spawn(async move { router.connection(stream, orders_rx).await });
        let connection = Connection {
            by_router,
            opened: false,
            offer: None,
            hold: OPEN_WAIT,
            orders,
            abort,
        };
        self.state().connections.insert(id, connection);
    }

    /// To every connection.
    pub(super) fn order(&self, order: &Order) {
        for connection in self.state().connections.values() {
            let _ = connection.orders.send(order.clone());
        }
    }

    pub(super) fn die(&self, death: Death) {
        let address = self.plan.address.ip();
        match death {
            Death::Process => self.net.set_weather(address, Weather::Refused),
            Death::Host => {
                let never = Instant::now() + Duration::from_secs(24 * 3600);
                self.net.set_weather(address, Weather::Blackhole);
                self.net.wires(address, |wire| {
                    wire.freeze_to_router(never);
                    wire.freeze_to_speaker(never);
                });
            }
        }
        let mut state = self.state();
        state.running = false;
        for (_, connection) in std::mem::take(&mut state.connections) {
            connection.abort.abort();
        }
        state.session = None;
        state.clear();
    }

    pub(super) fn start(&self) {
        self.state().running = true;
        self.net.set_weather(self.plan.address.ip(), Weather::Clear);
    }

    async fn connection(self: Arc<Self>, mut stream: Stream, mut orders: mpsc::UnboundedReceiver<Order>) {
        let id = stream.wire.id;
        let mut buffer = Vec::new();
        let mut heard_at = Instant::now();
        let mut keepalive_at = heard_at + OPEN_WAIT;
        let mut failed = stream.write_all(&self.open()).await.is_err();
        while !failed {
            let hold = self
                .state()
                .connections
                .get(&id)
                .map_or(OPEN_WAIT, |one| one.hold);
            keepalive_at = keepalive_at.min(Instant::now() + hold / 3);
            let mut last = None;
            tokio::select! {
                biased;
                Some(order) = orders.recv() => match order {
                    Order::Send(bytes) => failed = stream.write_all(&bytes).await.is_err(),
                    Order::End(bytes) => last = Some(bytes),
                },
                read = stream.read_buf(&mut buffer) => match read {
                    Ok(0) | Err(_) => failed = true,
                    Ok(_) => {
                        heard_at = Instant::now();
                        let written = stream.written;
                        while let Some((kind, body)) = self.take(&mut buffer) {
                            match self.heard(id, kind, &body, written) {
                                Reply::Nothing => {}
                                Reply::Send(bytes) => failed |= stream.write_all(&bytes).await.is_err(),
                                Reply::End(bytes) => {
                                    last = Some(bytes.unwrap_or_default());
                                    break;
                                }
                            }
                        }
                    }
                },
                () = sleep_until(keepalive_at) => {
                    keepalive_at = Instant::now() + hold;
                    let opened = self.state().connections.get(&id).is_some_and(|one| one.opened);
                    if opened {
                        failed = stream.write_all(&message(KEEPALIVE, &[])).await.is_err();
                    }
                }
                () = sleep_until(heard_at + hold) => last = Some(notification(4, 0)),
            }
            if let Some(last) = last {
                let _ = stream.write_all(&last).await;
                let _ = stream.shutdown().await;
                break;
            }
        }
        self.ended(id, failed);
        // What is still on its way must not be met by a reset.
        let rest = async { while stream.read_buf(&mut buffer).await.is_ok_and(|count| count > 0) {} };
        let _ = tokio::time::timeout(Duration::from_secs(1), rest).await;
    }

    fn ended(&self, id: u64, without_a_word: bool) {
        let mut state = self.state();
        state.connections.remove(&id);
        let ended = state.session.take_if(|session| session.connection == id);
        let Some(session) = ended else {
            return;
        };
        // What was kept of the session before and not told again goes; of what was told in this one, everything stays.
        state.drop_kept(|_| true);
        match session.keeps.filter(|_| without_a_word) {
            Some(time) => {
                state.stale.clear();
                state.kept = state.table.keys().cloned().collect();
                state.kept_until = Some(Instant::now() + time);
            }
            None => state.clear(),
        }
        if !without_a_word {
            state.ended_with_a_word = Some(Instant::now());
        }
        let kept = state.kept.len();
        drop(state);
        self.log
            .say(&format!("  {}: session over, {kept} rules kept", self.plan.name));
    }

    fn open(&self) -> Vec<u8> {
        let mut capabilities: Vec<u8> = self
            .plan
            .families
            .iter()
            .map(|family| wire(*family))
            .flat_map(|[afi, safi]| [1, 4, 0, afi, 0, safi])
            .collect();
        capabilities.extend([2, 0]);
        if self.plan.enhanced_refresh {
            capabilities.extend([70, 0]);
        }
        if self.plan.restart.is_some() {
            capabilities.extend([64, 2, 0, 0]);
        }
        capabilities.extend([65, 4, 0, 0]);
        capabilities.extend(self.plan.asn.to_be_bytes());
        let length = u8::try_from(capabilities.len()).expect("few capabilities");
        let mut body = vec![4];
        body.extend(self.plan.asn.to_be_bytes());
        body.extend(self.plan.hold.to_be_bytes());
        body.extend(self.plan.id.octets());
        body.extend([length + 2, 2, length]);
        body.extend(capabilities);
        message(OPEN, &body)
    }

    /// One message off the front.
    fn take(&self, buffer: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
        let header = buffer.first_chunk::<19>()?;
        let length = usize::from(u16::from_be_bytes([header[16], header[17]]));
        let kind = header[18];
        if header[..16] != [0xFF; 16] || !(19..=4096).contains(&length) {
            self.breaks(format!("no BGP header: {header:02x?}"));
            buffer.clear();
            return None;
        }
        if buffer.len() < length {
            return None;
        }
        let rest = buffer.split_off(length);
        let whole = std::mem::replace(buffer, rest);
        Some((kind, whole[19..].to_vec()))
    }

    fn breaks(&self, what: String) {
        self.state()
            .broken
            .push(format!("{} was sent {what}", self.plan.name));
    }

    fn heard(&self, id: u64, kind: u8, body: &[u8], written: Instant) -> Reply {
        match kind {
            OPEN => self.opened(id, body),
            KEEPALIVE => self.confirmed(id),
            NOTIFICATION => {
                let code = (body[0], body[1]);
                self.state().last_notification = Some(code);
                self.log.say(&format!(
                    "  {}: the speaker says {}/{}",
                    self.plan.name, code.0, code.1
                ));
                Reply::End(None)
            }
            UPDATE | REFRESH if !self.is_established(id) => {
                self.breaks(format!("type {kind} without a session"));
                Reply::Nothing
            }
            UPDATE => match self.update(id, body, written) {
                Ok(reply) => reply,
                Err(what) => {
                    self.breaks(format!("an UPDATE with {what}: {body:02x?}"));
                    Reply::Nothing
                }
            },
            REFRESH => self.refreshed(body),
            _ => {
                self.breaks(format!("type {kind}"));
                Reply::Nothing
            }
        }
    }

    fn is_established(&self, id: u64) -> bool {
        let state = self.state();
        state
            .session
            .as_ref()
            .is_some_and(|session| session.connection == id)
    }

    /// RFC 4271 section 6.8.
    fn opened(&self, id: u64, body: &[u8]) -> Reply {
        let collision = Some(notification(CEASE, 7));
        let mut state = self.state();
        if state.session.is_some() {
            return Reply::End(collision);
        }
        let offered = Duration::from_secs(u64::from(u16::from_be_bytes([body[3], body[4]])));
        let mut losers = Vec::new();
        let mine = state.connections.get(&id).is_some_and(|one| one.by_router);
        for (other, connection) in &state.connections {
            if *other != id && connection.opened {
                let router_wins = self.plan.id > SPEAKER_ID;
                if mine != router_wins && connection.by_router == router_wins {
                    return Reply::End(collision);
                }
                losers.push(connection.orders.clone());
            }
        }
        for loser in losers {
            let _ = loser.send(Order::End(notification(CEASE, 7)));
        }
        if let Some(connection) = state.connections.get_mut(&id) {
            connection.opened = true;
            connection.offer = offer(body);
            connection.hold = offered.min(Duration::from_secs(u64::from(self.plan.hold)));
        }
        Reply::Send(message(KEEPALIVE, &[]))
    }

    fn confirmed(&self, id: u64) -> Reply {
        let mut state = self.state();
        if state
            .session
            .as_ref()
            .is_some_and(|session| session.connection == id)
        {
            return Reply::Nothing;
        }
        if state.session.is_some() {
            return Reply::End(Some(notification(CEASE, 7)));
        }
        let Some(connection) = state.connections.get(&id).filter(|one| one.opened) else {
            return Reply::End(Some(notification(5, 1)));
        };
        let offer = connection.offer.clone();
        let agreed = offer.as_ref().filter(|_| self.plan.restart.is_some());
        let keeps = agreed.filter(|_| self.plan.restart == Some(Helper::Keeps));
        state.session = Some(Established {
            connection: id,
            since: Instant::now(),
            hold: connection.hold,
            end_of_rib: BTreeMap::new(),
            agreed: agreed.is_some(),
            keeps: keeps.map(|offer| offer.time),
        });
        // Of a family without the F bit nothing outlives the restart; the rest goes at its End-of-RIB.
        state.kept_until = None;
        let complete = offer.map(|offer| offer.complete).unwrap_or_default();
        state.drop_kept(|key| !complete.contains(&key.0));
        drop(state);
        self.log
            .say(&format!("  {}: session established on {id}", self.plan.name));
        Reply::Nothing
    }

    /// BoRR and EoRR (RFC 7313): what was not announced between them goes.
    fn refreshed(&self, body: &[u8]) -> Reply {
        let mut state = self.state();
        match *body {
            [0, afi, 1, safi] if self.plan.enhanced_refresh => {
                let of = |key: &&Key| Some(key.0) == family(afi, safi);
                let stale: Vec<Key> = state.table.keys().filter(of).cloned().collect();
                state.stale.extend(stale);
            }
            [0, afi, 2, safi] if self.plan.enhanced_refresh => {
                let of = |key: &Key| Some(key.0) == family(afi, safi);
                for key in state.stale.extract_if(.., of).collect::<Vec<_>>() {
                    state.table.remove(&key);
                }
            }
            _ => {
                drop(state);
                self.breaks(format!("a ROUTE-REFRESH {body:02x?}"));
            }
        }
        Reply::Nothing
    }

    fn update(&self, id: u64, body: &[u8], written: Instant) -> Result<Reply, String> {
        let (withdrawn, rest) = cut(body).ok_or("withdrawals that are cut off")?;
        let (attributes, announced) = cut(rest).ok_or("attributes that are cut off")?;
        let attributes = split_attributes(attributes).ok_or("attributes that are cut off")?;
        let plain = !withdrawn.is_empty() || !announced.is_empty() || attributes.is_empty();
        if plain && !self.plan.families.contains(&V4_UNICAST) {
            return Err("plain routes, which were not agreed on".to_owned());
        }
        if plain {
            return match (withdrawn, announced) {
                ([], []) => self.end_of_rib(V4_UNICAST),
                (keys, []) if attributes.is_empty() => self.withdraw(V4_UNICAST, keys),
                ([], keys) => {
                    if !attributes.contains(&(3, NEXT_HOP.octets().to_vec())) {
                        return Err("another next hop".to_owned());
                    }
                    self.announce(V4_UNICAST, keys, &attributes, id, written)
                }
                _ => Err("withdrawals beside routes".to_owned()),
            };
        }
        let (kind, value) = attributes.first().ok_or("no attributes")?;
        let [0, afi, safi, rest @ ..] = &value[..] else {
            return Err("another family".to_owned());
        };
        let family = family(*afi, *safi).filter(|family| self.plan.families.contains(family));
        let family = family.ok_or(format!("family {afi}/{safi}, which was not agreed on"))?;
        match kind {
            15 if attributes.len() == 1 && rest.is_empty() => self.end_of_rib(family),
            15 if attributes.len() == 1 => self.withdraw(family, rest),
            14 => {
                let next_hop = if family == V6_UNICAST {
                    NEXT_HOP_V6.octets().to_vec()
                } else {
                    Vec::new()
                };
                let keys = rest
                    .strip_prefix(&[u8::try_from(next_hop.len()).expect("a short address")])
                    .and_then(|rest| rest.strip_prefix(&next_hop[..]))
                    .and_then(|rest| rest.strip_prefix(&[0]))
                    .ok_or("another next hop")?;
                self.announce(family, keys, &attributes, id, written)
            }
            _ => Err("an MP attribute that is not first, or not alone".to_owned()),
        }
    }

    fn withdraw(&self, family: u8, keys: &[u8]) -> Result<Reply, String> {
        let mut state = self.state();
        for nlri in split_nlri(family, keys).ok_or("NLRI that are cut off")? {
            let key = (family, nlri);
            state.stale.remove(&key);
            state.kept.remove(&key);
            state.table.remove(&key);
        }
        Ok(Reply::Nothing)
    }

    fn announce(
        &self,
        family: u8,
        keys: &[u8],
        attributes: &[(u8, Vec<u8>)],
        id: u64,
        written: Instant,
    ) -> Result<Reply, String> {
        let community = check_attributes(family, attributes)?;
        let mut state = self.state();
        for nlri in split_nlri(family, keys).ok_or("NLRI that are cut off")? {
            let key = (family, nlri);
            if let Some((_, end)) = self.deadly.as_ref().filter(|(deadly, _)| *deadly == key) {
                return Ok(self.die_of(&key, *end, id, &mut state));
            }
            state.stale.remove(&key);
            state.kept.remove(&key);
            state.table.insert(key, community);
            state.announced.push_back(written);
        }
        let (told, budget) = (state.table.len() - state.kept.len(), state.budget(written));
        if told > budget {
            return Err(format!(
                "the last of {told} rules, more than its budget of {budget}"
            ));
        }
        let held = state.told(family);
        match state.promised.get(&family) {
            Some(promised) if held > *promised => {
                Err(format!("the last of {held} rules, and {promised} were promised"))
            }
            _ => Ok(self.limit(held, family)),
        }
    }

    fn end_of_rib(&self, family: u8) -> Result<Reply, String> {
        let mut state = self.state();
        let session = state.session.as_mut().ok_or("no session")?;
        let count = session.end_of_rib.entry(family).or_default();
        *count += 1;
        if *count > 1 {
            return Err("a second End-of-RIB".to_owned());
        }
        state.drop_kept(|key| key.0 == family);
        Ok(Reply::Nothing)
    }

    fn die_of(&self, key: &Key, end: End, id: u64, state: &mut State) -> Reply {
        self.log
            .say(&format!("  {}: dies of a rule, {end:?}", self.plan.name));
        state.deaths += 1;
        state.died_at = Some(Instant::now());
        let never = Instant::now() + Duration::from_secs(24 * 3600);
        match end {
            End::Notification { named } => {
                let mut body = vec![3, 9];
                if named {
                    let bytes = u8::try_from(key.1.len()).expect("a short rule");
                    body.push(if key.0 < V4_UNICAST { bytes } else { 8 * bytes });
                    body.extend(&key.1);
                }
                return Reply::End(Some(message(NOTIFICATION, &body)));
            }
            End::Reset => self.net.wire(self.plan.address.ip(), id, Wire::reset),
            End::Silence => self.net.wire(self.plan.address.ip(), id, |wire| {
                wire.freeze_to_router(never);
                wire.freeze_to_speaker(never);
            }),
        }
        Reply::Nothing
    }

    fn limit(&self, held: usize, family: u8) -> Reply {
        let Some((bound, named)) = self.plan.max_prefix.filter(|(bound, _)| held > *bound) else {
            return Reply::Nothing;
        };
        self.log.say(&format!(
            "  {}: {held} rules of family {family}, Cease/1",
            self.plan.name
        ));
        let mut body = vec![CEASE, 1];
        if named {
            let [afi, safi] = wire(family);
            body.extend([0, afi, safi]);
            body.extend(u32::try_from(bound).expect("a small bound").to_be_bytes());
        }
        Reply::End(Some(message(NOTIFICATION, &body)))
    }
}

impl State {
    /// The speaker may tell it so many rules from now on.
    pub(super) fn may_hold(&mut self, max_rules: Option<usize>) {
        self.budgets
            .push((Instant::now(), max_rules.unwrap_or(usize::MAX)));
    }

    /// What it could have been told when this was written. What was chosen before is written within the hold time, or the
    /// session ends.
    pub(super) fn budget(&self, written: Instant) -> usize {
        let mut most = 0;
        for (since, budget) in self.budgets.iter().rev().filter(|(since, _)| *since <= written) {
            most = most.max(*budget);
            if *since + LONGEST_HOLD <= written {
                break;
            }
        }
        most
    }

    /// Rules of a family that it was told in this session.
    fn told(&self, family: u8) -> usize {
        let of_this_session = |key: &&Key| key.0 == family && !self.kept.contains(*key);
        self.table.keys().filter(of_this_session).count()
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.len()
    }

    /// What it kept of the session before and these are gone.
    fn drop_kept(&mut self, these: impl Fn(&Key) -> bool) {
        for key in self.kept.extract_if(.., these).collect::<Vec<_>>() {
            self.table.remove(&key);
        }
    }

    fn clear(&mut self) {
        self.table.clear();
        self.stale.clear();
        self.kept.clear();
        self.kept_until = None;
    }
}

/// The graceful restart capability in the body of an OPEN.
fn offer(body: &[u8]) -> Option<Offer> {
    let mut parameters = body.get(10..)?;
    while let [kind, length, rest @ ..] = parameters {
        let (mut capabilities, rest) = rest.split_at_checked(usize::from(*length))?;
        while let [code, length, rest @ ..] = capabilities {
            let (value, rest) = rest.split_at_checked(usize::from(*length))?;
            if let (2, 64, [high, low, families @ ..]) = (*kind, *code, value) {
                let complete = families.as_chunks::<4>().0.iter();
                let complete = complete.filter(|[.., flags]| flags & 0x80 != 0);
                return Some(Offer {
                    time: Duration::from_secs(u64::from(u16::from_be_bytes([high & 0x0F, *low]))),
                    complete: complete
                        .filter_map(|[_, afi, safi, _]| family(*afi, *safi))
                        .collect(),
                });
            }
            capabilities = rest;
        }
        parameters = rest;
    }
    None
}

fn split_attributes(mut bytes: &[u8]) -> Option<Vec<(u8, Vec<u8>)>> {
    let mut all = Vec::new();
    while let [flags, kind, rest @ ..] = bytes {
        let (length, rest) = if flags & 0x10 == 0 {
            let (length, rest) = rest.split_first()?;
            (usize::from(*length), rest)
        } else {
            let (length, rest) = rest.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(*length)), rest)
        };
        let (value, rest) = rest.split_at_checked(length)?;
        all.push((*kind, value.to_vec()));
        bytes = rest;
    }
    bytes.is_empty().then_some(all)
}

/// The rules of this module have less than 240 bytes; the routes are hosts.
fn split_nlri(family: u8, mut bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut all = Vec::new();
    while let Some((length, rest)) = bytes.split_first() {
        let length = match (family, *length) {
            (V4_UNICAST, 32) => 4,
            (V6_UNICAST, 128) => 16,
            (V4_UNICAST | V6_UNICAST, _) => return None,
            (_, bytes) => usize::from(bytes),
        };
        let (nlri, rest) = rest.split_at_checked(length)?;
        all.push(nlri.to_vec());
        bytes = rest;
    }
    Some(all)
}

/// Every rule says that it must not be exported, and that it is ours; the community of its action.
fn check_attributes(family: u8, attributes: &[(u8, Vec<u8>)]) -> Result<Community, String> {
    let found = |kind| attributes.iter().find(|(other, _)| *other == kind);
    let value = |kind| {
        found(kind)
            .map(|(_, value)| &value[..])
            .ok_or(format!("no attribute {kind}"))
    };
    value(1)?;
    value(2)?;
    let communities = value(8)?.as_chunks::<4>().0;
    if !communities.contains(&NO_EXPORT) {
        return Err("no NO_EXPORT".to_owned());
    }
    if !value(32)?.as_chunks::<12>().0.contains(&MARKER) {
        return Err("no marker".to_owned());
    }
    let is_blackhole = communities.contains(&BLACKHOLE);
    if is_blackhole != (family >= V4_UNICAST) {
        return Err("BLACKHOLE on a rule, or none on a route".to_owned());
    }
    if is_blackhole {
        let none = found(16).is_none();
        return none
            .then_some(BLACKHOLED)
            .ok_or("extended communities".to_owned());
    }
    match value(16)?.as_chunks::<8>() {
        ([community], []) => Ok(*community),
        other => Err(format!("extended communities {other:02x?}")),
    }
}
