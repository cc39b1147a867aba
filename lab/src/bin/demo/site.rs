//! What the demo runs on: a router, a daemon, and their configuration.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use lab::daemon::{Daemon, Documents};
use lab::net;
use lab::routers::{Kind, Router, RouterConfig};
use tempfile::TempDir;

const ASN: u32 = 65010;

/// Time the daemon has to bring its session up.
const SESSION_LIMIT: Duration = Duration::from_secs(20);

/// A running router with a daemon as its neighbour.
pub(crate) struct Site {
    // In this order they are dropped: the daemon withdraws, then the router ends, then the files go.
    daemon: Daemon,
    pub(crate) router: Router,
    _dir: TempDir,
}

impl Site {
    pub(crate) async fn start(prefixd: &Path) -> anyhow::Result<Self> {
        println!("Starting BIRD, a real router, as AS {ASN} (iBGP) ...");
        let router = Router::start(Kind::Bird, RouterConfig::new(ASN, ASN)).await?;
        println!("  it waits for its neighbour at {}", router.address());

        let http = SocketAddr::new(
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            net::free_port(Ipv4Addr::LOCALHOST.into()).context("find a port for the REST API")?,
        );
        let dir = tempfile::Builder::new()
            .prefix("prefixd-demo-")
            .tempdir()
            .context("create the demo's directory")?;
        let settings = include_str!("../../../../etc/demo/prefixd.yaml")
            .replace("${DEMO_HTTP}", &http.to_string())
            .replace("${DEMO_ROUTER_ADDRESS}", &router.address().ip().to_string())
            .replace("${DEMO_ROUTER_PORT}", &router.address().port().to_string());
        Documents {
            settings: &settings,
            inventory: include_str!("../../../../etc/demo/inventory.yaml"),
            playbooks: include_str!("../../../../etc/demo/playbooks.yaml"),
        }
        .write(dir.path())?;

        println!("Starting prefixd on embedded SQLite, with the configuration of etc/demo ...");
        let daemon = Daemon::start(prefixd, dir.path(), http).await?;
        println!("  its REST API is at http://{http}");
        router.wait_established(SESSION_LIMIT).await?;
        println!("  the router says the BGP session is established");
        Ok(Self {
            daemon,
            router,
            _dir: dir,
        })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.daemon.http())
    }

    pub(crate) async fn client(&self) -> anyhow::Result<lab::http::Client> {
        self.daemon.client().await
    }

    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.daemon.stop().await.context("stop prefixd")?;
        self.router.stop().await.context("stop BIRD")
    }
}
