//! The engine step by step, on both stores: a test says when a commit ends and how, and what is decided meanwhile.

mod breaker;
mod commits;
mod drift;
mod history;
mod lanes;
mod model;
mod panics;
mod queue;
mod restore;
mod stops;
mod time;
mod undo;

use super::commit::outcome;
use super::run::Engine;
use super::{Answer, Handle, Parts, Reply, Request, Settings, SubmitError};
use crate::announce::{Announcer, Neighbor, NeighborPlan};
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::policy::{Command, CreateCommand, EventCommand, FreshIds, Implicit, Policy};
use crate::store::tests::Place;
use crate::store::{CommitError, Verification};
use prefixd_api::config::Config;
use prefixd_api::event::{Event, EventOutcome, EventRequest};
use prefixd_api::mitigation::MitigationRequest;
use prefixd_api::time::Timestamp;
use prefixd_bgp::{HoldTime, NeighborConfig, Speaker, SpeakerConfig};
use sqlx::{Connection, Executor, PgConnection, SqliteConnection};
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

const POP: &str = crate::store::tests::fixture::POP;
/// Longest wait for something that takes milliseconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The test on SQLite, and on PostgreSQL where it is not allowed to be missing.
macro_rules! on_both_stores {
    ($($name:ident)*) => {
        mod on_sqlite { $(#[tokio::test] async fn $name() {
            super::$name(crate::store::tests::sqlite().await).await;
        })* }
        mod on_postgres { $(#[tokio::test] async fn $name() {
            if let Some(place) = crate::store::tests::postgres().await { super::$name(place).await; }
        })* }
    };
}
use on_both_stores;

const SETTINGS: &str = "
pop: iad1
mode: enforced
http: { socket: null, auth: { mode: none } }
bgp:
  local_asn: 65010
  router_id: 10.255.0.1
  listen: null
  marker_large_community: \"65010:8955:1\"
  neighbors: [{ name: edge, address: 192.0.2.1, peer_asn: 65001, profile: bird }]
sources: { default: { reporting: repeats } }
guardrails: { min_ttl_seconds: 1 }
quotas: { max_active_per_customer: 300, max_active_per_pop: 300, max_new_per_minute: { pop: 1000, customer: 1000, source: 1000 } }
timers: { hold_down_seconds: 0 }
escalation: { enabled: false }
";
const INVENTORY: &str = "
customers:
  - { customer_id: acme, name: ACME, prefixes: [203.0.113.0/24], link_bps: 10000000000, services: [] }
";
const PLAYBOOKS: &str = "
playbooks:
  - name: udp
    match: { vector: udp_flood }
    steps: [{ action: police, rate_bps: 5000000, ttl_seconds: 300 }]
";

/// An engine that looks after itself only when it is told to.
const SETTLED: Settings = Settings {
    max_future_skew: Duration::from_secs(60),
    reconciliation_interval: Duration::from_secs(3600),
    retention: Duration::from_secs(3600),
    prune_interval: Duration::from_secs(3600),
};

/// An engine whose next step the test takes.
struct Bench {
    engine: Engine,
    handle: Handle,
    announcer: Arc<Announcer>,
    clock: Arc<Clock>,
    connection: String,
    /// For a reload that leaves them as they are.
    neighbors: (Vec<NeighborConfig>, Vec<Neighbor>),
    _directory: Option<tempfile::TempDir>,
}

type Told = oneshot::Receiver<Result<Answer, SubmitError>>;

impl Bench {
    async fn new(place: Place) -> Self {
        Self::with(place, SETTLED, PLAYBOOKS).await
    }

    async fn with(place: Place, settings: Settings, playbooks: &str) -> Self {
        let config = Config::from_texts(SETTINGS, INVENTORY, playbooks).unwrap();
        Self::starting_at(Timestamp::wall_clock(), place, settings, &config).await
    }

    /// Its sessions are never opened.
    async fn starting_at(now: Timestamp, place: Place, settings: Settings, config: &Config) -> Self {
        let neighbor = NeighborConfig::new("edge", Ipv4Addr::new(192, 0, 2, 1).into(), 65001);
        Box::pin(Self::beside(neighbor, Vec::new(), now, place, settings, config)).await
    }

    /// The neighbour opens its session itself, from this machine, and the session never ends by time.
    async fn heard_at(now: Timestamp, place: Place, settings: Settings, config: &Config) -> Self {
        let neighbor = NeighborConfig {
            passive: true,
            ..NeighborConfig::new("edge", Ipv4Addr::LOCALHOST.into(), 65001)
        };
        let listen = vec![(Ipv4Addr::LOCALHOST, 0).into()];
        Box::pin(Self::beside(neighbor, listen, now, place, settings, config)).await
    }

    async fn beside(
        neighbor: NeighborConfig,
        listen: Vec<SocketAddr>,
        now: Timestamp,
        place: Place,
        settings: Settings,
        config: &Config,
    ) -> Self {
        let clock = Arc::new(Clock::starting_at(now));
        let neighbor = NeighborConfig {
            families: [prefixd_bgp::flowspec::Family::Ipv4].into(),
            ..neighbor
        };
        let speaker = Speaker::start(SpeakerConfig {
            local_asn: 65010,
            router_id: Ipv4Addr::new(10, 255, 0, 1),
            listen,
            hold_time: HoldTime::from_secs(u16::MAX).unwrap(),
            marker: None,
            neighbors: vec![neighbor.clone()],
        })
        .unwrap();
        let edge = Neighbor {
            name: "edge".into(),
            enforce: true,
            was_told: true,
            plan: NeighborPlan::default(),
            max_rules: 1000,
            reflects: false,
        };
        let policy = Arc::new(Policy::compile(config, &Implicit::default()));
        let announcer = Arc::new(Announcer::new(
            speaker,
            Arc::clone(&clock),
            vec![edge.clone()],
            Arc::clone(&policy),
        ));
        let loaded = place.store.load(policy.pop(), clock.now()).await.unwrap();
        let parts = Parts {
            store: Arc::new(place.store),
            announcer: Arc::clone(&announcer),
            clock: Arc::clone(&clock),
            policy,
            settings,
            metrics: Arc::new(Metrics::new()),
            alive: Box::new(|| {}),
        };
        let (engine, handle) = Engine::new(parts, loaded);
        Self {
            engine,
            handle,
            announcer,
            clock,
            connection: place.connection,
            neighbors: (vec![neighbor], vec![edge]),
            _directory: place.directory,
        }
    }

    /// Puts a command into the queue.
    fn ask(&mut self, command: Command) -> Told {
        let (reply, told) = oneshot::channel();
        let command = self.handle.numbered(command);
        self.engine.waiting.push_back(Request::Command {
            command,
            reply: Reply::Plain(reply),
        });
        told
    }

    /// The same of what overtakes everything else, as the engine's loop hears it.
    fn urgently(&mut self, command: Command) -> Told {
        let (reply, told) = oneshot::channel();
        let command = self.handle.numbered(command);
        self.engine.at_once(Request::Command {
            command,
            reply: Reply::Plain(reply),
        });
        told
    }

    fn ban(&mut self, last: u8) -> Told {
        self.ask(ban(last))
    }

    /// An operator asks for one against 203.0.113.10, for so many seconds.
    fn create(&mut self, ttl_seconds: u32) -> Told {
        let request = MitigationRequest {
            victim_ip: "203.0.113.10".to_owned(),
            vector: Some("udp_flood".to_owned()),
            ttl_seconds: Some(ttl_seconds),
            dst_ports: [27015].into_iter().collect(),
            protocol: Some(17),
            reason: "INC-4711".to_owned(),
            ..MitigationRequest::default()
        };
        self.ask(Command::Create(Box::new(CreateCommand {
            ids: FreshIds::new(),
            victim: "203.0.113.10".parse().unwrap(),
            request,
            actor: "token:noc".to_owned(),
        })))
    }

    /// Decides what waits, and gives it to the store if the store has nothing to do.
    async fn decide(&mut self) {
        self.engine.decide_waiting().await.unwrap();
        self.engine.commit_draft();
    }

    /// The commit under way ends, as the store says.
    async fn committed(&mut self) {
        let result = outcome(&mut self.engine.commit).await;
        self.engine.committed(result).await.unwrap();
    }

    /// The commit under way ends, and this is what the engine hears.
    async fn hears(&mut self, hears: CommitError) {
        let _ = outcome(&mut self.engine.commit).await;
        self.engine.committed(Err(hears)).await.unwrap();
    }

    /// Goes on until nothing waits.
    async fn finish(&mut self) {
        while !self.engine.waiting.is_empty() || self.engine.draft.is_some() || self.engine.commit.is_some() {
            self.decide().await;
            self.engine.settle().await.unwrap();
        }
    }

    /// Somebody else works on the database.
    async fn execute(&self, sql: &'static str) {
        execute(&self.connection, sql).await;
    }

    fn is_sqlite(&self) -> bool {
        self.connection.starts_with("sqlite:")
    }

    /// The store takes nothing from now on, and says so.
    async fn break_store(&self) {
        if self.is_sqlite() {
            self.execute(
                "CREATE TRIGGER broken BEFORE INSERT ON journal BEGIN SELECT RAISE(ABORT, 'disk full'); END",
            )
            .await;
        } else {
            self.execute(
                "CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS \
                 $$ BEGIN RAISE EXCEPTION 'disk full'; END $$",
            )
            .await;
            self.execute(
                "CREATE TRIGGER broken BEFORE INSERT ON journal FOR EACH ROW EXECUTE FUNCTION broken()",
            )
            .await;
        }
    }

    async fn mend_store(&self) {
        if self.is_sqlite() {
            self.execute("DROP TRIGGER broken").await;
        } else {
            self.execute("DROP TRIGGER broken ON journal").await;
        }
    }

    /// The last bytes of the victims that the neighbour should get rules for.
    fn announced(&self) -> BTreeSet<u8> {
        let routes = self.announcer.speaker().desired("edge").unwrap();
        let victim = |route: &prefixd_bgp::Route| {
            let nlri = route.rule.key().to_string();
            // 203.0.113. in hexadecimal.
            let (_, rest) = nlri.split_once("cb0071").unwrap();
            u8::from_str_radix(&rest[..2], 16).unwrap()
        };
        routes.iter().map(victim).collect()
    }

    /// The last bytes of the victims of live mitigations, as readers see them.
    fn live(&self) -> BTreeSet<u8> {
        let snapshot = self.handle.snapshot();
        let victims = snapshot.state.mitigations.values();
        victims
            .map(|live| match live.victim_ip.address() {
                std::net::IpAddr::V4(address) => address.octets()[3],
                std::net::IpAddr::V6(address) => panic!("{address}"),
            })
            .collect()
    }

    /// What is stored is what readers see: the live mitigations, the chain without a gap up to the head.
    async fn assert_durable(&self) {
        let store = &self.engine.parts.store;
        let loaded = store.load(POP, self.clock.now()).await.unwrap();
        let stored: BTreeSet<_> = loaded.mitigations.iter().map(|live| live.mitigation_id).collect();
        let snapshot = self.handle.snapshot();
        assert_eq!(stored, snapshot.state.mitigations.keys().copied().collect());
        assert_eq!(
            loaded.head.seq, snapshot.head,
            "readers see the end of the journal"
        );
        match store.verify_chain(POP, None, u64::MAX).await.unwrap() {
            Verification::Intact { to, .. } => assert_eq!(to, loaded.head),
            broken @ Verification::Broken { .. } => panic!("{broken:?}"),
        }
    }
}

fn report(last: u8) -> EventRequest {
    EventRequest {
        source: "fastnetmon".into(),
        victim_ip: format!("203.0.113.{last}"),
        vector: "udp_flood".into(),
        bps: Some(1_200_000_000),
        confidence: Some(0.95),
        top_dst_ports: vec![27015],
        ..EventRequest::default()
    }
}

fn event(request: EventRequest) -> Command {
    Command::Event(Box::new(EventCommand {
        ids: FreshIds::new(),
        event: Event::try_from(request).unwrap(),
        actor: "token:fastnetmon".to_owned(),
        seen_at: None,
    }))
}

fn ban(last: u8) -> Command {
    event(report(last))
}

/// What a caller was told: its event's status and whether that was a replay.
fn told(told: &mut Told) -> Result<(EventOutcome, bool), String> {
    match told.try_recv().expect("it was told") {
        Ok(answer) => match answer.outcome {
            crate::policy::Outcome::Event { answer: event, .. } => Ok((event.status, answer.replay)),
            other => panic!("{other:?}"),
        },
        Err(error) => Err(error.to_string()),
    }
}

async fn execute(connection: &str, sql: &'static str) {
    if connection.starts_with("sqlite:") {
        let mut other = SqliteConnection::connect(connection).await.unwrap();
        other.execute(sql).await.unwrap();
    } else {
        let mut other = PgConnection::connect(connection).await.unwrap();
        other.execute(sql).await.unwrap();
    }
}

fn waits(told: &mut Told) -> bool {
    matches!(told.try_recv(), Err(oneshot::error::TryRecvError::Empty))
}

fn accepted() -> Result<(EventOutcome, bool), String> {
    Ok((EventOutcome::Accepted, false))
}

fn failed(error: &SubmitError) -> Result<(EventOutcome, bool), String> {
    Err(error.to_string())
}
