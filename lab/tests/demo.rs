//! `make demo` as a program: its exit code tells whether the router held the right rules, and nothing outlives it.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use lab::routers::Kind;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use portable_pty::{CommandBuilder, MasterPty, PtySize, native_pty_system};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tokio::time::Instant;

const DEMO: &str = env!("CARGO_BIN_EXE_demo");
const LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// The demo's own directory for temporary files, by which its processes are known: they inherit the variable.
struct Stage(TempDir);

impl Stage {
    fn new() -> anyhow::Result<Self> {
        Ok(Self(tempfile::Builder::new().prefix("demo-").tempdir()?))
    }

    fn temporary(&self) -> PathBuf {
        self.0.path().join("tmp")
    }

    /// A script that stands for a program.
    fn script(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.0.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n"))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
        Ok(path)
    }

    /// The daemon, after a change to its configuration by sed.
    fn changed(&self, file: &str, edit: &str) -> anyhow::Result<PathBuf> {
        let prefixd = prefixd()?;
        // It is called as `prefixd --config DIR`.
        let text = format!(
            "sed -i '{edit}' \"$2/{file}\" && exec {} \"$@\"",
            prefixd.display()
        );
        self.script("prefixd", &text)
    }

    fn plain(&self, prefixd: &Path) -> anyhow::Result<Command> {
        std::fs::create_dir_all(self.temporary())?;
        let mut command = Command::new(DEMO);
        command
            .arg("--prefixd")
            .arg(prefixd)
            .args(["--console", "/nonexistent", "--plain"])
            .env("TMPDIR", self.temporary())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        Ok(command)
    }

    /// What the demo started and is there.
    fn processes(&self) -> anyhow::Result<Vec<String>> {
        let mark = format!("TMPDIR={}", self.temporary().display());
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc")? {
            let path = entry?.path();
            // Others may end meanwhile, and those of other users do not say.
            let environment = std::fs::read(path.join("environ")).unwrap_or_default();
            if environment
                .split(|byte| *byte == 0)
                .any(|variable| variable == mark.as_bytes())
            {
                let command = std::fs::read(path.join("cmdline")).unwrap_or_default();
                found.push(String::from_utf8_lossy(&command).replace('\0', " "));
            }
        }
        Ok(found)
    }

    /// Soon there is neither a process nor a file left.
    async fn is_clean(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let processes = self.processes()?;
            let files = std::fs::read_dir(self.temporary())?.collect::<Result<Vec<_>, _>>()?;
            if processes.is_empty() && files.is_empty() {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "left: {processes:?}, {files:?}");
            tokio::time::sleep(POLL).await;
        }
    }
}

fn prefixd() -> anyhow::Result<PathBuf> {
    let path = Path::new(DEMO).with_file_name("prefixd");
    ensure!(
        path.exists(),
        "{} is missing: cargo build -p prefixd",
        path.display()
    );
    Ok(path)
}

/// Whether the router is there; it may be missing only where the run allows that.
fn available() -> anyhow::Result<bool> {
    Kind::Bird.available()
}

#[tokio::test]
async fn plain_tells_the_story_and_ends_well() -> anyhow::Result<()> {
    if !available()? {
        return Ok(());
    }
    let stage = Stage::new()?;
    let output = stage.plain(&prefixd()?)?.output().await?;
    let told = String::from_utf8(output.stdout)?;
    assert!(output.status.success(), "{told}");
    let tables = told.split("The router's own tables ").skip(1).collect::<Vec<_>>();
    let [before, during, after] = &*tables else {
        bail!("three tables: {told}");
    };
    for (table, when, has_rules) in [
        (before, "before", false),
        (during, "during", true),
        (after, "after", false),
    ] {
        assert!(table.starts_with(when), "{told}");
        let rows = table.lines().filter(|line| line.starts_with("  | flow"));
        assert_eq!(rows.count() > 0, has_rules, "{when}: {told}");
    }
    assert!(
        during.contains("203.0.113.45") && during.contains("2001:db8:acce::80"),
        "{told}"
    );
    assert!(told.contains("guardrail.safelist: "), "{told}");
    assert!(
        told.trim_end().ends_with("let them go. Everything is stopped."),
        "{told}"
    );
    stage.is_clean().await
}

#[tokio::test]
async fn a_wrong_rule_on_the_router_is_a_failure() -> anyhow::Result<()> {
    if !available()? {
        return Ok(());
    }
    let stage = Stage::new()?;
    let prefixd = stage.changed("playbooks.yaml", "s/rate_bps: 5000000/rate_bps: 6000000/")?;
    let output = stage.plain(&prefixd)?.output().await?;
    let told = String::from_utf8(output.stdout)?;
    assert_eq!(output.status.code(), Some(1), "{told}");
    let (_, failure) = told.split_once("The demo failed: ").context(told.clone())?;
    assert!(
        failure.contains("the router must hold:\n  dst 203.0.113.10/32")
            && failure.contains("police 5 Mbit/s"),
        "{told}"
    );
    stage.is_clean().await
}

#[tokio::test]
async fn a_rule_that_the_router_keeps_is_a_failure() -> anyhow::Result<()> {
    if !available()? {
        return Ok(());
    }
    let stage = Stage::new()?;
    let prefixd = stage.changed("prefixd.yaml", "s/hold_down_seconds: 2/hold_down_seconds: 600/")?;
    let output = stage.plain(&prefixd)?.output().await?;
    let told = String::from_utf8(output.stdout)?;
    assert_eq!(output.status.code(), Some(1), "{told}");
    let (story, failure) = told.split_once("The demo failed: ").context(told.clone())?;
    assert!(
        story.contains("does not see the attack on the game server any more"),
        "{told}"
    );
    assert!(failure.contains("the router must hold:"), "{told}");
    stage.is_clean().await
}

/// Plays until rules are on the router, and then sends a signal.
async fn ended_by(signal: Signal) -> anyhow::Result<()> {
    let stage = Stage::new()?;
    let mut demo = stage.plain(&prefixd()?)?.spawn()?;
    let pid = Pid::from_raw(demo.id().context("it runs")?.cast_signed());
    let mut lines = BufReader::new(demo.stdout.take().context("it is piped")?).lines();
    let mut told = Vec::new();
    while let Some(line) = tokio::time::timeout(LIMIT, lines.next_line()).await?? {
        let is_reached = line.contains("the right ones");
        told.push(line);
        if is_reached {
            break;
        }
    }
    let running = stage.processes()?;
    for program in ["bird", "prefixd"] {
        ensure!(
            running.iter().any(|command| command.contains(program)),
            "{running:?}"
        );
    }
    kill(pid, signal)?;
    while let Some(line) = tokio::time::timeout(LIMIT, lines.next_line()).await?? {
        told.push(line);
    }
    let status = demo.wait().await?;
    if signal == Signal::SIGKILL {
        assert_eq!(status.code(), None);
    } else {
        assert_eq!(status.code(), Some(1));
        let last = told.last().context("it says why")?;
        assert!(last.ends_with("everything it started is stopped"), "{told:?}");
    }
    stage.is_clean().await
}

#[tokio::test]
async fn nothing_outlives_an_interrupted_demo() -> anyhow::Result<()> {
    if available()? {
        ended_by(Signal::SIGINT).await
    } else {
        Ok(())
    }
}

#[tokio::test]
async fn nothing_outlives_a_terminated_demo() -> anyhow::Result<()> {
    if available()? {
        ended_by(Signal::SIGTERM).await
    } else {
        Ok(())
    }
}

#[tokio::test]
async fn nothing_outlives_a_killed_demo() -> anyhow::Result<()> {
    if available()? {
        ended_by(Signal::SIGKILL).await
    } else {
        Ok(())
    }
}

/// The demo in a terminal.
struct Terminal {
    child: Box<dyn portable_pty::Child + Send + Sync>,
    master: Box<dyn MasterPty + Send>,
    shown: Arc<Mutex<String>>,
}

impl Terminal {
    fn start(stage: &Stage, prefixd: &Path, console: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(stage.temporary())?;
        let pty = native_pty_system().openpty(PtySize::default())?;
        let mut command = CommandBuilder::new(DEMO);
        command.arg("--prefixd");
        command.arg(prefixd);
        command.arg("--console");
        command.arg(console);
        command.env("TMPDIR", stage.temporary());
        let child = pty.slave.spawn_command(command)?;
        drop(pty.slave);
        let shown = Arc::new(Mutex::new(String::new()));
        let mut output = pty.master.try_clone_reader()?;
        let seen = Arc::clone(&shown);
        // Ends with the demo: the terminal closes.
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut bytes) {
                if let Ok(mut seen) = seen.lock() {
                    seen.push_str(&String::from_utf8_lossy(&bytes[..length]));
                }
            }
        });
        Ok(Self {
            child,
            master: pty.master,
            shown,
        })
    }

    fn text(&self) -> String {
        self.shown.lock().map(|shown| shown.clone()).unwrap_or_default()
    }

    async fn shows(&self, what: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + LIMIT;
        while !self.text().contains(what) {
            ensure!(Instant::now() < deadline, "no {what:?} in {}", self.text());
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Ctrl-C as typed, which the terminal makes a signal of.
    fn interrupt(&self) -> anyhow::Result<()> {
        let group = self.master.process_group_leader().context("it has a group")?;
        Ok(nix::sys::signal::killpg(Pid::from_raw(group), Signal::SIGINT)?)
    }

    async fn ended(&mut self) -> anyhow::Result<u32> {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status.exit_code());
            }
            ensure!(Instant::now() < deadline, "it does not end: {}", self.text());
            tokio::time::sleep(POLL).await;
        }
    }
}

#[tokio::test]
async fn an_interrupt_before_the_console_is_open_ends_the_demo() -> anyhow::Result<()> {
    if !available()? {
        return Ok(());
    }
    let stage = Stage::new()?;
    let never_ready = stage.script("prefixd", "exec sleep 600")?;
    let mut terminal = Terminal::start(&stage, &never_ready, Path::new("/nonexistent"))?;
    terminal.shows("Starting prefixd").await?;
    terminal.interrupt()?;
    assert_eq!(terminal.ended().await?, 1);
    terminal
        .shows("interrupted; everything it started is stopped")
        .await?;
    stage.is_clean().await
}

/// It has the terminal in raw mode: killed, it would leave it so.
#[tokio::test]
async fn a_terminated_demo_lets_the_console_give_the_terminal_back() -> anyhow::Result<()> {
    if !available()? {
        return Ok(());
    }
    let stage = Stage::new()?;
    let console = stage.script(
        "console",
        "trap '' INT; trap 'echo the terminal is given back; exit 0' TERM
        echo the console is open; while :; do sleep 0.05; done",
    )?;
    let mut terminal = Terminal::start(&stage, &prefixd()?, &console)?;
    terminal.shows("the console is open").await?;
    // In the console Ctrl-C is a key: the demo takes no notice of it.
    terminal.interrupt()?;
    let pid = terminal.child.process_id().context("it runs")?;
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGTERM)?;
    assert_eq!(terminal.ended().await?, 1);
    terminal.shows("the terminal is given back").await?;
    terminal
        .shows("terminated; everything it started is stopped")
        .await?;
    stage.is_clean().await
}
