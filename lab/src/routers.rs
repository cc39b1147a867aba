//! Real routers on loopback as BGP neighbours of the speaker under test.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use std::time::Duration;
//! use lab::routers::{Connect, Family, Kind, Router, RouterConfig};
//!
//! if !Kind::Bird.available()? {
//!     return Ok(()); // only when PREFIXD_TEST_ALLOW_MISSING says so
//! }
//! // BIRD dials the speaker that listens on 127.0.0.1:2179; `Connect::Accept` waits for the speaker instead.
//! let config = RouterConfig::new(65002, 65010).connect(Connect::Dial { port: 2179 });
//! let router = Router::start(Kind::Bird, config).await?;
//! router.wait_established(Duration::from_secs(10)).await?;
//! let rules = router.wait_rules(Family::Ipv4Flow, |rules| rules.len() == 1, Duration::from_secs(5)).await?;
//! assert_eq!(rules[0].matches.to_string(), "dst 203.0.113.10/32 proto =17 dport =53");
//! # Ok(())
//! # }
//! ```
//!
//! BIRD and GoBGP show rules without loss: assert exact rules on them. FRR shows no communities and does not tell
//! AND from OR; ExaBGP does not tell one mask of two bits from two masks of one.

mod bird;
mod exabgp;
mod frr;
mod gobgp;
pub mod rule;
mod unicast;
mod version;

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::debian::Tool;
use crate::net;
use crate::process::Process;
pub use rule::{
    Action, BytesPerSecond, Component, Family, Match, NO_EXPORT, Op, PacketsPerSecond, RouterRule, Term,
};
pub use unicast::UnicastRoute;

/// Time a router has from its start to answering on its socket and its command line.
const START_LIMIT: Duration = Duration::from_secs(20);

/// Time one question to a router's command line may take.
const ASK_LIMIT: Duration = Duration::from_secs(10);

/// A router's software.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names of the products")]
pub enum Kind {
    Bird,
    Frr,
    GoBgp,
    ExaBgp,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Bird, Self::Frr, Self::GoBgp, Self::ExaBgp];

    /// The name that [`ALLOW_MISSING`](crate::debian::ALLOW_MISSING) takes.
    pub const fn name(self) -> &'static str {
        self.tool().name
    }

    /// Whether tests with this router can run: see [`Tool::available`].
    ///
    /// # Errors
    /// When it is missing and that is not allowed; the error names the Debian package.
    pub fn available(self) -> anyhow::Result<bool> {
        self.tool().available()
    }

    const fn tool(self) -> Tool {
        match self {
            Self::Bird => Tool {
                name: "bird",
                program: "bird",
                package: "bird2",
            },
            Self::Frr => Tool {
                name: "frr",
                program: "bgpd",
                package: "frr",
            },
            Self::GoBgp => Tool {
                name: "gobgp",
                program: "gobgpd",
                package: "gobgpd",
            },
            Self::ExaBgp => Tool {
                name: "exabgp",
                program: "exabgp",
                package: "exabgp",
            },
        }
    }
}

/// Who opens the TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connect {
    /// The router waits for the speaker.
    Accept,
    /// The router dials the speaker's port and keeps trying, about once a second.
    Dial {
        /// The port the speaker listens on.
        port: u16,
    },
}

/// A router's side of one session.
#[derive(Clone, Debug)]
pub struct RouterConfig {
    /// The router's AS number.
    pub local_asn: u32,
    /// The speaker's AS number.
    pub peer_asn: u32,
    /// The address the speaker talks from; its family is that of the transport.
    pub peer_addr: IpAddr,
    /// Who dials.
    pub connect: Connect,
    /// The hold time the router offers; its keepalives come three times as often.
    pub hold_time_seconds: u16,
    /// The tables the router takes.
    pub families: Vec<Family>,
    /// A TCP MD5 key (RFC 2385), plain letters and digits.
    pub password: Option<String>,
    /// GTSM (RFC 5082): the router takes only what nobody has forwarded. ExaBGP can only send so, not demand it.
    pub ttl_security: bool,
    /// Graceful restart (RFC 4724) is switched on for the session; otherwise the router does what it does by default:
    /// BIRD and FRR agree to a speaker that offers it, GoBGP does not. ExaBGP keeps nothing.
    pub graceful_restart: bool,
    /// The router takes IPv4 and IPv6 unicast routes, too; not ExaBGP.
    pub unicast: bool,
}

impl RouterConfig {
    /// A router that waits for a speaker on 127.0.0.1, with both families and a hold time of 30 s.
    pub fn new(local_asn: u32, peer_asn: u32) -> Self {
        Self {
            local_asn,
            peer_asn,
            peer_addr: IpAddr::V4(Ipv4Addr::LOCALHOST),
            connect: Connect::Accept,
            hold_time_seconds: 30,
            families: vec![Family::Ipv4Flow, Family::Ipv6Flow],
            password: None,
            ttl_security: false,
            graceful_restart: false,
            unicast: false,
        }
    }

    /// Sets who dials.
    #[must_use]
    pub fn connect(mut self, connect: Connect) -> Self {
        self.connect = connect;
        self
    }

    /// Sets the speaker's address. For IPv6 that is `::1`, and the router is on `::1` too.
    #[must_use]
    pub fn peer(mut self, address: IpAddr) -> Self {
        self.peer_addr = address;
        self
    }

    /// Sets the tables the router takes.
    #[must_use]
    pub fn families(mut self, families: &[Family]) -> Self {
        self.families = families.to_vec();
        self
    }
}

/// The addresses that one router has for itself.
#[derive(Clone, Copy, Debug)]
struct Seat {
    bgp: SocketAddr,
    /// GoBGP's command line speaks to its daemon over TCP.
    api: SocketAddr,
    router_id: Ipv4Addr,
}

impl Seat {
    fn take(transport: IpAddr) -> anyhow::Result<Self> {
        let own = net::own_loopback();
        let address = match transport {
            IpAddr::V4(_) => IpAddr::V4(own),
            IpAddr::V6(_) => transport,
        };
        let [_, b, c, d] = own.octets();
        Ok(Self {
            bgp: SocketAddr::new(address, net::free_port(address)?),
            api: SocketAddr::new(own.into(), net::free_port(own.into())?),
            router_id: Ipv4Addr::new(10, b, c, d),
        })
    }
}

/// A running router. Dropping it kills it; so does the end of the test process, whatever ends it.
#[derive(Debug)]
pub struct Router {
    kind: Kind,
    config: RouterConfig,
    seat: Seat,
    // Before the directory: the process must be gone when its directory is removed.
    process: Option<Process>,
    dir: TempDir,
}

impl Router {
    /// Starts a router on an address and a port of its own and waits until it listens and answers.
    ///
    /// # Errors
    /// When it is not installed (the error names the Debian package), or does not come up; with its log.
    pub async fn start(kind: Kind, config: RouterConfig) -> anyhow::Result<Self> {
        let seat = Seat::take(config.peer_addr)?;
        let dir = tempfile::Builder::new()
            .prefix("lab-router-")
            .tempdir()
            .context("create a router's directory")?;
        let mut router = Self {
            kind,
            config,
            seat,
            process: None,
            dir,
        };
        router.launch().await?;
        Ok(router)
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Where it listens for BGP, and what address it dials from.
    pub fn address(&self) -> SocketAddr {
        self.seat.bgp
    }

    /// Its BGP identifier.
    pub fn router_id(&self) -> Ipv4Addr {
        self.seat.router_id
    }

    /// Its AS number.
    pub fn asn(&self) -> u32 {
        self.config.local_asn
    }

    /// Its process id; `None` while stopped. For SIGSTOP and the like.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Stops it the ordinary way (SIGTERM), which ends its sessions. It can be started again.
    ///
    /// # Errors
    /// When it was not running, or had to be killed.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        let process = self
            .process
            .take()
            .with_context(|| format!("{} is not running", self.kind.name()))?;
        process.stop().await?;
        Ok(())
    }

    /// Kills it (SIGKILL). It can be started again.
    ///
    /// # Errors
    /// When it was not running.
    pub fn kill9(&mut self) -> anyhow::Result<()> {
        let process = self
            .process
            .take()
            .with_context(|| format!("{} is not running", self.kind.name()))?;
        drop(process);
        Ok(())
    }

    /// Stops it if it runs, and starts it on the same address, empty.
    ///
    /// # Errors
    /// When it does not stop or does not come up.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        if self.process.is_some() {
            self.stop().await?;
        }
        self.launch().await
    }

    /// Waits until the router itself says that the session is established.
    ///
    /// # Errors
    /// When it does not say so in time; with what it says instead.
    pub async fn wait_established(&self, limit: Duration) -> anyhow::Result<()> {
        self.wait_session(true, limit).await
    }

    /// Waits until the router itself says that the session is not established.
    ///
    /// # Errors
    /// When it does not say so in time; with what it says instead.
    pub async fn wait_down(&self, limit: Duration) -> anyhow::Result<()> {
        self.wait_session(false, limit).await
    }

    async fn wait_session(&self, wanted: bool, limit: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + limit;
        while self.is_established().await? != wanted {
            if Instant::now() >= deadline {
                let state = if wanted {
                    "not established"
                } else {
                    "still established"
                };
                bail!(
                    "the session of {} at {} is {state} after {limit:?}; it says:\n{}",
                    self.kind.name(),
                    self.seat.bgp,
                    self.session_text().await?
                );
            }
            tokio::time::sleep(self.pause()).await;
        }
        Ok(())
    }

    /// Whether the router says that the session is established now.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn is_established(&self) -> anyhow::Result<bool> {
        let dir = self.dir.path();
        bounded(async {
            match self.kind {
                Kind::Bird => bird::is_established(dir).await,
                Kind::Frr => frr::is_established(dir, &self.config).await,
                Kind::GoBgp => gobgp::is_established(self.seat.api).await,
                Kind::ExaBgp => exabgp::is_established(dir),
            }
        })
        .await
    }

    /// What the router says of the session, in its own words.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn session_text(&self) -> anyhow::Result<String> {
        let dir = self.dir.path();
        bounded(async {
            match self.kind {
                Kind::Bird => bird::session_text(dir).await,
                Kind::Frr => frr::session_text(dir).await,
                Kind::GoBgp => gobgp::session_text(self.seat.api).await,
                Kind::ExaBgp => Ok(self.log()),
            }
        })
        .await
    }

    /// The rules the router holds now, in the order of the router.
    ///
    /// # Errors
    /// When it does not answer, or shows something that cannot be read without guessing.
    pub async fn rules(&self, family: Family) -> anyhow::Result<Vec<RouterRule>> {
        match self.kind {
            Kind::Bird => bird::parse(&self.table_text(family).await?),
            Kind::Frr => frr::parse(&self.table_text(family).await?),
            Kind::GoBgp => bounded(gobgp::rules(self.seat.api, family)).await,
            Kind::ExaBgp => exabgp::parse(&self.table_text(family).await?, family),
        }
    }

    /// The unicast routes that the router holds now, IPv4 first.
    ///
    /// # Errors
    /// When it does not answer, is ExaBGP, or shows something that cannot be read.
    pub async fn unicast_routes(&self) -> anyhow::Result<Vec<UnicastRoute>> {
        let dir = self.dir.path();
        let mut routes = bounded(async {
            match self.kind {
                Kind::Bird => bird::unicast_routes(dir).await,
                Kind::Frr => frr::unicast_routes(dir).await,
                Kind::GoBgp => gobgp::unicast_routes(self.seat.api).await,
                Kind::ExaBgp => bail!("ExaBGP takes no unicast routes here"),
            }
        })
        .await?;
        routes.sort();
        Ok(routes)
    }

    /// Waits until the router holds so many unicast routes, and answers them, IPv4 first.
    ///
    /// # Errors
    /// When it does not in time; with those it holds instead.
    pub async fn wait_unicast_routes(
        &self,
        count: usize,
        limit: Duration,
    ) -> anyhow::Result<Vec<UnicastRoute>> {
        let deadline = Instant::now() + limit;
        loop {
            let routes = self.unicast_routes().await?;
            if routes.len() == count {
                return Ok(routes);
            }
            if Instant::now() >= deadline {
                let held = routes
                    .iter()
                    .map(|route| format!("\n  {route}"))
                    .collect::<String>();
                bail!(
                    "{} does not hold {count} unicast routes after {limit:?}; it holds:{held}",
                    self.kind.name()
                );
            }
            tokio::time::sleep(self.pause()).await;
        }
    }

    /// How many rules the router holds now; cheap on BIRD and FRR, which count by themselves.
    ///
    /// # Errors
    /// As for [`Router::rules`].
    pub async fn count(&self, family: Family) -> anyhow::Result<usize> {
        match self.kind {
            Kind::Bird => bounded(bird::count(self.dir.path(), family)).await,
            Kind::Frr => bounded(frr::count(self.dir.path(), &self.config, family)).await,
            _ => Ok(self.rules(family).await?.len()),
        }
    }

    /// Waits until the rules of a family are as `wanted` says, and answers them sorted.
    ///
    /// # Errors
    /// When they are not in time; with the rules it holds instead.
    pub async fn wait_rules(
        &self,
        family: Family,
        wanted: impl Fn(&[RouterRule]) -> bool,
        limit: Duration,
    ) -> anyhow::Result<Vec<RouterRule>> {
        let deadline = Instant::now() + limit;
        loop {
            let mut rules = self.rules(family).await?;
            rules.sort();
            if wanted(&rules) {
                return Ok(rules);
            }
            if Instant::now() >= deadline {
                let held = rules.iter().map(|rule| format!("\n  {rule}")).collect::<String>();
                bail!(
                    "{} does not hold the expected rules after {limit:?}; it holds:{held}",
                    self.kind.name()
                );
            }
            tokio::time::sleep(self.pause()).await;
        }
    }

    /// The router's own text of a table, for people. ExaBGP has no table: its log of updates.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn table_text(&self, family: Family) -> anyhow::Result<String> {
        let dir = self.dir.path();
        bounded(async {
            match self.kind {
                Kind::Bird => bird::table_text(dir, family).await,
                Kind::Frr => frr::table_text(dir, family).await,
                Kind::GoBgp => gobgp::table_text(self.seat.api, family).await,
                Kind::ExaBgp => exabgp::table_text(dir),
            }
        })
        .await
    }

    /// How many rules it held after each update of the session, in order: whether there was a moment without one. Only ExaBGP
    /// writes down what it is told.
    ///
    /// # Errors
    /// When it is another router, or its log cannot be read.
    pub fn held(&self, family: Family) -> anyhow::Result<Vec<usize>> {
        match self.kind {
            Kind::ExaBgp => exabgp::held(&exabgp::table_text(self.dir.path())?, family),
            Kind::Bird | Kind::Frr | Kind::GoBgp => bail!("{} keeps no log of updates", self.kind.name()),
        }
    }

    /// What the router wrote to its standard output and error.
    pub fn log(&self) -> String {
        self.process.as_ref().map_or_else(String::new, Process::log)
    }

    async fn launch(&mut self) -> anyhow::Result<()> {
        let (binary, dir) = (self.kind.tool().find()?, self.dir.path());
        let command = match self.kind {
            Kind::Bird => bird::command(&binary, &self.config, &self.seat, dir),
            Kind::Frr => frr::command(&binary, &self.config, &self.seat, dir),
            Kind::GoBgp => gobgp::command(&binary, &self.config, &self.seat, dir),
            Kind::ExaBgp => exabgp::command(&binary, &self.config, &self.seat, dir),
        }?;
        let mut process = Process::spawn(self.kind.name(), command, dir)?;
        let deadline = Instant::now() + START_LIMIT;
        loop {
            if let Some(status) = process.ended()? {
                bail!(
                    "{} ended at its start ({status}); its log:\n{}",
                    self.kind.name(),
                    process.log()
                );
            }
            if self.answers(&process).await? {
                break;
            }
            if Instant::now() >= deadline {
                bail!(
                    "{} does not answer after {START_LIMIT:?}; its log:\n{}",
                    self.kind.name(),
                    process.log()
                );
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.process = Some(process);
        Ok(())
    }

    /// Errors of a command line that is not up yet are what is being waited out.
    async fn answers(&self, process: &Process) -> anyhow::Result<bool> {
        if self.kind == Kind::ExaBgp && self.config.connect != Connect::Accept {
            return Ok(process.log().contains("loaded new configuration successfully"));
        }
        Ok(net::is_listening(self.seat.bgp)? && self.is_established().await.is_ok())
    }

    /// BIRD answers on a socket; FRR and GoBGP need a process for every question.
    fn pause(&self) -> Duration {
        match self.kind {
            Kind::Bird | Kind::ExaBgp => Duration::from_millis(10),
            Kind::Frr | Kind::GoBgp => Duration::from_millis(50),
        }
    }
}

async fn bounded<T>(question: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::time::timeout(ASK_LIMIT, question)
        .await
        .context("the router does not answer")?
}

/// The standard output of a command line tool.
async fn output(name: &str, mut command: tokio::process::Command) -> anyhow::Result<String> {
    let output = command
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("run {name}"))?;
    if !output.status.success() {
        bail!(
            "{name} failed ({}): {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    String::from_utf8(output.stdout).with_context(|| format!("{name} wrote text that is not UTF-8"))
}

/// The names of the user and the group this process runs as; some routers ask for them to not change them.
fn own_names() -> anyhow::Result<(String, String)> {
    let user = nix::unistd::User::from_uid(nix::unistd::getuid())?.context("the own user has no name")?;
    let group = nix::unistd::Group::from_gid(nix::unistd::getgid())?.context("the own group has no name")?;
    Ok((user.name, group.name))
}
