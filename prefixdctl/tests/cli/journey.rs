//! The commands against a real daemon: what scripts rely on is what the daemon answers.

use anyhow::Context as _;
use lab::daemon::{Daemon, Documents};
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

const LIMIT: Duration = Duration::from_secs(30);

/// The daemon's program, built beside this one.
fn prefixd() -> anyhow::Result<PathBuf> {
    let path = Path::new(env!("CARGO_BIN_EXE_prefixdctl")).with_file_name("prefixd");
    anyhow::ensure!(
        path.exists(),
        "{} is missing: cargo build -p prefixd",
        path.display()
    );
    Ok(path)
}

/// What a command printed, and its exit code.
#[derive(Debug)]
struct Told {
    out: String,
    err: String,
    code: Option<i32>,
}

struct Shell(String);

impl Shell {
    fn command(&self, line: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_prefixdctl"));
        command
            .args(["--api", &self.0, "--no-input"])
            .args(line)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        for variable in [
            "PREFIXD_API",
            "PREFIXD_OUTPUT",
            "PREFIXD_READONLY",
            "PREFIXD_TOKEN_FILE",
        ] {
            command.env_remove(variable);
        }
        command
    }

    async fn run(&self, line: &[&str]) -> anyhow::Result<Told> {
        let output = self.command(line).output().await?;
        Ok(Told {
            out: String::from_utf8(output.stdout)?,
            err: String::from_utf8(output.stderr)?,
            code: output.status.code(),
        })
    }

    /// A command that ends with this code and prints these parts, on either stream.
    async fn tells(&self, code: i32, line: &[&str], parts: &[&str]) -> anyhow::Result<String> {
        let told = self.run(line).await?;
        assert_eq!(told.code, Some(code), "{line:?}: {told:?}");
        for part in parts {
            assert!(
                told.out.contains(part) || told.err.contains(part),
                "{line:?} says nothing of {part}: {told:?}"
            );
        }
        Ok(told.out)
    }
}

#[tokio::test]
async fn a_report_is_sent_found_explained_and_taken_back() -> anyhow::Result<()> {
    let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let http = SocketAddr::new(localhost, lab::net::free_port(localhost)?);
    let nobody = lab::net::free_port(localhost)?.to_string();
    let dir = tempfile::tempdir()?;
    let settings = include_str!("../../../etc/demo/prefixd.yaml")
        .replace("${DEMO_HTTP}", &http.to_string())
        .replace("${DEMO_ROUTER_ADDRESS}", &localhost.to_string())
        .replace("${DEMO_ROUTER_PORT}", &nobody);
    let playbooks = include_str!("../../../etc/demo/playbooks.yaml");
    Documents {
        settings: &settings,
        inventory: include_str!("../../../etc/demo/inventory.yaml"),
        playbooks,
    }
    .write(dir.path())?;
    let daemon = Daemon::start(&prefixd()?, dir.path(), http).await?;
    let shell = Shell(format!("http://{http}"));
    let report = |victim: &'static str| {
        [
            "events",
            "send",
            "--source",
            "fastnetmon",
            "--victim",
            victim,
            "--vector",
            "udp_flood",
            "--bps",
            "1.2G",
            "--ports",
            "3478",
        ]
    };

    shell.tells(0, &report("203.0.113.10"), &["accepted"]).await?;
    shell.tells(6, &report("203.0.113.1"), &["safelist"]).await?;
    shell
        .tells(
            0,
            &["mitigations", "list"],
            &["203.0.113.10", "udp_flood", "active"],
        )
        .await?;
    let list = shell
        .tells(0, &["mitigations", "list", "-o", "json"], &[])
        .await?;
    let list: Value = serde_json::from_str(&list)?;
    let ids = shell.tells(0, &["mitigations", "list", "-o", "ids"], &[]).await?;
    let id = ids.trim();
    assert!(list.to_string().contains(id), "{list}");
    shell
        .tells(
            0,
            &["mitigations", "get", id],
            &[id, "203.0.113.10", "dport 3478"],
        )
        .await?;
    shell
        .tells(0, &["mitigations", "why", id], &["accepted", "guardrail"])
        .await?;
    shell
        .tells(
            4,
            &["mitigations", "get", "0199a8b2-7c31-7e55-8a4d-2f6b9c01d3e4"],
            &["not_found"],
        )
        .await?;

    // The daemon lives, and its one neighbour does not.
    shell.tells(0, &["peers", "list"], &["edge1"]).await?;
    shell.tells(20, &["status", "--exit-code"], &["degraded"]).await?;

    let withdraw = ["mitigations", "withdraw", id, "--reason", "false positive"];
    shell.tells(13, &withdraw, &["--yes"]).await?;
    let withdraw_now = [&withdraw[..], &["--yes"]].concat();
    shell.tells(0, &withdraw_now, &["withdrawn"]).await?;
    shell.tells(7, &withdraw_now, &["conflict.ended"]).await?;
    shell
        .tells(0, &["events", "list"], &["accepted", "guardrail"])
        .await?;

    let protect = [
        "safelist",
        "add",
        "203.0.113.66/32",
        "--reason",
        "our resolver",
        "--yes",
    ];
    shell.tells(0, &protect, &["203.0.113.66"]).await?;
    shell
        .tells(0, &["safelist", "check", "203.0.113.66"], &["our resolver"])
        .await?;
    shell.tells(6, &report("203.0.113.66"), &["our resolver"]).await?;

    shell.tells(0, &["reload"], &["in force"]).await?;
    std::fs::write(
        dir.path().join("playbooks.yaml"),
        playbooks.replace("rate_bps", "rate_pbs"),
    )?;
    shell
        .tells(5, &["reload"], &["playbooks.yaml:", "rate_pbs"])
        .await?;
    std::fs::write(dir.path().join("playbooks.yaml"), playbooks)?;

    watched_from_the_beginning(&shell, id).await?;
    daemon.stop().await?;
    shell
        .tells(2, &["mitigations", "list"], &[&http.to_string()])
        .await?;
    Ok(())
}

/// The feed tells of the mitigation from its first message to its last.
async fn watched_from_the_beginning(shell: &Shell, id: &str) -> anyhow::Result<()> {
    let mut watch = shell
        .command(&["watch", "--since", "0", "-o", "jsonl"])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(watch.stdout.take().context("it is piped")?).lines();
    let mut kinds = Vec::new();
    while kinds.last().map(String::as_str) != Some("mitigation_withdrawn") {
        let line = tokio::time::timeout(LIMIT, lines.next_line())
            .await
            .with_context(|| format!("after {kinds:?}"))??
            .with_context(|| format!("the feed ended after {kinds:?}"))?;
        let message: Value = serde_json::from_str(&line)?;
        if message.to_string().contains(id)
            && let Some(kind) = message["type"].as_str()
        {
            kinds.push(kind.to_owned());
        }
    }
    assert_eq!(
        kinds,
        ["event_ingested", "mitigation_created", "mitigation_withdrawn"]
    );
    watch.kill().await?;
    Ok(())
}
