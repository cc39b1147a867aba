//! The log target `bgp`: one can follow a session by it, and learns no key.

use crate::support::{Daemon, PATIENCE, Setup, router, wait_for};
use lab::routers::{Family, Kind, Router, RouterConfig};
use prefixd_api::peer::{PeerOrder, PeerOrderRequest};

const KEY: &str = "key0fTheLab";

/// The marker that every message begins with (RFC 4271 section 4.1).
const MARKER: &str = "ffffffffffffffffffffffffffffffff";

/// Plays a session with rules up to its end by an operator, and answers what was logged.
async fn played(router: &Router, filter: &str, format: &str) -> anyhow::Result<String> {
    let mut daemon = Daemon::configured(Setup::default(), &[router])?;
    let protected = "profile: bird, password_file: bird.md5, ttl_security: true";
    daemon.edit("prefixd.yaml", "profile: bird", protected)?;
    daemon.edit(
        "prefixd.yaml",
        "log_format: text",
        &format!("log_format: {format}"),
    )?;
    std::fs::write(daemon.dir.path().join("bird.md5"), format!("{KEY}\n"))?;
    daemon.environment.push(("PREFIXD_LOG", filter.into()));
    daemon.boot().await?;
    daemon.wait_established(1).await?;
    daemon.ban("203.0.113.10", 27015).await?;
    router
        .wait_rules(Family::Ipv4Flow, |rules| !rules.is_empty(), PATIENCE)
        .await?;
    let request = PeerOrderRequest {
        reason: "line card".to_owned(),
        ..PeerOrderRequest::default()
    };
    daemon
        .client
        .order_peer("bird0", PeerOrder::Disable, &request)
        .await?;
    wait_for("the session is closed", || async {
        Ok(daemon.log().contains("disabled by order").then_some(()))
    })
    .await?;
    daemon.stop().await?;
    Ok(std::fs::read_to_string(daemon.dir.path().join("prefixd.log"))?)
}

fn protected() -> RouterConfig {
    RouterConfig {
        password: Some(KEY.to_owned()),
        ttl_security: true,
        ..RouterConfig::new(65001, 65010)
    }
}

/// In a log as machines read it, each step has its words, the neighbour and the connection.
#[tokio::test]
async fn a_session_can_be_followed_from_dialling_to_its_end() -> anyhow::Result<()> {
    let bird = router!(Kind::Bird, protected());
    let log = played(&bird, "info,bgp=debug", "json").await?;
    let lines: Vec<serde_json::Value> = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(|line: &serde_json::Value| line["target"] == "bgp")
        .collect();
    let mut rest = lines.iter();
    for (words, kind) in [
        ("dialling", None),
        ("sent", Some("OPEN")),
        ("received", Some("OPEN")),
        ("sent", Some("KEEPALIVE")),
        ("received", Some("KEEPALIVE")),
        ("session established", None),
        ("sent", Some("UPDATE")),
        ("sent", Some("NOTIFICATION")),
        ("connection closed", None),
        ("disabled by order", None),
    ] {
        let is_it = |line: &&serde_json::Value| line["message"] == words && line["kind"].as_str() == kind;
        let found = rest.find(is_it);
        let found = found.unwrap_or_else(|| panic!("{words} {kind:?} does not come there:\n{log}"));
        assert_eq!(found["neighbor"], "bird0", "{found}");
        assert_eq!(
            found["connection"].is_u64(),
            kind.is_some() || words == "connection closed",
            "{found}"
        );
    }
    assert!(
        !log.to_lowercase().contains(MARKER),
        "bytes are for trace alone:\n{log}"
    );
    knows_no_key(&log);
    Ok(())
}

#[tokio::test]
async fn trace_has_the_bytes_of_both_sides_and_no_key() -> anyhow::Result<()> {
    let bird = router!(Kind::Bird, protected());
    let log = played(&bird, "info,bgp=trace", "text").await?;
    for side in ["to the router", "from the router"] {
        let is_it = |line: &&str| {
            line.contains(side) && line.contains("neighbor=bird0") && line.contains("connection=")
        };
        let all: Vec<_> = log.lines().filter(is_it).collect();
        // Type 1: an OPEN.
        let opens = all.iter().filter(|line| {
            line.split(MARKER)
                .skip(1)
                .any(|message| message.get(4..6) == Some("01"))
        });
        // Where both have dialled there are two connections.
        assert!((1..=2).contains(&opens.count()), "{side}:\n{log}");
    }
    knows_no_key(&log);
    Ok(())
}

fn knows_no_key(log: &str) {
    let hex: String = KEY.bytes().map(|byte| format!("{byte:02x}")).collect();
    assert!(
        !log.contains(KEY) && !log.to_lowercase().contains(&hex),
        "a key is never shown"
    );
}
