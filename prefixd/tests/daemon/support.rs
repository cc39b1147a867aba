//! Starts the daemon and speaks to it.

use anyhow::{Context, bail};
use lab::process::Process;
use lab::routers::Router;
use nix::sys::signal::Signal;
use prefixd_api::client::{Client, Endpoint, Error, MitigationQuery, Options, Page};
use prefixd_api::event::{EventAnswer, EventRequest};
use prefixd_api::mitigation::{Mitigation, MitigationStatus};
use sqlx::{Connection, PgConnection, SqliteConnection};
use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::Instant;

/// Longest wait for something that takes milliseconds on an idle machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// How often is asked for what tells nobody when it happens.
const POLL: Duration = Duration::from_millis(20);
/// The marker of the test configuration.
pub(crate) const MARKER: (u32, u32, u32) = (65010, 8955, 1);

/// What a test configures otherwise than the others.
pub(crate) struct Setup {
    pub(crate) quotas: &'static str,
    pub(crate) guardrails: &'static str,
    pub(crate) timers: &'static str,
    pub(crate) sources: &'static str,
    pub(crate) playbook_ttl: u32,
    pub(crate) pop: &'static str,
    pub(crate) database: Option<String>,
    pub(crate) http: &'static str,
}

/// What stores the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    Sqlite,
    Postgres,
}

impl Backend {
    /// PostgreSQL is absent only where the run allows that; otherwise missing is a failure.
    pub(crate) fn available(self) -> anyhow::Result<bool> {
        match self {
            Self::Sqlite => Ok(true),
            Self::Postgres => lab::postgres::available(),
        }
    }
}

/// A running router. Where the run allows it to be missing (`PREFIXD_TEST_ALLOW_MISSING`) the test ends here, and says
/// that it was skipped; anywhere else that is a failure.
macro_rules! router {
    ($kind:expr, $config:expr $(,)?) => {{
        let kind: lab::routers::Kind = $kind;
        if !kind.available()? {
            return Ok(());
        }
        lab::routers::Router::start(kind, $config).await?
    }};
}
pub(crate) use router;

/// These tests with each store.
macro_rules! on_both_stores {
    ($($name:ident)*) => {
        mod on_sqlite { $crate::support::on_store!(Sqlite: $($name)*); }
        mod on_postgres { $crate::support::on_store!(Postgres: $($name)*); }
    };
}
pub(crate) use on_both_stores;

macro_rules! on_store {
    ($store:ident: $($name:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() -> anyhow::Result<()> {
            let store = $crate::support::Backend::$store;
            if store.available()? { super::$name(store).await } else { Ok(()) }
        }
    )*};
}
pub(crate) use on_store;

impl Setup {
    /// An empty database of this kind.
    pub(crate) async fn on(store: Backend) -> anyhow::Result<Self> {
        let database = match store {
            Backend::Sqlite => None,
            Backend::Postgres => Some(lab::postgres::Postgres::shared().await?.database().await?),
        };
        Ok(Self {
            database,
            ..Self::default()
        })
    }
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            quotas: "{ max_active_per_customer: 100, max_active_per_pop: 200, max_active_global: 500, \
                     max_new_per_minute: { pop: 1000, customer: 1000, source: 1000 } }",
            guardrails: "{ min_ttl_seconds: 1, infrastructure_prefixes: [\"198.51.100.0/24\"] }",
            timers: "{ hold_down_seconds: 0 }",
            sources: "{ default: { reporting: repeats } }",
            playbook_ttl: 300,
            pop: "test1",
            database: None,
            http: "  socket: null\n  auth: { mode: none }\n",
        }
    }
}

/// A configured daemon, running or not.
pub(crate) struct Daemon {
    pub(crate) dir: TempDir,
    pub(crate) client: Client,
    pub(crate) address: SocketAddr,
    /// A URL; absent for the SQLite file in `dir`.
    database: Option<String>,
    /// Variables of the process beside its own.
    pub(crate) environment: Vec<(&'static str, OsString)>,
    process: Option<Process>,
}

/// Somebody else's connection to the database.
pub(crate) enum Other {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Other {
    /// The texts of a column.
    pub(crate) async fn texts(&mut self, sql: &'static str) -> anyhow::Result<Vec<String>> {
        Ok(match self {
            Self::Sqlite(connection) => sqlx::query_scalar(sql).fetch_all(connection).await?,
            Self::Postgres(connection) => sqlx::query_scalar(sql).fetch_all(connection).await?,
        })
    }

    pub(crate) async fn execute(&mut self, sql: &'static str) -> anyhow::Result<u64> {
        Ok(match self {
            Self::Sqlite(connection) => sqlx::query(sql).execute(connection).await?.rows_affected(),
            Self::Postgres(connection) => sqlx::query(sql).execute(connection).await?.rows_affected(),
        })
    }
}

impl Daemon {
    /// Writes a configuration with these routers as neighbours, and starts the daemon.
    pub(crate) async fn start(setup: Setup, routers: &[&Router]) -> anyhow::Result<Self> {
        let mut daemon = Self::configured(setup, routers)?;
        daemon.boot().await?;
        Ok(daemon)
    }

    /// Writes a configuration with these routers as neighbours.
    pub(crate) fn configured(setup: Setup, routers: &[&Router]) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("prefixd-test-").tempdir()?;
        let http = SocketAddr::new(
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            lab::net::free_port(Ipv4Addr::LOCALHOST.into())?,
        );
        write_tokens(dir.path())?;
        write_configuration(dir.path(), &setup, http, routers)?;
        let endpoint: Endpoint = format!("http://{http}").parse()?;
        let mut options = Options::new(endpoint);
        // A test counts what the daemon answers, not what a retry makes of it.
        options.retries = 0;
        let client = Client::new(options)?;
        Ok(Self {
            dir,
            client,
            address: http,
            database: setup.database,
            environment: Vec::new(),
            process: None,
        })
    }

    /// Starts the process.
    pub(crate) fn spawn(&mut self) -> anyhow::Result<&mut Process> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_prefixd"));
        command
            .arg("--config")
            .arg(self.dir.path())
            .env_remove("PREFIXD_LOG")
            .env_remove("NOTIFY_SOCKET")
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        let process = Process::spawn("prefixd", command, self.dir.path())?;
        Ok(self.process.insert(process))
    }

    /// Starts the process and waits until it is ready.
    pub(crate) async fn boot(&mut self) -> anyhow::Result<()> {
        self.spawn()?;
        let deadline = Instant::now() + PATIENCE;
        while self.client.ready().await.is_err() {
            let process = self.process.as_mut().context("it was started")?;
            if let Some(status) = process.ended()? {
                bail!("the daemon ended with {status}:\n{}", process.log());
            }
            anyhow::ensure!(
                Instant::now() < deadline,
                "the daemon is not ready:\n{}",
                process.log()
            );
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    pub(crate) fn log(&self) -> String {
        self.process.as_ref().map(Process::log).unwrap_or_default()
    }

    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        self.process
            .as_ref()
            .context("the daemon does not run")?
            .signal(signal)
    }

    pub(crate) fn pid(&self) -> anyhow::Result<u32> {
        Ok(self.process.as_ref().context("the daemon does not run")?.pid())
    }

    /// SIGTERM, and waits for the end in order.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<()> {
        self.stop_by(Signal::SIGTERM).await
    }

    /// Sends a signal that ends it, and waits for the end in order.
    pub(crate) async fn stop_by(&mut self, signal: Signal) -> anyhow::Result<()> {
        let process = self.process.take().context("the daemon does not run")?;
        let status = process.stop_by(signal).await?;
        anyhow::ensure!(status.success(), "the daemon ended with {status}");
        Ok(())
    }

    /// SIGKILL.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        let mut process = self.process.take().context("the daemon does not run")?;
        process.signal(Signal::SIGKILL)?;
        process
            .wait(PATIENCE)
            .await?
            .context("a killed process did not end")?;
        Ok(())
    }

    /// Whether the process is there and not on its way out.
    pub(crate) fn lives(&mut self) -> anyhow::Result<bool> {
        let process = self.process.as_mut().context("the daemon does not run")?;
        Ok(process.ended()?.is_none())
    }

    /// Somebody else opens the daemon's database.
    /// The connection string, for another daemon.
    pub(crate) fn database(&self) -> String {
        let file = || format!("sqlite:{}", self.dir.path().join("prefixd.db").display());
        self.database.clone().unwrap_or_else(file)
    }

    pub(crate) async fn other(&self) -> anyhow::Result<Other> {
        Ok(match &self.database {
            Some(url) => Other::Postgres(PgConnection::connect(url).await?),
            None => {
                let path = self.dir.path().join("prefixd.db");
                Other::Sqlite(SqliteConnection::connect(&format!("sqlite:{}", path.display())).await?)
            }
        })
    }

    /// Holds what every commit takes: commits wait and fail until this is dropped.
    pub(crate) async fn hold_the_lock(&self) -> anyhow::Result<Other> {
        let mut other = self.other().await?;
        match other {
            Other::Sqlite(_) => other.execute("BEGIN IMMEDIATE").await?,
            Other::Postgres(_) => {
                other.execute("BEGIN").await?;
                other
                    .execute("SELECT pg_advisory_xact_lock(hashtextextended('test1', 0))")
                    .await?
            }
        };
        Ok(other)
    }

    pub(crate) async fn ban(&self, victim: &str, port: u16) -> Result<EventAnswer, Error> {
        self.client.send_event(&ban(victim, port)).await
    }

    pub(crate) async fn live(&self) -> anyhow::Result<Vec<Mitigation>> {
        let status = vec![
            MitigationStatus::Active,
            MitigationStatus::Escalated,
            MitigationStatus::Pending,
        ];
        let query = MitigationQuery {
            status,
            page: Page {
                limit: Some(1000),
                ..Page::default()
            },
            ..MitigationQuery::default()
        };
        Ok(self.client.mitigations(&query).await?.value.mitigations)
    }

    /// What `GET /metrics` says.
    pub(crate) async fn metrics(&self) -> anyhow::Result<String> {
        let client = reqwest::Client::builder().tls_certs_only([]).build()?;
        let url = format!("http://{}/metrics", self.address);
        Ok(client.get(url).send().await?.text().await?)
    }

    pub(crate) async fn wait_established(&self, sessions: u64) -> anyhow::Result<()> {
        wait_for("the sessions are established", || async {
            let detail = self.client.health_detail().await?;
            Ok((detail.peers_established == sessions).then_some(()))
        })
        .await
    }

    /// A client with the token of this role.
    pub(crate) fn client_as(&self, role: &str) -> anyhow::Result<Client> {
        let mut options = Options::new(format!("http://{}", self.address).parse()?);
        options.token = Some(format!("{role}-secret-of-the-test").into());
        options.retries = 0;
        Ok(Client::new(options)?)
    }

    /// Replaces a text in a file of the configuration.
    pub(crate) fn edit(&self, file: &str, from: &str, to: &str) -> anyhow::Result<()> {
        let path = self.dir.path().join(file);
        let text = std::fs::read_to_string(&path)?;
        anyhow::ensure!(text.contains(from), "{file} has no {from:?}");
        Ok(std::fs::write(path, text.replace(from, to))?)
    }
}

/// A token of each role, and the socket.
pub(crate) const TOKENS: &str = "  socket: { path: prefixd.sock, operator_group: null, admin_group: null }
  auth:
    mode: bearer
    bearer_tokens:
      - { name: fnm, file: detector.token, role: detector }
      - { name: grafana, file: viewer.token, role: viewer }
      - { name: noc, file: operator.token, role: operator }
      - { name: root, file: admin.token, role: admin }
";

/// A report of a UDP flood on one port.
pub(crate) fn ban(victim: &str, port: u16) -> EventRequest {
    EventRequest {
        source: "fastnetmon".into(),
        victim_ip: victim.into(),
        vector: "udp_flood".into(),
        bps: Some(1_200_000_000),
        confidence: Some(0.95),
        top_dst_ports: vec![port],
        ..EventRequest::default()
    }
}

/// Asks until there is an answer.
pub(crate) async fn wait_for<T, F>(what: &str, mut ask: impl FnMut() -> F) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<Option<T>>>,
{
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await? {
            return Ok(answer);
        }
        if Instant::now() > deadline {
            bail!("waited {} s in vain until {what}", PATIENCE.as_secs());
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Tokens that a test may name, each in a file of its own.
fn write_tokens(dir: &Path) -> std::io::Result<()> {
    for role in ["detector", "viewer", "operator", "admin"] {
        std::fs::write(
            dir.join(format!("{role}.token")),
            format!("{role}-secret-of-the-test\n"),
        )?;
    }
    Ok(())
}

fn write_configuration(
    dir: &Path,
    setup: &Setup,
    http: SocketAddr,
    routers: &[&Router],
) -> anyhow::Result<()> {
    let mut neighbors = String::new();
    for (index, router) in routers.iter().enumerate() {
        neighbors.push_str(&format!(
            "    - {{ name: {}{index}, address: {}, port: {}, peer_asn: {}, local_address: 127.0.0.1, profile: bird }}\n",
            format!("{:?}", router.kind()).to_lowercase(),
            router.address().ip(),
            router.address().port(),
            router.asn(),
        ));
    }
    let neighbors = if neighbors.is_empty() {
        "    []\n".to_owned()
    } else {
        neighbors
    };
    let database = setup.database.as_deref().unwrap_or("sqlite:prefixd.db");
    let http_rest = setup.http;
    let Setup {
        quotas,
        guardrails,
        timers,
        sources,
        playbook_ttl,
        pop,
        ..
    } = setup;
    std::fs::write(
        dir.join("prefixd.yaml"),
        format!(
            "pop: {pop}
mode: enforced
http:
  listen: [\"{http}\"]
{http_rest}bgp:
  local_asn: 65010
  router_id: 10.255.0.1
  listen: null
  hold_time_seconds: 30
  marker_large_community: \"65010:8955:1\"
  neighbors:
{neighbors}sources: {sources}
guardrails: {guardrails}
quotas: {quotas}
timers: {timers}
escalation: {{ enabled: false }}
storage: {{ connection_string: \"{database}\" }}
observability: {{ log_format: text, log_level: info }}
safelist: {{ prefixes: [\"203.0.113.1/32\"] }}
"
        ),
    )?;
    std::fs::write(
        dir.join("inventory.yaml"),
        "customers:
  - customer_id: acme
    name: ACME Corp
    prefixes: [\"203.0.113.0/24\", \"2001:db8:acce::/48\"]
    link_bps: 10000000000
    services: []
",
    )?;
    std::fs::write(
        dir.join("playbooks.yaml"),
        format!(
            "playbooks:
  - name: udp
    match: {{ vector: udp_flood }}
    steps: [{{ action: police, rate_bps: 5000000, ttl_seconds: {playbook_ttl} }}]
"
        ),
    )?;
    Ok(())
}
