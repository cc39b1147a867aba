//! The handle: start, change, look, stop.

mod administer;
mod reconfigure;
mod supervise;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};

use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use crate::canary::Canary;
use crate::config::{ConfigError, LargeCommunity, NeighborConfig, SpeakerConfig};
use crate::flowspec::{Action, CanonicalRule, Fit, NlriKey, Packet};
use crate::listener::Listening;
use crate::peer::{Order, PeerContext, StopReason};
use crate::restart::MayHold;
use crate::rib::{Foreseen, RibCounts, WhatIf};
use crate::route::{Change, Delivery, Priority, Route, RouteStatus, Target};
use crate::shared::{NeighborShared, lock};
use crate::status::{PeerStatus, SessionEvent, SessionPhase};
use crate::transport::Network;
use crate::wire::{AttributeSet, FsmConfig};
pub use reconfigure::Reconfigured;
use reconfigure::protect;
use supervise::supervise;

/// Events a receiver may lag behind; one that lags more is told so and reads [`Speaker::peers`] again.
const EVENTS: usize = 256;

/// The speaker. Dropping it closes all sessions without a NOTIFICATION and ends every task; an orderly end is
/// [`Speaker::shutdown`].
pub struct Speaker {
    inner: Arc<Inner>,
    local_addrs: Vec<SocketAddr>,
    listeners: Mutex<Vec<Listening>>,
}

struct Inner {
    /// As at the start; `neighbors`, `hold_seconds` and `marker` hold what came after.
    config: SpeakerConfig,
    attributes: Mutex<Arc<AttributeSet>>,
    /// Offered by every connection that begins.
    hold_seconds: Arc<AtomicU16>,
    complete: Arc<AtomicBool>,
    marker: Mutex<Option<LargeCommunity>>,
    neighbors: RwLock<BTreeMap<Arc<str>, Handle>>,
    events: broadcast::Sender<SessionEvent>,
    open: AtomicBool,
    stopped: AtomicBool,
    leaving: Mutex<JoinSet<()>>,
    network: Network,
    /// Groups of neighbours that are alike, for as long as they have members.
    canaries: Mutex<BTreeMap<Arc<str>, Weak<Canary>>>,
    /// Seeds the jitter of the neighbours.
    rng: Mutex<SmallRng>,
}

/// Changes after which a neighbour's writer begins while more are applied: some messages' worth.
const WAKE_EVERY: usize = 1_024;

/// A neighbour that is being changed.
struct Touched<'a> {
    handle: &'a Handle,
    /// The deadline that its task knew before the first change.
    expected: Option<Instant>,
    changes: usize,
}

/// One neighbour and the owner of its task.
struct Handle {
    shared: Arc<NeighborShared>,
    orders: watch::Sender<Order>,
    task: Mutex<Option<AbortOnDropHandle<()>>>,
}

/// How the speaker ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// Take every rule from the routers explicitly, then close with Cease/2 and this text (RFC 9003, cut to 128 bytes).
    Withdraw {
        /// For the operators of the routers.
        text: String,
    },
    /// Leave the rules to the routers that agreed to keep them (graceful restart): close their connections without a
    /// NOTIFICATION. From the others the rules are taken as by [`Stop::Withdraw`].
    Restart {
        /// For the operators of the others.
        text: String,
    },
}

/// Why the speaker cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An address cannot be listened on.
    #[error("cannot accept BGP sessions on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// A change was for a neighbour that is not configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no neighbour is called {0}")]
pub struct UnknownNeighbor(pub Arc<str>);

impl Speaker {
    /// Checks the configuration, binds the listeners and starts one task per neighbour. No session is made before
    /// [`Speaker::open`], so that the desired rules can be restored first. A neighbour that is down stops nothing.
    ///
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// [`StartError`] when the configuration is refused or an address cannot be bound.
    pub fn start(config: SpeakerConfig) -> Result<Self, StartError> {
        Self::start_on(config, Network::Kernel, SmallRng::from_rng(&mut rand::rng()))
    }

    /// The same over any network, with known jitter.
    pub(crate) fn start_on(
        config: SpeakerConfig,
        network: Network,
        rng: SmallRng,
    ) -> Result<Self, StartError> {
        config.validate()?;
        let attributes = Arc::new(AttributeSet::new(config.local_asn, config.marker)?);
        let inner = Arc::new(Inner {
            attributes: Mutex::new(attributes),
            hold_seconds: Arc::new(AtomicU16::new(config.hold_time.as_secs())),
            complete: Arc::new(AtomicBool::new(true)),
            marker: Mutex::new(config.marker),
            neighbors: RwLock::default(),
            events: broadcast::Sender::new(EVENTS),
            open: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            leaving: Mutex::default(),
            network,
            canaries: Mutex::default(),
            rng: Mutex::new(rng),
            config,
        });
        let mut listeners = Vec::new();
        for address in inner.config.listen.iter().copied() {
            let by_address = Arc::downgrade(&inner);
            let neighbor = move |remote| by_address.upgrade()?.neighbor_at(remote);
            match &inner.network {
                Network::Kernel => listeners.push(
                    Listening::start(address, neighbor)
                        .map_err(|source| StartError::Listen { address, source })?,
                ),
                #[cfg(test)]
                Network::Simulated(net) => net.listen(neighbor),
            }
        }
        protect(&listeners, &[], &inner.config.neighbors)?;
        for neighbor in inner.config.neighbors.clone() {
            inner
                .write_neighbors()
                .insert(neighbor.name.clone(), inner.spawn(neighbor));
        }
        Ok(Self {
            inner,
            local_addrs: listeners.iter().map(|listening| listening.address).collect(),
            listeners: Mutex::new(listeners),
        })
    }

    /// Lets the sessions begin, when not all that should be announced could be found out. A router that kept rules over
    /// our restart is told so, and drops them before it hears what is left of them.
    pub fn open_incomplete(&self) {
        self.inner.complete.store(false, Ordering::SeqCst);
        self.open();
    }

    /// Lets the sessions begin. The desired rules must be complete: they are sent at once, followed by End-of-RIB, upon
    /// which a router drops what it kept from before and was not told again.
    pub fn open(&self) {
        self.inner.open.store(true, Ordering::SeqCst);
        for handle in self.inner.neighbors().values() {
            handle.shared.rib().knows_what_is_desired();
            let Some(seat) = handle.shared.seat() else {
                continue;
            };
            seat.begins(Instant::now());
            if handle.shared.control.borrow().admin.is_disabled() {
                // It may have been trying something for the others before a restart.
                seat.step_aside();
            }
        }
        for handle in self.inner.neighbors().values() {
            handle.orders.send_if_modified(|order| {
                let waiting = *order == Order::Wait;
                if waiting {
                    *order = Order::Run;
                }
                waiting
            });
        }
    }

    /// The addresses sessions are accepted on, with the ports the system chose for port 0.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.local_addrs
    }

    /// Changes what the neighbours should hold. Never waits for a neighbour; after a stop it does nothing.
    ///
    /// # Errors
    ///
    /// [`UnknownNeighbor`] names the first neighbour that is not configured; all other changes are applied.
    pub fn apply(&self, changes: impl IntoIterator<Item = Change>) -> Result<(), UnknownNeighbor> {
        if self.inner.stopped.load(Ordering::SeqCst) {
            return Ok(());
        }
        let now = Instant::now();
        let neighbors = self.inner.neighbors();
        let mut touched: BTreeMap<&str, Touched<'_>> = BTreeMap::new();
        let mut unknown = None;
        for change in changes {
            match change.target().clone() {
                Target::All => {
                    for (name, handle) in neighbors.iter() {
                        handle.change(name, change.clone(), now, &mut touched);
                    }
                }
                Target::Neighbor(name) => match neighbors.get_key_value(&name) {
                    Some((name, handle)) => handle.change(name, change, now, &mut touched),
                    None => {
                        unknown.get_or_insert(name);
                    }
                },
            }
        }
        for Touched { handle, expected, .. } in touched.into_values() {
            handle.shared.changed.send_replace(());
            let next = handle.shared.rib().next_expiry();
            if next.is_some_and(|next| expected.is_none_or(|expected| next < expected)) {
                handle.shared.deadline_moved.notify_one();
            }
        }
        unknown.map_or(Ok(()), |name| Err(UnknownNeighbor(name)))
    }

    /// What a neighbour should hold, in no order; `None` for an unknown neighbour.
    #[must_use]
    pub fn desired(&self, neighbor: &str) -> Option<Vec<Route>> {
        let routes = self.adj_rib_out(neighbor)?;
        Some(routes.into_iter().filter_map(|route| route.desired).collect())
    }

    /// The keys of what a neighbour should hold: of at most `most` places from one on, and the place after them unless
    /// those were the last. What comes meanwhile may be in a place that was passed. `None` for an unknown neighbour.
    #[must_use]
    pub fn desired_keys(
        &self,
        neighbor: &str,
        from: usize,
        most: usize,
    ) -> Option<(Vec<NlriKey>, Option<usize>)> {
        let neighbors = self.inner.neighbors();
        let rib = neighbors.get(neighbor)?.shared.rib();
        Some(rib.desired_keys(from, most))
    }

    /// What a neighbour should hold under each of these keys; `None` for an unknown neighbour.
    #[must_use]
    pub fn desired_of(&self, neighbor: &str, keys: &[NlriKey]) -> Option<Vec<Option<Route>>> {
        let neighbors = self.inner.neighbors();
        let rib = neighbors.get(neighbor)?.shared.rib();
        Some(keys.iter().map(|key| rib.desired(key)).collect())
    }

    /// What a neighbour should hold and was told, in no order; `None` for an unknown neighbour.
    #[must_use]
    pub fn adj_rib_out(&self, neighbor: &str) -> Option<Vec<RouteStatus>> {
        self.inner
            .neighbors()
            .get(neighbor)
            .map(|handle| handle.shared.rib().snapshot())
    }

    /// The rules at a neighbour that match such packets, or may match them, in the order in which the router asks them;
    /// blackhole routes come last, because they are in another table. `None` for an unknown neighbour.
    #[must_use]
    pub fn matching(&self, neighbor: &str, packet: &Packet) -> Option<Vec<(RouteStatus, Fit)>> {
        let mut matching = {
            let neighbors = self.inner.neighbors();
            neighbors.get(neighbor)?.shared.rib().matching(packet)
        };
        matching.sort_by(|(one, _), (two, _)| {
            let order = one.key.family().cmp(&two.key.family());
            order.then_with(|| one.key.precedence(&two.key))
        });
        Some(matching)
    }

    /// Figures of a neighbour's rules, without copying them.
    #[must_use]
    pub fn counts(&self, neighbor: &str) -> Option<RibCounts> {
        self.inner
            .neighbors()
            .get(neighbor)
            .map(|handle| handle.shared.rib().counts())
    }

    /// How far a rule has come at each neighbour that should hold it or was told it. Cheap.
    #[must_use]
    pub fn delivery(&self, key: &NlriKey) -> Vec<(Arc<str>, Delivery)> {
        let neighbors = self.inner.neighbors();
        let state = |handle: &Handle| handle.shared.rib().delivery(key);
        neighbors
            .iter()
            .filter_map(|(name, handle)| Some((name.clone(), state(handle)?)))
            .collect()
    }

    /// One rule at one neighbour; `None` when the neighbour is unknown or has nothing to do with the rule. Cheap.
    #[must_use]
    pub fn route(&self, neighbor: &str, key: &NlriKey) -> Option<RouteStatus> {
        self.inner.neighbors().get(neighbor)?.shared.rib().route(key)
    }

    /// What changes would come to at a neighbour: how the announced would stand, and whose places they would take. Nothing
    /// is changed. `None` for an unknown neighbour.
    #[must_use]
    pub fn foresee(&self, neighbor: &str, changes: WhatIf) -> Option<Foreseen> {
        let copy = self.inner.neighbors().get(neighbor)?.shared.rib().clone();
        Some(copy.foresee(changes, Instant::now()))
    }

    /// Whether a neighbour would be told this rule as soon as it is announced: nothing keeps it back, and there is room; or it
    /// is told nothing of its family in any case. With `may_be_tried` another neighbour may be told such a rule first. Cheap.
    #[must_use]
    pub fn would_tell(
        &self,
        neighbor: &str,
        rule: &CanonicalRule,
        action: Action,
        may_be_tried: bool,
    ) -> bool {
        let neighbors = self.inner.neighbors();
        let handle = neighbors.get(neighbor);
        handle.is_some_and(|handle| handle.shared.rib().would_tell(rule, action, may_be_tried))
    }

    /// Whether a neighbour has a place for this rule, or would have one if it were desired with this priority. Cheap.
    #[must_use]
    pub fn would_have_place(
        &self,
        neighbor: &str,
        rule: &CanonicalRule,
        action: Action,
        priority: Priority,
    ) -> bool {
        let neighbors = self.inner.neighbors();
        let handle = neighbors.get(neighbor);
        handle.is_some_and(|handle| handle.shared.rib().would_have_place(rule, action, priority))
    }

    /// Whether the session with a neighbour is established. Cheap.
    #[must_use]
    pub fn is_established(&self, neighbor: &str) -> bool {
        let phase = |handle: &Handle| handle.shared.observed().phase;
        self.inner.neighbors().get(neighbor).map(phase) == Some(SessionPhase::Established)
    }

    /// Every neighbour, in order of name.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerStatus> {
        self.inner
            .neighbors()
            .values()
            .map(|handle| handle.shared.status())
            .collect()
    }

    /// One neighbour.
    #[must_use]
    pub fn peer(&self, neighbor: &str) -> Option<PeerStatus> {
        self.inner
            .neighbors()
            .get(neighbor)
            .map(|handle| handle.shared.status())
    }

    /// Until when a neighbour without a session may hold what it was told in the last one; none if it does not.
    #[must_use]
    pub fn may_hold(&self, neighbor: &str) -> Option<MayHold> {
        self.inner.neighbors().get(neighbor)?.shared.may_hold()
    }

    /// Sessions that come up and go down from now on.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<SessionEvent> {
        self.inner.events.subscribe()
    }

    /// Stops accepting and ends all sessions. A neighbour that does not finish in time is cut off; the names of those
    /// are returned.
    pub async fn shutdown(&self, stop: Stop, deadline: Duration) -> Vec<Arc<str>> {
        self.inner.stopped.store(true, Ordering::SeqCst);
        lock(&self.listeners).clear();
        let deadline = Instant::now() + deadline;
        let mut tasks = Vec::new();
        for (name, handle) in self.inner.neighbors().iter() {
            handle
                .orders
                .send_replace(Order::Stop(StopReason::Speaker(stop.clone())));
            tasks.extend(lock(&handle.task).take().map(|task| (name.clone(), task)));
        }
        let mut unfinished = Vec::new();
        for (name, task) in tasks {
            if timeout_at(deadline, task).await.is_err() {
                unfinished.push(name);
            }
        }
        unfinished
    }
}

impl Inner {
    fn neighbors(&self) -> RwLockReadGuard<'_, BTreeMap<Arc<str>, Handle>> {
        self.neighbors.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_neighbors(&self) -> RwLockWriteGuard<'_, BTreeMap<Arc<str>, Handle>> {
        self.neighbors.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn neighbor_at(&self, address: IpAddr) -> Option<Arc<NeighborShared>> {
        let neighbors = self.neighbors();
        let handle = neighbors
            .values()
            .find(|handle| handle.shared.address().to_canonical() == address)?;
        Some(handle.shared.clone())
    }

    fn spawn(&self, config: NeighborConfig) -> Handle {
        let restarting = !self.open.load(Ordering::SeqCst);
        let shared = NeighborShared::new(config, &lock(&self.attributes), restarting);
        let shared = Arc::new(shared);
        self.seat(&shared);
        let (orders, context) = self.context(shared.clone());
        let task = AbortOnDropHandle::new(tokio::spawn(supervise(context)));
        Handle {
            shared,
            orders,
            task: Mutex::new(Some(task)),
        }
    }

    /// Gives the neighbour its place among those that are alike. One that has it keeps it: how long is waited may change in
    /// the middle of what is being tried.
    fn seat(&self, shared: &Arc<NeighborShared>) {
        let (config, before, now) = (shared.config(), shared.seat(), Instant::now());
        let seat = match (config.canary, before) {
            (None, None) => return,
            (Some(group), Some(before)) if *before.group() == group.group => {
                return before.set_wait(group.wait);
            }
            (None, Some(_)) => None,
            (Some(group), _) => {
                let mut canaries = lock(&self.canaries);
                canaries.retain(|_, canary| canary.strong_count() > 0);
                let known = canaries.get(&group.group).and_then(Weak::upgrade);
                let canary = known.unwrap_or_else(|| {
                    let canary = Canary::new(&group);
                    canaries.insert(group.group.clone(), Arc::downgrade(&canary));
                    canary
                });
                canary.set_wait(group.wait);
                Some(canary.join(&config.name, Arc::downgrade(shared), now))
            }
        };
        shared.take_seat(seat, now);
    }

    fn context(&self, shared: Arc<NeighborShared>) -> (watch::Sender<Order>, PeerContext) {
        let config = shared.config();
        let first = if self.open.load(Ordering::SeqCst) {
            Order::Run
        } else {
            Order::Wait
        };
        let (orders, orders_rx) = watch::channel(first);
        let fsm = FsmConfig {
            local_asn: self.config.local_asn,
            router_id: self.config.router_id,
            hold_seconds: self.hold_seconds.load(Ordering::Relaxed),
            peer_asn: config.peer_asn,
            families: config.families,
            graceful_restart: None,
        };
        (
            orders,
            PeerContext {
                shared,
                fsm,
                hold_seconds: self.hold_seconds.clone(),
                complete: self.complete.clone(),
                orders: orders_rx,
                events: self.events.clone(),
                network: self.network.clone(),
                rng: SmallRng::from_rng(&mut *lock(&self.rng)),
            },
        )
    }
}

impl Handle {
    /// Applies one change. The writer is woken on the way of many, so that a router takes the first while the last are
    /// still being put down; a few go out together.
    fn change<'a>(
        &'a self,
        name: &'a str,
        change: Change,
        now: Instant,
        touched: &mut BTreeMap<&'a str, Touched<'a>>,
    ) {
        let mut rib = self.shared.rib();
        let touched = touched.entry(name).or_insert_with(|| Touched {
            handle: self,
            expected: rib.next_expiry(),
            changes: 0,
        });
        match change {
            Change::Announce { route, .. } => rib.announce(route, now),
            Change::Withdraw { key, .. } => rib.withdraw(&key),
        }
        drop(rib);
        touched.changes += 1;
        if touched.changes.is_multiple_of(WAKE_EVERY) {
            self.shared.changed.send_replace(());
        }
    }
}
