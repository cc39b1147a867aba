//! What is measured: a daemon in the bench configuration, on a store, beside a neighbour.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, ensure};
use lab::daemon::{Daemon, Documents};
use lab::load::{self, Load, Mode, OWNED, Report, SAFELISTED, Until};
use lab::net;
use lab::postgres::{self, Postgres};
use lab::routers::{Kind, Router, RouterConfig};
use tempfile::TempDir;

use crate::Arguments;

pub(crate) const ASN: u32 = 65010;

/// Connections of a load that has no number of its own.
pub(crate) const CONNECTIONS: usize = 16;

/// Victims of the bench inventory that are used.
pub(crate) const VICTIMS: u64 = 50_000;

const SESSION_LIMIT: Duration = Duration::from_secs(30);

const RECONCILE: &str = "reconciliation_interval_seconds:";

/// A store with full durability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    Sqlite,
    Postgres,
}

impl Store {
    pub(crate) const ALL: [Self; 2] = [Self::Sqlite, Self::Postgres];
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        })
    }
}

/// A new cluster makes and zeroes each file of its log while a commit waits for it. One that has run for a while only
/// takes the old ones again: so does this one from here on.
async fn has_run_for_a_while(postgres: &Postgres) -> anyhow::Result<()> {
    const FILES: u32 = 160;
    postgres
        .sql(&format!(
            "DO $$ BEGIN FOR i IN 1..{FILES} LOOP PERFORM pg_logical_emit_message(false, 'bench', 'x'); \
             PERFORM pg_switch_wal(); END LOOP; END $$"
        ))
        .await?;
    postgres.sql("CHECKPOINT").await?;
    Ok(())
}

/// An empty database on a real disk, and a directory beside it.
pub(crate) struct Place {
    // The server is dropped before the directory.
    pub(crate) postgres: Option<Postgres>,
    pub(crate) dir: TempDir,
    /// The connection string; a file's is relative to the directory.
    pub(crate) storage: String,
}

impl Place {
    pub(crate) async fn make(arguments: &Arguments, store: Store) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("prefixd-bench-")
            .tempdir_in(&arguments.directory);
        let dir = dir.with_context(|| format!("create a directory in {}", arguments.directory.display()))?;
        let (postgres, storage) = match store {
            Store::Sqlite => (None, "sqlite:prefixd.db".to_owned()),
            Store::Postgres => {
                let options = postgres::Options {
                    durable: true,
                    tcp: false,
                    directory: Some(arguments.directory.clone()),
                };
                let postgres = Postgres::start(options).await?;
                has_run_for_a_while(&postgres).await?;
                let url = postgres.database().await?;
                (Some(postgres), url)
            }
        };
        Ok(Self {
            postgres,
            dir,
            storage,
        })
    }
}

/// A running daemon with what it needs.
pub(crate) struct Rig {
    // In this order they are dropped: the daemon first, what it uses after it.
    pub(crate) daemon: Daemon,
    _postgres: Option<Postgres>,
    dir: TempDir,
    runs: u64,
}

impl Rig {
    /// Starts a daemon that dials `neighbour`.
    pub(crate) async fn start(
        arguments: &Arguments,
        store: Store,
        neighbour: SocketAddr,
    ) -> anyhow::Result<Self> {
        let Place {
            dir,
            postgres,
            storage,
        } = Place::make(arguments, store).await?;
        let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let http = SocketAddr::new(localhost, net::free_port(localhost)?);
        Documents {
            settings: &settings(http, neighbour, &storage),
            inventory: &inventory(),
            playbooks: PLAYBOOKS,
        }
        .write(dir.path())?;
        let daemon = Daemon::start(&arguments.prefixd, dir.path(), http).await?;
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .context("a clock before 1970")?;
        Ok(Self {
            daemon,
            _postgres: postgres,
            dir,
            runs: now.as_secs(),
        })
    }

    /// Starts a daemon beside BIRD and waits for their session.
    pub(crate) async fn with_bird(arguments: &Arguments, store: Store) -> anyhow::Result<(Self, Router)> {
        let router = Router::start(Kind::Bird, RouterConfig::new(ASN, ASN)).await?;
        let rig = Self::start(arguments, store, router.address()).await?;
        router.wait_established(SESSION_LIMIT).await?;
        Ok((rig, router))
    }

    /// A run with event ids of its own. Every answer must have the status that the mode is about.
    pub(crate) async fn run(
        &mut self,
        mode: Mode,
        connections: usize,
        until: Until,
        victims: u64,
    ) -> anyhow::Result<Report> {
        self.runs += 1;
        self.run_again(mode, connections, until, victims).await
    }

    /// A run with the event ids of the one before: refreshes and unbans of its claims.
    pub(crate) async fn run_again(
        &self,
        mode: Mode,
        connections: usize,
        until: Until,
        victims: u64,
    ) -> anyhow::Result<Report> {
        self.run_from(0, mode, connections, until, victims).await
    }

    /// The same from another victim on.
    pub(crate) async fn run_from(
        &self,
        first: u64,
        mode: Mode,
        connections: usize,
        until: Until,
        victims: u64,
    ) -> anyhow::Result<Report> {
        let target = self.daemon.http();
        let load = Load {
            target,
            mode,
            connections,
            until,
            first,
            victims,
            run: self.runs,
        };
        let report = load::run(load).await?;
        ensure!(
            report.unexpected.is_none(),
            "the figure for {mode:?} means nothing: {:?}",
            report.unexpected
        );
        Ok(report)
    }

    /// Has the daemon reconcile so often instead of every half minute, by a reload.
    pub(crate) async fn reconcile_every(&self, seconds: u32) -> anyhow::Result<()> {
        let file = self.dir.path().join("prefixd.yaml");
        let text = std::fs::read_to_string(&file)?;
        let others = text.lines().filter(|line| !line.contains(RECONCILE));
        let changed: String = others
            .map(|line| match line {
                "timers:" => format!("timers:\n  {RECONCILE} {seconds}\n"),
                line => format!("{line}\n"),
            })
            .collect();
        std::fs::write(file, changed)?;
        let mut client = self.daemon.client().await?;
        let (status, answer) = client.json("POST", "/v1/config/reload", None).await?;
        ensure!(status == 200, "prefixd answered {status} to a reload: {answer}");
        Ok(())
    }

    /// Kills the daemon and starts it on the same data.
    pub(crate) async fn kill_and_start(self) -> anyhow::Result<Self> {
        let Self {
            daemon,
            _postgres,
            dir,
            runs,
        } = self;
        Ok(Self {
            daemon: daemon.kill_and_start().await?,
            _postgres,
            dir,
            runs,
        })
    }
}

/// Everything that limits the rate is out of the way; everything that makes an answer true is not.
fn settings(http: SocketAddr, neighbour: SocketAddr, storage: &str) -> String {
    format!(
        r#"pop: bench1
mode: enforced
http:
  listen: ["{http}"]
  socket: null
  auth: {{ mode: none }}
  rate_limit: {{ events_per_second: 1000000, burst: 1000000 }}
bgp:
  local_asn: {ASN}
  router_id: 10.10.0.10
  listen: null
  marker_large_community: "65010:8955:1"
  neighbors:
    - name: edge1
      address: {}
      port: {}
      peer_asn: {ASN}
      local_address: 127.0.0.1
      afi_safi: [ipv4-flowspec, ipv6-flowspec]
      profile: bird
      max_rules: 200000
sources:
  bench: {{ reporting: repeats, claim_ttl_seconds: 1800, default_confidence: 0.9 }}
guardrails:
  infrastructure_prefixes: ["192.0.2.0/24"]
quotas:
  max_active_per_customer: 200000
  max_active_per_pop: 200000
  max_active_global: 200000
  max_new_per_minute: {{ pop: 10000000, customer: 10000000, source: 10000000 }}
timers:
  default_ttl_seconds: 1800
  hold_down_seconds: 0
storage:
  connection_string: "{storage}"
observability:
  log_format: text
  log_level: warn
safelist:
  prefixes: ["{SAFELISTED}/32"]
"#,
        neighbour.ip(),
        neighbour.port(),
    )
}

fn inventory() -> String {
    format!(
        "customers:\n  - customer_id: bench\n    name: Bench\n    prefixes: [\"{OWNED}\"]\n    link_bps: 100000000000\n"
    )
}

const PLAYBOOKS: &str = "playbooks: []
default_playbook: { steps: [{ action: police, rate_bps: 5000000, ttl_seconds: 1800 }] }
";
