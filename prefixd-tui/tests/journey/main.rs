//! The console on a real daemon with a real router: see a mitigation appear, withdraw it, see the router lose it.

#[path = "../pty/mod.rs"]
#[expect(
    dead_code,
    clippy::unwrap_used,
    reason = "this journey needs a part of it; a test fails by panicking"
)]
mod pty;

use lab::daemon::{Daemon, Documents};
use lab::net;
use lab::routers::{Family, Kind, Router, RouterConfig};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use prefixd_api::client::{Client, Endpoint, FeedItem, FeedOptions, Options};
use pty::Terminal;
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

const ASN: u32 = 65_010;
const LIMIT: Duration = Duration::from_secs(30);

/// The daemon's program, built beside the console's.
fn prefixd() -> PathBuf {
    let path = PathBuf::from(env!("CARGO_BIN_EXE_prefixd-tui")).with_file_name("prefixd");
    assert!(
        path.exists(),
        "{} is missing: cargo build -p prefixd",
        path.display()
    );
    path
}

async fn start_daemon(router: &Router, dir: &std::path::Path, http: SocketAddr) -> anyhow::Result<Daemon> {
    let settings = include_str!("../../../etc/demo/prefixd.yaml")
        .replace("${DEMO_HTTP}", &http.to_string())
        .replace("${DEMO_ROUTER_ADDRESS}", &router.address().ip().to_string())
        .replace("${DEMO_ROUTER_PORT}", &router.address().port().to_string());
    Documents {
        settings: &settings,
        inventory: include_str!("../../../etc/demo/inventory.yaml"),
        playbooks: include_str!("../../../etc/demo/playbooks.yaml"),
    }
    .write(dir)?;
    Daemon::start(&prefixd(), dir, http).await
}

/// A process that hangs. It goes on when this is dropped, also when the test fails: else it could not be ended.
struct Stopped(Pid);

impl Stopped {
    fn new(pid: Pid) -> anyhow::Result<Self> {
        kill(pid, Signal::SIGSTOP)?;
        Ok(Self(pid))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // It may have been killed.
        let _ = kill(self.0, Signal::SIGCONT);
    }
}

/// The daemon that reads its configuration here.
fn pid_of(dir: &std::path::Path) -> anyhow::Result<Pid> {
    let dir = dir.as_os_str().as_encoded_bytes();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // Others may end meanwhile.
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if command.split(|byte| *byte == 0).any(|argument| argument == dir) {
            return Ok(Pid::from_raw(pid));
        }
    }
    anyhow::bail!("no daemon runs")
}

#[tokio::test]
async fn a_mitigation_appears_is_withdrawn_and_the_router_loses_it() -> anyhow::Result<()> {
    if !Kind::Bird.available()? {
        return Ok(());
    }
    let router = Router::start(Kind::Bird, RouterConfig::new(ASN, ASN)).await?;
    let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let http = SocketAddr::new(localhost, net::free_port(localhost)?);
    let dir = tempfile::tempdir()?;
    let daemon = start_daemon(&router, dir.path(), http).await?;
    router.wait_established(LIMIT).await?;

    let mut terminal = Terminal::start(&format!("http://{http}"), &[], &[], (120, 40));
    terminal.wait_for("LIVE");
    terminal.send("2");
    terminal.wait_for("No rule is announced");

    let mut event = json!({
        "source": "fastnetmon", "event_id": "fnm-1", "victim_ip": "203.0.113.10", "vector": "udp_flood",
        "bps": 1_200_000_000_u64, "pps": 800_000, "confidence": 0.95, "top_dst_ports": [3478],
    });
    let (status, answer) = daemon
        .client()
        .await?
        .json("POST", "/v1/events", Some(&event))
        .await?;
    assert_eq!(status, 202, "{answer}");
    terminal.wait_for("203.0.113.10");
    router
        .wait_rules(Family::Ipv4Flow, |rules| !rules.is_empty(), LIMIT)
        .await?;

    terminal.send("\r");
    let text = terminal.wait("announcement and the reason", |text| {
        text.contains("edge1") && text.contains("announced") && text.contains("guardrail")
    });
    assert!(text.contains("dport 3478"), "{text}");

    terminal.send("w1");
    terminal.wait_for_live_panel();
    terminal.send("y");
    terminal.wait_for("ok: 1 withdrawn");
    router
        .wait_rules(Family::Ipv4Flow, <[_]>::is_empty, LIMIT)
        .await?;
    terminal.send("q");
    terminal.wait_for("2 Mitigations 0");

    // The daemon answers the heartbeat by which the console tells a quiet feed from a dead one.
    let endpoint: Endpoint = format!("http://{http}").parse()?;
    let mut feed = Client::new(Options::new(endpoint))?.feed(FeedOptions {
        heartbeat: Some(Duration::from_millis(20)),
        ..FeedOptions::default()
    });
    while !matches!(
        tokio::time::timeout(LIMIT, feed.next()).await?,
        Some(FeedItem::Alive)
    ) {}
    drop(feed);

    // A daemon that hangs keeps its connections and says nothing: that is seen, and nothing can be changed.
    let stopped = Stopped::new(pid_of(dir.path())?)?;
    terminal.wait_for("LAG");
    terminal.wait_for("NO CONTACT");
    drop(stopped);
    terminal.send("r");
    terminal.wait("contact", |text| {
        text.contains("LIVE") && !text.contains("NO CONTACT")
    });

    // Without the daemon the console stays, and finds it again.
    daemon.stop().await?;
    terminal.wait_for("NO CONTACT");
    let daemon = start_daemon(&router, dir.path(), http).await?;
    terminal.wait("contact", |text| {
        text.contains("LIVE") && !text.contains("NO CONTACT")
    });
    // Live again means that the feed goes on: nothing was asked, and the next attack appears.
    event["event_id"] = json!("fnm-2");
    event["victim_ip"] = json!("203.0.113.11");
    let (status, answer) = daemon
        .client()
        .await?
        .json("POST", "/v1/events", Some(&event))
        .await?;
    assert_eq!(status, 202, "{answer}");
    terminal.send("2");
    terminal.wait_for("203.0.113.11");
    terminal.send("/\u{15}status:withdrawn\r");
    terminal.wait("withdrawn mitigation", |text| {
        text.contains("203.0.113.10") && text.contains("withdrawn")
    });
    terminal.send("q");
    assert!(terminal.ended());
    daemon.stop().await
}
